//! Every request is answered, every row accounted for; what could not be read is never told as no record.

use std::fs;

use ieum_core::{night, verify};
use ieum_model::catalog::CatalogSource;
use ieum_tests::small_night::{self, Making, SECOND};

use super::ran::{Ran, person, requests, run, run_with};

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
        let mut night =
            small_night::night(folder.path(), &registration_with_a_date(), asked, &[], Making::default()).unwrap();
        let summary = night::run(&mut night, false).unwrap();
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
        let mut night = small_night::night(folder.path(), &sources, requests(), &[], Making::default()).unwrap();
        let summary = night::run(&mut night, false).unwrap();
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
