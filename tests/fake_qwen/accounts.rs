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
    access_life: Option<i64>,
}

/// What a request shows of its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// The cookie `token` is good.
    Cookie(String),
    /// Only the `Authorization` header is good.
    Bearer(String),
    /// A token came and is expired, revoked or unreadable.
    Refused,
    Nobody,
}

impl Accounts {
    pub(super) fn revoke(&mut self, token: &str) {
        self.revoked.insert(token.to_owned());
    }

    /// Seconds that an access token from a refresh lives.
    pub(super) fn access_life(&self) -> i64 {
        self.access_life.unwrap_or(900)
    }

    pub(super) fn set_access_life(&mut self, seconds: i64) {
        self.access_life = Some(seconds);
    }

    pub(super) fn set_quota(&mut self, account: &str, left: Option<u64>) {
        match left {
            Some(left) => self.quotas.insert(account.to_owned(), left),
            None => self.quotas.remove(account),
        };
    }

    /// Uses up one completion; false when none is left.
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
            None if bearer.is_some() || cookie.is_some() => Sender::Refused,
            None => Sender::Nobody,
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

    /// The account of the refresh token in the cookies, with that token.
    pub(super) fn refresher(&self, headers: &HeaderMap) -> Option<(String, String)> {
        let token = cookie(headers, "refresh_token")?;
        if self.revoked.contains(&token) {
            return None;
        }
        let account = token.strip_prefix(REFRESH_PREFIX)?.split('.').next()?;
        let account = String::from_utf8(URL_SAFE_NO_PAD.decode(account).ok()?).ok()?;
        Some((account, token))
    }

    /// Settings of an account, to read or to change.
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

/// Merges a partial object into `target`, object by object.
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

pub(super) fn token(account: &str, expires_in: i64) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signature = [*Uuid::new_v4().as_bytes(), *Uuid::new_v4().as_bytes()].concat();
    format!(
        "{}.{}.{}",
        part(json!({"alg": "HS256", "typ": "JWT"})),
        part(json!({"id": account, "last_password_change": 1_750_000_000, "exp": now() + expires_in})),
        URL_SAFE_NO_PAD.encode(signature)
    )
}

pub(super) fn refresh_token(account: &str) -> String {
    format!("{REFRESH_PREFIX}{}.{}", URL_SAFE_NO_PAD.encode(account), Uuid::new_v4().simple())
}

thread_local! {
    /// How far the clock of the fake that this thread belongs to is ahead, in seconds.
    static AHEAD: RefCell<Arc<AtomicI64>> = RefCell::default();
}

/// Makes this thread one of a fake's.
pub(super) fn keep_time_by(ahead: Arc<AtomicI64>) {
    AHEAD.with(|clock| *clock.borrow_mut() = ahead);
}

/// Seconds since 1970, by the clock of the fake that this thread belongs to.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("later than 1970").as_secs();
    i64::try_from(since).expect("a time of this age") + AHEAD.with(|clock| clock.borrow().load(Ordering::Relaxed))
}

/// The same for a `Date` header.
pub(super) fn time() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(now().try_into().expect("later than 1970"))
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let jars = headers.get_all("cookie").iter().filter_map(|value| value.to_str().ok());
    jars.flat_map(|jar| jar.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}
