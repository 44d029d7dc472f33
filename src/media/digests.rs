//! Digests that columns of the store hold.

use crate::{
    digest::{key, link},
    upstream::AccountId,
};

/// The digest of an account.
pub(super) fn of_account(account: &AccountId) -> String {
    key(link([0; 32], b'a', account.as_str().as_bytes()))
}
