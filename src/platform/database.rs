//! Statements for SQLite and D1, and their rows.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

/// One SQL statement with its parameters.
#[derive(Clone, Debug)]
pub struct Statement {
    /// SQL that both SQLite and D1 take. Its columns have different names: D1 gives rows as objects.
    pub sql: &'static str,
    /// Values for `?1`, `?2`, … (at most 100: D1's limit).
    pub parameters: Vec<Value>,
}

/// A value of a row or a parameter. Integers stay below 2⁵³: D1 carries them as floating point numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// A whole number.
    Integer(i64),
    /// Text.
    Text(String),
}

/// One row of an answer, in the order of the query's columns.
pub type Row = Vec<Value>;

/// Why the database failed. Never holds a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseError(pub String);

impl fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DatabaseError {}

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
