//! Rows and cells of delimited text; bytes only, no files.

use std::sync::Arc;

use ieum_model::connector::{KeyProbe, Strays};
use ieum_model::dataset::{Export, Repair};
use ieum_model::error::{Error, Result};
use memchr::{memchr, memchr_iter, memchr2, memchr3};

use super::skim::{self, Shape};
use crate::control;
use crate::convert::Columns;
use crate::text::{Cut, Cutter, Decode, Passed, Verdict, after_line_end, line_end, line_ends};

const RAGGED: &str = "expected as many cells as there are columns";
const AFTER_QUOTE: &str = "expected nothing between a closing quote and the end of its cell";
const OPEN_QUOTE: &str = "expected the quote opened here or above to be closed before the end of the file";
const TRAILER: &[u8] = b"#TRAILER";

/// How a file marks its cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// Byte between cells.
    pub delimiter: u8,
    /// Whether `"` quotes a cell.
    pub quote: bool,
    /// Byte that takes away what the next one means; only without quotes.
    pub escape: Option<u8>,
}

impl Dialect {
    /// With quotes and without escapes.
    pub fn quoted(delimiter: u8) -> Self {
        Self { delimiter, quote: true, escape: None }
    }

    /// Of an export whose delimiter and escape are ASCII.
    pub fn of(export: &Export) -> Self {
        let escape = export.escape.filter(|_| !export.quote).map(|escape| escape as u8);
        Self { delimiter: export.delimiter as u8, quote: export.quote, escape }
    }
}

/// Cuts delimited rows.
#[derive(Debug, Clone)]
pub struct CsvCutter {
    dialect: Dialect,
    trailer: bool,
    /// A quote is open to the end of the file: what is left is rejected line by line, so that the loss is counted.
    open_quote: bool,
}

impl CsvCutter {
    /// A cutter for rows of this dialect; `trailer` says whether a `#TRAILER` line ends the file.
    pub fn new(dialect: Dialect, trailer: bool) -> Self {
        Self { dialect, trailer, open_quote: false }
    }

    /// End of a row of a file without quotes, and whether it holds an escape.
    fn unquoted_end(&self, bytes: &[u8]) -> (Option<usize>, bool) {
        let Some(escape) = self.dialect.escape else { return (memchr2(b'\n', b'\r', bytes), false) };
        let (mut at, mut escaped) = (0, false);
        loop {
            match memchr3(b'\n', b'\r', escape, bytes.get(at..).unwrap_or_default()) {
                None => return (None, escaped),
                Some(found) if bytes[at + found] != escape => return (Some(at + found), escaped),
                // What an escape escapes may be a line end of two bytes.
                Some(found) if bytes[at + found..].get(1..3) == Some(b"\r\n") => (at, escaped) = (at + found + 3, true),
                Some(found) => (at, escaped) = (at + found + 2, true),
            }
        }
    }

    /// End of a row that holds a quote; `None` where it does not end in `bytes`.
    fn quoted_end(&self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            if bytes.get(at) == Some(&b'"') {
                at = after_quoted(bytes, at)?;
            }
            at += memchr3(self.dialect.delimiter, b'\n', b'\r', &bytes[at..])?;
            if bytes[at] != self.dialect.delimiter {
                return Some(at);
            }
            at += 1;
        }
    }

    fn is_open_at_end(&self, bytes: &[u8]) -> bool {
        let mut at = 0;
        loop {
            if bytes.get(at) == Some(&b'"') {
                match after_quoted(bytes, at) {
                    Some(after) => at = after,
                    None => return true,
                }
            }
            match memchr(self.dialect.delimiter, &bytes[at..]) {
                Some(delimiter) => at += delimiter + 1,
                None => return false,
            }
        }
    }

    fn broken_line(bytes: &[u8], at_end: bool) -> Cut {
        match line_end(bytes, at_end) {
            None => Cut::More,
            Some((0, next)) => Cut::Blank { next },
            Some((end, next)) => Cut::Broken { end, next, lines: 1, rule: "quote", reason: OPEN_QUOTE },
        }
    }
}

/// Place after the closing quote of the cell whose opening quote is at `at`.
fn after_quoted(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        at += memchr(b'"', bytes.get(at..)?)? + 1;
        if bytes.get(at) != Some(&b'"') {
            return Some(at);
        }
        at += 1;
    }
}

impl Cutter for CsvCutter {
    fn cut(&mut self, bytes: &[u8], at_end: bool) -> Cut {
        if self.trailer && bytes.len() <= TRAILER.len() && !at_end {
            return Cut::More;
        }
        if self.trailer && bytes.starts_with(TRAILER) {
            return match line_end(bytes, at_end) {
                Some((end, next)) => Cut::Trailer { end, next },
                None => Cut::More,
            };
        }
        if self.open_quote {
            return Self::broken_line(bytes, at_end);
        }
        let (end, quoted) = if self.dialect.quote {
            match memchr3(b'\n', b'\r', b'"', bytes) {
                Some(at) if bytes[at] == b'"' => (self.quoted_end(bytes), true),
                found => (found, false),
            }
        } else {
            self.unquoted_end(bytes)
        };
        let Some(end) = end else {
            if !at_end {
                return Cut::More;
            }
            if quoted && self.dialect.quote && self.is_open_at_end(bytes) {
                self.open_quote = true;
                return Self::broken_line(bytes, at_end);
            }
            let lines = if quoted { 1 + line_ends(bytes) } else { 1 };
            return Cut::Row { end: bytes.len(), next: bytes.len(), lines, quoted };
        };
        match after_line_end(bytes, end, at_end) {
            None => Cut::More,
            Some(next) if end == 0 => Cut::Blank { next },
            Some(next) => Cut::Row { end, next, lines: if quoted { 1 + line_ends(&bytes[..end]) } else { 1 }, quoted },
        }
    }

    fn is_regular(&self) -> bool {
        !self.open_quote
    }
}

/// How a cell is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dress {
    Plain,
    Quoted,
    /// Quoted, with doubled quotes inside or text after the closing quote.
    Escaped,
    /// Plain, with this byte as an escape.
    Slashed(u8),
}

/// A cell of a row.
#[derive(Debug, Clone, Copy)]
pub struct Cell {
    start: usize,
    end: usize,
    dress: Dress,
}

impl Cell {
    /// The cell's bytes without quotes; padding of a plain cell is removed.
    pub fn content<'a>(&self, row: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
        let raw = &row[self.start..self.end];
        match self.dress {
            Dress::Plain => raw.trim_ascii(),
            Dress::Quoted => &raw[1..raw.len() - 1],
            Dress::Escaped => {
                unescape(raw, scratch);
                scratch
            }
            Dress::Slashed(escape) => {
                unslash(raw.trim_ascii(), escape, scratch);
                scratch
            }
        }
    }
}

/// What escapes stand for, as the unload commands of databases write them; before any other byte, that byte.
fn unslash(raw: &[u8], escape: u8, scratch: &mut Vec<u8>) {
    scratch.clear();
    let mut at = 0;
    while let Some(found) = memchr(escape, &raw[at..]) {
        scratch.extend_from_slice(&raw[at..at + found]);
        at += found + 1;
        scratch.extend(raw.get(at).map(|byte| match byte {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            byte => *byte,
        }));
        at = (at + 1).min(raw.len());
    }
    scratch.extend_from_slice(&raw[at..]);
}

fn unescape(raw: &[u8], scratch: &mut Vec<u8>) {
    scratch.clear();
    let mut at = 1;
    while let Some(quote) = memchr(b'"', &raw[at..]) {
        scratch.extend_from_slice(&raw[at..at + quote]);
        at += quote + 1;
        if raw.get(at) != Some(&b'"') {
            break;
        }
        scratch.push(b'"');
        at += 1;
    }
    scratch.extend_from_slice(&raw[at..]);
}

/// The cell that starts at `start`.
fn cell_at(row: &[u8], start: usize, dialect: Dialect) -> Cell {
    let delimiter = dialect.delimiter;
    if let Some(escape) = dialect.escape {
        return slashed_cell_at(row, start, delimiter, escape);
    }
    let to_delimiter = |from: usize| memchr(delimiter, &row[from..]).map_or(row.len(), |at| from + at);
    if row.get(start) != Some(&b'"') {
        return Cell { start, end: to_delimiter(start), dress: Dress::Plain };
    }
    let after = after_quoted(row, start).unwrap_or(row.len());
    let end = to_delimiter(after);
    let plain_inside = memchr(b'"', &row[start + 1..end]) == Some(end.saturating_sub(start + 2));
    Cell { start, end, dress: if plain_inside { Dress::Quoted } else { Dress::Escaped } }
}

fn slashed_cell_at(row: &[u8], start: usize, delimiter: u8, escape: u8) -> Cell {
    let (mut end, mut dress) = (start, Dress::Plain);
    loop {
        match memchr2(delimiter, escape, row.get(end..).unwrap_or_default()) {
            None => return Cell { start, end: row.len(), dress },
            Some(found) if row[end + found] == delimiter => return Cell { start, end: end + found, dress },
            Some(found) => (end, dress) = (end + found + 2, Dress::Slashed(escape)),
        }
    }
}

/// The cells of `row`, into `cells`; `marked` says whether it holds a quote or an escape.
pub fn cut_cells(row: &[u8], dialect: Dialect, marked: bool, cells: &mut Vec<Cell>) {
    cells.clear();
    let (mut start, delimiter) = (0, dialect.delimiter);
    if marked {
        loop {
            let cell = cell_at(row, start, dialect);
            cells.push(cell);
            if cell.end == row.len() {
                return;
            }
            start = cell.end + 1;
        }
    }
    for end in memchr_iter(delimiter, row) {
        cells.push(Cell { start, end, dress: Dress::Plain });
        start = end + 1;
    }
    cells.push(Cell { start, end: row.len(), dress: Dress::Plain });
}

/// As [`cut_cells`], where `""` before a cell's text is its opening quote and `""` after it the closing one. By the book
/// the first would be an empty cell that text follows, so nothing else can be meant.
fn cut_doubled_cells(row: &[u8], dialect: Dialect, cells: &mut Vec<Cell>) {
    const DOUBLED: &[u8] = b"\"\"";
    cells.clear();
    let mut start = 0;
    loop {
        let inside = row[start..]
            .strip_prefix(DOUBLED)
            .filter(|inside| inside.first().is_some_and(|byte| *byte != dialect.delimiter && *byte != b'"'));
        let is_end = |at: &usize| row.get(at + 2).is_none_or(|byte| *byte == dialect.delimiter);
        let closed = inside.and_then(|inside| {
            let from = row.len() - inside.len();
            memchr_iter(b'"', inside).map(|at| from + at).find(|at| row[*at..].starts_with(DOUBLED) && is_end(at))
        });
        let end = match closed {
            Some(at) => {
                cells.push(Cell { start: start + 1, end: at + 1, dress: Dress::Quoted });
                at + 2
            }
            None => {
                let cell = cell_at(row, start, dialect);
                cells.push(cell);
                cell.end
            }
        };
        if end == row.len() {
            return;
        }
        start = end + 1;
    }
}

/// The cell in column `column`, looking no further than it; `None` where the row is shorter.
fn cell(row: &[u8], column: usize, dialect: Dialect, marked: bool) -> Option<Cell> {
    let (mut start, delimiter) = (0, dialect.delimiter);
    if marked {
        for _ in 0..column {
            let cell = cell_at(row, start, dialect);
            if cell.end == row.len() {
                return None;
            }
            start = cell.end + 1;
        }
        return Some(cell_at(row, start, dialect));
    }
    let mut delimiters = memchr_iter(delimiter, row);
    if column > 0 {
        start = delimiters.nth(column - 1)? + 1;
    }
    Some(Cell { start, end: delimiters.next().unwrap_or(row.len()), dress: Dress::Plain })
}

/// Whether `left` cells, `first` among them, stand from `first` to the end of the row.
fn keeps_width(row: &[u8], first: &Cell, left: usize, dialect: Dialect, marked: bool) -> bool {
    let after = &row[first.end..];
    let delimiters =
        if marked { delimiters_between(after, dialect) } else { memchr_iter(dialect.delimiter, after).count() };
    delimiters + 1 == left
}

/// Whether a quote was lost from a row: text follows the quote that closes a cell. Such a cell has swallowed what came
/// after it, another row too.
fn has_lost_quote(row: &[u8], cells: &[Cell]) -> bool {
    let swallows = |cell: &Cell| {
        let raw = &row[cell.start..cell.end];
        let closed = || after_quoted(raw, 0).is_some_and(|after| raw[after..].trim_ascii().is_empty());
        cell.dress == Dress::Escaped && !closed()
    };
    cells.iter().any(swallows)
}

/// Delimiters between the cells of `after`, which starts at a delimiter or is empty.
fn delimiters_between(after: &[u8], dialect: Dialect) -> usize {
    let (mut at, mut count) = (0, 0);
    while at < after.len() {
        count += 1;
        at = cell_at(after, at + 1, dialect).end;
    }
    count
}

const SHORT: Verdict = Verdict::Rejected { rule: "ragged", column: None, reason: RAGGED };
const UNQUOTED: Verdict = Verdict::Rejected { rule: "quote", column: None, reason: AFTER_QUOTE };

/// Decodes delimited rows: the key's cell first, the wanted cells of hits after it.
pub struct CsvDecoder {
    dialect: Dialect,
    /// Columns of the file.
    width: usize,
    /// Position in the file of each column of the schema.
    wanted: Vec<usize>,
    /// The probe and the position in the file of the key's column.
    probe: Option<(Arc<dyn KeyProbe>, usize)>,
    /// Whether the file ends with a `#TRAILER` line.
    trailer: bool,
    /// What a cell without a value says.
    null: Option<Vec<u8>>,
    /// Whether cells in doubled quotes are repaired.
    repairs: bool,
    cells: Vec<Cell>,
    scratch: Vec<u8>,
}

impl CsvDecoder {
    /// A decoder for a file of `width` columns; `trailer` says whether a `#TRAILER` line ends it.
    pub fn new(
        dialect: Dialect,
        width: usize,
        wanted: Vec<usize>,
        probe: Option<(Arc<dyn KeyProbe>, usize)>,
        trailer: bool,
    ) -> Self {
        let (cells, scratch) = (Vec::new(), Vec::new());
        Self { dialect, width, wanted, probe, trailer, null: None, repairs: false, cells, scratch }
    }

    /// With the null text and the repairs of an export.
    #[must_use]
    pub fn with_rules_of(mut self, export: &Export) -> Self {
        self.null = export.null.as_ref().map(|text| text.as_bytes().to_vec());
        self.repairs = self.dialect.quote && export.repair.contains(&Repair::DoubledQuotes);
        self
    }

    /// Whether a row holds what its cells must be unwrapped for; `quoted` is the cutter's word.
    fn is_marked(&self, row: &[u8], quoted: bool) -> bool {
        if self.dialect.quote {
            quoted
        } else {
            self.dialect.escape.is_some_and(|escape| memchr(escape, row).is_some())
        }
    }

    /// The text of a cell; nothing where it says that it has no value.
    fn text<'a>(null: Option<&[u8]>, cell: &Cell, row: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
        let is_bare = matches!(cell.dress, Dress::Plain | Dress::Slashed(_));
        if null.is_some_and(|null| is_bare && row[cell.start..cell.end].trim_ascii() == null) {
            return b"";
        }
        cell.content(row, scratch)
    }

    /// What the key alone decides of a row: `None` where it may be wanted.
    fn ask(&mut self, row: &[u8], marked: bool) -> Option<Verdict> {
        let (probe, at) = self.probe.as_ref()?;
        let Some(key) = cell(row, *at, self.dialect, marked) else { return Some(SHORT) };
        if probe.may_match(Self::text(self.null.as_deref(), &key, row, &mut self.scratch).trim_ascii()) {
            return None;
        }
        // A row with a cell too many before the key shows another cell as its key, and one that has swallowed the next row
        // hides that one's: never lose it as a miss.
        if !keeps_width(row, &key, self.width - at, self.dialect, marked) {
            return Some(SHORT);
        }
        if !marked || !self.dialect.quote {
            return Some(Verdict::Filtered);
        }
        cut_cells(row, self.dialect, marked, &mut self.cells);
        Some(if has_lost_quote(row, &self.cells) { UNQUOTED } else { Verdict::Filtered })
    }

    /// Appends the wanted ones of the cells that were cut.
    fn push(&mut self, row: &[u8], columns: &mut Columns) -> Verdict {
        for (column, &at) in self.wanted.iter().enumerate() {
            let bytes = Self::text(self.null.as_deref(), &self.cells[at], row, &mut self.scratch);
            if let Err(flaw) = columns.push(column, bytes) {
                columns.drop_row();
                return Verdict::Rejected { rule: flaw.rule, column: Some(column), reason: flaw.reason };
            }
        }
        columns.keep_row();
        Verdict::Kept
    }

    /// Whether the row has its shape once its doubled quotes are read as quotes; its cells are cut then.
    fn is_repaired(&mut self, row: &[u8]) -> bool {
        self.repairs && {
            cut_doubled_cells(row, self.dialect, &mut self.cells);
            self.cells.len() == self.width && !has_lost_quote(row, &self.cells)
        }
    }

    /// What becomes of a row without its shape.
    fn repair(&mut self, row: &[u8], broken: Verdict, columns: &mut Columns) -> Verdict {
        if !self.is_repaired(row) {
            return broken;
        }
        if let Some((probe, at)) = &self.probe {
            let key = Self::text(self.null.as_deref(), &self.cells[*at], row, &mut self.scratch);
            if !probe.may_match(key.trim_ascii()) {
                return Verdict::Filtered;
            }
        }
        match self.push(row, columns) {
            Verdict::Kept => Verdict::Repaired { rule: Repair::DoubledQuotes.name() },
            verdict => verdict,
        }
    }
}

/// Whether the row with this key, as it stands in the file, is not wanted beyond doubt.
pub(super) fn is_missed(key: &[u8], dialect: Dialect, null: Option<&[u8]>, probe: &dyn KeyProbe) -> bool {
    if null == Some(key) {
        // Of a cell that may have been quoted it is not known whether it says that there is no key.
        return !dialect.quote && !probe.may_match(b"");
    }
    !dialect.escape.is_some_and(|escape| key.contains(&escape)) && !probe.may_match(key)
}

impl Decode for CsvDecoder {
    fn decode(&mut self, row: &[u8], quoted: bool, columns: &mut Columns) -> Verdict {
        let marked = self.is_marked(row, quoted);
        match self.ask(row, marked) {
            None => {}
            Some(Verdict::Filtered) => return Verdict::Filtered,
            Some(broken) => return self.repair(row, broken, columns),
        }
        cut_cells(row, self.dialect, marked, &mut self.cells);
        if self.cells.len() != self.width {
            return self.repair(row, SHORT, columns);
        }
        if marked && self.dialect.quote && has_lost_quote(row, &self.cells) {
            return self.repair(row, UNQUOTED, columns);
        }
        self.push(row, columns)
    }

    fn pass_over(&mut self, bytes: &[u8]) -> Passed {
        let Some((probe, key)) = &self.probe else { return Passed::default() };
        let shape = Shape { dialect: self.dialect, width: self.width, key: *key, trailer: self.trailer };
        if self.dialect.quote && self.null.is_none() {
            return skim::pass_over(bytes, shape, |key| !probe.may_match(key));
        }
        let (dialect, null) = (self.dialect, self.null.as_deref());
        skim::pass_over(bytes, shape, |key| is_missed(key, dialect, null, probe.as_ref()))
    }

    fn note(&mut self, _row: &[u8]) {}

    fn close(&self, name: &str, trailer: Option<&[u8]>, rows: u64) -> Result<()> {
        if self.trailer { check_trailer(name, trailer, self.dialect.delimiter, rows) } else { Ok(()) }
    }

    fn cell(&self, row: &[u8], quoted: bool, column: usize) -> Option<Vec<u8>> {
        let (at, marked) = (*self.wanted.get(column)?, self.is_marked(row, quoted));
        let mut cells = Vec::new();
        cut_cells(row, self.dialect, marked, &mut cells);
        if self.repairs && (cells.len() != self.width || has_lost_quote(row, &cells)) {
            cut_doubled_cells(row, self.dialect, &mut cells);
        }
        Some(Self::text(self.null.as_deref(), cells.get(at)?, row, &mut Vec::new()).trim_ascii().to_vec())
    }

    fn strays(&self, row: &[u8]) -> Strays {
        let Some((probe, _)) = &self.probe else { return Strays::default() };
        // A quote out of place may have swallowed delimiters and line ends; a row by another hand may have another delimiter.
        let by_another_hand = memchr(self.dialect.delimiter, row).is_none();
        let ends = |byte: &u8| {
            let own = [self.dialect.delimiter, b'"', b'\n', b'\r'].contains(byte);
            own || (by_another_hand && b",;|^\t".contains(byte))
        };
        let pieces: Vec<&[u8]> = row.split(ends).map(<[u8]>::trim_ascii).collect();
        probe.strays(&pieces, row)
    }
}

/// Agreement of the trailer line, if there is one, with the number of data rows.
///
/// # Errors
/// [`ieum_model::error::ErrorKind::ControlTotals`] when it is missing, malformed or says another number.
pub fn check_trailer(name: &str, trailer: Option<&[u8]>, delimiter: u8, counted: u64) -> Result<()> {
    let declared = trailer.and_then(|line| line.strip_prefix(TRAILER)).and_then(|rest| {
        let (separator, count) = rest.split_first()?;
        (*separator == b',' || *separator == delimiter).then(|| control::count(count.trim_ascii()))?
    });
    match declared {
        Some(declared) => control::same_count(name, "trailer", declared, counted),
        None => Err(Error::control_totals("last line is no trailer `#TRAILER,<count>`")
            .at("export", name)
            .at("counted", counted)
            .hint("the file may be cut off; ask the holder to deliver it again")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMA: Dialect = Dialect { delimiter: b',', quote: true, escape: None };

    fn rows(text: &[u8]) -> Vec<Vec<String>> {
        let (mut cutter, mut at, mut found) = (CsvCutter::new(COMMA, false), 0, Vec::new());
        while at < text.len() {
            match cutter.cut(&text[at..], true) {
                Cut::Row { end, next, quoted, .. } => {
                    let row = &text[at..at + end];
                    let (mut cells, mut scratch) = (Vec::new(), Vec::new());
                    cut_cells(row, COMMA, quoted, &mut cells);
                    let text = |cell: &Cell| String::from_utf8_lossy(cell.content(row, &mut scratch)).into_owned();
                    found.push(cells.iter().map(text).collect());
                    at += next;
                }
                Cut::Blank { next } | Cut::Broken { next, .. } => at += next,
                cut => panic!("{cut:?}"),
            }
        }
        found
    }

    #[test]
    fn rows_end_and_cells_are_quoted_in_every_usual_way() {
        let check = |text: &str, expected: &[&[&str]]| assert_eq!(rows(text.as_bytes()), expected, "{text:?}");
        check("a,b\nc,d\r\ne,f\rg,h", &[&["a", "b"], &["c", "d"], &["e", "f"], &["g", "h"]]);
        check("\"a,\n\"\"x\"\"\",b\r\n", &[&["a,\n\"x\"", "b"]]);
        check("\n\r\n\ra\n\n", &[&["a"]]);
        check("5\" x,b\n", &[&["5\" x", "b"]]);
        check("\"\"2,4\"\"\n", &[&["2", "4\"\""]]);
        check("\"\",\"\"\n\"\"\"\"\n\"a\"b\n", &[&["", ""], &["\""], &["ab"]]);
        check("a, b ,\" c \"", &[&["a", "b", " c "]]);
        check("x,\"y\"", &[&["x", "y"]]);
    }

    #[test]
    fn a_row_keeps_its_width_with_or_without_quotes() {
        let check = |row: &str, quoted: bool, expected: bool| {
            let first = cell(row.as_bytes(), 1, COMMA, quoted).unwrap();
            assert_eq!(keeps_width(row.as_bytes(), &first, 2, COMMA, quoted), expected, "{row}");
        };
        for (row, expected) in
            [("a,b,c", true), ("a,b,c,", false), ("a,b", false), ("a,b,c,d", false), ("a,b,,", false), ("a,b,", true)]
        {
            check(row, false, expected);
            check(row, true, expected);
        }
        check("\"a,a\",b,\"c,c\"", true, true);
        check("\"a,a\",b,\"c\",\"d\"", true, false);
    }

    #[test]
    fn a_quote_left_open_rejects_line_by_line() {
        let mut cutter = CsvCutter::new(COMMA, false);
        assert!(matches!(cutter.cut(b"\"a\nb\n", false), Cut::More));
        assert!(matches!(cutter.cut(b"\"a\nb\n", true), Cut::Broken { end: 2, next: 3, rule: "quote", .. }));
        assert!(matches!(cutter.cut(b"b\n", true), Cut::Broken { end: 1, next: 2, .. }));
    }

    #[test]
    fn unload_files_have_escapes_or_nothing() {
        let check = |escape: Option<u8>, text: &str, expected: &[&[&str]]| {
            let dialect = Dialect { delimiter: b'|', quote: false, escape };
            let (mut cutter, mut at, mut found) = (CsvCutter::new(dialect, false), 0, Vec::<Vec<String>>::new());
            let (mut cells, mut scratch) = (Vec::new(), Vec::new());
            while at < text.len() {
                match cutter.cut(&text.as_bytes()[at..], true) {
                    Cut::Row { end, next, quoted, .. } => {
                        let row = &text.as_bytes()[at..at + end];
                        cut_cells(row, dialect, quoted, &mut cells);
                        let text = |cell: &Cell| String::from_utf8_lossy(cell.content(row, &mut scratch)).into_owned();
                        found.push(cells.iter().map(text).collect());
                        at += next;
                    }
                    cut => panic!("{cut:?}"),
                }
            }
            assert_eq!(found, expected, "{text:?}");
        };
        check(None, "a|\"b|c\"\n\\N|5\" x|\\|d\r\n", &[&["a", "\"b", "c\""], &["\\N", "5\" x", "\\", "d"]]);
        let slash = Some(b'\\');
        check(slash, "a\\|b|c\\nd\\\ne|\\\\|x\n", &[&["a|b", "c\nd\ne", "\\", "x"]]);
        check(slash, "a\\\r\nb|\\t\\\"|\\", &[&["a\r\nb", "\t\"", ""]]);
    }

    #[test]
    fn doubled_quotes_are_repaired_where_nothing_else_can_be_meant() {
        let check = |row: &str, expected: &[&str]| {
            let (mut cells, mut scratch) = (Vec::new(), Vec::new());
            cut_doubled_cells(row.as_bytes(), COMMA, &mut cells);
            let text = |cell: &Cell| String::from_utf8_lossy(cell.content(row.as_bytes(), &mut scratch)).into_owned();
            assert_eq!(cells.iter().map(text).collect::<Vec<_>>(), expected, "{row}");
        };
        check("a,\"\"2,4 x, y\"\",b", &["a", "2,4 x, y", "b"]);
        check("\"\"11,321\"\"", &["11,321"]);
        check("\"\",\"\",c", &["", "", "c"]);
        check("\"\"a\"\"b\"\",c", &["a\"\"b", "c"]);
        check("\"a, b\",\"\"1,2\"\",\"\"\"c\"\"\"", &["a, b", "1,2", "\"c\""]);
        check("\"\"a,b", &["a", "b"]);
    }
}
