//! What stands in a store: committed outputs, unfinished ones, and how they are removed or fetched.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use chrono::{DateTime, NaiveDate, Utc};
use futures::TryStreamExt;
use ieum_model::error::{Error, ErrorKind, Result};
use object_store::{Error as StoreError, ObjectMeta, ObjectStoreExt};
use serde::Serialize;

use super::lock::{Lease, Lock};
use super::objects::{LOCK, Objects, from_store};
use super::probe::{ConditionalWrites, PROBE, conditional_writes};
use super::{Delivery, runtime};
use crate::from_io;
use crate::manifest::{MANIFEST, Manifest};

/// A run in a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoreRun {
    /// Name of its output: the date.
    pub name: String,
    /// Whether its lock was written in the time after which it lapses.
    pub held: bool,
    /// How far it is.
    #[serde(flatten)]
    pub state: StoreState,
}

/// How far a run in a store is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum StoreState {
    /// Its manifest stands.
    Committed {
        /// The run.
        run_id: String,
        /// Requests that were answered.
        requests: u64,
        /// Digest of its manifest.
        run_digest: String,
    },
    /// It has no manifest.
    Arriving {
        /// Files that stand there.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// Its manifest is not what was written.
    Damaged,
}

fn is_date(name: &str) -> bool {
    name.parse::<NaiveDate>().is_ok_and(|date| date.to_string() == name)
}

/// Every run in a store, in the order of their names; `now` is the present time, which the locks' are compared with.
///
/// # Errors
/// When the store cannot be read.
pub fn status(delivery: &Delivery, now: DateTime<Utc>) -> Result<Vec<StoreRun>> {
    runtime()?.block_on(async {
        let mut runs = Vec::new();
        for (name, beside) in names(delivery).await? {
            let objects = Objects::new(delivery, &name);
            let held = match beside.lock {
                Some(meta) => {
                    let read = objects.read(&objects.lock).await?;
                    let lock = read.and_then(|(bytes, _)| serde_json::from_slice::<Lock>(&bytes).ok());
                    lock.is_some_and(|lock| lock.is_held(meta.last_modified, now))
                }
                None => false,
            };
            runs.push(StoreRun { held, state: state(&objects).await?, name });
        }
        Ok(runs)
    })
}

/// What stands under a name beside an output.
#[derive(Default)]
struct Beside {
    lock: Option<ObjectMeta>,
    probes: Vec<ObjectMeta>,
}

/// Names of outputs, and what stands beside them.
async fn names(delivery: &Delivery) -> Result<BTreeMap<String, Beside>> {
    let listed = delivery.store.list_with_delimiter(Some(&delivery.prefix)).await;
    let listed = listed.map_err(|error| from_store(&error, &delivery.told))?;
    let mut names: BTreeMap<String, Beside> = BTreeMap::new();
    for meta in listed.objects {
        let name = meta.location.filename().unwrap_or_default().to_owned();
        if let Some(of) = name.strip_suffix(LOCK).filter(|of| is_date(of)) {
            names.entry(of.to_owned()).or_default().lock = Some(meta);
        } else if let Some((of, _)) = name.split_once(PROBE).filter(|(of, _)| is_date(of)) {
            names.entry(of.to_owned()).or_default().probes.push(meta);
        }
    }
    for folder in listed.common_prefixes {
        if let Some(name) = folder.filename().filter(|name| is_date(name)) {
            names.entry(name.to_owned()).or_default();
        }
    }
    Ok(names)
}

async fn state(objects: &Objects) -> Result<StoreState> {
    if let Some((bytes, _)) = objects.read(&objects.of(MANIFEST)).await? {
        return Ok(match serde_json::from_slice::<Manifest>(&bytes) {
            Ok(Manifest { run_id, requests, run_digest, .. }) => {
                StoreState::Committed { run_id, requests: requests.requests, run_digest }
            }
            Err(_) => StoreState::Damaged,
        });
    }
    let listed = objects.list().await?;
    let bytes = listed.iter().map(|meta| meta.size).sum();
    Ok(StoreState::Arriving { files: listed.len() as u64, bytes })
}

/// Removes outputs that have no manifest and whose lock nobody holds, and the locks of committed ones; names and bytes of
/// what was removed.
///
/// # Errors
/// When the store cannot be read, ignores conditions, or does not let something be removed.
pub fn collect(delivery: &Delivery) -> Result<Vec<(String, u64)>> {
    runtime()?.block_on(async {
        let mut collected = Vec::new();
        let lapses_after = i64::try_from(delivery.lapses_after.as_secs()).unwrap_or(i64::MAX);
        for (name, beside) in names(delivery).await? {
            let objects = Objects::new(delivery, &name);
            let ConditionalWrites::Kept { now } = conditional_writes(&objects, &delivery.owner).await? else {
                return Err(super::ignored(&objects, "nothing is removed from such a store"));
            };
            // A younger one may be looked at just now.
            let old = |meta: &&ObjectMeta| (now - meta.last_modified).num_seconds() > lapses_after;
            for probe in beside.probes.iter().filter(old) {
                objects.remove_if_it_can_be(&probe.location).await;
            }
            if objects.committed().await?.is_some() {
                // Its lock has done its work, whoever left it.
                if beside.lock.is_some() {
                    super::lock::remove(&objects).await;
                }
                continue;
            }
            let lease = match Lease::take(&objects, "", &delivery.owner, delivery.lapses_after, now).await {
                Err(error) if error.kind == ErrorKind::Locked => continue,
                lease => lease?,
            };
            let mut bytes = 0;
            if objects.read(&objects.of(MANIFEST)).await?.is_none() {
                for meta in objects.list().await? {
                    lease.renew().await?;
                    match objects.store.delete(&meta.location).await {
                        Ok(()) | Err(StoreError::NotFound { .. }) => bytes += meta.size,
                        Err(error) => return Err(objects.failed(&error)),
                    }
                }
            }
            lease.remove().await;
            if bytes > 0 {
                collected.push((name, bytes));
            }
        }
        Ok(collected)
    })
}

/// Copies a committed output into `folder`, to be verified there.
///
/// # Errors
/// [`ErrorKind::Integrity`] where the store has no manifest there; when an object cannot be read, or the disk is full.
pub fn fetch(delivery: &Delivery, folder: &Path) -> Result<()> {
    runtime()?.block_on(async {
        let listed: Vec<ObjectMeta> = delivery
            .store
            .list(Some(&delivery.prefix))
            .try_collect()
            .await
            .map_err(|error| from_store(&error, &delivery.told))?;
        let manifest = delivery.prefix.clone().join(MANIFEST);
        if listed.iter().all(|meta| meta.location != manifest) {
            return Err(
                Error::new(ErrorKind::Integrity, "no committed run: there is no manifest").at("store", &delivery.told)
            );
        }
        let mut made = BTreeSet::new();
        for meta in listed {
            let Some(parts) = meta.location.prefix_match(&delivery.prefix) else { continue };
            let mut path = folder.to_path_buf();
            path.extend(parts.map(|part| part.as_ref().to_owned()));
            if let Some(parent) = path.parent()
                && made.insert(parent.to_path_buf())
            {
                let created = fs::DirBuilder::new().recursive(true).mode(0o700).create(parent);
                created.map_err(|error| from_io(&error, parent))?;
            }
            copy(delivery, &meta, &path).await?;
        }
        Ok(())
    })
}

async fn copy(delivery: &Delivery, meta: &ObjectMeta, path: &Path) -> Result<()> {
    let failed = |error: StoreError| from_store(&error, &delivery.told);
    let mut file = fs::File::create(path).map_err(|error| from_io(&error, path))?;
    let mut stream = delivery.store.get(&meta.location).await.map_err(failed)?.into_stream();
    while let Some(bytes) = stream.try_next().await.map_err(failed)? {
        file.write_all(&bytes).map_err(|error| from_io(&error, path))?;
    }
    Ok(())
}
