//! Videos: jobs, and who works on them. Whoever works on a job holds it until a moment; that moment also distinguishes one
//! holder from the next, so that a late one changes nothing.

use super::{Storage, columns, exists, integer, moment, rows, run, text, unexpected_row};
use crate::platform::{DatabaseError, Row, Statement, Value};
use crate::unix_time::UnixMillis;

/// A video.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Video {
    /// `video_` and 128 random bits.
    pub id: String,
    /// The digest of the API key and the account.
    pub scope: String,
    /// The digest of the account.
    pub account: String,
    /// The digest of the API key, the account and the request.
    pub request: String,
    /// `creating`, `running`, `completed`, `failed` or `refused`.
    pub state: String,
    /// When somebody may take it over.
    pub held_until: UnixMillis,
    /// The job, as the caller wrote it.
    pub body: String,
    /// When it was asked for.
    pub created_at: UnixMillis,
    /// When it ended; 0 while it has not.
    pub ended_at: UnixMillis,
}

/// What becomes of a job.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// The new state.
    pub state: &'a str,
    /// When somebody may take it over.
    pub held_until: UnixMillis,
    /// The job, as the caller writes it.
    pub body: &'a str,
    /// When it ended; 0 while it has not.
    pub ended_at: UnixMillis,
}

fn video(row: Row) -> Result<Video, DatabaseError> {
    match columns("videos", row)? {
        [
            Value::Text(id),
            Value::Text(scope),
            Value::Text(account),
            Value::Text(request),
            Value::Text(state),
            Value::Integer(held_until),
            Value::Text(body),
            Value::Integer(created_at),
            Value::Integer(ended_at),
        ] => Ok(Video {
            id,
            scope,
            account,
            request,
            state,
            held_until: moment(held_until),
            body,
            created_at: moment(created_at),
            ended_at: moment(ended_at),
        }),
        _ => Err(unexpected_row("videos")),
    }
}

/// Adds a job, unless `since` is given and an equal one runs, or has completed since then. Returns that one if it was not
/// added.
pub async fn begin(
    platform: &impl Storage,
    new: &Video,
    since: Option<UnixMillis>,
) -> Result<Option<Video>, DatabaseError> {
    let Video { id, scope, account, request, state, held_until, body, created_at, ended_at } = new;
    // Without `since` no other counts as equal.
    let (equal, since) = since.map_or(("", UnixMillis::default()), |since| (request.as_str(), since));
    let insert = Statement {
        sql: "INSERT INTO videos (id, scope, account, request, state, held_until, body, created_at, ended_at) \
              SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 WHERE NOT EXISTS (SELECT 1 FROM videos WHERE request = ?10 \
              AND (state IN ('creating', 'running') OR (state = 'completed' AND ended_at >= ?11)))",
        parameters: vec![
            text(id),
            text(scope),
            text(account),
            text(request),
            text(state),
            integer(*held_until),
            text(body),
            integer(*created_at),
            integer(*ended_at),
            text(equal),
            integer(since),
        ],
    };
    // The new one itself, if it was added.
    let read = Statement {
        sql: "SELECT id, scope, account, request, state, held_until, body, created_at, ended_at FROM videos \
              WHERE id = ?1 OR (request = ?2 AND (state IN ('creating', 'running') \
              OR (state = 'completed' AND ended_at >= ?3))) ORDER BY id = ?1 DESC, created_at DESC LIMIT 1",
        parameters: vec![text(id), text(equal), integer(since)],
    };
    let found = run(platform, vec![insert, read]).await?.pop().and_then(|mut rows| rows.pop());
    let found = video(found.ok_or_else(|| unexpected_row("videos"))?)?;
    Ok((found.id != *id).then_some(found))
}

/// Reads a job of a scope.
pub async fn find(platform: &impl Storage, scope: &str, id: &str) -> Result<Option<Video>, DatabaseError> {
    let read = Statement {
        sql: "SELECT id, scope, account, request, state, held_until, body, created_at, ended_at FROM videos \
              WHERE id = ?1 AND scope = ?2",
        parameters: vec![text(id), text(scope)],
    };
    rows(platform, read).await?.pop().map(video).transpose()
}

/// Lists the jobs of a scope, newest first unless `is_ascending`, behind the job `after`; a job that is not there is behind
/// none.
pub async fn list(
    platform: &impl Storage,
    scope: &str,
    after: Option<&str>,
    is_ascending: bool,
    limit: u32,
) -> Result<Vec<Video>, DatabaseError> {
    let sql = match (after, is_ascending) {
        (None, false) => {
            "SELECT id, scope, account, request, state, held_until, body, created_at, ended_at FROM videos \
             WHERE scope = ?1 AND state != 'refused' AND ?2 = '' ORDER BY created_at DESC, id DESC LIMIT ?3"
        }
        (None, true) => {
            "SELECT id, scope, account, request, state, held_until, body, created_at, ended_at FROM videos \
             WHERE scope = ?1 AND state != 'refused' AND ?2 = '' ORDER BY created_at, id LIMIT ?3"
        }
        (Some(_), false) => {
            "SELECT id, scope, account, request, state, held_until, body, created_at, ended_at FROM videos \
             WHERE scope = ?1 AND state != 'refused' \
             AND (created_at, id) < (SELECT created_at, id FROM videos WHERE id = ?2 AND scope = ?1) \
             ORDER BY created_at DESC, id DESC LIMIT ?3"
        }
        (Some(_), true) => {
            "SELECT id, scope, account, request, state, held_until, body, created_at, ended_at FROM videos \
             WHERE scope = ?1 AND state != 'refused' \
             AND (created_at, id) > (SELECT created_at, id FROM videos WHERE id = ?2 AND scope = ?1) \
             ORDER BY created_at, id LIMIT ?3"
        }
    };
    let parameters = vec![text(scope), text(after.unwrap_or_default()), integer(limit)];
    rows(platform, Statement { sql, parameters }).await?.into_iter().map(video).collect()
}

/// Lists jobs of an account that are not over and that nobody holds at `now`, the longest waiting first.
pub async fn due(
    platform: &impl Storage,
    account: &str,
    now: UnixMillis,
    limit: u32,
) -> Result<Vec<Video>, DatabaseError> {
    let read = Statement {
        sql: "SELECT id, scope, account, request, state, held_until, body, created_at, ended_at FROM videos \
              WHERE account = ?1 AND state IN ('creating', 'running') AND held_until <= ?2 ORDER BY held_until LIMIT ?3",
        parameters: vec![text(account), integer(now), integer(limit)],
    };
    rows(platform, read).await?.into_iter().map(video).collect()
}

/// Takes a job that is not over, if nobody holds it at `now`. Returns it as it is then. A hold that ends after `latest` was
/// taken by a clock that was wrong.
pub async fn take(
    platform: &impl Storage,
    id: &str,
    until: UnixMillis,
    (now, latest): (UnixMillis, UnixMillis),
) -> Result<Option<Video>, DatabaseError> {
    let take = Statement {
        sql: "UPDATE videos SET held_until = ?2 WHERE id = ?1 AND state IN ('creating', 'running') \
              AND (held_until <= ?3 OR held_until > ?4) \
              RETURNING id, scope, account, request, state, held_until, body, created_at, ended_at",
        parameters: vec![text(id), integer(until), integer(now), integer(latest)],
    };
    rows(platform, take).await?.pop().map(video).transpose()
}

/// Writes what has become of a job, if it is still held until `held`. Returns whether it is.
pub async fn write(
    platform: &impl Storage,
    id: &str,
    held: UnixMillis,
    change: Change<'_>,
) -> Result<bool, DatabaseError> {
    let Change { state, held_until, body, ended_at } = change;
    let write = Statement {
        sql: "UPDATE videos SET state = ?3, held_until = ?4, body = ?5, ended_at = ?6 WHERE id = ?1 AND held_until = ?2 \
              RETURNING id",
        parameters: vec![text(id), integer(held), text(state), integer(held_until), text(body), integer(ended_at)],
    };
    Ok(!rows(platform, write).await?.is_empty())
}

/// Removes a job. Returns whether it was there.
pub async fn remove(platform: &impl Storage, scope: &str, id: &str) -> Result<bool, DatabaseError> {
    let remove = Statement {
        sql: "DELETE FROM videos WHERE id = ?1 AND scope = ?2 AND state != 'refused' RETURNING id",
        parameters: vec![text(id), text(scope)],
    };
    Ok(!rows(platform, remove).await?.is_empty())
}

/// Removes at most `limit` jobs that ended before `before`, or were refused before `refused_before`, or were begun before `before`
/// and never ended.
pub async fn expire(
    platform: &impl Storage,
    (before, refused_before): (UnixMillis, UnixMillis),
    limit: u32,
) -> Result<(), DatabaseError> {
    // A read first: a locked database would hold up each write, and there is seldom anything to remove.
    let any = Statement {
        sql: "SELECT EXISTS (SELECT 1 FROM videos WHERE ended_at < ?1 AND created_at < ?1) \
              OR EXISTS (SELECT 1 FROM videos WHERE ended_at > 0 AND ended_at < ?2 AND state = 'refused') AS found",
        parameters: vec![integer(before), integer(refused_before)],
    };
    if !exists(platform, any).await? {
        return Ok(());
    }
    let remove = Statement {
        sql: "DELETE FROM videos WHERE id IN (SELECT id FROM videos WHERE ended_at < ?1 AND created_at < ?1 \
              UNION ALL SELECT id FROM videos WHERE ended_at > 0 AND ended_at < ?2 AND state = 'refused' LIMIT ?3)",
        parameters: vec![integer(before), integer(refused_before), integer(limit)],
    };
    run(platform, vec![remove]).await.map(drop)
}
