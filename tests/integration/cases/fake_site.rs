//! Tests of the fake site: calls, steps, stopping an answer.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    fake_qwen::{Fake, encoded, steps},
    http::{Http, TIMEOUT, eventually},
    server::Case,
};

const REFUSAL: &str = "Tool read_file does not exists.";
const SORRY: &str = "I am sorry, I cannot use read_file here.";
const CALL: &str = "call=read_file args={\"path\":\"src/main.rs\"}";

struct Site {
    fake: Fake,
    http: Http,
    cookie: String,
}

/// The deltas of a stream.
struct Answer(Vec<Value>);

impl Site {
    fn start() -> Self {
        let fake = Fake::start();
        Self { http: Http::new(&fake.url()), fake, cookie: format!("token={}", Fake::token("ada", 900)) }
    }

    async fn post(&self, path: &str, body: Value) -> String {
        let headers = [("cookie", self.cookie.as_str()), ("version", "0.2"), ("content-type", "application/json")];
        let reply = self.http.send_plain("POST", path, &headers, body.to_string()).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.text()
    }

    async fn new_chat(&self) -> String {
        self.post("/api/v2/chats/new", json!({ "models": ["qwen3-max"] })).await;
        self.fake.chat_ids().pop().unwrap()
    }

    async fn complete(&self, chat: &str, parent: Option<&str>, prompt: &str) -> String {
        let features = json!({ "thinking_enabled": true, "output_schema": "phase" });
        let message = json!({ "role": "user", "content": prompt, "feature_config": features });
        let body = json!({ "chat_id": chat, "parent_id": parent, "model": "qwen3-max", "messages": [message] });
        self.post(&format!("/api/v2/chat/completions?chat_id={chat}"), body).await
    }

    async fn ask(&self, directive: &str) -> Answer {
        let chat = self.new_chat().await;
        Answer::read(&self.complete(&chat, None, &format!("[[fake {directive}]]")).await)
    }

    /// Continues a chat after its last message; returns the text.
    async fn say(&self, chat: &str, prompt: &str) -> String {
        let parent = self.fake.chat_nodes(chat).pop().map(|node| node.id);
        Answer::read(&self.complete(chat, parent.as_deref(), prompt).await).text()
    }
}

impl Answer {
    #[track_caller]
    fn read(stream: &str) -> Self {
        let events = stream.lines().filter_map(|line| line.strip_prefix("data: "));
        let events = events.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str::<Value>(data).unwrap());
        Self(events.map(|event| event["choices"][0]["delta"].clone()).filter(Value::is_object).collect())
    }

    fn text(&self) -> String {
        let texts = self.0.iter().filter(|delta| delta["role"] == "assistant" && delta["phase"] == "answer");
        texts.filter_map(|delta| delta["content"].as_str()).collect()
    }

    fn function_calls(&self) -> Vec<&Value> {
        self.0.iter().filter(|delta| delta["function_call"].is_object()).collect()
    }

    /// Names and arguments of the frames of calls.
    fn frames(&self) -> Vec<(Option<&str>, &str)> {
        let calls = self.function_calls().into_iter().map(|delta| &delta["function_call"]);
        calls.map(|call| (call["name"].as_str(), call["arguments"].as_str().unwrap())).collect()
    }

    fn refusals(&self) -> Vec<&str> {
        let frames = self.0.iter().filter(|delta| delta["role"] == "function");
        frames.filter_map(|delta| delta["content"].as_str()).collect()
    }

    fn is_finished(&self) -> bool {
        let finished =
            |delta: &Value| delta["role"] == "assistant" && delta["phase"] == "answer" && delta["status"] == "finished";
        self.0.last().is_some_and(finished)
    }
}

pub async fn native_calls_are_refused(_: Arc<Case>) {
    let site = Site::start();
    let answer = site.ask(&format!("say=Let%20me%20see. think=Hm. piece=9 {CALL} call=list call=list")).await;
    let name = Some("read_file");
    let expected = [
        (name, ""),
        (name, r#"{"path":""#),
        (name, r#"{"path":"src/main."#),
        (name, r#"{"path":"src/main.rs"}"#),
        (name, r#"{"path":"src/main.rs"}"#),
        (Some("list"), ""),
        (Some("list"), "{}"),
        (Some("list"), "{}"),
        (Some("list"), ""),
        (Some("list"), "{}"),
        (Some("list"), "{}"),
    ];
    assert_eq!(answer.frames(), expected);
    assert!(answer.function_calls().iter().all(|delta| delta["content"] == "" && delta.get("function_id").is_none()));
    assert_eq!(answer.refusals(), [REFUSAL, "Tool list does not exists.", "Tool list does not exists."]);
    assert_eq!(answer.text(), "Let me see.I am sorry, I cannot use list here.");
    assert_eq!(answer.0[0]["phase"], "thinking_summary");
    assert!(answer.is_finished());
}

pub async fn calls_have_the_forms_of_the_site(_: Arc<Case>) {
    let site = Site::start();
    let of = async |keys: &str| site.ask(&format!("{CALL} {keys}")).await;

    let answer = of("calls=increments").await;
    let frames = answer.frames();
    assert!(frames[0] == (Some("read_file"), "") && frames[1..].iter().all(|(name, _)| name.is_none()), "{frames:?}");
    assert_eq!(frames.iter().map(|(_, part)| *part).collect::<String>(), r#"{"path":"src/main.rs"}"#);
    let answer = of("calls=object").await;
    assert_eq!(answer.function_calls()[0]["function_call"]["arguments"]["path"], "src/main.rs");

    let answer = of("incomplete=1 end=0").await;
    assert_eq!(answer.frames().last(), Some(&(Some("read_file"), r#"{"path":"#)));
    assert!(answer.refusals().is_empty() && answer.text().is_empty() && !answer.is_finished());
    assert!(of("incomplete=1").await.is_finished());

    let answer = of("calls=0 call=list refusal=exist refusal_finished=1 then=").await;
    assert_eq!(answer.refusals(), ["Tool read_file does not exist.", "Tool list does not exist."]);
    assert!(answer.frames().is_empty() && answer.text().is_empty() && answer.is_finished());
    let answer = of("calls=0 call=list prose=1 say=So.%20 piece=3").await;
    assert_eq!(answer.text(), format!("So. {REFUSAL}Tool list does not exists.I am sorry, I cannot use list here."));
    assert!(answer.frames().is_empty() && answer.refusals().is_empty());

    let answer = of("refusal=0 then=").await;
    assert!(answer.refusals().is_empty() && answer.text().is_empty() && answer.is_finished());
    assert_eq!(of("refusal=0 then=It%20is%20done.").await.text(), "It is done.");
    assert_eq!(of("rounds=33").await.refusals(), [REFUSAL; 33]);

    let answer = of("site=code_interpreter args={\"code\":\"1\"} result=%5B1%5D call=list then_think=Hm.").await;
    let mut own = answer.0.iter().filter(|delta| delta["phase"] == "code_interpreter");
    let first = own.next().unwrap();
    assert!(first["function_id"].as_str().unwrap().starts_with("round_0_call_"));
    let result = own.next_back().unwrap();
    assert_eq!((&result["role"], &result["status"]), (&json!("function"), &json!("finished")));
    assert_eq!((&result["extra"]["tool_result"], &result["function_id"]), (&json!([1]), &first["function_id"]));
    assert_eq!(answer.refusals(), ["", REFUSAL, "Tool list does not exists."]);
    let last_thought = answer.0.iter().rposition(|delta| delta["phase"] == "thinking_summary").unwrap();
    assert!(last_thought > answer.0.iter().rposition(|delta| delta["role"] == "function").unwrap());
}

pub async fn calls_in_the_text_become_native_ones(_: Arc<Case>) {
    let site = Site::start();
    let text =
        r#"So: <tool_call>{"name": "read_file", "arguments": {"b": 1, "a": 2}}</tool_call> <tool_call>no</tool_call>"#;
    let say = format!("say={}", encoded(text));
    assert_eq!(site.ask(&say).await.text(), text);
    site.fake.set_directive("", "intercept=1");
    let answer = site.ask(&say).await;
    assert_eq!(answer.frames().last(), Some(&(Some("read_file"), r#"{"b": 1, "a": 2}"#)));
    assert_eq!(answer.refusals(), [REFUSAL]);
    assert_eq!(answer.text(), format!("So:  <tool_call>no</tool_call>{SORRY}"));
    let answer = site.ask(&format!("say={}", encoded(&text.replace("read_file", "web_search")))).await;
    assert!(answer.0.iter().any(|delta| delta["phase"] == "web_search" && delta["status"] == "finished"));
    assert!(!answer.text().contains("sorry"));
}

pub async fn a_refused_call_stays_in_its_branch(_: Arc<Case>) {
    let site = Site::start();
    let chat = site.new_chat().await;
    site.complete(&chat, None, "[[fake say=Yes.]] ready?").await;
    let first = site.fake.chat_nodes(&chat).pop().unwrap().id;
    site.complete(&chat, Some(&first), &format!("[[fake say=So. {CALL}]] read it")).await;
    let call = r#"<tool_call>{"name": "read_file", "arguments": {"path":"src/main.rs"}}</tool_call>"#;
    let failed = site.fake.chat_nodes(&chat).pop().unwrap();
    assert_eq!((failed.role, failed.text), ("assistant", format!("So.{call}{REFUSAL}{SORRY}")));
    site.complete(&chat, Some(&first), "[[fake say=Again.]] once more").await;
    let texts = |chat| site.fake.chat_messages(chat).into_iter().map(|(_, text)| text).collect::<Vec<_>>();
    assert_eq!(texts(&chat), ["[[fake say=Yes.]] ready?", "Yes.", "[[fake say=Again.]] once more", "Again."]);
    site.complete(&chat, None, "[[fake say=Root.]] anew").await;
    assert_eq!(texts(&chat), ["[[fake say=Root.]] anew", "Root."]);
    assert_eq!(site.fake.chat_nodes(&chat).iter().filter(|node| node.parent.is_none()).count(), 2);
}

pub async fn chats_remember_their_steps(_: Arc<Case>) {
    let site = Site::start();
    let native = format!("[[fake {CALL} then=]]");
    let key = steps(&["[TOOL CALL] a|b", &native, "It is done."]);
    let prompt = format!("A long prompt.\n<user>[[fake {key} piece=4]] read it</user>\nMore of it.");
    let chat = site.new_chat().await;
    assert_eq!(site.say(&chat, &prompt).await, "[TOOL CALL] a|b");
    assert_eq!(site.say(&chat, "[[fake say=Aside.]]").await, "Aside.");
    assert_eq!(site.say(&chat, "result one").await, "");
    assert!(site.fake.chat_nodes(&chat).pop().unwrap().text.ends_with(REFUSAL));
    // The whole conversation again, from the root.
    assert_eq!(Answer::read(&site.complete(&chat, None, &prompt).await).text(), "It is done.");
    assert_eq!(site.say(&chat, "result two").await, "result two");
    assert_eq!(site.say(&chat, "[[fake steps=New|Newer]]").await, "New");
    assert_eq!(site.say(&chat, "go on").await, "Newer");

    // For all prompts with a marker, in each chat from the first step on; other chats have none.
    site.post("/fake/directive", json!({ "marker": "the task", "directive": "steps=One|Two" })).await;
    for _ in 0..2 {
        let chat = site.new_chat().await;
        assert_eq!(site.say(&chat, "begin the task").await, "One");
        assert_eq!(site.say(&chat, "go on").await, "Two");
    }
    let chat = site.new_chat().await;
    assert_eq!(site.say(&chat, "begin").await, "begin");

    // Counted over all chats.
    for expected in ["One", "Two"] {
        let chat = site.new_chat().await;
        assert_eq!(site.say(&chat, "[[fake steps=One|Two id=both]]").await, expected);
    }
}

pub async fn a_stop_ends_the_answer_and_frees_the_chat(_: Arc<Case>) {
    let site = Site::start();
    let stop = async |chat: &str| {
        let reply = site.post("/api/v2/chat/completions/stop", json!({ "chat_id": chat })).await;
        assert!(reply.contains(r#""success":true"#), "{reply}");
    };
    let busy = "The chat is in progress!";
    let chat = site.new_chat().await;
    let running = site.complete(&chat, None, "[[fake say=One%20two%20three stall=4 usage=0]]");
    let stopping = async {
        eventually("the answer runs", || async { site.fake.is_chat_busy(&chat) }).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(site.complete(&chat, None, "again").await.contains(busy));
        stop(&chat).await;
    };
    let (stream, ()) = timeout(TIMEOUT, async { tokio::join!(running, stopping) }).await.unwrap();
    assert!(stream.contains(r#"data: {"response.stopped""#), "{stream}");
    assert_eq!(site.fake.chat_nodes(&chat).len(), 2);
    assert_eq!(site.say(&chat, "and now").await, "and now");

    // A client that leaves: the chat is free, unless the answer runs until it is stopped.
    let leave = async |directive: &str| {
        let left = timeout(Duration::from_millis(500), site.complete(&chat, None, directive)).await;
        assert!(left.is_err(), "the answer has an end");
        eventually("the stream is closed", || async { site.fake.open_streams() == 0 }).await;
    };
    leave("[[fake stall=3]]").await;
    assert!(!site.fake.is_chat_busy(&chat));
    leave("[[fake stall=3 busy_until_stop=1]]").await;
    assert!(site.complete(&chat, None, "again").await.contains(busy));
    stop(&chat).await;
    assert_eq!(site.say(&chat, "and now").await, "and now");
    leave("[[fake busy_until_stop=1 gap_ms=1500]]").await;
    assert!(site.fake.is_chat_busy(&chat));
    eventually("the answer is over", || async { !site.fake.is_chat_busy(&chat) }).await;
    assert_eq!(site.fake.stops().len(), 2);
}
