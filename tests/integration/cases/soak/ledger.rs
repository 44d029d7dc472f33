//! The accounts of a soak: each request has an outcome, and each outcome that is no success an explanation.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Mutex,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::http::{EVENT_STREAM, Reply};

/// The code of a request whose connection broke.
pub const BROKEN: &str = "connection broken";
/// How long after the end of a disturbance its errors may still arrive.
const GRACE: Duration = Duration::from_millis(2_500);
/// How many unexplained errors are kept in full.
const MAX_KEPT: usize = 40;

/// Something that goes wrong at the site, at the server or with an account for a while.
#[derive(Clone, Copy, Debug)]
pub struct Disturbance {
    pub name: &'static str,
    /// The account that it concerns; `None`: all.
    pub account: Option<usize>,
    /// The codes of the errors that it explains: in all kinds of requests, or as `KIND: CODE` in one.
    pub codes: &'static [&'static str],
    begun: Instant,
    ended: Option<Instant>,
}

/// One request and what became of it.
pub struct Sent {
    pub id: String,
    pub account: usize,
    pub begun: Instant,
    pub ended: Instant,
    pub result: Result<Reply, String>,
    /// Whether the second upstream answered, as far as is known.
    pub by_second: bool,
}

impl Sent {
    /// A request that has ended just now.
    pub fn new(id: String, account: usize, begun: Instant, result: Result<Reply, String>) -> Self {
        let by_second = result.as_ref().is_ok_and(|reply| reply.header(UPSTREAM) == Some("fallback"));
        Self { id, account, begun, ended: Instant::now(), result, by_second }
    }

    /// Whether the answer does not say where it is from: its head went out before that was known.
    pub fn is_unnamed(&self) -> bool {
        self.result.as_ref().is_ok_and(|reply| reply.header(UPSTREAM).is_none())
    }
}

const UPSTREAM: &str = "x-upstream";

/// An error that a request may meet because it asks for it, and its codes. One that a repeat heals has none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Own {
    pub codes: &'static [&'static str],
    /// Whether the request may succeed all the same.
    pub may_succeed: bool,
}

impl Own {
    pub const NONE: Self = Self { codes: &[], may_succeed: true };

    /// A request that has to fail so.
    pub const fn fails(codes: &'static [&'static str]) -> Self {
        Self { codes, may_succeed: false }
    }
}

/// Events that say nothing about an error near them.
const FREQUENT: [&str; 5] =
    [FOUND, CRON, "conversations", "tool loops that came to their end", "chats deleted in the browser"];
/// A turn that stands at the site as it has to.
pub const FOUND: &str = "turns found at the site, once, below all earlier ones";
/// A run of the Worker's cron handler.
pub const CRON: &str = "runs of the Worker's cron handler";
const MAX_RECENT: usize = 6;

#[derive(Default)]
pub struct Ledger {
    disturbances: Mutex<Vec<Disturbance>>,
    /// Kind of request, outcome, explanation → count.
    rows: Mutex<BTreeMap<(&'static str, String, String), u64>>,
    unexplained: Mutex<Vec<String>>,
    unexplained_count: Mutex<u64>,
    /// What happened to the server and its accounts, and how often.
    events: Mutex<BTreeMap<&'static str, u64>>,
    /// The last of them, and when they were.
    recent: Mutex<VecDeque<(Instant, &'static str)>>,
}

impl Ledger {
    /// Begins a disturbance; returns its number.
    pub fn begin(&self, name: &'static str, account: Option<usize>, codes: &'static [&'static str]) -> usize {
        self.event(name);
        let mut all = self.disturbances.lock().unwrap();
        all.push(Disturbance { name, account, codes, begun: Instant::now(), ended: None });
        all.len() - 1
    }

    pub fn end(&self, number: usize) {
        self.disturbances.lock().unwrap()[number].ended = Some(Instant::now());
    }

    /// Counts an event.
    pub fn event(&self, name: &'static str) {
        *self.events.lock().unwrap().entry(name).or_default() += 1;
        if !FREQUENT.contains(&name) {
            let mut recent = self.recent.lock().unwrap();
            recent.push_back((Instant::now(), name));
            if recent.len() > MAX_RECENT {
                recent.pop_front();
            }
        }
    }

    pub fn events(&self) -> BTreeMap<&'static str, u64> {
        self.events.lock().unwrap().clone()
    }

    /// The disturbance that a request met and that explains this code.
    fn explanation(&self, kind: &str, sent: &Sent, code: &str) -> Option<&'static str> {
        let of_kind = format!("{kind}: {code}");
        let all = self.disturbances.lock().unwrap();
        let met = all.iter().rev().find(|it| {
            it.begun <= sent.ended
                && it.ended.is_none_or(|ended| ended + GRACE >= sent.begun)
                && it.account.is_none_or(|account| account == sent.account)
                && (it.codes.contains(&code) || it.codes.contains(&of_kind.as_str()))
        });
        met.map(|it| it.name)
    }

    /// Whether a disturbance of this name met the time since `begun`.
    pub fn met(&self, name: &str, begun: Instant) -> bool {
        let all = self.disturbances.lock().unwrap();
        all.iter().any(|it| it.name == name && it.ended.is_none_or(|ended| ended + GRACE >= begun))
    }

    fn count(&self, kind: &'static str, outcome: &str, explanation: &str) {
        let row = (kind, outcome.to_owned(), explanation.to_owned());
        *self.rows.lock().unwrap().entry(row).or_default() += 1;
    }

    /// Settles a request: returns what `read` makes of its success, or `None` after an error that is explained or noted.
    pub fn settle<T>(
        &self,
        kind: &'static str,
        sent: &Sent,
        own: Own,
        read: impl FnOnce(&Reply) -> Result<T, String>,
    ) -> Option<T> {
        let (code, detail) = match &sent.result {
            Err(problem) => (BROKEN.to_owned(), problem.clone()),
            Ok(reply) => match error_code(reply) {
                Some(code) => (code, format!("{reply:.1500?}")),
                None => {
                    let read = quietly(|| {
                        reply.check(kind);
                        read(reply)
                    });
                    match read {
                        Ok(value) if own.may_succeed => {
                            self.count(kind, "success", if sent.by_second { "by the second upstream" } else { "" });
                            return Some(value);
                        }
                        // Where the site cannot be asked, its fault is nobody's.
                        Ok(value) if sent.by_second && self.explanation(kind, sent, "upstream_error").is_some() => {
                            self.count(kind, "success", "by the second upstream");
                            return Some(value);
                        }
                        Ok(_) => ("success".to_owned(), format!("{own:?} without effect: {reply:.600?}")),
                        Err(problem) => ("wrong answer".to_owned(), format!("{problem}: {reply:.1500?}")),
                    }
                }
            },
        };
        if own.codes.contains(&code.as_str()) {
            self.count(kind, &code, "asked for");
        } else if let Some(explanation) = self.explanation(kind, sent, &code) {
            self.count(kind, &code, explanation);
        } else {
            self.count(kind, &code, "UNEXPLAINED");
            let took = sent.ended - sent.begun;
            self.unexplained(format!(
                "{kind} {} of account {} after {took:?}: {code}: {detail}",
                sent.id, sent.account
            ));
        }
        None
    }

    /// Accounts for a request that has no reply to read.
    pub fn note(&self, kind: &'static str, account: usize, begun: Instant, problem: Option<String>) {
        let id = "without an id".to_owned();
        let failed = problem.is_some();
        let sent = Sent::new(id, account, begun, Err(problem.unwrap_or_default()));
        if failed {
            self.settle(kind, &sent, Own::NONE, |_| Ok(()));
        } else {
            self.count(kind, "success", "");
        }
    }

    /// Notes something that should not be.
    pub fn unexplained(&self, what: String) {
        *self.unexplained_count.lock().unwrap() += 1;
        let recent: Vec<String> =
            self.recent.lock().unwrap().iter().map(|(at, name)| format!("{name} {:.1?} ago", at.elapsed())).collect();
        let what = format!("{what}\n  after {}", recent.join(", "));
        eprintln!("UNEXPLAINED {what}");
        let mut all = self.unexplained.lock().unwrap();
        if all.len() < MAX_KEPT {
            all.push(what);
        }
    }

    /// Counts something that was checked and is as it should be, apart from requests.
    pub fn verified(&self, what: &'static str) {
        self.event(what);
    }

    pub fn all_unexplained(&self) -> (u64, Vec<String>) {
        (*self.unexplained_count.lock().unwrap(), self.unexplained.lock().unwrap().clone())
    }

    pub fn rows(&self) -> BTreeMap<(&'static str, String, String), u64> {
        self.rows.lock().unwrap().clone()
    }

    /// The numbers of requests and of those that did not succeed.
    pub fn totals(&self) -> (u64, u64) {
        let rows = self.rows.lock().unwrap();
        let failed = rows.iter().filter(|((_, outcome, _), _)| outcome != "success").map(|(_, count)| count).sum();
        (rows.values().sum(), failed)
    }
}

/// Runs a check that panics when it fails.
pub fn quietly<T>(check: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(text.unwrap_or("a check failed").chars().take(1_500).collect())
    })
}

/// The code of an error, as a status or as the last event of a stream in any dialect.
fn error_code(reply: &Reply) -> Option<String> {
    let code = |value: &Value| {
        let error = [&value["error"], &value["response"]["error"]].into_iter().find(|error| error.is_object())?;
        Some(error["code"].as_str().unwrap_or("an error without a code").to_owned())
    };
    if reply.header("content-type") == Some(EVENT_STREAM) {
        let text = String::from_utf8_lossy(&reply.body);
        let last = text.lines().rev().filter_map(|line| line.strip_prefix("data: ")).find(|data| *data != "[DONE]")?;
        return code(&serde_json::from_str(last).ok()?);
    }
    if reply.status.is_success() {
        return None;
    }
    let parsed: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    Some(code(&parsed).unwrap_or_else(|| format!("status {} without a code", reply.status.as_u16())))
}
