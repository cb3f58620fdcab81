//! One run at a time per output: a lock object that is created, renewed and given back by conditional writes only.
//!
//! A lock that its run does not renew lapses. Whether it has is told by two times of the store's own clock: when the lock was
//! written last, and when the object of the probe was, just now. As with every lease, a process that is put to sleep for
//! longer than that between two requests may wake up without its lock: it looks before it commits, and after.

use std::fs;
use std::io::{ErrorKind as IoErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use ieum_model::error::{Error, ErrorKind, Result};
use object_store::{Error as StoreError, PutMode, UpdateVersion};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use super::objects::{ATTEMPTS, Objects, version};
use crate::from_io;

const FORMAT: &str = "ieum-lock/1";

/// A lock is renewed so often before it lapses.
const RENEWALS: u32 = 4;

/// So long a run tries to give its lock back.
const GIVING_BACK: Duration = Duration::from_secs(10);

/// What stands in a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lock {
    lock: String,
    pub(super) run_id: String,
    owner: String,
    /// Given back: whoever comes may take it.
    released: bool,
    /// How often it was renewed.
    beat: u64,
    lapses_after_seconds: u64,
}

impl Lock {
    fn encode(&self) -> Result<Bytes> {
        let mut bytes = serde_json::to_vec(self).map_err(|error| Error::internal(error.to_string()))?;
        bytes.push(b'\n');
        Ok(bytes.into())
    }

    /// Whether a run may hold it that wrote it at `written`.
    pub(super) fn is_held(&self, written: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        let seconds = i64::try_from(self.lapses_after_seconds).unwrap_or(i64::MAX);
        !self.released && (now - written).num_seconds() <= seconds
    }
}

/// Whose the lock of a run is: what stands in the file, or a new name that is then written to it.
pub(super) fn owner(file: &Path, new: &str) -> Result<String> {
    match fs::read_to_string(file) {
        Ok(owner) if !owner.is_empty() => return Ok(owner),
        Err(error) if error.kind() != IoErrorKind::NotFound => return Err(from_io(&error, file)),
        _ => {}
    }
    let mut options = fs::OpenOptions::new();
    let written = options.create(true).truncate(true).write(true).mode(0o600).open(file);
    written.and_then(|mut file| file.write_all(new.as_bytes())).map_err(|error| from_io(&error, file))?;
    Ok(new.to_owned())
}

/// A lock that is held.
pub struct Lease {
    shared: Arc<Shared>,
    keeper: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
}

struct Shared {
    objects: Objects,
    lapses_after: Duration,
    held: tokio::sync::Mutex<Held>,
    lost: AtomicBool,
}

struct Held {
    lock: Lock,
    version: UpdateVersion,
}

impl Lease {
    /// Takes the lock of an output; `now` is the store's time.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`] while another run holds it.
    pub(super) async fn take(
        objects: &Objects,
        run_id: &str,
        owner: &str,
        lapses_after: Duration,
        now: DateTime<Utc>,
    ) -> Result<Self> {
        let lock = Lock {
            lock: FORMAT.to_owned(),
            run_id: run_id.to_owned(),
            owner: owner.to_owned(),
            released: false,
            beat: 0,
            lapses_after_seconds: lapses_after.as_secs(),
        };
        let mut failed = Error::internal("nothing was asked");
        for attempt in 0..ATTEMPTS {
            objects.before(attempt).await;
            let (mode, beat) = match objects.read(&objects.lock).await? {
                None => (PutMode::Create, 0),
                Some((bytes, meta)) => {
                    let stands = serde_json::from_slice::<Lock>(&bytes).ok();
                    let others = |stands: &Lock| stands.owner != owner && stands.is_held(meta.last_modified, now);
                    if stands.as_ref().is_some_and(others) {
                        return Err(is_held(objects));
                    }
                    // What is not whole was written by a request that failed.
                    (PutMode::Update(version(&meta)), stands.map_or(0, |stands| stands.beat + 1))
                }
            };
            let lock = Lock { beat, ..lock.clone() };
            match write(objects, &lock, mode).await {
                Ok(version) => {
                    let held = tokio::sync::Mutex::new(Held { lock, version });
                    let (objects, lost) = (objects.clone(), AtomicBool::new(false));
                    let shared = Arc::new(Shared { objects, lapses_after, held, lost });
                    return Ok(Self { shared, keeper: Mutex::new(None) });
                }
                Err(Refused::Other) => failed = is_held(objects),
                Err(Refused::Failed(error)) => failed = error,
            }
        }
        Err(failed)
    }

    /// Renews the lock from a thread of its own, until it is given back.
    pub(super) fn keep(&self, runtime: &Arc<Runtime>) {
        let (stop, stopped) = mpsc::channel();
        let (shared, handle) = (Arc::clone(&self.shared), runtime.handle().clone());
        let every = shared.lapses_after / RENEWALS;
        let thread = std::thread::spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(every) {
                // What fails now may go well the next time, and nothing is committed on a lock that was not renewed.
                let _ = handle.block_on(async { tokio::time::timeout(every, shared.renew()).await });
            }
        });
        *self.keeper.lock().unwrap_or_else(PoisonError::into_inner) = Some((stop, thread));
    }

    fn stop_keeping(&self) {
        if let Some((stop, thread)) = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take() {
            drop(stop);
            let _ = thread.join();
        }
    }

    /// Whether the lock is known to be another's.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`].
    pub(super) fn is_ours(&self) -> Result<()> {
        if self.shared.lost.load(Ordering::SeqCst) { Err(is_held(&self.shared.objects)) } else { Ok(()) }
    }

    /// Renews the lock: after it nobody else has had it since it was taken.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`] when another run took it.
    pub(super) async fn renew(&self) -> Result<()> {
        self.shared.renew().await
    }

    /// Lets whoever comes next take the lock. Where that cannot be said the lock lapses.
    pub(super) async fn give_back(&self) {
        tokio::task::block_in_place(|| self.stop_keeping());
        let mut held = self.shared.held.lock().await;
        let released = Lock { released: true, beat: held.lock.beat + 1, ..held.lock.clone() };
        let written = write(&self.shared.objects, &released, PutMode::Update(held.version.clone()));
        // Where the store does not answer the lock lapses by itself.
        if let Ok(Ok(version)) = tokio::time::timeout(GIVING_BACK, written).await {
            *held = Held { lock: released, version };
        }
    }

    /// Removes the lock of an output that is committed: whoever takes it finds the manifest.
    pub(super) async fn remove(&self) {
        tokio::task::block_in_place(|| self.stop_keeping());
        remove(&self.shared.objects).await;
    }
}

/// As [`Lease::remove`].
pub(super) async fn remove(objects: &Objects) {
    objects.remove_if_it_can_be(&objects.lock).await;
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.stop_keeping();
    }
}

impl Shared {
    async fn renew(&self) -> Result<()> {
        let mut held = self.held.lock().await;
        if self.lost.load(Ordering::SeqCst) {
            return Err(is_held(&self.objects));
        }
        let mut failed = Error::internal("nothing was asked");
        for attempt in 0..ATTEMPTS {
            self.objects.before(attempt).await;
            let lock = Lock { beat: held.lock.beat + 1, ..held.lock.clone() };
            match write(&self.objects, &lock, PutMode::Update(held.version.clone())).await {
                Ok(version) => {
                    *held = Held { lock, version };
                    return Ok(());
                }
                Err(Refused::Failed(error)) => failed = error,
                Err(Refused::Other) => match self.objects.read(&self.objects.lock).await {
                    // A request of ours that was said to have failed has landed, or landed torn.
                    Ok(Some((bytes, meta))) => match serde_json::from_slice::<Lock>(&bytes) {
                        Ok(stands) if stands.owner == held.lock.owner => {
                            *held = Held { lock: stands, version: version(&meta) };
                        }
                        Err(_) if held.lock.encode()?.starts_with(&bytes) || lock.encode()?.starts_with(&bytes) => {
                            held.version = version(&meta);
                        }
                        _ => {
                            self.lost.store(true, Ordering::SeqCst);
                            return Err(is_held(&self.objects));
                        }
                    },
                    Ok(None) => {
                        self.lost.store(true, Ordering::SeqCst);
                        return Err(is_held(&self.objects));
                    }
                    Err(error) => failed = error,
                },
            }
        }
        Err(failed)
    }
}

/// Why a lock was not written.
enum Refused {
    /// Another stands there.
    Other,
    /// The store failed.
    Failed(Error),
}

/// Writes a lock; where the answer does not tell whether it was, looks.
async fn write(objects: &Objects, lock: &Lock, mode: PutMode) -> std::result::Result<UpdateVersion, Refused> {
    let bytes = lock.encode().map_err(Refused::Failed)?;
    let refused = match objects.put(&objects.lock, bytes.clone(), mode).await {
        Ok(version) => return Ok(version),
        Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => Refused::Other,
        Err(error) => Refused::Failed(objects.failed(&error)),
    };
    // No two locks of an owner have the same beat, so that these bytes are those of this request.
    match objects.read(&objects.lock).await.map_err(Refused::Failed)? {
        Some((stands, meta)) if stands == bytes => Ok(version(&meta)),
        _ => Err(refused),
    }
}

fn is_held(objects: &Objects) -> Error {
    Error::new(ErrorKind::Locked, "another run writes to this output")
        .at("lock", format!("{}.lock", objects.told()))
        .hint("wait for it to end; a lock whose run has died lapses by itself, and `ieum status` shows it")
}
