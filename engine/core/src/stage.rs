//! stage: matched, permitted rows on disk, one Arrow IPC file per dataset and shard of requests.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{SchemaRef, UInt32Type};
use arrow::ipc::CompressionType;
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions};
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, Rows, SortField};
use ieum_model::error::{Error, Result};

use crate::gather::LINE;
use crate::{from_arrow, from_io};

/// Writes the rows of one dataset, each into the shard of its line.
pub struct StageWriter {
    folder: PathBuf,
    dataset: String,
    shard_of_line: Arc<[u32]>,
    writers: BTreeMap<u32, FileWriter<File>>,
    rows: u64,
}

fn file(folder: &Path, dataset: &str, shard: u32) -> PathBuf {
    folder.join(format!("{dataset}.{shard}.arrow"))
}

impl StageWriter {
    /// A writer into `folder`; `shard_of_line[line]` is the shard of a line ordinal.
    pub fn new(folder: &Path, dataset: &str, shard_of_line: Arc<[u32]>) -> Self {
        Self { folder: folder.into(), dataset: dataset.into(), shard_of_line, writers: BTreeMap::new(), rows: 0 }
    }

    /// Stages the rows of `batch`, whose first column is the line ordinal.
    ///
    /// # Errors
    /// When the stage cannot be written.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        let mut by_shard: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (row, line) in (0u32..).zip(batch.column(0).as_primitive::<UInt32Type>().values()) {
            by_shard.entry(self.shard_of_line[*line as usize]).or_default().push(row);
        }
        if by_shard.len() == 1 {
            let shard = by_shard.into_keys().next().unwrap_or_default();
            return self.append(shard, batch);
        }
        for (shard, rows) in by_shard {
            let part = take_record_batch(batch, &UInt32Array::from(rows)).map_err(from_arrow)?;
            self.append(shard, &part)?;
        }
        Ok(())
    }

    fn append(&mut self, shard: u32, batch: &RecordBatch) -> Result<()> {
        if !self.writers.contains_key(&shard) {
            self.writers.insert(shard, self.open(shard, &batch.schema())?);
        }
        let writer = self.writers.get_mut(&shard).ok_or_else(|| Error::internal("stage writer is gone"))?;
        let path = || file(&self.folder, &self.dataset, shard);
        writer.write(batch).map_err(|error| from_arrow(error).at("path", path().display()))
    }

    fn open(&self, shard: u32, schema: &SchemaRef) -> Result<FileWriter<File>> {
        let path = file(&self.folder, &self.dataset, shard);
        let out = File::create(&path).map_err(|error| from_io(&error, &path))?;
        let options =
            IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME)).map_err(from_arrow)?;
        FileWriter::try_new_with_options(out, schema, options)
            .map_err(|error| from_arrow(error).at("path", path.display()))
    }

    /// Closes the files; the number of staged rows.
    ///
    /// # Errors
    /// When a file cannot be finished.
    pub fn finish(mut self) -> Result<u64> {
        for (shard, writer) in &mut self.writers {
            let path = || file(&self.folder, &self.dataset, *shard);
            writer.finish().map_err(|error| from_arrow(error).at("path", path().display()))?;
        }
        Ok(self.rows)
    }

    /// Takes back everything staged: the export turned out not to keep its contract.
    pub fn discard(self) {
        for shard in self.writers.keys() {
            let _ = fs::remove_file(file(&self.folder, &self.dataset, *shard));
        }
    }
}

/// The rows of one dataset and shard, sorted by line, the declared record order, then everything else; so the order of
/// rows in an export changes nothing. `None` when nothing was staged.
///
/// # Errors
/// When the stage cannot be read.
pub fn read_shard(folder: &Path, dataset: &str, shard: u32, record_order: &[String]) -> Result<Option<RecordBatch>> {
    let path = file(folder, dataset, shard);
    if !path.exists() {
        return Ok(None);
    }
    let input = File::open(&path).map_err(|error| from_io(&error, &path))?;
    let reader = FileReader::try_new(input, None).map_err(from_arrow)?;
    let schema = reader.schema();
    let batches = reader.collect::<Result<Vec<_>, _>>().map_err(from_arrow)?;
    sort(&concat_batches(&schema, &batches).map_err(from_arrow)?, record_order).map(Some)
}

/// Sorts by line and declared order first: most rows are told apart by these, and the other columns are only looked at where
/// two rows are not.
fn sort(batch: &RecordBatch, record_order: &[String]) -> Result<RecordBatch> {
    let is_declared = |name: &str| name == LINE || record_order.iter().any(|item| item == name);
    let declared = std::iter::once(LINE).chain(record_order.iter().map(String::as_str));
    let keys = comparable(declared.filter_map(|name| batch.column_by_name(name)))?;
    let mut order: Vec<u32> = (0u32..).take(batch.num_rows()).collect();
    order.sort_unstable_by(|a, b| keys.row(*a as usize).cmp(&keys.row(*b as usize)));
    let tied = |pair: &[u32]| keys.row(pair[0] as usize) == keys.row(pair[1] as usize);
    if order.windows(2).any(tied) {
        let schema = batch.schema();
        let others = schema.fields().iter().zip(batch.columns()).filter(|(field, _)| !is_declared(field.name()));
        let others: Vec<&ArrayRef> = others.map(|(_, column)| column).collect();
        if others.is_empty() {
            return take_record_batch(batch, &UInt32Array::from(order)).map_err(from_arrow);
        }
        let rest = comparable(others.into_iter())?;
        for equals in order.chunk_by_mut(|a, b| keys.row(*a as usize) == keys.row(*b as usize)) {
            equals.sort_unstable_by(|a, b| rest.row(*a as usize).cmp(&rest.row(*b as usize)));
        }
    }
    take_record_batch(batch, &UInt32Array::from(order)).map_err(from_arrow)
}

/// Columns as rows that compare as bytes; nulls first.
fn comparable<'a>(columns: impl Iterator<Item = &'a ArrayRef>) -> Result<Rows> {
    let columns: Vec<ArrayRef> = columns.cloned().collect();
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let converter = RowConverter::new(fields).map_err(from_arrow)?;
    converter.convert_columns(&columns).map_err(from_arrow)
}
