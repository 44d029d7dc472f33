use std::{sync::Arc, time::Duration};

use super::chat::closed_by_us;
use crate::{
    Product,
    fake_qwen::{Outcome, Seen},
    http::{Raw, chat, with},
    server::{Case, Server, unique},
};
use serde_json::json;

const MANY: usize = 100;
/// How much two rounds of a hundred may leave behind. The Worker is counted exactly, and a request that never ends keeps at
/// least its text of 80 KB: 22 MB in all. The box is counted with what its allocator keeps.
const fn memory_slack(product: Product) -> u64 {
    match product {
        Product::Box => 16 * 1024 * 1024,
        Product::Edge => 1024 * 1024,
    }
}

/// Waits until the site has as many requests with this marker as asked.
async fn arrived(case: &Case, marker: &str, count: usize) {
    for _ in 0..800 {
        if case.fake.seen_with(marker).len() == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{} of {count} arrived", case.fake.seen_with(marker).len());
}

/// Lets `count` clients ask for `prompt`, wait for `mark` if there is one, and leave.
async fn leave(case: &Case, server: &Server, prompt: &str, stream: bool, mark: Option<&str>, count: usize) {
    let marker = unique("leave");
    let request =
        with(chat(&format!("[[fake {prompt}]] {marker} {}", "x".repeat(80_000))), json!({ "stream": stream }));
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = Raw::connect(server.http.address()).await;
        client.chat(&request).await;
        clients.push(client);
    }
    arrived(case, &marker, count).await;
    for mut client in clients {
        if let Some(mark) = mark {
            client.read_until(mark).await;
        }
        client.reset();
    }
    closed_by_us(case, &marker, count).await;
}

async fn leave_twice_and_compare(case: &Case, prompt: &str, stream: bool, mark: Option<&str>) {
    let server = case.start(&[]).await;
    // The first round grows buffers and pools that stay.
    leave(case, &server, prompt, stream, mark, MANY).await;
    let before = server.memory().await;
    for _ in 0..2 {
        leave(case, &server, prompt, stream, mark, MANY).await;
    }
    let after = server.memory().await;
    assert!(after < before + memory_slack(case.product), "memory grew from {before} to {after}");
    assert_eq!(server.chat(&chat("still there?")).await.status, 200);
    if case.product == Product::Edge {
        let log = server.log().await.join("\n");
        assert!(!log.contains("ended unexpectedly") && !log.contains("panicked"), "{log}");
    }
}

pub async fn clients_that_leave_before_the_head_close_upstream(case: Arc<Case>) {
    leave_twice_and_compare(&case, "hang=1", true, None).await;
}

pub async fn clients_that_leave_amid_the_stream_close_upstream(case: Arc<Case>) {
    leave_twice_and_compare(&case, "stream=count n=400 delay_ms=50", true, Some("\"content\":\"1 \"")).await;
}

pub async fn clients_that_leave_a_whole_answer_close_upstream(case: Arc<Case>) {
    let server = case.server().await;
    leave(&case, &server, "stream=count n=400 delay_ms=50", false, None, 20).await;
    leave(&case, &server, "hang=1", false, None, 20).await;
}

/// A client that does not read must not make the server read the site dry into its memory.
pub async fn a_slow_reader_slows_the_site(case: Arc<Case>) {
    // Some 30 MB a stream, and a long name in each chunk: more than all the sockets between hold (some 15 MB).
    let long_name = "m".repeat(190);
    let server = case.start(&[("MODEL_ALIASES", &json!({ long_name.as_str(): "qwen3-max" }).to_string())]).await;
    let marker = unique("slow");
    let prompt = format!("[[fake stream=count n=100000 id={marker}]]");
    let request = with(chat(&prompt), json!({ "stream": true, "enable_thinking": false, "model": long_name }));
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = Raw::connect_with_little_room(server.http.address()).await;
        client.chat(&request).await;
        clients.push(client);
    }
    arrived(&case, &marker, clients.len()).await;
    let all = |outcome: Outcome| case.fake.seen_with(&marker).iter().all(|seen| seen.outcome() == outcome);
    for _ in 0..1200 {
        if all(Outcome::Answered) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    // As long as nobody reads, no stream gets to its end, however long one waits. The box may give it up meanwhile.
    let finished = |seen: &Arc<Seen>| seen.outcome() == Outcome::Finished;
    for _ in 0..80 {
        tokio::time::sleep(Duration::from_millis(25)).await;
        assert!(!case.fake.seen_with(&marker).iter().any(finished));
    }
    for client in clients {
        client.reset();
    }
    closed_by_us(&case, &marker, 2).await;
}
