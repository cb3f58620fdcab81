//! A base export and the files of changes (I, U, D) that came after it, read as the one export that they make together.
//!
//! ```text
//!  changes ─► of each record its changes, in the order of the files ─┐
//!  base ────► which of these records are there ──────────────────────┴─► Changes: the fate of every change
//!
//!  base ────► rows that hit ─► did a change put the record aside? ─► gone, else kept
//!  changes ─► rows that hit ─► is it the record's last? ──────────► kept; put aside; a change of what is not there: rejected
//! ```
//!
//! Records are told apart by the columns that `deltas.key` names, as the files spell them. What a change puts aside, and a deletion,
//! count as filtered. An insert of a record that is there, and an update or a deletion of one that is not, are rejected
//! (`change`) and change nothing; `repair = ["upserts"]` takes them as they are meant, and tells those that are handed on. A change
//! that cannot be read is rejected like any row, and the record that it was of is put aside: what is known of it is no longer true.

mod changes;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use ieum_model::connector::{FileColumn, ScanSpec, Strays};
use ieum_model::dataset::{Dataset, Deltas, Encoding, Export, Repair};
use ieum_model::error::{Error, Result};

use self::changes::{Changes, Fate};
use crate::convert::Columns;
use crate::encoding;
use crate::export::{Decoding, ExportFiles, TextExport, TextFormat};
use crate::folder::Folder;
use crate::replay::{HEAD_CHUNK, Replay};
use crate::text::{CHUNK, Decode, Passed, Verdict};

const REJECTED: &str = "change";

/// Opens the export of `dataset` below `root` in a format, its changes merged into it.
///
/// # Errors
/// As [`TextExport::try_new`].
pub(crate) fn open<F: TextFormat + 'static>(root: &Folder, dataset: &Dataset) -> Result<Box<dyn Replay>> {
    Ok(Box::new(TextExport::<WithDeltas<F>>::try_new(root, dataset, CHUNK)?))
}

/// A format whose base export has changes.
pub(crate) struct WithDeltas<F> {
    format: F,
    deltas: Deltas,
    upserts: bool,
    changes: Mutex<Option<Arc<Changes>>>,
}

impl<F: TextFormat> WithDeltas<F> {
    /// What became of every change; looked through once.
    fn changes(&self, files: &ExportFiles, chunk: usize) -> Result<Arc<Changes>> {
        let mut known = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(changes) = known.as_ref() {
            return Ok(Arc::clone(changes));
        }
        let changes = Arc::new(changes::of(&self.format, files, &self.deltas, self.upserts, chunk)?);
        *known = Some(Arc::clone(&changes));
        Ok(changes)
    }
}

impl<F: TextFormat> TextFormat for WithDeltas<F> {
    type Cutter = F::Cutter;
    type Decoder = ChangedDecoder<F::Decoder>;

    fn try_new(dataset: &Dataset, export: &Export) -> Result<Self> {
        let deltas = export.deltas.clone().ok_or_else(|| Error::internal("an export without deltas is merged"))?;
        if deltas.key.is_empty() {
            let message = "deltas need a key: the columns that tell one record from another";
            return Err(ExportFiles::config(dataset, message));
        }
        let upserts = export.repair.contains(&Repair::Upserts);
        Ok(Self { format: F::try_new(dataset, export)?, deltas, upserts, changes: Mutex::new(None) })
    }

    fn columns(&self, files: &ExportFiles, name: &str, chunk: usize) -> Result<Option<Vec<FileColumn>>> {
        let columns = self.format.columns(files, name, chunk)?;
        // That a row is a change is no column of the export.
        let is_change = |column: &FileColumn| Some(&column.name) == self.deltas.change.as_ref();
        Ok(columns.map(|columns| columns.into_iter().filter(|column| !is_change(column)).collect()))
    }

    fn decoding(
        &self,
        files: &ExportFiles,
        name: &str,
        spec: &ScanSpec,
        chunk: usize,
    ) -> Result<Decoding<F::Cutter, Self::Decoder>> {
        let Decoding { rows, decoder, columns } = self.format.decoding(files, name, spec, chunk)?;
        let file = files.delta(name);
        let head = chunk.min(HEAD_CHUNK);
        let cells = self.format.decoding(files, name, &changes::told_by(&self.deltas, file.is_some()), head)?.decoder;
        let decoder = ChangedDecoder {
            inner: decoder,
            cells,
            key_columns: self.deltas.key.len(),
            encoding: files.export.encoding.of_cells(),
            changes: self.changes(files, chunk)?,
            file,
            ordinal: 0,
        };
        Ok(Decoding { rows, decoder, columns })
    }

    fn verify(&self, files: &ExportFiles, name: &str, chunk: usize) -> Result<()> {
        self.format.verify(files, name, chunk)
    }
}

/// Decodes the rows of a base file or of a file of changes, and leaves out what a change has put aside.
pub(crate) struct ChangedDecoder<D> {
    inner: D,
    /// Finds the cells that tell records apart.
    cells: D,
    key_columns: usize,
    encoding: Encoding,
    changes: Arc<Changes>,
    /// Number of the file among those of changes; `None` for a base file.
    file: Option<usize>,
    /// Rows of the file that were met; 0 where kept rows are decoded out of their file.
    ordinal: u64,
}

impl<D: Decode> ChangedDecoder<D> {
    fn fate(&self, row: &[u8], quoted: bool) -> Fate {
        match self.file {
            Some(file) => self.changes.fate(file, self.ordinal, row),
            // Most nights change little.
            None if self.changes.nothing_aside() => Fate::Current,
            None => {
                let cell = |column| {
                    let cell = self.cells.cell(row, quoted, column)?;
                    encoding::decode(self.encoding, &cell, &mut String::new()).map(|text| text.as_bytes().to_vec())
                };
                let cells: Option<Vec<Vec<u8>>> = (0..self.key_columns).map(cell).collect();
                match cells {
                    Some(cells) if self.changes.puts_aside(&changes::identity(&cells)) => Fate::Aside,
                    _ => Fate::Current,
                }
            }
        }
    }
}

impl<D: Decode> Decode for ChangedDecoder<D> {
    fn decode(&mut self, row: &[u8], quoted: bool, columns: &mut Columns) -> Verdict {
        let verdict = self.inner.decode(row, quoted, columns);
        let is_kept = matches!(verdict, Verdict::Kept | Verdict::Repaired { .. });
        if !is_kept && !matches!(verdict, Verdict::Rejected { column: Some(_), .. }) {
            return verdict;
        }
        let fate = self.fate(row, quoted);
        if is_kept && matches!(fate, Fate::Aside | Fate::Bad(_)) {
            columns.take_back_row();
        }
        match fate {
            Fate::Current => verdict,
            Fate::Repaired if is_kept => Verdict::Repaired { rule: Repair::Upserts.name() },
            Fate::Repaired => verdict,
            Fate::Aside => Verdict::Filtered,
            Fate::Bad(fault) => Verdict::Rejected { rule: REJECTED, column: None, reason: fault.reason() },
        }
    }

    fn pass_over(&mut self, bytes: &[u8]) -> Passed {
        let passed = self.inner.pass_over(bytes);
        self.ordinal += passed.rows;
        passed
    }

    fn note(&mut self, row: &[u8]) {
        self.ordinal += 1;
        self.inner.note(row);
    }

    fn close(&self, name: &str, trailer: Option<&[u8]>, rows: u64) -> Result<()> {
        self.inner.close(name, trailer, rows)
    }

    fn cell(&self, row: &[u8], quoted: bool, column: usize) -> Option<Vec<u8>> {
        self.inner.cell(row, quoted, column)
    }

    fn strays(&self, row: &[u8]) -> Strays {
        self.inner.strays(row)
    }
}
