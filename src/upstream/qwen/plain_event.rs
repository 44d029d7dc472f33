//! A second reader of upstream events, for the ones that most of a stream consists of: deltas of text with their token counts.
//!
//! It knows their fields only, looks at each byte once, and moves nothing. What it does not understand it leaves to serde, so
//! that it decides nothing: where it returns an event, serde reads the same one.

use std::borrow::Cow;

use super::event::{Choice, Counts, Delta, UpstreamEvent};
use crate::upstream::fields::{Count, First, Object, Text};

/// Reads a delta of text. `None` says nothing about the event but that it has to be read otherwise.
pub(super) fn read(text: &str) -> Option<UpstreamEvent<'_>> {
    let mut cursor = Cursor { text, at: 0 };
    let mut event = UpstreamEvent::default();
    let mut known = Known::default();
    cursor.object(|cursor, key| {
        match key {
            "choices" => event.choices = First(Some(known.once(0, cursor.choices()?)?)),
            "response_id" => event.response_id = known.once(1, cursor.string()?)?,
            "usage" => event.usage = Object(known.once(2, cursor.usage()?)?),
            "response.created" | "response.info" | "error" | "code" | "ret" | "detail" | "success" => return None,
            _ => cursor.skip_simple()?,
        }
        Some(())
    })?;
    (known.has(0) && cursor.peek().is_none()).then_some(event)
}

/// The known fields of an object that have come; serde refuses a second one of the same name.
#[derive(Clone, Copy, Default)]
struct Known(u8);

impl Known {
    fn has(self, number: u8) -> bool {
        self.0.wrapping_shr(number.into()) & 1 == 1
    }

    /// Returns `value` where it is the first one of this field.
    fn once<T>(&mut self, number: u8, value: T) -> Option<T> {
        let is_first = !self.has(number);
        self.0 |= 1_u8.wrapping_shl(number.into());
        is_first.then_some(value)
    }
}

/// A place in a text of JSON.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

/// The number of leading bytes that stand for themselves in a string: no quote, no backslash, no control character.
const fn plain_bytes(eight: [u8; 8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    let word = u64::from_le_bytes(eight);
    // The highest bit of the first byte that is zero here is set, and perhaps of some behind it.
    const fn zeros(word: u64) -> u64 {
        word.wrapping_sub(ONES) & !word
    }
    let controls = word.wrapping_sub(ONES.wrapping_mul(0x20)) & !word;
    let quotes = zeros(word ^ ONES.wrapping_mul(b'"' as u64));
    let escapes = zeros(word ^ ONES.wrapping_mul(b'\\' as u64));
    let ends = (controls | quotes | escapes) & ONES.wrapping_mul(0x80);
    (ends.trailing_zeros() as usize).wrapping_shr(3)
}

impl<'a> Cursor<'a> {
    fn step(&mut self) {
        self.at = self.at.wrapping_add(1);
    }

    /// The byte at the place.
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Steps over white space; returns the byte that follows.
    fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.byte() {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.step();
        }
        None
    }

    /// Takes this byte, if it follows.
    fn take(&mut self, byte: u8) -> Option<()> {
        if self.peek()? != byte {
            return None;
        }
        self.step();
        Some(())
    }

    /// Takes an object. `member` gets each key and takes the value.
    #[inline]
    fn object(&mut self, mut member: impl FnMut(&mut Self, &'a str) -> Option<()>) -> Option<()> {
        self.take(b'{')?;
        if self.peek()? == b'}' {
            self.step();
            return Some(());
        }
        loop {
            let key = self.plain_string()?;
            self.take(b':')?;
            member(self, key)?;
            let next = self.peek()?;
            self.step();
            match next {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    /// Takes a string without escapes.
    fn plain_string(&mut self) -> Option<&'a str> {
        self.take(b'"')?;
        let start = self.at;
        while let Some(eight) = self.text.as_bytes().get(self.at..).and_then(<[u8]>::first_chunk) {
            let plain = plain_bytes(*eight);
            self.at = self.at.wrapping_add(plain);
            if plain < eight.len() {
                break;
            }
        }
        // What is left is the end, unless fewer than eight bytes are left.
        while !matches!(self.byte()?, b'"' | b'\\' | 0..b' ') {
            self.step();
        }
        let text = self.text.get(start..self.at)?;
        (self.byte()? == b'"').then(|| self.step())?;
        Some(text)
    }

    fn string(&mut self) -> Option<Text<'a>> {
        self.peek()?;
        let start = self.at;
        match self.plain_string() {
            Some(text) => Some(Text(Cow::Borrowed(text))),
            None => self.escaped_string(start),
        }
    }

    /// Takes the string with escapes that begins here.
    fn escaped_string(&mut self, start: usize) -> Option<Text<'a>> {
        let mut is_escaped = false;
        let length = self.text.get(start..)?.strip_prefix('"')?.bytes().position(|byte| {
            let ends = byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            ends
        })?;
        // With both quotes.
        self.at = start.checked_add(length)?.checked_add(2)?;
        let text = serde_json::from_str(self.text.get(start..self.at)?).ok()?;
        Some(Text(Cow::Owned(text)))
    }

    /// Takes a whole number without sign, as JSON has it.
    fn number(&mut self) -> Option<u64> {
        self.peek()?;
        let (start, mut number) = (self.at, 0_u64);
        while let Some(digit @ b'0'..=b'9') = self.byte() {
            number = number.checked_mul(10)?.checked_add(u64::from(digit & 0xf))?;
            self.step();
        }
        let (length, is_whole) = (self.at.wrapping_sub(start), !matches!(self.byte()?, b'.' | b'e' | b'E'));
        let is_short = length == 1 || (length > 1 && self.text.as_bytes().get(start) != Some(&b'0'));
        (is_whole && is_short).then_some(number)
    }

    fn count(&mut self) -> Option<Count> {
        self.number().map(|number| Count(Some(number)))
    }

    /// Takes a string or a whole number of no interest.
    fn skip_simple(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(drop),
            _ => self.number().map(drop),
        }
    }

    /// An array of one choice.
    fn choices(&mut self) -> Option<Choice<'a>> {
        self.take(b'[')?;
        let (mut choice, mut known) = (Choice::default(), Known::default());
        self.object(|cursor, key| {
            match key {
                "delta" => choice.delta = Some(known.once(0, cursor.delta()?)?),
                _ => cursor.skip_simple()?,
            }
            Some(())
        })?;
        self.take(b']')?;
        Some(choice)
    }

    fn delta(&mut self) -> Option<Delta<'a>> {
        let (mut delta, mut known) = (Delta::default(), Known::default());
        self.object(|cursor, key| {
            match key {
                "role" => delta.role = known.once(0, cursor.string()?)?,
                "content" => delta.content = known.once(1, cursor.string()?)?,
                "phase" => delta.phase = known.once(2, cursor.string()?)?,
                "status" => delta.status = known.once(3, cursor.string()?)?,
                "finish_reason" => delta.finish_reason = known.once(4, cursor.string()?)?,
                "function_id" => delta.function_id = known.once(5, cursor.string()?)?,
                "function_call" | "extra" => return None,
                _ => cursor.skip_simple()?,
            }
            Some(())
        })?;
        Some(delta)
    }

    fn usage(&mut self) -> Option<Counts> {
        let (mut counts, mut known) = (Counts::default(), Known::default());
        self.object(|cursor, key| {
            match key {
                "input_tokens" => counts.input_tokens = known.once(0, cursor.count()?)?,
                "output_tokens" => counts.output_tokens = known.once(1, cursor.count()?)?,
                "total_tokens" => counts.total_tokens = known.once(2, cursor.count()?)?,
                "width" => counts.width = known.once(3, cursor.count()?)?,
                "height" => counts.height = known.once(4, cursor.count()?)?,
                "output_tokens_details" => {
                    let tokens = known.once(5, cursor.detail("reasoning_tokens")?)?;
                    counts.output_tokens_details.0.reasoning_tokens = tokens;
                }
                "prompt_tokens_details" => {
                    let tokens = known.once(6, cursor.detail("cached_tokens")?)?;
                    counts.prompt_tokens_details.0.cached_tokens = tokens;
                }
                "input_tokens_details" => drop(cursor.detail("")?),
                _ => cursor.skip_simple()?,
            }
            Some(())
        })?;
        Some(counts)
    }

    /// The number of this name in an object of numbers.
    fn detail(&mut self, name: &str) -> Option<Count> {
        let (mut count, mut known) = (Count::default(), Known::default());
        self.object(|cursor, key| {
            match cursor.count()? {
                found if key == name => count = known.once(0, found)?,
                _ => {}
            }
            Some(())
        })?;
        Some(count)
    }
}

#[cfg(test)]
mod tests {
    use serde::{
        Deserialize, Deserializer,
        de::{Error as _, Visitor, value::Error},
    };

    use super::*;
    use crate::upstream::qwen::event::{OutputDetails, PromptDetails};

    const DELTA: &str = concat!(
        r#"{"choices": [{"delta": {"role": "assistant", "content": "seven\nü\u00fc", "phase": "answer", "status": "typing"}}], "#,
        r#""response_id": "r", "usage": {"input_tokens": 1049, "output_tokens": 70, "characters": 0, "total_tokens": 1056, "#,
        r#""input_tokens_details": {"text_tokens": 1049}, "output_tokens_details": {"reasoning_tokens": 4, "text_tokens": 7}, "#,
        r#""prompt_tokens_details": {"cached_tokens": 0}}, "timestamp": 1790000006}"#,
    );

    /// Whether it was read; then serde reads the same.
    fn agrees(text: &str) -> bool {
        let Some(event) = read(text) else { return false };
        let other = serde_json::from_str::<UpstreamEvent<'_>>(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(format!("{event:?}"), format!("{other:?}"), "{text}");
        true
    }

    #[test]
    fn the_plain_bytes_of_eight_are_counted() {
        for filler in [b'a', 0x20, 0x7f, 0x80, 0xff] {
            assert_eq!(plain_bytes([filler; 8]), 8, "{filler}");
            for (at, byte) in (0..8).flat_map(|at| (0..=u8::MAX).map(move |byte| (at, byte))) {
                let mut eight = [filler; 8];
                eight[at] = byte;
                let ends = byte < 0x20 || matches!(byte, b'"' | b'\\');
                assert_eq!(plain_bytes(eight), if ends { at } else { 8 }, "{eight:?}");
                // What stands behind the first end changes nothing.
                eight[at + 1..].fill(b'"');
                assert_eq!(plain_bytes(eight), if ends { at } else { at + 1 }, "{eight:?}");
            }
        }
    }

    /// Gets the names of the fields that serde asks for.
    struct Names(&'static [&'static str]);

    impl<'de> Deserializer<'de> for &mut Names {
        type Error = Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
            Err(Error::custom("only structs are asked for"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Error> {
            self.0 = fields;
            Err(Error::custom("the names are known"))
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
            seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    fn fields<'de, T: Deserialize<'de> + std::fmt::Debug>() -> &'static [&'static str] {
        let mut names = Names(&[]);
        T::deserialize(&mut names).unwrap_err();
        names.0
    }

    #[test]
    fn no_field_that_serde_reads_is_skipped() {
        let mut read = 0;
        for (fields, event) in [
            (fields::<UpstreamEvent<'_>>(), r#"{"choices":[{}],MEMBER}"#),
            (fields::<Choice<'_>>(), r#"{"choices":[{MEMBER}]}"#),
            (fields::<Delta<'_>>(), r#"{"choices":[{"delta":{MEMBER}}]}"#),
            (fields::<Counts>(), r#"{"choices":[{}],"usage":{MEMBER}}"#),
            (fields::<OutputDetails>(), r#"{"choices":[{}],"usage":{"output_tokens_details":{MEMBER}}}"#),
            (fields::<PromptDetails>(), r#"{"choices":[{}],"usage":{"prompt_tokens_details":{MEMBER}}}"#),
        ] {
            assert!(!fields.is_empty(), "{event}");
            for (field, value) in
                fields.iter().flat_map(|field| [r#""x""#, "7", r#"{"a":7}"#].map(|value| (field, value)))
            {
                read += u32::from(agrees(&event.replace("MEMBER", &format!(r#""{field}":{value}"#))));
            }
        }
        assert!(read > 10, "{read}");
    }

    #[test]
    fn deltas_of_text_are_read() {
        for text in [
            DELTA,
            &DELTA.replace(' ', ""),
            &DELTA.replace(' ', "\r\n\t "),
            r#"{"choices":[{"delta":{"content":""},"index":0}]}"#,
            r#"{"choices":[{}]}"#,
            r#" {"id":"a","choices":[{"delta":{"finish_reason":"length","function_id":"f","name":"n"}}],"usage":{"width":1,"height":2}} "#,
        ] {
            assert!(agrees(text), "{text}");
        }
    }

    #[test]
    fn what_is_unusual_is_left_to_serde() {
        for text in [
            "",
            "{}",
            "null",
            r#"{"choices":[]}"#,
            r#"{"choices":[{},{}]}"#,
            r#"{"choices":[{"delta":null}]}"#,
            r#"{"choices":[{"delta":{"content":null}}]}"#,
            r#"{"choices":[{"delta":{"content":"a","content":"b"}}]}"#,
            r#"{"choices":[{"delta":{"role":"","role":"b"}}]}"#,
            r#"{"choices":[{}],"usage":{},"usage":{}}"#,
            r#"{"choices":[{"delta":{"extra":{}}}]}"#,
            r#"{"choices":[{"delta":{"function_call":{}}}]}"#,
            r#"{"choices":[{}],"error":null}"#,
            r#"{"choices":[{}],"usage":{"input_tokens":-1}}"#,
            r#"{"choices":[{}],"usage":{"input_tokens":1.5}}"#,
            r#"{"choices":[{}],"usage":{"input_tokens":01}}"#,
            r#"{"choices":[{}],"usage":{"input_tokens":18446744073709551616}}"#,
            r#"{"choices":[{"delta":{"content":"\ud83d"}}]}"#,
            "{\"choices\":[{\"delta\":{\"content\":\"\u{1}\"}}]}",
            r#"{"choices":[{}]}}"#,
            r#"{"choices":[{}],}"#,
        ] {
            assert!(read(text).is_none(), "{text}");
        }
    }

    #[test]
    fn no_damage_is_read_otherwise_than_by_serde() {
        let bytes = DELTA.as_bytes();
        let mut read = 0;
        let mut check = |damaged: Vec<u8>| read += u32::from(str::from_utf8(&damaged).is_ok_and(agrees));
        for at in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(at);
            check(head.to_vec());
            for byte in b"\"\\{}[]:,.0123456789eE+-ntfu \n\0a" {
                check([head, &[*byte], tail].concat());
                check([head, &[*byte], tail.get(1..).unwrap_or_default()].concat());
            }
            for end in at..bytes.len() {
                check([head, &bytes[end..]].concat());
            }
            // A part twice, as a field that comes again.
            for end in (at + 1..bytes.len()).step_by(7) {
                check([&bytes[..end], &bytes[at..]].concat());
            }
        }
        assert!(read > 1_000, "{read}");
    }

    #[test]
    fn most_of_each_recorded_answer_is_read() {
        let (mut read, mut all) = (0, 0);
        for entry in std::fs::read_dir("tests/streams").unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "sse") {
                continue;
            }
            let file = std::fs::read(path).unwrap();
            for line in String::from_utf8_lossy(&file).lines() {
                let Some(data) = line.strip_prefix("data: ") else { continue };
                let is_read = agrees(data);
                if data.contains(r#""phase": "answer""#) && !data.contains("function_call") {
                    (read, all) = (read + u32::from(is_read), all + 1);
                }
            }
        }
        assert!(all > 100 && read * 10 > all * 9, "{read} of {all}");
    }
}
