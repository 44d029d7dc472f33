//! A stand-in for chat.qwen.ai, auth.qwen.ai and the object storage on loopback.
//!
//! It keeps real chats, checks requests in the order the upstream does, and plays whatever stream or failure the prompt
//! asks for with a `[[fake key=value …]]` directive (see [`directive`]). Uploads are checked down to their signatures; trouble
//! with them comes from [`Fake::set_storage_fault`]. Below `/web/` it is a foreign host with the pages of [`Fake::web`].

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "a public face, of which each binary that includes it uses a part"
)]
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
mod body;
mod catalogue;
mod chats;
mod completions;
mod directive;
mod failures;
mod fixtures;
mod log;
#[path = "../refusals/table.rs"]
mod recorded;
mod routes;
mod script;
mod server;
mod storage;
mod streams;
mod transcript;
mod turn;
mod web;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

pub use fixtures::Fixture;
pub use log::{Outcome, Seen};
pub(crate) use recorded::{Row, all as recorded};
pub use storage::{Object, Stage, StorageFault, Trouble};
pub use web::Page;

/// What all requests share.
#[derive(Default)]
struct Shared {
    log: log::Log,
    accounts: Mutex<accounts::Accounts>,
    chats: Mutex<chats::Chats>,
    storage: Mutex<storage::Storage>,
    web: Mutex<web::Pages>,
    addr: OnceLock<SocketAddr>,
    open: AtomicUsize,
    rotate: AtomicBool,
    pace_ms: AtomicU64,
    /// Path prefix → name of the failure it answers with.
    failures: Mutex<HashMap<String, String>>,
    /// Path prefix → wait before the response headers.
    waits: Mutex<HashMap<String, Duration>>,
    counters: Mutex<HashMap<String, u64>>,
    /// How far its clock is ahead, in seconds.
    ahead: Arc<AtomicI64>,
}

impl Shared {
    /// Counts a use of `key`; true for the first `times` of them.
    fn among_first(&self, key: &str, times: u64) -> bool {
        let mut counters = self.counters.lock().unwrap();
        let count = counters.entry(key.to_owned()).or_default();
        *count += 1;
        *count <= times
    }
}

/// A running fake; it stops when dropped.
pub struct Fake {
    shared: Arc<Shared>,
    addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    /// Starts on a free loopback port.
    pub fn start() -> Fake {
        Fake::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free loopback port")
    }

    /// Starts on `addr`, HTTP/1.1 and HTTP/2 in clear text, with threads of its own.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn bind(addr: SocketAddr) -> io::Result<Fake> {
        let shared = Arc::new(Shared::default());
        let (addr, stop, thread) = server::spawn(addr, shared.clone())?;
        Ok(Fake { shared, addr, stop: Some(stop), thread: Some(thread) })
    }

    /// Base URL without a trailing slash; the same for the app and the auth host.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// An access token of `account` that expires in `expires_in_secs` (negative: has expired).
    pub fn token(account: &str, expires_in_secs: i64) -> String {
        accounts::token(account, expires_in_secs)
    }

    /// A refresh token of `account`, good for `GET /api/v2/auths/refresh` until revoked or rotated away.
    pub fn refresh_token(account: &str) -> String {
        accounts::refresh_token(account)
    }

    /// From now on this access or refresh token is refused.
    pub fn revoke(&self, token: &str) {
        self.shared.accounts.lock().unwrap().revoke(token);
    }

    /// Whether a refresh also replaces the refresh token (and revokes the one used).
    pub fn refresh_rotation(&self, on: bool) {
        self.shared.rotate.store(on, Ordering::Relaxed);
    }

    /// How many seconds the access tokens of refreshes live; 900 unless set.
    pub fn set_access_life(&self, seconds: i64) {
        self.shared.accounts.lock().unwrap().set_access_life(seconds);
    }

    /// How many more completions `account` may ask for before `RateLimited`; `None` lifts the limit.
    pub fn set_quota(&self, account: &str, left: Option<u64>) {
        self.shared.accounts.lock().unwrap().set_quota(account, left);
    }

    /// Sets its clock: so many seconds ahead of this machine's, by which tokens, signatures and its own `Date` go.
    pub fn set_clock(&self, ahead: i64) {
        self.shared.ahead.store(ahead, Ordering::Relaxed);
    }

    /// Makes every request whose path starts with `path` fail as `name` (a `fail=` name, `hang`, `reset`, `html_login` or
    /// `empty_body`), before any other check; `None` ends it.
    ///
    /// # Panics
    /// When there is no failure of that name.
    pub fn set_failure(&self, path: &str, name: Option<&str>) {
        assert!(name.is_none_or(|name| failures::named(name, None, "").is_some()), "no failure is called {name:?}");
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

    /// Makes every request whose path starts with `path` wait before its response headers; 0 ends it.
    pub fn set_first_ms(&self, path: &str, ms: u64) {
        self.shared.waits.lock().unwrap().insert(path.to_owned(), Duration::from_millis(ms));
    }

    /// [`Fake::set_first_ms`] for both model lists.
    pub fn set_first_ms_models(&self, ms: u64) {
        for path in routes::MODELS {
            self.set_first_ms(path, ms);
        }
    }

    /// Pause between events of streams whose directive does not say `delay_ms`.
    pub fn set_default_delay_ms(&self, ms: u64) {
        self.shared.pace_ms.store(ms, Ordering::Relaxed);
    }

    /// What goes wrong with uploads of files whose name contains `marker` (empty: all files), in the place of what was set
    /// for that marker before; an empty list ends it.
    ///
    /// # Panics
    /// When a fault names an error that there is not.
    pub fn set_storage_fault(&self, marker: &str, faults: &[StorageFault]) {
        self.shared.storage.lock().unwrap().set_faults(marker, faults);
    }

    /// How many more upload tokens `account` gets before `RateLimited` (the upstream gives about 20); `None` lifts the limit.
    pub fn set_upload_tokens(&self, account: &str, left: Option<u64>) {
        self.shared.storage.lock().unwrap().set_tokens(account, left);
    }

    /// How many polls find a document still running if its name contains `marker` (empty: all); 1 unless set.
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

    /// The last requests, oldest first; those to the storage come without their bodies.
    pub fn seen(&self) -> Vec<Arc<Seen>> {
        self.shared.log.all()
    }

    /// How many requests there were, also those [`Fake::seen`] has no room for.
    pub fn requests(&self) -> usize {
        self.shared.log.total()
    }

    /// The last requests whose body contains `marker`, oldest first.
    pub fn seen_with(&self, marker: &str) -> Vec<Arc<Seen>> {
        let mut seen = self.shared.log.all();
        seen.retain(|seen| seen.body.contains(marker));
        seen
    }

    /// Completions that passed the checks and have neither ended nor lost their peer.
    pub fn open_streams(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// How many chats exist.
    pub fn chats(&self) -> usize {
        self.shared.chats.lock().unwrap().len()
    }

    /// Ids of the chats that exist, oldest first.
    pub fn chat_ids(&self) -> Vec<String> {
        self.shared.chats.lock().unwrap().ids()
    }

    /// `(role, text)` along the current path of a chat, oldest first; empty for an unknown chat.
    pub fn chat_messages(&self, chat_id: &str) -> Vec<(String, String)> {
        self.shared.chats.lock().unwrap().path(chat_id)
    }

    /// Deletes a chat as its owner would in the browser; true if it was there.
    pub fn delete_chat(&self, chat_id: &str) -> bool {
        self.shared.chats.lock().unwrap().delete(chat_id)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
