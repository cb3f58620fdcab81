//! Whether a run is committed or ended from outside: whichever comes first.

use std::sync::atomic::{AtomicU8, Ordering};

const OPEN: u8 = 0;
const ENDED: u8 = 1;
const COMMITTED: u8 = 2;

/// Stands between a run and whatever may end it: a signal, a time limit. Only one of them comes through.
#[derive(Debug, Default)]
pub struct CommitGate(AtomicU8);

impl CommitGate {
    /// Ends the run: nothing will be committed. `false` where the commit came first.
    pub fn end(&self) -> bool {
        self.pass(ENDED)
    }

    /// Lets the run commit. `false` where it was ended.
    pub(super) fn commit(&self) -> bool {
        self.pass(COMMITTED)
    }

    fn pass(&self, way: u8) -> bool {
        match self.0.compare_exchange(OPEN, way, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => true,
            Err(passed) => passed == way,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_first_passes() {
        let gate = CommitGate::default();
        assert!(gate.end() && !gate.commit() && gate.end());
        let gate = CommitGate::default();
        assert!(gate.commit() && !gate.end());
    }
}
