//! The behaviours that every connector passes, whatever the format, encoding, line end and compression.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use ::parquet::arrow::ArrowWriter;
use ::parquet::file::properties::WriterProperties;
use arrow::array::{ArrayRef, AsArray, Date32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::ipc::writer::{FileWriter, StreamWriter};
use chrono::NaiveDate;
use ieum_model::connector::{Connector, KeyProbe, ReadCounts, Reject, RejectSink, Repaired, ScanSpec, Strays};
use ieum_model::dataset::Dataset;
use ieum_model::error::{ErrorKind, Result};
use proptest::prelude::*;
use rust_xlsxwriter::{Format as ExcelFormat, Workbook, Worksheet};

use crate::csv::reader::CsvConnector;
use crate::fixed_width::reader::FixedWidthConnector;
use crate::records::reader::RecordsConnector;
use crate::staged::tests::Staged;
use crate::{Found, connect, parquet};

/// Keeps rejects, and the notes of repaired rows.
#[derive(Default)]
struct Bin(Mutex<Vec<Reject>>, Mutex<Vec<Reject>>);

impl RejectSink for Bin {
    fn reject(&self, reject: Reject) -> Result<()> {
        self.0.lock().unwrap().push(reject);
        Ok(())
    }

    fn repaired(&self, note: Reject) -> Result<Repaired> {
        self.1.lock().unwrap().push(note);
        Ok(Repaired::Told)
    }
}

/// Wanted keys, that can be told or only asked for.
pub(crate) struct Wanted {
    pub(crate) keys: HashSet<Vec<u8>>,
    pub(crate) told: bool,
}

impl KeyProbe for Wanted {
    fn may_match(&self, raw_key: &[u8]) -> bool {
        let mut canonical = Vec::new();
        spell("person", raw_key, &mut canonical);
        self.keys.contains(&canonical)
    }

    fn sorted_keys(&self) -> Option<Vec<Box<[u8]>>> {
        let mut keys: Vec<Box<[u8]>> = self.keys.iter().map(|key| key.clone().into()).collect();
        keys.sort_unstable();
        self.told.then_some(keys)
    }

    fn strays(&self, _pieces: &[&[u8]], row: &[u8]) -> Strays {
        let mut text = Vec::new();
        spell("person", row, &mut text);
        let holds = |key: &Vec<u8>| text.windows(key.len().max(1)).any(|window| window == key.as_slice());
        let mut keys: Vec<Vec<u8>> = self.keys.iter().filter(|key| holds(key)).cloned().collect();
        keys.sort_unstable();
        Strays { is_anybodys: keys.is_empty(), keys }
    }
}

/// How the tests make keys canonical.
pub(crate) fn spell(_space: &str, raw: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend(raw.trim_ascii().iter().filter(|byte| **byte != b'-'));
}

pub(crate) fn dataset(export: &str) -> Dataset {
    toml::from_str(&format!(
        "code='d'\nname_ko='d'\nholder='h'\ncategory='1'\nbasis='K'\nkey={{item='rrno',space='person'}}\n\
         [items.name]\nname_ko='n'\nstd='NM'\ntype='str'\nsensitivity='D'\n\
         [items.amount]\nname_ko='a'\ntype='amt'\nsensitivity='F'\n\
         [items.day]\nname_ko='d'\ntype='date'\nsensitivity='G'\n[export]\n{export}"
    ))
    .unwrap()
}

pub(crate) const COLUMNS: [&str; 4] = ["rrno", "name", "amount", "day"];

pub(crate) fn read(
    connector: &dyn Connector,
    dataset: &Dataset,
    names: &[&str],
    keys: Option<&[&str]>,
) -> Result<Read> {
    read_with(connector, dataset, names, names[0], keys.map(|keys| wanted(keys, false)))
}

/// The probe of some keys.
pub(crate) fn wanted(keys: &[&str], told: bool) -> Arc<dyn KeyProbe> {
    Arc::new(Wanted { keys: keys.iter().map(|key| key.as_bytes().to_vec()).collect(), told })
}

pub(crate) fn read_with(
    connector: &dyn Connector,
    dataset: &Dataset,
    names: &[&str],
    key_column: &str,
    probe: Option<Arc<dyn KeyProbe>>,
) -> Result<Read> {
    let bin = Arc::new(Bin::default());
    let fields: Vec<Field> = names.iter().map(|name| dataset.column_field(name)).collect();
    let spec = ScanSpec {
        schema: Arc::new(Schema::new(fields)),
        key_column: key_column.to_owned(),
        probe,
        rejects: Arc::<Bin>::clone(&bin),
        batch_rows: 2,
    };
    let (mut rows, mut counts) = (Vec::new(), ReadCounts::default());
    for partition in 0..connector.partitions().len() {
        let mut reader = connector.open(partition, &spec)?;
        loop {
            let batch = reader.next_batch();
            assert!(reader.counts().balances());
            match batch? {
                Some(batch) => rows.extend(texts(&batch)),
                None => break,
            }
        }
        counts += reader.counts();
    }
    assert_eq!(counts.kept, rows.len() as u64);
    let rejects = std::mem::take(&mut *bin.0.lock().unwrap());
    assert_eq!(counts.rejected, rejects.len() as u64);
    let repaired = std::mem::take(&mut *bin.1.lock().unwrap());
    Ok(Read { rows, counts, rejects, repaired })
}

#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) rows: Vec<String>,
    pub(crate) counts: ReadCounts,
    pub(crate) rejects: Vec<Reject>,
    pub(crate) repaired: Vec<Reject>,
}

fn texts(batch: &RecordBatch) -> Vec<String> {
    let cell = |column: &arrow::array::ArrayRef, row: usize| match column.data_type() {
        _ if column.is_null(row) => "-".to_owned(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Date32 => column.as_primitive::<arrow::datatypes::Date32Type>().value(row).to_string(),
        _ => column.as_string::<i32>().value(row).to_owned(),
    };
    let row = |row| batch.columns().iter().map(|column| cell(column, row)).collect::<Vec<_>>().join("|");
    (0..batch.num_rows()).map(row).collect()
}

pub(crate) fn folder(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

pub(crate) fn cp949(text: &str) -> Vec<u8> {
    let (bytes, _, failed) = encoding_rs::EUC_KR.encode(text);
    assert!(!failed);
    bytes.into_owned()
}

pub(crate) fn compress(name: &str, bytes: &[u8]) -> Vec<u8> {
    if name.ends_with(".gz") {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    } else if name.ends_with(".zst") {
        zstd::encode_all(bytes, 1).unwrap()
    } else {
        bytes.to_vec()
    }
}

pub(crate) const EXPECTED: [&str; 3] = ["800101|뷁똠샾, \"갑\"|-1234|19782", "900202|을|-|-", "700303|병|7|-"];

pub(crate) fn keeps_the_contract(connector: &dyn Connector, root: &Path, dataset: &Dataset) {
    let all = read(connector, dataset, &COLUMNS, None).unwrap();
    assert_eq!(all.rows, EXPECTED, "reads every row, in order: {:?}", all.rejects);
    let narrow = read(connector, dataset, &["rrno"], None).unwrap();
    assert_eq!(narrow.rows, ["800101", "900202", "700303"], "only wanted columns are decoded");
    keeps_the_contract_in_any_order(connector, dataset);
    keeps_the_contract_in_any_order(Staged::of(root, dataset).connector.as_ref(), dataset);
}

fn keeps_the_contract_in_any_order(connector: &dyn Connector, dataset: &Dataset) {
    let mut all = read(connector, dataset, &COLUMNS, None).unwrap();
    all.rows.sort_unstable();
    let mut expected = EXPECTED;
    expected.sort_unstable();
    assert_eq!(all.rows, expected, "reads every row: {:?}", all.rejects);
    let hit = read(connector, dataset, &COLUMNS, Some(&["900202"])).unwrap();
    assert_eq!(hit.rows, [EXPECTED[1]], "a probe keeps what filtering afterwards keeps");
    assert_eq!((hit.counts.read, hit.counts.filtered), (3, 2), "every row is accounted for");
    let missing = read(connector, dataset, &["rrno", "nane"], None).unwrap_err();
    assert_eq!(missing.kind, ErrorKind::Contract);
    assert!(missing.message.contains("`nane`") && missing.hint.is_some());
    connector.verify_control().unwrap();
}

#[test]
fn csv_keeps_the_contract() {
    let rows = "800101,\"뷁똠샾, \"\"갑\"\"\",\"-1,234\",2024-02-29\n900202,을,,00000000\n\n700303,병,007,9999.12.31\n";
    for header in ["주민,NM,extra,amount,day", ""] {
        for (ending, encoding, name) in [
            ("\n", "utf8", "a.csv"),
            ("\r\n", "utf8", "a.csv.gz"),
            ("\r", "cp949", "a.csv.zst"),
            ("\n", "cp949", "a.csv"),
            ("\r\n", "bom", "a.csv"),
            ("\r", "bom", "a.csv"),
        ] {
            for chunk in [1, 7, 1 << 20] {
                let header_row = header.replace("extra,", "");
                let text = if header.is_empty() { rows.to_owned() } else { format!("{header_row}\n{rows}") };
                let text = format!("{text}#TRAILER,3\n").replace('\n', ending);
                let bytes = match encoding {
                    "cp949" => cp949(&text),
                    "bom" => [b"\xEF\xBB\xBF", text.as_bytes()].concat(),
                    _ => text.into_bytes(),
                };
                let (root, _path) = folder(name, &compress(name, &bytes));
                let dataset = dataset(&format!(
                    "format='csv'\nencoding='{}'\nheader={}\npath='a.csv*'\norder=['rrno','name','amount','day']\n\
                     columns={{'주민'='rrno'}}\ncontrol={{trailer='count'}}",
                    if encoding == "cp949" { "cp949" } else { "utf8" },
                    !header.is_empty()
                ));
                let connector = CsvConnector::try_new(root.path(), &dataset, chunk).unwrap();
                keeps_the_contract(&connector, root.path(), &dataset);
            }
        }
    }
}

/// The keys that each rejected row may have, in file order.
pub(crate) fn keys_of_rejects(
    connector: &dyn Connector,
    dataset: &Dataset,
    wanted_keys: Option<&[&str]>,
) -> Vec<String> {
    let probe = wanted_keys.map(|keys| wanted(keys, true));
    let mut rejects = read_with(connector, dataset, &["rrno", "amount"], "rrno", probe).unwrap().rejects;
    rejects.sort_by_key(|reject| reject.line);
    let text = |key: Vec<u8>| String::from_utf8(key).unwrap();
    rejects
        .into_iter()
        .map(|reject| reject.strays.keys.into_iter().map(text).collect::<Vec<_>>().join(" and "))
        .collect()
}

#[test]
fn a_rejected_row_tells_its_key_where_another_cell_is_at_fault() {
    let csv = dataset("format='csv'\nencoding='cp949'\npath='a.csv'");
    let rows = "amount,rrno\nx, 12뷁34 \nx,\"5,\"\"6\"\nx\n7,8,9\nx,\n";
    let (root, _path) = folder("a.csv", &[cp949(rows), b"x,\xFF\n1,\xFF\n".to_vec()].concat());
    let connector = CsvConnector::try_new(root.path(), &csv, 1 << 20).unwrap();
    let expected = ["12뷁34", "5,\"6", "", "", "", "", ""];
    assert_eq!(keys_of_rejects(&connector, &csv, None), expected, "nothing is looked for in a ragged row");
    let fixed_width = dataset(&LAYOUT.replace("control={trailer='count_and_sums'}", ""));
    let mut bytes = records("\n", 3, "-000000000000001227");
    bytes[81 + 39 + 4] = b'x';
    bytes[81 * 2] = b'9';
    let (root, _path) = folder("a.dat", &bytes);
    let connector = FixedWidthConnector::try_new(root.path(), &fixed_width, 64).unwrap();
    assert_eq!(keys_of_rejects(&connector, &fixed_width, None), ["800101", ""]);
    let found = keys_of_rejects(&connector, &fixed_width, Some(&["800101", "900202"]));
    assert_eq!(found, ["800101", "900202"], "a record of another kind has its key where it should be");
}

#[test]
fn a_row_without_its_shape_tells_every_wanted_key_in_it() {
    let keys = ["800101", "900202", "뷁 똠"];
    let check = |connector: &dyn Connector, root: &Path, dataset: &Dataset, expected: &[&str]| {
        assert_eq!(keys_of_rejects(connector, dataset, Some(&keys)), expected);
        let staged = Staged::of(root, dataset);
        assert_eq!(keys_of_rejects(staged.connector.as_ref(), dataset, Some(&keys)), expected, "of a copy");
    };
    let csv = dataset("format='csv'\nencoding='cp949'\npath='a.csv'");
    let rows = "amount,rrno,name\n1\n1, 80-0101 \n800101,2,3,900202\n1;900202;a\n1,700303\n\"1\",\"뷁 똠\"\n\
                1,\"뷁,2\n3,800101,4\",5,6\n1,\"900202,a\n1,800101,a\n";
    let (root, _path) = folder("a.csv", &cp949(rows));
    let connector = CsvConnector::try_new(root.path(), &csv, 1 << 20).unwrap();
    let expected = ["", "800101", "800101 and 900202", "900202", "", "뷁 똠", "800101", "900202", "800101"];
    check(&connector, root.path(), &csv, &expected);
    let fixed_width = dataset(&LAYOUT.replace("control={trailer='count_and_sums'}", ""));
    let whole = records("\n", 5, "-000000000000001227");
    let [header, first, second, third, trailer]: [&[u8]; 5] = whole.chunks(81).collect::<Vec<_>>().try_into().unwrap();
    // A byte is missing before the key, another after it; one is doubled; a record is cut off within its key.
    let rows = [header, &first[1..], &first[..30], &first[31..], &second[..5], &second[4..], third, &second[..17]];
    let (root, _path) = folder("a.dat", &[&rows.concat(), &b"\n"[..], trailer].concat());
    let connector = FixedWidthConnector::try_new(root.path(), &fixed_width, 64);
    check(&connector.unwrap(), root.path(), &fixed_width, &["800101", "800101", "900202", ""]);
}

pub(crate) const LAYOUT: &str = "format='fixed_width'\nencoding='cp949'\npath='a.dat'\ncontrol={trailer='count_and_sums'}\n\
    layout=[{item='rrno',bytes=6},{item='name',bytes=20},{item='amount',bytes=10},{item='day',bytes=8}]";

pub(crate) fn records(ending: &str, count: u64, sum: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut record = |text: String| {
        let mut record = cp949(&text);
        record.resize(80, b' ');
        record.extend_from_slice(ending.as_bytes());
        bytes.extend_from_slice(&record);
    };
    record(format!("11{:30}{:7}2026103120261031000000{:05}{:010}", "d", "h", 80, count));
    let rows = [
        ("800101", "뷁똠샾, \"갑\"", "-000001234", "20240229"),
        ("900202", "을", "", "00000000"),
        ("700303", "병", "0000000007", "99991231"),
    ];
    for (at, (key, name, amount, day)) in rows.into_iter().enumerate() {
        let padding = " ".repeat(20 - cp949(name).len());
        record(format!("22{at:010}I{key}{name}{padding}{amount:10}{day}"));
    }
    record(format!("33{count:010}{sum}"));
    bytes
}

#[test]
fn fixed_width_keeps_the_contract() {
    let dataset = dataset(LAYOUT);
    for ending in ["\n", "\r\n", ""] {
        for chunk in [1, 7, 1 << 20] {
            let (root, _path) = folder("a.dat", &records(ending, 3, "-000000000000001227"));
            let connector = FixedWidthConnector::try_new(root.path(), &dataset, chunk).unwrap();
            keeps_the_contract(&connector, root.path(), &dataset);
        }
        for (count, sum) in [(4, "-000000000000001227"), (3, "+000000000000001227")] {
            let (root, _path) = folder("a.dat", &records(ending, count, sum));
            let connector = FixedWidthConnector::try_new(root.path(), &dataset, 64).unwrap();
            assert_eq!(connector.verify_control().unwrap_err().kind, ErrorKind::ControlTotals);
            disagrees_while_reading(&connector, &dataset);
        }
    }
}

/// The rows of [`EXPECTED`] as a batch: all text as holders write it, or typed.
fn as_batch(typed: bool) -> RecordBatch {
    let text = |cells: [&'static str; 3]| Arc::new(StringArray::from_iter_values(cells)) as ArrayRef;
    let (amount, day): (ArrayRef, ArrayRef) = if typed {
        let amounts = Int64Array::from(vec![Some(-1234), None, Some(7)]);
        (Arc::new(amounts), Arc::new(Date32Array::from(vec![Some(19_782), None, None])))
    } else {
        (text(["-1,234", "", "007"]), text(["2024-02-29", "00000000", "9999.12.31"]))
    };
    let columns = [
        ("unwanted", text(["", "", ""]), true),
        ("day", day, true),
        ("주민", text(["800101", "900202", "700303"]), true),
        ("NM", text(["뷁똠샾, \"갑\"", "을", "병"]), true),
        ("amount", amount, true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn as_parquet(typed: bool) -> Vec<u8> {
    let batch = as_batch(typed);
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(2)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn arrow_keeps_the_contract() {
    let dataset = dataset("format='arrow'\npath='a.arrow*'\ncolumns={'주민'='rrno'}");
    for typed in [false, true] {
        let batch = as_batch(typed);
        let mut file = FileWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        let mut stream = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        for piece in [batch.slice(0, 1), batch.slice(1, 0), batch.slice(1, 2)] {
            file.write(&piece).unwrap();
            stream.write(&piece).unwrap();
        }
        let (file, stream) = (file.into_inner().unwrap(), stream.into_inner().unwrap());
        for (name, bytes) in [("a.arrow", &file), ("a.arrow", &stream), ("a.arrow.zst", &stream)] {
            let (root, path) = folder(name, &compress(name, bytes));
            let connector = crate::arrow_ipc::open(root.path(), &dataset).unwrap();
            keeps_the_contract(connector.as_ref(), root.path(), &dataset);
            // A file that is cut off is no shorter export.
            let whole = std::fs::read(&path).unwrap();
            std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
            let error = read(connector.as_ref(), &dataset, &["rrno"], None).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Contract, "{error}");
        }
    }
    let batch = RecordBatch::try_from_iter([
        ("rrno", Arc::new(StringArray::from(vec!["1", "2", "3"])) as ArrayRef),
        ("amount", Arc::new(StringArray::from(vec!["5", "x", "7"])) as ArrayRef),
    ]);
    let mut stream = StreamWriter::try_new(Vec::new(), &batch.as_ref().unwrap().schema()).unwrap();
    stream.write(&batch.unwrap()).unwrap();
    let (root, _path) = folder("a.arrow", &stream.into_inner().unwrap());
    let connector = crate::arrow_ipc::open(root.path(), &dataset).unwrap();
    let read = read(connector.as_ref(), &dataset, &["rrno", "amount"], None).unwrap();
    assert_eq!(read.rows, ["1|5", "3|7"]);
    let reject = &read.rejects[0];
    assert_eq!((reject.line, reject.rule, strays_of(reject).as_str()), (2, "type", "2"));
    assert_eq!(String::from_utf8_lossy(&reject.raw), "rrno=2\tamount=x");
}

#[test]
fn parquet_keeps_the_contract() {
    let dataset = dataset("format='parquet'\npath='a.parquet'\ncolumns={'주민'='rrno'}");
    for typed in [false, true] {
        let (root, _path) = folder("a.parquet", &as_parquet(typed));
        let connector = parquet::open(root.path(), &dataset).unwrap().unwrap();
        keeps_the_contract(connector.as_ref(), root.path(), &dataset);
    }
}

/// The rows of [`EXPECTED`] as a workbook: all text as holders write it, or typed; `months` puts each row in a sheet of its own.
fn as_workbook(typed: bool, months: bool) -> Vec<u8> {
    let mut book = Workbook::new();
    let rows = [
        ("800101", "뷁똠샾, \"갑\"", Some(-1234), Some(45_351)),
        ("900202", "을", None, None),
        ("700303", "병", Some(7), None),
    ];
    let day = ExcelFormat::new().set_num_format("yyyy-mm-dd");
    let mut sheets: Vec<Worksheet> = Vec::new();
    for (at, (key, name, amount, serial)) in rows.into_iter().enumerate() {
        if months || sheets.is_empty() {
            let mut sheet = Worksheet::new();
            sheet.set_name(format!("{}월", sheets.len() + 1)).unwrap();
            sheet.write(0, 0, "2024년 명부").unwrap();
            for (column, title) in [(0, "주민"), (1, "구분"), (3, "NM")] {
                sheet.write(2, column, title).unwrap();
            }
            sheet.write(3, 1, "amount").unwrap().write(3, 2, "day").unwrap();
            sheets.push(sheet);
        }
        let row = if months { 5 } else { 4 + at as u32 };
        let sheet = sheets.last_mut().unwrap();
        sheet.write(row, 0, key).unwrap().write(row, 3, name).unwrap();
        match amount {
            Some(amount) if typed => sheet.write(row, 1, amount).unwrap(),
            Some(-1234) => sheet.write(row, 1, "-1,234").unwrap(),
            Some(_) => sheet.write(row, 1, "007").unwrap(),
            None => sheet.write(row, 1, " ").unwrap(),
        };
        match serial {
            Some(serial) if typed => sheet.write_with_format(row, 2, serial, &day).unwrap(),
            Some(_) => sheet.write(row, 2, "2024-02-29").unwrap(),
            None => sheet.write(row, 2, if at == 1 { "00000000" } else { "9999.12.31" }).unwrap(),
        };
    }
    let mut notes = Worksheet::new();
    notes.set_name("설명").unwrap().write(0, 0, "no table").unwrap();
    book.push_worksheet(notes);
    for sheet in sheets {
        book.push_worksheet(sheet);
    }
    book.save_to_buffer().unwrap()
}

#[test]
fn xlsx_keeps_the_contract() {
    let dataset = dataset(
        "format='xlsx'\npath='a.xlsx*'\ncolumns={'주민'='rrno','구분/amount'='amount','구분/day'='day'}\n\
         sheet={name='*월',header_row=3,header_rows=2}",
    );
    for (typed, months) in [(false, false), (true, false), (true, true)] {
        for name in ["a.xlsx", "a.xlsx.gz"] {
            let (root, _path) = folder(name, &compress(name, &as_workbook(typed, months)));
            let connector = crate::xlsx::open(root.path(), &dataset).unwrap();
            keeps_the_contract(connector.as_ref(), root.path(), &dataset);
        }
    }
}

#[test]
fn records_keep_the_contract() {
    let whole = records("\n", 3, "-000000000000001227");
    // The data records without their heads.
    let rows: Vec<&[u8]> = whole.chunks(81).skip(1).take(3).map(|record| &record[13..57]).collect();
    let described = |row: &&[u8]| [&(row.len() as u16 + 4).to_be_bytes()[..], b"\0\0", row].concat();
    let files = [
        ("lines", rows.join(&b"\r\n"[..])),
        ("fixed", rows.concat()),
        ("rdw", rows.iter().flat_map(described).collect()),
    ];
    for (framing, bytes) in files {
        let layout = LAYOUT.replace("fixed_width", "records").replace("control={trailer='count_and_sums'}\n", "");
        let layout = layout.replace("item='amount',bytes=10", "item='amount',bytes=10,kind='zoned'");
        let dataset = dataset(&format!("{layout}\nframing='{framing}'"));
        for chunk in [1, 7, 1 << 20] {
            let (root, _path) = folder("a.dat", &bytes);
            let connector = RecordsConnector::try_new(root.path(), &dataset, chunk).unwrap();
            keeps_the_contract(&connector, root.path(), &dataset);
        }
        // What is left of a record, or a field that is no number, is a reject, and its bytes are kept.
        let cut = &bytes[..bytes.len() - 3];
        let mut wrong = cut.to_vec();
        let at = wrong.windows(10).position(|window| window == b"-000001234").unwrap();
        wrong[at + 4] = b'x';
        let (root, _path) = folder("a.dat", &wrong);
        let connector = RecordsConnector::try_new(root.path(), &dataset, 64).unwrap();
        let read = read(&connector, &dataset, &["rrno", "amount"], None).unwrap();
        assert_eq!(read.rows, ["900202|-"]);
        let told: Vec<_> = read.rejects.iter().map(|reject| (reject.rule, reject.column.as_deref())).collect();
        assert_eq!(told, [("type", Some("amount")), ("length", None)]);
        assert_eq!(strays_of(&read.rejects[0]), "800101");
        assert!(read.rejects.iter().all(|reject| {
            let at = usize::try_from(reject.byte_offset).unwrap();
            wrong[at..at + reject.raw.len()] == reject.raw[..]
        }));
    }
}

fn strays_of(reject: &Reject) -> String {
    let keys: Vec<String> = reject.strays.keys.iter().map(|key| String::from_utf8(key.clone()).unwrap()).collect();
    keys.join(" and ")
}

/// Reading to the end says what `verify_control` says, with or without a probe, and never hands on the last batch.
fn disagrees_while_reading(connector: &dyn Connector, dataset: &Dataset) {
    assert!(connector.checks_totals_while_reading());
    let verified = connector.verify_control().unwrap_err();
    for keys in [None, Some(&["nobody"][..])] {
        let read = read(connector, dataset, &["rrno"], keys).unwrap_err();
        assert_eq!((read.kind, &read.message), (ErrorKind::ControlTotals, &verified.message));
    }
}

#[test]
fn a_wrong_count_manifest_or_truncated_gz_breaks_the_contract() {
    let counted = dataset("format='csv'\npath='a.csv'\ncontrol={trailer='count'}");
    let (root, _path) = folder("a.csv", b"rrno\n1\n#TRAILER,2\n");
    let Found::Export(export) = connect(root.path(), &counted, NaiveDate::default()).unwrap() else {
        panic!("missing")
    };
    assert_eq!(export.verify_control().unwrap_err().kind, ErrorKind::ControlTotals);
    disagrees_while_reading(export.as_ref(), &counted);
    let (root, _path) = folder("a.csv", b"rrno\n1\n");
    disagrees_while_reading(&CsvConnector::try_new(root.path(), &counted, 8).unwrap(), &counted);
    let (root, path) = folder("a.csv", b"rrno\n1\n");
    let manifested = dataset("format='csv'\npath='a*'\ncontrol={manifest='sha256'}");
    let connector = CsvConnector::try_new(root.path(), &manifested, 8).unwrap();
    assert!(!connector.checks_totals_while_reading(), "a digest is not checked while reading");
    assert_eq!(connector.verify_control().unwrap_err().kind, ErrorKind::ControlTotals);
    std::fs::write(path.with_extension("csv.sha256"), format!("{}  a.csv\n", "0".repeat(64))).unwrap();
    assert!(connector.verify_control().is_err());
    let gz = compress("a.gz", "rrno\n123\n".repeat(999).as_bytes());
    let (root, _path) = folder("a.gz", &gz[..gz.len() - 9]);
    let connector = CsvConnector::try_new(root.path(), &manifested, 1 << 20).unwrap();
    let error = read(&connector, &manifested, &["rrno"], None).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Contract);
    assert!(matches!(connect(root.path(), &counted, NaiveDate::default()).unwrap(), Found::Missing));
}

#[test]
fn a_file_that_breaks_its_contract_says_what_to_do() {
    let check = |export: &str, bytes: &[u8], message: &str| {
        let dataset = dataset(export);
        let (root, path) = folder("a.dat", bytes);
        if message == "manifest does not hold a SHA-256 digest" {
            std::fs::write(path.with_extension("dat.sha256"), "0123  a.dat\n").unwrap();
        }
        let Found::Export(export) = connect(root.path(), &dataset, NaiveDate::default()).unwrap() else { panic!() };
        let read = read(export.as_ref(), &dataset, &["rrno"], None);
        let error = export.verify_control().and(read).unwrap_err();
        assert!(error.message.starts_with(message), "{error}");
        assert!(
            error.hint.is_some() && error.context.iter().any(|(field, _)| ["export", "file"].contains(field)),
            "{error}"
        );
    };
    let csv = |more: &str| format!("format='csv'\npath='a.dat'\n{more}");
    check(&csv(""), b"", "file has no header row");
    check(&csv(""), b"\xFF\xFEr\0", "file starts with the byte order mark of UTF-16");
    check(&csv("encoding='cp949'"), b"\xEF\xBB\xBFrrno\n", "file starts with the byte order mark of UTF-8");
    check(&csv(""), b"name\nx\n", "column `rrno` is missing");
    check(&csv("columns={'number'='rrno'}"), b"name\nx\n", "column `number` (`rrno`) is missing");
    check(&csv(""), b"rrno,rrno\nx,x\n", "column `rrno` stands there twice");
    check(&csv("control={trailer='count'}"), b"rrno\n1\n#TRAILER,1\n2\n", "rows follow the trailer");
    check(&csv("control={manifest='sha256'}"), b"rrno\n1\n", "manifest is missing");
    check(&csv("control={manifest='sha256'}"), b"rrno\n1\n", "manifest does not hold a SHA-256 digest");
    let whole = records("\n", 3, "-000000000000001227");
    check(LAYOUT, &whole[..whole.len() - 81], "trailer record is missing");
    check(LAYOUT, &whole[81..], "file does not start with a header record");
    check(LAYOUT, &[&whole[..78], &whole[79..]].concat(), "header record is shorter");
    check(&LAYOUT.replace("bytes=20", "bytes=90"), &whole, "header declares records of 80 bytes, the layout needs 127");
    check("format='parquet'\npath='a.dat'\ncolumns={'number'='rrno'}", &as_parquet(false), "the export has no column");
}

#[test]
fn a_file_without_its_completion_marker_is_not_delivered_yet() {
    let marked = dataset("format='csv'\npath='a*'\ncontrol={marker='.fin'}");
    let found = |root: &Path| connect(root, &marked, NaiveDate::default()).unwrap();
    for marker in ["a.csv.gz.fin", "a.csv.fin", "a.fin"] {
        let (root, path) = folder("a.csv.gz", &compress("a.csv.gz", b"rrno\n1\n"));
        assert!(matches!(found(root.path()), Found::Unfinished(error) if error.hint.is_some()));
        std::fs::write(path.with_file_name(marker), b"").unwrap();
        let Found::Export(export) = found(root.path()) else { panic!("{marker}") };
        assert_eq!(export.partitions(), ["a.csv.gz"], "a marker is no export");
        std::fs::write(path.with_file_name("a2.csv"), b"rrno\n2\n").unwrap();
        assert!(matches!(found(root.path()), Found::Unfinished(_)), "every file needs one");
    }
}

#[test]
fn a_file_of_other_columns_than_those_written_down_has_drifted() {
    let workbook = as_workbook(true, false);
    let files: [(&str, &str, Vec<u8>, &str, &str); 3] = [
        ("a.csv", "format='csv'", b"rrno,name\n1,2\n".to_vec(), "'rrno','name'", "'rrno','nmae','day'"),
        (
            "a.parquet",
            "format='parquet'",
            as_parquet(true),
            "'unwanted','day: date32','주민','NM','amount: int64'",
            "'day: utf8'",
        ),
        (
            "a.xlsx",
            "format='xlsx'\nsheet={name='1월',header_row=3,header_rows=2}",
            workbook,
            "'주민','구분/amount','구분/day','NM'",
            "'주민'",
        ),
    ];
    for (name, format, bytes, same, other) in files {
        let (root, _path) = folder(name, &bytes);
        let found = |contract: &str| {
            let dataset = dataset(&format!("path='{name}'\n{format}\ncontract=[{contract}]"));
            connect(root.path(), &dataset, NaiveDate::default()).unwrap()
        };
        assert!(matches!(found(same), Found::Export(_)), "{name}");
        let Found::Drifted(error) = found(other) else { panic!("{name}") };
        assert!(error.kind == ErrorKind::Contract && error.hint.is_some(), "{error}");
        assert!(error.context.iter().any(|(field, _)| *field == "column"), "{error}");
    }
}

#[test]
fn the_headers_of_fixed_width_files_tell_whether_they_are_fresh() {
    let mut dataset = dataset(&LAYOUT.replace("a.dat", "*.dat"));
    dataset.validity_days = Some(30);
    let (root, path) = folder("a.dat", &records("\n", 3, "-000000000000001227"));
    let found = |day: u32| connect(root.path(), &dataset, NaiveDate::from_ymd_opt(2026, 11, day).unwrap()).unwrap();
    assert!(matches!(found(30), Found::Export(_)));
    let base = NaiveDate::from_ymd_opt(2026, 10, 31);
    // The other file is one day younger: the oldest one counts.
    let younger =
        String::from_utf8_lossy(&records("\n", 0, "+000000000000000000")[..81]).replace("20261031", "20261101");
    std::fs::write(path.with_file_name("b.dat"), younger + &format!("{:80}\n", "330000000000+000000000000000000"))
        .unwrap();
    let later = connect(root.path(), &dataset, NaiveDate::from_ymd_opt(2026, 12, 1).unwrap()).unwrap();
    assert!(matches!(later, Found::Stale { date, validity_days: 30 } if Some(date) == base));
    // A header without a day proves nothing, and one of another dataset neither.
    for (from, to) in [("20261031", "        "), ("11d ", "11e ")] {
        let text = cp949(&encoding_rs::EUC_KR.decode(&records("\n", 3, "-000000000000001227")).0.replacen(from, to, 1));
        std::fs::write(&path, text).unwrap();
        let Found::Export(export) = found(30) else { panic!("not found") };
        disagrees_while_reading(export.as_ref(), &dataset);
    }
}

#[test]
fn real_files_are_read_or_rejected_row_by_row() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/korean");
    let check = |file: &str, columns: &[&str], read_rows: u64, kept: u64| {
        let dataset = dataset(&format!("format='csv'\nencoding='cp949'\npath='{file}'"));
        let connector = CsvConnector::try_new(&root, &dataset, 1 << 20).unwrap();
        let read = read(&connector, &dataset, columns, None).unwrap();
        assert_eq!((read.counts.read, read.counts.kept), (read_rows, kept));
        assert!(read.rejects.iter().all(|reject| reject.rule == "ragged" && !reject.raw.is_empty()));
    };
    check("제주시_무더위쉼터현황_20150931.csv", &["쉼터명칭", "위치"], 40, 40);
    check("전국도서관표준데이터.csv", &["도서관명", "시도명"], 1756, 386);
}

proptest! {
    #[test]
    fn dirty_csv_is_accounted_for(
        bytes in proptest::collection::vec(prop_oneof![Just(b','), Just(b'"'), Just(b'\n'), Just(b'\r'), any::<u8>()], 0..200),
        chunk in 1_usize..50,
    ) {
        let bytes = [b"1,a,2,20240101\n", &bytes[..]].concat();
        let (root, _path) = folder("a.csv", &bytes);
        let dataset = dataset("format='csv'\nencoding='cp949'\nheader=false\norder=['rrno','name','amount','day']\npath='a.csv'");
        let whole = CsvConnector::try_new(root.path(), &dataset, 1 << 20).unwrap();
        let split = CsvConnector::try_new(root.path(), &dataset, chunk).unwrap();
        let whole = read(&whole, &dataset, &COLUMNS, None).unwrap();
        let split = read(&split, &dataset, &COLUMNS, None).unwrap();
        prop_assert_eq!(whole.rows, split.rows);
        for reject in &whole.rejects {
            let at = usize::try_from(reject.byte_offset).unwrap();
            prop_assert_eq!(&bytes[at..at + reject.raw.len()], &reject.raw[..]);
        }
        prop_assert_eq!(whole.rejects, split.rejects);
    }

    /// Long enough to be passed over in bulk: counts, hits and rejects are those of the same rows read one by one, and
    /// what is turned away is summed.
    #[test]
    fn rows_passed_over_leave_no_trace(
        dirt in proptest::collection::vec((0_usize..4000, prop_oneof![Just(b'"'), Just(b'\n'), Just(b'\r'), Just(b','), any::<u8>()]), 0..8),
        ending in prop_oneof![Just("\n"), Just("\r\n")],
    ) {
        let mut bytes: Vec<u8> =
            (0..150).flat_map(|row| format!("{row},\"a, {row}\",2,20240101{ending}").into_bytes()).collect();
        let length = bytes.len();
        for (at, byte) in dirt {
            bytes[at % length] = byte;
        }
        let (root, _path) = folder("a.csv", &bytes);
        let dataset = dataset("format='csv'\nencoding='cp949'\nheader=false\norder=['rrno','name','amount','day']\npath='a.csv'");
        let keys = Some(&["7", "80", "81", "149"][..]);
        let bulk = CsvConnector::try_new(root.path(), &dataset, 1 << 20).unwrap();
        let bulk = read(&bulk, &dataset, &COLUMNS, keys).unwrap();
        for chunk in [1, 100] {
            let plain = CsvConnector::try_new(root.path(), &dataset, chunk).unwrap();
            let plain = read(&plain, &dataset, &COLUMNS, keys).unwrap();
            prop_assert_eq!(&bulk.rows, &plain.rows);
            prop_assert_eq!(&bulk.rejects, &plain.rejects);
            prop_assert_eq!(bulk.counts, plain.counts);
        }
    }

    #[test]
    fn dirty_records_are_accounted_for(
        dirt in proptest::collection::vec((80_usize..400, any::<u8>()), 0..20),
        ending in prop_oneof![Just("\n"), Just("\r\n"), Just("")],
    ) {
        let mut bytes = records(ending, 3, "-000000000000001227");
        for (at, byte) in dirt {
            let at = at.min(bytes.len() - 1);
            bytes[at] = byte;
        }
        let (root, _path) = folder("a.dat", &bytes);
        let dataset = dataset(LAYOUT);
        let connector = FixedWidthConnector::try_new(root.path(), &dataset, 64).unwrap();
        let whole = FixedWidthConnector::try_new(root.path(), &dataset, 1 << 20).unwrap();
        let verified = connector.verify_control().err().map(|error| (error.kind, error.message));
        for keys in [None, Some(&["900202"][..])] {
            match (read(&connector, &dataset, &COLUMNS, keys), read(&whole, &dataset, &COLUMNS, keys)) {
                (Ok(read), Ok(whole)) => {
                    prop_assert_eq!(&verified, &None);
                    prop_assert_eq!((read.rows, read.rejects, read.counts), (whole.rows, whole.rejects, whole.counts));
                }
                (Err(error), Err(_)) => prop_assert_eq!(&verified, &Some((error.kind, error.message))),
                _ => prop_assert!(false, "the window decides"),
            }
        }
    }
}
