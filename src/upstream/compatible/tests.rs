//! Streams as servers send them, and bodies as they get them.

use std::{ops::ControlFlow, sync::Arc};

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use url::Url;

use super::{
    ask::{Attached, AttachedContent, WholeAsk},
    body,
    decoder::Decoder,
    errors::Server,
};
use crate::{
    llm::{Event, FinishReason, Message, OutputFormat, Reasoning, Request, Sampling, ToolChoice, Usage},
    media_type::MediaKind,
    upstream::EventSink,
};

/// What a decoder hands out, in words.
#[derive(Default)]
struct Heard {
    words: Vec<String>,
}

impl EventSink for Heard {
    fn accept(&mut self, event: Event<'_>) -> ControlFlow<()> {
        let (kind, text) = match event {
            Event::Reasoning(text) => ("thinks ", text.to_owned()),
            Event::Text(text) => ("says ", text.to_owned()),
            Event::ToolCall(call) => ("calls ", format!("{} {}", call.name, call.arguments)),
            Event::Picture(_) | Event::OutputTokens(_) => ("", String::new()),
        };
        match self.words.last_mut().filter(|last| last.starts_with(kind) && kind != "calls ") {
            Some(last) => last.push_str(&text),
            None => self.words.push(format!("{kind}{text}")),
        }
        ControlFlow::Continue(())
    }

    fn counts_tokens(&self) -> bool {
        false
    }

    fn takes_calls(&self) -> bool {
        true
    }

    fn has_tool_with(&self, _: &str) -> bool {
        false
    }
}

type Read = Result<(Vec<String>, Option<FinishReason>, Usage), &'static str>;

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Read {
    let mut decoder = Decoder::new(Arc::new(Server { host: "api.test".to_owned(), key: None }));
    let mut heard = Heard::default();
    let done = (|| {
        for piece in pieces {
            if !decoder.feed(piece, &mut heard)? {
                return Ok(());
            }
        }
        decoder.finish(&mut heard)
    })();
    done.map(|()| (heard.words, decoder.finished(), decoder.usage())).map_err(|error| {
        assert_eq!(error.upstream(), Some("fallback"), "{error}");
        assert!(error.message().starts_with("api.test: "), "{error}");
        error.kind().code()
    })
}

/// An answer in events: `deltas` as JSON, then what ends it.
fn stream(deltas: &[&str], end: &str) -> String {
    let begin = r#"data: {"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}"#;
    let each = |delta: &&str| format!(r#"data: {{"choices":[{{"index":0,"delta":{delta},"finish_reason":null}}]}}"#);
    let events: Vec<String> = [begin.to_owned()].into_iter().chain(deltas.iter().map(each)).collect();
    format!("{}\n\n{end}", events.join("\n\n"))
}

fn finish(reason: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{}},\"finish_reason\":{reason}}}]}}\n\n")
}

const DONE: &str = "data: [DONE]\n\n";
const USAGE: &str = r#"data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12,"completion_tokens_details":{"reasoning_tokens":3},"prompt_tokens_details":{"cached_tokens":2}}}"#;

/// What is heard of a stream, and how it ends; or the code of its error.
type Expected = Result<(Vec<&'static str>, FinishReason), &'static str>;

/// Streams, and what is heard of each.
fn streams() -> Vec<(String, Expected)> {
    let hi = [r#"{"content":"Hel"}"#, r#"{"content":"lo"}"#];
    let said = |finish| Ok((vec!["says Hello"], finish));
    let mut all = vec![
        (stream(&hi, &(finish("\"stop\"") + USAGE + "\n\n" + DONE)), said(FinishReason::Stop)),
        (stream(&hi, DONE), said(FinishReason::Stop)),
        (stream(&hi, &finish("\"stop\"")), said(FinishReason::Stop)),
        (stream(&hi, finish("\"stop\"").trim_end()), said(FinishReason::Stop)),
        (format!("\u{feff}: OPENROUTER PROCESSING\n\n{}", stream(&hi, DONE)), said(FinishReason::Stop)),
        (stream(&hi, &(finish("\"stop\"") + DONE)).replace('\n', "\r\n"), said(FinishReason::Stop)),
        (stream(&hi, &(finish("\"stop\"") + DONE)).replace("data: ", "event: message\nid: 7\ndata:"), said(FinishReason::Stop)),
        (stream(&hi, ""), Err("upstream_truncated")),
        (stream(&[], ""), Err("upstream_empty")),
        (stream(&[], DONE), Err("upstream_empty")),
        (String::new(), Err("upstream_empty")),
        ("<html>no</html>".to_owned(), Err("upstream_invalid")),
        ("{}".to_owned(), Err("upstream_invalid")),
        (r#"{"error":{"message":"busy","code":"rate_limit_exceeded"}}"#.to_owned(), Err("rate_limit_exceeded")),
        (stream(&hi, "data: {\"error\":{\"message\":\"broke\",\"code\":500}}\n\n"), Err("upstream_error")),
        (stream(&hi, &finish("\"error\"")), Err("upstream_error")),
        (stream(&hi, &finish("\"insufficient_system_resource\"")), Err("upstream_error")),
        (stream(&[], &(finish("\"content_filter\"") + DONE)), Err("content_filter")),
        (
            stream(&[r#"{"reasoning_content":"Hm","content":null}"#, r#"{"reasoning_content":null,"content":"Yes"}"#], DONE),
            Ok((vec!["thinks Hm", "says Yes"], FinishReason::Stop)),
        ),
        (
            stream(&[r#"{"reasoning":"Hm","reasoning_details":[{"text":"Hm"}]}"#, r#"{"content":"Yes"}"#], DONE),
            Ok((vec!["thinks Hm", "says Yes"], FinishReason::Stop)),
        ),
        (
            stream(&hi, DONE).replace("\"content\":\"lo\"}", "\"content\":\"lo\"},\"message\":{\"content\":\"Hello\"}"),
            said(FinishReason::Stop),
        ),
        (stream(&[r#"{"refusal":"I cannot"}"#], DONE), Ok((vec!["says I cannot"], FinishReason::Stop))),
        (stream(&[r#"{"content":"\ud83d"}"#], DONE), Ok((vec!["says \u{fffd}"], FinishReason::Stop))),
        (
            "{\n \"choices\": [{\"message\": {\"reasoning_content\": \"Hm\",\n \"content\": \"Yes\"}, \"finish_reason\": \"stop\"}]\n}\n".to_owned(),
            Ok((vec!["thinks Hm", "says Yes"], FinishReason::Stop)),
        ),
        (
            r#"{"choices":[{"message":{"content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"run","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}"#.to_owned(),
            Ok((vec!["calls run {}"], FinishReason::ToolCalls)),
        ),
    ];
    for (reason, expected) in [
        ("\"length\"", FinishReason::Length),
        ("\"content_filter\"", FinishReason::ContentFilter),
        ("\"eos\"", FinishReason::Stop),
        ("\"end_turn\"", FinishReason::Stop),
        ("\"\"", FinishReason::Stop),
        ("null", FinishReason::Stop),
    ] {
        all.push((stream(&hi, &(finish(reason) + DONE)), said(expected)));
    }
    let calls = |deltas: &[&str], end: &str, expected: Vec<&'static str>, finish: FinishReason| {
        (stream(deltas, end), Ok((expected, finish)))
    };
    all.extend([
        calls(
            &[
                r#"{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"run","arguments":""}}]}"#,
                r#"{"tool_calls":[{"index":1,"id":"b","type":"function","function":{"name":"look","arguments":"{\"x\""}}]}"#,
                r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\":"}}]}"#,
                r#"{"tool_calls":[{"index":1,"function":{"arguments":":2}"}},{"index":0,"function":{"arguments":"1}"}}]}"#,
            ],
            &(finish("\"tool_calls\"") + DONE),
            vec![r#"calls run {"a":1}"#, r#"calls look {"x":2}"#],
            FinishReason::ToolCalls,
        ),
        // Each piece with an id of its own.
        calls(
            &[
                r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"run","arguments":""}}]}"#,
                r#"{"tool_calls":[{"index":0,"id":"b","function":{"arguments":"{\"x\":1}"}}]}"#,
            ],
            &(finish("\"tool_calls\"") + DONE),
            vec![r#"calls run {"x":1}"#],
            FinishReason::ToolCalls,
        ),
        // Whole calls under one index, without ids.
        calls(
            &[
                r#"{"tool_calls":[{"index":0,"id":"","function":{"name":"run","arguments":"{}"}}]}"#,
                r#"{"tool_calls":[{"index":0,"id":"","function":{"name":"look","arguments":"{}"}}]}"#,
            ],
            &(finish("\"tool_calls\"") + DONE),
            vec!["calls run {}", "calls look {}"],
            FinishReason::ToolCalls,
        ),
        // The name again in each piece.
        calls(
            &[
                r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"run","arguments":"{\"x\""}}]}"#,
                r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"run","arguments":":1}"}}]}"#,
            ],
            &(finish("\"tool_calls\"") + DONE),
            vec![r#"calls run {"x":1}"#],
            FinishReason::ToolCalls,
        ),
        // Without an index, the id repeated.
        calls(
            &[
                r#"{"tool_calls":[{"id":"a","function":{"name":"run","arguments":"{"}}]}"#,
                r#"{"tool_calls":[{"id":"a","function":{"name":"run","arguments":"}"}}]}"#,
                r#"{"tool_calls":[{"id":"b","function":{"name":"run","arguments":"{}"}}]}"#,
            ],
            DONE,
            vec!["calls run {}", "calls run {}"],
            FinishReason::ToolCalls,
        ),
        // Several whole calls, all of index 0.
        calls(
            &[
                r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"run","arguments":"{}"}}]}"#,
                r#"{"tool_calls":[{"index":0,"id":"b","function":{"name":"look","arguments":{"x":1}}}]}"#,
            ],
            &(finish("\"stop\"") + DONE),
            vec!["calls run {}", r#"calls look {"x":1}"#],
            FinishReason::Stop,
        ),
        // Neither index nor id.
        calls(
            &[
                r#"{"tool_calls":[{"function":{"name":"run","arguments":"{\"a\""}}]}"#,
                r#"{"tool_calls":[{"function":{"arguments":":1}"}}]}"#,
            ],
            "",
            vec![r#"calls run {"a":1}"#],
            FinishReason::ToolCalls,
        ),
        calls(
            &[r#"{"function_call":{"name":"run","arguments":"{"}}"#, r#"{"function_call":{"arguments":"}"}}"#],
            &finish("\"function_call\""),
            vec!["calls run {}"],
            FinishReason::ToolCalls,
        ),
        (
            stream(&[r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"run","arguments":"{\"a"}}]}"#], ""),
            Err("upstream_truncated"),
        ),
    ]);
    all
}

#[test]
fn streams_of_any_server_are_read() {
    for (stream, expected) in streams() {
        let heard = read([stream.as_bytes()]).map(|(words, finish, _)| (words, finish.unwrap()));
        let expected = expected.map(|(words, finish)| (words.into_iter().map(str::to_owned).collect(), finish));
        assert_eq!(heard, expected, "{stream}");
    }
}

#[test]
fn usage_is_read_wherever_it_is() {
    let hi = [r#"{"content":"Hello"}"#];
    let counted = Usage { prompt: 5, completion: 7, total: 12, reasoning: Some(3), cached: Some(2) };
    let (_, usage) = USAGE.split_once("[],").unwrap();
    let in_last = format!("data: {{\"choices\":[{{\"delta\":{{}},\"finish_reason\":\"stop\"}}],{usage}\n\n{DONE}");
    for (end, expected) in [
        (finish("\"stop\"") + USAGE + "\n\n" + DONE, counted),
        (in_last, counted),
        (finish("\"stop\"") + "data: {\"choices\":[],\"usage\":null}\n\n" + DONE, Usage::default()),
        (
            finish("\"stop\"") + "data: {\"usage\":{\"prompt_tokens\":\"1\",\"completion_tokens\":2.0}}\n\n" + DONE,
            Usage { prompt: 1, completion: 2, total: 3, ..Usage::default() },
        ),
        (finish("\"stop\"") + DONE, Usage::default()),
    ] {
        let (_, _, usage) = read([stream(&hi, &end).as_bytes()]).unwrap();
        assert_eq!(usage, expected, "{end}");
    }
}

proptest! {
    #[test]
    fn any_split_of_a_stream_gives_the_same(which in 0..1000_usize, cuts in proptest::collection::vec(0..3000_usize, 0..12)) {
        let streams = streams();
        let bytes = streams[which % streams.len()].0.as_bytes();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]);
        prop_assert_eq!(read(pieces), read([bytes]));
    }

    #[test]
    fn no_bytes_break_the_decoder(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0..400_usize) {
        let mut stream = stream(&[r#"{"content":"Hello"}"#], DONE).into_bytes();
        let at = at.min(stream.len());
        stream.splice(at..at, bytes);
        let _ = read([&stream[..]]);
    }
}

fn ask_of(request: &Request) -> WholeAsk<'_> {
    WholeAsk {
        model: "paid",
        messages: &request.messages,
        attached: &[],
        tools: &request.tools,
        tool_choice: &request.tool_choice,
        allowed_tools: request.allowed_tools.as_deref(),
        parallel_tool_calls: request.parallel_tool_calls,
        format: request.format.as_ref(),
        sampling: &request.sampling,
        reasoning: request.reasoning,
        search: request.search,
        stop: &request.stop,
        max_tokens: request.max_tokens,
    }
}

fn written(ask: &WholeAsk<'_>) -> Json {
    serde_json::from_slice(&body::json(ask)).unwrap()
}

/// The request that chat completions read of a body.
fn parsed(body: &Json) -> Request {
    crate::api::openai::chat_completions::parse(body.to_string().as_bytes()).unwrap().request
}

#[test]
fn a_request_goes_on_as_the_client_wrote_it() {
    let body = json!({
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Weather?", "name": "anna"},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "mcp.weather", "arguments": "{\"city\":\"Rome\"}"}},
                {"id": "call_2", "type": "function", "function": {"name": "time", "arguments": ""}},
            ]},
            {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
            {"role": "user", "content": "And?"},
            {"role": "tool", "tool_call_id": "gone", "name": "old", "content": "lost"},
        ],
        "temperature": 0.25, "top_p": 1e-1, "seed": 7, "presence_penalty": -1, "logit_bias": {"50256": -100},
        "stop": ["END"], "max_completion_tokens": 50, "reasoning_effort": "low",
        "tools": [
            {"type": "function", "function": {"name": "mcp.weather", "description": "d", "strict": true, "parameters": {"type": "object", "properties": {"z": {}, "a": {}}}}},
            {"type": "function", "function": {"name": "time"}},
        ],
        "tool_choice": {"type": "function", "function": {"name": "mcp.weather"}},
        "parallel_tool_calls": false,
        "response_format": {"type": "json_schema", "json_schema": {"name": "w", "strict": true, "schema": {"type": "object"}}},
    });
    let request = parsed(&body);
    let written = body::json(&ask_of(&request));
    insta::assert_snapshot!(String::from_utf8(written).unwrap());
}

#[test]
fn switches_become_the_fields_of_the_server() {
    let messages = json!([{"role": "user", "content": "x"}]);
    for (fields, expected) in [
        (json!({}), json!({})),
        (json!({"max_tokens": 9}), json!({"max_tokens": 9})),
        (json!({"enable_thinking": false}), json!({"enable_thinking": false})),
        (
            json!({"enable_thinking": true, "thinking_budget": 50}),
            json!({"enable_thinking": true, "thinking_budget": 50}),
        ),
        (json!({"thinking": {"type": "auto"}}), json!({})),
        (json!({"reasoning": {"effort": "high"}}), json!({"reasoning_effort": "high"})),
        (json!({"enable_search": true}), json!({"enable_search": true})),
        (json!({"response_format": {"type": "json_object"}}), json!({"response_format": {"type": "json_object"}})),
        (json!({"stop": ["a", "b", "c", "d", "e"]}), json!({})),
        (json!({"stop": "a"}), json!({"stop": ["a"]})),
        (
            json!({"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required"}),
            json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}], "tool_choice": "required"}),
        ),
    ] {
        let mut body = fields.clone();
        body["messages"] = messages.clone();
        let request = parsed(&body);
        let mut found = written(&ask_of(&request));
        let all = found.as_object_mut().unwrap();
        for (name, value) in [
            ("model", json!("paid")),
            ("messages", messages.clone()),
            ("stream", json!(true)),
            ("stream_options", json!({"include_usage": true})),
        ] {
            assert_eq!(all.remove(name), Some(value), "{fields}");
        }
        assert_eq!(found, expected, "{fields}");
    }
}

#[test]
fn attachments_go_as_they_came() {
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".as_slice();
    let attached = |message, name: &str, kind, content| {
        let texts_before = usize::from(name != "a.png");
        Attached { message, texts_before, name: name.to_owned(), kind, content }
    };
    let link = |text: &str| AttachedContent::Link(Url::parse(text).unwrap());
    let bytes = |bytes: &[u8]| AttachedContent::Bytes(bytes.to_vec().into(), None);
    let all = [
        attached(0, "a.png", Some(MediaKind::Image), link("https://x.test/a.png?s=1")),
        attached(0, "b", Some(MediaKind::Image), bytes(png)),
        attached(0, "c.mp3", Some(MediaKind::Audio), bytes(b"ID3\x04\0\0\0\0\0\0")),
        attached(0, "d.mp4", Some(MediaKind::Video), link("https://x.test/d.mp4")),
        attached(0, "e.pdf", None, bytes(b"%PDF-1.7\n")),
        attached(2, "f.png", Some(MediaKind::Image), bytes(png)),
    ];
    let request = parsed(&json!({"messages": [
        {"role": "user", "content": "Look"},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c", "content": "see"},
    ]}));
    let found = written(&WholeAsk { attached: &all, ..ask_of(&request) });
    insta::assert_snapshot!(serde_json::to_string_pretty(&found["messages"]).unwrap());
}

#[test]
fn a_limit_and_a_format_have_their_usual_names() {
    let request =
        Request { messages: vec![Message::text(crate::llm::Role::User, "x".to_owned())], ..Request::default() };
    let format = OutputFormat { schema: Some("{}".into()), ..OutputFormat::default() };
    let sampling = Sampling::default();
    let ask = WholeAsk {
        format: Some(&format),
        sampling: &sampling,
        tool_choice: &ToolChoice::None,
        reasoning: Some(Reasoning::Auto),
        max_tokens: Some(3),
        ..ask_of(&request)
    };
    let found = written(&ask);
    assert_eq!(found["response_format"]["json_schema"], json!({"name": "answer", "schema": {}}));
    assert_eq!((found["max_tokens"].clone(), found.get("tool_choice")), (json!(3), None));
}
