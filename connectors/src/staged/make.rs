//! Makes a copy: one pass over the export, and a commit that leaves either the old copy or the new one.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, RecordBatch, StringArray, StringBuilder, UInt32Array, UInt64Array,
    new_null_array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use chrono::NaiveDate;
use ieum_model::connector::{Connector, KeyProbe, Reject, RejectSink, Repaired, ScanSpec, Strays};
use ieum_model::dataset::{Dataset, Key};
use ieum_model::error::{Error, ErrorKind, Result};

use super::about::{self, ABOUT, About, CopyFile, KeyFile};
use super::sort::Sorter;
use super::write::{self, KEPT, Writer, unwritten};
use super::{Unusable, fresh};
use crate::folder::Exports;
use crate::replay::{KeptRow, Replay};
use crate::{Located, locate};

/// Rows decoded at a time.
const BATCH_ROWS: usize = 8192;

/// Makes a raw key of a key space canonical: clears the buffer and writes into it.
pub type Canonical<'a> = dyn Fn(&str, &[u8], &mut Vec<u8>) + Sync + 'a;

/// What copies are made with.
#[derive(Clone, Copy)]
pub struct Making<'a> {
    /// Where the exports are.
    pub exports: &'a Exports,
    /// Folder of the copies.
    pub copies: &'a Path,
    /// Date of the run that the copies are for.
    pub on: NaiveDate,
    /// Memory in bytes that a copy may take while it is made; about, not to the byte.
    pub memory: u64,
    /// How keys are made canonical: the same way as the wanted keys are.
    pub canonical: &'a Canonical<'a>,
}

/// What became of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// The holder delivered no file.
    Missing,
    /// The newest export is past its validity.
    Outdated,
    /// A whole, fresh copy stands there already.
    Fresh(Sizes),
    /// The copy was made.
    Written(Sizes),
}

/// Sizes of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Data rows of the export.
    pub rows: u64,
    /// Bytes of the export's files.
    pub bytes_in: u64,
    /// Bytes of the copy's files.
    pub bytes_out: u64,
}

fn sizes(about: &About, folder: &Path) -> Sizes {
    let description = folder.join(ABOUT).metadata().map_or(0, |file| file.len());
    Sizes {
        rows: about.rows,
        bytes_in: about.exports.iter().map(|file| file.bytes).sum(),
        bytes_out: about.files().map(|file| file.bytes).sum::<u64>() + description,
    }
}

/// Makes the copy of a dataset's export, unless a whole and fresh one stands there.
///
/// # Errors
/// [`ErrorKind::ControlTotals`] and [`ErrorKind::Contract`] where the export does not keep its promises: it gets no copy.
/// [`ErrorKind::Temporary`] where the copy cannot be written, or the export changes meanwhile.
///
/// # Privacy
/// Writes every row of the export, readable by the owner of the folder only.
pub fn make(dataset: &Dataset, making: &Making<'_>) -> Result<Made> {
    let export = match locate(making.exports.of(dataset)?, dataset, making.on)? {
        Located::Missing | Located::Unfinished(_) => return Ok(Made::Missing),
        Located::Drifted(error) => return Err(error),
        Located::Stale { .. } => return Ok(Made::Outdated),
        Located::Export(export) => export,
    };
    let now = about::now(making.exports.of(dataset)?, dataset, export.as_ref())?;
    let folder = making.copies.join(&dataset.code);
    if let Ok(Some(about)) = fresh(&folder, &now, true) {
        return Ok(Made::Fresh(sizes(&about, &folder)));
    }
    if !export.checks_totals_while_reading() {
        export.verify_control()?;
    }
    let aside = making.copies.join(format!("{}.partial", dataset.code));
    remove(&aside)?;
    create_folder(&aside)?;
    let copied = copy(dataset, export.as_ref(), making, &aside, now).and_then(|about| {
        if about::now(making.exports.of(dataset)?, dataset, export.as_ref())?.exports != about.exports {
            let changed = "the export has changed while its copy was made";
            return Err(Error::new(ErrorKind::Temporary, changed).hint("run `ieum stage` again"));
        }
        commit(&aside, &folder, &about)?;
        Ok(Made::Written(sizes(&about, &folder)))
    });
    match copied {
        Ok(made) => remove(&aside).map(|()| made),
        Err(error) => {
            // What is left of a copy that failed is no copy, and removed next time.
            let _ = remove(&aside);
            Err(error)
        }
    }
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(unwritten(&error, folder)),
        _ => Ok(()),
    }
}

fn create_folder(folder: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| unwritten(&error, folder))
}

/// Moves the files of a copy to their folder, the description last, and removes those of the copy before.
fn commit(aside: &Path, folder: &Path, about: &About) -> Result<()> {
    create_folder(folder)?;
    for file in about.files() {
        write::install(aside, folder, &file.name)?;
    }
    write::sync_folder(folder)?;
    write::put(&aside.join(ABOUT), about.text().as_bytes())?;
    fs::rename(aside.join(ABOUT), folder.join(ABOUT)).map_err(|error| unwritten(&error, folder))?;
    write::sync_folder(folder)?;
    let own: BTreeSet<&str> = about.files().map(|file| file.name.as_str()).collect();
    for entry in fs::read_dir(folder).map_err(|error| unwritten(&error, folder))? {
        let path = entry.map_err(|error| unwritten(&error, folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name != ABOUT && !own.contains(name.as_ref()) {
            fs::remove_file(&path).map_err(|error| unwritten(&error, &path))?;
        }
    }
    Ok(())
}

/// Columns of the dataset that every file of the export holds: all items, and all columns that name a key.
fn columns(dataset: &Dataset, export: &dyn Connector) -> Result<SchemaRef> {
    let keys = dataset.lookup_keys();
    let to = dataset.maps.iter().flat_map(|map| [&map.from, &map.to]);
    let names: BTreeSet<&String> = dataset.items.keys().chain(keys.iter().map(|key| &key.item)).chain(to).collect();
    let fields: Vec<Field> = names.into_iter().map(|name| dataset.column_field(name)).collect();
    let opens = |fields: &[Field]| {
        let spec = spec(Arc::new(Schema::new(fields.to_vec())), "", None, Arc::new(NoRejects));
        (0..export.partitions().len()).try_for_each(|partition| export.open(partition, &spec).map(drop))
    };
    match opens(&fields) {
        Ok(()) => Ok(Arc::new(Schema::new(fields))),
        // A column that is not there troubles only a night that asks for it; such a night reads the export.
        Err(error) if error.kind == ErrorKind::Contract => {
            let found: Vec<Field> =
                fields.into_iter().filter(|field| opens(std::slice::from_ref(field)).is_ok()).collect();
            let has_key = keys.iter().any(|key| found.iter().any(|field| *field.name() == key.item));
            if has_key { Ok(Arc::new(Schema::new(found))) } else { Err(error) }
        }
        Err(error) => Err(error),
    }
}

fn spec(
    schema: SchemaRef,
    key_column: &str,
    probe: Option<Arc<dyn KeyProbe>>,
    rejects: Arc<dyn RejectSink>,
) -> ScanSpec {
    ScanSpec { schema, key_column: key_column.to_owned(), probe, rejects, batch_rows: BATCH_ROWS }
}

/// Forgets rejects.
struct NoRejects;

impl RejectSink for NoRejects {
    fn reject(&self, _reject: Reject) -> Result<()> {
        Ok(())
    }
}

/// Notes the key that it is asked about, and wants nothing.
#[derive(Default)]
struct Asked(Mutex<Option<Vec<u8>>>);

impl KeyProbe for Asked {
    fn may_match(&self, raw_key: &[u8]) -> bool {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(raw_key.to_vec());
        false
    }

    fn strays(&self, _pieces: &[&[u8]], _row: &[u8]) -> Strays {
        Strays::default()
    }
}

/// Takes the rows that cannot be read whole: those that no one can read to their file, the others to be kept aside.
struct Sorting {
    partition: u32,
    limit: usize,
    met: Mutex<Met>,
}

struct Met {
    rejects: Rejects,
    keepable: Vec<Reject>,
    bytes: usize,
}

impl RejectSink for Sorting {
    fn reject(&self, reject: Reject) -> Result<()> {
        let mut met = self.met.lock().map_err(|_| Error::internal("a reader stopped while rejecting"))?;
        if reject.column.is_none() {
            return met.rejects.push(RejectRow::told(self.partition, reject));
        }
        met.bytes += reject.raw.len() + size_of::<Reject>();
        if met.bytes > self.limit {
            return Err(Error::contract("too many rows in a row cannot be read")
                .at("export", &reject.source)
                .at("line", reject.line));
        }
        met.keepable.push(reject);
        Ok(())
    }

    /// Its repair is to be told each night that reads it: it is decoded whoever is asked for.
    fn repaired(&self, note: Reject) -> Result<Repaired> {
        let mut met = self.met.lock().map_err(|_| Error::internal("a reader stopped while rejecting"))?;
        let Reject { line, byte_offset, raw: bytes, .. } = note;
        let row = RejectRow { key: None, partition: self.partition, line, byte_offset, verdict: None, bytes };
        met.rejects.push(row)?;
        Ok(Repaired::Taken)
    }
}

/// Reads the export to its end and writes its rows into `aside`, sorted by every key.
fn copy(dataset: &Dataset, export: &dyn Replay, making: &Making<'_>, aside: &Path, mut about: About) -> Result<About> {
    let columns = columns(dataset, export)?;
    let held = |key: &Key| columns.field_with_name(&key.item).is_ok_and(|field| *field.data_type() == DataType::Utf8);
    let keys: Vec<Key> = dataset.lookup_keys().into_iter().filter(held).collect();
    if keys.is_empty() {
        return Err(Error::contract("the export has no key column that is a single text"));
    }
    let schema = write::schema(&columns);
    let memory = usize::try_from(making.memory).unwrap_or(usize::MAX);
    // Half for the rows that wait; sorting and writing them takes about as much again.
    let mut sorter = Sorter::new(aside, Arc::clone(&schema), keys.len(), memory / 2);
    let id = about.id();
    let mut rejects = Rejects::new(aside, format!("rejects.{id}.rows"));
    let mut kept_aside = 0;
    for partition in 0..export.partitions().len() {
        let number = u32::try_from(partition).map_err(|_| Error::contract("the export has too many files"))?;
        let met = Met { rejects, keepable: Vec::new(), bytes: 0 };
        let sorting = Arc::new(Sorting { partition: number, limit: memory / 4, met: Mutex::new(met) });
        let sink: Arc<dyn RejectSink> = Arc::<Sorting>::clone(&sorting);
        let mut reader = export.open(partition, &spec(Arc::clone(&columns), "", None, sink))?;
        loop {
            let batch = reader.next_batch()?;
            let mut met = sorting.met.lock().map_err(|_| Error::internal("a reader stopped while rejecting"))?;
            met.bytes = 0;
            let keepable = std::mem::take(&mut met.keepable);
            if !keepable.is_empty() {
                let aside = Aside { export, partition, columns: &columns, keys: &keys, canonical: making.canonical };
                let (rows, of_rows) = aside.keep(number, &keepable, &mut met.rejects)?;
                kept_aside += rows.num_rows() as u64;
                sorter.push(rows, of_rows)?;
            }
            let Some(batch) = batch else { break };
            let of_rows =
                keys.iter().map(|key| canonical_keys(&batch, key, making.canonical)).collect::<Result<_>>()?;
            sorter.push(with_nothing_kept(&batch, &schema)?, of_rows)?;
        }
        let counts = reader.counts();
        if !counts.balances() {
            return Err(Error::new(ErrorKind::Integrity, "rows of the export are not accounted for"));
        }
        about.rows += counts.read;
        drop(reader);
        let sorting = Arc::into_inner(sorting).ok_or_else(|| Error::internal("a reader still rejects"))?;
        rejects = sorting.met.into_inner().map_err(|_| Error::internal("a reader stopped while rejecting"))?.rejects;
    }
    about.rejects = rejects.finish()?;
    about.columns = columns.fields().iter().map(|field| field.name().clone()).collect();
    about.kept_aside = kept_aside;
    about.keys = write_sorted(sorter, &keys, &schema, aside, &id)?;
    Ok(about)
}

/// One file after the other; the files of the keys come one after the other too.
fn write_sorted(sorter: Sorter, keys: &[Key], schema: &SchemaRef, aside: &Path, id: &str) -> Result<Vec<KeyFile>> {
    let name = |at: usize| {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        format!("{at}-{}.{id}.rows", keys[at].item.chars().map(plain).collect::<String>())
    };
    let create = |at: usize| Writer::create(aside, name(at), schema);
    let mut writers: Vec<Option<Writer>> = (0..keys.len()).map(|_| None).collect();
    sorter.finish(|at, batch| {
        if writers[at].is_none() {
            writers[at] = Some(create(at)?);
        }
        writers[at].as_mut().map_or(Ok(()), |writer| writer.write(batch))
    })?;
    let mut files = Vec::with_capacity(keys.len());
    for (at, (key, writer)) in keys.iter().zip(writers).enumerate() {
        let file = writer.map_or_else(|| create(at), Ok)?.finish()?;
        files.push(KeyFile { column: key.item.clone(), space: key.space.clone(), file });
    }
    Ok(files)
}

/// Canonical form of a key column; absent where nothing is left of a key.
fn canonical_keys(batch: &RecordBatch, key: &Key, canonical: &Canonical<'_>) -> Result<StringArray> {
    let raw = batch.column_by_name(&key.item).map(ArrayRef::as_ref).and_then(|column| column.as_string_opt::<i32>());
    let raw = raw.ok_or_else(|| Error::internal("a key column is not text").at("column", &key.item))?;
    let mut keys = StringBuilder::with_capacity(raw.len(), raw.value_data().len());
    let mut buffer = Vec::new();
    for value in raw {
        keys.append_option(value.and_then(|value| canonical_key(value.as_bytes(), &key.space, canonical, &mut buffer)));
    }
    Ok(keys.finish())
}

fn canonical_key<'a>(raw: &[u8], space: &str, canonical: &Canonical<'_>, buffer: &'a mut Vec<u8>) -> Option<&'a str> {
    canonical(space, raw, buffer);
    std::str::from_utf8(buffer).ok().filter(|key| !key.is_empty())
}

/// The rows of a batch that can be read whole.
fn with_nothing_kept(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let mut columns = batch.columns().to_vec();
    columns.push(new_null_array(&DataType::Binary, batch.num_rows()));
    stored(schema, columns)
}

/// A batch of the columns of a file, without its key.
fn stored(schema: &SchemaRef, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    let without_key = Schema::new(schema.fields()[1..].to_vec());
    let bug = |error| Error::internal(format!("rows do not fit the copy: {error}"));
    RecordBatch::try_new(Arc::new(without_key), columns).map_err(bug)
}

/// How rows are kept aside.
struct Aside<'a> {
    export: &'a dyn Replay,
    partition: usize,
    columns: &'a SchemaRef,
    keys: &'a [Key],
    canonical: &'a Canonical<'a>,
}

impl Aside<'_> {
    /// The rows as they are stored, and their canonical keys. A row that is rejected before its key is looked at goes to
    /// `rejects` too: it is decoded whoever is asked for.
    fn keep(
        &self,
        partition: u32,
        keepable: &[Reject],
        rejects: &mut Rejects,
    ) -> Result<(RecordBatch, Vec<StringArray>)> {
        let bytes = self.export.keep(self.partition, keepable)?;
        if bytes.len() != keepable.len() {
            return Err(Error::internal("a row that cannot be read is not found again"));
        }
        let row = |(reject, bytes): (&Reject, Vec<u8>)| {
            [KeptRow { line: reject.line, byte_offset: reject.byte_offset, bytes, shapeless: None }]
        };
        let rows: Vec<[KeptRow; 1]> = keepable.iter().zip(bytes).map(row).collect();
        let mut of_rows = Vec::with_capacity(self.keys.len());
        let mut buffer = Vec::new();
        for key in self.keys {
            let mut keys = StringBuilder::new();
            for row in &rows {
                let raw = self.key_of(row, key)?;
                if raw.is_none() {
                    rejects.push(RejectRow::to_decode(partition, &key.item, &row[0]))?;
                }
                let canonical =
                    raw.as_deref().and_then(|raw| canonical_key(raw, &key.space, self.canonical, &mut buffer));
                keys.append_option(canonical);
            }
            of_rows.push(keys.finish());
        }
        let schema = write::schema(self.columns);
        let fields = self.columns.fields();
        let mut columns: Vec<ArrayRef> =
            fields.iter().map(|field| new_null_array(field.data_type(), rows.len())).collect();
        let kept = rows.iter().map(|[row]| Some(write::kept(partition, row)));
        columns.push(Arc::new(kept.collect::<BinaryArray>()));
        Ok((stored(&schema, columns)?, of_rows))
    }

    /// The key that the probe of a night would be asked about; `None` where it would not be asked.
    fn key_of(&self, row: &[KeptRow], key: &Key) -> Result<Option<Vec<u8>>> {
        let field = self.columns.field_with_name(&key.item).cloned();
        let field = field.map_err(|_| Error::internal("a key column is not held"))?;
        let asked = Arc::new(Asked::default());
        let probe: Arc<dyn KeyProbe> = Arc::<Asked>::clone(&asked);
        let spec = spec(Arc::new(Schema::new(vec![field])), &key.item, Some(probe), Arc::new(NoRejects));
        self.export.replay(self.partition, &spec, row)?;
        Ok(asked.0.lock().unwrap_or_else(PoisonError::into_inner).take())
    }
}

/// A row that is told or decoded whoever is asked for.
struct RejectRow {
    /// Key column of the lookup that it belongs to; `None`: every one.
    key: Option<String>,
    partition: u32,
    line: u64,
    byte_offset: u64,
    /// Rule and reason of a reject; `None`: its format has to decide.
    verdict: Option<(&'static str, String)>,
    bytes: Vec<u8>,
}

impl RejectRow {
    fn told(partition: u32, reject: Reject) -> Self {
        let Reject { line, byte_offset, rule, reason, raw, .. } = reject;
        Self { key: None, partition, line, byte_offset, verdict: Some((rule, reason)), bytes: raw }
    }

    fn to_decode(partition: u32, key: &str, row: &KeptRow) -> Self {
        let KeptRow { line, byte_offset, bytes, .. } = row.clone();
        Self { key: Some(key.to_owned()), partition, line, byte_offset, verdict: None, bytes }
    }
}

/// Columns of the file of rejects.
pub(super) fn reject_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Utf8, true),
        Field::new("partition", DataType::UInt32, false),
        Field::new("line", DataType::UInt64, false),
        Field::new("byte_offset", DataType::UInt64, false),
        Field::new("rule", DataType::Utf8, true),
        Field::new("reason", DataType::Utf8, true),
        Field::new("bytes", DataType::Binary, false),
    ]))
}

/// Writes the file of rejects, if there are any.
struct Rejects {
    folder: PathBuf,
    name: String,
    waiting: Vec<RejectRow>,
    bytes: usize,
    writer: Option<Writer>,
}

impl Rejects {
    fn new(folder: &Path, name: String) -> Self {
        Self { folder: folder.to_owned(), name, waiting: Vec::new(), bytes: 0, writer: None }
    }

    fn push(&mut self, row: RejectRow) -> Result<()> {
        /// Bytes that wait before they are written.
        const WAITING: usize = 4 << 20;
        self.bytes += row.bytes.len() + size_of::<RejectRow>();
        self.waiting.push(row);
        if self.bytes > WAITING { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.waiting);
        self.bytes = 0;
        let rules = rows.iter().map(|row| row.verdict.as_ref().map(|(rule, _)| *rule));
        let reasons = rows.iter().map(|row| row.verdict.as_ref().map(|(_, reason)| reason));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(rows.iter().map(|row| row.key.as_deref()).collect::<StringArray>()),
            Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.partition))),
            Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.line))),
            Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.byte_offset))),
            Arc::new(rules.collect::<StringArray>()),
            Arc::new(reasons.collect::<StringArray>()),
            Arc::new(BinaryArray::from_iter_values(rows.iter().map(|row| &row.bytes))),
        ];
        let schema = reject_schema();
        let bug = |error| Error::internal(format!("rejects do not fit the copy: {error}"));
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns).map_err(bug)?;
        if self.writer.is_none() {
            self.writer = Some(Writer::create(&self.folder, self.name.clone(), &schema)?);
        }
        self.writer.as_mut().map_or(Ok(()), |writer| writer.write(&batch))
    }

    fn finish(mut self) -> Result<Option<CopyFile>> {
        self.flush()?;
        self.writer.map(Writer::finish).transpose()
    }
}

impl From<Unusable> for Error {
    fn from(unusable: Unusable) -> Self {
        Self::new(ErrorKind::Temporary, format!("the staged copy cannot be used: {}", unusable.0))
            .hint("run again; `ieum stage` makes the copy anew")
    }
}

/// The column of rows kept aside in a batch of a copy.
pub(super) fn kept_column(batch: &RecordBatch) -> Option<&BinaryArray> {
    batch.column_by_name(KEPT).and_then(|column| column.as_binary_opt::<i32>())
}
