//! How its answers reach the clients of each dialect.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{alone, oslo};
use crate::{
    cases::{
        agent::{self, Answer},
        dialects::{ALL, Dialect, assert_upstream, weather},
        messages,
        response_reader::Response,
    },
    fake_qwen::encoded,
    http::{chat, eventually, with},
    server::{Case, unique},
};

/// An answer that is not what was asked for is passed on or is an error; nobody asks twice for money.
pub async fn no_answer_is_asked_for_again(case: Arc<Case>) {
    let (second, server) = alone(&case, &[]).await;
    let tools = json!({ "tools": [agent::weather()] });
    let strict = with(agent::weather()["function"].clone(), json!({ "strict": true }));
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
            let tool = dialect.tool(&agent::tool("web_search", json!({ "type": "object", "properties": {} })));
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
