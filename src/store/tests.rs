//! What the queries do with rows that the program did not write.

use super::*;
use crate::platform::testing::{START, Sim};

const NOW: UnixMillis = START;

/// A database in which every query finds one row of one null.
fn unexpected() -> Sim {
    Sim::alone().with_database_script(|batch| Ok(batch.iter().map(|_| vec![vec![Value::Null]]).collect()))
}

fn is_unexpected<T: std::fmt::Debug>(found: Result<T, DatabaseError>, table: &str) {
    let error = found.unwrap_err().to_string();
    assert!(error.contains(table) && error.contains("row of an unexpected shape"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_row_of_an_unexpected_shape_is_an_error() {
    let platform = unexpected();
    is_unexpected(cached(&platform, "k").await, "cache");
    is_unexpected(session::read(&platform, "o").await, "session");
    is_unexpected(session::lease(&platform, "o", 0, NOW, NOW).await, "session");
    is_unexpected(files::uploaded(&platform, "s", "h", NOW).await, "uploads");
    is_unexpected(files::find(&platform, "s", "i").await, "files");
    is_unexpected(files::list(&platform, "s", "", true, 9).await, "files");
    is_unexpected(files::expire_files(&platform, ("", ""), NOW, 9).await, "files");
    is_unexpected(conversations::find(&platform, &["k"], NOW).await, "turns");
    is_unexpected(conversations::find_first(&platform, "s", &["k"], 0, NOW).await, "turns");
    is_unexpected(conversations::head(&platform, "s", "i", NOW).await, "turns");
    is_unexpected(conversations::list(&platform, "s", 9).await, "conversations");
    is_unexpected(conversations::by_chat(&platform, "s", "i").await, "conversations");
    is_unexpected(conversations::page(&platform, ("", ""), 9).await, "conversations");
    is_unexpected(conversations::imported(&platform).await, "imported_chats");
    is_unexpected(videos::find(&platform, "s", "i").await, "videos");
    is_unexpected(videos::list(&platform, "s", None, true, 9).await, "videos");
    is_unexpected(videos::due(&platform, "a", NOW, 9).await, "videos");
    is_unexpected(videos::take(&platform, "i", NOW, (NOW, NOW)).await, "videos");
    assert_eq!(conversations::expire_turns(&platform, "", NOW, 9).await.ok(), Some(None), "no turns have no last key");
}

#[tokio::test(start_paused = true)]
async fn a_value_of_another_type_in_sqlite_is_an_error() {
    let platform = Sim::alone().with_database(MIGRATIONS);
    let write = |sql: &'static str| run(&platform, vec![Statement { sql, parameters: Vec::new() }]);
    keep(&platform, "good", "text".to_owned(), NOW).await.unwrap();
    assert_eq!(cached(&platform, "good").await.unwrap(), Some(("text".to_owned(), NOW)));
    assert_eq!(cached(&platform, "absent").await.unwrap(), None);
    write("INSERT INTO cache (key, value, updated_at) VALUES ('bad', 'text', 'yesterday')").await.unwrap();
    is_unexpected(cached(&platform, "bad").await, "cache");
    let anchor = conversations::Anchor {
        conversation: "conversation".to_owned(),
        chat_id: "chat".to_owned(),
        response_id: "response".to_owned(),
        system: String::new(),
        tools: String::new(),
        depth: 1,
        unseen: 0,
    };
    let turn = conversations::Turn {
        scope: "s".to_owned(),
        anchor: anchor.clone(),
        keys: conversations::Keys { history: Some("key".to_owned()), ..conversations::Keys::default() },
        title: "title".to_owned(),
        model: "model".to_owned(),
    };
    conversations::record(&platform, &turn, None, NOW).await.unwrap();
    assert_eq!(conversations::find(&platform, &["key"], NOW).await.unwrap(), Some(("key".to_owned(), anchor)));
    assert_eq!(conversations::list(&platform, "s", 9).await.unwrap().len(), 1);
    write("UPDATE turns SET depth = 'deep'").await.unwrap();
    write("UPDATE conversations SET updated_at = 'yesterday'").await.unwrap();
    is_unexpected(conversations::find(&platform, &["key"], NOW).await, "turns");
    is_unexpected(conversations::list(&platform, "s", 9).await, "conversations");
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_taken_once_until_it_ends() {
    let platform = Sim::alone().with_database(MIGRATIONS);
    let until = NOW.saturating_add(Duration::from_secs(20));
    let lease = async |now| session::lease(&platform, "o", 0, now, until).await.unwrap();
    assert_eq!(lease(NOW).await, (true, session::Stored { status: "{}".to_owned(), ..Default::default() }));
    assert!(!lease(NOW).await.0);
    assert!(lease(until).await.0, "the first lease has ended");
    session::release(&platform, "o", 0).await.unwrap();
    assert!(lease(NOW).await.0);
    let new = session::Stored { version: 1, value: "v".to_owned(), status: "{}".to_owned() };
    assert!(session::replace(&platform, "o", 0, &new, NOW).await.unwrap());
    assert!(!session::replace(&platform, "o", 0, &new, NOW).await.unwrap(), "the version has passed");
    assert_eq!(lease(until).await, (false, new));
}
