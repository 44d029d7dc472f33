//! `import-history`: chats that were created in the browser.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use serde_json::{Value, json};
use tokio::process::Command;

use super::process::command;
use crate::{
    Product,
    fake_qwen::Fake,
    http::{Http, eventually},
    server::{Case, KEY, Server, unique},
};

/// A browser with a session of an account.
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

    /// Creates a chat with these questions and answers; returns its id.
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

    /// Starts a server with the session of this account.
    async fn server(&self, case: &Case, folder: &Path, more: &[(&str, &str)]) -> Arc<Server> {
        let path = folder.join("history.db");
        let path = if case.product == Product::Native { path.to_str().unwrap() } else { "" };
        let settings = [("QWEN_COOKIES", self.cookies.as_str()), ("DATABASE_PATH", path)];
        case.start_with(&self.fake, &[&settings, more].concat()).await
    }

    /// Imports the chats into the database of `server`.
    async fn import_for(&self, server: &Server, case: &Case, folder: &Path, more: &[&str]) -> String {
        let file = folder.join("history.sql");
        let (output, succeeded) = self.import(folder, &[&["--sql", file.to_str().unwrap()], more].concat()).await;
        assert!(succeeded, "{output}");
        if case.product == Product::Worker {
            server.sql(&std::fs::read_to_string(file).unwrap()).await;
        }
        output
    }

    /// How often the program, not the browser, read each chat.
    fn reads(&self) -> BTreeMap<String, usize> {
        let mut reads = BTreeMap::new();
        for request in self.fake.requests() {
            let by_program = request.header("user-agent") != Some("Mozilla/5.0");
            if let Some(id) =
                request.path_and_query.strip_prefix("/api/v2/chats/").filter(|_| by_program && request.method == "GET")
            {
                *reads.entry(id.to_owned()).or_default() += usize::from(!id.starts_with('?'));
            }
        }
        reads.retain(|_, count| *count > 0);
        reads
    }
}

fn messages_of(turns: &[(&str, &str)]) -> Vec<Value> {
    let pair = |(question, answer): &(&str, &str)| {
        [json!({ "role": "user", "content": question }), json!({ "role": "assistant", "content": answer })]
    };
    turns.iter().flat_map(pair).collect()
}

pub async fn imported_browser_chats_are_continued(case: Arc<Case>) {
    let browser = Browser::new();
    let folder = tempfile::tempdir().unwrap();
    let turns =
        [("[[fake say=first-answer]] one", "first-answer"), ("[[fake say=second-answer]] two", "second-answer")];
    let chat = browser.converse(&turns).await;
    let server = browser.server(&case, folder.path(), &[("DELETE_CHATS", "unmatched")]).await;
    let output = browser.import_for(&server, &case, folder.path(), &[]).await;
    assert!(output.contains("1 chats: 1 read with 2 answers"), "{output}");
    let head = browser.detail(&chat).await["data"]["currentId"].clone();
    let ask = async |messages: Vec<Value>, marker: &str| {
        let reply = server.chat(&json!({ "model": "qwen3-max", "enable_thinking": false, "messages": messages })).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let turn = browser
            .fake
            .requests_containing(marker)
            .into_iter()
            .find(|request| request.path_and_query.contains("completions"))
            .unwrap();
        (turn.path_and_query.clone(), turn.json()["parent_id"].clone(), turn.json()["messages"][0]["content"].clone())
    };
    // A chat is found by its history.
    let question = json!({ "role": "user", "content": "[[fake say=third-answer]] three" });
    let turn = ask([messages_of(&turns), vec![question.clone()]].concat(), "three").await;
    assert_eq!(turn, (format!("/api/v2/chat/completions?chat_id={chat}"), head, question["content"].clone()));
    // An earlier answer is an anchor, too.
    let other = json!({ "role": "user", "content": "[[fake say=x]] otherwise" });
    let turn = ask([messages_of(&turns[..1]), vec![other]].concat(), "otherwise").await;
    assert!(turn.0.ends_with(&chat), "{turn:?}");
    // A last answer of at least 64 characters is enough when the chat has more turns than the client sends.
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

    // Imported chats are neither listed nor deleted, whatever the settings.
    let listed = server.http.send("GET", "/v1/chats", &Server::auth_headers(), "").await.json();
    assert_eq!(listed["data"], json!([]));
    server.http.send("DELETE", &format!("/v1/chats/{chat}"), &Server::auth_headers(), "").await.error(404, "not_found");
    assert!(browser.fake.requests().iter().all(|request| request.method != "DELETE"));
    // A chat that this server created is not imported.
    assert_eq!(
        server.chat(&json!({ "messages": [{ "role": "user", "content": "[[fake say=own]] own" }] })).await.status,
        200
    );
    if case.product == Product::Native {
        let (output, succeeded) = browser.import(folder.path(), &["--all"]).await;
        assert!(succeeded && output.contains("3 chats: 2 read") && output.contains("1 known"), "{output}");
    }
    let listed = server.http.send("GET", "/v1/chats", &Server::auth_headers(), "").await.json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1, "{listed}");
}

pub async fn an_interrupted_import_resumes(case: Arc<Case>) {
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
    eventually("the import reads 20 chats", || async { browser.reads().len() >= 20 }).await;
    child.kill().await.unwrap();
    let before = browser.reads().len();
    assert!(before < chats.len(), "the import was not interrupted");
    let (output, succeeded) = browser.import(folder.path(), &[]).await;
    assert!(succeeded && output.contains("60 chats"), "{output}");
    let reads = browser.reads();
    assert_eq!(reads.len(), chats.len());
    // Only the chat that was being read is read again.
    assert!(reads.values().filter(|count| **count > 1).count() <= 1, "{reads:?}");
    let (output, succeeded) = browser.import(folder.path(), &[]).await;
    assert!(succeeded && output.contains("60 chats: 0 read") && output.contains("60 known"), "{output}");
    assert_eq!(browser.reads(), reads);
    drop(case);
}

pub async fn an_import_stops_at_a_challenge_and_reports_errors(case: Arc<Case>) {
    let browser = Browser::new();
    let folder = tempfile::tempdir().unwrap();
    let chat = browser.converse(&[("[[fake say=a]] a", "a")]).await;
    browser.converse(&[("[[fake say=b]] b", "b")]).await;
    browser.fake.set_failure(&format!("/api/v2/chats/{chat}"), Some("waf_json"));
    let (output, succeeded) = browser.import(folder.path(), &[]).await;
    assert!(!succeeded && output.contains("check") && output.contains("The next run goes on"), "{output}");
    // The captcha cooldown is stored.
    let request_count = browser.fake.request_count();
    let (output, succeeded) = browser.import(folder.path(), &[]).await;
    assert!(!succeeded && output.contains("check") && browser.fake.request_count() == request_count, "{output}");
    // An unreadable chat does not stop the import.
    let other = Browser::new();
    let folder = tempfile::tempdir().unwrap();
    let chat = other.converse(&[("[[fake say=a]] a", "a")]).await;
    other.converse(&[("[[fake say=b]] b", "b")]).await;
    other.fake.set_failure(&format!("/api/v2/chats/{chat}"), Some("chat_not_found"));
    let (output, succeeded) = other.import(folder.path(), &[]).await;
    assert!(
        !succeeded && output.contains("1 read with 1 answers") && output.contains("1 could not be read"),
        "{output}"
    );
    // Without a session the error names the setting.
    let anonymous = Browser { cookies: String::new(), ..Browser::new() };
    let (output, succeeded) = anonymous.import(folder.path(), &[]).await;
    assert!(!succeeded && output.contains("QWEN_COOKIES"), "{output}");
    drop(case);
}
