//! A request as a dialect read it, and how its answer is delivered.

use super::{
    anthropic::MessagesDelivery,
    openai::{
        chat_completions::ChatDelivery,
        responses::{PREFIX, ResponsesDelivery},
    },
};
use crate::{llm::Request, unix_time::UnixSeconds};

/// A request as a dialect read it, and how its answer is to be delivered.
#[derive(Debug)]
pub struct Parsed {
    /// What is asked for.
    pub request: Request,
    /// What the client gets.
    pub delivery: Delivery,
}

/// How an answer is delivered: in which dialect, and what that dialect has to know for it.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// OpenAI's chat completions.
    ChatCompletions(ChatDelivery),
    /// OpenAI's Responses API.
    Responses(ResponsesDelivery),
    /// Anthropic's Messages.
    Messages(MessagesDelivery),
}

impl Delivery {
    /// Whether the answer comes piece by piece, as events, instead of as one object.
    #[must_use]
    pub const fn is_stream(&self) -> bool {
        match self {
            Self::ChatCompletions(delivery) => delivery.is_stream,
            Self::Responses(delivery) => delivery.is_stream,
            Self::Messages(delivery) => delivery.is_stream,
        }
    }

    /// The field of the request that has its messages.
    #[must_use]
    pub const fn messages_field(&self) -> &'static str {
        match self {
            Self::ChatCompletions(_) | Self::Messages(_) => "messages",
            Self::Responses(_) => "input",
        }
    }

    /// How the id of the answer begins.
    #[must_use]
    pub const fn id_prefix(&self) -> &'static str {
        match self {
            Self::ChatCompletions(_) => "chatcmpl-",
            Self::Responses(_) => PREFIX,
            Self::Messages(_) => "msg_",
        }
    }
}

/// What each piece of an answer says of the whole.
#[derive(Clone, Debug)]
pub struct AnswerMeta {
    /// The answer's id.
    pub id: String,
    /// When the answer began.
    pub created: UnixSeconds,
    /// The model, as the client named it.
    pub model: String,
}
