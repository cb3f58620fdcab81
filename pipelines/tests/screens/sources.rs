//! What a holder delivers: drift, shrunken exports, completion markers; rejected rows, and a new source.

use std::fs;

use crate::broken::{Broken, ELIGIBILITY};

const CATALOG: &str = "catalog/datasets/nhis/nhis_eligibility_history.toml";

#[test]
fn a_drift_of_columns_is_told_until_the_catalog_approves_it() {
    let night = Broken::calm();
    let check = night.ieum(&["source", "check", "nightly.toml", "nhis_eligibility_history"]);
    // Two rows of people that nobody asks for.
    check.says(3, &[]);
    assert!(check.stdout.contains("type acq_date"), "{}", check.stdout);
    let contract = check.stdout.lines().find(|line| line.starts_with("contract = ")).unwrap().to_owned();
    night.edit(CATALOG, |text| format!("{text}\n{contract}\n"));
    night.ieum(&["check", "nightly.toml"]).says(0, &[]);

    night.edit(ELIGIBILITY, |text| {
        text.replacen("acq_date,acq_reason", "acq_reason,acq_date", 1).replacen("cert_no", "cert_nr", 1)
    });
    let words = [
        "dataset `nhis_eligibility_history` is left out of the night: the columns of the export are not those",
        "`cert_no` is missing and `cert_nr` is new: it seems to be renamed",
        "the columns stand in another order from column 1 on",
        "hint: if the holder has said so, put what `ieum source check",
    ];
    night.ieum(&["check", "nightly.toml"]).says(3, &words);
    night.run().says(3, &words);
    night.assert_delayed("nhis_eligibility_history", "E_CONTRACT");
}

#[test]
fn an_export_that_shrank_needs_an_allowance() {
    let night = Broken::calm();
    let run = |date: &str| night.ieum(&["run", "nightly.toml", "--date", date]);
    run("2026-11-22").says(0, &[]);
    night.edit(ELIGIBILITY, |text| text.split_inclusive('\n').take(101).collect());
    let words = ["the export has 100 rows, the last run read", "max_shrink = 1"];
    run("2026-11-23").says(3, &words);
    run("2026-11-24").says(3, &words);
    night.edit(CATALOG, |text| format!("{text}\nmax_shrink = 0.95\n"));
    run("2026-11-25").says(0, &[]);
}

#[test]
fn an_export_without_its_completion_marker_is_late() {
    let night = Broken::calm();
    night.edit(CATALOG, |text| format!("{text}\ncontrol = {{ marker = \".fin\" }}\n"));
    let late = ["`nhis_eligibility_history` is delayed: the holder has not finished writing", "marker: .fin"];
    night.ieum(&["check", "nightly.toml"]).says(3, &late);
    fs::write(night.path(&format!("{ELIGIBILITY}.fin")), b"").unwrap();
    night.run().says(0, &[]);
}

#[test]
fn rejected_rows_are_shown_and_read_again_after_the_catalog_was_mended() {
    let night = Broken::calm();
    night.edit(ELIGIBILITY, |text| text.replacen("2018-11-05,09,", "2018-13-45,09,", 1));
    night.run().says(3, &["1 row could not be read"]);
    let show = |more: &[&str]| night.ieum(&[&["rejects", "show", "out/2026-11-22"][..], more].concat());
    let told = show(&[]);
    told.says(0, &[]);
    night.assert_no_row_value_in(&told);
    assert!(told.stdout.contains("type acq_date") && told.stdout.contains("first at line 2"), "{}", told.stdout);
    let told = show(&["--values"]);
    told.says(0, &["personal data"]);
    assert!(told.stdout.contains("2018-13-45,09,000000000000,주식회사 한빛농산"), "{}", told.stdout);
    let replay = || night.ieum(&["rejects", "replay", "nightly.toml", "out/2026-11-22"]);
    let told = replay();
    told.says(3, &[]);
    assert!(told.stdout.contains("0 of 1 can be read now"), "{}", told.stdout);
    night.edit(CATALOG, |text| {
        let (before, after) = text.split_once("[items.acq_date]").unwrap();
        format!("{before}[items.acq_date]{}", after.replacen("type = \"date\"", "type = \"str\"", 1))
    });
    let told = replay();
    told.says(0, &["run the night of the next date"]);
    assert!(told.stdout.contains("1 of 1 can be read now"), "{}", told.stdout);
}

#[test]
fn a_source_is_discovered_and_shown() {
    let night = Broken::calm();
    let told = night.ieum(&["source", "discover", ELIGIBILITY]);
    told.says(0, &[]);
    night.assert_no_row_value_in(&told);
    for line in ["format = \"csv\"", "encoding = \"utf-8\"", "[items.employer_nm]", "type = \"date\""] {
        assert!(told.stdout.lines().any(|told| told == line), "no {line} in\n{}", told.stdout);
    }
    let told = night.ieum(&["source", "read", "nightly.toml", "nhis_eligibility_history", "--limit", "1"]);
    told.says(0, &["personal data"]);
    assert_eq!(told.stdout.lines().count(), 2, "{}", told.stdout);
    assert!(told.stdout.starts_with("rrno\t") && told.stdout.contains("주식회사 한빛농산"));
    night
        .ieum(&["source", "read", "nightly.toml", "nhis_eligibility_histry"])
        .says(6, &["did you mean `nhis_eligibility_history`?"]);
}
