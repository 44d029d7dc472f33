//! The HTTP server: routes, keys, CORS, request ids, and error responses.

mod access_log;
mod accounts;
mod address;
mod admin;
mod app;
mod auth;
mod body;
mod chat_completions;
mod chats;
#[cfg(not(target_arch = "wasm32"))]
mod check;
mod clean_up;
mod count_tokens;
mod fallback;
mod files;
mod form;
#[cfg(fuzzing)]
pub mod fuzzing;
#[cfg(not(target_arch = "wasm32"))]
mod history;
mod housekeeping;
mod images;
mod info;
mod local;
mod made;
mod media_files;
mod messages_models;
mod models;
#[cfg(test)]
mod openapi;
mod pages;
mod reply;
mod responses;
mod router;
mod turn;
mod upload_and_chat;
mod videos;

use std::sync::Arc;

use http::{HeaderValue, Method, Response, StatusCode};

use crate::{
    api::Dialect,
    config::{ConfigError, Product},
    error::{Error, ErrorKind, Result},
    platform::{Body, Platform, Request},
};
use access_log::AccessLog;
pub use app::App;
use local::Readers;
use router::{Access, Endpoint, Found, Route, Unsupported};
#[cfg(not(target_arch = "wasm32"))]
pub use {check::Finding, history::Imported};

/// Answers a request. An error becomes a response.
pub async fn handle<P: Platform>(app: Arc<App>, platform: P, request: Request) -> Response<Body> {
    let platform = platform.with_own_metrics();
    let access_log = AccessLog::new(platform.clone());
    let request_id = reply::request_id(&request.headers, &platform);
    let method = request.method.clone();
    let preflight = request.headers.get("access-control-request-headers");
    let path = request.path.clone();
    {
        let (request_metrics, bytes_in) = (platform.request_metrics(), request.body.length());
        let mut record = request_metrics.record();
        record.request_id.clone_from(&request_id);
        record.method = method.as_str().chars().take(20).collect();
        record.bytes_in = bytes_in.unwrap_or(0);
    }
    let access = if app.config.valid_tokens.is_empty() { router::access(&path, &app.config.product) } else { None };
    let guarded = access.is_some_and(|access| local::is_guarded(&app.config, access));
    let (readers, refusal) = match if guarded { local::admit(&app.config, &request) } else { Ok(Readers::Everybody) } {
        Ok(readers) => (readers, None),
        Err(refusal) => (Readers::Nobody, Some(refusal)),
    };
    let dialect = router::dialect(&path, &app.config.product, &request.headers);
    let (name, answer) = match router::find(&path, &method, &app.config.product) {
        Found::Preflight => ("preflight", refusal.map_or_else(|| Ok(reply::preflight(preflight.as_deref())), Err)),
        Found::Nothing => ("none", Err(not_found(&path))),
        Found::Unsupported(route) => (route.name, Err(unsupported_endpoint(route))),
        Found::OtherMethods(methods) => ("none", Ok(method_not_allowed(dialect, &method, &methods, &request_id))),
        Found::Endpoint(route, argument) => {
            platform.request_metrics().record().route = route.path;
            let answer = match refusal {
                Some(refusal) => Err(refusal),
                None => access_log.measure(answer(&app, &platform, request, (route, dialect), argument)).await,
            };
            (route.path, answer)
        }
    };
    let mut answer = answer.unwrap_or_else(|error| {
        let answer = reply::error(dialect, &error, &request_id);
        log_error(&error, answer.status(), &request_id, name);
        platform.request_metrics().record().code = Some(error.kind().code());
        answer
    });
    if method == Method::HEAD {
        *answer.body_mut() = Body::empty();
    }
    reply::common_headers(answer.headers_mut(), dialect, &request_id, &readers);
    platform.request_metrics().record().route = name;
    access_log.follow(answer)
}

async fn answer<P: Platform>(
    app: &Arc<App>,
    platform: &P,
    request: Request,
    (route, dialect): (&'static Route, Dialect),
    argument: Option<String>,
) -> Result<Response<Body>> {
    let Route { endpoint, access, .. } = *route;
    let key = match access {
        Access::Admin => auth::check_admin(&app.config, &request).map(|()| app.keys.nobody())?,
        access if access.is_keyed(&app.config) => app.keys.check(&request.headers, app.config.open_to_all())?,
        // Where no key is needed, a known one still says whose account it is.
        _ if endpoint == Endpoint::StsToken => {
            app.keys.check(&request.headers, false).unwrap_or_else(|_| app.keys.nobody())
        }
        _ => app.keys.nobody(),
    };
    if access != Access::Admin && access.is_keyed(&app.config) {
        platform.request_metrics().record().account = Some(key.account.name.to_shared());
    }
    let named = Some(&key.account.name).filter(|name| !name.is_default()).cloned();
    // Boxed, so that each endpoint's future takes its own size and not that of the largest, the 20 KiB of uploads.
    let answer = match endpoint {
        Endpoint::Root => Ok(Box::pin(info::root(app, platform, &request.headers)).await),
        Endpoint::Docs => Box::pin(page(platform, &request, pages::DOCS)).await,
        Endpoint::Document => Box::pin(page(platform, &request, pages::DOCUMENT)).await,
        Endpoint::Asset => Box::pin(page(platform, &request, &router::without_empty_segments(&request.path))).await,
        Endpoint::Health => Ok(Box::pin(info::health(app, platform)).await),
        Endpoint::Metrics => info::metrics(app, platform).ok_or_else(|| not_found(&request.path)),
        Endpoint::Ready => Ok(Box::pin(info::ready(app, platform)).await),
        Endpoint::Models => Box::pin(models::list(app, platform, dialect, request.query.as_deref())).await,
        Endpoint::Model => Box::pin(models::one(app, platform, dialect, &argument.unwrap_or_default())).await,
        Endpoint::CountTokens => Box::pin(count_tokens::count(app, platform, request)).await,
        Endpoint::Completions | Endpoint::Messages => {
            Box::pin(chat_completions::completions(app, platform, (key, dialect), request, &app.config.default_model))
                .await
        }
        Endpoint::Multimodal => {
            Box::pin(chat_completions::completions(
                app,
                platform,
                (key, dialect),
                request,
                upload_and_chat::DEFAULT_MODEL,
            ))
            .await
        }
        Endpoint::Responses => Box::pin(responses::create(app, platform, key, request)).await,
        Endpoint::InputTokens => Box::pin(responses::input_tokens(app, platform, request)).await,
        Endpoint::Response => Box::pin(responses::show(app, platform, key, &argument.unwrap_or_default())).await,
        Endpoint::DeleteResponse => Box::pin(responses::delete(platform, key, &argument.unwrap_or_default())).await,
        Endpoint::ResponseInput => {
            let (id, query) = (argument.unwrap_or_default(), request.query.as_deref());
            Box::pin(responses::input_items(app, platform, key, &id, query)).await
        }
        Endpoint::CancelResponse => responses::cancel(),
        Endpoint::Generations => Box::pin(images::generations(app, platform, key, request)).await,
        Endpoint::Edits => Box::pin(images::edits(app, platform, key, request)).await,
        Endpoint::MediaFile => {
            Box::pin(media_files::show(app, platform, &argument.unwrap_or_default(), &request)).await
        }
        Endpoint::CreateVideo => Box::pin(videos::create(app, platform, key, request)).await,
        Endpoint::Videos => Box::pin(videos::list(app, platform, key, request.query.as_deref())).await,
        Endpoint::Video => Box::pin(videos::show(app, platform, key, &argument.unwrap_or_default())).await,
        Endpoint::DeleteVideo => Box::pin(videos::delete(app, platform, key, &argument.unwrap_or_default())).await,
        Endpoint::VideoContent => {
            Box::pin(videos::content(app, platform, key, (&argument.unwrap_or_default(), &request))).await
        }
        Endpoint::ImageChat => Box::pin(upload_and_chat::image(app, platform, key, request)).await,
        Endpoint::VideoChat => Box::pin(upload_and_chat::video(app, platform, key, request)).await,
        Endpoint::Upload => Box::pin(files::upload(app, platform, key, request)).await,
        Endpoint::Files => Box::pin(files::list(platform, key, request.query.as_deref())).await,
        Endpoint::File => Box::pin(files::one(platform, key, &argument.unwrap_or_default())).await,
        Endpoint::DeleteFile => Box::pin(files::delete(platform, key, &argument.unwrap_or_default())).await,
        Endpoint::StsToken => Box::pin(files::sts_token(app, platform, key, request)).await,
        Endpoint::Chats => Box::pin(chats::list(platform, key)).await,
        Endpoint::DeleteChat => Box::pin(chats::delete(platform, key, &argument.unwrap_or_default())).await,
        Endpoint::Accounts => Ok(Box::pin(accounts::list(app, platform)).await),
        Endpoint::DeleteAccount => Box::pin(accounts::delete(app, platform, argument.as_deref())).await,
        // `/admin/session` has no name, and is that of `default`.
        Endpoint::Session | Endpoint::AccountSession => {
            Box::pin(accounts::show_session(app, platform, argument.as_deref())).await
        }
        Endpoint::ReplaceSession | Endpoint::ReplaceAccountSession => {
            Box::pin(accounts::replace_session(app, platform, argument.as_deref(), request)).await
        }
        Endpoint::DeleteSession | Endpoint::DeleteAccountSession => {
            Box::pin(accounts::delete_session(app, platform, argument.as_deref())).await
        }
    };
    answer.map_err(|error| match named {
        Some(name) => error.for_account(name.as_str()),
        None => error,
    })
}

async fn page(platform: &impl Platform, request: &Request, path: &str) -> Result<Response<Body>> {
    pages::page(platform, &request.headers, path).await.ok_or_else(|| not_found(&request.path))
}

/// Returns the Worker's answer while a variable is wrong.
pub fn misconfigured(platform: &impl Platform, request: &Request, error: &ConfigError) -> Response<Body> {
    let message = format!("The server's configuration is wrong: {error}.");
    let error = Error::new(ErrorKind::Configuration, message).with_param(error.name);
    let request_id = reply::request_id(&request.headers, platform);
    let dialect = router::dialect(&request.path, &Product::WORKER, &request.headers);
    let mut answer = reply::error(dialect, &error, &request_id);
    reply::common_headers(answer.headers_mut(), dialect, &request_id, &Readers::Everybody);
    answer
}

fn not_found(path: &str) -> Error {
    let path: String = path.chars().take(200).collect();
    Error::new(ErrorKind::NotFound, format!("There is no route {path}. GET / lists the routes."))
}

fn unsupported_endpoint(route: &Unsupported) -> Error {
    let Unsupported { name, instead, .. } = route;
    Error::new(ErrorKind::UnsupportedEndpoint, format!("This server does not offer {name}. {instead}"))
}

fn method_not_allowed(dialect: Dialect, method: &Method, allowed: &str, request_id: &str) -> Response<Body> {
    let error =
        Error::new(ErrorKind::MethodNotAllowed, format!("This route does not take {method}; it takes {allowed}."));
    let mut answer = reply::error(dialect, &error, request_id);
    if let Ok(allowed) = HeaderValue::from_str(allowed) {
        answer.headers_mut().insert(http::header::ALLOW, allowed);
    }
    answer
}

fn log_error(error: &Error, status: StatusCode, request_id: &str, route: &str) {
    let code = error.kind().code();
    if status.is_server_error() {
        tracing::warn!(request_id, route, code, %error, "failed");
    } else {
        tracing::info!(request_id, route, code, %error, "refused");
    }
}
