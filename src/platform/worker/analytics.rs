//! Writes the record of each request to a Workers Analytics Engine dataset, if one is bound.

use std::time::Duration;

use wasm_bindgen::JsValue;
use worker::{AnalyticsEngineDataPointBuilder, Env};

use crate::platform::telemetry::RequestRecord;

/// The binding's name in `wrangler.toml`.
const BINDING: &str = "ANALYTICS";

/// Writes one data point; `docs/operation.md` lists its columns.
pub(super) fn write(env: &Env, record: &RequestRecord) {
    // The binding is optional.
    if js_sys::Reflect::get(env.as_ref(), &JsValue::from_str(BINDING)).is_ok_and(|binding| binding.is_undefined()) {
        return;
    }
    let Ok(dataset) = env.analytics_engine(BINDING) else { return };
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    let word = |flag: Option<bool>, yes: &'static str, no: &'static str| match flag {
        Some(true) => yes,
        Some(false) => no,
        None => "",
    };
    let blobs = [
        record.route,
        record.method.as_str(),
        record.code.unwrap_or_default(),
        record.outcome.as_str(),
        word(record.hit, "hit", "miss"),
        word(record.stream, "stream", "whole"),
        record.model.as_deref().unwrap_or_default(),
        record.account.as_deref().unwrap_or_default(),
    ];
    let doubles = [
        f64::from(record.status),
        milliseconds(record.total),
        milliseconds(record.own),
        record.first_token.map_or(-1.0, milliseconds),
        f64::from(record.upstream_calls),
        record.upstream_status.map_or(-1.0, f64::from),
        milliseconds(record.upstream_wait),
        record.bytes_in as f64,
        record.bytes_out as f64,
    ];
    let point = AnalyticsEngineDataPointBuilder::new().indexes([record.route]).blobs(blobs).doubles(doubles);
    if let Err(error) = point.write_to(&dataset) {
        tracing::warn!(%error, "a data point was not written");
    }
}
