//! A night whose output goes to SeaweedFS: killed at every step, and with the server killed between requests and inside them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use ieum_core::steps::DELIVERY_STEPS;

use super::below::files_below;
use super::door::{At, Door};
use super::folders::copy;
use super::servers::{Rclone, SeaweedFs, s3_place};
use super::{ends, ieum, one_at_a_time, told};

const NAME: &str = "2026-11-22";

/// How long a run may take to come to a request.
const PATIENCE: Duration = Duration::from_secs(300);

/// The sample night, to be delivered to a folder of the lake for each case.
struct Night<'a> {
    folder: tempfile::TempDir,
    lake: &'a SeaweedFs,
}

impl<'a> Night<'a> {
    fn new(lake: &'a SeaweedFs) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("sample-data");
        for part in ["catalog", "exports", "requests", "keys"] {
            copy(&sample.join(part), &folder.path().join(part));
        }
        Self { folder, lake }
    }

    /// The definition of a case.
    fn define(&self, case: &str) -> String {
        self.define_at(case, self.lake.port)
    }

    fn define_at(&self, case: &str, port: u16) -> String {
        let name = format!("{case}.toml");
        let run = format!(
            "[run]\ncatalog = 'catalog'\nexports = 'exports'\nrequests = ['requests/requests.csv']\n\
             withdrawals = ['requests/withdrawals.csv']\nkeys = 'keys/sample.key'\ndate = '{NAME}'\n\
             out = 's3://lake/{case}'\nwork = 'work-{case}'\nlayout = 'packed'\n{}",
            s3_place(port, "lake", "s3://lake")
        );
        fs::write(self.folder.path().join(&name), run).unwrap();
        name
    }

    fn ieum(&self, arguments: &[&str]) -> Command {
        ieum(self.folder.path(), arguments)
    }

    /// The lake has the output, whole, with the bytes of the local one and no more.
    #[track_caller]
    fn is_delivered(&self, case: &str, whole: &BTreeMap<PathBuf, Vec<u8>>) {
        let (definition, url) = (format!("{case}.toml"), format!("s3://lake/{case}/{NAME}"));
        let work = format!("work-{case}");
        let copy = self.folder.path().join(&work).join(NAME);
        let local = files_below(&copy);
        assert!(local == *whole, "{case}");
        // The bundles are in the store: they need not be here too. What the next nights read of the copy does.
        let collected = ends(&mut self.ieum(&["gc", &definition]), 0);
        assert!(String::from_utf8_lossy(&collected.stdout).contains("bundles that the store holds"));
        let (left, bundles): (BTreeMap<_, _>, BTreeMap<_, _>) =
            whole.clone().into_iter().partition(|(path, _)| !path.starts_with("bundles"));
        assert!(!bundles.is_empty() && files_below(&copy) == left && !copy.join("bundles").exists());
        assert_eq!(ends(&mut self.ieum(&["gc", &definition]), 0).stdout, b"nothing to remove\n");
        let emptied = ends(&mut self.ieum(&["verify", &format!("{work}/{NAME}")]), 20);
        assert!(told(&emptied).contains("the bundles are not there") && told(&emptied).contains("in the store"));
        ends(&mut self.ieum(&["verify", &url, "--places", &definition]), 0);
        let status = ends(&mut self.ieum(&["status", &definition, "--output", "json"]), 0);
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        let runs = &status["store"]["runs"];
        assert_eq!(runs.as_array().unwrap().len(), 1, "{status}");
        assert_eq!((&runs[0]["state"], &runs[0]["held"]), (&"committed".into(), &false.into()), "{status}");
        let manifest: serde_json::Value = serde_json::from_slice(&whole[Path::new("manifest.json")]).unwrap();
        assert_eq!(runs[0]["run_digest"], manifest["run_digest"]);
    }
}

#[test]
fn a_store_is_tried_out_and_one_that_ignores_conditions_is_refused() {
    let _one = one_at_a_time();
    let (Some(lake), Some(rclone)) = (SeaweedFs::start(), Rclone::start()) else { return };
    let night = Night::new(&lake);
    let good = ends(&mut night.ieum(&["doctor", &night.define("good")]), 0);
    let good = String::from_utf8(good.stdout).unwrap();
    assert!(good.matches("ok      store").count() == 8 && good.contains("ok      clock"), "{good}");
    let bad = night.define_at("bad", rclone.port);
    let found = String::from_utf8(ends(&mut night.ieum(&["doctor", &bad]), 6).stdout).unwrap();
    assert!(found.contains("is not created again (If-None-Match): it was created again"), "{found}");
    let refused = ends(&mut night.ieum(&["run", &bad]), 6);
    assert!(told(&refused).contains("the store ignores conditions of writes"), "{}", told(&refused));
    let wrong = ends(night.ieum(&["doctor", "good.toml"]).env("LAKE_SECRET", "not it"), 12);
    assert!(!String::from_utf8_lossy(&wrong.stdout).contains("not it"));
}

#[test]
fn a_delivery_that_is_stopped_anywhere_goes_on() {
    let _one = one_at_a_time();
    let Some(mut lake) = SeaweedFs::start() else { return };
    let whole = {
        let night = Night::new(&lake);
        let definition = night.define("whole");
        ends(&mut night.ieum(&["run", &definition, "--out", "whole"]), 3);
        let whole = files_below(&night.folder.path().join("whole").join(NAME));
        let parts = DELIVERY_STEPS.into_iter().filter(|step| *step != "delivery.part");
        let steps = parts.chain(["commit.synced", "commit.renamed", "commit.lock_removed", "ledger.entered"]);
        for (number, step) in steps.enumerate() {
            let case = format!("kill-{number}");
            let definition = night.define(&case);
            let killed = night.ieum(&["run", &definition]).env("IEUM_KILL_AT", step).output().unwrap();
            assert_eq!(killed.status.code(), None, "a delivery does not come to `{step}`: {}", told(&killed));
            let again = night.ieum(&["run", &definition]).output().unwrap();
            let before = told(&again).contains("the output folder holds a committed run");
            assert!(
                again.status.code() == Some(3) || (again.status.code() == Some(6) && before),
                "{step}: {}",
                told(&again)
            );
            night.is_delivered(&case, &whole);
        }
        // Whoever comes second finds the lock, or the output.
        let (first, second) = (night.define("twice"), "other.toml");
        let text = fs::read_to_string(night.folder.path().join(&first)).unwrap();
        fs::write(night.folder.path().join(second), text.replace("work-twice", "work-other")).unwrap();
        let held = night.ieum(&["run", &first]).env("IEUM_KILL_AT", "delivery.put:2").output().unwrap();
        assert_eq!(held.status.code(), None);
        ends(&mut night.ieum(&["run", second]), 11);
        ends(&mut night.ieum(&["run", &first]), 3);
        ends(&mut night.ieum(&["run", second]), 3);
        whole
    };

    // The server goes away in the middle, and comes back.
    let (folder, definition) = {
        let night = Night::new(&lake);
        let definition = night.define("away");
        let killed = night.ieum(&["run", &definition]).env("IEUM_KILL_AT", "delivery.put:3").output().unwrap();
        assert_eq!(killed.status.code(), None);
        (night.folder, definition)
    };
    lake.kill();
    let output = ends(&mut ieum(folder.path(), &["run", &definition]), 5);
    assert!(!told(&output).contains("LAKE_SECRET") && told(&output).contains("the store failed"), "{}", told(&output));
    assert!(!folder.path().join("work-away").join(NAME).exists());
    lake.go();
    let night = Night { folder, lake: &lake };
    ends(&mut night.ieum(&["run", &definition]), 3);
    night.is_delivered("away", &whole);
}

/// Objects that may stand in the store: those of the output, and no unfinished upload.
#[track_caller]
fn has_no_orphan(lake: &SeaweedFs, case: &str, whole: &BTreeMap<PathBuf, Vec<u8>>) {
    let expected: Vec<String> = whole.keys().map(|path| format!("{case}/{NAME}/{}", path.display())).collect();
    assert_eq!(lake.objects(&format!("{case}/")), expected, "{case}");
    assert_eq!(lake.objects(".uploads/"), [""; 0], "{case}");
}

#[test]
fn a_delivery_whose_server_dies_inside_a_request_goes_on() {
    let _one = one_at_a_time();
    let Some(mut lake) = SeaweedFs::start() else { return };
    let door = Door::before(lake.port);
    let night = Night::new(&lake);
    ends(&mut night.ieum(&["run", &night.define("whole"), "--out", "whole"]), 3);
    let mut folder = night.folder;
    let whole = files_below(&folder.path().join("whole").join(NAME));
    let bytes = |file: &str| whole[Path::new(file)].len();
    let (bundles, answers, manifest) = ("bundles/packed/kcis/documents.ndjson", "outcomes.parquet", "manifest.json");
    let places = [
        (manifest, At::Body(bytes(manifest) / 3)),
        (bundles, At::Body(bytes(bundles) / 2)),
        (answers, At::Body(0)),
        (answers, At::Body(bytes(answers))),
        (answers, At::Answer),
        (manifest, At::Body(bytes(manifest) - 1)),
        (manifest, At::Answer),
    ];
    for (number, (file, at)) in places.into_iter().enumerate() {
        let case = format!("inside-{number}");
        let night = Night { folder, lake: &lake };
        let definition = night.define_at(&case, door.port);
        let ((died, heard), kill) = (mpsc::channel(), lake.killer());
        door.ends(&format!("PUT /lake/{case}/{NAME}/{file}"), at, move || {
            kill();
            let _ = died.send(());
        });
        let mut run = night.ieum(&["run", &definition]);
        let mut run = run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        heard.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no request comes to {at:?} of {file}"));
        // What a run says that is left to find its server gone, another test asks.
        run.kill().unwrap();
        run.wait().unwrap();
        assert!(!night.folder.path().join(format!("work-{case}")).join(NAME).exists());
        folder = night.folder;
        lake.go();
        let night = Night { folder, lake: &lake };
        ends(&mut night.ieum(&["run", &definition]), 3);
        night.is_delivered(&case, &whole);
        has_no_orphan(&lake, &case, &whole);
        folder = night.folder;
    }
}
