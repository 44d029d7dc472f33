//! Answers of the Worker: converts them for the runtime, and writes streamed ones chunk by chunk to the client.

use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use wasm_bindgen::{JsValue, closure::Closure, prelude::wasm_bindgen};

use crate::platform::{Body, ByteStream, FetchError};

#[wasm_bindgen(module = "/src/platform/worker/writer.js")]
extern "C" {
    #[wasm_bindgen(js_name = Writer)]
    type JsWriter;

    #[wasm_bindgen(constructor, js_class = Writer)]
    fn new(
        client: Option<&web_sys::AbortSignal>,
        on_settled: &Closure<dyn FnMut(bool)>,
        length: Option<f64>,
    ) -> JsWriter;

    #[wasm_bindgen(method, getter, js_class = Writer)]
    fn readable(this: &JsWriter) -> web_sys::ReadableStream;

    #[wasm_bindgen(method, js_class = Writer)]
    fn write(this: &JsWriter, chunk: &js_sys::Uint8Array);

    #[wasm_bindgen(method, js_class = Writer)]
    fn end(this: &JsWriter, exception: &JsValue);
}

/// Converts an answer for the runtime. A task that outlives the handler writes a streamed body.
///
/// # Errors
/// The runtime's exception for a header or a body that it refuses.
pub(crate) fn to_js(
    answer: http::Response<Body>,
    context: &worker::Context,
    client: &web_sys::AbortSignal,
) -> Result<web_sys::Response, JsValue> {
    let (head, body) = answer.into_parts();
    let headers = web_sys::Headers::new()?;
    for (name, value) in &head.headers {
        if let Ok(value) = value.to_str() {
            headers.append(name.as_str(), value)?;
        }
    }
    let init = web_sys::ResponseInit::new();
    init.set_status(head.status.as_u16());
    init.set_headers(&headers);
    match body {
        Body::Full(bytes) if bytes.is_empty() => web_sys::Response::new_with_opt_str_and_init(None, &init),
        Body::Full(bytes) => {
            web_sys::Response::new_with_opt_buffer_source_and_init(Some(&js_sys::Uint8Array::from(&bytes[..])), &init)
        }
        Body::Native(stream) => web_sys::Response::new_with_opt_readable_stream_and_init(Some(&stream), &init),
        Body::Stream(stream) => {
            let length = head.headers.get(http::header::CONTENT_LENGTH);
            let length = length.and_then(|length| length.to_str().ok()?.parse::<u32>().ok()).map(f64::from);
            let writing = Writing::new(stream, Some(client), length);
            let readable = writing.readable();
            context.wait_until(writing);
            web_sys::Response::new_with_opt_readable_stream_and_init(Some(&readable), &init)
        }
    }
}

#[derive(Default)]
struct State {
    is_writing: bool,
    /// A chunk waits for the end of the current write. Otherwise the end of the write wakes no task, which would be an entry
    /// into the isolate for nothing.
    is_waiting: bool,
    is_gone: bool,
    waker: Option<Waker>,
}

/// Writes a stream to its end, or until the client has left. Dropping the stream then cancels its source.
pub(super) struct Writing {
    writer: JsWriter,
    stream: ByteStream,
    /// The next chunk, while the last one is being written.
    next: Option<Result<Bytes, FetchError>>,
    state: Rc<RefCell<State>>,
    _on_settled: Closure<dyn FnMut(bool)>,
}

impl Writing {
    /// `length` = how many bytes the stream will have, if that is known.
    pub(super) fn new(stream: ByteStream, client: Option<&web_sys::AbortSignal>, length: Option<f64>) -> Self {
        let state = Rc::<RefCell<State>>::default();
        let settled = Rc::clone(&state);
        let on_settled = Closure::new(move |is_written: bool| {
            let waker = {
                let mut state = settled.borrow_mut();
                state.is_writing = false;
                state.is_gone |= !is_written;
                if state.is_gone || state.is_waiting { state.waker.take() } else { None }
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        });
        let writer = JsWriter::new(client, &on_settled, length);
        Self { writer, stream, next: None, state, _on_settled: on_settled }
    }

    /// Returns the stream that the client reads.
    pub(super) fn readable(&self) -> web_sys::ReadableStream {
        self.writer.readable()
    }
}

impl Future for Writing {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            {
                let mut state = this.state.borrow_mut();
                if state.is_gone {
                    return Poll::Ready(());
                }
                state.waker = Some(cx.waker().clone());
                state.is_waiting = this.next.is_some() && state.is_writing;
                if state.is_waiting {
                    return Poll::Pending;
                }
                state.is_writing |= this.next.is_some();
            }
            match this.next.take() {
                None => {}
                Some(Ok(chunk)) => this.writer.write(&js_sys::Uint8Array::from(&chunk[..])),
                Some(Err(error)) => {
                    this.writer.end(&js_sys::Error::new(&error.to_string()));
                    return Poll::Ready(());
                }
            }
            this.next = ready!(this.stream.as_mut().poll_next(cx));
            if this.next.is_none() {
                return Poll::Ready(());
            }
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.writer.end(&JsValue::UNDEFINED);
    }
}
