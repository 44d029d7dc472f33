//! The neutral language between client dialects and upstreams: plain data that knows neither.

mod answer;
mod media;
mod request;
mod tokens;

pub use answer::{Answer, Call, CallEvent, Citation, Event, FinishReason, PictureEvent, Source, Usage};
pub use media::{PictureRequest, Quality, Ratio, VideoRequest};
pub use request::{
    Correction, FunctionCall, Media, MediaClass, MediaSource, Message, OutputFormat, Part, Reasoning, Request, Role,
    Sampling, Tool, ToolCall, ToolChoice, ToolKind, Unsupported,
};
pub use tokens::{estimate_text, estimate_tokens};
