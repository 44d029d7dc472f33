//! Links to pictures and videos, and requests for pictures.

use super::{Storage, columns, exists, integer, moment, rows, run, text, unexpected_row};
use crate::platform::{DatabaseError, Row, Statement, Value};
use crate::unix_time::UnixMillis;

/// A link to a picture or a video.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaLink {
    /// 128 random bits.
    pub id: String,
    /// The digest of the account that made it.
    pub account: String,
    /// The digest of the API key and the account.
    pub scope: String,
    /// The conversation whose life it has; empty for none.
    pub conversation: String,
    /// The chat that it was made in.
    pub chat_id: String,
    /// The upstream message that it is in; empty when that is not known.
    pub response_id: String,
    /// The site's own link, as the caller encrypted it.
    pub link: String,
    /// When it ends.
    pub expires_at: UnixMillis,
}

/// A request for pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawing {
    /// Changes each time that the request is begun anew.
    pub attempt: String,
    /// When somebody else may go on with it.
    pub held_until: UnixMillis,
    /// `running`, `done` or `failed`.
    pub state: String,
    /// What the caller wrote.
    pub body: String,
}

/// Keeps links.
pub async fn keep_links(platform: &impl Storage, links: &[MediaLink]) -> Result<(), DatabaseError> {
    let insert = |new: &MediaLink| {
        let MediaLink { id, account, scope, conversation, chat_id, response_id, link, expires_at } = new;
        Statement {
            sql: "INSERT OR REPLACE INTO media (id, account, scope, conversation, chat_id, response_id, link, expires_at) \
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            parameters: vec![
                text(id),
                text(account),
                text(scope),
                text(conversation),
                text(chat_id),
                text(response_id),
                text(link),
                integer(*expires_at),
            ],
        }
    };
    run(platform, links.iter().map(insert).collect()).await.map(drop)
}

/// Finds a link that lives at `now`: by its own time, or because its conversation was used after `not_before`.
pub async fn find_link(
    platform: &impl Storage,
    id: &str,
    now: UnixMillis,
    not_before: UnixMillis,
) -> Result<Option<MediaLink>, DatabaseError> {
    let read = Statement {
        sql: "SELECT id, account, scope, conversation, chat_id, response_id, link, expires_at FROM media m WHERE id = ?1 \
              AND (expires_at > ?2 OR EXISTS (SELECT 1 FROM conversations c WHERE c.scope = m.scope \
              AND c.id = m.conversation AND c.updated_at >= ?3))",
        parameters: vec![text(id), integer(now), integer(not_before)],
    };
    let Some(row) = rows(platform, read).await?.pop() else { return Ok(None) };
    match columns("media", row)? {
        [
            Value::Text(id),
            Value::Text(account),
            Value::Text(scope),
            Value::Text(conversation),
            Value::Text(chat_id),
            Value::Text(response_id),
            Value::Text(link),
            Value::Integer(expires_at),
        ] => {
            let expires_at = moment(expires_at);
            Ok(Some(MediaLink { id, account, scope, conversation, chat_id, response_id, link, expires_at }))
        }
        _ => Err(unexpected_row("media")),
    }
}

/// Replaces the site's link of a link of ours.
pub async fn renew_link(platform: &impl Storage, id: &str, link: &str) -> Result<(), DatabaseError> {
    let sql = "UPDATE media SET link = ?2 WHERE id = ?1";
    run(platform, vec![Statement { sql, parameters: vec![text(id), text(link)] }]).await.map(drop)
}

/// Removes the links that have ended together with their conversation, and requests for pictures last written before
/// `drawn_before`.
pub async fn expire(
    platform: &impl Storage,
    now: UnixMillis,
    not_before: UnixMillis,
    drawn_before: UnixMillis,
) -> Result<(), DatabaseError> {
    // A read first: a locked database would hold up each write, and there is seldom anything to remove.
    let any = Statement {
        sql: "SELECT EXISTS (SELECT 1 FROM media WHERE expires_at <= ?1) \
              OR EXISTS (SELECT 1 FROM drawings WHERE updated_at < ?2) AS found",
        parameters: vec![integer(now), integer(drawn_before)],
    };
    if !exists(platform, any).await? {
        return Ok(());
    }
    let links = Statement {
        sql: "DELETE FROM media WHERE expires_at <= ?1 AND NOT EXISTS (SELECT 1 FROM conversations c \
              WHERE c.scope = media.scope AND c.id = media.conversation AND c.updated_at >= ?2)",
        parameters: vec![integer(now), integer(not_before)],
    };
    let drawings =
        Statement { sql: "DELETE FROM drawings WHERE updated_at < ?1", parameters: vec![integer(drawn_before)] };
    run(platform, vec![links, drawings]).await.map(drop)
}

/// Who works on a request for pictures, and how long the others leave it to them.
#[derive(Clone, Copy, Debug)]
pub struct Hold<'a> {
    /// A name that nobody else has.
    pub holder: &'a str,
    /// Until when.
    pub until: UnixMillis,
}

/// Begins a request of a scope for pictures, unless it runs or was answered after `not_before` already, or failed. Returns the request as it is
/// then, and whether it was begun.
pub async fn begin_drawing(
    platform: &impl Storage,
    (key, scope): (&str, &str),
    hold: Hold<'_>,
    body: &str,
    (now, not_before): (UnixMillis, UnixMillis),
) -> Result<(bool, Drawing), DatabaseError> {
    let begin = Statement {
        sql: "INSERT INTO drawings (key, attempt, holder, held_until, state, body, updated_at, scope) \
              VALUES (?1, ?2, ?2, ?3, 'running', ?4, ?5, ?7) ON CONFLICT (key) DO UPDATE SET attempt = excluded.attempt, \
              holder = excluded.holder, held_until = excluded.held_until, state = 'running', body = excluded.body, \
              updated_at = excluded.updated_at WHERE drawings.state = 'failed' OR drawings.updated_at < ?6 RETURNING key",
        parameters: vec![
            text(key),
            text(hold.holder),
            integer(hold.until),
            text(body),
            integer(now),
            integer(not_before),
            text(scope),
        ],
    };
    let mut done = run(platform, vec![begin, drawing_of(key)]).await?;
    let row = done.pop().and_then(|mut rows| rows.pop()).ok_or_else(|| unexpected_row("drawings"))?;
    let was_begun = done.pop().is_some_and(|rows| !rows.is_empty());
    Ok((was_begun, drawing(row)?))
}

fn drawing_of(key: &str) -> Statement {
    let sql = "SELECT attempt, held_until, state, body FROM drawings WHERE key = ?1";
    Statement { sql, parameters: vec![text(key)] }
}

fn drawing(row: Row) -> Result<Drawing, DatabaseError> {
    match columns("drawings", row)? {
        [Value::Text(attempt), Value::Integer(held_until), Value::Text(state), Value::Text(body)] => {
            Ok(Drawing { attempt, held_until: moment(held_until), state, body })
        }
        _ => Err(unexpected_row("drawings")),
    }
}

/// Reads a request for pictures.
pub async fn find_drawing(platform: &impl Storage, key: &str) -> Result<Option<Drawing>, DatabaseError> {
    rows(platform, drawing_of(key)).await?.pop().map(drawing).transpose()
}

/// Takes a running request over from a holder whose time has passed. Returns whether it was taken.
pub async fn take_drawing_over(
    platform: &impl Storage,
    key: &str,
    attempt: &str,
    hold: Hold<'_>,
    now: UnixMillis,
) -> Result<bool, DatabaseError> {
    let take = Statement {
        sql: "UPDATE drawings SET holder = ?3, held_until = ?4 WHERE key = ?1 AND attempt = ?2 AND state = 'running' \
              AND held_until <= ?5 RETURNING key",
        parameters: vec![text(key), text(attempt), text(hold.holder), integer(hold.until), integer(now)],
    };
    Ok(!rows(platform, take).await?.is_empty())
}

/// Writes what has become of a request, if the holder still has it. Returns whether it has.
pub async fn write_drawing(
    platform: &impl Storage,
    key: &str,
    hold: Hold<'_>,
    (state, body): (&str, &str),
    now: UnixMillis,
) -> Result<bool, DatabaseError> {
    let write = Statement {
        sql: "UPDATE drawings SET held_until = ?3, state = ?4, body = ?5, updated_at = ?6 \
              WHERE key = ?1 AND holder = ?2 RETURNING key",
        parameters: vec![text(key), text(hold.holder), integer(hold.until), text(state), text(body), integer(now)],
    };
    Ok(!rows(platform, write).await?.is_empty())
}
