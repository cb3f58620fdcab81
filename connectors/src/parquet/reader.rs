//! Reads one Parquet file, row group by row group, so that memory is bounded by a row group's wanted columns.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, new_empty_array};
use arrow::compute::{cast, concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use ieum_model::connector::{BatchReader, FileColumn, KeyProbe, ReadCounts, Reject, RejectSink, ScanSpec, Strays};
use ieum_model::dataset::ItemType;
use ieum_model::error::{Error, Result, nearest};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowPredicateFn, ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder, RowFilter, RowSelection,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::Length;
use parquet::file::serialized_reader::SerializedPageReader;

use super::damage::guarded;
use super::keys::{self, Hits};
use super::probe::{KeyPages, NoKey, Passed, may_be_key, probe_column, probe_keys};
use super::{Layout, cast as item_cast, temporary};
use crate::folder::{Folder, RangeFile};
use crate::replay::{KeptRow, Replayed};

fn open_file(root: &Folder, name: &str) -> Result<(RangeFile, ArrowReaderMetadata)> {
    let file = root.ranges(name)?;
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
    let metadata = ArrowReaderMetadata::load(&file, options).map_err(|e| unreadable(&e, name))?;
    Ok((file, metadata))
}

fn unreadable(error: &ParquetError, name: &str) -> Error {
    Error::contract(format!("not a whole Parquet file: {error}"))
        .at("file", name)
        .hint("the file is truncated or damaged; fetch the export again")
}

/// Checks that the footer can be read and that every column chunk it names lies within the file.
pub(super) fn verify_footer(root: &Folder, name: &str) -> Result<()> {
    let (file, metadata) = open_file(root, name)?;
    let length_of_file = file.len();
    for group in metadata.metadata().row_groups() {
        for column in group.columns() {
            let (start, length) = column.byte_range();
            if start.checked_add(length).is_none_or(|end| end > length_of_file) {
                return Err(unreadable(&ParquetError::EOF("a column ends behind the end of the file".into()), name));
            }
        }
    }
    Ok(())
}

/// The columns of a file, with the types that it gives them.
pub(super) fn columns(root: &Folder, name: &str) -> Result<Vec<FileColumn>> {
    let (_, metadata) = open_file(root, name)?;
    let column = |field: &Arc<Field>| FileColumn {
        name: field.name().clone(),
        kind: Some(field.data_type().to_string().to_ascii_lowercase()),
    };
    Ok(metadata.schema().fields().iter().map(column).collect())
}

/// The rows of `rejects`, which are in file order, each as an Arrow IPC stream of all columns of the file.
pub(super) fn keep(root: &Folder, name: &str, rejects: &[Reject]) -> Result<Vec<Vec<u8>>> {
    let (file, metadata) = open_file(root, name)?;
    let total = usize::try_from(metadata.metadata().file_metadata().num_rows()).unwrap_or(0);
    let rows = rejects.iter().filter_map(|reject| usize::try_from(reject.line).ok()?.checked_sub(1));
    let selection = RowSelection::from_consecutive_ranges(rows.map(|row| row..row + 1), total);
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata).with_row_selection(selection);
    let mut kept = Vec::with_capacity(rejects.len());
    for batch in reader.build().map_err(|e| unreadable(&e, name))? {
        let batch = batch.map_err(|e| unreadable(&ParquetError::from(e), name))?;
        for row in 0..batch.num_rows() {
            let bytes = stream_of(&batch.slice(row, 1));
            kept.push(bytes.map_err(|e| Error::internal(format!("a row cannot be kept: {e}")).at("file", name))?);
        }
    }
    Ok(kept)
}

fn stream_of(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
    writer.write(batch)?;
    writer.into_inner()
}

/// A wanted column: where it stands in a decoded batch, and what it is cast to.
struct Column {
    position: usize,
    item_type: Option<ItemType>,
}

/// Reads the wanted columns of one file.
pub(super) struct Reader {
    name: String,
    file: RangeFile,
    metadata: ArrowReaderMetadata,
    projection: ProjectionMask,
    key: ProjectionMask,
    /// Where the keys are looked at in their pages.
    key_pages: Option<KeyPages>,
    /// Root columns of the file that are decoded, ascending.
    roots: Vec<usize>,
    /// The root column that is probed, if one is.
    key_root: Option<usize>,
    /// The key's position in the schema.
    key_at: Option<usize>,
    columns: Vec<Column>,
    schema: SchemaRef,
    list_separator: char,
    probe: Option<Arc<dyn KeyProbe>>,
    rejects: Arc<dyn RejectSink>,
    batch_rows: usize,
    next_group: usize,
    group: Option<Group>,
    /// Records of the row groups before the next one.
    records_before: u64,
    counts: ReadCounts,
}

/// The row group that is being read.
struct Group {
    reader: ParquetRecordBatchReader,
    /// Keys of the rows to give, where they were looked at in their pages: the reader gives the other columns.
    keys: Option<ArrayRef>,
    /// Records of the row groups before this one.
    base: u64,
    /// Rows that the reader is to give.
    expected: u64,
    /// Rows it gave.
    given: u64,
    /// Record numbers of the rows to give, where a probe chose them.
    ordinals: Option<Vec<u64>>,
}

impl Group {
    /// Record number in the file, from 1, of the `n`th row that the reader gives.
    fn record(&self, n: u64) -> u64 {
        let in_group = match &self.ordinals {
            Some(ordinals) => usize::try_from(n).ok().and_then(|n| ordinals.get(n).copied()).unwrap_or(n),
            None => n,
        };
        self.base + in_group + 1
    }
}

/// Bytes on storage of a row group's columns in `mask`. Pages that are skipped count as read: an upper bound.
fn chunk_bytes(group: &RowGroupMetaData, mask: &ProjectionMask) -> u64 {
    let wanted = group.columns().iter().enumerate().filter(|(leaf, _)| mask.leaf_included(*leaf));
    wanted.map(|(_, column)| column.byte_range().1).sum()
}

/// The root column of the file that holds `code`: told by the export, else named by the code, else by its standard term.
fn file_column(layout: &Layout, fields: &[Arc<Field>], code: &str) -> Option<usize> {
    let told = |field: &&Arc<Field>| layout.columns.get(field.name()).map(String::as_str);
    let by_export = fields.iter().position(|field| told(&field) == Some(code));
    let by_name = |name: &str| fields.iter().position(|field| field.name() == name && told(&field).is_none());
    by_export.or_else(|| by_name(code)).or_else(|| by_name(layout.aliases.get(code)?))
}

impl Reader {
    pub(super) fn open(root: &Folder, name: &str, layout: &Layout, spec: &ScanSpec) -> Result<Self> {
        let (file, metadata) = open_file(root, name)?;
        let fields = metadata.schema().fields();
        let find = |code: &str| {
            file_column(layout, fields, code).ok_or_else(|| {
                let error = Error::contract(format!("the export has no column for {}", layout.named(code)))
                    .at("dataset", &layout.dataset)
                    .at("file", name);
                match nearest(code, fields.iter().map(|field| field.name().as_str())) {
                    Some(near) => {
                        error.hint(format!("the file has `{near}`; if that is it, name it in `export.columns`"))
                    }
                    None => error.hint("name the file's column in `export.columns`"),
                }
            })
        };
        let wanted = spec.schema.fields();
        let roots = wanted.iter().map(|field| find(field.name())).collect::<Result<Vec<_>>>()?;
        let mut decoded = roots.clone();
        decoded.sort_unstable();
        decoded.dedup();
        let mut columns = Vec::with_capacity(roots.len());
        for (field, root) in wanted.iter().zip(&roots) {
            let item_type = layout.types.get(field.name()).copied();
            let empty = new_empty_array(fields[*root].data_type());
            if item_cast::cast(&empty, field.data_type(), item_type, layout.list_separator).is_err() {
                return Err(type_error(field, fields[*root].data_type())
                    .at("dataset", &layout.dataset)
                    .at("file", name));
            }
            columns.push(Column { position: decoded.partition_point(|other| other < root), item_type });
        }
        let mut key = Vec::new();
        if spec.probe.is_some() {
            let position = wanted.iter().position(|field| *field.name() == spec.key_column);
            let position = position.ok_or_else(|| Error::internal("the key column is not among the wanted ones"))?;
            let key_type = fields[roots[position]].data_type();
            if probe_column(&new_empty_array(key_type), &NoKey, &mut Passed::default()).is_err() {
                let text = Field::new(&spec.key_column, DataType::Utf8, true);
                return Err(type_error(&text, key_type).at("dataset", &layout.dataset).at("file", name));
            }
            if !may_be_key(key_type, layout.types.get(&spec.key_column).copied()) {
                return Err(Error::contract(format!(
                    "key column {} is of type {key_type}",
                    layout.named(&spec.key_column)
                ))
                .at("dataset", &layout.dataset)
                .at("file", name)
                .hint("identifiers are text: as numbers they lose leading zeros and digits; ask the holder for text"));
            }
            key.push(roots[position]);
        }
        let descriptor = metadata.parquet_schema();
        Ok(Self {
            name: name.to_owned(),
            projection: ProjectionMask::roots(descriptor, decoded.iter().copied()),
            key: ProjectionMask::roots(descriptor, key.iter().copied()),
            key_pages: key.first().and_then(|root| KeyPages::find(&metadata, *root, &decoded)),
            roots: decoded,
            key_root: key.first().copied(),
            key_at: spec.schema.index_of(&spec.key_column).ok(),
            file,
            columns,
            schema: Arc::clone(&spec.schema),
            list_separator: layout.list_separator,
            probe: spec.probe.clone(),
            rejects: Arc::clone(&spec.rejects),
            batch_rows: spec.batch_rows.max(1),
            next_group: 0,
            group: None,
            records_before: 0,
            counts: ReadCounts::default(),
            metadata,
        })
    }

    /// Opens the next row group; with a probe this reads its whole key column.
    fn open_group(&mut self) -> Result<Option<Group>> {
        let Some(about) = self.metadata.metadata().row_groups().get(self.next_group) else { return Ok(None) };
        let rows = u64::try_from(about.num_rows())
            .map_err(|_| Error::contract("a row group with a negative number of rows").at("file", &self.name))?;
        let base = self.records_before;
        let key_bytes = chunk_bytes(about, &self.key);
        let all_bytes = chunk_bytes(about, &self.projection);
        let looked = self.look_at_keys(about)?;
        let file = self.file.again().map_err(|e| temporary("cannot open the file again", &e, &self.name))?;
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
            .with_row_groups(vec![self.next_group])
            .with_batch_size(self.batch_rows);
        let passed = Arc::new(Mutex::new(Passed::default()));
        let mut keys = None;
        match (looked, &self.key_pages, &self.probe) {
            (Some(hits), Some(pages), _) => {
                let chosen = hits.ordinals.iter().filter_map(|row| usize::try_from(*row).ok());
                let total = usize::try_from(rows).unwrap_or(usize::MAX);
                builder = builder
                    .with_projection(pages.others.clone())
                    .with_row_selection(RowSelection::from_consecutive_ranges(chosen.map(|row| row..row + 1), total));
                *passed.lock().unwrap_or_else(PoisonError::into_inner) =
                    Passed { seen: hits.seen, ordinals: hits.ordinals };
                keys = Some(Arc::new(hits.keys) as ArrayRef);
            }
            (_, _, Some(probe)) => {
                let (probe, passed, item_type) = (Arc::clone(probe), Arc::clone(&passed), self.key_type());
                let predicate = ArrowPredicateFn::new(self.key.clone(), move |batch: RecordBatch| {
                    let mut passed = passed.lock().unwrap_or_else(PoisonError::into_inner);
                    probe_keys(batch.column(0), item_type, probe.as_ref(), &mut passed)
                });
                builder = builder
                    .with_projection(self.projection.clone())
                    .with_row_filter(RowFilter::new(vec![Box::new(predicate)]));
            }
            _ => builder = builder.with_projection(self.projection.clone()),
        }
        let reader = builder.build().map_err(|e| unreadable(&e, &self.name))?;
        self.next_group += 1;
        self.records_before += rows;
        if self.probe.is_none() {
            self.counts.bytes += all_bytes;
            return Ok(Some(Group { reader, keys, base, expected: rows, given: 0, ordinals: None }));
        }
        let passed = std::mem::take(&mut *passed.lock().unwrap_or_else(PoisonError::into_inner));
        if passed.seen != rows {
            return Err(self.short(rows, passed.seen));
        }
        let expected = passed.ordinals.len() as u64;
        self.counts.bytes += if expected > 0 { all_bytes } else { key_bytes };
        self.counts.read += rows - expected;
        self.counts.filtered += rows - expected;
        Ok(Some(Group { reader, keys, base, expected, given: 0, ordinals: Some(passed.ordinals) }))
    }

    /// The hits of the next row group, whose metadata is `about`; `None` where its keys have to be decoded.
    fn look_at_keys(&self, about: &RowGroupMetaData) -> Result<Option<Hits>> {
        let (Some(pages), Some(probe)) = (&self.key_pages, &self.probe) else { return Ok(None) };
        let column = about.column(pages.leaf);
        if keys::has_deltas(column) {
            return Ok(None);
        }
        let file = self.file.again().map_err(|e| temporary("cannot open the file again", &e, &self.name))?;
        let metadata = self.metadata.metadata();
        let index = metadata.offset_index().and_then(|index| index.get(self.next_group)?.get(pages.leaf));
        let locations = index.map(|index| index.page_locations().clone()).filter(|pages| !pages.is_empty());
        let rows = usize::try_from(about.num_rows()).unwrap_or(0);
        SerializedPageReader::new(Arc::new(file), column, rows, locations)
            .and_then(|mut reader| keys::probe(&mut reader, pages.nullable, probe.as_ref()))
            .map_err(|e| unreadable(&e, &self.name))
    }

    fn short(&self, expected: u64, found: u64) -> Error {
        Error::contract(format!("a row group holds {found} rows instead of {expected}")).at("file", &self.name)
    }

    /// Casts the columns to their wanted types and hands the rows that cannot be cast to the sink; `record` is the number in
    /// the file, from 1, of a row of the batch.
    fn finish(&mut self, batch: &RecordBatch, record: impl Fn(u64) -> u64) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let mut columns = Vec::with_capacity(self.columns.len());
        let mut bad: Vec<(usize, usize)> = Vec::new();
        for (index, (column, field)) in self.columns.iter().zip(self.schema.fields()).enumerate() {
            let array = batch.column(column.position);
            let done = item_cast::cast(array, field.data_type(), column.item_type, self.list_separator)
                .map_err(|_| type_error(field, array.data_type()).at("file", &self.name))?;
            bad.extend(done.bad.into_iter().map(|row| (row, index)));
            columns.push(done.array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let cast = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options).map_err(|e| {
            Error::internal(format!("a Parquet batch does not fit its schema: {e}")).at("file", &self.name)
        })?;
        self.counts.read += rows as u64;
        if bad.is_empty() {
            self.counts.kept += rows as u64;
            return Ok(cast);
        }
        bad.sort_unstable();
        bad.dedup_by_key(|(row, _)| *row);
        let mut keep = vec![true; rows];
        for (row, index) in bad {
            keep[row] = false;
            let field = self.schema.field(index);
            let found = batch.column(self.columns[index].position).data_type();
            self.rejects.reject(Reject {
                source: self.name.clone(),
                line: record(row as u64),
                byte_offset: 0,
                rule: "type",
                column: Some(field.name().clone()),
                reason: format!("expected a value of type {}, the file's column is {found}", field.data_type()),
                raw: self.raw(batch, row)?,
                strays: match self.key_at.filter(|key| *key != index).and_then(|key| text(cast.column(key), row)) {
                    Some(key) => Strays { keys: vec![key], is_anybodys: false },
                    None => Strays { keys: Vec::new(), is_anybodys: true },
                },
            })?;
            self.counts.rejected += 1;
        }
        let kept = filter_record_batch(&cast, &BooleanArray::from(keep))
            .map_err(|e| Error::internal(format!("cannot leave out rejected rows: {e}")).at("file", &self.name))?;
        self.counts.kept += kept.num_rows() as u64;
        Ok(kept)
    }

    /// Decodes rows that [`keep`] kept, as if they stood in the file.
    pub(super) fn replay(mut self, rows: &[KeptRow]) -> Result<Replayed> {
        let broken = |error: ArrowError| Error::internal(format!("a kept row cannot be read: {error}"));
        let mut batches = Vec::new();
        for row in rows {
            let mut stream = StreamReader::try_new(row.bytes.as_slice(), None).map_err(broken)?;
            let batch = stream.next().ok_or_else(|| Error::internal("a kept row is empty"))?.map_err(broken)?;
            if let (Some(probe), Some(key)) = (&self.probe, self.key_root) {
                let hits = probe_keys(batch.column(key), self.key_type(), probe.as_ref(), &mut Passed::default());
                let hits = hits.map_err(broken)?;
                if hits.true_count() == 0 {
                    self.counts.read += 1;
                    self.counts.filtered += 1;
                    continue;
                }
            }
            let batch = batch.project(&self.roots).map_err(broken)?;
            batches.push(self.finish(&batch, |_| row.line)?);
        }
        let batch = concat_batches(&self.schema, &batches).map_err(broken)?;
        Ok(Replayed { batch: (batch.num_rows() > 0).then_some(batch), counts: self.counts })
    }

    fn key_type(&self) -> Option<ItemType> {
        self.columns.get(self.key_at?)?.item_type
    }

    /// The wanted values of one row as they stand in the file, each after its column's name, separated by tabs.
    fn raw(&self, batch: &RecordBatch, row: usize) -> Result<Vec<u8>> {
        let value = |column: &Column| {
            let name = batch.schema_ref().field(column.position).name();
            Ok(format!("{name}={}", shown(&batch.column(column.position).slice(row, 1))?))
        };
        let values = self.columns.iter().map(value);
        let values = values.collect::<Result<Vec<_>, ArrowError>>();
        let values = values.map_err(|_| Error::internal("a rejected row cannot be written").at("file", &self.name))?;
        Ok(values.join("\t").into_bytes())
    }
}

/// A value of a text column, without padding; `None` where it is absent.
fn text(column: &ArrayRef, row: usize) -> Option<Vec<u8>> {
    let texts = column.as_string_opt::<i32>().filter(|texts| texts.is_valid(row))?;
    Some(texts.value(row).trim().as_bytes().to_vec())
}

/// Text of the first value. Arrow can show no zone by name, so a time with a zone is shown in UTC.
fn shown(array: &ArrayRef) -> Result<String, ArrowError> {
    if let DataType::Timestamp(unit, Some(_)) = array.data_type() {
        let utc = DataType::Timestamp(*unit, Some("+00:00".into()));
        return if *array.data_type() == utc { show(array) } else { show(&cast(array, &utc)?) };
    }
    show(array)
}

fn show(array: &dyn Array) -> Result<String, ArrowError> {
    Ok(ArrayFormatter::try_new(array, &FormatOptions::default())?.value(0).to_string())
}

fn type_error(field: &Field, found: &DataType) -> Error {
    Error::contract(format!("column `{}` is of type {found}, {} is wanted", field.name(), field.data_type()))
        .hint("compare the item's `type` in the catalog with the file; else ask the holder for the type it had")
}

impl BatchReader for Reader {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let name = self.name.clone();
        guarded(&name, || self.read_on())
    }

    fn counts(&self) -> ReadCounts {
        self.counts
    }
}

impl Reader {
    fn read_on(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let mut group = match self.group.take() {
                Some(group) => group,
                None => match self.open_group()? {
                    Some(group) => group,
                    None => return Ok(None),
                },
            };
            let Some(batch) = group.reader.next() else {
                if group.given != group.expected {
                    return Err(self.short(group.expected, group.given));
                }
                continue;
            };
            let batch = batch.map_err(|e| unreadable(&ParquetError::from(e), &self.name))?;
            let batch = match (&group.keys, &self.key_pages) {
                (Some(keys), Some(pages)) => {
                    let given = usize::try_from(group.given).unwrap_or(usize::MAX);
                    if given.saturating_add(batch.num_rows()) > keys.len() {
                        return Err(self.short(group.expected, group.given + batch.num_rows() as u64));
                    }
                    let whole = pages.with_key(&batch, keys.slice(given, batch.num_rows()));
                    whole.map_err(|e| unreadable(&ParquetError::from(e), &self.name))?
                }
                _ => batch,
            };
            let done = self.finish(&batch, |row| group.record(group.given + row))?;
            group.given += batch.num_rows() as u64;
            self.group = Some(group);
            if done.num_rows() > 0 {
                return Ok(Some(done));
            }
        }
    }
}
