//! One object: where it goes, and the requests that put it there whole.

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

/// An answer of the storage is a short XML text.
const MAX_ANSWER: usize = 256 * 1024;
/// How long the policy of a form holds.
const POLICY_LIFE: Duration = Duration::from_secs(600);

/// Where one object goes, with temporary credentials for it.
#[derive(Debug)]
pub struct Object {
    /// Scheme and host that the bucket answers at.
    pub origin: String,
    /// The bucket.
    pub bucket: String,
    /// The object's name, not escaped.
    pub key: String,
    /// The signed region, such as `ap-southeast-1`.
    pub region: String,
    /// What signs.
    pub credentials: Credentials,
    /// Goes along with temporary credentials.
    pub security_token: Secret,
    /// How long one request may take.
    pub patience: Duration,
    /// How far the storage's clock is ahead of this machine's, in milliseconds: signatures go by that.
    pub clock_ahead: i64,
}

/// Why the storage did not take something. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The status of its answer; `None` when there was none.
    pub status: Option<u16>,
    /// The code in its answer (`AccessDenied`, …), or what happened to the connection.
    pub code: String,
    /// Whether the time was up.
    pub is_timeout: bool,
}

impl Failure {
    pub(super) fn odd(code: &str) -> Self {
        Self { status: None, code: code.to_owned(), is_timeout: false }
    }

    fn timeout() -> Self {
        Self { is_timeout: true, ..Self::odd("no answer in time") }
    }

    /// Whether the same request may work a moment later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
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

/// A good answer.
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Object {
    /// Puts the whole object with one `PUT`.
    ///
    /// # Errors
    /// Any answer but a good one, and none in time.
    pub async fn put(&self, platform: &impl Network, content_type: &str, body: Payload) -> Result<(), Failure> {
        self.send(platform, Method::PUT, &[], content_type, body).await.map(drop)
    }

    /// Puts the whole object with one `POST` of a form, whose policy allows this very object only.
    ///
    /// # Errors
    /// Any answer but a good one, and none in time.
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
        let expiration = policy_time(now.saturating_add(POLICY_LIFE));
        let policy = BASE64.encode(json!({ "expiration": expiration, "conditions": conditions }).to_string());
        let signature = policy_signature(&self.credentials, scope, &policy);
        fields.extend([("policy", policy.as_str()), ("x-oss-signature", signature.as_str())]);

        // Whoever guessed it could write fields of the form into a file.
        let random = platform.random().map_err(|error| Failure::odd(&error.to_string()))?;
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

    /// The storage's time.
    fn now(&self, platform: &impl Network) -> UnixMillis {
        platform.now().saturating_add_signed(self.clock_ahead)
    }

    fn scope<'a>(&'a self, time: &'a str) -> Scope<'a> {
        Scope { region: &self.region, time }
    }

    fn uri(&self, path: &str, query: &str) -> Result<http::Uri, Failure> {
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{}/{path}{mark}{query}", self.origin).parse().map_err(|_| Failure::odd("odd address"))
    }

    async fn ask(&self, platform: &impl Network, request: http::Request<Payload>) -> Result<Answer, Failure> {
        let exchange = async {
            read(
                platform::ask(platform, UpstreamKind::Storage, platform.fetch(request))
                    .await
                    .map_err(|error| broken(error.kind))?,
            )
            .await
        };
        platform::timeout(platform, self.patience, exchange).await.unwrap_or_else(|| Err(Failure::timeout()))
    }
}

fn broken(kind: FetchErrorKind) -> Failure {
    match kind {
        FetchErrorKind::Timeout => Failure::timeout(),
        FetchErrorKind::Connect | FetchErrorKind::Forbidden => Failure::odd("cannot be reached"),
        FetchErrorKind::Cancelled => Failure::odd("the client left"),
        FetchErrorKind::Broken | FetchErrorKind::Undecodable => Failure::odd("the connection broke"),
    }
}

async fn read(response: FetchResponse) -> Result<Answer, Failure> {
    let (head, mut pieces) = response.into_parts();
    let mut body = Vec::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| broken(error.kind))?;
        if body.len().saturating_add(piece.len()) > MAX_ANSWER {
            return Err(Failure::odd("an answer that is too long"));
        }
        body.extend_from_slice(&piece);
    }
    let body = String::from_utf8_lossy(&body).into_owned();
    if head.status.is_success() {
        return Ok(Answer { headers: head.headers, body });
    }
    let code = element(&body, "Code").unwrap_or_default();
    let code = code.chars().filter(char::is_ascii_alphanumeric).take(60).collect();
    Err(Failure { status: Some(head.status.as_u16()), code, is_timeout: false })
}

/// The text of the first element of this name. The storage's answers have no attributes and nest no names.
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

/// Day and time of day, each with `between` its numbers.
fn clock(now: UnixMillis, between: [&str; 2]) -> (String, String) {
    let seconds = i64::try_from(now.seconds().get()).unwrap_or(0);
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let [a, b] = between;
    (
        format!("{:04}{a}{:02}{a}{:02}", time.year(), u8::from(time.month()), time.day()),
        format!("{:02}{b}{:02}{b}{:02}", time.hour(), time.minute(), time.second()),
    )
}

/// `YYYYMMDDTHHMMSSZ`
fn timestamp(now: UnixMillis) -> String {
    let (day, time) = clock(now, ["", ""]);
    format!("{day}T{time}Z")
}

/// `YYYY-MM-DDTHH:MM:SS.000Z`
fn policy_time(now: UnixMillis) -> String {
    let (day, time) = clock(now, ["-", ":"]);
    format!("{day}T{time}.000Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_storage_wants_them() {
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
