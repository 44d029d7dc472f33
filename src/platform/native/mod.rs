//! The runtime of the native server: tokio, hyper and SQLite.

mod assets;
mod connection;
mod database;
mod descriptors;
pub mod dotenv;
mod fetch;
mod gathered;
mod metrics;
mod patient;
pub(crate) mod request;
pub mod serve;
mod streams;
pub mod workers;

use std::{
    num::NonZero,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
pub use database::Migrations;
#[cfg(test)]
pub(in crate::platform) use database::{in_memory as database_in_memory, run as run_batch};
use hyper::body::{Frame, SizeHint};
use tokio::sync::Semaphore;

use crate::platform::{
    Asset, Assets, Body, BoxFuture, Clock, Database, DatabaseError, Entropy, FetchError, FetchResponse, Gauges, Http,
    MaybeSend, NoRandomness, Payload, Reach, Row, Statement, Tasks, Telemetry, address, random,
    telemetry::{Event, RequestMetrics},
};
use crate::unix_time::UnixMillis;

/// The native runtime, which all requests share, with the record of one request.
#[derive(Clone)]
pub struct Native {
    shared: Arc<Shared>,
    request_metrics: RequestMetrics,
}

struct Shared {
    fetcher: fetch::Fetcher,
    public_fetcher: fetch::Fetcher,
    database: database::Database,
    metrics: metrics::Metrics,
    started: Instant,
    /// One permit for each core.
    compute_permits: Semaphore,
}

impl Native {
    /// Opens the database, applies the missing migrations, and prepares the HTTP client. Needs a tokio runtime.
    #[must_use]
    pub fn new(database_path: &Path, migrations: Migrations) -> Self {
        let database = database::Database::open(database_path, migrations);
        if let Some(problem) = database.problem() {
            tracing::error!(%problem, "the store does not work; chats go on without it");
        } else if let Some(warning) = database.warning() {
            tracing::warn!("{warning}");
        }
        let shared = Shared {
            fetcher: fetch::Fetcher::new(true),
            public_fetcher: fetch::Fetcher::new(false),
            database,
            metrics: metrics::Metrics::new(),
            started: Instant::now(),
            compute_permits: Semaphore::new(std::thread::available_parallelism().map_or(1, NonZero::get)),
        };
        Self { shared: Arc::new(shared), request_metrics: RequestMetrics::default() }
    }

    /// Closes the database, so that its file holds everything and there are no side files. Later statements fail.
    pub async fn close(&self) {
        self.shared.database.close().await;
    }
}

impl Http for Native {
    const KNOWS_WHAT_WAS_SENT: bool = true;

    async fn fetch(&self, request: http::Request<Payload>) -> Result<FetchResponse, FetchError> {
        self.shared.fetcher.fetch(request).await
    }

    async fn fetch_foreign(&self, request: http::Request<Payload>, reach: Reach) -> Result<FetchResponse, FetchError> {
        if reach == Reach::Any {
            return self.fetch(request).await;
        }
        // The client does not call its resolver for hosts that are IP addresses.
        let url = url::Url::parse(&request.uri().to_string()).map_err(|_| address::forbidden())?;
        address::check_host(url.host())?;
        self.shared.public_fetcher.fetch(request).await
    }
}

impl Clock for Native {
    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn now(&self) -> UnixMillis {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        UnixMillis::default().saturating_add(since)
    }

    fn elapsed(&self) -> Duration {
        self.shared.started.elapsed()
    }
}

impl Entropy for Native {
    fn random(&self) -> Result<[u8; 16], NoRandomness> {
        random::random()
    }
}

impl Tasks for Native {
    const WAKES_ACROSS_REQUESTS: bool = true;

    fn detached(&self) -> Self {
        self.clone()
    }

    fn client_left(&self) -> bool {
        false
    }

    fn defer(&self, work: impl Future<Output = ()> + MaybeSend + 'static) {
        tokio::spawn(work);
    }

    async fn compute<T: MaybeSend + 'static>(&self, work: impl FnOnce() -> T + MaybeSend + 'static) -> T {
        // One computation for each core: more would not finish sooner, and would take time from the connections.
        let _permit = self.shared.compute_permits.acquire().await;
        match tokio::task::spawn_blocking(work).await.map_err(tokio::task::JoinError::try_into_panic) {
            Ok(done) => done,
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            // The runtime is shutting down, and drops this future with the rest.
            Err(Err(_)) => std::future::pending().await,
        }
    }
}

impl Database for Native {
    async fn database(&self, batch: Vec<Statement>) -> Result<Vec<Vec<Row>>, DatabaseError> {
        self.shared.database.run(batch).await
    }

    fn database_warning(&self) -> Option<&str> {
        self.shared.database.warning()
    }

    async fn scrub(&self) -> Result<(), DatabaseError> {
        self.shared.database.scrub().await
    }
}

impl Assets for Native {
    async fn asset(&self, path: &str, accepts_gzip: bool) -> Option<Asset> {
        assets::find(path, accepts_gzip)
    }
}

impl Telemetry for Native {
    fn request_metrics(&self) -> RequestMetrics {
        self.request_metrics.clone()
    }

    fn with_own_metrics(&self) -> Self {
        Self { request_metrics: RequestMetrics::default(), ..self.clone() }
    }

    fn count(&self, event: Event<'_>) {
        self.shared.metrics.count(event);
    }

    fn metrics(&self, gauges: &Gauges) -> Option<String> {
        Some(self.shared.metrics.text(gauges))
    }
}

/// The largest frame of an answer. hyper copies each frame into a buffer that stays with the connection.
const MAX_FRAME: usize = 16 * 1024;

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = FetchError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, FetchError>>> {
        match &mut *self {
            Self::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes.split_to(bytes.len().min(MAX_FRAME)))))),
            Self::Stream(stream) => stream.as_mut().poll_next(cx).map_ok(Frame::data),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Full(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}
