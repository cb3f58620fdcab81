//! Reads one Parquet file, row group by row group, so that memory is bounded by a row group's wanted columns.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, GenericByteArray, PrimitiveArray, new_empty_array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{cast, concat_batches, filter_record_batch};
use arrow::datatypes::{ArrowPrimitiveType, ByteArrayType, DataType, Field, Int32Type, Int64Type, Schema, SchemaRef};
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
use super::{Layout, cast as item_cast, temporary};
use crate::folder::{Folder, RangeFile};
use crate::replay::{KeptRow, Replayed};
use crate::spelling::digits;

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

/// The rows of one row group that the probe let pass.
#[derive(Default)]
struct Passed {
    /// Rows of the row group probed so far.
    seen: u64,
    /// Record number in the row group, from 0, of every row that passed.
    ordinals: Vec<u64>,
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

/// A key column that [`keys::probe`] reads.
struct KeyPages {
    leaf: usize,
    nullable: bool,
    /// The decoded columns but the key.
    others: ProjectionMask,
    /// The decoded columns, the key as text.
    schema: SchemaRef,
    /// The key's position among them.
    position: usize,
}

impl KeyPages {
    fn find(metadata: &ArrowReaderMetadata, root: usize, decoded: &[usize]) -> Option<Self> {
        let (descriptor, fields) = (metadata.parquet_schema(), metadata.schema().fields());
        let text = match fields[root].data_type() {
            DataType::Dictionary(_, value) => value,
            other => other,
        };
        if !matches!(text, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) {
            return None;
        }
        let leaf = keys::text_leaf(descriptor, root)?;
        let others = decoded.iter().copied().filter(|other| *other != root);
        let field = |at: &usize| match *at == root {
            true => Arc::new(Field::new(fields[root].name(), DataType::Utf8, true)),
            false => Arc::clone(&fields[*at]),
        };
        Some(Self {
            leaf,
            nullable: descriptor.column(leaf).max_def_level() > 0,
            others: ProjectionMask::roots(descriptor, others),
            schema: Arc::new(Schema::new(decoded.iter().map(field).collect::<Vec<_>>())),
            position: decoded.partition_point(|other| *other < root),
        })
    }

    /// The decoded columns, to which the key is added.
    fn with_key(&self, others: &RecordBatch, key: ArrayRef) -> Result<RecordBatch, ArrowError> {
        let mut columns = others.columns().to_vec();
        columns.insert(self.position, key);
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
    }
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

/// Whether identifiers survive in a column of this type: the zeros that an integer has lost are known where the identifier
/// has a fixed length; a fraction or a day is none.
fn may_be_key(data_type: &DataType, item_type: Option<ItemType>) -> bool {
    match data_type {
        DataType::Dictionary(_, value) => may_be_key(value, item_type),
        number if number.is_integer() => !matches!(item_type, Some(ItemType::Ci | ItemType::Pno)),
        number if number.is_decimal() => digits(item_type).is_none(),
        other => !(other.is_floating() || other.is_temporal() || *other == DataType::Boolean),
    }
}

/// [`probe_column`] of keys as they will be read: integers with the zeros that they have lost.
fn probe_keys(
    keys: &ArrayRef,
    item_type: Option<ItemType>,
    probe: &dyn KeyProbe,
    passed: &mut Passed,
) -> Result<BooleanArray, ArrowError> {
    if keys.data_type().is_integer() && digits(item_type).is_some() {
        return probe_column(&item_cast::cast(keys, &DataType::Utf8, item_type, '|')?.array, probe, passed);
    }
    probe_column(keys, probe, passed)
}

/// Wants nothing; for asking whether a type can be probed.
struct NoKey;

impl KeyProbe for NoKey {
    fn may_match(&self, _: &[u8]) -> bool {
        false
    }
}

/// Asks the probe about every key; a key that is absent is never wanted.
fn probe_column(keys: &ArrayRef, probe: &dyn KeyProbe, passed: &mut Passed) -> Result<BooleanArray, ArrowError> {
    let hits = match keys.data_type() {
        DataType::Utf8 => probe_bytes(keys.as_string::<i32>(), probe),
        DataType::LargeUtf8 => probe_bytes(keys.as_string::<i64>(), probe),
        DataType::Binary => probe_bytes(keys.as_binary::<i32>(), probe),
        DataType::LargeBinary => probe_bytes(keys.as_binary::<i64>(), probe),
        DataType::Utf8View => {
            let view = keys.as_string_view();
            collect(keys, |row| probe.may_match(view.value(row).as_bytes().trim_ascii()))
        }
        DataType::BinaryView => {
            let view = keys.as_binary_view();
            collect(keys, |row| probe.may_match(view.value(row).trim_ascii()))
        }
        DataType::FixedSizeBinary(_) => {
            let fixed = keys.as_fixed_size_binary();
            collect(keys, |row| probe.may_match(fixed.value(row).trim_ascii()))
        }
        DataType::Int32 => probe_int(keys.as_primitive::<Int32Type>(), probe),
        DataType::Int64 => probe_int(keys.as_primitive::<Int64Type>(), probe),
        DataType::Dictionary(_, value) => return probe_column(&cast(keys, value)?, probe, passed),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => {
            return probe_column(&cast(keys, &DataType::Int64)?, probe, passed);
        }
        _ => return probe_column(&item_cast::cast(keys, &DataType::Utf8, None, '|')?.array, probe, passed),
    };
    let seen = passed.seen;
    passed.ordinals.extend(hits.set_indices().map(|row| seen + row as u64));
    passed.seen += keys.len() as u64;
    Ok(BooleanArray::new(hits, None))
}

fn collect(keys: &dyn Array, mut hit: impl FnMut(usize) -> bool) -> BooleanBuffer {
    match keys.nulls() {
        Some(nulls) => BooleanBuffer::collect_bool(keys.len(), |row| nulls.is_valid(row) && hit(row)),
        None => BooleanBuffer::collect_bool(keys.len(), hit),
    }
}

fn probe_bytes<T: ByteArrayType>(keys: &GenericByteArray<T>, probe: &dyn KeyProbe) -> BooleanBuffer {
    collect(keys, |row| {
        let raw: &[u8] = keys.value(row).as_ref();
        probe.may_match(raw.trim_ascii())
    })
}

fn probe_int<T: ArrowPrimitiveType>(keys: &PrimitiveArray<T>, probe: &dyn KeyProbe) -> BooleanBuffer
where
    T::Native: Into<i64>,
{
    let mut buffer = [0; 20];
    collect(keys, |row| probe.may_match(decimal(keys.value(row).into(), &mut buffer)))
}

/// `value` as decimal text, written at the end of `buffer`.
fn decimal(value: i64, buffer: &mut [u8; 20]) -> &[u8] {
    let mut rest = value.unsigned_abs();
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        at -= 1;
        buffer[at] = b'-';
    }
    &buffer[at..]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::File;
    use std::path::Path;

    use std::collections::{BTreeMap, BTreeSet};

    use arrow::array::{
        Date32Array, Float64Array, Int32Array, Int64Array, StringArray, StringViewArray, TimestampMicrosecondArray,
    };
    use ieum_model::connector::Connector;
    use ieum_model::dataset::{
        Basis, Control, Dataset, Encoding, Export, Format, Item, Key, Limits, ManifestRule, Sensitivity, Sheet,
    };
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;

    use super::*;

    #[derive(Default)]
    struct Kept(Mutex<Vec<Reject>>);

    impl RejectSink for Kept {
        fn reject(&self, reject: Reject) -> Result<()> {
            self.0.lock().unwrap().push(reject);
            Ok(())
        }
    }

    struct Keys(BTreeSet<Vec<u8>>);

    impl KeyProbe for Keys {
        fn may_match(&self, raw_key: &[u8]) -> bool {
            self.0.contains(raw_key)
        }
    }

    fn dataset(path: &str, items: &[(&str, ItemType, bool)]) -> Dataset {
        let item = |item_type, list| Item {
            name_ko: String::new(),
            std: None,
            item_type,
            sensitivity: Sensitivity::G,
            list,
            default: false,
        };
        Dataset {
            code: "d".into(),
            name_ko: String::new(),
            holder: "h".into(),
            institution_code: None,
            category: String::new(),
            basis: Basis::K,
            basis_note: None,
            key: Key { item: "key".into(), space: "patient".into() },
            other_keys: Vec::new(),
            maps: Vec::new(),
            record_order: Vec::new(),
            validity_days: None,
            transferable: true,
            items: items.iter().map(|(code, t, list)| ((*code).to_owned(), item(*t, *list))).collect(),
            views: BTreeMap::new(),
            export: Some(Export {
                format: Format::Parquet,
                encoding: Encoding::Utf8,
                header: true,
                delimiter: ',',
                list_separator: '|',
                path: path.into(),
                entries: None,
                rows: None,
                quote: true,
                escape: None,
                null: None,
                repair: Vec::new(),
                limits: Limits::default(),
                at: Default::default(),
                columns: BTreeMap::new(),
                order: Vec::new(),
                layout: Vec::new(),
                framing: None,
                record_bytes: None,
                sheet: Sheet::default(),
                max_reject_ratio: 0.0,
                max_shrink: 0.5,
                contract: Vec::new(),
                control: Control::default(),
            }),
        }
    }

    fn spec(dataset: &Dataset, key: &str, codes: &[&str], wanted: Option<&[&str]>) -> (ScanSpec, Arc<Kept>) {
        let kept = Arc::new(Kept::default());
        let fields: Vec<Field> = codes.iter().map(|code| dataset.column_field(code)).collect();
        let keys = |keys: &[&str]| Keys(keys.iter().map(|key| key.as_bytes().to_vec()).collect());
        let spec = ScanSpec {
            schema: Arc::new(Schema::new(fields)),
            key_column: key.into(),
            probe: wanted.map(|wanted| Arc::new(keys(wanted)) as Arc<dyn KeyProbe>),
            rejects: Arc::clone(&kept) as Arc<dyn RejectSink>,
            batch_rows: 100,
        };
        (spec, kept)
    }

    fn read(connector: &dyn Connector, spec: &ScanSpec) -> (RecordBatch, ReadCounts) {
        let mut reader = connector.open(0, spec).unwrap();
        let mut batches = Vec::new();
        while let Some(batch) = reader.next_batch().unwrap() {
            assert_eq!(batch.schema(), spec.schema);
            assert!(batch.num_rows() <= spec.batch_rows);
            assert!(reader.counts().balances());
            batches.push(batch);
        }
        let all = concat_batches(&spec.schema, &batches).unwrap();
        assert!(reader.counts().balances());
        assert_eq!(reader.counts().kept, all.num_rows() as u64);
        (all, reader.counts())
    }

    fn write(folder: &Path, name: &str, columns: Vec<(&str, ArrayRef)>) {
        let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap();
        let properties = WriterProperties::builder()
            .set_max_row_group_row_count(Some(300))
            .set_data_page_row_count_limit(50)
            .set_write_batch_size(10)
            .build();
        let file = File::create(folder.join(name)).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }

    fn connector(folder: &Path, dataset: &Dataset) -> Box<dyn crate::replay::Replay> {
        super::super::open(folder, dataset).unwrap().unwrap()
    }

    fn filtered(all: &RecordBatch, key: usize, wanted: &[&str]) -> RecordBatch {
        let keys = all.column(key).as_string::<i32>();
        let hits: BooleanArray = keys.iter().map(|key| Some(key.is_some_and(|key| wanted.contains(&key)))).collect();
        filter_record_batch(all, &hits).unwrap()
    }

    #[test]
    fn a_probe_gives_what_a_full_read_filtered_gives_for_every_kind_of_key() {
        let number = |row: i64| if row % 97 == 5 { None } else { Some(row % 40 - 3) };
        let texts: Vec<Option<String>> = (0..1000).map(|row| number(row).map(|n| n.to_string())).collect();
        let large = cast(&(Arc::new(StringArray::from(texts.clone())) as ArrayRef), &DataType::LargeUtf8).unwrap();
        let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let keys: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(texts.clone())),
            Arc::new(StringViewArray::from_iter(texts.iter().map(Option::as_deref))),
            cast(&large, &dictionary).unwrap(),
            cast(&large, &DataType::Binary).unwrap(),
            large,
            Arc::new((0..1000).map(number).collect::<Int64Array>()),
            Arc::new((0..1000).map(|row| number(row).map(|n| n as i32)).collect::<Int32Array>()),
            cast(&(Arc::new((0..1000).map(number).collect::<Int64Array>()) as ArrayRef), &DataType::Decimal128(13, 0))
                .unwrap(),
        ];
        let wanted = ["-3", "0", "17", "99"];
        for key in keys {
            let folder = tempfile::tempdir().unwrap();
            let about = key.data_type().clone();
            let row: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
            write(folder.path(), "a.parquet", vec![("unwanted", Arc::clone(&row)), ("row", row), ("key", key)]);
            let dataset = dataset("*.parquet", &[("row", ItemType::Int, false)]);
            let connector = connector(folder.path(), &dataset);
            assert_eq!(connector.partitions(), ["a.parquet"]);
            let (all, full) = read(&*connector, &spec(&dataset, "key", &["key", "row"], None).0);
            let (hits, counts) = read(&*connector, &spec(&dataset, "key", &["key", "row"], Some(&wanted)).0);
            assert_eq!((full.read, full.kept, counts.read), (1000, 1000, 1000), "{about}");
            assert!(hits.num_rows() > 60, "{about}");
            assert_eq!(hits, filtered(&all, 0, &wanted), "{about}");
            assert_eq!(counts.filtered, 1000 - counts.kept, "{about}");
            let (none, counts) = read(&*connector, &spec(&dataset, "key", &["key", "row"], Some(&["x"])).0);
            assert_eq!((none.num_rows(), counts.filtered), (0, 1000), "{about}");
            assert!(counts.bytes < full.bytes, "{about}");
        }
    }

    #[test]
    fn a_missing_column_is_told_with_the_nearest_name() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "a.parquet", vec![("incom", Arc::new(Int64Array::from(vec![1])))]);
        let mut dataset = dataset("*.parquet", &[("income", ItemType::Amt, false)]);
        let (spec, _) = spec(&dataset, "key", &["income"], None);
        let error = connector(folder.path(), &dataset).open(0, &spec).err().unwrap();
        assert!(error.message.contains("`income`"), "{error}");
        assert!(error.hint.unwrap().contains("`incom`"));
        dataset.export.as_mut().unwrap().columns.insert("incom".into(), "income".into());
        assert_eq!(read(&*connector(folder.path(), &dataset), &spec).0.num_rows(), 1);
        dataset.export.as_mut().unwrap().columns.clear();
        dataset.items.get_mut("income").unwrap().std = Some("incom".into());
        assert_eq!(read(&*connector(folder.path(), &dataset), &spec).0.num_rows(), 1);
    }

    #[test]
    fn a_number_of_a_person_gets_the_zeros_back_that_it_lost_as_an_integer() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Int64Array::from(vec![Some(12_313_000_002), None, Some(9_912_313_000_002)]);
        let keys: [ArrayRef; 2] = [Arc::new(keys.clone()), cast(&keys, &DataType::UInt64).unwrap()];
        for key in keys {
            write(folder.path(), "a.parquet", vec![("key", key)]);
            let mut dataset = dataset("*.parquet", &[]);
            dataset.key.space = "person".into();
            let connector = connector(folder.path(), &dataset);
            let (spec, rejects) = spec(&dataset, "key", &["key"], Some(&["0012313000002", "9912313000002"]));
            let (rows, counts) = read(&*connector, &spec);
            let found: Vec<Option<&str>> = rows.column(0).as_string::<i32>().iter().collect();
            assert_eq!(found, [Some("0012313000002"), Some("9912313000002")]);
            assert_eq!((counts.read, counts.filtered, rejects.0.lock().unwrap().len()), (3, 1, 0));
        }
        let refused: [ArrayRef; 2] =
            [Arc::new(Float64Array::from(vec![9_912_313_000_002.0])), Arc::new(Date32Array::from(vec![1]))];
        for key in refused {
            write(folder.path(), "a.parquet", vec![("key", key)]);
            let dataset = dataset("*.parquet", &[]);
            let (spec, _) = spec(&dataset, "key", &["key"], Some(&["9912313000002"]));
            let opened = connector(folder.path(), &dataset).open(0, &spec);
            assert_eq!(opened.err().map(|error| error.kind), Some(ieum_model::error::ErrorKind::Contract));
        }
    }

    #[test]
    fn a_value_of_another_type_rejects_its_row_and_names_its_record() {
        let folder = tempfile::tempdir().unwrap();
        let key: ArrayRef = Arc::new(StringArray::from_iter_values((0..1000).map(|row| (row % 10).to_string())));
        let bad = [3, 13, 413, 999];
        let day = |row| {
            if bad.contains(&row) { "2024-02-30" } else { ["20240229", "2024-2-29", "2024.02.29 10:00"][row % 3] }
        };
        let days: ArrayRef = Arc::new(StringArray::from_iter_values((0..1000).map(day)));
        let half: ArrayRef =
            Arc::new(Float64Array::from_iter_values((0..1000).map(|row| if row == 23 { 0.5 } else { 2.0 })));
        write(folder.path(), "a.parquet", vec![("key", key), ("day", days), ("amount", half)]);
        let dataset = dataset("*.parquet", &[("day", ItemType::Date, false), ("amount", ItemType::Amt, false)]);
        let connector = connector(folder.path(), &dataset);
        for (wanted, lines, kept) in
            [(None, vec![4, 14, 24, 414, 1000], 995), (Some(&["3"][..]), vec![4, 14, 24, 414], 96)]
        {
            let (spec, rejects) = spec(&dataset, "key", &["key", "day", "amount"], wanted);
            let (rows, counts) = read(&*connector, &spec);
            let rejects = rejects.0.lock().unwrap();
            assert_eq!(rejects.iter().map(|reject| reject.line).collect::<Vec<_>>(), lines);
            assert_eq!((counts.read, counts.kept, counts.rejected), (1000, kept, lines.len() as u64));
            assert_eq!(rejects[0].raw, b"key=3\tday=2024-02-30\tamount=2.0");
            assert_eq!(rejects[0].strays, Strays { keys: vec![b"3".to_vec()], is_anybodys: false });
            assert_eq!((rejects[0].rule, rejects[0].column.as_deref()), ("type", Some("day")));
            assert_eq!(rejects[2].column.as_deref(), Some("amount"));
            assert!(rows.column(1).as_primitive::<arrow::datatypes::Date32Type>().iter().all(|d| d == Some(19_782)));
        }
    }

    #[test]
    fn lists_and_times_take_the_form_of_their_items() {
        let folder = tempfile::tempdir().unwrap();
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("a|b"), Some(""), None, Some("c")]));
        let numbers: ArrayRef = Arc::new(StringArray::from(vec![Some("1|x"), Some("2"), None, Some("3|4")]));
        let micros = TimestampMicrosecondArray::from(vec![Some(1_704_067_199_999_999), None, Some(0), Some(-1)]);
        let zoned: ArrayRef = Arc::new(micros.clone().with_timezone("UTC"));
        let file = vec![("text", text), ("numbers", numbers), ("at", Arc::new(micros) as ArrayRef), ("zoned", zoned)];
        write(folder.path(), "a.parquet", file);
        let items = [
            ("text", ItemType::Str, true),
            ("numbers", ItemType::Int, true),
            ("at", ItemType::Dt, false),
            ("zoned", ItemType::Date, false),
        ];
        let dataset = dataset("*.parquet", &items);
        let (spec, rejects) = spec(&dataset, "key", &["text", "numbers", "at", "zoned"], None);
        let (rows, counts) = read(&*connector(folder.path(), &dataset), &spec);
        assert_eq!((counts.kept, counts.rejected), (3, 1));
        assert_eq!(rejects.0.lock().unwrap()[0].column.as_deref(), Some("numbers"));
        let shown = |column: usize, row| arrow::util::display::array_value_to_string(rows.column(column), row).unwrap();
        assert_eq!([shown(0, 0), shown(0, 1), shown(0, 2)], ["", "", "[c]"]);
        assert!(rows.column(0).is_null(0));
        assert_eq!([shown(1, 0), shown(1, 2)], ["[2]", "[3, 4]"]);
        assert_eq!([shown(2, 1), shown(2, 2)], ["19700101000000", "19691231235959"]);
        assert_eq!([shown(3, 1), shown(3, 2)], ["1970-01-01", "1970-01-01"]);
    }

    #[test]
    fn a_truncated_or_changed_file_breaks_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        write(folder.path(), "a.parquet", vec![("n", Arc::new(Int64Array::from_iter_values(0..500)))]);
        let mut dataset = dataset("*", &[]);
        connector(folder.path(), &dataset).verify_control().unwrap();
        dataset.export.as_mut().unwrap().control.manifest = Some(ManifestRule::Sha256);
        let missing = connector(folder.path(), &dataset).verify_control().unwrap_err();
        assert!(missing.message.contains(".sha256"), "{missing}");
        let digest = crate::control::digest(&folder.path().into(), "a.parquet").unwrap();
        std::fs::write(folder.path().join("a.parquet.sha256"), format!("{digest}  a.parquet\n")).unwrap();
        let whole = connector(folder.path(), &dataset);
        assert_eq!(whole.partitions(), ["a.parquet"]);
        whole.verify_control().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 30]).unwrap();
        let changed = connector(folder.path(), &dataset).verify_control().unwrap_err();
        assert!(changed.message.contains("digest"), "{changed}");
        dataset.export.as_mut().unwrap().control.manifest = None;
        let truncated = connector(folder.path(), &dataset).verify_control().unwrap_err();
        assert!(truncated.context.contains(&("file", "a.parquet".to_owned())), "{truncated}");
        assert_eq!(truncated.kind, ieum_model::error::ErrorKind::Contract);
    }

    #[test]
    fn no_file_is_no_connector_and_files_come_in_name_order() {
        let folder = tempfile::tempdir().unwrap();
        let dataset = dataset("in/*.parquet", &[]);
        assert!(super::super::open(folder.path(), &dataset).unwrap().is_none());
        std::fs::create_dir(folder.path().join("in")).unwrap();
        for name in ["in/b.parquet", "in/a.parquet"] {
            write(folder.path(), name, vec![("n", Arc::new(Int64Array::from(vec![1])))]);
        }
        assert_eq!(connector(folder.path(), &dataset).partitions(), ["in/a.parquet", "in/b.parquet"]);
    }

    #[test]
    fn real_tables_are_read_whole_and_probed_rightly() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/health/omop-gibleed");
        if !folder.is_dir() {
            return;
        }
        for (table, rows, start) in [
            ("person", 2694, "birth_datetime"),
            ("condition_occurrence", 65_332, "condition_start_date"),
            ("drug_exposure", 67_707, "drug_exposure_start_date"),
        ] {
            let mut dataset = dataset(&format!("{table}.parquet"), &[(start, ItemType::Date, false)]);
            let source = format!("{}_source_value", table.split('_').next().unwrap());
            for code in ["person_id", start, &source] {
                dataset.export.as_mut().unwrap().columns.insert(code.to_uppercase(), code.to_owned());
            }
            let connector = connector(&folder, &dataset);
            let codes = ["person_id", start, &source];
            let wanted = ["6", "123", "5001"];
            let (all, counts) = read(&*connector, &spec(&dataset, "person_id", &codes, None).0);
            assert_eq!((counts.read, counts.kept), (rows, rows));
            let (hits, counts) = read(&*connector, &spec(&dataset, "person_id", &codes, Some(&wanted)).0);
            assert_eq!(counts.read, rows);
            assert!(hits.num_rows() > 0);
            assert_eq!(hits, filtered(&all, 0, &wanted), "{table}");
            connector.verify_control().unwrap();
        }
    }
}
