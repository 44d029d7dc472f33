//! Clients that misbehave: that leave, read slowly, or send what is no request.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use super::{
    ACCOUNTS, World,
    ledger::{BROKEN, Own, Sent},
};
use crate::http::{Raw, Reply, chat, with};

/// A client that leaves amid its answer, before it, or reads as slowly as it may.
pub async fn leaver(world: Arc<World>) {
    while !world.is_over() {
        let how = world.below(4);
        let (prompt, mark) = match how {
            0 => ("first_ms=8000", None),
            1 => ("n=400 delay_ms=20", Some("\"content\":\"3 \"")),
            2 => ("n=400 delay_ms=20", None),
            _ => ("n=3000", Some("\"content\":\"1 \"")),
        };
        let request = with(
            chat(&format!("[[fake {prompt}]] l:{};", world.next())),
            json!({ "stream": how != 2, "enable_thinking": false }),
        );
        let begun = Instant::now();
        let server = world.server();
        let is_slow = how == 3;
        // A raw connection panics when it breaks.
        let task = tokio::spawn(async move {
            let mut client = Raw::connect_with_small_buffer(server.http.address()).await;
            client.chat(&request).await;
            let is_answered = match mark {
                Some(mark) => begins(&mut client, mark).await,
                None => {
                    tokio::time::sleep(Duration::from_millis(600)).await;
                    false
                }
            };
            if is_slow && is_answered {
                let mut buffer = [0; 4_096];
                for _ in 0..30 {
                    let length = client.0.read(&mut buffer).await.unwrap();
                    assert!(length > 0, "the connection ended");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            client.reset();
        });
        let result = task.await.map_err(|_| BROKEN.to_owned());
        let kind = if is_slow { "slow readers" } else { "clients that leave" };
        world.note(kind, 0, begun, result.err());
        world.pause(1_200).await;
    }
}

/// Waits for the mark of an answer; returns false after an error, which other clients account for.
async fn begins(client: &mut Raw, mark: &str) -> bool {
    let (mut text, mut buffer) = (String::new(), [0; 4_096]);
    loop {
        let length = client.0.read(&mut buffer).await.unwrap();
        assert!(length > 0, "the connection ended");
        text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        if text.contains(mark) {
            return true;
        }
        if text.contains("\"error\":") || text.contains("data: [DONE]") {
            return false;
        }
    }
}

/// Requests that are wrong, each with the code that it has to get.
pub async fn wrong(world: Arc<World>) {
    let requests: [(&str, &str, Value, &'static [&'static str]); 11] = [
        ("POST", "/v1/chat/completions", json!("{"), &["invalid_json"]),
        ("POST", "/v1/chat/completions", json!({ "messages": 5 }), &["invalid_request"]),
        (
            "POST",
            "/v1/chat/completions",
            json!({ "n": 2, "messages": [{ "role": "user", "content": "x" }] }),
            &["invalid_request"],
        ),
        ("POST", "/v1/responses", json!({ "model": "x" }), &["invalid_request"]),
        (
            "POST",
            "/v1/responses",
            json!({ "input": "x", "previous_response_id": "resp_none" }),
            &["previous_response_not_found"],
        ),
        ("POST", "/v1/messages", json!({ "messages": [{ "role": "user", "content": [[]] }] }), &["invalid_request"]),
        ("POST", "/v1/images/generations", json!({ "prompt": "" }), &["invalid_request"]),
        ("GET", "/v1/videos/video_none", json!(""), &["video_not_found"]),
        ("GET", "/v1/nothing", json!(""), &["not_found"]),
        ("PUT", "/v1/models", json!(""), &["method_not_allowed"]),
        ("POST", "/v1/embeddings", json!({}), &["unsupported_endpoint"]),
    ];
    let mut at = 0;
    while !world.is_over() {
        let (method, path, body, codes) = &requests[at % requests.len()];
        at += 1;
        let body = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
        let headers = [("content-type", "application/json")];
        let sent = world.send(at % ACCOUNTS.len(), method, path, &headers, body).await;
        world.settle("requests that are wrong", &sent, Own::fails(codes), |_| Ok(()));
        for (key, code) in [("", &["missing_api_key"][..]), ("sk-of-nobody", &["invalid_api_key"])] {
            let sent = world.send_as(key, at % ACCOUNTS.len(), "POST", "/v1/chat/completions", &[], "{}").await;
            world.settle(
                "requests without a valid key",
                &sent,
                Own { codes: static_of(code), may_succeed: false },
                |_| Ok(()),
            );
        }
        world.pause(1_000).await;
    }
}

/// The codes of the two refusals of a key.
fn static_of(code: &[&str]) -> &'static [&'static str] {
    if code == ["missing_api_key"] { &["missing_api_key"] } else { &["invalid_api_key"] }
}

/// Looks at the accounts, as the console does.
pub async fn administrator(world: Arc<World>) {
    while !world.is_over() {
        let sent: Sent = world.send_as(super::ADMIN, 0, "GET", "/admin/accounts", &[], "").await;
        world.settle("accounts, listed", &sent, Own::NONE, |reply: &Reply| {
            let count = reply.json()["data"].as_array().map_or(0, Vec::len);
            if count == ACCOUNTS.len() { Ok(()) } else { Err(format!("{count} accounts")) }
        });
        world.pause(3_000).await;
    }
}
