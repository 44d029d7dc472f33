//! `/v1/chat/completions` and `/v1/chat/multimodal`

use std::sync::Arc;

use http::{Response, StatusCode};

use super::{App, BODY_PATIENCE, reply};
use crate::{
    chat::{Answer, Attachments, Hints, check, intent},
    error::{Error, ErrorKind, Result},
    openai::{ChatRequest, Identity},
    platform::{self, Body, Headers, Platform, ReadError, Request},
};

/// The largest JSON body: several images of `MAX_IMAGE_BYTES` in base64, and well below an isolate's memory.
const MAX_BODY: usize = 32 * 1024 * 1024;

/// The name goes into requests whose size the site limits, and into each chunk.
const MAX_MODEL_NAME: usize = 200;
/// The longest id of a conversation that a client may choose.
const MAX_CONVERSATION_ID: usize = 200;

pub(super) async fn completions<P: Platform + Unpin>(
    app: &Arc<App>,
    platform: &P,
    caller: &str,
    request: Request,
    default_model: &str,
) -> Result<Response<Body>> {
    let Request { headers, body, .. } = request;
    let body =
        platform::timeout(platform, BODY_PATIENCE, body.collect(MAX_BODY)).await.unwrap_or(Err(ReadError::Broken));
    let body = body.map_err(|error| match error {
        ReadError::TooLarge => Error::new(
            ErrorKind::RequestTooLarge,
            format!(
                "The request body is larger than {} MiB; send less, or upload large files with POST /v1/files/upload.",
                MAX_BODY / 1024 / 1024
            ),
        ),
        ReadError::Broken => Error::new(ErrorKind::InvalidJson, "The request body broke off or took too long."),
    })?;
    let mut request = ChatRequest::from_json(&body)?;
    drop(body);
    let attachments = Attachments::take(&mut request.messages)?;
    respond(app, platform, caller, &headers, request, attachments, default_model).await
}

/// Answers a chat request whose attachments have been taken out of it.
pub(super) async fn respond<P: Platform + Unpin>(
    app: &Arc<App>,
    platform: &P,
    caller: &str,
    headers: &Headers,
    request: ChatRequest,
    attachments: Attachments,
    default_model: &str,
) -> Result<Response<Body>> {
    check(&request.messages, &attachments)?;
    let hints = hints(&request, headers)?;
    let asked = request.model.as_deref().map(str::trim).filter(|model| !model.is_empty());
    let asked = asked.unwrap_or(default_model);
    if asked.len() > MAX_MODEL_NAME {
        return Err(Error::invalid(
            "model",
            format!("The field 'model' is longer than {MAX_MODEL_NAME} bytes; GET /v1/models lists the models."),
        ));
    }
    app.qwen.session().ready(platform).await?;
    let (choice, model) = app.qwen.choose(platform, asked).await;
    let intent = intent(&request, choice, model.as_ref())?;
    refresh_models_later(app, platform);
    let (id, scope) = (reply::new_id("conv_", platform), app.scope(platform, caller).await);
    let thread = app.conversations.thread(platform, scope, &request.messages, attachments, &hints, id).await;
    {
        let trace = platform.trace();
        let mut facts = trace.facts();
        facts.model = Some(asked.to_owned());
        facts.stream = Some(intent.stream);
        facts.hit = Some(thread.is_known());
    }
    let conversation = thread.id.clone();
    let identity =
        Identity { id: reply::new_id("chatcmpl-", platform), created: platform.now() / 1000, model: asked.to_owned() };
    drop(request);
    let stream = intent.stream;
    let (qwen, conversations, gate) = (Arc::clone(&app.qwen), Arc::clone(&app.conversations), Arc::clone(&app.gate));
    let (timing, anywhere) = (app.timing, app.config.allow_private_urls);
    let gates = (gate, Arc::clone(&app.shares));
    let mut answer =
        Answer::new(platform.clone(), qwen, conversations, gates, timing, intent, thread, identity, anywhere);
    let answer = if stream {
        answer.head().await?;
        reply::event_stream(Body::Stream(Box::pin(answer)))
    } else {
        reply::json_text(StatusCode::OK, answer.whole().await?)
    };
    Ok(reply::with_conversation(answer, &conversation))
}

/// What the request says of its conversation beside its messages.
fn hints(request: &ChatRequest, headers: &Headers) -> Result<Hints> {
    let sane = |id: &str| {
        (1..=MAX_CONVERSATION_ID).contains(&id.len()) && id.bytes().all(|byte| (b'!'..=b'~').contains(&byte))
    };
    let checked = |param: &str, id: Option<String>| match id {
        Some(id) if !sane(&id) => Err(Error::invalid(
            param,
            format!(
                "The conversation id in '{param}' must be 1 to {MAX_CONVERSATION_ID} visible ASCII characters without blanks."
            ),
        )),
        id => Ok(id),
    };
    let field = checked("conversation_id", request.conversation_id.clone())?;
    let header = checked("x-conversation-id", headers.get("x-conversation-id"))?;
    let open_webui = headers.get("x-openwebui-chat-id").filter(|id| sane(id));
    Ok(Hints { explicit: field.or(header), open_webui })
}

/// A stale list of models serves this request; the next one gets a new list.
fn refresh_models_later<P: Platform>(app: &Arc<App>, platform: &P) {
    if app.qwen.models_are_stale(platform.now()) {
        let (qwen, background) = (Arc::clone(&app.qwen), platform.clone());
        // A failure is logged there, and is a state.
        platform.defer(async move { drop(qwen.models(&background).await) });
    }
}
