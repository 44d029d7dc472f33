//! The site's list of models as all requests share it: one asks for all, and for a while nobody asks again, whatever came of
//! it. Anybody may ask this server for the list, without a key.
//!
//! Between isolates a row in the store says when the site was last asked, and what came of it. Whoever asks does so in a task
//! of its own, so that a client who leaves cannot stop it. Requests that wait for it poll.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::Method;
use serde::{Deserialize, Serialize};

use super::{
    client::Client,
    errors,
    model_cache::{Failure, Next, RETRY_PAUSE},
    model_names::{self, Choice, Names, PictureChoice},
    models::{Model, ModelList},
    poll::Poll,
    session::CredentialsLease,
    wire,
};
use crate::{
    error::{Error, ErrorKind, Result},
    llm::Quality,
    platform,
    unix_time::UnixMillis,
    upstream::Host,
};

/// How long the site may take. The Worker ends deferred work after 30 s.
const FETCH_TIMEOUT: Duration = Duration::from_secs(25);
/// How often the store is asked whether another isolate has got the list.
const STORE_POLL_INTERVAL: Duration = Duration::from_millis(500);
/// The key of the last good list in the store.
const LIST_KEY: &str = "models";
/// The key of the last time that the site was asked: an empty text, or what came of it if that was no list.
const ASKED_KEY: &str = "models-asked";
/// What may come of it.
const FAILURES: &[ErrorKind] = &[
    ErrorKind::UpstreamError,
    ErrorKind::UpstreamInvalid,
    ErrorKind::UpstreamEmpty,
    ErrorKind::UpstreamTimeout,
    ErrorKind::UpstreamRejected,
    ErrorKind::RateLimited,
    ErrorKind::QuotaExceeded,
    ErrorKind::SessionExpired,
    ErrorKind::Challenge,
    ErrorKind::Configuration,
];

/// A failure as other isolates read it.
#[derive(Serialize, Deserialize)]
struct StoredFailure {
    code: String,
    message: String,
    /// The name of the account that asked.
    #[serde(default)]
    account: String,
}

/// What came of waiting for another isolate.
enum Waited {
    /// The list.
    Taken,
    /// The site said something about the session of another account.
    OfNoUse,
}

/// How long a chat waits for the list of models before it goes on without one.
const CHAT_TIMEOUT: Duration = Duration::from_secs(3);

impl Client {
    /// What a client's model name means. Never fails: without a list the name is taken by its look.
    pub async fn choose<P: Host>(self: &Arc<Self>, platform: &P, name: &str) -> (Choice, Option<Model>) {
        let list = self.any_models(platform, CHAT_TIMEOUT).await;
        let names = Names { live: list.as_ref(), aliases: &self.aliases, default: &self.default_model };
        let choice = model_names::choose(name, names);
        let model = list.and_then(|list| list.get(&choice.id).cloned());
        (choice, model)
    }

    /// The same by the list at hand: the site is not asked.
    pub fn choose_at_hand(&self, name: &str) -> (Choice, Option<Model>) {
        let list = self.model_cache.current_list();
        let names = Names { live: list.as_ref(), aliases: &self.aliases, default: &self.default_model };
        let choice = model_names::choose(name, names);
        let model = list.and_then(|list| list.get(&choice.id).cloned());
        (choice, model)
    }

    /// What a client's name of an image model means. Never fails.
    pub async fn choose_picture<P: Host>(
        self: &Arc<Self>,
        platform: &P,
        name: &str,
        quality: Quality,
    ) -> PictureChoice {
        let list = self.any_models(platform, CHAT_TIMEOUT).await;
        let names = Names { live: list.as_ref(), aliases: &self.aliases, default: &self.default_model };
        model_names::choose_picture(name, quality, &self.media_text_model, names)
    }

    /// The upstream id of the text model that carries a video, by a client's name of a video model. Never fails.
    pub async fn choose_video<P: Host>(self: &Arc<Self>, platform: &P, name: &str) -> String {
        let list = self.any_models(platform, CHAT_TIMEOUT).await;
        let names = Names { live: list.as_ref(), aliases: &self.aliases, default: &self.default_model };
        model_names::choose_video(name, &self.media_text_model, names)
    }

    /// Whether a name of a chat's model means that the answer is a picture.
    #[must_use]
    pub fn draws(&self, name: &str) -> bool {
        model_names::draws(name, &self.aliases)
    }

    /// The live list: from memory while fresh, else from the site, else the last good one, kept in the store across restarts.
    ///
    /// # Errors
    /// When the site does not give the list and there never was one.
    pub async fn models<P: Host>(self: &Arc<Self>, platform: &P) -> Result<ModelList> {
        self.listed(platform, true).await
    }

    /// The list at hand, or the first that comes within `timeout`.
    pub(super) async fn any_models<P: Host>(self: &Arc<Self>, platform: &P, timeout: Duration) -> Option<ModelList> {
        if let Some(list) = self.model_cache.current_list() {
            return Some(list);
        }
        // Apart: else each chat took the memory of this rare way, for as long as it is being opened.
        let fetched = Box::pin(platform::timeout(platform, timeout, self.listed(platform, false)));
        fetched.await.and_then(Result::ok)
    }

    /// Asks the site for the list, whatever came of it the last time: for the operator, not for clients.
    ///
    /// # Errors
    /// When the site does not give the list and there never was one.
    pub async fn fetch_models<P: Host>(self: &Arc<Self>, platform: &P) -> Result<ModelList> {
        self.session.sync(platform).await;
        self.begin_asking(platform, true);
        self.listed(platform, true).await
    }

    /// Whether the list should be fetched again (it is older than 10 minutes).
    #[must_use]
    pub fn models_are_stale(&self, now: UnixMillis) -> bool {
        !self.model_cache.state().is_fresh(now)
    }

    async fn listed<P: Host>(self: &Arc<Self>, platform: &P, mut waits: bool) -> Result<ModelList> {
        // Who finds somebody asking already takes an old list; who asks waits for the new one.
        waits &= platform.now() >= self.model_cache.state().asking_until;
        let mut poll = Poll::new();
        loop {
            let next = self.model_cache.state().next(platform.now(), &self.session.asker(), waits);
            match next {
                Next::Take(list) => return Ok(list),
                Next::GiveUp(error) => return Err(self.session.challenge(platform.now()).unwrap_or(error)),
                Next::Ask => {
                    self.session.sync(platform).await;
                    self.begin_asking(platform, false);
                }
                Next::Wait => poll.pause(platform).await,
            }
        }
    }

    /// Begins to ask in the background, unless somebody does already, or, without `forced`, there is nothing to ask for.
    fn begin_asking<P: Host>(self: &Arc<Self>, platform: &P, forced: bool) {
        let now = platform.now();
        let asker = self.session.asker();
        {
            let mut state = self.model_cache.state();
            if now < state.asking_until || !(forced || matches!(state.next(now, &asker, true), Next::Ask)) {
                return;
            }
            state.asking_until = now.saturating_add(FETCH_TIMEOUT.saturating_mul(2));
            if forced {
                state.fetched_at = UnixMillis::default();
                state.failure = None;
            }
        }
        let (qwen, detached) = (Arc::clone(self), platform.detached());
        platform.defer(async move {
            let asked = platform::timeout(&detached, FETCH_TIMEOUT, qwen.ask_for_all(&detached, forced)).await;
            let took_too_long =
                || Error::new(ErrorKind::UpstreamTimeout, "chat.qwen.ai took too long to list its models.");
            let failure = asked.unwrap_or_else(|| Err((took_too_long(), now))).err();
            let mut state = qwen.model_cache.state();
            state.asking_until = UnixMillis::default();
            if let Some((error, at)) = failure {
                let message = error.message().to_owned();
                state.failure = Some(Failure { at, kind: error.kind(), message, asker });
            }
        });
    }

    /// Gets the list: from the store if it is fresh there, from another isolate that asks, or from the site. A failure comes
    /// with its time.
    async fn ask_for_all<P: Host>(&self, platform: &P, forced: bool) -> Result<(), (Error, UnixMillis)> {
        self.take_kept(platform).await;
        let now = platform.now();
        if !forced && self.model_cache.state().is_fresh(now) {
            return Ok(());
        }
        // No call at all, though this one needs no session.
        if let Some(challenge) = self.session.challenge(now) {
            return Err((challenge, now));
        }
        // Others who are as new as this one find the site being asked.
        let last = if forced { now } else { now.saturating_sub(RETRY_PAUSE) };
        let claimed = platform.claim(ASKED_KEY, now, last).await;
        if self.store_health.ok_or_log("noting that the site is asked for its models", claimed) == Some(false)
            && let Waited::Taken = self.wait_for_another(platform).await?
        {
            return Ok(());
        }
        let used = self.session.current();
        match self.models_of_site(platform, &used).await {
            Ok(list) => {
                // Before any request gets it: a program that ends right after its answer has stored it.
                let now = platform.now();
                match list.to_store() {
                    Ok(text) => {
                        let kept = platform.keep(LIST_KEY, text, now).await;
                        self.store_health.ok_or_log("keeping the list of models", kept);
                    }
                    Err(error) => tracing::error!(%error, "the list of models cannot be written as JSON"),
                }
                self.model_cache.put(list, now);
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, "no list of models from the site");
                // This route needs no session, so its answer says nothing of the session.
                if error.kind() == ErrorKind::Challenge {
                    self.session.refused(platform, &used, &error);
                }
                let stored = StoredFailure {
                    code: error.kind().code().to_owned(),
                    message: error.message().to_owned(),
                    account: self.session.asker().account.to_string(),
                };
                match serde_json::to_string(&stored) {
                    Ok(text) => {
                        let kept = platform.keep(ASKED_KEY, text, now).await;
                        self.store_health.ok_or_log("noting that the site returns no list of models", kept);
                    }
                    Err(error) => tracing::error!(%error, "a failure cannot be written as JSON"),
                }
                Err((error, now))
            }
        }
    }

    async fn models_of_site(&self, platform: &impl Host, used: &CredentialsLease) -> Result<ModelList> {
        let (head, body) = self.request(platform, used, Method::GET, wire::MODELS, Bytes::new()).await?;
        ModelList::from_upstream(&body)
            .filter(|_| head.status.is_success())
            .ok_or_else(|| errors::from_answer(head.status, &head.headers, &body))
    }

    /// Takes the list out of the store, where that is newer.
    async fn take_kept(&self, platform: &impl Host) {
        let kept = platform.cached(LIST_KEY).await;
        let kept = self.store_health.ok_or_log("reading the kept list of models", kept).flatten();
        let known = self.model_cache.state().fetched_at;
        if let Some((text, kept_at)) =
            kept.filter(|(_, kept_at)| *kept_at > known || self.model_cache.current_list().is_none())
            && let Some(list) = ModelList::from_store(&text)
        {
            self.model_cache.put(list, kept_at);
        }
    }

    /// Another isolate asked within the pause: what it got counts here as well.
    async fn wait_for_another(&self, platform: &impl Host) -> Result<Waited, (Error, UnixMillis)> {
        loop {
            let asked =
                self.store_health.ok_or_log("reading when the models were asked for", platform.cached(ASKED_KEY).await);
            let (stored, at) = asked.flatten().unwrap_or_default();
            if let Ok(StoredFailure { code, message, account }) = serde_json::from_str(&stored) {
                let kind = FAILURES.iter().copied().find(|kind| kind.code() == code);
                let is_of_session = matches!(kind, Some(ErrorKind::Challenge | ErrorKind::SessionExpired));
                if is_of_session && !account.is_empty() && account != self.session.asker().account.as_str() {
                    return Ok(Waited::OfNoUse);
                }
                return Err((Error::new(kind.unwrap_or(ErrorKind::UpstreamError), message), at));
            }
            self.take_kept(platform).await;
            if self.model_cache.state().is_fresh(platform.now()) {
                return Ok(Waited::Taken);
            }
            if platform.now().since(at) >= RETRY_PAUSE {
                let message = "chat.qwen.ai was asked for its models and has not answered. Send the request again.";
                return Err((Error::new(ErrorKind::UpstreamTimeout, message), platform.now()));
            }
            platform.sleep(STORE_POLL_INTERVAL).await;
        }
    }
}
