//! The client's request on the edge: header fields and body stay JavaScript values until somebody asks.

use bytes::Bytes;
use futures::StreamExt as _;
use wasm_bindgen_futures::JsFuture;

use super::fetch::byte_stream;
use crate::platform::{ReadError, Request};

/// The header fields of a request.
pub struct Headers(web_sys::Headers);

impl Headers {
    /// The value of the field `name` (lower case); several fields of that name are joined by commas.
    #[must_use]
    pub fn get(&self, name: &'static str) -> Option<String> {
        self.0.get(name).ok().flatten()
    }
}

/// The body of a request, not yet read.
pub struct RequestBody(web_sys::Request);

impl RequestBody {
    /// Reads the whole body into memory: in one piece when its length is declared.
    ///
    /// # Errors
    /// When it is longer than `limit` bytes or breaks off.
    pub async fn collect(self, limit: usize) -> Result<Bytes, ReadError> {
        let broken = |_| ReadError::Broken;
        let declared =
            self.0.headers().get("content-length").ok().flatten().and_then(|text| text.parse::<usize>().ok());
        if declared.is_some_and(|length| length > limit) {
            return Err(ReadError::TooLarge);
        }
        if declared.is_some() {
            let buffer = JsFuture::from(self.0.array_buffer().map_err(broken)?).await.map_err(broken)?;
            return Ok(js_sys::Uint8Array::new(&buffer).to_vec().into());
        }
        let Some(body) = self.0.body() else { return Ok(Bytes::new()) };
        let mut pieces = byte_stream(body);
        let mut whole = Vec::new();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|_| ReadError::Broken)?;
            if piece.len() > limit - whole.len() {
                return Err(ReadError::TooLarge);
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.into())
    }
}

pub(super) fn from_js(request: web_sys::Request) -> Request {
    let url = url::Url::parse(&request.url()).ok();
    Request {
        method: request.method().parse().unwrap_or_default(),
        path: url.as_ref().map_or_else(|| "/".to_owned(), |url| url.path().to_owned()),
        query: url.as_ref().and_then(|url| url.query().map(str::to_owned)),
        headers: Headers(request.headers()),
        body: RequestBody(request),
    }
}
