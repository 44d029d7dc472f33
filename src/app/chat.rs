//! `/v1/chat/completions`

use std::sync::Arc;

use http::{Response, StatusCode};

use super::{App, reply};
use crate::{
    chat::{Answer, intent},
    error::{Error, ErrorKind, Result},
    openai::{ChatRequest, Identity},
    platform::{Body, Platform, ReadError, RequestBody},
};

/// The largest JSON body: several images of `MAX_IMAGE_BYTES` in base64, and well below an isolate's memory.
const MAX_BODY: usize = 32 * 1024 * 1024;

pub(super) async fn completions<P: Platform + Unpin>(
    app: &Arc<App>,
    platform: &P,
    body: RequestBody,
) -> Result<Response<Body>> {
    let body = body.collect(MAX_BODY).await.map_err(|error| match error {
        ReadError::TooLarge => Error::new(
            ErrorKind::RequestTooLarge,
            format!("The request body is larger than {} MiB; send less.", MAX_BODY / 1024 / 1024),
        ),
        ReadError::Broken => Error::new(ErrorKind::InvalidJson, "The request body broke off before its end."),
    })?;
    let request = ChatRequest::from_json(&body)?;
    drop(body);
    let asked =
        request.model.as_deref().map(str::trim).filter(|model| !model.is_empty()).unwrap_or(&app.config.default_model);
    app.qwen.session().check(platform.now())?;
    let (choice, model) = app.qwen.choose(platform, asked).await;
    let intent = intent(&request, choice, model.as_ref())?;
    refresh_models_later(app, platform);
    let identity =
        Identity { id: reply::new_id("chatcmpl-", platform), created: platform.now() / 1000, model: asked.to_owned() };
    let stream = intent.stream;
    let mut answer =
        Answer::new(platform.clone(), Arc::clone(&app.qwen), app.timing, intent, &request.messages, identity)?;
    drop(request);
    if !stream {
        return Ok(reply::json_text(StatusCode::OK, answer.whole().await?));
    }
    answer.head().await?;
    Ok(reply::event_stream(Body::Stream(Box::pin(answer))))
}

/// A stale list of models serves this request; the next one gets a new list.
fn refresh_models_later<P: Platform>(app: &Arc<App>, platform: &P) {
    if app.qwen.models_are_stale(platform.now()) {
        let (app, background) = (Arc::clone(app), platform.clone());
        platform.defer(async move { app.warm_up(&background).await });
    }
}
