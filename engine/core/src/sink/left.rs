//! What runs left in the folder of their outputs: committed ones, unfinished ones, and what nobody needs any more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{ErrorKind as IoErrorKind, Read};
use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use ieum_model::error::{Error, ErrorKind, Result};
use serde::Serialize;

use super::{BUNDLES, LOCK, PARTIAL, REHEARSAL, REMOVED, STAGE, lock};
use crate::from_io;
use crate::journal::{Entry, JOURNAL, chain};
use crate::manifest::{MANIFEST, Manifest};

/// A run in the folder of outputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunStatus {
    /// Name of its output folder: the date.
    pub name: String,
    /// Whether a process holds its lock.
    pub held: bool,
    /// How far it is.
    #[serde(flatten)]
    pub state: RunState,
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum RunState {
    /// Its manifest stands.
    Committed {
        /// The run.
        run_id: String,
        /// Requests that were answered.
        requests: u64,
        /// Digest of its manifest.
        run_digest: String,
    },
    /// It can go on.
    Unfinished(Unfinished),
    /// It cannot go on: it wrote nothing down, was a dry run, or was being removed.
    Left,
    /// Its journal or manifest is not what was written.
    Damaged,
}

/// A run that can go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unfinished {
    /// The run.
    pub run_id: String,
    /// The step that it is in.
    pub step: &'static str,
    /// Wave that is being read, from 0, and the last one.
    pub wave: u32,
    /// See `wave`.
    pub last_wave: u32,
    /// Readings gathered, of all waves so far.
    pub readings_done: u64,
    /// Readings of all waves so far.
    pub readings: u64,
    /// Shards assembled.
    pub shards_done: u64,
    /// Shards to be assembled; 0 while it gathers.
    pub shards: u64,
    /// How often it was stopped and went on.
    pub resumed: u64,
}

/// What was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// Name of the output folder, the date; or of a file that was written aside.
    pub name: String,
    /// Whether it could have gone on.
    pub unfinished: bool,
    /// Whether these are the bundles of an output that was delivered to a store.
    pub delivered: bool,
    /// Bytes of its files.
    pub bytes: u64,
}

/// The entries of the journal below a stage folder; `None` where not even the first is whole.
pub(super) fn entries(stage: &Path) -> Result<Option<Vec<Entry>>> {
    let path = stage.join(JOURNAL);
    let mut bytes = Vec::new();
    match File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes)) {
        Err(error) if error.kind() == IoErrorKind::NotFound => return Ok(None),
        read => read.map_err(|error| from_io(&error, &path))?,
    };
    let (entries, _) = chain::read(&bytes).map_err(|error| {
        error.at("journal", path.display()).hint("`ieum run --restart` throws the unfinished run away")
    })?;
    Ok(Some(entries).filter(|entries| !entries.is_empty()))
}

/// Names of outputs that stand in `folder`, or beside which something stands. The output of a run is named after its date:
/// what has another name is not ours, whatever it ends with.
fn names(folder: &Path) -> Result<BTreeSet<String>> {
    let listed = match fs::read_dir(folder) {
        Err(error) if error.kind() == IoErrorKind::NotFound => return Ok(BTreeSet::new()),
        listed => listed.map_err(|error| from_io(&error, folder))?,
    };
    let mut names = BTreeSet::new();
    for entry in listed {
        let entry = entry.map_err(|error| from_io(&error, folder))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let beside =
            [PARTIAL, REMOVED, REHEARSAL, STAGE, LOCK].into_iter().find_map(|suffix| name.strip_suffix(suffix));
        let of = match beside {
            Some(of) => of,
            None if entry.path().join(MANIFEST).is_file() => &name,
            None => continue,
        };
        if of.parse::<NaiveDate>().is_ok_and(|date| date.to_string() == of) {
            names.insert(of.to_owned());
        }
    }
    Ok(names)
}

/// Every run in the folder of outputs, in the order of their names.
///
/// # Errors
/// When the folder cannot be read.
pub fn status(folder: &Path) -> Result<Vec<RunStatus>> {
    let status = |name: String| {
        let at = |suffix: &str| folder.join(format!("{name}{suffix}"));
        let held = lock::is_held(&at(LOCK));
        let is_there = |suffix: &&str| at(suffix).exists();
        let state = match (fs::read(at("").join(MANIFEST)), entries(&at(STAGE))) {
            (Ok(manifest), _) => committed(&manifest),
            (Err(_), Ok(Some(entries))) => unfinished(&entries),
            (Err(_), Err(_)) => RunState::Damaged,
            (Err(_), Ok(None)) if held || [PARTIAL, REMOVED, REHEARSAL, STAGE].iter().any(is_there) => RunState::Left,
            (Err(_), Ok(None)) => return None,
        };
        Some(RunStatus { held, state, name })
    };
    Ok(names(folder)?.into_iter().filter_map(status).collect())
}

fn committed(manifest: &[u8]) -> RunState {
    match serde_json::from_slice::<Manifest>(manifest) {
        Ok(Manifest { run_id, requests, run_digest, .. }) => {
            RunState::Committed { run_id, requests: requests.requests, run_digest }
        }
        Err(_) => RunState::Damaged,
    }
}

fn unfinished(entries: &[Entry]) -> RunState {
    let Some(Entry::Begun(begun)) = entries.first() else { return RunState::Damaged };
    let mut run = Unfinished {
        run_id: begun.run_id.clone(),
        step: "plan",
        wave: 0,
        last_wave: 0,
        readings_done: 0,
        readings: 0,
        shards_done: 0,
        shards: 0,
        resumed: 0,
    };
    let (mut waves, mut gathered) = (BTreeMap::new(), BTreeSet::new());
    for entry in entries {
        match entry {
            Entry::Begun(_) => {}
            Entry::Resumed => (run.resumed, run.step) = (run.resumed + 1, "plan"),
            Entry::Wave { number, last, readings } => {
                (run.step, run.wave, run.last_wave, run.shards_done, run.shards) = ("gather", *number, *last, 0, 0);
                waves.insert(*number, *readings);
            }
            Entry::Gathered(reading) => drop(gathered.insert(&reading.reading)),
            Entry::Assembling { shards } => {
                (run.step, run.shards_done, run.shards) = ("assemble", 0, u64::from(*shards));
            }
            Entry::TakenBack { .. } => {}
            Entry::Shard { number, .. } => run.shards_done = u64::from(*number) + 1,
            Entry::Committing => run.step = "commit",
        }
    }
    (run.readings_done, run.readings) = (gathered.len() as u64, waves.values().sum());
    RunState::Unfinished(run)
}

/// Removes what killed runs left in `folder` and nobody can use: what a dry run wrote, what was being removed, what wrote
/// nothing down, and what stands aside of a committed output. What a living run writes is locked, a folder without a lock
/// file is not ours, and a run that can go on is left: `ieum gc` removes it.
pub(super) fn sweep(folder: &Path) {
    for name in names(folder).unwrap_or_default() {
        let Some(_held) = lock::take_left(&folder.join(format!("{name}{LOCK}"))) else { continue };
        let at = |suffix: &str| folder.join(format!("{name}{suffix}"));
        let can_go_on = !at("").join(MANIFEST).exists() && !matches!(entries(&at(STAGE)), Ok(None));
        let removed = if can_go_on {
            remove_folder(&at(REMOVED)).and_then(|_| remove_folder(&at(REHEARSAL)))
        } else {
            remove(folder, &name)
        };
        match removed {
            Ok(0) => {}
            Ok(_) => tracing::info!(run = name, "what a killed run left is removed"),
            Err(error) => tracing::warn!(run = name, error = error.message, "what a killed run left cannot be removed"),
        }
    }
}

/// Removes everything that stands beside the outputs in `folder` and that no process holds, unfinished runs too. Committed
/// outputs are left as they are.
///
/// # Errors
/// When something cannot be removed.
pub fn collect(folder: &Path) -> Result<Vec<Collected>> {
    let mut collected = Vec::new();
    for name in names(folder)? {
        let lock = folder.join(format!("{name}{LOCK}"));
        let stage = folder.join(format!("{name}{STAGE}"));
        // A journal says that it is ours, even without a lock file.
        let held = match lock::take_left(&lock) {
            None if !lock.exists() && stage.join(JOURNAL).exists() => Some(lock::take(&lock)?),
            held => held,
        };
        let Some(_held) = held else { continue };
        let committed = folder.join(&name).join(MANIFEST).exists();
        let unfinished = !committed && !matches!(entries(&stage), Ok(None));
        let bytes = remove(folder, &name)?;
        if bytes > 0 || unfinished {
            collected.push(Collected { name, unfinished, delivered: false, bytes });
        }
    }
    for (name, path) in asides(folder)? {
        let bytes = path.metadata().map_or(0, |about| about.len());
        remove_file(&path)?;
        collected.push(Collected { name, unfinished: false, delivered: false, bytes });
    }
    Ok(collected)
}

/// Files that a process wrote aside, to be renamed to one beside an output (`DATE.telemetry.json.PROCESS.partial`), and
/// where it was killed; none of a run that a process holds.
fn asides(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let entry = entry.map_err(|error| from_io(&error, folder))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let Some((file, process)) = name.strip_suffix(PARTIAL).and_then(|rest| rest.rsplit_once('.')) else { continue };
        let Some((run, _)) = file.split_once('.') else { continue };
        let is_ours = run.parse::<NaiveDate>().is_ok_and(|date| date.to_string() == run)
            && process.bytes().all(|digit| digit.is_ascii_digit())
            && entry.path().is_file();
        if is_ours && !lock::is_held(&folder.join(format!("{run}{LOCK}"))) {
            found.push((name, entry.path()));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Removes the bundles of committed outputs in `folder` that `is_delivered` says stand elsewhere as a whole, most of their
/// bytes. What the next runs and `ieum receipt` read stays: manifest, answers, lines carried over, receipts.
///
/// # Errors
/// When something cannot be removed, or as `is_delivered`.
pub fn collect_delivered(
    folder: &Path,
    is_delivered: &mut dyn FnMut(&str, &Manifest) -> Result<bool>,
) -> Result<Vec<Collected>> {
    let mut collected = Vec::new();
    for name in names(folder)? {
        let target = folder.join(&name);
        let bundles = target.join(BUNDLES);
        let Ok(manifest) = manifest_of(&target) else { continue };
        if !bundles.is_dir() || !is_delivered(&name, &manifest)? {
            continue;
        }
        // Killed from here on, what is left is collected by its lock.
        let _held = match lock::take(&folder.join(format!("{name}{LOCK}"))) {
            Err(error) if error.kind == ErrorKind::Locked => continue,
            held => held?,
        };
        let removed = folder.join(format!("{name}{REMOVED}"));
        remove_folder(&removed)?;
        fs::rename(&bundles, &removed).map_err(|error| from_io(&error, &bundles))?;
        let bytes = remove(folder, &name)?;
        collected.push(Collected { name, unfinished: false, delivered: true, bytes });
    }
    Ok(collected)
}

/// Removes what stands beside an output, its lock last; how many bytes it had.
fn remove(folder: &Path, name: &str) -> Result<u64> {
    let mut bytes = 0;
    for suffix in [PARTIAL, REHEARSAL, REMOVED, STAGE] {
        bytes += remove_folder(&folder.join(format!("{name}{suffix}")))?;
    }
    remove_file(&folder.join(format!("{name}{LOCK}")))?;
    Ok(bytes)
}

/// Removes a folder, if it is there; how many bytes its files had.
pub(super) fn remove_folder(path: &Path) -> Result<u64> {
    let bytes = bytes_below(path.to_path_buf());
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != IoErrorKind::NotFound => Err(from_io(&error, path)),
        _ => Ok(bytes),
    }
}

/// Removes a file, if it is there.
pub(super) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != IoErrorKind::NotFound => Err(from_io(&error, path)),
        _ => Ok(()),
    }
}

fn bytes_below(path: PathBuf) -> u64 {
    let mut open = vec![path];
    let mut bytes = 0;
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(about) if about.is_dir() => open.push(entry.path()),
                Ok(about) => bytes += about.len(),
                Err(_) => {}
            }
        }
    }
    bytes
}

/// The manifest of a committed output at `target`.
///
/// # Errors
/// [`ErrorKind::Integrity`] when it is none.
pub(super) fn manifest_of(target: &Path) -> Result<Manifest> {
    let path = target.join(MANIFEST);
    let bytes = fs::read(&path).map_err(|error| from_io(&error, &path))?;
    serde_json::from_slice(&bytes)
        .map_err(|_| Error::new(ErrorKind::Integrity, "the manifest cannot be read").at("path", path.display()))
}
