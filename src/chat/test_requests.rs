//! Requests for tests, written as a client writes them.

use crate::{
    api::openai,
    llm::{Message, Request},
};

/// The request that this JSON is.
pub(super) fn request(json: &str) -> Request {
    openai::chat_completions::parse(json.as_bytes()).unwrap().request
}

/// The messages of a request.
pub(super) fn messages(json: &str) -> Vec<Message> {
    request(&format!(r#"{{"messages":{json}}}"#)).messages
}
