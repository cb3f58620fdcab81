//! What is told of exports that are late, damaged, or not what their holder agreed to.

use std::collections::BTreeSet;
use std::fs;
use std::fs::File;
use std::io::Read;
use std::io::Write;

use crate::broken::{Broken, ELIGIBILITY, INCOME, REQUESTS, ROSTER};

#[test]
fn a_night_with_nothing_wrong_is_silent_and_exits_with_0() {
    let night = Broken::calm();
    let screen = night.run();
    screen.says(0, &[]);
    assert_eq!(screen.stderr, "");
    assert!(screen.stdout.contains("committed to out/2026-11-22"), "{}", screen.stdout);
}

#[test]
fn a_missing_export_delays_its_lines() {
    let night = Broken::new();
    fs::remove_file(night.path(INCOME)).unwrap();
    night.run().says(3, &["dataset `income_amount_cert` is delayed: the holder delivered no file"]);
    night.assert_delayed("income_amount_cert", "E_HOLDER_MISSING");
}

#[test]
fn a_missing_exports_folder_stops_the_night() {
    let night = Broken::new();
    fs::rename(night.path("exports"), night.path("export")).unwrap();
    let screen = night.run();
    screen.says(6, &["the exports folder cannot be read", "folder: exports", "hint: compare `exports`"]);
    night.nothing_is_committed(&screen);
    night.ieum(&["check", "nightly.toml"]).says(6, &["folder: exports"]);
}

#[test]
fn what_a_night_leaves_open_is_asked_until_it_is_answered() {
    let night = Broken::calm();
    night
        .edit(REQUESTS, |text| text.replace("nhis_eligibility_history", "nhis_eligibility_history;income_amount_cert"));
    let requests = fs::read_to_string(night.path(REQUESTS)).unwrap();
    let export = fs::read(night.path(ELIGIBILITY)).unwrap();
    let run = |date: &str| night.ieum(&["run", "nightly.toml", "--date", date]);
    let open = |date: &str| night.table(date, "carried_over.parquet", ["request_id", "dataset"]);
    let line = |request: &str| [request, "nhis_eligibility_history"].map(str::to_owned);

    fs::remove_file(night.path(ELIGIBILITY)).unwrap();
    run("2026-11-22").says(3, &["`nhis_eligibility_history` is delayed"]);
    assert_eq!(open("2026-11-22"), BTreeSet::from([line("R1")]));
    // Another request instead: the open line is not lost.
    night.edit(REQUESTS, |text| text.replace("\nR1,", "\nR2,").replace("nhis_eligibility_history;", ""));
    run("2026-11-23").says(3, &["1 line that an earlier run left open: the request is not in the request files"]);
    assert_eq!(open("2026-11-23"), BTreeSet::from([line("R1")]));
    // It is here again, and so is the export: only the open line is asked, without a word of it in the definition.
    fs::write(night.path(REQUESTS), &requests).unwrap();
    fs::write(night.path(ELIGIBILITY), &export).unwrap();
    run("2026-11-25").says(0, &[]);
    let answers = night.table("2026-11-25", "outcomes.parquet", ["request_id", "dataset"]);
    assert_eq!((answers, open("2026-11-25").len()), (BTreeSet::from([line("R1")]), 0));
    // A definition that names no file asks for everything; so does a run before any other.
    night.edit("nightly.toml", |text| format!("{text}carried_over = []\n"));
    run("2026-11-24").says(0, &[]);
    assert_eq!(night.table("2026-11-24", "outcomes.parquet", ["request_id", "dataset"]).len(), 2);
}

#[test]
fn a_check_says_what_the_run_will_say() {
    let check = |change: &dyn Fn(&Broken), code: i32, words: &[&str]| {
        let night = Broken::calm();
        change(&night);
        let before = night.ieum(&["check", "nightly.toml"]);
        night.assert_no_row_value_in(&before);
        before.says(code, words);
        night.run().says(code, words);
    };
    check(&|_| (), 0, &[]);
    let renamed = |night: &Broken| night.edit(ELIGIBILITY, |text| text.replacen("employer_nm", "employr_nm", 1));
    check(&renamed, 3, &["`nhis_eligibility_history` is left out of the night", "by `employr_nm`?"]);
    check(&|night| drop(night.run()), 6, &["holds a committed run", "out/2026-11-22"]);
    // A file that nobody can read, not even the superuser: nothing stands at address 0.
    let unreadable = |night: &Broken| {
        fs::remove_file(night.path(ELIGIBILITY)).unwrap();
        std::os::unix::fs::symlink("/proc/self/mem", night.path(ELIGIBILITY)).unwrap();
    };
    check(&unreadable, 5, &["cannot read", "nhis_eligibility_history/part-0000.csv", "hint: check the storage"]);
}

#[test]
fn a_truncated_gz_delays_its_lines() {
    let night = Broken::new();
    let bytes = fs::read(night.path(INCOME)).unwrap();
    fs::write(night.path(INCOME), &bytes[..3000]).unwrap();
    night.run().says(
        3,
        &["compressed file is cut off", "nts/income_amount_cert/part-0000.csv.gz", "byte_offset: 3000", "hint: ask"],
    );
    night.assert_delayed("income_amount_cert", "E_CONTRACT");
}

#[test]
fn a_wrong_encoding_delays_its_lines() {
    let night = Broken::new();
    let mut cp949 = Vec::new();
    flate2::read::GzDecoder::new(File::open(night.path(INCOME)).unwrap()).read_to_end(&mut cp949).unwrap();
    let (utf8, _, flawed) = encoding_rs::EUC_KR.decode(&cp949);
    assert!(!flawed);
    let mut gz = flate2::write::GzEncoder::new(File::create(night.path(INCOME)).unwrap(), flate2::Compression::fast());
    gz.write_all(utf8.as_bytes()).unwrap();
    gz.finish().unwrap();
    let words = [
        "header is not in the encoding of the export",
        "export: nts/income_amount_cert/part-0000.csv.gz",
        "hint: compare `encoding` in the catalog with the file, which looks like utf-8",
    ];
    night.run().says(3, &words);
    night.assert_delayed("income_amount_cert", "E_CONTRACT");
}

#[test]
fn a_renamed_column_delays_its_lines_and_suggests_the_mapping() {
    let night = Broken::new();
    night.edit(ELIGIBILITY, |text| text.replacen("employer_nm", "employr_nm", 1));
    let words = ["column `employer_nm` is missing", "nhis/nhis_eligibility_history/part-0000.csv", "by `employr_nm`?"];
    night.run().says(3, &words);
    night.assert_delayed("nhis_eligibility_history", "E_CONTRACT");
}

#[test]
fn ragged_rows_are_rejects_and_more_than_allowed_delay_the_lines() {
    // Rows that nobody asked for are checked for their width too: a shifted cell must not hide a key.
    let night = Broken::new();
    night.edit(ELIGIBILITY, |text| text.replace("\r\n", ",x\r\n").replacen(",x\r\n", "\r\n", 1));
    night.run().says(
        3,
        &[
            "rows could not be read",
            "first reject: nhis/nhis_eligibility_history/part-0000.csv, line 2: ragged",
            "hint: see rejects/rows.ndjson; ask the holder",
        ],
    );
    night.assert_delayed("nhis_eligibility_history", "E_CONTRACT");

    let night = Broken::calm();
    night.edit(ELIGIBILITY, |text| text.replacen(",이유우,9001023787894,", ",이유우,x,9001023787894,", 1));
    let screen = night.run();
    let words =
        ["dataset `nhis_eligibility_history`: 1 row could not be read", ": ragged", "hint: see rejects/rows.ndjson"];
    screen.says(3, &words);
    assert!(screen.stdout.lines().any(|line| line.trim().starts_with("rejected") && line.trim().ends_with('1')));
    night.outcomes("nhis_eligibility_history");
    let rejects = fs::read_to_string(night.path("out/2026-11-22/rejects/rows.ndjson")).unwrap();
    assert!(rejects.contains("ragged") && rejects.contains("nhis/nhis_eligibility_history"), "{rejects}");
}

#[test]
fn a_wrong_trailer_delays_the_whole_holder() {
    let night = Broken::new();
    let mut bytes = fs::read(night.path(ROSTER)).unwrap();
    let second = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let third = second + bytes[second..].iter().position(|byte| *byte == b'\n').unwrap() + 1;
    bytes.drain(second..third);
    fs::write(night.path(ROSTER), bytes).unwrap();
    let words = [
        "holder `mois` is left out",
        "header says 400 data rows, the file has 399",
        "resident_register_abstract/part-0000.dat",
        "hint: ",
    ];
    night.run().says(3, &words);
    night.assert_delayed("resident_register_abstract", "E_CONTROL_TOTALS");
}
