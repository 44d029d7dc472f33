//! The log of the native server.

use std::io::{self, IsTerminal as _, Write};

use qwen_edge::{
    config::{Config, ConfigError, LogFormat},
    visible,
};
use tracing::field::Field;
use tracing_subscriber::{
    field::MakeExt as _,
    filter::Targets,
    fmt::{
        self,
        format::{self, Writer},
    },
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// Starts to log to standard error.
///
/// # Errors
/// `LOG` is not a filter.
pub(super) fn start(config: &Config) -> Result<(), ConfigError> {
    let filter: Targets = config.log.parse().map_err(|_| ConfigError {
        name: "LOG",
        problem: "must be a filter such as info or qwen_edge=debug".to_owned(),
    })?;
    let terminal = io::stderr().is_terminal();
    let format = config.log_format.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json });
    let log = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Text => {
            let layer = fmt::layer().with_writer(io::stderr).with_ansi(terminal).with_target(false);
            log.with(layer.fmt_fields(format::debug_fn(field).delimited(" "))).init();
        }
        LogFormat::Json => {
            log.with(fmt::layer().with_writer(|| Visible(io::stderr())).json().flatten_event(true)).init();
        }
    }
    Ok(())
}

/// Writes one field of a text log line. Text of clients and upstreams is always in a field, so fields are escaped here.
fn field(writer: &mut Writer<'_>, field: &Field, value: &dyn std::fmt::Debug) -> std::fmt::Result {
    let value = format!("{value:?}");
    let (name, value) = (field.name(), visible::text(&value));
    match name {
        "message" => writer.write_str(&value),
        _ if writer.has_ansi_escapes() => write!(writer, "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m{value}"),
        _ => write!(writer, "{name}={value}"),
    }
}

/// Writes lines of JSON with escaped control characters.
struct Visible<W>(W);

impl<W: Write> Write for Visible<W> {
    /// Writes one line: tracing passes a whole line in each call.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let shown = std::str::from_utf8(line).map(visible::json);
        self.0.write_all(shown.as_ref().map_or(line, |shown| shown.as_bytes()))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
