//! One object: its address and credentials, and the requests that store it whole.

use std::{fmt, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::json;
use time::OffsetDateTime;

use super::network::Network;
use super::sign::{
    ALGORITHM, Credentials, Scope, Signable, UNSIGNED_PAYLOAD, escape, escape_path, hex, policy_signature,
};
use crate::{
    platform::telemetry::UpstreamKind,
    platform::{self, FetchErrorKind, FetchResponse, Payload},
    secret::Secret,
    unix_time::UnixMillis,
};

/// The limit of an answer, which is a short XML document.
const MAX_ANSWER: usize = 256 * 1024;
/// How long the policy of a form is valid.
const POLICY_LIFETIME: Duration = Duration::from_secs(600);

/// The address of one object, with temporary credentials for it.
#[derive(Debug)]
pub struct Object {
    /// Scheme and host of the bucket.
    pub origin: String,
    /// The bucket's name.
    pub bucket: String,
    /// The object's name, not escaped.
    pub key: String,
    /// The signed region, such as `ap-southeast-1`.
    pub region: String,
    /// The key that signs.
    pub credentials: Credentials,
    /// The token of temporary credentials.
    pub security_token: Secret,
    /// The timeout of one request.
    pub patience: Duration,
    /// How far the storage's clock is ahead of this machine's, in milliseconds. Signatures use the storage's time.
    pub clock_ahead: i64,
}

/// Why a request to the storage failed. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The status of the answer; `None` without a usable answer.
    pub status: Option<u16>,
    /// The code in the answer (`AccessDenied`, …), or a description of what went wrong.
    pub code: String,
    /// Whether the request timed out.
    pub is_timeout: bool,
}

impl Failure {
    /// A failure without an answer, or with an unexpected one.
    pub(super) fn unexpected(code: &str) -> Self {
        Self { status: None, code: code.to_owned(), is_timeout: false }
    }

    fn timeout() -> Self {
        Self { is_timeout: true, ..Self::unexpected("no answer in time") }
    }

    /// Whether the same request may succeed a moment later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.status.is_none_or(|status| status >= 500 || matches!(status, 408 | 429))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => write!(f, "{status} {}", self.code),
            None => f.write_str(&self.code),
        }
    }
}

impl std::error::Error for Failure {}

/// An answer with a success status.
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Object {
    /// Stores the whole object with one `PUT`.
    ///
    /// # Errors
    /// The storage refuses the request, or does not answer in time.
    pub async fn put(&self, platform: &impl Network, content_type: &str, body: Payload) -> Result<(), Failure> {
        self.send(platform, Method::PUT, &[], content_type, body).await.map(drop)
    }

    /// Stores the whole object with one `POST` of a form, whose policy allows only this object.
    ///
    /// # Errors
    /// The storage refuses the request, or does not answer in time.
    pub async fn post_form(&self, platform: &impl Network, content_type: &str, body: Payload) -> Result<(), Failure> {
        let now = self.now(platform);
        let time = timestamp(now);
        let scope = self.scope(&time);
        let credential = scope.credential(&self.credentials);
        let mut fields = vec![
            ("key", self.key.as_str()),
            ("content-type", content_type),
            ("success_action_status", "200"),
            ("x-oss-signature-version", ALGORITHM),
            ("x-oss-credential", credential.as_str()),
            ("x-oss-date", time.as_str()),
            ("x-oss-security-token", self.security_token.expose()),
        ];
        let size = body.len();
        let mut conditions = vec![json!({ "bucket": self.bucket }), json!(["content-length-range", size, size])];
        conditions.extend(fields.iter().map(|(name, value)| json!(["eq", format!("${name}"), value])));
        let expiration = policy_time(now.saturating_add(POLICY_LIFETIME));
        let policy = BASE64.encode(json!({ "expiration": expiration, "conditions": conditions }).to_string());
        let signature = policy_signature(&self.credentials, scope, &policy);
        fields.extend([("policy", policy.as_str()), ("x-oss-signature", signature.as_str())]);

        // Content that holds the boundary could add fields to the form, so it must not be guessed.
        let random = platform.random().map_err(|error| Failure::unexpected(&error.to_string()))?;
        let boundary = format!("----form{}", hex(&random));
        let field = |(name, value)| {
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let mut head: String = fields.into_iter().map(field).collect();
        head.push_str(&format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"file\"\r\nContent-Type: {content_type}\r\n\r\n"
        ));
        let tail = format!("\r\n--{boundary}--\r\n");
        let form = std::iter::once(Bytes::from(head)).chain(body.pieces().cloned()).chain([Bytes::from(tail)]);

        let mut request = http::Request::new(form.collect());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri("", "")?;
        insert(request.headers_mut(), "content-type", &format!("multipart/form-data; boundary={boundary}"));
        self.ask(platform, request).await.map(drop)
    }

    /// Sends a signed request about the object.
    pub(super) async fn send(
        &self,
        platform: &impl Network,
        method: Method,
        query: &[(&str, Option<&str>)],
        content_type: &str,
        body: Payload,
    ) -> Result<Answer, Failure> {
        let time = timestamp(self.now(platform));
        let mut headers = vec![
            ("x-oss-content-sha256", UNSIGNED_PAYLOAD),
            ("x-oss-date", time.as_str()),
            ("x-oss-security-token", self.security_token.expose()),
        ];
        if !content_type.is_empty() {
            headers.push(("content-type", content_type));
        }
        let signable = Signable {
            method: method.as_str(),
            bucket: &self.bucket,
            key: &self.key,
            query,
            headers: &headers,
            additional_headers: &[],
        };
        let authorization = signable.authorization(&self.credentials, self.scope(&time));
        let pair = |(name, value): &(&str, Option<&str>)| match value {
            Some(value) => format!("{}={}", escape(name), escape(value)),
            None => escape(name),
        };
        let pairs: Vec<String> = query.iter().map(pair).collect();
        let mut request = http::Request::new(body);
        *request.uri_mut() = self.uri(&escape_path(&self.key), &pairs.join("&"))?;
        *request.method_mut() = method;
        for (name, value) in headers.iter().copied().chain([("authorization", authorization.as_str())]) {
            insert(request.headers_mut(), name, value);
        }
        self.ask(platform, request).await
    }

    /// Returns the storage's time.
    fn now(&self, platform: &impl Network) -> UnixMillis {
        platform.now().saturating_add_signed(self.clock_ahead)
    }

    fn scope<'a>(&'a self, time: &'a str) -> Scope<'a> {
        Scope { region: &self.region, time }
    }

    fn uri(&self, path: &str, query: &str) -> Result<http::Uri, Failure> {
        let separator = if query.is_empty() { "" } else { "?" };
        format!("{}/{path}{separator}{query}", self.origin).parse().map_err(|_| Failure::unexpected("invalid URL"))
    }

    async fn ask(&self, platform: &impl Network, request: http::Request<Payload>) -> Result<Answer, Failure> {
        let exchange = async {
            read(
                platform::ask(platform, UpstreamKind::Storage, platform.fetch(request))
                    .await
                    .map_err(|error| fetch_failure(error.kind))?,
            )
            .await
        };
        platform::timeout(platform, self.patience, exchange).await.unwrap_or_else(|| Err(Failure::timeout()))
    }
}

fn fetch_failure(kind: FetchErrorKind) -> Failure {
    match kind {
        FetchErrorKind::Timeout => Failure::timeout(),
        FetchErrorKind::Connect | FetchErrorKind::Forbidden => Failure::unexpected("cannot be reached"),
        FetchErrorKind::Cancelled => Failure::unexpected("the client left"),
        FetchErrorKind::Broken | FetchErrorKind::Undecodable => Failure::unexpected("the connection broke"),
    }
}

async fn read(response: FetchResponse) -> Result<Answer, Failure> {
    let (head, mut chunks) = response.into_parts();
    let mut body = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| fetch_failure(error.kind))?;
        if body.len().saturating_add(chunk.len()) > MAX_ANSWER {
            return Err(Failure::unexpected("the answer is too long"));
        }
        body.extend_from_slice(&chunk);
    }
    let body = String::from_utf8_lossy(&body).into_owned();
    if head.status.is_success() {
        return Ok(Answer { headers: head.headers, body });
    }
    let code = element(&body, "Code").unwrap_or_default();
    let code = code.chars().filter(char::is_ascii_alphanumeric).take(60).collect();
    Err(Failure { status: Some(head.status.as_u16()), code, is_timeout: false })
}

/// Returns the text of the first element of this name. In the storage's answers, elements have no attributes and do not contain
/// elements of their own name.
pub(super) fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(mut value) = HeaderValue::from_str(value) {
        value.set_sensitive(name == "authorization" || name == "x-oss-security-token");
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// Formats the date and the time of day, each with its separator.
fn date_and_time(now: UnixMillis, separators: [&str; 2]) -> (String, String) {
    let seconds = i64::try_from(now.seconds().get()).unwrap_or(0);
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let [a, b] = separators;
    (
        format!("{:04}{a}{:02}{a}{:02}", time.year(), u8::from(time.month()), time.day()),
        format!("{:02}{b}{:02}{b}{:02}", time.hour(), time.minute(), time.second()),
    )
}

/// Formats a time as `YYYYMMDDTHHMMSSZ`.
fn timestamp(now: UnixMillis) -> String {
    let (date, time) = date_and_time(now, ["", ""]);
    format!("{date}T{time}Z")
}

/// Formats a time as `YYYY-MM-DDTHH:MM:SS.000Z`.
fn policy_time(now: UnixMillis) -> String {
    let (date, time) = date_and_time(now, ["-", ":"]);
    format!("{date}T{time}.000Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_formats_of_signatures_and_policies() {
        assert_eq!(timestamp(UnixMillis::new(1_790_050_415_999)), "20260922T041335Z");
        assert_eq!(policy_time(UnixMillis::new(1_790_050_415_999)), "2026-09-22T04:13:35.000Z");
    }

    #[test]
    fn an_element_is_found_by_its_name() {
        let xml = "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>a</Message></Error>";
        assert_eq!(element(xml, "Code"), Some("AccessDenied"));
        assert_eq!(element(xml, "UploadId"), None);
        assert_eq!(element("<Code>cut", "Code"), None);
    }
}
