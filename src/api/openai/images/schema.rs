//! What the answers look like in the API's document, where they are written by hand.

use serde::Serialize;
use utoipa::ToSchema;

use super::object::ImagesUsage;

/// Pictures.
#[derive(Serialize, ToSchema)]
pub(crate) struct ImagesObject {
    /// Unix time in seconds.
    created: u64,
    /// `opaque`
    background: &'static str,
    /// What the bytes of the first picture are: `png`, `jpeg` or `webp`.
    output_format: &'static str,
    /// As asked for: `low`, `medium` or `high`; left out for `auto`.
    #[serde(skip_serializing_if = "Option::is_none")]
    quality: Option<&'static str>,
    /// The pixels of the first picture, such as `1024x1024`.
    size: String,
    usage: ImagesUsage,
    data: Vec<ImageObject>,
}

/// A picture: one of both fields.
#[derive(Serialize, ToSchema)]
pub(crate) struct ImageObject {
    /// Its bytes in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    b64_json: Option<String>,
    /// A link to this server, valid for `MEDIA_TTL_SECONDS`.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

/// The data of one event of a streamed answer: a picture, with one of `b64_json` and `url`.
#[derive(Serialize, ToSchema)]
#[schema(as = ImageEvent)]
pub(crate) struct PictureEvent {
    /// `image_generation.completed` or `image_edit.completed`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// Unix time in seconds.
    created_at: u64,
    /// `opaque`
    background: &'static str,
    /// What its bytes are: `png`, `jpeg` or `webp`.
    output_format: &'static str,
    /// As asked for: `low`, `medium`, `high` or `auto`.
    quality: &'static str,
    /// Its pixels, such as `1024x1024`.
    size: String,
    usage: ImagesUsage,
    /// Its bytes in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    b64_json: Option<String>,
    /// A link to this server, valid for `MEDIA_TTL_SECONDS`.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}
