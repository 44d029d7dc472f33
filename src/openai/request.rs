//! The body of `POST /v1/chat/completions`.
//!
//! Every parameter of OpenAI's reference is accepted. Each has its type here, so that a wrong one is told by name even
//! where the parameter has no meaning upstream; what the reference does not know is ignored.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{
        self, IgnoredAny, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};

use super::place::locate;
use crate::error::{Error, ErrorKind, Result};

/// A chat request. Fields without docs are accepted and ignored.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[expect(missing_docs, reason = "ignored parameters carry OpenAI's own names")]
pub struct ChatRequest {
    /// A live id, an alias, or either with a suffix; the configured default when absent.
    #[cfg_attr(test, schema(max_length = 200))]
    pub model: Option<String>,
    /// The whole conversation, newest turn last.
    pub messages: Vec<Message>,
    /// Whether the answer comes as events.
    #[cfg_attr(test, schema(default = false))]
    pub stream: Option<bool>,
    /// What else a stream tells.
    pub stream_options: Option<StreamOptions>,
    /// How many answers: 1.
    #[cfg_attr(test, schema(minimum = 1, maximum = 1, default = 1))]
    pub n: Option<i64>,
    /// Where to cut the answer: up to 16 texts of at most 1 KiB.
    #[cfg_attr(test, schema(value_type = Option<super::schema::Stop>))]
    pub stop: Option<Stop>,
    /// Older name of `max_completion_tokens`.
    pub max_tokens: Option<i64>,
    /// How many tokens the answer may have, thinking included; 0 and less mean no limit.
    pub max_completion_tokens: Option<i64>,
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
    pub thinking_budget: Option<i64>,
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

    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub top_k: Option<f64>,
    pub min_p: Option<f64>,
    pub frequency_penalty: Option<f64>,
    pub presence_penalty: Option<f64>,
    pub repetition_penalty: Option<f64>,
    pub seed: Option<i64>,
    #[cfg_attr(test, schema(value_type = Option<Object>))]
    pub logit_bias: Option<Object>,
    pub logprobs: Option<bool>,
    pub top_logprobs: Option<i64>,
    pub user: Option<String>,
    pub safety_identifier: Option<String>,
    pub prompt_cache_key: Option<String>,
    #[cfg_attr(test, schema(value_type = Option<Object>))]
    pub metadata: Option<Object>,
    pub store: Option<bool>,
    pub service_tier: Option<String>,
    pub verbosity: Option<String>,
    pub modalities: Option<Vec<String>>,
    #[cfg_attr(test, schema(value_type = Option<Object>))]
    pub audio: Option<Object>,
    #[cfg_attr(test, schema(value_type = Option<Object>))]
    pub prediction: Option<Object>,
    #[cfg_attr(test, schema(value_type = Option<Object>))]
    pub response_format: Option<Object>,
    #[cfg_attr(test, schema(value_type = Option<Vec<Object>>))]
    pub tools: Option<Vec<Object>>,
    #[cfg_attr(test, schema(value_type = Option<serde_json::Value>))]
    pub tool_choice: Option<IgnoredAny>,
    pub parallel_tool_calls: Option<bool>,
    #[cfg_attr(test, schema(value_type = Option<Vec<Object>>))]
    pub functions: Option<Vec<Object>>,
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
    pub budget_tokens: Option<i64>,
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
    pub max_tokens: Option<i64>,
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
    pub thinking_budget: Option<i64>,
}

/// The thinking switches inside a literal `extra_body`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[expect(missing_docs, reason = "the same names as in the request")]
pub struct ExtraBody {
    pub enable_thinking: Option<bool>,
    pub thinking_budget: Option<i64>,
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
                Vec::deserialize(SeqAccessDeserializer::new(items)).map(Stop)
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
    pub tool_calls: Option<Vec<ToolCall>>,
    /// The call that this is the result of.
    pub tool_call_id: Option<String>,
    /// Older form of `tool_calls`.
    pub function_call: Option<FunctionCall>,
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
                f.write_str("a string or an array of content parts")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Content, E> {
                Ok(Content::Text(text.to_owned()))
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<Content, E> {
                Ok(Content::Text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Content, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(items)).map(Content::Parts)
            }
        }
        deserializer.deserialize_any(TextOrParts)
    }
}

/// A content part: text, or something attached. OpenAI's own kinds, and those that other servers made common.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[expect(missing_docs, reason = "each attachment stands in the field that its type names")]
pub struct Part {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The text of a `text` part.
    pub text: Option<String>,
    /// The text of a `refusal` part.
    pub refusal: Option<String>,
    #[cfg_attr(test, schema(value_type = Option<super::schema::MediaOrLink>))]
    pub image_url: Option<Media>,
    #[cfg_attr(test, schema(value_type = Option<super::schema::MediaOrLink>))]
    pub image: Option<Media>,
    #[cfg_attr(test, schema(value_type = Option<super::schema::MediaOrLink>))]
    pub video_url: Option<Media>,
    #[cfg_attr(test, schema(value_type = Option<super::schema::MediaOrLink>))]
    pub input_video: Option<Media>,
    #[cfg_attr(test, schema(value_type = Option<super::schema::MediaOrLink>))]
    pub video: Option<Media>,
    #[cfg_attr(test, schema(value_type = Option<super::schema::MediaOrLink>))]
    pub input_audio: Option<Media>,
    #[cfg_attr(test, schema(value_type = Option<super::schema::MediaOrLink>))]
    pub audio_url: Option<Media>,
    #[cfg_attr(test, schema(value_type = Option<super::schema::MediaOrLink>))]
    pub audio: Option<Media>,
    #[cfg_attr(test, schema(value_type = Option<super::schema::MediaOrLink>))]
    pub file: Option<Media>,
    #[cfg_attr(test, schema(value_type = Option<super::schema::MediaOrLink>))]
    pub file_url: Option<Media>,
    /// As in `input_file` and `input_image` of the Responses API.
    pub file_id: Option<String>,
    pub file_data: Option<String>,
    pub filename: Option<String>,
    /// A ready entry, as an upload's answer has it.
    #[cfg_attr(test, schema(value_type = Option<Object>))]
    pub file_info: Option<serde_json::Value>,
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
    /// A ready entry.
    #[cfg_attr(test, schema(value_type = Option<Object>))]
    pub file_info: Option<serde_json::Value>,
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
            file_info: Option<serde_json::Value>,
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
    pub function: Option<FunctionCall>,
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
        let text = str::from_utf8(body).map_err(not_json)?;
        serde_json::from_str(text).map_err(|error| describe(text, &error))
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
    let problem = error.to_string();
    // What is missing, or there twice, is named in the error itself.
    let named = ["missing field `", "duplicate field `"].iter().find_map(|start| problem.strip_prefix(start));
    let param = match named.and_then(|rest| rest.split('`').next()) {
        Some(field) if place.container.is_empty() => field.to_owned(),
        Some(field) => format!("{}.{field}", place.container),
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
            (r#"{"messages":[{"role":"user","content":{}}]}"#, "messages[0].content"),
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
    fn null_and_unknown_fields_are_fine() {
        let body = r#"{"messages":[{"role":"user","content":null,"name":null,"x":1}],"model":null,"stop":null,"n":null,
            "temperature":null,"tools":null,"made_up":{"a":[1,{"b":2}]},"max_tokens":0,"max_completion_tokens":-1,"seed":7}"#;
        assert!(ChatRequest::from_json(body.as_bytes()).is_ok());
    }
}
