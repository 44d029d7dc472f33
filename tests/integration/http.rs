//! A small HTTP client that hides nothing, and the checks that every answer must pass.

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

/// Longer than anything takes here; a case that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The media type of streams. Without its charset Python's `requests` reads them as Latin-1.
pub const EVENT_STREAM: &str = "text/event-stream; charset=utf-8";

/// The only header fields that an answer may have. Another one is a surprise for somebody.
const EXPECTED_HEADERS: &[&str] = &[
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-max-age",
    "allow",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-security-policy",
    "content-type",
    "cross-origin-opener-policy",
    "date",
    "etag",
    "referrer-policy",
    "retry-after",
    "transfer-encoding",
    "vary",
    "www-authenticate",
    "x-accel-buffering",
    "x-content-type-options",
    "x-conversation-id",
    "x-request-id",
    "x-should-retry",
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

    /// Checks that this is an error object with this status and code, and gives the object.
    #[track_caller]
    pub fn error(&self, status: u16, code: &str) -> Value {
        assert_eq!((self.status.as_u16(), self.json()["error"]["code"].as_str()), (status, Some(code)), "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"));
        let error = self.json()["error"].clone();
        assert!(!error["message"].as_str().unwrap().is_empty() && error["type"].is_string());
        assert!(error.get("param").is_some());
        error
    }

    /// The data of each event, checked to be nothing but `data:` lines and comments.
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
        assert!(!block.contains('\n'), "one line an event: {block:?}");
        events.push(block.strip_prefix("data: ").unwrap_or_else(|| panic!("{block:?}")).to_owned());
    }
    events
}

/// The text of a stream's deltas of one kind.
pub fn joined(chunks: &[Value], kind: &str) -> String {
    chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"][kind].as_str()).collect()
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

    /// Sends a request to one of our servers and checks what each of its answers has.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
        let reply = self.send_plain(method, path, headers, body).await;
        for name in reply.headers.keys() {
            let expected = EXPECTED_HEADERS.contains(&name.as_str());
            assert!(expected, "{method} {path}: an unexpected header {name}: {:?}", reply.headers);
        }
        assert!(reply.headers.contains_key("x-request-id"), "{method} {path}: no request id");
        // Pages may be kept and asked about again; what the API says is nobody else's.
        let is_page = reply.headers.contains_key("content-security-policy");
        let is_stream = reply.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"));
        let expected = match (is_page, is_stream) {
            (true, _) => "no-cache",
            (_, true) => "no-store, no-transform",
            _ => "no-store",
        };
        assert_eq!(reply.header("cache-control"), Some(expected), "{method} {path}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{method} {path}");
        reply
    }

    /// Sends a request to any server.
    pub async fn send_plain(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        let mut request = Request::new(Full::new(body.into()));
        *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
        *request.uri_mut() = format!("{}{path}", self.base).parse().unwrap();
        for (name, value) in headers {
            let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        let what = format!("{method} {path}");
        let exchange = async {
            let response = self.client.request(request).await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
            let (head, body) = response.into_parts();
            let body = body.collect().await.unwrap_or_else(|error| panic!("{what}: {error:?}")).to_bytes();
            Reply { status: head.status, headers: head.headers, body }
        };
        timeout(PATIENCE, exchange).await.unwrap_or_else(|_| panic!("{what}: no end of the answer"))
    }
}

/// A raw connection, for what a well-behaved client does not do.
pub struct Raw(pub TcpStream);

impl Raw {
    pub async fn connect(address: &str) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    /// A connection whose system takes few bytes that are not read.
    pub async fn connect_with_little_room(address: &str) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(8192).unwrap();
        Self(socket.connect(address.parse().unwrap()).await.unwrap())
    }

    /// Sends a chat request with `[[fake …]]` in its prompt.
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

    /// Reads until `mark` has come.
    pub async fn read_until(&mut self, mark: &str) -> String {
        let mut text = Vec::new();
        let mut buffer = [0; 65_536];
        let read = async {
            let found = |text: &[u8], from: usize| memchr::memmem::find(&text[from..], mark.as_bytes()).is_some();
            let mut from = 0;
            while !found(&text, from) {
                from = text.len().saturating_sub(mark.len());
                let length = self.0.read(&mut buffer).await.unwrap();
                assert!(length > 0, "closed before {mark:?}: {}", String::from_utf8_lossy(&text));
                text.extend_from_slice(&buffer[..length]);
            }
        };
        timeout(PATIENCE, read).await.unwrap_or_else(|_| panic!("{mark:?} did not come"));
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Leaves with a reset: workerd does not see the FIN of an idle client.
    pub fn reset(self) {
        self.0.set_zero_linger().unwrap();
    }
}

/// A chat request with one user message.
pub fn chat(prompt: &str) -> Value {
    json!({ "model": "qwen3-max", "messages": [{ "role": "user", "content": prompt }] })
}

pub fn with(mut request: Value, fields: Value) -> Value {
    for (name, value) in fields.as_object().unwrap() {
        request[name] = value.clone();
    }
    request
}
