//! A night on staged copies answers as one on the exports: the same files, the same counts; what it reads follows its requests.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// A generated night with planted faults: `nightly.toml` reads its exports, `staged.toml` their copies.
struct Night {
    folder: TempDir,
}

/// What a run showed and wrote.
struct Ran {
    code: Option<i32>,
    stderr: String,
    summary: Value,
    files: BTreeMap<String, Vec<u8>>,
}

fn ieum(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ieum")).current_dir(folder).args(arguments).output().unwrap()
}

fn last_line(output: &Output) -> Value {
    let stdout = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(stdout.lines().last().unwrap_or("null")).unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

impl Night {
    fn generate(people: u64, requests: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("sample-data/catalog");
        let [people, requests] = [people, requests].map(|number| number.to_string());
        let arguments = ["--people", &people, "--requests", &requests, "--seed", "3", "--date", "2026-11-22", "."];
        let arguments = [&["generate", "--catalog", catalog.to_str().unwrap()], &arguments[..]].concat();
        let generated = ieum(folder.path(), &arguments);
        assert_eq!(generated.status.code(), Some(0), "{}", told(&generated));
        let night = Self { folder };
        let text = fs::read_to_string(night.path("nightly.toml")).unwrap();
        fs::write(night.path("staged.toml"), text.replace("[run]\n", "[run]\nstaged = \"copies\"\n")).unwrap();
        night
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn stage(&self, datasets: &[&str]) -> Output {
        let arguments = [&["stage", "staged.toml", "--output", "json"], datasets].concat();
        ieum(self.folder.path(), &arguments)
    }

    fn run(&self, definition: &str, out: &str) -> Ran {
        let output = ieum(self.folder.path(), &["run", definition, "--out", out, "--output", "json"]);
        let stderr = told(&output);
        assert!(output.status.code().is_some_and(|code| code == 0 || code == 3), "{stderr}");
        let mut files = BTreeMap::new();
        read_below(&self.path(out), &self.path(out), &mut files);
        // The chain over all runs names their digests.
        files.retain(|name, _| !name.starts_with("ledger/"));
        Ran { code: output.status.code(), stderr, summary: last_line(&output), files }
    }
}

fn read_below(folder: &Path, base: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_below(&path, base, files);
        } else {
            files.insert(path.strip_prefix(base).unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap());
        }
    }
}

/// Every file the same, and of the manifest all but what was read: bytes of the sources, and the plans that name them.
#[track_caller]
fn same(staged: &Ran, plain: &Ran) {
    let names = |ran: &Ran| ran.files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(staged), names(plain));
    for (name, bytes) in &staged.files {
        if name.ends_with("manifest.json") {
            let what_is_said = |bytes: &[u8]| {
                let mut manifest: Value = serde_json::from_slice(bytes).unwrap();
                for source in manifest["sources"].as_object_mut().unwrap().values_mut() {
                    source["bytes"].take();
                }
                manifest["plans"].take();
                manifest["run_digest"].take();
                manifest
            };
            assert_eq!(what_is_said(bytes), what_is_said(&plain.files[name]));
        } else if !name.ends_with(".lock") && !name.ends_with(".telemetry.json") {
            assert!(*bytes == plain.files[name], "{name} differs");
        }
    }
    for count in
        ["requests", "delivered", "partial", "delayed", "rows_read", "rows_kept", "rows_filtered", "rows_rejected"]
    {
        assert_eq!(staged.summary[count], plain.summary[count], "{count}");
    }
    assert_eq!(staged.code, plain.code);
}

#[test]
fn a_staged_night_writes_the_same_files() {
    let night = Night::generate(700, 300);
    let plain = night.run("nightly.toml", "plain");
    let without = night.run("staged.toml", "without");
    same(&without, &plain);
    assert!(without.stderr.contains("have no staged copy"), "{}", without.stderr);

    let made = night.stage(&[]);
    assert_eq!(made.status.code(), Some(3), "one export fails its totals: {}", told(&made));
    let report = last_line(&made);
    assert!(report["written"].as_u64().unwrap() > 30 && report["failed"] == 1, "{report}");
    assert!(told(&made).contains("is not staged: trailer says"), "{}", told(&made));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&night.path("copies")), 0o700);
    for (folder, mode_of_all) in [("copies/resident_register_abstract", 0o600)] {
        for entry in fs::read_dir(night.path(folder)).unwrap() {
            assert_eq!(mode(&entry.unwrap().path()), mode_of_all);
        }
    }
    let staged = night.run("staged.toml", "staged");
    same(&staged, &plain);
    assert!(staged.summary["rows_rejected"].as_u64().unwrap() > 0);
    assert!(!staged.stderr.contains("is not used"), "{}", staged.stderr);
    assert_eq!(ieum(night.folder.path(), &["verify", "staged/2026-11-22"]).status.code(), Some(0));
    assert_eq!(ieum(night.folder.path(), &["check", "staged.toml"]).status.code(), Some(3));

    let again = last_line(&night.stage(&[]));
    assert_eq!((&again["written"], &again["fresh"]), (&Value::from(0), &report["written"]));
}

#[test]
fn a_stale_or_damaged_copy_is_not_used() {
    let night = Night::generate(300, 100);
    assert_eq!(night.stage(&[]).status.code(), Some(3));
    // A copy is damaged where every night reads it: in the root of its index.
    let folder = night.path("copies/resident_register_abstract");
    let file = |entry: std::io::Result<fs::DirEntry>| {
        Some(entry.unwrap().path()).filter(|path| path.extension().unwrap() == "rows")
    };
    let copy = fs::read_dir(&folder).unwrap().find_map(file).unwrap();
    let mut bytes = fs::read(&copy).unwrap();
    let at = bytes.len() - 20;
    bytes[at] ^= 1;
    fs::write(&copy, bytes).unwrap();
    // And an export is delivered anew.
    let export = night.path("exports/nhis/nhis_eligibility_history");
    let part = fs::read_dir(&export).unwrap().next().unwrap().unwrap().path();
    let name = part.file_name().unwrap().to_string_lossy().into_owned();
    let bytes = fs::read(&part).unwrap();
    fs::remove_file(&part).unwrap();
    fs::write(export.join(name.replace("0000", "0001")), bytes).unwrap();

    let plain = night.run("nightly.toml", "plain");
    let staged = night.run("staged.toml", "staged");
    same(&staged, &plain);
    for warning in [
        "the staged copy of `nhis_eligibility_history` is not used, its export is read: the export has changed",
        "the staged copy of `resident_register_abstract` is damaged, its export is read instead",
    ] {
        assert!(staged.stderr.contains(warning), "{}", staged.stderr);
    }
    let checked = ieum(night.folder.path(), &["check", "staged.toml"]);
    assert!(
        told(&checked).contains("the staged copy of `resident_register_abstract` is not used"),
        "{}",
        told(&checked)
    );

    let mended = last_line(&night.stage(&["resident_register_abstract", "nhis_eligibility_history"]));
    assert_eq!(mended["written"], 2, "{mended}");
    let staged = night.run("staged.toml", "mended");
    same(&staged, &plain);
    assert!(!staged.stderr.contains("is not used") && !staged.stderr.contains("is damaged"), "{}", staged.stderr);
}

#[test]
fn a_wrong_word_is_told_before_anything_is_written() {
    let night = Night::generate(50, 10);
    let says = |arguments: &[&str], words: &str| {
        let output = ieum(night.folder.path(), arguments);
        assert_eq!(output.status.code(), Some(6));
        assert!(told(&output).contains(words), "{}", told(&output));
    };
    says(&["stage", "nightly.toml"], "write `staged = \"staged\"` into its `[run]`");
    says(&["stage", "staged.toml", "resident_register_abstrakt"], "did you mean `resident_register_abstract`?");
    assert!(!night.path("copies").exists());
}
