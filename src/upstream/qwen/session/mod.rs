//! The account's session: what is sent as its credentials, how it fares, and how it heals itself.
//!
//! The state is here, without input or output; `heal` renews, checks and shares it. Where several isolates serve, the stored
//! row (`store::session`) is what they agree by; each looks at it every few seconds.

mod credentials;
mod heal;
mod seal;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

pub(crate) use credentials::Credentials;
use credentials::digest;
use seal::Seal;

use super::{clock::Clock, http_client::HttpClient};
use crate::{
    config::Config,
    error::{Error, ErrorKind, Result},
    platform::StoreHealth,
    secret::Secret,
    unix_time::{UnixMillis, UnixSeconds},
    upstream::{AccountId, Owner, StoredSession},
};

/// After a renewal that failed for the moment the next one waits: at first so long, then twice as long each time (milliseconds).
const FIRST_BACK_OFF: Duration = Duration::from_secs(5);
const MAX_BACK_OFF: Duration = Duration::from_secs(5 * 60);
/// Of the time in which a token counts as expiring, the last part in which requests wait for a new one.
const LAST_PART: u64 = 10;

/// How the session fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// The site has taken it, and it lasts.
    Valid,
    /// It ends within three minutes, or has ended and can be renewed.
    Expiring,
    /// It has ended.
    Expired,
    /// The site asks for a human check.
    Challenged,
    /// None is configured.
    Missing,
    /// Nobody has asked the site yet.
    Unknown,
}

impl SessionState {
    /// All words on the wire.
    pub const WORDS: &'static [&'static str] = &["valid", "expiring", "expired", "challenged", "missing", "unknown"];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Expiring => "expiring",
            Self::Expired => "expired",
            Self::Challenged => "challenged",
            Self::Missing => "missing",
            Self::Unknown => "unknown",
        }
    }

    /// Whether a chat could work.
    #[must_use]
    pub const fn usable(self) -> bool {
        matches!(self, Self::Valid | Self::Expiring | Self::Unknown)
    }
}

/// The state with what may be told of it. Times are in seconds since 1970.
#[derive(Clone, Debug)]
pub struct SessionReport {
    /// How it fares.
    pub state: SessionState,
    /// When the token ends, if that is known.
    pub expires_at: Option<UnixSeconds>,
    /// When the site last answered about it.
    pub checked_at: Option<UnixSeconds>,
    /// The account's name, as the site told it.
    pub account: Option<String>,
    /// Whether a new token can be had without a person.
    pub renewable: bool,
    /// Whether it was given or renewed at run time; else it is the configured one.
    pub stored: bool,
    /// Whether it is encrypted where it is stored.
    pub encrypted: bool,
    /// Until when nothing is sent after a human check was asked for, and the link to it.
    pub challenge: Option<(UnixSeconds, String)>,
}

/// The credentials at one time. A request carries them along, so that what the site says counts for the right ones.
#[derive(Clone, Debug)]
pub struct CredentialsLease {
    pub(super) credentials: Option<Arc<Credentials>>,
    generation: u64,
}

/// What the site's answers showed, as it is shared between isolates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct SessionStatus {
    /// When it last changed.
    at: UnixMillis,
    /// When a person last gave the credentials or took them back.
    given_at: UnixMillis,
    /// Seconds since 1970.
    checked_at: Option<UnixSeconds>,
    /// The site refused the access token.
    refused: bool,
    /// The site refused the refresh token.
    renewal_refused: bool,
    /// Milliseconds since 1970.
    challenged_until: UnixMillis,
    verify_url: String,
    name: Option<String>,
}

#[derive(Debug)]
struct Memory {
    credentials: Option<Arc<Credentials>>,
    /// Rises with each change of the credentials in this process.
    generation: u64,
    /// The generation at which a person last gave them.
    given: u64,
    /// The version of the stored row; 0 = none.
    version: u64,
    /// They are not the configured ones.
    stored: bool,
    /// The store has not got them yet.
    unsaved: bool,
    /// They are encrypted in the store.
    sealed: bool,
    status: SessionStatus,
    /// The store has not heard yet how they fare.
    unshared: bool,
    /// When the stored row was last looked at.
    synced_at: UnixMillis,
    /// A renewal is on its way in this process, at the longest until then.
    renewing_until: UnixMillis,
    /// No renewal before then, and why.
    back_off: Option<(UnixMillis, ErrorKind)>,
    failures: u32,
    /// Tokens end by the site's clock.
    clock: Arc<Clock>,
    /// Somebody asks the site for the time, at the longest until then.
    asking_until: UnixMillis,
    /// The site did not tell it; nobody asks again before then.
    silent_until: UnixMillis,
}

/// The account's session. Shared by all requests.
#[derive(Debug)]
pub struct Session {
    /// Digest of the configured credentials: the stored session belongs to these.
    origin: String,
    configured: Option<Arc<Credentials>>,
    seal: Seal,
    http: Arc<HttpClient>,
    store_health: Arc<StoreHealth>,
    /// Whether other processes use the account too, and learn of a change only from the store.
    is_distributed: bool,
    memory: Mutex<Memory>,
}

/// Whether the credentials are to be renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Nothing,
    /// In the background.
    Soon,
    /// Before anything else.
    Now,
}

impl Session {
    pub(super) fn new(config: &Config, http: Arc<HttpClient>, store_health: Arc<StoreHealth>) -> Self {
        let (cookies, token) = (config.cookies.as_ref().map(Secret::expose), config.auth_token.as_ref());
        let configured = Credentials::new(cookies, token.map(Secret::expose)).map(Arc::new);
        Self {
            origin: digest(configured.as_ref().map_or("", |configured| configured.cookie())),
            seal: Seal::new(config.session_key.as_ref().map(Secret::expose)),
            memory: Mutex::new(Memory {
                credentials: configured.clone(),
                generation: 1,
                given: 1,
                version: 0,
                stored: false,
                unsaved: false,
                sealed: false,
                status: SessionStatus::default(),
                synced_at: UnixMillis::default(),
                unshared: false,
                renewing_until: UnixMillis::default(),
                back_off: None,
                failures: 0,
                clock: Arc::clone(http.clock()),
                asking_until: UnixMillis::default(),
                silent_until: UnixMillis::default(),
            }),
            configured,
            is_distributed: config.product.is_distributed,
            http,
            store_health,
        }
    }

    /// The credentials to send.
    pub(super) fn current(&self) -> CredentialsLease {
        self.memory().current()
    }

    /// Changes with the credentials.
    pub(super) fn generation(&self) -> u64 {
        self.memory().generation
    }

    /// Who the account is, and a number that rises when a person replaces the session.
    #[must_use]
    pub fn identity(&self) -> (AccountId, u64) {
        let memory = self.memory();
        (memory.account(), memory.given)
    }

    /// The credentials to send on behalf of `owner`.
    ///
    /// # Errors
    /// A person has replaced the session by one of another account since the request began.
    pub(super) fn lease_for(&self, owner: Option<&Owner>) -> Result<CredentialsLease> {
        let memory = self.memory();
        match owner {
            // A renewal may teach what the site calls the account; only a person makes it another one.
            Some(owner) if memory.given != owner.session_epoch && memory.account() != owner.account => {
                Err(Error::session_replaced())
            }
            _ => Ok(memory.current()),
        }
    }

    /// The error of a request during the pause after a challenge.
    #[must_use]
    pub fn challenge(&self, now: UnixMillis) -> Option<Error> {
        self.memory().challenge(now)
    }

    /// Whether the site may be asked now.
    ///
    /// # Errors
    /// No session, an ended one, or the pause after a challenge: then the site must not be asked at all.
    pub fn check(&self, now: UnixMillis) -> Result<()> {
        let memory = self.memory();
        match memory.state(now) {
            SessionState::Missing => Err(Error::new(
                ErrorKind::SessionMissing,
                "No Qwen session is configured. Sign in at chat.qwen.ai, copy the Cookie header and give it to this server: PUT /admin/session, or set QWEN_COOKIES (or QWEN_AUTH_TOKEN).",
            )),
            SessionState::Expired if memory.left(now) == Some(0) => Err(ended()),
            _ => memory.challenge(now).map_or(Ok(()), Err),
        }
    }

    /// The site took the credentials. Gives whether others should know.
    fn mark_accepted(&self, used: &CredentialsLease, now: UnixMillis) -> bool {
        let mut memory = self.memory();
        if used.generation != memory.generation {
            return false;
        }
        let status = &mut memory.status;
        status.checked_at = Some(now.seconds());
        let changed = status.refused;
        if changed {
            status.refused = false;
            status.at = now;
        }
        // During the pause after a challenge nothing is sent: what is accepted then was sent before, and tells nothing of it.
        changed
    }

    /// The site told whose the credentials are.
    fn set_owner(&self, used: &CredentialsLease, name: String, now: UnixMillis) {
        let mut memory = self.memory();
        if used.generation == memory.generation {
            memory.status.name = Some(name);
            memory.status.at = now;
        }
    }

    /// The site answered with `error`, which may be about the session. Gives whether others should know.
    fn mark_refused(&self, used: &CredentialsLease, now: UnixMillis, error: &Error) -> bool {
        let mut memory = self.memory();
        match error.kind() {
            ErrorKind::SessionExpired if used.generation == memory.generation => {
                memory.status.checked_at = Some(now.seconds());
                memory.status.at = now;
                !std::mem::replace(&mut memory.status.refused, true)
            }
            // The check is asked of whoever has these cookies; new tokens among them do not change that.
            ErrorKind::Challenge if used.generation >= memory.given => {
                let pause = error.retry_after().unwrap_or_default();
                memory.status.checked_at = Some(now.seconds());
                memory.status.at = now;
                memory.status.challenged_until = now.saturating_add(pause);
                memory.status.verify_url = error.link().unwrap_or_default().to_owned();
                true
            }
            _ => false,
        }
    }

    /// How the session fares at `now`.
    #[must_use]
    pub fn report(&self, now: UnixMillis) -> SessionReport {
        let memory = self.memory();
        let status = &memory.status;
        SessionReport {
            state: memory.state(now),
            expires_at: memory.credentials.as_ref().and_then(|credentials| credentials.expires_at()),
            checked_at: status.checked_at,
            account: status.name.clone(),
            renewable: memory.is_renewable(),
            stored: memory.stored,
            encrypted: memory.stored && memory.sealed,
            challenge: (status.challenged_until > now)
                .then(|| (status.challenged_until.seconds(), status.verify_url.clone())),
        }
    }

    /// Takes over the stored session, where it is another one or newer. Gives what is to be told if it cannot be read.
    fn merge(&self, found: Option<StoredSession>, now: UnixMillis) -> Result<(), &'static str> {
        let mut memory = self.memory();
        memory.synced_at = now;
        if memory.unsaved {
            return Ok(());
        }
        let Some(stored) = found else {
            // The store lost what it had.
            memory.unsaved = memory.stored;
            return Ok(());
        };
        let status: SessionStatus = serde_json::from_str(&stored.status).unwrap_or_default();
        if stored.version == memory.version {
            // The site's refusal of a refresh token is its last word on these credentials, whoever heard it.
            let renewal_refused = status.renewal_refused || memory.status.renewal_refused;
            if status.at > memory.status.at {
                memory.status = status;
            }
            memory.status.renewal_refused = renewal_refused;
            return Ok(());
        }
        let (credentials, is_stored, told) = if stored.value.is_empty() {
            (self.configured.clone(), false, Ok(()))
        } else {
            let opened = self.seal.decrypt(&stored.value, &self.origin);
            match opened.and_then(|text| Credentials::from_json(&text).ok_or("it is damaged")) {
                Ok(credentials) => (Some(Arc::new(credentials)), true, Ok(())),
                Err(problem) => (self.configured.clone(), false, Err(problem)),
            }
        };
        let given = status.given_at != memory.status.given_at;
        memory.adopt(credentials, is_stored, stored.version);
        memory.sealed = is_stored && Seal::is_sealed(&stored.value);
        memory.status = if told.is_ok() { status } else { SessionStatus::default() };
        if given {
            memory.given = memory.generation;
        }
        told
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn account(&self) -> AccountId {
        AccountId::new(
            self.credentials.as_ref().map(|credentials| credentials.account().to_owned()).unwrap_or_default(),
        )
    }

    fn current(&self) -> CredentialsLease {
        CredentialsLease { credentials: self.credentials.clone(), generation: self.generation }
    }

    /// Uses other credentials from now on.
    fn adopt(&mut self, credentials: Option<Arc<Credentials>>, stored: bool, version: u64) {
        let jar = |credentials: &Option<Arc<Credentials>>| {
            credentials.as_ref().map(|credentials| credentials.cookie().to_owned())
        };
        if jar(&self.credentials) != jar(&credentials) {
            self.generation = self.generation.saturating_add(1);
            self.back_off = None;
            self.failures = 0;
        }
        self.credentials = credentials;
        self.stored = stored;
        self.version = version;
        self.unsaved = false;
        self.sealed = false;
    }

    /// A person gave the credentials: whatever was known of others does not count.
    fn reset(&mut self, status: SessionStatus) {
        self.generation = self.generation.saturating_add(1);
        self.given = self.generation;
        self.status = status;
        self.back_off = None;
        self.failures = 0;
    }

    fn left(&self, now: UnixMillis) -> Option<u64> {
        self.credentials.as_ref()?.left(self.seconds(now))
    }

    /// The site's time in seconds, of this machine's in milliseconds.
    fn seconds(&self, now: UnixMillis) -> UnixSeconds {
        self.clock.of_site(now).seconds()
    }

    /// Whether the token seems to have ended or to be about to, and no answer has told yet whether the clock is right.
    fn is_in_doubt(&self, now: UnixMillis) -> bool {
        let is_short = |credentials: &Arc<Credentials>| {
            credentials.left(self.seconds(now)).is_some_and(|left| left < credentials.early())
        };
        !self.clock.is_known() && now >= self.silent_until && self.credentials.as_ref().is_some_and(is_short)
    }

    fn is_renewable(&self) -> bool {
        !self.status.renewal_refused && self.credentials.as_ref().is_some_and(|it| it.refresh_token().is_some())
    }

    fn state(&self, now: UnixMillis) -> SessionState {
        let Some(credentials) = &self.credentials else { return SessionState::Missing };
        let status = &self.status;
        let left = credentials.left(self.seconds(now));
        let is_over = left == Some(0) || status.refused;
        if is_over && !self.is_renewable() {
            SessionState::Expired
        } else if status.challenged_until > now {
            SessionState::Challenged
        } else if is_over || left.is_some_and(|left| left < credentials.early()) {
            SessionState::Expiring
        } else if status.checked_at.is_some_and(|at| at.millis() >= status.challenged_until) {
            SessionState::Valid
        } else {
            SessionState::Unknown
        }
    }

    fn challenge(&self, now: UnixMillis) -> Option<Error> {
        let until = Some(self.status.challenged_until).filter(|until| *until > now)?;
        let left = whole_seconds(until.since(now));
        Some(
            Error::new(
                ErrorKind::Challenge,
                "chat.qwen.ai has asked for a human check, so nothing is sent to it for a while. Open the link in the browser of this account, pass the check, then give this server the fresh cookies (PUT /admin/session).",
            )
            .with_link(self.status.verify_url.clone())
            .with_retry_after(left),
        )
    }

    /// Whether to renew; `soon` = also what lasts for so many seconds only.
    fn need(&self, now: UnixMillis, soon: u64) -> Need {
        let Some(credentials) = self.credentials.as_ref().filter(|_| self.is_renewable()) else { return Need::Nothing };
        let waiting = self.back_off.is_some_and(|(until, _)| until > now);
        match credentials.left(self.seconds(now)) {
            _ if self.status.refused => Need::Now,
            Some(0) => Need::Now,
            _ if waiting => Need::Nothing,
            Some(left) if left <= credentials.early() / LAST_PART => Need::Now,
            Some(left) if left < credentials.early().max(soon) => Need::Soon,
            _ => Need::Nothing,
        }
    }

    /// A renewal failed for the moment.
    fn failed(&mut self, now: UnixMillis, kind: ErrorKind) {
        let pause = FIRST_BACK_OFF.saturating_mul(1 << self.failures.min(10)).min(MAX_BACK_OFF);
        self.failures = self.failures.saturating_add(1);
        self.back_off = Some((now.saturating_add(pause), kind));
    }

    /// Why no renewal is tried now.
    fn hindrance(&self, now: UnixMillis) -> Option<Error> {
        if !self.is_renewable() {
            return Some(ended());
        }
        if let Some(challenge) = self.challenge(now) {
            return Some(challenge);
        }
        let (until, kind) = self.back_off.filter(|(until, _)| *until > now)?;
        let wait = whole_seconds(until.since(now));
        let message = format!(
            "The Qwen session has ended, and its renewal failed for the moment ({}); it is tried again in {} s.",
            kind.code(),
            wait.as_secs()
        );
        Some(Error::new(kind, message).with_retry_after(wait))
    }
}

/// The time, in seconds that a client may be told: rounded up.
fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(u64::try_from(time.as_millis().div_ceil(1000)).unwrap_or(u64::MAX))
}

fn ended() -> Error {
    Error::new(
        ErrorKind::SessionExpired,
        "The Qwen session has ended. Sign in at chat.qwen.ai, copy the cookies again and give them to this server: PUT /admin/session, or set QWEN_COOKIES.",
    )
}

#[cfg(test)]
mod tests;
