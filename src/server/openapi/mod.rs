//! The OpenAPI document `web/openapi.json`, made from the table of routes, the types and the kinds of errors.
//!
//! `UPDATE=1 cargo test --lib openapi` writes the file.

mod accounts;
mod errors;
mod images;
mod messages;
mod operations;
mod responses;
mod videos;

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json, json};
use utoipa::{
    ToSchema,
    openapi::{RefOr, Schema},
};

use crate::{api::Dialect, config::Product};

use super::{
    accounts as accounts_route, admin, chats, count_tokens, files, info, messages_models, models,
    responses as responses_route,
    router::{Access, Endpoint, Route, routes},
};
use crate::api::{
    anthropic::{self, MessageObject, MessagesRequest},
    openai::{
        ErrorBody,
        chat_completions::{ChatRequest, Chunk, Completion},
        images::{ImagesBody, ImagesObject, PictureEvent},
        responses::ResponseRequest,
        videos::{DeletedVideo, VideoBody, VideoList},
    },
};
use operations::{Answer, Operation, operation};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/web/openapi.json");

const ABOUT: &str = "Your own account at chat.qwen.ai as an OpenAI-compatible API, and as Anthropic's.

Point a client at `/v1`, with one of the server's `VALID_TOKENS` as its API key. `/v1` may be missing or doubled. Every \
answer carries `x-request-id` (the client's own, if it sends a valid one), and every route answers `OPTIONS` for browsers \
on other sites. Unknown fields are ignored; a field of a wrong type is refused by name.

Not offered, and answered with 404 `unsupported_endpoint` and a sentence that says what to use instead, with or without a \
key: `/v1/embeddings`, `/v1/images/variations`, `/v1/audio/*`, `/v1/moderations`, `/v1/completions`, `/v1/fine_tuning/*`, \
`/v1/batches`, and for videos `/v1/videos/{id}/remix`, `/v1/videos/edits`, `/v1/videos/extensions` and `/v1/videos/characters`.";

const NO_EFFECT: &str = "Accepted, without effect: the chat site has no such setting.";

/// The requests of turns and videos.
const TURNS: [&str; 4] = ["ChatRequest", "ResponseRequest", "MessagesRequest", "VideoRequest"];

/// The requests whose fields are all explained.
fn requests() -> impl Iterator<Item = &'static str> {
    TURNS.into_iter().chain(images::REQUESTS)
}

/// Adds the schema of a type and of all types that it names.
fn add<T: ToSchema>(schemas: &mut Vec<(String, RefOr<Schema>)>) {
    schemas.push((T::name().into_owned(), T::schema()));
    T::schemas(schemas);
}

/// Returns the schemas of all requests and responses.
fn schemas() -> Json {
    let mut all = Vec::new();
    add::<ChatRequest>(&mut all);
    add::<Completion<'static>>(&mut all);
    add::<Chunk>(&mut all);
    add::<ErrorBody<'static>>(&mut all);
    add::<ResponseRequest>(&mut all);
    add::<responses_route::DeletedResponse<'static>>(&mut all);
    add::<responses_route::ItemList>(&mut all);
    add::<responses_route::InputTokens>(&mut all);
    add::<ImagesBody>(&mut all);
    add::<ImagesObject>(&mut all);
    add::<PictureEvent>(&mut all);
    add::<MessagesRequest>(&mut all);
    add::<MessageObject<'static>>(&mut all);
    add::<anthropic::schema::StreamEvent>(&mut all);
    add::<anthropic::ErrorBody<'static>>(&mut all);
    add::<count_tokens::TokenCount>(&mut all);
    add::<messages_models::ModelList<'static>>(&mut all);
    add::<VideoBody>(&mut all);
    add::<VideoList<'static>>(&mut all);
    add::<DeletedVideo<'static>>(&mut all);
    add::<info::Information>(&mut all);
    add::<info::Health>(&mut all);
    add::<models::ModelList<'static>>(&mut all);
    add::<files::FileList>(&mut all);
    add::<files::DeletedFile>(&mut all);
    add::<chats::ChatList>(&mut all);
    add::<chats::DeletedChat>(&mut all);
    add::<admin::SessionObject<'static>>(&mut all);
    add::<accounts_route::AccountList>(&mut all);
    add::<accounts_route::DeletedAccount>(&mut all);
    let mut schemas = Json::Object(Map::new());
    for (name, schema) in all {
        schemas[name] = serde_json::to_value(schema).unwrap();
    }
    schemas["Response"] = responses::response_schema();
    schemas.as_object_mut().unwrap().values_mut().for_each(move_descriptions_up);
    images::divide(&mut schemas);
    // A field without a description is accepted for compatibility only.
    for request in requests() {
        let properties = &mut schemas[request]["properties"];
        for (name, property) in properties.as_object_mut().unwrap() {
            if property.get("description").is_none() && name != "messages" {
                property["description"] = NO_EFFECT.into();
            }
        }
        if properties.get("messages").is_some() {
            properties["messages"]["description"] = "The conversation, newest message last.".into();
            properties["messages"]["minItems"] = 1.into();
        }
    }
    schemas
}

/// Moves the description of a property that may be null from its alternatives to the property.
fn move_descriptions_up(schema: &mut Json) {
    for property in schema.get_mut("properties").and_then(Json::as_object_mut).into_iter().flat_map(Map::values_mut) {
        let alternatives = property.get_mut("oneOf").and_then(Json::as_array_mut).into_iter().flatten();
        let mut texts = alternatives.filter_map(|alternative| alternative.as_object_mut()?.remove("description"));
        if let Some(text) = texts.next() {
            property["description"] = text;
        }
    }
}

fn security(access: Access) -> Json {
    match access {
        Access::Open => json!([]),
        Access::Keyed => json!([{ "key": [] }, { "x-api-key": [] }]),
        Access::StsToken => json!([{ "key": [] }, { "x-api-key": [] }, {}]),
        Access::Admin => json!([{ "admin": [] }]),
    }
}

fn content((media_type, schema, example): &(&'static str, Json, Json)) -> (String, Json) {
    let mut content = json!({ "schema": schema });
    if !example.is_null() {
        content["example"] = example.clone();
    }
    ((*media_type).to_owned(), content)
}

fn responses(route: &Route, operation: &Operation) -> Json {
    let mut responses = Map::new();
    for Answer { status, description, contents, headers } in &operation.answers {
        let mut fields = json!({ "x-request-id": { "$ref": "#/components/headers/RequestId" } });
        if route.dialect == Dialect::Messages {
            fields["request-id"] = json!({ "$ref": "#/components/headers/RequestId" });
        }
        for (name, component) in *headers {
            fields[*name] = json!({ "$ref": format!("#/components/headers/{component}") });
        }
        let mut response = json!({ "description": description, "headers": fields });
        if !contents.is_empty() {
            response["content"] = contents.iter().map(content).collect::<Map<_, _>>().into();
        }
        responses.insert(status.to_string(), response);
    }
    for (status, response) in errors::responses(route, &operation.errors) {
        responses.insert(status.to_string(), response);
    }
    responses.into()
}

fn parameters(route: &Route, operation: &Operation) -> Vec<Json> {
    let schema = |name: &str| match name {
        "name" => json!({ "type": "string", "pattern": "^[a-z0-9_-]{1,40}$" }),
        _ => json!({ "type": "string", "minLength": 1 }),
    };
    let name = route.path.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(name, _)| name);
    let id = name.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": schema(name) }));
    id.into_iter().chain(operation.parameters.iter().cloned()).collect()
}

fn document() -> Json {
    let mut paths = Map::new();
    // The assets of the pages are not part of the API.
    for route in routes(&Product::NATIVE).filter(|route| route.endpoint != Endpoint::Asset) {
        let operation = operation(route.endpoint, route.path);
        let mut object = json!({
            "operationId": operation.id,
            "tags": [operation.tag],
            "summary": operation.summary,
            "description": operation.description,
            "security": security(route.access),
            "responses": responses(route, &operation),
        });
        let parameters = parameters(route, &operation);
        if !parameters.is_empty() {
            object["parameters"] = parameters.into();
        }
        if let Some((required, contents)) = &operation.body {
            let contents: Map<_, _> = contents.iter().map(content).collect();
            object["requestBody"] = json!({ "required": required, "content": contents });
        }
        paths.entry(route.path).or_insert_with(|| json!({}))[route.method.to_lowercase()] = object;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "qwen-edge",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "MIT", "identifier": "MIT" },
        },
        "servers": [{ "url": "/" }],
        "tags": [
            { "name": "Chat" },
            { "name": "Models" },
            { "name": "Videos" },
            { "name": "Files" },
            { "name": "Images" },
            { "name": "Conversations", "description": "The chats that this server created at the site." },
            { "name": "Server", "description": "The state of the server, and what it offers." },
            { "name": "Administration", "description": "Opened by `ADMIN_TOKEN` only." },
        ],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "examples": errors::examples(),
            "headers": {
                "RequestId": {
                    "description": "The id of this request in the server's log.",
                    "required": true,
                    "schema": { "type": "string" },
                },
                "ConversationId": {
                    "description": "The id of the conversation. Clients can send it as the header or the field of that name.",
                    "schema": { "type": "string" },
                },
                "Upstream": {
                    "description": "Who answers: chat.qwen.ai, or the second upstream (`FALLBACK_BASE_URL`).",
                    "schema": { "type": "string", "enum": ["qwen", "fallback"] },
                },
                "Images": {
                    "description": "How many of the wanted pictures were drawn, such as `1/3`. Present if some failed.",
                    "schema": { "type": "string", "pattern": "^[0-9]+/[0-9]+$" },
                },
                "ContentRange": {
                    "description": "Which part of the bytes this is, and how many there are.",
                    "schema": { "type": "string" },
                },
                "RetryAfter": {
                    "description": "After how many seconds a client can retry. Present if waiting helps.",
                    "schema": { "type": "integer", "minimum": 1 },
                },
                "ShouldRetry": {
                    "description": "`false`: OpenAI's SDKs must not retry, because only a person or a long wait can help, or because it would cost another picture.",
                    "schema": { "type": "string", "enum": ["false"] },
                },
                "WwwAuthenticate": {
                    "description": "`Bearer`, if the request has no API key.",
                    "schema": { "type": "string" },
                },
                "PollAfter": {
                    "description": "After how many milliseconds to ask again. Present while the video is in the making.",
                    "schema": { "type": "string", "pattern": "^[0-9]+$" },
                },
                "ETag": {
                    "description": "Changes when the page does.",
                    "schema": { "type": "string" },
                },
            },
            "securitySchemes": {
                "key": { "type": "http", "scheme": "bearer", "description": "One of the server's `VALID_TOKENS`." },
                "x-api-key": { "type": "apiKey", "in": "header", "name": "x-api-key", "description": "The same." },
                "admin": { "type": "http", "scheme": "bearer", "description": "The server's `ADMIN_TOKEN`." },
            },
        },
    })
}

#[test]
fn the_document_is_up_to_date() {
    let document = format!("{:#}\n", document());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(FILE, &document).unwrap();
    }
    let kept = std::fs::read_to_string(FILE).unwrap();
    assert!(kept == document, "web/openapi.json is out of date: UPDATE=1 cargo test --lib openapi");
}

#[test]
fn all_references_resolve() {
    let document = document();
    fn references<'a>(json: &'a Json, found: &mut BTreeSet<&'a str>) {
        match json {
            Json::Object(object) => {
                found.extend(object.get("$ref").and_then(Json::as_str));
                object.values().for_each(|value| references(value, found));
            }
            Json::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for reference in &found {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference} does not resolve");
    }
    for (kind, components) in document["components"].as_object().unwrap() {
        for name in components.as_object().unwrap().keys().filter(|_| kind != "securitySchemes") {
            assert!(found.contains(format!("#/components/{kind}/{name}").as_str()), "{name} is not used");
        }
    }
}

#[test]
fn every_operation_and_field_is_explained() {
    let document = document();
    let mut ids = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let at = format!("{method} {path}");
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{at}");
            assert!(!operation["summary"].as_str().unwrap().is_empty(), "{at}");
            let bodies = operation["responses"].as_object().unwrap().values().chain(operation.get("requestBody"));
            for content in bodies.filter_map(|body| body["content"].as_object()).flat_map(Map::values) {
                assert!(content.get("example").or(content.get("examples")).is_some(), "{at} has no example");
            }
        }
    }
    for request in requests() {
        for (name, property) in document["components"]["schemas"][request]["properties"].as_object().unwrap() {
            assert!(property.get("description").is_some(), "{name} is not explained");
        }
    }
}
