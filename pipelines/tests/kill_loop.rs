//! The kill loop: `ieum run` is ended by SIGKILL at every named step and at random instants, and started again until it is
//! done. The output has the bytes of one that was never stopped, nothing is visible before it is whole, and nothing is left.
//!
//! `IEUM_KILLS=1000 cargo test --workspace --locked --test kill_loop` kills a thousand times at random; `IEUM_KILL_SEED` gives
//! other instants.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use ieum_core::steps::STEPS;
use tempfile::TempDir;

#[path = "folders/below.rs"]
mod below;
mod folders;

use below::files_below;
use folders::copy;

/// Kills at random instants where the environment does not say how many.
const KILLS: u64 = 40;
/// The output of the night.
const COMMITTED: &str = "2026-11-22";
/// Ways to write bundles, and the definition of the night; small shards, so that there are several.
const WAYS: [[&str; 3]; 8] = [
    ["packed", "json", PLAIN],
    ["per-request", "json", PLAIN],
    ["packed", "parquet", PLAIN],
    ["per-request", "parquet", PLAIN],
    ["folder", "json", PLAIN],
    ["packed", "json", ENCRYPTED],
    ["per-request", "json", ENCRYPTED],
    ["folder", "parquet", ENCRYPTED],
];
const PLAIN: &str = "nightly.toml";
/// Sealed and encrypted.
const ENCRYPTED: &str = "encrypted.toml";

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Makes a key that signs and one for all recipients, and the definition of a night that uses them.
fn with_keys(folder: &Path) {
    let new = |file: &str, kind: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ieum"));
        let output = command.current_dir(folder).args(["keys", "new", file, "--key-id", "k", kind]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    new("keys/agency.key", "--signing");
    let made = new("keys/recipient.key", "--encryption");
    let public = made.lines().find(|line| line.starts_with("age1")).unwrap();
    let recipients = folder.join("catalog/recipients.toml");
    let text = fs::read_to_string(&recipients).unwrap();
    let with_key = |line: &str| match line.starts_with("[recipients.") {
        true => format!("{line}\nencryption_key = \"{public}\"\n"),
        false => format!("{line}\n"),
    };
    fs::write(&recipients, text.lines().map(with_key).collect::<String>()).unwrap();
    let definition = fs::read_to_string(folder.join(PLAIN)).unwrap();
    let more = "signing_key = \"keys/agency.key\"\nencrypt = true\n";
    fs::write(folder.join(ENCRYPTED), definition + "\n" + more).unwrap();
}

/// The sample night, and what it writes when nobody stops it.
struct Night {
    folder: TempDir,
    whole: Vec<Files>,
}

impl Night {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("sample-data");
        for part in ["catalog", "exports", "requests", "keys"] {
            copy(&sample.join(part), &folder.path().join(part));
        }
        fs::copy(sample.join(PLAIN), folder.path().join(PLAIN)).unwrap();
        with_keys(folder.path());
        let mut night = Self { folder, whole: Vec::new() };
        for way in 0..WAYS.len() {
            let output = night.ieum(way, "whole").output().unwrap();
            assert_eq!(output.status.code(), Some(3), "{}", told(&output));
            night.whole.push(files_below(&night.folder.path().join("whole").join(COMMITTED)));
            fs::remove_dir_all(night.folder.path().join("whole")).unwrap();
        }
        night
    }

    fn ieum(&self, way: usize, out: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ieum"));
        let [layout, format, definition] = WAYS[way];
        command.args(["run", definition, "--out", out, "--layout", layout, "--format", format]);
        command.args(["--shard-requests", "37"]).current_dir(self.folder.path());
        command
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.out()).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// Runs until it comes to a step for the nth time; whether it came there. Only builds with debug assertions stop there.
    #[track_caller]
    fn killed_at(&self, way: usize, step: &str, time: u32) -> bool {
        let output = self.ieum(way, "out").env("IEUM_KILL_AT", format!("{step}:{time}")).output().unwrap();
        match output.status.code() {
            None => true,
            Some(_) => {
                assert!(is_done(&output), "{step}: {}", told(&output));
                false
            }
        }
    }

    /// Runs to the end.
    #[track_caller]
    fn finish(&self, way: usize) {
        let output = self.ieum(way, "out").output().unwrap();
        assert!(is_done(&output), "{}", told(&output));
        self.is_whole(way);
    }

    /// The output is that of a night that was never stopped, nothing stands beside it, and `gc` finds nothing.
    #[track_caller]
    fn is_whole(&self, way: usize) {
        self.collect();
        // A run that was killed when all was written has told no telemetry.
        let names: Vec<String> = self.names().into_iter().filter(|name| !name.ends_with(".telemetry.json")).collect();
        assert_eq!(names, [COMMITTED, "ledger"]);
        let mut ledger = Command::new(env!("CARGO_BIN_EXE_ieum"));
        let ledger = ledger.args(["ledger", "verify", "out", "--key", "keys/sample.key", "--output", "json"]);
        let output = ledger.current_dir(self.folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&report["runs"], &report["authenticated"]), (&1.into(), &1.into()), "{}", told(&output));
        let (found, whole) = (files_below(&self.out().join(COMMITTED)), &self.whole[way]);
        assert!(found.keys().eq(whole.keys()), "{:?}", WAYS[way]);
        for (name, bytes) in whole {
            assert!(found[name] == *bytes, "{:?}: {} differs", WAYS[way], name.display());
        }
    }

    fn collect(&self) {
        let mut gc = Command::new(env!("CARGO_BIN_EXE_ieum"));
        let output = gc.args(["gc", "out"]).current_dir(self.folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    }

    fn clear(&self) {
        let _ = fs::remove_dir_all(self.out());
    }
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Committed: by this process, or by one that was killed when it had nothing more to do.
fn is_done(output: &Output) -> bool {
    let committed_before = || told(output).contains("the output folder holds a committed run");
    output.status.code() == Some(3) || (output.status.code() == Some(6) && committed_before())
}

/// Numbers that look random: SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (number ^ (number >> 31)) % end
    }
}

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |value| value.parse().unwrap())
}

#[test]
fn a_run_that_is_killed_at_any_step_goes_on() {
    let night = Night::new();
    let renamed = STEPS.iter().position(|step| *step == "commit.renamed").unwrap();
    for (place, step) in STEPS.iter().enumerate() {
        let often = ["journal", "reading", "shard"].iter().any(|part| step.starts_with(part));
        for time in if often { &[1, 3][..] } else { &[1] } {
            let way = (place + *time as usize) % WAYS.len();
            night.clear();
            assert!(night.killed_at(way, step, *time), "a run does not come to `{step}`");
            assert_eq!(night.out().join(COMMITTED).exists(), place >= renamed, "killed at `{step}`");
            night.finish(way);
        }
    }
    // What is not wanted any more goes away as a whole.
    for step in ["stage.made", "journal.torn", "reading.aside", "shard.kept", "commit.synced", "commit.renamed"] {
        night.clear();
        night.killed_at(0, step, 1);
        night.collect();
        assert_eq!(
            night.names(),
            if step == "commit.renamed" { vec![COMMITTED] } else { Vec::new() },
            "killed at `{step}`"
        );
    }
    // One run after the other on what the one before left.
    night.clear();
    for step in STEPS {
        if !night.killed_at(0, step, 1) {
            night.is_whole(0);
            night.clear();
        }
    }
    night.finish(0);
}

#[test]
fn a_run_that_is_killed_at_random_goes_on() {
    let night = Night::new();
    let mut random = Random(from_environment("IEUM_KILL_SEED", 1));
    let (wanted, mut kills, mut outputs, mut way) = (from_environment("IEUM_KILLS", KILLS), 0, 0, 0);
    // How long a run may take before it is killed; it follows what the machine does.
    let mut longest = Duration::from_secs(1);
    while kills < wanted {
        // Neither the threads nor the memory limit has to be the one before.
        let (threads, memory) = ((1 + kills % 3).to_string(), format!("{} MiB", 256 << (kills % 2)));
        let mut run = night.ieum(way, "out");
        let mut run = run
            .args(["--threads", &threads, "--memory", &memory])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(longest.mul_f64(random.below(1000) as f64 / 1000.0));
        run.kill().unwrap();
        let output = run.wait_with_output().unwrap();
        if output.status.code().is_none() {
            kills += 1;
            longest = longest.mul_f64(1.05);
            continue;
        }
        assert!(is_done(&output), "{}", told(&output));
        night.is_whole(way);
        night.clear();
        longest = longest.mul_f64(0.9);
        (outputs, way) = (outputs + 1, (way + 1) % WAYS.len());
    }
    night.finish(way);
    // Told with `--nocapture`, for the record of a long loop.
    #[allow(clippy::print_stderr)]
    {
        eprintln!("{kills} kills, {} outputs, all the same bytes", outputs + 1);
    }
}

/// A disk of its own that becomes full, grows by a quarter, and becomes full again, until the night has room on it.
const FULL_DISK: &str = r#"
mount -t tmpfs -o size=64k tmpfs out || exit 99
size=64
while :; do
  "$0" run nightly.toml --out out --layout packed --format json --shard-requests 37 2>> told
  code=$?
  echo "ended $code"
  [ $code = 5 ] || break
  size=$((size * 5 / 4))
  mount -o remount,size=${size}k out || exit 99
done
"$0" ledger verify out --key keys/sample.key > entered && "$0" gc out > gone && "$0" verify out/2026-11-22 > verified || exit 98
cp -r out/2026-11-22 kept
"#;

#[test]
fn a_full_disk_is_gone_on_from() {
    let night = Night::new();
    fs::create_dir(night.out()).unwrap();
    let run = |mount: &[&str]| {
        let mut shell = Command::new("unshare");
        let shell = shell.args(mount).args(["--mount", "sh", "-c", FULL_DISK, env!("CARGO_BIN_EXE_ieum")]);
        shell.current_dir(night.folder.path()).output().unwrap()
    };
    let may_not = |output: &Output| output.status.code() == Some(99) || told(output).contains("unshare");
    // The superuser may mount a disk, and anybody in a namespace of users, where there are such.
    let mut output = run(&[]);
    if may_not(&output) {
        output = run(&["--user", "--map-root-user"]);
    }
    if may_not(&output) && std::env::var("IEUM_DISK").is_err() {
        #[allow(clippy::print_stderr)]
        {
            eprintln!("left out: no disk can be mounted: {}", told(&output));
        }
        return;
    }
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let ends = String::from_utf8(output.stdout).unwrap();
    let ends: Vec<&str> = ends.lines().filter_map(|line| line.strip_prefix("ended ")).collect();
    assert!(ends.len() > 3 && ends[..ends.len() - 1].iter().all(|code| *code == "5"), "{ends:?}");
    // One that is committed before the disk has room for its entry in the ledger is entered by the next.
    assert!(matches!(ends.last(), Some(&"3" | &"6")), "{ends:?}");
    assert!(files_below(&night.folder.path().join("kept")) == night.whole[0]);
}
