//! Cutting an answer at a limit.

/// The most that is kept of an answer, thinking included, in bytes. The largest output that the site is known for is a
/// twentieth of it.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// Ends an answer after so many tokens, and any answer that has no end.
#[derive(Debug)]
pub(in crate::chat) struct LimitFilter {
    max_tokens: Option<u64>,
    bytes: usize,
}

impl LimitFilter {
    /// A filter for at most `max_tokens`, thinking included.
    pub(in crate::chat) fn new(max_tokens: Option<u64>) -> Self {
        Self { max_tokens, bytes: 0 }
    }

    /// Counts a piece of text; returns whether there is room for it.
    pub(in crate::chat) fn fits(&mut self, piece: &str) -> bool {
        self.bytes = self.bytes.saturating_add(piece.len());
        self.bytes <= MAX_ANSWER_BYTES
    }

    /// Whether an answer of so many tokens has reached the limit.
    pub(in crate::chat) fn is_reached(&self, tokens: u64) -> bool {
        self.max_tokens.is_some_and(|max_tokens| tokens >= max_tokens)
    }

    /// Whether there is a limit of tokens.
    pub(in crate::chat) fn counts_tokens(&self) -> bool {
        self.max_tokens.is_some()
    }
}
