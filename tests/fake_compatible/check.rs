//! What an official server accepts: the fields of OpenAI's reference, and those that Model Studio adds.

use std::collections::HashSet;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Map, Value};

use super::KEY;
use crate::fake_qwen::log::RecordedRequest;

/// The header fields that a server's own client sends.
const HEADERS: &[&str] = &[
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
    "user-agent",
    // workerd names the Worker that asks.
    "cf-worker",
    "cf-connecting-ip",
    "cf-ew-via",
];

/// Model Studio's own fields are the last line.
const FIELDS: &[(&str, Kind)] = &[
    ("audio", Kind::Object),
    ("frequency_penalty", Kind::Number(-2.0, 2.0)),
    ("logit_bias", Kind::Object),
    ("logprobs", Kind::Flag),
    ("max_completion_tokens", Kind::Whole(1, i64::MAX)),
    ("max_tokens", Kind::Whole(1, i64::MAX)),
    ("messages", Kind::List),
    ("metadata", Kind::Object),
    ("modalities", Kind::List),
    ("model", Kind::Text),
    ("n", Kind::Whole(1, 1)),
    ("parallel_tool_calls", Kind::Flag),
    ("prediction", Kind::Object),
    ("presence_penalty", Kind::Number(-2.0, 2.0)),
    ("prompt_cache_key", Kind::Text),
    ("prompt_cache_retention", Kind::Text),
    ("reasoning_effort", Kind::Text),
    ("response_format", Kind::Object),
    ("safety_identifier", Kind::Text),
    ("seed", Kind::Whole(i64::MIN, i64::MAX)),
    ("service_tier", Kind::Text),
    ("stop", Kind::Any),
    ("store", Kind::Flag),
    ("stream", Kind::Flag),
    ("stream_options", Kind::Object),
    ("temperature", Kind::Number(0.0, 2.0)),
    ("tool_choice", Kind::Any),
    ("tools", Kind::List),
    ("top_logprobs", Kind::Whole(0, 20)),
    ("top_p", Kind::Number(0.0, 1.0)),
    ("user", Kind::Text),
    ("verbosity", Kind::Text),
    ("web_search_options", Kind::Object),
    ("functions", Kind::List),
    ("function_call", Kind::Any),
    ("enable_thinking", Kind::Flag),
    ("thinking_budget", Kind::Whole(1, i64::MAX)),
    ("enable_search", Kind::Flag),
    ("top_k", Kind::Whole(0, i64::MAX)),
    ("repetition_penalty", Kind::Number(0.0, 10.0)),
];

#[derive(Clone, Copy)]
enum Kind {
    Any,
    Flag,
    List,
    Number(f64, f64),
    Object,
    Text,
    Whole(i64, i64),
}

impl Kind {
    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Any => !value.is_null(),
            Self::Flag => value.is_boolean(),
            Self::List => value.as_array().is_some_and(|list| !list.is_empty()),
            Self::Number(least, most) => value.as_f64().is_some_and(|number| (least..=most).contains(&number)),
            Self::Object => value.is_object(),
            Self::Text => value.as_str().is_some_and(|text| !text.is_empty()),
            Self::Whole(least, most) => value.as_i64().is_some_and(|number| (least..=most).contains(&number)),
        }
    }
}

/// What an official server refuses a request for.
pub(super) fn faults(request: &RecordedRequest, body: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    if request.header("authorization") != Some(&format!("Bearer {KEY}")) {
        problems.push("authorization: not this server's key".to_owned());
    }
    if !request.header("content-type").is_some_and(|kind| kind.starts_with("application/json")) {
        problems.push("content-type: not application/json".to_owned());
    }
    match body.as_object() {
        Some(fields) => check_body(fields, body, &mut problems),
        None => problems.push("the body is no JSON object".to_owned()),
    }
    problems
}

/// What does not belong into a request, although official servers take no notice of it.
pub(super) fn leaks(request: &RecordedRequest) -> Vec<String> {
    let mut problems = Vec::new();
    let mut seen = HashSet::new();
    for (name, value) in &request.headers {
        if !HEADERS.contains(&name.as_str()) {
            problems.push(format!("the header {name}"));
        }
        if !seen.insert(name) {
            problems.push(format!("the header {name} comes twice"));
        }
        if name == "user-agent" && value.contains("Mozilla") {
            problems.push("the browser's user-agent".to_owned());
        }
    }
    if request.path_and_query.contains('?') {
        problems.push("a query".to_owned());
    }
    problems
}

fn check_body(fields: &Map<String, Value>, body: &Value, problems: &mut Vec<String>) {
    for (name, value) in fields {
        match FIELDS.iter().find(|(known, _)| known == name) {
            None => problems.push(format!("{name}: an unknown field")),
            Some((_, kind)) if !kind.fits(value) => problems.push(format!("{name}: {value:.80}")),
            Some(_) => {}
        }
    }
    let mut need = |is_fine: bool, problem: &str| {
        if !is_fine {
            problems.push(problem.to_owned());
        }
    };
    let has = |name: &str| fields.contains_key(name);
    need(has("model") && has("messages"), "model or messages are missing");
    need(!(has("max_tokens") && has("max_completion_tokens")), "max_tokens beside max_completion_tokens");
    need(!has("stream_options") || body["stream"] == true, "stream_options without stream");
    for name in ["tool_choice", "parallel_tool_calls"] {
        need(!has(name) || has("tools"), &format!("{name} without tools"));
    }
    need(!has("function_call") || has("functions"), "function_call without functions");
    need(!has("top_logprobs") || body["logprobs"] == true, "top_logprobs without logprobs");
    if let Some(stop) = fields.get("stop") {
        let fits = |text: &Value| text.as_str().is_some_and(|text| !text.is_empty());
        let list = stop.as_array().is_some_and(|list| (1..=4).contains(&list.len()) && list.iter().all(fits));
        need(fits(stop) || list, "stop: neither a text nor 1 to 4 texts");
    }
    if let Some(effort) = body["reasoning_effort"].as_str() {
        let efforts = ["none", "minimal", "low", "medium", "high", "xhigh"];
        need(efforts.contains(&effort), "reasoning_effort: not a known one");
    }
    if let Some(options) = body["stream_options"].as_object() {
        let known = |(name, value): (&String, &Value)| name == "include_usage" && value.is_boolean();
        need(options.iter().all(known), "stream_options: an unknown field");
    }
    check_format(&body["response_format"], problems);
    check_tools(body, problems);
    check_messages(body["messages"].as_array().map_or(&[][..], Vec::as_slice), problems);
    // Nothing of this server's own can be looked up there.
    if body.to_string().contains("\"file_id\"") {
        problems.push("a file_id".to_owned());
    }
}

fn check_format(format: &Value, problems: &mut Vec<String>) {
    let is_fine = match format["type"].as_str() {
        None => format.is_null(),
        Some("text" | "json_object") => only(format, &["type"]),
        Some("json_schema") => {
            let schema = &format["json_schema"];
            only(format, &["type", "json_schema"])
                && only(schema, &["name", "description", "schema", "strict"])
                && is_name(&schema["name"])
                && schema["schema"].is_object()
        }
        Some(_) => false,
    };
    if !is_fine {
        problems.push(format!("response_format: {format:.200}"));
    }
}

/// Whether a value is an object of these fields, none of them null.
fn only(value: &Value, names: &[&str]) -> bool {
    let fits = |(name, value): (&String, &Value)| names.contains(&name.as_str()) && !value.is_null();
    value.as_object().is_some_and(|fields| fields.iter().all(fits))
}

fn is_name(value: &Value) -> bool {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    value.as_str().is_some_and(|name| (1..=64).contains(&name.len()) && name.chars().all(fits))
}

fn check_tools(body: &Value, problems: &mut Vec<String>) {
    let mut names = HashSet::new();
    for (index, tool) in body["tools"].as_array().into_iter().flatten().enumerate() {
        let kind = tool["type"].as_str().unwrap_or_default();
        let function = &tool[kind];
        let is_fine = match kind {
            "function" => {
                only(function, &["name", "description", "parameters", "strict"])
                    && (function.get("parameters").is_none() || is_object_schema(&function["parameters"]))
            }
            "custom" => only(function, &["name", "description", "format"]),
            _ => false,
        };
        let is_whole = only(tool, &["type", kind]) && is_name(&function["name"]);
        if !(is_fine && is_whole && function.get("description").is_none_or(Value::is_string)) {
            problems.push(format!("tools[{index}]: {tool:.300}"));
        }
        if !names.insert(function["name"].as_str()) {
            problems.push(format!("tools[{index}]: a name that comes twice"));
        }
    }
    for function in body["functions"].as_array().into_iter().flatten() {
        if !(only(function, &["name", "description", "parameters"]) && is_name(&function["name"])) {
            problems.push(format!("functions: {function:.300}"));
        }
    }
    let choice = &body["tool_choice"];
    let is_fine = match choice {
        Value::Null => true,
        Value::String(word) => ["none", "auto", "required"].contains(&word.as_str()),
        _ => {
            let kind = choice["type"].as_str().unwrap_or_default();
            let named = ["function", "custom"].contains(&kind) && names.contains(&choice[kind]["name"].as_str());
            only(choice, &["type", kind]) && (named || kind == "allowed_tools")
        }
    };
    if !is_fine {
        problems.push(format!("tool_choice: {choice:.200}"));
    }
}

/// Whether a schema describes an object, as the schema of arguments has to.
fn is_object_schema(schema: &Value) -> bool {
    let fields = schema.as_object();
    let properties = schema.get("properties").is_none_or(Value::is_object);
    let required =
        schema.get("required").is_none_or(|list| list.as_array().is_some_and(|list| list.iter().all(Value::is_string)));
    fields.is_some_and(|fields| fields.is_empty() || schema["type"] == "object" && properties && required)
}

fn check_messages(messages: &[Value], problems: &mut Vec<String>) {
    // The calls of the newest assistant message that have no result yet.
    let mut open: Vec<String> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let mut fault = |what: &str| problems.push(format!("messages[{index}]{what}: {message:.400}"));
        let role = message["role"].as_str().unwrap_or_default();
        let fields: &[&str] = match role {
            "system" | "developer" | "user" => &["role", "content", "name"],
            "assistant" => &["role", "content", "name", "refusal", "tool_calls", "function_call"],
            "tool" => &["role", "content", "tool_call_id"],
            "function" => &["role", "content", "name"],
            _ => {
                fault(".role");
                continue;
            }
        };
        let calls = message["tool_calls"].as_array();
        let has_call = calls.is_some() || message["function_call"].is_object();
        for (name, value) in message.as_object().into_iter().flatten() {
            // The one null that the reference has.
            let is_absent_text = role == "assistant" && name == "content" && has_call;
            if !fields.contains(&name.as_str()) || value.is_null() && !is_absent_text {
                fault(&format!(".{name}"));
            }
        }
        match &message["content"] {
            Value::Null if has_call => {}
            Value::String(_) => {}
            Value::Array(parts) if !parts.is_empty() => {
                for part in parts {
                    if let Err(what) = check_part(role, part) {
                        fault(&format!(".content, {what}"));
                    }
                }
            }
            _ => fault(".content"),
        }
        if role == "tool" {
            let id = message["tool_call_id"].as_str().unwrap_or_default();
            match open.iter().position(|known| known == id) {
                Some(at) => drop(open.remove(at)),
                None => fault(" answers no call of the assistant message before"),
            }
            continue;
        }
        if !open.is_empty() {
            fault(&format!(" comes before the results of {open:?}"));
            open.clear();
        }
        if calls.is_some_and(Vec::is_empty) {
            fault(".tool_calls");
        }
        for call in calls.into_iter().flatten() {
            if !is_call(call) || open.contains(&call["id"].as_str().unwrap_or_default().to_owned()) {
                fault(".tool_calls");
            }
            open.push(call["id"].as_str().unwrap_or_default().to_owned());
        }
    }
    if !open.is_empty() {
        problems.push(format!("messages: no results of {open:?}"));
    }
}

fn is_call(call: &Value) -> bool {
    let kind = call["type"].as_str().unwrap_or_default();
    let made = &call[kind];
    let is_fine = match kind {
        "function" => {
            let arguments = made["arguments"].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
            only(made, &["name", "arguments"]) && arguments.is_some_and(|arguments| arguments.is_object())
        }
        "custom" => only(made, &["name", "input"]) && made["input"].is_string(),
        _ => false,
    };
    let has_id = call["id"].as_str().is_some_and(|id| !id.is_empty());
    is_fine && has_id && only(call, &["id", "type", kind]) && is_name(&made["name"])
}

fn check_part(role: &str, part: &Value) -> Result<(), &'static str> {
    let kind = part["type"].as_str().unwrap_or_default();
    let inner = &part[kind];
    let is_fine = match (role, kind) {
        (_, "text") => only(part, &["type", "text"]) && inner.is_string(),
        ("assistant", "refusal") => only(part, &["type", "refusal"]) && inner.is_string(),
        ("user", "image_url" | "video_url") => {
            only(part, &["type", kind]) && only(inner, &["url", "detail"]) && is_link(&inner["url"])
        }
        ("user", "input_audio") => only(inner, &["data", "format"]) && inner["data"].is_string(),
        ("user", "file") => only(inner, &["file_data", "filename"]) && is_link(&inner["file_data"]),
        _ => return Err("a part of an unknown kind"),
    };
    if is_fine { Ok(()) } else { Err("a part that is not whole") }
}

/// Whether a link leads somewhere: to the web, or to data that can be decoded.
fn is_link(link: &Value) -> bool {
    let link = link.as_str().unwrap_or_default();
    let Some(data) = link.strip_prefix("data:") else {
        return link.starts_with("http://") || link.starts_with("https://");
    };
    let decoded = data.split_once(";base64,").and_then(|(kind, data)| Some((kind, BASE64.decode(data).ok()?)));
    decoded.is_some_and(|(kind, bytes)| kind.contains('/') && !bytes.is_empty())
}
