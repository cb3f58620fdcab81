//! The only room that prints. Results go to stdout, everything else to stderr.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::borrow::Cow;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::time::Duration;

use ieum_core::night::Warning;
use ieum_model::error::Error;
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::json;
use tracing::level_filters::LevelFilter;

use crate::cli::{LogFormat, Output, Verbosity};
use crate::log::JsonLines;

/// How often the spinner turns.
const SPIN: Duration = Duration::from_millis(120);

/// Where a command's words go.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    output: Output,
    log: LogFormat,
    quiet: bool,
    verbose: u8,
}

impl Screen {
    /// A screen for results of one format and a log of another.
    pub fn new(output: Output, log: LogFormat, verbosity: &Verbosity) -> Self {
        Self { output, log, quiet: verbosity.quiet, verbose: verbosity.verbose }
    }

    /// Sends the log to stderr. Colours only on a terminal and without `NO_COLOR`.
    pub fn start_log(&self) {
        let level = match (self.quiet, self.verbose) {
            (true, _) => LevelFilter::ERROR,
            (false, 0) => LevelFilter::WARN,
            (false, 1) => LevelFilter::INFO,
            (false, 2) => LevelFilter::DEBUG,
            (false, _) => LevelFilter::TRACE,
        };
        let colours = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let log = tracing_subscriber::fmt().with_writer(stderr).with_max_level(level).with_ansi(colours);
        // A subscriber that a caller has set before stays.
        let _ = match self.log {
            LogFormat::Text => tracing::subscriber::set_global_default(log.finish()),
            LogFormat::Json => tracing::subscriber::set_global_default(log.event_format(JsonLines).finish()),
        };
    }

    /// The result of a command: the text, or the value as one line of JSON.
    pub fn result(&self, text: &str, value: &impl Serialize) {
        let line = match self.output {
            Output::Text => text.trim_end().to_owned(),
            Output::Json => json!(value).to_string(),
        };
        // A reader that has gone away, such as `head`, is no failure of ours.
        let _ = writeln!(stdout().lock(), "{line}");
    }

    /// How far a run is, for a reader that is a program: one line of JSON.
    pub fn status(&self, value: &impl Serialize) {
        let _ = writeln!(stderr().lock(), "{}", json!(value));
    }

    /// How far a long command is.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(stderr().lock(), "{text}");
        }
    }

    /// Something to look at, met before the run, that stops nothing.
    pub fn warning(&self, text: &str) {
        match self.log {
            LogFormat::Json => tracing::warn!(stage = "load", "{text}"),
            LogFormat::Text if self.quiet => {}
            LogFormat::Text => drop(writeln!(stderr().lock(), "warning: {text}")),
        }
    }

    /// Something to look at that a run met and that stops nothing.
    pub fn warning_of_run(&self, run_id: &str, warning: &Warning) {
        match self.log {
            LogFormat::Json => {
                let Warning { stage, dataset, message } = warning;
                tracing::warn!(run_id, dataset, stage = stage.name(), "{message}");
            }
            LogFormat::Text => self.warning(&warning.message),
        }
    }

    /// Tells a failure and gives its exit code.
    pub fn failure(&self, error: &Error) -> u8 {
        let code = error.kind.exit_code();
        if self.log == LogFormat::Json {
            tracing::error!("{}", error.told());
        }
        let mut stderr = stderr().lock();
        if self.log == LogFormat::Text {
            let _ = writeln!(stderr, "error: {error}");
            if let Some(hint) = &error.hint {
                let _ = writeln!(stderr, "\nhint: {hint}");
            }
        }
        if self.output == Output::Json {
            exit_error(&mut stderr, code, &error.message);
        }
        code
    }

    /// Tells that something ends the run with an exit code, and whether it can go on.
    pub fn ended(&self, what: &str, code: u8, goes_on: bool) {
        let then = if goes_on { "the same command goes on from what was done" } else { "nothing is left" };
        let message = format!("{what}: nothing is committed, {then}");
        if self.log == LogFormat::Json {
            tracing::error!("{message}");
        }
        let mut stderr = stderr().lock();
        if self.log == LogFormat::Text {
            let _ = writeln!(stderr, "error: {message}");
        }
        if self.output == Output::Json {
            exit_error(&mut stderr, code, &message);
        }
    }

    /// Runs `work` with a spinner, which shows only on a terminal.
    pub fn busy<T>(&self, doing: impl Into<Cow<'static, str>>, work: impl FnOnce() -> T) -> T {
        if self.quiet || !stderr().is_terminal() {
            return work();
        }
        let spinner = ProgressBar::new_spinner().with_message(doing);
        spinner.enable_steady_tick(SPIN);
        let done = work();
        spinner.finish_and_clear();
        done
    }
}

/// The last line of a failure for a reader that is a program.
fn exit_error(stderr: &mut impl Write, code: u8, message: &str) {
    let last = json!({ "message_type": "exit_error", "code": code, "message": message });
    let _ = writeln!(stderr, "{last}");
}

/// Tells wrong usage, or the help that was asked for, and gives the exit code.
pub fn usage(usage: &clap::Error, output: Output) -> u8 {
    let _ = usage.print();
    let code = u8::try_from(usage.exit_code()).unwrap_or(1);
    if code != 0 && output == Output::Json {
        let told = usage.to_string();
        let first = told.lines().next().unwrap_or_default();
        exit_error(&mut stderr().lock(), code, first.strip_prefix("error: ").unwrap_or(first));
    }
    code
}

/// Aligned columns: the first to the left, numbers to the right.
pub fn table(rows: &[(&str, String)]) -> String {
    let names = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let numeric = |value: &str| !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit() || byte == b',');
    let numbers = rows.iter().filter(|(_, value)| numeric(value)).map(|(_, value)| value.len()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| {
        if numeric(value) {
            format!("{name:<names$}  {value:>numbers$}\n")
        } else {
            format!("{name:<names$}  {value}\n")
        }
    };
    rows.iter().map(line).collect()
}

/// A number with a comma every three digits.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes with a binary unit.
pub fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let unit = (1..=units.len()).rev().find(|power| bytes >> (10 * power) > 0);
    match unit {
        None => format!("{bytes} B"),
        Some(power) => format!("{:.1} {}", bytes as f64 / (1_u64 << (10 * power)) as f64, units[power - 1]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_sizes_have_units() {
        assert_eq!([grouped(0), grouped(999), grouped(1_204_551)], ["0", "999", "1,204,551"]);
        assert_eq!([size(1023), size(1536), size(3 << 30)], ["1023 B", "1.5 KiB", "3.0 GiB"]);
    }
}
