//! The latest run in the text format of Prometheus, for node_exporter's textfile collector: a gauge for each fact, the unit in
//! the name, HELP and TYPE before the values, and no timestamps but as values.
//!
//! # Privacy
//! Labels are words of the program and of the catalog.

use std::collections::BTreeMap;
use std::fmt::Write;

use ieum_core::manifest::Manifest;

/// What is told of a run.
#[derive(Debug)]
pub struct Metrics<'a> {
    /// Its exit code.
    pub exit_code: u8,
    /// When it ended, in seconds since 1970.
    pub ended: f64,
    /// How long it took.
    pub seconds: f64,
    /// How long its steps took.
    pub steps: &'a BTreeMap<&'static str, f64>,
    /// The largest resident size.
    pub peak_memory_bytes: Option<u64>,
    /// What it committed; none of a run that failed.
    pub committed: Option<Committed<'a>>,
    /// The file as it stood before.
    pub before: &'a str,
}

/// What a run committed.
#[derive(Debug)]
pub struct Committed<'a> {
    /// The manifest.
    pub manifest: &'a Manifest,
    /// Requests that could not be read.
    pub malformed: u64,
    /// Periodic requests that were not due.
    pub not_due: u64,
}

const SUCCESS: &str = "ieum_run_last_success_timestamp_seconds";
const FAILURE: &str = "ieum_run_last_failure_timestamp_seconds";

impl Metrics<'_> {
    /// The whole file. The times of the latest success and failure are taken over from the one before.
    pub fn text(&self) -> String {
        let mut page = Page::default();
        page.gauge(
            "ieum_build_info",
            "Version of ieum that ran, as a label.",
            [(labels(&[("version", env!("CARGO_PKG_VERSION"))]), 1.0)],
        );
        page.gauge(
            "ieum_run_exit_code",
            "Exit code of the latest run; 0 and 3 are commits.",
            [one(f64::from(self.exit_code))],
        );
        page.gauge("ieum_run_last_timestamp_seconds", "When the latest run ended.", [one(self.ended)]);
        let committed = matches!(self.exit_code, 0 | 3);
        let latest = |name: &str, now: bool| if now { Some(self.ended) } else { value(self.before, name) };
        page.gauge(SUCCESS, "When a run committed last.", latest(SUCCESS, committed).map(one));
        page.gauge(FAILURE, "When a run failed last.", latest(FAILURE, !committed).map(one));
        page.gauge("ieum_run_duration_seconds", "How long the latest run took.", [one(self.seconds)]);
        let steps = self.steps.iter().map(|(step, seconds)| (labels(&[("step", step)]), *seconds));
        page.gauge("ieum_run_step_duration_seconds", "How long a step of the latest run took.", steps);
        let peak = self.peak_memory_bytes.map(|bytes| one(bytes as f64));
        page.gauge("ieum_run_peak_memory_bytes", "The most memory that the latest run held.", peak);
        if let Some(committed) = &self.committed {
            page.committed(committed);
        }
        page.0
    }
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn committed(&mut self, committed: &Committed<'_>) {
        let manifest = committed.manifest;
        let requests = &manifest.requests;
        let by_status = [
            ("delivered", requests.delivered),
            ("partial", requests.partial),
            ("refused", requests.refused),
            ("delayed", requests.delayed),
            ("malformed", committed.malformed),
            ("not_due", committed.not_due),
        ];
        let by_status = by_status.map(|(status, count)| (labels(&[("status", status)]), count as f64));
        self.gauge("ieum_run_requests", "Requests of the latest committed run, by what became of them.", by_status);
        let lines = manifest.outcomes.iter().map(|(outcome, count)| (labels(&[("outcome", outcome)]), *count as f64));
        self.gauge("ieum_run_lines", "Document lines of the latest committed run, by outcome.", lines);
        let carried = [one(manifest.carried_on as f64)];
        self.gauge("ieum_run_carried_on_lines", "Lines of earlier runs that stay open without their request.", carried);
        let rows = manifest.sources.iter().flat_map(|(source, counts)| {
            let states = [("kept", counts.kept), ("filtered", counts.filtered), ("rejected", counts.rejected)];
            states.map(|(state, rows)| (labels(&[("source", source), ("state", state)]), rows as f64))
        });
        self.gauge("ieum_run_rows", "Rows read by the latest committed run; the states add up to what was read.", rows);
        let bytes =
            manifest.sources.iter().map(|(source, counts)| (labels(&[("source", source)]), counts.bytes as f64));
        self.gauge("ieum_run_read_bytes", "Bytes of exports read by the latest committed run.", bytes);
        let written: u64 = manifest.files.iter().map(|file| file.bytes).sum();
        self.gauge("ieum_run_output_bytes", "Bytes that the latest committed run wrote.", [one(written as f64)]);
        self.gauge(
            "ieum_run_output_files",
            "Files that the latest committed run wrote.",
            [one(manifest.files.len() as f64)],
        );
    }

    /// A metric and its values; nothing where it has none.
    fn gauge(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (String, f64)>) {
        let mut values = values.into_iter().peekable();
        if values.peek().is_none() {
            return;
        }
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in values {
            let _ = writeln!(self.0, "{name}{labels} {value}");
        }
    }
}

fn one(value: f64) -> (String, f64) {
    (String::new(), value)
}

/// Labels with the escapes of the format.
fn labels(labels: &[(&str, &str)]) -> String {
    let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    format!("{{{}}}", labels.join(","))
}

/// The value of a metric without labels in a file of this format.
fn value(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn failed(before: &str, ended: f64) -> String {
        let steps = BTreeMap::from([("load", 0.5)]);
        let metrics = Metrics {
            exit_code: 5,
            ended,
            seconds: 1.25,
            steps: &steps,
            peak_memory_bytes: Some(1 << 20),
            committed: None,
            before,
        };
        metrics.text()
    }

    #[test]
    fn a_failure_keeps_the_time_of_the_latest_success() {
        let text = failed("ieum_run_last_success_timestamp_seconds 1700000000.5\n", 1_700_000_100.0);
        for line in [
            "ieum_run_exit_code 5",
            "ieum_run_last_success_timestamp_seconds 1700000000.5",
            "ieum_run_last_failure_timestamp_seconds 1700000100",
            "ieum_run_step_duration_seconds{step=\"load\"} 0.5",
            "ieum_run_peak_memory_bytes 1048576",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in {text}");
        }
        assert!(!failed("", 1.0).contains("last_success"));
    }

    #[test]
    fn every_metric_has_its_help_and_type_once_before_its_values() {
        let text = failed("", 1.0);
        let mut met = BTreeSet::new();
        let mut current = String::new();
        for line in text.lines() {
            match line.strip_prefix("# ") {
                Some(about) => {
                    let mut words = about.splitn(3, ' ');
                    let (kind, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                    assert!(kind == "TYPE" || met.insert(name.to_owned()), "{line}");
                    current = name.to_owned();
                }
                None => assert!(line.starts_with(&current) && line.split(' ').count() == 2, "{line}"),
            }
        }
        assert!(text.ends_with('\n') && met.len() > 5);
    }

    #[test]
    fn labels_are_escaped() {
        assert_eq!(labels(&[("a", "x\"y\\z\n")]), "{a=\"x\\\"y\\\\z\\n\"}");
    }
}
