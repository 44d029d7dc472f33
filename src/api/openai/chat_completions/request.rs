//! The body of `POST /v1/chat/completions`.
//!
//! Every parameter of OpenAI's reference is accepted. Each has its type here, so that an error names a wrong one even where
//! the parameter has no meaning upstream; parameters that the reference does not list are ignored.

use serde::{Deserialize, de::IgnoredAny};

use super::{ChatDelivery, message::messages};
use crate::{
    api::{
        Delivery, Parsed,
        json_body::read,
        lenient::{Number, Object, ObjectText, Stop, Whole, Words, present},
        openai::{
            content::reset_attached,
            response_format::ResponseFormat,
            responses::parse_for_chat,
            tools::{Choice, Function, ToolFields, ToolRequest, Tools, tools},
        },
        reasoning::{self, ReasoningSwitch, TemplateSwitch, ThinkingSwitch},
    },
    error::{Error, Result},
    llm,
};

/// The longest stop sequence, in bytes: each delta is compared with all of each.
const MAX_STOP_BYTES: usize = 1024;

/// A chat request. Fields without docs are accepted and ignored.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[expect(dead_code, reason = "ignored parameters have a type, so that a wrong one is an error")]
pub(crate) struct ChatRequest {
    /// A live id, an alias, or either with a suffix; the configured default when absent, or when it is a name of another
    /// vendor's model.
    #[cfg_attr(test, schema(max_length = 200))]
    pub(crate) model: Option<String>,
    /// The whole conversation, newest turn last.
    #[serde(deserialize_with = "messages")]
    #[cfg_attr(test, schema(value_type = Vec<super::message::Message>))]
    pub(crate) messages: Vec<llm::Message>,
    /// Whether the answer comes as events.
    #[cfg_attr(test, schema(default = false))]
    pub(crate) stream: Option<bool>,
    /// What else a stream reports.
    pub(crate) stream_options: Option<StreamOptions>,
    /// How many answers: 1.
    #[cfg_attr(test, schema(minimum = 1, maximum = 1, default = 1, value_type = Option<i64>))]
    pub(crate) n: Option<Whole>,
    /// Where to cut the answer: up to 16 texts of at most 1 KiB.
    #[cfg_attr(test, schema(value_type = Option<super::schema::Stop>))]
    pub(crate) stop: Option<Stop>,
    /// Older name of `max_completion_tokens`.
    #[cfg_attr(test, schema(value_type = Option<i64>))]
    pub(crate) max_tokens: Option<Whole>,
    /// How many tokens the answer may have, thinking included; 0 and less mean no limit.
    #[cfg_attr(test, schema(value_type = Option<i64>))]
    pub(crate) max_completion_tokens: Option<Whole>,
    /// The conversation to continue, by the id that an earlier answer reported or the client chose (ours, not OpenAI's).
    pub(crate) conversation_id: Option<String>,
    /// Asks for web search, with any content.
    #[cfg_attr(test, schema(value_type = Option<serde_json::Value>))]
    pub(crate) web_search_options: Option<IgnoredAny>,
    /// Qwen's own name for the same.
    pub(crate) enable_search: Option<bool>,

    /// What the text of the answer has to be: text, any JSON object, or one of a schema. The model is told, and the answer is
    /// reduced to its object, repaired, checked, and asked for once more if it does not fit.
    pub(in crate::api::openai) response_format: Option<ResponseFormat>,
    /// The tools that the model may call: at most 512. The model is told of them in the prompt, and its calls are read out of
    /// its answer.
    #[serde(default, deserialize_with = "tools")]
    #[cfg_attr(test, schema(value_type = Option<Vec<ToolFields>>))]
    pub(super) tools: Option<Vec<ToolFields>>,
    /// Whether, and which, tools are called: `none`, `auto`, `required`, one tool, or a list of allowed ones. A call that is
    /// demanded and missing is asked for once more; then the error is `tool_choice_unsatisfied`.
    #[cfg_attr(test, schema(value_type = Option<super::schema::ToolChoice>))]
    pub(super) tool_choice: Option<Choice>,
    /// Whether one answer may call several. `false`: it ends with its first call.
    #[cfg_attr(test, schema(default = true))]
    pub(crate) parallel_tool_calls: Option<bool>,
    /// Older form of `tools`, read where that is empty. The answer then has `function_call`.
    #[serde(default, deserialize_with = "tools")]
    #[cfg_attr(test, schema(value_type = Option<Vec<Function>>))]
    pub(super) functions: Option<Vec<Function>>,
    /// Older form of `tool_choice`, read where that is absent.
    #[cfg_attr(test, schema(value_type = Option<super::schema::ToolChoice>))]
    pub(super) function_call: Option<Choice>,

    /// Whether to think; absent, models that can think do.
    pub(crate) enable_thinking: Option<bool>,
    /// How many tokens the thinking may take.
    #[cfg_attr(test, schema(value_type = Option<i64>))]
    pub(crate) thinking_budget: Option<Whole>,
    /// Anthropic's switch.
    pub(crate) thinking: Option<ThinkingSwitch>,
    /// OpenAI's switch: `none` and `minimal` do not think, every other word does.
    pub(crate) reasoning_effort: Option<String>,
    /// OpenRouter's switch.
    pub(crate) reasoning: Option<ReasoningSwitch>,
    /// vLLM's switch.
    pub(crate) chat_template_kwargs: Option<TemplateSwitch>,
    /// Some programs send the SDK's argument of this name literally.
    pub(crate) extra_body: Option<ExtraBody>,

    #[cfg_attr(test, schema(value_type = Option<f64>))]
    pub(crate) temperature: Option<Number>,
    #[cfg_attr(test, schema(value_type = Option<f64>))]
    pub(crate) top_p: Option<Number>,
    #[cfg_attr(test, schema(value_type = Option<f64>))]
    pub(crate) top_k: Option<Number>,
    #[cfg_attr(test, schema(value_type = Option<f64>))]
    pub(crate) min_p: Option<Number>,
    #[cfg_attr(test, schema(value_type = Option<f64>))]
    pub(crate) frequency_penalty: Option<Number>,
    #[cfg_attr(test, schema(value_type = Option<f64>))]
    pub(crate) presence_penalty: Option<Number>,
    #[cfg_attr(test, schema(value_type = Option<f64>))]
    pub(crate) repetition_penalty: Option<Number>,
    #[cfg_attr(test, schema(value_type = Option<f64>))]
    pub(crate) seed: Option<Number>,
    #[cfg_attr(test, schema(value_type = Option<Object>))]
    pub(crate) logit_bias: Option<ObjectText>,
    pub(crate) logprobs: Option<bool>,
    #[cfg_attr(test, schema(value_type = Option<f64>))]
    pub(crate) top_logprobs: Option<Number>,
    pub(crate) user: Option<String>,
    pub(crate) safety_identifier: Option<String>,
    pub(crate) prompt_cache_key: Option<String>,
    #[cfg_attr(test, schema(value_type = Option<Object>))]
    pub(crate) metadata: Option<Object>,
    pub(crate) store: Option<bool>,
    pub(crate) service_tier: Option<String>,
    pub(crate) verbosity: Option<String>,
    #[cfg_attr(test, schema(value_type = Option<Vec<String>>))]
    pub(crate) modalities: Option<Words>,
    #[cfg_attr(test, schema(value_type = Option<Object>))]
    pub(crate) audio: Option<Object>,
    #[cfg_attr(test, schema(value_type = Option<Object>))]
    pub(crate) prediction: Option<Object>,
}

/// `stream_options`
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct StreamOptions {
    /// Whether a usage chunk ends the stream.
    pub(crate) include_usage: Option<bool>,
}

/// The thinking switches inside a literal `extra_body`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct ExtraBody {
    pub(crate) enable_thinking: Option<bool>,
    #[cfg_attr(test, schema(value_type = Option<i64>))]
    pub(crate) thinking_budget: Option<Whole>,
    pub(crate) thinking: Option<ThinkingSwitch>,
    pub(crate) reasoning_effort: Option<String>,
    pub(crate) reasoning: Option<ReasoningSwitch>,
    pub(crate) chat_template_kwargs: Option<TemplateSwitch>,
    pub(crate) enable_search: Option<bool>,
}

impl ChatRequest {
    fn into_parsed(self) -> Result<Parsed> {
        // Each field by name: whoever adds one decides here what it means.
        let Self {
            model,
            messages,
            stream,
            stream_options,
            n,
            stop,
            max_tokens,
            max_completion_tokens,
            conversation_id,
            web_search_options,
            enable_search,
            enable_thinking,
            thinking_budget,
            thinking,
            reasoning_effort,
            reasoning: reasoning_switch,
            chat_template_kwargs,
            extra_body,
            temperature,
            top_p,
            top_k,
            min_p: _,
            frequency_penalty,
            presence_penalty,
            repetition_penalty,
            seed,
            logit_bias,
            logprobs: _,
            top_logprobs: _,
            user: _,
            safety_identifier: _,
            prompt_cache_key: _,
            metadata: _,
            store: _,
            service_tier: _,
            verbosity: _,
            modalities: _,
            audio: _,
            prediction: _,
            response_format,
            tools,
            tool_choice,
            parallel_tool_calls,
            functions,
            function_call,
        } = self;
        if n.is_some_and(|n| n != Whole(1)) {
            return Err(Error::invalid("n", "Only one answer a request is possible: leave 'n' out or set it to 1."));
        }
        let mut stop = stop.map(|Stop(texts)| texts).unwrap_or_default();
        stop.retain(|text| !text.is_empty());
        if stop.iter().any(|text| text.len() > MAX_STOP_BYTES) {
            let problem = format!("A text in the field 'stop' is longer than {MAX_STOP_BYTES} bytes.");
            return Err(Error::invalid("stop", problem));
        }
        let body_search = extra_body.as_ref().and_then(|body| body.enable_search);
        let reasoning = reasoning::switch(enable_thinking, thinking_budget)
            .or_else(|| reasoning::anthropic(thinking.as_ref()))
            .or_else(|| reasoning::effort(reasoning_effort.as_deref()))
            .or_else(|| reasoning::openrouter(reasoning_switch.as_ref()))
            .or_else(|| reasoning::template(chat_template_kwargs.as_ref()))
            .or_else(|| extra_body.as_ref().and_then(ExtraBody::reasoning));
        let fields = [
            ("temperature", temperature),
            ("top_p", top_p),
            ("top_k", top_k),
            ("frequency_penalty", frequency_penalty),
            ("presence_penalty", presence_penalty),
            ("repetition_penalty", repetition_penalty),
            ("seed", seed),
        ];
        let is_switched = enable_thinking.is_some() || thinking_budget.is_some() || thinking.is_some();
        let effort = reasoning_effort
            .filter(|_| !is_switched)
            .or_else(|| reasoning_switch.filter(|_| !is_switched).and_then(|switch| switch.effort));
        let limit = |limit: Option<Whole>| u64::try_from(limit?.0).ok().filter(|limit| *limit > 0);
        let asked = ToolRequest { tools, functions, tool_choice, function_call, parallel: parallel_tool_calls };
        let Tools { tools, choice, allowed, parallel, search, legacy, namespaced: _ } = asked.into_neutral()?;
        let sampling = llm::Sampling {
            fields: present(fields, logit_bias.map(|object| ("logit_bias", object))),
            effort,
            limits_completion: limit(max_completion_tokens).is_some(),
        };
        let delivery = ChatDelivery {
            is_stream: stream.unwrap_or(false),
            include_usage: stream_options.and_then(|options| options.include_usage).unwrap_or(false),
            legacy_functions: legacy,
        };
        let request = llm::Request {
            model,
            messages,
            reasoning,
            search: search || web_search_options.is_some() || enable_search.or(body_search).unwrap_or(false),
            stop,
            max_tokens: limit(max_completion_tokens).or_else(|| limit(max_tokens)),
            tools,
            tool_choice: choice,
            allowed_tools: allowed,
            format: response_format.map_or(Ok(None), ResponseFormat::into_neutral)?,
            parallel_tool_calls: parallel,
            sampling,
            conversation_id,
        };
        Ok(Parsed { request, delivery: Delivery::ChatCompletions(delivery) })
    }
}

impl ExtraBody {
    fn reasoning(&self) -> Option<llm::Reasoning> {
        let Self {
            enable_thinking,
            thinking_budget,
            thinking,
            reasoning_effort,
            reasoning,
            chat_template_kwargs,
            enable_search: _,
        } = self;
        reasoning::switch(*enable_thinking, *thinking_budget)
            .or_else(|| reasoning::anthropic(thinking.as_ref()))
            .or_else(|| reasoning::effort(reasoning_effort.as_deref()))
            .or_else(|| reasoning::openrouter(reasoning.as_ref()))
            .or_else(|| reasoning::template(chat_template_kwargs.as_ref()))
    }
}

/// A body of the Responses API.
#[derive(Deserialize)]
struct HasInput {
    #[serde(rename = "input")]
    _input: IgnoredAny,
}

/// Reads the body of a request.
///
/// # Errors
/// `invalid_json` when it is not JSON; `invalid_request` with the path of the first field that has a wrong type, or with the
/// field whose value is not possible.
pub fn parse(body: &[u8]) -> Result<Parsed> {
    let wrong = match read::<ChatRequest>(body, reset_attached) {
        Ok(request) => return request.into_parsed(),
        Err(wrong) => wrong,
    };
    // Some clients, such as Cursor, send the body of the Responses API here, and expect chunks.
    let is_response = wrong.param() == Some("messages") && read::<HasInput>(body, || {}).is_ok();
    if is_response { parse_for_chat(body) } else { Err(wrong) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{
        lenient::{MAX_PARTS, MAX_STOPS, MAX_TOOLS},
        openai::chat_completions::message::MAX_MESSAGES,
    };
    use crate::error::ErrorKind;
    use crate::llm::Reasoning;

    fn read_request(body: &[u8]) -> Result<ChatRequest> {
        read(body, reset_attached)
    }

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
            let error = read_request(body.as_bytes()).unwrap_err();
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
            assert_eq!(read_request(body).unwrap_err().kind(), ErrorKind::InvalidJson);
        }
        for body in [&b"[]"[..], b"5", b"null", b"\"x\""] {
            assert_eq!(read_request(body).unwrap_err().kind(), ErrorKind::InvalidRequest);
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
            let request = read_request(body.as_bytes()).unwrap();
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
            assert!(read_request(body.as_bytes()).is_ok(), "{number}");
        }
    }

    #[test]
    fn halves_of_characters_and_a_mark_at_the_beginning_are_read() {
        let first = |body: &[u8]| {
            let mut request = read_request(body).unwrap();
            match request.messages.remove(0).parts.remove(0) {
                llm::Part::Text(text) => text,
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
        let request = read_request(body.as_bytes()).unwrap();
        assert!(matches!(&request.messages[0].parts[..], [llm::Part::Text(text)] if text == "hi"));
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
            assert!(read_request(body(most).as_bytes()).is_ok(), "{param}");
            let error = read_request(body(most + 1).as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidRequest);
            assert_eq!(error.param(), Some(param), "{error:?}");
            assert!(error.message().contains(&most.to_string()), "{error}");
        }
    }

    #[test]
    fn null_and_unknown_fields_are_fine() {
        let body = r#"{"messages":[{"role":"user","content":null,"name":null,"x":1}],"model":null,"stop":null,"n":null,
            "temperature":null,"tools":null,"made_up":{"a":[1,{"b":2}]},"max_tokens":0,"max_completion_tokens":-1,"seed":7}"#;
        assert!(read_request(body.as_bytes()).is_ok());
    }

    const ON: Reasoning = Reasoning::On { budget: None };

    fn parsed(fields: &str) -> Result<llm::Request> {
        parse(format!(r#"{{"messages":[]{fields}}}"#).as_bytes()).map(|parsed| parsed.request)
    }

    fn budget(tokens: u32) -> Reasoning {
        Reasoning::On { budget: Some(tokens) }
    }

    #[test]
    fn each_thinking_switch_is_understood_in_its_order() {
        for (fields, expected) in [
            ("", None),
            (r#","enable_thinking":false"#, Some(Reasoning::Off)),
            (r#","enable_thinking":true,"thinking_budget":20"#, Some(budget(20))),
            (r#","enable_thinking":true,"thinking_budget":0"#, Some(ON)),
            (r#","enable_thinking":null,"thinking_budget":null"#, None),
            (r#","thinking_budget":99999999999"#, Some(budget(u32::MAX))),
            (r#","thinking":{"type":"disabled"}"#, Some(Reasoning::Off)),
            (r#","thinking":{"type":"enabled","budget_tokens":7}"#, Some(budget(7))),
            (r#","thinking":{"type":"auto"}"#, Some(Reasoning::Auto)),
            (r#","thinking":{"type":"adaptive"}"#, Some(Reasoning::Auto)),
            (r#","thinking":{"type":"disabled"},"enable_thinking":true"#, Some(ON)),
            (r#","reasoning_effort":"none""#, Some(Reasoning::Off)),
            (r#","reasoning_effort":"minimal""#, Some(Reasoning::Off)),
            (r#","reasoning_effort":"high""#, Some(ON)),
            (r#","reasoning_effort":"none","thinking":{"type":"enabled"}"#, Some(ON)),
            (r#","reasoning":{"effort":"none"}"#, Some(Reasoning::Off)),
            (r#","reasoning":{"enabled":false}"#, Some(Reasoning::Off)),
            (r#","reasoning":{"enabled":true}"#, Some(ON)),
            (r#","reasoning":{"max_tokens":9}"#, Some(budget(9))),
            (r#","chat_template_kwargs":{"enable_thinking":false}"#, Some(Reasoning::Off)),
            (r#","chat_template_kwargs":{"enable_thinking":true,"thinking_budget":8}"#, Some(budget(8))),
            (r#","extra_body":{"enable_thinking":false}"#, Some(Reasoning::Off)),
            (r#","extra_body":{"chat_template_kwargs":{"enable_thinking":false}}"#, Some(Reasoning::Off)),
            (r#","extra_body":{"enable_thinking":false},"reasoning_effort":"low""#, Some(ON)),
        ] {
            assert_eq!(parsed(fields).unwrap().reasoning, expected, "{fields}");
        }
    }

    #[test]
    fn limits_and_stops() {
        for (fields, expected) in [
            ("", None),
            (r#","max_tokens":0,"max_completion_tokens":0"#, None),
            (r#","max_tokens":-1"#, None),
            (r#","max_tokens":5"#, Some(5)),
            (r#","max_tokens":5,"max_completion_tokens":7"#, Some(7)),
        ] {
            assert_eq!(parsed(fields).unwrap().max_tokens, expected, "{fields}");
        }
        assert_eq!(parsed(r#","stop":"a""#).unwrap().stop, ["a"]);
        assert_eq!(parsed(r#","stop":["a","b"]"#).unwrap().stop, ["a", "b"]);
        assert_eq!(parsed(r#","n":2"#).unwrap_err().param(), Some("n"));
        assert_eq!(parsed(r#","n":0"#).unwrap_err().param(), Some("n"));
        assert!(parsed(r#","n":1"#).is_ok());
    }

    #[test]
    fn search_is_asked_for_in_several_ways() {
        for (fields, expected) in [
            ("", false),
            (r#","web_search_options":{}"#, true),
            (r#","enable_search":true"#, true),
            (r#","extra_body":{"enable_search":true}"#, true),
        ] {
            assert_eq!(parsed(fields).unwrap().search, expected, "{fields}");
        }
    }
}
