//! The README's commands on the shipped sample: exit codes, the summary line, and verification.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output};

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;

fn ieum(arguments: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    Command::new(env!("CARGO_BIN_EXE_ieum")).current_dir(root).args(arguments).output().unwrap()
}

/// Dataset, outcome and number of records of every line, by request.
fn lines(outcomes: &Path) -> BTreeMap<String, BTreeSet<(String, String, u64)>> {
    let reader = SerializedFileReader::new(File::open(outcomes).unwrap()).unwrap();
    let schema = reader.metadata().file_metadata().schema_descr();
    let at = |name: &str| schema.columns().iter().position(|column| column.name() == name).unwrap();
    let [request, dataset, outcome, records] = ["request_id", "dataset", "outcome", "records"].map(at);
    let mut found = BTreeMap::<String, BTreeSet<_>>::new();
    for row in reader.get_row_iter(None).unwrap() {
        let row = row.unwrap();
        let text = |at| row.get_string(at).unwrap().clone();
        let line = (text(dataset), text(outcome), row.get_ulong(records).unwrap());
        found.entry(text(request)).or_default().insert(line);
    }
    found
}

#[test]
fn a_number_from_before_its_change_finds_what_the_new_one_finds() {
    let folder = tempfile::tempdir().unwrap();
    ieum(&["run", "sample-data/nightly.toml", "--out", folder.path().to_str().unwrap()]);
    let lines = lines(&folder.path().join("2026-11-22/outcomes.parquet"));
    let of = |number: &str| &lines[&format!("R20261122-{number}")];
    // One person asks twice, by the former number and by the new one; the roster has the new, nhis the former one.
    for (former, new) in [("00000044", "00000175"), ("00000100", "00000196")] {
        assert_eq!(of(former), of(new));
        for (dataset, records) in [("resident_register_abstract", 1), ("nhis_eligibility_history", 4)] {
            assert!(of(new).contains(&(dataset.to_owned(), "provided".to_owned(), records)), "{:?}", of(new));
        }
    }
}

/// Copies a folder as it was cloned: without outputs of earlier runs.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true if entry.file_name() == "out" => {}
            true => copy(&entry.path(), &to),
            false => _ = fs::copy(entry.path(), to).unwrap(),
        }
    }
}

#[test]
fn both_nights_run_one_after_the_other_as_they_are_shipped() {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    copy(&root.join("sample-data"), &folder.path().join("sample-data"));
    for (definition, code) in [("nightly.toml", 3), ("synthea.toml", 0)] {
        let mut run = Command::new(env!("CARGO_BIN_EXE_ieum"));
        let run = run.current_dir(folder.path()).args(["run", &format!("sample-data/{definition}")]).output().unwrap();
        assert_eq!(run.status.code(), Some(code), "{definition}: {}", String::from_utf8_lossy(&run.stderr));
    }
}

#[test]
fn the_korean_night_commits_with_its_planted_faults_and_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let mut digests = Vec::new();
    for threads in ["1", "2"] {
        let out = folder.path().join(threads);
        let out = out.to_str().unwrap();
        let run = ieum(&["run", "sample-data/nightly.toml", "--out", out, "--threads", threads, "--output", "json"]);
        assert_eq!(run.status.code(), Some(3), "{}", String::from_utf8_lossy(&run.stderr));
        let stdout = String::from_utf8(run.stdout).unwrap();
        let summary: serde_json::Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
        let count = |name: &str| summary[name].as_u64().unwrap();
        assert_eq!(count("requests"), 200);
        assert_eq!(count("requests"), count("delivered") + count("partial") + count("refused") + count("delayed"));
        assert_eq!(count("rows_read"), count("rows_kept") + count("rows_filtered") + count("rows_rejected"));
        assert!(count("partial") > 0 && count("refused") > 0 && count("rows_rejected") > 0);
        assert!(count("delivered") > 100, "most holders delivered");
        for fault in ["holder `mpva` is left out", "`medication_history` is delayed"] {
            let told = String::from_utf8_lossy(&run.stderr);
            assert!(told.contains(fault), "{told}");
        }
        digests.push(summary["run_digest"].clone());
    }
    assert_eq!(digests[0], digests[1]);
    let committed = folder.path().join("1/2026-11-22");
    let expected = "sample-data/expected/outcomes.parquet";
    let verified = ieum(&["verify", committed.to_str().unwrap(), "--expected", expected]);
    assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stderr));
    let outcomes = committed.join("outcomes.parquet");
    let mut bytes = fs::read(&outcomes).unwrap();
    bytes[100] ^= 1;
    fs::write(&outcomes, bytes).unwrap();
    assert_eq!(ieum(&["verify", committed.to_str().unwrap()]).status.code(), Some(20));
}

#[test]
fn the_shipped_catalog_is_whole() {
    let checked = ieum(&["catalog", "check", "sample-data/catalog"]);
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stderr));
}
