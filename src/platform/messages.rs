//! Requests and answers in both directions, as the rest of the program sees them.

use std::{collections::VecDeque, fmt};

use bytes::Bytes;

use super::boxed::BoxStream;

/// A platform hands over what it has received in pieces of at least so many bytes, or all of it: a smaller piece is the last
/// for now. The same number stands in `worker/reader.js`.
pub const READ_SIZE: usize = 16 * 1024;

/// A body that arrives in pieces.
pub type ByteStream = BoxStream<Result<Bytes, FetchError>>;

/// The body of an answer. Dropping a stream cancels what feeds it.
pub enum Body {
    /// All of it at once; may be empty.
    Full(Bytes),
    /// Pieces as they come.
    Stream(ByteStream),
    /// A stream of the runtime's own, which passes by the program.
    #[cfg(target_arch = "wasm32")]
    Native(web_sys::ReadableStream),
}

/// A file of `web/`.
pub struct Asset {
    /// Its media type.
    pub content_type: String,
    /// What changes when it does, in quotes.
    pub etag: Option<String>,
    /// Whether the body is packed.
    pub is_gzip: bool,
    /// Its content.
    pub body: Body,
}

impl Body {
    /// No bytes.
    #[must_use]
    pub const fn empty() -> Self {
        Self::Full(Bytes::new())
    }
}

/// The body of a request to another server: pieces of memory in their order, sent with their length as `Content-Length`.
/// A copy shares the memory.
#[derive(Clone, Debug, Default)]
pub struct Payload(pub(super) VecDeque<Bytes>);

impl Payload {
    /// How many bytes it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).fold(0, usize::saturating_add)
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Bytes::is_empty)
    }

    /// The pieces.
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

/// An answer of another server: the head, then its body in pieces.
pub type FetchResponse = http::Response<ByteStream>;

/// Why another server could not be asked. Never holds the URL: it may carry a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchError {
    /// What happened.
    pub kind: FetchErrorKind,
    /// For the log.
    pub detail: String,
}

/// What happened to a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchErrorKind {
    /// No connection came about.
    Connect,
    /// No connection came about in time.
    Timeout,
    /// Our own client left, so the fetch was given up.
    Cancelled,
    /// The connection broke after it was made.
    Broken,
    /// The address is not a public one, and only those are asked.
    Forbidden,
    /// The body is not packed as its head says.
    Undecodable,
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.detail)
    }
}

impl std::error::Error for FetchError {}
