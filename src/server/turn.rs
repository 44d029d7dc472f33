//! A turn: a request in neutral words becomes a response in its dialect.

use std::sync::Arc;

use http::{Response, StatusCode};

use super::{
    app::App,
    body::Reservation,
    images::{default_ratio, is_fresh},
    reply,
};
use crate::{
    accounts::{Caller, KeyHolder},
    api::{AnswerMeta, Encoder, Parsed},
    chat::{
        Answer, AnswerFormat, Attachments, ConversationHint, DrawPlan, DrawnAnswer, KeptResponse, Plan, Resumed,
        Timing, ToolRules, TurnTools, check, draw_prompt, generation_options, shown_conversation,
    },
    error::{Error, ErrorKind, Result},
    llm::Quality,
    media::LinkMaker,
    platform::{Body, Headers, Platform},
    upstream::qwen::{Client, PictureChoice},
};

/// The longest name of a model, in bytes. The site limits the size of requests, and each chunk contains the name.
const MAX_MODEL_NAME: usize = 200;
/// The longest id of a conversation that a client may choose, in bytes.
const MAX_CONVERSATION_ID: usize = 200;

/// A chat request without its attachments, and the attachments.
pub(super) struct ChatTurn<'a> {
    pub(super) key: KeyHolder,
    /// The caller, if the request has been resolved to one already.
    pub(super) caller: Option<Caller>,
    pub(super) headers: &'a Headers,
    /// This server's address, for links to pictures.
    pub(super) base: Arc<str>,
    pub(super) parsed: Parsed,
    pub(super) attachments: Attachments,
    /// The model of requests that name none.
    pub(super) default_model: &'a str,
    /// The request's share of the memory budget. It is kept until the answer begins: by then the attachments are uploaded.
    pub(super) reservation: Reservation,
    /// The earlier answer that it goes on from, where the request names one.
    pub(super) resumed: Option<Resumed>,
    /// How the answer is kept, if it may be retrieved.
    pub(super) keep: Option<Keep>,
}

/// How an answer is kept.
#[derive(Clone, Debug)]
pub(super) struct Keep {
    /// The key of the response that it goes on from; empty for none.
    pub(super) previous: String,
    /// Its input as JSON; `None` when texts are not kept.
    pub(super) input: Option<Arc<str>>,
}

/// Answers a chat request.
pub(super) async fn respond<P: Platform>(app: &Arc<App>, platform: &P, turn: ChatTurn<'_>) -> Result<Response<Body>> {
    let ChatTurn { key, caller, headers, base, parsed, attachments, default_model, reservation, resumed, keep } = turn;
    let Parsed { mut request, delivery } = parsed;
    check(delivery.messages_field(), &request.messages, &attachments)?;
    let format = AnswerFormat::new(&request)?;
    let mut hint = hint(request.conversation_id.take(), headers)?;
    let model_name = request.model.as_deref().map(str::trim).filter(|model| !model.is_empty());
    let model_name = model_name.unwrap_or(default_model).to_owned();
    if model_name.len() > MAX_MODEL_NAME {
        return Err(Error::invalid(
            "model",
            format!("The field 'model' is longer than {MAX_MODEL_NAME} bytes; GET /v1/models lists the models."),
        ));
    }
    let is_drawing = key.account.qwen.draws(&model_name);
    hint.is_drawing = is_drawing;
    let prompt = is_drawing.then(|| draw_prompt(delivery.messages_field(), &request.messages)).transpose()?;
    key.ready(platform).await?;
    let (choice, model) = key.account.qwen.choose(platform, &model_name).await;
    let options = generation_options(&request, choice, model.as_ref());
    refresh_models_later(&key.account.qwen, platform);
    // From here on the account is fixed, even if the session is replaced.
    let caller = match caller {
        Some(caller) => caller,
        None => key.caller(platform).await,
    };
    let scope = caller.scope().to_owned();
    let id = reply::new_id("conv_", platform);
    let services = app.services(&caller.account);
    let capabilities = services.upstream.capabilities();
    let tools = TurnTools::new(&request, options.search);
    let stem = reply::new_id("", platform);
    let rules =
        ToolRules::new(&request, stem.get(..22).unwrap_or(&stem), |name| services.upstream.shown_tool_name(name));
    let whole = (request.messages, attachments, tools);
    let conversation =
        app.conversations.find_match(platform, (caller.owner, capabilities), whole, (&hint, resumed), id).await;
    {
        let request_metrics = platform.request_metrics();
        let mut record = request_metrics.record();
        record.model = Some(model_name.clone());
        record.stream = Some(delivery.is_stream());
        record.hit = Some(conversation.is_known());
    }
    let conversation_id = conversation.id.clone();
    let id = reply::new_id(delivery.id_prefix(), platform);
    let kept = keep.map(|Keep { previous, input }| KeptResponse {
        key: KeptResponse::key_of(&scope, &id),
        previous,
        input,
        cipher: Arc::clone(&app.cipher),
    });
    let meta = AnswerMeta { id, created: platform.now().seconds(), model: model_name };
    let is_stream = delivery.is_stream();
    let model_name = meta.model.clone();
    let encoder = Encoder::new(meta, delivery);
    let reach = app.reach();
    // Ids that could be guessed are no ids: without randomness the answer shows no pictures.
    let links = platform.random().ok().map(|seed| LinkMaker::new(base, seed));
    if let Some(prompt) = prompt {
        let choice = key.account.qwen.choose_picture(platform, &model_name, Quality::Auto).await;
        let PictureChoice { text_model, image_model } = choice;
        let plan = DrawPlan {
            conversation,
            prompt,
            text_model,
            ratio: image_model.as_deref().and_then(default_ratio),
            image_model,
            is_fresh: is_fresh(headers),
            reach,
            links: links.ok_or_else(no_randomness)?,
            kept,
        };
        let answer = DrawnAnswer::new(platform, services, app.pictures(&caller.account), plan, encoder);
        drop(reservation);
        let response = if is_stream {
            let Timing { first_byte, heartbeat, .. } = app.timing;
            reply::event_stream(Body::Stream(answer.events(first_byte, heartbeat).await?))
        } else {
            reply::json_bytes(StatusCode::OK, answer.whole().await?)
        };
        return Ok(reply::with_conversation(response, shown_conversation(&conversation_id)));
    }
    let plan = Plan { options, conversation, reach, tools: rules, format, kept, links };
    let mut answer = Answer::new(platform.clone(), services, plan, encoder, app.timing);
    let response = if is_stream {
        answer.head().await?;
        reply::event_stream(Body::Stream(Box::pin(answer)))
    } else {
        reply::json_bytes(StatusCode::OK, answer.whole().await?)
    };
    drop(reservation);
    Ok(reply::with_conversation(response, &conversation_id))
}

/// Returns the conversation ids that the request names.
fn hint(field: Option<String>, headers: &Headers) -> Result<ConversationHint> {
    let is_valid = |id: &str| {
        (1..=MAX_CONVERSATION_ID).contains(&id.len()) && id.bytes().all(|byte| (b'!'..=b'~').contains(&byte))
    };
    let checked = |param: &str, id: Option<String>| match id.filter(|id| !id.trim().is_empty()) {
        Some(id) if !is_valid(&id) => Err(Error::invalid(
            param,
            format!(
                "The conversation id in '{param}' must be 1 to {MAX_CONVERSATION_ID} visible ASCII characters without blanks."
            ),
        )),
        id => Ok(id),
    };
    let field = checked("conversation_id", field)?;
    let header = checked("x-conversation-id", headers.get("x-conversation-id"))?;
    let open_webui = headers.get("x-openwebui-chat-id").filter(|id| is_valid(id));
    Ok(ConversationHint { explicit: field.or(header), open_webui, is_drawing: false })
}

/// The error of a link whose id could be guessed.
fn no_randomness() -> Error {
    Error::new(ErrorKind::Configuration, "The machine's source of randomness fails, so no links can be made.")
}

/// Starts a refresh of a stale list of models. This request uses the stale list.
fn refresh_models_later<P: Platform>(qwen: &Arc<Client>, platform: &P) {
    if qwen.models_are_stale(platform.now()) {
        let (qwen, background) = (Arc::clone(qwen), platform.clone());
        // `models` logs a failure.
        platform.defer(async move { drop(qwen.models(&background).await) });
    }
}
