//! Reads the calls of tools in an answer's text: a state machine without a clock and without input or output of its own, so
//! that any split of the text gives the same.
//!
//! Plain text passes at once, but for what may be the beginning of a marker, and for white space at its end, which belongs to
//! a marker if one follows. A call is kept until it is complete. What follows a call is white space, another call, or the end:
//! everything else is made up by the model, and ends the answer.

mod call;
mod code;
mod marker;
mod markup;
mod payload;
mod place;
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
    call::{Call, Certainty},
    code::Code,
    payload::{MAX_CALLS, Payload},
    place::{Held, Place, Step},
};

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

/// Whether a whole text has a call in it.
pub(in crate::chat) fn has_call(text: &str, tools: &ToolSet) -> bool {
    let mut reader = ToolReader::new(tools.clone());
    let each = &mut |_: Piece<'_>| ControlFlow::Continue(());
    let _ = reader.push(text, each);
    let _ = reader.finish(each);
    reader.calls() > 0
}

/// Reads a call of an upstream that calls tools itself.
///
/// # Errors
/// [`Native::Cut`] and [`Native::Unreadable`].
pub(in crate::chat) fn read_native(name: &str, arguments: &str, tools: &ToolSet) -> Result<ReadCall, Native> {
    match payload::native(name, arguments, tools) {
        Payload::Calls(calls) => calls.into_iter().next().ok_or(Native::Unreadable),
        Payload::Cut => Err(Native::Cut),
        Payload::Unreadable => Err(Native::Unreadable),
    }
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
                Step::Think(length) => {
                    self.skip(length);
                    self.place = Place::Thinking;
                }
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

    /// What is done next.
    fn step(&mut self, has_ended: bool) -> Step {
        let Self { held, done, place, code, has_text, tools, .. } = self;
        let text = held.get(*done..).unwrap_or_default();
        place.step(&Held { text, has_ended, code, has_text: *has_text, tools })
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
}
