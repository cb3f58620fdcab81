//! What is told of requests and withdrawals that cannot be taken as they are.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::broken::{Broken, REQUESTS};

#[test]
fn unknown_words_of_a_request_are_refused_with_a_suggestion() {
    let night = Broken::calm();
    night.edit(REQUESTS, |text| {
        text.replace(",,nhis_eligibility_history,", ",,nhis_eligibility_history(employr_nm);nhis_eligibilty_history,")
    });
    let words = [
        "an item that `nhis_eligibility_history` lacks",
        "did you mean `employer_nm`?",
        "the first is `R1`",
        "a dataset that the catalog lacks",
        "did you mean `nhis_eligibility_history`?",
    ];
    night.run().says(0, &words);
    let refused = BTreeSet::from([("refused".to_owned(), "R05".to_owned())]);
    assert_eq!(night.outcomes("nhis_eligibility_history"), refused);
}

#[test]
fn a_request_of_an_unknown_service_or_recipient_is_answered_and_told() {
    let night = Broken::calm();
    night.edit(REQUESTS, |text| {
        let sound = text.lines().last().unwrap();
        let unknown = [
            sound.replace("R1,", "R2,").replace(",,nhis_eligibility_history,", ",passport_isue,,"),
            sound.replace("R1,", "R3,").replace(",,nhis_eligibility_history,", ",zzz,,"),
            sound.replace("R1,", "R4,").replace(",kcis,", ",kcsi,"),
            sound.replace("R1,", "R5,").replace(",,nhis_eligibility_history,", ",,,"),
        ];
        format!("{text}{}\n", unknown.join("\n"))
    });
    let words = [
        "requests name a service that the catalog lacks: such a request is refused (R05)",
        "hint: did you mean `passport_issuance`?",
        "hint: `ieum catalog show catalog SERVICE` shows one that it has",
        "requests name a recipient that the catalog lacks",
        "hint: did you mean `kcis`?",
    ];
    night.run().says(0, &words);
    let answers = night.table("2026-11-22", "outcomes.parquet", ["request_id", "dataset", "outcome", "reason"]);
    let refused = |id: &str, dataset: &str| [id, dataset, "refused", "R05"].map(str::to_owned);
    let expected = [
        ["R1", "nhis_eligibility_history", "provided", ""].map(str::to_owned),
        refused("R2", ""),
        refused("R3", ""),
        refused("R4", "nhis_eligibility_history"),
        refused("R5", ""),
    ];
    assert_eq!(answers, expected.into());
}

#[test]
fn a_format_or_a_holder_that_a_request_names_is_not_passed_over() {
    let night = Broken::calm();
    night.edit(REQUESTS, |text| {
        let text = text.replace("\nR1,", ",holder\nR1,").replace(",,json", ",,parquet,nhic");
        assert!(text.contains("parquet,nhic"), "{text}");
        text
    });
    let words = [
        "requests ask for bundles as parquet: this night writes json",
        "requests name another holder than that of a document they ask for",
        "hint: `ieum catalog show catalog DATASET` shows its holder",
    ];
    night.run().says(0, &words);
    let refused = BTreeSet::from([("refused".to_owned(), "R05".to_owned())]);
    assert_eq!(night.outcomes("nhis_eligibility_history"), refused);
    night.edit(REQUESTS, |text| text.replace("parquet,nhic", "parquet,nhis"));
    let screen = night.ieum(&["run", "nightly.toml", "--out", "parquet", "--format", "parquet"]);
    screen.says(0, &[]);
    assert_eq!(screen.stderr, "");
}

#[test]
fn a_malformed_request_is_told_by_line_and_stops_nothing() {
    let night = Broken::new();
    night.edit(REQUESTS, |text| text.replacen(",person,", ",persn,", 1));
    let requests = fs::read_to_string(night.path(REQUESTS)).unwrap();
    let words = ["requests/requests.csv: line 2: `applicant` must be `person` or `corporation`"];
    night.run().says(3, &words);
    night.ieum(&["verify", "out/2026-11-22"]).says(0, &[]);
    let rejects = fs::read_to_string(night.path("out/2026-11-22/rejects/requests.ndjson")).unwrap();
    let told: serde_json::Value = serde_json::from_str(rejects.trim_end()).unwrap();
    assert_eq!((&told["file"], &told["line"]), (&"requests/requests.csv".into(), &2.into()));
    let row = requests.lines().nth(1).unwrap();
    let hex: String = row.bytes().map(|byte| format!("{byte:02x}")).collect();
    assert!(told["raw_hex"] == hex.as_str(), "{told}");
    assert!(row.starts_with(told["request_id"].as_str().unwrap()), "{told}");
    let mode = fs::metadata(night.path("out/2026-11-22/rejects/requests.ndjson")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it is data of persons");
}

#[test]
fn an_unknown_column_of_the_requests_stops_the_night() {
    let night = Broken::new();
    night.edit(REQUESTS, |text| text.replacen("recipient_type", "recipent_type", 1));
    let screen = night.run();
    let words = ["a column has a name that is not known", "column: 8", "requests/requests.csv", "`recipient_type`?"];
    screen.says(6, &words);
    night.nothing_is_committed(&screen);
}

#[test]
fn requests_without_a_header_or_line_ends_are_told_without_their_values() {
    let check = |change: &dyn Fn(String) -> String, hint: &str| {
        let night = Broken::new();
        night.edit(REQUESTS, change);
        let screen = night.ieum(&["run", "nightly.toml", "--output", "json"]);
        night.assert_no_row_value_in(&screen);
        screen.says(6, &["name that is not known", "requests/requests.csv", hint, "\"exit_error\""]);
        night.nothing_is_committed(&screen);
    };
    check(&|text| text.split_once('\n').unwrap().1.to_owned(), "is the header row missing?");
    check(&|text| text.replace("\r\n", "\n").replace('\n', "\r"), "bare CR");
}

#[test]
fn a_withdrawal_that_cannot_be_read_stops_the_night() {
    let night = Broken::new();
    night.edit("requests/withdrawals.csv", |text| format!("{text}a,b\n"));
    let screen = night.run();
    screen.says(6, &["requests/withdrawals.csv", "`row` must be 3 fields", "hint: correct the row"]);
    night.nothing_is_committed(&screen);
}

#[test]
fn a_withdrawal_that_names_nothing_is_told() {
    let night = Broken::calm();
    night.edit("requests/withdrawals.csv", |text| format!("{text}R1,2026-11-22,nhis_eligibilty_history\n"));
    let screen = night.run();
    screen.says(6, &["a dataset that the catalog lacks", "requests/withdrawals.csv", "line: 2"]);
    screen.says(6, &["did you mean `nhis_eligibility_history`?"]);
    night.nothing_is_committed(&screen);

    let night = Broken::calm();
    night.edit("requests/withdrawals.csv", |text| format!("{text}R0001,2026-11-22,\n"));
    night.run().says(0, &["withdrawals name a request that was not received", "withdrawals.csv, line 2"]);
}
