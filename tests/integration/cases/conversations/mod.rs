//! Conversations: in which chat a request goes on, and what is sent of it.

mod upkeep;

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    Product,
    fake_qwen::{Fake, Outcome},
    http::{EVENT_STREAM, Reply, concat_deltas, eventually, with},
    server::{Case, Server, unique},
};

pub use self::upkeep::*;

/// A client that sends the whole history with each request, as OpenAI clients do.
struct Conversation {
    server: Arc<Server>,
    messages: Vec<Value>,
    headers: Vec<(&'static str, String)>,
    stream: bool,
}

impl Conversation {
    fn new(server: &Arc<Server>) -> Self {
        Self { server: Arc::clone(server), messages: Vec::new(), headers: Vec::new(), stream: false }
    }

    async fn send(&self, messages: &[Value], fields: Value) -> Reply {
        let body = with(json!({ "model": "qwen3-max", "messages": messages, "stream": self.stream }), fields);
        let mut headers = Server::auth_headers().to_vec();
        headers.extend(self.headers.iter().map(|(name, value)| (*name, value.as_str())));
        self.server.http.send("POST", "/v1/chat/completions", &headers, body.to_string()).await
    }

    /// Sends a question; appends question and answer to the history.
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
        return concat_deltas(&reply.chunks(), "content");
    }
    reply.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

/// The turns that the upstream received: chat, parent message and text.
fn turns(fake: &Fake) -> Vec<(String, Option<String>, String)> {
    let completions =
        fake.requests().into_iter().filter(|request| request.path_and_query.starts_with("/api/v2/chat/completions?"));
    completions
        .map(|request| {
            let body = request.json();
            let text = |value: &Value| value.as_str().map(str::to_owned);
            (text(&body["chat_id"]).unwrap(), text(&body["parent_id"]), text(&body["messages"][0]["content"]).unwrap())
        })
        .collect()
}

pub async fn thirty_turns_use_one_chat_and_send_only_new_messages(case: Arc<Case>) {
    for stream in [false, true] {
        let fake = Fake::start();
        let server = case.start_with(&fake, &[]).await;
        let mut conversation = Conversation::new(&server);
        conversation.stream = stream;
        conversation.messages.push(json!({ "role": "system", "content": "Be brief." }));
        for number in 0..30 {
            // The fake answers with the last line, which starts with the role in a rendered history.
            assert!(
                conversation
                    .ask(&format!("question number {number}"))
                    .await
                    .ends_with(&format!("question number {number}"))
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
        let messages = fake.chat_messages(&turns[0].0);
        assert_eq!(messages.len(), 60, "the chat has branches");
    }
}

pub async fn upstream_streams_are_read_to_their_end(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let mut conversation = Conversation::new(&server);
    for stream in [true, false] {
        conversation.stream = stream;
        conversation.ask("one").await;
        conversation.ask("two").await;
    }
    for request in fake.requests() {
        eventually(&request.path_and_query, || async { request.outcome() == Outcome::Finished }).await;
    }
}

/// A linear congruential generator: the same numbers in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound
    }
}

/// Random edits, regenerations and branches: after each step the upstream chat equals the client's history.
pub async fn edits_and_branches_continue_from_the_right_message(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    for seed in 1..=4 {
        let mut random = Random(seed);
        // Every history that the client has had so far; each ends with an answer.
        let mut histories: Vec<Vec<Value>> = vec![vec![]];
        for step in 0..25 {
            let mut history = histories[random.below(histories.len())].clone();
            if random.below(3) == 0 {
                // Go back some turns: the client edits an earlier question or regenerates an answer.
                let turns = history.len() / 2;
                history.truncate(2 * random.below(turns + 1));
            }
            // Few different questions, so that the same ones recur at other positions.
            let question = format!("say {} {}", seed, random.below(5));
            history.push(json!({ "role": "user", "content": question }));
            let mut conversation = Conversation::new(&server);
            conversation.stream = random.below(2) == 0;
            let answer = text(&conversation.send(&history, json!({})).await);
            history.push(json!({ "role": "assistant", "content": answer }));
            let (chat, _, _) = turns(&fake).pop().unwrap();
            let upstream = fake.chat_messages(&chat);
            let sent: Vec<(String, String)> = history
                .iter()
                .map(|message| {
                    (message["role"].as_str().unwrap().to_owned(), message["content"].as_str().unwrap().to_owned())
                })
                .collect();
            assert_eq!(upstream, sent, "seed {seed}, step {step}");
            histories.push(history);
        }
    }
}

pub async fn conversations_survive_a_restart(case: Arc<Case>) {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kept.db").display().to_string();
    let settings =
        [("DATABASE_PATH", path.as_str()), ("QWEN_COOKIES", &format!("token={}", Fake::token("restart", 9_000)))];
    let server = case.start_with(&fake, &settings).await;
    let mut conversation = Conversation::new(&server);
    conversation.ask("before").await;
    // Miniflare restarts workerd on the same port with the same data; the case restarts the native server.
    assert!(Command::new("kill").args(["-9", &server.pid.to_string()]).status().await.unwrap().success());
    if case.product == Product::Native {
        conversation.server = case.start_with(&fake, &settings).await;
    } else {
        eventually("workerd restarts", || async {
            let exited = !std::path::Path::new(&format!("/proc/{}", server.pid)).exists();
            exited && tokio::net::TcpStream::connect(server.http.address()).await.is_ok()
        })
        .await;
        conversation.server = server.with_new_client();
    }
    conversation.ask("after").await;
    let turns = turns(&fake);
    assert_eq!((fake.chats(), turns[1].2.as_str()), (1, "after"));
}

pub async fn conversations_are_separate_per_key_and_account(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[("VALID_TOKENS", "sk-test-key,sk-other")]).await;
    let mut conversation = Conversation::new(&server);
    conversation.ask("a secret").await;
    conversation.messages.push(json!({ "role": "user", "content": "go on" }));
    let other = json!({ "model": "qwen3-max", "messages": conversation.messages, "conversation_id": "mine" });
    let headers = [("authorization", "Bearer sk-other")];
    let reply = server.http.send("POST", "/v1/chat/completions", &headers, other.to_string()).await;
    assert_eq!(reply.status, 200);
    assert_eq!(fake.chats(), 2, "another key gets another chat");
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
    if case.product == Product::Native {
        // Another account with the same database and the same key.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accounts.db").display().to_string();
        for (account, chats) in [("first", 3), ("first", 3), ("second", 4)] {
            let cookies = format!("token={}", Fake::token(account, 9_000));
            let server = case.start_with(&fake, &[("DATABASE_PATH", &path), ("QWEN_COOKIES", &cookies)]).await;
            let conversation = Conversation::new(&server);
            let mut messages = vec![json!({ "role": "user", "content": "who am I?" })];
            if account == "first" && fake.chats() == 2 {
                text(&conversation.send(&messages, json!({})).await);
            }
            messages.push(json!({ "role": "assistant", "content": "who am I?" }));
            messages.push(json!({ "role": "user", "content": "go on" }));
            text(&conversation.send(&messages, json!({})).await);
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

/// Cherry Studio's tool loop in prompt mode: it sends raw tags and results as user messages during the loop, and drops both
/// afterwards.
pub async fn a_tool_loop_in_prompt_mode_stays_in_its_chat(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let system = json!({ "role": "system", "content": "In this environment you have tools. <tools>…</tools>" });
    let result = |number: u32| {
        format!("<tool_use_result>\n  <name>search</name>\n  <result>{number}</result>\n</tool_use_result>")
    };
    let conversation = Conversation::new(&server);
    let question = format!("{} what is x?", say(CALL));
    let mut messages = vec![system.clone(), json!({ "role": "user", "content": question })];
    for number in 0..3 {
        let answer = text(&conversation.send(&messages, json!({})).await);
        assert_eq!(answer, CALL);
        messages.push(json!({ "role": "assistant", "content": answer }));
        let directive = if number < 2 { say(CALL) } else { say("It is 7.") };
        messages.push(json!({ "role": "user", "content": format!("{}\n\n{directive}", result(number)) }));
    }
    assert_eq!(text(&conversation.send(&messages, json!({})).await), "It is 7.");
    // The next request has the history as displayed: one answer without tags and results.
    let shown = "I will look.\n\nI will look.\n\nI will look.\n\nIt is 7.";
    let next = [
        system,
        messages[1].clone(),
        json!({ "role": "assistant", "content": shown }),
        json!({ "role": "user", "content": "and y?" }),
    ];
    text(&conversation.send(&next, json!({})).await);
    let turns = turns(&fake);
    assert_eq!((fake.chats(), turns.len()), (1, 5), "{turns:?}");
    assert_eq!(turns[4].2, "and y?");
    assert_eq!(fake.chat_messages(&turns[0].0).len(), 10);
}

pub async fn a_tool_loop_in_function_mode_stays_in_its_chat(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let conversation = Conversation::new(&server);
    let tools =
        json!({"tools": [{"type": "function", "function": {"name": "search", "parameters": {"type": "object"}}}]});
    let mut messages = vec![json!({ "role": "user", "content": "what is x?" })];
    let answer = text(&conversation.send(&messages, tools.clone()).await);
    let call =
        json!({"id": "call_1", "type": "function", "function": {"name": "search", "arguments": "{\"q\":\"x\"}"}});
    messages.push(json!({ "role": "assistant", "content": answer, "reasoning_content": "hm" }));
    messages.push(json!({ "role": "user", "content": "use the tool" }));
    text(&conversation.send(&messages, tools.clone()).await);
    // The client made up these tool calls: the turn continues from the longest known history.
    messages.push(json!({ "role": "assistant", "content": null, "tool_calls": [call] }));
    messages.push(json!({ "role": "tool", "tool_call_id": "call_1", "content": "7" }));
    text(&conversation.send(&messages, tools).await);
    let turns = turns(&fake);
    assert_eq!(fake.chats(), 1, "{turns:?}");
    assert!(turns[2].2.contains("[TOOL RESULT #1: search]\n7\n"), "{turns:?}");
}

/// Open WebUI sends its chat id in a header, also with its title, tag and follow-up requests.
pub async fn title_and_tag_requests_do_not_join_conversations(case: Arc<Case>) {
    // The first answer is unfinished: the title request must not become the conversation.
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let mut conversation = Conversation::new(&server);
    conversation.headers.push(("x-openwebui-chat-id", "unfinished".to_owned()));
    conversation.messages.push(json!({ "role": "user", "content": "[[fake stream=count n=50]]" }));
    let cut = conversation.send(&conversation.messages, json!({ "stop": "4 ", "enable_thinking": false })).await;
    conversation.messages.push(json!({ "role": "assistant", "content": text(&cut) }));
    text(&conversation.send(&[json!({ "role": "user", "content": "Make a title." })], json!({})).await);
    conversation.ask("go on").await;
    let sent = turns(&fake).pop().unwrap();
    assert!(sent.1.is_none() && sent.2.contains("Assistant: 1 2 3"), "not a new chat with the whole history: {sent:?}");
    for header in [false, true] {
        let fake = Fake::start();
        let server = case.start_with(&fake, &[]).await;
        let mut conversation = Conversation::new(&server);
        if header {
            conversation.headers.push(("x-openwebui-chat-id", "0b2e7f3c-1111-4111-8111-111111111111".to_owned()));
        }
        conversation.messages.push(json!({ "role": "system", "content": "You are kind." }));
        for number in 0..6 {
            conversation.ask(&format!("question {number}")).await;
            let task =
                "### Task:\nGenerate a concise title with an emoji.\n### Chat History:\n<chat_history>…</chat_history>";
            text(&conversation.send(&[json!({ "role": "user", "content": task })], json!({})).await);
            if number < 2 {
                // Some clients send the history itself with another system prompt.
                let mut messages = conversation.messages.clone();
                messages[0] = json!({ "role": "system", "content": "You make titles." });
                messages.push(json!({ "role": "user", "content": "Title, please." }));
                if number == 0 {
                    text(&conversation.send(&messages, json!({})).await);
                }
            }
        }
        let turns = turns(&fake);
        let main_turns: Vec<_> = turns.iter().filter(|turn| turn.0 == turns[0].0).map(|turn| turn.2.as_str()).collect();
        assert_eq!(main_turns.len(), 6, "with header {header}: {turns:?}");
        assert_eq!(main_turns[5], "question 5");
        assert_eq!(fake.chat_messages(&turns[0].0).len(), 12);
    }
}

pub async fn explicit_conversation_ids_take_precedence(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let conversation = Conversation::new(&server);
    let only = |text: &str| vec![json!({ "role": "user", "content": text })];
    // A client that sends no history but a conversation id.
    for number in 0..3 {
        let reply = conversation.send(&only(&format!("part {number}")), json!({ "conversation_id": "my-own" })).await;
        assert_eq!((reply.status.as_u16(), reply.header("x-conversation-id")), (200, Some("my-own")));
    }
    assert_eq!(fake.chats(), 1);
    assert_eq!(turns(&fake).iter().map(|turn| turn.2.as_str()).collect::<Vec<_>>(), ["part 0", "part 1", "part 2"]);
    // The conversation id of a response, sent back as a header.
    let reply = conversation.send(&only("first"), json!({})).await;
    let id = reply.header("x-conversation-id").unwrap().to_owned();
    let mut named = Conversation::new(&server);
    named.headers.push(("x-conversation-id", id.clone()));
    named.stream = true;
    let reply = named.send(&only("second"), json!({})).await;
    assert_eq!(reply.header("x-conversation-id"), Some(id.as_str()));
    assert_eq!(text(&reply), "second");
    assert_eq!(fake.chats(), 2);
    for bad in ["a b", &"x".repeat(201)] {
        let reply = conversation.send(&only("x"), json!({ "conversation_id": bad })).await;
        assert_eq!(reply.error(400, "invalid_request")["param"], "conversation_id", "{bad:?}");
    }
}

/// Sub-agents share the session id of their agent, and programs share a cache key among all their users.
pub async fn session_ids_and_cache_keys_alone_lead_nowhere(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let session = "01a2163f-eeb9-7710-82db-fe2454e0293a";
    let mut headers = Server::auth_headers().to_vec();
    headers.extend(["session-id", "thread-id", "x-claude-code-session-id"].map(|name| (name, session)));
    let hints = json!({ "prompt_cache_key": session, "user": session, "metadata": { "user_id": json!({ "session_id": session }).to_string() } });
    let mut chats = 0;
    for (path, field) in
        [("/v1/chat/completions", "messages"), ("/v1/responses", "input"), ("/v1/messages", "messages")]
    {
        for history in [&[][..], &[], &["a question", "an answer that nobody gave"]] {
            let texts = history.iter().copied().chain(["what now?"]);
            let messages: Vec<Value> = texts
                .enumerate()
                .map(|(index, text)| json!({ "role": if index % 2 == 0 { "user" } else { "assistant" }, "content": text }))
                .collect();
            let body = with(json!({ "model": "qwen3-max", "max_tokens": 99, field: messages }), hints.clone());
            assert_eq!(server.http.send("POST", path, &headers, body.to_string()).await.status, 200, "{path}");
            chats += 1;
            assert_eq!(fake.chats(), chats, "{path}: {history:?}");
        }
    }
}

pub async fn deleted_chats_are_recreated_transparently(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    for stream in [false, true] {
        let mut conversation = Conversation::new(&server);
        conversation.stream = stream;
        conversation.ask(&format!("one {stream}")).await;
        let chat = turns(&fake).pop().unwrap().0;
        assert!(fake.delete_chat(&chat));
        assert_eq!(conversation.ask("two").await, "User: two");
        let (new_chat, parent, text) = turns(&fake).pop().unwrap();
        assert!(
            new_chat != chat
                && parent.is_none()
                && text.contains(&format!("User: one {stream}"))
                && text.ends_with("User: two")
        );
        conversation.ask("three").await;
        let (chat, _, text) = turns(&fake).pop().unwrap();
        assert_eq!((chat, text.as_str()), (new_chat, "three"), "the new chat is not stored");
        let marker = unique("gone");
        let answer =
            conversation.ask(&format!("[[fake fail=parent_not_found times=1 id={marker} say=well]] {marker}")).await;
        assert_eq!((answer.as_str(), fake.requests_containing(&marker).len()), ("well", 2));
    }
}

pub async fn busy_chats_are_retried_then_replaced(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let mut conversation = Conversation::new(&server);
    conversation.ask("one").await;
    let marker = unique("busy");
    conversation.ask(&format!("[[fake fail=in_progress times=1 id={marker}]] two")).await;
    assert_eq!((fake.chats(), fake.requests_containing(&marker).len()), (1, 2), "not retried");
    let marker = unique("busy");
    conversation.ask(&format!("[[fake fail=in_progress times=3 id={marker}]] three")).await;
    assert_eq!((fake.chats(), fake.requests_containing(&marker).len()), (2, 4), "not replaced by a new chat");
    conversation.ask("four").await;
    assert_eq!(fake.chats(), 2);
}

pub async fn concurrent_requests_of_one_conversation_do_not_mix(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let mut conversation = Conversation::new(&server);
    conversation.ask("one").await;
    let ask = |word: &'static str| {
        let mut messages = conversation.messages.clone();
        messages
            .push(json!({ "role": "user", "content": format!("[[fake delay_ms=30 say={word}%20{word}%20{word}]]") }));
        let conversation = Conversation::new(&server);
        async move { text(&conversation.send(&messages, json!({})).await) }
    };
    let (left, right) = tokio::join!(ask("left"), ask("right"));
    assert_eq!((left.as_str(), right.as_str()), ("left left left", "right right right"));
    assert_eq!(conversation.ask("two").await, "two");
}

pub async fn a_trimmed_history_matches_by_its_last_turn(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let message = |role: &str, text: &str| json!({ "role": role, "content": text });
    let mut conversation = Conversation::new(&server);
    conversation.ask("alpha").await;
    conversation.ask("beta [[fake say=beta%20gamma%5B%5B1%5D%5D]]").await;
    // The client has dropped the beginning and reformatted question and answer.
    let trimmed = [
        message("user", "**beta**   [[fake say=beta%20gamma%5B%5B1%5D%5D]]"),
        message("assistant", "**beta**  gamma"),
        message("user", "delta"),
    ];
    text(&conversation.send(&trimmed, json!({})).await);
    assert_eq!((fake.chats(), turns(&fake).pop().unwrap().2.as_str()), (1, "delta"));
    // A short answer alone does not match, …
    let other = [message("user", "something else"), message("assistant", "delta"), message("user", "more")];
    text(&conversation.send(&other, json!({})).await);
    assert_eq!(fake.chats(), 2);
    // … but one of 64 characters does, if the chat has more turns than the client sends.
    let long = "0123456789".repeat(6) + "abcd";
    let mut conversation = Conversation::new(&server);
    conversation.ask(&format!("one [[fake say={}]]", "x".repeat(64))).await;
    conversation.ask(&format!("two [[fake say={long}]]")).await;
    let trimmed =
        [message("user", "The story so far, in short."), message("assistant", &long), message("user", "go on")];
    text(&conversation.send(&trimmed, json!({})).await);
    assert_eq!((fake.chats(), turns(&fake).pop().unwrap().2.as_str()), (3, "go on"));
    let as_many = [
        message("user", "one thing"),
        message("assistant", &"x".repeat(63)),
        message("user", "another"),
        message("assistant", "go on"),
        message("user", "a third"),
        message("assistant", &"x".repeat(64)),
        message("user", "and now"),
    ];
    text(&conversation.send(&as_many, json!({})).await);
    assert_eq!(fake.chats(), 4, "a history with as many turns as the chat must not match");
    // Two chats with the same end: neither matches.
    for _ in 0..2 {
        let mut conversation = Conversation::new(&server);
        conversation.headers.push(("x-conversation-id", crate::server::unique("same")));
        conversation.ask("unlike").await;
        conversation.ask("first [[fake say=same]]").await;
    }
    let before = fake.chats();
    let unknown = [message("user", "first [[fake say=same]]"), message("assistant", "same"), message("user", "more")];
    text(&conversation.send(&unknown, json!({})).await);
    assert_eq!(fake.chats(), before + 1);
}

pub async fn a_changed_system_prompt_is_sent_again(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let mut conversation = Conversation::new(&server);
    conversation.messages.push(json!({ "role": "system", "content": "Tools: a" }));
    for question in ["one", "two", "three"] {
        conversation.ask(question).await;
    }
    conversation.messages[0] = json!({ "role": "system", "content": "Tools: a, b" });
    conversation.ask("four").await;
    conversation.ask("five").await;
    let texts: Vec<String> = turns(&fake).into_iter().map(|turn| turn.2).collect();
    assert_eq!(fake.chats(), 1);
    assert_eq!(texts[1..], ["two", "three", "System: Tools: a, b\n\nUser: four", "five"]);
}

pub async fn an_unfinished_answer_is_not_an_anchor(case: Arc<Case>) {
    for header in [None, Some("x-openwebui-chat-id"), Some("x-conversation-id")] {
        unfinished(&case, header).await;
    }
}

async fn unfinished(case: &Case, header: Option<&'static str>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let mut conversation = Conversation::new(&server);
    conversation.headers.extend(header.map(|name| (name, "named".to_owned())));
    conversation.ask("one").await;
    // A stop sequence cut the answer: the upstream's answer is longer than the client's.
    conversation.messages.push(json!({ "role": "user", "content": "[[fake stream=count n=50]]" }));
    let reply = conversation.send(&conversation.messages, json!({ "stop": "4 ", "enable_thinking": false })).await;
    conversation.messages.push(json!({ "role": "assistant", "content": text(&reply) }));
    conversation.ask("two").await;
    let (chat, _, sent) = turns(&fake).pop().unwrap();
    assert_eq!(chat, turns(&fake)[0].0, "the longest known prefix is in this chat");
    assert!(sent.contains("Assistant: 1 2 3") && sent.ends_with("User: two"), "{sent}");
}

/// A history that is too long for one message is uploaded as a file; the next turn is sent as text again.
pub async fn long_histories_are_uploaded_as_a_file(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let part = |letter: &str| letter.repeat(60 * 1024);
    let mut conversation = Conversation::new(&server);
    conversation.messages = vec![
        json!({ "role": "user", "content": part("a") }),
        json!({ "role": "assistant", "content": part("\u{4e2d}") }),
        json!({ "role": "user", "content": "and then?" }),
        json!({ "role": "assistant", "content": "nothing" }),
    ];
    conversation.stream = true;
    conversation.ask("so what?").await;
    let objects = fake.objects();
    assert_eq!(objects.len(), 1);
    let file = objects[0].text.as_deref().unwrap();
    assert!(file.contains(&part("a")) && file.contains(&part("\u{4e2d}")), "the file is truncated");
    let sent = |fake: &Fake| {
        let request = fake
            .requests()
            .into_iter()
            .rfind(|request| request.path_and_query.starts_with("/api/v2/chat/completions?"))
            .unwrap();
        assert!(request.body.len() < 128 * 1024);
        request.json()["messages"][0].clone()
    };
    let message = sent(&fake);
    assert!(message["content"].as_str().unwrap().ends_with("User: and then?\n\nAssistant: nothing\n\nUser: so what?"));
    let entry = &message["files"][0];
    assert_eq!((entry["type"].as_str(), entry["file_class"].as_str()), (Some("file"), Some("document")));
    assert_eq!((entry["size"].as_u64(), entry["status"].as_str()), (Some(file.len() as u64), Some("uploaded")));
    conversation.ask("short again").await;
    let message = sent(&fake);
    assert_eq!((message["content"].as_str(), message["files"].as_array().unwrap().len()), (Some("short again"), 0));
    // One huge message, in an existing conversation and as the first message of a new one.
    for first in [false, true] {
        if first {
            conversation = Conversation::new(&server);
        }
        conversation.ask(&"x ".repeat(200 * 1024)).await;
        let message = sent(&fake);
        assert!(message["content"].as_str().unwrap().contains("conversation.txt"));
        assert_eq!(message["files"].as_array().unwrap().len(), 1);
    }
    // Identical content is uploaded once.
    assert_eq!((fake.objects().len(), fake.chats()), (2, 2));
}
