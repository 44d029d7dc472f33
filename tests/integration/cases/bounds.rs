//! The memory that the most expensive request bodies take.

use std::sync::Arc;

use serde_json::json;

use crate::{
    Product,
    fake_qwen::Fake,
    hostile_bodies::{FORMS, MESSAGES_FORMS},
    http::{chat, concat_deltas, with},
    server::{Case, Server, unique},
};

const MIB: usize = 1024 * 1024;

/// The peak resident memory of the process since the last call, in bytes.
fn take_peak_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak = line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024;
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
    peak
}

/// The native server needs at most ten times the body, the Worker at most 96 MiB for its largest body. A concurrent stream of
/// another client is complete, and the server keeps running.
pub async fn bodies_of_any_shape_use_bounded_memory(case: Arc<Case>) {
    let fake = Fake::start();
    let mut server = case.start_with(&fake, &[]).await;
    assert_eq!(server.chat(&chat("warm")).await.status, 200);
    let (bytes, max_growth) = match case.product {
        Product::Native => (12 * MIB, 120 * MIB),
        Product::Worker => (16 * MIB - 128 * 1024, 96 * MIB),
    };
    let mut before = server.memory_bytes().await;
    let only = std::env::var("ONLY_FORM").ok();
    let chat_forms = FORMS.iter().map(|form| ("/v1/chat/completions", form));
    let forms = chat_forms.chain(MESSAGES_FORMS.iter().map(|form| ("/v1/messages", form)));
    for (path, (name, make)) in forms.filter(|(_, (name, _))| only.as_deref().is_none_or(|only| only == *name)) {
        let body = make(bytes);
        assert!(body.len() <= 16 * MIB, "{name}: {}", body.len());
        if case.product == Product::Native {
            // A new server: memory that the allocator kept from the previous body would count for this one.
            server.stop().await;
            server = case.start_with(&fake, &[]).await;
            assert_eq!(server.chat(&chat("warm")).await.status, 200);
            take_peak_bytes(server.pid);
            before = server.memory_bytes().await;
        }
        let concurrent = {
            let server = Arc::clone(&server);
            let prompt = format!("[[fake stream=count n=100 delay_ms=10]] {}", unique("concurrent"));
            tokio::spawn(async move {
                server.chat(&with(chat(&prompt), json!({ "stream": true, "enable_thinking": false }))).await
            })
        };
        let reply = server.http.send("POST", path, &Server::auth_headers(), body).await;
        assert!([200, 400, 413].contains(&reply.status.as_u16()), "{name}: {reply:?}");
        assert!(reply.body.len() < 10_000, "{name}: the error repeats the request: {}", reply.body.len());
        let concurrent = concurrent.await.unwrap();
        assert!(
            concat_deltas(&concurrent.chunks(), "content").ends_with("100 "),
            "{name}: the concurrent stream is incomplete: {concurrent:?}"
        );
        let peak = match case.product {
            Product::Native => take_peak_bytes(server.pid),
            Product::Worker => server.memory_bytes().await,
        };
        let growth_mib = peak.saturating_sub(before) / MIB as u64;
        if std::env::var_os("SHOW_MEMORY").is_some() {
            eprintln!("{} {name}: {} {growth_mib} MiB", server.pid, reply.status);
        }
        assert!(growth_mib <= (max_growth / MIB) as u64, "{name}: memory grew by {growth_mib} MiB");
    }
    assert_eq!(server.chat(&chat("hello")).await.status, 200);
}
