//! What is read of an export, and what of it decides a bundle.

use std::collections::BTreeMap;
use std::fs;

use ieum_core::night::Layout;
use ieum_core::{explain, night, verify};
use ieum_tests::small_night::{self, FIRST, Making, SECOND};

use super::ran::{Ran, files, requests, run, run_with, same};

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
    let mut night = small_night::night(folder.path(), &sources, requests(), &[], Making::default()).unwrap();
    night::run(&mut night, false).unwrap();
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
        let mut night = small_night::night(folder.path(), &sources, requests(), &[], making).unwrap();
        let summary = night::run(&mut night, false).unwrap();
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
