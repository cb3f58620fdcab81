//! Rows of a request file as named texts, from CSV, JSON lines or Parquet.

use std::borrow::Cow;
use std::fs::File;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use ieum_model::error::{Error, Result, nearest};
use ieum_model::request::{MalformedRequest, Texts};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rayon::prelude::*;
use serde_json::Value;

/// CSV records that are split before they are parsed in parallel.
const BLOCK: usize = 4096;

/// What a row comes to, or why it could not be read.
pub type Parsed<T> = std::result::Result<T, MalformedRequest>;

/// Makes a value of a row: its texts by place among the known names, and its line (from 1) in a text file or record number
/// (from 1) otherwise.
pub type Parse<T> = fn(&Texts<'_>, u64) -> Parsed<T>;

/// Every row of a file, in file order. The format follows from the file's name.
///
/// # Errors
/// If the file as a whole is not what its name says, or has a column that is not in `known`.
pub fn read<T: Send>(path: &Path, bytes: &[u8], known: &[&str], parse: Parse<T>) -> Result<Vec<Parsed<T>>> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => csv(text(bytes)?, known, parse),
        Some("jsonl" | "ndjson") => json_lines(text(bytes)?, known, parse),
        Some("parquet") => parquet(path, known, parse),
        _ => Err(Error::config("the file is not .csv, .jsonl, .ndjson or .parquet")),
    }
}

fn text(bytes: &[u8]) -> Result<&str> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        Error::config("the file is not UTF-8")
            .at("line", line)
            .hint("convert it, for example with iconv -f cp949 -t utf-8")
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

fn check_known<'a>(columns: impl IntoIterator<Item = &'a str>, known: &[&str]) -> Result<()> {
    for column in columns {
        if !known.contains(&column) {
            let error = Error::config(format!("unknown column `{column}`"));
            return Err(match nearest(column, known.iter().copied()) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint(format!("known are {}", known.join(", "))),
            });
        }
    }
    Ok(())
}

/// Where each known name stands among the columns of a file, if it does.
fn places(columns: &[String], known: &[&str]) -> Vec<Option<usize>> {
    known.iter().map(|name| columns.iter().position(|column| column == name)).collect()
}

fn malformed(line: u64, expected: impl Into<String>) -> MalformedRequest {
    MalformedRequest { request_id: None, line, field: "row", expected: expected.into() }
}

/// RFC 4180 with a header row; `\n` and `\r\n` end a record.
fn csv<T: Send>(text: &str, known: &[&str], parse: Parse<T>) -> Result<Vec<Parsed<T>>> {
    let mut records = Records { rest: text, line: 1, width: known.len() };
    let Some((_, header)) = records.next() else {
        return Err(Error::config("the file is empty, expected a row of column names"));
    };
    let header = header.map_err(|()| Error::config("a quote in the header is not closed"))?;
    let header: Vec<String> = header.iter().map(|name| name.trim().to_owned()).collect();
    check_known(header.iter().map(String::as_str), known)?;
    check_once(&header)?;
    let places = places(&header, known);
    let row = |(line, record): &(u64, Record<'_>)| match record {
        Err(()) => Err(malformed(*line, "well quoted")),
        Ok(record) if record.len() != header.len() => {
            Err(malformed(*line, format!("{} fields, as the header has", header.len())))
        }
        Ok(record) => parse(&|place| places[place].map(|at| Cow::Borrowed(&*record[at])), *line),
    };
    let (mut rows, mut block) = (Vec::new(), Vec::with_capacity(BLOCK));
    loop {
        block.clear();
        block.extend(records.by_ref().take(BLOCK));
        if block.is_empty() {
            return Ok(rows);
        }
        rows.par_extend(block.par_iter().map(row));
    }
}

fn check_once(header: &[String]) -> Result<()> {
    match header.iter().enumerate().find(|(at, name)| header[..*at].contains(name)) {
        Some((_, name)) => Err(Error::config(format!("column `{name}` stands twice in the header"))),
        None => Ok(()),
    }
}

/// Fields of a record, or `Err` if it is not well quoted.
type Record<'a> = std::result::Result<Vec<Cow<'a, str>>, ()>;

/// Records of a CSV text with the line they start on; blank lines are skipped.
struct Records<'a> {
    rest: &'a str,
    line: u64,
    /// Fields that a record probably has.
    width: usize,
}

impl<'a> Iterator for Records<'a> {
    type Item = (u64, Record<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(rest) = self.rest.strip_prefix("\r\n").or_else(|| self.rest.strip_prefix('\n')) {
            (self.rest, self.line) = (rest, self.line + 1);
        }
        if self.rest.is_empty() {
            return None;
        }
        let start = self.line;
        Some((start, self.record()))
    }
}

impl<'a> Records<'a> {
    fn record(&mut self) -> Record<'a> {
        let mut fields = Vec::with_capacity(self.width);
        let mut quoted_well = true;
        loop {
            if self.rest.starts_with('"') {
                match self.quoted() {
                    Ok(field) => fields.push(field),
                    Err(()) => quoted_well = false,
                }
            } else {
                fields.push(Cow::Borrowed(self.bare()));
            }
            if let Some(rest) = self.rest.strip_prefix(',') {
                self.rest = rest;
                continue;
            }
            self.end_of_record();
            return if quoted_well { Ok(fields) } else { Err(()) };
        }
    }

    fn bare(&mut self) -> &'a str {
        let end = self.rest.bytes().position(|byte| matches!(byte, b',' | b'\n')).unwrap_or(self.rest.len());
        let (field, rest) = self.rest.split_at(end);
        self.rest = rest;
        let at_end_of_line = !rest.starts_with(',');
        field.strip_suffix('\r').filter(|_| at_end_of_line).unwrap_or(field)
    }

    /// A field in quotes; what follows the closing quote must end the field.
    fn quoted(&mut self) -> std::result::Result<Cow<'a, str>, ()> {
        let mut field = Cow::Borrowed("");
        self.rest = &self.rest[1..];
        loop {
            let Some(end) = self.rest.find('"') else {
                self.skip_line();
                return Err(());
            };
            let (part, rest) = (&self.rest[..end], &self.rest[end + 1..]);
            field += part;
            self.line += part.bytes().filter(|byte| *byte == b'\n').count() as u64;
            self.rest = rest;
            match rest.strip_prefix('"') {
                Some(after) => {
                    field += "\"";
                    self.rest = after;
                }
                None if rest.is_empty() || rest.starts_with([',', '\n']) || rest.starts_with("\r\n") => {
                    return Ok(field);
                }
                None => {
                    self.bare();
                    return Err(());
                }
            }
        }
    }

    /// Gives up a record whose quote is never closed: reading goes on with the next line.
    fn skip_line(&mut self) {
        self.rest = self.rest.find('\n').map_or("", |end| &self.rest[end..]);
    }

    fn end_of_record(&mut self) {
        let rest = self.rest.strip_prefix('\r').unwrap_or(self.rest);
        if let Some(rest) = rest.strip_prefix('\n') {
            self.line += 1;
            self.rest = rest;
        }
    }
}

fn json_lines<T: Send>(text: &str, known: &[&str], parse: Parse<T>) -> Result<Vec<Parsed<T>>> {
    let lines: Vec<(u64, &str)> = (1..).zip(text.lines()).filter(|(_, content)| !content.trim().is_empty()).collect();
    let row = |(line, content): &(u64, &str)| {
        let Ok(Value::Object(object)) = serde_json::from_str::<Value>(content) else {
            return Ok(Err(malformed(*line, "a JSON object")));
        };
        check_known(object.keys().map(String::as_str), known).map_err(|error| error.at("line", line))?;
        Ok(parse(&|place| object.get(known[place]).and_then(json_text).map(Cow::Owned), *line))
    };
    // Collected before the errors are looked at: the first line with one is told, whichever was read first.
    lines.par_iter().map(row).collect::<Vec<_>>().into_iter().collect()
}

/// The flat form of a JSON value: arrays joined by `;`, objects as `name:value` pairs.
fn json_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(values) => Some(joined(values.iter().filter_map(json_text))),
        Value::Object(values) => {
            Some(joined(values.iter().filter_map(|(name, value)| Some(format!("{name}:{}", json_text(value)?)))))
        }
        other => Some(other.to_string()),
    }
}

/// `;` alone stands for a list that is given and empty.
fn joined(parts: impl Iterator<Item = String>) -> String {
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() { ";".to_owned() } else { parts.join(";") }
}

fn parquet<T: Send>(path: &Path, known: &[&str], parse: Parse<T>) -> Result<Vec<Parsed<T>>> {
    let broken = |error: &dyn std::fmt::Display| Error::config(format!("the Parquet file cannot be read: {error}"));
    let file = File::open(path).map_err(|error| broken(&error))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| broken(&error))?;
    let names: Vec<String> = builder.schema().fields().iter().map(|field| field.name().clone()).collect();
    check_known(names.iter().map(String::as_str), known)?;
    let places = places(&names, known);
    let mut rows = Vec::new();
    for batch in builder.build().map_err(|error| broken(&error))? {
        let batch = batch.map_err(|error| broken(&error))?;
        let columns = names.iter().zip(batch.columns()).map(|(name, column)| {
            texts(column).map_err(|_| Error::config(format!("column `{name}` cannot be read as text")))
        });
        let columns: Vec<ArrayRef> = columns.collect::<Result<_>>()?;
        let before = rows.len();
        rows.par_extend(
            (0..batch.num_rows())
                .into_par_iter()
                .map(|row| parse(&|place| cell(&columns[places[place]?], row), (before + row + 1) as u64)),
        );
    }
    Ok(rows)
}

/// A column as text, or a column of lists as lists of text.
fn texts(column: &ArrayRef) -> std::result::Result<ArrayRef, arrow::error::ArrowError> {
    match column.data_type() {
        DataType::List(field) | DataType::LargeList(field) => {
            let item = field.as_ref().clone().with_data_type(DataType::Utf8);
            cast(column, &DataType::List(item.into()))
        }
        _ => cast(column, &DataType::Utf8),
    }
}

fn cell(column: &ArrayRef, row: usize) -> Option<Cow<'_, str>> {
    if column.is_null(row) {
        return None;
    }
    Some(match column.as_list_opt::<i32>() {
        Some(lists) => joined(lists.value(row).as_string::<i32>().iter().flatten().map(str::to_owned)).into(),
        None => column.as_string::<i32>().value(row).into(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// `line:a,b` of every row, `line!` of every malformed one.
    fn shown(rows: Result<Vec<Parsed<String>>>) -> Vec<String> {
        let row = |row| match row {
            Ok(row) => row,
            Err(MalformedRequest { line, .. }) => format!("{line}!"),
        };
        rows.unwrap().into_iter().map(row).collect()
    }

    #[allow(clippy::unnecessary_wraps)]
    fn show(get: &Texts<'_>, line: u64) -> Parsed<String> {
        Ok(format!("{line}:{:?},{:?}", get(0), get(1)))
    }

    #[test]
    fn csv_is_read_as_rfc_4180_says_and_a_bad_row_is_only_counted() {
        let text = "a,b\r\n1,\"x\ny, \"\"z\"\"\"\r\n\r\nonly one\r\n2,\r\n\"q\"w,3\n3,\"open\n4,5";
        let rows = shown(csv(text, &["a", "b"], show));
        let expected = [
            "2:Some(\"1\"),Some(\"x\\ny, \\\"z\\\"\")",
            "5!",
            "6:Some(\"2\"),Some(\"\")",
            "7!",
            "8!",
            "9:Some(\"4\"),Some(\"5\")",
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn json_values_become_their_flat_form() {
        let text = "{\"a\":[\"x\",\"y\"],\"b\":{\"rrno\":\"1\"}}\n\nnot json\n{\"a\":true,\"b\":[]}\n";
        let rows = shown(json_lines(text, &["a", "b"], show));
        assert_eq!(rows, ["1:Some(\"x;y\"),Some(\"rrno:1\")", "3!", "4:Some(\"true\"),Some(\";\")"]);
    }

    #[test]
    fn an_unknown_column_is_answered_with_the_nearest() {
        let error = csv("recipent\n", &["recipient"], show).unwrap_err();
        assert_eq!(error.hint.unwrap(), "did you mean `recipient`?");
    }
}
