//! What chat.qwen.ai sends and gets: the session, the models, chats and turns, the answer stream and every refusal.

// Sends a request with the current credentials, as long as they are of the account that `$owner` names, if any; if the site reports that the session has ended, renews them and sends it
// once more. A macro, because the future of an async closure cannot yet be required to be `Send`.
macro_rules! retry_after_refresh {
    ($qwen:expr, $platform:expr, $owner:expr, $used:ident, $ask:block) => {{
        let mut healed = false;
        loop {
            let $used = $qwen.session.lease_for($owner)?;
            let done: Result<_> = async { $ask }.await;
            match done {
                Err(error) if !healed && $qwen.session.heal($platform, &$used, &error).await => healed = true,
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
mod halves;
mod http_client;
mod ids;
mod list_models;
mod model_cache;
mod models;
#[cfg(not(target_arch = "wasm32"))]
mod past_chats;
mod prompt;
mod session;
mod sse;
mod turn;
mod wire;

pub use client::{Client, TurnStream};
pub use decoder::{Decoder, EventSink};
pub use errors::empty_answer;
pub use files::{File, FileEntry, NewFile, content_hash, plain_name};
pub use http_client::{broken_error, unreachable_error};
pub use models::{Choice, Model, ModelList};
#[cfg(not(target_arch = "wasm32"))]
pub use past_chats::{ChatSummary, PastChat, PastMessage};
pub use prompt::{PromptMessage, RenderedPrompt, prompt_file, render, speaker_names, without_missing};
pub use session::CredentialsLease;
pub use session::{Session, SessionReport, SessionState};
pub use sse::{Flow, SseItem, SseReader};
pub use turn::Turn;
