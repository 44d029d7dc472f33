//! One attachment: where its content is, and what becomes of it.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use percent_encoding::percent_decode;
use url::Url;

use super::{
    data_url::{base64, data_link, strip_scheme},
    kept_files::{from_row, to_row},
    remote,
};
use crate::{
    error::{Error, ErrorKind, Result},
    llm::{Media, MediaClass, MediaSource},
    media::{self, Downloads, MediaLinks, media_id},
    media_type::{MediaKind, extension, matches_kind},
    platform::{Platform, Reach, StoreHealth},
    store::files as table,
    upstream::{Attached, AttachedContent, File, FileEntry, NewFile, Owner, Upstream, content_hash, plain_name},
};

/// An attachment of a message.
#[derive(Debug)]
pub(in crate::chat) struct Attachment {
    /// The index of its message in the request.
    pub(super) message: usize,
    /// How many texts of its message come before it.
    pub(super) texts_before: usize,
    /// The field to name in errors.
    pub(super) param: String,
    pub(super) expected: Option<MediaKind>,
    pub(super) name: String,
    pub(super) fingerprint: String,
    pub(super) source: Mutex<Source>,
}

/// Where the content of an attachment is.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Content {
        content: Bytes,
        hash: String,
        declared: Option<String>,
    },
    Link(Url),
    Uploaded(String),
    Ready(FileEntry),
    /// Nowhere any more; it belongs to an earlier message.
    Lost,
}

impl Attachment {
    /// A name to show; generated if the client gives none.
    pub(in crate::chat) fn name(&self) -> &str {
        &self.name
    }

    /// What identifies it: the hash of its content, its link or its id.
    pub(in crate::chat) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// An attachment that is no longer available.
    pub(super) fn lost(message: usize, media: &Media) -> Self {
        let name = media.filename.as_deref().map_or_else(|| media.word.to_string(), plain_name);
        Self::named_only(message, name)
    }

    /// An attachment of which nothing is known but its name.
    pub(super) fn named_only(message: usize, name: String) -> Self {
        let source = Mutex::new(Source::Lost);
        Self {
            message,
            texts_before: 0,
            param: String::new(),
            expected: None,
            name,
            fingerprint: "lost".to_owned(),
            source,
        }
    }

    /// Lets its content go.
    pub(super) fn release(&self) {
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*source, Source::Content { .. }) {
            *source = Source::Lost;
        }
    }

    /// The attachment as the client sent it; `None` if it is no longer available.
    ///
    /// # Errors
    /// `invalid_request` for a file that was uploaded before.
    pub(super) fn as_sent(&self) -> Result<Option<Attached>> {
        let content = match &*self.source.lock().unwrap_or_else(PoisonError::into_inner) {
            Source::Content { content, hash: _, declared } => AttachedContent::Bytes(content.clone(), declared.clone()),
            Source::Link(url) => AttachedContent::Link(url.clone()),
            Source::Lost => return Ok(None),
            Source::Uploaded(_) | Source::Ready(_) => {
                let problem = format!(
                    "The file '{}' is kept at chat.qwen.ai (file_id), and the second upstream cannot read it there. Attach its content or a link, or use a model of GET /v1/models.",
                    self.name
                );
                return Err(Error::invalid(self.param.clone(), problem));
            }
        };
        Ok(Some(Attached {
            message: self.message,
            texts_before: self.texts_before,
            name: self.name.clone(),
            kind: self.expected,
            content,
        }))
    }

    /// Returns the entry for the upstream; uploads the attachment unless that was done.
    pub(super) async fn entry<P: Platform>(&self, uploader: &Uploader<'_, P>) -> Result<FileEntry> {
        let Uploader { platform, upstream, owner, reach, links, store_health: _ } = *uploader;
        let source = self.source.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (expected, param) = (self.expected, self.param.clone());
        let entry = match source {
            Source::Ready(entry) => return Ok(entry),
            Source::Lost => return Err(Error::invalid(param, "The attachment cannot be read.")),
            Source::Content { content, hash, declared } => {
                let new = NewFile::whole(self.name.clone(), declared, content, param);
                upstream.upload(platform, owner, NewFile { expected, hash: Some(hash), ..new }).await?.entry(platform)
            }
            Source::Link(url) => match upstream.entry_for(platform, &url, expected) {
                Some(entry) => entry,
                None => {
                    let made_here = match media_id(&url) {
                        Some(id) => links.find(platform, id).await,
                        None => None,
                    };
                    let new = match made_here {
                        Some(found) => {
                            let downloads = Downloads { upstream, links, owner, reach };
                            let opened = media::open(platform, downloads, &found, None).await?;
                            remote::made_here(opened, &self.name, expected, &param)
                        }
                        None => remote::open(platform, url, expected, &param, reach).await?,
                    };
                    upstream.upload(platform, owner, new).await?.entry(platform)
                }
            },
            Source::Uploaded(id) => self.kept(uploader, &id).await?.entry(platform),
        };
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = Source::Ready(entry.clone());
        Ok(entry)
    }

    /// Returns a file that the client uploaded before.
    async fn kept<P: Platform>(&self, uploader: &Uploader<'_, P>, id: &str) -> Result<File> {
        let Uploader { platform, upstream, owner, reach: _, links: _, store_health } = *uploader;
        let found = table::find(platform, owner.scope.as_str(), id).await.map_err(Error::store_unavailable)?;
        let Some(row) = found else {
            let id: String = id.chars().take(100).collect();
            let problem =
                format!("There is no file '{id}' among those uploaded with this key. GET /v1/files lists them.");
            return Err(Error::invalid(self.param.clone(), problem));
        };
        let (purpose, created_at) = (row.purpose.clone(), row.created_at);
        let File { upload, hash, name, size, kind, content_type } = from_row(row);
        if let Some(expected) = self.expected.filter(|expected| *expected != kind) {
            let problem = format!("The file '{name}' is {kind} ({content_type}), but {expected} is wanted here.");
            return Err(Error::new(ErrorKind::UnsupportedFileType, problem).with_param(self.param.clone()));
        }
        let known_until = upload.expires_at;
        let upload = upstream.refresh_url(platform, owner, upload).await;
        let is_new = upload.expires_at != known_until;
        let file = File { upload, hash, name, size, kind, content_type };
        if is_new {
            let row = to_row(file.clone(), purpose, created_at);
            store_health
                .ok_or_log("noting a new link", table::refresh_url(platform, owner.scope.as_str(), &row.upload).await);
        }
        Ok(file)
    }
}

/// Where attachments go, and on whose behalf.
pub(in crate::chat) struct Uploader<'a, P> {
    pub(in crate::chat) platform: &'a P,
    pub(in crate::chat) upstream: &'a Upstream,
    pub(in crate::chat) store_health: &'a StoreHealth,
    /// This server's links to pictures and videos.
    pub(in crate::chat) links: &'a MediaLinks,
    pub(in crate::chat) owner: &'a Owner,
    /// Which hosts links may lead to.
    pub(in crate::chat) reach: Reach,
}

pub(super) fn content_fingerprint(hash: &str) -> String {
    format!("sha256:{hash}")
}

/// The error of a part whose type is not supported; `param` names the part.
pub(super) fn unsupported(kind: &str, param: &str) -> Error {
    let problem = format!(
        "Content parts of the type '{kind}' are not supported; send text, image_url, video_url, input_video, input_audio, audio_url or file."
    );
    Error::invalid(format!("{param}.type"), problem)
}

/// Reads something attached.
pub(super) fn attachment(message: usize, media: Media) -> Result<Attachment> {
    let Media { class, source, filename, format, param, word } = media;
    let expected = match class {
        MediaClass::Image => Some(MediaKind::Image),
        MediaClass::Video => Some(MediaKind::Video),
        MediaClass::Audio => Some(MediaKind::Audio),
        MediaClass::File => None,
    };
    let named = |kind: Option<&str>| {
        let stem = expected
            .map_or("file", |expected| if expected == MediaKind::Document { "document" } else { expected.as_str() });
        match (filename.as_deref().filter(|name| !name.trim().is_empty()), kind) {
            (Some(name), _) => plain_name(name),
            (None, Some(extension)) => format!("{stem}.{extension}"),
            (None, None) => stem.to_owned(),
        }
    };
    let made = |name: String, fingerprint: String, source: Source, param: String| {
        Ok(Attachment { message, texts_before: 0, param, expected, name, fingerprint, source: Mutex::new(source) })
    };
    let (bare, text) = match source {
        MediaSource::Entry(entry) => {
            let entry = FileEntry::from_client(&entry, &format!("{param}.file_info"))?;
            let name = entry.json().get("name").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
            let fingerprint = format!("file:{}", entry.identity());
            return made(name, fingerprint, Source::Ready(entry), param);
        }
        MediaSource::Upload(id) => return made(named(None), format!("file:{id}"), Source::Uploaded(id), param),
        MediaSource::Content(content) => (true, content),
        MediaSource::Link(link) => (false, link),
        MediaSource::Missing => {
            let problem =
                format!("The part has no content: '{word}' needs a link (url), content in base64 or a file_id.");
            return Err(Error::invalid(param, problem));
        }
    };
    let text = text.trim();
    let (declared, content) = if let Some(link) = strip_scheme(text, "data:") {
        let Some((declared, content)) = data_link(link) else {
            return Err(Error::invalid(param, "The data: link cannot be read; it should be data:TYPE;base64,CONTENT."));
        };
        (declared, content)
    } else if strip_scheme(text, "http:").or_else(|| strip_scheme(text, "https:")).is_some() {
        let Ok(url) = Url::parse(text) else {
            return Err(Error::invalid(param, "The link is not a valid address."));
        };
        let last = url.path_segments().and_then(|mut segments| segments.next_back()).unwrap_or_default().to_owned();
        let name = if last.is_empty() {
            named(None)
        } else {
            plain_name(&percent_decode(last.as_bytes()).decode_utf8_lossy())
        };
        return made(name, format!("url:{}", unsigned(&url)), Source::Link(url), param);
    } else if bare {
        let Some(content) = base64(text) else {
            return Err(Error::invalid(param, "The content is not valid base64."));
        };
        (None, content)
    } else {
        // Some clients omit the beginning of a data: URL. Hardly any other text is base64 of a known format.
        let content = base64(text).filter(|content| expected.is_some_and(|expected| matches_kind(content, expected)));
        let Some(content) = content else {
            return Err(Error::invalid(
                param,
                "The link must begin with https:, http: or data:, or be a file of the right kind in base64.",
            ));
        };
        (None, content)
    };
    if content.is_empty() {
        return Err(Error::invalid(param, "The attached content is empty."));
    }
    let declared = declared
        .or_else(|| format.filter(|_| expected == Some(MediaKind::Audio)).map(|format| format!("audio/{format}")));
    let hash = content_hash(&content);
    let name = named(declared.as_deref().and_then(extension));
    made(name, content_fingerprint(&hash), Source::Content { content, hash, declared }, param)
}

/// Removes the signature of a link: it changes each time, the file does not.
fn unsigned(url: &Url) -> String {
    let is_signed =
        url.query_pairs().any(|(name, _)| name.eq_ignore_ascii_case("x-oss-signature") || name == "Signature");
    let mut plain = url.clone();
    if is_signed {
        plain.set_query(None);
    }
    plain.set_fragment(None);
    plain.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_links_signature_is_no_part_of_its_mark() {
        let fingerprint = |url: &str| unsigned(&Url::parse(url).unwrap());
        assert_eq!(fingerprint("https://x/a?x-oss-signature=1&b=2"), fingerprint("https://x/a?x-oss-signature=2"));
        assert_ne!(fingerprint("https://x/a?v=1"), fingerprint("https://x/a?v=2"));
    }
}
