use std::sync::Arc;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    Product,
    fake_qwen::{Fake, Outcome},
    http::{EVENT_STREAM, Reply, chat, joined, with},
    server::{BROKEN_STORE, Case, Server, unique},
};

/// A client that resends everything, as OpenAI clients do.
struct Talk {
    server: Arc<Server>,
    messages: Vec<Value>,
    headers: Vec<(&'static str, String)>,
    stream: bool,
}

impl Talk {
    fn new(server: &Arc<Server>) -> Self {
        Self { server: Arc::clone(server), messages: Vec::new(), headers: Vec::new(), stream: false }
    }

    async fn send(&self, messages: &[Value], fields: Value) -> Reply {
        let body = with(json!({ "model": "qwen3-max", "messages": messages, "stream": self.stream }), fields);
        let mut headers = Server::keyed().to_vec();
        headers.extend(self.headers.iter().map(|(name, value)| (*name, value.as_str())));
        self.server.http.send("POST", "/v1/chat/completions", &headers, body.to_string()).await
    }

    /// Asks, and keeps question and answer.
    async fn ask(&mut self, question: &str) -> String {
        self.messages.push(json!({ "role": "user", "content": question }));
        let reply = self.send(&self.messages, json!({})).await;
        let answer = text(&reply);
        self.messages.push(json!({ "role": "assistant", "content": answer }));
        answer
    }
}

#[track_caller]
fn text(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{reply:?}");
    if reply.header("content-type") == Some(EVENT_STREAM) {
        return joined(&reply.chunks(), "content");
    }
    reply.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

/// The turns that the site got: chat, parent and text.
fn turns(fake: &Fake) -> Vec<(String, Option<String>, String)> {
    let completions =
        fake.seen().into_iter().filter(|seen| seen.path_and_query.starts_with("/api/v2/chat/completions"));
    completions
        .map(|seen| {
            let body = seen.json();
            let text = |value: &Value| value.as_str().map(str::to_owned);
            (text(&body["chat_id"]).unwrap(), text(&body["parent_id"]), text(&body["messages"][0]["content"]).unwrap())
        })
        .collect()
}

pub async fn thirty_turns_are_one_chat_and_thirty_short_messages(case: Arc<Case>) {
    for stream in [false, true] {
        let fake = Fake::start();
        let server = case.start_with(&fake, &[]).await;
        let mut talk = Talk::new(&server);
        talk.stream = stream;
        talk.messages.push(json!({ "role": "system", "content": "Be brief." }));
        for number in 0..30 {
            // The fake repeats the last line, which in a folded text has the role in front.
            assert!(
                talk.ask(&format!("question number {number}")).await.ends_with(&format!("question number {number}"))
            );
        }
        assert_eq!(fake.chats(), 1);
        let turns = turns(&fake);
        assert_eq!(turns.len(), 30);
        assert_eq!(turns[0].2, "System: Be brief.\n\nUser: question number 0");
        for (number, (chat, parent, text)) in turns.iter().enumerate().skip(1) {
            assert_eq!((chat, text), (&turns[0].0, &format!("question number {number}")));
            assert!(parent.is_some());
        }
        let said = fake.chat_messages(&turns[0].0);
        assert_eq!(said.len(), 60, "one line of turns, no forks");
    }
}

pub async fn the_site_sees_each_stream_to_its_end(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let mut talk = Talk::new(&server);
    for stream in [true, false] {
        talk.stream = stream;
        talk.ask("one").await;
        talk.ask("two").await;
    }
    for seen in fake.seen() {
        for _ in 0..200 {
            if seen.outcome() == Outcome::Finished {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert_eq!(seen.outcome(), Outcome::Finished, "{}", seen.path_and_query);
    }
}

/// A small generator of numbers, so that a run can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % sides
    }
}

/// Random edits, regenerations and branches: the conversation that the site holds is the client's history at each step.
pub async fn trees_of_edits_and_branches_are_followed(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    for seed in 1..=4 {
        let mut dice = Dice(seed);
        // Each history that the client has shown so far; all end with an answer.
        let mut histories: Vec<Vec<Value>> = vec![vec![]];
        for step in 0..25 {
            let mut history = histories[dice.roll(histories.len())].clone();
            if dice.roll(3) == 0 {
                // Go back some turns: an edit of an earlier question, or a regeneration.
                let turns = history.len() / 2;
                history.truncate(2 * dice.roll(turns + 1));
            }
            // Few different questions, so that the same ones come again in other places.
            let question = format!("say {} {}", seed, dice.roll(5));
            history.push(json!({ "role": "user", "content": question }));
            let mut talk = Talk::new(&server);
            talk.stream = dice.roll(2) == 0;
            let answer = text(&talk.send(&history, json!({})).await);
            history.push(json!({ "role": "assistant", "content": answer }));
            let (chat, _, _) = turns(&fake).pop().unwrap();
            let held = fake.chat_messages(&chat);
            let shown: Vec<(String, String)> = history
                .iter()
                .map(|message| {
                    (message["role"].as_str().unwrap().to_owned(), message["content"].as_str().unwrap().to_owned())
                })
                .collect();
            assert_eq!(held, shown, "seed {seed}, step {step}");
            histories.push(history);
        }
    }
}

pub async fn a_restart_forgets_nothing(case: Arc<Case>) {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kept.db").display().to_string();
    let settings =
        [("DATABASE_PATH", path.as_str()), ("QWEN_COOKIES", &format!("token={}", Fake::token("restart", 9_000)))];
    let server = case.start_with(&fake, &settings).await;
    let mut talk = Talk::new(&server);
    talk.ask("before").await;
    // workerd is started again by its keeper on the same port with the same data; the box by us.
    assert!(Command::new("kill").args(["-9", &server.pid.to_string()]).status().await.unwrap().success());
    if case.product == Product::Box {
        talk.server = case.start_with(&fake, &settings).await;
    } else {
        for _ in 0..200 {
            let gone = !std::path::Path::new(&format!("/proc/{}", server.pid)).exists();
            if gone && tokio::net::TcpStream::connect(server.http.address()).await.is_ok() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        talk.server = server.again();
    }
    talk.ask("after").await;
    let turns = turns(&fake);
    assert_eq!((fake.chats(), turns[1].2.as_str()), (1, "after"));
}

pub async fn keys_and_accounts_are_kept_apart(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[("VALID_TOKENS", "sk-test-key,sk-other")]).await;
    let mut talk = Talk::new(&server);
    talk.ask("a secret").await;
    talk.messages.push(json!({ "role": "user", "content": "go on" }));
    let other = json!({ "model": "qwen3-max", "messages": talk.messages, "conversation_id": "mine" });
    let headers = [("authorization", "Bearer sk-other")];
    let reply = server.http.send("POST", "/v1/chat/completions", &headers, other.to_string()).await;
    assert_eq!(reply.status, 200);
    assert_eq!(fake.chats(), 2, "another key begins anew");
    let list = |key: &'static str| {
        let server = Arc::clone(&server);
        async move { server.http.send("GET", "/v1/chats", &[("x-api-key", key)], "").await.json()["data"].clone() }
    };
    let (one, two) = (list("sk-test-key").await, list("sk-other").await);
    assert_eq!((one.as_array().unwrap().len(), two.as_array().unwrap().len()), (1, 1));
    assert_ne!(one[0]["id"], two[0]["id"]);
    let path = format!("/v1/chats/{}", one[0]["id"].as_str().unwrap());
    server.http.send("DELETE", &path, &[("x-api-key", "sk-other")], "").await.error(404, "not_found");
    assert_eq!(fake.chats(), 2);
    if case.product == Product::Box {
        // Another account with the same store and the same key.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accounts.db").display().to_string();
        for (account, chats) in [("first", 3), ("first", 3), ("second", 4)] {
            let cookies = format!("token={}", Fake::token(account, 9_000));
            let server = case.start_with(&fake, &[("DATABASE_PATH", &path), ("QWEN_COOKIES", &cookies)]).await;
            let talk = Talk::new(&server);
            let mut messages = vec![json!({ "role": "user", "content": "who am I?" })];
            if account == "first" && fake.chats() == 2 {
                text(&talk.send(&messages, json!({})).await);
            }
            messages.push(json!({ "role": "assistant", "content": "who am I?" }));
            messages.push(json!({ "role": "user", "content": "go on" }));
            text(&talk.send(&messages, json!({})).await);
            assert_eq!(fake.chats(), chats, "{account}");
        }
    }
}

const CALL: &str =
    "I will look.\n<tool_use>\n  <name>search</name>\n  <arguments>{\"q\":\"x\"}</arguments>\n</tool_use>";

fn say(text: &str) -> String {
    let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("[[fake say={encoded}]]")
}

/// Cherry Studio's loop in prompt mode: raw tags and results as the user's words while it runs, neither afterwards.
pub async fn a_tool_loop_in_prompt_mode_stays_in_its_chat(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let system = json!({ "role": "system", "content": "In this environment you have tools. <tools>…</tools>" });
    let result = |number: u32| {
        format!("<tool_use_result>\n  <name>search</name>\n  <result>{number}</result>\n</tool_use_result>")
    };
    let talk = Talk::new(&server);
    let question = format!("{} what is x?", say(CALL));
    let mut messages = vec![system.clone(), json!({ "role": "user", "content": question })];
    for number in 0..3 {
        let answer = text(&talk.send(&messages, json!({})).await);
        assert_eq!(answer, CALL);
        messages.push(json!({ "role": "assistant", "content": answer }));
        let wish = if number < 2 { say(CALL) } else { say("It is 7.") };
        messages.push(json!({ "role": "user", "content": format!("{}\n\n{wish}", result(number)) }));
    }
    assert_eq!(text(&talk.send(&messages, json!({})).await), "It is 7.");
    // The next question comes with the history as the window shows it: one answer, no tags, no results.
    let shown = "I will look.\n\nI will look.\n\nI will look.\n\nIt is 7.";
    let next = [
        system,
        messages[1].clone(),
        json!({ "role": "assistant", "content": shown }),
        json!({ "role": "user", "content": "and y?" }),
    ];
    text(&talk.send(&next, json!({})).await);
    let turns = turns(&fake);
    assert_eq!((fake.chats(), turns.len()), (1, 5), "{turns:?}");
    assert_eq!(turns[4].2, "and y?");
    assert_eq!(fake.chat_messages(&turns[0].0).len(), 10);
}

pub async fn a_tool_loop_in_function_mode_stays_in_its_chat(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let talk = Talk::new(&server);
    let tools =
        json!({"tools": [{"type": "function", "function": {"name": "search", "parameters": {"type": "object"}}}]});
    let mut messages = vec![json!({ "role": "user", "content": "what is x?" })];
    let answer = text(&talk.send(&messages, tools.clone()).await);
    let call =
        json!({"id": "call_1", "type": "function", "function": {"name": "search", "arguments": "{\"q\":\"x\"}"}});
    messages.push(json!({ "role": "assistant", "content": answer, "reasoning_content": "hm" }));
    messages.push(json!({ "role": "user", "content": "use the tool" }));
    text(&talk.send(&messages, tools.clone()).await);
    // A step whose calls the client made up itself: the turn goes on from the longest history that is known.
    messages.push(json!({ "role": "assistant", "content": null, "tool_calls": [call] }));
    messages.push(json!({ "role": "tool", "tool_call_id": "call_1", "content": "7" }));
    text(&talk.send(&messages, tools).await);
    let turns = turns(&fake);
    assert_eq!(fake.chats(), 1, "{turns:?}");
    assert!(turns[2].2.contains("Tool result: 7"), "{turns:?}");
}

/// Open WebUI names its chat in a header that its title, tag and follow-up calls carry as well.
pub async fn side_calls_leave_conversations_alone(case: Arc<Case>) {
    // An unfinished first answer: the title call must not become the conversation.
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let mut talk = Talk::new(&server);
    talk.headers.push(("x-openwebui-chat-id", "unfinished".to_owned()));
    talk.messages.push(json!({ "role": "user", "content": "[[fake stream=count n=50]]" }));
    let cut = talk.send(&talk.messages, json!({ "stop": "4 ", "enable_thinking": false })).await;
    talk.messages.push(json!({ "role": "assistant", "content": text(&cut) }));
    text(&talk.send(&[json!({ "role": "user", "content": "Make a title." })], json!({})).await);
    talk.ask("go on").await;
    let sent = turns(&fake).pop().unwrap();
    assert!(sent.1.is_none() && sent.2.contains("Assistant: 1 2 3"), "a new chat that knows all: {sent:?}");
    for header in [false, true] {
        let fake = Fake::start();
        let server = case.start_with(&fake, &[]).await;
        let mut talk = Talk::new(&server);
        if header {
            talk.headers.push(("x-openwebui-chat-id", "0b2e7f3c-1111-4111-8111-111111111111".to_owned()));
        }
        talk.messages.push(json!({ "role": "system", "content": "You are kind." }));
        for number in 0..6 {
            talk.ask(&format!("question {number}")).await;
            let task =
                "### Task:\nGenerate a concise title with an emoji.\n### Chat History:\n<chat_history>…</chat_history>";
            text(&talk.send(&[json!({ "role": "user", "content": task })], json!({})).await);
            if number < 2 {
                // Some clients send the history itself, with other instructions.
                let mut messages = talk.messages.clone();
                messages[0] = json!({ "role": "system", "content": "You make titles." });
                messages.push(json!({ "role": "user", "content": "Title, please." }));
                if number == 0 {
                    text(&talk.send(&messages, json!({})).await);
                }
            }
        }
        let turns = turns(&fake);
        let main: Vec<_> = turns.iter().filter(|turn| turn.0 == turns[0].0).map(|turn| turn.2.as_str()).collect();
        assert_eq!(main.len(), 6, "with header {header}: {turns:?}");
        assert_eq!(main[5], "question 5");
        assert_eq!(fake.chat_messages(&turns[0].0).len(), 12);
    }
}

pub async fn explicit_ids_win(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let talk = Talk::new(&server);
    let only = |text: &str| vec![json!({ "role": "user", "content": text })];
    // A client that keeps no history and names its conversation.
    for number in 0..3 {
        let reply = talk.send(&only(&format!("part {number}")), json!({ "conversation_id": "my-own" })).await;
        assert_eq!((reply.status.as_u16(), reply.header("x-conversation-id")), (200, Some("my-own")));
    }
    assert_eq!(fake.chats(), 1);
    assert_eq!(turns(&fake).iter().map(|turn| turn.2.as_str()).collect::<Vec<_>>(), ["part 0", "part 1", "part 2"]);
    // The id that an answer told, sent back as a header.
    let reply = talk.send(&only("first"), json!({})).await;
    let id = reply.header("x-conversation-id").unwrap().to_owned();
    let mut named = Talk::new(&server);
    named.headers.push(("x-conversation-id", id.clone()));
    named.stream = true;
    let reply = named.send(&only("second"), json!({})).await;
    assert_eq!(reply.header("x-conversation-id"), Some(id.as_str()));
    assert_eq!(text(&reply), "second");
    assert_eq!(fake.chats(), 2);
    for bad in ["a b", &"x".repeat(201)] {
        let reply = talk.send(&only("x"), json!({ "conversation_id": bad })).await;
        assert_eq!(reply.error(400, "invalid_request")["param"], "conversation_id", "{bad:?}");
    }
}

pub async fn chats_that_are_gone_are_made_anew_unseen(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    for stream in [false, true] {
        let mut talk = Talk::new(&server);
        talk.stream = stream;
        talk.ask(&format!("one {stream}")).await;
        let chat = turns(&fake).pop().unwrap().0;
        assert!(fake.delete_chat(&chat));
        assert_eq!(talk.ask("two").await, "User: two");
        let (anew, parent, text) = turns(&fake).pop().unwrap();
        assert!(
            anew != chat
                && parent.is_none()
                && text.contains(&format!("User: one {stream}"))
                && text.ends_with("User: two")
        );
        talk.ask("three").await;
        let (same, _, text) = turns(&fake).pop().unwrap();
        assert_eq!((same, text.as_str()), (anew, "three"), "the new chat is remembered");
        let marker = unique("gone");
        let answer = talk.ask(&format!("[[fake fail=parent_not_found times=1 id={marker} say=well]] {marker}")).await;
        assert_eq!((answer.as_str(), fake.seen_with(&marker).len()), ("well", 2));
    }
}

pub async fn busy_chats_are_waited_for_and_then_left(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let mut talk = Talk::new(&server);
    talk.ask("one").await;
    let marker = unique("busy");
    talk.ask(&format!("[[fake fail=in_progress times=1 id={marker}]] two")).await;
    assert_eq!((fake.chats(), fake.seen_with(&marker).len()), (1, 2), "waited for");
    let marker = unique("busy");
    talk.ask(&format!("[[fake fail=in_progress times=3 id={marker}]] three")).await;
    assert_eq!((fake.chats(), fake.seen_with(&marker).len()), (2, 4), "left for a new chat");
    talk.ask("four").await;
    assert_eq!(fake.chats(), 2);
}

pub async fn two_requests_at_once_neither_block_nor_mix(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let mut talk = Talk::new(&server);
    talk.ask("one").await;
    let asked = |word: &'static str| {
        let mut messages = talk.messages.clone();
        messages
            .push(json!({ "role": "user", "content": format!("[[fake delay_ms=30 say={word}%20{word}%20{word}]]") }));
        let talk = Talk::new(&server);
        async move { text(&talk.send(&messages, json!({})).await) }
    };
    let (left, right) = tokio::join!(asked("left"), asked("right"));
    assert_eq!((left.as_str(), right.as_str()), ("left left left", "right right right"));
    assert_eq!(talk.ask("two").await, "two");
}

pub async fn the_end_of_a_history_is_a_second_chance(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let said = |role: &str, text: &str| json!({ "role": role, "content": text });
    let mut talk = Talk::new(&server);
    talk.ask("alpha").await;
    talk.ask("beta [[fake say=beta%20gamma%5B%5B1%5D%5D]]").await;
    // A client that cut the beginning and shows question and answer in its own way.
    let trimmed = [
        said("user", "**beta**   [[fake say=beta%20gamma%5B%5B1%5D%5D]]"),
        said("assistant", "**beta**  gamma"),
        said("user", "delta"),
    ];
    text(&talk.send(&trimmed, json!({})).await);
    assert_eq!((fake.chats(), turns(&fake).pop().unwrap().2.as_str()), (1, "delta"));
    // The answer alone is not enough while it is short, …
    let other = [said("user", "something else"), said("assistant", "delta"), said("user", "more")];
    text(&talk.send(&other, json!({})).await);
    assert_eq!(fake.chats(), 2);
    // … but one of 64 characters is, where the chat has more turns than are shown.
    let long = "0123456789".repeat(6) + "abcd";
    let mut talk = Talk::new(&server);
    talk.ask(&format!("one [[fake say={}]]", "x".repeat(64))).await;
    talk.ask(&format!("two [[fake say={long}]]")).await;
    let shown = [said("user", "The story so far, in short."), said("assistant", &long), said("user", "go on")];
    text(&talk.send(&shown, json!({})).await);
    assert_eq!((fake.chats(), turns(&fake).pop().unwrap().2.as_str()), (3, "go on"));
    let as_many = [
        said("user", "one thing"),
        said("assistant", &"x".repeat(63)),
        said("user", "another"),
        said("assistant", "go on"),
        said("user", "a third"),
        said("assistant", &"x".repeat(64)),
        said("user", "and now"),
    ];
    text(&talk.send(&as_many, json!({})).await);
    assert_eq!(fake.chats(), 4, "as many turns as the chat has, and it is not its end any more");
    // Two chats with the same end: neither is taken.
    for _ in 0..2 {
        let mut talk = Talk::new(&server);
        talk.headers.push(("x-conversation-id", crate::server::unique("same")));
        talk.ask("unlike").await;
        talk.ask("first [[fake say=same]]").await;
    }
    let before = fake.chats();
    let unknown = [said("user", "first [[fake say=same]]"), said("assistant", "same"), said("user", "more")];
    text(&talk.send(&unknown, json!({})).await);
    assert_eq!(fake.chats(), before + 1);
}

pub async fn a_changed_system_text_goes_along(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let mut talk = Talk::new(&server);
    talk.messages.push(json!({ "role": "system", "content": "Tools: a" }));
    for question in ["one", "two", "three"] {
        talk.ask(question).await;
    }
    talk.messages[0] = json!({ "role": "system", "content": "Tools: a, b" });
    talk.ask("four").await;
    talk.ask("five").await;
    let texts: Vec<String> = turns(&fake).into_iter().map(|turn| turn.2).collect();
    assert_eq!(fake.chats(), 1);
    assert_eq!(texts[1..], ["two", "three", "System: Tools: a, b\n\nUser: four", "five"]);
}

pub async fn an_unfinished_answer_is_no_place_to_go_on_from(case: Arc<Case>) {
    for header in [None, Some("x-openwebui-chat-id"), Some("x-conversation-id")] {
        unfinished(&case, header).await;
    }
}

async fn unfinished(case: &Case, header: Option<&'static str>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let mut talk = Talk::new(&server);
    talk.headers.extend(header.map(|name| (name, "named".to_owned())));
    talk.ask("one").await;
    // Cut by the client's own limit: the site's answer has more than the client knows.
    talk.messages.push(json!({ "role": "user", "content": "[[fake stream=count n=50]]" }));
    let reply = talk.send(&talk.messages, json!({ "stop": "4 ", "enable_thinking": false })).await;
    talk.messages.push(json!({ "role": "assistant", "content": text(&reply) }));
    talk.ask("two").await;
    let (chat, _, sent) = turns(&fake).pop().unwrap();
    assert_eq!(chat, turns(&fake)[0].0, "the longest known beginning is in the same chat");
    assert!(sent.contains("Assistant: 1 2 3") && sent.ends_with("User: two"), "{sent}");
}

pub async fn chats_are_listed_and_deleted(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let mut talk = Talk::new(&server);
    talk.ask("What  is\nthe weather?").await;
    Talk::new(&server).ask("Another one").await;
    let keyed = Server::keyed();
    let list = server.http.send("GET", "/v1/chats", &keyed, "").await.json();
    assert_eq!(list["object"], "list");
    let data = list["data"].as_array().unwrap();
    let weather = data.iter().find(|chat| chat["title"] == "What is the weather?").unwrap();
    assert_eq!((data.len(), weather["model"].as_str()), (2, Some("qwen3-max")));
    assert!(weather["updated"].as_u64().unwrap() > 1_700_000_000);
    let id = weather["id"].as_str().unwrap();
    server.http.send("GET", "/v1/chats", &[], "").await.error(401, "missing_api_key");
    server.http.send("DELETE", &format!("/v1/chats/{id}"), &[], "").await.error(401, "missing_api_key");
    let reply = server.http.send("DELETE", &format!("/v1/chats/{id}"), &keyed, "").await;
    assert_eq!((reply.status.as_u16(), reply.json()["success"].as_bool()), (200, Some(true)));
    server.http.send("DELETE", &format!("/v1/chats/{id}"), &keyed, "").await.error(404, "not_found");
    assert_eq!(fake.chats(), 1);
    assert_eq!(talk.ask("still there?").await, "User: still there?", "a client that goes on gets a new chat");
    // Chats of the account that this server did not make are none of its business.
    server
        .http
        .send("DELETE", "/v1/chats/11111111-1111-4111-8111-111111111111", &keyed, "")
        .await
        .error(404, "not_found");
}

pub async fn a_locked_store_does_not_stop_chats(case: Arc<Case>) {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("locked.db");
    let server = case.start_with(&fake, &[("DATABASE_PATH", path.to_str().unwrap())]).await;
    let mut talk = Talk::new(&server);
    talk.ask("one").await;
    let lock = rusqlite::Connection::open(&path).unwrap();
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    assert_eq!(talk.ask("two").await, "two");
    let health = server.get("/health").await.json();
    assert!(health["store"]["errors"].as_u64().unwrap() > 0, "{health}");
    lock.execute_batch("ROLLBACK").unwrap();
    drop(lock);
    talk.ask("three").await;
    talk.ask("four").await;
    let turns = turns(&fake);
    assert_eq!(turns.last().unwrap().2, "four", "it goes on as soon as the store does");
}

pub async fn expired_chats_are_cleaned_up(case: Arc<Case>) {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.db").display().to_string();
    let cookies = format!("token={}", Fake::token("cleanup", 9_000));
    let settings = |delete: &'static str| {
        [("DATABASE_PATH", path.clone()), ("QWEN_COOKIES", cookies.clone()), ("DELETE_CHATS", delete.to_owned())]
    };
    let start = |delete: &'static str| {
        let settings = settings(delete);
        let (case, fake) = (&case, &fake);
        async move {
            let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
            case.start_with(fake, &settings).await
        }
    };
    let server = start("never").await;
    let (mut old, mut young) = (Talk::new(&server), Talk::new(&server));
    old.ask("old").await;
    young.ask("young").await;
    server.stop().await;
    let month = 31_i64 * 24 * 3600 * 1000;
    let database = rusqlite::Connection::open(&path).unwrap();
    let aged =
        database.execute("UPDATE conversations SET updated_at = updated_at - ?1 WHERE title = 'old'", [month]).unwrap();
    let turns_aged = database
        .execute("UPDATE turns SET created_at = created_at - ?1 WHERE conversation = (SELECT id FROM conversations WHERE title = 'old')", [month])
        .unwrap();
    assert!(aged == 1 && turns_aged >= 1);
    let server = start("expired").await;
    for _ in 0..200 {
        if fake.chats() == 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    assert_eq!(fake.chats(), 1, "the expired chat is deleted upstream, the other is not");
    young.server = Arc::clone(&server);
    young.ask("more").await;
    assert_eq!(turns(&fake).pop().unwrap().2, "more");
    let old = "SELECT count(*) FROM turns WHERE created_at < (SELECT max(created_at) FROM turns) - 86400000";
    let left: i64 = database.query_row(old, [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
}

pub async fn a_scheduled_run_works(case: Arc<Case>) {
    let server = case.start(&[]).await;
    assert_eq!(server.chat(&chat("hi")).await.status, 200);
    server.scheduled().await;
    let log = server.log().await.join("\n");
    assert!(!log.contains("failed") && !log.contains("panicked"), "{log}");
}

/// What D1 counts: at most five queries and three rows written for a request, and one row read to find a history.
pub async fn a_turn_costs_few_queries_and_rows(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[("LOG", "debug")]).await;
    let mut talk = Talk::new(&server);
    talk.ask("the first request of an isolate also reads the list of models").await;
    let mut logged = server.log().await.len();
    let mut costs = Vec::new();
    for number in 0..4 {
        if number == 3 {
            // An unknown history is the dearest.
            talk.messages.insert(0, json!({ "role": "assistant", "content": "unheard of" }));
        }
        talk.ask(&format!("question {number}")).await;
        let log = server.log().await;
        let queries: Vec<Value> = log[logged..]
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|line| line["message"] == "d1 query")
            .collect();
        logged = log.len();
        let sum = |name: &str| queries.iter().map(|query| query[name].as_u64().unwrap()).sum::<u64>();
        costs.push((queries.len(), queries[0]["rows_read"].as_u64().unwrap(), sum("rows_written")));
    }
    for (number, (queries, found, written)) in costs.iter().enumerate() {
        assert!(*queries <= 5 && *written <= 3, "{costs:?}");
        assert_eq!(*found, u64::from(number < 3), "{costs:?}");
    }
}

/// What is too long for a message goes along as an uploaded file; the next turn is short again.
pub async fn long_histories_go_along_as_a_file(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let part = |letter: &str| letter.repeat(60 * 1024);
    let mut talk = Talk::new(&server);
    talk.messages = vec![
        json!({ "role": "user", "content": part("a") }),
        json!({ "role": "assistant", "content": part("\u{4e2d}") }),
        json!({ "role": "user", "content": "and then?" }),
        json!({ "role": "assistant", "content": "nothing" }),
    ];
    talk.stream = true;
    talk.ask("so what?").await;
    let objects = fake.objects();
    assert_eq!(objects.len(), 1);
    let file = objects[0].text.as_deref().unwrap();
    assert!(file.contains(&part("a")) && file.contains(&part("\u{4e2d}")), "nothing is cut");
    let sent = |fake: &Fake| {
        let seen =
            fake.seen().into_iter().rfind(|seen| seen.path_and_query.starts_with("/api/v2/chat/completions")).unwrap();
        assert!(seen.body.len() < 128 * 1024);
        seen.json()["messages"][0].clone()
    };
    let message = sent(&fake);
    assert!(message["content"].as_str().unwrap().ends_with("User: and then?\n\nAssistant: nothing\n\nUser: so what?"));
    let entry = &message["files"][0];
    assert_eq!((entry["type"].as_str(), entry["file_class"].as_str()), (Some("file"), Some("document")));
    assert_eq!((entry["size"].as_u64(), entry["status"].as_str()), (Some(file.len() as u64), Some("uploaded")));
    talk.ask("short again").await;
    let message = sent(&fake);
    assert_eq!((message["content"].as_str(), message["files"].as_array().unwrap().len()), (Some("short again"), 0));
    // One huge message, within the conversation and as its beginning.
    for first in [false, true] {
        if first {
            talk = Talk::new(&server);
        }
        talk.ask(&"x ".repeat(200 * 1024)).await;
        let message = sent(&fake);
        assert!(message["content"].as_str().unwrap().contains("conversation.txt"));
        assert_eq!(message["files"].as_array().unwrap().len(), 1);
    }
    // The same bytes are uploaded once.
    assert_eq!((fake.objects().len(), fake.chats()), (2, 2));
}

/// A full disk on the box, a database that answers with errors on the edge.
pub async fn a_broken_store_does_not_stop_chats(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[(BROKEN_STORE, "1")]).await;
    let errors = || async {
        let health = server.get("/health").await;
        assert_eq!(health.status, 200);
        health.json()["store"]["errors"].as_u64().unwrap()
    };
    let mut talk = Talk::new(&server);
    let mut asked = 0;
    while errors().await < 3 {
        assert!(asked < 500, "the store did not break");
        assert!(talk.ask(&format!("question {asked}")).await.ends_with(&format!("question {asked}")));
        asked += 1;
        if asked % 10 == 0 {
            talk = Talk::new(&server);
        }
    }
    if case.product == Product::Edge {
        assert_eq!(server.get("/health").await.json()["store"]["ok"], false);
        server.http.send("GET", "/v1/chats", &Server::keyed(), "").await.error(503, "store_unavailable");
    }
    assert_eq!(server.get("/ready").await.status, 200);
}
