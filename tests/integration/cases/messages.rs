//! Anthropic's Messages.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};

use super::chat::wait_until_closed_by_us;
use crate::{
    fake_qwen::{Fake, encoded, steps},
    http::{EVENT_STREAM, Reply, with},
    server::{Case, KEY, Server, unique},
};

fn ask(prompt: &str) -> Value {
    json!({ "model": "qwen3-max", "max_tokens": 1024, "messages": [{ "role": "user", "content": prompt }] })
}

async fn send(server: &Server, body: &Value) -> Reply {
    server.post("/v1/messages", body).await
}

/// The data of each event; checks their names.
#[track_caller]
pub fn events(reply: &Reply) -> Vec<Value> {
    assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, Some(EVENT_STREAM)), "{reply:?}");
    let text = reply.text();
    let event = |event: &str| {
        let (name, data) = event.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["type"], name);
        data
    };
    text.split_terminator("\n\n").map(event).collect()
}

/// The message that the events of a stream add up to, as an SDK does it.
#[track_caller]
fn accumulated(events: &[Value]) -> Value {
    let mut message = Value::Null;
    let mut arguments = String::new();
    for event in events {
        let index = usize::try_from(event["index"].as_u64().unwrap_or(0)).unwrap();
        match event["type"].as_str().unwrap() {
            "message_start" => message = event["message"].clone(),
            "content_block_start" => message["content"].as_array_mut().unwrap().push(event["content_block"].clone()),
            "content_block_delta" => {
                let (block, delta) = (&mut message["content"][index], &event["delta"]);
                let field = match delta["type"].as_str().unwrap() {
                    "text_delta" => "text",
                    "thinking_delta" => "thinking",
                    "signature_delta" => "signature",
                    "input_json_delta" => {
                        arguments.push_str(delta["partial_json"].as_str().unwrap());
                        continue;
                    }
                    other => panic!("{other}"),
                };
                let text = format!("{}{}", block[field].as_str().unwrap(), delta[field].as_str().unwrap());
                block[field] = text.into();
            }
            "content_block_stop" => {
                if !arguments.is_empty() {
                    message["content"][index]["input"] = serde_json::from_str(&std::mem::take(&mut arguments)).unwrap();
                }
            }
            "message_delta" => {
                message = with(message, event["delta"].clone());
                message["usage"] = with(message["usage"].clone(), event["usage"].clone());
            }
            "message_stop" | "ping" => {}
            other => panic!("{other}: {event}"),
        }
    }
    message
}

/// The answer, whole or of a stream.
#[track_caller]
pub fn message(reply: &Reply) -> Value {
    assert_eq!(reply.status, 200, "{reply:?}");
    if reply.header("content-type") == Some(EVENT_STREAM) { accumulated(&events(reply)) } else { reply.json() }
}

fn text(message: &Value) -> String {
    let blocks = message["content"].as_array().unwrap();
    blocks.iter().filter_map(|block| block["text"].as_str()).collect()
}

#[track_caller]
fn assert_error(reply: &Reply, status: u16, kind: &str, code: &str) -> Value {
    let body = reply.json();
    let error = &body["error"];
    assert_eq!(
        (reply.status.as_u16(), body["type"].as_str(), error["type"].as_str(), error["code"].as_str()),
        (status, Some("error"), Some(kind), Some(code)),
        "{reply:?}"
    );
    assert!(!error["message"].as_str().unwrap().is_empty());
    assert_eq!(body["request_id"].as_str(), reply.header("request-id"));
    error.clone()
}

/// What the fake was asked: the chat and the text of each turn.
fn turns(fake: &Fake) -> Vec<(String, String)> {
    let completions =
        fake.requests().into_iter().filter(|request| request.path_and_query.starts_with("/api/v2/chat/completions?"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    completions
        .map(|request| request.json())
        .map(|body| (text(&body["chat_id"]), text(&body["messages"][0]["content"])))
        .collect()
}

pub async fn answers_have_the_anthropic_shape(case: Arc<Case>) {
    let server = case.server().await;
    for stream in [false, true] {
        let request = with(ask("[[fake say=Hello%20you think=Hm%20hm]]"), json!({ "stream": stream }));
        let reply = send(&server, &request).await;
        assert_eq!(reply.header("request-id"), reply.header("x-request-id"));
        assert!(reply.header("x-conversation-id").is_some());
        let message = message(&reply);
        assert!(message["id"].as_str().unwrap().starts_with("msg_"));
        assert_eq!(
            (&message["type"], &message["role"], &message["model"]),
            (&json!("message"), &json!("assistant"), &json!("qwen3-max"))
        );
        let [thinking, answer] = &message["content"].as_array().unwrap()[..] else { panic!("{message}") };
        assert_eq!((&thinking["type"], &answer["type"]), (&json!("thinking"), &json!("text")));
        assert!(thinking["thinking"].as_str().unwrap().contains("hm"));
        assert!(!thinking["signature"].as_str().unwrap().is_empty());
        assert_eq!(answer["text"], "Hello you");
        assert_eq!((&message["stop_reason"], &message["stop_sequence"]), (&json!("end_turn"), &Value::Null));
        let usage = &message["usage"];
        assert!(usage["input_tokens"].as_u64().unwrap() > 0 && usage["output_tokens"].as_u64().unwrap() > 0);
        assert_eq!((&usage["cache_creation_input_tokens"], &usage["cache_read_input_tokens"]), (&json!(0), &json!(0)));
    }
    let request = with(ask("[[fake say=Hello]]"), json!({ "stream": true, "thinking": { "type": "disabled" } }));
    let events = events(&send(&server, &request).await);
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let expected = [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(kinds, expected);
    assert!(events[0]["message"]["usage"]["input_tokens"].as_u64().unwrap() > 0, "an estimate");
}

pub async fn keys_queries_and_headers_of_its_clients_are_accepted(case: Arc<Case>) {
    let server = case.server().await;
    let body = ask("[[fake say=Hello]]").to_string();
    for (path, key) in [
        ("/v1/messages?beta=true", ("x-api-key", KEY)),
        ("/messages", ("x-api-key", KEY)),
        ("/v1/v1/messages", ("authorization", "Bearer sk-test-key")),
    ] {
        let headers =
            [key, ("anthropic-version", "2023-06-01"), ("anthropic-beta", "a-1,b-2"), ("anthropic-other", "x")];
        let reply = server.http.send("POST", path, &headers, body.clone()).await;
        assert_eq!(text(&message(&reply)), "Hello", "{path}");
    }
}

pub async fn answers_tell_why_they_ended(case: Arc<Case>) {
    let server = case.server().await;
    for (fields, expected, reason, sequence) in [
        (json!({ "stop_sequences": ["9", "4 "] }), "1 2 3 ", "stop_sequence", json!("4 ")),
        (json!({ "max_tokens": 3 }), "1 2 3 ", "max_tokens", Value::Null),
        (json!({ "max_tokens": null, "stop_sequences": ["never"] }), "1 2 3 4 5 ", "end_turn", Value::Null),
    ] {
        for stream in [true, false] {
            let marker = unique("cut");
            let n = if reason == "end_turn" { 5 } else { 500 };
            let request = with(ask(&format!("[[fake stream=count n={n} delay_ms=30 id={marker}]]")), fields.clone());
            let off = json!({ "stream": stream, "thinking": { "type": "disabled" } });
            let message = message(&send(&server, &with(request, off)).await);
            assert_eq!(text(&message), expected, "{fields}");
            assert_eq!((message["stop_reason"].as_str(), &message["stop_sequence"]), (Some(reason), &sequence));
            if reason != "end_turn" {
                wait_until_closed_by_us(&case, &marker, 1).await;
            }
        }
    }
    for stream in [true, false] {
        let request = with(
            ask("[[fake stream=count n=6 fail=error_amid code=data_inspection_failed]]"),
            json!({ "stream": stream, "thinking": { "type": "disabled" } }),
        );
        let message = message(&send(&server, &request).await);
        assert_eq!(message["stop_reason"], "refusal");
        assert!(!text(&message).is_empty());
    }
}

const WRITE: &str = "[TOOL CALL]\n{\"name\": \"Write\", \"arguments\": {\"file_path\": \"/tmp/hello.txt\", \"content\": \"hi\"}}\n[END TOOL CALL]";

/// Claude Code's requests: the line about billing changes, and a system message among the others changes its form.
pub async fn claude_code_runs_in_one_chat(case: Arc<Case>) {
    for stream in [true, false] {
        let fake = Fake::start();
        let server = case.start_with(&fake, &[]).await;
        let directive = format!(
            "[[fake {}]]",
            steps(&[&format!("I will.\n{WRITE}"), &format!("{WRITE}\n{}", WRITE.replace("hello", "other")), "Done."])
        );
        let cached = json!({ "type": "ephemeral" });
        let request = |turn: usize, messages: &[Value]| {
            let line =
                format!("x-anthropic-billing-header: cc_version=2.1.332.{turn}bc; cc_entrypoint=cli; cch=a{turn}f;");
            json!({
                "model": "qwen3-max",
                "messages": messages,
                "system": [
                    { "type": "text", "text": line },
                    { "type": "text", "text": "You are an agent.", "cache_control": cached },
                    { "type": "text", "text": "RULES: be careful.", "cache_control": cached },
                ],
                "tools": [
                    { "name": "DeferredToolPlaceholder", "description": "d", "input_schema": {}, "defer_loading": true },
                    { "name": "Write", "description": "Writes.", "input_schema": {
                        "type": "object",
                        "properties": { "file_path": { "type": "string" }, "content": { "type": "string" } },
                        "required": ["file_path", "content"],
                    } },
                ],
                "metadata": { "user_id": "{\"session_id\":\"s\"}" },
                "max_tokens": 32000,
                "thinking": { "type": "adaptive", "display": "updates" },
                "context_management": { "edits": [{ "type": "clear_thinking_20251015", "keep": "all" }] },
                "output_config": { "effort": "high" },
                "stream": stream,
            })
        };
        let mut messages = vec![
            json!({ "role": "user", "content": [
                { "type": "text", "text": "<system-reminder>be kind</system-reminder>" },
                { "type": "text", "text": format!("{directive} write a file") },
            ] }),
            json!({ "role": "system", "content": [{ "type": "text", "text": "ENVIRONMENT: linux.", "cache_control": cached }] }),
        ];
        for (turn, calls) in [1, 2, 0].into_iter().enumerate() {
            let reply = server
                .http
                .send("POST", "/v1/messages?beta=true", &Server::auth_headers(), request(turn, &messages).to_string())
                .await;
            let answer = message(&reply);
            let uses: Vec<&Value> =
                answer["content"].as_array().unwrap().iter().filter(|block| block["type"] == "tool_use").collect();
            assert_eq!(uses.len(), calls, "turn {turn}: {answer}");
            assert_eq!(answer["stop_reason"], if calls > 0 { "tool_use" } else { "end_turn" });
            let results: Vec<Value> = uses
                .iter()
                .map(|call| {
                    assert!(call["id"].as_str().unwrap().starts_with("toolu_"), "{call}");
                    assert_eq!((&call["name"], &call["input"]["content"]), (&json!("Write"), &json!("hi")));
                    json!({ "type": "tool_result", "tool_use_id": call["id"], "content": "written", "cache_control": cached })
                })
                .collect();
            if turn == 2 {
                assert_eq!(text(&answer), "Done.");
            }
            messages[1] = json!({ "role": "system", "content": "ENVIRONMENT: linux." });
            messages.push(json!({ "role": "assistant", "content": answer["content"] }));
            messages.push(json!({ "role": "user", "content": results }));
        }
        let turns = turns(&fake);
        assert_eq!((fake.chats(), turns.len()), (1, 3), "{turns:?}");
        let (first, rest) = turns.split_first().unwrap();
        for part in ["You are an agent.\nRULES: be careful.", "ENVIRONMENT: linux.", "be kind", "\"name\":\"Write\""] {
            assert!(first.1.contains(part), "{part}: {}", first.1);
        }
        assert!(!first.1.contains("billing"), "{}", first.1);
        for (number, (_, prompt)) in rest.iter().enumerate() {
            for part in ["RULES", "ENVIRONMENT", "be kind", "\"name\":\"Write\""] {
                assert!(!prompt.contains(part), "turn {number} says {part} again: {prompt}");
            }
            assert!(prompt.contains("[TOOL RESULT #1: Write]\nwritten\n"), "{prompt}");
        }
        assert!(rest[1].1.contains("[TOOL RESULT #2: Write]"), "{}", rest[1].1);
    }
}

pub async fn results_may_be_errors_pictures_or_followed_by_text(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let tools = json!({ "tools": [{ "name": "Write", "input_schema": { "type": "object" } }] });
    let prompt = format!("[[fake {}]]", steps(&[WRITE, "[[fake files=1]]"]));
    let mut messages = vec![json!({ "role": "user", "content": prompt })];
    let answer = message(&send(&server, &with(ask(""), with(tools.clone(), json!({ "messages": messages })))).await);
    let id = &answer["content"].as_array().unwrap().last().unwrap()["id"];
    let picture = BASE64.encode(std::fs::read("tests/files/jfif.jpg").unwrap());
    messages.push(json!({ "role": "assistant", "content": answer["content"] }));
    messages.push(json!({ "role": "user", "content": [
        { "type": "tool_result", "tool_use_id": id, "is_error": true, "content": [
            { "type": "text", "text": "no space" },
            { "type": "image", "source": { "type": "base64", "media_type": "image/jpeg", "data": picture } },
        ] },
        { "type": "text", "text": "try again" },
    ] }));
    let answer = message(&send(&server, &with(ask(""), with(tools, json!({ "messages": messages })))).await);
    assert!(text(&answer).starts_with("image "), "{answer}");
    let turns = turns(&fake);
    assert_eq!(fake.chats(), 1, "{turns:?}");
    let prompt = &turns[1].1;
    let (result, after) = prompt.split_once("[END TOOL RESULT]").unwrap();
    assert!(result.contains("[TOOL RESULT #1: Write, error]") && result.contains("no space"), "{prompt}");
    assert!(after.contains("try again"), "{prompt}");
}

pub async fn text_counts_and_not_its_shape(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let block = |text: &str| json!([{ "type": "text", "text": text, "cache_control": { "type": "ephemeral" } }]);
    let first = json!([{ "role": "user", "content": block("[[fake say=One think=Hm]] first") }]);
    let answer =
        message(&send(&server, &with(ask(""), json!({ "messages": first, "system": block("Be brief.") }))).await);
    for (system, question, reply) in [
        (json!("Be brief."), json!("[[fake say=One think=Hm]] first"), json!("One")),
        (block("Be brief."), block("[[fake say=One think=Hm]] first"), answer["content"].clone()),
    ] {
        let messages = json!([
            { "role": "user", "content": question },
            { "role": "assistant", "content": reply },
            { "role": "user", "content": "second" },
        ]);
        let reply = send(&server, &with(ask(""), json!({ "messages": messages, "system": system }))).await;
        assert!(text(&message(&reply)).ends_with("second"), "{reply:?}");
    }
    let turns = turns(&fake);
    assert_eq!(fake.chats(), 1, "{turns:?}");
    assert_eq!((turns[1].1.as_str(), turns[2].1.as_str()), ("second", "second"));
    // The same conversation goes on in the other dialect.
    let messages = json!([
        { "role": "system", "content": "Be brief." },
        { "role": "user", "content": "[[fake say=One think=Hm]] first" },
        { "role": "assistant", "content": "One" },
        { "role": "user", "content": "third" },
    ]);
    assert_eq!(server.chat(&json!({ "model": "qwen3-max", "messages": messages })).await.status, 200);
    assert_eq!(fake.chats(), 1);
}

pub async fn pictures_and_documents_are_attached(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[("ALLOW_PRIVATE_URLS", "true")]).await;
    let picture = std::fs::read("tests/files/jfif.jpg").unwrap();
    fake.serve_page("photo.jpg", crate::fake_qwen::Page::new("image/jpeg", picture.clone()));
    let data = BASE64.encode(&picture);
    for source in [
        json!({ "type": "base64", "media_type": "image/jpeg", "data": data }),
        json!({ "type": "url", "url": fake.web_url("photo.jpg") }),
        json!({ "type": "url", "url": format!("data:image/jpeg;base64,{data}") }),
    ] {
        let content = json!([{ "type": "image", "source": source }, { "type": "text", "text": "[[fake files=1]]" }]);
        let request = with(ask(""), json!({ "messages": [{ "role": "user", "content": content }] }));
        let answer = text(&message(&send(&server, &request).await));
        assert!(answer.starts_with("image ") && answer.contains(&picture.len().to_string()), "{answer}");
    }
    let content = json!([
        { "type": "document", "title": "Notes", "source": { "type": "text", "media_type": "text/plain", "data": "alpha beta" } },
        { "type": "text", "text": "what is it?" },
    ]);
    let request = with(ask(""), json!({ "messages": [{ "role": "user", "content": content }] }));
    assert_eq!(send(&server, &request).await.status, 200);
    assert!(turns(&fake).last().unwrap().1.contains("Notes\nalpha beta\nwhat is it?"));
    for (source, param) in [
        (json!({ "type": "base64", "media_type": "image/png", "data": "!!" }), "messages[0].content[0]"),
        (json!({ "type": "url" }), "messages[0].content[0]"),
        (json!({ "type": "base64", "data": 5 }), "messages[0].content[0].source.data"),
    ] {
        let content = json!([{ "type": "image", "source": source }]);
        let request = with(ask(""), json!({ "messages": [{ "role": "user", "content": content }] }));
        let error = assert_error(&send(&server, &request).await, 400, "invalid_request_error", "invalid_request");
        assert_eq!(error["param"], param);
    }
}

pub async fn structured_output_and_forced_tools_are_enforced(case: Arc<Case>) {
    let server = case.server().await;
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"] });
    let format = json!({ "type": "json_schema", "schema": schema });
    let say = |text: &str| ask(&format!("[[fake say={}]]", encoded(text)));
    for stream in [true, false] {
        for field in [json!({ "output_config": { "format": format } }), json!({ "output_format": format })] {
            let request = with(with(say("Sure: ```json\n{\"n\": 5}\n```"), field), json!({ "stream": stream }));
            let answer = text(&message(&send(&server, &request).await));
            assert_eq!(serde_json::from_str::<Value>(&answer).unwrap(), json!({ "n": 5 }), "{answer}");
        }
        let tool = json!({ "tools": [{ "name": "count", "input_schema": schema }], "tool_choice": { "type": "tool", "name": "count" } });
        let request = with(with(say("{\"n\": 5}"), tool.clone()), json!({ "stream": stream }));
        let answer = message(&send(&server, &request).await);
        let call = answer["content"].as_array().unwrap().last().unwrap();
        assert_eq!((&call["name"], &call["input"]), (&json!("count"), &json!({ "n": 5 })));
        let request = with(with(say("I would rather not."), tool), json!({ "stream": stream }));
        assert_error(&send(&server, &request).await, 502, "api_error", "tool_choice_unsatisfied");
    }
    let request = with(say("no json"), json!({ "output_config": { "format": format } }));
    assert_error(&send(&server, &request).await, 502, "api_error", "invalid_structured_output");
}

pub async fn errors_have_the_anthropic_shape(case: Arc<Case>) {
    let server = case.server().await;
    let body = ask("hi").to_string();
    let post = async |path: &str, headers: &[(&str, &str)], body: &str| {
        server.http.send("POST", path, headers, body.to_owned()).await
    };
    for path in ["/v1/messages", "/v1/messages/count_tokens"] {
        let reply = post(path, &[], &body).await;
        assert_error(&reply, 401, "authentication_error", "missing_api_key");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
        let reply = post(path, &[("x-api-key", "sk-wrong")], &body).await;
        assert_error(&reply, 403, "permission_error", "invalid_api_key");
        let reply = post(path, &Server::auth_headers(), "{").await;
        assert_error(&reply, 400, "invalid_request_error", "invalid_json");
        let reply = post(path, &Server::auth_headers(), r#"{"messages":[{"role":"robot"}]}"#).await;
        let error = assert_error(&reply, 400, "invalid_request_error", "invalid_request");
        assert_eq!(error["param"], "messages[0].role");
        let reply = post(path, &Server::auth_headers(), &"x".repeat(33 << 20)).await;
        assert_error(&reply, 413, "request_too_large", "request_too_large");
        let reply = server.http.send("GET", path, &[], "").await;
        assert_error(&reply, 405, "invalid_request_error", "method_not_allowed");
        assert_eq!(reply.header("allow"), Some("POST, OPTIONS"));
    }
    for (fail, status, kind, code) in [
        ("model_not_found", 404, "not_found_error", "model_not_found"),
        ("rate_limited_hours", 429, "rate_limit_error", "quota_exceeded"),
        ("data_inspection", 400, "invalid_request_error", "content_filter"),
        ("http_500", 502, "api_error", "upstream_error"),
    ] {
        for stream in [true, false] {
            let request = with(ask(&format!("[[fake fail=recorded name={fail}]]")), json!({ "stream": stream }));
            assert_error(&send(&server, &request).await, status, kind, code);
        }
    }
    let request = with(
        ask("[[fake stream=count n=6 fail=error_amid code=rate_limited]]"),
        json!({ "stream": true, "thinking": { "type": "disabled" } }),
    );
    let events = events(&send(&server, &request).await);
    let (last, before) = events.split_last().unwrap();
    assert_eq!((&last["type"], &last["error"]["type"]), (&json!("error"), &json!("rate_limit_error")), "{last}");
    assert_eq!(last["error"]["code"], "rate_limit_exceeded");
    assert!(before.len() > 2 && before.iter().all(|event| event["type"] != "message_stop"));
}

pub async fn tokens_are_counted_without_a_session(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[("QWEN_COOKIES", "")]).await;
    let count = async |fields: Value| {
        let reply = server.post("/v1/messages/count_tokens?beta=true", &with(ask("Hello there"), fields)).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let body = reply.json();
        assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
        body["input_tokens"].as_u64().unwrap()
    };
    let short = count(json!({})).await;
    let system = count(json!({ "system": "You are a helpful assistant for everything." })).await;
    let tools =
        json!({ "tools": [{ "name": "f", "description": "It does it.", "input_schema": { "type": "object" } }] });
    let with_tools = count(tools).await;
    assert!(short > 0 && system > short && with_tools > short, "{short} {system} {with_tools}");
    let asked: Vec<String> = fake.requests().iter().map(|request| request.path_and_query.clone()).collect();
    assert!(asked.iter().all(|path| path.starts_with("/api/models")), "{asked:?}");
    let reply = send(&server, &ask("hi")).await;
    assert_error(&reply, 401, "authentication_error", "qwen_session_missing");
    assert_eq!(reply.header("x-should-retry"), Some("false"));
}

pub async fn models_have_the_anthropic_shape_for_its_clients(case: Arc<Case>) {
    let server = case.server().await;
    let get = async |path: &str| server.http.send("GET", path, &[("anthropic-version", "2023-06-01")], "").await;
    let reply = get("/v1/models?limit=1000").await;
    assert!(reply.header("request-id").is_some());
    let list = reply.json();
    let models = list["data"].as_array().unwrap();
    assert!(models.len() > 5 && list["has_more"] == false, "{list}");
    for model in models {
        assert_eq!((&model["type"], &model["lifecycle"]), (&json!("model"), &json!("active")));
        assert!(model["id"].is_string() && model["display_name"].is_string(), "{model}");
        assert!(model["created_at"].as_str().unwrap().ends_with('Z'), "{model}");
    }
    assert_eq!((&list["first_id"], &list["last_id"]), (&models[0]["id"], &models.last().unwrap()["id"]));
    let page = get("/v1/models?limit=2").await.json();
    assert_eq!((&page["has_more"], page["data"].as_array().unwrap()), (&json!(true), &models[..2].to_vec()));
    let next = get(&format!("/v1/models?limit=2&after_id={}", page["last_id"].as_str().unwrap())).await.json();
    assert_eq!(next["data"].as_array().unwrap(), &models[2..4].to_vec());
    assert_error(&get("/v1/models?limit=no").await, 400, "invalid_request_error", "invalid_request");
    let one = get("/v1/models/qwen3").await.json();
    assert_eq!((&one["type"], &one["id"]), (&json!("model"), &json!("qwen3-max")));
    assert_error(&get("/v1/models/no-such-model").await, 404, "not_found_error", "model_not_found");
    assert_eq!(server.get("/v1/models").await.json()["object"], "list");
}

pub async fn a_silent_stream_sends_pings(case: Arc<Case>) {
    let server = case.start(&[("HEARTBEAT_SECONDS", "1"), ("FIRST_BYTE_SECONDS", "1")]).await;
    for silence in ["gap_ms=4000", "first_ms=4000"] {
        let request = with(ask(&format!("[[fake {silence} say=late]]")), json!({ "stream": true }));
        let reply = send(&server, &request).await;
        let events = events(&reply);
        assert_eq!(events[0]["type"], "message_start", "{silence}");
        assert!(events.iter().any(|event| event["type"] == "ping"), "{silence}: {events:?}");
        assert_eq!(events.iter().filter(|event| event["type"] == "message_start").count(), 1, "{silence}");
        assert_eq!(text(&accumulated(&events)), "late");
    }
    // A failure behind a heartbeat is an event.
    let prompt = "[[fake first_ms=4000 fail=recorded name=rate_limited_hours]]";
    let events = events(&send(&server, &with(ask(prompt), json!({ "stream": true }))).await);
    assert_eq!(events.last().unwrap()["error"]["code"], "quota_exceeded", "{events:?}");
}
