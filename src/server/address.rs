//! This server's own address, for the links that it hands out.

use std::sync::Arc;

use url::Url;

use crate::{
    config::Config,
    platform::{Headers, Request},
};

/// The longest host name with a port.
const MAX_HOST: usize = 300;

/// Returns the address under which the sender of this request reaches this server, without a slash at the end: `PUBLIC_URL`, or
/// what the request says.
pub(super) fn base(config: &Config, request: &Request) -> Arc<str> {
    base_of(config, &request.headers, request.authority.as_deref())
}

fn base_of(config: &Config, headers: &Headers, authority: Option<&str>) -> Arc<str> {
    if let Some(url) = &config.public_url {
        return url.as_str().into();
    }
    let forwarded = headers.get("x-forwarded-proto");
    let host = authority.map(str::to_owned).or_else(|| headers.get("host"));
    address(config.product.is_public, forwarded.as_deref(), host.as_deref())
        .unwrap_or_else(|| format!("http://localhost:{}", config.port))
        .into()
}

fn address(is_public: bool, forwarded: Option<&str>, host: Option<&str>) -> Option<String> {
    let host = host.map(str::trim).filter(|host| !host.is_empty() && host.len() <= MAX_HOST)?;
    // The first is the client's, where several proxies have added theirs.
    let forwarded = forwarded.and_then(|list| list.split(',').next()).map(|scheme| scheme.trim().to_ascii_lowercase());
    let scheme = match forwarded.as_deref() {
        Some("https") => "https",
        Some("http") => "http",
        _ if is_public && !is_local(host) => "https",
        _ => "http",
    };
    let url = Url::parse(&format!("{scheme}://{host}")).ok()?;
    let is_plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    (is_plain && url.host().is_some()).then(|| url.as_str().trim_end_matches('/').to_owned())
}

/// Whether a host is this machine, as for a Worker under `wrangler dev`.
fn is_local(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || name.starts_with("127.") || name == "[::1]"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_that_of_the_request() {
        for (is_public, forwarded, host, expected) in [
            (false, None, Some("127.0.0.1:8000"), Some("http://127.0.0.1:8000")),
            (false, None, Some("[::1]:8000"), Some("http://[::1]:8000")),
            (false, Some("https"), Some("ai.example.org"), Some("https://ai.example.org")),
            (false, Some("HTTPS, http"), Some("ai.example.org"), Some("https://ai.example.org")),
            (false, Some("ftp"), Some("ai.example.org:81"), Some("http://ai.example.org:81")),
            (true, None, Some("edge.example.workers.dev"), Some("https://edge.example.workers.dev")),
            (true, None, Some("127.0.0.1:8787"), Some("http://127.0.0.1:8787")),
            (true, Some("http"), Some("edge.example"), Some("http://edge.example")),
            (false, None, None, None),
            (false, None, Some(""), None),
            (false, None, Some("a/b"), None),
            (false, None, Some("a?b"), None),
            (false, None, Some("user@a"), None),
            (false, None, Some("a b"), None),
            (false, None, Some("a)](x"), None),
        ] {
            assert_eq!(address(is_public, forwarded, host).as_deref(), expected, "{forwarded:?} {host:?}");
        }
    }
}
