//! What each endpoint takes and gives.

use serde_json::{Value as Json, json};

use super::{
    super::router::Endpoint,
    errors::{SITE, TURN},
};
use crate::error::{ErrorKind, ErrorKind as K};

/// A media type with its schema and an example.
type Content = (&'static str, Json, Json);

/// An answer that is no error.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) description: &'static str,
    pub(super) contents: Vec<Content>,
    /// Header fields with their components.
    pub(super) headers: &'static [(&'static str, &'static str)],
}

/// An operation, without what the table of routes knows of it.
pub(super) struct Operation {
    pub(super) id: &'static str,
    pub(super) tag: &'static str,
    pub(super) summary: &'static str,
    pub(super) description: &'static str,
    pub(super) parameters: Vec<Json>,
    /// Whether it must be there, and its forms.
    pub(super) body: Option<(bool, Vec<Content>)>,
    pub(super) answers: Vec<Answer>,
    pub(super) errors: Vec<ErrorKind>,
}

fn reference(name: &str) -> Json {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn page(media_type: &'static str) -> Content {
    (media_type, json!({ "type": "string" }), json!("<!doctype html>…"))
}

fn ok(schema: &str, example: Json) -> Vec<Answer> {
    let contents = vec![("application/json", reference(schema), example)];
    vec![Answer { status: 200, description: "OK", contents, headers: &[] }]
}

fn about(id: &'static str, tag: &'static str, summary: &'static str, description: &'static str) -> Operation {
    let (parameters, answers, errors) = (Vec::new(), Vec::new(), Vec::new());
    Operation { id, tag, summary, description, parameters, body: None, answers, errors }
}

fn health(status: &str, state: &str) -> Json {
    json!({
        "status": status,
        "version": "0.1.0",
        "session": { "state": state, "expires_at": 1_798_099_200, "checked_at": 1_795_507_200 },
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

fn session() -> Json {
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

/// What a turn answers: whole or streamed.
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
    // As OpenAPI 3.2 has it: the schema is that of one event.
    let stream = json!({
        "type": "object",
        "description": "Server-sent events, of `data:` lines and comments alone. Each `data:` is a chunk, at last `[DONE]`. After an error within the stream its error object is the last event.",
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
        description: "The answer, or with `stream` its chunks as they come.",
        contents: vec![
            ("application/json", reference("ChatCompletion"), whole),
            ("text/event-stream", stream, json!(events)),
        ],
        headers: &[("x-conversation-id", "ConversationId")],
    }]
}

fn conversation_headers() -> Vec<Json> {
    let header = |name: &str, description: &str| {
        json!({ "name": name, "in": "header", "description": description, "schema": {
            "type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$",
        } })
    };
    vec![
        header("x-conversation-id", "The conversation to go on with; the field `conversation_id` goes first."),
        header("X-OpenWebUI-Chat-Id", "Open WebUI's own id of its chat."),
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
        errors: [&[K::InvalidJson], TURN, SITE].concat(),
        ..about(
            id,
            "Chat",
            summary,
            "The whole history goes along, as OpenAI's clients send it; the server finds the chat at the site that knows it and sends only what is new.",
        )
    }
}

/// A form with a file and a question.
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
            "thinking_budget": { "type": "integer", "description": "How many tokens the thinking may take." },
            "conversation_id": { "type": "string", "description": "The conversation to go on with." },
        },
    });
    let name = if field == "image" { "photo.jpg" } else { "holiday.mp4" };
    let example = json!({ field: name, "prompt": "What is to be seen here?", "stream": streams });
    Operation {
        parameters: conversation_headers(),
        body: Some((true, vec![("multipart/form-data", schema, example)])),
        answers: turn(),
        errors: [TURN, SITE].concat(),
        ..about(id, "Chat", summary, "The file streams through to the site's storage; the question follows it.")
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
        ..about(id, "Files", summary, "The same bytes are uploaded once while their link lives.")
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
                description: "The client has it already.",
                contents: Vec::new(),
                headers: &[("etag", "ETag")],
            },
        ],
        errors: vec![K::NotFound],
        ..about(id, "Server", summary, "")
    }
}

/// What an endpoint takes and gives; `path` tells apart those that stand at two.
pub(super) fn operation(endpoint: Endpoint, path: &str) -> Operation {
    match endpoint {
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
                            "version": "0.1.0",
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
            ..about("root", "Server", "What this server is", "Browsers get the console.")
        },
        Endpoint::Docs => server_page("docs", "This document as a page", "text/html"),
        Endpoint::Document => server_page("openapi", "This document", "application/json"),
        Endpoint::Asset => about("asset", "Server", "A page's own file", "No part of the API."),
        Endpoint::Health => Operation {
            answers: ok("Health", health("healthy", "valid")),
            ..about("health", "Server", "How it is", "Always 200 while the server serves. Asks the site nothing.")
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
                    description: "No chat could work; `session.state` tells why.",
                    contents: vec![("application/json", reference("Health"), health("unhealthy", "expired"))],
                    headers: &[],
                },
            ],
            ..about("ready", "Server", "Whether a chat could work", "")
        },
        Endpoint::Metrics => Operation {
            answers: vec![Answer {
                status: 200,
                description: "Counts and times.",
                contents: vec![(
                    "text/plain",
                    json!({ "type": "string" }),
                    json!(
                        "# TYPE qwen_edge_requests counter\nqwen_edge_requests_total{route=\"/health\",status=\"200\"} 1\n"
                    ),
                )],
                headers: &[],
            }],
            errors: vec![K::NotFound],
            ..about("metrics", "Server", "Metrics for Prometheus", "Of the box; the edge keeps none and answers 404.")
        },
        Endpoint::Models => Operation {
            answers: ok("ModelList", json!({ "object": "list", "data": [model()] })),
            errors: SITE.to_vec(),
            ..about("listModels", "Models", "The models of the account", "The site's live list, kept for ten minutes.")
        },
        Endpoint::Model => Operation {
            answers: ok("Model", model()),
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
                json!({ "name": "limit", "in": "query", "description": "How many; 0 means the default, more than 10000 count as 10000.", "schema": {
                    "type": "integer", "minimum": 0, "default": 100,
                } }),
                json!({ "name": "after", "in": "query", "description": "The last id of the page before.", "schema": {
                    "type": "string",
                } }),
                json!({ "name": "order", "in": "query", "description": "By the time of the upload.", "schema": {
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
        Endpoint::ForgetFile => Operation {
            answers: ok("DeletedFile", json!({ "id": file()["id"], "object": "file", "deleted": true })),
            errors: vec![K::NotFound, K::StoreFailed],
            ..about("deleteFile", "Files", "Forgets a file", "It stays in the site's storage until its link ends.")
        },
        Endpoint::StsToken => {
            let schema = json!({
                "type": "object",
                "required": ["filename", "filesize"],
                "properties": {
                    "filename": { "type": "string", "minLength": 1, "pattern": "\\S" },
                    "filesize": { "type": "integer", "minimum": 0, "description": "Bytes." },
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
                    "A credential of the site's storage",
                    "For programs that upload by themselves. Open to all with `PUBLIC_STS_TOKEN`.",
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
        Endpoint::Chat => Operation {
            answers: ok(
                "DeletedChat",
                json!({ "id": "6f1c", "object": "chat.deleted", "deleted": true, "success": true, "message": "The chat 6f1c is deleted." }),
            ),
            errors: [&[K::NotFound, K::StoreFailed, K::UpstreamRejected], SITE].concat(),
            ..about(
                "deleteChat",
                "Conversations",
                "Deletes one of them, here and at the site",
                "By `id` or `conversation_id`.",
            )
        },
        Endpoint::Session => Operation {
            answers: ok("Session", session()),
            ..about("getSession", "Administration", "The Qwen session, without its values", "")
        },
        Endpoint::ReplaceSession => {
            let schema = json!({
                "type": "object",
                "description": "One of the three.",
                "properties": {
                    "cookies": { "type": "string", "description": "The `Cookie` line of a signed-in browser." },
                    "token": { "type": "string", "description": "The token alone." },
                    "curl": { "type": "string", "description": "\"Copy as cURL\" of a request to the chat site." },
                },
            });
            let text = json!({ "type": "string", "description": "Any of the three, told apart by its look." });
            Operation {
                body: Some((
                    true,
                    vec![
                        ("application/json", schema, json!({ "cookies": "cna=…; token=…" })),
                        ("text/plain", text, json!("curl 'https://chat.qwen.ai/' -b 'cna=…; token=…'")),
                    ],
                )),
                answers: ok("Session", session()),
                errors: [
                    &[K::InvalidRequest, K::RequestTooLarge, K::Overloaded, K::UnsupportedEncoding, K::StoreFailed],
                    SITE,
                ]
                .concat(),
                ..about(
                    "putSession",
                    "Administration",
                    "A new session in the place of the old one",
                    "It is checked with the site first; what the site refuses changes nothing.",
                )
            }
        }
        Endpoint::ForgetSession => Operation {
            answers: ok("Session", session()),
            errors: vec![K::StoreFailed],
            ..about(
                "deleteSession",
                "Administration",
                "Forgets the stored session",
                "The configured one is used again.",
            )
        },
    }
}
