//! The body of `POST /v1/videos`, and the query of the list.

use serde::{Deserialize, de::IgnoredAny};
use url::form_urlencoded;

use crate::{
    api::{
        json_body::read,
        lenient::Whole,
        openai::media_fields::{Reference, References, model, prompt, ratio, said, take_all},
    },
    error::{Error, Result},
    llm::{self, VideoRequest},
};

/// The field of the first frame.
const REFERENCE: &str = "input_reference";

/// A request for a video. Fields without docs are accepted and ignored, whatever they hold.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = VideoRequest))]
#[expect(dead_code, reason = "ignored parameters stand in the document")]
pub(crate) struct VideoBody {
    /// `qwen-video`, another vendor's name, or a text model with the suffix `-video`.
    #[cfg_attr(test, schema(max_length = 200))]
    model: Option<String>,
    /// What the video shows.
    #[cfg_attr(test, schema(value_type = String, min_length = 1, max_length = 32_000))]
    prompt: Option<String>,
    /// A width and a height such as `1280x720`, from 1:3 to 3:1. The nearest of the shapes 1:1, 3:4, 4:3, 9:16 and 16:9 is
    /// made, 16:9 by default; the site chooses the pixels.
    #[cfg_attr(test, schema(default = "1280x720"))]
    size: Option<String>,
    /// The first frame. A form may have a file in this field, or its subfields in brackets.
    #[cfg_attr(test, schema(value_type = Option<crate::api::openai::media_fields::ReferenceFields>))]
    input_reference: Option<References>,
    #[cfg_attr(test, schema(value_type = Option<String>))]
    seconds: Option<IgnoredAny>,
}

/// The text fields of a form that have a meaning: [`parse_form`] takes these.
pub const FORM_TEXTS: &[&str] = &[
    "model",
    "prompt",
    "size",
    "input_reference",
    "input_reference[image_url]",
    "input_reference[image_url][url]",
    "input_reference[file_id]",
];

/// Reads a request.
///
/// # Errors
/// `invalid_json` when it is not JSON; `invalid_request` with the field that is wrong.
pub fn parse(body: &[u8]) -> Result<VideoRequest> {
    read::<VideoBody>(body, || {})?.into_request(Vec::new())
}

/// Reads a form. `files` are the files of its field `input_reference`; `take` takes the last text that is left of a field
/// ([`FORM_TEXTS`]).
///
/// # Errors
/// As of [`parse`].
pub fn parse_form(files: Vec<llm::Media>, mut take: impl FnMut(&str) -> Option<String>) -> Result<VideoRequest> {
    let mut frames = files;
    for text in take_all(&mut take, REFERENCE) {
        frames.extend(References::from_text(REFERENCE, &text)?.into_media(REFERENCE)?);
    }
    for name in ["input_reference[image_url]", "input_reference[image_url][url]", "input_reference[file_id]"] {
        for text in take_all(&mut take, name) {
            let Some(text) = said(&text) else { continue };
            let is_upload = name.ends_with("[file_id]");
            let reference = if is_upload { Reference::upload(text.to_owned()) } else { Reference::link(text) };
            frames.extend(References::One(reference).into_media(REFERENCE)?);
        }
    }
    let mut text = |name: &str| take(name).and_then(|text| said(&text).map(str::to_owned));
    let body = VideoBody { model: text("model"), size: text("size"), prompt: take("prompt"), ..VideoBody::default() };
    body.into_request(frames)
}

impl VideoBody {
    fn into_request(self, mut frames: Vec<llm::Media>) -> Result<VideoRequest> {
        // Each field by name: whoever adds one decides here what it means.
        let Self { model: name, prompt: text, size, input_reference, seconds: _ } = self;
        frames.extend(input_reference.unwrap_or_default().into_media(REFERENCE)?);
        if frames.len() > 1 {
            let problem = "The field 'input_reference' has several pictures; send one, as a file, a link or a file_id.";
            return Err(Error::invalid(REFERENCE, problem));
        }
        Ok(VideoRequest {
            model: model(name),
            prompt: prompt(text)?,
            ratio: ratio(size.as_deref())?,
            first_frame: frames.pop(),
        })
    }
}

/// How many jobs a list has where the client does not say it, and at most.
const LISTED: usize = 20;
const MAX_LISTED: usize = 100;

/// Which jobs of a list are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// How many at most.
    pub limit: usize,
    /// The job after which they begin.
    pub after: Option<String>,
    /// Whether the oldest comes first.
    pub is_ascending: bool,
}

/// Reads the query of a list. Unknown and empty parameters are ignored.
///
/// # Errors
/// `limit` or `order` is wrong.
pub fn parse_list_query(query: Option<&str>) -> Result<ListQuery> {
    let mut wanted = ListQuery { limit: LISTED, after: None, is_ascending: false };
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*name {
            _ if value.is_empty() => {}
            "limit" => {
                let limit = Whole::from_text(&value).and_then(|Whole(limit)| usize::try_from(limit).ok());
                wanted.limit = limit.filter(|limit| (1..=MAX_LISTED).contains(limit)).ok_or_else(|| {
                    Error::invalid("limit", format!("The field 'limit' must be a number from 1 to {MAX_LISTED}."))
                })?;
            }
            "after" => wanted.after = Some(value.into_owned()),
            "order" => {
                wanted.is_ascending = match &*value {
                    "asc" => true,
                    "desc" => false,
                    _ => return Err(Error::invalid("order", "The field 'order' must be 'asc' or 'desc'.")),
                }
            }
            _ => {}
        }
    }
    Ok(wanted)
}
