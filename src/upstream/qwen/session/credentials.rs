//! The credentials of an account: the user's own cookies, in which only refreshed tokens are replaced.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{credentials_input::cookie_value, secret::Secret, unix_time::UnixSeconds};

/// The last part of a token's life, in which it counts as expiring. The site's own frontend refreshes about this early.
const EXPIRY_WINDOW: Duration = Duration::from_secs(180);
/// The window is at most 1/5 of the life of a token whose life is known.
const MAX_WINDOW_FRACTION: u64 = 5;

/// The credentials of one account. They never change: a refresh makes new ones.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    cookie: Secret,
    token: Option<Secret>,
    refresh_token: Option<Secret>,
    user_agent: Option<String>,
    expires_at: Option<UnixSeconds>,
    expiry_window: Duration,
    account: String,
}

/// The form in which they are stored. It holds secrets.
#[derive(Serialize, Deserialize)]
pub(super) struct Record {
    cookie: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    #[serde(default)]
    expires_at: Option<UnixSeconds>,
    /// The expiry window, in seconds.
    early: u64,
    account: String,
}

impl Credentials {
    /// Reads a whole `Cookie` header, a lone access token, or both. The header's own token wins.
    pub(crate) fn new(cookie: Option<&str>, token: Option<&str>) -> Option<Self> {
        let cookie = match (cookie, token) {
            (Some(jar), Some(token)) if cookie_value(jar, "token").is_none() => {
                format!("{}; token={token}", jar.trim_end_matches([';', ' ']))
            }
            (Some(jar), _) => jar.to_owned(),
            (None, Some(token)) => format!("token={token}"),
            (None, None) => return None,
        };
        Some(Self::read(cookie, None))
    }

    /// Parses a `Cookie` header. The account's id comes from the token, else from `account`, else from the cookies.
    fn read(cookie: String, account: Option<String>) -> Self {
        let token = cookie_value(&cookie, "token").map(str::to_owned);
        let claims = token.as_deref().and_then(claims).unwrap_or_default();
        let id = claims.get("id").and_then(|id| id.as_str()).filter(|id| !id.is_empty());
        Self {
            expires_at: claims.get("exp").and_then(serde_json::Value::as_u64).map(UnixSeconds::new),
            expiry_window: EXPIRY_WINDOW,
            account: id.map(str::to_owned).or(account).unwrap_or_else(|| digest(&cookie)),
            refresh_token: cookie_value(&cookie, "refresh_token").map(Secret::new),
            token: token.map(Secret::new),
            user_agent: None,
            cookie: Secret::new(cookie),
        }
    }

    /// The same cookies with new tokens. `expires_at` is used if the token does not contain its end.
    pub(super) fn refreshed(
        &self,
        access: &str,
        refresh: Option<&str>,
        expires_at: Option<UnixSeconds>,
        now: UnixSeconds,
    ) -> Self {
        let mut cookie = replaced(self.cookie.expose(), "token", access);
        if let Some(refresh) = refresh {
            cookie = replaced(&cookie, "refresh_token", refresh);
        }
        let new = Self::read(cookie, Some(self.account.clone()));
        let expires_at = new.expires_at.or(expires_at);
        let life = expires_at.map_or(Duration::MAX, |end| end.since(now));
        let expiry_window = EXPIRY_WINDOW.min(Duration::from_secs(life.as_secs() / MAX_WINDOW_FRACTION));
        Self { expires_at, expiry_window, user_agent: self.user_agent.clone(), ..new }
    }

    /// The same, to be sent with the `User-Agent` of this browser.
    pub(crate) fn of_browser(self, user_agent: Option<String>) -> Self {
        Self { user_agent, ..self }
    }

    /// The same, for the account with the id that the site reported. An id in the token wins.
    pub(super) fn of_account(self, id: &str) -> Self {
        let named = self.token().and_then(claims).is_some_and(|claims| claims.get("id").is_some());
        if named || id.is_empty() { self } else { Self { account: id.to_owned(), ..self } }
    }

    /// The `Cookie` header to send.
    pub(crate) fn cookie(&self) -> &str {
        self.cookie.expose()
    }

    /// The access token alone.
    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_ref().map(Secret::expose)
    }

    /// The token that the site exchanges for a new access token.
    pub(crate) fn refresh_token(&self) -> Option<&str> {
        self.refresh_token.as_ref().map(Secret::expose)
    }

    /// The `User-Agent` of the browser that the cookies come from, if known.
    pub(crate) fn user_agent(&self) -> Option<&str> {
        self.user_agent.as_deref()
    }

    /// The account's id: the one in the token, else the site's, else a digest of the cookies as they were first set.
    pub(crate) fn account(&self) -> &str {
        &self.account
    }

    /// When the access token ends, if known.
    pub(super) fn expires_at(&self) -> Option<UnixSeconds> {
        self.expires_at
    }

    /// How long before its end the token counts as expiring.
    pub(super) fn expiry_window(&self) -> Duration {
        self.expiry_window
    }

    /// The time until the token ends; `None` if its end is unknown. A missing access token counts as ended.
    pub(super) fn time_left(&self, now: UnixSeconds) -> Option<Duration> {
        if self.token.is_none() && self.refresh_token.is_some() {
            return Some(Duration::ZERO);
        }
        self.expires_at.map(|end| end.since(now))
    }

    pub(super) fn to_record(&self) -> Record {
        Record {
            cookie: self.cookie.expose().to_owned(),
            user_agent: self.user_agent.clone(),
            expires_at: self.expires_at,
            early: self.expiry_window.as_secs(),
            account: self.account.clone(),
        }
    }

    /// Reads the JSON of a [`Record`].
    pub(super) fn from_json(text: &str) -> Option<Self> {
        let Record { cookie, user_agent, expires_at, early, account } = serde_json::from_str(text).ok()?;
        let read = Self::read(cookie, Some(account));
        let (expires_at, expiry_window) = (read.expires_at.or(expires_at), Duration::from_secs(early));
        Some(Self { user_agent, expires_at, expiry_window, ..read })
    }
}

/// The header with the cookie's value replaced in place, or appended.
fn replaced(jar: &str, wanted: &str, value: &str) -> String {
    let mut found = false;
    let mut pairs: Vec<String> = Vec::new();
    for pair in jar.split(';').filter(|pair| !pair.trim().is_empty()) {
        if pair.trim().split_once('=').is_some_and(|(name, _)| name == wanted) {
            if !found {
                let blank = if pairs.is_empty() { "" } else { " " };
                pairs.push(format!("{blank}{wanted}={value}"));
            }
            found = true;
        } else {
            pairs.push(pair.to_owned());
        }
    }
    if !found {
        pairs.push(format!(" {wanted}={value}"));
    }
    pairs.join(";")
}

/// The claims of a JSON Web Token. They are not verified: only the site can do that.
fn claims(token: &str) -> Option<serde_json::Value> {
    let payload = token.split('.').nth(1)?;
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    crate::json::from_bytes(&payload).ok()
}

/// SHA-256 in base64.
pub(super) fn digest(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(exp: u64) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(format!(r#"{{"id":"u","exp":{exp}}}"#)))
    }

    #[test]
    fn cookies_are_sent_unchanged_and_a_lone_token_becomes_one() {
        for (cookies, auth, sent, token) in [
            (Some("a=1; token=t; b=2"), None, "a=1; token=t; b=2", Some("t")),
            (Some("a=1; token=t; b=2"), Some("other"), "a=1; token=t; b=2", Some("t")),
            (Some("a=1; b=2;"), Some("t"), "a=1; b=2; token=t", Some("t")),
            (None, Some("t"), "token=t", Some("t")),
            (Some("a=1; xtoken=no"), None, "a=1; xtoken=no", None),
        ] {
            let credentials = Credentials::new(cookies, auth).unwrap();
            assert_eq!((credentials.cookie(), credentials.token()), (sent, token));
        }
        assert!(Credentials::new(None, None).is_none());
    }

    #[test]
    fn a_refresh_replaces_only_the_tokens() {
        let old = Credentials::new(Some("cna=a/b+c; token=t;refresh_token=r; isg=x=="), None).unwrap();
        let access = token(1_900);
        let new = old.refreshed(&access, Some("r2"), None, UnixSeconds::new(1_000));
        assert_eq!(new.cookie(), format!("cna=a/b+c; token={access}; refresh_token=r2; isg=x=="));
        assert_eq!(
            (new.refresh_token(), new.expires_at(), new.expiry_window()),
            (Some("r2"), Some(UnixSeconds::new(1_900)), Duration::from_secs(180))
        );
        assert_eq!(new.time_left(UnixSeconds::new(1_400)), Some(Duration::from_secs(500)));
        let kept = new.refreshed(&token(1_100), None, None, UnixSeconds::new(1_090));
        assert_eq!(
            (kept.refresh_token(), kept.expiry_window()),
            (Some("r2"), Duration::from_secs(2)),
            "a fifth of ten seconds"
        );
        let lone = Credentials::new(Some("refresh_token=r"), None).unwrap();
        assert_eq!(lone.time_left(UnixSeconds::new(5)), Some(Duration::ZERO), "no access token counts as ended");
        let opaque = lone.refreshed("opaque", None, Some(UnixSeconds::new(99)), UnixSeconds::new(9));
        assert_eq!(
            (opaque.cookie(), opaque.expires_at()),
            ("refresh_token=r; token=opaque", Some(UnixSeconds::new(99)))
        );
        assert_eq!(opaque.account(), lone.account(), "a refresh keeps the account's id");
    }

    #[test]
    fn credentials_survive_a_round_trip_through_the_store() {
        let old = Credentials::new(Some("a=1; token=opaque"), None).unwrap().of_account("me");
        let old = old.of_browser(Some("Browser/1".to_owned())).refreshed(
            "next",
            Some("r"),
            Some(UnixSeconds::new(70)),
            UnixSeconds::new(10),
        );
        let back = Credentials::from_json(&serde_json::to_string(&old.to_record()).unwrap()).unwrap();
        assert_eq!(format!("{old:?}"), format!("{back:?}"));
        assert_eq!((back.cookie(), back.token(), back.refresh_token()), (old.cookie(), Some("next"), Some("r")));
        assert_eq!(
            (back.account(), back.user_agent(), back.expires_at()),
            ("me", Some("Browser/1"), Some(UnixSeconds::new(70)))
        );
        assert!(!format!("{old:?}").contains("next"), "secrets do not show");
        assert!(Credentials::from_json("{}").is_none());
    }
}
