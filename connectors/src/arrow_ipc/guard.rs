//! What the messages of a file say of their size, before memory is taken for it: the reader of the format believes all of it.
//!
//! ```text
//!  stream  [length][metadata: buffers at …][body] [length][metadata][body] …
//!  file    ARROW1 … the same messages … [footer: messages at …][length]ARROW1
//! ```
//!
//! A message must lie within its file, what its buffers become unpacked within the limit of expansion, and its rows must have at
//! least a bit each. Only metadata and the lengths before packed buffers are read.

use std::io::{self, Read, Seek, SeekFrom};

use arrow::ipc::{Block, RecordBatch, root_as_footer, root_as_message};
use ieum_model::dataset::Limits;

/// Bytes of the metadata of a message, or of a footer, at most: beyond them it is no metadata.
const MOST_METADATA: u64 = 64 << 20;
/// Rows of a batch that are not asked for their bits.
const FEW_ROWS: u64 = 1 << 20;
const CONTINUATION: [u8; 4] = [0xFF; 4];
/// Bytes of the length before a packed buffer; it is this where the buffer is not packed after all.
const PACKED_HEAD: u64 = 8;
const NOT_PACKED: i64 = -1;
/// Of the file format: what stands after the footer, its length and the magic.
const FOOTER_TAIL: u64 = 10;

/// What is wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is cut off, or something else than it says.
    Damaged,
    /// It becomes more than the limit allows.
    Beyond,
}

/// Bytes that can be read in the order they stand in.
pub(super) trait Bytes {
    /// Fills `buffer` with what stands at `at`, which is no less than where the last reading ended.
    ///
    /// # Errors
    /// Where they end before.
    fn at(&mut self, at: u64, buffer: &mut [u8]) -> io::Result<()>;
}

/// Bytes that can be read in any order.
pub(super) struct InPlace<S>(pub S);

impl<S: Read + Seek> Bytes for InPlace<S> {
    fn at(&mut self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.seek(SeekFrom::Start(at))?;
        self.0.read_exact(buffer)
    }
}

/// A stream that is unpacked on the way.
pub(super) struct Unpacked<R> {
    inner: R,
    read: u64,
}

impl<R> Unpacked<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, read: 0 }
    }
}

impl<R: Read> Bytes for Unpacked<R> {
    fn at(&mut self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        let skipped = at.checked_sub(self.read).ok_or(io::ErrorKind::InvalidInput)?;
        self.read += io::copy(&mut self.inner.by_ref().take(skipped), &mut io::sink())?;
        self.inner.read_exact(buffer)?;
        self.read += buffer.len() as u64;
        Ok(())
    }
}

/// A message: its metadata, and where its body begins.
struct Met {
    metadata: Vec<u8>,
    body_at: u64,
}

/// Checks the messages of a stream.
///
/// # Errors
/// What is wrong with the first one at fault.
pub(super) fn stream(mut bytes: impl Bytes, limits: Limits) -> Result<(), Fault> {
    let mut at = 0;
    while let Some(met) = metadata(&mut bytes, at)? {
        let message = root_as_message(&met.metadata).map_err(|_| Fault::Damaged)?;
        let body = u64::try_from(message.bodyLength()).map_err(|_| Fault::Damaged)?;
        at = met.body_at.checked_add(body).ok_or(Fault::Damaged)?;
        message_fits(&mut bytes, &met, body, limits)?;
    }
    Ok(())
}

/// Checks the messages that the footer of a file of `length` bytes names.
///
/// # Errors
/// As [`stream`].
pub(super) fn file(mut bytes: impl Bytes, length: u64, limits: Limits) -> Result<(), Fault> {
    let tail_at = length.checked_sub(FOOTER_TAIL).ok_or(Fault::Damaged)?;
    let mut tail = [0; 4];
    bytes.at(tail_at, &mut tail).map_err(|_| Fault::Damaged)?;
    let footer_bytes = u64::try_from(i32::from_le_bytes(tail)).map_err(|_| Fault::Damaged)?;
    let footer_at = tail_at.checked_sub(footer_bytes).ok_or(Fault::Damaged)?;
    let footer = piece(&mut bytes, footer_at, footer_bytes)?;
    let footer = root_as_footer(&footer).map_err(|_| Fault::Damaged)?;
    for block in footer.dictionaries().into_iter().chain(footer.recordBatches()).flatten() {
        let (at, head, body) = place(block).ok_or(Fault::Damaged)?;
        let end = at.checked_add(head).and_then(|at| at.checked_add(body)).ok_or(Fault::Damaged)?;
        if end > length || head > MOST_METADATA {
            return Err(Fault::Damaged);
        }
        let met = metadata(&mut bytes, at)?.ok_or(Fault::Damaged)?;
        message_fits(&mut bytes, &Met { body_at: at + head, ..met }, body, limits)?;
    }
    Ok(())
}

fn place(block: &Block) -> Option<(u64, u64, u64)> {
    let (head, body) = (u64::try_from(block.metaDataLength()).ok()?, u64::try_from(block.bodyLength()).ok()?);
    Some((u64::try_from(block.offset()).ok()?, head, body))
}

fn piece(bytes: &mut impl Bytes, at: u64, length: u64) -> Result<Vec<u8>, Fault> {
    if length > MOST_METADATA {
        return Err(Fault::Damaged);
    }
    let mut piece = vec![0; usize::try_from(length).map_err(|_| Fault::Damaged)?];
    bytes.at(at, &mut piece).map_err(|_| Fault::Damaged)?;
    Ok(piece)
}

/// The message at `at`; `None` at the end of the stream, said or not.
fn metadata(bytes: &mut impl Bytes, at: u64) -> Result<Option<Met>, Fault> {
    let (mut length, mut after) = ([0; 4], at + 4);
    match bytes.at(at, &mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(_) => return Err(Fault::Damaged),
    }
    if length == CONTINUATION {
        bytes.at(after, &mut length).map_err(|_| Fault::Damaged)?;
        after += 4;
    }
    let length = u64::try_from(i32::from_le_bytes(length)).map_err(|_| Fault::Damaged)?;
    if length == 0 {
        return Ok(None);
    }
    Ok(Some(Met { metadata: piece(bytes, after, length)?, body_at: after + length }))
}

/// Holds a message with a body of `body` bytes against its file and the limits.
fn message_fits(bytes: &mut impl Bytes, met: &Met, body: u64, limits: Limits) -> Result<(), Fault> {
    let message = root_as_message(&met.metadata).map_err(|_| Fault::Damaged)?;
    let batch = message
        .header_as_record_batch()
        .or_else(|| message.header_as_dictionary_batch().and_then(|dictionary| dictionary.data()));
    if let Some(batch) = batch {
        let unpacked = unpacked(bytes, &batch, met.body_at, body)?;
        let allowed = body.saturating_mul(u64::from(limits.expansion)).max(Limits::SMALL_MIB << 20);
        let rows = u64::try_from(batch.length()).map_err(|_| Fault::Damaged)?;
        if unpacked > allowed || rows > FEW_ROWS.max(unpacked.saturating_mul(8)) {
            return Err(Fault::Beyond);
        }
    }
    // The body is there, to its last byte.
    let last = body.checked_sub(1).map(|last| bytes.at(met.body_at + last, &mut [0]));
    last.transpose().map_err(|_| Fault::Damaged)?;
    Ok(())
}

/// Bytes that the buffers of a batch take in memory.
fn unpacked(bytes: &mut impl Bytes, batch: &RecordBatch<'_>, body_at: u64, body: u64) -> Result<u64, Fault> {
    if batch.compression().is_none() {
        return Ok(body);
    }
    let mut places = Vec::new();
    for buffer in batch.buffers().into_iter().flatten() {
        let length = u64::try_from(buffer.length()).map_err(|_| Fault::Damaged)?;
        if length > 0 {
            places.push((u64::try_from(buffer.offset()).map_err(|_| Fault::Damaged)?, length));
        }
    }
    places.sort_unstable();
    let (mut total, mut free) = (0_u64, 0);
    for (offset, length) in places {
        let end = offset.checked_add(length).ok_or(Fault::Damaged)?;
        // Two of them in one place would be counted, and read, twice.
        if offset < free || length < PACKED_HEAD || end > body {
            return Err(Fault::Damaged);
        }
        let mut head = [0; PACKED_HEAD as usize];
        bytes.at(body_at + offset, &mut head).map_err(|_| Fault::Damaged)?;
        let becomes = match i64::from_le_bytes(head) {
            NOT_PACKED => length - PACKED_HEAD,
            becomes => u64::try_from(becomes).map_err(|_| Fault::Damaged)?,
        };
        total = total.saturating_add(becomes);
        free = end;
    }
    Ok(total)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Cursor;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, NullArray, StringArray};
    use arrow::ipc::CompressionType;
    use arrow::ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};

    use super::*;

    fn batch(column: ArrayRef) -> arrow::array::RecordBatch {
        arrow::array::RecordBatch::try_from_iter_with_nullable([("a", column, true)]).unwrap()
    }

    fn written(column: ArrayRef, packed: bool) -> (Vec<u8>, Vec<u8>) {
        let batch = batch(column);
        let options = IpcWriteOptions::default();
        let options = options.try_with_compression(packed.then_some(CompressionType::LZ4_FRAME)).unwrap();
        let mut stream = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options.clone()).unwrap();
        stream.write(&batch).unwrap();
        let mut file = FileWriter::try_new_with_options(Vec::new(), &batch.schema(), options).unwrap();
        file.write(&batch).unwrap();
        (stream.into_inner().unwrap(), file.into_inner().unwrap())
    }

    /// Both ways to read a stream agree.
    fn of_stream(bytes: &[u8]) -> Result<(), Fault> {
        let plain = stream(InPlace(Cursor::new(bytes)), Limits::default());
        assert_eq!(stream(Unpacked::new(bytes), Limits::default()), plain);
        plain
    }

    fn of_file(bytes: &[u8]) -> Result<(), Fault> {
        file(InPlace(Cursor::new(bytes)), bytes.len() as u64, Limits::default())
    }

    fn texts() -> ArrayRef {
        Arc::new(StringArray::from_iter_values((0..5000).map(|_| "홍길동 홍길동 홍길동")))
    }

    #[test]
    fn whole_files_pass_and_cut_ones_do_not() {
        for packed in [false, true] {
            let (stream, file) = written(texts(), packed);
            assert_eq!((of_stream(&stream), of_file(&file)), (Ok(()), Ok(())));
            for cut in [stream.len() / 2, 200, 6] {
                assert_eq!(of_stream(&stream[..cut]), Err(Fault::Damaged), "{cut}");
                assert_eq!(of_file(&file[..cut]), Err(Fault::Damaged), "{cut}");
            }
        }
    }

    #[test]
    fn a_buffer_that_says_it_becomes_a_terabyte_takes_no_memory() {
        let (stream, file) = written(texts(), true);
        let size = (5000_u64 * "홍길동 홍길동 홍길동".len() as u64).to_le_bytes();
        let forged = |bytes: &[u8]| {
            // The last offset of the texts is the same number, and stands before.
            let at = bytes.windows(8).rposition(|window| window == size).unwrap();
            [&bytes[..at], &(1_u64 << 40).to_le_bytes(), &bytes[at + 8..]].concat()
        };
        assert_eq!(of_stream(&forged(&stream)), Err(Fault::Beyond));
        assert_eq!(of_file(&forged(&file)), Err(Fault::Beyond));
    }

    #[test]
    fn rows_without_bytes_are_few() {
        let rows = |rows| written(Arc::new(NullArray::new(rows)), false);
        assert_eq!(of_stream(&rows(1000).0), Ok(()));
        assert_eq!(of_stream(&rows(1 << 40).0), Err(Fault::Beyond));
        assert_eq!(of_file(&rows(1 << 40).1), Err(Fault::Beyond));
    }
}
