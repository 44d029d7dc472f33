use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    fake_qwen::Fake,
    http::{chat, with},
    server::{Case, Server, unique},
};

/// The only upstream turn with this marker.
fn turn(case: &Case, marker: &str) -> Value {
    let requests = case.fake.requests_containing(marker);
    assert_eq!(requests.len(), 1, "{marker}");
    requests[0].json()
}

pub async fn upstream_requests_look_like_a_browsers(case: Arc<Case>) {
    let token = Fake::token(&unique("shape"), 86_400);
    let cookies = format!("cna=a/b+c; token={token}; isg=x==; tfstk=\"q\"");
    let server = case
        .start(&[
            ("QWEN_COOKIES", &cookies),
            ("QWEN_WEB_VERSION", "9.9.9"),
            ("QWEN_USER_AGENT", "Mine/1.0"),
            (
                "QWEN_HEADERS",
                r#"{"bx-v":"2.5.37","Accept-Language":"zh-CN","accept-encoding":"br","Content-Length":"5","host":"x"}"#,
            ),
        ])
        .await;
    let marker = unique("shape");
    assert_eq!(server.chat(&chat(&marker)).await.status, 200);
    let request = case.fake.requests_containing(&marker)[0].clone();
    let body = request.json();
    let chat_id = body["chat_id"].as_str().unwrap().to_owned();
    assert_eq!(
        (request.method.as_str(), request.path_and_query.as_str()),
        ("POST", format!("/api/v2/chat/completions?chat_id={chat_id}").as_str())
    );
    for (name, value) in [
        ("cookie", cookies.as_str()),
        ("content-type", "application/json"),
        ("accept", "application/json"),
        ("user-agent", "Mine/1.0"),
        ("source", "web"),
        ("version", "9.9.9"),
        ("origin", &case.fake.url()),
        ("referer", &format!("{}/c/{chat_id}", case.fake.url())),
        ("x-accel-buffering", "no"),
        ("sec-fetch-dest", "empty"),
        ("sec-fetch-mode", "cors"),
        ("sec-fetch-site", "same-origin"),
        ("bx-v", "2.5.37"),
        ("accept-language", "zh-CN"),
    ] {
        assert_eq!(request.header(name), Some(value), "{name}");
    }
    assert_eq!(request.header("x-request-id").unwrap().len(), 36);
    assert!(request.header("timezone").unwrap().ends_with("GMT+0000"));
    assert_ne!(request.header("accept-encoding"), Some("br"), "br cannot be decoded");
    assert!(request.header("authorization").is_none(), "a browser sends no authorization");
    assert!(
        request.header("bx-ua").is_none() && request.header("bx-umidtoken").is_none(),
        "a fingerprint header is made up"
    );
    for (path, value) in [
        ("/stream", json!(true)),
        ("/version", json!("2.1")),
        ("/incremental_output", json!(true)),
        ("/chatId", json!(chat_id)),
        ("/parent_id", Value::Null),
        ("/chat_mode", json!("normal")),
        ("/model", json!("qwen3-max")),
        ("/messages/0/role", json!("user")),
        ("/messages/0/content", json!(marker)),
        ("/messages/0/user_action", json!("chat")),
        ("/messages/0/files", json!([])),
        ("/messages/0/chat_type", json!("t2t")),
        ("/messages/0/models", json!(["qwen3-max"])),
        ("/messages/0/feature_config/output_schema", json!("phase")),
    ] {
        assert_eq!(body.pointer(path), Some(&value), "{path}");
    }
    assert_eq!(body["messages"].as_array().unwrap().len(), 1);
    assert_eq!(body["messages"][0]["fid"].as_str().unwrap().len(), 36);

    let bearer = case.start(&[("QWEN_COOKIES", ""), ("QWEN_AUTH_TOKEN", &token), ("QWEN_BEARER", "true")]).await;
    let marker = unique("bearer");
    assert_eq!(bearer.chat(&chat(&marker)).await.status, 200);
    let request = case.fake.requests_containing(&marker)[0].clone();
    assert_eq!(request.header("cookie"), Some(format!("token={token}").as_str()));
    assert_eq!(request.header("authorization"), Some(format!("Bearer {token}").as_str()));
}

async fn features(case: &Case, server: &Server, model: &str, fields: Value) -> Value {
    let marker = unique("features");
    let reply = server.chat(&with(with(chat(&marker), json!({ "model": model })), fields)).await;
    assert_eq!((reply.status.as_u16(), reply.json()["model"].as_str()), (200, Some(model)), "{reply:?}");
    turn(case, &marker)
}

pub async fn thinking_search_and_model_are_sent_upstream(case: Arc<Case>) {
    let server = case.server().await;
    assert_eq!(server.get("/v1/models").await.status, 200);
    for (model, fields, upstream, thinking, mode, budget, search) in [
        ("qwen3-max", json!({}), "qwen3-max", true, "Thinking", None, false),
        ("qwen3", json!({"enable_thinking": false}), "qwen3-max", false, "Fast", None, false),
        (
            "QWEN3",
            json!({"enable_thinking": true, "thinking_budget": 20}),
            "qwen3-max",
            true,
            "Thinking",
            Some(20),
            false,
        ),
        ("qwen3-max-fast", json!({"enable_thinking": true}), "qwen3-max", false, "Fast", None, false),
        ("qwen3-max-thinking-search", json!({"enable_thinking": false}), "qwen3-max", true, "Thinking", None, true),
        ("gpt-4-turbo-search", json!({"reasoning_effort": "none"}), "qwen3-max", false, "Fast", None, true),
        ("qwen3.7-plus", json!({"thinking": {"type": "auto"}}), "qwen3.7-plus", true, "Auto", None, false),
        ("qwen3.7-max", json!({"reasoning": {"max_tokens": 99}}), "qwen3.7-max", true, "Thinking", Some(99), false),
        (
            "qwen3.7-max",
            json!({"extra_body": {"chat_template_kwargs": {"enable_thinking": false}}}),
            "qwen3.7-max",
            false,
            "Fast",
            None,
            false,
        ),
        ("qwen3.8-max", json!({"enable_thinking": false}), "qwen3.8-max", true, "Thinking", None, false),
        ("qwen3.5-omni-plus", json!({"enable_thinking": true}), "qwen3.5-omni-plus", false, "Fast", None, false),
        ("qwen3-max", json!({"web_search_options": {}}), "qwen3-max", true, "Thinking", None, true),
    ] {
        let sent = features(&case, &server, model, fields.clone()).await;
        let config = &sent["messages"][0]["feature_config"];
        let actual = (
            sent["model"].as_str(),
            config["thinking_enabled"].as_bool(),
            config["thinking_mode"].as_str(),
            config["thinking_budget"].as_u64(),
            config["auto_search"].as_bool(),
        );
        assert_eq!(actual, (Some(upstream), Some(thinking), Some(mode), budget, Some(search)), "{model} {fields}");
        assert_eq!(config["auto_thinking"].as_bool(), Some(mode == "Auto"));
        assert_eq!(config.get("thinking_format").is_some(), thinking);
    }
    // An unknown model name is sent upstream unchanged, and the upstream's error is returned.
    server.chat(&with(chat("hi"), json!({"model": "somebody-new-thinking"}))).await.error(404, "model_not_found");
    assert!(
        case.fake
            .requests_containing("\"somebody-new-thinking\"")
            .iter()
            .any(|request| request.path_and_query.contains("completions"))
    );
}

pub async fn a_history_is_rendered_into_one_prompt(case: Arc<Case>) {
    let server = case.server().await;
    let marker = unique("prompt");
    let messages = json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "First"}, {"type": "text", "text": "question"}]},
        {"role": "assistant", "content": "An answer", "reasoning_content": "not said again"},
        {"role": "user", "content": marker},
    ]);
    assert_eq!(server.chat(&json!({ "model": "qwen3-max", "messages": messages })).await.status, 200);
    let content = turn(&case, &marker)["messages"][0]["content"].as_str().unwrap().to_owned();
    assert_eq!(
        content,
        format!("System: Be brief.\n\nUser: First\nquestion\n\nAssistant: An answer\n\nUser: {marker}")
    );
}

pub async fn each_turn_is_sent_once(case: Arc<Case>) {
    let server = case.server().await;
    for stream in [false, true] {
        let marker = unique("once");
        assert_eq!(server.chat(&with(chat(&marker), json!({ "stream": stream }))).await.status, 200);
        turn(&case, &marker);
    }
}

pub async fn model_aliases_are_configurable(case: Arc<Case>) {
    let server = case.start(&[("MODEL_ALIASES", r#"{"Mine":"qwen3.7-plus","qwen3":"qwen3-coder-plus"}"#)]).await;
    for (name, upstream) in
        [("mine", "qwen3.7-plus"), ("qwen3", "qwen3-coder-plus"), ("mine-fast", "qwen3.7-plus"), ("qwen", "qwen3-max")]
    {
        assert_eq!(features(&case, &server, name, json!({})).await["model"], upstream, "{name}");
    }
}

pub async fn other_vendors_names_mean_the_default_model(case: Arc<Case>) {
    let aliases = r#"{"claude-opus-4-1":"qwen3.7-max"}"#;
    let server = case.start(&[("DEFAULT_MODEL", "qwen3.7-plus"), ("MODEL_ALIASES", aliases)]).await;
    assert_eq!(server.get("/v1/models").await.status, 200);
    for (name, upstream, mode) in [
        ("claude-sonnet-4-5", "qwen3.7-plus", "Thinking"),
        ("claude-3-5-haiku-latest", "qwen3.7-plus", "Fast"),
        ("GPT-5-Mini", "qwen3.7-plus", "Fast"),
        ("o4-mini-thinking", "qwen3.7-plus", "Thinking"),
        ("claude-opus-4-1", "qwen3.7-max", "Thinking"),
        // A built-in alias whose model the account does not list.
        ("qwen-max", "qwen3.7-plus", "Thinking"),
        ("gpt-4", "qwen-plus-2025-09-11", "Thinking"),
    ] {
        let turn = features(&case, &server, name, json!({})).await;
        let sent_mode = &turn["messages"][0]["feature_config"]["thinking_mode"];
        assert_eq!((&turn["model"], sent_mode), (&json!(upstream), &json!(mode)), "{name}");
    }
    server.chat(&with(chat("hi"), json!({"model": "gpt5"}))).await.error(404, "model_not_found");
    assert_eq!(server.get("/v1/models/gpt-5").await.json()["id"], "qwen3.7-plus");
}
