//! From wanted keys to rows: only the blocks that may hold one are read, and of them only the wanted columns are decoded.
//!
//! ```text
//!  wanted keys   …1203  …4411  …9870
//!  index         …1990 │ …3870 │ …4520 │ …      which blocks could hold one
//!  blocks        1203 ✓  4411 ✗                 which rows do
//! ```

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::vec::IntoIter;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::buffer::Buffer;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::ipc;
use arrow::ipc::reader::read_record_batch;

use super::Unusable;
use super::blocks::{Blocks, Place};
use super::write::split_block;

/// Column of the key.
const KEY_COLUMN: usize = 0;
/// Bytes of blocks that are held until they are handed on; the others are read once more.
const HELD: usize = 16 << 20;

/// A block with rows to be handed on.
struct Chosen {
    place: Place,
    /// `None`: all.
    rows: Option<Vec<Range<usize>>>,
    held: Option<RecordBatch>,
}

/// The rows of a file of a copy, all or those of the wanted keys.
pub(super) struct Rows {
    blocks: Blocks,
    schema: SchemaRef,
    /// Places of the wanted columns in `schema`, which ascend.
    columns: Vec<usize>,
    /// Blocks to come.
    chosen: IntoIter<Chosen>,
    /// Rows of blocks that were decoded.
    waiting: VecDeque<RecordBatch>,
    bytes: u64,
}

impl Rows {
    /// All rows of a file; every block is checked before.
    pub(super) fn all(blocks: Blocks, schema: SchemaRef, columns: Vec<usize>) -> Result<Self, Unusable> {
        let places = blocks.check_all()?;
        let chosen = places.into_iter().map(|place| Chosen { place, rows: None, held: None }).collect();
        Ok(Self::new(blocks, schema, columns, chosen))
    }

    /// The rows of the wanted keys, which ascend; every block that holds one is checked before.
    pub(super) fn of(
        blocks: Blocks,
        schema: SchemaRef,
        columns: Vec<usize>,
        wanted: &[Box<[u8]>],
    ) -> Result<Self, Unusable> {
        let (mut chosen, mut bytes) = (Vec::new(), 0);
        blocks.search(wanted, &mut |block, place, wanted| {
            let length = block.len();
            let block = Buffer::from_vec(block);
            let block = Block::parse(&block)?;
            let rows = hits(&block.decode(&schema, &[KEY_COLUMN])?, wanted)?;
            if !rows.is_empty() {
                bytes += length;
                let held = (bytes <= HELD).then(|| block.decode(&schema, &columns)).transpose()?;
                chosen.push(Chosen { place, rows: Some(rows), held });
            }
            Ok(())
        })?;
        Ok(Self::new(blocks, schema, columns, chosen))
    }

    fn new(blocks: Blocks, schema: SchemaRef, columns: Vec<usize>, chosen: Vec<Chosen>) -> Self {
        let bytes = blocks.bytes_read();
        Self { blocks, schema, columns, chosen: chosen.into_iter(), waiting: VecDeque::new(), bytes }
    }

    /// Bytes read until all was checked; what is read once more does not count.
    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes
    }

    /// At most `most` of the next rows; `None` at the end.
    pub(super) fn next(&mut self, most: usize) -> Result<Option<RecordBatch>, Unusable> {
        let (mut parts, mut room) = (Vec::new(), most);
        while room > 0 {
            let Some(part) = self.waiting.pop_front() else {
                let Some(chosen) = self.chosen.next() else { break };
                self.take(chosen)?;
                continue;
            };
            let now = part.num_rows().min(room);
            if now < part.num_rows() {
                self.waiting.push_front(part.slice(now, part.num_rows() - now));
            }
            room -= now;
            parts.push(part.slice(0, now));
        }
        let Some(first) = parts.first() else { return Ok(None) };
        Ok(Some(concat_batches(&first.schema(), &parts)?))
    }

    fn take(&mut self, Chosen { place, rows, held }: Chosen) -> Result<(), Unusable> {
        let batch = match held {
            Some(batch) => batch,
            None => Block::parse(&Buffer::from_vec(self.blocks.read(place)?))?.decode(&self.schema, &self.columns)?,
        };
        match rows {
            None => self.waiting.push_back(batch),
            Some(rows) => self.waiting.extend(rows.into_iter().map(|rows| batch.slice(rows.start, rows.len()))),
        }
        Ok(())
    }
}

/// A block of rows, not yet decoded.
struct Block<'a> {
    header: ipc::RecordBatch<'a>,
    data: Buffer,
}

impl<'a> Block<'a> {
    fn parse(block: &'a Buffer) -> Result<Self, Unusable> {
        let (message, data) = split_block(block).ok_or_else(damaged)?;
        let header = ipc::root_as_message(message).ok().and_then(|message| message.header_as_record_batch());
        Ok(Self { header: header.ok_or_else(damaged)?, data: block.slice(block.len() - data.len()) })
    }

    fn decode(&self, schema: &SchemaRef, columns: &[usize]) -> Result<RecordBatch, Unusable> {
        let (schema, none) = (Arc::clone(schema), HashMap::new());
        Ok(read_record_batch(&self.data, self.header, schema, &none, Some(columns), &ipc::MetadataVersion::V5)?)
    }
}

fn damaged() -> Unusable {
    Unusable::new("a block is not laid out as it should be".to_owned())
}

/// The rows whose key is wanted; both ascend.
fn hits(keys: &RecordBatch, wanted: &[Box<[u8]>]) -> Result<Vec<Range<usize>>, Unusable> {
    let keys = keys.column(0).as_string_opt::<i32>().ok_or_else(damaged)?;
    let mut hits: Vec<Range<usize>> = Vec::new();
    let mut wanted = wanted.iter().peekable();
    for row in 0..keys.len() {
        // Absent keys stand last.
        if keys.is_null(row) {
            break;
        }
        let key = keys.value(row).as_bytes();
        while wanted.next_if(|wanted| &***wanted < key).is_some() {}
        match wanted.peek() {
            Some(wanted) if &***wanted == key => match hits.last_mut() {
                Some(range) if range.end == row => range.end = row + 1,
                _ => hits.push(row..row + 1),
            },
            Some(_) => {}
            None => break,
        }
    }
    Ok(hits)
}
