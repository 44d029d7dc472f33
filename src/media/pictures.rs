//! Draws pictures. A person has a handful a day, so nothing is asked for twice: the request is a row of the store before the
//! site is asked, equal requests share it, a lost stream is looked up in its chat, and a client that leaves stops nothing but
//! what is not begun.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{
    StreamExt as _,
    channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded},
    future::{Either, select},
    stream,
};

use super::{
    order::Order,
    record::{Failure, Record, Slot},
};
use crate::{
    error::{Error, ErrorKind, Result},
    limiter::ConcurrencyLimiter,
    llm::Usage,
    platform::{Platform, StoreHealth},
    sealing::Cipher,
    store::media::{self as table, Hold},
    unix_time::UnixMillis,
    upstream::{ChatAnswer, DRAW_TIMEOUT, DrawAsk, Drawing, DrawnPicture, Upstream, WantedAnswer},
};

/// For how long an equal request gets the same answer.
pub const REPEATS: Duration = Duration::from_secs(10 * 60);
/// How many pictures of one request are drawn at once.
const CONCURRENT: usize = 2;
/// How long a request belongs to whoever works on it, and how often that is renewed.
const HOLD: Duration = Duration::from_secs(30);
const RENEWAL: Duration = Duration::from_secs(10);
/// How often a request that somebody else works on is looked at.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How often a chat is read for a picture that did not come, and the pause between.
const MAX_READS: u32 = 3;
const READ_INTERVAL: Duration = Duration::from_secs(5);
/// When a client may ask again after the site had no room.
const OVERLOAD_PAUSE: Duration = Duration::from_secs(30);

/// What drawing needs. A clone shares it.
#[derive(Clone, Debug)]
pub struct Pictures {
    /// Who draws.
    pub upstream: Upstream,
    /// Limits what the upstream does at once.
    pub limiter: Arc<ConcurrencyLimiter>,
    /// Encrypts what the store has.
    pub cipher: Arc<Cipher>,
    /// How often the store failed.
    pub store_health: Arc<StoreHealth>,
}

/// A picture, and where it was drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// The picture.
    pub picture: DrawnPicture,
    /// Its chat.
    pub chat_id: String,
    /// The upstream message that it is in; empty when that is not known.
    pub response_id: String,
    /// The token counts that the upstream reported.
    pub usage: Usage,
}

/// What comes of a request.
#[derive(Debug)]
pub enum Progress {
    /// A picture.
    Picture(Drawn),
    /// The end: how it went, or the first error where there is no picture at all.
    Ended(Result<Outcome>),
}

/// How a request went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How many of the wanted pictures were drawn.
    pub drawn: usize,
    /// How many were wanted.
    pub wanted: usize,
    /// The token counts of all.
    pub usage: Usage,
}

impl Pictures {
    /// Draws in the background and returns what comes of it. Who drops the receiver gets no further picture begun; the one in
    /// the making is drawn to its end.
    pub fn draw<P: Platform>(&self, platform: &P, order: Order) -> UnboundedReceiver<Progress> {
        let (sender, receiver) = unbounded();
        let detached = platform.detached();
        let job = Job {
            platform: detached.clone(),
            pictures: self.clone(),
            state: Mutex::new(State {
                record: Record::new(order.count),
                told: vec![false; order.count],
                is_held: false,
            }),
            order,
            holder: name(platform),
            sender,
        };
        detached.defer(async move { job.run().await });
        receiver
    }
}

/// A name that nobody else has.
fn name(platform: &impl Platform) -> String {
    crate::digest::key(crate::digest::link([0; 32], b'h', &crate::platform::unique(platform)))
}

/// What was seen of a picture's stream.
enum Seen {
    /// Nothing: another process has asked for it.
    Nothing,
    /// Its end without a picture, and why.
    End(Option<Error>),
}

/// One request, as one process works on it.
struct Job<P> {
    platform: P,
    pictures: Pictures,
    order: Order,
    /// Who works on it.
    holder: String,
    sender: UnboundedSender<Progress>,
    state: Mutex<State>,
}

struct State {
    record: Record,
    /// Which slots the client knows of.
    told: Vec<bool>,
    /// Whether the store has the request as ours.
    is_held: bool,
}

impl<P: Platform> Job<P> {
    async fn run(self) {
        let mut attempt = None;
        loop {
            let Some((is_ours, row)) = self.begin_or_read(attempt.as_deref()).await else {
                // Without the store nobody else knows of the request.
                return self.work().await;
            };
            if is_ours {
                self.state().is_held = true;
                return self.work().await;
            }
            let record = self.unseal(&row.body);
            let is_known = attempt.is_some();
            attempt = Some(row.attempt.clone());
            let Some(record) = record else { return self.work().await };
            self.tell(&record);
            match row.state.as_str() {
                "running" if row.held_until <= self.platform.now() => {
                    let hold = self.hold();
                    let now = self.platform.now();
                    let taken =
                        table::take_drawing_over(&self.platform, &self.order.key, &row.attempt, hold, now).await;
                    if self.ok("going on with a picture", taken) == Some(true) {
                        {
                            let mut state = self.state();
                            state.record = record;
                            state.is_held = true;
                        }
                        return self.work().await;
                    }
                }
                "running" => {}
                // Failed before this request came: `begin_or_read` begins it anew. Failed meanwhile: that is the answer.
                _ if is_known || row.state == "done" => {
                    self.state().record = record;
                    return self.end();
                }
                _ => {}
            }
            if self.sender.is_closed() {
                return;
            }
            self.platform.sleep(POLL_INTERVAL).await;
        }
    }

    /// Begins the request, unless it runs or was answered a short while ago; a request that is waited for is only read. `None`
    /// when the store fails.
    async fn begin_or_read(&self, attempt: Option<&str>) -> Option<(bool, table::Drawing)> {
        let key = &self.order.key;
        if attempt.is_some() {
            let row = table::find_drawing(&self.platform, key).await;
            if let Some(row) = self.ok("reading a request for pictures", row)? {
                return Some((false, row));
            }
        }
        let now = self.platform.now();
        let not_before = if self.order.is_fresh { now.saturating_add(REPEATS) } else { now.saturating_sub(REPEATS) };
        let body = self.sealed()?;
        let begun = table::begin_drawing(&self.platform, key, self.hold(), &body, (now, not_before)).await;
        self.ok("noting a request for pictures", begun)
    }

    /// Draws what is missing.
    async fn work(&self) {
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, index: usize, change: impl FnOnce(&mut Slot)) {
        if let Some(slot) = self.state().record.slots.get_mut(index) {
            change(slot);
        }
    }

    fn hold(&self) -> Hold<'_> {
        Hold { holder: &self.holder, until: self.platform.now().saturating_add(HOLD) }
    }

    /// Writes the request down as it is.
    async fn write(&self) {
        if !self.state().is_held {
            return;
        }
        let Some(body) = self.sealed() else { return };
        let state = self.state().record.state();
        let hold = match state {
            // Whoever asks again goes on at once.
            "running" if self.sender.is_closed() && self.is_idle() => {
                Hold { holder: &self.holder, until: UnixMillis::default() }
            }
            _ => self.hold(),
        };
        let now = self.platform.now();
        let written = table::write_drawing(&self.platform, &self.order.key, hold, (state, &body), now).await;
        if self.ok("writing a request for pictures", written) == Some(false) {
            self.state().is_held = false;
        }
    }

    /// Whether no picture is in the making.
    fn is_idle(&self) -> bool {
        self.state().record.slots.iter().all(|slot| slot.is_done() || slot.chat_id.is_empty())
    }

    fn sealed(&self) -> Option<String> {
        let text = serde_json::to_string(&self.state().record).ok()?;
        let random = [self.platform.random().ok()?, self.platform.random().ok()?];
        self.pictures.cipher.encrypt(&text, &self.order.key, random)
    }

    fn unseal(&self, body: &str) -> Option<Record> {
        let text = self.pictures.cipher.decrypt(body, &self.order.key);
        let text = text.inspect_err(|problem| tracing::warn!(problem, "a request for pictures cannot be read")).ok()?;
        serde_json::from_str(&text).ok()
    }

    fn ok<T>(&self, what: &'static str, done: Result<T, crate::platform::DatabaseError>) -> Option<T> {
        self.pictures.store_health.ok_or_log(what, done)
    }

    /// Tells the client of what it does not know yet.
    fn tell(&self, record: &Record) {
        for index in 0..record.slots.len() {
            self.tell_of(index, record.slots.get(index));
        }
    }

    fn tell_slot(&self, index: usize) {
        let slot = self.state().record.slots.get(index).cloned();
        self.tell_of(index, slot.as_ref());
    }

    fn tell_of(&self, index: usize, slot: Option<&Slot>) {
        let Some(slot) = slot.filter(|slot| !slot.pictures.is_empty()) else { return };
        let was_told = self.state().told.get_mut(index).map(|told| std::mem::replace(told, true));
        if was_told == Some(false) {
            for picture in slot.drawn() {
                let (chat_id, response_id) = (slot.chat_id.clone(), slot.response_id.clone());
                let drawn = Drawn { picture, chat_id, response_id, usage: slot.usage() };
                let _ = self.sender.unbounded_send(Progress::Picture(drawn));
            }
        }
    }

    fn end(&self) {
        let record = self.state().record.clone();
        self.tell(&record);
        let outcome = match record.error() {
            Some(error) => Err(error),
            None => Ok(Outcome {
                drawn: record.slots.iter().filter(|slot| !slot.pictures.is_empty()).count(),
                wanted: record.slots.len(),
                usage: record.usage(),
            }),
        };
        let _ = self.sender.unbounded_send(Progress::Ended(outcome));
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
