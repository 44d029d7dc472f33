//! The answer as the client gets it: chunks of a stream, or one object.

use bytes::{Bytes, BytesMut};

use super::filters::StopFilter;
use crate::{
    api::openai::{Annotation, ChunkWriter, FinishReason, Identity, Usage, completion, write_error_event},
    error::Error,
    upstream::qwen::{EventSink, Source},
};

/// How the answer is delivered.
#[derive(Debug)]
pub enum Delivery {
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
    /// How long both are, in bytes.
    length: usize,
    began: bool,
    stop: StopFilter,
    max_tokens: Option<u64>,
    cut: Option<FinishReason>,
}

/// More digits than any mark of a source has.
const MAX_CITATION_DIGITS: usize = 6;
/// The most that is kept of an answer, thinking included, in bytes. The largest output that the site is known to give is a
/// twentieth of it.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

impl Output {
    /// An answer without a word so far.
    #[must_use]
    pub fn new(identity: Identity, delivery: &Delivery, stop: Vec<String>, max_tokens: Option<u64>) -> Self {
        let include_usage = matches!(delivery, Delivery::Stream { include_usage: true });
        let writer =
            matches!(delivery, Delivery::Stream { .. }).then(|| ChunkWriter::new(identity.clone(), include_usage));
        Self {
            identity,
            writer,
            include_usage,
            out: BytesMut::new(),
            deltas: 0,
            content: String::new(),
            reasoning: String::new(),
            length: 0,
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

    /// Counts text that comes; cuts the answer where there is no room for more.
    fn fits(&mut self, text: &str) -> bool {
        self.length = self.length.saturating_add(text.len());
        let fits = self.length <= MAX_ANSWER_BYTES;
        if !fits {
            self.cut = Some(FinishReason::Length);
        }
        fits
    }

    fn begin(&mut self) {
        if !std::mem::replace(&mut self.began, true)
            && let Some(writer) = &self.writer
        {
            writer.role(&mut self.out);
        }
    }
}

impl EventSink for Output {
    fn reasoning(&mut self, text: &str) -> bool {
        self.begin();
        self.deltas = self.deltas.saturating_add(1);
        if !self.fits(text) {
            return false;
        }
        match &self.writer {
            Some(writer) => writer.reasoning(&mut self.out, text),
            None => self.reasoning.push_str(text),
        }
        true
    }

    fn content(&mut self, text: &str) -> bool {
        self.begin();
        self.deltas = self.deltas.saturating_add(1);
        if !self.fits(text) {
            return false;
        }
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
pub(super) fn annotations(content: &str, sources: &[Source]) -> Vec<Annotation> {
    if sources.is_empty() {
        return Vec::new();
    }
    let mut marks: Vec<Option<(usize, usize)>> = vec![None; sources.len()];
    // One walk over the text, however many sources there are.
    let (mut rest, mut characters) = (content, 0_usize);
    while let Some((before, inside)) = rest.split_once("[[") {
        let start = characters.saturating_add(before.chars().count());
        let digits = inside.bytes().take_while(u8::is_ascii_digit).count().min(MAX_CITATION_DIGITS);
        let (number, after) = inside.split_at_checked(digits).unwrap_or((inside, ""));
        let index = number.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        (rest, characters) = match after.strip_prefix("]]") {
            Some(after) if digits > 0 && !number.starts_with('0') => {
                let end = start.saturating_add(digits).saturating_add(4);
                if let Some(mark) = index.and_then(|index| marks.get_mut(index)) {
                    mark.get_or_insert((start, end));
                }
                (after, end)
            }
            // The second bracket may begin a mark.
            _ => (rest.get(before.len().saturating_add(1)..).unwrap_or_default(), start.saturating_add(1)),
        };
    }
    let annotation = |(source, mark): (&Source, Option<(usize, usize)>)| {
        let (start, end) = mark.unwrap_or_default();
        Annotation { url: source.url.clone(), title: source.title.clone(), start, end }
    };
    sources.iter().zip(marks).map(annotation).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_found_by_their_marks() {
        let sources: Vec<Source> =
            (1..=12).map(|number| Source { url: format!("u{number}"), title: String::new() }).collect();
        for (content, expected) in [
            ("", vec![]),
            ("a[[1]]b[[2]]c[[1]]", vec![(1, 1, 6), (2, 7, 12)]),
            ("\u{4e2d}\u{1F600}[[12]]", vec![(12, 2, 8)]),
            ("[[[3]] [[x]] [[ [[]] [[0]] [[01]] [[13]] [[99999999999999999999]] [[4]", vec![(3, 1, 6)]),
        ] {
            let found: Vec<(usize, usize, usize)> = annotations(content, &sources)
                .iter()
                .enumerate()
                .filter(|(_, annotation)| annotation.end > 0)
                .map(|(index, annotation)| (index + 1, annotation.start, annotation.end))
                .collect();
            assert_eq!(found, expected, "{content}");
        }
    }

    #[test]
    fn an_answer_without_end_is_cut() {
        let identity = Identity { id: String::new(), created: 0, model: String::new() };
        for delivery in [Delivery::Whole, Delivery::Stream { include_usage: false }] {
            let mut output = Output::new(identity.clone(), &delivery, Vec::new(), None);
            let piece = "x".repeat(1 << 20);
            assert!((0..8).all(|_| output.reasoning(&piece)) && (0..8).all(|_| output.content(&piece)));
            assert!(!output.content("x"));
            let whole = output.finish(FinishReason::Stop, Usage::default(), &[]);
            let told = whole.unwrap_or_else(|| String::from_utf8(output.take().to_vec()).unwrap());
            assert!(told.contains("\"finish_reason\":\"length\""));
        }
    }
}
