//! The box's metrics, in Prometheus' text format.

use std::{fmt::Write as _, sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use crate::{
    platform::Gauges,
    platform::telemetry::{Event, RequestRecord},
};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Request {
    route: &'static str,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Code {
    code: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Call {
    call: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallStatus {
    call: &'static str,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Found {
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct State {
    state: &'static str,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// Every metric that events feed.
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    errors: Family<Code, Counter>,
    upstream: Histograms<Call>,
    upstream_answers: Family<CallStatus, Counter>,
    first_token: Histogram,
    duration: Histogram,
    overhead: Histogram,
    open_streams: Gauge,
    conversations: Family<Found, Counter>,
    client_left: Counter,
    store_errors: Gauge,
    in_flight: Gauge,
    waiting: Gauge,
    session: Family<State, Gauge>,
    session_end: Gauge<f64, AtomicU64>,
}

/// From some milliseconds to some minutes.
fn waits() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 16))
}

/// From ten microseconds to some hundred milliseconds.
fn work() -> Histogram {
    Histogram::new(exponential_buckets(0.000_01, 2.0, 16))
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("qwen_edge"),
            requests: Family::default(),
            errors: Family::default(),
            upstream: Family::new_with_constructor(waits),
            upstream_answers: Family::default(),
            first_token: waits(),
            duration: waits(),
            overhead: work(),
            open_streams: Gauge::default(),
            conversations: Family::default(),
            client_left: Counter::default(),
            store_errors: Gauge::default(),
            in_flight: Gauge::default(),
            waiting: Gauge::default(),
            session: Family::default(),
            session_end: Gauge::default(),
        };
        let all = &mut metrics.registry;
        all.register("requests", "Requests answered, by route and status", metrics.requests.clone());
        all.register("errors", "Errors told, in answers and at the end of streams", metrics.errors.clone());
        let seconds = || Unit::Seconds;
        all.register_with_unit(
            "upstream",
            "Wait for the head of another server's answer",
            seconds(),
            metrics.upstream.clone(),
        );
        all.register(
            "upstream_answers",
            "Answers of other servers by status; 0 = none came",
            metrics.upstream_answers.clone(),
        );
        let first = metrics.first_token.clone();
        all.register_with_unit("first_token", "From a streamed request to its first word", seconds(), first);
        let duration = metrics.duration.clone();
        all.register_with_unit("request_duration", "From a request to the end of its answer", seconds(), duration);
        let overhead = metrics.overhead.clone();
        let help = "What the server itself took of a request: its work and its store, without waits for others";
        all.register_with_unit("overhead", help, seconds(), overhead);
        all.register("open_streams", "Streamed answers that have not ended", metrics.open_streams.clone());
        all.register("conversations", "Chats whose history was found, or not", metrics.conversations.clone());
        all.register("client_left", "Requests whose client left before the end", metrics.client_left.clone());
        all.register("store_errors", "Failures of the store since the start", metrics.store_errors.clone());
        all.register("in_flight", "Turns that the site is busy with", metrics.in_flight.clone());
        all.register("queue", "Turns that wait for their place", metrics.waiting.clone());
        all.register("session_state", "1 for the state that the Qwen session is in", metrics.session.clone());
        let end = metrics.session_end.clone();
        all.register_with_unit("session_expires_at", "When the access token ends, in Unix time", seconds(), end);
        metrics
    }

    pub(super) fn count(&self, event: Event<'_>) {
        match event {
            Event::Request(record) => self.count_request(record),
            Event::StreamBegan => drop(self.open_streams.inc()),
            Event::StreamEnded => drop(self.open_streams.dec()),
            Event::UpstreamCall(what, status, took) => {
                let call = what.as_str();
                self.upstream.get_or_create(&Call { call }).observe(took.as_secs_f64());
                self.upstream_answers.get_or_create(&CallStatus { call, status: status.unwrap_or(0) }).inc();
            }
        }
    }

    fn count_request(&self, record: &RequestRecord) {
        let seconds = |time: Duration| time.as_secs_f64();
        self.requests.get_or_create(&Request { route: record.route, status: record.status }).inc();
        self.duration.observe(seconds(record.total));
        self.overhead.observe(seconds(record.own));
        if let Some(code) = record.code {
            self.errors.get_or_create(&Code { code }).inc();
        }
        if let Some(first) = record.first_token {
            self.first_token.observe(seconds(first));
        }
        if let Some(hit) = record.hit {
            self.conversations.get_or_create(&Found { result: if hit { "hit" } else { "miss" } }).inc();
        }
        if record.outcome == crate::platform::telemetry::Outcome::ClientLeft {
            self.client_left.inc();
        }
    }

    /// All metrics as text: of Prometheus' own format, which every scraper reads.
    pub(super) fn text(&self, now: &Gauges) -> String {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.store_errors.set(number(now.store_errors));
        self.in_flight.set(number(now.in_flight));
        self.waiting.set(number(now.waiting));
        for state in now.session_states {
            self.session.get_or_create(&State { state }).set(i64::from(*state == now.session_state));
        }
        self.session_end.set(now.session_expires_at.unwrap_or_default().get() as f64);
        let mut open_metrics = String::new();
        // Writing into a string cannot fail.
        let _ = encode(&mut open_metrics, &self.registry);
        classic(&open_metrics)
    }
}

/// OpenMetrics, which the library writes, as the older format: counters are declared by their full name, and there is no end mark.
fn classic(text: &str) -> String {
    let mut classic = String::with_capacity(text.len());
    let mut counters = Vec::new();
    for line in text.lines() {
        let declared = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '));
        counters.extend(declared.filter(|(_, kind)| *kind == "counter").map(|(name, _)| name.to_owned()));
    }
    for line in text.lines().filter(|line| !line.starts_with("# UNIT ") && *line != "# EOF") {
        let mut words = line.splitn(4, ' ');
        let (mark, keyword, name) = (words.next(), words.next(), words.next());
        match (mark, keyword, name) {
            (Some("#"), Some(keyword), Some(name)) if counters.iter().any(|counter| counter == name) => {
                let _ = writeln!(classic, "# {keyword} {name}_total {}", words.next().unwrap_or_default());
            }
            _ => {
                let _ = writeln!(classic, "{line}");
            }
        }
    }
    classic
}
