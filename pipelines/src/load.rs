//! Files → words: catalog, requests, keys and exports become a [`Night`].
//!
//! ```text
//!  catalog/ ───────────────────┐
//!  withdrawals, carried_over ──┼─► Checker ─► CheckedNight ─┐
//!  requests ─► blocks ─► rows ─┘       exports ─► connect ──┼─► Night
//!                                             key file ─────┘
//! ```
//!
//! A request that cannot be read is counted and told, never fatal; a JSON line with an unknown field is one. An unknown
//! column is fatal, because the whole file is then not what we take it for, and so is a withdrawal that cannot be read.

mod consents;
mod copies;
mod files;
mod keys;
mod protected;
mod rows;
mod unknown;
mod withdrawals;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::NaiveDate;
use ieum_connectors::staged::{self, Standing, Use};
use ieum_connectors::store::is_url;
use ieum_connectors::{Exports, Found, connect};
use ieum_core::encrypt::Encryption;
use ieum_core::manifest::Manifest;
use ieum_core::night::{CARRIED_OVER, ExportState, MANIFEST, Night};
use ieum_model::catalog::{Catalog, CatalogSource, Problem};
use ieum_model::check::{CarriedOver, CheckedNight, Checker, IdGrade};
use ieum_model::connector::Connector;
use ieum_model::error::{Error, ErrorKind, Result};
use ieum_model::outcome::Reason;
use ieum_model::request::{MalformedRequest, Texts, Withdrawal};
use ieum_privacy::normalize::{Grade, IdentifierKind, normalize};
use ieum_privacy::{Profile, SigningKey};
use rayon::prelude::*;
use rustc_hash::FxHashSet;
use sha2::{Digest, Sha256};

use crate::definition::Definition;
use crate::places;
pub use copies::stage;
use files::{Files, Strict};
pub use keys::{
    KeyFile, identity, key_file, key_ring, master_key, new_encryption_key_file, new_key_file, new_signing_key_file,
    public_key, rotate_key_file, signing_key, wrong_recipient_key,
};

/// Columns of a carried-over file.
const CARRIED_OVER_FIELDS: &[&str] = &["request_id", "dataset", "reason"];

/// Committed runs that are looked through for the rows that a source had.
const COMPARED_RUNS: usize = 32;

/// A night that is ready to run, and what an operator should know about it.
pub struct Loaded {
    /// The night.
    pub night: Night,
    /// What someone should look at: holders left out and why.
    pub warnings: Vec<String>,
    damages: copies::Damages,
}

impl Loaded {
    /// Staged copies that turned out damaged while the night read them; their exports were read instead.
    pub fn damaged_copies(&self) -> Vec<String> {
        self.damages.told()
    }
}

/// Whether the control totals of the exports are checked, which reads every byte of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlTotals {
    /// Checked; a holder whose totals do not agree is delayed.
    Verify,
    /// As `Verify`, but left to the run where the connector checks them while it reads: every byte is read once.
    WhileReading,
    /// Taken on trust, for a command that delivers nothing.
    Trust,
}

/// Reads everything that a night needs.
///
/// # Errors
/// [`ErrorKind::Config`] for a catalog, request file or definition that breaks its contract, [`ErrorKind::Key`] for the
/// key file, [`ErrorKind::Temporary`] for a file that cannot be read.
///
/// # Privacy
/// Reads identifiers of requests and the master key; warnings and errors carry neither.
pub fn night(definition: &Definition, as_of: NaiveDate, totals: ControlTotals) -> Result<Loaded> {
    in_pool(definition.settings().threads, || load(definition, as_of, totals, None))?
}

/// As [`night`], for a run that goes on where one stands unfinished: its requests are checked with the withdrawals and
/// consent records that it began with. Those that came since are read before it commits.
///
/// # Errors
/// As [`night`].
pub fn night_that_goes_on(definition: &Definition, as_of: NaiveDate, totals: ControlTotals) -> Result<Loaded> {
    let begun_with = withdrawals::begun_with(definition, as_of);
    in_pool(definition.settings().threads, || load(definition, as_of, totals, begun_with))?
}

fn load(
    definition: &Definition,
    as_of: NaiveDate,
    totals: ControlTotals,
    begun_with: Option<Vec<PathBuf>>,
) -> Result<Loaded> {
    let master = master_key(&definition.keys)?;
    if !definition.exports.to_str().is_some_and(is_url) {
        exports_folder(&definition.exports)?;
    }
    let sources = catalog_sources(&definition.catalog)?;
    let catalog = parse_catalog(&sources).map_err(|error| error.at("catalog", definition.catalog.display()))?;
    let mut files = Files::below(&definition.folder);
    // Read before the requests that they decide, and digested after them.
    let begun_with = begun_with.as_deref().and_then(|copies| copies.split_at_checked(definition.withdrawals.len()));
    let withdrawals = withdrawals::read(&files, definition, begun_with.map(|(withdrawals, _)| withdrawals))?;
    withdrawals::name_datasets(&withdrawals, &catalog)?;
    let carried = match &definition.carried_over {
        Some(paths) => files.read_strictly(paths, CARRIED_OVER_FIELDS, carried_over)?,
        None => {
            let latest: Vec<PathBuf> = left_open(&definition.out, as_of)?.into_iter().collect();
            Files::below(&definition.out).read_strictly(&latest, CARRIED_OVER_FIELDS, carried_over)?
        }
    };
    let protected = definition.protected.as_deref().map(protected::read).transpose()?;
    let is_protected = |kind: &str, raw: &str| protected.as_ref().is_some_and(|list| list.has(kind, raw));
    let grade = |kind: &str, raw: &str| match is_protected(kind, raw) {
        true => IdGrade::Protected,
        false => grade_identifier(kind, raw),
    };
    let copies_of_consents = begun_with.map(|(_, consents)| consents);
    let consents = consents::files(&definition.folder, &definition.consents, copies_of_consents)?;
    let consents = consents::read(consents, &catalog)?;
    let checker = Checker::new(&catalog, &withdrawals.rows, &carried.rows, as_of, &grade);
    let mut checker = checker.with_consents(&consents.records);
    let malformed = files.check_requests(&definition.requests, &mut checker)?;
    files.add(&withdrawals.files);
    files.add(&carried.files);
    files.add(&consents.files);
    if let Some(list) = &protected {
        files.add(&[("protected".to_owned(), list.digest(&master).into_bytes())]);
    }
    let mut checked = checker.finish();
    checked.malformed.extend(malformed);
    let mut warnings = unknown::warnings(&catalog, &definition.catalog, &checked);
    warnings.extend(not_as_asked(definition, &checked));
    warnings.extend(consents.warnings(&checked));
    warnings.extend(idle(&withdrawals, &checked));
    warnings.extend(open_lines(&checked));
    let damages = copies::Damages::default();
    let copies = definition.staged.as_ref().map(|folder| damages.using(folder, totals == ControlTotals::Verify));
    let exports = places::exports(definition, &catalog)?;
    let reading = Reading { exports: &exports, as_of, catalog: &catalog, totals, copies };
    let exports = reading.exports(&checked, &mut warnings)?;
    let signing = definition.signing_key.as_deref().map(|path| signing_key_of(path, definition.profile)).transpose()?;
    let encrypting = definition.encrypt.then(|| Encryption::of(&catalog, &checked, &master, definition.profile));
    let encryption = encrypting.transpose().map_err(|error| error.at("catalog", definition.catalog.display()))?;
    let catalog = Arc::new(catalog);
    let begun_with_files = withdrawals.files.into_iter().chain(consents.files).collect();
    let night = Night {
        withdrawals: withdrawals::to_read_again(definition, begun_with_files, &catalog),
        protected,
        catalog,
        as_of,
        checked,
        exports,
        master,
        signing,
        encryption,
        settings: definition.settings(),
        out: definition.out.join(as_of.to_string()),
        catalog_digest: digest(sources.iter().map(|source| (source.path.as_str(), source.text.as_bytes()))),
        requests_digest: files.digest(),
        earlier_rows: earlier_rows(&definition.out, as_of)?,
    };
    Ok(Loaded { night, warnings, damages })
}

/// A key of another profile than the night's is a slip in the definition.
fn signing_key_of(path: &Path, profile: Profile) -> Result<SigningKey> {
    let key = signing_key(path)?;
    if key.public().profile() == profile {
        return Ok(key);
    }
    Err(Error::new(ErrorKind::Key, format!("the signing key is not one of profile `{}`", profile.name()))
        .at("key file", path.display())
        .hint("compare `profile` in the run definition; `ieum keys new … --signing --profile NAME` makes a key"))
}

/// Every holder would be late where the folder of all their exports is missing.
fn exports_folder(folder: &Path) -> Result<()> {
    let Err(error) = fs::read_dir(folder) else { return Ok(()) };
    let kind = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ErrorKind::Config,
        _ => ErrorKind::Temporary,
    };
    Err(Error::new(kind, format!("the exports folder cannot be read: {error}"))
        .at("folder", folder.display())
        .hint("compare `exports` in the run definition, and whether its disk is mounted"))
}

/// The TOML files below a catalog folder, in name order, named relative to it.
///
/// # Errors
/// [`ErrorKind::Config`] if there is no such folder, or no catalog in it.
pub fn catalog_sources(dir: &Path) -> Result<Vec<CatalogSource>> {
    let mut paths = Vec::new();
    walk(dir, &mut paths)?;
    paths.sort();
    if paths.is_empty() {
        return Err(Error::config("the catalog folder has no .toml file").at("catalog", dir.display()));
    }
    let source = |path: PathBuf| {
        // What is not UTF-8 is told with all other problems of the catalog.
        let text = String::from_utf8_lossy(&bytes(&path)?).into_owned();
        Ok(CatalogSource { path: relative(&path, dir), text })
    };
    paths.into_par_iter().map(source).collect()
}

/// Parses a catalog as a whole.
///
/// # Errors
/// [`ErrorKind::Config`] with every problem found.
pub fn parse_catalog(sources: &[CatalogSource]) -> Result<Catalog> {
    Catalog::parse_with(sources, &wrong_recipient_key).map_err(|problems| {
        let count = problems.len();
        let plural = if count == 1 { "problem" } else { "problems" };
        let error = Error::config(format!("the catalog has {count} {plural}"));
        problems.iter().fold(error, |error, problem| error.at("problem", told(problem)))
    })
}

/// Hexadecimal SHA-256 of every file's path, length and bytes, in the order given.
pub fn digest<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut sum = Sha256::new();
    for (path, bytes) in files {
        add_to_digest(&mut sum, path, bytes);
    }
    hex(sum)
}

fn add_to_digest(sum: &mut Sha256, path: &str, bytes: &[u8]) {
    for part in [path.as_bytes(), bytes] {
        add_length(sum, part.len());
        sum.update(part);
    }
}

fn add_length(sum: &mut Sha256, bytes: usize) {
    sum.update((bytes as u64).to_be_bytes());
}

fn hex(sum: Sha256) -> String {
    sum.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn told(problem: &Problem) -> String {
    let mut text = format!("{}:{}: {}", problem.path, problem.line, problem.message);
    if let Some(hint) = &problem.hint {
        let _ = write!(text, " ({hint})");
    }
    text
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(dir)
        .map_err(|error| Error::config(format!("the folder cannot be read: {error}")).at("folder", dir.display()))?;
    for entry in entries {
        let path = entry.map_err(|error| cannot_read(dir, &error))?.path();
        if path.is_dir() {
            walk(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            found.push(path);
        }
    }
    Ok(())
}

fn relative(path: &Path, base: &Path) -> String {
    let below = path.strip_prefix(base).unwrap_or(path);
    let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}

fn bytes(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| cannot_read(path, &error))
}

/// A file that does not exist is a slip in the configuration; anything else may pass by itself.
fn cannot_read(path: &Path, error: &io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::Config,
        _ => ErrorKind::Temporary,
    };
    Error::new(kind, format!("the file cannot be read: {error}")).at("file", path.display())
}

/// The file of the lines that the latest committed run before a date left open, if there is one.
fn left_open(out: &Path, as_of: NaiveDate) -> Result<Option<PathBuf>> {
    Ok(latest_before(out, as_of)?.map(|folder| folder.join(CARRIED_OVER)))
}

/// Rows that the latest committed run before a date read of every source: of one that it left out, an earlier one. A manifest
/// that cannot be read as one is for `ieum verify`.
fn earlier_rows(out: &Path, as_of: NaiveDate) -> Result<BTreeMap<String, u64>> {
    let mut rows = BTreeMap::new();
    for folder in committed_before(out, as_of)?.iter().rev().take(COMPARED_RUNS) {
        let Ok(manifest) = serde_json::from_slice::<Manifest>(&bytes(&folder.join(MANIFEST))?) else { continue };
        for (source, counts) in manifest.sources {
            rows.entry(source).or_insert(counts.read);
        }
    }
    Ok(rows)
}

/// The folder of the latest committed run before a date.
fn latest_before(out: &Path, as_of: NaiveDate) -> Result<Option<PathBuf>> {
    Ok(committed_before(out, as_of)?.pop())
}

/// The folders of the committed runs before a date, the latest last.
fn committed_before(out: &Path, as_of: NaiveDate) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(out) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| cannot_read(out, &error))?,
    };
    let mut dates = BTreeSet::new();
    for entry in entries {
        let folder = entry.map_err(|error| cannot_read(out, &error))?;
        let date = folder.file_name().to_str().and_then(|name| name.parse::<NaiveDate>().ok());
        let Some(date) = date.filter(|date| *date < as_of) else { continue };
        // Its name is a date as a run writes it, and the run is committed.
        if folder.file_name() == *date.to_string() && folder.path().join(MANIFEST).is_file() {
            dates.insert(date);
        }
    }
    Ok(dates.into_iter().map(|date| out.join(date.to_string())).collect())
}

/// What requests ask for and a night does otherwise.
fn not_as_asked(definition: &Definition, checked: &CheckedNight) -> Vec<String> {
    let format = definition.format.name();
    let others = checked.formats.iter().filter(|(asked, _)| ***asked != *format).map(|(asked, (count, first))| {
        format!(
            "requests ask for bundles as {asked}: this night writes {format}\n  requests: {count}, the first is `{first}`\n  \
             hint: set `format` in the run definition, or run these requests as a night of their own"
        )
    });
    let holder = checked.other_holder.map(|(count, first)| {
        let (first, catalog) = (&checked.requests[first as usize].request_id, definition.catalog.display());
        format!(
            "requests name another holder than that of a document they ask for: such a line is refused (R05)\n  \
             requests: {count}, the first is `{first}`\n  hint: `ieum catalog show {catalog} DATASET` shows its holder"
        )
    });
    others.chain(holder).collect()
}

/// Withdrawals that take nothing back, by the first.
fn idle(withdrawals: &Strict<Withdrawal>, checked: &CheckedNight) -> Option<String> {
    let first = *checked.idle_withdrawals.first()?;
    let (count, line) = (checked.idle_withdrawals.len(), withdrawals.rows.get(first)?.line);
    let file = withdrawals.file_of(first);
    let hint = "compare its request id, or take it out where the request is answered";
    let what = "withdrawals name a request that was not received: they take nothing back";
    Some(format!("{what}\n  withdrawals: {count}, the first is {file}, line {line}\n  hint: {hint}"))
}

/// What became of lines that an earlier run left open and that nobody asks for now.
fn open_lines(checked: &CheckedNight) -> Vec<String> {
    let told = |count: u64, what: &str| {
        let lines = if count == 1 { "1 line".to_owned() } else { format!("{count} lines") };
        (count > 0).then(|| format!("{lines} that an earlier run left open: {what}"))
    };
    let carried_on = told(
        checked.carried_on.len() as u64,
        "the request is not in the request files; carried over to the next run\n  hint: deliver the request again, or its withdrawal",
    );
    let dropped = told(checked.no_longer_asked, "the request is here and does not ask for it any more; dropped");
    carried_on.into_iter().chain(dropped).collect()
}

fn carried_over(get: &Texts<'_>, line: u64) -> std::result::Result<CarriedOver, MalformedRequest> {
    let field = |place: usize| {
        let field = CARRIED_OVER_FIELDS[place];
        let absent = MalformedRequest {
            file: String::new(),
            request_id: None,
            line,
            field,
            expected: "given".to_owned(),
            raw: Vec::new(),
        };
        get(place).filter(|text| !text.trim().is_empty()).map(Cow::into_owned).ok_or(absent)
    };
    Ok(CarriedOver { request_id: field(0)?, dataset: field(1)? })
}

fn grade(kind: &str, raw: &str) -> Grade {
    thread_local! {
        static SPELLING: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    let kind = IdentifierKind::from_code(kind).unwrap_or(IdentifierKind::Other);
    SPELLING.with_borrow_mut(|spelling| {
        spelling.clear();
        normalize(kind, raw.as_bytes(), spelling)
    })
}

/// Whether an identifier keeps the rules of its kind; `None` for a kind that has none.
pub fn is_well_formed(kind: &str, raw: &str) -> Option<bool> {
    IdentifierKind::from_code(kind)?;
    Some(grade(kind, raw) != Grade::Error)
}

fn grade_identifier(kind: &str, raw: &str) -> IdGrade {
    match grade(kind, raw) {
        Grade::Ok => IdGrade::Ok,
        Grade::Warn => IdGrade::Warn,
        Grade::Error => IdGrade::Error,
    }
}

fn in_pool<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> Result<T> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|error| Error::new(ErrorKind::Temporary, format!("no threads: {error}")))?;
    Ok(pool.install(work))
}

/// An export as it was found, before its holder's other exports are known.
enum Probe {
    Missing(String),
    Stale(String),
    Ready(Arc<dyn Connector>),
    Broken(Error),
    Drifted(Error),
}

/// Datasets of every line that is not decided yet, and those that lead from one key space to another.
fn wanted_datasets(catalog: &Catalog, checked: &CheckedNight) -> BTreeSet<String> {
    let lines = checked.requests.iter().flat_map(|request| request.lines.iter());
    let asked: FxHashSet<&str> = lines.filter(|line| line.decided.is_none()).map(|line| &*line.document).collect();
    if asked.is_empty() {
        return BTreeSet::new();
    }
    let bridges = catalog.datasets.values().filter(|dataset| !dataset.maps.is_empty());
    asked.into_iter().chain(bridges.map(|dataset| dataset.code.as_str())).map(str::to_owned).collect()
}

/// How exports are found.
struct Reading<'a> {
    exports: &'a Exports,
    as_of: NaiveDate,
    catalog: &'a Catalog,
    totals: ControlTotals,
    /// Where their staged copies stand, if these are to be used.
    copies: Option<Use>,
}

impl Reading<'_> {
    /// The state of every export that the night may read. One broken control total delays the whole holder.
    fn exports(&self, checked: &CheckedNight, warnings: &mut Vec<String>) -> Result<BTreeMap<String, ExportState>> {
        let wanted: Vec<String> = wanted_datasets(self.catalog, checked).into_iter().collect();
        let probes = wanted.par_iter().map(|code| self.probe(code)).collect::<Result<Vec<_>>>()?;
        let holder = |code: &str| self.catalog.datasets.get(code).map_or("", |dataset| dataset.holder.as_str());
        let mut broken = BTreeSet::new();
        for (code, (probe, _)) in wanted.iter().zip(&probes) {
            match probe {
                Probe::Broken(error) => {
                    broken.insert(holder(code));
                    warnings.push(format!("holder `{}` is left out of the night: {}", holder(code), error.told()));
                }
                Probe::Missing(why) | Probe::Stale(why) => {
                    warnings.push(format!("dataset `{code}` is delayed: {why}"));
                }
                Probe::Drifted(error) => {
                    warnings.push(format!("dataset `{code}` is left out of the night: {}", error.told()));
                }
                Probe::Ready(_) => {}
            }
        }
        if self.copies.is_some() {
            let ready = wanted.iter().zip(&probes).filter(|(_, (probe, _))| matches!(probe, Probe::Ready(_)));
            warnings.extend(copies::warnings(ready.map(|(code, (_, standing))| (code.as_str(), standing))));
        }
        let state = |code: &str, probe| match probe {
            Probe::Missing(_) => ExportState::Delayed(Reason::HolderMissing),
            Probe::Stale(_) => ExportState::Delayed(Reason::Stale),
            _ if broken.contains(holder(code)) => ExportState::Delayed(Reason::ControlTotals),
            Probe::Ready(connector) => ExportState::Ready(connector),
            Probe::Broken(_) => ExportState::Delayed(Reason::ControlTotals),
            Probe::Drifted(_) => ExportState::Delayed(Reason::ContractBroken),
        };
        Ok(wanted.iter().zip(probes).map(|(code, (probe, _))| (code.clone(), state(code, probe))).collect())
    }

    fn probe(&self, code: &str) -> Result<(Probe, Standing)> {
        let Some(dataset) = self.catalog.datasets.get(code) else {
            return Err(Error::internal("a checked request names a dataset that the catalog lacks").at("dataset", code));
        };
        if dataset.export.is_none() {
            let why = "the catalog does not say how its holder writes it".to_owned();
            return Ok((Probe::Missing(why), Standing::None));
        }
        let (exports, as_of) = (self.exports.clone(), self.as_of);
        let found = match &self.copies {
            Some(copies) => staged::connect(exports, dataset, as_of, copies),
            None => connect(exports, dataset, as_of).map(|found| (found, Standing::None)),
        };
        let (found, standing) = found.map_err(|error| error.at("dataset", code))?;
        let probe = match found {
            Found::Stale { date, validity_days } => {
                Probe::Stale(format!("the newest export is of {date} and is valid for {validity_days} days"))
            }
            Found::Missing => Probe::Missing("the holder delivered no file".to_owned()),
            Found::Unfinished(error) => Probe::Missing(error.told()),
            Found::Drifted(error) => Probe::Drifted(error),
            Found::Export(connector) => {
                self.proven(connector.into(), &standing).map_err(|error| error.at("dataset", code))?
            }
        };
        Ok((probe, standing))
    }

    /// The export, if its control totals agree. Those of a copy's export were checked when it was made.
    fn proven(&self, connector: Arc<dyn Connector>, standing: &Standing) -> Result<Probe> {
        let left_to_the_run = match self.totals {
            ControlTotals::Trust => true,
            ControlTotals::WhileReading => connector.checks_totals_while_reading(),
            ControlTotals::Verify => *standing == Standing::Fresh,
        };
        if left_to_the_run {
            return Ok(Probe::Ready(connector));
        }
        match connector.verify_control() {
            Ok(()) => Ok(Probe::Ready(connector)),
            Err(error) if matches!(error.kind, ErrorKind::Contract | ErrorKind::ControlTotals) => {
                Ok(Probe::Broken(error))
            }
            Err(error) => Err(error),
        }
    }
}
