//! Whether a store keeps to the conditions of writes: one that ignores them lets two runs write at once.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use ieum_model::error::{Error, Result};
use object_store::path::Path as StorePath;
use object_store::{Error as StoreError, ObjectStoreExt, PutMode, UpdateVersion};

use super::objects::{ATTEMPTS, Objects};

/// What became of conditional writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConditionalWrites {
    /// They are kept to.
    Kept {
        /// The store's time.
        now: DateTime<Utc>,
    },
    /// They are ignored: what was let through.
    Ignored(&'static str),
}

/// Stands in the name of an object that is made to be looked at.
pub(super) const PROBE: &str = ".probe-";

const SECOND_CREATE: &str = "an object that stood there was created again";
const STALE_UPDATE: &str = "an object was replaced by a write that named another version";

/// Creates an object twice, and replaces it by a version that it does not have; then removes it. `owner` names it, so that
/// no other run looks at it.
///
/// # Errors
/// When the store cannot be reached, or refuses.
pub async fn conditional_writes(objects: &Objects, owner: &str) -> Result<ConditionalWrites> {
    let path = objects.beside(&format!("{PROBE}{owner}"));
    let told = look(objects, &path).await;
    objects.remove_if_it_can_be(&path).await;
    told
}

async fn look(objects: &Objects, path: &StorePath) -> Result<ConditionalWrites> {
    let bytes = || Bytes::from_static(b"ieum\n");
    let mut failed = Error::internal("nothing was asked");
    // It stands after this, whatever the answers were.
    let mut now = None;
    for attempt in 0..ATTEMPTS {
        objects.before(attempt).await;
        match objects.put(path, bytes(), PutMode::Create).await {
            Ok(_) | Err(StoreError::AlreadyExists { .. }) => {}
            Err(error) => failed = objects.failed(&error),
        }
        match objects.store.head(path).await {
            Ok(meta) => {
                now = Some(meta.last_modified);
                break;
            }
            Err(error) => failed = objects.failed(&error),
        }
    }
    let Some(now) = now else { return Err(failed) };
    if let Some(ignored) = is_let_through(objects, path, PutMode::Create, SECOND_CREATE).await? {
        return Ok(ignored);
    }
    let stale = UpdateVersion { e_tag: Some("\"0123456789abcdef0123456789abcdef\"".to_owned()), version: None };
    let ignored = is_let_through(objects, path, PutMode::Update(stale), STALE_UPDATE).await?;
    Ok(ignored.unwrap_or(ConditionalWrites::Kept { now }))
}

/// Makes a write that must be refused.
async fn is_let_through(
    objects: &Objects,
    path: &StorePath,
    mode: PutMode,
    what: &'static str,
) -> Result<Option<ConditionalWrites>> {
    let mut failed = Error::internal("nothing was asked");
    for attempt in 0..ATTEMPTS {
        objects.before(attempt).await;
        match objects.put(path, Bytes::from_static(b"ieum again\n"), mode.clone()).await {
            Ok(_) => return Ok(Some(ConditionalWrites::Ignored(what))),
            Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => return Ok(None),
            Err(error) => failed = objects.failed(&error),
        }
    }
    Err(failed)
}
