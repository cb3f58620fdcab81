//! A file that only grows, below the stage folder: what the memory limit does not hold, and what a run that goes on needs.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use ieum_model::error::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::from_io;
use crate::manifest::hex;

/// The file; it appears when it is first needed. Several threads may append and read.
pub struct Spill {
    path: PathBuf,
    file: OnceLock<std::result::Result<File, Error>>,
    end: AtomicU64,
    /// Whether a run before this one may have written to the file.
    continued: bool,
}

/// Bytes that were appended at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub struct Segment {
    offset: u64,
    /// How many they are.
    pub bytes: usize,
    sha256: [u8; 32],
}

/// A segment as it stands in the journal: offset, bytes, SHA-256 in hexadecimal.
type Written = (u64, usize, String);

impl From<Segment> for Written {
    fn from(segment: Segment) -> Self {
        (segment.offset, segment.bytes, hex(&segment.sha256))
    }
}

impl TryFrom<Written> for Segment {
    type Error = &'static str;

    fn try_from((offset, bytes, digest): Written) -> std::result::Result<Self, Self::Error> {
        const EXPECTED: &str = "expected 64 hexadecimal digits";
        let mut sha256 = [0; 32];
        if digest.len() != 2 * sha256.len() || !digest.is_ascii() {
            return Err(EXPECTED);
        }
        for (place, byte) in sha256.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digest[2 * place..2 * place + 2], 16).map_err(|_| EXPECTED)?;
        }
        Ok(Self { offset, bytes, sha256 })
    }
}

impl Segment {
    /// Where it ends in the file.
    pub fn end(&self) -> u64 {
        self.offset + self.bytes as u64
    }
}

impl Spill {
    /// A spill file at `path`, which does not exist.
    pub fn new(path: PathBuf) -> Self {
        Self { path, file: OnceLock::new(), end: AtomicU64::new(0), continued: false }
    }

    /// The spill file of a run that goes on: what stands before `end` is kept, what stands behind it is written over.
    pub fn continued(path: PathBuf, end: u64) -> Self {
        Self { path, file: OnceLock::new(), end: AtomicU64::new(end), continued: true }
    }

    /// Bytes of the file so far.
    pub fn bytes(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    fn file(&self) -> Result<&File> {
        let open = || {
            let mut options = OpenOptions::new();
            let options =
                options.create_new(!self.continued).create(true).truncate(false).read(true).write(true).mode(0o600);
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
        Ok(Segment { offset, bytes: bytes.len(), sha256: Sha256::digest(bytes).into() })
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

    /// The bytes of a segment that an earlier run wrote; `None` where they are not what it wrote.
    pub fn read_again(&self, segment: Segment) -> Option<Vec<u8>> {
        let is_long_enough = |file: &File| file.metadata().is_ok_and(|about| about.len() >= segment.end());
        self.file().ok().filter(|file| is_long_enough(file))?;
        self.read(segment).ok().filter(|bytes| Sha256::digest(bytes).as_slice() == segment.sha256)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_read_again_only_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spill");
        let spill = Spill::new(path.clone());
        let (first, second) = (spill.append(b"first").unwrap(), spill.append(b"second").unwrap());
        let text = serde_json::to_string(&first).unwrap();
        assert_eq!(serde_json::from_str::<Segment>(&text).unwrap(), first);
        assert!(serde_json::from_str::<Segment>(&text.replace('"', "'")).is_err());

        let spill = Spill::continued(path.clone(), first.end());
        assert_eq!(spill.read_again(first).unwrap(), b"first");
        assert_eq!(spill.read_again(second).unwrap(), b"second");
        spill.append(b"other").unwrap();
        assert_eq!(spill.read_again(second), None, "it was written over");
        std::fs::write(&path, b"fir").unwrap();
        assert_eq!(Spill::continued(path, 0).read_again(first), None, "it is cut off");
    }
}
