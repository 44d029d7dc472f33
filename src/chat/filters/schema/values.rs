//! JSON values: comparing them and showing them.

use serde_json::{Number, Value};
use std::cmp::Ordering;

/// How much of a value an error shows, in characters.
const MAX_SHOWN: usize = 30;

/// The number as an integer, if it was written as one.
fn integer(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

/// Whether a number has no fraction. 1.0 has none.
pub(super) fn is_integer(number: &Number) -> bool {
    integer(number).is_some() || number.as_f64().is_some_and(|float| float.fract() == 0.0)
}

/// Compares two numbers, exactly if both are integers.
pub(super) fn compare(one: &Number, other: &Number) -> Option<Ordering> {
    match (integer(one), integer(other)) {
        (Some(one), Some(other)) => Some(one.cmp(&other)),
        _ => one.as_f64()?.partial_cmp(&other.as_f64()?),
    }
}

/// Whether a number is an integral multiple of another, which is greater than 0. The last digits of fractions are not looked at,
/// since 0.0075 is a multiple of 0.0001.
pub(super) fn is_multiple(number: &Number, of: &Number) -> bool {
    if let (Some(number), Some(of)) = (integer(number), integer(of)) {
        return number.checked_rem(of) == Some(0);
    }
    let (Some(number), Some(of)) = (number.as_f64(), of.as_f64()) else { return false };
    let quotient = number / of;
    quotient.is_finite() && (quotient - quotient.round()).abs() <= 1e-9 * quotient.abs().max(1.0)
}

/// Writes a text that is the same for equal values, and different for others. 1 and 1.0 are equal.
pub(super) fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Null => text.push('n'),
        Value::Bool(true) => text.push('t'),
        Value::Bool(false) => text.push('f'),
        Value::Number(number) => match (integer(number), number.as_f64()) {
            (Some(integer), _) => text.push_str(&integer.to_string()),
            (None, Some(float)) if float.fract() == 0.0 && float.abs() < 1e30 => {
                text.push_str(&(float as i128).to_string());
            }
            _ => text.push_str(&number.to_string()),
        },
        Value::String(string) => canonical_string(string, text),
        Value::Array(items) => {
            text.push('[');
            for item in items {
                canonical(item, text);
                text.push(',');
            }
            text.push(']');
        }
        Value::Object(members) => {
            // They are sorted by name.
            text.push('{');
            for (name, member) in members {
                canonical_string(name, text);
                canonical(member, text);
            }
            text.push('}');
        }
    }
}

fn canonical_string(string: &str, text: &mut String) {
    text.push_str(&format!("\"{}:", string.len()));
    text.push_str(string);
}

/// The beginning of a text, on one line, with at most `most` characters.
pub(super) fn shown(text: &str, most: usize) -> String {
    let mut shown: String = text.chars().take(most).map(|one| if one.is_control() { ' ' } else { one }).collect();
    if text.chars().nth(most).is_some() {
        shown.pop();
        shown.push('\u{2026}');
    }
    shown
}

/// A value as an error names it: its beginning if it is a string or a number, else its type.
pub(super) fn described(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(bool) => bool.to_string(),
        Value::Number(number) => shown(&number.to_string(), MAX_SHOWN),
        Value::String(string) => quoted(string),
        Value::Array(_) | Value::Object(_) => kind(value).to_owned(),
    }
}

/// The beginning of a text, in quotation marks.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", shown(text, MAX_SHOWN))
}

/// The type of a value with its article.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if is_integer(number) => "an integer",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
