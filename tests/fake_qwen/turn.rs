//! A running completion. It keeps its chat busy, and records its messages there when the response ends or is dropped.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::oneshot;

use super::Shared;
use super::transcript::Transcript;

/// The question of a turn and the ids of its messages.
pub(super) struct Exchange {
    pub(super) chat_id: String,
    pub(super) parent_id: Option<String>,
    pub(super) user_id: String,
    pub(super) response_id: String,
    pub(super) fid: String,
    pub(super) prompt: String,
    pub(super) model: String,
    pub(super) chat_type: String,
    pub(super) files: Value,
    pub(super) incremental: bool,
}

/// The length of an answer without an end.
const ENDLESS: Duration = Duration::from_secs(24 * 3600);

pub(super) struct Turn {
    shared: Arc<Shared>,
    exchange: Exchange,
    /// The number of sent bytes after which the turn is complete.
    complete_at: Option<usize>,
    linger: Duration,
    /// Until when the chat stays busy if the client leaves.
    busy_until: Option<Instant>,
    /// Receives a message when the client stops the answer.
    stopped: Option<oneshot::Receiver<()>>,
    sent: Vec<u8>,
    completed: bool,
    /// Whether the chat has the messages already.
    recorded: bool,
}

impl Turn {
    /// Marks the chat busy; returns `None` if another turn runs in it.
    pub(super) fn begin(shared: &Arc<Shared>, exchange: Exchange) -> Option<Turn> {
        let stopped = shared.chats.lock().unwrap().begin(&exchange.chat_id, &exchange.response_id)?;
        shared.open_streams.fetch_add(1, Ordering::SeqCst);
        Some(Turn {
            shared: shared.clone(),
            exchange,
            complete_at: None,
            linger: Duration::ZERO,
            busy_until: None,
            stopped: Some(stopped),
            sent: Vec::new(),
            completed: false,
            recorded: false,
        })
    }

    /// Completes the turn before the byte `at` is sent, so that a client that reacts at once finds the chat idle.
    pub(super) fn complete_at(&mut self, at: Option<usize>) {
        self.complete_at = at;
    }

    /// Puts the messages into the chat at once, whatever is sent.
    pub(super) fn record_now(&mut self) {
        self.recorded = true;
        let answer = Transcript { begun: true, finished: true, ..Transcript::default() };
        self.shared.chats.lock().unwrap().record(&self.exchange, answer);
    }

    /// Keeps the chat busy for this long after the turn.
    pub(super) fn set_linger(&mut self, linger: Duration) {
        self.linger = linger;
    }

    /// If the client leaves early, keeps the chat busy until it is stopped or `length` has passed; `None` is without an end.
    pub(super) fn stay_busy(&mut self, length: Option<Duration>) {
        self.busy_until = Some(Instant::now() + length.unwrap_or(ENDLESS));
    }

    /// Whether the client has just stopped this answer.
    pub(super) fn poll_stopped(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(stopped) = &mut self.stopped else { return false };
        let Poll::Ready(message) = Pin::new(stopped).poll(cx) else { return false };
        self.stopped = None;
        message.is_ok()
    }

    pub(super) fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    pub(super) fn sending(&mut self, bytes: &[u8]) {
        if self.completed {
            return;
        }
        self.sent.extend_from_slice(bytes);
        if self.complete_at.is_some_and(|at| self.sent.len() >= at) {
            self.complete();
        }
    }

    fn complete(&mut self) {
        self.completed = true;
        let sent = std::mem::take(&mut self.sent);
        let transcript = Transcript::of(&sent, &self.exchange.response_id, self.exchange.incremental);
        let mut chats = self.shared.chats.lock().unwrap();
        if transcript.begun && !self.recorded {
            chats.record(&self.exchange, transcript);
        }
        chats.end(&self.exchange.chat_id, &self.exchange.response_id, self.linger);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.completed {
            let left = self.busy_until.map(|until| until.saturating_duration_since(Instant::now()));
            self.linger = self.linger.max(left.unwrap_or_default());
            self.complete();
        }
        self.shared.open_streams.fetch_sub(1, Ordering::SeqCst);
    }
}
