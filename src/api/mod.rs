//! Client dialects: the bytes of a client become an [`Request`](crate::llm::Request), the events of an answer become the bytes that it
//! expects. Each dialect stands alone on the neutral language; none is built on another.

pub mod anthropic;
mod delivery;
mod dialect;
mod encoder;
mod json_body;
mod json_path;
mod lenient;
pub mod openai;
mod reasoning;

pub use delivery::{AnswerMeta, Delivery, Parsed};
pub use dialect::{Dialect, ErrorReply};
pub use encoder::Encoder;
pub(crate) use lenient::Whole;
pub(crate) use reasoning::switch as reasoning_switch;
