//! Answers: JSON, errors, and the headers that each has.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS},
};
use serde::Serialize;

use super::local::Readers;
use crate::{
    api::openai::{error_body, wire_form},
    error::{Error, ErrorKind},
    platform::{self, Body, Headers, Platform},
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const CONVERSATION_ID: HeaderName = HeaderName::from_static("x-conversation-id");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const EXPOSED: &str = "x-request-id, x-conversation-id, retry-after, x-should-retry";
/// The longest `Retry-After` that SDKs wait for; after a longer one they ask again at once.
const LONGEST_SDK_WAIT: Duration = Duration::from_secs(60);
/// A browser may keep a preflight's answer for a day.
const PREFLIGHT_SECONDS: &str = "86400";

fn answer(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

pub(super) fn json(status: StatusCode, json: &impl Serialize) -> Response<Body> {
    // Our own objects have texts as keys, and nothing else could fail.
    json_text(status, serde_json::to_string(json).unwrap_or_default())
}

pub(super) fn json_text(status: StatusCode, json: String) -> Response<Body> {
    json_bytes(status, json.into())
}

pub(super) fn json_bytes(status: StatusCode, json: Bytes) -> Response<Body> {
    answer(status, "application/json", Body::Full(json))
}

pub(super) fn metrics(text: String) -> Response<Body> {
    answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", Body::Full(text.into()))
}

/// `no-transform`: a proxy or the edge that compresses the stream would deliver it in lumps. The charset is for clients that take
/// Latin-1 otherwise, as Python's `requests` does.
pub(super) fn event_stream(body: Body) -> Response<Body> {
    let mut answer = answer(StatusCode::OK, "text/event-stream; charset=utf-8", body);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    answer.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    answer
}

pub(super) fn error(error: &Error) -> Response<Body> {
    let status = StatusCode::from_u16(wire_form(error.kind()).status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = json_text(status, error_body(error));
    let headers = answer.headers_mut();
    if error.kind() == ErrorKind::MissingApiKey {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if error.needs_a_person() || error.retry_after().is_some_and(|wait| wait > LONGEST_SDK_WAIT) {
        headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    }
    if let Some(wait) = error.retry_after() {
        headers.insert(RETRY_AFTER, wait.as_secs().max(1).into());
    }
    answer
}

pub(super) fn preflight(requested_headers: Option<&str>) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let headers = answer.headers_mut();
    let allowed = requested_headers
        .and_then(|names| HeaderValue::from_str(names).ok())
        .unwrap_or_else(|| HeaderValue::from_static("authorization, content-type, x-api-key"));
    headers.insert("access-control-allow-headers", allowed);
    headers.insert("access-control-allow-methods", HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE, OPTIONS"));
    headers.insert("access-control-max-age", HeaderValue::from_static(PREFLIGHT_SECONDS));
    headers.insert(VARY, HeaderValue::from_static("access-control-request-headers"));
    answer
}

/// Names the conversation that an answer belongs to.
pub(super) fn with_conversation(mut answer: Response<Body>, id: &str) -> Response<Body> {
    if let Ok(id) = HeaderValue::from_str(id) {
        answer.headers_mut().insert(CONVERSATION_ID, id);
    }
    answer
}

/// Adds what every answer has. What does not say otherwise is for nobody but this client: answers hold titles of chats and
/// signed links, and a shared cache would not know that `x-api-key` is a credential.
pub(super) fn common_headers(headers: &mut HeaderMap, request_id: &str, readers: &Readers) {
    let allowed = match readers {
        Readers::Everybody => Some(HeaderValue::from_static("*")),
        Readers::Page(origin) => HeaderValue::from_str(origin.as_str()).ok(),
        Readers::Nobody => None,
    };
    if *readers != Readers::Everybody {
        headers.append(VARY, HeaderValue::from_static("origin"));
    }
    if let Some(allowed) = allowed {
        headers.insert("access-control-allow-origin", allowed);
        headers.insert("access-control-expose-headers", HeaderValue::from_static(EXPOSED));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, id);
    }
}

/// The client's request id if it is a sane one, else a new one.
pub(super) fn request_id(headers: &Headers, platform: &impl Platform) -> String {
    let sane = |id: &String| {
        (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
    };
    headers.get("x-request-id").filter(sane).unwrap_or_else(|| new_id("req_", platform))
}

/// A new id, which nobody else has; whoever guesses it gains nothing.
pub(super) fn new_id(prefix: &str, platform: &impl Platform) -> String {
    format!("{prefix}{}", uuid::Builder::from_random_bytes(platform::unique(platform)).into_uuid().simple())
}
