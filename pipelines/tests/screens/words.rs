//! The words of the commands themselves: usage, help, logs, metrics, settings.

use std::fs;
use std::process::Command;

use crate::broken::{Broken, KEY, Screen, repository};
use crate::folders::copy;

#[test]
fn metrics_tell_of_a_commit_and_then_of_a_failure() {
    let night = Broken::calm();
    night.ieum(&["run", "nightly.toml", "--metrics-file", "ieum.prom"]).says(0, &[]);
    let has = |text: &str, line: &str| assert!(text.lines().any(|found| found == line), "{line} is missing in {text}");
    let value = |text: &str, name: &str| -> Option<f64> {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    };
    let text = fs::read_to_string(night.path("ieum.prom")).unwrap();
    has(&text, "ieum_run_exit_code 0");
    has(&text, "ieum_run_requests{status=\"refused\"} 0");
    has(&text, "# TYPE ieum_run_rows gauge");
    let success = value(&text, "ieum_run_last_success_timestamp_seconds").unwrap();
    assert!(success > 1.7e9 && value(&text, "ieum_run_last_failure_timestamp_seconds").is_none(), "{text}");
    // The same night again: its output stands there.
    night.ieum(&["run", "nightly.toml", "--metrics-file", "ieum.prom"]).says(6, &["holds a committed run"]);
    let text = fs::read_to_string(night.path("ieum.prom")).unwrap();
    has(&text, "ieum_run_exit_code 6");
    assert_eq!(value(&text, "ieum_run_last_success_timestamp_seconds"), Some(success));
    assert!(value(&text, "ieum_run_last_failure_timestamp_seconds").unwrap() >= success);
    let unwritable = night.ieum(&["run", "nightly.toml", "--out", "other", "--metrics-file", "none/ieum.prom"]);
    unwritable.says(0, &["warning: metrics are not written"]);
}

#[test]
fn an_unknown_setting_is_answered_with_the_nearest() {
    let night = Broken::new();
    night.edit("nightly.toml", |text| format!("{text}memry = \"1 GiB\"\n"));
    let screen = night.run();
    screen.says(6, &["unknown setting `memry`", "line: ", "file: nightly.toml", "did you mean `memory`?"]);
    night.nothing_is_committed(&screen);
}

#[test]
fn problems_of_the_catalog_are_told_by_file_and_line() {
    let night = Broken::new();
    let file = "catalog/datasets/nhis/nhis_eligibility_history.toml";
    night.edit(file, |text| text.replacen("holder = \"nhis\"", "holder = \"nhix\"", 1));
    let words = ["nhis/nhis_eligibility_history.toml:3: unknown holder `nhix` (did you mean `nhis`?)"];
    night.ieum(&["catalog", "check", "catalog"]).says(6, &words);
    let screen = night.run();
    screen.says(6, &words);
    night.nothing_is_committed(&screen);
}

#[test]
fn wrong_usage_exits_with_2() {
    let night = Broken::new();
    night.ieum(&["run"]).says(2, &["<FILE>", "Usage: ieum run"]);
    night.ieum(&["rum", "nightly.toml"]).says(2, &["'run'"]);
    for json in [&["--output", "json"][..], &["--output=json"]] {
        let screen = night.ieum(&[&["run", "--threds", "2"][..], json].concat());
        screen.says(2, &["Usage: ieum run", "--threads"]);
        let last: serde_json::Value = serde_json::from_str(screen.stderr.lines().last().unwrap()).unwrap();
        assert_eq!((last["message_type"].as_str(), last["code"].as_u64()), (Some("exit_error"), Some(2)));
        assert!(last["message"].as_str().unwrap().contains("'--threds'"), "{last}");
    }
}

#[test]
fn a_failure_with_json_output_ends_with_one_object() {
    let night = Broken::new();
    fs::remove_file(night.path(KEY)).unwrap();
    let screen = night.ieum(&["run", "nightly.toml", "--output", "json"]);
    let last: serde_json::Value = serde_json::from_str(screen.stderr.lines().last().unwrap()).unwrap();
    assert_eq!((last["message_type"].as_str(), last["code"].as_u64()), (Some("exit_error"), Some(12)));
}

#[test]
fn a_json_log_is_one_object_a_line_with_the_same_keys() {
    let night = Broken::new();
    let screen = night.ieum(&["run", "nightly.toml", "--log-format", "json", "-v"]);
    screen.says(3, &[]);
    let lines = |screen: &Screen| -> Vec<serde_json::Value> {
        let lines = screen.stderr.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")));
        lines.collect()
    };
    let told = lines(&screen);
    for line in &told {
        for key in ["ts", "level", "target", "run_id", "dataset", "stage", "msg"] {
            assert!(line.get(key).is_some(), "no {key} in {line}");
        }
    }
    let find = |words: &str| told.iter().find(|line| line["msg"].as_str().unwrap().contains(words)).unwrap();
    let rejected = find("rows could not be read");
    assert_eq!((&rejected["level"], &rejected["stage"]), (&"WARN".into(), &"gather".into()));
    assert_eq!(rejected["dataset"], "nhis_eligibility_history");
    assert!(rejected["run_id"].as_str().unwrap().starts_with("2026-11-22-"), "{rejected}");
    assert_eq!(find("`medication_history` is delayed")["stage"], "load");
    assert_eq!(find("assembled")["requests"], 200);
    let failed = lines(&night.ieum(&["run", "nightly.toml", "--log-format", "json"]));
    let last = failed.last().unwrap();
    assert!(last["level"] == "ERROR" && last["msg"].as_str().unwrap().contains("holds a committed run"), "{last}");
}

#[test]
fn help_opens_with_examples_that_run() {
    let folder = Broken::new();
    let help = folder.ieum(&["--help"]);
    let first = "Examples:\n  ieum check sample-data/nightly.toml\n  ieum explain sample-data/nightly.toml --dataset \
                 business_registration_cert\n  ieum run sample-data/nightly.toml\n\nLinks the exports of data holders \
                 into one bundle per request\n\nUsage: ieum [OPTIONS] <COMMAND>\n";
    assert!(help.stdout.starts_with(first), "{}", help.stdout);
    // Beside the repository's own output, if there is one.
    let root = tempfile::tempdir().unwrap();
    for part in ["catalog", "exports", "requests", "keys"] {
        copy(&repository().join("sample-data").join(part), &root.path().join("sample-data").join(part));
    }
    let nightly = "sample-data/nightly.toml";
    fs::copy(repository().join(nightly), root.path().join(nightly)).unwrap();
    for (command, code) in [(vec!["check"], 3), (vec!["explain"], 0), (vec!["catalog", "check"], 0)] {
        let help = folder.ieum(&[command.as_slice(), &["--help"]].concat()).stdout;
        let example = help.strip_prefix("Example:\n  ieum ").unwrap().lines().next().unwrap();
        let mut run = Command::new(env!("CARGO_BIN_EXE_ieum"));
        let screen = Screen::of(run.current_dir(root.path()).args(example.split(' ')).output().unwrap());
        screen.says(code, &[]);
        assert!(!screen.stdout.is_empty(), "{example}");
    }
}

#[test]
fn a_slip_in_the_subject_that_the_ledger_is_asked_about_is_told_without_repeating_it() {
    let night = Broken::calm();
    night.run().says(0, &[]);
    let who = |subject: &str| night.ieum(&["ledger", "who", "out", "--key", KEY, "--subject", subject]);
    for spelling in ["rrno:9001023787894", "rrno:900102-3787894"] {
        let found = who(spelling);
        found.says(0, &[]);
        assert!(found.stdout.contains("R1") && found.stdout.contains("1 lines"), "{}", found.stdout);
        assert_eq!(found.stderr, "");
    }
    let told = [
        ("rrno:90010237878", "does not have the form or the check digit of `rrno`"),
        ("9001023787894:rrno", "kind of identifier is not known"),
    ];
    for (subject, words) in told {
        let found = who(subject);
        found.says(0, &[words]);
        assert!(found.stdout.contains("0 lines") && !found.stderr.contains("90010237878"), "{}", found.stderr);
    }
    let none = who("9001023787894");
    none.says(6, &["the subject is not KIND:VALUE"]);
    assert!(!none.stderr.contains("9001023787894"));
}
