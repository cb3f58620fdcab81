//! The least work that any reader of an export has to do: the needed bytes read and opened, rows cut, the key decoded to a
//! column of text.
//!
//! No probe, no control totals, no other column: what a scan takes beyond this is its own. For text every byte is
//! needed, for Parquet the pages of the key column.

use std::fs::File;
use std::hint::black_box;
use std::path::Path;

use arrow::array::{ArrayBuilder, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema};
use ieum_model::dataset::{Dataset, Encoding, Export, Format};
use ieum_model::error::{Error, Result};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::csv::decoder::{Cell, CsvCutter, cut_cells};
use crate::csv::skim::{self, Shape};
use crate::files::{self, Source};
use crate::fixed_width::decoder::ranges;
use crate::fixed_width::head::{HEAD, Head};
use crate::text::{CHUNK, Cut, Cutter, Window, after_line_end};
use crate::{columns, encoding, export_of};

/// Rows of the key column that are decoded together.
const BATCH_ROWS: usize = 8192;

/// The column of keys; a batch of it is dropped when it is full.
struct KeyColumn {
    keys: StringBuilder,
    text: String,
    encoding: Encoding,
    rows: u64,
}

impl KeyColumn {
    fn new(encoding: Encoding) -> Self {
        Self { keys: StringBuilder::new(), text: String::new(), encoding, rows: 0 }
    }

    fn push(&mut self, cell: &[u8]) {
        self.keys.append_option(encoding::decode(self.encoding, cell.trim_ascii(), &mut self.text));
        self.rows += 1;
        if self.keys.len() == BATCH_ROWS {
            black_box(self.keys.finish());
        }
    }

    /// Rows of the whole column.
    fn finish(mut self) -> u64 {
        black_box(self.keys.finish());
        self.rows
    }
}

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Touched {
    /// Rows whose key was looked at.
    pub rows: u64,
    /// Bytes that had to be read from storage.
    pub bytes: u64,
}

impl std::ops::AddAssign for Touched {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.bytes += other.bytes;
    }
}

/// The files of the export of `dataset` below `root`; none where it has no export, or its holder has not delivered.
///
/// # Errors
/// When its path is no pattern.
pub fn files(root: &Path, dataset: &Dataset) -> Result<Vec<String>> {
    dataset.export.as_ref().map_or(Ok(Vec::new()), |export| files::find(root, &export.path))
}

/// Reads the needed bytes of the file `name` of the export of `dataset`, and looks at every key.
///
/// # Errors
/// When the file cannot be read, or does not have the key's column.
pub fn touch(root: &Path, name: &str, dataset: &Dataset) -> Result<Touched> {
    let export = export_of(dataset)?;
    match export.format {
        Format::Csv => csv(root, name, dataset, export),
        Format::FixedWidth => fixed_width(root, name, dataset, export),
        Format::Parquet => parquet(root, name, dataset, export),
        format => Err(Error::config(format!("no floor is known for the format `{format}`"))),
    }
    .map_err(|error| error.at("dataset", &dataset.code).at("export", name))
}

/// Position of the key's column among `names`.
fn key_at(dataset: &Dataset, export: &Export, names: &[&str]) -> Result<usize> {
    let key = Schema::new(vec![Field::new(&dataset.key.item, DataType::Utf8, true)]);
    Ok(columns::locate(dataset, export, names, &key)?[0])
}

fn csv(root: &Path, name: &str, dataset: &Dataset, export: &Export) -> Result<Touched> {
    let mut window = Window::new(Source::open(root, name)?, CHUNK);
    let delimiter = export.delimiter as u8;
    let mut cutter = CsvCutter::new(delimiter, export.control.trailer.is_some());
    window.require(3)?;
    if window.bytes().starts_with(b"\xEF\xBB\xBF") {
        window.consume(3);
    }
    let mut cells: Vec<Cell> = Vec::new();
    let mut names = export.order.clone();
    if export.header {
        let mut header = Vec::new();
        step(&mut window, &mut cutter, |row, quoted| {
            cut_cells(row, delimiter, quoted, &mut cells);
            header = cells.iter().map(|cell| cell.content(row, &mut Vec::new()).to_vec()).collect();
        })?;
        let text =
            |cell: Vec<u8>| encoding::decode(export.encoding, &cell, &mut String::new()).map(|t| t.trim().into());
        names = header.into_iter().filter_map(text).collect();
    }
    let borrowed: Vec<&str> = names.iter().map(String::as_str).collect();
    let key = key_at(dataset, export, &borrowed)?;
    let shape = Shape { delimiter, width: names.len(), key, trailer: export.control.trailer.is_some() };
    let (mut keys, mut scratch) = (KeyColumn::new(export.encoding), Vec::new());
    loop {
        let passed = skim::pass_over(window.bytes(), shape, |key| {
            keys.push(key);
            true
        });
        window.consume(passed.bytes);
        // What is not plain, and the row that the window cuts.
        let more = step(&mut window, &mut cutter, |row, quoted| {
            cut_cells(row, delimiter, quoted, &mut cells);
            keys.push(cells.get(key).map_or(&[], |cell| cell.content(row, &mut scratch)));
        })?;
        if !more {
            return Ok(Touched { rows: keys.finish(), bytes: window.storage_bytes() });
        }
    }
}

/// Cuts one row and moves past it; `false` at the end.
fn step(window: &mut Window, cutter: &mut CsvCutter, row: impl FnOnce(&[u8], bool)) -> Result<bool> {
    loop {
        if window.bytes().is_empty() {
            if window.at_end() {
                return Ok(false);
            }
            window.grow()?;
            continue;
        }
        match cutter.cut(window.bytes(), window.at_end()) {
            Cut::More => window.grow()?,
            Cut::Blank { next } | Cut::Broken { next, .. } | Cut::Trailer { next, .. } => window.consume(next),
            Cut::Row { end, next, quoted, .. } => {
                row(&window.bytes()[..end], quoted);
                window.consume(next);
                return Ok(true);
            }
        }
    }
}

fn fixed_width(root: &Path, name: &str, dataset: &Dataset, export: &Export) -> Result<Touched> {
    let mut window = Window::new(Source::open(root, name)?, CHUNK);
    window.require(HEAD)?;
    if export.encoding == Encoding::Utf8 && window.bytes().starts_with(b"\xEF\xBB\xBF") {
        window.consume(3);
        window.require(HEAD)?;
    }
    let head =
        Head::parse(window.bytes()).ok_or_else(|| Error::contract("file does not start with a header record"))?;
    let names: Vec<&str> = export.layout.iter().map(|field| field.item.as_str()).collect();
    let key = ranges(&export.layout)[key_at(dataset, export, &names)?].clone();
    let mut keys = KeyColumn::new(export.encoding);
    loop {
        window.require(head.record_len + 2)?;
        let bytes = window.bytes();
        if bytes.len() < head.record_len {
            return Ok(Touched { rows: keys.finish(), bytes: window.storage_bytes() });
        }
        let mut at = 0;
        while let Some(record) = bytes.get(at..at + head.record_len) {
            let ending = match bytes.get(at + head.record_len) {
                Some(b'\n' | b'\r') => after_line_end(bytes, at + head.record_len, window.at_end()),
                Some(_) => Some(at + head.record_len),
                None => window.at_end().then_some(bytes.len()),
            };
            let Some(next) = ending else { break };
            if record.starts_with(b"22") {
                keys.push(encoding::without_dangling(export.encoding, &record[key.clone()]));
            }
            at = next;
        }
        window.consume(at);
    }
}

fn parquet(root: &Path, name: &str, dataset: &Dataset, export: &Export) -> Result<Touched> {
    let unreadable = |error: &dyn std::fmt::Display| Error::contract(format!("not a whole Parquet file: {error}"));
    let file = File::open(root.join(name)).map_err(|error| files::io_error(name, &error))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| unreadable(&error))?;
    let names: Vec<&str> = builder.schema().fields().iter().map(|field| field.name().as_str()).collect();
    let key = key_at(dataset, export, &names)?;
    let mask = ProjectionMask::roots(builder.parquet_schema(), [key]);
    let leaves = |group: &parquet::file::metadata::RowGroupMetaData| {
        let columns = group.columns().iter().enumerate().filter(|(leaf, _)| mask.leaf_included(*leaf));
        columns.map(|(_, column)| column.byte_range().1).sum::<u64>()
    };
    let bytes = builder.metadata().row_groups().iter().map(leaves).sum();
    let reader = builder.with_projection(mask.clone()).with_batch_size(BATCH_ROWS).build();
    let mut rows = 0;
    for batch in reader.map_err(|error| unreadable(&error))? {
        rows += black_box(batch.map_err(|error| unreadable(&error))?).num_rows() as u64;
    }
    Ok(Touched { rows, bytes })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write as _;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use arrow::record_batch::RecordBatch;
    use chrono::NaiveDate;
    use ieum_model::connector::{KeyProbe, ReadCounts, Reject, RejectSink, ScanSpec};
    use parquet::arrow::ArrowWriter;

    use super::*;
    use crate::{Found, connect};

    struct Nobody;

    impl KeyProbe for Nobody {
        fn may_match(&self, _: &[u8]) -> bool {
            false
        }
    }

    impl RejectSink for Nobody {
        fn reject(&self, _: Reject) -> Result<()> {
            Ok(())
        }
    }

    fn dataset(export: &str) -> Dataset {
        toml::from_str(&format!(
            "code='d'\nname_ko='d'\nholder='h'\ncategory='1'\nbasis='K'\nkey={{item='rrno',space='person'}}\n\
             [items.amount]\nname_ko='a'\ntype='amt'\nsensitivity='F'\n[export]\n{export}"
        ))
        .unwrap()
    }

    /// What a scan reads that is asked for nobody.
    fn scanned(root: &Path, dataset: &Dataset) -> ReadCounts {
        let Found::Export(connector) = connect(root, dataset, NaiveDate::default()).unwrap() else { panic!("no file") };
        let spec = ScanSpec {
            schema: Arc::new(Schema::new(vec![dataset.column_field("rrno")])),
            key_column: "rrno".to_owned(),
            probe: Some(Arc::new(Nobody)),
            rejects: Arc::new(Nobody),
            batch_rows: 100,
        };
        let mut reader = connector.open(0, &spec).unwrap();
        assert!(reader.next_batch().unwrap().is_none());
        reader.counts()
    }

    fn check(name: &str, bytes: &[u8], export: &str, rows: u64) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), bytes).unwrap();
        let dataset = dataset(&format!("path='{name}'\n{export}"));
        assert_eq!(files(folder.path(), &dataset).unwrap(), [name]);
        let touched = touch(folder.path(), name, &dataset).unwrap();
        let scanned = scanned(folder.path(), &dataset);
        assert_eq!((touched.rows, touched.bytes), (scanned.read, scanned.bytes), "{name}");
        assert_eq!(touched.rows, rows, "{name}");
    }

    #[test]
    fn the_rows_and_bytes_of_text_are_those_that_a_scan_reads() {
        let rows = "1,9001011234567,\"a, b\"\n\"2\",\"9001011234568\",\"a\nb\"\n".repeat(25_000);
        let text = format!("\u{feff}amount,rrno,x\n{rows}");
        check("a.csv", text.as_bytes(), "format='csv'\nencoding='utf8'", 50_000);
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(text.replace('\u{feff}', "").replace('\n', "\r\n").as_bytes()).unwrap();
        check("a.csv.gz", &gz.finish().unwrap(), "format='csv'\nencoding='cp949'", 50_000);
        check("b.csv", b"7;9001011234567", "format='csv'\nheader=false\ndelimiter=';'\norder=['amount','rrno']", 1);
        check("c.csv", b"rrno\n\n1\n#TRAILER,1\n", "format='csv'\ncontrol={trailer='count'}", 1);
    }

    #[test]
    fn the_records_of_fixed_width_are_those_that_a_scan_reads() {
        let layout = "format='fixed_width'\nencoding='cp949'\nlayout=[{item='rrno',bytes=13},{item='amount',bytes=9}]";
        for (name, ending) in [("lines.dat", "\n"), ("crlf.dat", "\r\n"), ("plain.dat", "")] {
            let fill = |record: String| format!("{record:<80}{ending}");
            let head =
                fill(format!("11{:<30}{:<7}{}{}{:05}{:010}", "d", "h", "20261122", "20261122020000", 80, 15_000));
            let row = fill(format!("22{:010}I{}{:09}", 1, "9001011234567", 5));
            let text = format!("{head}{}{}", row.repeat(15_000), fill(format!("33{:010}", 15_000)));
            check(name, text.as_bytes(), layout, 15_000);
        }
    }

    #[test]
    fn of_parquet_only_the_key_column_is_read() {
        let amounts: ArrayRef = Arc::new((0..5000).collect::<Int64Array>());
        let keys: ArrayRef = Arc::new((0..5000).map(|key| Some(format!("90010112{key:05}"))).collect::<StringArray>());
        let batch = RecordBatch::try_from_iter([("amount", amounts), ("rrno", keys)]).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        check("a.parquet", &writer.into_inner().unwrap(), "format='parquet'", 5000);
    }
}
