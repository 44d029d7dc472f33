//! What is answered: the directive of a conversation, and the text, the thinking and the calls that it leads to.
//!
//! | Keys of `[[api …]]` | Meaning |
//! |---|---|
//! | `say` `think` | text and thinking, percent-encoded; `piece=K` splits them into K characters a delta, without it into words |
//! | `n` | that many numbered deltas instead |
//! | `call=NAME` `args=JSON` | a call; repeatable, `args` after its `call` |
//! | `steps=ONE\|TWO` | the answers of the conversation in turn, counted by the assistant messages behind the directive |
//! | `tokens=IN/OUT/THOUGHT/CACHED` | the usage; without it IN grows with the text and each delta is a token |
//! | `first_ms` `delay_ms` `gap_ms` | pauses: before the head, between events, after the first event |
//! | `fail=NAME` `retry_after=S` | a refusal, see `refusals.rs` |
//! | `hang=1` `reset=1` | no head; no response |
//! | `raw=1` | the answer is as it stands: no tool has to be called, no object is cut out of the text |
//! | all others | the form of the answer, see `chunks.rs` |
//!
//! It plays a model that knows tools and formats: thinking is left out where the request switches it off, limits and stop texts
//! end the answer, a `[TOOL CALL]` block in the text becomes a call where tools are declared, a bare object is a call of the
//! tool that has to be called, and with a `response_format` the text is reduced to its object.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Shared;
use super::chunks;
use super::refusals;
use crate::fake_qwen::body::{Reply, Start};
use crate::fake_qwen::directive::Directive;

const OPEN: &str = "[[api ";
const CLOSE: &str = "]]";
/// How the texts of calls begin and end that the fake site's scripts write.
const CALL_OPEN: &str = "[TOOL CALL]\n";
const CALL_CLOSE: &str = "\n[END TOOL CALL]";

/// What an answer consists of.
pub(super) struct Answer {
    pub(super) thinking: Vec<String>,
    pub(super) text: Vec<String>,
    /// Name and arguments.
    pub(super) calls: Vec<(String, String)>,
    pub(super) finish: &'static str,
    pub(super) usage: Value,
}

pub(super) fn answer(shared: &Shared, body: &Value) -> Reply {
    let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let directive = directive_of(shared, messages);
    if directive.on("hang") {
        return Reply::never();
    }
    if directive.on("reset") {
        return Reply::reset();
    }
    let fail = directive.get("fail").or_else(|| (body["model"] == "no-such-model").then_some("no_model"));
    let mut reply = match fail {
        Some(name) => refusals::named(name, &directive),
        None => chunks::reply(&directive, body, &compose(&directive, body, messages)),
    };
    if let Start::After(wait) = &mut reply.start {
        *wait = Duration::from_millis(directive.number("first_ms").unwrap_or(0));
    }
    reply
}

/// The text of a content; that of its parts is joined.
pub(super) fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    }
}

/// The directive of the newest user message, or the next step of an older one.
fn directive_of(shared: &Shared, messages: &[Value]) -> Directive {
    let standing = shared.standing.lock().unwrap();
    let users = messages.iter().enumerate().rev().filter(|(_, message)| message["role"] == "user");
    for (place, (at, message)) in users.enumerate() {
        let text = text_of(&message["content"]);
        let marked = standing.iter().filter(|(marker, _)| text.contains(marker.as_str()));
        let base = marked.fold(Directive::default(), |joined, (_, directive)| directive.clone().after(&joined));
        let own = own_directive(&text).after(&base);
        let later = &messages[at + 1..];
        if own.get("steps").is_some() {
            let number = later.iter().filter(|message| message["role"] == "assistant").count();
            let step = own.step(number);
            // A step may be a directive of either form.
            let inner = step.get("say").map(own_directive).filter(|inner| !inner.is_empty());
            return inner.unwrap_or(step).after(&own);
        }
        if place == 0 && !own.is_empty() {
            return if later.is_empty() { own } else { Directive::default() };
        }
    }
    Directive::default()
}

/// The directive in a text.
fn own_directive(text: &str) -> Directive {
    if let Some(at) = text.rfind(OPEN) {
        return Directive::parse(text[at + OPEN.len()..].split(CLOSE).next().unwrap_or_default());
    }
    let mut site = Directive::last_of(text);
    site.remove_failures();
    site
}

fn compose(directive: &Directive, body: &Value, messages: &[Value]) -> Answer {
    let mut calls: Vec<(String, String)> =
        directive.calls().into_iter().map(|(name, arguments, _)| (name, arguments)).collect();
    let mut text = match (directive.get("say"), directive.number("n")) {
        (Some(text), _) => text.to_owned(),
        (None, Some(count)) => (1..=count).map(|number| format!("{number} ")).collect(),
        (None, None) if calls.is_empty() => echo(messages),
        (None, None) => String::new(),
    };
    let choice = &body["tool_choice"];
    let is_raw = directive.on("raw");
    if !is_raw && (body["tools"].is_array() || body["functions"].is_array()) && choice != "none" {
        take_calls(&mut text, &mut calls);
        let named = choice["function"]["name"].as_str().or(body["function_call"]["name"].as_str());
        let forced = named.or_else(|| {
            (choice == "required").then(|| body["tools"][0]["function"]["name"].as_str().unwrap_or_default())
        });
        if let Some(name) = forced.filter(|_| calls.is_empty()) {
            let bare = serde_json::from_str::<Value>(&text).is_ok_and(|value| value.is_object());
            calls.push((name.to_owned(), if bare { text.clone() } else { "{}".to_owned() }));
            text.clear();
        }
    }
    let has_format = body["response_format"]["type"].as_str().is_some_and(|kind| kind != "text");
    if has_format && !is_raw && calls.is_empty() {
        text = object_in(&text).unwrap_or_else(|| json!({ "echo": text }).to_string());
    }
    let thinks = body["enable_thinking"] != false
        && !["none", "minimal"].contains(&body["reasoning_effort"].as_str().unwrap_or_default());
    let thinking = directive.get("think").filter(|_| thinks).unwrap_or_default();
    bounded(directive, body, thinking, &text, calls)
}

/// Ends the answer where the request wants its end.
fn bounded(
    directive: &Directive,
    body: &Value,
    thinking: &str,
    text: &str,
    mut calls: Vec<(String, String)>,
) -> Answer {
    let stops: Vec<&str> = match &body["stop"] {
        Value::String(stop) => vec![stop],
        stops => stops.as_array().into_iter().flatten().filter_map(Value::as_str).collect(),
    };
    let end = stops.iter().filter_map(|stop| text.find(stop)).min();
    if end.is_some() {
        calls.clear();
    }
    let mut finish = if calls.is_empty() { "stop" } else { "tool_calls" };
    let size = directive.size("piece");
    let mut thinking = pieces(thinking, size);
    let mut text = pieces(&text[..end.unwrap_or(text.len())], size);
    let limit = body["max_tokens"].as_u64().or_else(|| body["max_completion_tokens"].as_u64());
    if let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok())
        && thinking.len() + text.len() > limit
    {
        thinking.truncate(limit);
        text.truncate(limit - thinking.len());
        calls.clear();
        finish = "length";
    }
    let told: Vec<u64> =
        directive.get("tokens").unwrap_or_default().split('/').filter_map(|number| number.parse().ok()).collect();
    let number = |at: usize, guess: usize| told.get(at).copied().unwrap_or(guess as u64);
    let input = number(0, 1_000 + body["messages"].to_string().len() / 4);
    let output = number(1, thinking.len() + text.len() + 5 * calls.len());
    let usage = json!({
        "prompt_tokens": input,
        "completion_tokens": output,
        "total_tokens": input + output,
        "completion_tokens_details": { "reasoning_tokens": number(2, thinking.len()) },
        "prompt_tokens_details": { "cached_tokens": number(3, 0) },
    });
    Answer { thinking, text, calls, finish, usage }
}

fn pieces(text: &str, size: Option<usize>) -> Vec<String> {
    match size {
        Some(size) => {
            text.chars().collect::<Vec<char>>().chunks(size.max(1)).map(|piece| piece.iter().collect()).collect()
        }
        None => text.split_inclusive(' ').map(str::to_owned).collect(),
    }
}

/// The number of the messages and the newest text; results of tools are joined.
fn echo(messages: &[Value]) -> String {
    let newest = messages.iter().rev().take_while(|message| message["role"] == "tool").count().max(1);
    let from = messages.len() - newest.min(messages.len());
    let texts: Vec<String> = messages[from..].iter().map(|message| plain(&text_of(&message["content"]))).collect();
    format!("{} messages, the newest: {}", messages.len(), texts.join(" | "))
}

/// A text without directives.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("[[") {
        plain.push_str(before);
        rest = after.split_once(CLOSE).map_or("", |(_, rest)| rest);
    }
    plain.push_str(rest);
    plain.trim().to_owned()
}

/// Moves the calls that stand in the text.
fn take_calls(text: &mut String, calls: &mut Vec<(String, String)>) {
    let mut kept = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once(CALL_OPEN) {
        let (call, after) = after.split_once(CALL_CLOSE).expect("the end of a call");
        // The arguments stay as they are written.
        let call: HashMap<&str, &RawValue> = serde_json::from_str(call).expect("a call");
        let name = serde_json::from_str(call["name"].get()).expect("a name");
        calls.push((name, call["arguments"].get().to_owned()));
        kept.push_str(before);
        rest = after;
    }
    kept.push_str(rest);
    if kept.len() < text.len() {
        kept = kept.trim().to_owned();
    }
    *text = kept;
}

/// The outermost object of a text.
fn object_in(text: &str) -> Option<String> {
    let object = &text[text.find('{')?..=text.rfind('}')?];
    serde_json::from_str::<Value>(object).is_ok().then(|| object.to_owned())
}
