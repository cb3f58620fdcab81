//! Which files an export has, and how to open them: plain, `.gz` and `.zst`, and as entries of archives.

use std::fs::Metadata;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;
use ieum_model::dataset::{Export, Limits};
use ieum_model::error::{Error, ErrorKind, Result};

use crate::archive;
use crate::folder::{self, Folder, Found};
use crate::limits::{Beyond, Limited, Unreadable};
use crate::utf16::{self, Order, ToUtf8};

/// Bytes asked of storage at a time.
const STORAGE_READ: usize = 256 * 1024;

/// The files that `pattern` matches below `root`, relative to it, in name order. Manifests (`.sha256`) are no exports.
///
/// # Errors
/// When the pattern is malformed or leaves `root`, or a folder cannot be listed.
pub fn find(root: impl Into<Folder>, pattern: &str) -> Result<Vec<String>> {
    let found = root.into().find(pattern)?;
    Ok(found.into_iter().map(|(name, ..)| name).filter(|name| !is_manifest(name)).collect())
}

/// The partitions of an export below `root`: its files in name order, those of changes after the others, completion markers left
/// out, and in the place of archives their entries.
///
/// # Errors
/// As [`find`], or when an archive cannot be read or has no such entry.
pub fn partitions(root: impl Into<Folder>, export: &Export) -> Result<Vec<String>> {
    let (bases, deltas) = found(&root.into(), export)?;
    Ok(bases.into_iter().chain(deltas).map(|(name, ..)| name).collect())
}

/// [`partitions`] as they were found, those of changes apart; an entry of an archive has its bytes and its time.
pub(crate) fn found(root: &Folder, export: &Export) -> Result<(Vec<Found>, Vec<Found>)> {
    let mut bases = matching(root, &export.path, export)?;
    let mut deltas: Vec<Found> = Vec::new();
    if let Some(told) = export.deltas.as_ref().filter(|_| !bases.is_empty()) {
        let plain = std::slice::from_ref(&told.path);
        for pattern in if told.dated.is_empty() { plain } else { &told.dated } {
            deltas.extend(matching(root, pattern, export)?);
        }
        bases.retain(|(name, ..)| deltas.iter().all(|(delta, ..)| delta != name));
    }
    Ok((bases, deltas))
}

fn matching(root: &Folder, pattern: &str, export: &Export) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let is_marker = |name: &str| export.control.marker.as_deref().is_some_and(|marker| name.ends_with(marker));
    for (name, bytes, modified) in root.find(pattern)? {
        if is_manifest(&name) || is_marker(&name) {
            continue;
        }
        if archive::is_archive(&name) {
            let entries = archive::entries(root, &name, export.entries.as_deref(), export.limits)?;
            found.extend(entries.into_iter().map(|entry| (entry, bytes, modified)));
        } else {
            found.push((name, bytes, modified));
        }
    }
    Ok(found)
}

fn is_manifest(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "sha256")
}

/// The first file of `names` beside which no completion marker stands: `a.csv.gz` has `a.csv.gz.fin`, `a.csv.fin` or `a.fin`.
pub(crate) fn unmarked<'n>(root: &Folder, names: &'n [String], marker: &str) -> Result<Option<&'n str>> {
    for name in names {
        let delivered = archive::split(name).0;
        let (folder, file) = delivered.rsplit_once('/').map_or(("", delivered), |(folder, file)| (folder, file));
        let slash = if folder.is_empty() { "" } else { "/" };
        let ends = file.match_indices('.').map(|(at, _)| at).filter(|at| *at > 0).chain([file.len()]);
        let mut is_marked = false;
        for end in ends {
            is_marked = is_marked || root.is_there(&format!("{folder}{slash}{}{marker}", &file[..end]))?;
        }
        if !is_marked {
            return Ok(Some(name));
        }
    }
    Ok(None)
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
    order: Option<Order>,
}

impl Source {
    /// Opens `name` below `root`; the extension says how it is compressed.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(root: impl Into<Folder>, name: &str) -> Result<Self> {
        Self::within(&root.into(), name, Limits::default())
    }

    /// Opens a partition of `export` below `root`; one in UTF-16 is read as UTF-8.
    ///
    /// # Errors
    /// As [`Source::open`], or when a file in UTF-16 does not tell its byte order.
    pub fn of_export(root: impl Into<Folder>, name: &str, export: &Export) -> Result<Self> {
        let mut source = Self::within(&root.into(), name, export.limits)?;
        if export.encoding.is_utf16() {
            let mut head = [0; 2];
            let filled = source.fill(&mut head)?;
            source.decompressed = 0;
            let order = utf16::order(export.encoding, &head[..filled]).ok_or_else(|| {
                Error::contract("file does not start with the byte order mark of UTF-16")
                    .at("export", name)
                    .hint("write `encoding = \"utf-16le\"` or `\"utf-16be\"` if it is in UTF-16 without one")
            })?;
            let head = io::Cursor::new(head[..filled].to_vec());
            let inner = std::mem::replace(&mut source.stream, Box::new(io::empty()));
            source.stream = Box::new(ToUtf8::new(head.chain(inner), order));
            source.order = Some(order);
        }
        Ok(source)
    }

    fn within(root: &Folder, name: &str, limits: Limits) -> Result<Self> {
        let storage = Arc::new(AtomicU64::new(0));
        let (file, entry) = archive::split(name);
        let base: Box<dyn Read + Send> = match entry {
            Some(entry) => archive::open(root, file, entry, limits, &storage)?,
            None => Box::new(Counted::new(root.stream(name)?, &storage)),
        };
        let (stream, is_compressed) = decompressed(base, name, limits, &storage)?;
        let compressed = is_compressed || entry.is_some();
        Ok(Self { name: name.to_owned(), stream, storage, decompressed: 0, compressed, order: None })
    }

    /// Opens a partition whose text is none of the export's `encoding`.
    ///
    /// # Errors
    /// As [`Source::open`].
    pub(crate) fn packed(root: &Folder, name: &str, limits: Limits) -> Result<Self> {
        Self::within(root, name, limits)
    }

    /// The stream, for a format that reads another one out of it; [`Source::put_stream`] gives that back.
    pub(crate) fn take_stream(&mut self) -> Box<dyn Read + Send> {
        std::mem::replace(&mut self.stream, Box::new(io::empty()))
    }

    /// From here on the source is this stream.
    pub(crate) fn put_stream(&mut self, stream: Box<dyn Read + Send>) {
        self.stream = stream;
    }

    /// Counts the bytes that come from storage.
    pub(crate) fn storage(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.storage)
    }

    /// The byte order of a file in UTF-16, whose text comes in UTF-8.
    pub fn order(&self) -> Option<Order> {
        self.order
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

    /// What an error of the stream is.
    pub(crate) fn broken(&self, error: &io::Error) -> Error {
        if let Some(unreadable) = error.get_ref().and_then(|inner| inner.downcast_ref::<Unreadable>()) {
            let error = Error::contract(unreadable.message.clone()).at("export", &self.name);
            return error.at("byte_offset", self.storage_bytes()).hint(unreadable.hint);
        }
        if let Some(beyond) = Beyond::of(error) {
            return beyond.told(&self.name);
        }
        if !self.compressed || folder::is_failure(error) {
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

/// The stream that `base` is by the extension of `name`, and whether it is compressed.
pub(crate) fn decompressed(
    base: Box<dyn Read + Send>,
    name: &str,
    limits: Limits,
    storage: &Arc<AtomicU64>,
) -> Result<(Box<dyn Read + Send>, bool)> {
    let buffered = |base| BufReader::with_capacity(STORAGE_READ, base);
    let stream: Box<dyn Read + Send> = match Path::new(name).extension().and_then(|extension| extension.to_str()) {
        Some("gz" | "tgz") => Box::new(MultiGzDecoder::new(buffered(base))),
        Some("zst") => Box::new(zstd::Decoder::with_buffer(buffered(base)).map_err(|error| io_error(name, &error))?),
        _ => return Ok((base, false)),
    };
    Ok((Box::new(Limited::new(stream, limits, storage)), true))
}

/// Counts the bytes that come from storage.
pub(crate) struct Counted<R> {
    inner: R,
    bytes: Arc<AtomicU64>,
}

impl<R> Counted<R> {
    pub(crate) fn new(inner: R, bytes: &Arc<AtomicU64>) -> Self {
        Self { inner, bytes: Arc::clone(bytes) }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.inner.read(buffer)?;
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

impl<R: io::Seek> io::Seek for Counted<R> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}
