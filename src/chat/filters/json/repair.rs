//! Repairs JSON as models damage it: control characters, unknown escapes and unescaped quotes in texts, trailing commas,
//! comments, unquoted keys, single quotes, Python's literals, missing closers. What is missing in any other way stays
//! unreadable: nothing is made up.

use super::scanner::{JsonScanner, Scan};
use crate::surrogates::without_lone_surrogates;

/// JSON that was repaired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::chat) struct Repaired {
    /// Strict JSON.
    pub(in crate::chat) json: String,
    /// How many bytes of the input it was read from.
    pub(in crate::chat) length: usize,
    /// Whether the input ended before the value did, and quotes or brackets were added.
    pub(in crate::chat) was_cut: bool,
}

/// The deepest nesting.
const MAX_DEPTH: usize = 64;
/// How far the key behind a quote and a comma is looked for, in bytes.
const MAX_KEY: usize = 200;

/// Repairs the object or array at the beginning of `text`. Takes time in proportion to the length of the text.
///
/// Returns `None` where it is no object or array, or damaged in a way that leaves its meaning open.
pub(in crate::chat) fn repair(text: &str) -> Option<Repaired> {
    let mut reader = Reader { text, at: 0, out: String::with_capacity(text.len().saturating_add(8)), open: Vec::new() };
    let was_cut = reader.read()?;
    let Reader { at, out, .. } = reader;
    // The result is what others parse: it has to be JSON whatever was read.
    let is_json = JsonScanner::default().feed(out.as_bytes()) == Scan::Complete(out.len());
    let json = without_lone_surrogates(&out).unwrap_or(out);
    is_json.then_some(Repaired { json, length: at, was_cut })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Object,
    Array,
}

impl Open {
    const fn closer(self) -> char {
        match self {
            Self::Object => '}',
            Self::Array => ']',
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    out: String,
    open: Vec<Open>,
}

/// What comes next.
enum Next {
    Key,
    Value,
    /// A comma or a closer.
    Separator,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip(&mut self, character: char) {
        self.at = self.at.saturating_add(character.len_utf8());
    }

    /// Reads the whole value; returns whether it was cut. `None` = not repairable.
    fn read(&mut self) -> Option<bool> {
        self.skip_blanks();
        let mut next = match self.peek()? {
            '{' => self.open(Open::Object)?,
            '[' => self.open(Open::Array)?,
            _ => return None,
        };
        loop {
            self.skip_blanks();
            let Some(character) = self.peek() else {
                // A key without its value would be a guess.
                return matches!(next, Next::Separator).then(|| self.close_all());
            };
            next = match next {
                Next::Key => match character {
                    '}' | ']' => self.close(character)?,
                    ',' => {
                        self.skip(',');
                        Next::Key
                    }
                    _ => {
                        self.key()?;
                        Next::Value
                    }
                },
                Next::Value => match character {
                    '{' => self.open(Open::Object)?,
                    '[' => self.open(Open::Array)?,
                    ']' if self.open.last() == Some(&Open::Array) => self.close(']')?,
                    ',' if self.open.last() == Some(&Open::Array) => {
                        self.skip(',');
                        Next::Value
                    }
                    '"' | '\'' => {
                        if self.quoted_value(character) {
                            return Some(true);
                        }
                        Next::Separator
                    }
                    _ => {
                        self.bare_value()?;
                        Next::Separator
                    }
                },
                Next::Separator => match character {
                    ',' => {
                        self.skip(',');
                        self.next_in_container()
                    }
                    '}' | ']' => self.close(character)?,
                    // A comma is missing.
                    _ => self.next_in_container(),
                },
            };
            if self.open.is_empty() {
                return Some(false);
            }
        }
    }

    fn next_in_container(&self) -> Next {
        match self.open.last() {
            Some(Open::Object) => Next::Key,
            _ => Next::Value,
        }
    }

    /// Writes the comma before a key or a value that is not the first.
    fn separate(&mut self) {
        if !self.out.ends_with(['{', '[', ':', ',']) && !self.out.is_empty() {
            self.out.push(',');
        }
    }

    fn open(&mut self, open: Open) -> Option<Next> {
        if self.open.len() >= MAX_DEPTH {
            return None;
        }
        self.separate();
        let (character, next) = match open {
            Open::Object => ('{', Next::Key),
            Open::Array => ('[', Next::Value),
        };
        self.out.push(character);
        self.skip(character);
        self.open.push(open);
        Some(next)
    }

    /// Closes the innermost container that `closer` fits, and those within it.
    fn close(&mut self, closer: char) -> Option<Next> {
        let fitting = self.open.iter().rposition(|open| open.closer() == closer)?;
        while self.open.len() > fitting {
            self.out.push(self.open.pop()?.closer());
        }
        self.skip(closer);
        Some(Next::Separator)
    }

    fn close_all(&mut self) -> bool {
        while let Some(open) = self.open.pop() {
            self.out.push(open.closer());
        }
        true
    }

    fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            let comment = if trimmed.starts_with("//") || trimmed.starts_with('#') {
                trimmed.find('\n').unwrap_or(trimmed.len())
            } else if let Some(inside) = trimmed.strip_prefix("/*") {
                inside.find("*/").map_or(trimmed.len(), |end| end.saturating_add(4))
            } else {
                0
            };
            self.at = self.at.saturating_add(rest.len().saturating_sub(trimmed.len())).saturating_add(comment);
            if comment == 0 {
                return;
            }
        }
    }

    fn key(&mut self) -> Option<()> {
        let rest = self.rest();
        let (name, length) = key_at(rest)?;
        let name = name.to_owned();
        self.separate();
        self.out.push('"');
        let mut characters = name.chars();
        while let Some(character) = characters.next() {
            if character == '\\' {
                let length = self.escape(characters.as_str());
                characters = characters.as_str().get(length..).unwrap_or_default().chars();
            } else {
                self.character(character);
            }
        }
        self.out.push_str("\":");
        self.at = self.at.saturating_add(length);
        Some(())
    }

    /// Reads a text; returns whether it was cut, and everything closed.
    fn quoted_value(&mut self, quote: char) -> bool {
        self.separate();
        self.skip(quote);
        self.out.push('"');
        let begin = self.out.len();
        while let Some(character) = self.peek() {
            self.skip(character);
            if character == quote && self.is_end_of_text() {
                self.out.push('"');
                return false;
            }
            if character == '\\' {
                let length = self.escape(self.text.get(self.at..).unwrap_or_default());
                self.at = self.at.saturating_add(length);
            } else {
                self.character(character);
            }
        }
        // The closers at its end are none of the text.
        let mut closers = self.open.iter().rev();
        loop {
            let text = self.out.get(begin..).unwrap_or_default();
            let trimmed = text.trim_end_matches("\\n").trim_end();
            let Some(closer) = closers.next() else { break };
            let Some(without) = trimmed.strip_suffix(closer.closer()) else { break };
            let length = begin.saturating_add(without.len());
            self.out.truncate(length);
        }
        self.out.push('"');
        self.close_all()
    }

    /// Writes one character of a text that is no escape.
    fn character(&mut self, character: char) {
        match character {
            '"' => self.out.push_str("\\\""),
            '\n' => self.out.push_str("\\n"),
            '\r' => self.out.push_str("\\r"),
            '\t' => self.out.push_str("\\t"),
            '\0'..='\u{1F}' => self.out.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => self.out.push(character),
        }
    }

    /// Writes the escape whose backslash is read and that goes on with `after`; returns how many bytes of that it takes.
    fn escape(&mut self, after: &str) -> usize {
        let Some(character) = after.chars().next() else { return 0 };
        let is_unicode = || after.get(1..5).is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match character {
            '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't' => {
                self.out.push('\\');
                self.out.push(character);
                1
            }
            'u' if is_unicode() => {
                self.out.push('\\');
                self.out.push_str(after.get(..5).unwrap_or_default());
                5
            }
            '\'' => {
                self.out.push('\'');
                1
            }
            // A line that goes on.
            '\n' => {
                self.out.push_str("\\n");
                1
            }
            _ => {
                self.out.push_str("\\\\");
                0
            }
        }
    }

    /// Whether the quote just read ends its text: what follows has to fit the open containers.
    fn is_end_of_text(&self) -> bool {
        let mut rest = self.rest();
        let mut open = self.open.iter().rev();
        let mut innermost = open.next();
        loop {
            rest = rest.trim_start();
            let Some(character) = rest.chars().next() else { return true };
            let after = rest.get(character.len_utf8()..).unwrap_or_default();
            match (character, innermost) {
                // The value is over, and behind it may be what others look at.
                (_, None) => return true,
                ('}', Some(Open::Object)) | (']', Some(Open::Array)) => innermost = open.next(),
                (',', Some(Open::Object)) => {
                    let after = after.trim_start();
                    return after.starts_with(['}', '/', '#']) || key_at(after).is_some();
                }
                (',', Some(Open::Array)) => {
                    let begins_value = |first: char| "\"'{[]-".contains(first) || first.is_ascii_alphanumeric();
                    return after.trim_start().starts_with(begins_value);
                }
                ('/', _) => return rest.starts_with("//") || rest.starts_with("/*"),
                _ => return false,
            }
            rest = after;
        }
    }

    /// Reads a number or a literal.
    fn bare_value(&mut self) -> Option<()> {
        let is_part = |character: char| character.is_ascii_alphanumeric() || "+-._".contains(character);
        let rest = self.rest();
        let word = rest.split(|character| !is_part(character)).next().unwrap_or_default();
        let json = match word {
            "true" | "false" | "null" => word,
            "True" => "true",
            "False" => "false",
            "None" => "null",
            number if number.starts_with(|first: char| first == '-' || first.is_ascii_digit()) => {
                serde_json::from_str::<serde_json::Number>(number).ok()?;
                number
            }
            _ => return None,
        };
        let (json, length) = (json.to_owned(), word.len());
        self.separate();
        self.out.push_str(&json);
        self.at = self.at.saturating_add(length);
        Some(())
    }
}

/// The key that `text` begins with, and its length with quotes and colon. Escapes in it are left as they are.
fn key_at(text: &str) -> Option<(&str, usize)> {
    let first = text.chars().next()?;
    let (name, after) = if first == '"' || first == '\'' {
        let inside = text.get(1..)?;
        let mut is_escaped = false;
        let mut is_end = |character: char| {
            let escapes = character == '\\' && !is_escaped;
            let was_escaped = std::mem::replace(&mut is_escaped, escapes);
            character == first && !was_escaped
        };
        let end = inside.char_indices().take(MAX_KEY).find(|(_, character)| is_end(*character)).map(|(at, _)| at)?;
        (inside.get(..end)?, inside.get(end..)?.strip_prefix(first)?)
    } else {
        let is_part = |character: char| character.is_alphanumeric() || "_-$.".contains(character);
        let end = text.char_indices().take(MAX_KEY).find(|(_, character)| !is_part(*character)).map(|(at, _)| at)?;
        (text.get(..end).filter(|name| !name.is_empty())?, text.get(end..)?)
    };
    let after = after.trim_start().strip_prefix(':')?;
    Some((name, text.len().saturating_sub(after.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damages_are_repaired() {
        for (text, json) in [
            (r#"{"a":1,}"#, r#"{"a":1}"#),
            (r#"{"a":[1,2,],}"#, r#"{"a":[1,2]}"#),
            (r#"{a: 1, b_c: "x"}"#, r#"{"a":1,"b_c":"x"}"#),
            (r#"{'a': 'it''s', 'b': True, 'c': None, 'd': False}"#, r#"{"a":"it''s","b":true,"c":null,"d":false}"#),
            ("{\"a\": \"x\ny\tz\u{1}\"}", r#"{"a":"x\ny\tz\u0001"}"#),
            (r#"{"a": "\d \u12 \' \" \u00e9"}"#, r#"{"a":"\\d \\u12 ' \" \u00e9"}"#),
            ("{\"a\": 1, // one\n\"b\": /* two */ 2 # three\n}", r#"{"a":1,"b":2}"#),
            (r#"{"c":"cd "/x y" && echo "hi""}"#, r#"{"c":"cd \"/x y\" && echo \"hi\""}"#),
            (r#"{"c":"curl -d '{"x": 1}' h", "t": 5}"#, r#"{"c":"curl -d '{\"x\": 1}' h","t":5}"#),
            (r#"{"c":"echo "a", "b"", "t": 5}"#, r#"{"c":"echo \"a\", \"b\"","t":5}"#),
            (r#"{"c":"print(d["k"])"}"#, r#"{"c":"print(d[\"k\"])"}"#),
            (r#"{"a":1 "b":2}"#, r#"{"a":1,"b":2}"#),
            (r#"{"a":"\ud83d",}"#, r#"{"a":"\ufffd"}"#),
            (r#"{"a\\":1,}"#, r#"{"a\\":1}"#),
            (r#"{"a":[1,2}"#, r#"{"a":[1,2]}"#),
            (r#"["a", "say "hi"", 1]"#, r#"["a","say \"hi\"",1]"#),
        ] {
            let repaired = repair(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(
                (repaired.json.as_str(), repaired.was_cut, repaired.length),
                (json, false, text.len()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_was_cut_is_closed() {
        for (text, json) in [
            (r#"{"a":{"b":"c"}"#, r#"{"a":{"b":"c"}}"#),
            (r#"{"a":{"b":"c}}"#, r#"{"a":{"b":"c"}}"#),
            (r#"{"a":{"b":"c"#, r#"{"a":{"b":"c"}}"#),
            (r#"{"a":[1"#, r#"{"a":[1]}"#),
            (r#"{"a":1,"#, r#"{"a":1}"#),
        ] {
            match repair(text) {
                Some(repaired) => assert_eq!((repaired.json.as_str(), repaired.was_cut), (json, true), "{text}"),
                None => assert!(text.ends_with(','), "{text}"),
            }
        }
    }

    #[test]
    fn what_is_open_stays_unreadable() {
        for text in ["", "x", "1", r#"{"a":"#, r#"{"a":}"#, r#"{"a":maybe}"#, r#"{"a"}"#, r#"{"a":1.2.3}"#, "{:1}"] {
            assert_eq!(repair(text), None, "{text}");
        }
        assert_eq!(repair(&"[".repeat(65)), None);
    }

    #[test]
    fn what_follows_is_left() {
        let Repaired { json, length, .. } = repair(r#"{a:1}} rest"#).unwrap();
        assert_eq!((json.as_str(), length), (r#"{"a":1}"#, 5));
    }
}
