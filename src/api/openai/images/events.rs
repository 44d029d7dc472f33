//! The events of a streamed answer: one for each picture. No `[DONE]` follows the last, as at OpenAI.

use bytes::BytesMut;
use serde::Serialize;

use super::{
    ImagesMeta, Operation, Picture,
    object::{BACKGROUND, ImagesUsage, write_open},
    pieces::Pieces,
};
use crate::{api::openai::error::write_error_event, error::Error};

/// The fields of an event before the content of its picture.
#[derive(Serialize)]
struct EventFields<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    created_at: u64,
    background: &'static str,
    output_format: &'static str,
    quality: &'static str,
    size: &'a str,
    usage: ImagesUsage,
}

impl Operation {
    /// The event of a picture.
    const fn completed(self) -> &'static str {
        match self {
            Self::Generation => "image_generation.completed",
            Self::Edit => "image_edit.completed",
        }
    }
}

/// The event of a picture.
#[must_use]
pub fn event(operation: Operation, meta: &ImagesMeta, picture: &Picture<'_>) -> Pieces {
    let ImagesMeta { created, quality, usage } = *meta;
    let kind = operation.completed();
    let mut out = Pieces::default();
    for part in ["event: ", kind, "\ndata: "] {
        out.text().extend_from_slice(part.as_bytes());
    }
    let fields = EventFields {
        kind,
        created_at: created.get(),
        background: BACKGROUND,
        output_format: picture.format.as_str(),
        quality,
        size: &picture.size(),
        usage: usage.into(),
    };
    write_open(out.text(), &fields);
    picture.write(&mut out);
    out.text().extend_from_slice(b"}\n\n");
    out
}

/// Writes a comment that keeps proxies and clients waiting.
///
/// It is a block of its own. openai-python and openai-node read it so without harm, also after `event:` lines; within the
/// block of an event it would cut that event. An `id:` line may never be sent: the empty line after a comment would then be
/// an event.
pub fn write_heartbeat(out: &mut BytesMut) {
    out.extend_from_slice(b": keep-alive\n\n");
}

/// Writes the error that ends a stream. Nothing follows it.
pub fn write_error(out: &mut BytesMut, error: &Error) {
    write_error_event(out, error);
}
