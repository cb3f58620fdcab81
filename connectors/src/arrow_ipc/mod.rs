//! Arrow IPC exports, in the file format (`ARROW1`, Feather 2) or as a stream: batches that are typed already.
//!
//! ```text
//!  file ─► batches of the wanted columns ─► key column ─► probe ─► cast to the items' types ─► batch
//!                                                           └─ filtered     └─ rejected (rule `type`)
//! ```

mod reader;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use ieum_model::connector::{BatchReader, Connector, FileColumn, Reject, ScanSpec};
use ieum_model::dataset::{Dataset, Export, ItemType};
use ieum_model::error::{Error, Result};

use crate::replay::{KeptRow, Replay, Replayed};
use crate::{columns, control, export_of, files, nothing_matches};
use reader::Reader;

/// What a reader has to know of the dataset.
#[derive(Debug, Clone)]
struct Layout {
    dataset: Dataset,
    export: Export,
    types: BTreeMap<String, ItemType>,
}

struct ArrowConnector {
    root: PathBuf,
    names: Vec<String>,
    sizes: Vec<u64>,
    modified: Vec<i64>,
    layout: Layout,
}

/// Opens the Arrow IPC export of `dataset` below `root`.
///
/// # Errors
/// When no file matches, or the export declares what such a file does not have.
pub fn open(root: &Path, dataset: &Dataset) -> Result<Box<dyn Replay>> {
    let export = export_of(dataset)?.clone();
    if export.control.trailer.is_some() {
        return Err(Error::config("an Arrow file has no trailer").at("dataset", &dataset.code));
    }
    let names = files::partitions(root, &export)?;
    if names.is_empty() {
        return Err(nothing_matches(dataset, &export));
    }
    let (sizes, modified) = (files::sizes(root, &names)?, files::modified(root, &names)?);
    let layout = Layout { dataset: dataset.clone(), export, types: columns::types(dataset) };
    Ok(Box::new(ArrowConnector { root: root.to_owned(), names, sizes, modified, layout }))
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

impl ArrowConnector {
    fn name(&self, partition: usize) -> Result<&String> {
        self.names.get(partition).ok_or_else(|| Error::internal("no such partition"))
    }
}

impl Connector for ArrowConnector {
    fn partitions(&self) -> &[String] {
        &self.names
    }

    fn partition_bytes(&self) -> &[u64] {
        &self.sizes
    }

    fn partition_modified(&self) -> &[i64] {
        &self.modified
    }

    fn columns(&self, partition: usize) -> Result<Option<Vec<FileColumn>>> {
        let name = self.name(partition)?;
        guarded(name, || reader::columns(&self.root, name)).map(Some)
    }

    fn open(&self, partition: usize, spec: &ScanSpec) -> Result<Box<dyn BatchReader>> {
        let name = self.name(partition)?;
        guarded(name, || Ok(Box::new(Reader::open(&self.root, name, &self.layout, spec)?) as _))
    }

    fn verify_control(&self) -> Result<()> {
        for name in &self.names {
            let checked = match self.layout.export.control.manifest {
                Some(_) => control::verify_manifest(&self.root, name),
                None => Ok(()),
            };
            checked.map_err(|error| error.at("dataset", &self.layout.dataset.code))?;
        }
        Ok(())
    }

    fn checks_totals_while_reading(&self) -> bool {
        self.layout.export.control.manifest.is_none()
    }
}

impl Replay for ArrowConnector {
    /// Each row as an Arrow IPC stream of all columns, as the file types them.
    fn keep(&self, partition: usize, rejects: &[Reject]) -> Result<Vec<Vec<u8>>> {
        let name = self.name(partition)?;
        guarded(name, || reader::keep(&self.root, name, rejects))
    }

    fn replay(&self, partition: usize, spec: &ScanSpec, rows: &[KeptRow]) -> Result<Replayed> {
        let name = self.name(partition)?;
        guarded(name, || reader::replay(name, &self.layout, spec, rows))
    }
}
