//! Checking an answer against the client's JSON Schema (draft 2020-12). Written here, since every library is larger than what
//! is left of the Worker: `docs/decisions/0010-json-schema.md`.
//!
//! Both texts are foreign. Nothing here panics, recurses without a bound, or takes more than a fixed number of steps.
//!
//! Not checked: `format`, `content…`, `unevaluatedItems`, `unevaluatedProperties`, unknown keywords, and a `pattern` that needs
//! more than regular expressions of linear time (look-around, back-references, `\p`). `$dynamicRef` is read like `$ref`.

mod check;
mod compile;
mod keywords;
mod pattern;
mod reader;
mod references;
#[cfg(test)]
mod suite_tests;
#[cfg(test)]
mod tests;
mod values;

use keywords::Keyword;
use serde_json::Value;
use std::borrow::Cow;

use crate::surrogates::without_lone_surrogates;

/// The largest schema, in bytes.
const MAX_SCHEMA: usize = 256 * 1024;
/// How many arrays and objects of a schema may stand in each other.
const MAX_SCHEMA_DEPTH: usize = 64;
/// The longest sentence about a schema, and about a value, in characters.
const MAX_SCHEMA_ERROR: usize = 200;
const MAX_FAULT: usize = 300;

/// A schema that was read and found right.
#[derive(Debug)]
pub(in crate::chat) struct Schema {
    /// The schema and its parts, which name each other by their place in this list. The first is the whole.
    nodes: Vec<Vec<Keyword>>,
}

impl Schema {
    /// Reads a schema from its JSON text. Takes time linear in the text.
    ///
    /// # Errors
    ///
    /// A sentence of at most 200 characters that says what is wrong with the schema and where: it is not JSON, has more than
    /// 256 KiB or 64 levels, has a keyword with a wrong value, or refers to something outside of itself, to nothing, or to itself
    /// without an end.
    pub(in crate::chat) fn new(json: &str) -> Result<Self, String> {
        Self::read(json).map_err(|error| values::shown(&error, MAX_SCHEMA_ERROR))
    }

    fn read(json: &str) -> Result<Self, String> {
        if json.len() > MAX_SCHEMA {
            return Err(format!("the schema is larger than {} KiB", MAX_SCHEMA / 1024));
        }
        let schema: Value =
            serde_json::from_str(json).map_err(|error| format!("the schema is not valid JSON: {error}"))?;
        if is_deeper(&schema, MAX_SCHEMA_DEPTH) {
            return Err(format!("the schema is nested deeper than {MAX_SCHEMA_DEPTH} levels"));
        }
        Ok(Self { nodes: compile::compile(&schema)? })
    }

    /// Checks a JSON text against the schema. Takes at most a fixed number of steps.
    ///
    /// # Errors
    ///
    /// A sentence of at most 300 characters with the first fault and the JSON pointer of the value that has it: the text is not
    /// JSON, does not match, or takes too long to check. It shows some 100 characters of the text at most.
    pub(in crate::chat) fn check(&self, json: &str) -> Result<(), String> {
        let json = without_lone_surrogates(json).map_or(Cow::Borrowed(json), Cow::Owned);
        let value: Value =
            serde_json::from_str(&json).map_err(|error| format!("the text is not valid JSON: {error}"))?;
        check::check(&self.nodes, &value).map_err(|fault| values::shown(&fault, MAX_FAULT))
    }
}

/// Whether more than `most` arrays and objects stand in each other.
fn is_deeper(value: &Value, most: usize) -> bool {
    let mut waiting = vec![(value, 0_usize)];
    while let Some((value, depth)) = waiting.pop() {
        let inner = depth.saturating_add(1);
        match value {
            Value::Array(_) | Value::Object(_) if inner > most => return true,
            Value::Array(items) => waiting.extend(items.iter().map(|item| (item, inner))),
            Value::Object(members) => waiting.extend(members.values().map(|member| (member, inner))),
            _ => {}
        }
    }
    false
}
