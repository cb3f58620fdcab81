//! What a committed output holds.

use std::fs;
use std::path::Path;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use ieum_core::manifest::{Manifest, sha256_hex};
use ieum_core::night::{BundleFormat, Layout};
use ieum_core::{night, verify};
use ieum_model::error::ErrorKind;
use ieum_model::request::Withdrawal;
use ieum_tests::small_night::{self, Making};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::ran::{files, requests, run, run_with, same};

#[test]
fn a_bundle_holds_what_was_asked_and_found_by_hand() {
    let ran = run();
    let first = ran.bundle("r1");
    assert_eq!(
        first["documents"],
        serde_json::json!({
            "income": {"outcome": "provided", "records": [{"amount": 31_000_000, "year": "2025"}]},
            "registration": {"outcome": "not_found", "reason": "E_NOT_FOUND", "records": []},
            "vat": {"outcome": "not_reachable", "reason": "E_NOT_REACHABLE", "records": []},
        })
    );
    let second = ran.bundle("r2");
    let expected = serde_json::json!([
        {"period": "2025-1", "sales": 500}, {"period": "2025-1", "sales": 700}, {"period": "2025-2", "sales": 600}
    ]);
    assert_eq!(second["documents"]["vat"]["records"], expected);
    assert_eq!(second["documents"]["income"]["records"][1], serde_json::json!({"amount": 200, "year": "2025"}));
    assert_eq!(
        ran.bundle("r3")["documents"]["income"]["records"],
        serde_json::json!([{"amount": 100}, {"amount": 200}])
    );
    assert_eq!(ran.bundle("r2")["subject"], ran.bundle("r3")["subject"]);
    assert_ne!(ran.bundle("r1")["subject"], ran.bundle("r2")["subject"]);
}

/// The values of `sales` in each request's `vat` records, read back from a Parquet file of bundles.
fn sales(path: &Path) -> Vec<(String, Vec<i64>)> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap().build().unwrap();
    let batches: Vec<_> = reader.map(Result::unwrap).collect();
    let mut found = Vec::new();
    for batch in &batches {
        let ids = batch.column_by_name("request_id").unwrap().as_string::<i32>();
        let documents = batch.column_by_name("documents").unwrap().as_struct();
        let vat = documents.column_by_name("vat").unwrap().as_struct();
        let records = vat.column_by_name("records").unwrap().as_list::<i32>();
        for row in 0..batch.num_rows() {
            let values = records.value(row);
            let sales = values.as_struct().column_by_name("sales").unwrap().as_primitive::<Int64Type>().clone();
            found.push((ids.value(row).to_owned(), sales.values().to_vec()));
        }
    }
    found
}

#[test]
fn parquet_is_another_encoding_of_the_same_row() {
    let making = Making { format: BundleFormat::Parquet, ..Making::default() };
    let ran = run_with(&small_night::exports(), &[], making);
    let expected = ("r2".to_owned(), vec![500, 700, 600]);
    assert_eq!(sales(&ran.out().join("bundles/per_request/semas/r2.parquet")), std::slice::from_ref(&expected));
    let packed = run_with(&small_night::exports(), &[], Making { layout: Layout::Packed, ..making });
    let fund = sales(&packed.out().join("bundles/packed/semas/fund.parquet"));
    assert_eq!(fund, [("r1".to_owned(), vec![]), expected]);
    let index = fs::read_to_string(packed.out().join("bundles/packed/semas/fund.index.csv")).unwrap();
    assert_eq!(index, "request_id,row\nr1,0\nr2,1\n");
}

#[test]
fn same_inputs_same_bytes() {
    let json = Making::default();
    let packed = Making { layout: Layout::Packed, ..json };
    let parquet = Making { format: BundleFormat::Parquet, ..json };
    let packed_parquet = Making { layout: Layout::Packed, ..parquet };
    for making in [json, packed, parquet, packed_parquet] {
        let reference = files(&run_with(&small_night::exports(), &[], making).out());
        for (threads, shard_requests) in [(1, 1), (2, 1), (1, 3), (3, 1000)] {
            let making = Making { threads, shard_requests, ..making };
            let again = files(&run_with(&small_night::exports(), &[], making).out());
            same(&again, &reference);
        }
    }
}

#[test]
fn a_withdrawn_consent_delivers_nothing() {
    let get = |name: &str| match name {
        "request_id" => Some("r2".into()),
        "withdrawn_at" => Some("2026-11-21".into()),
        _ => None,
    };
    let withdrawal = Withdrawal::from_fields(&get, 1).unwrap();
    let ran = run_with(&small_night::exports(), &[withdrawal], Making::default());
    assert!(!ran.out().join("bundles/per_request/semas/r2.json").exists());
    assert_eq!(ran.summary.refused, 2);
}

#[test]
fn a_bundle_is_whole_or_absent() {
    let ran = run();
    let verified = verify::verify(&ran.out()).unwrap();
    assert_eq!(verified.run_digest, ran.summary.run_digest);
    for name in files(&ran.out()).keys() {
        let path = ran.out().join(name);
        let sound = fs::read(&path).unwrap();
        let mut flipped = sound.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        fs::write(&path, &flipped).unwrap();
        assert_eq!(verify::verify(&ran.out()).unwrap_err().kind, ErrorKind::Integrity, "{name}");
        fs::write(&path, &sound).unwrap();
    }
    fs::write(ran.out().join("extra"), "x").unwrap();
    assert_eq!(verify::verify(&ran.out()).unwrap_err().kind, ErrorKind::Integrity);
}

/// What verification says of a copy of an output in which `change` was made, and whose manifest was then made to fit.
fn verified_after(out: &Path, change: impl Fn(&Path, &mut Manifest)) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let mut manifest: Manifest = serde_json::from_slice(&fs::read(out.join("manifest.json")).unwrap()).unwrap();
    for (name, bytes) in files(out) {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    change(folder.path(), &mut manifest);
    manifest.files.retain(|file| folder.path().join(&file.path).exists());
    for file in &mut manifest.files {
        let bytes = fs::read(folder.path().join(&file.path)).unwrap();
        (file.bytes, file.sha256) = (bytes.len() as u64, sha256_hex(&bytes));
    }
    manifest.run_digest = manifest.digest().unwrap();
    fs::write(folder.path().join("manifest.json"), manifest.encode().unwrap()).unwrap();
    verify::verify(folder.path()).map(drop).map_err(|error| error.message)
}

#[test]
fn whatever_is_counted_twice_agrees_in_a_verified_output() {
    let mut exports = small_night::exports();
    exports.entry("income/2026.csv").or_default().push_str("9902284123452,2023,x,가게 다섯\n");
    exports.remove("vat/2026.csv");
    for layout in [Layout::PerRequest, Layout::Folder, Layout::Packed] {
        for format in [BundleFormat::Json, BundleFormat::Parquet] {
            let ran = run_with(&exports, &[], Making { layout, format, ..Making::default() });
            let check = |expected: &str, change: &dyn Fn(&Path, &mut Manifest)| {
                let told = verified_after(&ran.out(), change).unwrap_err();
                assert!(told.contains(expected), "{told}, expected {expected}");
            };
            verified_after(&ran.out(), |_, _| ()).unwrap();
            let without_last_line = |path: &Path| {
                let text = fs::read_to_string(path).unwrap();
                let kept = text.trim_end().rfind('\n').map_or(0, |end| end + 1);
                fs::write(path, &text[..kept]).unwrap();
            };
            check("answers by outcome", &|_, manifest| *manifest.outcomes.get_mut("provided").unwrap() += 1);
            check("requests partly delivered", &|_, manifest| {
                manifest.requests.partial -= 1;
                manifest.requests.refused += 1;
            });
            check("rejected rows of `income.rrno`", &|out, _| without_last_line(&out.join("rejects/rows.ndjson")));
            check("rejected rows", &|_, manifest| {
                let counts = manifest.sources.get_mut("income.rrno").unwrap();
                (counts.rejected, counts.kept) = (counts.rejected - 1, counts.kept + 1);
            });
            check("lines carried over", &|out, _| {
                fs::copy(out.join("outcomes.parquet"), out.join("carried_over.parquet")).unwrap();
            });
            check("do not agree with the answers", &|out, _| without_last_line(&out.join("statistics.csv")));
            check("folder is not in the manifest", &|out, _| fs::create_dir(out.join("bundles/empty")).unwrap());
            match layout {
                Layout::PerRequest | Layout::Folder => check("have no bundle", &|out, _| {
                    let bundles = files(&out.join("bundles"));
                    let is_second = |name: &&String| name.contains("/r2.") || name.contains("/r2/data/bundle.");
                    let second = bundles.keys().find(is_second).unwrap();
                    fs::remove_file(out.join("bundles").join(second)).unwrap();
                }),
                Layout::Packed => check("the index", &|out, _| {
                    without_last_line(&out.join("bundles/packed/semas/fund.index.csv"));
                }),
            }
        }
    }
}

#[test]
fn a_dry_run_and_a_second_run_leave_the_output_alone() {
    let folder = tempfile::tempdir().unwrap();
    small_night::write_exports(&folder.path().join("exports"), &small_night::exports()).unwrap();
    let sources = small_night::catalog_sources();
    let mut night = small_night::night(folder.path(), &sources, requests(), &[], Making::default()).unwrap();
    let dry = night::run(&mut night, true).unwrap();
    assert!(!dry.committed);
    assert!(!night.out.exists());
    assert!(night::run(&mut night, false).unwrap().committed);
    let before = files(&night.out);
    assert_eq!(night::run(&mut night, false).unwrap_err().kind, ErrorKind::Config);
    assert_eq!(files(&night.out), before);
}
