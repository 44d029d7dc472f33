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
pub struct Delivery {
    /// Whether it comes piece by piece, as events, instead of as one object.
    pub is_stream: bool,
    /// Whether token counts end the stream.
    pub include_usage: bool,
    /// Whether a call is written in the old form, `function_call`.
    pub legacy_functions: bool,
}

impl Delivery {
    /// As one object.
    pub const WHOLE: Self = Self { is_stream: false, include_usage: false, legacy_functions: false };

    /// As events. `include_usage`: whether token counts end the stream.
    #[must_use]
    pub const fn stream(include_usage: bool) -> Self {
        Self { is_stream: true, include_usage, ..Self::WHOLE }
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
