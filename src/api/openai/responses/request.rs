//! The body of `POST /v1/responses`.
//!
//! Every parameter of OpenAI's reference is accepted, as in chat completions: parameters without a meaning upstream have a type,
//! so that an error names a wrong one, and those that the reference does not list are ignored.

use std::{collections::HashMap, sync::Arc};

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{
    delivery::{Echo, ResponsesDelivery},
    items::Input,
};
use crate::{
    api::{
        Delivery, Parsed,
        json_body::read,
        lenient::{Number, Object, Whole, Words, present},
        openai::{
            chat_completions::ChatDelivery,
            content::reset_attached,
            response_format::TextFormat,
            tools::{Choice, ToolFields, ToolRequest, Tools, tools},
        },
        reasoning::{self, ReasoningSwitch},
    },
    error::{Error, Result},
    json::one_line,
    llm::{self, Message, Role},
};

/// A request for a response. Fields without docs are accepted and ignored.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = ResponseRequest))]
#[expect(dead_code, reason = "ignored parameters have a type, so that a wrong one is an error")]
pub(crate) struct ResponseRequest {
    /// A live id, an alias, or either with a suffix; the configured default when absent.
    #[cfg_attr(test, schema(max_length = 200))]
    model: Option<String>,
    /// What is new: a text, or items. With `previous_response_id` what came before is known.
    #[cfg_attr(test, schema(required, value_type = Vec<super::items::ItemFields>))]
    input: Option<Input>,
    /// Instructions for this response alone.
    instructions: Option<String>,
    /// The response that this one goes on from.
    previous_response_id: Option<String>,
    /// The conversation to continue: an id that the client chose, or an object with it.
    #[cfg_attr(test, schema(value_type = Option<String>))]
    conversation: Option<ConversationId>,
    /// Whether the answer comes as events.
    #[cfg_attr(test, schema(default = false))]
    stream: Option<bool>,
    #[cfg_attr(test, schema(value_type = Option<Object>))]
    stream_options: Option<Object>,
    /// Whether the response can be retrieved later and continued.
    #[cfg_attr(test, schema(default = true))]
    store: Option<bool>,
    /// Must not be true: nothing runs in the background here.
    #[cfg_attr(test, schema(default = false))]
    background: Option<bool>,
    /// How many tokens the answer may have, thinking included; 0 and less mean no limit.
    #[cfg_attr(test, schema(value_type = Option<i64>))]
    max_output_tokens: Option<Whole>,

    /// The tools that the model may call: functions, custom tools, namespaces of them, and `web_search`.
    #[serde(default, deserialize_with = "tools")]
    #[cfg_attr(test, schema(value_type = Option<Vec<ToolFields>>))]
    tools: Option<Vec<ToolFields>>,
    /// Whether, and which, tools are called: `none`, `auto`, `required`, one tool, or a list of allowed ones.
    #[cfg_attr(test, schema(value_type = Option<crate::api::openai::chat_completions::schema::ToolChoice>))]
    tool_choice: Option<Choice>,
    /// Whether one answer may call several.
    #[cfg_attr(test, schema(default = true))]
    parallel_tool_calls: Option<bool>,
    /// What the text of the answer has to be.
    text: Option<TextOptions>,
    /// Whether to think.
    reasoning: Option<ReasoningSwitch>,

    #[cfg_attr(test, schema(value_type = Option<Vec<String>>))]
    include: Option<Words>,
    #[cfg_attr(test, schema(value_type = Option<f64>))]
    max_tool_calls: Option<Number>,
    #[cfg_attr(test, schema(value_type = Option<Object>))]
    metadata: Option<Object>,
    #[cfg_attr(test, schema(value_type = Option<f64>))]
    temperature: Option<Number>,
    #[cfg_attr(test, schema(value_type = Option<f64>))]
    top_p: Option<Number>,
    #[cfg_attr(test, schema(value_type = Option<f64>))]
    top_logprobs: Option<Number>,
    #[cfg_attr(test, schema(value_type = Option<f64>))]
    presence_penalty: Option<Number>,
    #[cfg_attr(test, schema(value_type = Option<f64>))]
    frequency_penalty: Option<Number>,
    truncation: Option<String>,
    #[cfg_attr(test, schema(value_type = Option<Object>))]
    prompt: Option<Object>,
    prompt_cache_key: Option<String>,
    safety_identifier: Option<String>,
    service_tier: Option<String>,
    user: Option<String>,
}

/// `text`
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[expect(dead_code, reason = "a field without a meaning here has a type, so that a wrong one is an error")]
pub(super) struct TextOptions {
    /// Text, any JSON object, or one of a schema.
    format: Option<TextFormat>,
    verbosity: Option<String>,
}

/// `conversation`
#[derive(Debug)]
struct ConversationId(String);

impl<'de> Deserialize<'de> for ConversationId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Text(String),
            Object { id: String },
        }
        let (Form::Text(id) | Form::Object { id }) = Form::deserialize(deserializer)?;
        Ok(Self(id))
    }
}

/// What of a body is kept or repeated as it is.
#[derive(Debug, Default, Deserialize)]
struct Raw {
    input: Option<Box<RawValue>>,
    instructions: Option<Box<RawValue>>,
    tools: Option<Box<RawValue>>,
    tool_choice: Option<Box<RawValue>>,
    text: Option<Box<RawValue>>,
    reasoning: Option<Box<RawValue>>,
    metadata: Option<Box<RawValue>>,
    temperature: Option<Box<RawValue>>,
    top_p: Option<Box<RawValue>>,
    top_logprobs: Option<Box<RawValue>>,
    presence_penalty: Option<Box<RawValue>>,
    frequency_penalty: Option<Box<RawValue>>,
    max_output_tokens: Option<Box<RawValue>>,
    max_tool_calls: Option<Box<RawValue>>,
    truncation: Option<Box<RawValue>>,
    prompt_cache_key: Option<Box<RawValue>>,
    safety_identifier: Option<Box<RawValue>>,
    user: Option<Box<RawValue>>,
}

/// A request that was read; what it refers to is still to be found.
#[derive(Debug)]
pub struct Draft {
    request: ResponseRequest,
    raw: Raw,
}

/// The longest body of which the input may be kept, in bytes.
pub const MAX_KEPT: usize = 1 << 20;

/// Reads the body of a request.
///
/// # Errors
/// `invalid_json` when it is not JSON; `invalid_request` with the path of the first field that has a wrong type.
pub fn read_draft(body: &[u8]) -> Result<Draft> {
    let request = read::<ResponseRequest>(body, reset_attached)?;
    // What is large is neither kept nor repeated.
    let raw = if body.len() <= MAX_KEPT { read::<Raw>(body, || {}).unwrap_or_default() } else { Raw::default() };
    Ok(Draft { request, raw })
}

/// Reads the body of a request that refers to nothing else.
///
/// # Errors
/// As [`read_draft`] and [`Draft::finish`].
pub fn parse(body: &[u8]) -> Result<Parsed> {
    read_draft(body)?.finish(&HashMap::new(), Vec::new())
}

/// Reads a body of this form that came to chat completions: its answer has their form.
///
/// # Errors
/// As [`parse`].
pub(in crate::api::openai) fn parse_for_chat(body: &[u8]) -> Result<Parsed> {
    let draft = read_draft(body)?;
    let delivery = ChatDelivery { is_stream: draft.request.stream.unwrap_or(false), ..ChatDelivery::WHOLE };
    let Parsed { request, .. } = draft.finish(&HashMap::new(), Vec::new())?;
    Ok(Parsed { request, delivery: Delivery::ChatCompletions(delivery) })
}

impl Draft {
    /// The model's name as the client wrote it.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        self.request.model.as_deref().map(str::trim).filter(|name| !name.is_empty())
    }

    /// The response that this one goes on from.
    #[must_use]
    pub fn previous_response_id(&self) -> Option<&str> {
        self.request.previous_response_id.as_deref().filter(|id| !id.trim().is_empty())
    }

    /// The ids of earlier items that the input refers to.
    pub fn references(&self) -> impl Iterator<Item = &str> {
        self.request.input.iter().flat_map(Input::references)
    }

    /// Whether it has instructions, which stand before all other messages.
    #[must_use]
    pub fn has_instructions(&self) -> bool {
        self.request.instructions.as_ref().is_some_and(|text| !text.trim().is_empty())
    }

    /// Whether the response is to be kept.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.request.store.unwrap_or(true)
    }

    /// The input as it came, where it may be kept.
    #[must_use]
    pub fn raw_input(&self) -> Option<&str> {
        self.raw.input.as_deref().map(RawValue::get)
    }

    /// The request in neutral words. `found` = the earlier items that the input refers to, as JSON, by their ids; `earlier` = what
    /// was said before the input.
    ///
    /// # Errors
    /// `invalid_request` with the field whose value is not possible.
    pub fn finish(self, found: &HashMap<String, Box<str>>, earlier: Vec<Message>) -> Result<Parsed> {
        let Self { request, raw } = self;
        // Each field by name: whoever adds one decides here what it means.
        let ResponseRequest {
            model,
            input,
            instructions,
            previous_response_id,
            conversation,
            stream,
            stream_options: _,
            store,
            background,
            max_output_tokens,
            tools,
            tool_choice,
            parallel_tool_calls,
            text,
            reasoning,
            include: _,
            max_tool_calls: _,
            metadata: _,
            temperature,
            top_p,
            top_logprobs: _,
            presence_penalty,
            frequency_penalty,
            truncation: _,
            prompt: _,
            prompt_cache_key: _,
            safety_identifier: _,
            service_tier: _,
            user: _,
        } = request;
        if background == Some(true) {
            return Err(Error::invalid(
                "background",
                "Nothing runs in the background here: leave 'background' out, and use 'stream' for long answers.",
            ));
        }
        let input = input.ok_or_else(|| Error::invalid("input", "The field 'input' is missing."))?;
        let asked =
            ToolRequest { tools, functions: None, tool_choice, function_call: None, parallel: parallel_tool_calls };
        let Tools { tools, choice, allowed, parallel, search, legacy: _, namespaced } = asked.into_neutral()?;
        let format = text.and_then(|text| text.format).map_or(Ok(None), TextFormat::into_neutral)?;
        let instructions = instructions.filter(|text| !text.trim().is_empty());
        let mut messages: Vec<Message> = Vec::new();
        messages.extend(instructions.map(|text| Message::text(Role::System, text)));
        messages.extend(earlier);
        messages.extend(input.into_messages(found)?);
        let echo = |raw: &Raw| echo(raw, previous_response_id.as_deref(), store.unwrap_or(true), parallel_tool_calls);
        let echo = echo(&raw).or_else(|| echo(&Raw::default())).unwrap_or_default();
        let delivery = ResponsesDelivery {
            is_stream: stream.unwrap_or(false),
            namespaced: namespaced.into(),
            echo: Arc::new(echo),
        };
        let fields = [
            ("temperature", temperature),
            ("top_p", top_p),
            ("presence_penalty", presence_penalty),
            ("frequency_penalty", frequency_penalty),
        ];
        let switch = reasoning::openrouter(reasoning.as_ref());
        let effort = reasoning.and_then(|switch| switch.effort);
        let request = llm::Request {
            model,
            messages,
            reasoning: switch,
            search,
            stop: Vec::new(),
            max_tokens: max_output_tokens.and_then(|limit| u64::try_from(limit.0).ok()).filter(|limit| *limit > 0),
            tools,
            tool_choice: choice,
            allowed_tools: allowed,
            parallel_tool_calls: parallel,
            format,
            sampling: llm::Sampling { fields: present(fields, None), effort, limits_completion: false },
            conversation_id: conversation.map(|ConversationId(id)| id),
        };
        Ok(Parsed { request, delivery: Delivery::Responses(delivery) })
    }
}

/// What a response repeats of its request, as the fields of a JSON object. What is absent has the value that OpenAI documents.
fn echo(raw: &Raw, previous: Option<&str>, is_stored: bool, parallel: Option<bool>) -> Option<Echo> {
    let mut fields = String::new();
    let mut add = |name: &str, value: Option<&RawValue>, default: &str| {
        let value = value.map(RawValue::get).filter(|value| *value != "null");
        fields.push_str(&format!(",\"{name}\":{}", one_line(value.unwrap_or(default))));
    };
    add("instructions", raw.instructions.as_deref(), "null");
    add("max_output_tokens", raw.max_output_tokens.as_deref(), "null");
    add("max_tool_calls", raw.max_tool_calls.as_deref(), "null");
    add("metadata", raw.metadata.as_deref(), "{}");
    add("temperature", raw.temperature.as_deref(), "1.0");
    add("top_p", raw.top_p.as_deref(), "1.0");
    add("top_logprobs", raw.top_logprobs.as_deref(), "0");
    add("presence_penalty", raw.presence_penalty.as_deref(), "0.0");
    add("frequency_penalty", raw.frequency_penalty.as_deref(), "0.0");
    add("tools", raw.tools.as_deref(), "[]");
    add("tool_choice", raw.tool_choice.as_deref(), "\"auto\"");
    add("text", raw.text.as_deref(), "{\"format\":{\"type\":\"text\"}}");
    add("reasoning", raw.reasoning.as_deref(), "{\"effort\":null,\"summary\":null}");
    add("truncation", raw.truncation.as_deref(), "\"disabled\"");
    add("prompt_cache_key", raw.prompt_cache_key.as_deref(), "null");
    add("safety_identifier", raw.safety_identifier.as_deref(), "null");
    add("user", raw.user.as_deref(), "null");
    let previous = serde_json::Value::from(previous).to_string();
    fields.push_str(&format!(
        ",\"previous_response_id\":{previous},\"store\":{is_stored},\"parallel_tool_calls\":{},\"background\":false,\"service_tier\":\"default\"",
        parallel.unwrap_or(true)
    ));
    Echo::new(fields)
}
