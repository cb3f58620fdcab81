//! What the columns of a file are now, against what the catalog has written down of them.
//!
//! `contract = ["rrno", "성명", "amount: int64"]` in `[export]` names the columns of the file in their order, with their types where
//! the file itself has types. `ieum source check` prints it; putting it into the catalog is how a drift is approved.

use std::collections::BTreeSet;
use std::fmt;

use ieum_model::connector::{Connector, FileColumn};
use ieum_model::dataset::Dataset;
use ieum_model::error::{Error, Result, nearest};

/// Columns above which a difference of order is told as one.
const TOLD: usize = 20;

/// A difference between what was written down and what stands in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drift {
    /// A column is gone.
    Missing(String),
    /// A column is new.
    Added(String),
    /// A column is gone, and one of a similar name is new.
    Renamed {
        /// Its name before.
        from: String,
        /// Its name now.
        to: String,
    },
    /// A column has another type.
    Retyped {
        /// Its name.
        column: String,
        /// Its type before.
        from: String,
        /// Its type now; none where the file no longer tells.
        to: String,
    },
    /// The same columns stand in another order, from this place (from 1) on.
    Reordered(usize),
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(column) => write!(f, "`{column}` is missing"),
            Self::Added(column) => write!(f, "`{column}` is new"),
            Self::Renamed { from, to } => write!(f, "`{from}` is missing and `{to}` is new: it seems to be renamed"),
            Self::Retyped { column, from, to } => write!(f, "`{column}` is of type {to}, it was of type {from}"),
            Self::Reordered(place) => write!(f, "the columns stand in another order from column {place} on"),
        }
    }
}

/// A column as `contract` writes it down: its name, and its type after a colon and a blank.
pub fn written(column: &FileColumn) -> String {
    match &column.kind {
        Some(kind) => format!("{}: {kind}", column.name),
        None => column.name.clone(),
    }
}

/// The differences between `contract` and the columns of a file, in the order of the contract, new columns after it.
pub fn drift(contract: &[String], found: &[FileColumn]) -> Vec<Drift> {
    let known: Vec<(&str, Option<&str>)> = contract.iter().map(|column| parted(column, found)).collect();
    let names: BTreeSet<&str> = found.iter().map(|column| column.name.as_str()).collect();
    let before: BTreeSet<&str> = known.iter().map(|(name, _)| *name).collect();
    let mut new: Vec<&str> =
        found.iter().map(|column| column.name.as_str()).filter(|name| !before.contains(name)).collect();
    let mut drifts = Vec::new();
    for (name, kind) in &known {
        match found.iter().find(|column| column.name == *name) {
            Some(column) => {
                let to = column.kind.as_deref();
                if kind.is_some() && *kind != to {
                    let (from, to) = (kind.unwrap_or_default().to_owned(), to.unwrap_or("none").to_owned());
                    drifts.push(Drift::Retyped { column: (*name).to_owned(), from, to });
                }
            }
            None => match nearest(name, new.iter().copied()) {
                Some(to) => {
                    drifts.push(Drift::Renamed { from: (*name).to_owned(), to: to.to_owned() });
                    new.retain(|name| *name != to);
                }
                None => drifts.push(Drift::Missing((*name).to_owned())),
            },
        }
    }
    drifts.extend(new.into_iter().map(|name| Drift::Added(name.to_owned())));
    let mut kept = known.iter().map(|(name, _)| *name).filter(|name| names.contains(name));
    let mut shared = found.iter().enumerate().filter(|(_, column)| before.contains(column.name.as_str()));
    let moved = shared.find(|(_, column)| kept.next() != Some(column.name.as_str()));
    drifts.extend(moved.map(|(place, _)| Drift::Reordered(place + 1)));
    drifts
}

/// Name and type of a written column; a name may itself hold a colon.
fn parted<'c>(column: &'c str, found: &[FileColumn]) -> (&'c str, Option<&'c str>) {
    match column.rsplit_once(": ") {
        Some((name, kind)) if !found.iter().any(|found| found.name == column) => (name, Some(kind)),
        _ => (column, None),
    }
}

/// Compares every file of an export with what the catalog has written down of its columns; nothing where it has nothing.
///
/// # Errors
/// [`ieum_model::error::ErrorKind::Contract`] with every difference of the first file that has one; as
/// [`Connector::columns`].
pub(crate) fn check(connector: &dyn Connector, dataset: &Dataset) -> Result<()> {
    let contract = dataset.export.as_ref().map_or(&[][..], |export| &export.contract);
    if contract.is_empty() {
        return Ok(());
    }
    for (partition, name) in connector.partitions().iter().enumerate() {
        let Some(found) = connector.columns(partition)? else { continue };
        let drifts = drift(contract, &found);
        if drifts.is_empty() {
            continue;
        }
        let error = Error::contract("the columns of the export are not those that the catalog has written down");
        let error = error.at("dataset", &dataset.code).at("export", name);
        let error = drifts.iter().take(TOLD).fold(error, |error, drift| error.at("column", drift));
        return Err(error.hint(format!(
            "if the holder has said so, put what `ieum source check NIGHT {}` prints into the export's section of the catalog",
            dataset.code
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(contract: &str, found: &str, expected: &[&str]) {
        let contract: Vec<String> = contract.split(',').map(str::to_owned).collect();
        let column = |text: &str| match text.split_once(':') {
            Some((name, kind)) => FileColumn { name: name.to_owned(), kind: Some(kind.trim().to_owned()) },
            None => FileColumn { name: text.to_owned(), kind: None },
        };
        let found: Vec<FileColumn> = found.split(',').map(column).collect();
        let told: Vec<String> = drift(&contract, &found).iter().map(Drift::to_string).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn every_kind_of_drift_is_told() {
        check("a,b,c", "a,b,c", &[]);
        check("rrno,name", "rrno", &["`name` is missing"]);
        check("rrno", "rrno,나이", &["`나이` is new"]);
        check(
            "rrno,open_date",
            "rrno,opn_date",
            &["`open_date` is missing and `opn_date` is new: it seems to be renamed"],
        );
        check("a: int64,b: utf8", "a: utf8,b: utf8", &["`a` is of type utf8, it was of type int64"]);
        check("a: int64", "a", &["`a` is of type none, it was of type int64"]);
        check("a,b,c", "a,c,b", &["the columns stand in another order from column 2 on"]);
        check("a,b", "x,a,b", &["`x` is new"]);
        check("성명,주소,연락처", "주소,나이", &["`성명` is missing", "`연락처` is missing", "`나이` is new"]);
    }
}
