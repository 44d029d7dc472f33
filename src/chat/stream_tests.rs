//! The recorded streams in `tests/streams`, run through the translator: what the client gets of each, in each dialect, is a
//! snapshot, and any split gives the same.

use std::sync::Arc;

use proptest::prelude::*;
use serde::Deserialize;

use super::{
    answer_format::AnswerFormat,
    tool_rules::ToolRules,
    translator::{Progress, Translator},
};
use crate::{
    api::{
        AnswerMeta, Delivery, Dialect, Encoder, ErrorReply, Parsed,
        anthropic::MessagesDelivery,
        openai::{self, chat_completions::ChatDelivery, responses::ResponsesDelivery},
    },
    llm,
    unix_time::UnixSeconds,
    upstream::{Decoder, shown_tool_name},
};

#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    request: serde_json::Map<String, serde_json::Value>,
}

struct Recorded {
    request: llm::Request,
    legacy_functions: bool,
    body: Vec<u8>,
}

/// A dialect in which the recorded answers are told.
struct Spoken {
    /// How its snapshots are called.
    name: &'static str,
    dialect: Dialect,
    /// How an answer is delivered; `true` = as a stream.
    delivery: fn(&Recorded, bool) -> Delivery,
    /// What is the same in each piece, left out for the reader of a snapshot.
    same: &'static str,
    /// What the last event of a stream begins with, or after an error.
    ends: &'static [&'static str],
    fails: &'static str,
    /// What the end of an answer says that was cut.
    limit: &'static str,
    /// Whether a snapshot leaves out the names of events, which their data repeat.
    without_names: bool,
    /// Checks what holds for the events of every stream.
    check: fn(&str),
}

/// All dialects.
const SPOKEN: &[Spoken] = &[
    Spoken {
        name: "client",
        dialect: Dialect::ChatCompletions,
        delivery: |recorded, is_stream| {
            let delivery = if is_stream { ChatDelivery::stream(true) } else { ChatDelivery::WHOLE };
            let legacy_functions = recorded.legacy_functions;
            Delivery::ChatCompletions(ChatDelivery { legacy_functions, ..delivery })
        },
        same: r#""id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"#,
        ends: &["data: [DONE]"],
        fails: "data: {\"error\":{",
        limit: "\"finish_reason\":\"length\"",
        without_names: false,
        check: |_| {},
    },
    Spoken {
        name: "responses",
        dialect: Dialect::Responses,
        delivery: |_, is_stream| {
            Delivery::Responses(ResponsesDelivery { is_stream, namespaced: Arc::default(), echo: Arc::default() })
        },
        same: r#""object":"response","created_at":1,"#,
        ends: &["event: response.completed\n", "event: response.incomplete\n"],
        fails: "event: response.failed\n",
        limit: "\"max_output_tokens\"",
        without_names: false,
        check: |_| {},
    },
    Spoken {
        name: "messages",
        dialect: Dialect::Messages,
        delivery: |_, is_stream| Delivery::Messages(MessagesDelivery { is_stream, input_tokens: 9 }),
        same: "\0",
        ends: &["event: message_stop\n"],
        fails: "event: error\n",
        limit: "\"max_tokens\"",
        without_names: true,
        check: assert_message_events,
    },
];

impl Spoken {
    /// Whether a stream ends with an error; `None` when it has no end.
    fn has_failed(&self, stream: &str) -> Option<bool> {
        let last = stream.strip_suffix("\n\n").map_or("", |stream| stream.rsplit("\n\n").next().unwrap_or(stream));
        if stream.starts_with("status ") || last.starts_with(self.fails) {
            return Some(true);
        }
        self.ends.iter().any(|end| last.starts_with(end)).then_some(false)
    }
}

impl Recorded {
    fn read(file: &[u8]) -> Self {
        let end = file.windows(5).position(|window| window == b"\n---\n").unwrap();
        let mut header: Header = serde_json::from_slice(&file[..end]).unwrap();
        header.request.insert("messages".to_owned(), serde_json::json!([]));
        let body = serde_json::to_string(&header.request).unwrap();
        let Parsed { request, delivery } = openai::chat_completions::parse(body.as_bytes()).unwrap();
        let Delivery::ChatCompletions(ChatDelivery { legacy_functions, .. }) = delivery else {
            panic!("another dialect")
        };
        Self { request, legacy_functions, body: file[end + 5..].to_vec() }
    }

    /// What the client gets when the bytes arrive in these pieces.
    fn client_gets<'a>(&self, spoken: &Spoken, is_stream: bool, pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
        let delivery = (spoken.delivery)(self, is_stream);
        let id = format!("{}1", delivery.id_prefix());
        let meta = AnswerMeta { id, created: UnixSeconds::new(1), model: "m".to_owned() };
        let encoder = Encoder::new(meta, delivery);
        let llm::Request { stop, max_tokens, .. } = &self.request;
        let links = crate::media::LinkMaker::new("https://edge.example".into(), [0; 16]);
        let translator = Translator::new(Decoder::qwen(), encoder, stop.clone(), *max_tokens).with_links(Some(links));
        let rules = ToolRules::new(&self.request, &"i".repeat(22), shown_tool_name);
        let translator = match rules {
            Some(rules) => translator.with_tools(rules, false),
            None => translator,
        };
        match translator.run(pieces) {
            Ok(bytes) if is_stream => String::from_utf8(bytes.to_vec()).unwrap(),
            Ok(bytes) => format!("{}\n", String::from_utf8(bytes.to_vec()).unwrap()),
            Err(error) => {
                let ErrorReply { status, body } = spoken.dialect.error(&error, "req_1");
                format!("status {status}\n{body}\n")
            }
        }
    }

    fn stream(&self, spoken: &Spoken, pieces: &[&[u8]]) -> String {
        self.client_gets(spoken, true, pieces.iter().copied())
    }
}

#[test]
fn recorded_streams_give_what_the_snapshots_say() {
    insta::glob!("../../tests/streams", "*.sse", |path| {
        let recorded = Recorded::read(&std::fs::read(path).unwrap());
        for spoken in SPOKEN {
            let stream = recorded.stream(spoken, &[&recorded.body]);
            (spoken.check)(&stream);
            let stream = if spoken.without_names { without_names(&stream) } else { stream };
            let stream = stream.replace(spoken.same, "… ");
            let whole = recorded.client_gets(spoken, false, [&recorded.body[..]]);
            let mut settings = insta::Settings::clone_current();
            settings.set_snapshot_path("../../tests/streams");
            settings.set_prepend_module_to_snapshot(false);
            settings.set_omit_expression(true);
            settings.bind(|| insta::assert_snapshot!(spoken.name, format!("{stream}----\n{whole}")));
        }
    });
}

/// Events without their names, which their data repeat.
fn without_names(events: &str) -> String {
    events.split_inclusive("\n\n").map(|event| event.split_once("\ndata: ").map_or(event, |(_, data)| data)).collect()
}

/// Checks what holds for the events of every message: one beginning and one end, and blocks that begin, go on and end one
/// after the other. Behind an error nothing comes.
fn assert_message_events(text: &str) {
    if text.starts_with("status ") {
        return;
    }
    let (mut has_begun, mut has_delta, mut has_ended) = (false, false, false);
    let (mut open, mut next) = (None, 0);
    for event in text.split_terminator("\n\n") {
        let (name, data) = event.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["type"], name, "{text}");
        assert!(!has_ended, "{text}");
        assert_eq!(has_begun, name != "message_start" || has_begun, "{text}");
        let index = data["index"].as_u64();
        match name {
            "message_start" => assert!(!std::mem::replace(&mut has_begun, true), "{text}"),
            "content_block_start" => {
                assert!(!has_delta && open.is_none() && index == Some(next), "{text}");
                open = Some((next, data["content_block"]["type"].as_str().unwrap().to_owned()));
                next += 1;
            }
            "content_block_delta" => {
                let (at, kind) = open.as_ref().unwrap();
                let delta = data["delta"]["type"].as_str().unwrap();
                let kinds: &[&str] = match kind.as_str() {
                    "thinking" => &["thinking_delta", "signature_delta"],
                    "text" => &["text_delta", "citations_delta"],
                    _ => &["input_json_delta"],
                };
                assert!(index == Some(*at) && kinds.contains(&delta), "{text}");
            }
            "content_block_stop" => assert_eq!(index, open.take().map(|(at, _)| at), "{text}"),
            "message_delta" => {
                assert!(open.is_none() && next > 0 && !std::mem::replace(&mut has_delta, true), "{text}");
            }
            "message_stop" => {
                assert!(has_delta, "{text}");
                has_ended = true;
            }
            "ping" => {}
            "error" => has_ended = true,
            _ => panic!("{name}"),
        }
    }
    assert!(has_ended, "{text}");
}

fn all() -> Vec<(String, Recorded)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/streams");
    let mut all: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sse"))
        .map(|path| (path.display().to_string(), Recorded::read(&std::fs::read(&path).unwrap())))
        .collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    assert!(all.len() > 30);
    all
}

#[test]
fn byte_by_byte_gives_the_same() {
    for (name, recorded) in all() {
        let bytes: Vec<&[u8]> = recorded.body.chunks(1).collect();
        for spoken in SPOKEN {
            assert_eq!(
                recorded.stream(spoken, &bytes),
                recorded.stream(spoken, &[&recorded.body]),
                "{name} {}",
                spoken.name
            );
        }
    }
}

#[test]
fn a_stream_cut_at_any_byte_ends_with_an_error_or_complete() {
    for (name, recorded) in all() {
        // Each place of the short ones, some of the long ones.
        let step = recorded.body.len() / 4000 + 1;
        for spoken in SPOKEN {
            let complete = recorded.stream(spoken, &[&recorded.body]);
            for end in (0..recorded.body.len()).step_by(step) {
                let cut = recorded.stream(spoken, &[&recorded.body[..end]]);
                (spoken.check)(&cut);
                let fails = spoken.has_failed(&cut);
                let fails = fails.unwrap_or_else(|| panic!("{name} {} at {end} has no end: {cut}", spoken.name));
                assert!(
                    fails || cut == complete || recorded.request.stop.is_empty() || complete.contains(spoken.limit),
                    "{name} {} at {end}",
                    spoken.name
                );
            }
        }
    }
}

proptest! {
    #[test]
    fn any_split_gives_the_same(which in any::<prop::sample::Index>(), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..20)) {
        let all = all();
        let (name, recorded) = which.get(&all);
        let body = &recorded.body;
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).chain([0, body.len()]).collect();
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &body[pair[0]..pair[1]]).collect();
        for spoken in SPOKEN {
            prop_assert_eq!(recorded.stream(spoken, &pieces), recorded.stream(spoken, &[body]), "{} {}", name, spoken.name);
        }
    }
}

#[test]
fn an_answer_without_end_is_cut() {
    for (spoken, is_stream) in SPOKEN.iter().flat_map(|spoken| [(spoken, false), (spoken, true)]) {
        let piece = "x".repeat(1 << 20);
        let event = |phase: &str| {
            format!(
                "data: {{\"choices\":[{{\"delta\":{{\"content\":\"{piece}\",\"phase\":\"{phase}\",\"status\":\"typing\"}}}}]}}\n\n"
            )
        };
        let (thought, text) = (event("think"), event("answer"));
        let recorded = Recorded { request: llm::Request::default(), legacy_functions: false, body: Vec::new() };
        let pieces = std::iter::repeat_n(thought.as_bytes(), 8).chain(std::iter::repeat(text.as_bytes()));
        let got = recorded.client_gets(spoken, is_stream, pieces.take(1000));
        assert!(got.contains(spoken.limit), "{}", spoken.name);
        // The Responses API says a text again where it ends, and in the response.
        assert!(got.len() < 100 << 20, "{} {}", spoken.name, got.len());
    }
}

#[test]
fn a_call_in_the_thinking_alone_is_asked_for_again() {
    let event = |phase: &str, status: &str, text: &str| {
        let delta = serde_json::json!({ "role": "assistant", "content": text, "phase": phase, "status": status });
        format!("data: {}\n\n", serde_json::json!({ "choices": [{ "delta": delta }] }))
    };
    let call = "[TOOL CALL]\n{\"name\": \"f\", \"arguments\": {}}\n[END TOOL CALL]";
    let body = r#"{"messages":[],"tools":[{"type":"function","function":{"name":"f"}}]}"#;
    let request = openai::chat_completions::parse(body.as_bytes()).unwrap().request;
    for (text, delivery, may_repeat, is_repeated) in [
        ("", ChatDelivery::WHOLE, true, true),
        ("", ChatDelivery::WHOLE, false, false),
        ("Fine.", ChatDelivery::WHOLE, true, false),
        ("", ChatDelivery::stream(false), true, false),
    ] {
        let meta = AnswerMeta { id: String::new(), created: UnixSeconds::new(1), model: String::new() };
        let rules = ToolRules::new(&request, &"i".repeat(22), shown_tool_name).unwrap();
        let encoder = Encoder::new(meta, Delivery::ChatCompletions(delivery));
        let mut translator = Translator::new(Decoder::qwen(), encoder, vec![], None).with_tools(rules, may_repeat);
        let stream =
            [event("think", "typing", call), event("answer", "typing", text), event("answer", "finished", "")].concat();
        let found = translator.feed(stream.as_bytes());
        assert_eq!(found.is_err(), is_repeated, "{text} {may_repeat}");
        let correction = is_repeated.then_some(llm::Correction::CallInThinking);
        assert_eq!(translator.correction(), correction);
    }
}

#[test]
fn inspection_after_text_is_a_refusal_of_whole_json() {
    let request = openai::chat_completions::parse(br#"{"messages":[],"response_format":{"type":"json_object"}}"#)
        .unwrap()
        .request;
    let text = r#"{"choices":[{"delta":{"role":"assistant","content":"{\"a\":","phase":"answer","status":"typing"}}]}"#;
    let error =
        r#"{"error":{"code":"data_inspection_failed","details":"Output data may contain inappropriate content."}}"#;
    for (events, finish) in [(vec![text, error], Some("content_filter")), (vec![error], None)] {
        let meta = AnswerMeta { id: String::new(), created: UnixSeconds::new(1), model: String::new() };
        let format = AnswerFormat::new(&request).unwrap().unwrap();
        let encoder = Encoder::new(meta, Delivery::ChatCompletions(ChatDelivery::WHOLE));
        let translator = Translator::new(Decoder::qwen(), encoder, vec![], None).with_format(format, true);
        let stream: String = events.iter().map(|data| format!("data: {data}\n\n")).collect();
        let Ok(answer) = translator.run([stream.as_bytes()]) else {
            assert_eq!(finish, None);
            continue;
        };
        let choice = serde_json::from_slice::<serde_json::Value>(&answer).unwrap()["choices"][0].clone();
        assert_eq!(
            (choice["finish_reason"].as_str(), &choice["message"]["content"]),
            (finish, &serde_json::Value::Null)
        );
        assert!(choice["message"]["refusal"].is_string());
    }
}

#[test]
fn a_stream_of_json_ends_where_prose_follows() {
    let body = br#"{"messages":[],"response_format":{"type":"json_object"}}"#;
    let request = openai::chat_completions::parse(body).unwrap().request;
    let event = |text: &str| {
        let delta = serde_json::json!({ "role": "assistant", "content": text, "phase": "answer", "status": "typing" });
        format!("data: {}\n\n", serde_json::json!({ "response_id": "r", "choices": [{ "delta": delta }] }))
    };
    for (delivery, rest, is_over) in [
        (ChatDelivery::stream(false), "\n```\n", false),
        (ChatDelivery::stream(false), "\n```\nThis object says what you asked for.", true),
        (ChatDelivery::WHOLE, "\nThis object says what you asked for.", false),
    ] {
        let meta = AnswerMeta { id: String::new(), created: UnixSeconds::new(1), model: String::new() };
        let format = AnswerFormat::new(&request).unwrap().unwrap();
        let encoder = Encoder::new(meta, Delivery::ChatCompletions(delivery));
        let mut translator = Translator::new(Decoder::qwen(), encoder, vec![], None).with_format(format, true);
        let stream = [
            "data: {\"response.created\":{\"chat_id\":\"c\",\"response_id\":\"r\"}}\n\n".to_owned(),
            event("{\"a\": 1}"),
            event(rest),
        ];
        let progress = translator.feed(stream.concat().as_bytes()).unwrap();
        assert_eq!(progress == Progress::Complete, is_over, "{rest}");
        if is_over {
            assert_eq!(translator.answer_to_record().map(|answer| answer.text), Some("{\"a\": 1}"));
            assert!(translator.is_cut());
        }
    }
}
