//! What the system tells the process: stop, and that a file may not grow.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ieum_core::sink;

use crate::screen::Screen;

/// The signals that end a run, their names, and the exit codes that schedulers know them by.
const ENDING: [(i32, &str, u8); 2] = [(libc::SIGINT, "SIGINT", 130), (libc::SIGTERM, "SIGTERM", 143)];

/// Makes a write beyond the limit on file sizes (`ulimit -f`) fail, instead of ending the process without a word.
pub fn file_size_limit_is_an_error() {
    // SAFETY: no handler is installed, and no other thread runs yet.
    #[allow(unsafe_code)]
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

/// Waits for the signals that end a run: what was written is removed, nothing is committed.
pub struct Interrupts(Arc<State>);

#[derive(Default)]
struct State {
    /// Where the run writes to, and whether a committed output stood there before.
    target: Mutex<Option<(PathBuf, bool)>>,
    ending: AtomicBool,
}

impl Interrupts {
    /// Waits on a thread of its own from now on. To be called before other threads are started: they must not take the
    /// signals.
    pub fn wait(screen: Screen) -> Self {
        let state = Arc::new(State::default());
        let signals = block();
        let waiting = Arc::clone(&state);
        std::thread::spawn(move || {
            while let Some((name, code)) = next(&signals) {
                waiting.end(name, code, screen);
            }
        });
        Self(state)
    }

    /// From here on the run writes to `target`.
    pub fn writes_to(&self, target: &Path) {
        let target = (target.to_path_buf(), target.exists());
        *self.0.target.lock().unwrap_or_else(PoisonError::into_inner) = Some(target);
    }

    /// Returns when the run was not interrupted. What it met after that is no result and no failure.
    pub fn settle(&self) {
        const PAUSE: Duration = Duration::from_millis(10);
        while self.0.ending.load(Ordering::Acquire) {
            std::thread::sleep(PAUSE);
        }
    }
}

impl State {
    /// Ends the process, unless the output is committed already.
    fn end(&self, name: &str, code: u8, screen: Screen) {
        self.ending.store(true, Ordering::Release);
        let target = self.target.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((target, stood_before)) = target
            && !sink::withdraw(&target)
            && !stood_before
            && target.exists()
        {
            self.ending.store(false, Ordering::Release);
            return;
        }
        screen.interrupted(name, code);
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

/// The next signal, by its name and exit code; `None` where the system gives none.
#[allow(unsafe_code)]
fn next(signals: &libc::sigset_t) -> Option<(&'static str, u8)> {
    let mut signal = 0;
    // SAFETY: both live until the call returns.
    let waited = unsafe { libc::sigwait(signals, &mut signal) };
    let known = ENDING.into_iter().find(|(number, ..)| *number == signal);
    known.filter(|_| waited == 0).map(|(_, name, code)| (name, code))
}
