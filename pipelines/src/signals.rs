//! What the system tells the process: stop, and that a file may not grow.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ieum_core::night::CommitGate;
use ieum_core::sink;

use crate::screen::Screen;

/// The signals that end a run, how it is told, and the exit codes that schedulers know them by.
const ENDING: [(i32, &str, u8); 2] =
    [(libc::SIGINT, "interrupted by SIGINT", 130), (libc::SIGTERM, "interrupted by SIGTERM", 143)];

/// As [`ENDING`], of the time limit.
const TIME_LIMIT: (&str, u8) = ("the time limit is reached", 10);

/// Makes a write beyond the limit on file sizes (`ulimit -f`) fail, instead of ending the process without a word.
pub fn file_size_limit_is_an_error() {
    // SAFETY: no handler is installed, and no other thread runs yet.
    #[allow(unsafe_code)]
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

/// Waits for what ends a run: signals, and a time limit. Nothing is committed then, and what was written stays: the process
/// ends at once, as if it were killed, and every instant of a run is one that it can go on from.
pub struct Interrupts(Arc<State>);

type Tells = Box<dyn FnOnce(&'static str, u8) + Send>;

#[derive(Default)]
struct State {
    gate: Arc<CommitGate>,
    /// Where a dry run writes to: nothing of it is left.
    rehearsed: Mutex<Option<PathBuf>>,
    /// What is still to be told when the run is ended: by what, and its exit code.
    tells: Mutex<Option<Tells>>,
    /// One ending at a time.
    ends: Mutex<()>,
    ending: AtomicBool,
}

impl Interrupts {
    /// Waits on threads of its own from now on. To be called before other threads are started: they must not take the
    /// signals.
    pub fn wait(screen: Screen, limit: Option<Duration>) -> Self {
        let state = Arc::new(State::default());
        let signals = block();
        let waiting = Arc::clone(&state);
        std::thread::spawn(move || {
            while let Some((what, code)) = next(&signals) {
                waiting.end(what, code, screen);
            }
        });
        if let Some(limit) = limit {
            let waiting = Arc::clone(&state);
            std::thread::spawn(move || {
                std::thread::sleep(limit);
                waiting.end(TIME_LIMIT.0, TIME_LIMIT.1, screen);
            });
        }
        Self(state)
    }

    /// What lets the run commit unless it was ended before.
    pub fn gate(&self) -> Arc<CommitGate> {
        Arc::clone(&self.0.gate)
    }

    /// From here on `tells` is called when the run is ended, before the process ends: it has to be quick.
    pub fn tell(&self, tells: impl FnOnce(&'static str, u8) + Send + 'static) {
        *self.0.tells.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(tells));
    }

    /// From here on a dry run writes for `target`.
    pub fn rehearses(&self, target: &Path) {
        *self.0.rehearsed.lock().unwrap_or_else(PoisonError::into_inner) = Some(target.to_path_buf());
    }

    /// Returns when the run was not ended. What it met after that is no result and no failure.
    pub fn settle(&self) {
        const PAUSE: Duration = Duration::from_millis(10);
        while self.0.ending.load(Ordering::Acquire) {
            std::thread::sleep(PAUSE);
        }
    }
}

impl State {
    /// Ends the process, unless the output is committed already.
    fn end(&self, what: &'static str, code: u8, screen: Screen) {
        let _one = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        self.ending.store(true, Ordering::Release);
        if !self.gate.end() {
            self.ending.store(false, Ordering::Release);
            return;
        }
        let rehearsed = self.rehearsed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(target) = &rehearsed {
            sink::withdraw(target);
        }
        let tells = self.tells.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(tells) = tells {
            tells(what, code);
        }
        screen.ended(what, code, rehearsed.is_none());
        std::process::exit(code.into());
    }
}

/// Blocks the signals that end a run in this thread and those it starts, but for those to be ignored (`nohup`).
#[allow(unsafe_code)]
fn block() -> libc::sigset_t {
    // SAFETY: a signal set and an action are plain data, filled in by the calls that are handed them; the mask of this
    // thread is the only thing changed.
    unsafe {
        let mut signals: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut signals);
        for (signal, ..) in ENDING {
            let mut action: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, std::ptr::null(), &mut action);
            if action.sa_sigaction != libc::SIG_IGN {
                libc::sigaddset(&mut signals, signal);
            }
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, &signals, std::ptr::null_mut());
        signals
    }
}

/// The next signal, by how it is told and its exit code; `None` where the system gives none.
#[allow(unsafe_code)]
fn next(signals: &libc::sigset_t) -> Option<(&'static str, u8)> {
    let mut signal = 0;
    // SAFETY: both live until the call returns.
    let waited = unsafe { libc::sigwait(signals, &mut signal) };
    let known = ENDING.into_iter().find(|(number, ..)| *number == signal);
    known.filter(|_| waited == 0).map(|(_, what, code)| (what, code))
}
