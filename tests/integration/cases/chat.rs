use std::sync::Arc;

use qwen_edge::{
    api::{
        AnswerMeta, Delivery, Encoder, Parsed,
        openai::{self, chat_completions::ChatDelivery},
    },
    chat::{ToolRules, Translator},
    media::LinkMaker,
    unix_time::UnixSeconds,
    upstream::{Decoder, shown_tool_name},
};
use serde_json::{Value, json};

use crate::{
    fake_qwen::{Fixture, Outcome},
    http::{Raw, chat, concat_deltas, events, eventually, with},
    server::{Case, Server, unique},
};

pub async fn a_non_streamed_answer_has_the_openai_shape(case: Arc<Case>) {
    let server = case.server().await;
    let reply = server
        .chat(&with(chat("[[fake say=Hello%20you think=Hm%20hm]]"), json!({"model": "qwen3", "stream": false})))
        .await;
    assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, Some("application/json")));
    let answer = reply.json();
    assert_eq!((answer["object"].as_str(), answer["model"].as_str()), (Some("chat.completion"), Some("qwen3")));
    assert!(
        answer["id"].as_str().unwrap().starts_with("chatcmpl-") && answer["created"].as_u64().unwrap() > 1_700_000_000
    );
    let choice = &answer["choices"][0];
    assert_eq!((choice["index"].as_u64(), choice["finish_reason"].as_str()), (Some(0), Some("stop")));
    assert_eq!(
        (choice["message"]["role"].as_str(), choice["message"]["content"].as_str()),
        (Some("assistant"), Some("Hello you"))
    );
    let thinking = choice["message"]["reasoning_content"].as_str().unwrap();
    assert!(thinking.contains("Hm ") && thinking.ends_with("hm"), "{thinking}");
    let usage = &answer["usage"];
    assert!(usage["prompt_tokens"].as_u64().unwrap() > 0 && usage["completion_tokens"].as_u64().unwrap() > 0);
    assert_eq!(
        usage["total_tokens"].as_u64(),
        Some(usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap())
    );
}

pub async fn a_stream_sends_reasoning_before_content(case: Arc<Case>) {
    let server = case.server().await;
    for shape in ["default", "old"] {
        let prompt = format!("[[fake stream={shape} think=One%20two%20three say=Four%20five%20six]]");
        let reply = server.chat(&with(chat(&prompt), json!({"stream": true}))).await;
        assert_eq!(reply.header("cache-control"), Some("no-store, no-transform"));
        let events = reply.events();
        assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
        let chunks = reply.chunks();
        let id = chunks[0]["id"].as_str().unwrap();
        assert!(id.starts_with("chatcmpl-"));
        assert!(chunks.iter().all(|chunk| chunk["id"] == id && chunk["object"] == "chat.completion.chunk"));
        assert!(chunks.iter().all(|chunk| chunk["model"] == "qwen3-max" && chunk.get("usage").is_none()));
        assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
        let first_position = |field: &str| {
            chunks
                .iter()
                .position(|chunk| chunk["choices"][0]["delta"][field].as_str().is_some_and(|text| !text.is_empty()))
        };
        let last_thought =
            chunks.iter().rposition(|chunk| chunk["choices"][0]["delta"]["reasoning_content"].is_string());
        assert!(last_thought.unwrap() < first_position("content").unwrap());
        let thoughts =
            chunks.iter().filter(|chunk| chunk["choices"][0]["delta"]["reasoning_content"].is_string()).count();
        assert!(thoughts >= 3, "only {thoughts} reasoning deltas");
        let thinking = concat_deltas(&chunks, "reasoning_content").split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(thinking.contains("One") && thinking.contains("three"), "{thinking}");
        assert_eq!(concat_deltas(&chunks, "content"), "Four five six");
        let reasons: Vec<&Value> = chunks
            .iter()
            .map(|chunk| &chunk["choices"][0]["finish_reason"])
            .filter(|reason| !reason.is_null())
            .collect();
        assert_eq!(reasons, ["stop"]);
        assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "stop");
    }
}

pub async fn usage_is_sent_when_requested(case: Arc<Case>) {
    let server = case.server().await;
    let request = with(chat("hi"), json!({"stream": true, "stream_options": {"include_usage": true}}));
    let chunks = server.chat(&request).await.chunks();
    let (last, others) = chunks.split_last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert!(last["usage"]["completion_tokens"].as_u64().unwrap() > 0);
    assert!(others.iter().all(|chunk| chunk["usage"].is_null() && chunk["choices"][0].is_object()));
}

/// The translation of a fixture by the library; the snapshots beside the fixtures pin it.
fn translated(fixture: &Fixture) -> Result<Vec<Value>, u16> {
    let request = with(chat("x"), fixture.request.clone());
    let Parsed { request, delivery } = openai::chat_completions::parse(request.to_string().as_bytes()).unwrap();
    let meta = AnswerMeta { id: String::new(), created: UnixSeconds::new(0), model: String::new() };
    let Delivery::ChatCompletions(delivery) = delivery else { panic!("another dialect") };
    let delivery = ChatDelivery { is_stream: true, include_usage: true, ..delivery };
    let encoder = Encoder::new(meta, Delivery::ChatCompletions(delivery));
    let rules = ToolRules::new(&request, &"i".repeat(22), shown_tool_name);
    let links = LinkMaker::new("http://server".into(), [0; 16]);
    let translator =
        Translator::new(Decoder::qwen(), encoder, request.stop, request.max_tokens).with_links(Some(links));
    let translator = match rules {
        Some(rules) => translator.with_tools(rules, false),
        None => translator,
    };
    let bytes = translator.run([&fixture.body[..]]).map_err(|error| openai::wire_form(error.kind()).status)?;
    Ok(without_identity(&events(std::str::from_utf8(&bytes).unwrap())))
}

/// Replaces each upstream id and placeholder by a dash, and what links to pictures begin and end with.
fn without_ids(text: &str) -> String {
    const CALL: &str = "\"call_";
    const LINK: &str = "/v1/media/";
    let text = text.replace("{response_id}", "-");
    let mut links = text.split(LINK);
    let mut text = links.next().unwrap().to_owned();
    for rest in links {
        text.truncate(text.rfind("http://").unwrap());
        text.push_str(LINK);
        text.push_str(&rest[22..]);
    }
    let mut parts = text.split(CALL);
    let mut without_calls = parts.next().unwrap().to_owned();
    for part in parts {
        without_calls.push_str(CALL);
        // The last two characters count the calls.
        without_calls.push_str(&part[22..]);
    }
    let words = without_calls.split_inclusive(|character: char| !character.is_ascii_hexdigit() && character != '-');
    words
        .map(|word| {
            if word.len() == 37 && word.matches('-').count() == 4 {
                format!("-{}", &word[36..])
            } else {
                word.to_owned()
            }
        })
        .collect()
}

fn without_identity(events: &[String]) -> Vec<Value> {
    events
        .iter()
        .map(|data| {
            let data = without_ids(data);
            let mut chunk: Value = serde_json::from_str(&data).unwrap_or_else(|_| json!(data));
            if let Some(chunk) = chunk.as_object_mut() {
                for name in ["id", "created", "model"] {
                    chunk.remove(name);
                }
            }
            chunk
        })
        .collect()
}

async fn check_fixture(server: &Server, fixture: &Fixture, extra: &str) {
    let prompt = format!("[[fake stream={} {extra}]]", fixture.name);
    let request = with(chat(&prompt), json!({"stream": true, "stream_options": {"include_usage": true}}));
    let reply = server.chat(&with(request, fixture.request.clone())).await;
    match translated(fixture) {
        Err(status) => assert_eq!(reply.status.as_u16(), status, "{}", fixture.name),
        Ok(expected) => assert_eq!(without_identity(&reply.events()), expected, "{}", fixture.name),
    }
}

pub async fn every_recorded_stream_matches_the_library_translation(case: Arc<Case>) {
    let server = case.server().await;
    let fixtures = Fixture::all();
    assert!(fixtures.len() > 30);
    for fixture in fixtures {
        check_fixture(&server, &fixture, "").await;
    }
}

pub async fn packet_boundaries_do_not_change_the_stream(case: Arc<Case>) {
    let server = case.start(&[("COALESCE_MS", "0")]).await;
    for name in
        ["unicode_raw", "crlf", "thinking_summary_elements", "error_inside", "stop_straddling", "multi_response"]
    {
        let fixture = Fixture::load(name).unwrap();
        for split in ["split=1", "split=7", "split=100", "split=0", "group=3"] {
            check_fixture(&server, &fixture, split).await;
        }
    }
}

/// The client has received a delta while the upstream still withholds the rest.
pub async fn deltas_are_forwarded_as_they_arrive(case: Arc<Case>) {
    let server = case.server().await;
    for stall in [3, 5, 9] {
        let marker = unique("stall");
        let mut client = Raw::connect(server.http.address()).await;
        let prompt = format!("[[fake stream=count n=20 stall={stall} id={marker}]]");
        client.chat(&with(chat(&prompt), json!({"stream": true, "enable_thinking": false}))).await;
        // The stalled stream has sent `response.created` and then one event per delta.
        client.read_until(&format!(r#""content":"{} ""#, stall - 1)).await;
        assert_eq!(case.fake.requests_containing(&marker)[0].outcome(), Outcome::Answered);
        client.reset();
    }
}

pub async fn deltas_are_coalesced_when_configured(case: Arc<Case>) {
    // The first delta does not wait for the second.
    let server = case.start(&[("COALESCE_MS", "10000")]).await;
    let mut client = Raw::connect(server.http.address()).await;
    client
        .chat(&with(chat("[[fake stream=count n=5 delay_ms=2000]]"), json!({"stream": true, "enable_thinking": false})))
        .await;
    let text = client.read_until(r#""content":"1 ""#).await;
    assert!(!text.contains(r#""content":"2 ""#), "{text}");
    client.reset();
    // The number of writes tells whether the deltas after it were coalesced.
    let mut writes = Vec::new();
    for coalesce_ms in ["0", "10000"] {
        let server = case.start(&[("COALESCE_MS", coalesce_ms)]).await;
        let request =
            with(chat("[[fake stream=count n=40 delay_ms=20]]"), json!({"stream": true, "enable_thinking": false}));
        let mut client = Raw::connect(server.http.address()).await;
        client.chat(&request).await;
        let response = client.read_until("[DONE]\n\n\r\n0\r\n\r\n").await;
        assert_eq!(response.matches(r#""content":""#).count(), 41, "the deltas and the empty one of the role");
        writes.push(http_chunks(&response));
    }
    assert!(writes[0] >= 20, "without coalescing each delta is a write: {writes:?}");
    assert!(writes[1] <= 8, "with coalescing all later deltas are one write: {writes:?}");
}

/// The number of chunks of a response with `Transfer-Encoding: chunked`.
fn http_chunks(response: &str) -> usize {
    let (head, mut body) = response.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("transfer-encoding: chunked") || head.contains("Transfer-Encoding: chunked"), "{head}");
    let mut count = 0;
    loop {
        let (size, rest) = body.split_once("\r\n").unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return count;
        }
        count += 1;
        body = &rest[size + 2..];
    }
}

/// After a pause everything that has arrived is read at once. Reading a part after each pause would exceed the time limit.
pub async fn coalescing_does_not_delay_a_fast_upstream(case: Arc<Case>) {
    let server = case.start(&[("COALESCE_MS", "2000")]).await;
    let request =
        with(chat("[[fake stream=count n=5000 delay_ms=0]]"), json!({"stream": true, "enable_thinking": false}));
    let reply = server.chat(&request).await;
    assert_eq!(concat_deltas(&reply.chunks(), "content").split_whitespace().count(), 5000);
}

pub async fn a_silent_stream_sends_heartbeats(case: Arc<Case>) {
    let server = case.start(&[("HEARTBEAT_SECONDS", "1"), ("FIRST_BYTE_SECONDS", "1")]).await;
    for silence in ["gap_ms=4000", "first_ms=4000", "gap_ms=4000 keepalive_ms=300"] {
        let prompt = format!("[[fake {silence} say=late]]");
        let reply = server.chat(&with(chat(&prompt), json!({"stream": true}))).await;
        let heartbeats = reply.text().matches(": keep-alive\n\n").count();
        assert!(heartbeats >= 1, "{silence}: {heartbeats}");
        assert_eq!(concat_deltas(&reply.chunks(), "content"), "late");
        assert_eq!(reply.events().last().map(String::as_str), Some("[DONE]"));
    }
}

pub async fn stop_and_token_limit_end_the_answer_and_cancel_upstream(case: Arc<Case>) {
    let server = case.server().await;
    for (fields, text, reason) in [
        (json!({"stop": "4 "}), "1 2 3 ", "stop"),
        (json!({"stop": ["9", "3 4"]}), "1 2 ", "stop"),
        (json!({"max_tokens": 3}), "1 2 3 ", "length"),
        (json!({"max_completion_tokens": 2, "max_tokens": 9}), "1 2 ", "length"),
    ] {
        for stream in [true, false] {
            let marker = unique("cut");
            let request = with(chat(&format!("[[fake stream=count n=500 delay_ms=30 id={marker}]]")), fields.clone());
            let reply = server.chat(&with(request, json!({"stream": stream, "enable_thinking": false}))).await;
            let (content, finish) = if stream {
                let chunks = reply.chunks();
                (concat_deltas(&chunks, "content"), chunks.last().unwrap()["choices"][0]["finish_reason"].clone())
            } else {
                let choice = &reply.json()["choices"][0];
                (choice["message"]["content"].as_str().unwrap().to_owned(), choice["finish_reason"].clone())
            };
            assert_eq!((content.as_str(), finish.as_str()), (text, Some(reason)), "{fields} {stream}");
            wait_until_closed_by_us(&case, &marker, 1).await;
        }
    }
}

/// Waits until the server under test has closed `count` upstream requests with this marker.
pub async fn wait_until_closed_by_us(case: &Case, marker: &str, count: usize) {
    let closed = || {
        case.fake
            .requests_containing(marker)
            .iter()
            .filter(|request| request.outcome() == Outcome::ClosedByPeer)
            .count()
    };
    eventually("the upstream requests are closed", || async { closed() == count }).await;
}

pub async fn the_default_model_is_used(case: Arc<Case>) {
    let server = case.start(&[("DEFAULT_MODEL", "qwen3-coder")]).await;
    for model in [json!(null), json!("")] {
        let marker = unique("default");
        let reply = server.chat(&with(chat(&marker), json!({ "model": model }))).await;
        assert_eq!(reply.json()["model"], "qwen3-coder");
        assert_eq!(case.fake.requests_containing(&marker)[0].json()["model"], "qwen3-coder-plus");
    }
}

pub async fn parallel_streams_do_not_mix(case: Arc<Case>) {
    let server = case.server().await;
    let tasks: Vec<_> = (0..30)
        .map(|number| {
            let server = Arc::clone(&server);
            tokio::spawn(async move {
                let prompt = format!("[[fake say={0}%20{0}%20{0} delay_ms=5]]", format!("w{number}"));
                let reply = server.chat(&with(chat(&prompt), json!({"stream": true}))).await;
                assert_eq!(concat_deltas(&reply.chunks(), "content"), format!("w{number} w{number} w{number}"));
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}
