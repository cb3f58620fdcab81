//! One table as an export of every format: 200k rows, 8 columns, random 13-digit keys.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::writer::FileWriter;
use encoding_rs::EUC_KR;
use ieum_model::catalog::{Catalog, CatalogSource};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use rust_xlsxwriter::Workbook;

pub const ROWS: usize = 200_000;
/// Rows of a batch of the Arrow export.
const ROWS_OF_A_BATCH: usize = 8192;
/// Columns, and their width in the fixed-width export.
const COLUMNS: [(&str, &str, usize); 8] = [
    ("rrno", "rrno", 13),
    ("year", "year", 4),
    ("amount", "amt", 12),
    ("tax", "amt", 12),
    ("payer", "str", 30),
    ("address", "str", 60),
    ("office", "code", 6),
    ("note", "str", 20),
];

/// The EBCDIC export: what its records hold.
const RECORDS: &str = r#"format = "records"
encoding = "cp037"
layout = [
  { item = "rrno", bytes = 13 },
  { item = "year", bytes = 4 },
  { item = "amount", bytes = 7, kind = "packed" },
  { item = "payer", bytes = 10 },
]"#;

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Small, seeded, good enough to leave no order in the keys.
pub struct Random(pub u64);

impl Random {
    /// Below `end`, by splitmix64.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

pub struct Table {
    pub keys: Vec<String>,
    pub long_keys: Vec<String>,
    rows: Vec<[String; 8]>,
}

impl Table {
    pub fn new() -> Self {
        let mut random = Random(1);
        let row = |_| {
            [
                format!("{:013}", random.below(10_u64.pow(13))),
                (2016 + random.below(10)).to_string(),
                random.below(100_000_000).to_string(),
                random.below(10_000_000).to_string(),
                format!("주식회사 이음{}", random.below(5000)),
                format!("서울특별시 중구 세종대로 {}번길 {}", random.below(300), random.below(90)),
                format!("{:06}", random.below(130)),
                if random.below(3) == 0 { "정정 신고".to_owned() } else { String::new() },
            ]
        };
        let rows: Vec<[String; 8]> = (0..ROWS).map(row).collect();
        let keys = rows.iter().map(|row| row[0].clone()).collect();
        let mut letter = |_| char::from(BASE64[random.below(64) as usize]);
        let long_keys = (0..ROWS).map(|_| (0..86).map(&mut letter).chain(['=', '=']).collect()).collect();
        Self { keys, long_keys, rows }
    }

    /// Writes the export of every dataset of [`catalog`] below `root`.
    pub fn write(&self, root: &Path) {
        let csv = self.csv();
        write(root, "csv_utf8.csv", csv.as_bytes());
        write(root, "csv_cp949.csv", &EUC_KR.encode(&csv).0);
        write(root, "unload.csv", csv.replace(',', "|").as_bytes());
        write(root, "csv_utf16.csv", &csv.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>());
        write(root, "json_lines.ndjson", self.json_lines().as_bytes());
        write(root, "xml.xml", self.xml().as_bytes());
        write(root, "fixed_width.txt", &self.fixed_width());
        write(root, "records.dat", &self.records());
        let batch = self.batch();
        parquet(&root.join("parquet.parquet"), &batch, Compression::SNAPPY);
        parquet(&root.join("long_keys.parquet"), &self.with_long_keys(&batch), Compression::ZSTD(ZstdLevel::default()));
        let file = File::create(root.join("arrow.arrow")).expect("a file in the temporary folder");
        let mut writer = FileWriter::try_new(file, &batch.schema()).expect("an Arrow writer");
        for from in (0..ROWS).step_by(ROWS_OF_A_BATCH) {
            writer.write(&batch.slice(from, ROWS_OF_A_BATCH.min(ROWS - from))).expect("rows are written");
        }
        writer.finish().expect("an Arrow footer");
    }

    fn csv(&self) -> String {
        let header = COLUMNS.map(|(name, _, _)| name).join(",") + "\n";
        std::iter::once(header).chain(self.rows.iter().map(|row| row.join(",") + "\n")).collect()
    }

    fn json_lines(&self) -> String {
        let member = |(cell, (name, kind, _)): (&String, (&str, &str, usize))| match kind {
            "amt" => format!("\"{name}\":{cell}"),
            _ => format!("\"{name}\":\"{cell}\""),
        };
        let line = |row: &[String; 8]| row.iter().zip(COLUMNS).map(member).collect::<Vec<_>>().join(",");
        self.rows.iter().map(|row| format!("{{{}}}\n", line(row))).collect()
    }

    fn xml(&self) -> String {
        let element = |(cell, (name, ..)): (&String, (&str, &str, usize))| format!("<{name}>{cell}</{name}>");
        let row = |row: &[String; 8]| row.iter().zip(COLUMNS).map(element).collect::<String>();
        let rows: String = self.rows.iter().map(|cells| format!("<row>{}</row>\n", row(cells))).collect();
        format!("<rows>\n{rows}</rows>\n")
    }

    fn fixed_width(&self) -> Vec<u8> {
        let len = 13 + COLUMNS.iter().map(|(_, _, width)| width).sum::<usize>();
        let head = format!("11{:<30}9910000{:08}{:014}{len:05}{ROWS:010}", "fixed_width", 20_261_122, 0);
        let trailer = format!("33{ROWS:010}");
        let mut out = format!("{head:<len$}\n").into_bytes();
        for (serial, row) in self.rows.iter().enumerate() {
            out.extend_from_slice(format!("22{serial:010}I").as_bytes());
            for (cell, (_, kind, width)) in row.iter().zip(COLUMNS) {
                let bytes = EUC_KR.encode(cell).0;
                let filler = width.checked_sub(bytes.len()).expect("cells fit their fields");
                if kind == "amt" {
                    out.extend(std::iter::repeat_n(b'0', filler));
                }
                out.extend_from_slice(&bytes);
                if kind != "amt" {
                    out.extend(std::iter::repeat_n(b' ', filler));
                }
            }
            out.push(b'\n');
        }
        out.extend_from_slice(format!("{trailer:<len$}\n").as_bytes());
        out
    }

    /// EBCDIC: key, year, a packed amount, and the number of the payer.
    fn records(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for row in &self.rows {
            let [key, year, amount, _, payer, ..] = row;
            out.extend(key.bytes().chain(year.bytes()).map(in_ebcdic));
            // Two digits a byte; the last half byte is the sign, C for plus.
            let digits = format!("{amount:0>13}c");
            let half = |digit: u8| if digit == b'c' { 0xC } else { digit - b'0' };
            out.extend(digits.as_bytes().chunks(2).map(|pair| half(pair[0]) << 4 | half(pair[1])));
            let number: String = payer.chars().filter(char::is_ascii_digit).collect();
            out.extend(format!("{number:<10}").bytes().map(in_ebcdic));
        }
        out
    }

    fn batch(&self) -> RecordBatch {
        let column = |at: usize| -> ArrayRef {
            let cells = self.rows.iter().map(|row| row[at].as_str());
            match COLUMNS[at].1 {
                "amt" => Arc::new(cells.map(|cell| cell.parse::<i64>().ok()).collect::<Int64Array>()),
                _ => Arc::new(cells.map(Some).collect::<StringArray>()),
            }
        };
        let field = |(name, kind, _): (&str, &str, usize)| {
            Field::new(name, if kind == "amt" { DataType::Int64 } else { DataType::Utf8 }, true)
        };
        let schema = Arc::new(Schema::new(COLUMNS.map(field).to_vec()));
        RecordBatch::try_new(schema, (0..COLUMNS.len()).map(column).collect()).expect("columns of one length")
    }

    /// The table keyed by connecting information (CI): 88 characters of Base64, which no dictionary and no codec shortens.
    fn with_long_keys(&self, batch: &RecordBatch) -> RecordBatch {
        let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
        columns[0] = Arc::new(self.long_keys.iter().map(Some).collect::<StringArray>());
        let fields = batch.schema().fields().iter().skip(1).cloned().collect::<Vec<_>>();
        let key = std::iter::once(Arc::new(Field::new("ci", DataType::Utf8, true)));
        let schema = Schema::new(key.chain(fields).collect::<Vec<_>>());
        RecordBatch::try_new(Arc::new(schema), columns).expect("columns of one length")
    }

    /// The first `rows` rows as a workbook: amounts are numbers, the rest is text.
    pub fn workbook(&self, path: &Path, rows: usize) {
        let mut book = Workbook::new();
        let sheet = book.add_worksheet();
        for (column, (name, ..)) in (0..).zip(COLUMNS) {
            sheet.write(0, column, name).expect("a cell of the header");
        }
        for (at, row) in (1..).zip(self.rows.iter().take(rows)) {
            for (column, (cell, (_, kind, _))) in (0..).zip(row.iter().zip(COLUMNS)) {
                match cell.parse::<f64>() {
                    Ok(number) if kind == "amt" => sheet.write(at, column, number).expect("a number"),
                    _ => sheet.write(at, column, cell).expect("a text"),
                };
            }
        }
        book.save(path).expect("a workbook in the temporary folder");
    }
}

/// A digit or a blank in code page 037.
fn in_ebcdic(letter: u8) -> u8 {
    if letter == b' ' { 0x40 } else { letter - b'0' + 0xF0 }
}

fn parquet(path: &Path, batch: &RecordBatch, codec: Compression) {
    let properties = WriterProperties::builder().set_compression(codec).build();
    let file = File::create(path).expect("a file in the temporary folder");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).expect("a Parquet writer");
    writer.write(batch).expect("rows are written");
    writer.close().expect("a Parquet footer");
}

fn write(root: &Path, name: &str, bytes: &[u8]) {
    fs::write(root.join(name), bytes).expect("a file in the temporary folder");
}

/// A dataset per export, each called by its format and how that is written.
pub fn catalog() -> Catalog {
    let layout: Vec<String> =
        COLUMNS.iter().map(|(name, _, width)| format!("{{ item = \"{name}\", bytes = {width} }}")).collect();
    let fixed = format!("format = \"fixed_width\"\nencoding = \"cp949\"\nlayout = [{}]", layout.join(", "));
    let exports = [
        ("csv_utf8", "format = \"csv\"", "csv"),
        ("csv_cp949", "format = \"csv\"\nencoding = \"cp949\"", "csv"),
        ("csv_utf16", "format = \"csv\"\nencoding = \"utf-16le\"", "csv"),
        ("unload", "format = \"csv\"\ndelimiter = \"|\"\nquote = false\nescape = '\\'", "csv"),
        ("json_lines", "format = \"json_lines\"", "ndjson"),
        ("xml", "format = \"xml\"\nrows = \"row\"", "xml"),
        ("fixed_width", fixed.as_str(), "txt"),
        ("records", RECORDS, "dat"),
        ("arrow", "format = \"arrow\"", "arrow"),
        ("parquet", "format = \"parquet\"", "parquet"),
    ];
    let dataset = |(code, export, extension): (&str, &str, &str)| {
        format!("{}\n[export]\n{export}\npath = \"{code}.{extension}\"\n", dataset(code))
    };
    let long_keys = dataset(("long_keys", "format = \"parquet\"", "parquet"))
        .replace("item = \"rrno\", space = \"person\"", "item = \"ci\", space = \"ci\"");
    let exports = exports.map(|export| (export.0, dataset(export)));
    catalog_of(exports.into_iter().chain([("long_keys", long_keys)]))
}

/// A dataset of the table without an export.
pub fn dataset(code: &str) -> String {
    let items = COLUMNS.iter().skip(1).map(|(name, kind, _)| {
        format!("[items.{name}]\nname_ko = \"{name}\"\ntype = \"{kind}\"\nsensitivity = \"G\"\ndefault = true\n")
    });
    let head = format!(
        "code = \"{code}\"\nname_ko = \"{code}\"\nholder = \"nts\"\ncategory = \"6b\"\nbasis = \"K\"\n\
         key = {{ item = \"rrno\", space = \"person\" }}\n"
    );
    std::iter::once(head).chain(items).collect()
}

/// The small night's catalog with `datasets` more.
pub fn catalog_of<'a>(datasets: impl IntoIterator<Item = (&'a str, String)>) -> Catalog {
    let mut sources = ieum_tests::small_night::catalog_sources();
    let more =
        datasets.into_iter().map(|(code, text)| CatalogSource { path: format!("datasets/nts/{code}.toml"), text });
    sources.extend(more);
    Catalog::parse(&sources).expect("a sound catalog")
}
