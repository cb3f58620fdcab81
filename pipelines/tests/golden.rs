//! The cases of `tests/golden/`: a whole night each, compared with what was worked out by hand.
//!
//! `IEUM_BLESS=1` rewrites `expected/`; check it against `WHY.md` before you keep it.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use arrow::array::{Array, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

#[test]
fn lines_depend_on_applicant_consent_and_what_was_found() {
    check("conditional_lines");
}

#[test]
fn what_old_systems_write_is_read_as_it_was_meant() {
    check("legacy_files");
}

#[test]
fn a_person_leads_to_businesses_and_they_to_corporations() {
    check("person_business_corporation");
}

#[test]
fn the_date_decides_what_is_due_withdrawn_expired_or_still_open() {
    check("calendar_and_carried_over");
}

/// Runs the case and compares what it wrote, told as text, with `expected/`.
fn check(name: &str) {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("tests/golden").join(name);
    let folder = tempfile::tempdir().unwrap();
    let run = ieum(&["run", case.join("night.toml").to_str().unwrap(), "--out", folder.path().to_str().unwrap()]);
    let committed = folder.path().join("2026-11-22");
    assert!(committed.is_dir(), "{}", String::from_utf8_lossy(&run.stderr));
    let verified = ieum(&["verify", committed.to_str().unwrap()]);
    assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stderr));

    let mut written = files(&committed);
    written.retain(|path, _| ["bundles/", "rejects/", "outcomes.csv"].iter().any(|kept| path.starts_with(kept)));
    written.insert("exit".to_owned(), format!("{}\n", run.status.code().unwrap()).into_bytes());
    let expected = case.join("expected");
    if std::env::var_os("IEUM_BLESS").is_some_and(|bless| bless == "1") {
        bless(&expected, &written);
    }
    let expected = files(&expected);
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&written), names(&expected), "{name}");
    for (path, bytes) in &written {
        let text = String::from_utf8_lossy(bytes);
        assert!(*bytes == expected[path], "{name}: {path}\n{text}\nbut expected\n{}", told(&expected[path]));
    }
}

fn ieum(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ieum")).args(arguments).output().unwrap()
}

fn told(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn bless(expected: &Path, written: &BTreeMap<String, Vec<u8>>) {
    if expected.exists() {
        fs::remove_dir_all(expected).unwrap();
    }
    for (path, bytes) in written {
        let path = expected.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// Every file below `root` by its path; Parquet as text, so that a new writer version changes nothing.
fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let (path, bytes) = as_text(path);
            found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), bytes);
        }
    }
    found
}

fn as_text(path: PathBuf) -> (PathBuf, Vec<u8>) {
    if path.extension().is_none_or(|extension| extension != "parquet") {
        let bytes = fs::read(&path).unwrap();
        return (path, bytes);
    }
    if path.ends_with("outcomes.parquet") {
        (path.with_extension("csv"), csv(&path).into_bytes())
    } else {
        (path.with_extension("parquet.txt"), rows(&path).into_bytes())
    }
}

fn batches(path: &Path) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap();
    reader.build().unwrap().map(Result::unwrap).collect()
}

/// A header and a line for each row; no value of an outcome has a comma in it.
fn csv(path: &Path) -> String {
    let mut text = String::new();
    for batch in batches(path) {
        if text.is_empty() {
            let names: Vec<_> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
            writeln!(text, "{}", names.join(",")).unwrap();
        }
        for row in 0..batch.num_rows() {
            let cells: Vec<_> = batch.columns().iter().map(|column| cell(column.as_ref(), row, "")).collect();
            writeln!(text, "{}", cells.join(",")).unwrap();
        }
    }
    text
}

/// `name: value` of every column, and a blank line after each row.
fn rows(path: &Path) -> String {
    let mut text = String::new();
    for batch in batches(path) {
        for row in 0..batch.num_rows() {
            for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
                writeln!(text, "{}: {}", field.name(), cell(column.as_ref(), row, "null")).unwrap();
            }
            text.push('\n');
        }
    }
    text
}

fn cell(column: &dyn Array, row: usize, null: &str) -> String {
    let options = FormatOptions::new().with_null(null);
    ArrayFormatter::try_new(column, &options).unwrap().value(row).to_string()
}
