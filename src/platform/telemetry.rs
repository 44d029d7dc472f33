//! The record of one request, for its log line and for the metrics: names, numbers and times; no content, no secrets.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::unix_time::UnixSeconds;

/// A shared handle to the record of one request. Clones share the record.
#[derive(Clone, Debug, Default)]
pub struct RequestMetrics(Arc<Mutex<RequestRecord>>);

/// How a request ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// The client left before the end of the answer.
    #[default]
    ClientLeft,
    /// The whole answer was sent.
    Answered,
    /// A stream ended with an error event.
    Failed,
}

impl Outcome {
    /// Returns the value in log lines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientLeft => "client left",
            Self::Answered => "answered",
            Self::Failed => "failed",
        }
    }
}

/// What a request to another server was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamKind {
    /// The answer to a turn.
    Turn,
    /// Any other endpoint of the chat site.
    Site,
    /// The renewal of the access token.
    Renewal,
    /// The object storage.
    Storage,
    /// The host of a link in a client's message.
    Link,
    /// The second upstream.
    Fallback,
}

impl UpstreamKind {
    /// Returns the label in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Turn => "turn",
            Self::Site => "site",
            Self::Renewal => "renewal",
            Self::Storage => "storage",
            Self::Link => "link",
            Self::Fallback => "fallback",
        }
    }
}

/// What is recorded of one request.
#[derive(Clone, Debug, Default)]
pub struct RequestRecord {
    /// The id that the client sees.
    pub request_id: String,
    /// The HTTP method.
    pub method: String,
    /// The path in the route table, or `none` for an unknown route.
    pub route: &'static str,
    /// The account that the client's key uses.
    pub account: Option<Arc<str>>,
    /// The model that the client requested.
    pub model: Option<String>,
    /// Whether a chat completion is streamed.
    pub stream: Option<bool>,
    /// Whether the conversation's history was found.
    pub hit: Option<bool>,
    /// The upstream that was asked for the answer, by its name in `x-upstream`.
    pub upstream: Option<&'static str>,
    /// The HTTP status.
    pub status: u16,
    /// The error code in the answer, or at the end of a stream.
    pub code: Option<&'static str>,
    /// The number of requests to other servers.
    pub upstream_calls: u32,
    /// The status of the last answer of another server; 0 if no answer arrived.
    pub upstream_status: Option<u16>,
    /// The longest wait for the head of an answer of another server.
    pub upstream_wait: Duration,
    /// From the request to the first delta of a streamed answer.
    pub first_token: Option<Duration>,
    /// From the request to the end of the answer.
    pub total: Duration,
    /// The server's own time: computation, and waits for its store.
    pub own: Duration,
    /// The declared length of the request's body, in bytes.
    pub bytes_in: u64,
    /// The length of the answer's body, in bytes.
    pub bytes_out: u64,
    /// How the request ended.
    pub outcome: Outcome,
}

impl RequestMetrics {
    /// Returns the record, to read or to change.
    pub fn record(&self) -> MutexGuard<'_, RequestRecord> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds to the server's own time.
    pub fn record_overhead(&self, took: Duration) {
        let mut record = self.record();
        record.own = record.own.saturating_add(took);
    }

    /// Records a request to another server. `status` is `None` if no answer arrived.
    pub fn record_upstream_call(&self, status: Option<u16>, took: Duration) {
        let mut record = self.record();
        record.upstream_calls = record.upstream_calls.saturating_add(1);
        record.upstream_status = Some(status.unwrap_or(0));
        record.upstream_wait = record.upstream_wait.max(took);
    }
}

/// An event that is counted.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A request has ended.
    Request(&'a RequestRecord),
    /// A streamed answer has begun.
    StreamBegan,
    /// A streamed answer has ended.
    StreamEnded,
    /// Another server sent the head of an answer with this status, or no answer (`None`), after this time.
    UpstreamCall(UpstreamKind, Option<u16>, Duration),
}

/// Values that the metrics report without counting.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    /// The number of failures of the store since the start.
    pub store_errors: u64,
    /// Every state of a session.
    pub session_states: &'static [&'static str],
    /// The accounts.
    pub accounts: Vec<AccountGauges>,
}

/// Values of one account that the metrics report without counting.
#[derive(Clone, Debug)]
pub struct AccountGauges {
    /// Its name.
    pub account: Arc<str>,
    /// The number of turns that the upstream works on.
    pub in_flight: u64,
    /// The number of turns that wait for a permit.
    pub waiting: u64,
    /// The session's current state.
    pub session_state: &'static str,
    /// When the access token expires.
    pub session_expires_at: Option<UnixSeconds>,
}
