//! How an answer of chat completions is delivered.

/// How an answer of chat completions is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChatDelivery {
    /// Whether it comes piece by piece, as events, instead of as one object.
    pub is_stream: bool,
    /// Whether token counts end the stream.
    pub include_usage: bool,
    /// Whether a call is written in the old form, `function_call`.
    pub legacy_functions: bool,
}

impl ChatDelivery {
    /// As one object.
    pub const WHOLE: Self = Self { is_stream: false, include_usage: false, legacy_functions: false };

    /// As events. `include_usage`: whether token counts end the stream.
    #[must_use]
    pub const fn stream(include_usage: bool) -> Self {
        Self { is_stream: true, include_usage, ..Self::WHOLE }
    }
}
