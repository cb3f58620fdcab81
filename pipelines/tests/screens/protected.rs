//! What becomes of requests about protected persons.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::broken::{Broken, REQUESTS};

const LIST: &str = "protected.txt";

/// A request of the sample night, with its identifiers: `kind:value`, one a line.
fn somebody(night: &Broken) -> (String, String) {
    night.run().says(3, &[]);
    let answers = night.table("2026-11-22", "outcomes.parquet", ["request_id", "outcome"]);
    let [request, _] = answers.into_iter().find(|[_, outcome]| outcome == "provided").unwrap();
    fs::remove_dir_all(night.path("out")).unwrap();
    let requests = fs::read_to_string(night.path(REQUESTS)).unwrap();
    let row = requests.lines().find(|line| line.starts_with(&request)).unwrap();
    let ids = row.split(',').nth(2).unwrap().replace(';', "\n");
    (request, ids)
}

fn protect(night: &Broken, ids: &str) {
    fs::write(night.path(LIST), format!("# by order of the court\n{ids}\n")).unwrap();
    fs::set_permissions(night.path(LIST), fs::Permissions::from_mode(0o600)).unwrap();
    night.edit("nightly.toml", |text| match text.contains(LIST) {
        true => text,
        false => format!("{text}\nprotected = \"{LIST}\"\n"),
    });
}

fn staged(night: &Broken) -> u64 {
    let text = fs::read_to_string(night.path("out/2026-11-22/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    manifest["sources"].as_object().unwrap().values().map(|counts| counts["staged"].as_u64().unwrap()).sum()
}

#[test]
fn a_request_about_a_protected_person_is_answered_with_a_reason_of_its_own_and_nothing_is_staged() {
    let night = Broken::new();
    let (request, ids) = somebody(&night);
    night.run().says(3, &[]);
    let open = staged(&night);
    fs::remove_dir_all(night.path("out")).unwrap();
    protect(&night, &ids);
    let screen = night.run();
    screen.says(3, &[]);
    let answers = night.table("2026-11-22", "outcomes.parquet", ["request_id", "outcome", "reason"]);
    let of = answers.into_iter().filter(|[of, ..]| *of == request).map(|[_, outcome, reason]| (outcome, reason));
    assert_eq!(of.collect::<BTreeSet<_>>(), BTreeSet::from([("refused".to_owned(), "E_SUPPRESSED".to_owned())]));
    assert!(staged(&night) < open, "rows of a protected person are staged");
    // Neither the screen nor the output names anybody of the list.
    for id in ids.lines().filter_map(|id| id.split_once(':')).map(|(_, value)| value) {
        assert!(!screen.stderr.contains(id) && !screen.stdout.contains(id));
    }
}

#[test]
fn a_list_of_protected_persons_that_cannot_be_used_stops_the_night() {
    let night = Broken::new();
    let (_, ids) = somebody(&night);
    protect(&night, &ids);
    fs::set_permissions(night.path(LIST), fs::Permissions::from_mode(0o644)).unwrap();
    let screen = night.run();
    screen.says(12, &["the file is open to group or others", "protected.txt", "chmod 600"]);
    night.nothing_is_committed(&screen);
    protect(&night, &format!("{ids}\n9001011234567"));
    let lines = ids.lines().count() + 2;
    let screen = night.run();
    screen.says(6, &["a line of the list of protected persons is no identifier", &format!("line: {lines}")]);
    assert!(!screen.stderr.contains("9001011234567"));
    night.nothing_is_committed(&screen);
    fs::remove_file(night.path(LIST)).unwrap();
    night.run().says(12, &["the key file cannot be read", "write the list of protected persons"]);
    // A run does not go on with another list.
    protect(&night, "patient:P1");
    night.killed_at("gathered", &[]);
    protect(&night, &ids);
    night.run().says(6, &["changed: requests, protected persons or lines carried over"]);
}
