//! What becomes of requests that rest on consent records, and of those that name a level.

use std::fs;

use crate::broken::{Broken, REQUESTS};

const RECORDS: &str = "requests/consents.jsonld";
const DOCUMENT: &str = "nhis_eligibility_history";

/// A night of one request that names the record `c1`, for `documents`.
fn night_with(records: &str, documents: &str) -> Broken {
    let night = Broken::calm();
    night.edit(REQUESTS, |text| {
        let (header, row) = text.trim_end().split_once('\n').unwrap();
        // Without the documents of the native form: the record says what was consented to.
        let cells: Vec<&str> = row.split(',').collect();
        let place = |name: &str| header.split(',').position(|column| column == name).unwrap();
        let cell = |(at, cell): (usize, &&str)| match at {
            at if at == place("documents") => documents.to_owned(),
            at if at == place("consented_documents") => String::new(),
            _ => (*cell).to_owned(),
        };
        let row: Vec<String> = cells.iter().enumerate().map(cell).collect();
        format!("{header},consent_id\n{},c1\n", row.join(","))
    });
    fs::write(night.path(RECORDS), records).unwrap();
    night.edit("nightly.toml", |text| format!("{text}\nconsents = \"{RECORDS}\"\n"));
    let levels = format!(
        "[levels.basic]\nname_ko = \"기본\"\ndocuments = [{{ dataset = \"{DOCUMENT}\", items = [\"{}\"] }}]\n",
        item(&night, 0)
    );
    fs::write(night.path("catalog/levels.toml"), levels).unwrap();
    night
}

/// The code of a default item of the document.
fn item(night: &Broken, number: usize) -> String {
    let text = fs::read_to_string(night.path(&format!("catalog/datasets/nhis/{DOCUMENT}.toml"))).unwrap();
    let catalog: toml::Table = text.parse().unwrap();
    let items = catalog["items"].as_table().unwrap().iter();
    let default = items.filter(|(_, item)| item.get("default").and_then(toml::Value::as_bool) == Some(true));
    default.map(|(code, _)| code.clone()).nth(number).unwrap()
}

fn record(status: &str, recipient: &str, data: &str) -> String {
    format!(
        r#"{{"@id": "https://example.com/c1", "@type": "dpv:ConsentRecord", "dct:identifier": "c1",
            "dpv:hasProcess": {{"@type": "dpv:Process", "dpv:hasRecipient": "agency:{recipient}", "dpv:hasPurpose": "심사",
                "dpv:hasPersonalData": "{data}"}},
            "dpv:hasConsentStatus": {{"@type": "dpv:{status}", "dpv:isIndicatedAtTime": "2026-11-01",
                "dpv:hasDuration": {{"@type": "dpv:TemporalDuration", "rdf:value": "P6M"}}}}}}"#
    )
}

/// Outcome and reason of the one line.
#[track_caller]
fn answered(night: &Broken, code: i32) -> (String, String) {
    night.run().says(code, &[]);
    let outcomes = night.outcomes(DOCUMENT);
    assert_eq!(outcomes.len(), 1);
    outcomes.into_iter().next().unwrap()
}

#[test]
fn a_request_is_answered_as_far_as_its_consent_record_goes() {
    let whole = format!("agency:{DOCUMENT}");
    let cases = [
        (record("ConsentGiven", "kcis", &whole), ("provided", "")),
        (record("ConsentWithdrawn", "kcis", &whole), ("withdrawn", "")),
        (record("ConsentRefused", "kcis", &whole), ("no_consent", "")),
        (record("ConsentExpired", "kcis", &whole), ("refused", "E_CONSENT_EXPIRED")),
        (record("ConsentGiven", "kcis", &whole).replace("2026-11-01", "2026-05-01"), ("refused", "E_CONSENT_EXPIRED")),
        (record("ConsentGiven", "lh", &whole), ("refused", "E_CONSENT_SCOPE")),
        (record("ConsentGiven", "kcis", "agency:income_amount_cert"), ("no_consent", "")),
        (record("ConsentGiven", "kcis", "level:basic"), ("partial", "E_CONSENT_SCOPE")),
        (
            record("ConsentGiven", "kcis", &whole).replace("\"c1\"", "\"c2\"").replace("/c1", "/c2"),
            ("refused", "E_CONSENT_UNKNOWN"),
        ),
    ];
    for (records, (outcome, reason)) in cases {
        let night = night_with(&records, DOCUMENT);
        assert_eq!(answered(&night, 0), (outcome.to_owned(), reason.to_owned()), "{records}");
    }
    // The bundle has what the level holds, and nothing else of the document.
    let night = night_with(&record("ConsentGiven", "kcis", "level:basic"), DOCUMENT);
    night.run().says(0, &[]);
    let bundles = fs::read_to_string(night.path("out/2026-11-22/bundles/packed/kcis/documents.ndjson")).unwrap();
    let bundle: serde_json::Value = serde_json::from_str(bundles.lines().next().unwrap()).unwrap();
    let records = bundle["documents"][DOCUMENT]["records"].as_array().unwrap();
    assert!(!records.is_empty());
    for record in records {
        assert_eq!(record.as_object().unwrap().keys().collect::<Vec<_>>(), [&item(&night, 0)]);
    }
}

#[test]
fn a_level_asks_for_its_documents() {
    let night = night_with(&record("ConsentGiven", "kcis", "level:basic"), "level:basic");
    assert_eq!(answered(&night, 0), ("provided".to_owned(), String::new()));
    let night = night_with(&record("ConsentGiven", "kcis", "level:basic"), "level:basis");
    let screen = night.run();
    screen.says(0, &["requests name a level that the catalog lacks", "did you mean `level:basic`?"]);
    night.edit("catalog/levels.toml", |text| text.replace(DOCUMENT, "nhis_eligibility_histori"));
    let screen = night.ieum(&["catalog", "check", "catalog"]);
    screen.says(6, &["levels.toml:3", "unknown dataset `nhis_eligibility_histori`", "nhis_eligibility_history"]);
}

#[test]
fn a_record_that_cannot_be_read_is_told_and_refuses_its_request() {
    let sound = record("ConsentGiven", "kcis", &format!("agency:{DOCUMENT}"));
    let night = night_with(&sound.replace("dpv:hasRecipient", "dpv:recipient"), DOCUMENT);
    let screen = night.run();
    let told =
        "consent record not used: requests/consents.jsonld, record 1: a `dpv:hasProcess` has no `dpv:hasRecipient`";
    screen.says(0, &[told, "requests: 1, the first is `R1`"]);
    assert_eq!(night.outcomes(DOCUMENT).into_iter().next().unwrap().1, "E_CONSENT_UNKNOWN");
    let night = night_with(&sound[..sound.len() - 1], DOCUMENT);
    let screen = night.run();
    screen.says(6, &["a file of consent records cannot be read: line 5, column", "consents.jsonld"]);
    night.nothing_is_committed(&screen);
}

/// What the manifest says was taken back: requests and documents.
fn taken_back(night: &Broken) -> (u64, u64) {
    let text = fs::read(night.path("out/2026-11-22/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let number = |name: &str| manifest["taken_back"][name].as_u64().unwrap_or(0);
    (number("requests"), number("documents"))
}

#[test]
fn a_consent_record_that_ends_between_gathering_and_the_commit_stops_delivery() {
    let whole = format!("agency:{DOCUMENT}");
    let given = record("ConsentGiven", "kcis", &whole);
    let cases = [
        (record("ConsentWithdrawn", "kcis", &whole), ("withdrawn", ""), (1, 1)),
        (record("ConsentExpired", "kcis", &whole), ("refused", "E_CONSENT_EXPIRED"), (1, 1)),
        ("[]".to_owned(), ("refused", "E_CONSENT_UNKNOWN"), (1, 1)),
        (record("ConsentGiven", "kcis", "level:basic"), ("partial", "E_CONSENT_SCOPE"), (0, 1)),
        (given.replace("P6M", "P9M"), ("provided", ""), (0, 0)),
    ];
    for (later, (outcome, reason), counts) in cases {
        let mut manifests = Vec::new();
        // Before anything is written, and when everything was.
        for step in ["gathered", "commit.manifest_written", "commit.withdrawals_read"] {
            let night = night_with(&given, DOCUMENT);
            night.killed_at(step, &[]);
            fs::write(night.path(RECORDS), &later).unwrap();
            let screen = night.run();
            screen.says(0, &[]);
            assert!(screen.stdout.contains("readings were gathered before"), "{}", screen.stdout);
            let outcomes = night.outcomes(DOCUMENT);
            assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), [(outcome.to_owned(), reason.to_owned())], "{later}");
            assert_eq!(taken_back(&night), counts);
            let bundles = night.path("out/2026-11-22/bundles/packed/kcis/documents.ndjson");
            let delivered = fs::read_to_string(bundles).unwrap_or_default();
            let has = |number| delivered.contains(&format!("\"{}\":", item(&night, number)));
            assert_eq!([has(0), has(1)], [counts.0 == 0, counts.1 == 0], "{delivered}");
            manifests.push(fs::read(night.path("out/2026-11-22/manifest.json")).unwrap());
        }
        assert!(manifests.windows(2).all(|pair| pair[0] == pair[1]), "the bytes follow from where the run was stopped");
    }
}

#[test]
fn records_that_cannot_be_read_again_stop_the_commit_and_nothing_is_lost() {
    let given = record("ConsentGiven", "kcis", &format!("agency:{DOCUMENT}"));
    let night = night_with(&given, DOCUMENT);
    night.killed_at("commit.synced", &[]);
    fs::write(night.path(RECORDS), &given[..given.len() / 2]).unwrap();
    let screen = night.run();
    screen.says(6, &["a file of consent records cannot be read", "the same command goes on from what was done"]);
    night.nothing_is_committed(&screen);
    fs::write(night.path(RECORDS), &given).unwrap();
    assert_eq!(answered(&night, 0), ("provided".to_owned(), String::new()));
    assert_eq!(taken_back(&night), (0, 0));
}
