//! A message to a chat.

use super::files::FileEntry;
use crate::llm::Reasoning;

/// One message to a chat.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a> {
    /// The chat.
    pub chat_id: &'a str,
    /// The answer to go on from; `None` in a new chat.
    pub parent_id: Option<&'a str>,
    /// The upstream id of the model.
    pub model: &'a str,
    /// What the user says.
    pub text: &'a str,
    /// Uploaded files that go along.
    pub files: &'a [FileEntry],
    /// Whether to think.
    pub reasoning: Reasoning,
    /// Whether the model may search the web.
    pub search: bool,
    /// Whether the client has tools: the site's own are then switched off.
    pub has_tools: bool,
}
