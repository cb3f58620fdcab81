//! Bundles as folders: bags and data packages in the eyes of the Python packages that others read them with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ieum_core::night::{self, BundleFormat, Layout};
use ieum_core::seal::{receipt_of, verify_bundle};
use ieum_core::verify::verify_signed;
use ieum_privacy::Profile;
use ieum_tests::small_night::{self, FIRST, Making, SECOND};
use tempfile::TempDir;

fn run(format: BundleFormat, encrypted: bool) -> ieum_model::error::Result<TempDir> {
    let folder = tempfile::tempdir().unwrap();
    let mut exports = small_night::exports();
    // Cells that a table must quote, and one that is empty.
    let income = exports.get_mut("income/2026.csv").unwrap();
    income.push_str("9912313000002,2023,,\"가게, \"\"하나\"\"\"\n9912313000002,2022,5,\" 앞\"\n");
    small_night::write_exports(&folder.path().join("exports"), &exports).unwrap();
    let make = |id: &str, subject: &str, rest: (&str, &str)| {
        small_night::request(&[("request_id", id), ("subject_ids", &format!("rrno:{subject}")), rest]).unwrap()
    };
    let requests = vec![
        make("r1", FIRST, ("service", "fund")),
        make("R.2-a", SECOND, ("documents", "income(amount);vat(sales);income(year)")),
        make("r3", "980101-3000015", ("documents", "income(payer)")),
        make("r4", FIRST, ("documents", "income(payer);income(year)")),
    ];
    let making = Making { layout: Layout::Folder, format, encrypted, ..Making::default() };
    let identity = ieum_privacy::Identity::generate(Profile::Default, "semas").unwrap();
    let public = ieum_privacy::Identity::from_text(identity.expose()).unwrap().recipient().text();
    let sources = small_night::catalog_sources_with_key(&public);
    let mut night = small_night::night(folder.path(), &sources, requests, &[], making).unwrap();
    night::run(&mut night, false)?;
    Ok(folder)
}

fn folders(night: &TempDir) -> Vec<PathBuf> {
    let folder = night.path().join("out/bundles/per_request/semas");
    let mut found: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// What `tests/independent/folders.py` says.
fn judge(folders: &[PathBuf]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let pythons = [root.join("target/independent/bin/python"), PathBuf::from("python3")];
    let has_both = |python: &&PathBuf| {
        let tried = Command::new(python).args(["-c", "import bagit, frictionless"]).output();
        tried.is_ok_and(|output| output.status.success())
    };
    let python = pythons.iter().find(has_both).expect("sh tests/independent/setup.sh installs bagit and frictionless");
    let script = root.join("tests/independent/folders.py");
    Command::new(python).arg(script).args(folders).env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap()
}

#[test]
fn bagit_and_frictionless_find_every_folder_valid_and_its_tables_equal_to_its_bundle() {
    for (format, bundle, tables) in
        [(BundleFormat::Json, "data/bundle.json", 5), (BundleFormat::Parquet, "data/bundle.parquet", 0)]
    {
        let night = run(format, false).unwrap();
        let found = folders(&night);
        let told = judge(&found);
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        let expected = format!("4 folders, {} resources, {tables} tables\n", 4 + 5);
        assert_eq!(String::from_utf8(told.stdout).unwrap(), expected);
        // The output as a whole is verified as any other, and the receipt is of the bundle in the folder.
        let public = small_night::signing_key(Profile::Default).unwrap().public().clone();
        let out = night.path().join("out");
        assert_eq!(verify_signed(&out, Some(&public)).unwrap().receipts, Some(4));
        let receipt = night.path().join("receipt.json");
        fs::write(&receipt, receipt_of(&out, "R.2-a").unwrap().text().unwrap()).unwrap();
        verify_bundle(&found[0].join(bundle), &receipt, &public).unwrap();
        // What was changed is found by each of them.
        let table = found[0].join("data/income.csv");
        let sound = fs::read_to_string(&table).unwrap();
        assert!(sound.starts_with("amount,year\r\n"), "{sound}");
        fs::write(&table, sound.replacen("20", "19", 1)).unwrap();
        assert!(String::from_utf8_lossy(&judge(&found).stderr).contains("BagValidationError"));
        assert!(verify_signed(&out, Some(&public)).unwrap_err().message.contains("differs from the manifest"));
    }
}

#[test]
fn a_night_that_encrypts_writes_no_folders() {
    let told = run(BundleFormat::Json, true).unwrap_err();
    assert!(told.told().contains("not encrypted") && told.told().contains("per-request or packed"), "{}", told.told());
}
