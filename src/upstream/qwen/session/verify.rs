//! Asking the site who is signed in, and noting what its answers say of the session.

use std::{sync::Arc, time::Duration};

use http::Method;
use serde_json::Value as Json;

use super::{
    NAMED, Session,
    credentials::Credentials,
    state::{CredentialsLease, Need},
};
use crate::{
    error::{Error, ErrorKind, Result},
    platform::telemetry::UpstreamKind,
    upstream::{
        Host,
        qwen::{errors, http_client::Purpose, poll::Poll, wire},
    },
};

/// How long the question for the site's time may take.
const CLOCK_PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// After a question without an answer, no request asks again for this long.
const CLOCK_PROBE_PAUSE: Duration = Duration::from_secs(60);
/// Maintenance runs every ten minutes. It refreshes what ends before the next run, with a minute to spare.
const MAINTENANCE_HORIZON: Duration = Duration::from_secs(11 * 60);
/// Sessions of other configurations are deleted after this time: refresh tokens do not live longer.
const MAX_UNUSED_AGE: Duration = Duration::from_secs(60 * 24 * 60 * 60);
/// The longest name of an account that is shown, in characters.
const MAX_NAME: usize = 100;

impl Session {
    /// Notes that the site accepted the credentials.
    pub(in crate::upstream::qwen) fn accepted<P: Host>(self: &Arc<Self>, platform: &P, used: &CredentialsLease) {
        let is_news = self.state().mark_accepted(used, platform.now());
        if is_news {
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
        let is_news = self.state().mark_refused(used, platform.now(), error);
        if is_news {
            tracing::warn!(%error, "the site refused the session");
            self.share_later(platform);
        }
    }

    /// Asks the site once before a token counts as ended by a clock that may be wrong: every answer carries the site's time.
    /// One request asks for all.
    pub(super) async fn learn_clock_skew<P: Host>(self: &Arc<Self>, platform: &P) {
        let mut poll = Poll::new();
        let used = loop {
            {
                let mut state = self.state();
                let now = platform.now();
                if !state.is_clock_in_doubt(now) || state.captcha_cooldown(now).is_some() {
                    return;
                }
                if state.clock_probe_until.is_none_or(|until| now >= until) {
                    state.clock_probe_until = Some(now.saturating_add(CLOCK_PROBE_TIMEOUT));
                    break state.lease();
                }
            }
            poll.pause(platform).await;
        };
        if let Some(credentials) = &used.credentials {
            match self.who(platform, credentials).await {
                Ok(_) => self.accepted(platform, &used),
                Err(error) => self.refused(platform, &used, &error),
            }
        }
        let mut state = self.state();
        state.clock_probe_until = None;
        state.next_clock_probe_at = Some(platform.now().saturating_add(CLOCK_PROBE_PAUSE));
    }

    /// Runs every ten minutes: refreshes what will not last until the next run, and asks the site who is signed in.
    pub(crate) async fn maintain<P: Host>(self: &Arc<Self>, platform: &P) -> Result<()> {
        self.load(platform).await;
        if self.is_configurable {
            let before = platform.now().saturating_sub(MAX_UNUSED_AGE);
            let forgotten = platform.forget_other_sessions(&self.origin, NAMED, before).await;
            self.store_health.ok_or_log("deleting sessions of other configurations", forgotten);
        }
        let is_clock_in_doubt = {
            let state = self.state();
            let now = platform.now();
            if state.credentials.is_none() || state.captcha_cooldown(now).is_some() {
                return Ok(());
            }
            state.is_clock_in_doubt(now)
        };
        // The answer carries the site's time, which decides whether to refresh.
        let verified = if is_clock_in_doubt { Some(self.verify(platform).await) } else { None };
        let (need, generation) = {
            let state = self.state();
            (state.need(platform.now(), MAINTENANCE_HORIZON), state.generation)
        };
        let refreshed = if need == Need::Nothing { Ok(()) } else { self.refresh(platform, generation).await };
        let checked = match (refreshed.and_then(|()| self.check(platform.now())), verified) {
            (Ok(()), Some(verified)) => verified,
            (Ok(()), None) => self.verify(platform).await,
            (Err(error), _) => Err(error),
        };
        match &checked {
            Ok(()) => tracing::info!(state = self.report(platform.now()).state.as_str(), "the session was checked"),
            Err(error) => tracing::warn!(%error, "the session's check failed"),
        }
        checked
    }

    /// Asks the site who is signed in; refreshes once if the site says nobody.
    async fn verify<P: Host>(self: &Arc<Self>, platform: &P) -> Result<()> {
        let mut refreshed = false;
        loop {
            let used = self.current();
            let Some(credentials) = &used.credentials else { return Ok(()) };
            match self.who(platform, credentials).await {
                Ok(who) => {
                    let now = platform.now();
                    {
                        let mut state = self.state();
                        state.mark_accepted(&used, now);
                        state.set_owner(&used, who.name, now);
                    }
                    self.share(platform).await;
                    return Ok(());
                }
                Err(error) => {
                    self.refused(platform, &used, &error);
                    if refreshed {
                        return Err(error);
                    }
                    self.refresh_after(platform, &used, error).await?;
                    refreshed = true;
                }
            }
        }
    }

    /// Who is signed in with these credentials (docs/upstream-protocol.md, 1.6).
    pub(super) async fn who(&self, platform: &impl Host, credentials: &Credentials) -> Result<Who> {
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
            return if who.is_guest { Err(Error::session_expired()) } else { Ok(who) };
        }
        let error = errors::from_answer(head.status, &head.headers, &body);
        Err(match error.kind() {
            // Without a session the site answers with its own page, or with nothing. Any other page is a gateway's.
            ErrorKind::UpstreamInvalid if head.status.is_success() && errors::is_sites_page(&body) => {
                Error::session_expired()
            }
            ErrorKind::UpstreamEmpty if head.status.is_success() => Error::session_expired(),
            _ => error,
        })
    }
}

/// The account that is signed in.
pub(super) struct Who {
    pub(super) id: String,
    pub(super) name: String,
    is_guest: bool,
}

impl Who {
    /// Reads the account's record; `None` if it has no id.
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
