//! The client's request on the box.

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};

use crate::platform::ReadError;

/// The header fields of a request.
pub struct Headers(pub(super) http::HeaderMap);

impl Headers {
    /// The first value of the field `name` (lower case), if it is text.
    #[must_use]
    pub fn get(&self, name: &'static str) -> Option<String> {
        self.0.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    }
}

/// The body of a request, not yet read.
pub struct RequestBody(pub(super) Incoming);

impl RequestBody {
    /// Reads the whole body into memory.
    ///
    /// # Errors
    /// When it is longer than `limit` bytes, told from its declared length where there is one, or breaks off.
    pub async fn collect(self, limit: usize) -> Result<Bytes, ReadError> {
        if self.0.size_hint().lower() > limit as u64 {
            return Err(ReadError::TooLarge);
        }
        match Limited::new(self.0, limit).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(ReadError::TooLarge),
            Err(_) => Err(ReadError::Broken),
        }
    }
}
