//! JSON from bytes.

use serde::{Deserialize, de::Error as _};

/// Reads JSON that came as bytes.
///
/// By way of text, as everywhere: the encoding is looked at once and not for each word, and the Worker holds serde_json's
/// reader once.
///
/// # Errors
/// What is no UTF-8, no JSON, or no `T`.
pub(crate) fn from_bytes<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> serde_json::Result<T> {
    serde_json::from_str(str::from_utf8(bytes).map_err(serde_json::Error::custom)?)
}
