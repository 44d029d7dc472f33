//! Which account a scope belongs to, and forgetting all rows of an account. Scopes that nobody noted belong to `default`, whose
//! requests therefore write no rows for it.

use super::{Storage, columns, integer, rows, run, text, unexpected_row};
use crate::platform::{DatabaseError, Statement, Value};

/// How many rows one statement looks at or deletes: a statement has to end within the store's time limit.
const PAGE: u32 = 20_000;

/// Notes that a scope belongs to an account. One row, once.
pub async fn note_scope(platform: &impl Storage, scope: &str, account: &str) -> Result<(), DatabaseError> {
    let write = Statement {
        sql: "INSERT OR IGNORE INTO scopes (scope, account) VALUES (?1, ?2)",
        parameters: vec![text(scope), text(account)],
    };
    run(platform, vec![write]).await.map(drop)
}

/// Where the forgetting of an account has got to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The table that is next.
    table: usize,
    /// The last key of that table that was looked at, where it is read by its keys.
    after: String,
}

impl Progress {
    /// The same as a text.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{} {}", self.table, self.after)
    }

    /// Reads the text; the beginning, if it is none.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        let read = text.split_once(' ').and_then(|(table, after)| Some((table.parse().ok()?, after.to_owned())));
        read.map(|(table, after)| Self { table, after }).unwrap_or_default()
    }
}

/// How the rows of an account are found in a table. Those of `default` are in no scope that was noted.
struct Forgotten {
    /// The next key to look up to, where no index finds the rows of a scope.
    last: Option<&'static str>,
    of_named: &'static str,
    of_default: &'static str,
}

/// Conversations come last: turns and imported chats are found by them.
const TABLES: &[Forgotten] = &[
    Forgotten {
        last: Some("SELECT max(key) FROM (SELECT key FROM turns WHERE key > ?1 ORDER BY key LIMIT ?2)"),
        of_named: "DELETE FROM turns WHERE key > ?2 AND key <= ?3 AND chat_id IN \
                   (SELECT chat_id FROM conversations WHERE scope IN (SELECT scope FROM scopes WHERE account = ?1))",
        of_default: "DELETE FROM turns WHERE key > ?2 AND key <= ?3 AND ?1 <> '' AND chat_id IN \
                     (SELECT chat_id FROM conversations WHERE scope NOT IN (SELECT scope FROM scopes))",
    },
    Forgotten {
        last: Some("SELECT max(key) FROM (SELECT key FROM responses WHERE key > ?1 ORDER BY key LIMIT ?2)"),
        of_named: "DELETE FROM responses WHERE key > ?2 AND key <= ?3 AND scope IN \
                   (SELECT scope FROM scopes WHERE account = ?1)",
        of_default: "DELETE FROM responses WHERE key > ?2 AND key <= ?3 AND ?1 <> '' AND scope NOT IN \
                     (SELECT scope FROM scopes)",
    },
    Forgotten {
        last: Some("SELECT max(id) FROM (SELECT id FROM media WHERE id > ?1 ORDER BY id LIMIT ?2)"),
        of_named: "DELETE FROM media WHERE id > ?2 AND id <= ?3 AND scope IN \
                   (SELECT scope FROM scopes WHERE account = ?1)",
        of_default: "DELETE FROM media WHERE id > ?2 AND id <= ?3 AND ?1 <> '' AND scope NOT IN \
                     (SELECT scope FROM scopes)",
    },
    Forgotten {
        last: Some("SELECT max(key) FROM (SELECT key FROM drawings WHERE key > ?1 ORDER BY key LIMIT ?2)"),
        of_named: "DELETE FROM drawings WHERE key > ?2 AND key <= ?3 AND scope IN \
                   (SELECT scope FROM scopes WHERE account = ?1)",
        of_default: "DELETE FROM drawings WHERE key > ?2 AND key <= ?3 AND ?1 <> '' AND scope NOT IN \
                     (SELECT scope FROM scopes)",
    },
    Forgotten {
        last: None,
        of_named: "DELETE FROM videos WHERE id IN (SELECT id FROM videos WHERE scope IN \
                   (SELECT scope FROM scopes WHERE account = ?1) LIMIT ?2) RETURNING 1",
        of_default: "DELETE FROM videos WHERE id IN (SELECT id FROM videos WHERE ?1 <> '' AND scope NOT IN \
                     (SELECT scope FROM scopes) LIMIT ?2) RETURNING 1",
    },
    Forgotten {
        last: None,
        of_named: "DELETE FROM files WHERE (scope, id) IN (SELECT scope, id FROM files WHERE scope IN \
                   (SELECT scope FROM scopes WHERE account = ?1) LIMIT ?2) RETURNING 1",
        of_default: "DELETE FROM files WHERE (scope, id) IN (SELECT scope, id FROM files WHERE ?1 <> '' AND scope NOT IN \
                     (SELECT scope FROM scopes) LIMIT ?2) RETURNING 1",
    },
    Forgotten {
        last: None,
        of_named: "DELETE FROM uploads WHERE (scope, hash) IN (SELECT scope, hash FROM uploads WHERE scope IN \
                   (SELECT scope FROM scopes WHERE account = ?1) LIMIT ?2) RETURNING 1",
        of_default: "DELETE FROM uploads WHERE (scope, hash) IN (SELECT scope, hash FROM uploads WHERE ?1 <> '' \
                     AND scope NOT IN (SELECT scope FROM scopes) LIMIT ?2) RETURNING 1",
    },
    Forgotten {
        last: None,
        of_named: "DELETE FROM imported_chats WHERE chat_id IN (SELECT chat_id FROM imported_chats WHERE chat_id IN \
                   (SELECT chat_id FROM conversations WHERE scope IN (SELECT scope FROM scopes WHERE account = ?1)) \
                   LIMIT ?2) RETURNING 1",
        of_default: "DELETE FROM imported_chats WHERE chat_id IN (SELECT chat_id FROM imported_chats WHERE ?1 <> '' \
                     AND chat_id IN (SELECT chat_id FROM conversations WHERE scope NOT IN (SELECT scope FROM scopes)) \
                     LIMIT ?2) RETURNING 1",
    },
    Forgotten {
        last: None,
        of_named: "DELETE FROM conversations WHERE (scope, id) IN (SELECT scope, id FROM conversations WHERE scope IN \
                   (SELECT scope FROM scopes WHERE account = ?1) LIMIT ?2) RETURNING 1",
        of_default: "DELETE FROM conversations WHERE (scope, id) IN (SELECT scope, id FROM conversations WHERE ?1 <> '' \
                     AND scope NOT IN (SELECT scope FROM scopes) LIMIT ?2) RETURNING 1",
    },
];

/// Deletes the next rows of an account: those of its conversations, responses, pictures, videos and files. The session has a row
/// of its own. Returns where to go on, or `None` at the end. Two queries at most.
pub async fn forget(
    platform: &impl Storage,
    (account, is_default): (&str, bool),
    progress: Progress,
) -> Result<Option<Progress>, DatabaseError> {
    let Progress { table, after } = progress;
    let Some(Forgotten { last, of_named, of_default }) = TABLES.get(table) else { return Ok(None) };
    let next = Progress { table: table.saturating_add(1), after: String::new() };
    let next = Some(next).filter(|next| next.table < TABLES.len());
    let sql = if is_default { of_default } else { of_named };
    let Some(last) = last else {
        let parameters = vec![text(account), integer(PAGE)];
        let deleted = rows(platform, Statement { sql, parameters }).await?;
        let may_be_more = deleted.len() >= usize::try_from(PAGE).unwrap_or(usize::MAX);
        return Ok(if may_be_more { Some(Progress { table, after }) } else { next });
    };
    let read = Statement { sql: last, parameters: vec![text(&after), integer(PAGE)] };
    let last = match rows(platform, read).await?.pop().map(|row| columns("turns", row)).transpose()? {
        Some([Value::Text(last)]) => last,
        Some([Value::Null]) | None => return Ok(next),
        Some(_) => return Err(unexpected_row("turns")),
    };
    run(platform, vec![Statement { sql, parameters: vec![text(account), text(&after), text(&last)] }]).await?;
    Ok(Some(Progress { table, after: last }))
}
