//! The only room that names a runtime: sockets, clocks, randomness and the database, as one small trait.
//!
//! `native.rs` stands on tokio, hyper and SQLite; `worker.rs` on workerd and D1. `docs/platforms.md` tells what differs.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};

use crate::platform::telemetry::{Event, RequestMetrics, UpstreamKind};

pub mod address;
#[cfg(not(target_arch = "wasm32"))]
pub mod native;
pub mod telemetry;
#[cfg(target_arch = "wasm32")]
pub mod worker;

#[cfg(not(target_arch = "wasm32"))]
pub use native::request::{Headers, RequestBody, sendable};
#[cfg(target_arch = "wasm32")]
pub use worker::request::{Headers, RequestBody, sendable};

/// Which of the two products this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// The Cloudflare Worker.
    Worker,
    /// The native server.
    Native,
}

/// The product being built.
pub const PRODUCT: Product = if cfg!(target_arch = "wasm32") { Product::Worker } else { Product::Native };

/// `Send` on the box, where tokio moves futures between threads; nothing on the edge, where JavaScript values stay put.
#[cfg(not(target_arch = "wasm32"))]
pub trait MaybeSend: Send {}
#[cfg(not(target_arch = "wasm32"))]
impl<T: Send> MaybeSend for T {}
/// `Send` on the box, where tokio moves futures between threads; nothing on the edge, where JavaScript values stay put.
#[cfg(target_arch = "wasm32")]
pub trait MaybeSend {}
#[cfg(target_arch = "wasm32")]
impl<T> MaybeSend for T {}

/// `Sync` on the box, nothing on the edge.
#[cfg(not(target_arch = "wasm32"))]
pub trait MaybeSync: Sync {}
#[cfg(not(target_arch = "wasm32"))]
impl<T: Sync> MaybeSync for T {}
/// `Sync` on the box, nothing on the edge.
#[cfg(target_arch = "wasm32")]
pub trait MaybeSync {}
#[cfg(target_arch = "wasm32")]
impl<T> MaybeSync for T {}

/// A future in a box, `Send` where the platform needs it.
#[cfg(not(target_arch = "wasm32"))]
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// A future in a box, `Send` where the platform needs it.
#[cfg(target_arch = "wasm32")]
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// A stream in a box, `Send` where the platform needs it.
#[cfg(not(target_arch = "wasm32"))]
pub type BoxStream<T> = Pin<Box<dyn Stream<Item = T> + Send>>;
/// A stream in a box, `Send` where the platform needs it.
#[cfg(target_arch = "wasm32")]
pub type BoxStream<T> = Pin<Box<dyn Stream<Item = T>>>;
/// A body that arrives in pieces.
pub type ByteStream = BoxStream<Result<Bytes, FetchError>>;

/// The body of an answer. Dropping a stream cancels what feeds it.
pub enum Body {
    /// All of it at once; may be empty.
    Full(Bytes),
    /// Pieces as they come.
    Stream(ByteStream),
    /// A stream of the runtime's own, which passes by the program.
    #[cfg(target_arch = "wasm32")]
    Native(web_sys::ReadableStream),
}

/// A file of `web/`.
pub struct Asset {
    /// Its media type.
    pub content_type: String,
    /// What changes when it does, in quotes.
    pub etag: Option<String>,
    /// Whether the body is packed.
    pub is_gzip: bool,
    /// Its content.
    pub body: Body,
}

impl Body {
    /// No bytes.
    #[must_use]
    pub const fn empty() -> Self {
        Self::Full(Bytes::new())
    }
}

/// The body of a request to another server: pieces of memory in their order, sent with their length as `Content-Length`.
/// A copy shares the memory.
#[derive(Clone, Debug, Default)]
pub struct Payload(VecDeque<Bytes>);

impl Payload {
    /// How many bytes it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).fold(0, usize::saturating_add)
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Bytes::is_empty)
    }

    /// The pieces.
    pub fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        self.0.iter()
    }
}

impl From<Bytes> for Payload {
    fn from(whole: Bytes) -> Self {
        Self(VecDeque::from([whole]))
    }
}

impl FromIterator<Bytes> for Payload {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        Self(pieces.into_iter().collect())
    }
}

/// A request as the front door sees it. Headers are looked up one by one: on the edge each costs a crossing.
pub struct Request {
    /// The method.
    pub method: http::Method,
    /// The path, still percent-encoded.
    pub path: String,
    /// The query without `?`.
    pub query: Option<String>,
    /// The host and port that the request's target itself names: always in HTTP/2 and on the edge, else rarely.
    pub authority: Option<String>,
    /// The header fields.
    pub headers: Headers,
    /// The body, not yet read.
    pub body: RequestBody,
}

/// An answer of another server: the head, then its body in pieces.
pub type FetchResponse = http::Response<ByteStream>;

/// Why another server could not be asked. Never holds the URL: it may carry a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchError {
    /// What happened.
    pub kind: FetchErrorKind,
    /// For the log.
    pub detail: String,
}

/// What happened to a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchErrorKind {
    /// No connection came about.
    Connect,
    /// No connection came about in time.
    Timeout,
    /// Our own client left, so the fetch was given up.
    Cancelled,
    /// The connection broke after it was made.
    Broken,
    /// The address is not a public one, and only those are asked.
    Forbidden,
    /// The body is not packed as its head says.
    Undecodable,
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.detail)
    }
}

impl std::error::Error for FetchError {}

/// One SQL statement with its parameters.
#[derive(Clone, Debug)]
pub struct Statement {
    /// SQL that both SQLite and D1 take. Its columns have different names: D1 gives rows as objects.
    pub sql: &'static str,
    /// Values for `?1`, `?2`, … (at most 100: D1's limit).
    pub parameters: Vec<Value>,
}

/// A value of a row or a parameter. Integers stay below 2⁵³: D1 carries them as floating point numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// A whole number.
    Integer(i64),
    /// Text.
    Text(String),
}

/// One row of an answer, in the order of the query's columns.
pub type Row = Vec<Value>;

/// Why the database failed. Never holds a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseError(pub String);

impl fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DatabaseError {}

/// The machine has no randomness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoRandomness(pub String);

impl fmt::Display for NoRandomness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no randomness: {}", self.0)
    }
}

impl std::error::Error for NoRandomness {}

/// What a runtime gives. One value serves one request: on the edge it knows the client's disconnect signal.
pub trait Platform: Clone + MaybeSend + MaybeSync + 'static {
    /// Asks another server. Follows no redirect. Resolves when the head has arrived.
    fn fetch(
        &self,
        request: http::Request<Payload>,
    ) -> impl Future<Output = Result<FetchResponse, FetchError>> + MaybeSend;

    /// The same for an address that a client chose, with a body in large pieces. Unless `allow_private`, it fails with
    /// [`FetchErrorKind::Forbidden`] when what the host resolves to is not public ([`address::is_public`]). Where the runtime
    /// unpacks the body, the answer has no `Content-Encoding` and no length.
    fn fetch_foreign(
        &self,
        request: http::Request<Payload>,
        allow_private: bool,
    ) -> impl Future<Output = Result<FetchResponse, FetchError>> + MaybeSend;

    /// The same runtime for work that must be done also when the client has left.
    #[must_use]
    fn detached(&self) -> Self;

    /// Waits.
    fn sleep(&self, duration: Duration) -> BoxFuture<()>;

    /// Milliseconds since 1970. On the edge it advances only when input or output happens.
    fn now(&self) -> u64;

    /// Time since some moment in the past, for measuring. On the edge it advances only when input or output happens.
    fn clock(&self) -> Duration {
        Duration::from_millis(self.now())
    }

    /// The notes of the request that this value serves.
    fn request_metrics(&self) -> RequestMetrics {
        RequestMetrics::default()
    }

    /// The same runtime for one request, with notes of its own.
    #[must_use]
    fn with_own_metrics(&self) -> Self {
        self.clone()
    }

    /// Counts what happened.
    fn count(&self, _event: Event<'_>) {}

    /// All that was counted, as text for Prometheus, where this is kept.
    fn metrics(&self, _now: &Gauges) -> Option<String> {
        None
    }

    /// Whether the client has left. On the box it never hears this: its work is dropped instead.
    fn client_left(&self) -> bool {
        false
    }

    /// Unpredictable bytes: for whatever must not be guessed.
    ///
    /// # Errors
    /// The machine has none. Nothing else may stand in for them; for names see [`unique`].
    fn random(&self) -> Result<[u8; 16], NoRandomness>;

    /// Runs work that may outlive the answer (on the edge for at most 30 s).
    fn defer(&self, work: impl Future<Output = ()> + MaybeSend + 'static);

    /// Does work that takes long and waits for nothing, where it holds up no connection if there is such a place.
    fn compute<T: MaybeSend + 'static>(
        &self,
        work: impl FnOnce() -> T + MaybeSend + 'static,
    ) -> impl Future<Output = T> + MaybeSend {
        std::future::ready(work())
    }

    /// The file of `web/` at `path`, which begins with `/`; packed only if `accepts_gzip`.
    fn asset(&self, _path: &str, _accepts_gzip: bool) -> impl Future<Output = Option<Asset>> + MaybeSend {
        std::future::ready(None)
    }

    /// What is wrong with the database although it answers.
    fn store_warning(&self) -> Option<&str> {
        None
    }

    /// Sees to it that what was overwritten or deleted in the database is gone from the disk, where that is not the runtime's
    /// own affair.
    fn scrub(&self) -> impl Future<Output = Result<(), DatabaseError>> + MaybeSend {
        std::future::ready(Ok(()))
    }

    /// Runs statements as one transaction and gives the rows of each.
    fn database(&self, batch: Vec<Statement>)
    -> impl Future<Output = Result<Vec<Vec<Row>>, DatabaseError>> + MaybeSend;
}

/// Bytes for a name that need not be secret: random, or at least never the same twice.
pub fn unique(platform: &impl Platform) -> [u8; 16] {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    platform.random().unwrap_or_else(|error| {
        tracing::error!(%error, "names are counted");
        let count = NEXT.fetch_add(1, Ordering::Relaxed);
        (u128::from(platform.now()) << 64 | u128::from(count)).to_be_bytes()
    })
}

/// From so many bytes on, reading a request is work that takes long.
const LARGE: usize = 256 * 1024;

/// Does work on so many bytes: at once, or as [`Platform::compute`] does.
pub async fn work_on<P: Platform, T: MaybeSend + 'static>(
    platform: &P,
    bytes: usize,
    work: impl FnOnce() -> T + MaybeSend + 'static,
) -> T {
    if bytes < LARGE { work() } else { platform.compute(work).await }
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
    /// When the access token ends, in seconds since 1970.
    pub session_expires_at: Option<u64>,
}

/// Asks another server, and notes and counts how that went.
///
/// # Errors
/// Those of the fetch.
pub async fn ask<P: Platform>(
    platform: &P,
    what: UpstreamKind,
    fetch: impl Future<Output = Result<FetchResponse, FetchError>>,
) -> Result<FetchResponse, FetchError> {
    let begun = platform.clock();
    let answer = fetch.await;
    let took = platform.clock().saturating_sub(begun);
    let status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
    platform.request_metrics().record_upstream_call(status, took);
    platform.count(Event::UpstreamCall(what, status, took));
    tracing::debug!(
        call = what.as_str(),
        status,
        ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "asked another server"
    );
    answer
}

/// A body whose pieces each come within `limit`; the first that does not is a [`FetchErrorKind::Timeout`] and the last.
pub fn patient<P: Platform>(platform: &P, body: ByteStream, limit: Duration) -> ByteStream {
    let next = move |state: Option<(P, ByteStream)>| async move {
        let (platform, mut body) = state?;
        match timeout(&platform, limit, body.next()).await {
            Some(piece) => piece.map(|piece| (piece, Some((platform, body)))),
            None => {
                let error = FetchError { kind: FetchErrorKind::Timeout, detail: "no more came in time".to_owned() };
                Some((Err(error), None))
            }
        }
    };
    Box::pin(futures::stream::unfold(Some((platform.clone(), body)), next))
}

/// Waits for `future`, but no longer than `limit`.
pub async fn timeout<T>(platform: &impl Platform, limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    use futures::future::{Either, select};
    match select(std::pin::pin!(future), platform.sleep(limit)).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(((), _)) => None,
    }
}
