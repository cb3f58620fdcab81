//! Lines of JSON that tell how far a run is, while it goes on: at the begin of every step, and again and again in between.
//!
//! What they tell is what the journal says, which anybody may read with `ieum status`: a run that nobody asks for lines does
//! nothing for them.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ieum_core::sink::{self, RunState, Unfinished};
use serde::Serialize;

use crate::screen::Screen;

/// Seconds between two lines; `IEUM_STATUS_SECONDS` says otherwise, 60 is a line a minute.
const EVERY: Duration = Duration::from_secs(10);
const SETTING: &str = "IEUM_STATUS_SECONDS";

/// A line. Fields may be added.
#[derive(Debug, Serialize)]
struct Line<'a> {
    message_type: &'static str,
    step: &'a str,
    seconds: f64,
    #[serde(flatten)]
    counts: Option<Counts>,
}

/// What the journal says of the run, where it writes one.
#[derive(Debug, Serialize)]
struct Counts {
    run_id: String,
    wave: u32,
    last_wave: u32,
    readings_done: u64,
    readings: u64,
    shards_done: u64,
    shards: u64,
}

impl From<Unfinished> for Counts {
    fn from(run: Unfinished) -> Self {
        let Unfinished { run_id, wave, last_wave, readings_done, readings, shards_done, shards, .. } = run;
        Self { run_id, wave, last_wave, readings_done, readings, shards_done, shards }
    }
}

/// Tells how far a run is until it is dropped.
pub struct StatusLines {
    steps: Option<Sender<&'static str>>,
    thread: Option<JoinHandle<()>>,
}

impl StatusLines {
    /// None are told.
    pub fn off() -> Self {
        Self { steps: None, thread: None }
    }

    /// Tells on `screen` of the run that writes to `target`; `now` reads the clock.
    pub fn on(screen: Screen, target: &Path, began: Instant, now: fn() -> Instant) -> Self {
        let every = std::env::var(SETTING).ok().and_then(|text| text.parse::<f64>().ok());
        let every =
            every.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).filter(|every| !every.is_zero());
        let every = every.unwrap_or(EVERY);
        let (steps, begins) = mpsc::channel();
        let target = target.to_path_buf();
        let tell = move || {
            let mut step = "load";
            loop {
                match begins.recv_timeout(every) {
                    Ok(next) => step = next,
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
                let seconds = now().duration_since(began).as_secs_f64();
                screen.status(&Line { message_type: "status", step, seconds, counts: counts(&target) });
            }
        };
        Self { steps: Some(steps), thread: Some(std::thread::spawn(tell)) }
    }

    /// A step begins.
    pub fn begins(&self, step: &'static str) {
        if let Some(steps) = &self.steps {
            let _ = steps.send(step);
        }
    }
}

impl Drop for StatusLines {
    /// Nothing is told after the result.
    fn drop(&mut self) {
        self.steps = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the journal of the run says; nothing where it writes none.
fn counts(target: &Path) -> Option<Counts> {
    let name = target.file_name()?.to_str()?;
    let folder: PathBuf =
        target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).into();
    let runs = sink::status(&folder).ok()?;
    runs.into_iter().find(|run| run.name == name).and_then(|run| match run.state {
        RunState::Unfinished(run) => Some(run.into()),
        _ => None,
    })
}
