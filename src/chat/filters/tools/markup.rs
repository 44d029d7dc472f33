//! Calls as tags, read piece by piece: `<function=NAME><parameter=KEY>VALUE</parameter></function>`, and the same with
//! `<invoke name="NAME">` and `<parameter name="KEY">`.
//!
//! A value is verbatim, whatever is in it: a tag ends it only where the next thing fits the form.

use super::{
    marker::{self, Marker, Not},
    payload::{self, Payload},
    toolset::{Parameters, ToolSet},
};

/// How much white space between two tags is looked through, in bytes.
const MAX_BLANKS: usize = 64;
/// The longest tag, in bytes.
const MAX_TAG: usize = 256;
/// The most parameters of a call.
const MAX_VALUES: usize = 256;

/// One call that is being read.
#[derive(Clone, Debug)]
pub(super) struct Markup {
    /// How far its text is read.
    at: usize,
    place: Place,
    name: String,
    is_named: bool,
    values: Vec<(String, String)>,
    parameters: Parameters,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// Before the name.
    Head,
    /// Between two parameters.
    Between,
    /// In the value of this parameter, which begins at this offset.
    Value(String, usize),
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The call is over after so many bytes of its text.
    Over(usize, Payload),
    /// It goes on.
    More,
}

enum Tag<'a> {
    Parameter(&'a str, usize),
    ParameterEnd(usize),
    End(usize),
    /// The beginning of another call.
    Next,
    Other,
}

impl Markup {
    /// Begins to read a call whose first tag begins at `at`.
    pub(super) fn new(at: usize) -> Self {
        Self {
            at,
            place: Place::Head,
            name: String::new(),
            is_named: false,
            values: Vec::new(),
            parameters: Parameters::default(),
        }
    }

    /// Reads on. `text` = all of the block so far; `has_ended` = nothing follows it.
    pub(super) fn read(&mut self, text: &str, has_ended: bool, tools: &ToolSet) -> Found {
        loop {
            let rest = text.get(self.at..).unwrap_or_default();
            let step = match &self.place {
                Place::Head => self.head(rest, tools),
                Place::Between => self.between(rest, has_ended),
                Place::Value(..) => self.value(text, rest, has_ended),
            };
            match step {
                Ok(Some(length)) => {
                    let payload = payload::from_tags(&self.name, &self.values, true, tools);
                    let payload = if self.is_named { payload } else { Payload::Unreadable };
                    return Found::Over(self.at.saturating_add(length), payload);
                }
                Ok(None) => {}
                Err(Not::Yet) if has_ended => {
                    let payload = match self.place {
                        Place::Between if self.is_named => payload::from_tags(&self.name, &self.values, false, tools),
                        _ => Payload::Cut,
                    };
                    return Found::Over(text.len(), payload);
                }
                Err(Not::Yet) => return Found::More,
                Err(Not::This) => {
                    // At least its first character: the same place would begin the same call again.
                    let first =
                        if self.place == Place::Head { rest.chars().next().map_or(0, char::len_utf8) } else { 0 };
                    return Found::Over(self.at.saturating_add(first), Payload::Unreadable);
                }
            }
        }
    }

    /// Reads the first tag. A line end in it means that it was never closed.
    fn head(&mut self, rest: &str, tools: &ToolSet) -> Result<Option<usize>, Not> {
        let Some((end, closing)) = end_of_tag(rest) else {
            return Err(if rest.len() > MAX_TAG { Not::This } else { Not::Yet });
        };
        let tag = rest.get(..end).unwrap_or_default();
        if closing != '\n'
            && let Some((_, name)) = tag.split_once(['=', '\u{FF1D}'])
        {
            self.name = name.trim().trim_matches(['"', '\'']).to_owned();
            self.is_named = true;
            self.parameters = tools.resolve(&self.name).tool.map(Parameters::of).unwrap_or_default();
        }
        self.at = self.at.saturating_add(end).saturating_add(closing.len_utf8());
        self.place = Place::Between;
        Ok(None)
    }

    fn between(&mut self, rest: &str, has_ended: bool) -> Result<Option<usize>, Not> {
        let trimmed = rest.trim_start();
        self.at = self.at.saturating_add(rest.len().saturating_sub(trimmed.len()));
        match tag(trimmed, has_ended)? {
            Tag::Parameter(key, length) if self.values.len() < MAX_VALUES => {
                self.at = self.at.saturating_add(length);
                self.place = Place::Value(key.to_owned(), self.at);
                Ok(None)
            }
            Tag::ParameterEnd(length) => {
                self.at = self.at.saturating_add(length);
                Ok(None)
            }
            Tag::End(length) => Ok(Some(length)),
            Tag::Next => Ok(Some(0)),
            Tag::Parameter(..) => Err(Not::This),
            // Something else within a call without a name is skipped up to its end.
            Tag::Other if !self.is_named => {
                let first = trimmed.chars().next().map_or(1, char::len_utf8);
                self.at = self.at.saturating_add(first);
                Ok(None)
            }
            Tag::Other => Err(Not::This),
        }
    }

    fn value(&mut self, text: &str, rest: &str, has_ended: bool) -> Result<Option<usize>, Not> {
        let Some(found) = memchr::memchr2(b'<', 0xEF, rest.as_bytes()) else {
            self.at = self.at.saturating_add(rest.len());
            return Err(Not::Yet);
        };
        self.at = self.at.saturating_add(found);
        let here = text.get(self.at..).unwrap_or_default();
        let begins_line = || {
            let before = text.get(..self.at).unwrap_or_default();
            before.trim_end_matches([' ', '\t']).ends_with('\n')
        };
        let ends_before = |length: usize| -> Result<bool, Not> {
            // A closing tag closes if what follows fits.
            let after = here.get(length..).unwrap_or_default();
            let trimmed = after.trim_start();
            if after.len().saturating_sub(trimmed.len()) > MAX_BLANKS {
                return Ok(true);
            }
            if trimmed.is_empty() && has_ended {
                return Ok(true);
            }
            Ok(!matches!(tag(trimmed, has_ended)?, Tag::Other))
        };
        let (is_end, length) = match tag(here, has_ended)? {
            Tag::ParameterEnd(length) => (ends_before(length)?, length),
            // A closing tag is missing.
            Tag::Parameter(key, _) => (begins_line() && self.parameters.has(key), 0),
            Tag::End(length) if begins_line() => (ends_before(length)?, 0),
            Tag::End(_) | Tag::Next | Tag::Other => (false, 0),
        };
        if !is_end {
            self.at = self.at.saturating_add(here.chars().next().map_or(0, char::len_utf8));
            return Ok(None);
        }
        if let Place::Value(key, begin) = std::mem::replace(&mut self.place, Place::Between) {
            let value = text.get(begin..self.at).unwrap_or_default();
            let value = value.strip_prefix("\r\n").or_else(|| value.strip_prefix('\n')).unwrap_or(value);
            let value = value.strip_suffix('\n').map_or(value, |value| value.strip_suffix('\r').unwrap_or(value));
            self.values.push((key, value.to_owned()));
        }
        self.at = self.at.saturating_add(length);
        Ok(None)
    }
}

/// Where the tag that a text begins with is closed, and by what.
fn end_of_tag(text: &str) -> Option<(usize, char)> {
    let mut head = text.char_indices().take_while(|(at, _)| *at < MAX_TAG);
    head.find(|(_, character)| matches!(character, '>' | '\u{FF1E}' | '\n'))
}

/// The tag that a text begins with.
fn tag(text: &str, has_ended: bool) -> Result<Tag<'_>, Not> {
    const PARAMETER: &str = "parameter";
    let Some(first) = text.chars().next() else { return Err(Not::Yet) };
    if !matches!(first, '<' | '\u{FF1C}') {
        // The end marker of another form ends this one too.
        return match marker::marker(text, true) {
            Ok(Marker::End { length }) => Ok(Tag::End(length)),
            Err(Not::Yet) if !has_ended && matches!(first, '[' | '\u{FF3B}' | '\u{3010}') => Err(Not::Yet),
            _ => Ok(Tag::Other),
        };
    }
    let inside = text.get(first.len_utf8()..).unwrap_or_default();
    let inside = inside.strip_prefix("antml:").unwrap_or(inside);
    if let Some(rest) = inside.strip_prefix(PARAMETER) {
        let Some((end, closing)) = end_of_tag(rest) else {
            return if rest.len() > MAX_TAG || has_ended { Ok(Tag::Other) } else { Err(Not::Yet) };
        };
        let Some((before, key)) = rest.get(..end).and_then(|tag| tag.split_once(['=', '\u{FF1D}'])) else {
            return Ok(Tag::Other);
        };
        let is_tag = closing != '\n' && matches!(before.trim(), "" | "name");
        let key = key.trim().trim_matches(['"', '\'']);
        let length = text.len().saturating_sub(rest.len()).saturating_add(end).saturating_add(closing.len_utf8());
        return Ok(if is_tag { Tag::Parameter(key, length) } else { Tag::Other });
    }
    let is_beginning = |word: &str| word.starts_with(inside) && !has_ended;
    if is_beginning("parameter=") || is_beginning("antml:parameter") {
        return Err(Not::Yet);
    }
    match marker::marker(text, true) {
        Ok(Marker::End { length }) => {
            let is_parameter = text.get(..length).is_some_and(|tag| tag.contains(PARAMETER));
            Ok(if is_parameter { Tag::ParameterEnd(length) } else { Tag::End(length) })
        }
        Ok(Marker::Json { .. } | Marker::Tags { .. }) => Ok(Tag::Next),
        Err(Not::Yet) if !has_ended => Err(Not::Yet),
        _ => Ok(Tag::Other),
    }
}
