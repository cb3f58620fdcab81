//! The ledger over several runs: what it tells, and that no change of it goes unseen.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use ieum_core::ledger::{self, Found, Query, Subject};
use ieum_core::night;
use ieum_model::error::{ErrorKind, Result};
use ieum_model::request::Withdrawal;
use ieum_privacy::MasterKey;
use ieum_tests::small_night::{self, FIRST, Making, SECOND};
use tempfile::TempDir;

/// Runs of some dates into one folder of outputs.
struct Runs {
    folder: TempDir,
    heads: Vec<String>,
}

fn master(id: &str) -> MasterKey {
    MasterKey::from_hex_file_text(&format!("ieum-key/1 {id} 1 {}", "5a".repeat(32))).unwrap()
}

fn request(id: &str, fields: &[(&str, &str)]) -> ieum_model::request::Request {
    small_night::request(&[&[("request_id", id)], fields].concat()).unwrap()
}

impl Runs {
    fn of(dates: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        small_night::write_exports(&folder.path().join("exports"), &small_night::exports()).unwrap();
        let mut runs = Self { folder, heads: Vec::new() };
        dates.iter().for_each(|date| runs.run(date));
        runs
    }

    fn run(&mut self, date: &str) {
        let (first, second) = (format!("rrno:{FIRST}"), format!("rrno:{SECOND}"));
        let requests = vec![
            request("r1", &[("subject_ids", &first), ("service", "fund")]),
            request("r2", &[("subject_ids", &second), ("documents", "income(amount);vat(sales)")]),
            request("r3", &[("subject_ids", &second), ("documents", "income(payer)"), ("verified", "false")]),
            request("r4", &[("subject_ids", &first), ("documents", "income(year)")]),
        ];
        let get = |name: &str| match name {
            "request_id" => Some("r4".into()),
            "withdrawn_at" => Some("2026-11-01".into()),
            _ => None,
        };
        let withdrawn = [Withdrawal::from_fields(&get, 1).unwrap()];
        let sources = small_night::catalog_sources();
        let made = small_night::night(self.folder.path(), &sources, requests, &withdrawn, Making::default());
        let mut night = made.unwrap();
        night.as_of = date.parse().unwrap();
        night.out = self.out().join(date);
        self.heads.push(night::run(&mut night, false).unwrap().ledger_head.unwrap());
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    fn ledger(&self) -> PathBuf {
        self.out().join("ledger")
    }

    fn verify(&self) -> Result<ledger::VerifyReport> {
        ledger::verify(&self.out(), &[&master("small-night")], None)
    }

    fn who(&self, query: &Query) -> Vec<Found> {
        let mut found = Vec::new();
        let take = &mut |line| {
            found.push(line);
            Ok(())
        };
        assert_eq!(ledger::who(&self.out(), &[&master("small-night")], query, take).unwrap(), 0);
        found
    }

    /// Asserts that the ledger does not verify after `change`, and puts it back.
    fn finds(&self, what: &str, change: impl FnOnce(&Path)) {
        let before = files(&self.ledger());
        change(&self.ledger());
        match self.verify() {
            Err(error) => assert_eq!(error.kind, ErrorKind::Integrity, "{what}: {error}"),
            Ok(report) => panic!("{what} is not found: {report:?}"),
        }
        fs::remove_dir_all(self.ledger()).unwrap();
        fs::create_dir(self.ledger()).unwrap();
        before.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
        self.verify().unwrap();
    }
}

fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn of(number: &str) -> Option<Subject> {
    Some(Subject { kind: "rrno".into(), value: number.into() })
}

fn told(found: &[Found]) -> Vec<String> {
    let told = |line: &Found| {
        let dataset = line.dataset.as_deref().unwrap_or("-");
        let reason = line.reason.as_deref().unwrap_or("-");
        format!("{} {} {dataset}({}) {} {reason}", line.as_of, line.request_id, line.items.join(","), line.outcome)
    };
    found.iter().map(told).collect()
}

#[test]
fn the_ledger_tells_what_of_a_person_went_where() {
    let runs = Runs::of(&["2026-11-21", "2026-11-22"]);
    let second = Query { subject: of("9902284123452"), from: "2026-11-22".parse().ok(), ..Query::default() };
    let expected = [
        "2026-11-22 r2 income(amount) provided -",
        "2026-11-22 r2 vat(sales) provided -",
        "2026-11-22 r3 income() refused R06",
    ];
    assert_eq!(told(&runs.who(&second)), expected, "refusals stand there with their reason");
    let first = Query { subject: of(FIRST), to: "2026-11-21".parse().ok(), ..Query::default() };
    let lines = runs.who(&first);
    assert_eq!(told(&lines)[3], "2026-11-21 r4 income() withdrawn -", "so do withdrawals");
    let line = &lines[0];
    assert_eq!((&*line.recipient, line.service.as_deref(), line.records), ("semas", Some("fund"), 1));
    assert_eq!((&*line.purpose, &*line.legal_basis), ("심사", "전자정부법 43조의2"));
    assert_eq!(runs.who(&Query { recipient: Some("semas".into()), ..Query::default() }).len(), 14);
    assert!(runs.who(&Query { recipient: Some("sema".into()), ..Query::default() }).is_empty());
    assert!(runs.who(&Query { subject: of("9801013000015"), ..Query::default() }).is_empty());
}

#[test]
fn no_identifier_stands_in_the_ledger_and_another_key_finds_nobody() {
    let runs = Runs::of(&["2026-11-22"]);
    let pseudonym = |request: &str| -> String {
        let path = runs.out().join(format!("2026-11-22/bundles/per_request/semas/{request}.json"));
        let bundle: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        bundle["subject"].as_str().unwrap().to_owned()
    };
    let names = [FIRST.to_owned(), FIRST.replace('-', ""), pseudonym("r1"), pseudonym("r2")];
    for (path, bytes) in files(&runs.ledger()) {
        let text = String::from_utf8_lossy(&bytes);
        assert!(names.iter().all(|name| !text.contains(name.as_str())), "{}", path.display());
    }
    let query = Query { subject: of(FIRST), ..Query::default() };
    let error = ledger::who(&runs.out(), &[&master("other")], &query, &mut |_| Ok(())).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Key);
    assert!(error.context.iter().any(|(_, told)| told.contains("small-night epoch 1")), "{error:?}");
}

#[test]
fn every_change_of_the_ledger_is_found() {
    let runs = Runs::of(&["2026-11-20", "2026-11-21", "2026-11-22"]);
    let report = runs.verify().unwrap();
    assert_eq!((report.runs, report.authenticated, report.requests, report.expired), (3, 3, 12, 0));
    assert_eq!(report.head, runs.heads[2]);
    for (path, bytes) in files(&runs.ledger()).into_iter().filter(|(path, _)| path.extension().is_some()) {
        let step = if path.extension().is_some_and(|extension| extension == "parquet") { 97 } else { 1 };
        for at in (0..bytes.len()).step_by(step) {
            runs.finds(&format!("byte {at} of {}", path.display()), |_| {
                let mut changed = bytes.clone();
                changed[at] ^= 1;
                // A file of its own: what is linked to an output stays as it is.
                fs::remove_file(&path).unwrap();
                fs::write(&path, changed).unwrap();
            });
        }
        runs.finds(&format!("{} is gone", path.display()), |_| fs::remove_file(&path).unwrap());
    }
    let chain = |change: &dyn Fn(&mut Vec<String>)| {
        let path = runs.ledger().join("chain.ndjson");
        let mut lines: Vec<String> =
            fs::read_to_string(&path).unwrap().lines().map(|line| format!("{line}\n")).collect();
        change(&mut lines);
        fs::write(path, lines.concat()).unwrap();
    };
    for link in 0..3 {
        runs.finds("a link is taken away", |_| chain(&|lines| drop(lines.remove(link))));
    }
    runs.finds("something stands behind the last link", |_| chain(&|lines| lines.push("{".to_owned())));
    runs.finds("links are swapped", |_| chain(&|lines| lines.swap(1, 2)));
    runs.finds("two links are cut off", |_| chain(&|lines| lines.truncate(1)));
    runs.finds("a link is entered twice", |_| chain(&|lines| lines.push(lines[2].clone())));
    for name in ["stray.txt", "chain.ndjson.old"] {
        runs.finds("a foreign file", |folder| fs::write(folder.join(name), "").unwrap());
    }
    // An output in the place of another date's.
    let [one, other] = ["2026-11-20", "2026-11-21"].map(|date| runs.out().join(date));
    let aside = runs.folder.path().join("aside");
    fs::rename(&one, &aside).unwrap();
    fs::rename(&other, &one).unwrap();
    let told = runs.verify().unwrap_err();
    assert!(told.message.contains("the folder of 2026-11-20 holds the run of 2026-11-21"), "{told}");
    fs::rename(&one, &other).unwrap();
    fs::rename(&aside, &one).unwrap();
    runs.finds("foreign entries", |folder| fs::write(folder.join("2026-11-19_0.parquet"), "x").unwrap());
}

#[test]
fn nobody_is_told_from_a_ledger_that_was_changed() {
    let runs = Runs::of(&["2026-11-20", "2026-11-21"]);
    let asked = || {
        let query = Query { to: "2026-11-20".parse().ok(), ..Query::default() };
        ledger::who(&runs.out(), &[&master("small-night")], &query, &mut |_| Ok(()))
    };
    asked().unwrap();
    let entries =
        files(&runs.ledger()).into_keys().find(|path| path.to_string_lossy().contains("2026-11-20_")).unwrap();
    let whole = fs::read(&entries).unwrap();
    fs::remove_file(&entries).unwrap();
    assert!(asked().unwrap_err().message.contains("are missing"), "three years are not over");
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    fs::write(&entries, changed).unwrap();
    assert!(asked().unwrap_err().message.contains("differ from the chain"));
    fs::write(&entries, &whole).unwrap();
    // A link that was made anew without the key, and its digests with it.
    let chain = runs.ledger().join("chain.ndjson");
    let text = fs::read_to_string(&chain).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines[1] = lines[1].replace("\"requests\":4", "\"requests\":3");
    fs::write(&chain, lines.join("\n") + "\n").unwrap();
    let head = runs.ledger().join("head.json");
    let known = fs::read_to_string(&head).unwrap();
    let mut told: serde_json::Value = serde_json::from_str(&known).unwrap();
    let last = told["last"].as_str().unwrap().to_owned();
    told["last"] = ieum_core::manifest::sha256_hex(lines[1].as_bytes()).into();
    fs::write(&head, known.replace(&last, told["last"].as_str().unwrap())).unwrap();
    assert!(asked().unwrap_err().message.contains("was not made with key"));
}

#[test]
fn a_ledger_put_back_to_an_earlier_state_is_found_by_a_head_that_was_kept() {
    let mut runs = Runs::of(&["2026-11-20", "2026-11-21"]);
    let earlier = files(&runs.ledger());
    runs.run("2026-11-22");
    let verify = |head: &str| ledger::verify(&runs.out(), &[], Some(head));
    assert!(runs.heads.iter().all(|head| verify(head).is_ok()), "the chain came by every head");
    assert_eq!(verify("").unwrap_err().kind, ErrorKind::Integrity);
    // The run goes with its links: what is left is whole in itself.
    fs::remove_dir_all(runs.ledger()).unwrap();
    fs::create_dir(runs.ledger()).unwrap();
    earlier.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
    fs::remove_dir_all(runs.out().join("2026-11-22")).unwrap();
    runs.verify().unwrap();
    assert_eq!(verify(&runs.heads[2]).unwrap_err().kind, ErrorKind::Integrity);
}

#[test]
fn a_run_killed_after_its_commit_is_entered_by_the_next_one() {
    let mut runs = Runs::of(&["2026-11-20", "2026-11-21"]);
    let entered = files(&runs.ledger());
    let back_to = |runs: &Runs, files: &BTreeMap<PathBuf, Vec<u8>>| {
        fs::remove_dir_all(runs.ledger()).unwrap();
        fs::create_dir(runs.ledger()).unwrap();
        files.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
    };
    runs.run("2026-11-22");
    let whole = files(&runs.ledger());
    // Killed before anything was entered, with half a link, and before the head was moved.
    let chain = runs.ledger().join("chain.ndjson");
    let half = whole[&chain].len() - 10;
    let mut states = [entered.clone(), entered.clone(), whole.clone()];
    states[1].insert(chain.clone(), whole[&chain][..half].to_vec());
    let head = runs.ledger().join("head.json");
    states[2].insert(head.clone(), entered[&head].clone());
    for (state, date) in states.iter().zip(["2026-11-23", "2026-11-24", "2026-11-25"]) {
        let before = files(&runs.ledger());
        back_to(&runs, state);
        runs.run(date);
        let report = runs.verify().unwrap();
        let runs_committed = fs::read_dir(runs.out()).unwrap().count() as u64 - 1;
        assert_eq!(report.runs, runs_committed, "every committed run is entered");
        assert_eq!(report.authenticated, report.runs);
        assert!(before.len() <= files(&runs.ledger()).len());
    }
}

#[test]
fn no_run_goes_on_over_a_ledger_that_was_cut_off() {
    let runs = Runs::of(&["2026-11-20", "2026-11-21"]);
    let chain = runs.ledger().join("chain.ndjson");
    let text = fs::read_to_string(&chain).unwrap();
    fs::write(&chain, text.lines().next().map(|line| format!("{line}\n")).unwrap()).unwrap();
    refuses_to_go_on(&runs);
    // Nor over one that is gone: the runs that are left would make another.
    fs::remove_dir_all(runs.ledger()).unwrap();
    refuses_to_go_on(&runs);
    refuses_to_go_on(&runs);
}

#[track_caller]
fn refuses_to_go_on(runs: &Runs) {
    let made = small_night::night(
        runs.folder.path(),
        &small_night::catalog_sources(),
        vec![request("r1", &[("subject_ids", &format!("rrno:{FIRST}")), ("service", "fund")])],
        &[],
        Making::default(),
    );
    let mut night = made.unwrap();
    night.out = runs.out().join("2026-11-22");
    assert_eq!(night::run(&mut night, false).unwrap_err().kind, ErrorKind::Integrity);
    assert!(!night.out.exists() && !runs.out().join("2026-11-22.partial").exists());
}

#[test]
fn entries_are_kept_for_three_years() {
    let runs = Runs::of(&["2023-11-21", "2023-11-23", "2026-11-22"]);
    let date = |text: &str| text.parse::<NaiveDate>().unwrap();
    let prune = |before: &str| ledger::prune(&runs.out(), date(before), date("2027-06-01"));
    assert_eq!(prune("2023-11-24").unwrap_err().kind, ErrorKind::Config, "three years before the last run");
    assert_eq!(prune("2023-11-23").unwrap(), 1);
    let report = runs.verify().unwrap();
    assert_eq!((report.runs, report.expired), (3, 1));
    let mut lines = 0;
    let take = &mut |_| {
        lines += 1;
        Ok(())
    };
    let gone = ledger::who(&runs.out(), &[&master("other"), &master("small-night")], &Query::default(), take).unwrap();
    assert_eq!((gone, lines), (1, 14));
    let of_2023 = |path: &&PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("2023-11-23_");
    fs::remove_file(files(&runs.ledger()).keys().find(of_2023).unwrap()).unwrap();
    assert_eq!(runs.verify().unwrap_err().kind, ErrorKind::Integrity, "this one had to be kept");
}
