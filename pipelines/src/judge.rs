//! Holds the answers of a run against the expected ones: `outcomes.parquet` of any engine, line by line.

use std::cmp::Ordering;
use std::fs::File;
use std::path::Path;

use arrow::array::{Array, AsArray};
use arrow::datatypes::UInt64Type;
use arrow::record_batch::RecordBatch;
use ieum_model::error::{Error, ErrorKind, Result};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

/// Columns that are compared.
const COLUMNS: [&str; 5] = ["request_id", "dataset", "outcome", "reason", "records"];
/// Lines read at a time.
const BATCH_LINES: usize = 64 * 1024;

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Document lines that are expected.
    pub lines: u64,
    /// Lines that differ, are missing or too many.
    pub different: u64,
    /// Where the first one stands: request and dataset, and the column.
    pub first: Option<String>,
}

struct Lines {
    reader: ParquetRecordBatchReader,
    batch: RecordBatch,
    at: usize,
    ended: bool,
}

impl Lines {
    fn open(path: &Path) -> Result<Self> {
        let broken = |why: String| {
            Error::config(format!("not a file of answers: {why}")).at("file", path.display()).hint(
                "expected Parquet with the columns request_id, dataset, outcome, reason, records, as `ieum run` and \
                 `ieum generate` write them",
            )
        };
        let file = File::open(path).map_err(|error| broken(error.to_string()))?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| broken(error.to_string()))?;
        let schema = builder.schema();
        if let Some(missing) = COLUMNS.iter().find(|name| schema.field_with_name(name).is_err()) {
            return Err(broken(format!("column `{missing}` is missing")));
        }
        let mask = ProjectionMask::columns(builder.parquet_schema(), COLUMNS);
        let reader = builder.with_projection(mask).with_batch_size(BATCH_LINES).build();
        let reader = reader.map_err(|error| broken(error.to_string()))?;
        let batch = RecordBatch::new_empty(arrow::array::RecordBatchReader::schema(&reader));
        let mut lines = Self { reader, batch, at: 0, ended: false };
        lines.advance()?;
        Ok(lines)
    }

    /// Moves to the next line, or to the end.
    fn advance(&mut self) -> Result<()> {
        self.at += 1;
        while self.at >= self.batch.num_rows() {
            let Some(batch) = self.reader.next() else {
                self.ended = true;
                return Ok(());
            };
            let batch = batch.map_err(|error| Error::new(ErrorKind::Temporary, error.to_string()))?;
            (self.batch, self.at) = (batch, 0);
        }
        Ok(())
    }

    fn text(&self, column: &str) -> Option<&str> {
        let column = self.batch.column_by_name(column)?.as_string_opt::<i32>()?;
        column.is_valid(self.at).then(|| column.value(self.at))
    }

    fn records(&self) -> Option<u64> {
        let column = self.batch.column_by_name("records")?.as_primitive_opt::<UInt64Type>()?;
        Some(column.value(self.at))
    }

    fn line(&self) -> Line {
        let text = |column| self.text(column).map(str::to_owned);
        Line { texts: [text("dataset"), text("outcome"), text("reason")], records: self.records() }
    }

    /// The lines of the request at hand; moves to the next one.
    fn request(&mut self) -> Result<Option<(String, Vec<Line>)>> {
        if self.ended {
            return Ok(None);
        }
        let id = self.text("request_id").unwrap_or_default().to_owned();
        let mut lines = Vec::new();
        while !self.ended && self.text("request_id") == Some(&id) {
            lines.push(self.line());
            self.advance()?;
        }
        Ok(Some((id, lines)))
    }
}

/// Dataset, outcome and reason, and the number of records.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    texts: [Option<String>; 3],
    records: Option<u64>,
}

/// Compares two files of answers; in both the requests stand in the order of their ids, and lines in that of the request.
///
/// # Errors
/// When one is not such a file.
pub fn judge(expected: &Path, found: &Path) -> Result<Verdict> {
    let (mut expected, mut found) = (Lines::open(expected)?, Lines::open(found)?);
    let (mut wanted, mut got) = (expected.request()?, found.request()?);
    let mut verdict = Verdict { lines: 0, different: 0, first: None };
    loop {
        let order = match (&wanted, &got) {
            (None, None) => return Ok(verdict),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((one, _)), Some((other, _))) => one.cmp(other),
        };
        let (id, one) = if order.is_le() { wanted.take() } else { None }.unwrap_or_default();
        let (other_id, other) = if order.is_ge() { got.take() } else { None }.unwrap_or_default();
        verdict.compare(if order.is_le() { &id } else { &other_id }, &one, &other);
        if order.is_le() {
            wanted = expected.request()?;
        }
        if order.is_ge() {
            got = found.request()?;
        }
    }
}

impl Verdict {
    /// The lines of one request.
    fn compare(&mut self, id: &str, expected: &[Line], found: &[Line]) {
        self.lines += expected.len() as u64;
        for at in 0..expected.len().max(found.len()) {
            let difference = match (expected.get(at), found.get(at)) {
                (Some(one), None) => Some(format!("dataset {}: missing", shown(&one.texts[0]))),
                (None, Some(other)) => Some(format!("dataset {}: not expected", shown(&other.texts[0]))),
                (Some(one), Some(other)) => difference(one, other),
                (None, None) => None,
            };
            if let Some(difference) = difference {
                self.different += 1;
                self.first.get_or_insert_with(|| format!("request {id}, {difference}"));
            }
        }
    }
}

fn shown(text: &Option<String>) -> &str {
    text.as_deref().unwrap_or("none")
}

fn difference(expected: &Line, found: &Line) -> Option<String> {
    let dataset = shown(&expected.texts[0]);
    for (column, (wanted, got)) in COLUMNS[1..].iter().zip(expected.texts.iter().zip(&found.texts)) {
        if wanted != got {
            return Some(format!("dataset {dataset}: {column} is {}, expected {}", shown(got), shown(wanted)));
        }
    }
    let number = |records: Option<u64>| records.map_or("no".to_owned(), |records| records.to_string());
    (expected.records != found.records)
        .then(|| format!("dataset {dataset}: {} records, expected {}", number(found.records), number(expected.records)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray, UInt64Array};
    use parquet::arrow::ArrowWriter;

    use super::*;

    type Line = (&'static str, &'static str, &'static str, u64);

    fn write(path: &Path, lines: &[Line]) {
        let text =
            |of: fn(&Line) -> &str| -> ArrayRef { Arc::new(lines.iter().map(of).map(Some).collect::<StringArray>()) };
        let reasons: ArrayRef = Arc::new(lines.iter().map(|_| None::<&str>).collect::<StringArray>());
        let records: ArrayRef = Arc::new(lines.iter().map(|line| line.3).collect::<UInt64Array>());
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("request_id", text(|line| line.0), false),
            ("dataset", text(|line| line.1), false),
            ("outcome", text(|line| line.2), false),
            ("reason", reasons, true),
            ("records", records, false),
        ])
        .unwrap();
        let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }

    #[test]
    fn every_line_that_differs_is_counted_and_the_first_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        let expected = [("r1", "tax", "provided", 2), ("r1", "land", "not_found", 0), ("r2", "tax", "provided", 1)];
        write(&one, &expected);
        write(&other, &expected);
        assert_eq!(judge(&one, &other).unwrap(), Verdict { lines: 3, different: 0, first: None });
        write(&other, &[expected[0], ("r1", "land", "provided", 0), ("r2", "tax", "provided", 3)]);
        let verdict = judge(&one, &other).unwrap();
        assert_eq!((verdict.lines, verdict.different), (3, 2));
        assert_eq!(verdict.first.unwrap(), "request r1, dataset land: outcome is provided, expected not_found");
        write(&other, &expected[..2]);
        assert_eq!(judge(&one, &other).unwrap().first.unwrap(), "request r2, dataset tax: missing");
        assert_eq!(judge(&other, &one).unwrap().first.unwrap(), "request r2, dataset tax: not expected");
    }
}
