//! A fake of chat.qwen.ai, auth.qwen.ai and the object storage on loopback.
//!
//! It stores chats, checks requests in the order of the upstream, and sends the stream or failure that the prompt requests with
//! a `[[fake key=value …]]` directive (see [`directive`]). It verifies the signatures of uploads; [`Fake::set_storage_fault`]
//! makes them fail. [`Fake::set_directive`] sets a directive for prompts without one. Below `/web/` it is a foreign host with the pages of [`Fake::serve_page`].
//!
//! It draws pictures and makes videos (see [`media`]); their files are below `/output/`, in the place of the CDN.
//! [`Fake::violations`] has what clients do wrong in such requests, [`Fake::media_jobs`] what was begun.

#![allow(dead_code, unreachable_pub, unused_imports, reason = "a shared module; each binary uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    reason = "test support"
)]

mod accounts;
pub(crate) mod body;
mod catalogue;
mod chats;
mod completions;
pub(crate) mod directive;
mod failures;
mod fixtures;
mod inspect;
pub(crate) mod listener;
pub(crate) mod log;
mod media;
#[path = "../refusals/table.rs"]
mod recorded;
mod routes;
mod script;
pub(crate) mod server;
mod standing;
mod stop;
mod storage;
mod streams;
mod tools;
mod transcript;
mod turn;
mod web;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

pub use chats::ChatNode;
pub use directive::{encoded, steps};
pub use fixtures::Fixture;
pub use log::{Outcome, RecordedRequest};
pub use media::{MediaJob, Output};
pub(crate) use recorded::{Row, all as recorded};
pub use storage::{FaultKind, Object, Stage, StorageFault};
pub use web::Page;

/// State shared by all requests.
#[derive(Default)]
struct Shared {
    log: log::Log,
    accounts: Mutex<accounts::Accounts>,
    chats: Mutex<chats::Chats>,
    media: Mutex<media::Media>,
    storage: Mutex<storage::Storage>,
    web: Mutex<web::Pages>,
    standing: Mutex<standing::Standing>,
    addr: OnceLock<SocketAddr>,
    open_streams: AtomicUsize,
    rotate_refresh_tokens: AtomicBool,
    default_delay_ms: AtomicU64,
    /// Path prefix → name of the failure that it returns.
    failures: Mutex<HashMap<String, String>>,
    /// Path prefix → delay of the response headers.
    delays: Mutex<HashMap<String, Duration>>,
    counters: Mutex<HashMap<String, u64>>,
    /// Seconds by which the fake's clock is ahead of this machine's.
    clock_skew_seconds: Arc<AtomicI64>,
}

impl Shared {
    /// The address of this fake for a client on the same machine.
    fn endpoint(&self) -> String {
        let mut addr = *self.addr.get().expect("the address is set before the first request");
        if addr.ip().is_unspecified() {
            addr.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        addr.to_string()
    }

    /// What links to this fake begin with.
    fn origin(&self) -> String {
        format!("http://{}", self.endpoint())
    }

    /// Counts a use of `key`; returns its number, from 1.
    fn count(&self, key: &str) -> u64 {
        let mut counters = self.counters.lock().unwrap();
        let count = counters.entry(key.to_owned()).or_default();
        *count += 1;
        *count
    }

    /// Counts a use of `key`; returns whether it is one of the first `times`.
    fn is_among_first(&self, key: &str, times: u64) -> bool {
        self.count(key) <= times
    }
}

/// A running fake; dropping it stops it.
pub struct Fake {
    shared: Arc<Shared>,
    addr: SocketAddr,
    /// Stops the fake when it is dropped.
    _running: listener::Running,
}

impl Fake {
    /// Starts on a free loopback port.
    pub fn start() -> Fake {
        Fake::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free loopback port")
    }

    /// Starts on `addr` with its own threads; serves HTTP/1.1 and HTTP/2 without TLS.
    ///
    /// # Errors
    /// The error of binding the address.
    pub fn bind(addr: SocketAddr) -> io::Result<Fake> {
        let shared = Arc::new(Shared::default());
        let (addr, running) = server::spawn(addr, shared.clone())?;
        Ok(Fake { shared, addr, _running: running })
    }

    /// Base URL without a trailing slash; the same for the app and the auth host.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// An access token of `account` that expires in `lifetime_seconds`; a negative value makes an expired token.
    pub fn token(account: &str, lifetime_seconds: i64) -> String {
        accounts::token(account, lifetime_seconds)
    }

    /// A refresh token of `account`, valid for `GET /api/v2/auths/refresh` until it is revoked or rotated.
    pub fn refresh_token(account: &str) -> String {
        accounts::refresh_token(account)
    }

    /// Rejects this access or refresh token from now on.
    pub fn revoke(&self, token: &str) {
        self.shared.accounts.lock().unwrap().revoke(token);
    }

    /// Sets whether a refresh also issues a new refresh token and revokes the used one.
    pub fn set_refresh_rotation(&self, on: bool) {
        self.shared.rotate_refresh_tokens.store(on, Ordering::Relaxed);
    }

    /// Sets the lifetime of access tokens that a refresh issues; the default is 900 s.
    pub fn set_access_token_seconds(&self, seconds: i64) {
        self.shared.accounts.lock().unwrap().set_access_token_seconds(seconds);
    }

    /// Sets the number of completions that `account` has left before `RateLimited`; `None` removes the limit.
    pub fn set_quota(&self, account: &str, left: Option<u64>) {
        self.shared.accounts.lock().unwrap().set_quota(account, left);
    }

    /// Sets how far the fake's clock is ahead of this machine's. Tokens, signatures and the `Date` header use it.
    pub fn set_clock_skew_seconds(&self, seconds: i64) {
        self.shared.clock_skew_seconds.store(seconds, Ordering::Relaxed);
    }

    /// Makes every request whose path starts with `path` fail as `name` (a `fail=` name, `hang`, `reset`, `html_login` or
    /// `empty_body`), before any other check; `None` removes the failure.
    ///
    /// # Panics
    /// When no failure has this name.
    pub fn set_failure(&self, path: &str, name: Option<&str>) {
        assert!(name.is_none_or(|name| failures::named(name, None, "").is_some()), "unknown failure {name:?}");
        let mut failures = self.shared.failures.lock().unwrap();
        match name {
            Some(name) => failures.insert(path.to_owned(), name.to_owned()),
            None => failures.remove(path),
        };
    }

    /// [`Fake::set_failure`] for both model lists.
    pub fn set_models_failure(&self, name: Option<&str>) {
        for path in routes::MODELS {
            self.set_failure(path, name);
        }
    }

    /// Delays the response headers of every request whose path starts with `path`; 0 removes the delay.
    pub fn set_first_byte_delay_ms(&self, path: &str, ms: u64) {
        self.shared.delays.lock().unwrap().insert(path.to_owned(), Duration::from_millis(ms));
    }

    /// [`Fake::set_first_byte_delay_ms`] for both model lists.
    pub fn set_models_first_byte_delay_ms(&self, ms: u64) {
        for path in routes::MODELS {
            self.set_first_byte_delay_ms(path, ms);
        }
    }

    /// Sets the delay between events of streams whose directive has no `delay_ms`.
    pub fn set_default_delay_ms(&self, ms: u64) {
        self.shared.default_delay_ms.store(ms, Ordering::Relaxed);
    }

    /// Sets the faults of uploads of files whose name contains `marker` (empty: all files). They replace the previous faults of
    /// this marker; an empty list removes them.
    ///
    /// # Panics
    /// When a fault names an unknown error.
    pub fn set_storage_fault(&self, marker: &str, faults: &[StorageFault]) {
        self.shared.storage.lock().unwrap().set_faults(marker, faults);
    }

    /// Sets the number of upload credentials that `account` gets before `RateLimited` (the upstream issues about 20); `None`
    /// removes the limit.
    pub fn set_upload_tokens(&self, account: &str, left: Option<u64>) {
        self.shared.storage.lock().unwrap().set_credentials_left(account, left);
    }

    /// Sets how many polls report a document as running if its name contains `marker` (empty: all); the default is 1.
    pub fn set_parse_polls(&self, marker: &str, polls: u64) {
        self.shared.storage.lock().unwrap().set_polls(marker, polls);
    }

    /// The stored objects, oldest first.
    pub fn objects(&self) -> Vec<Object> {
        self.shared.storage.lock().unwrap().objects()
    }

    /// The last stored object whose key ends with `name`.
    pub fn object(&self, name: &str) -> Option<Object> {
        self.objects().into_iter().rfind(|object| object.key.ends_with(name))
    }

    /// Multipart uploads that were neither completed nor aborted.
    pub fn open_uploads(&self) -> usize {
        self.open_uploads_of("")
    }

    /// [`Fake::open_uploads`] of files whose name contains `marker`.
    pub fn open_uploads_of(&self, marker: &str) -> usize {
        self.shared.storage.lock().unwrap().open_uploads(marker)
    }

    /// Multipart uploads that were aborted.
    pub fn aborted_uploads(&self) -> usize {
        self.aborted_uploads_of("")
    }

    /// [`Fake::aborted_uploads`] of files whose name contains `marker`.
    pub fn aborted_uploads_of(&self, marker: &str) -> usize {
        self.shared.storage.lock().unwrap().aborted_uploads(marker)
    }

    /// The last requests, oldest first; those to the storage without their bodies.
    pub fn requests(&self) -> Vec<Arc<RecordedRequest>> {
        self.shared.log.all()
    }

    /// [`Fake::requests`] but for what a server asks by itself at its start, which arrives when it likes: the list of models, and
    /// whether the session is valid.
    pub fn asked(&self) -> Vec<Arc<RecordedRequest>> {
        let mut requests = self.requests();
        requests.retain(|request| {
            let path = request.path_and_query.trim_end_matches('/');
            !routes::MODELS.contains(&path) && path != routes::SESSION
        });
        requests
    }

    /// The number of all requests, including those that [`Fake::requests`] no longer has.
    pub fn request_count(&self) -> usize {
        self.shared.log.total()
    }

    /// The last requests whose body contains `marker`, oldest first.
    pub fn requests_containing(&self, marker: &str) -> Vec<Arc<RecordedRequest>> {
        let mut requests = self.shared.log.all();
        requests.retain(|request| request.body.contains(marker));
        requests
    }

    /// The number of completions that passed the checks and whose response has neither ended nor lost its client.
    pub fn open_streams(&self) -> usize {
        self.shared.open_streams.load(Ordering::SeqCst)
    }

    /// The number of existing chats.
    pub fn chats(&self) -> usize {
        self.shared.chats.lock().unwrap().len()
    }

    /// Ids of the existing chats, oldest first.
    pub fn chat_ids(&self) -> Vec<String> {
        self.shared.chats.lock().unwrap().ids()
    }

    /// The account that a chat belongs to.
    pub fn chat_account(&self, chat_id: &str) -> Option<String> {
        self.shared.chats.lock().unwrap().account(chat_id)
    }

    /// How often an account asked for a chat of another account.
    pub fn foreign_requests(&self) -> usize {
        self.shared.chats.lock().unwrap().foreign()
    }

    /// `(role, text)` along the current path of a chat, oldest first; empty for an unknown chat.
    pub fn chat_messages(&self, chat_id: &str) -> Vec<(String, String)> {
        self.shared.chats.lock().unwrap().path(chat_id)
    }

    /// All messages of a chat with their branches, in order of creation; empty for an unknown chat. The text of an answer includes
    /// its calls, as `<tool_call>…</tool_call>`, and what the site answered.
    pub fn chat_nodes(&self, chat_id: &str) -> Vec<ChatNode> {
        self.shared.chats.lock().unwrap().nodes(chat_id)
    }

    /// Whether a chat rejects completions because of a running answer.
    pub fn is_chat_busy(&self, chat_id: &str) -> bool {
        self.shared.chats.lock().unwrap().is_busy(chat_id)
    }

    /// The requests that stop an answer, oldest first.
    pub fn stops(&self) -> Vec<Arc<RecordedRequest>> {
        let mut requests = self.shared.log.all();
        requests.retain(|request| request.path_and_query.split('?').next() == Some(stop::ROUTE));
        requests
    }

    /// Deletes a chat, as its owner would in the browser; returns whether it existed.
    pub fn delete_chat(&self, chat_id: &str) -> bool {
        self.shared.chats.lock().unwrap().delete(chat_id)
    }
}
