//! Attachments of messages: taken out of the request, uploaded when a chat needs them.

mod attachment;
mod data_url;
mod kept_files;
mod remote;

use std::sync::Mutex;

use futures::StreamExt as _;

pub(in crate::chat) use attachment::{Attachment, Uploader};
use attachment::{Source, attachment, content_fingerprint, unsupported};
pub use kept_files::{from_row, to_row};

use crate::{
    error::{Error, ErrorKind, Result},
    llm::{Media, Message, Part, Role},
    media_type::MediaKind,
    platform::Platform,
    upstream::{Attached, File, FileEntry},
};

/// The most files of one message upstream. The site's own page stops at five; its API accepted more.
const MAX_SENT: usize = 20;
/// How many attachments are uploaded at once.
const CONCURRENT_UPLOADS: usize = 3;

/// The attachments of a request's messages, in their order.
#[derive(Debug, Default)]
pub struct Attachments {
    all: Vec<Attachment>,
    /// The first message without an answer. Attachments of earlier messages may be missing.
    newest_turn: usize,
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
                    Part::Unsupported(part) if message >= newest_turn => {
                        return Err(unsupported(&part.kind, &part.param));
                    }
                    Part::Unsupported(part) => all.push(Attachment::named_only(message, part.kind.into())),
                    Part::Media(media) => {
                        let lost = (message < newest_turn).then(|| Attachment::lost(message, &media));
                        let taken = match (attachment(message, *media), lost) {
                            (Err(_), Some(lost)) => lost,
                            (taken, _) => taken?,
                        };
                        all.push(Attachment { texts_before: kept.len(), ..taken });
                    }
                }
            }
            *parts = kept;
            if message >= newest_turn && all.len().saturating_sub(before) > MAX_SENT {
                let problem =
                    format!("A message takes at most {MAX_SENT} attachments; send the others in another one.");
                // The list that contains the last of them.
                let param = all.last().and_then(|last| Some(last.param.rsplit_once('[')?.0.to_owned()));
                return Err(Error::invalid(param.unwrap_or_default(), problem));
            }
        }
        Ok(Self { all, newest_turn })
    }

    /// What goes along with a request that has no messages.
    ///
    /// # Errors
    /// `invalid_request` for what has no content, or content that cannot be read.
    pub fn of_media(media: Vec<Media>) -> Result<Self> {
        let all = media.into_iter().map(|media| attachment(0, media)).collect::<Result<_>>()?;
        Ok(Self { all, newest_turn: 0 })
    }

    /// Checks that nothing but pictures is attached from this message on.
    ///
    /// # Errors
    /// `unsupported_file_type`, which names the part.
    pub(in crate::chat) fn check_pictures(&self, message: usize) -> Result<()> {
        let is_other = |attachment: &&Attachment| {
            attachment.message >= message && attachment.expected.is_some_and(|expected| expected != MediaKind::Image)
        };
        match self.all.iter().find(is_other) {
            Some(other) => {
                let problem = "This model draws, and takes pictures alone along with the text.";
                Err(Error::new(ErrorKind::UnsupportedFileType, problem).with_param(other.param.clone()))
            }
            None => Ok(()),
        }
    }

    /// What is attached, for an upstream that fetches links and takes contents by itself. What is no longer available is left
    /// out.
    ///
    /// # Errors
    /// `invalid_request` for a file that only this server, or chat.qwen.ai, has; it names the part.
    pub(in crate::chat) fn as_sent(&self) -> Result<Vec<Attached>> {
        self.all.iter().filter_map(|attachment| attachment.as_sent().transpose()).collect()
    }

    /// Lets contents go that nobody uploads any more.
    pub(in crate::chat) fn release(&self) {
        self.all.iter().for_each(Attachment::release);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// What identifies each.
    pub fn fingerprints(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(Attachment::fingerprint)
    }

    /// An uploaded file, attached to the first message.
    #[must_use]
    pub fn uploaded(platform: &impl Platform, file: &File) -> Self {
        let attachment = Attachment {
            message: 0,
            texts_before: 0,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(parts: &str) -> Result<Vec<String>> {
        let body = format!(r#"{{"messages":[{{"role":"user","content":[{parts}]}}]}}"#);
        let mut request = crate::chat::test_requests::request(&body);
        let shown = |Attachment { expected, name, fingerprint, source, .. }: Attachment| {
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
        Ok(Attachments::take(&mut request.messages)?.all.into_iter().map(shown).collect())
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
    fn contents_are_let_go_and_links_stay() {
        let body = r#"{"messages":[{"role":"user","content":[
            {"type":"image_url","image_url":{"url":"data:image/png;base64,aGk="}},
            {"type":"image_url","image_url":{"url":"https://x.test/a.png"}}]}]}"#;
        let mut request = crate::chat::test_requests::request(body);
        let taken = Attachments::take(&mut request.messages).unwrap();
        assert_eq!(taken.as_sent().unwrap().len(), 2);
        taken.release();
        let left = taken.as_sent().unwrap();
        assert_eq!(left.iter().map(|attached| attached.name.as_str()).collect::<Vec<_>>(), ["a.png"]);
    }
}
