//! A file of the output, digested while it is written. Of a run that goes on, what stands already is compared and left.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use ieum_model::error::{Error, Result};
use ieum_privacy::envelope::{Draw, Drawn};
use sha2::{Digest, Sha256};

use crate::from_io;
use crate::manifest::{OutputFile, PlainText, hex};

/// A file of the output, digested while it is written.
pub struct OutputWriter {
    path: PathBuf,
    relative: String,
    out: BufWriter<Standing>,
    digest: Sha256,
    bytes: u64,
    /// What the envelope of this file draws.
    draw: Option<Draw>,
    /// What this file is the envelope of.
    plain: Option<PlainText>,
}

impl OutputWriter {
    pub(super) fn new(path: PathBuf, relative: &str, file: Standing) -> Self {
        let (out, digest) = (BufWriter::new(file), Sha256::new());
        Self { path, relative: relative.into(), out, digest, bytes: 0, draw: None, plain: None }
    }

    pub(super) fn drawing(self, draw: Draw) -> Self {
        Self { draw: Some(draw), ..self }
    }

    pub(super) fn of_plain(self, plain: PlainText) -> Self {
        Self { plain: Some(plain), ..self }
    }

    pub(super) fn name(&self) -> &str {
        &self.relative
    }

    /// Appends bytes; the offset at which they begin.
    ///
    /// # Errors
    /// When the disk does not take them.
    pub fn append(&mut self, bytes: &[u8]) -> Result<u64> {
        let offset = self.bytes;
        self.write_all(bytes).map_err(|error| from_io(&error, &self.path))?;
        Ok(offset)
    }

    pub(super) fn close(mut self) -> Result<OutputFile> {
        let closed = self.out.flush().and_then(|()| self.out.get_mut().cut());
        closed.map_err(|error| from_io(&error, &self.path))?;
        let sha256 = hex(&self.digest.finalize());
        Ok(OutputFile { path: self.relative, bytes: self.bytes, sha256, plain: self.plain })
    }

    /// As `close`, with what its envelope draws.
    pub(super) fn close_drawn(mut self) -> Result<(OutputFile, Drawn)> {
        let draw = self.draw.take().ok_or_else(|| Error::internal("a file that was not to be encrypted"))?;
        Ok((self.close()?, draw.finish()))
    }
}

impl Write for OutputWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.out.write_all(bytes)?;
        self.digest.update(bytes);
        if let Some(draw) = &mut self.draw {
            draw.update(bytes);
        }
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// A file that may hold what is to be written to it: as long as it does, nothing is written; from the first difference on
/// it is cut and written anew.
pub(super) struct Standing {
    file: File,
    /// Bytes that stand from the present place on and were not compared yet.
    left: u64,
    compared: Vec<u8>,
}

impl Standing {
    /// A file that is empty.
    pub(super) fn empty(file: File) -> Self {
        Self { file, left: 0, compared: Vec::new() }
    }

    /// A file that an earlier attempt may have written to, open for reading and writing at its start.
    pub(super) fn left_by_another(file: File) -> std::io::Result<Self> {
        let left = file.metadata()?.len();
        Ok(Self { file, left, compared: Vec::new() })
    }

    /// Whether the next bytes stand there already; the file then stands behind them.
    fn holds(&mut self, bytes: &[u8]) -> std::io::Result<bool> {
        if self.left < bytes.len() as u64 {
            return Ok(false);
        }
        let place = self.file.stream_position()?;
        self.compared.resize(bytes.len(), 0);
        self.file.read_exact(&mut self.compared)?;
        if self.compared == bytes {
            self.left -= bytes.len() as u64;
            return Ok(true);
        }
        self.file.seek(SeekFrom::Start(place)).map(|_| false)
    }

    /// Cuts off what stands behind the present place.
    pub(super) fn cut(&mut self) -> std::io::Result<()> {
        if self.left > 0 {
            self.left = 0;
            let place = self.file.stream_position()?;
            self.file.set_len(place)?;
        }
        Ok(())
    }
}

impl Write for Standing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.left > 0 {
            if self.holds(bytes)? {
                return Ok(bytes.len());
            }
            self.cut()?;
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(stood: &[u8], written: &[&[u8]]) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(stood).unwrap();
        file.rewind().unwrap();
        let mut standing = Standing::left_by_another(file.try_clone().unwrap()).unwrap();
        written.iter().for_each(|bytes| standing.write_all(bytes).unwrap());
        standing.cut().unwrap();
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, written.concat());
    }

    #[test]
    fn what_is_written_stands_whatever_stood_there() {
        for stood in ["", "one", "one two", "one two three four", "one tw0 three", "zero", "\0\0\0\0\0"] {
            check(stood.as_bytes(), &[b"one ", b"two ", b"three"]);
        }
    }
}
