//! Texts with lone surrogates, line separators and arbitrary characters.

use std::{collections::HashSet, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use proptest::{
    strategy::{Strategy as _, ValueTree as _},
    test_runner::TestRunner,
};
use serde_json::json;

use super::{answer, last_turn, send_raw};
use crate::{
    cases::files::fixture,
    fake_qwen::Fake,
    form::Form,
    http::{chat, with},
    server::{Case, unique},
};

pub async fn lone_surrogates_are_accepted_in_every_text(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    const LONE_SURROGATE: &str = r"cut \ud83d here";
    let tool = format!(
        r#"{{"role":"assistant","content":"{LONE_SURROGATE}","tool_calls":[{{"id":"c{LONE_SURROGATE}","type":"function","function":{{"name":"f{LONE_SURROGATE}","arguments":"{LONE_SURROGATE}"}}}}]}},
           {{"role":"tool","tool_call_id":"c{LONE_SURROGATE}","content":"{LONE_SURROGATE}"}}"#
    );
    let file = BASE64.encode("text");
    for (messages, expected) in [
        (format!(r#"{{"role":"user","content":"{LONE_SURROGATE}"}}"#), "cut \u{fffd} here"),
        (r#"{"role":"user","content":"\ude00 low first \ud83d"}"#.to_owned(), "\u{fffd} low first \u{fffd}"),
        (r#"{"role":"user","content":"\ud83d\ude00 whole \\ud83d"}"#.to_owned(), "\u{1F600} whole \\ud83d"),
        (
            format!(
                r#"{{"role":"system","content":"{LONE_SURROGATE}"}},{{"role":"user","name":"n{LONE_SURROGATE}","content":"hi"}}"#
            ),
            "System: cut \u{fffd} here\n\nUser (ncut \u{fffd} here): hi",
        ),
        (format!(r#"{{"role":"user","content":[{{"type":"text","text":"{LONE_SURROGATE}"}}]}}"#), "cut \u{fffd} here"),
        (format!(r#"{{"role":"user","content":"q"}},{tool}"#), "Tool result: cut \u{fffd} here"),
        (
            format!(
                r#"{{"role":"user","content":[{{"type":"text","text":"see"}},{{"type":"file","file":{{"file_data":"{file}","filename":"{LONE_SURROGATE}.txt"}}}}]}}"#
            ),
            "see",
        ),
    ] {
        let body = format!(
            r#"{{"model":"qwen3-max","user":"{LONE_SURROGATE}","{LONE_SURROGATE}":"{LONE_SURROGATE}","messages":[{messages}]}}"#
        );
        let reply = send_raw(&server, &[], body).await;
        assert_eq!(reply.status, 200, "{messages}: {reply:?}");
        assert!(
            last_turn(&fake).0.ends_with(expected) || last_turn(&fake).0.contains(expected),
            "{expected}: {}",
            last_turn(&fake).0
        );
    }
    let upload = fake.requests().into_iter().rfind(|request| request.path_and_query.ends_with("getstsToken")).unwrap();
    assert_eq!(upload.json()["filename"], "cut \u{fffd} here.txt");
    // Some programs encode surrogates as UTF-8 (CESU-8).
    let mut body = br#"{"model":"qwen3-max","messages":[{"role":"user","content":"a"#.to_vec();
    body.extend_from_slice(b"\xED\xA0\xBD b \xED\xA0\xBD\xED\xB8\x80\"}]}");
    assert_eq!(send_raw(&server, &[], body).await.status, 200);
    assert_eq!(last_turn(&fake).0, "a\u{fffd} b \u{1F600}");
    send_raw(&server, &[], &b"{\"messages\":[{\"role\":\"user\",\"content\":\"\xFF\"}]}"[..])
        .await
        .error(400, "invalid_json");
    // The text of a form, too.
    let (content_type, body) = Form::new().text("prompt", "X").file("image", "a.jpg", None, fixture("jfif.jpg")).body();
    let at = memchr::memmem::find(&body, b"\r\n\r\nX\r\n").unwrap() + 4;
    let body = [&body[..at], b"\xED\xA0\xBD", &body[at + 1..]].concat();
    let headers = [("authorization", "Bearer sk-test-key"), ("content-type", content_type.as_str())];
    let reply = server.http.send("POST", "/v1/image/upload_and_chat", &headers, body).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(last_turn(&fake).0, "\u{fffd}");
}

pub async fn lone_surrogates_match_the_replacement_character(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let body = |content: &str, rest: &str| {
        format!(
            r#"{{"model":"qwen3-max","messages":[{{"role":"system","content":"s {content}"}},{{"role":"user","content":"x {content}"}}{rest}]}}"#
        )
    };
    let first = answer(&send_raw(&server, &[], body(r"\ud83d", "")).await);
    let first = serde_json::to_string(&first).unwrap();
    for (content, question) in [(r"\ud83d", "two"), (r"\ufffd", "three"), ("\u{fffd}", "four"), (r"\udc00", "five")] {
        let rest = format!(r#",{{"role":"assistant","content":{first}}},{{"role":"user","content":"{question}"}}"#);
        assert_eq!(send_raw(&server, &[], body(content, &rest)).await.status, 200);
        assert_eq!(last_turn(&fake).0, question);
    }
    assert_eq!(fake.chats(), 1);
}

/// Random text with lone surrogates, combining marks and separators: the second turn continues the chat of the first.
pub async fn conversations_of_arbitrary_text_continue(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let unit = proptest::prop_oneof![
        3 => 0x20_u16..0x7F,
        2 => 0xD800_u16..0xE000,
        2 => proptest::sample::select(vec![0x85, 0xA0, 0x300, 0x301, 0x327, 0x200B, 0x200D, 0x2028, 0x2029, 0x3000, 0xFEFF, 0xFFFD, 0xFFFF]),
        1 => 0x00_u16..0x20,
        1 => proptest::num::u16::ANY,
    ];
    let text = proptest::collection::vec(unit, 0..24);
    let mut runner = TestRunner::deterministic();
    for round in 0..40 {
        let units: Vec<u16> = text.new_tree(&mut runner).unwrap().current();
        let escaped: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
        let is_stream = round % 2 == 0;
        let mark = unique("t");
        let mut messages =
            format!(r#"{{"role":"system","content":"{escaped}"}},{{"role":"user","content":"{mark} {escaped}"}}"#);
        let mut chats = HashSet::new();
        for turn in 0..2 {
            let body = format!(r#"{{"model":"qwen3-max","stream":{is_stream},"messages":[{messages}]}}"#);
            let reply = send_raw(&server, &[], body).await;
            assert_eq!(reply.status, 200, "{escaped}: {reply:?}");
            let reply_text = if is_stream {
                assert_one_line_per_event(&reply.text());
                crate::http::concat_deltas(&reply.chunks(), "content")
            } else {
                answer(&reply)
            };
            chats.insert(last_turn(&fake).1);
            let reply_text = serde_json::to_string(&reply_text).unwrap();
            messages.push_str(&format!(
                r#",{{"role":"assistant","content":{reply_text}}},{{"role":"user","content":"{turn} {escaped}"}}"#
            ));
        }
        assert_eq!(chats.len(), 1, "{escaped}: more than one chat");
    }
}

/// Checks that a stream contains no character at which a line splitter of Python breaks lines, except LF.
#[track_caller]
fn assert_one_line_per_event(stream: &str) {
    let separators = ['\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}'];
    assert!(!stream.contains(separators), "{stream:?}");
    assert!(
        stream.lines().all(|line| line.is_empty() || line.starts_with("data: ") || line.starts_with(':')),
        "{stream:?}"
    );
}

pub async fn line_separators_do_not_split_events(case: Arc<Case>) {
    let server = case.server().await;
    let say = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let text = "a\u{2028}b\u{2029}c\u{85}d\u{b}e\u{1c}f\u{1e}进入✅";
    for (prompt, model) in [
        (format!("[[fake say={} think={}]]", say(text), say(text)), "qwen3-max"),
        (format!("[[fake say={} piece=1]]", say(text)), "odd\u{2028}model\u{85}name"),
        (format!("[[fake say={} cut=600]]", say(&text.repeat(20))), "qwen3-max"),
    ] {
        let body = with(chat(&prompt), json!({ "stream": true, "model": model }));
        let reply = server.chat(&body).await;
        if reply.status == 200 {
            assert_one_line_per_event(&reply.text());
        }
    }
    let reply = server.chat(&with(chat(&format!("[[fake say={}]]", say(text))), json!({ "stream": true }))).await;
    assert_eq!(crate::http::concat_deltas(&reply.chunks(), "content"), text);
}
