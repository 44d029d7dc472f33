//! OpenAI's dialects.

pub mod chat_completions;
mod content;
mod error;
pub mod images;
mod media_fields;
mod response_format;
pub mod responses;
mod tools;
pub mod videos;

#[cfg(test)]
pub(crate) use error::Body as ErrorBody;
pub use error::{error_body, wire_form};
