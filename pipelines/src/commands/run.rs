//! `ieum run`: a night from files to a committed output.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ieum_core::lineage::{Attempt, Ended};
use ieum_core::manifest::Manifest;
use ieum_core::night::{self, MANIFEST, Manner, RunSummary};
use ieum_core::sink;
use ieum_model::error::{Error, ErrorKind, Result};
use serde::Serialize;

use super::{definition, exit_code, seconds_since_1970, started, tell_warnings, wall_clock};
use crate::cli::{RunArgs, StatusFormat};
use crate::definition::Definition;
use crate::load::{self, ControlTotals, Loaded};
use crate::metrics::{Committed, Metrics};
use crate::place;
use crate::screen::{Screen, grouped, size, table};
use crate::signals::Interrupts;
use crate::status_lines::StatusLines;
use crate::telemetry::{Sampler, StepTime, Telemetry, peak_memory};

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
    let told = Told::new(args.metrics_file.clone(), start);
    let at_end = Arc::clone(&told);
    interrupts.tell(move |what, code| at_end.ended(Ended::Aborted, what, code));
    let mut committed = None;
    let code = night(args, screen, &interrupts, &told, &mut committed);
    // A run that another one keeps from beginning is no attempt at it.
    if let Some(error) = code.as_ref().err().filter(|error| error.kind != ErrorKind::Locked) {
        told.lineage(Ended::Failed, &error.message);
    }
    let exit_code = code.as_ref().map_or_else(|error| error.kind.exit_code(), |code| *code);
    if let Err(error) = told.metrics(exit_code, committed.as_ref()) {
        screen.warning(&format!("metrics are not written: {}", error.told()));
    }
    code
}

/// What a run tells beside its output, however it ends.
struct Told {
    metrics_file: Option<PathBuf>,
    start: Instant,
    steps: Mutex<Steps>,
    /// What is known of the attempt once it is loaded, and where its output will stand.
    attempt: Mutex<Option<(Attempt, PathBuf)>>,
}

impl Told {
    fn new(metrics_file: Option<PathBuf>, start: Instant) -> Arc<Self> {
        let steps = Mutex::new(Steps { latest: "load", began: start, seconds: Vec::new() });
        Arc::new(Self { metrics_file, start, steps, attempt: Mutex::default() })
    }

    fn begins(&self, step: &'static str) {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).begin(step);
    }

    fn steps(&self) -> Vec<(&'static str, f64)> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).seconds.clone()
    }

    /// From here on an end without a commit is told as lineage.
    fn attempts(&self, attempt: Attempt, out: &Path) {
        *self.attempt.lock().unwrap_or_else(PoisonError::into_inner) = Some((attempt, out.to_path_buf()));
    }

    /// A run that something ends from outside; there is nobody left to tell a failure to.
    fn ended(&self, ended: Ended, what: &str, exit_code: u8) {
        self.lineage(ended, what);
        let _ = self.metrics(exit_code, None);
    }

    /// Appends the events of the attempt to the file beside the output.
    fn lineage(&self, ended: Ended, message: &str) {
        let attempt = self.attempt.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Where an output is committed, its own lineage stands in it.
        let Some((attempt, out)) = attempt.filter(|(_, out)| !out.exists()) else { return };
        let mut name = out.file_name().unwrap_or_default().to_os_string();
        name.push(ATTEMPTS);
        let path = out.with_file_name(name);
        let mut events = fs::read(&path).unwrap_or_default();
        if let Ok(more) = attempt.events(ended, &wall_clock(), message) {
            events.extend(more);
            let _ = place::whole(&path, &events);
        }
    }

    fn metrics(&self, exit_code: u8, committed: Option<&Ran>) -> Result<()> {
        match &self.metrics_file {
            Some(path) => put_metrics(path, exit_code, self.start, &self.steps(), committed),
            None => Ok(()),
        }
    }
}

/// Ending of the file beside an output that has the lineage of attempts which committed nothing.
const ATTEMPTS: &str = ".lineage.ndjson";

/// What a run that committed is measured by.
struct Ran {
    manifest: Manifest,
    malformed: u64,
    not_due: u64,
}

fn night(
    args: &RunArgs,
    screen: &Screen,
    interrupts: &Interrupts,
    told_beside: &Told,
    committed: &mut Option<Ran>,
) -> Result<u8> {
    let (start, began) = (told_beside.start, wall_clock());
    let sampler = Sampler::begin(start, started);
    let (mut definition, as_of) = definition(&args.file, args.date)?;
    overridden(&mut definition, args);
    let load = if args.dry_run || args.restart { load::night } else { load::night_that_goes_on };
    let mut loaded =
        screen.busy("checking requests and exports", || load(&definition, as_of, ControlTotals::WhileReading))?;
    tell_warnings(&loaded, screen);
    for other in sink::unfinished_beside(&loaded.night.out) {
        screen.warning(&format!(
            "an unfinished run of {other} stands in the same folder\n  hint: `ieum run --date {other}` goes on with it, \
             `ieum gc` removes it"
        ));
    }
    if args.dry_run {
        interrupts.rehearses(&loaded.night.out);
    } else {
        told_beside.attempts(Attempt::of(&loaded.night, &began), &loaded.night.out);
    }
    let lines = match args.status {
        Some(StatusFormat::Json) => StatusLines::on(*screen, &loaded.night.out, start, started),
        None => StatusLines::off(),
    };
    let delivery = if args.dry_run { None } else { definition.delivery()? };
    let delivered_to = delivery.as_ref().map(|delivery| format!("{}/{}", delivery.told, loaded.night.name()));
    let manner = Manner { dry_run: args.dry_run, restart: args.restart, gate: interrupts.gate(), delivery };
    let run = screen.busy("running the night", || {
        night::run_observed(&mut loaded.night, &manner, &mut |step| {
            told_beside.begins(step.name());
            lines.begins(step.name());
        })
    });
    drop(lines);
    interrupts.settle();
    let run = run?;
    told_beside.begins("end");
    let steps = told_beside.steps();
    for warning in &run.warnings {
        screen.warning_of_run(&run.run_id, warning);
    }
    for warning in &loaded.damaged_copies() {
        screen.warning(warning);
    }
    let malformed = loaded.night.checked.malformed.len() as u64;
    let summary = Summary {
        run: &run,
        malformed,
        steps: steps.iter().copied().collect(),
        peak_memory_bytes: peak_memory(),
        wall_seconds: start.elapsed().as_secs_f64(),
        dry_run: args.dry_run,
    };
    if run.committed {
        let telemetry = telemetry(&summary, &loaded, &steps, began, sampler);
        if let Err(error) = put_telemetry(&loaded.night.out, &telemetry) {
            screen.warning(&format!("telemetry is not written: {}", error.told()));
        }
        *committed = args.metrics_file.as_ref().and_then(|_| manifest(&loaded.night.out)).map(|manifest| Ran {
            manifest,
            malformed,
            not_due: run.not_due,
        });
    }
    let out = delivered_to.unwrap_or_else(|| loaded.night.out.display().to_string());
    screen.result(&told(&summary, &out, start.elapsed()), &summary);
    Ok(exit_code(run.lines_delayed + run.carried_on > 0 || run.rows_rejected > 0 || summary.malformed > 0))
}

fn telemetry(
    summary: &Summary<'_>,
    loaded: &Loaded,
    steps: &[(&'static str, f64)],
    began: String,
    sampler: Sampler,
) -> Telemetry {
    let settings = &loaded.night.settings;
    let step = |(step, seconds): &(&str, f64)| StepTime { step: (*step).to_owned(), seconds: *seconds };
    Telemetry {
        format: Telemetry::format(),
        run_id: summary.run.run_id.clone(),
        began,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        threads: settings.threads,
        memory_limit_bytes: settings.memory_bytes,
        peak_memory_bytes: summary.peak_memory_bytes,
        wall_seconds: summary.wall_seconds,
        steps: steps.iter().map(step).collect(),
        samples: sampler.end(),
    }
}

fn put_telemetry(out: &Path, telemetry: &Telemetry) -> Result<()> {
    let mut bytes = serde_json::to_vec(telemetry).map_err(|error| Error::internal(error.to_string()))?;
    bytes.push(b'\n');
    place::whole(&Telemetry::beside(out), &bytes)
}

fn manifest(out: &Path) -> Option<Manifest> {
    serde_json::from_slice(&fs::read(out.join(MANIFEST)).ok()?).ok()
}

fn put_metrics(
    path: &Path,
    exit_code: u8,
    start: Instant,
    steps: &[(&'static str, f64)],
    committed: Option<&Ran>,
) -> Result<()> {
    let metrics = Metrics {
        exit_code,
        ended: seconds_since_1970(),
        seconds: start.elapsed().as_secs_f64(),
        steps: &steps.iter().copied().collect(),
        peak_memory_bytes: peak_memory(),
        committed: committed.map(|ran| Committed {
            manifest: &ran.manifest,
            malformed: ran.malformed,
            not_due: ran.not_due,
        }),
        before: &fs::read_to_string(path).unwrap_or_default(),
    };
    place::whole(path, metrics.text().as_bytes())
}

/// How long each step takes.
struct Steps {
    latest: &'static str,
    began: Instant,
    seconds: Vec<(&'static str, f64)>,
}

impl Steps {
    /// Ends the latest step and begins the next.
    fn begin(&mut self, next: &'static str) {
        let now = started();
        self.seconds.push((self.latest, now.duration_since(self.began).as_secs_f64()));
        (self.latest, self.began) = (next, now);
    }
}

/// A flag overrides the file. Paths of flags are relative to where the command was typed.
fn overridden(definition: &mut Definition, args: &RunArgs) {
    if let Some(out) = &args.out {
        definition.set_out(out);
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
