//! Renewing, checking and sharing the session.
//!
//! A renewal runs once at a time: within a process by a mark, between isolates by a lease on the stored row. It is a task of
//! its own, so that a client who leaves cannot break it off between the site's answer and the store. Whoever waits for it
//! polls: on the edge a request must not be woken by another one's event.

use std::{sync::Arc, time::Duration};

use http::Method;
use serde_json::Value as Json;

use super::{Credentials, CredentialsLease, Need, Session, SessionStatus};
use crate::{
    error::{Error, ErrorKind, Result},
    platform::telemetry::UpstreamKind,
    unix_time::{UnixMillis, UnixSeconds},
    upstream::Host,
    upstream::StoredSession,
    upstream::qwen::{errors, http_client::Purpose, wire},
};

/// How often the stored session is looked at: so soon do all isolates use a new one.
const SYNC_INTERVAL: Duration = Duration::from_secs(2);
/// The longest a renewal may take, and how long its lease lasts. The edge ends deferred work after 30 s.
const RENEWAL: Duration = Duration::from_secs(20);
const FIRST_POLL: Duration = Duration::from_millis(5);
const MAX_POLL: Duration = Duration::from_millis(100);
/// How long the question for the time may take, and how long after one without an answer nobody asks.
const ASKING: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(60);
/// How often a person's word is tried against others' before the store counts as failing.
const PUT_TRIES: usize = 10;
/// How often the other holder of the lease is asked for.
const LEASE_POLL: Duration = Duration::from_millis(200);
/// The next look after a check is so many seconds away, with some to spare: what ends before is renewed now.
const UNTIL_NEXT_CHECK: u64 = 11 * 60;
/// Rotated tokens exist nowhere else until they are stored, so that is tried more than once.
const STORE_TRIES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(500)];
/// The longest name of an account that is shown, in characters.
const MAX_NAME: usize = 100;
/// Sessions of other configurations are forgotten after so long: refresh tokens do not live longer.
const FORGET_AFTER: Duration = Duration::from_secs(60 * 24 * 60 * 60);

impl Session {
    /// Makes sure, as far as that is possible, that the credentials can be used now.
    ///
    /// # Errors
    /// No session, an ended one that cannot be renewed, or the pause after a challenge: then the site must not be asked.
    pub async fn ready<P: Host>(self: &Arc<Self>, platform: &P) -> Result<()> {
        self.sync(platform).await;
        self.learn_clock_skew(platform).await;
        let now = platform.now();
        let (need, generation) = {
            let memory = self.memory();
            let need = if memory.challenge(now).is_some() { Need::Nothing } else { memory.need(now, 0) };
            (need, memory.generation)
        };
        match need {
            Need::Nothing => {}
            // What still works may be used, whatever hinders the renewal.
            Need::Soon => drop(self.begin(platform, generation)),
            Need::Now => self.renew(platform, generation).await?,
        }
        self.check(platform.now())
    }

    /// Asks the site once, before a token counts as ended by a clock that may be wrong: any answer tells the time. One asks
    /// for all.
    async fn learn_clock_skew<P: Host>(self: &Arc<Self>, platform: &P) {
        let mut poll_interval = FIRST_POLL;
        let used = loop {
            {
                let mut memory = self.memory();
                let now = platform.now();
                if !memory.is_in_doubt(now) || memory.challenge(now).is_some() {
                    return;
                }
                if now >= memory.asking_until {
                    memory.asking_until = now.saturating_add(ASKING);
                    break memory.current();
                }
            }
            platform.sleep(poll_interval).await;
            poll_interval = poll_interval.saturating_mul(2).min(MAX_POLL);
        };
        if let Some(credentials) = &used.credentials {
            match self.who(platform, credentials).await {
                Ok(_) => self.accepted(platform, &used),
                Err(error) => self.refused(platform, &used, &error),
            }
        }
        let mut memory = self.memory();
        memory.asking_until = UnixMillis::default();
        memory.silent_until = platform.now().saturating_add(SILENCE);
    }

    /// Looks at the stored session, if that was not done within the last seconds.
    pub async fn sync(&self, platform: &impl Host) {
        let now = platform.now();
        {
            let mut memory = self.memory();
            if now < memory.synced_at.saturating_add(SYNC_INTERVAL) {
                return;
            }
            // The very first look is waited for by all; afterwards one looks for all.
            if memory.synced_at > UnixMillis::default() {
                memory.synced_at = now;
            }
        }
        self.load(platform).await;
    }

    async fn load(&self, platform: &impl Host) {
        let found = platform.read_session(&self.origin).await;
        let Some(found) = self.store_health.ok_or_log("reading the session", found) else {
            // Without a store there is nothing to wait for.
            self.memory().synced_at = platform.now();
            return;
        };
        let version = found.as_ref().map_or(0, |found| found.version);
        self.merge_or_log(found, platform.now());
        if self.memory().unsaved {
            self.save(platform, version).await;
        }
    }

    /// [`Session::merge`], and tells if what is stored cannot be read.
    fn merge_or_log(&self, found: Option<StoredSession>, now: UnixMillis) {
        if let Err(problem) = self.merge(found, now) {
            tracing::error!(problem, "the stored session cannot be used; the configured one is");
        }
    }

    /// Notes that the site took the credentials.
    pub(in crate::upstream::qwen) fn accepted<P: Host>(self: &Arc<Self>, platform: &P, used: &CredentialsLease) {
        if self.mark_accepted(used, platform.now()) {
            self.share_later(platform);
        }
    }

    /// Notes an error of the site, which may be about the session.
    pub(in crate::upstream::qwen) fn refused<P: Host>(
        self: &Arc<Self>,
        platform: &P,
        used: &CredentialsLease,
        error: &Error,
    ) {
        if self.mark_refused(used, platform.now(), error) {
            tracing::warn!(%error, "the session is in trouble");
            self.share_later(platform);
        }
    }

    /// After a refusal: renews what was used, unless that has happened since. Gives whether to try once more.
    pub(in crate::upstream::qwen) async fn heal<P: Host>(
        self: &Arc<Self>,
        platform: &P,
        used: &CredentialsLease,
        error: &Error,
    ) -> bool {
        error.kind() == ErrorKind::SessionExpired && self.renew(platform, used.generation).await.is_ok()
    }

    /// Every ten minutes: renews what will not last until the next time, and asks the site who is signed in.
    pub(crate) async fn maintain<P: Host>(self: &Arc<Self>, platform: &P) -> Result<()> {
        self.load(platform).await;
        let before = platform.now().saturating_sub(FORGET_AFTER);
        let forgotten = platform.forget_other_sessions(&self.origin, before).await;
        self.store_health.ok_or_log("forgetting sessions of other configurations", forgotten);
        let is_in_doubt = {
            let memory = self.memory();
            let now = platform.now();
            if memory.credentials.is_none() || memory.challenge(now).is_some() {
                return Ok(());
            }
            memory.is_in_doubt(now)
        };
        // The site's answer tells the time, too: whether to renew shows afterwards.
        let asked = if is_in_doubt { Some(self.verify(platform).await) } else { None };
        let (need, generation) = {
            let memory = self.memory();
            (memory.need(platform.now(), UNTIL_NEXT_CHECK), memory.generation)
        };
        let renewed = if need == Need::Nothing { Ok(()) } else { self.renew(platform, generation).await };
        let checked = match (renewed.and_then(|()| self.check(platform.now())), asked) {
            (Ok(()), Some(asked)) => asked,
            (Ok(()), None) => self.verify(platform).await,
            (Err(error), _) => Err(error),
        };
        match &checked {
            Ok(()) => tracing::info!(state = self.report(platform.now()).state.as_str(), "the session was checked"),
            Err(error) => tracing::warn!(%error, "the session's check failed"),
        }
        checked
    }

    /// Asks the site who is signed in; renews once if it says nobody.
    async fn verify<P: Host>(self: &Arc<Self>, platform: &P) -> Result<()> {
        let mut healed = false;
        loop {
            let used = self.current();
            let Some(credentials) = &used.credentials else { return Ok(()) };
            match self.who(platform, credentials).await {
                Ok(who) => {
                    self.mark_accepted(&used, platform.now());
                    self.set_owner(&used, who.name, platform.now());
                    self.share(platform).await;
                    return Ok(());
                }
                Err(error) => {
                    self.refused(platform, &used, &error);
                    if healed || !self.heal(platform, &used, &error).await {
                        return Err(error);
                    }
                    healed = true;
                }
            }
        }
    }

    /// Who is signed in with these credentials (upstream-protocol 1.6).
    async fn who(&self, platform: &impl Host, credentials: &Credentials) -> Result<Who> {
        let request = self.http.request(
            platform,
            Some(credentials),
            Method::GET,
            wire::WHO,
            Purpose::Data,
            bytes::Bytes::new(),
        )?;
        let (head, body) = self.http.exchange(platform, UpstreamKind::Site, request).await?;
        if head.status.is_success()
            && let Some(who) = crate::json::from_bytes::<Json>(&body).ok().as_ref().and_then(Who::read)
        {
            return if who.is_guest { Err(super::ended()) } else { Ok(who) };
        }
        let error = errors::from_answer(head.status, &head.headers, &body);
        Err(match error.kind() {
            // Without a session the site shows its own page here, or nothing. Another page is a gateway's.
            ErrorKind::UpstreamInvalid if head.status.is_success() && errors::is_sites_page(&body) => super::ended(),
            ErrorKind::UpstreamEmpty if head.status.is_success() => super::ended(),
            _ => error,
        })
    }

    /// Takes new credentials from a person: they are checked, stored and used at once. What fails is refused, and the old
    /// session stays. Gives whether they are stored.
    ///
    /// # Errors
    /// What the site says against them; on the edge also `store_unavailable`, since no other isolate would learn of them.
    pub(crate) async fn replace<P: Host>(self: &Arc<Self>, platform: &P, credentials: Credentials) -> Result<bool> {
        self.load(platform).await;
        let mut credentials = credentials;
        let clock = self.http.clock();
        let is_over = credentials.left(clock.of_site(platform.now()).seconds()) == Some(0);
        let mut may_renew = credentials.refresh_token().is_some();
        // Until the site has told its time, only its word counts.
        if is_over && clock.is_known() {
            if !may_renew {
                return Err(super::ended());
            }
            credentials = self.ask_renewal(platform, &credentials).await?;
            may_renew = false;
        }
        let who = match self.who(platform, &credentials).await {
            Err(error) if error.kind() == ErrorKind::SessionExpired && may_renew => {
                credentials = self.ask_renewal(platform, &credentials).await?;
                self.who(platform, &credentials).await?
            }
            done => done?,
        };
        let credentials = credentials.of_account(&who.id);
        let now = platform.now();
        let status = SessionStatus {
            at: now,
            given_at: now,
            checked_at: Some(now.seconds()),
            name: Some(who.name),
            ..SessionStatus::default()
        };
        let stored = self.put(platform, Some(&credentials), &status).await;
        if stored.is_none() && self.is_distributed {
            return Err(Error::store_unavailable("the session was not stored"));
        }
        let mut memory = self.memory();
        let version = stored.unwrap_or(memory.version);
        memory.adopt(Some(Arc::new(credentials)), true, version);
        memory.unsaved = stored.is_none();
        memory.sealed = stored.is_some() && self.seal.is_keyed();
        memory.reset(status);
        Ok(stored.is_some())
    }

    /// Forgets the session that was given or renewed at run time; the configured one is used again.
    ///
    /// # Errors
    /// `store_unavailable`: then nothing has changed.
    pub async fn clear(&self, platform: &impl Host) -> Result<()> {
        self.load(platform).await;
        let now = platform.now();
        let status = SessionStatus { at: now, given_at: now, ..SessionStatus::default() };
        let Some(version) = self.put(platform, None, &status).await else {
            return Err(Error::store_unavailable("the session was not forgotten"));
        };
        let mut memory = self.memory();
        memory.adopt(self.configured.clone(), false, version);
        memory.reset(status);
        Ok(())
    }

    /// Stores what a person decided, over whatever is there; `None` = the store failed. Gives the version.
    pub(super) async fn put(
        &self,
        platform: &impl Host,
        credentials: Option<&Credentials>,
        status: &SessionStatus,
    ) -> Option<u64> {
        for _ in 0..PUT_TRIES {
            let found = platform.read_session(&self.origin).await;
            let expected = self.store_health.ok_or_log("reading the session", found)?.map_or(0, |found| found.version);
            let new = self.sealed(platform, credentials, status, expected.saturating_add(1))?;
            let done = platform.replace_session(&self.origin, expected, &new, platform.now()).await;
            // Somebody else may have been quicker; the person's word is the last.
            if self.store_health.ok_or_log("storing the session", done)? {
                return Some(new.version);
            }
        }
        tracing::warn!("others change the stored session all the time");
        None
    }

    pub(super) fn sealed(
        &self,
        platform: &impl Host,
        credentials: Option<&Credentials>,
        status: &SessionStatus,
        version: u64,
    ) -> Option<StoredSession> {
        let value = match credentials {
            Some(credentials) => {
                let random = || {
                    let drawn = platform.random();
                    drawn.inspect_err(|error| tracing::error!(%error, "the session cannot be encrypted")).ok()
                };
                let random = if self.seal.is_keyed() { [random()?, random()?] } else { [[0; 16]; 2] };
                self.seal.encrypt(&credentials.to_json(), &self.origin, random)?
            }
            None => String::new(),
        };
        Some(StoredSession { version, value, status: serde_json::to_string(status).unwrap_or_default() })
    }

    /// Renews the credentials of `generation` and waits for that; at once if they have changed since.
    async fn renew<P: Host>(self: &Arc<Self>, platform: &P, generation: u64) -> Result<()> {
        self.begin(platform, generation)?;
        let mut poll_interval = FIRST_POLL;
        loop {
            {
                let memory = self.memory();
                let now = platform.now();
                if memory.generation != generation {
                    return Ok(());
                }
                if now >= memory.renewing_until {
                    return Err(memory.hindrance(now).unwrap_or_else(super::ended));
                }
            }
            platform.sleep(poll_interval).await;
            poll_interval = poll_interval.saturating_mul(2).min(MAX_POLL);
        }
    }

    /// Waits until no renewal is on its way, as what it brings exists nowhere else until it is stored, and until the store
    /// knows how the session fares.
    pub(crate) async fn flush(&self, platform: &impl Host) {
        while platform.now() < self.memory().renewing_until {
            platform.sleep(MAX_POLL).await;
        }
        if self.memory().unshared {
            self.share(platform).await;
        }
    }

    /// Begins a renewal of the credentials of `generation`, unless one is on its way or they have changed.
    ///
    /// # Errors
    /// Why none can be begun.
    fn begin<P: Host>(self: &Arc<Self>, platform: &P, generation: u64) -> Result<()> {
        let now = platform.now();
        let used = {
            let mut memory = self.memory();
            if memory.generation != generation || now < memory.renewing_until {
                return Ok(());
            }
            if let Some(hindrance) = memory.hindrance(now) {
                return Err(hindrance);
            }
            memory.renewing_until = now.saturating_add(RENEWAL);
            memory.current()
        };
        let (session, detached) = (Arc::clone(self), platform.detached());
        platform.defer(async move {
            let done = crate::platform::timeout(&detached, RENEWAL, session.lead(&detached, &used)).await;
            let done =
                done.unwrap_or_else(|| Err(Error::new(ErrorKind::UpstreamTimeout, "The renewal took too long.")));
            if let Err(error) = done {
                tracing::warn!(%error, "the session was not renewed");
                session.not_renewed(&detached, &used, &error).await;
            }
            session.memory().renewing_until = UnixMillis::default();
        });
        Ok(())
    }

    /// Renews, once the lease is had; or finds that another isolate has renewed meanwhile.
    async fn lead<P: Host>(self: &Arc<Self>, platform: &P, used: &CredentialsLease) -> Result<()> {
        let Some(credentials) = &used.credentials else { return Err(super::ended()) };
        let version = self.memory().version;
        loop {
            let now = platform.now();
            let taken = platform.lease_session(&self.origin, version, now, now.saturating_add(RENEWAL)).await;
            match self.store_health.ok_or_log("taking the lease on the session", taken) {
                // Without a store there is this process alone.
                None => break,
                // Whoever held the lease before may have learned that there is nothing to be had.
                Some((true, found)) => {
                    self.merge_or_log(Some(found), platform.now());
                    if let Some(hindrance) = self.memory().hindrance(now) {
                        return Err(hindrance);
                    }
                    break;
                }
                Some((false, found)) if found.version != version => {
                    self.merge_or_log(Some(found), platform.now());
                    return Ok(());
                }
                Some((false, _)) => platform.sleep(LEASE_POLL).await,
            }
        }
        let new = self.ask_renewal(platform, credentials).await?;
        self.keep_renewed(platform, used, new, version).await;
        tracing::info!(
            expires_at = self.report(platform.now()).expires_at.map(UnixSeconds::get),
            "the session was renewed"
        );
        Ok(())
    }

    /// Stores renewed credentials, then uses them.
    async fn keep_renewed(&self, platform: &impl Host, used: &CredentialsLease, new: Credentials, version: u64) {
        let at = platform.now();
        let status = SessionStatus { at, refused: false, renewal_refused: false, ..self.memory().status.clone() };
        let next = version.saturating_add(1);
        let mut pauses = STORE_TRIES.into_iter();
        let mut unsaved = true;
        if let Some(row) = self.sealed(platform, Some(&new), &status, next) {
            loop {
                let done = platform.replace_session(&self.origin, version, &row, platform.now()).await;
                match self.store_health.ok_or_log("storing the renewed session", done) {
                    Some(true) => {
                        unsaved = false;
                        break;
                    }
                    // A person gave another session meanwhile: that one counts.
                    Some(false) => return self.load(platform).await,
                    None => match pauses.next() {
                        Some(pause) => platform.sleep(pause).await,
                        None => break,
                    },
                }
            }
        }
        let mut memory = self.memory();
        if memory.generation != used.generation {
            return;
        }
        let version = if unsaved { memory.version } else { next };
        memory.adopt(Some(Arc::new(new)), true, version);
        memory.unsaved = unsaved;
        memory.sealed = !unsaved && self.seal.is_keyed();
        // A check may have been asked for meanwhile; that stays.
        memory.status.at = at;
        memory.status.refused = false;
        memory.status.renewal_refused = false;
    }

    /// Stores what the store has missed, over what it has.
    async fn save(&self, platform: &impl Host, found: u64) {
        let (current, status) = {
            let memory = self.memory();
            (memory.current(), memory.status.clone())
        };
        let Some(row) = self.sealed(platform, current.credentials.as_deref(), &status, found.saturating_add(1)) else {
            return;
        };
        let done = platform.replace_session(&self.origin, found, &row, platform.now()).await;
        if self.store_health.ok_or_log("storing the session", done) == Some(true) {
            let mut memory = self.memory();
            if memory.generation == current.generation {
                memory.version = row.version;
                memory.unsaved = false;
                memory.sealed = self.seal.is_keyed();
            }
        }
    }

    /// A renewal failed: for good, by a challenge, or for the moment.
    async fn not_renewed<P: Host>(self: &Arc<Self>, platform: &P, used: &CredentialsLease, error: &Error) {
        let version = {
            let mut memory = self.memory();
            if memory.generation == used.generation {
                match error.kind() {
                    ErrorKind::SessionExpired => {
                        memory.status.renewal_refused = true;
                        memory.status.at = platform.now();
                    }
                    kind => memory.failed(platform.now(), kind),
                }
            }
            memory.version
        };
        if error.kind() == ErrorKind::Challenge {
            self.mark_refused(used, platform.now(), error);
        }
        self.share(platform).await;
        let released = platform.release_session(&self.origin, version).await;
        self.store_health.ok_or_log("giving back the lease on the session", released);
    }

    /// Asks the auth host for a new access token.
    async fn ask_renewal(&self, platform: &impl Host, credentials: &Credentials) -> Result<Credentials> {
        let request = self.http.refresh_request(platform, credentials)?;
        let (head, body) = self.http.exchange(platform, UpstreamKind::Renewal, request).await?;
        let json = crate::json::from_bytes::<Json>(&body).unwrap_or_default();
        let data = json.get("data").unwrap_or(&Json::Null);
        let text = |name: &str| data.get(name).and_then(Json::as_str).filter(|text| is_cookie_value(text));
        let is_good = head.status.is_success() && json.get("success") != Some(&Json::Bool(false));
        let cookie = |name: &str| set_cookie(&head.headers, name).filter(|value| is_cookie_value(value));
        match text("access_token").or_else(|| cookie("token")).filter(|_| is_good) {
            Some(access) => {
                let refresh = text("refresh_token").or_else(|| cookie("refresh_token"));
                let expires_at = data.get("expires_at").and_then(Json::as_u64).map(UnixSeconds::new);
                let now = self.http.clock().of_site(platform.now()).seconds();
                Ok(credentials.renewed(access, refresh, expires_at, now))
            }
            None => {
                let error = errors::from_answer(head.status, &head.headers, &body);
                // Only the site itself can end a session for good; a page is of something that stands in between.
                let by_site = json.is_object() || head.status == http::StatusCode::UNAUTHORIZED;
                Err(if error.kind() == ErrorKind::SessionExpired && !by_site {
                    Error::new(ErrorKind::UpstreamError, "The renewal of the Qwen session was answered with a page.")
                } else {
                    error
                })
            }
        }
    }

    /// Writes down how the session fares, for other isolates and for after a restart.
    async fn share(&self, platform: &impl Host) {
        let (version, status) = {
            let memory = self.memory();
            (memory.version, serde_json::to_string(&memory.status).unwrap_or_default())
        };
        let kept = platform.save_session_status(&self.origin, version, &status, platform.now()).await;
        self.store_health.ok_or_log("keeping how the session fares", kept);
        let mut memory = self.memory();
        memory.unshared &= serde_json::to_string(&memory.status).unwrap_or_default() != status;
    }

    fn share_later<P: Host>(self: &Arc<Self>, platform: &P) {
        self.memory().unshared = true;
        let (session, detached) = (Arc::clone(self), platform.detached());
        platform.defer(async move { session.share(&detached).await });
    }
}

/// Whom the site takes us for.
struct Who {
    id: String,
    name: String,
    is_guest: bool,
}

impl Who {
    /// Reads the account's record; `None` when it is none.
    fn read(json: &Json) -> Option<Self> {
        let record = json.get("data").filter(|data| data.get("id").is_some()).unwrap_or(json);
        let text = |name: &str| record.get(name).and_then(Json::as_str).filter(|text| !text.is_empty());
        let name = text("name").or_else(|| text("email")).unwrap_or_default();
        Some(Self {
            id: text("id")?.to_owned(),
            name: name.chars().filter(|character| !character.is_control()).take(MAX_NAME).collect(),
            is_guest: text("role").is_some_and(|role| matches!(role, "guest" | "visitor" | "pending")),
        })
    }
}

/// The value that an answer sets a cookie to.
fn set_cookie<'a>(headers: &'a http::HeaderMap, wanted: &str) -> Option<&'a str> {
    headers
        .get_all(http::header::SET_COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok()?.split(';').next()?.split_once('='))
        .find(|(name, _)| name.trim() == wanted)
        .map(|(_, value)| value.trim())
}

/// Whether a value can stand in a `Cookie` header.
fn is_cookie_value(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| (b'!'..=b'~').contains(&byte) && byte != b';' && byte != b',')
}
