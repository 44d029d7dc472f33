//! JSON from bytes, and on one line.

use std::io;

use serde::{Deserialize, Serialize, de::Error as _};
use serde_json::ser::Formatter;

/// Reads JSON that came as bytes.
///
/// By way of text, as everywhere: the encoding is looked at once and not for each word, and the Worker holds serde_json's
/// reader once.
///
/// # Errors
/// What is no UTF-8, no JSON, or no `T`.
pub(crate) fn from_bytes<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> serde_json::Result<T> {
    serde_json::from_str(str::from_utf8(bytes).map_err(serde_json::Error::custom)?)
}

/// Appends a value as JSON in which nothing ends a line, whoever looks for lines: U+0085, U+2028 and U+2029 are escaped, which
/// Python's `splitlines` and httpx's `iter_lines` take for line ends, and every control character is anyway.
pub(crate) fn write_line(out: &mut bytes::BytesMut, value: &(impl Serialize + ?Sized)) {
    let mut serializer = serde_json::Serializer::with_formatter(bytes::BufMut::writer(out), OneLine);
    // Writing text or a JSON value into memory cannot fail.
    let _ = value.serialize(&mut serializer);
}

struct OneLine;

impl Formatter for OneLine {
    fn write_string_fragment<W: io::Write + ?Sized>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        // The first bytes of the three in UTF-8; most text has neither.
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
    fn line_ends_are_escapes() {
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
        fn any_text_comes_back_and_is_one_line(text in "(\\PC|[\u{85}\u{2028}\u{2029}\u{0}-\u{20}\"\\\\]){0,20}") {
            let line = line(&text);
            prop_assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
            let ends = ['\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}'];
            prop_assert!(!line.contains(ends), "{:?}", line);
        }
    }
}
