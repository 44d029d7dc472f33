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

use crate::platform::{ByteStream, FetchError, FetchErrorKind, FetchResponse};

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = fetch, catch)]
    fn global_fetch(request: &web_sys::Request) -> Result<js_sys::Promise, JsValue>;
}

/// The kind of a JavaScript exception, without its text where that may hold the URL.
fn fetch_error(kind: FetchErrorKind, exception: &JsValue, client: Option<&web_sys::AbortSignal>) -> FetchError {
    let kind = if client.is_some_and(web_sys::AbortSignal::aborted) { FetchErrorKind::Cancelled } else { kind };
    let name = exception.dyn_ref::<js_sys::Error>().map(|error| String::from(error.name())).unwrap_or_default();
    FetchError { kind, detail: if name.is_empty() { "exception".to_owned() } else { name } }
}

pub(super) async fn fetch(
    request: http::Request<Bytes>,
    client: Option<&web_sys::AbortSignal>,
) -> Result<FetchResponse, FetchError> {
    let failed = |exception: JsValue| fetch_error(FetchErrorKind::Connect, &exception, client);
    let response = JsFuture::from(global_fetch(&to_js(request, client).map_err(failed)?).map_err(failed)?)
        .await
        .map_err(failed)?
        .unchecked_into::<web_sys::Response>();
    let mut answer = http::Response::new(response.body().map_or_else(no_bytes, byte_stream));
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

fn to_js(request: http::Request<Bytes>, client: Option<&web_sys::AbortSignal>) -> Result<web_sys::Request, JsValue> {
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
        init.set_body(&js_sys::Uint8Array::from(&body[..]));
    }
    web_sys::Request::new_with_str_and_init(&head.uri.to_string(), &init)
}

fn no_bytes() -> ByteStream {
    Box::pin(futures::stream::empty())
}

/// The pieces of a JavaScript stream. Dropping it cancels the stream and with it the connection behind.
pub(super) fn byte_stream(stream: web_sys::ReadableStream) -> ByteStream {
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
        Ok(if result.get_done() == Some(true) { None } else { Some(result.get_value()) })
    });
    let open = Open { reader: stream.get_reader().unchecked_into(), on_result, on_error: callback(Err) };
    Box::pin(Pieces { open: Some(open), reading: false, state })
}

/// What a read gave: a piece, the end, or an exception.
type Outcome = Result<Option<JsValue>, JsValue>;

#[derive(Default)]
struct State {
    outcome: Option<Outcome>,
    waker: Option<Waker>,
}

struct Open {
    reader: web_sys::ReadableStreamDefaultReader,
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
        let Some(open) = &this.open else { return Poll::Ready(None) };
        if !this.reading {
            this.reading = true;
            let _ = open.reader.read().then2(&open.on_result, &open.on_error);
        }
        let mut state = this.state.borrow_mut();
        let Some(outcome) = state.outcome.take() else {
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        this.reading = false;
        Poll::Ready(match outcome {
            Ok(Some(piece)) => Some(Ok(js_sys::Uint8Array::new(&piece).to_vec().into())),
            Ok(None) => {
                this.open = None;
                None
            }
            Err(exception) => {
                this.open = None;
                Some(Err(fetch_error(FetchErrorKind::Broken, &exception, None)))
            }
        })
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.state.borrow_mut().waker = None;
        if let Some(Open { reader, on_result, on_error }) = self.open.take() {
            let _ = reader.cancel().catch(&on_error);
            // A pending read and the cancellation may still call these: JavaScript's garbage collection frees them.
            drop((on_result.into_js_value(), on_error.into_js_value()));
        }
    }
}
