//! Statements for SQLite and D1, and their rows. Errors hold the message of SQLite or D1.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

/// One SQL statement with its parameters.
#[derive(Clone, Debug)]
pub struct Statement {
    /// SQL that both SQLite and D1 accept. Its columns have different names, because D1 returns rows as objects.
    pub sql: &'static str,
    /// Values for `?1`, `?2`, …: at most 100, the limit of D1.
    pub parameters: Vec<Value>,
}

/// A value in a row, or a parameter. Integers stay below 2⁵³, because D1 carries them as floating point numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// NULL.
    Null,
    /// INTEGER.
    Integer(i64),
    /// TEXT.
    Text(String),
}

/// One row of a result, in the order of the query's columns.
pub type Row = Vec<Value>;

/// The message of SQLite or D1. Never holds a value of a row or parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseError(pub String);

impl fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DatabaseError {}

/// Counts failures of the store that did not fail the request.
#[derive(Debug, Default)]
pub struct StoreHealth(AtomicU64);

impl StoreHealth {
    /// Returns the number of failures since the start.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Logs and counts a failure, and turns it into `None`.
    pub fn ok_or_log<T>(&self, what: &'static str, done: Result<T, DatabaseError>) -> Option<T> {
        done.inspect_err(|error| {
            self.0.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%error, what, "the store failed; the request goes on without it");
        })
        .ok()
    }
}
