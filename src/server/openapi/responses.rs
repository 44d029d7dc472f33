//! The operations of the Responses API.

use serde_json::{Value as Json, json};

use super::{
    errors::{FORMS, SITE, TURN},
    operations::{Answer, Operation, about, conversation_headers, ok, reference},
};
use crate::error::ErrorKind as K;

const TAG: &str = "Responses";

/// A response. Its fields are those of OpenAI's reference.
fn response() -> Json {
    json!({
        "id": "resp_6f1c0000000040008000000000000000",
        "object": "response",
        "created_at": 1_795_507_200,
        "completed_at": 1_795_507_200,
        "status": "completed",
        "error": null,
        "incomplete_details": null,
        "model": "qwen3",
        "output": [{
            "id": "msg_6f1c000000004000800000000000000000",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [{
                "type": "output_text", "annotations": [], "logprobs": [], "text": "Air scatters blue light most.",
            }],
        }],
        "usage": {
            "input_tokens": 14,
            "input_tokens_details": { "cached_tokens": 0, "cache_write_tokens": 0 },
            "output_tokens": 12,
            "output_tokens_details": { "reasoning_tokens": 5 },
            "total_tokens": 26,
        },
        "instructions": null,
        "store": true,
        "tools": [],
        "previous_response_id": null,
    })
}

/// The schema of a response, in OpenAPI's form.
pub(super) fn response_schema() -> Json {
    json!({
        "type": "object",
        "description": "A response, with all fields of OpenAI's reference.",
        "required": ["id", "object", "created_at", "status", "model", "output"],
        "properties": {
            "id": { "type": "string", "description": "`resp_…`" },
            "object": { "type": "string", "const": "response" },
            "created_at": { "type": "integer", "description": "Unix time in seconds." },
            "status": { "type": "string", "enum": ["in_progress", "completed", "incomplete", "failed"] },
            "model": { "type": "string", "description": "As the client named it." },
            "output": {
                "type": "array",
                "description": "Items: `reasoning` with a summary, `message`, `function_call` and `custom_tool_call`.",
                "items": { "type": "object" },
            },
            "usage": { "type": ["object", "null"], "description": "Token counts." },
            "error": { "type": ["object", "null"], "description": "`code` and `message`, when the status is `failed`." },
        },
    })
}

fn request() -> Json {
    json!({ "model": "qwen3", "input": "Why is the sky blue?", "stream": false })
}

fn answer() -> Vec<Answer> {
    let events = concat!(
        "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{}}\n\n",
        "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":4,",
        "\"item_id\":\"msg_1\",\"output_index\":0,\"content_index\":0,\"delta\":\"Air\",\"logprobs\":[]}\n\n"
    );
    // The schema describes one event, as in OpenAPI 3.2.
    let stream = json!({
        "type": "object",
        "description": "Server-sent events in OpenAI's order; the last one is `response.completed`, `response.incomplete` or `response.failed`, with the whole response. While there is nothing to say, `response.in_progress` comes again.",
        "required": ["event", "data"],
        "properties": {
            "event": { "type": "string", "description": "The same as `type` in the data." },
            "data": {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": {
                    "type": "object",
                    "required": ["type", "sequence_number"],
                    "properties": { "type": { "type": "string" }, "sequence_number": { "type": "integer" } },
                },
            },
        },
    });
    vec![Answer {
        status: 200,
        description: "The response, or with `stream` its events as they arrive.",
        contents: vec![
            ("application/json", reference("Response"), response()),
            ("text/event-stream", stream, json!(events)),
        ],
        headers: &[("x-conversation-id", "ConversationId"), ("x-upstream", "Upstream")],
    }]
}

pub(super) fn create() -> Operation {
    Operation {
        parameters: conversation_headers(),
        body: Some((true, vec![("application/json", reference("ResponseRequest"), request())])),
        answers: answer(),
        errors: [&[K::InvalidJson, K::PreviousResponseNotFound, K::StoreFailed], TURN, FORMS, SITE].concat(),
        ..about(
            "createResponse",
            TAG,
            "Answer",
            "OpenAI's Responses API. Clients send all items again, or name the response that they go on from with `previous_response_id`. With `store` (which is the default) input and output are kept by this server, encrypted when `SESSION_KEY` is set, and deleted after `CONVERSATION_TTL_DAYS`; `STORE_RESPONSES=false` keeps no texts.",
        )
    }
}

pub(super) fn input_tokens() -> Operation {
    Operation {
        body: Some((true, vec![("application/json", reference("ResponseRequest"), request())])),
        answers: ok("InputTokens", json!({ "object": "response.input_tokens", "input_tokens": 14 })),
        errors: vec![K::InvalidJson, K::InvalidRequest, K::RequestTooLarge, K::Overloaded, K::UnsupportedEncoding],
        ..about("countInputTokens", TAG, "Estimate the tokens of an input", "The site is not asked.")
    }
}

pub(super) fn retrieve() -> Operation {
    Operation {
        answers: ok("Response", response()),
        errors: vec![K::NotFound, K::StoreFailed],
        ..about("retrieveResponse", TAG, "A response that is kept", "")
    }
}

pub(super) fn delete() -> Operation {
    Operation {
        answers: ok("DeletedResponse", json!({ "id": "resp_1", "object": "response.deleted", "deleted": true })),
        errors: vec![K::NotFound, K::StoreFailed],
        ..about("deleteResponse", TAG, "Forget a response", "Its chat at the site stays.")
    }
}

pub(super) fn input_items() -> Operation {
    let item = json!({ "id": "item_1", "type": "message", "role": "user", "content": [] });
    Operation {
        parameters: vec![
            json!({ "name": "limit", "in": "query", "schema": { "type": "integer", "minimum": 1, "maximum": 100, "default": 20 } }),
            json!({ "name": "order", "in": "query", "schema": { "type": "string", "enum": ["asc", "desc"], "default": "desc" } }),
            json!({ "name": "after", "in": "query", "description": "The id of the item before the first one.", "schema": { "type": "string" } }),
        ],
        answers: ok(
            "ResponseItemList",
            json!({ "object": "list", "data": [item], "first_id": "item_1", "last_id": "item_1", "has_more": false }),
        ),
        errors: vec![K::InvalidRequest, K::NotFound, K::StoreFailed],
        ..about(
            "listInputItems",
            TAG,
            "The items of a response's input",
            "Newest first, unless `order` says otherwise.",
        )
    }
}

pub(super) fn cancel() -> Operation {
    Operation {
        answers: Vec::new(),
        errors: vec![K::InvalidRequest],
        ..about("cancelResponse", TAG, "Not possible", "Nothing runs in the background here.")
    }
}
