//! The log as JSON, one object a line: `ts, level, target, run_id, dataset, stage, msg`, and counts.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Fields that stand in every line; null where an event has none.
const ALWAYS: [&str; 3] = ["run_id", "dataset", "stage"];
/// The other fields that may stand in a line. What is not named here is left out: no event of a library brings a row's
/// value into the log.
const ALLOWED: [&str; 6] = ["requests", "lines", "waves", "sources", "rows", "error"];

/// Writes events as JSON.
pub struct JsonLines;

#[derive(Default)]
struct Fields {
    message: String,
    others: BTreeMap<&'static str, Value>,
}

impl Fields {
    fn take(&mut self, field: &Field, value: Value) {
        let known = ALWAYS.iter().chain(&ALLOWED).find(|name| **name == field.name());
        if let Some(name) = known {
            self.others.insert(name, value);
        }
    }
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.take(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message = value.to_owned();
        } else {
            self.take(field, value.into());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut ts = String::new();
        SystemTime.format_time(&mut Writer::new(&mut ts))?;
        let about = event.metadata();
        let mut line = Map::new();
        line.insert("ts".into(), ts.into());
        line.insert("level".into(), about.level().as_str().into());
        line.insert("target".into(), about.target().into());
        for name in ALWAYS {
            line.insert(name.into(), fields.others.remove(name).unwrap_or(Value::Null));
        }
        line.insert("msg".into(), fields.message.into());
        line.extend(fields.others.into_iter().map(|(name, value)| (name.to_owned(), value)));
        writeln!(writer, "{}", Value::Object(line))
    }
}
