//! A second upstream alone: its settings and names, what it is told, and how its answers and refusals reach the clients of each
//! dialect.

mod answers;
mod refusals;
mod requests;

use std::sync::Arc;

use serde_json::{Value, json};

use super::dialects::{ALL, Dialect, assert_upstream};
use crate::{
    Product,
    fake_compatible::{Compatible, KEY},
    fake_qwen::{Fake, encoded},
    http::{Reply, chat, concat_deltas, eventually, with},
    server::{Case, Server, unique},
};

pub use self::{answers::*, refusals::*, requests::*};

/// A server that asks nobody but the second upstream.
async fn alone(case: &Case, settings: &[(&str, &str)]) -> (Compatible, Arc<Server>) {
    let second = Compatible::start();
    let mut all = vec![("FALLBACK_ON", "always"), ("QWEN_COOKIES", "")];
    all.extend_from_slice(settings);
    let server = case.start_with_second(&case.fake, &second, &all).await;
    (second, server)
}

/// The city of `get_weather`, as a directive has it.
fn oslo() -> String {
    encoded("{\"city\":\"Oslo\"}")
}

pub async fn a_name_leads_there(case: Arc<Case>) {
    let (fake, second) = (Fake::start(), Compatible::start());
    let server = case.start_with_second(&fake, &second, &[("FALLBACK_MODELS", r#"{"*":"others"}"#)]).await;
    let without = case.start_with(&fake, &[]).await;
    for (dialect, stream) in ALL {
        for name in ["second-small", "vendor/model:free", "qwen3-max-thinking", "gpt-4-turbo", "qwen-image"] {
            let marker = unique("named");
            let model = format!("api:{name}");
            let request = with(dialect.question(&format!("{marker} [[api say=Named.]]")), json!({ "model": model }));
            let reply = dialect.ask(&server, &request, stream).await;
            assert_eq!(dialect.read(&reply).text, "Named.");
            assert_upstream(&reply, "fallback");
            assert!(reply.text().contains(&format!("\"model\":\"{model}\"")), "the name that was asked for: {reply:?}");
            // Neither an alias, nor a suffix, nor `*` applies.
            assert_eq!(second.asked_once(&marker).body["model"], name);

            let reply = dialect.ask(&without, &request, stream).await;
            assert_eq!(dialect.error(&reply).0, 404, "{reply:?}");
            assert_eq!(dialect.error(&reply).1, "model_not_found");
        }
        let request = with(dialect.question("x"), json!({ "model": "api:no-such-model" }));
        let reply = dialect.ask(&server, &request, stream).await;
        assert_eq!(dialect.error(&reply).1, "model_not_found");
        assert_upstream(&reply, "fallback");
    }
    assert!(fake.chats() == 0 && fake.requests_containing("named").is_empty(), "the site was asked");
    assert_eq!(second.violations(), [""; 0]);
}

pub async fn models_are_mapped_after_aliases_and_suffixes(case: Arc<Case>) {
    let map = r#"{"qwen3-max": "second-large", "*": "second-small"}"#;
    let (second, server) =
        alone(&case, &[("FALLBACK_MODELS", map), ("MODEL_ALIASES", r#"{"mine":"qwen3-max"}"#)]).await;
    let (plain, unmapped) = alone(&case, &[("FALLBACK_MODELS", r#"{"qwen3-max": "second-large"}"#)]).await;
    // The names of the list count without regard to case, once it is known.
    for server in [&server, &unmapped] {
        assert_eq!(server.get("/v1/models").await.status, 200);
    }
    for (model, mapped, else_as) in [
        (json!("qwen3-max"), "second-large", "second-large"),
        (json!("QWEN3-MAX"), "second-large", "second-large"),
        (json!(null), "second-large", "second-large"),
        (json!("gpt-4-turbo"), "second-large", "second-large"),
        (json!("claude-sonnet-4-5"), "second-large", "second-large"),
        (json!("qwen3-max-thinking"), "second-large", "second-large"),
        (json!("gpt-4-turbo-fast"), "second-large", "second-large"),
        (json!("qwen3-coder-plus"), "second-small", "qwen3-coder-plus"),
        (json!("unheard-of"), "second-small", "unheard-of"),
        (json!("api:unheard-of"), "unheard-of", "unheard-of"),
    ] {
        for (second, server, expected) in [(&second, &server, mapped), (&plain, &unmapped, else_as)] {
            for (dialect, stream) in ALL {
                let marker = unique("mapped");
                let mut request = with(dialect.question(&marker), json!({ "model": model }));
                if model.is_null() {
                    request.as_object_mut().unwrap().remove("model");
                }
                dialect.read(&dialect.ask(server, &request, stream).await);
                assert_eq!(second.asked_once(&marker).body["model"], expected, "{model}");
            }
        }
    }
    let mine = with(chat("an alias"), json!({ "model": "mine" }));
    let answer = server.chat(&mine).await.json();
    assert_eq!(answer["model"], "mine");
    assert_eq!(second.asked_once("an alias").body["model"], "second-large");
}

pub async fn wrong_settings_are_named(case: Arc<Case>) {
    for (name, value) in [
        ("FALLBACK_BASE_URL", "secret-value"),
        ("FALLBACK_BASE_URL", "ftp://secret.example/v1"),
        ("FALLBACK_MODELS", "secret"),
        ("FALLBACK_MODELS", r#"["secret"]"#),
        ("FALLBACK_MODELS", r#"{"qwen3-max":5,"secret":"x"}"#),
        ("FALLBACK_API_KEY", "secret\u{1}value"),
        ("FALLBACK_ON", "secret_code"),
        ("FALLBACK_ON", "always, secret_code"),
    ] {
        let settings = match name {
            "FALLBACK_BASE_URL" => vec![(name, value)],
            _ => vec![("FALLBACK_BASE_URL", "http://127.0.0.1:9/v1"), (name, value)],
        };
        let text = match case.product {
            Product::Native => case.start_error(&settings).await,
            Product::Worker => {
                let reply = case.start(&settings).await.get("/health").await;
                reply.error(500, "configuration_error");
                reply.text()
            }
        };
        assert!(text.contains(name) && !text.contains("secret"), "{text}");
    }
}

/// The name and the password in an address are secrets as well.
pub async fn a_password_in_the_address_appears_in_no_output(case: Arc<Case>) {
    let second = Compatible::start();
    let url = second.url().replace("http://", "http://person:secret-word@");
    let settings = [("FALLBACK_BASE_URL", url.as_str()), ("FALLBACK_ON", "always")];
    let server = case.start_with_second(&case.fake, &second, &settings).await;
    let mut output = String::new();
    for (dialect, stream) in ALL {
        for directive in ["say=hi", "fail=internal", "fail=redirect", "reset=1"] {
            let reply = dialect.ask(&server, &dialect.question(&format!("[[api {directive}]]")), stream).await;
            output.push_str(&format!("{reply:?} {}", reply.text()));
        }
    }
    for path in ["/", "/health", "/ready"] {
        output.push_str(&server.get(path).await.text());
    }
    output.push_str(&server.log().await.join("\n"));
    assert!(!output.contains("secret-word"), "{output}");
}

/// A chat can work while the second upstream answers for the site.
pub async fn readiness_counts_it(case: Arc<Case>) {
    let second = Compatible::start();
    for (codes, status) in [("always", 200), ("qwen_session_missing", 200), ("never", 503), ("quota_exceeded", 503)] {
        let settings = [("FALLBACK_ON", codes), ("QWEN_COOKIES", "")];
        let server = case.start_with_second(&case.fake, &second, &settings).await;
        let works = server.chat(&chat("hi")).await.status == 200;
        assert_eq!((works, server.get("/ready").await.status.as_u16()), (status == 200, status), "{codes}");
    }
}

/// What clients choose from has its models, and they can be looked up.
pub async fn its_models_are_listed(case: Arc<Case>) {
    let second = Compatible::start();
    let models = r#"{"qwen3-max":"second-large","qwen3-coder-plus":"second-large","*":"second-small"}"#;
    let server = case.start_with_second(&case.fake, &second, &[("FALLBACK_MODELS", models)]).await;
    let list = server.get("/v1/models").await.json();
    let ids: Vec<&str> = list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    let own: Vec<&str> = ids.iter().copied().filter(|id| id.starts_with("api:")).collect();
    assert_eq!(own, ["api:second-large", "api:second-small"], "{ids:?}");
    assert!(ids.contains(&"qwen3-max"), "{ids:?}");
    for name in ["api:second-large", "api:any/other:free"] {
        let reply = server.get(&format!("/v1/models/{name}")).await;
        assert_eq!((reply.status.as_u16(), &reply.json()["id"]), (200, &json!(name)), "{reply:?}");
    }
    let without = case.start_with(&case.fake, &[]).await;
    assert!(!without.get("/v1/models").await.text().contains("api:"));
    without.get("/v1/models/api:second-large").await.error(404, "model_not_found");
    // Where only it is asked, the list does without the site.
    let settings = [("FALLBACK_MODELS", models), ("FALLBACK_ON", "always"), ("QWEN_BASE_URL", "http://127.0.0.1:9")];
    let alone = case.start_with_second(&case.fake, &second, &settings).await;
    let list = alone.get("/v1/models").await.json();
    let ids: Vec<&str> = list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert!(ids.ends_with(&own) && !ids.contains(&"qwen3-max"), "{ids:?}");
}

pub async fn it_may_have_no_key_and_a_path_of_its_own(case: Arc<Case>) {
    // Without a key none is sent, and an official server refuses that.
    let second = Compatible::start();
    for key in ["", "sk-another-key-0123456789"] {
        let settings = [("FALLBACK_API_KEY", key), ("FALLBACK_ON", "always")];
        let server = case.start_with_second(&case.fake, &second, &settings).await;
        let before = second.asked().len();
        for (dialect, stream) in ALL {
            let reply = dialect.ask(&server, &dialect.question("hi"), stream).await;
            assert_eq!(dialect.error(&reply).1, "fallback_refused");
        }
        let sent = (!key.is_empty()).then(|| format!("Bearer {key}"));
        for asked in &second.asked()[before..] {
            assert_eq!(asked.request.header("authorization"), sent.as_deref());
        }
        assert_eq!(second.asked().len(), before + ALL.len());
    }
    // A base may end with a slash.
    let url = format!("{}/", second.url());
    let settings = [("FALLBACK_BASE_URL", url.as_str()), ("FALLBACK_ON", "always")];
    let server = case.start_with_second(&case.fake, &second, &settings).await;
    assert_eq!(Dialect::Chat.read(&server.chat(&chat("[[api say=hi]]")).await).text, "hi");
    assert!(second.requests().iter().all(|request| request.path_and_query == "/v1/chat/completions"));
}

pub async fn log_lines_and_metrics_name_it(case: Arc<Case>) {
    let second = Compatible::start();
    let server = case.start_with_second(&case.fake, &second, &[]).await;
    let secret = unique("content");
    for (id, prompt, expected) in [
        ("by-site", format!("[[fake say=answer]] {secret}"), "qwen"),
        ("by-second", format!("[[fake fail=rate_limited num=3]] [[api say=answer]] {secret}"), "fallback"),
    ] {
        let headers = [Server::auth_headers().as_slice(), &[("x-request-id", id)]].concat();
        let reply = server.http.send("POST", "/v1/chat/completions", &headers, chat(&prompt).to_string()).await;
        assert_eq!(reply.status, 200);
        let mut line = Value::Null;
        eventually("the log line", || async {
            server.log().await.iter().any(|line| line.contains(&format!("\"request_id\":\"{id}\"")))
        })
        .await;
        for text in server.log().await {
            let parsed: Value = serde_json::from_str(&text).unwrap_or_default();
            if parsed["message"] == "request" && parsed["request_id"] == id {
                line = parsed;
            }
        }
        let names: Vec<&Value> = line.as_object().unwrap().values().filter(|value| **value == expected).collect();
        assert!(!names.is_empty(), "no field of the line is {expected}: {line}");
    }
    let log = server.log().await.join("\n");
    assert!(!log.contains(&secret) && !log.contains(KEY), "{log}");
    if case.product == Product::Native {
        let reply = server.http.send("GET", "/metrics", &Server::auth_headers(), "").await;
        let text = reply.text();
        assert!(
            text.lines().any(|line| !line.starts_with('#') && line.contains("fallback") && line.ends_with(" 1")),
            "{text}"
        );
        assert!(!text.contains(KEY));
    }
}

pub async fn its_key_appears_in_no_output(case: Arc<Case>) {
    let second = Compatible::start();
    let server = case.start_with_second(&case.fake, &second, &[]).await;
    let mut output = String::new();
    let mut note = |reply: &Reply| output.push_str(&format!("{reply:?} {}", String::from_utf8_lossy(&reply.body)));
    for path in ["/", "/health", "/ready", "/v1/models", "/openapi.json", "/docs", "/nothing"] {
        note(&server.get(path).await);
    }
    for fail in ["secret", "secret_words", "key"] {
        for (dialect, stream) in ALL {
            let request =
                with(dialect.question(&format!("[[api fail={fail}]]")), json!({ "model": "api:second-large" }));
            note(&dialect.ask(&server, &request, stream).await);
        }
    }
    output.push_str(&server.log().await.join("\n"));
    assert!(!output.contains(KEY) && !output.contains("second-upstream-5e7c1d"), "{output}");
    let text = concat_deltas(
        &server.chat(&with(chat("[[fake say=fine]]"), json!({ "stream": true }))).await.chunks(),
        "content",
    );
    assert_eq!(text, "fine");
}
