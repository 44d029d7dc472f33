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

    /// A `ReadableStreamBYOBReader` with the runtime's own way to read much at once.
    #[wasm_bindgen(extends = web_sys::ReadableStreamByobReader)]
    type ByobReader;

    #[wasm_bindgen(method, catch, js_name = readAtLeast)]
    fn read_at_least(this: &ByobReader, least: u32, into: &js_sys::Uint8Array) -> Result<js_sys::Promise, JsValue>;

    #[wasm_bindgen(method, catch, js_name = releaseLock)]
    fn try_release(this: &ByobReader) -> Result<(), JsValue>;
}

/// How much of a large body is read at once.
const BULK: u32 = 1024 * 1024;
/// The most that one read gives of a body whose pieces are wanted as they come.
const PROMPT: u32 = 16 * 1024;
/// The runtime reads the head of an HTTP chunk with up to 32 bytes, and what they hold of the chunk itself is the next
/// read by itself: each event of a stream would take two reads, at the full price of an entry into the isolate. So at the
/// beginning of a line that many bytes at least are asked for. Less is no event yet, or the body ends with it.
const LEAST_OF_LINE: u32 = 32;

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
    fetch_as(request, client, byte_stream).await
}

/// Asks, for a body in pieces of 1 MiB.
pub(super) async fn fetch_bulk(
    request: http::Request<Payload>,
    client: Option<&web_sys::AbortSignal>,
) -> Result<FetchResponse, FetchError> {
    fetch_as(request, client, |stream| bulk_stream(stream, None)).await
}

async fn fetch_as(
    request: http::Request<Payload>,
    client: Option<&web_sys::AbortSignal>,
    body: fn(web_sys::ReadableStream) -> ByteStream,
) -> Result<FetchResponse, FetchError> {
    let failed = |exception: JsValue| fetch_error(FetchErrorKind::Connect, &exception, client);
    let response = JsFuture::from(global_fetch(&to_js(request, client).map_err(failed)?).map_err(failed)?)
        .await
        .map_err(failed)?
        .unchecked_into::<web_sys::Response>();
    let mut answer = http::Response::new(response.body().map_or_else(no_bytes, body));
    *answer.status_mut() = http::StatusCode::from_u16(response.status()).unwrap_or(http::StatusCode::BAD_GATEWAY);
    for entry in response.headers().entries() {
        let entry: js_sys::Array = entry.map_err(failed)?.unchecked_into();
        let (name, value) = (entry.get(0).as_string(), entry.get(1).as_string());
        if let (Some(name), Some(value)) = (name, value)
            && let (Ok(name), Ok(value)) = (name.parse::<http::HeaderName>(), value.parse())
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

/// The pieces of a JavaScript stream, as small as they come. Dropping it cancels the stream and with it the connection behind.
pub(super) fn byte_stream(stream: web_sys::ReadableStream) -> ByteStream {
    pieces(Reader { reader: byob_reader(&stream), size: PROMPT, room: None, least: 1, rest: None })
}

/// The same in pieces of 1 MiB, the last one aside. `rest` takes what nobody reads, instead of a cancellation.
pub(super) fn bulk_stream(stream: web_sys::ReadableStream, rest: Option<Rest>) -> ByteStream {
    let reader = byob_reader(&stream);
    pieces(Reader { reader, size: BULK, room: None, least: BULK, rest: rest.map(|rest| (stream, rest)) })
}

/// The stream must be one of the runtime's own.
fn byob_reader(stream: &web_sys::ReadableStream) -> ByobReader {
    let options = web_sys::ReadableStreamGetReaderOptions::new();
    options.set_mode(web_sys::ReadableStreamReaderMode::Byob);
    stream.get_reader_with_options(&options).unchecked_into()
}

/// What to do with the rest of a stream.
pub(super) type Rest = Box<dyn FnOnce(web_sys::ReadableStream)>;

struct Reader {
    reader: ByobReader,
    /// How much a read gives at the most.
    size: u32,
    /// It goes into a read and comes back with its result.
    room: Option<js_sys::ArrayBuffer>,
    /// How much the next read gives at least.
    least: u32,
    rest: Option<(web_sys::ReadableStream, Rest)>,
}

impl Reader {
    fn read(&mut self) -> Result<js_sys::Promise, JsValue> {
        let room = self.room.take().unwrap_or_else(|| js_sys::ArrayBuffer::new(self.size));
        self.reader.read_at_least(self.least, &js_sys::Uint8Array::new(&room))
    }

    fn take(&mut self, piece: &js_sys::Uint8Array) -> Bytes {
        let bytes = piece.to_vec();
        self.room = Some(piece.buffer());
        if self.size == PROMPT {
            self.least = if bytes.last() == Some(&b'\n') { LEAST_OF_LINE } else { 1 };
        }
        bytes.into()
    }

    fn cancel(self) -> Option<js_sys::Promise> {
        if let Some((stream, rest)) = self.rest
            && self.reader.try_release().is_ok()
        {
            rest(stream);
            return None;
        }
        Some(self.reader.cancel().unchecked_into())
    }
}

fn pieces(reader: Reader) -> ByteStream {
    let state = Rc::<RefCell<State>>::default();
    let callback = |outcome: fn(JsValue) -> Outcome| {
        let state = Rc::clone(&state);
        Closure::new(move |value| {
            let mut state = state.borrow_mut();
            state.outcome = Some(outcome(value));
            if let Some(waker) = state.waker.take() {
                waker.wake();
            }
        })
    };
    let on_result = callback(|result| {
        let result: web_sys::ReadableStreamReadResult = result.unchecked_into();
        let piece = result.get_value().dyn_into::<js_sys::Uint8Array>().ok().filter(|piece| piece.length() > 0);
        Ok(Read { piece, ended: result.get_done() == Some(true) })
    });
    let open = Open { reader, on_result, on_error: callback(Err) };
    Box::pin(Pieces { open: Some(open), reading: false, state })
}

struct Read {
    piece: Option<js_sys::Uint8Array>,
    ended: bool,
}

/// What a read gave, or an exception.
type Outcome = Result<Read, JsValue>;

#[derive(Default)]
struct State {
    outcome: Option<Outcome>,
    waker: Option<Waker>,
}

struct Open {
    reader: Reader,
    on_result: Closure<dyn FnMut(JsValue)>,
    on_error: Closure<dyn FnMut(JsValue)>,
}

/// All reads share one pair of callbacks. (`wasm_streams` makes a pair for each read and keeps it for ever if the read never
/// settles, which happens when a client leaves amid a stream; and each cancellation leaks one more.)
struct Pieces {
    /// `None` after the end or an error.
    open: Option<Open>,
    reading: bool,
    state: Rc<RefCell<State>>,
}

impl Stream for Pieces {
    type Item = Result<Bytes, FetchError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let Some(open) = &mut this.open else { return Poll::Ready(None) };
            if !this.reading {
                this.reading = true;
                match open.reader.read() {
                    Ok(read) => drop(read.then2(&open.on_result, &open.on_error)),
                    Err(exception) => this.state.borrow_mut().outcome = Some(Err(exception)),
                }
            }
            let mut state = this.state.borrow_mut();
            let Some(outcome) = state.outcome.take() else {
                state.waker = Some(cx.waker().clone());
                return Poll::Pending;
            };
            drop(state);
            this.reading = false;
            match outcome {
                Ok(Read { piece, ended }) => {
                    let bytes = piece.map(|piece| open.reader.take(&piece));
                    if ended {
                        this.open = None;
                    }
                    if let Some(bytes) = bytes {
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                }
                Err(exception) => {
                    this.open = None;
                    return Poll::Ready(Some(Err(fetch_error(FetchErrorKind::Broken, &exception, None))));
                }
            }
        }
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.state.borrow_mut().waker = None;
        if let Some(Open { reader, on_result, on_error }) = self.open.take() {
            let _ = reader.cancel().map(|cancelled| cancelled.catch(&on_error));
            // A pending read and the cancellation may still call these: JavaScript's garbage collection frees them.
            drop((on_result.into_js_value(), on_error.into_js_value()));
        }
    }
}
