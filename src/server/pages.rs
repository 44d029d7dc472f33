//! The web pages: the console, the API documentation, and their assets.

use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, VARY},
};

use crate::platform::{Asset, Body, Headers, Platform};

pub(super) const CONSOLE: &str = "/index.html";
pub(super) const DOCS: &str = "/docs.html";
pub(super) const DOCUMENT: &str = "/openapi.json";

/// Security headers of the pages. Nothing is loaded from other servers, and only this server's scripts run.
const SECURITY_HEADERS: [(&str, &str); 3] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
];

/// Returns a file of `web/`, if it exists.
pub(super) async fn page(platform: &impl Platform, headers: &Headers, path: &str) -> Option<Response<Body>> {
    let accepts_gzip = headers.get("accept-encoding").is_some_and(|accepted| accepts_gzip(&accepted));
    let Asset { content_type, etag, is_gzip, body } = platform.asset(path, accepts_gzip).await?;
    let known = headers
        .get("if-none-match")
        .is_some_and(|known| etag.as_deref().is_some_and(|etag| contains_etag(&known, etag)));
    let mut answer = Response::new(if known { Body::empty() } else { body });
    if known {
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let fields = answer.headers_mut();
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    fields.insert(VARY, HeaderValue::from_static("accept-encoding, accept"));
    for (name, value) in SECURITY_HEADERS {
        fields.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    for (name, value) in [(CONTENT_TYPE, Some(content_type)), (ETAG, etag)] {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            fields.insert(name, value);
        }
    }
    if is_gzip && !known {
        fields.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Some(answer)
}

fn accepts_gzip(accepted: &str) -> bool {
    accepted.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_gzip = parts.next().is_some_and(|coding| coding.eq_ignore_ascii_case("gzip"));
        is_gzip
            && parts.all(|part| !matches!(part.to_ascii_lowercase().as_str(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

/// Whether a list of entity tags contains `etag`. Compares weakly: <https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2>
fn contains_etag(known: &str, etag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    known.split(',').any(|tag| tag.trim() == "*" || opaque(tag) == opaque(etag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_only_if_it_is_accepted() {
        for (accepted, expected) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0, br", false),
            ("br", false),
            ("", false),
            ("identity, xgzip", false),
        ] {
            assert_eq!(accepts_gzip(accepted), expected, "{accepted}");
        }
    }

    #[test]
    fn an_etag_is_found_in_a_list() {
        for (known, expected) in
            [("\"a\"", true), ("W/\"a\"", true), ("\"b\", \"a\"", true), ("*", true), ("\"b\"", false)]
        {
            assert_eq!(contains_etag(known, "\"a\""), expected, "{known}");
        }
    }
}
