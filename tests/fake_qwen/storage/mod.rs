//! File storage: tokens for uploads, the object storage itself, parsing of documents.
//!
//! Objects, uploads and faults are told apart by the file's name, so that cases can share one fake.

mod api;
mod attach;
mod check;
mod clock;
mod errors;
mod faults;
mod form;
mod oss;
mod sign;
mod spool;
mod uploads;

use std::collections::HashMap;

use hyper::Method;
use hyper::http::request::Parts;
use uuid::Uuid;

use super::Shared;
use super::accounts::now;
use super::failures;
use spool::Blob;

pub(super) use api::answer as answer_api;
pub(super) use attach::{check as check_files, told as told_files};
pub use faults::{Stage, StorageFault, Trouble};
pub(super) use oss::{Cut, answer as answer_oss};

/// The bucket of all objects.
const BUCKET: &str = "qwen-webui-prod";
/// Region as `getstsToken` tells it.
const REGION: &str = "oss-ap-southeast-1";
/// Region as it is signed.
const SIGNED_REGION: &str = "ap-southeast-1";
/// Seconds that credentials live.
const CREDENTIAL_LIFE: i64 = 3_600;
/// Seconds that a link lives.
const LINK_LIFE: i64 = 300;

/// What the storage holds of a file.
#[derive(Clone, Debug)]
pub struct Object {
    /// `<user id>/<file id>_<raw name>`
    pub key: String,
    /// Length in bytes.
    pub size: u64,
    /// Hex digest of the content.
    pub sha256: String,
    /// `Content-Type` of the upload; empty if there was none.
    pub content_type: String,
    /// The content, if it is UTF-8 of at most 1 MiB.
    pub text: Option<String>,
}

/// A file that a token was given for.
struct Issued {
    id: String,
    account: String,
    key: String,
    name: String,
    parse: Parse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parse {
    Unasked,
    /// So many polls left before the result.
    Running(u64),
    Success,
    Failed,
}

struct Credential {
    id: String,
    secret: String,
    token: String,
    key: String,
    expires: i64,
}

struct Stored {
    content_type: String,
    etag: String,
    blob: Blob,
}

/// All of it.
#[derive(Default)]
pub(super) struct Storage {
    files: Vec<Issued>,
    credentials: HashMap<String, Credential>,
    /// By key, in order of arrival.
    objects: Vec<(String, Stored)>,
    uploads: HashMap<String, uploads::Upload>,
    aborted: Vec<String>,
    faults: faults::Faults,
    /// Tokens left, by account.
    tokens: HashMap<String, u64>,
    /// Polls that find a file still running, by what its name contains.
    polls: Vec<(String, u64)>,
}

impl Storage {
    pub(super) fn set_faults(&mut self, marker: &str, faults: &[StorageFault]) {
        self.faults.set(marker, faults);
    }

    pub(super) fn set_tokens(&mut self, account: &str, left: Option<u64>) {
        match left {
            Some(left) => self.tokens.insert(account.to_owned(), left),
            None => self.tokens.remove(account),
        };
    }

    pub(super) fn set_polls(&mut self, marker: &str, polls: u64) {
        self.polls.retain(|(known, _)| known != marker);
        self.polls.push((marker.to_owned(), polls));
    }

    pub(super) fn objects(&self) -> Vec<Object> {
        let objects = self.objects.iter().map(|(key, stored)| Object {
            key: key.clone(),
            size: stored.blob.size,
            sha256: stored.blob.sha256.clone(),
            content_type: stored.content_type.clone(),
            text: stored.blob.text(),
        });
        objects.collect()
    }

    pub(super) fn open_uploads(&self, marker: &str) -> usize {
        self.uploads.values().filter(|upload| name_of(&upload.key).contains(marker)).count()
    }

    pub(super) fn aborted_uploads(&self, marker: &str) -> usize {
        self.aborted.iter().filter(|key| name_of(key).contains(marker)).count()
    }

    /// A new file of `account`, and credentials that can write it.
    fn issue(&mut self, account: &str, name: &str) -> (&Issued, &Credential) {
        let id = Uuid::new_v4().to_string();
        let key = format!("{account}/{id}_{name}");
        self.files.push(Issued {
            id,
            account: account.to_owned(),
            key: key.clone(),
            name: name.to_owned(),
            parse: Parse::Unasked,
        });
        let credential = self.credential(key);
        (self.files.last().expect("the one just added"), &self.credentials[&credential])
    }

    /// New credentials for `key`; their id.
    fn credential(&mut self, key: String) -> String {
        let id = format!("STS.{}", &Uuid::new_v4().simple().to_string()[..24]);
        let credential = Credential {
            id: id.clone(),
            secret: format!("fake-secret-{}", Uuid::new_v4().simple()),
            // Base64 of the real ones has all three special characters.
            token: format!("CAIS{}+/{}==", Uuid::new_v4().simple(), Uuid::new_v4().simple()),
            key,
            expires: now() + CREDENTIAL_LIFE,
        };
        self.credentials.insert(id.clone(), credential);
        id
    }

    fn file(&self, id: &str) -> Option<&Issued> {
        self.files.iter().rev().find(|file| file.id == id)
    }

    fn has_key(&self, key: &str) -> bool {
        self.files.iter().any(|file| file.key == key)
    }

    fn object(&self, key: &str) -> Option<&Stored> {
        self.objects.iter().find(|(known, _)| known == key).map(|(_, stored)| stored)
    }

    fn store(&mut self, key: &str, stored: Stored) {
        self.objects.retain(|(known, _)| known != key);
        self.objects.push((key.to_owned(), stored));
    }
}

/// What a request to the storage is about.
pub(super) enum Place {
    /// A form, which brings its key along.
    Form,
    /// An object's key.
    Key(String),
}

/// Whether a request is for the storage: its path is a key that was given out, or it is signed as for one.
pub(super) fn place(shared: &Shared, parts: &Parts) -> Option<Place> {
    let path = parts.uri.path();
    if path.starts_with("/api/") {
        return None;
    }
    if path == "/" || path == format!("/{BUCKET}/") || path == format!("/{BUCKET}") {
        return (parts.method == Method::POST).then_some(Place::Form);
    }
    let key = sign::decoded(path.strip_prefix('/')?);
    let inner = key.strip_prefix(BUCKET).and_then(|rest| rest.strip_prefix('/')).map(str::to_owned);
    let storage = shared.storage.lock().unwrap();
    if storage.has_key(&key) {
        return Some(Place::Key(key));
    }
    let key = inner.unwrap_or(key);
    let signed = sign::header(&parts.headers, "authorization").starts_with("OSS")
        || sign::Query::of(parts.uri.query().unwrap_or_default()).is_signed();
    (signed || storage.has_key(&key)).then_some(Place::Key(key))
}

/// The raw name in a key.
fn name_of(key: &str) -> &str {
    let name = key.split_once('/').map_or(key, |(_, name)| name);
    name.split_once('_').map_or(name, |(_, name)| name)
}

fn is_failure(name: &str) -> bool {
    failures::named(name, None, "").is_some()
}
