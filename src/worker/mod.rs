//! The Worker's entry points: a request, and the cron trigger.

mod console;

use std::{cell::OnceCell, rc::Rc, sync::Arc};

use futures::channel::oneshot;
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;
use worker::{Context, Env, event};

use crate::{
    config::{Config, ConfigError, Product},
    platform::worker::{DiscardedBody, Worker, from_js, to_js},
    server::{self, App},
};

#[wasm_bindgen(module = "/src/platform/worker/microtasks.js")]
extern "C" {
    #[wasm_bindgen(js_name = runTasksByPromises)]
    fn run_tasks_by_promises();
}

/// Runs once in each isolate, before its first request.
#[event(start)]
fn on_start() {
    run_tasks_by_promises();
}

thread_local! {
    /// The program's state, made by the isolate's first request. Variables do not change during the life of an isolate.
    static APP: OnceCell<Result<Arc<App>, ConfigError>> = const { OnceCell::new() };
}

/// Returns the text of a variable. A variable of another type, which `wrangler.toml` allows, is returned as JSON instead of
/// counting as absent.
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
            let config = Config::from_lookup(|name| variable(env, name), Product::WORKER)?;
            let level = &config.log;
            console::start(level).map_err(|_| ConfigError {
                name: "LOG",
                problem: "must be off, error, warn, info, debug or trace on the Worker".to_owned(),
            })?;
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
        // Also resolves when the sender is dropped, however the handler ends.
        let _ = end.await;
    });
    let client = request.signal();
    let app = app(&env);
    let discarded = DiscardedBody::default();
    let request = from_js(request, Rc::clone(&discarded));
    let context = Rc::new(context);
    let platform = Worker::for_request(env, Rc::clone(&context), client.clone());
    let answer = match app {
        Ok(app) => server::handle(app, platform, request).await,
        Err(error) => server::misconfigured(&platform, &request, &error),
    };
    let discarding = discarded.borrow_mut().take();
    if let Some(discarding) = discarding {
        // The answer is sent even if this fails.
        let _ = JsFuture::from(discarding).await;
    }
    drop(ended);
    to_js(answer, &context, &client).map_err(worker::Error::from)
}

#[event(scheduled)]
async fn on_schedule(_event: worker::ScheduledEvent, env: Env, context: worker::ScheduleContext) {
    match app(&env) {
        Ok(app) => {
            app.housekeeping(&Worker::for_schedule(env, context)).await;
        }
        Err(error) => worker::console_error!("{error}"),
    }
}
