//! A server without keys is for this machine's own programs, and for the web pages that its owner lists.
//!
//! Any page in a browser of this machine can send requests here, under its own name or, by tricks with DNS, under this
//! server's, and any proxy or tunnel lets the whole network do so. Browsers and proxies tell of themselves, which programs
//! of this machine do not.

use super::router::Access;
use crate::{
    config::Config,
    error::{Error, ErrorKind, Result},
    origin::Origin,
    platform::Request,
};

/// Which pages of other origins may read an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Readers {
    /// All: what they must know for it is a key, or nothing.
    Everybody,
    /// This one.
    Page(Origin),
    /// None.
    Nobody,
}

/// What proxies add to a request, beside all `x-forwarded-…`.
const FORWARDED: &[&str] = &["forwarded", "via", "cf-connecting-ip", "x-real-ip"];
/// How much of a client's own words goes into the message, in characters.
const MAX_WORDS: usize = 100;

/// Whether routes of this access are for this machine alone.
pub(super) fn is_guarded(config: &Config, access: Access) -> bool {
    let without_keys = !config.product.is_public && config.valid_tokens.is_empty();
    match access {
        Access::Open => false,
        Access::Keyed | Access::StsToken => without_keys && !config.allow_anonymous,
        Access::Admin => without_keys && config.admin_token.is_none() && config.host.is_loopback(),
    }
}

/// Checks that a request for a guarded route comes from this machine itself or from a listed page. Reads no body.
///
/// # Errors
/// `origin_not_allowed`
pub(super) fn admit(config: &Config, request: &Request) -> Result<Readers> {
    let headers = &request.headers;
    let hosts: Vec<String> = request.authority.iter().cloned().chain(headers.all("host")).collect();
    let Some(first) = hosts.first() else { return Err(refused("that names no host")) };
    let own = Origin::from_host(first);
    for host in &hosts {
        let is_own = Origin::from_host(host).is_some_and(|asked| {
            asked.is_loopback() || config.allowed_origins.iter().any(|listed| listed.host() == asked.host())
        });
        if !is_own {
            return Err(refused(&format!("for the host '{}'", short(host))));
        }
    }
    let mut page = None;
    for text in headers.all("origin") {
        let origin = Origin::from_header(&text);
        let is_listed = origin.as_ref().is_some_and(|origin| config.allowed_origins.contains(origin));
        match origin.filter(|_| page.is_none()) {
            Some(origin) if is_listed || own.as_ref() == Some(&origin) => page = Some((origin, is_listed)),
            _ => return Err(refused(&format!("of a page from '{}'", short(&text)))),
        }
    }
    // The browser says of a listed page, too, that it is of another site.
    let is_listed = page.as_ref().is_some_and(|(_, is_listed)| *is_listed);
    let is_near = |site: &String| matches!(site.as_str(), "same-origin" | "same-site" | "none");
    if !is_listed && !headers.all("sec-fetch-site").iter().all(is_near) {
        return Err(refused("of a page of another site"));
    }
    let passed_on = |name: &String| name.starts_with("x-forwarded-") || FORWARDED.contains(&name.as_str());
    if let Some(name) = headers.names().into_iter().find(passed_on) {
        return Err(refused(&format!("that a proxy has passed on ('{}')", short(&name))));
    }
    Ok(page.map_or(Readers::Nobody, |(origin, _)| Readers::Page(origin)))
}

fn short(words: &str) -> String {
    words.chars().take(MAX_WORDS).collect()
}

fn refused(which: &str) -> Error {
    let message = format!(
        "This server has no API keys, so it is for this machine's own programs, and takes no request {which}. Set VALID_TOKENS and send one of them as the API key, or list the pages and hosts that may use it in ALLOWED_ORIGINS."
    );
    Error::new(ErrorKind::OriginNotAllowed, message)
}
