//! Pictures and videos: asked for, looked up in a chat, polled, and opened (docs/upstream-protocol.md, 8.1 to 8.3).

mod chat_answer;
mod drawing;
mod files;
mod task;

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::Method;
use serde_json::Value as Json;

pub use chat_answer::{ChatAnswer, WantedAnswer};
pub use drawing::{Drawing, DrawnPicture, FilmTask};
pub use files::MediaRequest;
pub use task::TaskState;

use super::{
    client::Client,
    decoder::Decoder,
    errors,
    http_client::{Purpose, Sent, broken_error},
    ids,
    turn::Turn,
    wire,
};
use crate::{
    error::{Error, ErrorKind, Result},
    platform,
    upstream::{Host, Owner},
};

/// How long a picture may take. The slowest model took 80 s; a stream may be silent for all of it.
pub(crate) const DRAW_TIMEOUT: Duration = Duration::from_secs(300);
impl Client {
    /// Asks for a picture once and reads all that comes. `echoes` = the links of the pictures that go along.
    ///
    /// A stream that breaks, is silent for 300 s or brings nothing is no error of this function: [`Drawing::error`] says why
    /// there is no picture, and the site may draw one all the same.
    ///
    /// # Errors
    /// Refusals that come instead of a stream: the site then draws nothing.
    pub async fn draw(&self, platform: &impl Host, owner: &Owner, turn: &Turn<'_>, echoes: &[&str]) -> Result<Drawing> {
        let path = wire::completions(turn.chat_id);
        let body = wire::turn_body(turn, platform)?;
        let silent = || Error::new(ErrorKind::UpstreamTimeout, "chat.qwen.ai has drawn nothing for 300 s.");
        retry_after_refresh!(self, platform, Some(owner), used, {
            let credentials = used.credentials.as_deref();
            let purpose = Purpose::Turn { chat_id: turn.chat_id };
            let request = self.http.request(platform, credentials, Method::POST, &path, purpose, body.clone())?;
            let begun = platform.elapsed();
            let answer = match self.http.send_once(platform, request, DRAW_TIMEOUT).await? {
                Sent::Answered(answer) => answer,
                Sent::Lost(error) => return Ok(Drawing { error: Some(error), ..Drawing::default() }),
            };
            if !errors::is_stream(answer.status(), answer.headers()) {
                let (head, body) = self.http.whole(platform, answer).await?;
                let error = errors::from_turn(head.status, &head.headers, &body);
                self.session.refused(platform, &used, &error);
                return Err(error);
            }
            self.session.accepted(platform, &used);
            let mut body = answer.into_body();
            let (mut decoder, mut drawing) = (Decoder::default(), Drawing::default());
            decoder.expect_echoes(echoes.iter().copied());
            let read = async {
                while let Some(piece) = body.next().await {
                    let piece = piece.map_err(|error| broken_error(&error, false))?;
                    if !decoder.feed(&piece, &mut drawing)? {
                        return Ok(());
                    }
                }
                decoder.finish(&mut drawing)
            };
            let left = DRAW_TIMEOUT.saturating_sub(platform.elapsed().saturating_sub(begun));
            let ended = platform::timeout(platform, left, read).await.unwrap_or_else(|| Err(silent()));
            decoder.end_pictures(&mut drawing);
            drawing.response_id = decoder.response_id().map(str::to_owned);
            drawing.usage = decoder.usage();
            if let Err(error) = ended {
                self.session.refused(platform, &used, &error);
                drawing.error = Some(error);
            }
            Ok(drawing)
        })
    }

    /// Reads an answer of a chat; `None` when the chat has no such answer.
    ///
    /// # Errors
    /// Any refusal of the site.
    pub async fn chat_answer(
        &self,
        platform: &impl Host,
        owner: &Owner,
        chat_id: &str,
        wanted: WantedAnswer<'_>,
    ) -> Result<Option<ChatAnswer>> {
        if !ids::is_id(chat_id) {
            return Ok(None);
        }
        retry_after_refresh!(self, platform, Some(owner), used, {
            let (head, body) = self.request(platform, &used, Method::GET, &wire::chat(chat_id), Bytes::new()).await?;
            let json = crate::json::from_bytes::<Json>(&body).ok().filter(|_| head.status.is_success());
            match json.as_ref().and_then(|json| chat_answer::read(json, wanted)) {
                Some(answer) => {
                    self.session.accepted(platform, &used);
                    Ok(answer)
                }
                None => Err(self.refused(platform, &used, &head, &body)),
            }
        })
    }

    /// Begins a video and returns its task; `None` when the site has taken the request and named no task.
    ///
    /// # Errors
    /// Refusals, after which the site makes nothing. Whether a request has arrived whose connection broke, or that a gateway
    /// answered, is unknown: `None`.
    pub async fn film(&self, platform: &impl Host, owner: &Owner, turn: &Turn<'_>) -> Result<Option<FilmTask>> {
        let path = wire::completions(turn.chat_id);
        let body = wire::turn_body(turn, platform)?;
        retry_after_refresh!(self, platform, Some(owner), used, {
            let credentials = used.credentials.as_deref();
            let purpose = Purpose::Turn { chat_id: turn.chat_id };
            let request = self.http.request(platform, credentials, Method::POST, &path, purpose, body.clone())?;
            let Sent::Answered(answer) = self.http.send_once(platform, request, self.http.idle()).await? else {
                return Ok(None);
            };
            let Ok((head, body)) = self.http.whole(platform, answer).await else { return Ok(None) };
            let json = crate::json::from_bytes::<Json>(&body).ok().filter(|json| {
                let is_taken = json.get("success") == Some(&Json::Bool(true)) || task::begun(json).is_some();
                head.status.is_success() && is_taken && json.get("success") != Some(&Json::Bool(false))
            });
            let Some(json) = json else {
                let error = self.refused(platform, &used, &head, &body);
                let is_lost = !is_refusal(&head, &body) && is_vague(&error);
                return if is_lost { Ok(None) } else { Err(error) };
            };
            self.session.accepted(platform, &used);
            Ok(task::begun(&json))
        })
    }

    /// The state of a task. `None` when neither route says anything about it: it is worth asking again.
    ///
    /// # Errors
    /// The session's, and the site's human check.
    pub async fn task(&self, platform: &impl Host, owner: &Owner, task_id: &str) -> Result<Option<TaskState>> {
        if !ids::is_id(task_id) {
            return Ok(Some(TaskState::Unknown));
        }
        let mut is_unknown = false;
        for path in wire::task_routes(task_id) {
            let state = retry_after_refresh!(self, platform, Some(owner), used, {
                let (head, body) = self.request(platform, &used, Method::GET, &path, Bytes::new()).await?;
                task::read(&body).ok_or_else(|| self.refused(platform, &used, &head, &body))
            });
            match state {
                // The other route may know it.
                Ok(TaskState::Unknown) => is_unknown = true,
                Ok(state) => return Ok(Some(state)),
                Err(error) if error.needs_a_person() => return Err(error),
                Err(error) => tracing::info!(%error, "a task's state cannot be read"),
            }
        }
        Ok(is_unknown.then_some(TaskState::Unknown))
    }
}

/// Whether the site itself says no, in its own form or by a status of the client's fault.
fn is_refusal(head: &http::response::Parts, body: &[u8]) -> bool {
    let says_no = |json: Json| json.get("success") == Some(&Json::Bool(false));
    head.status.is_client_error() || crate::json::from_bytes::<Json>(body).is_ok_and(says_no)
}

/// Whether an error leaves open what became of the request.
fn is_vague(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UpstreamError
            | ErrorKind::UpstreamEmpty
            | ErrorKind::UpstreamInvalid
            | ErrorKind::UpstreamTimeout
            | ErrorKind::UpstreamTruncated
    )
}
