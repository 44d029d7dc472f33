//! What the second upstream is told, and how its answers and refusals reach the clients of each dialect.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    agent::Answer,
    dialects::{ALL, Dialect, assert_upstream, weather},
    files::fixture,
    messages,
    response_reader::Response,
};
use crate::{
    Product,
    fake_compatible::{Compatible, KEY},
    fake_qwen::{Fake, encoded},
    http::{Reply, chat, concat_deltas, eventually, with},
    server::{Case, SHORT_IDLE, Server, unique},
};

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

/// A request with all that the second upstream knows by itself, in each dialect, and what has to arrive.
fn rich(dialect: Dialect, marker: &str) -> (Value, Value) {
    let schema = json!({
        "type": "object",
        "properties": { "answer": { "type": "string" } },
        "required": ["answer"],
        "additionalProperties": false,
    });
    let picture = STANDARD.encode(fixture("jfif.jpg"));
    let data = format!("data:image/jpeg;base64,{picture}");
    let link = "https://pictures.example/a%20cat.png?x=1&y=%C3%BC";
    let question = format!("{marker} [[api say={}]]", encoded("{\"answer\":\"yes\"}"));
    let sampling = json!({ "temperature": 0.25, "top_p": 0.5 });
    let fields = match dialect {
        Dialect::Chat => json!({
            "messages": [
                { "role": "system", "content": "Be brief." },
                { "role": "user", "content": "What is it?" },
                { "role": "assistant", "content": "I look.", "reasoning_content": "Hm.", "tool_calls": [
                    { "id": "call_1", "type": "function", "function": { "name": "get_weather", "arguments": "{\"city\":\"Oslo\"}" } },
                    { "id": "call_2", "type": "function", "function": { "name": "get_weather", "arguments": "{\"city\":\"Rome\"}" } },
                ] },
                { "role": "tool", "tool_call_id": "call_1", "content": "rain" },
                { "role": "tool", "tool_call_id": "call_2", "content": "sun" },
                { "role": "user", "content": [
                    { "type": "text", "text": question },
                    { "type": "image_url", "image_url": { "url": data } },
                    { "type": "image_url", "image_url": { "url": link } },
                ] },
            ],
            "presence_penalty": 0.5,
            "frequency_penalty": -0.5,
            "seed": 7,
            "max_tokens": 900,
            "response_format": { "type": "json_schema", "json_schema": { "name": "answer", "schema": schema, "strict": true } },
            "conversation_id": marker,
            "user": "someone",
        }),
        Dialect::Responses => json!({
            "instructions": "Be brief.",
            "input": [
                { "role": "user", "content": "What is it?" },
                { "type": "reasoning", "id": "rs_1", "summary": [{ "type": "summary_text", "text": "Hm." }] },
                { "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": "I look.", "annotations": [] }] },
                { "type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": "{\"city\":\"Oslo\"}" },
                { "type": "function_call", "call_id": "call_2", "name": "get_weather", "arguments": "{\"city\":\"Rome\"}" },
                { "type": "function_call_output", "call_id": "call_1", "output": "rain" },
                { "type": "function_call_output", "call_id": "call_2", "output": "sun" },
                { "role": "user", "content": [
                    { "type": "input_text", "text": question },
                    { "type": "input_image", "image_url": data },
                    { "type": "input_image", "image_url": link },
                ] },
            ],
            "max_output_tokens": 900,
            "text": { "format": { "type": "json_schema", "name": "answer", "schema": schema, "strict": true } },
        }),
        Dialect::Messages => json!({
            "system": [{ "type": "text", "text": "Be brief.", "cache_control": { "type": "ephemeral" } }],
            "messages": [
                { "role": "user", "content": "What is it?" },
                { "role": "assistant", "content": [
                    { "type": "thinking", "thinking": "Hm.", "signature": "x" },
                    { "type": "text", "text": "I look." },
                    { "type": "tool_use", "id": "call_1", "name": "get_weather", "input": { "city": "Oslo" } },
                    { "type": "tool_use", "id": "call_2", "name": "get_weather", "input": { "city": "Rome" } },
                ] },
                { "role": "user", "content": [
                    { "type": "tool_result", "tool_use_id": "call_1", "content": "rain" },
                    { "type": "tool_result", "tool_use_id": "call_2", "content": [{ "type": "text", "text": "sun" }] },
                    { "type": "text", "text": question },
                    { "type": "image", "source": { "type": "base64", "media_type": "image/jpeg", "data": picture } },
                    { "type": "image", "source": { "type": "url", "url": link } },
                ] },
            ],
            "top_k": 20,
            "max_tokens": 900,
            "output_config": { "format": { "type": "json_schema", "schema": schema } },
        }),
    };
    let choice = if dialect == Dialect::Messages { json!({ "type": "auto" }) } else { json!("auto") };
    let tools = json!({ "model": "qwen3-max", "tools": [weather(dialect)], "tool_choice": choice });
    let mut expected = sampling.clone();
    match dialect {
        Dialect::Chat => {
            expected = with(expected, json!({ "presence_penalty": 0.5, "frequency_penalty": -0.5, "seed": 7 }));
        }
        Dialect::Responses => {}
        Dialect::Messages => expected["top_k"] = 20.into(),
    }
    expected["tools"] = json!([super::agent::weather()]);
    expected["schema"] = schema;
    expected["pictures"] = json!([data, link]);
    (with(with(fields, sampling), tools), expected)
}

pub async fn everything_arrives_natively(case: Arc<Case>) {
    let second = Compatible::start();
    let server = case.start_with_second(&case.fake, &second, &[]).await;
    let sessionless = case.start_with_second(&case.fake, &second, &[("QWEN_COOKIES", "")]).await;
    for (dialect, stream) in ALL {
        // By its name, and as a fall-back.
        for (server, model) in [(&server, "api:second-large"), (&sessionless, "qwen3-max")] {
            let marker = unique("rich");
            let (request, expected) = rich(dialect, &marker);
            let request = with(request, json!({ "model": model }));
            let reply = dialect.ask(server, &request, stream).await;
            assert_eq!(second.violations(), [""; 0]);
            assert_upstream(&reply, "fallback");
            assert_eq!(dialect.read(&reply).text, "{\"answer\":\"yes\"}");
            let asked = second.asked_once(&marker);
            let body = &asked.body;
            for (name, value) in expected.as_object().unwrap() {
                if !["schema", "pictures"].contains(&name.as_str()) {
                    assert_eq!(&body[name], value, "{name}: {dialect:?}");
                }
            }
            let limit = body.get("max_tokens").or(body.get("max_completion_tokens"));
            assert_eq!(limit, Some(&json!(900)), "{dialect:?}");
            let format = &body["response_format"];
            assert_eq!(
                (&format["type"], &format["json_schema"]["schema"]),
                (&json!("json_schema"), &expected["schema"])
            );
            if dialect != Dialect::Messages {
                assert_eq!(format["json_schema"]["name"], "answer");
                assert_eq!(format["json_schema"]["strict"], true);
            }
            let told = |(role, text): &(String, String)| (role.replace("developer", "system"), text.clone());
            let texts: Vec<(String, String)> = asked.texts().iter().map(told).collect();
            let roles: Vec<&str> = texts.iter().map(|(role, _)| role.as_str()).collect();
            assert_eq!(roles, ["system", "user", "assistant", "tool", "tool", "user"], "{dialect:?}");
            let plain: Vec<&str> = texts[..5].iter().map(|(_, text)| text.as_str()).collect();
            assert_eq!(plain, ["Be brief.", "What is it?", "I look.", "rain", "sun"], "{dialect:?}");
            assert!(texts[5].1.starts_with(&marker), "{texts:?}");
            let messages = asked.messages();
            let calls = messages[2]["tool_calls"].as_array().unwrap();
            for (call, (id, city)) in calls.iter().zip([("call_1", "Oslo"), ("call_2", "Rome")]) {
                let function = &call["function"];
                let arguments: Value = serde_json::from_str(function["arguments"].as_str().unwrap()).unwrap();
                assert_eq!(
                    (&call["id"], &function["name"], arguments),
                    (&json!(id), &json!("get_weather"), json!({ "city": city }))
                );
            }
            assert_eq!(
                (&messages[3]["tool_call_id"], &messages[4]["tool_call_id"]),
                (&json!("call_1"), &json!("call_2"))
            );
            let parts = messages[5]["content"].as_array().unwrap();
            let pictures =
                parts.iter().filter(|part| part["type"] == "image_url").map(|part| &part["image_url"]["url"]);
            assert_eq!(
                pictures.collect::<Vec<_>>(),
                expected["pictures"].as_array().unwrap().iter().collect::<Vec<_>>()
            );
            assert_eq!(body["stream_options"]["include_usage"] == true, body["stream"] == true, "its usage is wanted");
        }
    }
    assert!(case.fake.requests_containing("I look.").is_empty(), "the site was told");
}

/// What is said of a picture stands beside it.
pub async fn texts_and_pictures_keep_their_order(case: Arc<Case>) {
    let (second, server) = alone(&case, &[]).await;
    let links = ["https://pictures.example/1.png", "https://pictures.example/2.png"];
    for (dialect, stream) in ALL {
        let marker = unique("order");
        let (field, kind) = if dialect == Dialect::Responses { ("input", "input_text") } else { ("messages", "text") };
        let picture = |link: &str| match dialect {
            Dialect::Chat => json!({ "type": "image_url", "image_url": { "url": link } }),
            Dialect::Responses => json!({ "type": "input_image", "image_url": link }),
            Dialect::Messages => json!({ "type": "image", "source": { "type": "url", "url": link } }),
        };
        let text = |text: &str| json!({ "type": kind, "text": text });
        let mut request = dialect.question("");
        request[field][0]["content"] =
            json!([picture(links[0]), text(&format!("{marker} is the first.")), picture(links[1]), text("And this?")]);
        dialect.read(&dialect.ask(&server, &request, stream).await);
        let asked = second.asked_once(&marker);
        let parts = asked.messages()[0]["content"].as_array().unwrap();
        let shown: Vec<&str> =
            parts.iter().filter_map(|part| part["text"].as_str().or(part["image_url"]["url"].as_str())).collect();
        assert_eq!(shown, [links[0], &format!("{marker} is the first."), links[1], "And this?"], "{dialect:?}");
    }
}

/// Its body has no wall: nothing of a long conversation is cut, folded or uploaded.
pub async fn a_long_conversation_goes_whole(case: Arc<Case>) {
    let (fake, second) = (Fake::start(), Compatible::start());
    let server = case.start_with_second(&fake, &second, &[("FALLBACK_ON", "upstream_error")]).await;
    for (dialect, stream) in ALL {
        for (model, prompt) in [("api:second-large", "go on"), ("qwen3-max", "[[fake fail=http_500]] go on")] {
            let marker = unique("long");
            let texts: Vec<String> =
                (0..40).map(|number| format!("{marker} {number} {}", "words ".repeat(2_000))).collect();
            let roles = ["user", "assistant"].into_iter().cycle();
            let mut history: Vec<(&str, &str)> = roles.zip(texts.iter().map(|text| text.trim_end())).collect();
            history.push(("user", prompt));
            let request = with(dialect.history(&history), json!({ "model": model }));
            let uploads = fake.objects().len();
            let reply = dialect.ask(&server, &request, stream).await;
            assert_eq!(dialect.read(&reply).text, "41 messages, the newest: go on");
            let told: Vec<(String, String)> =
                history.iter().map(|(role, text)| ((*role).to_owned(), (*text).to_owned())).collect();
            assert!(second.asked_once(&marker).texts() == told, "{dialect:?} {model}: the conversation was changed");
            if model.starts_with("api:") {
                assert_eq!(fake.objects().len(), uploads, "something was uploaded");
            }
        }
    }
    assert_eq!(second.violations(), [""; 0]);
}

/// An answer that is not what was asked for is passed on or is an error; nobody asks twice for money.
pub async fn no_answer_is_asked_for_again(case: Arc<Case>) {
    let (second, server) = alone(&case, &[]).await;
    let tools = json!({ "tools": [super::agent::weather()] });
    let strict = with(super::agent::weather()["function"].clone(), json!({ "strict": true }));
    let schema = json!({ "type": "object", "properties": { "a": { "type": "string" } }, "required": ["a"] });
    let format = json!({ "type": "json_schema", "json_schema": { "name": "x", "schema": schema, "strict": true } });
    for (directive, fields) in [
        ("say=No.", with(tools.clone(), json!({ "tool_choice": "required" }))),
        ("say=No.", json!({ "response_format": { "type": "json_object" } })),
        ("say={\"a\":1}", json!({ "response_format": format })),
        ("say={\"a\":\"", json!({ "response_format": format })),
        ("call=get_weather args={\"city\":", tools.clone()),
        ("call=get_weather args={}", json!({ "tools": [{ "type": "function", "function": strict }] })),
        ("say=Tool%20get_weather%20does%20not%20exists.", tools),
        ("say=", json!({})),
    ] {
        for stream in [false, true] {
            let marker = unique("once");
            let request = with(chat(&format!("{marker} [[api raw=1 {directive}]]")), fields.clone());
            let reply = Dialect::Chat.ask(&server, &request, stream).await;
            assert_upstream(&reply, "fallback");
            second.asked_once(&marker);
            let text = reply.text();
            assert!(!text.contains("[TOOL") && !text.contains("chat.qwen.ai"), "{directive}: {text}");
        }
    }
    assert_eq!(second.violations(), [""; 0]);
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

pub async fn a_body_of_responses_to_chat_completions_goes_there_too(case: Arc<Case>) {
    let (second, server) = alone(&case, &[]).await;
    for stream in [false, true] {
        let marker = unique("cursor");
        let input =
            json!([{ "role": "user", "content": format!("{marker} [[api call=get_weather args={}]]", oslo()) }]);
        let tool = Dialect::Responses.tool(&super::agent::weather());
        let request = json!({ "model": "api:second-large", "input": input, "tools": [tool], "stream": stream });
        let reply = server.chat(&request).await;
        assert_upstream(&reply, "fallback");
        let answer = Answer::read(&reply);
        assert_eq!(answer.called(), [("get_weather", json!({ "city": "Oslo" }))]);
        assert_eq!(second.asked_once(&marker).body["model"], "second-large");
    }
    let reply = server.post("/v1/chat/multimodal", &chat("[[api say=seen]]")).await;
    assert_eq!(Dialect::Chat.read(&reply).text, "seen");
    assert_upstream(&reply, "fallback");
    assert_eq!(second.violations(), [""; 0]);
}

/// Sounds, films and documents arrive as they were sent.
pub async fn other_attachments_arrive_as_they_are(case: Arc<Case>) {
    let (second, server) = alone(&case, &[]).await;
    let wav = STANDARD.encode(fixture("wav.wav"));
    let pdf = STANDARD.encode(fixture("reportlab.pdf"));
    let pdf_data = format!("data:application/pdf;base64,{pdf}");
    let film = "https://films.example/a.mp4";
    let document = json!({ "type": "file", "file": { "filename": "a.pdf", "file_data": pdf_data } });
    for (dialect, part, expected) in [
        (
            Dialect::Chat,
            json!({ "type": "input_audio", "input_audio": { "data": wav, "format": "wav" } }),
            json!({ "type": "input_audio", "input_audio": { "data": wav, "format": "wav" } }),
        ),
        (
            Dialect::Chat,
            json!({ "type": "video_url", "video_url": { "url": film } }),
            json!({ "type": "video_url", "video_url": { "url": film } }),
        ),
        (Dialect::Chat, document.clone(), document.clone()),
        (
            Dialect::Responses,
            json!({ "type": "input_file", "filename": "a.pdf", "file_data": pdf_data }),
            document.clone(),
        ),
        (
            Dialect::Messages,
            json!({ "type": "document", "title": "a.pdf", "source": { "type": "base64", "media_type": "application/pdf", "data": pdf } }),
            document,
        ),
    ] {
        for stream in [false, true] {
            let marker = unique("attached");
            let kind = if dialect == Dialect::Responses { "input_text" } else { "text" };
            let field = if dialect == Dialect::Responses { "input" } else { "messages" };
            let mut request = dialect.question("");
            request[field][0]["content"] = json!([{ "type": kind, "text": marker }, part]);
            dialect.read(&dialect.ask(&server, &request, stream).await);
            let asked = second.asked_once(&marker);
            let parts = asked.messages()[0]["content"].as_array().unwrap();
            let [text, sent] = &parts[..] else { panic!("{dialect:?}: {} parts", parts.len()) };
            assert_eq!((&text["text"], sent), (&json!(marker), &expected), "{dialect:?}");
        }
    }
    // A text file of Messages is text for anybody.
    let source = json!({ "type": "text", "media_type": "text/plain", "data": "plain words" });
    let content = json!([{ "type": "document", "source": source }, { "type": "text", "text": "what is it?" }]);
    let mut request = Dialect::Messages.question("");
    request["messages"][0]["content"] = content;
    Dialect::Messages.read(&Dialect::Messages.ask(&server, &request, true).await);
    assert_eq!(second.violations(), [""; 0]);
}

/// What must be called, how thinking is switched, formats without a schema.
pub async fn choices_and_switches_arrive(case: Arc<Case>) {
    let (second, server) = alone(&case, &[]).await;
    let named = json!({ "type": "function", "function": { "name": "get_weather" } });
    for (dialect, fields, path, expected) in [
        (Dialect::Chat, json!({ "tool_choice": "required" }), "/tool_choice", json!("required")),
        (Dialect::Chat, json!({ "tool_choice": named }), "/tool_choice", named.clone()),
        (Dialect::Chat, json!({ "tool_choice": "none" }), "/tool_choice", json!("none")),
        (Dialect::Chat, json!({ "parallel_tool_calls": false }), "/parallel_tool_calls", json!(false)),
        (
            Dialect::Chat,
            json!({ "response_format": { "type": "json_object" } }),
            "/response_format/type",
            json!("json_object"),
        ),
        (Dialect::Responses, json!({ "tool_choice": "required" }), "/tool_choice", json!("required")),
        (
            Dialect::Responses,
            json!({ "tool_choice": { "type": "function", "name": "get_weather" } }),
            "/tool_choice",
            named.clone(),
        ),
        (Dialect::Responses, json!({ "parallel_tool_calls": false }), "/parallel_tool_calls", json!(false)),
        (
            Dialect::Responses,
            json!({ "text": { "format": { "type": "json_object" } } }),
            "/response_format/type",
            json!("json_object"),
        ),
        (Dialect::Messages, json!({ "tool_choice": { "type": "any" } }), "/tool_choice", json!("required")),
        (
            Dialect::Messages,
            json!({ "tool_choice": { "type": "tool", "name": "get_weather" } }),
            "/tool_choice",
            named.clone(),
        ),
        (
            Dialect::Messages,
            json!({ "tool_choice": { "type": "auto", "disable_parallel_tool_use": true } }),
            "/parallel_tool_calls",
            json!(false),
        ),
    ] {
        let marker = unique("choice");
        let tools = json!({ "tools": [weather(dialect)] });
        let request = with(with(dialect.question(&marker), tools), fields.clone());
        let reply = dialect.ask(&server, &request, true).await;
        let body = second.asked_once(&marker).body;
        assert_eq!(body.pointer(path), Some(&expected), "{dialect:?} {fields}: {body}");
        let seen = dialect.read(&reply);
        assert_eq!(seen.finish == "tool_calls", expected == "required" || expected == named, "{fields}: {seen:?}");
    }
    for (dialect, on, off) in [
        (Dialect::Chat, json!({ "enable_thinking": true }), json!({ "enable_thinking": false })),
        (
            Dialect::Responses,
            json!({ "reasoning": { "effort": "high" } }),
            json!({ "reasoning": { "effort": "none" } }),
        ),
        (
            Dialect::Messages,
            json!({ "thinking": { "type": "enabled", "budget_tokens": 2_000 } }),
            json!({ "thinking": { "type": "disabled" } }),
        ),
    ] {
        for (fields, thinking) in [(on, "Hm."), (off, "")] {
            for stream in [false, true] {
                let request = with(dialect.question("[[api think=Hm. say=So.]]"), fields.clone());
                let seen = dialect.read(&dialect.ask(&server, &request, stream).await);
                assert_eq!((seen.thinking.as_str(), seen.text.as_str()), (thinking, "So."), "{dialect:?} {fields}");
            }
        }
    }
    assert_eq!(second.violations(), [""; 0]);
}

/// What clients may send, and official servers do not take.
pub async fn loose_requests_become_strict_ones(case: Arc<Case>) {
    let (second, server) = alone(&case, &[]).await;
    let tool = json!({ "type": "function", "function": { "name": "look" } });
    let call = json!({ "id": "call_1", "type": "function", "function": { "name": "look", "arguments": "" } });
    let parts = json!([{ "type": "input_text", "text": "a" }, { "type": "text", "text": "b" }]);
    for (name, fields) in [
        (
            "nulls",
            json!({ "temperature": null, "tools": null, "stop": null, "stream_options": null, "response_format": null }),
        ),
        ("empty lists", json!({ "tools": [], "stop": [] })),
        (
            "unknown fields",
            json!({ "conversation_id": "x", "chat_template_kwargs": {}, "extra_body": {}, "thinking": { "type": "disabled" } }),
        ),
        ("many stops", json!({ "stop": ["1", "2", "3", "4", "5", "6"] })),
        ("a bare tool", json!({ "tools": [tool] })),
        ("both limits", json!({ "max_tokens": 9, "max_completion_tokens": 8 })),
        ("a limit of nothing", json!({ "max_tokens": 0 })),
        (
            "old functions",
            json!({ "functions": [{ "name": "look", "parameters": { "type": "object", "properties": {} } }], "function_call": "auto" }),
        ),
        ("parts of others", json!({ "messages": [{ "role": "user", "content": parts }] })),
        (
            "an answer of nothing",
            json!({ "messages": [{ "role": "user", "content": "a" }, { "role": "assistant", "content": null }, { "role": "user", "content": "b" }] }),
        ),
        (
            "a call without arguments",
            json!({ "tools": [tool], "messages": [
            { "role": "user", "content": "a" },
            { "role": "assistant", "content": null, "tool_calls": [call] },
            { "role": "tool", "tool_call_id": "call_1", "content": null },
        ] }),
        ),
        (
            "a call without a result",
            json!({ "tools": [tool], "messages": [
            { "role": "user", "content": "a" }, { "role": "assistant", "tool_calls": [call] }, { "role": "user", "content": "never mind" },
        ] }),
        ),
        (
            "a result without a call",
            json!({ "tools": [tool], "messages": [
            { "role": "user", "content": "a" }, { "role": "tool", "tool_call_id": "call_9", "content": "r" }, { "role": "user", "content": "b" },
        ] }),
        ),
        (
            "an old function's result",
            json!({ "functions": [{ "name": "look", "parameters": {} }], "messages": [
            { "role": "user", "content": "a" },
            { "role": "assistant", "content": null, "function_call": { "name": "look", "arguments": "{}" } },
            { "role": "function", "name": "look", "content": "r" },
        ] }),
        ),
        (
            "fields of messages",
            json!({ "messages": [
            { "role": "user", "content": "a", "id": "x", "timestamp": 5 },
            { "role": "assistant", "content": "b", "reasoning_content": "c", "refusal": null, "annotations": [], "tool_calls": null },
            { "role": "user", "content": "d" },
        ] }),
        ),
    ] {
        for stream in [false, true] {
            let reply = Dialect::Chat.ask(&server, &with(chat("x"), fields.clone()), stream).await;
            assert_eq!(second.violations(), [""; 0], "{name}");
            Answer::read(&reply);
            assert_upstream(&reply, "fallback");
        }
    }
    let cached = json!({ "type": "ephemeral" });
    let used = json!({ "type": "tool_use", "id": "toolu_1", "name": "look", "input": {} });
    for (name, fields) in [
        (
            "cache marks",
            json!({ "messages": [{ "role": "user", "content": [{ "type": "text", "text": "a", "cache_control": cached }] }] }),
        ),
        ("metadata", json!({ "metadata": { "user_id": "u" }, "context_management": {}, "betas": ["x"] })),
        (
            "a failed result",
            json!({ "tools": [{ "name": "look", "input_schema": {} }], "messages": [
            { "role": "user", "content": "a" },
            { "role": "assistant", "content": [used] },
            { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "toolu_1", "is_error": true }] },
        ] }),
        ),
        (
            "a result with a picture",
            json!({ "tools": [{ "name": "look", "input_schema": { "type": "object" } }], "messages": [
            { "role": "user", "content": "a" },
            { "role": "assistant", "content": [used] },
            { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "toolu_1", "content": [
                { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "aGk=" } },
            ] }] },
        ] }),
        ),
        (
            "a long name of a tool",
            json!({ "tools": [{ "name": "n".repeat(64), "description": "", "input_schema": { "type": "object" } }] }),
        ),
    ] {
        let request = with(Dialect::Messages.question("x"), fields);
        let reply = Dialect::Messages.ask(&server, &request, true).await;
        assert_eq!(second.violations(), [""; 0], "{name}");
        messages::message(&reply);
    }
    // Results alone are half a conversation.
    let alone = json!({ "messages": [
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "toolu_1", "content": "rain" }] },
    ] });
    let before = second.asked().len();
    let reply = Dialect::Messages.ask(&server, &with(Dialect::Messages.question("x"), alone), false).await;
    let (status, code, _) = Dialect::Messages.error(&reply);
    assert_eq!((status, code.as_str()), (400, "invalid_request"), "{reply:?}");
    assert_eq!(second.asked().len(), before);
    // Headers of clients stay here.
    let headers = [
        ("cookie", "token=secret"),
        ("x-conversation-id", "x"),
        ("anthropic-version", "2023-06-01"),
        ("x-request-id", "mine"),
        ("openai-organization", "org"),
        ("x-stainless-lang", "js"),
        ("user-agent", "Mozilla/5.0"),
        ("x-openwebui-chat-id", "y"),
        ("accept-language", "de"),
        ("session-id", "z"),
    ];
    for (dialect, stream) in ALL {
        dialect.read(&dialect.ask_with(&server, &dialect.question("hi"), stream, &headers).await);
    }
    assert_eq!(second.violations(), [""; 0]);
}

/// A directive, and what a client has to read: text, thinking, finish reason.
const FORMS: &[(&str, &str, &str, &str)] = &[
    ("say=One%20two%20three", "One two three", "", "stop"),
    ("think=Hm%20hm. say=One%20two", "One two", "Hm hm.", "stop"),
    ("think=Hm%20hm. say=One%20two as=reasoning", "One two", "Hm hm.", "stop"),
    ("think=Hm%20hm. say=One%20two nulls=1", "One two", "Hm hm.", "stop"),
    ("think=Hm%20hm. say=One%20two nulls=1 as=reasoning role=each", "One two", "Hm hm.", "stop"),
    ("say=One%20two role=each", "One two", "", "stop"),
    ("say=One%20two lines=comments", "One two", "", "stop"),
    ("say=One%20two lines=crlf", "One two", "", "stop"),
    ("say=One%20two lines=crlf,comments,event,id,retry split=1", "One two", "", "stop"),
    ("say=One%20two lines=event", "One two", "", "stop"),
    ("say=One%20two lines=id,retry", "One two", "", "stop"),
    ("say=One%20two lines=nospace", "One two", "", "stop"),
    ("say=One%20two lines=unended", "One two", "", "stop"),
    ("say=One%20two lines=unended done=0", "One two", "", "stop"),
    ("say=One%20two lines=bom", "One two", "", "stop"),
    ("say=One%20two done=0", "One two", "", "stop"),
    ("say=One%20two lines=multiline", "One two", "", "stop"),
    ("say=One%20two lines=odd", "One two", "", "stop"),
    ("think=Hm%20hm. say= finish=length", "", "Hm hm.", "length"),
    ("say=One%20two finish=length", "One two", "", "length"),
    ("say=One%20two finish=content_filter", "One two", "", "content_filter"),
    ("say=One%20two finish=eos", "One two", "", "stop"),
    ("say=One%20two finish=end_turn", "One two", "", "stop"),
    ("say=One%20two finish=empty", "One two", "", "stop"),
    ("say=One%20two finish=null", "One two", "", "stop"),
    ("say=One%20two usage=last", "One two", "", "stop"),
    ("say=One%20two usage=each", "One two", "", "stop"),
    ("say=One%20two usage=none", "One two", "", "stop"),
    ("say=One%20two usage=null", "One two", "", "stop"),
    ("say=%F0%9F%99%82%20Gr%C3%BC%C3%9Fe%20%E4%BD%A0 split=1", "🙂 Grüße 你", "", "stop"),
    ("say=%F0%9F%99%82%20%F0%9F%91%A9%E2%80%8D%F0%9F%92%BB. piece=1 split=3", "🙂 👩‍💻.", "", "stop"),
    ("say=line%E2%80%A8separators%C2%85too", "line\u{2028}separators\u{85}too", "", "stop"),
    ("say=%5BTOOL%20CALL%5D%20is%20a%20word", "[TOOL CALL] is a word", "", "stop"),
    ("say=One%20two whole=1 think=Hm%20hm.", "One two", "Hm hm.", "stop"),
];

pub async fn each_form_of_a_stream_is_read(case: Arc<Case>) {
    let (second, server) = alone(&case, &[]).await;
    for (directive, text, thinking, finish) in FORMS {
        for (dialect, stream) in ALL {
            let request = dialect.question(&format!("[[api {directive} tokens=321/45/6/0]]"));
            let reply = dialect.ask(&server, &request, stream).await;
            assert_upstream(&reply, "fallback");
            let what = format!("{dialect:?} {directive}: {reply:?}");
            let seen = dialect.read(&reply);
            assert_eq!((seen.text.as_str(), seen.thinking.as_str()), (*text, *thinking), "{what}");
            assert!(seen.calls.is_empty(), "{what}");
            assert_eq!(seen.finish, *finish, "{what}");
            if !directive.contains("usage=n") {
                assert_eq!(seen.usage, (321, 45), "{what}");
            }
        }
    }
    // The parts of a usage, where the dialect has them.
    let request = Dialect::Chat.question("[[api say=x tokens=321/45/6/7]]");
    for stream in [false, true] {
        let usage = Answer::read(&Dialect::Chat.ask(&server, &request, stream).await).usage;
        assert_eq!(usage["total_tokens"], 366, "{usage}");
        assert_eq!(usage["completion_tokens_details"]["reasoning_tokens"], 6, "{usage}");
        assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 7, "{usage}");
        let usage = Response::read(
            &Dialect::Responses
                .ask(&server, &Dialect::Responses.question("[[api say=x tokens=321/45/6/7]]"), stream)
                .await,
        );
        assert_eq!(usage.body["usage"]["output_tokens_details"]["reasoning_tokens"], 6, "{usage:?}");
        assert_eq!(usage.body["usage"]["input_tokens_details"]["cached_tokens"], 7, "{usage:?}");
    }
    assert_eq!(second.violations(), [""; 0]);
}

/// Halves of a character that come in two events are joined, as they are where the site sends them.
pub async fn halves_of_characters_are_joined(case: Arc<Case>) {
    let (_second, server) = alone(&case, &[]).await;
    for (dialect, stream) in ALL {
        let prompt = "[[api say=a%F0%9F%99%82b%F0%9F%91%8D think=%F0%9F%A4%94! halves=1]]";
        let seen = dialect.read(&dialect.ask(&server, &dialect.question(prompt), stream).await);
        assert_eq!((seen.text.as_str(), seen.thinking.as_str()), ("a🙂b👍", "🤔!"), "{dialect:?} {stream}");
    }
}

pub async fn deltas_are_passed_on_as_they_come(case: Arc<Case>) {
    let (_second, server) = alone(&case, &[]).await;
    let mut client = crate::http::Raw::connect(server.http.address()).await;
    // The answer has no end: what was read came before it.
    let prompt = "[[api say=One%20two%20three%20four think=Hm. stall=5]]";
    client.chat(&with(chat(prompt), json!({ "stream": true }))).await;
    let text = client.read_until("\"content\":\"two \"").await;
    assert!(text.contains("x-upstream: fallback") && text.contains("\"reasoning_content\":\"Hm.\""), "{text}");
    client.reset();
}

pub async fn stop_texts_and_limits_end_the_answer(case: Arc<Case>) {
    let (second, server) = alone(&case, &[]).await;
    for stream in [false, true] {
        for (dialect, fields, text, finish) in [
            (Dialect::Chat, json!({ "stop": "4 " }), "1 2 3 ", "stop"),
            (Dialect::Chat, json!({ "stop": ["a", "b", "c", "d", "e", "4 "] }), "1 2 3 ", "stop"),
            (Dialect::Chat, json!({ "max_tokens": 3 }), "1 2 3 ", "length"),
            (Dialect::Responses, json!({ "max_output_tokens": 3 }), "1 2 3 ", "length"),
            (Dialect::Messages, json!({ "max_tokens": 3 }), "1 2 3 ", "length"),
            (Dialect::Messages, json!({ "stop_sequences": ["x", "4 "] }), "1 2 3 ", "stop"),
        ] {
            let request = with(dialect.question("[[api n=50]]"), fields.clone());
            let reply = dialect.ask(&server, &request, stream).await;
            let seen = dialect.read(&reply);
            assert_eq!((seen.text.as_str(), seen.finish.as_str()), (text, finish), "{dialect:?} {fields}");
            if fields.get("stop_sequences").is_some() {
                let message = messages::message(&reply);
                assert_eq!(
                    (&message["stop_reason"], &message["stop_sequence"]),
                    (&json!("stop_sequence"), &json!("4 "))
                );
            }
        }
    }
    assert_eq!(second.violations(), [""; 0]);
}

/// How calls come, and what they have to be.
pub async fn each_form_of_a_call_is_a_call(case: Arc<Case>) {
    let (second, server) = alone(&case, &[]).await;
    let oslo = oslo();
    let rome = encoded("{\"city\":\"Rome\",\"days\":2}");
    let (one, two) = (json!({ "city": "Oslo" }), json!({ "city": "Rome", "days": 2 }));
    let both = format!("call=get_weather args={oslo} call=get_weather args={rome}");
    let mut ids = std::collections::HashSet::new();
    for form in [
        "pieces",
        "interleaved",
        "whole",
        "each",
        "repeat",
        "blank",
        "nulls",
        "noindex",
        "sameindex",
        "noid",
        "object",
        "pieces finish=stop",
        "whole finish=stop",
        "pieces finish=null",
        "pieces done=0",
        "noid finish=stop",
        "pieces split=1 lines=crlf",
        "pieces nulls=1",
        "whole role=each nulls=1",
        "pieces usage=last",
        "pieces whole=1",
        "object whole=1",
        "noid whole=1",
    ] {
        for text in ["", "Let%20me%20look."] {
            let say = if text.is_empty() { String::new() } else { format!("say={text} think=Hm. ") };
            for (dialect, stream) in ALL {
                let marker = unique("called");
                let prompt = format!("{marker} [[api {say}{both} calls={form} tokens=321/45/0/0]]");
                let question = with(dialect.question(&prompt), json!({ "tools": [weather(dialect)] }));
                let reply = dialect.ask(&server, &question, stream).await;
                let seen = dialect.read(&reply);
                let what = format!("{dialect:?} {form}: {reply:?}");
                assert_eq!(seen.called(), [("get_weather", &one), ("get_weather", &two)], "{what}");
                assert_eq!((seen.finish.as_str(), seen.usage), ("tool_calls", (321, 45)), "{what}");
                assert_eq!(seen.text, text.replace("%20", " "), "{what}");
                assert_eq!(seen.thinking, if text.is_empty() { "" } else { "Hm." }, "{what}");
                for (id, ..) in &seen.calls {
                    assert!(!id.is_empty() && ids.insert(id.clone()), "{what}");
                    assert!(dialect != Dialect::Messages || id.starts_with("toolu_"), "{what}");
                }
                // The results answer those calls there.
                let next = dialect.with_results(question, &reply, &["rain", "sun"]);
                let reply = dialect.ask(&server, &next, stream).await;
                assert_eq!(dialect.read(&reply).text, "4 messages, the newest: rain | sun", "{what}");
                let asked = second.asked_with(&marker).pop().unwrap();
                let calls = asked.messages()[1]["tool_calls"].as_array().unwrap().clone();
                let made: Vec<Value> = calls
                    .iter()
                    .map(|call| serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap())
                    .collect();
                assert_eq!(made, [one.clone(), two.clone()]);
            }
        }
    }
    // A name that was not declared, and one that the site has as well, are calls like any other.
    for name in ["unheard_of", "web_search"] {
        for (dialect, stream) in ALL {
            let tool = dialect.tool(&super::agent::tool("web_search", json!({ "type": "object", "properties": {} })));
            let marker = unique("name");
            let question = with(
                dialect.question(&format!("{marker} [[api call={name} args={oslo}]]")),
                json!({ "tools": [tool] }),
            );
            let reply = dialect.ask(&server, &question, stream).await;
            assert_eq!(dialect.read(&reply).called(), [(name, &one)], "{reply:?}");
            if !(dialect == Dialect::Responses) {
                assert_eq!(second.asked_once(&marker).body["tools"][0]["function"]["name"], "web_search");
            }
        }
    }
    assert_eq!(second.violations(), [""; 0]);
}

/// Some servers send an empty text as the arguments of a call that has none.
pub async fn a_call_may_have_no_arguments(case: Arc<Case>) {
    let (second, server) = alone(&case, &[]).await;
    for form in ["empty", "empty whole=1", "pieces"] {
        for (dialect, stream) in ALL {
            let question = with(
                dialect.question(&format!("[[api call=get_weather calls={form}]]")),
                json!({ "tools": [weather(dialect)] }),
            );
            let reply = dialect.ask(&server, &question, stream).await;
            assert_eq!(dialect.read(&reply).called(), [("get_weather", &json!({}))], "{form}: {reply:?}");
        }
    }
    assert_eq!(second.violations(), [""; 0]);
}

/// Official servers refuse a request for a field that they do not know.
pub async fn sampling_fields_of_other_servers_stay_here(case: Arc<Case>) {
    let (second, server) = alone(&case, &[]).await;
    for fields in
        [json!({ "min_p": 0.5 }), json!({ "top_a": 0.5 }), json!({ "mirostat": 1 }), json!({ "typical_p": 1 })]
    {
        for stream in [false, true] {
            let reply = Dialect::Chat.ask(&server, &with(chat("x"), fields.clone()), stream).await;
            assert_eq!(second.violations(), [""; 0], "{fields}");
            Answer::read(&reply);
        }
    }
}

/// Tools in the older form, and those of free text.
pub async fn other_kinds_of_tools_come_back_as_they_were_declared(case: Arc<Case>) {
    let (second, server) = alone(&case, &[]).await;
    let oslo = oslo();
    let input = encoded("{\"input\":\"SELECT 1;\"}");
    for stream in [false, true] {
        for form in ["pieces", "legacy"] {
            let function = super::agent::weather()["function"].clone();
            let request = with(
                chat(&format!("[[api call=get_weather args={oslo} calls={form}]]")),
                json!({ "functions": [function] }),
            );
            let answer = Answer::read(&Dialect::Chat.ask(&server, &request, stream).await);
            assert_eq!(
                (answer.finish.as_str(), &answer.function_call["name"]),
                ("function_call", &json!("get_weather"))
            );
            assert_eq!(answer.function_call["arguments"], "{\"city\":\"Oslo\"}");
        }
        let custom = json!({ "type": "custom", "custom": { "name": "run_sql", "description": "Runs SQL." } });
        let prompt = format!("[[api call=run_sql args={input}]]");
        let request = with(chat(&prompt), json!({ "tools": [custom] }));
        let answer = Answer::read(&Dialect::Chat.ask(&server, &request, stream).await);
        assert_eq!(answer.calls[0]["custom"], json!({ "name": "run_sql", "input": "SELECT 1;" }), "{answer:?}");
        let mut messages = request["messages"].as_array().unwrap().clone();
        messages.push(answer.message());
        messages.push(json!({ "role": "tool", "tool_call_id": answer.id(0), "content": "1" }));
        let request = with(request, json!({ "messages": messages }));
        Answer::read(&Dialect::Chat.ask(&server, &request, stream).await).assert_text("3 messages, the newest: 1");

        let custom = json!({ "type": "custom", "name": "run_sql", "description": "Runs SQL." });
        let space = json!({ "type": "namespace", "name": "ns", "description": "", "tools": [
            { "type": "function", "name": "look", "parameters": { "type": "object", "properties": {} } },
        ] });
        let tools = json!({ "tools": [custom, space, { "type": "web_search" }] });
        let marker = unique("kinds");
        let prompt = format!("{marker} [[api call=run_sql args={input} call=ns__look]]");
        let question = with(Dialect::Responses.question(&prompt), tools);
        let reply = Dialect::Responses.ask(&server, &question, stream).await;
        let response = Response::read(&reply);
        assert_eq!(response.items(), ["custom_tool_call", "function_call"], "{response:?}");
        assert_eq!(response.output()[0]["input"], "SELECT 1;");
        let look = &response.output()[1];
        assert_eq!((&look["namespace"], &look["name"]), (&json!("ns"), &json!("look")), "{look}");
        let mut input = question["input"].as_array().unwrap().clone();
        input.extend_from_slice(response.output());
        input.push(json!({ "type": "custom_tool_call_output", "call_id": response.call_id(0), "output": "1" }));
        input.push(super::response_reader::result(response.call_id(1), "seen"));
        let reply = Dialect::Responses.ask(&server, &with(question, json!({ "input": input })), stream).await;
        Response::read(&reply).assert_text("4 messages, the newest: 1 | seen");
    }
    assert_eq!(second.violations(), [""; 0]);
}

/// What it refuses, or says instead of an answer: the statuses and codes that a client may get, the first being the likeliest.
const REFUSALS: &[(&str, &[(u16, &str)])] = &[
    ("bad_field", &[(400, "upstream_rejected")]),
    ("context_length", &[(400, "upstream_rejected")]),
    ("studio_length", &[(400, "upstream_rejected")]),
    ("unprocessable", &[(400, "upstream_rejected")]),
    ("content_filter", &[(400, "content_filter")]),
    ("studio_inspection", &[(400, "content_filter")]),
    // Model Studio says with a 400 that the account is not in good standing.
    ("studio_arrearage", &[(429, "quota_exceeded"), (502, "fallback_refused"), (400, "upstream_rejected")]),
    ("studio_throttled retry_after=7", &[(429, "rate_limit_exceeded")]),
    ("studio_key", &[(502, "fallback_refused")]),
    ("key", &[(502, "fallback_refused")]),
    ("forbidden", &[(502, "fallback_refused")]),
    ("forbidden_html", &[(502, "fallback_refused")]),
    ("no_credit", &[(429, "quota_exceeded"), (502, "fallback_refused"), (400, "upstream_rejected")]),
    ("no_model", &[(404, "model_not_found")]),
    ("no_route", &[(502, "upstream_error"), (502, "upstream_invalid"), (404, "model_not_found")]),
    ("too_large", &[(413, "request_too_large")]),
    ("too_large_html", &[(413, "request_too_large")]),
    ("rate retry_after=7", &[(429, "rate_limit_exceeded")]),
    ("rate", &[(429, "rate_limit_exceeded")]),
    ("quota", &[(429, "quota_exceeded")]),
    ("internal", &[(502, "upstream_error")]),
    ("gateway", &[(502, "upstream_error"), (502, "upstream_invalid")]),
    ("unavailable", &[(502, "upstream_error"), (503, "upstream_overloaded")]),
    ("overloaded", &[(502, "upstream_error"), (503, "upstream_overloaded")]),
    ("ok_error", &[(502, "upstream_error")]),
    ("ok_rate", &[(429, "rate_limit_exceeded")]),
    ("ok_html", &[(502, "upstream_invalid"), (502, "upstream_error")]),
    ("ok_empty", &[(502, "upstream_empty"), (502, "upstream_invalid")]),
    ("ok_no_choices", &[(502, "upstream_empty"), (502, "upstream_invalid")]),
    ("ok_no_bytes", &[(502, "upstream_empty")]),
    ("ok_only_done", &[(502, "upstream_empty")]),
    ("redirect", &[(502, "upstream_error"), (502, "upstream_invalid")]),
    ("secret", &[(400, "upstream_rejected")]),
    ("secret_words", &[(502, "upstream_error")]),
];

pub async fn its_refusals_have_their_status_and_code(case: Arc<Case>) {
    let second = Compatible::start();
    let server = case.start_with_second(&case.fake, &second, &[("QWEN_COOKIES", "")]).await;
    for (fail, expected) in REFUSALS {
        for (dialect, stream) in ALL {
            // As a fall-back, and by its name.
            for model in ["qwen3-max", "api:second-large"] {
                let marker = unique("refused");
                let prompt = format!("{marker} [[api fail={fail}]]");
                let request = with(dialect.question(&prompt), json!({ "model": model }));
                let reply = dialect.ask(&server, &request, stream).await;
                assert_upstream(&reply, "fallback");
                let (status, code, message) = dialect.error(&reply);
                assert!(expected.contains(&(status, code.as_str())), "{fail}: {status} {code}: {message}");
                assert!(message.starts_with("127.0.0.1"), "{fail}: no host before {message:?}");
                assert!(!message.contains("sk-") && !reply.text().contains(KEY), "{fail}: {reply:?}");
                if fail.contains("retry_after") {
                    assert_eq!(reply.header("retry-after"), Some("7"), "{fail}");
                }
                if code == "quota_exceeded" {
                    assert_eq!(reply.header("x-should-retry"), Some("false"), "{fail}");
                }
                second.asked_once(&marker);
            }
        }
    }
    let elsewhere = second.requests().iter().filter(|request| request.path_and_query == "/elsewhere").count();
    assert_eq!(elsewhere, 0, "a redirect was followed, with the key");
    let log = server.log().await.join("\n");
    assert!(!log.contains(KEY), "the key is in the log");
    assert_eq!(second.violations(), [""; 0]);
}

pub async fn errors_amid_its_stream_end_it(case: Arc<Case>) {
    let (second, server) = alone(&case, &[SHORT_IDLE]).await;
    for (form, code) in [
        ("error=openai", "upstream_error"),
        ("error=choices", "upstream_error"),
        ("error=text", "upstream_error"),
        ("error=openrouter", "rate_limit_exceeded"),
        ("error=secret", "upstream_error"),
        ("cut=700", "upstream_truncated"),
        ("cut_clean=700", "upstream_truncated"),
        ("stall=3", "upstream_timeout"),
        ("finish=insufficient_system_resource", "upstream_error"),
    ] {
        for (dialect, stream) in ALL {
            // As the first thing, it is a status.
            for is_first in [false, true] {
                if is_first && !form.starts_with("error") {
                    continue;
                }
                let marker = unique("amid");
                let at = if is_first { "error_at=0" } else { "error_at=3" };
                let prompt = format!("{marker} [[api say=One%20two%20three%20four {form} {at}]]");
                let reply = dialect.ask(&server, &dialect.question(&prompt), stream).await;
                let (status, got, message) = dialect.error(&reply);
                assert_eq!(got, code, "{dialect:?} {form} {at}: {reply:?}");
                assert_eq!(status == 200, stream && !is_first, "{form}: {reply:?}");
                assert!(!reply.text().contains(KEY) && !message.contains("sk-"), "{form}: {reply:?}");
                if stream && !is_first {
                    assert!(reply.text().contains("One"), "what came before: {reply:?}");
                }
                second.asked_once(&marker);
            }
        }
    }
    // Inspection after text ends an answer as it does at the site.
    for (dialect, stream) in ALL {
        let prompt = "[[api say=One%20two%20three%20four error=filter error_at=3]]";
        let seen = dialect.read(&dialect.ask(&server, &dialect.question(prompt), stream).await);
        assert_eq!((seen.text.as_str(), seen.finish.as_str()), ("One two ", "content_filter"));
    }
    // What has calls that are not whole has none.
    for (dialect, stream) in ALL {
        let prompt = format!("[[api call=get_weather args={} cut_clean=1000]]", oslo());
        let question = with(dialect.question(&prompt), json!({ "tools": [weather(dialect)] }));
        let reply = dialect.ask(&server, &question, stream).await;
        assert_eq!(dialect.error(&reply).1, "upstream_truncated", "{reply:?}");
    }
    assert!(!server.log().await.join("\n").contains(KEY), "the key is in the log");
}

/// An error object has the same meaning in a stream that it has with a status.
pub async fn codes_amid_its_stream_are_those_of_its_refusals(case: Arc<Case>) {
    let (second, server) = alone(&case, &[]).await;
    let mut wrong = Vec::new();
    for (form, status, code) in [
        ("studio", 429, "rate_limit_exceeded"),
        ("rate", 429, "rate_limit_exceeded"),
        ("quota", 429, "quota_exceeded"),
        ("filter", 400, "content_filter"),
        ("model", 404, "model_not_found"),
    ] {
        for (dialect, stream) in ALL {
            let marker = unique("code");
            let prompt = format!("{marker} [[api say=x error={form} error_at=0]]");
            let reply = dialect.ask(&server, &dialect.question(&prompt), stream).await;
            let (got, kind, _) = dialect.error(&reply);
            if (got, kind.as_str()) != (status, code) {
                wrong.push(format!("{form} in {dialect:?}: {got} {kind} instead of {status} {code}"));
            }
            second.asked_once(&marker);
        }
    }
    assert_eq!(wrong, [""; 0]);
}

pub async fn a_silent_or_absent_upstream_is_an_error(case: Arc<Case>) {
    // A port that was just closed.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{closed}/v1");
    let settings = [("FALLBACK_BASE_URL", url.as_str()), ("FALLBACK_API_KEY", KEY), ("FALLBACK_ON", "always")];
    let absent = case.start(&settings).await;
    let (second, server) = alone(&case, &[SHORT_IDLE]).await;
    for (dialect, stream) in ALL {
        for (server, directive, expected) in [
            (&absent, "say=x", (502, "upstream_error")),
            (&server, "reset=1", (502, "upstream_error")),
            (&server, "hang=1", (504, "upstream_timeout")),
            (&server, "stall=0", (504, "upstream_timeout")),
        ] {
            let marker = unique("absent");
            let prompt = format!("{marker} [[api {directive}]]");
            let reply = dialect.ask(server, &dialect.question(&prompt), stream).await;
            let (status, code, message) = dialect.error(&reply);
            assert_eq!((status, code.as_str()), expected, "{directive}: {reply:?}");
            assert!(message.starts_with("127.0.0.1"), "{message}");
            assert_upstream(&reply, "fallback");
            let asked = second.asked_with(&marker);
            assert!(asked.len() <= 1, "{directive}: asked {} times", asked.len());
            for asked in asked {
                eventually("it is left", || async {
                    asked.request.outcome() != crate::fake_compatible::Outcome::Pending
                        && asked.request.outcome() != crate::fake_compatible::Outcome::Answered
                })
                .await;
            }
        }
    }
}

/// Asks for answers without an end, which have to end here, and checks that the memory stays bounded.
async fn assert_bounded(case: &Case, floods: &[(&str, &[bool])]) {
    let (second, server) = alone(case, &[]).await;
    let before = server.memory_bytes().await;
    for (directive, streams) in floods {
        for dialect in [Dialect::Chat, Dialect::Responses, Dialect::Messages] {
            for &stream in *streams {
                let marker = unique("flood");
                let tools = json!({ "tools": [weather(dialect)] });
                let request = with(dialect.question(&format!("{marker} [[api {directive}]]")), tools);
                let reply = dialect.ask(&server, &request, stream).await;
                assert_upstream(&reply, "fallback");
                assert!(reply.body.len() < 64 << 20, "{directive}: {} bytes", reply.body.len());
                let asked = second.asked_once(&marker);
                eventually("it is left", || async {
                    asked.request.outcome() == crate::fake_compatible::Outcome::ClosedByPeer
                })
                .await;
            }
        }
    }
    let after = server.memory_bytes().await;
    assert!(after < before + (160 << 20), "{before} bytes grew to {after}");
}

pub async fn what_it_sends_is_bounded(case: Arc<Case>) {
    let both = &[false, true][..];
    // A stream goes on for as long as its client wants it.
    let whole = &[false][..];
    let floods = [
        ("flood=line", both),
        ("flood=event", both),
        ("fail=flood", both),
        ("flood=text", whole),
        ("flood=thinking", whole),
    ];
    assert_bounded(&case, &floods).await;
}

pub async fn calls_without_an_end_have_one_here(case: Arc<Case>) {
    assert_bounded(&case, &[("flood=calls", &[false, true])]).await;
}

pub async fn silence_before_its_answer_has_heartbeats(case: Arc<Case>) {
    let (_second, server) = alone(&case, &[("FIRST_BYTE_SECONDS", "1")]).await;
    for (dialect, mark) in
        [(Dialect::Chat, "\n:"), (Dialect::Responses, "response.in_progress"), (Dialect::Messages, "event: ping")]
    {
        let reply = dialect.ask(&server, &dialect.question("[[api gap_ms=2500 say=late]]"), true).await;
        assert_eq!(dialect.read(&reply).text, "late");
        assert!(format!("\n{}", reply.text()).contains(mark), "{reply:?}");
    }
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
