//! `/v1/messages/count_tokens`: about how many tokens a request has. The site is not asked.

use http::{Response, StatusCode};
use serde::Serialize;

use super::{App, body, reply};
use crate::{
    api::Dialect,
    error::Result,
    llm::estimate_tokens,
    platform::{self, Body, Platform, Request},
};

/// How many tokens a request has.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct TokenCount {
    /// An estimate.
    input_tokens: u64,
}

pub(super) async fn count<P: Platform>(app: &App, platform: &P, request: Request) -> Result<Response<Body>> {
    let Request { headers, body, .. } = request;
    let limit = body::chat_limit(&app.config.product);
    let body = body::collect(&app.memory, platform, &headers, body, limit).await?;
    let input_tokens = platform::work_on(platform, body.len(), move || {
        Dialect::Messages.parse(&body).map(|parsed| estimate_tokens(&parsed.request))
    })
    .await?;
    Ok(reply::json(StatusCode::OK, &TokenCount { input_tokens }))
}
