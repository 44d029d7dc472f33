//! `/v1/models`: the models of the account.

use std::collections::BTreeMap;

use http::{Response, StatusCode};
use serde::Serialize;

use super::{App, fallback, messages_models, reply};
use crate::{
    api::Dialect,
    error::{Error, ErrorKind, Result},
    platform::{Body, Platform},
    upstream::qwen::{self, Model, media_models},
};

/// A model of the account.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = Model))]
pub(super) struct ModelObject<'a> {
    /// The value for the field `model` of a request.
    id: &'a str,
    /// `model`
    object: &'static str,
    /// Unix time in seconds; 0 if the site does not report it.
    created: u64,
    owned_by: &'a str,
    /// The display name.
    name: &'a str,
    /// In tokens; null if the site does not report it.
    context_length: Option<u64>,
    /// What the model can do, under the site's names.
    capabilities: &'a BTreeMap<String, bool>,
}

/// The models of the account.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct ModelList<'a> {
    /// `list`
    object: &'static str,
    data: Vec<ModelObject<'a>>,
}

fn object(model: &Model) -> ModelObject<'_> {
    let Model { id, name, owned_by, created, context_length, capabilities, thinks: _, must_think: _ } = model;
    ModelObject {
        id,
        object: "model",
        created: *created,
        owned_by,
        name,
        context_length: *context_length,
        capabilities,
    }
}

pub(super) async fn list(
    app: &App,
    platform: &impl Platform,
    dialect: Dialect,
    query: Option<&str>,
) -> Result<Response<Body>> {
    let of_second = fallback::models(app);
    let models = match app.accounts.default_account().qwen.models(platform).await {
        // Where the site is not asked for chats, its list is not needed either.
        Err(_) if fallback::is_always(app) && !of_second.is_empty() => qwen::ModelList::default(),
        models => models?,
    };
    // The site's list names the text models alone.
    let more: Vec<Model> = media_models(&models).filter(|model| models.get(&model.id).is_none()).collect();
    let all = models.iter().chain(&more).chain(&of_second);
    if dialect == Dialect::Messages {
        return messages_models::list(all, query);
    }
    let data = all.map(object).collect();
    Ok(reply::json(StatusCode::OK, &ModelList { object: "list", data }))
}

pub(super) async fn one(app: &App, platform: &impl Platform, dialect: Dialect, name: &str) -> Result<Response<Body>> {
    if let Some(model) = fallback::model(app, name) {
        return Ok(answer(dialect, &model));
    }
    // Fetches the list if it is stale, so that a new model is found.
    let models = app.accounts.default_account().qwen.models(platform).await?;
    let found = match app.accounts.default_account().qwen.choose(platform, name).await.1 {
        None => media_models(&models).find(|model| model.id.eq_ignore_ascii_case(name.trim())),
        found => found,
    };
    match found {
        Some(model) => Ok(answer(dialect, &model)),
        None => {
            let name: String = name.chars().take(100).collect();
            Err(Error::new(
                ErrorKind::ModelNotFound,
                format!("There is no model '{name}'. GET /v1/models lists those there are."),
            )
            .of_this_server())
        }
    }
}

fn answer(dialect: Dialect, model: &Model) -> Response<Body> {
    match dialect {
        Dialect::Messages => messages_models::one(model),
        Dialect::ChatCompletions | Dialect::Responses => reply::json(StatusCode::OK, &object(model)),
    }
}
