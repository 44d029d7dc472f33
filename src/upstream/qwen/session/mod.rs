//! The session of an account: its credentials, what the site's answers show of them, and how they are refreshed.
//!
//! `state` is the state machine, without input or output. The other files ask the site and the store: `sync` shares the session
//! with other isolates, `refresh` gets new tokens, `verify` asks who is signed in, `replace` takes what a person sets. Isolates
//! agree by the stored row (the port [`SessionStore`](crate::upstream::SessionStore)), which each reads every few seconds.

mod credentials;
mod named;
mod refresh;
mod replace;
mod state;
mod sync;
mod verify;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) use credentials::Credentials;
use credentials::digest;
pub use named::{NamedSession, list};
use state::State;
pub use state::{CredentialsLease, SessionReport, SessionState};

use super::{http_client::HttpClient, model_cache::Asker};
use crate::{
    config::{AccountName, Config},
    error::{Error, Result},
    platform::StoreHealth,
    sealing::Cipher,
    secret::Secret,
    unix_time::UnixMillis,
    upstream::{AccountId, Owner},
};

/// What the keys of the rows of accounts other than `default` begin with. No digest contains a colon.
const NAMED: &str = "account:";

/// The session of an account. All requests share it.
#[derive(Debug)]
pub struct Session {
    /// The key of the stored row: a digest of the configured credentials, or the name of an account that has none.
    origin: String,
    /// Whether it is the one that variables may configure.
    is_configurable: bool,
    configured: Option<Arc<Credentials>>,
    cipher: Cipher,
    http: Arc<HttpClient>,
    store_health: Arc<StoreHealth>,
    /// Whether other processes use the account too. They learn of a change through the store only.
    is_distributed: bool,
    state: Mutex<State>,
}

impl Session {
    /// The session of the account of this name. The variables configure that of `default`; others are set at run time.
    pub(super) fn new(
        config: &Config,
        name: &AccountName,
        http: Arc<HttpClient>,
        store_health: Arc<StoreHealth>,
    ) -> Self {
        let cookies = config.cookies.as_ref().filter(|_| name.is_default()).map(Secret::expose);
        let token = config.auth_token.as_ref().filter(|_| name.is_default()).map(Secret::expose);
        let configured = Credentials::new(cookies, token).map(Arc::new);
        Self {
            origin: if name.is_default() {
                digest(configured.as_ref().map_or("", |configured| configured.cookie()))
            } else {
                format!("{NAMED}{name}")
            },
            is_configurable: name.is_default(),
            cipher: Cipher::new(config.session_key.as_ref().map(Secret::expose)),
            state: Mutex::new(State::new(name.clone(), configured.clone(), Arc::clone(http.clock()))),
            configured,
            is_distributed: config.product.is_distributed,
            http,
            store_health,
        }
    }

    /// The credentials to send.
    pub(super) fn current(&self) -> CredentialsLease {
        self.state().lease()
    }

    /// Who asks: the account, and a number that rises with each change of its credentials.
    pub(super) fn asker(&self) -> Asker {
        let state = self.state();
        Asker { account: state.name.clone(), generation: state.generation }
    }

    /// The account, and a number that rises when a person replaces the session.
    #[must_use]
    pub fn identity(&self) -> (AccountId, u64) {
        let state = self.state();
        (state.account(), state.epoch)
    }

    /// The credentials to send on behalf of `owner`.
    ///
    /// # Errors
    /// A person has replaced the session by one of another account since the request began.
    pub(super) fn lease_for(&self, owner: Option<&Owner>) -> Result<CredentialsLease> {
        let state = self.state();
        match owner {
            // A refresh may reveal the site's id of the account; only a person changes the account.
            Some(owner) if state.epoch != owner.session_epoch && state.account() != owner.account => {
                Err(Error::session_replaced())
            }
            _ => Ok(state.lease()),
        }
    }

    /// Whether it can be forgotten without a loss: there are no credentials, in the store or here, and a person said so.
    #[must_use]
    pub fn is_forgotten(&self) -> bool {
        let state = self.state();
        state.credentials.is_none() && state.status.is_forgotten
    }

    /// Whether this process alone has the credentials, because the store failed.
    #[must_use]
    pub fn is_unsaved(&self) -> bool {
        self.state().credentials_dirty
    }

    /// The error of a request during a captcha cooldown.
    #[must_use]
    pub fn challenge(&self, now: UnixMillis) -> Option<Error> {
        self.state().captcha_cooldown(now)
    }

    /// Whether the site may be asked now.
    ///
    /// # Errors
    /// No session, an ended one, or a captcha cooldown: then nothing may be sent to the site.
    pub fn check(&self, now: UnixMillis) -> Result<()> {
        self.state().check(now)
    }

    /// What is known of the session at `now`.
    #[must_use]
    pub fn report(&self, now: UnixMillis) -> SessionReport {
        self.state().report(now)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod named_tests;
#[cfg(test)]
mod refresh_tests;
#[cfg(test)]
mod tests;
