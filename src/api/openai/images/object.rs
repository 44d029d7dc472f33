//! The object that answers a request for pictures.

use bytes::{Bytes, BytesMut};
use serde::Serialize;

use super::{PictureFormat, pieces::Pieces};
use crate::{json::write_line, llm::Usage, unix_time::UnixSeconds};

/// A picture that was made.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    /// What the client gets of it.
    pub content: Content<'a>,
    /// Its width and height in pixels; `None` = its bytes do not tell.
    pub pixels: Option<(u32, u32)>,
    /// Its format, by its bytes.
    pub format: PictureFormat,
}

/// What the client gets of a picture.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// Its bytes, which become base64.
    Bytes(&'a Bytes),
    /// A link to it.
    Url(&'a str),
}

/// What an answer says beside its pictures.
#[derive(Clone, Copy, Debug)]
pub struct ImagesMeta {
    /// When the pictures were made.
    pub created: UnixSeconds,
    /// The quality that was asked for, as [`ImagesDelivery`](super::ImagesDelivery) has it.
    pub quality: &'static str,
    /// What the site reports.
    pub usage: Usage,
}

/// The fields of the object before `data`.
#[derive(Serialize)]
struct ObjectFields<'a> {
    created: u64,
    background: &'static str,
    output_format: &'static str,
    /// OpenAI's object knows no `auto` here; its events do.
    #[serde(skip_serializing_if = "Option::is_none")]
    quality: Option<&'static str>,
    size: &'a str,
    usage: ImagesUsage,
}

/// Token counts; zeros where the site reports none.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct ImagesUsage {
    input_tokens: u64,
    input_tokens_details: TokenDetails,
    output_tokens: u64,
    output_tokens_details: TokenDetails,
    total_tokens: u64,
}

/// Of what the tokens are.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = ImagesTokenDetails))]
struct TokenDetails {
    text_tokens: u64,
    image_tokens: u64,
}

impl From<Usage> for ImagesUsage {
    fn from(usage: Usage) -> Self {
        let Usage { prompt, completion, total, reasoning: _, cached: _ } = usage;
        // The site does not tell them apart: in goes text, out comes a picture.
        Self {
            input_tokens: prompt,
            input_tokens_details: TokenDetails { text_tokens: prompt, image_tokens: 0 },
            output_tokens: completion,
            output_tokens_details: TokenDetails { text_tokens: 0, image_tokens: completion },
            total_tokens: total,
        }
    }
}

/// The background of all pictures.
pub(super) const BACKGROUND: &str = "opaque";

impl Picture<'_> {
    /// Its size as OpenAI writes it; `auto` where it is not known.
    pub(super) fn size(&self) -> String {
        self.pixels.map_or_else(|| "auto".to_owned(), |(width, height)| format!("{width}x{height}"))
    }

    /// Writes the field with its content: `"b64_json":"…"` or `"url":"…"`.
    pub(super) fn write(&self, out: &mut Pieces) {
        match self.content {
            Content::Bytes(bytes) => {
                out.text().extend_from_slice(b"\"b64_json\":\"");
                out.picture(bytes.clone());
                out.text().extend_from_slice(b"\"");
            }
            Content::Url(url) => {
                out.text().extend_from_slice(b"\"url\":");
                write_line(out.text(), url);
            }
        }
    }
}

/// Writes fields as an object that is still open: more fields follow.
pub(super) fn write_open(out: &mut BytesMut, fields: &impl Serialize) {
    write_line(out, fields);
    out.truncate(out.len().saturating_sub(1));
    out.extend_from_slice(b",");
}

/// The object of an answer, on one line. Its size and format are those of the first picture.
#[must_use]
pub fn object(meta: &ImagesMeta, pictures: &[Picture<'_>]) -> Pieces {
    let ImagesMeta { created, quality, usage } = *meta;
    let mut out = Pieces::default();
    let first = pictures.first();
    let fields = ObjectFields {
        created: created.get(),
        background: BACKGROUND,
        output_format: first.map_or(PictureFormat::Png, |picture| picture.format).as_str(),
        quality: (quality != "auto").then_some(quality),
        size: &first.map_or_else(|| "auto".to_owned(), Picture::size),
        usage: usage.into(),
    };
    write_open(out.text(), &fields);
    out.text().extend_from_slice(b"\"data\":[");
    for (at, picture) in pictures.iter().enumerate() {
        out.text().extend_from_slice(if at == 0 { b"{" } else { b",{" });
        picture.write(&mut out);
        out.text().extend_from_slice(b"}");
    }
    out.text().extend_from_slice(b"]}");
    out
}
