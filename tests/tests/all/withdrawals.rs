//! What is taken back while a night runs is not delivered, at whatever instant it comes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use ieum_core::ledger::{self, Query, Subject};
use ieum_core::manifest::{Manifest, TakenBackLate};
use ieum_core::night::{self, BundleFormat, Layout, Manner, Reread, Step, WithdrawalFiles};
use ieum_core::seal::receipt_of;
use ieum_core::verify::verify_signed;
use ieum_model::error::{Error, Result};
use ieum_model::request::{Request, Withdrawal};
use ieum_tests::small_night::{self, FIRST, Making, SECOND};
use tempfile::TempDir;

const LAYOUTS: [(Layout, BundleFormat); 5] = [
    (Layout::Folder, BundleFormat::Json),
    (Layout::PerRequest, BundleFormat::Json),
    (Layout::PerRequest, BundleFormat::Parquet),
    (Layout::Packed, BundleFormat::Json),
    (Layout::Packed, BundleFormat::Parquet),
];

/// Values that stand in the bundle of `r2` alone.
const ONLY_OF_THE_SECOND: [&str; 3] = ["이음, 상사", "둘째 상사", "2025-2"];

/// Files of withdrawals to which somebody adds while a night runs.
#[derive(Clone, Default)]
struct Arriving(Arc<Mutex<Vec<Withdrawal>>>);

impl Arriving {
    fn add(&self, request: &str, dataset: Option<&str>) {
        let get = |name: &str| match name {
            "request_id" => Some(request.to_owned().into()),
            "withdrawn_at" => Some("2026-11-22".into()),
            _ => dataset.map(|dataset| dataset.to_owned().into()),
        };
        self.0.lock().unwrap().push(Withdrawal::from_fields(&get, 1).unwrap());
    }
}

impl WithdrawalFiles for Arriving {
    fn begun_with(&self) -> &[(String, Vec<u8>)] {
        &[]
    }

    fn read_again(&self, known: &str) -> Result<Option<Reread>> {
        let withdrawals = self.0.lock().map_err(|_| Error::internal("poisoned"))?.clone();
        let digest = withdrawals.len().to_string();
        Ok((digest != known).then_some(Reread { digest, withdrawals, consents: None }))
    }

    fn digest(&self) -> String {
        "0".to_owned()
    }
}

fn requests() -> Vec<Request> {
    let (first, second) = (format!("rrno:{FIRST}"), format!("rrno:{SECOND}"));
    let make = |id: &str, subject: &str, rest: (&str, &str)| {
        small_night::request(&[("request_id", id), ("subject_ids", subject), rest]).unwrap()
    };
    vec![
        make("r1", &first, ("service", "fund")),
        make("r2", &second, ("service", "fund")),
        make("r3", &second, ("documents", "income(amount)")),
    ]
}

struct Ran {
    folder: TempDir,
    manifest: Manifest,
}

impl Ran {
    fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let (mut found, mut open) = (BTreeMap::new(), vec![self.out()]);
        while let Some(next) = open.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    let name = path.strip_prefix(self.out()).unwrap().to_string_lossy().into_owned();
                    found.insert(name, fs::read(&path).unwrap());
                }
            }
        }
        found
    }
}

/// A night during which `arrives` is asked at the begin of every step, each time it begins.
fn run(layout: Layout, format: BundleFormat, mut arrives: impl FnMut(Step, u32, &Arriving, &Path)) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    small_night::write_exports(&folder.path().join("exports"), &small_night::exports()).unwrap();
    let making = Making { layout, format, shard_requests: 1, ..Making::default() };
    let sources = small_night::catalog_sources();
    let mut night = small_night::night(folder.path(), &sources, requests(), &[], making).unwrap();
    let arriving = Arriving::default();
    night.withdrawals = Some(Box::new(arriving.clone()));
    let mut times = BTreeMap::new();
    let mut begins = |step: Step| {
        let time = times.entry(step).or_insert(0);
        *time += 1;
        arrives(step, *time, &arriving, folder.path());
    };
    let summary = night::run_observed(&mut night, &Manner::default(), &mut begins).unwrap();
    assert!(summary.committed);
    let manifest: Manifest = serde_json::from_slice(&fs::read(night.out.join("manifest.json")).unwrap()).unwrap();
    verify_signed(&night.out, Some(small_night::signing_key(ieum_privacy::Profile::Default).unwrap().public()))
        .unwrap();
    Ran { manifest, folder }
}

/// Whether a text stands in a file of the output, in JSON or in a plain page of Parquet.
fn stands(files: &BTreeMap<String, Vec<u8>>, text: &str) -> bool {
    files.values().any(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
}

#[test]
fn a_withdrawal_that_arrives_between_gather_and_commit_stops_delivery() {
    for (layout, format) in LAYOUTS {
        let undisturbed = run(layout, format, |_, _, _, _| ());
        assert_eq!(undisturbed.manifest.taken_back, None);
        if format == BundleFormat::Json {
            assert!(ONLY_OF_THE_SECOND.iter().all(|text| stands(&undisturbed.files(), text)));
        }
        // What the first attempt wrote is still there when it comes; the other time nothing is written yet.
        let whenever = [Step::Gather, Step::Assemble, Step::Records, Step::Commit].map(|when| {
            run(layout, format, |step, time, arriving, folder| {
                if (step, time) == (when, 1) {
                    arriving.add("r2", None);
                    let written = folder.join("out.partial/bundles").exists();
                    assert_eq!(written, matches!(when, Step::Records | Step::Commit), "{}", when.name());
                }
            })
        });
        let [ran, others @ ..] = &whenever;
        let expected = TakenBackLate { withdrawals_digest: "1".into(), requests: 1, documents: 3 };
        assert_eq!(ran.manifest.taken_back.as_ref(), Some(&expected));
        assert_eq!(ran.manifest.outcomes["withdrawn"], 3);
        assert_eq!((ran.manifest.requests.delivered, ran.manifest.requests.refused), (2, 1));
        assert_eq!(ran.manifest.sources, undisturbed.manifest.sources, "what was read was read");
        for text in ONLY_OF_THE_SECOND {
            assert!(!stands(&ran.files(), text), "{text} is delivered");
        }
        let receipt = |request: &str| receipt_of(&ran.out(), request).unwrap().text().unwrap();
        assert!(receipt("r2").contains("\"withdrawn\"") && !receipt("r2").contains("\"provided\""));
        assert!(receipt("r3").contains("\"provided\""));
        for other in others {
            assert!(other.files() == ran.files(), "the bytes follow from when it came");
        }
        // A ledger that knows of the withdrawal, and that delivers nothing of it.
        let master =
            ieum_privacy::MasterKey::from_hex_file_text(&format!("ieum-key/1 small-night 1 {}", "5a".repeat(32)));
        let master = master.unwrap();
        let query = Query { subject: Some(Subject { kind: "rrno".into(), value: SECOND.into() }), ..Query::default() };
        let mut found = Vec::new();
        ledger::who(ran.folder.path(), &[&master], &query, &mut |line| {
            found.push((line.request_id, line.outcome));
            Ok(())
        })
        .unwrap();
        let of_second = found.iter().filter(|(request, _)| request == "r2");
        let outcomes: Vec<&str> = of_second.map(|(_, outcome)| outcome.as_str()).collect();
        assert_eq!(outcomes, ["withdrawn"; 3]);
    }
}

#[test]
fn one_document_that_is_taken_back_is_missing_and_the_rest_is_delivered() {
    let ran = run(Layout::PerRequest, BundleFormat::Json, |step, time, arriving, _| {
        if (step, time) == (Step::Commit, 1) {
            arriving.add("r2", Some("registration"));
        }
        // And another one while the output is made again.
        if (step, time) == (Step::Commit, 2) {
            arriving.add("r3", None);
        }
    });
    let files = ran.files();
    let bundle: serde_json::Value = serde_json::from_slice(&files["bundles/per_request/semas/r2.json"]).unwrap();
    assert_eq!(bundle["documents"]["registration"], serde_json::json!({"outcome": "withdrawn", "records": []}));
    assert_eq!(bundle["documents"]["vat"]["records"].as_array().unwrap().len(), 3);
    assert!(!stands(&files, "둘째 상사") && !files.contains_key("bundles/per_request/semas/r3.json"));
    let late = ran.manifest.taken_back.unwrap();
    assert_eq!((late.withdrawals_digest.as_str(), late.requests, late.documents), ("2", 1, 2));
}

#[test]
fn what_a_half_written_file_took_back_is_delivered_once_the_file_says_otherwise() {
    let whole = run(Layout::Packed, BundleFormat::Json, |_, _, _, _| ());
    let ran = run(Layout::Packed, BundleFormat::Json, |step, time, arriving, _| match (step, time) {
        (Step::Commit, 1) => arriving.add("r2", None),
        // Another request altogether: as many rows as the undisturbed night never had.
        (Step::Commit, 2) => {
            arriving.0.lock().unwrap().clear();
            arriving.add("r9", None);
            arriving.add("r9", None);
        }
        _ => {}
    });
    assert_eq!(ran.manifest, whole.manifest);
    assert!(ran.files() == whole.files());
}
