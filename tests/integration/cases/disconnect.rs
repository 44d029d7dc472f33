use std::{sync::Arc, time::Duration};

use super::chat::wait_until_closed_by_us;
use crate::{
    Product,
    fake_qwen::{Outcome, RecordedRequest},
    http::{Raw, chat, eventually, with},
    server::{Case, Server, unique},
};
use serde_json::json;

const CLIENTS: usize = 100;
/// How often memory is measured before it counts as growing without end.
const MAX_ROUNDS: usize = 4;
/// The memory in bytes that two rounds may leave behind. A leaked request keeps at least its text of 80 KB: a leak in each
/// would be 16 MB. The figure of the Worker is exact, that of the native server includes memory that the allocator keeps.
const fn max_growth_bytes(product: Product) -> u64 {
    match product {
        Product::Native => 16 * 1024 * 1024,
        Product::Worker => 1024 * 1024,
    }
}

/// Waits until the upstream has received `count` requests with this marker.
async fn wait_until_received(case: &Case, marker: &str, count: usize) {
    eventually("the upstream has received the requests", || async {
        case.fake.requests_containing(marker).len() == count
    })
    .await;
}

/// Lets `count` clients request `prompt`, read until `mark` if there is one, and disconnect.
async fn connect_and_leave(case: &Case, server: &Server, prompt: &str, stream: bool, mark: Option<&str>, count: usize) {
    let marker = unique("leave");
    let request =
        with(chat(&format!("[[fake {prompt}]] {marker} {}", "x".repeat(80_000))), json!({ "stream": stream }));
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = Raw::connect(server.http.address()).await;
        client.chat(&request).await;
        clients.push(client);
    }
    wait_until_received(case, &marker, count).await;
    for mut client in clients {
        if let Some(mark) = mark {
            client.read_until(mark).await;
        }
        client.reset();
    }
    wait_until_closed_by_us(case, &marker, count).await;
}

async fn assert_no_leak(case: &Case, prompt: &str, stream: bool, mark: Option<&str>) {
    let server = case.start(&[]).await;
    // The first rounds fill buffers and pools that are kept, the more the more clients happen to overlap. What leaks grows with
    // every round.
    connect_and_leave(case, &server, prompt, stream, mark, CLIENTS).await;
    let mut measured = vec![server.memory_bytes().await];
    let is_level = |measured: &[u64]| match measured {
        [.., before, after] => *after < before + max_growth_bytes(case.product),
        _ => false,
    };
    while !is_level(&measured) {
        assert!(measured.len() < MAX_ROUNDS, "memory grows with every round: {measured:?}");
        for _ in 0..2 {
            connect_and_leave(case, &server, prompt, stream, mark, CLIENTS).await;
        }
        measured.push(server.memory_bytes().await);
    }
    assert_eq!(server.chat(&chat("still there?")).await.status, 200);
    if case.product == Product::Worker {
        let log = server.log().await.join("\n");
        assert!(!log.contains("ended unexpectedly") && !log.contains("panicked"), "{log}");
    }
}

pub async fn a_disconnect_before_the_headers_closes_upstream(case: Arc<Case>) {
    assert_no_leak(&case, "hang=1", true, None).await;
}

pub async fn a_disconnect_mid_stream_closes_upstream(case: Arc<Case>) {
    assert_no_leak(&case, "stream=count n=400 delay_ms=50", true, Some("\"content\":\"1 \"")).await;
}

pub async fn a_disconnect_from_a_non_streamed_answer_closes_upstream(case: Arc<Case>) {
    let server = case.server().await;
    connect_and_leave(&case, &server, "stream=count n=400 delay_ms=50", false, None, 20).await;
    connect_and_leave(&case, &server, "hang=1", false, None, 20).await;
}

/// The server does not buffer the stream of a client that does not read.
pub async fn a_slow_reader_applies_backpressure_upstream(case: Arc<Case>) {
    // With the long model name in each chunk a stream has some 30 MB, more than all socket buffers in between (some 15 MB).
    let long_name = "m".repeat(190);
    let server = case.start(&[("MODEL_ALIASES", &json!({ long_name.as_str(): "qwen3-max" }).to_string())]).await;
    let marker = unique("slow");
    let prompt = format!("[[fake stream=count n=100000 id={marker}]]");
    let request = with(chat(&prompt), json!({ "stream": true, "enable_thinking": false, "model": long_name }));
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = Raw::connect_with_small_buffer(server.http.address()).await;
        client.chat(&request).await;
        clients.push(client);
    }
    wait_until_received(&case, &marker, clients.len()).await;
    let requests = case.fake.requests_containing(&marker);
    eventually("both streams have begun", || async {
        requests.iter().all(|request| request.outcome() != Outcome::Pending)
    })
    .await;
    // While the clients do not read, no stream ends. The native server may abort one.
    let finished = |request: &Arc<RecordedRequest>| request.outcome() == Outcome::Finished;
    for _ in 0..80 {
        tokio::time::sleep(Duration::from_millis(25)).await;
        assert!(!requests.iter().any(finished));
    }
    for client in clients {
        client.reset();
    }
    wait_until_closed_by_us(&case, &marker, 2).await;
}
