//! Other people's words on a terminal: what would move its cursor, colour it or begin a line is shown as an escape.
//!
//! Each way out to a person's eyes goes through here: the log's text lines, its JSON lines, and what commands print.

use std::{borrow::Cow, fmt::Write as _};

/// Control characters (C0, DEL, C1), separators of lines, and what turns the direction of reading.
fn is_odd(sign: char) -> bool {
    sign.is_control()
        || matches!(
            sign,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

fn escaped<'a>(text: &'a str, kept: &[char], escape: fn(&mut String, char)) -> Cow<'a, str> {
    let is_wrong = |sign: char| is_odd(sign) && !kept.contains(&sign);
    if !text.contains(is_wrong) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len());
    for sign in text.chars() {
        if is_wrong(sign) { escape(&mut escaped, sign) } else { escaped.push(sign) }
    }
    Cow::Owned(escaped)
}

fn as_rust(text: &mut String, sign: char) {
    text.extend(sign.escape_debug());
}

/// A value within a line of text.
#[must_use]
pub fn text(text: &str) -> Cow<'_, str> {
    escaped(text, &[], as_rust)
}

/// Several lines of our own.
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, &['\n'], as_rust)
}

/// JSON, whose own escapes leave some of these characters as they are; it means the same.
#[must_use]
pub fn json(line: &str) -> Cow<'_, str> {
    escaped(line, &['\n'], |text, sign| {
        // All of them are below U+10000. Writing to a `String` does not fail.
        let _ = write!(text, "\\u{:04x}", u32::from(sign));
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ODD: &str = "a\n\r\t\u{0}\u{1b}[2J\u{7}\u{7f}\u{9b}31m\u{85}\u{2028}\u{202e}\u{2066}\u{200f}é中\\";

    #[test]
    fn nothing_odd_is_left() {
        let shown = text(ODD);
        assert!(!shown.contains(is_odd), "{shown}");
        assert_eq!(shown, r"a\n\r\t\0\u{1b}[2J\u{7}\u{7f}\u{9b}31m\u{85}\u{2028}\u{202e}\u{2066}\u{200f}é中\");
        assert!(matches!(text("plain é中 \\n"), Cow::Borrowed(_)));
        assert_eq!(lines("one\ntwo\r\u{1b}"), "one\ntwo\\r\\u{1b}");
    }

    #[test]
    fn json_keeps_its_meaning() {
        let line = serde_json::to_string(ODD).unwrap() + "\n";
        let shown = json(&line);
        assert!(!shown.trim_end().contains(is_odd), "{shown}");
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), ODD);
    }
}
