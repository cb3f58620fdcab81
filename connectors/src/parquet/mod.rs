//! Parquet exports: the key column is read and probed first, then only the selected rows of the others are decoded.
//!
//! ```text
//!  key column ─► probe ─► selected rows ─► other columns ─► cast to the items' types ─► batch
//!                  └─ filtered                                └─ rejected (rule `type`)
//! ```

pub(crate) mod cast;
mod damage;
mod keys;
mod probe;
mod reader;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use ieum_model::connector::{BatchReader, FileColumn, Reject, ScanSpec};
use ieum_model::dataset::{Dataset, Export, Item, ItemType};
use ieum_model::error::{Error, ErrorKind, Result};

use crate::export::{ExportFiles, FileExport, FileFormat};
use crate::folder::Folder;
use crate::replay::{KeptRow, Replay, Replayed};
use crate::{archive, export_of};
use damage::guarded;

/// Parquet, and what its reader has to know of the dataset.
#[derive(Debug, Clone)]
struct Layout {
    dataset: String,
    /// Export column → item code.
    columns: BTreeMap<String, String>,
    /// Item code → standard abbreviation.
    aliases: BTreeMap<String, String>,
    types: BTreeMap<String, ItemType>,
    list_separator: char,
}

impl Layout {
    fn new(dataset: &Dataset, export: &Export) -> Self {
        let alias = |(code, item): (&String, &Item)| Some((code.clone(), item.std.clone()?));
        Self {
            dataset: dataset.code.clone(),
            columns: export.columns.clone(),
            aliases: dataset.items.iter().filter_map(alias).collect(),
            types: crate::columns::types(dataset),
            list_separator: export.list_separator,
        }
    }

    /// A column as its holder and the catalog name it.
    fn named(&self, code: &str) -> String {
        crate::columns::named(&self.columns, code)
    }
}

/// Opens the Parquet export of `dataset` below `root`.
///
/// # Errors
/// When no file matches, or one stands in an archive: pieces of it are read in any order.
pub fn open(root: impl Into<Folder>, dataset: &Dataset) -> Result<Box<dyn Replay>> {
    let (files, format) = (ExportFiles::find(root, dataset)?, Layout::new(dataset, export_of(dataset)?));
    if let Some(name) = files.names().iter().find(|name| archive::split(name).1.is_some()) {
        let hint = "ask the holder for the Parquet file itself: it is compressed already";
        return Err(files.broken(name, "a Parquet file stands in an archive", hint));
    }
    Ok(Box::new(FileExport { files, format }))
}

fn temporary(what: &str, error: &std::io::Error, file: impl std::fmt::Display) -> Error {
    let hint = crate::files::readable(error.kind());
    Error::new(ErrorKind::Temporary, format!("{what}: {error}")).at("file", file).hint(hint)
}

impl FileFormat for Layout {
    fn columns(&self, files: &ExportFiles, name: &str) -> Result<Option<Vec<FileColumn>>> {
        guarded(name, || reader::columns(&files.root, name)).map(Some)
    }

    fn open(&self, files: &ExportFiles, name: &str, spec: &ScanSpec) -> Result<Box<dyn BatchReader>> {
        guarded(name, || Ok(Box::new(reader::Reader::open(&files.root, name, self, spec)?) as _))
    }

    /// That the footer can be read, and all that it names lies within the file.
    fn verify(&self, files: &ExportFiles, name: &str) -> Result<()> {
        guarded(name, || reader::verify_footer(&files.root, name))
    }

    fn verifies_while_reading(&self) -> bool {
        false
    }

    /// Each row as an Arrow IPC stream of all columns, as the file types them.
    fn keep(&self, files: &ExportFiles, name: &str, rejects: &[Reject]) -> Result<Vec<Vec<u8>>> {
        guarded(name, || reader::keep(&files.root, name, rejects))
    }

    fn replay(&self, files: &ExportFiles, name: &str, spec: &ScanSpec, rows: &[KeptRow]) -> Result<Replayed> {
        reader::Reader::open(&files.root, name, self, spec)?.replay(rows)
    }
}
