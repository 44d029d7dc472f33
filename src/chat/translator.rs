//! The upstream's bytes in, the client's bytes out: a state machine without a clock and without input or output of its own.
//!
//! The engine, the snapshots of recorded streams, the fuzz targets and the benchmarks all run this one.

use std::ops::ControlFlow;

use bytes::{Bytes, BytesMut};

use super::{
    citations::citations,
    filters::{LimitFilter, StopFilter},
};
use crate::{
    api::Encoder,
    error::{Error, ErrorKind, Result},
    llm::{Answer, Event, FinishReason},
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
}

/// What the answer is so far, and what the client has not got of it yet.
#[derive(Debug)]
struct Output {
    encoder: Encoder,
    /// What is written and not yet taken.
    out: BytesMut,
    /// How many deltas that is.
    deltas: u32,
    text: String,
    reasoning: String,
    began: bool,
    stop: StopFilter,
    limit: LimitFilter,
    cut: Option<FinishReason>,
}

impl Translator {
    /// A translator for one answer, which ends at each of the texts `stop` and after `max_tokens`.
    #[must_use]
    pub fn new(decoder: Decoder, encoder: Encoder, stop: Vec<String>, max_tokens: Option<u64>) -> Self {
        let output = Output {
            encoder,
            out: BytesMut::new(),
            deltas: 0,
            text: String::new(),
            reasoning: String::new(),
            began: false,
            stop: StopFilter::new(stop),
            limit: LimitFilter::new(max_tokens),
            cut: None,
        };
        Self { decoder, output }
    }

    /// Reads one piece of the upstream's bytes.
    ///
    /// # Errors
    /// What the stream itself reports as an error; `upstream_empty` when it ends without a word.
    pub fn feed(&mut self, piece: &[u8]) -> Result<Progress> {
        if self.decoder.feed(piece, &mut self.output)? {
            return Ok(Progress::More);
        }
        self.check_not_empty().map(|()| Progress::Complete)
    }

    /// The upstream's bytes have ended.
    ///
    /// # Errors
    /// `upstream_truncated` or `upstream_empty` when the end of the answer was not seen.
    pub fn end(&mut self) -> Result<()> {
        self.decoder.finish(&mut self.output)?;
        self.check_not_empty()
    }

    fn check_not_empty(&self) -> Result<()> {
        let is_empty = !self.output.began && self.output.cut.is_none();
        if is_empty { Err(self.decoder.empty_answer()) } else { Ok(()) }
    }

    /// Writes the end of a complete answer.
    pub fn complete(&mut self) {
        self.finish(self.decoder.finished().unwrap_or(FinishReason::Stop));
    }

    /// Ends the answer because of an error. Content inspection is the regular end of an answer that has begun; in a stream that
    /// has begun any other error becomes an event, and is returned for the log.
    ///
    /// # Errors
    /// Returns the error where nothing was written: it may become a status, or the request may be repeated.
    pub fn abort(&mut self, error: Error) -> Result<Option<Error>, Error> {
        if error.kind() == ErrorKind::ContentFilter && self.output.began {
            self.finish(FinishReason::ContentFilter);
            return Ok(None);
        }
        // A stream that has begun is as good as sent, also when its first words wait here together with the error: what the
        // client sees must not depend on how the bytes were packed.
        if self.output.encoder.is_stream() && self.output.began {
            self.fail(&error);
            return Ok(Some(error));
        }
        Err(error)
    }

    /// Ends a stream with an error event, whatever was written of it.
    pub fn fail(&mut self, error: &Error) {
        self.output.encoder.fail(error, &mut self.output.out);
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
            Err(error) => drop(self.abort(error)?),
        }
        Ok(self.take())
    }

    /// Writes what keeps the connection alive.
    pub fn keep_alive(&mut self) {
        self.output.encoder.keep_alive(&mut self.output.out);
    }

    /// Whether the client gets events.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        self.output.encoder.is_stream()
    }

    /// Whether the answer has begun: its first event is written, or some of its text is kept.
    #[must_use]
    pub fn began(&self) -> bool {
        self.output.began
    }

    /// Whether any text came from the upstream, also such as is held back.
    #[must_use]
    pub fn has_text(&self) -> bool {
        self.decoder.has_text()
    }

    /// How many bytes wait for the client.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.output.out.len()
    }

    /// How many deltas wait for the client.
    #[must_use]
    pub fn deltas(&self) -> u32 {
        self.output.deltas
    }

    /// Takes the bytes that wait for the client.
    pub fn take(&mut self) -> Bytes {
        self.output.deltas = 0;
        self.output.out.split().freeze()
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

    /// The text of a complete answer, and its node in the upstream's chat. `None` when the answer was cut, or ended for
    /// another reason than by itself: the upstream's own text then goes on.
    pub fn answer_to_record(&mut self) -> Option<(&str, &str)> {
        if self.output.cut.is_some() || self.decoder.finished() != Some(FinishReason::Stop) {
            return None;
        }
        let response_id = self.decoder.response_id()?;
        self.output.flush();
        Some((&self.output.text, response_id))
    }

    fn finish(&mut self, finish: FinishReason) {
        let output = &mut self.output;
        if output.cut.is_none() {
            output.flush();
        }
        output.begin();
        let citations = citations(&output.text, self.decoder.sources());
        let answer = Answer {
            text: &output.text,
            reasoning: &output.reasoning,
            citations: &citations,
            finish: output.cut.unwrap_or(finish),
            usage: self.decoder.usage(),
        };
        output.encoder.finish(&answer, &mut output.out);
    }
}

impl Output {
    fn begin(&mut self) {
        if !std::mem::replace(&mut self.began, true) {
            self.encoder.begin(&mut self.out);
        }
    }

    /// The answer has ended by itself: what might have been the beginning of a stop sequence belongs to it.
    fn flush(&mut self) {
        let Self { encoder, out, text, stop, .. } = self;
        stop.flush(|piece| {
            text.push_str(piece);
            encoder.event(Event::Text(piece), out);
        });
    }

    fn end_at(&mut self, finish: FinishReason) -> ControlFlow<()> {
        self.cut = Some(finish);
        ControlFlow::Break(())
    }
}

impl EventSink for Output {
    fn accept(&mut self, event: Event<'_>) -> ControlFlow<()> {
        let (Event::Reasoning(piece) | Event::Text(piece)) = event else {
            return match event {
                Event::OutputTokens(tokens) if self.limit.is_reached(tokens) => self.end_at(FinishReason::Length),
                _ => ControlFlow::Continue(()),
            };
        };
        self.begin();
        self.deltas = self.deltas.saturating_add(1);
        if !self.limit.fits(piece) {
            return self.end_at(FinishReason::Length);
        }
        let Self { encoder, out, text, reasoning, stop, .. } = self;
        if let Event::Reasoning(_) = event {
            encoder.event(event, out);
            if encoder.keeps_reasoning() {
                reasoning.push_str(piece);
            }
            return ControlFlow::Continue(());
        }
        let found = stop.push(piece, |piece| {
            text.push_str(piece);
            encoder.event(Event::Text(piece), out);
        });
        if found { self.end_at(FinishReason::Stop) } else { ControlFlow::Continue(()) }
    }

    fn counts_tokens(&self) -> bool {
        self.limit.counts_tokens()
    }
}
