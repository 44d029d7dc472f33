//! The notes of each request in a Workers Analytics Engine dataset, where one is bound.

use std::time::Duration;

use wasm_bindgen::JsValue;
use worker::{AnalyticsEngineDataPointBuilder, Env};

use crate::platform::telemetry::Facts;

/// The binding's name in `wrangler.toml`.
const BINDING: &str = "ANALYTICS";

/// Writes one data point; `docs/operation.md` lists its columns.
pub(super) fn write(env: &Env, facts: &Facts) {
    // A binding that is not there is no error here.
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
        facts.route,
        facts.method.as_str(),
        facts.code.unwrap_or_default(),
        facts.outcome.as_str(),
        word(facts.hit, "hit", "miss"),
        word(facts.stream, "stream", "whole"),
        facts.model.as_deref().unwrap_or_default(),
    ];
    let doubles = [
        f64::from(facts.status),
        milliseconds(facts.total),
        milliseconds(facts.own),
        facts.first_token.map_or(-1.0, milliseconds),
        f64::from(facts.outside_calls),
        facts.outside_status.map_or(-1.0, f64::from),
        milliseconds(facts.outside_wait),
        facts.bytes_in as f64,
        facts.bytes_out as f64,
    ];
    let point = AnalyticsEngineDataPointBuilder::new().indexes([facts.route]).blobs(blobs).doubles(doubles);
    if let Err(error) = point.write_to(&dataset) {
        tracing::warn!(%error, "a data point was not written");
    }
}
