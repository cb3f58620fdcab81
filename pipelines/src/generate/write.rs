//! Writes one part of one dataset's export, row by row, in its holder's format.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayBuilder, ArrayRef, Date32Builder, Int64Builder, ListBuilder, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema};
use chrono::NaiveDate;
use flate2::Compression;
use flate2::write::GzEncoder;
use ieum_model::dataset::{Dataset, Encoding, Export, Format, ItemType, ManifestRule, TrailerRule};
use ieum_model::error::{Error, ErrorKind, Result};
use parquet::arrow::ArrowWriter;
use parquet::basic::ZstdLevel;
use parquet::file::properties::WriterProperties;
use sha2::{Digest, Sha256};

use super::plan::Plan;
use super::values::{Cell, Column};

/// Rows of a Parquet row group.
const ROW_GROUP_ROWS: usize = 128 * 1024;
/// Rows of a batch handed to the Parquet writer.
const BATCH_ROWS: usize = 8 * 1024;
/// Bytes of a data record before its items: kind, serial, change.
const HEAD_BYTES: usize = 2 + 10 + 1;
/// Bytes of a header record without its filler.
const HEADER_BYTES: usize = 30 + 2 + 7 + 8 + 14 + 5 + 10;
/// Bytes of one sum of a trailer: sign and 18 digits.
const SUM_BYTES: usize = 19;

/// Counts its bytes and hashes them on their way to a file.
struct Hashing {
    file: BufWriter<File>,
    digest: Option<Sha256>,
    bytes: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes)?;
        if let Some(digest) = &mut self.digest {
            digest.update(bytes);
        }
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A text export, compressed as its name says.
enum Text {
    Plain(Hashing),
    Gz(GzEncoder<Hashing>),
    Zst(zstd::Encoder<'static, Hashing>),
}

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Gz(out) => out.write(bytes),
            Self::Zst(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Text {
    fn finish(self) -> io::Result<Hashing> {
        match self {
            Self::Plain(out) => Ok(out),
            Self::Gz(out) => out.finish(),
            Self::Zst(out) => out.finish(),
        }
    }
}

/// A failure to write a file; trying again may help.
pub fn unwritable(path: &Path, error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Temporary, format!("cannot write a file: {error}")).at("file", path.display())
}

/// What a row is written as.
pub enum Dirt {
    /// As it should be.
    Clean,
    /// Its last field is missing.
    Ragged,
    /// Its first date is no day of the calendar.
    BadDate,
}

/// What the head of a fixed-width file says.
pub struct Head<'a> {
    /// Dataset code.
    pub dataset: &'a str,
    /// Seven-digit code of the holder.
    pub institution_code: &'a str,
    /// Day of the export.
    pub base_date: NaiveDate,
    /// Number of data records, from the first pass.
    pub count: u64,
    /// Whether the trailer tells one record too many.
    pub wrong_trailer: bool,
}

/// Writes one file.
pub struct Writer<'a> {
    plan: &'a Plan,
    path: &'a Path,
    head: Head<'a>,
    rows: u64,
    sums: Vec<i64>,
    line: String,
    cell: String,
    record: Vec<u8>,
    sink: Sink,
}

enum Sink {
    Text(Box<Text>),
    Parquet(Box<ParquetSink>),
}

struct ParquetSink {
    writer: ArrowWriter<Hashing>,
    schema: Arc<Schema>,
    columns: Vec<Build>,
    pending: usize,
}

/// A column being built.
enum Build {
    Text(StringBuilder),
    Int(Int64Builder),
    Date(Date32Builder),
    List(ListBuilder<Box<dyn ArrayBuilder>>),
}

fn days(date: NaiveDate) -> i32 {
    date.signed_duration_since(NaiveDate::default()).num_days() as i32
}

impl Build {
    fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Int64 => Self::Int(Int64Builder::new()),
            DataType::Date32 => Self::Date(Date32Builder::new()),
            DataType::List(field) => {
                let values: Box<dyn ArrayBuilder> = match field.data_type() {
                    DataType::Int64 => Box::new(Int64Builder::new()),
                    DataType::Date32 => Box::new(Date32Builder::new()),
                    _ => Box::new(StringBuilder::new()),
                };
                Self::List(ListBuilder::new(values).with_field(Arc::clone(field)))
            }
            _ => Self::Text(StringBuilder::new()),
        }
    }

    fn push(&mut self, cell: &Cell) {
        match (self, cell) {
            (Self::Text(out), Cell::Text(value)) => out.append_value(value),
            (Self::Text(out), _) => out.append_null(),
            (Self::Int(out), Cell::Int(value)) => out.append_value(*value),
            (Self::Int(out), _) => out.append_null(),
            (Self::Date(out), Cell::Date(date)) => out.append_value(days(*date)),
            (Self::Date(out), _) => out.append_null(),
            (Self::List(out), Cell::List(cells)) => {
                for cell in cells {
                    let values = out.values().as_any_mut();
                    match cell {
                        Cell::Int(value) => {
                            if let Some(ints) = values.downcast_mut::<Int64Builder>() {
                                ints.append_value(*value);
                            }
                        }
                        Cell::Date(date) => {
                            if let Some(dates) = values.downcast_mut::<Date32Builder>() {
                                dates.append_value(days(*date));
                            }
                        }
                        Cell::Text(value) => {
                            if let Some(texts) = values.downcast_mut::<StringBuilder>() {
                                texts.append_value(value);
                            }
                        }
                        Cell::Null | Cell::List(_) => {}
                    }
                }
                out.append(true);
            }
            (Self::List(out), _) => out.append(false),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(out) => Arc::new(out.finish()),
            Self::Int(out) => Arc::new(out.finish()),
            Self::Date(out) => Arc::new(out.finish()),
            Self::List(out) => Arc::new(out.finish()),
        }
    }
}

/// The order the file's columns stand in, as positions in `columns`, with what stands above each.
fn header(columns: &[Column], export: &Export) -> Vec<(usize, String)> {
    let named = |code: &str| columns.iter().position(|column| column.code == code);
    if !export.order.is_empty() {
        return export
            .order
            .iter()
            .filter_map(|name| {
                let code = export.columns.get(name).unwrap_or(name);
                named(code).map(|at| (at, name.clone()))
            })
            .collect();
    }
    let title = |code: &str| {
        export.columns.iter().find(|(_, item)| *item == code).map_or_else(|| code.to_owned(), |(name, _)| name.clone())
    };
    columns.iter().enumerate().map(|(at, column)| (at, title(&column.code))).collect()
}

/// The file's columns in file order.
pub fn file_order(columns: &[Column], export: &Export) -> Vec<(usize, String)> {
    if export.format != Format::FixedWidth {
        return header(columns, export);
    }
    let named = |code: &str| columns.iter().position(|column| column.code == code);
    export.layout.iter().filter_map(|field| named(&field.item).map(|at| (at, field.item.clone()))).collect()
}

fn record_len(plan: &Plan) -> usize {
    let export = &plan.export;
    let data = HEAD_BYTES + export.layout.iter().map(|field| field.bytes).sum::<usize>();
    let amounts = plan.order.iter().filter(|(at, _)| summed(&plan.columns[*at])).count();
    data.max(HEADER_BYTES).max(12 + SUM_BYTES * amounts)
}

fn summed(column: &Column) -> bool {
    column.item_type == ItemType::Amt && !column.list
}

fn not_written(format: Format) -> Error {
    Error::internal(format!("no export is made in the format `{format}`"))
}

/// Writes `value` into `width` bytes of CP949, never half a syllable.
fn field(record: &mut Vec<u8>, value: &str, width: usize, number: bool) {
    let end = record.len() + width;
    if number && !value.is_empty() {
        let (sign, digits) = value.strip_prefix('-').map_or(("", value), |digits| ("-", digits));
        record.extend_from_slice(sign.as_bytes());
        let zeros = end.saturating_sub(record.len() + digits.len());
        record.resize(record.len() + zeros, b'0');
        record.extend_from_slice(digits.as_bytes());
        return;
    }
    let mut utf8 = [0u8; 4];
    for c in value.chars() {
        let (bytes, _, _) = encoding_rs::EUC_KR.encode(c.encode_utf8(&mut utf8));
        if record.len() + bytes.len() > end {
            break;
        }
        record.extend_from_slice(&bytes);
    }
    record.resize(end, b' ');
}

/// The text of a cell; empty for no value.
fn render(cell: &Cell, compact_dates: bool, separator: char, out: &mut String) {
    match cell {
        Cell::Null => {}
        Cell::Int(value) => _ = write!(out, "{value}"),
        Cell::Date(date) if compact_dates => _ = write!(out, "{}", date.format("%Y%m%d")),
        Cell::Date(date) => _ = write!(out, "{}", date.format("%Y-%m-%d")),
        Cell::Text(text) => out.push_str(text),
        Cell::List(cells) => {
            for (at, cell) in cells.iter().enumerate() {
                if at > 0 {
                    out.push(separator);
                }
                render(cell, compact_dates, separator, out);
            }
        }
    }
}

/// Appends a CSV field, in quotes if it must or shall be.
fn csv_field(line: &mut String, value: &str, delimiter: char, always: bool) {
    if always || value.contains([delimiter, '"', '\n', '\r']) {
        line.push('"');
        for c in value.chars() {
            if c == '"' {
                line.push('"');
            }
            line.push(c);
        }
        line.push('"');
    } else {
        line.push_str(value);
    }
}

impl<'a> Writer<'a> {
    /// Opens the file and writes what stands before the rows.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn create(plan: &'a Plan, dataset: &Dataset, path: &'a Path, head: Head<'a>) -> Result<Self> {
        let fail = |error: io::Error| unwritable(path, error);
        let export = &plan.export;
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(fail)?;
        }
        let digest = (export.control.manifest == Some(ManifestRule::Sha256)).then(Sha256::new);
        let file =
            Hashing { file: BufWriter::with_capacity(1 << 18, File::create(path).map_err(fail)?), digest, bytes: 0 };
        let sink = if export.format == Format::Parquet {
            let fields: Vec<Field> = plan
                .order
                .iter()
                .map(|(at, title)| dataset.column_field(&plan.columns[*at].code).with_name(title))
                .collect();
            let schema = Arc::new(Schema::new(fields));
            let properties = WriterProperties::builder()
                .set_compression(parquet::basic::Compression::ZSTD(ZstdLevel::default()))
                .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
                .build();
            let writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties))
                .map_err(|error| unwritable(path, error))?;
            let columns = schema.fields().iter().map(|field| Build::of(field.data_type())).collect();
            Sink::Parquet(Box::new(ParquetSink { writer, schema, columns, pending: 0 }))
        } else {
            Sink::Text(Box::new(match path.extension().and_then(|extension| extension.to_str()) {
                Some("gz") => Text::Gz(GzEncoder::new(file, Compression::new(6))),
                Some("zst") => Text::Zst(zstd::Encoder::new(file, 3).map_err(fail)?),
                _ => Text::Plain(file),
            }))
        };
        let sums = vec![0; plan.order.iter().filter(|(at, _)| summed(&plan.columns[*at])).count()];
        let (line, cell, record) = (String::new(), String::new(), Vec::new());
        let mut writer = Self { plan, path, head, rows: 0, sums, line, cell, record, sink };
        writer.before()?;
        Ok(writer)
    }

    fn before(&mut self) -> Result<()> {
        let export = &self.plan.export;
        match export.format {
            Format::Csv => {
                if self.plan.byte_order_mark {
                    self.line.push('\u{feff}');
                }
                if export.header {
                    for (n, (_, title)) in self.plan.order.iter().enumerate() {
                        if n > 0 {
                            self.line.push(export.delimiter);
                        }
                        csv_field(&mut self.line, title, export.delimiter, self.plan.quoted);
                    }
                    return self.end_line();
                }
                Ok(())
            }
            Format::FixedWidth => {
                let (head, date) = (&self.head, self.head.base_date.format("%Y%m%d").to_string());
                let record = &mut self.record;
                record.clear();
                record.extend_from_slice(b"11");
                field(record, head.dataset, 30, false);
                field(record, head.institution_code, 7, false);
                field(record, &date, 8, true);
                field(record, &format!("{date}020000"), 14, true);
                field(record, &record_len(self.plan).to_string(), 5, true);
                field(record, &head.count.to_string(), 10, true);
                self.end_record()
            }
            Format::Parquet => Ok(()),
            format => Err(not_written(format)),
        }
    }

    /// Writes one row, its cells in the order of the plan's columns in the file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn row(&mut self, cells: &[Cell], dirt: &Dirt) -> Result<()> {
        self.rows += 1;
        match self.plan.export.format {
            Format::Csv => self.csv_row(cells, dirt),
            Format::FixedWidth => self.fixed_row(cells),
            Format::Parquet => self.parquet_row(cells),
            format => Err(not_written(format)),
        }
    }

    fn csv_row(&mut self, cells: &[Cell], dirt: &Dirt) -> Result<()> {
        let export = &self.plan.export;
        let compact = export.encoding == Encoding::Cp949;
        let mut spoil = matches!(dirt, Dirt::BadDate);
        let kept = if matches!(dirt, Dirt::Ragged) { cells.len().saturating_sub(1) } else { cells.len() };
        for (n, cell) in cells[..kept].iter().enumerate() {
            if n > 0 {
                self.line.push(export.delimiter);
            }
            self.cell.clear();
            if spoil && matches!(cell, Cell::Date(_)) {
                self.cell.push_str("20261345");
                spoil = false;
            } else {
                render(cell, compact, export.list_separator, &mut self.cell);
            }
            csv_field(&mut self.line, &self.cell, export.delimiter, self.plan.quoted);
        }
        self.end_line()
    }

    fn fixed_row(&mut self, cells: &[Cell]) -> Result<()> {
        let export = &self.plan.export;
        self.record.clear();
        self.record.extend_from_slice(b"22");
        field(&mut self.record, &self.rows.to_string(), 10, true);
        self.record.push(b'I');
        let mut sum = 0;
        for ((cell, layout), (at, _)) in cells.iter().zip(&export.layout).zip(&self.plan.order) {
            let column = &self.plan.columns[*at];
            if summed(column) {
                if let Cell::Int(value) = cell {
                    self.sums[sum] += value;
                }
                sum += 1;
            }
            self.cell.clear();
            render(cell, true, export.list_separator, &mut self.cell);
            field(&mut self.record, &self.cell, layout.bytes, matches!(cell, Cell::Int(_)));
        }
        self.end_record()
    }

    fn parquet_row(&mut self, cells: &[Cell]) -> Result<()> {
        let Sink::Parquet(sink) = &mut self.sink else { return Ok(()) };
        for (build, cell) in sink.columns.iter_mut().zip(cells) {
            build.push(cell);
        }
        sink.pending += 1;
        if sink.pending == BATCH_ROWS { sink.flush(self.path) } else { Ok(()) }
    }

    fn end_line(&mut self) -> Result<()> {
        self.line.push_str(if self.plan.crlf { "\r\n" } else { "\n" });
        let Sink::Text(out) = &mut self.sink else { return Ok(()) };
        let done = if self.plan.export.encoding == Encoding::Cp949 {
            let (bytes, _, _) = encoding_rs::EUC_KR.encode(&self.line);
            out.write_all(&bytes)
        } else {
            out.write_all(self.line.as_bytes())
        };
        self.line.clear();
        done.map_err(|error| unwritable(self.path, error))
    }

    fn end_record(&mut self) -> Result<()> {
        self.record.resize(record_len(self.plan), b' ');
        self.record.push(b'\n');
        let Sink::Text(out) = &mut self.sink else { return Ok(()) };
        out.write_all(&self.record).map_err(|error| unwritable(self.path, error))
    }

    /// Writes what stands after the rows, and the manifest; gives the rows and the bytes of the file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(mut self) -> Result<(u64, u64)> {
        if self.plan.export.format == Format::FixedWidth {
            self.record.clear();
            self.record.extend_from_slice(b"33");
            let told = self.rows + u64::from(self.head.wrong_trailer);
            field(&mut self.record, &told.to_string(), 10, true);
            if self.plan.export.control.trailer == Some(TrailerRule::CountAndSums) {
                for sum in &self.sums {
                    self.record.push(if *sum < 0 { b'-' } else { b'+' });
                    field(&mut self.record, &sum.unsigned_abs().to_string(), 18, true);
                }
            }
            self.end_record()?;
        }
        let fail = |error: io::Error| unwritable(self.path, error);
        let mut file = match self.sink {
            Sink::Text(out) => out.finish().map_err(fail)?,
            Sink::Parquet(mut sink) => {
                sink.flush(self.path)?;
                sink.writer.into_inner().map_err(|error| unwritable(self.path, error))?
            }
        };
        file.flush().map_err(fail)?;
        if let Some(digest) = file.digest {
            let name = self.path.file_name().unwrap_or_default().to_string_lossy();
            let beside = self.path.with_file_name(format!("{name}.sha256"));
            std::fs::write(&beside, format!("{}  {name}\n", hex(&digest.finalize()))).map_err(fail)?;
        }
        Ok((self.rows, file.bytes))
    }
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        _ = write!(out, "{byte:02x}");
        out
    })
}

impl ParquetSink {
    fn flush(&mut self, path: &Path) -> Result<()> {
        if self.pending == 0 {
            return Ok(());
        }
        self.pending = 0;
        let arrays = self.columns.iter_mut().map(Build::finish).collect();
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays)
            .map_err(|error| Error::internal(format!("a generated batch does not fit its schema: {error}")))?;
        self.writer.write(&batch).map_err(|error| unwritable(path, error))
    }
}
