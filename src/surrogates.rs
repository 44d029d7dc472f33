//! Halves of surrogate pairs: what is left of a character that was cut in two. JSON writes them as `\ud83d`; some programs
//! write them into UTF-8, where they have no place.

use std::borrow::Cow;

/// The same with U+FFFD in the place of what is no UTF-8. Looked at once as a whole: it is JSON of many short words, and each
/// would be looked at alone.
pub(crate) fn text_of(data: &[u8]) -> Cow<'_, str> {
    str::from_utf8(data).map_or_else(|_| String::from_utf8_lossy(data), Cow::Borrowed)
}

/// The same JSON with U+FFFD in the place of each half of a surrogate pair; `None` when there is none.
pub(crate) fn without_lone_surrogates(text: &str) -> Option<String> {
    replace_escapes(text, |_, second, mended| {
        if second.is_none() {
            mended.push_str("\\ufffd");
        }
        second.is_none()
    })
}

/// The same JSON with other text in the place of escapes of surrogates: `replace` gets a lone half, or both of a pair, and tells
/// whether it appended something instead. `None` when nothing was replaced.
pub(crate) fn replace_escapes(
    text: &str,
    mut replace: impl FnMut(u16, Option<u16>, &mut String) -> bool,
) -> Option<String> {
    let mut mended = String::with_capacity(text.len());
    let mut rest = text;
    let mut changed = false;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        mended.push_str(before);
        let second = escape.get(6..).and_then(unit);
        let (first, second, length) = match unit(escape) {
            Some(first @ 0xD800..=0xDBFF) if second.is_some_and(|second| (0xDC00..=0xDFFF).contains(&second)) => {
                (Some(first), second, 12)
            }
            Some(half @ 0xD800..=0xDFFF) => (Some(half), None, 6),
            // An escaped backslash must not lend its second half to what follows.
            _ => (None, None, escape.char_indices().nth(2).map_or(escape.len(), |(end, _)| end)),
        };
        if let Some(first) = first
            && replace(first, second, &mut mended)
        {
            changed = true;
            rest = escape.get(length..).unwrap_or_default();
            continue;
        }
        let (whole, after) = escape.split_at_checked(length).unwrap_or((escape, ""));
        mended.push_str(whole);
        rest = after;
    }
    mended.push_str(rest);
    changed.then_some(mended)
}

/// Parses a `\u` escape with four hex digits at the beginning of `text` into its UTF-16 code unit.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    // The parser of numbers takes a sign as well.
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok()).flatten()
}

/// The half that is written into UTF-8 at the beginning of `bytes`, as three bytes.
pub(crate) fn half_in_utf8(bytes: &[u8]) -> Option<u16> {
    match bytes {
        [0xED, second @ 0xA0..=0xBF, third @ 0x80..=0xBF, ..] => {
            Some(0xD000 | u16::from(second & 0x3F) << 6 | u16::from(third & 0x3F))
        }
        _ => None,
    }
}

/// The character that two halves make.
pub(crate) fn joined(first: u16, second: u16) -> Option<char> {
    let is_pair = (0xD800..=0xDBFF).contains(&first) && (0xDC00..=0xDFFF).contains(&second);
    is_pair.then(|| char::decode_utf16([first, second]).next()?.ok()).flatten()
}

/// Text that a client sent: a byte order mark is left out; halves that stand in the UTF-8 become characters again where they
/// follow each other, and U+FFFD elsewhere. `None` for what is no UTF-8 otherwise.
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
    fn only_what_is_broken_is_replaced() {
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
            let mended = without_lone_surrogates(&as_text);
            let whole = matches!(as_text, Cow::Borrowed(_)) && mended.is_none();
            assert_eq!(Some(mended.as_deref().unwrap_or(&as_text)).filter(|_| !whole), expected);
        }
    }

    #[test]
    fn a_clients_text_may_hold_halves_and_a_mark_but_no_other_bytes() {
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
