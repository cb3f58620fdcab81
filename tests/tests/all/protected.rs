//! Nothing is delivered about a protected person, by whatever identifier a request comes to it; third-person items are off
//! unless somebody says why.

use std::fs;
use std::path::Path;

use ieum_core::manifest::Manifest;
use ieum_core::night;
use ieum_core::protected::Protected;
use ieum_core::verify::verify;
use ieum_model::catalog::CatalogSource;
use ieum_model::request::Request;
use ieum_tests::small_night::{self, FIRST, Making, SECOND};
use serde_json::{Value, json};
use tempfile::TempDir;

fn request(id: &str, subject: &str, rest: &[(&str, &str)]) -> Request {
    let subject = format!("rrno:{subject}");
    let fields: Vec<_> =
        [("request_id", id), ("subject_ids", &*subject)].into_iter().chain(rest.iter().copied()).collect();
    small_night::request(&fields).unwrap()
}

fn run(sources: &[CatalogSource], requests: Vec<Request>, protected: Option<Protected>) -> (TempDir, Manifest) {
    let folder = tempfile::tempdir().unwrap();
    small_night::write_exports(&folder.path().join("exports"), &small_night::exports()).unwrap();
    let mut night = small_night::night(folder.path(), sources, requests, &[], Making::default()).unwrap();
    night.protected = protected;
    night::run(&mut night, false).unwrap();
    verify(&night.out).unwrap();
    let manifest = serde_json::from_slice(&fs::read(night.out.join("manifest.json")).unwrap()).unwrap();
    (folder, manifest)
}

fn bundle(folder: &Path, request: &str) -> Option<Value> {
    let bytes = fs::read(folder.join(format!("out/bundles/per_request/semas/{request}.json"))).ok()?;
    Some(serde_json::from_slice(&bytes).unwrap())
}

#[test]
fn who_is_led_to_a_protected_person_gets_nothing_and_is_read_no_further() {
    let requests = || {
        vec![
            request("r1", FIRST, &[("service", "fund")]),
            request("r2", SECOND, &[("service", "fund")]),
            request("r3", SECOND, &[("documents", "income(amount)")]),
        ]
    };
    let sources = small_night::catalog_sources();
    let (_, open) = run(&sources, requests(), None);
    assert_eq!((open.sources["vat.brno"].staged, open.requests.delivered), (3, 3));
    let mut list = Protected::default();
    assert!(list.add("brno", "999-99-00005"));
    let (folder, manifest) = run(&sources, requests(), Some(list));
    assert!(!manifest.sources.contains_key("vat.brno"), "nobody else asks for it");
    assert_eq!((manifest.requests.delivered, manifest.requests.refused), (2, 1));
    assert_eq!(manifest.outcomes["refused"], 3);
    assert!(bundle(folder.path(), "r2").is_none());
    // A request that is not led there is answered.
    assert_eq!(bundle(folder.path(), "r3").unwrap()["documents"]["income"]["outcome"], "provided");
    let mut other = Protected::default();
    assert!(other.add("brno", "124-81-00998"));
    assert_eq!(run(&sources, requests(), Some(other)).1, open, "a list that concerns nobody changes nothing");
}

#[test]
fn third_person_items_are_off_unless_a_reason_is_given() {
    let mut sources = small_night::catalog_sources();
    let income = sources.iter_mut().find(|source| source.path.ends_with("income.toml")).unwrap();
    // The payer is somebody else.
    let (before, payer) = income.text.split_once("[items.payer]").unwrap();
    let (class, rest) = payer.split_once("sensitivity = \"").unwrap();
    income.text = format!("{before}[items.payer]{class}sensitivity = \"T{}", &rest[1..]);
    let asked = ("documents", "income(amount,payer)");
    let requests = vec![
        request("r1", FIRST, &[asked]),
        request("r2", SECOND, &[asked, ("third_person_reason", " ")]),
        request("r3", FIRST, &[asked, ("third_person_reason", "상속 확인")]),
        request("r4", FIRST, &[("documents", "income(payer)")]),
        request("r5", FIRST, &[("documents", "income")]),
    ];
    let (folder, manifest) = run(&sources, requests, None);
    let income = |request: &str| bundle(folder.path(), request).unwrap()["documents"]["income"].clone();
    let amount_alone = json!({"outcome": "partial", "reason": "R03", "records": [{"amount": 31_000_000}]});
    assert_eq!(income("r1"), amount_alone);
    let blank = json!({"outcome": "partial", "reason": "R03", "records": [{"amount": 100}, {"amount": 200}]});
    assert_eq!(income("r2"), blank, "a blank reason is none");
    let both = json!({"outcome": "provided", "records": [{"amount": 31_000_000, "payer": "가게 하나"}]});
    assert_eq!(income("r3"), both);
    assert_eq!(income("r4"), json!({"outcome": "refused", "reason": "R03", "records": []}));
    assert!(!income("r5").to_string().contains("payer"), "no default item is a third person's");
    assert_eq!((manifest.outcomes["partial"], manifest.outcomes["refused"]), (2, 1));
}
