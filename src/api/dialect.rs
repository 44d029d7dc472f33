//! Which dialect a route speaks.

use super::{
    anthropic,
    delivery::Parsed,
    openai::{self, chat_completions, responses},
};
use crate::error::{Error, Result};

/// A client dialect. A route names its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's chat completions.
    ChatCompletions,
    /// OpenAI's Responses API.
    Responses,
    /// Anthropic's Messages.
    Messages,
}

/// An error as a dialect writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorReply {
    /// The HTTP status.
    pub status: u16,
    /// The body, in JSON.
    pub body: String,
}

impl Dialect {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// `invalid_json` when it is not JSON; `invalid_request` with the path of the field that is wrong.
    pub fn parse(self, body: &[u8]) -> Result<Parsed> {
        match self {
            Self::ChatCompletions => chat_completions::parse(body),
            Self::Responses => responses::parse(body),
            Self::Messages => anthropic::parse(body),
        }
    }

    /// An error instead of an answer to the request with this id.
    #[must_use]
    pub fn error(self, error: &Error, request_id: &str) -> ErrorReply {
        match self {
            Self::ChatCompletions | Self::Responses => {
                ErrorReply { status: openai::wire_form(error.kind()).status, body: openai::error_body(error) }
            }
            Self::Messages => ErrorReply {
                status: anthropic::wire_form(error.kind()).status,
                body: anthropic::error_body(error, Some(request_id)),
            },
        }
    }
}
