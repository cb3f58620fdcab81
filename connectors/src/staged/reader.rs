//! The rows of a copy as its export would have given them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{and, filter_record_batch, is_null};
use arrow::datatypes::{Schema, SchemaRef, UInt32Type, UInt64Type};
use ieum_model::connector::{BatchReader, KeyProbe, ReadCounts, ScanSpec};
use ieum_model::error::{Error, ErrorKind, Result};

use super::Unusable;
use super::about::About;
use super::blocks::Blocks;
use super::make::{kept_column, reject_schema};
use super::select::Rows;
use super::write::{KEPT, unkept};
use crate::replay::{KeptRow, Replay};

/// Rules that a reject can name.
const RULES: [&str; 12] = [
    "ragged", "encoding", "type", "quote", "length", "json", "xml", "nesting", "repeated", "missing", "avro", "change",
];

/// Reads one sorted file of a copy, then what was kept aside, then the rejects.
pub(super) struct Reader {
    about: Arc<About>,
    export: Arc<dyn Replay>,
    spec: ScanSpec,
    /// Key column of the file.
    key: String,
    rows: Rows,
    /// Whether the rows were chosen by their keys; else every row is read, also those without a key.
    by_key: bool,
    /// The probe, where the rows were not chosen by it already.
    ask: Option<Arc<dyn KeyProbe>>,
    rejects: Option<Rows>,
    /// Rows kept aside that wait to be decoded, by partition of the export.
    kept: BTreeMap<u32, Vec<KeptRow>>,
    waiting: usize,
    counts: ReadCounts,
    at_end: bool,
}

impl Reader {
    /// Finds the rows and checks every block that will be read: after this, nothing of the copy is doubted.
    pub(super) fn open(
        folder: &Path,
        about: &Arc<About>,
        schema: &SchemaRef,
        export: &Arc<dyn Replay>,
        spec: &ScanSpec,
    ) -> Result<Self, Unusable> {
        let by_key = about.keys.iter().find(|key| key.column == spec.key_column);
        let wanted = spec.probe.as_ref().filter(|_| by_key.is_some()).and_then(|probe| probe.sorted_keys());
        let file = by_key.or(about.keys.first()).ok_or_else(|| Unusable::new("it has no file".to_owned()))?;
        let blocks = Blocks::open(folder, &file.file)?;
        let (schema, columns) = (Arc::clone(schema), columns(schema, spec, about));
        let rows = match &wanted {
            None => Rows::all(blocks, schema, columns)?,
            Some(wanted) => Rows::of(blocks, schema, columns, wanted)?,
        };
        let all_rejects = |file| {
            let schema = reject_schema();
            let columns = (0..schema.fields().len()).collect();
            Rows::all(Blocks::open(folder, file)?, schema, columns)
        };
        let rejects = about.rejects.as_ref().map(all_rejects).transpose()?;
        Ok(Self {
            about: Arc::clone(about),
            export: Arc::clone(export),
            spec: spec.clone(),
            key: file.column.clone(),
            rows,
            by_key: wanted.is_some(),
            ask: spec.probe.clone().filter(|_| wanted.is_none()),
            rejects,
            kept: BTreeMap::new(),
            waiting: 0,
            counts: ReadCounts::default(),
            at_end: false,
        })
    }

    /// The wanted columns of rows that can be read whole; the others wait in `kept`.
    fn take(&mut self, batch: &RecordBatch) -> Result<Option<RecordBatch>> {
        let mut whole: Option<BooleanArray> = None;
        if let Some(kept) = kept_column(batch).filter(|kept| kept.null_count() < kept.len()) {
            for bytes in kept.iter().flatten() {
                let (partition, row) = unkept(bytes).ok_or_else(broken)?;
                self.kept.entry(partition).or_default().push(row);
                self.waiting += 1;
            }
            whole = Some(is_null(kept).map_err(bug)?);
        }
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.spec.schema.fields().len());
        for field in self.spec.schema.fields() {
            columns.push(Arc::clone(batch.column_by_name(field.name()).ok_or_else(broken)?));
        }
        if let Some(probe) = &self.ask {
            let key = self.spec.schema.index_of(&self.spec.key_column).map_err(bug)?;
            let keys = columns[key].as_string_opt::<i32>().ok_or_else(broken)?;
            let hit = |key: Option<&str>| Some(probe.may_match(key.unwrap_or_default().as_bytes()));
            let hits: BooleanArray = keys.iter().map(hit).collect();
            whole = Some(whole.map_or(Ok(hits.clone()), |whole| and(&whole, &hits)).map_err(bug)?);
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.spec.schema), columns).map_err(bug)?;
        let batch = match whole {
            Some(whole) => filter_record_batch(&batch, &whole).map_err(bug)?,
            None => batch,
        };
        self.counts.kept += batch.num_rows() as u64;
        Ok((batch.num_rows() > 0).then_some(batch))
    }

    /// Lets the export's format decode some rows that were kept aside.
    fn replay(&mut self) -> Result<Option<RecordBatch>> {
        let Some(mut first) = self.kept.first_entry() else { return Ok(None) };
        let (partition, rows) = (*first.key(), first.get_mut());
        let rest = rows.split_off(rows.len().min(self.spec.batch_rows.max(1)));
        let rows = std::mem::replace(rows, rest);
        if first.get().is_empty() {
            first.remove();
        }
        self.waiting -= rows.len();
        let partition = usize::try_from(partition).map_err(|_| broken())?;
        let done = self.export.replay(partition, &self.spec, &rows)?;
        self.counts.kept += done.counts.kept;
        self.counts.rejected += done.counts.rejected;
        Ok(done.batch)
    }

    fn next_rejects(&mut self, most: usize) -> Result<Option<RecordBatch>> {
        Ok(self.rejects.as_mut().map(|rejects| rejects.next(most)).transpose()?.flatten())
    }

    /// Lets the rejects of a batch wait in `kept`: their format tells them, and which wanted keys they may have.
    fn tell(&mut self, batch: &RecordBatch) -> Result<()> {
        let text = |at: usize| batch.column(at).as_string_opt::<i32>().ok_or_else(broken);
        let number = |at: usize| batch.column(at).as_primitive_opt::<UInt64Type>().ok_or_else(broken);
        if batch.num_columns() != reject_schema().fields().len() {
            return Err(broken());
        }
        let (keys, rules, reasons, lines, offsets) = (text(0)?, text(4)?, text(5)?, number(2)?, number(3)?);
        let partitions = batch.column(1).as_primitive_opt::<UInt32Type>().ok_or_else(broken)?;
        let bytes = batch.column(6).as_binary_opt::<i32>().ok_or_else(broken)?;
        for at in 0..batch.num_rows() {
            // A row to be decoded also stands among the sorted ones, without a key.
            let is_ours = keys.is_null(at) || (self.by_key && keys.value(at) == self.key);
            if !is_ours {
                continue;
            }
            let (partition, raw) = (partitions.value(at), bytes.value(at).to_vec());
            let shapeless = match rules.is_null(at) {
                true => None,
                false => {
                    let rule = RULES.into_iter().find(|rule| *rule == rules.value(at)).ok_or_else(broken)?;
                    Some((rule, reasons.value(at).to_owned()))
                }
            };
            let row = KeptRow { line: lines.value(at), byte_offset: offsets.value(at), bytes: raw, shapeless };
            self.kept.entry(partition).or_default().push(row);
            self.waiting += 1;
        }
        Ok(())
    }

    /// Rows that were not handed on and not rejected were filtered, most of them without being read.
    fn account(&mut self) -> Result<()> {
        let answered = self.counts.kept + self.counts.rejected;
        let filtered = self.about.rows.checked_sub(answered).ok_or_else(|| {
            Error::new(ErrorKind::Integrity, "the staged copy holds more rows than its export")
                .at("dataset", &self.about.dataset)
        })?;
        self.counts.filtered = filtered;
        self.at_end = true;
        Ok(())
    }
}

/// Places of the wanted columns, and of the rows kept aside where there are any.
fn columns(schema: &Schema, spec: &ScanSpec, about: &About) -> Vec<usize> {
    let wanted = |name: &str| spec.schema.field_with_name(name).is_ok() || (name == KEPT && about.kept_aside > 0);
    let fields = schema.fields().iter().enumerate();
    fields.filter(|(_, field)| wanted(field.name())).map(|(place, _)| place).collect()
}

fn broken() -> Error {
    Error::internal("the staged copy is not laid out as it should be")
}

fn bug(error: arrow::error::ArrowError) -> Error {
    Error::internal(format!("a batch of the staged copy does not fit: {error}"))
}

impl BatchReader for Reader {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let most = self.spec.batch_rows.max(1);
        loop {
            if self.waiting >= most {
                if let Some(batch) = self.replay()? {
                    return Ok(Some(batch));
                }
            } else if let Some(batch) = self.rows.next(most)? {
                if let Some(batch) = self.take(&batch)? {
                    return Ok(Some(batch));
                }
            } else if let Some(batch) = self.next_rejects(most)? {
                self.tell(&batch)?;
            } else if self.waiting > 0 {
                if let Some(batch) = self.replay()? {
                    return Ok(Some(batch));
                }
            } else {
                self.account()?;
                return Ok(None);
            }
        }
    }

    fn counts(&self) -> ReadCounts {
        let ReadCounts { kept, filtered, rejected, .. } = self.counts;
        let bytes = self.rows.bytes_read() + self.rejects.as_ref().map_or(0, Rows::bytes_read);
        ReadCounts { read: kept + filtered + rejected, bytes, ..self.counts }
    }
}

/// Reads the files of the export one after the other, as one partition.
pub(super) struct ExportReader {
    export: Arc<dyn Replay>,
    spec: ScanSpec,
    next: usize,
    reader: Option<Box<dyn BatchReader>>,
    counts: ReadCounts,
}

impl ExportReader {
    /// Checks the control totals first, where reading does not.
    pub(super) fn try_new(export: Arc<dyn Replay>, spec: &ScanSpec) -> Result<Self> {
        if !export.checks_totals_while_reading() {
            export.verify_control()?;
        }
        let mut reader = Self { export, spec: spec.clone(), next: 0, reader: None, counts: ReadCounts::default() };
        reader.advance()?;
        Ok(reader)
    }

    fn advance(&mut self) -> Result<()> {
        if let Some(done) = self.reader.take() {
            self.counts += done.counts();
        }
        if self.next < self.export.partitions().len() {
            self.reader = Some(self.export.open(self.next, &self.spec)?);
            self.next += 1;
        }
        Ok(())
    }
}

impl BatchReader for ExportReader {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        while let Some(reader) = &mut self.reader {
            match reader.next_batch()? {
                Some(batch) => return Ok(Some(batch)),
                None => self.advance()?,
            }
        }
        Ok(None)
    }

    fn counts(&self) -> ReadCounts {
        let mut counts = self.counts;
        if let Some(reader) = &self.reader {
            counts += reader.counts();
        }
        counts
    }
}
