//! Tables and queries. The store failing never fails a chat: callers log it and go on.

pub mod conversations;

use std::time::Duration;

use crate::platform::{self, DatabaseError, Platform, Row, Statement, Value};

/// The migrations in their order, applied by the box at its start and by `wrangler d1 migrations apply` on the edge.
pub const MIGRATIONS: &[(&str, &str)] = &[
    ("0001_cache.sql", include_str!("../../migrations/0001_cache.sql")),
    ("0002_conversations.sql", include_str!("../../migrations/0002_conversations.sql")),
];

/// A store that takes longer is as good as none: clients wait for it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Runs statements as one transaction, but does not wait for ever.
async fn run(platform: &impl Platform, batch: Vec<Statement>) -> Result<Vec<Vec<Row>>, DatabaseError> {
    let done = platform::timeout(platform, PATIENCE, platform.database(batch)).await;
    done.unwrap_or_else(|| Err(DatabaseError("no answer in time".to_owned())))
}

/// Whether the store answers.
///
/// # Errors
/// The database's own words.
pub async fn check(platform: &impl Platform) -> Result<(), DatabaseError> {
    let probe = Statement { sql: "SELECT key FROM cache LIMIT 1", parameters: vec![] };
    run(platform, vec![probe]).await.map(drop)
}

/// A kept answer: the text and when it was kept, in milliseconds since 1970.
///
/// # Errors
/// The database's own words.
pub async fn cached(platform: &impl Platform, key: &str) -> Result<Option<(String, u64)>, DatabaseError> {
    let read = Statement {
        sql: "SELECT value, updated_at FROM cache WHERE key = ?1",
        parameters: vec![Value::Text(key.to_owned())],
    };
    let mut answers = run(platform, vec![read]).await?;
    let row = answers.pop().and_then(|mut rows| rows.pop());
    Ok(row.and_then(|row| match <[Value; 2]>::try_from(row) {
        Ok([Value::Text(value), Value::Integer(at)]) => Some((value, u64::try_from(at).unwrap_or(0))),
        _ => None,
    }))
}

/// Keeps an answer under `key`.
///
/// # Errors
/// The database's own words.
pub async fn keep(platform: &impl Platform, key: &str, value: String, now: u64) -> Result<(), DatabaseError> {
    let write = Statement {
        sql: "INSERT INTO cache (key, value, updated_at) VALUES (?1, ?2, ?3) \
              ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at",
        parameters: vec![
            Value::Text(key.to_owned()),
            Value::Text(value),
            Value::Integer(i64::try_from(now).unwrap_or(i64::MAX)),
        ],
    };
    run(platform, vec![write]).await.map(drop)
}
