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
use hyper::body::{Frame, SizeHint};
use tokio::sync::Semaphore;

use crate::{
    platform::telemetry::{Event, RequestMetrics},
    platform::{
        Asset, Body, BoxFuture, DatabaseError, FetchError, FetchResponse, Gauges, MaybeSend, NoRandomness, Payload,
        Platform, Row, Statement, address,
    },
};

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
    /// Opens the database and prepares the HTTP client. Needs a tokio runtime.
    #[must_use]
    pub fn new(database_path: &Path) -> Self {
        let database = database::Database::open(database_path);
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

impl Platform for Native {
    async fn fetch(&self, request: http::Request<Payload>) -> Result<FetchResponse, FetchError> {
        self.parts.fetcher.fetch(request).await
    }

    async fn fetch_foreign(
        &self,
        request: http::Request<Payload>,
        allow_private: bool,
    ) -> Result<FetchResponse, FetchError> {
        if allow_private {
            return self.fetch(request).await;
        }
        // The resolver is not asked for hosts that are addresses already.
        let url = url::Url::parse(&request.uri().to_string()).map_err(|_| address::forbidden())?;
        address::check_host(url.host())?;
        self.parts.public_fetcher.fetch(request).await
    }

    fn detached(&self) -> Self {
        self.clone()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn now(&self) -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn clock(&self) -> Duration {
        self.parts.started.elapsed()
    }

    fn request_metrics(&self) -> RequestMetrics {
        self.request_metrics.clone()
    }

    fn with_own_metrics(&self) -> Self {
        Self { request_metrics: RequestMetrics::default(), ..self.clone() }
    }

    fn count(&self, event: Event<'_>) {
        self.parts.metrics.count(event);
    }

    fn metrics(&self, now: &Gauges) -> Option<String> {
        Some(self.parts.metrics.text(now))
    }

    fn random(&self) -> Result<[u8; 16], NoRandomness> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| NoRandomness(error.to_string()))?;
        Ok(bytes)
    }

    fn defer(&self, work: impl Future<Output = ()> + MaybeSend + 'static) {
        tokio::spawn(work);
    }

    async fn compute<T: MaybeSend + 'static>(&self, work: impl FnOnce() -> T + MaybeSend + 'static) -> T {
        // As many at once as there are cores: more would be no sooner, and take the connections' share.
        let _one = self.parts.computing.acquire().await;
        match tokio::task::spawn_blocking(work).await.map_err(tokio::task::JoinError::try_into_panic) {
            Ok(done) => done,
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            // The process ends, and with it whoever waits.
            Err(Err(_)) => std::future::pending().await,
        }
    }

    fn store_warning(&self) -> Option<&str> {
        self.parts.database.warning()
    }

    async fn asset(&self, path: &str, accepts_gzip: bool) -> Option<Asset> {
        assets::find(path, accepts_gzip)
    }

    async fn scrub(&self) -> Result<(), DatabaseError> {
        self.parts.database.scrub().await
    }

    async fn database(&self, batch: Vec<Statement>) -> Result<Vec<Vec<Row>>, DatabaseError> {
        self.parts.database.run(batch).await
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
