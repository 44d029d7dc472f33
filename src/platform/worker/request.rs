//! The client's request on the Worker. Header fields and body stay JavaScript values until they are read.

use std::{cell::RefCell, rc::Rc};

use bytes::Bytes;
use futures::StreamExt as _;
use send_wrapper::SendWrapper;
use wasm_bindgen::JsCast as _;
use wasm_bindgen_futures::JsFuture;

use super::fetch::{RestHandler, bulk_stream};
use crate::platform::{ByteStream, FetchError, FetchErrorKind};

/// The header fields of a request.
#[derive(Clone)]
pub struct Headers(pub(super) web_sys::Headers);

impl Headers {
    /// Returns the value of the field `name` (lower case). Several fields of that name are joined by commas.
    #[must_use]
    pub fn get(&self, name: &'static str) -> Option<String> {
        self.0.get(name).ok().flatten()
    }

    /// Returns all values of the field `name` (lower case), joined by commas into one.
    #[must_use]
    pub fn all(&self, name: &'static str) -> Vec<String> {
        self.get(name).into_iter().collect()
    }

    /// Returns the names of all fields, in lower case.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.0.keys().into_iter().filter_map(|name| name.ok()?.as_string()).collect()
    }
}

/// The unread body of a request.
///
/// The runtime reads and discards a dropped body before the answer is sent, within a time limit. Otherwise the connection would
/// be reset while the client is sending, and the answer (about a missing key, say) would be lost.
pub struct RequestBody {
    pub(super) request: web_sys::Request,
    pub(super) discarded: DiscardedBody,
}

/// Set once a dropped body is being discarded. The promise settles at the end of the body or after [`DISCARD_TIMEOUT_MS`].
pub(crate) type DiscardedBody = Rc<RefCell<Option<js_sys::Promise>>>;

/// The time limit for discarding a body.
const DISCARD_TIMEOUT_MS: f64 = 15_000.0;

fn discard(body: &web_sys::ReadableStream, discarded: &DiscardedBody) {
    let Ok(sink) = web_sys::WritableStream::new() else { return };
    let options = web_sys::StreamPipeOptions::new();
    options.set_signal(&web_sys::AbortSignal::timeout_with_f64(DISCARD_TIMEOUT_MS));
    *discarded.borrow_mut() = Some(body.pipe_to_with_options(&sink, &options).unchecked_into());
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(body) = self.request.body().filter(|body| !body.locked() && !self.request.body_used()) {
            discard(&body, &self.discarded);
        }
    }
}

/// A body whose declared length is at most this is read with one call into JavaScript.
const MAX_SINGLE_READ: u64 = 256 * 1024;

impl RequestBody {
    /// Returns the length in bytes that the client declared.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.request.headers().get("content-length").ok().flatten().and_then(|text| text.parse().ok())
    }

    /// Returns the body in chunks of 1 MiB, a small body in one chunk.
    #[must_use]
    pub fn into_stream(self) -> ByteStream {
        if self.length().is_some_and(|length| length <= MAX_SINGLE_READ) {
            return futures::stream::once(self.whole()).boxed_local();
        }
        let discarded = Rc::clone(&self.discarded);
        let rest: RestHandler = Box::new(move |rest| discard(&rest, &discarded));
        self.request.body().map_or_else(|| futures::stream::empty().boxed_local(), |body| bulk_stream(body, Some(rest)))
    }
}

impl RequestBody {
    async fn whole(self) -> Result<Bytes, FetchError> {
        let broken = |_| FetchError { kind: FetchErrorKind::Broken, detail: "the body is incomplete".to_owned() };
        let buffer = JsFuture::from(self.request.array_buffer().map_err(broken)?).await.map_err(broken)?;
        Ok(js_sys::Uint8Array::new(&buffer).to_vec().into())
    }
}

/// Returns a stream that is `Send`. The Worker has one thread, so it never moves.
#[must_use]
pub fn sendable(stream: ByteStream) -> SendWrapper<ByteStream> {
    SendWrapper::new(stream)
}
