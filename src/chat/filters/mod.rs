//! What an answer's text goes through on its way to the client.

mod json;
mod limit;
mod schema;
mod stop;
mod tools;

pub(super) use limit::LimitFilter;
#[expect(unused_imports, reason = "nothing asks for structured output yet")]
pub(super) use schema::Schema;
pub(super) use stop::StopFilter;
pub(super) use tools::{Native, Piece, ReadCall, ToolReader, ToolSet, bare_arguments};
