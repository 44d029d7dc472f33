//! The upstream responses in `table.json`, and the error that a client must get for each.
//!
//! A row is an upstream response to a turn: `status` (default 200), `type` (default `application/json`; empty: no content type),
//! `headers`, and a body as `json`, `text`, `latin1` (one byte per character) or `events` (objects are data, strings are bare
//! lines). In a body `{padding}` is replaced by many bytes, and `{chat_id}`, `{user_id}`, `{response_id}` by the ids of the turn.
//!
//! `answer` is the error that the client must get: its status, code, `Retry-After` in seconds, `verify_url` and
//! `x-should-retry`. It is absent when the turn succeeds. `says` is the text before the error, or the whole answer.

#![allow(dead_code, reason = "each binary uses a part of it")]
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
    /// The finish reason of the answer; the default is `stop`.
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

/// All rows, in the order of the file.
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
