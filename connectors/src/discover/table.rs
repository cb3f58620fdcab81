//! Delimiters and headers of text, titles and headers of sheets.

use super::FileFormat;
use super::proposal::{Proposal, SheetPlace, coded};
use super::types::{Found, Identify, of_values};
use crate::convert::{date, whole_number};
use crate::detect;
use crate::xlsx::{Preview, joined};

/// Delimiters that holders use, the usual first.
const DELIMITERS: [char; 6] = [',', '\t', ';', '|', '^', '~'];
/// Records that are looked at.
const RECORDS: usize = 1000;
/// Rows that a header has at most.
const HEADER_ROWS: usize = 4;

/// What a delimited text seems to be.
pub(super) fn of_text(head: &[u8], is_whole: bool, identify: &Identify<'_>) -> Proposal {
    let encoding = detect::encoding(head);
    let text = detect::decoded(whole_lines(head, is_whole), encoding);
    let delimiter = delimiter(&text);
    let records = records(&text, delimiter);
    let header = has_header(&records);
    let mut names = match records.first() {
        Some(first) if header => first.iter().map(|name| name.trim().to_owned()).collect(),
        Some(first) => (1..=first.len()).map(|at| format!("column_{at}")).collect(),
        None => Vec::new(),
    };
    if header && names.len() > 1 && names.last().is_some_and(String::is_empty) {
        names.pop();
    }
    let body = &records[usize::from(header).min(records.len())..];
    let mut proposal = Proposal::of(FileFormat::Csv);
    let ragged = body.iter().filter(|record| record.len() < names.len() || record.len() > names.len() + 1).count();
    if ragged > 0 {
        proposal.notes.push(format!("{ragged} of the first {} rows have another number of cells", body.len()));
    }
    if text.contains('\r') && !text.contains('\n') {
        proposal.notes.push("lines end with CR alone, which is read".into());
    }
    proposal.encoding = Some(encoding);
    proposal.delimiter = Some(delimiter);
    proposal.header = Some(header);
    proposal.columns = coded(columns(&names, body, identify));
    proposal
}

fn columns(names: &[String], body: &[Vec<String>], identify: &Identify<'_>) -> Vec<Found> {
    let values = |at: usize| body.iter().filter_map(move |record| record.get(at).map(String::as_str));
    names.iter().enumerate().map(|(at, name)| of_values(name, values(at), identify)).collect()
}

/// The head without the line that its end cuts.
fn whole_lines(head: &[u8], is_whole: bool) -> &[u8] {
    match head.iter().rposition(|byte| matches!(byte, b'\n' | b'\r')) {
        Some(end) if !is_whole => &head[..=end],
        _ => head,
    }
}

/// Whether lines are all as long as each other, with nothing between their fields.
pub(super) fn is_undelimited(head: &[u8], is_whole: bool) -> bool {
    let lines: Vec<&[u8]> = whole_lines(head, is_whole)
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty())
        .take(RECORDS)
        .collect();
    let is_even = lines.len() >= 3 && lines.iter().all(|line| line.len() == lines[0].len() && line.len() >= 8);
    let parted = |delimiter: &char| lines.iter().all(|line| line.contains(&(*delimiter as u8)));
    is_even && !DELIMITERS.iter().any(parted)
}

/// The delimiter that parts most records into the same number of cells.
fn delimiter(text: &str) -> char {
    /// Shares, in percent, that are taken for equal: the delimiter that makes more cells then wins.
    const EVEN: usize = 5;
    let mut best = (0, 1, DELIMITERS[0]);
    for delimiter in DELIMITERS {
        let widths: Vec<usize> = records(text, delimiter).iter().map(Vec::len).collect();
        let count = |width: usize| widths.iter().filter(|other| **other == width).count();
        let Some(usual) = widths.iter().copied().max_by_key(|width| (count(*width), *width)) else { continue };
        let share = count(usual) * 100 / widths.len();
        let is_better = share > best.0 + EVEN || (share + EVEN >= best.0 && usual > best.1);
        if usual > 1 && is_better {
            best = (share, usual, delimiter);
        }
    }
    best.2
}

/// The first records of a text, quotes taken off; blank lines are none.
fn records(text: &str, delimiter: char) -> Vec<Vec<String>> {
    let (mut records, mut record, mut cell) = (Vec::new(), Vec::new(), String::new());
    let mut characters = text.chars().peekable();
    let mut quoted = false;
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                cell.push('"');
                characters.next();
            }
            '"' if quoted => quoted = false,
            '"' if cell.trim().is_empty() => {
                cell.clear();
                quoted = true;
            }
            '\n' | '\r' if !quoted => {
                record.push(std::mem::take(&mut cell));
                if record.iter().any(|cell| !cell.is_empty()) || record.len() > 1 {
                    records.push(std::mem::take(&mut record));
                }
                record.clear();
                if records.len() >= RECORDS {
                    return records;
                }
            }
            other if other == delimiter && !quoted => record.push(std::mem::take(&mut cell)),
            other => cell.push(other),
        }
    }
    if !cell.is_empty() || !record.is_empty() {
        record.push(cell);
        records.push(record);
    }
    records
}

fn is_number(cell: &str) -> bool {
    let cell = cell.trim();
    let plain = || cell.replace(',', "").parse::<f64>().is_ok_and(f64::is_finite);
    !cell.is_empty() && (whole_number(cell).is_some() || date(cell).is_some() || plain())
}

/// Whether the first record names the columns: it does where columns of numbers begin with none, and else where no cell of it
/// stands again below itself.
fn has_header(records: &[Vec<String>]) -> bool {
    let Some((first, body)) = records.split_first() else { return true };
    let below = |at: usize| body.iter().filter_map(move |record| record.get(at)).filter(|cell| !cell.trim().is_empty());
    let is_numbers = |at: &usize| {
        let count = below(*at).count();
        count > 0 && below(*at).filter(|cell| is_number(cell)).count() * 10 >= count * 8
    };
    let numbers: Vec<usize> = (0..first.len()).filter(is_numbers).collect();
    if !numbers.is_empty() {
        let named = numbers.iter().filter(|at| !is_number(&first[**at]) && !first[**at].trim().is_empty()).count();
        return named * 2 >= numbers.len();
    }
    let names: Vec<&str> = first.iter().map(|cell| cell.trim()).filter(|cell| !cell.is_empty()).collect();
    let are_unique = names.iter().enumerate().all(|(at, name)| !names[..at].contains(name));
    are_unique && (0..first.len()).all(|at| first[at].trim().is_empty() || !below(at).any(|cell| *cell == first[at]))
}

/// What a workbook seems to be: the sheet with the most cells, and where its table stands.
pub(super) fn of_sheets(preview: &Preview, identify: &Identify<'_>) -> Proposal {
    let mut proposal = Proposal::of(FileFormat::Xlsx);
    let cells = |rows: &[(u32, Vec<String>)]| rows.iter().map(|(_, row)| filled(row)).sum::<usize>();
    let most = preview.sheets.iter().max_by_key(|(_, rows)| cells(rows));
    let Some((name, rows)) = most.filter(|(_, rows)| !rows.is_empty()) else {
        proposal.notes.push("the workbook has no rows".into());
        return proposal;
    };
    let width = rows.iter().map(|(_, row)| filled(row)).max().unwrap_or(0);
    // A title takes few cells of a row.
    let first = rows.iter().position(|(_, row)| filled(row) * 2 >= width.min(4)).unwrap_or(0);
    let is_data = |row: &[String]| {
        let numbers: Vec<&str> = row.iter().map(|cell| cell.trim()).filter(|cell| is_number(cell)).collect();
        // The year over a group of columns is a name, repeated under the cells of a merged one.
        let is_year = numbers.len() > 1 && numbers[0].len() == 4 && numbers.iter().all(|number| *number == numbers[0]);
        !is_year && numbers.len() * 3 >= filled(row).max(1)
    };
    let found = rows[first..].iter().take(HEADER_ROWS + 1).position(|(_, row)| is_data(row));
    let header_rows = found.filter(|rows| *rows > 0).unwrap_or(1);
    let titles: Vec<Vec<String>> = rows[first..].iter().take(header_rows).map(|(_, row)| row.clone()).collect();
    let names = joined(&titles);
    let body: Vec<Vec<String>> =
        rows[(first + header_rows).min(rows.len())..].iter().map(|(_, row)| row.clone()).collect();
    let is_first = preview.sheets.first().is_some_and(|(first, _)| first == name);
    proposal.header = Some(true);
    proposal.sheet = Some(SheetPlace {
        name: (!is_first).then(|| name.clone()),
        header_row: rows[first].0,
        header_rows: u32::try_from(header_rows).unwrap_or(1),
        fill_down: filled_down(&names, &body),
    });
    if preview.sheets.len() > 1 {
        let others: Vec<&str> = preview.sheets.iter().map(|(name, _)| name.as_str()).collect();
        proposal.notes.push(format!("sheets: {}", others.join(", ")));
    }
    let found = columns(&names, &body, identify).into_iter().filter(|found| !found.name.is_empty());
    proposal.columns = coded(found.collect());
    proposal
}

fn filled(row: &[String]) -> usize {
    row.iter().filter(|cell| !cell.trim().is_empty()).count()
}

/// The leading columns that are often blank below a value.
fn filled_down(names: &[String], body: &[Vec<String>]) -> Vec<String> {
    let cell = |row: &[String], at: usize| row.get(at).is_some_and(|cell| !cell.trim().is_empty());
    let is_filled_down = |at: usize| {
        let blank = body.iter().filter(|row| !cell(row, at)).count();
        body.first().is_some_and(|row| cell(row, at)) && blank * 4 >= body.len() && blank < body.len()
    };
    (0..names.len()).take_while(|at| is_filled_down(*at)).map(|at| names[at].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delimiters_are_found() {
        assert_eq!(delimiter("a\tb,c\tc\n1\t2\t3,4,5\n"), '\t');
        assert_eq!(delimiter("a,\"b;c\"\n1,\"2;3\"\n"), ',');
        assert_eq!(delimiter("a^b\n1^2\n"), '^');
        assert_eq!(delimiter("a\nb\n"), ',');
        assert_eq!(records("a,\"b\"\"\n,\"\r\n\n1,2", ','), [["a", "b\"\n,"], ["1", "2"]]);
    }

    #[test]
    fn headers_are_told_from_rows() {
        let check = |text: &str, expected: bool| assert_eq!(has_header(&records(text, ',')), expected, "{text}");
        check("이름,나이\n갑,1\n을,2\n", true);
        check("갑,1\n을,2\n", false);
        check("male,*\nfemale,*\n", false);
        check("이름,주소\n갑,서울\n을,부산\n", true);
        check("구분,2016\n갑,1\n을,2\n", false);
        check("a,b,2016\nx,1,1\ny,2,2\nz,3,3", true);
        check("a,,b\nx,1,1\n", true);
    }

    #[test]
    fn even_lines_without_a_delimiter_are_records() {
        assert!(is_undelimited(b"0123456789\n0123456789\n0123456789\n", true));
        assert!(!is_undelimited(b"01234,6789\n01234,6789\n01234,6789\n", true));
        assert!(!is_undelimited(b"0123456789\n012345678\n0123456789\n", true));
    }
}
