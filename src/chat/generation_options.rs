//! What a request asks for, once all its ways of saying it are put together.

use crate::{
    api::openai::{ChatRequest, ReasoningSwitch, TemplateSwitch, ThinkingSwitch, Whole},
    error::{Error, Result},
    upstream::qwen::{Choice, Model, Thinking},
};

/// A request's wishes, without its messages.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationOptions {
    /// The upstream id of the model.
    pub model: String,
    /// Whether to think.
    pub thinking: Thinking,
    /// Whether the model may search the web.
    pub search: bool,
    /// Whether the answer is a stream.
    pub stream: bool,
    /// Whether a usage chunk ends the stream.
    pub include_usage: bool,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// The most tokens of the answer.
    pub max_tokens: Option<u64>,
}

/// Each delta is compared with the whole of each.
const MAX_STOP_BYTES: usize = 1024;

/// Puts a request's switches together. `choice` is what its model name means, `model` what is known of that model.
///
/// # Errors
/// `invalid_request` for several answers (`n`) or too long stop texts.
pub fn generation_options(request: &ChatRequest, choice: Choice, model: Option<&Model>) -> Result<GenerationOptions> {
    if request.n.is_some_and(|n| n != Whole(1)) {
        return Err(Error::invalid("n", "Only one answer a request is possible: leave 'n' out or set it to 1."));
    }
    let stop = request.stop.iter().flat_map(|stop| &stop.0).filter(|stop| !stop.is_empty());
    let stop: Vec<String> = stop.cloned().collect();
    if stop.iter().any(|stop| stop.len() > MAX_STOP_BYTES) {
        return Err(Error::invalid(
            "stop",
            format!("A text in the field 'stop' is longer than {MAX_STOP_BYTES} bytes."),
        ));
    }
    let Choice { id, thinking: suffix, search } = choice;
    let asked = switches(request);
    let thinking = match (suffix, asked) {
        (Some(true), Some(on @ Thinking::On { .. })) => on,
        (Some(true), _) => Thinking::On { budget: None },
        (Some(false), _) => Thinking::Off,
        (None, asked) => asked.unwrap_or(Thinking::On { budget: None }),
    };
    let thinking = match (thinking, model) {
        (_, Some(Model { thinks: false, .. })) => Thinking::Off,
        // Such a model refuses a request that switches its thinking off.
        (Thinking::Off, Some(Model { must_think: true, .. })) => Thinking::On { budget: None },
        (thinking, _) => thinking,
    };
    let body_search = request.enable_search.or_else(|| request.extra_body.as_ref()?.enable_search);
    let limit = |limit: Option<Whole>| u64::try_from(limit?.0).ok().filter(|limit| *limit > 0);
    Ok(GenerationOptions {
        model: id,
        thinking,
        search: search || request.web_search_options.is_some() || body_search.unwrap_or(false),
        stream: request.stream.unwrap_or(false),
        include_usage: request.stream_options.as_ref().and_then(|options| options.include_usage).unwrap_or(false),
        stop,
        max_tokens: limit(request.max_completion_tokens).or_else(|| limit(request.max_tokens)),
    })
}

/// The first of the request's thinking switches that says something.
fn switches(request: &ChatRequest) -> Option<Thinking> {
    plain(request.enable_thinking, request.thinking_budget)
        .or_else(|| anthropic(request.thinking.as_ref()))
        .or_else(|| effort(request.reasoning_effort.as_deref()))
        .or_else(|| openrouter(request.reasoning.as_ref()))
        .or_else(|| template(request.chat_template_kwargs.as_ref()))
        .or_else(|| {
            let body = request.extra_body.as_ref()?;
            plain(body.enable_thinking, body.thinking_budget)
                .or_else(|| anthropic(body.thinking.as_ref()))
                .or_else(|| effort(body.reasoning_effort.as_deref()))
                .or_else(|| openrouter(body.reasoning.as_ref()))
                .or_else(|| template(body.chat_template_kwargs.as_ref()))
        })
}

fn budget(tokens: Option<Whole>) -> Option<u32> {
    tokens.filter(|tokens| tokens.0 > 0).map(|tokens| u32::try_from(tokens.0).unwrap_or(u32::MAX))
}

fn plain(enabled: Option<bool>, tokens: Option<Whole>) -> Option<Thinking> {
    match (enabled, budget(tokens)) {
        (Some(false), _) => Some(Thinking::Off),
        (Some(true), budget) => Some(Thinking::On { budget }),
        (None, budget @ Some(_)) => Some(Thinking::On { budget }),
        (None, None) => None,
    }
}

fn anthropic(switch: Option<&ThinkingSwitch>) -> Option<Thinking> {
    let ThinkingSwitch { kind, budget_tokens } = switch?;
    let budget = budget(*budget_tokens);
    match kind.as_deref() {
        Some("disabled") => Some(Thinking::Off),
        Some("auto" | "adaptive") => Some(Thinking::Auto),
        Some("enabled") => Some(Thinking::On { budget }),
        _ => budget.map(|budget| Thinking::On { budget: Some(budget) }),
    }
}

fn effort(effort: Option<&str>) -> Option<Thinking> {
    match effort?.to_ascii_lowercase().as_str() {
        "none" | "minimal" | "off" => Some(Thinking::Off),
        "auto" => Some(Thinking::Auto),
        "" => None,
        _ => Some(Thinking::On { budget: None }),
    }
}

fn openrouter(switch: Option<&ReasoningSwitch>) -> Option<Thinking> {
    let ReasoningSwitch { effort: word, enabled, max_tokens } = switch?;
    match (enabled, effort(word.as_deref()), budget(*max_tokens)) {
        (Some(false), ..) | (_, Some(Thinking::Off), _) => Some(Thinking::Off),
        (_, _, budget @ Some(_)) => Some(Thinking::On { budget }),
        (_, asked @ Some(_), None) => asked,
        (Some(true), None, None) => Some(Thinking::On { budget: None }),
        (None, None, None) => None,
    }
}

fn template(switch: Option<&TemplateSwitch>) -> Option<Thinking> {
    let TemplateSwitch { enable_thinking, thinking, thinking_budget } = switch?;
    plain(enable_thinking.or(*thinking), *thinking_budget)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ON: Thinking = Thinking::On { budget: None };

    fn asked(fields: &str, suffix: Option<bool>, model: Option<&Model>) -> Result<GenerationOptions> {
        let request = ChatRequest::from_json(format!(r#"{{"messages":[]{fields}}}"#).as_bytes()).unwrap();
        generation_options(&request, Choice { id: "m".to_owned(), thinking: suffix, search: false }, model)
    }

    fn budget(tokens: u32) -> Thinking {
        Thinking::On { budget: Some(tokens) }
    }

    #[test]
    fn each_thinking_switch_is_understood_in_its_order() {
        for (fields, suffix, expected) in [
            ("", None, ON),
            ("", Some(true), ON),
            ("", Some(false), Thinking::Off),
            (r#","enable_thinking":false"#, None, Thinking::Off),
            (r#","enable_thinking":false"#, Some(true), ON),
            (r#","enable_thinking":true,"thinking_budget":20"#, None, budget(20)),
            (r#","enable_thinking":true,"thinking_budget":20"#, Some(true), budget(20)),
            (r#","enable_thinking":true,"thinking_budget":20"#, Some(false), Thinking::Off),
            (r#","enable_thinking":true,"thinking_budget":0"#, None, ON),
            (r#","enable_thinking":null,"thinking_budget":null"#, None, ON),
            (r#","thinking_budget":99999999999"#, None, budget(u32::MAX)),
            (r#","thinking":{"type":"disabled"}"#, None, Thinking::Off),
            (r#","thinking":{"type":"enabled","budget_tokens":7}"#, None, budget(7)),
            (r#","thinking":{"type":"auto"}"#, None, Thinking::Auto),
            (r#","thinking":{"type":"adaptive"}"#, None, Thinking::Auto),
            (r#","thinking":{"type":"disabled"},"enable_thinking":true"#, None, ON),
            (r#","reasoning_effort":"none""#, None, Thinking::Off),
            (r#","reasoning_effort":"minimal""#, None, Thinking::Off),
            (r#","reasoning_effort":"high""#, None, ON),
            (r#","reasoning_effort":"none","thinking":{"type":"enabled"}"#, None, ON),
            (r#","reasoning":{"effort":"none"}"#, None, Thinking::Off),
            (r#","reasoning":{"enabled":false}"#, None, Thinking::Off),
            (r#","reasoning":{"enabled":true}"#, None, ON),
            (r#","reasoning":{"max_tokens":9}"#, None, budget(9)),
            (r#","chat_template_kwargs":{"enable_thinking":false}"#, None, Thinking::Off),
            (r#","chat_template_kwargs":{"enable_thinking":true,"thinking_budget":8}"#, None, budget(8)),
            (r#","extra_body":{"enable_thinking":false}"#, None, Thinking::Off),
            (r#","extra_body":{"chat_template_kwargs":{"enable_thinking":false}}"#, None, Thinking::Off),
            (r#","extra_body":{"enable_thinking":false},"reasoning_effort":"low""#, None, ON),
        ] {
            assert_eq!(asked(fields, suffix, None).unwrap().thinking, expected, "{fields} {suffix:?}");
        }
    }

    #[test]
    fn a_model_thinks_as_it_can() {
        let never = Model { thinks: false, ..Model::default() };
        let always = Model { thinks: true, must_think: true, ..Model::default() };
        assert_eq!(asked(r#","enable_thinking":true"#, None, Some(&never)).unwrap().thinking, Thinking::Off);
        assert_eq!(asked(r#","enable_thinking":false"#, None, Some(&always)).unwrap().thinking, ON);
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
            assert_eq!(asked(fields, None, None).unwrap().max_tokens, expected, "{fields}");
        }
        assert_eq!(asked(r#","stop":"a""#, None, None).unwrap().stop, ["a"]);
        assert_eq!(asked(r#","stop":["a","b"]"#, None, None).unwrap().stop, ["a", "b"]);
        assert_eq!(asked(r#","n":2"#, None, None).unwrap_err().param(), Some("n"));
        assert_eq!(asked(r#","n":0"#, None, None).unwrap_err().param(), Some("n"));
        assert!(asked(r#","n":1"#, None, None).is_ok());
    }

    #[test]
    fn search_is_asked_for_in_several_ways() {
        for (fields, expected) in [
            ("", false),
            (r#","web_search_options":{}"#, true),
            (r#","enable_search":true"#, true),
            (r#","extra_body":{"enable_search":true}"#, true),
        ] {
            assert_eq!(asked(fields, None, None).unwrap().search, expected, "{fields}");
        }
    }
}
