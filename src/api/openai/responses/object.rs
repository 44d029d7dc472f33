//! A response and its items as JSON.

use std::fmt::Write as _;

use bytes::BytesMut;
use serde_json::json;

use super::delivery::{Echo, Namespaced, PREFIX};
use crate::{
    api::AnswerMeta,
    error::{Error, ErrorKind},
    json::write_line,
    llm::{Answer, CallEvent, Citation, FinishReason, ToolKind, Usage},
};

/// The ids of a response's items: they begin with the response's own.
pub(super) struct Ids<'a>(&'a str);

impl<'a> Ids<'a> {
    pub(super) fn of(response: &'a str) -> Self {
        Self(response.strip_prefix(PREFIX).unwrap_or(response))
    }

    pub(super) fn reasoning(&self, index: usize) -> String {
        format!("rs_{}{index:02}", self.0)
    }

    pub(super) fn message(&self) -> String {
        format!("msg_{}00", self.0)
    }

    pub(super) fn call(&self, index: usize, kind: ToolKind) -> String {
        let prefix = match kind {
            ToolKind::Function => "fc",
            ToolKind::Custom => "ctc",
        };
        format!("{prefix}_{}{index:02}", self.0)
    }
}

/// The id of the response that an item belongs to, if it is one of this server.
#[must_use]
pub fn response_of_item(id: &str) -> Option<String> {
    let rest = ["rs_", "msg_", "fc_", "ctc_"].iter().find_map(|prefix| id.strip_prefix(prefix))?;
    let stem = rest.get(..rest.len().checked_sub(2)?)?;
    stem.bytes().all(|byte| byte.is_ascii_alphanumeric()).then(|| format!("{PREFIX}{stem}"))
}

/// How far a response is, and what it says of that.
pub(super) struct Status {
    /// The event that says so.
    pub(super) event: &'static str,
    name: &'static str,
    /// The field `incomplete_details`.
    incomplete: &'static str,
    /// The field `error`.
    error: String,
    usage: Option<Usage>,
}

impl Status {
    pub(super) const IN_PROGRESS: Self = Self {
        event: "response.in_progress",
        name: "in_progress",
        incomplete: "null",
        error: String::new(),
        usage: None,
    };

    /// Of an answer that has ended.
    pub(super) fn of(answer: &Answer<'_>) -> Self {
        let (event, name, incomplete) = match answer.finish {
            FinishReason::Stop | FinishReason::ToolCalls => ("response.completed", "completed", "null"),
            FinishReason::Length => ("response.incomplete", "incomplete", "{\"reason\":\"max_output_tokens\"}"),
            FinishReason::ContentFilter => ("response.incomplete", "incomplete", "{\"reason\":\"content_filter\"}"),
        };
        Self { event, name, incomplete, error: String::new(), usage: Some(answer.usage) }
    }

    /// Of an answer that ended with an error.
    pub(super) fn failed(error: &Error) -> Self {
        let mut fields = json!({ "code": code(error), "message": error.message() });
        if let (Some(link), Some(fields)) = (error.link(), fields.as_object_mut()) {
            fields.insert("verify_url".to_owned(), link.into());
        }
        Self { event: "response.failed", name: "failed", incomplete: "null", error: line(&fields), usage: None }
    }
}

/// The code of an error. Codex treats a text that is too long as final by OpenAI's word for it.
fn code(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::RateLimited | ErrorKind::ChatBusy => "rate_limit_exceeded",
        kind => kind.code(),
    }
}

/// A response. `output` = its items as JSON, with commas between.
pub(super) fn response(meta: &AnswerMeta, echo: &Echo, status: &Status, output: &str) -> String {
    let Status { name, incomplete, error, usage, .. } = status;
    let error = if error.is_empty() { "null" } else { error };
    let created = meta.created.get();
    let (completed, usage) = match usage {
        Some(usage) if *name == "completed" => (meta.created.get().to_string(), usage_object(*usage)),
        Some(usage) => ("null".to_owned(), usage_object(*usage)),
        None => ("null".to_owned(), "null".to_owned()),
    };
    format!(
        "{{\"id\":{},\"object\":\"response\",\"created_at\":{created},\"completed_at\":{completed},\"status\":\"{name}\",\"error\":{error},\"incomplete_details\":{incomplete},\"model\":{},\"output\":[{output}],\"usage\":{usage}{}}}",
        json(&meta.id),
        json(&meta.model),
        echo.fields(),
    )
}

fn usage_object(usage: Usage) -> String {
    let Usage { prompt, completion, total, reasoning, cached } = usage;
    format!(
        "{{\"input_tokens\":{prompt},\"input_tokens_details\":{{\"cached_tokens\":{},\"cache_write_tokens\":0}},\"output_tokens\":{completion},\"output_tokens_details\":{{\"reasoning_tokens\":{}}},\"total_tokens\":{total}}}",
        cached.unwrap_or(0),
        reasoning.unwrap_or(0),
    )
}

/// A text as JSON, on one line.
pub(super) fn json(text: &str) -> String {
    line(text)
}

fn line(value: &(impl serde::Serialize + ?Sized)) -> String {
    let mut out = BytesMut::new();
    write_line(&mut out, value);
    String::from_utf8(out.to_vec()).unwrap_or_default()
}

pub(super) fn open_reasoning_item(id: &str) -> String {
    format!("{{\"id\":\"{id}\",\"type\":\"reasoning\",\"status\":\"in_progress\",\"summary\":[]}}")
}

pub(super) fn summary_part(text: &str) -> String {
    format!("{{\"type\":\"summary_text\",\"text\":{}}}", json(text))
}

pub(super) fn reasoning_item(id: &str, text: &str) -> String {
    format!("{{\"id\":\"{id}\",\"type\":\"reasoning\",\"status\":\"completed\",\"summary\":[{}]}}", summary_part(text))
}

pub(super) fn open_message_item(id: &str) -> String {
    format!("{{\"id\":\"{id}\",\"type\":\"message\",\"status\":\"in_progress\",\"content\":[],\"role\":\"assistant\"}}")
}

pub(super) fn text_part(text: &str, citations: &[Citation]) -> String {
    let mut annotations = String::new();
    for citation in citations {
        let comma = if annotations.is_empty() { "" } else { "," };
        // Writing into a text cannot fail.
        let _ = write!(annotations, "{comma}{}", annotation(citation));
    }
    format!("{{\"type\":\"output_text\",\"annotations\":[{annotations}],\"logprobs\":[],\"text\":{}}}", json(text))
}

pub(super) fn refusal_part(text: &str) -> String {
    format!("{{\"type\":\"refusal\",\"refusal\":{}}}", json(text))
}

pub(super) fn annotation(citation: &Citation) -> String {
    let Citation { url, title, start, end } = citation;
    format!(
        "{{\"type\":\"url_citation\",\"start_index\":{start},\"end_index\":{end},\"url\":{},\"title\":{}}}",
        json(url),
        json(title)
    )
}

/// The status of the message of an answer that has ended.
pub(super) fn message_status(answer: &Answer<'_>) -> &'static str {
    let is_cut = matches!(answer.finish, FinishReason::Length | FinishReason::ContentFilter);
    if is_cut && answer.calls.is_empty() { "incomplete" } else { "completed" }
}

pub(super) fn message_item(
    id: &str,
    status: &str,
    text: &str,
    citations: &[Citation],
    refusal: Option<&str>,
) -> String {
    let mut content = match refusal {
        Some(_) if text.is_empty() => String::new(),
        _ => text_part(text, citations),
    };
    if let Some(refusal) = refusal {
        let comma = if content.is_empty() { "" } else { "," };
        content.push_str(&format!("{comma}{}", refusal_part(refusal)));
    }
    format!(
        "{{\"id\":\"{id}\",\"type\":\"message\",\"status\":\"{status}\",\"content\":[{content}],\"role\":\"assistant\"}}"
    )
}

pub(super) fn call_item(id: &str, status: &str, call: &CallEvent<'_>, namespaced: &[Namespaced]) -> String {
    let found = namespaced.iter().find(|tool| tool.shown == call.name);
    let name = json(found.map_or(call.name, |tool| &tool.name));
    let namespace = found.map(|tool| format!(",\"namespace\":{}", json(&tool.namespace))).unwrap_or_default();
    let (kind, field) = match call.kind {
        ToolKind::Function => ("function_call", "arguments"),
        ToolKind::Custom => ("custom_tool_call", "input"),
    };
    format!(
        "{{\"id\":\"{id}\",\"type\":\"{kind}\",\"status\":\"{status}\",\"call_id\":{},\"name\":{name}{namespace},\"{field}\":{}}}",
        json(call.id),
        json(call.arguments)
    )
}
