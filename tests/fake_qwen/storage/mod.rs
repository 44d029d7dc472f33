//! File storage: upload credentials, the object storage, and the parsing of documents.
//!
//! Objects, uploads and faults are selected by the file name, so that cases can share a fake.

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
pub(super) use attach::{check as check_files, describe as describe_files};
pub use faults::{FaultKind, Stage, StorageFault};
pub(super) use oss::{Disconnect, answer as answer_oss};

/// The bucket of all objects.
const BUCKET: &str = "qwen-webui-prod";
/// The region as `getstsToken` returns it.
const REGION: &str = "oss-ap-southeast-1";
/// The region as it is signed.
const SIGNED_REGION: &str = "ap-southeast-1";
/// The lifetime of credentials.
const CREDENTIAL_SECONDS: i64 = 3_600;
/// The lifetime of a signed URL.
const LINK_SECONDS: i64 = 300;

/// A stored file.
#[derive(Clone, Debug)]
pub struct Object {
    /// `<user id>/<file id>_<raw name>`
    pub key: String,
    /// Length in bytes.
    pub size: u64,
    /// Hex digest of the content.
    pub sha256: String,
    /// The `Content-Type` of the upload; empty without one.
    pub content_type: String,
    /// The content, if it is UTF-8 text of at most 1 MiB.
    pub text: Option<String>,
}

/// A file for which credentials were issued.
struct IssuedFile {
    id: String,
    account: String,
    key: String,
    name: String,
    parse: Parse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parse {
    NotRequested,
    /// The number of polls before the result.
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

/// The state of the storage.
#[derive(Default)]
pub(super) struct Storage {
    files: Vec<IssuedFile>,
    credentials: HashMap<String, Credential>,
    /// By key, in the order of arrival.
    objects: Vec<(String, Stored)>,
    uploads: HashMap<String, uploads::Upload>,
    aborted: Vec<String>,
    faults: faults::Faults,
    /// The number of credentials that an account may still request.
    credentials_left: HashMap<String, u64>,
    /// The number of polls that report a file as running, by a part of its name.
    polls: Vec<(String, u64)>,
}

impl Storage {
    pub(super) fn set_faults(&mut self, marker: &str, faults: &[StorageFault]) {
        self.faults.set(marker, faults);
    }

    pub(super) fn set_credentials_left(&mut self, account: &str, left: Option<u64>) {
        match left {
            Some(left) => self.credentials_left.insert(account.to_owned(), left),
            None => self.credentials_left.remove(account),
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

    /// Creates a file of `account` and credentials to write it.
    fn issue(&mut self, account: &str, name: &str) -> (&IssuedFile, &Credential) {
        let id = Uuid::new_v4().to_string();
        let key = format!("{account}/{id}_{name}");
        self.files.push(IssuedFile {
            id,
            account: account.to_owned(),
            key: key.clone(),
            name: name.to_owned(),
            parse: Parse::NotRequested,
        });
        let credential = self.new_credential(key);
        (self.files.last().expect("the file that was just added"), &self.credentials[&credential])
    }

    /// Creates credentials for `key`; returns their id.
    fn new_credential(&mut self, key: String) -> String {
        let id = format!("STS.{}", &Uuid::new_v4().simple().to_string()[..24]);
        let credential = Credential {
            id: id.clone(),
            secret: format!("fake-secret-{}", Uuid::new_v4().simple()),
            // Real tokens are base64 with all three special characters.
            token: format!("CAIS{}+/{}==", Uuid::new_v4().simple(), Uuid::new_v4().simple()),
            key,
            expires: now() + CREDENTIAL_SECONDS,
        };
        self.credentials.insert(id.clone(), credential);
        id
    }

    fn file(&self, id: &str) -> Option<&IssuedFile> {
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

/// The target of a storage request.
pub(super) enum Target {
    /// A form, which contains the key.
    Form,
    /// An object's key.
    Key(String),
}

/// The target, if the request is for the storage: its path is an issued key, or it is signed.
pub(super) fn target(shared: &Shared, parts: &Parts) -> Option<Target> {
    let path = parts.uri.path();
    if path.starts_with("/api/") {
        return None;
    }
    if path == "/" || path == format!("/{BUCKET}/") || path == format!("/{BUCKET}") {
        return (parts.method == Method::POST).then_some(Target::Form);
    }
    let key = sign::decoded(path.strip_prefix('/')?);
    let key_in_bucket = key.strip_prefix(BUCKET).and_then(|rest| rest.strip_prefix('/')).map(str::to_owned);
    let storage = shared.storage.lock().unwrap();
    if storage.has_key(&key) {
        return Some(Target::Key(key));
    }
    let key = key_in_bucket.unwrap_or(key);
    let signed = sign::header(&parts.headers, "authorization").starts_with("OSS")
        || sign::Query::of(parts.uri.query().unwrap_or_default()).is_signed();
    (signed || storage.has_key(&key)).then_some(Target::Key(key))
}

/// The file name in a key.
fn name_of(key: &str) -> &str {
    let name = key.split_once('/').map_or(key, |(_, name)| name);
    name.split_once('_').map_or(name, |(_, name)| name)
}

fn is_failure(name: &str) -> bool {
    failures::named(name, None, "").is_some()
}
