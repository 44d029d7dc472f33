//! What is noted of one request, for its log line and for the metrics: names, numbers and times; no content, no secrets.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::unix_time::UnixSeconds;

/// Notes of one request. Copies share them.
#[derive(Clone, Debug, Default)]
pub struct RequestMetrics(Arc<Mutex<RequestRecord>>);

/// How a request went on from here to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// The client left before the end of the answer.
    #[default]
    ClientLeft,
    /// The answer was handed out to its end.
    Answered,
    /// A stream ended with an error event.
    Failed,
}

impl Outcome {
    /// The word in log lines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientLeft => "client left",
            Self::Answered => "answered",
            Self::Failed => "failed",
        }
    }
}

/// What a request asked of the outside world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamKind {
    /// The chat site's answer to a turn.
    Turn,
    /// Everything else of the chat site.
    Site,
    /// The renewal of the session.
    Renewal,
    /// The site's storage.
    Storage,
    /// A host that a client's link names.
    Link,
}

impl UpstreamKind {
    /// The word in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Turn => "turn",
            Self::Site => "site",
            Self::Renewal => "renewal",
            Self::Storage => "storage",
            Self::Link => "link",
        }
    }
}

/// The notes.
#[derive(Clone, Debug, Default)]
pub struct RequestRecord {
    /// Id, as the client sees it.
    pub request_id: String,
    /// HTTP method.
    pub method: String,
    /// The route as the table has it, or `none`.
    pub route: &'static str,
    /// The model that the client asked for.
    pub model: Option<String>,
    /// Whether a chat's answer is streamed.
    pub stream: Option<bool>,
    /// Whether a chat's history was found.
    pub hit: Option<bool>,
    /// HTTP status.
    pub status: u16,
    /// Code of the error, in the answer or at the end of a stream.
    pub code: Option<&'static str>,
    /// Requests sent to others.
    pub upstream_calls: u32,
    /// The last status that others answered with; 0 = none came.
    pub upstream_status: Option<u16>,
    /// The longest wait for the head of another server's answer.
    pub upstream_wait: Duration,
    /// From the request to the first word of a streamed answer.
    pub first_token: Option<Duration>,
    /// From the request to the end of the answer.
    pub total: Duration,
    /// What the server itself took: its own work, and waits for its store.
    pub own: Duration,
    /// Bytes of the request's body, as declared.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
    /// How it ended.
    pub outcome: Outcome,
}

impl RequestMetrics {
    /// The notes, to read or to add to.
    pub fn record(&self) -> MutexGuard<'_, RequestRecord> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds to what the server itself took.
    pub fn record_overhead(&self, took: Duration) {
        let mut record = self.record();
        record.own = record.own.saturating_add(took);
    }

    /// Notes an answer's head from another server; `None` = none came.
    pub fn record_upstream_call(&self, status: Option<u16>, took: Duration) {
        let mut record = self.record();
        record.upstream_calls = record.upstream_calls.saturating_add(1);
        record.upstream_status = Some(status.unwrap_or(0));
        record.upstream_wait = record.upstream_wait.max(took);
    }
}

/// Something to count.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A request has ended.
    Request(&'a RequestRecord),
    /// A chat's stream has begun.
    StreamBegan,
    /// A chat's stream has ended.
    StreamEnded,
    /// Another server answered, or did not (`None`), after this time.
    UpstreamCall(UpstreamKind, Option<u16>, Duration),
}

/// What is known without counting, for the metrics.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    /// Failures of the store since the start.
    pub store_errors: u64,
    /// Turns that the site is busy with.
    pub in_flight: u64,
    /// Turns that wait for their place.
    pub waiting: u64,
    /// The state of the session.
    pub session_state: &'static str,
    /// All states that there are.
    pub session_states: &'static [&'static str],
    /// When the access token ends.
    pub session_expires_at: Option<UnixSeconds>,
}
