//! The error object.

use bytes::BytesMut;
use serde::Serialize;

use crate::{
    error::{Error, ErrorKind},
    json::write_line,
};

/// How an error looks on the wire, beside its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireForm {
    /// The HTTP status.
    pub status: u16,
    /// `error.type`.
    pub kind: &'static str,
}

/// Status and `type` of each kind in this dialect. The only place that decides them.
#[must_use]
pub const fn wire_form(kind: ErrorKind) -> WireForm {
    let (status, kind) = match kind {
        ErrorKind::Configuration => (500, "api_error"),
        ErrorKind::StoreFailed => (503, "overloaded_error"),
        ErrorKind::MissingApiKey => (401, "authentication_error"),
        ErrorKind::InvalidApiKey => (403, "permission_error"),
        ErrorKind::AdminDisabled => (403, "permission_error"),
        ErrorKind::OriginNotAllowed => (403, "permission_error"),
        ErrorKind::NotFound | ErrorKind::UnsupportedEndpoint => (404, "not_found_error"),
        ErrorKind::PreviousResponseNotFound => (404, "not_found_error"),
        ErrorKind::MethodNotAllowed => (405, "invalid_request_error"),
        ErrorKind::InvalidJson => (400, "invalid_request_error"),
        ErrorKind::InvalidRequest => (400, "invalid_request_error"),
        ErrorKind::RequestTooLarge => (413, "request_too_large"),
        ErrorKind::UnsupportedEncoding => (415, "invalid_request_error"),
        ErrorKind::UnsupportedFileType => (400, "invalid_request_error"),
        ErrorKind::SessionMissing => (401, "authentication_error"),
        ErrorKind::SessionExpired => (401, "authentication_error"),
        ErrorKind::Challenge => (403, "permission_error"),
        ErrorKind::QuotaExceeded => (429, "rate_limit_error"),
        ErrorKind::RateLimited => (429, "rate_limit_error"),
        ErrorKind::Overloaded => (503, "overloaded_error"),
        ErrorKind::ChatGone => (502, "api_error"),
        ErrorKind::ChatBusy => (429, "rate_limit_error"),
        ErrorKind::ContentFilter => (400, "invalid_request_error"),
        ErrorKind::ModelNotFound => (404, "not_found_error"),
        ErrorKind::UpstreamRejected => (400, "invalid_request_error"),
        ErrorKind::UpstreamEmpty => (502, "api_error"),
        ErrorKind::UpstreamInvalid => (502, "api_error"),
        ErrorKind::FallbackRefused => (502, "api_error"),
        ErrorKind::ToolChoiceUnsatisfied => (502, "api_error"),
        ErrorKind::InvalidStructuredOutput => (502, "api_error"),
        ErrorKind::UpstreamTruncated => (502, "api_error"),
        ErrorKind::UpstreamError => (502, "api_error"),
        ErrorKind::UpstreamTimeout => (504, "timeout_error"),
        ErrorKind::UpstreamOverloaded => (503, "overloaded_error"),
        ErrorKind::UnsupportedValue | ErrorKind::PictureRefused => (400, "invalid_request_error"),
        ErrorKind::MediaUnavailable => (502, "api_error"),
        ErrorKind::VideoNotFound => (404, "not_found_error"),
        ErrorKind::VideoNotReady | ErrorKind::VideoFailed(_) => (400, "invalid_request_error"),
    };
    WireForm { status, kind }
}

/// An error.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = MessagesErrorBody))]
pub(crate) struct Body<'a> {
    /// `error`
    #[serde(rename = "type")]
    kind: &'static str,
    error: ErrorObject<'a>,
    /// The id of the request in the server's log; absent in a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

/// What went wrong, and what to do.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = MessagesErrorObject))]
struct ErrorObject<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    /// What went wrong, and what to do next.
    message: &'a str,
    /// Stable; programs should go by it.
    code: &'static str,
    /// The field of the request that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    param: Option<&'a str>,
    /// Where a person can mend the cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    verify_url: Option<&'a str>,
}

/// `{"type":"error","error":{"type","message","code"},"request_id"}`, with `param` and `verify_url` where they help.
#[must_use]
pub fn error_body(error: &Error, request_id: Option<&str>) -> String {
    // Text alone cannot fail to become JSON.
    serde_json::to_string(&body(error, request_id)).unwrap_or_default()
}

/// The same as the last event of a stream.
pub(super) fn write_error_event(out: &mut BytesMut, error: &Error) {
    out.extend_from_slice(b"event: error\ndata: ");
    write_line(out, &body(error, None));
    out.extend_from_slice(b"\n\n");
}

fn body<'a>(error: &'a Error, request_id: Option<&'a str>) -> Body<'a> {
    Body {
        kind: "error",
        error: ErrorObject {
            kind: wire_form(error.kind()).kind,
            message: error.message(),
            code: error.kind().code(),
            param: error.param(),
            verify_url: error.link(),
        },
        request_id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_its_type_code_and_request() {
        let error = Error::invalid("max_tokens", "No.").with_link("https://x/");
        assert_eq!(
            error_body(&error, Some("req_1")),
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"No.","code":"invalid_request","param":"max_tokens","verify_url":"https://x/"},"request_id":"req_1"}"#
        );
        let mut out = BytesMut::new();
        write_error_event(&mut out, &Error::new(ErrorKind::UpstreamTimeout, "Slow."));
        assert_eq!(
            &out[..],
            b"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"timeout_error\",\"message\":\"Slow.\",\"code\":\"upstream_timeout\"}}\n\n"
        );
    }
}
