//! Chat completions.

mod delivery;
mod encoder;
mod message;
mod request;
#[cfg(test)]
pub(in crate::api) mod schema;

pub use delivery::ChatDelivery;
#[cfg(test)]
pub(crate) use encoder::Completion;
pub use encoder::{ChunkWriter, Encoder};
pub use request::parse;
#[cfg(test)]
pub(crate) use {request::ChatRequest, schema::Chunk};
