//! The stored sessions of accounts other than `default`: from them every process learns which accounts there are.

use super::{NAMED, Session, state::SessionStatus};
use crate::{
    config::AccountName,
    platform::{DatabaseError, StoreHealth},
    unix_time::UnixMillis,
    upstream::{Host, StoredSession},
};

/// The stored session of an account other than `default`.
#[derive(Debug)]
pub struct NamedSession {
    /// The account.
    pub name: AccountName,
    /// Whether a person deleted the account.
    pub is_forgotten: bool,
    row: StoredSession,
}

/// Reads at most `limit` of them, in the order of their names; `None` when the store fails.
pub async fn list(platform: &impl Host, store_health: &StoreHealth, limit: u32) -> Option<Vec<NamedSession>> {
    let found: Result<_, DatabaseError> = platform.list_sessions(NAMED, limit).await;
    let named = |(name, row): (String, StoredSession)| {
        let status: SessionStatus = serde_json::from_str(&row.status).unwrap_or_default();
        let is_forgotten = status.is_forgotten && row.value.is_empty();
        Some(NamedSession { name: AccountName::parse(&name)?, is_forgotten, row })
    };
    Some(store_health.ok_or_log("listing the sessions of accounts", found)?.into_iter().filter_map(named).collect())
}

impl Session {
    /// Takes over what the store has of this session, as [`Session::sync`] does. What was read before this process changed it is
    /// left alone.
    pub fn take(&self, found: Option<&NamedSession>, now: UnixMillis) {
        let known = self.state().version;
        if found.is_some_and(|found| found.row.version < known) {
            return;
        }
        self.merge_or_log(known, found.map(|found| found.row.clone()), now);
    }
}
