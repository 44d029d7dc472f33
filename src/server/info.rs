//! `/`, `/health`, `/ready` and `/metrics`: what this server is, and its state.

use http::{Response, StatusCode};
use serde::Serialize;

use super::{
    App, pages, reply,
    router::{Endpoint, routes},
};
use crate::{
    platform::{Body, Gauges, Headers, Platform},
    store,
    unix_time::UnixSeconds,
    upstream::qwen::{SessionReport, SessionState},
};

/// What this server is.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = ServerInformation))]
pub(super) struct Information {
    /// `qwen-edge`
    name: &'static str,
    version: &'static str,
    /// `box` for the native server, `edge` for the Worker.
    product: &'static str,
    message: &'static str,
    /// The path of the API documentation.
    docs: &'static str,
    routes: Vec<RouteObject>,
}

/// A route of this server.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = Route))]
pub(super) struct RouteObject {
    method: &'static str,
    path: &'static str,
    /// Whether the route needs a key.
    key: bool,
}

pub(super) async fn root(app: &App, platform: &impl Platform, headers: &Headers) -> Response<Body> {
    if headers.get("accept").is_some_and(|accept| prefers_html(&accept))
        && let Some(console) = pages::page(platform, headers, pages::CONSOLE).await
    {
        return console;
    }
    let routes = routes(&app.config.product)
        .filter(|route| route.endpoint != Endpoint::Asset)
        .map(|route| RouteObject { method: route.method, path: route.path, key: route.access.is_keyed(&app.config) })
        .collect();
    let information = Information {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        product: app.config.product.name,
        message: "An OpenAI-compatible API for your own Qwen web account. Point a client at /v1.",
        docs: "/docs",
        routes,
    };
    reply::json(StatusCode::OK, &information)
}

/// Whether the client is a browser: `text/html` comes before JSON and before any wildcard.
fn prefers_html(accept: &str) -> bool {
    accept
        .split(',')
        .filter_map(|range| range.split(';').next())
        .map(|range| range.trim().to_ascii_lowercase())
        .find(|range| matches!(range.as_str(), "text/html" | "application/json" | "*/*" | "application/*"))
        .is_some_and(|range| range == "text/html")
}

/// The state of the server.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct Health {
    #[serde(skip)]
    usable: bool,
    /// `healthy`, `degraded`, or `unhealthy` if no chat could work.
    status: &'static str,
    version: &'static str,
    session: SessionHealth,
    store: StoreHealth,
    /// How far this machine's clock is ahead of the site's, in seconds. Requests use the site's time.
    clock_skew_seconds: i64,
}

/// The state of the Qwen session.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct SessionHealth {
    /// `valid`, `expiring`, `expired`, `challenged`, `missing` or `unknown`.
    state: &'static str,
    /// When the access token expires, in Unix seconds.
    expires_at: Option<u64>,
    /// When the site last accepted the session, in Unix seconds.
    checked_at: Option<u64>,
}

/// The state of the database. Chats work without it, but conversations are not stored.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct StoreHealth {
    ok: bool,
    /// The number of failures since the start.
    errors: u64,
    /// Whether stored data outlives the process. If not, the log says why.
    persistent: bool,
}

/// Checks the session's state and the store, without a request to the site.
async fn check(app: &App, platform: &impl Platform) -> Health {
    app.accounts.default_account().qwen.session().sync(platform).await;
    let session = app.accounts.default_account().qwen.session().report(platform.now());
    let store_problem = store::check(platform).await.err();
    if let Some(error) = &store_problem {
        tracing::warn!(%error, "the store does not answer");
    }
    let persistent = platform.database_warning().is_none();
    let usable = session.state.usable();
    let status = match (usable, session.state) {
        (false, _) => "unhealthy",
        (true, SessionState::Expiring) => "degraded",
        (true, _) if store_problem.is_some() || !persistent => "degraded",
        (true, _) => "healthy",
    };
    let SessionReport { state, expires_at, checked_at, .. } = session;
    Health {
        usable,
        status,
        version: env!("CARGO_PKG_VERSION"),
        session: SessionHealth {
            state: state.as_str(),
            expires_at: expires_at.map(UnixSeconds::get),
            checked_at: checked_at.map(UnixSeconds::get),
        },
        store: StoreHealth { ok: store_problem.is_none(), errors: app.store_health.count(), persistent },
        clock_skew_seconds: app.accounts.default_account().qwen.clock_skew_seconds(),
    }
}

pub(super) async fn health(app: &App, platform: &impl Platform) -> Response<Body> {
    reply::json(StatusCode::OK, &check(app, platform).await)
}

pub(super) async fn ready(app: &App, platform: &impl Platform) -> Response<Body> {
    let health = check(app, platform).await;
    reply::json(if health.usable { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &health)
}

/// Returns the metrics. `None` on the Worker, which keeps none.
pub(super) fn metrics(app: &App, platform: &impl Platform) -> Option<Response<Body>> {
    let session = app.accounts.default_account().qwen.session().report(platform.now());
    let (in_flight, waiting) = app.accounts.default_account().limiter.count();
    let gauges = Gauges {
        store_errors: app.store_health.count(),
        in_flight: in_flight as u64,
        waiting: waiting as u64,
        session_state: session.state.as_str(),
        session_states: SessionState::WORDS,
        session_expires_at: session.expires_at,
    };
    platform.metrics(&gauges).map(reply::metrics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_prefer_html_and_programs_do_not() {
        for (accept, html) in [
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true),
            ("*/*", false),
            ("application/json", false),
            ("application/json, text/html", false),
            ("TEXT/HTML; q=1.0", true),
            ("", false),
        ] {
            assert_eq!(prefers_html(accept), html, "{accept}");
        }
    }
}
