//! What the server does for all accounts by itself, and what it does with rows of the version before.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    accounts::{EVERYTHING, KEYS, Things, admin, ask, give, send, start},
    process::command,
};
use crate::{
    Product,
    fake_qwen::Fake,
    http::eventually,
    server::{Case, Server},
};

const REFRESH: &str = "/api/v2/auths/refresh";
const MONTH_MS: i64 = 31 * 24 * 3600 * 1000;

/// Starts a server whose database outlives it, natively.
async fn kept(case: &Case, fake: &Fake, path: &str, more: &[(&str, &str)]) -> Arc<Server> {
    let path = if case.product == Product::Native { path } else { "" };
    start(case, fake, &[&[("DATABASE_PATH", path)], more].concat()).await
}

/// Runs SQL in the server's database.
async fn sql(case: &Case, server: &Server, path: &str, statement: &str) {
    match case.product {
        Product::Native => drop(rusqlite::Connection::open(path).unwrap().execute_batch(statement).unwrap()),
        Product::Worker => server.sql(&format!("{statement};")).await,
    }
}

pub async fn the_timer_looks_after_all_accounts(case: Arc<Case>) {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kept.db").display().to_string();
    let server = kept(&case, &fake, &path, &[]).await;
    for (account, user) in [("anna", "user-a"), ("bert", "user-b"), ("carl", "user-c")] {
        // The token outlives this run of the timer, and not the next.
        let cookies = format!("token={}; refresh_token={}", Fake::token(user, 400), Fake::refresh_token(user));
        assert_eq!(admin(&server, "PUT", &format!("accounts/{account}/session"), cookies).await.status, 200);
    }
    let video = send(&server, "sk-of-anna", "POST", "/v1/videos", json!({ "prompt": "a kite" }).to_string()).await;
    let task = async || {
        fake.requests()
            .iter()
            .filter(|it| it.path_and_query.contains("/task/status/") || it.path_and_query.contains("/tasks/status/"))
            .count()
    };
    assert_eq!((video.status.as_u16(), task().await), (200, 0));
    let refreshed = |fake: &Fake| {
        let requests = fake.requests();
        requests.iter().filter(|request| request.path_and_query.starts_with(REFRESH)).count()
    };
    assert_eq!(refreshed(&fake), 0);
    let server = match case.product {
        // The timer runs at the start.
        Product::Native => {
            server.stop().await;
            kept(&case, &fake, &path, &[]).await
        }
        Product::Worker => {
            server.scheduled().await;
            server
        }
    };
    eventually("all sessions are renewed", || async { refreshed(&fake) == 3 }).await;
    eventually("the video is followed", || async { task().await > 0 }).await;
    let log = server.log().await.join("\n");
    assert!(!log.contains("panicked"), "{log}");
}

pub async fn expired_chats_are_deleted_with_their_own_account(case: Arc<Case>) {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kept.db").display().to_string();
    let cookies = format!("token={}", Fake::token("configured", 9_000));
    let settings = [("QWEN_COOKIES", cookies.as_str()), ("DELETE_CHATS", "expired")];
    let server = kept(&case, &fake, &path, &settings).await;
    give(&server, "anna", "user-a").await;
    give(&server, "bert", "user-b").await;
    for key in ["sk-test-key", "sk-of-anna", "sk-of-bert"] {
        assert_eq!(ask(&server, key, "old").await.status, 200);
        assert_eq!(ask(&server, key, "young").await.status, 200);
    }
    // Nobody may delete the chats of an account without a session, and the others do not wait for it.
    assert_eq!(admin(&server, "DELETE", "accounts/bert/session", "").await.status, 200);
    if case.product == Product::Native {
        server.stop().await;
    }
    let age = format!("UPDATE conversations SET updated_at = updated_at - {MONTH_MS} WHERE title = 'old'");
    sql(&case, &server, &path, &age).await;
    let server = match case.product {
        Product::Native => kept(&case, &fake, &path, &settings).await,
        Product::Worker => {
            server.scheduled().await;
            server
        }
    };
    eventually("the expired chats are deleted at the site", || async { fake.chats() == 4 }).await;
    let left: Vec<String> = fake.chat_ids().iter().map(|id| fake.chat_account(id).unwrap()).collect();
    assert_eq!(left, ["configured", "user-a", "user-b", "user-b"]);
    assert_eq!(fake.foreign_requests(), 0, "a chat was deleted with the wrong account");
    drop(server);
}

/// The statements of the newest migration, one a line.
fn newest_migration() -> String {
    let (name, text) = qwen_edge::store::MIGRATIONS.last().unwrap();
    assert!(name.starts_with("0011"), "{name}");
    let lines = text.lines().map(|line| line.split("--").next().unwrap().trim());
    lines.collect::<Vec<_>>().join(" ").replace(';', ";\n").trim().to_owned()
}

/// Copies the rows of a database into one with the tables of the version before.
fn as_before(path: &str, new: &str) {
    let before = rusqlite::Connection::open(new).unwrap();
    let kept = |name: &str| !name.starts_with("0011");
    before.execute_batch("CREATE TABLE d1_migrations (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL)").unwrap();
    for (name, migration) in qwen_edge::store::MIGRATIONS.iter().filter(|(name, _)| kept(name)) {
        before.execute_batch(migration).unwrap();
        before.execute("INSERT INTO d1_migrations (name) VALUES (?1)", [name]).unwrap();
    }
    before.execute("ATTACH ?1 AS newer", [path]).unwrap();
    for table in [
        "turns",
        "conversations",
        "uploads",
        "files",
        "session",
        "imported_chats",
        "responses",
        "media",
        "videos",
        "cache",
    ] {
        let mut columns = before.prepare(&format!("SELECT name FROM pragma_table_info('{table}')")).unwrap();
        let names = columns.query_map([], |row| row.get::<_, String>(0)).unwrap();
        let names = names.collect::<Result<Vec<_>, _>>().unwrap().join(", ");
        before.execute(&format!("INSERT INTO {table} ({names}) SELECT {names} FROM newer.{table}"), []).unwrap();
    }
    let sessions: i64 =
        before.query_row("SELECT count(*) FROM session WHERE value <> ''", [], |row| row.get(0)).unwrap();
    assert_eq!(sessions, 1);
}

pub async fn a_database_of_the_version_before_goes_on(case: Arc<Case>) {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let [path, before] = ["newer.db", "before.db"].map(|name| folder.path().join(name).display().to_string());
    let cookies = format!("token={}", Fake::token("configured", 9_000));
    let settings = [("QWEN_COOKIES", cookies.as_str())];
    let server = kept(&case, &fake, &path, &settings).await;
    give(&server, "default", "pasted").await;
    let things = Things::make(&server, "sk-test-key").await;
    let server = match case.product {
        Product::Native => {
            server.stop().await;
            as_before(&path, &before);
            kept(&case, &fake, &before, &settings).await
        }
        Product::Worker => {
            let undo = [
                "ALTER TABLE responses DROP COLUMN scope;",
                "ALTER TABLE drawings DROP COLUMN scope;",
                "DROP TABLE scopes;",
            ];
            server.sql(&undo.join("\n")).await;
            server.sql(&newest_migration()).await;
            server
        }
    };
    let session = admin(&server, "GET", "session", "").await.json();
    assert_eq!((session["source"].as_str(), session["account"].as_str()), (Some("stored"), Some("pasted")));
    assert_eq!(things.seen(&server, "sk-test-key").await, EVERYTHING);
    let chats = fake.chats();
    let go_on = json!({ "model": "qwen3-max", "messages": things.messages });
    assert_eq!(send(&server, "sk-test-key", "POST", "/v1/chat/completions", go_on.to_string()).await.status, 200);
    let follow = json!({ "model": "qwen3-max", "input": "x", "previous_response_id": things.response });
    assert_eq!(send(&server, "sk-test-key", "POST", "/v1/responses", follow.to_string()).await.status, 200);
    assert_eq!(fake.chats(), chats, "both go on in their chats");
    // Beside it there may be others now; its rows are still its own.
    give(&server, "anna", "user-a").await;
    let of_anna = Things::make(&server, "sk-of-anna").await;
    assert_eq!(admin(&server, "DELETE", "accounts/anna", "").await.status, 200);
    assert_eq!(of_anna.seen(&server, "sk-of-anna").await, [""; 0]);
    assert_eq!(things.seen(&server, "sk-test-key").await, EVERYTHING);
    assert_eq!(admin(&server, "DELETE", "accounts/default", "").await.status, 200);
    give(&server, "default", "pasted").await;
    assert_eq!(things.seen(&server, "sk-test-key").await, [""; 0]);
}

pub async fn commands_take_an_account(case: Arc<Case>) {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kept.db").display().to_string();
    let server = kept(&case, &fake, &path, &[("QWEN_COOKIES", "")]).await;
    let url = fake.url();
    let run = async |arguments: &[&str], input: &str| {
        let settings = [
            ("QWEN_BASE_URL", url.as_str()),
            ("QWEN_AUTH_URL", url.as_str()),
            ("DATABASE_PATH", path.as_str()),
            ("VALID_TOKENS", KEYS),
        ];
        let (output, succeeded) = command(folder.path(), arguments, &settings, input).await;
        assert!(!output.contains("eyJ") && !output.contains("sk-of-"), "{output}");
        (output, succeeded)
    };
    let (output, succeeded) = run(&["check", "--account", "anna"], "").await;
    assert!(!succeeded && output.contains("BAD session") && output.contains("'anna'"), "{output}");
    for arguments in [&["check", "--account", "An na"][..], &["import-curl", "--account", ""]] {
        let (output, succeeded) = run(arguments, "").await;
        assert!(!succeeded && output.contains("1 to 40 of the characters"), "{output}");
    }
    let token = format!("token={}", Fake::token("user-a", 9_000));
    let (output, succeeded) = run(&["import-curl", "--account", "anna"], &token).await;
    assert!(succeeded && output.contains("within seconds"), "{output}");
    let (output, succeeded) = run(&["check", "--account", "anna"], "").await;
    assert!(succeeded && output.contains("The account is user-a"), "{output}");
    assert!(!run(&["check"], "").await.1, "default has no session");
    eventually("the server uses it", || async { ask(&server, "sk-of-anna", "hi").await.status == 200 }).await;
    ask(&server, "sk-test-key", "hi").await.error(401, "qwen_session_missing");
    // A chat that was begun elsewhere: here, with another server and the same user of the site.
    let other = case.start_with(&fake, &[("QWEN_COOKIES", &token)]).await;
    let begun = json!({ "model": "qwen3-max", "messages": [{ "role": "user", "content": "begun elsewhere" }] });
    assert_eq!(other.chat(&begun).await.status, 200);
    let (output, succeeded) = run(&["import-history", "--account", "anna", "--pause-ms", "0"], "").await;
    assert!(succeeded && output.contains("1 read with 1 answers"), "{output}");
    let (output, succeeded) = run(&["import-history", "--account", "carl", "--pause-ms", "0"], "").await;
    assert!(!succeeded && output.contains("'carl'"), "{output}");
    let messages = json!([
        { "role": "user", "content": "begun elsewhere" },
        { "role": "assistant", "content": "begun elsewhere" },
        { "role": "user", "content": "go on" },
    ]);
    let chats = fake.chats();
    let go_on = json!({ "model": "qwen3-max", "messages": messages }).to_string();
    assert_eq!(send(&server, "sk-of-anna", "POST", "/v1/chat/completions", go_on.as_str()).await.status, 200);
    assert_eq!(fake.chats(), chats, "the imported chat goes on");
    // What was imported belongs to the account, too.
    assert_eq!(admin(&server, "DELETE", "accounts/anna", "").await.status, 200);
    give(&server, "anna", "user-a").await;
    assert_eq!(send(&server, "sk-of-anna", "POST", "/v1/chat/completions", go_on.as_str()).await.status, 200);
    assert_eq!(fake.chats(), chats + 1);
}

pub async fn a_turn_costs_the_same_for_every_account(case: Arc<Case>) {
    let fake = Fake::start();
    let server = start(&case, &fake, &[("LOG", "debug")]).await;
    give(&server, "anna", "user-a").await;
    let mut messages = Vec::new();
    let mut logged = 0;
    for number in 0..4 {
        messages.push(json!({ "role": "user", "content": format!("question {number}") }));
        let body = json!({ "model": "qwen3-max", "messages": messages }).to_string();
        let reply = send(&server, "sk-of-anna", "POST", "/v1/chat/completions", body).await;
        messages.push(reply.json()["choices"][0]["message"].clone());
        let log = server.log().await;
        let lines = log[logged..].iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let queries: Vec<Value> = lines.filter(|line| line["message"] == "d1 query").collect();
        logged = log.len();
        let written: u64 = queries.iter().map(|query| query["rows_written"].as_u64().unwrap()).sum();
        // The first turn of an isolate also reads models and notes whose scope it is.
        assert!(number == 0 || queries.len() <= 5 && written <= 3, "{number}: {queries:?}");
    }
}
