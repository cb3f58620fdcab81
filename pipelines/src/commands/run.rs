//! `ieum run`: a night from files to a committed output.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use ieum_core::night::{self, Manner, RunSummary};
use ieum_core::sink;
use ieum_model::error::Result;
use serde::Serialize;

use super::{definition, exit_code, started, tell_warnings};
use crate::cli::RunArgs;
use crate::definition::Definition;
use crate::load::{self, ControlTotals};
use crate::screen::{Screen, grouped, size, table};
use crate::signals::Interrupts;

/// The last line on stdout of `ieum run --output json`. Fields may be added.
#[derive(Serialize)]
struct Summary<'a> {
    #[serde(flatten)]
    run: &'a RunSummary,
    malformed: u64,
    /// Seconds of each step.
    steps: BTreeMap<&'static str, f64>,
    peak_memory_bytes: Option<u64>,
    wall_seconds: f64,
    dry_run: bool,
}

/// Runs a night. Exit code 3 if holders are delayed, lines carried on, rows rejected or requests malformed.
///
/// # Errors
/// When nothing was committed.
pub fn run(args: &RunArgs, screen: &Screen) -> Result<u8> {
    let start = started();
    let interrupts = Interrupts::wait(*screen, args.max_duration);
    let (mut definition, as_of) = definition(&args.file, args.date)?;
    overridden(&mut definition, args);
    let loaded = screen
        .busy("checking requests and exports", || load::night(&definition, as_of, ControlTotals::WhileReading))?;
    tell_warnings(&loaded, screen);
    let mut steps = Steps { latest: "load", began: start, seconds: BTreeMap::new() };
    for other in sink::unfinished_beside(&loaded.night.out) {
        screen.warning(&format!(
            "an unfinished run of {other} stands in the same folder\n  hint: `ieum run --date {other}` goes on with it, \
             `ieum gc` removes it"
        ));
    }
    if args.dry_run {
        interrupts.rehearses(&loaded.night.out);
    }
    let manner = Manner { dry_run: args.dry_run, restart: args.restart, gate: interrupts.gate() };
    let run = screen.busy("running the night", || {
        night::run_observed(&loaded.night, &manner, &mut |step| steps.begin(step.name()))
    });
    interrupts.settle();
    let run = run?;
    steps.begin("end");
    for warning in &run.warnings {
        screen.warning_of_run(&run.run_id, warning);
    }
    for warning in &loaded.damaged_copies() {
        screen.warning(warning);
    }
    let summary = Summary {
        run: &run,
        malformed: loaded.night.checked.malformed.len() as u64,
        steps: steps.seconds,
        peak_memory_bytes: peak_memory(),
        wall_seconds: start.elapsed().as_secs_f64(),
        dry_run: args.dry_run,
    };
    screen.result(&told(&summary, &loaded.night.out.display().to_string(), start.elapsed()), &summary);
    Ok(exit_code(run.lines_delayed + run.carried_on > 0 || run.rows_rejected > 0 || summary.malformed > 0))
}

/// How long each step takes.
struct Steps {
    latest: &'static str,
    began: Instant,
    seconds: BTreeMap<&'static str, f64>,
}

impl Steps {
    /// Ends the latest step and begins the next.
    fn begin(&mut self, next: &'static str) {
        let now = started();
        self.seconds.insert(self.latest, now.duration_since(self.began).as_secs_f64());
        (self.latest, self.began) = (next, now);
    }
}

/// A flag overrides the file. Paths of flags are relative to where the command was typed.
fn overridden(definition: &mut Definition, args: &RunArgs) {
    if let Some(out) = &args.out {
        definition.out.clone_from(out);
    }
    definition.threads = args.threads.or(definition.threads);
    definition.memory = args.memory.unwrap_or(definition.memory);
    definition.shard_requests = args.shard_requests.unwrap_or(definition.shard_requests);
    definition.layout = args.layout.unwrap_or(definition.layout);
    definition.format = args.format.unwrap_or(definition.format);
}

fn told(summary: &Summary<'_>, out: &str, took: Duration) -> String {
    let run = summary.run;
    let state = match (summary.dry_run, run.committed) {
        (true, _) => "dry run, nothing published".to_owned(),
        (false, true) => format!("committed to {out}"),
        (false, false) => "not committed".to_owned(),
    };
    let resumed = (run.readings_resumed > 0)
        .then(|| ("resumed", format!("{} readings were gathered before", grouped(run.readings_resumed))));
    let head = [("run", run.run_id.clone()), ("state", state)];
    let rest = [
        ("requests", grouped(run.requests)),
        ("  delivered", grouped(run.delivered)),
        ("  partly delivered", grouped(run.partial)),
        ("  refused", grouped(run.refused)),
        ("  delayed", grouped(run.delayed)),
        ("not due", grouped(run.not_due)),
        ("malformed", grouped(summary.malformed)),
        ("rows read", grouped(run.rows_read)),
        ("  kept", grouped(run.rows_kept)),
        ("  filtered", grouped(run.rows_filtered)),
        ("  rejected", grouped(run.rows_rejected)),
        ("bytes read", size(run.bytes_read)),
        ("peak memory", summary.peak_memory_bytes.map_or_else(|| "unknown".to_owned(), size)),
        ("time", format!("{:.2} s", took.as_secs_f64())),
        ("digest", run.run_digest.clone()),
    ];
    table(&head.into_iter().chain(resumed).chain(rest).collect::<Vec<_>>())
}

/// The largest resident size of this process so far, as Linux counts it.
fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
