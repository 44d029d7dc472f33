//! Agent loops in the site's chats: which chat and message a turn goes on from, and what it sends.

use std::sync::Arc;

use serde_json::{Value, json};

use super::agent::{Agent, Answer, call_text, newest_answer, says, tool, turns, turns_with, weather, weather_text};
use crate::{
    fake_qwen::{Fake, encoded, steps},
    server::{Case, unique},
};

fn reader() -> Value {
    let properties = json!({ "path": { "type": "string" } });
    tool("read", json!({ "type": "object", "properties": properties, "required": ["path"] }))
}

fn read_text(path: &str) -> String {
    call_text("read", &json!({ "path": path }))
}

/// A step in which the model calls `get_weather` in the site's own form, and the site refuses it.
fn native(city: &str) -> String {
    let arguments = json!({ "city": city }).to_string();
    format!("[[fake call=get_weather args={} pause_ms=60000 busy_until_stop=1]]", encoded(&arguments))
}

pub async fn thirty_steps_use_one_chat_and_send_only_news(case: Arc<Case>) {
    for stream in [false, true] {
        let fake = Fake::start();
        let server = case.start_with(&fake, &[]).await;
        let mut answers: Vec<String> = (0..30).map(|step| read_text(&format!("file-{step}"))).collect();
        answers.push("It is done.".to_owned());
        let answers: Vec<&str> = answers.iter().map(String::as_str).collect();
        let mut agent = Agent::new(&server, json!({ "tools": [reader(), weather()] }), stream);
        agent.say("system", "You are an agent.");
        let mut answer = agent.ask(&format!("[[fake {}]] read all files", steps(&answers))).await;
        for step in 0..30 {
            assert_eq!(answer.called(), [("read", json!({ "path": format!("file-{step}") }))]);
            agent.result(answer.id(0), &format!("content {step}"));
            answer = agent.send().await;
        }
        answer.assert_text("It is done.");
        let turns = turns(&fake);
        assert_eq!((fake.chats(), turns.len()), (1, 31));
        let chat = &turns[0].chat;
        let all: String = turns.iter().map(|turn| turn.text.as_str()).collect();
        assert_eq!(all.matches("{\"type\":\"function\",\"function\":{\"name\":\"read\",").count(), 1);
        assert_eq!(all.matches("You are an agent.").count(), 1);
        assert!(turns[0].text.contains("read all files"));
        let nodes = fake.chat_nodes(chat);
        let answered: Vec<&str> =
            nodes.iter().filter(|node| node.role == "assistant").map(|node| node.id.as_str()).collect();
        let reminder = turns[1].text.lines().last().unwrap().to_owned();
        assert!(reminder.len() <= 200 && reminder.contains("[TOOL CALL]"), "{reminder}");
        for (step, turn) in turns.iter().skip(1).enumerate() {
            let expected = format!("[TOOL RESULT #1: read]\ncontent {step}\n[END TOOL RESULT]\n\n{reminder}");
            assert_eq!((turn.text.as_str(), turn.parent.as_deref()), (expected.as_str(), Some(answered[step])));
        }
        assert_eq!((nodes.len(), fake.chat_messages(chat).len()), (62, 62), "the chat has branches");
        assert!(fake.stops().is_empty(), "an answer was stopped that ended by itself");
    }
}

/// D1 counts at most five queries and five written rows for a turn of an agent loop.
pub async fn a_step_costs_few_queries_and_rows(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[("LOG", "debug")]).await;
    let mut agent = Agent::new(&server, json!({ "tools": [weather()] }), false);
    // The first request of an isolate also reads the list of models.
    agent.ask(&says("Hello.")).await.assert_text("Hello.");
    let cities = ["Oslo", "Rome", "Bern"];
    let mut answers: Vec<String> = cities.iter().map(|city| format!("I look.\n{}", weather_text(city))).collect();
    answers.push(native("Paris"));
    answers.push("It is done.".to_owned());
    let answers: Vec<&str> = answers.iter().map(String::as_str).collect();
    let mut logged = server.log().await.len();
    let mut costs = Vec::new();
    let mut answer = agent.ask(&format!("[[fake {}]]", steps(&answers))).await;
    loop {
        let log = server.log().await;
        let lines = log[logged..].iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let queries: Vec<Value> = lines.filter(|line| line["message"] == "d1 query").collect();
        logged = log.len();
        costs.push((queries.len(), queries.iter().map(|query| query["rows_written"].as_u64().unwrap()).sum::<u64>()));
        if answer.calls.is_empty() {
            break;
        }
        agent.result(answer.id(0), "rain");
        answer = agent.send().await;
    }
    assert_eq!(costs.len(), answers.len());
    assert!(costs.iter().all(|(queries, written)| (1..=5).contains(queries) && (1..=5).contains(written)), "{costs:?}");
}

/// The site took the call: its refusal stands in that node, so the next turn begins before it and says again what came since.
pub async fn a_native_call_is_gone_on_from_before_it(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    for stream in [false, true] {
        let mut agent = Agent::new(&server, json!({ "tools": [weather()] }), stream);
        agent.say("system", &format!("You are an agent {stream}."));
        let answers = ["Hello.", &native("Oslo"), &native("Rome"), &weather_text("Bern"), "It is done."];
        agent.ask(&format!("hello [[fake {}]]", steps(&answers))).await.assert_text("Hello.");
        let chat = turns(&fake).pop().unwrap().chat;
        let before = newest_answer(&fake, &chat);
        let stops = fake.stops().len();
        let mut ids = Vec::new();
        let mut answer = agent.ask("how is it?").await;
        for (number, city) in ["Oslo", "Rome", "Bern"].into_iter().enumerate() {
            answer.assert_weather(city);
            ids.push(answer.id(0).to_owned());
            agent.result(&ids[number], &format!("rain in {city}"));
            if city != "Bern" {
                assert_eq!(fake.stops().len(), stops + number + 1);
                assert_eq!(fake.stops().last().unwrap().json()["chat_id"], json!(chat));
            }
            answer = agent.send().await;
            if city != "Bern" {
                // What came since: the question, and each call with its result.
                let turn = turns(&fake).pop().unwrap();
                assert_eq!((&turn.chat, turn.parent.as_deref()), (&chat, Some(before.as_str())), "{city}");
                let expected = ["how is it?", "\"Oslo\"", "rain in Oslo", "\"Rome\"", "rain in Rome"];
                for (part, is_in) in expected.iter().zip([true, true, true, number > 0, number > 0]) {
                    assert_eq!(turn.text.matches(part).count(), usize::from(is_in), "{part}: {}", turn.text);
                }
                assert!(
                    !turn.text.contains("<tools>")
                        && !turn.text.contains("hello")
                        && !turn.text.contains("You are an agent"),
                    "{}",
                    turn.text
                );
                assert!(!turn.text.contains("does not exist"));
            }
        }
        answer.assert_text("It is done.");
        // The taught call has a node of its own.
        let turn = turns(&fake).pop().unwrap();
        assert!(turn.chat == chat && turn.parent.as_deref() != Some(before.as_str()));
        assert!(turn.text.contains("rain in Bern") && !turn.text.contains("how is it?"), "{}", turn.text);
        assert!(!fake.chat_messages(&chat).iter().any(|(_, text)| text.contains("does not exist")));
    }
}

pub async fn a_native_call_at_the_beginning_of_a_chat_begins_it_again(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    for stream in [false, true] {
        let mut agent = Agent::new(&server, json!({ "tools": [weather()] }), stream);
        agent.say("system", "You are an agent.");
        let answers = [native("Oslo"), weather_text("Rome"), "It is done.".to_owned()];
        let answers: Vec<&str> = answers.iter().map(String::as_str).collect();
        let answer = agent.ask(&format!("how is it {stream}? [[fake {}]]", steps(&answers))).await;
        answer.assert_weather("Oslo");
        let chats = fake.chats();
        let chat = turns(&fake).pop().unwrap().chat;
        agent.result(answer.id(0), "rain in Oslo");
        let answer = agent.send().await;
        answer.assert_weather("Rome");
        let turn = turns(&fake).pop().unwrap();
        assert_eq!((fake.chats(), &turn.chat, &turn.parent), (chats, &chat, &None));
        for part in
            ["<tools>", "You are an agent.", "how is it", "\"Oslo\"", "[TOOL RESULT #1: get_weather]\nrain in Oslo\n"]
        {
            assert_eq!(turn.text.matches(part).count(), 1, "{part}: {}", turn.text);
        }
        agent.result(answer.id(0), "rain in Rome");
        agent.send().await.assert_text("It is done.");
        let turn = turns(&fake).pop().unwrap();
        assert!(turn.chat == chat && turn.parent.is_some() && !turn.text.contains("<tools>"), "{turn:?}");
    }
}

/// The ids of the calls find the chat, whatever the client has made of the rest.
pub async fn call_ids_find_a_rewritten_history(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    for stream in [false, true] {
        for (number, change) in
            ["name", "arguments", "content", "question", "dropped", "prefix"].into_iter().enumerate()
        {
            let mut agent = Agent::new(&server, json!({ "tools": [weather()] }), stream);
            let text = format!("I look.\n{}\n{}", weather_text("Oslo"), weather_text("Rome"));
            agent.say("system", "You are an agent.");
            let answer = agent.ask(&format!("question {stream} {number} [[fake {}]]", steps(&[&text, "Fine."]))).await;
            let ids = [answer.id(0).to_owned(), answer.id(1).to_owned()];
            let chat = turns(&fake).pop().unwrap().chat;
            let node = newest_answer(&fake, &chat);
            let chats = fake.chats();
            let [_, question, called] = &mut agent.messages[..] else { panic!() };
            let mut results = [ids[0].clone(), ids[1].clone()];
            match change {
                "name" => called["tool_calls"][0]["function"]["name"] = json!("invalid"),
                "arguments" => called["tool_calls"][1]["function"]["arguments"] = json!("{\"error\":\"x\"}"),
                "content" => called["content"] = json!("Something else entirely."),
                "question" => question["content"] = json!("A summary of what was asked."),
                "dropped" => drop(agent.messages.remove(1)),
                _ => {
                    // The same ids as another dialect writes them.
                    for (index, id) in results.iter_mut().enumerate() {
                        *id = id.replace("call_", "toolu_");
                        called["tool_calls"][index]["id"] = json!(id);
                    }
                }
            }
            // In another order: results are numbered by their call's place.
            agent.result(&results[1], "in Rome");
            agent.result(&results[0], "in Oslo");
            agent.send().await.assert_text("Fine.");
            let turn = turns(&fake).pop().unwrap();
            assert_eq!(
                (fake.chats(), &turn.chat, turn.parent.as_deref()),
                (chats, &chat, Some(node.as_str())),
                "{change}"
            );
            let places = [turn.text.find("[TOOL RESULT #2: "), turn.text.find("[TOOL RESULT #1: ")];
            assert!(
                turn.text.starts_with("[TOOL RESULT #") && places.iter().all(Option::is_some),
                "{change}: {}",
                turn.text
            );
            assert!(!turn.text.contains("<tools>") && !turn.text.contains("question"), "{change}: {}", turn.text);
        }
    }
    // Ids of another key, or that nobody knows, find nothing.
    let mut agent = Agent::new(&server, json!({ "tools": [weather()] }), false);
    let answer = agent.ask(&format!("a secret [[fake {}]]", steps(&[&weather_text("Oslo"), "Fine."]))).await;
    let chats = fake.chats();
    for id in [format!("call_{}", "0".repeat(24)), "call_1".to_owned(), answer.id(0).replace("call_", "x_")] {
        let mut other = Agent::new(&server, json!({ "tools": [weather()] }), false);
        other.say("user", &format!("{id} {}", says("New.")));
        let call = json!({ "id": id, "type": "function", "function": { "name": "get_weather", "arguments": "{}" } });
        other.messages.push(json!({ "role": "assistant", "content": null, "tool_calls": [call] }));
        other.result(&id, "rain");
        other.send().await.assert_text("New.");
        let turn = turns(&fake).pop().unwrap();
        assert!(turn.parent.is_none() && turn.text.contains("<tools>") && turn.text.contains(&id), "{turn:?}");
    }
    assert_eq!(fake.chats(), chats + 3);
}

pub async fn a_changed_catalogue_is_sent_again(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let mut agent = Agent::new(&server, json!({ "tools": [weather()] }), true);
    let mut described = weather();
    described["function"]["description"] = json!("Another description.");
    let catalogues = [
        (json!([weather()]), true),
        (json!([weather()]), false),
        (json!([weather(), reader()]), true),
        (json!([weather(), reader()]), false),
        (json!([described, reader()]), true),
        (json!([]), false),
        (json!([described, reader()]), false),
        (json!([weather()]), true),
    ];
    for (number, (tools, is_sent)) in catalogues.iter().enumerate() {
        agent.fields = json!({ "tools": tools });
        agent.ask(&format!("question {number}")).await;
        let turn = turns(&fake).pop().unwrap();
        assert_eq!(turn.text.matches("<tools>").count(), usize::from(*is_sent), "{number}: {}", turn.text);
        let lines = turn.text.lines().filter(|line| line.starts_with("{\"type\":\"function\"")).count();
        assert_eq!(lines, if *is_sent { tools.as_array().unwrap().len() } else { 0 }, "{number}");
    }
    assert_eq!((fake.chats(), turns(&fake).len()), (1, catalogues.len()));
}

/// A catalogue of more than 64 KiB goes into a file, with a list in the message. A long history never takes a smaller one along.
pub async fn a_large_catalogue_goes_into_a_file(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let many = |count: usize| -> Vec<Value> {
        let mut tools: Vec<Value> = (0..count)
            .map(|number| tool(&format!("tool_{number}"), json!({ "type": "object", "description": "d".repeat(800) })))
            .collect();
        tools.push(weather());
        tools
    };
    let tools = many(100);
    let mut agent = Agent::new(&server, json!({ "tools": tools }), true);
    let answer = agent.ask(&format!("question [[fake {}]]", steps(&[&weather_text("Oslo"), "Fine."]))).await;
    answer.assert_weather("Oslo");
    let turn = turns(&fake).pop().unwrap();
    assert!(turn.text.len() < 32 * 1024 && turn.text.contains("question"), "{}", turn.text.len());
    for tool in &tools {
        let name = tool["function"]["name"].as_str().unwrap();
        assert!(turn.text.lines().any(|line| line == format!("{name}: Runs {name}.")), "{name} is not in the list");
    }
    assert_eq!(turn.body["messages"][0]["files"].as_array().unwrap().len(), 1);
    let file = |fake: &Fake| fake.objects().pop().unwrap().text.unwrap();
    let lines: Vec<Value> = file(&fake)
        .lines()
        .filter(|line| line.starts_with("{\"type\""))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines, tools);
    agent.result(answer.id(0), "rain");
    agent.send().await.assert_text("Fine.");
    let turn = turns(&fake).pop().unwrap();
    assert_eq!((turn.body["messages"][0]["files"].as_array().unwrap().len(), fake.objects().len()), (0, 1));
    assert!(!turn.text.contains("tool_7"), "{}", turn.text);

    let mut agent = Agent::new(&server, json!({ "tools": many(60) }), true);
    agent.say("user", &"a long question ".repeat(6 * 1024));
    agent.say("assistant", "Go on.");
    agent.ask(&format!("and now? {}", says(&weather_text("Oslo")))).await.assert_weather("Oslo");
    let turn = turns(&fake).pop().unwrap();
    assert!(turn.text.contains("\"name\":\"tool_59\"") && turn.text.contains("and now?"), "{}", turn.text.len());
    assert!(turn.body.to_string().len() < 128 * 1024);
    let file = file(&fake);
    assert!(file.contains("a long question") && !file.contains("tool_59"));
}

/// What results may be: parts, nothing at all, several of one turn.
pub async fn results_are_one_message(case: Arc<Case>) {
    let server = case.server().await;
    for stream in [false, true] {
        let marker = unique("results");
        let mut agent = Agent::new(&server, json!({ "tools": [weather(), reader()] }), stream);
        let text = [weather_text("Oslo"), read_text("a"), weather_text("Rome")].join("\n");
        let answer = agent.ask(&format!("[[fake {}]]", steps(&[&text, "Fine."]))).await;
        assert_eq!(answer.calls.len(), 3);
        let contents =
            [json!([{ "type": "text", "text": "rain " }, { "type": "text", "text": marker }]), json!(null), json!("")];
        for (call, content) in answer.calls.iter().zip(contents) {
            agent.messages.push(json!({ "role": "tool", "tool_call_id": call["id"], "content": content }));
        }
        agent.send().await.assert_text("Fine.");
        let turn = turns_with(&case.fake, &marker).pop().unwrap();
        let expected = format!(
            "[TOOL RESULT #1: get_weather]\nrain \n{marker}\n[END TOOL RESULT]\n[TOOL RESULT #2: read]\n(empty)\n[END TOOL RESULT]\n[TOOL RESULT #3: get_weather]\n(empty)\n[END TOOL RESULT]\n\n"
        );
        assert!(turn.text.starts_with(&expected), "{}", turn.text);
        assert_eq!(turn.text[expected.len()..].lines().count(), 1);
        // A result of no known call is taken too.
        let marker = unique("results");
        agent.result("call_of_a_compacted_turn", &marker);
        Answer::read(&agent.reply().await);
        assert!(turns_with(&case.fake, &marker)[0].text.contains(&format!("\n{marker}\n[END TOOL RESULT]")));
    }
}
