//! Copies of exports, sorted by their keys: a night that finds a fresh one reads the blocks of the wanted keys, not the export.
//!
//! ```text
//!  make:  export ─► rows, typed ─┬─► sort by canonical key ─► 0-rrno.rows      one file for every key column
//!         (read once)            ├─► sort by canonical key ─► 1-brno.rows
//!                                └─► rows that no one can read ─► rejects.rows
//!         copy.json: made of which files, under which contract; written last
//!
//!  read:  wanted keys ─► index ─► blocks ─► rows ─► the wanted columns ─► batches
//!         (sorted)                            └─► rows kept aside ─► their own format decides
//! ```
//!
//! A copy answers as its export does: the same rows, the same rejects, the same counts but the bytes. What makes it so:
//!
//! - A row that can be read whole is held typed. One that cannot is **kept aside** as it stands in the export, by its key, and
//!   decoded by the export's own format when it is asked for ([`crate::replay`]): whether it is a record or a reject, and of
//!   which column, depends on the columns that are asked for.
//! - Rows that are rejected whoever is asked for are kept complete in `rejects.rows`, and told each night.
//! - `read` is the number of rows of the export; rows of blocks that were never read count as `filtered`. `bytes` are the
//!   bytes read from the copy.
//! - The control totals are checked when the copy is made; an export that fails them gets none.
//! - A copy is used while its export has the same files, sizes and times of change (and digests, of small files), and the
//!   catalog the same contract. Every block read is compared with its checksum: where one disagrees, the export is read.
//!
//! The files are blocks of Arrow IPC and not Parquet: of Parquet, footer and page index are read whole and grow with the
//! population, and a person costs a page of every column. Ten times the people cost 2.6 times the CPU time so, and 1.1 times
//! with blocks (1.6 times where rejects grow tenfold too). The price is space: blocks are not compressed.
//!
//! | file | knows |
//! |---|---|
//! | `make` | one pass over the export, what is kept aside, and the commit |
//! | `sort` | runs within a memory limit, and merging them |
//! | `write` | the layout of the files, and writing them |
//! | `about` | `copy.json`, and whether it is fresh |
//! | `blocks` | the index, and the checksums of blocks |
//! | `select` | from wanted keys to rows, through the index |
//! | `reader` | the rows, as batches and rejects |

mod about;
mod blocks;
mod make;
mod reader;
mod select;
mod sort;
#[cfg(test)]
pub(crate) mod tests;
mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use chrono::NaiveDate;
use ieum_model::connector::{BatchReader, Connector, FoundFile, ScanSpec};
use ieum_model::dataset::Dataset;
use ieum_model::error::{Error, Result};

use self::about::About;
use self::blocks::Blocks;
use crate::folder::{Exports, Folder};
use crate::replay::Replay;
use crate::{Found, Located, locate};

pub use self::make::{Canonical, Made, Making, Sizes, make};

/// Why a copy cannot be used, as the end of a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unusable(String);

impl Unusable {
    fn new(reason: String) -> Self {
        Self(reason)
    }
}

impl From<std::io::Error> for Unusable {
    fn from(error: std::io::Error) -> Self {
        Self(format!("it cannot be read: {error}"))
    }
}

impl From<ArrowError> for Unusable {
    fn from(error: ArrowError) -> Self {
        Self(format!("it cannot be read: {error}"))
    }
}

/// How copies are used.
#[derive(Clone)]
pub struct Use {
    /// Folder of the copies.
    pub folder: PathBuf,
    /// Whether every block of a copy is checked before it is used, not only those that are read.
    pub check_all: bool,
    /// Told of a copy that turns out damaged while it is read; the export is then read instead.
    pub damaged: Arc<dyn Fn(String) + Send + Sync>,
}

/// How the copy of a dataset stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is fresh and will be read.
    Fresh,
    /// There is none.
    None,
    /// It is stale or damaged, for this reason.
    Unusable(String),
}

/// As [`crate::connect`]; where the export has a fresh copy, the connector reads that.
///
/// # Errors
/// As [`crate::connect`]. A copy that cannot be used is none.
pub fn connect(
    exports: impl Into<Exports>,
    dataset: &Dataset,
    on: NaiveDate,
    copies: &Use,
) -> Result<(Found, Standing)> {
    let exports = exports.into();
    let root = exports.of(dataset)?;
    let export = match locate(root, dataset, on)? {
        Located::Missing => return Ok((Found::Missing, Standing::None)),
        Located::Stale { date, validity_days } => return Ok((Found::Stale { date, validity_days }, Standing::None)),
        Located::Unfinished(error) => return Ok((Found::Unfinished(error), Standing::None)),
        Located::Drifted(error) => return Ok((Found::Drifted(error), Standing::None)),
        Located::Export(export) => export,
    };
    // A database does not tell whether a table has changed.
    if let Folder::Database(_) = root {
        return Ok((Found::Export(export), Standing::None));
    }
    let now = about::now(root, dataset, export.as_ref())?;
    Ok(match fresh(&copies.folder.join(&dataset.code), &now, copies.check_all) {
        Ok(Some(about)) => (Found::Export(Box::new(Copy::new(about, dataset, export, copies))), Standing::Fresh),
        Ok(None) => (Found::Export(export), Standing::None),
        Err(Unusable(reason)) => (Found::Export(export), Standing::Unusable(reason)),
    })
}

/// The copy in `folder`, if it is one of what there is `now`; `None` where there is no copy.
fn fresh(folder: &Path, now: &About, check_all: bool) -> Result<Option<About>, Unusable> {
    let Some(about) = About::read(folder)? else { return Ok(None) };
    if let Some(reason) = about.stale(now) {
        return Err(Unusable(reason));
    }
    for file in about.files() {
        if check_all {
            Blocks::open(folder, file)?.check_all()?;
        } else if folder.join(&file.name).metadata()?.len() != file.bytes {
            return Err(Unusable(format!("`{}` is not as long as it was written", file.name)));
        }
    }
    Ok(Some(about))
}

/// A fresh copy, and the export for what it cannot answer.
struct Copy {
    about: Arc<About>,
    /// Columns of its sorted files.
    schema: SchemaRef,
    folder: PathBuf,
    export: Arc<dyn Replay>,
    damaged: Arc<dyn Fn(String) + Send + Sync>,
    name: [String; 1],
    bytes: [u64; 1],
}

impl Copy {
    fn new(about: About, dataset: &Dataset, export: Box<dyn Replay>, copies: &Use) -> Self {
        let largest = about.keys.iter().map(|key| key.file.bytes).max().unwrap_or(0);
        let columns: Vec<_> = about.columns.iter().map(|name| dataset.column_field(name)).collect();
        Self {
            schema: write::schema(&Schema::new(columns)),
            folder: copies.folder.join(&dataset.code),
            name: [format!("{} (staged copy)", dataset.code)],
            bytes: [largest],
            about: Arc::new(about),
            export: export.into(),
            damaged: Arc::clone(&copies.damaged),
        }
    }
}

impl Connector for Copy {
    /// One partition: the files of a copy are the same rows, sorted by different keys.
    fn partitions(&self) -> &[String] {
        &self.name
    }

    fn partition_bytes(&self) -> &[u64] {
        &self.bytes
    }

    /// The copy, and the files of its export: it was made from them, and a damaged copy is read from them.
    fn found_files(&self) -> Vec<FoundFile> {
        let copy = FoundFile { name: self.name[0].clone(), bytes: self.bytes[0], modified: 0 };
        std::iter::once(copy).chain(self.export.found_files()).collect()
    }

    fn open(&self, _partition: usize, spec: &ScanSpec) -> Result<Box<dyn BatchReader>> {
        let holds = |name: &String| self.about.columns.contains(name);
        if !spec.schema.fields().iter().all(|field| holds(field.name())) {
            return Ok(Box::new(reader::ExportReader::try_new(Arc::clone(&self.export), spec)?));
        }
        match reader::Reader::open(&self.folder, &self.about, &self.schema, &self.export, spec) {
            Ok(reader) => Ok(Box::new(reader)),
            Err(Unusable(reason)) => {
                (self.damaged)(format!(
                    "the staged copy of `{}` is damaged, its export is read instead: {reason}\n  \
                     hint: `ieum stage` makes it anew",
                    self.about.dataset
                ));
                Ok(Box::new(reader::ExportReader::try_new(Arc::clone(&self.export), spec)?))
            }
        }
    }

    /// The totals of the export were checked when the copy was made; here the copy itself is.
    fn verify_control(&self) -> Result<()> {
        let checked = self.about.files().try_for_each(|file| Blocks::open(&self.folder, file)?.check_all().map(drop));
        match checked {
            Ok(()) => Ok(()),
            Err(Unusable(reason)) => {
                Err(Error::contract(format!("the staged copy is damaged: {reason}")).at("dataset", &self.about.dataset))
            }
        }
    }

    fn checks_totals_while_reading(&self) -> bool {
        true
    }
}
