//! A file that only grows, below the stage folder: what the memory limit does not hold.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use ieum_model::error::{Error, Result};

use crate::from_io;

/// The file; it appears when it is first needed. Several threads may append and read.
pub struct Spill {
    path: PathBuf,
    file: OnceLock<std::result::Result<File, Error>>,
    end: AtomicU64,
}

/// Bytes that were appended at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    offset: u64,
    /// How many they are.
    pub bytes: usize,
}

impl Spill {
    /// A spill file at `path`, which does not exist.
    pub fn new(path: PathBuf) -> Self {
        Self { path, file: OnceLock::new(), end: AtomicU64::new(0) }
    }

    /// Bytes of the file so far.
    pub fn bytes(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    fn file(&self) -> Result<&File> {
        let open = || {
            let mut options = OpenOptions::new();
            let options = options.create_new(true).read(true).write(true).mode(0o600);
            options.open(&self.path).map_err(|error| from_io(&error, &self.path))
        };
        self.file.get_or_init(open).as_ref().map_err(Clone::clone)
    }

    /// Appends bytes; where they stand.
    ///
    /// # Errors
    /// When the disk does not take them.
    pub fn append(&self, bytes: &[u8]) -> Result<Segment> {
        let offset = self.end.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.file()?.write_all_at(bytes, offset).map_err(|error| from_io(&error, &self.path))?;
        Ok(Segment { offset, bytes: bytes.len() })
    }

    /// The bytes of a segment.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&self, segment: Segment) -> Result<Vec<u8>> {
        let mut bytes = vec![0; segment.bytes];
        self.file()?.read_exact_at(&mut bytes, segment.offset).map_err(|error| from_io(&error, &self.path))?;
        Ok(bytes)
    }

    /// A segment, to be read piece by piece.
    pub fn reader(&self, segment: Segment) -> SegmentReader<'_> {
        SegmentReader { spill: self, offset: segment.offset, left: segment.bytes }
    }
}

/// Reads a segment from its start to its end.
pub struct SegmentReader<'a> {
    spill: &'a Spill,
    offset: u64,
    left: usize,
}

impl Read for SegmentReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let wanted = buffer.len().min(self.left);
        let file = self.spill.file().map_err(|error| std::io::Error::other(error.message))?;
        file.read_exact_at(&mut buffer[..wanted], self.offset)?;
        (self.offset, self.left) = (self.offset + wanted as u64, self.left - wanted);
        Ok(wanted)
    }
}
