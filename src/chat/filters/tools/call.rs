//! A call that is being read, in either form.

use super::{
    marker::{self, Marker, Not},
    markup::{Found, Markup},
    payload::{self, Payload, Trust},
    toolset::ToolSet,
};
use crate::chat::filters::json::{JsonScanner, Scan};

/// How certain it is that a call is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Certainty {
    /// It has its marker.
    Marked,
    /// Words stand between marker and call: it needs its end marker.
    Loose,
    /// It has no marker: it needs an end marker, or the end of the answer.
    Bare,
}

/// A call that is being read.
#[derive(Debug)]
pub(super) struct Call {
    form: Form,
    pub(super) certainty: Certainty,
}

#[derive(Debug)]
enum Form {
    Json(Json),
    Tags(Markup),
}

/// A call as JSON.
#[derive(Debug)]
struct Json {
    begin: usize,
    scanner: JsonScanner,
    /// How far it is read.
    at: usize,
    is_damaged: bool,
}

impl Call {
    /// A call whose marker stands behind so many bytes.
    pub(super) fn new(marker: Marker, before: usize) -> Self {
        match marker {
            Marker::Json { at, is_loose } => {
                let certainty = if is_loose { Certainty::Loose } else { Certainty::Marked };
                Self { form: Form::Json(Json::new(before.saturating_add(at))), certainty }
            }
            Marker::Tags { at } => {
                let form = Form::Tags(Markup::new(before.saturating_add(at)));
                Self { form, certainty: Certainty::Marked }
            }
            Marker::End { .. } | Marker::Result | Marker::Think { .. } => Self::bare(before),
        }
    }

    /// A call without a marker.
    pub(super) fn bare(begin: usize) -> Self {
        Self { form: Form::Json(Json::new(begin)), certainty: Certainty::Bare }
    }

    /// Reads on in the held text.
    pub(super) fn read(&mut self, held: &str, has_ended: bool, tools: &ToolSet) -> Found {
        match &mut self.form {
            Form::Tags(markup) => markup.read(held, has_ended, tools),
            Form::Json(json) => json.read(held, has_ended, tools),
        }
    }
}

impl Json {
    fn new(begin: usize) -> Self {
        Self { begin, scanner: JsonScanner::default(), at: begin, is_damaged: false }
    }

    fn read(&mut self, held: &str, has_ended: bool, tools: &ToolSet) -> Found {
        if !self.is_damaged {
            let fresh = held.as_bytes().get(self.at..).unwrap_or_default();
            match self.scanner.feed(fresh) {
                Scan::Complete(length) => {
                    let end = self.at.saturating_add(length);
                    return Found::Over(end, payload::from_json(held.get(self.begin..end).unwrap_or_default(), tools));
                }
                Scan::More if has_ended => return Found::Over(held.len(), Payload::Cut),
                Scan::More => {
                    self.at = held.len();
                    return Found::More;
                }
                Scan::Invalid(offset) => {
                    self.is_damaged = true;
                    self.at = self.at.saturating_add(offset);
                }
            }
        }
        self.read_damaged(held, has_ended, tools)
    }

    /// The end of damaged JSON is where a marker follows that is not inside of a text.
    fn read_damaged(&mut self, held: &str, has_ended: bool, tools: &ToolSet) -> Found {
        while let Some(found) = held.get(self.at..).and_then(marker::candidate) {
            let at = self.at.saturating_add(found);
            let (before, rest) = held.split_at_checked(at).unwrap_or((held, ""));
            let begins_line = before.trim_end_matches([' ', '\t']).ends_with('\n');
            let ends = match marker::marker(rest, true) {
                Ok(Marker::End { .. }) => begins_line || before.trim_end().ends_with(['}', ']']),
                Ok(Marker::Json { .. } | Marker::Tags { .. } | Marker::Result) => begins_line,
                Err(Not::Yet) if !has_ended => {
                    self.at = at;
                    return Found::More;
                }
                // Half of an end marker ends it as well.
                Err(Not::Yet) => begins_line || before.trim_end().ends_with(['}', ']']),
                _ => false,
            };
            if ends {
                let text = before.get(self.begin..).unwrap_or_default();
                return Found::Over(at, payload::from_damaged(text, Trust::Ended, tools));
            }
            self.at = at.saturating_add(rest.chars().next().map_or(1, char::len_utf8));
        }
        self.at = held.len();
        if !has_ended {
            return Found::More;
        }
        let text = held.get(self.begin..).unwrap_or_default();
        Found::Over(held.len(), payload::from_damaged(text, Trust::Open, tools))
    }
}
