//! A workbook's bytes to the rows of its sheets, in the order they stand there.

use std::io::Cursor;
use std::ops::Range;

use calamine::{Data, DataRef, Reader, SheetType, SheetVisible, Xls, XlsError, XlsOptions, Xlsx, XlsxError};
use glob::Pattern;
use ieum_model::error::{Error, Result};

use super::biff::{self, Refused};
use super::cell::Cell;
use super::header::joined;
use super::limits::{self, MAX_BOOK};

/// Rows and text of a block, about what a batch takes.
const BLOCK_ROWS: usize = 1024;
const BLOCK_TEXT: usize = 1024 * 1024;
/// Code page number of UTF-16.
const UTF_16: u16 = 1200;

/// Which of the two kinds a workbook is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BookKind {
    /// Office Open XML, in a zip archive.
    Xlsx,
    /// BIFF, in a compound file.
    Xls,
}

/// The kind of workbook that a file begins as, whatever its name says.
pub fn is_book(head: &[u8]) -> Option<BookKind> {
    match head {
        [b'P', b'K', 3, 4, ..] => Some(BookKind::Xlsx),
        [0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1, ..] => Some(BookKind::Xls),
        _ => None,
    }
}

/// Which sheets are read, and where their tables stand.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// Names of the sheets; `None` for the first visible one.
    pub(super) sheets: Option<Pattern>,
    /// Rows of the header, from 0; empty where there is none. What stands above is passed over.
    pub(super) header: Range<u32>,
}

/// Rows of one sheet that follow each other; blank ones are left out.
#[derive(Debug, Default)]
pub(super) struct Block {
    text: String,
    cells: Vec<(u32, Stored)>,
    /// Number in the sheet, from 1, of every row, and where its cells end.
    rows: Vec<(u32, usize)>,
}

#[derive(Debug, Clone)]
enum Stored {
    Text(Range<usize>),
    Number(f64),
    Time { serial: f64, from_1904: bool },
    Bool(bool),
    Error,
}

impl Block {
    /// Every row with its number.
    pub(super) fn rows(&self) -> impl Iterator<Item = (u32, Row<'_>)> {
        let starts = std::iter::once(0).chain(self.rows.iter().map(|(_, end)| *end));
        self.rows.iter().zip(starts).map(|((number, end), start)| (*number, Row { block: self, range: start..*end }))
    }

    /// How many rows it has.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// A row by its place in the block.
    pub(super) fn row(&self, at: usize) -> (u32, Row<'_>) {
        let start = if at == 0 { 0 } else { self.rows[at - 1].1 };
        (self.rows[at].0, Row { block: self, range: start..self.rows[at].1 })
    }

    fn push(&mut self, column: u32, cell: Cell<'_>) {
        let stored = match cell {
            Cell::Text(text) => {
                let start = self.text.len();
                self.text.push_str(text);
                Stored::Text(start..self.text.len())
            }
            Cell::Number(number) => Stored::Number(number),
            Cell::Time { serial, from_1904 } => Stored::Time { serial, from_1904 },
            Cell::Bool(yes) => Stored::Bool(yes),
            Cell::Error => Stored::Error,
        };
        self.cells.push((column, stored));
    }

    fn end_row(&mut self, number: u32) {
        let start = self.rows.last().map_or(0, |(_, end)| *end);
        if self.cells.len() > start {
            self.rows.push((number, self.cells.len()));
        }
    }

    fn is_full(&self) -> bool {
        self.rows.len() >= BLOCK_ROWS || self.text.len() >= BLOCK_TEXT
    }
}

/// The cells of a row that are not blank, by column.
#[derive(Clone)]
pub(super) struct Row<'b> {
    block: &'b Block,
    range: Range<usize>,
}

impl<'b> Row<'b> {
    pub(super) fn cell(&self, column: u32) -> Option<Cell<'b>> {
        let cells = &self.block.cells[self.range.clone()];
        let at = cells.partition_point(|(other, _)| *other < column);
        cells.get(at).filter(|(other, _)| *other == column).map(|(_, stored)| self.restored(stored))
    }

    pub(super) fn cells(&self) -> impl Iterator<Item = (u32, Cell<'b>)> {
        let row = self.clone();
        self.block.cells[self.range.clone()].iter().map(move |(column, stored)| (*column, row.restored(stored)))
    }

    fn restored(&self, stored: &'b Stored) -> Cell<'b> {
        match stored {
            Stored::Text(range) => Cell::Text(&self.block.text[range.clone()]),
            Stored::Number(number) => Cell::Number(*number),
            Stored::Time { serial, from_1904 } => Cell::Time { serial: *serial, from_1904: *from_1904 },
            Stored::Bool(yes) => Cell::Bool(*yes),
            Stored::Error => Cell::Error,
        }
    }
}

/// Rows and columns of a sheet, at most (Office Open XML): memory is taken for no place beyond them.
const MOST_ROWS: u32 = 1_048_576;
const MOST_COLUMNS: u32 = 16_384;

/// What is met in a workbook.
#[derive(Debug)]
pub(super) enum Met {
    /// A sheet, and the names of its columns.
    Sheet {
        /// Its name.
        name: String,
        /// Names of the columns, from the first on.
        names: Vec<String>,
    },
    /// Rows of the sheet last met.
    Rows(Block),
}

/// Reads the wanted sheets of a workbook; `sink` says whether it wants more.
///
/// # Errors
/// [`ieum_model::error::ErrorKind::Contract`] when the file is no workbook, is damaged or protected, is beyond the limits, or has
/// no such sheet.
pub(super) fn read(file: Vec<u8>, wanted: &Wanted, sink: &mut dyn FnMut(Met) -> bool) -> Result<()> {
    let mut collector = Collector::new(wanted, sink);
    match is_book(&file) {
        Some(BookKind::Xlsx) => read_xlsx(file, wanted, &mut collector),
        Some(BookKind::Xls) => read_xls(file, wanted, &mut collector),
        None => Err(not_a_book(&file)),
    }
}

fn not_a_book(file: &[u8]) -> Error {
    let head = file[..file.len().min(1024)].to_ascii_lowercase();
    let is_page = [&b"<html"[..], b"<table", b"<!doctype", b"<?xml"]
        .iter()
        .any(|mark| head.windows(mark.len()).any(|window| window == *mark));
    let what = if is_page { "file is a web page or XML named as a workbook" } else { "file is no workbook" };
    Error::contract(what).hint("ask the holder to save it as .xlsx, or correct `format` in the catalog")
}

fn damaged() -> Error {
    Error::contract("the workbook is damaged").hint("ask the holder to open it, save it and deliver it again")
}

fn beyond() -> Error {
    Error::contract(format!(
        "the workbook is beyond the limits: {} MiB packed, 4 GiB unpacked, the rows and columns of a sheet",
        MAX_BOOK / (1024 * 1024)
    ))
    .hint("ask the holder for smaller files, or for CSV")
}

fn protected() -> Error {
    Error::contract("the workbook is protected by a password").hint("ask the holder to deliver it without one")
}

fn read_xlsx(file: Vec<u8>, wanted: &Wanted, collector: &mut Collector<'_>) -> Result<()> {
    if !limits::within(&file).ok_or_else(damaged)? {
        return Err(beyond());
    }
    let told = |error: XlsxError| if matches!(error, XlsxError::Password) { protected() } else { damaged() };
    let mut book = Xlsx::new(Cursor::new(file)).map_err(told)?;
    let from_1904 = book.has_1904_epoch();
    for name in sheets(book.sheets_metadata(), wanted)? {
        let mut cells = book.worksheet_cells_reader(&name).map_err(told)?;
        collector.begin(name);
        while let Some(cell) = cells.next_cell().map_err(told)? {
            let (row, column) = cell.get_position();
            let cell = match cell.get_value() {
                DataRef::Empty => continue,
                DataRef::String(text) | DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => Cell::Text(text),
                DataRef::SharedString(text) => Cell::Text(text),
                DataRef::Int(number) => Cell::Number(*number as f64),
                DataRef::Float(number) => Cell::Number(*number),
                DataRef::Bool(yes) => Cell::Bool(*yes),
                DataRef::DateTime(time) => Cell::Time { serial: time.as_f64(), from_1904 },
                DataRef::Error(_) => Cell::Error,
            };
            if !collector.cell(row, column, cell)? {
                return Ok(());
            }
        }
        if !collector.end() {
            return Ok(());
        }
    }
    Ok(())
}

fn read_xls(file: Vec<u8>, wanted: &Wanted, collector: &mut Collector<'_>) -> Result<()> {
    let biff8 = biff::is_biff8(&file).map_err(|refused| match refused {
        Refused::NoWorkbook => damaged(),
        Refused::TooLarge => beyond(),
    })?;
    let told = |error: XlsError| if matches!(error, XlsError::Password) { protected() } else { damaged() };
    let mut options = XlsOptions::default();
    options.force_codepage = biff8.then_some(UTF_16);
    let mut book = Xls::new_with_options(Cursor::new(file), options).map_err(told)?;
    let from_1904 = book.has_1904_epoch();
    for name in sheets(book.sheets_metadata(), wanted)? {
        let range = book.worksheet_range(&name).map_err(told)?;
        let (first_row, first_column) = range.start().unwrap_or_default();
        collector.begin(name);
        for (row, column, cell) in range.used_cells() {
            let cell = match cell {
                Data::Empty => continue,
                Data::String(text) | Data::DateTimeIso(text) | Data::DurationIso(text) => Cell::Text(text),
                Data::Int(number) => Cell::Number(*number as f64),
                Data::Float(number) => Cell::Number(*number),
                Data::Bool(yes) => Cell::Bool(*yes),
                Data::DateTime(time) => Cell::Time { serial: time.as_f64(), from_1904 },
                Data::Error(_) => Cell::Error,
            };
            // A sheet has fewer rows and columns than 32 bits.
            if !collector.cell(first_row + row as u32, first_column + column as u32, cell)? {
                return Ok(());
            }
        }
        if !collector.end() {
            return Ok(());
        }
    }
    Ok(())
}

/// Names of the sheets to read, in the order of the workbook.
fn sheets(all: &[calamine::Sheet], wanted: &Wanted) -> Result<Vec<String>> {
    let tables = || all.iter().filter(|sheet| sheet.typ == SheetType::WorkSheet);
    let names: Vec<String> = match &wanted.sheets {
        Some(pattern) => {
            tables().filter(|sheet| pattern.matches(&sheet.name)).map(|sheet| sheet.name.clone()).collect()
        }
        None => {
            let visible = |sheet: &&calamine::Sheet| sheet.visible == SheetVisible::Visible;
            tables().find(visible).or_else(|| tables().next()).map(|sheet| sheet.name.clone()).into_iter().collect()
        }
    };
    if names.is_empty() {
        let has: Vec<&str> = tables().map(|sheet| sheet.name.as_str()).collect();
        return Err(Error::contract("the workbook has no sheet of the wanted name")
            .at("sheets", has.join(", "))
            .hint("compare `sheet.name` in the export's section of the catalog with the workbook"));
    }
    Ok(names)
}

/// Cells to rows, headers and blocks.
struct Collector<'s> {
    header: Range<u32>,
    sink: &'s mut dyn FnMut(Met) -> bool,
    sheet: Option<String>,
    titles: Vec<Vec<String>>,
    block: Block,
    row: Option<u32>,
    column: u32,
    wants_more: bool,
}

impl<'s> Collector<'s> {
    fn new(wanted: &Wanted, sink: &'s mut dyn FnMut(Met) -> bool) -> Self {
        let (header, titles, block) = (wanted.header.clone(), Vec::new(), Block::default());
        Self { header, sink, sheet: None, titles, block, row: None, column: 0, wants_more: true }
    }

    fn begin(&mut self, sheet: String) {
        self.sheet = Some(sheet);
        self.titles = vec![Vec::new(); self.header.len()];
        (self.row, self.column) = (None, 0);
    }

    /// Takes a cell, by its row and column from 0; whether more are wanted.
    fn cell(&mut self, row: u32, column: u32, cell: Cell<'_>) -> Result<bool> {
        if row >= MOST_ROWS || column >= MOST_COLUMNS {
            return Err(damaged().at("row", u64::from(row) + 1));
        }
        if self.row != Some(row) {
            if self.row.is_some_and(|last| last > row) {
                return Err(damaged().at("row", row + 1));
            }
            self.end_row();
            (self.row, self.column) = (Some(row), 0);
        } else if column < self.column {
            return Err(damaged().at("row", row + 1));
        }
        self.column = column + 1;
        if cell.is_blank() || row < self.header.start {
            return Ok(self.wants_more);
        }
        if row < self.header.end {
            let title = &mut self.titles[(row - self.header.start) as usize];
            title.resize(title.len().max(column as usize + 1), String::new());
            // An error is no name.
            let _ = cell.text(None, &mut title[column as usize]);
        } else {
            self.tell_sheet();
            self.block.push(column, cell);
        }
        Ok(self.wants_more)
    }

    fn end_row(&mut self) {
        if let Some(row) = self.row.filter(|row| *row >= self.header.end) {
            self.block.end_row(row + 1);
        }
        if self.block.is_full() {
            self.tell_rows();
        }
    }

    fn tell_sheet(&mut self) {
        if let Some(name) = self.sheet.take() {
            let names = joined(&std::mem::take(&mut self.titles));
            self.wants_more = self.wants_more && (self.sink)(Met::Sheet { name, names });
        }
    }

    fn tell_rows(&mut self) {
        let block = std::mem::take(&mut self.block);
        if block.len() > 0 {
            self.wants_more = self.wants_more && (self.sink)(Met::Rows(block));
        }
    }

    fn end(&mut self) -> bool {
        self.end_row();
        self.tell_sheet();
        self.tell_rows();
        self.wants_more
    }
}

/// The beginning of a workbook, to guess from.
#[derive(Debug)]
pub struct Preview {
    /// Its kind.
    pub kind: BookKind,
    /// Its sheets by name, each with its first rows: number, from 1, and the text of its cells from the first column on. An error
    /// is blank.
    pub sheets: Vec<(String, Vec<PreviewRow>)>,
}

/// A row's number, and the text of its cells.
pub type PreviewRow = (u32, Vec<String>);

/// The first `rows` rows of every sheet of a workbook.
///
/// # Errors
/// When the file is no workbook, is damaged or protected, or is beyond the limits.
pub fn preview(file: Vec<u8>, rows: usize) -> Result<Preview> {
    let kind = is_book(&file).ok_or_else(|| not_a_book(&file))?;
    let wanted = Wanted { sheets: Pattern::new("*").ok(), header: 0..0 };
    let mut sheets: Vec<(String, Vec<PreviewRow>)> = Vec::new();
    read(file, &wanted, &mut |met| {
        match met {
            Met::Sheet { name, .. } => sheets.push((name, Vec::new())),
            Met::Rows(block) => {
                if let Some((_, found)) = sheets.last_mut() {
                    let left = rows.saturating_sub(found.len());
                    found.extend(block.rows().take(left).map(|(number, row)| (number, texts(&row))));
                }
            }
        }
        true
    })?;
    Ok(Preview { kind, sheets })
}

fn texts(row: &Row<'_>) -> Vec<String> {
    let mut texts = Vec::new();
    for (column, cell) in row.cells() {
        texts.resize(texts.len().max(column as usize + 1), String::new());
        let _ = cell.text(None, &mut texts[column as usize]);
    }
    texts
}
