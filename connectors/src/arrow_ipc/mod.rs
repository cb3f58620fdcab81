//! Arrow IPC exports, in the file format (`ARROW1`, Feather 2) or as a stream: batches that are typed already.
//!
//! ```text
//!  file ─► batches of the wanted columns ─► key column ─► probe ─► cast to the items' types ─► batch
//!                                                           └─ filtered     └─ rejected (rule `type`)
//! ```

mod guard;
mod reader;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ieum_model::connector::{BatchReader, FileColumn, Reject, ScanSpec};
use ieum_model::dataset::{Dataset, ItemType, Limits};
use ieum_model::error::{Error, Result};

use crate::export::{ExportFiles, FileExport, FileFormat};
use crate::folder::Folder;
use crate::replay::{KeptRow, Replay, Replayed};
use crate::{columns, export_of};
use reader::Reader;

/// Arrow IPC, and what its reader has to know of the dataset.
struct ArrowIpc {
    types: BTreeMap<String, ItemType>,
}

/// Opens the Arrow IPC export of `dataset` below `root`.
///
/// # Errors
/// When no file matches, or the export declares what such a file does not have.
pub fn open(root: impl Into<Folder>, dataset: &Dataset) -> Result<Box<dyn Replay>> {
    if export_of(dataset)?.control.trailer.is_some() {
        return Err(ExportFiles::config(dataset, "an Arrow file has no trailer"));
    }
    let format = ArrowIpc { types: columns::types(dataset) };
    Ok(Box::new(FileExport { files: ExportFiles::find(root, dataset)?, format }))
}

/// A damaged file is an error of its export, however its reader takes it.
fn guarded<T>(name: &str, read: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(damaged(name)))
}

fn damaged(name: &str) -> Error {
    Error::contract("not a whole Arrow IPC file or stream")
        .at("export", name)
        .hint("the file is truncated or damaged; fetch the export again")
}

fn beyond(name: &str, limits: Limits) -> Error {
    Error::contract(format!("the Arrow file becomes more than {} bytes from each packed one", limits.expansion))
        .at("export", name)
        .at("limit", "expansion")
        .hint("if the holder's file is meant to be so, raise `limits = { expansion = … }` in the dataset's [export]")
}

impl FileFormat for ArrowIpc {
    fn columns(&self, files: &ExportFiles, name: &str) -> Result<Option<Vec<FileColumn>>> {
        guarded(name, || reader::columns(files, name)).map(Some)
    }

    fn open(&self, files: &ExportFiles, name: &str, spec: &ScanSpec) -> Result<Box<dyn BatchReader>> {
        guarded(name, || Ok(Box::new(Reader::open(files, name, &self.types, spec)?) as _))
    }

    /// Each row as an Arrow IPC stream of all columns, as the file types them.
    fn keep(&self, files: &ExportFiles, name: &str, rejects: &[Reject]) -> Result<Vec<Vec<u8>>> {
        guarded(name, || reader::keep(files, name, rejects))
    }

    fn replay(&self, files: &ExportFiles, name: &str, spec: &ScanSpec, rows: &[KeptRow]) -> Result<Replayed> {
        guarded(name, || reader::replay(files, name, &self.types, spec, rows))
    }
}
