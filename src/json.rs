//! Reads JSON from bytes, and writes JSON on a single line.

use std::{borrow::Cow, io};

use serde::{Deserialize, Serialize, de::Error as _};
use serde_json::ser::Formatter;

/// Deserializes JSON.
///
/// The bytes are checked for UTF-8 once and then read as `str`. serde_json's reader for `str` is then the only one in the
/// Worker's code.
///
/// # Errors
/// When the bytes are not UTF-8, not JSON or not a `T`.
pub(crate) fn from_bytes<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> serde_json::Result<T> {
    serde_json::from_str(str::from_utf8(bytes).map_err(serde_json::Error::custom)?)
}

/// Appends a value as JSON that no reader splits into lines.
///
/// Python's `splitlines` and httpx's `iter_lines` also end a line at U+0085, U+2028 and U+2029, so these are escaped.
/// serde_json escapes the control characters.
pub(crate) fn write_line(out: &mut bytes::BytesMut, value: &(impl Serialize + ?Sized)) {
    let mut serializer = serde_json::Serializer::with_formatter(bytes::BufMut::writer(out), OneLine);
    // Writing a text or a JSON value into memory cannot fail.
    let _ = value.serialize(&mut serializer);
}

/// The same JSON on a single line, as of [`write_line`].
pub(crate) fn one_line(json: &str) -> Cow<'_, str> {
    // Outside of texts such characters are blanks, inside of them only the last three can stand unescaped.
    const ENDS: [char; 5] = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];
    if !json.contains(ENDS) {
        return Cow::Borrowed(json);
    }
    let mut line = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '\n' | '\r' => line.push(' '),
            '\u{85}' => line.push_str("\\u0085"),
            '\u{2028}' => line.push_str("\\u2028"),
            '\u{2029}' => line.push_str("\\u2029"),
            other => line.push(other),
        }
    }
    Cow::Owned(line)
}

struct OneLine;

impl Formatter for OneLine {
    fn write_string_fragment<W: io::Write + ?Sized>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        // 0xC2 and 0xE2 are the first bytes of the three in UTF-8. Most text contains neither.
        let mut from = 0_usize;
        while let Some(found) = memchr::memchr2(0xC2, 0xE2, rest.as_bytes().get(from..).unwrap_or_default()) {
            let at = from.saturating_add(found);
            let end = rest.get(at..).and_then(|rest| rest.chars().next());
            let escape: &[u8] = match end {
                Some('\u{85}') => b"\\u0085",
                Some('\u{2028}') => b"\\u2028",
                Some('\u{2029}') => b"\\u2029",
                _ => {
                    from = at.saturating_add(1);
                    continue;
                }
            };
            let (before, line_end) = rest.split_at_checked(at).unwrap_or((rest, ""));
            writer.write_all(before.as_bytes())?;
            writer.write_all(escape)?;
            rest = line_end.get(end.map_or(0, char::len_utf8)..).unwrap_or_default();
            from = 0;
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(text: &str) -> String {
        let mut out = bytes::BytesMut::new();
        write_line(&mut out, text);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn line_ends_are_escaped() {
        for (text, expected) in [
            ("", r#""""#),
            ("a\u{2028}b", r#""a\u2028b""#),
            ("\u{85}\u{2029}", r#""\u0085\u2029""#),
            (
                "\u{c2}\u{e2}\u{2027}\u{202a}\u{84}\u{86}\u{2028}\u{a0}",
                "\"\u{c2}\u{e2}\u{2027}\u{202a}\u{84}\u{86}\\u2028\u{a0}\"",
            ),
            ("\r\n\u{b}\u{c}\u{1c}\u{1e}", r#""\r\n\u000b\f\u001c\u001e""#),
        ] {
            assert_eq!(line(text), expected);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_written_on_one_line_and_read_back(text in "(\\PC|[\u{85}\u{2028}\u{2029}\u{0}-\u{20}\"\\\\]){0,20}") {
            let line = line(&text);
            prop_assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
            let ends = ['\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}'];
            prop_assert!(!line.contains(ends), "{:?}", line);
        }
    }
}
