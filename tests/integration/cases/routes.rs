use std::sync::Arc;

use serde_json::Value;

use crate::{
    Product,
    fake_qwen::Fake,
    http::chat,
    server::{BROKEN_STORE, Case, Server},
};

pub async fn unknown_routes_and_methods_return_error_objects(case: Arc<Case>) {
    let server = case.server().await;
    for (method, path) in
        [("GET", "/nothing"), ("POST", "/v1"), ("GET", "/v1/chat"), ("GET", "/%ff%00"), ("DELETE", "/v2/x")]
    {
        server.http.send(method, path, &[], "").await.error(404, "not_found");
    }
    for (method, path, allow) in [
        ("GET", "/v1/chat/completions", "POST, OPTIONS"),
        ("DELETE", "/v1/models", "GET, HEAD, OPTIONS"),
        ("POST", "/", "GET, HEAD, OPTIONS"),
        ("PUT", "/health", "GET, HEAD, OPTIONS"),
    ] {
        let reply = server.http.send(method, path, &[], "").await;
        reply.error(405, "method_not_allowed");
        assert_eq!(reply.header("allow"), Some(allow));
    }
}

pub async fn routes_not_offered_say_what_to_use(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    for (method, path, instead) in [
        ("POST", "/v1/embeddings", "local one"),
        ("GET", "/embeddings", "local one"),
        ("POST", "/v1/audio/transcriptions", "input_audio"),
        ("POST", "/v1/v1/audio/speech", "input_audio"),
        ("POST", "/v1/moderations", "content_filter"),
        ("POST", "/v1/completions", "/v1/chat/completions"),
        ("PUT", "/completions/", "/v1/chat/completions"),
        ("GET", "/v1/fine_tuning/jobs", "instructions"),
        ("DELETE", "/v1/batches/batch_1", "one by one"),
    ] {
        let before = fake.asked().len();
        // Without a key, and whatever the body.
        let reply = server.http.send(method, path, &[("content-type", "application/json")], "{").await;
        let error = reply.error(404, "unsupported_endpoint");
        let message = error["message"].as_str().unwrap();
        assert!(
            message.starts_with("This server does not offer /v1/") && message.contains(instead),
            "{path}: {message}"
        );
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
        let asked = fake.asked().split_off(before);
        assert!(asked.is_empty(), "{path}: {asked:?}");
    }
    let head = server.http.send("HEAD", "/v1/batches", &[], "").await;
    assert_eq!((head.status.as_u16(), head.body.len()), (404, 0));
    assert_eq!(server.http.send("OPTIONS", "/v1/embeddings", &[], "").await.status, 204);
    let routes = server.get("/").await.json()["routes"].to_string();
    assert!(!routes.contains("/v1/embeddings") && !routes.contains("/v1/batches"));
}

pub async fn v1_prefix_may_be_missing_or_repeated(case: Arc<Case>) {
    let server = case.server().await;
    for path in ["/models", "/v1/v1/models", "/v1/models/"] {
        assert_eq!(server.get(path).await.json()["object"], "list", "{path}");
    }
    for path in ["/chat/completions", "/v1/v1/chat/completions"] {
        assert_eq!(server.post(path, &chat("hi")).await.status, 200, "{path}");
    }
}

pub async fn preflights_allow_the_requested_headers(case: Arc<Case>) {
    let server = case.server().await;
    for path in ["/v1/chat/completions", "/v1/models", "/anything"] {
        let headers = [
            ("origin", "app://obsidian.md"),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization,x-stainless-os,dangerously-allow-browser"),
        ];
        let reply = server.http.send("OPTIONS", path, &headers, "").await;
        assert_eq!(reply.status, 204);
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
        assert_eq!(
            reply.header("access-control-allow-headers"),
            Some("authorization,x-stainless-os,dangerously-allow-browser")
        );
        assert!(reply.header("access-control-allow-methods").unwrap().contains("DELETE"));
    }
    for reply in [server.get("/nothing").await, server.get("/v1/models").await, server.chat(&chat("hi")).await] {
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
        assert!(reply.header("access-control-expose-headers").unwrap().contains("x-request-id"));
    }
}

pub async fn valid_request_ids_are_echoed(case: Arc<Case>) {
    let server = case.server().await;
    for (sent, echoed) in
        [("abc-DEF_1.2:3", true), ("a b", false), ("<script>", false), ("", false), (&"x".repeat(129), false)]
    {
        let reply = server.http.send("GET", "/health", &[("x-request-id", sent)], "").await;
        let id = reply.header("x-request-id").unwrap();
        assert_eq!(id == sent, echoed, "{sent:?} {id:?}");
        assert!(!id.is_empty());
    }
    let ids = [server.get("/health").await, server.get("/health").await]
        .map(|reply| reply.header("x-request-id").unwrap().to_owned());
    assert_ne!(ids[0], ids[1]);
}

pub async fn root_describes_the_server(case: Arc<Case>) {
    let server = case.server().await;
    let root = server.get("/").await.json();
    assert_eq!((root["name"].as_str(), root["version"].as_str()), (Some("qwen-edge"), Some(env!("CARGO_PKG_VERSION"))));
    let product = match case.product {
        Product::Native => "box",
        Product::Worker => "edge",
    };
    assert_eq!(root["product"], product);
    assert!(root["docs"].is_string());
    let routes = root["routes"].as_array().unwrap();
    assert!(routes.iter().any(|route| route["path"] == "/v1/chat/completions" && route["key"] == true));
    let page = server.http.send("GET", "/", &[("accept", "text/html,*/*;q=0.8")], "").await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.text().starts_with("<!doctype html>"));
}

pub async fn head_returns_get_without_a_body(case: Arc<Case>) {
    let server = case.server().await;
    for (path, status) in
        [("/", 200), ("/health", 200), ("/v1/models", 200), ("/v1/models/none", 404), ("/nothing", 404)]
    {
        let reply = server.http.send("HEAD", path, &[], "").await;
        assert_eq!((reply.status.as_u16(), reply.body.len()), (status, 0), "{path}");
    }
}

/// `/health` and the status of `/ready`, which must agree.
async fn health(server: &Server) -> (Value, u16) {
    let (before, ready, after) = (server.get("/health").await, server.get("/ready").await, server.get("/health").await);
    assert_eq!([before.status, after.status], [200, 200]);
    let mut bodies = [before.json(), ready.json(), after.json()];
    // The background fetch of the model list may change the error count and the session state in between.
    let errors = bodies.each_mut().map(|body| body["store"]["errors"].take().as_u64().unwrap());
    assert!(errors.is_sorted(), "{errors:?}");
    let [before, ready_body, after] = bodies;
    assert!(ready_body == before || ready_body == after, "{before} {ready_body} {after}");
    (ready_body, ready.status.as_u16())
}

pub async fn health_and_readiness_follow_the_session(case: Arc<Case>) {
    let expiring = Fake::token("expiring", 100);
    let expired = Fake::token("expired", -1);
    for (cookies, token, state, status, ready) in [
        ("", "", "missing", "unhealthy", 503),
        ("", expired.as_str(), "expired", "unhealthy", 503),
        ("", &expiring, "expiring", "degraded", 200),
        ("a=1; token=opaque", "", "unknown", "healthy", 200),
    ] {
        // The native server checks its session at the start; the check fails and changes nothing.
        let fake = Fake::start();
        fake.set_failure("/api/v1/auths", Some("http_500"));
        let server = case.start_with(&fake, &[("QWEN_COOKIES", cookies), ("QWEN_AUTH_TOKEN", token)]).await;
        let (health, readiness) = health(&server).await;
        assert_eq!((health["status"].as_str(), health["session"]["state"].as_str()), (Some(status), Some(state)));
        assert_eq!(readiness, ready, "{health}");
        assert_eq!(health["store"]["ok"], true);
        assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
        assert!(health["session"].get("expires_at").is_some() && health["session"]["checked_at"].is_null());
        let session_checks =
            || fake.requests().iter().filter(|request| request.path_and_query.contains("/auths")).count();
        for _ in 0..3 {
            server.get("/health").await;
        }
        assert!(session_checks() <= usize::from(case.product == Product::Native), "/health sends an upstream request");
    }
    let server = case.start(&[]).await;
    assert_eq!(server.chat(&chat("hi")).await.status, 200);
    let (health, readiness) = health(&server).await;
    assert_eq!((health["session"]["state"].as_str(), readiness), (Some("valid"), 200));
    assert!(health["session"]["checked_at"].is_u64() && health["session"]["expires_at"].is_u64());
}

pub async fn health_reports_a_broken_store(case: Arc<Case>) {
    let broken = match case.product {
        Product::Native => ("DATABASE_PATH", "/dev/null/nowhere.db"),
        Product::Worker => (BROKEN_STORE, "1"),
    };
    let server = case.start(&[broken]).await;
    let (health, readiness) = health(&server).await;
    assert_eq!(
        (health["store"]["ok"].as_bool(), health["status"].as_str(), readiness),
        (Some(false), Some("degraded"), 200)
    );
    assert_eq!(server.chat(&chat("hi")).await.status, 200, "a store failure fails a chat");
}
