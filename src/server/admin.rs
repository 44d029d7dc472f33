//! `/admin/session`: shows the state of an account's session, replaces it and deletes it. Never returns its values.

use http::{Response, StatusCode};
use serde::Serialize;

use super::{App, body, reply};
use crate::{
    accounts::Account,
    credentials_input,
    error::{Error, ErrorKind, Result},
    platform::{Body, Platform, Request},
    surrogates::client_text,
    unix_time::UnixSeconds,
    upstream::qwen::{SessionReport, SessionState},
};

pub(super) async fn show(platform: &impl Platform, account: &Account) -> Response<Body> {
    account.qwen.session().sync(platform).await;
    answer(platform, account, None)
}

pub(super) async fn replace<P: Platform>(
    app: &App,
    platform: &P,
    account: &Account,
    request: Request,
) -> Result<Response<Body>> {
    let limit = body::Limit { bytes: credentials_input::MAX_TEXT, advice: "a session is much shorter" };
    let body = body::collect(&app.memory, platform, &request.headers, request.body, limit).await?;
    let text =
        client_text(&body).ok_or_else(|| Error::new(ErrorKind::InvalidRequest, "The body is not text in UTF-8."))?;
    let stored = replace_with(platform, account, &text).await?;
    let warning = "The store does not answer, so this session is used but will not outlive a restart.";
    Ok(answer(platform, account, (!stored).then_some(warning)))
}

/// Replaces the account's session by a pasted one, after the site has accepted it. Returns whether the database has it.
pub(super) async fn replace_with(platform: &impl Platform, account: &Account, text: &str) -> Result<bool> {
    let input = credentials_input::read(text)?;
    if let Some(host) = input.host.as_deref().filter(|host| !account.qwen.is_own_host(host)) {
        let host: String = host.chars().take(100).collect();
        return Err(Error::new(
            ErrorKind::InvalidRequest,
            format!(
                "These credentials are for {host}. Copy a request to chat.qwen.ai, or the cookies of that site; credentials for other sites are not sent to it."
            ),
        ));
    }
    let stored = account.qwen.give_session(platform, input).await?;
    tracing::info!(account = account.name.as_str(), stored, "the session was replaced");
    Ok(stored)
}

pub(super) async fn delete<P: Platform>(platform: &P, account: &Account) -> Result<Response<Body>> {
    account.qwen.session().clear(platform).await?;
    tracing::info!(account = account.name.as_str(), "the stored session was deleted");
    Ok(answer(platform, account, None))
}

/// The account's session as a response.
fn answer(platform: &impl Platform, account: &Account, warning: Option<&str>) -> Response<Body> {
    reply::json(StatusCode::OK, &object(&account.qwen.session().report(platform.now()), warning))
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
    /// How the session is, and what to do next.
    message: &'static str,
    /// The account's name at the site; null while it is unknown.
    account: Option<&'a str>,
    /// When the access token expires, in Unix seconds.
    expires_at: Option<u64>,
    /// When the site last accepted the session, in Unix seconds.
    checked_at: Option<u64>,
    /// Whether the server can renew the session.
    renewable: bool,
    /// `configuration`, or `stored` if it was set while the server ran; null without a session.
    source: Option<&'static str>,
    /// Whether the stored session is encrypted (`SESSION_KEY`).
    encrypted: bool,
    /// A problem that does not prevent the use of the session.
    warning: Option<&'a str>,
    /// The human check that the site requires.
    challenge: Option<ChallengeObject<'a>>,
}

/// A human check that the site requires.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = Challenge))]
pub(super) struct ChallengeObject<'a> {
    /// No request is sent to the site until then, in Unix seconds.
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

/// Returns how the session is, and what a person should do.
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
