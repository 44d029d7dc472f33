//! Checks API keys and the key of the administrator.

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use super::{local, router::Access};
use crate::{
    accounts::KeyId,
    config::{Config, MIN_SAFE_KEY},
    error::{Error, ErrorKind, Result},
    origin::Origin,
    platform::{Headers, Request},
    secret::Secret,
};

/// The digests of the accepted keys. Comparing digests takes the same time for every key that is sent.
#[derive(Debug)]
pub(super) struct Keys(Vec<[u8; 32]>);

impl Keys {
    pub(super) fn new(keys: &[Secret]) -> Self {
        Self(keys.iter().map(|key| digest(key.expose())).collect())
    }

    /// Checks the API key of a request, and returns its id. `open`: the server needs no key, and all callers share one id.
    pub(super) fn check(&self, headers: &Headers, open: bool) -> Result<KeyId> {
        if open {
            return Ok(KeyId::of(""));
        }
        let Some(key) = sent_key(headers).filter(|_| !self.0.is_empty()) else {
            return Err(if self.0.is_empty() { no_api_keys() } else { missing_api_key() });
        };
        if self.accepts(&key) { Ok(KeyId::of(&key)) } else { Err(invalid_api_key()) }
    }

    fn accepts(&self, key: &str) -> bool {
        let sent = digest(key);
        self.0.iter().fold(Choice::from(0), |found, known| found | known.ct_eq(&sent)).into()
    }
}

/// Checks that the request is from an administrator.
///
/// The administrator sends `ADMIN_TOKEN`. On a guarded server without `ADMIN_TOKEN`, programs of this machine may administer.
pub(super) fn check_admin(config: &Config, request: &Request) -> Result<()> {
    let Some(admin) = &config.admin_token else {
        if local::is_guarded(config, Access::Admin) {
            return Ok(());
        }
        return Err(no_admin_token());
    };
    // The Worker has no address to listen on. The requested host says where it is reachable.
    let is_local = || request.authority.as_deref().and_then(Origin::from_host).is_some_and(|own| own.is_loopback());
    if config.product.is_public && config.admin_token_is_short() && !is_local() {
        let message = format!(
            "This server's ADMIN_TOKEN has fewer than {MIN_SAFE_KEY} characters and could be guessed, so nobody may administer it here. Set a longer one: openssl rand -hex 24."
        );
        return Err(Error::new(ErrorKind::AdminDisabled, message));
    }
    let headers = &request.headers;
    let Some(key) = sent_key(headers) else {
        return Err(Error::new(
            ErrorKind::MissingApiKey,
            "Send the administrator's key (ADMIN_TOKEN) as 'Authorization: Bearer …'.",
        ));
    };
    if digest(admin.expose()).ct_eq(&digest(&key)).into() {
        Ok(())
    } else {
        Err(Error::new(
            ErrorKind::InvalidApiKey,
            "This is not the administrator's key (ADMIN_TOKEN). An ordinary API key does not open this route.",
        ))
    }
}

fn no_api_keys() -> Error {
    Error::new(
        ErrorKind::MissingApiKey,
        "This server has no API keys yet, so nobody may use it: set VALID_TOKENS, or ALLOW_ANONYMOUS=true.",
    )
}

pub(super) fn missing_api_key() -> Error {
    Error::new(
        ErrorKind::MissingApiKey,
        "Send your API key of this server as 'Authorization: Bearer KEY' (or 'x-api-key: KEY').",
    )
}

pub(super) fn invalid_api_key() -> Error {
    Error::new(
        ErrorKind::InvalidApiKey,
        "This API key is not one of this server's keys (VALID_TOKENS). Check it for missing or extra characters.",
    )
}

pub(super) fn no_admin_token() -> Error {
    Error::new(
        ErrorKind::AdminDisabled,
        "This server has no ADMIN_TOKEN, so nobody may administer it. Set ADMIN_TOKEN and send it as 'Authorization: Bearer …'.",
    )
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
    fn only_exact_keys_are_accepted() {
        let keys = Keys::new(&[Secret::new("sk-one"), Secret::new("sk-two")]);
        assert!(keys.accepts("sk-one") && keys.accepts("sk-two"));
        for wrong in ["", "sk-", "sk-on", "sk-one ", "SK-ONE", "sk-onesk-two"] {
            assert!(!keys.accepts(wrong), "{wrong}");
        }
    }
}
