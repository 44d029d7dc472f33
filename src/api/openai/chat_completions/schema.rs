//! What the types of this room look like in the API's document, where their readers are written by hand.

#![expect(dead_code, reason = "only their form counts")]

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::encoder::{AnnotationObject, UsageObject};
use crate::api::openai::{
    content::{Media, PartFields},
    tools::ChoiceFields,
};

/// Text, or parts in their order.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(in crate::api::openai) enum Content {
    /// Plain text.
    Text(String),
    /// Text and attachments.
    Parts(Vec<PartFields>),
    /// One part without its array.
    Part(Box<PartFields>),
}

/// One text or several.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(in crate::api::openai) enum Stop {
    /// One.
    Text(String),
    /// Up to 16.
    Texts(Vec<String>),
}

/// Which tools are called.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(in crate::api::openai) enum ToolChoice {
    /// `none`, `auto` or `required`.
    Mode(String),
    /// One tool, or a list of allowed ones.
    Object(Box<ChoiceFields>),
}

/// Something attached: a link (`http:`, `https:` or `data:`), or an object.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(in crate::api::openai) enum MediaOrLink {
    /// A link.
    Link(String),
    /// An object.
    Object(Media),
}

/// The data of one event of a streamed answer. The last event is `[DONE]`, or an error object.
#[derive(Serialize, ToSchema)]
#[schema(as = ChatCompletionChunk)]
pub(crate) struct Chunk {
    /// The same in all chunks of an answer.
    id: String,
    /// `chat.completion.chunk`
    object: String,
    /// Unix time in seconds.
    created: u64,
    /// As the client named it.
    model: String,
    /// One; none in the chunk with the usage.
    choices: Vec<ChunkChoice>,
    /// With `stream_options.include_usage`: in the chunk before `[DONE]`, null in the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageObject>,
}

/// A piece of the answer.
#[derive(Serialize, ToSchema)]
struct ChunkChoice {
    index: u8,
    delta: Delta,
    /// `stop`, `length`, `tool_calls`, `function_call` or `content_filter` in the last one.
    finish_reason: Option<String>,
}

/// What is new.
#[derive(Serialize, ToSchema)]
struct Delta {
    /// `assistant`, in the first chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<String>,
    /// Thinking.
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    /// Answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    /// A call of a tool, in two chunks: its id and name, then its whole arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<Vec<ToolCallDelta>>,
    /// The older form of `tool_calls`, in one chunk, where the request has `functions`.
    #[serde(skip_serializing_if = "Option::is_none")]
    function_call: Option<FunctionDelta>,
    /// Why the model answers nothing, where content inspection ended an answer that was to be JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<String>,
    /// Web sources, in the last chunk with a choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<Vec<AnnotationObject<'static>>>,
}

/// What is new of a call.
#[derive(Serialize, ToSchema)]
struct ToolCallDelta {
    /// The place of the call in the answer, in each chunk.
    index: u32,
    /// In the call's first chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// `function` or `custom`, in the call's first chunk.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    /// Of a function.
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<FunctionDelta>,
    /// Of a custom tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    custom: Option<CustomDelta>,
}

/// What is new of a function's call.
#[derive(Serialize, ToSchema)]
struct FunctionDelta {
    /// In the call's first chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// JSON text: empty in the first chunk of `tool_calls`, whole in the second.
    arguments: String,
}

/// What is new of a custom tool's call.
#[derive(Serialize, ToSchema)]
struct CustomDelta {
    /// In the call's first chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Empty in the first chunk, whole in the second.
    input: String,
}
