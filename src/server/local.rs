//! Guards a server without keys: it serves the programs of its own machine, and the web pages in `ALLOWED_ORIGINS`.
//!
//! Any page in a browser of this machine can send requests to this server, under its own origin or, by DNS rebinding, under
//! this server's. A proxy or tunnel lets the whole network do so. Browsers and proxies add headers that programs of this
//! machine do not send.

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
    /// Every page: the route is open, or a page needs a key to use it.
    Everybody,
    /// This page.
    Page(Origin),
    /// No page.
    Nobody,
}

/// Headers that proxies add to a request, in addition to all `x-forwarded-…`.
const FORWARDED: &[&str] = &["forwarded", "via", "cf-connecting-ip", "x-real-ip"];
/// How many characters of a client's header an error message shows.
const MAX_SHOWN_CHARS: usize = 100;

/// Whether routes of this access serve this machine only.
pub(super) fn is_guarded(config: &Config, access: Access) -> bool {
    let without_keys = !config.product.is_public && config.valid_tokens.is_empty();
    match access {
        Access::Open => false,
        Access::Keyed | Access::StsToken => without_keys && !config.allow_anonymous,
        Access::Admin => without_keys && config.admin_token.is_none() && config.host.is_loopback(),
    }
}

/// Checks that a request for a guarded route comes from this machine or from a listed page. Does not read the body.
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
    // The browser marks requests of a listed page as cross-site, too.
    let is_listed = page.as_ref().is_some_and(|(_, is_listed)| *is_listed);
    let is_same_site = |site: &String| matches!(site.as_str(), "same-origin" | "same-site" | "none");
    if !is_listed && !headers.all("sec-fetch-site").iter().all(is_same_site) {
        return Err(refused("of a page of another site"));
    }
    let passed_on = |name: &String| name.starts_with("x-forwarded-") || FORWARDED.contains(&name.as_str());
    if let Some(name) = headers.names().into_iter().find(passed_on) {
        return Err(refused(&format!("that a proxy has passed on ('{}')", short(&name))));
    }
    Ok(page.map_or(Readers::Nobody, |(origin, _)| Readers::Page(origin)))
}

fn short(text: &str) -> String {
    text.chars().take(MAX_SHOWN_CHARS).collect()
}

fn refused(which: &str) -> Error {
    let message = format!(
        "This server has no API keys, so it is for this machine's own programs, and takes no request {which}. Set VALID_TOKENS and send one of them as the API key, or list the pages and hosts that may use it in ALLOWED_ORIGINS."
    );
    Error::new(ErrorKind::OriginNotAllowed, message)
}
