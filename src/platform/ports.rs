//! The ports of a runtime, one trait for each concern. [`Platform`] is their sum; each value of it serves one request.
//!
//! No method has a default, so a runtime that lacks one does not compile. Errors of [`Database`] are those of SQLite or D1.

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
    /// Whether [`super::FetchErrorKind::Connect`] means that nothing was sent. The Worker reports it also for connections that
    /// broke after that.
    const KNOWS_WHAT_WAS_SENT: bool;

    /// Sends a request and returns when the head of the answer has arrived. Follows no redirect.
    fn fetch(
        &self,
        request: http::Request<Payload>,
    ) -> impl Future<Output = Result<FetchResponse, FetchError>> + MaybeSend;

    /// Sends a request to an address that a client chose. The body of the answer comes in large chunks. Fails with
    /// [`super::FetchErrorKind::Forbidden`] when `reach` excludes an address of the host. Where the runtime decodes the
    /// body, the answer has no `Content-Encoding` and no length.
    fn fetch_foreign(
        &self,
        request: http::Request<Payload>,
        reach: Reach,
    ) -> impl Future<Output = Result<FetchResponse, FetchError>> + MaybeSend;
}

/// Wall clock, monotonic clock and timers.
pub trait Clock {
    /// Resolves after `duration`.
    fn sleep(&self, duration: Duration) -> BoxFuture<()>;

    /// Returns the current time. On the Worker it advances only with input and output.
    fn now(&self) -> UnixMillis;

    /// Returns the time since a fixed moment in the past, to measure durations. On the Worker it advances only with input and
    /// output.
    fn elapsed(&self) -> Duration;
}

/// The machine's source of randomness.
pub trait Entropy {
    /// Returns unpredictable bytes, for whatever must not be guessed.
    ///
    /// # Errors
    /// The machine's source of randomness fails. There is no substitute; [`unique`] is for names that may be guessed.
    fn random(&self) -> Result<[u8; 16], NoRandomness>;
}

/// Work that runs beside a request, or after it.
pub trait Tasks: Sized {
    /// Whether an event of one request may wake a future of another request. Where it may not, a waiting request polls.
    const WAKES_ACROSS_REQUESTS: bool;

    /// Returns the same runtime for work that continues after the client has left.
    #[must_use]
    fn detached(&self) -> Self;

    /// Whether the client has left. Always false on the native server, which drops the request's future instead.
    fn client_left(&self) -> bool;

    /// Runs work that may outlive the answer, on the Worker by at most 30 s.
    fn defer(&self, work: impl Future<Output = ()> + MaybeSend + 'static);

    /// Runs long computations. The native server uses a thread that serves no connection.
    fn compute<T: MaybeSend + 'static>(
        &self,
        work: impl FnOnce() -> T + MaybeSend + 'static,
    ) -> impl Future<Output = T> + MaybeSend;
}

/// SQLite or D1.
pub trait Database {
    /// Runs statements as one transaction and returns the rows of each.
    fn database(&self, batch: Vec<Statement>)
    -> impl Future<Output = Result<Vec<Vec<Row>>, DatabaseError>> + MaybeSend;

    /// Returns what is wrong with a database that answers, such as one that is kept in memory only.
    fn database_warning(&self) -> Option<&str>;

    /// Removes overwritten and deleted rows from the disk, where the database does not do so itself.
    fn scrub(&self) -> impl Future<Output = Result<(), DatabaseError>> + MaybeSend;
}

/// The pages in `web/`.
pub trait Assets {
    /// Returns the file at `path`, which begins with `/`. It is compressed only if `accepts_gzip`.
    fn asset(&self, path: &str, accepts_gzip: bool) -> impl Future<Output = Option<Asset>> + MaybeSend;
}

/// Counters, and a record of each request.
pub trait Telemetry: Sized {
    /// Returns the record of the request that this value serves.
    fn request_metrics(&self) -> RequestMetrics;

    /// Returns the same runtime with a new record, for another request.
    #[must_use]
    fn with_own_metrics(&self) -> Self;

    /// Counts an event.
    fn count(&self, event: Event<'_>);

    /// Returns all counters in the Prometheus text format, or `None` where the runtime keeps no counters.
    fn metrics(&self, gauges: &Gauges) -> Option<String>;
}

/// All ports of a runtime.
pub trait Platform:
    Http + Clock + Entropy + Tasks + Database + Assets + Telemetry + Clone + Unpin + MaybeSend + MaybeSync + 'static
{
}

impl<P> Platform for P where
    P: Http + Clock + Entropy + Tasks + Database + Assets + Telemetry + Clone + Unpin + MaybeSend + MaybeSync + 'static
{
}

/// The machine's source of randomness failed; holds its error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoRandomness(pub String);

impl fmt::Display for NoRandomness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no randomness: {}", self.0)
    }
}

impl std::error::Error for NoRandomness {}

/// Returns bytes for a name that need not be secret: random bytes, or a counter if the source of randomness fails.
pub fn unique(platform: &(impl Entropy + Clock)) -> [u8; 16] {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    platform.random().unwrap_or_else(|error| {
        tracing::error!(%error, "randomness failed; names are counted instead");
        let count = NEXT.fetch_add(1, Ordering::Relaxed);
        (u128::from(platform.now().get()) << 64 | u128::from(count)).to_be_bytes()
    })
}
