//! A picture that the site drew, on its way to a client: its bytes, or a link of this server.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use futures::StreamExt as _;

use super::{App, body::Reservation};
use crate::{
    accounts::Caller,
    api::openai::images::PictureFormat,
    error::{Error, ErrorKind, Result},
    llm::Usage,
    media::{self, Downloads, Drawn, LinkMaker, MadeIn, Opened, Resolved},
    media_type,
    platform::{ByteStream, Platform},
};

/// The largest picture that becomes base64.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// A picture as a client gets it.
pub(super) struct Made {
    /// All bytes; only the first where there is a link.
    pub(super) bytes: Bytes,
    /// A link of this server.
    pub(super) url: Option<String>,
    /// Width and height.
    pub(super) pixels: Option<(u32, u32)>,
    pub(super) format: PictureFormat,
    pub(super) usage: Usage,
}

/// Gets a picture from the site: all of it, or its beginning and a link. While the store keeps no links, a `data:` link.
pub(super) async fn fetch<P: Platform>(
    app: &Arc<App>,
    platform: &P,
    caller: &Caller,
    base: &Arc<str>,
    drawn: Drawn,
    as_link: bool,
    reservation: &mut Reservation,
) -> Result<Made> {
    let Drawn { picture, chat_id, response_id, usage } = drawn;
    let resolved = Resolved::new(&caller.owner, chat_id.clone(), response_id.clone(), picture.link.clone());
    let services = app.services(&caller.account);
    let downloads =
        Downloads { upstream: &services.upstream, links: &app.media_links, owner: &caller.owner, reach: app.reach() };
    let Opened { head, body, length, .. } = media::open(platform, downloads, &resolved, None).await?;
    let format = format_of(&head).ok_or_else(|| {
        Error::new(ErrorKind::MediaUnavailable, "chat.qwen.ai handed out something that is no picture.")
            .without_repeat()
    })?;
    let mut url = None;
    if as_link && let Ok(seed) = platform.random() {
        let mut maker = LinkMaker::new(Arc::clone(base), seed);
        let link = maker.link(&picture.link);
        let made_in = MadeIn {
            owner: &caller.owner,
            conversation: None,
            chat_id: &chat_id,
            response_id: &response_id,
            expires_at: platform.now().saturating_add(app.config.media_ttl),
        };
        if app.media_links.keep(platform, &maker.take(), made_in).await {
            url = Some(link);
        }
    }
    let bytes = if url.is_some() { head } else { whole(body, length, reservation).await? };
    if as_link && url.is_none() {
        url = Some(format!("data:image/{};base64,{}", format.as_str(), BASE64.encode(&bytes)));
    }
    let pixels = picture.size.or_else(|| pixels(&bytes));
    Ok(Made { bytes, url, pixels, format, usage })
}

/// Reads a picture whole.
async fn whole(mut body: ByteStream, length: Option<u64>, reservation: &mut Reservation) -> Result<Bytes> {
    let too_large = || {
        let message = format!(
            "The picture is larger than {} MiB. Ask for 'response_format': 'url' to get it.",
            MAX_BYTES / 1024 / 1024
        );
        Error::new(ErrorKind::MediaUnavailable, message).without_repeat()
    };
    if length.is_some_and(|length| length > MAX_BYTES as u64) {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(length.and_then(|length| usize::try_from(length).ok()).unwrap_or(0));
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| {
            let message =
                "The picture broke off on its way from chat.qwen.ai. Send the request again: it is not drawn anew.";
            Error::new(ErrorKind::MediaUnavailable, message).with_detail(error.to_string()).without_repeat()
        })?;
        if bytes.len().saturating_add(piece.len()) > MAX_BYTES {
            return Err(too_large());
        }
        reservation.grow(piece.len())?;
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.into())
}

/// Its format, by how it begins.
fn format_of(head: &[u8]) -> Option<PictureFormat> {
    let found = media_type::detect(head, None, "")?;
    match found.content_type.strip_prefix("image/")? {
        "jpeg" => Some(PictureFormat::Jpeg),
        "webp" => Some(PictureFormat::Webp),
        _ => Some(PictureFormat::Png),
    }
}

/// Its width and height, as far as its bytes tell.
fn pixels(bytes: &[u8]) -> Option<(u32, u32)> {
    let size = imagesize::blob_size(bytes).ok()?;
    Some((u32::try_from(size.width).ok()?, u32::try_from(size.height).ok()?))
}
