//! How an answer is to be generated: what the request asks for, put together with what its model's name says and its model
//! can do.

use crate::{
    llm::{Reasoning, Request},
    upstream::{Choice, Model},
};

/// What goes upstream beside the messages, and where the answer is cut.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationOptions {
    /// The upstream id of the model.
    pub model: String,
    /// Whether to think.
    pub reasoning: Reasoning,
    /// Whether the model may search the web.
    pub search: bool,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// The most tokens of the answer.
    pub max_tokens: Option<u64>,
}

/// Puts the options together. `choice` is what the model's name means, `model` what is known of that model.
pub fn generation_options(request: &Request, choice: Choice, model: Option<&Model>) -> GenerationOptions {
    let Choice { id, thinking: suffix, search } = choice;
    let reasoning = match (suffix, request.reasoning) {
        (Some(true), Some(on @ Reasoning::On { .. })) => on,
        (Some(true), _) => Reasoning::On { budget: None },
        (Some(false), _) => Reasoning::Off,
        // JSON needs no thinking, unless it is asked for.
        (None, None) if request.format.is_some() => Reasoning::Off,
        (None, asked) => asked.unwrap_or(Reasoning::On { budget: None }),
    };
    let reasoning = match (reasoning, model) {
        (_, Some(Model { thinks: false, .. })) => Reasoning::Off,
        // Such a model refuses a request that switches its thinking off.
        (Reasoning::Off, Some(Model { must_think: true, .. })) => Reasoning::On { budget: None },
        (reasoning, _) => reasoning,
    };
    GenerationOptions {
        model: id,
        reasoning,
        search: search || request.search,
        stop: request.stop.clone(),
        max_tokens: request.max_tokens,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ON: Reasoning = Reasoning::On { budget: None };
    const BUDGET: Reasoning = Reasoning::On { budget: Some(20) };

    fn reasoning(asked: Option<Reasoning>, suffix: Option<bool>, model: Option<&Model>) -> Reasoning {
        let request = Request { reasoning: asked, ..Request::default() };
        generation_options(&request, Choice { id: "m".to_owned(), thinking: suffix, search: false }, model).reasoning
    }

    #[test]
    fn the_suffix_of_a_models_name_comes_before_the_request() {
        for (asked, suffix, expected) in [
            (None, None, ON),
            (None, Some(true), ON),
            (None, Some(false), Reasoning::Off),
            (Some(Reasoning::Off), None, Reasoning::Off),
            (Some(Reasoning::Off), Some(true), ON),
            (Some(Reasoning::Auto), None, Reasoning::Auto),
            (Some(Reasoning::Auto), Some(true), ON),
            (Some(BUDGET), None, BUDGET),
            (Some(BUDGET), Some(true), BUDGET),
            (Some(BUDGET), Some(false), Reasoning::Off),
        ] {
            assert_eq!(reasoning(asked, suffix, None), expected, "{asked:?} {suffix:?}");
        }
    }

    #[test]
    fn a_model_thinks_as_it_can() {
        let never = Model { thinks: false, ..Model::default() };
        let always = Model { thinks: true, must_think: true, ..Model::default() };
        assert_eq!(reasoning(Some(ON), None, Some(&never)), Reasoning::Off);
        assert_eq!(reasoning(Some(Reasoning::Off), None, Some(&always)), ON);
    }
}
