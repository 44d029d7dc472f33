//! What the types of this room look like in the API's document, where their readers are written by hand.

#![expect(dead_code, reason = "only their form counts")]

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::content::{BlockFields, SourceFields};

/// Text, or blocks in their order.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum BlockContent {
    /// Plain text.
    Text(String),
    /// Text, attachments, calls and results.
    Blocks(Vec<BlockFields>),
}

/// Text, or blocks of text, pictures and documents.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum NestedContent {
    /// Plain text.
    Text(String),
    /// Blocks.
    #[schema(value_type = Vec<crate::api::lenient::Object>)]
    Blocks(Vec<crate::api::lenient::Object>),
}

/// An object, or of a search result its address.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum SourceOrText {
    /// An address.
    Text(String),
    /// A content.
    Object(Box<SourceFields>),
}

/// The data of one event of a streamed message; `event:` has the same name as its `type`.
#[derive(Serialize, ToSchema)]
#[schema(as = MessageEvent)]
pub(crate) struct StreamEvent {
    /// `message_start`, `content_block_start`, `content_block_delta`, `content_block_stop`, `message_delta`, `message_stop`,
    /// `ping`, or `error`.
    #[serde(rename = "type")]
    kind: String,
    /// The message without content, in `message_start`.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<super::MessageObject<'static>>,
    /// Which block, in `content_block_…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    /// The block without content, in `content_block_start`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<crate::api::lenient::Object>)]
    content_block: Option<serde_json::Value>,
    /// What is new: `text_delta`, `thinking_delta`, `signature_delta`, `input_json_delta` or `citations_delta`; in
    /// `message_delta` why the answer ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<crate::api::lenient::Object>)]
    delta: Option<serde_json::Value>,
    /// Token counts, in `message_delta`.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<super::encoder::UsageObject>,
}
