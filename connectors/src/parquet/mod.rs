//! Parquet exports: the key column is read and probed first, then only the selected rows of the others are decoded.
//!
//! ```text
//!  key column ─► probe ─► selected rows ─► other columns ─► cast to the items' types ─► batch
//!                  └─ filtered                                └─ rejected (rule `type`)
//! ```

pub(crate) mod cast;
mod damage;
mod keys;
mod reader;

use std::collections::BTreeMap;
use std::path::Path;

use ieum_model::connector::{BatchReader, Connector, FileColumn, Reject, ScanSpec};
use ieum_model::dataset::{Dataset, Export, ItemType, ManifestRule};
use ieum_model::error::{Error, ErrorKind, Result};

use crate::folder::Folder;
use crate::replay::{KeptRow, Replay, Replayed};
use damage::guarded;

/// What a reader has to know of the dataset.
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
        let alias = |(code, item): (&String, &ieum_model::dataset::Item)| Some((code.clone(), item.std.clone()?));
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

struct ParquetConnector {
    root: Folder,
    names: Vec<String>,
    sizes: Vec<u64>,
    modified: Vec<i64>,
    layout: Layout,
    manifest: Option<ManifestRule>,
}

/// Opens the Parquet export of `dataset` below `root`; `None` when no file matches its glob.
///
/// # Errors
/// When the dataset has no export, its glob is not one, or a file cannot be looked at.
pub fn open(root: impl Into<Folder>, dataset: &Dataset) -> Result<Option<Box<dyn Replay>>> {
    let root = root.into();
    let Some(export) = &dataset.export else {
        return Err(Error::config("the dataset has no export").at("dataset", &dataset.code));
    };
    let manifest = export.control.manifest;
    let mut files = root.find(&export.path).map_err(|error| error.at("dataset", &dataset.code))?;
    files.retain(|(name, ..)| manifest.is_none() || Path::new(name).extension().is_none_or(|end| end != "sha256"));
    files.retain(|(name, ..)| export.control.marker.as_ref().is_none_or(|marker| !name.ends_with(marker)));
    if files.is_empty() {
        return Ok(None);
    }
    let (mut names, mut sizes, mut modified) = (Vec::new(), Vec::new(), Vec::new());
    for (name, bytes, written) in files {
        names.push(name);
        sizes.push(bytes);
        modified.push(written);
    }
    let layout = Layout::new(dataset, export);
    Ok(Some(Box::new(ParquetConnector { root, names, sizes, modified, layout, manifest })))
}

fn temporary(what: &str, error: &std::io::Error, file: impl std::fmt::Display) -> Error {
    let hint = crate::files::readable(error.kind());
    Error::new(ErrorKind::Temporary, format!("{what}: {error}")).at("file", file).hint(hint)
}

impl Connector for ParquetConnector {
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
        guarded(name, || Ok(Box::new(reader::Reader::open(&self.root, name, &self.layout, spec)?) as _))
    }

    fn verify_control(&self) -> Result<()> {
        for name in &self.names {
            let check = || {
                match self.manifest {
                    Some(ManifestRule::Sha256) => verify_digest(&self.root, name)?,
                    None => {}
                }
                guarded(name, || reader::verify_footer(&self.root, name))
            };
            check().map_err(|error: Error| error.at("dataset", &self.layout.dataset))?;
        }
        Ok(())
    }

    fn checks_totals_while_reading(&self) -> bool {
        false
    }
}

impl ParquetConnector {
    fn name(&self, partition: usize) -> Result<&String> {
        self.names.get(partition).ok_or_else(|| Error::internal(format!("no partition {partition}")))
    }
}

impl Replay for ParquetConnector {
    /// Each row as an Arrow IPC stream of all columns, as the file types them.
    fn keep(&self, partition: usize, rejects: &[Reject]) -> Result<Vec<Vec<u8>>> {
        let name = self.name(partition)?;
        guarded(name, || reader::keep(&self.root, name, rejects))
    }

    fn replay(&self, partition: usize, spec: &ScanSpec, rows: &[KeptRow]) -> Result<Replayed> {
        let name = self.name(partition)?;
        reader::Reader::open(&self.root, name, &self.layout, spec)?.replay(rows)
    }
}

/// Compares the file with the digest that stands in `<file>.sha256`.
fn verify_digest(root: &Folder, name: &str) -> Result<()> {
    let manifest_name = format!("{name}.sha256");
    let Some(text) = root.text(&manifest_name)? else {
        return Err(Error::control_totals("the export has no `.sha256` file")
            .at("file", &manifest_name)
            .hint("the holder writes it with `sha256sum` next to the export"));
    };
    let base = name.rsplit('/').next().unwrap_or(name);
    let promised = promised_digest(&text, base).ok_or_else(|| {
        Error::control_totals("no line of `sha256sum` for the export")
            .at("file", &manifest_name)
            .hint(crate::control::REWRITE)
    })?;
    if crate::control::digest(root, name)? == promised {
        return Ok(());
    }
    Err(Error::control_totals("the file does not have the digest that its `.sha256` promises: truncated or changed")
        .at("file", name)
        .hint("fetch the export again"))
}

/// The digest for the file called `base` in the text of `sha256sum`; a lone digest without a name counts too.
fn promised_digest(text: &str, base: &str) -> Option<String> {
    let named = |line: &str| {
        let (digest, name) = line.trim_end().split_once(char::is_whitespace).unwrap_or((line.trim_end(), ""));
        let name = name.trim_start().trim_start_matches('*');
        let right_name = name.is_empty() || name.rsplit('/').next() == Some(base);
        let is_digest = digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit());
        (right_name && is_digest).then(|| digest.to_ascii_lowercase())
    };
    text.lines().find_map(named)
}
