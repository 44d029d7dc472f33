//! The upstream streams in `tests/streams`.

use std::path::PathBuf;

use serde_json::Value;

/// A stream with its description.
#[derive(Clone, Debug)]
pub struct Fixture {
    /// File name without `.sse`.
    pub name: String,
    /// The purpose of the stream.
    pub about: String,
    /// Fields of the OpenAI request; an empty object without any.
    pub request: Value,
    /// The upstream's body with the placeholders `{chat_id}`, `{user_id}` and `{response_id}`.
    pub body: Vec<u8>,
}

impl Fixture {
    /// Loads the fixture with this name, if it exists.
    ///
    /// # Panics
    /// When the file has no valid header.
    pub fn load(name: &str) -> Option<Fixture> {
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-') {
            return None;
        }
        let file = std::fs::read(folder().join(format!("{name}.sse"))).ok()?;
        let end = file.windows(5).position(|bytes| bytes == b"\n---\n").expect("a line of dashes after the header");
        let header: Value = serde_json::from_slice(&file[..end]).expect("a header of JSON");
        Some(Fixture {
            name: name.to_owned(),
            about: header["about"].as_str().expect("what it is about").to_owned(),
            request: header.get("request").cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new())),
            body: file[end + 5..].to_vec(),
        })
    }

    /// All fixtures, by name.
    ///
    /// # Panics
    /// When the folder cannot be read or a file has no valid header.
    pub fn all() -> Vec<Fixture> {
        let files = std::fs::read_dir(folder()).expect("the folder of streams");
        let mut names: Vec<String> =
            files.filter_map(|file| file.ok()?.file_name().to_str()?.strip_suffix(".sse").map(str::to_owned)).collect();
        names.sort();
        names.iter().map(|name| Fixture::load(name).expect("a plain file name")).collect()
    }

    /// The body with its placeholders filled in.
    pub fn filled(&self, chat_id: &str, user_id: &str, response_id: &str) -> Vec<u8> {
        filled(&self.body, chat_id, user_id, response_id)
    }
}

/// A body with its placeholders filled in.
pub(super) fn filled(body: &[u8], chat_id: &str, user_id: &str, response_id: &str) -> Vec<u8> {
    let mut body = body.to_vec();
    for (placeholder, id) in [("{chat_id}", chat_id), ("{user_id}", user_id), ("{response_id}", response_id)] {
        body = replaced(&body, placeholder.as_bytes(), id.as_bytes());
    }
    body
}

/// Splits a stream after its blank lines.
pub(super) fn events(body: &[u8]) -> Vec<Vec<u8>> {
    let mut events = Vec::new();
    let mut event = Vec::new();
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        event.extend_from_slice(line);
        if line.trim_ascii().is_empty() {
            events.push(std::mem::take(&mut event));
        }
    }
    if !event.is_empty() {
        events.push(event);
    }
    events
}

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/streams"))
}

fn replaced(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memmem::find(rest, from) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    out.extend_from_slice(rest);
    out
}
