//! Recognises the markers of tool calls in text, however they are damaged: in any case, with other blanks, full-width
//! brackets, numbers and attributes.

/// How much of a text is looked at for a marker, in bytes, its closing bracket included.
const MAX_MARKER: usize = 64;
/// How far the call may be from its marker, in bytes.
const MAX_GAP: usize = 64;
/// How many markers may stand before one call.
const MAX_NESTED: u8 = 3;

/// Why a text is not what was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Not {
    /// It is something else.
    This,
    /// It ends too early to say.
    Yet,
}

/// A marker, or what a call begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    /// A call as JSON, whose object or array begins after so many bytes. `is_loose`: words stand between.
    Json { at: usize, is_loose: bool },
    /// A call as tags: `<function=` or `<invoke` begins after so many bytes.
    Tags { at: usize },
    /// The end of a call, of so many bytes.
    End { length: usize },
    /// The beginning of a result, which a model must not write.
    Result,
    /// `<think>`, of so many bytes.
    Think { length: usize },
}

/// Reads characters, full-width ones as the narrow ones that they look like, letters as small ones.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
    most: usize,
    /// How many markers more may follow.
    nested: u8,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, most: MAX_MARKER, nested: MAX_NESTED }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Result<char, Not> {
        if self.at >= self.most {
            return Err(Not::This);
        }
        self.rest().chars().next().map(narrow).ok_or(Not::Yet)
    }

    fn skip(&mut self) {
        let length = self.rest().chars().next().map_or(0, char::len_utf8);
        self.at = self.at.saturating_add(length);
    }

    fn take(&mut self, wanted: char) -> Result<(), Not> {
        if self.peek()? != wanted {
            return Err(Not::This);
        }
        self.skip();
        Ok(())
    }

    fn takes(&mut self, wanted: char) -> Result<bool, Not> {
        let is_there = self.peek()? == wanted;
        if is_there {
            self.skip();
        }
        Ok(is_there)
    }

    fn word(&mut self, word: &str) -> Result<(), Not> {
        word.chars().try_for_each(|character| self.take(character))
    }

    /// Takes `word` if it is there.
    fn takes_word(&mut self, word: &str) -> Result<bool, Not> {
        let mut ahead = self.clone();
        match ahead.word(word) {
            Ok(()) => {
                *self = ahead;
                Ok(true)
            }
            Err(Not::This) => Ok(false),
            Err(Not::Yet) => Err(Not::Yet),
        }
    }

    fn skip_while(&mut self, is_skipped: impl Fn(char) -> bool) -> Result<(), Not> {
        while is_skipped(self.peek()?) {
            self.skip();
        }
        Ok(())
    }
}

fn narrow(character: char) -> char {
    match character {
        '\u{FF3B}' | '\u{3010}' => '[',
        '\u{FF3D}' | '\u{3011}' => ']',
        '\u{FF1C}' => '<',
        '\u{FF1E}' => '>',
        '\u{FF5B}' => '{',
        '\u{FF5D}' => '}',
        '\u{FF0F}' => '/',
        '\u{FF1D}' => '=',
        '\u{FF1A}' => ':',
        '\u{3000}' | '\u{A0}' => ' ',
        other => other.to_ascii_lowercase(),
    }
}

/// Where in a text the first character stands that may begin a marker, or a fence.
pub(super) fn candidate(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let begins = |at: usize| {
        let rest = bytes.get(at..).unwrap_or_default();
        matches!(rest, [b'[' | b'<' | b'`', ..] | [0xE3, 0x80, 0x90, ..] | [0xEF, 0xBC, 0xBB | 0x9C, ..])
    };
    bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| matches!(byte, b'[' | b'<' | b'`' | 0xE3 | 0xEF))
        .map(|(at, _)| at)
        .find(|at| begins(*at))
}

const fn separates(character: char) -> bool {
    matches!(character, ' ' | '_' | '-')
}

/// Looks for a marker at the beginning of a text. `at_line_start`: whether it begins a line.
pub(super) fn marker(text: &str, at_line_start: bool) -> Result<Marker, Not> {
    marker_at(Cursor::new(text), at_line_start)
}

fn marker_at(mut cursor: Cursor<'_>, at_line_start: bool) -> Result<Marker, Not> {
    if cursor.takes('[')? {
        return square(cursor, at_line_start);
    }
    cursor.take('<')?;
    angle(cursor, at_line_start)
}

/// Takes `tool call`, however it is written.
fn tool_call(cursor: &mut Cursor<'_>) -> Result<(), Not> {
    cursor.word("tool")?;
    cursor.skip_while(separates)?;
    cursor.word("call")
}

fn square(mut cursor: Cursor<'_>, at_line_start: bool) -> Result<Marker, Not> {
    cursor.skip_while(|character| character == ' ')?;
    let mut is_end = cursor.takes('/')?;
    if cursor.takes_word("end")? {
        is_end = true;
        cursor.skip_while(separates)?;
    }
    cursor.word("tool")?;
    cursor.skip_while(separates)?;
    if !is_end && cursor.takes_word("result")? {
        decoration(&mut cursor, ']')?;
        return Ok(Marker::Result);
    }
    if is_end && cursor.takes_word("result")? {
        decoration(&mut cursor, ']')?;
        return Ok(Marker::End { length: cursor.at() });
    }
    cursor.word("call")?;
    cursor.takes('s')?;
    decoration(&mut cursor, ']')?;
    if is_end {
        return Ok(Marker::End { length: cursor.at() });
    }
    // A link of Markdown is no marker.
    if matches!(cursor.peek()?, '(') {
        return Err(Not::This);
    }
    gap(cursor, at_line_start)
}

/// Takes what stands between a marker's words and its bracket: nothing, or numbers and attributes.
fn decoration(cursor: &mut Cursor<'_>, bracket: char) -> Result<(), Not> {
    if cursor.takes(bracket)? {
        return Ok(());
    }
    if cursor.peek()?.is_ascii_alphanumeric() {
        return Err(Not::This);
    }
    cursor.skip_while(|character| character != bracket && character != '\n')?;
    cursor.take(bracket)
}

fn angle(mut cursor: Cursor<'_>, at_line_start: bool) -> Result<Marker, Not> {
    let is_end = cursor.takes('/')?;
    cursor.takes('|')?;
    cursor.takes_word("antml:")?;
    match cursor.peek()? {
        'i' => {
            cursor.word("invoke")?;
            if is_end {
                return end_tag(cursor);
            }
            cursor.take(' ')?;
            Ok(Marker::Tags { at: 0 })
        }
        'f' => {
            cursor.word("function")?;
            if cursor.takes_word("_call")? {
                cursor.takes('s')?;
                return if is_end { end_tag(cursor) } else { after_tag(cursor, at_line_start) };
            }
            if is_end {
                return end_tag(cursor);
            }
            if cursor.takes(' ')? {
                cursor.word("name")?;
                cursor.skip_while(|character| character == ' ')?;
            }
            cursor.take('=')?;
            Ok(Marker::Tags { at: 0 })
        }
        'p' if is_end => {
            cursor.word("parameter")?;
            end_tag(cursor)
        }
        't' if cursor.takes_word("think")? => {
            cursor.take('>')?;
            if is_end { Err(Not::This) } else { Ok(Marker::Think { length: cursor.at() }) }
        }
        _ => {
            tool_call(&mut cursor)?;
            cursor.takes('s')?;
            if is_end { end_tag(cursor) } else { after_tag(cursor, at_line_start) }
        }
    }
}

/// Takes the rest of a closing tag, which may be decorated, or cut off before the next line.
fn end_tag(mut cursor: Cursor<'_>) -> Result<Marker, Not> {
    cursor.skip_while(|character| !matches!(character, '>' | '\n' | '<' | '['))?;
    cursor.takes('>')?;
    Ok(Marker::End { length: cursor.at() })
}

/// Takes the rest of an opening tag, which may be decorated, or cut off before the next line or the call.
fn after_tag(mut cursor: Cursor<'_>, at_line_start: bool) -> Result<Marker, Not> {
    if cursor.peek()?.is_ascii_alphanumeric() {
        return Err(Not::This);
    }
    cursor.skip_while(|character| !matches!(character, '>' | '\n' | '{' | '<' | '['))?;
    cursor.takes('>')?;
    gap(cursor, at_line_start)
}

/// Takes what stands between a marker and its call.
fn gap(mut cursor: Cursor<'_>, at_line_start: bool) -> Result<Marker, Not> {
    let begin = cursor.at();
    cursor.most = begin.saturating_add(MAX_GAP);
    let mut is_loose = false;
    let mut in_fence = false;
    let mut backticks = 0_u8;
    loop {
        match cursor.peek()? {
            '{' => return Ok(Marker::Json { at: cursor.at(), is_loose }),
            '[' => {
                let mut ahead = cursor.clone();
                ahead.skip();
                ahead.skip_while(char::is_whitespace)?;
                if ahead.peek()? == '{' {
                    return Ok(Marker::Json { at: cursor.at(), is_loose });
                }
                return nested(&cursor, at_line_start);
            }
            '<' => return nested(&cursor, at_line_start),
            '`' => {
                backticks = backticks.saturating_add(1);
                in_fence = backticks >= 3;
                cursor.skip();
            }
            '\n' => {
                (in_fence, backticks) = (false, 0);
                cursor.skip();
            }
            character if character.is_alphabetic() => {
                // A fence's language is no word.
                if !in_fence {
                    if !at_line_start {
                        return Err(Not::This);
                    }
                    is_loose = true;
                }
                cursor.skip();
            }
            _ => cursor.skip(),
        }
    }
}

/// A marker within the gap after another: a doubled one, or a container around it.
fn nested(before: &Cursor<'_>, at_line_start: bool) -> Result<Marker, Not> {
    let at = before.at();
    let nested = before.nested.checked_sub(1).ok_or(Not::This)?;
    match marker_at(Cursor { nested, ..Cursor::new(before.rest()) }, at_line_start)? {
        Marker::Json { at: inner, is_loose } => Ok(Marker::Json { at: at.saturating_add(inner), is_loose }),
        Marker::Tags { at: inner } => Ok(Marker::Tags { at: at.saturating_add(inner) }),
        Marker::End { .. } | Marker::Result | Marker::Think { .. } => Err(Not::This),
    }
}

/// Whether a text that has ended is the marker of a call without the call.
pub(super) fn is_cut(text: &str) -> bool {
    let mut cursor = Cursor::new(text);
    let opened = match cursor.peek() {
        Ok('[') => {
            cursor.skip();
            tool_call(&mut cursor)
                .and_then(|()| cursor.takes('s').map(drop))
                .and_then(|()| decoration(&mut cursor, ']'))
        }
        Ok('<') => {
            cursor.skip();
            tool_call(&mut cursor).and_then(|()| cursor.take('>'))
        }
        _ => return false,
    };
    opened.is_ok() && cursor.rest().chars().all(|character| character.is_whitespace() || character == '`')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_recognised() {
        let json = |at| Ok(Marker::Json { at, is_loose: false });
        let end = |length| Ok(Marker::End { length });
        for (text, expected) in [
            ("[TOOL CALL]\n{", json(12)),
            ("[tool_call]{", json(11)),
            ("[ Tool-Call #3 ]\n```json\n{", json(25)),
            ("\u{3010}TOOL CALL\u{3011}{", json(15)),
            ("[TOOL CALL id=\"1\"]{", json(18)),
            ("[TOOL CALL][TOOL CALL]\n{", json(23)),
            ("[TOOL CALL]\n[ {", json(12)),
            ("[TOOL CALL]\nget_weather {", Ok(Marker::Json { at: 24, is_loose: true })),
            ("<tool_call>{", json(11)),
            ("<tool_call\n{", json(11)),
            ("<tool_call_id_1>\n{", json(17)),
            ("\u{FF1C}tool_call\u{FF1E}{", json(15)),
            ("<tool_call>\n<function=", Ok(Marker::Tags { at: 12 })),
            ("<function=f", Ok(Marker::Tags { at: 0 })),
            ("<function_calls>\n<invoke name", Ok(Marker::Tags { at: 17 })),
            ("<invoke name=", Ok(Marker::Tags { at: 0 })),
            ("[END TOOL CALL]", end(15)),
            ("[/tool_call #1]", end(15)),
            ("</tool_call>", end(12)),
            ("</tool_call_id_1>x", end(17)),
            ("</function_calls>", end(17)),
            ("[TOOL RESULT #1: read]", Ok(Marker::Result)),
            ("<think>", Ok(Marker::Think { length: 7 })),
        ] {
            assert_eq!(marker(text, true), expected, "{text}");
            for (cut, _) in text.char_indices() {
                let head = &text[..cut];
                assert!(matches!(marker(head, true), Err(Not::Yet)) || marker(head, true) == expected, "{head}");
            }
        }
        for text in [
            "[docs]",
            "[1]",
            "[tool calls](https://e.x)",
            "[TOOL CALLER]{",
            "<b>",
            "< 2",
            "<tools>",
            "<tool_use>",
            "[toolbox]",
            "[TOOL CALL\n]{",
            "<tool_callback>{",
            "</b>",
            "<functional>",
            "<invoker>",
            "\u{3001}",
            "\u{FF0C}",
        ] {
            assert_eq!(marker(text, true), Err(Not::This), "{text}");
        }
        assert_eq!(marker("[tool calls] look like {", false), Err(Not::This));
    }
}
