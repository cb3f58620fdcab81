//! Checksums of a file's blocks: what is read of a copy is compared with what was written, however little it is.
//!
//! ```text
//!  0-rrno.parquet       ┌ 4 KiB ┬ 4 KiB ┬ 4 KiB ┬ …
//!  0-rrno.parquet.sums  └ sum ──┴ sum ──┴ sum ──┴ … ─ sum of these
//! ```
//!
//! Sums are the lower half of XXH64: they find what storage spoils, not what someone forges. (A CRC-32 in portable code took
//! an eighth of a staged night.)

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::Hasher;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, Length};
use twox_hash::XxHash64;

use super::Unusable;

/// Bytes of a block: what storage reads at least, so that a checksum never costs a further read.
const BLOCK: u64 = 4096;
/// Bytes of a checksum.
const SUM: usize = 4;
/// Bytes that are checked at a time.
const STRETCH: u64 = 1 << 20;

fn sum(bytes: &[u8]) -> [u8; SUM] {
    lower_half(XxHash64::oneshot(0, bytes))
}

fn lower_half(sum: u64) -> [u8; SUM] {
    let [a, b, c, d, ..] = sum.to_le_bytes();
    [a, b, c, d]
}

/// Writes on, and takes the checksum of every block.
pub(super) struct Summing<W> {
    inner: W,
    block: XxHash64,
    filled: u64,
    sums: Vec<u8>,
    bytes: u64,
}

impl<W: Write> Summing<W> {
    pub(super) fn new(inner: W) -> Self {
        Self { inner, block: XxHash64::with_seed(0), filled: 0, sums: Vec::new(), bytes: 0 }
    }

    fn close_block(&mut self) {
        self.sums.extend_from_slice(&lower_half(self.block.finish()));
        self.block = XxHash64::with_seed(0);
        self.filled = 0;
    }

    /// The writer below, the bytes written, and the content of the file of checksums.
    pub(super) fn finish(mut self) -> (W, u64, Vec<u8>) {
        if self.filled > 0 {
            self.close_block();
        }
        let of_sums = sum(&self.sums);
        self.sums.extend_from_slice(&of_sums);
        (self.inner, self.bytes, self.sums)
    }
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        let mut rest = &bytes[..written];
        while !rest.is_empty() {
            let room = usize::try_from(BLOCK - self.filled).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.block.write(now);
            self.filled += now.len() as u64;
            if self.filled == BLOCK {
                self.close_block();
            }
            rest = later;
        }
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

struct Checked {
    file: File,
    length: u64,
    sums: Vec<u8>,
}

/// A file whose blocks are compared with their checksums when they are read.
#[derive(Clone)]
pub(super) struct Blocks {
    checked: Arc<Checked>,
    /// Bytes read from storage.
    read: Arc<AtomicU64>,
    counts: bool,
    /// Parts that were read and checked already, by their start.
    held: Arc<BTreeMap<u64, Bytes>>,
}

/// Name of the file of checksums beside the file called `name`.
pub(super) fn sums_name(name: &str) -> String {
    format!("{name}.sums")
}

impl Blocks {
    /// Opens a file of `length` bytes.
    pub(super) fn open(folder: &Path, name: &str, length: u64) -> Result<Self, Unusable> {
        let file = File::open(folder.join(name))?;
        let sums = fs::read(folder.join(sums_name(name)))?;
        let expected = usize::try_from(length.div_ceil(BLOCK)).ok().map(|blocks| (blocks + 1) * SUM);
        let whole = expected == Some(sums.len()) && file.metadata()?.len() == length;
        if !whole || sums.split_last_chunk().is_none_or(|(sums, last)| sum(sums) != *last) {
            return Err(Unusable::new(format!("`{name}` is not as long as it was written, or its checksums are not")));
        }
        let read = Arc::new(AtomicU64::new(sums.len() as u64));
        Ok(Self { checked: Arc::new(Checked { file, length, sums }), read, counts: true, held: Arc::default() })
    }

    /// Bytes read from storage so far, the checksums included.
    pub(super) fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// The same file, for reading again what was read, checked and counted already.
    pub(super) fn again(&self) -> Self {
        Self { counts: false, ..self.clone() }
    }

    /// Reads and checks parts of the file, which ascend, and gives the file to read them from again: from memory, as far as
    /// that reaches. Parts that lie close are read together.
    pub(super) fn hold(&self, parts: impl IntoIterator<Item = Range<u64>>) -> Result<Self, Unusable> {
        /// Bytes that are held until they are decoded; the others are read once more.
        const HELD: u64 = 16 << 20;
        let mut close: Vec<Range<u64>> = Vec::new();
        for part in parts {
            match close.last_mut() {
                Some(last) if part.start >= last.start && part.start <= last.end + BLOCK => {
                    last.end = last.end.max(part.end);
                }
                _ => close.push(part),
            }
        }
        let (mut held, mut bytes) = (BTreeMap::new(), 0);
        for part in close {
            bytes += part.end - part.start;
            if bytes <= HELD {
                held.insert(part.start, self.read(part)?);
            } else {
                self.check(part)?;
            }
        }
        Ok(Self { held: Arc::new(held), ..self.again() })
    }

    fn held(&self, part: &Range<u64>) -> Option<Bytes> {
        let (start, held) = self.held.range(..=part.start).next_back()?;
        let from = usize::try_from(part.start - start).ok()?;
        let to = usize::try_from(part.end - start).ok().filter(|to| *to <= held.len())?;
        (from <= to).then(|| held.slice(from..to))
    }

    /// Reads and checks a part of the file, a stretch at a time.
    pub(super) fn check(&self, part: Range<u64>) -> Result<(), Unusable> {
        let mut at = part.start;
        while at < part.end {
            let end = part.end.min(at + STRETCH);
            self.read(at..end)?;
            at = end;
        }
        Ok(())
    }

    /// Reads and checks the whole file.
    pub(super) fn check_all(&self) -> Result<(), Unusable> {
        self.check(0..self.checked.length)
    }

    /// Reads and checks a part of the file.
    fn read(&self, part: Range<u64>) -> io::Result<Bytes> {
        if let Some(held) = self.held(&part) {
            return Ok(held);
        }
        let Checked { file, length, sums } = &*self.checked;
        let start = part.start / BLOCK * BLOCK;
        let end = (*length).min(part.end.div_ceil(BLOCK) * BLOCK);
        if part.end > *length || part.start > part.end {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let place = |at: u64| usize::try_from(at - start).map_err(io::Error::other);
        let mut buffer = vec![0; place(end)?];
        file.read_exact_at(&mut buffer, start)?;
        if self.counts {
            self.read.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        }
        let first = usize::try_from(start / BLOCK).map_err(io::Error::other)? * SUM;
        let promised = sums.get(first..).unwrap_or_default().chunks_exact(SUM);
        let found = buffer.chunks(usize::try_from(BLOCK).unwrap_or(usize::MAX)).map(sum);
        if found.zip(promised).any(|(found, promised)| found != promised) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a block is not as it was written"));
        }
        Ok(Bytes::from(buffer).slice(place(part.start)?..place(part.end)?))
    }
}

impl Length for Blocks {
    fn len(&self) -> u64 {
        self.checked.length
    }
}

impl ChunkReader for Blocks {
    type T = Onward;

    fn get_read(&self, start: u64) -> ParquetResult<Onward> {
        Ok(Onward { blocks: self.clone(), at: start })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        self.read(start..start.saturating_add(length as u64)).map_err(|error| ParquetError::External(Box::new(error)))
    }
}

/// Reads on from a place.
pub(super) struct Onward {
    blocks: Blocks,
    at: u64,
}

impl Read for Onward {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let end = self.blocks.len().min(self.at + buffer.len() as u64);
        let bytes = self.blocks.read(self.at..end)?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        self.at = end;
        Ok(bytes.len())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn written(length: usize) -> (tempfile::TempDir, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..length).map(|at| (at * 7 % 251) as u8).collect();
        let mut summing = Summing::new(Vec::new());
        for part in bytes.chunks(1000) {
            summing.write_all(part).unwrap();
        }
        let (inner, count, sums) = summing.finish();
        assert_eq!((&inner, count), (&bytes, length as u64));
        fs::write(folder.path().join("a"), &bytes).unwrap();
        fs::write(folder.path().join("a.sums"), sums).unwrap();
        (folder, bytes)
    }

    #[test]
    fn any_part_of_a_whole_file_is_read_as_it_was_written() {
        for length in [0, 1, 4095, 4096, 4097, 20_000] {
            let (folder, bytes) = written(length);
            let blocks = Blocks::open(folder.path(), "a", length as u64).unwrap();
            blocks.check_all().unwrap();
            for (start, end) in [(0, length), (length / 2, length), (length / 3, length / 2)] {
                assert_eq!(blocks.get_bytes(start as u64, end - start).unwrap(), bytes[start..end]);
            }
            assert!(blocks.get_bytes(length as u64, 1).is_err());
        }
    }

    #[test]
    fn one_flipped_bit_is_found_where_it_is_read_and_nowhere_else() {
        let (folder, mut bytes) = written(20_000);
        bytes[9000] ^= 1;
        fs::write(folder.path().join("a"), &bytes).unwrap();
        let blocks = Blocks::open(folder.path(), "a", 20_000).unwrap();
        assert!(blocks.get_bytes(0, 8192).is_ok() && blocks.get_bytes(12_288, 5).is_ok());
        assert!(blocks.get_bytes(12_000, 5).is_err());
        assert!(blocks.check_all().is_err());
        assert!(Blocks::open(folder.path(), "a", 19_999).is_err());
    }
}
