//! What follows from how one night differs from another, whatever the right answers are.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use ieum_core::night;
use ieum_model::catalog::CatalogSource;
use ieum_model::request::Request;
use ieum_tests::small_night::{self, FIRST, Making, SECOND};

/// Somebody of whom the exports have an income, and who asks for nothing.
const NOBODY: &str = "9801013000015";

fn request(id: &str, subject: &str, rest: &[(&str, &str)]) -> Request {
    let subject = format!("rrno:{subject}");
    let fields: Vec<_> =
        [("request_id", id), ("subject_ids", &*subject)].into_iter().chain(rest.iter().copied()).collect();
    small_night::request(&fields).unwrap()
}

/// The bundles of a night, by recipient and request.
fn bundles(
    sources: &[CatalogSource],
    exports: &BTreeMap<&'static str, String>,
    requests: Vec<Request>,
) -> BTreeMap<(String, String), Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    small_night::write_exports(&folder.path().join("exports"), exports).unwrap();
    let mut night = small_night::night(folder.path(), sources, requests, &[], Making::default()).unwrap();
    night::run(&mut night, false).unwrap();
    let names =
        |folder: &Path| -> Vec<_> { fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect() };
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut found = BTreeMap::new();
    for recipient in names(&night.out.join("bundles/per_request")) {
        for bundle in names(&recipient) {
            found.insert((name(&recipient), name(&bundle)), fs::read(bundle).unwrap());
        }
    }
    found
}

#[test]
fn a_changed_row_changes_the_bundles_of_its_person_and_of_nobody_else() {
    let sources = small_night::catalog_sources();
    let requests = || {
        vec![
            request("r1", FIRST, &[("service", "fund")]),
            request("r2", SECOND, &[("service", "fund")]),
            request("r3", SECOND, &[("documents", "income(amount)")]),
            request("r4", FIRST, &[("documents", "income(payer)")]),
        ]
    };
    let before = bundles(&sources, &small_night::exports(), requests());
    assert_eq!(before.len(), 4);
    // Whose row, what of it changes, and the requests that see it.
    let changes = [
        ("income/2026.csv", "\"31,000,000\"", "\"31,000,001\"", &["r1"][..]),
        ("income/2026.csv", "가게 하나", "가게 열", &["r4"]),
        ("income/2026.csv", "2024,100", "2024,101", &["r2", "r3"]),
        // A year decides the order of the records of those who may see it.
        ("income/2026.csv", "2025,200", "2023,200", &["r2"]),
        ("income/2026.csv", "가게 둘", "가게 스물", &[]),
        ("income/2026.csv", "2025,999", "2025,998", &[]),
        ("registration/2026.csv", "둘째 상사", "셋째 상사", &["r2"]),
        ("vat/2026.csv", "2025-1,700", "2025-1,701", &["r2"]),
        ("vat/2026.csv", "1248100998,2025-1,1", "1248100998,2025-1,2", &[]),
    ];
    for (export, from, to, expected) in changes {
        let mut exports = small_night::exports();
        let text = exports.get_mut(export).unwrap();
        assert_eq!(text.matches(from).count(), 1, "{from}");
        *text = text.replace(from, to);
        let after = bundles(&sources, &exports, requests());
        assert!(after.keys().eq(before.keys()));
        let changed = after.iter().filter(|(name, bundle)| before[*name] != **bundle);
        let changed: Vec<&str> = changed.map(|((_, request), _)| request.as_str()).collect();
        assert_eq!(changed, expected, "{from} → {to}");
    }
    // A person who comes, goes or asks changes nothing for the others.
    let mut without = small_night::exports();
    let income = without.get_mut("income/2026.csv").unwrap();
    *income = income.split_inclusive('\n').filter(|line| !line.starts_with(NOBODY)).collect();
    assert_eq!(bundles(&sources, &without, requests()), before);
    let mut more = requests();
    more.push(request("r0", NOBODY, &[("service", "fund")]));
    let mut after = bundles(&sources, &small_night::exports(), more);
    assert!(after.remove(&("semas".to_owned(), "r0".to_owned())).is_some());
    assert_eq!(after, before);
}

#[test]
fn two_recipients_share_no_pseudonym_and_one_has_one_for_each_person() {
    let mut sources = small_night::catalog_sources();
    let recipients = sources.iter_mut().find(|source| source.path == "recipients.toml").unwrap();
    recipients.text += "[recipients.bank]\nname_ko = \"은행\"\nrecipient_type = \"administrative_body\"\n";
    let mut requests = Vec::new();
    for recipient in ["semas", "bank"] {
        for subject in [FIRST, SECOND] {
            for documents in ["income(amount)", "income(year)", "vat"] {
                let id = format!("r{}", requests.len());
                requests.push(request(&id, subject, &[("documents", documents), ("recipient", recipient)]));
            }
        }
    }
    let bundles = bundles(&sources, &small_night::exports(), requests);
    assert_eq!(bundles.len(), 12);
    let mut subjects: BTreeMap<&str, BTreeMap<usize, BTreeSet<String>>> = BTreeMap::new();
    for ((recipient, request), bundle) in &bundles {
        let bundle: serde_json::Value = serde_json::from_slice(bundle).unwrap();
        let person = request[1..].parse::<usize>().unwrap() / 3 % 2;
        let subject = bundle["subject"].as_str().unwrap().to_owned();
        subjects.entry(recipient.as_str()).or_default().entry(person).or_default().insert(subject);
    }
    let of = |recipient: &str| -> BTreeSet<&String> { subjects[recipient].values().flatten().collect() };
    for recipient in ["semas", "bank"] {
        assert!(subjects[recipient].values().all(|names| names.len() == 1), "one name a person");
        assert_eq!(of(recipient).len(), 2, "and two for two");
    }
    assert!(of("semas").is_disjoint(&of("bank")));
}

/// The catalog of the small night, with `more` in the `[export]` of the dataset whose path is `path`.
fn with_export(sources: &[CatalogSource], path: &str, more: &str) -> Vec<CatalogSource> {
    let line = format!("path = \"{path}\"\n");
    let mut sources = sources.to_vec();
    let text = &mut sources.iter_mut().find(|source| source.text.contains(&line)).unwrap().text;
    *text = text.replace(&line, &format!("{line}{more}\n"));
    sources
}

#[test]
fn a_base_and_its_changes_answer_as_the_export_that_they_make_together() {
    let plain = small_night::catalog_sources();
    let changing = |dataset: &str, key: &str| {
        format!("deltas = {{ path = \"{dataset}/*.delta\", key = [{key}], change = \"변동\" }}")
    };
    let sources = with_export(&plain, "income/*.csv", &changing("income", "\"rrno\", \"year\""));
    let sources = with_export(&sources, "registration/*.csv", &changing("registration", "\"brno\""));
    let requests = || {
        vec![
            request("r1", FIRST, &[("service", "fund")]),
            request("r2", SECOND, &[("service", "fund")]),
            request("r3", SECOND, &[("documents", "income(amount,payer)")]),
            request("r4", NOBODY, &[("service", "fund")]),
        ]
    };
    let base = small_night::exports();
    let mut changed = base.clone();
    changed.insert(
        "income/1.delta",
        "주민등록번호,year,변동,amount,payer\n9902284123452,2024,U,150,가게 둘\n9902284123452,2025,D,,\n\
         9912313000002,2023,I,7,가게 여덟\n9801013000015,2025,U,1,가게 넷\n"
            .into(),
    );
    changed.insert(
        "income/2.delta",
        "주민등록번호,year,변동,amount,payer\n9902284123452,2024,U,160,가게 아홉\n9902284123452,2025,I,201,가게 셋\n\
         9912313000002,2023,D,,\n"
            .into(),
    );
    // A business of the second person now belongs to the first.
    changed.insert(
        "registration/1.delta",
        "변동,brno,rep_rrno,trade_name\nU,9998100015,9912313000002,둘째 상사\nI,1248100998,9902284123452,새 상사\n"
            .into(),
    );
    let mut merged = base.clone();
    merged.insert(
        "income/2026.csv",
        "주민등록번호,year,amount,payer\n9912313000002,2025,\"31,000,000\",가게 하나\n9801013000015,2025,1,가게 넷\n\
         9902284123452,2024,160,가게 아홉\n9902284123452,2025,201,가게 셋\n"
            .into(),
    );
    merged.insert(
        "registration/2026.csv",
        "brno,rep_rrno,trade_name\n9999900005,990228-4123452,\"이음, 상사\"\n9998100015,9912313000002,둘째 상사\n\
         1248100998,9902284123452,새 상사\n"
            .into(),
    );
    let expected = bundles(&plain, &merged, requests());
    assert_eq!(expected.len(), 4);
    assert_ne!(bundles(&sources, &base, requests()), expected);
    assert_eq!(bundles(&sources, &changed, requests()), expected);
}
