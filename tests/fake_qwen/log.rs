//! What was asked, and what became of it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use hyper::http::request::Parts;
use serde_json::Value;

const MAX_REQUESTS: usize = 200_000;
const MAX_LOGGED_BODY: usize = 256 << 10;
const MAX_LOGGED_BYTES: usize = 256 << 20;

/// How far a response came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No response headers yet.
    Pending,
    /// Headers are out, the body is not.
    Answered,
    /// The whole body was delivered.
    Finished,
    /// The peer went away before that.
    ClosedByPeer,
    /// The connection was cut because the script said so.
    ClosedByFake,
}

const OUTCOMES: [Outcome; 5] =
    [Outcome::Pending, Outcome::Answered, Outcome::Finished, Outcome::ClosedByPeer, Outcome::ClosedByFake];

/// A request as it arrived; its outcome is live.
#[derive(Debug)]
pub struct Seen {
    /// Upper-case method.
    pub method: String,
    /// Path with the query, as sent.
    pub path_and_query: String,
    /// Lower-case names, in order of arrival, repeated ones repeated.
    pub headers: Vec<(String, String)>,
    /// Body as text, at most 256 KiB of it; empty for requests to the storage.
    pub body: String,
    outcome: AtomicU8,
}

impl Seen {
    /// How far the response has come by now.
    pub fn outcome(&self) -> Outcome {
        OUTCOMES[usize::from(self.outcome.load(Ordering::SeqCst))]
    }

    /// First header of that name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; `Null` if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

#[derive(Default)]
pub(super) struct Log(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    seen: VecDeque<Arc<Seen>>,
    bytes: usize,
    /// Of all requests, also those no longer held.
    total: usize,
}

impl Log {
    pub(super) fn record(&self, parts: &Parts, body: &[u8]) -> Ticket {
        let headers = parts
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        let seen = Arc::new(Seen {
            method: parts.method.to_string(),
            path_and_query: parts.uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
            headers: headers.collect(),
            body: String::from_utf8_lossy(&body[..body.len().min(MAX_LOGGED_BODY)]).into_owned(),
            outcome: AtomicU8::new(0),
        });
        let mut entries = self.0.lock().unwrap();
        entries.total += 1;
        entries.bytes += seen.body.len();
        entries.seen.push_back(seen.clone());
        while entries.seen.len() > MAX_REQUESTS || entries.bytes > MAX_LOGGED_BYTES {
            let Some(old) = entries.seen.pop_front() else { break };
            entries.bytes -= old.body.len();
        }
        Ticket(seen)
    }

    pub(super) fn all(&self) -> Vec<Arc<Seen>> {
        self.0.lock().unwrap().seen.iter().cloned().collect()
    }

    pub(super) fn total(&self) -> usize {
        self.0.lock().unwrap().total
    }
}

/// Goes with a request until its response ends; dropped early, it says that the peer left.
pub(super) struct Ticket(Arc<Seen>);

impl Ticket {
    pub(super) fn answered(&self) {
        self.set(Outcome::Answered);
    }

    pub(super) fn finished(&self) {
        self.set(Outcome::Finished);
    }

    pub(super) fn closed_by_fake(&self) {
        self.set(Outcome::ClosedByFake);
    }

    fn set(&self, outcome: Outcome) {
        self.0.outcome.store(outcome as u8, Ordering::SeqCst);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if matches!(self.0.outcome(), Outcome::Pending | Outcome::Answered) {
            self.set(Outcome::ClosedByPeer);
        }
    }
}
