//! Forgetting an account: all of its rows, and no other.

use super::{accounts::*, *};
use crate::platform::testing::Sim;

async fn execute(platform: &Sim, sql: &'static str) {
    run(platform, vec![Statement { sql, parameters: Vec::new() }]).await.unwrap();
}

async fn count(platform: &Sim, sql: &'static str) -> i64 {
    match rows(platform, Statement { sql, parameters: Vec::new() }).await.unwrap().pop().unwrap().as_slice() {
        [Value::Integer(count)] => *count,
        other => panic!("{other:?}"),
    }
}

const TABLES: &[(&str, &str)] = &[
    ("turns", "SELECT count(*) FROM turns WHERE chat_id LIKE ?1"),
    ("conversations", "SELECT count(*) FROM conversations WHERE chat_id LIKE ?1"),
    ("responses", "SELECT count(*) FROM responses WHERE key LIKE ?1"),
    ("files", "SELECT count(*) FROM files WHERE id LIKE ?1"),
    ("uploads", "SELECT count(*) FROM uploads WHERE id LIKE ?1"),
    ("media", "SELECT count(*) FROM media WHERE id LIKE ?1"),
    ("drawings", "SELECT count(*) FROM drawings WHERE key LIKE ?1"),
    ("videos", "SELECT count(*) FROM videos WHERE id LIKE ?1"),
    ("imported_chats", "SELECT count(*) FROM imported_chats WHERE chat_id LIKE ?1"),
];

/// The tables that have rows whose ids begin with `owner`.
async fn tables_of(platform: &Sim, owner: &str) -> Vec<&'static str> {
    let mut found = Vec::new();
    for (table, sql) in TABLES {
        let read = Statement { sql, parameters: vec![Value::Text(format!("{owner}%"))] };
        if rows(platform, read).await.unwrap().pop().unwrap() != [Value::Integer(0)] {
            found.push(*table);
        }
    }
    found
}

/// A database in which anna has two scopes, bert one, and `default` one that was noted nowhere and rows older than scopes.
async fn filled() -> Sim {
    let platform = Sim::alone().with_database(MIGRATIONS);
    for (scope, account) in [("anna-1", "anna"), ("anna-2", "anna"), ("bert-1", "bert")] {
        note_scope(&platform, scope, account).await.unwrap();
        note_scope(&platform, scope, account).await.unwrap();
    }
    execute(
        &platform,
        "CREATE TABLE owners AS SELECT 'anna-1' AS scope UNION ALL SELECT 'anna-2' UNION ALL SELECT 'bert-1' UNION ALL SELECT 'default-1'",
    )
    .await;
    for sql in [
        "INSERT INTO conversations (scope, id, chat_id, head, system, title, model, turns, created_at, updated_at) \
         SELECT scope, 'mine', scope || '-chat', 'r', '', 't', 'm', 1, 1, 1 FROM owners",
        "INSERT INTO turns (key, kind, conversation, chat_id, response_id, system, created_at) \
         SELECT scope || '-turn', 'history', 'mine', scope || '-chat', 'r', '', 1 FROM owners",
        "INSERT INTO responses (key, previous, conversation, chat_id, response_id, system, tools, depth, unseen, created_at, scope) \
         SELECT scope, '', 'mine', '', 'r', '', '', 1, 0, 1, scope FROM owners UNION ALL SELECT 'default-old', '', '', '', '', '', '', 1, 0, 1, ''",
        "INSERT INTO files (scope, id, owner, hash, name, size, kind, content_type, purpose, url, expires_at, created_at) \
         SELECT scope, scope, 'u', 'h', 'n', 1, 'image', 'image/png', 'p', 'l', 1, 1 FROM owners",
        "INSERT INTO uploads (scope, hash, id, owner, url, expires_at) SELECT scope, 'h', scope, 'u', 'l', 1 FROM owners",
        "INSERT INTO media (id, account, scope, conversation, chat_id, response_id, link, expires_at) \
         SELECT scope, 'a', scope, 'mine', '', '', 'l', 1 FROM owners",
        "INSERT INTO drawings (key, attempt, holder, held_until, state, body, updated_at, scope) \
         SELECT scope, 'a', 'h', 1, 'done', '', 1, scope FROM owners UNION ALL SELECT 'default-old', 'a', 'h', 1, 'done', '', 1, ''",
        "INSERT INTO videos (id, scope, account, request, state, held_until, body, created_at, ended_at) \
         SELECT scope, scope, 'a', 'r', 'completed', 1, '', 1, 1 FROM owners",
        "INSERT INTO imported_chats (chat_id, updated_at) SELECT scope || '-chat', 1 FROM owners",
    ] {
        execute(&platform, sql).await;
    }
    platform
}

/// Forgets an account; each step begins from the text of the one before. Returns how many steps it took.
async fn forget_all(platform: &Sim, account: &str, is_default: bool) -> usize {
    let (mut text, mut steps) = (String::new(), 0);
    while let Some(next) = forget(platform, (account, is_default), Progress::from_text(&text)).await.unwrap() {
        text = next.to_text();
        assert_eq!(Progress::from_text(&text), next);
        steps += 1;
        assert!(steps < 100, "it has no end");
    }
    steps
}

#[tokio::test(start_paused = true)]
async fn an_account_is_forgotten_with_all_its_rows_and_no_other() {
    let all: Vec<&str> = TABLES.iter().map(|(table, _)| *table).collect();
    for (forgotten, is_default) in [("anna", false), ("bert", false), ("default", true)] {
        let platform = filled().await;
        forget_all(&platform, forgotten, is_default).await;
        for owner in ["anna", "bert", "default"] {
            let expected: &[&str] = if owner == forgotten { &[] } else { &all };
            assert_eq!(tables_of(&platform, owner).await, expected, "{forgotten} was forgotten, {owner}");
        }
        assert_eq!(count(&platform, "SELECT count(*) FROM scopes").await, 3, "other processes have noted theirs once");
    }
}

#[tokio::test(start_paused = true)]
async fn many_turns_are_forgotten_in_bounded_steps() {
    let platform = filled().await;
    execute(
        &platform,
        "INSERT INTO turns (key, kind, conversation, chat_id, response_id, system, created_at) \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000) \
         SELECT 'n' || i, 'history', 'mine', CASE i % 2 WHEN 0 THEN 'anna-1-chat' ELSE 'bert-1-chat' END, 'r', '', 1 FROM n",
    )
    .await;
    assert!(forget_all(&platform, "anna", false).await > TABLES.len() + 1);
    assert_eq!(count(&platform, "SELECT count(*) FROM turns WHERE chat_id LIKE 'anna%'").await, 0);
    assert_eq!(count(&platform, "SELECT count(*) FROM turns WHERE chat_id LIKE 'bert%'").await, 25_001);
}

#[tokio::test(start_paused = true)]
async fn sessions_of_accounts_are_listed_and_kept() {
    let platform = Sim::alone().with_database(MIGRATIONS);
    let now = crate::platform::testing::START;
    let new = |value: &str| session::Stored { version: 1, value: value.to_owned(), status: "{}".to_owned() };
    for (origin, value) in [
        ("digest", "v"),
        ("old-digest", "v"),
        ("account:anna", "v"),
        ("account:z_-9", "v"),
        ("account:gone", ""),
        ("accounts", "v"),
    ] {
        assert!(session::replace(&platform, origin, 0, &new(value), now).await.unwrap());
    }
    let names = async |limit| {
        let found = session::list(&platform, "account:", limit).await.unwrap();
        found.into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(" ")
    };
    assert_eq!((names(9).await.as_str(), names(2).await.as_str()), ("anna gone z_-9", "anna gone"));
    let later = now.saturating_add(Duration::from_secs(9));
    session::forget_others(&platform, "digest", "account:", now).await.unwrap();
    assert_eq!(names(9).await, "anna gone z_-9", "all were used lately");
    session::forget_others(&platform, "digest", "account:", later).await.unwrap();
    assert_eq!(names(9).await, "anna z_-9");
    let left = |origin: &'static str| {
        let platform = platform.clone();
        async move { session::read(&platform, origin).await.unwrap().is_some() }
    };
    assert_eq!((left("digest").await, left("old-digest").await, left("accounts").await), (true, false, false));
}
