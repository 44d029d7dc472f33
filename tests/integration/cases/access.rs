use std::sync::Arc;

use http_body_util::{BodyExt as _, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::Value;

use crate::{
    Product,
    fake_qwen::Fake,
    http::{Raw, Reply, chat, eventually},
    server::{Case, KEY, Server, unique},
};

pub async fn keyed_routes_require_a_key(case: Arc<Case>) {
    let server = case.server().await;
    let body = chat("hi").to_string();
    for (headers, status, code) in [
        (vec![], 401, "missing_api_key"),
        (vec![("authorization", KEY)], 401, "missing_api_key"),
        (vec![("authorization", "Basic c2s6")], 401, "missing_api_key"),
        (vec![("authorization", "Bearer ")], 401, "missing_api_key"),
        (vec![("authorization", "Bearer wrong")], 403, "invalid_api_key"),
        (vec![("authorization", "Bearer sk-test-ke")], 403, "invalid_api_key"),
        (vec![("authorization", "Bearer sk-test-key2")], 403, "invalid_api_key"),
        (vec![("x-api-key", "wrong")], 403, "invalid_api_key"),
    ] {
        let reply = server.http.send("POST", "/v1/chat/completions", &headers, body.clone()).await;
        reply.error(status, code);
        assert_eq!(reply.header("www-authenticate"), (status == 401).then_some("Bearer"), "{headers:?}");
    }
    for headers in
        [("authorization", "Bearer sk-test-key"), ("authorization", "bearer  sk-test-key"), ("x-api-key", KEY)]
    {
        let reply = server.http.send("POST", "/v1/chat/completions", &[headers], body.clone()).await;
        assert_eq!(reply.status, 200, "{headers:?}");
    }
}

pub async fn without_keys_native_is_open_and_worker_is_closed(case: Arc<Case>) {
    let server = case.start(&[("VALID_TOKENS", "")]).await;
    let reply = server.http.send("POST", "/v1/chat/completions", &[], chat("hi").to_string()).await;
    match case.product {
        Product::Native => assert_eq!(reply.status, 200),
        Product::Worker => drop(reply.error(401, "missing_api_key")),
    }
    // SDKs always send some key.
    let reply = server.post("/v1/chat/completions", &chat("hi")).await;
    match case.product {
        Product::Native => assert_eq!(reply.status, 200),
        Product::Worker => {
            let error = reply.error(401, "missing_api_key");
            assert!(error["message"].as_str().unwrap().contains("VALID_TOKENS"));
        }
    }
    let server = case.start(&[("VALID_TOKENS", ""), ("ALLOW_ANONYMOUS", "true")]).await;
    assert_eq!(server.http.send("POST", "/v1/chat/completions", &[], chat("hi").to_string()).await.status, 200);
}

pub async fn secrets_appear_in_no_output(case: Arc<Case>) {
    let token = Fake::token(&unique("hidden"), 86_400);
    let signature = token.rsplit('.').next().unwrap().to_owned();
    let (cookies, key) = (format!("a=cookie-hidden; token={token}"), unique("sk-hidden"));
    let server = case
        .start(&[("QWEN_COOKIES", &cookies), ("VALID_TOKENS", &key), ("QWEN_HEADERS", r#"{"bx-ua":"header-hidden"}"#)])
        .await;
    let authorization = format!("Bearer {key}");
    let mut output = String::new();
    // Behind a refusal of the session the site is not asked.
    for prompt in ["hi", "[[fake fail=http_500]]", "[[fake reset=1]]", "[[fake cut=700]]", "[[fake fail=unauthorized]]"]
    {
        let request = chat(prompt).to_string();
        let headers = [("authorization", authorization.as_str())];
        let reply = server.http.send("POST", "/v1/chat/completions", &headers, request).await;
        output.push_str(&format!("{reply:?}"));
    }
    for path in ["/", "/health", "/ready", "/v1/models", "/nothing"] {
        output.push_str(&format!("{:?}", server.get(path).await));
    }
    output.push_str(&server.log().await.join("\n"));
    for secret in ["cookie-hidden", "header-hidden", &signature, &key, "acw_tc"] {
        assert!(!output.contains(secret), "{secret} appears in {output}");
    }
}

const ADMIN: &str = "an-administrators-key";

/// Method and path of the routes that require a key, as the server lists them, with ids filled in.
async fn keyed_routes(server: &Server) -> Vec<(String, String)> {
    let list = server.get("/").await.json();
    let routes = list["routes"].as_array().unwrap().iter().filter(|route| route["key"] == true);
    let text = |value: &Value| value.as_str().unwrap().replace("{id}", "some-id");
    routes.map(|route| (text(&route["method"]), text(&route["path"]))).collect()
}

/// Checks that a foreign origin was rejected; returns the error message.
#[track_caller]
fn assert_origin_rejected(reply: &Reply) -> String {
    let message = reply.error(403, "origin_not_allowed")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("VALID_TOKENS"), "{message}");
    assert_eq!(reply.header("access-control-allow-origin"), None, "{reply:?}");
    message
}

pub async fn without_keys_only_local_programs_have_access(case: Arc<Case>) {
    let server = case.start(&[("VALID_TOKENS", "")]).await;
    let own = server.http.address().to_owned();
    let port = own.rsplit(':').next().unwrap().to_owned();
    let routes = keyed_routes(&server).await;
    assert!(routes.len() > 12, "{routes:?}");
    let foreign = [
        ("origin", "https://evil.example".to_owned()),
        ("origin", "null".to_owned()),
        ("origin", String::new()),
        ("origin", "http://localhost:3000".to_owned()),
        ("origin", format!("http://localhost:{port}")),
        ("origin", "http://127.0.0.1".to_owned()),
        ("origin", format!("https://{own}")),
        ("origin", format!("http://{own}/")),
        ("origin", format!("http:\\\\{own}")),
        ("origin", format!("http://x@{own}")),
        ("host", "evil.example".to_owned()),
        ("host", format!("evil.example:{port}")),
        ("host", format!("localhost.evil.example:{port}")),
        ("host", format!("127.0.0.1.nip.io:{port}")),
        ("host", format!("x@{own}")),
        ("host", format!("{own}/x")),
        ("host", "0.0.0.0".to_owned()),
        ("host", "192.168.1.1".to_owned()),
        ("sec-fetch-site", "cross-site".to_owned()),
        ("forwarded", "for=203.0.113.9".to_owned()),
        ("x-forwarded-for", "203.0.113.9".to_owned()),
        ("x-forwarded-proto", "https".to_owned()),
        ("x-forwarded-host", own.clone()),
        ("x-real-ip", "203.0.113.9".to_owned()),
        ("via", "1.1 proxy".to_owned()),
        ("cf-connecting-ip", "203.0.113.9".to_owned()),
    ];
    for (name, value) in &foreign {
        for (method, path) in &routes {
            let message = assert_origin_rejected(&server.http.send(method, path, &[(name, value)], "").await);
            let host = value.split(['/', ':', '@']).find(|part| part.ends_with(".example"));
            assert!(host.is_none_or(|host| message.contains(host)), "{message}");
        }
        // The path without `/v1` is the same route.
        assert_origin_rejected(
            &server.http.send("POST", "/chat/completions", &[(name, value)], chat("hi").to_string()).await,
        );
    }
    // Non-UTF-8 values, repeated fields and absolute request targets are checked, too.
    let non_utf8_origin = b"Origin: http://ev\xc3\xa9l.example\r\n".as_slice();
    for head in [
        [format!("GET /v1/chats HTTP/1.1\r\nHost: {own}\r\n").as_bytes(), non_utf8_origin].concat(),
        [b"GET /v1/chats HTTP/1.1\r\nHost: ev\xc3\xa9l.example\r\n".as_slice()].concat(),
        format!("GET /v1/chats HTTP/1.1\r\nHost: {own}\r\nHost: evil.example\r\n").into_bytes(),
        format!("GET /v1/chats HTTP/1.1\r\nHost: {own}\r\nOrigin: http://{own}\r\nOrigin: https://evil.example\r\n")
            .into_bytes(),
        format!("GET http://evil.example/v1/chats HTTP/1.1\r\nHost: {own}\r\n").into_bytes(),
        b"GET /v1/chats HTTP/1.0\r\n".to_vec(),
        // The server does not wait for the body.
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: evil.example\r\ncontent-length: 9000\r\n".to_vec(),
    ] {
        let mut raw = Raw::connect(&own).await;
        raw.send(&[head.as_slice(), b"\r\n"].concat()).await;
        let response = raw.read_until("\"code\":\"").await;
        assert!(
            response.contains(" 403 ") && response.contains("origin_not_allowed"),
            "{}: {response}",
            String::from_utf8_lossy(&head)
        );
    }
    // HTTP/2 has the host in `:authority`.
    let client: Client<_, Full<bytes::Bytes>> = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    for (host, status) in [(None, 200), (Some("evil.example"), 403)] {
        let mut request = http::Request::get(format!("{}/v1/chats", server.url));
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let answer = client.request(request.body(Full::default()).unwrap()).await.unwrap();
        let head = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(head, status, "{host:?} {}", String::from_utf8_lossy(&body));
    }
    for (name, value) in [
        ("host", format!("localhost:{port}")),
        ("host", "LOCALHOST".to_owned()),
        ("host", format!("a.localhost:{port}")),
        ("host", "127.1.2.3".to_owned()),
        ("host", format!("[::1]:{port}")),
        ("origin", format!("http://{own}")),
        ("sec-fetch-site", "same-origin".to_owned()),
        ("sec-fetch-site", "none".to_owned()),
        ("authorization", "Bearer anything".to_owned()),
        ("user-agent", "curl/8".to_owned()),
    ] {
        for path in ["/v1/chats", "/v1/files", "/admin/session", "/metrics"] {
            let reply = server.http.send("GET", path, &[(name, &value)], "").await;
            assert_eq!(reply.status, 200, "{name}: {value} {path} {reply:?}");
            assert_ne!(reply.header("access-control-allow-origin"), Some("*"), "{name}: {value} {path}");
        }
    }
    // Preflights are checked as well; public routes allow every origin.
    let preflight = |origin| [("origin", origin), ("access-control-request-method", "DELETE")];
    for (_, path) in &routes {
        assert_origin_rejected(&server.http.send("OPTIONS", path, &preflight("https://evil.example"), "").await);
    }
    for path in ["/v1/models", "/health", "/"] {
        let reply = server.http.send("OPTIONS", path, &preflight("https://evil.example"), "").await;
        assert_eq!((reply.status.as_u16(), reply.header("access-control-allow-origin")), (204, Some("*")), "{path}");
        let reply =
            server.http.send("GET", path, &[("origin", "https://evil.example"), ("host", "evil.example")], "").await;
        assert_eq!((reply.status.as_u16(), reply.header("access-control-allow-origin")), (200, Some("*")), "{path}");
    }
}

pub async fn without_keys_allowed_origins_have_access(case: Arc<Case>) {
    let listed = "https://app.example, http://host.docker.internal:8000/ ,null,app://obsidian.md";
    let server = case.start(&[("VALID_TOKENS", ""), ("ALLOWED_ORIGINS", listed)]).await;
    for origin in ["https://app.example", "null", "app://obsidian.md", "http://host.docker.internal:8000"] {
        // The headers that a browser sends from such a page.
        let headers = [("origin", origin), ("sec-fetch-site", "cross-site")];
        let reply = server.http.send("GET", "/v1/chats", &headers, "").await;
        assert_eq!((reply.status.as_u16(), reply.header("access-control-allow-origin")), (200, Some(origin)));
        assert!(reply.header("vary").unwrap().contains("origin"), "{reply:?}");
        assert!(reply.header("access-control-expose-headers").unwrap().contains("x-request-id"));
        let preflight = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type,x-stainless-os"),
        ];
        let reply = server.http.send("OPTIONS", "/v1/chat/completions", &preflight, "").await;
        assert_eq!((reply.status.as_u16(), reply.header("access-control-allow-origin")), (204, Some(origin)));
        assert_eq!(reply.header("access-control-allow-headers"), Some("content-type,x-stainless-os"));
    }
    for host in ["host.docker.internal:9", "app.example"] {
        assert_eq!(server.http.send("GET", "/v1/chats", &[("host", host)], "").await.status, 200, "{host}");
    }
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "http://app.example"),
        ("origin", "https://app.example:444"),
        ("origin", "https://app.example.evil.example"),
        ("origin", "app://other"),
        ("host", "obsidian.md"),
        ("host", "x.app.example"),
        ("sec-fetch-site", "cross-site"),
    ] {
        assert_origin_rejected(&server.http.send("GET", "/v1/chats", &[(name, value)], "").await);
    }
    let proxied = [("origin", "https://app.example"), ("x-forwarded-for", "203.0.113.9")];
    assert_origin_rejected(&server.http.send("GET", "/v1/chats", &proxied, "").await);
    for wrong in ["*", "app.example", "https://app.example/path", "https://*.app.example", "https://a.example b"] {
        let log = case.start_error(&[("ALLOWED_ORIGINS", wrong)]).await;
        assert!(log.contains("ALLOWED_ORIGINS"), "{wrong}: {log}");
    }
}

pub async fn explicitly_public_routes_need_no_key(case: Arc<Case>) {
    let evil = ("origin", "https://evil.example");
    let foreign =
        [evil, ("host", "evil.example"), ("x-forwarded-for", "203.0.113.9"), ("sec-fetch-site", "cross-site")];
    let sts = "/v2/files/getstsToken";
    let file = r#"{"filename":"a.png","filesize":3}"#;
    let open = case.start(&[("VALID_TOKENS", ""), ("ALLOW_ANONYMOUS", "true")]).await;
    for (method, path, body) in [("GET", "/v1/chats", ""), ("POST", sts, file)] {
        let reply = open.http.send(method, path, &foreign, body).await;
        assert_eq!((reply.status.as_u16(), reply.header("access-control-allow-origin")), (200, Some("*")), "{path}");
    }
    assert_eq!(open.http.send("OPTIONS", "/v1/chats", &[evil], "").await.status, 204);
    let admin_reply = open.http.send("GET", "/admin/session", &[evil], "").await;
    match case.product {
        Product::Native => drop(assert_origin_rejected(&admin_reply)),
        Product::Worker => drop(admin_reply.error(403, "admin_disabled")),
    }
    // With an admin key the origin does not matter for admin routes.
    let admin = case.start(&[("VALID_TOKENS", ""), ("ADMIN_TOKEN", ADMIN)]).await;
    let key = format!("Bearer {ADMIN}");
    let headers = [foreign.as_slice(), &[("authorization", key.as_str())]].concat();
    assert_eq!(admin.http.send("GET", "/admin/session", &headers, "").await.status, 200);
    admin.http.send("GET", "/admin/session", &foreign, "").await.error(401, "missing_api_key");
    assert_eq!(admin.http.send("OPTIONS", "/admin/session", &[evil], "").await.status, 204);
    // A route without a key is still closed to foreign pages.
    let public = case.start(&[("VALID_TOKENS", ""), ("PUBLIC_STS_TOKEN", "true")]).await;
    if case.product == Product::Native {
        assert_origin_rejected(&public.http.send("POST", sts, &[evil], file).await);
    }
    assert_eq!(public.http.send("POST", sts, &[], file).await.status, 200);
    // With API keys the origin does not matter.
    let keyed = case.server().await;
    let headers = [foreign.as_slice(), &Server::auth_headers()].concat();
    let reply = keyed.http.send("GET", "/v1/chats", &headers, "").await;
    assert_eq!((reply.status.as_u16(), reply.header("access-control-allow-origin")), (200, Some("*")));
}

/// Short keys are reported in the log; a short admin key is rejected on a network address.
pub async fn short_keys_are_reported(case: Arc<Case>) {
    let short = [("VALID_TOKENS", "sk-short,sk-long-enough-for-all"), ("ADMIN_TOKEN", "short")];
    let server = case.start(&short).await;
    assert_eq!(server.http.send("GET", "/admin/session", &[("x-api-key", "short")], "").await.status, 200);
    for name in ["VALID_TOKENS", "ADMIN_TOKEN"] {
        eventually(&format!("the short {name} is reported"), || async {
            server.log().await.iter().any(|line| line.contains(name) && line.contains("16"))
        })
        .await;
        let log = server.log().await;
        assert!(!log.iter().any(|line| line.contains("sk-short")), "{log:#?}");
    }
    let long = [("VALID_TOKENS", "sk-long-enough-for-all"), ("ADMIN_TOKEN", ADMIN)];
    let server = case.start(&long).await;
    server.get("/health").await;
    assert!(!server.log().await.iter().any(|line| line.contains("16 characters")));
    match case.product {
        Product::Native => {
            let log = case.start_error(&[&short[..], &[("HOST", "0.0.0.0"), ("PORT", "0")]].concat()).await;
            assert!(log.contains("ADMIN_TOKEN") && log.contains("16"), "{log}");
            case.start(&[&long[..], &[("HOST", "0.0.0.0")]].concat()).await;
        }
        Product::Worker => {
            // The Worker takes its address from the request.
            let server = case.start(&short).await;
            let headers = [("x-api-key", "short"), ("host", "mine.example.workers.dev")];
            let error = server.http.send("GET", "/admin/session", &headers, "").await.error(403, "admin_disabled");
            assert!(error["message"].as_str().unwrap().contains("16"), "{error}");
        }
    }
}
