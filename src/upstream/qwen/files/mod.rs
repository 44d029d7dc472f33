//! Files of a turn: uploaded to the site's storage with a credential for that one file, parsed, and named in the message.

mod entry;
mod parts;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::stream;
use http::Method;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};
use url::Url;

pub use entry::{File, FileEntry};
use entry::{OWN_HOSTS, is_own_bucket, name_in};
use parts::{Parts, hex};

use super::{client::Client, ids, wire};
use crate::{
    error::{Error, ErrorKind, Result},
    media_type::{self, MediaKind, MediaType},
    oss::{Credentials, Failure, MultipartError, Object},
    platform::BoxStream,
    secret::Secret,
    unix_time::UnixMillis,
    upstream::{Host, Owner, Upload},
};

/// How long parsing may take, and how often it is asked for.
const PARSE_POLLS: u32 = 60;
const PARSE_PAUSE: Duration = Duration::from_millis(500);
/// How long a link lives if it does not say.
const LINK_LIFE: Duration = Duration::from_secs(300);
/// A link is not used again in its last moments.
const LINK_MARGIN: Duration = Duration::from_secs(20);
/// The longest name of a file that is passed on, in bytes; longer ones lose their middle.
const MAX_NAME: usize = 180;

/// A file on its way to the site's storage.
pub struct NewFile {
    /// Its name, as the sender has it; may be a path.
    pub name: String,
    /// Its media type, as the sender declares it.
    pub declared: Option<String>,
    /// The only kind that will do.
    pub expected: Option<MediaKind>,
    /// How many bytes it has, as far as that is known before they come.
    pub length: Option<u64>,
    /// SHA-256 of the content in hex, if that is known before.
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

/// The answer of `getstsToken`: where to put one file, and with what.
#[derive(Deserialize)]
struct UploadCredentials {
    access_key_id: String,
    access_key_secret: String,
    security_token: String,
    file_url: String,
    file_path: String,
    file_id: String,
    bucketname: String,
    region: String,
    endpoint: String,
}

impl UploadCredentials {
    /// The object's place. Host names only, so that an answer cannot lead elsewhere.
    fn place(&self, own: Option<&str>, patience: Duration, clock_ahead: i64) -> Result<Object> {
        let host = format!("{}.{}", self.bucketname, self.endpoint);
        let sane = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.');
        let origin = match own {
            Some(own) => own.to_owned(),
            None if sane => format!("https://{host}"),
            None => return Err(odd("the request for a place for a file")),
        };
        Ok(Object {
            origin,
            bucket: self.bucketname.clone(),
            key: self.file_path.clone(),
            region: self.region.strip_prefix("oss-").unwrap_or(&self.region).to_owned(),
            credentials: Credentials {
                access_key_id: self.access_key_id.clone(),
                access_key_secret: Secret::new(self.access_key_secret.clone()),
            },
            security_token: Secret::new(self.security_token.clone()),
            patience,
            clock_ahead,
        })
    }
}

fn odd(what: &str) -> Error {
    Error::new(ErrorKind::UpstreamInvalid, format!("chat.qwen.ai answered oddly to {what}. Send the request again."))
        .retryable()
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
        let credentials = self.credentials(platform, owner, &name, size, kind).await?;
        let place =
            Arc::new(credentials.place(self.oss_url.as_deref(), self.http.idle(), self.http.clock().ahead())?);
        let earlier = match (whole, kind) {
            (true, MediaKind::Video) | (false, _) => {
                // The parts give it again, and use its memory again.
                drop(first);
                self.put_parts(platform, scope, &place, content_type, &mut parts).await?
            }
            (true, MediaKind::Image) => {
                let form = place.post_form(platform, content_type, first.clone().into()).await;
                or_else(form, place.put(platform, content_type, first.into())).await?;
                None
            }
            (true, MediaKind::Audio | MediaKind::Document) => {
                let put = place.put(platform, content_type, first.clone().into()).await;
                or_else(put, place.post_form(platform, content_type, first.into())).await?;
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

    /// Uploads in parts; where that fails and the bytes are still at hand, in one form. Gives the earlier upload of the same
    /// bytes, if it turns out at the end that there is one: then this one is given up.
    async fn put_parts<P: Host>(
        &self,
        platform: &P,
        scope: &str,
        place: &Arc<Object>,
        content_type: &str,
        parts: &mut Parts,
    ) -> Result<Option<Upload>> {
        let done = match place.put_parts(platform, content_type, &mut *parts).await {
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
        let Some(all) = parts.current_list().await? else { return Err(storage_error(&failure)) };
        tracing::warn!(%failure, "an upload in parts failed; trying a form");
        place.post_form(platform, content_type, all).await.map_err(|failure| storage_error(&failure))?;
        Ok(None)
    }

    /// An earlier upload of these bytes in this scope whose link still lives.
    async fn earlier(&self, platform: &impl Host, scope: &str, hash: &str) -> Option<Upload> {
        let alive_at = platform.now().saturating_add(LINK_MARGIN);
        let found = platform.find_upload(scope, hash, alive_at).await;
        self.store_health.ok_or_log("finding an earlier upload", found).flatten()
    }

    /// A link to a file that lives: the one at hand, or a new one. A dead one if the site gives none, as it takes those too.
    pub async fn refresh_url(&self, platform: &impl Host, owner: &Owner, upload: Upload) -> Upload {
        if upload.expires_at > platform.now().saturating_add(LINK_MARGIN) {
            return upload;
        }
        match self.ask(platform, Some(owner), wire::FILE_LINK, &json!({ "file_id": upload.id })).await {
            Ok(answer) => {
                let url = ["file_url", "fileUrl"].iter().find_map(|name| answer.get(*name)?.as_str());
                match url.filter(|url| !url.is_empty()) {
                    Some(url) => Upload { expires_at: link_end(url, platform.now()), url: url.to_owned(), ..upload },
                    None => upload,
                }
            }
            Err(error) => {
                tracing::warn!(%error, "no new link to a file");
                upload
            }
        }
    }

    /// The site's own answer to a request for a place for a file.
    ///
    /// # Errors
    /// Any refusal of the site.
    pub async fn sts_token(
        &self,
        platform: &impl Host,
        owner: Option<&Owner>,
        name: &str,
        size: u64,
        kind: &str,
    ) -> Result<Json> {
        let body = json!({ "filename": name, "filesize": size, "filetype": kind });
        let answer = self.ask_whole(platform, owner, wire::STS_TOKEN, &body).await?;
        let is_token = answer.pointer("/data/access_key_id").or_else(|| answer.get("access_key_id")).is_some();
        if is_token { Ok(answer) } else { Err(odd("the request for a place for a file")) }
    }

    /// Asks for a place in the storage.
    async fn credentials(
        &self,
        platform: &impl Host,
        owner: &Owner,
        name: &str,
        size: u64,
        kind: MediaKind,
    ) -> Result<UploadCredentials> {
        let answer = data_of(self.sts_token(platform, Some(owner), name, size, kind.as_str()).await?);
        serde_json::from_value(answer).map_err(|_| odd("the request for a place for a file"))
    }

    /// Has a document parsed and waits for it.
    async fn parse(&self, platform: &impl Host, owner: &Owner, file_id: &str) -> Result<()> {
        self.ask(platform, Some(owner), wire::PARSE, &json!({ "file_id": file_id })).await?;
        for _ in 0..PARSE_POLLS {
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
                _ => platform.sleep(PARSE_PAUSE).await,
            }
        }
        Err(Error::new(
            ErrorKind::UpstreamTimeout,
            "chat.qwen.ai took too long to read the uploaded document. Send the request again.",
        ))
    }

    /// Posts JSON and gives the `data` of a good answer.
    async fn ask(&self, platform: &impl Host, owner: Option<&Owner>, path: &str, body: &Json) -> Result<Json> {
        self.ask_whole(platform, owner, path, body).await.map(data_of)
    }

    /// Posts JSON and gives a good answer as it is.
    async fn ask_whole(&self, platform: &impl Host, owner: Option<&Owner>, path: &str, body: &Json) -> Result<Json> {
        let body = Bytes::from(body.to_string());
        retry_after_refresh!(self, platform, owner, used, {
            let (head, body) = self.request(platform, &used, Method::POST, path, body.clone()).await?;
            let json = crate::json::from_bytes::<Json>(&body).ok().filter(Json::is_object);
            match json {
                Some(json) if head.status.is_success() && is_good(&json) => {
                    self.session.accepted(platform, &used);
                    Ok(json)
                }
                _ => Err(self.refused(platform, &used, &head, &body)),
            }
        })
    }
}

/// Whether an answer says that all went well. The site's firewall answers with status 200 as well, and a `ret`.
fn is_good(answer: &Json) -> bool {
    match answer.get("success") {
        Some(success) => *success == Json::Bool(true),
        None => answer.get("ret").is_none() && answer.get("error").is_none(),
    }
}

/// The `data` of an answer, or all of it where the site does not wrap it.
fn data_of(mut answer: Json) -> Json {
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

/// When a link ends, in milliseconds since 1970.
fn link_end(url: &str, now: UnixMillis) -> UnixMillis {
    let seconds = url
        .split_once("x-oss-expires=")
        .and_then(|(_, rest)| rest.split(|character: char| !character.is_ascii_digit()).next())
        .and_then(|digits| digits.parse::<u64>().ok());
    now.saturating_add(seconds.map_or(LINK_LIFE, Duration::from_secs))
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

impl Client {
    /// The entry for a link to the site's own storage, as far as the link tells: its size stays unknown. `None` for links to
    /// other hosts.
    #[must_use]
    pub fn entry_for(&self, platform: &impl Host, url: &Url, expected: Option<MediaKind>) -> Option<FileEntry> {
        if !self.is_own(url) {
            return None;
        }
        let (id, name) = name_in(url.as_str());
        let by_name = media_type::declared_type(None, &name);
        let kind = expected.or_else(|| by_name.map(|found| found.kind)).unwrap_or(MediaKind::Document);
        let content_type = by_name.filter(|found| found.kind == kind).map_or_else(
            || match kind {
                MediaKind::Image => "image/png",
                MediaKind::Video => "video/mp4",
                MediaKind::Audio => "audio/mpeg",
                MediaKind::Document => "application/octet-stream",
            },
            |found| found.content_type,
        );
        let mut segments = url.path_segments()?.rev().skip(1);
        let upload = Upload {
            id: id.unwrap_or_else(|| ids::uuid(platform)),
            owner: segments.next().unwrap_or_default().to_owned(),
            url: url.as_str().to_owned(),
            expires_at: UnixMillis::default(),
        };
        let file = File { upload, hash: String::new(), name, size: 0, kind, content_type: content_type.to_owned() };
        Some(file.entry(platform))
    }

    fn is_own(&self, url: &Url) -> bool {
        let own = self.oss_url.as_deref().and_then(|own| Url::parse(own).ok());
        if own.is_some_and(|own| own.origin() == url.origin()) && name_in(url.as_str()).0.is_some() {
            return true;
        }
        let Some(url::Host::Domain(host)) = url.host().filter(|_| url.scheme() == "https") else { return false };
        OWN_HOSTS.iter().any(|own| host.strip_suffix(own).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
            || is_own_bucket(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_plain() {
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

    #[test]
    fn a_links_end_is_read_from_it() {
        assert_eq!(link_end("https://x/y?a=1&x-oss-expires=60&b=2", UnixMillis::new(1000)), UnixMillis::new(61_000));
        assert_eq!(link_end("https://x/y", UnixMillis::new(1000)), UnixMillis::new(301_000));
    }
}
