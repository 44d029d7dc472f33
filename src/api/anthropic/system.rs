//! The system text of a request.

use super::content::{Block, Content};
use crate::llm::{Message, Part, Role};

/// How the line begins in which Claude Code says who pays. It is for Anthropic, not for the model, and may differ from request
/// to request: as system text it would be sent again with each turn.
const ATTRIBUTION: &str = "x-anthropic-billing-header:";

/// The system text as a message; `None` without any.
pub(super) fn message(system: Content) -> Option<Message> {
    let texts = match system {
        Content::Text(text) => vec![text],
        Content::Blocks(blocks) => blocks
            .into_iter()
            .filter_map(|block| match block {
                Block::Text(text) => Some(text),
                _ => None,
            })
            .collect(),
    };
    let parts: Vec<Part> =
        texts.into_iter().map(without_attribution).filter(|text| !text.is_empty()).map(Part::Text).collect();
    (!parts.is_empty()).then(|| Message { parts, ..Message::text(Role::System, String::new()) })
}

fn without_attribution(text: String) -> String {
    if !text.starts_with(ATTRIBUTION) {
        return text;
    }
    text.split_once('\n').map_or_else(String::new, |(_, rest)| rest.to_owned())
}
