//! One measured run of a night in a process of its own, and whether its answers are the expected ones.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use ieum_core::night::OUTCOMES;
use ieum_model::error::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::measure::{Cost, measured, micro};
use super::nights::{Place, date};
use super::plan::PER_REQUEST;
use super::record::{Night, Round};
use crate::generate::hex;

/// Exit codes of a run that committed.
const COMMITTED: [i32; 2] = [0, 3];
/// Where outputs of many files wait below the working folder.
pub const AWAY: &str = "away";
/// Bytes read at a time.
const CHUNK: usize = 1 << 20;
/// Characters of a failed process's last words.
const LAST_WORDS: usize = 2000;

/// The program that is measured: this one.
#[derive(Debug, Clone)]
pub struct Program {
    /// The executable.
    pub path: PathBuf,
    /// Its SHA-256.
    pub digest: String,
}

/// What a run of a night tells of itself, as far as it is recorded.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Summary {
    /// Rows read.
    pub rows_read: u64,
    /// Rows that somebody asked for.
    pub rows_kept: u64,
    /// Bytes read from storage.
    pub bytes_read: u64,
    /// Seconds of each step, where the program tells them.
    #[serde(default)]
    pub steps: BTreeMap<String, f64>,
}

/// What became of the answers.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Judged {
    /// Lines expected.
    pub lines: u64,
    /// Lines that differ.
    pub different: u64,
    /// Where the first one stands.
    pub first: Option<String>,
}

/// A run of a night.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// What it cost.
    pub round: Round,
    /// What it told.
    pub summary: Summary,
    /// Its answers.
    pub judged: Judged,
}

impl Program {
    /// The program that is running.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn here() -> Result<Self> {
        let cannot = |error: std::io::Error| {
            Error::new(ErrorKind::Temporary, format!("the program's own file cannot be read: {error}"))
        };
        let path = std::env::current_exe().map_err(cannot)?;
        let (mut file, mut sum) = (File::open(&path).map_err(cannot)?, Sha256::new());
        let mut buffer = vec![0; CHUNK];
        loop {
            match file.read(&mut buffer).map_err(cannot)? {
                0 => return Ok(Self { path, digest: hex(&sum.finalize()) }),
                bytes => sum.update(&buffer[..bytes]),
            }
        }
    }

    /// Runs the program with words in `log`, and gives its cost and the object on the last line of its output.
    ///
    /// # Errors
    /// When it cannot be started, ends with another code than those of `accepted`, or prints no such object.
    pub fn told<T: DeserializeOwned>(
        &self,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        log: &Path,
        accepted: &[i32],
    ) -> Result<(Cost, T)> {
        let (cost, status) = measured(Command::new(&self.path).args(arguments), log)?;
        accept(status, log, accepted)?;
        let out = text(&log.with_extension("out"));
        let last = out.lines().last().unwrap_or_default();
        let value = serde_json::from_str(last).map_err(|error| {
            Error::internal(format!("a process told no result: {error}")).at("log", log.with_extension("out").display())
        })?;
        Ok((cost, value))
    }

    /// Runs a night into `out`, and judges its answers.
    ///
    /// # Errors
    /// When the run commits nothing or its answers cannot be read.
    pub fn night(&self, place: &Place, night: &Night, out: &Path) -> Result<Run> {
        put_away(out, night);
        let log = place.work.join("run");
        let definition = place.definition(night.staged);
        let (threads, memory) = (night.threads.to_string(), night.memory_bytes.to_string());
        let layout = night.layout.replace('_', "-");
        let settings =
            [("--threads", &threads), ("--memory", &memory), ("--layout", &layout), ("--format", &night.output)];
        let mut arguments = vec!["run".as_ref(), definition.as_os_str(), "--out".as_ref(), out.as_os_str()];
        arguments.extend(settings.into_iter().flat_map(|(name, value)| [OsStr::new(name), OsStr::new(value)]));
        arguments.extend(["--output", "json", "-q"].map(OsStr::new));
        let (cost, summary): (Cost, Summary) = self.told(arguments, &log, &COMMITTED)?;
        let outcomes = committed(out).join(OUTCOMES);
        // In a process of its own too: the system counts what the parent ever held as a child's.
        let (_, judged) = self.told(
            ["bench-part".as_ref(), "judge".as_ref(), place.expected().as_os_str(), outcomes.as_os_str()],
            &place.work.join("judge"),
            &[0],
        )?;
        let steps = summary.steps.iter().map(|(step, seconds)| (step.clone(), micro(*seconds))).collect();
        Ok(Run { round: Round { cost, steps }, summary, judged })
    }
}

/// Takes an output out of the way of the next. Many files are not removed before the benchmark ends: ext4 looks at every
/// inode deleted within the last minute before it takes a new one, and the next run would pay for that.
pub fn put_away(out: &Path, night: &Night) {
    // An output that cannot be moved is met by the next run, which says so.
    let _ = match out.parent().filter(|_| night.layout == PER_REQUEST) {
        None => fs::remove_dir_all(out),
        Some(work) => {
            let away = work.join(AWAY);
            let _ = fs::create_dir_all(&away);
            let nth = fs::read_dir(&away).map_or(0, Iterator::count);
            fs::rename(out, away.join(nth.to_string()))
        }
    };
}

/// The folder that a run commits below `out`.
pub fn committed(out: &Path) -> PathBuf {
    out.join(date().to_string())
}

/// A process must have ended with one of these codes; else its last words are told.
///
/// # Errors
/// When it has not.
pub fn accept(status: ExitStatus, log: &Path, accepted: &[i32]) -> Result<()> {
    if status.code().is_some_and(|code| accepted.contains(&code)) {
        return Ok(());
    }
    let words = text(&log.with_extension("err"));
    let words = words.trim_end();
    let from = words.char_indices().rev().nth(LAST_WORDS).map_or(0, |(at, _)| at);
    let error = Error::new(ErrorKind::Temporary, format!("a measured process ended with {status}"));
    Err(error.at("said", &words[from..]))
}

fn text(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn steps_may_be_absent() {
        let told = r#"{"rows_read":3,"rows_kept":2,"bytes_read":1,"requests":7}"#;
        assert!(serde_json::from_str::<Summary>(told).unwrap().steps.is_empty());
    }

    #[test]
    fn a_process_that_fails_is_told_with_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let program = Program { path: "sh".into(), digest: String::new() };
        let error = program.told::<Summary>(["-c", "echo no room >&2; exit 5"], &log, &[0]).unwrap_err();
        assert!(error.to_string().contains("no room"), "{error}");
        let (_, said): (_, Judged) =
            program.told(["-c", r#"echo words; echo '{"lines":2,"different":1}'; exit 3"#], &log, &[0, 3]).unwrap();
        assert_eq!(said, Judged { lines: 2, different: 1, first: None });
    }
}
