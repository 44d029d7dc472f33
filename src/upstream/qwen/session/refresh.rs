//! Refreshing the access token.
//!
//! One refresh runs at a time: within a process by `refreshing_until`, between isolates by a lease on the stored row. It is a
//! task of its own, so that a client who leaves cannot stop it between the site's answer and the store. Requests that wait for
//! it poll.

use std::{sync::Arc, time::Duration};

use serde_json::Value as Json;

use super::{
    Session,
    credentials::Credentials,
    state::{CredentialsLease, Need, SessionStatus},
};
use crate::{
    error::{Error, ErrorKind, Result},
    platform::telemetry::UpstreamKind,
    unix_time::UnixSeconds,
    upstream::{
        Host,
        qwen::{errors, poll::Poll},
    },
};

/// How long the lease and the site's answer may take together, and how long the lease lasts. The Worker ends deferred work after
/// 30 s. Storing the new tokens is not cut off: by then the site has replaced the old ones.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(20);
/// How long storing the new tokens takes at the most, with its retries.
const STORE_TIME: Duration = Duration::from_secs(8);
/// How often a lease that another isolate holds is tried again.
const LEASE_POLL_INTERVAL: Duration = Duration::from_millis(200);
/// New tokens exist nowhere else until they are stored, and a refresh token that another isolate has used too is lost. So the
/// store is asked again after each of these pauses.
const STORE_RETRY_PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(500)];

impl Session {
    /// Makes sure, as far as that is possible, that the credentials can be used now.
    ///
    /// # Errors
    /// No session, an ended one that cannot be refreshed, or a captcha cooldown: then nothing may be sent to the site.
    pub async fn ready<P: Host>(self: &Arc<Self>, platform: &P) -> Result<()> {
        self.sync(platform).await;
        self.learn_clock_skew(platform).await;
        let now = platform.now();
        let (need, generation) = {
            let state = self.state();
            let is_cooling_down = state.captcha_cooldown(now).is_some();
            let need = if is_cooling_down { Need::Nothing } else { state.need(now, Duration::ZERO) };
            (need, state.generation)
        };
        match need {
            Need::Nothing => {}
            // The token still works, whatever hinders its refresh.
            Need::Soon => drop(self.begin_refresh(platform, generation)),
            Need::Now => self.refresh(platform, generation).await?,
        }
        self.check(platform.now())
    }

    /// After a refusal: refreshes the credentials that were used, unless they have changed since. Then the request may be sent
    /// once more.
    ///
    /// # Errors
    /// What the client is told: the refusal, or what hinders the refresh for the moment, which no person has to mend.
    pub(in crate::upstream::qwen) async fn refresh_after<P: Host>(
        self: &Arc<Self>,
        platform: &P,
        used: &CredentialsLease,
        refusal: Error,
    ) -> Result<()> {
        if refusal.kind() != ErrorKind::SessionExpired {
            return Err(refusal);
        }
        let refreshed = self.refresh(platform, used.generation).await;
        refreshed.map_err(|obstacle| if obstacle.kind() == ErrorKind::SessionExpired { refusal } else { obstacle })
    }

    /// Refreshes the credentials of `generation` and waits for the end of that. Returns at once if they have changed since.
    pub(super) async fn refresh<P: Host>(self: &Arc<Self>, platform: &P, generation: u64) -> Result<()> {
        self.begin_refresh(platform, generation)?;
        let mut poll = Poll::new();
        loop {
            {
                let state = self.state();
                let now = platform.now();
                if state.generation != generation {
                    return Ok(());
                }
                if !state.is_refreshing(now) {
                    return Err(state.refresh_obstacle(now).unwrap_or_else(Error::session_expired));
                }
            }
            poll.pause(platform).await;
        }
    }

    /// Begins to refresh the credentials of `generation`, unless a refresh runs or they have changed.
    ///
    /// # Errors
    /// Why no refresh may begin.
    fn begin_refresh<P: Host>(self: &Arc<Self>, platform: &P, generation: u64) -> Result<()> {
        let now = platform.now();
        let used = {
            let mut state = self.state();
            if state.generation != generation || state.is_refreshing(now) {
                return Ok(());
            }
            if let Some(obstacle) = state.refresh_obstacle(now) {
                return Err(obstacle);
            }
            state.refreshing_until = Some(now.saturating_add(REFRESH_TIMEOUT).saturating_add(STORE_TIME));
            state.lease()
        };
        let (session, detached) = (Arc::clone(self), platform.detached());
        platform.defer(async move {
            if let Err(error) = session.refresh_under_lease(&detached, &used).await {
                tracing::warn!(%error, "the session was not refreshed");
                session.record_failure(&detached, &used, &error).await;
            }
            session.state().refreshing_until = None;
        });
        Ok(())
    }

    /// Takes the lease and refreshes, or takes over what another isolate got under it.
    async fn refresh_under_lease<P: Host>(self: &Arc<Self>, platform: &P, used: &CredentialsLease) -> Result<()> {
        let Some(credentials) = &used.credentials else { return Err(Error::session_expired()) };
        let version = self.state().version;
        let tokens = self.request_under_lease(platform, credentials, version);
        let tokens = crate::platform::timeout(platform, REFRESH_TIMEOUT, tokens).await;
        let Some(new) = tokens.unwrap_or_else(|| Err(refresh_timeout()))? else { return Ok(()) };
        self.store_and_adopt(platform, used, new, version).await;
        tracing::info!(
            expires_at = self.report(platform.now()).expires_at.map(UnixSeconds::get),
            "the session was refreshed"
        );
        Ok(())
    }

    /// Takes the lease and asks the site for new tokens; `None` = another isolate got them, and they are adopted.
    async fn request_under_lease<P: Host>(
        &self,
        platform: &P,
        credentials: &Credentials,
        version: u64,
    ) -> Result<Option<Credentials>> {
        let mut pauses = STORE_RETRY_PAUSES.into_iter();
        let has_lease = loop {
            let now = platform.now();
            let until = now.saturating_add(REFRESH_TIMEOUT);
            let leased = platform.lease_session(&self.origin, version, now, until).await;
            match self.store_health.ok_or_log("taking the lease on the session", leased) {
                None => match pauses.next() {
                    Some(pause) => platform.sleep(pause).await,
                    // Without a store there is nobody to wait for.
                    None => break false,
                },
                Some((true, found)) => {
                    self.merge_or_log(version, Some(found), platform.now());
                    // The lease's last holder may have learned that the site refuses the refresh token.
                    if let Some(obstacle) = self.state().refresh_obstacle(now) {
                        return Err(obstacle);
                    }
                    break true;
                }
                Some((false, found)) if found.version != version => {
                    self.merge_or_log(version, Some(found), platform.now());
                    return Ok(None);
                }
                Some((false, _)) => platform.sleep(LEASE_POLL_INTERVAL).await,
            }
        };
        let tokens = self.request_tokens(platform, credentials).await.map(Some);
        tokens.map_err(|error| match error.kind() {
            // Another isolate may have used the refresh token, and the store has what it got, or soon will.
            ErrorKind::SessionExpired if self.is_distributed && !has_lease => Error::new(
                ErrorKind::UpstreamError,
                "The renewal of the Qwen session was refused, while the store was not there to say who renews it.",
            ),
            _ => error,
        })
    }

    /// Stores refreshed credentials, then uses them.
    async fn store_and_adopt(&self, platform: &impl Host, used: &CredentialsLease, new: Credentials, version: u64) {
        let changed_at = platform.now();
        let status =
            SessionStatus { changed_at, refused: false, refresh_refused: false, ..self.state().status.clone() };
        let next_version = version.saturating_add(1);
        let mut pauses = STORE_RETRY_PAUSES.into_iter();
        let mut is_stored = false;
        if let Some(row) = self.encode(platform, Some(&new), &status, next_version) {
            loop {
                let replaced = platform.replace_session(&self.origin, version, &row, platform.now()).await;
                match self.store_health.ok_or_log("storing the refreshed session", replaced) {
                    Some(true) => {
                        is_stored = true;
                        break;
                    }
                    // A person replaced the session meanwhile: that one counts.
                    Some(false) => return self.load(platform).await,
                    None => match pauses.next() {
                        Some(pause) => platform.sleep(pause).await,
                        None => break,
                    },
                }
            }
        }
        let mut state = self.state();
        if state.generation != used.generation {
            return;
        }
        let version = if is_stored { next_version } else { state.version };
        state.adopt(Some(Arc::new(new)), true, version);
        state.credentials_dirty = !is_stored;
        state.encrypted = is_stored && self.cipher.has_key();
        // A captcha cooldown that began meanwhile stays.
        state.status.changed_at = changed_at;
        state.status.refused = false;
        state.status.refresh_refused = false;
    }

    /// Records that a refresh failed: for good, by a challenge, or with an error that may pass.
    async fn record_failure<P: Host>(self: &Arc<Self>, platform: &P, used: &CredentialsLease, error: &Error) {
        let version = {
            let mut state = self.state();
            let now = platform.now();
            if state.generation == used.generation {
                match error.kind() {
                    ErrorKind::SessionExpired => {
                        state.status.refresh_refused = true;
                        state.status.changed_at = now;
                    }
                    kind => state.mark_refresh_failed(now, kind),
                }
            }
            if error.kind() == ErrorKind::Challenge {
                state.mark_refused(used, now, error);
            }
            state.version
        };
        self.share(platform).await;
        let released = platform.release_session(&self.origin, version).await;
        self.store_health.ok_or_log("releasing the lease on the session", released);
    }

    /// Asks the auth host for new tokens.
    pub(super) async fn request_tokens(&self, platform: &impl Host, credentials: &Credentials) -> Result<Credentials> {
        let request = self.http.refresh_request(platform, credentials)?;
        let (head, body) = self.http.exchange(platform, UpstreamKind::Renewal, request).await?;
        let json = crate::json::from_bytes::<Json>(&body).unwrap_or_default();
        let data = json.get("data").unwrap_or(&Json::Null);
        let text = |name: &str| data.get(name).and_then(Json::as_str).filter(|text| is_cookie_value(text));
        let is_success = head.status.is_success() && json.get("success") != Some(&Json::Bool(false));
        let cookie = |name: &str| set_cookie(&head.headers, name).filter(|value| is_cookie_value(value));
        match text("access_token").or_else(|| cookie("token")).filter(|_| is_success) {
            Some(access) => {
                let refresh = text("refresh_token").or_else(|| cookie("refresh_token"));
                let expires_at = data.get("expires_at").and_then(Json::as_u64).map(UnixSeconds::new);
                let now = self.http.clock().of_site(platform.now()).seconds();
                Ok(credentials.refreshed(access, refresh, expires_at, now))
            }
            None => {
                let error = errors::from_answer(head.status, &head.headers, &body);
                // Only the site itself ends a session for good; a page comes from something in between.
                let is_from_site = json.is_object() || head.status == http::StatusCode::UNAUTHORIZED;
                Err(if error.kind() == ErrorKind::SessionExpired && !is_from_site {
                    Error::new(ErrorKind::UpstreamError, "The renewal of the Qwen session was answered with a page.")
                } else {
                    error
                })
            }
        }
    }
}

fn refresh_timeout() -> Error {
    Error::new(ErrorKind::UpstreamTimeout, "The renewal took too long.")
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

/// Whether a `Cookie` header can hold this value.
fn is_cookie_value(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| (b'!'..=b'~').contains(&byte) && byte != b';' && byte != b',')
}
