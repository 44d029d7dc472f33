//! The messages of a request: how clients write them, and what they are in neutral words.

use std::{cell::Cell, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::value::RawValue;

use crate::api::lenient::{MAX_PARTS, bounded, too_many};
use crate::llm::{self, MediaClass, MediaSource};

/// The most messages of a request.
pub(super) const MAX_MESSAGES: usize = 10_000;

/// Reads the messages of a request one by one: no second copy of all of them exists at any time.
pub(super) fn messages<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<llm::Message>, D::Error> {
    struct Messages;
    impl<'de> Visitor<'de> for Messages {
        type Value = Vec<llm::Message>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of messages")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<llm::Message>, A::Error> {
            let mut all = Vec::new();
            while let Some(message) = items.next_element::<Message>()? {
                if all.len() >= MAX_MESSAGES {
                    return Err(too_many(MAX_MESSAGES));
                }
                all.push(message.into_neutral(all.len()));
            }
            all.shrink_to_fit();
            Ok(all)
        }
    }
    deserializer.deserialize_seq(Messages)
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    /// Instructions.
    System,
    /// Newer name for instructions.
    Developer,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// A tool's result.
    Tool,
    /// Older name for a tool's result.
    Function,
}

/// One turn's part of the conversation.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct Message {
    /// Who speaks.
    role: Role,
    /// What is said.
    #[cfg_attr(test, schema(value_type = Option<super::schema::Content>))]
    content: Option<Content>,
    /// Who exactly, or which function.
    name: Option<String>,
    /// The tools that the model called.
    #[serde(default, deserialize_with = "tool_calls")]
    tool_calls: Option<Vec<ToolCall>>,
    /// The call that this is the result of.
    tool_call_id: Option<String>,
    /// Older form of `tool_calls`.
    function_call: Option<Box<FunctionCall>>,
}

fn tool_calls<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<ToolCall>>, D::Error> {
    struct Calls;
    impl<'de> Visitor<'de> for Calls {
        type Value = Option<Vec<ToolCall>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of tool calls")
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
            let mut calls: Vec<ToolCall> = bounded(items, MAX_PARTS)?;
            // One that says nothing takes more memory than text.
            calls.retain(|call| call.id.is_some() || call.function.is_some() || call.custom.is_some());
            calls.shrink_to_fit();
            Ok(Some(calls))
        }
    }
    deserializer.deserialize_any(Calls)
}

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
                bounded(items, MAX_PARTS).map(Content::Parts)
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

/// The most attachments of a request, in all its messages.
const MAX_ATTACHED: usize = 1_000;
/// How many characters of an unknown part's type errors show.
const MAX_TYPE_SHOWN: usize = 40;

thread_local! {
    /// The number of attachments in the request that this thread parses, counted during parsing because each takes more
    /// memory than its JSON; serde hands a part's deserializer no other context.
    static ATTACHED: Cell<usize> = const { Cell::new(0) };
}

/// Resets the count of attachments, before a request is parsed.
pub(super) fn reset_attached() {
    ATTACHED.set(0);
}

fn count_attached() -> Result<(), String> {
    let count = ATTACHED.get().saturating_add(1);
    ATTACHED.set(count);
    if count > MAX_ATTACHED {
        return Err(format!("more than {MAX_ATTACHED} attachments in one request are not possible"));
    }
    Ok(())
}

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
            _ => return Ok(Self::Unknown(kind.chars().take(MAX_TYPE_SHOWN).collect())),
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
    #[cfg_attr(test, schema(value_type = Option<super::schema::MediaOrLink>))]
    image_url: Option<Media>,
    #[cfg_attr(test, schema(value_type = Option<super::schema::MediaOrLink>))]
    image: Option<Media>,
    #[cfg_attr(test, schema(value_type = Option<super::schema::MediaOrLink>))]
    video_url: Option<Media>,
    #[cfg_attr(test, schema(value_type = Option<super::schema::MediaOrLink>))]
    input_video: Option<Media>,
    #[cfg_attr(test, schema(value_type = Option<super::schema::MediaOrLink>))]
    video: Option<Media>,
    #[cfg_attr(test, schema(value_type = Option<super::schema::MediaOrLink>))]
    input_audio: Option<Media>,
    #[cfg_attr(test, schema(value_type = Option<super::schema::MediaOrLink>))]
    audio_url: Option<Media>,
    #[cfg_attr(test, schema(value_type = Option<super::schema::MediaOrLink>))]
    audio: Option<Media>,
    #[cfg_attr(test, schema(value_type = Option<super::schema::MediaOrLink>))]
    file: Option<Media>,
    #[cfg_attr(test, schema(value_type = Option<super::schema::MediaOrLink>))]
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
pub(super) struct Media {
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

/// A tool call of an earlier turn.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct ToolCall {
    /// Its id.
    id: Option<String>,
    /// What was called.
    function: Option<Box<FunctionCall>>,
    /// The same of a tool that takes text.
    custom: Option<Box<CustomCall>>,
}

/// A tool that takes text, and its text.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct CustomCall {
    /// The tool.
    name: Option<String>,
    /// The text.
    input: Option<String>,
}

/// A function and its arguments.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct FunctionCall {
    /// The function.
    name: Option<String>,
    /// JSON text.
    arguments: Option<String>,
}

impl Message {
    /// The message in neutral words; `index` is its position in the request.
    pub(super) fn into_neutral(self, index: usize) -> llm::Message {
        let Self { role, content, name, tool_calls, tool_call_id, function_call } = self;
        let parts = match content {
            None => Vec::new(),
            Some(Content::Text(text)) => vec![llm::Part::Text(text)],
            Some(Content::Parts(parts)) => {
                parts.into_iter().enumerate().map(|(at, part)| part.into_neutral(index, at)).collect()
            }
        };
        let mut tool_calls: Vec<llm::ToolCall> =
            tool_calls.unwrap_or_default().into_iter().filter_map(ToolCall::into_neutral).collect();
        tool_calls.extend(
            function_call.and_then(|call| ToolCall { id: None, function: Some(call), custom: None }.into_neutral()),
        );
        tool_calls.shrink_to_fit();
        let role = match role {
            Role::System | Role::Developer => llm::Role::System,
            Role::User => llm::Role::User,
            Role::Assistant => llm::Role::Assistant,
            Role::Tool | Role::Function => llm::Role::Tool,
        };
        llm::Message { role, name, parts, tool_calls, tool_call_id, is_error: false }
    }
}

impl Part {
    /// The part in neutral words; `message` and `at` are its positions.
    fn into_neutral(self, message: usize, at: usize) -> llm::Part {
        let (class, word, media) = match self {
            Self::Text(text) => return llm::Part::Text(text),
            Self::Unknown(kind) => return llm::Part::Unsupported(kind),
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
        let param = format!("messages[{message}].content[{at}]");
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
        llm::Part::Media(Box::new(llm::Media { class, source, filename, format, param, word }))
    }
}

impl ToolCall {
    /// The call in neutral words; `None` for one that says nothing, which would take more memory than text.
    fn into_neutral(self) -> Option<llm::ToolCall> {
        let Self { id, function, custom } = self;
        let said = |text: Option<String>| text.filter(|text| !text.is_empty()).map(String::into_boxed_str);
        let id = said(id);
        let called = function.map(|call| (call.name, call.arguments));
        let called = called.or_else(|| {
            // The model sees a tool that takes text as a function with the parameter `input`.
            let CustomCall { name, input } = *custom?;
            Some((name, input.map(|input| serde_json::json!({ "input": input }).to_string())))
        });
        let function = called.and_then(|(name, arguments)| {
            let (name, arguments) = (said(name), said(arguments));
            (name.is_some() || arguments.is_some()).then(|| Box::new(llm::FunctionCall { name, arguments }))
        });
        (id.is_some() || function.is_some()).then_some(llm::ToolCall { id, function })
    }
}

#[cfg(test)]
mod tests {
    use crate::api::openai::parse;

    #[test]
    fn calls_are_read_in_each_form() {
        let calls = |fields: &str| {
            let body = format!(r#"{{"messages":[{{"role":"assistant",{fields}}}]}}"#);
            let message = parse(body.as_bytes()).unwrap().request.messages.remove(0);
            message.calls().map(|call| (call.name.clone(), call.arguments.clone())).collect::<Vec<_>>()
        };
        let expected = |arguments: &str| vec![(Some(Box::<str>::from("f")), Some(Box::<str>::from(arguments)))];
        for (fields, arguments) in [
            (r#""tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]"#, "{}"),
            (r#""function_call":{"name":"f","arguments":"{}"}"#, "{}"),
            (r#""tool_calls":[{"type":"custom","custom":{"name":"f","input":"a \"b\""}}]"#, r#"{"input":"a \"b\""}"#),
        ] {
            assert_eq!(calls(fields), expected(arguments), "{fields}");
        }
    }
}
