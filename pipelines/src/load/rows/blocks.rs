//! A text file, a block at a time.

use std::io::Read;

use ieum_model::error::{Error, ErrorKind, Result};

/// Bytes read at a time: some 20,000 requests, enough for every thread.
pub const BLOCK: usize = 4 << 20;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The part of a file that was read and whose rows are not taken yet.
pub struct Blocks<'a> {
    reader: &'a mut (dyn Read + Send),
    size: usize,
    bytes: Vec<u8>,
    /// Where the rows begin that are not taken.
    start: usize,
    /// Where the bytes begin that [`Blocks::unseen`] is still to tell.
    unseen: usize,
    ended: bool,
    line: u64,
}

impl<'a> Blocks<'a> {
    /// The first block of `size` bytes, less a byte order mark.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn new(reader: &'a mut (dyn Read + Send), size: usize) -> Result<Self> {
        let mut blocks = Self { reader, size, bytes: Vec::new(), start: 0, unseen: 0, ended: false, line: 1 };
        while blocks.bytes.len() < BYTE_ORDER_MARK.len() && !blocks.ended {
            blocks.read_on()?;
        }
        if blocks.bytes.starts_with(BYTE_ORDER_MARK) {
            blocks.start = BYTE_ORDER_MARK.len();
        }
        Ok(blocks)
    }

    /// Reads a block more: as much again as there is, if no row of it was whole.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read_on(&mut self) -> Result<()> {
        let done = self.start.min(self.unseen);
        self.bytes.drain(..done);
        (self.start, self.unseen) = (self.start - done, self.unseen - done);
        let wanted = self.size.max(self.bytes.len());
        let read = Read::take(&mut *self.reader, wanted as u64).read_to_end(&mut self.bytes);
        let read =
            read.map_err(|error| Error::new(ErrorKind::Temporary, format!("the file cannot be read: {error}")))?;
        self.ended = read < wanted;
        Ok(())
    }

    /// Whether the file has no more than this.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// The line that the text begins with.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// What was read and is not taken, less a character that the end of the block cuts.
    ///
    /// # Errors
    /// If it is not UTF-8.
    pub fn text(&self) -> Result<&str> {
        let bytes = &self.bytes[self.start..];
        let error = match std::str::from_utf8(bytes) {
            Ok(text) => return Ok(text),
            Err(error) => error,
        };
        let sound = &bytes[..error.valid_up_to()];
        match std::str::from_utf8(sound) {
            Ok(text) if error.error_len().is_none() && !self.ended => Ok(text),
            _ => {
                let before = sound.iter().filter(|byte| **byte == b'\n').count();
                Err(Error::config("the file is not UTF-8")
                    .at("line", self.line + before as u64)
                    .hint("convert it, for example with iconv -f cp949 -t utf-8"))
            }
        }
    }

    /// The bytes that were read since this was told last.
    pub fn unseen(&self) -> &[u8] {
        &self.bytes[self.unseen..]
    }

    /// They have been seen.
    pub fn all_seen(&mut self) {
        self.unseen = self.bytes.len();
    }

    /// So many bytes of the text are done with; what follows begins with `line`.
    pub fn taken(&mut self, bytes: usize, line: u64) {
        (self.start, self.line) = (self.start + bytes, line);
    }
    /// All that was read is done with.
    pub fn pass(&mut self) {
        self.start = self.bytes.len();
    }
}
