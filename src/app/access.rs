//! API keys.

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use crate::{
    error::{Error, ErrorKind, Result},
    platform::Headers,
    secret::Secret,
};

/// The accepted keys, as digests: comparing those takes the same time whatever was sent.
#[derive(Debug)]
pub(super) struct Keys(Vec<[u8; 32]>);

impl Keys {
    pub(super) fn new(keys: &[Secret]) -> Self {
        Self(keys.iter().map(|key| digest(key.expose())).collect())
    }

    /// Checks the request's key; `open` = none is needed. Gives who calls: the key, or nothing where all are one.
    pub(super) fn check(&self, headers: &Headers, open: bool) -> Result<String> {
        if open {
            return Ok(String::new());
        }
        let Some(key) = sent_key(headers).filter(|_| !self.0.is_empty()) else {
            let message = if self.0.is_empty() {
                "This server has no API keys yet, so nobody may use it: set VALID_TOKENS, or ALLOW_ANONYMOUS=true."
            } else {
                "Send your API key of this server as 'Authorization: Bearer KEY' (or 'x-api-key: KEY')."
            };
            return Err(Error::new(ErrorKind::MissingApiKey, message));
        };
        if self.accepts(&key) {
            Ok(key)
        } else {
            Err(Error::new(
                ErrorKind::InvalidApiKey,
                "This API key is not one of this server's keys (VALID_TOKENS). Check it for missing or extra characters.",
            ))
        }
    }

    fn accepts(&self, key: &str) -> bool {
        let sent = digest(key);
        self.0.iter().fold(Choice::from(0), |found, known| found | known.ct_eq(&sent)).into()
    }
}

fn sent_key(headers: &Headers) -> Option<String> {
    let bearer = headers.get("authorization").and_then(|value| {
        let (scheme, key) = value.trim().split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim().to_owned())
    });
    bearer.or_else(|| headers.get("x-api-key").map(|key| key.trim().to_owned())).filter(|key| !key.is_empty())
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_keys_are_accepted() {
        let keys = Keys::new(&[Secret::new("sk-one"), Secret::new("sk-two")]);
        assert!(keys.accepts("sk-one") && keys.accepts("sk-two"));
        for wrong in ["", "sk-", "sk-on", "sk-one ", "SK-ONE", "sk-onesk-two"] {
            assert!(!keys.accepts(wrong), "{wrong}");
        }
    }
}
