//! The EBCDIC files of the Cobrix project against the output that Cobrix expects of them, cell by cell.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use ieum_model::connector::Connector;
use ieum_model::dataset::{Dataset, Encoding};
use serde_json::Value;

use crate::sample::{self, Extent, Sample};
use crate::{Found, connect, discover};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/fixedwidth/cobrix")
}

/// The dataset that a copybook makes, its fields in the order of the copybook, and its export.
fn opened(copybook: &str, data: &str) -> (Dataset, Vec<String>, Box<dyn Connector>) {
    let text = std::fs::read_to_string(folder().join(copybook)).unwrap();
    let mut proposal = discover::of_copybook(&text, Encoding::Cp037).unwrap();
    proposal.path = data.to_owned();
    let dataset: Dataset = toml::from_str(&proposal.catalog_file("cobrix")).unwrap();
    let Found::Export(export) = connect(&folder(), &dataset, NaiveDate::default()).unwrap() else { panic!("no file") };
    (dataset, proposal.columns.into_iter().map(|column| column.code).collect(), export)
}

fn whole(connector: &dyn Connector, dataset: &Dataset, columns: &[String]) -> Sample {
    sample::read(connector, dataset, columns, Extent::Rows(usize::MAX)).unwrap()
}

fn lines_of_json(file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder().join(file)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn is_same(cell: Option<&str>, expected: &Value) -> bool {
    match (cell, expected) {
        (None, Value::Null) => true,
        (None, Value::String(text)) => text.is_empty(),
        (Some(cell), Value::String(text)) => cell == text,
        (Some(cell), Value::Number(number)) => cell.parse::<f64>().unwrap() == number.as_f64().unwrap(),
        _ => false,
    }
}

#[test]
fn what_occurs_and_what_redefines_is_read_as_expected() {
    let (dataset, columns, export) = opened("test1_copybook.cob", "test1_example.bin");
    let read = whole(export.as_ref(), &dataset, &columns);
    let text = std::fs::read_to_string(folder().join("test1_expected/test1.csv")).unwrap();
    let expected: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!((read.counts.kept, columns.len(), expected[0].len()), (10, 247, 247));
    for (row, expected) in read.rows.iter().zip(&expected[1..]) {
        let row: Vec<&str> = row.iter().map(|cell| cell.as_deref().unwrap_or("")).collect();
        assert_eq!(&row, expected);
    }
}

#[test]
fn binary_amounts_are_read_as_expected() {
    let (dataset, columns, export) = opened("test3_copybook.cob", "test3_TRAN2.AUG31.DATA.dat");
    let read = whole(export.as_ref(), &dataset, &columns);
    // Of the 1,000 records the first 60 are expected.
    assert_eq!((read.counts.read, read.counts.kept), (1000, 1000));
    let expected = lines_of_json("test3_expected/test3.txt");
    assert_eq!(expected.len(), 60);
    for (row, expected) in read.rows.iter().zip(&expected) {
        for (column, cell) in columns.iter().zip(row) {
            let expected = &expected[column.to_ascii_uppercase()];
            assert!(is_same(cell.as_deref(), expected), "{column}: {cell:?} {expected}");
        }
    }
}

/// What is no number is a reject, of which Cobrix makes an absent value; an amount that is blank is absent, of which Cobrix
/// makes 0.00.
#[test]
fn displayed_numbers_are_read_as_expected() {
    let (dataset, columns, export) = opened("test19_display_num.cob", "test19_display_num/data.dat");
    let expected = lines_of_json("test19_display_num_expected/test19.txt");
    let mut rejected = Vec::new();
    for column in &columns {
        let read = whole(export.as_ref(), &dataset, std::slice::from_ref(column));
        assert_eq!((read.counts.read, expected.len()), (7, 7));
        let lines: Vec<u64> = read.rejects.iter().map(|reject| reject.line).collect();
        let kept = expected.iter().zip(1..).filter(|(_, line)| !lines.contains(line));
        for (row, (expected, line)) in read.rows.iter().zip(kept) {
            let expected = &expected[column.to_ascii_uppercase()];
            let is_blank_amount = (column.as_str(), line) == ("ws_amount_fraction", 6) && row[0].is_none();
            assert!(
                is_same(row[0].as_deref(), expected) || is_blank_amount,
                "{column} {line}: {:?} {expected}",
                row[0]
            );
        }
        for line in lines {
            assert_eq!(expected[line as usize - 1][column.to_ascii_uppercase()], Value::Null);
            rejected.push((column.clone(), line));
        }
    }
    let told: Vec<(&str, u64)> = rejected.iter().map(|(column, line)| (column.as_str(), *line)).collect();
    assert_eq!(told, [("ws_date_num", 7), ("ws_amount_numeric", 7), ("ws_amount_fraction", 7)]);
}
