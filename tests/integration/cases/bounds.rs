//! What a client can make the server hold and do: bodies whose form takes as much as any form can.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::json;

use super::files::fixture;
use crate::{
    Product,
    fake_qwen::Fake,
    http::{chat, joined, with},
    server::{Case, Server, unique},
};

const MIB: usize = 1024 * 1024;

/// As many of `item` as make up `bytes`, in lists of at most `most`, each between `open` and `close`.
fn lists(item: &str, most: usize, open: &str, close: &str, bytes: usize) -> String {
    let list = format!("{open}{}{close}", vec![item; most].join(","));
    let count = bytes / (list.len() + 1);
    vec![list; count.max(1)].join(",")
}

/// Bodies of some `bytes`, by the name of their form.
fn hostile(bytes: usize) -> Vec<(&'static str, String)> {
    let last = r#"{"role":"user","content":"x"}"#;
    let messages = |messages: String| format!(r#"{{"model":"qwen3-max","messages":[{messages},{last}]}}"#);
    let user = |content: String| messages(format!(r#"{{"role":"user","content":"{content}"}}"#));
    let fill = |text: &str| text.repeat(bytes / text.len());
    let jpg = [fixture("jfif.jpg"), vec![0; bytes / 4 * 3 - 64 * 1024]].concat();
    vec![
        ("one text", user(fill("a"))),
        ("line ends", user(fill("\\n"))),
        ("escapes", user(fill("\\u0001"))),
        ("quotes", user(fill("\\\""))),
        ("halves", user(fill("\\ud83d"))),
        ("letters and marks", user(fill("e\u{301}"))),
        ("marks", user(fill("\u{301}"))),
        ("blanks", user(fill(" "))),
        ("brackets", user(fill("[["))),
        ("times", messages(format!(r#"{{"role":"system","content":"{}"}}"#, fill("1 ")))),
        ("dates", messages(format!(r#"{{"role":"system","content":"{}"}}"#, fill("may ")))),
        ("messages", messages(lists(r#"{"role":"user","content":"a"}"#, 9_000, "", "", bytes.min(9_000 * 30)))),
        (
            "long messages",
            messages(
                vec![format!(r#"{{"role":"user","content":"{}"}}"#, "a".repeat(bytes / 9_000 - 40)); 9_000].join(","),
            ),
        ),
        (
            "answers in a row",
            messages(
                vec![format!(r#"{{"role":"assistant","content":"{}"}}"#, "a".repeat(bytes / 9_000 - 40)); 9_000]
                    .join(","),
            ),
        ),
        ("empty parts", messages(lists(r#"{"type":"text"}"#, 1_000, r#"{"role":"user","content":["#, "]}", bytes))),
        (
            "short parts",
            messages(lists(r#"{"type":"text","text":"a"}"#, 1_000, r#"{"role":"user","content":["#, "]}", bytes)),
        ),
        (
            "empty calls",
            messages(lists("{}", 1_000, r#"{"role":"assistant","content":"a","tool_calls":["#, "]}", bytes)),
        ),
        (
            "short calls",
            messages(lists(
                r#"{"id":"","function":{}}"#,
                1_000,
                r#"{"role":"assistant","content":"a","tool_calls":["#,
                "]}",
                bytes,
            )),
        ),
        ("unknown parts", messages(lists(r#"{"type":"x"}"#, 1_000, r#"{"role":"user","content":["#, "]}", bytes))),
        (
            "empty attachments",
            messages(lists(r#"{"type":"file"}"#, 1_000, r#"{"role":"user","content":["#, "]}", bytes)),
        ),
        (
            "attachments",
            messages(lists(r#"{"type":"file","file_id":""}"#, 1_000, r#"{"role":"user","content":["#, "]}", bytes)),
        ),
        (
            "a picture",
            format!(
                r#"{{"messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"data:image/jpeg;base64,{}"}}}}]}}]}}"#,
                BASE64.encode(&jpg)
            ),
        ),
        ("metadata", format!(r#"{{"messages":[{last}],"metadata":{{{}}}}}"#, fill(r#""a":[[]],"#) + r#""b":1"#)),
        ("unknown fields", format!(r#"{{"messages":[{last}],{}"z":0}}"#, fill(r#""a":{"b":[0,""]},"#))),
        ("a long number", format!(r#"{{"messages":[{last}],"seed":{}}}"#, fill("9"))),
        (
            "a ready entry",
            format!(
                r#"{{"messages":[{{"role":"user","content":[{{"type":"file","file_info":[{}0]}}]}}]}}"#,
                fill("0,")
            ),
        ),
        (
            "a wrong type behind a long key",
            format!(r#"{{"{}":[{}1],"n":"x"}}"#, "A".repeat(bytes / 2), "1,".repeat(bytes / 4)),
        ),
        ("a wrong type at the end", format!(r#"{{"messages":[{{"role":"user","content":"{}"}}],"n":"x"}}"#, fill("a"))),
        ("a wrong role", format!(r#"{{"messages":[{{"role":"{}"}}]}}"#, fill("a"))),
        ("no end", format!(r#"{{"messages":[{{"role":"user","content":"{}"#, fill("a"))),
        ("too deep", fill("[")),
    ]
}

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
    for (name, body) in hostile(bytes).into_iter().filter(|(name, _)| only.as_ref().is_none_or(|only| only == name)) {
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
