//! journal: what a run has done, in an append-only file beside its output, so that a run that was stopped goes on.
//!
//! ```text
//!  begun ─► wave ─► gathered, gathered, … ─► assembling ─► shard, shard, … ─► committing
//!  │                └─ rows, keys and rejects of the reading stand in the files of the stage, each piece with its digest
//!  └─ what the run is made from: a run goes on only from the same
//! ```
//!
//! Entries are not made durable one by one. A process that is killed loses nothing that it wrote; after a loss of power the
//! digests tell which readings stand aside as they were written, and the others are read again. What stands of the output is
//! compared with what the run makes, byte by byte, so its entries only tell how far the run came.

pub mod begun;
pub mod chain;
pub mod entry;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use ieum_model::error::{Error, Result};

pub use begun::Begun;
pub use chain::Journal;
pub use entry::{Entry, KeptReading};

use crate::course::FoundKey;
use crate::spill::{Segment, Spill};
use crate::steps::reached;

/// Files of the stage folder: the journal, staged rows, rejected rows, and keys that bridges gave.
pub const JOURNAL: &str = "journal.ndjson";
/// See [`JOURNAL`].
pub const ROWS: &str = "rows";
/// See [`JOURNAL`].
pub const REJECTS: &str = "rejects";
/// See [`JOURNAL`].
pub const KEYS: &str = "keys";
/// Whose the lock in a store is that the output is delivered to.
pub const OWNER: &str = "owner";

/// How far a run is, written down as it goes.
pub struct Progress {
    /// `None` for a dry run: it cannot go on.
    journal: Option<Journal>,
    /// Readings that an earlier attempt gathered.
    kept: BTreeMap<String, KeptReading>,
    keys: Spill,
    resumed: AtomicU64,
}

impl Progress {
    /// That of a run which writes nothing down.
    pub fn untold(stage: &Path) -> Self {
        let keys = Spill::new(stage.join(KEYS));
        Self { journal: None, kept: BTreeMap::new(), keys, resumed: AtomicU64::new(0) }
    }

    /// That of a run whose journal is `journal`, with the entries that stand in it already.
    ///
    /// # Errors
    /// When what the run was made from has changed, and when the journal does not take the next entry.
    pub fn written(journal: Journal, entries: Vec<Entry>, now: Begun, stage: &Path) -> Result<Self> {
        let mut entries = entries.into_iter();
        let goes_on = match entries.next() {
            None => false,
            Some(Entry::Begun(earlier)) => now.goes_on_from(&earlier).map(|()| true)?,
            Some(_) => return Err(not_begun()),
        };
        journal.append(&if goes_on { Entry::Resumed } else { Entry::Begun(Box::new(now)) })?;
        reached("begun");
        let gathered = |entry| match entry {
            Entry::Gathered(reading) => Some((reading.reading.clone(), *reading)),
            _ => None,
        };
        let kept: BTreeMap<String, KeptReading> = entries.filter_map(gathered).collect();
        let ends = kept.values().flat_map(|reading| reading.keys.iter().chain(&reading.unreadable)).map(Segment::end);
        let keys = Spill::continued(stage.join(KEYS), ends.max().unwrap_or(0));
        Ok(Self { journal: Some(journal), kept, keys, resumed: AtomicU64::new(0) })
    }

    /// Whether the run can go on after it was stopped.
    pub fn is_written(&self) -> bool {
        self.journal.is_some()
    }

    /// Where the pieces that readings keep in the file of staged rows end.
    pub fn rows_end(&self) -> u64 {
        let segments = self.kept.values().flat_map(|reading| &reading.rows);
        segments.map(|(_, segment)| segment.end()).max().unwrap_or(0)
    }

    /// Where the pieces that readings keep in the file of rejects end.
    pub fn rejects_end(&self) -> u64 {
        let segments = self.kept.values().flat_map(|reading| &reading.rejects).flat_map(|(_, segments)| segments);
        segments.map(Segment::end).max().unwrap_or(0)
    }

    /// How many readings were not read again.
    pub fn readings_resumed(&self) -> u64 {
        self.resumed.load(Ordering::Relaxed)
    }

    /// Writes an entry.
    ///
    /// # Errors
    /// When the journal does not take it.
    pub fn note(&self, entry: &Entry) -> Result<()> {
        self.journal.as_ref().map_or(Ok(()), |journal| journal.append(entry))
    }

    /// What an earlier attempt kept of a reading.
    pub(crate) fn kept(&self, reading: &str) -> Option<&KeptReading> {
        self.kept.get(reading)
    }

    /// The keys and unreadable ordinals of a kept reading; `None` where they do not stand as they were written.
    pub(crate) fn kept_keys(&self, kept: &KeptReading) -> Option<(Vec<FoundKey>, Vec<u32>)> {
        let bytes = |segment: Option<Segment>| match segment {
            Some(segment) => self.keys.read_again(segment),
            None => Some(Vec::new()),
        };
        Some((read_keys(&bytes(kept.keys)?)?, read_ordinals(&bytes(kept.unreadable)?)?))
    }

    /// Counts a reading that was not read again.
    pub(crate) fn resumes(&self) {
        self.resumed.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes aside what a reading gave beside rows and rejects, and tells the journal that it is gathered.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub(crate) fn keep(&self, kept: KeptReading, keys: &[FoundKey], unreadable: &[u32]) -> Result<()> {
        if !self.is_written() {
            return Ok(());
        }
        reached("reading.rows_aside");
        let aside = |bytes: &[u8]| if bytes.is_empty() { Ok(None) } else { self.keys.append(bytes).map(Some) };
        let kept = KeptReading {
            keys: aside(&written_keys(keys))?,
            unreadable: aside(&written_ordinals(unreadable))?,
            ..kept
        };
        reached("reading.aside");
        self.note(&Entry::Gathered(Box::new(kept)))?;
        reached("reading.kept");
        Ok(())
    }
}

/// A journal whose first entry is not what a run begins with.
pub(crate) fn not_begun() -> Error {
    Error::new(
        ieum_model::error::ErrorKind::Integrity,
        "the journal of an unfinished run does not tell what it began from",
    )
}

fn written_keys(keys: &[FoundKey]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for FoundKey { request, bridge, key } in keys {
        bytes.extend_from_slice(&request.to_le_bytes());
        bytes.extend_from_slice(&bridge.to_le_bytes());
        bytes.extend_from_slice(&(key.len() as u64).to_le_bytes());
        bytes.extend_from_slice(key.as_bytes());
    }
    bytes
}

fn read_keys(mut bytes: &[u8]) -> Option<Vec<FoundKey>> {
    let mut keys = Vec::new();
    while !bytes.is_empty() {
        let (request, rest) = bytes.split_first_chunk()?;
        let (bridge, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (key, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        let key = String::from_utf8(key.to_vec()).ok()?;
        keys.push(FoundKey { request: u32::from_le_bytes(*request), bridge: u16::from_le_bytes(*bridge), key });
        bytes = rest;
    }
    Some(keys)
}

fn written_ordinals(ordinals: &[u32]) -> Vec<u8> {
    ordinals.iter().flat_map(|ordinal| ordinal.to_le_bytes()).collect()
}

fn read_ordinals(bytes: &[u8]) -> Option<Vec<u32>> {
    let (ordinals, rest) = bytes.as_chunks();
    rest.is_empty().then(|| ordinals.iter().map(|ordinal| u32::from_le_bytes(*ordinal)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_ordinals_are_read_as_they_were_written() {
        let key = |request, bridge, key: &str| FoundKey { request, bridge, key: key.into() };
        let keys = vec![key(7, 1, "1100000001"), key(u32::MAX, u16::MAX, "12가3456"), key(0, 0, "")];
        let bytes = written_keys(&keys);
        assert_eq!(read_keys(&bytes).unwrap(), keys);
        assert!(read_keys(&bytes[..bytes.len() - 1]).is_none());
        assert_eq!(read_ordinals(&written_ordinals(&[3, u32::MAX])).unwrap(), [3, u32::MAX]);
        assert!(read_ordinals(&[1, 2, 3]).is_none());
    }
}
