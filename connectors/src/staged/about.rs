//! What stands in `copy.json`: of which export the copy was made, under which contract, and what it holds. It is written
//! last: a copy without it is none.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use ieum_model::connector::Connector;
use ieum_model::dataset::Dataset;
use ieum_model::error::Result;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Unusable;
use super::blocks::Root;
use crate::archive;
use crate::control;
use crate::folder::Folder;

/// Format of a copy. What decides which key a row is found by is part of it: another version of the program makes anew.
const FORMAT: &str = concat!("ieum-staged/2 ", env!("CARGO_PKG_VERSION"));
/// Name of the description in the folder of a copy.
pub(super) const ABOUT: &str = "copy.json";
/// Up to this size a file is told apart by its digest too: many files of a night are small, and hashing them costs less than
/// opening them.
const DIGEST_UP_TO: u64 = 64 * 1024;

/// A file of an export, as it stood when the copy was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExportFile {
    /// Name below the exports folder.
    pub(super) name: String,
    pub(super) bytes: u64,
    /// Nanoseconds since 1970 of its last change, as text: JSON numbers are not that long.
    pub(super) modified: String,
    /// SHA-256 of a small file.
    pub(super) sha256: Option<String>,
}

/// A file of the copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CopyFile {
    /// Name in the folder of the copy.
    pub(super) name: String,
    pub(super) bytes: u64,
    /// `None` where it has no rows.
    pub(super) root: Option<Root>,
}

/// The rows of the export, sorted by one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyFile {
    /// Key column.
    pub(super) column: String,
    /// Its key space.
    pub(super) space: String,
    pub(super) file: CopyFile,
}

/// The description of a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct About {
    pub(super) staged: String,
    pub(super) dataset: String,
    /// SHA-256 of the part of the catalog that decides how the export is read.
    pub(super) contract: String,
    pub(super) exports: Vec<ExportFile>,
    /// Data rows of the export.
    pub(super) rows: u64,
    /// Those of them that are kept as they stand in the export.
    pub(super) kept_aside: u64,
    /// Columns that the copy holds.
    pub(super) columns: Vec<String>,
    pub(super) keys: Vec<KeyFile>,
    /// Rows that are rejected whoever is asked for; `None` where there are none.
    pub(super) rejects: Option<CopyFile>,
    /// SHA-256 of this description with this field empty.
    pub(super) digest: String,
}

/// What a copy of `dataset`'s export would be made of.
pub(super) fn now(root: &Folder, dataset: &Dataset, export: &dyn Connector) -> Result<About> {
    let mut exports = Vec::new();
    let manifest = dataset.export.as_ref().is_some_and(|export| export.control.manifest.is_some());
    for name in export.partitions() {
        exports.push(export_file(root, name)?);
        let beside = format!("{}.sha256", archive::split(name).0);
        if manifest && root.is_there(&beside)? {
            exports.push(export_file(root, &beside)?);
        }
    }
    Ok(About {
        staged: FORMAT.to_owned(),
        dataset: dataset.code.clone(),
        contract: contract(dataset),
        exports,
        rows: 0,
        kept_aside: 0,
        columns: Vec::new(),
        keys: Vec::new(),
        rejects: None,
        digest: String::new(),
    })
}

fn export_file(root: &Folder, name: &str) -> Result<ExportFile> {
    let (bytes, modified) = root.about(name)?;
    let sha256 = (bytes <= DIGEST_UP_TO).then(|| control::digest(root, name)).transpose()?;
    Ok(ExportFile { name: name.to_owned(), bytes, modified: modified.max(0).to_string(), sha256 })
}

fn contract(dataset: &Dataset) -> String {
    let Dataset { code, key, other_keys, maps, items, export, .. } = dataset;
    let mut sum = Sha256::new();
    let mut add = |text: String| {
        sum.update((text.len() as u64).to_be_bytes());
        sum.update(text);
    };
    add(format!("{code} {key:?} {other_keys:?} {maps:?} {export:?}"));
    for (code, item) in items {
        add(format!("{code} {:?} {:?} {}", item.item_type, item.std, item.list));
    }
    control::hex(sum)
}

impl About {
    /// Reads the description of the copy in `folder`; `None` where there is no copy.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, Unusable> {
        let text = match fs::read(folder.join(ABOUT)) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let about = serde_json::from_slice(&text).ok().filter(|about: &Self| about.digest == about.digest_now());
        let unread = || Unusable::new("its description is of another version, or damaged".to_owned());
        about.map(Some).ok_or_else(unread)
    }

    /// The description's text, with its digest.
    pub(super) fn text(&self) -> String {
        let complete = Self { digest: self.digest_now(), ..self.clone() };
        // A struct of texts and numbers always has a JSON text.
        let mut text = serde_json::to_string_pretty(&complete).unwrap_or_default();
        text.push('\n');
        text
    }

    fn digest_now(&self) -> String {
        let undigested = Self { digest: String::new(), ..self.clone() };
        let mut sum = Sha256::new();
        sum.update(serde_json::to_vec(&undigested).unwrap_or_default());
        control::hex(sum)
    }

    /// A short name for what the copy is made of; part of its files' names.
    pub(super) fn id(&self) -> String {
        let mut text = format!("{} {}", self.staged, self.contract);
        for file in &self.exports {
            // Writing to a string cannot fail.
            let _ = write!(text, " {file:?}");
        }
        let mut sum = Sha256::new();
        sum.update(text);
        control::hex(sum)[..12].to_owned()
    }

    /// Why this copy is none of what there is `now`; `None` where it is.
    pub(super) fn stale(&self, now: &Self) -> Option<String> {
        if self.staged != now.staged {
            return Some("it is of another version".to_owned());
        }
        if self.dataset != now.dataset || self.contract != now.contract {
            return Some("the dataset's contract in the catalog has changed".to_owned());
        }
        if self.exports == now.exports {
            return None;
        }
        let changed = now.exports.iter().find(|file| !self.exports.contains(file));
        let gone = || self.exports.iter().find(|file| !now.exports.contains(file));
        let file = changed.or_else(gone).map_or("its list of files", |file| file.name.as_str());
        Some(format!("the export has changed: `{file}`"))
    }

    /// Every file of the copy.
    pub(super) fn files(&self) -> impl Iterator<Item = &CopyFile> {
        self.keys.iter().map(|key| &key.file).chain(&self.rejects)
    }
}
