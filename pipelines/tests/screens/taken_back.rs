//! What a run does with withdrawals that came since it began.

use std::collections::BTreeSet;
use std::fs;

use crate::broken::{Broken, Screen};

const WITHDRAWALS: &str = "requests/withdrawals.csv";
const OUT: &str = "out/2026-11-22";

/// A request of the sample night of which something is delivered.
fn delivered() -> String {
    let night = Broken::new();
    night.run().says(3, &[]);
    let answers = night.table("2026-11-22", "outcomes.parquet", ["request_id", "outcome"]);
    answers.into_iter().find(|[_, outcome]| outcome == "provided").map(|[request, _]| request).unwrap()
}

fn outcomes_of(night: &Broken, request: &str) -> BTreeSet<String> {
    let answers = night.table("2026-11-22", "outcomes.parquet", ["request_id", "outcome"]);
    answers.into_iter().filter(|[of, _]| of == request).map(|[_, outcome]| outcome).collect()
}

fn take_back(night: &Broken, request: &str) {
    night.edit(WITHDRAWALS, |text| format!("{}\n{request},2026-11-22,\n", text.trim_end()));
}

fn manifest(night: &Broken) -> Vec<u8> {
    fs::read(night.path(OUT).join("manifest.json")).unwrap()
}

#[track_caller]
fn goes_on(night: &Broken, request: &str) -> Screen {
    let screen = night.run();
    screen.says(3, &[]);
    assert!(screen.stdout.contains("readings were gathered before"), "{}", screen.stdout);
    assert_eq!(outcomes_of(night, request), BTreeSet::from(["withdrawn".to_owned()]));
    screen
}

#[test]
fn a_run_that_goes_on_does_not_deliver_what_was_taken_back_meanwhile() {
    let request = delivered();
    let mut manifests = BTreeSet::new();
    // Before anything is written, and when everything was.
    for step in ["gathered", "commit.manifest_written", "commit.withdrawals_read"] {
        let night = Broken::new();
        night.killed_at(step, &[]);
        take_back(&night, &request);
        goes_on(&night, &request);
        manifests.insert(manifest(&night));
    }
    // Killed again when it has just noticed, and then when it has written the output without it.
    let night = Broken::new();
    night.killed_at("gathered", &[]);
    take_back(&night, &request);
    for step in ["withdrawals.taken_back", "commit.synced", "withdrawals.taken_back"] {
        night.killed_at(step, &[]);
        assert!(!night.path(OUT).exists());
    }
    goes_on(&night, &request);
    manifests.insert(manifest(&night));
    assert_eq!(manifests.len(), 1, "the bytes follow from where the run was stopped");
    let told: serde_json::Value = serde_json::from_slice(manifests.first().unwrap()).unwrap();
    assert_eq!(told["taken_back"]["requests"], 1);
    // A run that was killed after its commit is known to have committed, whatever is taken back later.
    let night = Broken::new();
    night.killed_at("commit.renamed", &[]);
    take_back(&night, &request);
    night.run().says(3, &[]);
    assert!(!outcomes_of(&night, &request).contains("withdrawn"));
}

#[test]
fn a_run_that_cannot_read_the_withdrawals_again_commits_nothing_and_goes_on() {
    let night = Broken::new();
    night.killed_at("gathered", &[]);
    let sound = fs::read_to_string(night.path(WITHDRAWALS)).unwrap();
    night.edit(WITHDRAWALS, |text| format!("{text}R20261122-00000000,someday,\n"));
    let screen = night.run();
    screen.says(6, &["`withdrawn_at` must be a date", "the same command goes on from what was done"]);
    night.nothing_is_committed(&screen);
    night.edit(WITHDRAWALS, |_| sound);
    let screen = night.run();
    screen.says(3, &[]);
    assert!(screen.stdout.contains("readings were gathered before"), "{}", screen.stdout);
    // As one that was never stopped.
    let whole = Broken::new();
    whole.run().says(3, &[]);
    assert_eq!(manifest(&night), manifest(&whole));
}
