//! Anthropic's Messages.

mod content;
mod delivery;
mod encoder;
mod error;
mod message;
mod request;
#[cfg(test)]
pub(crate) mod schema;
mod system;
#[cfg(test)]
mod tests;
mod tools;

pub use delivery::MessagesDelivery;
pub use encoder::Encoder;
#[cfg(test)]
pub(crate) use encoder::MessageObject;
#[cfg(test)]
pub(crate) use error::Body as ErrorBody;
pub use error::{error_body, wire_form};
#[cfg(test)]
pub(crate) use request::MessagesRequest;
pub use request::parse;
