//! Text that is almost JSON: broken UTF-8 and halves of surrogate pairs, which a tokenizer may cut characters into.

use std::borrow::Cow;

/// The same with U+FFFD in the place of what is no UTF-8. Looked at once as a whole: it is JSON of many short words, and each
/// would be looked at alone.
pub(super) fn text_of(data: &[u8]) -> Cow<'_, str> {
    str::from_utf8(data).map_or_else(|_| String::from_utf8_lossy(data), Cow::Borrowed)
}

/// The same JSON with U+FFFD in the place of each half of a surrogate pair; `None` when there is none.
pub(super) fn without_lone_surrogates(text: &str) -> Option<String> {
    let mut mended = String::with_capacity(text.len());
    let mut rest = text;
    let mut changed = false;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        mended.push_str(before);
        let length = match (unit(escape), escape.get(6..).and_then(unit)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
            (Some(0xD800..=0xDFFF), _) => {
                mended.push_str("\\ufffd");
                changed = true;
                rest = escape.get(6..).unwrap_or_default();
                continue;
            }
            // An escaped backslash must not lend its second half to what follows.
            _ => escape.char_indices().nth(2).map_or(escape.len(), |(end, _)| end),
        };
        let (whole, after) = escape.split_at_checked(length).unwrap_or((escape, ""));
        mended.push_str(whole);
        rest = after;
    }
    mended.push_str(rest);
    changed.then_some(mended)
}

/// The UTF-16 unit of a `\uXXXX` at the beginning of `text`.
fn unit(text: &str) -> Option<u16> {
    u16::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok()
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
}
