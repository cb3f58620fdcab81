//! The same requests as CSV, JSON lines and Parquet give the same bundles.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, StringArray};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use serde_json::{Map, Value};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Cells of a line; a quoted one holds no quote and no line end.
fn cells(line: &str) -> Vec<String> {
    let mut quoted = false;
    let is_delimiter = |c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    };
    line.split(is_delimiter).map(|cell| cell.trim_matches('"').to_owned()).collect()
}

/// Header and rows of the sample's requests.
fn requests() -> (Vec<String>, Vec<Vec<String>>) {
    let text = fs::read_to_string(repository().join("sample-data/requests/requests.csv")).unwrap();
    assert!(!text.contains("\"\""), "no quote in a cell");
    let mut lines = text.trim_start_matches('\u{feff}').lines().map(cells);
    (lines.next().unwrap(), lines.collect())
}

/// Lists as arrays, truth as a boolean, blanks left out: what a JSON writer would do.
fn json_lines(header: &[String], rows: &[Vec<String>]) -> String {
    let value = |name: &str, cell: &str| match (name, cell) {
        ("verified" | "agent_confirmed" | "periodic", truth) => Value::Bool(truth == "true"),
        ("consented_documents" | "subject_ids", list) => {
            Value::Array(list.split(';').map(|part| Value::String(part.to_owned())).collect())
        }
        ("retention_days", days) => days.parse::<u64>().map_or(Value::Null, Value::from),
        (_, text) => Value::String(text.to_owned()),
    };
    let object = |row: &Vec<String>| -> String {
        let cells = header.iter().zip(row).filter(|(_, cell)| !cell.is_empty());
        let object: Map<String, Value> = cells.map(|(name, cell)| (name.clone(), value(name, cell))).collect();
        Value::Object(object).to_string() + "\n"
    };
    rows.iter().map(object).collect()
}

fn write_parquet(header: &[String], rows: &[Vec<String>], path: &Path) {
    let column = |at: usize| -> ArrayRef {
        if header[at] == "verified" {
            Arc::new(rows.iter().map(|row| Some(row[at] == "true")).collect::<BooleanArray>())
        } else {
            Arc::new(
                rows.iter().map(|row| Some(row[at].as_str()).filter(|cell| !cell.is_empty())).collect::<StringArray>(),
            )
        }
    };
    let columns = header.iter().enumerate().map(|(at, name)| (name.as_str(), column(at), true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Output of the sample night with its requests read from `requests`.
fn run(folder: &Path, requests: &Path) -> PathBuf {
    let sample = repository().join("sample-data");
    let definition = fs::read_to_string(sample.join("nightly.toml")).unwrap();
    let absolute =
        |text: String, part: &str| text.replace(&format!("\"{part}"), &format!("\"{}/{part}", sample.display()));
    let definition = definition.replace("\"requests/requests.csv\"", &format!("\"{}\"", requests.display()));
    let definition = ["catalog", "exports", "requests/withdrawals", "keys/"].into_iter().fold(definition, absolute);
    let night = requests.with_extension("toml");
    fs::write(&night, definition).unwrap();
    let out = folder.join(requests.extension().unwrap());
    let run = Command::new(env!("CARGO_BIN_EXE_ieum"))
        .args(["run", night.to_str().unwrap(), "--out", out.to_str().unwrap(), "-q"])
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(3), "{}", String::from_utf8_lossy(&run.stderr));
    out.join("2026-11-22")
}

/// Bundle files of [`run`].
fn bundles(folder: &Path, requests: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for recipient in fs::read_dir(run(folder, requests).join("bundles/packed")).unwrap() {
        for file in fs::read_dir(recipient.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            files.insert(path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap());
        }
    }
    files
}

#[test]
fn requests_are_the_same_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let (header, rows) = requests();
    let name = |ending: &str| folder.path().join(format!("requests.{ending}"));
    fs::copy(repository().join("sample-data/requests/requests.csv"), name("csv")).unwrap();
    fs::write(name("jsonl"), json_lines(&header, &rows)).unwrap();
    write_parquet(&header, &rows, &name("parquet"));
    let from_csv = bundles(folder.path(), &name("csv"));
    assert!(from_csv.len() > 10);
    assert!(bundles(folder.path(), &name("jsonl")) == from_csv, "JSON lines give other bundles");
    assert!(bundles(folder.path(), &name("parquet")) == from_csv, "Parquet gives other bundles");
}

#[test]
fn a_malformed_request_is_kept_complete_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let (header, mut rows) = requests();
    let applicant = header.iter().position(|name| name == "applicant").unwrap();
    let place = rows.iter().position(|row| row[applicant] == "person").unwrap();
    rows[place][applicant] = "persn".into();
    let row = &rows[place];
    let name = |ending: &str| folder.path().join(format!("requests.{ending}"));
    let csv = fs::read_to_string(repository().join("sample-data/requests/requests.csv")).unwrap();
    fs::write(name("csv"), csv.replacen(",person,", ",persn,", 1)).unwrap();
    fs::write(name("jsonl"), json_lines(&header, &rows)).unwrap();
    write_parquet(&header, &rows, &name("parquet"));
    for (ending, line) in [("csv", place + 2), ("jsonl", place + 1), ("parquet", place + 1)] {
        let rejects = fs::read_to_string(run(folder.path(), &name(ending)).join("rejects/requests.ndjson")).unwrap();
        let told: Value = serde_json::from_str(rejects.trim_end()).unwrap();
        assert_eq!((&told["line"], &told["field"]), (&line.into(), &"applicant".into()));
        assert_eq!(told["request_id"], row[0].as_str());
        let raw = unhexed(told["raw_hex"].as_str().unwrap());
        assert!(raw.contains("persn") && raw.contains(&row[0]), "{ending}");
    }
}

fn unhexed(hex: &str) -> String {
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    String::from_utf8((0..hex.len()).step_by(2).map(byte).collect()).unwrap()
}
