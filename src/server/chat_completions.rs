//! `/v1/chat/completions`, `/v1/chat/multimodal`, and other routes whose body is one whole request for an answer.

use std::sync::Arc;

use http::Response;

use super::{
    address,
    app::App,
    body,
    turn::{ChatTurn, respond},
};
use crate::{
    accounts::KeyHolder,
    api::Dialect,
    chat::Attachments,
    error::{Error, Result},
    platform::{self, Body, Platform, Request},
};

pub(super) async fn completions<P: Platform>(
    app: &Arc<App>,
    platform: &P,
    (key, dialect): (KeyHolder, Dialect),
    request: Request,
    default_model: &str,
) -> Result<Response<Body>> {
    let base = address::base(&app.config, &request);
    let Request { headers, body, .. } = request;
    let limit = body::chat_limit(&app.config.product);
    let body = body::collect(&app.memory, platform, &headers, body, limit).await?;
    let (parsed, attachments, reservation) = platform::work_on(platform, body.len(), move || {
        let mut parsed = dialect.parse(&body)?;
        let reservation = body.into_reservation();
        let attachments = Attachments::take(&mut parsed.request.messages)?;
        Ok::<_, Error>((parsed, attachments, reservation))
    })
    .await?;
    let turn = ChatTurn {
        key,
        caller: None,
        headers: &headers,
        base,
        parsed,
        attachments,
        default_model,
        reservation,
        resumed: None,
        keep: None,
        refused: None,
        has_files: false,
    };
    respond(app, platform, turn).await
}
