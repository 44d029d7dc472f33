//! The store of conversations: what a turn costs it, what it removes, and chats without it.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Conversation, turns};
use crate::{
    Product,
    fake_qwen::Fake,
    http::eventually,
    server::{BROKEN_STORE, Case, Server},
};

pub async fn chats_are_listed_and_deleted(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    let mut conversation = Conversation::new(&server);
    conversation.ask("What  is\nthe weather?").await;
    Conversation::new(&server).ask("Another one").await;
    let keyed = Server::auth_headers();
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
    assert_eq!(
        conversation.ask("still there?").await,
        "User: still there?",
        "the conversation continues in a new chat"
    );
    // Chats that this server did not create are not found.
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
    let mut conversation = Conversation::new(&server);
    conversation.ask("one").await;
    let lock = rusqlite::Connection::open(&path).unwrap();
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    assert_eq!(conversation.ask("two").await, "two");
    let health = server.get("/health").await.json();
    assert!(health["store"]["errors"].as_u64().unwrap() > 0, "{health}");
    lock.execute_batch("ROLLBACK").unwrap();
    drop(lock);
    conversation.ask("three").await;
    conversation.ask("four").await;
    let turns = turns(&fake);
    assert_eq!(turns.last().unwrap().2, "four", "the conversation is recorded again after the lock");
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
    let (mut old, mut young) = (Conversation::new(&server), Conversation::new(&server));
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
    eventually("the expired chat is deleted upstream", || async { fake.chats() == 1 }).await;
    young.server = Arc::clone(&server);
    young.ask("more").await;
    assert_eq!(turns(&fake).pop().unwrap().2, "more");
    let old = "SELECT count(*) FROM turns WHERE created_at < (SELECT max(created_at) FROM turns) - 86400000";
    let left: i64 = database.query_row(old, [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
}

/// More than a step of the Worker's clean-up looks at: where queries are free, one run of the timer removes it all.
pub async fn one_run_removes_all_that_has_expired(case: Arc<Case>) {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("busy.db").display().to_string();
    let cookies = format!("token={}", Fake::token("busy", 9_000));
    let settings = [("DATABASE_PATH", path.as_str()), ("QWEN_COOKIES", &cookies)];
    let server = case.start_with(&fake, &settings).await;
    let mut young = Conversation::new(&server);
    young.ask("young").await;
    server.stop().await;
    let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) \
        INSERT INTO conversations (scope, id, chat_id, head, system, title, model, turns, created_at, updated_at) \
        SELECT 'scope', 'old-' || i, 'chat-' || i, '', '', 'old', 'qwen3-max', 1, 0, 0 FROM n; \
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) \
        INSERT INTO turns (key, kind, conversation, chat_id, response_id, system, created_at) \
        SELECT 'old-' || i, 'history', 'old-' || i, 'chat-' || i, '', '', 0 FROM n;";
    rusqlite::Connection::open(&path).unwrap().execute_batch(rows).unwrap();
    let left = || -> i64 {
        let count = "SELECT (SELECT count(*) FROM conversations WHERE updated_at = 0) \
            + (SELECT count(*) FROM turns WHERE created_at = 0)";
        rusqlite::Connection::open(&path).unwrap().query_row(count, [], |row| row.get(0)).unwrap()
    };
    assert!(left() > 0);
    young.server = case.start_with(&fake, &settings).await;
    eventually("nothing old is left", || async { left() == 0 }).await;
    young.ask("more").await;
    assert_eq!((turns(&fake).pop().unwrap().2.as_str(), fake.chats()), ("more", 1));
}

pub async fn a_scheduled_run_deletes_expired_chats(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[("DELETE_CHATS", "expired")]).await;
    Conversation::new(&server).ask("old").await;
    Conversation::new(&server).ask("young").await;
    let listed_titles = async || {
        let chats = server.http.send("GET", "/v1/chats", &Server::auth_headers(), "").await.json();
        let titles = chats["data"].as_array().unwrap().iter().map(|chat| chat["title"].as_str().unwrap().to_owned());
        titles.collect::<Vec<_>>()
    };
    eventually("both chats are stored", || async { listed_titles().await.len() == 2 }).await;
    let month = 31_i64 * 24 * 3600 * 1000;
    server.sql(&format!("UPDATE conversations SET updated_at = updated_at - {month} WHERE title = 'old';")).await;
    server.scheduled().await;
    eventually("the expired chat is deleted upstream", || async { fake.chats() == 1 }).await;
    assert_eq!(listed_titles().await, ["young"]);
    let log = server.log().await.join("\n");
    assert!(!log.contains("failed") && !log.contains("panicked"), "{log}");
}

/// D1 counts at most five queries and three written rows per request, and one row read to find a history.
pub async fn a_turn_costs_few_queries_and_rows(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[("LOG", "debug")]).await;
    let mut conversation = Conversation::new(&server);
    conversation.ask("the first request of an isolate also reads the list of models").await;
    let mut logged = server.log().await.len();
    let mut costs = Vec::new();
    for number in 0..4 {
        if number == 3 {
            // An unknown history costs the most.
            conversation.messages.insert(0, json!({ "role": "assistant", "content": "unknown" }));
        }
        conversation.ask(&format!("question {number}")).await;
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

/// The disk of the native server is full; the database of the Worker returns errors.
pub async fn a_broken_store_does_not_stop_chats(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[(BROKEN_STORE, "1")]).await;
    let errors = || async {
        let health = server.get("/health").await;
        assert_eq!(health.status, 200);
        health.json()["store"]["errors"].as_u64().unwrap()
    };
    let mut conversation = Conversation::new(&server);
    let mut count = 0;
    while errors().await < 3 {
        assert!(count < 500, "the store did not break");
        assert!(conversation.ask(&format!("question {count}")).await.ends_with(&format!("question {count}")));
        count += 1;
        if count % 10 == 0 {
            conversation = Conversation::new(&server);
        }
    }
    if case.product == Product::Worker {
        assert_eq!(server.get("/health").await.json()["store"]["ok"], false);
        server.http.send("GET", "/v1/chats", &Server::auth_headers(), "").await.error(503, "store_unavailable");
    }
    assert_eq!(server.get("/ready").await.status, 200);
}
