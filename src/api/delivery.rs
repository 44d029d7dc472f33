//! A request as a dialect read it, and how its answer is delivered.

use crate::{llm::Request, unix_time::UnixSeconds};

/// A request as a dialect read it, and how its answer is to be delivered.
#[derive(Debug)]
pub struct Parsed {
    /// What is asked for.
    pub request: Request,
    /// What the client gets.
    pub delivery: Delivery,
}

/// How an answer is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Piece by piece, as events.
    Stream {
        /// Whether token counts end the stream.
        include_usage: bool,
    },
    /// As one object.
    Whole,
}

impl Delivery {
    /// Whether the answer is a stream.
    #[must_use]
    pub const fn is_stream(self) -> bool {
        matches!(self, Self::Stream { .. })
    }
}

/// What each piece of an answer says of the whole.
#[derive(Clone, Debug)]
pub struct AnswerMeta {
    /// The answer's id.
    pub id: String,
    /// When the answer began.
    pub created: UnixSeconds,
    /// The model, as the client named it.
    pub model: String,
}
