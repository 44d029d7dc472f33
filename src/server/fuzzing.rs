//! A door for the fuzz targets to what is otherwise private.

use bytes::Bytes;
use futures::{StreamExt as _, stream};

use super::form::Form;
use crate::error::Result;

/// One field of a form as it was read: name, file name, content.
pub type Field = (String, Option<String>, Vec<u8>);

/// Reads a whole form that comes in these pieces; its file may have up to `limit` bytes.
///
/// # Errors
/// Those that a client gets.
pub async fn form(content_type: &str, pieces: Vec<Bytes>, limit: u64) -> Result<Vec<Field>> {
    let body = Box::pin(stream::iter(pieces.into_iter().map(Ok)));
    let mut form = Form::read(content_type, None, body, limit)?;
    let mut fields = Vec::new();
    while let Some(field) = form.next().await? {
        let (name, file_name) = (field.name.clone(), field.file_name.clone());
        let mut content = Vec::new();
        let mut pieces = field.content();
        while let Some(piece) = pieces.next().await {
            content.extend_from_slice(&piece?);
        }
        fields.push((name, file_name, content));
    }
    Ok(fields)
}
