//! Content of messages, as OpenAI's two dialects write it: a text, or parts.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::value::RawValue;

pub(super) use crate::api::lenient::reset_attached;
use crate::api::lenient::{MAX_PARTS, bounded, count_attached};
use crate::llm::{self, MediaClass, MediaSource};

/// A message's content.
#[derive(Debug)]
pub(super) enum Content {
    /// Plain text.
    Text(String),
    /// Typed parts.
    Parts(Vec<Part>),
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrParts;
        impl<'de> Visitor<'de> for TextOrParts {
            type Value = Content;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, an array of content parts, or one of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Content, E> {
                Ok(Content::Text(text.to_owned()))
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<Content, E> {
                Ok(Content::Text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Content, A::Error> {
                Content::parts(items)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, part: A) -> Result<Content, A::Error> {
                Part::deserialize(MapAccessDeserializer::new(part)).map(|part| Content::Parts(vec![part]))
            }
        }
        deserializer.deserialize_any(TextOrParts)
    }
}

/// A content part. Small, as a request may have a million of them.
#[derive(Debug, Deserialize)]
#[serde(try_from = "PartFields")]
pub(super) enum Part {
    /// Text, of one of the types that have some.
    Text(String),
    /// Something attached; nothing where the part does not say what.
    Attached(MediaClass, Option<Box<Media>>),
    /// A part of another type, which this is.
    Unknown(Box<str>),
}

/// How many characters of an unknown part's type errors show.
const MAX_TYPE_SHOWN: usize = 40;

impl TryFrom<PartFields> for Part {
    type Error = String;

    fn try_from(part: PartFields) -> Result<Self, String> {
        let PartFields {
            kind,
            text,
            refusal,
            image_url,
            image,
            video_url,
            input_video,
            video,
            input_audio,
            audio_url,
            audio,
            file,
            file_url,
            file_id,
            file_data,
            filename,
            file_info,
        } = part;
        let (attached, media) = match &*kind {
            "text" | "input_text" | "output_text" => return Ok(Self::Text(text.unwrap_or_default())),
            "refusal" => return Ok(Self::Text(refusal.unwrap_or_default())),
            // What a model thought earlier is not said again.
            "thinking" | "reasoning" | "redacted_thinking" => return Ok(Self::Text(String::new())),
            "image_url" | "input_image" | "image" => (MediaClass::Image, image_url.or(image)),
            "video_url" | "input_video" | "video" => (MediaClass::Video, video_url.or(input_video).or(video)),
            "input_audio" | "audio_url" | "audio" => (MediaClass::Audio, input_audio.or(audio_url).or(audio)),
            "file" | "input_file" | "file_url" => (MediaClass::File, file.or(file_url)),
            _ => {
                count_attached()?;
                return Ok(Self::Unknown(kind.chars().take(MAX_TYPE_SHOWN).collect()));
            }
        };
        count_attached()?;
        let is_said = media.is_some() || file_id.is_some() || file_data.is_some() || file_info.is_some();
        let media = is_said.then(|| {
            let media = media.unwrap_or_default();
            Box::new(Media {
                file_id: media.file_id.or(file_id),
                file_data: media.file_data.or(file_data),
                filename: media.filename.or(filename),
                file_info: file_info.or(media.file_info),
                ..media
            })
        });
        Ok(Self::Attached(attached, media))
    }
}

/// A content part: text, or something attached. OpenAI's own kinds, and those that other servers made common.
#[derive(Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = Part))]
pub(super) struct PartFields {
    /// Its type.
    #[serde(rename = "type")]
    kind: String,
    /// The text of a `text` part.
    text: Option<String>,
    /// The text of a `refusal` part.
    refusal: Option<String>,
    #[cfg_attr(test, schema(value_type = Option<super::chat_completions::schema::MediaOrLink>))]
    image_url: Option<Media>,
    #[cfg_attr(test, schema(value_type = Option<super::chat_completions::schema::MediaOrLink>))]
    image: Option<Media>,
    #[cfg_attr(test, schema(value_type = Option<super::chat_completions::schema::MediaOrLink>))]
    video_url: Option<Media>,
    #[cfg_attr(test, schema(value_type = Option<super::chat_completions::schema::MediaOrLink>))]
    input_video: Option<Media>,
    #[cfg_attr(test, schema(value_type = Option<super::chat_completions::schema::MediaOrLink>))]
    video: Option<Media>,
    #[cfg_attr(test, schema(value_type = Option<super::chat_completions::schema::MediaOrLink>))]
    input_audio: Option<Media>,
    #[cfg_attr(test, schema(value_type = Option<super::chat_completions::schema::MediaOrLink>))]
    audio_url: Option<Media>,
    #[cfg_attr(test, schema(value_type = Option<super::chat_completions::schema::MediaOrLink>))]
    audio: Option<Media>,
    #[cfg_attr(test, schema(value_type = Option<super::chat_completions::schema::MediaOrLink>))]
    file: Option<Media>,
    #[cfg_attr(test, schema(value_type = Option<super::chat_completions::schema::MediaOrLink>))]
    file_url: Option<Media>,
    /// As in `input_file` and `input_image` of the Responses API.
    file_id: Option<String>,
    file_data: Option<String>,
    filename: Option<String>,
    /// A ready entry, as an upload's answer has it.
    #[cfg_attr(test, schema(value_type = Option<crate::api::lenient::Object>))]
    file_info: Option<Box<RawValue>>,
}

/// Something attached, by link, by content or by an id: an object, or a string that is the link.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(in crate::api::openai) struct Media {
    /// Where it is: `http:`, `https:` or `data:`.
    url: Option<String>,
    /// Its content in base64, or a `data:` link.
    data: Option<String>,
    /// What `data` is, such as `mp3`.
    format: Option<String>,
    /// An uploaded file.
    file_id: Option<String>,
    /// The content of a file, as `data`.
    file_data: Option<String>,
    /// The name of a file.
    filename: Option<String>,
    /// Where a file is, as `url`.
    file_url: Option<String>,
    /// A ready entry, unread.
    #[cfg_attr(test, schema(value_type = Option<crate::api::lenient::Object>))]
    file_info: Option<Box<RawValue>>,
}

impl<'de> Deserialize<'de> for Media {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Fields {
            url: Option<String>,
            data: Option<String>,
            format: Option<String>,
            file_id: Option<String>,
            file_data: Option<String>,
            filename: Option<String>,
            file_url: Option<String>,
            file_info: Option<Box<RawValue>>,
        }
        struct LinkOrFields;
        impl<'de> Visitor<'de> for LinkOrFields {
            type Value = Media;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an object")
            }

            fn visit_str<E: de::Error>(self, link: &str) -> Result<Media, E> {
                self.visit_string(link.to_owned())
            }

            fn visit_string<E: de::Error>(self, link: String) -> Result<Media, E> {
                Ok(Media { url: Some(link), ..Media::default() })
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Media, A::Error> {
                let Fields { url, data, format, file_id, file_data, filename, file_url, file_info } =
                    Fields::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Media { url, data, format, file_id, file_data, filename, file_url, file_info })
            }
        }
        deserializer.deserialize_any(LinkOrFields)
    }
}

impl Content {
    /// Reads the parts of an array.
    pub(super) fn parts<'de, A: SeqAccess<'de>>(items: A) -> Result<Self, A::Error> {
        bounded(items, MAX_PARTS).map(Self::Parts)
    }

    /// The content in neutral words. `param` returns the path of a part, by its position.
    pub(super) fn into_neutral(self, param: impl Fn(usize) -> String) -> Vec<llm::Part> {
        match self {
            Self::Text(text) => vec![llm::Part::Text(text)],
            Self::Parts(parts) => {
                parts.into_iter().enumerate().map(|(at, part)| part.into_neutral(|| param(at))).collect()
            }
        }
    }
}

impl Part {
    /// The part in neutral words. `param` returns its path.
    fn into_neutral(self, param: impl FnOnce() -> String) -> llm::Part {
        let (class, word, media) = match self {
            Self::Text(text) => return llm::Part::Text(text),
            Self::Unknown(kind) => return llm::Part::Unsupported(Box::new(llm::Unsupported { kind, param: param() })),
            Self::Attached(class, media) => {
                let word = match class {
                    MediaClass::Image => "image_url",
                    MediaClass::Video => "video_url",
                    MediaClass::Audio => "input_audio",
                    MediaClass::File => "file",
                };
                (class, word.into(), media.map(|media| *media).unwrap_or_default())
            }
        };
        let Media { url, data, format, file_id, file_data, filename, file_url, file_info } = media;
        let given = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        let entry = file_info.filter(|info| !matches!(info.get(), "null" | "\"\""));
        let source = if let Some(entry) = entry {
            MediaSource::Entry(entry.get().into())
        } else if let Some(id) = given(file_id) {
            MediaSource::Upload(id)
        } else if let Some(content) = given(data).or_else(|| given(file_data)) {
            MediaSource::Content(content)
        } else if let Some(link) = given(url).or_else(|| given(file_url)) {
            MediaSource::Link(link)
        } else {
            MediaSource::Missing
        };
        llm::Part::Media(Box::new(llm::Media { class, source, filename, format, param: param(), word }))
    }
}
