//! Files of a turn: uploaded to the site's storage with credentials for that one file, parsed, and named in the message.

mod entry;
mod links;
mod parts;
mod upload_credentials;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::stream;
use http::Method;
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

pub use entry::{File, FileEntry};
use links::{LINK_MARGIN, link_end};
use parts::{Parts, hex};

use super::{client::Client, wire};
use crate::{
    error::{Error, ErrorKind, Result},
    media_type::{self, MediaKind, MediaType},
    oss::{Failure, MultipartError, Object},
    platform::BoxStream,
    upstream::{Host, Owner, Upload},
};

/// How often the site is asked whether it has parsed a document.
const PARSE_POLL_INTERVAL: Duration = Duration::from_millis(500);
const MAX_PARSE_POLLS: u32 = 60;
/// The longest file name that is passed on, in bytes. Longer ones lose their middle.
const MAX_NAME: usize = 180;

/// A file on its way to the site's storage.
pub struct NewFile {
    /// Its name, as the sender has it; may be a path.
    pub name: String,
    /// Its media type, as the sender declares it.
    pub declared: Option<String>,
    /// The only kind that is accepted.
    pub expected: Option<MediaKind>,
    /// Its length in bytes, if known before the content arrives.
    pub length: Option<u64>,
    /// SHA-256 of the content in hex, if known before the content arrives.
    pub hash: Option<String>,
    /// The field of the request to name in errors.
    pub param: String,
    /// The content.
    pub body: BoxStream<Result<Bytes>>,
}

impl NewFile {
    /// A file that is in memory.
    #[must_use]
    pub fn whole(name: String, declared: Option<String>, content: Bytes, param: String) -> Self {
        let length = Some(content.len() as u64);
        Self { name, declared, expected: None, length, hash: None, param, body: Box::pin(stream::iter([Ok(content)])) }
    }
}

fn storage_error(failure: &Failure) -> Error {
    let kind = if failure.is_timeout { ErrorKind::UpstreamTimeout } else { ErrorKind::UpstreamError };
    let message = match failure.status {
        Some(status) => {
            format!("The storage of chat.qwen.ai refused the file with status {status}. Send the request again.")
        }
        None => "The storage of chat.qwen.ai did not take the file. Send the request again.".to_owned(),
    };
    Error::new(kind, message).with_detail(failure.to_string()).retryable()
}

/// SHA-256 in hex.
#[must_use]
pub fn content_hash(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

/// The name alone, as the site takes it: of a path the last part, without control characters, not too long.
#[must_use]
pub fn plain_name(name: &str) -> String {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = name.chars().filter(|character| !character.is_control()).collect();
    let name = name.trim().trim_matches('"').trim();
    if name.is_empty() || name.chars().all(|character| character == '.') {
        return "file".to_owned();
    }
    if name.len() <= MAX_NAME {
        return name.to_owned();
    }
    let extension = name.rsplit_once('.').map(|(_, extension)| extension).filter(|extension| extension.len() <= 16);
    let mut short = String::new();
    for character in name.chars() {
        if short.len().saturating_add(character.len_utf8()) > MAX_NAME.saturating_sub(20) {
            break;
        }
        short.push(character);
    }
    extension.map_or_else(|| short.clone(), |extension| format!("{short}.{extension}"))
}

impl Client {
    /// Uploads a file, or finds it uploaded already in this scope; has a document parsed.
    ///
    /// # Errors
    /// `unsupported_file_type`, `request_too_large`, what the body fails with, any refusal of the site or its storage.
    pub async fn upload<P: Host>(&self, platform: &P, owner: &Owner, new: NewFile) -> Result<File> {
        let scope = owner.scope.as_str();
        let NewFile { name, declared, expected, length, hash, param, body } = new;
        let name = plain_name(&name);
        let mut parts = Parts::new(body, length);
        let first = parts.first().await?;
        if first.is_empty() {
            return Err(Error::invalid(param, format!("The file '{name}' is empty.")));
        }
        let found = media_type::detect(&first, declared.as_deref(), &name);
        let found = found.filter(|found| expected.is_none_or(|expected| expected == found.kind));
        let MediaType { kind, content_type } = found.ok_or_else(|| unsupported(&name, expected, &first, &param))?;
        parts.limit(if kind == MediaKind::Image { self.max_image } else { self.max_file }, &name, &param)?;
        let whole = parts.is_whole(&first);
        let known = if whole { Some(parts.hash()) } else { hash };
        if let Some(hash) = known
            && let Some(upload) = self.earlier(platform, scope, &hash).await
        {
            let size = if whole { Some(first.len() as u64) } else { length };
            return Ok(File {
                upload,
                hash,
                name,
                size: size.unwrap_or(0),
                kind,
                content_type: content_type.to_owned(),
            });
        }
        let size = if whole { first.len() as u64 } else { length.unwrap_or(0).max(first.len() as u64) };
        let credentials = self.upload_credentials(platform, owner, &name, size, kind).await?;
        let object =
            Arc::new(credentials.object(self.oss_url.as_deref(), self.http.idle(), self.http.clock().ahead())?);
        let earlier = match (whole, kind) {
            (true, MediaKind::Video) | (false, _) => {
                // The parts return it again, and reuse its memory.
                drop(first);
                self.put_parts(platform, scope, &object, content_type, &mut parts).await?
            }
            (true, MediaKind::Image) => {
                let form = object.post_form(platform, content_type, first.clone().into()).await;
                or_else(form, object.put(platform, content_type, first.into())).await?;
                None
            }
            (true, MediaKind::Audio | MediaKind::Document) => {
                let put = object.put(platform, content_type, first.clone().into()).await;
                or_else(put, object.post_form(platform, content_type, first.into())).await?;
                None
            }
        };
        let (hash, size) = (parts.hash(), parts.size());
        let content_type = content_type.to_owned();
        if let Some(upload) = earlier {
            return Ok(File { upload, hash, name, size, kind, content_type });
        }
        if kind == MediaKind::Document {
            self.parse(platform, owner, &credentials.file_id).await?;
        }
        let owner = credentials.file_path.split('/').next().unwrap_or_default().to_owned();
        let expires_at = link_end(&credentials.file_url, platform.now());
        let upload = Upload { id: credentials.file_id, owner, url: credentials.file_url, expires_at };
        let remembered = platform.remember_upload(scope, &hash, &upload).await;
        self.store_health.ok_or_log("remembering an upload", remembered);
        Ok(File { upload, hash, name, size, kind, content_type })
    }

    /// Uploads in parts. If that fails and the bytes are still buffered, uploads them as one form. Returns the earlier upload of
    /// the same bytes if there turns out to be one: then this upload is aborted.
    async fn put_parts<P: Host>(
        &self,
        platform: &P,
        scope: &str,
        object: &Arc<Object>,
        content_type: &str,
        parts: &mut Parts,
    ) -> Result<Option<Upload>> {
        let done = match object.put_parts(platform, content_type, &mut *parts).await {
            Ok(sent) => {
                if let Some(upload) = self.earlier(platform, scope, &parts.hash()).await {
                    return Ok(Some(upload));
                }
                sent.complete().await
            }
            Err(MultipartError::Source(error)) => return Err(error),
            Err(MultipartError::Storage(failure)) => Err(failure),
        };
        let Err(failure) = done else { return Ok(None) };
        let Some(all) = parts.buffered_content().await? else { return Err(storage_error(&failure)) };
        tracing::warn!(%failure, "an upload in parts failed; trying a form");
        object.post_form(platform, content_type, all).await.map_err(|failure| storage_error(&failure))?;
        Ok(None)
    }

    /// An earlier upload of these bytes in this scope whose link still lives.
    async fn earlier(&self, platform: &impl Host, scope: &str, hash: &str) -> Option<Upload> {
        let alive_at = platform.now().saturating_add(LINK_MARGIN);
        let found = platform.find_upload(scope, hash, alive_at).await;
        self.store_health.ok_or_log("finding an earlier upload", found).flatten()
    }

    /// Has a document parsed and waits for it.
    async fn parse(&self, platform: &impl Host, owner: &Owner, file_id: &str) -> Result<()> {
        self.ask(platform, Some(owner), wire::PARSE, &json!({ "file_id": file_id })).await?;
        for _ in 0..MAX_PARSE_POLLS {
            let answer =
                self.ask(platform, Some(owner), wire::PARSE_STATUS, &json!({ "file_id_list": [file_id] })).await?;
            match answer.pointer("/0/status").and_then(Json::as_str) {
                Some("success") => return Ok(()),
                Some("failed") => {
                    return Err(Error::new(
                        ErrorKind::UpstreamRejected,
                        "chat.qwen.ai could not read the uploaded document. Send it in another format, or shorten it.",
                    ));
                }
                _ => platform.sleep(PARSE_POLL_INTERVAL).await,
            }
        }
        Err(Error::new(
            ErrorKind::UpstreamTimeout,
            "chat.qwen.ai took too long to read the uploaded document. Send the request again.",
        ))
    }

    /// Posts JSON and returns the `data` of a good answer.
    pub(super) async fn ask(
        &self,
        platform: &impl Host,
        owner: Option<&Owner>,
        path: &str,
        body: &Json,
    ) -> Result<Json> {
        self.ask_whole(platform, owner, path, body).await.map(data_of)
    }

    /// Posts JSON and returns a successful answer as it is.
    pub(super) async fn ask_whole(
        &self,
        platform: &impl Host,
        owner: Option<&Owner>,
        path: &str,
        body: &Json,
    ) -> Result<Json> {
        let body = Bytes::from(body.to_string());
        retry_after_refresh!(self, platform, owner, used, {
            let (head, body) = self.request(platform, &used, Method::POST, path, body.clone()).await?;
            let json = crate::json::from_bytes::<Json>(&body).ok().filter(Json::is_object);
            match json {
                Some(json) if head.status.is_success() && is_success(&json) => {
                    self.session.accepted(platform, &used);
                    Ok(json)
                }
                _ => Err(self.refused(platform, &used, &head, &body)),
            }
        })
    }
}

/// Whether an answer reports success. The site's firewall answers with status 200 as well, and a `ret`.
fn is_success(answer: &Json) -> bool {
    match answer.get("success") {
        Some(success) => *success == Json::Bool(true),
        None => answer.get("ret").is_none() && answer.get("error").is_none(),
    }
}

/// The `data` of an answer, or all of it where the site does not wrap it.
pub(super) fn data_of(mut answer: Json) -> Json {
    answer.get_mut("data").map(Json::take).unwrap_or(answer)
}

/// The second way to put a file into the storage, where the first failed.
async fn or_else(
    first: std::result::Result<(), Failure>,
    second: impl Future<Output = std::result::Result<(), Failure>>,
) -> Result<()> {
    let Err(failure) = first else { return Ok(()) };
    tracing::warn!(%failure, "an upload failed; trying another way");
    second.await.map_err(|failure| storage_error(&failure))
}

fn unsupported(name: &str, expected: Option<MediaKind>, head: &[u8], param: &str) -> Error {
    let message = match (expected, media_type::detect(head, None, name)) {
        (Some(expected), Some(found)) => format!(
            "The file '{name}' is {} ({}), but {expected} is wanted here: {}.",
            found.kind,
            found.content_type,
            expected.formats()
        ),
        (Some(expected), None) => {
            format!("The file '{name}' is not {expected} of a known format: {}.", expected.formats())
        }
        (None, _) => format!(
            "The file '{name}' is of no supported format. Images: {}. Videos: {}. Audio: {}. Documents: {}.",
            MediaKind::Image.formats(),
            MediaKind::Video.formats(),
            MediaKind::Audio.formats(),
            MediaKind::Document.formats()
        ),
    };
    Error::new(ErrorKind::UnsupportedFileType, message).with_param(param)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalized() {
        let long = format!("{}.jpeg", "\u{4e2d}".repeat(200));
        for (name, expected) in [
            ("a.png", "a.png"),
            ("C:\\Users\\Your Name\\photo.jpg", "photo.jpg"),
            ("C:\\\\Users\\\\x\\\\photo.jpg", "photo.jpg"),
            ("/tmp/../x y.txt", "x y.txt"),
            ("\"quoted.png\"", "quoted.png"),
            ("a\r\nb\0.txt", "ab.txt"),
            ("", "file"),
            ("..", "file"),
            ("x/", "file"),
            ("\u{4e2d}\u{6587}.png", "\u{4e2d}\u{6587}.png"),
        ] {
            assert_eq!(plain_name(name), expected);
        }
        let short = plain_name(&long);
        assert!(short.len() <= MAX_NAME && short.ends_with(".jpeg"), "{short}");
    }
}
