//! `/v1/chat/completions` and `/v1/chat/multimodal`

use std::sync::Arc;

use http::{Response, StatusCode};

use super::{
    App,
    body::{self, Reservation},
    reply,
};
use crate::{
    api::openai::{ChatRequest, Identity},
    chat::{Answer, Attachments, ConversationHint, check, generation_options},
    error::{Error, Result},
    platform::{self, Body, Headers, Platform, Reach, Request},
};

/// The name goes into requests whose size the site limits, and into each chunk.
const MAX_MODEL_NAME: usize = 200;
/// The longest id of a conversation that a client may choose.
const MAX_CONVERSATION_ID: usize = 200;

pub(super) async fn completions<P: Platform>(
    app: &Arc<App>,
    platform: &P,
    caller: &str,
    request: Request,
    default_model: &str,
) -> Result<Response<Body>> {
    let Request { headers, body, .. } = request;
    let body = body::collect(&app.memory, platform, &headers, body, body::chat_limit(&app.config.product)).await?;
    let (request, attachments, reservation) = platform::work_on(platform, body.len(), move || {
        let mut request = ChatRequest::from_json(&body)?;
        let reservation = body.into_reservation();
        let attachments = Attachments::take(&mut request.messages)?;
        Ok::<_, Error>((request, attachments, reservation))
    })
    .await?;
    respond(app, platform, caller, &headers, request, attachments, default_model, reservation).await
}

/// Answers a chat request whose attachments have been taken out of it. Its `reservation` in memory is kept until the answer begins: by
/// then the attachments are uploaded.
#[expect(clippy::too_many_arguments, reason = "each is another part of the request")]
pub(super) async fn respond<P: Platform>(
    app: &Arc<App>,
    platform: &P,
    caller: &str,
    headers: &Headers,
    mut request: ChatRequest,
    attachments: Attachments,
    default_model: &str,
    reservation: Reservation,
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
    let options = generation_options(&request, choice, model.as_ref())?;
    refresh_models_later(app, platform);
    let messages = std::mem::take(&mut request.messages);
    let (id, scope) = (reply::new_id("conv_", platform), app.scope(platform, caller).await);
    let conversation = app.conversations.find_match(platform, scope, messages, attachments, &hints, id).await;
    {
        let request_metrics = platform.request_metrics();
        let mut record = request_metrics.record();
        record.model = Some(asked.to_owned());
        record.stream = Some(options.stream);
        record.hit = Some(conversation.is_known());
    }
    let conversation_id = conversation.id.clone();
    let identity =
        Identity { id: reply::new_id("chatcmpl-", platform), created: platform.now() / 1000, model: asked.to_owned() };
    drop(request);
    let stream = options.stream;
    let (qwen, conversations, limiter) =
        (Arc::clone(&app.qwen), Arc::clone(&app.conversations), Arc::clone(&app.limiter));
    let (timing, reach) = (app.timing, if app.config.allow_private_urls { Reach::Any } else { Reach::PublicOnly });
    let gates = (limiter, Arc::clone(&app.attachment_limiters));
    let mut answer =
        Answer::new(platform.clone(), qwen, conversations, gates, timing, options, conversation, identity, reach);
    let answer = if stream {
        answer.head().await?;
        reply::event_stream(Body::Stream(Box::pin(answer)))
    } else {
        reply::json_text(StatusCode::OK, answer.whole().await?)
    };
    drop(reservation);
    Ok(reply::with_conversation(answer, &conversation_id))
}

/// What the request says of its conversation beside its messages.
fn hints(request: &ChatRequest, headers: &Headers) -> Result<ConversationHint> {
    let sane = |id: &str| {
        (1..=MAX_CONVERSATION_ID).contains(&id.len()) && id.bytes().all(|byte| (b'!'..=b'~').contains(&byte))
    };
    let checked = |param: &str, id: Option<String>| match id.filter(|id| !id.trim().is_empty()) {
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
    Ok(ConversationHint { explicit: field.or(header), open_webui })
}

/// A stale list of models serves this request; the next one gets a new list.
fn refresh_models_later<P: Platform>(app: &Arc<App>, platform: &P) {
    if app.qwen.models_are_stale(platform.now()) {
        let (qwen, background) = (Arc::clone(&app.qwen), platform.clone());
        // A failure is logged there, and is a state.
        platform.defer(async move { drop(qwen.models(&background).await) });
    }
}
