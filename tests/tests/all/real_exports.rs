//! Real files that nobody here wrote, read by catalog files and compared with what other readers find in them
//! (`tests/independent/real_exports.py`), and what `discover` makes of each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use ieum_connectors::discover::{Proposal, discover};
use ieum_connectors::sample::{self, Extent, Sample};
use ieum_connectors::{Found, connect, detect};
use ieum_model::dataset::Dataset;
use serde_json::Value;
use sha2::{Digest, Sha256};

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data")
}

fn exports() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("exports")
}

fn expected() -> BTreeMap<String, Value> {
    serde_json::from_str(&std::fs::read_to_string(exports().join("expected.json")).unwrap()).unwrap()
}

fn read(dataset: &Dataset, item: &str) -> Sample {
    let Found::Export(export) = connect(&data(), dataset, NaiveDate::default()).unwrap() else {
        panic!("{}: no file", dataset.code)
    };
    export.verify_control().unwrap();
    sample::read(export.as_ref(), dataset, &[item.to_owned()], Extent::Rows(usize::MAX)).unwrap()
}

/// The checksums of a text and of a number column; `code` makes an item's code of a column's name.
fn agrees(dataset: &Dataset, expected: &Value, code: impl Fn(&str) -> String) {
    let rows = expected["rows"].as_u64().unwrap();
    if let Some(item) = expected["text"]["item"].as_str() {
        let read = read(dataset, &code(item));
        assert_eq!((read.counts.read, read.counts.kept), (rows, rows), "{}: {item}", dataset.code);
        let mut sum = Sha256::new();
        for row in &read.rows {
            sum.update(row[0].as_deref().unwrap_or("").as_bytes());
            sum.update(b"\n");
        }
        let sum: String = sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(expected["text"]["sha256"], sum, "{}: {item}", dataset.code);
    }
    if let Some(item) = expected["number"]["item"].as_str() {
        let read = read(dataset, &code(item));
        let whole = |cell: &str| cell.replace('.', "").parse::<i128>().unwrap();
        let numbers: Vec<i128> = read.rows.iter().filter_map(|row| row[0].as_deref().map(whole)).collect();
        let number = |field: &str| i128::from(expected["number"][field].as_i64().unwrap());
        assert_eq!(read.counts.read, rows, "{}: {item}", dataset.code);
        assert_eq!(i128::from(read.counts.rejected), number("other"), "{}: {item}", dataset.code);
        assert_eq!(numbers.len() as i128, number("count"), "{}: {item}", dataset.code);
        assert_eq!(numbers.iter().sum::<i128>(), number("sum"), "{}: {item}", dataset.code);
    }
}

#[test]
fn real_workbooks_and_records_are_read_as_other_readers_read_them() {
    let expected = expected();
    let mut checked = 0;
    for entry in std::fs::read_dir(exports()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let dataset: Dataset = toml::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
            agrees(&dataset, &expected[&dataset.code], str::to_owned);
            checked += 1;
        }
    }
    assert_eq!(checked, 5);
}

fn discovered(file: &str) -> Proposal {
    discover(&data().join(file), &|_, _| false).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn real_parquet_files_are_read_by_the_catalog_files_that_discover_makes_of_them() {
    let expected = expected();
    let files: Vec<&String> = expected.keys().filter(|name| name.ends_with(".parquet")).collect();
    assert_eq!(files.len(), 13);
    for file in files {
        let proposal = Proposal { path: file.clone(), ..discovered(file) };
        let code = |name: &str| proposal.columns.iter().find(|column| column.name == name).unwrap().code.clone();
        agrees(&toml::from_str(&proposal.catalog_file("d")).unwrap(), &expected[file], code);
    }
}

/// What `discover` says of a file, in the words of `exports/discover.csv`.
fn told(file: &str) -> [String; 4] {
    let proposal = discovered(file);
    let delimiter = match proposal.delimiter {
        Some(',') => "comma",
        Some('\t') => "tab",
        Some(';') => "semicolon",
        Some(_) => "other",
        None => "",
    };
    let header = match (&proposal.sheet, proposal.header) {
        (Some(sheet), _) => format!("row {}, {} rows", sheet.header_row, sheet.header_rows),
        (None, Some(header)) => if header { "yes" } else { "no" }.to_owned(),
        (None, None) => String::new(),
    };
    let encoding = proposal.encoding.map_or("", detect::name);
    [proposal.format.to_string(), encoding.to_owned(), delimiter.to_owned(), header]
}

#[test]
#[allow(clippy::print_stderr, reason = "how often it is right is what the test is for")]
fn discover_is_right_of_real_files() {
    let truth = std::fs::read_to_string(exports().join("discover.csv")).unwrap();
    let (mut right, mut wrong, mut asked) = ([0; 4], Vec::new(), [0; 4]);
    for line in truth.lines().skip(1) {
        let (file, rest) = line.split_once(',').unwrap();
        let truth: Vec<&str> = rest.splitn(4, ',').collect();
        for (at, (told, truth)) in told(file).iter().zip(truth).enumerate() {
            if truth.is_empty() {
                continue;
            }
            asked[at] += 1;
            if told == truth {
                right[at] += 1;
            } else {
                wrong.push(format!("{file}: {told} for {truth}"));
            }
        }
    }
    for (name, (right, asked)) in ["format", "encoding", "delimiter", "header"].iter().zip(right.iter().zip(asked)) {
        eprintln!("{name:<10} {right:>3} of {asked:>3}");
    }
    assert_eq!((right, asked), ([92, 56, 52, 55], [92, 56, 52, 55]), "{wrong:#?}");
}
