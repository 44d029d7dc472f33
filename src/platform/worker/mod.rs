//! The runtime of the Worker: workerd, its `fetch` and D1.
//!
//! A client that leaves before the response head ends the request's I/O context, and promises that are then pending never
//! settle. The Rust future and everything it owns would stay in memory as long as the isolate lives. Therefore `waitUntil` keeps
//! the context open until the handler has ended, and the client's signal aborts each upstream fetch so that the handler does
//! end. This needs the compatibility flags `enable_request_signal` and `request_signal_passthrough`.

mod analytics;
mod answer;
mod assets;
mod database;
mod fetch;
pub(in crate::platform) mod request;
mod resolve;

use std::{rc::Rc, time::Duration};

use futures::FutureExt as _;
use worker::{Context, Env};

pub(crate) use answer::to_js;
pub(crate) use request::DiscardedBody;
use request::{Headers, RequestBody};

use crate::platform::{
    Asset, Assets, BoxFuture, Clock, Database, DatabaseError, Entropy, FetchError, FetchResponse, Gauges, Http,
    MaybeSend, NoRandomness, Payload, Reach, Request, Row, Statement, Tasks, Telemetry, random,
    telemetry::{Event, RequestMetrics},
};
use crate::unix_time::UnixMillis;

/// The Worker's runtime, for one request or one run of the cron trigger.
#[derive(Clone)]
pub struct Worker {
    env: Env,
    context: Lifetime,
    /// Aborted when the client leaves.
    client: Option<web_sys::AbortSignal>,
    request_metrics: RequestMetrics,
}

/// The context whose `waitUntil` runs deferred work.
#[derive(Clone)]
enum Lifetime {
    Request(Rc<Context>),
    Schedule(Rc<worker::ScheduleContext>),
}

impl Worker {
    /// Returns the runtime for a request. The signal `client` is aborted when the client leaves.
    pub(crate) fn for_request(env: Env, context: Rc<Context>, client: web_sys::AbortSignal) -> Self {
        Self {
            env,
            context: Lifetime::Request(context),
            client: Some(client),
            request_metrics: RequestMetrics::default(),
        }
    }

    /// Returns the runtime for a run of the cron trigger.
    pub(crate) fn for_schedule(env: Env, context: worker::ScheduleContext) -> Self {
        Self {
            env,
            context: Lifetime::Schedule(Rc::new(context)),
            client: None,
            request_metrics: RequestMetrics::default(),
        }
    }
}

impl Http for Worker {
    const KNOWS_WHAT_WAS_SENT: bool = false;

    async fn fetch(&self, request: http::Request<Payload>) -> Result<FetchResponse, FetchError> {
        fetch::fetch(request, self.client.as_ref()).await
    }

    async fn fetch_foreign(&self, request: http::Request<Payload>, reach: Reach) -> Result<FetchResponse, FetchError> {
        if reach == Reach::PublicOnly {
            resolve::check(request.uri(), self.client.as_ref()).await?;
        }
        fetch::fetch_bulk(request, self.client.as_ref()).await
    }
}

impl Clock for Worker {
    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        // `Delay` wakes only the task that polled it first, and an answer may continue in another task than it began in.
        // `Shared` wakes the task that polled last.
        Box::pin(worker::Delay::from(duration).shared())
    }

    fn now(&self) -> UnixMillis {
        UnixMillis::new(worker::Date::now().as_millis())
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.now().get())
    }
}

impl Entropy for Worker {
    fn random(&self) -> Result<[u8; 16], NoRandomness> {
        random::random()
    }
}

impl Tasks for Worker {
    const WAKES_ACROSS_REQUESTS: bool = false;

    fn detached(&self) -> Self {
        Self { client: None, ..self.clone() }
    }

    fn client_left(&self) -> bool {
        self.client.as_ref().is_some_and(web_sys::AbortSignal::aborted)
    }

    fn defer(&self, work: impl Future<Output = ()> + MaybeSend + 'static) {
        match &self.context {
            Lifetime::Request(context) => context.wait_until(work),
            Lifetime::Schedule(context) => context.wait_until(work),
        }
    }

    async fn compute<T: MaybeSend + 'static>(&self, work: impl FnOnce() -> T + MaybeSend + 'static) -> T {
        work()
    }
}

impl Database for Worker {
    async fn database(&self, batch: Vec<Statement>) -> Result<Vec<Vec<Row>>, DatabaseError> {
        database::run(&self.env, batch).await
    }

    fn database_warning(&self) -> Option<&str> {
        None
    }

    async fn scrub(&self) -> Result<(), DatabaseError> {
        // D1 manages its own storage.
        Ok(())
    }
}

impl Assets for Worker {
    async fn asset(&self, path: &str, _accepts_gzip: bool) -> Option<Asset> {
        assets::find(&self.env, path).await
    }
}

impl Telemetry for Worker {
    fn request_metrics(&self) -> RequestMetrics {
        self.request_metrics.clone()
    }

    fn with_own_metrics(&self) -> Self {
        Self { request_metrics: RequestMetrics::default(), ..self.clone() }
    }

    fn count(&self, event: Event<'_>) {
        if let Event::Request(record) = event {
            analytics::write(&self.env, record);
        }
    }

    fn metrics(&self, _gauges: &Gauges) -> Option<String> {
        None
    }
}

/// Converts a request of the runtime. `discarded` is set when the body is dropped unread.
pub(crate) fn from_js(request: web_sys::Request, discarded: DiscardedBody) -> Request {
    let url = url::Url::parse(&request.url()).ok();
    Request {
        method: request.method().parse().unwrap_or_default(),
        path: url.as_ref().map_or_else(|| "/".to_owned(), |url| url.path().to_owned()),
        query: url.as_ref().and_then(|url| url.query().map(str::to_owned)),
        authority: url.as_ref().map(|url| url.authority().to_owned()),
        headers: Headers(request.headers()),
        body: RequestBody { request, discarded },
    }
}
