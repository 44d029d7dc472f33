//! The answer as the client gets it: chunks of a stream, or one object.

use bytes::{Bytes, BytesMut};

use super::cut::StopFilter;
use crate::{
    error::Error,
    openai::{Annotation, ChunkWriter, FinishReason, Identity, Usage, completion, write_error_event},
    qwen::{Listener, Source},
};

/// How the answer is delivered.
#[derive(Debug)]
pub enum Form {
    /// As chunks; with a usage chunk at the end if asked for.
    Stream {
        /// Whether a usage chunk ends the stream.
        include_usage: bool,
    },
    /// As one object.
    Whole,
}

/// Receives what the model says and makes of it what the client gets.
#[derive(Debug)]
pub struct Output {
    identity: Identity,
    writer: Option<ChunkWriter>,
    include_usage: bool,
    /// What is written and not yet handed out.
    out: BytesMut,
    /// How many pieces of text that is.
    deltas: u32,
    content: String,
    reasoning: String,
    began: bool,
    stop: StopFilter,
    max_tokens: Option<u64>,
    cut: Option<FinishReason>,
}

impl Output {
    /// An answer without a word so far.
    #[must_use]
    pub fn new(identity: Identity, form: &Form, stop: Vec<String>, max_tokens: Option<u64>) -> Self {
        let include_usage = matches!(form, Form::Stream { include_usage: true });
        let writer = matches!(form, Form::Stream { .. }).then(|| ChunkWriter::new(identity.clone(), include_usage));
        Self {
            identity,
            writer,
            include_usage,
            out: BytesMut::new(),
            deltas: 0,
            content: String::new(),
            reasoning: String::new(),
            began: false,
            stop: StopFilter::new(stop),
            max_tokens,
            cut: None,
        }
    }

    /// Whether the answer has begun: its first chunk is written, or some of its text is kept.
    #[must_use]
    pub fn began(&self) -> bool {
        self.began
    }

    /// Whether chunks are written.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        self.writer.is_some()
    }

    /// Whether the answer says nothing at all although nothing cut it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.content.is_empty() && self.reasoning.is_empty() && self.cut.is_none() && !self.began
    }

    /// How many bytes wait to be handed out.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.out.len()
    }

    /// How many pieces of text wait to be handed out.
    #[must_use]
    pub fn deltas(&self) -> u32 {
        self.deltas
    }

    /// The bytes to hand out now.
    pub fn take(&mut self) -> Bytes {
        self.deltas = 0;
        self.out.split().freeze()
    }

    /// Writes a comment that keeps the connection alive.
    pub fn heartbeat(&mut self) {
        ChunkWriter::heartbeat(&mut self.out);
    }

    /// Ends a stream with an error line, without `[DONE]`.
    pub fn fail(&mut self, error: &Error) {
        write_error_event(&mut self.out, error);
    }

    /// What was said so far, for the record, or `None` when it was cut: the site's own text then goes on.
    pub fn said(&mut self) -> Option<&str> {
        if self.cut.is_some() {
            return None;
        }
        self.flush();
        Some(&self.content)
    }

    /// The answer has ended by itself: what might have been the beginning of a stop text belongs to it.
    fn flush(&mut self) {
        let Self { writer, out, content, stop, .. } = self;
        stop.flush(|text| {
            content.push_str(text);
            if let Some(writer) = writer {
                writer.content(out, text);
            }
        });
    }

    /// Ends the answer: by itself as `finish`, or as it was cut. Gives the whole object in JSON where no chunks are written.
    pub fn finish(&mut self, finish: FinishReason, usage: Usage, sources: &[Source]) -> Option<String> {
        if self.cut.is_none() {
            self.flush();
        }
        let finish = self.cut.unwrap_or(finish);
        let annotations = annotations(&self.content, sources);
        self.begin();
        match &self.writer {
            Some(writer) => {
                writer.finish(&mut self.out, finish, &annotations);
                if self.include_usage {
                    writer.usage(&mut self.out, usage);
                }
                ChunkWriter::done(&mut self.out);
                None
            }
            None => Some(completion(&self.identity, &self.content, &self.reasoning, &annotations, finish, usage)),
        }
    }

    fn begin(&mut self) {
        if !std::mem::replace(&mut self.began, true)
            && let Some(writer) = &self.writer
        {
            writer.role(&mut self.out);
        }
    }
}

impl Listener for Output {
    fn reasoning(&mut self, text: &str) {
        self.begin();
        self.deltas = self.deltas.saturating_add(1);
        match &self.writer {
            Some(writer) => writer.reasoning(&mut self.out, text),
            None => self.reasoning.push_str(text),
        }
    }

    fn content(&mut self, text: &str) -> bool {
        self.begin();
        self.deltas = self.deltas.saturating_add(1);
        let Self { writer, out, content, stop, .. } = self;
        let hit = stop.push(text, |text| {
            content.push_str(text);
            if let Some(writer) = writer {
                writer.content(out, text);
            }
        });
        if hit {
            self.cut = Some(FinishReason::Stop);
        }
        !hit
    }

    fn tokens(&mut self, output: u64) -> bool {
        let reached = self.max_tokens.is_some_and(|most| output >= most);
        if reached {
            self.cut = Some(FinishReason::Length);
        }
        !reached
    }

    fn counts_tokens(&self) -> bool {
        self.max_tokens.is_some()
    }
}

/// The sources in the order of their marks, each with the place of its first `[[n]]` in the text, counted in characters.
fn annotations(content: &str, sources: &[Source]) -> Vec<Annotation> {
    let annotation = |(index, source): (usize, &Source)| {
        let mark = format!("[[{}]]", index.saturating_add(1));
        let start = content.split_once(&mark).map(|(before, _)| before.chars().count());
        Annotation {
            url: source.url.clone(),
            title: source.title.clone(),
            start: start.unwrap_or(0),
            end: start.map_or(0, |start| start.saturating_add(mark.len())),
        }
    };
    sources.iter().enumerate().map(annotation).collect()
}
