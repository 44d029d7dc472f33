//! The error object.

use bytes::BytesMut;
use serde::Serialize;

use crate::{error::Error, json::write_line};

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
pub fn write_error_event(out: &mut BytesMut, error: &Error) {
    out.extend_from_slice(b"data: ");
    write_line(out, &body(error));
    out.extend_from_slice(b"\n\n");
}

fn body(error: &Error) -> Body<'_> {
    let form = error.kind().wire();
    Body {
        error: ErrorObject {
            message: error.message(),
            kind: form.kind,
            param: error.param(),
            code: form.code,
            verify_url: error.link(),
        },
    }
}
