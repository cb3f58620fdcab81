//! The small night, run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ieum_core::night;
use ieum_core::night::RunSummary;
use ieum_model::catalog::CatalogSource;
use ieum_model::request::{Request, Withdrawal};
use ieum_tests::small_night::{self, FIRST, Making, SECOND};
use tempfile::TempDir;

pub fn person(number: &str) -> String {
    format!("rrno:{number}")
}

pub fn requests() -> Vec<Request> {
    let make = |id: &str, subject: &str, rest: &[(&str, &str)]| {
        let mut fields = vec![("request_id", id), ("subject_ids", subject)];
        fields.extend_from_slice(rest);
        small_night::request(&fields).unwrap()
    };
    vec![
        make("r1", &person(FIRST), &[("service", "fund")]),
        make("r2", &person(SECOND), &[("service", "fund")]),
        make("r3", &person(SECOND), &[("documents", "income(amount)")]),
        make("r4", &person(FIRST), &[("documents", "income(payer)"), ("verified", "false")]),
    ]
}

pub struct Ran {
    pub folder: TempDir,
    pub summary: RunSummary,
}

impl Ran {
    pub fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    pub fn bundle(&self, request: &str) -> serde_json::Value {
        let path = self.out().join(format!("bundles/per_request/semas/{request}.json"));
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }
}

pub fn run_on(
    sources: &[CatalogSource],
    exports: &BTreeMap<&'static str, String>,
    requests: Vec<Request>,
    withdrawals: &[Withdrawal],
    making: Making,
) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    small_night::write_exports(&folder.path().join("exports"), exports).unwrap();
    let mut night = small_night::night(folder.path(), sources, requests, withdrawals, making).unwrap();
    let summary = night::run(&mut night, false).unwrap();
    Ran { folder, summary }
}

pub fn run_with(exports: &BTreeMap<&'static str, String>, withdrawals: &[Withdrawal], making: Making) -> Ran {
    run_on(&small_night::catalog_sources(), exports, requests(), withdrawals, making)
}

pub fn run() -> Ran {
    run_with(&small_night::exports(), &[], Making::default())
}

pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_string_lossy().into_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// The same files with the same bytes; names the first that differs.
pub fn same(files: &BTreeMap<String, Vec<u8>>, reference: &BTreeMap<String, Vec<u8>>) {
    assert!(files.keys().eq(reference.keys()), "other files: {:?}", files.keys());
    let differs = files.iter().find(|(name, bytes)| reference[*name] != **bytes);
    assert_eq!(differs.map(|(name, _)| name), None);
}
