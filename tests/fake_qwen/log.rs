//! The recorded requests and their outcomes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use hyper::http::request::Parts;
use serde_json::Value;

const MAX_REQUESTS: usize = 200_000;
const MAX_LOGGED_BODY: usize = 256 << 10;
const MAX_LOGGED_BYTES: usize = 256 << 20;

/// The progress of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The response headers are not sent yet.
    Pending,
    /// The headers are sent, the body is incomplete.
    Answered,
    /// The whole body was sent.
    Finished,
    /// The client disconnected before that.
    ClosedByPeer,
    /// The fake cut the connection.
    ClosedByFake,
}

const OUTCOMES: [Outcome; 5] =
    [Outcome::Pending, Outcome::Answered, Outcome::Finished, Outcome::ClosedByPeer, Outcome::ClosedByFake];

/// A request as received; the outcome changes while it is answered.
#[derive(Debug)]
pub struct RecordedRequest {
    /// Upper-case method.
    pub method: String,
    /// Path with the query, as sent.
    pub path_and_query: String,
    /// Names in lower case, in the order of arrival, including repeated fields.
    pub headers: Vec<(String, String)>,
    /// The first 256 KiB of the body as text; empty for requests to the storage.
    pub body: String,
    outcome: AtomicU8,
}

impl RecordedRequest {
    /// The current progress of the response.
    pub fn outcome(&self) -> Outcome {
        OUTCOMES[usize::from(self.outcome.load(Ordering::SeqCst))]
    }

    /// The first header with this name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; `Null` if it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

#[derive(Default)]
pub(crate) struct Log(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    requests: VecDeque<Arc<RecordedRequest>>,
    bytes: usize,
    /// The number of all requests, including removed ones.
    total: usize,
}

impl Log {
    pub(crate) fn record(&self, parts: &Parts, body: &[u8]) -> OutcomeGuard {
        let headers = parts
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        let request = Arc::new(RecordedRequest {
            method: parts.method.to_string(),
            path_and_query: parts.uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
            headers: headers.collect(),
            body: String::from_utf8_lossy(&body[..body.len().min(MAX_LOGGED_BODY)]).into_owned(),
            outcome: AtomicU8::new(0),
        });
        let mut entries = self.0.lock().unwrap();
        entries.total += 1;
        entries.bytes += request.body.len();
        entries.requests.push_back(request.clone());
        while entries.requests.len() > MAX_REQUESTS || entries.bytes > MAX_LOGGED_BYTES {
            let Some(old) = entries.requests.pop_front() else { break };
            entries.bytes -= old.body.len();
        }
        OutcomeGuard(request)
    }

    pub(crate) fn all(&self) -> Vec<Arc<RecordedRequest>> {
        self.0.lock().unwrap().requests.iter().cloned().collect()
    }

    pub(crate) fn total(&self) -> usize {
        self.0.lock().unwrap().total
    }
}

/// Sets the outcome of a request. Dropping it before the response has ended means that the client disconnected.
pub(crate) struct OutcomeGuard(Arc<RecordedRequest>);

impl OutcomeGuard {
    pub(crate) fn request(&self) -> Arc<RecordedRequest> {
        Arc::clone(&self.0)
    }

    pub(crate) fn answered(&self) {
        self.set(Outcome::Answered);
    }

    pub(crate) fn finished(&self) {
        self.set(Outcome::Finished);
    }

    pub(crate) fn closed_by_fake(&self) {
        self.set(Outcome::ClosedByFake);
    }

    fn set(&self, outcome: Outcome) {
        self.0.outcome.store(outcome as u8, Ordering::SeqCst);
    }
}

impl Drop for OutcomeGuard {
    fn drop(&mut self) {
        if matches!(self.0.outcome(), Outcome::Pending | Outcome::Answered) {
            self.set(Outcome::ClosedByPeer);
        }
    }
}
