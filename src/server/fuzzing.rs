//! Private functions that the fuzz targets call.

use bytes::Bytes;
use futures::{StreamExt as _, stream};

use super::form::Form;
use crate::error::Result;

/// One field of a form: name, file name, content.
pub type Field = (String, Option<String>, Vec<u8>);

/// Reads a whole form from these chunks. Its file may have up to `limit` bytes.
///
/// # Errors
/// The errors that a client receives.
pub async fn form(content_type: &str, chunks: Vec<Bytes>, limit: u64) -> Result<Vec<Field>> {
    let body = Box::pin(stream::iter(chunks.into_iter().map(Ok)));
    let mut form = Form::read(content_type, None, body, limit)?;
    let mut fields = Vec::new();
    while let Some(field) = form.next().await? {
        let (name, file_name) = (field.name.clone(), field.file_name.clone());
        let mut content = Vec::new();
        let mut chunks = field.content();
        while let Some(chunk) = chunks.next().await {
            content.extend_from_slice(&chunk?);
        }
        fields.push((name, file_name, content));
    }
    Ok(fields)
}
