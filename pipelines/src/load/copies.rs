//! Staged copies of exports: making them, and using those that are fresh.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::NaiveDate;
use ieum_connectors::staged::{self, Made, Making, Standing, Use};
use ieum_core::reach::identifier_kind;
use ieum_model::catalog::Catalog;
use ieum_model::dataset::Dataset;
use ieum_model::error::{Error, ErrorKind, Result, nearest};
use ieum_privacy::normalize;
use rayon::prelude::*;

use super::{catalog_sources, in_pool, parse_catalog};
use crate::definition::Definition;
use crate::places;

/// Least memory that a copy is made with; below it a run on disk would hold a few rows.
const LEAST_MEMORY: u64 = 16 << 20;

/// Copies that turned out damaged while they were read, in words.
#[derive(Clone, Default)]
pub struct Damages(Arc<Mutex<Vec<String>>>);

impl Damages {
    /// Those of the night so far, in name order.
    pub fn told(&self) -> Vec<String> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        told.sort();
        told.dedup();
        told
    }

    /// How the night uses the copies in `folder`.
    pub(super) fn using(&self, folder: &Path, check_all: bool) -> Use {
        let damages = Arc::clone(&self.0);
        let damaged = move |text| damages.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        Use { folder: folder.to_owned(), check_all, damaged: Arc::new(damaged) }
    }
}

/// What an operator should know of the copies of a night.
pub(super) fn warnings<'a>(standings: impl Iterator<Item = (&'a str, &'a Standing)>) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut without = 0;
    for (code, standing) in standings {
        match standing {
            Standing::Fresh => {}
            Standing::None => without += 1,
            Standing::Unusable(why) => warnings.push(format!(
                "the staged copy of `{code}` is not used, its export is read: {why}\n  \
                 hint: `ieum stage` makes it anew"
            )),
        }
    }
    if without > 0 {
        warnings.push(format!("{without} exports have no staged copy and are read: `ieum stage` makes one"));
    }
    warnings
}

/// Makes the copies of the named datasets, or of all that have an export; those that are fresh are left alone. The datasets
/// are in code order, and each with what became of it: an export that breaks its promises is an error of its own.
///
/// # Errors
/// [`ErrorKind::Config`] for a definition, catalog or name that is wrong, [`ErrorKind::Locked`] while copies are being made,
/// [`ErrorKind::Temporary`] when one cannot be written.
///
/// # Privacy
/// Reads every row of the exports; copies are readable by their owner only.
pub fn stage(definition: &Definition, as_of: NaiveDate, names: &[String]) -> Result<Vec<(String, Result<Made>)>> {
    let Some(folder) = &definition.staged else {
        return Err(Error::config("the run definition does not say where staged copies stand")
            .hint("write `staged = \"staged\"` into its `[run]`"));
    };
    let sources = catalog_sources(&definition.catalog)?;
    let catalog = parse_catalog(&sources).map_err(|error| error.at("catalog", definition.catalog.display()))?;
    let datasets = chosen(&catalog, names)?;
    let _lock = lock(folder)?;
    let threads = definition.settings().threads;
    let making = Making {
        exports: &places::exports(definition, &catalog)?,
        copies: folder,
        on: as_of,
        memory: (definition.memory / threads as u64).max(LEAST_MEMORY),
        canonical: &|space, raw, out| normalize::spell(identifier_kind(space), raw, out),
    };
    let one = |dataset: &Dataset| match staged::make(dataset, &making) {
        Ok(made) => Ok((dataset.code.clone(), Ok(made))),
        Err(error) if matches!(error.kind, ErrorKind::Contract | ErrorKind::ControlTotals) => {
            Ok((dataset.code.clone(), Err(error)))
        }
        Err(error) => Err(error.at("dataset", &dataset.code)),
    };
    in_pool(threads, || datasets.into_par_iter().with_max_len(1).map(one).collect())?
}

fn chosen<'a>(catalog: &'a Catalog, names: &[String]) -> Result<Vec<&'a Dataset>> {
    if names.is_empty() {
        return Ok(catalog.datasets.values().filter(|dataset| dataset.export.is_some()).collect());
    }
    let named = |name: &String| match catalog.datasets.get(name) {
        Some(dataset) if dataset.export.is_some() => Ok(dataset),
        Some(_) => Err(Error::config(format!("the catalog does not say how the holder of `{name}` writes it"))),
        None => {
            let error = Error::config(format!("the catalog has no dataset `{name}`"));
            Err(match nearest(name, catalog.datasets.keys().map(String::as_str)) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error,
            })
        }
    };
    let mut datasets = names.iter().map(named).collect::<Result<Vec<_>>>()?;
    datasets.sort_by(|a, b| a.code.cmp(&b.code));
    datasets.dedup_by(|a, b| a.code == b.code);
    Ok(datasets)
}

/// Takes the folder of the copies for this run alone.
fn lock(folder: &Path) -> Result<File> {
    let unwritten = |error: std::io::Error| {
        Error::new(ErrorKind::Temporary, format!("the folder of staged copies cannot be written: {error}"))
            .at("folder", folder.display())
    };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unwritten)?;
    let path: PathBuf = folder.join(".lock");
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(unwritten)?;
    file.try_lock().map_err(|_| {
        Error::new(ErrorKind::Locked, "another `ieum stage` writes to this folder")
            .at("lock", path.display())
            .hint("wait for it to end")
    })?;
    Ok(file)
}
