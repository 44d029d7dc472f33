//! How an answer of Messages is delivered.

/// How an answer of Messages is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessagesDelivery {
    /// Whether it comes piece by piece, as events, instead of as one object.
    pub is_stream: bool,
    /// About how many tokens the request has. A stream reports that before the upstream counts them.
    pub input_tokens: u64,
}
