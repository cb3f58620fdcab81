//! stage: matched, permitted rows between gather and assemble, by source and shard of requests: in memory while they are
//! few, beyond that in one file that only grows. A run that can go on writes all of them to that file.
//!
//! ```text
//!  gather ─► StageWriter (one a reading) ─┬─► held batches ───────────────┐
//!                                         └─► segments of one spill file ─┴─► read_shard ─► assemble
//! ```

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, AsArray, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::UInt32Type;
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, Rows, SortField};
use ieum_model::error::{Error, Result};

use crate::from_arrow;
use crate::gather::LINE;
use crate::spill::{Segment, Spill};

/// What a writer may gather beyond the common limit before it spills: small segments would be slow to read.
const WAITING_BYTES: usize = 4 << 20;

/// Rows of one source in one shard.
enum Part {
    Held(RecordBatch),
    /// An Arrow IPC stream in the spill file.
    Spilled(Segment),
}

/// Where the rows of a source stand in the spill file: shard by shard, each shard's pieces in no order that matters.
pub type KeptRows = Vec<(u32, Segment)>;

/// Parts by shard.
type Parts = BTreeMap<u32, Vec<Part>>;

/// The stage of a night. Its spill file appears when it is first needed.
pub struct Stage {
    limit: usize,
    held: AtomicUsize,
    spill: Spill,
    /// Whether rows that are held are written to the spill file too.
    keeps: bool,
    parts: Mutex<BTreeMap<String, Parts>>,
    /// Where the rows of each source stand in the spill file, of a stage that keeps them there.
    aside: Mutex<BTreeMap<String, KeptRows>>,
}

impl Stage {
    /// A stage that holds up to `limit` bytes in memory and writes the rest to `spill`.
    pub fn new(spill: Spill, limit: usize) -> Self {
        Self { limit, held: AtomicUsize::new(0), spill, keeps: false, parts: Mutex::default(), aside: Mutex::default() }
    }

    /// As [`Stage::new`], but what is held is written to `spill` too, for a run that can go on.
    pub fn kept(spill: Spill, limit: usize) -> Self {
        Self { keeps: true, ..Self::new(spill, limit) }
    }

    /// Takes the rows of a source that an earlier attempt left in the spill file; `false` where they do not stand there as
    /// they were written.
    ///
    /// # Errors
    /// Only for a bug.
    pub fn restore(&self, source: &str, kept: &KeptRows) -> Result<bool> {
        if !kept.iter().all(|(_, segment)| self.spill.read_again(*segment).is_some()) {
            return Ok(false);
        }
        let parts = spilled(kept);
        if !parts.is_empty() {
            self.note_aside(source, kept.clone())?;
            self.locked()?.insert(source.to_owned(), parts);
        }
        Ok(true)
    }

    /// Gives every row again that was taken, of a stage that keeps them: they are read from the spill file.
    ///
    /// # Errors
    /// Only for a bug.
    pub fn again(&self) -> Result<()> {
        let aside = self.aside.lock().map_err(|_| stopped_halfway())?;
        *self.locked()? = aside.iter().map(|(source, kept)| (source.clone(), spilled(kept))).collect();
        Ok(())
    }

    fn note_aside(&self, source: &str, kept: KeptRows) -> Result<()> {
        self.aside.lock().map_err(|_| stopped_halfway())?.insert(source.to_owned(), kept);
        Ok(())
    }

    /// Bytes of the spill file so far.
    pub fn spilled_bytes(&self) -> u64 {
        self.spill.bytes()
    }

    /// A writer of one source's rows; `shard_of_line[line]` is the shard of a line ordinal.
    pub fn writer(&self, source: String, shard_of_line: Arc<[u32]>) -> StageWriter<'_> {
        StageWriter { stage: self, source, shard_of_line, parts: Parts::new(), held: 0, beyond: 0, rows: 0 }
    }

    /// Takes the rows of one source and shard, sorted by line, the declared record order, then everything else; so the
    /// order of rows in an export changes nothing. `None` when nothing was staged.
    ///
    /// # Errors
    /// When the spill file cannot be read.
    pub fn take_shard(&self, source: &str, shard: u32, record_order: &[String]) -> Result<Option<RecordBatch>> {
        let parts = self.locked()?.get_mut(source).and_then(|parts| parts.remove(&shard));
        let Some(parts) = parts else { return Ok(None) };
        let mut batches = Vec::with_capacity(parts.len());
        for part in parts {
            match part {
                Part::Held(batch) => batches.push(batch),
                Part::Spilled(segment) => self.read(segment, &mut batches)?,
            }
        }
        let Some(first) = batches.first() else { return Ok(None) };
        sort(&concat_batches(&first.schema(), &batches).map_err(from_arrow)?, record_order).map(Some)
    }

    /// Forgets the rows of a source.
    ///
    /// # Errors
    /// Only for a bug.
    pub fn forget(&self, source: &str) -> Result<()> {
        self.aside.lock().map_err(|_| stopped_halfway())?.remove(source);
        self.locked()?.remove(source);
        Ok(())
    }

    fn locked(&self) -> Result<std::sync::MutexGuard<'_, BTreeMap<String, Parts>>> {
        self.parts.lock().map_err(|_| stopped_halfway())
    }

    /// Reserves memory for rows; `false` where the limit is reached.
    fn reserve(&self, bytes: usize) -> bool {
        let more = |held: usize| Some(held + bytes).filter(|all| *all <= self.limit);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn release(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn append(&self, batch: &RecordBatch, compression: Option<CompressionType>) -> Result<Segment> {
        let options = IpcWriteOptions::default().try_with_compression(compression).map_err(from_arrow)?;
        let mut writer =
            StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options).map_err(from_arrow)?;
        writer.write(batch).map_err(from_arrow)?;
        let bytes = writer.into_inner().map_err(from_arrow)?;
        self.spill.append(&bytes)
    }

    fn read(&self, segment: Segment, batches: &mut Vec<RecordBatch>) -> Result<()> {
        for batch in StreamReader::try_new(Cursor::new(self.spill.read(segment)?), None).map_err(from_arrow)? {
            batches.push(batch.map_err(from_arrow)?);
        }
        Ok(())
    }
}

fn stopped_halfway() -> Error {
    Error::internal("a writer of the stage stopped halfway")
}

/// Rows that stand in the spill file, as parts by shard.
fn spilled(kept: &KeptRows) -> Parts {
    let mut parts = Parts::new();
    for (shard, segment) in kept {
        parts.entry(*shard).or_default().push(Part::Spilled(*segment));
    }
    parts
}

/// Writes the rows of one source, each into the shard of its line. Dropped before [`StageWriter::finish`], it leaves
/// nothing: the export turned out not to keep its contract.
pub struct StageWriter<'a> {
    stage: &'a Stage,
    source: String,
    shard_of_line: Arc<[u32]>,
    parts: Parts,
    /// Bytes held that are reserved, and those that are not.
    held: usize,
    beyond: usize,
    rows: u64,
}

impl StageWriter<'_> {
    /// Stages the rows of `batch`, whose first column is the line ordinal.
    ///
    /// # Errors
    /// When the stage cannot be written.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        let lines = batch.column(0).as_primitive::<UInt32Type>().values();
        let shard = |line: &u32| self.shard_of_line[*line as usize];
        let first = lines.first().map(shard);
        match first {
            None => return Ok(()),
            Some(first) if lines.iter().all(|line| shard(line) == first) => self.hold(first, batch.clone()),
            Some(_) => {
                let mut by_shard: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
                for (row, line) in (0u32..).zip(lines) {
                    by_shard.entry(shard(line)).or_default().push(row);
                }
                for (shard, rows) in by_shard {
                    let part = take_record_batch(batch, &UInt32Array::from(rows)).map_err(from_arrow)?;
                    self.hold(shard, part);
                }
            }
        }
        if self.beyond > WAITING_BYTES { self.spill() } else { Ok(()) }
    }

    fn hold(&mut self, shard: u32, batch: RecordBatch) {
        let bytes = batch.get_array_memory_size();
        let reserved = self.stage.reserve(bytes);
        *if reserved { &mut self.held } else { &mut self.beyond } += bytes;
        self.parts.entry(shard).or_default().push(Part::Held(batch));
    }

    /// Writes out everything that is held here.
    fn spill(&mut self) -> Result<()> {
        for parts in self.parts.values_mut() {
            if let Some(held) = take_held(parts)? {
                let segment = self.stage.append(&held, Some(CompressionType::LZ4_FRAME))?;
                parts.push(Part::Spilled(segment));
            }
        }
        self.stage.release(std::mem::take(&mut self.held));
        self.beyond = 0;
        Ok(())
    }

    /// Hands the rows over; their number, and where they stand in the spill file if the stage keeps them there.
    ///
    /// # Errors
    /// When the stage cannot be written.
    pub fn finish(mut self) -> Result<(u64, KeptRows)> {
        if self.beyond > 0 && !self.stage.reserve(self.beyond) {
            self.spill()?;
        }
        let kept = if self.stage.keeps { self.keep()? } else { KeptRows::new() };
        // What is handed over stays reserved.
        (self.held, self.beyond) = (0, 0);
        let parts = std::mem::take(&mut self.parts);
        if !parts.is_empty() {
            if self.stage.keeps {
                self.stage.note_aside(&self.source, kept.clone())?;
            }
            self.stage.locked()?.insert(std::mem::take(&mut self.source), parts);
        }
        Ok((self.rows, kept))
    }

    /// Writes what is held to the spill file, and holds it on.
    fn keep(&mut self) -> Result<KeptRows> {
        let mut kept = KeptRows::new();
        for (shard, parts) in &mut self.parts {
            for part in parts.iter() {
                if let Part::Spilled(segment) = part {
                    kept.push((*shard, *segment));
                }
            }
            if let Some(held) = take_held(parts)? {
                // Uncompressed: most of these pieces are small and never read again.
                kept.push((*shard, self.stage.append(&held, None)?));
                parts.push(Part::Held(held));
            }
        }
        Ok(kept)
    }
}

/// Takes the batches that are held out of the parts of a shard, as one.
fn take_held(parts: &mut Vec<Part>) -> Result<Option<RecordBatch>> {
    let mut held = Vec::new();
    parts.retain(|part| match part {
        Part::Held(batch) => {
            held.push(batch.clone());
            false
        }
        Part::Spilled(_) => true,
    });
    let Some(first) = held.first() else { return Ok(None) };
    concat_batches(&first.schema(), &held).map(Some).map_err(from_arrow)
}

impl Drop for StageWriter<'_> {
    fn drop(&mut self) {
        self.stage.release(self.held);
    }
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

#[cfg(test)]
mod tests {
    use arrow::array::StringArray;
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn rows(lines: std::ops::Range<u32>) -> RecordBatch {
        let item: StringArray = lines.clone().map(|line| (line % 7 > 0).then(|| format!("{line:>2000}"))).collect();
        let schema =
            Schema::new(vec![Field::new(LINE, DataType::UInt32, false), Field::new("item", DataType::Utf8, true)]);
        let lines = UInt32Array::from_iter_values(lines);
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(lines), Arc::new(item)]).unwrap()
    }

    fn taken(stage: &Stage) -> Vec<Option<RecordBatch>> {
        (0..3).map(|shard| stage.take_shard("d.key", shard, &[]).unwrap()).collect()
    }

    /// Rows that are held, rows that were spilled, and rows of either kind in one shard.
    #[test]
    fn what_is_kept_is_staged_again_as_it_was() {
        const LINES: u32 = 6000;
        let folder = tempfile::tempdir().unwrap();
        let shard_of_line: Arc<[u32]> = (0..LINES).map(|line| line / 2500).collect();
        for limit in [0, 3 << 20, usize::MAX] {
            let path = folder.path().join(limit.to_string());
            let stage = Stage::kept(Spill::new(path.clone()), limit);
            let mut writer = stage.writer("d.key".into(), Arc::clone(&shard_of_line));
            for start in (0..LINES).step_by(100) {
                writer.write(&rows(start..start + 100)).unwrap();
            }
            let (staged, kept) = writer.finish().unwrap();
            assert_eq!(staged, u64::from(LINES));
            let end = kept.iter().map(|(_, segment)| segment.end()).max().unwrap();

            let again = Stage::kept(Spill::continued(path.clone(), end), limit);
            assert!(again.restore("d.key", &kept).unwrap());
            let whole = taken(&stage);
            assert_eq!(whole.iter().flatten().map(RecordBatch::num_rows).sum::<usize>(), LINES as usize);
            assert_eq!(taken(&again), whole);
            for stage in [&stage, &again] {
                assert!(taken(stage).iter().all(Option::is_none));
                stage.again().unwrap();
                assert_eq!(taken(stage), whole);
            }

            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
            let cut = Stage::kept(Spill::continued(path, 0), limit);
            assert!(!cut.restore("d.key", &kept).unwrap());
            assert!(taken(&cut).iter().all(Option::is_none));
        }
    }
}
