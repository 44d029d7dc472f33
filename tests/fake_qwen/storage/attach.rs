//! The `messages[].files` of a completion.

use serde_json::Value;

use super::{Parse, Storage};

/// The required fields of an entry.
const REQUIRED: [&str; 7] = ["type", "name", "url", "file_type", "showType", "file_class", "status"];

/// Hosts whose images can be attached without an upload.
const OWN_HOSTS: [&str; 3] = ["qwen.ai", "qwenlm.ai", "qwen.com"];

/// Whether the upstream accepts these entries: they are complete, the files exist, and documents are parsed.
pub(in super::super) fn check(storage: &Storage, account: &str, files: &Value) -> bool {
    match files {
        Value::Null => true,
        Value::Array(entries) => entries.iter().all(|entry| is_valid(storage, account, entry)),
        _ => false,
    }
}

fn is_valid(storage: &Storage, account: &str, entry: &Value) -> bool {
    if REQUIRED.iter().any(|name| entry[*name].as_str().is_none_or(str::is_empty)) || entry["status"] != "uploaded" {
        return false;
    }
    let Some(key) = key(storage, account, entry) else {
        return entry["type"] == "image" && is_on_own_host(entry["url"].as_str().unwrap_or_default());
    };
    let parsed = storage.files.iter().any(|file| file.key == key && file.parse == Parse::Success);
    storage.object(&key).is_some() && (parsed || !is_document(entry))
}

fn key(storage: &Storage, account: &str, entry: &Value) -> Option<String> {
    storage.key_of(account, entry["id"].as_str().or(entry["file"]["id"].as_str()), entry["url"].as_str())
}

fn is_document(entry: &Value) -> bool {
    !["image", "video", "audio"].iter().any(|kind| entry["type"] == *kind)
}

fn is_on_own_host(url: &str) -> bool {
    let rest = url.strip_prefix("https://").unwrap_or_default();
    let host = rest.split(['/', '?', '#', ':']).next().unwrap_or_default();
    OWN_HOSTS.iter().any(|own| host.strip_suffix(own).is_some_and(|before| before.is_empty() || before.ends_with('.')))
}

/// One line per entry: kind, name, size and digest of the uploaded content.
pub(in super::super) fn describe(storage: &Storage, account: &str, files: &Value) -> String {
    let lines = files.as_array().into_iter().flatten().map(|entry| {
        let text = |name: &str| entry[name].as_str().unwrap_or("-").to_owned();
        let key = key(storage, account, entry);
        let content = match key.and_then(|key| storage.object(&key)) {
            Some(stored) => format!("{} {}", stored.blob.size, stored.blob.sha256),
            None => "- -".to_owned(),
        };
        format!("{} {} {content}", text("type"), text("name"))
    });
    lines.collect::<Vec<_>>().join("\n")
}
