//! Uploaded files: what to reuse, and what clients keep for later.

use super::{Storage, columns, integer, moment, rows, run, text, unexpected_row, unsigned};
use crate::platform::{DatabaseError, Row, Statement, Value};
use crate::unix_time::UnixMillis;

/// An upload at the site's storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The site's id of the file.
    pub id: String,
    /// The site's id of the user.
    pub owner: String,
    /// The link to it.
    pub url: String,
    /// When the link ends.
    pub expires_at: UnixMillis,
}

/// A file that a client keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Where it is.
    pub upload: Upload,
    /// SHA-256 of its content, in hex.
    pub hash: String,
    /// Its file name.
    pub name: String,
    /// The length of its content, in bytes.
    pub size: u64,
    /// `image`, `video`, `audio` or `file`.
    pub kind: String,
    /// Its media type.
    pub content_type: String,
    /// What the client wants it for.
    pub purpose: String,
    /// When the client uploaded it.
    pub created_at: UnixMillis,
}

/// Finds the upload of these bytes in this scope, if its link lives until after `alive_at`.
pub async fn uploaded(
    platform: &impl Storage,
    scope: &str,
    hash: &str,
    alive_at: UnixMillis,
) -> Result<Option<Upload>, DatabaseError> {
    let read = Statement {
        sql: "SELECT id, owner, url, expires_at FROM uploads WHERE scope = ?1 AND hash = ?2 AND expires_at > ?3",
        parameters: vec![text(scope), text(hash), integer(alive_at)],
    };
    let Some(row) = rows(platform, read).await?.pop() else { return Ok(None) };
    match columns("uploads", row)? {
        [Value::Text(id), Value::Text(owner), Value::Text(url), Value::Integer(end)] => {
            Ok(Some(Upload { id, owner, url, expires_at: moment(end) }))
        }
        _ => Err(unexpected_row("uploads")),
    }
}

/// Remembers an upload.
pub async fn remember(platform: &impl Storage, scope: &str, hash: &str, upload: &Upload) -> Result<(), DatabaseError> {
    let Upload { id, owner, url, expires_at } = upload;
    let write = Statement {
        sql: "INSERT INTO uploads (scope, hash, id, owner, url, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
              ON CONFLICT (scope, hash) DO UPDATE SET id = excluded.id, owner = excluded.owner, url = excluded.url, \
              expires_at = excluded.expires_at",
        parameters: vec![text(scope), text(hash), text(id), text(owner), text(url), integer(*expires_at)],
    };
    run(platform, vec![write]).await.map(drop)
}

/// Removes the uploads whose links have ended.
pub async fn expire_uploads(platform: &impl Storage, now: UnixMillis) -> Result<(), DatabaseError> {
    let delete = Statement { sql: "DELETE FROM uploads WHERE expires_at <= ?1", parameters: vec![integer(now)] };
    run(platform, vec![delete]).await.map(drop)
}

/// Removes the files that were kept before `before` among the next `limit` after the one at `after`, a scope and an id. Returns
/// where to continue, or `None` at the end.
pub async fn expire_files(
    platform: &impl Storage,
    after: (&str, &str),
    before: UnixMillis,
    limit: u32,
) -> Result<Option<(String, String)>, DatabaseError> {
    let read = Statement {
        sql: "SELECT scope, id FROM (SELECT scope, id FROM files WHERE (scope, id) > (?1, ?2) ORDER BY scope, id LIMIT ?3) \
              ORDER BY scope DESC, id DESC LIMIT 1",
        parameters: vec![text(after.0), text(after.1), Value::Integer(limit.into())],
    };
    let Some(last) = rows(platform, read).await?.pop() else { return Ok(None) };
    let [Value::Text(scope), Value::Text(id)] = columns("files", last)? else { return Err(unexpected_row("files")) };
    let delete = Statement {
        sql: "DELETE FROM files WHERE (scope, id) > (?1, ?2) AND (scope, id) <= (?3, ?4) AND created_at < ?5",
        parameters: vec![text(after.0), text(after.1), text(&scope), text(&id), integer(before)],
    };
    run(platform, vec![delete]).await?;
    Ok(Some((scope, id)))
}

fn file(row: Row) -> Result<File, DatabaseError> {
    match columns("files", row)? {
        [
            Value::Text(id),
            Value::Text(owner),
            Value::Text(hash),
            Value::Text(name),
            Value::Integer(size),
            Value::Text(kind),
            Value::Text(content_type),
            Value::Text(purpose),
            Value::Text(url),
            Value::Integer(expires_at),
            Value::Integer(created_at),
        ] => Ok(File {
            upload: Upload { id, owner, url, expires_at: moment(expires_at) },
            hash,
            name,
            size: unsigned(size),
            kind,
            content_type,
            purpose,
            created_at: moment(created_at),
        }),
        _ => Err(unexpected_row("files")),
    }
}

/// Keeps a file.
pub async fn keep(platform: &impl Storage, scope: &str, file: &File) -> Result<(), DatabaseError> {
    let File {
        upload: Upload { id, owner, url, expires_at },
        hash,
        name,
        size,
        kind,
        content_type,
        purpose,
        created_at,
    } = file;
    let write = Statement {
        sql: "INSERT INTO files (scope, id, owner, hash, name, size, kind, content_type, purpose, url, expires_at, created_at) \
              VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) \
              ON CONFLICT (scope, id) DO UPDATE SET name = excluded.name, purpose = excluded.purpose, \
              kind = excluded.kind, content_type = excluded.content_type, url = excluded.url, \
              expires_at = excluded.expires_at, created_at = excluded.created_at",
        parameters: vec![
            text(scope),
            text(id),
            text(owner),
            text(hash),
            text(name),
            integer(*size),
            text(kind),
            text(content_type),
            text(purpose),
            text(url),
            integer(*expires_at),
            integer(*created_at),
        ],
    };
    run(platform, vec![write]).await.map(drop)
}

/// Finds a file of a scope.
pub async fn find(platform: &impl Storage, scope: &str, id: &str) -> Result<Option<File>, DatabaseError> {
    let read = Statement {
        sql: "SELECT id, owner, hash, name, size, kind, content_type, purpose, url, expires_at, created_at FROM files \
              WHERE scope = ?1 AND id = ?2",
        parameters: vec![text(scope), text(id)],
    };
    rows(platform, read).await?.pop().map(file).transpose()
}

/// The files of a scope after the file `after` (empty: from the start), newest first unless `is_ascending`.
pub async fn list(
    platform: &impl Storage,
    scope: &str,
    after: &str,
    is_ascending: bool,
    limit: u32,
) -> Result<Vec<File>, DatabaseError> {
    let sql = if is_ascending {
        "SELECT id, owner, hash, name, size, kind, content_type, purpose, url, expires_at, created_at FROM files \
         WHERE scope = ?1 AND (?2 = '' OR (created_at, id) > \
         (SELECT a.created_at, a.id FROM files a WHERE a.scope = ?1 AND a.id = ?2)) \
         ORDER BY created_at, id LIMIT ?3"
    } else {
        "SELECT id, owner, hash, name, size, kind, content_type, purpose, url, expires_at, created_at FROM files \
         WHERE scope = ?1 AND (?2 = '' OR (created_at, id) < \
         (SELECT a.created_at, a.id FROM files a WHERE a.scope = ?1 AND a.id = ?2)) \
         ORDER BY created_at DESC, id DESC LIMIT ?3"
    };
    let read = Statement { sql, parameters: vec![text(scope), text(after), Value::Integer(limit.into())] };
    rows(platform, read).await?.into_iter().map(file).collect()
}

/// Replaces the link to a file.
pub async fn refresh_url(platform: &impl Storage, scope: &str, upload: &Upload) -> Result<(), DatabaseError> {
    let write = Statement {
        sql: "UPDATE files SET url = ?3, expires_at = ?4 WHERE scope = ?1 AND id = ?2",
        parameters: vec![text(scope), text(&upload.id), text(&upload.url), integer(upload.expires_at)],
    };
    run(platform, vec![write]).await.map(drop)
}

/// Removes a file, and the record that its bytes were uploaded.
pub async fn remove(platform: &impl Storage, scope: &str, file: &File) -> Result<(), DatabaseError> {
    let forget = Statement {
        sql: "DELETE FROM files WHERE scope = ?1 AND id = ?2",
        parameters: vec![text(scope), text(&file.upload.id)],
    };
    let upload = Statement {
        sql: "DELETE FROM uploads WHERE scope = ?1 AND hash = ?2 AND id = ?3",
        parameters: vec![text(scope), text(&file.hash), text(&file.upload.id)],
    };
    run(platform, vec![forget, upload]).await.map(drop)
}
