//! What a run tells beside its output: the report, the telemetry, the manual, and the units of systemd.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use clap::Parser;
use ieum::cli::{Cli, Command as Verb};
use ieum_model::error::ErrorKind;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn ieum(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ieum")).current_dir(root()).args(arguments).output().unwrap()
}

/// The sample night, committed below the folder; the path of its output.
fn sample(folder: &Path) -> String {
    let run = ieum(&["-q", "run", "sample-data/nightly.toml", "--out", folder.to_str().unwrap()]);
    assert_eq!(run.status.code(), Some(3), "{}", String::from_utf8_lossy(&run.stderr));
    folder.join("2026-11-22").to_str().unwrap().to_owned()
}

/// Every cell of a CSV file that is somebody's: long enough not to be a word of the page by chance.
fn values(file: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join(file)).unwrap();
    let cells = text.lines().skip(1).flat_map(|line| line.split([',', ';', ':']));
    cells.filter(|cell| cell.len() >= 10 && cell.bytes().any(|byte| byte.is_ascii_digit())).map(str::to_owned).collect()
}

#[test]
fn a_report_stands_beside_its_output_and_tells_its_counts_in_both_languages() {
    let folder = tempfile::tempdir().unwrap();
    let out = sample(folder.path());
    assert_eq!(ieum(&["report", &out]).status.code(), Some(0));
    assert_eq!(ieum(&["verify", &out]).status.code(), Some(0), "the output is as it was");
    let page = fs::read_to_string(format!("{out}.report.html")).unwrap();
    for told in [
        "<html lang=\"ko\">",
        "일괄 실행 보고서",
        "Run report",
        "국민건강보험공단 <small>nhis</small>",
        "nhis <small lang=\"ko\">국민건강보험공단</small>",
        "200 <small>requests</small> = 136 <small>delivered</small> + 53 <small>partly delivered</small> + 11 \
         <small>refused</small> + 0 <small>delayed</small>",
        "7,209 <small>read</small> = 789 <small>kept</small> + 6,416 <small>filtered</small> + 4 <small>rejected</small>",
        "rows that could not be read: 4 (rejects/rows.ndjson)",
        "control totals do not agree <small>E_CONTROL_TOTALS</small>",
        "not as many cells as columns <small>ragged</small>",
        "acq_date",
        "단계별 시간",
    ] {
        assert!(page.contains(told), "{told}");
    }
    assert!(!page.contains("does not hold") && !page.contains("NaN"));
    // Nothing is loaded, and nothing runs.
    for wrong in ["<script", "http:", "https:", "url(", "@import", " src=", "javascript"] {
        assert!(!page.contains(wrong), "{wrong}");
    }
}

#[test]
fn a_report_holds_no_value_of_a_row_and_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let out = sample(folder.path());
    ieum(&["report", &out, "--lang", "en"]);
    let page = fs::read_to_string(format!("{out}.report.html")).unwrap();
    let telemetry = fs::read_to_string(format!("{out}.telemetry.json")).unwrap();
    let lineage = fs::read_to_string(format!("{out}/lineage.ndjson")).unwrap();
    // The declared date, and words of the catalog.
    let nobodys = ["2026-11-22", "emergency_119_safe_call", "119 안심콜"];
    let mut tried = 0;
    for file in ["requests/requests.csv", "exports/nhis/nhis_eligibility_history/part-0000.csv"] {
        for value in values(&format!("sample-data/{file}")).iter().filter(|value| !nobodys.contains(&value.as_str())) {
            tried += 1;
            for text in [&page, &telemetry, &lineage] {
                assert!(!text.contains(value.as_str()), "a value of {file} is told");
            }
        }
    }
    assert!(tried > 2000, "{tried}");
}

#[test]
fn the_same_output_without_telemetry_gives_the_same_page() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let page = |folder: &Path| {
        let out = sample(folder);
        fs::remove_file(format!("{out}.telemetry.json")).unwrap();
        let page = folder.join("page.html");
        let told = ieum(&["report", &out, "--out", page.to_str().unwrap(), "--output", "json"]);
        assert!(String::from_utf8_lossy(&told.stdout).contains("\"telemetry\":false"));
        fs::read_to_string(page).unwrap()
    };
    assert!(page(one.path()) == page(other.path()));
}

#[test]
fn a_report_does_not_stand_in_the_output_nor_tell_of_a_changed_one() {
    let folder = tempfile::tempdir().unwrap();
    let out = sample(folder.path());
    let inside = format!("{out}/report.html");
    let refused = ieum(&["report", &out, "--out", &inside]);
    assert_eq!(refused.status.code(), Some(ErrorKind::Config.exit_code().into()));
    assert!(!Path::new(&inside).exists());
    let statistics = format!("{out}/statistics.csv");
    let changed = fs::read_to_string(&statistics).unwrap().replacen(",1\n", ",2\n", 1);
    fs::write(&statistics, changed).unwrap();
    let refused = ieum(&["report", &out]);
    assert_eq!(refused.status.code(), Some(20), "{}", String::from_utf8_lossy(&refused.stderr));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("statistics.csv"));
    assert!(!Path::new(&format!("{out}.report.html")).exists());
}

#[test]
fn man_writes_a_page_for_each_command_and_completions_are_a_script() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(ieum(&["man", folder.path().to_str().unwrap()]).status.code(), Some(0));
    for page in ["ieum.1", "ieum-run.1", "ieum-report.1", "ieum-keys-new.1"] {
        let text = fs::read_to_string(folder.path().join(page)).unwrap();
        assert!(text.contains(".TH") && text.contains("EXIT STATUS"), "{page}");
    }
    let bash = ieum(&["completions", "bash"]);
    let syntax = Command::new("bash").args(["-n", "-c"]).arg(String::from_utf8(bash.stdout).unwrap()).output().unwrap();
    assert!(syntax.status.success(), "{}", String::from_utf8_lossy(&syntax.stderr));
}

/// The values of a setting of a unit.
fn settings<'a>(unit: &'a str, name: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect()
}

#[test]
fn the_unit_starts_a_night_and_knows_its_exit_codes() {
    let folder = root().join("pipelines/systemd");
    let unit = fs::read_to_string(folder.join("ieum-night.service")).unwrap();
    let start = settings(&unit, "ExecStart");
    let cli = Cli::try_parse_from(start[0].split(' ')).unwrap();
    assert!(matches!(cli.command, Verb::Run(args) if args.metrics_file.is_some()));
    assert_eq!(settings(&unit, "SuccessExitStatus"), ["3"]);
    let not_again: BTreeSet<u8> =
        settings(&unit, "RestartPreventExitStatus")[0].split(' ').map(|code| code.parse().unwrap()).collect();
    assert!(!not_again.contains(&ErrorKind::Temporary.exit_code()), "it is tried again");
    for kind in [ErrorKind::Config, ErrorKind::Locked, ErrorKind::Key, ErrorKind::Integrity, ErrorKind::Internal] {
        assert!(not_again.contains(&kind.exit_code()), "{kind:?} is not tried again");
    }
    let timer = fs::read_to_string(folder.join("ieum-night.timer")).unwrap();
    assert_eq!(settings(&timer, "Unit"), ["ieum-night.service"]);
    verified(&folder);
}

/// Where there is `systemd-analyze`, it finds nothing wrong with the units but that ieum is not installed here.
fn verified(folder: &Path) {
    let here = tempfile::tempdir().unwrap();
    for name in ["ieum-night.service", "ieum-night.timer"] {
        let unit = fs::read_to_string(folder.join(name)).unwrap();
        let unit = unit.replace("/usr/bin/ieum", env!("CARGO_BIN_EXE_ieum"));
        let unit: String = unit.split_inclusive('\n').filter(|line| !line.starts_with("Documentation=")).collect();
        fs::write(here.path().join(name), unit).unwrap();
    }
    let units = ["ieum-night.service", "ieum-night.timer"].map(|name| here.path().join(name));
    let Ok(told) = Command::new("systemd-analyze").arg("verify").args(units).output() else { return };
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(!told.lines().any(|line| line.contains("ieum-night")), "{told}");
}
