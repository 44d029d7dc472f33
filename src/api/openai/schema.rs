//! What the types of this room look like in the API's document, where their readers are written by hand.

#![expect(dead_code, reason = "only their form counts")]

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    encoder::{AnnotationObject, UsageObject},
    message::{Media, PartFields},
    tools::ChoiceFields,
};

/// Text, or parts in their order.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Content {
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
pub(super) enum Stop {
    /// One.
    Text(String),
    /// Up to 16.
    Texts(Vec<String>),
}

/// Which tools are called.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum ToolChoice {
    /// `none`, `auto` or `required`.
    Mode(String),
    /// One tool, or a list of allowed ones.
    Object(Box<ChoiceFields>),
}

/// Something attached: a link (`http:`, `https:` or `data:`), or an object.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum MediaOrLink {
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
    /// `stop`, `length` or `content_filter` in the last one.
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
    /// Web sources, in the last chunk with a choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<Vec<AnnotationObject<'static>>>,
}
