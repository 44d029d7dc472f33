//! The account's session: what is sent as its credentials, and how it fares.

use std::{sync::Mutex, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use sha2::{Digest as _, Sha256};

use crate::{
    config::Config,
    error::{Error, ErrorKind, Result},
    secret::Secret,
};

/// A token that ends sooner counts as expiring. The site's own frontend refreshes about this early.
const EXPIRING: u64 = 180;

/// How the session fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// The site has taken it, and it lasts.
    Valid,
    /// It ends within three minutes.
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

/// The state with its times, in seconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct SessionReport {
    /// How it fares.
    pub state: SessionState,
    /// When the token ends, if the token tells.
    pub expires_at: Option<u64>,
    /// When the site last answered about it.
    pub checked_at: Option<u64>,
}

/// What the site's last answer showed.
#[derive(Debug, Default)]
struct Seen {
    checked_at: Option<u64>,
    refused: bool,
    challenge: Option<(u64, String)>,
}

/// The credentials and what is known of them.
#[derive(Debug)]
pub struct Session {
    cookie: Option<Secret>,
    token: Option<Secret>,
    expires_at: Option<u64>,
    account: String,
    seen: Mutex<Seen>,
}

impl Session {
    pub(super) fn from_config(config: &Config) -> Self {
        let jar = config.cookies.as_ref().map(Secret::expose);
        let token =
            jar.and_then(cookie_token).or_else(|| config.auth_token.as_ref().map(|token| token.expose().to_owned()));
        let cookie = match (jar, &token) {
            (Some(jar), Some(token)) if cookie_token(jar).is_none() => {
                Some(format!("{}; token={token}", jar.trim_end_matches([';', ' '])))
            }
            (Some(jar), _) => Some(jar.to_owned()),
            (None, Some(token)) => Some(format!("token={token}")),
            (None, None) => None,
        };
        Self {
            expires_at: token.as_deref().and_then(claims).and_then(|claims| claims.get("exp")?.as_u64()),
            account: token
                .as_deref()
                .and_then(claims)
                .and_then(|claims| Some(claims.get("id")?.as_str()?.to_owned()))
                .unwrap_or_else(|| digest(cookie.as_deref().unwrap_or_default())),
            token: token.map(Secret::new),
            cookie: cookie.map(Secret::new),
            seen: Mutex::default(),
        }
    }

    /// The `Cookie` header to send.
    pub(super) fn cookie(&self) -> Option<&Secret> {
        self.cookie.as_ref()
    }

    /// The access token alone.
    pub(super) fn token(&self) -> Option<&Secret> {
        self.token.as_ref()
    }

    /// Who the account is: the token's own id, else a digest of the credentials.
    #[must_use]
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The error of a request during the pause after a challenge.
    #[must_use]
    pub fn challenge(&self, now: u64) -> Option<Error> {
        let seen = self.seen();
        let (until, link) = seen.challenge.as_ref().filter(|(until, _)| *until > now)?;
        let left = until.saturating_sub(now).div_ceil(1000);
        Some(
            Error::new(
                ErrorKind::Challenge,
                "chat.qwen.ai has asked for a human check, so nothing is sent to it for a while. Open the link in the browser of this account, pass the check, then give this server the fresh cookies.",
            )
            .with_link(link.clone())
            .with_retry_after(Duration::from_secs(left)),
        )
    }

    /// Whether the site may be asked now (`now` in milliseconds since 1970).
    ///
    /// # Errors
    /// No session, an ended one, or the pause after a challenge: then the site must not be asked at all.
    pub fn check(&self, now: u64) -> Result<()> {
        let report = self.report(now);
        match report.state {
            SessionState::Missing => Err(Error::new(
                ErrorKind::SessionMissing,
                "No Qwen session is configured. Sign in at chat.qwen.ai, copy the Cookie header and set QWEN_COOKIES (or QWEN_AUTH_TOKEN).",
            )),
            SessionState::Expired if report.expires_at.is_some_and(|end| end.saturating_mul(1000) <= now) => {
                Err(Error::new(
                    ErrorKind::SessionExpired,
                    "The Qwen session has ended. Sign in at chat.qwen.ai, copy the cookies again and set QWEN_COOKIES.",
                ))
            }
            SessionState::Challenged => self.challenge(now).map_or(Ok(()), Err),
            _ => Ok(()),
        }
    }

    /// The site took the session.
    pub(super) fn accepted(&self, now: u64) {
        let mut seen = self.seen();
        // Nothing is sent during the pause after a challenge, so this was sent before it and tells nothing of it.
        let challenge = seen.challenge.take().filter(|(until, _)| *until > now);
        *seen = Seen { checked_at: Some(now / 1000), refused: false, challenge };
    }

    /// The site answered with `error`, which may be about the session.
    pub(super) fn refused(&self, now: u64, error: &Error) {
        let mut seen = self.seen();
        match error.kind() {
            ErrorKind::SessionExpired => {
                seen.checked_at = Some(now / 1000);
                seen.refused = true;
            }
            ErrorKind::Challenge => {
                let pause = error.retry_after().unwrap_or_default();
                let until = now.saturating_add(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
                seen.checked_at = Some(now / 1000);
                seen.challenge = Some((until, error.link().unwrap_or_default().to_owned()));
            }
            _ => {}
        }
    }

    /// How the session fares at `now` (milliseconds since 1970).
    #[must_use]
    pub fn report(&self, now: u64) -> SessionReport {
        let seen = self.seen();
        let seconds = now / 1000;
        let left = self.expires_at.map(|end| end.saturating_sub(seconds));
        let state = if self.cookie.is_none() {
            SessionState::Missing
        } else if left == Some(0) || seen.refused {
            SessionState::Expired
        } else if seen.challenge.as_ref().is_some_and(|(until, _)| *until > now) {
            SessionState::Challenged
        } else if left.is_some_and(|left| left < EXPIRING) {
            SessionState::Expiring
        } else if seen.checked_at.is_some() && seen.challenge.is_none() {
            SessionState::Valid
        } else {
            SessionState::Unknown
        };
        SessionReport { state, expires_at: self.expires_at, checked_at: seen.checked_at }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The value of the cookie `token` in a `Cookie` header.
fn cookie_token(jar: &str) -> Option<String> {
    jar.split(';')
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, value)| *name == "token" && !value.is_empty())
        .map(|(_, value)| value.to_owned())
}

/// The claims of a JSON web token, unverified: only the site can verify them.
fn claims(token: &str) -> Option<serde_json::Value> {
    let payload = token.split('.').nth(1)?;
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&payload).ok()
}

fn digest(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(pairs: &[(&str, &str)]) -> Session {
        let lookup = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Session::from_config(&Config::from_lookup(lookup).unwrap())
    }

    fn token(exp: u64) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(format!(r#"{{"id":"u","exp":{exp}}}"#)))
    }

    #[test]
    fn cookies_are_sent_unchanged_and_a_lone_token_becomes_one() {
        for (cookies, auth, sent, token) in [
            ("a=1; token=t; b=2", "", "a=1; token=t; b=2", Some("t")),
            ("a=1; token=t; b=2", "other", "a=1; token=t; b=2", Some("t")),
            ("a=1; b=2;", "t", "a=1; b=2; token=t", Some("t")),
            ("", "t", "token=t", Some("t")),
            ("a=1; xtoken=no", "", "a=1; xtoken=no", None),
        ] {
            let session = session(&[("QWEN_COOKIES", cookies), ("QWEN_AUTH_TOKEN", auth)]);
            assert_eq!(session.cookie().map(Secret::expose), Some(sent));
            assert_eq!(session.token().map(Secret::expose), token);
        }
    }

    #[test]
    fn the_state_follows_the_token_and_the_site() {
        let now = 1_790_000_000_000;
        let state = |session: &Session| session.report(now).state;
        assert_eq!(state(&session(&[])), SessionState::Missing);
        assert_eq!(state(&session(&[("QWEN_AUTH_TOKEN", "opaque")])), SessionState::Unknown);
        assert_eq!(state(&session(&[("QWEN_AUTH_TOKEN", &token(1_789_999_999))])), SessionState::Expired);
        assert_eq!(state(&session(&[("QWEN_AUTH_TOKEN", &token(1_790_000_100))])), SessionState::Expiring);
        let session = session(&[("QWEN_AUTH_TOKEN", &token(1_790_100_000))]);
        assert_eq!(state(&session), SessionState::Unknown);
        session.accepted(now);
        assert_eq!(state(&session), SessionState::Valid);
        let challenge =
            Error::new(ErrorKind::Challenge, "x").with_retry_after(Duration::from_secs(120)).with_link("https://x/");
        session.refused(now, &challenge);
        assert_eq!(state(&session), SessionState::Challenged);
        let error = session.check(now + 20_000).unwrap_err();
        assert_eq!((error.kind(), error.link()), (ErrorKind::Challenge, Some("https://x/")));
        assert_eq!(error.retry_after(), Some(Duration::from_secs(100)));
        assert!(session.check(now + 120_000).is_ok());
        session.refused(now, &Error::new(ErrorKind::SessionExpired, "x"));
        assert_eq!(state(&session), SessionState::Expired);
        assert!(session.check(now).is_ok(), "a refusal is no end: the next request asks again");
    }
}
