//! Tables and queries. The store failing never fails a chat: callers log it and go on.

pub mod conversations;
pub mod files;
pub mod session;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{
    error::{Error, ErrorKind},
    platform::{self, DatabaseError, Platform, Row, Statement, Value},
};

/// The migrations in their order, applied by the box at its start and by `wrangler d1 migrations apply` on the edge.
pub const MIGRATIONS: &[(&str, &str)] = &[
    ("0001_cache.sql", include_str!("../../migrations/0001_cache.sql")),
    ("0002_conversations.sql", include_str!("../../migrations/0002_conversations.sql")),
    ("0003_files.sql", include_str!("../../migrations/0003_files.sql")),
    ("0004_session.sql", include_str!("../../migrations/0004_session.sql")),
    ("0005_imported_chats.sql", include_str!("../../migrations/0005_imported_chats.sql")),
    ("0006_depth.sql", include_str!("../../migrations/0006_depth.sql")),
    ("0007_uploads_by_scope.sql", include_str!("../../migrations/0007_uploads_by_scope.sql")),
];

/// A store that takes longer is as good as none: clients wait for it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Runs statements as one transaction, but does not wait for ever.
async fn run(platform: &impl Platform, batch: Vec<Statement>) -> Result<Vec<Vec<Row>>, DatabaseError> {
    let begun = platform.elapsed();
    let done = platform::timeout(platform, PATIENCE, platform.database(batch)).await;
    platform.request_metrics().record_overhead(platform.elapsed().saturating_sub(begun));
    done.unwrap_or_else(|| Err(DatabaseError("no answer in time".to_owned())))
}

async fn rows(platform: &impl Platform, statement: Statement) -> Result<Vec<Row>, DatabaseError> {
    Ok(run(platform, vec![statement]).await?.pop().unwrap_or_default())
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

/// A time in milliseconds or a number of bytes.
fn integer(value: u64) -> Value {
    Value::Integer(i64::try_from(value).unwrap_or(i64::MAX))
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// The error of a request that cannot do without the store.
#[must_use]
pub fn failed(error: &DatabaseError) -> Error {
    Error::new(ErrorKind::StoreFailed, "The server's store does not answer; GET /health tells more. Try again later.")
        .with_detail(error.to_string())
}

/// Counts how often the store failed where that did not fail the request.
#[derive(Debug, Default)]
pub struct StoreHealth(AtomicU64);

impl StoreHealth {
    /// How often, since the start.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// A failure is logged, counted and read as `None`.
    pub fn ok_or_log<T>(&self, what: &'static str, done: Result<T, DatabaseError>) -> Option<T> {
        done.inspect_err(|error| {
            self.0.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%error, what, "the store failed; the request goes on without it");
        })
        .ok()
    }
}

/// Whether the store answers.
///
/// # Errors
/// The database's own words.
pub async fn check(platform: &impl Platform) -> Result<(), DatabaseError> {
    // The oldest table and the newest column: migrations may be missing.
    let sql = "SELECT (SELECT key FROM cache LIMIT 1) AS a, (SELECT scope FROM uploads LIMIT 1) AS b";
    let probe = Statement { sql, parameters: vec![] };
    run(platform, vec![probe]).await.map(drop)
}

/// A kept answer: the text and when it was kept, in milliseconds since 1970.
///
/// # Errors
/// The database's own words.
pub async fn cached(platform: &impl Platform, key: &str) -> Result<Option<(String, u64)>, DatabaseError> {
    let read = Statement { sql: "SELECT value, updated_at FROM cache WHERE key = ?1", parameters: vec![text(key)] };
    let row = rows(platform, read).await?.pop();
    Ok(row.and_then(|row| match <[Value; 2]>::try_from(row) {
        Ok([Value::Text(value), Value::Integer(at)]) => Some((value, unsigned(at))),
        _ => None,
    }))
}

/// Notes under `key` that something is begun now, unless that was noted after `last` already (both in milliseconds since
/// 1970). Gives whether it was noted. Of several who ask at once, one gets leave.
///
/// # Errors
/// The database's own words.
pub async fn claim(platform: &impl Platform, key: &str, now: u64, last: u64) -> Result<bool, DatabaseError> {
    // A time that is still to come was noted by a clock that was wrong.
    let write = Statement {
        sql: "INSERT INTO cache (key, value, updated_at) VALUES (?1, '', ?2) \
              ON CONFLICT (key) DO UPDATE SET value = '', updated_at = excluded.updated_at \
              WHERE cache.updated_at <= ?3 OR cache.updated_at > ?2 RETURNING key",
        parameters: vec![text(key), integer(now), integer(last)],
    };
    Ok(!rows(platform, write).await?.is_empty())
}

/// Keeps an answer under `key`.
///
/// # Errors
/// The database's own words.
pub async fn keep(platform: &impl Platform, key: &str, value: String, now: u64) -> Result<(), DatabaseError> {
    let write = Statement {
        sql: "INSERT INTO cache (key, value, updated_at) VALUES (?1, ?2, ?3) \
              ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at",
        parameters: vec![text(key), Value::Text(value), integer(now)],
    };
    run(platform, vec![write]).await.map(drop)
}
