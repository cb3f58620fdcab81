//! Reads one Arrow IPC file or stream, batch by batch.

use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::{FileReader, StreamReader};
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use ieum_model::connector::{BatchReader, FileColumn, ReadCounts, Reject, ScanSpec, Strays};
use ieum_model::dataset::ItemType;
use ieum_model::error::{Error, Result};

use super::guard::{self, Fault, InPlace, Unpacked};
use super::{damaged, guarded};
use crate::export::ExportFiles;
use crate::files::Source;
use crate::folder::Seekable;
use crate::parquet::cast::cast;
use crate::replay::{KeptRow, Replayed};
use crate::{archive, columns};

/// The first bytes of the file format.
const MAGIC: &[u8] = b"ARROW1";

/// The batches of a file, in its order.
enum Batches {
    File(Box<FileReader<BufReader<Seekable>>>),
    Stream(Box<StreamReader<BufReader<SourceReader>>>),
}

/// A source as `Read`, what it says of itself kept.
struct SourceReader(Source);

impl Read for SourceReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.fill(buffer).map_err(|error| std::io::Error::other(error.message))
    }
}

impl Batches {
    fn open(files: &ExportFiles, name: &str) -> Result<(Self, u64)> {
        let root = &files.root;
        let mut source = Source::open(root, name)?;
        let mut head = [0; MAGIC.len()];
        let filled = source.fill(&mut head)?;
        let (bytes, _) = root.about(name)?;
        let broken = |_: ArrowError| damaged(name);
        let is_file = head[..filled] == *MAGIC;
        let is_packed = archive::split(name).1.is_some() || name.ends_with(".gz") || name.ends_with(".zst");
        let limits = files.export.limits;
        let checked = match (is_file, is_packed) {
            (true, false) => guard::file(InPlace(root.seekable(name)?), bytes, limits),
            (false, false) => guard::stream(InPlace(root.seekable(name)?), limits),
            (false, true) => guard::stream(Unpacked::new(SourceReader(Source::open(root, name)?)), limits),
            (true, true) => {
                return Err(Error::contract("an Arrow file in the file format is packed")
                    .at("export", name)
                    .hint("such a file is read in any order: ask the holder for it unpacked, or as a stream"));
            }
        };
        checked.map_err(|fault| match fault {
            Fault::Damaged => damaged(name),
            Fault::Beyond => super::beyond(name, limits),
        })?;
        if !is_file {
            let stream = BufReader::new(SourceReader(Source::open(root, name)?));
            return Ok((Self::Stream(Box::new(StreamReader::try_new(stream, None).map_err(broken)?)), bytes));
        }
        let batches = FileReader::try_new(BufReader::new(root.seekable(name)?), None).map_err(broken)?;
        Ok((Self::File(Box::new(batches)), bytes))
    }

    fn schema(&self) -> SchemaRef {
        match self {
            Self::File(reader) => reader.schema(),
            Self::Stream(reader) => reader.schema(),
        }
    }

    fn next(&mut self) -> Option<Result<RecordBatch, ArrowError>> {
        match self {
            Self::File(reader) => reader.next(),
            Self::Stream(reader) => reader.next(),
        }
    }
}

/// The columns of a file, with the types that it gives them.
pub(super) fn columns(files: &ExportFiles, name: &str) -> Result<Vec<FileColumn>> {
    let (batches, _) = Batches::open(files, name)?;
    let column = |field: &Arc<arrow::datatypes::Field>| FileColumn {
        name: field.name().clone(),
        kind: Some(field.data_type().to_string().to_ascii_lowercase()),
    };
    Ok(batches.schema().fields().iter().map(column).collect())
}

/// The rows of `rejects`, which are in file order, each as a stream of all columns of the file.
pub(super) fn keep(files: &ExportFiles, name: &str, rejects: &[Reject]) -> Result<Vec<Vec<u8>>> {
    let (mut batches, _) = Batches::open(files, name)?;
    let (mut kept, mut before) = (Vec::with_capacity(rejects.len()), 0_u64);
    while kept.len() < rejects.len() {
        let batch = batches.next().ok_or_else(|| damaged(name))?.map_err(|_| damaged(name))?;
        let end = before + batch.num_rows() as u64;
        while let Some(reject) = rejects.get(kept.len()).filter(|reject| reject.line <= end) {
            let row = usize::try_from(reject.line - 1 - before).unwrap_or(0);
            let stream = stream_of(&batch.slice(row, 1));
            kept.push(stream.map_err(|error| Error::internal(format!("a row cannot be kept: {error}")))?);
        }
        before = end;
    }
    Ok(kept)
}

fn stream_of(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
    writer.write(batch)?;
    writer.into_inner()
}

/// Casts batches of a file's columns to what is wanted.
struct Casting {
    name: String,
    /// Place in the file and type of each column of the schema.
    wanted: Vec<(usize, Option<ItemType>)>,
    spec: ScanSpec,
    /// Position in the schema of the column that is probed.
    probed: Option<usize>,
    /// Position in the schema of the key.
    key: Option<usize>,
    list_separator: char,
    counts: ReadCounts,
}

impl Casting {
    fn try_new(
        files: &ExportFiles,
        name: &str,
        types: &BTreeMap<String, ItemType>,
        spec: &ScanSpec,
        file: &Schema,
    ) -> Result<Self> {
        let names: Vec<&str> = file.fields().iter().map(|field| field.name().as_str()).collect();
        let located = columns::locate(&files.dataset, &files.export, &names, &spec.schema)
            .map_err(|error| error.at("export", name))?;
        let fields = spec.schema.fields();
        let wanted: Vec<_> =
            located.iter().zip(fields).map(|(at, field)| (*at, types.get(field.name()).copied())).collect();
        let separator = files.export.list_separator;
        for ((at, item_type), field) in wanted.iter().zip(fields) {
            let found = file.field(*at).data_type();
            if cast(&arrow::array::new_empty_array(found), field.data_type(), *item_type, separator).is_err() {
                let message = format!("column `{}` is of type {found}, {} is wanted", field.name(), field.data_type());
                return Err(files.broken(name, message, "compare the item's `type` in the catalog with the file"));
            }
        }
        Ok(Self {
            name: name.to_owned(),
            wanted,
            probed: columns::key(spec)?,
            key: spec.schema.index_of(&spec.key_column).ok(),
            spec: spec.clone(),
            list_separator: separator,
            counts: ReadCounts::default(),
        })
    }

    fn broken(&self, error: &ArrowError) -> Error {
        Error::internal(format!("a batch does not fit its schema: {error}")).at("export", &self.name)
    }

    /// The rows of a batch that can be read and are wanted; `record` is the number in the file, from 1, of a row of it.
    fn batch(&mut self, batch: &RecordBatch, record: impl Fn(usize) -> u64) -> Result<RecordBatch> {
        self.counts.read += batch.num_rows() as u64;
        let hits = self.hits(batch)?;
        let ordinals: Option<Vec<usize>> = hits.as_ref().map(|hits| hits.values().set_indices().collect());
        let batch = match &hits {
            Some(hits) => &filter_record_batch(batch, hits).map_err(|error| self.broken(&error))?,
            None => batch,
        };
        let filtered = hits.as_ref().map_or(0, |hits| hits.len() - batch.num_rows());
        self.counts.filtered += filtered as u64;
        let (mut columns, mut bad) = (Vec::with_capacity(self.wanted.len()), Vec::new());
        for (index, ((at, item_type), field)) in self.wanted.iter().zip(self.spec.schema.fields()).enumerate() {
            let done = cast(batch.column(*at), field.data_type(), *item_type, self.list_separator);
            let done = done.map_err(|error| self.broken(&error))?;
            bad.extend(done.bad.into_iter().map(|row| (row, index)));
            columns.push(done.array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let cast = RecordBatch::try_new_with_options(Arc::clone(&self.spec.schema), columns, &options)
            .map_err(|error| self.broken(&error))?;
        bad.sort_unstable();
        bad.dedup_by_key(|(row, _)| *row);
        let mut keep = vec![true; batch.num_rows()];
        for (row, index) in &bad {
            keep[*row] = false;
            let line = record(ordinals.as_ref().map_or(*row, |ordinals| ordinals[*row]));
            self.reject(batch, &cast, *row, *index, line)?;
        }
        self.counts.rejected += bad.len() as u64;
        self.counts.kept += (batch.num_rows() - bad.len()) as u64;
        if bad.is_empty() {
            return Ok(cast);
        }
        filter_record_batch(&cast, &BooleanArray::from(keep)).map_err(|error| self.broken(&error))
    }

    /// Which rows the probe lets pass; `None` where nothing is probed. An absent key is never wanted.
    fn hits(&self, batch: &RecordBatch) -> Result<Option<BooleanArray>> {
        let (Some(probe), Some(probed)) = (&self.spec.probe, self.probed) else { return Ok(None) };
        let (at, item_type) = self.wanted[probed];
        let keys = cast(batch.column(at), &DataType::Utf8, item_type, self.list_separator);
        let keys = keys.map_err(|error| self.broken(&error))?.array;
        let keys = keys.as_string::<i32>();
        let hit = |row: usize| keys.is_valid(row) && probe.may_match(keys.value(row).trim().as_bytes());
        Ok(Some((0..keys.len()).map(|row| Some(hit(row))).collect()))
    }

    fn reject(&self, batch: &RecordBatch, cast: &RecordBatch, row: usize, index: usize, line: u64) -> Result<()> {
        let field = self.spec.schema.field(index);
        let found = batch.column(self.wanted[index].0).data_type();
        let key = self.key.filter(|key| *key != index).and_then(|key| text(cast.column(key), row));
        self.spec.rejects.reject(Reject {
            source: self.name.clone(),
            line,
            byte_offset: 0,
            rule: "type",
            column: Some(field.name().clone()),
            reason: format!("expected a value of type {}, the file's column is {found}", field.data_type()),
            raw: self.raw(batch, row)?,
            strays: match key {
                Some(key) => Strays { keys: vec![key], is_anybodys: false },
                None => Strays { keys: Vec::new(), is_anybodys: true },
            },
        })
    }

    /// The wanted values of one row as they stand in the file, each after its column's name, separated by tabs.
    fn raw(&self, batch: &RecordBatch, row: usize) -> Result<Vec<u8>> {
        let value = |(at, _): &(usize, Option<ItemType>)| {
            let shown = ArrayFormatter::try_new(batch.column(*at), &FormatOptions::default())?.value(row).to_string();
            Ok(format!("{}={shown}", batch.schema_ref().field(*at).name()))
        };
        let values: Result<Vec<String>, ArrowError> = self.wanted.iter().map(value).collect();
        Ok(values.map_err(|_| Error::internal("a rejected row cannot be written"))?.join("\t").into_bytes())
    }
}

fn text(column: &ArrayRef, row: usize) -> Option<Vec<u8>> {
    let texts = column.as_string_opt::<i32>().filter(|texts| texts.is_valid(row))?;
    Some(texts.value(row).trim().as_bytes().to_vec())
}

/// Rows of one file.
pub(super) struct Reader {
    batches: Batches,
    casting: Casting,
    /// The batch that is handed on piece by piece, and where the next piece begins.
    pending: Option<(RecordBatch, usize)>,
    /// Rows of the file before the next batch.
    before: u64,
}

impl Reader {
    pub(super) fn open(
        files: &ExportFiles,
        name: &str,
        types: &BTreeMap<String, ItemType>,
        spec: &ScanSpec,
    ) -> Result<Self> {
        let (batches, bytes) = Batches::open(files, name)?;
        let mut casting = Casting::try_new(files, name, types, spec, &batches.schema())?;
        casting.counts.bytes = bytes;
        Ok(Self { batches, casting, pending: None, before: 0 })
    }

    fn read_on(&mut self) -> Result<Option<RecordBatch>> {
        let rows = self.casting.spec.batch_rows.max(1);
        loop {
            if let Some((batch, start)) = self.pending.take() {
                let length = rows.min(batch.num_rows() - start);
                let piece = batch.slice(start, length);
                if start + length < batch.num_rows() {
                    self.pending = Some((batch, start + length));
                }
                let before = self.before;
                self.before += length as u64;
                let done = self.casting.batch(&piece, |row| before + row as u64 + 1)?;
                if done.num_rows() > 0 {
                    return Ok(Some(done));
                }
                continue;
            }
            match self.batches.next() {
                None => return Ok(None),
                Some(batch) => {
                    let batch = batch.map_err(|_| damaged(&self.casting.name))?;
                    self.pending = (batch.num_rows() > 0).then_some((batch, 0));
                }
            }
        }
    }
}

impl BatchReader for Reader {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let name = self.casting.name.clone();
        guarded(&name, || self.read_on())
    }

    fn counts(&self) -> ReadCounts {
        self.casting.counts
    }
}

/// Casts rows that [`keep`] kept, as if they stood in the file.
pub(super) fn replay(
    files: &ExportFiles,
    name: &str,
    types: &BTreeMap<String, ItemType>,
    spec: &ScanSpec,
    rows: &[KeptRow],
) -> Result<Replayed> {
    let broken = |error: ArrowError| Error::internal(format!("a kept row cannot be read: {error}"));
    let (mut batches, mut counts) = (Vec::new(), ReadCounts::default());
    for row in rows {
        let mut stream = StreamReader::try_new(row.bytes.as_slice(), None).map_err(broken)?;
        let batch = stream.next().ok_or_else(|| Error::internal("a kept row is empty"))?.map_err(broken)?;
        let mut casting = Casting::try_new(files, name, types, spec, &batch.schema())?;
        batches.push(casting.batch(&batch, |_| row.line)?);
        counts += casting.counts;
    }
    let batch = concat_batches(&spec.schema, &batches).map_err(broken)?;
    Ok(Replayed { batch: (batch.num_rows() > 0).then_some(batch), counts })
}
