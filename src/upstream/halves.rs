//! Characters that an upstream cut in two: a tokenizer may end a piece of text within one, and the next event brings the rest.
//!
//! A half is a lone escape (`\ud83d`), or bytes that are no whole UTF-8. Neither can stand in a `str`, so an event that has
//! some is read from a copy in which each is *marked*: two characters, [`MARK`] and one that says what the half was.
//! [`Joiner`] turns marks back into characters, across events.

use std::borrow::Cow;

use crate::surrogates::{half_in_utf8, joined, replace_escapes};

/// A code point that is no character and never will be one.
const MARK: char = '\u{10FFFF}';
/// What follows a mark: a half of a pair, …
const UNITS: u32 = 0xF0000;
/// … a byte, …
const BYTES: u32 = 0xF0800;
/// … or nothing: the text had the mark itself.
const ITSELF: char = '\u{F0A00}';

/// What a mark stands for.
enum Half {
    Unit(u16),
    Byte(u8),
    Mark,
}

fn mark(out: &mut String, base: u32, offset: u32) {
    out.push(MARK);
    out.extend(char::from_u32(base.saturating_add(offset)));
}

fn marked_by(character: char) -> Option<Half> {
    if character == ITSELF {
        return Some(Half::Mark);
    }
    let value = u32::from(character);
    let byte = || value.checked_sub(BYTES).and_then(|byte| u8::try_from(byte).ok()).map(Half::Byte);
    let unit = value.checked_sub(UNITS).filter(|unit| *unit < 0x800).and_then(|unit| u16::try_from(unit).ok());
    unit.map(|unit| Half::Unit(0xD800 | unit)).or_else(byte)
}

/// A copy of an event's JSON in which each half is marked; `None` when it has none.
pub(in crate::upstream) fn marked(data: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(data.len());
    let mut rest = data;
    let mut is_whole = true;
    while !rest.is_empty() {
        let valid = match str::from_utf8(rest) {
            Ok(valid) => valid,
            Err(error) => {
                let (valid, _) = rest.split_at_checked(error.valid_up_to()).unwrap_or_default();
                str::from_utf8(valid).unwrap_or_default()
            }
        };
        for character in valid.chars() {
            text.push(character);
            if character == MARK {
                text.push(ITSELF);
            }
        }
        rest = rest.get(valid.len()..).unwrap_or_default();
        let Some((byte, after)) = rest.split_first() else { break };
        is_whole = false;
        rest = if let Some(half) = half_in_utf8(rest) {
            mark(&mut text, UNITS, u32::from(half).saturating_sub(0xD800));
            rest.get(3..).unwrap_or_default()
        } else {
            mark(&mut text, BYTES, u32::from(*byte));
            after
        };
    }
    let without = replace_escapes(&text, |first, second, out| match second {
        None => {
            is_whole = false;
            mark(out, UNITS, u32::from(first).saturating_sub(0xD800));
            true
        }
        Some(second) if joined(first, second) == Some(MARK) => {
            out.push(MARK);
            out.push(ITSELF);
            true
        }
        Some(_) => false,
    });
    (!is_whole).then(|| without.unwrap_or(text))
}

/// Joins the halves of characters that come one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::upstream) struct Joiner(Pending);

/// The beginning of a character whose rest has not come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Pending {
    #[default]
    Nothing,
    /// The first half of a pair.
    Unit(u16),
    /// One to three bytes.
    Bytes(Vec<u8>),
}

impl Joiner {
    /// The text to hand on now. A half at its end is kept back for what comes next; empty text decides nothing.
    /// `is_marked` = it comes of [`marked`].
    pub(in crate::upstream) fn join<'a>(&mut self, text: &'a str, is_marked: bool) -> Cow<'a, str> {
        let is_plain = !is_marked || !text.contains(MARK);
        if text.is_empty() || (is_plain && self.0 == Pending::Nothing) {
            return Cow::Borrowed(text);
        }
        let mut out = String::with_capacity(text.len().saturating_add(3));
        if is_plain {
            self.end(&mut out);
            out.push_str(text);
            return Cow::Owned(out);
        }
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            let half = characters.clone().next().filter(|_| character == MARK).and_then(marked_by);
            if half.is_some() {
                characters.next();
            }
            match half {
                None => {
                    self.end(&mut out);
                    out.push(character);
                }
                Some(Half::Mark) => {
                    self.end(&mut out);
                    out.push(MARK);
                }
                Some(Half::Unit(unit)) => self.unit(unit, &mut out),
                Some(Half::Byte(byte)) => self.byte(byte, &mut out),
            }
        }
        Cow::Owned(out)
    }

    /// What is kept back and will not be completed: U+FFFD for it.
    pub(in crate::upstream) fn end(&mut self, out: &mut String) {
        match std::mem::take(&mut self.0) {
            Pending::Nothing => {}
            Pending::Unit(_) | Pending::Bytes(_) => out.push(char::REPLACEMENT_CHARACTER),
        }
    }

    fn unit(&mut self, unit: u16, out: &mut String) {
        if let Pending::Unit(first) = self.0
            && let Some(character) = joined(first, unit)
        {
            self.0 = Pending::Nothing;
            out.push(character);
            return;
        }
        self.end(out);
        if (0xD800..=0xDBFF).contains(&unit) {
            self.0 = Pending::Unit(unit);
        } else {
            out.push(char::REPLACEMENT_CHARACTER);
        }
    }

    fn byte(&mut self, byte: u8, out: &mut String) {
        let mut bytes = match std::mem::take(&mut self.0) {
            Pending::Nothing => Vec::new(),
            Pending::Unit(_) => {
                out.push(char::REPLACEMENT_CHARACTER);
                Vec::new()
            }
            Pending::Bytes(bytes) => bytes,
        };
        bytes.push(byte);
        // What cannot be continued is one U+FFFD for as much of it as could have been, as the standard has it.
        while !bytes.is_empty() {
            match str::from_utf8(&bytes) {
                Ok(text) => {
                    out.push_str(text);
                    return;
                }
                Err(error) => match error.error_len() {
                    None => {
                        self.0 = Pending::Bytes(bytes);
                        return;
                    }
                    Some(length) => {
                        out.push(char::REPLACEMENT_CHARACTER);
                        bytes.drain(..length.min(bytes.len()));
                    }
                },
            }
        }
    }
}

/// Text of which no more will come.
pub(in crate::upstream) fn whole(text: &str, is_marked: bool) -> Cow<'_, str> {
    let mut joiner = Joiner::default();
    let text = joiner.join(text, is_marked);
    if joiner == Joiner::default() {
        return text;
    }
    let mut text = text.into_owned();
    joiner.end(&mut text);
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The text of events whose JSON is these strings, in their quotes.
    fn joined(events: &[&[u8]]) -> String {
        let mut joiner = Joiner::default();
        let mut joined = String::new();
        for event in events {
            let marked = marked(event);
            let json = marked.as_deref().unwrap_or_else(|| str::from_utf8(event).unwrap());
            let text: String = serde_json::from_str(json).unwrap();
            joined.push_str(&joiner.join(&text, marked.is_some()));
        }
        joiner.end(&mut joined);
        joined
    }

    #[test]
    fn halves_are_joined_across_events() {
        for (events, expected) in [
            (&[&br#""a""#[..], br#""b""#][..], "ab"),
            (&[br#""a\ud83d""#, br#""\ude00b""#], "a\u{1F600}b"),
            (&[br#""a\ud83d""#, br#""""#, br#""\ude00b""#], "a\u{1F600}b"),
            (&[br#""\ud83d""#, br#""\ude00\ud83d""#, br#""\ude01""#], "\u{1F600}\u{1F601}"),
            (&[br#""a\ud83d""#], "a\u{FFFD}"),
            (&[br#""a\ud83d""#, br#""b""#], "a\u{FFFD}b"),
            (&[br#""\ude00""#, br#""\ud83d""#], "\u{FFFD}\u{FFFD}"),
            (&[br#""\ud83d\ud83d""#, br#""\ude00""#], "\u{FFFD}\u{1F600}"),
            (&[b"\"\xF0\x9F\"", b"\"\x98\x80\""], "\u{1F600}"),
            (&[b"\"\xF0\"", b"\"\x9F\x98\"", b"\"\x80!\""], "\u{1F600}!"),
            (&[b"\"\xE4\xB8\"", b"\"\xAD\xE6\"", b"\"\x96\x87\""], "\u{4E2D}\u{6587}"),
            (&[b"\"\xF0\x9F\"", b"\"x\""], "\u{FFFD}x"),
            (&[b"\"\xF0\x9F\"", b"\"\\ud83d\"", b"\"\\ude00\""], "\u{FFFD}\u{1F600}"),
            (&[b"\"\xED\xA0\xBD\"", b"\"\xED\xB8\x80\""], "\u{1F600}"),
            (&[b"\"\xED\xA0\xBD\"", b"\"\\ude00\""], "\u{1F600}"),
            (
                &["\"\u{10FFFF}\\ud83d\"".as_bytes(), "\"\\ude00\u{10FFFF}\"".as_bytes()],
                "\u{10FFFF}\u{1F600}\u{10FFFF}",
            ),
            (&["\"\u{10FFFF}\u{F0000}\"".as_bytes()], "\u{10FFFF}\u{F0000}"),
        ] {
            assert_eq!(joined(events), expected, "{events:?}");
        }
    }

    proptest! {
        #[test]
        fn any_split_of_any_text_gives_the_text(text in "[a-c\u{e9}\u{4e2d}\u{1F600}\u{10FFFF}\u{F0041}]{0,12}", cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6), as_bytes in any::<bool>()) {
            // Cut between UTF-16 units or between bytes.
            let units: Vec<u16> = text.encode_utf16().collect();
            let length = if as_bytes { text.len() } else { units.len() };
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(length + 1)).chain([0, length]).collect();
            cuts.sort_unstable();
            let events: Vec<Vec<u8>> = cuts.windows(2).map(|pair| {
                let mut event = vec![b'"'];
                if as_bytes {
                    event.extend_from_slice(&text.as_bytes()[pair[0]..pair[1]]);
                } else {
                    for unit in &units[pair[0]..pair[1]] {
                        event.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
                    }
                }
                event.push(b'"');
                event
            }).collect();
            let events: Vec<&[u8]> = events.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(joined(&events), text);
        }

        #[test]
        fn any_bytes_are_decoded_as_the_standard_says(bytes in proptest::collection::vec(prop_oneof![Just(b'a'), 0x80_u8..], 0..12)) {
            prop_assume!(!(0..bytes.len()).any(|at| half_in_utf8(&bytes[at..]).is_some()));
            let mut event = vec![b'"'];
            event.extend_from_slice(&bytes);
            event.push(b'"');
            prop_assert_eq!(joined(&[&event]), String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}
