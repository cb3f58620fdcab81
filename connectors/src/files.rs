//! Which files an export has, and how to open them: plain, `.gz` and `.zst`.

use std::fs::{File, Metadata};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;
use ieum_model::dataset::Export;
use ieum_model::error::{Error, ErrorKind, Result};

/// Bytes asked of storage at a time.
const STORAGE_READ: usize = 256 * 1024;

/// The files that `pattern` matches below `root`, relative to it, in name order. Manifests (`.sha256`) are no exports.
///
/// # Errors
/// When the pattern is malformed or leaves `root`, or a folder cannot be listed.
pub fn find(root: &Path, pattern: &str) -> Result<Vec<String>> {
    let inside = Path::new(pattern).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !inside {
        return Err(Error::config("export path must stay below the exports folder").at("path", pattern));
    }
    let full = format!("{}/{pattern}", glob::Pattern::escape(&root.to_string_lossy()));
    let paths = glob::glob(&full)
        .map_err(|error| Error::config(format!("export path is not a pattern: {}", error.msg)).at("path", pattern))?;
    let mut names = Vec::new();
    for path in paths {
        let path = path.map_err(|error| io_error(&error.path().to_string_lossy(), error.error()))?;
        let relative = path.strip_prefix(root).unwrap_or(&path);
        let is_manifest = path.extension().is_some_and(|extension| extension == "sha256");
        if !is_manifest && path.is_file() {
            names.push(relative.to_string_lossy().into_owned());
        }
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// The files of an export: what its path matches below `root`, completion markers left out.
///
/// # Errors
/// As [`find`].
pub(crate) fn of(root: &Path, export: &Export) -> Result<Vec<String>> {
    let mut names = find(root, &export.path)?;
    if let Some(marker) = &export.control.marker {
        names.retain(|name| !name.ends_with(marker));
    }
    Ok(names)
}

/// The first file of `names` beside which no completion marker stands: `a.csv.gz` has `a.csv.gz.fin`, `a.csv.fin` or `a.fin`.
pub(crate) fn unmarked<'n>(root: &Path, names: &'n [String], marker: &str) -> Option<&'n str> {
    let is_marked = |name: &str| {
        let (folder, file) = name.rsplit_once('/').map_or(("", name), |(folder, file)| (folder, file));
        let ends = file.match_indices('.').map(|(at, _)| at).filter(|at| *at > 0).chain([file.len()]);
        ends.map(|end| format!("{}{marker}", &file[..end])).any(|beside| root.join(folder).join(beside).is_file())
    };
    names.iter().map(String::as_str).find(|name| !is_marked(name))
}

/// Bytes on storage of each file of `names`.
///
/// # Errors
/// When a file cannot be looked at.
pub fn sizes(root: &Path, names: &[String]) -> Result<Vec<u64>> {
    let size =
        |name: &String| root.join(name).metadata().map(|meta| meta.len()).map_err(|error| io_error(name, &error));
    names.iter().map(size).collect()
}

/// When each file of `names` was last written to, in nanoseconds since 1970-01-01 UTC.
///
/// # Errors
/// When a file cannot be looked at.
pub fn modified(root: &Path, names: &[String]) -> Result<Vec<i64>> {
    let modified = |name: &String| match root.join(name).metadata() {
        Ok(about) => Ok(modified_nanoseconds(&about)),
        Err(error) => Err(io_error(name, &error)),
    };
    names.iter().map(modified).collect()
}

pub(crate) fn modified_nanoseconds(about: &Metadata) -> i64 {
    const NANOSECONDS: i64 = 1_000_000_000;
    about.mtime().saturating_mul(NANOSECONDS).saturating_add(about.mtime_nsec())
}

/// What to do about a file that cannot be read.
pub(crate) fn readable(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::PermissionDenied => "let the account of the run read the file and its folders",
        io::ErrorKind::NotFound => "the file went away after it was found; run again once it is delivered whole",
        _ => "check the storage, then run again",
    }
}

/// A storage failure that a retry may help.
pub(crate) fn io_error(name: &str, error: &io::Error) -> Error {
    Error::new(ErrorKind::Temporary, format!("cannot read: {error}")).at("export", name).hint(readable(error.kind()))
}

/// A decompressed byte stream that knows how much of its file it has read.
pub struct Source {
    name: String,
    stream: Box<dyn Read + Send>,
    storage: Arc<AtomicU64>,
    decompressed: u64,
    compressed: bool,
}

impl Source {
    /// Opens `name` below `root`; the extension says how it is compressed.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(root: &Path, name: &str) -> Result<Self> {
        let file = File::open(root.join(name)).map_err(|error| io_error(name, &error))?;
        let storage = Arc::new(AtomicU64::new(0));
        let counted = Counted { inner: file, bytes: Arc::clone(&storage) };
        let (stream, compressed): (Box<dyn Read + Send>, bool) = match Path::new(name).extension() {
            Some(extension) if extension == "gz" => {
                (Box::new(MultiGzDecoder::new(BufReader::with_capacity(STORAGE_READ, counted))), true)
            }
            Some(extension) if extension == "zst" => {
                let buffered = BufReader::with_capacity(STORAGE_READ, counted);
                let decoder = zstd::Decoder::with_buffer(buffered).map_err(|error| io_error(name, &error))?;
                (Box::new(decoder), true)
            }
            _ => (Box::new(counted), false),
        };
        Ok(Self { name: name.to_owned(), stream, storage, decompressed: 0, compressed })
    }

    /// The file's name below the exports folder.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes read from storage so far.
    pub fn storage_bytes(&self) -> u64 {
        self.storage.load(Ordering::Relaxed)
    }

    /// Fills `buffer` as far as the stream reaches; fewer bytes mean its end.
    ///
    /// # Errors
    /// [`ErrorKind::Contract`] when a compressed file is cut off or damaged, [`ErrorKind::Temporary`] when storage fails.
    pub fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.stream.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(bytes) => {
                    filled += bytes;
                    self.decompressed += bytes as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(&error)),
            }
        }
        Ok(filled)
    }

    fn broken(&self, error: &io::Error) -> Error {
        if !self.compressed || error.raw_os_error().is_some() {
            return io_error(&self.name, error);
        }
        let what = if error.kind() == io::ErrorKind::UnexpectedEof { "cut off" } else { "damaged" };
        Error::contract(format!("compressed file is {what}"))
            .at("export", &self.name)
            .at("byte_offset", self.storage_bytes())
            .at("decompressed_offset", self.decompressed)
            .hint("ask the holder to deliver the file again")
    }
}

struct Counted<R> {
    inner: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.inner.read(buffer)?;
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}
