//! Responses: their form, the order of their events, and which requests are rejected.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    agent::{Answer, call_text, says, turns_with, weather, weather_text},
    response_reader::{Response, ask, events, flat, post, request, result, send},
};
use crate::{
    fake_qwen::{Fake, encoded, steps},
    http::{Reply, with},
    server::{Case, SHORT_IDLE, Server, unique},
};

pub async fn responses_have_the_openai_shape(case: Arc<Case>) {
    let server = case.server().await;
    for stream in [false, true] {
        let fields = json!({ "instructions": "Be brief.", "temperature": 0.5, "metadata": { "a": "b" }, "user": "u", "truncation": "auto", "prompt_cache_key": "k", "safety_identifier": "s", "max_output_tokens": 900, "parallel_tool_calls": false, "store": false, "text": { "verbosity": "low" }, "reasoning": { "effort": "high" } });
        let prompt = "[[fake piece=4 think=Hm%20hm. say=Hello%20there.]]";
        let response = ask(&server, &request(prompt, fields.clone()), stream).await;
        response.assert_text("Hello there.");
        assert!(response.reasoning().ends_with("m."), "{response:?}");
        assert_eq!(response.items(), ["reasoning", "message"]);
        for (name, value) in fields.as_object().unwrap() {
            assert_eq!(&response.body[name], value, "{name}: what was asked for is repeated");
        }
        assert_eq!(response.body["model"], "qwen3-max");
        let usage = &response.body["usage"];
        assert!(usage["output_tokens_details"]["reasoning_tokens"].as_u64().unwrap() > 0, "{usage}");
        let response = ask(&server, &request("[[fake say=Hello.]]", json!({})), stream).await;
        for (name, value) in [
            ("instructions", json!(null)),
            ("tools", json!([])),
            ("tool_choice", json!("auto")),
            ("parallel_tool_calls", json!(true)),
            ("previous_response_id", json!(null)),
            ("store", json!(true)),
            ("background", json!(false)),
            ("metadata", json!({})),
            ("truncation", json!("disabled")),
            ("text", json!({ "format": { "type": "text" } })),
        ] {
            assert_eq!(response.body[name], value, "{name}");
        }
    }
    // What a message may be: without its type, with parts, with instructions among them.
    let marker = unique("input");
    let items = json!([
        { "role": "developer", "content": "Be kind." },
        { "role": "user", "content": [{ "type": "input_text", "text": "one" }, { "type": "input_text", "text": "two" }] },
        { "type": "message", "role": "assistant", "id": "msg_1", "status": "completed", "content": [{ "type": "output_text", "text": "three", "annotations": [] }] },
        { "type": "message", "role": "user", "content": format!("{marker} {}", says("Fine.")) },
    ]);
    ask(&server, &request(items, json!({ "instructions": "Be brief." })), true).await.assert_text("Fine.");
    let text = &turns_with(&case.fake, &marker)[0].text;
    let places: Vec<_> =
        ["Be brief.", "Be kind.", "one", "two", "three", &marker].iter().map(|part| text.find(part)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{text}");
}

const TEXT: [&str; 6] = [
    "output_item.added",
    "content_part.added",
    "output_text.delta",
    "output_text.done",
    "content_part.done",
    "output_item.done",
];
const REASONING: [&str; 6] = [
    "output_item.added",
    "reasoning_summary_part.added",
    "reasoning_summary_text.delta",
    "reasoning_summary_text.done",
    "reasoning_summary_part.done",
    "output_item.done",
];
const CALL: [&str; 4] =
    ["output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"];
const CUSTOM: [&str; 4] =
    ["output_item.added", "custom_tool_call_input.delta", "custom_tool_call_input.done", "output_item.done"];

pub async fn events_come_in_their_order(case: Arc<Case>) {
    let server = case.server().await;
    let tools = json!([flat(&weather()), patch(), agents()]);
    let calls = format!("{}\n{}", weather_text("Oslo"), weather_text("Rome"));
    let custom = call_text("apply_patch", &json!({ "input": "*** Begin\n\"x\"" }));
    let spaced = call_text("multi_agent_v1__close_agent", &json!({ "target": "a" }));
    let text = |before: &str, text: &str| format!("{before} piece=7 say={}", encoded(text));
    let long = text("", &"word ".repeat(60));
    // Annotations come before the end of the text.
    let annotated = [&TEXT[..3], &["output_text.annotation.added"], &TEXT[3..]].concat();
    for (name, keys, fields, kinds, status) in [
        ("text", text("", "Hello there."), json!({}), TEXT.to_vec(), "completed"),
        ("thinking", text("think=Hm%20hm.", "Hello."), json!({}), [REASONING, TEXT].concat(), "completed"),
        ("call", text("", &weather_text("Oslo")), json!({ "tools": tools }), CALL.to_vec(), "completed"),
        ("calls", text("", &calls), json!({ "tools": tools }), [CALL, CALL].concat(), "completed"),
        (
            "everything",
            text("think=Hm.", &format!("I look.\n{calls}")),
            json!({ "tools": tools }),
            [&REASONING[..], &TEXT, &CALL, &CALL].concat(),
            "completed",
        ),
        ("custom", text("", &custom), json!({ "tools": tools }), CUSTOM.to_vec(), "completed"),
        ("namespace", text("", &spaced), json!({ "tools": tools }), CALL.to_vec(), "completed"),
        (
            "native",
            "call=get_weather args=%7B%22city%22%3A%22Oslo%22%7D".to_owned(),
            json!({ "tools": tools }),
            CALL.to_vec(),
            "completed",
        ),
        ("length", long.clone(), json!({ "max_output_tokens": 10 }), TEXT.to_vec(), "max_output_tokens"),
        (
            "inspection",
            "stream=count n=6 fail=error_amid code=data_inspection_failed".to_owned(),
            json!({}),
            TEXT.to_vec(),
            "content_filter",
        ),
        ("search", "stream=web_search".to_owned(), json!({}), [&REASONING[..], &annotated].concat(), "completed"),
    ] {
        let thinks = keys.contains("think=") || keys.contains("web_search");
        let effort = if thinks { "high" } else { "none" };
        let fields = with(json!({ "reasoning": { "effort": effort } }), fields);
        let request = request(format!("[[fake {keys}]]"), fields);
        let streamed = ask(&server, &request, true).await;
        assert_eq!(streamed.kinds, kinds, "{name}");
        let whole = ask(&server, &request, false).await;
        for response in [&streamed, &whole] {
            let reason = response.body["incomplete_details"]["reason"].as_str();
            assert_eq!(reason.unwrap_or(response.body["status"].as_str().unwrap()), status, "{name}: {response:?}");
        }
        // Both say the same, in other ids.
        assert_eq!(streamed.items(), whole.items(), "{name}");
        for (one, other) in streamed.output().iter().zip(whole.output()) {
            for field in ["type", "role", "status", "content", "summary", "name", "namespace", "arguments", "input"] {
                let is_cut = field == "content" && ["max_output_tokens", "content_filter"].contains(&status);
                assert!(is_cut || one.get(field) == other.get(field), "{name}: {one} {other}");
            }
        }
        let last = streamed.output().last().unwrap();
        match name {
            "custom" => {
                assert_eq!((&last["name"], &last["input"]), (&json!("apply_patch"), &json!("*** Begin\n\"x\"")))
            }
            "namespace" => {
                assert_eq!(
                    (&last["name"], &last["namespace"]),
                    (&json!("close_agent"), &json!("multi_agent_v1")),
                    "{last}"
                );
            }
            "search" => {
                let part = &last["content"][0];
                let annotation = &part["annotations"][0];
                assert_eq!(annotation["type"], "url_citation");
                let at = |field: &str| annotation[field].as_u64().unwrap() as usize;
                let marked: String = part["text"].as_str().unwrap().chars().take(at("end_index")).collect();
                assert!(at("start_index") < at("end_index") && marked.ends_with("]]"), "{part}");
            }
            _ => {}
        }
    }
}

/// Thinking after text stays what it is, and does not tear the text apart.
pub async fn thinking_after_text_is_an_item_of_its_own(case: Arc<Case>) {
    let server = case.server().await;
    for stream in [false, true] {
        let request = request("[[fake stream=thinking_after_answer]]", json!({}));
        let response = ask(&server, &request, stream).await;
        assert_eq!(response.of_kind("message").len(), 1, "{response:?}");
        assert!(!response.reasoning().is_empty() && !response.text().is_empty());
    }
}

pub async fn errors_amid_a_stream_are_failed_responses(case: Arc<Case>) {
    let server = case.start(&[SHORT_IDLE]).await;
    for (keys, code) in [
        ("fail=error_amid", "upstream_error"),
        ("fail=error_amid code=quota_limit", "quota_exceeded"),
        ("fail=error_amid code=rate_limited", "rate_limit_exceeded"),
        ("cut=1500", "upstream_truncated"),
        ("cut_clean=1500", "upstream_truncated"),
        ("stall=4", "upstream_timeout"),
    ] {
        let request = request(
            format!("[[fake stream=count n=50 {keys}]]"),
            json!({ "stream": true, "reasoning": { "effort": "none" } }),
        );
        let response = Response::read(&post(&server, &request).await);
        let error = &response.body["error"];
        assert_eq!((&response.body["status"], &error["code"]), (&json!("failed"), &json!(code)), "{keys}");
        // The sentence is the one of chat completions.
        let chat = with(
            crate::http::chat(&format!("[[fake stream=count n=50 {keys}]]")),
            json!({ "stream": true, "enable_thinking": false }),
        );
        let chunks = crate::http::events(&server.chat(&chat).await.text());
        let told: Value = serde_json::from_str(chunks.last().unwrap()).unwrap();
        assert_eq!(error["message"], told["error"]["message"], "{keys}");
        assert!(response.body["output"].as_array().unwrap().iter().all(|item| item["status"] != "in_progress"));
        let id = response.id().to_owned();
        // Nothing is gone on from.
        let next = self::request("x", json!({ "previous_response_id": id }));
        post(&server, &next).await.error(404, "previous_response_not_found");
    }
    // Before the first word it is a status, with OpenAI's object.
    for (keys, status, code) in [
        ("fail=error_created", 502, "upstream_error"),
        ("fail=error_created code=data_inspection_failed", 400, "content_filter"),
        ("fail=empty", 502, "upstream_empty"),
    ] {
        for stream in [false, true] {
            let request = request(format!("[[fake {keys}]]"), json!({ "stream": stream }));
            post(&server, &request).await.error(status, code);
        }
    }
}

pub async fn heartbeats_are_events(case: Arc<Case>) {
    let server = case.start(&[("HEARTBEAT_SECONDS", "1"), ("FIRST_BYTE_SECONDS", "1")]).await;
    let no_thinking = json!({ "stream": true, "reasoning": { "effort": "none" } });
    // Between two words, before the first one, and while a call is held back.
    let held = encoded(&format!("I look. {}", weather_text("a city with a long name")));
    for (keys, fields) in [
        ("gap_ms=4500 say=Hello%20there.".to_owned(), json!({})),
        ("first_ms=3500 say=Hello.".to_owned(), json!({})),
        (format!("piece=4 delay_ms=150 say={held}"), json!({ "tools": [flat(&weather())] })),
    ] {
        let request = with(request(format!("[[fake {keys}]]"), no_thinking.clone()), fields);
        let response = Response::read(&post(&server, &request).await);
        assert_eq!(response.body["status"], "completed");
        assert!(response.heartbeats >= 1, "{keys}: {response:?}");
    }
    // Across a silent repeat the numbers go on, and nothing begins twice.
    let marker = unique("repeat");
    let keys = format!("[[fake first_ms=2500 fail=empty times=1 id={marker} say=healed]]");
    let response = Response::read(&post(&server, &request(keys, no_thinking.clone())).await);
    response.assert_text("healed");
    assert_eq!(case.fake.requests_containing(&marker).len(), 2);
    // An error after them is the last event.
    for (fail, code) in [
        ("error_created", "upstream_error"),
        ("error_created code=quota_limit", "quota_exceeded"),
        ("recorded name=rate_limited_hours", "quota_exceeded"),
        ("recorded name=http_429", "rate_limit_exceeded"),
    ] {
        let keys = format!("[[fake first_ms=2500 fail={fail}]]");
        let response = Response::read(&post(&server, &request(keys, no_thinking.clone())).await);
        assert_eq!((response.body["error"]["code"].as_str(), response.items().len()), (Some(code), 0), "{fail}");
    }
}

pub async fn kinds_without_a_meaning_are_ignored(case: Arc<Case>) {
    let server = case.server().await;
    let tools = json!([
        { "type": "web_search_preview" }, { "type": "local_shell" }, { "type": "shell" }, { "type": "apply_patch" },
        { "type": "mcp", "server_label": "x", "server_url": "https://example.com" }, { "type": "file_search", "vector_store_ids": ["a"] },
        { "type": "code_interpreter", "container": { "type": "auto" } }, { "type": "image_generation" },
        { "type": "computer_use_preview", "display_width": 1, "display_height": 1, "environment": "browser" },
        { "type": "tool_search", "execution": "client", "description": "d", "parameters": {} }, { "type": "of_next_year", "name": "n" },
        flat(&weather()),
    ]);
    let marker = unique("ignored");
    let items = json!([
        { "type": "reasoning", "id": "rs_1", "summary": [{ "type": "summary_text", "text": "secret thought" }], "content": null, "encrypted_content": "ZW5j" },
        { "type": "local_shell_call", "id": "lsh_1", "call_id": "call_1", "status": "completed", "action": { "type": "exec", "command": ["ls"], "env": {} } },
        { "type": "web_search_call", "id": "ws_1", "status": "completed", "action": { "type": "search", "query": "q" } },
        { "type": "tool_search_call", "id": "ts_1" }, { "type": "tool_search_output", "tools": [] }, { "type": "additional_tools", "tools": [] },
        { "type": "compaction", "encrypted_content": "x" }, { "type": "of_next_year", "content": { "a": 1 }, "output": 5, "input": [] },
        { "type": "item_reference", "id": "msg_of_nobody" },
        { "role": "user", "content": format!("{marker} {}", says(&weather_text("Oslo"))) },
    ]);
    let fields = json!({ "tools": tools, "include": ["reasoning.encrypted_content", "of.next.year"], "stream_options": { "include_obfuscation": true }, "client_metadata": { "a": {} }, "service_tier": "priority", "max_tool_calls": 3, "top_logprobs": 2, "of_next_year": true });
    for stream in [false, true] {
        let response = ask(&server, &request(items.clone(), fields.clone()), stream).await;
        assert_eq!(response.called(), [("get_weather", json!({ "city": "Oslo" }))]);
    }
    let turn = &turns_with(&case.fake, &marker)[0];
    assert!(!turn.text.contains("secret thought") && !turn.text.contains("of_next_year"), "{}", turn.text);
    assert_eq!(turn.text.lines().filter(|line| line.starts_with("{\"type\":\"function\"")).count(), 1);
}

pub async fn unusable_requests_name_their_field(case: Arc<Case>) {
    let server = case.server().await;
    let message = |content: Value| json!([{ "role": "user", "content": "x" }, { "role": "user", "content": content }]);
    for (fields, param) in [
        (json!({ "input": null }), "input"),
        (json!({ "input": 5 }), "input"),
        (json!({ "input": true }), "input"),
        (json!({ "input": [5] }), "input[0]"),
        (json!({ "input": [{ "role": "nobody", "content": "x" }] }), "input[0].role"),
        (json!({ "input": message(json!(5)) }), "input[1].content"),
        (json!({ "input": message(json!([{ "type": "input_text", "text": 5 }])) }), "input[1].content[0].text"),
        (json!({ "input": message(json!([{ "type": "hologram" }])) }), "input[1].content[0].type"),
        (
            json!({ "input": [{ "type": "function_call", "call_id": "c", "name": "f", "arguments": {} }] }),
            "input[0].arguments",
        ),
        (json!({ "background": true }), "background"),
        (json!({ "background": "yes" }), "background"),
        (json!({ "model": 5 }), "model"),
        (json!({ "instructions": ["x"] }), "instructions"),
        (json!({ "previous_response_id": 5 }), "previous_response_id"),
        (json!({ "stream": "true" }), "stream"),
        (json!({ "store": 1 }), "store"),
        (json!({ "max_output_tokens": 1.5 }), "max_output_tokens"),
        (json!({ "max_output_tokens": "5" }), "max_output_tokens"),
        (json!({ "temperature": "1" }), "temperature"),
        (json!({ "metadata": "x" }), "metadata"),
        (json!({ "include": "x" }), "include"),
        (json!({ "reasoning": 5 }), "reasoning"),
        (json!({ "text": "x" }), "text"),
        (json!({ "text": { "format": { "type": "xml" } } }), "text.format.type"),
        (json!({ "text": { "format": { "type": "json_schema", "name": "n" } } }), "text.format.schema"),
        (json!({ "text": { "format": { "type": "json_schema", "name": "n", "schema": 5 } } }), "text.format.schema"),
        (json!({ "tools": {} }), "tools"),
        (json!({ "tools": [{ "type": "function" }] }), "tools[0].name"),
        (json!({ "tools": [{ "type": "function", "name": "f", "parameters": [] }] }), "tools[0].parameters"),
        (json!({ "tool_choice": "required" }), "tool_choice"),
        (json!({ "model": "x".repeat(200_000) }), "model"),
    ] {
        for stream in [false, true] {
            let request = with(request("x", json!({ "stream": stream })), fields.clone());
            let error = post(&server, &request).await.error(400, "invalid_request");
            assert_eq!(error["param"], param, "{fields:.300}: {error}");
            assert!(error["message"].as_str().unwrap().len() < 500, "{error:.1000}");
        }
    }
    let error = post(&server, &json!({ "model": "qwen3-max" })).await.error(400, "invalid_request");
    assert_eq!(error["param"], "input");
    send(&server, "POST", "resp_1/cancel").await.error(400, "invalid_request");
    let unknown = format!("resp_{}", "0".repeat(32));
    for (method, path) in
        [("GET", unknown.clone()), ("DELETE", unknown.clone()), ("GET", format!("{unknown}/input_items"))]
    {
        send(&server, method, &path).await.error(404, "not_found");
    }
    for id in [unknown.as_str(), "resp_", "x", "'; DROP TABLE responses; --"] {
        for stream in [false, true] {
            let request = request("x", json!({ "previous_response_id": id, "stream": stream }));
            let error = post(&server, &request).await.error(404, "previous_response_not_found");
            assert_eq!(error["param"], "previous_response_id");
        }
    }
    // The key is asked for on each of the routes.
    for (method, path) in
        [("POST", ""), ("GET", "/x"), ("DELETE", "/x"), ("GET", "/x/input_items"), ("POST", "/x/cancel")]
    {
        let reply = server.http.send(method, &format!("/v1/responses{path}"), &[], "{}").await;
        reply.error(401, "missing_api_key");
    }
}

pub async fn hostile_bodies_are_rejected(case: Arc<Case>) {
    let server = case.server().await;
    let sent = async |body: String| -> Reply {
        server.http.send("POST", "/v1/responses", &Server::auth_headers(), body).await
    };
    let item = r#"{"role":"user","content":"x"}"#;
    let items = |count: usize, item: &str| format!(r#"{{"input":[{}]}}"#, vec![item; count].join(","));
    let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    for (what, body, param) in [
        ("many items", items(10_001, item), Some("input")),
        ("many that mean nothing", items(10_001, r#"{"type":"reasoning"}"#), Some("input")),
        (
            "many calls",
            items(10_001, r#"{"type":"function_call","call_id":"c","name":"f","arguments":"{}"}"#),
            Some("input"),
        ),
        ("a deep item", format!(r#"{{"input":[{{"type":"x","action":{}}}]}}"#, nested(100_000)), None),
        (
            "a deep schema",
            format!(
                r#"{{"input":"x","text":{{"format":{{"type":"json_schema","name":"n","schema":{}}}}}}}"#,
                nested(100_000)
            ),
            None,
        ),
        ("deep lists", format!(r#"{{"input":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000)), None),
        ("no object", "[]".to_owned(), None),
        ("no JSON", r#"{"input":"#.to_owned(), None),
        ("no body", String::new(), None),
    ] {
        let reply = sent(body).await;
        assert_eq!(reply.status, 400, "{what}: {reply:?}");
        let error = reply.json()["error"].clone();
        assert!(error["code"].as_str().unwrap().starts_with("invalid_"), "{what}: {error}");
        assert!(reply.body.len() < 1_000, "{what}: the error repeats the request");
        let is_named = param.is_none_or(|param| error["param"].as_str().is_some_and(|named| named.starts_with(param)));
        assert!(is_named, "{what}: {error}");
    }
    // What means nothing may be deep.
    let deep = with(request(says("Fine."), json!({})), json!({ "metadata": {} })).to_string();
    let deep = deep.replace("\"metadata\":{}", &format!("\"metadata\":{}", nested(100_000)));
    Response::read(&sent(deep).await).assert_text("Fine.");
    // As many as are possible.
    let many =
        items(9_999, item).replace("]}", &format!(",{}]}}", json!({ "role": "user", "content": says("Fine.") })));
    Response::read(&sent(many).await).assert_text("Fine.");
    // A large body is answered, or is too large: it breaks nothing.
    let large = |bytes: usize| {
        let items = json!([
            { "role": "user", "content": "a ".repeat(bytes / 2) },
            { "role": "assistant", "content": "I see." },
            { "role": "user", "content": says("Fine.") },
        ]);
        request(items, json!({})).to_string()
    };
    Response::read(&sent(large(2 << 20)).await).assert_text("Fine.");
    let reply = sent(large(16 << 20)).await;
    assert!([200, 413].contains(&reply.status.as_u16()), "{reply:?}");
    sent(large(65 << 20)).await.error(413, "request_too_large");
    assert_eq!(server.get("/ready").await.status, 200);
}

/// What is repeated of a request stands on the one line of each event, whatever blanks the request has.
pub async fn repeated_fields_do_not_break_lines(case: Arc<Case>) {
    let server = case.server().await;
    let schema = "{\n\t\"type\":\r\n \"object\", \"title\": \"a\u{2028}b\u{2029}c\u{85}d\" }";
    for stream in [false, true] {
        let body = format!(
            "{{ \"model\": \"qwen3-max\",\n\"stream\": {stream}, \"input\":\n\"{}\", \"instructions\": \"one\\ntwo\u{2028}three\", \"metadata\":\n{{\n\"k\u{2029}\"\n:\r\"v\u{85}\"}}, \"tools\": [\n{{\"type\": \"function\",\n\"name\": \"get_weather\",\n\"parameters\": {schema}}}\n] }}",
            says("Hello.")
        );
        let reply = server.http.send("POST", "/v1/responses", &Server::auth_headers(), body).await;
        let response = Response::read(&reply);
        response.assert_text("Hello.");
        assert_eq!(response.body["instructions"], "one\ntwo\u{2028}three");
        assert_eq!(response.body["metadata"], json!({ "k\u{2029}": "v\u{85}" }));
        assert_eq!(response.body["tools"][0]["parameters"]["title"], "a\u{2028}b\u{2029}c\u{85}d");
    }
    // And texts, of the answer and of the thinking.
    let text = "a\u{2028}b\u{2029}c\u{85}d\u{b}e\n\ndata: x\r\n\r\nevent: y\n";
    let prompt = format!("[[fake piece=3 think={} say={}]]", encoded(text), encoded(text));
    let response = ask(&server, &request(prompt, json!({})), true).await;
    assert_eq!(response.text().trim(), text.trim());
    // What is very long is not repeated in each event, and breaks nothing.
    let long = "i ".repeat(200_000);
    let request = request(says("Hello."), json!({ "instructions": long, "stream": true }));
    let reply = post(&server, &request).await;
    Response::read(&reply).assert_text("Hello.");
    assert!(reply.body.len() < 2 << 20);
}

/// The grammar of a patch, as Codex declares it.
fn patch() -> Value {
    json!({ "type": "custom", "name": "apply_patch", "description": "Edits files.", "format": { "type": "grammar", "syntax": "lark", "definition": "start: begin_patch" } })
}

/// Tools in a namespace, as Codex declares them.
fn agents() -> Value {
    let tool = |name: &str| json!({ "type": "function", "name": name, "description": format!("Runs {name}."), "strict": false, "parameters": { "type": "object", "properties": { "target": { "type": "string" } }, "required": ["target"] } });
    json!({ "type": "namespace", "name": "multi_agent_v1", "description": "Sub-agents.", "tools": [tool("close_agent"), tool("resume_agent")] })
}

/// Custom tools and those of namespaces, there and back again.
pub async fn tools_of_each_kind_come_back_as_they_were_declared(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let raw = "*** Begin Patch\n\"a\" \\ b\n*** End Patch";
    for stream in [false, true] {
        let custom = call_text("apply_patch", &json!({ "input": raw }));
        let spaced = call_text("multi_agent_v1__close_agent", &json!({ "target": "a" }));
        let marker = unique("kinds");
        let prompt = format!("{marker} [[fake {}]]", steps(&[&format!("{custom}\n{spaced}"), "Done."]));
        let fields = json!({ "tools": [patch(), agents()], "store": false });
        let mut input = vec![json!({ "role": "user", "content": prompt })];
        let response = ask(&server, &request(input.clone(), fields.clone()), stream).await;
        let calls: Vec<&Value> = response.output().iter().filter(|item| item["type"] != "reasoning").collect();
        let [called, closed] = calls[..] else { panic!("{response:?}") };
        assert_eq!((&called["type"], &closed["type"]), (&json!("custom_tool_call"), &json!("function_call")));
        assert_eq!((&called["name"], &called["input"]), (&json!("apply_patch"), &json!(raw)));
        assert_eq!((&closed["name"], &closed["namespace"]), (&json!("close_agent"), &json!("multi_agent_v1")));
        let text = &turns_with(&fake, &marker)[0].text;
        assert!(text.contains("start: begin_patch") && text.contains("\"multi_agent_v1__resume_agent\""), "{text}");
        input.extend(response.output().iter().cloned());
        input.push(json!({ "type": "custom_tool_call_output", "call_id": called["call_id"], "output": "Success." }));
        input.push(json!({ "type": "function_call_output", "call_id": closed["call_id"], "output": [{ "type": "input_text", "text": "closed" }] }));
        ask(&server, &request(input, fields), stream).await.assert_text("Done.");
        let turn = super::agent::turns(&fake).pop().unwrap();
        let expected = "[TOOL RESULT #1: apply_patch]\nSuccess.\n[END TOOL RESULT]\n[TOOL RESULT #2: multi_agent_v1__close_agent]\nclosed\n[END TOOL RESULT]\n";
        assert!(turn.text.starts_with(expected), "{}", turn.text);
    }
    assert_eq!(fake.chats(), 2);
    // Choices in this dialect's form.
    for choice in [
        json!("required"),
        json!({ "type": "function", "name": "get_weather" }),
        json!({ "type": "allowed_tools", "mode": "required", "tools": [{ "type": "function", "name": "get_weather" }] }),
    ] {
        let fields = json!({ "tools": [flat(&weather()), patch()], "tool_choice": choice });
        let response = ask(&server, &request(says(&weather_text("Oslo")), fields.clone()), true).await;
        assert_eq!(response.called(), [("get_weather", json!({ "city": "Oslo" }))]);
        let marker = unique("choice");
        let request = request(
            format!("[[fake {}]] {marker}", steps(&["No.", "No."])),
            with(fields, json!({ "reasoning": { "effort": "none" } })),
        );
        post(&server, &request).await.error(502, "tool_choice_unsatisfied");
    }
}

pub async fn structured_output_is_asked_for_by_text_format(case: Arc<Case>) {
    let server = case.server().await;
    let good = r#"{"name": "Ada", "age": 36}"#;
    let schema = json!({ "type": "object", "properties": { "name": { "type": "string" }, "age": { "type": "integer" } }, "required": ["name", "age"], "additionalProperties": false });
    let format = json!({ "format": { "type": "json_schema", "name": "person", "strict": true, "schema": schema } });
    for (text, stream) in [(&format, false), (&format, true), (&json!({ "format": { "type": "json_object" } }), true)] {
        let marker = unique("format");
        let prompt =
            format!("[[fake {}]] {marker}", steps(&["I cannot say.", &format!("Sure:\n```json\n{good}\n```")]));
        ask(&server, &request(prompt, json!({ "text": text })), stream).await.assert_text(good);
        assert_eq!(turns_with(&case.fake, &marker).len(), 2);
    }
    let wrong = format!("[[fake {}]]", steps(&[r#"{"name": "Ada", "age": "old"}"#]));
    for stream in [false, true] {
        let request = request(wrong.clone(), json!({ "text": format, "stream": stream }));
        let reply = post(&server, &request).await;
        if stream {
            let response = Response::read(&reply);
            assert_eq!(response.body["error"]["code"], "invalid_structured_output");
        } else {
            reply.error(502, "invalid_structured_output");
        }
    }
    // Inspection is a refusal, which is no JSON; before any text it is a status.
    for stream in [false, true] {
        let prompt = format!("[[fake piece=5 fail=error_amid code=data_inspection_failed say={}]]", encoded(good));
        let response = ask(&server, &request(prompt, json!({ "text": format })), stream).await;
        assert_eq!(response.body["incomplete_details"]["reason"], "content_filter");
        let content = response.of_kind("message")[0]["content"].as_array().unwrap().clone();
        let refusal = content.last().unwrap();
        assert!(refusal["type"] == "refusal" && !refusal["refusal"].as_str().unwrap().is_empty(), "{content:?}");
        // A text that is empty would be read as JSON.
        assert!(content.iter().all(|part| part["text"] != ""), "{content:?}");
    }
}

/// Cursor sends such bodies.
pub async fn a_responses_body_to_chat_completions_is_answered_with_chunks(case: Arc<Case>) {
    let server = case.server().await;
    for stream in [false, true] {
        let fields = json!({ "tools": [flat(&weather())], "stream": stream, "store": false, "include": ["reasoning.encrypted_content"], "reasoning": { "effort": "none" } });
        let marker = unique("cursor");
        let prompt = format!("{marker} [[fake {}]]", steps(&[&weather_text("Oslo"), "Fine."]));
        let mut input = vec![json!({ "role": "user", "content": [{ "type": "input_text", "text": prompt }] })];
        let answer = Answer::read(&server.chat(&request(input.clone(), fields.clone())).await);
        answer.assert_weather("Oslo");
        let id = answer.id(0);
        input.push(json!({ "type": "function_call", "call_id": id, "name": "get_weather", "arguments": "{\"city\":\"Oslo\"}" }));
        input.push(result(id, "rain"));
        Answer::read(&server.chat(&request(input, fields)).await).assert_text("Fine.");
        let turn = super::agent::turns(&case.fake).pop().unwrap();
        assert!(!turn.text.contains(&marker) || turn.text.starts_with("[TOOL RESULT"), "{}", turn.text);
    }
}

/// An estimate of a request's size, without the site.
pub async fn input_tokens_are_estimated(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let count = async |request: &Value| {
        let reply = server.post("/v1/responses/input_tokens", request).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["object"]),
            (200, &json!("response.input_tokens")),
            "{reply:?}"
        );
        reply.json()["input_tokens"].as_u64().unwrap()
    };
    let short = count(&request("Hello there, how are you?", json!({}))).await;
    let long = count(&request("Hello there, how are you? ".repeat(100), json!({}))).await;
    assert!((4..40).contains(&short) && (500..1_200).contains(&long), "{short} {long}");
    server.post("/v1/responses/input_tokens", &json!({})).await.error(400, "invalid_request");
    assert!(fake.requests().iter().all(|request| !request.path_and_query.contains("chat")));
    assert!(events("event: a\ndata: {\"type\":\"a\"}\n\n").len() == 1);
}
