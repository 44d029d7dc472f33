//! The state machine of the session. It has no input and no output of its own; times are arguments.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::credentials::Credentials;
use crate::{
    config::AccountName,
    error::{Error, ErrorKind, Result},
    unix_time::{UnixMillis, UnixSeconds},
    upstream::{AccountId, qwen::clock::Clock},
};

/// How long a session that the site refused is not tried again.
const REFUSAL_PAUSE: Duration = Duration::from_secs(30);
/// The pause after the first failed refresh. It doubles with each further failure.
const FIRST_BACK_OFF: Duration = Duration::from_secs(5);
const MAX_BACK_OFF: Duration = Duration::from_secs(5 * 60);
/// Requests wait for the refresh in the last 1/10 of the expiry window.
const BLOCKING_FRACTION: u64 = 10;

/// What is known of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// The site accepted it, and it does not end soon.
    Valid,
    /// It ends within three minutes, or it has ended and can be refreshed.
    Expiring,
    /// It has ended.
    Expired,
    /// The site asks for a human check.
    Challenged,
    /// No session is configured.
    Missing,
    /// The site has not been asked yet.
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

/// The state, with everything about the session that may be shown.
#[derive(Clone, Debug)]
pub struct SessionReport {
    /// What is known of the session.
    pub state: SessionState,
    /// When the access token ends, if that is known.
    pub expires_at: Option<UnixSeconds>,
    /// When the site last answered about the session.
    pub checked_at: Option<UnixSeconds>,
    /// The account's name at the site.
    pub account: Option<String>,
    /// Whether the access token can be refreshed without a person.
    pub renewable: bool,
    /// Whether the credentials were set or refreshed at run time; otherwise they are the configured ones.
    pub stored: bool,
    /// Whether the stored credentials are encrypted.
    pub encrypted: bool,
    /// The end of the captcha cooldown, and the link to the check.
    pub challenge: Option<(UnixSeconds, String)>,
}

/// The credentials that a request uses. The request carries them along, so that what the site says of them counts for no
/// others.
#[derive(Clone, Debug)]
pub struct CredentialsLease {
    pub(in crate::upstream::qwen) credentials: Option<Arc<Credentials>>,
    pub(super) generation: u64,
}

/// What the site's answers showed, and what a person decided. All isolates share it through the store, as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SessionStatus {
    /// When it last changed.
    #[serde(rename = "at")]
    pub(super) changed_at: UnixMillis,
    /// When a person last replaced or cleared the credentials.
    #[serde(rename = "given_at")]
    pub(super) replaced_at: UnixMillis,
    pub(super) checked_at: Option<UnixSeconds>,
    /// Whether the site refused the access token.
    pub(super) refused: bool,
    /// Whether the site refused the refresh token.
    #[serde(rename = "renewal_refused")]
    pub(super) refresh_refused: bool,
    pub(super) challenged_until: UnixMillis,
    pub(super) verify_url: String,
    pub(super) name: Option<String>,
    /// Whether a person deleted the account with its session.
    #[serde(rename = "forgotten", skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_forgotten: bool,
}

/// Whether to refresh the credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Nothing,
    /// In the background.
    Soon,
    /// Before anything else.
    Now,
}

#[derive(Debug)]
pub(super) struct State {
    /// The account's name here.
    pub(super) name: AccountName,
    pub(super) credentials: Option<Arc<Credentials>>,
    /// Rises with each change of the credentials in this process.
    pub(super) generation: u64,
    /// The generation at which a person last replaced the credentials.
    pub(super) epoch: u64,
    /// The version of the stored row that the credentials come from. Every row begins with version 0, which stands for the
    /// configured credentials.
    pub(super) version: u64,
    /// Whether the credentials were set or refreshed at run time.
    pub(super) stored: bool,
    /// Whether the store lacks the credentials.
    pub(super) credentials_dirty: bool,
    /// Whether the store has the credentials encrypted.
    pub(super) encrypted: bool,
    pub(super) status: SessionStatus,
    /// Whether the store lacks the status.
    pub(super) status_dirty: bool,
    /// When the stored row was last read.
    pub(super) synced_at: Option<UnixMillis>,
    /// Set while a refresh runs in this process; the refresh ends by then.
    pub(super) refreshing_until: Option<UnixMillis>,
    /// No refresh before this time, and the kind of the failure.
    pub(super) back_off: Option<(UnixMillis, ErrorKind)>,
    /// How many refreshes failed one after another.
    failures: u32,
    /// The site's clock: tokens end by it.
    clock: Arc<Clock>,
    /// Set while a request asks the site for its time; the question ends by then.
    pub(super) clock_probe_until: Option<UnixMillis>,
    /// No request asks the site for its time before this.
    pub(super) next_clock_probe_at: Option<UnixMillis>,
}

impl State {
    pub(super) fn new(name: AccountName, credentials: Option<Arc<Credentials>>, clock: Arc<Clock>) -> Self {
        Self {
            name,
            credentials,
            generation: 1,
            epoch: 1,
            version: 0,
            stored: false,
            credentials_dirty: false,
            encrypted: false,
            status: SessionStatus::default(),
            status_dirty: false,
            synced_at: None,
            refreshing_until: None,
            back_off: None,
            failures: 0,
            clock,
            clock_probe_until: None,
            next_clock_probe_at: None,
        }
    }

    /// Whose conversations and files these are: the site's user, and for accounts other than `default` their name too.
    pub(super) fn account(&self) -> AccountId {
        let user = self.credentials.as_ref().map(|credentials| credentials.account()).unwrap_or_default();
        AccountId::new(if self.name.is_default() { user.to_owned() } else { format!("{}/{user}", self.name) })
    }

    pub(super) fn lease(&self) -> CredentialsLease {
        CredentialsLease { credentials: self.credentials.clone(), generation: self.generation }
    }

    /// Uses other credentials from now on.
    pub(super) fn adopt(&mut self, credentials: Option<Arc<Credentials>>, stored: bool, version: u64) {
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
        self.credentials_dirty = false;
        self.encrypted = false;
    }

    /// Begins a new epoch: a person replaced the credentials, and what was known of the old ones no longer counts.
    pub(super) fn begin_epoch(&mut self, status: SessionStatus) {
        self.generation = self.generation.saturating_add(1);
        self.epoch = self.generation;
        self.status = status;
        self.back_off = None;
        self.failures = 0;
    }

    /// The site accepted the credentials. Returns whether other isolates should learn of it.
    pub(super) fn mark_accepted(&mut self, used: &CredentialsLease, now: UnixMillis) -> bool {
        if used.generation != self.generation {
            return false;
        }
        let status = &mut self.status;
        status.checked_at = Some(now.seconds());
        let changed = status.refused;
        if changed {
            status.refused = false;
            status.changed_at = now;
        }
        // A captcha cooldown stays: what is accepted during it was sent before it.
        changed
    }

    /// The site answered with `error`, which may be about the session. Returns whether other isolates should learn of it.
    pub(super) fn mark_refused(&mut self, used: &CredentialsLease, now: UnixMillis, error: &Error) -> bool {
        match error.kind() {
            ErrorKind::SessionExpired if used.generation == self.generation => {
                self.status.checked_at = Some(now.seconds());
                self.status.changed_at = now;
                !std::mem::replace(&mut self.status.refused, true)
            }
            // The site asks everybody who has these cookies; new tokens among them do not change that.
            ErrorKind::Challenge if used.generation >= self.epoch => {
                let cooldown = error.retry_after().unwrap_or_default();
                self.status.checked_at = Some(now.seconds());
                self.status.changed_at = now;
                self.status.challenged_until = now.saturating_add(cooldown);
                self.status.verify_url = error.link().unwrap_or_default().to_owned();
                true
            }
            _ => false,
        }
    }

    /// The site named the owner of the credentials.
    pub(super) fn set_owner(&mut self, used: &CredentialsLease, name: String, now: UnixMillis) {
        if used.generation == self.generation {
            self.status.name = Some(name);
            self.status.changed_at = now;
        }
    }

    /// What is known of the session at `now`.
    pub(super) fn session_state(&self, now: UnixMillis) -> SessionState {
        let Some(credentials) = &self.credentials else { return SessionState::Missing };
        let status = &self.status;
        let left = credentials.time_left(self.site_time(now));
        let has_ended = left == Some(Duration::ZERO) || status.refused;
        if has_ended && !self.is_renewable() {
            SessionState::Expired
        } else if status.challenged_until > now {
            SessionState::Challenged
        } else if has_ended || left.is_some_and(|left| left < credentials.expiry_window()) {
            SessionState::Expiring
        } else if status.checked_at.is_some_and(|at| at.millis() >= status.challenged_until) {
            SessionState::Valid
        } else {
            SessionState::Unknown
        }
    }

    pub(super) fn report(&self, now: UnixMillis) -> SessionReport {
        let status = &self.status;
        SessionReport {
            state: self.session_state(now),
            expires_at: self.credentials.as_ref().and_then(|credentials| credentials.expires_at()),
            checked_at: status.checked_at,
            account: status.name.clone(),
            renewable: self.is_renewable(),
            stored: self.stored,
            encrypted: self.stored && self.encrypted,
            challenge: (status.challenged_until > now)
                .then(|| (status.challenged_until.seconds(), status.verify_url.clone())),
        }
    }

    /// Whether the site may be asked now.
    pub(super) fn check(&self, now: UnixMillis) -> Result<()> {
        let is_over = |credentials: &Arc<Credentials>| {
            credentials.time_left(self.site_time(now)).is_some_and(|left| left.is_zero())
        };
        match self.session_state(now) {
            SessionState::Missing => Err(session_missing(&self.name)),
            SessionState::Expired if self.was_refused_lately(now) || self.credentials.as_ref().is_some_and(is_over) => {
                Err(Error::session_expired())
            }
            _ => self.captcha_cooldown(now).map_or(Ok(()), Err),
        }
    }

    /// Whether the site need not be asked again yet. Codex sends a request six times in a few seconds, however it is refused.
    fn was_refused_lately(&self, now: UnixMillis) -> bool {
        let status = &self.status;
        status.refused && status.checked_at.is_some_and(|at| now.since(at.millis()) < REFUSAL_PAUSE)
    }

    /// The error of a request during a captcha cooldown.
    pub(super) fn captcha_cooldown(&self, now: UnixMillis) -> Option<Error> {
        let until = Some(self.status.challenged_until).filter(|until| *until > now)?;
        Some(captcha_cooldown(self.status.verify_url.clone(), until.since(now)))
    }

    /// The site's time at this machine's `now`.
    fn site_time(&self, now: UnixMillis) -> UnixSeconds {
        self.clock.of_site(now).seconds()
    }

    /// Whether the token seems to have ended or to end soon, and no answer has shown yet whether this machine's clock is right.
    pub(super) fn is_clock_in_doubt(&self, now: UnixMillis) -> bool {
        let ends_soon = |credentials: &Arc<Credentials>| {
            credentials.time_left(self.site_time(now)).is_some_and(|left| left < credentials.expiry_window())
        };
        !self.clock.is_known()
            && self.next_clock_probe_at.is_none_or(|at| now >= at)
            && self.credentials.as_ref().is_some_and(ends_soon)
    }

    fn is_renewable(&self) -> bool {
        !self.status.refresh_refused && self.credentials.as_ref().is_some_and(|it| it.refresh_token().is_some())
    }

    pub(super) fn is_refreshing(&self, now: UnixMillis) -> bool {
        self.refreshing_until.is_some_and(|until| now < until)
    }

    /// Whether to refresh. A token with less than `horizon` left needs it soon.
    pub(super) fn need(&self, now: UnixMillis, horizon: Duration) -> Need {
        let Some(credentials) = self.credentials.as_ref().filter(|_| self.is_renewable()) else { return Need::Nothing };
        let window = credentials.expiry_window();
        let is_backing_off = self.back_off.is_some_and(|(until, _)| until > now);
        match credentials.time_left(self.site_time(now)) {
            _ if self.status.refused => Need::Now,
            Some(Duration::ZERO) => Need::Now,
            _ if is_backing_off => Need::Nothing,
            Some(left) if left.as_secs() <= window.as_secs() / BLOCKING_FRACTION => Need::Now,
            Some(left) if left < window.max(horizon) => Need::Soon,
            _ => Need::Nothing,
        }
    }

    /// A refresh failed with an error that may pass.
    pub(super) fn mark_refresh_failed(&mut self, now: UnixMillis, kind: ErrorKind) {
        let pause = FIRST_BACK_OFF.saturating_mul(1 << self.failures.min(10)).min(MAX_BACK_OFF);
        self.failures = self.failures.saturating_add(1);
        self.back_off = Some((now.saturating_add(pause), kind));
    }

    /// Why no refresh may begin now.
    pub(super) fn refresh_obstacle(&self, now: UnixMillis) -> Option<Error> {
        if !self.is_renewable() {
            return Some(Error::session_expired());
        }
        self.captcha_cooldown(now).or_else(|| {
            let (until, kind) = self.back_off.filter(|(until, _)| *until > now)?;
            Some(refresh_backing_off(kind, until.since(now)))
        })
    }
}

fn session_missing(name: &AccountName) -> Error {
    if !name.is_default() {
        let message = format!(
            "The account '{name}' of this server has no Qwen session. Sign in at chat.qwen.ai as the person whom it is for, copy the Cookie header and give it to this server: PUT /admin/accounts/{name}/session."
        );
        return Error::new(ErrorKind::SessionMissing, message);
    }
    Error::new(
        ErrorKind::SessionMissing,
        "No Qwen session is configured. Sign in at chat.qwen.ai, copy the Cookie header and give it to this server: PUT /admin/session, or set QWEN_COOKIES (or QWEN_AUTH_TOKEN).",
    )
}

fn captcha_cooldown(verify_url: String, left: Duration) -> Error {
    Error::new(
        ErrorKind::Challenge,
        "chat.qwen.ai has asked for a human check, so nothing is sent to it for a while. Open the link in the browser of this account, pass the check, then give this server the fresh cookies (PUT /admin/session).",
    )
    .with_link(verify_url)
    .with_retry_after(whole_seconds(left))
}

fn refresh_backing_off(kind: ErrorKind, left: Duration) -> Error {
    let wait = whole_seconds(left);
    let message = format!(
        "The Qwen session has ended, and its renewal failed for the moment ({}); it is tried again in {} s.",
        kind.code(),
        wait.as_secs()
    );
    Error::new(kind, message).with_retry_after(wait)
}

/// Rounds up to whole seconds, the unit of `Retry-After`.
fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(u64::try_from(time.as_millis().div_ceil(1000)).unwrap_or(u64::MAX))
}
