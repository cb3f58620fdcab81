//! The health night over real Synthea and OMOP exports: every line's count against one made without the engine.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output};

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn ieum(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ieum")).current_dir(root()).args(arguments).output().unwrap()
}

/// `request_id,dataset,records` of every outcome, sorted.
fn counted(outcomes: &Path) -> Vec<String> {
    let reader = SerializedFileReader::new(File::open(outcomes).unwrap()).unwrap();
    let schema = reader.metadata().file_metadata().schema_descr();
    let at = |name: &str| schema.columns().iter().position(|column| column.name() == name).unwrap();
    let [request, dataset, outcome, records] = ["request_id", "dataset", "outcome", "records"].map(at);
    let line = |row: parquet::record::Row| {
        let count = row.get_ulong(records).unwrap();
        let expected = if count == 0 { "not_found" } else { "provided" };
        assert_eq!(row.get_string(outcome).unwrap(), expected);
        format!("{},{},{count}", row.get_string(request).unwrap(), row.get_string(dataset).unwrap())
    };
    let mut lines: Vec<String> = reader.get_row_iter(None).unwrap().map(|row| line(row.unwrap())).collect();
    lines.sort();
    lines
}

#[test]
fn the_health_night_answers_every_line_with_the_count_made_without_the_engine() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let run = ieum(&["run", "sample-data/synthea.toml", "--out", out]);
    assert_eq!(run.status.code(), Some(0), "{}", String::from_utf8_lossy(&run.stderr));
    let committed = folder.path().join("2026-11-22");
    let expected = fs::read_to_string(root().join("sample-data/synthea/expected_counts.csv")).unwrap();
    let mut expected: Vec<String> = expected.lines().skip(1).map(str::to_owned).collect();
    expected.sort();
    assert!(expected.len() > 1000, "{} lines", expected.len());
    assert_eq!(counted(&committed.join("outcomes.parquet")), expected);
    assert_eq!(ieum(&["verify", committed.to_str().unwrap()]).status.code(), Some(0));
}

#[test]
fn the_health_catalog_is_whole() {
    let checked = ieum(&["catalog", "check", "sample-data/synthea/catalog"]);
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stderr));
}
