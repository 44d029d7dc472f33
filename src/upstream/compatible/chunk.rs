//! The JSON of one event, read leniently.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::{
    llm::Usage,
    upstream::fields::{Count, First, Object, Text},
};

/// An event, or a whole answer. Only what the program reads; the rest is skipped.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Chunk<'a> {
    #[serde(borrow, default)]
    pub(super) choices: First<Choice<'a>>,
    #[serde(default)]
    pub(super) usage: Object<Counts>,
    #[serde(default)]
    pub(super) error: Option<IgnoredAny>,
    /// Model Studio's place for the code of an error.
    #[serde(default)]
    pub(super) code: Option<IgnoredAny>,
    /// FastAPI's place for what is wrong.
    #[serde(default)]
    pub(super) detail: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Choice<'a> {
    #[serde(borrow, default)]
    pub(super) delta: Object<Delta<'a>>,
    /// In the place of the delta, in a whole answer.
    #[serde(borrow, default)]
    pub(super) message: Object<Delta<'a>>,
    #[serde(borrow, default)]
    pub(super) finish_reason: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Delta<'a> {
    #[serde(borrow, default)]
    pub(super) content: Text<'a>,
    #[serde(borrow, default)]
    pub(super) refusal: Text<'a>,
    /// The thinking, as DeepSeek and Qwen name it, …
    #[serde(borrow, default)]
    pub(super) reasoning_content: Text<'a>,
    /// … and as OpenRouter and vLLM do.
    #[serde(borrow, default)]
    pub(super) reasoning: Text<'a>,
    /// Pieces of calls, unread.
    #[serde(borrow, default)]
    pub(super) tool_calls: Option<&'a RawValue>,
    /// The older form of one call, unread.
    #[serde(borrow, default)]
    pub(super) function_call: Option<&'a RawValue>,
}

impl Delta<'_> {
    pub(super) fn thinking(&self) -> &str {
        let first = self.reasoning_content.as_str();
        if first.is_empty() { self.reasoning.as_str() } else { first }
    }
}

/// A piece of a call.
#[derive(Debug, Default, Deserialize)]
pub(super) struct CallPiece<'a> {
    #[serde(default)]
    pub(super) index: Count,
    #[serde(borrow, default)]
    pub(super) id: Text<'a>,
    #[serde(borrow, default)]
    pub(super) function: Object<FunctionPiece<'a>>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct FunctionPiece<'a> {
    #[serde(borrow, default)]
    pub(super) name: Text<'a>,
    /// A text; of some servers an object.
    #[serde(borrow, default)]
    pub(super) arguments: Option<&'a RawValue>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Counts {
    #[serde(default)]
    prompt_tokens: Count,
    #[serde(default)]
    completion_tokens: Count,
    #[serde(default)]
    total_tokens: Count,
    #[serde(default)]
    completion_tokens_details: Object<CompletionDetails>,
    #[serde(default)]
    prompt_tokens_details: Object<PromptDetails>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
struct CompletionDetails {
    #[serde(default)]
    reasoning_tokens: Count,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
struct PromptDetails {
    #[serde(default)]
    cached_tokens: Count,
}

impl Counts {
    pub(super) fn usage(&self) -> Usage {
        let prompt = self.prompt_tokens.0.unwrap_or(0);
        let completion = self.completion_tokens.0.unwrap_or(0);
        Usage {
            prompt,
            completion,
            total: self.total_tokens.0.unwrap_or_else(|| prompt.saturating_add(completion)),
            reasoning: self.completion_tokens_details.0.reasoning_tokens.0,
            cached: self.prompt_tokens_details.0.cached_tokens.0,
        }
    }
}
