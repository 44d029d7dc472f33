//! Files of a turn: uploaded to the site's storage with a credential for that one file, parsed, and named in the message.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use time::OffsetDateTime;

use super::{
    Qwen, refusal, unreachable_error,
    wire::{self, Purpose},
};
use crate::{
    error::{Error, ErrorKind, Result},
    oss::{Credentials, Scope, Signable, UNSIGNED_PAYLOAD, escape_path},
    platform::{self, Platform},
    secret::Secret,
};

/// How long parsing may take, and how often it is asked for.
const PARSE_POLLS: u32 = 60;
const PARSE_PAUSE: Duration = Duration::from_millis(500);

/// The answer of `getstsToken`: where to put one file, and with what.
#[derive(Deserialize)]
struct Ticket {
    access_key_id: String,
    access_key_secret: String,
    security_token: String,
    file_url: String,
    file_path: String,
    file_id: String,
    bucketname: String,
    region: String,
    endpoint: String,
}

/// An entry of a message's `files`, as the site's frontend makes it.
#[derive(Clone, Debug, Serialize)]
pub struct FileEntry(Json);

impl Ticket {
    /// The storage's origin: host names only, so that an answer cannot lead elsewhere.
    fn origin(&self, own: Option<&str>) -> Option<String> {
        if let Some(own) = own {
            return Some(own.to_owned());
        }
        let host = format!("{}.{}", self.bucketname, self.endpoint);
        let sane = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.');
        sane.then(|| format!("https://{host}"))
    }
}

fn odd(what: &str) -> Error {
    Error::new(ErrorKind::UpstreamInvalid, format!("chat.qwen.ai answered oddly to {what}. Send the request again."))
        .retryable()
}

impl Qwen {
    /// Uploads a plain text and has it parsed.
    ///
    /// # Errors
    /// Any refusal of the site or its storage.
    pub async fn upload_text(&self, platform: &impl Platform, name: &str, text: &str) -> Result<FileEntry> {
        const CONTENT_TYPE: &str = "text/plain";
        let ticket = self.ticket(platform, name, text.len(), "file").await?;
        self.put(platform, &ticket, CONTENT_TYPE, Bytes::copy_from_slice(text.as_bytes())).await?;
        self.parse(platform, &ticket.file_id).await?;
        let now = platform.now();
        let meta = json!({ "name": name, "size": text.len(), "content_type": CONTENT_TYPE, "parse_meta": { "parse_status": "success" } });
        Ok(FileEntry(json!({
            "type": "file",
            "file": {
                "created_at": now,
                "data": {},
                "filename": name,
                "hash": null,
                "id": ticket.file_id,
                "user_id": ticket.file_path.split('/').next(),
                "meta": meta,
                "update_at": now,
            },
            "id": ticket.file_id,
            "url": ticket.file_url,
            "name": name,
            "collection_name": "",
            "progress": 0,
            "status": "uploaded",
            "greenNet": "success",
            "size": text.len(),
            "error": "",
            "itemId": wire::uuid(platform),
            "file_type": CONTENT_TYPE,
            "showType": "file",
            "file_class": "document",
            "context": "full",
            "uploadTaskId": wire::uuid(platform),
        })))
    }

    /// Asks for a place in the storage.
    async fn ticket(&self, platform: &impl Platform, name: &str, size: usize, kind: &str) -> Result<Ticket> {
        let body = json!({ "filename": name, "filesize": size, "filetype": kind });
        let answer = self.ask(platform, wire::STS_TOKEN, &body).await?;
        serde_json::from_value(answer).map_err(|_| odd("the request for a place for a file"))
    }

    /// Puts a whole file into the storage.
    async fn put(&self, platform: &impl Platform, ticket: &Ticket, content_type: &str, body: Bytes) -> Result<()> {
        let origin = ticket.origin(self.oss_url.as_deref()).ok_or_else(|| odd("the request for a place for a file"))?;
        let time = oss_time(platform.now());
        let headers = [
            ("content-type", content_type),
            ("x-oss-content-sha256", UNSIGNED_PAYLOAD),
            ("x-oss-date", time.as_str()),
            ("x-oss-security-token", ticket.security_token.as_str()),
        ];
        let signable = Signable {
            method: "PUT",
            bucket: &ticket.bucketname,
            key: &ticket.file_path,
            query: &[],
            headers: &headers,
            additional_headers: &[],
        };
        let credentials = Credentials {
            access_key_id: ticket.access_key_id.clone(),
            access_key_secret: Secret::new(ticket.access_key_secret.clone()),
        };
        let region = ticket.region.strip_prefix("oss-").unwrap_or(&ticket.region);
        let authorization = signable.authorization(&credentials, Scope { region, time: &time });
        let mut request = http::Request::new(body);
        *request.method_mut() = Method::PUT;
        let uri = format!("{origin}/{}", escape_path(&ticket.file_path));
        *request.uri_mut() = uri.parse().map_err(|_| odd("the request for a place for a file"))?;
        for (name, value) in headers.iter().copied().chain([("authorization", authorization.as_str())]) {
            insert(request.headers_mut(), name, value);
        }
        let answer = match platform::timeout(platform, self.idle, platform.fetch(request)).await {
            Some(answer) => answer.map_err(|error| unreachable_error(&error))?,
            None => return Err(self.idle_error()),
        };
        if answer.status().is_success() {
            return Ok(());
        }
        let (head, body) = self.whole(platform, answer).await?;
        let code = String::from_utf8_lossy(&body);
        let code =
            code.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map_or("", |(code, _)| code);
        Err(Error::new(
            ErrorKind::UpstreamError,
            format!(
                "The storage of chat.qwen.ai refused the file with status {}. Send the request again.",
                head.status.as_u16()
            ),
        )
        .with_detail(code.chars().filter(char::is_ascii_alphanumeric).take(60).collect::<String>())
        .retryable())
    }

    /// Has a document parsed and waits for it.
    async fn parse(&self, platform: &impl Platform, file_id: &str) -> Result<()> {
        self.ask(platform, wire::PARSE, &json!({ "file_id": file_id })).await?;
        for _ in 0..PARSE_POLLS {
            let answer = self.ask(platform, wire::PARSE_STATUS, &json!({ "file_id_list": [file_id] })).await?;
            match answer.pointer("/0/status").and_then(Json::as_str) {
                Some("success") => return Ok(()),
                Some("failed") => {
                    return Err(Error::new(
                        ErrorKind::UpstreamRejected,
                        "chat.qwen.ai could not read the uploaded document. Send it in another format, or shorten it.",
                    ));
                }
                _ => platform.sleep(PARSE_PAUSE).await,
            }
        }
        Err(Error::new(
            ErrorKind::UpstreamTimeout,
            "chat.qwen.ai took too long to read the uploaded document. Send the request again.",
        ))
    }

    /// Posts JSON and gives the `data` of a good answer.
    async fn ask(&self, platform: &impl Platform, path: &str, body: &Json) -> Result<Json> {
        let request = self.request(platform, Method::POST, path, Purpose::Data, body.to_string().into())?;
        let answer = self.send(platform, request).await?;
        let (head, body) = self.whole(platform, answer).await?;
        let json = serde_json::from_slice::<Json>(&body).ok().filter(Json::is_object);
        match json {
            Some(mut json) if head.status.is_success() && json.get("success") != Some(&Json::Bool(false)) => {
                Ok(json.get_mut("data").map(Json::take).unwrap_or(json))
            }
            _ => {
                let error = refusal::from_answer(head.status.as_u16(), &head.headers, &body);
                self.session.refused(platform.now(), &error);
                Err(error)
            }
        }
    }
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(mut value) = HeaderValue::from_str(value) {
        value.set_sensitive(name == "authorization" || name == "x-oss-security-token");
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// `YYYYMMDDTHHMMSSZ`
fn oss_time(now: u64) -> String {
    let seconds = i64::try_from(now / 1000).unwrap_or(0);
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_written_as_the_storage_wants_it() {
        assert_eq!(oss_time(1_790_050_415_999), "20260922T041335Z");
    }
}
