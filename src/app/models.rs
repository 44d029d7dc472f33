//! `/v1/models`

use http::{Response, StatusCode};
use serde_json::{Value as Json, json};

use super::{App, reply};
use crate::{
    error::{Error, ErrorKind, Result},
    platform::{Body, Platform},
    qwen::Model,
};

fn object(model: &Model) -> Json {
    let Model { id, name, owned_by, created, context_length, capabilities, thinks: _, must_think: _ } = model;
    json!({
        "id": id,
        "object": "model",
        "created": created,
        "owned_by": owned_by,
        "name": name,
        "context_length": context_length,
        "capabilities": capabilities,
    })
}

pub(super) async fn list(app: &App, platform: &impl Platform) -> Result<Response<Body>> {
    let models = app.qwen.models(platform).await?;
    let data: Vec<Json> = models.iter().map(object).collect();
    Ok(reply::json(StatusCode::OK, &json!({ "object": "list", "data": data })))
}

pub(super) async fn one(app: &App, platform: &impl Platform, name: &str) -> Result<Response<Body>> {
    // Fetches the list when it is stale, so that an unknown name is not judged by an old one.
    app.qwen.models(platform).await?;
    match app.qwen.choose(platform, name).await.1 {
        Some(model) => Ok(reply::json(StatusCode::OK, &object(&model))),
        None => {
            let name: String = name.chars().take(100).collect();
            Err(Error::new(
                ErrorKind::ModelNotFound,
                format!("There is no model '{name}'. GET /v1/models lists those there are."),
            ))
        }
    }
}
