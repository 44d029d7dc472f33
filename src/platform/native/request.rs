//! The client's request on the box.

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
    /// hyper's values are views of what was read from the connection. Kept for as long as an answer takes to begin, they
    /// would keep that buffer, and hyper would take another to watch the connection with.
    pub(super) fn copied(mut fields: http::HeaderMap) -> Self {
        for value in fields.values_mut() {
            let mut copy = http::HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone());
            copy.set_sensitive(value.is_sensitive());
            *value = copy;
        }
        Self(fields)
    }

    /// The first value of the field `name` (lower case), if it is text.
    #[must_use]
    pub fn get(&self, name: &'static str) -> Option<String> {
        self.0.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    }

    /// All values of the field `name` (lower case). What is no text in them shows as U+FFFD.
    #[must_use]
    pub fn all(&self, name: &'static str) -> Vec<String> {
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        self.0.get_all(name).iter().map(text).collect()
    }

    /// The names of all fields, in lower case.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.0.keys().map(|name| name.as_str().to_owned()).collect()
    }
}

/// The body of a request, not yet read.
///
/// What nobody reads is read and thrown away in the background, within bounds: otherwise the connection would be reset
/// while the client still sends, and the answer (a missing key, say) would be lost with it.
pub struct RequestBody(Option<Incoming>);

/// How much of an unwanted body is still taken, and for how long.
const MAX_UNWANTED: usize = 64 * 1024 * 1024;
const UNWANTED_PATIENCE: Duration = Duration::from_secs(15);

impl RequestBody {
    pub(super) fn new(body: Incoming) -> Self {
        Self(Some(body))
    }

    /// How many bytes it has, as declared by the client.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.0.as_ref().and_then(|body| body.size_hint().exact())
    }

    /// The body as it comes.
    #[must_use]
    pub fn into_stream(self) -> ByteStream {
        let next = |mut body: Self| async move {
            loop {
                match body.0.as_mut()?.frame().await? {
                    Ok(frame) => {
                        if let Ok(piece) = frame.into_data() {
                            return Some((Ok(piece), body));
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

/// A stream that may move between threads; here all may.
#[must_use]
pub fn sendable(stream: ByteStream) -> ByteStream {
    stream
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(mut body) = self.0.take().filter(|body| !body.is_end_stream()) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(tokio::time::timeout(UNWANTED_PATIENCE, async move {
            let mut taken = 0_usize;
            while let Some(Ok(frame)) = body.frame().await {
                taken = taken.saturating_add(frame.data_ref().map_or(0, Bytes::len));
                if taken > MAX_UNWANTED {
                    break;
                }
            }
        }));
    }
}
