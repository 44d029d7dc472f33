//! `/admin/session`: what the session is, and a new one in its place. Shows no value of it.

use http::{Response, StatusCode};
use serde::Serialize;

use super::{App, body, reply};
use crate::{
    credentials_input,
    error::{Error, ErrorKind, Result},
    platform::{Body, Platform, Request},
    surrogates::client_text,
    unix_time::UnixSeconds,
    upstream::qwen::{SessionReport, SessionState},
};

pub(super) async fn show(app: &App, platform: &impl Platform) -> Response<Body> {
    app.qwen.session().sync(platform).await;
    reply::json(StatusCode::OK, &object(&app.qwen.session().report(platform.now()), None))
}

pub(super) async fn replace<P: Platform>(app: &App, platform: &P, request: Request) -> Result<Response<Body>> {
    let limit = body::Limit { bytes: credentials_input::MAX_TEXT, advice: "a session is much shorter" };
    let body = body::collect(&app.memory, platform, &request.headers, request.body, limit).await?;
    let text =
        client_text(&body).ok_or_else(|| Error::new(ErrorKind::InvalidRequest, "The body is not text in UTF-8."))?;
    let stored = take(app, platform, &text).await?;
    let warning = "The store does not answer, so this session is used but will not outlive a restart.";
    let warning = (!stored).then_some(warning);
    Ok(reply::json(StatusCode::OK, &object(&app.qwen.session().report(platform.now()), warning)))
}

/// Takes a pasted session, checked with the site; gives whether it is in the database.
pub(super) async fn take(app: &App, platform: &impl Platform, text: &str) -> Result<bool> {
    let pasted = credentials_input::read(text)?;
    if let Some(host) = pasted.host.as_deref().filter(|host| !app.qwen.is_own_host(host)) {
        let host: String = host.chars().take(100).collect();
        return Err(Error::new(
            ErrorKind::InvalidRequest,
            format!(
                "What was pasted is of {host}. Copy a request to chat.qwen.ai, or that site's cookies; another site's are not sent there."
            ),
        ));
    }
    let stored = app.qwen.give_session(platform, pasted).await?;
    tracing::info!(stored, "a new session was given");
    Ok(stored)
}

pub(super) async fn forget<P: Platform>(app: &App, platform: &P) -> Result<Response<Body>> {
    app.qwen.session().clear(platform).await?;
    tracing::info!("the session given at run time was forgotten");
    Ok(reply::json(StatusCode::OK, &object(&app.qwen.session().report(platform.now()), None)))
}

/// The Qwen session, without its values.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = Session))]
pub(super) struct SessionObject<'a> {
    /// `session`
    object: &'static str,
    /// `valid`, `expiring`, `expired`, `challenged`, `missing` or `unknown`.
    state: &'static str,
    /// What to do next.
    message: &'static str,
    /// The account's name at the site, once that is known.
    account: Option<&'a str>,
    /// When the access token ends, in Unix seconds.
    expires_at: Option<u64>,
    /// When the site last took it, in Unix seconds.
    checked_at: Option<u64>,
    /// Whether it renews itself.
    renewable: bool,
    /// `configuration`, or `stored` when it was given while the server ran; null without any.
    source: Option<&'static str>,
    /// Whether it is encrypted in the database (`SESSION_KEY`).
    encrypted: bool,
    /// What did not go well although the session is in use.
    warning: Option<&'a str>,
    /// The human check that the site asks for.
    challenge: Option<ChallengeObject<'a>>,
}

/// A human check that the site asks for.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = Challenge))]
pub(super) struct ChallengeObject<'a> {
    /// Until then nothing is sent to the site, in Unix seconds.
    until: u64,
    /// The page where a person passes the check.
    verify_url: &'a str,
}

fn object<'a>(report: &'a SessionReport, warning: Option<&'a str>) -> SessionObject<'a> {
    let SessionReport { state, expires_at, checked_at, account, renewable, stored, encrypted, challenge } = report;
    SessionObject {
        object: "session",
        state: state.as_str(),
        message: advice(*state, *renewable),
        account: account.as_deref(),
        expires_at: expires_at.map(UnixSeconds::get),
        checked_at: checked_at.map(UnixSeconds::get),
        renewable: *renewable,
        source: match (state, stored) {
            (SessionState::Missing, _) => None,
            (_, true) => Some("stored"),
            (_, false) => Some("configuration"),
        },
        encrypted: *encrypted,
        warning,
        challenge: challenge.as_ref().map(|(until, verify_url)| ChallengeObject { until: until.get(), verify_url }),
    }
}

/// What a person should do.
pub(super) const fn advice(state: SessionState, renewable: bool) -> &'static str {
    match (state, renewable) {
        (SessionState::Valid, true) => "The session works and renews itself.",
        (SessionState::Valid, false) => "The session works.",
        (SessionState::Expiring, true) => "The session is about to be renewed.",
        (SessionState::Expiring, false) => {
            "The session ends soon and cannot renew itself: the cookies hold no refresh_token. Sign in at chat.qwen.ai and give this server the fresh cookies."
        }
        (SessionState::Expired, _) => {
            "The session has ended. Sign in at chat.qwen.ai and give this server the fresh cookies."
        }
        (SessionState::Challenged, _) => {
            "chat.qwen.ai asks for a human check. Open the link in the browser of this account, pass the check, then give this server the fresh cookies."
        }
        (SessionState::Missing, _) => {
            "There is no session yet. Sign in at chat.qwen.ai and give this server the cookies."
        }
        (SessionState::Unknown, _) => "The session has not been tried yet.",
    }
}
