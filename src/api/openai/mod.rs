//! What OpenAI clients send and get, as plain data. Knows nothing of Qwen and of runtimes.

mod answer;
mod error;
mod json_path;
mod request;
#[cfg(test)]
mod schema;

pub use answer::{Annotation, ChunkWriter, FinishReason, Identity, Usage, completion};
pub use error::{error_body, write_error_event};
pub use request::{
    AttachedAs, ChatRequest, Content, ExtraBody, FunctionCall, Media, Message, Number, Object, Objects, Part,
    ReasoningSwitch, Role, Stop, StreamOptions, TemplateSwitch, ThinkingSwitch, ToolCall, Whole, Words,
};
#[cfg(test)]
pub(crate) use {answer::Completion, error::Body as ErrorBody, schema::Chunk};
