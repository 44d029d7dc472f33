//! The decoder of either upstream.

use super::{
    compatible,
    qwen::{self, EventSink},
};
use crate::{
    error::{Error, Result},
    llm::{FinishReason, Source, Usage},
};

/// Reads an upstream's bytes.
#[derive(Debug)]
pub enum Decoder {
    /// Those of chat.qwen.ai.
    Qwen(Box<qwen::Decoder>),
    /// Those of a server that speaks OpenAI's chat completions.
    Compatible(Box<compatible::Decoder>),
}

impl Decoder {
    /// A decoder of chat.qwen.ai.
    #[must_use]
    pub fn qwen() -> Self {
        Self::Qwen(Box::default())
    }

    /// The answer may repeat these links, which are what the question came with; they are no pictures of the model's.
    pub fn expect_echoes<'a>(&mut self, links: impl IntoIterator<Item = &'a str>) {
        match self {
            Self::Qwen(decoder) => decoder.expect_echoes(links),
            Self::Compatible(_) => {}
        }
    }

    /// Reads one piece. `Ok(true)` = read on; `Ok(false)` = the answer is over, or the receiver has enough.
    ///
    /// # Errors
    /// What the stream itself reports as an error.
    pub fn feed(&mut self, piece: &[u8], sink: &mut impl EventSink) -> Result<bool> {
        match self {
            Self::Qwen(decoder) => decoder.feed(piece, sink),
            Self::Compatible(decoder) => decoder.feed(piece, sink),
        }
    }

    /// The bytes have ended.
    ///
    /// # Errors
    /// `upstream_empty` or `upstream_truncated` when the end of the answer was not seen.
    pub fn finish(&mut self, sink: &mut impl EventSink) -> Result<()> {
        match self {
            Self::Qwen(decoder) => decoder.finish(sink),
            Self::Compatible(decoder) => decoder.finish(sink),
        }
    }

    /// The error of an answer without a word, or of one that was nothing but refusals of tools.
    #[must_use]
    pub fn empty_answer(&self) -> Error {
        match self {
            Self::Qwen(_) if self.refusals() > 0 => qwen::refused_tools(),
            Self::Qwen(_) => qwen::empty_answer(),
            Self::Compatible(decoder) => decoder.empty_answer(),
        }
    }

    /// How many tools of the client's the upstream refused.
    #[must_use]
    pub fn refusals(&self) -> u32 {
        match self {
            Self::Qwen(decoder) => decoder.refusals(),
            Self::Compatible(_) => 0,
        }
    }

    /// Whether the upstream tried to run a tool of the client's itself, so that this node of its chat is not to be continued.
    #[must_use]
    pub fn took_call(&self) -> bool {
        match self {
            Self::Qwen(decoder) => decoder.took_call(),
            Self::Compatible(_) => false,
        }
    }

    /// Whether the answer is over although the upstream goes on.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        match self {
            Self::Qwen(decoder) => decoder.is_cut(),
            Self::Compatible(decoder) => decoder.is_cut(),
        }
    }

    /// Why the answer ended, once its end was seen.
    #[must_use]
    pub fn finished(&self) -> Option<FinishReason> {
        match self {
            Self::Qwen(decoder) => decoder.finished(),
            Self::Compatible(decoder) => decoder.finished(),
        }
    }

    /// Whether any text came.
    #[must_use]
    pub fn has_text(&self) -> bool {
        match self {
            Self::Qwen(decoder) => decoder.said_something(),
            Self::Compatible(decoder) => decoder.has_text(),
        }
    }

    /// The last token counts that the stream reported.
    #[must_use]
    pub fn usage(&self) -> Usage {
        match self {
            Self::Qwen(decoder) => decoder.usage(),
            Self::Compatible(decoder) => decoder.usage(),
        }
    }

    /// Whether the stream reports its token counts at its end alone.
    #[must_use]
    pub const fn counts_at_end(&self) -> bool {
        match self {
            Self::Qwen(_) => false,
            Self::Compatible(_) => true,
        }
    }

    /// The pages that the model found, in the order of their marks.
    #[must_use]
    pub fn sources(&self) -> &[Source] {
        match self {
            Self::Qwen(decoder) => decoder.sources(),
            Self::Compatible(_) => &[],
        }
    }

    /// The answer's node in the upstream's chat: the parent of the next turn.
    #[must_use]
    pub fn response_id(&self) -> Option<&str> {
        match self {
            Self::Qwen(decoder) => decoder.response_id(),
            Self::Compatible(_) => None,
        }
    }

    /// How many events came so far. What comes between events, such as comments, is not one.
    #[must_use]
    pub fn events(&self) -> u64 {
        match self {
            Self::Qwen(decoder) => decoder.events(),
            Self::Compatible(decoder) => decoder.events(),
        }
    }

    /// How many events were not understood.
    #[must_use]
    pub fn unknown_events(&self) -> u32 {
        match self {
            Self::Qwen(decoder) => decoder.unknown_events(),
            Self::Compatible(decoder) => decoder.unknown_events(),
        }
    }
}
