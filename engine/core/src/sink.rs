//! sink: everything is written aside, digested on the way, and committed by one rename; the manifest stands last.
//!
//! ```text
//!  out/2026-11-22.partial/   bundles and records ─┐ manifest last, one syncfs, one rename
//!  out/2026-11-22/           the committed output ◄┘
//!  out/2026-11-22.stage/     journal, staged rows, rejects: removed after the rename
//!  out/2026-11-22.lock       who may write; it stands as long as one of the others does
//! ```
//!
//! # Privacy
//! What a stopped run leaves holds personal data, as its bundles do: staged rows, rejected rows, keys that bridges gave. Its
//! folders are readable by their owner only, it stays until the run goes on, `ieum run --restart` or `ieum gc`, and
//! `ieum status` shows it. A dry run leaves nothing.

mod gate;
mod left;
mod lock;
mod writer;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind as IoErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ieum_model::error::{Error, ErrorKind, Result};
use ieum_privacy::RecipientKey;
use ieum_privacy::envelope::{Draw, PIECE};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::deliver::Handover;
use crate::encrypt::failed;
use crate::from_io;
use crate::journal::{Begun, Entry, JOURNAL};
use crate::manifest::{MANIFEST, Manifest, OutputFile, PlainText, hex};
use crate::steps::reached;
pub use gate::CommitGate;
pub use left::{Collected, RunState, RunStatus, Unfinished, collect, collect_delivered, status};
pub use writer::OutputWriter;
use writer::Standing;

/// Beside the target: what is being written, what it is made from, what is being removed, what a dry run writes, and who
/// may write.
const PARTIAL: &str = ".partial";
const STAGE: &str = ".stage";
const REMOVED: &str = ".removed";
const REHEARSAL: &str = ".rehearsal";
const LOCK: &str = ".lock";

/// The folder of an output that holds its bundles.
pub(crate) const BUNDLES: &str = "bundles";

/// How the files of withdrawals and consent records are named in the stage, before their number.
const WITHDRAWALS: &str = "withdrawals.";

/// An output that is being written; nothing of it can be mistaken for a finished one.
pub struct Output {
    aside: PathBuf,
    stage: PathBuf,
    target: PathBuf,
    /// In the order of writing, where one thread writes.
    files: Mutex<Vec<OutputFile>>,
    /// Whether an earlier attempt may have written files already.
    goes_on: bool,
    _lock: File,
}

/// A file to be written at once.
pub struct WholeFile {
    /// Path below the output folder; made from validated ids only.
    pub path: String,
    /// What is written.
    pub bytes: Vec<u8>,
    /// What it is the envelope of, if it is one.
    pub plain: Option<PlainText>,
}

impl From<(String, Vec<u8>)> for WholeFile {
    fn from((path, bytes): (String, Vec<u8>)) -> Self {
        Self { path, bytes, plain: None }
    }
}

/// How an output begins.
pub enum Beginning {
    /// It is to be made, from its start or from where an earlier attempt stopped.
    Open(Output),
    /// An earlier attempt of the same run had committed it, and was killed before it could say so.
    Committed(Box<Manifest>),
}

/// The file beside the journal that keeps such a file: what it is written in shows in its ending.
fn withdrawals_aside(number: usize, name: &str) -> String {
    let ending = Path::new(name).extension().unwrap_or_default().to_string_lossy();
    format!("{WITHDRAWALS}{number}.{ending}")
}

/// The files of withdrawals and consent records that an unfinished run at `target` was checked with, in the order of `names`. `None` where no
/// run can go on there, or it was checked with other files.
pub fn withdrawals_of_unfinished(target: &Path, names: &[String]) -> Option<Vec<PathBuf>> {
    let stage = beside(target, STAGE);
    left::entries(&stage).ok().flatten()?;
    let files = fs::read_dir(&stage).ok()?.flatten();
    let aside = files.filter(|file| file.file_name().to_string_lossy().starts_with(WITHDRAWALS)).count();
    let paths: Vec<PathBuf> =
        names.iter().enumerate().map(|(number, name)| stage.join(withdrawals_aside(number, name))).collect();
    (aside == paths.len() && paths.iter().all(|path| path.is_file())).then_some(paths)
}

fn beside(target: &Path, suffix: &str) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_os_string();
    name.push(suffix);
    target.with_file_name(name)
}

fn create_folder(path: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| from_io(&error, path))
}

/// Creates a folder below `root`, but not `root`: an output that was withdrawn does not come back.
fn create_below(root: &Path, folder: &Path) -> Result<()> {
    if folder == root {
        return Ok(());
    }
    let create = || match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != IoErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    };
    match (create(), folder.parent()) {
        (Err(error), Some(parent)) if error.kind() == IoErrorKind::NotFound && parent != root => {
            create_below(root, parent)?;
            create().map_err(|error| from_io(&error, folder))
        }
        (created, _) => created.map_err(|error| from_io(&error, folder)),
    }
}

/// Removes what a dry run of this process has written for `target` so far, though it is still writing.
pub fn withdraw(target: &Path) {
    /// A file that was being opened when the folder was moved may still appear in it.
    const ATTEMPTS: usize = 100;
    let removed = beside(target, REMOVED);
    let _ = fs::remove_dir_all(&removed);
    if fs::rename(beside(target, REHEARSAL), &removed).is_err() {
        return;
    }
    for _ in 0..ATTEMPTS {
        if fs::remove_dir_all(&removed).is_ok() {
            break;
        }
    }
    remove_lock_of_nothing(target);
}

/// Removes the lock file, unless it stands for an unfinished run.
fn remove_lock_of_nothing(target: &Path) {
    if !beside(target, PARTIAL).exists() && !beside(target, STAGE).exists() {
        let _ = fs::remove_file(beside(target, LOCK));
    }
}

/// Names of unfinished runs beside `target`, but for its own.
pub fn unfinished_beside(target: &Path) -> Vec<String> {
    let own = target.file_name().unwrap_or_default();
    let others = status(&parent(target)).unwrap_or_default().into_iter();
    let others = others.filter(|run| *run.name != *own && !run.held && matches!(run.state, RunState::Unfinished(_)));
    others.map(|run| run.name).collect()
}

fn parent(target: &Path) -> PathBuf {
    target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_path_buf()
}

/// Whether an output can be committed at `target`.
///
/// # Errors
/// [`ErrorKind::Config`] when a committed output stands there already.
pub fn is_free(target: &Path) -> Result<()> {
    if target.exists() { Err(is_taken(target)) } else { Ok(()) }
}

fn is_taken(target: &Path) -> Error {
    Error::config("the output folder holds a committed run")
        .at("path", target.display())
        .hint("give another --out or --date, or move the folder away")
}

impl Output {
    /// Begins the output of a run that is made from `now` and will stand at `target`, or goes on with one that was stopped;
    /// what runs left beside it and nobody can use is removed.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`] when another run writes to the same target, [`ErrorKind::Config`] when a committed output
    /// stands there already, or an unfinished one was made from something else ([`Begun::goes_on_from`]),
    /// [`ErrorKind::Integrity`] when the journal of an unfinished one was changed.
    pub fn begin(target: &Path, now: &Begun) -> Result<Beginning> {
        let stage = beside(target, STAGE);
        if !stage.join(JOURNAL).exists() {
            is_free(target)?;
        }
        let lock = locked(target)?;
        let begun = left::entries(&stage)?.and_then(|entries| entries.into_iter().next());
        let goes_on = match begun {
            Some(Entry::Begun(begun)) if target.exists() => return committed_before(target, &begun, now),
            Some(Entry::Begun(begun)) => now.goes_on_from(&begun).map(|()| true)?,
            Some(_) => return Err(crate::journal::not_begun()),
            None => false,
        };
        if !goes_on {
            is_free(target)?;
            throw_away(target)?;
        }
        left::sweep(&parent(target));
        let aside = beside(target, PARTIAL);
        create_folder(&stage)?;
        create_folder(&aside)?;
        reached("stage.made");
        Ok(Beginning::Open(Self { aside, stage, target: target.into(), files: Mutex::default(), goes_on, _lock: lock }))
    }

    /// Throws away an unfinished run, then begins as [`Output::begin`] does.
    ///
    /// # Errors
    /// As [`Output::begin`].
    pub fn restart(target: &Path, now: &Begun) -> Result<Beginning> {
        if !target.exists() {
            let _lock = locked(target)?;
            throw_away(target)?;
        }
        Self::begin(target, now)
    }

    /// Begins an output to be abandoned: an output that stands at `target` is no hindrance, and an unfinished one is left as
    /// it is.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`] when another run writes to the same target.
    pub fn rehearse(target: &Path) -> Result<Self> {
        let lock = locked(target)?;
        let aside = beside(target, REHEARSAL);
        for left in [&aside, &beside(target, REMOVED)] {
            left::remove_folder(left)?;
        }
        left::sweep(&parent(target));
        create_folder(&aside)?;
        let stage = aside.join(STAGE);
        // Not the folder above it, which may be withdrawn by now.
        create_below(&aside, &stage)?;
        Ok(Self { aside, stage, target: target.into(), files: Mutex::default(), goes_on: false, _lock: lock })
    }

    /// Whether an earlier attempt may have written files already.
    pub fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// Folder of the stage, removed at commit.
    pub fn stage_folder(&self) -> &Path {
        &self.stage
    }

    /// Puts the files of withdrawals and consent records aside that the run was checked with, for a run that goes on.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn put_withdrawals_aside(&self, files: &[(String, Vec<u8>)]) -> Result<()> {
        for (number, (name, bytes)) in files.iter().enumerate() {
            let path = self.stage.join(withdrawals_aside(number, name));
            let mut options = fs::OpenOptions::new();
            let file = options.create(true).truncate(true).write(true).mode(0o600).open(&path);
            file.and_then(|mut file| file.write_all(bytes)).map_err(|error| from_io(&error, &path))?;
        }
        Ok(())
    }

    /// The file of the journal, open for reading and writing.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn journal(&self) -> Result<File> {
        let path = self.stage.join(JOURNAL);
        let mut options = fs::OpenOptions::new();
        let options = options.create(true).truncate(false).read(true).write(true).mode(0o600);
        options.open(&path).map_err(|error| from_io(&error, &path))
    }

    /// Opens a file of the output; `relative` is made from validated ids only.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn create(&self, relative: &str) -> Result<OutputWriter> {
        self.create_at(self.aside.join(relative), relative)
    }

    /// Opens a file of the stage that will become the envelope of its text; `name` is made from validated ids only.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn create_plain(&self, name: &str, draw: Draw) -> Result<OutputWriter> {
        Ok(self.create_at(self.stage.join(name), name)?.drawing(draw))
    }

    /// Makes a file of the output from one that [`Output::create_plain`] opened, and removes that one.
    ///
    /// # Errors
    /// When one cannot be read or the other not written.
    pub fn encrypted(&self, plain: OutputWriter, relative: &str, to: &RecipientKey) -> Result<OutputWriter> {
        let path = self.stage.join(plain.name());
        let (written, drawn) = plain.close_drawn()?;
        let (head, mut pieces) = to.begin(&drawn).map_err(failed)?;
        let mut out = self.create(relative)?;
        out.append(&head)?;
        let mut file = File::open(&path).map_err(|error| from_io(&error, &path))?;
        let count = written.bytes.div_ceil(PIECE as u64).max(1);
        // With room for the tag: a piece is encrypted where it stands.
        let mut piece = Vec::with_capacity(PIECE + 64);
        for nr in 1..=count {
            piece.clear();
            let read = (&mut file).take(PIECE as u64).read_to_end(&mut piece);
            read.map_err(|error| from_io(&error, &path))?;
            pieces.seal(&mut piece, nr == count).map_err(failed)?;
            out.append(&piece)?;
        }
        left::remove_file(&path)?;
        Ok(out.of_plain(PlainText { bytes: written.bytes, sha256: written.sha256, bundle: None }))
    }

    fn create_at(&self, path: PathBuf, relative: &str) -> Result<OutputWriter> {
        let file = self.open(&path)?;
        let standing = if self.goes_on { Standing::left_by_another(file) } else { Ok(Standing::empty(file)) };
        let standing = standing.map_err(|error| from_io(&error, &path))?;
        Ok(OutputWriter::new(path, relative, standing))
    }

    /// Most files go to a folder that is there: it is made when it turns out to be missing.
    fn open(&self, path: &Path) -> Result<File> {
        let goes_on = self.goes_on;
        let create = || {
            let mut options = fs::OpenOptions::new();
            let options = options.create_new(!goes_on).create(true).truncate(false);
            options.read(goes_on).write(true).mode(0o600).open(path)
        };
        let opened = match (create(), path.parent()) {
            (Err(error), Some(parent)) if error.kind() == IoErrorKind::NotFound => {
                create_below(&self.aside, parent)?;
                create()
            }
            (opened, _) => opened,
        };
        opened.map_err(|error| from_io(&error, path))
    }

    /// Closes a file and keeps its digest for the manifest.
    ///
    /// # Errors
    /// When its last bytes cannot be written.
    pub fn keep(&self, writer: OutputWriter) -> Result<()> {
        let file = writer.close()?;
        self.listed().push(file);
        Ok(())
    }

    /// Writes a whole file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&self, relative: &str, bytes: &[u8]) -> Result<()> {
        let file = self.whole(relative, bytes)?;
        self.listed().push(file);
        Ok(())
    }

    /// Writes whole files, each made from an item, in parallel on the rayon pool it is called in.
    ///
    /// # Errors
    /// When one cannot be made or written.
    pub fn put_all<T: Send>(
        &self,
        items: impl IntoParallelIterator<Item = T>,
        make: impl Fn(T) -> Result<WholeFile> + Sync,
    ) -> Result<()> {
        let put = |item| {
            let WholeFile { path, bytes, plain } = make(item)?;
            Ok(OutputFile { plain, ..self.whole(&path, &bytes)? })
        };
        let files = items.into_par_iter().map(put).collect::<Result<Vec<OutputFile>>>()?;
        self.listed().extend(files);
        Ok(())
    }

    /// The files that were written last, in their order.
    pub(crate) fn latest(&self, files: usize) -> Vec<OutputFile> {
        let listed = self.listed();
        listed[listed.len().saturating_sub(files)..].to_vec()
    }

    /// A list that a thread was stopped over is whole: files enter it when they are.
    fn listed(&self) -> MutexGuard<'_, Vec<OutputFile>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn whole(&self, relative: &str, bytes: &[u8]) -> Result<OutputFile> {
        let path = self.aside.join(relative);
        let mut file = self.open(&path)?;
        let written = match self.goes_on {
            true => write_unless_there(&mut file, bytes),
            false => file.write_all(bytes),
        };
        written.map_err(|error| from_io(&error, &path))?;
        let sha256 = hex(&Sha256::digest(bytes));
        Ok(OutputFile { path: relative.into(), bytes: bytes.len() as u64, sha256, plain: None })
    }

    /// Begins to bring to the disk what was written so far, while more is made: less is left to wait for at the commit.
    /// Nothing depends on it.
    pub fn sync_ahead(&self) {
        if let Ok(folder) = File::open(&self.aside) {
            std::thread::spawn(move || sync_file_system(&folder));
        }
    }

    /// Forgets what was written: all of it is to be made again. What stands already is compared and left, as for a run that
    /// goes on.
    pub fn again(&mut self) {
        self.listed().clear();
        self.goes_on = true;
    }

    /// Makes everything durable, the manifest last. Returns the manifest as written; nothing is visible yet.
    ///
    /// # Errors
    /// When anything cannot be made durable.
    pub fn finish(&mut self, mut manifest: Manifest) -> Result<Manifest> {
        manifest.files = std::mem::take(&mut *self.listed());
        manifest.files.sort_by(|a, b| a.path.cmp(&b.path));
        manifest.run_digest = manifest.digest()?;
        if self.goes_on {
            self.remove_strays(&manifest)?;
        }
        let path = self.aside.join(MANIFEST);
        let mut file = self.open(&path)?;
        let bytes = manifest.encode()?;
        file.set_len(0).and_then(|()| file.write_all(&bytes)).map_err(|error| from_io(&error, &path))?;
        reached("commit.manifest_written");
        sync_file_system(&file).map_err(|error| from_io(&error, &path))?;
        reached("commit.synced");
        Ok(manifest)
    }

    /// The folder of what was written so far.
    pub(crate) fn folder(&self) -> &Path {
        &self.aside
    }

    /// Commits what [`Output::finish`] made durable: one rename, then the stage away. What is handed over to a store is
    /// committed there first.
    ///
    /// # Errors
    /// When the rename cannot be made durable; the target does not exist then, unless that alone could not be: a run that is
    /// started again finds it committed. [`ErrorKind::Temporary`] where `gate` says that the run was ended.
    pub fn publish(self, manifest: Manifest, gate: &CommitGate, handover: Option<&Handover>) -> Result<Manifest> {
        if !gate.commit() {
            return Err(Error::new(ErrorKind::Temporary, "the run was ended before it was committed"));
        }
        if let Some(handover) = handover {
            handover.publish(&manifest)?;
        }
        if let Err(error) = fs::rename(&self.aside, &self.target)
            && !self.landed(&manifest)
        {
            return Err(from_io(&error, &self.target));
        }
        reached("commit.renamed");
        let parent = parent(&self.target);
        File::open(&parent).and_then(|folder| folder.sync_all()).map_err(|error| from_io(&error, &parent))?;
        clear(&self.target);
        Ok(manifest)
    }

    /// Whether a rename that was told to have failed has happened.
    fn landed(&self, manifest: &Manifest) -> bool {
        !self.aside.exists() && left::manifest_of(&self.target).is_ok_and(|found| found == *manifest)
    }

    /// Removes files of an earlier attempt that this one did not make, and folders in which nothing is left.
    fn remove_strays(&self, manifest: &Manifest) -> Result<()> {
        let ours: BTreeSet<&str> = manifest.files.iter().map(|file| file.path.as_str()).collect();
        self.remove_strays_below(&self.aside, &ours).map(drop)
    }

    /// As [`Output::remove_strays`], of one folder; whether something of ours is left in it.
    fn remove_strays_below(&self, folder: &Path, ours: &BTreeSet<&str>) -> Result<bool> {
        let mut kept = false;
        for entry in fs::read_dir(folder).map_err(|error| from_io(&error, folder))? {
            let path = entry.map_err(|error| from_io(&error, folder))?.path();
            if path.is_dir() {
                if self.remove_strays_below(&path, ours)? {
                    kept = true;
                } else {
                    left::remove_folder(&path)?;
                }
            } else if path.strip_prefix(&self.aside).is_ok_and(|below| ours.contains(&*below.to_string_lossy())) {
                kept = true;
            } else {
                left::remove_file(&path)?;
            }
        }
        Ok(kept)
    }

    /// Removes what was written: a dry run, or one that cannot go on.
    pub fn abandon(self) {
        let _ = fs::remove_dir_all(&self.aside);
        let _ = fs::remove_dir_all(&self.stage);
        remove_lock_of_nothing(&self.target);
    }
}

/// Takes the lock of an output, in a folder that is made where there is none.
fn locked(target: &Path) -> Result<File> {
    if let Some(parent) = target.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_folder(parent)?;
    }
    lock::take(&beside(target, LOCK))
}

/// Removes everything that an unfinished run left, the journal last: what stands without it is of no use.
fn throw_away(target: &Path) -> Result<()> {
    for suffix in [PARTIAL, REMOVED, REHEARSAL, STAGE] {
        left::remove_folder(&beside(target, suffix))?;
    }
    Ok(())
}

/// The committed output of the run that left its journal beside it.
fn committed_before(target: &Path, begun: &Begun, now: &Begun) -> Result<Beginning> {
    let same = |manifest: &Manifest| begun.run_id == manifest.run_id && now.goes_on_from(begun).is_ok();
    let Some(manifest) = left::manifest_of(target).ok().filter(same) else {
        return Err(is_taken(target));
    };
    let parent = parent(target);
    File::open(&parent).and_then(|folder| folder.sync_all()).map_err(|error| from_io(&error, &parent))?;
    clear(target);
    Ok(Beginning::Committed(Box::new(manifest)))
}

/// Removes what stands beside a committed output, the journal and what it was begun with last: as long as it stands, the run is known to have ended
/// well. What cannot be removed now, the next run or `ieum gc` removes.
fn clear(target: &Path) {
    let stage = beside(target, STAGE);
    let tells_of_the_run = |name: &str| name == JOURNAL || name.starts_with(WITHDRAWALS);
    for entry in fs::read_dir(&stage).into_iter().flatten().flatten() {
        if tells_of_the_run(&entry.file_name().to_string_lossy()) {
            continue;
        }
        let _ = fs::remove_file(entry.path());
    }
    reached("commit.stage_emptied");
    let _ = fs::remove_file(beside(target, LOCK));
    reached("commit.lock_removed");
    let _ = fs::remove_dir_all(&stage);
}

/// Writes a whole file, unless it holds these bytes already.
fn write_unless_there(file: &mut File, bytes: &[u8]) -> std::io::Result<()> {
    let length = file.metadata()?.len();
    if length == bytes.len() as u64 {
        let mut found = Vec::with_capacity(bytes.len());
        file.read_to_end(&mut found)?;
        if found == bytes {
            return Ok(());
        }
    }
    if length > 0 {
        file.set_len(0)?;
        std::io::Seek::rewind(file)?;
    }
    file.write_all(bytes)
}

/// One `syncfs` for all files of the output: a hundred thousand single syncs cost minutes.
#[allow(unsafe_code)]
fn sync_file_system(file: &File) -> std::io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open for the whole call, and syncfs takes nothing else.
    if unsafe { libc::syncfs(file.as_raw_fd()) } == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
