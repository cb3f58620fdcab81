//! Files into the store, then the manifest: each created only where nothing stands, and looked up where its outcome is open.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use ieum_model::error::{Error, ErrorKind, Result};
use object_store::{Error as StoreError, ObjectStoreExt, PutMode, PutMultipartOptions};

use super::is_manifest;
use super::lock::Lease;
use super::objects::{ATTEMPTS, Objects, Standing, attributes, version};
use crate::from_io;
use crate::manifest::{MANIFEST, Manifest, OutputFile};
use crate::steps::reached;

/// A longer file goes in several parts of at least this length, one after the other.
const PART: u64 = 8 << 20;
/// Stores take 10,000 parts at most.
const PARTS: u64 = 9_000;
/// Files on the way at a time.
const AT_A_TIME: usize = 8;

/// Puts every file of `manifest`, which stands in `folder`.
pub(super) async fn all(objects: &Objects, lease: &Lease, folder: &Path, manifest: &Manifest) -> Result<()> {
    let mut stands = sizes(objects).await?;
    if stands.contains_key(MANIFEST) && is_committed(objects, manifest).await? {
        return Ok(());
    }
    let wanted: BTreeMap<&str, &OutputFile> = manifest.files.iter().map(|file| (file.path.as_str(), file)).collect();
    let strays = stands.keys().filter(|name| !wanted.contains_key(name.as_str()) && !is_manifest(name));
    for stray in strays {
        lease.renew().await?;
        remove(objects, stray).await?;
    }
    stands.retain(|name, bytes| wanted.get(name.as_str()).is_some_and(|file| file.bytes == *bytes));
    let put = manifest.files.iter().map(|file| one(objects, lease, folder, file, stands.contains_key(&file.path)));
    stream::iter(put).buffer_unordered(AT_A_TIME).try_collect::<()>().await?;
    reached("delivery.uploaded");
    stand(objects, manifest).await
}

/// Whether this very output is committed; a torn manifest commits nothing.
async fn is_committed(objects: &Objects, manifest: &Manifest) -> Result<bool> {
    let ours = manifest.encode()?;
    match objects.read(&objects.of(MANIFEST)).await? {
        Some((stands, _)) if stands == ours => Ok(true),
        Some((stands, _)) if !is_torn(&stands) => Err(objects.is_taken()),
        _ => Ok(false),
    }
}

/// Whether a manifest ends too early: it was written by a request that failed, and has committed nothing.
fn is_torn(bytes: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_err_and(|error| error.is_eof())
}

/// The files of the output that stand in the store, and how many bytes they have.
async fn sizes(objects: &Objects) -> Result<BTreeMap<String, u64>> {
    let listed = objects.list().await?;
    Ok(listed.iter().filter_map(|meta| Some((objects.relative(&meta.location)?, meta.size))).collect())
}

async fn remove(objects: &Objects, relative: &str) -> Result<()> {
    let mut failed = Error::internal("nothing was asked");
    for attempt in 0..ATTEMPTS {
        objects.before(attempt).await;
        match objects.store.delete(&objects.of(relative)).await {
            Ok(()) | Err(StoreError::NotFound { .. }) => return Ok(()),
            Err(error) => failed = objects.failed(&error),
        }
    }
    Err(failed)
}

/// Puts one file, unless it stands there; what else stands there is replaced while the lock is held.
async fn one(objects: &Objects, lease: &Lease, folder: &Path, file: &OutputFile, may_stand: bool) -> Result<()> {
    let path = objects.of(&file.path);
    let mut next = (!may_stand && file.bytes <= PART).then_some(PutMode::Create);
    let (mut failures, mut failed) = (0, Error::internal("nothing was asked"));
    while failures < ATTEMPTS {
        objects.before(failures).await;
        lease.is_ours()?;
        if let Some(mode) = next.take() {
            reached("delivery.uploading");
            match put(objects, lease, folder, file, mode).await {
                Ok(()) => {
                    reached("delivery.put");
                    return Ok(());
                }
                Err(Failed::Ours(error)) => return Err(error),
                Err(Failed::Stores(error)) => (failures, failed) = (failures + 1, objects.failed(&error)),
            }
        }
        match objects.stands(&path, file.bytes, &file.sha256).await {
            Ok(Standing::Same) => return Ok(()),
            Ok(Standing::Absent) => next = Some(PutMode::Create),
            Ok(Standing::Other(version)) => {
                lease.renew().await?;
                next = Some(PutMode::Update(version));
            }
            Err(error) => (failures, failed) = (failures + 1, objects.failed(&error)),
        }
    }
    Err(failed.at("file", &file.path))
}

enum Failed {
    /// The file could not be read, or the lock is lost.
    Ours(Error),
    Stores(StoreError),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Stores(error)
    }
}

/// One attempt.
async fn put(objects: &Objects, lease: &Lease, folder: &Path, file: &OutputFile, mode: PutMode) -> Result<(), Failed> {
    let local = folder.join(&file.path);
    let unread = |error: std::io::Error| Failed::Ours(from_io(&error, &local));
    let mut open = File::open(&local).map_err(unread)?;
    if file.bytes <= PART {
        let mut bytes = Vec::with_capacity(usize::try_from(file.bytes).unwrap_or(0));
        open.read_to_end(&mut bytes).map_err(unread)?;
        objects.put(&objects.of(&file.path), bytes.into(), mode).await?;
        return Ok(());
    }
    let part = PART.max(file.bytes.div_ceil(PARTS));
    let options = PutMultipartOptions { attributes: attributes(&file.sha256), ..PutMultipartOptions::default() };
    let mut upload = objects.store.put_multipart_opts(&objects.of(&file.path), options).await?;
    let parts = async {
        loop {
            let mut bytes = Vec::new();
            Read::by_ref(&mut open).take(part).read_to_end(&mut bytes).map_err(unread)?;
            if bytes.is_empty() {
                break;
            }
            upload.put_part(bytes.into()).await?;
            reached("delivery.part");
        }
        // Parts cannot be completed on a condition: not without the lock.
        lease.renew().await.map_err(Failed::Ours)?;
        upload.complete().await?;
        Ok(())
    };
    let done: Result<(), Failed> = parts.await;
    if done.is_err() {
        // Parts that nobody completes are removed by the store's own rule, if this does not do it.
        let _ = upload.abort().await;
    }
    done
}

/// Every file stands in its length and nothing else does: asked of the store once more before it is committed.
pub(super) async fn stand(objects: &Objects, manifest: &Manifest) -> Result<()> {
    let mut listed = sizes(objects).await?;
    listed.remove(MANIFEST);
    for file in &manifest.files {
        if listed.remove(&file.path) == Some(file.bytes) {
            continue;
        }
        // A list may lag behind.
        match objects.stands(&objects.of(&file.path), file.bytes, &file.sha256).await {
            Ok(Standing::Same) => {}
            Ok(_) => return Err(not_there(objects).at("file", &file.path)),
            Err(error) => return Err(objects.failed(&error)),
        }
    }
    for stray in listed.keys() {
        match objects.store.head(&objects.of(stray)).await {
            Err(StoreError::NotFound { .. }) => {}
            Ok(_) => return Err(not_there(objects).at("file", stray)),
            Err(error) => return Err(objects.failed(&error)),
        }
    }
    Ok(())
}

fn not_there(objects: &Objects) -> Error {
    Error::new(ErrorKind::Temporary, "the store does not hold what was put into it")
        .at("store", objects.told())
        .hint("see who else writes there, then run again")
}

/// Creates the manifest.
pub(super) async fn publish(objects: &Objects, lease: &Lease, bytes: Bytes) -> Result<()> {
    let path = objects.of(MANIFEST);
    let mut mode = PutMode::Create;
    let mut failed = Error::internal("nothing was asked");
    for attempt in 0..ATTEMPTS {
        objects.before(attempt).await;
        lease.renew().await?;
        match objects.put(&path, bytes.clone(), mode.clone()).await {
            Ok(_) => return after(objects, lease).await,
            Err(error) => failed = objects.failed(&error),
        }
        match objects.read(&path).await {
            Ok(None) => mode = PutMode::Create,
            Ok(Some((stands, _))) if stands == bytes => return after(objects, lease).await,
            Ok(Some((stands, meta))) if is_torn(&stands) => mode = PutMode::Update(version(&meta)),
            Ok(Some(_)) => return Err(objects.is_taken()),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// No other run may have had the lock while the output was committed.
async fn after(objects: &Objects, lease: &Lease) -> Result<()> {
    match lease.renew().await {
        Err(error) if error.kind == ErrorKind::Locked => {
            Err(Error::new(ErrorKind::Integrity, "another run took the lock while this one committed")
                .at("store", objects.told())
                .hint("`ieum verify` tells whether the output is whole"))
        }
        // It was held when the manifest was created; that it cannot be renewed now does no harm.
        _ => Ok(()),
    }
}
