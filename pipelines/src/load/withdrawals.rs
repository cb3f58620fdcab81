//! The files of withdrawals: read before the requests that they decide, and again before a night commits, with those of
//! consent records.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::NaiveDate;
use ieum_core::night::{Reread, WithdrawalFiles};
use ieum_core::sink;
use ieum_model::catalog::Catalog;
use ieum_model::error::{Error, Result, nearest};
use ieum_model::request::{WITHDRAWAL_FIELDS, Withdrawal};

use super::consents;
use super::files::{Files, Strict};
use super::{digest, relative};
use crate::definition::Definition;

/// Where the files stand that an unfinished run began with, if one can go on: withdrawals, then consent records.
pub fn begun_with(definition: &Definition, as_of: NaiveDate) -> Option<Vec<PathBuf>> {
    let paths = definition.withdrawals.iter().chain(&definition.consents);
    let names: Vec<String> = paths.map(|path| relative(path, &definition.folder)).collect();
    sink::withdrawals_of_unfinished(&definition.out.join(as_of.to_string()), &names)
}

/// Every withdrawal: of the files that the definition names, or as they stand in `begun_with`.
///
/// # Errors
/// If a file or one of its rows cannot be read.
pub fn read(files: &Files<'_>, definition: &Definition, begun_with: Option<&[PathBuf]>) -> Result<Strict<Withdrawal>> {
    let now = &definition.withdrawals;
    files.read_copies(now, begun_with.unwrap_or(now), WITHDRAWAL_FIELDS, Withdrawal::from_places)
}

/// Whether every withdrawal of a document names one that there is: a slip would deliver what its subject took back.
///
/// # Errors
/// [`ErrorKind::Config`](ieum_model::error::ErrorKind::Config) for the first that does not.
pub fn name_datasets(withdrawals: &Strict<Withdrawal>, catalog: &Catalog) -> Result<()> {
    for (place, withdrawal) in withdrawals.rows.iter().enumerate() {
        let Some(unknown) = withdrawal.dataset.as_deref().filter(|code| !catalog.datasets.contains_key(*code)) else {
            continue;
        };
        let error = Error::config("a withdrawal names a dataset that the catalog lacks")
            .at("file", withdrawals.file_of(place))
            .at("line", withdrawal.line);
        return Err(error.hint(match nearest(unknown, catalog.datasets.keys().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "correct the row; one that is passed over would deliver what its subject took back".to_owned(),
        }));
    }
    Ok(())
}

/// The files, to be read again before the night commits; `None` where there are none.
pub fn to_read_again(
    definition: &Definition,
    begun_with: Vec<(String, Vec<u8>)>,
    catalog: &Arc<Catalog>,
) -> Option<Box<dyn WithdrawalFiles>> {
    let read_again = ReadAgain {
        folder: definition.folder.clone(),
        withdrawals: definition.withdrawals.clone(),
        consents: definition.consents.clone(),
        begun_with,
        catalog: Arc::clone(catalog),
    };
    let has_files = !read_again.withdrawals.is_empty() || !read_again.consents.is_empty();
    has_files.then(|| Box::new(read_again) as Box<dyn WithdrawalFiles>)
}

struct ReadAgain {
    folder: PathBuf,
    withdrawals: Vec<PathBuf>,
    consents: Vec<PathBuf>,
    begun_with: Vec<(String, Vec<u8>)>,
    catalog: Arc<Catalog>,
}

impl WithdrawalFiles for ReadAgain {
    fn begun_with(&self) -> &[(String, Vec<u8>)] {
        &self.begun_with
    }

    fn read_again(&self, known: &str) -> Result<Option<Reread>> {
        let folder: &Path = &self.folder;
        let now = Files::below(folder).read_strictly(&self.withdrawals, WITHDRAWAL_FIELDS, Withdrawal::from_places)?;
        let consents = consents::files(folder, &self.consents, None)?;
        let files = now.files.iter().chain(&consents);
        let digest = digest(files.map(|(name, bytes)| (name.as_str(), bytes.as_slice())));
        if digest == known {
            return Ok(None);
        }
        name_datasets(&now, &self.catalog)?;
        let consents = (!consents.is_empty()).then(|| consents::read(consents, &self.catalog)).transpose()?;
        Ok(Some(Reread { digest, withdrawals: now.rows, consents: consents.map(|consents| consents.records) }))
    }

    fn digest(&self) -> String {
        digest(self.begun_with.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())))
    }
}
