//! Opening what the site made. Its storage answers 404, or a page, for some seconds after a picture was drawn.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{StatusCode, header};

use super::links::{MediaLinks, Resolved};
use crate::{
    error::{Error, ErrorKind, Result},
    platform::{self, ByteStream, Platform, Reach},
    upstream::{MediaRequest, Owner, Upstream},
};

/// How long the storage is asked again.
const PATIENCE: Duration = Duration::from_secs(20);
/// The pause between two tries.
const PAUSE: Duration = Duration::from_secs(1);
/// After how many tries a newer link is looked for.
const TRIES_BEFORE_RENEWAL: u32 = 2;
/// How long the storage may take for each piece.
const PIECE_TIMEOUT: Duration = Duration::from_secs(60);
/// The most bytes that are read to tell what it is.
const HEAD_BYTES: usize = 512;

/// What is needed to open what the site made.
#[derive(Clone, Copy, Debug)]
pub struct Downloads<'a> {
    /// Who made it.
    pub upstream: &'a Upstream,
    /// This server's links.
    pub links: &'a MediaLinks,
    /// The account as it is now.
    pub owner: &'a Owner,
    /// Which hosts may be asked.
    pub reach: Reach,
}

/// A picture or video that was opened.
pub struct Opened {
    /// 200, 206, or 416 for a range that it does not have.
    pub status: StatusCode,
    /// Its length in bytes, or that of the part, when known.
    pub length: Option<u64>,
    /// Which part of it comes.
    pub content_range: Option<String>,
    /// Whether the storage has ranges.
    pub has_ranges: bool,
    /// How it begins; its type is told by that.
    pub head: Bytes,
    /// All of it, the beginning included.
    pub body: ByteStream,
    /// The site's newer link, if the known one had ended. Never for clients or logs.
    pub newer_link: Option<String>,
}

/// Opens what a link leads to, or the part `range` of it. Tries again while the storage does not have it, for 20 s; looks
/// for a newer link of the site where there is one.
///
/// # Errors
/// `media_unavailable`
pub async fn open<P: Platform>(
    platform: &P,
    downloads: Downloads<'_>,
    resolved: &Resolved,
    range: Option<&str>,
) -> Result<Opened> {
    let Downloads { upstream, links, owner, reach } = downloads;
    let begun = platform.elapsed();
    let (mut link, mut tries) = (resolved.link.clone(), 0_u32);
    loop {
        let wanted = MediaRequest { chat_id: &resolved.chat_id, link: &link, range, reach };
        let problem = match upstream.open_media(platform, Some(owner), wanted).await {
            Ok(answer) => match read(platform, answer).await {
                Ok(opened) => {
                    let newer_link = Some(link).filter(|link| *link != resolved.link);
                    return Ok(Opened { newer_link, ..opened });
                }
                Err(problem) => problem,
            },
            Err(error) if error.kind == platform::FetchErrorKind::Forbidden => return Err(unavailable(&error.detail)),
            Err(error) => error.to_string(),
        };
        tries = tries.saturating_add(1);
        if platform.elapsed().saturating_sub(begun) >= PATIENCE || platform.client_left() {
            return Err(unavailable(&problem));
        }
        if tries == TRIES_BEFORE_RENEWAL
            && let Some(newer) = links.renew(platform, upstream, owner, resolved).await
        {
            link = newer.link;
            continue;
        }
        platform.sleep(PAUSE).await;
    }
}

/// Reads how an answer begins.
async fn read<P: Platform>(platform: &P, answer: platform::FetchResponse) -> Result<Opened, String> {
    let (head, body) = answer.into_parts();
    let status = head.status;
    let text = |name| head.headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let content_range = text(header::CONTENT_RANGE).map(str::to_owned);
    if status == StatusCode::RANGE_NOT_SATISFIABLE {
        let body: ByteStream = Box::pin(stream::empty());
        let (length, has_ranges, head, newer_link) = (Some(0), true, Bytes::new(), None);
        return Ok(Opened { status, length, content_range, has_ranges, head, body, newer_link });
    }
    if !matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
        return Err(format!("the storage answered with status {}", status.as_u16()));
    }
    let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
    let has_ranges = status == StatusCode::PARTIAL_CONTENT || text(header::ACCEPT_RANGES) == Some("bytes");
    // Fused: what is read to its end here is polled once more behind its beginning.
    let mut body = platform::patient(platform, body, PIECE_TIMEOUT).fuse();
    let (mut pieces, mut begin) = (Vec::new(), Vec::new());
    while begin.len() < HEAD_BYTES {
        match body.next().await {
            Some(Ok(piece)) => {
                begin.extend_from_slice(piece.get(..piece.len().min(HEAD_BYTES)).unwrap_or_default());
                pieces.push(Ok(piece));
            }
            Some(Err(error)) => return Err(error.to_string()),
            None => break,
        }
    }
    if status == StatusCode::OK && is_page(&begin) {
        return Err("the storage answered with a page".to_owned());
    }
    let body: ByteStream = Box::pin(stream::iter(pieces).chain(body));
    let (head, newer_link) = (begin.into(), None);
    Ok(Opened { status, length, content_range, has_ranges, head, body, newer_link })
}

/// Whether it is a page, or nothing, instead of a picture or video.
fn is_page(begin: &[u8]) -> bool {
    begin.trim_ascii_start().first().is_none_or(|first| matches!(first, b'<' | b'{'))
}

fn unavailable(detail: &str) -> Error {
    Error::new(
        ErrorKind::MediaUnavailable,
        "chat.qwen.ai does not hand out the picture or video. It is in the chats of this account at chat.qwen.ai.",
    )
    .with_detail(detail.to_owned())
    .without_repeat()
}
