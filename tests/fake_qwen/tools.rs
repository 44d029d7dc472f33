//! Tool calls in an answer: the model's native calls, the site's refusals, and what the model says then.
//!
//! The site refuses a call of a name that is not in its registry, and runs its own tools (upstream-protocol 5.6 and 5.9).

use std::collections::HashMap;
use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use super::directive::Directive;

/// The tools that the site runs itself.
const REGISTRY: &[&str] = &["code_interpreter", "web_search", "web_extractor", "web_search_image", "image_gen_tool"];
/// Characters of the arguments per frame, without `piece`.
const ARGUMENTS_PIECE: usize = 8;

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";

/// A part of an answer.
pub(super) enum Part {
    /// One delta of text.
    Text(String),
    Thinking(Vec<String>),
    Call(Call),
    Refusal(Refusal),
    Pause(Duration),
    /// Whole events.
    Events(Vec<String>),
}

/// How the arguments of a call arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Each frame has the whole text so far; the last one comes twice.
    Snapshots,
    /// Each frame has the next part; only the first one has the name.
    Increments,
    /// One frame with an object and `"status": "running"`.
    Object,
}

pub(super) struct Call {
    pub(super) name: String,
    pieces: Vec<String>,
    form: Form,
    /// Whether the arguments break off.
    incomplete: bool,
    /// The result, if the site runs the tool.
    pub(super) result: Option<Value>,
}

/// The `function_call` of an event.
pub(super) struct Frame<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) arguments: String,
    /// Whether the arguments are an object instead of a string.
    pub(super) is_object: bool,
}

impl Call {
    /// The first frame has the name and no arguments.
    pub(super) fn frames(&self) -> Vec<Frame<'_>> {
        let name = Some(self.name.as_str());
        if self.form == Form::Object {
            return vec![Frame { name, arguments: self.pieces.concat(), is_object: true }];
        }
        let frame = |name, arguments: &str| Frame { name, arguments: arguments.to_owned(), is_object: false };
        let mut frames = vec![frame(name, "")];
        let mut sent = String::new();
        for piece in &self.pieces {
            sent.push_str(piece);
            frames.push(if self.form == Form::Increments { frame(None, piece) } else { frame(name, &sent) });
        }
        if self.form == Form::Snapshots && !self.incomplete {
            frames.push(frame(name, &sent));
        }
        frames
    }
}

pub(super) struct Refusal {
    pub(super) name: String,
    pub(super) sentence: String,
    /// `finished` instead of `typing`.
    pub(super) is_finished: bool,
}

/// The deltas of a text. With `intercept` the calls in it become native ones.
pub(super) fn of_text(directive: &Directive, text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = text;
    while directive.on("intercept")
        && let Some((before, name, arguments, after)) = first_call(rest)
    {
        parts.extend(deltas(directive, before));
        let result = REGISTRY.contains(&name.as_str()).then_some("");
        parts.push(Part::Call(call(directive, &name, &arguments, result)));
        rest = after;
    }
    parts.extend(deltas(directive, rest));
    parts
}

/// Adds the calls of the directive, and what follows a call.
pub(super) fn with_calls(directive: &Directive, mut parts: Vec<Part>, thinks: bool) -> Vec<Part> {
    let mut refused: Vec<String> = parts.iter().filter_map(refused_name).collect();
    for round in 0..directive.size("rounds").unwrap_or(1) {
        if round > 0 {
            refused.clear();
        }
        let calls: Vec<Part> = directive
            .calls()
            .iter()
            .map(|(name, arguments, result)| Part::Call(call(directive, name, arguments, result.as_deref())))
            .collect();
        refused.extend(calls.iter().filter_map(refused_name));
        parts.extend(calls);
        if directive.get("refusal") != Some("0") {
            parts.extend(refusals(directive, &refused));
        }
    }
    if let Some(pause) = directive.number("pause_ms") {
        parts.push(Part::Pause(Duration::from_millis(pause)));
    }
    if let Some(text) = directive.get("then_think").filter(|_| thinks) {
        parts.push(Part::Thinking(split_text(text, directive.size("piece"))));
    }
    match (directive.get("then"), refused.last()) {
        (Some(text), _) => parts.extend(deltas(directive, text)),
        (None, Some(name)) => parts.extend(deltas(directive, &format!("I am sorry, I cannot use {name} here."))),
        (None, None) => {}
    }
    if directive.on("incomplete") {
        break_off(&mut parts);
    }
    if directive.get("calls") == Some("0") {
        parts.retain(|part| refused_name(part).is_none());
    }
    parts
}

/// An id of a call that the site runs.
pub(super) fn new_id() -> String {
    format!("round_0_call_{:08x}", Uuid::new_v4().as_fields().0)
}

/// Splits a text into words with the space after them, or into parts of `size` characters.
pub(super) fn split_text(text: &str, size: Option<usize>) -> Vec<String> {
    match size {
        Some(size) => {
            text.chars().collect::<Vec<char>>().chunks(size.max(1)).map(|piece| piece.iter().collect()).collect()
        }
        None => text.split_inclusive(' ').map(str::to_owned).collect(),
    }
}

fn deltas(directive: &Directive, text: &str) -> impl Iterator<Item = Part> + use<> {
    split_text(text, directive.size("piece")).into_iter().map(Part::Text)
}

/// A result that is not JSON becomes a document.
fn call(directive: &Directive, name: &str, arguments: &str, result: Option<&str>) -> Call {
    let form = match directive.get("calls") {
        Some("increments") => Form::Increments,
        Some("object") => Form::Object,
        _ => Form::Snapshots,
    };
    let pieces = split_text(arguments, Some(directive.size("piece").unwrap_or(ARGUMENTS_PIECE)));
    let result =
        result.map(|result| serde_json::from_str(result).unwrap_or_else(|_| json!({"docs": [result], "used_id": []})));
    Call { name: name.to_owned(), pieces, form, incomplete: false, result }
}

/// The name of a call that the site refuses.
fn refused_name(part: &Part) -> Option<String> {
    match part {
        Part::Call(call) if call.result.is_none() => Some(call.name.clone()),
        _ => None,
    }
}

/// One frame for each name, or with `prose` one text that the model writes itself.
fn refusals(directive: &Directive, names: &[String]) -> Vec<Part> {
    let verb = if directive.get("refusal") == Some("exist") { "exist" } else { "exists" };
    let sentence = |name: &String| format!("Tool {name} does not {verb}.");
    if directive.on("prose") {
        return deltas(directive, &names.iter().map(sentence).collect::<String>()).collect();
    }
    let is_finished = directive.on("refusal_finished");
    let refusal = |name: &String| Part::Refusal(Refusal { name: name.clone(), sentence: sentence(name), is_finished });
    names.iter().map(refusal).collect()
}

/// Ends the answer in the middle of its last call.
fn break_off(parts: &mut Vec<Part>) {
    if let Some(last) = parts.iter().rposition(|part| matches!(part, Part::Call(_))) {
        parts.truncate(last + 1);
        if let Some(Part::Call(call)) = parts.last_mut() {
            call.incomplete = true;
            call.pieces.truncate(call.pieces.len() / 2);
        }
    }
}

/// The first call that stands in a text as the model was trained to write it: the text before it, its name, its arguments, the
/// text after it.
fn first_call(text: &str) -> Option<(&str, String, String, &str)> {
    let mut from = 0;
    loop {
        let open = from + text[from..].find(OPEN)?;
        let start = open + OPEN.len();
        let end = start + text[start..].find(CLOSE)?;
        let fields: HashMap<&str, &RawValue> = serde_json::from_str(&text[start..end]).unwrap_or_default();
        if let Some(name) = fields.get("name").and_then(|name| serde_json::from_str::<String>(name.get()).ok()) {
            // Arguments are an object, or a string with one.
            let arguments = fields.get("arguments").map_or("{}", |arguments| arguments.get());
            let arguments = serde_json::from_str::<String>(arguments).unwrap_or_else(|_| arguments.to_owned());
            return Some((&text[..open], name, arguments, &text[end + CLOSE.len()..]));
        }
        from = start;
    }
}
