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
        openai::{self, chat_completions::ChatDelivery},
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
    fn client_gets<'a>(&self, delivery: ChatDelivery, pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
        let meta = AnswerMeta { id: "chatcmpl-1".to_owned(), created: UnixSeconds::new(1), model: "m".to_owned() };
        let delivery = ChatDelivery { legacy_functions: self.legacy_functions, ..delivery };
        let encoder = Encoder::new(meta, Delivery::ChatCompletions(delivery));
        let llm::Request { stop, max_tokens, .. } = &self.request;
        let translator = Translator::new(Decoder::qwen(), encoder, stop.clone(), *max_tokens);
        let rules = ToolRules::new(&self.request, &"i".repeat(22), shown_tool_name);
        let translator = match rules {
            Some(rules) => translator.with_tools(rules, false),
            None => translator,
        };
        match translator.run(pieces) {
            Ok(bytes) if delivery.is_stream => String::from_utf8(bytes.to_vec()).unwrap(),
            Ok(bytes) => format!("{}\n", String::from_utf8(bytes.to_vec()).unwrap()),
            Err(error) => {
                format!("status {}\n{}\n", openai::wire_form(error.kind()).status, openai::error_body(&error))
            }
        }
    }

    fn stream(&self, pieces: &[&[u8]]) -> String {
        self.client_gets(ChatDelivery::stream(true), pieces.iter().copied())
    }
}

/// The part of a chunk that is the same in each, left out for the reader of a snapshot.
const SAME: &str =
    r#""id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"#;

#[test]
fn recorded_streams_give_what_the_snapshots_say() {
    insta::glob!("../../tests/streams", "*.sse", |path| {
        let recorded = Recorded::read(&std::fs::read(path).unwrap());
        let stream = recorded.stream(&[&recorded.body]).replace(SAME, "… ");
        let whole = recorded.client_gets(ChatDelivery::WHOLE, [&recorded.body[..]]);
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path("../../tests/streams");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!("client", format!("{stream}----\n{whole}")));
    });
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
    }
}

#[test]
fn an_answer_without_end_is_cut() {
    for delivery in [ChatDelivery::WHOLE, ChatDelivery::stream(false)] {
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
        assert!(got.contains("\"finish_reason\":\"length\""));
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
