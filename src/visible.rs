//! Makes text from clients and from the chat site safe for a terminal: characters that move the cursor, change colours or
//! begin a line are replaced by escapes.
//!
//! All output for people passes through here: the text lines and the JSON lines of the log, and the output of commands.

use std::{borrow::Cow, fmt::Write as _};

/// Whether a character is a control character (C0, DEL, C1), a line separator, or changes the direction of the text.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

fn escaped<'a>(text: &'a str, kept: &[char], escape: fn(&mut String, char)) -> Cow<'a, str> {
    let must_escape = |character: char| is_unsafe(character) && !kept.contains(&character);
    if !text.contains(must_escape) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if must_escape(character) { escape(&mut escaped, character) } else { escaped.push(character) }
    }
    Cow::Owned(escaped)
}

fn escape_as_rust(text: &mut String, character: char) {
    text.extend(character.escape_debug());
}

/// Escapes a value that stands within a line of text.
#[must_use]
pub fn text(text: &str) -> Cow<'_, str> {
    escaped(text, &[], escape_as_rust)
}

/// Escapes a text of several lines. Keeps the line feeds.
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, &['\n'], escape_as_rust)
}

/// Escapes the characters that a JSON encoder leaves as they are. The JSON's meaning does not change.
#[must_use]
pub fn json(line: &str) -> Cow<'_, str> {
    escaped(line, &['\n'], |text, character| {
        // All unsafe characters are below U+10000. Writing to a `String` does not fail.
        let _ = write!(text, "\\u{:04x}", u32::from(character));
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNSAFE: &str = "a\n\r\t\u{0}\u{1b}[2J\u{7}\u{7f}\u{9b}31m\u{85}\u{2028}\u{202e}\u{2066}\u{200f}é中\\";

    #[test]
    fn unsafe_characters_are_escaped() {
        let shown = text(UNSAFE);
        assert!(!shown.contains(is_unsafe), "{shown}");
        assert_eq!(shown, r"a\n\r\t\0\u{1b}[2J\u{7}\u{7f}\u{9b}31m\u{85}\u{2028}\u{202e}\u{2066}\u{200f}é中\");
        assert!(matches!(text("plain é中 \\n"), Cow::Borrowed(_)));
        assert_eq!(lines("one\ntwo\r\u{1b}"), "one\ntwo\\r\\u{1b}");
    }

    #[test]
    fn json_keeps_its_meaning() {
        let line = serde_json::to_string(UNSAFE).unwrap() + "\n";
        let shown = json(&line);
        assert!(!shown.trim_end().contains(is_unsafe), "{shown}");
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), UNSAFE);
    }
}
