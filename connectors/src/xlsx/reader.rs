//! Files of workbooks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use arrow::record_batch::RecordBatch;
use glob::Pattern;
use ieum_model::connector::{BatchReader, FileColumn, ReadCounts, Reject, ScanSpec};
use ieum_model::dataset::{Dataset, Export, ItemType};
use ieum_model::error::{Error, Result};

use super::book::{self, Block, Met, Wanted};
use super::decoder::{Cells, ENCODING, Filled, Kept, Owned, RowDecoder, raw};
use super::limits::MAX_BOOK;
use crate::convert::Columns;
use crate::export::{ExportFiles, FileFormat};
use crate::files::Source;
use crate::replay::{KeptRow, Replayed};
use crate::text::Verdict;
use crate::{columns, encoding};

/// Blocks of rows that the reading thread may be ahead.
const AHEAD: usize = 4;

/// Workbooks, as an export declares them.
pub(super) struct Xlsx {
    wanted: Wanted,
    types: BTreeMap<String, ItemType>,
}

impl Xlsx {
    pub(super) fn try_new(dataset: &Dataset, export: &Export) -> Result<Self> {
        let config = |message: &str| ExportFiles::config(dataset, message);
        if !encoding::is_separator(export.list_separator) {
            return Err(config("list separator must be ASCII, no letter, digit, quote or line end"));
        }
        if !export.header && export.order.is_empty() {
            return Err(config("a workbook without header needs `order`"));
        }
        if export.control.trailer.is_some() {
            return Err(config("a workbook has no trailer"));
        }
        let sheets = export.sheet.name.as_deref().map(Pattern::new).transpose();
        let sheets = sheets.map_err(|error| config("`sheet.name` is no pattern").hint(error.msg))?;
        let first = export.sheet.header_row.saturating_sub(1);
        let rows = if export.header { export.sheet.header_rows } else { 0 };
        let wanted = Wanted { sheets, header: first..first.saturating_add(rows) };
        Ok(Self { wanted, types: columns::types(dataset) })
    }

    fn reader(&self, files: &ExportFiles, name: &str, spec: &ScanSpec) -> Result<Reader> {
        let (file, storage) = bytes(files, name)?;
        let (sender, messages) = sync_channel::<Result<Option<Met>>>(AHEAD);
        let wanted = self.wanted.clone();
        // A thread of its own: the reader of a workbook cannot be left and entered again, and may panic over a damaged one.
        std::thread::Builder::new()
            .name("workbook".into())
            .spawn(move || {
                let done = book::read(file, &wanted, &mut |met| sender.send(Ok(Some(met))).is_ok());
                // Nobody listens where the reader was dropped.
                let _ = sender.send(done.map(|()| None));
            })
            .map_err(|error| Error::internal(format!("no thread can be started: {error}")))?;
        let columns = Columns::try_new(Arc::clone(&spec.schema), ENCODING, files.export.list_separator)?;
        let mut reader = Reader {
            name: name.to_owned(),
            dataset: files.dataset.clone(),
            export: files.export.clone(),
            types: self.types.clone(),
            messages,
            spec: spec.clone(),
            sheet: None,
            sheets: 0,
            block: None,
            at_end: false,
            columns,
            counts: ReadCounts { bytes: storage, ..ReadCounts::default() },
        };
        // The first sheet: whether the file has the columns is known before it is read.
        reader.advance()?;
        Ok(reader)
    }
}

/// A file's bytes, unpacked, and how many were read from storage.
fn bytes(files: &ExportFiles, name: &str) -> Result<(Vec<u8>, u64)> {
    let mut source = Source::open(&files.root, name)?;
    let (mut bytes, mut end) = (Vec::new(), 0);
    loop {
        bytes.resize(end + 1024 * 1024, 0);
        let filled = source.fill(&mut bytes[end..])?;
        end += filled;
        if end as u64 > MAX_BOOK {
            let message = format!("the file is no workbook: it has more than {} MiB", MAX_BOOK >> 20);
            return Err(files.broken(name, message, "ask the holder for smaller files, or for CSV"));
        }
        if filled < 1024 * 1024 {
            bytes.truncate(end);
            return Ok((bytes, source.storage_bytes()));
        }
    }
}

/// The sheet whose rows are read.
struct OpenSheet {
    name: String,
    /// Names of its columns, that of the sheet's name last.
    names: Vec<String>,
    decoder: RowDecoder,
    /// Columns to fill down, outer ones first, and what they are filled with.
    filled: Vec<(usize, Option<Owned>)>,
    name_place: Option<usize>,
}

/// Rows of one file.
struct Reader {
    name: String,
    dataset: Dataset,
    export: Export,
    types: BTreeMap<String, ItemType>,
    messages: Receiver<Result<Option<Met>>>,
    spec: ScanSpec,
    sheet: Option<OpenSheet>,
    sheets: u64,
    block: Option<(Block, usize)>,
    at_end: bool,
    columns: Columns,
    counts: ReadCounts,
}

fn decoder(
    dataset: &Dataset,
    export: &Export,
    types: &BTreeMap<String, ItemType>,
    names: &[String],
    spec: &ScanSpec,
) -> Result<RowDecoder> {
    let borrowed: Vec<&str> = names.iter().map(String::as_str).collect();
    let located = columns::locate(dataset, export, &borrowed, &spec.schema)?;
    let fields = spec.schema.fields().iter();
    let wanted = located.into_iter().zip(fields.map(|field| types.get(field.name()).copied())).collect();
    let probe = spec.probe.as_ref().map(Arc::clone).zip(columns::key(spec)?);
    Ok(RowDecoder::new(wanted, probe, spec.schema.index_of(&spec.key_column).ok()))
}

impl Reader {
    /// Takes the next sheet or block; whether there was one.
    fn advance(&mut self) -> Result<bool> {
        let damaged = || {
            Error::contract("the workbook is damaged").hint("ask the holder to open it, save it and deliver it again")
        };
        let told = self.messages.recv().map_err(|_| damaged()).and_then(|told| told);
        match told.map_err(|error| error.at("dataset", &self.dataset.code).at("export", &self.name))? {
            Some(Met::Sheet { name, names }) => {
                self.sheets += 1;
                self.sheet = Some(self.open_sheet(name, names)?);
                Ok(true)
            }
            Some(Met::Rows(block)) => {
                self.block = Some((block, 0));
                Ok(true)
            }
            None => {
                self.at_end = true;
                Ok(false)
            }
        }
    }

    fn open_sheet(&self, name: String, mut names: Vec<String>) -> Result<OpenSheet> {
        let placed = |error: Error| error.at("dataset", &self.dataset.code).at("export", &self.name).at("sheet", &name);
        if !self.export.header {
            names.clone_from(&self.export.order);
        } else if names.iter().all(String::is_empty) {
            return Err(placed(
                Error::contract("the sheet has no header").hint("compare `sheet.header_row` with the workbook"),
            ));
        }
        let filled = self.export.sheet.fill_down.iter().map(|column| {
            let place = names.iter().position(|name| name == column);
            place.map(|place| (place, None)).ok_or_else(|| {
                placed(
                    Error::contract(format!("column `{column}` of `sheet.fill_down` is missing"))
                        .hint(format!("the sheet has {}", names.join(", "))),
                )
            })
        });
        let filled = filled.collect::<Result<Vec<_>>>()?;
        let name_place = self.export.sheet.name_column.as_ref().map(|column| {
            names.push(column.clone());
            names.len() - 1
        });
        let decoder = decoder(&self.dataset, &self.export, &self.types, &names, &self.spec).map_err(placed)?;
        Ok(OpenSheet { name, names, decoder, filled, name_place })
    }

    /// Decodes rows of the block until it ends or the batch is full.
    fn decode(&mut self) -> Result<()> {
        let (Some((block, at)), Some(sheet)) = (&mut self.block, &mut self.sheet) else { return Ok(()) };
        while *at < block.len() && !self.columns.is_full(self.spec.batch_rows) {
            let (number, row) = block.row(*at);
            *at += 1;
            for outer in 0..sheet.filled.len() {
                let own = u32::try_from(sheet.filled[outer].0).ok().and_then(|column| row.cell(column));
                if let Some(own) = own {
                    sheet.filled[outer].1 = Some(Owned::of(own));
                    sheet.filled[outer + 1..].iter_mut().for_each(|(_, inner)| *inner = None);
                }
            }
            let name = sheet.name_place.map(|place| (place, sheet.name.as_str()));
            let cells = Filled { row: &row, filled: &sheet.filled, sheet: name };
            self.counts.read += 1;
            match sheet.decoder.decode(&cells, &mut self.columns) {
                // Nothing of a workbook is repaired.
                Verdict::Kept | Verdict::Repaired { .. } => self.counts.kept += 1,
                Verdict::Filtered => self.counts.filtered += 1,
                Verdict::Rejected { rule, column, reason } => {
                    self.counts.rejected += 1;
                    self.spec.rejects.reject(Reject {
                        source: self.name.clone(),
                        line: u64::from(number),
                        byte_offset: self.sheets - 1,
                        rule,
                        column: column.map(|at| self.spec.schema.field(at).name().clone()),
                        reason: reason.to_owned(),
                        raw: raw(&sheet.name, number, &sheet.names, &cells),
                        strays: sheet.decoder.strays(&cells, column),
                    })?;
                }
            }
        }
        if *at >= block.len() {
            self.block = None;
        }
        Ok(())
    }
}

impl BatchReader for Reader {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if self.columns.is_full(self.spec.batch_rows)
                && let Some(batch) = self.columns.finish()?
            {
                return Ok(Some(batch));
            }
            if self.block.is_some() {
                self.decode()?;
            } else if self.at_end || !self.advance()? {
                return self.columns.finish();
            }
        }
    }

    fn counts(&self) -> ReadCounts {
        self.counts
    }
}

impl FileFormat for Xlsx {
    fn columns(&self, files: &ExportFiles, name: &str) -> Result<Option<Vec<FileColumn>>> {
        if !files.export.header {
            return Ok(None);
        }
        let mut found = None;
        let first = |met: Met| {
            if let Met::Sheet { names, .. } = met {
                found = Some(names);
            }
            false
        };
        let (file, _) = bytes(files, name)?;
        let wanted = self.wanted.clone();
        // A reader that a damaged file makes panic is no harm to anybody.
        let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| book::read(file, &wanted, &mut { first })));
        read.unwrap_or_else(|_| Err(Error::contract("the workbook is damaged")))
            .map_err(|error| error.at("dataset", &files.dataset.code).at("export", name))?;
        let named = found.into_iter().flatten().filter(|name| !name.is_empty());
        Ok(Some(named.map(|name| FileColumn { name, kind: None }).collect()))
    }

    fn open(&self, files: &ExportFiles, name: &str, spec: &ScanSpec) -> Result<Box<dyn BatchReader>> {
        Ok(Box::new(self.reader(files, name, spec)?))
    }

    fn replay(&self, files: &ExportFiles, name: &str, spec: &ScanSpec, rows: &[KeptRow]) -> Result<Replayed> {
        let (dataset, export) = (&files.dataset, &files.export);
        let mut columns = Columns::try_new(Arc::clone(&spec.schema), ENCODING, export.list_separator)?;
        let mut counts = ReadCounts { read: rows.len() as u64, ..ReadCounts::default() };
        for row in rows {
            let broken = || Error::internal("a kept row cannot be read").at("export", name);
            let mut kept = Kept::parse(&row.bytes).ok_or_else(broken)?;
            // A column of which the row has no cell is blank in it.
            let is_named = |code: &str| kept.names.iter().any(|name| columns::code(dataset, export, name) == code);
            let blank = spec.schema.fields().iter().map(|field| field.name()).filter(|code| !is_named(code));
            let blank: Vec<String> = blank.cloned().collect();
            kept.names.extend(blank);
            let mut decoder = decoder(dataset, export, &self.types, &kept.names, spec)?;
            let (rule, column, reason) = match decoder.decode(&kept, &mut columns) {
                Verdict::Kept | Verdict::Repaired { .. } => {
                    counts.kept += 1;
                    continue;
                }
                Verdict::Filtered => {
                    counts.filtered += 1;
                    continue;
                }
                Verdict::Rejected { rule, column, reason } => (rule, column, reason),
            };
            counts.rejected += 1;
            spec.rejects.reject(Reject {
                source: name.to_owned(),
                line: row.line,
                byte_offset: row.byte_offset,
                rule,
                column: column.map(|at| spec.schema.field(at).name().clone()),
                reason: reason.to_owned(),
                raw: row.bytes.clone(),
                strays: decoder.strays(&kept as &dyn Cells, column),
            })?;
        }
        Ok(Replayed { batch: columns.finish()?, counts })
    }
}
