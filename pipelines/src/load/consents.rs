//! The files of consent records, and what an operator should know about them.

use std::path::{Path, PathBuf};

use ieum_model::catalog::Catalog;
use ieum_model::check::CheckedNight;
use ieum_model::consent::Consents;
use ieum_model::error::{Error, Result};
use ieum_model::outcome::Reason;

use super::{bytes, relative};

/// Records told one by one; the rest is only counted.
const TOLD: usize = 5;

/// The records, and the files that they stand in.
pub struct Loaded {
    /// The records.
    pub records: Consents,
    /// Name and bytes of each file.
    pub files: Vec<(String, Vec<u8>)>,
}

/// The files of consent records below `folder`, or their copies in `copies`, which stand in the order of the files.
///
/// # Errors
/// [`ErrorKind::Config`](ieum_model::error::ErrorKind::Config) if a file is missing.
pub fn files(folder: &Path, paths: &[PathBuf], copies: Option<&[PathBuf]>) -> Result<Vec<(String, Vec<u8>)>> {
    let file = |(path, copy): (&PathBuf, &PathBuf)| Ok((relative(path, folder), bytes(copy)?));
    paths.iter().zip(copies.unwrap_or(paths)).map(file).collect()
}

/// The records of these files.
///
/// # Errors
/// [`ErrorKind::Config`](ieum_model::error::ErrorKind::Config) if a file is no JSON. A record that cannot be used is told, and
/// the requests that name it are refused.
pub fn read(files: Vec<(String, Vec<u8>)>, catalog: &Catalog) -> Result<Loaded> {
    let mut records = Consents::default();
    for (file, bytes) in &files {
        let wrong = |what: String| {
            Error::config(format!("a file of consent records cannot be read: {what}"))
                .at("file", file)
                .hint("it is JSON-LD in UTF-8: a record, a list of records, a `@graph`, or a record a line")
        };
        let text = std::str::from_utf8(bytes).map_err(|_| wrong("not UTF-8".to_owned()))?;
        records.add(catalog, file, text).map_err(wrong)?;
    }
    Ok(Loaded { records, files })
}

impl Loaded {
    /// Records that cannot be used, data that they name in vain, and requests without a record.
    pub fn warnings(&self, checked: &CheckedNight) -> Vec<String> {
        let Consents { unusable, unknown_data, .. } = &self.records;
        let mut warnings: Vec<String> =
            unusable.iter().take(TOLD).map(|record| format!("consent record not used: {record}")).collect();
        if let Some(more) = unusable.len().checked_sub(TOLD + 1) {
            warnings.push(format!("{} more consent records are not used", more + 1));
        }
        if let Some((count, first)) = unknown_data {
            let hint = "name documents, items and levels by their codes: `agency:DATASET`, `agency:DATASET/ITEM`, `level:CODE`";
            warnings
                .push(format!("consent records: {count} names of personal data; the first is {first}\n  hint: {hint}"));
        }
        let without = |request: &&ieum_model::check::CheckedRequest| {
            request.refusal.is_some_and(|(_, reason)| reason == Some(Reason::ConsentUnknown))
        };
        let mut refused = checked.requests.iter().filter(without);
        if let Some(first) = refused.next() {
            let (count, id) = (refused.count() + 1, &first.request_id);
            warnings.push(format!(
                "requests name a consent record that is not there or cannot be used: they are refused (E_CONSENT_UNKNOWN)\n  \
                 requests: {count}, the first is `{id}`\n  hint: add its file to `consents` in the run definition"
            ));
        }
        warnings
    }
}
