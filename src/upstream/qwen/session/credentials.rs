//! What is sent as the account's credentials: the user's own cookies, in which only the renewed tokens are replaced.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{credentials_input::cookie_value, secret::Secret, unix_time::UnixSeconds};

/// A token that ends sooner (seconds) counts as expiring. The site's own frontend renews about this early.
const EARLY: u64 = 180;
/// Of a token whose life is known to be short, the part that counts as expiring is no more than a fifth.
const EARLY_PART: u64 = 5;

/// The credentials of one account. They never change: a renewal makes new ones.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    cookie: Secret,
    token: Option<Secret>,
    refresh_token: Option<Secret>,
    user_agent: Option<String>,
    expires_at: Option<UnixSeconds>,
    early: u64,
    account: String,
}

/// The form in which they are stored.
#[derive(Serialize, Deserialize)]
struct Record {
    cookie: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    #[serde(default)]
    expires_at: Option<UnixSeconds>,
    early: u64,
    account: String,
}

impl Credentials {
    /// A whole `Cookie` header, a lone access token, or both (then the cookie's own token goes first).
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

    /// Takes a `Cookie` header apart. Who the account is follows from the token, else from `account`, else from the cookies.
    fn read(cookie: String, account: Option<String>) -> Self {
        let token = cookie_value(&cookie, "token").map(str::to_owned);
        let claims = token.as_deref().and_then(claims).unwrap_or_default();
        let id = claims.get("id").and_then(|id| id.as_str()).filter(|id| !id.is_empty());
        Self {
            expires_at: claims.get("exp").and_then(serde_json::Value::as_u64).map(UnixSeconds::new),
            early: EARLY,
            account: id.map(str::to_owned).or(account).unwrap_or_else(|| digest(&cookie)),
            refresh_token: cookie_value(&cookie, "refresh_token").map(Secret::new),
            token: token.map(Secret::new),
            user_agent: None,
            cookie: Secret::new(cookie),
        }
    }

    /// The same cookies with new tokens. `expires_at` counts where the token does not tell; both in seconds since 1970.
    pub(super) fn renewed(
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
        let life = expires_at.map_or(Duration::MAX, |end| end.since(now)).as_secs();
        Self { expires_at, early: EARLY.min(life / EARLY_PART), user_agent: self.user_agent.clone(), ..new }
    }

    /// The same, sent as coming from this browser.
    pub(crate) fn of_browser(self, user_agent: Option<String>) -> Self {
        Self { user_agent, ..self }
    }

    /// The same, of the account that the site named. Where the token names one itself, that one stays.
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

    /// What a new access token is got with.
    pub(crate) fn refresh_token(&self) -> Option<&str> {
        self.refresh_token.as_ref().map(Secret::expose)
    }

    /// The browser that the cookies come from, if that is known.
    pub(crate) fn user_agent(&self) -> Option<&str> {
        self.user_agent.as_deref()
    }

    /// Who the account is: the token's own id, else a digest of the cookies as they were first given.
    pub(crate) fn account(&self) -> &str {
        &self.account
    }

    /// When the access token ends, in seconds since 1970, as far as that is known.
    pub(super) fn expires_at(&self) -> Option<UnixSeconds> {
        self.expires_at
    }

    /// How long before its end (seconds) the token counts as expiring.
    pub(super) fn early(&self) -> u64 {
        self.early
    }

    /// Seconds left at `now` (seconds since 1970); `None` = nobody knows. No token at all is one that has ended.
    pub(super) fn left(&self, now: UnixSeconds) -> Option<u64> {
        if self.token.is_none() && self.refresh_token.is_some() {
            return Some(0);
        }
        self.expires_at.map(|end| end.since(now).as_secs())
    }

    /// What to store. Holds secrets.
    pub(super) fn to_json(&self) -> String {
        let record = Record {
            cookie: self.cookie.expose().to_owned(),
            user_agent: self.user_agent.clone(),
            expires_at: self.expires_at,
            early: self.early,
            account: self.account.clone(),
        };
        serde_json::to_string(&record).unwrap_or_default()
    }

    /// What was stored.
    pub(super) fn from_json(text: &str) -> Option<Self> {
        let Record { cookie, user_agent, expires_at, early, account } = serde_json::from_str(text).ok()?;
        let read = Self::read(cookie, Some(account));
        Some(Self { user_agent, expires_at: read.expires_at.or(expires_at), early, ..read })
    }
}

/// The header with the cookie's value replaced where it stands, or added at its end.
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

/// The claims of a JSON web token, unverified: only the site can verify them.
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
    fn a_renewal_replaces_the_tokens_alone() {
        let old = Credentials::new(Some("cna=a/b+c; token=t;refresh_token=r; isg=x=="), None).unwrap();
        let access = token(1_900);
        let new = old.renewed(&access, Some("r2"), None, UnixSeconds::new(1_000));
        assert_eq!(new.cookie(), format!("cna=a/b+c; token={access}; refresh_token=r2; isg=x=="));
        assert_eq!(
            (new.refresh_token(), new.expires_at(), new.early()),
            (Some("r2"), Some(UnixSeconds::new(1_900)), 180)
        );
        assert_eq!(new.left(UnixSeconds::new(1_400)), Some(500));
        let kept = new.renewed(&token(1_100), None, None, UnixSeconds::new(1_090));
        assert_eq!((kept.refresh_token(), kept.early()), (Some("r2"), 2), "a fifth of ten seconds");
        let lone = Credentials::new(Some("refresh_token=r"), None).unwrap();
        assert_eq!(lone.left(UnixSeconds::new(5)), Some(0), "without an access token there is nothing left");
        let opaque = lone.renewed("opaque", None, Some(UnixSeconds::new(99)), UnixSeconds::new(9));
        assert_eq!(
            (opaque.cookie(), opaque.expires_at()),
            ("refresh_token=r; token=opaque", Some(UnixSeconds::new(99)))
        );
        assert_eq!(opaque.account(), lone.account(), "who the account is outlives a renewal");
    }

    #[test]
    fn what_is_stored_comes_back() {
        let old = Credentials::new(Some("a=1; token=opaque"), None).unwrap().of_account("me");
        let old = old.of_browser(Some("Browser/1".to_owned())).renewed(
            "next",
            Some("r"),
            Some(UnixSeconds::new(70)),
            UnixSeconds::new(10),
        );
        let back = Credentials::from_json(&old.to_json()).unwrap();
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
