use std::sync::Arc;

use crate::{
    Product,
    fake_qwen::Fake,
    http::chat,
    server::{Case, KEY, unique},
};

pub async fn keyed_routes_want_a_key(case: Arc<Case>) {
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

pub async fn without_keys_the_box_is_open_and_the_edge_closed(case: Arc<Case>) {
    let server = case.start(&[("VALID_TOKENS", "")]).await;
    let reply = server.http.send("POST", "/v1/chat/completions", &[], chat("hi").to_string()).await;
    match case.product {
        Product::Box => assert_eq!(reply.status, 200),
        Product::Edge => drop(reply.error(401, "missing_api_key")),
    }
    // The SDKs always send some key.
    let reply = server.post("/v1/chat/completions", &chat("hi")).await;
    match case.product {
        Product::Box => assert_eq!(reply.status, 200),
        Product::Edge => {
            let error = reply.error(401, "missing_api_key");
            assert!(error["message"].as_str().unwrap().contains("VALID_TOKENS"));
        }
    }
    let server = case.start(&[("VALID_TOKENS", ""), ("ALLOW_ANONYMOUS", "true")]).await;
    assert_eq!(server.http.send("POST", "/v1/chat/completions", &[], chat("hi").to_string()).await.status, 200);
}

pub async fn secrets_show_nowhere(case: Arc<Case>) {
    let token = Fake::token(&unique("hidden"), 86_400);
    let signature = token.rsplit('.').next().unwrap().to_owned();
    let (cookies, key) = (format!("a=cookie-hidden; token={token}"), unique("sk-hidden"));
    let server = case
        .start(&[("QWEN_COOKIES", &cookies), ("VALID_TOKENS", &key), ("QWEN_HEADERS", r#"{"bx-ua":"header-hidden"}"#)])
        .await;
    let authorization = format!("Bearer {key}");
    let mut told = String::new();
    for prompt in ["hi", "[[fake fail=http_500]]", "[[fake fail=unauthorized]]", "[[fake reset=1]]", "[[fake cut=700]]"]
    {
        let request = chat(prompt).to_string();
        let headers = [("authorization", authorization.as_str())];
        let reply = server.http.send("POST", "/v1/chat/completions", &headers, request).await;
        told.push_str(&format!("{reply:?}"));
    }
    for path in ["/", "/health", "/ready", "/v1/models", "/nothing"] {
        told.push_str(&format!("{:?}", server.get(path).await));
    }
    told.push_str(&server.log().await.join("\n"));
    for secret in ["cookie-hidden", "header-hidden", &signature, &key, "acw_tc"] {
        assert!(!told.contains(secret), "{secret} shows in {told}");
    }
}
