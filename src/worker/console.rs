//! Log lines of the Worker: one JSON object each, written to the console, from which Workers Logs collects them.

use std::fmt;

use serde_json::{Map, Value as Json};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::{LevelFilter, ParseLevelFilterError},
    span,
};

struct Console {
    max_level: LevelFilter,
}

/// Sends log lines at `level` (`off`, `error`, `warn`, `info`, `debug` or `trace`) and above to the console.
///
/// # Errors
/// The level is unknown.
pub(super) fn start(level: &str) -> Result<(), ParseLevelFilterError> {
    let max_level = level.parse::<LevelFilter>()?;
    // Fails if a subscriber is set already, which writes the same lines.
    let _ = tracing::subscriber::set_global_default(Console { max_level });
    Ok(())
}

impl Subscriber for Console {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.max_level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.max_level)
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(Map::new());
        let level = *event.metadata().level();
        fields.0.insert("level".to_owned(), Json::from(level.as_str().to_lowercase()));
        event.record(&mut fields);
        let line = Json::Object(fields.0).to_string();
        let line = crate::visible::json(&line);
        match level {
            Level::ERROR => worker::console_error!("{line}"),
            Level::WARN => worker::console_warn!("{line}"),
            _ => worker::console_log!("{line}"),
        }
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Fields(Map<String, Json>);

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }
}
