//! The file routes of the web app: credentials, links, parsing.

use serde_json::{Value, json};

use super::super::Shared;
use super::super::accounts::Sender;
use super::super::body::{Reply, Start};
use super::super::failures;
use super::super::routes::Call;
use super::faults::{FaultKind, Stage};
use super::sign::{self, ALGORITHM, Query, Request, Scope};
use super::{BUCKET, IssuedFile, LINK_SECONDS, Parse, REGION, SIGNED_REGION, Storage, clock};

/// The response, if the request is for one of the file routes.
pub(in super::super) fn answer(shared: &Shared, call: &Call) -> Option<Reply> {
    let handler = match call.path.trim_end_matches('/') {
        _ if call.method != hyper::Method::POST => return None,
        "/api/v2/files/getstsToken" | "/api/v1/files/getstsToken" => token,
        "/api/v2/files/getfilelink" => link,
        "/api/v2/files/parse" => parse,
        "/api/v2/files/parse/status" => status,
        _ => return None,
    };
    let sender = shared.accounts.lock().unwrap().sender(&call.headers);
    let unauthorized = |status| {
        failures::refusal(status, &call.request_id, "Unauthorized", "Your session has expired, please sign in again.")
    };
    Some(match sender {
        Sender::Cookie(account) | Sender::Bearer(account) => handler(shared, call, &account),
        Sender::Rejected => unauthorized(200),
        Sender::Anonymous => unauthorized(401),
    })
}

fn token(shared: &Shared, call: &Call, account: &str) -> Reply {
    let body = call.json();
    let get = |old: &str, new: &str| if body[old].is_null() { body[new].clone() } else { body[old].clone() };
    let (name, size, kind) = (get("filename", "file_name"), get("filesize", "file_size"), get("filetype", "file_type"));
    let Some(name) = name.as_str().filter(|name| !name.is_empty() && !name.contains('/')) else {
        return missing(call, "filename");
    };
    let sized = size.is_u64() || size.as_str().is_some_and(|size| size.parse::<u64>().is_ok());
    if !sized {
        return missing(call, "filesize");
    }
    if kind.as_str().is_none_or(str::is_empty) {
        return missing(call, "filetype");
    }
    let mut storage = shared.storage.lock().unwrap();
    let mut delay = None;
    match storage.faults.take(Stage::Token, name) {
        Some(FaultKind::Error(failure)) => {
            return failures::named(failure, None, &call.request_id).unwrap_or_else(|| failures::unknown(failure));
        }
        Some(FaultKind::Status(status)) => return Reply::whole(status, "text/plain", "Internal Server Error"),
        Some(FaultKind::Drop(_)) => return Reply::reset(),
        Some(FaultKind::Delay(duration)) => delay = Some(duration),
        Some(FaultKind::SlowRead(_)) | None => {}
    }
    if let Some(left) = storage.credentials_left.get_mut(account) {
        if *left == 0 {
            let details = "You have uploaded too many files, please try again later.";
            return failures::refusal(200, &call.request_id, "RateLimited", details);
        }
        *left -= 1;
    }
    let endpoint = shared.endpoint();
    let (file, credential) = storage.issue(account, name);
    let (id, key) = (file.id.clone(), file.key.clone());
    let mut data = json!({
        "access_key_id": credential.id, "access_key_secret": credential.secret, "security_token": credential.token,
        "file_path": key, "file_id": id, "bucketname": BUCKET, "region": REGION, "endpoint": endpoint
    });
    data["file_url"] = signed_url(&mut storage, &endpoint, &key).into();
    drop(storage);
    let mut reply = match call.path.starts_with("/api/v1/") {
        true => Reply::whole(200, "application/json", data.to_string()),
        false => failures::success(&call.request_id, &data),
    };
    if let (Start::After(start), Some(delay)) = (&mut reply.start, delay) {
        *start += delay;
    }
    reply
}

fn missing(call: &Call, field: &str) -> Reply {
    let details = format!("Field '{field}': Field required");
    failures::refusal(200, &call.request_id, "RequestValidationError", &details).header("x-actual-status-code", "400")
}

/// A signed URL of `key` with new credentials, valid for [`LINK_SECONDS`].
fn signed_url(storage: &mut Storage, endpoint: &str, key: &str) -> String {
    let credential = storage.new_credential(key.to_owned());
    let credential = &storage.credentials[&credential];
    let at = clock::stamp();
    let scope = Scope {
        access_key: credential.id.clone(),
        date: at[..8].to_owned(),
        region: SIGNED_REGION.to_owned(),
        tail: "oss/aliyun_v4_request".to_owned(),
    };
    let query = format!(
        "x-oss-security-token={}&x-oss-date={at}&x-oss-expires={LINK_SECONDS}&x-oss-signature-version={ALGORITHM}&x-oss-credential={}",
        sign::encoded(&credential.token),
        sign::encoded(&format!("{}/{}", scope.access_key, scope.text()))
    );
    let request =
        Request { method: "GET", bucket: BUCKET, key, query: &Query::of(&query), headers: &hyper::HeaderMap::new() };
    let signature = scope.sign(&credential.secret, &request.v4(&at, &scope, "").0);
    format!("http://{endpoint}/{}?{query}&x-oss-signature={signature}", sign::encoded_path(key))
}

fn link(shared: &Shared, call: &Call, account: &str) -> Reply {
    let body = call.json();
    let mut storage = shared.storage.lock().unwrap();
    let key = storage.key_of(account, body["file_id"].as_str(), body["fileUrl"].as_str());
    let Some(key) = key.filter(|key| storage.object(key).is_some()) else { return not_found(call) };
    let url = signed_url(&mut storage, &shared.endpoint(), &key);
    failures::success(&call.request_id, &json!({"fileUrl": url, "file_url": url}))
}

fn parse(shared: &Shared, call: &Call, account: &str) -> Reply {
    let body = call.json();
    let mut storage = shared.storage.lock().unwrap();
    let key = storage.key_of(account, body["file_id"].as_str(), None);
    let Some(key) = key.filter(|key| storage.object(key).is_some()) else { return not_found(call) };
    let Storage { files, polls, .. } = &mut *storage;
    if let Some(file) = files.iter_mut().find(|file| file.key == key) {
        let matching = polls.iter().filter(|(marker, _)| file.name.contains(marker.as_str()));
        let polls = matching.max_by_key(|(marker, _)| marker.len()).map_or(1, |(_, polls)| *polls);
        file.parse = Parse::Running(polls);
    }
    failures::success(&call.request_id, &Value::Bool(true))
}

fn status(shared: &Shared, call: &Call, account: &str) -> Reply {
    let body = call.json();
    let Some(ids) = body["file_id_list"].as_array() else { return missing(call, "file_id_list") };
    let mut storage = shared.storage.lock().unwrap();
    let mut list = Vec::new();
    for id in ids {
        let file = storage.files.iter_mut().find(|file| file.account == account && id == file.id.as_str());
        let (status, error) = file.map_or(("failed", "file not found"), poll);
        list.push(json!({"file_id": id, "status": status, "error_msg": error}));
    }
    failures::success(&call.request_id, &list.into())
}

/// Advances the parsing of a file by one poll; returns its status and error text.
fn poll(file: &mut IssuedFile) -> (&'static str, &'static str) {
    file.parse = match file.parse {
        Parse::Running(0) if file.name.contains("unparsable") => Parse::Failed,
        Parse::Running(0) => Parse::Success,
        Parse::Running(left) => {
            file.parse = Parse::Running(left - 1);
            return ("running", "");
        }
        done => done,
    };
    match file.parse {
        Parse::Success => ("success", ""),
        Parse::Failed => ("failed", "The file could not be parsed."),
        _ => ("pending", ""),
    }
}

fn not_found(call: &Call) -> Reply {
    failures::refusal(200, &call.request_id, "Not_Found", "File not found")
}

impl Storage {
    /// The key of a file of `account`, found by id or URL.
    pub(super) fn key_of(&self, account: &str, id: Option<&str>, url: Option<&str>) -> Option<String> {
        let by_id = id.and_then(|id| self.file(id));
        let by_url = || {
            let path = url?.split(['?', '#']).next()?;
            let path =
                path.split_once("://").map_or(path, |(_, rest)| rest.split_once('/').map_or("", |(_, path)| path));
            let key = sign::decoded(path);
            self.files.iter().find(|file| file.key == key)
        };
        by_id.or_else(by_url).filter(|file| file.account == account).map(|file| file.key.clone())
    }
}
