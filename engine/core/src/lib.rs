//! The machine: one night from checked requests to a committed output. The only crate that names DataFusion types.
//!
//! ```text
//!  gather:    connector ─► scan ─► link ─► permit ─► stage          one DataFusion plan per dataset
//!  assemble:  stage ─► bundle (nested row, pseudonym) ─► seal ─► sink   one shard of requests after the other
//! ```
//!
//! Read [`night`] first: it walks the steps in this order.
//!
//! | module | step |
//! |---|---|
//! | [`reach`], [`course`], [`keys`] | which key column and wave reads which dataset by which keys, and why one is not reachable |
//! | [`scan`] | a connector as a DataFusion source; keys are made canonical and probed here |
//! | [`gather`], [`waves`] | link and permit as one plan per dataset, wave by wave |
//! | [`stage`] | matched, permitted rows by shard of requests, on disk beyond a limit |
//! | [`rejects`] | rows that could not be read, likewise |
//! | [`assemble`], [`bundle`], [`bundle_files`] | one nested row a request, as JSON or Parquet, into files |
//! | [`encrypt`] | bundles into envelopes that only their recipient opens |
//! | [`journal`] | what a run has done so far, so that one that was stopped goes on |
//! | [`seal`] | a tree over the bundles, its root signed, a receipt a request; and all of it checked |
//! | [`sink`] | written aside, digested, committed once, manifest last |
//! | [`deliver`] | the output to an object store: a lock, its files, its manifest last |
//! | [`ledger`] | who got which items of whom, over all runs |
//! | [`rekey`] | from the names of an older key epoch to those of the newest |
//! | [`lineage`] | which exports went into which bundles, column by column |
//! | [`explain`], [`first_look`] | what would be read, and whether it can be |
//! | [`verify`], [`tally`] | whether a finished output is whole, and what it says of its run |

pub mod assemble;
pub mod bundle;
pub mod bundle_files;
pub mod course;
pub mod deliver;
pub mod encrypt;
pub mod explain;
pub mod first_look;
pub mod gather;
pub mod input;
pub mod journal;
pub mod keys;
mod late;
pub mod ledger;
pub mod lineage;
pub mod manifest;
pub mod night;
pub mod protected;
pub mod reach;
mod records;
pub mod rejects;
pub mod rekey;
pub mod scan;
pub mod seal;
mod session;
pub mod sink;
pub mod spill;
pub mod stage;
pub mod steps;
mod strays;
pub mod tally;
pub mod verify;
pub mod waves;

use ieum_model::error::{Error, ErrorKind};

/// A DataFusion failure in the words of the workspace; an [`Error`] that travelled through it comes out unchanged.
pub(crate) fn from_datafusion(error: datafusion::error::DataFusionError) -> Error {
    use datafusion::error::DataFusionError;
    match error.find_root() {
        DataFusionError::External(inner) => match inner.downcast_ref::<Error>() {
            Some(ours) => ours.clone(),
            None => Error::internal(inner.to_string()),
        },
        DataFusionError::ResourcesExhausted(message) => {
            Error::new(ErrorKind::Temporary, format!("the memory limit does not hold this night: {message}"))
                .hint("raise --memory, or lower --shard-requests and --threads")
        }
        DataFusionError::IoError(error) => unwritten(error),
        DataFusionError::ArrowError(error, _) => from_arrow_ref(error),
        other => Error::internal(other.to_string()),
    }
}

/// An I/O failure on the output side, with the path it concerns.
pub(crate) fn from_io(error: &std::io::Error, path: &std::path::Path) -> Error {
    unwritten(error).at("path", path.display())
}

/// What the disk did not take; a retry may help.
pub(crate) fn unwritten(error: &std::io::Error) -> Error {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    let hint = match error.kind() {
        StorageFull => "free space on the output's file system and run again",
        QuotaExceeded | FileTooLarge => "raise the quota or the limit on file sizes (`ulimit -f`) and run again",
        _ => "check the folder's owner and mode",
    };
    Error::new(ErrorKind::Temporary, format!("output cannot be written: {error}")).hint(hint)
}

/// An Arrow failure: on our own batches it is our bug, but what the disk did not take is not.
#[allow(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
pub(crate) fn from_arrow(error: arrow::error::ArrowError) -> Error {
    from_arrow_ref(&error)
}

fn from_arrow_ref(error: &arrow::error::ArrowError) -> Error {
    match error {
        arrow::error::ArrowError::IoError(_, error) => unwritten(error),
        other => Error::internal(other.to_string()),
    }
}
