//! `lineage.ndjson` of a small night against the schema in `tests/openlineage`, and against the night itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use ieum::report::{self, Language};
use ieum_core::lineage::LINEAGE;
use ieum_core::manifest::Manifest;
use ieum_core::tally::Tally;
use ieum_core::{night, verify};
use ieum_model::catalog::CatalogSource;
use ieum_tests::small_night::{self, FIRST, Making, SECOND};
use serde_json::Value;

const SCHEMA: &str = include_str!("../../openlineage/run_event.schema.json");

/// The START and the COMPLETE event of a night without the export of `vat`, and their text.
fn events() -> (String, [Value; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let out = run(folder.path());
    verify::verify(&out).unwrap();
    let manifest: Manifest = serde_json::from_slice(&fs::read(out.join("manifest.json")).unwrap()).unwrap();
    assert!(manifest.files.iter().any(|file| file.path == LINEAGE), "the run's digest covers it");
    let text = fs::read_to_string(out.join(LINEAGE)).unwrap();
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (text, events.try_into().unwrap())
}

/// Runs that night below a folder; its output.
fn run(folder: &Path) -> PathBuf {
    let mut exports = small_night::exports();
    exports.remove("vat/2026.csv");
    small_night::write_exports(&folder.join("exports"), &exports).unwrap();
    let request = |fields: &[(&str, &str)]| small_night::request(fields).unwrap();
    let (first, second) = (format!("rrno:{FIRST}"), format!("rrno:{SECOND}"));
    let requests = vec![
        request(&[("request_id", "r1"), ("subject_ids", &first), ("service", "fund")]),
        request(&[("request_id", "r2"), ("subject_ids", &second), ("documents", "income(payer)")]),
        // Somebody's number in place of a service, and of a recipient.
        request(&[("request_id", "r3"), ("subject_ids", &first), ("service", FIRST)]),
        request(&[("request_id", "r4"), ("subject_ids", &first), ("service", "fund"), ("recipient", SECOND)]),
    ];
    let sources: Vec<CatalogSource> = small_night::catalog_sources();
    let mut night = small_night::night(folder, &sources, requests, &[], Making::default()).unwrap();
    night::run(&mut night, false).unwrap();
    folder.join("out")
}

#[test]
fn every_event_keeps_the_schema() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let validator = jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap();
    let (_, events) = events();
    for event in &events {
        let errors: Vec<String> =
            validator.iter_errors(event).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert_eq!(errors, [""; 0]);
    }
    let mut wrong = events[1].clone();
    wrong["run"]["runId"] = "r1".into();
    assert!(!validator.is_valid(&wrong), "the schema tells a UUID from other words");
    assert_eq!([&events[0]["eventType"], &events[1]["eventType"]], ["START", "COMPLETE"]);
    assert_eq!(events[0]["run"]["runId"], events[1]["run"]["runId"]);
    assert_eq!(events[0]["eventTime"], "2026-11-22T00:00:00Z");
}

/// The fields of a dataset's schema, by namespace and name.
fn fields(datasets: &Value) -> BTreeMap<(&str, &str), BTreeSet<&str>> {
    let text = |value: &'_ Value| -> &'static str { String::leak(value.as_str().unwrap().to_owned()) };
    let dataset = |dataset: &Value| {
        let fields = dataset["facets"]["schema"]["fields"].as_array().unwrap();
        (
            (text(&dataset["namespace"]), text(&dataset["name"])),
            fields.iter().map(|field| text(&field["name"])).collect(),
        )
    };
    datasets.as_array().unwrap().iter().map(dataset).collect()
}

#[test]
fn every_field_of_a_bundle_comes_from_a_field_that_was_read() {
    let (_, [_, complete]) = events();
    let (read, written) = (fields(&complete["inputs"]), fields(&complete["outputs"]));
    assert_eq!(read[&("ieum://holders/nts", "income")], ["amount", "payer", "rrno", "year"].into());
    assert_eq!(read[&("ieum://holders/nts", "registration")], ["brno", "rep_rrno", "trade_name"].into());
    assert!(!read.contains_key(&("ieum://holders/nts", "vat")), "it was not delivered");
    assert_eq!(
        written[&("ieum://recipients/semas", "documents")],
        ["subject", "documents.income.records.payer"].into()
    );
    for output in complete["outputs"].as_array().unwrap() {
        let lineage = &output["facets"]["columnLineage"];
        let fields = lineage["fields"].as_object().unwrap();
        let place = (output["namespace"].as_str().unwrap(), output["name"].as_str().unwrap());
        assert_eq!(fields.keys().map(String::as_str).collect::<BTreeSet<_>>(), written[&place]);
        let inputs = fields.values().flat_map(|field| field["inputFields"].as_array().unwrap());
        for input in inputs.chain(lineage["dataset"].as_array().unwrap()) {
            let from = (input["namespace"].as_str().unwrap(), input["name"].as_str().unwrap());
            assert!(read[&from].contains(input["field"].as_str().unwrap()), "{input}");
        }
        for (field, from) in fields {
            let masking = &from["inputFields"][0]["transformations"][0]["masking"];
            assert_eq!(masking, field == "subject", "of the bundle, the subject alone is a pseudonym");
        }
    }
}

#[test]
fn the_lineage_says_what_was_late_and_how_many() {
    let (_, [_, complete]) = events();
    let facets = &complete["run"]["facets"];
    assert_eq!(facets["ieum_delays"]["datasets"], serde_json::json!({"vat": "E_HOLDER_MISSING"}));
    assert_eq!(facets["ieum_names"]["datasets"]["income"], serde_json::json!({"name": "소득금액증명", "of": "nts"}));
    let income = complete["inputs"].as_array().unwrap().iter().find(|input| input["name"] == "income").unwrap();
    assert_eq!(income["inputFacets"]["inputStatistics"]["rowCount"], 4);
    assert_eq!(income["inputFacets"]["ieum_accounting"]["kept"], 3);
    assert_eq!(income["inputFacets"]["dataQualityAssertions"]["assertions"][0]["success"], true);
}

/// What is somebody's, or a request's.
const VALUES: [&str; 10] =
    [FIRST, SECOND, "9912313000002", "9902284123452", "31000000", "31,000,000", "가게", "상사", "99999", "\"r1\""];

#[test]
fn the_lineage_holds_no_value_and_no_word_of_a_request() {
    let (text, _) = events();
    for value in VALUES {
        assert!(!text.contains(value), "{value}");
    }
}

#[test]
fn the_report_does_not_repeat_what_a_request_names_in_place_of_a_code() {
    let folder = tempfile::tempdir().unwrap();
    let out = run(folder.path());
    let answers = fs::read(out.join("outcomes.parquet")).unwrap();
    assert!(answers.windows(FIRST.len()).any(|bytes| bytes == FIRST.as_bytes()), "the answers do: they are protected");
    let tally = Tally::of(&out).unwrap();
    let page = report::html(report::Run { tally: &tally, telemetry: None }, Language::En);
    for value in VALUES {
        assert!(!page.contains(value), "{value}");
    }
    assert!(page.contains("not in the catalog"), "{page}");
}
