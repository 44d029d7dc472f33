//! The upstream's bytes in, the client's bytes out: a state machine without a clock and without input or output of its own.
//!
//! The engine, the snapshots of recorded streams, the fuzz targets and the benchmarks all run this one.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::{
    answer_format::AnswerFormat,
    answer_writer::AnswerWriter,
    citations::citations,
    filters::{LimitFilter, Native, Piece, ToolReader, ToolSet, read_native},
    tool_rules::ToolRules,
};
use crate::{
    api::Encoder,
    error::{Error, ErrorKind, Result},
    llm::{Call, CallEvent, Correction, Event, FinishReason, Usage, estimate_text},
    media::{LinkMaker, NewLink, markdown},
    upstream::{Decoder, EventSink},
};

/// Whether the answer is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More may come.
    More,
    /// Its end was seen, or it was cut.
    Complete,
}

/// One answer on its way from the upstream to the client.
#[derive(Debug)]
pub struct Translator {
    decoder: Decoder,
    output: Output,
    /// Why the answer ended, where the upstream does not say it as a reason.
    ended: Option<FinishReason>,
}

/// What the answer goes through.
#[derive(Debug)]
struct Output {
    /// Reads calls in the text, if the request has tools and the upstream none.
    reader: Option<ToolReader>,
    /// The tools of an upstream that calls them itself.
    native_tools: Option<ToolSet>,
    limit: LimitFilter,
    writer: AnswerWriter,
    /// Makes this server's links to pictures; without it pictures are left out.
    links: Option<LinkMaker>,
}

/// An answer that is complete, as it is recorded.
#[derive(Debug)]
pub struct AnswerToRecord<'a> {
    /// Its text.
    pub text: &'a str,
    /// The tools that it calls, and their calls' ids.
    pub calls: &'a [Call],
    /// Its node in the upstream's chat.
    pub response_id: &'a str,
    /// Whether that node is not to be continued: the next turn continues from the node before.
    pub is_spoiled: bool,
}

impl Translator {
    /// A translator for one answer, which ends at each of the texts `stop` and after `max_tokens`.
    #[must_use]
    pub fn new(decoder: Decoder, encoder: Encoder, stop: Vec<String>, max_tokens: Option<u64>) -> Self {
        let output = Output {
            reader: None,
            native_tools: None,
            limit: LimitFilter::new(max_tokens),
            writer: AnswerWriter::new(encoder, stop),
            links: None,
        };
        Self { decoder, output, ended: None }
    }

    /// The same for a request with tools. `may_repeat`: whether the turn may be asked once more if the calls are not as they
    /// should be.
    #[must_use]
    pub fn with_tools(mut self, rules: ToolRules, may_repeat: bool) -> Self {
        self.output.reader = Some(ToolReader::new(rules.tools.clone()));
        self.output.writer = self.output.writer.with_tools(rules, may_repeat);
        self
    }

    /// The same for a request with tools to an upstream that calls them itself: its text is text.
    #[must_use]
    pub fn with_native_tools(mut self, rules: ToolRules) -> Self {
        self.output.native_tools = Some(rules.tools.clone());
        self.output.writer = self.output.writer.with_tools(rules, false);
        self
    }

    /// The same for an answer that has to have a form.
    #[must_use]
    pub fn with_format(mut self, format: AnswerFormat, may_repeat: bool) -> Self {
        self.output.writer = self.output.writer.with_format(format, may_repeat);
        self
    }

    /// The same with links to the pictures that the model draws.
    #[must_use]
    pub fn with_links(mut self, links: Option<LinkMaker>) -> Self {
        self.output.links = links;
        self
    }

    /// The answer may repeat these links, which are those of its attachments.
    pub fn expect_echoes<'a>(&mut self, links: impl IntoIterator<Item = &'a str>) {
        self.decoder.expect_echoes(links);
    }

    /// Takes the links that were made since the last call and are to be kept.
    pub fn take_links(&mut self) -> Vec<NewLink> {
        self.output.links.as_mut().map(LinkMaker::take).unwrap_or_default()
    }

    /// The answer's node in the upstream's chat, once it is known.
    #[must_use]
    pub fn response_id(&self) -> Option<&str> {
        self.decoder.response_id()
    }

    /// Reads one piece of the upstream's bytes.
    ///
    /// # Errors
    /// What the stream itself reports as an error; `upstream_empty` when it ends without a word; what a call should have been.
    pub fn feed(&mut self, piece: &[u8]) -> Result<Progress> {
        let goes_on = self.decoder.feed(piece, &mut self.output)?;
        self.output.writer.check()?;
        if goes_on {
            return Ok(Progress::More);
        }
        self.settle().map(|()| Progress::Complete)
    }

    /// The upstream's bytes have ended.
    ///
    /// # Errors
    /// `upstream_truncated` or `upstream_empty` when the end of the answer was not seen; else as of [`Self::feed`].
    pub fn end(&mut self) -> Result<()> {
        self.decoder.finish(&mut self.output)?;
        self.output.writer.check()?;
        self.settle()
    }

    /// The answer is over: what was held back is decided.
    fn settle(&mut self) -> Result<()> {
        self.output.settle();
        let writer = &mut self.output.writer;
        writer.settle()?;
        let is_silent = writer.text().trim().is_empty() && writer.calls().is_empty() && writer.cut().is_none();
        if is_silent && self.decoder.refusals() > 0 {
            // Thinking about it is no answer either.
            return Err(self.decoder.empty_answer());
        }
        if is_silent {
            writer.check_thinking()?;
        }
        if writer.began() || writer.cut().is_some() || self.decoder.finished() == Some(FinishReason::Length) {
            return Ok(());
        }
        Err(self.decoder.empty_answer())
    }

    /// Writes the end of a complete answer.
    pub fn complete(&mut self) {
        self.finish(self.finish_reason());
    }

    /// Ends the answer because of an error. Content inspection is the regular end of an answer that has begun: `None`, and
    /// [`Self::complete`] writes it. In a stream that has begun any other error becomes an event, and is returned for the log.
    ///
    /// # Errors
    /// Returns the error where nothing was written: it may become a status, or the request may be repeated.
    pub fn abort(&mut self, error: Error) -> Result<Option<Error>, Error> {
        let writer = &self.output.writer;
        if error.kind() == ErrorKind::ContentFilter && (writer.began() || writer.is_held_whole()) {
            self.output.settle();
            self.ended = Some(FinishReason::ContentFilter);
            return Ok(None);
        }
        // A stream that has begun is as good as sent, also when its first words wait here together with the error: what the
        // client sees must not depend on how the bytes were packed.
        if writer.is_stream() && writer.began() {
            self.fail(&error);
            return Ok(Some(error));
        }
        Err(error)
    }

    /// Ends a stream with an error event, whatever was written of it.
    pub fn fail(&mut self, error: &Error) {
        self.output.writer.fail(error);
    }

    /// What the model should do otherwise, where the turn is to be repeated because of what it wrote.
    pub fn correction(&mut self) -> Option<Correction> {
        let is_refused = self.output.reader.is_some() && self.decoder.refusals() > 0;
        self.output.writer.correction().or_else(|| is_refused.then_some(Correction::Refused))
    }

    /// Translates a whole answer that comes in these pieces, and returns all that the client gets.
    ///
    /// # Errors
    /// As of [`Self::abort`].
    pub fn run<'a>(mut self, pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Bytes, Error> {
        let read = |translator: &mut Self| {
            for piece in pieces {
                if translator.feed(piece)? == Progress::Complete {
                    return Ok(());
                }
            }
            translator.end()
        };
        match read(&mut self) {
            Ok(()) => self.complete(),
            Err(error) => {
                if self.abort(error)?.is_none() {
                    self.complete();
                }
            }
        }
        Ok(self.take())
    }

    /// For another attempt at an answer of which the client has got nothing: the encoder, which knows what was written to keep
    /// the connection alive, and what is not sent of that.
    pub fn restart(&mut self) -> (Encoder, Bytes) {
        self.output.writer.restart()
    }

    /// The same with something that is written already.
    #[must_use]
    pub fn with_unsent(mut self, unsent: Bytes) -> Self {
        self.output.writer.write(&unsent);
        self
    }

    /// Writes what keeps the connection alive.
    pub fn keep_alive(&mut self) {
        self.output.writer.keep_alive();
    }

    /// Whether the client gets events.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        self.output.writer.is_stream()
    }

    /// Whether the answer has begun: its first event is written, or some of its text is kept.
    #[must_use]
    pub fn began(&self) -> bool {
        self.output.writer.began()
    }

    /// Whether any text came from the upstream, also such as is held back.
    #[must_use]
    pub fn has_text(&self) -> bool {
        self.decoder.has_text()
    }

    /// How many bytes wait for the client.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.output.writer.waiting()
    }

    /// How many deltas wait for the client.
    #[must_use]
    pub fn deltas(&self) -> u32 {
        self.output.writer.deltas()
    }

    /// Takes the bytes that wait for the client.
    pub fn take(&mut self) -> Bytes {
        self.output.writer.take()
    }

    /// How many events the upstream has sent. Comments and the like are none.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.decoder.events()
    }

    /// How many of them are of a kind that is not known.
    #[must_use]
    pub fn unknown_events(&self) -> u32 {
        self.decoder.unknown_events()
    }

    /// Whether the answer's end was seen, though the upstream may say more of it.
    #[must_use]
    pub fn has_end(&self) -> bool {
        self.decoder.finished().is_some()
    }

    /// Whether the upstream goes on although the answer is over: it is to be stopped.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.decoder.is_cut() || self.output.writer.cut().is_some() || self.decoder.finished().is_none()
    }

    /// A complete answer. `None` when it was cut in its text, or ended for another reason than by itself: the upstream's own
    /// text then goes on. An answer that ended with its calls is complete.
    pub fn answer_to_record(&self) -> Option<AnswerToRecord<'_>> {
        let (text, calls) = self.complete_answer()?;
        let response_id = self.decoder.response_id()?;
        Some(AnswerToRecord { text, calls, response_id, is_spoiled: self.decoder.took_call() })
    }

    /// Text and calls of a complete answer, likewise.
    pub fn complete_answer(&self) -> Option<(&str, &[Call])> {
        let writer = &self.output.writer;
        let ended = match writer.cut() {
            Some(cut) => cut == FinishReason::ToolCalls,
            None if writer.is_whole() => true,
            None => matches!(self.decoder.finished(), Some(FinishReason::Stop | FinishReason::ToolCalls)),
        };
        ended.then(|| (writer.text(), writer.calls()))
    }

    /// The whole answer as one object, where the dialect keeps it.
    pub fn kept(&self) -> Option<String> {
        let finish = self.finish_reason();
        let sources = self.decoder.sources();
        self.output.writer.kept(finish, |text| citations(text, sources), self.usage())
    }

    /// The token counts that the upstream reported. Where it reports them at its end, and the answer was cut before that, an
    /// estimate.
    fn usage(&self) -> Usage {
        let told = self.decoder.usage();
        if told != Usage::default() || !self.decoder.counts_at_end() || !self.is_cut() {
            return told;
        }
        let completion = estimate_text(self.output.writer.text());
        Usage { completion, total: completion, ..told }
    }

    fn finish_reason(&self) -> FinishReason {
        self.ended.or_else(|| self.decoder.finished()).unwrap_or(FinishReason::Stop)
    }

    fn finish(&mut self, finish: FinishReason) {
        let sources = self.decoder.sources();
        let usage = self.usage();
        self.output.writer.finish(finish, |text| citations(text, sources), usage);
    }
}

impl Output {
    /// The answer has ended: what the filters hold back belongs to it.
    fn settle(&mut self) {
        let Self { reader, writer, .. } = self;
        if writer.cut().is_some() {
            return;
        }
        if let Some(reader) = reader {
            let ended = reader.finish(&mut |piece| write(writer, piece));
            if ended.was_cut {
                writer.call_was_cut();
            }
        }
    }

    fn native(&mut self, call: CallEvent<'_>) -> ControlFlow<()> {
        let Self { reader, native_tools, writer, .. } = self;
        if let Some(tools) = native_tools {
            return match read_native(call.name, call.arguments, tools) {
                Ok(call) => writer.call(&call),
                Err(Native::Cut) => {
                    writer.call_was_cut();
                    ControlFlow::Continue(())
                }
                Err(_) => writer.unreadable(""),
            };
        }
        let Some(reader) = reader else { return ControlFlow::Continue(()) };
        match reader.native(call.name, call.arguments, &mut |piece| write(writer, piece))? {
            Native::Read => ControlFlow::Continue(()),
            Native::Cut => {
                writer.call_was_cut();
                ControlFlow::Continue(())
            }
            Native::Unreadable => writer.unreadable(""),
        }
    }
}

/// Hands text to the reader of calls if there is one, else to the client.
fn pass(reader: Option<&mut ToolReader>, writer: &mut AnswerWriter, text: &str) -> ControlFlow<()> {
    let Some(reader) = reader else { return writer.text_piece(text) };
    if reader.push(text, &mut |piece| write(writer, piece)).is_continue() {
        return ControlFlow::Continue(());
    }
    // What the model makes up behind its calls is not read any more.
    let finish = if reader.calls() > 0 { FinishReason::ToolCalls } else { FinishReason::Stop };
    if reader.was_cut() {
        writer.call_was_cut();
    }
    writer.end_at(finish)
}

fn write(writer: &mut AnswerWriter, piece: Piece<'_>) -> ControlFlow<()> {
    match piece {
        Piece::Text(text) => writer.text_piece(text),
        Piece::Reasoning(text) => {
            writer.reasoning_piece(text);
            ControlFlow::Continue(())
        }
        Piece::Call(call) => writer.call(call),
        Piece::Unreadable(text) => writer.unreadable(text),
    }
}

impl EventSink for Output {
    fn accept(&mut self, event: Event<'_>) -> ControlFlow<()> {
        match event {
            Event::OutputTokens(tokens) if self.limit.is_reached(tokens) => self.writer.end_at(FinishReason::Length),
            Event::OutputTokens(_) => ControlFlow::Continue(()),
            Event::ToolCall(call) => self.native(call),
            Event::Text(piece) | Event::Reasoning(piece) if !self.limit.fits(piece) => {
                self.writer.end_at(FinishReason::Length)
            }
            Event::Reasoning(piece) => {
                self.writer.reasoning_piece(piece);
                ControlFlow::Continue(())
            }
            Event::Text(piece) => pass(self.reader.as_mut(), &mut self.writer, piece),
            Event::Picture(picture) => {
                let Some(links) = &mut self.links else { return ControlFlow::Continue(()) };
                let url = links.link(picture.link);
                self.writer.picture(&url);
                pass(self.reader.as_mut(), &mut self.writer, &markdown(&url))
            }
        }
    }

    fn counts_tokens(&self) -> bool {
        self.limit.counts_tokens()
    }

    fn takes_calls(&self) -> bool {
        self.reader.is_some() || self.native_tools.is_some()
    }

    fn has_tool_with(&self, head: &str) -> bool {
        self.reader.as_ref().is_some_and(|reader| reader.tools().has_name_with(head))
    }
}
