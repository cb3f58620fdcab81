//! The container of a file: its header, and its blocks as one stream of rows.
//!
//! Before the rows of each block the stream has [`MARK`] bytes that the file does not have: how many rows follow, and how many bytes
//! they take.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::DeflateDecoder;
use ieum_model::dataset::Limits;

use super::schema::Schema;
use crate::limits::{Beyond, Unreadable};

/// The first bytes of a file.
pub(super) const MAGIC: [u8; 4] = *b"Obj\x01";
/// Bytes before the rows of a block.
pub(super) const MARK: usize = 16;
/// Bytes of what a header says: a schema and a codec.
const HEADER: u64 = 16 << 20;
/// MiB of a block, where a row may not be longer.
const BLOCK_MIB: u32 = 64;
const SYNC: usize = 16;

pub(super) const AGAIN: &str = "the file is damaged or was cut off; ask the holder to deliver it again";

fn unreadable(message: impl Into<String>, hint: &'static str) -> io::Error {
    io::Error::other(Unreadable { message: message.into(), hint })
}

fn cut_off() -> io::Error {
    unreadable("file is cut off within its header or a block", AGAIN)
}

fn damaged() -> io::Error {
    unreadable("file is damaged: a block is none", AGAIN)
}

/// How the blocks of a file are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Codec {
    Null,
    Deflate,
    Snappy,
    Zstandard,
}

impl Codec {
    fn of(name: &[u8]) -> io::Result<Self> {
        Ok(match name {
            b"" | b"null" => Self::Null,
            b"deflate" => Self::Deflate,
            b"snappy" => Self::Snappy,
            b"zstandard" => Self::Zstandard,
            other => {
                let name: String = String::from_utf8_lossy(other).chars().take(20).collect();
                return Err(unreadable(
                    format!("blocks of the file are packed by `{}`", name.escape_debug()),
                    "ask the holder for one of the codecs null, deflate, snappy and zstandard",
                ));
            }
        })
    }
}

/// What stands before the blocks of a file.
pub(super) struct Header {
    pub(super) schema: Arc<Schema>,
    codec: Codec,
    sync: [u8; SYNC],
}

impl Header {
    /// Reads the header of a file.
    ///
    /// # Errors
    /// When it is none, or storage fails.
    pub(super) fn read(file: &mut impl BufRead) -> io::Result<Self> {
        let mut magic = [0; MAGIC.len()];
        let is_avro = file.read_exact(&mut magic).is_ok() && magic == MAGIC;
        if !is_avro {
            return Err(unreadable("not an Avro file", "compare `format` in the catalog with the file"));
        }
        let mut head = file.take(HEADER);
        let (mut schema, mut codec) = (Vec::new(), Vec::new());
        loop {
            let count = long(&mut head)?.ok_or_else(cut_off)?;
            if count == 0 {
                break;
            }
            if count < 0 {
                long(&mut head)?;
            }
            for _ in 0..count.unsigned_abs() {
                let (name, value) = (string(&mut head)?, string(&mut head)?);
                match name.as_slice() {
                    b"avro.schema" => schema = value,
                    b"avro.codec" => codec = value,
                    _ => {}
                }
            }
        }
        let mut sync = [0; SYNC];
        head.read_exact(&mut sync).map_err(|error| ended(error, cut_off))?;
        let schema =
            Schema::parse(&schema).map_err(|what| unreadable(format!("the schema of the file {what}"), AGAIN))?;
        Ok(Self { schema: Arc::new(schema), codec: Codec::of(&codec)?, sync })
    }
}

/// An end that comes too early is `what` says, any other error what it is.
fn ended(error: io::Error, what: impl Fn() -> io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof { what() } else { error }
}

fn read_some(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// A number as rows have them; `None` where the file ends before it.
fn long(file: &mut impl Read) -> io::Result<Option<i64>> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let mut byte = [0];
        // That a compressed stream is cut off is an error of it, no end.
        if read_some(file, &mut byte)? == 0 {
            return if shift == 0 { Ok(None) } else { Err(cut_off()) };
        }
        value |= u64::from(byte[0] & 0x7F).checked_shl(shift).unwrap_or(0);
        if byte[0] & 0x80 == 0 {
            return Ok(Some((value >> 1) as i64 ^ -((value & 1) as i64)));
        }
    }
    Err(damaged())
}

fn string(file: &mut impl Read) -> io::Result<Vec<u8>> {
    let length = long(file)?.and_then(|length| u64::try_from(length).ok()).ok_or_else(cut_off)?;
    let mut text = Vec::new();
    // What is not there is not made room for.
    file.take(length).read_to_end(&mut text)?;
    if text.len() as u64 == length { Ok(text) } else { Err(cut_off()) }
}

/// The rows of a file's blocks, each block's behind its mark.
pub(super) struct Blocks<R> {
    file: R,
    header: Header,
    limits: Limits,
    /// Counts the bytes that come from storage.
    storage: Arc<AtomicU64>,
    packed: Vec<u8>,
    /// The mark and the rows of a block, and how much of them was told.
    block: Vec<u8>,
    told: usize,
    /// Bytes of rows so far.
    bytes: u64,
}

impl<R: BufRead> Blocks<R> {
    /// The blocks that follow `header` in `file`.
    pub(super) fn new(file: R, header: Header, limits: Limits, storage: Arc<AtomicU64>) -> Self {
        let (packed, block) = (Vec::new(), Vec::new());
        Self { file, header, limits, storage, packed, block, told: 0, bytes: 0 }
    }

    fn most(&self) -> u64 {
        u64::from(self.limits.row_mib.max(BLOCK_MIB)) << 20
    }

    fn too_large(&self) -> io::Error {
        unreadable(
            format!("a block of the file is larger than {} MiB", self.most() >> 20),
            "ask the holder for smaller blocks; if rows are that long, raise `limits = { row_mib = … }` in the dataset's [export]",
        )
    }

    /// Takes the next block; whether there was one.
    fn advance(&mut self) -> io::Result<bool> {
        let Some(rows) = long(&mut self.file)? else { return Ok(false) };
        let rows = u64::try_from(rows).map_err(|_| damaged())?;
        let size = long(&mut self.file)?.ok_or_else(cut_off)?;
        let size = u64::try_from(size).map_err(|_| damaged())?;
        if size > self.most() {
            return Err(self.too_large());
        }
        self.packed.clear();
        self.file.by_ref().take(size).read_to_end(&mut self.packed)?;
        let mut sync = [0; SYNC];
        if self.packed.len() as u64 == size {
            self.file.read_exact(&mut sync).map_err(|error| ended(error, cut_off))?;
        } else {
            return Err(cut_off());
        }
        if sync != self.header.sync {
            return Err(damaged());
        }
        self.told = 0;
        self.block.clear();
        self.block.resize(MARK, 0);
        self.unpack()?;
        let bytes = (self.block.len() - MARK) as u64;
        self.bytes += bytes;
        self.block[..8].copy_from_slice(&rows.to_le_bytes());
        self.block[8..MARK].copy_from_slice(&bytes.to_le_bytes());
        Ok(true)
    }

    /// How many bytes a block may become.
    fn allowed(&self) -> u64 {
        let expansion = u64::from(self.limits.expansion);
        let all = self.storage.load(Ordering::Relaxed).saturating_mul(expansion).max(Limits::SMALL_MIB << 20);
        all.saturating_sub(self.bytes)
    }

    /// Unpacks a block behind the mark.
    fn unpack(&mut self) -> io::Result<()> {
        let most = self.most().min(self.allowed());
        let beyond = |this: &Self| {
            if this.allowed() < this.most() {
                io::Error::other(Beyond::expansion(this.limits))
            } else {
                this.too_large()
            }
        };
        let packed = self.packed.as_slice();
        match self.header.codec {
            Codec::Null => self.block.extend_from_slice(packed),
            Codec::Deflate => {
                DeflateDecoder::new(packed).take(most + 1).read_to_end(&mut self.block).map_err(|_| damaged())?;
            }
            Codec::Zstandard => {
                let decoder = zstd::Decoder::with_buffer(packed).map_err(|_| damaged())?;
                decoder.take(most + 1).read_to_end(&mut self.block).map_err(|_| damaged())?;
            }
            Codec::Snappy => {
                // The rows are followed by their CRC-32, its highest byte first.
                let (packed, sum) = packed.split_last_chunk::<4>().ok_or_else(damaged)?;
                let length = snap::raw::decompress_len(packed).map_err(|_| damaged())?;
                if length as u64 > most {
                    return Err(beyond(self));
                }
                self.block.resize(MARK + length, 0);
                let done = snap::raw::Decoder::new().decompress(packed, &mut self.block[MARK..]);
                let mut found = flate2::Crc::new();
                found.update(&self.block[MARK..]);
                if done.is_err() || found.sum() != u32::from_be_bytes(*sum) {
                    return Err(damaged());
                }
            }
        }
        if (self.block.len() - MARK) as u64 > most { Err(beyond(self)) } else { Ok(()) }
    }
}

impl<R: BufRead> Read for Blocks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.told == self.block.len() {
            if !self.advance()? {
                return Ok(0);
            }
        }
        let bytes = buffer.len().min(self.block.len() - self.told);
        buffer[..bytes].copy_from_slice(&self.block[self.told..self.told + bytes]);
        self.told += bytes;
        Ok(bytes)
    }
}
