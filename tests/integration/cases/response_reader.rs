//! What a client of `/v1/responses` reads. Reading checks the order, the numbers and the fields of the events.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::{
    http::{EVENT_STREAM, Reply, with},
    server::Server,
};

/// The fields that each response has, whatever became of it.
const FIELDS: &[&str] = &[
    "id",
    "object",
    "created_at",
    "completed_at",
    "status",
    "incomplete_details",
    "model",
    "previous_response_id",
    "instructions",
    "output",
    "error",
    "tools",
    "tool_choice",
    "truncation",
    "parallel_tool_calls",
    "text",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "top_logprobs",
    "temperature",
    "reasoning",
    "user",
    "usage",
    "max_output_tokens",
    "max_tool_calls",
    "store",
    "background",
    "service_tier",
    "metadata",
    "safety_identifier",
    "prompt_cache_key",
];

/// A response, and how it came.
#[derive(Debug)]
pub struct Response {
    /// The whole response, or what the last event of a stream has.
    pub body: Value,
    /// The kinds of a stream's events without their `response.`; equal ones in a row once, heartbeats left out.
    pub kinds: Vec<String>,
    /// How many heartbeats came.
    pub heartbeats: usize,
}

impl Response {
    #[track_caller]
    pub fn read(reply: &Reply) -> Self {
        assert_eq!(reply.status, 200, "{reply:?}");
        let response = if reply.header("content-type") == Some(EVENT_STREAM) {
            Self::of_events(&events(&reply.text()))
        } else {
            let body = reply.json();
            assert_shape(&body);
            assert!(["completed", "incomplete"].contains(&body["status"].as_str().unwrap()), "{body}");
            Self { body, kinds: Vec::new(), heartbeats: 0 }
        };
        // The site always reports its usage.
        let is_fallback = reply.header("x-upstream") == Some("fallback");
        let usage = &response.body["usage"];
        let is_counted = response.body["status"] != "completed" || usage["input_tokens"].as_u64().unwrap() > 0;
        assert!(is_fallback || is_counted, "{usage}");
        response
    }

    #[track_caller]
    pub fn of_events(events: &[Value]) -> Self {
        for (number, event) in events.iter().enumerate() {
            assert_eq!(event["sequence_number"], number, "{event}");
        }
        let [created, in_progress, ..] = events else { panic!("{events:?}") };
        let (last, between) = events[2..].split_last().expect("a stream has an end");
        assert_eq!(
            (&created["type"], &in_progress["type"]),
            (&json!("response.created"), &json!("response.in_progress"))
        );
        let mut response = Self { body: Value::Null, kinds: Vec::new(), heartbeats: 0 };
        let (mut open, mut done): (Option<Item>, Vec<Value>) = (None, Vec::new());
        for event in between {
            let kind = event["type"].as_str().unwrap().strip_prefix("response.").unwrap_or_else(|| panic!("{event}"));
            if kind == "in_progress" {
                response.heartbeats += 1;
                assert_begun(&event["response"]);
                continue;
            }
            if response.kinds.last().is_none_or(|last| last != kind) {
                response.kinds.push(kind.to_owned());
            }
            assert_eq!(event["output_index"], done.len(), "one item after the other: {event}");
            match kind {
                "output_item.added" => {
                    assert!(open.is_none(), "{event}");
                    open = Some(Item::begin(&event["item"]));
                }
                "output_item.done" => {
                    open.take().unwrap_or_else(|| panic!("{event}")).end(&event["item"]);
                    done.push(event["item"].clone());
                }
                _ => open.as_mut().unwrap_or_else(|| panic!("{event}")).grow(kind, event),
            }
        }
        response.body = last["response"].clone();
        assert_shape(&response.body);
        assert_begun(&created["response"]);
        assert_begun(&in_progress["response"]);
        let status = response.body["status"].as_str().unwrap();
        assert_eq!(last["type"], format!("response.{status}"));
        assert!(["completed", "incomplete", "failed"].contains(&status), "{last}");
        assert!(open.is_none() || status == "failed", "an item has no end: {events:?}");
        assert_eq!(response.body["output"], json!(done), "the items of the end are those that came");
        let ids: HashSet<&str> = done.iter().map(|item| item["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), done.len(), "ids come twice: {done:?}");
        for &field in FIELDS {
            let may_differ = ["completed_at", "status", "incomplete_details", "output", "error", "usage"];
            let before = &created["response"][field];
            assert!(may_differ.contains(&field) || *before == response.body[field], "{field}: {before}");
        }
        response
    }

    pub fn id(&self) -> &str {
        self.body["id"].as_str().unwrap()
    }

    pub fn output(&self) -> &[Value] {
        self.body["output"].as_array().unwrap()
    }

    /// The kinds of the items.
    pub fn items(&self) -> Vec<&str> {
        self.output().iter().map(|item| item["type"].as_str().unwrap()).collect()
    }

    /// The items of one kind.
    pub fn of_kind(&self, kind: &str) -> Vec<&Value> {
        self.output().iter().filter(|item| item["type"] == kind).collect()
    }

    /// What the model said.
    pub fn text(&self) -> String {
        let parts = self.of_kind("message").into_iter().flat_map(|item| item["content"].as_array().unwrap());
        parts.filter_map(|part| part["text"].as_str()).collect()
    }

    /// What the model thought.
    pub fn reasoning(&self) -> String {
        let parts = self.of_kind("reasoning").into_iter().flat_map(|item| item["summary"].as_array().unwrap());
        parts.filter_map(|part| part["text"].as_str()).collect()
    }

    /// Name and arguments of each function call.
    #[track_caller]
    pub fn called(&self) -> Vec<(&str, Value)> {
        let call = |item: &'_ Value| serde_json::from_str(item["arguments"].as_str().unwrap()).unwrap();
        self.of_kind("function_call").into_iter().map(|item| (item["name"].as_str().unwrap(), call(item))).collect()
    }

    /// The id with which the call at this position is answered.
    #[track_caller]
    pub fn call_id(&self, index: usize) -> &str {
        let mut calls = self.output().iter().filter_map(|item| item["call_id"].as_str());
        calls.nth(index).unwrap_or_else(|| panic!("{self:?}"))
    }

    /// Checks that the answer is this text, and nothing but thinking beside it.
    #[track_caller]
    pub fn assert_text(&self, text: &str) {
        assert_eq!((self.text().as_str(), &self.body["status"]), (text, &json!("completed")), "{self:?}");
        assert!(self.items().iter().all(|kind| ["message", "reasoning"].contains(kind)), "{self:?}");
    }
}

/// The events of a stream. Checks that each has its name and one line of data.
#[track_caller]
pub fn events(text: &str) -> Vec<Value> {
    let blocks = text.strip_suffix("\n\n").unwrap_or_else(|| panic!("the stream ends within an event: {text:.2000}"));
    let event = |block: &str| {
        // Python's and httpx's readers of lines know more ends than CR and LF.
        let lines: Vec<&str> =
            block.split(['\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{85}', '\u{2028}', '\u{2029}']).collect();
        let [name, data] = lines[..] else { panic!("not two lines: {block:?}") };
        let event: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: "), event["type"].as_str(), "{block}");
        event
    };
    blocks.split("\n\n").map(event).collect()
}

#[track_caller]
fn assert_shape(body: &Value) {
    for &field in FIELDS {
        assert!(body.get(field).is_some(), "{field} is missing: {body}");
    }
    assert_eq!(body["object"], "response");
    assert!(body["id"].as_str().unwrap().starts_with("resp_") && body["created_at"].as_u64().unwrap() > 0, "{body}");
    let is_complete = body["status"] == "completed";
    assert_eq!(body["completed_at"].is_u64(), is_complete, "{body}");
    assert_eq!(body["incomplete_details"]["reason"].is_string(), body["status"] == "incomplete", "{body}");
    assert_eq!(body["error"]["message"].is_string(), body["status"] == "failed", "{body}");
    if is_complete {
        let usage = &body["usage"];
        let count = |field: &str| usage[field].as_u64().unwrap_or_else(|| panic!("{field}: {usage}"));
        // Where the upstream reports none, all are zeros.
        let is_told = count("total_tokens") > 0;
        assert!((count("input_tokens") > 0) == is_told && (count("output_tokens") > 0) == is_told, "{usage}");
        assert!(count("total_tokens") >= count("input_tokens"), "{usage}");
        assert!(
            usage["input_tokens_details"]["cached_tokens"].is_u64()
                && usage["output_tokens_details"]["reasoning_tokens"].is_u64(),
            "{usage}"
        );
    }
}

/// Checks a response that has only begun.
#[track_caller]
fn assert_begun(body: &Value) {
    assert_shape(body);
    assert_eq!((&body["status"], &body["output"], &body["usage"]), (&json!("in_progress"), &json!([]), &json!(null)));
}

/// An item that grows.
struct Item {
    begun: Value,
    /// The text of its parts, of its arguments or its input.
    text: String,
    /// The open part: its field in the item, its index, how it began.
    part: Option<(&'static str, Value, Value)>,
    parts: Vec<Value>,
    annotations: Vec<Value>,
    /// Whether the `done` of the text came.
    is_done: bool,
}

impl Item {
    #[track_caller]
    fn begin(item: &Value) -> Self {
        let (prefix, empty) = match item["type"].as_str().unwrap() {
            "reasoning" => ("rs_", json!({ "summary": [] })),
            "message" => ("msg_", json!({ "content": [], "role": "assistant", "status": "in_progress" })),
            "function_call" => ("fc_", json!({ "arguments": "", "status": "in_progress" })),
            "custom_tool_call" => ("ctc_", json!({ "input": "", "status": "in_progress" })),
            other => panic!("an item of the kind {other}"),
        };
        assert!(item["id"].as_str().unwrap().starts_with(prefix), "{item}");
        for (field, value) in empty.as_object().unwrap() {
            assert_eq!(&item[field], value, "{field}: {item}");
        }
        if prefix.ends_with("c_") {
            assert!(item["call_id"].as_str().unwrap().starts_with("call_") && item["name"].is_string(), "{item}");
        }
        Self {
            begun: item.clone(),
            text: String::new(),
            part: None,
            parts: Vec::new(),
            annotations: Vec::new(),
            is_done: false,
        }
    }

    #[track_caller]
    fn grow(&mut self, kind: &str, event: &Value) {
        assert_eq!(event["item_id"], self.begun["id"], "{event}");
        let (allowed, place): (&[&str], _) = match self.begun["type"].as_str().unwrap() {
            "reasoning" => (&["reasoning_summary_part", "reasoning_summary_text"], Some("summary_index")),
            "message" => (&["content_part", "output_text", "output_text.annotation", "refusal"], Some("content_index")),
            "function_call" => (&["function_call_arguments"], None),
            _ => (&["custom_tool_call_input"], None),
        };
        let (of, step) = kind.rsplit_once('.').unwrap();
        assert!(allowed.contains(&of), "{event}");
        if of.ends_with("_part") {
            let place = place.unwrap();
            if step == "added" {
                assert!(self.part.is_none(), "{event}");
                assert_eq!(event[place], self.parts.len(), "{event}");
                let text = match event["part"]["type"].as_str().unwrap() {
                    "refusal" => "refusal",
                    _ => "text",
                };
                assert_eq!(event["part"][text], "", "{event}");
                self.part = Some((text, event[place].clone(), event["part"].clone()));
                (self.text, self.is_done) = (String::new(), false);
            } else {
                let (text, index, begun) = self.part.take().unwrap_or_else(|| panic!("{event}"));
                assert!(self.is_done && event[place] == index, "{event}");
                assert_eq!((&event["part"]["type"], &event["part"][text]), (&begun["type"], &json!(self.text)));
                if begun["type"] == "output_text" {
                    assert_eq!(event["part"]["annotations"], json!(self.annotations), "{event}");
                    assert_eq!(event["part"]["logprobs"], json!([]), "{event}");
                }
                self.parts.push(event["part"].clone());
            }
            return;
        }
        if let Some(place) = place {
            let (_, index, _) = self.part.as_ref().unwrap_or_else(|| panic!("no part is open: {event}"));
            assert_eq!(event[place], *index, "{event}");
        }
        assert!(!self.is_done, "something after the end: {event}");
        match step {
            "delta" => {
                let delta = event["delta"].as_str().unwrap();
                assert!(!delta.is_empty(), "{event}");
                self.text.push_str(delta);
            }
            "added" => {
                assert_eq!(event["annotation_index"], self.annotations.len(), "{event}");
                self.annotations.push(event["annotation"].clone());
            }
            _ => {
                let field = match of {
                    "function_call_arguments" => "arguments",
                    "custom_tool_call_input" => "input",
                    "refusal" => "refusal",
                    _ => "text",
                };
                assert_eq!(event[field], self.text, "{event}");
                self.is_done = true;
            }
        }
        if of == "output_text" {
            assert_eq!(event["logprobs"], json!([]), "{event}");
        }
    }

    #[track_caller]
    fn end(self, item: &Value) {
        for field in ["id", "type", "role", "call_id", "name", "namespace"] {
            assert_eq!(item.get(field), self.begun.get(field), "{field}: {item}");
        }
        assert!(self.is_done && self.part.is_none(), "{item}");
        match item["type"].as_str().unwrap() {
            "reasoning" => assert_eq!(item["summary"], json!(self.parts)),
            "message" => assert_eq!(item["content"], json!(self.parts)),
            "function_call" => assert_eq!(item["arguments"], self.text),
            _ => assert_eq!(item["input"], self.text),
        }
        assert!(item["type"] == "reasoning" || item["status"] != "in_progress", "{item}");
    }
}

/// A request with this input.
pub fn request(input: impl Into<Value>, fields: Value) -> Value {
    with(json!({ "model": "qwen3-max", "input": input.into() }), fields)
}

pub async fn post(server: &Server, request: &Value) -> Reply {
    server.post("/v1/responses", request).await
}

/// Asks for a response, whole or as a stream.
pub async fn ask(server: &Server, request: &Value, stream: bool) -> Response {
    Response::read(&post(server, &with(request.clone(), json!({ "stream": stream }))).await)
}

/// Sends a request without a body, with the server's key.
pub async fn send(server: &Server, method: &str, path: &str) -> Reply {
    server.http.send(method, &format!("/v1/responses/{path}"), &Server::auth_headers(), "").await
}

/// A function in the form of this dialect.
pub fn flat(tool: &Value) -> Value {
    with(tool["function"].clone(), json!({ "type": "function" }))
}

/// The result of a call.
pub fn result(call_id: &str, output: &str) -> Value {
    json!({ "type": "function_call_output", "call_id": call_id, "output": output })
}
