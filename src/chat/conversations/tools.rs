//! What a conversation's chat was told of tools.

use std::sync::Arc;

use crate::{
    digest::{key, link},
    llm::{OutputFormat, Request, Tool, ToolChoice, ToolKind},
    upstream::{ToolAsk, ToolText},
};

/// The tools of a turn, as the upstream is told of them.
#[derive(Clone, Debug, Default)]
pub struct TurnTools {
    tools: Arc<[Tool]>,
    choice: ToolChoice,
    allowed: Option<Vec<String>>,
    search: bool,
    format: Option<OutputFormat>,
    /// Digest of the catalogue; empty where the upstream is not told of it.
    digest: String,
}

impl TurnTools {
    /// The tools of a request. `search`: whether the upstream may search the web.
    #[must_use]
    pub fn new(request: &Request, search: bool) -> Self {
        let Request { tools, tool_choice, allowed_tools, format, .. } = request;
        let is_told = !tools.is_empty() && *tool_choice != ToolChoice::None;
        let digest = if is_told { digest(tools) } else { String::new() };
        Self {
            tools: Arc::clone(tools),
            choice: tool_choice.clone(),
            allowed: allowed_tools.clone(),
            search,
            format: format.clone(),
            digest,
        }
    }

    /// The digest of the catalogue; empty where the upstream is not told of it.
    pub(super) fn digest(&self) -> &str {
        &self.digest
    }

    /// What goes along with a message to a chat that was told of the tools with the digest `known`; empty for none.
    pub(in crate::chat) fn text(&self, known: &str) -> ToolText {
        let Self { tools, choice, allowed, search, format, digest } = self;
        let allowed = allowed.as_deref();
        let ask = ToolAsk { tools, choice, allowed, search: *search, format: format.as_ref() };
        ToolText::new(&ask, !known.is_empty() && known == digest, !known.is_empty())
    }
}

fn digest(tools: &[Tool]) -> String {
    let mut chain = [0; 32];
    for Tool { name, description, parameters, kind, strict: _ } in tools {
        chain = link(chain, b'n', name.as_bytes());
        chain = link(chain, b'd', description.as_deref().unwrap_or_default().as_bytes());
        chain = link(chain, b'p', parameters.as_deref().unwrap_or_default().as_bytes());
        chain = link(chain, b'k', &[u8::from(*kind == ToolKind::Custom)]);
    }
    key(chain)
}
