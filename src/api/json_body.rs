//! Reads a request's JSON into a dialect's types, and says where it is wrong.

use serde::{Deserialize, de::IgnoredAny};

use super::{json_path::locate, lenient::TOO_MANY};
use crate::{
    error::{Error, ErrorKind, Result},
    surrogates::{client_text, without_lone_surrogates},
};

/// How the problem of a field begins that was found wrong only after it: behind it stand its name and a backtick.
const WRONG_FIELD: &str = "wrong field `";
/// How many characters of a problem an error shows.
const MAX_PROBLEM_SHOWN: usize = 300;

/// Reads a body. `begin` is called before each attempt, for what is counted while parsing.
///
/// # Errors
/// `invalid_json` when it is not JSON, `invalid_request` with the path of the first field that has a wrong type.
pub(super) fn read<T: for<'de> Deserialize<'de>>(body: &[u8], begin: fn()) -> Result<T> {
    let text = client_text(body).ok_or_else(|| Error::invalid_json("it is not UTF-8"))?;
    begin();
    let error = match serde_json::from_str(&text) {
        Ok(request) => return Ok(request),
        Err(error) => error,
    };
    // JSON allows halves of characters, text cannot hold them; U+FFFD stands for one that the client cut.
    match without_lone_surrogates(&text) {
        Some(replaced) => {
            begin();
            serde_json::from_str(&replaced).map_err(|error| describe(&replaced, &error))
        }
        None => Err(describe(&text, &error)),
    }
}

fn describe(text: &str, error: &serde_json::Error) -> Error {
    if let Err(problem) = serde_json::from_str::<IgnoredAny>(text) {
        return Error::invalid_json(problem);
    }
    let (param, problem) = locate_problem(text, error);
    if param.is_empty() {
        return Error::new(ErrorKind::InvalidRequest, "The request body could not be read; send one JSON object.");
    }
    Error::invalid(param.clone(), format!("The field '{param}' is wrong: {problem}."))
}

/// What is wrong with the value of a field that was read by itself, as the words of a custom error.
pub(super) fn wrong_field(name: &str, value: &str, error: &serde_json::Error) -> String {
    let (path, problem) = locate_problem(value, error);
    // Its position is one within the value, and serde_json would take it for one in the body.
    let problem = problem.rsplit_once(" at line ").map_or(problem.as_str(), |(said, _)| said);
    let dot = if path.is_empty() || path.starts_with('[') { "" } else { "." };
    format!("{WRONG_FIELD}{name}{dot}{path}`: {problem}")
}

/// The path of what is wrong in a valid JSON text, and what it is.
fn locate_problem(text: &str, error: &serde_json::Error) -> (String, String) {
    let lines = text.split_inclusive('\n').take(error.line().saturating_sub(1));
    let at = lines.map(str::len).fold(error.column(), usize::saturating_add);
    // Some errors stand before the first byte of the value that they are about.
    let begins = text.as_bytes().get(at).is_some_and(|byte| !b",:]} \t\r\n".contains(byte));
    let at = at.saturating_add(usize::from(begins));
    let paths = locate(text, at);
    // The values of fields may stand in it.
    let problem: String = error.to_string().chars().take(MAX_PROBLEM_SHOWN).collect();
    // What is missing, or there twice, is named in the error itself.
    let named =
        ["missing field `", "duplicate field `", WRONG_FIELD].iter().find_map(|start| problem.strip_prefix(start));
    let param = match named.and_then(|rest| rest.split('`').next()) {
        Some(field) if paths.container.is_empty() => field.to_owned(),
        Some(field) => format!("{}.{field}", paths.container),
        None if problem.starts_with(TOO_MANY) => paths.container,
        None => paths.value,
    };
    (param, problem)
}
