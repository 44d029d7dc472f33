//! Answers that have to be JSON, perhaps of a schema, as chat completions.

use std::sync::Arc;

use serde_json::{Value, json};

use super::agent::{Answer, Turn, assert_repeated, reply, says, turns, turns_with, weather, weather_text};
use crate::{
    fake_qwen::{Fake, encoded, steps},
    http::{Reply, chat, concat_deltas, events, eventually, with},
    server::{Case, Server, unique},
};

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": { "name": { "type": "string" }, "age": { "type": "integer" } },
        "required": ["name", "age"],
        "additionalProperties": false,
    })
}

fn format_of(schema: &Value) -> Value {
    json!({ "type": "json_schema", "json_schema": { "name": "person", "strict": true, "schema": schema } })
}

/// A request whose answers are these steps; returns its turns and the reply.
async fn ask(case: &Case, server: &Server, answers: &[&str], fields: Value, stream: bool) -> (Vec<Turn>, Reply) {
    let marker = unique("json");
    let prompt = format!("[[fake piece=5 {}]] {marker}", steps(answers));
    let reply = reply(server, &with(chat(&prompt), fields), stream).await;
    (turns_with(&case.fake, &marker), reply)
}

const GOOD: &str = r#"{"name": "Ada {x} \"y\"", "age": 36}"#;

pub async fn an_answer_is_reduced_to_its_object(case: Arc<Case>) {
    let server = case.server().await;
    let object = json!({ "name": "Ada {x} \"y\"", "age": 36 });
    for format in [json!({ "type": "json_object" }), format_of(&schema())] {
        let fields = json!({ "response_format": format });
        for text in [
            GOOD.to_owned(),
            format!("\n  {GOOD}\n"),
            format!("Here you are:\n\n{GOOD}\n\nIs there anything else? Write {{name}}."),
            format!("```json\n{GOOD}\n```"),
            format!("Sure! ```\n{GOOD}\n```\nThat is {{it}}."),
        ] {
            for stream in [false, true] {
                let (turns, reply) = ask(&case, &server, &[&text], fields.clone(), stream).await;
                let answer = Answer::read(&reply);
                answer.assert_text(GOOD);
                assert_eq!((turns.len(), answer.refusal), (1, None), "{text}");
            }
        }
        // A whole answer is repaired; what a stream has sent cannot be taken back.
        for text in [
            GOOD.replace("36}", "36,}"),
            GOOD.replace(", \"age", ", // her age\n\"age"),
            GOOD.replace("\"age\"", "age"),
        ] {
            let (turns, reply) = ask(&case, &server, &[&text], fields.clone(), false).await;
            let answer = Answer::read(&reply);
            let content: Value = serde_json::from_str(answer.content.as_deref().unwrap()).unwrap();
            assert_eq!((content, answer.finish.as_str(), turns.len()), (object.clone(), "stop", 1), "{text}");
            let (turns, reply) = ask(&case, &server, &[&text], fields.clone(), true).await;
            let events = reply.events();
            if events.last().is_some_and(|last| last == "[DONE]") {
                let content: Value = serde_json::from_str(Answer::read(&reply).content.as_deref().unwrap()).unwrap();
                assert_eq!(content, object);
            } else {
                assert_eq!(error_code(&reply), "invalid_structured_output");
            }
            assert_eq!(turns.len(), 1);
        }
    }
}

/// The code of the error that a stream ends with.
#[track_caller]
fn error_code(reply: &Reply) -> String {
    let last: Value = serde_json::from_str(reply.events().last().unwrap()).unwrap();
    last["error"]["code"].as_str().unwrap_or_else(|| panic!("{reply:?}")).to_owned()
}

pub async fn the_schema_is_sent_and_thinking_is_off(case: Arc<Case>) {
    let server = case.server().await;
    // Verbatim: with its blanks and the order of its keys.
    let schema = "{ \"type\": \"object\",  \"required\": [\"b\"], \"properties\": {\"b\": {\"const\": 1}, \"a\": {}} }";
    for (fields, thinks) in [("", false), (",\"enable_thinking\":true", true), (",\"reasoning_effort\":\"high\"", true)]
    {
        let marker = unique("schema");
        let body = format!(
            "{{\"model\":\"qwen3-max\",\"messages\":[{{\"role\":\"user\",\"content\":\"{} {marker}\"}}],\"response_format\":{{\"type\":\"json_schema\",\"json_schema\":{{\"name\":\"n\",\"schema\":{schema}}}}}{fields}}}",
            says("{\"b\": 1}"),
        );
        let reply = server.http.send("POST", "/v1/chat/completions", &Server::auth_headers(), body).await;
        Answer::read(&reply).assert_text("{\"b\": 1}");
        let turn = turns_with(&case.fake, &marker).pop().unwrap();
        assert!(turn.text.contains(schema), "{}", turn.text);
        assert_eq!(turn.body["messages"][0]["feature_config"]["thinking_enabled"], thinks, "{fields}");
    }
    let marker = unique("object");
    let request =
        with(chat(&format!("{} {marker}", says("{}"))), json!({ "response_format": { "type": "json_object" } }));
    Answer::read(&reply(&server, &request, true).await).assert_text("{}");
    assert!(turns_with(&case.fake, &marker)[0].text.contains("JSON"));
    // Text is text.
    let request = with(chat(&says("Not {json}.")), json!({ "response_format": { "type": "text" } }));
    Answer::read(&reply(&server, &request, true).await).assert_text("Not {json}.");
}

pub async fn an_invalid_answer_is_asked_for_once_more(case: Arc<Case>) {
    let server = case.server().await;
    let with_schema = json!({ "response_format": format_of(&schema()) });
    let object = json!({ "response_format": { "type": "json_object" } });
    let wrong = r#"{"name": "Ada", "age": "old"}"#;
    for (fields, bad, fault) in [
        (&with_schema, "I cannot say.", ""),
        (&object, "I cannot say.", ""),
        (&object, "[1, 2]", ""),
        (&with_schema, wrong, "age"),
        (&with_schema, r#"{"name": "Ada"}"#, "age"),
        (&with_schema, r#"{"name": "Ada", "age": 1, "extra": 1}"#, "extra"),
    ] {
        let (turns, reply) = ask(&case, &server, &[bad, GOOD], fields.clone(), false).await;
        Answer::read(&reply).assert_text(GOOD);
        assert_repeated(&turns);
        assert!(turns[1].text.lines().last().unwrap().contains(fault), "the fault is not named: {}", turns[1].text);
        let (turns, reply) = ask(&case, &server, &[bad, bad, GOOD], fields.clone(), false).await;
        let error = reply.error(502, "invalid_structured_output");
        assert!(error["message"].as_str().unwrap().contains(fault), "{error}");
        assert_repeated(&turns);
    }
    // A stream is held back until its object begins.
    for (fields, bad) in [(&with_schema, "I cannot say."), (&object, "[1, 2]")] {
        let (turns, reply) = ask(&case, &server, &[bad, GOOD], fields.clone(), true).await;
        Answer::read(&reply).assert_text(GOOD);
        assert_repeated(&turns);
        let (turns, reply) = ask(&case, &server, &[bad, bad, GOOD], fields.clone(), true).await;
        reply.error(502, "invalid_structured_output");
        assert_repeated(&turns);
    }
    // Later faults are error events.
    for bad in [wrong, r#"{"name": "Ada", "age": 3"#, r#"{"name": "Ada" "#] {
        let (turns, reply) = ask(&case, &server, &[bad, GOOD], with_schema.clone(), true).await;
        assert_eq!(error_code(&reply), "invalid_structured_output", "{reply:?}");
        assert_eq!(turns.len(), 1);
    }
}

pub async fn a_stream_passes_the_object_on_as_it_comes(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    // The site stalls within the object: what came before is there.
    let fields = json!({ "response_format": format_of(&schema()), "stream": true });
    let prompt = format!("[[fake piece=6 stall=6 say={}]]", encoded(&format!("Sure: {GOOD}")));
    let mut raw = crate::http::Raw::connect(server.http.address()).await;
    raw.chat(&with(chat(&prompt), fields)).await;
    let read = raw.read_until("\"content\":\"{\\\"na").await;
    assert!(!read.contains("Sure"), "{read}");
    raw.reset();
    eventually("the stream is closed", || async { fake.open_streams() == 0 }).await;
    // After the object the answer is over, and the site is stopped.
    let text = format!("{GOOD}\nNow let me explain. {}", "It goes on and on. ".repeat(40));
    for stream in [false, true] {
        let prompt = format!("[[fake piece=40 say={}]]", encoded(&text));
        let request = with(chat(&prompt), json!({ "response_format": format_of(&schema()) }));
        Answer::read(&reply(&server, &request, stream).await).assert_text(GOOD);
    }
}

/// While prose is held back, comments keep the connection alive.
pub async fn heartbeats_come_while_prose_is_held_back(case: Arc<Case>) {
    let server = case.start(&[("FIRST_BYTE_SECONDS", "1")]).await;
    let prompt = format!(
        "[[fake piece=6 delay_ms=150 say={}]]",
        encoded(&format!("Here is what you have asked me for, as JSON and nothing else, without any doubt: {GOOD}"))
    );
    let request = with(chat(&prompt), json!({ "response_format": { "type": "json_object" } }));
    let reply = reply(&server, &request, true).await;
    Answer::read(&reply).assert_text(GOOD);
    let text = reply.text();
    let (before, _) = text.split_once("{\\\"").unwrap();
    let (shown, _) = before.rsplit_once(": keep-alive\n\n").unwrap_or_else(|| panic!("no heartbeat: {text}"));
    let chunks: Vec<Value> = events(shown).iter().map(|data| serde_json::from_str(data).unwrap()).collect();
    assert_eq!(concat_deltas(&chunks, "content"), "");
}

pub async fn a_cut_object_ends_with_its_reason(case: Arc<Case>) {
    let server = case.server().await;
    let long = format!(r#"{{"name": "{}", "age": 36}}"#, "Ada ".repeat(40));
    for stream in [false, true] {
        let fields = json!({ "response_format": format_of(&schema()), "max_tokens": 10 });
        let (turns, reply) = ask(&case, &server, &[&long, GOOD], fields, stream).await;
        let answer = Answer::read(&reply);
        assert_eq!((answer.finish.as_str(), turns.len()), ("length", 1), "{answer:?}");
        assert!(long.starts_with(answer.content.as_deref().unwrap()) && answer.refusal.is_none(), "{answer:?}");
        // Content inspection: before any text it is a status, after it a refusal.
        let fields = json!({ "response_format": format_of(&schema()) });
        let prompt = "[[fake fail=error_created code=data_inspection_failed]]";
        super::agent::reply(&server, &with(chat(prompt), fields.clone()), stream).await.error(400, "content_filter");
        let prompt = format!("[[fake piece=5 fail=error_amid code=data_inspection_failed say={}]]", encoded(&long));
        let answer = Answer::read(&super::agent::reply(&server, &with(chat(&prompt), fields), stream).await);
        assert_eq!(answer.finish, "content_filter", "{answer:?}");
        assert!(answer.refusal.is_some_and(|refusal| !refusal.is_empty()), "{stream}");
        assert!(stream || answer.content.is_none());
    }
}

pub async fn a_call_wins_over_a_schema(case: Arc<Case>) {
    let server = case.server().await;
    let fields = json!({ "response_format": format_of(&schema()), "tools": [weather()] });
    let before = format!("I look.\n{}", weather_text("Oslo"));
    for stream in [false, true] {
        let (turns, reply) = ask(&case, &server, &[&weather_text("Oslo")], fields.clone(), stream).await;
        Answer::read(&reply).assert_weather("Oslo");
        assert!(turns.len() == 1 && turns[0].text.contains("\"additionalProperties\""));
        let (turns, reply) = ask(&case, &server, &[&before], fields.clone(), stream).await;
        assert_eq!((Answer::read(&reply).called(), turns.len()), (vec![("get_weather", json!({ "city": "Oslo" }))], 1));
        let (_, reply) = ask(&case, &server, &[&format!("Well: {GOOD}")], fields.clone(), stream).await;
        Answer::read(&reply).assert_text(GOOD);
        let (turns, reply) = ask(&case, &server, &["It is sunny.", GOOD], fields.clone(), stream).await;
        Answer::read(&reply).assert_text(GOOD);
        assert_repeated(&turns);
    }
}

pub async fn the_answer_is_part_of_its_conversation(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    for stream in [false, true] {
        let fields = json!({ "response_format": format_of(&schema()) });
        let mut agent = super::agent::Agent::new(&server, fields, stream);
        agent.ask(&format!("who {stream}? {}", says(&format!("Sure:\n```json\n{GOOD}\n```")))).await.assert_text(GOOD);
        let chats = fake.chats();
        agent.ask(&format!("and now? {}", says(GOOD))).await.assert_text(GOOD);
        let turn = turns(&fake).pop().unwrap();
        assert!(fake.chats() == chats && turn.parent.is_some() && !turn.text.contains("who"), "{turn:?}");
    }
}

pub async fn unusable_formats_are_rejected(case: Arc<Case>) {
    let server = case.server().await;
    let deep = |depth: usize| {
        let mut schema = json!({ "type": "string" });
        for _ in 0..depth {
            schema = json!({ "properties": { "a": schema } });
        }
        format_of(&schema)
    };
    let field = "response_format.json_schema.schema";
    for (format, param) in [
        (json!({ "type": "xml" }), "response_format.type"),
        (json!({ "type": "json_schema" }), field),
        (json!({ "type": "json_schema", "json_schema": { "name": "x" } }), field),
        (json!({ "type": "json_schema", "json_schema": { "name": "x", "schema": 5 } }), field),
        (format_of(&json!({ "type": "objekt" })), field),
        (format_of(&json!({ "required": "name" })), field),
        (format_of(&json!({ "properties": [] })), field),
        (format_of(&json!({ "$ref": "#/$defs/none" })), field),
        (format_of(&json!({ "$ref": "https://example.com/other.json" })), field),
        (deep(100), field),
        (json!([]), "response_format"),
        (
            json!({ "type": "json_schema", "json_schema": { "name": 5, "schema": {} } }),
            "response_format.json_schema.name",
        ),
    ] {
        for stream in [false, true] {
            let error = reply(&server, &with(chat("x"), json!({ "response_format": format })), stream)
                .await
                .error(400, "invalid_request");
            assert_eq!(error["param"], param, "{format:.300}");
            assert!(error["message"].as_str().unwrap().len() < 500, "{error:.1000}");
        }
    }
}
