//! The README's commands on the shipped sample: exit codes, the summary line, and verification.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn ieum(arguments: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    Command::new(env!("CARGO_BIN_EXE_ieum")).current_dir(root).args(arguments).output().unwrap()
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
        assert!(count("delayed") > 0 && count("refused") > 0 && count("rows_rejected") > 0);
        digests.push(summary["run_digest"].clone());
    }
    assert_eq!(digests[0], digests[1]);
    let committed = folder.path().join("1/2026-11-22");
    assert_eq!(ieum(&["verify", committed.to_str().unwrap()]).status.code(), Some(0));
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
