//! Entries of a message's `files`, as the site's frontend makes them.

use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::{
    error::{Error, Result},
    media_type::{self, MediaKind},
    upstream::Host,
    upstream::Upload,
    upstream::qwen::ids,
};

/// The largest entry that a client may bring along. One of ours has some 2.5 KiB.
const MAX_ENTRY: usize = 8 * 1024;
/// The same as text, which may be indented and escaped.
const MAX_ENTRY_TEXT: usize = 64 * 1024;
const TOO_LARGE: &str = "The 'file_info' is too large.";
/// Hosts whose links the site takes as they are.
pub(super) const OWN_HOSTS: &[&str] = &["qwen.ai", "qwenlm.ai"];
/// The site's buckets. There is no other of that name, whatever the region; any other name may be somebody else's.
const OWN_BUCKETS: &[&str] = &["qwen-webui-prod"];

/// An entry of a message's `files`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FileEntry(Json);

/// A file in the site's storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Where it is.
    pub upload: Upload,
    /// SHA-256 of its content, in hex.
    pub hash: String,
    /// Its name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// How the site treats it.
    pub kind: MediaKind,
    /// Its media type.
    pub content_type: String,
}

impl File {
    /// The entry of a message's `files`.
    #[must_use]
    pub fn entry(&self, platform: &impl Host) -> FileEntry {
        let Self { upload: Upload { id, owner, url, expires_at: _ }, hash: _, name, size, kind, content_type } = self;
        let now = platform.now();
        let mut meta = json!({ "name": name, "size": size, "content_type": content_type });
        let mut entry = json!({
            "type": kind.as_str(),
            "file": {
                "created_at": now,
                "data": {},
                "filename": name,
                "hash": null,
                "id": id,
                "user_id": owner,
                "meta": null,
                "update_at": now,
            },
            "id": id,
            "url": url,
            "name": name,
            "collection_name": "",
            "progress": 0,
            "status": "uploaded",
            "greenNet": "success",
            "size": size,
            "error": "",
            "itemId": ids::uuid(platform),
            "file_type": content_type,
            "showType": kind.as_str(),
            "file_class": kind.class(),
            "uploadTaskId": ids::uuid(platform),
        });
        let set = |object: &mut Json, name: &str, value: Json| {
            if let Some(object) = object.as_object_mut() {
                object.insert(name.to_owned(), value);
            }
        };
        if *kind == MediaKind::Document {
            set(&mut meta, "parse_meta", json!({ "parse_status": "success" }));
        }
        if *kind == MediaKind::Document && content_type.starts_with("text/") {
            set(&mut entry, "context", "full".into());
        }
        if let Some(file) = entry.get_mut("file") {
            set(file, "meta", meta);
        }
        FileEntry(entry)
    }
}

impl FileEntry {
    /// The entry as JSON.
    #[must_use]
    pub fn json(&self) -> &Json {
        &self.0
    }

    /// The site's id of the file, or else its link without the signature.
    #[must_use]
    pub fn identity(&self) -> &str {
        let text = |name: &str| self.0.get(name).and_then(Json::as_str).filter(|text| !text.is_empty());
        text("id").or_else(|| text("url")?.split('?').next()).unwrap_or_default()
    }

    /// An entry that a client got from this server (`file_info`) and brings along. What the site needs and the client left
    /// out is added.
    ///
    /// # Errors
    /// `invalid_request` when it is no such entry.
    pub fn from_client(entry: &str, param: &str) -> Result<Self> {
        let wrong = |problem: &str| {
            Err(Error::invalid(param, format!("{problem} Send 'file_info' as the upload's answer has it.")))
        };
        // Read as a tree it takes many times its text.
        if entry.len() > MAX_ENTRY_TEXT {
            return wrong(TOO_LARGE);
        }
        let Ok(Json::Object(mut entry)) = serde_json::from_str(entry) else {
            return wrong("The 'file_info' is not an object.");
        };
        if serde_json::to_string(&entry).map_or(usize::MAX, |text| text.len()) > MAX_ENTRY {
            return wrong(TOO_LARGE);
        }
        let text = |entry: &serde_json::Map<String, Json>, name: &str| {
            entry.get(name).and_then(Json::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let Some(url) = text(&entry, "url") else { return wrong("The 'file_info' has no 'url'.") };
        let name = text(&entry, "name").unwrap_or_else(|| name_in(&url).1);
        let by_name = media_type::declared_type(text(&entry, "file_type").as_deref(), &name);
        let kind = text(&entry, "type")
            .and_then(|word| MediaKind::from_word(&word))
            .or_else(|| by_name.map(|found| found.kind));
        let kind = kind.unwrap_or(MediaKind::Document);
        let content_type = by_name.map_or("application/octet-stream", |found| found.content_type);
        for (field, value) in [
            ("type", kind.as_str()),
            ("name", &name),
            ("file_type", content_type),
            ("showType", kind.as_str()),
            ("file_class", kind.class()),
            ("status", "uploaded"),
        ] {
            if text(&entry, field).is_none() {
                entry.insert(field.to_owned(), value.into());
            }
        }
        Ok(Self(Json::Object(entry)))
    }
}

/// The id and the name in a link to the site's storage: its last part is `ID_NAME`.
pub(super) fn name_in(url: &str) -> (Option<String>, String) {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let last = percent_decode_str(path.rsplit('/').next().unwrap_or_default()).decode_utf8_lossy().into_owned();
    match last.split_once('_') {
        Some((id, name)) if uuid::Uuid::try_parse(id).is_ok() => (Some(id.to_owned()), name.to_owned()),
        _ => (None, last),
    }
}

/// Whether a host is one of the site's buckets at one of the storage's endpoints: `BUCKET.oss-….aliyuncs.com`.
pub(super) fn is_own_bucket(host: &str) -> bool {
    let Some((bucket, endpoint)) = host.split_once('.') else { return false };
    let region = endpoint.strip_suffix(".aliyuncs.com").and_then(|endpoint| endpoint.strip_prefix("oss-"));
    OWN_BUCKETS.contains(&bucket) && region.is_some_and(|region| !region.is_empty() && !region.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_sites_own_buckets_are_taken_as_they_are() {
        for own in ["qwen-webui-prod.oss-accelerate.aliyuncs.com", "qwen-webui-prod.oss-ap-southeast-1.aliyuncs.com"] {
            assert!(is_own_bucket(own), "{own}");
        }
        for other in [
            "qwen-webui-evil.oss-accelerate.aliyuncs.com",
            "qwen-webui-prod2.oss-accelerate.aliyuncs.com",
            "qwen-webui-.oss-accelerate.aliyuncs.com",
            "qwen-webui-prod.evil.oss-accelerate.aliyuncs.com",
            "x.qwen-webui-prod.oss-accelerate.aliyuncs.com",
            "qwen-webui-prod.fc.aliyuncs.com",
            "qwen-webui-prod.oss-.aliyuncs.com",
            "qwen-webui-prod.oss-accelerate.aliyuncs.com.evil.example",
            "qwen-webui-prod.evil.example",
            "qwen-webui-prod",
        ] {
            assert!(!is_own_bucket(other), "{other}");
        }
    }
}
