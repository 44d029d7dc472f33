//! OpenAI's dialect.

mod encoder;
mod error;
mod message;
mod request;
mod response_format;
#[cfg(test)]
mod schema;
mod tools;

#[cfg(test)]
pub(crate) use encoder::Completion;
pub use encoder::{ChunkWriter, Encoder};
#[cfg(test)]
pub(crate) use error::Body as ErrorBody;
pub use error::{error_body, wire_form};
pub use request::parse;
#[cfg(test)]
pub(crate) use {request::ChatRequest, schema::Chunk};
