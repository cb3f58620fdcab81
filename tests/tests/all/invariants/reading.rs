//! What is read of an export, and what of it decides a bundle.

use std::collections::BTreeMap;
use std::fs;

use ieum_core::night::Layout;
use ieum_core::{explain, night};
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
