//! late: what is taken back while the night runs.

use ieum_model::check::TakenBack;
use ieum_model::error::Result;

use crate::input::Night;
use crate::journal::{Entry, Progress};
use crate::manifest::TakenBackLate;
use crate::night::Step;
use crate::steps::reached;

/// What the withdrawals and consent records say that were read last, beyond what the night was checked with.
#[derive(Default)]
pub struct Late {
    /// Digest of the files that were read last; `None` while those of the check were.
    digest: Option<String>,
    taken: TakenBack,
}

impl Late {
    /// Reads these files as they are now, and takes back what they name or cover no more; `true` where the answers of the night
    /// are others than before. What an earlier reading took back and this one does not name is given back: a file that was
    /// read while somebody wrote to it may have said anything.
    ///
    /// # Errors
    /// When they cannot be read, or the journal does not take the entry.
    pub fn read_again(&mut self, night: &mut Night, progress: &Progress) -> Result<bool> {
        let Some(files) = &night.withdrawals else { return Ok(false) };
        let known = self.digest.clone().unwrap_or_else(|| files.digest());
        let Some(reread) = files.read_again(&known)? else { return Ok(false) };
        let before = std::mem::take(&mut self.taken);
        let had_changed = !before.is_nothing();
        night.checked.give_back(before);
        self.taken = night.checked.take_back(&reread.withdrawals, reread.consents.as_ref(), night.as_of);
        self.digest = Some(reread.digest);
        if self.taken.is_nothing() && !had_changed {
            return Ok(false);
        }
        let (requests, documents) = (self.taken.requests, self.taken.documents);
        let (run_id, stage) = (night.run_id(), Step::Commit.name());
        tracing::info!(run_id, stage, requests, documents, "taken back while the night runs");
        progress.note(&Entry::TakenBack { requests, documents })?;
        reached("withdrawals.taken_back");
        Ok(true)
    }

    /// What the manifest says of it.
    pub fn record(&self) -> Option<TakenBackLate> {
        let TakenBack { requests, documents, .. } = self.taken;
        let digest = self.digest.as_ref().filter(|_| !self.taken.is_nothing());
        digest.map(|digest| TakenBackLate { withdrawals_digest: digest.clone(), requests, documents })
    }
}
