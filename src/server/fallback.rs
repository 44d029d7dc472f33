//! When the second upstream is asked: by name, in the place of chat.qwen.ai, or after some of its errors.

use std::{collections::BTreeSet, sync::Arc};

use super::app::App;
use crate::{
    api::Delivery,
    chat::{Attachments, Second, ToolRules, WholeTurn},
    config::FallbackAfter,
    error::{Error, ErrorKind, Result},
    llm::{Message, Reasoning, Request},
    upstream::{Choice, Model, Upstream, compatible::ModelName, qwen::SessionState},
};

/// How the names of the second upstream's own models begin.
const PREFIX: &str = "api:";

/// Returns the second upstream's own name of a model, where a client names one.
pub(super) fn own_model(name: &str) -> Option<&str> {
    name.strip_prefix(PREFIX).map(str::trim)
}

/// Whether the second upstream alone is asked for an answer of this model.
///
/// # Errors
/// `model_not_found` for a model of the second upstream where there is none.
pub(super) fn is_only(app: &App, model: &str) -> Result<bool> {
    match own_model(model) {
        None => Ok(is_always(app)),
        Some(own) if !own.is_empty() && app.config.fallback.is_some() => Ok(true),
        Some(own) => {
            let problem = if own.is_empty() {
                "The name of a model is missing behind 'api:'."
            } else {
                "A model 'api:…' is one of a second upstream, and this server has none (FALLBACK_BASE_URL). GET /v1/models lists the models."
            };
            Err(Error::new(ErrorKind::ModelNotFound, problem).with_param("model").of_this_server())
        }
    }
}

/// Whether the second upstream is asked after this error of chat.qwen.ai.
pub(super) fn is_asked_after(app: &App, error: &Error) -> bool {
    app.config.fallback.as_ref().is_some_and(|fallback| fallback.after.has(error.kind().code()))
}

/// Whether the second upstream answers while a session is in this state.
pub(super) fn covers(app: &App, state: SessionState) -> bool {
    let Some(fallback) = &app.config.fallback else { return false };
    let kind = match state {
        SessionState::Missing => ErrorKind::SessionMissing,
        SessionState::Expired => ErrorKind::SessionExpired,
        SessionState::Challenged => ErrorKind::Challenge,
        SessionState::Valid | SessionState::Expiring | SessionState::Unknown => {
            return fallback.after == FallbackAfter::Always;
        }
    };
    fallback.after == FallbackAfter::Always || fallback.after.has(kind.code())
}

/// The models of the second upstream that `FALLBACK_MODELS` names.
pub(super) fn models(app: &App) -> Vec<Model> {
    let names: BTreeSet<&String> = app.config.fallback.iter().flat_map(|fallback| fallback.models.values()).collect();
    names.into_iter().map(|name| of_second(name)).collect()
}

/// The model that a client names as one of the second upstream's.
pub(super) fn model(app: &App, name: &str) -> Option<Model> {
    let own = own_model(name).filter(|own| !own.is_empty())?;
    app.config.fallback.is_some().then(|| of_second(own))
}

fn of_second(name: &str) -> Model {
    Model { id: format!("{PREFIX}{name}"), name: name.to_owned(), owned_by: "fallback".to_owned(), ..Model::default() }
}

/// The error of a request that shows less than was said in its conversation.
pub(super) fn half_a_conversation() -> Error {
    let problem =
        "The conversation was begun at chat.qwen.ai, and the second upstream keeps none: send all its messages.";
    Error::invalid("conversation_id", problem)
}

/// Whether the site is left out where the second upstream answers everything.
pub(super) fn is_always(app: &App) -> bool {
    app.config.fallback.as_ref().is_some_and(|fallback| fallback.after == FallbackAfter::Always)
}

/// What the second upstream would be asked; `None` where there is none, or it is only asked by name.
///
/// # Errors
/// It cannot take the request: `invalid_request`, which names the part.
pub(super) fn second(
    app: &App,
    (model, choice): (&str, &Choice),
    request: &Request,
    (messages, attachments): (&Arc<Vec<Message>>, &Attachments),
    (delivery, stem, is_only): (&Delivery, &str, bool),
) -> Result<Option<Second>> {
    let (Some(client), Some(fallback)) = (&app.second, &app.config.fallback) else { return Ok(None) };
    if !is_only && !matches!(fallback.after, FallbackAfter::Codes(_)) {
        return Ok(None);
    }
    let name = own_model(model).map_or(ModelName::OfSite(&choice.id), ModelName::Own);
    let reasoning = match (choice.thinking, request.reasoning) {
        (Some(true), asked @ Some(Reasoning::On { .. })) => asked,
        (Some(true), _) => Some(Reasoning::On { budget: None }),
        (Some(false), _) => Some(Reasoning::Off),
        (None, asked) => asked,
    };
    // What the name of the model says comes first.
    let says_effort = choice.thinking.is_none();
    let search = choice.search || request.search;
    let tells_stop = matches!(delivery, Delivery::Messages(_));
    let whole = WholeTurn::new(request, (messages, attachments), (reasoning, search), (tells_stop, says_effort))?;
    let upstream = Upstream::Compatible(Arc::clone(client));
    let rules = ToolRules::new(request, stem, |name| upstream.shown_tool_name(name));
    Ok(Some(Second {
        model: client.model(name).to_owned(),
        whole: Arc::new(whole),
        rules,
        after: fallback.after.clone(),
        is_only,
        upstream,
    }))
}
