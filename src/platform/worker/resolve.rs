//! Resolves names by DNS over HTTPS, because the runtime's `fetch` does not report addresses. Cloudflare's network reaches
//! public addresses only, but a self-hosted workerd may reach private ones.

use std::net::IpAddr;

use futures::{TryStreamExt as _, future};
use serde_json::Value as Json;

use super::fetch;
use crate::platform::{FetchError, FetchErrorKind, Payload, address};

/// Cloudflare's resolver, which Workers use as well. Its JSON format is its own; RFC 8484 defines the binary one.
const RESOLVER: &str = "https://cloudflare-dns.com/dns-query";
const MAX_ANSWER: usize = 64 * 1024;

/// Resolves the host of a URL and checks that all its addresses are public.
pub(super) async fn check(uri: &http::Uri, client: Option<&web_sys::AbortSignal>) -> Result<(), FetchError> {
    let url = url::Url::parse(&uri.to_string()).map_err(|_| address::forbidden())?;
    address::check_host(url.host())?;
    let Some(url::Host::Domain(name)) = url.host() else { return Ok(()) };
    let (v4, v6) = future::try_join(look_up(name, "A", client), look_up(name, "AAAA", client)).await?;
    if v4.is_empty() && v6.is_empty() {
        return Err(FetchError { kind: FetchErrorKind::Connect, detail: "the name has no address".to_owned() });
    }
    if v4.iter().chain(&v6).copied().all(address::is_public) { Ok(()) } else { Err(address::forbidden()) }
}

async fn look_up(name: &str, record: &str, client: Option<&web_sys::AbortSignal>) -> Result<Vec<IpAddr>, FetchError> {
    let failed = || FetchError { kind: FetchErrorKind::Connect, detail: "the name could not be resolved".to_owned() };
    let request = http::Request::get(format!("{RESOLVER}?name={name}&type={record}"))
        .header("accept", "application/dns-json")
        .body(Payload::default())
        .map_err(|_| failed())?;
    let mut chunks = fetch::fetch(request, client).await.map_err(|_| failed())?.into_body();
    let mut answer = Vec::new();
    while let Some(chunk) = chunks.try_next().await? {
        if answer.len().saturating_add(chunk.len()) > MAX_ANSWER {
            return Err(failed());
        }
        answer.extend_from_slice(&chunk);
    }
    addresses(&answer).ok_or_else(failed)
}

/// Returns the addresses of an answer without its CNAME records.
fn addresses(answer: &[u8]) -> Option<Vec<IpAddr>> {
    let answer: Json = serde_json::from_slice(answer).ok()?;
    answer.get("Status")?;
    let records = answer.get("Answer").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    Some(records.iter().filter_map(|record| record.get("data")?.as_str()?.parse().ok()).collect())
}
