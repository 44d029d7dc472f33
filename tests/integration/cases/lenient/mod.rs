//! Requests of real programs and people that go beyond the documents: they work or get a clear error.

mod compression;
mod text;

use std::{collections::HashSet, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};

use super::files::fixture;
use crate::{
    Product,
    fake_qwen::{Fake, Page},
    form::Form,
    http::{Reply, chat, with},
    server::{Case, KEY, Server, unique},
};

pub use self::{compression::*, text::*};

/// Sends a chat request with this body.
async fn send_raw(server: &Server, headers: &[(&str, &str)], body: impl Into<bytes::Bytes>) -> Reply {
    let all = [&Server::auth_headers()[..], headers].concat();
    server.http.send("POST", "/v1/chat/completions", &all, body).await
}

#[track_caller]
fn answer(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

/// Text and chat id of the last turn that the upstream received.
fn last_turn(fake: &Fake) -> (String, String) {
    let request =
        fake.requests().into_iter().rfind(|request| request.path_and_query.starts_with("/api/v2/chat/completions"));
    let body = request.unwrap().json();
    (body["messages"][0]["content"].as_str().unwrap().to_owned(), body["chat_id"].as_str().unwrap().to_owned())
}

fn user(text: &str) -> Value {
    json!({ "role": "user", "content": text })
}

fn assistant(text: &str) -> Value {
    json!({ "role": "assistant", "content": text })
}

pub async fn few_shot_requests_match_no_existing_chat(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let ask = async |messages: Vec<Value>| {
        let reply = server.chat(&json!({ "model": "qwen3-max", "messages": messages })).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        last_turn(&fake)
    };
    let understood = "[[fake say=Understood.]]";
    let (_, first) = ask(vec![user(&format!("{understood} be a pirate"))]).await;
    // The answer of that chat is the last example of this request.
    let translate = vec![user("Translate what I write"), assistant("Understood."), user("Guten Tag")];
    let (text, chat) = ask(translate.clone()).await;
    assert_ne!(chat, first);
    assert!(text.contains("Translate what I write") && text.ends_with("User: Guten Tag"), "{text}");
    // Labels of a classifier; each is the answer of some chat.
    for label in ["positive", "negative", "neutral"] {
        ask(vec![user(&format!("[[fake say={label}]] an own question"))]).await;
    }
    let before = fake.chats();
    for (number, label) in ["positive", "negative", "neutral"].into_iter().enumerate() {
        let shots = vec![
            user("good"),
            assistant("positive"),
            user("bad"),
            assistant("negative"),
            user("an example of mine"),
            assistant(label),
            user(&format!("number {number}")),
        ];
        let (text, _) = ask(shots).await;
        assert!(text.contains("an example of mine"), "{text}");
    }
    assert_eq!(fake.chats(), before + 3);
}

/// Fifty concurrent requests each get a chat of their own, and so do fifty later ones with the same examples.
pub async fn concurrent_few_shot_requests_get_separate_chats(case: Arc<Case>) {
    let fake = Arc::new(Fake::start());
    let server = case.start_with(&fake, &[]).await;
    for round in 0..2 {
        let all = (0..50).map(|number| {
            let server = Arc::clone(&server);
            tokio::spawn(async move {
                let messages = [
                    user("Answer with a label"),
                    assistant("Understood."),
                    user("good day"),
                    assistant("positive"),
                    user(&format!("[[fake say=positive]] text {round} {number}")),
                ];
                server.chat(&json!({ "model": "qwen3-max", "messages": messages })).await.status
            })
        });
        for done in all.collect::<Vec<_>>() {
            assert_eq!(done.await.unwrap(), 200);
        }
        assert_eq!(fake.chats(), 50 * (round + 1));
    }
    let turns =
        fake.requests().into_iter().filter(|request| request.path_and_query.starts_with("/api/v2/chat/completions"));
    let bodies: Vec<Value> = turns.map(|request| request.json()).collect();
    let chats: HashSet<&str> = bodies.iter().map(|body| body["chat_id"].as_str().unwrap()).collect();
    assert_eq!((bodies.len(), chats.len()), (100, 100));
    assert!(bodies.iter().all(|body| body["parent_id"].is_null()));
    assert!(bodies.iter().all(|body| body["messages"][0]["content"].as_str().unwrap().contains("Understood.")));
}

pub async fn missing_attachments_of_older_turns_are_tolerated(case: Arc<Case>) {
    let fake = Arc::new(Fake::start());
    let server = case.start_with(&fake, &[("ALLOW_PRIVATE_URLS", "true")]).await;
    fake.serve_page("gone.png", Page::html(404, "Not Found"));
    fake.serve_page("text.png", Page::new("image/png", "not a picture"));
    let png = fixture("truecolor.png");
    let good = format!("data:image/png;base64,{}", BASE64.encode(&png));
    let image = |url: &str| json!({ "type": "image_url", "image_url": { "url": url } });
    let file = |fields: Value| json!({ "type": "file", "file": fields });
    for (part, name) in [
        (image(&fake.web_url("gone.png")), "gone.png"),
        (image(&fake.web_url("text.png")), "text.png"),
        (image("http://127.0.0.1:9/nobody.png"), "nobody.png"),
        (image("data:image/png;base64,AAA"), "image.png"),
        (image("data:image/png;base64,!!!"), "image_url"),
        (image("sandbox:/mnt/data/x.png"), "image_url"),
        (image(""), "image_url"),
        (file(json!({ "file_id": "file-that-is-forgotten" })), "file"),
        (file(json!({ "file_data": "!", "filename": "a.pdf" })), "a.pdf"),
        (file(json!({ "file_data": "AAAA", "filename": "b.pdf" })), "b.pdf"),
        (json!({ "type": "hologram", "hologram": {} }), "hologram"),
    ] {
        let asked = |newest: Vec<Value>| {
            json!({ "model": "qwen3-vl-plus", "messages": [
                { "role": "user", "content": [{ "type": "text", "text": format!("look {}", unique("q")) }, part.clone(), image(&good)] },
                assistant("I see."),
                { "role": "user", "content": newest },
            ] })
        };
        // The part is in an older turn.
        let reply = server.chat(&asked(vec![json!({ "type": "text", "text": "and now?" })])).await;
        assert_eq!(reply.status, 200, "{part}: {reply:?}");
        let (text, _) = last_turn(&fake);
        assert!(text.contains("no longer available") && text.contains(name), "{part}: {text}");
        assert!(text.ends_with("User: and now?"), "{text}");
        let request =
            fake.requests().into_iter().rfind(|request| request.path_and_query.starts_with("/api/v2/chat/completions"));
        let files = request.unwrap().json()["messages"][0]["files"].as_array().unwrap().len();
        assert_eq!(files, 1, "{part}: the other attachment is sent");
        // The part is in the newest turn.
        let reply = server.chat(&asked(vec![json!({ "type": "text", "text": "and this?" }), part.clone()])).await;
        assert_eq!(reply.status, 400, "{part}: {reply:?}");
        assert!(reply.json()["error"]["param"].as_str().unwrap().starts_with("messages[2].content[1]"), "{reply:?}");
    }
    // A conversation continues after the client has deleted a file of it.
    let upload = |name: &str| {
        let (content_type, body) = Form::new().file("file", name, None, fixture("jfif.jpg")).body();
        let server = Arc::clone(&server);
        async move {
            let headers = [("authorization", "Bearer sk-test-key"), ("content-type", content_type.as_str())];
            let reply = server.http.send("POST", "/v1/files", &headers, body).await;
            reply.json()["id"].as_str().unwrap().to_owned()
        }
    };
    let id = upload("mine.jpg").await;
    let mut messages = vec![
        json!({ "role": "user", "content": [{ "type": "text", "text": "mine" }, file(json!({ "file_id": id }))] }),
    ];
    let first = server.chat(&json!({ "model": "qwen3-vl-plus", "messages": messages })).await;
    messages.extend([assistant(&answer(&first)), user("more")]);
    server.http.send("DELETE", &format!("/v1/files/{id}"), &Server::auth_headers(), "").await;
    for chat in fake.chat_ids() {
        fake.delete_chat(&chat);
    }
    let reply = server.chat(&json!({ "model": "qwen3-vl-plus", "messages": messages })).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(last_turn(&fake).0.contains("no longer available"), "{}", last_turn(&fake).0);
}

pub async fn empty_strings_count_as_absent(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let empty = json!({ "model": "", "user": "", "conversation_id": "", "reasoning_effort": "", "stop": "",
        "service_tier": "", "prompt_cache_key": "", "thinking": { "type": "" }, "reasoning": { "effort": "" } });
    let request = with(chat("hello"), empty);
    for headers in [
        vec![],
        vec![("x-conversation-id", "")],
        vec![("x-conversation-id", "  "), ("x-openwebui-chat-id", ""), ("x-request-id", "")],
    ] {
        let reply = send_raw(&server, &headers, request.to_string()).await;
        assert_eq!(answer(&reply), "hello");
        assert!(reply.header("x-conversation-id").unwrap().starts_with("conv_"), "{reply:?}");
        assert_eq!(reply.json()["model"], "qwen3-max", "the default");
    }
    assert_eq!(fake.chats(), 3, "an empty id names no conversation");
    let reply = send_raw(&server, &[], with(chat("x"), json!({ "conversation_id": "  " })).to_string()).await;
    assert_eq!(reply.status, 200);
    for path in
        ["/v1/files?limit=", "/v1/files?limit=0", "/v1/files?limit=&after=&order=", "/v1/files?limit=10000&order=asc"]
    {
        assert_eq!(server.http.send("GET", path, &Server::auth_headers(), "").await.status, 200, "{path}");
    }
    let (content_type, body) = Form::new()
        .text("prompt", "see")
        .text("model", "")
        .text("stream", "")
        .text("enable_thinking", " ")
        .text("thinking_budget", "")
        .file("image", "a.jpg", None, fixture("jfif.jpg"))
        .body();
    let headers = [("authorization", "Bearer sk-test-key"), ("content-type", content_type.as_str())];
    let reply = server.http.send("POST", "/v1/image/upload_and_chat", &headers, body).await;
    assert_eq!(reply.json()["model"], "qwen3-vl-plus", "{reply:?}");
}

pub async fn a_byte_order_mark_is_skipped(case: Arc<Case>) {
    let server = case.start(&[("ADMIN_TOKEN", "an-administrators-key")]).await;
    assert_eq!(answer(&send_raw(&server, &[], format!("\u{feff}{}", chat("hello"))).await), "hello");
    let body = format!("\u{feff}{}", json!({ "filename": "a.png", "filesize": 3.0, "filetype": "image" }));
    let reply = server.http.send("POST", "/v2/files/getstsToken", &Server::auth_headers(), body).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let body = format!("\u{feff}{}", json!({ "token": Fake::token(&unique("marked"), 900) }));
    let admin = [("authorization", "Bearer an-administrators-key")];
    let reply = server.http.send("PUT", "/admin/session", &admin, body).await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

pub async fn integers_may_be_written_as_floats(case: Arc<Case>) {
    let server = case.server().await;
    for fields in [
        r#""max_tokens":4096.0"#,
        r#""max_tokens":1e3,"max_completion_tokens":2E3"#,
        r#""n":1.0"#,
        r#""thinking_budget":1024.0,"thinking":{"type":"enabled","budget_tokens":2048.0}"#,
        r#""reasoning":{"max_tokens":1e2},"chat_template_kwargs":{"thinking_budget":5.0}"#,
        r#""extra_body":{"thinking_budget":7.0,"thinking":{"budget_tokens":8.0}}"#,
        r#""seed":18446744073709551615,"top_logprobs":1.5"#,
        r#""seed":99999999999999999999999,"temperature":1e400"#,
        r#""seed":-0.5,"top_k":-1e999"#,
    ] {
        let body = format!(r#"{{"messages":[{{"role":"user","content":"hello"}}],{fields}}}"#);
        assert_eq!(answer(&send_raw(&server, &[], body).await), "hello", "{fields}");
    }
    for (fields, param) in [
        (r#""max_tokens":1.5"#, "max_tokens"),
        (r#""max_completion_tokens":0.1"#, "max_completion_tokens"),
        (r#""n":1.5"#, "n"),
        (r#""n":2.0"#, "n"),
        (r#""thinking":{"budget_tokens":1.5}"#, "thinking.budget_tokens"),
        (r#""extra_body":{"thinking_budget":1e-1}"#, "extra_body.thinking_budget"),
        (r#""seed":"7""#, "seed"),
    ] {
        let body = format!(r#"{{"messages":[{{"role":"user","content":"hello"}}],{fields}}}"#);
        let reply = send_raw(&server, &[], body).await;
        assert_eq!(reply.error(400, "invalid_request")["param"], param, "{fields}");
    }
    // A limit written as a float is applied.
    let body = r#"{"messages":[{"role":"user","content":"[[fake stream=count n=50]]"}],"max_tokens":5.0,"enable_thinking":false}"#;
    let reply = send_raw(&server, &[], body).await;
    assert_eq!(reply.json()["choices"][0]["finish_reason"], "length", "{reply:?}");
}

pub async fn credentials_are_accepted_in_the_formats_people_copy(case: Arc<Case>) {
    let fake = Fake::start();
    for (name, value) in [
        ("QWEN_COOKIES", "TOKEN"),
        ("QWEN_COOKIES", "Bearer TOKEN"),
        ("QWEN_COOKIES", "Cookie: cna=1; token=TOKEN"),
        ("QWEN_COOKIES", "\"cna=1; token=TOKEN\""),
        ("QWEN_COOKIES", r#"[{"domain":".qwen.ai","name":"token","value":"TOKEN"}]"#),
        ("QWEN_AUTH_TOKEN", "Bearer TOKEN"),
        ("QWEN_AUTH_TOKEN", "token=TOKEN"),
        ("QWEN_AUTH_TOKEN", "'TOKEN'"),
        ("QWEN_AUTH_TOKEN", "Cookie: token=TOKEN"),
        ("QWEN_AUTH_TOKEN", "cna=1; token=TOKEN; isg=2"),
    ] {
        let token = Fake::token(&unique("copied"), 900);
        let value = value.replace("TOKEN", &token);
        let mut settings = vec![("QWEN_COOKIES", ""), ("QWEN_AUTH_TOKEN", "")];
        settings.push((name, &value));
        let server = case.start_with(&fake, &settings).await;
        let marker = unique("copied");
        assert_eq!(server.chat(&chat(&marker)).await.status, 200, "{name}={value}");
        let cookie = fake.requests_containing(&marker)[0].header("cookie").unwrap().to_owned();
        assert!(cookie.contains(&format!("token={token}")) && !cookie.contains(['"', '\'']), "{cookie}");
        server.stop().await;
    }
    for (name, value) in [
        ("QWEN_COOKIES", "cna=1; isg=2"),
        ("QWEN_COOKIES", "hello suite"),
        ("QWEN_COOKIES", r#"[{"domain":".evil.example","name":"token","value":"abcdefgh"}]"#),
        ("QWEN_AUTH_TOKEN", "not a token"),
        ("QWEN_AUTH_TOKEN", "curl 'https://evil.example/' -b 'token=abcdefgh'"),
    ] {
        let settings = [("QWEN_COOKIES", ""), ("QWEN_AUTH_TOKEN", ""), (name, value)];
        let error_text = match case.product {
            Product::Native => case.start_error(&settings).await,
            Product::Worker => {
                let server = case.start_with(&fake, &settings).await;
                let error = server.chat(&chat("x")).await.error(500, "configuration_error");
                error["message"].as_str().unwrap().to_owned()
            }
        };
        assert!(error_text.contains(name) && !error_text.contains("abcdefgh"), "{name}={value}: {error_text}");
    }
}

pub async fn times_in_the_system_prompt_do_not_start_a_new_chat(case: Arc<Case>) {
    for [first, second, third] in [
        ["Time: 10:00", "Time: 10:01", "Time: 10:12"],
        [
            "You are kind. It is Thursday, November 26, 2026, 9:59 AM.",
            "You are kind. It is Thursday, November 26, 2026, 10:00 AM.",
            "You are kind. It is Friday, November 27, 2026, 12:01 PM.",
        ],
        [
            "现在是2026年11月26日星期四 上午9:59",
            "现在是2026年11月26日星期四 上午10:00",
            "现在是2026年11月27日星期五 下午1:00",
        ],
        ["now=2026-11-26T10:00:00Z", "now=2026-11-26T10:00:41Z", "now=2027-01-01T00:00:00Z"],
    ] {
        let fake = Fake::start();
        let server = case.start_with(&fake, &[]).await;
        let mut messages = vec![json!({ "role": "system", "content": first })];
        for (question, system) in [("one", first), ("two", second), ("three", third)] {
            messages[0] = json!({ "role": "system", "content": system });
            messages.push(user(question));
            let reply = server.chat(&json!({ "model": "qwen3-max", "messages": messages })).await;
            messages.push(assistant(&answer(&reply)));
        }
        assert_eq!((fake.chats(), last_turn(&fake).0.as_str()), (1, "three"), "{first}");
        // A changed instruction is sent again.
        messages[0] = json!({ "role": "system", "content": format!("{third} Be rude.") });
        messages.push(user("four"));
        server.chat(&json!({ "model": "qwen3-max", "messages": messages })).await;
        assert!(last_turn(&fake).0.contains("Be rude."), "{}", last_turn(&fake).0);
    }
}

pub async fn gateway_error_pages_do_not_end_the_session(case: Arc<Case>) {
    let fake = Fake::start();
    let settings = [("ADMIN_TOKEN", "an-administrators-key"), ("SESSION_KEY", "")];
    let server = case.start_with(&fake, &settings).await;
    let admin = [("authorization", "Bearer an-administrators-key")];
    let state = async || {
        let health = server.get("/health").await.json();
        let shown = server.http.send("GET", "/admin/session", &admin, "").await.json();
        assert_eq!(health["session"]["state"], shown["state"]);
        (health["status"].as_str().unwrap().to_owned(), shown["state"].as_str().unwrap().to_owned())
    };
    assert_eq!(server.chat(&chat("hello")).await.status, 200);
    let healthy = ("healthy".to_owned(), "valid".to_owned());
    assert_eq!(state().await, healthy);
    let mut files = 0;
    let mut upload = async || {
        files += 1;
        let name = format!("{files}.txt");
        let (content_type, body) = Form::new().file("file", &name, None, format!("text {files}")).body();
        let headers = [Server::auth_headers()[0], ("content-type", content_type.as_str())];
        server.http.send("POST", "/v1/files", &headers, body).await
    };
    for page in ["gateway_403", "gateway_region", "gateway_401", "gateway_hotel", "gateway_403_json"] {
        for path in
            ["/api/v2/chats/new", "/api/v2/chat/completions", "/api/v2/files/getstsToken", "/api/v2/files/parse"]
        {
            fake.set_failure(path, Some(page));
            let reply = if path.contains("files") { upload().await } else { server.chat(&chat(&unique("q"))).await };
            let code = reply.json()["error"]["code"].as_str().unwrap().to_owned();
            assert!(
                reply.status == 502 && ["upstream_error", "upstream_invalid"].contains(&&*code),
                "{page} at {path}: {reply:?}"
            );
            fake.set_failure(path, None);
            assert_eq!(state().await, healthy, "{page} at {path}");
        }
        // The check of a new session fails.
        fake.set_failure("/api/v1/auths/", Some(page));
        let token = Fake::token(&unique("new"), 900);
        let reply = server.http.send("PUT", "/admin/session", &admin, token).await;
        assert_eq!(reply.status, 502, "{page}: {reply:?}");
        if case.product == Product::Worker {
            server.scheduled().await;
        }
        fake.set_failure("/api/v1/auths/", None);
        assert_eq!(state().await, healthy, "{page} at the check");
        // The model list fails.
        fake.set_models_failure(Some(page));
        assert_eq!(server.get("/v1/models/none-such").await.error(404, "model_not_found")["param"], Value::Null);
        fake.set_models_failure(None);
        assert_eq!(state().await, healthy, "{page} at the models");
    }
    assert_eq!(server.chat(&chat("hello")).await.status, 200);
    // The refresh fails: a gateway error does not mean that the refresh token is invalid.
    let account = unique("refreshed");
    let jar = format!("token={}; refresh_token={}", Fake::token(&account, -5), Fake::refresh_token(&account));
    for page in ["gateway_403", "gateway_401", "gateway_403_json"] {
        fake.set_failure("/api/v2/auths/refresh", Some(page));
        let server = case.start_with(&fake, &[("QWEN_COOKIES", &jar)]).await;
        let reply = server.chat(&chat("hello")).await;
        assert_eq!(reply.status, 502, "{page}: {reply:?}");
        assert_ne!(server.get("/health").await.json()["session"]["state"], "expired", "{page}");
    }
    fake.set_failure("/api/v2/auths/refresh", None);
}

pub async fn suffixes_work_with_model_aliases(case: Arc<Case>) {
    let fake = Fake::start();
    let aliases = r#"{"my-fast":"qwen3-max-fast","quick":"QWEN3-MAX-fast-search","plain":"qwen3-max"}"#;
    let server = case.start_with(&fake, &[("MODEL_ALIASES", aliases), ("DEFAULT_MODEL", "my-fast")]).await;
    for (model, thinks, searches) in [
        ("my-fast", false, false),
        ("MY-FAST", false, false),
        ("quick", false, true),
        ("plain", true, false),
        ("plain-fast", false, false),
        ("my-fast-thinking", true, false),
        ("QWEN3-MAX", true, false),
        ("Qwen3-Max-Fast", false, false),
        ("", false, false),
    ] {
        let reply = server.chat(&with(chat("hello"), json!({ "model": model }))).await;
        assert_eq!(reply.status, 200, "{model}: {reply:?}");
        let request =
            fake.requests().into_iter().rfind(|request| request.path_and_query.starts_with("/api/v2/chat/completions"));
        let body = request.unwrap().json();
        assert_eq!(body["model"], "qwen3-max", "{model}");
        let features = &body["messages"][0]["feature_config"];
        assert_eq!(features["thinking_enabled"], thinks, "{model}: {features}");
        let has_reasoning = reply.json()["choices"][0]["message"].get("reasoning_content").is_some();
        assert_eq!(has_reasoning, thinks, "{model}");
        assert_eq!(
            body["messages"][0]["chat_type"] == "search" || features["auto_search"] == true,
            searches,
            "{model}: {body}"
        );
    }
    for model in ["my-fast", "QWEN3-max", "plain"] {
        assert_eq!(server.get(&format!("/v1/models/{model}")).await.json()["id"], "qwen3-max", "{model}");
    }
}

pub async fn tool_results_are_labelled_with_their_call(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let call =
        |id: &str, name: &str| json!({ "id": id, "type": "function", "function": { "name": name, "arguments": "{}" } });
    let messages = [
        user("look"),
        json!({ "role": "assistant", "content": null, "tool_calls": [call("call_1", "search"), call("call_2", "read")] }),
        json!({ "role": "tool", "tool_call_id": "call_2", "content": "" }),
        json!({ "role": "tool", "tool_call_id": "call_1", "content": [] }),
        json!({ "role": "tool", "tool_call_id": "call_9", "content": null }),
        json!({ "role": "function", "name": "old", "content": " \n" }),
        json!({ "role": "tool", "tool_call_id": "call_1", "content": "7" }),
    ];
    assert_eq!(server.chat(&json!({ "model": "qwen3-max", "messages": messages })).await.status, 200);
    let (text, _) = last_turn(&fake);
    for line in [
        "[read call_2] Tool result: (empty)",
        "[search call_1] Tool result: (empty)",
        "[call_9] Tool result: (empty)",
        "[old] Tool result: (empty)",
        "[search call_1] Tool result: 7",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    // The new turn consists of an empty result only.
    let mut messages = vec![user("first")];
    let reply = server.chat(&json!({ "model": "qwen3-max", "messages": messages })).await;
    messages.push(json!({ "role": "assistant", "content": answer(&reply), "tool_calls": [call("call_3", "go")] }));
    messages.push(json!({ "role": "tool", "tool_call_id": "call_3", "content": "" }));
    assert_eq!(server.chat(&json!({ "model": "qwen3-max", "messages": messages })).await.status, 200);
    assert!(last_turn(&fake).0.ends_with("[go call_3] Tool result: (empty)"), "{}", last_turn(&fake).0);
}

pub async fn clock_skew_is_corrected_by_the_upstream_date(case: Arc<Case>) {
    for skew_seconds in [7_200_i64, -7_200] {
        let fake = Fake::start();
        fake.set_clock_skew_seconds(skew_seconds);
        let account = unique("clock");
        // Valid for 50 minutes by the upstream's clock. By this machine's clock it has expired or lives two hours longer.
        let token = Fake::token(&account, skew_seconds + 3_000);
        let jar = format!("token={token}; refresh_token={}", Fake::refresh_token(&account));
        let server = case.start_with(&fake, &[("QWEN_COOKIES", &jar)]).await;
        for number in 0..3 {
            let reply = server.chat(&chat(&format!("hello {number}"))).await;
            assert_eq!(reply.status, 200, "{skew_seconds}: {reply:?}");
        }
        let refresh_count =
            || fake.requests().iter().filter(|request| request.path_and_query.contains("refresh")).count();
        assert_eq!(refresh_count(), 0, "{skew_seconds}: the token is valid");
        let health = server.get("/health").await.json();
        let reported = health["clock_skew_seconds"].as_i64().unwrap();
        assert!((reported + skew_seconds).abs() < 30, "{skew_seconds}: {health}");
        assert_eq!((&health["status"], &health["session"]["state"]), (&json!("healthy"), &json!("valid")), "{health}");
        for (name, content) in
            [("a.jpg", fixture("jfif.jpg")), ("b.txt", b"some text".to_vec()), ("c.mp4", fixture("isom.mp4"))]
        {
            let (content_type, body) = Form::new().file("file", name, None, content).body();
            let headers = [Server::auth_headers()[0], ("content-type", content_type.as_str())];
            let reply = server.http.send("POST", "/v1/files", &headers, body).await;
            assert_eq!(reply.status, 200, "{skew_seconds} {name}: {reply:?}");
        }
        let reports = server.log().await.iter().filter(|line| line.contains("clock_skew_seconds")).count();
        assert_eq!(reports, 1, "{skew_seconds}: the log reports it once");
        // A token that has expired by the upstream's clock is refreshed once.
        let account = unique("clock");
        let jar = format!(
            "token={}; refresh_token={}",
            Fake::token(&account, skew_seconds - 5),
            Fake::refresh_token(&account)
        );
        let server = case.start_with(&fake, &[("QWEN_COOKIES", &jar)]).await;
        for _ in 0..3 {
            assert_eq!(server.chat(&chat("hello")).await.status, 200);
        }
        assert_eq!(refresh_count(), 1, "{skew_seconds}");
    }
    let server = case.server().await;
    assert_eq!(server.get("/health").await.json()["clock_skew_seconds"], 0);
}

pub async fn nonstandard_content_parts_and_paths_are_accepted(case: Arc<Case>) {
    let fake = Arc::new(Fake::start());
    let server = case.start_with(&fake, &[]).await;
    let png = fixture("truecolor.png");
    let body = json!({ "messages": [{ "role": "user", "content": { "type": "text", "text": "hello" } }] });
    assert_eq!(answer(&server.chat(&body).await), "hello");
    let image = |url: &str| {
        json!({ "messages": [{ "role": "user", "content": [
            { "type": "text", "text": "[[fake files=1]]" }, { "type": "image_url", "image_url": { "url": url } }] }] })
    };
    let reply_text = answer(&server.chat(&image(&BASE64.encode(&png))).await);
    assert!(reply_text.contains(&png.len().to_string()), "bare base64: {reply_text}");
    for url in
        ["data:image/png;base64,AAA", "data:image/jpeg;base64,AAECAwQFBgcICQ==", "data:image/webp;base64,gICAgICAgIA="]
    {
        server.chat(&image(url)).await.error(400, "unsupported_file_type");
    }
    for url in ["AAAA", "photo", "example.com/photo.png"] {
        server.chat(&image(url)).await.error(400, "invalid_request");
    }
    // Repeated slashes in the path.
    for path in ["/v1//chat/completions", "//v1/chat/completions", "/v1/chat//completions/", "//chat///completions"] {
        let reply = server.post(path, &chat("hello")).await;
        assert_eq!(answer(&reply), "hello", "{path}");
    }
    assert_eq!(server.get("//v1/models").await.status, 200);
    assert_eq!(server.get("/v1//models//qwen3-max").await.json()["id"], "qwen3-max");
    assert_eq!(
        server.http.send("GET", "//v1//files", &[("authorization", &format!("Bearer {KEY}"))], "").await.status,
        200
    );
}
