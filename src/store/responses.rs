//! Responses that can be retrieved and continued.

use super::{
    Storage, columns, conversations::Anchor, expire_page, integer, json_list, rows, run, text, unexpected_row,
};
use crate::platform::{DatabaseError, Row, Statement, Value};
use crate::unix_time::UnixMillis;

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The digest of its scope and id.
    pub key: String,
    /// The key of the response that it goes on from; empty when it goes on from none.
    pub previous: String,
    /// The point that the next response continues from; without a chat when there is none.
    pub anchor: Anchor,
    /// Input and response, as the caller wrote them; `None` when they are not kept.
    pub body: Option<String>,
}

fn response(row: Row) -> Result<Response, DatabaseError> {
    match columns("responses", row)? {
        [
            Value::Text(key),
            Value::Text(previous),
            Value::Text(conversation),
            Value::Text(chat_id),
            Value::Text(response_id),
            Value::Text(system),
            Value::Text(tools),
            Value::Integer(depth),
            Value::Integer(unseen),
            body,
        ] => {
            let anchor = Anchor { conversation, chat_id, response_id, system, tools, depth, unseen };
            let body = match body {
                Value::Text(body) => Some(body),
                Value::Null | Value::Integer(_) => None,
            };
            Ok(Response { key, previous, anchor, body })
        }
        _ => Err(unexpected_row("responses")),
    }
}

/// Finds a response.
pub async fn find(
    platform: &impl Storage,
    key: &str,
    not_before: UnixMillis,
) -> Result<Option<Response>, DatabaseError> {
    let read = Statement {
        sql: "SELECT key, previous, conversation, chat_id, response_id, system, tools, depth, unseen, body FROM responses \
              WHERE key = ?1 AND created_at >= ?2",
        parameters: vec![text(key), integer(not_before)],
    };
    rows(platform, read).await?.pop().map(response).transpose()
}

/// Finds responses.
pub async fn find_all(
    platform: &impl Storage,
    keys: &[&str],
    not_before: UnixMillis,
) -> Result<Vec<Response>, DatabaseError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let read = Statement {
        sql: "SELECT key, previous, conversation, chat_id, response_id, system, tools, depth, unseen, body FROM responses \
              WHERE key IN (SELECT value FROM json_each(?1)) AND created_at >= ?2",
        parameters: vec![json_list(keys), integer(not_before)],
    };
    rows(platform, read).await?.into_iter().map(response).collect()
}

/// Finds a response and those that it goes on from, newest first, at most `limit`.
pub async fn chain(
    platform: &impl Storage,
    key: &str,
    not_before: UnixMillis,
    limit: u32,
) -> Result<Vec<Response>, DatabaseError> {
    let read = Statement {
        sql: "WITH RECURSIVE chain(step, next) AS (SELECT 0, ?1 UNION ALL \
              SELECT step + 1, r.previous FROM chain JOIN responses r ON r.key = next WHERE step < ?3) \
              SELECT r.key, r.previous, r.conversation, r.chat_id, r.response_id, r.system, r.tools, r.depth, r.unseen, r.body \
              FROM chain JOIN responses r ON r.key = next WHERE r.created_at >= ?2 ORDER BY step",
        parameters: vec![text(key), integer(not_before), Value::Integer(limit.into())],
    };
    rows(platform, read).await?.into_iter().map(response).collect()
}

/// The statement that records a response of a scope: one row.
#[must_use]
pub fn insert(new: &Response, scope: &str, now: UnixMillis) -> Statement {
    let Response { key, previous, anchor, body } = new;
    let Anchor { conversation, chat_id, response_id, system, tools, depth, unseen } = anchor;
    Statement {
        sql: "INSERT OR REPLACE INTO responses \
              (key, previous, conversation, chat_id, response_id, system, tools, depth, unseen, created_at, body, scope) \
              VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        parameters: vec![
            text(key),
            text(previous),
            text(conversation),
            text(chat_id),
            text(response_id),
            text(system),
            text(tools),
            Value::Integer(*depth),
            Value::Integer(*unseen),
            integer(now),
            body.as_deref().map_or(Value::Null, text),
            text(scope),
        ],
    }
}

/// Records a response that no chat can go on from.
pub async fn record(
    platform: &impl Storage,
    new: &Response,
    scope: &str,
    now: UnixMillis,
) -> Result<(), DatabaseError> {
    run(platform, vec![insert(new, scope, now)]).await.map(drop)
}

/// Removes a response. Returns whether there was one.
pub async fn remove(platform: &impl Storage, key: &str) -> Result<bool, DatabaseError> {
    let delete = Statement { sql: "DELETE FROM responses WHERE key = ?1 RETURNING key", parameters: vec![text(key)] };
    Ok(!rows(platform, delete).await?.is_empty())
}

/// Removes what is older than `before` among the next `limit` responses after `after`. Returns the last key that was looked at.
pub async fn expire(
    platform: &impl Storage,
    after: &str,
    before: UnixMillis,
    limit: u32,
) -> Result<Option<String>, DatabaseError> {
    let read = "SELECT max(key) FROM (SELECT key FROM responses WHERE key > ?1 ORDER BY key LIMIT ?2)";
    let delete = "DELETE FROM responses WHERE key > ?1 AND key <= ?2 AND created_at < ?3";
    expire_page(platform, ("responses", read, delete), after, before, limit).await
}
