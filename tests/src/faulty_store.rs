//! An object store in memory that fails by a script: the same seed, the same failures.
//!
//! | fault | what happens |
//! |---|---|
//! | refused | nothing is done, the answer is an error (503) |
//! | landed | it is done, the answer is an error |
//! | torn | the first half lands, the answer is an error |
//! | lagging | a list leaves out what was written last |
//! | ignoring | conditions of writes are not looked at |
//! | dead | from some request on every answer is an error: the process is cut off |

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

/// How often of a thousand requests each fault strikes, and when the process is cut off.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Refused.
    pub refused: u64,
    /// Landed, but told as failed.
    pub landed: u64,
    /// Landed in half, and told as failed.
    pub torn: u64,
    /// Lists that lag.
    pub lagging: u64,
    /// Conditions are not looked at.
    pub ignores_conditions: bool,
    /// The number of requests after which nothing is answered any more.
    pub dies_after: Option<u64>,
}

/// What all views of one store share.
#[derive(Debug)]
struct Shared {
    inner: InMemory,
    /// When each object was written, by the store's own clock: it goes on when it is told to.
    now: Mutex<DateTime<Utc>>,
    written: Mutex<std::collections::BTreeMap<Path, DateTime<Utc>>>,
    latest: Mutex<BTreeSet<Path>>,
}

/// One process's view of a store.
#[derive(Debug, Clone)]
pub struct FaultyStore {
    shared: Arc<Shared>,
    faults: Faults,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    random: u64,
    requests: u64,
    struck: u64,
}

enum Fault {
    None,
    Refused,
    Landed,
    Torn,
}

impl Default for FaultyStore {
    fn default() -> Self {
        let shared = Shared {
            inner: InMemory::new(),
            now: Mutex::new(DateTime::UNIX_EPOCH),
            written: Mutex::default(),
            latest: Mutex::default(),
        };
        Self { shared: Arc::new(shared), faults: Faults::default(), state: state(0) }
    }
}

fn state(seed: u64) -> Arc<Mutex<State>> {
    Arc::new(Mutex::new(State { random: seed, requests: 0, struck: 0 }))
}

impl FaultyStore {
    /// The same store, seen by another process.
    #[must_use]
    pub fn seen(&self, faults: Faults, seed: u64) -> Self {
        Self { shared: Arc::clone(&self.shared), faults, state: state(seed) }
    }

    /// Lets time pass.
    pub fn passes(&self, seconds: i64) {
        let mut now = self.shared.now.lock().unwrap_or_else(PoisonError::into_inner);
        *now += TimeDelta::seconds(seconds);
    }

    /// How many requests were made through this view, and how many of them a fault struck.
    pub fn counts(&self) -> (u64, u64) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.requests, state.struck)
    }

    fn below(&self, end: u64) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.random = state.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = state.random;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (number ^ (number >> 31)) % end
    }

    /// What strikes the next request.
    fn strike(&self) -> Fault {
        let number = self.below(1000);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.requests += 1;
        let Faults { refused, landed, torn, .. } = self.faults;
        let fault = match number {
            _ if self.faults.dies_after.is_some_and(|end| state.requests > end) => Fault::Refused,
            number if number < refused => Fault::Refused,
            number if number < refused + landed => Fault::Landed,
            number if number < refused + landed + torn => Fault::Torn,
            _ => return Fault::None,
        };
        state.struck += 1;
        fault
    }

    fn wrote(&self, path: &Path) {
        let now = *self.shared.now.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.written.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone(), now);
        self.shared.latest.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone());
    }

    fn dated(&self, mut meta: ObjectMeta) -> ObjectMeta {
        let written = self.shared.written.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = written.get(&meta.location) {
            meta.last_modified = *at;
        }
        meta
    }
}

fn unavailable() -> Error {
    Error::Generic { store: "faulty", source: "503 Service Unavailable".into() }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty store")
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        if self.faults.ignores_conditions {
            options.mode = PutMode::Overwrite;
        }
        let bytes = Bytes::from(payload);
        match self.strike() {
            Fault::Refused => Err(unavailable()),
            fault => {
                let torn = matches!(fault, Fault::Torn);
                let lands = if torn { bytes.slice(..bytes.len() / 2) } else { bytes };
                let put = self.shared.inner.put_opts(path, lands.into(), options).await?;
                self.wrote(path);
                if matches!(fault, Fault::None) { Ok(put) } else { Err(unavailable()) }
            }
        }
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        if !matches!(self.strike(), Fault::None) {
            return Err(unavailable());
        }
        let inner = self.shared.inner.put_multipart_opts(path, options).await?;
        Ok(Box::new(FaultyUpload { inner, store: self.clone(), path: path.clone() }))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        if !matches!(self.strike(), Fault::None) {
            return Err(unavailable());
        }
        let mut got = self.shared.inner.get_opts(path, options).await?;
        got.meta = self.dated(got.meta);
        Ok(got)
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let delete = move |path: Result<Path>| {
            let store = store.clone();
            async move {
                let path = path?;
                match store.strike() {
                    Fault::Refused | Fault::Torn => Err(unavailable()),
                    fault => {
                        let one = futures::stream::iter([Ok(path.clone())]).boxed();
                        store.shared.inner.delete_stream(one).try_collect::<Vec<_>>().await?;
                        if matches!(fault, Fault::None) { Ok(path) } else { Err(unavailable()) }
                    }
                }
            }
        };
        paths.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if !matches!(self.strike(), Fault::None) {
            return futures::stream::iter([Err(unavailable())]).boxed();
        }
        let lags = self.below(1000) < self.faults.lagging;
        let latest = std::mem::take(&mut *self.shared.latest.lock().unwrap_or_else(PoisonError::into_inner));
        let left_out = move |meta: &ObjectMeta| lags && latest.contains(&meta.location);
        let listed = self.shared.inner.list(prefix);
        listed.try_filter(move |meta| futures::future::ready(!left_out(meta))).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        if !matches!(self.strike(), Fault::None) {
            return Err(unavailable());
        }
        let mut listed = self.shared.inner.list_with_delimiter(prefix).await?;
        listed.objects = listed.objects.into_iter().map(|meta| self.dated(meta)).collect();
        Ok(listed)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.shared.inner.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct FaultyUpload {
    inner: Box<dyn MultipartUpload>,
    store: FaultyStore,
    path: Path,
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, payload: PutPayload) -> UploadPart {
        match self.store.strike() {
            Fault::None => self.inner.put_part(payload),
            _ => Box::pin(futures::future::ready(Err(unavailable()))),
        }
    }

    async fn complete(&mut self) -> Result<PutResult> {
        match self.store.strike() {
            Fault::Refused | Fault::Torn => Err(unavailable()),
            fault => {
                let put = self.inner.complete().await?;
                self.store.wrote(&self.path);
                if matches!(fault, Fault::None) { Ok(put) } else { Err(unavailable()) }
            }
        }
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}
