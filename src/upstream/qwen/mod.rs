//! The client of chat.qwen.ai: the session, the models, chats and turns, files, the answer stream and every refusal.

// Sends a request with the current credentials, as long as they belong to the account of `$owner`, if there is an owner. If the
// site reports that the session has ended, refreshes the credentials and sends the request once more. A macro, because the
// future of an async closure cannot yet be required to be `Send`.
macro_rules! retry_after_refresh {
    ($qwen:expr, $platform:expr, $owner:expr, $used:ident, $ask:block) => {{
        let mut refreshed = false;
        loop {
            let $used = $qwen.session.lease_for($owner)?;
            let done: Result<_> = async { $ask }.await;
            match done {
                Err(error) if !refreshed => {
                    if let Err(error) = $qwen.session.refresh_after($platform, &$used, error).await {
                        break Err(error);
                    }
                    refreshed = true;
                }
                done => break done,
            }
        }
    }};
}

mod client;
mod clock;
mod decoder;
mod errors;
mod event;
mod files;
mod http_client;
mod ids;
mod list_models;
mod media;
mod model_cache;
mod model_names;
mod models;
mod native_calls;
#[cfg(not(target_arch = "wasm32"))]
mod past_chats;
mod pictures;
mod plain_event;
mod poll;
mod prompt;
mod refusal;
mod session;
mod tool_prompt;
mod turn;
mod wire;

pub use client::{Client, TurnStream};
pub use decoder::{Decoder, EventSink};
pub use errors::{empty_answer, refused_tools};
pub use files::{File, FileEntry, NewFile, content_hash, plain_name};
pub use http_client::{broken_error, unreachable_error};
pub(crate) use media::DRAW_TIMEOUT;
pub use media::{ChatAnswer, Drawing, DrawnPicture, FilmTask, MediaRequest, TaskState, WantedAnswer};
pub use model_cache::ModelCache;
pub use model_names::{Choice, PictureChoice, VIDEO_MODEL, media_models};
pub use models::{Model, ModelList};
#[cfg(not(target_arch = "wasm32"))]
pub use past_chats::{ChatSummary, PastChat, PastMessage};
pub use prompt::{
    Answers, PromptMessage, RenderedPrompt, answered_calls, prompt_file, render, speaker_names, without_missing,
};
pub use session::{CredentialsLease, NamedSession, Session, SessionReport, SessionState, list as list_sessions};
pub use tool_prompt::{ToolAsk, ToolText, correction_text, shown_tool_name};
pub use turn::{Turn, Work};
