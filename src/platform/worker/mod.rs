//! The edge: workerd, its `fetch` and D1.
//!
//! A client that leaves before the response head ends the request's I/O context, and promises that are then pending never
//! settle: the Rust future and all it owns would stay in memory for the isolate's life. Therefore the context is held open
//! (`waitUntil`) until the handler has ended, and the client's signal aborts each upstream fetch so that it does end.
//! The compatibility flags `enable_request_signal` and `request_signal_passthrough` are needed for this.

mod analytics;
mod answer;
mod assets;
mod console;
mod database;
mod fetch;
pub(crate) mod request;
mod resolve;

use std::{cell::OnceCell, rc::Rc, sync::Arc, time::Duration};

use futures::{FutureExt as _, channel::oneshot};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;
use worker::{Context, Env, event};

use crate::{
    app::{self, App},
    config::{Config, ConfigError},
    platform::{
        Asset, Body, BoxFuture, DatabaseError, FetchError, FetchResponse, MaybeSend, NoRandomness, Payload, Platform,
        Row, Statement,
    },
    trace::{Event, Trace},
};

/// What one request may use of the runtime.
#[derive(Clone)]
pub struct Worker {
    env: Env,
    context: Lifetime,
    /// Aborted when the client leaves.
    client: Option<web_sys::AbortSignal>,
    trace: Trace,
}

/// What may be kept going after the answer.
#[derive(Clone)]
enum Lifetime {
    Request(Rc<Context>),
    Schedule(Rc<worker::ScheduleContext>),
}

impl Platform for Worker {
    async fn fetch(&self, request: http::Request<Payload>) -> Result<FetchResponse, FetchError> {
        fetch::fetch(request, self.client.as_ref()).await
    }

    async fn fetch_foreign(
        &self,
        request: http::Request<Payload>,
        anywhere: bool,
    ) -> Result<FetchResponse, FetchError> {
        if !anywhere {
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

    fn trace(&self) -> Trace {
        self.trace.clone()
    }

    fn count(&self, event: Event<'_>) {
        if let Event::Request(facts) = event {
            analytics::write(&self.env, facts);
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

thread_local! {
    /// The program's state, made by the isolate's first request: variables do not change within an isolate.
    static APP: OnceCell<Result<Arc<App>, ConfigError>> = const { OnceCell::new() };
}

/// A variable's text. One of another type, as `wrangler.toml` takes them too, is read as JSON: it does not count as absent.
fn variable(env: &Env, name: &str) -> Option<String> {
    let value = js_sys::Reflect::get(env.as_ref(), &JsValue::from_str(name)).ok()?;
    if value.is_undefined() || value.is_null() {
        return None;
    }
    value.as_string().or_else(|| js_sys::JSON::stringify(&value).ok()?.as_string())
}

fn app(env: &Env) -> Result<Arc<App>, ConfigError> {
    APP.with(|cell| {
        cell.get_or_init(|| {
            let config = Config::from_lookup(|name| variable(env, name))?;
            console::start(&config.log)?;
            for warning in config.warnings() {
                tracing::warn!("{warning}");
            }
            Ok(Arc::new(App::new(config)))
        })
        .clone()
    })
}

#[event(fetch)]
async fn on_fetch(request: web_sys::Request, env: Env, context: Context) -> worker::Result<web_sys::Response> {
    let (ended, end) = oneshot::channel::<()>();
    context.wait_until(async move {
        // Resolves also when the sender is dropped, whatever the way the handler ends.
        let _ = end.await;
    });
    let client = request.signal();
    let app = app(&env);
    let unwanted = request::Unwanted::default();
    let request = request::from_js(request, Rc::clone(&unwanted));
    let context = Rc::new(context);
    let platform = Worker {
        env,
        context: Lifetime::Request(Rc::clone(&context)),
        client: Some(client.clone()),
        trace: Trace::default(),
    };
    let answer = match app {
        Ok(app) => app::handle(app, platform, request).await,
        Err(error) => app::misconfigured(&platform, &request, &error),
    };
    let unwanted = unwanted.borrow_mut().take();
    if let Some(unwanted) = unwanted {
        // However it ends, the answer goes out.
        let _ = JsFuture::from(unwanted).await;
    }
    drop(ended);
    to_js(answer, &context, &client).map_err(worker::Error::from)
}

#[event(scheduled)]
async fn on_schedule(_event: worker::ScheduledEvent, env: Env, context: worker::ScheduleContext) {
    match app(&env) {
        Ok(app) => {
            let context = Lifetime::Schedule(Rc::new(context));
            app.housekeeping(&Worker { env, context, client: None, trace: Trace::default() }).await;
        }
        Err(error) => worker::console_error!("{error}"),
    }
}

fn to_js(
    answer: http::Response<Body>,
    context: &Context,
    client: &web_sys::AbortSignal,
) -> Result<web_sys::Response, JsValue> {
    let (head, body) = answer.into_parts();
    let headers = web_sys::Headers::new()?;
    for (name, value) in &head.headers {
        if let Ok(value) = value.to_str() {
            headers.append(name.as_str(), value)?;
        }
    }
    let init = web_sys::ResponseInit::new();
    init.set_status(head.status.as_u16());
    init.set_headers(&headers);
    match body {
        Body::Full(bytes) if bytes.is_empty() => web_sys::Response::new_with_opt_str_and_init(None, &init),
        Body::Full(bytes) => {
            web_sys::Response::new_with_opt_buffer_source_and_init(Some(&js_sys::Uint8Array::from(&bytes[..])), &init)
        }
        Body::Native(stream) => web_sys::Response::new_with_opt_readable_stream_and_init(Some(&stream), &init),
        Body::Stream(stream) => {
            let writing = answer::Writing::new(stream, Some(client));
            let readable = writing.readable();
            context.wait_until(writing);
            web_sys::Response::new_with_opt_readable_stream_and_init(Some(&readable), &init)
        }
    }
}
