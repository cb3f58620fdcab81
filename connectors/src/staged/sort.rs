//! Rows in the order of each key, within a memory limit: what does not fit is put on disk as sorted runs, which are merged.

use std::cmp::Ordering;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::CompressionType;
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions};
use ieum_model::error::{Error, Result};

use super::write::{create, unwritten};

/// Rows of a batch of a run: of every run one batch is in memory while they are merged.
const RUN_ROWS: usize = 1024;

/// Rows that wait to be sorted.
struct Held {
    /// Without key.
    rows: RecordBatch,
    /// Canonical key of every row, by each key column.
    keys: Vec<StringArray>,
}

/// Collects rows and gives them sorted by every key.
pub(super) struct Sorter {
    folder: PathBuf,
    /// Columns of a sorted file.
    schema: SchemaRef,
    limit: usize,
    held: Vec<Held>,
    bytes: usize,
    /// Runs on disk, by key.
    runs: Vec<Vec<PathBuf>>,
}

fn bug(error: ArrowError) -> Error {
    Error::internal(format!("rows cannot be sorted: {error}"))
}

/// Absent keys last.
fn compare(a: Option<&str>, b: Option<&str>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => a.as_bytes().cmp(b.as_bytes()),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

fn key(keys: &StringArray, row: usize) -> Option<&str> {
    keys.is_valid(row).then(|| keys.value(row))
}

impl Sorter {
    /// Sorts by `keys` keys; rows beyond `limit` bytes go to `folder`.
    pub(super) fn new(folder: &Path, schema: SchemaRef, keys: usize, limit: usize) -> Self {
        Self { folder: folder.to_owned(), schema, limit, held: Vec::new(), bytes: 0, runs: vec![Vec::new(); keys] }
    }

    /// Takes rows and their canonical keys.
    pub(super) fn push(&mut self, rows: RecordBatch, keys: Vec<StringArray>) -> Result<()> {
        /// Bytes that sorting needs of a row.
        const PLACE: usize = size_of::<(usize, usize)>();
        let of_keys: usize = keys.iter().map(|keys| keys.get_array_memory_size()).sum();
        self.bytes += rows.get_array_memory_size() + of_keys + rows.num_rows() * PLACE;
        self.held.push(Held { rows, keys });
        if self.bytes > self.limit { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> Result<()> {
        for at in 0..self.runs.len() {
            let path = self.folder.join(format!("{at}-{}.run", self.runs[at].len()));
            let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME));
            let writer = FileWriter::try_new_with_options(create(&path)?, &self.schema, options.map_err(bug)?);
            let mut writer = writer.map_err(|error| unwritten(&error, &path))?;
            self.each_held(at, |batch| writer.write(batch).map_err(|error| unwritten(&error, &path)))?;
            writer.finish().map_err(|error| unwritten(&error, &path))?;
            self.runs[at].push(path);
        }
        self.held.clear();
        self.bytes = 0;
        Ok(())
    }

    /// The rows in memory in the order of the key at `at`.
    fn each_held(&self, at: usize, mut take: impl FnMut(&RecordBatch) -> Result<()>) -> Result<()> {
        let keyed = |held: &Held| {
            let mut columns: Vec<ArrayRef> = vec![Arc::new(held.keys[at].clone())];
            columns.extend_from_slice(held.rows.columns());
            RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(bug)
        };
        let batches = self.held.iter().map(keyed).collect::<Result<Vec<_>>>()?;
        let rows = |(batch, held): (usize, &Held)| (0..held.rows.num_rows()).map(move |row| (batch, row));
        let mut order: Vec<(usize, usize)> = self.held.iter().enumerate().flat_map(rows).collect();
        let key = |(batch, row): (usize, usize)| key(&self.held[batch].keys[at], row);
        order.sort_by(|a, b| compare(key(*a), key(*b)));
        let batches: Vec<&RecordBatch> = batches.iter().collect();
        order.chunks(RUN_ROWS).try_for_each(|chunk| take(&interleave_record_batch(&batches, chunk).map_err(bug)?))
    }

    /// All rows in the order of each key, the first key's first; `take` is given the key's place and the next rows.
    pub(super) fn finish(mut self, mut take: impl FnMut(usize, &RecordBatch) -> Result<()>) -> Result<()> {
        if self.runs.iter().any(|runs| !runs.is_empty()) {
            self.spill()?;
        }
        for at in 0..self.runs.len() {
            if self.runs[at].is_empty() {
                self.each_held(at, |batch| take(at, batch))?;
                continue;
            }
            let cursors = self.runs[at].iter().map(|path| Cursor::open(path)).collect::<Result<Vec<_>>>()?;
            merge(cursors, |batch| take(at, batch))?;
            self.runs[at].iter().for_each(|path| _ = std::fs::remove_file(path));
        }
        Ok(())
    }
}

/// A run and the row that is next.
struct Cursor {
    path: PathBuf,
    reader: FileReader<File>,
    batch: RecordBatch,
    row: usize,
    /// Place of `batch` among the batches that the next rows are taken from.
    place: usize,
}

impl Cursor {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| unwritten(&error, path))?;
        let reader = FileReader::try_new(file, None).map_err(|error| unwritten(&error, path))?;
        let batch = RecordBatch::new_empty(reader.schema());
        Ok(Self { path: path.to_owned(), reader, batch, row: 0, place: 0 })
    }

    /// Moves to the next batch; whether there is one.
    fn refill(&mut self) -> Result<bool> {
        let next = self.reader.next().transpose().map_err(|error| unwritten(&error, &self.path))?;
        self.row = 0;
        self.batch = next.unwrap_or_else(|| RecordBatch::new_empty(self.batch.schema()));
        Ok(self.batch.num_rows() > 0)
    }

    fn key(&self) -> Option<&str> {
        key(self.batch.column(0).as_string(), self.row)
    }
}

/// The rows of sorted runs as one; of equal keys those of the earlier run first.
fn merge(mut cursors: Vec<Cursor>, mut take: impl FnMut(&RecordBatch) -> Result<()>) -> Result<()> {
    let mut open = Vec::new();
    for mut cursor in cursors.drain(..) {
        if cursor.refill()? {
            open.push(cursor);
        }
    }
    while !open.is_empty() {
        let mut batches: Vec<RecordBatch> = Vec::new();
        for cursor in &mut open {
            cursor.place = batches.len();
            batches.push(cursor.batch.clone());
        }
        let mut order = Vec::with_capacity(RUN_ROWS);
        while order.len() < RUN_ROWS {
            let Some(first) = first(&open) else { break };
            let cursor = &mut open[first];
            order.push((cursor.place, cursor.row));
            cursor.row += 1;
            if cursor.row < cursor.batch.num_rows() {
                continue;
            }
            if cursor.refill()? {
                cursor.place = batches.len();
                batches.push(cursor.batch.clone());
            } else {
                open.remove(first);
            }
        }
        let batches: Vec<&RecordBatch> = batches.iter().collect();
        take(&interleave_record_batch(&batches, &order).map_err(bug)?)?;
    }
    Ok(())
}

fn first(open: &[Cursor]) -> Option<usize> {
    (0..open.len()).reduce(|least, at| if compare(open[at].key(), open[least].key()).is_lt() { at } else { least })
}
