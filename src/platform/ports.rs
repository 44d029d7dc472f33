//! What a runtime offers, one trait for each concern. [`Platform`] is their sum: a value of it serves one request.
//!
//! No method has a default: a runtime that forgets one does not compile.

use std::{
    fmt,
    future::Future,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::{
    boxed::{BoxFuture, MaybeSend, MaybeSync},
    database::{DatabaseError, Row, Statement},
    messages::{Asset, FetchError, FetchResponse, Payload},
    telemetry::{Event, Gauges, RequestMetrics},
};
use crate::unix_time::UnixMillis;

/// Which hosts a request may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Any host, private ones included.
    Any,
    /// Hosts whose addresses are all public ([`super::address::is_public`]).
    PublicOnly,
}

/// Requests to other servers.
pub trait Http {
    /// Sends a request. Follows no redirect. Resolves when the head of the answer has arrived.
    fn fetch(
        &self,
        request: http::Request<Payload>,
    ) -> impl Future<Output = Result<FetchResponse, FetchError>> + MaybeSend;

    /// The same for an address that a client chose, with a body in large pieces. Fails with
    /// [`super::FetchErrorKind::Forbidden`] when `reach` does not include what the host resolves to. Where the runtime
    /// decodes the body, the answer has no `Content-Encoding` and no length.
    fn fetch_foreign(
        &self,
        request: http::Request<Payload>,
        reach: Reach,
    ) -> impl Future<Output = Result<FetchResponse, FetchError>> + MaybeSend;
}

/// Time.
pub trait Clock {
    /// Waits.
    fn sleep(&self, duration: Duration) -> BoxFuture<()>;

    /// The time. On the Worker it advances only when input or output happens.
    fn now(&self) -> UnixMillis;

    /// The time since some moment in the past, for measuring. On the Worker it advances only when input or output happens.
    fn elapsed(&self) -> Duration;
}

/// Randomness.
pub trait Entropy {
    /// Unpredictable bytes, for whatever must not be guessed.
    ///
    /// # Errors
    /// The machine has none. Nothing may stand in for them; for names see [`unique`].
    fn random(&self) -> Result<[u8; 16], NoRandomness>;
}

/// Work beside and beyond a request.
pub trait Tasks: Sized {
    /// Whether one request's event may wake another request's future. Where it may not, a waiting request polls.
    const WAKES_ACROSS_REQUESTS: bool;

    /// The same runtime for work that must be done also when the client has left.
    #[must_use]
    fn detached(&self) -> Self;

    /// Whether the client has left. The native server drops the request's future instead, so there it is never true.
    fn client_left(&self) -> bool;

    /// Runs work that may outlive the answer (on the Worker for at most 30 s).
    fn defer(&self, work: impl Future<Output = ()> + MaybeSend + 'static);

    /// Does work that takes long and waits for nothing, on a thread that serves no connection if there is one.
    fn compute<T: MaybeSend + 'static>(
        &self,
        work: impl FnOnce() -> T + MaybeSend + 'static,
    ) -> impl Future<Output = T> + MaybeSend;
}

/// The database.
pub trait Database {
    /// Runs statements as one transaction and returns the rows of each.
    fn database(&self, batch: Vec<Statement>)
    -> impl Future<Output = Result<Vec<Vec<Row>>, DatabaseError>> + MaybeSend;

    /// What is wrong with the database although it answers.
    fn database_warning(&self) -> Option<&str>;

    /// Removes from the disk what was overwritten or deleted in the database, where the runtime does not do so by itself.
    fn scrub(&self) -> impl Future<Output = Result<(), DatabaseError>> + MaybeSend;
}

/// The files of `web/`.
pub trait Assets {
    /// The file at `path`, which begins with `/`; compressed only if `accepts_gzip`.
    fn asset(&self, path: &str, accepts_gzip: bool) -> impl Future<Output = Option<Asset>> + MaybeSend;
}

/// Counting and measuring.
pub trait Telemetry: Sized {
    /// The record of the request that this value serves.
    fn request_metrics(&self) -> RequestMetrics;

    /// The same runtime for another request, with a record of its own.
    #[must_use]
    fn with_own_metrics(&self) -> Self;

    /// Counts what happened.
    fn count(&self, event: Event<'_>);

    /// All counters as text for Prometheus; `None` where the runtime keeps none.
    fn metrics(&self, gauges: &Gauges) -> Option<String>;
}

/// All that a runtime offers.
pub trait Platform:
    Http + Clock + Entropy + Tasks + Database + Assets + Telemetry + Clone + Unpin + MaybeSend + MaybeSync + 'static
{
}

impl<P> Platform for P where
    P: Http + Clock + Entropy + Tasks + Database + Assets + Telemetry + Clone + Unpin + MaybeSend + MaybeSync + 'static
{
}

/// The machine has no randomness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoRandomness(pub String);

impl fmt::Display for NoRandomness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no randomness: {}", self.0)
    }
}

impl std::error::Error for NoRandomness {}

/// Bytes for a name that need not be secret: random, or at least never the same twice.
pub fn unique(platform: &(impl Entropy + Clock)) -> [u8; 16] {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    platform.random().unwrap_or_else(|error| {
        tracing::error!(%error, "names are counted");
        let count = NEXT.fetch_add(1, Ordering::Relaxed);
        (u128::from(platform.now().get()) << 64 | u128::from(count)).to_be_bytes()
    })
}
