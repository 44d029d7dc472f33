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

/// Status and `type` of each kind. The only place that decides them.
#[must_use]
pub const fn wire_form(kind: ErrorKind) -> WireForm {
    let (status, kind) = match kind {
        ErrorKind::Configuration => (500, "server_error"),
        ErrorKind::StoreFailed => (503, "server_error"),
        ErrorKind::MissingApiKey => (401, "authentication_error"),
        ErrorKind::InvalidApiKey => (403, "permission_error"),
        ErrorKind::AdminDisabled => (403, "permission_error"),
        ErrorKind::OriginNotAllowed => (403, "permission_error"),
        ErrorKind::NotFound => (404, "invalid_request_error"),
        ErrorKind::UnsupportedEndpoint => (404, "invalid_request_error"),
        ErrorKind::MethodNotAllowed => (405, "invalid_request_error"),
        ErrorKind::InvalidJson => (400, "invalid_request_error"),
        ErrorKind::InvalidRequest => (400, "invalid_request_error"),
        ErrorKind::RequestTooLarge => (413, "invalid_request_error"),
        ErrorKind::UnsupportedEncoding => (415, "invalid_request_error"),
        ErrorKind::UnsupportedFileType => (400, "invalid_request_error"),
        ErrorKind::SessionMissing => (401, "authentication_error"),
        ErrorKind::SessionExpired => (401, "authentication_error"),
        ErrorKind::Challenge => (403, "permission_error"),
        // Codex waits for hours, as `Retry-After` says, and shows nothing of the message, unless this type ends its task.
        ErrorKind::QuotaExceeded => (429, "insufficient_quota"),
        ErrorKind::RateLimited => (429, "rate_limit_error"),
        ErrorKind::Overloaded => (503, "server_error"),
        ErrorKind::ChatGone => (502, "upstream_error"),
        ErrorKind::ChatBusy => (429, "rate_limit_error"),
        ErrorKind::ContentFilter => (400, "invalid_request_error"),
        ErrorKind::ModelNotFound => (404, "invalid_request_error"),
        ErrorKind::UpstreamRejected => (400, "invalid_request_error"),
        ErrorKind::UpstreamEmpty => (502, "upstream_error"),
        ErrorKind::UpstreamInvalid => (502, "upstream_error"),
        ErrorKind::PreviousResponseNotFound => (404, "invalid_request_error"),
        ErrorKind::FallbackRefused => (502, "upstream_error"),
        ErrorKind::ToolChoiceUnsatisfied => (502, "upstream_error"),
        ErrorKind::InvalidStructuredOutput => (502, "upstream_error"),
        ErrorKind::UpstreamTruncated => (502, "upstream_error"),
        ErrorKind::UpstreamError => (502, "upstream_error"),
        ErrorKind::UpstreamTimeout => (504, "upstream_error"),
        ErrorKind::UpstreamOverloaded => (503, "upstream_error"),
        ErrorKind::UnsupportedValue => (400, "invalid_request_error"),
        ErrorKind::PictureRefused => (400, "image_generation_user_error"),
        ErrorKind::MediaUnavailable => (502, "upstream_error"),
        ErrorKind::VideoNotFound => (404, "invalid_request_error"),
        ErrorKind::VideoNotReady => (400, "invalid_request_error"),
        ErrorKind::VideoFailed(_) => (400, "invalid_request_error"),
    };
    WireForm { status, kind }
}

/// An error.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = ErrorBody))]
pub(crate) struct Body<'a> {
    error: ErrorObject<'a>,
}

/// What went wrong, and what to do.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
struct ErrorObject<'a> {
    /// What went wrong, and what to do next.
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    /// The field of the request that is wrong.
    param: Option<&'a str>,
    /// Stable; programs should go by it.
    code: &'static str,
    /// Where a person can mend the cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    verify_url: Option<&'a str>,
}

/// `{"error":{"message","type","param","code"}}`, with `verify_url` where a person can mend the cause.
#[must_use]
pub fn error_body(error: &Error) -> String {
    // Text alone cannot fail to become JSON.
    serde_json::to_string(&body(error)).unwrap_or_default()
}

/// The same as one event of a stream that has already begun, appended to what is written of it. No `[DONE]` follows it.
pub(super) fn write_error_event(out: &mut BytesMut, error: &Error) {
    out.extend_from_slice(b"data: ");
    write_line(out, &body(error));
    out.extend_from_slice(b"\n\n");
}

fn body(error: &Error) -> Body<'_> {
    Body {
        error: ErrorObject {
            message: error.message(),
            kind: wire_form(error.kind()).kind,
            param: error.param(),
            code: error.kind().code(),
            verify_url: error.link(),
        },
    }
}

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator as _;

    use super::*;
    use crate::error::VideoFault;

    /// The rows of the table of codes in `docs/errors.md`: each code with its status.
    fn documented() -> Vec<(String, u16)> {
        let page = include_str!("../../../docs/errors.md");
        let rows = page.lines().filter(|line| line.starts_with("| `")).filter_map(|row| {
            let mut cells = row.trim_matches('|').split(" | ");
            let codes: Vec<&str> = cells.next()?.split('`').skip(1).step_by(2).collect();
            let statuses: Vec<u16> =
                cells.next()?.split(", ").filter_map(|status| status.trim().parse().ok()).collect();
            let status = |index: usize| *statuses.get(index).or(statuses.last()).unwrap();
            Some(codes.iter().enumerate().map(|(index, code)| ((*code).to_owned(), status(index))).collect::<Vec<_>>())
        });
        rows.flatten().collect()
    }

    #[test]
    fn the_document_has_every_code_with_its_status() {
        let kinds: Vec<ErrorKind> = ErrorKind::iter().collect();
        let mut expected: Vec<(String, u16)> =
            kinds.iter().map(|kind| (kind.code().to_owned(), wire_form(*kind).status)).collect();
        // A video job's codes are its own and, where a chat has the same fault, those of chats.
        for fault in VideoFault::ALL {
            if !expected.iter().any(|(code, _)| code == fault.code()) {
                expected.push((fault.code().to_owned(), wire_form(ErrorKind::VideoFailed(fault)).status));
            }
        }
        let mut documented = documented();
        documented.sort();
        expected.sort();
        expected.dedup();
        assert_eq!(documented, expected);
    }

    /// Codex, which overlooks the code, ends its task only on OpenAI's own type.
    #[test]
    fn a_used_up_quota_has_the_type_of_openai() {
        for (kind, expected) in
            [(ErrorKind::QuotaExceeded, "insufficient_quota"), (ErrorKind::RateLimited, "rate_limit_error")]
        {
            assert_eq!(wire_form(kind), WireForm { status: 429, kind: expected });
            assert!(error_body(&Error::new(kind, "x")).contains(&format!(r#""type":"{expected}""#)));
        }
    }
}
