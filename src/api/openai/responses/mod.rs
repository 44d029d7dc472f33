//! The Responses API.

mod delivery;
mod encoder;
mod items;
mod object;
mod request;
#[cfg(test)]
mod tests;

pub(in crate::api) use delivery::PREFIX;
pub use delivery::{Namespaced, ResponsesDelivery};
pub use encoder::Encoder;
pub(in crate::api::openai) use items::shown_name;
pub use items::{messages_of, messages_of_input};
pub use object::response_of_item;
#[cfg(test)]
pub(crate) use request::ResponseRequest;
pub(in crate::api::openai) use request::parse_for_chat;
pub use request::{Draft, MAX_KEPT, parse, read_draft};
