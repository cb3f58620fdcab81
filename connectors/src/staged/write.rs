//! The layout of a copy's files: blocks of few rows, all columns of a row together.
//!
//! ```text
//!  block         length ┊ Arrow message: where each column stands ┊ the columns
//!    __key       canonical key, ascending, absent ones last
//!    <item> …    every column of the export, typed
//!    __kept      a row kept aside: partition, line, byte offset, bytes; the columns are then absent
//!  index         after as many blocks as one of it has room for; the root last
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::MetadataVersion;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use ieum_model::error::{Error, ErrorKind, Result};

use super::about::CopyFile;
use super::blocks::{Place, Root, append_entry, sum};
use crate::replay::KeptRow;

/// Column of the canonical key.
pub(super) const KEY: &str = "__key";
/// Column of the rows kept aside.
pub(super) const KEPT: &str = "__kept";

/// Rows of a block. A wanted key costs one block.
const BLOCK_ROWS: usize = 64;
/// Blocks below one of the index.
const FANOUT: usize = 128;
/// Columns of a block start at multiples of it.
const ALIGNMENT: usize = 8;
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
        shapeless: None,
    };
    Some((u32::from_le_bytes(*partition), row))
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

/// Length of a block's message, and the message, before its columns.
fn block(
    rows: &RecordBatch,
    options: &IpcWriteOptions,
    context: &mut IpcWriteContext,
) -> std::result::Result<Vec<u8>, ArrowError> {
    let none = &mut DictionaryTracker::new(false);
    let (_, encoded) = IpcDataGenerator::default().encode(rows, none, options, context)?;
    let mut block = (encoded.ipc_message.len() as u64).to_le_bytes().to_vec();
    block.extend_from_slice(&encoded.ipc_message);
    block.resize(block.len().next_multiple_of(ALIGNMENT), 0);
    block.extend_from_slice(&encoded.arrow_data);
    Ok(block)
}

/// Message and columns of a block.
pub(super) fn split_block(block: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = block.split_first_chunk()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (message, _) = rest.split_at_checked(length)?;
    Some((message, rest.get(length.next_multiple_of(ALIGNMENT)..)?))
}

/// A block of the index that still has room.
#[derive(Default)]
struct Level {
    index: Vec<u8>,
    blocks: usize,
    /// The last key below.
    last: Option<Vec<u8>>,
    /// The block below that came last.
    below: Option<Place>,
}

/// A file of a copy.
pub(super) struct Writer {
    path: PathBuf,
    name: String,
    out: BufWriter<File>,
    bytes: u64,
    sorted: bool,
    /// The index, from the rows upwards.
    levels: Vec<Level>,
    options: IpcWriteOptions,
    context: IpcWriteContext,
}

impl Writer {
    /// Opens `name` in `folder`, for rows of `schema`: sorted ones where that has [`KEY`].
    pub(super) fn create(folder: &Path, name: String, schema: &Schema) -> Result<Self> {
        let path = folder.join(&name);
        let options = IpcWriteOptions::try_new(ALIGNMENT, false, MetadataVersion::V5);
        Ok(Self {
            out: BufWriter::new(create(&path)?),
            options: options.map_err(|error| unwritten(&error, &path))?,
            context: IpcWriteContext::default(),
            path,
            name,
            bytes: 0,
            sorted: schema.field(0).name() == KEY,
            levels: vec![Level::default()],
        })
    }

    /// Appends rows.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        for from in (0..batch.num_rows()).step_by(BLOCK_ROWS) {
            let rows = batch.slice(from, BLOCK_ROWS.min(batch.num_rows() - from));
            let block =
                block(&rows, &self.options, &mut self.context).map_err(|error| unwritten(&error, &self.path))?;
            let place = self.put(&block)?;
            let keys = rows.column(0).as_string_opt::<i32>().filter(|_| self.sorted);
            self.note(0, keys.and_then(|keys| keys.iter().flatten().last()).map(str::as_bytes), place)?;
        }
        Ok(())
    }

    fn put(&mut self, block: &[u8]) -> Result<Place> {
        let bytes = u32::try_from(block.len()).map_err(|error| unwritten(&error, &self.path))?;
        let place = Place { offset: self.bytes, bytes, sum: sum(block) };
        self.out.write_all(block).map_err(|error| unwritten(&error, &self.path))?;
        self.bytes += u64::from(bytes);
        Ok(place)
    }

    /// Takes a block into the index.
    fn note(&mut self, level: usize, last: Option<&[u8]>, place: Place) -> Result<()> {
        if level == self.levels.len() {
            self.levels.push(Level::default());
        }
        let above = &mut self.levels[level];
        append_entry(&mut above.index, last, place);
        above.blocks += 1;
        above.below = Some(place);
        if let Some(last) = last {
            above.last = Some(last.to_vec());
        }
        if above.blocks == FANOUT { self.close(level) } else { Ok(()) }
    }

    fn close(&mut self, level: usize) -> Result<()> {
        let Level { index, last, .. } = std::mem::take(&mut self.levels[level]);
        let place = self.put(&index)?;
        self.note(level + 1, last.as_deref(), place)
    }

    /// Writes the index that is left; `None` where there are no rows.
    fn root(&mut self) -> Result<Option<Root>> {
        let mut level = 0;
        loop {
            let Level { blocks, below, .. } = self.levels[level];
            let is_top = level + 1 == self.levels.len();
            if is_top && blocks <= 1 {
                let height = u32::try_from(level).map_err(|error| unwritten(&error, &self.path))?;
                return Ok(below.map(|place| Root { place, height }));
            }
            if blocks > 0 {
                self.close(level)?;
            }
            level += 1;
        }
    }

    /// Writes the rest of the index and waits until storage has all.
    pub(super) fn finish(mut self) -> Result<CopyFile> {
        let root = self.root()?;
        let file = self.out.into_inner().map_err(|error| unwritten(error.error(), &self.path))?;
        file.sync_all().map_err(|error| unwritten(&error, &self.path))?;
        Ok(CopyFile { name: self.name, bytes: self.bytes, root })
    }
}

/// Makes the entries of a folder last.
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| unwritten(&error, folder))
}

/// Moves a file of a copy.
pub(super) fn install(from: &Path, to: &Path, name: &str) -> Result<()> {
    let target = to.join(name);
    fs::rename(from.join(name), &target).map_err(|error| unwritten(&error, &target))
}
