//! The layout of a copy's files.
//!
//! ```text
//!  __key         canonical key, ascending, absent ones last; uncompressed; page index and bloom filter
//!  <item> …      every column of the export, typed; LZ4; pages of the same rows
//!  __kept        a row kept aside: partition, line, byte offset, bytes; the columns are then absent
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use ieum_model::error::{Error, ErrorKind, Result};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::about::CopyFile;
use super::sums::{Summing, sums_name};
use crate::replay::KeptRow;

/// Column of the canonical key.
pub(super) const KEY: &str = "__key";
/// Column of the rows kept aside.
pub(super) const KEPT: &str = "__kept";

/// Rows of a page. A wanted key costs one page of each column: with 256 rows a night of few requests decodes little, and the
/// page index stays below a hundredth of the file.
const PAGE_ROWS: usize = 128;
/// Rows of a row group.
const GROUP_ROWS: usize = 64 * 1024;
/// Share of absent keys that the bloom filter lets pass.
const BLOOM_FALSE: f64 = 0.01;
/// Bytes before the bytes of a row kept aside: partition, line, byte offset.
const KEPT_HEAD: usize = 20;

/// The columns of a file that is sorted by a key.
pub(super) fn schema(columns: &Schema) -> SchemaRef {
    let mut fields = vec![Arc::new(Field::new(KEY, DataType::Utf8, true))];
    fields.extend(columns.fields().iter().cloned());
    fields.push(Arc::new(Field::new(KEPT, DataType::Binary, true)));
    Arc::new(Schema::new(fields))
}

/// A row kept aside as it stands in [`KEPT`].
pub(super) fn kept(partition: u32, row: &KeptRow) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(KEPT_HEAD + row.bytes.len());
    bytes.extend_from_slice(&partition.to_le_bytes());
    bytes.extend_from_slice(&row.line.to_le_bytes());
    bytes.extend_from_slice(&row.byte_offset.to_le_bytes());
    bytes.extend_from_slice(&row.bytes);
    bytes
}

/// Partition and row of what [`kept`] wrote.
pub(super) fn unkept(bytes: &[u8]) -> Option<(u32, KeptRow)> {
    let (partition, rest) = bytes.split_first_chunk()?;
    let (line, rest) = rest.split_first_chunk()?;
    let (byte_offset, rest) = rest.split_first_chunk()?;
    let row = KeptRow {
        line: u64::from_le_bytes(*line),
        byte_offset: u64::from_le_bytes(*byte_offset),
        bytes: rest.to_vec(),
    };
    Some((u32::from_le_bytes(*partition), row))
}

/// Properties of a file that is sorted by its key.
pub(super) fn sorted() -> WriterProperties {
    let key = || ColumnPath::from(KEY);
    WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_compression(Compression::LZ4_RAW)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(PAGE_ROWS)
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_column_statistics_enabled(key(), EnabledStatistics::Page)
        .set_column_compression(key(), Compression::UNCOMPRESSED)
        .set_column_encoding(key(), Encoding::PLAIN)
        .set_column_bloom_filter_enabled(key(), true)
        .set_column_bloom_filter_fpp(key(), BLOOM_FALSE)
        .set_column_bloom_filter_max_ndv(key(), GROUP_ROWS as u64)
        .build()
}

/// Properties of the file of rejects, which is read whole.
pub(super) fn whole() -> WriterProperties {
    WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_compression(Compression::LZ4_RAW)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .build()
}

/// A failure to write, which a retry may help.
pub(super) fn unwritten(error: &dyn std::fmt::Display, path: &Path) -> Error {
    Error::new(ErrorKind::Temporary, format!("the staged copy cannot be written: {error}"))
        .at("path", path.display())
        .hint("check the folder's owner, mode and free space")
}

/// A new file that only its owner may read.
pub(super) fn create(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).write(true).mode(0o600).open(path).map_err(|error| unwritten(&error, path))
}

/// Writes `bytes` to a new file and waits until storage has them.
pub(super) fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = create(path)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| unwritten(&error, path))
}

/// A Parquet file of a copy, and its checksums.
pub(super) struct Writer {
    folder: std::path::PathBuf,
    name: String,
    writer: ArrowWriter<Summing<BufWriter<File>>>,
}

impl Writer {
    /// Opens `name` in `folder`.
    pub(super) fn create(
        folder: &Path,
        name: String,
        schema: &SchemaRef,
        properties: WriterProperties,
    ) -> Result<Self> {
        let path = folder.join(&name);
        let out = Summing::new(BufWriter::new(create(&path)?));
        let writer = ArrowWriter::try_new(out, Arc::clone(schema), Some(properties));
        Ok(Self { folder: folder.to_owned(), writer: writer.map_err(|error| unwritten(&error, &path))?, name })
    }

    /// Appends rows.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer.write(batch).map_err(|error| unwritten(&error, &self.folder.join(&self.name)))
    }

    /// Writes footer and checksums and waits until storage has them.
    pub(super) fn finish(self) -> Result<CopyFile> {
        let path = self.folder.join(&self.name);
        let (file, bytes, sums) = self.writer.into_inner().map_err(|error| unwritten(&error, &path))?.finish();
        let file = file.into_inner().map_err(|error| unwritten(error.error(), &path))?;
        file.sync_all().map_err(|error| unwritten(&error, &path))?;
        put(&self.folder.join(sums_name(&self.name)), &sums)?;
        Ok(CopyFile { name: self.name, bytes })
    }
}

/// Makes the entries of a folder last.
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| unwritten(&error, folder))
}

/// Moves a file of a copy and its checksums, these first: a file never stands beside older checksums unnoticed.
pub(super) fn install(from: &Path, to: &Path, name: &str) -> Result<()> {
    for name in [sums_name(name), name.to_owned()] {
        let target = to.join(&name);
        fs::rename(from.join(&name), &target).map_err(|error| unwritten(&error, &target))?;
    }
    Ok(())
}
