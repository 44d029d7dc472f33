//! The client of chat.qwen.ai: chats and turns, asked for with the account's session.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Method;
use serde_json::Value as Json;

use crate::{
    config::{AccountName, Config},
    credentials_input::CredentialsInput,
    error::{Error, ErrorKind, Result},
    platform::StoreHealth,
    platform::telemetry::UpstreamKind,
    platform::{self, ByteStream},
    secret::Secret,
    upstream::{Host, Owner},
};

#[cfg(not(target_arch = "wasm32"))]
use super::past_chats::{self, ChatSummary, PastChat};
use super::{
    errors,
    http_client::{HttpClient, Purpose},
    ids,
    model_cache::ModelCache,
    session::{Credentials, CredentialsLease, Session},
    turn::{Turn, Work},
    wire,
};

/// How long a chat that is busy with an earlier turn is waited for.
const BUSY_WAITS: [Duration; 2] = [Duration::from_millis(500), Duration::from_millis(1500)];

/// How long the site may take to stop an answer.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// The answer to a turn as it comes.
pub struct TurnStream {
    /// Its bytes.
    pub body: ByteStream,
    /// What it was asked for with.
    pub lease: CredentialsLease,
}

/// The site as seen with one account. Shared by all requests.
#[derive(Debug)]
pub struct Client {
    name: AccountName,
    pub(super) http: Arc<HttpClient>,
    pub(super) session: Arc<Session>,
    pub(super) oss_url: Option<String>,
    pub(super) max_image: u64,
    pub(super) max_file: u64,
    pub(super) store_health: Arc<StoreHealth>,
    pub(super) aliases: BTreeMap<String, String>,
    pub(super) default_model: String,
    pub(super) media_text_model: String,
    pub(super) model_cache: Arc<ModelCache>,
}

impl Client {
    /// The site as `config` describes it, with the account of this name. All accounts share the list of models.
    #[must_use]
    pub fn new(
        config: &Config,
        account: &AccountName,
        store_health: Arc<StoreHealth>,
        model_cache: Arc<ModelCache>,
    ) -> Self {
        let http = Arc::new(HttpClient::new(config));
        Self {
            name: account.clone(),
            session: Arc::new(Session::new(config, account, Arc::clone(&http), Arc::clone(&store_health))),
            http,
            oss_url: config.oss_url.clone(),
            max_image: config.max_image_bytes,
            max_file: config.max_file_bytes,
            store_health,
            aliases: config.model_aliases.clone(),
            default_model: config.default_model.clone(),
            media_text_model: config.media_text_model.clone(),
            model_cache,
        }
    }

    /// How far this machine's clock is ahead of the site's, in seconds.
    #[must_use]
    pub fn clock_skew_seconds(&self) -> i64 {
        self.http.clock().skew_seconds()
    }

    /// The account's session.
    #[must_use]
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// The error, which says where the session of this account is replaced.
    #[must_use]
    pub fn for_account(&self, error: Error) -> Error {
        if self.name.is_default() { error } else { error.for_account(self.name.as_str()) }
    }

    /// Takes the session that a person pasted, after a check; see [`Session`]. Returns whether it is stored.
    ///
    /// # Errors
    /// What the site says against it; on the Worker also `store_unavailable`.
    pub async fn give_session(&self, platform: &impl Host, pasted: CredentialsInput) -> Result<bool> {
        let CredentialsInput { cookies, token, user_agent, host: _ } = pasted;
        let (cookies, token) = (cookies.as_ref().map(Secret::expose), token.as_ref().map(Secret::expose));
        match Credentials::new(cookies, token) {
            Some(credentials) => self.session.replace(platform, credentials.of_browser(user_agent)).await,
            None => Err(Error::new(ErrorKind::InvalidRequest, crate::credentials_input::NO_TOKEN)),
        }
    }

    /// Whether a host is the site's: its cookies are sent there.
    #[must_use]
    pub fn is_own_host(&self, host: &str) -> bool {
        host == "qwen.ai" || host.ends_with(".qwen.ai") || self.http.host().as_deref() == Some(host)
    }

    /// The count of the store's failures.
    #[must_use]
    pub fn store_health(&self) -> &StoreHealth {
        &self.store_health
    }

    /// Creates a chat and returns its id.
    ///
    /// # Errors
    /// Any refusal of the site.
    pub async fn new_chat(&self, platform: &impl Host, owner: &Owner, model: &str, work: Work<'_>) -> Result<String> {
        retry_after_refresh!(self, platform, Some(owner), used, {
            let body = wire::new_chat_body(model, work.chat_type(), self.http.clock().of_site(platform.now()));
            let (head, body) = self.request(platform, &used, Method::POST, wire::NEW_CHAT, body).await?;
            let id = crate::json::from_bytes::<Json>(&body)
                .ok()
                .filter(|json| head.status.is_success() && json.get("success") != Some(&Json::Bool(false)))
                .and_then(|json| {
                    json.pointer("/data/id").and_then(Json::as_str).filter(|id| ids::is_id(id)).map(str::to_owned)
                });
            match id {
                Some(id) => {
                    self.session.accepted(platform, &used);
                    Ok(id)
                }
                None => Err(self.refused(platform, &used, &head, &body)),
            }
        })
    }

    /// Deletes a chat; one that is gone already counts as deleted.
    ///
    /// # Errors
    /// Any other refusal of the site.
    pub async fn delete_chat(&self, platform: &impl Host, owner: Option<&Owner>, chat_id: &str) -> Result<()> {
        if !ids::is_id(chat_id) {
            return Err(Error::invalid("id", "This is not the id of a chat."));
        }
        retry_after_refresh!(self, platform, owner, used, {
            let path = wire::chat(chat_id);
            let (head, body) = self.request(platform, &used, Method::DELETE, &path, Bytes::new()).await?;
            let refused = head.status.is_success()
                && !body.is_empty()
                && crate::json::from_bytes::<Json>(&body)
                    .ok()
                    .is_none_or(|json| json.get("success") == Some(&Json::Bool(false)));
            if (head.status.is_success() && !refused) || head.status == http::StatusCode::NOT_FOUND {
                return Ok(());
            }
            match self.refused(platform, &used, &head, &body) {
                error if error.kind() == ErrorKind::ChatGone => Ok(()),
                error => Err(error),
            }
        })
    }

    /// A page of the account's chats, the first being 1; empty behind the last.
    ///
    /// # Errors
    /// Any refusal of the site.
    #[cfg(not(target_arch = "wasm32"))]
    pub async fn past_chats(&self, platform: &impl Host, page: u32) -> Result<Vec<ChatSummary>> {
        self.past(platform, &wire::chats(page), past_chats::page).await
    }

    /// A chat of the account with its messages.
    ///
    /// # Errors
    /// Any refusal of the site.
    #[cfg(not(target_arch = "wasm32"))]
    pub async fn past_chat(&self, platform: &impl Host, chat_id: &str) -> Result<PastChat> {
        self.past(platform, &wire::chat(chat_id), past_chats::chat).await
    }

    #[cfg(not(target_arch = "wasm32"))]
    async fn past<T>(&self, platform: &impl Host, path: &str, read: fn(&[u8]) -> Option<T>) -> Result<T> {
        self.session.ready(platform).await?;
        retry_after_refresh!(self, platform, None, used, {
            let (head, body) = self.request(platform, &used, Method::GET, path, Bytes::new()).await?;
            let found = Some(&body).filter(|_| head.status.is_success()).and_then(|body| read(body));
            found.ok_or_else(|| self.refused(platform, &used, &head, &body))
        })
    }

    /// Sends a turn to a chat that exists; waits a little while it is busy with an earlier turn.
    ///
    /// # Errors
    /// As of [`Self::complete`].
    pub async fn continue_chat(&self, platform: &impl Host, owner: &Owner, turn: &Turn<'_>) -> Result<TurnStream> {
        for wait in BUSY_WAITS {
            match self.complete(platform, owner, turn).await {
                Err(error) if error.kind() == ErrorKind::ChatBusy => platform.sleep(wait).await,
                done => return done,
            }
        }
        self.complete(platform, owner, turn).await
    }

    /// Sends a turn and returns the bytes of the answer stream, for a [`Decoder`](super::decoder::Decoder) to read.
    ///
    /// # Errors
    /// Any refusal of the site that comes instead of a stream; `request_too_large` before anything is sent.
    pub async fn complete(&self, platform: &impl Host, owner: &Owner, turn: &Turn<'_>) -> Result<TurnStream> {
        let path = wire::completions(turn.chat_id);
        let body = wire::turn_body(turn, platform)?;
        retry_after_refresh!(self, platform, Some(owner), used, {
            let purpose = Purpose::Turn { chat_id: turn.chat_id };
            let credentials = used.credentials.as_deref();
            let request = self.http.request(platform, credentials, Method::POST, &path, purpose, body.clone())?;
            let answer = self.http.send(platform, UpstreamKind::Turn, request).await?;
            if errors::is_stream(answer.status(), answer.headers()) {
                self.session.accepted(platform, &used);
                return Ok(TurnStream { body: answer.into_body(), lease: used.clone() });
            }
            let (head, body) = self.http.whole(platform, answer).await?;
            let error = errors::from_turn(head.status, &head.headers, &body);
            self.session.refused(platform, &used, &error);
            Err(error)
        })
    }

    /// Ends an answer that nobody reads on. Without it the chat stays busy until the site has written all of it. A failure is
    /// logged: the next turn then waits, or gets a new chat.
    pub async fn stop(&self, platform: &impl Host, owner: &Owner, chat_id: &str, response_id: Option<&str>) {
        let stopped = async {
            let used = self.session.lease_for(Some(owner))?;
            let body = wire::stop_body(chat_id, response_id);
            let (head, body) = self.request(platform, &used, Method::POST, wire::STOP, body).await?;
            if head.status.is_success() { Ok(()) } else { Err(errors::from_answer(head.status, &head.headers, &body)) }
        };
        match platform::timeout(platform, STOP_TIMEOUT, stopped).await {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::warn!(%error, "an answer could not be stopped"),
            None => tracing::warn!("stopping an answer took too long"),
        }
    }

    /// Notes an error that came within a stream, so that the session's state follows it.
    pub fn note(&self, platform: &impl Host, used: &CredentialsLease, error: &Error) {
        self.session.refused(platform, used, error);
    }

    /// After an error within a stream of which nothing was passed on: refreshes the session, so that the turn may be sent once
    /// more.
    ///
    /// # Errors
    /// That error, or what hinders the refresh.
    pub async fn refresh_after(&self, platform: &impl Host, used: &CredentialsLease, error: Error) -> Result<()> {
        self.session.refresh_after(platform, used, error).await
    }

    /// The error of an idle stream.
    #[must_use]
    pub fn idle_error(&self) -> Error {
        self.http.idle_error()
    }

    /// Asks for data with these credentials and reads the answer whole.
    pub(super) async fn request(
        &self,
        platform: &impl Host,
        used: &CredentialsLease,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(http::response::Parts, Bytes)> {
        let credentials = used.credentials.as_deref();
        let request = self.http.request(platform, credentials, method, path, Purpose::Data, body)?;
        self.http.exchange(platform, UpstreamKind::Site, request).await
    }

    pub(super) fn refused(
        &self,
        platform: &impl Host,
        used: &CredentialsLease,
        head: &http::response::Parts,
        body: &[u8],
    ) -> Error {
        let error = errors::from_answer(head.status, &head.headers, body);
        self.session.refused(platform, used, &error);
        error
    }
}
