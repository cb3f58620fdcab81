//! A copy answers as its export does, or is not used.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use chrono::NaiveDate;
use ieum_model::connector::{Connector, KeyProbe, ReadCounts};
use ieum_model::dataset::Dataset;
use ieum_model::error::ErrorKind;
use parquet::arrow::ArrowWriter;
use proptest::prelude::*;
use tempfile::TempDir;

use super::{Made, Making, Standing, Use, make};
use crate::contract::{COLUMNS, LAYOUT, Read, dataset, folder, read_with, records, spell, wanted};
use crate::{Found, connect};

/// Enough for every test; a copy that has to spill is made with less.
const MEMORY: u64 = 64 << 20;

/// A copy and its connector.
pub(crate) struct Staged {
    pub(crate) connector: Box<dyn Connector>,
    copies: TempDir,
    told: Arc<Mutex<Vec<String>>>,
}

fn stage(root: &Path, copies: &Path, dataset: &Dataset, memory: u64) -> ieum_model::error::Result<Made> {
    let making = Making { exports: &root.into(), copies, on: NaiveDate::default(), memory, canonical: &spell };
    make(dataset, &making)
}

fn find(root: &Path, copies: &Path, dataset: &Dataset) -> (Box<dyn Connector>, Standing, Arc<Mutex<Vec<String>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let damaged = Arc::new(move |text| tell.lock().unwrap().push(text));
    let copies = Use { folder: copies.to_owned(), check_all: false, damaged };
    match super::connect(root, dataset, NaiveDate::default(), &copies).unwrap() {
        (Found::Export(connector), standing) => (connector, standing, told),
        _ => panic!("the export is missing"),
    }
}

impl Staged {
    pub(crate) fn of(root: &Path, dataset: &Dataset) -> Self {
        Self::with_memory(root, dataset, MEMORY)
    }

    fn with_memory(root: &Path, dataset: &Dataset, memory: u64) -> Self {
        let copies = tempfile::tempdir().unwrap();
        assert!(matches!(stage(root, copies.path(), dataset, memory).unwrap(), Made::Written(_)));
        let (connector, standing, told) = find(root, copies.path(), dataset);
        assert_eq!(standing, Standing::Fresh);
        Self { connector, copies, told }
    }

    fn files(&self, dataset: &Dataset) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.copies.path().join(&dataset.code)).unwrap();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }
}

fn export(root: &Path, dataset: &Dataset) -> Box<dyn Connector> {
    match connect(root, dataset, NaiveDate::default()).unwrap() {
        Found::Export(connector) => connector,
        _ => panic!("the export is missing"),
    }
}

/// Rows and rejects in one order, and the counts but bytes.
fn arranged(mut read: Read) -> (Vec<String>, Vec<String>, ReadCounts) {
    read.rows.sort_unstable();
    let mut rejects: Vec<String> = read.rejects.iter().map(|reject| format!("{reject:?}")).collect();
    rejects.sort_unstable();
    (read.rows, rejects, ReadCounts { bytes: 0, ..read.counts })
}

/// Reads both in every way that a night may, and compares.
fn same(export: &dyn Connector, copy: &dyn Connector, dataset: &Dataset, keys: &[&str]) {
    let probes: [Option<Arc<dyn KeyProbe>>; 4] =
        [None, Some(wanted(keys, false)), Some(wanted(keys, true)), Some(wanted(&[], true))];
    for probe in probes {
        for names in [&COLUMNS[..], &["rrno"], &["day", "rrno"], &["amount", "name", "rrno"]] {
            let expected = read_with(export, dataset, names, "rrno", probe.clone()).unwrap();
            let found = read_with(copy, dataset, names, "rrno", probe.clone()).unwrap();
            assert_eq!(arranged(found), arranged(expected), "{names:?}");
        }
    }
}

/// Whether the export gets a copy that answers as it does; one that breaks its promises gets none.
fn is_staged_right(root: &Path, dataset: &Dataset, keys: &[&str]) -> bool {
    let export = export(root, dataset);
    let copies = tempfile::tempdir().unwrap();
    match stage(root, copies.path(), dataset, MEMORY) {
        Ok(_) => {
            let (copy, standing, told) = find(root, copies.path(), dataset);
            assert_eq!(standing, Standing::Fresh);
            same(export.as_ref(), copy.as_ref(), dataset, keys);
            assert_eq!(*told.lock().unwrap(), Vec::<String>::new());
            true
        }
        Err(error) => {
            assert!(matches!(error.kind, ErrorKind::Contract | ErrorKind::ControlTotals), "{error}");
            assert!(read_with(export.as_ref(), dataset, &COLUMNS, "rrno", None).is_err());
            false
        }
    }
}

const CSV: &str = "format='csv'\nheader=false\norder=['rrno','name','amount','day']\npath='a.csv'\n";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_copy_of_a_dirty_csv_answers_as_the_csv_does(
        rows in proptest::collection::vec((0_u8..6, 0_usize..8), 0..30),
        dirt in proptest::collection::vec((any::<proptest::sample::Index>(), prop_oneof![
            Just(b'"'), Just(b'\n'), Just(b','), any::<u8>()]), 0..6),
        encoding in prop_oneof![Just("cp949"), Just("utf8")],
    ) {
        const ENDS: [&str; 8] =
            ["a,2,20240101", ",,", "b,x,20240101", "b,1,never", "c,x,never", "d,1", "\"e, e\",-3,2024-02-29", "f,1,,"];
        let mut bytes: Vec<u8> = rows.iter().flat_map(|(key, end)| format!("1-{key},{}\n", ENDS[*end]).into_bytes()).collect();
        for (at, byte) in dirt.iter().filter(|_| !rows.is_empty()) {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        let (root, _path) = folder("a.csv", &bytes);
        let dataset = dataset(&format!("{CSV}encoding='{encoding}'"));
        let staged = is_staged_right(root.path(), &dataset, &["11", "13", "15"]);
        // A file of no byte tells nothing, so there is nothing to copy.
        prop_assert_eq!(staged, !rows.is_empty());
    }

    #[test]
    fn a_copy_of_dirty_records_answers_as_they_do(
        dirt in proptest::collection::vec((80_usize..400, any::<u8>()), 0..12),
        ending in prop_oneof![Just("\n"), Just("")],
    ) {
        let mut bytes = records(ending, 3, "-000000000000001227");
        for (at, byte) in dirt {
            let at = at.min(bytes.len() - 1);
            bytes[at] = byte;
        }
        let (root, _path) = folder("a.dat", &bytes);
        is_staged_right(root.path(), &dataset(LAYOUT), &["800101", "900202"]);
    }
}

#[test]
fn a_row_whose_key_is_no_text_is_rejected_whoever_is_asked_for() {
    let mut bytes = records("\n", 3, "-000000000000001227");
    bytes[81 * 3 + 13] = 128;
    let (root, _path) = folder("a.dat", &bytes);
    assert!(is_staged_right(root.path(), &dataset(LAYOUT), &["800101"]));
}

#[test]
fn a_key_that_is_cut_within_a_character_is_probed_as_it_is_read() {
    let mut bytes = records("\n", 3, "-000000000000001227");
    bytes[81 + 13 + 5] = 0xEC;
    let (root, _path) = folder("a.dat", &bytes);
    for encoding in ["cp949", "utf8"] {
        let dataset = dataset(&LAYOUT.replace("cp949", encoding));
        assert!(is_staged_right(root.path(), &dataset, &["80010", "900202"]));
        let (export, probe) = (export(root.path(), &dataset), Some(wanted(&["80010"], true)));
        let read = read_with(export.as_ref(), &dataset, &["rrno", "amount"], "rrno", probe).unwrap();
        assert_eq!(read.rows, ["80010|-1234"], "{encoding}");
    }
}

/// A CSV of one row for each of `people`, in no order.
fn register(people: u64) -> Vec<u8> {
    let row = |at: u64| {
        let person = at * 7919 % people;
        format!("{person:08},name of {person},{},2024-02-29\n", person % 97)
    };
    (0..people).flat_map(|at| row(at).into_bytes()).collect()
}

#[test]
fn what_is_read_follows_the_wanted_keys_and_not_the_rows() {
    let keys: Vec<String> = (0..10).map(|at| format!("{:08}", at * 997)).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let read = |people: u64| {
        let (root, _path) = folder("a.csv", &register(people));
        let dataset = dataset(CSV);
        let staged = Staged::of(root.path(), &dataset);
        let found =
            read_with(staged.connector.as_ref(), &dataset, &COLUMNS, "rrno", Some(wanted(&keys, true))).unwrap();
        assert_eq!((found.rows.len(), found.counts.read), (10, people));
        let whole = read_with(staged.connector.as_ref(), &dataset, &COLUMNS, "rrno", None).unwrap();
        (found.counts.bytes, whole.counts.bytes)
    };
    let ((few, few_whole), (many, many_whole)) = (read(10_000), read(100_000));
    assert!(many_whole > 9 * few_whole);
    assert!(2 * many <= 3 * few, "ten times the people, the same keys: {many} bytes instead of {few}");
    // Ten keys, one page each of five columns, of at most three blocks.
    assert!(many < 10 * 5 * 3 * 4096, "{many}");
}

#[test]
fn of_many_wanted_keys_those_that_are_there_are_found() {
    let (root, _path) = folder("a.csv", &register(70_000));
    let dataset = dataset(CSV);
    let staged = Staged::of(root.path(), &dataset);
    // So many that the bloom filter is asked; every second is absent, the last ones are beyond any key.
    let keys: Vec<String> = (0..8000).flat_map(|at| [format!("{:08}", at * 11), format!("{:08}x", at * 11)]).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let probe = Some(wanted(&keys, true));
    let found = read_with(staged.connector.as_ref(), &dataset, &COLUMNS, "rrno", probe.clone()).unwrap();
    assert_eq!(found.rows.len(), 70_000_usize.div_ceil(11));
    let expected = read_with(export(root.path(), &dataset).as_ref(), &dataset, &COLUMNS, "rrno", probe).unwrap();
    assert_eq!(arranged(found), arranged(expected));
}

#[test]
fn memory_decides_nothing_about_a_copy() {
    let (root, _path) = folder("a.csv", &[&register(20_000)[..], b"7,x,y,z\n7,,,\n,,,\n7\n"].concat());
    let dataset = dataset(CSV);
    let (roomy, tight) = (Staged::of(root.path(), &dataset), Staged::with_memory(root.path(), &dataset, 200 << 10));
    let contents = |staged: &Staged| {
        staged
            .files(&dataset)
            .iter()
            .map(|path| (path.file_name().unwrap().to_owned(), fs::read(path).unwrap()))
            .collect::<Vec<_>>()
    };
    assert!(contents(&roomy) == contents(&tight), "one of them was merged from runs");
    same(export(root.path(), &dataset).as_ref(), tight.connector.as_ref(), &dataset, &["7", "00000100", "00019999"]);
}

#[test]
fn a_second_time_nothing_is_written_unless_something_changed() {
    let (root, path) = folder("a.csv", b"1,a,2,20240101\n");
    let dataset = dataset(CSV);
    let copies = tempfile::tempdir().unwrap();
    let again = || stage(root.path(), copies.path(), &dataset, MEMORY).unwrap();
    let standing = |dataset: &Dataset| find(root.path(), copies.path(), dataset).1;
    assert_eq!(standing(&dataset), Standing::None);
    assert!(matches!(again(), Made::Written(_)));
    assert!(matches!(again(), Made::Fresh(sizes) if sizes.rows == 1));
    let about = fs::metadata(&path).unwrap();
    fs::write(&path, "1,b,2,20240101\n").unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(about.modified().unwrap()).unwrap();
    assert!(matches!(standing(&dataset), Standing::Unusable(why) if why.contains("`a.csv`")), "same size and time");
    assert!(matches!(again(), Made::Written(_)));
    assert_eq!(standing(&dataset), Standing::Fresh);
    let mut other = dataset.clone();
    other.items.get_mut("name").unwrap().list = true;
    assert!(matches!(standing(&other), Standing::Unusable(why) if why.contains("contract")));
    fs::write(root.path().join("a.csv"), "1,b,2,20240101\n2,,,\n").unwrap();
    assert!(matches!(standing(&dataset), Standing::Unusable(_)));
}

#[test]
fn a_damaged_block_is_never_believed() {
    let (root, _path) = folder("a.csv", &[&register(3000)[..], b"x,x,y,z\n00000007,b,x,20240101\n7\n"].concat());
    let dataset = dataset(CSV);
    let export = export(root.path(), &dataset);
    let staged = Staged::of(root.path(), &dataset);
    let mut fell_back = 0;
    for path in staged.files(&dataset) {
        let bytes = fs::read(&path).unwrap();
        for at in (7..bytes.len()).step_by(4096).chain([bytes.len() - 3]) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x40;
            fs::write(&path, &damaged).unwrap();
            let (connector, standing, told) = find(root.path(), staged.copies.path(), &dataset);
            same(export.as_ref(), connector.as_ref(), &dataset, &["00000007", "00001500"]);
            fell_back += usize::from(standing != Standing::Fresh || !told.lock().unwrap().is_empty());
        }
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let (connector, ..) = find(root.path(), staged.copies.path(), &dataset);
        same(export.as_ref(), connector.as_ref(), &dataset, &["00000007", "00001500"]);
        fs::write(&path, &bytes).unwrap();
    }
    assert!(fell_back > 20, "{fell_back}");
    assert!(staged.told.lock().unwrap().is_empty());
    fs::remove_file(&staged.files(&dataset)[0]).unwrap();
    same(export.as_ref(), staged.connector.as_ref(), &dataset, &["00000007"]);
    let mended = stage(root.path(), staged.copies.path(), &dataset, MEMORY).unwrap();
    assert!(matches!(mended, Made::Written(_)));
}

#[test]
fn an_export_that_fails_its_totals_gets_no_copy() {
    let counted = dataset("format='csv'\npath='a.csv'\ncontrol={trailer='count'}");
    let (root, _path) = folder("a.csv", b"rrno,name,amount,day\n1,,,\n#TRAILER,2\n");
    let copies = tempfile::tempdir().unwrap();
    let failed = stage(root.path(), copies.path(), &counted, MEMORY).unwrap_err();
    assert_eq!(failed.kind, ErrorKind::ControlTotals);
    assert_eq!(fs::read_dir(copies.path()).unwrap().count(), 0);
    let manifested = dataset("format='csv'\npath='a.csv'\ncontrol={manifest='sha256'}");
    assert_eq!(stage(root.path(), copies.path(), &manifested, MEMORY).unwrap_err().kind, ErrorKind::ControlTotals);
}

#[test]
fn a_column_that_the_export_lacks_troubles_only_who_asks_for_it() {
    let (root, _path) = folder("a.csv", b"rrno,name,day\n1,a,20240101\n2,b,20240102\n");
    let dataset = dataset("format='csv'\npath='a.csv'");
    let staged = Staged::of(root.path(), &dataset);
    let read =
        |names: &[&str]| read_with(staged.connector.as_ref(), &dataset, names, "rrno", Some(wanted(&["2"], true)));
    assert_eq!(read(&["rrno", "name"]).unwrap().rows, ["2|b"]);
    let missing = read(&["rrno", "amount"]).unwrap_err();
    assert!(missing.kind == ErrorKind::Contract && missing.message.contains("`amount`"), "{missing}");
}

#[test]
fn a_copy_of_a_parquet_export_answers_as_it_does() {
    let folder = tempfile::tempdir().unwrap();
    for (file, rows) in [("a.parquet", 0..700_i64), ("b.parquet", 700..1000)] {
        let key: ArrayRef =
            Arc::new(rows.clone().map(|row| (row % 50 != 9).then_some(row % 50)).collect::<Int64Array>());
        let name: ArrayRef = Arc::new(StringArray::from_iter_values(rows.clone().map(|row| format!("name {row}"))));
        let amount = |row| if row % 41 == 3 { 0.5 } else { 2.0 };
        let amount: ArrayRef = Arc::new(Float64Array::from_iter_values(rows.clone().map(amount)));
        let day = |row| if row % 67 == 5 { "2024-02-30" } else { "20240229" };
        let day: ArrayRef = Arc::new(StringArray::from_iter_values(rows.map(day)));
        let columns = [("rrno", key), ("name", name), ("amount", amount), ("day", day)];
        let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap();
        let mut writer =
            ArrowWriter::try_new(fs::File::create(folder.path().join(file)).unwrap(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }
    let dataset = dataset("format='parquet'\npath='*.parquet'");
    assert!(is_staged_right(folder.path(), &dataset, &["3", "17", "44", "99"]));
}
