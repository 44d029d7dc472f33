//! Text as it is compared: two texts that a client may have changed on the way are the same.

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization as _, is_nfc_quick};

/// Returns text as keys compare it: composed characters (NFC), LF line ends, no thinking, no outer white space.
pub(super) fn canonical(text: &str) -> Cow<'_, str> {
    let text = without_blocks(text, "<think>", "</think>");
    let text = without_blocks_in(text, "<details type=\"reasoning\"", "</details>");
    let text = if text.contains('\r') { Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n")) } else { text };
    let text = if is_nfc_quick(text.chars()) == IsNormalized::Yes {
        text
    } else {
        // Composing keeps a run of combining marks in memory; no language has runs of more than thirty.
        let mut composed = String::with_capacity(text.len());
        composed.extend(text.stream_safe().nfc());
        Cow::Owned(composed)
    };
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    }
}

pub(super) fn without_blocks<'a>(text: &'a str, open: &str, close: &str) -> Cow<'a, str> {
    without_blocks_in(Cow::Borrowed(text), open, close)
}

/// Removes each block; a block that is not closed stays.
fn without_blocks_in<'a>(text: Cow<'a, str>, open: &str, close: &str) -> Cow<'a, str> {
    if !text.contains(open) {
        return text;
    }
    let mut kept = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some((before, inside)) = rest.split_once(open) {
        let Some((_, after)) = inside.split_once(close) else { break };
        kept.push_str(before);
        rest = after;
    }
    kept.push_str(rest);
    Cow::Owned(kept)
}

/// Returns text as a second chance compares it: entities resolved, white space collapsed, emphasis, emoji and citation
/// marks removed.
pub(super) fn normalised(text: &str) -> String {
    let text = canonical(text);
    let text = without_blocks(&text, "<tool_use>", "</tool_use>");
    let text = without_entities(&without_citations(&text));
    let is_kept = |character: &char| {
        !matches!(character, '*' | '_' | '`' | '~' | '\u{2728}' | '\u{1F31F}')
            && !matches!(*character as u32, 0x1F300..=0x1F64F | 0x1F680..=0x1F6FF | 0x1F1E0..=0x1F1FF)
    };
    let mut kept = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        let length = kept.len();
        if !kept.is_empty() {
            kept.push(' ');
        }
        let start = kept.len();
        kept.extend(word.chars().filter(is_kept));
        if kept.len() == start {
            kept.truncate(length);
        }
    }
    kept
}

/// Replaces HTML's usual entities by the characters that they stand for.
fn without_entities(text: &str) -> String {
    const ENTITIES: [(&str, char); 6] =
        [("lt;", '<'), ("gt;", '>'), ("quot;", '"'), ("#39;", '\''), ("nbsp;", ' '), ("amp;", '&')];
    let mut plain = String::with_capacity(text.len());
    let mut pieces = text.split('&');
    plain.extend(pieces.next());
    for piece in pieces {
        let entity = ENTITIES.iter().find_map(|(name, character)| Some((character, piece.strip_prefix(name)?)));
        let (character, rest) = entity.unwrap_or((&'&', piece));
        plain.push(*character);
        plain.push_str(rest);
    }
    plain
}

/// Removes citation marks such as `[[1]]`.
fn without_citations(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, inside)) = rest.split_once("[[") {
        kept.push_str(before);
        let digits = inside.bytes().take_while(u8::is_ascii_digit).count();
        rest = match inside.get(digits..).and_then(|after| after.strip_prefix("]]")) {
            Some(after) if digits > 0 => after,
            _ => {
                kept.push_str("[[");
                inside
            }
        };
    }
    kept.push_str(rest);
    kept
}
