//! The error object.

use serde_json::{Value as Json, json};

use crate::error::Error;

/// `{"error":{"message","type","param","code"}}`, with `verify_url` where a person can mend the cause.
#[must_use]
pub fn error_body(error: &Error) -> Json {
    let form = error.kind().wire();
    let mut object = json!({
        "message": error.message(),
        "type": form.kind,
        "param": error.param(),
        "code": form.code,
    });
    if let Some(link) = error.link() {
        object["verify_url"] = link.into();
    }
    json!({ "error": object })
}

/// The same as one event of a stream that has already begun. No `[DONE]` follows it.
#[must_use]
pub fn error_event(error: &Error) -> String {
    format!("data: {}\n\n", error_body(error))
}
