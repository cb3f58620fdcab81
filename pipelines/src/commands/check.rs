//! `ieum check`: everything that can be tested before a row is delivered.

use std::collections::{BTreeMap, BTreeSet};

use ieum_core::first_look::first_look;
use ieum_core::night::{ExportState, Warning};
use ieum_core::sink;
use ieum_model::error::Result;
use serde::Serialize;

use super::{definition, exit_code, tell_warnings};
use crate::cli::CheckArgs;
use crate::load::{ControlTotals, Loaded, night};
use crate::screen::{Screen, grouped, table};

/// What `ieum check` found. Fields may be added.
#[derive(Serialize)]
struct Report {
    as_of: String,
    requests: u64,
    not_due: u64,
    malformed: u64,
    doubtful_identifiers: u64,
    /// Requests answered as a whole before any export is read, by reason or outcome.
    refusals: BTreeMap<&'static str, u64>,
    lines: u64,
    exports: u64,
    delayed_exports: u64,
    /// Lines of earlier runs that stay open because their request was not received.
    carried_on: u64,
}

/// Tests catalog, requests, keys, control totals, the beginning of every export, and whether the output can be written.
/// Exit code 3 if a holder is delayed, an export left out or a request malformed.
///
/// # Errors
/// When a run could not even begin.
pub fn check(args: &CheckArgs, screen: &Screen) -> Result<u8> {
    let (definition, as_of) = definition(&args.file, args.date)?;
    let loaded = screen.busy("checking requests and exports", || night(&definition, as_of, ControlTotals::Verify))?;
    tell_warnings(&loaded, screen);
    let night = &loaded.night;
    sink::is_free(&night.out)?;
    let left_out = screen.busy("opening exports", || first_look(night))?;
    for warning in &left_out {
        screen.warning_of_run(&night.run_id(), warning);
    }
    let report = report(&loaded, &left_out);
    screen.result(&told(&report), &report);
    Ok(exit_code(report.malformed + report.delayed_exports + report.carried_on > 0))
}

fn report(loaded: &Loaded, left_out: &[Warning]) -> Report {
    let (night, checked) = (&loaded.night, &loaded.night.checked);
    let mut refusals = BTreeMap::new();
    for (outcome, reason) in checked.requests.iter().filter_map(|request| request.refusal) {
        *refusals.entry(reason.map_or(outcome.code(), |reason| reason.code())).or_default() += 1;
    }
    let delayed = night.exports.values().filter(|state| matches!(state, ExportState::Delayed(_))).count();
    let left_out: BTreeSet<&str> = left_out.iter().map(|warning| warning.dataset.as_str()).collect();
    Report {
        as_of: night.as_of.to_string(),
        requests: checked.requests.len() as u64,
        not_due: checked.not_due,
        malformed: checked.malformed.len() as u64,
        doubtful_identifiers: checked.warnings,
        refusals,
        lines: checked.requests.iter().map(|request| request.lines.len() as u64).sum(),
        exports: night.exports.len() as u64,
        delayed_exports: (delayed + left_out.len()) as u64,
        carried_on: checked.carried_on.len() as u64,
    }
}

fn told(report: &Report) -> String {
    let mut rows = vec![("date", report.as_of.clone()), ("requests", grouped(report.requests))];
    let refusals: Vec<_> = report.refusals.iter().map(|(reason, count)| (format!("  {reason}"), *count)).collect();
    rows.extend(refusals.iter().map(|(reason, count)| (reason.as_str(), grouped(*count))));
    rows.extend([
        ("not due", grouped(report.not_due)),
        ("malformed", grouped(report.malformed)),
        ("doubtful identifiers", grouped(report.doubtful_identifiers)),
        ("document lines", grouped(report.lines)),
        ("exports", grouped(report.exports)),
        ("  delayed", grouped(report.delayed_exports)),
    ]);
    table(&rows)
}
