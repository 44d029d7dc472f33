//! The answers in `table.json`, and what a client must get of each.
//!
//! A row is an answer of the site to a turn: `status` (200), `type` (`application/json`; none when empty), `headers`, and a
//! body as `json`, `text`, `latin1` (text, a byte a character) or `events` (objects are data, text is a bare line). In a body
//! `{padding}` stands for many bytes, and `{chat_id}`, `{user_id}`, `{response_id}` for the ids of the turn.
//!
//! `answer` is the refusal that the client must get: its status, code, `Retry-After` in seconds, `verify_url` and
//! `x-should-retry`; absent when the turn succeeds. `says` is the text that comes before it, or the whole answer.

#![allow(dead_code, reason = "each binary that includes it reads a part")]
#![allow(clippy::expect_used, reason = "test support")]

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, StatusCode};
use serde::Deserialize;
use serde_json::Value;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    pub(crate) name: String,
    #[serde(default = "ok")]
    status: u16,
    #[serde(default = "json", rename = "type")]
    content_type: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    json: Option<Value>,
    text: Option<String>,
    latin1: Option<String>,
    events: Option<Vec<Value>>,
    padding: Option<Padding>,
    pub(crate) answer: Option<Answer>,
    #[serde(default)]
    pub(crate) says: String,
    /// Why the answer ends; `stop` if it says nothing else.
    pub(crate) finish_reason: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Padding {
    of: String,
    times: usize,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) retry_after: Option<u64>,
    pub(crate) verify_url: Option<String>,
    pub(crate) x_should_retry: Option<String>,
}

fn ok() -> u16 {
    200
}

fn json() -> String {
    "application/json".to_owned()
}

/// All rows, in their order.
pub(crate) fn all() -> Vec<Row> {
    serde_json::from_str(include_str!("table.json")).expect("rows")
}

impl Row {
    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).expect("a status")
    }

    pub(crate) fn headers(&self) -> HeaderMap {
        let content_type = ("content-type", self.content_type.as_str());
        let more = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let all = std::iter::once(content_type).filter(|(_, value)| !value.is_empty()).chain(more);
        all.map(|(name, value)| (name.parse::<HeaderName>().expect("a name"), value.parse().expect("a value")))
            .collect()
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        if let Some(text) = &self.latin1 {
            return text.chars().map(|c| u8::try_from(u32::from(c)).expect("Latin-1")).collect();
        }
        let json = self.json.as_ref().map(Value::to_string);
        let events = self.events.as_ref().map(|events| events.iter().map(event).collect::<String>());
        let text = json.or(events).or_else(|| self.text.clone()).unwrap_or_default();
        match &self.padding {
            Some(padding) => text.replace("{padding}", &padding.of.repeat(padding.times)).into_bytes(),
            None => text.into_bytes(),
        }
    }
}

fn event(event: &Value) -> String {
    match event {
        Value::String(line) => format!("{line}\n"),
        data => format!("data: {data}\n\n"),
    }
}
