//! The second upstream.

use std::collections::BTreeMap;

use super::lookup::{ConfigError, Lookup, invalid};
use crate::secret::Secret;

/// The codes after which the second upstream may be asked.
const CODES: &[&str] = &[
    "qwen_session_missing",
    "qwen_session_expired",
    "qwen_challenge",
    "quota_exceeded",
    "rate_limit_exceeded",
    "content_filter",
    "model_not_found",
    "upstream_rejected",
    "upstream_empty",
    "upstream_invalid",
    "upstream_truncated",
    "upstream_error",
    "upstream_timeout",
    "upstream_overloaded",
    "tool_choice_unsatisfied",
    "invalid_structured_output",
];
const DEFAULT_CODES: &[&str] = &[
    "qwen_session_missing",
    "qwen_session_expired",
    "qwen_challenge",
    "quota_exceeded",
    "upstream_error",
    "upstream_timeout",
];

/// An OpenAI-compatible server, and when it is asked.
#[derive(Clone, Debug)]
pub struct Fallback {
    /// `FALLBACK_BASE_URL`, without a trailing slash
    pub base_url: String,
    /// `FALLBACK_API_KEY`
    pub api_key: Option<Secret>,
    /// `FALLBACK_MODELS`
    pub models: BTreeMap<String, String>,
    /// `FALLBACK_ON`
    pub after: FallbackAfter,
}

/// When the second upstream is asked, beside for models that are named as its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FallbackAfter {
    /// After errors of chat.qwen.ai with these codes.
    Codes(Vec<&'static str>),
    /// In the place of chat.qwen.ai.
    Always,
    /// Only by name.
    Never,
}

impl FallbackAfter {
    /// Whether it is asked after an error with this code.
    #[must_use]
    pub fn has(&self, code: &str) -> bool {
        match self {
            Self::Codes(codes) => codes.contains(&code),
            Self::Always | Self::Never => false,
        }
    }
}

impl Fallback {
    /// Reads the variables; `None` without `FALLBACK_BASE_URL`.
    pub(super) fn read<F: Fn(&str) -> Option<String>>(env: &Lookup<F>) -> Result<Option<Self>, ConfigError> {
        let base_url = env.url("FALLBACK_BASE_URL")?;
        let api_key = env.secret("FALLBACK_API_KEY")?;
        let models = env.json_map("FALLBACK_MODELS")?;
        if models.iter().any(|(ours, theirs)| ours.trim().is_empty() || theirs.trim().is_empty()) {
            return Err(invalid("FALLBACK_MODELS", "holds an empty name"));
        }
        let after = after(env)?;
        Ok(base_url.map(|base_url| Self { base_url, api_key, models, after }))
    }
}

fn after<F: Fn(&str) -> Option<String>>(env: &Lookup<F>) -> Result<FallbackAfter, ConfigError> {
    let Some(text) = env.text("FALLBACK_ON") else { return Ok(FallbackAfter::Codes(DEFAULT_CODES.to_vec())) };
    let words: Vec<&str> = text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
    match words[..] {
        ["always"] => Ok(FallbackAfter::Always),
        ["never"] => Ok(FallbackAfter::Never),
        _ => {
            let known = |word: &&str| CODES.iter().copied().find(|code| code == word);
            let codes: Option<Vec<_>> = words.iter().map(known).collect();
            let codes = codes.filter(|codes| !codes.is_empty()).ok_or_else(|| {
                let list = CODES.join(", ");
                invalid("FALLBACK_ON", format!("must be always, never, or a comma list of these codes: {list}"))
            })?;
            Ok(FallbackAfter::Codes(codes))
        }
    }
}
