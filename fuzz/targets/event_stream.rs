//! The upstream's event stream, translated for a client. The result does not depend on the packet boundaries and is an event
//! stream of JSON. The upper half of the first byte says what the request asks for: tools, and a form of the text.
#![no_main]

mod pieces;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use qwen_edge::{
    api::{
        AnswerMeta, Delivery, Encoder,
        anthropic::MessagesDelivery,
        openai::{self, chat_completions::ChatDelivery},
    },
    chat::{AnswerFormat, ToolRules, Translator},
    llm::Request,
    unix_time::UnixSeconds,
    upstream::{Decoder, shown_tool_name},
};

const TOOLS: &str = r#""tools":[
    {"type":"function","function":{"name":"get_weather","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]},"strict":true}},
    {"type":"function","function":{"name":"web_search"}},
    {"type":"custom","custom":{"name":"patch"}}],"#;
const FORMAT: &str = r#""response_format":{"type":"json_schema","json_schema":{"name":"a","schema":{"type":"object","required":["a"]}}},"#;
/// What may be asked for, by the bits of the first byte: tools and a form, one of them to be called, one call at most and asked
/// once more.
const HAS_TOOLS: u8 = 0x10;
const HAS_FORMAT: u8 = 0x20;
const IS_REQUIRED: u8 = 0x40;
const IS_LAST: u8 = 0x80;

static REQUESTS: LazyLock<Vec<Request>> = LazyLock::new(|| {
    let request = |mode: u8| {
        let part = |bit: u8, text: &'static str| if mode & bit == 0 { "" } else { text };
        let tools = part(HAS_TOOLS, TOOLS);
        let choice = if tools.is_empty() { "" } else { part(IS_REQUIRED, r#""tool_choice":"required","#) };
        let (parallel, format) = (part(IS_LAST, r#""parallel_tool_calls":false,"#), part(HAS_FORMAT, FORMAT));
        let body = format!(r#"{{{tools}{format}{choice}{parallel}"messages":[]}}"#);
        openai::chat_completions::parse(body.as_bytes()).expect("a request").request
    };
    (0..16).map(|mode| request(mode << 4)).collect()
});

fn client_gets(mode: u8, delivery: Delivery, pieces: &[&[u8]]) -> String {
    let meta = AnswerMeta { id: "chatcmpl-1".to_owned(), created: UnixSeconds::new(1), model: "m".to_owned() };
    let encoder = Encoder::new(meta, delivery);
    let mut translator = Translator::new(Decoder::qwen(), encoder, vec!["STOP".to_owned()], Some(500));
    let request = &REQUESTS[usize::from(mode >> 4)];
    let may_repeat = mode & IS_LAST == 0;
    if let Some(rules) = ToolRules::new(request, &"i".repeat(22), shown_tool_name) {
        translator = translator.with_tools(rules, may_repeat);
    }
    if let Some(format) = AnswerFormat::new(request).expect("a form") {
        translator = translator.with_format(format, may_repeat);
    }
    match translator.run(pieces.iter().copied()) {
        Ok(bytes) => String::from_utf8(bytes.to_vec()).expect("text"),
        Err(error) => openai::error_body(&error),
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((cuts, data)) = pieces::parts(input) else { return };
    let mode = input[0];
    let chats = [ChatDelivery::WHOLE, ChatDelivery::stream(true)].map(Delivery::ChatCompletions);
    let messages = [true, false].map(|is_stream| Delivery::Messages(MessagesDelivery { is_stream, input_tokens: 1 }));
    for delivery in chats.into_iter().chain(messages) {
        let at_once = client_gets(mode, delivery.clone(), &[data]);
        assert_eq!(at_once, client_gets(mode, delivery.clone(), &pieces::pieces(cuts, data)));
        if at_once.starts_with('{') {
            let answer: serde_json::Value = serde_json::from_str(&at_once).expect("an object");
            for call in answer["choices"][0]["message"]["tool_calls"].as_array().into_iter().flatten() {
                assert_call(call);
            }
            continue;
        }
        for event in at_once.split_terminator("\n\n") {
            let event = match delivery {
                Delivery::Messages(_) => event.split_once('\n').expect("a name and data").1,
                _ => event,
            };
            let data = event.strip_prefix("data: ").expect("a data line");
            assert!(!data.contains(['\n', '\r']));
            if data == "[DONE]" {
                continue;
            }
            let event: serde_json::Value = serde_json::from_str(data).expect(data);
            for call in event["choices"][0]["delta"]["tool_calls"].as_array().into_iter().flatten() {
                assert_call(call);
            }
        }
    }
});

/// The arguments of a function, which do not come with its name in a stream, are a JSON object.
fn assert_call(call: &serde_json::Value) {
    if let Some(arguments) = call["function"]["arguments"].as_str().filter(|arguments| !arguments.is_empty()) {
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(arguments).is_ok();
        assert!(is_json && arguments.starts_with('{'), "{arguments}");
    }
}
