//! All routes but completions and storage: session, models, chats, settings.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Shared;
use super::accounts::{self, Sender};
use super::body::{Reply, Start};
use super::catalogue;
use super::completions;
use super::failures;
use super::inspect;
use super::media;
use super::standing;
use super::stop;
use super::storage;
use super::web;

/// Paths of the model lists.
pub(super) const MODELS: [&str; 2] = ["/api/models", "/api/v2/models"];
/// The path that says whether a session is valid.
pub(super) const SESSION: &str = "/api/v1/auths";

/// `fake-new-chat.NAME[.timesN.ID]`: creating a chat for this model fails.
pub(super) const NEW_CHAT_MODEL: &str = "fake-new-chat.";

/// A request with its body.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// The `x-request-id` of the request, or a new one.
    pub(super) request_id: String,
}

impl Call {
    pub(super) fn new(parts: Parts, body: Bytes) -> Call {
        let sent = parts.headers.get("x-request-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
        Call {
            method: parts.method,
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers,
            body,
            request_id: sent.unwrap_or_else(|| Uuid::new_v4().to_string()),
        }
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(super) fn query_number(&self, key: &str) -> Option<usize> {
        self.query_text(key)?.parse().ok()
    }

    pub(super) fn query_text(&self, key: &str) -> Option<&str> {
        let mut pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    pub(super) fn success(&self, data: &Value) -> Reply {
        failures::success(&self.request_id, data)
    }
}

pub(super) fn answer(shared: &Arc<Shared>, call: &Call) -> Reply {
    let own = web::answer(shared, call).or_else(|| standing::answer(shared, call));
    let own = own.or_else(|| inspect::answer(shared, call)).or_else(|| media::inspect(shared, call));
    if let Some(reply) = own {
        return reply;
    }
    let failure = {
        let failures = shared.failures.lock().unwrap();
        longest_prefix(failures.iter().map(|(path, name)| (path.as_str(), name.clone())), &call.path)
    };
    let mut reply =
        failure.and_then(|name| failures::named(&name, None, &call.request_id)).unwrap_or_else(|| route(shared, call));
    let delay = {
        let delays = shared.delays.lock().unwrap();
        longest_prefix(delays.iter().map(|(path, delay)| (path.as_str(), *delay)), &call.path)
    };
    if let (Start::After(start), Some(delay)) = (&mut reply.start, delay) {
        *start += delay;
    }
    reply
        .header("x-request-id", &call.request_id)
        .header("set-cookie", "acw_tc=0a0fake0000000000000; path=/; HttpOnly; Max-Age=1800")
}

/// The value whose key is the longest prefix of `path`.
fn longest_prefix<'a, T>(entries: impl Iterator<Item = (&'a str, T)>, path: &str) -> Option<T> {
    entries
        .filter(|(prefix, _)| path.starts_with(prefix))
        .max_by_key(|(prefix, _)| prefix.len())
        .map(|(_, value)| value)
}

enum Route<'a> {
    Session,
    Models,
    NewChat,
    Chats,
    Chat(&'a str),
    Stop,
    Settings,
    SettingsUpdate,
    Heartbeat,
}

fn find<'a>(method: &Method, path: &'a str) -> Option<Route<'a>> {
    let (get, post) = (method == Method::GET, method == Method::POST);
    Some(match path.trim_end_matches('/') {
        SESSION if get => Route::Session,
        "/api/v2/models" if get => Route::Models,
        "/api/v2/chats/new" if post => Route::NewChat,
        "/api/v2/chats" if get => Route::Chats,
        stop::ROUTE if post => Route::Stop,
        "/api/v2/users/user/settings" if get => Route::Settings,
        "/api/v2/users/user/settings/update" if post => Route::SettingsUpdate,
        "/api/v2/users/status" if post => Route::Heartbeat,
        path if get || method == Method::DELETE => {
            Route::Chat(path.strip_prefix("/api/v2/chats/").filter(|id| !id.is_empty() && !id.contains('/'))?)
        }
        _ => return None,
    })
}

fn route(shared: &Arc<Shared>, call: &Call) -> Reply {
    match (call.method.as_str(), call.path.trim_end_matches('/')) {
        ("GET", "/api/models") => {
            return Reply::whole(200, "application/json", json!({"data": catalogue::list()}).to_string());
        }
        ("GET", "/api/v2/auths/refresh") => return refresh(shared, call),
        ("POST", "/api/v2/chat/completions") => return completions::answer(shared, call),
        _ => {}
    }
    if let Some(reply) = storage::answer_api(shared, call).or_else(|| media::answer(shared, call)) {
        return reply;
    }
    let Some(route) = find(&call.method, &call.path) else {
        return failures::not_found_page();
    };
    let sender = shared.accounts.lock().unwrap().sender(&call.headers);
    let account = match sender {
        Sender::Cookie(account) | Sender::Bearer(account) => account,
        Sender::Rejected if !matches!(route, Route::Session) => return unauthorized(200, call),
        Sender::Rejected | Sender::Anonymous => return unauthorized(401, call),
    };
    match route {
        Route::Session => session(&account),
        Route::Models => call.success(&json!({"data": catalogue::list()})),
        Route::NewChat => new_chat(shared, call, &account),
        Route::Chats => {
            let page = call.query_number("page").unwrap_or(1);
            call.success(&shared.chats.lock().unwrap().page(&account, page, call.query_number("limit")))
        }
        Route::Chat(id) => chat(shared, call, &account, id),
        Route::Stop => stop::answer(shared, call, &account),
        Route::Settings => call.success(shared.accounts.lock().unwrap().settings(&account)),
        Route::SettingsUpdate => {
            let mut accounts = shared.accounts.lock().unwrap();
            let settings = accounts.settings(&account);
            accounts::merge(settings, &call.json());
            call.success(settings)
        }
        Route::Heartbeat => call.success(&true.into()),
    }
}

fn unauthorized(status: u16, call: &Call) -> Reply {
    failures::refusal(status, &call.request_id, "Unauthorized", "Your session has expired, please sign in again.")
}

fn session(account: &str) -> Reply {
    let record = json!({
        "id": account, "email": format!("{account}@example.com"), "name": account, "role": "user",
        "profile_image_url": "/static/user.png", "token": accounts::token(account, 900), "token_type": "Bearer"
    });
    Reply::whole(200, "application/json", record.to_string())
}

fn new_chat(shared: &Shared, call: &Call, account: &str) -> Reply {
    let body = call.json();
    let model = body["models"][0].as_str().unwrap_or_default();
    if model.is_empty() {
        return failures::refusal(200, &call.request_id, "RequestValidationError", "Field 'models': Field required")
            .header("x-actual-status-code", "400");
    }
    if let Some(failure) = model.strip_prefix(NEW_CHAT_MODEL) {
        let mut parts = failure.split('.');
        let name = parts.next().unwrap_or_default();
        let times = parts.next().and_then(|times| times.strip_prefix("times")?.parse().ok()).unwrap_or(u64::MAX);
        if shared.is_among_first(model, times) {
            return failures::named(name, None, &call.request_id).unwrap_or_else(|| failures::unknown(name));
        }
    }
    let needs_text_model = media::is_media(body["chat_type"].as_str().unwrap_or_default());
    if media::is_image_model(model) || needs_text_model && catalogue::find(model).is_none() {
        return failures::refusal(200, &call.request_id, "Not_Found", "Model not found");
    }
    let id = shared.chats.lock().unwrap().create(account, &body);
    call.success(&json!({"id": id}))
}

fn chat(shared: &Shared, call: &Call, account: &str, id: &str) -> Reply {
    let mut chats = shared.chats.lock().unwrap();
    if chats.check(account, id).is_err() {
        return failures::refusal(404, &call.request_id, "Not_Found", &format!("chat {id} is not exist"));
    }
    if call.method == Method::DELETE {
        chats.delete(id);
        return call.success(&json!({"status": true}));
    }
    let mut media = shared.media.lock().unwrap();
    let mut detail = chats.detail(id, call.query_number("limit"), &mut |response_id| media.message(response_id));
    media.renew(&shared.origin(), &mut detail);
    call.success(&detail)
}

/// `GET https://auth.qwen.ai/api/v2/auths/refresh`
fn refresh(shared: &Shared, call: &Call) -> Reply {
    if ["source", "version"].iter().any(|name| !call.headers.contains_key(*name)) {
        return failures::refusal(400, &call.request_id, "Bad_Request", "Invalid request header");
    }
    let mut accounts = shared.accounts.lock().unwrap();
    let Some((account, used)) = accounts.refresh_account(&call.headers) else {
        return failures::refusal(
            401,
            &call.request_id,
            "unauthorized",
            "The refresh token is invalid or has been revoked.",
        );
    };
    let life = accounts.access_token_seconds();
    let access = accounts::token(&account, life);
    let mut data = json!({"access_token": access, "expires_at": accounts::now() + life});
    let rotated = shared.rotate_refresh_tokens.load(Ordering::Relaxed).then(|| accounts::refresh_token(&account));
    if let Some(rotated) = &rotated {
        accounts.revoke(&used);
        data["refresh_token"] = rotated.as_str().into();
    }
    let cookie = |name: &str, value: &str, life: i64| {
        format!("{name}={value}; Domain=.qwen.ai; Path=/; Max-Age={life}; HttpOnly; Secure; SameSite=Lax")
    };
    let reply = call.success(&data).header("set-cookie", cookie("token", &access, life));
    match rotated {
        Some(rotated) => reply.header("set-cookie", cookie("refresh_token", &rotated, 2_592_000)),
        None => reply,
    }
}
