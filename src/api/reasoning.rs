//! The vendors' switches for thinking. Clients of one vendor's API send another vendor's switches, so each dialect accepts all.

use serde::Deserialize;

use super::lenient::Whole;
use crate::llm::Reasoning;

/// Anthropic's `thinking`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct ThinkingSwitch {
    /// `enabled`, `disabled`, `auto` or `adaptive`.
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    /// Tokens.
    #[cfg_attr(test, schema(value_type = Option<i64>))]
    pub(crate) budget_tokens: Option<Whole>,
}

/// OpenRouter's `reasoning`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct ReasoningSwitch {
    /// `none`, `minimal`, `low`, `medium`, `high`, …
    pub(crate) effort: Option<String>,
    /// On or off.
    pub(crate) enabled: Option<bool>,
    /// Tokens.
    #[cfg_attr(test, schema(value_type = Option<i64>))]
    pub(crate) max_tokens: Option<Whole>,
}

/// vLLM's `chat_template_kwargs`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct TemplateSwitch {
    /// On or off.
    pub(crate) enable_thinking: Option<bool>,
    /// Another name for it.
    pub(crate) thinking: Option<bool>,
    /// Tokens.
    #[cfg_attr(test, schema(value_type = Option<i64>))]
    pub(crate) thinking_budget: Option<Whole>,
}

fn budget(tokens: Option<Whole>) -> Option<u32> {
    tokens.filter(|tokens| tokens.0 > 0).map(|tokens| u32::try_from(tokens.0).unwrap_or(u32::MAX))
}

/// Reads an on-off switch with a budget.
pub(crate) fn switch(enabled: Option<bool>, tokens: Option<Whole>) -> Option<Reasoning> {
    match (enabled, budget(tokens)) {
        (Some(false), _) => Some(Reasoning::Off),
        (Some(true), budget) => Some(Reasoning::On { budget }),
        (None, budget @ Some(_)) => Some(Reasoning::On { budget }),
        (None, None) => None,
    }
}

/// Reads the switch of this kind.
pub(crate) fn anthropic(switch: Option<&ThinkingSwitch>) -> Option<Reasoning> {
    let ThinkingSwitch { kind, budget_tokens } = switch?;
    let budget = budget(*budget_tokens);
    match kind.as_deref() {
        Some("disabled") => Some(Reasoning::Off),
        Some("auto" | "adaptive") => Some(Reasoning::Auto),
        Some("enabled") => Some(Reasoning::On { budget }),
        _ => budget.map(|budget| Reasoning::On { budget: Some(budget) }),
    }
}

/// Reads the switch of this kind.
pub(crate) fn effort(effort: Option<&str>) -> Option<Reasoning> {
    match effort?.to_ascii_lowercase().as_str() {
        "none" | "minimal" | "off" => Some(Reasoning::Off),
        "auto" => Some(Reasoning::Auto),
        "" => None,
        _ => Some(Reasoning::On { budget: None }),
    }
}

/// Reads the switch of this kind.
pub(crate) fn openrouter(switch: Option<&ReasoningSwitch>) -> Option<Reasoning> {
    let ReasoningSwitch { effort: word, enabled, max_tokens } = switch?;
    match (enabled, effort(word.as_deref()), budget(*max_tokens)) {
        (Some(false), ..) | (_, Some(Reasoning::Off), _) => Some(Reasoning::Off),
        (_, _, budget @ Some(_)) => Some(Reasoning::On { budget }),
        (_, asked @ Some(_), None) => asked,
        (Some(true), None, None) => Some(Reasoning::On { budget: None }),
        (None, None, None) => None,
    }
}

/// Reads the switch of this kind.
pub(crate) fn template(options: Option<&TemplateSwitch>) -> Option<Reasoning> {
    let TemplateSwitch { enable_thinking, thinking, thinking_budget } = options?;
    switch(enable_thinking.or(*thinking), *thinking_budget)
}
