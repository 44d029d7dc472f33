//! A turn: a request in neutral words becomes a response in its dialect.

use std::sync::{Arc, atomic::Ordering};

use futures::StreamExt as _;
use http::{Response, StatusCode};

use super::{
    app::App,
    body::Reservation,
    fallback,
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
    upstream::{
        Capabilities, Choice,
        qwen::{Client, PictureChoice},
    },
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
    /// Why chat.qwen.ai is not asked any more, if it has refused already and the second upstream takes its place.
    pub(super) refused: Option<Error>,
    /// Whether it has files of chat.qwen.ai, which alone can read them.
    pub(super) has_files: bool,
}

/// How an answer is kept.
#[derive(Clone, Debug)]
pub(super) struct Keep {
    /// The key of the response that it goes on from; empty for none.
    pub(super) previous: String,
    /// Its input as JSON; `None` when texts are not kept.
    pub(super) input: Option<Arc<str>>,
}

/// A turn whose conversation has been found, before any upstream is asked.
struct Prepared<P> {
    work: Work<P>,
    reservation: Reservation,
    conversation_id: String,
    is_stream: bool,
}

/// What answers a turn.
enum Work<P> {
    Text(Box<Answer<P>>),
    Pictures(DrawnAnswer<P>),
}

/// Answers a chat request.
pub(super) async fn respond<P: Platform>(app: &Arc<App>, platform: &P, turn: ChatTurn<'_>) -> Result<Response<Body>> {
    // Boxed, so that its memory is free while the upstream is waited for: many requests may wait at the same time.
    let Prepared { work, reservation, conversation_id, is_stream } = Box::pin(prepare(app, platform, turn)).await?;
    let mut answer = match work {
        Work::Text(answer) => answer,
        Work::Pictures(answer) => {
            drop(reservation);
            let response = if is_stream {
                let Timing { first_byte, heartbeat, .. } = app.timing;
                reply::event_stream(Body::Stream(answer.events(first_byte, heartbeat).await?))
            } else {
                reply::json_bytes(StatusCode::OK, answer.whole().await?)
            };
            let response = reply::with_upstream(response, "qwen");
            return Ok(reply::with_conversation(response, shown_conversation(&conversation_id)));
        }
    };
    let (response, upstream) = if is_stream {
        answer.head().await?;
        let upstream = answer.upstream_name();
        // What the second upstream may still be asked is held until the first word.
        let mut reservation = Some(reservation).filter(|_| upstream.is_none());
        let is_committed = answer.is_committed();
        let events = answer.inspect(move |_| {
            if is_committed.load(Ordering::Relaxed) {
                drop(reservation.take());
            }
        });
        (reply::event_stream(Body::Stream(Box::pin(events))), upstream)
    } else {
        let whole = answer.whole().await?;
        (reply::json_bytes(StatusCode::OK, whole), answer.upstream_name())
    };
    let response = match upstream {
        Some(upstream) => reply::with_upstream(response, upstream),
        None => response,
    };
    Ok(reply::with_conversation(response, &conversation_id))
}

/// Checks a request, and finds its account, its model and its conversation.
async fn prepare<P: Platform>(app: &Arc<App>, platform: &P, turn: ChatTurn<'_>) -> Result<Prepared<P>> {
    let ChatTurn {
        key,
        caller,
        headers,
        base,
        parsed,
        attachments,
        default_model,
        reservation,
        resumed,
        keep,
        refused,
        has_files,
    } = turn;
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
    let own_model = fallback::own_model(&model_name);
    hint.is_drawing = own_model.is_none() && key.account.qwen.draws(&model_name);
    let prompt = hint.is_drawing.then(|| draw_prompt(delivery.messages_field(), &request.messages)).transpose()?;
    let is_only = prompt.is_none() && (own_model.is_some() || !has_files) && fallback::is_only(app, &model_name)?;
    let mut refused = match refused {
        None if !is_only => key.ready(platform).await.err(),
        refused => refused,
    };
    if let Some(error) = refused.take_if(|error| prompt.is_some() || !fallback::is_asked_after(app, error)) {
        return Err(error);
    }
    let asks_site = !is_only && refused.is_none();
    let (choice, model) = match own_model {
        Some(own) => (Choice { id: own.to_owned(), thinking: None, search: false }, None),
        None if asks_site => key.account.qwen.choose(platform, &model_name).await,
        None => key.account.qwen.choose_at_hand(&model_name),
    };
    let options = generation_options(&request, choice.clone(), model.as_ref());
    if asks_site {
        refresh_models_later(&key.account.qwen, platform);
    }
    // From here on the account is fixed, even if the session is replaced.
    let caller = match caller {
        Some(caller) => caller,
        None => key.caller(platform).await,
    };
    let scope = caller.scope().to_owned();
    let id = reply::new_id("conv_", platform);
    let services = app.services(&caller.account);
    let capabilities = services.upstream.capabilities();
    // What the second upstream answers goes on in no chat, unless the client names one.
    let keeps_history = asks_site || refused.is_some() || hint.explicit.is_some();
    let capabilities = Capabilities { keeps_history: capabilities.keeps_history && keeps_history, ..capabilities };
    let tools = TurnTools::new(&request, options.search);
    let stem = reply::new_id("", platform);
    let stem = stem.get(..22).unwrap_or(&stem);
    let rules = ToolRules::new(&request, stem, |name| services.upstream.shown_tool_name(name));
    let messages = Arc::new(std::mem::take(&mut request.messages));
    let second = if prompt.is_some() {
        Ok(None)
    } else {
        let names = (model_name.as_str(), &choice);
        let only = is_only || refused.is_some();
        fallback::second(app, names, &request, (&messages, &attachments), (&delivery, stem, only))
    };
    let whole = (messages, attachments, tools);
    let conversation =
        app.conversations.find_match(platform, (caller.owner, capabilities), whole, (&hint, resumed), id).await;
    let second = match (second, refused) {
        (_, None) if is_only && conversation.lacks_history() => return Err(fallback::half_a_conversation()),
        (second, None) if is_only => second?,
        // The second upstream takes it only where it can, and gets the whole conversation.
        (second, None) => second.ok().flatten().filter(|_| !conversation.lacks_history()),
        (Ok(Some(second)), Some(error)) if !conversation.lacks_history() => {
            tracing::warn!(%error, "the second upstream is asked");
            Some(second)
        }
        (_, Some(error)) => return Err(error),
    };
    {
        let request_metrics = platform.request_metrics();
        let mut record = request_metrics.record();
        record.model = Some(model_name.clone());
        record.stream = Some(delivery.is_stream());
        record.hit = Some(conversation.is_known());
        record.upstream = Some(services.upstream.name());
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
        return Ok(Prepared { work: Work::Pictures(answer), reservation, conversation_id, is_stream });
    }
    let plan = Plan { options, conversation, reach, tools: rules, format, kept, links, second };
    let answer = Box::new(Answer::new(platform.clone(), services, plan, encoder, app.timing));
    Ok(Prepared { work: Work::Text(answer), reservation, conversation_id, is_stream })
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
