//! deliver: a run's output goes to an object store, where it is committed by its manifest.
//!
//! ```text
//!  <prefix>/2026-11-22.lock          who may write: created only where nothing stands, renewed while the run lives
//!  <prefix>/2026-11-22/bundles/…     every file, created only where nothing stands
//!  <prefix>/2026-11-22/manifest.json created last: from then on the output is one
//! ```
//!
//! Everything is written by conditional requests, and whatever became of one is looked up where its answer does not tell: a
//! request may have landed though it was said to have failed. An object carries the SHA-256 of its bytes, so that what an
//! earlier attempt had delivered is known without reading it.
//!
//! # Privacy
//! Objects hold what the output holds. The lock tells the run, nothing of its requests.

mod doctor;
mod left;
mod lock;
mod objects;
mod probe;
mod upload;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ieum_model::error::{Error, ErrorKind, Result};
use object_store::ObjectStore;
use object_store::path::Path as StorePath;
use tokio::runtime::Runtime;

pub use doctor::{Finding, doctor};
pub use left::{StoreRun, StoreState, collect, fetch, status};
pub use lock::Lease;
pub use objects::{from_store, told};
use probe::{ConditionalWrites, conditional_writes};

use crate::manifest::{MANIFEST, Manifest};
use objects::Objects;

/// How long a lock is held that nobody renews, where nothing else is said.
pub const LAPSES_AFTER: Duration = Duration::from_secs(120);

/// The pause before a request is made again, where nothing else is said; it doubles with each further time.
pub const PAUSE: Duration = Duration::from_millis(200);

/// Where outputs are delivered to.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The store.
    pub store: Arc<dyn ObjectStore>,
    /// The folder of all outputs in it.
    pub prefix: StorePath,
    /// The place as it is told: a URL without credentials.
    pub told: String,
    /// A name that no other process has: whose the lock is.
    pub owner: String,
    /// A lock that was not renewed for so long, by the clock of the store, may be taken over.
    pub lapses_after: Duration,
    /// The pause before a request is made again.
    pub pause: Duration,
}

/// An output on its way: its lock is held.
pub struct Handover {
    objects: Objects,
    lease: Lease,
    runtime: Arc<Runtime>,
}

fn runtime() -> Result<Arc<Runtime>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime
        .map(Arc::new)
        .map_err(|error| Error::new(ErrorKind::Temporary, format!("threads cannot be started: {error}")))
}

impl Delivery {
    /// Begins to hand over the output called `name` of a run: checks that the store keeps to conditions, and takes the lock.
    /// `owner_file`, if there is one, keeps whose the lock is, so that a run that goes on takes its own lock again.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`] while another run holds the lock, [`ErrorKind::Config`] when the store ignores conditions or
    /// holds another committed run under this name, [`ErrorKind::Key`] when it refuses the credentials,
    /// [`ErrorKind::Temporary`] when it cannot be reached.
    pub fn begin(&self, name: &str, run_id: &str, owner_file: Option<&Path>) -> Result<Handover> {
        let owner = match owner_file {
            Some(file) => lock::owner(file, &self.owner)?,
            None => self.owner.clone(),
        };
        let runtime = runtime()?;
        let objects = Objects::new(self, name);
        let lease = runtime.block_on(async {
            let now = match conditional_writes(&objects, &owner).await? {
                ConditionalWrites::Kept { now } => now,
                ConditionalWrites::Ignored(what) => return Err(ignored(&objects, what)),
            };
            let lease = Lease::take(&objects, run_id, &owner, self.lapses_after, now).await?;
            match objects.committed().await {
                Ok(Some(other)) if other.run_id != run_id => {
                    give_back(&objects, &lease).await;
                    Err(objects.is_taken())
                }
                Ok(_) => Ok(lease),
                Err(error) => {
                    lease.give_back().await;
                    Err(error)
                }
            }
        })?;
        lease.keep(&runtime);
        crate::steps::reached("delivery.locked");
        Ok(Handover { objects, lease, runtime })
    }
}

impl Delivery {
    /// Hands over the output called `name` that is committed in `folder`, unless the store has it. Its lock is removed.
    ///
    /// # Errors
    /// As [`Delivery::begin`], [`Handover::upload`] and [`Handover::publish`].
    pub fn settle(&self, name: &str, folder: &Path, manifest: &Manifest) -> Result<()> {
        let objects = Objects::new(self, name);
        let committed = runtime()?.block_on(async {
            let is_there = objects.committed().await?.is_some_and(|there| there == *manifest);
            if is_there {
                lock::remove(&objects).await;
            }
            Ok::<bool, Error>(is_there)
        })?;
        if committed {
            return Ok(());
        }
        let handover = self.begin(name, &manifest.run_id, None)?;
        handover.upload(folder, manifest)?;
        handover.publish(manifest)?;
        handover.end();
        Ok(())
    }
}

/// Whether the store holds the output called `name` with this manifest, and every file of it.
///
/// # Errors
/// When the store cannot be read.
pub fn holds(delivery: &Delivery, name: &str, manifest: &Manifest) -> Result<bool> {
    let objects = Objects::new(delivery, name);
    runtime()?.block_on(async {
        if objects.committed().await?.as_ref() != Some(manifest) {
            return Ok(false);
        }
        Ok(upload::stand(&objects, manifest).await.is_ok())
    })
}

/// Gives back the lock of an output that is not committed; that of one that is has done its work.
async fn give_back(objects: &Objects, lease: &Lease) {
    match objects.committed().await {
        Ok(Some(_)) => lease.remove().await,
        _ => lease.give_back().await,
    }
}

fn ignored(objects: &Objects, what: &str) -> Error {
    Error::config(format!("the store ignores conditions of writes: {what}"))
        .at("store", objects.told())
        .hint("two runs could write to it at once; choose a store that keeps to If-None-Match and If-Match, or deliver to a folder")
}

impl Handover {
    /// Puts every file of the output that stands in `folder` into the store, but for the manifest; what stands there
    /// already is left, what does not belong there is removed.
    ///
    /// # Errors
    /// As [`Delivery::begin`]. What was put stays: the next attempt goes on from there.
    pub fn upload(&self, folder: &Path, manifest: &Manifest) -> Result<()> {
        self.runtime.block_on(upload::all(&self.objects, &self.lease, folder, manifest))
    }

    /// Commits: the manifest is created.
    ///
    /// # Errors
    /// As [`Handover::upload`], [`ErrorKind::Locked`] when another run took the lock meanwhile.
    pub fn publish(&self, manifest: &Manifest) -> Result<()> {
        let bytes = manifest.encode()?;
        self.runtime.block_on(upload::publish(&self.objects, &self.lease, bytes.into()))?;
        crate::steps::reached("delivery.published");
        Ok(())
    }

    /// Removes the lock of a committed output. Where that cannot be done it lapses by itself.
    pub fn end(self) {
        self.runtime.block_on(self.lease.remove());
        crate::steps::reached("delivery.unlocked");
    }

    /// Gives the lock back: whoever comes next may go on.
    pub fn give_back(self) {
        self.runtime.block_on(give_back(&self.objects, &self.lease));
    }
}

/// The name of a file that is committed last.
fn is_manifest(relative: &str) -> bool {
    relative == MANIFEST
}
