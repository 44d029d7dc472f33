//! Draws the pictures of a request: each is asked for once, and one that does not come in the stream is looked up in its chat.

use std::time::Duration;

use futures::{
    StreamExt as _,
    future::{Either, select},
    stream,
};

use super::{
    job::{Job, Pictures},
    order::Order,
    record::{Failure, Slot},
};
use crate::{
    error::{Error, ErrorKind, Result},
    platform::Platform,
    upstream::{ChatAnswer, DRAW_TIMEOUT, DrawAsk, Drawing, WantedAnswer},
};

/// How many pictures of one request are drawn at once.
const CONCURRENT: usize = 2;
/// How often it is renewed that the request belongs to this process.
const RENEWAL: Duration = Duration::from_secs(10);
/// How often a chat is read for a picture that did not come, and the pause between.
const MAX_READS: u32 = 3;
const READ_INTERVAL: Duration = Duration::from_secs(5);
/// When a client may ask again after the site had no room.
const OVERLOAD_PAUSE: Duration = Duration::from_secs(30);

/// What was seen of a picture's stream.
enum Seen {
    /// Nothing: another process has asked for it.
    Nothing,
    /// Its end without a picture, and why.
    End(Option<Error>),
}

impl<P: Platform> Job<P> {
    /// Draws what is missing.
    pub(super) async fn work(&self) {
        let count = self.order.count;
        let all =
            stream::iter(0..count).map(|index| self.slot(index)).buffer_unordered(CONCURRENT).collect::<Vec<()>>();
        let mut all = std::pin::pin!(all);
        loop {
            match select(all.as_mut(), self.platform.sleep(RENEWAL)).await {
                Either::Left(_) => break,
                Either::Right(_) => self.write().await,
            }
        }
        // What is not begun is left to whoever asks again.
        self.write().await;
        self.end();
    }

    /// Draws one picture, or goes on with it.
    async fn slot(&self, index: usize) {
        let slot = self.state().record.slots.get(index).cloned().unwrap_or_default();
        if slot.is_done() {
            return self.tell_slot(index);
        }
        let drawn = if slot.chat_id.is_empty() {
            if self.sender.is_closed() || self.is_refused() {
                return;
            }
            self.draw(index).await
        } else {
            self.recover(index, Seen::Nothing).await
        };
        let drawn = drawn.map_err(picture_error);
        {
            let mut state = self.state();
            if let (Some(slot), Err(error)) = (state.record.slots.get_mut(index), &drawn) {
                tracing::warn!(%error, "a picture was not drawn");
                slot.failure = Some(Failure::of(error));
            }
        }
        if drawn.is_err() && self.is_refused() {
            self.give_up_rest(index);
        }
        self.write().await;
        self.tell_slot(index);
    }

    /// Asks for a picture, once.
    async fn draw(&self, index: usize) -> Result<()> {
        let Self { platform, pictures: Pictures { upstream, limiter, .. }, order, .. } = self;
        let _permit = limiter.acquire(platform).await?;
        upstream.check(platform.now())?;
        let ask = self.ask();
        let chat_id = match &order.node {
            Some((chat_id, _)) => chat_id.clone(),
            None => upstream.new_drawing(platform, &order.owner, &ask).await?,
        };
        self.change(index, |slot| {
            slot.chat_id.clone_from(&chat_id);
            slot.asked_at = platform.now();
        });
        self.write().await;
        let parent = order.node.as_ref().and_then(|(_, parent)| parent.as_deref());
        let drawing = upstream.draw(platform, &order.owner, (&chat_id, parent), &ask).await;
        // A refusal in the place of a stream: the site has begun nothing.
        let Drawing { pictures, response_id, usage, text, error } = drawing?;
        let is_drawn = !pictures.is_empty();
        self.change(index, |slot| {
            slot.response_id = response_id.unwrap_or_default();
            slot.tokens = (usage.prompt, usage.completion, usage.total);
            slot.text = text;
            slot.set_pictures(pictures);
        });
        match error {
            _ if is_drawn => Ok(()),
            Some(error) if is_refusal(&error) => Err(error.without_repeat()),
            error => self.recover(index, Seen::End(error)).await,
        }
    }

    /// Looks for a picture that did not come in the stream: it may be drawn, and is paid for.
    async fn recover(&self, index: usize, seen: Seen) -> Result<()> {
        let Self { platform, pictures: Pictures { upstream, .. }, order, .. } = self;
        let slot = self.state().record.slots.get(index).cloned().unwrap_or_default();
        let parent = order.node.as_ref().and_then(|(_, parent)| parent.as_deref());
        let ends_at = slot.asked_at.saturating_add(DRAW_TIMEOUT);
        let mut reads = 0_u32;
        loop {
            let wanted = WantedAnswer::After(parent);
            let answer = upstream.chat_answer(platform, &order.owner, &slot.chat_id, wanted).await;
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) if error.needs_a_person() => return Err(error.without_repeat()),
                Err(error) => {
                    tracing::info!(%error, "a picture's chat cannot be read");
                    None
                }
            };
            let is_late = platform.now() >= ends_at;
            if let Some(answer) = answer {
                let pictures = answer.pictures(self.echoes());
                let ChatAnswer { response_id, is_finished, .. } = answer;
                if !pictures.is_empty() {
                    self.change(index, |slot| {
                        slot.response_id = response_id;
                        slot.set_pictures(pictures);
                    });
                    return Ok(());
                }
                if !is_finished && !is_late && matches!(seen, Seen::Nothing) {
                    // It is still being drawn.
                    platform.sleep(READ_INTERVAL).await;
                    continue;
                }
            }
            reads = reads.saturating_add(1);
            if reads >= MAX_READS {
                break;
            }
            platform.sleep(READ_INTERVAL).await;
        }
        let lost = match seen {
            Seen::Nothing => None,
            Seen::End(error) => error,
        };
        let is_late =
            platform.now() >= ends_at || lost.as_ref().is_some_and(|it| it.kind() == ErrorKind::UpstreamTimeout);
        let error = if is_late { too_late() } else { nothing_drawn(&slot) };
        let detail = lost.map(|lost| lost.to_string()).unwrap_or_default();
        Err(error.with_detail(detail).without_repeat())
    }

    fn ask(&self) -> DrawAsk<'_> {
        let Order { text_model, image_model, ratio, prompt, files, .. } = &self.order;
        DrawAsk {
            text_model,
            image_model: image_model.as_deref(),
            ratio: *ratio,
            prompt,
            files,
            is_edit: self.order.is_edit,
        }
    }

    fn echoes(&self) -> impl Iterator<Item = &str> {
        self.order.files.iter().filter_map(|file| file.json().get("url")?.as_str())
    }

    /// Whether the site has refused one picture for a reason that holds for all.
    fn is_refused(&self) -> bool {
        let stops = |error: &Error| {
            error.needs_a_person() || matches!(error.kind(), ErrorKind::QuotaExceeded | ErrorKind::ContentFilter)
        };
        self.state().record.slots.iter().filter_map(|slot| slot.failure.as_ref()).any(|failure| stops(&failure.error()))
    }

    /// The pictures that are not begun fail as this one did.
    fn give_up_rest(&self, index: usize) {
        let mut state = self.state();
        let failure = state.record.slots.get(index).and_then(|slot| slot.failure.clone());
        for slot in state.record.slots.iter_mut().filter(|slot| slot.chat_id.is_empty() && !slot.is_done()) {
            slot.failure.clone_from(&failure);
        }
    }
}

/// Whether the site says itself that there will be no picture.
fn is_refusal(error: &Error) -> bool {
    error.needs_a_person()
        || matches!(
            error.kind(),
            ErrorKind::QuotaExceeded
                | ErrorKind::RateLimited
                | ErrorKind::ContentFilter
                | ErrorKind::ModelNotFound
                | ErrorKind::UpstreamRejected
        )
}

/// The error as clients of pictures know it.
pub(super) fn picture_error(error: Error) -> Error {
    match error.kind() {
        // Nothing was drawn, and it is worth another try.
        ErrorKind::RateLimited => Error::new(ErrorKind::UpstreamOverloaded, error.message().to_owned())
            .with_retry_after(error.retry_after().unwrap_or(OVERLOAD_PAUSE)),
        ErrorKind::QuotaExceeded => error.without_repeat(),
        _ => error,
    }
}

fn too_late() -> Error {
    let message = format!(
        "chat.qwen.ai has drawn no picture within {} s. Look into the chats of this account at chat.qwen.ai before you ask again: the picture may be there, and each one counts.",
        DRAW_TIMEOUT.as_secs()
    );
    Error::new(ErrorKind::UpstreamTimeout, message)
}

fn nothing_drawn(slot: &Slot) -> Error {
    let said = slot.text.trim();
    let words: String = said.chars().filter(|character| !character.is_control()).take(300).collect();
    let message = if words.is_empty() {
        "chat.qwen.ai has drawn no picture and gave no reason. Ask again, or word it differently.".to_owned()
    } else {
        format!("chat.qwen.ai has drawn no picture and answered: {words}")
    };
    Error::new(ErrorKind::UpstreamEmpty, message)
}
