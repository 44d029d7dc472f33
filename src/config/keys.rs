//! The keys of this server: who may use it, who may administer it, and what encrypts the session.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use super::lookup::{ConfigError, Lookup, check_header_value, invalid};
use crate::secret::Secret;

/// A shorter key can be guessed. In characters.
pub const MIN_SAFE_KEY: usize = 16;

pub(super) struct Keys {
    pub(super) valid_tokens: Vec<Secret>,
    pub(super) admin_token: Option<Secret>,
    pub(super) session_key: Option<Secret>,
}

impl Keys {
    pub(super) fn read<F: Fn(&str) -> Option<String>>(env: &Lookup<F>) -> Result<Self, ConfigError> {
        let session_key = session_key(env)?;
        let valid_tokens = valid_tokens(env)?;
        let admin_token = env.secret("ADMIN_TOKEN")?;
        if admin_token.as_ref().is_some_and(|admin| valid_tokens.contains(admin)) {
            return Err(invalid(
                "ADMIN_TOKEN",
                "is one of VALID_TOKENS too: whoever may chat could administer the server",
            ));
        }
        Ok(Self { valid_tokens, admin_token, session_key })
    }
}

fn session_key<F: Fn(&str) -> Option<String>>(env: &Lookup<F>) -> Result<Option<Secret>, ConfigError> {
    let Some(key) = env.text("SESSION_KEY") else { return Ok(None) };
    if BASE64.decode(&key).map(|bytes| bytes.len()) == Ok(32) {
        Ok(Some(Secret::new(key)))
    } else {
        Err(invalid("SESSION_KEY", "must be 32 bytes in base64 (openssl rand -base64 32)"))
    }
}

fn valid_tokens<F: Fn(&str) -> Option<String>>(env: &Lookup<F>) -> Result<Vec<Secret>, ConfigError> {
    let Some(text) = env.text("VALID_TOKENS") else { return Ok(Vec::new()) };
    let hint = r#"must be a comma list of keys, or a JSON array of texts such as ["sk-one","sk-two"]"#;
    let keys = key_list(&text).ok_or_else(|| invalid("VALID_TOKENS", hint))?;
    // Whoever sets the variable does not want a server without keys.
    if keys.is_empty() {
        return Err(invalid("VALID_TOKENS", "holds no key: name one, or leave it unset"));
    }
    keys.iter().try_for_each(|key| check_header_value("VALID_TOKENS", key))?;
    Ok(keys.into_iter().map(Secret::new).collect())
}

/// Reads a JSON array, a comma list or a single key. `None`: the text begins like a JSON array and is not an array of texts.
fn key_list(text: &str) -> Option<Vec<String>> {
    let keys: Vec<String> = if text.starts_with('[') {
        serde_json::from_str(text).ok()?
    } else {
        text.split(',').map(|key| key.trim().trim_matches(['"', '\'']).to_owned()).collect()
    };
    Some(keys.into_iter().map(|key| key.trim().to_owned()).filter(|key| !key.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_as_json_list_or_single() {
        for (text, expected) in [
            (r#"["sk-token1", "sk-token2"]"#, vec!["sk-token1", "sk-token2"]),
            ("sk-a, sk-b", vec!["sk-a", "sk-b"]),
            ("sk-a", vec!["sk-a"]),
            ("'sk-a','sk-b'", vec!["sk-a", "sk-b"]),
            ("[]", vec![]),
            (" , ", vec![]),
            (r#"["", "x"]"#, vec!["x"]),
        ] {
            assert_eq!(key_list(text).unwrap(), expected, "{text}");
        }
        for text in ["[sk-token1, sk-token2]", "['sk-a']", "[", r#"["sk-a""#, "[1]", "[[]]"] {
            assert_eq!(key_list(text), None, "{text}");
        }
    }
}
