//! The program's own diagnostics (`tracing`) as lines of the same log: start, reload, errors.
//!
//! They have the keys `time`, `level`, `event=diagnostic`, `target`, `message` and whatever fields the call names; values are
//! escaped like all others. Other crates are heard from `warn` on only.

use super::{LogFormat, line::Line, sink::Sink};
use crate::clock;
use std::fmt;
use tracing::{
    Level, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    filter::{FilterFn, LevelFilter},
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

/// Makes the log the place of all diagnostics, unless the process has one already.
pub(super) fn install(sink: Sink, format: LogFormat, level: Level) {
    let filter = FilterFn::new(move |metadata| is_wanted(metadata, level))
        .with_max_level_hint(LevelFilter::from_level(level.max(Level::WARN)));
    let layer = Diagnostics { sink, format }.with_filter(filter);
    // Only tests start a second log in one process; the first one keeps the diagnostics.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer));
}

fn is_wanted(metadata: &Metadata<'_>, level: Level) -> bool {
    let is_ours = metadata.target().starts_with(env!("CARGO_PKG_NAME"));
    *metadata.level() <= if is_ours { level } else { level.min(Level::WARN) }
}

struct Diagnostics {
    sink: Sink,
    format: LogFormat,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Diagnostics {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        self.sink.write_line(self.format, clock::wall_now(), |line| {
            line.word("level", level_name(*metadata.level()));
            line.word("event", "diagnostic");
            line.text("target", metadata.target());
            event.record(&mut Fields(line));
        });
    }
}

/// The name of a level as it stands in log lines.
pub(super) const fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

struct Fields<'a, 'b>(&'a mut Line<'b>);

impl Visit for Fields<'_, '_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.text(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.number(field.name(), value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        self.0.text(field.name(), &text);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.shown(field.name(), format_args!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::sink::Writer;

    #[test]
    fn a_diagnostic_is_a_line_like_any_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let writer = Writer::start(Some(&path)).unwrap();
        let layer = Diagnostics { sink: writer.sink(), format: LogFormat::Json };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::warn!(target: "tollgate::app", listener = "smarthost\n", port = 25u64, "cannot {}", "listen");
        });
        drop(writer);
        let line: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(line["level"], "warn");
        assert_eq!(line["message"], "cannot listen");
        assert_eq!(line["listener"], "smarthost\n");
        assert_eq!(line["port"], 25);
    }
}
