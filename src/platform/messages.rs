//! Requests and answers in both directions, without types of a runtime.

use std::{collections::VecDeque, fmt};

use bytes::Bytes;

use super::boxed::BoxStream;

/// A platform hands over received bytes in chunks of at least this size. A smaller chunk means that no more bytes have arrived
/// yet. `worker/reader.js` holds the same number.
pub const READ_SIZE: usize = 16 * 1024;

/// A body that arrives in chunks.
pub type ByteStream = BoxStream<Result<Bytes, FetchError>>;

/// The body of an answer. Dropping a stream cancels what feeds it.
pub enum Body {
    /// The whole body, which may be empty.
    Full(Bytes),
    /// Chunks as they arrive.
    Stream(ByteStream),
    /// A stream of the JavaScript runtime, which sends it without passing the bytes through WebAssembly.
    #[cfg(target_arch = "wasm32")]
    Native(web_sys::ReadableStream),
}

/// A page in `web/`.
pub struct Asset {
    /// The media type.
    pub content_type: String,
    /// The entity tag, with its quotes.
    pub etag: Option<String>,
    /// Whether the body is compressed with gzip.
    pub is_gzip: bool,
    /// The content.
    pub body: Body,
}

impl Body {
    /// A body without bytes.
    #[must_use]
    pub const fn empty() -> Self {
        Self::Full(Bytes::new())
    }
}

/// The body of a request to another server: buffers in order, sent with the sum of their lengths as `Content-Length`.
/// Clones share the memory.
///
/// ```
/// use bytes::Bytes;
/// use qwen_edge::platform::Payload;
///
/// let payload: Payload = ["head", "content"].into_iter().map(Bytes::from).collect();
/// assert_eq!(payload.len(), 11);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Payload(pub(super) VecDeque<Bytes>);

impl Payload {
    /// Returns the number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).fold(0, usize::saturating_add)
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Bytes::is_empty)
    }

    /// Returns the buffers in order.
    pub fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        self.0.iter()
    }
}

impl From<Bytes> for Payload {
    fn from(whole: Bytes) -> Self {
        Self(VecDeque::from([whole]))
    }
}

impl FromIterator<Bytes> for Payload {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        Self(pieces.into_iter().collect())
    }
}

/// An answer of another server: the head, and the body as a stream.
pub type FetchResponse = http::Response<ByteStream>;

/// Why a request to another server failed. Never holds the URL, which may carry a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchError {
    /// The kind of failure.
    pub kind: FetchErrorKind,
    /// Details for the log.
    pub detail: String,
}

/// How a request to another server failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchErrorKind {
    /// No connection was made.
    Connect,
    /// No connection was made in time, or a chunk of the body was late.
    Timeout,
    /// This server's own client left, so the request was aborted.
    Cancelled,
    /// The connection failed after it was made.
    Broken,
    /// The address is not public, and [`super::Reach::PublicOnly`] was asked for.
    Forbidden,
    /// The body does not have the coding that its head declares.
    Undecodable,
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.detail)
    }
}

impl std::error::Error for FetchError {}
