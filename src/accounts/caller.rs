//! Who calls, and for which account: values that are fixed once for each request.

use std::sync::Arc;

use crate::{
    digest::{key, link},
    error::Result,
    platform::Platform,
    upstream::{AccountId, Owner, ScopeKey},
};

use super::account::Account;

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

/// Whose key came with a request: fixed where the key is checked. The account's session is not looked at yet.
#[derive(Clone, Debug)]
pub struct KeyHolder {
    /// The key.
    pub key: KeyId,
    /// The account that the key uses.
    pub account: Arc<Account>,
}

impl KeyHolder {
    /// Makes sure that the account's session can be used now.
    ///
    /// # Errors
    /// No session, an ended one that cannot be refreshed, or a captcha cooldown: then nothing may be sent to the site.
    pub async fn ready(&self, platform: &impl Platform) -> Result<()> {
        self.account.qwen.session().ready(platform).await
    }

    /// The caller, with the account's session as it is now. The store learns whose scope it is.
    pub async fn caller(&self, platform: &impl Platform) -> Caller {
        let caller = self.reader(platform).await;
        let scope = &caller.owner.scope;
        if !self.account.has_noted(scope) {
            let (account, scope, detached) = (Arc::clone(&self.account), scope.clone(), platform.detached());
            platform.defer(async move { account.note_scope(&detached, &scope).await });
        }
        caller
    }

    /// The same, for a request that keeps nothing in its scope.
    pub async fn reader(&self, platform: &impl Platform) -> Caller {
        let session = self.account.qwen.session();
        session.sync(platform).await;
        let (id, session_epoch) = session.identity();
        let owner = Owner { scope: self.key.scope(&id), account: id, session_epoch };
        Caller { key: self.key, account: Arc::clone(&self.account), owner }
    }
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
