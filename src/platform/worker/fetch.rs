//! The way out of the edge: the runtime's own `fetch`.

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
        bulk: u32,
        events: bool,
        give: &Closure<dyn FnMut(Option<js_sys::Uint8Array>)>,
        fail: &Closure<dyn FnMut(JsValue)>,
    ) -> Reader;

    #[wasm_bindgen(method)]
    fn read(this: &Reader);

    #[wasm_bindgen(method)]
    fn cancel(this: &Reader);

    #[wasm_bindgen(method)]
    fn release(this: &Reader) -> Option<web_sys::ReadableStream>;
}

/// How much of a large body is read at once.
const BULK: u32 = 1024 * 1024;

/// The kind of a JavaScript exception, without its text where that may hold the URL.
fn fetch_error(kind: FetchErrorKind, exception: &JsValue, client: Option<&web_sys::AbortSignal>) -> FetchError {
    let kind = if client.is_some_and(web_sys::AbortSignal::aborted) { FetchErrorKind::Cancelled } else { kind };
    let name = exception.dyn_ref::<js_sys::Error>().map(|error| String::from(error.name())).unwrap_or_default();
    FetchError { kind, detail: if name.is_empty() { "exception".to_owned() } else { name } }
}

/// Asks, for a body in pieces as small as they come.
pub(super) async fn fetch(
    request: http::Request<Payload>,
    client: Option<&web_sys::AbortSignal>,
) -> Result<FetchResponse, FetchError> {
    fetch_as(request, client, |stream, events| Box::pin(Pieces::new(&stream, 0, events, None))).await
}

/// Asks, for a body in pieces of 1 MiB.
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
    // These the runtime unpacks by itself; the head still tells how the body was.
    let coding = response.headers().get("content-encoding").map_err(failed)?.unwrap_or_default();
    let is_unpacked = matches!(coding.to_ascii_lowercase().as_str(), "gzip" | "br");
    let kind = response.headers().get("content-type").map_err(failed)?;
    let events = kind.is_some_and(|kind| kind.starts_with("text/event-stream"));
    let mut answer = http::Response::new(response.body().map_or_else(no_bytes, |stream| body(stream, events)));
    *answer.status_mut() = http::StatusCode::from_u16(response.status()).unwrap_or(http::StatusCode::BAD_GATEWAY);
    for entry in response.headers().entries() {
        let entry: js_sys::Array = entry.map_err(failed)?.unchecked_into();
        let (name, value) = (entry.get(0).as_string(), entry.get(1).as_string());
        if let (Some(name), Some(value)) = (name, value)
            && let (Ok(name), Ok(value)) = (name.parse::<http::HeaderName>(), value.parse())
            && !(is_unpacked && matches!(name, http::header::CONTENT_ENCODING | http::header::CONTENT_LENGTH))
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

/// One array of all pieces: the runtime sends it with a `Content-Length`.
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

/// The content of a JavaScript stream in pieces of 1 MiB, the last one aside. Dropping it cancels the stream and with it the
/// connection behind, unless `rest` takes what nobody reads.
pub(super) fn bulk_stream(stream: web_sys::ReadableStream, rest: Option<Rest>) -> ByteStream {
    Box::pin(Pieces::new(&stream, BULK, false, rest))
}

/// What to do with the rest of a stream.
pub(super) type Rest = Box<dyn FnOnce(web_sys::ReadableStream)>;

/// What a read gave: a piece, the end, or an exception.
type Outcome = Result<Option<Vec<u8>>, JsValue>;

#[derive(Default)]
struct State {
    outcome: Option<Outcome>,
    waker: Option<Waker>,
}

/// All reads share one pair of callbacks. (The crate `wasm-streams` makes a pair for each read and keeps it for ever if the read never
/// settles, which happens when a client leaves amid a stream; and each cancellation leaks one more.)
struct Pieces {
    /// `None` after the end or an error.
    reader: Option<Reader>,
    is_reading: bool,
    state: Rc<RefCell<State>>,
    rest: Option<Rest>,
    _give: Closure<dyn FnMut(Option<js_sys::Uint8Array>)>,
    _fail: Closure<dyn FnMut(JsValue)>,
}

impl Pieces {
    /// The stream must be one of the runtime's own. `events`: what comes of it is gathered while nobody asks.
    fn new(stream: &web_sys::ReadableStream, bulk: u32, events: bool, rest: Option<Rest>) -> Self {
        let state = Rc::<RefCell<State>>::default();
        let settle = |state: &RefCell<State>, outcome| {
            let mut state = state.borrow_mut();
            state.outcome = Some(outcome);
            state.waker.take()
        };
        let (given, failed) = (Rc::clone(&state), Rc::clone(&state));
        let give = Closure::new(move |piece: Option<js_sys::Uint8Array>| {
            if let Some(waker) = settle(&given, Ok(piece.map(|piece| piece.to_vec()))) {
                waker.wake();
            }
        });
        let fail = Closure::new(move |exception| {
            if let Some(waker) = settle(&failed, Err(exception)) {
                waker.wake();
            }
        });
        let reader = Some(Reader::new(stream, bulk, events, &give, &fail));
        Self { reader, is_reading: false, state, rest, _give: give, _fail: fail }
    }
}

impl Stream for Pieces {
    type Item = Result<Bytes, FetchError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(reader) = &this.reader else { return Poll::Ready(None) };
        if !std::mem::replace(&mut this.is_reading, true) {
            reader.read();
        }
        let mut state = this.state.borrow_mut();
        let Some(outcome) = state.outcome.take() else {
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        this.is_reading = false;
        let item = match outcome {
            Ok(Some(piece)) => return Poll::Ready(Some(Ok(piece.into()))),
            Ok(None) => None,
            Err(exception) => Some(Err(fetch_error(FetchErrorKind::Broken, &exception, None))),
        };
        this.reader = None;
        Poll::Ready(item)
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        let Some(reader) = self.reader.take() else { return };
        match self.rest.take().and_then(|rest| Some((rest, reader.release()?))) {
            Some((rest, stream)) => rest(stream),
            None => reader.cancel(),
        }
    }
}
