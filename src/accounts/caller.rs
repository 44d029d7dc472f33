//! Who calls, and for which account: values that are fixed once for each request.

use std::sync::Arc;

use crate::{
    digest::{key, link},
    platform::Platform,
    upstream::{AccountId, Owner, ScopeKey, qwen::Client},
};

/// An API key of this server, as a digest: the key itself ends where it is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyId([u8; 32]);

impl KeyId {
    /// The id of an API key; the empty one stands for all callers of a server without keys.
    #[must_use]
    pub fn of(api_key: &str) -> Self {
        Self(link([0; 32], b'k', api_key.as_bytes()))
    }

    fn scope(self, account: &AccountId) -> ScopeKey {
        ScopeKey::new(key(link(self.0, b'o', account.as_str().as_bytes())))
    }
}

/// A Qwen account of the server.
#[derive(Debug)]
pub struct Account {
    /// The site as seen with this account.
    pub qwen: Arc<Client>,
}

/// Who sends a request, and for which account.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The key that was sent.
    pub key: KeyId,
    /// The account that answers.
    pub account: Arc<Account>,
    /// On whose behalf the account's upstream is asked. Who replaces the session later does not change it.
    pub owner: Owner,
}

impl Caller {
    /// The caller who sent this key, with the account's session as it is now.
    pub async fn new(platform: &impl Platform, key: KeyId, account: &Arc<Account>) -> Self {
        let session = account.qwen.session();
        session.sync(platform).await;
        let (id, session_epoch) = session.identity();
        let owner = Owner { scope: key.scope(&id), account: id, session_epoch };
        Self { key, account: Arc::clone(account), owner }
    }

    /// What the caller may see.
    #[must_use]
    pub fn scope(&self) -> &str {
        self.owner.scope.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_accounts_are_different_scopes() {
        let scope = |key: &str, account: &str| KeyId::of(key).scope(&AccountId::new(account.to_owned()));
        let scopes =
            [scope("k", "a"), scope("k", "b"), scope("l", "a"), scope("", "ka"), scope("ka", ""), scope("a", "k")];
        for (index, one) in scopes.iter().enumerate() {
            assert!(!scopes[..index].contains(one));
        }
    }
}
