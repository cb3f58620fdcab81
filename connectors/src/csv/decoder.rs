//! Rows and cells of delimited text; bytes only, no files.

use std::sync::Arc;

use ieum_model::connector::{KeyProbe, Strays};
use ieum_model::error::{Error, Result};
use memchr::{memchr, memchr_iter, memchr2_iter, memchr3};

use super::skim::{self, Shape};
use crate::control;
use crate::convert::Columns;
use crate::text::{Cut, Cutter, Decode, Passed, Verdict, after_line_end, line_end};

const RAGGED: &str = "expected as many cells as there are columns";
const AFTER_QUOTE: &str = "expected nothing between a closing quote and the end of its cell";
const OPEN_QUOTE: &str = "expected the quote opened here or above to be closed before the end of the file";
const TRAILER: &[u8] = b"#TRAILER";

/// Cuts delimited rows.
#[derive(Debug, Clone)]
pub struct CsvCutter {
    delimiter: u8,
    trailer: bool,
    /// A quote is open to the end of the file: what is left is rejected line by line, so that the loss is counted.
    open_quote: bool,
}

impl CsvCutter {
    /// A cutter for rows with this delimiter; `trailer` says whether a `#TRAILER` line ends the file.
    pub fn new(delimiter: u8, trailer: bool) -> Self {
        Self { delimiter, trailer, open_quote: false }
    }

    /// End of a row that holds a quote; `None` where it does not end in `bytes`.
    fn quoted_end(&self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            if bytes.get(at) == Some(&b'"') {
                at = after_quoted(bytes, at)?;
            }
            at += memchr3(self.delimiter, b'\n', b'\r', &bytes[at..])?;
            if bytes[at] != self.delimiter {
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
            match memchr(self.delimiter, &bytes[at..]) {
                Some(delimiter) => at += delimiter + 1,
                None => return false,
            }
        }
    }

    fn broken_line(bytes: &[u8], at_end: bool) -> Cut {
        match line_end(bytes, at_end) {
            None => Cut::More,
            Some((0, next)) => Cut::Blank { next },
            Some((end, next)) => Cut::Broken { end, next, rule: "quote", reason: OPEN_QUOTE },
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
        let (end, quoted) = match memchr3(b'\n', b'\r', b'"', bytes) {
            Some(at) if bytes[at] == b'"' => (self.quoted_end(bytes), true),
            found => (found, false),
        };
        let Some(end) = end else {
            if !at_end {
                return Cut::More;
            }
            if quoted && self.is_open_at_end(bytes) {
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

fn line_ends(bytes: &[u8]) -> u64 {
    let ends = memchr2_iter(b'\n', b'\r', bytes);
    ends.filter(|&at| bytes[at] == b'\r' || at == 0 || bytes[at - 1] != b'\r').count() as u64
}

/// How a cell is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dress {
    Plain,
    Quoted,
    /// Quoted, with doubled quotes inside or text after the closing quote.
    Escaped,
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
        }
    }
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
fn cell_at(row: &[u8], start: usize, delimiter: u8) -> Cell {
    let to_delimiter = |from: usize| memchr(delimiter, &row[from..]).map_or(row.len(), |at| from + at);
    if row.get(start) != Some(&b'"') {
        return Cell { start, end: to_delimiter(start), dress: Dress::Plain };
    }
    let after = after_quoted(row, start).unwrap_or(row.len());
    let end = to_delimiter(after);
    let plain_inside = memchr(b'"', &row[start + 1..end]) == Some(end.saturating_sub(start + 2));
    Cell { start, end, dress: if plain_inside { Dress::Quoted } else { Dress::Escaped } }
}

/// The cells of `row`, into `cells`.
pub fn cut_cells(row: &[u8], delimiter: u8, quoted: bool, cells: &mut Vec<Cell>) {
    cells.clear();
    let mut start = 0;
    if quoted {
        loop {
            let cell = cell_at(row, start, delimiter);
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

/// The cell in column `column`, looking no further than it; `None` where the row is shorter.
fn cell(row: &[u8], column: usize, delimiter: u8, quoted: bool) -> Option<Cell> {
    let mut start = 0;
    if quoted {
        for _ in 0..column {
            let cell = cell_at(row, start, delimiter);
            if cell.end == row.len() {
                return None;
            }
            start = cell.end + 1;
        }
        return Some(cell_at(row, start, delimiter));
    }
    let mut delimiters = memchr_iter(delimiter, row);
    if column > 0 {
        start = delimiters.nth(column - 1)? + 1;
    }
    Some(Cell { start, end: delimiters.next().unwrap_or(row.len()), dress: Dress::Plain })
}

/// Whether `left` cells, `first` among them, stand from `first` to the end of the row.
fn keeps_width(row: &[u8], first: &Cell, left: usize, delimiter: u8, quoted: bool) -> bool {
    let after = &row[first.end..];
    let delimiters =
        if quoted { delimiters_outside_quotes(after, delimiter) } else { memchr_iter(delimiter, after).count() };
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
fn delimiters_outside_quotes(after: &[u8], delimiter: u8) -> usize {
    let (mut at, mut count) = (0, 0);
    while at < after.len() {
        count += 1;
        at = cell_at(after, at + 1, delimiter).end;
    }
    count
}

/// Decodes delimited rows: the key's cell first, the wanted cells of hits after it.
pub struct CsvDecoder {
    delimiter: u8,
    /// Columns of the file.
    width: usize,
    /// Position in the file of each column of the schema.
    wanted: Vec<usize>,
    /// The probe and the position in the file of the key's column.
    probe: Option<(Arc<dyn KeyProbe>, usize)>,
    /// Whether the file ends with a `#TRAILER` line.
    trailer: bool,
    cells: Vec<Cell>,
    scratch: Vec<u8>,
}

impl CsvDecoder {
    /// A decoder for a file of `width` columns; `trailer` says whether a `#TRAILER` line ends it.
    pub fn new(
        delimiter: u8,
        width: usize,
        wanted: Vec<usize>,
        probe: Option<(Arc<dyn KeyProbe>, usize)>,
        trailer: bool,
    ) -> Self {
        Self { delimiter, width, wanted, probe, trailer, cells: Vec::new(), scratch: Vec::new() }
    }
}

impl Decode for CsvDecoder {
    fn decode(&mut self, row: &[u8], quoted: bool, columns: &mut Columns) -> Verdict {
        const SHORT: Verdict = Verdict::Rejected { rule: "ragged", column: None, reason: RAGGED };
        const UNQUOTED: Verdict = Verdict::Rejected { rule: "quote", column: None, reason: AFTER_QUOTE };
        if let Some((probe, at)) = &self.probe {
            let Some(key) = cell(row, *at, self.delimiter, quoted) else { return SHORT };
            if !probe.may_match(key.content(row, &mut self.scratch).trim_ascii()) {
                // A row with a cell too many before the key shows another cell as its key, and one that has swallowed the
                // next row hides that one's: never lose it as a miss.
                if !keeps_width(row, &key, self.width - at, self.delimiter, quoted) {
                    return SHORT;
                }
                if !quoted {
                    return Verdict::Filtered;
                }
                cut_cells(row, self.delimiter, quoted, &mut self.cells);
                return if has_lost_quote(row, &self.cells) { UNQUOTED } else { Verdict::Filtered };
            }
        }
        cut_cells(row, self.delimiter, quoted, &mut self.cells);
        if self.cells.len() != self.width {
            return SHORT;
        }
        if quoted && has_lost_quote(row, &self.cells) {
            return UNQUOTED;
        }
        for (column, &at) in self.wanted.iter().enumerate() {
            let bytes = self.cells[at].content(row, &mut self.scratch);
            if let Err(flaw) = columns.push(column, bytes) {
                columns.drop_row();
                return Verdict::Rejected { rule: flaw.rule, column: Some(column), reason: flaw.reason };
            }
        }
        columns.keep_row();
        Verdict::Kept
    }

    fn pass_over(&mut self, bytes: &[u8]) -> Passed {
        let Some((probe, key)) = &self.probe else { return Passed::default() };
        let shape = Shape { delimiter: self.delimiter, width: self.width, key: *key, trailer: self.trailer };
        skim::pass_over(bytes, shape, |key| !probe.may_match(key))
    }

    fn note(&mut self, _row: &[u8]) {}

    fn close(&self, name: &str, trailer: Option<&[u8]>, rows: u64) -> Result<()> {
        if self.trailer { check_trailer(name, trailer, self.delimiter, rows) } else { Ok(()) }
    }

    fn cell(&self, row: &[u8], quoted: bool, column: usize) -> Option<Vec<u8>> {
        let cell = cell(row, *self.wanted.get(column)?, self.delimiter, quoted)?;
        Some(cell.content(row, &mut Vec::new()).trim_ascii().to_vec())
    }

    fn strays(&self, row: &[u8]) -> Strays {
        let Some((probe, _)) = &self.probe else { return Strays::default() };
        // A quote out of place may have swallowed delimiters and line ends; a row by another hand may have another delimiter.
        let by_another_hand = memchr(self.delimiter, row).is_none();
        let ends = |byte: &u8| {
            let own = [self.delimiter, b'"', b'\n', b'\r'].contains(byte);
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

    fn rows(text: &[u8]) -> Vec<Vec<String>> {
        let (mut cutter, mut at, mut found) = (CsvCutter::new(b',', false), 0, Vec::new());
        while at < text.len() {
            match cutter.cut(&text[at..], true) {
                Cut::Row { end, next, quoted, .. } => {
                    let row = &text[at..at + end];
                    let (mut cells, mut scratch) = (Vec::new(), Vec::new());
                    cut_cells(row, b',', quoted, &mut cells);
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
            let first = cell(row.as_bytes(), 1, b',', quoted).unwrap();
            assert_eq!(keeps_width(row.as_bytes(), &first, 2, b',', quoted), expected, "{row}");
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
        let mut cutter = CsvCutter::new(b',', false);
        assert!(matches!(cutter.cut(b"\"a\nb\n", false), Cut::More));
        assert!(matches!(cutter.cut(b"\"a\nb\n", true), Cut::Broken { end: 2, next: 3, rule: "quote", .. }));
        assert!(matches!(cutter.cut(b"b\n", true), Cut::Broken { end: 1, next: 2, .. }));
    }
}
