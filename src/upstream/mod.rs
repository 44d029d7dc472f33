//! Where answers come from.

pub mod compatible;
mod decoder;
mod fields;
mod halves;
mod owner;
mod ports;
pub mod qwen;
mod seam;
mod sse;
mod words;

pub use compatible::{Attached, AttachedContent, WholeAsk};
pub use decoder::Decoder;
pub use owner::{AccountId, Owner, ScopeKey};
pub use ports::{Cache, Host, SessionStore, StoredSession, Upload, UploadStore};
pub(crate) use qwen::DRAW_TIMEOUT;
pub use qwen::{
    Answers, Choice, EventSink, File, FileEntry, Model, NewFile, PromptMessage, RenderedPrompt, ToolAsk, ToolText,
    answered_calls, content_hash, correction_text, plain_name, prompt_file, shown_tool_name, speaker_names,
    without_missing,
};
pub use qwen::{ChatAnswer, Drawing, DrawnPicture, FilmTask, MediaRequest, TaskState, WantedAnswer};
#[cfg(not(target_arch = "wasm32"))]
pub use qwen::{PastChat, PastMessage};
pub use seam::{Ask, Capabilities, DrawAsk, FilmAsk, Lease, Opened, Upstream, render_prompt};
pub use sse::{Flow, SseItem, SseReader};
