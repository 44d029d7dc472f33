//! Reads the calls of tools in an answer's text: a state machine without a clock and without input or output of its own, so
//! that any split of the text gives the same.
//!
//! Plain text passes at once, but for what may be the beginning of a marker, and for white space at its end, which belongs to
//! a marker if one follows. A call is kept until it is complete. What follows a call is white space, another call, or the end:
//! everything else is made up by the model, and ends the answer.

mod code;
mod marker;
mod markup;
mod payload;
#[cfg(test)]
mod tests;
mod toolset;

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    ops::ControlFlow,
};

pub(in crate::chat) use payload::{ReadCall, bare_arguments};
pub(in crate::chat) use toolset::ToolSet;

use self::{
    code::Code,
    marker::{Marker, Not},
    markup::{Found, Markup},
    payload::{Payload, Trust},
};
use super::json::{JsonScanner, Scan};

/// The largest call, in bytes.
const MAX_CALL: usize = 1024 * 1024;
/// The most calls of one answer.
const MAX_CALLS: usize = 24;
/// How much white space, and how long a fence's beginning, is kept back, in bytes.
const MAX_BLANKS: usize = 64;

/// What the reader hands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::chat) enum Piece<'a> {
    /// A piece of the text.
    Text(&'a str),
    /// A piece of what the model thinks, which stood in the text.
    Reasoning(&'a str),
    /// A complete call.
    Call(&'a ReadCall),
    /// The whole of a call that cannot be read, beside none that can. It counts as text.
    Unreadable(&'a str),
}

/// What became of a call in the site's own form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::chat) enum Native {
    /// It was handed out, or was before.
    Read,
    /// Its arguments end too early.
    Cut,
    /// Its arguments cannot be read.
    Unreadable,
}

/// Where the answer stands at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::chat) struct Ended {
    /// A call was cut off, and left out.
    pub(in crate::chat) was_cut: bool,
}

/// Reads one answer.
#[derive(Debug)]
pub(in crate::chat) struct ToolReader {
    tools: ToolSet,
    /// The text that nothing is decided about yet, behind what is done with.
    held: String,
    /// How much of it is done with.
    done: usize,
    /// Text that is about to be handed out.
    ready: String,
    place: Place,
    code: Code,
    /// Whether anything but white space was handed out.
    has_text: bool,
    group: Group,
    /// Digests of the calls that were handed out.
    seen: HashSet<u64>,
    is_over: bool,
    was_cut: bool,
}

/// Calls one after the other, of which none was handed out yet.
#[derive(Debug, Default)]
struct Group {
    /// All of it, in case it turns out to be text.
    text: String,
    calls: Vec<ReadCall>,
    /// It stands in code: it counts only if the answer ends with it.
    is_code: bool,
    /// A call that counts only with its end marker has none yet.
    is_loose: bool,
    /// A call in it cannot be read.
    is_unreadable: bool,
}

#[derive(Debug)]
enum Place {
    Plain,
    Call(Call),
    /// After a call. `is_open`: its end marker has not come.
    After {
        is_open: bool,
    },
    /// Within `<think>`.
    Thinking,
    /// In the white space behind it.
    Thought,
}

/// How certain it is that a call is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Certainty {
    /// It has its marker.
    Marked,
    /// Words stand between marker and call: it needs its end marker.
    Loose,
    /// It has no marker: it needs an end marker, or the end of the answer.
    Bare,
}

/// A call that is being read.
#[derive(Debug)]
struct Call {
    form: Form,
    certainty: Certainty,
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

/// What is done with the beginning of the held text.
enum Step {
    /// So many bytes are text.
    Text(usize),
    /// So many bytes are thinking.
    Reasoning(usize),
    /// So many bytes are left out.
    Skip(usize),
    /// So many bytes end a call.
    End(usize),
    /// A call begins; whether it stands in code.
    Call(Call, bool),
    /// The call is over after so many bytes.
    Over(usize, Payload),
    /// What follows is nothing that may follow.
    Guard,
    /// More has to come.
    More,
}

/// Whether a whole text has a call in it.
pub(in crate::chat) fn has_call(text: &str, tools: &ToolSet) -> bool {
    let mut reader = ToolReader::new(tools.clone());
    let each = &mut |_: Piece<'_>| ControlFlow::Continue(());
    let _ = reader.push(text, each);
    let _ = reader.finish(each);
    reader.calls() > 0
}

impl ToolReader {
    /// A reader for the answer to a request with these tools.
    pub(in crate::chat) fn new(tools: ToolSet) -> Self {
        Self {
            tools,
            held: String::new(),
            done: 0,
            ready: String::new(),
            place: Place::Plain,
            code: Code::default(),
            has_text: false,
            group: Group::default(),
            seen: HashSet::new(),
            is_over: false,
            was_cut: false,
        }
    }

    /// The tools.
    pub(in crate::chat) fn tools(&self) -> &ToolSet {
        &self.tools
    }

    /// How many calls were handed out.
    pub(in crate::chat) fn calls(&self) -> usize {
        self.seen.len()
    }

    /// Whether a call was cut off, and none came before it.
    pub(in crate::chat) fn was_cut(&self) -> bool {
        self.was_cut && self.seen.is_empty()
    }

    /// How much is kept back outside of calls, in bytes.
    #[cfg(any(test, fuzzing))]
    pub(in crate::chat) fn kept_of_plain_text(&self) -> usize {
        if matches!(self.place, Place::Plain | Place::Thinking | Place::Thought) { self.held().len() } else { 0 }
    }

    /// Takes a piece of the text. `Break` = the answer is over, whatever follows; or `each` wants no more.
    pub(in crate::chat) fn push(
        &mut self,
        text: &str,
        each: &mut impl FnMut(Piece<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if self.is_over {
            return ControlFlow::Break(());
        }
        if self.held().is_empty() && matches!(self.place, Place::Plain) && self.is_plain(text) {
            self.has_text = true;
            self.code.pass(text);
            return each(Piece::Text(text));
        }
        self.held.push_str(text);
        let flow = self.run(false, each);
        self.tidy();
        flow
    }

    /// The text that nothing is decided about yet.
    fn held(&self) -> &str {
        self.held.get(self.done..).unwrap_or_default()
    }

    /// So much of the held text is done with.
    fn pass(&mut self, length: usize) {
        self.done = self.done.saturating_add(length).min(self.held.len());
    }

    /// Lets go of what is done with: once a piece, since the rest is moved.
    fn tidy(&mut self) {
        self.held.drain(..self.done.min(self.held.len()));
        self.done = 0;
    }

    /// Takes a call that came beside the text, in the site's own form. `Break` as of [`Self::push`].
    pub(in crate::chat) fn native(
        &mut self,
        name: &str,
        arguments: &str,
        each: &mut impl FnMut(Piece<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<(), Native> {
        let read = payload::native(name, arguments, &self.tools);
        if matches!(self.place, Place::Plain) {
            let length = self.held().trim_end().len();
            self.held.truncate(self.done.saturating_add(length));
        }
        // The same call may have begun in the text: all of that is over.
        let flow = self.run(true, each);
        self.held.clear();
        self.done = 0;
        self.group = Group::default();
        self.place = Place::After { is_open: false };
        (self.is_over, self.was_cut) = (false, false);
        match (flow, read) {
            (_, Payload::Cut) => ControlFlow::Continue(Native::Cut),
            (_, Payload::Unreadable) => ControlFlow::Continue(Native::Unreadable),
            (ControlFlow::Break(()), Payload::Calls(_)) if self.seen.len() >= MAX_CALLS => ControlFlow::Break(()),
            (_, Payload::Calls(calls)) => {
                // The site reports the last state of a call twice.
                for call in calls {
                    if self.seen.len() >= MAX_CALLS {
                        self.is_over = true;
                        return ControlFlow::Break(());
                    }
                    if self.is_new(&call) {
                        each(Piece::Call(&call))?;
                    }
                }
                ControlFlow::Continue(Native::Read)
            }
        }
    }

    /// The text has ended.
    pub(in crate::chat) fn finish(&mut self, each: &mut impl FnMut(Piece<'_>) -> ControlFlow<()>) -> Ended {
        if !self.is_over {
            if self.run(true, each).is_continue() {
                let _ = self.settle(each);
            }
            self.is_over = true;
        }
        Ended { was_cut: self.was_cut() }
    }

    /// Whether a piece holds nothing that might belong to a call.
    fn is_plain(&self, text: &str) -> bool {
        let is_first = !self.has_text && text.trim_start().starts_with(['{', '\u{FF5B}']);
        let ends_blank = text.chars().next_back().is_none_or(char::is_whitespace);
        !is_first && !ends_blank && marker::candidate(text).is_none()
    }

    fn run(&mut self, has_ended: bool, each: &mut impl FnMut(Piece<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        loop {
            let step = self.step(has_ended);
            if let Step::Text(length) = step {
                self.set_ready(length);
                continue;
            }
            self.hand_out_text(each)?;
            match step {
                Step::More | Step::Text(_) => return ControlFlow::Continue(()),
                Step::Reasoning(length) => {
                    let piece = self.held().get(..length).unwrap_or_default();
                    let flow = if piece.is_empty() { ControlFlow::Continue(()) } else { each(Piece::Reasoning(piece)) };
                    self.pass(length);
                    flow?;
                }
                Step::Skip(length) => self.skip(length),
                Step::End(length) => {
                    self.skip(length);
                    self.end(each)?;
                }
                Step::Call(call, is_code) => {
                    self.group.is_code |= is_code;
                    self.place = Place::Call(call);
                }
                Step::Over(length, payload) => self.over(length, payload, each)?,
                Step::Guard if self.seen.is_empty() && matches!(self.place, Place::After { .. }) => {
                    self.revert(each)?
                }
                Step::Guard => return self.stop(),
            }
        }
    }

    fn stop(&mut self) -> ControlFlow<()> {
        self.is_over = true;
        ControlFlow::Break(())
    }

    /// The beginning of the held text is to be handed out.
    fn set_ready(&mut self, length: usize) {
        let piece = self.held.get(self.done..).and_then(|held| held.get(..length)).unwrap_or_default();
        self.has_text |= !piece.trim_start().is_empty();
        self.code.pass(piece);
        self.ready.push_str(piece);
        self.pass(length);
    }

    fn hand_out_text(&mut self, each: &mut impl FnMut(Piece<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        if self.ready.is_empty() {
            return ControlFlow::Continue(());
        }
        // The buffer is kept: in the steady state no memory is asked for.
        let mut ready = std::mem::take(&mut self.ready);
        let done = each(Piece::Text(&ready));
        ready.clear();
        self.ready = ready;
        done
    }

    /// Leaves out the beginning of the held text; while it may turn out to be text, it is kept.
    fn skip(&mut self, length: usize) {
        if self.seen.is_empty() && !matches!(self.place, Place::Plain | Place::Thinking | Place::Thought) {
            let skipped = self.held.get(self.done..).and_then(|held| held.get(..length)).unwrap_or_default();
            self.group.text.push_str(skipped);
        }
        self.pass(length);
    }

    /// A call is over.
    fn over(
        &mut self,
        length: usize,
        payload: Payload,
        each: &mut impl FnMut(Piece<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.skip(length);
        let place = std::mem::replace(&mut self.place, Place::After { is_open: true });
        let certainty = match place {
            Place::Call(Call { certainty, .. }) => certainty,
            Place::Plain | Place::After { .. } | Place::Thinking | Place::Thought => Certainty::Marked,
        };
        match payload {
            Payload::Calls(calls) => {
                self.group.calls.extend(calls);
                self.group.is_loose = certainty == Certainty::Loose;
                let is_certain = !self.group.is_code && certainty == Certainty::Marked;
                if is_certain || !self.seen.is_empty() { self.hand_out(each) } else { ControlFlow::Continue(()) }
            }
            Payload::Unreadable => {
                self.group.is_unreadable = true;
                ControlFlow::Continue(())
            }
            // It was no call, or only the example of one.
            Payload::Cut if self.seen.is_empty() && (self.group.is_code || certainty != Certainty::Marked) => {
                ControlFlow::Continue(())
            }
            Payload::Cut => {
                self.was_cut = true;
                self.stop()
            }
        }
    }

    /// The end marker of a call: it is one for certain, unless it stands in code.
    fn end(&mut self, each: &mut impl FnMut(Piece<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        if let Place::After { is_open } = &mut self.place {
            *is_open = false;
        }
        self.group.is_loose = false;
        if self.group.is_code { ControlFlow::Continue(()) } else { self.hand_out(each) }
    }

    /// Hands out the calls of the group. `Break` where the model repeats itself, or calls too much.
    fn hand_out(&mut self, each: &mut impl FnMut(Piece<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        for call in std::mem::take(&mut self.group.calls) {
            // What could not be read beside it is left out.
            self.group = Group::default();
            if self.seen.len() >= MAX_CALLS || !self.is_new(&call) {
                return self.stop();
            }
            each(Piece::Call(&call))?;
        }
        ControlFlow::Continue(())
    }

    fn is_new(&mut self, call: &ReadCall) -> bool {
        let mut hasher = DefaultHasher::new();
        call.name.hash(&mut hasher);
        match serde_json::from_str::<serde_json::Value>(&call.arguments) {
            Ok(arguments) => arguments.to_string().hash(&mut hasher),
            Err(_) => call.arguments.hash(&mut hasher),
        }
        self.seen.insert(hasher.finish())
    }

    /// The group is text.
    fn revert(&mut self, each: &mut impl FnMut(Piece<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        self.place = Place::Plain;
        let Group { text, is_unreadable, .. } = std::mem::take(&mut self.group);
        if text.is_empty() {
            return ControlFlow::Continue(());
        }
        self.has_text = true;
        self.code.pass(&text);
        each(if is_unreadable { Piece::Unreadable(&text) } else { Piece::Text(&text) })
    }

    /// The answer has ended: the group is decided.
    fn settle(&mut self, each: &mut impl FnMut(Piece<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        if self.seen.is_empty() && (self.group.calls.is_empty() || self.group.is_loose) {
            return self.revert(each);
        }
        self.hand_out(each)
    }

    fn step(&mut self, has_ended: bool) -> Step {
        let held = self.held.get(self.done..).unwrap_or_default();
        match &mut self.place {
            Place::Plain => self.plain(has_ended),
            Place::Thinking => self.thinking(has_ended),
            Place::Thought => {
                let blanks = held.len().saturating_sub(held.trim_start().len());
                if blanks < held.len() {
                    self.place = Place::Plain;
                }
                if held.is_empty() { Step::More } else { Step::Skip(blanks) }
            }
            Place::After { is_open } => after(held, *is_open, has_ended),
            Place::Call(call) => {
                // However it is split, the same of a call that is too long is looked at.
                let most = held.floor_char_boundary(MAX_CALL);
                let (head, rest) = held.split_at_checked(most).unwrap_or((held, ""));
                match call.read(head, has_ended && rest.is_empty(), &self.tools) {
                    Step::More if !rest.is_empty() => Step::Over(most, Payload::Unreadable),
                    step => step,
                }
            }
        }
    }

    fn plain(&mut self, has_ended: bool) -> Step {
        let held = self.held();
        let trimmed = held.trim_start();
        let (blanks, _) = held.split_at_checked(held.len().saturating_sub(trimmed.len())).unwrap_or_default();
        if trimmed.is_empty() && has_ended && !held.is_empty() {
            return Step::Text(held.len());
        }
        // Of much white space only the end is kept back.
        if let Some(most) = blanks.len().checked_sub(MAX_BLANKS).filter(|most| *most > 0) {
            return Step::Text(blanks.ceil_char_boundary(most));
        }
        if trimmed.is_empty() {
            return Step::More;
        }
        let code = self.code.after(blanks);
        let is_first = !self.has_text;
        if trimmed.starts_with('`') {
            return self.backticks(trimmed, blanks.len(), &code, has_ended);
        }
        if marker::candidate(trimmed) == Some(0) {
            let at_line_start = code.is_line_start();
            match marker::marker(trimmed, at_line_start) {
                Ok(marker @ (Marker::Json { .. } | Marker::Tags { .. })) => {
                    return Step::Call(Call::new(marker, blanks.len()), code.is_code());
                }
                Ok(Marker::End { length }) if !code.is_code() => {
                    return Step::Skip(blanks.len().saturating_add(length));
                }
                Ok(Marker::Result) if !code.is_code() && at_line_start => return Step::Guard,
                Ok(Marker::Think { length }) if is_first => {
                    let length = blanks.len().saturating_add(length);
                    self.place = Place::Thinking;
                    return Step::Skip(length);
                }
                Err(Not::Yet) if !has_ended => return Step::More,
                Err(Not::Yet) if at_line_start && !code.is_code() && marker::is_cut(trimmed) => {
                    return Step::Over(held.len(), Payload::Cut);
                }
                _ => {}
            }
        }
        if is_first && trimmed.starts_with(['{', '\u{FF5B}']) {
            match payload::may_be_call(trimmed, &self.tools) {
                Some(true) => return Step::Call(Call::bare(blanks.len()), false),
                None if !has_ended => return Step::More,
                _ => {}
            }
        }
        // Up to what may be a marker, without the white space before that.
        let first = trimmed.chars().next().map_or(0, char::len_utf8);
        let rest = trimmed.get(first..).unwrap_or_default();
        let sure = rest.get(..marker::candidate(rest).unwrap_or(rest.len())).unwrap_or(rest);
        let sure = if has_ended && sure.len() == rest.len() { sure } else { sure.trim_end() };
        Step::Text(blanks.len().saturating_add(first).saturating_add(sure.len()))
    }

    /// Backticks: inline code, or a fence. Before a call a fence belongs to it.
    fn backticks(&self, text: &str, blanks: usize, code: &Code, has_ended: bool) -> Step {
        // A longer run counts as several.
        let most = text.floor_char_boundary(MAX_BLANKS.saturating_add(1));
        let run = text.bytes().take(most).take_while(|byte| *byte == b'`').count();
        let rest = text.get(run..).unwrap_or_default();
        let whole = |length: usize| Step::Text(blanks.saturating_add(run).saturating_add(length));
        if rest.is_empty() && !has_ended && run <= MAX_BLANKS {
            return Step::More;
        }
        if run < 3 || !code.is_line_start() || code.is_fence() {
            return whole(0);
        }
        // A fence that opens: its language and a line end, then perhaps a call.
        let Some((language, inside)) = rest.split_once('\n') else {
            return if has_ended || rest.len() > MAX_BLANKS { whole(0) } else { Step::More };
        };
        if language.len() > MAX_BLANKS || language.contains('`') {
            return whole(0);
        }
        let trimmed = inside.trim_start();
        let begin = blanks.saturating_add(text.len().saturating_sub(trimmed.len()));
        if inside.len().saturating_sub(trimmed.len()) > MAX_BLANKS {
            return whole(language.len().saturating_add(1));
        }
        if trimmed.is_empty() && !has_ended {
            return Step::More;
        }
        if !trimmed.starts_with('`') && marker::candidate(trimmed) == Some(0) {
            match marker::marker(trimmed, true) {
                Ok(marker @ (Marker::Json { .. } | Marker::Tags { .. })) => {
                    return Step::Call(Call::new(marker, begin), true);
                }
                Err(Not::Yet) if !has_ended => return Step::More,
                _ => {}
            }
        }
        if !self.has_text && trimmed.starts_with('{') {
            match payload::may_be_call(trimmed, &self.tools) {
                Some(true) => return Step::Call(Call::bare(begin), true),
                None if !has_ended => return Step::More,
                _ => {}
            }
        }
        whole(language.len().saturating_add(1))
    }

    /// Within `<think>`: everything up to its end.
    fn thinking(&mut self, has_ended: bool) -> Step {
        const END: &str = "</think>";
        let held = self.held.get(self.done..).unwrap_or_default();
        match held.find(END) {
            Some(0) => {
                self.place = Place::Thought;
                return Step::Skip(END.len());
            }
            Some(end) => return Step::Reasoning(end),
            None => {}
        }
        let begins_end = |at: &usize| *at > 0 && END.get(..*at).is_some_and(|head| held.ends_with(head));
        let kept = if has_ended { None } else { (1..END.len()).rev().find(begins_end) };
        match held.len().saturating_sub(kept.unwrap_or(0)) {
            0 => Step::More,
            length => Step::Reasoning(length),
        }
    }
}

/// After a call: white space, closers, its end, another call. `is_open`: its end marker has not come.
fn after(held: &str, is_open: bool, has_ended: bool) -> Step {
    let is_left_out =
        |character: char| character.is_whitespace() || matches!(character, '}' | '\u{FF5D}' | ',' | ';' | '`');
    let Some(first) = held.chars().next() else { return Step::More };
    if is_left_out(first) {
        return Step::Skip(held.len().saturating_sub(held.trim_start_matches(is_left_out).len()));
    }
    if marker::candidate(held) == Some(0) {
        match marker::marker(held, true) {
            Ok(Marker::End { length }) => return Step::End(length),
            Ok(marker @ (Marker::Json { .. } | Marker::Tags { .. })) => return Step::Call(Call::new(marker, 0), false),
            Err(Not::Yet) if !has_ended => return Step::More,
            Err(Not::Yet) => return Step::Skip(held.len()),
            _ => {}
        }
    }
    match first {
        '{' if is_open => Step::Call(Call::bare(0), false),
        ']' => Step::Skip(1),
        _ => Step::Guard,
    }
}

impl Call {
    fn new(marker: Marker, before: usize) -> Self {
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

    fn bare(begin: usize) -> Self {
        Self { form: Form::Json(Json::new(begin)), certainty: Certainty::Bare }
    }

    fn read(&mut self, held: &str, has_ended: bool, tools: &ToolSet) -> Step {
        match &mut self.form {
            Form::Tags(markup) => match markup.read(held, has_ended, tools) {
                Found::Over(length, payload) => Step::Over(length, payload),
                Found::More => Step::More,
            },
            Form::Json(json) => json.read(held, has_ended, tools),
        }
    }
}

impl Json {
    fn new(begin: usize) -> Self {
        Self { begin, scanner: JsonScanner::default(), at: begin, is_damaged: false }
    }

    fn read(&mut self, held: &str, has_ended: bool, tools: &ToolSet) -> Step {
        if !self.is_damaged {
            let fresh = held.as_bytes().get(self.at..).unwrap_or_default();
            match self.scanner.feed(fresh) {
                Scan::Complete(length) => {
                    let end = self.at.saturating_add(length);
                    return Step::Over(end, payload::from_json(held.get(self.begin..end).unwrap_or_default(), tools));
                }
                Scan::More if has_ended => return Step::Over(held.len(), Payload::Cut),
                Scan::More => {
                    self.at = held.len();
                    return Step::More;
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
    fn read_damaged(&mut self, held: &str, has_ended: bool, tools: &ToolSet) -> Step {
        while let Some(found) = held.get(self.at..).and_then(marker::candidate) {
            let at = self.at.saturating_add(found);
            let (before, rest) = held.split_at_checked(at).unwrap_or((held, ""));
            let begins_line = before.trim_end_matches([' ', '\t']).ends_with('\n');
            let ends = match marker::marker(rest, true) {
                Ok(Marker::End { .. }) => begins_line || before.trim_end().ends_with(['}', ']']),
                Ok(Marker::Json { .. } | Marker::Tags { .. } | Marker::Result) => begins_line,
                Err(Not::Yet) if !has_ended => {
                    self.at = at;
                    return Step::More;
                }
                // Half of an end marker ends it as well.
                Err(Not::Yet) => begins_line || before.trim_end().ends_with(['}', ']']),
                _ => false,
            };
            if ends {
                let text = before.get(self.begin..).unwrap_or_default();
                return Step::Over(at, payload::from_damaged(text, Trust::Ended, tools));
            }
            self.at = at.saturating_add(rest.chars().next().map_or(1, char::len_utf8));
        }
        self.at = held.len();
        if !has_ended {
            return Step::More;
        }
        let text = held.get(self.begin..).unwrap_or_default();
        Step::Over(held.len(), payload::from_damaged(text, Trust::Open, tools))
    }
}
