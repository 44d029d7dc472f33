//! Attachments of messages: taken out of the request, uploaded when a chat needs them.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures::StreamExt as _;
use percent_encoding::percent_decode;
use url::Url;

mod data_url;
mod kept_files;
mod remote;

use data_url::{base64, data_link, strip_scheme};

pub use kept_files::{from_row, to_row};

use crate::{
    error::{Error, ErrorKind, Result},
    llm::{Media, MediaClass, MediaSource, Message, Part, Role},
    media_type::{MediaKind, extension, matches_kind},
    platform::{Platform, Reach, StoreHealth},
    store::files as table,
    upstream::{File, FileEntry, NewFile, Owner, Upstream, content_hash, plain_name},
};

/// The most files of one message upstream. The site's own page stops at five; its API accepted more.
const MAX_SENT: usize = 20;
/// How many attachments are uploaded at once.
const CONCURRENT_UPLOADS: usize = 3;

/// An attachment of a message.
#[derive(Debug)]
pub(in crate::chat) struct Attachment {
    /// The index of its message in the request.
    message: usize,
    /// The field to name in errors.
    param: String,
    expected: Option<MediaKind>,
    name: String,
    fingerprint: String,
    source: Mutex<Source>,
}

/// Where the content of an attachment is.
#[derive(Clone, Debug)]
enum Source {
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
    fn lost(message: usize, media: &Media) -> Self {
        let name = media.filename.as_deref().map_or_else(|| media.word.to_string(), plain_name);
        let source = Mutex::new(Source::Lost);
        Self { message, param: media.param.clone(), expected: None, name, fingerprint: "lost".to_owned(), source }
    }

    /// Returns the entry for the upstream; uploads the attachment unless that was done.
    async fn entry<P: Platform>(&self, uploader: &Uploader<'_, P>) -> Result<FileEntry> {
        let Uploader { platform, upstream, owner, reach, store_health: _ } = *uploader;
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
                    let new = remote::open(platform, url, expected, &param, reach).await?;
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
        let Uploader { platform, upstream, owner, reach: _, store_health } = *uploader;
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

/// The attachments of a request's messages, in their order.
#[derive(Debug, Default)]
pub struct Attachments {
    all: Vec<Attachment>,
    /// The first message without an answer. Attachments of earlier messages may be missing.
    newest_turn: usize,
}

/// Where attachments go, and on whose behalf.
pub(in crate::chat) struct Uploader<'a, P> {
    pub(in crate::chat) platform: &'a P,
    pub(in crate::chat) upstream: &'a Upstream,
    pub(in crate::chat) store_health: &'a StoreHealth,
    pub(in crate::chat) owner: &'a Owner,
    /// Which hosts links may lead to.
    pub(in crate::chat) reach: Reach,
}

/// The entries that go along with a turn, and the attachments of earlier messages that no longer can.
#[derive(Debug, Default)]
pub(in crate::chat) struct Entries {
    pub(in crate::chat) files: Vec<FileEntry>,
    /// The names of those attachments.
    pub(in crate::chat) missing: Vec<String>,
}

impl Attachments {
    /// Takes the attachments out of the messages; their text stays. An unreadable attachment of an earlier message is not an
    /// error: it would fail every later turn of its conversation.
    ///
    /// # Errors
    /// `invalid_request` for a part of an unknown type, without content, or with content that cannot be read.
    pub fn take(messages: &mut [Message]) -> Result<Self> {
        let mut all = Vec::new();
        let newest_turn = newest_turn(messages);
        for (message, Message { parts, .. }) in messages.iter_mut().enumerate() {
            let before = all.len();
            let mut kept = Vec::with_capacity(parts.len());
            for part in std::mem::take(parts) {
                match part {
                    Part::Text(_) => kept.push(part),
                    Part::Media(media) if message >= newest_turn => all.push(attachment(message, *media)?),
                    Part::Media(media) => {
                        let lost = Attachment::lost(message, &media);
                        all.push(attachment(message, *media).unwrap_or(lost));
                    }
                }
            }
            *parts = kept;
            if message >= newest_turn && all.len().saturating_sub(before) > MAX_SENT {
                let problem =
                    format!("A message takes at most {MAX_SENT} attachments; send the others in another one.");
                return Err(Error::invalid(format!("messages[{message}].content"), problem));
            }
        }
        Ok(Self { all, newest_turn })
    }

    /// An uploaded file, attached to the first message.
    #[must_use]
    pub fn uploaded(platform: &impl Platform, file: &File) -> Self {
        let attachment = Attachment {
            message: 0,
            param: String::new(),
            expected: None,
            name: file.name.clone(),
            fingerprint: content_fingerprint(&file.hash),
            source: Mutex::new(Source::Ready(file.entry(platform))),
        };
        Self { all: vec![attachment], newest_turn: 0 }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The attachments of one message.
    pub(in crate::chat) fn of(&self, message: usize) -> &[Attachment] {
        let start = self.all.partition_point(|attachment| attachment.message < message);
        let end = self.all.partition_point(|attachment| attachment.message <= message);
        self.all.get(start..end).unwrap_or_default()
    }

    /// The attachments that go along when the chat knows `known` messages; the newest, if there are too many.
    pub(in crate::chat) fn sent(&self, known: usize) -> impl Iterator<Item = &Attachment> {
        let start = self.all.partition_point(|attachment| attachment.message < known);
        self.all.iter().skip(start.max(self.all.len().saturating_sub(MAX_SENT)))
    }

    /// Returns the entries of those attachments in their order; uploads what is not uploaded yet.
    pub(in crate::chat) async fn entries<P: Platform>(
        &self,
        uploader: &Uploader<'_, P>,
        known: usize,
    ) -> Result<Entries> {
        let upload = async |attachment: &Attachment| match attachment.entry(uploader).await {
            Ok(entry) => Ok(Ok(entry)),
            Err(error) if attachment.message < self.newest_turn && is_of_the_file(&error) => {
                tracing::info!(%error, "an attachment of an earlier message is no longer available");
                Ok(Err(attachment.name.clone()))
            }
            Err(error) => Err(error),
        };
        let uploads: Vec<_> = self.sent(known).map(upload).collect();
        let mut entries = Entries::default();
        let mut done = futures::stream::iter(uploads).buffered(CONCURRENT_UPLOADS);
        while let Some(uploaded) = done.next().await {
            match uploaded? {
                Ok(entry) => entries.files.push(entry),
                Err(name) => entries.missing.push(name),
            }
        }
        Ok(entries)
    }
}

/// Returns the index of the first message after the last answer. An answer at the end is the beginning of the one that the
/// client wants.
fn newest_turn(messages: &[Message]) -> usize {
    let is_answer = |message: &Message| message.role == Role::Assistant;
    let asked = messages.iter().rposition(|message| !is_answer(message)).unwrap_or(0);
    let earlier = messages.get(..asked).unwrap_or_default();
    earlier.iter().rposition(is_answer).map_or(0, |answer| answer.saturating_add(1))
}

/// Whether an error is about this file (it does not exist, cannot be read or used), and not about the session or the moment.
fn is_of_the_file(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InvalidRequest
            | ErrorKind::UnsupportedFileType
            | ErrorKind::RequestTooLarge
            | ErrorKind::UpstreamRejected
            | ErrorKind::ContentFilter
            | ErrorKind::StoreFailed
    )
}

fn content_fingerprint(hash: &str) -> String {
    format!("sha256:{hash}")
}

/// Reads something attached.
fn attachment(message: usize, media: Media) -> Result<Attachment> {
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
        Ok(Attachment { message, param, expected, name, fingerprint, source: Mutex::new(source) })
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
        MediaSource::Unsupported => {
            let problem = format!(
                "Content parts of the type '{word}' are not supported; send text, image_url, video_url, input_video, input_audio, audio_url or file."
            );
            return Err(Error::invalid(format!("{param}.type"), problem));
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

    fn taken(parts: &str) -> Result<Vec<String>> {
        let body = format!(r#"{{"messages":[{{"role":"user","content":[{parts}]}}]}}"#);
        let mut request = crate::chat::test_requests::request(&body);
        let told = |Attachment { expected, name, fingerprint, source, .. }: Attachment| {
            let source = match source.into_inner().unwrap() {
                Source::Content { content, declared, hash: _ } => {
                    format!("{} {}", String::from_utf8_lossy(&content), declared.unwrap_or_default())
                }
                Source::Link(url) => url.to_string(),
                Source::Uploaded(id) => id,
                Source::Ready(entry) => entry.json()["url"].as_str().unwrap().to_owned(),
                Source::Lost => "lost".to_owned(),
            };
            let fingerprint = if fingerprint.starts_with("sha256:") {
                "sha256"
            } else {
                fingerprint.get(..8).unwrap_or(&fingerprint)
            };
            format!("{} {name} {fingerprint} {source}", expected.map_or("any", MediaKind::as_str)).trim_end().to_owned()
        };
        Ok(Attachments::take(&mut request.messages)?.all.into_iter().map(told).collect())
    }

    #[test]
    fn every_form_of_an_attachment_is_understood() {
        for (part, expected) in [
            (
                r#"{"type":"image_url","image_url":{"url":"https://a.example/x%20y.png?k=1#f"}}"#,
                "image x y.png url:http https://a.example/x%20y.png?k=1#f",
            ),
            (r#"{"type":"image_url","image_url":"http://a.example/"}"#, "image image url:http http://a.example/"),
            (
                r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,aGk="}}"#,
                "image image.png sha256 hi image/png",
            ),
            (
                r#"{"type":"image_url","image_url":{"url":"DATA:image/png;base64,a\nGk"}}"#,
                "image image.png sha256 hi image/png",
            ),
            (
                r#"{"type":"image_url","image_url":{"url":"data:image/svg+xml;utf8,%3Csvg/>"}}"#,
                "image image.svg sha256 <svg/> image/svg+xml",
            ),
            (r#"{"type":"input_image","image_url":"data:;base64,aGk%3D"}"#, "image image sha256 hi"),
            (r#"{"type":"image","image":"data:image/gif;base64,aGk="}"#, "image image.gif sha256 hi image/gif"),
            (
                r#"{"type":"video_url","video_url":{"url":"data:video/mp4;base64,aGk="}}"#,
                "video video.mp4 sha256 hi video/mp4",
            ),
            (r#"{"type":"input_video","input_video":{"data":"aGk=","format":"mp4"}}"#, "video video sha256 hi"),
            (
                r#"{"type":"input_audio","input_audio":{"data":"aGk=","format":"wav"}}"#,
                "audio audio.wav sha256 hi audio/wav",
            ),
            (
                r#"{"type":"input_audio","input_audio":{"data":"data:audio/mpeg;base64,aGk=","format":"mp3"}}"#,
                "audio audio.mp3 sha256 hi audio/mpeg",
            ),
            (
                r#"{"type":"audio_url","audio_url":{"url":"https://a.example/s.mp3"}}"#,
                "audio s.mp3 url:http https://a.example/s.mp3",
            ),
            (r#"{"type":"file","file":{"file_id":"abc"}}"#, "any file file:abc abc"),
            (r#"{"type":"file","file":{"file_id":"abc"},"file_info":null}"#, "any file file:abc abc"),
            (r#"{"type":"file","file":{"file_id":"abc"},"file_info":""}"#, "any file file:abc abc"),
            (
                r#"{"type":"image_url","image_url":{"url":"R0lGODlhAQABAAAAACw="}}"#,
                "image image sha256 GIF89a\u{1}\0\u{1}\0\0\0\0,",
            ),
            (
                r#"{"type":"file","file":{"file_data":"data:application/pdf;base64,aGk=","filename":"C:\\a\\b.pdf"}}"#,
                "any b.pdf sha256 hi application/pdf",
            ),
            (r#"{"type":"file","file":{"file_data":"aGk","filename":"b.txt"}}"#, "any b.txt sha256 hi"),
            (
                r#"{"type":"file","file":{"file_url":"https://a.example/b.pdf"}}"#,
                "any b.pdf url:http https://a.example/b.pdf",
            ),
            (
                r#"{"type":"file_url","file_url":{"url":"https://a.example/b.pdf"}}"#,
                "any b.pdf url:http https://a.example/b.pdf",
            ),
            (
                r#"{"type":"input_file","filename":"c.txt","file_data":"data:text/plain;base64,aGk="}"#,
                "any c.txt sha256 hi text/plain",
            ),
            (
                r#"{"type":"image_url","image_url":{"url":"https://x/"},"file_info":{"id":"i","url":"https://y/z","name":"n.png"}}"#,
                "image n.png file:i https://y/z",
            ),
            (
                r#"{"type":"video_url","video_url":{"url":"https://x/","file_info":{"id":"i","url":"https://y/z","name":"n.mp4"}}}"#,
                "video n.mp4 file:i https://y/z",
            ),
        ] {
            assert_eq!(taken(part).unwrap(), [expected], "{part}");
        }
        assert_eq!(taken(r#"{"type":"text","text":"a"}"#).unwrap(), [""; 0]);
    }

    #[test]
    fn what_cannot_be_attached_is_told_by_its_field() {
        for (part, param) in [
            (r#"{"type":"hologram"}"#, "messages[0].content[0].type"),
            (r#"{"type":"image_url"}"#, "messages[0].content[0]"),
            (r#"{"type":"image_url","image_url":{"url":" "}}"#, "messages[0].content[0]"),
            (r#"{"type":"image_url","image_url":{"url":"file:///etc/passwd"}}"#, "messages[0].content[0]"),
            // Base64, but of nothing that is a picture.
            (r#"{"type":"image_url","image_url":{"url":"aGk="}}"#, "messages[0].content[0]"),
            (r#"{"type":"image_url","image_url":{"url":"example.com/a.png"}}"#, "messages[0].content[0]"),
            (r#"{"type":"file","file":{"file_url":"R0lGODlhAQABAAAAACw="}}"#, "messages[0].content[0]"),
            (r#"{"type":"image_url","image_url":{"url":"http://"}}"#, "messages[0].content[0]"),
            (r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,"}}"#, "messages[0].content[0]"),
            (r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,!!"}}"#, "messages[0].content[0]"),
            (r#"{"type":"input_audio","input_audio":{"data":"*","format":"wav"}}"#, "messages[0].content[0]"),
            (r#"{"type":"text","text":"a"},{"type":"file","file":{}}"#, "messages[0].content[1]"),
            (r#"{"type":"file","file_info":{"id":"x"}}"#, "messages[0].content[0].file_info"),
            (r#"{"type":"file","file_info":5}"#, "messages[0].content[0].file_info"),
        ] {
            let error = taken(part).unwrap_err();
            assert_eq!((error.kind(), error.param()), (ErrorKind::InvalidRequest, Some(param)), "{part}");
        }
        let many = [r#"{"type":"file","file":{"file_id":"x"}}"#; MAX_SENT + 1].join(",");
        assert_eq!(taken(&many).unwrap_err().param(), Some("messages[0].content"));
    }

    #[test]
    fn what_cannot_be_read_of_an_earlier_message_is_lost_and_fails_nothing() {
        const BAD: &[&str] = &[
            r#"{"type":"hologram","text":"x"}"#,
            r#"{"type":"image_url"}"#,
            r#"{"type":"image_url","image_url":"data:image/png;base64,!!"}"#,
            r#"{"type":"image_url","image_url":"photo of a cat"}"#,
            r#"{"type":"input_audio","input_audio":{"data":"*","format":"wav"}}"#,
            r#"{"type":"file","file":{"file_data":"%","filename":"a/b.pdf"}}"#,
            r#"{"type":"file","file_info":5}"#,
        ];
        let user = |parts: &str| format!(r#"{{"role":"user","content":[{parts}]}}"#);
        let answer = r#"{"role":"assistant","content":"a"}"#;
        let all = BAD.join(",");
        for (messages, expected) in [
            (format!("{},{answer},{}", user(&all), user("")), Some(BAD.len())),
            (format!("{},{answer},{},{answer}", user(&all), user("")), Some(BAD.len())),
            (format!("{},{answer}", user(&all)), None),
            (format!("{answer},{},{}", user(BAD[1]), user("")), None),
            (format!("{},{answer},{}", user(&all), user(BAD[0])), None),
        ] {
            let body = format!(r#"{{"messages":[{messages}]}}"#);
            let mut request = crate::chat::test_requests::request(&body);
            let taken = Attachments::take(&mut request.messages);
            assert_eq!(taken.as_ref().ok().map(|taken| taken.all.len()), expected, "{messages}");
            for lost in taken.iter().flat_map(|taken| &taken.all) {
                assert!(matches!(*lost.source.lock().unwrap(), Source::Lost), "{lost:?}");
            }
            if let Ok(taken) = taken {
                assert_eq!((taken.all[0].name(), taken.all[5].name()), ("hologram", "b.pdf"));
            }
        }
        let many = [r#"{"type":"file","file":{"file_id":"x"}}"#; MAX_SENT + 1].join(",");
        let body = format!(r#"{{"messages":[{},{answer},{}]}}"#, user(&many), user(""));
        let mut request = crate::chat::test_requests::request(&body);
        let taken = Attachments::take(&mut request.messages).unwrap();
        assert_eq!(taken.sent(0).count(), MAX_SENT, "the newest of them");
    }

    #[test]
    fn a_links_signature_is_no_part_of_its_mark() {
        let fingerprint = |url: &str| unsigned(&Url::parse(url).unwrap());
        assert_eq!(fingerprint("https://x/a?x-oss-signature=1&b=2"), fingerprint("https://x/a?x-oss-signature=2"));
        assert_ne!(fingerprint("https://x/a?v=1"), fingerprint("https://x/a?v=2"));
    }
}
