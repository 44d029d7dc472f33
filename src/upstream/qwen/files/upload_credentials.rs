//! Upload credentials: the site's permission (STS) to put one file into its storage.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::data_of;
use crate::{
    error::{Error, ErrorKind, Result},
    media_type::MediaKind,
    oss::{Credentials, Object},
    secret::Secret,
    upstream::{
        Host, Owner,
        qwen::{client::Client, wire},
    },
};

/// The answer of `getstsToken`.
#[derive(Deserialize)]
pub(super) struct UploadCredentials {
    access_key_id: String,
    access_key_secret: String,
    security_token: String,
    pub(super) file_url: String,
    pub(super) file_path: String,
    pub(super) file_id: String,
    bucketname: String,
    region: String,
    endpoint: String,
}

impl UploadCredentials {
    /// The object to write. The answer names hosts only, so that it cannot lead elsewhere; `origin` replaces the storage's own
    /// address.
    pub(super) fn object(&self, origin: Option<&str>, timeout: Duration, clock_ahead: i64) -> Result<Object> {
        let host = format!("{}.{}", self.bucketname, self.endpoint);
        let is_valid = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.');
        let origin = match origin {
            Some(origin) => origin.to_owned(),
            None if is_valid => format!("https://{host}"),
            None => return Err(unexpected_answer()),
        };
        Ok(Object {
            origin,
            bucket: self.bucketname.clone(),
            key: self.file_path.clone(),
            region: self.region.strip_prefix("oss-").unwrap_or(&self.region).to_owned(),
            credentials: Credentials {
                access_key_id: self.access_key_id.clone(),
                access_key_secret: Secret::new(self.access_key_secret.clone()),
            },
            security_token: Secret::new(self.security_token.clone()),
            patience: timeout,
            clock_ahead,
        })
    }
}

fn unexpected_answer() -> Error {
    Error::new(
        ErrorKind::UpstreamInvalid,
        "chat.qwen.ai answered oddly to the request for a place for a file. Send the request again.",
    )
    .retryable()
}

impl Client {
    /// Asks for upload credentials and returns the site's answer as it is.
    ///
    /// # Errors
    /// Any refusal of the site.
    pub async fn sts_token(
        &self,
        platform: &impl Host,
        owner: Option<&Owner>,
        name: &str,
        size: u64,
        kind: &str,
    ) -> Result<Json> {
        let body = json!({ "filename": name, "filesize": size, "filetype": kind });
        let answer = self.ask_whole(platform, owner, wire::STS_TOKEN, &body).await?;
        let is_token = answer.pointer("/data/access_key_id").or_else(|| answer.get("access_key_id")).is_some();
        if is_token { Ok(answer) } else { Err(unexpected_answer()) }
    }

    /// Asks for upload credentials.
    pub(super) async fn upload_credentials(
        &self,
        platform: &impl Host,
        owner: &Owner,
        name: &str,
        size: u64,
        kind: MediaKind,
    ) -> Result<UploadCredentials> {
        let answer = data_of(self.sts_token(platform, Some(owner), name, size, kind.as_str()).await?);
        serde_json::from_value(answer).map_err(|_| unexpected_answer())
    }
}
