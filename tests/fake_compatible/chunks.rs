//! The form of an answer: a whole object, or a stream in one of the ways that servers have.
//!
//! | Keys | Meaning |
//! |---|---|
//! | `usage=HOW` | `own` (without it): in a chunk without choices, `last`: in the finishing chunk, `each`: in every chunk, `null`: as null in every chunk, `none` |
//! | `as=reasoning` | thinking in the field `reasoning` instead of `reasoning_content` |
//! | `nulls=1` | fields that have nothing are null or empty, and there are deltas of nothing between the others |
//! | `halves=1` | each character beyond the basic plane comes as two halves in two deltas |
//! | `lines=A,B` | `comments`, `crlf`, `event`, `id`, `retry`, `nospace`, `unended` (no blank line at the end), `bom`, `multiline` (data in two lines), `odd` (events that mean nothing, between the others) |
//! | `finish=REASON` | the finish reason; `null`: none, `empty`: an empty one |
//! | `done=0` | no `[DONE]` |
//! | `calls=FORM` | `pieces` (without it), `interleaved`, `whole` (all in one delta), `each` (one delta each), `repeat` (id and name in each piece), `blank` and `nulls` (the same, empty and null), `noindex`, `sameindex`, `noid`, `empty` (arguments `""`), `object`, `legacy` (`function_call`) |
//! | `role=each` | the role in each delta |
//! | `error=FORM` `error_at=N` | after N events (2 without it) an error instead: `openai`, `choices`, `studio`, `openrouter`, `text`, `secret`, `filter`, `rate`, `quota`, `model` |
//! | `cut=N` `cut_clean=N` `stall=N` | break or end the response after N bytes, stall after N events |
//! | `split=K` | K bytes a write |
//! | `flood=WHAT` | after the first event something without an end: a `line`, an `event` of short lines, `text`, `thinking`, `calls` |
//! | `whole=1` | a whole answer, although a stream was asked for |

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::answer::Answer;
use super::refusals;
use crate::fake_qwen::body::{Reply, Step};
use crate::fake_qwen::directive::Directive;

/// The delay before a connection is cut, so that the bytes before arrive.
const BEFORE_CUT: Duration = Duration::from_millis(20);
/// Events that servers send besides, and that are no part of an answer.
const ODD: [&str; 6] = [
    "{\"type\":\"ping\"}",
    "{\"object\":\"chat.completion.chunk\",\"choices\":null}",
    "{\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":null,\"finish_reason\":null}]}",
    "{\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"finish_reason\":null}],\"x\":[1]}",
    "{\"id\":\"\",\"prompt_filter_results\":[{\"prompt_index\":0}],\"choices\":[]}",
    "",
];
/// Characters of the arguments a piece.
const ARGUMENTS_PIECE: usize = 6;

pub(super) fn reply(directive: &Directive, body: &Value, answer: &Answer) -> Reply {
    let mut directive = directive.clone();
    if body["functions"].is_array() && !body["tools"].is_array() {
        directive.set("calls", "legacy");
    }
    let directive = &directive;
    let form = Form { directive, model: body["model"].clone(), id: format!("chatcmpl-{}", id(27)), answer };
    if body["stream"] != true || directive.on("whole") {
        return Reply::json(200, &form.whole());
    }
    let wants_usage = body["stream_options"]["include_usage"] == true;
    let events = form.events(wants_usage);
    let mut reply = Reply::chunked(200, "text/event-stream; charset=utf-8", "");
    reply.steps = steps(directive, events);
    if let Some(what) = directive.get("flood") {
        reply.steps.truncate(1);
        reply.steps.extend(form.flood(what));
    }
    reply.header("cache-control", "no-cache")
}

struct Form<'a> {
    directive: &'a Directive,
    model: Value,
    id: String,
    answer: &'a Answer,
}

impl Form<'_> {
    fn reasoning_field(&self) -> &'static str {
        if self.directive.get("as") == Some("reasoning") { "reasoning" } else { "reasoning_content" }
    }

    fn is_legacy(&self) -> bool {
        self.directive.get("calls") == Some("legacy") && self.answer.finish == "tool_calls"
    }

    fn finish(&self) -> Value {
        match self.directive.get("finish") {
            None if self.is_legacy() => json!("function_call"),
            None => json!(self.answer.finish),
            Some("null") => Value::Null,
            Some("empty") => json!(""),
            Some(reason) => json!(reason),
        }
    }

    fn calls(&self) -> Vec<Value> {
        let form = self.directive.get("calls").unwrap_or("pieces");
        let call = |(name, arguments): &(String, String)| {
            let arguments = match form {
                "object" => serde_json::from_str(arguments).expect("an object"),
                "empty" => json!(""),
                _ => json!(arguments),
            };
            let function = json!({ "name": name, "arguments": arguments });
            let mut call = json!({ "id": format!("call_{}", id(24)), "type": "function", "function": function });
            if form == "noid" {
                call.as_object_mut().unwrap().remove("id");
            }
            call
        };
        self.answer.calls.iter().map(call).collect()
    }

    fn whole(&self) -> Value {
        let text = self.answer.text.concat();
        let thinking = self.answer.thinking.concat();
        let calls = self.calls();
        let content = if text.is_empty() && !calls.is_empty() { Value::Null } else { json!(text) };
        let mut message = json!({ "role": "assistant", "content": content, "refusal": null, "annotations": [] });
        if !thinking.is_empty() {
            message[self.reasoning_field()] = thinking.into();
        }
        if self.directive.on("nulls") {
            for field in ["reasoning_content", "tool_calls", "function_call", "audio"] {
                message[field] = message[field].clone();
            }
        }
        if self.is_legacy() {
            message["function_call"] = calls[0]["function"].clone();
        } else if !calls.is_empty() {
            message["tool_calls"] = calls.into();
        }
        let choice = json!({ "index": 0, "message": message, "logprobs": null, "finish_reason": self.finish() });
        let mut whole = json!({
            "id": self.id, "object": "chat.completion", "created": 1_750_000_000, "model": self.model,
            "choices": [choice], "system_fingerprint": "fp_second",
        });
        match self.directive.get("usage") {
            Some("none") => {}
            Some("null") => whole["usage"] = Value::Null,
            _ => whole["usage"] = self.answer.usage.clone(),
        }
        whole
    }

    fn chunk(&self, choices: Value) -> Value {
        json!({
            "id": self.id, "object": "chat.completion.chunk", "created": 1_750_000_000, "model": self.model,
            "system_fingerprint": null, "choices": choices,
        })
    }

    fn delta(&self, mut delta: Value, finish: &Value) -> Value {
        if self.directive.get("role") == Some("each") {
            delta["role"] = "assistant".into();
        }
        if self.directive.on("nulls") {
            for field in ["content", "reasoning_content", "tool_calls", "function_call", "refusal", "role", "audio"] {
                delta[field] = delta[field].clone();
            }
        }
        self.chunk(json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish }]))
    }

    /// The data of each event.
    fn events(&self, wants_usage: bool) -> Vec<String> {
        let mut deltas = vec![json!({ "role": "assistant", "content": "" })];
        for piece in &self.answer.thinking {
            deltas.extend(self.texts(self.reasoning_field(), piece));
            deltas.extend(self.nothing());
        }
        for piece in &self.answer.text {
            deltas.extend(self.texts("content", piece));
            deltas.extend(self.nothing());
        }
        deltas.extend(self.call_deltas());
        let mut chunks: Vec<Value> = deltas.into_iter().map(|delta| self.delta(delta, &Value::Null)).collect();
        let finish = self.finish();
        if !finish.is_null() {
            chunks.push(self.delta(json!({}), &finish));
        }
        let usage = &self.answer.usage;
        match self.directive.get("usage").unwrap_or("own") {
            // Official servers tell it only where it was asked for.
            _ if !wants_usage => {}
            "none" => {}
            "null" => chunks.iter_mut().for_each(|chunk| chunk["usage"] = Value::Null),
            "each" => chunks.iter_mut().for_each(|chunk| chunk["usage"] = usage.clone()),
            "last" => chunks.last_mut().unwrap()["usage"] = usage.clone(),
            _ => {
                chunks.iter_mut().for_each(|chunk| chunk["usage"] = Value::Null);
                let mut last = self.chunk(json!([]));
                last["usage"] = usage.clone();
                chunks.push(last);
            }
        }
        let mut events: Vec<String> = chunks.iter().map(|chunk| self.escaped(&chunk.to_string())).collect();
        if self.directive.get("done") != Some("0") {
            events.push("[DONE]".to_owned());
        }
        if let Some(form) = self.directive.get("error") {
            events.truncate(self.directive.size("error_at").unwrap_or(2));
            events.push(refusals::in_stream(form, &self.chunk(json!([]))).to_string());
        }
        events
    }

    /// One delta of a text, or two where a character is halved.
    fn texts(&self, field: &str, piece: &str) -> Vec<Value> {
        if !self.directive.on("halves") {
            return vec![json!({ field: piece })];
        }
        let mut deltas = Vec::new();
        let mut text = String::new();
        for letter in piece.chars() {
            let mut units = [0; 2];
            match letter.encode_utf16(&mut units) {
                [high, low] => {
                    text.push_str(&half(*high));
                    deltas.push(json!({ field: std::mem::take(&mut text) }));
                    text.push_str(&half(*low));
                }
                _ => text.push(letter),
            }
        }
        deltas.push(json!({ field: text }));
        deltas
    }

    /// The halves of characters as JSON has them.
    fn escaped(&self, json: &str) -> String {
        let mut escaped = String::with_capacity(json.len());
        for letter in json.chars() {
            match u32::from(letter) {
                code @ 0xF_0000..=0xF_FFFF => escaped.push_str(&format!("\\u{:04x}", code - 0xF_0000)),
                _ => escaped.push(letter),
            }
        }
        escaped
    }

    fn nothing(&self) -> Vec<Value> {
        if !self.directive.on("nulls") {
            return Vec::new();
        }
        vec![json!({}), json!({ "content": "", "reasoning_content": "" }), json!({ "content": null, "tool_calls": [] })]
    }

    fn flood(&self, what: &str) -> Vec<Step> {
        let event = |delta: Value| Bytes::from(format!("data: {}\n\n", self.delta(delta, &Value::Null)));
        let words = "word ".repeat(2_000);
        match what {
            "line" => vec![Step::Bytes("data: ".into()), Step::Repeat(words.into(), Duration::ZERO)],
            "event" => vec![Step::Repeat(format!("data: {words}\n").into(), Duration::ZERO)],
            "text" => vec![Step::Repeat(event(json!({ "content": words })), Duration::ZERO)],
            "thinking" => vec![Step::Repeat(event(json!({ self.reasoning_field(): words })), Duration::ZERO)],
            "calls" => {
                let piece =
                    |function: Value| event(json!({ "tool_calls": [{ "index": 0, "id": "c", "function": function }] }));
                let begin = piece(json!({ "name": "get_weather", "arguments": "{\"city\":\"" }));
                vec![Step::Bytes(begin), Step::Repeat(piece(json!({ "arguments": words })), Duration::ZERO)]
            }
            other => panic!("no flood {other}"),
        }
    }

    fn call_deltas(&self) -> Vec<Value> {
        let form = self.directive.get("calls").unwrap_or("pieces");
        let calls = self.calls();
        let indexed = |index: usize, call: &Value| {
            let mut call = call.clone();
            match form {
                "noindex" => {}
                "sameindex" => call["index"] = json!(0),
                _ => call["index"] = json!(index),
            }
            call
        };
        let all = || calls.iter().enumerate().map(|(index, call)| indexed(index, call));
        match form {
            _ if calls.is_empty() => Vec::new(),
            "legacy" => vec![json!({ "function_call": calls[0]["function"] })],
            "whole" => vec![json!({ "content": null, "tool_calls": all().collect::<Value>() })],
            "each" | "noindex" | "sameindex" | "empty" | "object" => {
                all().map(|call| json!({ "tool_calls": [call] })).collect()
            }
            _ => {
                let of_calls = all().map(|call| argument_pieces(form, call)).collect::<Vec<_>>();
                let longest = of_calls.iter().map(Vec::len).max().unwrap_or(0);
                let ordered: Vec<Value> = if form == "interleaved" {
                    (0..longest).flat_map(|at| of_calls.iter().filter_map(move |of| of.get(at).cloned())).collect()
                } else {
                    of_calls.into_iter().flatten().collect()
                };
                ordered.into_iter().map(|piece| json!({ "tool_calls": [piece] })).collect()
            }
        }
    }
}

/// The first piece of a call has its id and name, each of the others a part of the arguments.
fn argument_pieces(form: &str, mut call: Value) -> Vec<Value> {
    let arguments = call["function"]["arguments"].as_str().expect("a text").chars().collect::<Vec<char>>();
    call["function"]["arguments"] = "".into();
    let mut pieces = vec![call.clone()];
    for piece in arguments.chunks(ARGUMENTS_PIECE) {
        let mut next = json!({ "index": call["index"], "function": { "arguments": piece.iter().collect::<String>() } });
        match form {
            "repeat" => {
                next["id"] = call["id"].clone();
                next["type"] = "function".into();
                next["function"]["name"] = call["function"]["name"].clone();
            }
            "blank" => {
                next["id"] = "".into();
                next["type"] = "function".into();
                next["function"]["name"] = "".into();
            }
            "nulls" => {
                next["id"] = Value::Null;
                next["type"] = Value::Null;
                next["function"]["name"] = Value::Null;
            }
            _ => {}
        }
        pieces.push(next);
    }
    pieces
}

/// A half of a character, as a private character that stands for it until it is JSON.
fn half(unit: u16) -> String {
    char::from_u32(0xF_0000 + u32::from(unit)).expect("a private character").to_string()
}

/// Letters and digits that no other answer has.
fn id(length: usize) -> String {
    uuid::Uuid::new_v4().simple().to_string()[..length].to_owned()
}

/// The events as writes, with their lines, pauses and ends.
fn steps(directive: &Directive, events: Vec<String>) -> Vec<Step> {
    let oddities: Vec<&str> = directive.get("lines").unwrap_or_default().split(',').collect();
    let has = |name: &str| oddities.contains(&name);
    let millis = |key: &str| Duration::from_millis(directive.number(key).unwrap_or(0));
    let stall = directive.size("stall");
    let count = events.len();
    let mut steps = Vec::new();
    for (index, data) in events.into_iter().enumerate() {
        if stall == Some(index) {
            break;
        }
        let mut event = String::new();
        if index == 0 && has("bom") {
            event.push('\u{feff}');
        }
        if has("comments") {
            event.push_str(": OPENROUTER PROCESSING\n\n:\n");
        }
        if has("retry") && index == 0 {
            event.push_str("retry: 3000\n\n");
        }
        if has("id") {
            event.push_str(&format!("id: {index}\n"));
        }
        if has("event") {
            event.push_str("event: message\n");
        }
        let field = if has("nospace") { "data:" } else { "data: " };
        if has("odd") {
            for odd in ODD {
                event.push_str(&format!("{field}{odd}\n\n"));
            }
        }
        event.push_str(field);
        match data.split_once(',').filter(|_| has("multiline")) {
            Some((first, second)) => event.push_str(&format!("{first},\n{field}{second}")),
            None => event.push_str(&data),
        }
        event.push_str(if has("unended") && index + 1 == count { "" } else { "\n\n" });
        if has("crlf") {
            event = event.replace('\n', "\r\n");
        }
        if index > 0 && !millis("delay_ms").is_zero() {
            steps.push(Step::Pause(millis("delay_ms")));
        }
        steps.push(Step::Bytes(event.into()));
        if index == 0 && !millis("gap_ms").is_zero() {
            steps.push(Step::Pause(millis("gap_ms")));
        }
    }
    if stall.is_some() {
        steps.push(Step::Stall);
    }
    split(directive, cut(directive, steps))
}

/// Ends the response early, with or without a proper end of the body.
fn cut(directive: &Directive, mut steps: Vec<Step>) -> Vec<Step> {
    let (limit, is_clean) = match (directive.size("cut"), directive.size("cut_clean")) {
        (Some(limit), _) => (limit, false),
        (None, Some(limit)) => (limit, true),
        (None, None) => return steps,
    };
    let mut left = limit;
    steps.retain_mut(|step| {
        let is_before = left > 0;
        if let Step::Bytes(bytes) = step {
            bytes.truncate(left);
            left -= bytes.len();
        }
        is_before
    });
    if !is_clean {
        steps.push(Step::Pause(BEFORE_CUT));
        steps.push(Step::Abort);
    }
    steps
}

fn split(directive: &Directive, steps: Vec<Step>) -> Vec<Step> {
    let Some(size) = directive.size("split") else { return steps };
    let pieces = |step| match step {
        Step::Bytes(bytes) => {
            bytes.chunks(size).map(|piece| Step::Bytes(Bytes::copy_from_slice(piece))).collect::<Vec<_>>()
        }
        other => vec![other],
    };
    steps.into_iter().flat_map(pieces).collect()
}
