//! The client's request on the edge: header fields and body stay JavaScript values until somebody asks.

use std::{cell::RefCell, rc::Rc};

use bytes::Bytes;
use futures::StreamExt as _;
use send_wrapper::SendWrapper;
use wasm_bindgen::JsCast as _;
use wasm_bindgen_futures::JsFuture;

use super::fetch::{Rest, bulk_stream};
use crate::platform::{ByteStream, FetchError, FetchErrorKind};

/// The header fields of a request.
#[derive(Clone)]
pub struct Headers(pub(super) web_sys::Headers);

impl Headers {
    /// The value of the field `name` (lower case); several fields of that name are joined by commas.
    #[must_use]
    pub fn get(&self, name: &'static str) -> Option<String> {
        self.0.get(name).ok().flatten()
    }

    /// All values of the field `name` (lower case), joined by commas into one.
    #[must_use]
    pub fn all(&self, name: &'static str) -> Vec<String> {
        self.get(name).into_iter().collect()
    }

    /// The names of all fields, in lower case.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.0.keys().into_iter().filter_map(|name| name.ok()?.as_string()).collect()
    }
}

/// The body of a request, not yet read.
///
/// What nobody reads is read and thrown away by the runtime before the answer goes out, within bounds: otherwise the
/// connection would be reset while the client still sends, and the answer (a missing key, say) would be lost with it.
pub struct RequestBody {
    pub(super) request: web_sys::Request,
    pub(super) unwanted: Unwanted,
}

/// The rest of a body on its way to nowhere, once there is one.
pub(crate) type Unwanted = Rc<RefCell<Option<js_sys::Promise>>>;

/// For how long an unwanted body is still taken, in milliseconds.
const UNWANTED_PATIENCE: f64 = 15_000.0;

fn throw_away(body: &web_sys::ReadableStream, unwanted: &Unwanted) {
    let Ok(nowhere) = web_sys::WritableStream::new() else { return };
    let options = web_sys::StreamPipeOptions::new();
    options.set_signal(&web_sys::AbortSignal::timeout_with_f64(UNWANTED_PATIENCE));
    *unwanted.borrow_mut() = Some(body.pipe_to_with_options(&nowhere, &options).unchecked_into());
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(body) = self.request.body().filter(|body| !body.locked() && !self.request.body_used()) {
            throw_away(&body, &self.unwanted);
        }
    }
}

/// A body that is declared to be no longer is taken in one piece, by one crossing.
const SMALL: u64 = 256 * 1024;

impl RequestBody {
    /// How many bytes it has, as declared by the client.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.request.headers().get("content-length").ok().flatten().and_then(|text| text.parse().ok())
    }

    /// The body as it comes, in pieces of 1 MiB; a small one at once.
    #[must_use]
    pub fn into_stream(self) -> ByteStream {
        if self.length().is_some_and(|length| length <= SMALL) {
            return futures::stream::once(self.whole()).boxed_local();
        }
        let unwanted = Rc::clone(&self.unwanted);
        let rest: Rest = Box::new(move |rest| throw_away(&rest, &unwanted));
        self.request.body().map_or_else(|| futures::stream::empty().boxed_local(), |body| bulk_stream(body, Some(rest)))
    }
}

impl RequestBody {
    async fn whole(self) -> Result<Bytes, FetchError> {
        let broken = |_| FetchError { kind: FetchErrorKind::Broken, detail: "the body broke off".to_owned() };
        let buffer = JsFuture::from(self.request.array_buffer().map_err(broken)?).await.map_err(broken)?;
        Ok(js_sys::Uint8Array::new(&buffer).to_vec().into())
    }
}

/// A stream that may move between threads: there is only one here.
#[must_use]
pub fn sendable(stream: ByteStream) -> SendWrapper<ByteStream> {
    SendWrapper::new(stream)
}
