//! The error object.

use serde::Serialize;

use crate::error::Error;

#[derive(Serialize)]
struct Body<'a> {
    error: Object<'a>,
}

#[derive(Serialize)]
struct Object<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<&'a str>,
    code: &'static str,
    /// Where a person can mend the cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    verify_url: Option<&'a str>,
}

/// `{"error":{"message","type","param","code"}}`, with `verify_url` where a person can mend the cause.
#[must_use]
pub fn error_body(error: &Error) -> String {
    let form = error.kind().wire();
    let object = Object {
        message: error.message(),
        kind: form.kind,
        param: error.param(),
        code: form.code,
        verify_url: error.link(),
    };
    // Text alone cannot fail to become JSON.
    serde_json::to_string(&Body { error: object }).unwrap_or_default()
}

/// The same as one event of a stream that has already begun. No `[DONE]` follows it.
#[must_use]
pub fn error_event(error: &Error) -> String {
    format!("data: {}\n\n", error_body(error))
}
