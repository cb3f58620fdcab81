//! One night on one page: reach, gather, assemble, account, commit.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use arrow::array::{Array, AsArray};
use arrow::datatypes::UInt32Type;
use chrono::NaiveDate;
use futures::StreamExt;
use ieum_model::catalog::Catalog;
use ieum_model::check::CheckedNight;
use ieum_model::connector::{Connector, Reject, RejectSink};
use ieum_model::error::{Error, ErrorKind, Result};
use ieum_model::outcome::{Outcome, Reason};
use ieum_privacy::MasterKey;
use ieum_privacy::normalize;
use serde::Serialize;

use crate::assemble::{self, Assembly};
use crate::gather::{self, GatherSpec, WantedLine};
use crate::manifest::{Manifest, SourceCounts, sha256_hex};
use crate::reach::{self, Bridge};
use crate::sink::Output;
use crate::stage::StageWriter;
use crate::{explain, records, session};

/// How bundles are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// A file for each request.
    PerRequest,
    /// One file per recipient and service, one row a request, with an index.
    Packed,
}

/// How a bundle is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BundleFormat {
    /// JSON, one line a bundle.
    Json,
    /// Parquet, one row a bundle.
    Parquet,
}

/// Settings of a run; none of them changes a byte of a bundle but `layout` and `format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Worker threads.
    pub threads: usize,
    /// Memory limit in bytes.
    pub memory_bytes: u64,
    /// Requests assembled at a time.
    pub shard_requests: u32,
    /// How bundles are laid out.
    pub layout: Layout,
    /// How a bundle is encoded.
    pub format: BundleFormat,
}

/// A dataset's export on the night.
#[derive(Clone)]
pub enum ExportState {
    /// Delivered, and its control totals agree.
    Ready(Arc<dyn Connector>),
    /// Not to be read; its lines are delayed for this reason.
    Delayed(Reason),
}

/// Everything a night is made from.
pub struct Night {
    /// The catalog.
    pub catalog: Arc<Catalog>,
    /// The declared date.
    pub as_of: NaiveDate,
    /// The checked requests.
    pub checked: CheckedNight,
    /// Exports by dataset code.
    pub exports: BTreeMap<String, ExportState>,
    /// The master key.
    pub master: MasterKey,
    /// Settings.
    pub settings: Settings,
    /// Folder that will hold the committed output.
    pub out: PathBuf,
    /// SHA-256 of the catalog.
    pub catalog_digest: String,
    /// SHA-256 of the request files.
    pub requests_digest: String,
}

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
    pub not_due: u64,
}

/// How a line is answered before anything is read, or by which plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Course {
    /// Answered already.
    Decided(Outcome, Option<Reason>),
    /// Read by the plan of this dataset and key column.
    Read(Source),
}

/// A plan's name: dataset and the key column it is joined on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// Dataset code.
    pub dataset: String,
    /// Key column.
    pub key_column: String,
    /// Key space of that column.
    pub space: String,
    /// Wave: 1, or 1 + the number of bridges that lead to it.
    pub wave: u32,
}

impl Source {
    /// Name in stage, manifest and plans.
    pub fn name(&self) -> String {
        format!("{}.{}", self.dataset, self.key_column)
    }
}

/// The course of every line, and the bridges to walk first.
pub struct Courses {
    /// By line ordinal.
    pub lines: Vec<Course>,
    /// First line ordinal of each request.
    pub first_line: Vec<u32>,
    /// Bridges with the requests that need them, in walking order.
    pub bridges: Vec<(u32, Bridge, BTreeSet<usize>)>,
    /// Canonical keys of each request by space.
    pub keys: Vec<BTreeMap<String, BTreeSet<String>>>,
}

/// Canonical keys that a request itself names, by key space.
fn own_keys(request: &ieum_model::request::Request) -> BTreeMap<String, BTreeSet<String>> {
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for id in &request.subject_ids {
        let space = reach::space_of(&id.kind);
        if let Some(key) = canonical(space, &id.value) {
            keys.entry(space.to_owned()).or_default().insert(key);
        }
    }
    keys
}

fn canonical(space: &str, raw: &str) -> Option<String> {
    let mut out = Vec::new();
    normalize::normalize(reach::identifier_kind(space), raw.as_bytes(), &mut out);
    String::from_utf8(out).ok().filter(|key| !key.is_empty())
}

/// Finds the course of every line.
pub fn courses(night: &Night) -> Courses {
    let all = reach::bridges(&night.catalog);
    let requests = &night.checked.requests;
    let mut courses = Courses { lines: Vec::new(), first_line: Vec::new(), bridges: Vec::new(), keys: Vec::new() };
    let mut walked: BTreeMap<(u32, Bridge), BTreeSet<usize>> = BTreeMap::new();
    for (ordinal, request) in requests.iter().enumerate() {
        courses.first_line.push(u32::try_from(courses.lines.len()).unwrap_or(u32::MAX));
        let keys = own_keys(&request.request);
        let ways = reach::ways(&keys.keys().cloned().collect(), &all);
        for line in &request.lines {
            let course = match (line.decided, night.catalog.datasets.get(&line.document)) {
                (Some((outcome, reason)), _) => Course::Decided(outcome, reason),
                (None, None) => Course::Decided(Outcome::Refused, Some(Reason::R05)),
                (None, Some(dataset)) => course_of(night, dataset, &ways, ordinal, &mut walked),
            };
            courses.lines.push(course);
        }
        courses.keys.push(keys);
    }
    courses.bridges = walked.into_iter().map(|((depth, bridge), needs)| (depth, bridge, needs)).collect();
    courses
}

fn course_of(
    night: &Night,
    dataset: &ieum_model::dataset::Dataset,
    ways: &BTreeMap<String, Vec<Bridge>>,
    ordinal: usize,
    walked: &mut BTreeMap<(u32, Bridge), BTreeSet<usize>>,
) -> Course {
    let Some((key_column, space, way)) = reach::entrance(dataset, ways) else {
        return Course::Decided(Outcome::NotReachable, Some(Reason::NotReachable));
    };
    let needed = way.iter().map(|bridge| bridge.dataset.as_str()).chain([dataset.code.as_str()]);
    for code in needed {
        match night.exports.get(code) {
            Some(ExportState::Ready(_)) => {}
            Some(ExportState::Delayed(reason)) => {
                return Course::Decided(Outcome::Delayed, Some(*reason));
            }
            None => return Course::Decided(Outcome::Delayed, Some(Reason::HolderMissing)),
        }
    }
    let wave = 1 + u32::try_from(way.len()).unwrap_or(u32::MAX);
    for (depth, bridge) in (1u32..).zip(way) {
        walked.entry((depth, bridge)).or_default().insert(ordinal);
    }
    Course::Read(Source { dataset: dataset.code.clone(), key_column, space, wave })
}

/// Runs the night and commits its output; with `dry_run`, does everything but commit.
///
/// # Errors
/// When the output cannot be written, memory does not suffice, or an accounting identity fails. Nothing is committed
/// then. An export that breaks its contract is no error of the run: its lines are delayed.
pub fn run(night: &Night, dry_run: bool) -> Result<RunSummary> {
    let mut output = Output::begin(&night.out)?;
    match make(night, &mut output) {
        Ok(manifest) if dry_run => {
            output.abandon();
            Ok(summary(night, &manifest, false))
        }
        Ok(manifest) => Ok(summary(night, &output.commit(manifest)?, true)),
        Err(error) => {
            output.abandon();
            Err(error)
        }
    }
}

fn make(night: &Night, output: &mut Output) -> Result<Manifest> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(night.settings.threads)
        .build()
        .map_err(|error| Error::new(ErrorKind::Temporary, format!("threads cannot be started: {error}")))?;
    let mut courses = courses(night);
    let mut gathered = Gathered::default();
    runtime.block_on(walk_bridges(night, &mut courses, &mut gathered))?;
    runtime.block_on(gather_all(night, &mut courses, output, &mut gathered))?;
    let assembly = assemble::assemble(night, &courses, output)?;
    records::write(night, &assembly, &gathered.rejects, output)?;
    account(manifest(night, &assembly, gathered))
}

/// What gathering leaves behind, apart from the stage.
#[derive(Default)]
struct Gathered {
    sources: BTreeMap<String, SourceCounts>,
    plans: BTreeMap<String, String>,
    rejects: Vec<Reject>,
}

/// Rejects of one source, kept until its reader has ended.
#[derive(Default)]
pub struct KeptRejects(Mutex<Vec<Reject>>);

impl RejectSink for KeptRejects {
    fn reject(&self, reject: Reject) -> Result<()> {
        self.0.lock().map_err(|_| Error::internal("a reader stopped while rejecting"))?.push(reject);
        Ok(())
    }
}

impl KeptRejects {
    fn take(&self) -> Result<Vec<Reject>> {
        let mut kept = self.0.lock().map_err(|_| Error::internal("a reader stopped while rejecting"))?;
        Ok(std::mem::take(&mut *kept))
    }
}

/// The spec of a source's plan, or `None` where its export is not ready.
pub fn spec(night: &Night, source: &Source, lines: Vec<WantedLine>, rejects: Arc<KeptRejects>) -> Option<GatherSpec> {
    let Some(ExportState::Ready(connector)) = night.exports.get(&source.dataset) else {
        return None;
    };
    Some(GatherSpec {
        dataset: Arc::new(night.catalog.datasets.get(&source.dataset)?.clone()),
        connector: Arc::clone(connector),
        key_column: source.key_column.clone(),
        space: source.space.clone(),
        lines,
        rejects,
    })
}

/// Walks the bridges in order; each gives the requests that need it their keys in the next space.
async fn walk_bridges(night: &Night, courses: &mut Courses, gathered: &mut Gathered) -> Result<()> {
    for (depth, bridge, needs) in courses.bridges.clone() {
        let source = Source {
            dataset: bridge.dataset.clone(),
            key_column: bridge.from.clone(),
            space: bridge.from_space.clone(),
            wave: depth,
        };
        let wanted = |ordinal: &usize| WantedLine {
            line: u32::try_from(*ordinal).unwrap_or(u32::MAX),
            keys: courses.keys[*ordinal].get(&bridge.from_space).into_iter().flatten().cloned().collect(),
            items: vec![bridge.to.clone()],
        };
        let lines = needs.iter().map(wanted).collect();
        let mut found: Vec<(usize, String)> = Vec::new();
        let take = |batch: arrow::record_batch::RecordBatch| {
            let ordinals = batch.column(0).as_primitive::<UInt32Type>();
            let keys = batch.column(1).as_string_opt::<i32>().ok_or_else(|| {
                Error::config("a bridge must lead to a single text column")
                    .at("dataset", &bridge.dataset)
                    .at("column", &bridge.to)
            })?;
            for row in (0..batch.num_rows()).filter(|row| keys.is_valid(*row)) {
                if let Some(key) = canonical(&bridge.to_space, keys.value(row)) {
                    found.push((ordinals.value(row) as usize, key));
                }
            }
            Ok(())
        };
        let name = format!("{}.{}.to.{}", bridge.dataset, bridge.from, bridge.to);
        let read = read_source(night, &source, lines, take).await;
        match read {
            Ok(read) => gathered.keep(name, read),
            Err(error) if error.kind == ErrorKind::Contract => delay(courses, &source.dataset, &error),
            Err(error) => return Err(error),
        }
        for (ordinal, key) in found {
            courses.keys[ordinal].entry(bridge.to_space.clone()).or_default().insert(key);
        }
    }
    Ok(())
}

struct Read {
    counts: SourceCounts,
    plan: String,
    rejects: Vec<Reject>,
}

impl Gathered {
    fn keep(&mut self, name: String, read: Read) {
        self.plans.insert(name.clone(), sha256_hex(read.plan.as_bytes()));
        self.sources.insert(name, read.counts);
        self.rejects.extend(read.rejects);
    }
}

async fn read_source(
    night: &Night,
    source: &Source,
    lines: Vec<WantedLine>,
    mut take: impl FnMut(arrow::record_batch::RecordBatch) -> Result<()>,
) -> Result<Read> {
    let rejects = Arc::new(KeptRejects::default());
    let spec =
        spec(night, source, lines, Arc::clone(&rejects)).ok_or_else(|| Error::internal("source has no export"))?;
    let context = session::open(night.settings.threads, night.settings.memory_bytes)?;
    let planned = gather::plan(&context, &spec)?;
    let plan = explain::stable_text(&spec).await?;
    let mut staged = 0;
    let counts = gather::execute(planned, |batch| {
        staged += batch.num_rows() as u64;
        take(batch)
    })
    .await
    .map_err(|error| error.at("dataset", &source.dataset))?;
    within_reject_ratio(&spec, &counts)?;
    let counts = SourceCounts {
        read: counts.read,
        kept: counts.kept,
        filtered: counts.filtered,
        rejected: counts.rejected,
        bytes: counts.bytes,
        staged,
    };
    Ok(Read { counts, plan, rejects: rejects.take()? })
}

fn within_reject_ratio(spec: &GatherSpec, counts: &ieum_model::connector::ReadCounts) -> Result<()> {
    let allowed = spec.dataset.export.as_ref().map_or(0.0, |export| export.max_reject_ratio);
    #[allow(clippy::cast_precision_loss)]
    let ratio = counts.rejected as f64 / counts.read.max(1) as f64;
    if ratio <= allowed {
        return Ok(());
    }
    Err(Error::contract(format!(
        "{} of {} rows could not be read; the catalog allows a share of {allowed}",
        counts.rejected, counts.read
    ))
    .at("dataset", &spec.dataset.code)
    .hint("ask the holder for a corrected export, or raise `max_reject_ratio` in the dataset's [export]"))
}

/// Every line that waits for `dataset` is delayed: its export turned out to break its contract.
fn delay(courses: &mut Courses, dataset: &str, error: &Error) {
    tracing::warn!(dataset, "export left out of the night: {error}");
    let through: BTreeSet<String> = courses
        .bridges
        .iter()
        .filter(|(_, bridge, _)| bridge.dataset == dataset)
        .map(|(_, bridge, _)| bridge.to_space.clone())
        .collect();
    for course in &mut courses.lines {
        let waits = matches!(course, Course::Read(source)
            if source.dataset == dataset || (source.wave > 1 && through.contains(&source.space)));
        if waits {
            *course = Course::Decided(Outcome::Delayed, Some(Reason::ContractBroken));
        }
    }
}

/// The lines of each source, with the keys known by now; a line without a key is not reachable.
/// Lines with a key of their own and lines that a bridge led here are read together: a plan is a dataset and a key column,
/// and its wave is the latest of its lines.
pub fn wanted_lines(night: &Night, courses: &mut Courses) -> BTreeMap<Source, Vec<WantedLine>> {
    let mut sources: BTreeMap<String, (Source, Vec<WantedLine>)> = BTreeMap::new();
    for (ordinal, request) in night.checked.requests.iter().enumerate() {
        for (offset, line) in request.lines.iter().enumerate() {
            let number = courses.first_line[ordinal] as usize + offset;
            let Course::Read(source) = &courses.lines[number] else {
                continue;
            };
            let keys: Vec<String> = courses.keys[ordinal].get(&source.space).into_iter().flatten().cloned().collect();
            if keys.is_empty() {
                courses.lines[number] = Course::Decided(Outcome::NotReachable, Some(Reason::NotReachable));
                continue;
            }
            let mut items = line.items.clone();
            items.sort();
            let wanted = WantedLine { line: u32::try_from(number).unwrap_or(u32::MAX), keys, items };
            let (read, lines) = sources.entry(source.name()).or_insert_with(|| (source.clone(), Vec::new()));
            read.wave = read.wave.max(source.wave);
            lines.push(wanted);
        }
    }
    sources.into_values().collect()
}

/// Shard of every line: requests are cut into runs of `shard_requests`.
fn shards(night: &Night, courses: &Courses) -> Arc<[u32]> {
    let size = night.settings.shard_requests.max(1) as usize;
    let of_request = |(ordinal, request): (usize, &ieum_model::check::CheckedRequest)| {
        let shard = u32::try_from(ordinal / size).unwrap_or(u32::MAX);
        std::iter::repeat_n(shard, request.lines.len())
    };
    let shards: Arc<[u32]> = night.checked.requests.iter().enumerate().flat_map(of_request).collect();
    debug_assert_eq!(shards.len(), courses.lines.len());
    shards
}

async fn gather_all(night: &Night, courses: &mut Courses, output: &Output, gathered: &mut Gathered) -> Result<()> {
    let sources = wanted_lines(night, courses);
    let shards = shards(night, courses);
    let folder = output.stage_folder();
    let read = |(source, lines): (Source, Vec<WantedLine>)| {
        let mut stage = StageWriter::new(&folder, &source.name(), Arc::clone(&shards));
        async move {
            let read = read_source(night, &source, lines, |batch| stage.write(&batch)).await;
            let read = match read {
                Ok(read) => stage.finish().map(|_| read),
                Err(error) => {
                    stage.discard();
                    Err(error)
                }
            };
            (source, read)
        }
    };
    let mut reads = futures::stream::iter(sources).map(read).buffer_unordered(night.settings.threads);
    while let Some((source, read)) = reads.next().await {
        match read {
            Ok(read) => gathered.keep(source.name(), read),
            Err(error) if error.kind == ErrorKind::Contract => delay(courses, &source.dataset, &error),
            Err(error) => return Err(error),
        }
    }
    gathered.rejects.sort_by(|a, b| (&a.source, a.byte_offset, a.line).cmp(&(&b.source, b.byte_offset, b.line)));
    gathered.rejects.dedup();
    Ok(())
}

fn manifest(night: &Night, assembly: &Assembly, gathered: Gathered) -> Manifest {
    let seed = format!(
        "{}\n{}\n{}\n{}\n{}",
        night.as_of,
        night.catalog_digest,
        night.requests_digest,
        night.master.key_id(),
        night.master.epoch()
    );
    Manifest {
        manifest: "ieum-manifest/1".into(),
        run_id: format!("{}-{}", night.as_of, &sha256_hex(seed.as_bytes())[..12]),
        as_of: night.as_of.to_string(),
        catalog_digest: night.catalog_digest.clone(),
        requests_digest: night.requests_digest.clone(),
        key_id: night.master.key_id().to_owned(),
        key_epoch: night.master.epoch(),
        requests: assembly.requests,
        outcomes: assembly.outcomes(),
        sources: gathered.sources,
        plans: gathered.plans,
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

fn summary(night: &Night, manifest: &Manifest, committed: bool) -> RunSummary {
    let total = |count: fn(&SourceCounts) -> u64| manifest.sources.values().map(count).sum();
    RunSummary {
        run_id: manifest.run_id.clone(),
        committed,
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
    }
}
