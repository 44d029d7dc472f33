//! Conversion of files between the upstream's type and the table's, in both directions.

use crate::{
    media_type::MediaKind,
    store::files as table,
    unix_time::UnixMillis,
    upstream::{File, Upload},
};

/// The row of a file that a client keeps.
#[must_use]
pub fn to_row(file: File, purpose: String, created_at: UnixMillis) -> table::File {
    let File { upload, hash, name, size, kind, content_type } = file;
    let Upload { id, owner, url, expires_at } = upload;
    let upload = table::Upload { id, owner, url, expires_at };
    table::File { upload, hash, name, size, kind: kind.as_str().to_owned(), content_type, purpose, created_at }
}

/// The file of a row.
#[must_use]
pub fn from_row(row: table::File) -> File {
    let table::File { upload, hash, name, size, kind, content_type, purpose: _, created_at: _ } = row;
    let table::Upload { id, owner, url, expires_at } = upload;
    let kind = MediaKind::from_word(&kind).unwrap_or(MediaKind::Document);
    File { upload: Upload { id, owner, url, expires_at }, hash, name, size, kind, content_type }
}
