//! A platform for unit tests: tokio's paused clock, which advances to the next timer when all tasks wait; scripted answers of
//! other servers; and SQLite in memory.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use rusqlite::Connection;
use tokio::time::Instant;

use super::{
    Asset, Assets, BoxFuture, ByteStream, Clock, Database, DatabaseError, Entropy, FetchError, FetchErrorKind,
    FetchResponse, Gauges, Http, MaybeSend, NoRandomness, Payload, READ_SIZE, Reach, Row, Statement, Tasks, Telemetry,
    address, native,
    telemetry::{Event, RequestMetrics},
};
use crate::unix_time::UnixMillis;

/// When the virtual clock starts.
pub(crate) const START: UnixMillis = UnixMillis::new(1_790_000_000_000);

type Answer = Result<FetchResponse, FetchError>;
type Script = dyn FnMut(&http::Request<Payload>, usize) -> Answer + Send;
type DatabaseScript = dyn FnMut(&[Statement]) -> Result<Vec<Vec<Row>>, DatabaseError> + Send;

/// The simulated platform. Needs a tokio runtime with `start_paused`.
#[derive(Clone)]
pub(crate) struct Sim<const WAKES_ACROSS_REQUESTS: bool = true> {
    shared: Arc<Shared>,
    request_metrics: RequestMetrics,
}

struct Shared {
    started: Instant,
    script: Mutex<Box<Script>>,
    requests: Mutex<Vec<http::Request<Payload>>>,
    database: Mutex<Box<DatabaseScript>>,
    has_randomness: AtomicBool,
    draws: AtomicU64,
    client_left: AtomicBool,
}

fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sim<true> {
    /// Returns a platform on which `script` answers for other servers. It receives each request and the number of earlier ones.
    pub(crate) fn answering(script: impl FnMut(&http::Request<Payload>, usize) -> Answer + Send + 'static) -> Self {
        Self {
            shared: Arc::new(Shared {
                started: Instant::now(),
                script: Mutex::new(Box::new(script)),
                requests: Mutex::default(),
                database: Mutex::new(Box::new(|_| Ok(Vec::new()))),
                has_randomness: AtomicBool::new(true),
                draws: AtomicU64::new(0),
                client_left: AtomicBool::new(false),
            }),
            request_metrics: RequestMetrics::default(),
        }
    }

    /// Returns a platform on which any request to another server panics.
    pub(crate) fn alone() -> Self {
        Self::answering(|request, _| panic!("{} was asked", request.uri()))
    }

    /// Behaves like the Worker: an event of one request does not wake a future of another request.
    pub(crate) fn without_wakes_across_requests(self) -> Sim<false> {
        Sim { shared: self.shared, request_metrics: self.request_metrics }
    }
}

impl<const WAKES: bool> Sim<WAKES> {
    /// Adds SQLite in memory with the tables of these migrations.
    pub(crate) fn with_database(self, migrations: native::Migrations) -> Self {
        let mut connection: Connection = native::database_in_memory(migrations).unwrap();
        self.with_database_script(move |batch| {
            native::run_batch(&mut connection, batch).map_err(|error| DatabaseError(error.to_string()))
        })
    }

    /// Adds a database that is answered for by `script`.
    pub(crate) fn with_database_script(
        self,
        script: impl FnMut(&[Statement]) -> Result<Vec<Vec<Row>>, DatabaseError> + Send + 'static,
    ) -> Self {
        *locked(&self.shared.database) = Box::new(script);
        self
    }

    /// Makes the source of randomness fail.
    pub(crate) fn without_randomness(self) -> Self {
        self.shared.has_randomness.store(false, Ordering::Relaxed);
        self
    }

    /// Makes the client leave, as the Worker reports it.
    pub(crate) fn client_leaves(&self) {
        self.shared.client_left.store(true, Ordering::Relaxed);
    }

    /// Returns the requests to other servers so far.
    pub(crate) fn requests(&self) -> Vec<http::Request<Payload>> {
        locked(&self.shared.requests).clone()
    }
}

/// Returns an answer whose chunks arrive one after the other, each after the given pause, whether or not they are read. Chunks
/// that have arrived are handed over as one, as the real platforms do.
pub(crate) fn streamed(
    status: u16,
    content_type: &str,
    pieces: impl IntoIterator<Item = (Duration, Result<Bytes, FetchError>)>,
) -> FetchResponse {
    let mut at = Instant::now();
    let arrivals: VecDeque<_> = pieces
        .into_iter()
        .map(|(pause, piece)| {
            at += pause;
            (at, piece)
        })
        .collect();
    let body: ByteStream = Box::pin(futures::stream::unfold(arrivals, |mut arrivals| async move {
        let (at, piece) = arrivals.pop_front()?;
        tokio::time::sleep_until(at).await;
        let mut whole = match piece {
            Ok(piece) => piece.to_vec(),
            Err(error) => return Some((Err(error), arrivals)),
        };
        while whole.len() < READ_SIZE
            && let Some((at, Ok(piece))) = arrivals.front()
            && *at <= Instant::now()
        {
            whole.extend_from_slice(piece);
            arrivals.pop_front();
        }
        Some((Ok(whole.into()), arrivals))
    }));
    http::Response::builder().status(status).header("content-type", content_type).body(body).unwrap()
}

impl<const WAKES: bool> Http for Sim<WAKES> {
    const KNOWS_WHAT_WAS_SENT: bool = true;

    async fn fetch(&self, request: http::Request<Payload>) -> Answer {
        let before = {
            let mut requests = locked(&self.shared.requests);
            requests.push(request.clone());
            requests.len() - 1
        };
        locked(&self.shared.script)(&request, before)
    }

    async fn fetch_foreign(&self, request: http::Request<Payload>, reach: Reach) -> Answer {
        if reach == Reach::PublicOnly {
            let url = url::Url::parse(&request.uri().to_string())
                .map_err(|error| FetchError { kind: FetchErrorKind::Connect, detail: error.to_string() })?;
            address::check_host(url.host())?;
        }
        self.fetch(request).await
    }
}

impl<const WAKES: bool> Clock for Sim<WAKES> {
    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn now(&self) -> UnixMillis {
        START.saturating_add(self.elapsed())
    }

    fn elapsed(&self) -> Duration {
        self.shared.started.elapsed()
    }
}

impl<const WAKES: bool> Entropy for Sim<WAKES> {
    fn random(&self) -> Result<[u8; 16], NoRandomness> {
        let has_randomness = self.shared.has_randomness.load(Ordering::Relaxed);
        let number = self.shared.draws.fetch_add(1, Ordering::Relaxed) + 1;
        has_randomness
            .then(|| u128::from(number).to_be_bytes())
            .ok_or_else(|| NoRandomness("simulated failure".to_owned()))
    }
}

impl<const WAKES: bool> Tasks for Sim<WAKES> {
    const WAKES_ACROSS_REQUESTS: bool = WAKES;

    fn detached(&self) -> Self {
        self.clone()
    }

    fn client_left(&self) -> bool {
        self.shared.client_left.load(Ordering::Relaxed)
    }

    fn defer(&self, work: impl Future<Output = ()> + MaybeSend + 'static) {
        tokio::spawn(work);
    }

    async fn compute<T: MaybeSend + 'static>(&self, work: impl FnOnce() -> T + MaybeSend + 'static) -> T {
        work()
    }
}

impl<const WAKES: bool> Database for Sim<WAKES> {
    async fn database(&self, batch: Vec<Statement>) -> Result<Vec<Vec<Row>>, DatabaseError> {
        locked(&self.shared.database)(&batch)
    }

    fn database_warning(&self) -> Option<&str> {
        None
    }

    async fn scrub(&self) -> Result<(), DatabaseError> {
        Ok(())
    }
}

impl<const WAKES: bool> Assets for Sim<WAKES> {
    async fn asset(&self, _path: &str, _accepts_gzip: bool) -> Option<Asset> {
        None
    }
}

impl<const WAKES: bool> Telemetry for Sim<WAKES> {
    fn request_metrics(&self) -> RequestMetrics {
        self.request_metrics.clone()
    }

    fn with_own_metrics(&self) -> Self {
        Self { request_metrics: RequestMetrics::default(), ..self.clone() }
    }

    fn count(&self, _event: Event<'_>) {}

    fn metrics(&self, _gauges: &Gauges) -> Option<String> {
        None
    }
}
