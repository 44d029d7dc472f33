//! Private functions that the fuzz targets call.

use std::ops::ControlFlow;

use super::filters::{self, Found, ObjectFilter, Piece, Repaired, Schema, ToolReader, ToolSet};
use crate::{llm::Request, upstream::shown_tool_name};

/// A part of an answer.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// A piece of its text.
    Text(&'a str),
    /// A call in the site's own form: name and arguments.
    Native(&'a str, &'a str),
}

/// What was read of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Its text.
    pub text: String,
    /// What it thinks.
    pub reasoning: String,
    /// Its calls: name and arguments.
    pub calls: Vec<(String, String)>,
    /// Whether a call was cut off.
    pub was_cut: bool,
    /// Blocks that cannot be read.
    pub unreadable: usize,
    /// What became of the native calls.
    pub natives: Vec<String>,
}

/// Reads the calls of an answer to this request that comes in these parts, and how much of plain text was kept back at most.
#[must_use]
pub fn read_tools<'a>(request: &Request, parts: impl IntoIterator<Item = Part<'a>>) -> (Read, usize) {
    let mut reader = ToolReader::new(ToolSet::new(request.tools.clone(), shown_tool_name));
    let (mut read, mut most_kept) = (Read::default(), 0);
    for part in parts {
        let mut native = None;
        let mut each = |piece: Piece<'_>| accept(&mut read, piece);
        let flow = match part {
            Part::Text(text) => reader.push(text, &mut each),
            Part::Native(name, arguments) => match reader.native(name, arguments, &mut each) {
                ControlFlow::Continue(found) => {
                    native = Some(format!("{found:?}"));
                    ControlFlow::Continue(())
                }
                ControlFlow::Break(()) => ControlFlow::Break(()),
            },
        };
        read.natives.extend(native);
        most_kept = most_kept.max(reader.kept_of_plain_text());
        if flow.is_break() {
            break;
        }
    }
    read.was_cut = reader.finish(&mut |piece| accept(&mut read, piece)).was_cut;
    (read, most_kept)
}

fn accept(read: &mut Read, piece: Piece<'_>) -> ControlFlow<()> {
    match piece {
        Piece::Text(text) => read.text.push_str(text),
        Piece::Reasoning(text) => read.reasoning.push_str(text),
        Piece::Call(call) => read.calls.push((call.name.clone(), call.arguments.clone())),
        Piece::Unreadable(text) => {
            read.unreadable = read.unreadable.saturating_add(1);
            read.text.push_str(text);
        }
    }
    ControlFlow::Continue(())
}

/// Repairs JSON: the result, how much of the text it was read from, and whether the text ended too early.
#[must_use]
pub fn repair(text: &str) -> Option<(String, usize, bool)> {
    filters::repair(text).map(|Repaired { json, length, was_cut }| (json, length, was_cut))
}

/// The JSON object in a text that comes in pieces: what was passed on of it at once, and all of it.
#[must_use]
pub fn object<'a>(pieces: impl IntoIterator<Item = &'a str>) -> (String, Option<String>) {
    let mut filter = ObjectFilter::default();
    let mut passed_on = String::new();
    for piece in pieces {
        filter.push(piece, |sure| passed_on.push_str(sure));
    }
    let found = filter.finish().map(|Found { json, sent }| {
        assert_eq!(json.get(..sent), Some(&*passed_on), "what was passed on is a part of the object");
        json
    });
    (passed_on, found)
}

/// The JSON object in a whole text.
#[must_use]
pub fn outermost(text: &str, is_good: impl Fn(&str) -> bool) -> Option<String> {
    filters::outermost(text, is_good)
}

/// Checks a JSON text against a schema. `Err` = the schema is none.
///
/// # Errors
/// What is wrong with the schema.
pub fn check_schema(schema: &str, json: &str) -> Result<Result<(), String>, String> {
    Ok(Schema::new(schema)?.check(json))
}
