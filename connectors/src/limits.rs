//! How much a compressed file may become: beyond it, it is taken for one that was made to exhaust the machine.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ieum_model::dataset::Limits;
use ieum_model::error::Error;

/// A stream went beyond a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beyond {
    expansion: u32,
}

impl fmt::Display for Beyond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "more than {} bytes from each compressed one", self.expansion)
    }
}

impl std::error::Error for Beyond {}

impl Beyond {
    /// Beyond the limit of what a compressed byte may become.
    pub(crate) fn expansion(limits: Limits) -> Self {
        Self { expansion: limits.expansion }
    }

    /// The limit that an error of a stream tells of.
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref().and_then(|inner| inner.downcast_ref::<Self>()).copied()
    }

    /// The error of the export called `name`.
    pub fn told(self, name: &str) -> Error {
        Error::contract(format!("compressed file becomes {self}")).at("export", name).at("limit", "expansion").hint(
            "if the holder's file is meant to be so, raise `limits = { expansion = … }` in the dataset's [export]",
        )
    }
}

/// An error of a stream whose file cannot be read whatever storage does, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub(crate) message: String,
    pub(crate) hint: &'static str,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Unreadable {}

/// A decompressed stream within the limit.
pub struct Limited<R> {
    inner: R,
    storage: Arc<AtomicU64>,
    expansion: u32,
    bytes: u64,
}

impl<R> Limited<R> {
    /// `storage` counts the compressed bytes that `inner` has read.
    pub fn new(inner: R, limits: Limits, storage: &Arc<AtomicU64>) -> Self {
        Self { inner, storage: Arc::clone(storage), expansion: limits.expansion, bytes: 0 }
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.inner.read(buffer)?;
        self.bytes += bytes as u64;
        let allowed = self.storage.load(Ordering::Relaxed).saturating_mul(u64::from(self.expansion));
        if self.bytes > allowed.max(Limits::SMALL_MIB << 20) {
            return Err(io::Error::other(Beyond { expansion: self.expansion }));
        }
        Ok(bytes)
    }
}
