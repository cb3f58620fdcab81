//! The invariants of `engine/README.md`, by name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use ieum::definition::Definition;
use ieum::load::{self, ControlTotals};
use ieum_core::manifest::{Manifest, sha256_hex};
use ieum_core::night::{self, BundleFormat, Layout, RunSummary};
use ieum_core::{explain, verify};
use ieum_model::catalog::CatalogSource;
use ieum_model::error::ErrorKind;
use ieum_model::request::{Request, Withdrawal};
use ieum_privacy::{KeyDomain, MasterKey};
use ieum_tests::small_night::{self, FIRST, Making, SECOND};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::TempDir;

fn person(number: &str) -> String {
    format!("rrno:{number}")
}

fn requests() -> Vec<Request> {
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

struct Ran {
    folder: TempDir,
    summary: RunSummary,
}

impl Ran {
    fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    fn bundle(&self, request: &str) -> serde_json::Value {
        let path = self.out().join(format!("bundles/per_request/semas/{request}.json"));
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }
}

fn run_with(exports: &BTreeMap<&'static str, String>, withdrawals: &[Withdrawal], making: Making) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    small_night::write_exports(&folder.path().join("exports"), exports).unwrap();
    let sources = small_night::catalog_sources();
    let night = small_night::night(folder.path(), &sources, requests(), withdrawals, making).unwrap();
    let summary = night::run(&night, false).unwrap();
    Ran { folder, summary }
}

fn run() -> Ran {
    run_with(&small_night::exports(), &[], Making::default())
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
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
fn same(files: &BTreeMap<String, Vec<u8>>, reference: &BTreeMap<String, Vec<u8>>) {
    assert!(files.keys().eq(reference.keys()), "other files: {:?}", files.keys());
    let differs = files.iter().find(|(name, bytes)| reference[*name] != **bytes);
    assert_eq!(differs.map(|(name, _)| name), None);
}

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
fn nothing_unrequested_is_read() {
    let folder = tempfile::tempdir().unwrap();
    small_night::write_exports(&folder.path().join("exports"), &small_night::exports()).unwrap();
    let sources = small_night::catalog_sources();
    let night = small_night::night(folder.path(), &sources, requests(), &[], Making::default()).unwrap();
    let explained = explain::explain(&night).unwrap();
    let income = explained.iter().find(|e| e.dataset == "income").unwrap();
    let columns: Vec<&str> = income.columns.iter().map(|asked| asked.column.as_str()).collect();
    assert_eq!(columns, ["rrno", "amount", "year"], "payer is asked for by an unverified request only");
    assert!(income.plan.contains("columns=[amount, year]"), "{}", income.plan);
    let waves: Vec<(&str, u32)> = explained.iter().map(|e| (e.dataset.as_str(), e.wave)).collect();
    assert!(waves.contains(&("vat", 2)), "{waves:?}");
}

#[test]
fn identifiers_stop_at_link() {
    let ran = run();
    for (name, bytes) in files(&ran.out()) {
        for number in ["9912313000002", "9902284123452", FIRST, SECOND] {
            let found = bytes.windows(number.len()).any(|window| window == number.as_bytes());
            assert!(!found, "{name} holds an identifier that nobody asked for");
        }
    }
}

#[test]
fn secrets_do_not_print() {
    let folder = tempfile::tempdir().unwrap();
    small_night::write_exports(&folder.path().join("exports"), &small_night::exports()).unwrap();
    let sources = small_night::catalog_sources();
    let night = small_night::night(folder.path(), &sources, requests(), &[], Making::default()).unwrap();
    let derived = night.master.derive(&KeyDomain::recipient("semas"));
    let mut told = format!("{:?}\n{derived:?}\n", night.master);
    // Key files with one thing wrong: the message may not repeat what stands there.
    let secret = "5a".repeat(32);
    for wrong in ["ieum-key/1", "ieum-key/1 n one", "ieum-key/1 n/o 1", "ieum-key/1 n 1 5b"] {
        let error = MasterKey::from_hex_file_text(&format!("{wrong} {secret}")).unwrap_err();
        told.push_str(&format!("{error} {error:?}\n"));
    }
    let summary = night::run(&night, false).unwrap();
    told.push_str(&format!("{summary:?}"));
    for printed in [&secret[..16], "5A5A5A5A", "90, 90, 90, 90", "ZZZZZZZZ"] {
        assert!(!told.contains(printed), "{told}");
        for (name, bytes) in files(&night.out) {
            let found = bytes.windows(printed.len()).any(|window| window == printed.as_bytes());
            assert!(!found, "{name} holds a key");
        }
    }
}

/// The small night as files.
fn small_night_in_files() -> BTreeMap<String, String> {
    let catalog = small_night::catalog_sources().into_iter().map(|file| (format!("catalog/{}", file.path), file.text));
    let exports = small_night::exports().into_iter().map(|(path, text)| (format!("exports/{path}"), text));
    let header = "request_id,subject_ids,service,documents,recipient,requested_at,verified";
    let requests = format!(
        "{header}\nr1,rrno:{FIRST},fund,,semas,2026-11-20,true\nr2,rrno:{SECOND},,income(amount),semas,2026-11-20,true\n"
    );
    let key = format!("ieum-key/1 sample-not-a-secret 1 {}", "5a".repeat(32));
    catalog.chain(exports).chain([("requests.csv".to_owned(), requests), ("night.key".to_owned(), key)]).collect()
}

/// All that a run of the night in these files tells: failure, warnings, summary.
fn told_of(files: &BTreeMap<String, String>) -> String {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let requests = files.keys().find(|name| name.starts_with("requests.")).unwrap();
    let definition =
        format!("[run]\ncatalog = 'catalog'\nexports = 'exports'\nrequests = '{requests}'\nkeys = 'night.key'\n");
    let definition = Definition::parse(&definition, folder.path()).unwrap();
    let on = "2026-11-22".parse().unwrap();
    let loaded = match load::night(&definition, on, ControlTotals::WhileReading) {
        Ok(loaded) => loaded,
        Err(error) => return format!("{}\n{error:?}", error.told()),
    };
    let run = night::run(&loaded.night, false).map_err(|error| error.told());
    format!("{:?}\n{:?}\n{run:?}", loaded.warnings, loaded.night.checked.malformed)
}

#[test]
fn no_row_value_in_any_message() {
    let check = |expected: &str, change: &dyn Fn(&mut BTreeMap<String, String>)| {
        let mut files = small_night_in_files();
        change(&mut files);
        let told = told_of(&files);
        assert!(told.contains(expected), "{told}, expected {expected}");
        for value in ["991231", "990228", "3000002", "4123452", "31,000,000", "31000000", "가게", "상사"] {
            assert!(!told.contains(value), "{told} has {value}");
        }
    };
    let edit = |name: &'static str, from: &'static str, to: &'static str| {
        move |files: &mut BTreeMap<String, String>| {
            let text = files.get_mut(name).unwrap();
            assert!(text.contains(from), "{name}");
            *text = text.replacen(from, to, 1);
        }
    };
    let requests = |from, to| edit("requests.csv", from, to);
    check("header row missing", &|files| {
        let text = files.get_mut("requests.csv").unwrap();
        *text = text.split_once('\n').unwrap().1.to_owned();
    });
    check("bare CR", &|files| {
        let text = files.get_mut("requests.csv").unwrap();
        *text = text.replace('\n', "\r");
    });
    check("known fields only", &|files| {
        files.remove("requests.csv");
        files.insert("requests.jsonl".to_owned(), format!("{{\"{FIRST}\":\"r1\"}}\n"));
    });
    check("subject_ids", &requests("rrno:991231", "991231"));
    check("requested_at", &requests("2026-11-20", "9902284123452"));
    check("a dataset that the catalog lacks", &requests(",income(amount)", ",9902284123452"));
    check("an item that `income` lacks", &requests("income(amount)", "income(9902284123452)"));
    let income = |from, to| edit("exports/income/2026.csv", from, to);
    check("1 row could not be read", &income("\"31,000,000\"", "가게 둘"));
    check("1 row could not be read", &income("2025,200,", "2025,200,200,"));
    check("is missing", &income("주민등록번호,year,amount,payer\n", ""));
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
fn the_order_of_rows_in_an_export_changes_no_bundle() {
    let bundles = |ran: &Ran| -> BTreeMap<String, Vec<u8>> {
        files(&ran.out()).into_iter().filter(|(name, _)| name.starts_with("bundles/")).collect()
    };
    let mut turned = small_night::exports();
    for text in turned.values_mut() {
        let (header, rows) = text.split_once('\n').unwrap();
        let rows: Vec<&str> = rows.lines().rev().collect();
        *text = format!("{header}\n{}\n", rows.join("\n"));
    }
    let making = Making { layout: Layout::Packed, ..Making::default() };
    let straight = bundles(&run_with(&small_night::exports(), &[], making));
    assert!(!straight.is_empty());
    same(&bundles(&run_with(&turned, &[], making)), &straight);
}

#[test]
fn an_item_that_nobody_asks_for_changes_no_bundle() {
    let reference = files(&run().out());
    let folder = tempfile::tempdir().unwrap();
    small_night::write_exports(&folder.path().join("exports"), &small_night::exports()).unwrap();
    let mut sources = small_night::catalog_sources();
    let income = sources.iter_mut().find(|source| source.path.ends_with("income.toml")).unwrap();
    let added = "[items.remark]\nname_ko = \"비고\"\ntype = \"text\"\nsensitivity = \"G\"\n[export]";
    income.text = income.text.replace("[export]", added);
    let night = small_night::night(folder.path(), &sources, requests(), &[], Making::default()).unwrap();
    night::run(&night, false).unwrap();
    same(&files(&folder.path().join("out")), &reference);
}

#[test]
fn an_export_that_is_also_a_bridge_is_read_once() {
    let ran = run();
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(ran.out().join("manifest.json")).unwrap()).unwrap();
    let sources: Vec<&String> = manifest["sources"].as_object().unwrap().keys().collect();
    assert_eq!(sources, ["income.rrno", "registration.rep_rrno", "vat.brno"]);
    assert_eq!(manifest["sources"]["registration.rep_rrno"]["read"], 2);
}

/// A register of changed numbers: the second person was called by another number before.
const RENAMED: &str = r#"
code = "renamed"
name_ko = "주민등록번호 변경"
holder = "nts"
category = "2"
basis = "K"
key = { item = "old_rrno", space = "person" }
maps = [{ from = "old_rrno", to = "new_rrno", space = "person" }]
[items.changed_on]
name_ko = "변경일자"
type = "date"
sensitivity = "Q"
[export]
format = "csv"
path = "renamed/*.csv"
"#;

#[test]
fn a_person_is_found_by_the_number_before_and_after_its_change() {
    let (old, new) = ("980101-3000015", SECOND);
    let folder = tempfile::tempdir().unwrap();
    let mut exports = small_night::exports();
    exports.insert("renamed/2026.csv", "old_rrno,new_rrno,changed_on\n9801013000015,9902284123452,2025-01-01\n".into());
    small_night::write_exports(&folder.path().join("exports"), &exports).unwrap();
    let mut sources = small_night::catalog_sources();
    sources.push(CatalogSource { path: "datasets/nts/renamed.toml".into(), text: RENAMED.into() });
    let request = |id: &str, number: &str| {
        let fields = [("request_id", id), ("subject_ids", &person(number)), ("documents", "income(amount,year);vat")];
        small_night::request(&fields).unwrap()
    };
    let asked = vec![request("before", old), request("after", new)];
    let night = small_night::night(folder.path(), &sources, asked, &[], Making::default()).unwrap();
    let summary = night::run(&night, false).unwrap();
    let ran = Ran { folder, summary };
    let (before, after) = (ran.bundle("before"), ran.bundle("after"));
    assert_eq!(before["subject"], after["subject"], "one subject, one pseudonym");
    assert_eq!(before["documents"], after["documents"]);
    let amounts: Vec<i64> = after["documents"]["income"]["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["amount"].as_i64().unwrap())
        .collect();
    assert_eq!(amounts, [100, 200, 999], "records under either number");
    assert_eq!(after["documents"]["vat"]["records"].as_array().unwrap().len(), 3);
}

/// A request for a person's income and the VAT of its businesses; the register of changed numbers is in the catalog if
/// `declared`, and delivered if it has rows.
fn night_with_register(subjects: &str, register: Option<&str>, declared: bool) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let mut exports = small_night::exports();
    if let Some(rows) = register {
        exports.insert("renamed/2026.csv", format!("old_rrno,new_rrno,changed_on\n{rows}"));
    }
    small_night::write_exports(&folder.path().join("exports"), &exports).unwrap();
    let mut sources = small_night::catalog_sources();
    if declared {
        sources.push(CatalogSource { path: "datasets/nts/renamed.toml".into(), text: RENAMED.into() });
    }
    let asked = small_night::request(&[("subject_ids", subjects), ("documents", "income(amount);vat")]).unwrap();
    let night = small_night::night(folder.path(), &sources, vec![asked], &[], Making::default()).unwrap();
    let summary = night::run(&night, false).unwrap();
    verify::verify(&night.out).unwrap();
    Ran { folder, summary }
}

#[test]
fn two_people_in_one_request_are_told_apart() {
    let subjects = format!("rrno:{FIRST};rrno:{SECOND};rrno:9912313000002");
    let night = |register: Option<&str>, declared: bool| night_with_register(&subjects, register, declared);
    let outcomes = |ran: &Ran| {
        let bundle = ran.bundle("r1");
        let outcome = |code: &str| bundle["documents"][code]["outcome"].as_str().unwrap().to_owned();
        (outcome("income"), outcome("vat"), bundle["subject"].is_string())
    };
    let all = |outcome: &str, named: bool| (outcome.to_owned(), outcome.to_owned(), named);
    for (register, declared) in [(None, false), (Some("9801013000015,9902284123452,2025-01-01\n"), true)] {
        let ran = night(register, declared);
        assert_eq!(outcomes(&ran), all("ambiguous", false), "no record of either, and no pseudonym");
        assert_eq!(ran.bundle("r1")["documents"]["income"]["reason"], "E_AMBIGUOUS");
        assert_eq!(ran.summary.rows_read, 2 * u64::from(declared), "nothing is read but the register, both ways");
    }
    let joined = night(Some("9912313000002,9902284123452,2025-01-01\n"), true);
    assert_eq!(outcomes(&joined), all("provided", true));
    let amounts = joined.bundle("r1")["documents"]["income"]["records"].as_array().unwrap().len();
    assert_eq!(amounts, 3, "records under either number");
    assert_eq!(outcomes(&night(None, true)), all("delayed", false), "the register may still come");
}

#[test]
fn nothing_is_told_not_found_while_the_register_of_changed_numbers_is_missing() {
    let night = |register: Option<&str>| {
        let bundle = night_with_register("rrno:9801013000099", register, true).bundle("r1");
        ["income", "vat"].map(|code| bundle["documents"][code]["outcome"].as_str().unwrap().to_owned())
    };
    assert_eq!(night(Some("9912313000002,9902284123452,2025-01-01\n")), ["not_found", "not_reachable"]);
    assert_eq!(night(None), ["delayed", "delayed"], "somebody may know the person by another number");
}

#[test]
fn every_request_is_answered() {
    let summary = run().summary;
    assert_eq!(summary.requests, 4);
    assert_eq!((summary.delivered, summary.partial, summary.refused, summary.delayed), (3, 0, 1, 0));
}

#[test]
fn every_row_is_accounted_for() {
    let mut exports = small_night::exports();
    exports.entry("income/2026.csv").or_default().push_str("9801013000015,2025\n9912313000002,2025,not money,x\n");
    let summary = run_with(&exports, &[], Making::default()).summary;
    assert_eq!(summary.rows_read, summary.rows_kept + summary.rows_filtered + summary.rows_rejected);
    assert!(summary.rows_rejected >= 1);
}

#[test]
fn a_row_that_cannot_be_read_is_never_told_as_no_record() {
    let mut exports = small_night::exports();
    let income = exports.get_mut("income/2026.csv").unwrap();
    *income = income.replace("\"31,000,000\"", "a lot") + "9902284123452,2023,x,가게 다섯\n";
    let ran = run_with(&exports, &[], Making::default());
    let (first, second) = (ran.bundle("r1"), ran.bundle("r2"));
    let delayed = serde_json::json!({"outcome": "delayed", "reason": "E_CONTRACT", "records": []});
    assert_eq!(first["documents"]["income"], delayed, "its only row cannot be read");
    let income = &second["documents"]["income"];
    assert_eq!((&income["outcome"], &income["reason"]), (&"partial".into(), &"E_CONTRACT".into()));
    assert_eq!(income["records"].as_array().unwrap().len(), 2, "what can be read is delivered");
    assert_eq!(first["documents"]["registration"]["outcome"], "not_found", "nothing was rejected there");
    let [warning] = ran.summary.warnings.as_slice() else { panic!("{:?}", ran.summary.warnings) };
    for told in ["`income`", "2 rows could not be read", "income/2026.csv, line 2: type", "rejects/rows.ndjson"] {
        assert!(warning.message.contains(told), "{warning:?}");
    }
    let message = &warning.message;
    assert!(!message.contains("a lot") && !message.contains("9912313000002"), "{message}");
    verify::verify(&ran.out()).unwrap();
}

/// The outcome of `income` for r1 (FIRST) and r2 (SECOND) where its rows are these.
fn income_of(rows: &str) -> [String; 2] {
    let mut exports = small_night::exports();
    exports.insert("income/2026.csv", format!("주민등록번호,year,amount,payer\n{rows}"));
    let ran = run_with(&exports, &[], Making::default());
    verify::verify(&ran.out()).unwrap();
    ["r1", "r2"].map(|request| {
        let outcome = ran.bundle(request)["documents"]["income"]["outcome"].as_str().unwrap().to_owned();
        let payer = fs::read_to_string(ran.out().join(format!("bundles/per_request/semas/{request}.json"))).unwrap();
        assert!(!payer.contains("9902284123452"), "nobody's number gets into a bundle");
        outcome
    })
}

#[test]
fn a_row_that_lost_its_shape_is_never_told_as_no_record() {
    // Of a third person, enough of them for the share that the catalog allows.
    let others = "9801013000015,2025,1,x\n".repeat(8);
    let check = |first: &str, second: &str, expected: [&str; 2], what: &str| {
        let rows = format!("{first}{second}{others}");
        assert_eq!(income_of(&rows), expected.map(str::to_owned), "{what}");
    };
    let (first, second) = ("9912313000002,2025,1,a\n", "9902284123452,2025,2,b\n");
    check(first, second, ["provided", "provided"], "whole");
    check("9912313000002,2025,1\n", second, ["delayed", "provided"], "a cell is missing");
    check("9912313000002,2025,1,a,\n", second, ["delayed", "provided"], "a cell is too many");
    check("x,9912313000002,2025,1,a,\n", second, ["delayed", "provided"], "cells moved");
    check("9912313000002,2025,1,a", second, ["delayed", "delayed"], "the line end is lost");
    check("99123130000022025,1,a\n", second, ["delayed", "provided"], "a delimiter is lost");
    check("9912313000002;2025;1;a\n", second, ["delayed", "provided"], "another hand's delimiter");
    check("9912313000002,2025,1,\"a\n", "9902284123452,2025,2,\"b\"\n", ["delayed", "delayed"], "a quote is lost");
    check("9801013000015,2025,1,\"a\n", "9902284123452,2025,2,\"b\"\n", ["not_found", "delayed"], "of another");
    check("991231300002,2025,1\n", second, ["delayed", "provided"], "the key is cut: nobody can say whose row it is");
    check("9801013000015,2025,1\n", second, ["not_found", "provided"], "a ragged row of another says nothing of both");
    check("\"99123130\"00002,2025,1,a\n", second, ["delayed", "provided"], "a quote within the key");
}

/// The small night in which `registration` has a date, and may have rows that cannot be read.
fn registration_with_a_date() -> Vec<CatalogSource> {
    let mut sources = small_night::catalog_sources();
    let registration = sources.iter_mut().find(|source| source.path.ends_with("registration.toml")).unwrap();
    let opened = "[items.opened]\nname_ko = \"개업일자\"\ntype = \"date\"\nsensitivity = \"Q\"\n\
                  [export]\nmax_reject_ratio = 0.9";
    registration.text = registration.text.replace("[export]", opened);
    sources
}

#[test]
fn lines_behind_a_bridge_whose_row_cannot_be_read_are_delayed() {
    let vat = |rows: &str| {
        let folder = tempfile::tempdir().unwrap();
        let mut exports = small_night::exports();
        exports.insert("registration/2026.csv", format!("brno,rep_rrno,trade_name,opened\n{rows}"));
        small_night::write_exports(&folder.path().join("exports"), &exports).unwrap();
        let ask = |id: &str, documents: &str| {
            let fields = [("request_id", id), ("subject_ids", &person(SECOND)), ("documents", documents)];
            small_night::request(&fields).unwrap()
        };
        let asked = vec![ask("r1", "registration(opened)"), ask("r2", "vat(sales)")];
        let night =
            small_night::night(folder.path(), &registration_with_a_date(), asked, &[], Making::default()).unwrap();
        let summary = night::run(&night, false).unwrap();
        let vat = Ran { folder, summary }.bundle("r2")["documents"]["vat"].clone();
        (vat["outcome"].clone(), vat["reason"].clone(), vat["records"].as_array().unwrap().len())
    };
    let contract = || "E_CONTRACT".into();
    assert_eq!(vat("9999900005,9902284123452,상사,soon\n"), ("delayed".into(), contract(), 0), "no key is known");
    let both = "9999900005,9902284123452,상사,soon\n9998100015,9902284123452,둘째,20200101\n";
    assert_eq!(vat(both), ("partial".into(), contract(), 1), "there may be more than one business");
    let ragged = "9999900005,9902284123452,상사\n9998100015,9902284123452,둘째,20200101\n";
    assert_eq!(vat(ragged), ("partial".into(), contract(), 1), "any cell of a ragged row may be the key");
    let of_another = "9999900005,9801013000015,상사\n9998100015,9902284123452,둘째,20200101\n";
    assert_eq!(vat(of_another), ("provided".into(), serde_json::Value::Null, 1));
}

#[test]
fn rows_beyond_the_allowed_share_are_all_kept_and_counted() {
    let mut exports = small_night::exports();
    let ragged: String = (0..5000).map(|row| format!("9{row:012},2025\n")).collect();
    exports.entry("income/2026.csv").or_default().push_str(&ragged);
    let ran = run_with(&exports, &[], Making::default());
    assert_eq!(ran.bundle("r1")["documents"]["income"]["reason"], "E_CONTRACT");
    let [warning] = ran.summary.warnings.as_slice() else { panic!("{:?}", ran.summary.warnings) };
    let message = &warning.message;
    assert!(message.contains("5000 of 5004 rows") && message.contains("rejects/rows.ndjson"), "{message}");
    assert_eq!(ran.summary.rows_rejected, 5000);
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(ran.out().join("manifest.json")).unwrap()).unwrap();
    let counts = &manifest["sources"]["income.rrno"];
    assert_eq!((&counts["rejected"], &counts["staged"]), (&5000.into(), &0.into()));
    let rejects = fs::read_to_string(ran.out().join("rejects/rows.ndjson")).unwrap();
    assert_eq!(rejects.lines().count(), 5000);
    verify::verify(&ran.out()).unwrap();
}

#[test]
fn a_missing_export_delays_its_lines_and_nothing_else() {
    let mut exports = small_night::exports();
    exports.remove("vat/2026.csv");
    let ran = run_with(&exports, &[], Making::default());
    let second = ran.bundle("r2");
    assert_eq!(second["documents"]["vat"]["reason"], "E_HOLDER_MISSING");
    assert_eq!(second["documents"]["income"]["outcome"], "provided");
    assert_eq!(ran.summary.partial, 2);
}

#[test]
fn an_export_past_its_validity_delays_its_lines() {
    let outcome = |date: &str| {
        let folder = tempfile::tempdir().unwrap();
        let mut exports = small_night::exports();
        let vat = exports.remove("vat/2026.csv").unwrap();
        small_night::write_exports(&folder.path().join("exports"), &exports).unwrap();
        fs::create_dir_all(folder.path().join("exports/vat")).unwrap();
        fs::write(folder.path().join(format!("exports/vat/vat_{date}.csv")), vat).unwrap();
        let mut sources = small_night::catalog_sources();
        let vat = sources.iter_mut().find(|source| source.path.ends_with("vat.toml")).unwrap();
        vat.text = vat
            .text
            .replace("vat/*.csv", "vat/vat_{date}.csv")
            .replace("[items.period]", "validity_days = 30\n[items.period]");
        let night = small_night::night(folder.path(), &sources, requests(), &[], Making::default()).unwrap();
        let summary = night::run(&night, false).unwrap();
        let vat = Ran { folder, summary }.bundle("r2")["documents"]["vat"].clone();
        (vat["outcome"].as_str().unwrap().to_owned(), vat["reason"].as_str().map(str::to_owned))
    };
    assert_eq!(outcome("20261023"), ("provided".to_owned(), None));
    assert_eq!(outcome("20261022"), ("delayed".to_owned(), Some("E_STALE".to_owned())));
    assert_eq!(outcome("20261123"), ("delayed".to_owned(), Some("E_HOLDER_MISSING".to_owned())));
}

#[test]
fn an_export_that_breaks_its_contract_delays_its_lines() {
    let mut exports = small_night::exports();
    exports.insert("income/2026.csv", "rrno,year\n9912313000002,2025\n".into());
    let ran = run_with(&exports, &[], Making::default());
    assert_eq!(ran.bundle("r1")["documents"]["income"]["reason"], "E_CONTRACT");
    assert_eq!(ran.bundle("r2")["documents"]["vat"]["outcome"], "provided");
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
    for layout in [Layout::PerRequest, Layout::Packed] {
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
                Layout::PerRequest => check("have no bundle", &|out, _| {
                    let bundles = files(&out.join("bundles"));
                    let second = bundles.keys().find(|name| name.contains("r2.")).unwrap();
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
    let night = small_night::night(folder.path(), &sources, requests(), &[], Making::default()).unwrap();
    let dry = night::run(&night, true).unwrap();
    assert!(!dry.committed);
    assert!(!night.out.exists());
    assert!(night::run(&night, false).unwrap().committed);
    let before = files(&night.out);
    assert_eq!(night::run(&night, false).unwrap_err().kind, ErrorKind::Config);
    assert_eq!(files(&night.out), before);
}

/// The small night with the income export as XML whose empty elements are written `<a><a/>`.
#[test]
fn a_repaired_row_is_delivered_and_noted() {
    let mut exports = small_night::exports();
    exports.remove("income/2026.csv");
    let row = |key: &str, year: u32, payer: &str| {
        format!("<row><rrno>{key}</rrno><amount><amount/><year>{year}</year><payer>{payer}</payer></row>\n")
    };
    let rows = [
        row("9912313000002", 2025, "가게 하나"),
        row("9902284123452", 2024, "가게 둘"),
        row("9801013000015", 2025, "x"),
    ];
    exports.insert("income/2026.xml", format!("<rows>{}</rows>", rows.concat()));
    let mut sources = small_night::catalog_sources();
    let income = sources.iter_mut().find(|source| source.path.ends_with("income.toml")).unwrap();
    let (before, _) = income.text.split_once("[export]").unwrap();
    let export = "format = \"xml\"\nrows = \"row\"\npath = \"income/*.xml\"\nrepair = [\"empty_elements\"]\n";
    income.text = format!("{before}[export]\n{export}");
    let run = |making: Making| {
        let folder = tempfile::tempdir().unwrap();
        small_night::write_exports(&folder.path().join("exports"), &exports).unwrap();
        let night = small_night::night(folder.path(), &sources, requests(), &[], making).unwrap();
        let summary = night::run(&night, false).unwrap();
        Ran { folder, summary }
    };
    let ran = run(Making::default());
    assert_eq!(ran.bundle("r1")["documents"]["income"]["outcome"], "provided");
    assert_eq!(ran.summary.rows_rejected, 0);
    let [warning] = ran.summary.warnings.as_slice() else { panic!("{:?}", ran.summary.warnings) };
    let told = "dataset `income`: 2 rows were repaired (`empty_elements`)\n  hint: see repairs/rows.ndjson";
    assert_eq!(warning.message, told);
    let notes = fs::read_to_string(ran.out().join("repairs/rows.ndjson")).unwrap();
    let notes: Vec<serde_json::Value> = notes.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let text = |raw: &str| {
        let digit = |at: usize| u8::from_str_radix(&raw[at..at + 2], 16).unwrap();
        String::from_utf8((0..raw.len()).step_by(2).map(digit).collect()).unwrap()
    };
    let found: Vec<String> = notes.iter().map(|note| text(note["raw_hex"].as_str().unwrap())).collect();
    assert_eq!(found, [rows[0].trim(), rows[1].trim()], "the rows that were delivered, as they stand in the file");
    assert_eq!((&notes[0]["rule"], &notes[0]["byte_offset"]), (&"empty_elements".into(), &6.into()));
    verify::verify(&ran.out()).unwrap();
    let other = run(Making { threads: 1, shard_requests: 1, ..Making::default() });
    same(&files(&other.out()), &files(&ran.out()));
}
