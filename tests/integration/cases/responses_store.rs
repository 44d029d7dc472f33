//! Responses that are kept: retrieved, gone on from, and forgotten.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    agent::{call_text, newest_answer, says, turns, weather, weather_text},
    response_reader::{Response, ask, flat, post, request, result, send},
};
use crate::{
    fake_qwen::{Fake, encoded, steps},
    http::with,
    server::{Case, Server},
};

/// 32 bytes in base64.
const SESSION_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

pub async fn a_kept_response_is_the_one_that_was_sent(case: Arc<Case>) {
    let server = case.server().await;
    let calls = format!("I look.\n{}\n{}", weather_text("Oslo"), weather_text("Rome"));
    for (name, prompt, fields) in [
        ("text", "[[fake think=Hm. say=Hello%20there.]]".to_owned(), json!({ "metadata": { "a": "b" } })),
        ("calls", format!("[[fake think=Hm. say={}]]", encoded(&calls)), json!({ "tools": [flat(&weather())] })),
        (
            "native",
            "[[fake call=get_weather args=%7B%22city%22%3A%22Oslo%22%7D]]".to_owned(),
            json!({ "tools": [flat(&weather())] }),
        ),
        ("length", says(&"word ".repeat(60)), json!({ "max_output_tokens": 10, "reasoning": { "effort": "none" } })),
        (
            "inspection",
            "[[fake stream=count n=6 fail=error_amid code=data_inspection_failed]]".to_owned(),
            json!({ "reasoning": { "effort": "none" } }),
        ),
        ("search", "[[fake stream=web_search]]".to_owned(), json!({})),
        ("late thinking", "[[fake stream=thinking_after_answer]]".to_owned(), json!({})),
    ] {
        for stream in [false, true] {
            let sent = ask(&server, &request(prompt.clone(), fields.clone()), stream).await;
            let kept = send(&server, "GET", sent.id()).await;
            assert_eq!(kept.status, 200, "{name}: {kept:?}");
            assert_eq!(kept.json(), sent.body, "{name} {stream}");
            let kept = send(&server, "GET", &format!("{}?include[]=x", sent.id())).await;
            assert_eq!(kept.json(), sent.body, "{name} {stream}");
            let gone = send(&server, "DELETE", sent.id()).await;
            assert_eq!(
                gone.json(),
                json!({ "id": sent.id(), "object": "response.deleted", "deleted": true }),
                "{gone:?}"
            );
            for (method, path) in [("GET", ""), ("DELETE", ""), ("GET", "/input_items")] {
                send(&server, method, &format!("{}{path}", sent.id())).await.error(404, "not_found");
            }
            let next = request("x", json!({ "previous_response_id": sent.id() }));
            post(&server, &next).await.error(404, "previous_response_not_found");
        }
    }
}

pub async fn a_response_belongs_to_its_key(case: Arc<Case>) {
    let server = case.start(&[("VALID_TOKENS", "sk-test-key,sk-other-key")]).await;
    let other = [("authorization", "Bearer sk-other-key"), ("content-type", "application/json")];
    let response = ask(&server, &request("[[fake say=secret]] a question", json!({})), false).await;
    let id = response.id();
    for (method, path) in [("GET", ""), ("DELETE", ""), ("GET", "/input_items")] {
        let reply = server.http.send(method, &format!("/v1/responses/{id}{path}"), &other, "").await;
        reply.error(404, "not_found");
    }
    let next = request("and now?", json!({ "previous_response_id": id })).to_string();
    let reply = server.http.send("POST", "/v1/responses", &other, next).await;
    reply.error(404, "previous_response_not_found");
    // Items of another key are as unknown as those of nobody.
    let item = response.output().last().unwrap()["id"].clone();
    let items = json!([{ "type": "item_reference", "id": item }, { "role": "user", "content": "what?" }]);
    let reply = server.http.send("POST", "/v1/responses", &other, request(items, json!({})).to_string()).await;
    Response::read(&reply);
    let turn = turns(&case.fake).pop().unwrap();
    assert!(turn.text.contains("what?") && !turn.text.contains("secret"), "{}", turn.text);
    assert_eq!(send(&server, "GET", id).await.json()["id"], id);
}

pub async fn nothing_is_kept_unless_wanted(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let silent = case.start_with(&fake, &[("STORE_RESPONSES", "false")]).await;
    for stream in [false, true] {
        let response = ask(&server, &request("[[fake say=Hello.]]", json!({ "store": false })), stream).await;
        for (method, path) in [("GET", ""), ("DELETE", ""), ("GET", "/input_items")] {
            send(&server, method, &format!("{}{path}", response.id())).await.error(404, "not_found");
        }
        let next = request("x", json!({ "previous_response_id": response.id() }));
        post(&server, &next).await.error(404, "previous_response_not_found");

        // Without texts the chat at the site still goes on.
        let response = ask(&silent, &request(format!("[[fake {}]]", steps(&["one", "two"])), json!({})), stream).await;
        send(&silent, "GET", response.id()).await.error(404, "not_found");
        send(&silent, "GET", &format!("{}/input_items", response.id())).await.error(404, "not_found");
        let chats = fake.chats();
        let next = request("and then?", json!({ "previous_response_id": response.id() }));
        ask(&silent, &next, stream).await.assert_text("two");
        assert_eq!(fake.chats(), chats);
        // Where that chat is gone, nothing is left.
        assert!(fake.delete_chat(&turns(&fake).pop().unwrap().chat));
        post(&silent, &next).await.error(404, "previous_response_not_found");
    }
}

pub async fn input_items_are_listed_in_pages(case: Arc<Case>) {
    let server = case.server().await;
    let mut input: Vec<Value> = (0..24)
        .map(|number| json!({ "role": "user", "content": format!("text {number}"), "id": format!("msg_{number}") }))
        .collect();
    input.push(result("call_x", "rain"));
    let response = ask(&server, &request(input, json!({ "instructions": "Be brief." })), true).await;
    let list = async |query: &str| {
        let reply = send(&server, "GET", &format!("{}/input_items{query}", response.id())).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let list = reply.json();
        let data = list["data"].as_array().unwrap().clone();
        assert_eq!(list["object"], "list");
        assert_eq!((&list["first_id"], &list["last_id"]), (&data.first().unwrap()["id"], &data.last().unwrap()["id"]));
        assert!(data.iter().all(|item| item["id"].is_string() && item["type"].is_string()), "{list}");
        (data, list["has_more"] == true)
    };
    let text = |item: &Value| item["content"][0]["text"].as_str().map(str::to_owned);
    let (data, has_more) = list("").await;
    assert_eq!((data.len(), has_more, &data[0]["type"]), (20, true, &json!("function_call_output")), "newest first");
    assert_eq!((data[0]["output"].as_str(), text(&data[1])), (Some("rain"), Some("text 23".to_owned())));
    assert_eq!((&data[1]["role"], &data[1]["content"][0]["type"]), (&json!("user"), &json!("input_text")));
    let last = data.last().unwrap()["id"].as_str().unwrap();
    let (rest, has_more) = list(&format!("?after={last}")).await;
    assert_eq!((rest.len(), has_more, text(&rest[4])), (5, false, Some("text 0".to_owned())));
    let (data, has_more) = list("?order=asc&limit=3").await;
    assert_eq!((data.len(), has_more, text(&data[2])), (3, true, Some("text 2".to_owned())));
    let (data, has_more) = list("?order=asc&limit=100&after=msg_2&include[]=x").await;
    assert_eq!((data.len(), has_more, text(&data[0])), (22, false, Some("text 3".to_owned())));
    let (data, _) = list("?order=desc&limit=1").await;
    assert_eq!(data[0]["type"], "function_call_output");
    for (query, param) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("order=up", "order"),
        ("after=nothing", "after"),
    ] {
        let reply = send(&server, "GET", &format!("{}/input_items?{query}", response.id())).await;
        assert_eq!(reply.error(400, "invalid_request")["param"], param);
    }
    // A text is one item.
    let response = ask(&server, &request("Hello.", json!({})), false).await;
    let list = send(&server, "GET", &format!("{}/input_items", response.id())).await.json();
    let item = &list["data"][0];
    assert_eq!(
        (&item["role"], &item["content"]),
        (&json!("user"), &json!([{ "type": "input_text", "text": "Hello." }]))
    );
}

pub async fn kept_texts_are_encrypted(case: Arc<Case>) {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let cookies = format!("token={}", Fake::token("sealed", 86_400));
    for (key, is_readable) in [("", true), (SESSION_KEY, false)] {
        let path = folder.path().join(if is_readable { "plain.db" } else { "sealed.db" });
        let settings =
            [("DATABASE_PATH", path.to_str().unwrap()), ("SESSION_KEY", key), ("QWEN_COOKIES", cookies.as_str())];
        let server = case.start_with(&fake, &settings).await;
        let response = ask(
            &server,
            &request(
                "[[fake say=an%20answer%20like%20no%20other]] a-question-like-no-other",
                json!({ "instructions": "instructions-like-no-others" }),
            ),
            true,
        )
        .await;
        assert_eq!(send(&server, "GET", response.id()).await.json(), response.body);
        server.signal("TERM").await.await;
        let mut found = 0;
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name().to_str().unwrap().starts_with(path.file_name().unwrap().to_str().unwrap()) {
                let stored = std::fs::read(entry.path()).unwrap();
                for words in ["an answer like no other", "instructions-like-no-others", response.id()] {
                    found += usize::from(memchr::memmem::find(&stored, words.as_bytes()).is_some());
                }
            }
        }
        assert_eq!(found > 0, is_readable, "{found}");
        // After a restart it is there; with another key it is not readable, and nothing breaks.
        let server = case.start_with(&fake, &settings).await;
        assert_eq!(send(&server, "GET", response.id()).await.status, 200);
        server.stop().await;
        if !is_readable {
            let other = SESSION_KEY.replace('M', "N");
            let server = case.start_with(&fake, &[settings[0], ("SESSION_KEY", &other), settings[2]]).await;
            send(&server, "GET", response.id()).await.error(404, "not_found");
        }
    }
}

/// One upstream chat, and only what is new, whether results, questions or both.
pub async fn a_previous_response_is_gone_on_from(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    for stream in [false, true] {
        let chats = fake.chats();
        let two = format!("{}\n{}", weather_text("Oslo"), weather_text("Rome"));
        let fields = json!({ "tools": [flat(&weather())], "instructions": "You are an agent." });
        let prompt = format!("how is it? [[fake {}]]", steps(&[&weather_text("Bern"), &two, "Rain.", "Bye."]));
        let first = ask(&server, &request(prompt, fields.clone()), stream).await;
        let chat = turns(&fake).pop().unwrap().chat;
        let on = |response: &Response| with(fields.clone(), json!({ "previous_response_id": response.id() }));
        let check = |expected: &str| {
            let turn = turns(&fake).pop().unwrap();
            let nodes = fake.chat_nodes(&chat);
            let parents: Vec<&str> =
                nodes.iter().filter(|node| node.role == "assistant").map(|node| node.id.as_str()).collect();
            // The newest node is the answer to this turn.
            assert_eq!((&turn.chat, turn.parent.as_deref()), (&chat, parents.iter().rev().nth(1).copied()));
            let (said, reminder) = turn.text.rsplit_once("\n\n").unwrap();
            assert_eq!(said, expected);
            assert!(reminder.len() <= 200 && reminder.contains("[TOOL CALL]"), "{reminder}");
        };
        let second = ask(&server, &request(json!([result(first.call_id(0), "snow")]), on(&first)), stream).await;
        assert_eq!(second.body["previous_response_id"], first.id());
        check("[TOOL RESULT #1: get_weather]\nsnow\n[END TOOL RESULT]");
        let results = json!([result(second.call_id(1), "in Rome"), result(second.call_id(0), "in Oslo")]);
        let third = ask(&server, &request(results, on(&second)), stream).await;
        third.assert_text("Rain.");
        check(
            "[TOOL RESULT #2: get_weather]\nin Rome\n[END TOOL RESULT]\n[TOOL RESULT #1: get_weather]\nin Oslo\n[END TOOL RESULT]",
        );
        ask(&server, &request("thank you", on(&third)), stream).await.assert_text("Bye.");
        check("thank you");
        assert_eq!(fake.chats(), chats + 1);
    }
}

pub async fn responses_branch(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    for stream in [false, true] {
        let chats = fake.chats();
        let root = ask(&server, &request(format!("a root {}", says("root")), json!({})), stream).await;
        let turn = turns(&fake).pop().unwrap();
        let node = newest_answer(&fake, &turn.chat);
        let on = |response: &Response| json!({ "previous_response_id": response.id() });
        let mut branches = Vec::new();
        for name in ["left", "right"] {
            let response = ask(&server, &request(format!("{name} {}", says(name)), on(&root)), stream).await;
            response.assert_text(name);
            let turn = turns(&fake).pop().unwrap();
            assert_eq!((fake.chats(), turn.parent.as_deref()), (chats + 1, Some(node.as_str())));
            assert!(!turn.text.contains("root"), "{}", turn.text);
            branches.push((newest_answer(&fake, &turn.chat), response));
        }
        for (node, response) in &branches {
            ask(&server, &request(says("leaf"), on(response)), stream).await.assert_text("leaf");
            assert_eq!(turns(&fake).pop().unwrap().parent.as_deref(), Some(node.as_str()));
        }
    }
}

/// Instructions are those of one response: they are not handed on, and go along when they are given.
pub async fn instructions_are_not_inherited(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let first = ask(&server, &request(says("one"), json!({ "instructions": "Rule one." })), false).await;
    let fields = |instructions: Value| json!({ "previous_response_id": first.id(), "instructions": instructions });
    for (instructions, is_sent) in [(json!(null), false), (json!("Rule one."), false), (json!("Rule two."), true)] {
        let response = ask(&server, &request(says("two"), fields(instructions.clone())), false).await;
        assert_eq!(response.body["instructions"], instructions);
        let turn = turns(&fake).pop().unwrap();
        assert_eq!(turn.text.contains("Rule"), is_sent, "{instructions}: {}", turn.text);
    }
    // In a new chat only the new ones count.
    assert!(fake.delete_chat(&turns(&fake).pop().unwrap().chat));
    ask(&server, &request(says("three"), fields(json!("Rule three."))), false).await.assert_text("three");
    let turn = turns(&fake).pop().unwrap();
    assert!(turn.text.contains("Rule three.") && !turn.text.contains("Rule one."), "{}", turn.text);
}

/// From what is kept, everything is told to a new chat, which the next response goes on with.
pub async fn a_deleted_chat_is_told_again(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    for stream in [false, true] {
        let fields = json!({ "tools": [flat(&weather())], "instructions": "You are an agent." });
        let on = |response: &Response| with(fields.clone(), json!({ "previous_response_id": response.id() }));
        let first =
            ask(&server, &request(format!("a first question {}", says("A first answer.")), fields.clone()), stream)
                .await;
        let second = ask(&server, &request(json!([{ "role": "user", "content": [{ "type": "input_text", "text": format!("a second question {}", says(&weather_text("Oslo"))) }] }]), on(&first)), stream).await;
        let chat = turns(&fake).pop().unwrap().chat;
        let chats = fake.chats();
        assert!(fake.delete_chat(&chat));
        let items = json!([result(second.call_id(0), "rain"), { "role": "user", "content": format!("and now? {}", says("Now.")) }]);
        let third = ask(&server, &request(items, on(&second)), stream).await;
        third.assert_text("Now.");
        let turn = turns(&fake).pop().unwrap();
        assert!(turn.chat != chat && turn.parent.is_none() && fake.chats() == chats, "{turn:?}");
        for part in [
            "You are an agent.",
            "a first question",
            "A first answer.",
            "a second question",
            "\"Oslo\"",
            "[TOOL RESULT #1: get_weather]\nrain\n",
            "and now?",
        ] {
            assert_eq!(turn.text.matches(part).count(), 1, "{part}: {}", turn.text);
        }
        let fourth = ask(&server, &request(format!("more {}", says("More.")), on(&third)), stream).await;
        fourth.assert_text("More.");
        let next = turns(&fake).pop().unwrap();
        assert!(next.chat == turn.chat && next.parent.is_some() && !next.text.contains("question"), "{next:?}");
        // Where one of the chain is no longer kept, it is said.
        assert!(fake.delete_chat(&turn.chat));
        send(&server, "DELETE", first.id()).await;
        let request = request("x", with(on(&fourth), json!({ "stream": stream })));
        post(&server, &request).await.error(404, "previous_response_not_found");
    }
}

/// The site took the call: the turn after it begins before it, and says again what came since.
pub async fn a_native_call_is_gone_on_from_by_its_response(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let native = |city: &str| {
        let arguments = encoded(&json!({ "city": city }).to_string());
        format!("[[fake call=get_weather args={arguments} pause_ms=60000 busy_until_stop=1]]")
    };
    for stream in [false, true] {
        let fields = json!({ "tools": [flat(&weather())] });
        let on = |response: &Response| with(fields.clone(), json!({ "previous_response_id": response.id() }));
        let answers = ["Hello.", &native("Oslo"), &native("Rome"), "It is done."];
        let hello =
            ask(&server, &request(format!("hello {stream} [[fake {}]]", steps(&answers)), fields.clone()), stream)
                .await;
        let chat = turns(&fake).pop().unwrap().chat;
        let before = newest_answer(&fake, &chat);
        let mut response = ask(&server, &request("how is it?", on(&hello)), stream).await;
        for (number, city) in ["Oslo", "Rome"].into_iter().enumerate() {
            assert_eq!(response.called(), [("get_weather", json!({ "city": city }))]);
            let result = result(response.call_id(0), &format!("rain in {city}"));
            response = ask(&server, &request(json!([result]), on(&response)), stream).await;
            let turn = turns(&fake).pop().unwrap();
            assert_eq!((&turn.chat, turn.parent.as_deref()), (&chat, Some(before.as_str())), "{city}");
            for (part, is_in) in [
                ("how is it?", true),
                ("\"Oslo\"", true),
                ("rain in Oslo", true),
                ("\"Rome\"", number > 0),
                ("rain in Rome", number > 0),
            ] {
                assert_eq!(turn.text.matches(part).count(), usize::from(is_in), "{part}: {}", turn.text);
            }
            assert!(!turn.text.contains("hello") && !turn.text.contains("does not exist"), "{}", turn.text);
        }
        response.assert_text("It is done.");
    }
}

/// As the AI SDK sends a history of kept items.
pub async fn item_references_are_resolved(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    for stream in [false, true] {
        let chats = fake.chats();
        let answers = format!("I look.\n{}\n{}", weather_text("Oslo"), weather_text("Rome"));
        let mut input = vec![
            json!({ "role": "user", "content": format!("a question [[fake think=Hm. {}]]", steps(&[&answers, "Rain."])) }),
        ];
        let fields = json!({ "tools": [flat(&weather())] });
        let first = ask(&server, &request(input.clone(), fields.clone()), stream).await;
        assert!(first.output().len() >= 3);
        input.extend(first.output().iter().map(|item| json!({ "type": "item_reference", "id": item["id"] })));
        input.push(result(first.call_id(0), "in Oslo"));
        input.push(result(first.call_id(1), "in Rome"));
        ask(&server, &request(input.clone(), fields.clone()), stream).await.assert_text("Rain.");
        let turn = turns(&fake).pop().unwrap();
        assert_eq!((fake.chats(), turn.parent.is_some()), (chats + 1, true));
        assert!(
            turn.text.starts_with(
                "[TOOL RESULT #1: get_weather]\nin Oslo\n[END TOOL RESULT]\n[TOOL RESULT #2: get_weather]\nin Rome\n"
            ),
            "{}",
            turn.text
        );
        // In a new chat what they stand for is told.
        assert!(fake.delete_chat(&turn.chat));
        ask(&server, &request(input, fields), stream).await;
        let turn = turns(&fake).pop().unwrap();
        for part in ["a question", "I look.", "\"Oslo\"", "\"Rome\"", "in Oslo", "in Rome"] {
            assert_eq!(turn.text.matches(part).count(), 1, "{part}: {}", turn.text);
        }
    }
}

/// The whole history with each request, in the shape that was captured of Codex: ten steps are one chat, and only news.
pub async fn a_codex_run_uses_one_chat(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let tool = |name: &str, field: &str| json!({ "type": "function", "name": name, "description": format!("Runs {name}."), "strict": false, "parameters": { "type": "object", "properties": { field: { "type": "string" } }, "required": [field], "additionalProperties": false } });
    let tools = json!([
        tool("exec_command", "cmd"), tool("view_image", "path"),
        { "type": "custom", "name": "apply_patch", "description": "Edits files.", "format": { "type": "grammar", "syntax": "lark", "definition": "start: x" } },
        { "type": "namespace", "name": "multi_agent_v1", "description": "Sub-agents.", "tools": [tool("close_agent", "target"), tool("spawn_agent", "message")] },
        { "type": "tool_search", "execution": "client", "description": "d", "parameters": { "type": "object", "properties": { "query": { "type": "string" } } } },
        { "type": "web_search", "external_web_access": true },
    ]);
    let session = "01a2163f-eeb9-7710-82db-fe2454e0293a";
    let headers = [
        Server::auth_headers()[0],
        ("content-type", "application/json"),
        ("accept", "text/event-stream"),
        ("session-id", session),
        ("thread-id", session),
        ("originator", "codex_exec"),
    ];
    let part = |role: &str, texts: &[&str]| json!({ "type": "message", "id": format!("msg_{role}"), "role": role, "content": texts.iter().map(|text| json!({ "type": "input_text", "text": text })).collect::<Vec<_>>() });
    let mut answers: Vec<String> = (0..10)
        .map(|step| match step {
            3 => call_text("apply_patch", &json!({ "input": format!("*** patch {step}") })),
            5 => call_text("multi_agent_v1__close_agent", &json!({ "target": "a" })),
            _ => format!("Step {step}.\n{}", call_text("exec_command", &json!({ "cmd": format!("cat {step}") }))),
        })
        .collect();
    answers.push("It is done.".to_owned());
    let answers: Vec<&str> = answers.iter().map(String::as_str).collect();
    let base = "You are a coding agent. ".repeat(700);
    let prompt = format!("create hello.txt [[fake think=Hm. {}]]", steps(&answers));
    let mut input = vec![
        part("developer", &[&base]),
        part("developer", &["<skills>", "<permissions>"]),
        part("user", &["<environment_context>"]),
        part("user", &[&prompt]),
    ];
    let mut done = 0;
    for step in 0..=10 {
        let body = json!({ "model": "qwen3-max", "stream": true, "input": input, "tools": tools, "tool_choice": "auto", "parallel_tool_calls": true, "reasoning": { "summary": "auto" }, "store": false, "include": ["reasoning.encrypted_content"], "prompt_cache_key": session, "client_metadata": { "session_id": session } });
        let response = Response::read(&server.http.send("POST", "/v1/responses", &headers, body.to_string()).await);
        let turn = turns(&fake).pop().unwrap();
        if step > 0 {
            let (said, reminder) = turn.text.rsplit_once("\n\n").unwrap();
            assert!(
                said.starts_with("[TOOL RESULT #1: ")
                    && said.ends_with(&format!("]\noutput {}\n[END TOOL RESULT]", step - 1)),
                "{said}"
            );
            assert!(reminder.len() <= 200);
        }
        if step == 10 {
            response.assert_text("It is done.");
            break;
        }
        // Codex returns each item as it came, the thinking with what it takes for its encrypted form.
        for item in response.output() {
            let mut item = item.clone();
            if item["type"] == "reasoning" {
                item = with(item, json!({ "content": null, "encrypted_content": "ZW5j" }));
            }
            input.push(item);
        }
        let call = response.output().last().unwrap();
        let kind = if call["type"] == "custom_tool_call" { "custom_tool_call_output" } else { "function_call_output" };
        assert_eq!(call["type"] == "custom_tool_call", step == 3, "{call}");
        assert_eq!(call.get("namespace").is_some(), step == 5, "{call}");
        input.push(json!({ "type": kind, "id": format!("fco_{step}"), "call_id": call["call_id"], "output": format!("output {step}") }));
        done += 1;
    }
    let turns = turns(&fake);
    assert_eq!((fake.chats(), turns.len(), done), (1, 11, 10));
    let all: String = turns.iter().map(|turn| turn.text.as_str()).collect();
    for once in ["create hello.txt", "<environment_context>", "\"name\":\"exec_command\",", "<permissions>"] {
        assert_eq!(all.matches(once).count(), 1, "{once}");
    }
    assert_eq!(turns[0].body["messages"][0]["feature_config"]["auto_search"], true, "web_search turns the search on");
}

/// D1 counts at most five queries for a response, and one more written row than for a chat completion.
pub async fn a_kept_response_costs_one_more_row(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[("LOG", "debug")]).await;
    // The first request of an isolate also reads the list of models.
    ask(&server, &request("hi", json!({})), false).await;
    let mut logged = server.log().await.len();
    let mut costs = Vec::new();
    let mut previous: Option<Response> = None;
    let tools = json!([flat(&weather())]);
    let prompts = [json!("hello"), json!(says(&weather_text("Oslo"))), json!(null), json!("bye")];
    for store in [false, true] {
        for prompt in &prompts {
            let mut fields = json!({ "store": store, "tools": tools });
            let mut input = prompt.clone();
            if let Some(previous) = &previous {
                fields["previous_response_id"] = previous.id().into();
                if input.is_null() {
                    input = json!([result(previous.call_id(0), "rain")]);
                }
            } else if input.is_null() {
                continue;
            }
            let response = ask(&server, &request(input, fields), false).await;
            let log = server.log().await;
            let lines = log[logged..].iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let queries: Vec<Value> = lines.filter(|line| line["message"] == "d1 query").collect();
            logged = log.len();
            let written: u64 = queries.iter().map(|query| query["rows_written"].as_u64().unwrap()).sum();
            costs.push((store, queries.len(), written));
            previous = store.then_some(response);
        }
    }
    let tool_turn = 5;
    for (store, queries, written) in &costs {
        assert!(*queries <= 5 && *written <= tool_turn + u64::from(*store), "{costs:?}");
    }
    let written = |store: bool| costs.iter().find(|cost| cost.0 == store).unwrap().2;
    assert_eq!(written(true), written(false) + 1, "{costs:?}");
}

/// What is over a megabyte is not kept, but gone on from.
pub async fn a_very_long_response_is_not_kept(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let long = json!([
        { "role": "user", "content": "word ".repeat(250_000) },
        { "role": "assistant", "content": "I see." },
        { "role": "user", "content": says("Hello.") },
    ]);
    let response = ask(&server, &request(long, json!({})), true).await;
    response.assert_text("Hello.");
    send(&server, "GET", response.id()).await.error(404, "not_found");
    let chats = fake.chats();
    let next = request(says("Bye."), json!({ "previous_response_id": response.id() }));
    ask(&server, &next, true).await.assert_text("Bye.");
    assert_eq!(fake.chats(), chats);
}
