//! `import-history`: chats that were begun in the browser.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::process::Command;

use super::process::command;
use crate::{
    Product,
    fake_qwen::Fake,
    http::Http,
    server::{Case, KEY, Server, unique},
};

/// An account with a session, as a browser has it.
struct Browser {
    fake: Fake,
    http: Http,
    cookies: String,
}

impl Browser {
    fn new() -> Self {
        let fake = Fake::start();
        let cookies = format!("token={}", Fake::token(&unique("history"), 9_000));
        Self { http: Http::new(&fake.url()), cookies, fake }
    }

    async fn send(&self, method: &str, path: &str, body: &Value) -> Vec<u8> {
        let headers = [
            ("cookie", self.cookies.as_str()),
            ("content-type", "application/json"),
            ("accept", "*/*"),
            ("user-agent", "Mozilla/5.0"),
            ("source", "web"),
            ("version", "0.3.12"),
        ];
        let reply = self.http.send_plain(method, path, &headers, body.to_string()).await;
        assert_eq!(reply.status, 200, "{method} {path}: {reply:?}");
        reply.body.to_vec()
    }

    /// A conversation of these questions and answers; gives the chat's id.
    async fn converse(&self, turns: &[(&str, &str)]) -> String {
        let new = json!({ "title": "New Chat", "models": ["qwen3-max"], "chat_mode": "normal", "chat_type": "t2t", "timestamp": 1 });
        let made: Value = serde_json::from_slice(&self.send("POST", "/api/v2/chats/new", &new).await).unwrap();
        let chat = made["data"]["id"].as_str().unwrap().to_owned();
        for (question, _) in turns {
            let parent = self.detail(&chat).await["data"]["currentId"].clone();
            let turn = json!({
                "stream": true, "incremental_output": true, "chat_id": chat, "chat_mode": "normal", "model": "qwen3-max",
                "parent_id": parent,
                "messages": [{
                    "fid": unique("fid"), "parentId": parent, "childrenIds": [], "role": "user", "content": question,
                    "user_action": "chat", "files": [], "timestamp": 1, "models": ["qwen3-max"], "chat_type": "t2t",
                    "feature_config": { "thinking_enabled": false }, "extra": { "meta": { "subChatType": "t2t" } },
                    "sub_chat_type": "t2t", "parent_id": parent,
                }],
                "timestamp": 1,
            });
            self.send("POST", &format!("/api/v2/chat/completions?chat_id={chat}"), &turn).await;
        }
        chat
    }

    async fn detail(&self, chat: &str) -> Value {
        serde_json::from_slice(&self.send("GET", &format!("/api/v2/chats/{chat}"), &Value::Null).await).unwrap()
    }

    async fn import(&self, folder: &Path, more: &[&str]) -> (String, bool) {
        let url = self.fake.url();
        let path = folder.join("history.db");
        let settings = [
            ("QWEN_BASE_URL", url.as_str()),
            ("QWEN_AUTH_URL", url.as_str()),
            ("QWEN_COOKIES", self.cookies.as_str()),
            ("VALID_TOKENS", KEY),
            ("DATABASE_PATH", path.to_str().unwrap()),
        ];
        command(folder, &[&["import-history", "--pause-ms", "0"], more].concat(), &settings, "").await
    }

    /// A server of this account.
    async fn server(&self, case: &Case, folder: &Path, more: &[(&str, &str)]) -> Arc<Server> {
        let path = folder.join("history.db");
        let path = if case.product == Product::Box { path.to_str().unwrap() } else { "" };
        let settings = [("QWEN_COOKIES", self.cookies.as_str()), ("DATABASE_PATH", path)];
        case.start_with(&self.fake, &[&settings, more].concat()).await
    }

    /// Imports, and brings the edge what was imported.
    async fn import_for(&self, server: &Server, case: &Case, folder: &Path, more: &[&str]) -> String {
        let file = folder.join("history.sql");
        let (told, good) = self.import(folder, &[&["--sql", file.to_str().unwrap()], more].concat()).await;
        assert!(good, "{told}");
        if case.product == Product::Edge {
            server.sql(&std::fs::read_to_string(file).unwrap()).await;
        }
        told
    }

    /// How often each chat was read by the server, not by the browser.
    fn reads(&self) -> BTreeMap<String, usize> {
        let mut reads = BTreeMap::new();
        for seen in self.fake.seen() {
            let by_server = seen.header("user-agent") != Some("Mozilla/5.0");
            if let Some(id) =
                seen.path_and_query.strip_prefix("/api/v2/chats/").filter(|_| by_server && seen.method == "GET")
            {
                *reads.entry(id.to_owned()).or_default() += usize::from(!id.starts_with('?'));
            }
        }
        reads.retain(|_, count| *count > 0);
        reads
    }
}

fn said(turns: &[(&str, &str)]) -> Vec<Value> {
    let pair = |(question, answer): &(&str, &str)| {
        [json!({ "role": "user", "content": question }), json!({ "role": "assistant", "content": answer })]
    };
    turns.iter().flat_map(pair).collect()
}

pub async fn chats_begun_in_the_browser_are_gone_on_with(case: Arc<Case>) {
    let browser = Browser::new();
    let folder = tempfile::tempdir().unwrap();
    let talk = [("[[fake say=first-answer]] one", "first-answer"), ("[[fake say=second-answer]] two", "second-answer")];
    let chat = browser.converse(&talk).await;
    let server = browser.server(&case, folder.path(), &[("DELETE_CHATS", "unmatched")]).await;
    let told = browser.import_for(&server, &case, folder.path(), &[]).await;
    assert!(told.contains("1 chats: 1 read with 2 answers"), "{told}");
    let head = browser.detail(&chat).await["data"]["currentId"].clone();
    let ask = async |messages: Vec<Value>, marker: &str| {
        let reply = server.chat(&json!({ "model": "qwen3-max", "enable_thinking": false, "messages": messages })).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let turn = browser
            .fake
            .seen_with(marker)
            .into_iter()
            .find(|seen| seen.path_and_query.contains("completions"))
            .unwrap();
        (turn.path_and_query.clone(), turn.json()["parent_id"].clone(), turn.json()["messages"][0]["content"].clone())
    };
    // By its history.
    let question = json!({ "role": "user", "content": "[[fake say=third-answer]] three" });
    let turn = ask([said(&talk), vec![question.clone()]].concat(), "three").await;
    assert_eq!(turn, (format!("/api/v2/chat/completions?chat_id={chat}"), head, question["content"].clone()));
    // An earlier answer is a place to go on from as well.
    let other = json!({ "role": "user", "content": "[[fake say=x]] otherwise" });
    let turn = ask([said(&talk[..1]), vec![other]].concat(), "otherwise").await;
    assert!(turn.0.ends_with(&chat), "{turn:?}");
    // By its last answer alone, of 64 characters, in a chat of more turns than the client shows.
    let lonely = "lonely-answer-".repeat(5);
    let question = format!("[[fake say={lonely}]] alone");
    let second = browser.converse(&[("[[fake say=before]] first", "before"), (&question, &lonely)]).await;
    browser.import_for(&server, &case, folder.path(), &[]).await;
    let unlike = vec![
        json!({ "role": "user", "content": "as the client remembers it" }),
        json!({ "role": "assistant", "content": lonely }),
        json!({ "role": "user", "content": "[[fake say=y]] by-the-answer" }),
    ];
    let turn = ask(unlike, "by-the-answer").await;
    assert!(turn.0.ends_with(&second), "{turn:?}");

    // They are not this server's, whatever is set.
    let listed = server.http.send("GET", "/v1/chats", &Server::keyed(), "").await.json();
    assert_eq!(listed["data"], json!([]));
    server.http.send("DELETE", &format!("/v1/chats/{chat}"), &Server::keyed(), "").await.error(404, "not_found");
    assert!(browser.fake.seen().iter().all(|seen| seen.method != "DELETE"));
    // Nor is a chat of this server's taken for one of the browser's.
    assert_eq!(
        server.chat(&json!({ "messages": [{ "role": "user", "content": "[[fake say=own]] own" }] })).await.status,
        200
    );
    if case.product == Product::Box {
        let (told, good) = browser.import(folder.path(), &["--all"]).await;
        assert!(good && told.contains("3 chats: 2 read") && told.contains("1 known"), "{told}");
    }
    let listed = server.http.send("GET", "/v1/chats", &Server::keyed(), "").await.json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1, "{listed}");
}

pub async fn an_import_that_was_cut_off_goes_on(case: Arc<Case>) {
    let browser = Browser::new();
    let folder = tempfile::tempdir().unwrap();
    let mut chats = Vec::new();
    for number in 0..60 {
        chats.push(browser.converse(&[(&format!("[[fake say=answer-{number}]] {number}"), "")]).await);
    }
    let url = browser.fake.url();
    let path = folder.path().join("history.db");
    let mut child = Command::new(env!("CARGO_BIN_EXE_qwen-edge"))
        .args(["import-history", "--pause-ms", "20"])
        .current_dir(folder.path())
        .env_clear()
        .envs([("QWEN_BASE_URL", &url), ("QWEN_AUTH_URL", &url), ("QWEN_COOKIES", &browser.cookies)])
        .envs([("VALID_TOKENS", KEY), ("DATABASE_PATH", path.to_str().unwrap())])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while browser.reads().len() < 20 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    child.kill().await.unwrap();
    let before = browser.reads().len();
    assert!(before < chats.len(), "it was cut off");
    let (told, good) = browser.import(folder.path(), &[]).await;
    assert!(good && told.contains("60 chats"), "{told}");
    let reads = browser.reads();
    assert_eq!(reads.len(), chats.len());
    // Only the one that it was busy with.
    assert!(reads.values().filter(|count| **count > 1).count() <= 1, "{reads:?}");
    let (told, good) = browser.import(folder.path(), &[]).await;
    assert!(good && told.contains("60 chats: 0 read") && told.contains("60 known"), "{told}");
    assert_eq!(browser.reads(), reads);
    drop(case);
}

pub async fn an_import_stops_when_the_site_says_so(case: Arc<Case>) {
    let browser = Browser::new();
    let folder = tempfile::tempdir().unwrap();
    let chat = browser.converse(&[("[[fake say=a]] a", "a")]).await;
    browser.converse(&[("[[fake say=b]] b", "b")]).await;
    browser.fake.set_failure(&format!("/api/v2/chats/{chat}"), Some("waf_json"));
    let (told, good) = browser.import(folder.path(), &[]).await;
    assert!(!good && told.contains("check") && told.contains("The next run goes on"), "{told}");
    // The pause outlives the run.
    let asked = browser.fake.requests();
    let (told, good) = browser.import(folder.path(), &[]).await;
    assert!(!good && told.contains("check") && browser.fake.requests() == asked, "{told}");
    // One chat that cannot be read does not stop the rest.
    let other = Browser::new();
    let folder = tempfile::tempdir().unwrap();
    let chat = other.converse(&[("[[fake say=a]] a", "a")]).await;
    other.converse(&[("[[fake say=b]] b", "b")]).await;
    other.fake.set_failure(&format!("/api/v2/chats/{chat}"), Some("chat_not_found"));
    let (told, good) = other.import(folder.path(), &[]).await;
    assert!(!good && told.contains("1 read with 1 answers") && told.contains("1 could not be read"), "{told}");
    // Without a session it says what to do.
    let none = Browser { cookies: String::new(), ..Browser::new() };
    let (told, good) = none.import(folder.path(), &[]).await;
    assert!(!good && told.contains("QWEN_COOKIES"), "{told}");
    drop(case);
}
