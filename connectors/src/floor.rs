//! The least work that any reader of an export has to do: the needed bytes read and opened, rows cut, the key decoded to a
//! column of text.
//!
//! No probe, no control totals, no other column decoded: what a scan takes beyond this is its own. For text every byte is
//! needed, for Parquet the pages of the key column, and of every other wanted column the pages that hold a wanted row,
//! which are read and opened like a compressed text file, and not decoded.

use std::fs::File;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayBuilder, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema};
use ieum_model::dataset::{Dataset, Encoding, Export, Format};
use ieum_model::error::{Error, Result};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::column::page::PageReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, PageIndexPolicy};
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::serialized_reader::SerializedPageReader;

use crate::csv::decoder::{Cell, CsvCutter, Dialect, cut_cells};
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
    dataset.export.as_ref().map_or(Ok(Vec::new()), |export| files::partitions(root, export))
}

/// What a scan is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Asked {
    /// Item codes of the wanted columns.
    pub columns: Vec<String>,
    /// Rows of the file that are wanted.
    pub rows: u64,
}

/// Reads the needed bytes of the file `name` of the export of `dataset`, and looks at every key.
///
/// # Errors
/// When the file cannot be read, or does not have a wanted column.
pub fn touch(root: &Path, name: &str, dataset: &Dataset, asked: &Asked) -> Result<Touched> {
    let export = export_of(dataset)?;
    match export.format {
        Format::Csv => csv(root, name, dataset, export),
        Format::FixedWidth => fixed_width(root, name, dataset, export),
        Format::Parquet => parquet(root, name, dataset, export, asked),
        format => Err(Error::config(format!("the floor of {format} is not measured"))),
    }
    .map_err(|error| error.at("dataset", &dataset.code).at("export", name))
}

/// Position of the key's column among `names`.
fn key_at(dataset: &Dataset, export: &Export, names: &[&str]) -> Result<usize> {
    Ok(located(dataset, export, names, std::slice::from_ref(&dataset.key.item))?[0])
}

/// Positions of the items' columns among `names`.
fn located(dataset: &Dataset, export: &Export, names: &[&str], items: &[String]) -> Result<Vec<usize>> {
    let field = |item: &String| Field::new(item, DataType::Utf8, true);
    columns::locate(dataset, export, names, &Schema::new(items.iter().map(field).collect::<Vec<_>>()))
}

fn csv(root: &Path, name: &str, dataset: &Dataset, export: &Export) -> Result<Touched> {
    let mut window = Window::new(Source::of_export(root, name, export)?, CHUNK, export.limits);
    let dialect = Dialect::of(export);
    let mut cutter = CsvCutter::new(dialect, export.control.trailer.is_some());
    window.require(3)?;
    if window.bytes().starts_with(b"\xEF\xBB\xBF") {
        window.consume(3);
    }
    let mut cells: Vec<Cell> = Vec::new();
    let mut names = export.order.clone();
    if export.header {
        let mut header = Vec::new();
        step(&mut window, &mut cutter, |row, quoted| {
            cut_cells(row, dialect, quoted, &mut cells);
            header = cells.iter().map(|cell| cell.content(row, &mut Vec::new()).to_vec()).collect();
        })?;
        let text = |cell: Vec<u8>| {
            encoding::decode(export.encoding.of_cells(), &cell, &mut String::new()).map(|t| t.trim().into())
        };
        names = header.into_iter().filter_map(text).collect();
    }
    let borrowed: Vec<&str> = names.iter().map(String::as_str).collect();
    let key = key_at(dataset, export, &borrowed)?;
    let shape = Shape { dialect, width: names.len(), key, trailer: export.control.trailer.is_some() };
    let (mut keys, mut scratch) = (KeyColumn::new(export.encoding.of_cells()), Vec::new());
    loop {
        let passed = skim::pass_over(window.bytes(), shape, |key| {
            keys.push(key);
            true
        });
        window.consume(passed.bytes);
        // What is not plain, and the row that the window cuts.
        let more = step(&mut window, &mut cutter, |row, quoted| {
            cut_cells(row, dialect, quoted, &mut cells);
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
            Cut::Blank { next }
            | Cut::Gap { next }
            | Cut::Head { next }
            | Cut::Broken { next, .. }
            | Cut::Trailer { next, .. } => window.consume(next),
            Cut::Row { end, next, quoted, .. } => {
                row(&window.bytes()[..end], quoted);
                window.consume(next);
                return Ok(true);
            }
            Cut::Refused { message, hint } => return Err(Error::contract(message).hint(hint)),
        }
    }
}

fn fixed_width(root: &Path, name: &str, dataset: &Dataset, export: &Export) -> Result<Touched> {
    let mut window = Window::new(Source::of_export(root, name, export)?, CHUNK, export.limits);
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

fn parquet(root: &Path, name: &str, dataset: &Dataset, export: &Export, asked: &Asked) -> Result<Touched> {
    let unreadable = |error: &dyn std::fmt::Display| Error::contract(format!("not a whole Parquet file: {error}"));
    let file = File::open(root.join(name)).map_err(|error| files::io_error(name, &error))?;
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
    let metadata = ArrowReaderMetadata::load(&file, options).map_err(|error| unreadable(&error))?;
    let names: Vec<&str> = metadata.schema().fields().iter().map(|field| field.name().as_str()).collect();
    let key = key_at(dataset, export, &names)?;
    let others: Vec<usize> =
        located(dataset, export, &names, &asked.columns)?.into_iter().filter(|column| *column != key).collect();
    let key = ProjectionMask::roots(metadata.parquet_schema(), [key]);
    let others = ProjectionMask::roots(metadata.parquet_schema(), others);
    let mut bytes = 0;
    let file = Arc::new(file);
    let rows_of_file = metadata.metadata().file_metadata().num_rows();
    for (number, group) in metadata.metadata().row_groups().iter().enumerate() {
        let hits = asked.rows as f64 * group.num_rows() as f64 / rows_of_file as f64;
        for (leaf, column) in group.columns().iter().enumerate() {
            if key.leaf_included(leaf) {
                bytes += column.byte_range().1;
            } else if others.leaf_included(leaf) {
                let index = metadata.metadata().offset_index().and_then(|index| index.get(number)?.get(leaf));
                let locations = index.map(|index| index.page_locations().clone());
                bytes += open_pages(&file, column, group.num_rows(), locations, hits).map_err(|e| unreadable(&e))?;
            }
        }
    }
    let file = file.try_clone().map_err(|error| files::io_error(name, &error))?;
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
        .with_projection(key)
        .with_batch_size(BATCH_ROWS)
        .build();
    let mut rows = 0;
    for batch in reader.map_err(|error| unreadable(&error))? {
        rows += black_box(batch.map_err(|error| unreadable(&error))?).num_rows() as u64;
    }
    Ok(Touched { rows, bytes })
}

/// Reads and opens as many pages of a column as `hits` rows meet when they lie anywhere, rounded down, but one where there is
/// a hit; their bytes.
fn open_pages(
    file: &Arc<File>,
    column: &ColumnChunkMetaData,
    rows: i64,
    locations: Option<Vec<PageLocation>>,
    hits: f64,
) -> Result<u64, ParquetError> {
    let pages = locations.as_ref().map_or(1, Vec::len);
    let met = (pages as f64 * (1.0 - (1.0 - 1.0 / pages as f64).powf(hits))) as usize;
    let needed = if hits > 0.0 { met.max(1) } else { 0 };
    let bytes = locations.as_ref().map_or(column.byte_range().1, |locations| {
        let dictionary = locations.first().map_or(0, |first| first.offset as u64 - column.byte_range().0);
        let of_pages = locations.iter().take(needed).map(|page| page.compressed_page_size as u64).sum::<u64>();
        if needed > 0 { dictionary + of_pages } else { 0 }
    });
    let mut opened = 0;
    let mut reader = SerializedPageReader::new(Arc::clone(file), column, rows as usize, locations)?;
    while opened < needed
        && let Some(page) = reader.get_next_page()?
    {
        opened += usize::from(black_box(page).is_data_page());
    }
    Ok(if needed > 0 { bytes } else { 0 })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write as _;

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
        let touched = touch(folder.path(), name, &dataset, &Asked::default()).unwrap();
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

    #[test]
    fn of_a_wanted_column_as_many_pages_are_opened_as_rows_meet() {
        let folder = tempfile::tempdir().unwrap();
        let amounts: ArrayRef = Arc::new((0..5000).collect::<Int64Array>());
        let keys: ArrayRef = Arc::new((0..5000).map(|key| Some(format!("90010112{key:05}"))).collect::<StringArray>());
        let batch = RecordBatch::try_from_iter([("amount", amounts), ("rrno", keys)]).unwrap();
        let properties = parquet::file::properties::WriterProperties::builder()
            .set_dictionary_enabled(false)
            .set_data_page_row_count_limit(500)
            .set_write_batch_size(500)
            .build();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        std::fs::write(folder.path().join("a.parquet"), writer.into_inner().unwrap()).unwrap();
        let dataset = dataset("path='a.parquet'\nformat='parquet'");
        let bytes = |rows, column: &str| {
            let asked = Asked { columns: vec![column.to_owned(), "rrno".to_owned()], rows };
            let touched = touch(folder.path(), "a.parquet", &dataset, &asked).unwrap();
            assert_eq!(touched.rows, 5000);
            touched.bytes
        };
        let key = bytes(0, "amount");
        let all = bytes(1000, "amount") - key;
        assert_eq!(bytes(5, "rrno"), key, "the key is read already");
        // Ten pages of 4,000 bytes and their headers; five rows meet 4.1 of them.
        assert!(all > 40_000 && (bytes(1, "amount") - key).abs_diff(all / 10) < 50, "{all}");
        assert!((bytes(5, "amount") - key).abs_diff(all * 4 / 10) < 50);
    }
}
