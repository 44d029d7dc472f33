//! Checks API keys and the key of the administrator.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};

use super::{local, router::Access};
use crate::{
    accounts::{Account, Accounts, KeyHolder, KeyId},
    config::{ApiKey, Config, MIN_SAFE_KEY},
    error::{Error, ErrorKind, Result},
    origin::Origin,
    platform::{Headers, Request},
};

/// The digests of the accepted keys, and whose each is. Comparing digests takes the same time for every key that is sent.
#[derive(Debug)]
pub(super) struct Keys {
    known: Vec<([u8; 32], KeyHolder)>,
    /// Who sends no key, where none is needed.
    nobody: KeyHolder,
}

impl Keys {
    pub(super) fn new(keys: &[ApiKey], accounts: &Accounts) -> Self {
        let holder = |key, account| KeyHolder { key: KeyId::of(key), account };
        let known = keys.iter().filter_map(|ApiKey { key, account }| {
            let key = key.expose();
            Some((digest(key), holder(key, accounts.find(account)?)))
        });
        Self { known: known.collect(), nobody: holder("", Arc::clone(accounts.default_account())) }
    }

    /// Checks the API key of a request, and returns whose it is. `open`: the server needs no key, and all callers are one.
    pub(super) fn check(&self, headers: &Headers, open: bool) -> Result<KeyHolder> {
        if open {
            return Ok(self.nobody());
        }
        let Some(key) = sent_key(headers).filter(|_| !self.known.is_empty()) else {
            return Err(if self.known.is_empty() { no_api_keys() } else { missing_api_key() });
        };
        self.holder(&key).cloned().ok_or_else(invalid_api_key)
    }

    /// Who sends no key. The account is `default`.
    pub(super) fn nobody(&self) -> KeyHolder {
        self.nobody.clone()
    }

    /// How many keys use an account.
    pub(super) fn count(&self, account: &Account) -> usize {
        self.known.iter().filter(|(_, holder)| holder.account.name == account.name).count()
    }

    /// Whether a key uses `default`, as everybody does on a server without keys.
    pub(super) fn use_default(&self) -> bool {
        self.known.is_empty() || self.known.iter().any(|(_, holder)| holder.account.name.is_default())
    }

    /// The holders of all keys; of a server without keys, those who send none.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn holders(&self) -> impl Iterator<Item = &KeyHolder> {
        let nobody = self.known.is_empty().then_some(&self.nobody);
        self.known.iter().map(|(_, holder)| holder).chain(nobody)
    }

    fn holder(&self, key: &str) -> Option<&KeyHolder> {
        let sent = digest(key);
        // The position, counted from 1, of the one that is equal; 0 = none.
        let mut found = 0_u32;
        for (position, (known, _)) in (1_u32..).zip(&self.known) {
            found.conditional_assign(&position, known.ct_eq(&sent));
        }
        let index = usize::try_from(found.checked_sub(1)?).ok()?;
        self.known.get(index).map(|(_, holder)| holder)
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
    fn only_exact_keys_are_accepted_each_for_its_account() {
        let tokens = r#"["sk-one", {"key":"sk-two","account":"anna"}, {"key":"sk-three","account":"bert"}]"#;
        let lookup = |name: &str| (name == "VALID_TOKENS").then(|| tokens.to_owned());
        let config = Config::from_lookup(lookup, crate::config::Product::NATIVE).unwrap();
        let keys = crate::server::App::new(config).keys;
        let name = |key| keys.holder(key).map(|holder| holder.account.name.to_string());
        for (key, account) in [("sk-one", "default"), ("sk-two", "anna"), ("sk-three", "bert")] {
            assert_eq!(name(key).as_deref(), Some(account), "{key}");
        }
        for wrong in ["", "sk-", "sk-on", "sk-one ", "SK-ONE", "sk-onesk-two"] {
            assert_eq!(name(wrong), None, "{wrong}");
        }
    }
}
