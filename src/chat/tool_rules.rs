//! What the answer to a request with tools has to keep to.

use std::sync::Arc;

use super::filters::ToolSet;
use crate::llm::{Request, ToolChoice};

/// How an answer may call tools.
#[derive(Clone, Debug)]
pub struct ToolRules {
    /// The tools.
    pub(in crate::chat) tools: ToolSet,
    choice: ToolChoice,
    /// The tools that may be called; `None` = all.
    allowed: Option<Arc<[String]>>,
    /// Whether several calls are possible.
    is_parallel: bool,
    /// What the ids of the calls begin with, behind `call_`.
    stem: Arc<str>,
}

/// How many characters the ids of all calls of an answer have in common.
pub(in crate::chat) const STEM: usize = 22;
/// How the id of a call begins.
const PREFIX: &str = "call_";

impl ToolRules {
    /// The rules of a request; `None` when it has no tools, or wants none of them called. `stem` = 22 random characters; `shown`
    /// returns the name under which the model sees a tool.
    #[must_use]
    pub fn new<'n>(
        request: &Request,
        stem: &str,
        shown: impl Fn(&str) -> std::borrow::Cow<'_, str> + 'n,
    ) -> Option<Self> {
        if request.tools.is_empty() || request.tool_choice == ToolChoice::None {
            return None;
        }
        Some(Self {
            tools: ToolSet::new(Arc::clone(&request.tools), shown),
            choice: request.tool_choice.clone(),
            allowed: request.allowed_tools.clone().map(Into::into),
            is_parallel: request.parallel_tool_calls,
            stem: stem.into(),
        })
    }

    /// Whether the answer has to call a tool before anything else is sent.
    pub(in crate::chat) fn is_enforced(&self) -> bool {
        matches!(self.choice, ToolChoice::Required | ToolChoice::Named(_))
    }

    /// The one tool that has to be called, if it is one.
    pub(in crate::chat) fn only(&self) -> Option<&str> {
        match (&self.choice, self.tools.all()) {
            (ToolChoice::Named(name), _) => Some(name),
            (ToolChoice::Required, [only]) => Some(&only.name),
            _ => None,
        }
    }

    /// The tool that the request names.
    pub(in crate::chat) fn named(&self) -> Option<&str> {
        match &self.choice {
            ToolChoice::Named(name) => Some(name),
            _ => None,
        }
    }

    /// Whether a tool may be called. Unknown ones may: the client answers them with an error.
    pub(in crate::chat) fn allows(&self, name: &str) -> bool {
        let is_named = self.named().is_none_or(|named| named == name);
        is_named && self.allowed.as_ref().is_none_or(|allowed| allowed.iter().any(|allowed| allowed == name))
    }

    /// Whether the answer ends with its first call.
    pub(in crate::chat) fn ends_with_first(&self) -> bool {
        !self.is_parallel
    }

    /// The id of a call.
    pub(in crate::chat) fn id(&self, index: usize) -> String {
        format!("{PREFIX}{}{index:02}", self.stem)
    }
}

/// What all call ids of one answer of this server have in common; `None` for ids of others.
///
/// `call_` and `toolu_` are both possible: the same id in two dialects.
pub(in crate::chat) fn stem_of(id: &str) -> Option<&str> {
    let rest = id.strip_prefix(PREFIX).or_else(|| id.strip_prefix("toolu_"))?;
    let (stem, index) = rest.split_at_checked(STEM)?;
    let is_ours = index.len() == 2 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_ours.then_some(stem)
}
