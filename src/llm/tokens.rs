//! Estimates of how many tokens a text has.

use super::Request;

/// Estimates how many tokens a request has.
#[must_use]
pub fn estimate_tokens(request: &Request) -> u64 {
    let bytes = request.messages.iter().map(|message| message.text_length() as u64).fold(0, u64::saturating_add);
    bytes / 4
}
