//! What the second upstream is told of a request.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{alone, oslo};
use crate::{
    cases::{
        agent::{self, Answer},
        dialects::{ALL, Dialect, assert_upstream, weather},
        files::fixture,
        messages,
        response_reader::{self, Response},
    },
    fake_compatible::Compatible,
    fake_qwen::{Fake, encoded},
    http::{chat, with},
    server::{Case, unique},
};

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
    expected["tools"] = json!([agent::weather()]);
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

pub async fn a_body_of_responses_to_chat_completions_goes_there_too(case: Arc<Case>) {
    let (second, server) = alone(&case, &[]).await;
    for stream in [false, true] {
        let marker = unique("cursor");
        let input =
            json!([{ "role": "user", "content": format!("{marker} [[api call=get_weather args={}]]", oslo()) }]);
        let tool = Dialect::Responses.tool(&agent::weather());
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
            let function = agent::weather()["function"].clone();
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
        input.push(response_reader::result(response.call_id(1), "seen"));
        let reply = Dialect::Responses.ask(&server, &with(question, json!({ "input": input })), stream).await;
        Response::read(&reply).assert_text("4 messages, the newest: 1 | seen");
    }
    assert_eq!(second.violations(), [""; 0]);
}
