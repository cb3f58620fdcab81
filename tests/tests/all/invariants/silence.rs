//! Neither a key nor a value of a row is told.

use std::collections::BTreeMap;
use std::fs;

use ieum::definition::Definition;
use ieum::load;
use ieum::load::ControlTotals;
use ieum_core::night;
use ieum_privacy::{KeyDomain, MasterKey};
use ieum_tests::small_night::{self, FIRST, Making, SECOND};

use super::ran::{files, requests};

#[test]
fn secrets_do_not_print() {
    let folder = tempfile::tempdir().unwrap();
    small_night::write_exports(&folder.path().join("exports"), &small_night::exports()).unwrap();
    let sources = small_night::catalog_sources();
    let mut night = small_night::night(folder.path(), &sources, requests(), &[], Making::default()).unwrap();
    let derived = night.master.derive(&KeyDomain::recipient("semas"));
    let mut told = format!("{:?}\n{derived:?}\n", night.master);
    // Key files with one thing wrong: the message may not repeat what stands there.
    let secret = "5a".repeat(32);
    for wrong in ["ieum-key/1", "ieum-key/1 n one", "ieum-key/1 n/o 1", "ieum-key/1 n 1 5b"] {
        let error = MasterKey::from_hex_file_text(&format!("{wrong} {secret}")).unwrap_err();
        told.push_str(&format!("{error} {error:?}\n"));
    }
    let summary = night::run(&mut night, false).unwrap();
    told.push_str(&format!("{summary:?}"));
    for printed in [&secret[..16], "5A5A5A5A", "90, 90, 90, 90", "ZZZZZZZZ"] {
        assert!(!told.contains(printed), "{told}");
        for (name, bytes) in files(&night.out) {
            let found = bytes.windows(printed.len()).any(|window| window == printed.as_bytes());
            assert!(!found, "{name} holds a key");
        }
    }
}

/// The small night as files.
fn small_night_in_files() -> BTreeMap<String, String> {
    let catalog = small_night::catalog_sources().into_iter().map(|file| (format!("catalog/{}", file.path), file.text));
    let exports = small_night::exports().into_iter().map(|(path, text)| (format!("exports/{path}"), text));
    let header = "request_id,subject_ids,service,documents,recipient,requested_at,verified";
    let requests = format!(
        "{header}\nr1,rrno:{FIRST},fund,,semas,2026-11-20,true\nr2,rrno:{SECOND},,income(amount),semas,2026-11-20,true\n"
    );
    let key = format!("ieum-key/1 sample-not-a-secret 1 {}", "5a".repeat(32));
    catalog.chain(exports).chain([("requests.csv".to_owned(), requests), ("night.key".to_owned(), key)]).collect()
}

/// All that a run of the night in these files tells: failure, warnings, summary.
fn told_of(files: &BTreeMap<String, String>) -> String {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let requests = files.keys().find(|name| name.starts_with("requests.")).unwrap();
    let definition =
        format!("[run]\ncatalog = 'catalog'\nexports = 'exports'\nrequests = '{requests}'\nkeys = 'night.key'\n");
    let definition = Definition::parse(&definition, folder.path()).unwrap();
    let on = "2026-11-22".parse().unwrap();
    let mut loaded = match load::night(&definition, on, ControlTotals::WhileReading) {
        Ok(loaded) => loaded,
        Err(error) => return format!("{}\n{error:?}", error.told()),
    };
    let run = night::run(&mut loaded.night, false).map_err(|error| error.told());
    format!("{:?}\n{:?}\n{run:?}", loaded.warnings, loaded.night.checked.malformed)
}

#[test]
fn no_row_value_in_any_message() {
    let check = |expected: &str, change: &dyn Fn(&mut BTreeMap<String, String>)| {
        let mut files = small_night_in_files();
        change(&mut files);
        let told = told_of(&files);
        assert!(told.contains(expected), "{told}, expected {expected}");
        for value in ["991231", "990228", "3000002", "4123452", "31,000,000", "31000000", "가게", "상사"] {
            assert!(!told.contains(value), "{told} has {value}");
        }
    };
    let edit = |name: &'static str, from: &'static str, to: &'static str| {
        move |files: &mut BTreeMap<String, String>| {
            let text = files.get_mut(name).unwrap();
            assert!(text.contains(from), "{name}");
            *text = text.replacen(from, to, 1);
        }
    };
    let requests = |from, to| edit("requests.csv", from, to);
    check("header row missing", &|files| {
        let text = files.get_mut("requests.csv").unwrap();
        *text = text.split_once('\n').unwrap().1.to_owned();
    });
    check("bare CR", &|files| {
        let text = files.get_mut("requests.csv").unwrap();
        *text = text.replace('\n', "\r");
    });
    check("known fields only", &|files| {
        files.remove("requests.csv");
        files.insert("requests.jsonl".to_owned(), format!("{{\"{FIRST}\":\"r1\"}}\n"));
    });
    check("subject_ids", &requests("rrno:991231", "991231"));
    check("requested_at", &requests("2026-11-20", "9902284123452"));
    check("a dataset that the catalog lacks", &requests(",income(amount)", ",9902284123452"));
    check("an item that `income` lacks", &requests("income(amount)", "income(9902284123452)"));
    let income = |from, to| edit("exports/income/2026.csv", from, to);
    check("1 row could not be read", &income("\"31,000,000\"", "가게 둘"));
    check("1 row could not be read", &income("2025,200,", "2025,200,200,"));
    check("is missing", &income("주민등록번호,year,amount,payer\n", ""));
}
