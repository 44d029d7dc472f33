//! Requests, responses and errors of each operation.

use serde_json::{Value as Json, json};

use super::{
    super::router::Endpoint,
    accounts,
    errors::{FORMS, SITE, TURN},
    images, messages, responses, videos,
};
use crate::error::{ErrorKind, ErrorKind as K};

/// A media type with its schema and an example.
pub(super) type Content = (&'static str, Json, Json);

/// A response that is not an error.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) description: &'static str,
    pub(super) contents: Vec<Content>,
    /// The header fields and their components.
    pub(super) headers: &'static [(&'static str, &'static str)],
}

/// An operation, without the data in the table of routes.
pub(super) struct Operation {
    pub(super) id: &'static str,
    pub(super) tag: &'static str,
    pub(super) summary: &'static str,
    pub(super) description: &'static str,
    pub(super) parameters: Vec<Json>,
    /// Whether the body is required, and its media types.
    pub(super) body: Option<(bool, Vec<Content>)>,
    pub(super) answers: Vec<Answer>,
    pub(super) errors: Vec<ErrorKind>,
}

pub(super) fn reference(name: &str) -> Json {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn page(media_type: &'static str) -> Content {
    (media_type, json!({ "type": "string" }), json!("<!doctype html>…"))
}

pub(super) fn ok(schema: &str, example: Json) -> Vec<Answer> {
    let contents = vec![("application/json", reference(schema), example)];
    vec![Answer { status: 200, description: "OK", contents, headers: &[] }]
}

/// A response whose form is Anthropic's where a client of that API asks.
fn ok_in_two_forms((schema, example): (&str, Json), other: &str) -> Vec<Answer> {
    let schema = json!({ "anyOf": [reference(schema), reference(other)] });
    let contents = vec![("application/json", schema, example)];
    vec![Answer { status: 200, description: "OK", contents, headers: &[] }]
}

fn version() -> Json {
    json!({
        "name": "anthropic-version",
        "in": "header",
        "description": "With any value: the answer has Anthropic's form.",
        "schema": { "type": "string", "pattern": "^[!-~]+$" },
    })
}

fn query(name: &str, schema: Json) -> Json {
    let description = "Of an answer in Anthropic's form: which part of the list it has.";
    json!({ "name": name, "in": "query", "description": description, "schema": schema })
}

pub(super) fn about(
    id: &'static str,
    tag: &'static str,
    summary: &'static str,
    description: &'static str,
) -> Operation {
    let (parameters, answers, errors) = (Vec::new(), Vec::new(), Vec::new());
    Operation { id, tag, summary, description, parameters, body: None, answers, errors }
}

fn health(status: &str, state: &str) -> Json {
    json!({
        "status": status,
        "version": env!("CARGO_PKG_VERSION"),
        "session": { "state": state, "expires_at": 1_798_099_200, "checked_at": 1_795_507_200 },
        "accounts": { "total": 1, "usable": u8::from(status != "unhealthy") },
        "store": { "ok": true, "errors": 0, "persistent": true },
    })
}

fn model() -> Json {
    json!({
        "id": "qwen3-max",
        "object": "model",
        "created": 1_758_672_000,
        "owned_by": "qwen",
        "name": "Qwen3-Max",
        "context_length": 262_144,
        "capabilities": { "thinking": true, "vision": true, "search": true },
    })
}

fn file() -> Json {
    json!({
        "id": "a1b2c3d4-0000-4000-8000-000000000000",
        "object": "file",
        "bytes": 48_213,
        "created_at": 1_795_507_200,
        "filename": "photo.jpg",
        "purpose": "multimodal",
        "url": "https://qwen-webui-prod.oss-accelerate.aliyuncs.com/…",
        "status": "uploaded",
        "filetype": "image",
        "content_type": "image/jpeg",
        "file_info": { "id": "a1b2c3d4-0000-4000-8000-000000000000", "type": "image", "name": "photo.jpg" },
    })
}

pub(super) fn session() -> Json {
    json!({
        "object": "session",
        "state": "valid",
        "message": "The session works and renews itself.",
        "account": "mei",
        "expires_at": 1_798_099_200,
        "checked_at": 1_795_507_200,
        "renewable": true,
        "source": "stored",
        "encrypted": true,
        "warning": null,
        "challenge": null,
    })
}

/// Returns the response of a turn, whole or streamed.
fn turn() -> Vec<Answer> {
    let whole = json!({
        "id": "chatcmpl-6f1c0000000040008000000000000000",
        "object": "chat.completion",
        "created": 1_795_507_200,
        "model": "qwen3",
        "choices": [{
            "index": 0,
            "message": {
                "role": "assistant",
                "reasoning_content": "Short waves scatter more.",
                "content": "Air scatters blue light most.",
                "refusal": null,
            },
            "logprobs": null,
            "finish_reason": "stop",
        }],
        "usage": {
            "prompt_tokens": 14,
            "completion_tokens": 12,
            "total_tokens": 26,
            "completion_tokens_details": { "reasoning_tokens": 5 },
        },
    });
    let events = concat!(
        "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1795507200,\"model\":\"qwen3\",",
        "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Air\"},\"finish_reason\":null}]}\n\n",
        "data: [DONE]\n\n"
    );
    // The schema describes one event, as in OpenAPI 3.2.
    let stream = json!({
        "type": "object",
        "description": "Server-sent events with `data:` lines and comments only. Each `data:` is a chunk; the last one is `[DONE]`. If an error occurs within the stream, its error object is the last event.",
        "required": ["data"],
        "properties": {
            "data": {
                "anyOf": [
                    {
                        "type": "string",
                        "contentMediaType": "application/json",
                        "contentSchema": { "anyOf": [reference("ChatCompletionChunk"), reference("ErrorBody")] },
                    },
                    { "type": "string", "const": "[DONE]" },
                ],
            },
        },
    });
    vec![Answer {
        status: 200,
        description: "The answer, or with `stream` its chunks as they arrive.",
        contents: vec![
            ("application/json", reference("ChatCompletion"), whole),
            ("text/event-stream", stream, json!(events)),
        ],
        headers: &[("x-conversation-id", "ConversationId"), ("x-upstream", "Upstream")],
    }]
}

pub(super) fn conversation_headers() -> Vec<Json> {
    let header = |name: &str, description: &str| {
        json!({ "name": name, "in": "header", "description": description, "schema": {
            "type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$",
        } })
    };
    vec![
        header("x-conversation-id", "The conversation to continue; the field `conversation_id` takes precedence."),
        header("X-OpenWebUI-Chat-Id", "The id of the chat in Open WebUI."),
    ]
}

fn chat(id: &'static str, summary: &'static str, model: &str) -> Operation {
    let example = json!({
        "model": model,
        "messages": [{ "role": "user", "content": "Why is the sky blue?" }],
        "stream": false,
    });
    Operation {
        parameters: conversation_headers(),
        body: Some((true, vec![("application/json", reference("ChatRequest"), example)])),
        answers: turn(),
        errors: [&[K::InvalidJson], TURN, FORMS, SITE].concat(),
        ..about(
            id,
            "Chat",
            summary,
            "Clients send the whole history, as in OpenAI's API. The server finds the chat at the site that has this history, and sends only the new messages. The site has neither tools for clients nor a JSON mode: the server tells the model in the prompt what to write, and reads and checks what it wrote.",
        )
    }
}

/// Returns an operation that takes a form with a file and a question.
fn form(id: &'static str, field: &str, summary: &'static str, streams: bool) -> Operation {
    let schema = json!({
        "type": "object",
        "required": [field, "prompt"],
        "properties": {
            field: { "type": "string", "format": "binary", "description": "The file." },
            "prompt": { "type": "string", "minLength": 1, "pattern": "\\S", "description": "The question." },
            "model": { "type": "string", "default": "qwen3-vl-plus", "maxLength": 200 },
            "stream": { "type": "boolean", "default": streams },
            "enable_thinking": { "type": "boolean", "default": false },
            "thinking_budget": { "type": "integer", "description": "The maximum number of tokens for thinking." },
            "conversation_id": { "type": "string", "description": "The conversation to continue." },
        },
    });
    let name = if field == "image" { "photo.jpg" } else { "holiday.mp4" };
    let example = json!({ field: name, "prompt": "What is to be seen here?", "stream": streams });
    Operation {
        parameters: conversation_headers(),
        body: Some((true, vec![("multipart/form-data", schema, example)])),
        answers: turn(),
        errors: [TURN, SITE].concat(),
        ..about(id, "Chat", summary, "The file is streamed to the site's storage; then the question is sent.")
    }
}

fn upload(id: &'static str, summary: &'static str) -> Operation {
    let schema = json!({
        "type": "object",
        "required": ["file"],
        "properties": {
            "file": { "type": "string", "format": "binary" },
            "purpose": { "type": "string", "default": "multimodal" },
        },
    });
    let example = json!({ "file": "photo.jpg", "purpose": "multimodal" });
    Operation {
        body: Some((true, vec![("multipart/form-data", schema, example)])),
        answers: ok("File", file()),
        errors: [
            &[
                K::InvalidRequest,
                K::RequestTooLarge,
                K::Overloaded,
                K::UnsupportedEncoding,
                K::UnsupportedFileType,
                K::UpstreamRejected,
            ],
            SITE,
        ]
        .concat(),
        ..about(id, "Files", summary, "The same bytes are uploaded once while their link is valid.")
    }
}

fn server_page(id: &'static str, summary: &'static str, media_type: &'static str) -> Operation {
    let example = if media_type == "text/html" {
        page(media_type)
    } else {
        (media_type, json!({ "type": "object" }), json!({ "openapi": "3.1.0" }))
    };
    Operation {
        answers: vec![
            Answer { status: 200, description: "OK", contents: vec![example], headers: &[("etag", "ETag")] },
            Answer {
                status: 304,
                description: "The client's copy is current.",
                contents: Vec::new(),
                headers: &[("etag", "ETag")],
            },
        ],
        errors: vec![K::NotFound],
        ..about(id, "Server", summary, "")
    }
}

/// Returns the operation of an endpoint. `path` distinguishes the routes of an endpoint that has two.
pub(super) fn operation(endpoint: Endpoint, path: &str) -> Operation {
    match endpoint {
        Endpoint::Responses => responses::create(),
        Endpoint::InputTokens => responses::input_tokens(),
        Endpoint::Response => responses::retrieve(),
        Endpoint::DeleteResponse => responses::delete(),
        Endpoint::ResponseInput => responses::input_items(),
        Endpoint::CancelResponse => responses::cancel(),
        Endpoint::CreateVideo => videos::create(),
        Endpoint::Videos => videos::list(),
        Endpoint::Video => videos::retrieve(),
        Endpoint::DeleteVideo => videos::delete(),
        Endpoint::VideoContent => videos::content(),
        Endpoint::Root => Operation {
            answers: vec![Answer {
                status: 200,
                description: "The server's name, version and routes; the console where HTML is preferred.",
                contents: vec![
                    (
                        "application/json",
                        reference("ServerInformation"),
                        json!({
                            "name": "qwen-edge",
                            "version": env!("CARGO_PKG_VERSION"),
                            "product": "box",
                            "message": "An OpenAI-compatible API for your own Qwen web account. Point a client at /v1.",
                            "docs": "/docs",
                            "routes": [{ "method": "GET", "path": "/health", "key": false }],
                        }),
                    ),
                    page("text/html"),
                ],
                headers: &[],
            }],
            ..about("root", "Server", "What this server is", "Browsers receive the console.")
        },
        Endpoint::Docs => server_page("docs", "This document as a page", "text/html"),
        Endpoint::Document => server_page("openapi", "This document", "application/json"),
        Endpoint::Asset => about("asset", "Server", "An asset of a page", "Not part of the API."),
        Endpoint::Health => Operation {
            answers: ok("Health", health("healthy", "valid")),
            ..about(
                "health",
                "Server",
                "The state of the server",
                "Always 200 while the server runs. Sends no request to the site.",
            )
        },
        Endpoint::Ready => Operation {
            answers: vec![
                Answer {
                    status: 200,
                    description: "A chat could work.",
                    contents: vec![("application/json", reference("Health"), health("healthy", "valid"))],
                    headers: &[],
                },
                Answer {
                    status: 503,
                    description: "No chat could work; `session.state` says why.",
                    contents: vec![("application/json", reference("Health"), health("unhealthy", "expired"))],
                    headers: &[],
                },
            ],
            ..about("ready", "Server", "Whether a chat could work", "")
        },
        Endpoint::Metrics => Operation {
            answers: vec![Answer {
                status: 200,
                description: "Counters and histograms.",
                contents: vec![(
                    "text/plain",
                    json!({ "type": "string" }),
                    json!(
                        "# TYPE qwen_edge_requests counter\nqwen_edge_requests_total{route=\"/health\",status=\"200\",account=\"\"} 1\n"
                    ),
                )],
                headers: &[],
            }],
            errors: vec![K::NotFound],
            ..about(
                "metrics",
                "Server",
                "Metrics for Prometheus",
                "On the native server. The Worker has no metrics and returns 404.",
            )
        },
        Endpoint::Messages => messages::create(),
        Endpoint::CountTokens => messages::count_tokens(),
        Endpoint::Generations => images::generations(),
        Endpoint::Edits => images::edits(),
        Endpoint::MediaFile => images::media_file(),
        Endpoint::Models => Operation {
            parameters: vec![
                version(),
                query("limit", json!({ "type": "integer", "minimum": 1, "maximum": 1000 })),
                query("after_id", json!({ "type": "string" })),
                query("before_id", json!({ "type": "string" })),
            ],
            answers: ok_in_two_forms(
                ("ModelList", json!({ "object": "list", "data": [model()] })),
                "MessagesModelList",
            ),
            errors: [&[K::InvalidRequest], SITE].concat(),
            ..about(
                "listModels",
                "Models",
                "The models of the account",
                "The site's live list, cached for ten minutes.",
            )
        },
        Endpoint::Model => Operation {
            parameters: vec![version()],
            answers: ok_in_two_forms(("Model", model()), "MessagesModel"),
            errors: [&[K::ModelNotFound], SITE].concat(),
            ..about("getModel", "Models", "One model", "By its id or an alias, with or without suffixes.")
        },
        Endpoint::Completions => chat("createChatCompletion", "Chat", "qwen3"),
        Endpoint::Multimodal => {
            chat("createMultimodalChat", "The same; `qwen3-vl-plus` is the model if none is named", "qwen3-vl-plus")
        }
        Endpoint::ImageChat => form("askAboutImage", "image", "An image and a question", false),
        Endpoint::VideoChat => form("askAboutVideo", "video", "A video and a question", true),
        Endpoint::Upload if path == "/v1/files" => upload("createFile", "Uploads a file (OpenAI's route)"),
        Endpoint::Upload => upload("uploadFile", "Uploads a file"),
        Endpoint::Files => Operation {
            parameters: vec![
                json!({ "name": "limit", "in": "query", "description": "The maximum length of the list. 0 means the default; values above 10000 count as 10000.", "schema": {
                    "type": "integer", "minimum": 0, "default": 100,
                } }),
                json!({ "name": "after", "in": "query", "description": "The last id of the previous page.", "schema": {
                    "type": "string",
                } }),
                json!({ "name": "order", "in": "query", "description": "The order by time of upload.", "schema": {
                    "type": "string", "enum": ["asc", "desc"], "default": "desc",
                } }),
            ],
            answers: ok(
                "FileList",
                json!({ "object": "list", "data": [file()], "first_id": file()["id"], "last_id": file()["id"], "has_more": false }),
            ),
            errors: vec![K::InvalidRequest, K::StoreFailed],
            ..about("listFiles", "Files", "The files uploaded with this key", "Newest first.")
        },
        Endpoint::File => Operation {
            answers: ok("File", file()),
            errors: vec![K::NotFound, K::StoreFailed],
            ..about("getFile", "Files", "One file", "")
        },
        Endpoint::DeleteFile => Operation {
            answers: ok("DeletedFile", json!({ "id": file()["id"], "object": "file", "deleted": true })),
            errors: vec![K::NotFound, K::StoreFailed],
            ..about("deleteFile", "Files", "Forgets a file", "It stays in the site's storage until its link expires.")
        },
        Endpoint::StsToken => {
            let schema = json!({
                "type": "object",
                "required": ["filename", "filesize"],
                "properties": {
                    "filename": { "type": "string", "minLength": 1, "pattern": "\\S" },
                    "filesize": { "type": "integer", "minimum": 0, "description": "In bytes." },
                    "filetype": { "type": ["string", "null"], "enum": ["image", "video", "audio", "file", null], "default": "image" },
                },
            });
            let example = json!({ "filename": "photo.jpg", "filesize": 48_213, "filetype": "image" });
            let answer = json!({ "success": true, "data": { "file_id": "…", "file_url": "…", "bucketname": "…", "region": "…" } });
            Operation {
                body: Some((true, vec![("application/json", schema, example)])),
                answers: vec![Answer {
                    status: 200,
                    description: "The site's own answer, unchanged.",
                    contents: vec![("application/json", json!({ "type": "object" }), answer)],
                    headers: &[],
                }],
                errors: [
                    &[
                        K::InvalidJson,
                        K::InvalidRequest,
                        K::RequestTooLarge,
                        K::Overloaded,
                        K::UnsupportedEncoding,
                        K::UpstreamRejected,
                    ],
                    SITE,
                ]
                .concat(),
                ..about(
                    "getStsToken",
                    "Files",
                    "Upload credentials for the site's storage",
                    "For programs that upload by themselves. Needs no key with `PUBLIC_STS_TOKEN`.",
                )
            }
        }
        Endpoint::Chats => Operation {
            answers: ok(
                "ChatList",
                json!({ "object": "list", "data": [{
                    "id": "6f1c0000-0000-4000-8000-000000000000",
                    "object": "chat",
                    "conversation_id": "sky",
                    "title": "Why is the sky blue?",
                    "model": "qwen3-max",
                    "turns": 2,
                    "updated": 1_795_507_200,
                }] }),
            ),
            errors: vec![K::StoreFailed],
            ..about(
                "listChats",
                "Conversations",
                "The conversations begun with this key",
                "Newest first, at most 1000.",
            )
        },
        Endpoint::DeleteChat => Operation {
            answers: ok(
                "DeletedChat",
                json!({ "id": "6f1c", "object": "chat.deleted", "deleted": true, "success": true, "message": "The chat 6f1c is deleted." }),
            ),
            errors: [&[K::NotFound, K::StoreFailed, K::UpstreamRejected], SITE].concat(),
            ..about(
                "deleteChat",
                "Conversations",
                "Deletes a conversation, here and at the site",
                "By `id` or `conversation_id`.",
            )
        },
        Endpoint::Session => Operation {
            answers: ok("Session", session()),
            ..about("getSession", "Administration", "The Qwen session, without its values", "")
        },
        Endpoint::ReplaceSession => accounts::replace_session("putSession", "Replaces the session"),
        Endpoint::DeleteSession => Operation {
            answers: ok("Session", session()),
            errors: vec![K::StoreFailed],
            ..about(
                "deleteSession",
                "Administration",
                "Deletes the stored session",
                "The configured session is used again.",
            )
        },
        Endpoint::Accounts => accounts::list(),
        Endpoint::DeleteAccount => accounts::delete(),
        Endpoint::AccountSession => accounts::session(),
        Endpoint::ReplaceAccountSession => {
            accounts::replace_session("putAccountSession", "Replaces the session of an account, or makes the account")
        }
        Endpoint::DeleteAccountSession => accounts::delete_session(),
    }
}
