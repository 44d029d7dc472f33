//! Several accounts: `/admin/accounts…`, keys that are bound to an account, and what deleting one leaves.

use std::sync::Arc;

use serde_json::{Value, json};

use super::files::fixture;
use crate::{
    Product,
    fake_qwen::Fake,
    form::Form,
    http::{Reply, chat, eventually, with},
    server::{Case, Server, unique},
};

/// The keys of the accounts `default`, `anna` and `bert`.
pub const KEYS: &str = r#"["sk-test-key",{"key":"sk-of-anna","account":"anna"},{"key":"sk-of-bert","account":"bert"}]"#;
const ADMIN: &str = "admin-key";
/// 32 bytes in base64.
const SESSION_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

pub async fn start(case: &Case, fake: &Fake, more: &[(&str, &str)]) -> Arc<Server> {
    case.start_with(fake, &[&[("VALID_TOKENS", KEYS), ("ADMIN_TOKEN", ADMIN)], more].concat()).await
}

/// A request with a key.
pub async fn send(server: &Server, key: &str, method: &str, path: &str, body: impl Into<String>) -> Reply {
    let key = format!("Bearer {key}");
    let headers = [("authorization", key.as_str()), ("content-type", "application/json")];
    server.http.send(method, path, &headers, body.into()).await
}

pub async fn admin(server: &Server, method: &str, path: &str, body: impl Into<String>) -> Reply {
    send(server, ADMIN, method, &format!("/admin/{path}"), body).await
}

pub async fn ask(server: &Server, key: &str, prompt: &str) -> Reply {
    send(server, key, "POST", "/v1/chat/completions", chat(prompt).to_string()).await
}

/// Gives an account a session of a user of the site.
pub async fn give(server: &Server, account: &str, user: &str) -> Reply {
    let cookies = format!("token={}; refresh_token={}", Fake::token(user, 9_000), Fake::refresh_token(user));
    let reply = admin(server, "PUT", &format!("accounts/{account}/session"), cookies).await;
    assert_eq!(reply.status, 200, "{account}: {reply:?}");
    reply
}

/// The accounts in the list, each as `name state owner keys`.
async fn listed(server: &Server) -> Vec<String> {
    let reply = admin(server, "GET", "accounts", "").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let list = reply.json();
    assert_eq!(list["object"], "list");
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let line = |account: &Value| {
        let fields: Vec<&String> = account.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["checked_at", "encrypted", "expires_at", "keys", "name", "owner", "state"]);
        format!(
            "{} {} {} {}",
            text(&account["name"]),
            text(&account["state"]),
            text(&account["owner"]),
            account["keys"]
        )
    };
    list["data"].as_array().unwrap().iter().map(line).collect()
}

async fn health(server: &Server) -> (u16, String, String, String) {
    let (health, ready) = (server.get("/health").await, server.get("/ready").await);
    let (json, text) = (health.json(), |value: &Value| value.as_str().unwrap_or_default().to_owned());
    let accounts = format!("{}/{}", json["accounts"]["usable"], json["accounts"]["total"]);
    assert_eq!(json["accounts"], ready.json()["accounts"]);
    (ready.status.as_u16(), text(&json["status"]), text(&json["session"]["state"]), accounts)
}

pub async fn a_key_uses_its_account_and_no_other(case: Arc<Case>) {
    let fake = Fake::start();
    let server = start(&case, &fake, &[]).await;
    let before = fake.request_count();
    for (path, body) in [
        ("/v1/chat/completions", chat("of anna")),
        ("/v1/messages", with(chat("of anna"), json!({ "max_tokens": 9 }))),
        ("/v1/responses", json!({ "model": "qwen3-max", "input": "of anna" })),
        ("/v1/images/generations", json!({ "prompt": "of anna" })),
        ("/v1/videos", json!({ "prompt": "of anna" })),
        ("/v2/files/getstsToken", json!({ "filename": "a.png", "filesize": 9, "filetype": "image" })),
    ] {
        let reply = send(&server, "sk-of-anna", "POST", path, body.to_string()).await;
        assert_eq!((reply.status, reply.header("x-should-retry")), (http::StatusCode::UNAUTHORIZED, Some("false")));
        let text = reply.text();
        assert!(text.contains("'anna'") && text.contains("/admin/accounts/anna/session"), "{path}: {text}");
        if path != "/v1/messages" {
            reply.error(401, "qwen_session_missing");
        }
    }
    assert_eq!(fake.requests_containing("of anna").len(), 0, "another account was asked");
    assert!(fake.request_count() - before < 4, "the list of models alone may be asked for");
    assert_eq!(ask(&server, "sk-test-key", "of default").await.status, 200);
    give(&server, "anna", "user-a").await;
    for prompt in ["of anna", "of anna again"] {
        assert_eq!(ask(&server, "sk-of-anna", prompt).await.status, 200);
    }
    for request in fake.requests_containing("of anna") {
        assert!(request.header("cookie").unwrap().contains("fake-refresh."), "the session of default was sent");
    }
    let chats = async |key| send(&server, key, "GET", "/v1/chats", "").await.json()["data"].as_array().unwrap().len();
    assert_eq!((chats("sk-test-key").await, chats("sk-of-anna").await, chats("sk-of-bert").await), (1, 2, 0));
    let text = ask(&server, "sk-of-bert", "of bert").await.error(401, "qwen_session_missing").to_string();
    assert!(text.contains("'bert'") && !text.contains("anna"), "{text}");
    // The same user of the site behind two accounts: what one has, the other does not see.
    give(&server, "bert", "user-a").await;
    assert_eq!(chats("sk-of-bert").await, 0);
    assert_eq!(fake.foreign_requests(), 0);
}

pub async fn administrators_see_and_change_accounts(case: Arc<Case>) {
    let fake = Fake::start();
    let server = start(&case, &fake, &[("QWEN_COOKIES", ""), ("SESSION_KEY", SESSION_KEY)]).await;
    assert_eq!(listed(&server).await, ["default missing - 1", "anna missing - 1", "bert missing - 1"]);
    let shown = give(&server, "anna", "user-a").await;
    assert_eq!(
        (shown.json()["state"].as_str(), shown.json()["account"].as_str(), &shown.json()["encrypted"]),
        (Some("valid"), Some("user-a"), &json!(true))
    );
    // An account that no key names yet.
    give(&server, "carl_2", "user-c").await;
    let all = ["default missing - 1", "anna valid user-a 1", "bert missing - 1", "carl_2 valid user-c 0"];
    assert_eq!(listed(&server).await, all);
    // Refused credentials change nothing, and make no account.
    for (account, body, status, code) in [
        ("anna", "token=unknown", 401, "qwen_session_expired"),
        ("dora", "token=unknown", 401, "qwen_session_expired"),
        ("dora", "what is this", 400, "invalid_request"),
    ] {
        admin(&server, "PUT", &format!("accounts/{account}/session"), body).await.error(status, code);
    }
    assert_eq!(listed(&server).await, all);
    let path = |account: &str| format!("accounts/{account}/session");
    let session = admin(&server, "GET", &path("anna"), "").await;
    assert_eq!(
        (session.json()["object"].as_str(), session.json()["source"].as_str()),
        (Some("session"), Some("stored"))
    );
    for reply in [&shown, &session, &admin(&server, "GET", "accounts", "").await] {
        assert!(!reply.text().contains("eyJ") && !reply.text().contains("fake-refresh"), "{reply:?}");
    }
    for method in ["GET", "PUT", "DELETE"] {
        let too_long = "a".repeat(41);
        for wrong in ["Anna", "an%20na", "an.na", "a%2Fb", "%C3%A4", &too_long] {
            let reply = admin(&server, method, &path(wrong), "token=x").await;
            assert_eq!(reply.error(400, "invalid_request")["param"], "name", "{method} {wrong}");
        }
    }
    admin(&server, "GET", &path("dora"), "").await.error(404, "not_found");
    admin(&server, "DELETE", &path("dora"), "").await.error(404, "not_found");
    admin(&server, "DELETE", "accounts/dora", "").await.error(404, "not_found");
    admin(&server, "DELETE", "accounts/Dora", "").await.error(400, "invalid_request");
    for (method, path, allowed) in [
        ("POST", "/admin/accounts", "GET, HEAD, OPTIONS"),
        ("GET", "/admin/accounts/anna", "DELETE, OPTIONS"),
        ("POST", "/admin/accounts/anna/session", "GET, HEAD, PUT, DELETE, OPTIONS"),
    ] {
        let reply = send(&server, ADMIN, method, path, "").await;
        reply.error(405, "method_not_allowed");
        assert_eq!(reply.header("allow"), Some(allowed), "{path}");
        for key in ["sk-test-key", "sk-of-anna"] {
            let method = if path.ends_with("session") { "PUT" } else { allowed.split(',').next().unwrap() };
            send(&server, key, method, path, "token=x").await.error(403, "invalid_api_key");
            server.http.send(method, path, &[], "").await.error(401, "missing_api_key");
        }
    }
    // `/admin/session` is that of `default`.
    let cookies = format!("token={}", Fake::token("user-d", 9_000));
    assert_eq!(admin(&server, "PUT", "session", cookies).await.status, 200);
    assert_eq!(admin(&server, "GET", &path("default"), "").await.json()["account"], "user-d");
    assert_eq!(admin(&server, "DELETE", &path("anna"), "").await.json()["state"], "missing");
    assert_eq!(
        listed(&server).await,
        ["default valid user-d 1", "anna missing - 1", "bert missing - 1", "carl_2 valid user-c 0"]
    );
    ask(&server, "sk-of-anna", "hi").await.error(401, "qwen_session_missing");
    assert_eq!(ask(&server, "sk-test-key", "hi").await.status, 200);
    let log = server.log().await.join("\n");
    assert!(!log.contains("eyJ") && !log.contains("fake-refresh") && !log.contains("sk-of-"), "{log}");
}

pub async fn health_and_readiness_follow_all_accounts(case: Arc<Case>) {
    let fake = Fake::start();
    let server = start(&case, &fake, &[("QWEN_COOKIES", "")]).await;
    let expected = |status, word: &str, session: &str, accounts: &str| {
        (status, word.to_owned(), session.to_owned(), accounts.to_owned())
    };
    assert_eq!(health(&server).await, expected(503, "unhealthy", "missing", "0/3"));
    give(&server, "bert", "user-b").await;
    assert_eq!(health(&server).await, expected(200, "degraded", "missing", "1/3"));
    give(&server, "default", "user-d").await;
    give(&server, "anna", "user-a").await;
    assert_eq!(health(&server).await, expected(200, "healthy", "valid", "3/3"));
    // A human check of one account.
    ask(&server, "sk-of-anna", "[[fake fail=waf_html]]").await.error(403, "qwen_challenge");
    assert_eq!(health(&server).await, expected(200, "degraded", "valid", "2/3"));
    ask(&server, "sk-test-key", "[[fake fail=waf_html]]").await.error(403, "qwen_challenge");
    assert_eq!(health(&server).await, expected(200, "degraded", "challenged", "1/3"));
    admin(&server, "DELETE", "accounts/bert", "").await;
    assert_eq!(health(&server).await, expected(503, "unhealthy", "challenged", "0/3"));
    assert_eq!(ask(&server, "sk-of-bert", "x").await.status, 401);
    if case.product == Product::Native {
        let metrics = send(&server, "sk-of-bert", "GET", "/metrics", "").await.text();
        for line in [
            "qwen_edge_session_state{account=\"anna\",state=\"challenged\"} 1",
            "qwen_edge_session_state{account=\"bert\",state=\"missing\"} 1",
            "qwen_edge_session_state{account=\"bert\",state=\"valid\"} 0",
            "qwen_edge_in_flight{account=\"anna\"} 0",
            "qwen_edge_queue{account=\"default\"} 0",
            "qwen_edge_requests_total{route=\"/v1/chat/completions\",status=\"403\",account=\"anna\"} 1",
            "qwen_edge_errors_total{code=\"qwen_session_missing\",account=\"bert\"} 1",
        ] {
            assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
        }
        let has_account = |line: &String| line.contains("\"account\":\"anna\"") && line.contains("qwen_challenge");
        assert!(server.log().await.iter().any(has_account));
    }
    // Keys that all name one account: that is the only one, and `default` is not missed.
    let keys = r#"[{"key":"sk-of-anna","account":"anna"}]"#;
    let server = start(&case, &fake, &[("QWEN_COOKIES", ""), ("VALID_TOKENS", keys)]).await;
    assert_eq!(health(&server).await, expected(503, "unhealthy", "missing", "0/1"));
    give(&server, "anna", "user-a").await;
    assert_eq!(health(&server).await, expected(200, "healthy", "valid", "1/1"));
    assert_eq!(listed(&server).await, ["default missing - 0", "anna valid user-a 1"]);
}

/// A conversation, a file, a response and a video of a key.
pub struct Things {
    pub messages: Value,
    chat: String,
    file: String,
    pub response: String,
    video: String,
}

impl Things {
    pub async fn make(server: &Server, key: &str) -> Self {
        let marker = unique("things");
        let reply = ask(server, key, &format!("[[fake say={marker}]] {marker}")).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let question = json!({ "role": "user", "content": format!("[[fake say={marker}]] {marker}") });
        let answer = json!({ "role": "assistant", "content": marker });
        let messages = json!([question, answer, { "role": "user", "content": "and now?" }]);
        let chats = send(server, key, "GET", "/v1/chats", "").await.json();
        let form = Form::new().file("file", "a.png", Some("image/png"), fixture("truecolor.png"));
        let (content_type, body) = form.body();
        let bearer = format!("Bearer {key}");
        let headers = [("authorization", bearer.as_str()), ("content-type", content_type.as_str())];
        let file = server.http.send("POST", "/v1/files", &headers, body).await;
        assert_eq!(file.status, 200, "{file:?}");
        let input = json!({ "model": "qwen3-max", "input": "keep this" });
        let response = send(server, key, "POST", "/v1/responses", input.to_string()).await;
        assert_eq!(response.status, 200, "{response:?}");
        let video = send(server, key, "POST", "/v1/videos", json!({ "prompt": "a kite" }).to_string()).await;
        assert_eq!(video.status, 200, "{video:?}");
        let id = |json: &Value| json["id"].as_str().unwrap().to_owned();
        let (chat, file) = (id(&chats["data"][0]), id(&file.json()));
        Self { messages, chat, file, response: id(&response.json()), video: id(&video.json()) }
    }

    /// What of them the key still sees.
    pub async fn seen(&self, server: &Server, key: &str) -> Vec<&'static str> {
        let found = async |path: &str| send(server, key, "GET", path, "").await;
        let mut seen = Vec::new();
        if found("/v1/chats").await.text().contains(&self.chat) {
            seen.push("chat");
        }
        if found("/v1/files").await.text().contains(&self.file)
            || found(&format!("/v1/files/{}", self.file)).await.status == 200
        {
            seen.push("file");
        }
        if found(&format!("/v1/responses/{}", self.response)).await.status == 200 {
            seen.push("response");
        }
        if found("/v1/videos").await.text().contains(&self.video)
            || found(&format!("/v1/videos/{}", self.video)).await.status == 200
        {
            seen.push("video");
        }
        seen
    }
}

pub const EVERYTHING: [&str; 4] = ["chat", "file", "response", "video"];

pub async fn a_deleted_account_leaves_nothing_here(case: Arc<Case>) {
    let fake = Fake::start();
    let server = start(&case, &fake, &[]).await;
    give(&server, "anna", "user-a").await;
    give(&server, "carl", "user-c").await;
    let (of_anna, of_default) = (Things::make(&server, "sk-of-anna").await, Things::make(&server, "sk-test-key").await);
    assert_eq!(of_anna.seen(&server, "sk-of-anna").await, EVERYTHING);
    let chats = fake.chats();
    let deleted = admin(&server, "DELETE", "accounts/anna", "").await;
    assert_eq!(
        (deleted.status, deleted.json()),
        (http::StatusCode::OK, json!({ "name": "anna", "object": "account.deleted", "deleted": true }))
    );
    assert_eq!(fake.chats(), chats, "nothing is deleted at the site");
    assert_eq!(of_anna.seen(&server, "sk-of-anna").await, [""; 0]);
    assert_eq!(of_default.seen(&server, "sk-test-key").await, EVERYTHING, "another account's");
    // A key names it, so it is still there. One that no key names is not.
    assert_eq!(admin(&server, "DELETE", "accounts/carl", "").await.status, 200);
    admin(&server, "DELETE", "accounts/carl", "").await.error(404, "not_found");
    let names = ["default", "anna", "bert"];
    assert!(listed(&server).await.iter().zip(names).all(|(line, name)| line.starts_with(name)));
    assert_eq!(listed(&server).await.len(), 3);
    ask(&server, "sk-of-anna", "x").await.error(401, "qwen_session_missing");
    // The same person again: nothing comes back, and the old conversation leads to a new chat.
    give(&server, "anna", "user-a").await;
    assert_eq!(of_anna.seen(&server, "sk-of-anna").await, [""; 0]);
    let go_on = json!({ "model": "qwen3-max", "messages": of_anna.messages });
    let reply = send(&server, "sk-of-anna", "POST", "/v1/chat/completions", go_on.to_string()).await;
    assert_eq!((reply.status.as_u16(), fake.chats()), (200, chats + 1));
    let follow = json!({ "model": "qwen3-max", "input": "x", "previous_response_id": of_anna.response });
    let reply = send(&server, "sk-of-anna", "POST", "/v1/responses", follow.to_string()).await;
    reply.error(404, "previous_response_not_found");
    let again = Things::make(&server, "sk-of-anna").await;
    assert_eq!(again.seen(&server, "sk-of-anna").await, EVERYTHING);
    assert_eq!(of_default.seen(&server, "sk-test-key").await, EVERYTHING);
    // A session alone is deleted without what the account has.
    assert_eq!(admin(&server, "DELETE", "accounts/anna/session", "").await.status, 200);
    give(&server, "anna", "user-a").await;
    assert_eq!(again.seen(&server, "sk-of-anna").await, EVERYTHING);
}

pub async fn deleting_default_goes_back_to_the_variables(case: Arc<Case>) {
    let fake = Fake::start();
    let cookies = format!("token={}", Fake::token("configured", 9_000));
    let server = start(&case, &fake, &[("QWEN_COOKIES", &cookies)]).await;
    give(&server, "anna", "user-a").await;
    let configured = Things::make(&server, "sk-test-key").await;
    give(&server, "default", "pasted").await;
    let pasted = Things::make(&server, "sk-test-key").await;
    let of_anna = Things::make(&server, "sk-of-anna").await;
    assert_eq!(configured.seen(&server, "sk-test-key").await, [""; 0], "of another user of the site");
    assert_eq!(admin(&server, "DELETE", "accounts/default", "").await.status, 200);
    let session = admin(&server, "GET", "session", "").await.json();
    assert_eq!((session["source"].as_str(), session["state"].as_str()), (Some("configuration"), Some("unknown")));
    assert_eq!(ask(&server, "sk-test-key", "of the configured").await.status, 200);
    let sent = fake.requests_containing("of the configured").pop().unwrap();
    assert_eq!(sent.header("cookie"), Some(cookies.as_str()));
    for things in [&configured, &pasted] {
        assert_eq!(things.seen(&server, "sk-test-key").await, [""; 0]);
    }
    assert_eq!(of_anna.seen(&server, "sk-of-anna").await, EVERYTHING);
    give(&server, "default", "pasted").await;
    assert_eq!(pasted.seen(&server, "sk-test-key").await, [""; 0]);
}

pub async fn other_servers_learn_of_accounts(case: Arc<Case>) {
    let fake = Fake::start();
    let settings = [("VALID_TOKENS", KEYS), ("ADMIN_TOKEN", ADMIN), ("SESSION_KEY", SESSION_KEY)];
    let [one, two] = case.start_pair(&fake, &settings).await;
    ask(&two, "sk-of-anna", "early").await.error(401, "qwen_session_missing");
    give(&one, "anna", "user-a").await;
    give(&one, "carl", "user-c").await;
    assert_eq!(listed(&two).await.last().unwrap(), "carl valid user-c 0");
    assert_eq!(admin(&two, "GET", "accounts/carl/session", "").await.json()["account"], "user-c");
    eventually("the other server uses the session", || async { ask(&two, "sk-of-anna", "hi").await.status == 200 })
        .await;
    eventually("the other server counts it", || async { health(&two).await.3 == "3/4" }).await;
    // A human check of one account is known to the other server, and to that account alone.
    ask(&one, "sk-of-anna", "[[fake fail=waf_html]]").await.error(403, "qwen_challenge");
    eventually("the other server knows of the check", || async { ask(&two, "sk-of-anna", "hi").await.status == 403 })
        .await;
    assert_eq!(ask(&two, "sk-test-key", "hi").await.status, 200);
    assert_eq!(admin(&two, "DELETE", "accounts/carl", "").await.status, 200);
    assert_eq!(listed(&one).await.len(), 3);
    admin(&one, "GET", "accounts/carl/session", "").await.error(404, "not_found");
    assert_eq!(admin(&two, "DELETE", "accounts/anna", "").await.status, 200);
    eventually("the first server forgets the session", || async { ask(&one, "sk-of-anna", "hi").await.status == 401 })
        .await;
    give(&one, "carl", "user-c2").await;
    assert_eq!(listed(&two).await.last().unwrap(), "carl valid user-c2 0");
}
