//! The JSON of one event, read leniently.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value as Json, value::RawValue};

use crate::{
    llm::Usage,
    upstream::fields::{First, Object, Text},
};

/// An event, or a whole answer. Only what the program reads; the rest is skipped.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Chunk<'a> {
    #[serde(borrow, default)]
    pub(super) choices: First<Choice<'a>>,
    /// Token counts, unread.
    #[serde(borrow, default)]
    pub(super) usage: Option<&'a RawValue>,
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
    pub(super) delta: Option<Object<Delta<'a>>>,
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
pub(super) struct CallPiece {
    pub(super) index: Option<u64>,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: String,
}

/// Reads pieces of calls: a list of them, or the older form of one. Whatever has another form is none.
pub(super) fn call_pieces(json: &str) -> Vec<CallPiece> {
    match serde_json::from_str::<Json>(json) {
        Ok(Json::Array(pieces)) => pieces
            .iter()
            .filter_map(|piece| {
                let index = piece.get("index").and_then(count);
                Some(call_piece(index, text(piece.get("id")), piece.get("function")?))
            })
            .collect(),
        Ok(function @ Json::Object(_)) => vec![call_piece(Some(0), String::new(), &function)],
        _ => Vec::new(),
    }
}

fn call_piece(index: Option<u64>, id: String, function: &Json) -> CallPiece {
    let arguments = match function.get("arguments") {
        // Some servers have an object in the place of its text.
        Some(object @ Json::Object(_)) => object.to_string(),
        other => text(other),
    };
    CallPiece { index, id, name: text(function.get("name")), arguments }
}

fn text(json: Option<&Json>) -> String {
    json.and_then(Json::as_str).unwrap_or_default().to_owned()
}

/// A number, or text that is one.
fn count(json: &Json) -> Option<u64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates, and is not negative")]
    let whole = |number: f64| (number >= 0.0).then_some(number as u64);
    json.as_u64().or_else(|| json.as_f64().and_then(whole)).or_else(|| json.as_str()?.trim().parse().ok())
}

/// Reads token counts; `None` where there are none.
pub(super) fn usage(json: &str) -> Option<Usage> {
    let json: Json = serde_json::from_str(json).ok()?;
    let count = |place: &str| json.pointer(place).and_then(count);
    let (prompt, completion, total) = (count("/prompt_tokens"), count("/completion_tokens"), count("/total_tokens"));
    prompt.or(completion).or(total)?;
    let (prompt, completion) = (prompt.unwrap_or(0), completion.unwrap_or(0));
    Some(Usage {
        prompt,
        completion,
        total: total.unwrap_or_else(|| prompt.saturating_add(completion)),
        reasoning: count("/completion_tokens_details/reasoning_tokens"),
        cached: count("/prompt_tokens_details/cached_tokens"),
    })
}
