//! The body of a request: a whole conversation in the form of chat completions.

use std::borrow::Cow;

use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::value::RawValue;

use super::{ask::WholeAsk, names::shown_tool_name, transcript::Transcript};
use crate::llm::{OutputFormat, Reasoning, Sampling, Tool, ToolChoice};

/// The most stop texts that OpenAI takes. Of more none is sent: the answer is cut here in any case.
const MAX_STOPS: usize = 4;
/// The name of a schema to which the client has given none.
const SCHEMA_NAME: &str = "answer";
/// OpenAI's words for how hard to think.
const EFFORTS: &[&str] = &["none", "minimal", "low", "medium", "high", "xhigh"];
/// The schema of a tool that takes nothing.
const NO_PARAMETERS: &str = r#"{"type":"object","properties":{}}"#;

/// Writes the body.
pub(super) fn json(ask: &WholeAsk<'_>) -> Vec<u8> {
    // Texts, and JSON that was read before: writing them cannot fail.
    serde_json::to_vec(&Body(ask)).unwrap_or_default()
}

struct Body<'a>(&'a WholeAsk<'a>);

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
struct Function<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    function: Declared<'a>,
}

#[derive(Serialize)]
struct Declared<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    strict: bool,
}

#[derive(Serialize)]
struct Format<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    json_schema: Option<Schema<'a>>,
}

#[derive(Serialize)]
struct Schema<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    schema: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

/// JSON text as it is.
fn raw(text: &str) -> Option<&RawValue> {
    serde_json::from_str(text).ok()
}

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(ask) = self;
        let Sampling { fields, effort, limits_completion } = ask.sampling;
        let mut body = serializer.serialize_map(None)?;
        body.serialize_entry("model", ask.model)?;
        body.serialize_entry("messages", &Transcript::new(ask.messages, ask.attached))?;
        body.serialize_entry("stream", &true)?;
        body.serialize_entry("stream_options", &StreamOptions { include_usage: true })?;
        for (name, value) in fields {
            if let Some(value) = raw(value) {
                body.serialize_entry(name, value)?;
            }
        }
        if let Some(limit) = &ask.max_tokens {
            body.serialize_entry(if *limits_completion { "max_completion_tokens" } else { "max_tokens" }, limit)?;
        }
        if (1..=MAX_STOPS).contains(&ask.stop.len()) {
            body.serialize_entry("stop", ask.stop)?;
        }
        match (ask.reasoning, effort) {
            (_, Some(effort)) if EFFORTS.contains(&effort.as_str()) => {
                body.serialize_entry("reasoning_effort", effort)?
            }
            (Some(Reasoning::Off), _) => body.serialize_entry("enable_thinking", &false)?,
            (Some(Reasoning::On { budget }), _) => {
                body.serialize_entry("enable_thinking", &true)?;
                if let Some(budget) = budget {
                    body.serialize_entry("thinking_budget", &budget)?;
                }
            }
            (Some(Reasoning::Auto) | None, _) => {}
        }
        if ask.search {
            body.serialize_entry("enable_search", &true)?;
        }
        self.tools(&mut body)?;
        if let Some(format) = ask.format {
            body.serialize_entry("response_format", &response_format(format))?;
        }
        body.end()
    }
}

impl Body<'_> {
    fn tools<M: serde::ser::SerializeMap>(&self, body: &mut M) -> Result<(), M::Error> {
        let Self(ask) = self;
        let is_allowed = |tool: &&Tool| ask.allowed_tools.is_none_or(|allowed| allowed.contains(&tool.name));
        let allowed: Vec<(Cow<'_, str>, &Tool)> =
            ask.tools.iter().filter(is_allowed).map(|tool| (shown_tool_name(&tool.name), tool)).collect();
        if allowed.is_empty() {
            return Ok(());
        }
        let tools: Vec<Function<'_>> = allowed.iter().map(|(name, tool)| declared(name, tool)).collect();
        body.serialize_entry("tools", &tools)?;
        match ask.tool_choice {
            ToolChoice::Auto => {}
            ToolChoice::None => body.serialize_entry("tool_choice", "none")?,
            ToolChoice::Required => body.serialize_entry("tool_choice", "required")?,
            ToolChoice::Named(name) => body.serialize_entry("tool_choice", &named(&shown_tool_name(name)))?,
        }
        if !ask.parallel_tool_calls {
            body.serialize_entry("parallel_tool_calls", &false)?;
        }
        Ok(())
    }
}

fn declared<'a>(name: &'a str, tool: &'a Tool) -> Function<'a> {
    let Tool { name: _, description, parameters, kind: _, strict } = tool;
    let parameters = parameters.as_deref().and_then(raw).or_else(|| raw(NO_PARAMETERS));
    let function = Declared { name, description: description.as_deref(), parameters, strict: *strict };
    Function { kind: "function", function }
}

fn named(name: &str) -> Function<'_> {
    Function { kind: "function", function: Declared { name, description: None, parameters: None, strict: false } }
}

fn response_format(format: &OutputFormat) -> Format<'_> {
    let OutputFormat { schema, name, description, strict, param: _ } = format;
    let json_schema = schema.as_deref().and_then(raw).map(|schema| Schema {
        name: name.as_deref().filter(|name| !name.is_empty()).unwrap_or(SCHEMA_NAME),
        description: description.as_deref(),
        schema,
        strict: *strict,
    });
    Format { kind: if json_schema.is_some() { "json_schema" } else { "json_object" }, json_schema }
}
