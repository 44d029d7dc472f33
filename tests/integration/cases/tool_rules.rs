//! What answers with calls have to keep to: a choice of tools, strict schemas, one call, an end.

use std::sync::Arc;

use serde_json::{Value, json};

use super::agent::{
    Agent, Answer, ask_steps, assert_repeated, both, call_text, newest_answer, reply, says, tool, turns, turns_with,
    weather, weather_request, weather_text,
};
use crate::{
    fake_qwen::{Fake, encoded, steps},
    http::with,
    server::{Case, unique},
};

pub async fn nothing_but_refusals_is_asked_again_once(case: Arc<Case>) {
    let server = case.server().await;
    let refused = "[[fake calls=0 call=get_weather then=]]";
    let prose = "[[fake calls=0 prose=1 call=get_weather call=get_weather then=]]";
    for (tools, steps_of, stream) in [
        (true, [refused, refused], false),
        (true, [prose, prose], true),
        (false, [refused, prose], true),
        (false, [prose, refused], false),
    ] {
        let marker = unique("refusals");
        let fields = json!({ "enable_thinking": !stream });
        let ask = |prompt: &str| {
            let request = if tools { weather_request(prompt, json!({})) } else { crate::http::chat(prompt) };
            with(request, fields.clone())
        };
        let request = ask(&format!("[[fake {}]] {marker}", steps(&steps_of)));
        let error = reply(&server, &request, stream).await.error(502, "upstream_invalid");
        assert!(!error["message"].as_str().unwrap().contains("does not exist"), "{error}");
        let turns = turns_with(&case.fake, &marker);
        assert_eq!(turns.len(), 2, "{turns:?}");
        if tools {
            assert_repeated(&turns);
        }
        // The second answer counts.
        let request = ask(&format!("[[fake {} id={}]]", steps(&[steps_of[0], "Fine."]), unique("refusals")));
        Answer::read(&reply(&server, &request, stream).await).assert_text("Fine.");
    }
    // Thinking that was sent cannot be taken back.
    let reply = reply(&server, &weather_request(refused, json!({})), true).await;
    let last: Value = serde_json::from_str(reply.events().last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "upstream_invalid", "{reply:?}");
}

pub async fn a_tool_choice_is_enforced(case: Arc<Case>) {
    let server = case.server().await;
    let two = json!([weather(), tool("list_files", json!({ "type": "object" }))]);
    let named = json!({ "type": "function", "function": { "name": "get_weather" } });
    let allowed = |mode: &str| json!({ "type": "allowed_tools", "allowed_tools": { "mode": mode, "tools": [{ "type": "function", "function": { "name": "get_weather" } }] } });
    let oslo = weather_text("Oslo");
    let other = call_text("list_files", &json!({}));
    for (choice, bad, says_name) in [
        (json!("required"), "It is sunny.", false),
        (named.clone(), "It is sunny.", true),
        (named.clone(), other.as_str(), true),
        (allowed("required"), "It is sunny.", true),
        (allowed("required"), other.as_str(), true),
        (allowed("auto"), other.as_str(), true),
    ] {
        let fields = json!({ "tools": two, "tool_choice": choice });
        for stream in [false, true] {
            // At once.
            let (turns, reply) = ask_steps(&case, &server, &[&oslo], fields.clone(), stream).await;
            Answer::read(&reply).assert_weather("Oslo");
            assert_eq!(turns.len(), 1);
            let told = turns[0].text.rsplit_once("]]").unwrap().1;
            assert!(told.contains("function") && (!says_name || told.contains("get_weather")), "{choice}: {told}");
            // Once more.
            let (turns, reply) = ask_steps(&case, &server, &[bad, &oslo], fields.clone(), stream).await;
            Answer::read(&reply).assert_weather("Oslo");
            assert_repeated(&turns);
            // Never.
            let (turns, reply) = ask_steps(&case, &server, &[bad, bad, &oslo], fields.clone(), stream).await;
            reply.error(502, "tool_choice_unsatisfied");
            assert_repeated(&turns);
        }
    }
    // Where a call may be left out, a text is an answer.
    let fields = json!({ "tools": two, "tool_choice": allowed("auto") });
    let (turns, reply) = ask_steps(&case, &server, &["It is sunny."], fields, true).await;
    Answer::read(&reply).assert_text("It is sunny.");
    assert_eq!(turns.len(), 1);
    // The arguments of the named tool alone are its call.
    for text in ["{\"city\": \"Oslo\"}", "```json\n{\"city\": \"Oslo\"}\n```"] {
        for stream in [false, true] {
            let (turns, reply) =
                ask_steps(&case, &server, &[text], json!({ "tools": two, "tool_choice": named }), stream).await;
            Answer::read(&reply).assert_weather("Oslo");
            assert_eq!(turns.len(), 1, "{text}");
        }
    }
    // Text before the call is sent with it.
    let (_, reply) =
        ask_steps(&case, &server, &[&format!("I look.\n{oslo}")], json!({ "tool_choice": "required" }), true).await;
    let answer = Answer::read(&reply);
    assert_eq!((answer.content.as_deref(), answer.calls.len()), (Some("I look."), 1));
}

/// The answer that could not be used is no part of the conversation, and the site is stopped before it is asked again.
pub async fn a_repeated_answer_takes_the_place_of_the_first(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let text = format!("{}\n{}", call_text("list_files", &json!({})), "It goes on and on. ".repeat(20));
    let goes_on = format!("[[fake piece=20 delay_ms=20 busy_until_stop=1 say={}]]", encoded(&text));
    for stream in [false, true] {
        for first in ["It is sunny.", &goes_on] {
            let tools = json!([weather(), tool("list_files", json!({ "type": "object" }))]);
            let mut agent = Agent::new(&server, json!({ "tools": tools }), stream);
            agent.say("system", &unique("agent"));
            let answers = steps(&["Hello.", first, &weather_text("Oslo"), "Fine."]);
            agent.ask(&format!("hello [[fake {answers}]]")).await.assert_text("Hello.");
            agent.fields["tool_choice"] = json!({ "type": "function", "function": { "name": "get_weather" } });
            let count = turns(&fake).len();
            let answer = agent.ask("how is it?").await;
            answer.assert_weather("Oslo");
            assert_repeated(&turns(&fake)[count..]);
            let chat = turns(&fake).pop().unwrap().chat;
            let node = newest_answer(&fake, &chat);
            agent.fields["tool_choice"] = json!("auto");
            agent.result(answer.id(0), "rain");
            agent.send().await.assert_text("Fine.");
            let turn = turns(&fake).pop().unwrap();
            assert_eq!((&turn.chat, turn.parent), (&chat, Some(node)));
            let path: Vec<String> = fake.chat_messages(&chat).into_iter().map(|(_, text)| text).collect();
            assert!(
                path.len() == 6 && !path.iter().any(|text| text.contains("is sunny") || text.contains("goes on")),
                "{path:?}"
            );
        }
    }
}

pub async fn without_a_choice_nothing_is_called(case: Arc<Case>) {
    let server = case.server().await;
    let text = weather_text("Oslo");
    for stream in [false, true] {
        let (turns, reply) = ask_steps(&case, &server, &[&text], json!({ "tool_choice": "none" }), stream).await;
        Answer::read(&reply).assert_text(&text);
        assert!(!turns[0].text.contains("<tools>") && !turns[0].text.contains("\"function\""), "{turns:?}");
    }
    // Calls of the history stay readable.
    let marker = unique("readable");
    let call = json!({ "id": "call_1", "type": "function", "function": { "name": "get_weather", "arguments": "{\"city\":\"Oslo\"}" } });
    let messages = json!([
        { "role": "user", "content": "How is it?" },
        { "role": "assistant", "content": null, "tool_calls": [call] },
        { "role": "tool", "tool_call_id": "call_1", "content": [{ "type": "text", "text": "rain" }] },
        { "role": "user", "content": marker },
    ]);
    let request = weather_request("", json!({ "tool_choice": "none", "messages": messages }));
    Answer::read(&reply(&server, &request, false).await);
    let sent = &turns_with(&case.fake, &marker)[0].text;
    for part in ["get_weather", "Oslo", "rain"] {
        assert!(sent.contains(part), "{part} is missing: {sent}");
    }
    assert!(!sent.contains("<tools>"));
    for (fields, param) in [
        (json!({ "tool_choice": "required", "tools": null }), "tool_choice"),
        (json!({ "tool_choice": "required", "tools": [] }), "tool_choice"),
        (json!({ "tool_choice": { "type": "function", "function": { "name": "nope" } } }), "tool_choice"),
        (
            json!({ "tool_choice": { "type": "allowed_tools", "allowed_tools": { "mode": "auto", "tools": [{ "type": "function", "function": { "name": "nope" } }] } } }),
            "tool_choice",
        ),
        (json!({ "tool_choice": "sometimes" }), "tool_choice"),
        (json!({ "function_call": { "name": "nope" } }), "function_call"),
    ] {
        let error = reply(&server, &weather_request("x", fields.clone()), true).await.error(400, "invalid_request");
        assert_eq!(error["param"], param, "{fields}");
    }
    for fields in [json!({ "tool_choice": "none", "tools": null }), json!({ "tool_choice": "auto", "tools": [] })] {
        Answer::read(&reply(&server, &weather_request(&says("Fine."), fields), false).await).assert_text("Fine.");
    }
}

pub async fn without_parallel_calls_the_first_one_ends_the_answer(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let text = format!("{}\n{}", weather_text("Oslo"), weather_text("Rome"));
    for (count, stream) in [false, true].into_iter().enumerate() {
        let mut agent = Agent::new(&server, json!({ "tools": [weather()], "parallel_tool_calls": false }), stream);
        let prompt = format!("[[fake piece=8 delay_ms=20 busy_until_stop=1 {}]] {count}", steps(&[&text, "Fine."]));
        let answer = agent.ask(&prompt).await;
        answer.assert_weather("Oslo");
        assert_eq!(fake.stops().len(), count + 1, "the site writes the second call");
        let chat = turns(&fake).pop().unwrap().chat;
        let node = newest_answer(&fake, &chat);
        agent.result(answer.id(0), "rain");
        agent.send().await.assert_text("Fine.");
        let turn = turns(&fake).pop().unwrap();
        assert_eq!((turn.chat, turn.parent), (chat, Some(node)), "the answer ended with its call");
    }
}

pub async fn strict_arguments_are_asked_for_once_more(case: Arc<Case>) {
    let server = case.server().await;
    let mut strict = weather();
    strict["function"]["strict"] = json!(true);
    let bad = call_text("get_weather", &json!({ "city": 5 }));
    let fields = json!({ "tools": [strict] });
    for stream in [false, true] {
        let (turns, reply) = ask_steps(&case, &server, &[&bad, &weather_text("Oslo")], fields.clone(), stream).await;
        Answer::read(&reply).assert_weather("Oslo");
        assert_repeated(&turns);
        let (turns, reply) = ask_steps(&case, &server, &[&bad, &bad, &bad], fields.clone(), stream).await;
        assert_eq!(Answer::read(&reply).called(), [("get_weather", json!({ "city": 5 }))]);
        assert_repeated(&turns);
        // Without `strict` the client gets the arguments, and unknown names too.
        let unknown = call_text("get_wether", &json!({}));
        let (turns, reply) = ask_steps(&case, &server, &[&format!("{bad}\n{unknown}")], json!({}), stream).await;
        let expected = [("get_weather", json!({ "city": 5 })), ("get_wether", json!({}))];
        assert_eq!((Answer::read(&reply).called(), turns.len()), (expected.to_vec(), 1));
    }
}

pub async fn an_unreadable_call_is_asked_for_once_more(case: Arc<Case>) {
    let server = case.server().await;
    let bad = "[TOOL CALL]\n{\"name\": \"get_weather\", \"arguments\": {{:: what}\n[END TOOL CALL]";
    let oslo = weather_text("Oslo");
    let before = format!("I look.\n{bad}");
    for stream in [false, true] {
        let (turns, reply) = ask_steps(&case, &server, &[bad, &oslo], json!({}), stream).await;
        Answer::read(&reply).assert_weather("Oslo");
        assert_repeated(&turns);
        let (turns, reply) = ask_steps(&case, &server, &[bad, bad, &oslo], json!({}), stream).await;
        Answer::read(&reply).assert_text(bad);
        assert_repeated(&turns);
        // Text that was sent cannot be taken back; in a whole answer nothing was.
        let (turns, reply) = ask_steps(&case, &server, &[&before, &oslo], json!({}), stream).await;
        if stream {
            Answer::read(&reply).assert_text(&before);
            assert_eq!(turns.len(), 1);
        } else {
            Answer::read(&reply).assert_weather("Oslo");
            assert_repeated(&turns);
        }
        // Beside a call that can be read it is left out.
        for text in [format!("{bad}\n{oslo}"), format!("{oslo}\n{bad}")] {
            let (turns, reply) = ask_steps(&case, &server, &[&text], json!({}), stream).await;
            Answer::read(&reply).assert_weather("Oslo");
            assert_eq!(turns.len(), 1, "{text}");
        }
    }
}

pub async fn a_call_in_the_thinking_is_none(case: Arc<Case>) {
    let server = case.server().await;
    let call = encoded(&weather_text("Oslo"));
    // Not as a summary, whose titles stand between its parts.
    let thought = |say: &str| format!("[[fake stream=old think={call} say={}]]", encoded(say));
    both(&server, &weather_request(&thought("It is sunny."), json!({})), |answer| answer.assert_text("It is sunny."))
        .await;
    // Without an answer it is asked for once more, if the thinking was not sent yet.
    let fields = json!({ "enable_thinking": true });
    let answers = [thought(""), weather_text("Rome")];
    let (turns, reply) = ask_steps(&case, &server, &[&answers[0], &answers[1]], fields.clone(), false).await;
    Answer::read(&reply).assert_weather("Rome");
    assert_repeated(&turns);
    let (turns, reply) = ask_steps(&case, &server, &[&answers[0], &answers[1]], fields, true).await;
    Answer::read(&reply).assert_text("");
    assert_eq!(turns.len(), 1);
}

pub async fn what_is_made_up_after_calls_ends_the_answer(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let oslo = weather_text("Oslo");
    let tail = "It goes on and on and on. ".repeat(20);
    let many: String = (0..40).map(|number| weather_text(&format!("c{number}")) + "\n").collect();
    for (text, calls) in [
        (format!("{oslo}\nThe weather is fine. {tail}"), 1),
        (format!("{oslo}\n[TOOL RESULT #1: get_weather]\nrain\n[END TOOL RESULT]\n{tail}"), 1),
        (format!("{oslo}\n{}\n{oslo}\n{tail}", weather_text("Rome")), 2),
        (many, 24),
    ] {
        for stream in [false, true] {
            let mut agent = Agent::new(&server, json!({ "tools": [weather()] }), stream);
            let stops = fake.stops().len();
            let prompt = format!("[[fake piece=40 delay_ms=2 busy_until_stop=1 {}]] {stops}", steps(&[&text, "Fine."]));
            let answer = agent.ask(&prompt).await;
            assert_eq!((answer.calls.len(), answer.finish.as_str(), &answer.content), (calls, "tool_calls", &None));
            assert_eq!(fake.stops().len(), stops + 1, "the site goes on: {text}");
            let chat = turns(&fake).pop().unwrap().chat;
            let node = newest_answer(&fake, &chat);
            for index in 0..calls {
                agent.result(answer.id(index), "rain");
            }
            agent.send().await.assert_text("Fine.");
            let turn = turns(&fake).pop().unwrap();
            assert_eq!((turn.chat, turn.parent), (chat, Some(node)), "the answer ended with its calls: {text}");
        }
    }
}
