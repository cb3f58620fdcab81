//! One night on one page: reach, gather, assemble, account, commit.
//!
//! ```text
//!  reach ─► gather ─► read withdrawals again ─┬─► assemble ─► records ─► made durable ─► read withdrawals again ─┬─► commit
//!                                             └──────────────── something was taken back ◄──────────────────────┘
//! ```
//!
//! # A withdrawal that comes while the night runs
//! The files of withdrawals and of consent records are read once more when everything is gathered, and for the last time when
//! the output is durable and only its rename is missing. What they take back is answered `withdrawn`, or as a consent record
//! says that has ended, been withdrawn or covers less than it did (none is given by it that was not before), and the output is made again from the stage:
//! no export is read again, what was written for these requests is removed, and counts, receipts, ledger and manifest are
//! those of the new answers. The output is made from two things, the withdrawals that the requests were checked with and
//! those that were read last, and from the same two it has the same bytes, whenever the run was stopped in between: a run
//! that goes on is checked with the first ones again, which stand beside its journal, and reads the last ones as any run
//! does. So withdrawals and consent records may change while a run is stopped, and nothing else may. Only what would not be delivered anyway
//! differs from a night that knew them from its start: the rows that were read for them stay counted, and a repetition of a
//! request that was taken back stays refused until the next night.

use std::path::Path;
use std::sync::Arc;

use ieum_model::error::{Error, ErrorKind, Result};
use ieum_model::outcome::{Outcome, Reason};
use serde::Serialize;

use crate::assemble::{self, Assembly};
use crate::course::{self, Courses};
pub use crate::deliver::Delivery;
use crate::deliver::Handover;
pub use crate::input::{BundleFormat, ExportState, Layout, Night, Reread, Settings, WithdrawalFiles};
use crate::journal::{self, Begun, Entry, Journal, Progress};
use crate::late::Late;
pub use crate::manifest::MANIFEST;
use crate::manifest::{Manifest, SourceCounts};
pub use crate::records::{CARRIED_OVER, OUTCOMES, ROWS as REJECTED_ROWS};
use crate::rejects::{RejectedRows, Rejects, RepairedRows};
pub use crate::sink::CommitGate;
use crate::sink::{Beginning, Output};
use crate::spill::Spill;
use crate::stage::Stage;
use crate::steps::reached;
use crate::waves::{self, Gathered};
use crate::{ledger, lineage, records};

/// What a run did, for the screen and for schedulers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct RunSummary {
    pub run_id: String,
    pub committed: bool,
    pub requests: u64,
    pub delivered: u64,
    pub partial: u64,
    pub refused: u64,
    pub delayed: u64,
    pub rows_read: u64,
    pub rows_kept: u64,
    pub rows_filtered: u64,
    pub rows_rejected: u64,
    pub bytes_read: u64,
    pub run_digest: String,
    /// Where the ledger of the output ends with this run; absent where nothing is committed.
    pub ledger_head: Option<String>,
    pub not_due: u64,
    pub lines_delayed: u64,
    /// Lines of earlier runs that stay open because their request was not received.
    pub carried_on: u64,
    /// Readings that an earlier attempt of the run had gathered.
    pub readings_resumed: u64,
    /// Exports that were left out of the night, and rows that could not be read.
    #[serde(skip)]
    pub warnings: Vec<Warning>,
}

/// Something to look at that stopped nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The step that met it.
    pub stage: Step,
    /// The dataset concerned.
    pub dataset: String,
    /// What, where, and what to do.
    pub message: String,
}

/// A step of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Which plan reads which line.
    Plan,
    /// Scan, link, permit, stage.
    Gather,
    /// Nested rows into bundles.
    Assemble,
    /// Outcomes, statistics, rejects.
    Records,
    /// Made durable and published.
    Commit,
}

impl Step {
    /// Its name in summaries.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Gather => "gather",
            Self::Assemble => "assemble",
            Self::Records => "records",
            Self::Commit => "commit",
        }
    }
}

/// The share of the memory limit that staged rows may take before they go to disk.
pub(crate) const STAGE_SHARE: u64 = 8;

/// The share of the memory limit that rejected rows may take before they go to disk.
const REJECTS_SHARE: u64 = 64;

/// How a night is run.
#[derive(Debug, Default)]
pub struct Manner {
    /// Everything is done but committing, and nothing is left behind.
    pub dry_run: bool,
    /// An unfinished run is thrown away instead of going on.
    pub restart: bool,
    /// What may end the run from outside.
    pub gate: Arc<CommitGate>,
    /// The store that the output is delivered to, if it is.
    pub delivery: Option<Delivery>,
}

/// Runs the night and commits its output; with `dry_run`, does everything but commit. A run of the same night that was
/// stopped goes on: what it gathered is not read again, what it wrote is not written again, and the output has the same bytes.
///
/// # Errors
/// When the output cannot be written, memory does not suffice, or an accounting identity fails. Nothing is committed
/// then. An export that breaks its contract is no error of the run: its lines are delayed. After a failure that a retry may
/// help, the next run of the same night goes on; else what was written is removed.
pub fn run(night: &mut Night, dry_run: bool) -> Result<RunSummary> {
    run_observed(night, &Manner { dry_run, ..Manner::default() }, &mut |_| ())
}

/// As [`run`]; `begins` is told of each step as it begins.
///
/// # Errors
/// As [`run`].
pub fn run_observed(night: &mut Night, manner: &Manner, begins: &mut dyn FnMut(Step)) -> Result<RunSummary> {
    let run_id = night.run_id();
    tracing::info!(run_id, stage = Step::Plan.name(), requests = night.checked.requests.len(), "night begins");
    if manner.dry_run {
        return rehearse(night, begins);
    }
    ledger::begin(out_of(night), &night.master)?;
    let begun = Begun::of(night);
    let begin = if manner.restart { Output::restart } else { Output::begin };
    let output = match begin(&night.out, &begun)? {
        Beginning::Open(output) => output,
        Beginning::Committed(manifest) => {
            tracing::info!(run_id, stage = Step::Commit.name(), "an earlier attempt had committed");
            if let Some(delivery) = &manner.delivery {
                delivery.settle(&night.name(), &night.out, &manifest)?;
            }
            let progress = Progress::untold(&night.out);
            let head = ledger::enter(&night.out, &manifest, &night.master)?;
            return Ok(summary(night, &manifest, Vec::new(), &progress, Some(head)));
        }
    };
    let progress = match begin_journal(night, &output, begun) {
        Ok(progress) => progress,
        Err(error) => return Err(stopped(output, false, error)),
    };
    let handover = match hand_over(night, manner, &output) {
        Ok(handover) => handover,
        Err(error) if output.goes_on() => return Err(error),
        Err(error) => {
            output.abandon();
            return Err(error);
        }
    };
    let made = match gather(night, &progress, &output, begins) {
        Ok(taken) => answer(night, &taken, &progress, output, (&manner.gate, handover.as_ref()), begins),
        Err(error) => Err(stopped(output, true, error)),
    };
    let (manifest, warnings) = match (made, handover) {
        (Ok(made), handover) => {
            handover.into_iter().for_each(Handover::end);
            made
        }
        (Err(error), handover) => {
            handover.into_iter().for_each(Handover::give_back);
            return Err(error);
        }
    };
    let head = ledger::enter(&night.out, &manifest, &night.master)?;
    reached("ledger.entered");
    Ok(summary(night, &manifest, warnings, &progress, Some(head)))
}

/// Does everything but commit, and leaves nothing.
fn rehearse(night: &mut Night, begins: &mut dyn FnMut(Step)) -> Result<RunSummary> {
    let mut output = Output::rehearse(&night.out)?;
    let progress = Progress::untold(output.stage_folder());
    let taken = gather(night, &progress, &output, begins);
    let made = taken.and_then(|taken| make(night, &taken, &Late::default(), &progress, &mut output, begins));
    output.abandon();
    made.map(|(manifest, warnings)| summary(night, &manifest, warnings, &progress, None))
}

/// Makes the output and commits it; made again as often as something is taken back meanwhile.
fn answer(
    night: &mut Night,
    taken: &Taken,
    progress: &Progress,
    mut output: Output,
    (gate, handover): (&CommitGate, Option<&Handover>),
    begins: &mut dyn FnMut(Step),
) -> Result<(Manifest, Vec<Warning>)> {
    let mut late = Late::default();
    // Before an output is made that would have to be made again.
    late.read_again(night, progress).map_err(goes_on)?;
    loop {
        let (manifest, warnings) = match make(night, taken, &late, progress, &mut output, begins) {
            Ok(made) => made,
            Err(error) => return Err(stopped(output, true, error)),
        };
        begins(Step::Commit);
        let durable = progress.note(&Entry::Committing).and_then(|()| output.finish(manifest));
        let manifest = durable.map_err(goes_on)?;
        if let Some(handover) = handover {
            handover.upload(output.folder(), &manifest).map_err(goes_on)?;
        }
        let changed = late.read_again(night, progress).map_err(goes_on)?;
        reached("commit.withdrawals_read");
        if !changed {
            return Ok((output.publish(manifest, gate, handover).map_err(goes_on)?, warnings));
        }
        taken.stage.again()?;
        output.again();
    }
}

/// The journal of a run, with what a run that goes on needs beside it.
fn begin_journal(night: &Night, output: &Output, begun: Begun) -> Result<Progress> {
    if let Some(files) = night.withdrawals.as_ref().filter(|_| !output.goes_on()) {
        output.put_withdrawals_aside(files.begun_with())?;
    }
    let (journal, entries) = output.journal().and_then(Journal::open)?;
    Progress::written(journal, entries, begun, output.stage_folder())
}

/// Takes the lock of the store that the output is delivered to.
fn hand_over(night: &Night, manner: &Manner, output: &Output) -> Result<Option<Handover>> {
    let Some(delivery) = &manner.delivery else { return Ok(None) };
    let owner = output.stage_folder().join(journal::OWNER);
    delivery.begin(&night.name(), &night.run_id(), Some(&owner)).map(Some)
}

/// Tells of a failure after which the next run goes on.
fn goes_on(error: Error) -> Error {
    let hint = error.hint.clone().map_or_else(String::new, |hint| format!("{hint}; "));
    error.hint(format!("{hint}the same command goes on from what was done"))
}

/// What a run leaves that could not be finished: something to go on from where a retry may help, nothing else.
fn stopped(output: Output, begun: bool, error: Error) -> Error {
    match error.kind {
        ErrorKind::Temporary if begun || output.goes_on() => goes_on(error),
        _ => {
            output.abandon();
            error
        }
    }
}

/// The folder of all outputs, and of the ledger over them.
fn out_of(night: &Night) -> &Path {
    night.out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Everything that the exports gave.
struct Taken {
    courses: Courses,
    stage: Stage,
    rejects: Arc<Rejects>,
    gathered: Gathered,
}

/// Reads what the requests ask for.
fn gather(night: &mut Night, progress: &Progress, output: &Output, begins: &mut dyn FnMut(Step)) -> Result<Taken> {
    begins(Step::Plan);
    // Exports of one file are read on the gathering threads; this one reads those of several.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(night.settings.threads)
        .build()
        .map_err(|error| Error::new(ErrorKind::Temporary, format!("threads cannot be started: {error}")))?;
    let mut courses = course::courses(night);
    let run_id = night.run_id();
    tracing::info!(run_id, stage = Step::Plan.name(), lines = courses.lines.len(), waves = courses.waves(), "planned");
    begins(Step::Gather);
    let (stage, rejects) = stages(night, progress, output);
    let gathered = waves::gather(night, &mut courses, &stage, &rejects, progress, &runtime)?;
    reached("gathered");
    tracing::info!(run_id, stage = Step::Gather.name(), sources = gathered.sources.len(), "gathered");
    night.checked.refuse(courses.protected(), Reason::Suppressed);
    Ok(Taken { courses, stage, rejects, gathered })
}

/// Makes the output; the manifest to commit, and what was left out of the night.
fn make(
    night: &Night,
    taken: &Taken,
    late: &Late,
    progress: &Progress,
    output: &mut Output,
    begins: &mut dyn FnMut(Step),
) -> Result<(Manifest, Vec<Warning>)> {
    let Taken { courses, stage, rejects, gathered } = taken;
    begins(Step::Assemble);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(night.settings.threads)
        .build()
        .map_err(|error| Error::new(ErrorKind::Temporary, format!("threads cannot be started: {error}")))?;
    let assembly = pool.install(|| assemble::assemble(night, courses, stage, &gathered.plans, progress, output))?;
    let run_id = night.run_id();
    tracing::info!(run_id, stage = Step::Assemble.name(), requests = assembly.requests.requests, "assembled");
    begins(Step::Records);
    output.sync_ahead();
    let output: &Output = output;
    let tell = || {
        let manifest = account(manifest(night, &assembly, gathered, late))?;
        output.put(lineage::LINEAGE, &lineage::events(night, courses, &manifest)?)?;
        records::write(night, &assembly, rejects, output).map(|rows| (manifest, rows))
    };
    let (entered, told_of) = pool.install(|| rayon::join(|| ledger::entries::write(night, &assembly, output), tell));
    let (manifest, rows) = entered.and(told_of)?;
    reached("records.written");
    let mut warnings = gathered.warnings.clone();
    let counts = |dataset: &String| !gathered.left_out.contains(dataset);
    warnings.extend(rows.rejected.iter().filter(|rows| counts(&rows.dataset)).map(told));
    warnings.extend(rows.repaired.iter().filter(|rows| counts(&rows.dataset)).map(repaired));
    Ok((manifest, warnings))
}

/// Where rows wait between gathering and writing; of a run that goes on, with what stands there already.
fn stages(night: &Night, progress: &Progress, output: &Output) -> (Stage, Arc<Rejects>) {
    let share = |of: u64| usize::try_from(night.settings.memory_bytes / of).unwrap_or(usize::MAX);
    let file = |name: &str| output.stage_folder().join(name);
    if !progress.is_written() {
        let stage = Stage::new(Spill::new(file(journal::ROWS)), share(STAGE_SHARE));
        return (stage, Arc::new(Rejects::new(Spill::new(file(journal::REJECTS)), share(REJECTS_SHARE))));
    }
    let rows = Spill::continued(file(journal::ROWS), progress.rows_end());
    let rejects = Spill::continued(file(journal::REJECTS), progress.rejects_end());
    (Stage::kept(rows, share(STAGE_SHARE)), Arc::new(Rejects::kept_aside(rejects, share(REJECTS_SHARE))))
}

/// Rejected rows of a dataset that the catalog allows.
fn told(rejected: &RejectedRows) -> Warning {
    let RejectedRows { dataset, rows, first } = rejected;
    let what = if *rows == 1 { "1 row could not be read".to_owned() } else { format!("{rows} rows could not be read") };
    let lines = "lines whose key one of them carries are delayed or partial (E_CONTRACT)";
    let see = records::ROWS;
    let message = format!("dataset `{dataset}`: {what}; {lines}\n  first reject: {first}\n  hint: see {see}");
    Warning { stage: Step::Gather, dataset: dataset.clone(), message }
}

/// Rows of a dataset that a rule of the catalog repaired.
fn repaired(rows: &RepairedRows) -> Warning {
    let RepairedRows { dataset, rule, rows } = rows;
    let what = if *rows == 1 { "1 row was repaired".to_owned() } else { format!("{rows} rows were repaired") };
    let message = format!("dataset `{dataset}`: {what} (`{rule}`)\n  hint: see {}", records::REPAIRED);
    Warning { stage: Step::Gather, dataset: dataset.clone(), message }
}

fn manifest(night: &Night, assembly: &Assembly, gathered: &Gathered, late: &Late) -> Manifest {
    Manifest {
        manifest: "ieum-manifest/1".into(),
        run_id: night.run_id(),
        as_of: night.as_of.to_string(),
        catalog_digest: night.catalog_digest.clone(),
        requests_digest: night.requests_digest.clone(),
        key_id: night.master.key_id().to_owned(),
        key_epoch: night.master.epoch(),
        requests: assembly.requests,
        outcomes: records::by_outcome(night, assembly),
        carried_on: night.checked.carried_on.len() as u64,
        taken_back: late.record(),
        sources: gathered.sources.clone(),
        plans: gathered.plans.clone(),
        seal: assembly.seal.clone(),
        files: Vec::new(),
        run_digest: String::new(),
    }
}

/// The accounting identities; a run in which one fails does not commit.
fn account(manifest: Manifest) -> Result<Manifest> {
    let unbalanced = manifest.sources.iter().find(|(_, c)| c.read != c.kept + c.filtered + c.rejected);
    if let Some((source, _)) = unbalanced {
        return Err(Error::new(ErrorKind::Integrity, "rows are not accounted for").at("source", source));
    }
    if manifest.requests.balances() {
        Ok(manifest)
    } else {
        Err(Error::new(ErrorKind::Integrity, "requests are not accounted for"))
    }
}

/// What a run came to; `head` is where the ledger ends once it is committed.
fn summary(
    night: &Night,
    manifest: &Manifest,
    warnings: Vec<Warning>,
    progress: &Progress,
    head: Option<String>,
) -> RunSummary {
    let total = |count: fn(&SourceCounts) -> u64| manifest.sources.values().map(count).sum();
    RunSummary {
        run_id: manifest.run_id.clone(),
        committed: head.is_some(),
        ledger_head: head,
        requests: manifest.requests.requests,
        delivered: manifest.requests.delivered,
        partial: manifest.requests.partial,
        refused: manifest.requests.refused,
        delayed: manifest.requests.delayed,
        rows_read: total(|c| c.read),
        rows_kept: total(|c| c.kept),
        rows_filtered: total(|c| c.filtered),
        rows_rejected: total(|c| c.rejected),
        bytes_read: total(|c| c.bytes),
        run_digest: manifest.run_digest.clone(),
        not_due: night.checked.not_due,
        lines_delayed: manifest.outcomes.get(Outcome::Delayed.code()).copied().unwrap_or(0),
        carried_on: manifest.carried_on,
        readings_resumed: progress.readings_resumed(),
        warnings,
    }
}
