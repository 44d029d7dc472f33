//! Reading requests, what a response repeats of them, and the events of an answer.

use std::{collections::HashMap, sync::Arc};

use bytes::BytesMut;
use serde_json::{Value, json};

use super::{Encoder, ResponsesDelivery, messages_of, messages_of_input, object, parse, read_draft, response_of_item};
use crate::{
    api::{AnswerMeta, Delivery, Parsed},
    error::{Error, ErrorKind},
    llm::{Answer, Call, CallEvent, Event, FinishReason, Message, Role, ToolKind, Usage},
    unix_time::UnixSeconds,
};

/// Messages in short: role, text, and the calls with their arguments; of results the id.
fn short(messages: &[Message]) -> Vec<String> {
    let each = |message: &Message| {
        let calls = message.tool_calls.iter().map(|call| {
            let function = call.function.as_ref().unwrap();
            format!(
                " {}({})={}",
                function.name.as_deref().unwrap_or("?"),
                function.arguments.as_deref().unwrap_or("?"),
                call.id.as_deref().unwrap_or("?")
            )
        });
        let id = message.tool_call_id.as_deref().map(|id| format!(" #{id}")).unwrap_or_default();
        format!("{:?}: {}{id}{}", message.role, message.content_text(), calls.collect::<String>())
    };
    messages.iter().map(each).collect()
}

#[test]
fn items_become_messages() {
    for (input, expected) in [
        (json!("hi"), vec!["User: hi"]),
        (json!({ "role": "user", "content": "hi" }), vec!["User: hi"]),
        (json!([{ "content": "hi" }]), vec!["User: hi"]),
        (
            json!([{ "type": "", "role": "developer", "content": "a" }, { "role": "system", "content": "b" }]),
            vec!["System: a", "System: b"],
        ),
        (
            json!([{ "role": "assistant", "content": [{ "type": "output_text", "text": "a" }, { "type": "refusal", "refusal": "b" }] }]),
            vec!["Assistant: a\nb"],
        ),
        (json!([{ "role": "user", "content": { "type": "input_text", "text": "a" } }]), vec!["User: a"]),
        // What one answer says and calls is one message.
        (
            json!([
                { "type": "reasoning", "summary": [], "content": null },
                { "role": "assistant", "content": "look" },
                { "type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}" },
                { "type": "function_call", "call_id": "c2", "namespace": "ns", "name": "g", "arguments": "{\"a\":1}" },
                { "type": "function_call_output", "call_id": "c2", "output": "two" },
                { "type": "function_call_output", "call_id": "c1", "output": [{ "type": "input_text", "text": "one" }] },
            ]),
            vec!["Assistant: look f({})=c1 ns__g({\"a\":1})=c2", "Tool: two #c2", "Tool: one #c1"],
        ),
        (
            json!([
                { "type": "custom_tool_call", "call_id": "c", "name": "p", "input": "a\"b" },
                { "type": "custom_tool_call_output", "call_id": "c", "output": "ok" },
            ]),
            vec!["Assistant:  p({\"input\":\"a\\\"b\"})=c", "Tool: ok #c"],
        ),
        // Items without a meaning may have any fields, also before their type.
        (
            json!([
                { "arguments": { "q": 1 }, "type": "tool_search_call" },
                { "type": "tool_search_call", "arguments": { "q": 1 } },
                { "output": [{ "stdout": "x" }], "type": "shell_call_output", "call_id": "c" },
                { "content": { "a": 1 }, "id": 5, "input": [], "name": {}, "type": "of_next_year" },
                { "type": "computer_call_output", "output": { "type": "computer_screenshot" } },
                { "role": "user", "content": "hi" },
            ]),
            vec!["User: hi"],
        ),
        (json!([{ "type": "item_reference", "id": "msg_x" }, { "id": "msg_y" }, {}]), vec![]),
    ] {
        let body = json!({ "input": input }).to_string();
        let Parsed { request, .. } = parse(body.as_bytes()).unwrap();
        assert_eq!(short(&request.messages), expected, "{input}");
        if input.is_array() {
            let items: Vec<String> = input.as_array().unwrap().iter().map(Value::to_string).collect();
            assert_eq!(short(&messages_of(items.iter().map(String::as_str))), expected, "as kept: {input}");
        }
        assert_eq!(short(&messages_of_input(&input.to_string())), expected, "as kept: {input}");
    }
    // What cannot be read is nothing.
    assert!(messages_of(["5", "{", "{\"role\":\"nobody\"}"]).is_empty() && messages_of_input("{").is_empty());
}

#[test]
fn a_wrong_field_is_told_by_its_path() {
    for (body, param) in [
        ("{}", "input"),
        (r#"{"input":null}"#, "input"),
        (r#"{"input":5}"#, "input"),
        (r#"{"input":["x"]}"#, "input[0]"),
        (r#"{"input":[{"role":"robot","content":"x"}]}"#, "input[0].role"),
        (r#"{"input":[{"content":"x","role":"robot"}]}"#, "input[0].role"),
        (r#"{"input":[{"role":"user","content":5}]}"#, "input[0].content"),
        (r#"{"input":[{"content":5,"role":"user"}]}"#, "input[0].content"),
        (
            r#"{"input":[{"type":"reasoning"},{"role":"user","content":[{"type":"input_text","text":1}]}]}"#,
            "input[1].content[0].text",
        ),
        (
            r#"{"input":[{"type":"reasoning"},{"content":[{"text":1,"type":"input_text"}],"role":"user"}]}"#,
            "input[1].content[0].text",
        ),
        (r#"{"input":[{"content":[{"text":"x"}]}]}"#, "input[0].content[0].type"),
        (r#"{"input":[{"type":"function_call","arguments":{}}]}"#, "input[0].arguments"),
        (r#"{"input":[{"arguments":{},"type":"function_call"}]}"#, "input[0].arguments"),
        (r#"{"input":[{"type":"custom_tool_call","input":[]}]}"#, "input[0].input"),
        (r#"{"input":[{"type":"function_call_output","output":5}]}"#, "input[0].output"),
        (r#"{"input":[{"type":"function_call_output","call_id":5}]}"#, "input[0].call_id"),
        (r#"{"input":[{"type":7}]}"#, "input[0].type"),
        (r#"{"input":{"role":"user","content":7}}"#, "input.content"),
        (r#"{"input":"x","background":true}"#, "background"),
        (r#"{"input":"x","conversation":5}"#, "conversation"),
        (r#"{"input":"x","text":{"format":{"type":"xml"}}}"#, "text.format.type"),
        (r#"{"input":"x","text":{"format":{"type":"json_schema"}}}"#, "text.format.schema"),
        (r#"{"input":"x","text":{"verbosity":1}}"#, "text.verbosity"),
        (
            r#"{"input":"x","tools":[{"type":"namespace","name":"n","tools":[{"type":"function","name":1}]}]}"#,
            "tools[0].tools[0].name",
        ),
    ] {
        let error = parse(body.as_bytes()).unwrap_err();
        assert_eq!((error.kind(), error.param()), (ErrorKind::InvalidRequest, Some(param)), "{body}: {error}");
    }
    let many = |count: usize| format!(r#"{{"input":[{}]}}"#, vec![r#"{"type":"reasoning"}"#; count].join(","));
    assert!(parse(many(10_000).as_bytes()).is_ok());
    assert_eq!(parse(many(10_001).as_bytes()).unwrap_err().param(), Some("input"));
}

#[test]
fn references_are_put_in_their_place() {
    let body = br#"{"input":[{"role":"user","content":"a"},{"type":"item_reference","id":"msg_1"},{"id":"fc_1"},{"type":"item_reference","id":"fc_2"},{"role":"user","content":"b"}]}"#;
    let draft = read_draft(body).unwrap();
    assert_eq!(draft.references().collect::<Vec<_>>(), ["msg_1", "fc_1", "fc_2"]);
    let found = [
        ("msg_1", r#"{"type":"message","role":"assistant","content":[{"type":"output_text","text":"said"}]}"#),
        ("fc_1", r#"{"type":"function_call","call_id":"c","name":"f","arguments":"{}"}"#),
    ];
    let found: HashMap<String, Box<str>> =
        found.into_iter().map(|(id, item)| (id.to_owned(), Box::from(item))).collect();
    let earlier = vec![Message::text(Role::User, "before".to_owned())];
    let Parsed { request, .. } = draft.finish(&found, earlier).unwrap();
    assert_eq!(short(&request.messages), ["User: before", "User: a", "Assistant: said f({})=c", "User: b"]);
    for (id, response) in [
        ("msg_abc00", Some("resp_abc")),
        ("rs_abc01", Some("resp_abc")),
        ("fc_0f23", Some("resp_0f")),
        ("ctc_abc00", Some("resp_abc")),
        ("fc_a-b00", None),
        ("fc_0", None),
        ("fc_\u{e9}\u{e9}", None),
        ("item_abc00", None),
        ("", None),
    ] {
        assert_eq!(response_of_item(id).as_deref(), response, "{id}");
    }
}

fn delivery(body: &str) -> ResponsesDelivery {
    match parse(body.as_bytes()).unwrap().delivery {
        Delivery::Responses(delivery) => delivery,
        Delivery::ChatCompletions(_) | Delivery::Messages(_) => panic!("another dialect"),
    }
}

fn echo(body: &str) -> Value {
    serde_json::from_str(&format!("{{\"x\":0{}}}", delivery(body).echo.fields())).unwrap()
}

#[test]
fn a_response_repeats_its_request() {
    let bare = echo(r#"{"input":"x"}"#);
    for (name, value) in [
        ("instructions", json!(null)),
        ("tools", json!([])),
        ("tool_choice", json!("auto")),
        ("text", json!({ "format": { "type": "text" } })),
        ("metadata", json!({})),
        ("temperature", json!(1.0)),
        ("parallel_tool_calls", json!(true)),
        ("previous_response_id", json!(null)),
        ("store", json!(true)),
        ("background", json!(false)),
    ] {
        assert_eq!(bare[name], value, "{name}");
    }
    let nulls = r#"{"input":"x","instructions":null,"tools":null,"metadata":null,"temperature":null,"store":null,"parallel_tool_calls":null,"previous_response_id":null,"background":null}"#;
    assert_eq!(echo(nulls), bare);
    let said = echo(
        "{\"input\":\"x\",\"metadata\":\n{\"a\"\r\n:\t\"\u{2028}\"},\"store\":false,\"parallel_tool_calls\":false,\"previous_response_id\":\"a\\\"b\",\"temperature\":0.25}",
    );
    assert_eq!(
        (&said["metadata"]["a"], &said["store"], &said["temperature"]),
        (&json!("\u{2028}"), &json!(false), &json!(0.25))
    );
    assert_eq!((&said["parallel_tool_calls"], &said["previous_response_id"]), (&json!(false), &json!("a\"b")));
    let lines = delivery("{\"input\":\"x\",\"metadata\":\n{\"a\u{85}\"\r:\n\"\u{2029}\"}}");
    assert!(!lines.echo.fields().contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']), "{}", lines.echo.fields());
    // What is long is left out, of the fields or of the body.
    for body in [
        json!({ "input": "x", "instructions": "i".repeat(300_000), "temperature": 0.5 }),
        json!({ "input": "x".repeat(1 << 20), "temperature": 0.5 }),
    ] {
        assert_eq!(echo(&body.to_string()), bare);
    }
}

const REASONING: &str = "Hm.";

fn encoder(is_stream: bool) -> Encoder {
    let meta = AnswerMeta { id: "resp_1".to_owned(), created: UnixSeconds::new(1), model: "m".to_owned() };
    Encoder::new(meta, ResponsesDelivery { is_stream, namespaced: Arc::default(), echo: Arc::default() })
}

fn answer<'a>(text: &'a str, calls: &'a [Call], finish: FinishReason, refusal: Option<&'a str>) -> Answer<'a> {
    Answer {
        reasoning: REASONING,
        text,
        calls,
        finish,
        refusal,
        pictures: &[],
        citations: &[],
        stop_text: None,
        usage: Usage::default(),
    }
}

/// The data of the events that were written.
fn events(out: &BytesMut) -> Vec<Value> {
    let text = std::str::from_utf8(out).unwrap();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let events: Vec<Value> = data.map(|data| serde_json::from_str(data).unwrap()).collect();
    assert!(events.iter().enumerate().all(|(number, event)| event["sequence_number"] == number), "{text}");
    events
}

#[test]
fn what_is_kept_is_what_is_streamed() {
    let call =
        Call { id: "call_1".to_owned(), name: "f".to_owned(), arguments: "{}".to_owned(), kind: ToolKind::Function };
    let calls = [call];
    let event = CallEvent { index: 0, id: "call_1", name: "f", arguments: "{}", kind: ToolKind::Function };
    let (think, text) = (Event::Reasoning(REASONING), Event::Text("a"));
    for (said, answer, items, status) in [
        (vec![think, text], answer("a", &[], FinishReason::Stop, None), "reasoning message", "completed"),
        (vec![text, think, text], answer("aa", &[], FinishReason::Stop, None), "message reasoning", "completed"),
        (
            vec![text, think, Event::ToolCall(event)],
            answer("a", &calls, FinishReason::ToolCalls, None),
            "message reasoning function_call",
            "completed",
        ),
        (
            vec![think, Event::ToolCall(event)],
            answer("", &calls, FinishReason::ToolCalls, None),
            "reasoning function_call",
            "",
        ),
        (vec![text], answer("a", &[], FinishReason::Length, None), "message", "incomplete"),
        (vec![text], answer("a", &[], FinishReason::ContentFilter, Some("no")), "message", "incomplete"),
        (vec![], answer("", &[], FinishReason::ContentFilter, Some("no")), "message", "incomplete"),
    ] {
        let (mut encoder, mut out) = (encoder(true), BytesMut::new());
        encoder.begin(&mut out);
        encoder.keep_alive(&mut out);
        said.iter().for_each(|event| encoder.event(*event, &mut out));
        let kept: Value = serde_json::from_str(&encoder.kept(&answer)).unwrap();
        encoder.keep_alive(&mut out);
        encoder.finish(&answer, &mut out);
        let events = events(&out);
        let response = &events.last().unwrap()["response"];
        assert_eq!(response, &kept);
        let output = response["output"].as_array().unwrap();
        let kinds: Vec<&str> = output.iter().map(|item| item["type"].as_str().unwrap()).collect();
        assert_eq!(kinds.join(" "), items);
        // One item after the other, each with an id of its own.
        let steps = events.iter().filter(|event| event["type"].as_str().unwrap().contains("output_item"));
        let steps: Vec<(u64, bool)> = steps
            .map(|event| (event["output_index"].as_u64().unwrap(), event["type"] == "response.output_item.done"))
            .collect();
        assert!(
            steps.chunks(2).enumerate().all(|(index, step)| step == [(index as u64, false), (index as u64, true)]),
            "{steps:?}"
        );
        let message = output.iter().find(|item| item["type"] == "message");
        assert_eq!(message.map_or("", |item| item["status"].as_str().unwrap()), status);
        let is_empty = |part: &Value| part["text"] == "";
        assert!(message.is_none_or(|item| !item["content"].as_array().unwrap().iter().any(is_empty)), "{response}");
    }
}

#[test]
fn an_error_is_the_last_event() {
    for begun in [false, true] {
        let (mut encoder, mut out) = (encoder(true), BytesMut::new());
        if begun {
            encoder.begin(&mut out);
            encoder.event(Event::Reasoning("Hm."), &mut out);
            encoder.event(Event::Text("a"), &mut out);
        }
        encoder.fail(&Error::new(ErrorKind::RateLimited, "Try again in 3s."), &mut out);
        let events = events(&out);
        assert_eq!(events[0]["type"], "response.created");
        let last = events.last().unwrap();
        assert_eq!((&last["type"], &last["response"]["status"]), (&json!("response.failed"), &json!("failed")));
        let error = json!({ "code": "rate_limit_exceeded", "message": "Try again in 3s." });
        assert_eq!(last["response"]["error"], error);
        // The thinking was complete, the text was not.
        assert_eq!(last["response"]["output"].as_array().unwrap().len(), usize::from(begun));
    }
}

#[test]
fn ids_of_items_lead_to_their_response() {
    let ids = object::Ids::of("resp_0a1b");
    for id in [ids.reasoning(1), ids.message(), ids.call(24, ToolKind::Function), ids.call(0, ToolKind::Custom)] {
        assert_eq!(response_of_item(&id).as_deref(), Some("resp_0a1b"), "{id}");
    }
}
