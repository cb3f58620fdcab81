//! Rows that are kept aside and decoded later as if they still stood in their file.
//!
//! A row that cannot be read as a whole may still be asked for in part, and what is told of it depends on what is asked:
//! so it is kept as it stands in the file, and its own format decides anew each time.

use arrow::record_batch::RecordBatch;
use ieum_model::connector::{Connector, ReadCounts, Reject, ScanSpec};
use ieum_model::error::Result;

/// Bytes read at a time of a file of which only the head is wanted.
pub(crate) const HEAD_CHUNK: usize = 64 * 1024;

/// A row and the place it had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRow {
    /// As in [`Reject::line`].
    pub line: u64,
    /// As in [`Reject::byte_offset`].
    pub byte_offset: u64,
    /// What [`Replay::keep`] made of it.
    pub bytes: Vec<u8>,
    /// Rule and reason of a row that is rejected whatever is asked of it, because its shape is at fault.
    pub shapeless: Option<(&'static str, String)>,
}

/// What became of kept rows.
#[derive(Debug)]
pub struct Replayed {
    /// Those that can be read as the spec wants them; `None` where there are none.
    pub batch: Option<RecordBatch>,
    /// Their counts, without bytes.
    pub counts: ReadCounts,
}

/// A connector whose rows can be kept aside.
pub trait Replay: Connector {
    /// What must be kept of the rows of `rejects`, which are rows of one partition in file order.
    ///
    /// # Errors
    /// When the file cannot be read again.
    fn keep(&self, partition: usize, rejects: &[Reject]) -> Result<Vec<Vec<u8>>> {
        let _ = partition;
        Ok(rejects.iter().map(|reject| reject.raw.clone()).collect())
    }

    /// Decodes kept rows of a partition as [`Connector::open`] with the same spec decodes them where they stand; those that
    /// cannot be read go to the sink of `spec`.
    ///
    /// # Errors
    /// As [`Connector::open`], or when a reject cannot be kept.
    fn replay(&self, partition: usize, spec: &ScanSpec, rows: &[KeptRow]) -> Result<Replayed>;
}
