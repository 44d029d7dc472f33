//! Tables and queries. A failure of the store never fails a chat: callers log it and go on.
//!
//! Every function that asks the database returns the error of SQLite or D1, a timeout after two seconds, or that a row has an
//! unexpected shape.
#![allow(clippy::missing_errors_doc, reason = "the errors of all functions are those above")]

pub mod accounts;
pub mod conversations;
pub mod files;
pub mod media;
pub mod responses;
pub mod session;
pub mod videos;

use std::time::Duration;

use crate::platform::{self, Clock, Database, DatabaseError, Row, Statement, Telemetry, Value};
use crate::unix_time::UnixMillis;

/// The migrations in their order. The native server applies them when it starts; `wrangler d1 migrations apply` applies them to
/// the Worker's database.
pub const MIGRATIONS: &[(&str, &str)] = &[
    ("0001_cache.sql", include_str!("../../migrations/0001_cache.sql")),
    ("0002_conversations.sql", include_str!("../../migrations/0002_conversations.sql")),
    ("0003_files.sql", include_str!("../../migrations/0003_files.sql")),
    ("0004_session.sql", include_str!("../../migrations/0004_session.sql")),
    ("0005_imported_chats.sql", include_str!("../../migrations/0005_imported_chats.sql")),
    ("0006_depth.sql", include_str!("../../migrations/0006_depth.sql")),
    ("0007_uploads_by_scope.sql", include_str!("../../migrations/0007_uploads_by_scope.sql")),
    ("0008_tools.sql", include_str!("../../migrations/0008_tools.sql")),
    ("0009_responses.sql", include_str!("../../migrations/0009_responses.sql")),
    ("0010_media.sql", include_str!("../../migrations/0010_media.sql")),
    ("0011_accounts.sql", include_str!("../../migrations/0011_accounts.sql")),
];

/// What the store needs of a runtime.
pub trait Storage: Database + Clock + Telemetry {}
impl<P: Database + Clock + Telemetry> Storage for P {}

/// A store that takes longer counts as failed: clients wait for it.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Runs statements as one transaction.
async fn run(platform: &impl Storage, batch: Vec<Statement>) -> Result<Vec<Vec<Row>>, DatabaseError> {
    let begun = platform.elapsed();
    let done = platform::timeout(platform, TIMEOUT, platform.database(batch)).await;
    platform.request_metrics().record_overhead(platform.elapsed().saturating_sub(begun));
    done.unwrap_or_else(timed_out)
}

fn timed_out<T>() -> Result<T, DatabaseError> {
    Err(DatabaseError("no answer in time".to_owned()))
}

/// The columns of a row, for a pattern with their types to take apart.
fn columns<const N: usize>(table: &str, row: Row) -> Result<[Value; N], DatabaseError> {
    row.try_into().map_err(|_| unexpected_row(table))
}

/// The error of a row that does not have the columns that its query names.
fn unexpected_row(table: &str) -> DatabaseError {
    DatabaseError(format!("{table}: row of an unexpected shape"))
}

/// Runs one statement and returns its rows.
async fn rows(platform: &impl Storage, statement: Statement) -> Result<Vec<Row>, DatabaseError> {
    Ok(run(platform, vec![statement]).await?.pop().unwrap_or_default())
}

/// Whether a statement whose only column says whether something exists says so.
async fn exists(platform: &impl Storage, statement: Statement) -> Result<bool, DatabaseError> {
    let found = rows(platform, statement).await?.pop().unwrap_or_default();
    Ok(found.first().is_some_and(|found| *found != Value::Integer(0)))
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

/// A moment, a version or a number of bytes as a column.
fn integer(value: impl Into<u64>) -> Value {
    Value::Integer(i64::try_from(value.into()).unwrap_or(i64::MAX))
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn moment(value: i64) -> UnixMillis {
    UnixMillis::new(unsigned(value))
}

/// Whether the store answers.
pub async fn check(platform: &impl Storage) -> Result<(), DatabaseError> {
    // The oldest table and the newest column: migrations may be missing.
    let sql = "SELECT (SELECT key FROM cache LIMIT 1) AS a, (SELECT scope FROM drawings LIMIT 1) AS b";
    let probe = Statement { sql, parameters: vec![] };
    run(platform, vec![probe]).await.map(drop)
}

/// Reads a text of the cache, and when it was kept.
pub async fn cached(platform: &impl Storage, key: &str) -> Result<Option<(String, UnixMillis)>, DatabaseError> {
    let read = Statement { sql: "SELECT value, updated_at FROM cache WHERE key = ?1", parameters: vec![text(key)] };
    let Some(row) = rows(platform, read).await?.pop() else { return Ok(None) };
    match columns("cache", row)? {
        [Value::Text(value), Value::Integer(at)] => Ok(Some((value, moment(at)))),
        _ => Err(unexpected_row("cache")),
    }
}

/// Notes under `key` that something begins now, unless that was noted after `last` already. Returns whether it was noted: of
/// several processes that ask at once, one succeeds.
pub async fn claim(
    platform: &impl Storage,
    key: &str,
    now: UnixMillis,
    last: UnixMillis,
) -> Result<bool, DatabaseError> {
    // A time in the future was noted by a clock that was wrong.
    let write = Statement {
        sql: "INSERT INTO cache (key, value, updated_at) VALUES (?1, '', ?2) \
              ON CONFLICT (key) DO UPDATE SET value = '', updated_at = excluded.updated_at \
              WHERE cache.updated_at <= ?3 OR cache.updated_at > ?2 RETURNING key",
        parameters: vec![text(key), integer(now), integer(last)],
    };
    Ok(!rows(platform, write).await?.is_empty())
}

/// Keeps a text in the cache.
pub async fn keep(platform: &impl Storage, key: &str, value: String, now: UnixMillis) -> Result<(), DatabaseError> {
    let write = Statement {
        sql: "INSERT INTO cache (key, value, updated_at) VALUES (?1, ?2, ?3) \
              ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at",
        parameters: vec![text(key), Value::Text(value), integer(now)],
    };
    run(platform, vec![write]).await.map(drop)
}

#[cfg(test)]
mod accounts_tests;
#[cfg(test)]
mod tests;

/// Texts as one parameter, for `json_each`.
fn json_list(texts: &[&str]) -> Value {
    Value::Text(serde_json::Value::from(texts).to_string())
}

/// Removes what is older than `before` among the next `limit` rows after the key `after`. Returns the last key that was looked
/// at. `read` selects that key of `table`, `delete` removes the rows up to it.
async fn expire_page(
    platform: &impl Storage,
    (table, read, delete): (&'static str, &'static str, &'static str),
    after: &str,
    before: UnixMillis,
    limit: u32,
) -> Result<Option<String>, DatabaseError> {
    let read = Statement { sql: read, parameters: vec![text(after), Value::Integer(limit.into())] };
    let Some(row) = rows(platform, read).await?.pop() else { return Ok(None) };
    let last = match columns(table, row)? {
        [Value::Text(last)] => last,
        [Value::Null] => return Ok(None),
        _ => return Err(unexpected_row(table)),
    };
    let parameters = vec![text(after), text(&last), integer(before)];
    run(platform, vec![Statement { sql: delete, parameters }]).await?;
    Ok(Some(last))
}
