//! The edge: workerd, its `fetch` and D1.
//!
//! A client that leaves before the response head ends the request's I/O context, and promises that are then pending never
//! settle: the Rust future and all it owns would stay in memory for the isolate's life. Therefore the context is held open
//! (`waitUntil`) until the handler has ended, and the client's signal aborts each upstream fetch so that it does end.
//! The compatibility flags `enable_request_signal` and `request_signal_passthrough` are needed for this.

mod analytics;
mod answer;
mod assets;
mod database;
mod fetch;
pub(crate) mod request;
mod resolve;

use std::{rc::Rc, time::Duration};

use futures::FutureExt as _;
use worker::{Context, Env};

pub(crate) use answer::to_js;

use crate::{
    platform::telemetry::{Event, RequestMetrics},
    platform::{
        Asset, BoxFuture, DatabaseError, FetchError, FetchResponse, MaybeSend, NoRandomness, Payload, Platform, Row,
        Statement,
    },
};

/// What one request may use of the runtime.
#[derive(Clone)]
pub struct Worker {
    env: Env,
    context: Lifetime,
    /// Aborted when the client leaves.
    client: Option<web_sys::AbortSignal>,
    request_metrics: RequestMetrics,
}

/// What may be kept going after the answer.
#[derive(Clone)]
enum Lifetime {
    Request(Rc<Context>),
    Schedule(Rc<worker::ScheduleContext>),
}

impl Worker {
    /// The runtime of a request whose client is heard through `client`.
    pub(crate) fn for_request(env: Env, context: Rc<Context>, client: web_sys::AbortSignal) -> Self {
        Self {
            env,
            context: Lifetime::Request(context),
            client: Some(client),
            request_metrics: RequestMetrics::default(),
        }
    }

    /// The runtime of a run of the cron trigger.
    pub(crate) fn for_schedule(env: Env, context: worker::ScheduleContext) -> Self {
        Self {
            env,
            context: Lifetime::Schedule(Rc::new(context)),
            client: None,
            request_metrics: RequestMetrics::default(),
        }
    }
}

impl Platform for Worker {
    async fn fetch(&self, request: http::Request<Payload>) -> Result<FetchResponse, FetchError> {
        fetch::fetch(request, self.client.as_ref()).await
    }

    async fn fetch_foreign(
        &self,
        request: http::Request<Payload>,
        allow_private: bool,
    ) -> Result<FetchResponse, FetchError> {
        if !allow_private {
            resolve::check(request.uri(), self.client.as_ref()).await?;
        }
        fetch::fetch_bulk(request, self.client.as_ref()).await
    }

    fn detached(&self) -> Self {
        Self { client: None, ..self.clone() }
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        // `Delay` wakes only the task that polled it first, and an answer goes on in another than it began in; `Shared`
        // wakes whoever polled last.
        Box::pin(worker::Delay::from(duration).shared())
    }

    fn now(&self) -> u64 {
        worker::Date::now().as_millis()
    }

    fn client_left(&self) -> bool {
        self.client.as_ref().is_some_and(web_sys::AbortSignal::aborted)
    }

    fn request_metrics(&self) -> RequestMetrics {
        self.request_metrics.clone()
    }

    fn count(&self, event: Event<'_>) {
        if let Event::Request(record) = event {
            analytics::write(&self.env, record);
        }
    }

    fn random(&self) -> Result<[u8; 16], NoRandomness> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| NoRandomness(error.to_string()))?;
        Ok(bytes)
    }

    fn defer(&self, work: impl Future<Output = ()> + MaybeSend + 'static) {
        match &self.context {
            Lifetime::Request(context) => context.wait_until(work),
            Lifetime::Schedule(context) => context.wait_until(work),
        }
    }

    async fn asset(&self, path: &str, _accepts_gzip: bool) -> Option<Asset> {
        assets::find(&self.env, path).await
    }

    async fn database(&self, batch: Vec<Statement>) -> Result<Vec<Vec<Row>>, DatabaseError> {
        database::run(&self.env, batch).await
    }
}
