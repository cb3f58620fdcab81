//! The seam between formats and the machine. A connector knows of a night only a projection and a key probe.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use crate::error::Result;

/// The set of wanted keys. A probe may let a wrong row pass, never lose a right one.
pub trait KeyProbe: Send + Sync {
    /// Whether a row whose key column holds these bytes could be wanted. The bytes are the key as the export spells it, in
    /// UTF-8, without quotes and padding; the probe normalizes them itself. Bytes that are no text pass: the row is to be
    /// rejected, not turned away.
    fn may_match(&self, raw_key: &[u8]) -> bool;

    /// The wanted keys themselves, canonical, ascending by their bytes, each once; for an export that is held sorted by its
    /// canonical key and need not be asked row by row. `None` where the probe cannot tell them.
    fn sorted_keys(&self) -> Option<Vec<Box<[u8]>>> {
        None
    }

    /// Whose a row without its shape may be: `pieces` are what its format takes for cells, `row` all its bytes, both in
    /// UTF-8.
    fn strays(&self, pieces: &[&[u8]], row: &[u8]) -> Strays {
        let _ = row;
        let keys: Vec<Vec<u8>> =
            pieces.iter().filter(|piece| self.may_match(piece)).map(|piece| piece.to_vec()).collect();
        Strays { is_anybodys: keys.is_empty(), keys }
    }
}

/// Whose a rejected row may be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Strays {
    /// What may be its key, as [`KeyProbe::may_match`] is asked for it: those that are wanted.
    pub keys: Vec<Vec<u8>>,
    /// Nothing in it is a whole key, wanted or not: it may be anybody's.
    pub is_anybodys: bool,
}

/// A row that could not be read, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// File below the exports folder.
    pub source: String,
    /// Line (from 1) of a text file, row (from 1) of a sheet, record number (from 1) otherwise.
    pub line: u64,
    /// Offset of the row's first byte in the decompressed file; of a workbook the place (from 0) of the sheet among those read, of
    /// an Avro file the offset among the rows of its blocks, decompressed.
    pub byte_offset: u64,
    /// Rule that the row breaks: `ragged`, `encoding`, `type`, `quote`, `length`, `json`, `xml`, `avro`, `change`, `nesting`, `repeated`, `missing`.
    pub rule: &'static str,
    /// Column concerned, if one is.
    pub column: Option<String>,
    /// What was expected; no value of the row.
    pub reason: String,
    /// The row's bytes as they stand in the file.
    pub raw: Vec<u8>,
    /// Whose the row may be: that of its key where a cell beside it is at fault; where the row's shape is, or its key's
    /// cell, what [`KeyProbe::strays`] finds in it.
    pub strays: Strays,
}

/// Takes the rows that could not be read; those of one file come in file order.
pub trait RejectSink: Send + Sync {
    /// Takes one row.
    ///
    /// # Errors
    /// When the reject cannot be kept; the run must then stop, because nothing may be lost.
    fn reject(&self, reject: Reject) -> Result<()>;

    /// Takes the note of a row that was read by a rule of `repair`: the row as it stands in the file, and the rule. Where the
    /// sink takes the row itself, it is not handed on and counts as rejected. A sink whose rows nobody is given may forget it.
    ///
    /// # Errors
    /// As [`RejectSink::reject`].
    fn repaired(&self, note: Reject) -> Result<Repaired> {
        let _ = note;
        Ok(Repaired::Told)
    }
}

/// What becomes of a repaired row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repaired {
    /// It is told, and handed on as any other.
    Told,
    /// The sink has taken it.
    Taken,
}

/// What a night wants of an export.
#[derive(Clone)]
pub struct ScanSpec {
    /// Columns to decode, by item code; the only ones that are.
    pub schema: SchemaRef,
    /// The column of `schema` that `probe` is asked about.
    pub key_column: String,
    /// The wanted keys; `None` reads every row.
    pub probe: Option<Arc<dyn KeyProbe>>,
    /// Where unreadable rows go.
    pub rejects: Arc<dyn RejectSink>,
    /// Rows per batch at most.
    pub batch_rows: usize,
}

/// Counts of one partition; `read = kept + filtered + rejected`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadCounts {
    /// Data rows met.
    pub read: u64,
    /// Rows handed on in batches.
    pub kept: u64,
    /// Rows the probe turned away.
    pub filtered: u64,
    /// Rows that could not be read.
    pub rejected: u64,
    /// Bytes read from storage.
    pub bytes: u64,
}

impl ReadCounts {
    /// Whether every row is accounted for.
    pub fn balances(&self) -> bool {
        self.read == self.kept + self.filtered + self.rejected
    }
}

impl std::ops::AddAssign for ReadCounts {
    fn add_assign(&mut self, other: Self) {
        self.read += other.read;
        self.kept += other.kept;
        self.filtered += other.filtered;
        self.rejected += other.rejected;
        self.bytes += other.bytes;
    }
}

/// Batches of one partition, in file order.
pub trait BatchReader: Send {
    /// The next batch with exactly the columns of [`ScanSpec::schema`]; `None` at the end.
    ///
    /// # Errors
    /// When the file cannot be read on: truncated, wrong encoding, unknown column. At the end, instead of the last batch,
    /// [`crate::error::ErrorKind::ControlTotals`] when the rows do not agree with the header or trailer of the file:
    /// what was handed on before must then be thrown away.
    fn next_batch(&mut self) -> Result<Option<RecordBatch>>;

    /// What was read so far.
    fn counts(&self) -> ReadCounts;
}

/// A file of an export as it was found, before it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFile {
    /// Name below the exports folder.
    pub name: String,
    /// Bytes on storage.
    pub bytes: u64,
    /// When it was last written to, in nanoseconds since 1970-01-01 UTC; 0 where storage does not tell.
    pub modified: i64,
}

/// A column as it stands in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileColumn {
    /// Its name.
    pub name: String,
    /// Its type, where the file has types.
    pub kind: Option<String>,
}

/// A dataset's export in one format.
pub trait Connector: Send + Sync {
    /// The files, below the exports folder, in name order; each is one partition.
    fn partitions(&self) -> &[String];

    /// Bytes of each partition on storage, in the order of [`Connector::partitions`].
    fn partition_bytes(&self) -> &[u64];

    /// When each partition was last written to, in nanoseconds since 1970-01-01 UTC, as it was found; empty where storage
    /// does not tell.
    fn partition_modified(&self) -> &[i64] {
        &[]
    }

    /// Every file that reading may touch, as it was found: a run that goes on tells by it whether an export was replaced.
    fn found_files(&self) -> Vec<FoundFile> {
        let modified = self.partition_modified().iter().copied().chain(std::iter::repeat(0));
        let files = self.partitions().iter().zip(self.partition_bytes()).zip(modified);
        files.map(|((name, bytes), modified)| FoundFile { name: name.clone(), bytes: *bytes, modified }).collect()
    }

    /// The columns of one partition in file order; `None` where the file does not name them.
    ///
    /// # Errors
    /// When the file cannot be opened, or is not of its format.
    fn columns(&self, partition: usize) -> Result<Option<Vec<FileColumn>>> {
        let _ = partition;
        Ok(None)
    }

    /// Opens one partition.
    ///
    /// # Errors
    /// When the file cannot be opened or does not have the columns of `spec`.
    fn open(&self, partition: usize, spec: &ScanSpec) -> Result<Box<dyn BatchReader>>;

    /// Checks the control totals of every partition: manifest digest, header and trailer counts, sums. Reads the files
    /// once more.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::ControlTotals`] when one does not agree, [`crate::error::ErrorKind::Contract`] when a
    /// file cannot be read as the catalog says; the holder is then left out of the night.
    fn verify_control(&self) -> Result<()>;

    /// Whether opening every partition and reading it to its end checks all that [`Connector::verify_control`] checks,
    /// with the same errors, so that a run need not read the files twice. What was read can then be trusted only once
    /// every partition has said `None`. A digest of the whole file, for one, is not checked while reading.
    fn checks_totals_while_reading(&self) -> bool;
}

/// `schema` restricted to `names`, in the order of `names`; names it lacks are left out.
pub fn project(schema: &Schema, names: &[&str]) -> Schema {
    Schema::new(names.iter().filter_map(|name| schema.field_with_name(name).ok().cloned()).collect::<Vec<_>>())
}
