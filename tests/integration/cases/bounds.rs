//! What a client can make the server hold and do: bodies whose form takes as much as any form can.

use std::sync::Arc;

use serde_json::json;

use crate::{
    Product,
    fake_qwen::Fake,
    hostile_bodies::FORMS,
    http::{chat, joined, with},
    server::{Case, Server, unique},
};

const MIB: usize = 1024 * 1024;

/// What the process has held at the most since the last call, in bytes.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak = line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024;
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
    peak
}

/// Ten times the body is enough for any of them natively, and 96 MiB for a Worker's largest; another client's stream beside them
/// ends whole, and the server goes on.
pub async fn bodies_of_any_form_take_little_memory(case: Arc<Case>) {
    let fake = Fake::start();
    let mut server = case.start_with(&fake, &[]).await;
    assert_eq!(server.chat(&chat("warm")).await.status, 200);
    let (bytes, most) = match case.product {
        Product::Box => (12 * MIB, 120 * MIB),
        Product::Edge => (16 * MIB - 128 * 1024, 96 * MIB),
    };
    let mut before = server.memory().await;
    let only = std::env::var("ONLY_FORM").ok();
    for (name, make) in FORMS.iter().filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name)) {
        let body = make(bytes);
        assert!(body.len() <= 16 * MIB, "{name}: {}", body.len());
        if case.product == Product::Box {
            // A server of its own: what the allocator has kept for the next one would be told as this one's.
            server.stop().await;
            server = case.start_with(&fake, &[]).await;
            assert_eq!(server.chat(&chat("warm")).await.status, 200);
            peak(server.pid);
            before = server.memory().await;
        }
        let beside = {
            let server = Arc::clone(&server);
            let prompt = format!("[[fake stream=count n=100 delay_ms=10]] {}", unique("beside"));
            tokio::spawn(async move {
                server.chat(&with(chat(&prompt), json!({ "stream": true, "enable_thinking": false }))).await
            })
        };
        let reply = server.http.send("POST", "/v1/chat/completions", &Server::keyed(), body).await;
        assert!([200, 400, 413].contains(&reply.status.as_u16()), "{name}: {reply:?}");
        assert!(reply.body.len() < 10_000, "{name}: an error repeats the request: {}", reply.body.len());
        let beside = beside.await.unwrap();
        assert!(joined(&beside.chunks(), "content").ends_with("100 "), "{name}: another stream was cut: {beside:?}");
        let held = match case.product {
            Product::Box => peak(server.pid),
            Product::Edge => server.memory().await,
        };
        let more = held.saturating_sub(before) / MIB as u64;
        if std::env::var_os("SHOW_MEMORY").is_some() {
            eprintln!("{} {name}: {} {more} MiB", server.pid, reply.status);
        }
        assert!(more <= (most / MIB) as u64, "{name}: {more} MiB above what was held before");
    }
    assert_eq!(server.chat(&chat("hello")).await.status, 200);
}
