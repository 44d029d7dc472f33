//! The client's request on the native server.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

use crate::platform::{ByteStream, FetchError, FetchErrorKind};

/// The header fields of a request.
#[derive(Clone)]
pub struct Headers(http::HeaderMap);

impl Headers {
    /// Copies the values. hyper's values are views of the connection's read buffer. Kept until the answer begins, they would
    /// keep that buffer alive, and hyper would allocate another one to watch the connection.
    pub(super) fn copied(mut fields: http::HeaderMap) -> Self {
        for value in fields.values_mut() {
            let mut copy = http::HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone());
            copy.set_sensitive(value.is_sensitive());
            *value = copy;
        }
        Self(fields)
    }

    /// Returns the first value of the field `name` (lower case), if it is ASCII.
    #[must_use]
    pub fn get(&self, name: &'static str) -> Option<String> {
        self.0.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    }

    /// Returns all values of the field `name` (lower case). Invalid UTF-8 becomes U+FFFD.
    #[must_use]
    pub fn all(&self, name: &'static str) -> Vec<String> {
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        self.0.get_all(name).iter().map(text).collect()
    }

    /// Returns the names of all fields, in lower case.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.0.keys().map(|name| name.as_str().to_owned()).collect()
    }
}

/// The unread body of a request.
///
/// A dropped body is read and discarded in the background, within limits. Otherwise the connection would be reset while the
/// client is sending, and the answer (about a missing key, say) would be lost.
pub struct RequestBody(Option<Incoming>);

/// Limits of the bytes and of the time for discarding a body.
const MAX_DISCARDED: usize = 64 * 1024 * 1024;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(15);

impl RequestBody {
    pub(super) fn new(body: Incoming) -> Self {
        Self(Some(body))
    }

    /// Returns the length in bytes that the client declared.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.0.as_ref().and_then(|body| body.size_hint().exact())
    }

    /// Returns the body in chunks as they arrive.
    #[must_use]
    pub fn into_stream(self) -> ByteStream {
        let next = |mut body: Self| async move {
            loop {
                match body.0.as_mut()?.frame().await? {
                    Ok(frame) => {
                        if let Ok(chunk) = frame.into_data() {
                            return Some((Ok(chunk), body));
                        }
                    }
                    Err(error) => {
                        body.0 = None;
                        let error = FetchError { kind: FetchErrorKind::Broken, detail: error.to_string() };
                        return Some((Err(error), body));
                    }
                }
            }
        };
        futures::stream::unfold(self, next).boxed()
    }
}

/// Returns a stream that is `Send`, which all streams are on the native server.
#[must_use]
pub fn sendable(stream: ByteStream) -> ByteStream {
    stream
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(mut body) = self.0.take().filter(|body| !body.is_end_stream()) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(tokio::time::timeout(DISCARD_TIMEOUT, async move {
            let mut discarded = 0_usize;
            while let Some(Ok(frame)) = body.frame().await {
                discarded = discarded.saturating_add(frame.data_ref().map_or(0, Bytes::len));
                if discarded > MAX_DISCARDED {
                    break;
                }
            }
        }));
    }
}
