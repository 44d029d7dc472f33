//! The body of `POST /v1/messages` and of `POST /v1/messages/count_tokens`.
//!
//! Every parameter of Anthropic's reference is accepted. Each has its type here, so that an error names a wrong one even where
//! the parameter has no meaning upstream; parameters that the reference does not list are ignored.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{
    MessagesDelivery,
    content::Content,
    message::messages,
    system,
    tools::{ChoiceFields, ToolFields, Tools},
};
use crate::{
    api::{
        Delivery, Parsed,
        json_body::read,
        lenient::{Number, Object, Stop, Whole, Words, present, reset_attached, tools},
        reasoning::{self, ThinkingSwitch},
    },
    error::{Error, Result},
    llm::{self, OutputFormat, estimate_tokens},
};

/// The longest stop sequence, in bytes: each delta is compared with all of each.
const MAX_STOP_BYTES: usize = 1024;

/// A request of Messages. Fields without docs are accepted and ignored.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[expect(dead_code, reason = "ignored parameters have a type, so that a wrong one is an error")]
pub(crate) struct MessagesRequest {
    /// A live id, an alias, or either with a suffix; the configured default when absent.
    #[cfg_attr(test, schema(max_length = 200))]
    model: Option<String>,
    /// The whole conversation, newest turn last.
    #[serde(deserialize_with = "messages")]
    #[cfg_attr(test, schema(value_type = Vec<super::message::Message>))]
    messages: Vec<llm::Message>,
    /// Instructions.
    #[cfg_attr(test, schema(value_type = Option<super::schema::BlockContent>))]
    system: Option<Content>,
    /// How many tokens the answer may have, thinking included; absent, 0 and less mean no limit.
    #[cfg_attr(test, schema(value_type = Option<i64>))]
    max_tokens: Option<Whole>,
    /// Whether the answer comes as events.
    #[cfg_attr(test, schema(default = false))]
    stream: Option<bool>,
    /// Where to cut the answer: up to 16 texts of at most 1 KiB.
    #[cfg_attr(test, schema(value_type = Option<Vec<String>>))]
    stop_sequences: Option<Stop>,
    /// The tools that the model may call: at most 512.
    #[serde(default, deserialize_with = "tools")]
    #[cfg_attr(test, schema(value_type = Option<Vec<ToolFields>>))]
    tools: Option<Vec<ToolFields>>,
    /// Whether, and which, tools are called.
    tool_choice: Option<ChoiceFields>,
    /// Whether to think; absent, models that can think do.
    thinking: Option<ThinkingSwitch>,
    /// How hard to think, and what the text of the answer has to be.
    output_config: Option<OutputConfig>,
    /// Older place of `output_config.format`.
    output_format: Option<FormatFields>,
    /// The conversation to continue, by the id that an earlier answer reported or the client chose (ours, not Anthropic's).
    conversation_id: Option<String>,

    #[cfg_attr(test, schema(value_type = Option<Object>))]
    metadata: Option<Object>,
    #[cfg_attr(test, schema(value_type = Option<f64>))]
    temperature: Option<Number>,
    #[cfg_attr(test, schema(value_type = Option<f64>))]
    top_p: Option<Number>,
    #[cfg_attr(test, schema(value_type = Option<f64>))]
    top_k: Option<Number>,
    service_tier: Option<String>,
    speed: Option<String>,
    inference_geo: Option<String>,
    #[cfg_attr(test, schema(value_type = Option<Vec<String>>))]
    betas: Option<Words>,
    #[cfg_attr(test, schema(value_type = Option<Object>))]
    cache_control: Option<Object>,
    #[cfg_attr(test, schema(value_type = Option<Object>))]
    context_management: Option<Object>,
    #[cfg_attr(test, schema(value_type = Option<serde_json::Value>))]
    container: Option<IgnoredAny>,
    #[cfg_attr(test, schema(value_type = Option<serde_json::Value>))]
    mcp_servers: Option<IgnoredAny>,
}

/// `output_config`
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct OutputConfig {
    /// `none` does not think, every other word does; `thinking` takes precedence.
    effort: Option<String>,
    /// What the text of the answer has to be.
    format: Option<FormatFields>,
}

/// JSON that the text of the answer has to be.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = MessagesFormat))]
pub(super) struct FormatFields {
    /// `json_schema`
    #[serde(rename = "type")]
    kind: Option<String>,
    /// The JSON schema (draft 2020-12). Every answer is checked against it.
    #[cfg_attr(test, schema(value_type = Option<Object>))]
    schema: Option<Box<RawValue>>,
}

impl FormatFields {
    /// `param` is the field's place in the request, `schema_param` that of its schema.
    fn into_neutral(self, param: &'static str, schema_param: &'static str) -> Result<Option<OutputFormat>> {
        let Self { kind, schema } = self;
        let schema = schema.filter(|schema| schema.get() != "null");
        match (kind.as_deref(), schema) {
            (None | Some("text" | ""), None) => Ok(None),
            (Some("json_object"), None) => Ok(Some(OutputFormat { param, ..OutputFormat::default() })),
            (None | Some("json_schema" | "json_object" | ""), Some(schema)) => Ok(Some(OutputFormat {
                schema: Some(Box::<str>::from(schema)),
                param: schema_param,
                ..OutputFormat::default()
            })),
            (Some("json_schema"), None) => {
                Err(Error::invalid(schema_param, format!("The field '{schema_param}' is missing.")))
            }
            (Some(_), _) => {
                let param = format!("{param}.type");
                let problem = format!("The field '{param}' is 'json_schema'.");
                Err(Error::invalid(param, problem))
            }
        }
    }
}

impl MessagesRequest {
    fn into_parsed(self) -> Result<Parsed> {
        // Each field by name: whoever adds one decides here what it means.
        let Self {
            model,
            mut messages,
            system,
            max_tokens,
            stream,
            stop_sequences,
            tools,
            tool_choice,
            thinking,
            output_config,
            output_format,
            conversation_id,
            metadata: _,
            temperature,
            top_p,
            top_k,
            service_tier: _,
            speed: _,
            inference_geo: _,
            betas: _,
            cache_control: _,
            context_management: _,
            container: _,
            mcp_servers: _,
        } = self;
        let mut stop = stop_sequences.map(|Stop(texts)| texts).unwrap_or_default();
        stop.retain(|text| !text.is_empty());
        if stop.iter().any(|text| text.len() > MAX_STOP_BYTES) {
            let problem = format!("A text in the field 'stop_sequences' is longer than {MAX_STOP_BYTES} bytes.");
            return Err(Error::invalid("stop_sequences", problem));
        }
        let OutputConfig { effort, format } = output_config.unwrap_or_default();
        let format = match (format, output_format) {
            (Some(format), _) => format.into_neutral("output_config.format", "output_config.format.schema")?,
            (None, Some(format)) => format.into_neutral("output_format", "output_format.schema")?,
            (None, None) => None,
        };
        let Tools { tools, choice, parallel, search } = Tools::new(tools, tool_choice)?;
        let system = system.and_then(system::message);
        // Without a message there is nothing to ask, whatever the instructions.
        if let Some(system) = system.filter(|_| !messages.is_empty()) {
            messages.insert(0, system);
        }
        let reasoning = reasoning::anthropic(thinking.as_ref()).or_else(|| reasoning::effort(effort.as_deref()));
        let fields = [("temperature", temperature), ("top_p", top_p), ("top_k", top_k)];
        let effort = effort.filter(|_| thinking.is_none());
        let sampling = llm::Sampling { fields: present(fields, None), effort, limits_completion: false };
        let request = llm::Request {
            model,
            messages,
            reasoning,
            search,
            stop,
            max_tokens: max_tokens.and_then(|limit| u64::try_from(limit.0).ok()).filter(|limit| *limit > 0),
            tools,
            tool_choice: choice,
            allowed_tools: None,
            parallel_tool_calls: parallel,
            format,
            sampling,
            conversation_id,
        };
        let delivery = MessagesDelivery { is_stream: stream.unwrap_or(false), input_tokens: estimate_tokens(&request) };
        Ok(Parsed { request, delivery: Delivery::Messages(delivery) })
    }
}

/// Reads the body of a request.
///
/// # Errors
/// `invalid_json` when it is not JSON; `invalid_request` with the path of the first field that has a wrong type, or with the
/// field whose value is not possible.
pub fn parse(body: &[u8]) -> Result<Parsed> {
    read::<MessagesRequest>(body, reset_attached)?.into_parsed()
}
