//! What OpenAI clients send and get, as plain data. Knows nothing of Qwen and of runtimes.

mod answer;
mod error;
mod place;
mod request;
#[cfg(test)]
mod schema;

pub use answer::{Annotation, ChunkWriter, FinishReason, Identity, Usage, completion};
pub use error::{error_body, write_error_event};
pub use request::{
    ChatRequest, Content, ExtraBody, FunctionCall, Media, Message, Object, Part, ReasoningSwitch, Role, Stop,
    StreamOptions, TemplateSwitch, ThinkingSwitch, ToolCall,
};
#[cfg(test)]
pub(crate) use {answer::Completion, error::Body as ErrorBody, schema::Chunk};
