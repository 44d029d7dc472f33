//! What chat.qwen.ai sends and gets: the session, the models, chats and turns, the answer stream and every refusal.

mod files;
mod frame;
mod kind;
mod models;
mod reader;
mod refusal;
mod repair;
mod session;
mod stream;
mod wire;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt as _;
use http::Method;
use serde_json::Value as Json;

pub use files::{File, FileEntry, NewFile, content_hash, plain_name};
pub use kind::{Kind, ending};
pub use models::{Choice, Model, ModelList};
pub use reader::{EventReader, Flow, Said};
pub use session::{Session, SessionReport, SessionState};
pub use stream::{AnswerStream, Listener, Source, empty_answer};

use crate::{
    config::Config,
    error::{Error, ErrorKind, Result},
    platform::{self, ByteStream, FetchError, FetchErrorKind, FetchResponse, Payload, Platform},
    secret::Secret,
    store,
};
use wire::Purpose;

/// The largest answer that is no stream and is read whole. A list of models has some 100 KiB.
const MAX_ANSWER: usize = 4 * 1024 * 1024;
/// How long a chat waits for the list of models before it goes on without one.
const MODELS_FOR_CHAT: Duration = Duration::from_secs(3);
/// The key of the last good list of models in the store.
const MODELS_KEY: &str = "models";

/// The thinking of one turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thinking {
    /// None.
    Off,
    /// The model decides.
    Auto,
    /// Always, with at most this many tokens.
    On {
        /// Tokens.
        budget: Option<u32>,
    },
}

/// One message to a chat.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a> {
    /// The chat.
    pub chat_id: &'a str,
    /// The answer to go on from; `None` in a new chat.
    pub parent_id: Option<&'a str>,
    /// The upstream id of the model.
    pub model: &'a str,
    /// What the user says.
    pub text: &'a str,
    /// Uploaded files that go along.
    pub files: &'a [FileEntry],
    /// Whether to think.
    pub thinking: Thinking,
    /// Whether the model may search the web.
    pub search: bool,
}

/// The site as seen with one account. Shared by all requests.
#[derive(Debug)]
pub struct Qwen {
    base_url: String,
    user_agent: String,
    web_version: String,
    extra_headers: Vec<(String, Secret)>,
    bearer: bool,
    oss_url: Option<String>,
    max_image: u64,
    max_file: u64,
    faults: Arc<store::Faults>,
    idle: Duration,
    aliases: BTreeMap<String, String>,
    session: Session,
    models: Mutex<Cached>,
}

#[derive(Debug, Default)]
struct Cached {
    list: Option<ModelList>,
    fetched_at: u64,
    /// When the site last did not give it.
    failed_at: u64,
}

/// After a failure the list is not asked for again for this long, in milliseconds: anybody may ask us for it.
const MODELS_PAUSE: u64 = 30_000;

impl Qwen {
    /// The site as `config` describes it.
    #[must_use]
    pub fn new(config: &Config, faults: Arc<store::Faults>) -> Self {
        Self {
            base_url: config.base_url.clone(),
            user_agent: config.user_agent.clone(),
            web_version: config.web_version.clone(),
            extra_headers: config.extra_headers.clone(),
            bearer: config.bearer,
            oss_url: config.oss_url.clone(),
            max_image: config.max_image_bytes,
            max_file: config.max_file_bytes,
            faults,
            idle: config.upstream_idle,
            aliases: config.model_aliases.clone(),
            session: Session::from_config(config),
            models: Mutex::default(),
        }
    }

    /// The account's session.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The count of the store's failures.
    #[must_use]
    pub fn faults(&self) -> &store::Faults {
        &self.faults
    }

    /// Makes a new chat and gives its id.
    ///
    /// # Errors
    /// Any refusal of the site.
    pub async fn new_chat(&self, platform: &impl Platform, model: &str) -> Result<String> {
        let body = wire::new_chat_body(model, platform.now());
        let request = self.request(platform, Method::POST, wire::NEW_CHAT, Purpose::Data, body)?;
        let answer = self.send(platform, request).await?;
        let (head, body) = self.whole(platform, answer).await?;
        let id = serde_json::from_slice::<Json>(&body)
            .ok()
            .filter(|json| head.status.is_success() && json.get("success") != Some(&Json::Bool(false)))
            .and_then(|json| {
                json.pointer("/data/id").and_then(Json::as_str).filter(|id| wire::is_id(id)).map(str::to_owned)
            });
        match id {
            Some(id) => {
                self.session.accepted(platform.now());
                Ok(id)
            }
            None => Err(self.refused(platform, &head, &body)),
        }
    }

    /// Deletes a chat; one that is gone already counts as deleted.
    ///
    /// # Errors
    /// Any other refusal of the site.
    pub async fn delete_chat(&self, platform: &impl Platform, chat_id: &str) -> Result<()> {
        if !wire::is_id(chat_id) {
            return Err(Error::invalid("id", "This is not the id of a chat."));
        }
        let request = self.request(platform, Method::DELETE, &wire::chat(chat_id), Purpose::Data, Bytes::new())?;
        let answer = self.send(platform, request).await?;
        let (head, body) = self.whole(platform, answer).await?;
        let refused = head.status.is_success()
            && !body.is_empty()
            && serde_json::from_slice::<Json>(&body)
                .ok()
                .is_none_or(|json| json.get("success") == Some(&Json::Bool(false)));
        if (head.status.is_success() && !refused) || head.status == http::StatusCode::NOT_FOUND {
            return Ok(());
        }
        match self.refused(platform, &head, &body) {
            error if error.kind() == ErrorKind::ChatGone => Ok(()),
            error => Err(error),
        }
    }

    /// Sends a turn and gives the bytes of the answer stream, for an [`AnswerStream`] to read.
    ///
    /// # Errors
    /// Any refusal of the site that comes instead of a stream; `request_too_large` before anything is sent.
    pub async fn complete(&self, platform: &impl Platform, turn: &Turn<'_>) -> Result<ByteStream> {
        let body = wire::turn_body(turn, platform)?;
        let purpose = Purpose::Turn { chat_id: turn.chat_id };
        let request = self.request(platform, Method::POST, &wire::completions(turn.chat_id), purpose, body)?;
        let answer = self.send(platform, request).await?;
        if refusal::is_stream(answer.status(), answer.headers()) {
            self.session.accepted(platform.now());
            return Ok(answer.into_body());
        }
        let (head, body) = self.whole(platform, answer).await?;
        let error = refusal::from_turn(head.status, &head.headers, &body);
        self.session.refused(platform.now(), &error);
        Err(error)
    }

    /// Notes an error that came within a stream, so that the session's state follows it.
    pub fn note(&self, platform: &impl Platform, error: &Error) {
        self.session.refused(platform.now(), error);
    }

    /// The error of an idle stream.
    #[must_use]
    pub fn idle_error(&self) -> Error {
        Error::new(
            ErrorKind::UpstreamTimeout,
            format!("chat.qwen.ai sent nothing for {} s. Send the request again.", self.idle.as_secs()),
        )
    }

    /// The live list: from memory while fresh, else from the site, else the last good one, kept in the store across restarts.
    ///
    /// # Errors
    /// When the site does not give the list and there never was one.
    pub async fn models(&self, platform: &impl Platform) -> Result<ModelList> {
        if let Some(list) = self.cached_models(platform.now(), true) {
            return Ok(list);
        }
        let cooling = self.session.challenge(platform.now());
        let paused = platform.now().saturating_sub(self.cached().failed_at) < MODELS_PAUSE;
        if paused && let Some(list) = self.last_good_models(platform).await {
            return Ok(list);
        }
        let fetched = match cooling {
            // No call at all, though this one needs no session.
            Some(challenge) => Err(challenge),
            None => self.fetch_models(platform).await,
        };
        match fetched {
            Ok(list) => {
                self.remember(&list, platform.now());
                let kept = store::keep(platform, MODELS_KEY, list.to_store(), platform.now()).await;
                self.faults.tried("keeping the list of models", kept);
                Ok(list)
            }
            Err(error) => {
                tracing::warn!(%error, "no list of models from the site");
                self.cached().failed_at = platform.now();
                if error.kind() == ErrorKind::Challenge {
                    self.session.refused(platform.now(), &error);
                }
                match self.last_good_models(platform).await {
                    Some(list) => Ok(list),
                    None => Err(error),
                }
            }
        }
    }

    /// What a client's model name means. Never fails: without a list the name is taken by its look.
    pub async fn choose(&self, platform: &impl Platform, name: &str) -> (Choice, Option<Model>) {
        let list = match self.cached_models(platform.now(), false) {
            Some(list) => Some(list),
            None => match self.last_good_models(platform).await {
                Some(list) => Some(list),
                None => platform::timeout(platform, MODELS_FOR_CHAT, self.models(platform)).await.and_then(Result::ok),
            },
        };
        let choice = models::choose(name, list.as_ref(), &self.aliases);
        let model = list.and_then(|list| list.get(&choice.id).cloned());
        (choice, model)
    }

    /// Whether the list should be fetched again (it is older than 10 minutes).
    #[must_use]
    pub fn models_are_stale(&self, now: u64) -> bool {
        self.cached_models(now, true).is_none()
    }

    fn cached_models(&self, now: u64, fresh_only: bool) -> Option<ModelList> {
        let cached = self.cached();
        let fresh = now.saturating_sub(cached.fetched_at) < models::FRESH;
        cached.list.clone().filter(|_| fresh || !fresh_only)
    }

    fn remember(&self, list: &ModelList, fetched_at: u64) {
        *self.cached() = Cached { list: Some(list.clone()), fetched_at, failed_at: 0 };
    }

    fn cached(&self) -> MutexGuard<'_, Cached> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn last_good_models(&self, platform: &impl Platform) -> Option<ModelList> {
        if let Some(list) = self.cached_models(platform.now(), false) {
            return Some(list);
        }
        let kept = store::cached(platform, MODELS_KEY).await;
        let (text, kept_at) = self.faults.tried("reading the kept list of models", kept).flatten()?;
        let list = ModelList::from_store(&text)?;
        self.remember(&list, kept_at);
        Some(list)
    }

    async fn fetch_models(&self, platform: &impl Platform) -> Result<ModelList> {
        let request = self.request(platform, Method::GET, wire::MODELS, Purpose::Data, Bytes::new())?;
        let answer = self.send(platform, request).await?;
        let (head, body) = self.whole(platform, answer).await?;
        ModelList::from_upstream(&body)
            .filter(|_| head.status.is_success())
            .ok_or_else(|| refusal::from_answer(head.status, &head.headers, &body))
    }

    async fn send(&self, platform: &impl Platform, request: http::Request<Payload>) -> Result<FetchResponse> {
        match platform::timeout(platform, self.idle, platform.fetch(request)).await {
            Some(answer) => answer.map_err(|error| unreachable_error(&error)),
            None => Err(self.idle_error()),
        }
    }

    async fn whole(&self, platform: &impl Platform, answer: FetchResponse) -> Result<(http::response::Parts, Bytes)> {
        let (head, mut pieces) = answer.into_parts();
        let mut whole = Vec::new();
        let read = async {
            while let Some(piece) = pieces.next().await {
                let piece = piece.map_err(|error| unreachable_error(&error))?;
                if whole.len().saturating_add(piece.len()) > MAX_ANSWER {
                    return Err(Error::new(
                        ErrorKind::UpstreamInvalid,
                        "chat.qwen.ai sent an answer that is too large to be real.",
                    ));
                }
                whole.extend_from_slice(&piece);
            }
            Ok(())
        };
        platform::timeout(platform, self.idle, read).await.unwrap_or_else(|| Err(self.idle_error()))?;
        Ok((head, whole.into()))
    }

    fn refused(&self, platform: &impl Platform, head: &http::response::Parts, body: &[u8]) -> Error {
        let error = refusal::from_answer(head.status, &head.headers, body);
        self.session.refused(platform.now(), &error);
        error
    }
}

/// The error of a connection that did not come about or broke.
#[must_use]
pub fn unreachable_error(error: &FetchError) -> Error {
    match error.kind {
        FetchErrorKind::Timeout => Error::new(
            ErrorKind::UpstreamTimeout,
            "chat.qwen.ai did not take the connection in time. Send the request again.",
        ),
        FetchErrorKind::Cancelled => Error::new(ErrorKind::UpstreamError, "The client left before the answer."),
        FetchErrorKind::Connect | FetchErrorKind::Forbidden => Error::new(
            ErrorKind::UpstreamError,
            "chat.qwen.ai cannot be reached. Look at this server's connection (QWEN_BASE_URL).",
        )
        .retryable(),
        FetchErrorKind::Broken => {
            Error::new(ErrorKind::UpstreamError, "The connection to chat.qwen.ai broke. Send the request again.")
                .retryable()
        }
    }
    .with_detail(error.detail.clone())
}
