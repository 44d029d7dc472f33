//! What an answer's text goes through on its way to the client.

mod json;
mod limit;
mod schema;
mod stop;
mod tools;

#[cfg(fuzzing)]
pub(super) use json::Repaired;
#[cfg(any(test, fuzzing))]
pub(super) use json::repair;
pub(super) use json::{Found, ObjectFilter, outermost};
pub(super) use limit::LimitFilter;
pub(super) use schema::Schema;
pub(super) use stop::StopFilter;
pub(super) use tools::{Native, Piece, ReadCall, ToolReader, ToolSet, bare_arguments, has_call, read_native};
