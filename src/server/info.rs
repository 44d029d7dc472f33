//! `/`, `/health`, `/ready` and `/metrics`: what this server is, and its state.

use std::sync::Arc;

use http::{Response, StatusCode};
use serde::Serialize;

use super::{
    App, fallback, pages, reply,
    router::{Endpoint, routes},
};
use crate::{
    accounts::Account,
    platform::{AccountGauges, Body, Gauges, Headers, Platform},
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
    /// Whether chats can be answered, by the second upstream if by nobody else.
    #[serde(skip)]
    usable: bool,
    /// `healthy`, `degraded` if some accounts cannot be used, or `unhealthy` if no chat could work.
    status: &'static str,
    version: &'static str,
    /// Of `default`, or of the only account.
    session: SessionHealth,
    accounts: AccountsHealth,
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

/// How many accounts there are. `default` counts if it has a session, or a key uses it, or it is the only one.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct AccountsHealth {
    total: usize,
    /// Those whose session could be used.
    usable: usize,
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

/// The sessions that count, and the one that is shown.
///
/// `default` does not count if it has no session, no key uses it, and there are others: a household may do without it. Shown is
/// that of `default`, or the only one that counts.
fn counted(reports: &[SessionReport], keys_use_default: bool) -> (&[SessionReport], Option<&SessionReport>) {
    let (default, counted) = match reports.split_first() {
        Some((default, others))
            if default.state == SessionState::Missing && !others.is_empty() && !keys_use_default =>
        {
            (default, others)
        }
        Some((default, _)) => (default, reports),
        None => return (reports, None),
    };
    match counted {
        [only] => (counted, Some(only)),
        _ => (counted, Some(default)),
    }
}

/// Checks the sessions' states and the store, without a request to the site.
async fn check(app: &App, platform: &impl Platform) -> Health {
    app.accounts.refresh(platform).await;
    let now = platform.now();
    let reports: Vec<_> = app.accounts.all().iter().map(|account| account.qwen.session().report(now)).collect();
    let (counted, shown) = counted(&reports, app.keys.use_default());
    let usable = counted.iter().filter(|report| report.state.usable()).count();
    let accounts = AccountsHealth { total: counted.len(), usable };
    let store_problem = store::check(platform).await.err();
    if let Some(error) = &store_problem {
        tracing::warn!(%error, "the store does not answer");
    }
    let persistent = platform.database_warning().is_none();
    let state = shown.map_or(SessionState::Missing, |report| report.state);
    let status = match (usable, state) {
        (0, _) => "unhealthy",
        (usable, _) if usable < accounts.total => "degraded",
        (_, SessionState::Expiring) => "degraded",
        _ if store_problem.is_some() || !persistent => "degraded",
        _ => "healthy",
    };
    let is_covered = counted.iter().any(|report| fallback::covers(app, report.state));
    Health {
        usable: usable > 0 || is_covered,
        status,
        version: env!("CARGO_PKG_VERSION"),
        session: SessionHealth {
            state: state.as_str(),
            expires_at: shown.and_then(|report| report.expires_at).map(UnixSeconds::get),
            checked_at: shown.and_then(|report| report.checked_at).map(UnixSeconds::get),
        },
        accounts,
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
    let gauges_of = |account: &Arc<Account>| {
        let session = account.qwen.session().report(platform.now());
        let (in_flight, waiting) = account.limiter.count();
        AccountGauges {
            account: account.name.to_shared(),
            in_flight: in_flight as u64,
            waiting: waiting as u64,
            session_state: session.state.as_str(),
            session_expires_at: session.expires_at,
        }
    };
    let gauges = Gauges {
        store_errors: app.store_health.count(),
        session_states: SessionState::WORDS,
        accounts: app.accounts.all().iter().map(gauges_of).collect(),
    };
    platform.metrics(&gauges).map(reply::metrics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_that_nobody_uses_does_not_count() {
        use SessionState::{Expired, Missing, Valid};
        let report = |state| SessionReport {
            state,
            expires_at: None,
            checked_at: None,
            account: None,
            renewable: false,
            stored: false,
            encrypted: false,
            challenge: None,
        };
        for (states, keys_use_default, total, shown) in [
            (vec![Missing], false, 1, Missing),
            (vec![Missing], true, 1, Missing),
            (vec![Missing, Valid], false, 1, Valid),
            (vec![Missing, Valid], true, 2, Missing),
            (vec![Missing, Valid, Expired], false, 2, Missing),
            (vec![Valid, Expired], false, 2, Valid),
            (vec![Expired, Valid], true, 2, Expired),
        ] {
            let reports: Vec<SessionReport> = states.iter().copied().map(report).collect();
            let (counted, seen) = counted(&reports, keys_use_default);
            assert_eq!((counted.len(), seen.unwrap().state), (total, shown), "{states:?} {keys_use_default}");
        }
    }

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
