//! Lone surrogates: halves of a UTF-16 surrogate pair, left when a character is cut in two. JSON can contain them as escapes
//! (`\ud83d`). Some programs also encode them in UTF-8, where they are invalid.

use std::borrow::Cow;

/// Returns the bytes as text, with U+FFFD for each invalid sequence. Checking the whole body once is faster than checking
/// each of the many short JSON strings in it.
pub(crate) fn text_of(data: &[u8]) -> Cow<'_, str> {
    str::from_utf8(data).map_or_else(|_| String::from_utf8_lossy(data), Cow::Borrowed)
}

/// Returns the JSON with U+FFFD for each lone surrogate. `None`: there is no lone surrogate.
pub(crate) fn without_lone_surrogates(text: &str) -> Option<String> {
    replace_escapes(text, |_, second, output| {
        if second.is_none() {
            output.push_str("\\ufffd");
        }
        second.is_none()
    })
}

/// Returns the JSON with other text for escaped surrogates. `None`: nothing was replaced.
///
/// `replace` receives a lone surrogate, or both halves of a pair. It returns whether it appended a replacement.
pub(crate) fn replace_escapes(
    text: &str,
    mut replace: impl FnMut(u16, Option<u16>, &mut String) -> bool,
) -> Option<String> {
    let mut output = String::with_capacity(text.len());
    let mut rest = text;
    let mut changed = false;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        output.push_str(before);
        let second = escape.get(6..).and_then(unit);
        let (first, second, length) = match unit(escape) {
            Some(first @ 0xD800..=0xDBFF) if second.is_some_and(|second| (0xDC00..=0xDFFF).contains(&second)) => {
                (Some(first), second, 12)
            }
            Some(half @ 0xD800..=0xDFFF) => (Some(half), None, 6),
            // The second backslash of an escaped backslash does not begin an escape.
            _ => (None, None, escape.char_indices().nth(2).map_or(escape.len(), |(end, _)| end)),
        };
        if let Some(first) = first
            && replace(first, second, &mut output)
        {
            changed = true;
            rest = escape.get(length..).unwrap_or_default();
            continue;
        }
        let (whole, after) = escape.split_at_checked(length).unwrap_or((escape, ""));
        output.push_str(whole);
        rest = after;
    }
    output.push_str(rest);
    changed.then_some(output)
}

/// Parses a `\u` escape with four hex digits at the beginning of `text` into its UTF-16 code unit.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    // `from_str_radix` would also accept a sign.
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok()).flatten()
}

/// Returns the surrogate that the first three bytes encode, in the manner of UTF-8.
pub(crate) fn half_in_utf8(bytes: &[u8]) -> Option<u16> {
    match bytes {
        [0xED, second @ 0xA0..=0xBF, third @ 0x80..=0xBF, ..] => {
            Some(0xD000 | u16::from(second & 0x3F) << 6 | u16::from(third & 0x3F))
        }
        _ => None,
    }
}

/// Returns the character of a surrogate pair.
pub(crate) fn joined(first: u16, second: u16) -> Option<char> {
    let is_pair = (0xD800..=0xDBFF).contains(&first) && (0xDC00..=0xDFFF).contains(&second);
    is_pair.then(|| char::decode_utf16([first, second]).next()?.ok()).flatten()
}

/// Returns the text that a client sent, without a byte order mark. `None`: the bytes are not UTF-8.
///
/// Surrogates that are encoded in UTF-8 become a character where both halves follow each other, and U+FFFD elsewhere.
pub(crate) fn client_text(body: &[u8]) -> Option<Cow<'_, str>> {
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    if let Ok(text) = str::from_utf8(body) {
        return Some(Cow::Borrowed(text));
    }
    let mut text = String::with_capacity(body.len());
    let mut rest = body;
    loop {
        match str::from_utf8(rest) {
            Ok(last) => {
                text.push_str(last);
                return Some(Cow::Owned(text));
            }
            Err(error) => {
                let (valid, broken) = rest.split_at_checked(error.valid_up_to())?;
                text.push_str(str::from_utf8(valid).ok()?);
                let half = half_in_utf8(broken)?;
                let after = broken.get(3..)?;
                let pair = half_in_utf8(after).and_then(|second| joined(half, second));
                text.push(pair.unwrap_or(char::REPLACEMENT_CHARACTER));
                rest = if pair.is_some() { after.get(3..)? } else { after };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lone_surrogates_are_replaced() {
        for (text, expected) in [
            (&br#"{"a":"x"}"#[..], None),
            (br#"{"a":"\ud83d\ude00"}"#, None),
            (br#"{"a":"\ud83d"}"#, Some(r#"{"a":"\ufffd"}"#)),
            (br#"{"a":"\ude00x\ud83d\ud83d\ude00"}"#, Some(r#"{"a":"\ufffdx\ufffd\ud83d\ude00"}"#)),
            (br#"{"a":"\\ud83d"}"#, None),
            (br#"{"a":"\\\ud83d"}"#, Some(r#"{"a":"\\\ufffd"}"#)),
            (br#"{"a":"\u+83d"}"#, None),
            (b"{\"a\":\"\xff\"}", Some("{\"a\":\"\u{fffd}\"}")),
            (br#"\u"#, None),
            (br#"\"#, None),
        ] {
            let as_text = text_of(text);
            let replaced = without_lone_surrogates(&as_text);
            let is_unchanged = matches!(as_text, Cow::Borrowed(_)) && replaced.is_none();
            assert_eq!(Some(replaced.as_deref().unwrap_or(&as_text)).filter(|_| !is_unchanged), expected);
        }
    }

    #[test]
    fn client_text_may_hold_surrogates_and_a_byte_order_mark_but_no_other_invalid_bytes() {
        for (body, expected) in [
            (&b"abc"[..], Some("abc")),
            (b"", Some("")),
            (b"\xEF\xBB\xBFabc", Some("abc")),
            (b"a\xED\xA0\xBDb", Some("a\u{FFFD}b")),
            (b"a\xED\xA0\xBD", Some("a\u{FFFD}")),
            (b"\xED\xA0\xBD\xED\xB8\x80", Some("\u{1F600}")),
            (b"\xED\xB8\x80\xED\xA0\xBD", Some("\u{FFFD}\u{FFFD}")),
            (b"\xED\xA0\xBD\xED\xA0\xBD\xED\xB8\x80", Some("\u{FFFD}\u{1F600}")),
            (b"\xED\xA0", None),
            (b"a\xFF", None),
            (b"caf\xE9", None),
        ] {
            assert_eq!(client_text(body).as_deref(), expected, "{body:?}");
        }
    }
}
