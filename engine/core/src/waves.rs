//! gather, wave by wave: every reading of a wave runs, its rows go to the stage, and the keys that its bridges gave are
//! known to the next wave.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::UInt32Type;
use arrow::record_batch::RecordBatch;
use datafusion::prelude::SessionContext;
use ieum_model::check::CheckedRequest;
use ieum_model::connector::{ReadCounts, RejectSink};
use ieum_model::error::{Error, ErrorKind, Result};
use ieum_model::outcome::Reason;
use rustc_hash::FxHashMap;
use tokio::runtime::Runtime;

use crate::course::{Courses, FoundKey, Reading, Source};
use crate::gather::{self, GatherSpec, Wanted, WantedBuilder};
use crate::input::{ExportState, Night};
use crate::journal::{Entry, KeptReading, Progress};
use crate::keys::canonical;
use crate::manifest::{SourceCounts, sha256_hex};
use crate::night::{Step, Warning};
use crate::records::ROWS;
use crate::rejects::{First, KeptRejects, RejectWriter, Rejects};
use crate::stage::{KeptRows, Stage, StageWriter};
use crate::steps::reached;
use crate::{from_arrow, from_datafusion, session};

/// What gathering leaves behind, apart from the stage.
#[derive(Default)]
pub struct Gathered {
    /// Counts by source.
    pub sources: BTreeMap<String, SourceCounts>,
    /// SHA-256 of each source's plan text.
    pub plans: BTreeMap<String, String>,
    /// Datasets that were left out of the night because one of their readings broke its contract.
    pub left_out: BTreeSet<String>,
    /// Exports that were left out of the night: what, where, and what to do.
    pub warnings: Vec<Warning>,
}

/// The spec of a source's plan, or `None` where its export is not ready.
pub fn spec(night: &Night, source: &Source, wanted: Wanted, rejects: Arc<dyn RejectSink>) -> Option<GatherSpec> {
    let Some(ExportState::Ready(connector)) = night.exports.get(&source.dataset) else {
        return None;
    };
    Some(GatherSpec {
        dataset: Arc::new(night.catalog.datasets.get(&source.dataset)?.clone()),
        connector: Arc::clone(connector),
        key_column: source.key_column.clone(),
        space: source.space.clone(),
        wanted,
        rejects,
    })
}

struct Read {
    counts: SourceCounts,
    /// SHA-256 of the plan text.
    plan: String,
    /// Ordinals that a row which could not be read has a key of.
    unreadable: Vec<u32>,
    /// A row that could not be read may be anybody's.
    is_anybodys: bool,
    /// Why nothing that was read counts.
    broken: Option<Error>,
    /// The first reject, and where all of them stand aside.
    first: Option<First>,
    rejects: KeptRejects,
    /// Where the staged rows stand aside.
    rows: KeptRows,
}

impl Gathered {
    fn keep(&mut self, name: String, read: &Read) {
        self.plans.insert(name.clone(), read.plan.clone());
        self.sources.insert(name, read.counts);
    }
}

async fn read_source(
    night: &Night,
    session: &SessionContext,
    source: &Source,
    wanted: Wanted,
    rejects: Arc<RejectWriter>,
    mut take: impl FnMut(RecordBatch) -> Result<()>,
) -> Result<Read> {
    let sink = Arc::<RejectWriter>::clone(&rejects);
    let spec = spec(night, source, wanted, sink).ok_or_else(|| Error::internal("source has no export"))?;
    let planned = gather::plan(session, &spec)?;
    let physical = planned.plan.create_physical_plan().await.map_err(from_datafusion)?;
    let plan = sha256_hex(gather::plan_text(&physical).as_bytes());
    let counts = gather::execute(session, physical, &planned.counts, &mut take)
        .await
        .map_err(|error| error.at("dataset", &source.dataset))?;
    let rejected = rejects.finish()?;
    let broken = beyond_reject_ratio(&spec, &counts, rejected.first.clone());
    let counts = SourceCounts {
        read: counts.read,
        kept: counts.kept,
        filtered: counts.filtered,
        rejected: counts.rejected,
        bytes: counts.bytes,
        staged: 0,
    };
    let unreadable = spec.wanted.looking_for(&rejected.keys);
    let (first, rejects) = (rejected.first, rejected.aside);
    Ok(Read {
        counts,
        plan,
        unreadable,
        is_anybodys: rejected.is_anybodys,
        broken,
        first,
        rejects,
        rows: KeptRows::new(),
    })
}

/// More rows could not be read than the catalog allows.
fn beyond_reject_ratio(spec: &GatherSpec, counts: &ReadCounts, first: Option<First>) -> Option<Error> {
    let allowed = spec.dataset.export.as_ref().map_or(0.0, |export| export.max_reject_ratio);
    #[allow(clippy::cast_precision_loss)]
    let ratio = counts.rejected as f64 / counts.read.max(1) as f64;
    if ratio <= allowed {
        return None;
    }
    let error = Error::contract(format!(
        "{} of {} rows could not be read; the catalog allows a share of {allowed}",
        counts.rejected, counts.read
    ))
    .at("dataset", &spec.dataset.code);
    let error = first.into_iter().fold(error, |error, first| error.at("first reject", first));
    Some(error.hint(format!(
        "see {ROWS}; ask the holder for a corrected export, or raise `max_reject_ratio` in the dataset's [export]"
    )))
}

/// An export has far fewer rows than the last committed run read of it, and the catalog does not allow it. It is then not among
/// the sources of this run: the next one compares it with the same count.
fn shrunk(night: &Night, reading: &Reading, read: &Read) -> Option<Error> {
    let (counts, dataset) = (&read.counts, &reading.source.dataset);
    let earlier = night.earlier_rows.get(&reading.name()).copied().filter(|earlier| *earlier > 0)?;
    let export = night.catalog.datasets.get(dataset)?.export.as_ref()?;
    #[allow(clippy::cast_precision_loss)]
    let missing = 1.0 - counts.read as f64 / earlier as f64;
    if missing <= export.max_shrink {
        return None;
    }
    let error = Error::contract(format!("the export has {} rows, the last run read {earlier}", counts.read));
    Some(error.at("dataset", dataset).hint(format!(
        "ask the holder whether it is whole; if it is, write `max_shrink = 1` into the dataset's [export] (it is {} now)",
        export.max_shrink
    )))
}

/// Who wants what in a reading: its lines, and one for every request that needs a bridge.
///
/// # Errors
/// Only for a bug.
pub fn wanted(night: &Night, courses: &Courses, reading: &Reading) -> Result<Wanted> {
    let mut wanted = WantedBuilder::default();
    let space = courses.keys.number(&reading.source.space);
    for asked in &reading.lines {
        let place = (asked.line - courses.first_line[asked.request as usize]) as usize;
        let items = &night.checked.requests[asked.request as usize].lines[place].items;
        wanted.add(asked.line, items, courses.keys.of(asked.request, space));
    }
    let mut columns: FxHashMap<Vec<u16>, Arc<[String]>> = FxHashMap::default();
    for needs in reading.needs.chunk_by(|a, b| a.0 == b.0) {
        let request = needs[0].0;
        let items = columns.entry(needs.iter().map(|(_, bridge)| *bridge).collect()).or_insert_with_key(|bridges| {
            let columns = bridges.iter().map(|bridge| reading.bridges[*bridge as usize].to.clone());
            columns.collect::<BTreeSet<String>>().into_iter().collect()
        });
        wanted.add(reading.bridge_base + request, items, courses.keys.of(request, space));
    }
    wanted.finish()
}

/// Gathers every wave of the night into `stage`: readings side by side on the night's threads, the longest first. A reading
/// that `progress` has from an earlier attempt is not read again; each that is read is kept there as soon as it is done, but
/// for one that breaks its contract.
///
/// # Errors
/// When the stage cannot be written or memory does not suffice. An export that breaks its contract delays its lines.
pub fn gather(
    night: &Night,
    courses: &mut Courses,
    stage: &Stage,
    rejects: &Arc<Rejects>,
    progress: &Progress,
    runtime: &Runtime,
) -> Result<Gathered> {
    let mut gathered = Gathered::default();
    let shards = shards(night, courses);
    let session = session::open(night.settings.memory_bytes)?;
    for wave in 0..=courses.waves() {
        let mut readings = courses.readings(wave);
        // What is read last ends the wave.
        readings.sort_by_cached_key(|reading| std::cmp::Reverse(bytes_of(night, &reading.source)));
        progress.note(&Entry::Wave { number: wave, last: courses.waves(), readings: readings.len() as u64 })?;
        reached("wave");
        let known: &Courses = courses;
        let read = |reading: &Reading| {
            if let Some(done) = read_before(progress, reading, stage, rejects)? {
                return Ok(done);
            }
            let writer = stage.writer(reading.name(), Arc::clone(&shards));
            let source = &reading.source;
            let rejects = Arc::new(rejects.writer(reading.name(), &source.dataset, &source.space));
            let (read, keys) = runtime.block_on(read(night, &session, reading, known, writer, rejects))?;
            if read.broken.is_none() {
                progress.keep(kept(reading, &read), &keys, &read.unreadable)?;
            }
            Ok((read, keys))
        };
        let done = side_by_side(night.settings.threads, &readings, read)?;
        for (reading, read) in readings.iter().zip(done) {
            let broken = match read {
                Ok((read, keys)) => match shrunk(night, reading, &read) {
                    Some(error) => Some(error),
                    None => {
                        gathered.keep(reading.name(), &read);
                        courses.found(reading, keys);
                        courses.unreadable(reading, &read.unreadable);
                        if read.is_anybodys {
                            courses.anybodys(reading);
                        }
                        read.broken
                    }
                },
                Err(error) => Some(error),
            };
            if let Some(error) = broken {
                let dataset = reading.source.dataset.clone();
                let message = leave_out(night, courses, &dataset, error)?;
                gathered.left_out.insert(dataset.clone());
                gathered.warnings.push(Warning { stage: Step::Gather, dataset, message });
            }
        }
        if wave == 0 {
            courses.tell_people_apart(night);
        }
        if let Some(protected) = &night.protected {
            courses.turn_away(protected);
        }
    }
    Ok(gathered)
}

/// What an earlier attempt gathered of a reading, if all of it stands aside as it was written.
fn read_before(
    progress: &Progress,
    reading: &Reading,
    stage: &Stage,
    rejects: &Rejects,
) -> Result<Option<(Read, Vec<FoundKey>)>> {
    let Some(kept) = progress.kept(&reading.name()) else { return Ok(None) };
    let Some((keys, unreadable)) = progress.kept_keys(kept) else { return Ok(None) };
    let name = reading.name();
    if !stage.restore(&name, &kept.rows)?
        || !rejects.restore(&name, &reading.source.dataset, &kept.rejects, kept.first.as_ref())?
    {
        stage.forget(&name)?;
        return Ok(None);
    }
    progress.resumes();
    let read = Read {
        counts: kept.counts,
        plan: kept.plan.clone(),
        unreadable,
        is_anybodys: kept.is_anybodys,
        broken: None,
        first: kept.first.clone(),
        rejects: kept.rejects.clone(),
        rows: kept.rows.clone(),
    };
    Ok(Some((read, keys)))
}

fn kept(reading: &Reading, read: &Read) -> KeptReading {
    KeptReading {
        reading: reading.name(),
        counts: read.counts,
        plan: read.plan.clone(),
        rows: read.rows.clone(),
        keys: None,
        unreadable: None,
        is_anybodys: read.is_anybodys,
        rejects: read.rejects.clone(),
        first: read.first.clone(),
    }
}

/// What `work` makes of every item, in their order; each of the threads takes the next item when it is done with one.
fn side_by_side<T: Sync, R: Send>(threads: usize, items: &[T], work: impl Fn(&T) -> R + Sync) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let one_thread = || {
        let mut made = Vec::new();
        while let Some((place, item)) = {
            let place = next.fetch_add(1, Ordering::Relaxed);
            items.get(place).map(|item| (place, item))
        } {
            made.push((place, work(item)));
        }
        made
    };
    let mut made = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.clamp(1, items.len().max(1))).map(|_| scope.spawn(one_thread)).collect();
        let stopped = |_| Error::internal("a thread stopped while gathering");
        threads.into_iter().map(|thread| thread.join().map_err(stopped)).collect::<Result<Vec<_>>>()
    })?
    .into_iter()
    .flatten()
    .collect::<Vec<_>>();
    made.sort_by_key(|(place, _)| *place);
    Ok(made.into_iter().map(|(_, made)| made).collect())
}

/// Leaves an export that broke its contract out of the night; where its totals do not agree, all of its holder's. Gives the
/// warning, or the error back if it is of another kind.
pub(crate) fn leave_out(night: &Night, courses: &mut Courses, dataset: &str, error: Error) -> Result<String> {
    let datasets = &night.catalog.datasets;
    match error.kind {
        ErrorKind::Contract => {
            courses.delay(dataset, Reason::ContractBroken);
            Ok(format!("dataset `{dataset}` is left out of the night: {}", error.told()))
        }
        ErrorKind::ControlTotals => {
            let holder = datasets.get(dataset).map(|dataset| dataset.holder.as_str()).unwrap_or_default();
            for (code, _) in datasets.iter().filter(|(_, dataset)| dataset.holder == holder) {
                courses.delay(code, Reason::ControlTotals);
            }
            Ok(format!("holder `{holder}` is left out of the night: {}", error.told()))
        }
        _ => Err(error),
    }
}

fn bytes_of(night: &Night, source: &Source) -> u64 {
    match night.exports.get(&source.dataset) {
        Some(ExportState::Ready(connector)) => connector.partition_bytes().iter().sum(),
        _ => 0,
    }
}

async fn read(
    night: &Night,
    session: &SessionContext,
    reading: &Reading,
    courses: &Courses,
    mut stage: StageWriter<'_>,
    rejects: Arc<RejectWriter>,
) -> Result<(Read, Vec<FoundKey>)> {
    let mut found = Vec::new();
    let wanted = wanted(night, courses, reading)?;
    let take = |batch: RecordBatch| {
        let (own, over_bridge) = split(&batch, reading.bridge_base)?;
        if own.num_rows() > 0 {
            stage.write(&own)?;
        }
        found_keys(reading, &over_bridge, &mut found)
    };
    let mut read = read_source(night, session, &reading.source, wanted, rejects, take).await?;
    if read.broken.is_some() {
        found.clear();
    } else {
        (read.counts.staged, read.rows) = stage.finish()?;
    }
    Ok((read, found))
}

/// Rows that answer lines, and rows that only give keys of the next space.
fn split(batch: &RecordBatch, bridge_base: u32) -> Result<(RecordBatch, RecordBatch)> {
    let lines = batch.column(0).as_primitive::<UInt32Type>().values();
    if lines.iter().all(|line| *line < bridge_base) {
        return Ok((batch.clone(), batch.slice(0, 0)));
    }
    let part = |own: bool| {
        let mask: BooleanArray = lines.iter().map(|line| Some((*line < bridge_base) == own)).collect();
        filter_record_batch(batch, &mask).map_err(from_arrow)
    };
    Ok((part(true)?, part(false)?))
}

fn found_keys(reading: &Reading, batch: &RecordBatch, found: &mut Vec<FoundKey>) -> Result<()> {
    let ordinals = batch.column(0).as_primitive::<UInt32Type>();
    for (place, bridge) in (0u16..).zip(&reading.bridges) {
        let keys =
            batch.column_by_name(&bridge.to).map(ArrayRef::as_ref).and_then(|column| column.as_string_opt::<i32>());
        let keys = keys.ok_or_else(|| {
            Error::config("a bridge must lead to a single text column")
                .at("dataset", &bridge.dataset)
                .at("column", &bridge.to)
                .hint("correct `maps` in the dataset's catalog file")
        })?;
        for row in (0..batch.num_rows()).filter(|row| keys.is_valid(*row)) {
            if let Some(key) = canonical(&bridge.to_space, keys.value(row)) {
                found.push(FoundKey { request: ordinals.value(row) - reading.bridge_base, bridge: place, key });
            }
        }
    }
    Ok(())
}

/// Shard of every line: requests are cut into runs of `shard_requests`.
fn shards(night: &Night, courses: &Courses) -> Arc<[u32]> {
    let size = night.settings.shard_requests.max(1) as usize;
    let of_request = |(ordinal, request): (usize, &CheckedRequest)| {
        let shard = u32::try_from(ordinal / size).unwrap_or(u32::MAX);
        std::iter::repeat_n(shard, request.lines.len())
    };
    let shards: Arc<[u32]> = night.checked.requests.iter().enumerate().flat_map(of_request).collect();
    debug_assert_eq!(shards.len(), courses.lines.len());
    shards
}
