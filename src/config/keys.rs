//! The keys of this server: who may use it, with which account, who may administer it, and what encrypts the session.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    account_name::AccountName,
    lookup::{ConfigError, Lookup, check_header_value, invalid},
};
use crate::secret::Secret;

/// A shorter key can be guessed. In characters.
pub const MIN_SAFE_KEY: usize = 16;
/// The most accounts that a server has.
pub const MAX_ACCOUNTS: usize = 1000;

/// An API key of this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// The key itself.
    pub key: Secret,
    /// The account that it uses.
    pub account: AccountName,
}

pub(super) struct Keys {
    pub(super) valid_tokens: Vec<ApiKey>,
    pub(super) admin_token: Option<Secret>,
    pub(super) session_key: Option<Secret>,
}

impl Keys {
    pub(super) fn read<F: Fn(&str) -> Option<String>>(env: &Lookup<F>) -> Result<Self, ConfigError> {
        let session_key = session_key(env)?;
        let valid_tokens = valid_tokens(env)?;
        let admin_token = env.secret("ADMIN_TOKEN")?;
        if admin_token.as_ref().is_some_and(|admin| valid_tokens.iter().any(|valid| valid.key == *admin)) {
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

fn valid_tokens<F: Fn(&str) -> Option<String>>(env: &Lookup<F>) -> Result<Vec<ApiKey>, ConfigError> {
    let Some(text) = env.text("VALID_TOKENS") else { return Ok(Vec::new()) };
    let wrong = |problem: String| invalid("VALID_TOKENS", problem);
    let mut keys: Vec<ApiKey> = Vec::new();
    for key in key_list(&text).map_err(wrong)? {
        check_header_value("VALID_TOKENS", key.key.expose())?;
        match keys.iter().find(|known| known.key == key.key) {
            None => keys.push(key),
            Some(known) if known.account == key.account => {}
            Some(known) => {
                let (one, other) = (&known.account, &key.account);
                let problem = format!("binds one key to two accounts, '{one}' and '{other}': a key uses one account");
                return Err(wrong(problem));
            }
        }
    }
    // Whoever sets the variable does not want a server without keys.
    if keys.is_empty() {
        return Err(wrong("holds no key: name one, or leave it unset".to_owned()));
    }
    let names: BTreeSet<&AccountName> = keys.iter().map(|key| &key.account).collect();
    if names.len() > MAX_ACCOUNTS {
        return Err(wrong(format!("names more than {MAX_ACCOUNTS} accounts")));
    }
    Ok(keys)
}

/// A key with its account, as an object in the JSON array.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    key: String,
    #[serde(default)]
    account: Option<String>,
}

/// Reads a JSON array, a comma list or a single key.
///
/// # Errors
/// What is wrong with the text. It never contains a part of the text: any part may be a key.
fn key_list(text: &str) -> Result<Vec<ApiKey>, String> {
    let of_default = |key: &str| ApiKey { key: Secret::new(key), account: AccountName::default() };
    if !text.starts_with(['[', '{']) {
        let keys = text.split(',').map(|key| key.trim().trim_matches(['"', '\'']).trim());
        return Ok(keys.filter(|key| !key.is_empty()).map(of_default).collect());
    }
    let hint = r#"must be a comma list of keys, or a JSON array of texts and objects such as ["sk-one",{"key":"sk-two","account":"anna"}]"#;
    let entries: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| hint.to_owned())?;
    let mut keys = Vec::new();
    for (number, entry) in (1_u32..).zip(entries) {
        if let Ok(key) = serde_json::from_str::<String>(entry.get()) {
            keys.extend(Some(key.trim()).filter(|key| !key.is_empty()).map(of_default));
            continue;
        }
        if !entry.get().starts_with('{') {
            return Err(hint.to_owned());
        }
        let wrong = || {
            format!(
                "holds an object (entry {number}) that is not of the form {{\"key\":\"sk-…\",\"account\":\"anna\"}}: it has the text 'key', may have the text 'account', and nothing else"
            )
        };
        let Entry { key, account } = serde_json::from_str(entry.get()).map_err(|_| wrong())?;
        let key = key.trim();
        if key.is_empty() {
            return Err(format!("holds an object (entry {number}) whose 'key' is empty"));
        }
        let account = account.map_or_else(|| Some(AccountName::default()), |name| AccountName::parse(&name));
        let rule = || format!("holds an object (entry {number}) whose 'account' is no name: {}", AccountName::RULE);
        keys.push(ApiKey { key: Secret::new(key), account: account.ok_or_else(rule)? });
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String)>, String> {
        let lookup = Lookup(|name: &str| (name == "VALID_TOKENS").then(|| text.to_owned()));
        let keys = valid_tokens(&lookup).map_err(|error| error.to_string())?;
        Ok(keys.into_iter().map(|key| (key.key.expose().to_owned(), key.account.to_string())).collect())
    }

    #[test]
    fn keys_come_as_json_list_or_single() {
        for (text, expected) in [
            (r#"["sk-token1", "sk-token2"]"#, "sk-token1 default, sk-token2 default"),
            ("sk-a, sk-b", "sk-a default, sk-b default"),
            ("sk-a", "sk-a default"),
            ("'sk-a','sk-b'", "sk-a default, sk-b default"),
            (r#"["", "x"]"#, "x default"),
            (r#"["x", " x "]"#, "x default"),
            (r#"[{"key":"sk-a","account":"anna"}, "sk-b"]"#, "sk-a anna, sk-b default"),
            (r#"[{"account":"b-2_","key":" sk-a "}]"#, "sk-a b-2_"),
            (r#"[{"key":"sk-a"}, {"key":"sk-b","account":null}]"#, "sk-a default, sk-b default"),
            (r#"[{"key":"sk-a","account":"default"}, "sk-a"]"#, "sk-a default"),
            (r#"[{"key":"sk-a","account":"anna"}, {"key":"sk-a","account":"anna"}]"#, "sk-a anna"),
            (r#"[{"key":"sk-a","account":"anna"}, {"key":"sk-b","account":"anna"}]"#, "sk-a anna, sk-b anna"),
        ] {
            let keys = read(text).unwrap().into_iter().map(|(key, account)| format!("{key} {account}"));
            assert_eq!(keys.collect::<Vec<_>>().join(", "), expected, "{text}");
        }
    }

    #[test]
    fn wrong_lists_are_refused_without_showing_a_key() {
        for (text, problem) in [
            ("[sk-secret1, sk-secret2]", "must be a comma list"),
            ("['sk-secret']", "must be a comma list"),
            ("[", "must be a comma list"),
            (r#"["sk-secret""#, "must be a comma list"),
            (r#"{"key":"sk-secret","account":"anna"}"#, "must be a comma list"),
            ("[1]", "must be a comma list"),
            ("[[]]", "must be a comma list"),
            ("[null]", "must be a comma list"),
            (r#"["sk-secret", true]"#, "must be a comma list"),
            ("[]", "holds no key"),
            (" , ", "holds no key"),
            (r#"[""]"#, "holds no key"),
            (r#"["a", {"key":"sk-secret","acount":"anna"}]"#, "entry 2"),
            (r#"[{"sk-secret":"anna"}]"#, "entry 1"),
            (r#"[{"account":"anna"}]"#, "has the text 'key'"),
            (r#"[{"key":7,"account":"anna"}]"#, "has the text 'key'"),
            (r#"[{"key":"sk-secret","account":7}]"#, "has the text 'key'"),
            (r#"[{"key":"sk-secret","account":["anna"]}]"#, "has the text 'key'"),
            (r#"[{"key":"sk-secret","key":"sk-secret2"}]"#, "has the text 'key'"),
            (r#"[{"key":" ","account":"anna"}]"#, "is empty"),
            (r#"[{"key":"sk-secret","account":"Anna"}]"#, "is no name"),
            (r#"[{"key":"sk-secret","account":""}]"#, "is no name"),
            (r#"[{"key":"anna","account":"sk-secret."}]"#, "is no name"),
            (r#"[{"key":"sk-secret","account":"anna"},{"key":"sk-secret","account":"bert"}]"#, "two accounts"),
            (r#"[{"key":"sk-secret","account":"anna"},"sk-secret"]"#, "'anna' and 'default'"),
            (r#"["sk-secret\n"]"#, ""),
            (r#"[{"key":"sk-se\ncret"}]"#, "cannot stand in an HTTP header"),
        ] {
            match read(text) {
                Err(error) => {
                    assert!(error.starts_with("VALID_TOKENS: ") && error.contains(problem), "{text}: {error}");
                    assert!(!error.contains("secret"), "{text}: {error}");
                }
                Ok(keys) => assert_eq!((problem, keys.len()), ("", 1), "{text}"),
            }
        }
    }

    #[test]
    fn the_key_of_the_administrator_is_no_key_with_an_account_either() {
        let lookup = |name: &str| match name {
            "VALID_TOKENS" => Some(r#"[{"key":"sk-same","account":"anna"}]"#.to_owned()),
            "ADMIN_TOKEN" => Some("sk-same".to_owned()),
            _ => None,
        };
        let error = Keys::read(&Lookup(lookup)).err().unwrap();
        assert_eq!(error.name, "ADMIN_TOKEN");
    }
}
