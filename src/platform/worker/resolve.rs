//! Names, looked up by DNS over HTTPS: the runtime's `fetch` tells no addresses. Cloudflare's own network leads to public
//! addresses only; a workerd of one's own need not.

use std::net::IpAddr;

use futures::{TryStreamExt as _, future};
use serde_json::Value as Json;

use super::fetch;
use crate::platform::{FetchError, FetchErrorKind, Payload, address};

/// The resolver that Cloudflare runs for its Workers too (RFC 8484; the JSON form is its own).
const RESOLVER: &str = "https://cloudflare-dns.com/dns-query";
const MAX_ANSWER: usize = 64 * 1024;

/// Checks that the host of an address is a public one, after looking it up.
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
    let odd = || FetchError { kind: FetchErrorKind::Connect, detail: "the name could not be looked up".to_owned() };
    let request = http::Request::get(format!("{RESOLVER}?name={name}&type={record}"))
        .header("accept", "application/dns-json")
        .body(Payload::default())
        .map_err(|_| odd())?;
    let mut pieces = fetch::fetch(request, client).await.map_err(|_| odd())?.into_body();
    let mut whole = Vec::new();
    while let Some(piece) = pieces.try_next().await? {
        if whole.len().saturating_add(piece.len()) > MAX_ANSWER {
            return Err(odd());
        }
        whole.extend_from_slice(&piece);
    }
    addresses(&whole).ok_or_else(odd)
}

/// The addresses of an answer; names that it goes by on the way (CNAME) are left out.
fn addresses(answer: &[u8]) -> Option<Vec<IpAddr>> {
    let answer: Json = serde_json::from_slice(answer).ok()?;
    answer.get("Status")?;
    let records = answer.get("Answer").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    Some(records.iter().filter_map(|record| record.get("data")?.as_str()?.parse().ok()).collect())
}
