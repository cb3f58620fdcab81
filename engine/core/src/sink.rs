//! sink: everything is written aside, digested on the way, and committed by one rename; the manifest stands last.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind as IoErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ieum_model::error::{Error, ErrorKind, Result};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::from_io;
use crate::manifest::{MANIFEST, Manifest, OutputFile, hex};

/// Beside the target: what is being written, what is being removed, and who may write.
const PARTIAL: &str = ".partial";
const REMOVED: &str = ".removed";
const LOCK: &str = ".lock";

/// An output that is being written; nothing of it can be mistaken for a finished one.
pub struct Output {
    aside: PathBuf,
    target: PathBuf,
    files: Vec<OutputFile>,
    _lock: File,
}

/// A file of the output, digested while it is written.
pub struct OutputWriter {
    path: PathBuf,
    relative: String,
    out: BufWriter<File>,
    digest: Sha256,
    bytes: u64,
}

impl OutputWriter {
    /// Appends bytes; the offset at which they begin.
    ///
    /// # Errors
    /// When the disk does not take them.
    pub fn append(&mut self, bytes: &[u8]) -> Result<u64> {
        let offset = self.bytes;
        self.write_all(bytes).map_err(|error| from_io(&error, &self.path))?;
        Ok(offset)
    }

    fn close(mut self) -> Result<OutputFile> {
        self.out.flush().map_err(|error| from_io(&error, &self.path))?;
        Ok(OutputFile { path: self.relative, bytes: self.bytes, sha256: hex(&self.digest.finalize()) })
    }
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

/// Opens and locks a lock file; `None` where somebody holds it.
fn locked(options: &fs::OpenOptions, path: &Path) -> std::io::Result<Option<File>> {
    loop {
        let file = options.open(path)?;
        if file.try_lock().is_err() {
            return Ok(None);
        }
        // Whoever held it may have removed it meanwhile: then it locks nothing.
        let same =
            |stands: &fs::Metadata, ours: &fs::Metadata| (stands.dev(), stands.ino()) == (ours.dev(), ours.ino());
        match fs::metadata(path) {
            Ok(stands) if same(&stands, &file.metadata()?) => return Ok(Some(file)),
            Err(error) if error.kind() != IoErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
}

/// Removes what killed runs left in `folder`: personal data would stand there for ever. What a living run writes is
/// locked, and a folder without a lock file is not ours.
fn sweep(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names: BTreeSet<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let left = |name: &String| name.strip_suffix(PARTIAL).or_else(|| name.strip_suffix(REMOVED)).map(str::to_owned);
    for name in names.iter().filter_map(left).collect::<BTreeSet<String>>() {
        let lock = folder.join(format!("{name}{LOCK}"));
        let Ok(Some(_held)) = locked(fs::OpenOptions::new().write(true), &lock) else { continue };
        let remove = |suffix: &str| match fs::remove_dir_all(folder.join(format!("{name}{suffix}"))) {
            Err(error) if error.kind() != IoErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        match remove(PARTIAL).and_then(|()| remove(REMOVED)).and_then(|()| fs::remove_file(&lock)) {
            Ok(()) => tracing::info!(run = name, "what a killed run left is removed"),
            Err(error) => tracing::warn!(run = name, %error, "what a killed run left cannot be removed"),
        }
    }
}

/// Removes what this process has written for `target` so far, though it is still writing; `false` where there is nothing
/// to remove, because nothing is written yet or the output is committed.
pub fn withdraw(target: &Path) -> bool {
    /// A file that was being opened when the folder was moved may still appear in it.
    const ATTEMPTS: usize = 100;
    let removed = beside(target, REMOVED);
    let _ = fs::remove_dir_all(&removed);
    if fs::rename(beside(target, PARTIAL), &removed).is_err() {
        return false;
    }
    for _ in 0..ATTEMPTS {
        if fs::remove_dir_all(&removed).is_ok() {
            break;
        }
    }
    let _ = fs::remove_file(beside(target, LOCK));
    true
}

impl Write for OutputWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.out.write_all(bytes)?;
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// Whether an output can be committed at `target`.
///
/// # Errors
/// [`ErrorKind::Config`] when a committed output stands there already.
pub fn is_free(target: &Path) -> Result<()> {
    if target.exists() {
        return Err(Error::config("the output folder holds a committed run")
            .at("path", target.display())
            .hint("give another --out or --date, or move the folder away"));
    }
    Ok(())
}

impl Output {
    /// Begins an output that will stand at `target`; what killed runs left aside there and beside it is removed.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`] when another run writes to the same target, [`ErrorKind::Config`] when a committed output
    /// stands there already.
    pub fn begin(target: &Path) -> Result<Self> {
        is_free(target)?;
        Self::rehearse(target)
    }

    /// Begins an output as [`Output::begin`] does, to be abandoned: an output that stands at `target` is no hindrance.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`] when another run writes to the same target.
    pub fn rehearse(target: &Path) -> Result<Self> {
        if let Some(parent) = target.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            create_folder(parent)?;
        }
        let lock_path = beside(target, LOCK);
        let mut options = fs::OpenOptions::new();
        let options = options.create(true).truncate(false).write(true).mode(0o600);
        let lock = locked(options, &lock_path).map_err(|error| from_io(&error, &lock_path))?;
        let lock = lock.ok_or_else(|| {
            Error::new(ErrorKind::Locked, "another run writes to this output")
                .at("lock", lock_path.display())
                .hint("wait for it to end")
        })?;
        let aside = beside(target, PARTIAL);
        for left in [&aside, &beside(target, REMOVED)] {
            if left.exists() {
                fs::remove_dir_all(left).map_err(|error| from_io(&error, left))?;
            }
        }
        let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty());
        sweep(parent.unwrap_or(Path::new(".")));
        create_folder(&aside)?;
        let output = Self { aside, target: target.into(), files: Vec::new(), _lock: lock };
        create_folder(&output.stage_folder())?;
        Ok(output)
    }

    /// Folder of the stage, removed at commit.
    pub fn stage_folder(&self) -> PathBuf {
        self.aside.join(".stage")
    }

    /// Opens a file of the output; `relative` is made from validated ids only.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn create(&self, relative: &str) -> Result<OutputWriter> {
        let path = self.aside.join(relative);
        let file = self.open(&path)?;
        Ok(OutputWriter { path, relative: relative.into(), out: BufWriter::new(file), digest: Sha256::new(), bytes: 0 })
    }

    /// Most files go to a folder that is there: it is made when it turns out to be missing.
    fn open(&self, path: &Path) -> Result<File> {
        let create = || fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path);
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
    pub fn keep(&mut self, writer: OutputWriter) -> Result<()> {
        self.files.push(writer.close()?);
        Ok(())
    }

    /// Writes a whole file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&mut self, relative: &str, bytes: &[u8]) -> Result<()> {
        self.files.push(self.whole(relative, bytes)?);
        Ok(())
    }

    /// Writes whole files, each made from an item, in parallel on the rayon pool it is called in.
    ///
    /// # Errors
    /// When one cannot be made or written.
    pub fn put_all<T: Send>(
        &mut self,
        items: impl IntoParallelIterator<Item = T>,
        make: impl Fn(T) -> Result<(String, Vec<u8>)> + Sync,
    ) -> Result<()> {
        let put = |item| make(item).and_then(|(relative, bytes)| self.whole(&relative, &bytes));
        let files = items.into_par_iter().map(put).collect::<Result<Vec<OutputFile>>>()?;
        self.files.extend(files);
        Ok(())
    }

    fn whole(&self, relative: &str, bytes: &[u8]) -> Result<OutputFile> {
        let path = self.aside.join(relative);
        self.open(&path)?.write_all(bytes).map_err(|error| from_io(&error, &path))?;
        Ok(OutputFile { path: relative.into(), bytes: bytes.len() as u64, sha256: hex(&Sha256::digest(bytes)) })
    }

    /// Commits: stage away, manifest last, one rename. Returns the manifest as written.
    ///
    /// # Errors
    /// When anything cannot be made durable; the target does not exist then.
    pub fn commit(mut self, mut manifest: Manifest) -> Result<Manifest> {
        let stage = self.stage_folder();
        fs::remove_dir_all(&stage).map_err(|error| from_io(&error, &stage))?;
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
        manifest.files = std::mem::take(&mut self.files);
        manifest.run_digest = manifest.digest()?;
        let path = self.aside.join(MANIFEST);
        let mut options = fs::OpenOptions::new();
        let options = options.create_new(true).write(true).mode(0o600);
        let mut file = options.open(&path).map_err(|error| from_io(&error, &path))?;
        file.write_all(&manifest.encode()?).map_err(|error| from_io(&error, &path))?;
        sync_file_system(&file).map_err(|error| from_io(&error, &path))?;
        fs::rename(&self.aside, &self.target).map_err(|error| from_io(&error, &self.target))?;
        if let Some(parent) = self.target.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            let folder = File::open(parent).map_err(|error| from_io(&error, parent))?;
            folder.sync_all().map_err(|error| from_io(&error, parent))?;
        }
        let _ = fs::remove_file(beside(&self.target, LOCK));
        Ok(manifest)
    }

    /// Removes what was written: a dry run, or a failed one.
    pub fn abandon(self) {
        let _ = fs::remove_dir_all(&self.aside);
        let _ = fs::remove_file(beside(&self.target, LOCK));
    }
}

/// One `syncfs` for all files of the output: a hundred thousand single syncs cost minutes.
#[allow(unsafe_code)]
fn sync_file_system(file: &File) -> std::io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open for the whole call, and syncfs takes nothing else.
    if unsafe { libc::syncfs(file.as_raw_fd()) } == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
