//! One request for pictures as one process works on it: what is known of it, its row in the store, and what its client is told.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::channel::mpsc::UnboundedSender;

use super::{
    order::Order,
    record::{Record, Slot},
};
use crate::{
    error::{Error, ErrorKind, Result},
    limiter::ConcurrencyLimiter,
    llm::Usage,
    platform::{DatabaseError, Platform, StoreHealth},
    sealing::Cipher,
    store::media::{self as table, Hold},
    unix_time::UnixMillis,
    upstream::{DrawnPicture, Upstream},
};

/// How long a request belongs to whoever works on it.
const HOLD: Duration = Duration::from_secs(30);

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

/// The error of pictures whose drawing ended without a word.
#[must_use]
pub fn interrupted() -> Error {
    let message = "This server was interrupted while the picture was drawn. Send the request again.";
    Error::new(ErrorKind::UpstreamError, message)
}

/// One request, as one process works on it.
pub(super) struct Job<P> {
    pub(super) platform: P,
    pub(super) pictures: Pictures,
    pub(super) order: Order,
    /// Who works on it.
    pub(super) holder: String,
    pub(super) sender: UnboundedSender<Progress>,
    pub(super) state: Mutex<State>,
}

pub(super) struct State {
    pub(super) record: Record,
    /// Which slots the client knows of.
    pub(super) told: Vec<bool>,
    /// Whether the store has the request as ours.
    pub(super) is_held: bool,
}

impl<P: Platform> Job<P> {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change(&self, index: usize, change: impl FnOnce(&mut Slot)) {
        if let Some(slot) = self.state().record.slots.get_mut(index) {
            change(slot);
        }
    }

    pub(super) fn hold(&self) -> Hold<'_> {
        Hold { holder: &self.holder, until: self.platform.now().saturating_add(HOLD) }
    }

    /// Writes the request down as it is.
    pub(super) async fn write(&self) {
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

    pub(super) fn sealed(&self) -> Option<String> {
        let text = serde_json::to_string(&self.state().record).ok()?;
        let random = [self.platform.random().ok()?, self.platform.random().ok()?];
        self.pictures.cipher.encrypt(&text, &self.order.key, random)
    }

    pub(super) fn unseal(&self, body: &str) -> Option<Record> {
        let text = self.pictures.cipher.decrypt(body, &self.order.key);
        let text = text.inspect_err(|problem| tracing::warn!(problem, "a request for pictures cannot be read")).ok()?;
        serde_json::from_str(&text).ok()
    }

    pub(super) fn ok<T>(&self, what: &'static str, done: Result<T, DatabaseError>) -> Option<T> {
        self.pictures.store_health.ok_or_log(what, done)
    }

    /// Tells the client of what it does not know yet.
    pub(super) fn tell(&self, record: &Record) {
        for index in 0..record.slots.len() {
            self.tell_of(index, record.slots.get(index));
        }
    }

    pub(super) fn tell_slot(&self, index: usize) {
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

    pub(super) fn end(&self) {
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
