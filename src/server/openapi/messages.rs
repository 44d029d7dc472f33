//! The operations of Anthropic's Messages.

use serde_json::json;

use super::{
    errors::{FORMS, SITE, TURN},
    operations::{Answer, Operation, about, conversation_headers, ok, reference},
};
use crate::error::ErrorKind as K;

pub(super) fn create() -> Operation {
    let example = json!({
        "model": "qwen3-max",
        "max_tokens": 1024,
        "messages": [{ "role": "user", "content": "Why is the sky blue?" }],
    });
    let usage = json!({
        "input_tokens": 14,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 12,
    });
    let whole = json!({
        "id": "msg_6f1c0000000040008000000000000000",
        "type": "message",
        "role": "assistant",
        "model": "qwen3-max",
        "content": [{ "type": "text", "text": "Air scatters blue light most." }],
        "stop_reason": "end_turn",
        "stop_sequence": null,
        "usage": usage,
    });
    let event = concat!(
        "event: content_block_delta\n",
        "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Air\"}}\n\n"
    );
    let stream = json!({
        "type": "object",
        "description": "Server-sent events, each with an `event:` and a `data:` line. `ping` keeps the connection alive. If an error occurs within the stream, an `error` is the last event.",
        "required": ["event", "data"],
        "properties": {
            "event": { "type": "string" },
            "data": {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": { "anyOf": [reference("MessageEvent"), reference("MessagesErrorBody")] },
            },
        },
    });
    Operation {
        parameters: conversation_headers(),
        body: Some((true, vec![("application/json", reference("MessagesRequest"), example)])),
        answers: vec![Answer {
            status: 200,
            description: "The answer, or with `stream` its events as they arrive.",
            contents: vec![
                ("application/json", reference("MessagesAnswer"), whole),
                ("text/event-stream", stream, json!(event)),
            ],
            headers: &[("x-conversation-id", "ConversationId"), ("x-upstream", "Upstream")],
        }],
        errors: [&[K::InvalidJson], TURN, FORMS, SITE].concat(),
        ..about(
            "createMessage",
            "Chat",
            "Answer a conversation, as Anthropic's API does",
            "Clients send the whole history. The server finds the chat at the site that has this history, and sends only the new messages. Errors have Anthropic's form.",
        )
    }
}

pub(super) fn count_tokens() -> Operation {
    Operation {
        parameters: Vec::new(),
        answers: ok("TokenCount", json!({ "input_tokens": 14 })),
        errors: vec![K::InvalidJson, K::InvalidRequest, K::RequestTooLarge, K::Overloaded, K::UnsupportedEncoding],
        ..Operation {
            id: "countTokens",
            summary: "About how many tokens a request has",
            description: "An estimate. Needs no session, and sends no request to the site.",
            ..create()
        }
    }
}
