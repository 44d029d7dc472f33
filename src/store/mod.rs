//! Tables and queries. The store failing never fails a chat: callers log it and go on.

pub mod conversations;
pub mod files;
pub mod session;

use std::time::Duration;

use crate::platform::{self, Clock, Database, DatabaseError, Row, Statement, Telemetry, Value};
use crate::unix_time::UnixMillis;

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

/// What the store needs of a runtime.
pub trait Storage: Database + Clock + Telemetry {}
impl<P: Database + Clock + Telemetry> Storage for P {}

/// A store that takes longer is as good as none: clients wait for it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Runs statements as one transaction, but does not wait for ever.
async fn run(platform: &impl Storage, batch: Vec<Statement>) -> Result<Vec<Vec<Row>>, DatabaseError> {
    let begun = platform.elapsed();
    let done = platform::timeout(platform, PATIENCE, platform.database(batch)).await;
    platform.request_metrics().record_overhead(platform.elapsed().saturating_sub(begun));
    done.unwrap_or_else(|| Err(DatabaseError("no answer in time".to_owned())))
}

async fn rows(platform: &impl Storage, statement: Statement) -> Result<Vec<Row>, DatabaseError> {
    Ok(run(platform, vec![statement]).await?.pop().unwrap_or_default())
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

/// A time in milliseconds or a number of bytes.
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
///
/// # Errors
/// The database's own words.
pub async fn check(platform: &impl Storage) -> Result<(), DatabaseError> {
    // The oldest table and the newest column: migrations may be missing.
    let sql = "SELECT (SELECT key FROM cache LIMIT 1) AS a, (SELECT scope FROM uploads LIMIT 1) AS b";
    let probe = Statement { sql, parameters: vec![] };
    run(platform, vec![probe]).await.map(drop)
}

/// A kept answer: the text and when it was kept, in milliseconds since 1970.
///
/// # Errors
/// The database's own words.
pub async fn cached(platform: &impl Storage, key: &str) -> Result<Option<(String, UnixMillis)>, DatabaseError> {
    let read = Statement { sql: "SELECT value, updated_at FROM cache WHERE key = ?1", parameters: vec![text(key)] };
    let row = rows(platform, read).await?.pop();
    Ok(row.and_then(|row| match <[Value; 2]>::try_from(row) {
        Ok([Value::Text(value), Value::Integer(at)]) => Some((value, moment(at))),
        _ => None,
    }))
}

/// Notes under `key` that something is begun now, unless that was noted after `last` already (both in milliseconds since
/// 1970). Gives whether it was noted. Of several who ask at once, one gets leave.
///
/// # Errors
/// The database's own words.
pub async fn claim(
    platform: &impl Storage,
    key: &str,
    now: UnixMillis,
    last: UnixMillis,
) -> Result<bool, DatabaseError> {
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
pub async fn keep(platform: &impl Storage, key: &str, value: String, now: UnixMillis) -> Result<(), DatabaseError> {
    let write = Statement {
        sql: "INSERT INTO cache (key, value, updated_at) VALUES (?1, ?2, ?3) \
              ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at",
        parameters: vec![text(key), Value::Text(value), integer(now)],
    };
    run(platform, vec![write]).await.map(drop)
}
