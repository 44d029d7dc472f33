//! The metrics of the native server, in the Prometheus text format.

use std::{
    fmt::Write as _,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

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
    platform::telemetry::{Event, RequestRecord},
    platform::{AccountGauges, Gauges},
};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Request {
    route: &'static str,
    status: u16,
    account: Arc<str>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Code {
    code: &'static str,
    account: Arc<str>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Account {
    account: Arc<str>,
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
    account: Arc<str>,
    state: &'static str,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// Every metric.
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
    in_flight: Family<Account, Gauge>,
    waiting: Family<Account, Gauge>,
    session: Family<State, Gauge>,
    session_end: Family<Account, Gauge<f64, AtomicU64>>,
}

/// Buckets from 5 ms to 164 s.
fn wait_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 16))
}

/// Buckets from 10 µs to 328 ms.
fn work_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.000_01, 2.0, 16))
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("qwen_edge"),
            requests: Family::default(),
            errors: Family::default(),
            upstream: Family::new_with_constructor(wait_histogram),
            upstream_answers: Family::default(),
            first_token: wait_histogram(),
            duration: wait_histogram(),
            overhead: work_histogram(),
            open_streams: Gauge::default(),
            conversations: Family::default(),
            client_left: Counter::default(),
            store_errors: Gauge::default(),
            in_flight: Family::default(),
            waiting: Family::default(),
            session: Family::default(),
            session_end: Family::default(),
        };
        let all = &mut metrics.registry;
        all.register("requests", "Requests answered, by route, status and account", metrics.requests.clone());
        all.register(
            "errors",
            "Errors in answers and at the end of streams, by code and account",
            metrics.errors.clone(),
        );
        let seconds = || Unit::Seconds;
        all.register_with_unit(
            "upstream",
            "Time until the head of an answer of another server",
            seconds(),
            metrics.upstream.clone(),
        );
        all.register(
            "upstream_answers",
            "Answers of other servers by status; 0 = no answer arrived",
            metrics.upstream_answers.clone(),
        );
        let first = metrics.first_token.clone();
        all.register_with_unit("first_token", "From a streamed request to its first delta", seconds(), first);
        let duration = metrics.duration.clone();
        all.register_with_unit("request_duration", "From a request to the end of its answer", seconds(), duration);
        let overhead = metrics.overhead.clone();
        let help = "The server's own time for a request: computation and store, without waits for other servers";
        all.register_with_unit("overhead", help, seconds(), overhead);
        all.register("open_streams", "Streamed answers that have not ended", metrics.open_streams.clone());
        all.register(
            "conversations",
            "Conversations by whether their history was found",
            metrics.conversations.clone(),
        );
        all.register("client_left", "Requests whose client left before the end", metrics.client_left.clone());
        all.register("store_errors", "Failures of the store since the start", metrics.store_errors.clone());
        all.register("in_flight", "Turns that the upstream works on, by account", metrics.in_flight.clone());
        all.register("queue", "Turns that wait for a permit, by account", metrics.waiting.clone());
        all.register("session_state", "1 for the current state of an account's Qwen session", metrics.session.clone());
        let end = metrics.session_end.clone();
        all.register_with_unit(
            "session_expires_at",
            "When the access token of an account expires, in Unix time",
            seconds(),
            end,
        );
        metrics
    }

    pub(super) fn count(&self, event: Event<'_>) {
        match event {
            Event::Request(record) => self.count_request(record),
            Event::StreamBegan => drop(self.open_streams.inc()),
            Event::StreamEnded => drop(self.open_streams.dec()),
            Event::UpstreamCall(kind, status, took) => {
                let call = kind.as_str();
                self.upstream.get_or_create(&Call { call }).observe(took.as_secs_f64());
                self.upstream_answers.get_or_create(&CallStatus { call, status: status.unwrap_or(0) }).inc();
            }
        }
    }

    fn count_request(&self, record: &RequestRecord) {
        let seconds = |time: Duration| time.as_secs_f64();
        // The names of accounts are few, and a client cannot make one up.
        let account = record.account.clone().unwrap_or_default();
        let (route, status) = (record.route, record.status);
        self.requests.get_or_create(&Request { route, status, account: Arc::clone(&account) }).inc();
        self.duration.observe(seconds(record.total));
        self.overhead.observe(seconds(record.own));
        if let Some(code) = record.code {
            self.errors.get_or_create(&Code { code, account }).inc();
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

    /// Returns all metrics in the Prometheus text format, which every scraper reads.
    pub(super) fn text(&self, gauges: &Gauges) -> String {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.store_errors.set(number(gauges.store_errors));
        self.in_flight.clear();
        self.waiting.clear();
        self.session.clear();
        self.session_end.clear();
        for AccountGauges { account, in_flight, waiting, session_state, session_expires_at } in &gauges.accounts {
            let label = Account { account: Arc::clone(account) };
            self.in_flight.get_or_create(&label).set(number(*in_flight));
            self.waiting.get_or_create(&label).set(number(*waiting));
            for state in gauges.session_states {
                let current = i64::from(state == session_state);
                self.session.get_or_create(&State { account: Arc::clone(account), state }).set(current);
            }
            self.session_end.get_or_create(&label).set(session_expires_at.unwrap_or_default().get() as f64);
        }
        let mut open_metrics = String::new();
        // Writing into a string cannot fail.
        let _ = encode(&mut open_metrics, &self.registry);
        prometheus_format(&open_metrics)
    }
}

/// Converts OpenMetrics, which the library writes, to the Prometheus text format: counters are declared by their full name, and
/// there are no units and no end mark.
fn prometheus_format(text: &str) -> String {
    let mut converted = String::with_capacity(text.len());
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
                let _ = writeln!(converted, "# {keyword} {name}_total {}", words.next().unwrap_or_default());
            }
            _ => {
                let _ = writeln!(converted, "{line}");
            }
        }
    }
    converted
}
