//! What is inside of a call: its name and its arguments, from JSON or from tags.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::{Map, Value, value::RawValue};

use super::toolset::{Parameters, Resolved, ToolSet};
use crate::{
    chat::filters::json::{JsonScanner, Repaired, Scan, repair},
    surrogates::without_lone_surrogates,
};

/// A call as a model wrote it, with the tool's own name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::chat) struct ReadCall {
    /// The tool.
    pub(in crate::chat) name: String,
    /// Its arguments: a JSON object.
    pub(in crate::chat) arguments: String,
}

/// How far a text may be repaired to become a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// Its end was seen: what is missing at the end may be added.
    Ended,
    /// Its end was not seen: an object that is not closed was cut.
    Open,
}

/// What became of a call's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    /// These calls.
    Calls(Vec<ReadCall>),
    /// It ends too early.
    Cut,
    /// No call can be read in it.
    Unreadable,
}

/// The most calls of one answer.
pub(super) const MAX_CALLS: usize = 24;
/// So many calls of a text are read; more than an answer may have.
const MORE_THAN_ENOUGH: usize = MAX_CALLS.saturating_add(1);

type Fields<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// Reads strict JSON: one call or an array of calls.
pub(super) fn from_json(json: &str, tools: &ToolSet) -> Payload {
    calls(json, tools, false).map_or(Payload::Unreadable, Payload::Calls)
}

/// Reads damaged JSON: one call, or several one after the other. Repaired calls need a declared name and the required keys.
pub(super) fn from_damaged(text: &str, trust: Trust, tools: &ToolSet) -> Payload {
    let mut all = Vec::new();
    let mut rest = text.trim_start();
    while rest.starts_with(['{', '[']) && all.len() < MORE_THAN_ENOUGH {
        let Some(Repaired { json, length, was_cut }) = repair(rest) else { break };
        if was_cut && trust == Trust::Open {
            return if all.is_empty() { Payload::Cut } else { Payload::Calls(all) };
        }
        let Some(calls) = calls(&json, tools, true) else { break };
        all.extend(calls);
        rest = rest.get(length..).unwrap_or_default().trim_start_matches(|character: char| {
            character.is_whitespace() || matches!(character, '}' | ']' | ',' | ';')
        });
    }
    if all.is_empty() { Payload::Unreadable } else { Payload::Calls(all) }
}

fn calls(json: &str, tools: &ToolSet, is_repaired: bool) -> Option<Vec<ReadCall>> {
    let json = without_lone_surrogates(json).map_or(Cow::Borrowed(json), Cow::Owned);
    if json.trim_start().starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(&json).ok()?;
        let items = items.into_iter().take(MORE_THAN_ENOUGH);
        let calls = items.map(|item| call(item.get(), tools, is_repaired)).collect::<Option<Vec<_>>>()?;
        return Some(calls).filter(|calls| !calls.is_empty());
    }
    call(&json, tools, is_repaired).map(|call| vec![call])
}

/// The longest name of a call that has no marker, in bytes.
const MAX_NAME: usize = 256;
/// How much white space such a call may have between its first tokens, in bytes.
const MAX_BLANKS: usize = 64;

const NAME_KEYS: [&str; 5] = ["name", "tool", "tool_name", "function_name", "function"];
const ARGUMENTS_KEYS: [&str; 6] = ["arguments", "parameters", "args", "input", "params", "tool_input"];

/// Whether an object that begins like this may be a call. `None` = it ends too early to say, which it does not for long.
pub(super) fn may_be_call(head: &str, tools: &ToolSet) -> Option<bool> {
    let rest = head.strip_prefix(['{', '\u{FF5B}'])?;
    let Ok(rest) = expect(rest, '"') else { return Some(false) };
    let rest = rest?;
    let Some((key, rest)) = rest.split_once('"') else {
        let mut keys = NAME_KEYS.iter().chain(&ARGUMENTS_KEYS).chain(&["type", "id"]);
        return if keys.any(|key| key.starts_with(rest)) { None } else { Some(false) };
    };
    if !NAME_KEYS.contains(&key) && !ARGUMENTS_KEYS.contains(&key) && !matches!(key, "type" | "id") {
        return Some(false);
    }
    if key != "name" {
        return Some(true);
    }
    let Ok(rest) = expect(rest, ':') else { return Some(false) };
    let Ok(rest) = expect(rest?, '"') else { return Some(false) };
    let rest = rest?;
    let name = rest.get(..rest.floor_char_boundary(MAX_NAME)).unwrap_or_default();
    match name.split_once('"') {
        Some((name, _)) => Some(tools.resolve(name).tool.is_some()),
        None if rest.len() >= MAX_NAME => Some(false),
        None => None,
    }
}

/// What follows this character, which may have white space in front. `Ok(None)` = the text ends before it.
fn expect(text: &str, character: char) -> Result<Option<&str>, ()> {
    let trimmed = text.trim_start();
    if text.len().saturating_sub(trimmed.len()) > MAX_BLANKS {
        return Err(());
    }
    match trimmed.strip_prefix(character) {
        None if trimmed.is_empty() => Ok(None),
        rest => rest.map(Some).ok_or(()),
    }
}

fn call(json: &str, tools: &ToolSet, is_repaired: bool) -> Option<ReadCall> {
    let fields: Fields<'_> = serde_json::from_str(json).ok()?;
    if let Some(function) = fields.get("function").filter(|function| function.get().starts_with('{')) {
        return call(function.get(), tools, is_repaired);
    }
    let name = NAME_KEYS.iter().find_map(|key| serde_json::from_str::<String>(fields.get(*key)?.get()).ok())?;
    let given = ARGUMENTS_KEYS.iter().find_map(|key| fields.get(*key).copied());
    finished(name.trim(), given.map(RawValue::get), tools, is_repaired)
}

/// A call of this name with these arguments, given as JSON.
fn finished(name: &str, given: Option<&str>, tools: &ToolSet, is_repaired: bool) -> Option<ReadCall> {
    if name.is_empty() {
        return None;
    }
    let Resolved { name, tool } = tools.resolve(name);
    let parameters = tool.map(Parameters::of);
    let parameters = parameters.as_ref();
    let (arguments, was_repaired) = match given {
        None | Some("null") => (Cow::Borrowed("{}"), false),
        Some(json) => arguments(json, parameters)?,
    };
    if is_repaired || was_repaired {
        let object: Map<String, Value> = serde_json::from_str(&arguments).ok()?;
        parameters.filter(|parameters| parameters.are_given(&object))?;
    }
    Some(ReadCall { name: name.to_owned(), arguments: arguments.into_owned() })
}

/// Arguments as an object, and whether they were repaired.
fn arguments<'a>(json: &'a str, parameters: Option<&Parameters>) -> Option<(Cow<'a, str>, bool)> {
    let only = |value: &str| {
        let name = serde_json::to_string(parameters?.only()?).ok()?;
        Some(format!("{{{name}:{value}}}"))
    };
    if json.starts_with('{') {
        return Some((Cow::Borrowed(json), false));
    }
    let Ok(text) = serde_json::from_str::<String>(json) else {
        return Some((Cow::Owned(only(json)?), false));
    };
    // Written as JSON once too often.
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Some((Cow::Borrowed("{}"), false));
    }
    if trimmed.starts_with('{') {
        if serde_json::from_str::<Map<String, Value>>(trimmed).is_ok() {
            return Some((Cow::Owned(trimmed.to_owned()), false));
        }
        let Repaired { json, length, was_cut } = repair(trimmed)?;
        let is_whole = !was_cut && trimmed.get(length..).is_some_and(|rest| rest.trim_matches(['}', ' ']).is_empty());
        return is_whole.then_some((Cow::Owned(json), true));
    }
    Some((Cow::Owned(only(json)?), false))
}

/// Reads the arguments of a native call, whose name is known: `None` where they cannot be read.
pub(super) fn native(name: &str, arguments: &str, tools: &ToolSet) -> Payload {
    let text = without_lone_surrogates(arguments).map_or(Cow::Borrowed(arguments), Cow::Owned);
    let text = text.trim();
    let is_missing = |tool| text.is_empty() && !Parameters::of(tool).are_given(&Map::new());
    if tools.resolve(name).tool.is_some_and(is_missing)
        || matches!(JsonScanner::default().feed(text.as_bytes()), Scan::More) && !text.is_empty()
    {
        return Payload::Cut;
    }
    if text.is_empty() || serde_json::from_str::<Value>(text).is_ok() {
        let given = Some(text).filter(|text| !text.is_empty());
        return finished(name, given, tools, false).map_or(Payload::Unreadable, |call| Payload::Calls(vec![call]));
    }
    match repair(text) {
        Some(Repaired { was_cut: true, .. }) => Payload::Cut,
        Some(Repaired { json, .. }) => {
            finished(name, Some(&json), tools, true).map_or(Payload::Unreadable, |call| Payload::Calls(vec![call]))
        }
        None => Payload::Unreadable,
    }
}

/// A call from tags: each parameter with its text. `is_closed`: whether its end was seen.
pub(super) fn from_tags(name: &str, values: &[(String, String)], is_closed: bool, tools: &ToolSet) -> Payload {
    let name = name.trim().trim_matches(['"', '\'']);
    if name.is_empty() {
        return Payload::Unreadable;
    }
    let Resolved { name, tool } = tools.resolve(name);
    let parameters = tool.map(Parameters::of).unwrap_or_default();
    let mut object = Map::new();
    for (key, text) in values {
        let value = typed(text, key, &parameters);
        object.insert(key.clone(), value);
    }
    let is_whole =
        is_closed || tool.is_some() && parameters.are_given(&object) && (parameters.is_empty() || !values.is_empty());
    if !is_whole {
        return Payload::Cut;
    }
    Payload::Calls(vec![ReadCall { name: name.to_owned(), arguments: Value::Object(object).to_string() }])
}

/// The value that a parameter's text means by its schema; the text itself where that does not say, or says otherwise.
fn typed(text: &str, key: &str, parameters: &Parameters) -> Value {
    let types = parameters.types(key);
    let trimmed = text.trim();
    if types.text && !(types.null && trimmed == "null") {
        return Value::String(text.to_owned());
    }
    let strict = serde_json::from_str::<Value>(trimmed).ok();
    let value = strict.or_else(|| match trimmed {
        "True" => Some(Value::Bool(true)),
        "False" => Some(Value::Bool(false)),
        "None" => Some(Value::Null),
        _ if types.object || types.array => serde_json::from_str(&repair(trimmed)?.json).ok(),
        _ => None,
    });
    value.filter(|value| types.allow(value)).unwrap_or_else(|| Value::String(text.to_owned()))
}

/// Whether an answer is nothing but the arguments of this tool; if so, the call.
pub(in crate::chat) fn bare_arguments(text: &str, name: &str, tools: &ToolSet) -> Option<ReadCall> {
    let text = unfenced(text);
    let whole = match serde_json::from_str::<Map<String, Value>>(text) {
        Ok(_) => Cow::Borrowed(text),
        Err(_) => {
            let Repaired { json, length, was_cut } = repair(text)?;
            let is_whole = !was_cut && text.get(length..).is_some_and(|rest| rest.trim().is_empty());
            Cow::Owned(Some(json).filter(|_| is_whole)?)
        }
    };
    let json = without_lone_surrogates(&whole).map_or(whole, Cow::Owned);
    let object: Map<String, Value> = serde_json::from_str(&json).ok()?;
    let Resolved { name, tool } = tools.resolve(name);
    let parameters = Parameters::of(tool?);
    let fits = parameters.are_given(&object) && object.keys().all(|key| parameters.is_empty() || parameters.has(key));
    fits.then(|| ReadCall { name: name.to_owned(), arguments: json.into_owned() })
}

/// A text without the code fence around it.
fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let inside = text.strip_prefix("```").and_then(|text| text.strip_suffix("```"));
    inside.and_then(|inside| inside.split_once('\n')).map_or(text, |(_, inside)| inside.trim())
}
