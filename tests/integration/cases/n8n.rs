//! n8n's nodes. Its program needs a newer Node.js and drags a gigabyte along, so their requests are replayed. They come from
//! n8n-io/n8n, `packages/@n8n/nodes-langchain/nodes`: the node *OpenAI* is `vendors/OpenAi/v2` (`actions/text/response.operation.ts`,
//! `actions/text/helpers/responses.ts`, `actions/image/analyze.operation.ts`), the node *OpenAI Chat Model* is
//! `llms/LMChatOpenAi`, whose requests were recorded from its library, `@langchain/openai` 1.4.4.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    agent::{Answer, reply, turns, weather, weather_text},
    response_reader::{Response, ask, post, result},
};
use crate::{
    fake_qwen::{Fake, encoded, steps},
    http::with,
    server::Case,
};

/// The schema of a tool without one of its own, as `zodToJsonSchema` writes it.
fn schema(field: &str) -> Value {
    json!({ "type": "object", "properties": { field: { "type": "string" } }, "required": [field], "additionalProperties": false, "$schema": "http://json-schema.org/draft-07/schema#" })
}

/// The request of the node *OpenAI* with its defaults.
fn body_of_node(messages: &[(&str, &str)], fields: Value) -> Value {
    let input: Vec<Value> = messages
        .iter()
        .map(|(role, text)| json!({ "role": role, "content": [{ "type": "input_text", "text": text }] }))
        .collect();
    with(
        json!({ "model": "qwen3-max", "input": input, "parallel_tool_calls": true, "store": true, "background": false }),
        fields,
    )
}

/// Checks that the answers were asked for in one chat, and that each later turn has these results and nothing of what was told.
#[track_caller]
fn assert_one_chat(fake: &Fake, later: &[&[&str]]) {
    let turns = turns(fake);
    assert_eq!((fake.chats(), turns.len()), (1, later.len() + 1), "{turns:#?}");
    assert!(turns[0].text.contains("<tools>") && turns[0].text.contains("Be brief."), "{}", turns[0].text);
    for (turn, expected) in turns[1..].iter().zip(later) {
        for text in *expected {
            assert!(turn.text.contains(text), "{text}: {}", turn.text);
        }
        assert!(!turn.text.contains("<tools>") && !turn.text.contains("what now?"), "{}", turn.text);
    }
}

fn answers() -> String {
    let both = format!("I look.\n{}\n{}", weather_text("Oslo"), weather_text("Rome"));
    steps(&[&both, &weather_text("Bern"), "It rains."])
}

const RESULTS: [&[&str]; 2] = [
    &[
        "[TOOL RESULT #1: get_weather]\nrain in Oslo\n[END TOOL RESULT]",
        "[TOOL RESULT #2: get_weather]\nrain in Rome\n[END TOOL RESULT]",
    ],
    &["[TOOL RESULT #1: get_weather]\nrain in Bern\n[END TOOL RESULT]"],
];

/// The node sends back the calls and the thinking of an answer, but not its text.
pub async fn the_openai_node_runs_its_tools_in_one_chat(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let tool = json!({ "type": "function", "name": "get_weather", "parameters": schema("city"), "strict": true, "description": "The weather of a city." });
    let prompt = format!("what now? [[fake think=Hm. {}]]", answers());
    let mut body = body_of_node(&[("system", "Be brief."), ("user", &prompt)], json!({ "tools": [tool] }));
    let mut cities = Vec::new();
    let response = loop {
        let response = Response::read(&post(&server, &body).await);
        if response.called().is_empty() {
            break response;
        }
        let input = body["input"].as_array_mut().unwrap();
        input.extend(response.output().iter().filter(|item| item["type"] != "message").cloned());
        for item in response.of_kind("function_call") {
            let arguments: Value = serde_json::from_str(item["arguments"].as_str().unwrap()).unwrap();
            let city = arguments["city"].as_str().unwrap().to_owned();
            input.push(json!({ "type": "function_call_output", "call_id": item["call_id"], "output": format!("rain in {city}") }));
            cities.push(city);
        }
    };
    response.assert_text("It rains.");
    assert_eq!(cities, ["Oslo", "Rome", "Bern"]);
    assert_one_chat(&fake, &RESULTS);
    assert_eq!(server.get("/v1/models").await.json()["object"], "list", "the node lists the models");
}

/// Each option of the node in a request of its own, and all of them together.
pub async fn the_openai_nodes_options_are_accepted(case: Arc<Case>) {
    let server = case.server().await;
    let schema = json!({ "type": "object", "properties": { "name": { "type": "string" } }, "required": ["name"], "additionalProperties": false });
    let object = r#"{"name":"Ada"}"#;
    let options = [
        json!({ "instructions": "Be brief." }),
        json!({ "max_output_tokens": 200 }),
        json!({ "prompt_cache_key": "k", "safety_identifier": "s", "service_tier": "auto" }),
        json!({ "temperature": 1, "top_p": 1, "top_logprobs": 0 }),
        json!({ "max_tool_calls": 5, "truncation": "disabled" }),
        json!({ "include": ["message.output_text.logprobs", "file_search_call.results"], "metadata": { "a": "b" } }),
        json!({ "reasoning": { "effort": "medium", "summary": "auto" } }),
        json!({ "text": { "verbosity": "medium", "format": { "type": "text" } } }),
        json!({ "prompt": { "id": "pmpt_1", "version": "2", "variables": { "x": "y" } } }),
        json!({ "tools": [{ "type": "web_search", "search_context_size": "medium" }, { "type": "code_interpreter", "container": { "type": "auto" } }, { "type": "local_shell" }, { "type": "mcp", "server_label": "x", "server_url": "https://example.com", "require_approval": "never" }, { "type": "file_search", "vector_store_ids": ["v"] }] }),
    ];
    let all = options.iter().cloned().fold(json!({}), with);
    for fields in options.into_iter().chain([all]) {
        let body = body_of_node(&[("user", "[[fake say=Hello.]]")], fields.clone());
        let response = Response::read(&post(&server, &body).await);
        assert_eq!((response.text().as_str(), &response.body["status"]), ("Hello.", &json!("completed")), "{fields}");
    }
    for (system, format) in [
        ("You are a helpful assistant designed to output JSON.", json!({ "type": "json_object" })),
        ("Be brief.", json!({ "type": "json_schema", "name": "person", "schema": schema })),
    ] {
        let prompt = format!("[[fake say={}]]", encoded(&format!("Here:\n```json\n{object}\n```")));
        let fields = json!({ "text": { "verbosity": "low", "format": format } });
        let response =
            Response::read(&post(&server, &body_of_node(&[("system", system), ("user", &prompt)], fields)).await);
        // The node parses each text of the answer.
        let text: Value = serde_json::from_str(&response.text()).unwrap();
        assert_eq!(text, json!({ "name": "Ada" }), "{format}");
    }
}

/// The operation *Analyze Image*, and messages that are a picture or a file.
pub async fn the_openai_node_sends_pictures_and_files(case: Arc<Case>) {
    let server = case.server().await;
    let file = |name: &str| std::fs::read(format!("{}/tests/files/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let url = |kind: &str, bytes: &[u8]| {
        use base64::Engine as _;
        format!("data:{kind};base64,{}", base64::engine::general_purpose::STANDARD.encode(bytes))
    };
    let picture = json!({ "type": "input_image", "detail": "auto", "image_url": url("image/jpeg", &file("jfif.jpg")) });
    // The name of the field is the node's.
    let document =
        json!({ "type": "input_file", "file_name": "notes.txt", "file_data": url("text/plain", b"Some notes.") });
    let text = json!({ "type": "input_text", "text": "[[fake files=1]]" });
    let analysis = json!({ "model": "qwen3-max", "input": [{ "role": "user", "content": [text, picture] }], "max_output_tokens": 300 });
    let response = Response::read(&post(&server, &analysis).await);
    assert!(response.text().starts_with("image "), "{response:?}");
    let mut body = body_of_node(&[("user", "[[fake files=1]]")], json!({}));
    for content in [picture, document] {
        body["input"].as_array_mut().unwrap().push(json!({ "role": "user", "content": [content] }));
    }
    let response = Response::read(&post(&server, &body).await);
    assert_eq!(response.text().lines().count(), 2, "{response:?}");
}

/// An agent of n8n: its chat model with Responses, and with chat completions.
pub async fn the_chat_model_node_runs_an_agent_in_one_chat(case: Arc<Case>) {
    let system = "Be brief.";
    for stream in [true, false] {
        let fake = Fake::start();
        let server = case.start_with(&fake, &[]).await;
        let tool = json!({ "type": "function", "name": "get_weather", "parameters": with(schema("city"), json!({ "$schema": "https://json-schema.org/draft/2020-12/schema" })), "description": "The weather of a city.", "strict": false });
        let prompt = format!("what now? [[fake think=Hm. {}]]", answers());
        let mut input = vec![
            json!({ "type": "message", "role": "system", "content": system }),
            json!({ "type": "message", "role": "user", "content": prompt }),
        ];
        let response = loop {
            let body = json!({ "model": "qwen3-max", "input": input, "tools": [tool], "text": {} });
            let response = ask(&server, &body, stream).await;
            if response.called().is_empty() {
                break response;
            }
            input.extend(response.output().iter().cloned());
            for (index, (_, arguments)) in response.called().iter().enumerate() {
                input
                    .push(result(response.call_id(index), &format!("rain in {}", arguments["city"].as_str().unwrap())));
            }
        };
        response.assert_text("It rains.");
        assert_one_chat(&fake, &RESULTS);
        chat_completions(&case, system, stream).await;
    }
}

async fn chat_completions(case: &Case, system: &str, stream: bool) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let prompt = format!("what now? [[fake think=Hm. {}]]", answers());
    let mut messages =
        vec![json!({ "role": "system", "content": system }), json!({ "role": "user", "content": prompt })];
    let answer = loop {
        let body = json!({ "model": "qwen3-max", "messages": messages, "tools": [weather()] });
        let answer = Answer::read(&reply(&server, &body, stream).await);
        if answer.called().is_empty() {
            break answer;
        }
        // The library has a text, be it empty, beside the calls.
        let mut message = answer.message();
        message["content"] = json!(answer.content.clone().unwrap_or_default());
        messages.push(message);
        for (index, (name, arguments)) in answer.called().iter().enumerate() {
            let city = arguments["city"].as_str().unwrap();
            messages.push(json!({ "role": "tool", "content": format!("rain in {city}"), "name": name, "tool_call_id": answer.id(index) }));
        }
    };
    answer.assert_text("It rains.");
    assert_one_chat(&fake, &RESULTS);
}
