//! The recorded streams in `tests/streams`, run through the translator: what the client gets of each is a snapshot, and any
//! split gives the same.

use proptest::prelude::*;
use serde::Deserialize;

use super::{
    answer_format::AnswerFormat,
    tool_rules::ToolRules,
    translator::{Progress, Translator},
};
use crate::{
    api::{
        AnswerMeta, Delivery, Encoder, Parsed,
        anthropic::{self, MessagesDelivery},
        openai::{self, chat_completions::ChatDelivery},
    },
    error::Error,
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
    fn client_gets<'a>(&self, delivery: Delivery, pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
        let id = format!("{}1", delivery.id_prefix());
        let meta = AnswerMeta { id, created: UnixSeconds::new(1), model: "m".to_owned() };
        let refusal: fn(&Error) -> (u16, String) = match delivery {
            Delivery::ChatCompletions(_) | Delivery::Responses(_) => {
                |error| (openai::wire_form(error.kind()).status, openai::error_body(error))
            }
            Delivery::Messages(_) => {
                |error| (anthropic::wire_form(error.kind()).status, anthropic::error_body(error, None))
            }
        };
        let is_stream = delivery.is_stream();
        let delivery = match delivery {
            Delivery::ChatCompletions(delivery) => {
                Delivery::ChatCompletions(ChatDelivery { legacy_functions: self.legacy_functions, ..delivery })
            }
            delivery => delivery,
        };
        let encoder = Encoder::new(meta, delivery);
        let llm::Request { stop, max_tokens, .. } = &self.request;
        let translator = Translator::new(Decoder::qwen(), encoder, stop.clone(), *max_tokens);
        let rules = ToolRules::new(&self.request, &"i".repeat(22), shown_tool_name);
        let translator = match rules {
            Some(rules) => translator.with_tools(rules, false),
            None => translator,
        };
        match translator.run(pieces) {
            Ok(bytes) if is_stream => String::from_utf8(bytes.to_vec()).unwrap(),
            Ok(bytes) => format!("{}\n", String::from_utf8(bytes.to_vec()).unwrap()),
            Err(error) => {
                let (status, body) = refusal(&error);
                format!("status {status}\n{body}\n")
            }
        }
    }

    fn stream(&self, pieces: &[&[u8]]) -> String {
        self.client_gets(chat(ChatDelivery::stream(true)), pieces.iter().copied())
    }

    fn messages(&self, pieces: &[&[u8]]) -> String {
        self.client_gets(messages(true), pieces.iter().copied())
    }
}

const fn chat(delivery: ChatDelivery) -> Delivery {
    Delivery::ChatCompletions(delivery)
}

const fn messages(is_stream: bool) -> Delivery {
    Delivery::Messages(MessagesDelivery { is_stream, input_tokens: 9 })
}

/// The part of a chunk that is the same in each, left out for the reader of a snapshot.
const SAME: &str =
    r#""id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"#;

#[test]
fn recorded_streams_give_what_the_snapshots_say() {
    insta::glob!("../../tests/streams", "*.sse", |path| {
        let recorded = Recorded::read(&std::fs::read(path).unwrap());
        let stream = recorded.stream(&[&recorded.body]).replace(SAME, "… ");
        let whole = recorded.client_gets(chat(ChatDelivery::WHOLE), [&recorded.body[..]]);
        let events = recorded.messages(&[&recorded.body]);
        assert_message_events(&events);
        let message = recorded.client_gets(messages(false), [&recorded.body[..]]);
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path("../../tests/streams");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| {
            insta::assert_snapshot!("client", format!("{stream}----\n{whole}"));
            insta::assert_snapshot!("messages", format!("{}----\n{message}", without_names(&events)));
        });
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
        assert_eq!(recorded.stream(&bytes), recorded.stream(&[&recorded.body]), "{name}");
        assert_eq!(recorded.messages(&bytes), recorded.messages(&[&recorded.body]), "{name}");
    }
}

#[test]
fn a_stream_cut_at_any_byte_ends_with_an_error_or_complete() {
    for (name, recorded) in all() {
        let complete = recorded.stream(&[&recorded.body]);
        // Each place of the short ones, some of the long ones.
        let step = recorded.body.len() / 4000 + 1;
        for end in (0..recorded.body.len()).step_by(step) {
            let cut = recorded.stream(&[&recorded.body[..end]]);
            if end % 4 == 0 {
                assert_message_events(&recorded.messages(&[&recorded.body[..end]]));
            }
            let fails = cut.contains("\n\ndata: {\"error\":{") || cut.starts_with("status ");
            assert_ne!(fails, cut.ends_with("data: [DONE]\n\n"), "{name} at {end}: {cut}");
            assert!(
                fails || cut == complete || recorded.request.stop.is_empty() || complete.contains("length"),
                "{name} at {end}"
            );
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
        prop_assert_eq!(recorded.stream(&pieces), recorded.stream(&[body]), "{}", name);
        prop_assert_eq!(recorded.messages(&pieces), recorded.messages(&[body]), "{}", name);
    }
}

#[test]
fn an_answer_without_end_is_cut() {
    let chats = [chat(ChatDelivery::WHOLE), chat(ChatDelivery::stream(false))];
    for delivery in chats.into_iter().chain([messages(false), messages(true)]) {
        let piece = "x".repeat(1 << 20);
        let event = |phase: &str| {
            format!(
                "data: {{\"choices\":[{{\"delta\":{{\"content\":\"{piece}\",\"phase\":\"{phase}\",\"status\":\"typing\"}}}}]}}\n\n"
            )
        };
        let (thought, text) = (event("think"), event("answer"));
        let recorded = Recorded { request: llm::Request::default(), legacy_functions: false, body: Vec::new() };
        let pieces = std::iter::repeat_n(thought.as_bytes(), 8).chain(std::iter::repeat(text.as_bytes()));
        let got = recorded.client_gets(delivery, pieces.take(1000));
        assert!(got.contains("\"finish_reason\":\"length\"") || got.contains("\"stop_reason\":\"max_tokens\""));
        assert!(got.len() < 20 << 20);
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
