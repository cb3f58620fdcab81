//! What a run took: time by step, and memory and bytes over time. It is written beside the output and never into it, because
//! it differs from run to run; `ieum report` reads it where it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Version of the file's format.
const FORMAT: &str = "ieum-telemetry/1";
/// Ending of the file's name, after that of the output folder.
const ENDING: &str = ".telemetry.json";
/// The time between two samples, at first.
const PAUSE: Duration = Duration::from_millis(10);
/// Samples that are held; beyond that every second one is dropped, and the time between two is doubled.
const MOST_SAMPLES: usize = 480;

/// What a run took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Telemetry {
    /// Version of the format.
    pub format: String,
    /// The run.
    pub run_id: String,
    /// When it began, UTC, RFC 3339.
    pub began: String,
    /// Version of the program.
    pub version: String,
    /// Worker threads.
    pub threads: usize,
    /// Memory limit.
    pub memory_limit_bytes: u64,
    /// The largest resident size, where the system tells it.
    pub peak_memory_bytes: Option<u64>,
    /// From beginning to end.
    pub wall_seconds: f64,
    /// The steps, in their order.
    pub steps: Vec<StepTime>,
    /// Memory and bytes over time.
    pub samples: Vec<Sample>,
}

/// How long a step took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepTime {
    /// Its name.
    pub step: String,
    /// Its time.
    pub seconds: f64,
}

/// The process at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Sample {
    /// Since the run began.
    pub seconds: f64,
    /// Resident size.
    pub memory_bytes: u64,
    /// Read so far, from files and the system's copy of them.
    pub read_bytes: u64,
    /// Written so far.
    pub written_bytes: u64,
}

impl Telemetry {
    /// The version of what this program writes.
    pub fn format() -> String {
        FORMAT.to_owned()
    }

    /// Where that of an output stands: beside it.
    pub fn beside(output: &Path) -> PathBuf {
        let mut name = output.file_name().unwrap_or_default().to_os_string();
        name.push(ENDING);
        output.with_file_name(name)
    }

    /// Reads that of the output of a run; `None` where there is none, or that of another run.
    pub fn of(output: &Path, run_id: &str) -> Option<Self> {
        let telemetry: Self = serde_json::from_slice(&fs::read(Self::beside(output)).ok()?).ok()?;
        (telemetry.format == FORMAT && telemetry.run_id == run_id).then_some(telemetry)
    }
}

/// Takes samples on a thread of its own until it is asked for them.
pub struct Sampler {
    stop: Sender<()>,
    samples: JoinHandle<Vec<Sample>>,
}

impl Sampler {
    /// Begins; `since` is when the run began and `now` reads the clock.
    pub fn begin(since: Instant, now: fn() -> Instant) -> Self {
        let (stop, stopped) = channel();
        let samples = std::thread::spawn(move || {
            let (mut samples, mut pause) = (Samples::default(), PAUSE);
            loop {
                samples.take(now().duration_since(since), &mut pause);
                if stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                    samples.take(now().duration_since(since), &mut pause);
                    return samples.0;
                }
            }
        });
        Self { stop, samples }
    }

    /// The samples so far, the last of them taken now.
    pub fn end(self) -> Vec<Sample> {
        drop(self.stop);
        self.samples.join().unwrap_or_default()
    }
}

#[derive(Default)]
struct Samples(Vec<Sample>);

impl Samples {
    fn take(&mut self, since: Duration, pause: &mut Duration) {
        if let Some(sample) = sample(since) {
            self.0.push(sample);
        }
        if self.0.len() > MOST_SAMPLES {
            let mut nr = 0;
            self.0.retain(|_| {
                nr += 1;
                nr % 2 == 1
            });
            *pause *= 2;
        }
    }
}

/// This process as Linux counts it; `None` elsewhere.
fn sample(since: Duration) -> Option<Sample> {
    let memory_bytes = memory("VmRSS:")?;
    let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let count = |name: &str| io.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0);
    Some(Sample {
        seconds: since.as_secs_f64(),
        memory_bytes,
        read_bytes: count("rchar:"),
        written_bytes: count("wchar:"),
    })
}

/// The largest resident size of this process so far, as Linux counts it.
pub fn peak_memory() -> Option<u64> {
    memory("VmHWM:")
}

fn memory(field: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_thin_out_and_keep_their_order() {
        let (mut samples, mut pause) = (Samples::default(), PAUSE);
        for at in 0..2000 {
            samples.take(Duration::from_millis(at), &mut pause);
        }
        assert!(samples.0.len() <= MOST_SAMPLES && samples.0.len() > MOST_SAMPLES / 4, "{}", samples.0.len());
        assert!(pause > PAUSE && samples.0.is_sorted_by(|a, b| a.seconds < b.seconds));
        assert!(samples.0.iter().all(|sample| sample.memory_bytes > 1 << 20));
    }

    #[test]
    fn it_stands_beside_the_output() {
        assert_eq!(Telemetry::beside(Path::new("out/2026-11-22")), Path::new("out/2026-11-22.telemetry.json"));
    }
}
