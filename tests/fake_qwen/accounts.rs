//! Tokens, cookies, quotas.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::HeaderMap;
use serde_json::{Value, json};
use uuid::Uuid;

const REFRESH_PREFIX: &str = "fake-refresh.";

#[derive(Default)]
pub(super) struct Accounts {
    revoked: HashSet<String>,
    quotas: HashMap<String, u64>,
    settings: HashMap<String, Value>,
    access_token_seconds: Option<i64>,
}

/// The sender of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// The cookie `token` is valid.
    Cookie(String),
    /// Only the `Authorization` header is valid.
    Bearer(String),
    /// The token is expired, revoked or unreadable.
    Rejected,
    Anonymous,
}

impl Accounts {
    pub(super) fn revoke(&mut self, token: &str) {
        self.revoked.insert(token.to_owned());
    }

    /// The lifetime of an access token that a refresh issues.
    pub(super) fn access_token_seconds(&self) -> i64 {
        self.access_token_seconds.unwrap_or(900)
    }

    pub(super) fn set_access_token_seconds(&mut self, seconds: i64) {
        self.access_token_seconds = Some(seconds);
    }

    pub(super) fn set_quota(&mut self, account: &str, left: Option<u64>) {
        match left {
            Some(left) => self.quotas.insert(account.to_owned(), left),
            None => self.quotas.remove(account),
        };
    }

    /// Takes one completion off the quota; returns false when none is left.
    pub(super) fn spend(&mut self, account: &str) -> bool {
        match self.quotas.get_mut(account) {
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
            None => true,
        }
    }

    pub(super) fn sender(&self, headers: &HeaderMap) -> Sender {
        let cookie = cookie(headers, "token");
        if let Some(account) = cookie.as_deref().and_then(|token| self.account_of(token)) {
            return Sender::Cookie(account);
        }
        let bearer = headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        match bearer.and_then(|token| self.account_of(token)) {
            Some(account) => Sender::Bearer(account),
            None if bearer.is_some() || cookie.is_some() => Sender::Rejected,
            None => Sender::Anonymous,
        }
    }

    fn account_of(&self, token: &str) -> Option<String> {
        if self.revoked.contains(token) {
            return None;
        }
        let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
        let claims: Value = serde_json::from_slice(&payload).ok()?;
        let account = claims["id"].as_str()?;
        (claims["exp"].as_i64()? > now()).then(|| account.to_owned())
    }

    /// The account of the refresh token in the cookies, and the token.
    pub(super) fn refresh_account(&self, headers: &HeaderMap) -> Option<(String, String)> {
        let token = cookie(headers, "refresh_token")?;
        if self.revoked.contains(&token) {
            return None;
        }
        let account = token.strip_prefix(REFRESH_PREFIX)?.split('.').next()?;
        let account = String::from_utf8(URL_SAFE_NO_PAD.decode(account).ok()?).ok()?;
        Some((account, token))
    }

    /// The settings of an account.
    pub(super) fn settings(&mut self, account: &str) -> &mut Value {
        self.settings.entry(account.to_owned()).or_insert_with(|| {
            json!({
                "model_config": {"qwen3-max": {"thinking_budget": 38912}},
                "mcp": {},
                "tools_enabled": {"web_search": true, "image_gen_tool": true, "code_interpreter": true, "bio": true},
                "personalization": {"name": "", "description": "", "style": null, "instruction": "", "enable_for_new_chat": false}
            })
        })
    }
}

/// Merges a partial object into `target`, recursively.
pub(super) fn merge(target: &mut Value, partial: &Value) {
    match (target, partial) {
        (Value::Object(target), Value::Object(partial)) => {
            for (key, value) in partial {
                merge(target.entry(key).or_insert(Value::Null), value);
            }
        }
        (target, value) => value.clone_into(target),
    }
}

pub(super) fn token(account: &str, lifetime_seconds: i64) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signature = [*Uuid::new_v4().as_bytes(), *Uuid::new_v4().as_bytes()].concat();
    format!(
        "{}.{}.{}",
        part(json!({"alg": "HS256", "typ": "JWT"})),
        part(json!({"id": account, "last_password_change": 1_750_000_000, "exp": now() + lifetime_seconds})),
        URL_SAFE_NO_PAD.encode(signature)
    )
}

pub(super) fn refresh_token(account: &str) -> String {
    format!("{REFRESH_PREFIX}{}.{}", URL_SAFE_NO_PAD.encode(account), Uuid::new_v4().simple())
}

thread_local! {
    /// The clock skew in seconds of the fake that owns this thread.
    static CLOCK_SKEW: RefCell<Arc<AtomicI64>> = RefCell::default();
}

/// Makes this thread use the clock of a fake.
pub(super) fn set_thread_clock(skew_seconds: Arc<AtomicI64>) {
    CLOCK_SKEW.with(|clock| *clock.borrow_mut() = skew_seconds);
}

/// The Unix time in seconds by the clock of the fake that owns this thread.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    i64::try_from(since).expect("a Unix time that fits i64")
        + CLOCK_SKEW.with(|clock| clock.borrow().load(Ordering::Relaxed))
}

/// [`now`] for a `Date` header.
pub(super) fn time() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(now().try_into().expect("after 1970"))
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let jars = headers.get_all("cookie").iter().filter_map(|value| value.to_str().ok());
    jars.flat_map(|jar| jar.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}
