//! Refusals in the words of OpenAI, Model Studio, OpenRouter and the gateways before them.

use std::time::Duration;

use serde_json::{Value, json};

use super::KEY;
use crate::fake_qwen::body::{Reply, Step};
use crate::fake_qwen::directive::Directive;

const STUDIO_INSPECTION: &str =
    "<400> InternalError.Algo.DataInspectionFailed: Input text data may contain inappropriate content.";

fn openai(status: u16, message: &str, kind: &str, param: Option<&str>, code: Option<&str>) -> Reply {
    let error = json!({ "message": message, "type": kind, "param": param, "code": code });
    Reply::json(status, &json!({ "error": error }))
}

/// Model Studio's compatible mode, which adds the id of the request.
fn studio(status: u16, code: &str, message: &str) -> Reply {
    let error = json!({ "message": message, "type": code, "param": null, "code": code });
    Reply::json(status, &json!({ "error": error, "request_id": "5d0c1a52-0000-9f00-8f00-second000000" }))
}

fn html(status: u16) -> Reply {
    Reply::chunked(
        status,
        "text/html; charset=utf-8",
        format!("<html><head><title>{status}</title></head><body>nginx</body></html>"),
    )
}

pub(super) fn not_found(path: &str) -> Reply {
    openai(404, &format!("Invalid URL ({path})"), "invalid_request_error", None, None)
}

/// What a request is told that is not as it should be.
pub(super) fn of_violation(problem: &str) -> Reply {
    if problem.starts_with("authorization") {
        return openai(401, "Incorrect API key provided.", "invalid_request_error", None, Some("invalid_api_key"));
    }
    openai(400, &format!("Invalid request: {problem}"), "invalid_request_error", None, Some("invalid_value"))
}

pub(super) fn named(name: &str, directive: &Directive) -> Reply {
    let wrong = "invalid_request_error";
    let reply = match name {
        "bad_field" => {
            openai(400, "Unsupported value: 'temperature'", wrong, Some("temperature"), Some("unsupported_value"))
        }
        "context_length" => openai(
            400,
            "This model's maximum context length is 128000 tokens. However, your messages resulted in 150000 tokens.",
            wrong,
            Some("messages"),
            Some("context_length_exceeded"),
        ),
        "studio_length" => studio(
            400,
            "invalid_parameter_error",
            "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 129024]",
        ),
        "content_filter" => openai(400, "The response was filtered.", "", Some("prompt"), Some("content_filter")),
        "studio_inspection" => studio(400, "data_inspection_failed", STUDIO_INSPECTION),
        "studio_arrearage" => {
            studio(400, "Arrearage", "Access denied, please make sure your account is in good standing.")
        }
        "studio_throttled" => {
            studio(429, "Throttling.RateQuota", "Requests rate limit exceeded, please try again later.")
        }
        "studio_key" => studio(401, "invalid_api_key", "Incorrect API key provided."),
        "key" => openai(401, &format!("Incorrect API key provided: {KEY}."), wrong, None, Some("invalid_api_key")),
        "forbidden" => openai(403, "You are not allowed to sample from this model", wrong, None, None),
        "forbidden_html" => html(403),
        "no_credit" => Reply::json(402, &json!({ "error": { "message": "Insufficient credits", "code": 402 } })),
        "no_model" => openai(
            404,
            "The model `no-such-model` does not exist or you do not have access to it.",
            wrong,
            None,
            Some("model_not_found"),
        ),
        "no_route" => html(404),
        "too_large" => openai(413, "The request is too large.", wrong, None, None),
        "too_large_html" => html(413),
        "unprocessable" => Reply::json(422, &json!({ "detail": [{ "loc": ["body", "top_k"], "msg": "extra" }] })),
        "rate" => openai(429, "Rate limit reached for requests", "requests", None, Some("rate_limit_exceeded")),
        "quota" => openai(
            429,
            "You exceeded your current quota, please check your plan and billing details.",
            "insufficient_quota",
            None,
            Some("insufficient_quota"),
        ),
        "internal" => openai(500, "The server had an error.", "server_error", None, None),
        "gateway" => html(502),
        "unavailable" => openai(503, "The engine is overloaded.", "server_error", None, None),
        "overloaded" => openai(529, "Overloaded", "overloaded_error", None, None),
        "ok_error" => Reply::json(200, &json!({ "error": { "message": "Provider returned error", "code": 500 } })),
        "ok_rate" => Reply::json(200, &json!({ "error": { "message": "Rate limited", "code": 429 } })),
        "ok_html" => html(200),
        "ok_empty" => Reply::json(200, &json!({})),
        "ok_no_choices" => Reply::json(200, &json!({ "id": "x", "object": "chat.completion", "choices": [] })),
        "ok_no_bytes" => Reply::chunked(200, "text/event-stream", ""),
        "ok_only_done" => Reply::chunked(200, "text/event-stream", "data: [DONE]\n\n"),
        // Its body has no end.
        "flood" => {
            let mut reply = openai(500, "", "", None, None);
            reply.steps = vec![Step::Repeat("<p>word</p>".repeat(1_000).into(), Duration::ZERO)];
            reply
        }
        "redirect" => Reply::chunked(302, "text/plain", "").header("location", "/elsewhere"),
        // The key in all places of an error.
        "secret" => Reply::json(
            400,
            &json!({ "error": { "message": format!("no such plan for Bearer {KEY}"), "type": KEY, "param": KEY, "code": KEY }, KEY: KEY }),
        ),
        "secret_words" => Reply::chunked(500, "text/plain", format!("panic: Authorization: Bearer {KEY}")),
        other => panic!("no refusal {other}"),
    };
    match directive.get("retry_after") {
        Some(seconds) => reply.header("retry-after", seconds),
        None => reply,
    }
}

/// The data of an error amid a stream.
pub(super) fn in_stream(form: &str, chunk: &Value) -> Value {
    let mut chunk = chunk.clone();
    match form {
        "openai" => {
            json!({ "error": { "message": "The server had an error.", "type": "server_error", "param": null, "code": null } })
        }
        "studio" => {
            json!({ "error": { "code": "Throttling", "message": "Requests throttled.", "type": "Throttling" }, "request_id": "5d0c" })
        }
        "rate" => {
            json!({ "error": { "message": "Rate limit reached", "type": "requests", "param": null, "code": "rate_limit_exceeded" } })
        }
        "quota" => {
            json!({ "error": { "message": "You exceeded your current quota", "type": "insufficient_quota", "param": null, "code": "insufficient_quota" } })
        }
        "model" => {
            json!({ "error": { "message": "no such model", "type": "invalid_request_error", "param": null, "code": "model_not_found" } })
        }
        "filter" => {
            let error = json!({ "code": "data_inspection_failed", "message": STUDIO_INSPECTION, "type": "data_inspection_failed" });
            json!({ "error": error, "request_id": "5d0c" })
        }
        "choices" => {
            chunk["error"] = json!({ "message": "Provider disconnected", "code": "server_error" });
            chunk["choices"] = json!([{ "index": 0, "delta": { "content": "" }, "finish_reason": "error" }]);
            chunk
        }
        "openrouter" => {
            chunk["error"] =
                json!({ "message": "Upstream rate limited", "code": 429, "metadata": { "provider_name": "x" } });
            chunk["choices"] = json!([{ "index": 0, "delta": { "role": "assistant", "content": "" }, "finish_reason": "error", "native_finish_reason": "error" }]);
            chunk
        }
        "text" => json!({ "error": "CUDA out of memory" }),
        "secret" => json!({ "error": { "message": format!("bad key {KEY}"), "type": KEY, "code": KEY } }),
        other => panic!("no error {other}"),
    }
}
