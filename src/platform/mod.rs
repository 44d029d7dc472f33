//! The only room that names a runtime: sockets, clocks, randomness and the database, as one small trait.
//!
//! `native.rs` stands on tokio, hyper and SQLite; `worker.rs` on workerd and D1. `docs/platforms.md` tells what differs.

use std::{fmt, future::Future, pin::Pin, time::Duration};

use bytes::Bytes;
use futures::Stream;

#[cfg(not(target_arch = "wasm32"))]
pub mod native;
#[cfg(target_arch = "wasm32")]
pub mod worker;

#[cfg(not(target_arch = "wasm32"))]
pub use native::request::{Headers, RequestBody};
#[cfg(target_arch = "wasm32")]
pub use worker::request::{Headers, RequestBody};

/// Which of the two products this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// The Cloudflare Worker.
    Edge,
    /// The native binary.
    Box,
}

/// The product being built.
pub const PRODUCT: Product = if cfg!(target_arch = "wasm32") { Product::Edge } else { Product::Box };

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

/// A body that arrives in pieces.
#[cfg(not(target_arch = "wasm32"))]
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, FetchError>> + Send>>;
/// A body that arrives in pieces.
#[cfg(target_arch = "wasm32")]
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, FetchError>>>>;

/// A body that the program sends. Dropping a stream cancels what feeds it.
pub enum Body {
    /// All of it at once; may be empty.
    Full(Bytes),
    /// Pieces as they come.
    Stream(ByteStream),
}

impl Body {
    /// No bytes.
    #[must_use]
    pub const fn empty() -> Self {
        Self::Full(Bytes::new())
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
    /// The header fields.
    pub headers: Headers,
    /// The body, not yet read.
    pub body: RequestBody,
}

/// Why a client's body could not be read.
#[derive(Debug, PartialEq, Eq)]
pub enum ReadError {
    /// It is longer than the limit.
    TooLarge,
    /// It broke off.
    Broken,
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

/// What a runtime gives. One value serves one request: on the edge it knows the client's disconnect signal.
pub trait Platform: Clone + MaybeSend + MaybeSync + 'static {
    /// Asks another server. Follows no redirect. Resolves when the head has arrived.
    fn fetch(
        &self,
        request: http::Request<Bytes>,
    ) -> impl Future<Output = Result<FetchResponse, FetchError>> + MaybeSend;

    /// Waits.
    fn sleep(&self, duration: Duration) -> BoxFuture<()>;

    /// Milliseconds since 1970. On the edge it advances only when input or output happens.
    fn now(&self) -> u64;

    /// Unpredictable bytes.
    fn random(&self) -> [u8; 16];

    /// Runs work that may outlive the answer (on the edge for at most 30 s).
    fn defer(&self, work: impl Future<Output = ()> + MaybeSend + 'static);

    /// Runs statements as one transaction and gives the rows of each.
    fn database(&self, batch: Vec<Statement>)
    -> impl Future<Output = Result<Vec<Vec<Row>>, DatabaseError>> + MaybeSend;
}

/// Waits for `future`, but no longer than `limit`.
pub async fn timeout<T>(platform: &impl Platform, limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    use futures::future::{Either, select};
    match select(std::pin::pin!(future), platform.sleep(limit)).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(((), _)) => None,
    }
}
