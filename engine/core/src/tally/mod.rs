//! tally: what a committed output says of its run, counted, for those who tell it: no value of a row, no request, and no
//! word of a request that the catalog lacks.
//!
//! ```text
//!  manifest.json ──────────► what ran, rows by dataset ─┐
//!  outcomes.parquet ───────► answers ───────────────────┤
//!  carried_over.parquet ───► open lines ────────────────┼─► Tally
//!  statistics.csv ─────────► lines and records ─────────┤
//!  rejects/*.ndjson ───────► by dataset and rule ───────┤
//!  lineage.ndjson ─────────► names, delays, deliveries ─┘
//! ```

mod answers;
mod told;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use ieum_model::error::{Error, Result};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Deserialize;

use crate::lineage::{LINEAGE, dataset_of};
use crate::manifest::{Manifest, SourceCounts};
use crate::records::{CARRIED_OVER, MALFORMED, OUTCOMES, ROWS, STATISTICS};
use crate::verify::{broken, digest, read_manifest};

pub use answers::{Answer, Answered};
pub use told::{Delivery, Names, OwnName};

/// What stands for a code that the catalog lacks: it is a word of a request, not to be repeated.
pub const UNKNOWN: &str = "?";

/// A rejected row's dataset, rule, and column.
pub type Rule = (String, String, Option<String>);

/// Everything that is told of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Tally {
    /// The manifest, its digest tried.
    pub manifest: Manifest,
    /// What codes are called.
    pub names: Names,
    /// Answers by recipient, service, dataset, outcome and reason.
    pub answers: BTreeMap<Answer, Answered>,
    /// Rows by dataset, of all its readings.
    pub rows: BTreeMap<String, SourceCounts>,
    /// Datasets of which nothing was used, and why.
    pub late: BTreeMap<String, String>,
    /// What went to whom.
    pub deliveries: Vec<Delivery>,
    /// Rejected rows by dataset, rule and column, as often as a reading met them.
    pub rejects: BTreeMap<Rule, u64>,
    /// Malformed requests by field.
    pub malformed: BTreeMap<String, u64>,
    /// Lines that the next run asks again.
    pub carried_over: u64,
    /// Lines with records, and records, in the statistics.
    pub published: (u64, u64),
    /// The run's UUID in the lineage.
    pub lineage_id: String,
}

impl Tally {
    /// Counts the output in `folder`. The files that it reads are held against their digests; the bundles are not.
    ///
    /// # Errors
    /// [`ieum_model::error::ErrorKind::Integrity`] for a file that is missing or differs from the manifest,
    /// [`ieum_model::error::ErrorKind::Config`] for an output without a lineage.
    pub fn of(folder: &Path) -> Result<Self> {
        let manifest = read_manifest(folder)?;
        let output = Files { folder, manifest: &manifest };
        let Some(lineage) = output.find(LINEAGE)? else {
            return Err(Error::config("the output has no lineage: an earlier version made it")
                .at("path", folder.display())
                .hint("run the night again, to another --out"));
        };
        let run = told::run(&lineage)?;
        let known = |names: &BTreeMap<String, OwnName>, code: &str| names.contains_key(code);
        let mut rows = BTreeMap::<String, SourceCounts>::new();
        for (reading, counts) in &manifest.sources {
            let code = dataset_of(reading, |code| known(&run.names.datasets, code).then_some(code));
            add(rows.entry(code.unwrap_or(UNKNOWN).to_owned()).or_default(), counts);
        }
        let (answers, others) = rayon::join(
            || answers::read(&output.get(OUTCOMES)?, &run.names),
            || -> Result<_> {
                Ok((
                    output.find(ROWS)?.map_or(Ok(BTreeMap::new()), |path| rejects(&path, &run.names))?,
                    output.find(MALFORMED)?.map_or(Ok(BTreeMap::new()), |path| malformed(&path))?,
                    parquet_rows(&output.get(CARRIED_OVER)?)?,
                    published(&output.get(STATISTICS)?)?,
                ))
            },
        );
        let (rejects, malformed, carried_over, published) = others?;
        Ok(Self {
            answers: answers?,
            rows,
            rejects,
            malformed,
            carried_over,
            published,
            names: run.names,
            late: run.late,
            deliveries: run.deliveries,
            lineage_id: run.id,
            manifest,
        })
    }
}

/// The files of an output.
struct Files<'a> {
    folder: &'a Path,
    manifest: &'a Manifest,
}

impl Files<'_> {
    /// A file that every run writes, once its digest agrees.
    fn get(&self, name: &str) -> Result<PathBuf> {
        self.find(name)?.ok_or_else(|| broken("file is not in the manifest", &self.folder.join(name)))
    }

    /// A file that a run may have written, once its digest agrees.
    fn find(&self, name: &str) -> Result<Option<PathBuf>> {
        let Some(listed) = self.manifest.files.iter().find(|file| file.path == name) else { return Ok(None) };
        let path = self.folder.join(name);
        match digest(&path) {
            Ok(digested) if digested == (listed.bytes, listed.sha256.clone()) => Ok(Some(path)),
            Ok(_) => Err(broken("file differs from the manifest", &path)),
            Err(error) => Err(broken(format!("file cannot be read: {error}"), &path)),
        }
    }
}

fn add(sum: &mut SourceCounts, counts: &SourceCounts) {
    sum.read += counts.read;
    sum.kept += counts.kept;
    sum.filtered += counts.filtered;
    sum.rejected += counts.rejected;
    sum.bytes += counts.bytes;
    sum.staged += counts.staged;
}

fn unreadable(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
    move |error| broken(format!("file cannot be read: {error}"), path)
}

fn parquet(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = File::open(path).map_err(unreadable(path))?;
    ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| unreadable(path)(error.into()))
}

fn parquet_rows(path: &Path) -> Result<u64> {
    Ok(u64::try_from(parquet(path)?.metadata().file_metadata().num_rows()).unwrap_or(0))
}

/// Lines with records, and records; the last two columns.
fn published(path: &Path) -> Result<(u64, u64)> {
    let text = fs::read_to_string(path).map_err(unreadable(path))?;
    let number = |cell: Option<&str>| cell.and_then(|cell| cell.parse::<u64>().ok()).unwrap_or(0);
    let counts = text.lines().skip(1).map(|line| {
        let mut cells = line.rsplitn(3, ',');
        let records = number(cells.next());
        (number(cells.next()), records)
    });
    Ok(counts.fold((0, 0), |sum, line| (sum.0 + line.0, sum.1 + line.1)))
}

/// What every line of a file of JSON lines says.
fn each_line<T: serde::de::DeserializeOwned>(path: &Path, mut take: impl FnMut(T)) -> Result<()> {
    let file = File::open(path).map_err(unreadable(path))?;
    for line in BufReader::new(file).lines() {
        let line = line.map_err(unreadable(path))?;
        take(serde_json::from_str(&line).map_err(|_| broken("a line is not what it should be", path))?);
    }
    Ok(())
}

fn rejects(path: &Path, names: &Names) -> Result<BTreeMap<Rule, u64>> {
    #[derive(Deserialize)]
    struct Row {
        rule: String,
        column: Option<String>,
        read_by: Vec<String>,
    }
    let mut counts = BTreeMap::new();
    each_line(path, |row: Row| {
        for reading in &row.read_by {
            let dataset = dataset_of(reading, |code| names.datasets.contains_key(code).then_some(code));
            let dataset = dataset.unwrap_or(UNKNOWN).to_owned();
            let column = row.column.clone().filter(|column| is_word(column));
            *counts.entry((dataset, row.rule.clone(), column)).or_default() += 1;
        }
    })?;
    Ok(counts)
}

fn malformed(path: &Path) -> Result<BTreeMap<String, u64>> {
    #[derive(Deserialize)]
    struct Row {
        field: Option<String>,
    }
    let mut counts = BTreeMap::new();
    each_line(path, |row: Row| {
        let field = row.field.filter(|field| is_word(field)).unwrap_or_else(|| UNKNOWN.to_owned());
        *counts.entry(field).or_default() += 1;
    })?;
    Ok(counts)
}

/// Whether a column's name is a word and not, in a file without its header, somebody's number.
fn is_word(name: &str) -> bool {
    const LONGEST: usize = 64;
    name.len() <= LONGEST
        && name.starts_with(|letter: char| letter.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_no_name_of_a_column() {
        assert!(is_word("acq_date") && is_word("a.1"));
        assert!(!is_word("9001011234567") && !is_word("홍길동") && !is_word(""));
    }
}
