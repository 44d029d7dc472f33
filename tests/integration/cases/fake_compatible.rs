//! Tests of the fake second upstream: how strict it is, and the forms that it knows.

use std::sync::Arc;

use serde_json::{Value, json};

use super::agent::{call_text, weather};
use crate::{
    fake_compatible::{Compatible, KEY},
    fake_qwen::{encoded, steps},
    http::{Http, Reply, chat, concat_deltas, events, with},
    server::Case,
};

async fn ask_as(second: &Compatible, headers: &[(&str, &str)], body: &Value) -> Reply {
    Http::new(&second.origin()).send_plain("POST", "/v1/chat/completions", headers, body.to_string()).await
}

async fn ask(second: &Compatible, body: &Value) -> Reply {
    let authorization = format!("Bearer {KEY}");
    ask_as(second, &[("authorization", &authorization), ("content-type", "application/json")], body).await
}

fn chunks(reply: &Reply) -> Vec<Value> {
    let data = events(&reply.text());
    assert_eq!(data.last().unwrap(), "[DONE]");
    data[..data.len() - 1].iter().map(|data| serde_json::from_str(data).unwrap()).collect()
}

pub async fn it_repeats_what_it_was_asked(_: Arc<Case>) {
    let second = Compatible::start();
    let body = json!({ "model": "m", "messages": [
        { "role": "system", "content": "Be brief." }, { "role": "user", "content": [{ "type": "text", "text": "Hi." }] },
    ] });
    let whole = ask(&second, &body).await.json();
    assert_eq!(whole["choices"][0]["message"]["content"], "2 messages, the newest: Hi.");
    assert_eq!(whole["model"], "m");
    let streamed = with(body, json!({ "stream": true, "stream_options": { "include_usage": true } }));
    let chunks = chunks(&ask(&second, &streamed).await);
    assert_eq!(concat_deltas(&chunks, "content"), "2 messages, the newest: Hi.");
    assert!(chunks.last().unwrap()["usage"]["prompt_tokens"].as_u64().unwrap() > 1_000);
    assert_eq!(second.asked().len(), 2);
    let [system, user] = &second.asked()[0].texts()[..] else { panic!("{:?}", second.asked()) };
    assert_eq!((system.1.as_str(), user.1.as_str()), ("Be brief.", "Hi."));
    assert_eq!(second.violations(), [""; 0]);
}

pub async fn it_plays_a_model(_: Arc<Case>) {
    let second = Compatible::start();
    let say = async |prompt: &str, fields: Value| {
        let reply = ask(&second, &with(chat(prompt), fields)).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()["choices"][0].clone()
    };
    let call = encoded(&call_text("get_weather", &json!({ "city": "Oslo" })));
    let tools = json!({ "tools": [weather()] });
    for prompt in [
        "[[api call=get_weather args={\"city\":\"Oslo\"}]]".to_owned(),
        format!("[[fake say={call}]]"),
        "[[fake call=get_weather args={\"city\":\"Oslo\"} fail=http_500]]".to_owned(),
    ] {
        let choice = say(&prompt, tools.clone()).await;
        assert_eq!(choice["finish_reason"], "tool_calls", "{choice}");
        let arguments = choice["message"]["tool_calls"][0]["function"]["arguments"].as_str().unwrap();
        assert_eq!(serde_json::from_str::<Value>(arguments).unwrap(), json!({ "city": "Oslo" }));
    }
    for (prompt, fields, text, finish) in [
        ("[[api n=9]]", json!({ "max_tokens": 3 }), "1 2 3 ", "length"),
        ("[[api n=9]]", json!({ "stop": ["x", "4 "] }), "1 2 3 ", "stop"),
        ("[[api say=So:%20{\"a\":1}.]]", json!({ "response_format": { "type": "json_object" } }), "{\"a\":1}", "stop"),
        ("[[fake say=site]] [[api say=second]]", json!({}), "second", "stop"),
        ("[[api fail=rate]] [[api say=later]]", json!({}), "later", "stop"),
    ] {
        let choice = say(prompt, fields).await;
        assert_eq!((&choice["message"]["content"], &choice["finish_reason"]), (&json!(text), &json!(finish)));
    }
    let choice = say("[[api think=Hm. say=So.]]", json!({ "enable_thinking": false })).await;
    assert_eq!(choice["message"].get("reasoning_content"), None, "{choice}");
    // The steps of a conversation are counted by its answers.
    let mut messages = vec![json!({ "role": "user", "content": format!("[[fake {}]]", steps(&["one", "two"])) })];
    for expected in ["one", "two"] {
        let choice = say("", json!({ "messages": messages })).await;
        assert_eq!(choice["message"]["content"], expected);
        messages.push(json!({ "role": "assistant", "content": expected }));
        messages.push(json!({ "role": "user", "content": "on" }));
    }
    assert_eq!(second.violations(), [""; 0]);
}

pub async fn it_refuses_what_official_servers_refuse(_: Arc<Case>) {
    let second = Compatible::start();
    let call = |id: &str, arguments: &str| json!({ "id": id, "type": "function", "function": { "name": "f", "arguments": arguments } });
    let asked = json!({ "role": "user", "content": "x" });
    let part = |part: Value| json!({ "messages": [{ "role": "user", "content": [part] }] });
    let result = json!({ "role": "tool", "tool_call_id": "a", "content": "r" });
    let calling = |calls: Value| json!({ "role": "assistant", "content": null, "tool_calls": calls });
    let tool = |function: Value| json!({ "tools": [{ "type": "function", "function": function }] });
    let mut faults = vec![
        json!({ "conversation_id": "x" }),
        json!({ "thinking": { "type": "enabled" } }),
        json!({ "temperature": "1" }),
        json!({ "temperature": null }),
        json!({ "max_tokens": 0 }),
        json!({ "max_tokens": 1, "max_completion_tokens": 1 }),
        json!({ "stop": ["1", "2", "3", "4", "5"] }),
        json!({ "stream_options": { "include_usage": true } }),
        json!({ "tool_choice": "auto" }),
        json!({ "messages": [] }),
        json!({ "messages": [{ "role": "robot", "content": "x" }] }),
        json!({ "messages": [{ "role": "user", "content": null }] }),
        json!({ "messages": [{ "role": "user", "content": [] }] }),
        json!({ "messages": [{ "role": "assistant", "content": "x", "reasoning_content": "y" }] }),
        json!({ "messages": [asked, result] }),
        json!({ "messages": [asked, calling(json!([call("b", "{}")])), result] }),
        json!({ "messages": [asked, calling(json!([call("a", "{}"), call("b", "{}")])), result] }),
        json!({ "messages": [asked, calling(json!([call("a", "{}")])), asked] }),
        json!({ "messages": [asked, calling(json!([call("a", "no")])), result] }),
        json!({ "messages": [asked, calling(json!([call("", "{}")]))] }),
        json!({ "messages": [asked, calling(json!([])), asked] }),
        part(json!({ "type": "input_text", "text": "x" })),
        part(json!({ "type": "file", "file": { "file_id": "file-1" } })),
        part(json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,*" } })),
        part(json!({ "type": "image_url", "image_url": { "url": "/relative" } })),
        tool(json!({ "name": "a b" })),
        tool(json!({ "name": "f", "parameters": { "type": "string" } })),
        tool(json!({ "name": "f", "input_schema": {} })),
        json!({ "response_format": { "type": "json_schema", "json_schema": { "schema": {} } } }),
        json!({ "response_format": { "type": "json_schema", "json_schema": { "name": "n" } } }),
    ];
    let count = faults.len();
    for fault in faults.drain(..) {
        let reply = ask(&second, &with(chat("x"), fault.clone())).await;
        assert_eq!(reply.status, 400, "{fault}: {reply:?}");
    }
    assert!(second.violations().len() >= count);
    let fine = calling(json!([call("a", "{}"), call("b", "{\"x\":1}")]));
    let other = json!({ "role": "tool", "tool_call_id": "b", "content": "r" });
    for fields in [
        json!({ "messages": [asked, fine, other, result, asked] }),
        json!({ "stop": "x", "top_k": 5, "enable_thinking": true, "thinking_budget": 50, "seed": 1 }),
        part(json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,aGk=", "detail": "low" } })),
        with(tool(json!({ "name": "f" })), json!({ "tool_choice": "required", "parallel_tool_calls": false })),
    ] {
        assert_eq!(ask(&second, &with(chat("x"), fields)).await.status, 200);
    }
    let key = format!("Bearer {KEY}");
    let json = ("content-type", "application/json");
    for (headers, status, is_fine) in [
        (&[json][..], 401, false),
        (&[json, ("authorization", "Bearer sk-test-key")], 401, false),
        (&[("authorization", key.as_str())], 400, false),
        // Nothing is refused for these, but they belong to others.
        (&[json, ("authorization", &key), ("cookie", "token=x")], 200, false),
        (&[json, ("authorization", &key), ("x-conversation-id", "x")], 200, false),
        (&[json, ("authorization", &key), ("user-agent", "Mozilla/5.0")], 200, false),
        (&[json, ("authorization", &key)], 200, true),
    ] {
        let before = second.violations().len();
        assert_eq!(ask_as(&second, headers, &chat("x")).await.status, status, "{headers:?}");
        assert_eq!(second.violations().len() == before, is_fine, "{headers:?}");
    }
}
