//! Every table of the shared data that is text, JSON or XML, read by the catalog in `tests/shared_data`, against the counts and
//! sums of another reader (`tests/independent/shared_texts.py`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use chrono::NaiveDate;
use ieum_connectors::{Found, connect};
use ieum_core::manifest::sha256_hex;
use ieum_model::catalog::{Catalog, CatalogSource};
use ieum_model::connector::{KeyProbe, ReadCounts, Reject, RejectSink, Repaired, ScanSpec};
use ieum_model::dataset::{Dataset, Encoding, Format};
use ieum_model::error::Result;
use serde_json::Value;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn sources(folder: &Path, below: &str, found: &mut Vec<CatalogSource>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{below}{}", entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            sources(&entry.path(), &format!("{path}/"), found);
        } else {
            found.push(CatalogSource { text: std::fs::read_to_string(entry.path()).unwrap(), path });
        }
    }
}

fn catalog() -> Catalog {
    let mut found = Vec::new();
    sources(&here("shared_data/catalog"), "", &mut found);
    Catalog::parse(&found).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

#[derive(Default)]
struct Kept {
    rejects: Mutex<Vec<Reject>>,
    repaired: Mutex<Vec<Reject>>,
}

impl RejectSink for Kept {
    fn reject(&self, reject: Reject) -> Result<()> {
        self.rejects.lock().unwrap().push(reject);
        Ok(())
    }

    fn repaired(&self, note: Reject) -> Result<Repaired> {
        self.repaired.lock().unwrap().push(note);
        Ok(Repaired::Told)
    }
}

struct Read {
    batches: Vec<RecordBatch>,
    counts: ReadCounts,
    rejects: Vec<Reject>,
    repaired: Vec<Reject>,
}

/// The `key` and the items of a dataset, of every row or of those that `probe` lets pass.
fn read(dataset: &Dataset, probe: Option<Arc<dyn KeyProbe>>) -> Read {
    let Found::Export(connector) = connect(&here("../../shared/data"), dataset, NaiveDate::default()).unwrap() else {
        panic!("no file of {}", dataset.code)
    };
    let names = std::iter::once("key").chain(dataset.items.keys().map(String::as_str));
    let fields: Vec<Field> = names.map(|name| dataset.column_field(name)).collect();
    let kept = Arc::new(Kept::default());
    let rejects: Arc<dyn RejectSink> = Arc::<Kept>::clone(&kept);
    let schema = Arc::new(Schema::new(fields));
    let spec = ScanSpec { schema, key_column: "key".into(), probe, rejects, batch_rows: 1000 };
    let (mut batches, mut counts) = (Vec::new(), ReadCounts::default());
    for partition in 0..connector.partitions().len() {
        let mut reader = connector.open(partition, &spec).unwrap();
        while let Some(batch) = reader.next_batch().unwrap_or_else(|error| panic!("{}: {error}", dataset.code)) {
            batches.push(batch);
        }
        counts += reader.counts();
    }
    connector.verify_control().unwrap();
    assert!(counts.balances(), "{}", dataset.code);
    let take = |rows: &Mutex<Vec<Reject>>| std::mem::take(&mut *rows.lock().unwrap());
    Read { batches, counts, rejects: take(&kept.rejects), repaired: take(&kept.repaired) }
}

/// Digits after the decimal point that sums are made with.
const SCALE: usize = 20;

fn decimal(text: &str) -> i128 {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{whole}{fraction:0<SCALE$}");
    let number: i128 = digits.parse().unwrap_or_else(|_| panic!("{text} is no decimal"));
    if negative { -number } else { number }
}

/// The sum of a number column, in units of the last of [`SCALE`] digits.
fn sum(batches: &[RecordBatch]) -> i128 {
    let of = |batch: &RecordBatch| {
        let column = batch.column_by_name("number").unwrap();
        match column.data_type() {
            DataType::Int64 => {
                column.as_primitive::<Int64Type>().iter().flatten().map(|n| decimal(&n.to_string())).sum::<i128>()
            }
            _ => column.as_string::<i32>().iter().flatten().map(decimal).sum(),
        }
    };
    batches.iter().map(of).sum()
}

/// SHA-256 of the text column as the script makes it.
fn digest(batches: &[RecordBatch]) -> String {
    let mut text = String::new();
    for batch in batches {
        for value in batch.column_by_name("text").unwrap_or(batch.column(0)).as_string::<i32>() {
            text.push_str(value.unwrap_or_default().trim());
            text.push('\n');
        }
    }
    sha256_hex(text.as_bytes())
}

fn expected() -> BTreeMap<String, Value> {
    serde_json::from_slice(&std::fs::read(here("shared_data/expected.json")).unwrap()).unwrap()
}

#[test]
fn every_shared_text_is_read_as_another_reader_reads_it() {
    let (catalog, mut expected) = (catalog(), expected());
    expected.remove("libraries_agreeing");
    assert_eq!(catalog.datasets.len(), expected.len());
    for (code, expected) in expected {
        let dataset = &catalog.datasets[&code];
        let found = read(dataset, None);
        let left_out: Vec<(&str, u64)> = found.rejects.iter().map(|row| (row.rule, row.line)).collect();
        assert_eq!(found.counts.kept, expected["rows"].as_u64().unwrap(), "{code} {left_out:?}");
        assert_eq!(digest(&found.batches), expected["text_sha256"].as_str().unwrap(), "{code}");
        match expected.get("number_sum") {
            Some(number) => assert_eq!(sum(&found.batches), decimal(number.as_str().unwrap()), "{code}"),
            None => assert!(!dataset.items.contains_key("number"), "{code}"),
        }
        if code != "libraries_csv" {
            assert!(found.rejects.is_empty(), "{code} {left_out:?}");
        }
    }
}

/// Some keys of a file.
struct Keys(Vec<Vec<u8>>);

impl KeyProbe for Keys {
    fn may_match(&self, raw_key: &[u8]) -> bool {
        self.0.iter().any(|key| key == raw_key)
    }
}

#[test]
fn a_probe_keeps_what_filtering_afterwards_keeps_of_every_shared_text() {
    for dataset in catalog().datasets.values() {
        let all = read(dataset, None);
        let keys = |batch: &RecordBatch| -> Vec<Option<String>> {
            let keys = batch.column_by_name("key").unwrap().as_string::<i32>();
            keys.iter().map(|key| key.map(|key| key.trim().to_owned())).collect()
        };
        let all_keys: Vec<Option<String>> = all.batches.iter().flat_map(keys).collect();
        let wanted: Vec<String> = all_keys.iter().step_by(97).flatten().take(3).cloned().collect();
        let probe = Keys(wanted.iter().map(|key| key.clone().into_bytes()).collect());
        let hits = read(dataset, Some(Arc::new(probe)));
        let is_wanted = |key: &&Option<String>| key.as_ref().is_some_and(|key| wanted.contains(key));
        let expected: Vec<Option<String>> = all_keys.iter().filter(is_wanted).cloned().collect();
        let found: Vec<Option<String>> = hits.batches.iter().flat_map(keys).collect();
        assert_eq!(found, expected, "{}", dataset.code);
        assert_eq!(hits.counts.read, all.counts.read, "{}", dataset.code);
    }
}

/// The key columns of every library, and how often they come.
fn libraries(found: &Read) -> BTreeMap<Vec<String>, u64> {
    const KEY: [&str; 7] = ["key", "province", "city", "kind", "text", "phone", "as_of"];
    let mut counted = BTreeMap::new();
    for batch in &found.batches {
        for row in 0..batch.num_rows() {
            let cell = |name| {
                let column = batch.column_by_name(name).unwrap().as_string::<i32>();
                if column.is_null(row) { String::new() } else { column.value(row).trim().to_owned() }
            };
            *counted.entry(KEY.map(cell).to_vec()).or_default() += 1;
        }
    }
    counted
}

/// The same rows as a workbook.
fn as_workbook(csv: &Dataset) -> Dataset {
    let mut xls = csv.clone();
    // Numbers with commas have the quotes of the CSV in them: they are no numbers any more.
    xls.items.remove("number");
    let export = xls.export.as_mut().unwrap();
    (export.format, export.encoding, export.repair) = (Format::Xlsx, Encoding::Utf8, Vec::new());
    export.path = export.path.replace(".csv", ".xls");
    xls
}

/// Rows that both have.
fn shared(left: &BTreeMap<Vec<String>, u64>, right: &BTreeMap<Vec<String>, u64>) -> u64 {
    left.iter().map(|(key, count)| *right.get(key).unwrap_or(&0).min(count)).sum()
}

/// 1,756 libraries in three files, two of them broken: every one is read or rejected, those that had to be repaired are told, and
/// those that are read are the same.
#[test]
fn the_libraries_are_accounted_for_and_agree() {
    let catalog = catalog();
    let (csv, xml) = (read(&catalog.datasets["libraries_csv"], None), read(&catalog.datasets["libraries_xml"], None));
    assert_eq!((xml.counts.read, xml.counts.kept), (1756, 1756));
    assert_eq!((xml.repaired.len(), xml.repaired[0].rule), (1756, "empty_elements"));
    assert_eq!((csv.counts.read, csv.counts.kept, csv.rejects.len()), (1756, 1755, 1));
    // A cell that holds a comma in doubled quotes may as well be two empty ones.
    assert_eq!((csv.rejects[0].rule, csv.rejects[0].line), ("ragged", 1507));
    let bytes = std::fs::read(here("../../shared/data/korean/전국도서관표준데이터.csv")).unwrap();
    for row in csv.repaired.iter().chain(&csv.rejects) {
        let at = usize::try_from(row.byte_offset).unwrap();
        assert_eq!(bytes[at..at + row.raw.len()], row.raw[..]);
    }
    let doubled =
        bytes.split(|byte| *byte == b'\n').skip(1).filter(|row| row.windows(2).any(|pair| pair == b"\"\"")).count();
    assert_eq!(csv.repaired.len() + csv.rejects.len(), doubled);
    let (of_csv, of_xml) = (libraries(&csv), libraries(&xml));
    let agreeing = shared(&of_csv, &of_xml);
    assert_eq!(agreeing, expected()["libraries_agreeing"]["rows"].as_u64().unwrap());
    assert_eq!(agreeing, csv.counts.kept);
    let xls = read(&as_workbook(&catalog.datasets["libraries_csv"]), None);
    assert_eq!((xls.counts.read, xls.counts.kept, xls.rejects.len(), xls.repaired.len()), (1756, 1756, 0, 0));
    // Who made the workbook of the CSV left the quotes of its cells in them.
    let of_xls = libraries(&xls);
    assert_eq!(of_xls.keys().filter(|key| key.iter().any(|cell| cell.starts_with('"'))).count(), 76);
    let mut unquoted = BTreeMap::new();
    for (key, count) in of_xls {
        let key: Vec<String> = key.iter().map(|cell| cell.trim_matches('"').trim().to_owned()).collect();
        *unquoted.entry(key).or_default() += count;
    }
    assert_eq!((shared(&unquoted, &of_xml), shared(&unquoted, &of_csv)), (1756, agreeing));
}
