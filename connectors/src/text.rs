//! What text formats share: a window on a file, its rows one after the other, and the loop from rows to batches.
//!
//! ```text
//!  Source ─► Window ─► Rows (asks the format's Cutter) ─► TextReader (asks the format's Decode) ─► batches, rejects
//!                └── most rows are plain and not wanted: Decode::pass_over skips them in bulk
//! ```

use std::borrow::Cow;
use std::cell::Cell;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use ieum_model::connector::{BatchReader, ReadCounts, Reject, RejectSink, Repaired, ScanSpec, Strays};
use ieum_model::dataset::{Encoding, Limits};
use ieum_model::error::{Error, Result};

use crate::convert::Columns;
use crate::files::Source;
use crate::replay::{KeptRow, Replayed};
use crate::utf16::{self, Order};

/// Bytes read at a time: what is read is looked at while the processor still holds it. A row that is cut by the end of the
/// window is carried over.
pub const CHUNK: usize = 256 * 1024;

thread_local! {
    /// The buffer of the last window of this thread: a night opens hundreds of files, and new memory has to be cleared.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A window on the decompressed file.
pub struct Window {
    source: Source,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    chunk: usize,
    offset: u64,
    at_end: bool,
    /// MiB of a row. One above this is no row: a quote was never closed, or the file is something else.
    row_mib: u32,
}

impl Window {
    /// A window that grows by `chunk` bytes, up to the limit of a row.
    pub fn new(source: Source, chunk: usize, limits: Limits) -> Self {
        let (buffer, row_mib) = (SPARE.take(), limits.row_mib);
        Self { source, buffer, start: 0, end: 0, chunk: chunk.max(1), offset: 0, at_end: false, row_mib }
    }

    /// The bytes in sight.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Whether nothing follows the bytes in sight.
    pub fn at_end(&self) -> bool {
        self.at_end
    }

    /// Offset in the decompressed file of the first byte in sight.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes read from storage so far.
    pub fn storage_bytes(&self) -> u64 {
        self.source.storage_bytes()
    }

    /// Moves on by `bytes`.
    pub fn consume(&mut self, bytes: usize) {
        self.offset += match self.source.order() {
            None => bytes as u64,
            Some(_) => utf16::bytes_in_file(&self.bytes()[..bytes]),
        };
        self.start += bytes;
    }

    /// Brings more bytes in sight.
    ///
    /// # Errors
    /// When the file cannot be read on, or a row does not end within the limit.
    pub fn grow(&mut self) -> Result<()> {
        if (self.end - self.start) >> 20 >= self.row_mib as usize {
            return Err(Error::contract(format!("a row does not end within {} MiB", self.row_mib))
                .at("export", self.source.name())
                .at("byte_offset", self.offset)
                .at("limit", "row_mib")
                .hint("look for a quote or bracket that is not closed; if rows are that long, raise `limits = { row_mib = … }` in \
                       the dataset's [export]"));
        }
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.buffer.len() < self.end + self.chunk {
            self.buffer.resize(self.end + self.chunk, 0);
        }
        let filled = self.source.fill(&mut self.buffer[self.end..self.end + self.chunk])?;
        self.at_end = filled < self.chunk;
        self.end += filled;
        Ok(())
    }

    /// Brings at least `bytes` in sight, or all that is left.
    ///
    /// # Errors
    /// As [`Window::grow`].
    pub fn require(&mut self, bytes: usize) -> Result<()> {
        while !self.at_end && self.bytes().len() < bytes {
            self.grow()?;
        }
        Ok(())
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // One that grew over a long row is given back to the system.
        if self.buffer.len() <= 2 * CHUNK {
            SPARE.set(std::mem::take(&mut self.buffer));
        }
    }
}

/// Moves past a UTF-8 byte order mark; refuses marks of other encodings.
pub(crate) fn skip_mark(window: &mut Window, expected: Encoding, name: &str) -> Result<()> {
    let (found, hint) = match window.bytes() {
        [0xEF, 0xBB, 0xBF, ..] if expected == Encoding::Utf8 => {
            window.consume(3);
            return Ok(());
        }
        [0xEF, 0xBB, 0xBF, ..] => ("UTF-8", "write `encoding = \"utf-8\"` in the export's section of the catalog"),
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => {
            ("UTF-16", "write `encoding = \"utf-16\"` in the export's section of the catalog")
        }
        _ => return Ok(()),
    };
    Err(Error::contract(format!("file starts with the byte order mark of {found}")).at("export", name).hint(hint))
}

/// What to do about a file without rows of a format that cannot say that it has none.
pub(crate) const TELLS_NOTHING: &str = "a file of no byte tells nothing; ask the holder to deliver it again";

/// End of the first line and start of the next, whatever the line end: LF, CRLF or bare CR. `None`: more bytes needed.
pub fn line_end(bytes: &[u8], at_end: bool) -> Option<(usize, usize)> {
    match memchr::memchr2(b'\n', b'\r', bytes) {
        Some(end) => after_line_end(bytes, end, at_end).map(|next| (end, next)),
        None => (at_end && !bytes.is_empty()).then_some((bytes.len(), bytes.len())),
    }
}

/// Where the line after the line end at `end` starts. `None`: more bytes needed.
pub fn after_line_end(bytes: &[u8], end: usize, at_end: bool) -> Option<usize> {
    match (bytes[end], bytes.get(end + 1)) {
        (b'\r', Some(b'\n')) => Some(end + 2),
        (b'\r', None) if !at_end => None,
        _ => Some(end + 1),
    }
}

/// What stands at the start of the window.
#[derive(Debug, PartialEq, Eq)]
pub enum Cut {
    /// More bytes are needed; never returned where none follow.
    More,
    /// An empty line.
    Blank {
        /// Start of what follows.
        next: usize,
    },
    /// A data row.
    Row {
        /// End of its bytes, line end not included.
        end: usize,
        /// Start of what follows.
        next: usize,
        /// Lines it spans.
        lines: u64,
        /// Whether it holds a quote.
        quoted: bool,
    },
    /// Bytes that belong to no row: what stands between rows.
    Gap {
        /// Start of what follows.
        next: usize,
    },
    /// Bytes that the file does not have: what its format puts before rows so that they can be cut.
    Head {
        /// Start of what follows.
        next: usize,
    },
    /// The file is not to be read at all.
    Refused {
        /// What is wrong with it.
        message: &'static str,
        /// What to do about it.
        hint: &'static str,
    },
    /// Bytes that are no row.
    Broken {
        /// Their end.
        end: usize,
        /// Start of what follows.
        next: usize,
        /// Lines they span.
        lines: u64,
        /// Rule they break.
        rule: &'static str,
        /// What was expected.
        reason: &'static str,
    },
    /// The trailer; nothing may follow.
    Trailer {
        /// End of its bytes.
        end: usize,
        /// Start of what follows.
        next: usize,
    },
}

/// Cuts rows of one format. Pure: the same bytes are cut the same way, however they come in sight.
pub trait Cutter: Send {
    /// What stands at the start of `bytes`, which are not empty.
    fn cut(&mut self, bytes: &[u8], at_end: bool) -> Cut;

    /// Whether the next row is cut by the usual rules, so that [`Decode::pass_over`] may look at it first.
    fn is_regular(&self) -> bool {
        true
    }

    /// What is missing at the end of the file, once all rows are cut; `None` where it is whole.
    fn missing(&self) -> Option<&'static str> {
        None
    }
}

/// A row and its place; its bytes are [`Rows::row`].
#[derive(Debug, Clone, Copy)]
pub struct Piece {
    len: usize,
    line: u64,
    offset: u64,
    quoted: bool,
    broken: Option<(&'static str, &'static str)>,
}

impl Piece {
    /// Whether the row holds a quote.
    pub fn is_quoted(&self) -> bool {
        self.quoted
    }

    /// Whether its bytes are no row.
    pub fn is_broken(&self) -> bool {
        self.broken.is_some()
    }
}

/// The rows of a file, one after the other.
pub struct Rows<C> {
    window: Window,
    cutter: C,
    line: u64,
    pending: usize,
    trailer: Option<Vec<u8>>,
}

impl<C: Cutter> Rows<C> {
    /// The rows from the window's place on, which is on line `line`.
    pub fn new(window: Window, cutter: C, line: u64) -> Self {
        Self { window, cutter, line, pending: 0, trailer: None }
    }

    /// The next row, `None` at the end.
    ///
    /// # Errors
    /// When the file cannot be read on, or rows follow its trailer.
    pub fn advance(&mut self) -> Result<Option<Piece>> {
        loop {
            self.window.consume(std::mem::take(&mut self.pending));
            if self.window.bytes().is_empty() {
                if self.window.at_end() {
                    return self.cutter.missing().map_or(Ok(None), |what| Err(self.cut_off(what)));
                }
                self.window.grow()?;
                continue;
            }
            let (line, offset) = (self.line, self.window.offset());
            let piece = match self.cutter.cut(self.window.bytes(), self.window.at_end()) {
                Cut::More => {
                    self.window.grow()?;
                    continue;
                }
                Cut::Blank { next } => {
                    (self.pending, self.line) = (next, line + 1);
                    continue;
                }
                Cut::Gap { next } => {
                    let ends = line_ends(&self.window.bytes()[..next]);
                    (self.pending, self.line) = (next, line + ends);
                    continue;
                }
                Cut::Head { next } => {
                    self.window.start += next;
                    continue;
                }
                Cut::Refused { message, hint } => {
                    return Err(Error::contract(message)
                        .at("export", self.name())
                        .at("byte_offset", offset)
                        .hint(hint));
                }
                Cut::Trailer { end, next } if self.trailer.is_none() => {
                    self.trailer = Some(self.window.bytes()[..end].to_vec());
                    (self.pending, self.line) = (next, line + 1);
                    continue;
                }
                Cut::Row { end, next, lines, quoted } => {
                    (self.pending, self.line) = (next, line + lines);
                    Piece { len: end, line, offset, quoted, broken: None }
                }
                Cut::Broken { end, next, lines, rule, reason } => {
                    (self.pending, self.line) = (next, line + lines);
                    Piece { len: end, line, offset, quoted: false, broken: Some((rule, reason)) }
                }
                Cut::Trailer { .. } => return Err(self.after_trailer()),
            };
            return if self.trailer.is_some() { Err(self.after_trailer()) } else { Ok(Some(piece)) };
        }
    }

    /// Whether no byte is left; of a file that was looked into.
    pub fn is_empty(&self) -> bool {
        self.window.at_end() && self.window.bytes().is_empty()
    }

    /// Lets `passed` say how much of the bytes in sight is passed over, and moves on. The row last returned is gone.
    pub(crate) fn pass_over(&mut self, passed: impl FnOnce(&[u8]) -> Passed) -> u64 {
        self.window.consume(std::mem::take(&mut self.pending));
        if self.trailer.is_some() || !self.cutter.is_regular() {
            return 0;
        }
        let passed = passed(self.window.bytes());
        self.window.consume(passed.bytes);
        self.line += passed.rows;
        passed.rows
    }

    fn after_trailer(&self) -> Error {
        Error::contract("rows follow the trailer")
            .at("export", self.name())
            .at("line", self.line)
            .at("byte_offset", self.window.offset())
            .hint("the trailer must be the last line; ask the holder to deliver each export in a file of its own")
    }

    fn cut_off(&self, missing: &str) -> Error {
        Error::contract(format!("file is cut off: it ends before {missing}"))
            .at("export", self.name())
            .at("byte_offset", self.window.offset())
            .hint("ask the holder to deliver the file again")
    }

    /// Byte order of a file in UTF-16.
    pub fn order(&self) -> Option<Order> {
        self.window.source.order()
    }

    /// Bytes of the row last returned.
    pub fn row(&self, piece: &Piece) -> &[u8] {
        &self.window.bytes()[..piece.len]
    }

    /// The trailer, once met.
    pub fn trailer(&self) -> Option<&[u8]> {
        self.trailer.as_deref()
    }

    /// The file's name below the exports folder.
    pub fn name(&self) -> &str {
        self.window.source.name()
    }
}

/// The number of line ends in `bytes`.
pub fn line_ends(bytes: &[u8]) -> u64 {
    let ends = memchr::memchr2_iter(b'\n', b'\r', bytes);
    ends.filter(|&at| bytes[at] == b'\r' || at == 0 || bytes[at - 1] != b'\r').count() as u64
}

/// A row as it stands in its file.
fn in_file(row: &[u8], order: Option<Order>) -> Cow<'_, [u8]> {
    match order {
        None => Cow::Borrowed(row),
        Some(order) => Cow::Owned(utf16::back(row, order)),
    }
}

/// A kept row as its format reads it.
fn as_read(row: &[u8], order: Option<Order>) -> Cow<'_, [u8]> {
    match order {
        None => Cow::Borrowed(row),
        Some(order) => Cow::Owned(utf16::forth(row, order)),
    }
}

/// What became of a row.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Appended to the batch.
    Kept,
    /// Appended to the batch after a fault of the row was repaired.
    Repaired {
        /// The rule of `[export]` that it was repaired by.
        rule: &'static str,
    },
    /// Turned away by the probe.
    Filtered,
    /// Could not be read.
    Rejected {
        /// Rule it breaks.
        rule: &'static str,
        /// Position in the schema of the column concerned.
        column: Option<usize>,
        /// What was expected.
        reason: &'static str,
    },
}

/// Rows that are passed over in bulk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Passed {
    /// Bytes that they take, line ends included.
    pub bytes: usize,
    /// How many they are; each is one line.
    pub rows: u64,
}

/// Decodes rows of one format.
pub trait Decode: Send {
    /// Asks the probe first; appends the wanted cells of `row` only for a hit.
    fn decode(&mut self, row: &[u8], quoted: bool, columns: &mut Columns) -> Verdict;

    /// The rows at the start of `bytes` that the format's cutter would cut as a row of one line, that
    /// [`Decode::decode`] would answer with [`Verdict::Filtered`], and that are noted as by [`Decode::note`]. Stopping
    /// early is never wrong: what is left is cut and decoded row by row.
    fn pass_over(&mut self, bytes: &[u8]) -> Passed;

    /// Notes a row for the control totals, whatever becomes of it.
    fn note(&mut self, row: &[u8]);

    /// Compares the control totals of the file called `name` with the `rows` that were met to its end.
    ///
    /// # Errors
    /// [`ieum_model::error::ErrorKind::ControlTotals`] when they do not agree.
    fn close(&self, name: &str, trailer: Option<&[u8]>, rows: u64) -> Result<()>;

    /// The cell of a row in a column of the schema, without quotes and padding; `None` where the row has none.
    fn cell(&self, row: &[u8], quoted: bool, column: usize) -> Option<Vec<u8>>;

    /// Whose a row without its shape may be; without a probe nobody asks.
    fn strays(&self, row: &[u8]) -> Strays;
}

/// Rows to batches and rejects.
pub struct TextReader<C, D> {
    rows: Rows<C>,
    decoder: D,
    columns: Columns,
    schema: arrow::datatypes::SchemaRef,
    /// The key's position in the schema.
    key: Option<usize>,
    rejects: Arc<dyn RejectSink>,
    batch_rows: usize,
    counts: ReadCounts,
}

impl<C: Cutter, D: Decode> TextReader<C, D> {
    /// Reads `rows` with `decoder` into `columns`, as `spec` wants.
    pub fn new(rows: Rows<C>, decoder: D, columns: Columns, spec: &ScanSpec) -> Self {
        let (schema, rejects) = (Arc::clone(&spec.schema), Arc::clone(&spec.rejects));
        let (key, counts) = (schema.index_of(&spec.key_column).ok(), ReadCounts::default());
        Self { rows, decoder, columns, schema, key, rejects, batch_rows: spec.batch_rows, counts }
    }

    fn reject(&self, piece: &Piece, rule: &'static str, column: Option<usize>, reason: &str) -> Result<()> {
        let row = self.rows.row(piece);
        self.rejects.reject(Reject {
            column: column.map(|at| self.schema.field(at).name().clone()),
            reason: reason.to_owned(),
            strays: strays_of_reject(&self.decoder, &self.columns, row, piece.quoted, self.key, column),
            ..self.told(piece, rule)
        })
    }

    /// The row with a rule, of no column and nobody.
    fn told(&self, piece: &Piece, rule: &'static str) -> Reject {
        Reject {
            source: self.rows.name().to_owned(),
            line: piece.line,
            byte_offset: piece.offset,
            rule,
            column: None,
            reason: REPAIRED.to_owned(),
            raw: in_file(self.rows.row(piece), self.rows.order()).into_owned(),
            strays: Strays::default(),
        }
    }
}

/// Reason of the note of a row that was repaired.
const REPAIRED: &str = "the row was read as its rule of `repair` says";

/// Whose a rejected row may be: the key stands in column `key` of the schema. A row that a cell of `column` spoils is as
/// wide as it should be, so its cells are in place; without a column its shape is at fault, and no cell has its place.
fn strays_of_reject(
    decoder: &impl Decode,
    columns: &Columns,
    row: &[u8],
    quoted: bool,
    key: Option<usize>,
    column: Option<usize>,
) -> Strays {
    let key = key.filter(|key| column.is_some_and(|column| column != *key));
    match key.and_then(|key| columns.text(&decoder.cell(row, quoted, key)?)) {
        Some(key) => Strays { keys: vec![key], is_anybodys: false },
        None => decoder.strays(row),
    }
}

/// Decodes rows of the file called `name` (in UTF-16 of this byte order) that were cut before, as [`TextReader`] does. The rows make one batch.
///
/// # Errors
/// When a reject cannot be kept.
pub(crate) fn replay(
    decoder: &mut impl Decode,
    mut columns: Columns,
    spec: &ScanSpec,
    (name, order): (&str, Option<Order>),
    rows: &[KeptRow],
) -> Result<Replayed> {
    let mut counts = ReadCounts { read: rows.len() as u64, ..ReadCounts::default() };
    let key_at = spec.schema.index_of(&spec.key_column).ok();
    for row in rows {
        let bytes = as_read(&row.bytes, order);
        // A row holds a quote exactly where its cutter says so.
        let quoted = bytes.contains(&b'"');
        let told = |rule, column: Option<usize>, reason: &str, strays| Reject {
            source: name.to_owned(),
            line: row.line,
            byte_offset: row.byte_offset,
            rule,
            column: column.map(|at| spec.schema.field(at).name().clone()),
            reason: reason.to_owned(),
            raw: row.bytes.clone(),
            strays,
        };
        let (rule, column, reason) = match &row.shapeless {
            Some((rule, reason)) => (*rule, None, reason.as_str()),
            None => match decoder.decode(&bytes, quoted, &mut columns) {
                Verdict::Kept => {
                    counts.kept += 1;
                    continue;
                }
                Verdict::Repaired { rule } => {
                    spec.rejects.repaired(told(rule, None, REPAIRED, Strays::default()))?;
                    counts.kept += 1;
                    continue;
                }
                Verdict::Filtered => {
                    counts.filtered += 1;
                    continue;
                }
                Verdict::Rejected { rule, column, reason } => (rule, column, reason),
            },
        };
        counts.rejected += 1;
        let strays = strays_of_reject(decoder, &columns, &bytes, quoted, key_at, column);
        spec.rejects.reject(told(rule, column, reason, strays))?;
    }
    Ok(Replayed { batch: columns.finish()?, counts })
}

impl<C: Cutter, D: Decode> BatchReader for TextReader<C, D> {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let mut at_end = true;
            loop {
                let passed = self.rows.pass_over(|bytes| self.decoder.pass_over(bytes));
                self.counts.read += passed;
                self.counts.filtered += passed;
                let Some(piece) = self.rows.advance()? else { break };
                self.decoder.note(self.rows.row(&piece));
                let verdict = match piece.broken {
                    Some((rule, reason)) => Verdict::Rejected { rule, column: None, reason },
                    None => self.decoder.decode(self.rows.row(&piece), piece.quoted, &mut self.columns),
                };
                match verdict {
                    Verdict::Kept => self.counts.kept += 1,
                    Verdict::Repaired { rule } => match self.rejects.repaired(self.told(&piece, rule))? {
                        Repaired::Told => self.counts.kept += 1,
                        Repaired::Taken => {
                            self.columns.take_back_row();
                            self.counts.rejected += 1;
                        }
                    },
                    Verdict::Filtered => self.counts.filtered += 1,
                    Verdict::Rejected { rule, column, reason } => {
                        self.reject(&piece, rule, column, reason)?;
                        self.counts.rejected += 1;
                    }
                }
                self.counts.read += 1;
                if self.columns.is_full(self.batch_rows) {
                    at_end = false;
                    break;
                }
            }
            if at_end {
                self.decoder.close(self.rows.name(), self.rows.trailer(), self.counts.read)?;
            }
            let batch = self.columns.finish()?;
            if batch.is_some() || at_end {
                return Ok(batch);
            }
        }
    }

    fn counts(&self) -> ReadCounts {
        ReadCounts { bytes: self.rows.window.source.storage_bytes(), ..self.counts }
    }
}
