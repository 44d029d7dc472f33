//! Writing an answer, in whichever dialect.

use bytes::BytesMut;

use super::{
    anthropic,
    delivery::{AnswerMeta, Delivery},
    openai::{chat_completions, responses},
};
use crate::{
    error::Error,
    llm::{Answer, Event},
};

/// Writes one answer in a dialect. One `match` a delta; the code of the engine exists once.
#[derive(Clone, Debug)]
pub enum Encoder {
    /// OpenAI's chat completions.
    ChatCompletions(chat_completions::Encoder),
    /// OpenAI's Responses API.
    Responses(Box<responses::Encoder>),
    /// Anthropic's Messages.
    Messages(anthropic::Encoder),
}

impl Encoder {
    /// An encoder for one answer.
    #[must_use]
    pub fn new(meta: AnswerMeta, delivery: Delivery) -> Self {
        match delivery {
            Delivery::ChatCompletions(delivery) => {
                Self::ChatCompletions(chat_completions::Encoder::new(meta, delivery))
            }
            Delivery::Responses(delivery) => Self::Responses(Box::new(responses::Encoder::new(meta, delivery))),
            Delivery::Messages(delivery) => Self::Messages(anthropic::Encoder::new(meta, delivery)),
        }
    }

    /// Whether the client gets events. If so, what was written is as good as sent.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        match self {
            Self::ChatCompletions(encoder) => encoder.is_stream(),
            Self::Responses(encoder) => encoder.is_stream(),
            Self::Messages(encoder) => encoder.is_stream(),
        }
    }

    /// Whether [`Self::finish`] needs the whole text of the thinking.
    #[must_use]
    pub fn keeps_reasoning(&self) -> bool {
        match self {
            Self::ChatCompletions(_) | Self::Messages(_) => !self.is_stream(),
            // A response that was streamed can be retrieved.
            Self::Responses(_) => true,
        }
    }

    /// The whole answer as one object, where it may be kept to be retrieved.
    #[must_use]
    pub fn kept(&self, answer: &Answer<'_>) -> Option<String> {
        match self {
            Self::ChatCompletions(_) | Self::Messages(_) => None,
            Self::Responses(encoder) => Some(encoder.kept(answer)),
        }
    }

    /// Writes what comes before the first event.
    pub fn begin(&mut self, out: &mut BytesMut) {
        match self {
            Self::ChatCompletions(encoder) => encoder.begin(out),
            Self::Responses(encoder) => encoder.begin(out),
            Self::Messages(encoder) => encoder.begin(out),
        }
    }

    /// Writes a piece of the answer.
    pub fn event(&mut self, event: Event<'_>, out: &mut BytesMut) {
        match self {
            Self::ChatCompletions(encoder) => encoder.event(event, out),
            Self::Responses(encoder) => encoder.event(event, out),
            Self::Messages(encoder) => encoder.event(event, out),
        }
    }

    /// Writes the end of the answer, or all of it where the client gets no events.
    pub fn finish(&mut self, answer: &Answer<'_>, out: &mut BytesMut) {
        match self {
            Self::ChatCompletions(encoder) => encoder.finish(answer, out),
            Self::Responses(encoder) => encoder.finish(answer, out),
            Self::Messages(encoder) => encoder.finish(answer, out),
        }
    }

    /// Ends a stream with an error.
    pub fn fail(&mut self, error: &Error, out: &mut BytesMut) {
        match self {
            Self::ChatCompletions(_) => chat_completions::Encoder::fail(error, out),
            Self::Responses(encoder) => encoder.fail(error, out),
            Self::Messages(_) => anthropic::Encoder::fail(error, out),
        }
    }

    /// Writes what keeps the connection alive while there is nothing to say.
    pub fn keep_alive(&mut self, out: &mut BytesMut) {
        match self {
            Self::ChatCompletions(_) => chat_completions::Encoder::keep_alive(out),
            Self::Responses(encoder) => encoder.keep_alive(out),
            Self::Messages(encoder) => encoder.keep_alive(out),
        }
    }
}
