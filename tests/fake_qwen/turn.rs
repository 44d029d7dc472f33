//! One running completion: keeps its chat busy, and leaves its messages there when it ends, however it ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;

use super::Shared;
use super::transcript::Transcript;

/// What one turn adds to a chat.
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

pub(super) struct Turn {
    shared: Arc<Shared>,
    exchange: Exchange,
    /// Number of bytes after which the upstream considers itself done.
    settle_at: Option<usize>,
    linger: Duration,
    sent: Vec<u8>,
    settled: bool,
}

impl Turn {
    /// Marks the chat busy; `None` if another turn runs in it.
    pub(super) fn begin(shared: &Arc<Shared>, exchange: Exchange) -> Option<Turn> {
        if !shared.chats.lock().unwrap().set_busy(&exchange.chat_id) {
            return None;
        }
        shared.open.fetch_add(1, Ordering::SeqCst);
        Some(Turn {
            shared: shared.clone(),
            exchange,
            settle_at: None,
            linger: Duration::ZERO,
            sent: Vec::new(),
            settled: false,
        })
    }

    /// The chat is settled before the byte `at` goes out, so that a client that reacts at once finds it idle.
    pub(super) fn settle_at(&mut self, at: Option<usize>) {
        self.settle_at = at;
    }

    /// The chat stays busy for that long after the turn.
    pub(super) fn linger(&mut self, linger: Duration) {
        self.linger = linger;
    }

    pub(super) fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    pub(super) fn sending(&mut self, bytes: &[u8]) {
        if self.settled {
            return;
        }
        self.sent.extend_from_slice(bytes);
        if self.settle_at.is_some_and(|at| self.sent.len() >= at) {
            self.settle();
        }
    }

    fn settle(&mut self) {
        self.settled = true;
        let sent = std::mem::take(&mut self.sent);
        let transcript = Transcript::of(&sent, &self.exchange.response_id, self.exchange.incremental);
        let mut chats = self.shared.chats.lock().unwrap();
        if transcript.begun {
            chats.record(&self.exchange, transcript);
        }
        chats.set_idle(&self.exchange.chat_id, self.linger);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.settled {
            self.settle();
        }
        self.shared.open.fetch_sub(1, Ordering::SeqCst);
    }
}
