//! The way out of the edge: the runtime's own `fetch`.

use bytes::Bytes;
use futures::StreamExt as _;
use wasm_bindgen::{JsCast as _, JsValue, prelude::wasm_bindgen};
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
    Box::pin(wasm_streams::ReadableStream::from_raw(stream.unchecked_into()).into_stream().map(|piece| match piece {
        Ok(piece) => Ok(js_sys::Uint8Array::new(&piece).to_vec().into()),
        Err(exception) => Err(fetch_error(FetchErrorKind::Broken, &exception, None)),
    }))
}
