//! A small HTTP client without retries or redirects, and the checks that every response must pass.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Time limit of one step of a case.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// The media type of streams. Without the charset Python's `requests` decodes them as Latin-1.
pub const EVENT_STREAM: &str = "text/event-stream; charset=utf-8";

/// The only header fields that a response may have.
const EXPECTED_HEADERS: &[&str] = &[
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-max-age",
    "accept-ranges",
    "allow",
    "cache-control",
    "connection",
    "content-disposition",
    "content-encoding",
    "content-length",
    "content-range",
    "content-security-policy",
    "content-type",
    "cross-origin-opener-policy",
    "date",
    "etag",
    "openai-poll-after-ms",
    "referrer-policy",
    "request-id",
    "retry-after",
    "transfer-encoding",
    "vary",
    "www-authenticate",
    "x-accel-buffering",
    "x-content-type-options",
    "x-conversation-id",
    "x-images",
    "x-request-id",
    "x-should-retry",
    "x-upstream",
];

pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} {:.2000}", self.status, self.headers, String::from_utf8_lossy(&self.body))
    }
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks that the response is an error object with this status and code; returns the object.
    #[track_caller]
    pub fn error(&self, status: u16, code: &str) -> Value {
        assert_eq!((self.status.as_u16(), self.json()["error"]["code"].as_str()), (status, Some(code)), "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"));
        let error = self.json()["error"].clone();
        assert!(!error["message"].as_str().unwrap().is_empty() && error["type"].is_string());
        // Anthropic's shape has its own fields around the error.
        let is_anthropic = self.json()["type"] == "error";
        assert!(if is_anthropic { self.json()["request_id"].is_string() } else { error.get("param").is_some() });
        error
    }

    /// Checks the headers that every response must have, and that no link of the site is in it.
    ///
    /// # Panics
    /// When one is wrong; `label` names the request.
    #[track_caller]
    pub fn check(&self, label: &str) {
        for name in self.headers.keys() {
            let expected = EXPECTED_HEADERS.contains(&name.as_str());
            assert!(expected, "{label}: unexpected header {name}: {:?}", self.headers);
        }
        assert!(self.headers.contains_key("x-request-id"), "{label}: no request id");
        // The site's links to what it made hold the account's id.
        let bytes = &self.body;
        let shown = bytes.get(..bytes.len().min(1 << 20)).unwrap_or_default();
        let has_link = String::from_utf8_lossy(shown).contains("/output/");
        assert!(!has_link, "{label}: a link of the site: {self:?}");
        // Caches may store pages and revalidate them; browsers may keep pictures and videos; API responses are private.
        let is_media = self.headers.contains_key("content-disposition");
        let is_page = self.headers.contains_key("content-security-policy") && !is_media;
        let is_stream = self.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"));
        let expected = match (is_page, is_stream) {
            _ if is_media => "private, max-age=3600",
            (true, _) => "no-cache",
            (_, true) => "no-store, no-transform",
            _ => "no-store",
        };
        assert_eq!(self.header("cache-control"), Some(expected), "{label}");
        assert_eq!(self.header("x-content-type-options"), Some("nosniff"), "{label}");
    }

    /// The data of each event. Checks that the stream has only `data:` lines and comments.
    #[track_caller]
    pub fn events(&self) -> Vec<String> {
        assert_eq!((self.status, self.header("content-type")), (StatusCode::OK, Some(EVENT_STREAM)), "{self:?}");
        events(&self.text())
    }

    #[track_caller]
    pub fn chunks(&self) -> Vec<Value> {
        self.events().iter().filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
    }
}

#[track_caller]
pub fn events(text: &str) -> Vec<String> {
    let mut events = Vec::new();
    for block in text.split_terminator("\n\n") {
        if block.starts_with(':') {
            assert!(!block.contains('\n'), "{block:?}");
            continue;
        }
        assert!(!block.contains('\n'), "an event has more than one line: {block:?}");
        events.push(block.strip_prefix("data: ").unwrap_or_else(|| panic!("{block:?}")).to_owned());
    }
    events
}

/// The concatenated deltas of one field of a stream.
pub fn concat_deltas(chunks: &[Value], field: &str) -> String {
    chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"][field].as_str()).collect()
}

#[derive(Clone)]
pub struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
}

impl Http {
    pub fn new(base: &str) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http(), base: base.to_owned() }
    }

    pub fn address(&self) -> &str {
        self.base.strip_prefix("http://").unwrap()
    }

    /// Sends a request to a server under test and checks the headers that every response must have.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
        let reply = self.send_plain(method, path, headers, body).await;
        reply.check(&format!("{method} {path}"));
        reply
    }

    /// Sends a request to any server, without checks.
    pub async fn send_plain(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        self.attempt(method, path, headers, body).await.unwrap_or_else(|problem| panic!("{method} {path}: {problem}"))
    }

    /// Sends a request to a server that may be gone.
    ///
    /// # Errors
    /// What became of the connection, or that the response does not end.
    pub async fn attempt(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Reply, String> {
        let mut request = Request::new(Full::new(body.into()));
        *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
        *request.uri_mut() = format!("{}{path}", self.base).parse().unwrap();
        for (name, value) in headers {
            let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| format!("{error:?}"))?;
            let (head, body) = response.into_parts();
            let body = body.collect().await.map_err(|error| format!("{error:?}"))?.to_bytes();
            Ok(Reply { status: head.status, headers: head.headers, body })
        };
        timeout(TIMEOUT, exchange).await.unwrap_or_else(|_| Err("the response does not end".to_owned()))
    }
}

/// A TCP connection, for requests that an HTTP client cannot send.
pub struct Raw(pub TcpStream);

impl Raw {
    pub async fn connect(address: &str) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    /// Connects with a receive buffer of 8 KiB.
    pub async fn connect_with_small_buffer(address: &str) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(8192).unwrap();
        Self(socket.connect(address.parse().unwrap()).await.unwrap())
    }

    /// Sends a chat request.
    pub async fn chat(&mut self, body: &Value) {
        let body = body.to_string();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            crate::server::KEY,
            body.len()
        );
        self.0.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// Reads until `mark` arrives; returns everything read.
    pub async fn read_until(&mut self, mark: &str) -> String {
        let mut text = Vec::new();
        let mut buffer = [0; 65_536];
        let read = async {
            let found = |text: &[u8], from: usize| memchr::memmem::find(&text[from..], mark.as_bytes()).is_some();
            let mut from = 0;
            while !found(&text, from) {
                from = text.len().saturating_sub(mark.len());
                let length = self.0.read(&mut buffer).await.unwrap();
                assert!(length > 0, "the connection closed before {mark:?}: {}", String::from_utf8_lossy(&text));
                text.extend_from_slice(&buffer[..length]);
            }
        };
        timeout(TIMEOUT, read).await.unwrap_or_else(|_| panic!("{mark:?} did not arrive"));
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Closes the connection with a RST: workerd does not notice the FIN of an idle client.
    pub fn reset(self) {
        self.0.set_zero_linger().unwrap();
    }
}

/// Polls `condition` every 20 ms until it is true.
///
/// # Panics
/// When it is still false after [`TIMEOUT`].
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let polls = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(TIMEOUT, polls).await.unwrap_or_else(|_| panic!("not within {TIMEOUT:?}: {what}"));
}

/// A chat request with one user message.
pub fn chat(prompt: &str) -> Value {
    json!({ "model": "qwen3-max", "messages": [{ "role": "user", "content": prompt }] })
}

/// Sets fields of a request.
pub fn with(mut request: Value, fields: Value) -> Value {
    for (name, value) in fields.as_object().unwrap() {
        request[name] = value.clone();
    }
    request
}
