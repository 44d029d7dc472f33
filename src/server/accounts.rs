//! `/admin/accounts…`: which accounts there are, their sessions, and deleting one. Never returns values of a session.

use std::{sync::Arc, time::Duration};

use http::{Response, StatusCode};
use serde::Serialize;

use super::{App, admin, reply};
use crate::{
    accounts::Account,
    config::AccountName,
    error::{Error, ErrorKind, Result},
    platform::{Body, Platform, Request},
    store::{self, accounts as table},
    unix_time::{UnixMillis, UnixSeconds},
    upstream::qwen::SessionReport,
};

/// How many steps one request takes to delete an account's rows. Cloudflare's Free plan allows 50 queries for each request, and
/// a step takes two. There, the next request goes on.
const MAX_STEPS_ON_D1: usize = 20;
const MAX_STEPS: usize = 10_000;
/// How long a deletion that was not finished can be gone on with.
const CURSOR_LIFETIME: Duration = Duration::from_secs(600);

/// An account of this server.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = Account))]
pub(super) struct AccountObject {
    /// The name that `VALID_TOKENS` binds keys to.
    name: String,
    /// `valid`, `expiring`, `expired`, `challenged`, `missing` or `unknown`.
    state: &'static str,
    /// When the access token expires, in Unix seconds.
    expires_at: Option<u64>,
    /// When the site last accepted the session, in Unix seconds.
    checked_at: Option<u64>,
    /// The account's name at the site; null while it is unknown.
    owner: Option<String>,
    /// How many of `VALID_TOKENS` use the account.
    keys: usize,
    /// Whether the stored session is encrypted (`SESSION_KEY`).
    encrypted: bool,
}

/// The accounts of this server, `default` first.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct AccountList {
    /// `list`
    object: &'static str,
    data: Vec<AccountObject>,
}

/// A deleted account.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct DeletedAccount {
    name: String,
    /// `account.deleted`
    object: &'static str,
    deleted: bool,
}

pub(super) async fn list(app: &App, platform: &impl Platform) -> Response<Body> {
    app.accounts.default_account().qwen.session().sync(platform).await;
    app.accounts.reload(platform).await;
    let object = |account: &Arc<Account>| {
        let report = account.qwen.session().report(platform.now());
        let SessionReport { state, expires_at, checked_at, account: owner, encrypted, .. } = report;
        AccountObject {
            name: account.name.to_string(),
            state: state.as_str(),
            expires_at: expires_at.map(UnixSeconds::get),
            checked_at: checked_at.map(UnixSeconds::get),
            owner,
            keys: app.keys.count(account),
            encrypted,
        }
    };
    let data = app.accounts.all().iter().map(object).collect();
    reply::json(StatusCode::OK, &AccountList { object: "list", data })
}

pub(super) async fn show_session(app: &App, platform: &impl Platform, name: Option<&str>) -> Result<Response<Body>> {
    let account = find(app, platform, name).await?;
    Ok(admin::show(platform, &account).await)
}

pub(super) async fn replace_session<P: Platform>(
    app: &App,
    platform: &P,
    name: Option<&str>,
    request: Request,
) -> Result<Response<Body>> {
    let name = parse(name)?;
    if !name.is_default() {
        app.accounts.reload(platform).await;
    }
    let account = app.accounts.find_or_new(&name)?;
    let answer = admin::replace(app, platform, &account, request).await;
    let answer = answer.map_err(|error| if name.is_default() { error } else { error.for_account(name.as_str()) })?;
    app.accounts.add(&account);
    Ok(answer)
}

pub(super) async fn delete_session<P: Platform>(app: &App, platform: &P, name: Option<&str>) -> Result<Response<Body>> {
    let account = find(app, platform, name).await?;
    admin::delete(platform, &account).await
}

/// Deletes an account: first its session, so that nothing new begins, then all that it has here, then the account itself.
pub(super) async fn delete<P: Platform>(app: &App, platform: &P, name: Option<&str>) -> Result<Response<Body>> {
    let account = find(app, platform, name).await?;
    let (name, session) = (&account.name, account.qwen.session());
    session.clear(platform).await?;
    let cursor_key = format!("forget {name}");
    let kept = store::cached(platform, &cursor_key).await.map_err(Error::store_unavailable)?;
    // An old cursor is of another deletion, and the account was used again meanwhile.
    let is_new = |at: &UnixMillis| platform.now() < at.saturating_add(CURSOR_LIFETIME);
    let kept = kept.filter(|(_, at)| is_new(at)).map(|(text, _)| text).unwrap_or_default();
    let mut progress = Some(table::Progress::from_text(&kept));
    let max_steps = if app.config.product.is_distributed { MAX_STEPS_ON_D1 } else { MAX_STEPS };
    for _ in 0..max_steps {
        let Some(next) = progress.take() else { break };
        let of = (name.as_str(), name.is_default());
        progress = table::forget(platform, of, next).await.map_err(Error::store_unavailable)?;
    }
    let cursor = progress.as_ref().map(table::Progress::to_text);
    store::keep(platform, &cursor_key, cursor.unwrap_or_default(), platform.now())
        .await
        .map_err(Error::store_unavailable)?;
    if progress.is_some() {
        return Err(unfinished());
    }
    if !name.is_default() {
        session.forget(platform).await?;
        app.accounts.leave_out(&account);
    }
    tracing::info!(account = name.as_str(), "the account was deleted");
    let deleted = DeletedAccount { name: name.to_string(), object: "account.deleted", deleted: true };
    Ok(reply::json(StatusCode::OK, &deleted))
}

/// Finds an account; the store is asked, since another process may have made it.
async fn find(app: &App, platform: &impl Platform, name: Option<&str>) -> Result<Arc<Account>> {
    let name = parse(name)?;
    if !name.is_default() {
        app.accounts.reload(platform).await;
    }
    app.accounts.find(&name).ok_or_else(|| {
        let message = format!(
            "There is no account '{name}'. GET /admin/accounts lists them; PUT /admin/accounts/{name}/session makes it."
        );
        Error::new(ErrorKind::NotFound, message)
    })
}

/// Reads a name; without one it is `default`.
fn parse(name: Option<&str>) -> Result<AccountName> {
    let Some(name) = name else { return Ok(AccountName::default()) };
    let wrong = || Error::invalid("name", format!("The name of an account has {}.", AccountName::RULE));
    AccountName::parse(name).ok_or_else(wrong)
}

fn unfinished() -> Error {
    let message = "The account has so many rows that not all are deleted yet. Send the request again: it goes on.";
    Error::new(ErrorKind::StoreFailed, message)
}
