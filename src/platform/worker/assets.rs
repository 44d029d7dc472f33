//! The pages in `web/`, as Workers static assets behind the binding `ASSETS`.

use wasm_bindgen::{JsCast as _, JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;
use worker::Env;

use crate::platform::{Asset, Body};

#[wasm_bindgen]
extern "C" {
    /// A service binding: <https://developers.cloudflare.com/workers/static-assets/binding/>
    type Fetcher;

    #[wasm_bindgen(method, catch)]
    fn fetch(this: &Fetcher, url: &str) -> Result<js_sys::Promise, JsValue>;
}

pub(super) async fn find(env: &Env, path: &str) -> Option<Asset> {
    let binding = js_sys::Reflect::get(env, &"ASSETS".into()).ok().filter(JsValue::is_object)?;
    // The binding ignores the host.
    let fetching = binding.unchecked_ref::<Fetcher>().fetch(&format!("https://assets.local{path}")).ok()?;
    let found = JsFuture::from(fetching).await.ok()?.unchecked_into::<web_sys::Response>();
    if found.status() != 200 {
        return None;
    }
    let header = |name: &str| found.headers().get(name).ok().flatten();
    Some(Asset {
        content_type: header("content-type").unwrap_or_else(|| "application/octet-stream".to_owned()),
        etag: header("etag"),
        is_gzip: false,
        body: found.body().map_or_else(Body::empty, Body::Native),
    })
}
