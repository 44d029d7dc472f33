//! `/v1/media/{id}`: the bytes of what the site made, passed on as they come.

use std::sync::Arc;

use futures::StreamExt as _;
use http::{HeaderValue, Response, StatusCode, header};

use super::App;
use crate::{
    accounts::{Account, Caller, KeyHolder},
    error::{Error, ErrorKind, Result},
    limiter::Permit,
    media::{self, Downloads, Opened, Resolved},
    media_type,
    platform::{Body, Platform, Request},
};

/// How long a browser may keep a picture or video.
const CACHE: &str = "private, max-age=3600";
/// What is sent where the bytes are of no known type.
const UNKNOWN_TYPE: &str = "application/octet-stream";

pub(super) async fn show<P: Platform>(
    app: &Arc<App>,
    platform: &P,
    id: &str,
    request: &Request,
) -> Result<Response<Body>> {
    let permit = app.media_limiter.acquire(platform).await?;
    let found = app.media_links.find(platform, id).await.ok_or_else(|| {
        let message = "There is no such picture or video, or its link has ended. Links live for MEDIA_TTL_SECONDS.";
        Error::new(ErrorKind::NotFound, message)
    })?;
    let caller = maker(app, platform, &found).await;
    let range = request.headers.get("range");
    let (answer, _) = pass_on(app, platform, (&found, &caller), range.as_deref(), (permit, None)).await?;
    Ok(answer)
}

/// The account that made it, as its newest session is: that reads a newer link from its chat. Other accounts cannot.
async fn maker(app: &App, platform: &impl Platform, found: &Resolved) -> Caller {
    let default = app.keys.nobody().reader(platform).await;
    if found.is_of(&default.owner.account) {
        return default;
    }
    app.accounts.refresh(platform).await;
    let is_maker = |account: &Arc<Account>| found.is_of(&account.qwen.session().identity().0);
    match app.accounts.all().into_iter().find(is_maker) {
        Some(account) => KeyHolder { account, ..app.keys.nobody() }.reader(platform).await,
        None => default,
    }
}

/// Opens what the site made and passes it on; `content_type` = what it is, where that is known. Returns also the site's newer
/// link, if the known one had ended.
pub(super) async fn pass_on<P: Platform>(
    app: &Arc<App>,
    platform: &P,
    (found, caller): (&Resolved, &Caller),
    range: Option<&str>,
    (permit, content_type): (Permit, Option<&'static str>),
) -> Result<(Response<Body>, Option<String>)> {
    let services = app.services(&caller.account);
    let downloads =
        Downloads { upstream: &services.upstream, links: &app.media_links, owner: &caller.owner, reach: app.reach() };
    let Opened { status, length, content_range, has_ranges, head, body, newer_link } =
        media::open(platform, downloads, found, range).await?;
    // The beginning of a part says nothing of the type.
    let is_part = content_range.as_deref().is_some_and(|range| !range.starts_with("bytes 0-"));
    let by_bytes = || media_type::detect(&head, None, "").filter(|_| !is_part).map(|found| found.content_type);
    let name = found.link.split(['?', '#']).next().unwrap_or_default();
    let by_name = || media_type::declared_type(None, name).map(|found| found.content_type);
    let content_type = content_type.or_else(by_bytes).or_else(by_name).unwrap_or(UNKNOWN_TYPE);
    let body = body.map(move |piece| {
        // Held for as long as bytes come.
        let _ = &permit;
        piece
    });
    let mut answer = Response::new(Body::Stream(Box::pin(body)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    if status != StatusCode::RANGE_NOT_SATISFIABLE {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("inline"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(CACHE));
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    }
    if has_ranges {
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    }
    if let Some(range) = content_range.and_then(|range| HeaderValue::from_str(&range).ok()) {
        headers.insert(header::CONTENT_RANGE, range);
    }
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    Ok((answer, newer_link))
}
