//! The box: tokio, hyper and SQLite.

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
    MaybeSend, NoRandomness, Payload, Reach, Row, Statement, Tasks, Telemetry, address,
    telemetry::{Event, RequestMetrics},
};
use crate::unix_time::UnixMillis;

/// The native runtime, shared by all requests, with the notes of one.
#[derive(Clone)]
pub struct Native {
    parts: Arc<Parts>,
    request_metrics: RequestMetrics,
}

struct Parts {
    fetcher: fetch::Fetcher,
    public_fetcher: fetch::Fetcher,
    database: database::Database,
    metrics: metrics::Metrics,
    started: Instant,
    /// A permit for each core, for work that takes long.
    computing: Semaphore,
}

impl Native {
    /// Opens the database, applies the migrations that it lacks, and prepares the HTTP client. Needs a tokio runtime.
    #[must_use]
    pub fn new(database_path: &Path, migrations: Migrations) -> Self {
        let database = database::Database::open(database_path, migrations);
        if let Some(problem) = database.problem() {
            tracing::error!(%problem, "the store does not work; chats go on without it");
        } else if let Some(warning) = database.warning() {
            tracing::warn!("{warning}");
        }
        let parts = Parts {
            fetcher: fetch::Fetcher::new(true),
            public_fetcher: fetch::Fetcher::new(false),
            database,
            metrics: metrics::Metrics::new(),
            started: Instant::now(),
            computing: Semaphore::new(std::thread::available_parallelism().map_or(1, NonZero::get)),
        };
        Self { parts: Arc::new(parts), request_metrics: RequestMetrics::default() }
    }

    /// Closes the database, so that all of it is in its file and nothing beside it. What comes later does without.
    pub async fn close(&self) {
        self.parts.database.close().await;
    }
}

impl Http for Native {
    async fn fetch(&self, request: http::Request<Payload>) -> Result<FetchResponse, FetchError> {
        self.parts.fetcher.fetch(request).await
    }

    async fn fetch_foreign(&self, request: http::Request<Payload>, reach: Reach) -> Result<FetchResponse, FetchError> {
        if reach == Reach::Any {
            return self.fetch(request).await;
        }
        // The resolver is not asked for hosts that are addresses already.
        let url = url::Url::parse(&request.uri().to_string()).map_err(|_| address::forbidden())?;
        address::check_host(url.host())?;
        self.parts.public_fetcher.fetch(request).await
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
        self.parts.started.elapsed()
    }
}

impl Entropy for Native {
    fn random(&self) -> Result<[u8; 16], NoRandomness> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| NoRandomness(error.to_string()))?;
        Ok(bytes)
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
        // As many at once as there are cores: more would end no sooner, and take time from the connections.
        let _permit = self.parts.computing.acquire().await;
        match tokio::task::spawn_blocking(work).await.map_err(tokio::task::JoinError::try_into_panic) {
            Ok(done) => done,
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            // The process ends, and with it whoever waits.
            Err(Err(_)) => std::future::pending().await,
        }
    }
}

impl Database for Native {
    async fn database(&self, batch: Vec<Statement>) -> Result<Vec<Vec<Row>>, DatabaseError> {
        self.parts.database.run(batch).await
    }

    fn database_warning(&self) -> Option<&str> {
        self.parts.database.warning()
    }

    async fn scrub(&self) -> Result<(), DatabaseError> {
        self.parts.database.scrub().await
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
        self.parts.metrics.count(event);
    }

    fn metrics(&self, gauges: &Gauges) -> Option<String> {
        Some(self.parts.metrics.text(gauges))
    }
}

/// As much of an answer as is given to hyper at once: it copies it, and keeps room for that with the connection.
const PIECE: usize = 16 * 1024;

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = FetchError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, FetchError>>> {
        match &mut *self {
            Self::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes.split_to(bytes.len().min(PIECE)))))),
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
