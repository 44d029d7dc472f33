//! The stored sessions. Each configuration of credentials has one row, which all isolates share.

use super::{Storage, TIMEOUT, columns, integer, rows, run, text, timed_out, unexpected_row, unsigned};
use crate::platform::{self, DatabaseError, Row, Statement, Value};
use crate::unix_time::UnixMillis;

/// A stored session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Rises with each change of the credentials. Every row begins with version 0.
    pub version: u64,
    /// The credentials as the caller encrypted them; empty for the configured ones.
    pub value: String,
    /// What the site's answers showed of the session, as JSON.
    pub status: String,
}

const READ: &str = "SELECT version, value, standing FROM session WHERE origin = ?1";
const READ_NAMED: &str = "SELECT origin, version, value, standing FROM session \
                          WHERE origin >= ?1 AND origin < ?1 || '~' ORDER BY origin LIMIT ?2";
const MAKE: &str = "INSERT OR IGNORE INTO session (origin, version, value, standing, lease_until, updated_at) \
                    VALUES (?1, 0, '', '{}', 0, ?2)";

fn stored(row: Row) -> Result<Stored, DatabaseError> {
    match columns("session", row)? {
        [Value::Integer(version), Value::Text(value), Value::Text(status)] => {
            Ok(Stored { version: unsigned(version), value, status })
        }
        _ => Err(unexpected_row("session")),
    }
}

/// Reads the session that began under `origin`.
pub async fn read(platform: &impl Storage, origin: &str) -> Result<Option<Stored>, DatabaseError> {
    let found = rows(platform, Statement { sql: READ, parameters: vec![text(origin)] }).await?.pop();
    found.map(stored).transpose()
}

/// Reads the sessions whose `origin` begins with `prefix`, each with what follows it.
pub async fn list(platform: &impl Storage, prefix: &str, limit: u32) -> Result<Vec<(String, Stored)>, DatabaseError> {
    let read = Statement { sql: READ_NAMED, parameters: vec![text(prefix), integer(limit)] };
    let named = |row: Row| match columns("session", row)? {
        [Value::Text(origin), Value::Integer(version), Value::Text(value), Value::Text(status)] => {
            let name = origin.strip_prefix(prefix).unwrap_or_default().to_owned();
            Ok((name, Stored { version: unsigned(version), value, status }))
        }
        _ => Err(unexpected_row("session")),
    };
    rows(platform, read).await?.into_iter().map(named).collect()
}

/// Takes the lease on refreshing `version` until `until`, unless another process holds it or the version has passed. Returns
/// whether it was taken, and the session as it is now.
pub async fn lease(
    platform: &impl Storage,
    origin: &str,
    version: u64,
    now: UnixMillis,
    until: UnixMillis,
) -> Result<(bool, Stored), DatabaseError> {
    let make = Statement { sql: MAKE, parameters: vec![text(origin), integer(now)] };
    let take = Statement {
        sql: "UPDATE session SET lease_until = ?4 WHERE origin = ?1 AND version = ?2 AND lease_until <= ?3 \
              RETURNING version",
        parameters: vec![text(origin), integer(version), integer(now), integer(until)],
    };
    let look = Statement { sql: READ, parameters: vec![text(origin)] };
    let mut answers = run(platform, vec![make, take, look]).await?;
    let found = answers.pop().and_then(|mut found| found.pop()).map(stored).transpose()?.unwrap_or_default();
    Ok((answers.pop().is_some_and(|taken| !taken.is_empty()), found))
}

/// Ends a lease without a change of the credentials.
pub async fn release(platform: &impl Storage, origin: &str, version: u64) -> Result<(), DatabaseError> {
    let write = Statement {
        sql: "UPDATE session SET lease_until = 0 WHERE origin = ?1 AND version = ?2",
        parameters: vec![text(origin), integer(version)],
    };
    run(platform, vec![write]).await.map(drop)
}

/// Replaces the credentials if their version is still `expected`, and ends any lease. Returns whether it did.
pub async fn replace(
    platform: &impl Storage,
    origin: &str,
    expected: u64,
    new: &Stored,
    now: UnixMillis,
) -> Result<bool, DatabaseError> {
    let make = Statement { sql: MAKE, parameters: vec![text(origin), integer(now)] };
    let write = Statement {
        sql: "UPDATE session SET version = ?3, value = ?4, standing = ?5, lease_until = 0, updated_at = ?6 \
              WHERE origin = ?1 AND version = ?2 RETURNING version",
        parameters: vec![
            text(origin),
            integer(expected),
            integer(new.version),
            text(&new.value),
            text(&new.status),
            integer(now),
        ],
    };
    let replaced = run(platform, vec![make, write]).await?.pop().is_some_and(|written| !written.is_empty());
    if replaced {
        erase(platform).await;
    }
    Ok(replaced)
}

/// Overwrites what was replaced or deleted in the database's files. If that fails, the next replacement or the end of the
/// process does it.
async fn erase(platform: &impl Storage) {
    let erased = platform::timeout(platform, TIMEOUT, platform.scrub()).await;
    if let Err(error) = erased.unwrap_or_else(timed_out) {
        tracing::warn!(%error, "an earlier session may still be in the database's files");
    }
}

/// Keeps the status, if the credentials are still those of `version`.
pub async fn save_status(
    platform: &impl Storage,
    origin: &str,
    version: u64,
    status: &str,
    now: UnixMillis,
) -> Result<(), DatabaseError> {
    let make = Statement { sql: MAKE, parameters: vec![text(origin), integer(now)] };
    let write = Statement {
        sql: "UPDATE session SET standing = ?3, updated_at = ?4 WHERE origin = ?1 AND version = ?2",
        parameters: vec![text(origin), integer(version), text(status), integer(now)],
    };
    run(platform, vec![make, write]).await.map(drop)
}

/// Deletes the sessions of other configurations that were last used before `before`; of those whose origin begins with `named`,
/// only what has no credentials any more.
pub async fn forget_others(
    platform: &impl Storage,
    origin: &str,
    named: &str,
    before: UnixMillis,
) -> Result<(), DatabaseError> {
    let write = Statement {
        sql: "DELETE FROM session WHERE origin <> ?1 AND updated_at < ?2 \
              AND (value = '' OR substr(origin, 1, length(?3)) <> ?3) RETURNING version",
        parameters: vec![text(origin), integer(before), text(named)],
    };
    if !rows(platform, write).await?.is_empty() {
        erase(platform).await;
    }
    Ok(())
}
