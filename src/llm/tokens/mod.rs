//! Estimates how many tokens a text is for Qwen's models, without their tokenizer.
//!
//! The upstream reports the true number with its answer. An estimate serves before that: for clients that ask how long a
//! request is, and in the first event of a stream. [`scan`] takes a text apart as the tokenizer does; `weights.rs` says what
//! each kind of piece costs on average. `scripts/calibrate-tokens` fits the weights to `tests/tokens/samples.jsonl`.

mod letters;
mod scan;
#[cfg(test)]
mod tests;
mod weights;

use super::request::{
    FunctionCall, Media, MediaClass, Message, OutputFormat, Part, Request, Tool, ToolCall, ToolChoice,
};
use weights::{UNITS, WEIGHTS};

/// What the role and the ends of a message cost.
const MESSAGE: u64 = 4;
/// What the way to write a call or its result costs, beside name and content.
const CALL: u64 = 16;
/// What the explanation of how to call tools costs, once.
const TOOLS: u64 = 260;
/// What the JSON around a tool's name, description and schema costs.
const TOOL: u64 = 14;
/// What the request for JSON costs, beside the schema.
const FORMAT: u64 = 24;
/// A picture of a million pixels.
const IMAGE: u64 = 1_200;
/// Half a minute of sound.
const AUDIO: u64 = 750;
/// Half a minute of video.
const VIDEO: u64 = 8_000;
/// Two pages of text.
const FILE: u64 = 1_500;

/// Returns about how many tokens a text is: against Qwen's tokenizer the median error is below 10 % and nineteen of twenty
/// texts of English, Chinese, code and JSON are within 25 %. Takes one pass and no memory.
#[must_use]
pub fn estimate_text(text: &str) -> u64 {
    let mut sum: i64 = 0;
    scan::scan(text, |feature| sum = sum.saturating_add(WEIGHTS.get(feature.0).copied().unwrap_or_default().into()));
    let tokens = sum.saturating_add(UNITS / 2).div_euclid(UNITS);
    // Weights may be negative, but no text costs nothing.
    u64::try_from(tokens).unwrap_or(0).max(u64::from(!text.is_empty()))
}

/// Returns about how many tokens a request is: its messages with calls and results, its tools, and a constant for each
/// attachment, whose true size only the upstream knows.
#[must_use]
pub fn estimate_tokens(request: &Request) -> u64 {
    let Request {
        model: _,
        messages,
        reasoning: _,
        search: _,
        stop: _,
        max_tokens: _,
        tools,
        tool_choice,
        allowed_tools: _,
        parallel_tool_calls: _,
        format,
        sampling: _,
        conversation_id: _,
    } = request;
    let shown: &[Tool] = if *tool_choice == ToolChoice::None { &[] } else { tools };
    let explained = if shown.is_empty() { 0 } else { TOOLS };
    let format = format.iter().map(|OutputFormat { schema, .. }| sum([FORMAT, text(schema.as_deref())]));
    sum(messages.iter().map(message).chain(shown.iter().map(tool)).chain(format).chain([explained]))
}

fn sum(counts: impl IntoIterator<Item = u64>) -> u64 {
    counts.into_iter().fold(0, u64::saturating_add)
}

fn text(text: Option<&str>) -> u64 {
    text.map_or(0, estimate_text)
}

fn message(message: &Message) -> u64 {
    let Message { role: _, name, parts, tool_calls, tool_call_id, is_error: _ } = message;
    let result = if tool_call_id.is_some() { CALL } else { 0 };
    let own = [MESSAGE, result, text(name.as_deref())];
    sum(own.into_iter().chain(parts.iter().map(part)).chain(tool_calls.iter().map(call)))
}

fn part(part: &Part) -> u64 {
    match part {
        Part::Text(text) => estimate_text(text),
        Part::Media(media) => attachment(media),
        Part::Unsupported(_) => 0,
    }
}

fn attachment(media: &Media) -> u64 {
    match media.class {
        MediaClass::Image => IMAGE,
        MediaClass::Video => VIDEO,
        MediaClass::Audio => AUDIO,
        MediaClass::File => FILE,
    }
}

fn call(call: &ToolCall) -> u64 {
    let ToolCall { id: _, function } = call;
    function
        .as_deref()
        .map_or(0, |FunctionCall { name, arguments }| sum([CALL, text(name.as_deref()), text(arguments.as_deref())]))
}

fn tool(tool: &Tool) -> u64 {
    let Tool { name, description, parameters, kind: _, strict: _ } = tool;
    sum([TOOL, estimate_text(name), text(description.as_deref()), text(parameters.as_deref())])
}
