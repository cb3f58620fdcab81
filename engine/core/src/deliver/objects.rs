//! The objects of one output: where they stand, what stands there, and what a failure means.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use ieum_model::error::{Error, ErrorKind, Result, without_secrets};
use object_store::path::Path as StorePath;
use object_store::{
    Attribute, AttributeValue, Attributes, Error as StoreError, GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMode, PutOptions, UpdateVersion,
};
use sha2::{Digest, Sha256};

use super::Delivery;
use crate::manifest::{MANIFEST, Manifest, hex};

/// How often a request is made whose outcome is a failure, or not known.
pub(super) const ATTEMPTS: u32 = 6;

/// Ends the name of a lock.
pub(super) const LOCK: &str = ".lock";

/// What an object's metadata calls the SHA-256 of its bytes.
const SHA256: &str = "sha256";

/// What stands under a name.
pub(super) enum Standing {
    Absent,
    /// The bytes that are wanted.
    Same,
    /// Other bytes.
    Other(UpdateVersion),
}

/// The objects of one output.
#[derive(Clone)]
pub struct Objects {
    pub(super) store: Arc<dyn ObjectStore>,
    prefix: StorePath,
    name: String,
    root: StorePath,
    pub(super) lock: StorePath,
    told: String,
    pause: Duration,
}

/// A store's failure as an error of ours.
pub fn from_store(error: &StoreError, place: &str) -> Error {
    let (kind, hint) = match error {
        StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => {
            (ErrorKind::Key, "compare the credentials of the store, and what they are allowed to do")
        }
        StoreError::NotImplemented { .. } | StoreError::NotSupported { .. } => {
            (ErrorKind::Config, "this kind of store cannot do what is asked of it")
        }
        StoreError::InvalidPath { .. } | StoreError::UnknownConfigurationKey { .. } => {
            (ErrorKind::Config, "compare the place in the run definition")
        }
        StoreError::NotFound { .. } => (ErrorKind::Temporary, "compare the name of the bucket, and whether it exists"),
        _ => (ErrorKind::Temporary, "check that the store can be reached, then run again"),
    };
    // What the store answers names objects, and they requests: a message is told in more places than its context.
    Error::new(kind, "the store failed").at("store", place).at("answer", told(error)).hint(hint)
}

/// A store's failure as text: without queries and user names of URLs, and not all of a long answer.
pub fn told(error: &StoreError) -> String {
    const LONGEST: usize = 400;
    let text = without_secrets(&error.to_string());
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(LONGEST).collect()
}

impl Objects {
    pub(super) fn new(delivery: &Delivery, name: &str) -> Self {
        Self {
            store: Arc::clone(&delivery.store),
            prefix: delivery.prefix.clone(),
            name: name.to_owned(),
            root: delivery.prefix.clone().join(name),
            lock: delivery.prefix.clone().join(format!("{name}{LOCK}")),
            told: format!("{}/{name}", delivery.told.trim_end_matches('/')),
            pause: delivery.pause,
        }
    }

    pub(super) fn told(&self) -> &str {
        &self.told
    }

    /// An object beside the output.
    pub(super) fn beside(&self, suffix: &str) -> StorePath {
        self.prefix.clone().join(format!("{}{suffix}", self.name))
    }

    /// A store's failure.
    pub(super) fn failed(&self, error: &StoreError) -> Error {
        from_store(error, &self.told)
    }

    pub(super) fn is_taken(&self) -> Error {
        Error::config("the store holds a committed run under this name")
            .at("store", &self.told)
            .hint("give another --out or --date")
    }

    /// The object of a file of the output.
    pub(super) fn of(&self, relative: &str) -> StorePath {
        self.root.parts().chain(StorePath::from(relative).parts()).collect()
    }

    /// The file of the output that an object is.
    pub(super) fn relative(&self, object: &StorePath) -> Option<String> {
        let parts: Vec<String> = object.prefix_match(&self.root)?.map(|part| part.as_ref().to_owned()).collect();
        Some(parts.join("/"))
    }

    /// Waits before the request number `attempt`; not before the first.
    pub(super) async fn before(&self, attempt: u32) {
        if let Some(earlier) = attempt.checked_sub(1)
            && !self.pause.is_zero()
        {
            tokio::time::sleep(self.pause * 2u32.pow(earlier)).await;
        }
    }

    /// Every object of the output.
    pub(super) async fn list(&self) -> Result<Vec<ObjectMeta>> {
        let mut failed = None;
        for attempt in 0..ATTEMPTS {
            self.before(attempt).await;
            match self.store.list(Some(&self.root)).try_collect().await {
                Ok(objects) => return Ok(objects),
                Err(error) => failed = Some(self.failed(&error)),
            }
        }
        Err(failed.unwrap_or_else(|| Error::internal("nothing was asked")))
    }

    /// Bytes and version of an object; `None` where there is none.
    pub(super) async fn read(&self, path: &StorePath) -> Result<Option<(Bytes, ObjectMeta)>> {
        let mut failed = None;
        for attempt in 0..ATTEMPTS {
            self.before(attempt).await;
            let got = match self.store.get(path).await {
                Ok(got) => {
                    let meta = got.meta.clone();
                    got.bytes().await.map(|bytes| Some((bytes, meta)))
                }
                Err(StoreError::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            };
            match got {
                Ok(got) => return Ok(got),
                Err(error) => failed = Some(self.failed(&error)),
            }
        }
        Err(failed.unwrap_or_else(|| Error::internal("nothing was asked")))
    }

    /// Removes an object; what cannot be removed is left to `ieum gc`.
    pub(super) async fn remove_if_it_can_be(&self, path: &StorePath) {
        for attempt in 0..ATTEMPTS {
            self.before(attempt).await;
            match self.store.delete(path).await {
                Ok(()) | Err(StoreError::NotFound { .. }) => return,
                Err(_) => {}
            }
        }
    }

    /// Creates or updates an object; one request.
    pub(super) async fn put(&self, path: &StorePath, bytes: Bytes, mode: PutMode) -> Result<UpdateVersion, StoreError> {
        let options =
            PutOptions { mode, attributes: attributes(&hex(&Sha256::digest(&bytes))), ..PutOptions::default() };
        let put = self.store.put_opts(path, bytes.into(), options).await?;
        Ok(UpdateVersion { e_tag: put.e_tag, version: put.version })
    }

    /// Whether an object has the bytes that are wanted: by their number and the digest that it carries; where it carries
    /// none, by its bytes.
    pub(super) async fn stands(&self, path: &StorePath, bytes: u64, sha256: &str) -> Result<Standing, StoreError> {
        let head = GetOptions { head: true, ..GetOptions::default() };
        let got = match self.store.get_opts(path, head).await {
            Ok(got) => got,
            Err(StoreError::NotFound { .. }) => return Ok(Standing::Absent),
            Err(error) => return Err(error),
        };
        let other = || Standing::Other(version(&got.meta));
        if got.meta.size != bytes {
            return Ok(other());
        }
        let same = match got.attributes.get(&Attribute::Metadata(SHA256.into())) {
            Some(carried) => carried.as_ref() == sha256,
            None => self.digest(path).await? == sha256,
        };
        Ok(if same { Standing::Same } else { other() })
    }

    async fn digest(&self, path: &StorePath) -> Result<String, StoreError> {
        let mut digest = Sha256::new();
        let mut stream = self.store.get(path).await?.into_stream();
        while let Some(bytes) = stream.try_next().await? {
            digest.update(&bytes);
        }
        Ok(hex(&digest.finalize()))
    }

    /// The manifest of the output; `None` where there is none, or one that is not whole.
    pub(super) async fn committed(&self) -> Result<Option<Manifest>> {
        let read = self.read(&self.of(MANIFEST)).await?;
        Ok(read.and_then(|(bytes, _)| serde_json::from_slice(&bytes).ok()))
    }
}

/// What an object carries beside its bytes.
pub(super) fn attributes(sha256: &str) -> Attributes {
    let digest = (Attribute::Metadata(SHA256.into()), AttributeValue::from(sha256.to_owned()));
    Attributes::from_iter([digest])
}

pub(super) fn version(meta: &ObjectMeta) -> UpdateVersion {
    UpdateVersion { e_tag: meta.e_tag.clone(), version: meta.version.clone() }
}
