//! Requests of the Worker to other servers, by the runtime's `fetch`.

use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures::Stream;
use wasm_bindgen::{JsCast as _, JsValue, closure::Closure, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;

use crate::platform::{ByteStream, FetchError, FetchErrorKind, FetchResponse, Payload};

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = fetch, catch)]
    fn global_fetch(request: &web_sys::Request) -> Result<js_sys::Promise, JsValue>;
}

#[wasm_bindgen(module = "/src/platform/worker/reader.js")]
extern "C" {
    type Reader;

    #[wasm_bindgen(constructor)]
    fn new(
        stream: &web_sys::ReadableStream,
        bulk_size: u32,
        is_event_stream: bool,
        on_chunk: &Closure<dyn FnMut(Option<js_sys::Uint8Array>)>,
        on_error: &Closure<dyn FnMut(JsValue)>,
    ) -> Reader;

    #[wasm_bindgen(method)]
    fn read(this: &Reader);

    #[wasm_bindgen(method)]
    fn cancel(this: &Reader);

    #[wasm_bindgen(method)]
    fn release(this: &Reader) -> Option<web_sys::ReadableStream>;
}

/// The chunk size of large bodies.
const BULK_SIZE: u32 = 1024 * 1024;

/// Converts a JavaScript exception. Its message is left out, because it may hold the URL.
fn fetch_error(kind: FetchErrorKind, exception: &JsValue, client: Option<&web_sys::AbortSignal>) -> FetchError {
    let kind = if client.is_some_and(web_sys::AbortSignal::aborted) { FetchErrorKind::Cancelled } else { kind };
    let name = exception.dyn_ref::<js_sys::Error>().map(|error| String::from(error.name())).unwrap_or_default();
    FetchError { kind, detail: if name.is_empty() { "exception".to_owned() } else { name } }
}

/// Sends a request. The body of the answer comes in chunks as they arrive.
pub(super) async fn fetch(
    request: http::Request<Payload>,
    client: Option<&web_sys::AbortSignal>,
) -> Result<FetchResponse, FetchError> {
    fetch_as(request, client, |stream, is_event_stream| Box::pin(Chunks::new(&stream, 0, is_event_stream, None))).await
}

/// Sends a request. The body of the answer comes in chunks of 1 MiB.
pub(super) async fn fetch_bulk(
    request: http::Request<Payload>,
    client: Option<&web_sys::AbortSignal>,
) -> Result<FetchResponse, FetchError> {
    fetch_as(request, client, |stream, _| bulk_stream(stream, None)).await
}

async fn fetch_as(
    request: http::Request<Payload>,
    client: Option<&web_sys::AbortSignal>,
    body: fn(web_sys::ReadableStream, bool) -> ByteStream,
) -> Result<FetchResponse, FetchError> {
    let failed = |exception: JsValue| fetch_error(FetchErrorKind::Connect, &exception, client);
    let response = JsFuture::from(global_fetch(&to_js(request, client).map_err(failed)?).map_err(failed)?)
        .await
        .map_err(failed)?
        .unchecked_into::<web_sys::Response>();
    // The runtime decodes these codings, but keeps their header fields.
    let coding = response.headers().get("content-encoding").map_err(failed)?.unwrap_or_default();
    let is_decoded = matches!(coding.to_ascii_lowercase().as_str(), "gzip" | "br");
    let content_type = response.headers().get("content-type").map_err(failed)?;
    let is_event_stream = content_type.is_some_and(|content_type| content_type.starts_with("text/event-stream"));
    let mut answer = http::Response::new(response.body().map_or_else(no_bytes, |stream| body(stream, is_event_stream)));
    *answer.status_mut() = http::StatusCode::from_u16(response.status()).unwrap_or(http::StatusCode::BAD_GATEWAY);
    for entry in response.headers().entries() {
        let entry: js_sys::Array = entry.map_err(failed)?.unchecked_into();
        let (name, value) = (entry.get(0).as_string(), entry.get(1).as_string());
        if let (Some(name), Some(value)) = (name, value)
            && let (Ok(name), Ok(value)) = (name.parse::<http::HeaderName>(), value.parse())
            && !(is_decoded && matches!(name, http::header::CONTENT_ENCODING | http::header::CONTENT_LENGTH))
        {
            answer.headers_mut().append(name, value);
        }
    }
    Ok(answer)
}

fn to_js(request: http::Request<Payload>, client: Option<&web_sys::AbortSignal>) -> Result<web_sys::Request, JsValue> {
    let (head, body) = request.into_parts();
    let headers = web_sys::Headers::new()?;
    for (name, value) in &head.headers {
        if let Ok(value) = value.to_str() {
            headers.append(name.as_str(), value)?;
        }
    }
    let init = web_sys::RequestInit::new();
    init.set_method(head.method.as_str());
    init.set_headers(&headers);
    init.set_redirect(web_sys::RequestRedirect::Manual);
    init.set_signal(client);
    if !body.is_empty() {
        let body: js_sys::Uint8Array = to_js_bytes(&body)?;
        init.set_body(&body);
    }
    web_sys::Request::new_with_str_and_init(&head.uri.to_string(), &init)
}

/// Copies the buffers into one array, which the runtime sends with a `Content-Length`.
fn to_js_bytes(body: &Payload) -> Result<js_sys::Uint8Array, JsValue> {
    let length = u32::try_from(body.len()).map_err(|_| js_sys::RangeError::new("body too large"))?;
    let whole = js_sys::Uint8Array::new_with_length(length);
    let mut at = 0_u32;
    for piece in body.pieces() {
        // The sum of all lengths fits, so each does.
        let end = at.saturating_add(u32::try_from(piece.len()).unwrap_or(u32::MAX));
        whole.subarray(at, end).copy_from(piece);
        at = end;
    }
    Ok(whole)
}

fn no_bytes() -> ByteStream {
    Box::pin(futures::stream::empty())
}

/// Returns the content of a JavaScript stream in chunks of 1 MiB; the last one may be shorter. Dropping it passes the unread
/// rest to `rest`, or else cancels the stream and closes its connection.
pub(super) fn bulk_stream(stream: web_sys::ReadableStream, rest: Option<RestHandler>) -> ByteStream {
    Box::pin(Chunks::new(&stream, BULK_SIZE, false, rest))
}

/// Receives the unread rest of a dropped stream.
pub(super) type RestHandler = Box<dyn FnOnce(web_sys::ReadableStream)>;

/// The result of a read: a chunk, the end, or an exception.
type ReadResult = Result<Option<Vec<u8>>, JsValue>;

#[derive(Default)]
struct State {
    result: Option<ReadResult>,
    waker: Option<Waker>,
}

/// The chunks of a JavaScript stream.
///
/// All reads share one pair of callbacks. The crate `wasm-streams` makes a pair for each read and leaks it if the read never
/// settles, which happens when a client leaves during a stream. Each cancellation leaks another closure.
struct Chunks {
    /// `None` after the end or an error.
    reader: Option<Reader>,
    is_reading: bool,
    state: Rc<RefCell<State>>,
    rest: Option<RestHandler>,
    _on_chunk: Closure<dyn FnMut(Option<js_sys::Uint8Array>)>,
    _on_error: Closure<dyn FnMut(JsValue)>,
}

impl Chunks {
    /// Reads a stream of the runtime. `bulk_size` is the wanted chunk size, or 0 for chunks as they arrive. The runtime reads
    /// an event stream ahead.
    fn new(stream: &web_sys::ReadableStream, bulk_size: u32, is_event_stream: bool, rest: Option<RestHandler>) -> Self {
        let state = Rc::<RefCell<State>>::default();
        let settle = |state: &RefCell<State>, result| {
            let mut state = state.borrow_mut();
            state.result = Some(result);
            state.waker.take()
        };
        let (resolved, rejected) = (Rc::clone(&state), Rc::clone(&state));
        let on_chunk = Closure::new(move |chunk: Option<js_sys::Uint8Array>| {
            if let Some(waker) = settle(&resolved, Ok(chunk.map(|chunk| chunk.to_vec()))) {
                waker.wake();
            }
        });
        let on_error = Closure::new(move |exception| {
            if let Some(waker) = settle(&rejected, Err(exception)) {
                waker.wake();
            }
        });
        let reader = Some(Reader::new(stream, bulk_size, is_event_stream, &on_chunk, &on_error));
        Self { reader, is_reading: false, state, rest, _on_chunk: on_chunk, _on_error: on_error }
    }
}

impl Stream for Chunks {
    type Item = Result<Bytes, FetchError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(reader) = &this.reader else { return Poll::Ready(None) };
        if !std::mem::replace(&mut this.is_reading, true) {
            reader.read();
        }
        let mut state = this.state.borrow_mut();
        let Some(result) = state.result.take() else {
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        this.is_reading = false;
        let item = match result {
            Ok(Some(chunk)) => return Poll::Ready(Some(Ok(chunk.into()))),
            Ok(None) => None,
            Err(exception) => Some(Err(fetch_error(FetchErrorKind::Broken, &exception, None))),
        };
        this.reader = None;
        Poll::Ready(item)
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        let Some(reader) = self.reader.take() else { return };
        match self.rest.take().and_then(|rest| Some((rest, reader.release()?))) {
            Some((rest, stream)) => rest(stream),
            None => reader.cancel(),
        }
    }
}
