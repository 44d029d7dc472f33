use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use serde_json::{Value, json};

use crate::{
    Product,
    fake_qwen::Fake,
    http::{Reply, chat, concat_deltas, events, eventually, with},
    server::{Case, KEY, Server, unique},
};

const ADMIN: &str = "admin-key";
const REFRESH: &str = "/api/v2/auths/refresh";
/// 32 bytes in base64.
const SESSION_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

async fn admin(server: &Server, method: &str, body: impl Into<String>) -> Reply {
    server.http.send(method, "/admin/session", &[("authorization", "Bearer admin-key")], body.into()).await
}

/// The number of upstream requests whose path starts with `path`.
fn count(fake: &Fake, path: &str) -> usize {
    fake.requests().iter().filter(|request| request.path_and_query.starts_with(path)).count()
}

/// Cookies with a refresh token and an access token that lives for `seconds`.
fn refreshable(account: &str, seconds: i64) -> String {
    format!(
        "cna=a/b+c; token={}; refresh_token={}; isg=x==",
        Fake::token(account, seconds),
        Fake::refresh_token(account)
    )
}

async fn state(server: &Server) -> String {
    server.get("/health").await.json()["session"]["state"].as_str().unwrap().to_owned()
}

/// Waits until background work has brought the session into this state.
async fn wait_for_state(server: &Server, expected: &str) {
    eventually(&format!("the session is {expected}"), || async { state(server).await == expected }).await;
}

pub async fn an_expired_token_is_refreshed_once(case: Arc<Case>) {
    let fake = Fake::start();
    fake.set_refresh_rotation(true);
    let cookies = refreshable("ended", -5);
    let pair = case.start_pair(&fake, &[("QWEN_COOKIES", &cookies)]).await;
    let requests =
        (0..50).map(|number| {
            let server = &pair[number % 2];
            async move {
                server.chat(&with(chat(&format!("hi {number}")), json!({ "stream": number % 3 == 0 }))).await.status
            }
        });
    assert!(join_all(requests).await.iter().all(|status| *status == 200));
    assert_eq!(count(&fake, REFRESH), 1, "both servers together refresh once");
    let refresh = fake.requests().into_iter().find(|request| request.path_and_query.starts_with(REFRESH)).unwrap();
    let sent = refresh.header("cookie").unwrap();
    assert!(
        sent.starts_with("refresh_token=fake-refresh.") && !sent.contains(';'),
        "the auth host gets another cookie"
    );
    let base = fake.url();
    for (name, value) in [
        ("source", "web"),
        ("version", "0.3.12"),
        ("origin", base.as_str()),
        ("x-request-origin", base.as_str()),
        ("accept", "application/json"),
    ] {
        assert_eq!(refresh.header(name), Some(value), "{name}");
    }
    let last = fake.requests_containing("hi 49").pop().unwrap();
    let cookie = last.header("cookie").unwrap();
    assert!(
        cookie.starts_with("cna=a/b+c; token=") && cookie.ends_with("; isg=x=="),
        "the other cookies changed: {cookie}"
    );
    for server in &pair {
        assert_eq!(state(server).await, "valid");
        let expires_at = server.get("/health").await.json()["session"]["expires_at"].as_u64().unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert!((now + 600..=now + 900).contains(&expires_at));
    }
}

pub async fn a_revoked_token_is_refreshed_and_the_request_retried(case: Arc<Case>) {
    let fake = Fake::start();
    let access = Fake::token("revoked", 9_000);
    let cookies = format!("token={access}; refresh_token={}", Fake::refresh_token("revoked"));
    let server = case.start_with(&fake, &[("QWEN_COOKIES", &cookies)]).await;
    assert_eq!(server.chat(&chat("before")).await.status, 200);
    fake.revoke(&access);
    let requests = (0..20).map(|number| {
        let server = &server;
        async move { server.chat(&with(chat("after"), json!({ "stream": number % 2 == 0 }))).await.status }
    });
    assert!(join_all(requests).await.iter().all(|status| *status == 200));
    assert_eq!(count(&fake, REFRESH), 1);
    // An error in a stream is retried before the first delta, and returned after it.
    for (fail, is_retried) in [("error_before", true), ("error_amid", false)] {
        let marker = unique("within");
        let prompt = format!("[[fake fail={fail} code=unauthorized times=1 id={marker} say=one%20two%20three%20four]]");
        let before = count(&fake, REFRESH);
        let request = with(chat(&prompt), json!({ "stream": true, "enable_thinking": false }));
        let reply = server.chat(&request).await;
        if is_retried {
            assert_eq!(concat_deltas(&reply.chunks(), "content"), "one two three four");
        } else {
            assert!(events(&reply.text()).last().unwrap().contains("\"qwen_session_expired\""));
        }
        assert_eq!(count(&fake, REFRESH) - before, usize::from(is_retried), "{fail}");
    }
    assert_eq!(server.chat(&chat("and on")).await.status, 200, "the next request refreshes the session");
}

pub async fn an_expiring_token_is_refreshed_in_the_background(case: Arc<Case>) {
    let fake = Fake::start();
    fake.set_first_byte_delay_ms(REFRESH, 1_000);
    let cookies = refreshable("soon", 100);
    let server = case.start_with(&fake, &[("QWEN_COOKIES", &cookies)]).await;
    if case.product == Product::Worker {
        assert_eq!(state(&server).await, "expiring");
        assert_eq!(server.get("/health").await.json()["status"], "degraded");
        assert_eq!(server.chat(&chat("one")).await.status, 200, "the token is still valid");
        let requests = fake.requests();
        let old = cookies.split("token=").nth(1).unwrap().split(';').next().unwrap();
        assert!(
            requests
                .iter()
                .any(|request| request.body.contains("one") && request.header("cookie").unwrap().contains(old)),
            "the request waited for the new token"
        );
    }
    wait_for_state(&server, "valid").await;
    assert_eq!(server.chat(&chat("two")).await.status, 200);
    assert_eq!(count(&fake, REFRESH), 1);
}

pub async fn a_rejected_refresh_ends_the_session(case: Arc<Case>) {
    let fake = Fake::start();
    let refresh = Fake::refresh_token("dead");
    fake.revoke(&refresh);
    let cookies = format!("token={}; refresh_token={refresh}", Fake::token("dead", -5));
    // Both servers start a refresh before either has failed.
    fake.set_first_byte_delay_ms(REFRESH, 1_000);
    let [server, other] = case.start_pair(&fake, &[("QWEN_COOKIES", &cookies)]).await;
    for replies in [
        join_all([server.chat(&chat("hi")), other.chat(&chat("hi"))]).await,
        vec![server.chat(&chat("hi")).await, other.chat(&chat("hi")).await],
    ] {
        for reply in replies {
            reply.error(401, "qwen_session_expired");
            assert_eq!(reply.header("x-should-retry"), Some("false"));
        }
    }
    assert_eq!(count(&fake, REFRESH), 1, "both servers together refresh once");
    assert_eq!((state(&server).await.as_str(), server.get("/ready").await.status.as_u16()), ("expired", 503));
}

pub async fn a_transient_refresh_failure_is_retried_later(case: Arc<Case>) {
    let fake = Fake::start();
    let cookies = refreshable("moment", -5);
    for (fail, status, code) in
        [("http_500", 502, "upstream_error"), ("html_login", 502, "upstream_invalid"), ("reset", 502, "upstream_error")]
    {
        fake.set_failure(REFRESH, Some(fail));
        let server = case.start_with(&fake, &[("QWEN_COOKIES", &cookies)]).await;
        let before = count(&fake, "/api/v2/chat");
        let reply = server.chat(&chat("hi")).await;
        reply.error(status, code);
        let wait_seconds: u64 = reply.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=10).contains(&wait_seconds), "{fail}: {wait_seconds}");
        let refreshes = count(&fake, REFRESH);
        server.chat(&chat("hi")).await.error(status, code);
        assert_eq!(count(&fake, REFRESH), refreshes, "{fail}: refreshed during the back-off");
        assert_eq!(count(&fake, "/api/v2/chat"), before, "{fail}: an expired token was sent");
        fake.set_failure(REFRESH, None);
        tokio::time::sleep(Duration::from_secs(wait_seconds + 1)).await;
        assert_eq!(server.chat(&chat("hi")).await.status, 200, "{fail}");
    }
    // The auth host may demand a captcha, too.
    fake.set_failure(REFRESH, Some("waf_html"));
    let server = case.start_with(&fake, &[("QWEN_COOKIES", &cookies)]).await;
    let reply = server.chat(&chat("hi")).await;
    reply.error(403, "qwen_challenge");
    let request_count = fake.requests().len();
    server.chat(&chat("hi")).await.error(403, "qwen_challenge");
    assert_eq!(fake.requests().len(), request_count, "the cooldown applies to both hosts");
}

/// The site refuses a token before its end, and cannot renew it for the moment: no person has to sign in again for that.
pub async fn a_refusal_without_a_renewal_passes(case: Arc<Case>) {
    let fake = Fake::start();
    for (number, (path, prompt)) in [
        ("/v1/chat/completions", "hi"),
        ("/v1/chat/completions", "[[fake fail=error_before code=unauthorized times=1]]"),
        ("/v1/images/generations", "a kite"),
        ("/v1/videos", "a kite"),
    ]
    .into_iter()
    .enumerate()
    {
        let token = Fake::token(&format!("passes-{number}"), 9_000);
        let cookies = format!("token={token}; refresh_token={}", Fake::refresh_token(&format!("passes-{number}")));
        let server = case.start_with(&fake, &[("QWEN_COOKIES", &cookies)]).await;
        assert_eq!(server.chat(&chat("the session is well")).await.status, 200);
        fake.set_failure(REFRESH, Some("http_500"));
        if !prompt.contains("unauthorized") {
            fake.revoke(&token);
        }
        let request = with(chat(prompt), json!({ "prompt": prompt }));
        let reply = server.post(path, &request).await;
        reply.error(502, "upstream_error");
        let wait_seconds: u64 = reply.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=10).contains(&wait_seconds), "{path}: {reply:?}");
        fake.set_failure(REFRESH, None);
        tokio::time::sleep(Duration::from_secs(wait_seconds + 1)).await;
        assert_eq!(server.chat(&chat("well again")).await.status, 200, "{path}");
        assert!(fake.media_jobs("").is_empty());
    }
}

pub async fn rotated_tokens_survive_a_kill(case: Arc<Case>) {
    let fake = Fake::start();
    fake.set_refresh_rotation(true);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kept.db");
    let cookies = refreshable("kill", -5);
    let settings =
        [("QWEN_COOKIES", cookies.as_str()), ("DATABASE_PATH", path.to_str().unwrap()), ("SESSION_KEY", SESSION_KEY)];
    let stored = || {
        let database = rusqlite::Connection::open(&path).unwrap();
        database.query_row("SELECT value FROM session", [], |row| row.get::<_, String>(0)).ok()
    };
    let mut before = None;
    for round in 1..=4 {
        // Long enough for a chat on a busy machine: a kill amid a second refresh would rightly lose the tokens.
        fake.set_access_token_seconds(8);
        let server = case.start_with(&fake, &settings).await;
        assert_eq!(server.chat(&chat("hi")).await.status, 200, "round {round}");
        assert!(count(&fake, REFRESH) >= round, "a token that has ended is not refreshed");
        // A disk that is too busy to store them within two seconds holds up no chat: they are stored later.
        eventually("the tokens are stored", || async { stored().is_some_and(|now| before.as_ref() != Some(&now)) })
            .await;
        before = stored();
        let _ = server.signal("KILL").await.await;
        tokio::time::sleep(Duration::from_millis(8_100)).await;
    }
    let refresh_token = fake.requests().iter().rev().find_map(|request| {
        let cookie = request.header("cookie")?;
        Some(cookie.split("refresh_token=").nth(1)?.split(';').next()?.to_owned())
    });
    let refresh_token = refresh_token.unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let stored = std::fs::read(entry.unwrap().path()).unwrap();
        for word in [refresh_token.as_bytes(), b"refresh_token", b"cna="] {
            assert!(memchr::memmem::find(&stored, word).is_none(), "the stored session is not encrypted");
        }
    }
    // With another key the stored session is unreadable. The configured one is used, whose refresh token has been rotated.
    let other_key = SESSION_KEY.replace('M', "N");
    let mut settings = settings;
    settings[2].1 = &other_key;
    let server = case.start_with(&fake, &settings).await;
    server.chat(&chat("hi")).await.error(401, "qwen_session_expired");
    assert!(server.log().await.iter().any(|line| line.contains("SESSION_KEY")));
}

pub async fn the_session_check_reports_state_and_account(case: Arc<Case>) {
    let fake = Fake::start();
    let access = Fake::token("Ann Example", 9_000);
    let settings = [("QWEN_COOKIES", format!("token={access}")), ("ADMIN_TOKEN", ADMIN.to_owned())];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let check = async |server: &Server| {
        if case.product == Product::Worker {
            server.scheduled().await;
        }
    };
    let server = case.start_with(&fake, &settings).await;
    check(&server).await;
    wait_for_state(&server, "valid").await;
    let shown = admin(&server, "GET", "").await.json();
    assert_eq!((shown["account"].as_str(), shown["source"].as_str()), (Some("Ann Example"), Some("configuration")));
    assert_eq!(count(&fake, "/api/v1/auths"), 1);
    fake.revoke(&access);
    let server = case.start_with(&fake, &settings).await;
    check(&server).await;
    wait_for_state(&server, "expired").await;
    for (fail, expected) in
        [("html_login", "expired"), ("empty_body", "expired"), ("waf_json", "challenged"), ("http_500", "unknown")]
    {
        let fake = Fake::start();
        fake.set_failure("/api/v1/auths", Some(fail));
        let server = case.start_with(&fake, &settings).await;
        check(&server).await;
        wait_for_state(&server, expected).await;
        assert_eq!(server.get("/ready").await.status == 200, expected == "unknown", "{fail}");
    }
}

pub async fn a_captcha_cooldown_is_shared(case: Arc<Case>) {
    let fake = Fake::start();
    let cookies = format!("token={}", Fake::token("shared", 9_000));
    let [one, two] = case.start_pair(&fake, &[("QWEN_COOKIES", &cookies)]).await;
    // Both servers have read the stored session before.
    assert!(one.chat(&chat("hi")).await.status == 200 && two.chat(&chat("hi")).await.status == 200);
    one.chat(&chat("[[fake fail=waf_html]]")).await.error(403, "qwen_challenge");
    wait_for_state(&two, "challenged").await;
    let request_count = fake.requests().len();
    let reply = two.chat(&chat("hi")).await;
    assert!(reply.error(403, "qwen_challenge")["verify_url"].as_str().unwrap().starts_with("https://"));
    assert!(reply.header("retry-after").unwrap().parse::<u64>().unwrap() > 500);
    assert_eq!(fake.requests().len(), request_count);
}

pub async fn a_captcha_cooldown_survives_a_kill(case: Arc<Case>) {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kept.db");
    let cookies = format!("token={}", Fake::token("pause", 9_000));
    let settings = [("QWEN_COOKIES", cookies.as_str()), ("DATABASE_PATH", path.to_str().unwrap())];
    let server = case.start_with(&fake, &settings).await;
    server.chat(&chat("[[fake fail=waf_json]]")).await.error(403, "qwen_challenge");
    wait_for_state(&server, "challenged").await;
    let _ = server.signal("KILL").await.await;
    let request_count = fake.requests().len();
    let server = case.start_with(&fake, &settings).await;
    server.chat(&chat("hi")).await.error(403, "qwen_challenge");
    server.get("/v1/models").await;
    assert_eq!(fake.requests().len(), request_count, "the session was checked upstream");
}

pub async fn a_new_session_is_accepted_in_each_format(case: Arc<Case>) {
    let fake = Fake::start();
    let pair =
        case.start_pair(&fake, &[("QWEN_COOKIES", ""), ("ADMIN_TOKEN", ADMIN), ("SESSION_KEY", SESSION_KEY)]).await;
    let [server, other] = &pair;
    server.chat(&chat("hi")).await.error(401, "qwen_session_missing");
    other.chat(&chat("hi")).await.error(401, "qwen_session_missing");
    let shown = admin(server, "GET", "").await.json();
    assert_eq!((shown["state"].as_str(), &shown["source"]), (Some("missing"), &Value::Null));
    let formats: [fn(&str, &str) -> String; 10] = [
        |jar, _| json!({ "cookies": jar }).to_string(),
        |_, token| json!({ "token": token }).to_string(),
        |jar, _| {
            json!({ "curl": format!("curl 'https://chat.qwen.ai/api/v1/auths/' -H 'accept: */*' -b '{jar}'") })
                .to_string()
        },
        |jar, _| format!("curl 'https://chat.qwen.ai/' \\\n  -H 'user-agent: Mine/2.0' \\\n  -H $'cookie: {jar}'"),
        |jar, _| {
            format!(
                "curl ^\"https://chat.qwen.ai/^\" ^\r\n  -b ^\"{}^\" ^\r\n  --compressed",
                jar.replace('"', "^\\^\"")
            )
        },
        |jar, _| jar.to_owned(),
        |_, token| token.to_owned(),
        |jar, _| {
            let init = json!({ "headers": { "accept": "*/*", "cookie": jar }, "body": null, "method": "GET" });
            format!("fetch(\"https://chat.qwen.ai/api/v1/auths/\", {init:#});")
        },
        |jar, _| {
            let cookie = |pair: &str| {
                let (name, value) = pair.split_once('=').unwrap();
                json!({ "domain": ".qwen.ai", "name": name, "path": "/", "secure": true, "value": value })
            };
            json!(jar.split("; ").map(cookie).collect::<Vec<_>>()).to_string()
        },
        |jar, _| {
            let line = |pair: &str| format!("#HttpOnly_.qwen.ai\tTRUE\t/\tTRUE\t0\t{}\n", pair.replacen('=', "\t", 1));
            format!("# Netscape HTTP Cookie File\n{}", jar.split("; ").map(line).collect::<String>())
        },
    ];
    for (number, format) in formats.iter().enumerate() {
        let account = unique("new");
        let token = Fake::token(&account, 9_000);
        let jar = format!("cna=\"q\"; token={token}; isg=x==");
        let reply = admin(server, "PUT", format(&jar, &token)).await;
        assert_eq!(reply.status, 200, "{number}: {reply:?}");
        let shown = reply.json();
        assert_eq!(
            (shown["state"].as_str(), shown["account"].as_str(), shown["source"].as_str(), &shown["encrypted"]),
            (Some("valid"), Some(account.as_str()), Some("stored"), &json!(true)),
            "{number}"
        );
        assert!(
            !reply.text().contains(&token) && !reply.text().contains("isg"),
            "{number}: the response shows cookies"
        );
        let marker = unique("with");
        assert_eq!(server.chat(&chat(&marker)).await.status, 200, "{number}: the new session is not used");
        let sent = fake.requests_containing(&marker)[0].clone();
        let expected = if format(&jar, &token).contains("isg") { jar.clone() } else { format!("token={token}") };
        assert_eq!(sent.header("cookie"), Some(expected.as_str()), "{number}");
        if format(&jar, &token).contains("Mine/2.0") {
            assert_eq!(sent.header("user-agent"), Some("Mine/2.0"));
        }
        // The other server uses it within seconds.
        eventually(&format!("the other server uses session {number}"), || async {
            let marker = unique("other");
            let status = other.chat(&chat(&marker)).await.status;
            status == 200 && fake.requests_containing(&marker)[0].header("cookie") == Some(expected.as_str())
        })
        .await;
    }
    // An expired access token is accepted together with a refresh token.
    let reply = admin(server, "PUT", refreshable("refreshed", -5)).await.json();
    assert_eq!((reply["state"].as_str(), &reply["renewable"]), (Some("valid"), &json!(true)));
    let shown = admin(server, "DELETE", "").await.json();
    assert_eq!(shown["state"], "missing", "the configured session is used again, and there is none");
    server.chat(&chat("hi")).await.error(401, "qwen_session_missing");
}

pub async fn a_rejected_session_keeps_the_old_one(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[("ADMIN_TOKEN", ADMIN)]).await;
    assert_eq!(server.chat(&chat("hi")).await.status, 200);
    let revoked = Fake::token("gone", 9_000);
    fake.revoke(&revoked);
    let expired = Fake::token("expired", -9);
    for (body, status, code) in [
        (String::new(), 400, "invalid_request"),
        ("{".to_owned(), 400, "invalid_request"),
        ("{\"cookies\": 7}".to_owned(), 400, "invalid_request"),
        ("{\"password\": \"x\"}".to_owned(), 400, "invalid_request"),
        ("a=1; b=2".to_owned(), 400, "invalid_request"),
        ("what is this".to_owned(), 400, "invalid_request"),
        ("\u{fffd}\u{0}".to_owned(), 400, "invalid_request"),
        ("curl 'https://chat.qwen.ai/' -H 'accept: */*'".to_owned(), 400, "invalid_request"),
        (format!("curl 'https://evil.example/' -b 'token={}'", Fake::token("x", 99)), 400, "invalid_request"),
        ("x".repeat(300_000), 413, "request_too_large"),
        (format!("token={revoked}"), 401, "qwen_session_expired"),
        (format!("token={expired}"), 401, "qwen_session_expired"),
        ("token=not-one-of-theirs".to_owned(), 401, "qwen_session_expired"),
        (format!("token={expired}; refresh_token=unknown"), 401, "qwen_session_expired"),
    ] {
        let reply = admin(&server, "PUT", body.clone()).await;
        reply.error(status, code);
        assert!(!reply.text().contains("eyJ"), "the response shows a token");
        assert_eq!(server.chat(&chat("hi")).await.status, 200, "{body:.50}");
    }
    for (fail, status, code) in [
        ("waf_json", 403, "qwen_challenge"),
        ("html_login", 401, "qwen_session_expired"),
        ("http_500", 502, "upstream_error"),
    ] {
        fake.set_failure("/api/v1/auths", Some(fail));
        let reply = admin(&server, "PUT", format!("token={}", Fake::token("fine", 99))).await;
        reply.error(status, code);
        fake.set_failure("/api/v1/auths", None);
        assert_eq!(server.chat(&chat("hi")).await.status, 200, "{fail}");
    }
}

pub async fn fresh_cookies_end_a_captcha_cooldown(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[("ADMIN_TOKEN", ADMIN)]).await;
    server.chat(&chat("[[fake fail=waf_html]]")).await.error(403, "qwen_challenge");
    let shown = admin(&server, "GET", "").await.json();
    assert!(
        shown["challenge"]["verify_url"].as_str().unwrap().starts_with("https://")
            && shown["challenge"]["until"].is_u64()
    );
    let reply = admin(&server, "PUT", format!("token={}; x5sec=passed", Fake::token("passed", 9_000))).await;
    assert_eq!((reply.status.as_u16(), reply.json()["state"].as_str()), (200, Some("valid")));
    assert_eq!(server.chat(&chat("hi")).await.status, 200);
}

pub async fn session_routes_require_the_admin_key(case: Arc<Case>) {
    let server = case.start(&[("ADMIN_TOKEN", ADMIN)]).await;
    let api_key = format!("Bearer {KEY}");
    for method in ["GET", "PUT", "DELETE"] {
        server.http.send(method, "/admin/session", &[], "").await.error(401, "missing_api_key");
        let reply = server.http.send(method, "/admin/session", &[("authorization", &api_key)], "").await;
        reply.error(403, "invalid_api_key");
        server.http.send(method, "/admin/session", &[("x-api-key", "admin")], "").await.error(403, "invalid_api_key");
    }
    assert_eq!(server.http.send("GET", "/admin/session", &[("x-api-key", ADMIN)], "").await.status, 200);
    let reply = server.http.send("POST", "/v1/chat/completions", &[("x-api-key", ADMIN)], chat("hi").to_string()).await;
    reply.error(403, "invalid_api_key");
    let without = case.start(&[]).await;
    for headers in [vec![], vec![("authorization", api_key.as_str())]] {
        without.http.send("GET", "/admin/session", &headers, "").await.error(403, "admin_disabled");
    }
    // Without keys the local user has access, but pages of other origins do not.
    let open = case.start(&[("VALID_TOKENS", "")]).await;
    let other_origin = open.http.send("GET", "/admin/session", &[("origin", "http://localhost:3000")], "").await;
    match case.product {
        Product::Native => drop(other_origin.error(403, "origin_not_allowed")),
        Product::Worker => drop(other_origin.error(403, "admin_disabled")),
    }
    let own_origin = open.http.send("GET", "/admin/session", &[("origin", open.url.as_str())], "").await;
    assert_eq!(own_origin.status == 200, case.product == Product::Native, "{own_origin:?}");
    for header in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("host", "evil.example"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let code = if case.product == Product::Native { "origin_not_allowed" } else { "admin_disabled" };
        open.http.send("GET", "/admin/session", &[header], "").await.error(403, code);
    }
}

/// Overwrites the stored session, as an attacker with access to the database but without the key.
async fn overwrite_session(server: &Server, path: &str, value: &str) {
    let sql = format!("UPDATE session SET version = version + 1, value = '{value}';");
    if path.is_empty() {
        server.sql(&sql).await;
    } else {
        assert_eq!(rusqlite::Connection::open(path).unwrap().execute(&sql, []).unwrap(), 1);
    }
}

pub async fn with_a_session_key_only_an_encrypted_session_is_used(case: Arc<Case>) {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept.db").display().to_string();
    let path = if case.product == Product::Native { kept.as_str() } else { "" };
    let configured = format!("token={}", Fake::token("own", 9_000));
    let settings = [
        ("QWEN_COOKIES", configured.as_str()),
        ("ADMIN_TOKEN", ADMIN),
        ("SESSION_KEY", SESSION_KEY),
        ("DATABASE_PATH", path),
    ];
    let server = case.start_with(&fake, &settings).await;
    let new = format!("token={}", Fake::token("given", 9_000));
    let shown = admin(&server, "PUT", new.clone()).await.json();
    assert_eq!((shown["source"].as_str(), &shown["encrypted"]), (Some("stored"), &json!(true)));
    let evil = format!("token={}", Fake::token("evil", 9_000));
    let plain = json!({ "cookie": evil, "early": 180, "account": "evil" }).to_string();
    overwrite_session(&server, path, &format!("plain:{plain}")).await;
    let mut used = String::new();
    for _ in 0..100 {
        let marker = unique("who");
        assert_eq!(server.chat(&chat(&marker)).await.status, 200);
        used = fake.requests_containing(&marker)[0].header("cookie").unwrap().to_owned();
        if used != new {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(used, configured, "the configured session is used instead");
    let shown = admin(&server, "GET", "").await.json();
    assert_eq!((shown["source"].as_str(), &shown["encrypted"]), (Some("configuration"), &json!(false)));
    let log = server.log().await;
    assert!(log.iter().any(|line| line.contains("SESSION_KEY") && line.contains("import-curl")), "{log:#?}");
    // A session given again is stored encrypted.
    let shown = admin(&server, "PUT", new.clone()).await.json();
    assert_eq!((shown["source"].as_str(), &shown["encrypted"]), (Some("stored"), &json!(true)));
    if case.product == Product::Worker {
        return;
    }
    // A session that was stored before there was a key is not used.
    let open = [settings[0], settings[1], ("DATABASE_PATH", path), ("SESSION_KEY", "")];
    server.stop().await;
    let server = case.start_with(&fake, &open).await;
    let shown = admin(&server, "PUT", new.clone()).await.json();
    assert_eq!((shown["source"].as_str(), &shown["encrypted"]), (Some("stored"), &json!(false)));
    server.stop().await;
    let server = case.start_with(&fake, &settings).await;
    let shown = admin(&server, "GET", "").await.json();
    assert_eq!((shown["source"].as_str(), &shown["encrypted"]), (Some("configuration"), &json!(false)));
    let url = fake.url();
    let command = [("QWEN_BASE_URL", url.as_str()), ("QWEN_AUTH_URL", url.as_str())];
    let arguments = [&settings[..], &command].concat();
    let (output, succeeded) = super::process::command(folder.path(), &["import-curl"], &arguments, &new).await;
    assert!(succeeded, "{output}");
    eventually("the imported session is used", || async {
        admin(&server, "GET", "").await.json()["source"] == "stored"
    })
    .await;
    assert_eq!(admin(&server, "GET", "").await.json()["encrypted"], json!(true));
}

/// The database files that contain `word`.
fn files_containing(folder: &std::path::Path, word: &str) -> Vec<std::path::PathBuf> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|file| memchr::memmem::find(&std::fs::read(file).unwrap(), word.as_bytes()).is_some()).collect()
}

pub async fn deleted_sessions_are_erased_from_disk(case: Arc<Case>) {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kept.db").display().to_string();
    let settings = [("ADMIN_TOKEN", ADMIN), ("DATABASE_PATH", path.as_str())];
    let server = case.start_with(&fake, &settings).await;
    let words: Vec<String> = (0..4).map(|number| unique(&format!("filler{number}")).repeat(200)).collect();
    let first = format!("{}; mark=first-of-all", refreshable("deleted", 9_000));
    let second = format!("{}; mark=second-of-all", refreshable("deleted-too", 9_000));
    assert_eq!(admin(&server, "PUT", first).await.status, 200);
    for word in &words {
        assert_eq!(server.chat(&chat(word)).await.status, 200);
    }
    assert!(
        !files_containing(folder.path(), "first-of-all").is_empty(),
        "without a key the session is stored in plain text"
    );
    assert_eq!(admin(&server, "PUT", second).await.status, 200);
    assert_eq!(files_containing(folder.path(), "first-of-all"), [""; 0].map(std::path::PathBuf::from), "replaced");
    assert_eq!(admin(&server, "DELETE", "").await.status, 200);
    assert_eq!(files_containing(folder.path(), "second-of-all"), [""; 0].map(std::path::PathBuf::from), "deleted");
    assert_eq!(server.chat(&chat("more")).await.status, 200);
    assert!(server.signal("TERM").await.await);
    let left: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(left, ["kept.db"], "the WAL files are removed at the exit");
}
