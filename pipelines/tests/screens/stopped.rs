//! What is told of a run that was stopped, and of one that goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Child, Command, Stdio};

use crate::broken::{Broken, ELIGIBILITY, KEY, REQUESTS, Screen};

#[test]
fn a_full_disk_stops_the_night_and_a_retry_may_help() {
    // Blocks of 1 KiB: the first hits the begin of the journal, the second the staged rows, the third the journal of a run
    // that goes on.
    for (limit, gathered, stands) in [("1", false, false), ("48", false, true), ("8", true, true)] {
        let night = Broken::new();
        if gathered {
            night.killed_at("gathered", &[]);
        }
        let limited = format!("ulimit -f {limit}; exec \"$0\" run nightly.toml");
        let mut command = Command::new("bash");
        command.args(["-c", &limited, env!("CARGO_BIN_EXE_ieum")]).current_dir(night.folder.path());
        let screen = Screen::of(command.output().unwrap());
        screen.says(5, &["error: output cannot be written: File too large", "hint: raise the quota or the limit"]);
        night.nothing_is_committed(&screen);
        assert_eq!(screen.stderr.contains("the same command goes on"), stands, "{}", screen.stderr);
        assert_eq!(night.path("out/2026-11-22.stage").exists(), stands);
        let again = night.run();
        again.says(3, &[]);
        assert_eq!(again.stdout.contains("readings were gathered before"), stands, "{}", again.stdout);
        night.ieum(&["verify", "out/2026-11-22"]).says(0, &[]);
    }
}

#[test]
fn a_locked_output_is_left_alone() {
    let night = Broken::new();
    fs::create_dir(night.path("out")).unwrap();
    let lock = File::create(night.path("out/2026-11-22.lock")).unwrap();
    lock.lock().unwrap();
    let screen = night.run();
    screen.says(11, &["another run writes to this output", "out/2026-11-22.lock", "hint: wait"]);
    night.nothing_is_committed(&screen);
    lock.unlock().unwrap();
    night.run().says(3, &[]);
}

/// A run that is held at a step, heeding signals however the tests are run: `ieum` heeds what `nohup` says.
fn held_at(night: &Broken, step: &str, more: &[&str]) -> Child {
    let mut run = Command::new("env");
    run.args(["--default-signal=TERM", "--default-signal=INT"]).arg(env!("CARGO_BIN_EXE_ieum"));
    run.args(["run", "nightly.toml", "--output", "json"]).args(more).env("IEUM_HOLD_AT", step);
    run.current_dir(night.folder.path()).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

fn journal_of(night: &Broken) -> String {
    fs::read_to_string(night.path("out/2026-11-22.stage/journal.ndjson")).unwrap_or_default()
}

#[test]
fn an_interrupted_run_goes_on() {
    let whole = Broken::new();
    whole.run().says(3, &[]);
    for (signal, name, code) in [("TERM", "SIGTERM", 143), ("INT", "SIGINT", 130)] {
        let night = Broken::new();
        let run = held_at(&night, "shard.written", &[]);
        wait_for(|| journal_of(&night).contains("assembling"));
        let status = night.ieum(&["status", "nightly.toml"]);
        status.says(0, &[]);
        assert!(status.stdout.starts_with("2026-11-22  running     2026-11-22-"), "{}", status.stdout);
        night.ieum(&["run", "nightly.toml"]).says(11, &["another run writes to this output"]);
        let collected = night.ieum(&["gc", "out"]);
        assert_eq!((collected.code, collected.stdout.as_str()), (Some(0), "nothing to remove\n"), "it is held");

        assert!(Command::new("kill").args(["-s", signal, &run.id().to_string()]).status().unwrap().success());
        let screen = Screen::of(run.wait_with_output().unwrap());
        screen.says(code, &["interrupted by ", name, "nothing is committed, the same command goes on"]);
        let last: serde_json::Value = serde_json::from_str(screen.stderr.lines().last().unwrap()).unwrap();
        assert_eq!(last["code"].as_i64(), Some(code.into()));
        night.nothing_is_committed(&screen);
        for (folder, mode) in [("out/2026-11-22.stage", 0o700), ("out/2026-11-22.partial", 0o700)] {
            assert_eq!(fs::metadata(night.path(folder)).unwrap().permissions().mode() & 0o777, mode);
        }
        for file in fs::read_dir(night.path("out/2026-11-22.stage")).unwrap() {
            let about = file.unwrap().metadata().unwrap();
            assert_eq!(about.permissions().mode() & 0o777, 0o600);
        }

        let again = night.run();
        again.says(3, &[]);
        assert!(again.stdout.contains("readings were gathered before"), "{}", again.stdout);
        let manifest = |night: &Broken| fs::read(night.path("out/2026-11-22/manifest.json")).unwrap();
        assert!(manifest(&night) == manifest(&whole));
        assert_eq!(
            fs::read_dir(night.path("out")).unwrap().count(),
            4,
            "beside telemetry, ledger and what became of the first attempt not even a lock is left"
        );
    }
}

#[test]
fn a_run_that_is_ended_leaves_metrics_and_its_lineage() {
    let night = Broken::new();
    let run = held_at(&night, "shard.written", &["--metrics-file", "ieum.prom"]);
    wait_for(|| journal_of(&night).contains("assembling"));
    assert!(Command::new("kill").args(["-s", "TERM", &run.id().to_string()]).status().unwrap().success());
    Screen::of(run.wait_with_output().unwrap()).says(143, &[]);
    let metrics = fs::read_to_string(night.path("ieum.prom")).unwrap();
    assert!(metrics.contains("\nieum_run_exit_code 143\n"), "{metrics}");
    assert!(metrics.contains("ieum_run_step_duration_seconds{step=\"gather\"}"), "{metrics}");
    // Then one that fails, and one that commits: the same run, whose lineage stands in its output.
    let limited = "ulimit -f 16; exec \"$0\" run nightly.toml --metrics-file none";
    let mut command = Command::new("bash");
    command.args(["-c", limited, env!("CARGO_BIN_EXE_ieum")]).current_dir(night.folder.path());
    Screen::of(command.output().unwrap()).says(5, &["File too large"]);
    night.run().says(3, &[]);
    let events = |name: &str| -> Vec<serde_json::Value> {
        let text = fs::read_to_string(night.path(name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let (attempts, committed) = (events("out/2026-11-22.lineage.ndjson"), events("out/2026-11-22/lineage.ndjson"));
    let kinds: Vec<&str> = attempts.iter().map(|event| event["eventType"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["START", "ABORT", "START", "FAIL"]);
    assert_eq!(attempts[1]["run"]["facets"]["errorMessage"]["message"], "interrupted by SIGTERM");
    let failed = attempts[3]["run"]["facets"]["errorMessage"]["message"].as_str().unwrap();
    assert!(failed.contains("File too large"), "{failed}");
    assert!(attempts.iter().chain(&committed).all(|event| event["run"]["runId"] == attempts[0]["run"]["runId"]));
    // A committed output is not told again.
    night.run().says(6, &["holds a committed run"]);
    assert_eq!(events("out/2026-11-22.lineage.ndjson").len(), 4);
}

#[test]
fn a_run_tells_how_far_it_is_in_lines_of_json() {
    let night = Broken::new();
    let silent = night.ieum(&["run", "nightly.toml", "--out", "silent"]);
    assert!(!silent.stderr.contains("message_type"));
    let told = night.ieum(&["run", "nightly.toml", "--status", "json", "--output", "json"]);
    told.says(3, &[]);
    night.assert_no_row_value_in(&told);
    let lines = told.stderr.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let lines: Vec<_> = lines.filter(|line| line["message_type"] == "status").collect();
    let mut steps: Vec<&str> = lines.iter().map(|line| line["step"].as_str().unwrap()).collect();
    steps.dedup();
    assert_eq!(steps, ["plan", "gather", "assemble", "records", "commit"]);
    let seconds: Vec<f64> = lines.iter().map(|line| line["seconds"].as_f64().unwrap()).collect();
    assert!(seconds.is_sorted() && seconds[0] > 0.0);
    let assembled = lines.iter().find(|line| line["step"] == "records").unwrap();
    assert!(assembled["readings_done"].as_u64().unwrap() > 20 && assembled["run_id"].is_string(), "{assembled}");
    let left = assembled["readings"].as_u64().unwrap() - assembled["readings_done"].as_u64().unwrap();
    assert_eq!(left, 1, "an export that breaks its contract is not done: {assembled}");
    // The last line of stdout is the result alone.
    assert_eq!(told.stdout.lines().count(), 1);
    // A run that is held is told again and again.
    let mut run = Command::new(env!("CARGO_BIN_EXE_ieum"));
    run.args(["run", "nightly.toml", "--status", "json"])
        .env("IEUM_HOLD_AT", "gathered")
        .env("IEUM_STATUS_SECONDS", "0.01");
    let run =
        run.current_dir(night.folder.path()).args(["--out", "held"]).stderr(Stdio::piped()).stdout(Stdio::piped());
    let mut run = run.spawn().unwrap();
    let told = BufReader::new(run.stderr.take().unwrap()).lines().map(Result::unwrap);
    let gathers = told.filter(|line| line.contains("\"step\":\"gather\"") && line.contains("\"readings_done\""));
    assert_eq!(gathers.take(5).count(), 5);
    run.kill().unwrap();
    run.wait().unwrap();
}

#[test]
fn a_run_ends_at_its_time_limit() {
    let night = Broken::new();
    let screen = Screen::of(held_at(&night, "gathered", &["--max-duration", "1s"]).wait_with_output().unwrap());
    screen.says(10, &["the time limit is reached: nothing is committed, the same command goes on"]);
    night.nothing_is_committed(&screen);
    night.run().says(3, &[]);
    night.ieum(&["run", "nightly.toml", "--max-duration", "2"]).says(2, &["not a duration such as 2h"]);
}

#[test]
fn a_dry_run_leaves_nothing_and_an_unfinished_run_as_it_is() {
    let night = Broken::new();
    let interrupted = || {
        let run = held_at(&night, "gathered", &["--dry-run"]);
        wait_for(|| night.path("out/2026-11-22.rehearsal").exists());
        assert!(Command::new("kill").args(["-s", "TERM", &run.id().to_string()]).status().unwrap().success());
        let screen = Screen::of(run.wait_with_output().unwrap());
        screen.says(143, &["interrupted by SIGTERM: nothing is committed, nothing is left"]);
    };
    interrupted();
    assert_eq!(fs::read_dir(night.path("out")).unwrap().count(), 0, "not even a lock is left");
    night.killed_at("gathered", &[]);
    let status = night.ieum(&["status", "out"]);
    assert!(status.stdout.contains("unfinished  2026-11-22-") && status.stdout.contains("gather"), "{}", status.stdout);
    let before = journal_of(&night);
    interrupted();
    night.ieum(&["run", "nightly.toml", "--dry-run"]).says(3, &[]);
    assert!(!night.path("out/2026-11-22.rehearsal").exists());
    assert_eq!(journal_of(&night), before);
    let collected = night.ieum(&["gc", "out"]);
    assert!(collected.stdout.starts_with("removed  2026-11-22  unfinished run  "), "{}", collected.stdout);
    assert_eq!(fs::read_dir(night.path("out")).unwrap().count(), 0);
}

/// What is changed between a crash and the next run, the exit code, and what is told.
#[test]
fn a_run_does_not_go_on_from_something_else() {
    type Change = (&'static str, fn(&Broken), i32, &'static str);
    let changes: [Change; 5] = [
        (
            "an export",
            |night| night.edit(ELIGIBILITY, |text| text),
            6,
            "changed: export of `nhis_eligibility_history`: `nhis/nhis_eligibility_history/part-0000.csv` was written to",
        ),
        (
            "an export that came",
            |night| {
                let folder = night.path("exports/nts/income_amount_cert");
                fs::copy(folder.join("part-0000.csv.gz"), folder.join("part-0001.csv.gz")).unwrap();
            },
            6,
            "changed: export of `income_amount_cert`: `nts/income_amount_cert/part-0001.csv.gz` is new",
        ),
        (
            "the catalog",
            |night| night.edit("catalog/datasets/nts/income_amount_cert.toml", |text| format!("{text}\n")),
            6,
            "changed: the catalog",
        ),
        (
            "the requests",
            |night| night.edit(REQUESTS, |text| format!("{text}\n")),
            6,
            "changed: requests, protected persons or lines carried over",
        ),
        (
            "the key",
            |night| {
                night.edit(KEY, |text| {
                    let (kept, digits) = text.trim_end().split_at(text.trim_end().len() - 4);
                    format!(
                        "{kept}{}\n",
                        digits.chars().map(|digit| if digit == '0' { '1' } else { '0' }).collect::<String>()
                    )
                });
            },
            12,
            "changed: the key",
        ),
    ];
    for (what, change, code, told) in changes {
        let night = Broken::new();
        night.killed_at("gathered", &[]);
        change(&night);
        let before = journal_of(&night);
        let screen = night.run();
        screen.says(code, &["an unfinished run stands here", told, "hint: `ieum run --restart`"]);
        assert_eq!(screen.stderr.matches("changed: ").count(), 1, "{what}: {}", screen.stderr);
        night.nothing_is_committed(&screen);
        assert_eq!(journal_of(&night), before);
        let screen = night.ieum(&["run", "nightly.toml", "--restart"]);
        screen.says(3, &[]);
        assert!(!screen.stdout.contains("gathered before"), "{what}: {}", screen.stdout);
        assert_eq!(
            fs::read_dir(night.path("out")).unwrap().count(),
            4,
            "the night, its telemetry, what became of refused attempts, the ledger"
        );
    }
}

#[test]
fn a_changed_setting_or_journal_is_told() {
    let night = Broken::new();
    night.killed_at("gathered", &[]);
    night
        .ieum(&["run", "nightly.toml", "--layout", "per-request"])
        .says(6, &["changed: `layout`: it was packed and is per-request"]);
    night.edit("out/2026-11-22.stage/journal.ndjson", |text| text.replacen("\"kept\":", "\"kept\": ", 1));
    night.run().says(20, &["the journal of an unfinished run was changed", "line: ", "hint: `ieum run --restart`"]);
    let status = night.ieum(&["status", "out"]);
    assert!(status.stdout.starts_with("2026-11-22  damaged"), "{}", status.stdout);
    night.ieum(&["run", "nightly.toml", "--restart"]).says(3, &[]);
}

/// Exports are blanked behind the run's back, with their length and time as they were: it does not look at them again. The
/// files that the killed run wrote keep the time at which it wrote them.
#[test]
fn what_was_done_is_not_done_again() {
    let arguments = ["--layout", "per-request", "--shard-requests", "37"];
    let whole = Broken::new();
    whole.ieum(&[&["run", "nightly.toml"], &arguments[..]].concat()).says(3, &[]);
    let night = Broken::new();
    night.killed_at("shard.written:3", &arguments);
    for name in [ELIGIBILITY, "exports/court/basic_cert/part-0000.csv"] {
        let mut file = File::options().write(true).open(night.path(name)).unwrap();
        let about = file.metadata().unwrap();
        file.write_all(&vec![b'0'; about.len().try_into().unwrap()]).unwrap();
        file.set_modified(about.modified().unwrap()).unwrap();
    }
    let bundles = |night: &Broken, folder: &str| {
        let mut found = BTreeMap::new();
        for recipient in fs::read_dir(night.path(folder).join("bundles/per_request")).unwrap() {
            for file in fs::read_dir(recipient.unwrap().path()).unwrap() {
                let file = file.unwrap();
                let about = file.metadata().unwrap();
                found
                    .insert(file.file_name(), (about.ino(), about.modified().unwrap(), fs::read(file.path()).unwrap()));
            }
        }
        found
    };
    let before = bundles(&night, "out/2026-11-22.partial");
    let screen = night.ieum(&[&["run", "nightly.toml"], &arguments[..]].concat());
    screen.says(3, &[]);
    let (after, expected) = (bundles(&night, "out/2026-11-22"), bundles(&whole, "out/2026-11-22"));
    assert!(!before.is_empty() && before.len() < after.len(), "{} of {}", before.len(), after.len());
    assert!(before.iter().all(|(name, file)| after[name] == *file));
    assert!(after.iter().map(|(name, file)| (name, &file.2)).eq(expected.iter().map(|(name, file)| (name, &file.2))));
}

/// The staged rows are overwritten after the run was killed, as a loss of power may leave them.
#[test]
fn what_does_not_stand_as_it_was_written_is_read_again() {
    let whole = Broken::new();
    let run = |night: &Broken| night.ieum(&["run", "nightly.toml", "--layout", "per-request"]);
    run(&whole).says(3, &[]);
    for damaged in ["rows", "rejects", "keys"] {
        let night = Broken::new();
        night.killed_at("records.written", &["--layout", "per-request"]);
        let path = night.path("out/2026-11-22.stage").join(damaged);
        let mut bytes = fs::read(&path).unwrap();
        let half = bytes.len() / 2;
        bytes[half..].fill(0);
        fs::write(&path, bytes).unwrap();
        // A bundle that lost its bytes, and one that is longer than it should be.
        let bundles = night.path("out/2026-11-22.partial/bundles/per_request");
        let recipient = fs::read_dir(&bundles).unwrap().next().unwrap().unwrap().path();
        let mut files = fs::read_dir(recipient).unwrap().map(|file| file.unwrap().path());
        let first = files.next().unwrap();
        fs::write(&first, vec![0; fs::metadata(&first).unwrap().len().try_into().unwrap()]).unwrap();
        fs::write(night.path("out/2026-11-22.partial/outcomes.parquet"), "PAR1").unwrap();
        fs::write(night.path("out/2026-11-22.partial/bundles/stray"), "stray").unwrap();
        let screen = run(&night);
        screen.says(3, &[]);
        assert!(screen.stdout.contains("gathered before"), "{}", screen.stdout);
        night.ieum(&["verify", "out/2026-11-22"]).says(0, &[]);
        let manifest = |night: &Broken| fs::read(night.path("out/2026-11-22/manifest.json")).unwrap();
        assert!(manifest(&night) == manifest(&whole), "{damaged}");
    }
}

#[track_caller]
fn wait_for(ready: impl Fn() -> bool) {
    for _ in 0..1000 {
        if ready() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("waited in vain");
}

#[test]
fn what_a_killed_run_left_is_swept_by_the_run_of_another_date_unless_it_can_go_on() {
    let night = Broken::calm();
    for name in ["2026-11-20", "2026-11-21", "reports"] {
        fs::create_dir_all(night.path(&format!("out/{name}.partial"))).unwrap();
        fs::write(night.path(&format!("out/{name}.partial/rows")), "of a person").unwrap();
    }
    File::create(night.path("out/2026-11-20.lock")).unwrap();
    fs::write(night.path("out/Cargo.lock"), "of somebody else").unwrap();
    let living = File::create(night.path("out/2026-11-21.lock")).unwrap();
    living.lock().unwrap();
    night.killed_at("gathered", &["--date", "2026-11-19"]);
    night.run().says(0, &["warning: an unfinished run of 2026-11-19", "`ieum gc` removes it"]);
    let left = || -> BTreeSet<String> {
        fs::read_dir(night.path("out"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    // What a living run writes is left alone, what can go on is, and so is what has no lock: it is not ours.
    let unfinished = ["2026-11-19.lock", "2026-11-19.partial", "2026-11-19.stage"];
    let others = [
        "2026-11-21.lock",
        "2026-11-21.partial",
        "2026-11-22",
        "2026-11-22.telemetry.json",
        "Cargo.lock",
        "ledger",
        "reports.partial",
    ];
    assert_eq!(left(), unfinished.iter().chain(&others).map(|name| (*name).to_owned()).collect());
    let status = night.ieum(&["status", "out", "--output", "json"]);
    let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    let run = |place: usize| (&status["runs"][place]["name"], &status["runs"][place]["state"]);
    assert_eq!(run(0), (&"2026-11-19".into(), &"unfinished".into()));
    assert_eq!(run(1), (&"2026-11-21".into(), &"left".into()));
    assert_eq!(run(2), (&"2026-11-22".into(), &"committed".into()));
    let collected = night.ieum(&["gc", "out"]);
    assert!(collected.stdout.starts_with("removed  2026-11-19  unfinished run"), "{}", collected.stdout);
    assert_eq!(left(), others.map(str::to_owned).into());
}

#[test]
fn a_dry_run_looks_at_a_committed_night_again() {
    let night = Broken::calm();
    night.run().says(0, &[]);
    let committed = fs::read(night.path("out/2026-11-22/manifest.json")).unwrap();
    let screen = night.ieum(&["run", "nightly.toml", "--dry-run"]);
    screen.says(0, &[]);
    assert!(screen.stdout.contains("dry run, nothing published"), "{}", screen.stdout);
    assert_eq!(fs::read(night.path("out/2026-11-22/manifest.json")).unwrap(), committed);
    assert_eq!(fs::read_dir(night.path("out")).unwrap().count(), 3, "the night, its telemetry, the ledger");
    night.ieum(&["verify", "out/2026-11-22"]).says(0, &[]);
}

#[test]
fn a_committed_output_is_never_overwritten() {
    let night = Broken::calm();
    night.run().says(0, &[]);
    let manifest = fs::read(night.path("out/2026-11-22/manifest.json")).unwrap();
    let screen = night.run();
    screen.says(6, &["holds a committed run", "out/2026-11-22", "hint: give another --out or --date"]);
    assert_eq!(screen.stdout, "");
    assert_eq!(fs::read(night.path("out/2026-11-22/manifest.json")).unwrap(), manifest);
}
