//! Exports in, Arrow batches out: one folder a format, all behind [`ieum_model::connector::Connector`].
//!
//! ```text
//!  export file ─► files ──► text ─────────► decoder ────────────────► batches
//!                 gz, zst   rows cut,        key cell ─► probe ─► miss: filtered
//!                 opened    numbered           └► hit: wanted cells ─► encoding ─► convert
//!                             └► control: manifest, trailer, sums          └► reject, complete
//!                 whole runs of plain misses are passed over in bulk (`csv::skim`), counted and summed
//!
//!  export ─► staged ─► a copy sorted by key ─► wanted keys ─► index ─► only the blocks of these keys ─► batches
//! ```
//!
//! | module | knows |
//! |---|---|
//! | [`csv`], [`fixed_width`], [`parquet`], [`xlsx`], [`records`], [`arrow_ipc`] | one format each: `decoder` (bytes, no files), `reader` (files, partitions) |
//! | [`json`], [`xml`], [`avro`], [`nested`] | formats whose rows are trees, and what they share |
//! | `export` | what formats of files have in common: the files of an export, their manifests, how a night reads them |
//! | [`staged`] | copies of exports, sorted by their keys: how they are made, whether they are fresh, how they are read |
//! | `deltas` | a base export and the changes that came after it |
//! | [`drift`] | what the columns of a file are, against what the catalog has written down |
//! | [`discover`] | what a file of a new holder seems to be, as a catalog file |
//! | [`sample`] | the first rows of an export as text |
//! | [`replay`] | rows kept aside that their own format decodes later |
//! | [`files`], [`dated`] | which files an export has, of which date, and how to open them |
//! | [`archive`], [`limits`] | entries of zip and tar files; how much a file may become |
//! | [`folder`], [`store`], [`database`] | where exports are: on this machine, in an object store, in PostgreSQL, MariaDB or behind ODBC |
//! | [`text`] | what text formats share: the window on a file, its rows, the batch loop |
//! | [`columns`] | which column of a file is which item |
//! | [`encoding`], [`utf16`], [`convert`] | a cell's bytes → text → typed column |
//! | [`detect`] | what a file looks like, as a suggestion |
//! | [`control`] | how a file proves that it is complete |
//! | [`floor`] | the least work of any reader, to measure the others by |
//! | `contract`, `contract_of_…` (tests) | the behaviours that every connector passes |

pub mod archive;
pub mod arrow_ipc;
pub mod avro;
pub mod columns;
#[cfg(test)]
pub mod contract;
#[cfg(test)]
mod contract_of_control;
#[cfg(test)]
mod contract_of_texts;
#[cfg(test)]
mod contract_of_typed;
pub mod control;
pub mod convert;
pub mod csv;
pub mod database;
pub mod dated;
mod deltas;
pub mod detect;
pub mod discover;
pub mod drift;
pub mod encoding;
mod export;
pub mod files;
pub mod fixed_width;
pub mod floor;
pub mod folder;
pub mod json;
pub mod limits;
pub mod nested;
pub mod parquet;
pub mod records;
pub mod replay;
pub mod sample;
mod spelling;
pub mod staged;
pub mod store;
pub mod text;
pub mod utf16;
pub mod xlsx;
pub mod xml;

use std::sync::Arc;

use chrono::NaiveDate;
use ieum_model::connector::{Connector, ReadCounts};
use ieum_model::dataset::{Dataset, Export, Format};
use ieum_model::error::{Error, ErrorKind, Result};

pub use crate::folder::{Exports, Folder};
use crate::replay::{KeptRow, Replay};

/// What was found of a dataset's export.
pub enum Found {
    /// No file matches the export's path: the holder has not delivered.
    Missing,
    /// The newest export is older than its dataset's `validity_days` allow on the run's date.
    Stale {
        /// The export's date.
        date: NaiveDate,
        /// Days it is valid.
        validity_days: u32,
    },
    /// The holder has not finished writing: a file has no completion marker. Told as a warning.
    Unfinished(Error),
    /// The columns of a file are not those that the catalog has written down.
    Drifted(Error),
    /// The export, ready to be read.
    Export(Box<dyn Connector>),
}

/// Finds the export of `dataset` in its place and opens the connector of its format. Where the export's path carries
/// a date (`{date}`), the newest one not after `on` is meant; else the headers of a fixed-width export tell its date.
///
/// # Errors
/// When the dataset declares no export, or declares one that cannot be read.
pub fn connect(exports: impl Into<Exports>, dataset: &Dataset, on: NaiveDate) -> Result<Found> {
    Ok(match locate(exports.into().of(dataset)?, dataset, on)? {
        Located::Missing => Found::Missing,
        Located::Stale { date, validity_days } => Found::Stale { date, validity_days },
        Located::Unfinished(error) => Found::Unfinished(error),
        Located::Drifted(error) => Found::Drifted(error),
        Located::Export(export) => Found::Export(export),
    })
}

/// [`Found`], of an export whose rows can be kept aside.
enum Located {
    Missing,
    Stale { date: NaiveDate, validity_days: u32 },
    Unfinished(Error),
    Drifted(Error),
    Export(Box<dyn Replay>),
}

fn locate(root: &Folder, dataset: &Dataset, on: NaiveDate) -> Result<Located> {
    let export = export_of(dataset)?;
    let stale = |date: NaiveDate| {
        let validity_days = dataset.validity_days.filter(|days| (on - date).num_days() > i64::from(*days))?;
        Some(Located::Stale { date, validity_days })
    };
    let is_dated = export.path.contains(dated::DATE);
    let of_path = if is_dated { dated::newest(root, &export.path, on)? } else { None };
    if is_dated && of_path.is_none() {
        return Ok(Located::Missing);
    }
    let (deltas, last) = dated::deltas(root, export, of_path, on)?;
    let date = if is_dated { of_path } else { base_date(root, dataset)? };
    // An export is as fresh as its last change.
    if let Some(stale) = date.map(|date| last.map_or(date, |last| last.max(date))).and_then(stale) {
        return Ok(stale);
    }
    let Some(date) = of_path else {
        let export = Export { deltas, ..export.clone() };
        return open(root, &Dataset { export: Some(export), ..dataset.clone() });
    };
    let export = Export { path: dated::of_date(&export.path, date), deltas, ..export.clone() };
    // What the path says of the date is not asked of the files once more.
    open(root, &Dataset { export: Some(export), validity_days: None, ..dataset.clone() })
}

/// The date that the files of an export themselves tell, where its validity depends on it.
fn base_date(root: &Folder, dataset: &Dataset) -> Result<Option<NaiveDate>> {
    let export = export_of(dataset)?;
    let tells = export.format == Format::FixedWidth && dataset.validity_days.is_some();
    if !tells || files::find(root, &export.path)?.is_empty() {
        return Ok(None);
    }
    fixed_width::base_date(root, dataset)
}

fn open(root: &Folder, dataset: &Dataset) -> Result<Located> {
    let export = export_of(dataset)?;
    let of_query;
    let root = match root {
        Folder::Database(database) => {
            database::check(dataset)?;
            of_query = Folder::Database(database.of(export));
            &of_query
        }
        root => root,
    };
    let names = files::partitions(root, export)?;
    if names.is_empty() {
        return Ok(Located::Missing);
    }
    if let Some(marker) = &export.control.marker
        && let Some(name) = files::unmarked(root, &names, marker)?
    {
        let error = Error::contract("the holder has not finished writing: a file has no completion marker");
        let hint = format!("the holder writes it last, named like the file with `{marker}`");
        return Ok(Located::Unfinished(error.at("export", name).at("marker", marker).hint(hint)));
    }
    let located = in_format(root, dataset, export)?;
    let Located::Export(connector) = located else { return Ok(located) };
    match drift::check(connector.as_ref(), dataset) {
        Ok(()) => Ok(Located::Export(connector)),
        Err(error) if error.kind == ErrorKind::Contract => Ok(Located::Drifted(error)),
        Err(error) => Err(error),
    }
}

/// Decodes rows that were rejected of the file called `name` as the export of `dataset` is read now, all of its columns, and says how
/// many can be read.
///
/// # Errors
/// When the export is not there, has no file of that name, or cannot be read.
pub fn replayed(
    exports: impl Into<Exports>,
    dataset: &Dataset,
    on: NaiveDate,
    name: &str,
    rows: &[KeptRow],
) -> Result<ReadCounts> {
    let gone = || Error::contract("the file is no longer there").at("dataset", &dataset.code).at("export", name);
    let Located::Export(export) = locate(exports.into().of(dataset)?, dataset, on)? else { return Err(gone()) };
    let partition = export.partitions().iter().position(|partition| partition == name).ok_or_else(gone)?;
    let columns = sample::columns(dataset);
    let spec = sample::spec(dataset, &columns, Arc::new(sample::Bin::default()));
    Ok(export.replay(partition, &spec, rows)?.counts)
}

/// The export of `dataset` below `root`; of files of text formats `chunk` bytes are read at a time. No column is compared with
/// the catalog. For those who try out that nothing depends on the chunk.
///
/// # Errors
/// When no file matches, or the export cannot be of its format.
#[doc(hidden)]
pub fn open_in_chunks(root: impl Into<Folder>, dataset: &Dataset, chunk: usize) -> Result<Box<dyn Replay>> {
    use crate::nested::reader::NestedConnector;
    let (root, export) = (root.into(), export_of(dataset)?);
    Ok(match export.format {
        Format::Csv => Box::new(csv::reader::CsvConnector::try_new(root, dataset, chunk)?),
        Format::FixedWidth => Box::new(fixed_width::reader::FixedWidthConnector::try_new(root, dataset, chunk)?),
        Format::Records => Box::new(records::reader::RecordsConnector::try_new(root, dataset, chunk)?),
        Format::JsonLines => Box::new(NestedConnector::<json::Lines>::try_new(root, dataset, chunk)?),
        Format::Json => Box::new(NestedConnector::<json::Document>::try_new(root, dataset, chunk)?),
        Format::Xml => Box::new(NestedConnector::<xml::Elements>::try_new(root, dataset, chunk)?),
        _ => match in_format(&root, dataset, export)? {
            Located::Export(export) => export,
            _ => return Err(nothing_matches(dataset, export)),
        },
    })
}

fn in_format(root: &Folder, dataset: &Dataset, export: &Export) -> Result<Located> {
    match export.format {
        Format::Csv if export.deltas.is_some() => deltas::open::<csv::reader::Csv>(root, dataset).map(Located::Export),
        Format::FixedWidth if export.deltas.is_some() => {
            deltas::open::<fixed_width::reader::FixedWidth>(root, dataset).map(Located::Export)
        }
        Format::Csv => csv::open(root, dataset).map(Located::Export),
        Format::FixedWidth => fixed_width::open(root, dataset).map(Located::Export),
        Format::JsonLines => json::open_lines(root, dataset).map(Located::Export),
        Format::Json => json::open_document(root, dataset).map(Located::Export),
        Format::Xml => xml::open(root, dataset).map(Located::Export),
        Format::Parquet => parquet::open(root, dataset).map(Located::Export),
        Format::Arrow => arrow_ipc::open(root, dataset).map(Located::Export),
        Format::Avro => avro::open(root, dataset).map(Located::Export),
        Format::Records => records::open(root, dataset).map(Located::Export),
        Format::Xlsx => xlsx::open(root, dataset).map(Located::Export),
    }
}

fn export_of(dataset: &Dataset) -> Result<&Export> {
    dataset.export.as_ref().ok_or_else(|| Error::config("dataset has no export").at("dataset", &dataset.code))
}

fn nothing_matches(dataset: &Dataset, export: &Export) -> Error {
    Error::contract("no export file matches").at("dataset", &dataset.code).at("path", &export.path)
}
