//! Benchmarks of single steps (`scripts/bench micro`). With `MICRO_STEP` and `MICRO_TIMES` it only runs one step that many
//! times, for `scripts/bench instructions`.

#![allow(
    missing_docs,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark"
)]

use std::{alloc::System, hint::black_box, sync::Arc, time::Duration};

use bytes::BytesMut;
use criterion::{Criterion, Throughput};
use qwen_edge::{
    api::{
        AnswerMeta, Delivery, Encoder,
        anthropic::MessagesDelivery,
        openai::{
            chat_completions::{self, ChatDelivery, ChunkWriter},
            responses::ResponsesDelivery,
        },
    },
    chat::{AnswerFormat, Attachments, Progress, ToolRules, Translator, TurnTools, history_key},
    config::{Fallback, FallbackAfter},
    llm::{Message, OutputFormat, Request, estimate_tokens},
    oss::{Credentials, Scope, Signable},
    secret::Secret,
    unix_time::UnixSeconds,
    upstream::{
        Decoder, Flow, PromptMessage, RenderedPrompt, SseReader, ToolAsk, ToolText, Upstream, answered_calls,
        compatible, render_prompt, shown_tool_name, speaker_names,
    },
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CREATED: &str = "data: {\"response.created\":{\"chat_id\":\"c\",\"parent_id\":\"u\",\"response_id\":\"r\",\"response_index\":\"0\"}}\n\n";
/// A delta event of the upstream with its usage.
const DELTA: &str = "data: {\"choices\": [{\"delta\": {\"role\": \"assistant\", \"content\": \"seven \", \"phase\": \"answer\", \"status\": \"typing\"}}], \"response_id\": \"r\", \"usage\": {\"input_tokens\": 1049, \"output_tokens\": 7, \"characters\": 0, \"total_tokens\": 1056, \"input_tokens_details\": {\"text_tokens\": 1049}, \"output_tokens_details\": {\"reasoning_tokens\": 0, \"text_tokens\": 7}, \"prompt_tokens_details\": {\"cached_tokens\": 0}}, \"timestamp\": 1790000006}\n\n";

fn meta() -> AnswerMeta {
    AnswerMeta {
        id: "chatcmpl-0123456789abcdef0123456789abcdef".to_owned(),
        created: UnixSeconds::new(1_790_000_000),
        model: "qwen3-max".to_owned(),
    }
}

const CHAT: Delivery = Delivery::ChatCompletions(ChatDelivery::stream(true));
const MESSAGES: Delivery = Delivery::Messages(MessagesDelivery { is_stream: true, input_tokens: 1000 });

fn responses() -> Delivery {
    Delivery::Responses(ResponsesDelivery { is_stream: true, namespaced: Arc::default(), echo: Arc::default() })
}

/// What an answer is held against.
#[derive(Clone, Copy, Debug)]
enum Asks {
    Nothing,
    /// The tools of an agent.
    Tools,
    /// One JSON object.
    Json,
}

/// A translator for an answer to this request.
fn translator_for(request: &Request, delivery: Delivery) -> Translator {
    let encoder = Encoder::new(meta(), delivery);
    let translator = Translator::new(Decoder::qwen(), encoder, Vec::new(), None);
    let translator = match ToolRules::new(request, &"s".repeat(22), shown_tool_name) {
        Some(rules) => translator.with_tools(rules, true),
        None => translator,
    };
    match AnswerFormat::new(request).unwrap() {
        Some(format) => translator.with_format(format, true),
        None => translator,
    }
}

/// A translator after its first delta.
fn begun(asks: Asks, delivery: Delivery) -> Translator {
    let mut request = parsed(&first_turn());
    match asks {
        Asks::Nothing => request.tools = Arc::default(),
        Asks::Tools => {}
        Asks::Json => {
            request.tools = Arc::default();
            let schema = r#"{"type":"object","properties":{"text":{"type":"string"}},"required":["text"]}"#;
            request.format =
                Some(OutputFormat { schema: Some(schema.into()), param: "response_format", ..OutputFormat::default() });
        }
    }
    let mut translator = translator_for(&request, delivery);
    let first = if matches!(asks, Asks::Json) { event(r#"{"text":""#) } else { DELTA.to_owned() };
    for piece in [CREATED, &first] {
        assert_eq!(translator.feed(piece.as_bytes()).unwrap(), Progress::More);
    }
    translator
}

/// A delta event with this text.
fn event(text: &str) -> String {
    DELTA.replace("\"seven \"", &serde_json::Value::from(text).to_string())
}

fn parsed(body: &str) -> Request {
    chat_completions::parse(body.as_bytes()).unwrap().request
}

/// The first turn of an agent, in the sizes of Claude Code's: 77 KB, of which 21 tools are 46.
fn first_turn() -> String {
    let prose = |bytes: usize| {
        let sentence =
            "Use this when the file's path is known, and \"quote\" what has blanks.\n- Never guess [a name].\n";
        sentence.chars().cycle().take(bytes).collect::<String>()
    };
    let tool = |at: usize| {
        let text = |bytes| serde_json::json!({"type": "string", "description": prose(bytes)});
        let parameters = serde_json::json!({
            "$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "additionalProperties": false, "required": ["path"],
            "properties": {"path": text(120), "pattern": text(150), "limit": {"type": "number", "description": prose(100)}},
        });
        serde_json::json!({"type": "function", "function": {
            "name": format!("Tool{at}"), "description": prose(1_450), "parameters": parameters,
        }})
    };
    serde_json::json!({
        "model": "qwen3-max", "stream": true,
        "messages": [
            {"role": "system", "content": prose(27_000)},
            {"role": "user", "content": [{"type": "text", "text": prose(1_500)}, {"type": "text", "text": "Fix the test."}]},
        ],
        "tools": (0..21).map(tool).collect::<Vec<_>>(),
    })
    .to_string()
}

/// From a request's bytes to the text for the site: what is done before it is asked, the database apart.
fn render(body: &str) -> RenderedPrompt {
    let request = parsed(body);
    black_box((TurnTools::new(&request, false), ToolRules::new(&request, "", shown_tool_name)));
    let Request { messages, tools, tool_choice, allowed_tools, format, .. } = &request;
    black_box(history_key("scope", messages, &Attachments::default()));
    let ask = ToolAsk {
        tools,
        choice: tool_choice,
        allowed: allowed_tools.as_deref(),
        search: false,
        format: format.as_ref(),
    };
    let (names, answers) = (speaker_names(messages), answered_calls(messages));
    let prompt_message = |(index, message): (usize, _)| PromptMessage {
        message,
        name: names[index].as_deref(),
        answers: answers[index].as_ref(),
        attached: Vec::new(),
    };
    render_prompt(messages.iter().enumerate().map(prompt_message), 0, &ToolText::new(&ask, false, false))
}

/// The events of an answer that is one call with arguments of 100 KB, some 30 bytes each.
fn call_events() -> Vec<String> {
    let text = "fn main() {\n    println!(\"{}\", 1);\n}\n".repeat(2_400);
    let call = serde_json::json!({"name": "Tool3", "arguments": {"path": "a.rs", "content": text}});
    let text = format!("[TOOL CALL]\n{call}\n[END TOOL CALL]");
    text.as_bytes().chunks(30).map(|piece| event(str::from_utf8(piece).unwrap())).collect()
}

/// Counts the allocations while deltas arrive one by one and each is flushed at once.
fn allocations(dialect: &str, asks: Asks, delivery: Delivery) {
    const DELTAS: usize = 10_000;
    let mut translator = begun(asks, delivery);
    drop(translator.take());
    let region = Region::new(ALLOCATOR);
    for _ in 0..DELTAS {
        translator.feed(DELTA.as_bytes()).unwrap();
        drop(translator.take());
    }
    let stats = region.change();
    println!(
        "allocations for {DELTAS} deltas, {dialect}, {asks:?} asked: {}, growths: {}",
        stats.allocations, stats.reallocations
    );
}

/// A function that runs a step once, with its input prepared.
fn step(name: &str) -> Box<dyn FnMut()> {
    match name {
        "translate" | "translate_messages" | "translate_responses" | "translate_tools" | "translate_json" => {
            let asks = match name {
                "translate_tools" => Asks::Tools,
                "translate_json" => Asks::Json,
                _ => Asks::Nothing,
            };
            let delivery = match name {
                "translate_messages" => MESSAGES,
                "translate_responses" => responses(),
                _ => CHAT,
            };
            let mut translator = begun(asks, delivery);
            Box::new(move || {
                translator.feed(black_box(DELTA.as_bytes())).unwrap();
                drop(black_box(translator.take()));
            })
        }
        "translate_second" => {
            let delta = "data: {\"id\":\"chatcmpl-0123456789\",\"object\":\"chat.completion.chunk\",\"created\":1790000000,\"model\":\"qwen-max\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"seven \"},\"logprobs\":null,\"finish_reason\":null}]}\n\n";
            let base_url = "https://api.example/v1".to_owned();
            let config = Fallback { base_url, api_key: None, models: [].into(), after: FallbackAfter::Always };
            let decoder =
                Upstream::Compatible(Arc::new(compatible::Client::new(&config, Duration::from_secs(1)))).decoder();
            let mut translator = Translator::new(decoder, Encoder::new(meta(), CHAT), Vec::new(), None);
            Box::new(move || {
                translator.feed(black_box(delta.as_bytes())).unwrap();
                drop(black_box(translator.take()));
            })
        }
        "read" => {
            let mut reader = SseReader::default();
            Box::new(move || {
                let flow = reader.feed(black_box(DELTA.as_bytes()), |said| {
                    black_box(&said);
                    Flow::Continue(())
                });
                assert!(flow.is_continue());
            })
        }
        "scan" => Box::new(|| {
            let json = black_box(DELTA).strip_prefix("data: ").unwrap();
            serde_json::from_str::<serde::de::IgnoredAny>(json.trim_end()).unwrap();
        }),
        "write" => {
            let (writer, mut out) = (ChunkWriter::new(meta().into(), true), BytesMut::with_capacity(4096));
            Box::new(move || {
                out.clear();
                writer.content(&mut out, black_box("seven "));
            })
        }
        "first_turn" => {
            let body = first_turn();
            assert!((76_000..78_500).contains(&body.len()), "{}", body.len());
            Box::new(move || drop(black_box(render(black_box(&body)))))
        }
        "first_turn_plain" => {
            let mut body: serde_json::Value = serde_json::from_str(&first_turn()).unwrap();
            let tools = body["tools"].take().to_string();
            body["messages"][0]["content"] = format!("{}{tools}", body["messages"][0]["content"]).into();
            let body = body.to_string();
            Box::new(move || drop(black_box(render(black_box(&body)))))
        }
        "call" | "call_plain" => {
            let mut request = parsed(&first_turn());
            if name == "call_plain" {
                request.tools = Arc::default();
            }
            let events = call_events();
            Box::new(move || {
                let mut translator = translator_for(&request, CHAT);
                for event in &events {
                    translator.feed(event.as_bytes()).unwrap();
                    drop(black_box(translator.take()));
                }
                translator.complete();
                drop(black_box(translator.take()));
            })
        }
        "digest" => {
            let messages = conversation(20);
            Box::new(move || {
                black_box(history_key("scope", black_box(&messages), &Attachments::default()));
            })
        }
        "estimate" => {
            let request = agents_turn();
            Box::new(move || {
                black_box(estimate_tokens(black_box(&request)));
            })
        }
        "sign" => {
            let credentials = Credentials {
                access_key_id: "STS.NTexample".to_owned(),
                access_key_secret: Secret::new("example-secret"),
            };
            Box::new(move || {
                let scope = Scope { region: "ap-southeast-1", time: "20261124T100000Z" };
                black_box(black_box(&PART).authorization(&credentials, scope));
            })
        }
        _ => panic!("unknown step {name}"),
    }
}

/// A conversation with turns of usual length.
fn conversation(turns: usize) -> Vec<Message> {
    let turn = |at| {
        let question = format!("Question {at}: {}", "how does one do this with that, and why? ".repeat(5));
        let answer = format!("Answer {at}: {}", "it is done in this way, because of those reasons. ".repeat(20));
        [
            serde_json::json!({"role": "user", "content": question}),
            serde_json::json!({"role": "assistant", "content": answer}),
        ]
    };
    let mut messages: Vec<_> = (0..turns).flat_map(turn).collect();
    messages.push(serde_json::json!({"role": "user", "content": "And now?"}));
    chat_completions::parse(serde_json::json!({"messages": messages}).to_string().as_bytes()).unwrap().request.messages
}

/// An agent's first turn of 77 KB: 9 KB of instructions, 21 tools of 3 KB each, and a question.
fn agents_turn() -> Request {
    let rule = "Before you edit a file, read it. When a command fails, look at its output and fix the cause. ";
    let parameter = |at: usize| {
        let about = "The absolute path to the file; it must not be relative, and it has to exist already.";
        (format!("file_path_{at}"), serde_json::json!({ "type": "string", "description": about }))
    };
    let tool = |at: usize| {
        let properties: serde_json::Map<_, _> = (0..9).map(parameter).collect();
        let parameters = serde_json::json!({ "type": "object", "properties": properties, "required": ["file_path_1"] });
        let about = "Executes a command in a shell session, and returns its output and exit code. ".repeat(25);
        let function =
            serde_json::json!({ "name": format!("tool_{at}"), "description": about, "parameters": parameters });
        serde_json::json!({ "type": "function", "function": function })
    };
    let body = serde_json::json!({
        "messages": [
            { "role": "system", "content": rule.repeat(95) },
            { "role": "user", "content": "Why does the test `routes_are_sorted` fail since yesterday?" },
        ],
        "tools": (0..21).map(tool).collect::<Vec<_>>(),
    })
    .to_string();
    assert!((75_000..79_000).contains(&body.len()), "{}", body.len());
    chat_completions::parse(body.as_bytes()).unwrap().request
}

const PART: Signable<'static> = Signable {
    method: "PUT",
    bucket: "qwen-webui-prod",
    key: "0123/4567_photo.jpg",
    query: &[("partNumber", Some("7")), ("uploadId", Some("0004B9894A22E5B1888A1E29F8236E2D"))],
    headers: &[
        ("content-type", "image/jpeg"),
        ("x-oss-content-sha256", "UNSIGNED-PAYLOAD"),
        ("x-oss-date", "20261124T100000Z"),
        ("x-oss-security-token", "CAIS0example"),
    ],
    additional_headers: &[],
};

fn main() {
    if let (Ok(name), Ok(times)) = (std::env::var("MICRO_STEP"), std::env::var("MICRO_TIMES")) {
        let mut step = step(&name);
        (0..times.parse().unwrap()).for_each(|_| step());
        return;
    }
    let mut criterion = Criterion::default().configure_from_args();
    for asks in [Asks::Nothing, Asks::Tools, Asks::Json] {
        allocations("chat completions", asks, CHAT);
    }
    allocations("messages", Asks::Nothing, MESSAGES);
    allocations("responses", Asks::Nothing, responses());
    let mut group = criterion.benchmark_group("step");
    group.throughput(Throughput::Elements(1));
    for (name, what) in [
        ("translate", "translate: a delta, bytes of the site to bytes of the client"),
        ("translate_messages", "translate: the same, to Messages"),
        ("translate_responses", "translate: the same, to Responses"),
        ("translate_second", "translate: a delta of the second upstream, to chat completions"),
        ("translate_tools", "translate, with tools: a delta, 21 tools declared and none called"),
        ("translate_json", "translate, as JSON: a delta within an object that is to fit a schema"),
        ("call", "call: an answer that is one call with 100 KB of arguments, 3,600 deltas"),
        ("call_plain", "text: the same answer without tools"),
        ("first_turn", "first turn: an agent's request of 77 KB with 21 tools, to the text for the site"),
        ("first_turn_plain", "first turn, plain: the same bytes as one system text"),
        ("scan", "scan: the same JSON, nothing taken from it"),
        ("read", "read: one event"),
        ("write", "write: one chunk"),
        ("digest", "digest: a history of 20 turns, 28 KiB"),
        ("estimate", "estimate: the tokens of an agent's first turn of 77 KB with 21 tools"),
        ("sign", "sign: one request"),
    ] {
        group.bench_function(what, |bench| bench.iter(step(name)));
    }
    group.finish();
    criterion.final_summary();
}
