//! Builds responses: JSON, errors, and the headers that all responses have.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS},
};
use serde::Serialize;

use super::local::Readers;
use crate::{
    api::{Dialect, ErrorReply},
    error::{Error, ErrorKind},
    platform::{self, Body, Headers, Platform},
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The same for clients of Messages.
const MESSAGES_REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
/// The upstream that answers or refuses.
const UPSTREAM: HeaderName = HeaderName::from_static("x-upstream");
const CONVERSATION_ID: HeaderName = HeaderName::from_static("x-conversation-id");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const EXPOSED: &str = "x-request-id, request-id, x-conversation-id, x-upstream, x-images, retry-after, x-should-retry, openai-poll-after-ms";
/// The longest `Retry-After` that SDKs respect. After a longer one they retry at once.
const MAX_SDK_WAIT: Duration = Duration::from_secs(60);
/// How long a browser may cache the response to a preflight: a day.
const PREFLIGHT_SECONDS: &str = "86400";

fn answer(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

pub(super) fn json(status: StatusCode, json: &impl Serialize) -> Response<Body> {
    match serde_json::to_string(json) {
        Ok(text) => json_text(status, text),
        Err(problem) => unserializable(&problem),
    }
}

/// The response in place of one that cannot be serialized.
fn unserializable(problem: &serde_json::Error) -> Response<Body> {
    tracing::error!(%problem, "a response cannot be serialized");
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}

pub(super) fn json_text(status: StatusCode, json: String) -> Response<Body> {
    json_bytes(status, json.into())
}

pub(super) fn json_bytes(status: StatusCode, json: Bytes) -> Response<Body> {
    answer(status, "application/json", Body::Full(json))
}

/// Returns JSON that is made while it is sent.
pub(super) fn json_stream(body: platform::ByteStream) -> Response<Body> {
    answer(StatusCode::OK, "application/json", Body::Stream(body))
}

pub(super) fn metrics(text: String) -> Response<Body> {
    answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", Body::Full(text.into()))
}

/// Returns a stream of server-sent events.
///
/// `no-transform` keeps proxies from compressing the stream, which would delay its events. The charset is for clients that
/// assume Latin-1 without one, such as Python's `requests`.
pub(super) fn event_stream(body: Body) -> Response<Body> {
    let mut answer = answer(StatusCode::OK, "text/event-stream; charset=utf-8", body);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    answer.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    answer
}

/// Returns an error as clients of this dialect expect it.
pub(super) fn error(dialect: Dialect, error: &Error, request_id: &str) -> Response<Body> {
    let ErrorReply { status, body } = dialect.error(error, request_id);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = json_text(status, body);
    let headers = answer.headers_mut();
    if let Some(upstream) = error.upstream() {
        headers.insert(UPSTREAM, HeaderValue::from_static(upstream));
    }
    if error.kind() == ErrorKind::MissingApiKey {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if error.is_final() || error.needs_a_person() || error.retry_after().is_some_and(|wait| wait > MAX_SDK_WAIT) {
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

/// Adds the upstream that answers to a response.
pub(super) fn with_upstream(mut answer: Response<Body>, name: &'static str) -> Response<Body> {
    answer.headers_mut().insert(UPSTREAM, HeaderValue::from_static(name));
    answer
}

/// Adds the id of the conversation to a response.
pub(super) fn with_conversation(mut answer: Response<Body>, id: &str) -> Response<Body> {
    if let Ok(id) = HeaderValue::from_str(id) {
        answer.headers_mut().insert(CONVERSATION_ID, id);
    }
    answer
}

/// Adds the headers that all responses have.
///
/// A response without a `Cache-Control` of its own may not be cached. Responses contain titles of chats and signed links, and
/// a shared cache does not know that `x-api-key` is a credential.
pub(super) fn common_headers(headers: &mut HeaderMap, dialect: Dialect, request_id: &str, readers: &Readers) {
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
        if dialect == Dialect::Messages {
            headers.insert(MESSAGES_REQUEST_ID, id.clone());
        }
        headers.insert(REQUEST_ID, id);
    }
}

/// Returns the client's request id if it is valid, else a new one.
pub(super) fn request_id(headers: &Headers, platform: &impl Platform) -> String {
    let is_valid = |id: &String| {
        (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
    };
    headers.get("x-request-id").filter(is_valid).unwrap_or_else(|| new_id("req_", platform))
}

/// Returns a new unique id. It is not a secret.
pub(super) fn new_id(prefix: &str, platform: &impl Platform) -> String {
    format!("{prefix}{}", uuid::Builder::from_random_bytes(platform::unique(platform)).into_uuid().simple())
}
