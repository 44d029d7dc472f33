//! The answer of an OpenAI-compatible server: bytes in, what the model thinks, says and calls out.
//!
//! A state machine without input or output of its own. Servers differ in all that OpenAI's reference leaves open: where the
//! usage is, what the thinking is called, how calls are cut, which words end an answer, and whether `[DONE]` comes.

use std::{ops::ControlFlow, sync::Arc};

use serde_json::Value as Json;

use super::{
    chunk::{CallPiece, Chunk, Delta, call_pieces, usage},
    errors::{Server, is_refusal},
};
use crate::{
    error::{Error, Result},
    llm::{CallEvent, Event, FinishReason, ToolKind, Usage},
    upstream::{
        EventSink,
        fields::Object,
        halves::{Joiner, marked, whole},
        sse::{Flow, SseItem, SseReader, settle},
    },
};

/// The most that is kept of calls, and of an answer that is no stream, in bytes.
const MAX_KEPT: usize = 16 * 1024 * 1024;
/// The longest arguments of one call, in bytes.
const MAX_ARGUMENTS: usize = 1024 * 1024;
/// The most calls of one answer.
const MAX_CALLS: usize = 128;

/// The state between two pieces.
#[derive(Debug)]
pub struct Decoder {
    reader: SseReader,
    state: State,
}

#[derive(Debug)]
struct State {
    server: Arc<Server>,
    usage: Usage,
    finished: Option<FinishReason>,
    has_text: bool,
    /// Keep back the half of a character that the last piece of text, and of thinking, ended with.
    text_joiner: Joiner,
    thinking_joiner: Joiner,
    calls: Vec<OpenCall>,
    /// How many bytes the calls have.
    kept: usize,
    /// What came without the form of an event: a whole answer, or a refusal.
    raw: Vec<u8>,
    events: u64,
    unknown: u32,
    /// The answer was ended here.
    is_cut: bool,
}

/// A call whose end has not come.
#[derive(Debug, Default)]
struct OpenCall {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
}

impl OpenCall {
    /// Whether its arguments are a complete object. Looked at closely only where they may be.
    fn is_whole(&self) -> bool {
        self.arguments.ends_with('}') && serde_json::from_str::<serde::de::IgnoredAny>(&self.arguments).is_ok()
    }
}

const ENOUGH: Flow = Flow::Break(Ok(()));

impl Decoder {
    pub(super) fn new(server: Arc<Server>) -> Self {
        let state = State {
            server,
            usage: Usage::default(),
            finished: None,
            has_text: false,
            text_joiner: Joiner::default(),
            thinking_joiner: Joiner::default(),
            calls: Vec::new(),
            kept: 0,
            raw: Vec::new(),
            events: 0,
            unknown: 0,
            is_cut: false,
        };
        Self { reader: SseReader::default(), state }
    }

    /// Reads one piece. `Ok(true)` = read on; `Ok(false)` = the answer is over, or the sink has enough.
    ///
    /// # Errors
    /// What the stream itself reports as an error.
    pub fn feed(&mut self, piece: &[u8], sink: &mut impl EventSink) -> Result<bool> {
        let state = &mut self.state;
        settle(self.reader.feed(piece, |item| state.item(item, sink))).map_err(Error::of_fallback)
    }

    /// The bytes have ended.
    ///
    /// # Errors
    /// `upstream_empty`, `upstream_invalid` or `upstream_truncated` when the end of the answer was not seen.
    pub fn finish(&mut self, sink: &mut impl EventSink) -> Result<()> {
        let state = &mut self.state;
        if !settle(self.reader.finish(|item| state.item(item, sink))).map_err(Error::of_fallback)? {
            return Ok(());
        }
        if state.events == 0 && !state.raw.is_empty() {
            return state.whole(sink);
        }
        state.end(sink)
    }

    /// Why the answer ended, once its end was seen.
    #[must_use]
    pub fn finished(&self) -> Option<FinishReason> {
        self.state.finished
    }

    /// Whether any text came.
    #[must_use]
    pub fn has_text(&self) -> bool {
        self.state.has_text
    }

    /// The last token counts that the stream reported; zeros if it reported none.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.state.usage
    }

    /// How many events came so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.state.events
    }

    /// How many events were not understood.
    #[must_use]
    pub fn unknown_events(&self) -> u32 {
        self.state.unknown
    }

    /// Whether the answer was ended although the server goes on.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.state.is_cut
    }

    /// The error of an answer without a word.
    #[must_use]
    pub fn empty_answer(&self) -> Error {
        self.state.server.empty()
    }
}

impl State {
    fn item(&mut self, item: SseItem<'_>, sink: &mut impl EventSink) -> Flow {
        match item {
            SseItem::Data(b"[DONE]") => {
                self.events = self.events.saturating_add(1);
                if self.has_text || !self.calls.is_empty() {
                    let finish = if self.calls.is_empty() { FinishReason::Stop } else { FinishReason::ToolCalls };
                    self.finished.get_or_insert(finish);
                }
                match self.end(sink) {
                    Ok(()) => ENOUGH,
                    Err(error) => Flow::Break(Err(error)),
                }
            }
            SseItem::Data(data) => {
                self.events = self.events.saturating_add(1);
                let plain = str::from_utf8(data).ok();
                if let Some((chunk, text)) = plain.and_then(|text| Some((serde_json::from_str(text).ok()?, text))) {
                    return self.chunk(&chunk, (text, false), sink);
                }
                let marked = marked(data);
                let marked = marked.as_deref().and_then(|text| Some((serde_json::from_str(text).ok()?, text)));
                if let Some((chunk, text)) = marked {
                    return self.chunk(&chunk, (text, true), sink);
                }
                self.unknown = self.unknown.saturating_add(1);
                Flow::Continue(())
            }
            SseItem::Raw(line) => {
                if self.raw.len().saturating_add(line.len()) > MAX_KEPT {
                    return Flow::Break(Err(self.server.not_the_protocol()));
                }
                self.raw.extend_from_slice(line);
                self.raw.push(b'\n');
                Flow::Continue(())
            }
        }
    }

    /// `text` is the JSON that the chunk was read from, `is_marked` = a copy in which halves are marked ([`marked`]).
    fn chunk(&mut self, chunk: &Chunk<'_>, (text, is_marked): (&str, bool), sink: &mut impl EventSink) -> Flow {
        if (chunk.error.is_some() || chunk.choices.0.is_none() && (chunk.code.is_some() || chunk.detail.is_some()))
            && let Ok(json) = serde_json::from_str::<Json>(text)
            && is_refusal(&json)
        {
            return Flow::Break(Err(self.server.reported(&json)));
        }
        if let Some(usage) = chunk.usage.and_then(|raw| usage(raw.get())) {
            self.usage = usage;
        }
        let Some(choice) = &chunk.choices.0 else { return Flow::Continue(()) };
        // Some servers repeat in `message` what came so far.
        let Object(delta) = choice.delta.as_ref().unwrap_or(&choice.message);
        if let ControlFlow::Break(()) = self.delta(delta, is_marked, sink) {
            if self.finished == Some(FinishReason::Length) {
                self.is_cut = true;
                return Flow::Break(self.end(sink));
            }
            return ENOUGH;
        }
        match choice.finish_reason.as_str() {
            // Some servers send empty reasons along with each piece.
            "" | "null" => Flow::Continue(()),
            // The server has given up.
            "error" | "insufficient_system_resource" | "abort" => Flow::Break(Err(self.server.reported(&Json::Null))),
            reason => {
                self.finished = Some(finish_reason(reason));
                Flow::Continue(())
            }
        }
    }

    fn delta(&mut self, delta: &Delta<'_>, is_marked: bool, sink: &mut impl EventSink) -> ControlFlow<()> {
        let thinking = self.thinking_joiner.join(delta.thinking(), is_marked);
        if !thinking.is_empty() {
            sink.accept(Event::Reasoning(&thinking))?;
        }
        for text in [delta.content.as_str(), delta.refusal.as_str()] {
            self.has_text |= !text.is_empty();
            let text = self.text_joiner.join(text, is_marked);
            if !text.is_empty() {
                sink.accept(Event::Text(&text))?;
            }
        }
        for raw in [delta.tool_calls, delta.function_call].into_iter().flatten() {
            let copy = if is_marked { None } else { marked(raw.get().as_bytes()) };
            let (json, is_marked) = copy.as_deref().map_or((raw.get(), is_marked), |copy| (copy, true));
            call_pieces(json).into_iter().try_for_each(|piece| self.call(piece, is_marked))?;
        }
        ControlFlow::Continue(())
    }

    /// Takes a piece of a call: of the call with its index; without one, of the call with its id, or of the last one, unless it
    /// begins another. `Break` = a call has no end: the answer ends here, as one that has reached its limit.
    fn call(&mut self, piece: CallPiece, is_marked: bool) -> ControlFlow<()> {
        let CallPiece { index, id, name, arguments } = piece;
        // Some servers count no calls: under one index each is whole, and has a name. Others give each piece an id of its own.
        let goes_on = |call: &OpenCall| {
            let is_other = !id.is_empty() && !call.id.is_empty() && call.id != id;
            name.is_empty() || (!is_other && (name == call.name || call.name.is_empty()) && !call.is_whole())
        };
        let known = match index {
            Some(_) => self
                .calls
                .iter()
                .rposition(|call| call.index == index)
                .filter(|at| self.calls.get(*at).is_some_and(goes_on)),
            None if !id.is_empty() => self.calls.iter().rposition(|call| call.id == id),
            None if name.is_empty() => self.calls.len().checked_sub(1),
            None => None,
        };
        let arguments = whole(&arguments, is_marked).into_owned();
        self.kept = self.kept.saturating_add(arguments.len()).saturating_add(name.len());
        let length = known.and_then(|at| self.calls.get(at)).map_or(0, |call| call.arguments.len());
        if self.kept > MAX_KEPT || length.saturating_add(arguments.len()) > MAX_ARGUMENTS {
            self.finished = Some(FinishReason::Length);
            return ControlFlow::Break(());
        }
        let count = self.calls.len();
        match known.and_then(|at| self.calls.get_mut(at)) {
            Some(call) => {
                if call.name.is_empty() {
                    call.name = name;
                }
                if call.id.is_empty() {
                    call.id = id;
                }
                call.arguments.push_str(&arguments);
            }
            None if count < MAX_CALLS => {
                self.calls.push(OpenCall { index, id, name, arguments });
            }
            None => {}
        }
        ControlFlow::Continue(())
    }

    /// The answer is over: its calls are whole.
    fn end(&mut self, sink: &mut impl EventSink) -> Result<()> {
        let mut calls = std::mem::take(&mut self.calls);
        for OpenCall { arguments, .. } in calls.iter_mut().filter(|call| call.arguments.trim().is_empty()) {
            // Some servers send nothing for none.
            *arguments = "{}".to_owned();
        }
        let mut rest = String::new();
        self.text_joiner.end(&mut rest);
        if !rest.is_empty() && sink.accept(Event::Text(&rest)).is_break() {
            return Ok(());
        }
        if self.finished.is_none() {
            if calls.is_empty() || !calls.iter().all(OpenCall::is_whole) {
                return Err(if self.has_text || !calls.is_empty() {
                    self.server.truncated()
                } else {
                    self.server.empty()
                });
            }
            self.finished = Some(FinishReason::ToolCalls);
        }
        if self.finished == Some(FinishReason::ContentFilter) && !self.has_text && calls.is_empty() {
            return Err(self.server.filtered());
        }
        if !sink.takes_calls() {
            return Ok(());
        }
        for OpenCall { name, arguments, .. } in calls.iter().filter(|call| !call.name.is_empty()) {
            let call = CallEvent { index: 0, id: "", name, arguments, kind: ToolKind::Function };
            if sink.accept(Event::ToolCall(call)).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// An answer that is no stream.
    fn whole(&mut self, sink: &mut impl EventSink) -> Result<()> {
        let raw = std::mem::take(&mut self.raw);
        let marked = marked(&raw);
        let text = marked.as_deref().or_else(|| str::from_utf8(&raw).ok()).unwrap_or_default();
        let is_marked = marked.is_some();
        let Ok(json) = serde_json::from_str::<Json>(text) else { return Err(self.server.not_the_protocol()) };
        if is_refusal(&json) {
            return Err(self.server.reported(&json));
        }
        let chunk = serde_json::from_str::<Chunk<'_>>(text).map_err(|_| self.server.not_the_protocol())?;
        if chunk.choices.0.is_none() {
            return Err(self.server.not_the_protocol());
        }
        self.events = 1;
        match self.chunk(&chunk, (text, is_marked), sink) {
            Flow::Continue(()) => self.end(sink),
            Flow::Break(done) => done,
        }
    }
}

/// What a reason means. Words that are not known end an answer as its own end does.
fn finish_reason(word: &str) -> FinishReason {
    match word {
        "length" | "max_tokens" | "model_length" | "max_output_tokens" => FinishReason::Length,
        "tool_calls" | "function_call" | "tool_use" | "tool_call" => FinishReason::ToolCalls,
        "content_filter" | "content_filtered" | "safety" | "sensitive" | "refusal" => FinishReason::ContentFilter,
        _ => FinishReason::Stop,
    }
}
