//! Named instants at which a test can kill the process, in builds with debug assertions only.
//!
//! `IEUM_KILL_AT=reading.kept:3` ends the process by SIGKILL when it comes to `reading.kept` for the third time;
//! `IEUM_HOLD_AT` lets the thread that comes there wait for ever; `IEUM_PANIC_AT` lets it panic with the text of
//! `IEUM_PANIC_WITH`.

/// The instants, in the order in which a run comes to them.
pub const STEPS: [&str; 21] = [
    "stage.made",
    "journal.torn",
    "begun",
    "wave",
    "reading.rows_aside",
    "reading.aside",
    "reading.kept",
    "gathered",
    "shard.written",
    "shard.kept",
    "bundles.closed",
    "records.written",
    "commit.manifest_written",
    "commit.synced",
    "commit.withdrawals_read",
    "commit.renamed",
    "commit.stage_emptied",
    "commit.lock_removed",
    "ledger.linked",
    "ledger.entered",
    "told.aside",
];

/// The instants that a run comes to only when something is taken back while it is made.
pub const LATE_STEPS: [&str; 1] = ["withdrawals.taken_back"];

/// The instants of a run that is delivered to a store, in the order in which it comes to them; `commit.renamed` and what
/// follows it come after `delivery.published`.
pub const DELIVERY_STEPS: [&str; 7] = [
    "delivery.locked",
    "delivery.uploading",
    "delivery.part",
    "delivery.put",
    "delivery.uploaded",
    "delivery.published",
    "delivery.unlocked",
];

/// Says that the run has come to a step.
#[inline]
pub fn reached(step: &'static str) {
    #[cfg(debug_assertions)]
    wanted::reached(step);
    #[cfg(not(debug_assertions))]
    let _ = step;
}

/// Whether the process will be killed when it comes to this step the next time.
#[inline]
pub(crate) fn is_next(step: &'static str) -> bool {
    #[cfg(debug_assertions)]
    return wanted::is_next(step);
    #[cfg(not(debug_assertions))]
    {
        let _ = step;
        false
    }
}

#[cfg(debug_assertions)]
mod wanted {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A step, and how often the run still comes to it.
    type Wanted = Option<(String, AtomicU32)>;

    static KILLED: OnceLock<Wanted> = OnceLock::new();
    static HELD: OnceLock<Wanted> = OnceLock::new();
    static PANICKED: OnceLock<Wanted> = OnceLock::new();

    fn read(variable: &str) -> Wanted {
        let wanted = std::env::var(variable).ok()?;
        let (name, time) = wanted.split_once(':').unwrap_or((&wanted, "1"));
        Some((name.to_owned(), AtomicU32::new(time.parse().unwrap_or(1))))
    }

    fn of<'a>(wanted: &'a Wanted, step: &str) -> Option<&'a AtomicU32> {
        let lists: [&[&str]; 3] = [&super::STEPS, &super::LATE_STEPS, &super::DELIVERY_STEPS];
        debug_assert!(lists.iter().any(|list| list.contains(&step)), "{step} is not in the list of steps");
        wanted.as_ref().filter(|(name, _)| name == step).map(|(_, times)| times)
    }

    fn killed(step: &str) -> Option<&'static AtomicU32> {
        of(KILLED.get_or_init(|| read("IEUM_KILL_AT")), step)
    }

    pub fn is_next(step: &str) -> bool {
        killed(step).is_some_and(|times| times.load(Ordering::SeqCst) == 1)
    }

    pub fn reached(step: &str) {
        let comes = |times: &AtomicU32| times.fetch_sub(1, Ordering::SeqCst) == 1;
        if killed(step).is_some_and(comes) {
            // SAFETY: the signal ends this process at once; nothing of it is left to be unsound.
            #[allow(unsafe_code)]
            unsafe {
                libc::raise(libc::SIGKILL);
            }
        }
        if of(PANICKED.get_or_init(|| read("IEUM_PANIC_AT")), step).is_some_and(comes) {
            std::panic::panic_any(std::env::var("IEUM_PANIC_WITH").unwrap_or_default());
        }
        if of(HELD.get_or_init(|| read("IEUM_HOLD_AT")), step).is_some_and(comes) {
            loop {
                std::thread::park();
            }
        }
    }
}
