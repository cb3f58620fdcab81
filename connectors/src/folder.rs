//! Where exports are: a folder of this machine, a folder of an object store, or a database.
//!
//! ```text
//!  Folder::Local      a path
//!  Folder::Store      a folder of an object store: ranges for Parquet, pieces in order for the rest
//!  Folder::Database   tables as if they were CSV files, with the wanted columns only
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use bytes::Bytes;
use futures::TryStreamExt;
use ieum_model::dataset::Dataset;
use ieum_model::error::{Error, Result};
use object_store::path::Path as StorePath;
use object_store::{Error as StoreError, GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use crate::archive;
use crate::database::Database;
use crate::files::{io_error, modified_nanoseconds};
use crate::store::{self, Store, from_store, told};

/// Bytes asked of a store at a time, while the piece before is being read.
const PIECE: u64 = 8 << 20;
/// Bytes asked of a store at a time, of a file that is read from any place on.
const SEEKABLE_WINDOW: u64 = 1 << 20;

/// Where files of exports are.
#[derive(Debug, Clone)]
pub enum Folder {
    /// On this machine.
    Local(PathBuf),
    /// In an object store.
    Store(Store),
    /// Tables of a database.
    Database(Arc<Database>),
}

/// Where the exports of a night are.
#[derive(Debug, Clone)]
pub struct Exports {
    /// Those of datasets that name no place.
    pub folder: Folder,
    /// Places by the name that datasets have for them.
    pub places: BTreeMap<String, Folder>,
}

impl From<&Path> for Folder {
    fn from(path: &Path) -> Self {
        Self::Local(path.to_path_buf())
    }
}

impl From<&PathBuf> for Folder {
    fn from(path: &PathBuf) -> Self {
        Self::Local(path.clone())
    }
}

impl From<&Folder> for Folder {
    fn from(folder: &Folder) -> Self {
        folder.clone()
    }
}

impl<F: Into<Folder>> From<F> for Exports {
    fn from(folder: F) -> Self {
        Self { folder: folder.into(), places: BTreeMap::new() }
    }
}

impl Exports {
    /// Where the export of a dataset is.
    ///
    /// # Errors
    /// [`ieum_model::error::ErrorKind::Config`] when it names a place that is not known.
    pub fn of(&self, dataset: &Dataset) -> Result<&Folder> {
        let place = dataset.export.as_ref().and_then(|export| export.at.place.as_ref());
        match place {
            None => Ok(&self.folder),
            Some(name) => self.places.get(name).ok_or_else(|| {
                Error::config(format!("the place `{name}` of an export is not known"))
                    .at("dataset", &dataset.code)
                    .hint(format!("write `[places.{name}]` with its `url` into the run definition"))
            }),
        }
    }
}

/// A file as it was found: its name below the folder, its bytes, and when it was last written to.
pub(crate) type Found = (String, u64, i64);

impl Folder {
    /// The files that a pattern matches, in name order.
    pub(crate) fn find(&self, pattern: &str) -> Result<Vec<Found>> {
        let mut found = match self {
            Self::Local(root) => find_local(root, pattern)?,
            Self::Store(store) => find_in_store(store, pattern)?,
            Self::Database(database) => database.find(pattern)?,
        };
        found.sort();
        found.dedup();
        Ok(found)
    }

    /// Whether there is such a file.
    pub(crate) fn is_there(&self, name: &str) -> Result<bool> {
        match self {
            Self::Local(root) => Ok(root.join(name).is_file()),
            Self::Store(store) => match head(store, name)? {
                Ok(_) => Ok(true),
                Err(StoreError::NotFound { .. }) => Ok(false),
                Err(error) => Err(from_store(&error, name)),
            },
            Self::Database(_) => Ok(false),
        }
    }

    /// Bytes of the file that a partition stands in, and when it was last written to.
    pub(crate) fn about(&self, name: &str) -> Result<(u64, i64)> {
        let name = archive::split(name).0;
        match self {
            Self::Local(root) => {
                let about = root.join(name).metadata().map_err(|error| io_error(name, &error))?;
                Ok((about.len(), modified_nanoseconds(&about)))
            }
            Self::Store(store) => {
                let meta = head(store, name)?.map_err(|error| from_store(&error, name))?;
                Ok((meta.size, nanoseconds(&meta)))
            }
            Self::Database(_) => Ok((0, 0)),
        }
    }

    /// The bytes of a file, from its start on.
    pub(crate) fn stream(&self, name: &str) -> Result<Box<dyn Read + Send>> {
        match self {
            Self::Local(root) => Ok(Box::new(File::open(root.join(name)).map_err(|error| io_error(name, &error))?)),
            Self::Store(store) => Ok(Box::new(Pieces::open(store, name)?)),
            Self::Database(database) => Ok(Box::new(database.stream(name)?)),
        }
    }

    /// A file that is read from any of its places on.
    pub(crate) fn seekable(&self, name: &str) -> Result<Seekable> {
        Ok(match self.ranges(name)? {
            RangeFile::Local(file) => Seekable::Local(file),
            RangeFile::Store(file) => Seekable::Store(Window::of(file, 0, SEEKABLE_WINDOW)),
        })
    }

    /// A file of which any range can be read.
    pub(crate) fn ranges(&self, name: &str) -> Result<RangeFile> {
        match self {
            Self::Local(root) => {
                File::open(root.join(name)).map(RangeFile::Local).map_err(|error| io_error(name, &error))
            }
            Self::Store(store) => {
                let meta = head(store, name)?.map_err(|error| from_store(&error, name))?;
                Ok(RangeFile::Store(StoreFile { store: Arc::clone(&store.store), meta: Arc::new(meta) }))
            }
            Self::Database(_) => Err(Error::config("a table of a database is no file").at("export", name)),
        }
    }

    /// The text of a small file; `None` where there is none.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>> {
        let read = match self {
            Self::Local(root) => match std::fs::read_to_string(root.join(name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                read => read,
            },
            Self::Store(store) => match head(store, name)? {
                Err(StoreError::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(from_store(&error, name)),
                Ok(_) => {
                    let mut text = String::new();
                    Pieces::open(store, name)?.read_to_string(&mut text).map(|_| text)
                }
            },
            Self::Database(_) => return Ok(None),
        };
        read.map(Some).map_err(|error| io_error(name, &error))
    }
}

fn not_below(pattern: &str) -> Error {
    Error::config("export path must stay below the exports folder").at("path", pattern)
}

fn no_pattern(error: &glob::PatternError, pattern: &str) -> Error {
    Error::config(format!("export path is not a pattern: {}", error.msg)).at("path", pattern)
}

fn find_local(root: &Path, pattern: &str) -> Result<Vec<Found>> {
    use std::path::Component;
    let inside = Path::new(pattern).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !inside {
        return Err(not_below(pattern));
    }
    let full = format!("{}/{pattern}", glob::Pattern::escape(&root.to_string_lossy()));
    let paths = glob::glob(&full).map_err(|error| no_pattern(&error, pattern))?;
    let mut found = Vec::new();
    for path in paths {
        let path = path.map_err(|error| io_error(&error.path().to_string_lossy(), error.error()))?;
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        let about = path.metadata().map_err(|error| io_error(&name, &error))?;
        if about.is_file() {
            found.push((name, about.len(), modified_nanoseconds(&about)));
        }
    }
    Ok(found)
}

fn find_in_store(store: &Store, pattern: &str) -> Result<Vec<Found>> {
    let compiled = glob::Pattern::new(pattern).map_err(|error| no_pattern(&error, pattern))?;
    if pattern.split('/').any(|part| part == "..") || pattern.starts_with('/') {
        return Err(not_below(pattern));
    }
    let is_plain = !pattern.contains(['*', '?', '[']);
    if !store.lists || is_plain {
        if !is_plain {
            return Err(Error::config("a plain HTTP server cannot be searched by a pattern")
                .at("path", pattern)
                .hint("name the file in the export's path"));
        }
        return match head(store, pattern)? {
            Ok(meta) => Ok(vec![(pattern.to_owned(), meta.size, nanoseconds(&meta))]),
            Err(StoreError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(from_store(&error, pattern)),
        };
    }
    // Only what lies below the folders that the pattern names outright.
    let fixed = pattern.split(['*', '?', '[']).next().unwrap_or_default();
    let folder = fixed.rsplit_once('/').map_or("", |(folder, _)| folder);
    let (client, below) = (Arc::clone(&store.store), path_of(store, folder));
    let listed = store::wait(async move { client.list(Some(&below)).try_collect::<Vec<ObjectMeta>>().await })?;
    let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::default() };
    let mut found = Vec::new();
    for meta in listed.map_err(|error| from_store(&error, pattern))? {
        let Some(parts) = meta.location.prefix_match(&store.prefix) else { continue };
        let name = parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/");
        if compiled.matches_with(&name, options) {
            found.push((name, meta.size, nanoseconds(&meta)));
        }
    }
    Ok(found)
}

fn path_of(store: &Store, name: &str) -> StorePath {
    store.prefix.parts().chain(StorePath::from(name).parts()).collect()
}

fn nanoseconds(meta: &ObjectMeta) -> i64 {
    meta.last_modified.timestamp_nanos_opt().unwrap_or(0)
}

fn head(store: &Store, name: &str) -> Result<Result<ObjectMeta, StoreError>> {
    let (client, path) = (Arc::clone(&store.store), path_of(store, name));
    store::wait(async move { client.head(&path).await })
}

/// A file of an object store: always the one that was found.
#[derive(Debug, Clone)]
pub(crate) struct StoreFile {
    store: Arc<dyn ObjectStore>,
    meta: Arc<ObjectMeta>,
}

impl StoreFile {
    fn options(&self, start: u64, end: u64) -> GetOptions {
        GetOptions { range: Some((start..end).into()), if_match: self.meta.e_tag.clone(), ..GetOptions::default() }
    }

    fn get(&self, start: u64, end: u64) -> io::Result<Bytes> {
        if start >= end {
            return Ok(Bytes::new());
        }
        let (file, options) = (self.clone(), self.options(start, end));
        let got = store::wait(async move { file.store.get_opts(&file.meta.location, options).await?.bytes().await });
        got.map_err(io::Error::other)?.map_err(|error| failed(&error))
    }
}

/// A store did not give what it was asked for.
#[derive(Debug)]
struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

fn failed(error: &StoreError) -> io::Error {
    io::Error::other(Failure(told(error)))
}

/// Whether storage failed, on this machine or elsewhere; the file itself may be sound. A place that no file has comes of what
/// stands in a file.
pub(crate) fn is_failure(error: &io::Error) -> bool {
    let of_storage = error.raw_os_error().is_some() && error.kind() != io::ErrorKind::InvalidInput;
    of_storage || error.get_ref().is_some_and(|inner| inner.is::<Failure>())
}

/// A file of which any range can be read.
pub(crate) enum RangeFile {
    Local(File),
    Store(StoreFile),
}

impl RangeFile {
    pub(crate) fn again(&self) -> io::Result<Self> {
        match self {
            Self::Local(file) => file.try_clone().map(Self::Local),
            Self::Store(file) => Ok(Self::Store(file.clone())),
        }
    }
}

impl Length for RangeFile {
    fn len(&self) -> u64 {
        match self {
            Self::Local(file) => Length::len(file),
            Self::Store(file) => file.meta.size,
        }
    }
}

impl ChunkReader for RangeFile {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        match self {
            Self::Local(file) => Ok(Box::new(file.get_read(start)?)),
            // For page headers, which are short and follow each other.
            Self::Store(file) => Ok(Box::new(Window::of(file.clone(), start, 64 << 10))),
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        match self {
            Self::Local(file) => file.get_bytes(start, length),
            Self::Store(file) => {
                let end = (start + length as u64).min(file.meta.size);
                let bytes = file.get(start, end).map_err(|error| ParquetError::External(Box::new(error)))?;
                if bytes.len() == length { Ok(bytes) } else { Err(ParquetError::EOF("the file ends too early".into())) }
            }
        }
    }
}

/// A file of an object store from some place on.
pub(crate) struct Window {
    file: StoreFile,
    /// Bytes asked for at a time.
    bytes: u64,
    /// Where the piece ends.
    next: u64,
    piece: Bytes,
}

impl Window {
    fn of(file: StoreFile, start: u64, bytes: u64) -> Self {
        Self { file, bytes, next: start, piece: Bytes::new() }
    }
}

impl Read for Window {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            let end = self.next.saturating_add(self.bytes).min(self.file.meta.size);
            self.piece = self.file.get(self.next, end)?;
            self.next = self.next.max(end);
        }
        let bytes = buffer.len().min(self.piece.len());
        buffer[..bytes].copy_from_slice(&self.piece.split_to(bytes));
        Ok(bytes)
    }
}

impl Seek for Window {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let held = self.piece.len() as u64;
        let now = self.next - held;
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::End(from) => self.file.meta.size.checked_add_signed(from),
            SeekFrom::Current(from) => now.checked_add_signed(from),
        };
        let place = place.ok_or(io::ErrorKind::InvalidInput)?;
        match place.checked_sub(now).filter(|ahead| *ahead <= held).and_then(|ahead| usize::try_from(ahead).ok()) {
            Some(ahead) => drop(self.piece.split_to(ahead)),
            None => (self.piece, self.next) = (Bytes::new(), place),
        }
        Ok(place)
    }
}

/// A file that is read from any of its places on.
pub(crate) enum Seekable {
    Local(File),
    Store(Window),
}

impl Read for Seekable {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Local(file) => file.read(buffer),
            Self::Store(window) => window.read(buffer),
        }
    }
}

impl Seek for Seekable {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::Local(file) => file.seek(to),
            Self::Store(window) => window.seek(to),
        }
    }
}

/// A file of an object store in pieces: the next one is fetched while one is read.
struct Pieces {
    file: StoreFile,
    /// A plain HTTP server may know no ranges.
    whole: bool,
    next: u64,
    coming: Option<Receiver<io::Result<Bytes>>>,
    piece: Bytes,
}

impl Pieces {
    fn open(store: &Store, name: &str) -> Result<Self> {
        let meta = head(store, name)?.map_err(|error| from_store(&error, name))?;
        let file = StoreFile { store: Arc::clone(&store.store), meta: Arc::new(meta) };
        let mut pieces = Self { file, whole: !store.lists, next: 0, coming: None, piece: Bytes::new() };
        pieces.ask()?;
        Ok(pieces)
    }

    /// Asks for the next piece; `coming` is `None` at the end.
    fn ask(&mut self) -> Result<()> {
        let size = self.file.meta.size;
        if self.next >= size && !(self.whole && self.next == 0 && self.coming.is_none()) {
            self.coming = None;
            return Ok(());
        }
        let file = self.file.clone();
        if self.whole {
            self.next = u64::MAX;
            self.coming = Some(store::pieces(async move {
                let options = GetOptions { if_match: file.meta.e_tag.clone(), ..GetOptions::default() };
                Ok(file.store.get_opts(&file.meta.location, options).await?.into_stream())
            })?);
            return Ok(());
        }
        let end = (self.next + PIECE).min(size);
        let options = file.options(self.next, end);
        self.next = end;
        self.coming = Some(store::pieces(async move {
            let bytes = file.store.get_opts(&file.meta.location, options).await?.bytes().await?;
            Ok(futures::stream::iter([Ok(bytes)]))
        })?);
        Ok(())
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            let Some(coming) = &self.coming else { return Ok(0) };
            match coming.recv() {
                Ok(piece) => {
                    self.piece = piece?;
                    if !self.whole {
                        self.ask().map_err(io::Error::other)?;
                    }
                }
                Err(_) => self.coming = None,
            }
        }
        let bytes = buffer.len().min(self.piece.len());
        buffer[..bytes].copy_from_slice(&self.piece.split_to(bytes));
        Ok(bytes)
    }
}

/// Asks a store whether it is there: for its list, or the server for an answer of any kind.
///
/// # Errors
/// [`ieum_model::error::ErrorKind::Key`] when it refuses the credentials, [`ieum_model::error::ErrorKind::Temporary`] when it
/// cannot be reached.
pub fn reach(folder: &Folder) -> Result<()> {
    match folder {
        Folder::Local(path) => {
            std::fs::read_dir(path).map(drop).map_err(|error| io_error(&path.to_string_lossy(), &error))
        }
        Folder::Store(store) if store.lists => {
            let (client, prefix) = (Arc::clone(&store.store), store.prefix.clone());
            let listed = store::wait(async move { client.list_with_delimiter(Some(&prefix)).await })?;
            listed.map(drop).map_err(|error| from_store(&error, &store.told))
        }
        Folder::Store(store) => match head(store, "")? {
            Ok(_) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(from_store(&error, &store.told)),
        },
        Folder::Database(database) => database.version().map(drop),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use object_store::memory::InMemory;

    use super::*;

    /// A store in memory that holds a file.
    pub(crate) fn store_of(name: &str, bytes: &[u8]) -> Folder {
        let (store, path) = (Arc::new(InMemory::new()), StorePath::from(format!("in/{name}")));
        let (client, bytes) = (Arc::clone(&store), Bytes::copy_from_slice(bytes));
        store::wait(async move { client.put(&path, bytes.into()).await }).unwrap().unwrap();
        Folder::Store(Store { store, prefix: StorePath::from("in"), told: "memory".into(), lists: true })
    }

    #[test]
    fn a_file_of_a_store_is_read_from_any_place_on() {
        let bytes: Vec<u8> = (0..=255).collect();
        let RangeFile::Store(file) = store_of("a.bin", &bytes).ranges("a.bin").unwrap() else { panic!() };
        let mut window = Window::of(file, 0, 16);
        let seeks = [
            (SeekFrom::Start(10), 10),
            (SeekFrom::Current(2), 15),
            (SeekFrom::Current(-7), 11),
            (SeekFrom::End(-2), 254),
            (SeekFrom::Start(300), 300),
            (SeekFrom::Start(31), 31),
            (SeekFrom::Current(100), 134),
        ];
        for (seek, at) in seeks {
            assert_eq!(window.seek(seek).unwrap(), at, "{seek:?}");
            let mut three = Vec::new();
            (&mut window).take(3).read_to_end(&mut three).unwrap();
            let start = usize::try_from(at).unwrap().min(bytes.len());
            assert_eq!(three, bytes[start..(start + 3).min(bytes.len())], "{seek:?}");
        }
        assert!(window.seek(SeekFrom::Current(-1000)).is_err());
    }
}
