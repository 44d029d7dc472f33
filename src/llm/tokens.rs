//! How many tokens a request has, before anybody has counted them.

use super::request::{Message, Request};

/// About how many tokens a request has.
#[must_use]
pub fn estimate_tokens(request: &Request) -> u64 {
    let texts = request.messages.iter().map(Message::text_length);
    let calls = request.messages.iter().flat_map(Message::calls).map(|call| {
        let length = |text: &Option<Box<str>>| text.as_deref().map_or(0, str::len);
        length(&call.name).saturating_add(length(&call.arguments))
    });
    let tools = request.tools.iter().map(|tool| {
        let description = tool.description.as_deref().map_or(0, str::len);
        tool.name.len().saturating_add(description).saturating_add(tool.parameters.as_deref().map_or(0, str::len))
    });
    let bytes = texts.chain(calls).chain(tools).fold(0, usize::saturating_add);
    u64::try_from(bytes.div_ceil(4)).unwrap_or(u64::MAX)
}
