//! Rows of a request file as named texts, from CSV, JSON lines or Parquet.

use std::fs::File;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use ieum_model::error::{Error, Result, nearest};
use ieum_model::request::MalformedRequest;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

/// One row.
pub struct Row<'a> {
    /// The text of a field; `None` if it is absent.
    pub get: &'a dyn Fn(&str) -> Option<String>,
    /// Line (from 1) of a text file, record number (from 1) otherwise.
    pub line: u64,
}

/// Takes a row, or why it could not be read.
pub type Take<'a> = dyn FnMut(std::result::Result<Row<'_>, MalformedRequest>) + 'a;

/// Hands on every row of a file, in file order. The format follows from the file's name.
///
/// # Errors
/// If the file as a whole is not what its name says, or has a column that is not in `known`.
pub fn for_each(path: &Path, bytes: &[u8], known: &[&str], take: &mut Take<'_>) -> Result<()> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => csv(&text(bytes)?, known, take),
        Some("jsonl" | "ndjson") => json_lines(&text(bytes)?, known, take),
        Some("parquet") => parquet(path, known, take),
        _ => Err(Error::config("the file is not .csv, .jsonl, .ndjson or .parquet")),
    }
}

fn text(bytes: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        Error::config("the file is not UTF-8")
            .at("line", line)
            .hint("convert it, for example with iconv -f cp949 -t utf-8")
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text).to_owned())
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

fn malformed(line: u64, expected: impl Into<String>) -> MalformedRequest {
    MalformedRequest { request_id: None, line, field: "row", expected: expected.into() }
}

/// RFC 4180 with a header row; `\n` and `\r\n` end a record.
fn csv(text: &str, known: &[&str], take: &mut Take<'_>) -> Result<()> {
    let mut records = Records { rest: text, line: 1 };
    let Some((_, header)) = records.next() else {
        return Err(Error::config("the file is empty, expected a row of column names"));
    };
    let header = header.map_err(|()| Error::config("a quote in the header is not closed"))?;
    let header: Vec<String> = header.iter().map(|name| name.trim().to_owned()).collect();
    check_known(header.iter().map(String::as_str), known)?;
    check_once(&header)?;
    for (line, record) in records {
        match record {
            Err(()) => take(Err(malformed(line, "well quoted"))),
            Ok(record) if record.len() != header.len() => {
                take(Err(malformed(line, format!("{} fields, as the header has", header.len()))));
            }
            Ok(record) => {
                let place = |name: &str| header.iter().position(|column| column == name);
                take(Ok(Row { get: &|name| place(name).map(|at| record[at].clone()), line }));
            }
        }
    }
    Ok(())
}

fn check_once(header: &[String]) -> Result<()> {
    match header.iter().enumerate().find(|(at, name)| header[..*at].contains(name)) {
        Some((_, name)) => Err(Error::config(format!("column `{name}` stands twice in the header"))),
        None => Ok(()),
    }
}

/// Records of a CSV text with the line they start on; blank lines are skipped.
struct Records<'a> {
    rest: &'a str,
    line: u64,
}

impl Iterator for Records<'_> {
    type Item = (u64, std::result::Result<Vec<String>, ()>);

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

impl Records<'_> {
    fn record(&mut self) -> std::result::Result<Vec<String>, ()> {
        let mut fields = Vec::new();
        loop {
            fields.push(if self.rest.starts_with('"') { self.quoted() } else { Ok(self.bare()) });
            if let Some(rest) = self.rest.strip_prefix(',') {
                self.rest = rest;
                continue;
            }
            self.end_of_record();
            return fields.into_iter().collect();
        }
    }

    fn bare(&mut self) -> String {
        let (field, rest) = self.rest.split_at(self.rest.find([',', '\n']).unwrap_or(self.rest.len()));
        self.rest = rest;
        let at_end_of_line = !rest.starts_with(',');
        field.strip_suffix('\r').filter(|_| at_end_of_line).unwrap_or(field).to_owned()
    }

    /// A field in quotes; what follows the closing quote must end the field.
    fn quoted(&mut self) -> std::result::Result<String, ()> {
        let mut field = String::new();
        self.rest = &self.rest[1..];
        loop {
            let Some(end) = self.rest.find('"') else {
                self.skip_line();
                return Err(());
            };
            let (part, rest) = (&self.rest[..end], &self.rest[end + 1..]);
            field.push_str(part);
            self.line += part.bytes().filter(|byte| *byte == b'\n').count() as u64;
            self.rest = rest;
            match rest.strip_prefix('"') {
                Some(after) => {
                    field.push('"');
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

fn json_lines(text: &str, known: &[&str], take: &mut Take<'_>) -> Result<()> {
    for (line, content) in (1..).zip(text.lines()) {
        if content.trim().is_empty() {
            continue;
        }
        let Ok(Value::Object(object)) = serde_json::from_str::<Value>(content) else {
            take(Err(malformed(line, "a JSON object")));
            continue;
        };
        check_known(object.keys().map(String::as_str), known).map_err(|error| error.at("line", line))?;
        take(Ok(Row { get: &|name| object.get(name).and_then(json_text), line }));
    }
    Ok(())
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

fn parquet(path: &Path, known: &[&str], take: &mut Take<'_>) -> Result<()> {
    let broken = |error: &dyn std::fmt::Display| Error::config(format!("the Parquet file cannot be read: {error}"));
    let file = File::open(path).map_err(|error| broken(&error))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| broken(&error))?;
    let names: Vec<String> = builder.schema().fields().iter().map(|field| field.name().clone()).collect();
    check_known(names.iter().map(String::as_str), known)?;
    let mut line = 0;
    for batch in builder.build().map_err(|error| broken(&error))? {
        let batch = batch.map_err(|error| broken(&error))?;
        let columns = names.iter().zip(batch.columns()).map(|(name, column)| {
            texts(column).map_err(|_| Error::config(format!("column `{name}` cannot be read as text")))
        });
        let columns: Vec<ArrayRef> = columns.collect::<Result<_>>()?;
        for row in 0..batch.num_rows() {
            line += 1;
            let place = |name: &str| names.iter().position(|column| column == name);
            take(Ok(Row { get: &|name| cell(&columns[place(name)?], row), line }));
        }
    }
    Ok(())
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

fn cell(column: &ArrayRef, row: usize) -> Option<String> {
    if column.is_null(row) {
        return None;
    }
    match column.as_list_opt::<i32>() {
        Some(lists) => Some(joined(lists.value(row).as_string::<i32>().iter().flatten().map(str::to_owned))),
        None => Some(column.as_string::<i32>().value(row).to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// `line:a,b` of every row, `line!` of every malformed one.
    fn shown(read: impl FnOnce(&mut Take<'_>) -> Result<()>) -> Vec<String> {
        let mut rows = Vec::new();
        read(&mut |row| {
            rows.push(match row {
                Ok(row) => format!("{}:{:?},{:?}", row.line, (row.get)("a"), (row.get)("b")),
                Err(reason) => format!("{}!", reason.line),
            });
        })
        .unwrap();
        rows
    }

    #[test]
    fn csv_is_read_as_rfc_4180_says_and_a_bad_row_is_only_counted() {
        let text = "a,b\r\n1,\"x\ny, \"\"z\"\"\"\r\n\r\nonly one\r\n2,\r\n\"q\"w,3\n3,\"open\n4,5";
        let rows = shown(|take| csv(text, &["a", "b"], take));
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
        let rows = shown(|take| json_lines(text, &["a", "b"], take));
        assert_eq!(rows, ["1:Some(\"x;y\"),Some(\"rrno:1\")", "3!", "4:Some(\"true\"),Some(\";\")"]);
    }

    #[test]
    fn an_unknown_column_is_answered_with_the_nearest() {
        let error = csv("recipent\n", &["recipient"], &mut |_| {}).unwrap_err();
        assert_eq!(error.hint.unwrap(), "did you mean `recipient`?");
    }
}
