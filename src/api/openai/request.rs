//! The body of `POST /v1/chat/completions`.
//!
//! Every parameter of OpenAI's reference is accepted. Each has its type here, so that a wrong one is told by name even
//! where the parameter has no meaning upstream; what the reference does not know is ignored.

use std::{borrow::Cow, cell::Cell, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::value::RawValue;

use super::json_path::locate;
use crate::{
    error::{Error, ErrorKind, Result},
    surrogates::{client_text, without_lone_surrogates},
};

/// A chat request. Fields without docs are accepted and ignored.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[expect(missing_docs, reason = "ignored parameters carry OpenAI's own names")]
pub struct ChatRequest {
    /// A live id, an alias, or either with a suffix; the configured default when absent.
    #[cfg_attr(test, schema(max_length = 200))]
    pub model: Option<String>,
    /// The whole conversation, newest turn last.
    #[serde(deserialize_with = "messages")]
    pub messages: Vec<Message>,
    /// Whether the answer comes as events.
    #[cfg_attr(test, schema(default = false))]
    pub stream: Option<bool>,
    /// What else a stream tells.
    pub stream_options: Option<StreamOptions>,
    /// How many answers: 1.
    #[cfg_attr(test, schema(minimum = 1, maximum = 1, default = 1, value_type = Option<i64>))]
    pub n: Option<Whole>,
    /// Where to cut the answer: up to 16 texts of at most 1 KiB.
    #[cfg_attr(test, schema(value_type = Option<super::schema::Stop>))]
    pub stop: Option<Stop>,
    /// Older name of `max_completion_tokens`.
    #[cfg_attr(test, schema(value_type = Option<i64>))]
    pub max_tokens: Option<Whole>,
    /// How many tokens the answer may have, thinking included; 0 and less mean no limit.
    #[cfg_attr(test, schema(value_type = Option<i64>))]
    pub max_completion_tokens: Option<Whole>,
    /// The conversation to go on with, by the id that an earlier answer told or the client chose (ours, not OpenAI's).
    pub conversation_id: Option<String>,
    /// Asks for web search, with any content.
    #[cfg_attr(test, schema(value_type = Option<serde_json::Value>))]
    pub web_search_options: Option<IgnoredAny>,
    /// Qwen's own name for the same.
    pub enable_search: Option<bool>,

    /// Whether to think; absent, models that can think do.
    pub enable_thinking: Option<bool>,
    /// How many tokens the thinking may take.
    #[cfg_attr(test, schema(value_type = Option<i64>))]
    pub thinking_budget: Option<Whole>,
    /// Anthropic's switch.
    pub thinking: Option<ThinkingSwitch>,
    /// OpenAI's switch: `none` and `minimal` do not think, every other word does.
    pub reasoning_effort: Option<String>,
    /// OpenRouter's switch.
    pub reasoning: Option<ReasoningSwitch>,
    /// vLLM's switch.
    pub chat_template_kwargs: Option<TemplateSwitch>,
    /// Some programs send the SDK's argument of this name literally.
    pub extra_body: Option<ExtraBody>,

    #[cfg_attr(test, schema(value_type = Option<f64>))]
    pub temperature: Option<Number>,
    #[cfg_attr(test, schema(value_type = Option<f64>))]
    pub top_p: Option<Number>,
    #[cfg_attr(test, schema(value_type = Option<f64>))]
    pub top_k: Option<Number>,
    #[cfg_attr(test, schema(value_type = Option<f64>))]
    pub min_p: Option<Number>,
    #[cfg_attr(test, schema(value_type = Option<f64>))]
    pub frequency_penalty: Option<Number>,
    #[cfg_attr(test, schema(value_type = Option<f64>))]
    pub presence_penalty: Option<Number>,
    #[cfg_attr(test, schema(value_type = Option<f64>))]
    pub repetition_penalty: Option<Number>,
    #[cfg_attr(test, schema(value_type = Option<f64>))]
    pub seed: Option<Number>,
    #[cfg_attr(test, schema(value_type = Option<Object>))]
    pub logit_bias: Option<Object>,
    pub logprobs: Option<bool>,
    #[cfg_attr(test, schema(value_type = Option<f64>))]
    pub top_logprobs: Option<Number>,
    pub user: Option<String>,
    pub safety_identifier: Option<String>,
    pub prompt_cache_key: Option<String>,
    #[cfg_attr(test, schema(value_type = Option<Object>))]
    pub metadata: Option<Object>,
    pub store: Option<bool>,
    pub service_tier: Option<String>,
    pub verbosity: Option<String>,
    #[cfg_attr(test, schema(value_type = Option<Vec<String>>))]
    pub modalities: Option<Words>,
    #[cfg_attr(test, schema(value_type = Option<Object>))]
    pub audio: Option<Object>,
    #[cfg_attr(test, schema(value_type = Option<Object>))]
    pub prediction: Option<Object>,
    #[cfg_attr(test, schema(value_type = Option<Object>))]
    pub response_format: Option<Object>,
    #[cfg_attr(test, schema(value_type = Option<Vec<Object>>))]
    pub tools: Option<Objects>,
    #[cfg_attr(test, schema(value_type = Option<serde_json::Value>))]
    pub tool_choice: Option<IgnoredAny>,
    pub parallel_tool_calls: Option<bool>,
    #[cfg_attr(test, schema(value_type = Option<Vec<Object>>))]
    pub functions: Option<Objects>,
    #[cfg_attr(test, schema(value_type = Option<serde_json::Value>))]
    pub function_call: Option<IgnoredAny>,
}

/// `stream_options`
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct StreamOptions {
    /// Whether a usage chunk ends the stream.
    pub include_usage: Option<bool>,
}

/// Anthropic's `thinking`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct ThinkingSwitch {
    /// `enabled`, `disabled`, `auto` or `adaptive`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Tokens.
    #[cfg_attr(test, schema(value_type = Option<i64>))]
    pub budget_tokens: Option<Whole>,
}

/// OpenRouter's `reasoning`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct ReasoningSwitch {
    /// `none`, `minimal`, `low`, `medium`, `high`, …
    pub effort: Option<String>,
    /// On or off.
    pub enabled: Option<bool>,
    /// Tokens.
    #[cfg_attr(test, schema(value_type = Option<i64>))]
    pub max_tokens: Option<Whole>,
}

/// vLLM's `chat_template_kwargs`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct TemplateSwitch {
    /// On or off.
    pub enable_thinking: Option<bool>,
    /// Another name for it.
    pub thinking: Option<bool>,
    /// Tokens.
    #[cfg_attr(test, schema(value_type = Option<i64>))]
    pub thinking_budget: Option<Whole>,
}

/// The thinking switches inside a literal `extra_body`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[expect(missing_docs, reason = "the same names as in the request")]
pub struct ExtraBody {
    pub enable_thinking: Option<bool>,
    #[cfg_attr(test, schema(value_type = Option<i64>))]
    pub thinking_budget: Option<Whole>,
    pub thinking: Option<ThinkingSwitch>,
    pub reasoning_effort: Option<String>,
    pub reasoning: Option<ReasoningSwitch>,
    pub chat_template_kwargs: Option<TemplateSwitch>,
    pub enable_search: Option<bool>,
}

/// Any JSON object, unread.
#[derive(Debug)]
pub struct Object;

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyObject;
        impl<'de> Visitor<'de> for AnyObject {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Object)
            }
        }
        deserializer.deserialize_map(AnyObject)
    }
}

/// A number with a meaning here: whole, and as large as it likes. `4096.0` and `1e3` are whole numbers too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole(pub i64);

impl Whole {
    /// Reads a number as a form has it.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WholeNumber;
        impl Visitor<'_> for WholeNumber {
            type Value = Whole;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Whole, E> {
                Ok(Whole(number))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Whole, E> {
                Ok(Whole(i64::try_from(number).unwrap_or(i64::MAX)))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Whole, E> {
                if number.fract() == 0.0 {
                    // What is too large becomes the largest.
                    Ok(Whole(number as i64))
                } else {
                    Err(E::invalid_value(de::Unexpected::Float(number), &self))
                }
            }
        }
        deserializer.deserialize_any(WholeNumber)
    }
}

/// Any number, unread: one without a meaning here may be larger than all that can be counted.
#[derive(Debug)]
pub struct Number;

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&RawValue>::deserialize(deserializer)?.get();
        match text.bytes().next() {
            Some(b'-' | b'0'..=b'9') => Ok(Self),
            first => {
                let found = match first {
                    Some(b'"') => "a string",
                    Some(b'{') => "an object",
                    Some(b'[') => "an array",
                    _ => "a boolean",
                };
                Err(de::Error::custom(format!("invalid type: {found}, expected a number")))
            }
        }
    }
}

/// A list that is looked at and not kept.
macro_rules! unread_list {
    ($(#[$doc:meta])* $name:ident of $item:ty, at most $most:expr, expecting $expecting:literal) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name;

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct List;
                impl<'de> Visitor<'de> for List {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<$name, A::Error> {
                        let mut count = 0_usize;
                        while items.next_element::<$item>()?.is_some() {
                            count = count.saturating_add(1);
                            if count > $most {
                                return Err(too_many($most));
                            }
                        }
                        Ok($name)
                    }
                }
                deserializer.deserialize_seq(List)
            }
        }
    };
}

unread_list! {
    /// Objects, unread.
    Objects of Object, at most MAX_TOOLS, expecting "an array of objects"
}
unread_list! {
    /// Texts, unread.
    Words of Cow<'de, str>, at most MAX_PARTS, expecting "an array of strings"
}

/// The most messages of a request.
const MAX_MESSAGES: usize = 10_000;
/// The most content parts, and the most tool calls, of a message.
const MAX_PARTS: usize = 1_000;
/// The most tools of a request.
const MAX_TOOLS: usize = 512;
/// The most stop texts of a request. OpenAI allows four; more are harmless, without bound they are not.
const MAX_STOPS: usize = 16;

/// How the problem of a list begins that is too long.
const TOO_MANY: &str = "too many elements";
/// How many characters of a problem are told.
const MAX_PROBLEM_SHOWN: usize = 300;

fn too_many<E: de::Error>(most: usize) -> E {
    E::custom(format!("{TOO_MANY}, at most {most} are possible"))
}

/// The elements of an array, of which there may be so many. What is refused is refused before the rest is read.
fn bounded<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(mut items: A, most: usize) -> Result<Vec<T>, A::Error> {
    let mut all = Vec::new();
    while let Some(item) = items.next_element()? {
        if all.len() >= most {
            return Err(too_many(most));
        }
        all.push(item);
    }
    all.shrink_to_fit();
    Ok(all)
}

fn messages<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Message>, D::Error> {
    struct Messages;
    impl<'de> Visitor<'de> for Messages {
        type Value = Vec<Message>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of messages")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Vec<Message>, A::Error> {
            bounded(items, MAX_MESSAGES)
        }
    }
    deserializer.deserialize_seq(Messages)
}

/// One text or several.
#[derive(Debug)]
pub struct Stop(pub Vec<String>);

impl<'de> Deserialize<'de> for Stop {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Stop;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of strings")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Stop, E> {
                Ok(Stop(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Stop, A::Error> {
                bounded(items, MAX_STOPS).map(Stop)
            }
        }
        deserializer.deserialize_any(OneOrMore)
    }
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Role {
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
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    #[cfg_attr(test, schema(value_type = Option<super::schema::Content>))]
    pub content: Option<Content>,
    /// Who exactly, or which function.
    pub name: Option<String>,
    /// The tools that the model called.
    #[serde(default, deserialize_with = "tool_calls")]
    pub tool_calls: Option<Vec<ToolCall>>,
    /// The call that this is the result of.
    pub tool_call_id: Option<String>,
    /// Older form of `tool_calls`.
    pub function_call: Option<Box<FunctionCall>>,
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
            calls.retain(|call| call.id.is_some() || call.function.is_some());
            calls.shrink_to_fit();
            Ok(Some(calls))
        }
    }
    deserializer.deserialize_any(Calls)
}

/// A message's content.
#[derive(Debug)]
pub enum Content {
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
pub enum Part {
    /// Text, of one of the types that have some.
    Text(String),
    /// Something attached; nothing where the part does not say what.
    Attached(AttachedAs, Option<Box<Media>>),
    /// A part of another type, which this is.
    Unknown(Box<str>),
}

/// As what something is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachedAs {
    /// A picture.
    Image,
    /// A film.
    Video,
    /// A sound.
    Audio,
    /// Whatever it is.
    File,
}

/// The most attachments of a request, in all its messages.
const MAX_ATTACHED: usize = 1_000;

thread_local! {
    /// The number of attachments in the request that this thread parses, counted during parsing because each takes more
    /// memory than its JSON; serde hands a part's deserializer no other context.
    static ATTACHED: Cell<usize> = const { Cell::new(0) };
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
            "image_url" | "input_image" | "image" => (AttachedAs::Image, image_url.or(image)),
            "video_url" | "input_video" | "video" => (AttachedAs::Video, video_url.or(input_video).or(video)),
            "input_audio" | "audio_url" | "audio" => (AttachedAs::Audio, input_audio.or(audio_url).or(audio)),
            "file" | "input_file" | "file_url" => (AttachedAs::File, file.or(file_url)),
            _ => return Ok(Self::Unknown(kind.into())),
        };
        let count = ATTACHED.get().saturating_add(1);
        ATTACHED.set(count);
        if count > MAX_ATTACHED {
            return Err(format!("more than {MAX_ATTACHED} attachments in one request are not possible"));
        }
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
    #[cfg_attr(test, schema(value_type = Option<Object>))]
    file_info: Option<Box<RawValue>>,
}

/// Something attached, by link, by content or by an id: an object, or a string that is the link.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Media {
    /// Where it is: `http:`, `https:` or `data:`.
    pub url: Option<String>,
    /// Its content in base64, or a `data:` link.
    pub data: Option<String>,
    /// What `data` is, such as `mp3`.
    pub format: Option<String>,
    /// An uploaded file.
    pub file_id: Option<String>,
    /// The content of a file, as `data`.
    pub file_data: Option<String>,
    /// The name of a file.
    pub filename: Option<String>,
    /// Where a file is, as `url`.
    pub file_url: Option<String>,
    /// A ready entry, unread.
    #[cfg_attr(test, schema(value_type = Option<Object>))]
    pub file_info: Option<Box<RawValue>>,
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
pub struct ToolCall {
    /// Its id.
    pub id: Option<String>,
    /// What was called.
    pub function: Option<Box<FunctionCall>>,
}

/// A function and its arguments.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct FunctionCall {
    /// The function.
    pub name: Option<String>,
    /// JSON text.
    pub arguments: Option<String>,
}

impl ChatRequest {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// `invalid_json` when it is not JSON, `invalid_request` with the path of the first field that has a wrong type.
    pub fn from_json(body: &[u8]) -> Result<Self> {
        let text = client_text(body).ok_or_else(|| not_json("it is not UTF-8"))?;
        ATTACHED.set(0);
        let error = match serde_json::from_str(&text) {
            Ok(request) => return Ok(request),
            Err(error) => error,
        };
        // Halves of characters are what JSON allows and text cannot hold; where the client cut one, U+FFFD stands for it.
        match without_lone_surrogates(&text) {
            Some(mended) => {
                ATTACHED.set(0);
                serde_json::from_str(&mended).map_err(|error| describe(&mended, &error))
            }
            None => Err(describe(&text, &error)),
        }
    }
}

fn not_json(problem: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidJson, format!("The request body is not valid JSON: {problem}."))
}

fn describe(text: &str, error: &serde_json::Error) -> Error {
    if let Err(problem) = serde_json::from_str::<IgnoredAny>(text) {
        return not_json(problem);
    }
    let lines = text.split_inclusive('\n').take(error.line().saturating_sub(1));
    let at = lines.map(str::len).fold(error.column(), usize::saturating_add);
    // Some errors stand before the first byte of the value that they are about.
    let begins = text.as_bytes().get(at).is_some_and(|byte| !b",:]} \t\r\n".contains(byte));
    let at = at.saturating_add(usize::from(begins));
    let place = locate(text, at);
    // The values of fields may stand in it.
    let problem: String = error.to_string().chars().take(MAX_PROBLEM_SHOWN).collect();
    // What is missing, or there twice, is named in the error itself.
    let named = ["missing field `", "duplicate field `"].iter().find_map(|start| problem.strip_prefix(start));
    let param = match named.and_then(|rest| rest.split('`').next()) {
        Some(field) if place.container.is_empty() => field.to_owned(),
        Some(field) => format!("{}.{field}", place.container),
        None if problem.starts_with(TOO_MANY) => place.container,
        None => place.value,
    };
    if param.is_empty() {
        return Error::new(ErrorKind::InvalidRequest, "The request body could not be read; send one JSON object.");
    }
    Error::invalid(param.clone(), format!("The field '{param}' is wrong: {problem}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_type_is_told_by_the_path_of_its_field() {
        for (body, param) in [
            (r#"{}"#, "messages"),
            (r#"{"messages":null}"#, "messages"),
            (r#"{"messages":"hi"}"#, "messages"),
            (r#"{"messages":[{}]}"#, "messages[0].role"),
            (r#"{"messages":[{"role":"robot"}]}"#, "messages[0].role"),
            (r#"{"messages":[{"role":"user","content":5}]}"#, "messages[0].content"),
            (r#"{"messages":[{"role":"user","content":{}}]}"#, "messages[0].content.type"),
            (r#"{"messages":[{"role":"user","content":["x"]}]}"#, "messages[0].content[0]"),
            (r#"{"messages":[{"role":"user","content":[{"text":"x"}]}]}"#, "messages[0].content[0].type"),
            (r#"{"messages":[{"role":"user","content":[{"type":"text","text":1}]}]}"#, "messages[0].content[0].text"),
            (
                r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":1}}]}]}"#,
                "messages[0].content[0].image_url.url",
            ),
            (r#"{"messages":[{"role":"user","content":[{"type":"file","file":[]}]}]}"#, "messages[0].content[0].file"),
            (r#"{"messages":[],"model":1}"#, "model"),
            (r#"{"messages":[],"stream":"yes"}"#, "stream"),
            (r#"{"messages":[],"stream_options":{"include_usage":1}}"#, "stream_options.include_usage"),
            (r#"{"messages":[],"stop":5}"#, "stop"),
            (r#"{"messages":[],"stop":["a",5]}"#, "stop[1]"),
            (r#"{"messages":[],"max_tokens":1.5}"#, "max_tokens"),
            (r#"{"messages":[],"n":1.5}"#, "n"),
            (r#"{"messages":[],"thinking":{"budget_tokens":0.5}}"#, "thinking.budget_tokens"),
            (r#"{"messages":[],"extra_body":{"reasoning":{"max_tokens":-1e-3}}}"#, "extra_body.reasoning.max_tokens"),
            (r#"{"messages":[],"seed":"7"}"#, "seed"),
            (r#"{"messages":[],"top_p":true}"#, "top_p"),
            (r#"{"messages":[],"modalities":["a",1]}"#, "modalities[1]"),
            ("{\"messages\":[{\"role\":\"user\",\"content\":\"\\ud83d\",\"name\":5}]}", "messages[0].name"),
            (r#"{"messages":[],"temperature":"hot"}"#, "temperature"),
            (r#"{"messages":[],"max_tokens":"10"}"#, "max_tokens"),
            (r#"{"messages":[],"metadata":[]}"#, "metadata"),
            (r#"{"messages":[],"metadata" : [ ]}"#, "metadata"),
            ("{\n\"messages\":\n[],\n \"tools\": [\n7]}", "tools[0]"),
            (r#"{"messages":[],"messages":[]}"#, "messages"),
            (r#"{"messages":[{"role":"user","role":"user"}]}"#, "messages[0].role"),
            (r#"{"messages":[{"content":"x"}],"model":"y"}"#, "messages[0].role"),
            (
                r#"{"messages":[{"role":"user","content":[{"type":"text"},{"text":"x"}]}]}"#,
                "messages[0].content[1].type",
            ),
            (r#"{"model":"a\"]}","messages":[{"role":"user","content":[null]}]}"#, "messages[0].content[0]"),
            (r#"{"messages":[],"tools":{}}"#, "tools"),
            (r#"{"messages":[],"thinking":{"budget_tokens":"x"}}"#, "thinking.budget_tokens"),
        ] {
            let error = ChatRequest::from_json(body.as_bytes()).unwrap_err();
            assert_eq!((error.kind(), error.param()), (ErrorKind::InvalidRequest, Some(param)), "{body}");
        }
    }

    #[test]
    fn what_is_not_json_is_said_so() {
        for body in [
            &b""[..],
            b"{",
            b"hello",
            b"{\"messages\":[\xff]}",
            b"\0",
            &[b'['; 100_000],
            b"{\"a\":1}}",
            b"{\"a\":\"\x00\"}",
        ] {
            assert_eq!(ChatRequest::from_json(body).unwrap_err().kind(), ErrorKind::InvalidJson);
        }
        for body in [&b"[]"[..], b"5", b"null", b"\"x\""] {
            assert_eq!(ChatRequest::from_json(body).unwrap_err().kind(), ErrorKind::InvalidRequest);
        }
    }

    #[test]
    fn numbers_are_whole_by_their_value() {
        for (number, expected) in [
            ("4096", 4096),
            ("4096.0", 4096),
            ("1e3", 1000),
            ("1.5e1", 15),
            ("-0.0", 0),
            ("-2.0", -2),
            ("9223372036854775808", i64::MAX),
            ("1e300", i64::MAX),
            ("-1e300", i64::MIN),
        ] {
            let body = format!(
                r#"{{"messages":[],"max_tokens":{number},"max_completion_tokens":{number},"n":{number},"thinking_budget":{number},
                "thinking":{{"budget_tokens":{number}}},"reasoning":{{"max_tokens":{number}}},"chat_template_kwargs":{{"thinking_budget":{number}}},
                "extra_body":{{"thinking_budget":{number}}}}}"#
            );
            let request = ChatRequest::from_json(body.as_bytes()).unwrap();
            let read = [
                request.max_tokens,
                request.max_completion_tokens,
                request.n,
                request.thinking_budget,
                request.thinking.unwrap().budget_tokens,
                request.reasoning.unwrap().max_tokens,
                request.chat_template_kwargs.unwrap().thinking_budget,
                request.extra_body.unwrap().thinking_budget,
            ];
            assert_eq!(read, [Some(Whole(expected)); 8], "{number}");
        }
        for number in ["18446744073709551616", "-1", "1e999", "0.1", "123456789012345678901234567890"] {
            let body = format!(
                r#"{{"messages":[],"seed":{number},"top_logprobs":{number},"temperature":{number},"top_k":{number}}}"#
            );
            assert!(ChatRequest::from_json(body.as_bytes()).is_ok(), "{number}");
        }
    }

    #[test]
    fn halves_of_characters_and_a_mark_at_the_beginning_are_read() {
        let first = |body: &[u8]| {
            let mut request = ChatRequest::from_json(body).unwrap();
            match request.messages.remove(0).content {
                Some(Content::Text(text)) => text,
                other => panic!("{other:?}"),
            }
        };
        for (content, expected) in [
            ("cut \\ud83d here", "cut \u{fffd} here"),
            ("\\ude00", "\u{fffd}"),
            ("\\ud83d\\ude00", "\u{1F600}"),
            ("\\\\ud83d", "\\ud83d"),
            ("\\ud83d\\ud83d\\ude00", "\u{fffd}\u{1F600}"),
        ] {
            let body = format!(
                r#"{{"messages":[{{"role":"user","name":"{content}","content":"{content}"}}],"{content}":"{content}"}}"#
            );
            assert_eq!(first(body.as_bytes()), expected);
            assert_eq!(first(format!("\u{feff}{body}").as_bytes()), expected);
        }
        assert_eq!(first(b"{\"messages\":[{\"role\":\"user\",\"content\":\"a\xED\xA0\xBDb\"}]}"), "a\u{fffd}b");
    }

    #[test]
    fn one_part_needs_no_array() {
        let body = r#"{"messages":[{"role":"user","content":{"type":"text","text":"hi"}}]}"#;
        let request = ChatRequest::from_json(body.as_bytes()).unwrap();
        assert!(
            matches!(&request.messages[0].content, Some(Content::Parts(parts)) if matches!(&parts[..], [Part::Text(text)] if text == "hi"))
        );
    }

    #[test]
    fn what_there_is_much_of_is_bounded() {
        for (item, before, after, most, param) in [
            (r#"{"role":"user"}"#, r#"{"messages":["#, "]}", MAX_MESSAGES, "messages"),
            (
                r#"{"type":"text"}"#,
                r#"{"messages":[{"role":"user","content":["#,
                "]}]}",
                MAX_PARTS,
                "messages[0].content",
            ),
            ("{}", r#"{"messages":[{"role":"assistant","tool_calls":["#, "]}]}", MAX_PARTS, "messages[0].tool_calls"),
            ("{}", r#"{"messages":[],"tools":["#, "]}", MAX_TOOLS, "tools"),
            ("{}", r#"{"messages":[],"functions":["#, "]}", MAX_TOOLS, "functions"),
            (r#""a""#, r#"{"messages":[],"stop":["#, "]}", MAX_STOPS, "stop"),
            (r#""a""#, r#"{"messages":[],"modalities":["#, "]}", MAX_PARTS, "modalities"),
        ] {
            let body = |count: usize| format!("{before}{}{after}", vec![item; count].join(","));
            assert!(ChatRequest::from_json(body(most).as_bytes()).is_ok(), "{param}");
            let error = ChatRequest::from_json(body(most + 1).as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidRequest);
            assert_eq!(error.param(), Some(param), "{error:?}");
            assert!(error.message().contains(&most.to_string()), "{error}");
        }
    }

    #[test]
    fn null_and_unknown_fields_are_fine() {
        let body = r#"{"messages":[{"role":"user","content":null,"name":null,"x":1}],"model":null,"stop":null,"n":null,
            "temperature":null,"tools":null,"made_up":{"a":[1,{"b":2}]},"max_tokens":0,"max_completion_tokens":-1,"seed":7}"#;
        assert!(ChatRequest::from_json(body.as_bytes()).is_ok());
    }
}
