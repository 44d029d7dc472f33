//! Uploaded files: what to reuse, and what clients keep for later.

use super::{Storage, integer, moment, rows, run, text, unsigned};
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
    /// When the link ends, in milliseconds since 1970.
    pub expires_at: UnixMillis,
}

/// A file that a client keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Where it is.
    pub upload: Upload,
    /// SHA-256 of its content, in hex.
    pub hash: String,
    /// Its name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// `image`, `video`, `audio` or `file`.
    pub kind: String,
    /// Its media type.
    pub content_type: String,
    /// What the client wants it for.
    pub purpose: String,
    /// Milliseconds since 1970.
    pub created_at: UnixMillis,
}

/// The upload of these very bytes in this scope whose link lives until `alive_at` at least.
///
/// # Errors
/// The database's own words.
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
    Ok(rows(platform, read).await?.pop().and_then(|row| match <[Value; 4]>::try_from(row) {
        Ok([Value::Text(id), Value::Text(owner), Value::Text(url), Value::Integer(end)]) => {
            Some(Upload { id, owner, url, expires_at: moment(end) })
        }
        _ => None,
    }))
}

/// Remembers an upload.
///
/// # Errors
/// The database's own words.
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
///
/// # Errors
/// The database's own words.
pub async fn expire_uploads(platform: &impl Storage, now: UnixMillis) -> Result<(), DatabaseError> {
    let delete = Statement { sql: "DELETE FROM uploads WHERE expires_at <= ?1", parameters: vec![integer(now)] };
    run(platform, vec![delete]).await.map(drop)
}

/// Removes the files that were kept before `before` among the next `limit` behind the one at `after`, a scope and an id. Gives
/// where to go on, or nothing at the end.
///
/// # Errors
/// The database's own words.
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
    let last = rows(platform, read).await?.pop().map(<[Value; 2]>::try_from);
    let Some(Ok([Value::Text(scope), Value::Text(id)])) = last else { return Ok(None) };
    let delete = Statement {
        sql: "DELETE FROM files WHERE (scope, id) > (?1, ?2) AND (scope, id) <= (?3, ?4) AND created_at < ?5",
        parameters: vec![text(after.0), text(after.1), text(&scope), text(&id), integer(before)],
    };
    run(platform, vec![delete]).await?;
    Ok(Some((scope, id)))
}

const COLUMNS_OF_FILES: usize = 11;

fn file(row: Row) -> Option<File> {
    match <[Value; COLUMNS_OF_FILES]>::try_from(row) {
        Ok(
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
            ],
        ) => Some(File {
            upload: Upload { id, owner, url, expires_at: moment(expires_at) },
            hash,
            name,
            size: unsigned(size),
            kind,
            content_type,
            purpose,
            created_at: moment(created_at),
        }),
        _ => None,
    }
}

/// Keeps a file.
///
/// # Errors
/// The database's own words.
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

/// One file of a scope.
///
/// # Errors
/// The database's own words.
pub async fn find(platform: &impl Storage, scope: &str, id: &str) -> Result<Option<File>, DatabaseError> {
    let read = Statement {
        sql: "SELECT id, owner, hash, name, size, kind, content_type, purpose, url, expires_at, created_at FROM files \
              WHERE scope = ?1 AND id = ?2",
        parameters: vec![text(scope), text(id)],
    };
    Ok(rows(platform, read).await?.pop().and_then(file))
}

/// The files of a scope, newest first unless `is_ascending`, behind the file `after` (empty: from the start).
///
/// # Errors
/// The database's own words.
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
    Ok(rows(platform, read).await?.into_iter().filter_map(file).collect())
}

/// Notes a new link to a file.
///
/// # Errors
/// The database's own words.
pub async fn refresh_url(platform: &impl Storage, scope: &str, upload: &Upload) -> Result<(), DatabaseError> {
    let write = Statement {
        sql: "UPDATE files SET url = ?3, expires_at = ?4 WHERE scope = ?1 AND id = ?2",
        parameters: vec![text(scope), text(&upload.id), text(&upload.url), integer(upload.expires_at)],
    };
    run(platform, vec![write]).await.map(drop)
}

/// Forgets a file, and that its bytes were uploaded.
///
/// # Errors
/// The database's own words.
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
