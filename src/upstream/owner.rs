//! On whose behalf an upstream is asked.

use std::fmt;

/// An account of an upstream: the id that the upstream reports, or a digest of the credentials if it reports no id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountId(String);

/// What conversations and files belong to: an API key together with an account. A digest; no secret can be had from it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ScopeKey(String);

/// The account that a request is for, fixed when the request begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// What the request may see.
    pub scope: ScopeKey,
    /// The account.
    pub account: AccountId,
    /// Rises when a person replaces the session of this process.
    pub session_epoch: u64,
}

impl AccountId {
    /// The account of this id.
    #[must_use]
    pub fn new(id: String) -> Self {
        Self(id)
    }

    /// Its id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ScopeKey {
    /// The scope of this key.
    #[must_use]
    pub fn new(key: String) -> Self {
        Self(key)
    }

    /// The key, as the tables have it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ScopeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
