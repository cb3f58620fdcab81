//! Parquet exports: the key column is read and probed first, then only the selected rows of the others are decoded.
//!
//! ```text
//!  key column ─► probe ─► selected rows ─► other columns ─► cast to the items' types ─► batch
//!                  └─ filtered                                └─ rejected (rule `type`)
//! ```

pub(crate) mod cast;
mod damage;
mod reader;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use ieum_model::connector::{BatchReader, Connector, FileColumn, Reject, ScanSpec};
use ieum_model::dataset::{Dataset, Export, ItemType, ManifestRule};
use ieum_model::error::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};

use crate::files::modified_nanoseconds;
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
    root: PathBuf,
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
pub fn open(root: &Path, dataset: &Dataset) -> Result<Option<Box<dyn Replay>>> {
    let Some(export) = &dataset.export else {
        return Err(Error::config("the dataset has no export").at("dataset", &dataset.code));
    };
    let manifest = export.control.manifest;
    let pattern = format!("{}/{}", glob::Pattern::escape(&root.to_string_lossy()), export.path);
    let found = glob::glob(&pattern).map_err(|e| {
        Error::config(format!("the export's path is no glob: {e}"))
            .at("dataset", &dataset.code)
            .at("path", &export.path)
    })?;
    let mut files = Vec::new();
    for path in found {
        let path = path.map_err(|e| temporary("cannot look for the export", e.error(), &export.path))?;
        if manifest.is_some() && path.extension().is_some_and(|extension| extension == "sha256") {
            continue;
        }
        if export.control.marker.as_ref().is_some_and(|marker| path.to_string_lossy().ends_with(marker)) {
            continue;
        }
        let about = path.metadata().map_err(|e| temporary("cannot look at the file", &e, path.display()))?;
        if about.is_file() {
            files.push((relative(root, &path)?, (about.len(), modified_nanoseconds(&about))));
        }
    }
    if files.is_empty() {
        return Ok(None);
    }
    files.sort();
    let (names, found): (_, Vec<_>) = files.into_iter().unzip();
    let (sizes, modified) = found.into_iter().unzip();
    let layout = Layout::new(dataset, export);
    Ok(Some(Box::new(ParquetConnector { root: root.to_path_buf(), names, sizes, modified, layout, manifest })))
}

fn relative(root: &Path, path: &Path) -> Result<String> {
    let outside = || Error::config("the export lies outside the exports folder").at("file", path.display());
    let below = path.strip_prefix(root).map_err(|_| outside())?;
    let parts: Option<Vec<&str>> = below.components().map(|part| part.as_os_str().to_str()).collect();
    Ok(parts.ok_or_else(|| Error::contract("the file's name is not UTF-8").at("file", path.display()))?.join("/"))
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
        guarded(name, || reader::columns(&self.root.join(name), name)).map(Some)
    }

    fn open(&self, partition: usize, spec: &ScanSpec) -> Result<Box<dyn BatchReader>> {
        let name = self.name(partition)?;
        guarded(name, || Ok(Box::new(reader::Reader::open(&self.root.join(name), name, &self.layout, spec)?) as _))
    }

    fn verify_control(&self) -> Result<()> {
        for name in &self.names {
            let path = self.root.join(name);
            let check = || {
                match self.manifest {
                    Some(ManifestRule::Sha256) => verify_digest(&path, name)?,
                    None => {}
                }
                guarded(name, || reader::verify_footer(&path, name))
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
        guarded(name, || reader::keep(&self.root.join(name), name, rejects))
    }

    fn replay(&self, partition: usize, spec: &ScanSpec, rows: &[KeptRow]) -> Result<Replayed> {
        let name = self.name(partition)?;
        reader::Reader::open(&self.root.join(name), name, &self.layout, spec)?.replay(rows)
    }
}

/// Compares the file with the digest that stands in `<file>.sha256`.
fn verify_digest(path: &Path, name: &str) -> Result<()> {
    let manifest_name = format!("{name}.sha256");
    let mut manifest_path = path.as_os_str().to_owned();
    manifest_path.push(".sha256");
    let text = match std::fs::read_to_string(&manifest_path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::control_totals("the export has no `.sha256` file")
                .at("file", &manifest_name)
                .hint("the holder writes it with `sha256sum` next to the export"));
        }
        Err(e) => return Err(temporary("cannot read the digest", &e, &manifest_name)),
    };
    let base = name.rsplit('/').next().unwrap_or(name);
    let promised = promised_digest(&text, base).ok_or_else(|| {
        Error::control_totals("no line of `sha256sum` for the export")
            .at("file", &manifest_name)
            .hint(crate::control::REWRITE)
    })?;
    if sha256(path).map_err(|e| temporary("cannot read the file", &e, name))? == promised {
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

fn sha256(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
    }
    Ok(hasher.finalize().iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    }))
}
