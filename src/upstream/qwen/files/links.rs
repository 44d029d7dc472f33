//! Links to files in the site's storage: how long they live, new ones, and whether a link is the site's own.

use std::time::Duration;

use serde_json::json;
use url::Url;

use super::entry::{File, FileEntry, OWN_HOSTS, is_own_bucket, name_in};
use crate::{
    media_type::{self, MediaKind},
    unix_time::UnixMillis,
    upstream::{
        Host, Owner, Upload,
        qwen::{client::Client, ids, wire},
    },
};

/// How long a link lives if it does not contain its lifetime.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(300);
/// A link is not used again this shortly before its end.
pub(super) const LINK_MARGIN: Duration = Duration::from_secs(20);
impl Client {
    /// The upload with a link that lives: the given one, or a new one. If the site returns no new link the old one stays, since
    /// the site accepts ended links, too.
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

    /// The entry for a link to the site's own storage, from what the link contains; its size stays unknown. `None` for links to
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

/// When a link ends.
pub(super) fn link_end(url: &str, now: UnixMillis) -> UnixMillis {
    let seconds = url
        .split_once("x-oss-expires=")
        .and_then(|(_, rest)| rest.split(|character: char| !character.is_ascii_digit()).next())
        .and_then(|digits| digits.parse::<u64>().ok());
    now.saturating_add(seconds.map_or(DEFAULT_LIFETIME, Duration::from_secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_link_is_read_from_it() {
        assert_eq!(link_end("https://x/y?a=1&x-oss-expires=60&b=2", UnixMillis::new(1000)), UnixMillis::new(61_000));
        assert_eq!(link_end("https://x/y", UnixMillis::new(1000)), UnixMillis::new(301_000));
    }
}
