//! The behaviours that every connector passes, whatever the format, encoding, line end and compression.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use ieum_model::connector::{Connector, KeyProbe, ReadCounts, Reject, RejectSink, Repaired, ScanSpec, Strays};
use ieum_model::dataset::Dataset;
use ieum_model::error::{ErrorKind, Result};

use crate::csv::reader::CsvConnector;
use crate::fixed_width::reader::FixedWidthConnector;
use crate::records::reader::RecordsConnector;
use crate::staged::tests::Staged;

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

pub(crate) fn strays_of(reject: &Reject) -> String {
    let keys: Vec<String> = reject.strays.keys.iter().map(|key| String::from_utf8(key.clone()).unwrap()).collect();
    keys.join(" and ")
}

/// Reading to the end says what `verify_control` says, with or without a probe, and never hands on the last batch.
pub(crate) fn disagrees_while_reading(connector: &dyn Connector, dataset: &Dataset) {
    assert!(connector.checks_totals_while_reading());
    let verified = connector.verify_control().unwrap_err();
    for keys in [None, Some(&["nobody"][..])] {
        let read = read(connector, dataset, &["rrno"], keys).unwrap_err();
        assert_eq!((read.kind, &read.message), (ErrorKind::ControlTotals, &verified.message));
    }
}
