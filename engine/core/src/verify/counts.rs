//! Whether the parts of an output say the same: the manifest's counts against answers, bundles, rejects, lines carried
//! over and statistics.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::UInt64Type;
use ieum_model::error::Result;
use ieum_model::outcome::{Outcome, Reason};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::broken;
use crate::assemble::{Standing, standing};
use crate::bundle_files::own_bundle;
use crate::manifest::{Manifest, PlainText, RequestCounts};
use crate::records::{CARRIED_OVER, OUTCOMES, ROWS, STATISTICS};

/// Compares everything that is counted twice.
///
/// # Errors
/// [`ieum_model::error::ErrorKind::Integrity`] at the first count that does not agree.
pub fn agree(manifest: &Manifest, folder: &Path) -> Result<()> {
    let answers = Answers::read(&folder.join(OUTCOMES))?;
    answers.agree(manifest, &folder.join(OUTCOMES))?;
    bundles(manifest, folder, &answers)?;
    let delayed = manifest.outcomes.get(Outcome::Delayed.code()).copied().unwrap_or(0);
    let path = folder.join(CARRIED_OVER);
    same("lines carried over", "delayed lines", parquet_rows(&path)?, delayed + manifest.carried_on, &path)?;
    statistics(&folder.join(STATISTICS), &answers)?;
    rejects(manifest, &folder.join(ROWS))
}

fn same(what: &str, other: &str, found: u64, expected: u64, path: &Path) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(broken(format!("{what} do not agree with {other}: {found} and {expected}"), path))
}

fn unreadable(path: &Path) -> impl Fn(String) -> ieum_model::error::Error + '_ {
    move |error| broken(format!("file cannot be read: {error}"), path)
}

fn parquet(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = File::open(path).map_err(|error| unreadable(path)(error.to_string()))?;
    ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| unreadable(path)(error.to_string()))
}

fn parquet_rows(path: &Path) -> Result<u64> {
    Ok(u64::try_from(parquet(path)?.metadata().file_metadata().num_rows()).unwrap_or(0))
}

/// What the file of answers adds up to.
#[derive(Default)]
struct Answers {
    by_outcome: BTreeMap<String, u64>,
    requests: RequestCounts,
    /// Requests that were not refused as a whole.
    delivered: BTreeSet<String>,
    /// Lines with records, and their records.
    lines: u64,
    records: u64,
}

/// The answers of one request so far.
#[derive(Default)]
struct Open {
    request: Option<String>,
    answers: Vec<(Outcome, bool)>,
}

impl Answers {
    fn read(path: &Path) -> Result<Self> {
        let (mut answers, mut open) = (Self::default(), Open::default());
        for batch in parquet(path)?.build().map_err(|error| unreadable(path)(error.to_string()))? {
            let batch = batch.map_err(|error| unreadable(path)(error.to_string()))?;
            answers.take(&batch, &mut open).ok_or_else(|| broken("not a file of answers", path))?;
        }
        answers.close(&mut open);
        Ok(answers)
    }

    fn take(&mut self, batch: &RecordBatch, open: &mut Open) -> Option<()> {
        let text = |name: &str| -> Option<&StringArray> { batch.column_by_name(name)?.as_string_opt::<i32>() };
        let (requests, outcomes, reasons) = (text("request_id")?, text("outcome")?, text("reason")?);
        let records = batch.column_by_name("records")?.as_primitive_opt::<UInt64Type>()?;
        for row in 0..batch.num_rows() {
            if open.request.as_deref() != Some(requests.value(row)) {
                self.close(open);
                open.request = Some(requests.value(row).to_owned());
            }
            let outcome = Outcome::of_code(outcomes.value(row))?;
            let repeated = reasons.is_valid(row) && reasons.value(row) == Reason::Duplicate.code();
            open.answers.push((outcome, repeated));
            *self.by_outcome.entry(outcome.code().to_owned()).or_default() += 1;
            self.lines += u64::from(records.value(row) > 0);
            self.records += records.value(row);
        }
        Some(())
    }

    /// Counts the request whose answers are complete. A request that has its id from another one is refused as a whole:
    /// its answers say nothing of the other.
    fn close(&mut self, open: &mut Open) {
        let Some(request) = open.request.take() else { return };
        let answers = std::mem::take(&mut open.answers);
        let only_repeated = answers.iter().all(|(_, repeated)| *repeated);
        let counted = answers.iter().filter(|(_, repeated)| only_repeated || !*repeated);
        let outcomes: Vec<Outcome> = counted.map(|(outcome, _)| *outcome).collect();
        let standing = standing(false, &outcomes);
        self.requests.add(standing);
        if standing != Standing::Refused {
            self.delivered.insert(request);
        }
    }

    fn agree(&self, manifest: &Manifest, path: &Path) -> Result<()> {
        if self.by_outcome != manifest.outcomes {
            return Err(broken("answers by outcome do not agree with the manifest", path));
        }
        let (found, expected) = (&self.requests, &manifest.requests);
        same("requests delivered", "the manifest", found.delivered, expected.delivered, path)?;
        same("requests partly delivered", "the manifest", found.partial, expected.partial, path)?;
        same("requests delayed", "the manifest", found.delayed, expected.delayed, path)?;
        // Of a repeated id all but one request are refused.
        if found.refused > expected.refused {
            return Err(broken("more requests are refused than the manifest says", path));
        }
        Ok(())
    }
}

/// Every request that is not refused has one bundle, and each index lists what its file holds.
fn bundles(manifest: &Manifest, folder: &Path, answers: &Answers) -> Result<()> {
    let mut found = BTreeSet::new();
    for file in manifest.files.iter().filter(|file| file.path.starts_with("bundles/")) {
        let path = folder.join(&file.path);
        let listed: Vec<String> =
            match (file.path.strip_prefix("bundles/packed/"), file.path.strip_suffix(".index.csv")) {
                (Some(_), Some(packed)) => match plain_of(manifest, packed) {
                    Some(plain) => indexed_plain(&path, plain)?,
                    None => indexed(&path, &folder.join(packed))?,
                },
                (Some(_), None) => continue,
                (None, _) => {
                    let request = own_bundle(&file.path).and_then(|bundle| bundle.split_once('/'));
                    request.map(|(_, request)| request.to_owned()).into_iter().collect()
                }
            };
        for request in listed {
            if !found.insert(request) {
                return Err(broken("a request has two bundles", &path));
            }
        }
    }
    if found.len() as u64 > manifest.requests.requests {
        return Err(broken("there are more bundles than requests", folder));
    }
    match answers.delivered.difference(&found).count() {
        0 => Ok(()),
        missing => Err(broken(format!("{missing} requests are answered but have no bundle"), folder)),
    }
}

/// What a packed file holds that is encrypted, by its path without an ending.
fn plain_of<'a>(manifest: &'a Manifest, packed: &str) -> Option<&'a PlainText> {
    let is_of = |path: &str| path.strip_prefix(packed).is_some_and(|ending| ending.starts_with('.'));
    manifest.files.iter().filter(|file| is_of(&file.path)).find_map(|file| file.plain.as_ref())
}

/// Requests, and the bytes of their bundles, that the index of an encrypted file lists, whose places follow on one another.
/// An index of rows tells no bytes.
pub(crate) fn index_lines(index: &Path) -> Result<Vec<(String, Option<u64>)>> {
    let text = fs::read_to_string(index).map_err(|error| unreadable(index)(error.to_string()))?;
    let disagrees = || broken("the index does not agree with its file", index);
    let mut lines = text.lines();
    let head = lines.next();
    let (mut listed, mut offset) = (Vec::new(), 0);
    for (row, line) in lines.enumerate() {
        let mut cells = line.rsplitn(if head == Some("request_id,row") { 2 } else { 3 }, ',');
        let mut number = || cells.next().and_then(|number| number.parse::<u64>().ok()).ok_or_else(disagrees);
        let (place, bytes) = match head {
            Some("request_id,row") => (number()? == row as u64, None),
            Some("request_id,offset,bytes") => {
                let bytes = number()?;
                let place = number()? == offset;
                offset += bytes;
                (place, Some(bytes))
            }
            _ => return Err(disagrees()),
        };
        let request = cells.next().filter(|_| place).ok_or_else(disagrees)?;
        listed.push((request.to_owned(), bytes));
    }
    Ok(listed)
}

/// The requests that the index of an encrypted file lists: their bundles fill it.
fn indexed_plain(index: &Path, plain: &PlainText) -> Result<Vec<String>> {
    let listed = index_lines(index)?;
    if listed.iter().all(|(_, bytes)| bytes.is_some()) {
        let bytes = listed.iter().filter_map(|(_, bytes)| *bytes).sum();
        same("bytes", "the plain text", bytes, plain.bytes, index)?;
    }
    Ok(listed.into_iter().map(|(request, _)| request).collect())
}

/// The requests that an index lists; `packed` is its file without an ending.
fn indexed(index: &Path, packed: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(index).map_err(|error| unreadable(index)(error.to_string()))?;
    let mut lines = text.lines();
    let disagrees = || broken("the index does not agree with its file", index);
    let with = |ending: &str| {
        let mut name = packed.as_os_str().to_owned();
        name.push(ending);
        std::path::PathBuf::from(name)
    };
    let mut requests = Vec::new();
    match lines.next() {
        Some("request_id,row") => {
            for (row, line) in lines.enumerate() {
                let (request, listed) = line.rsplit_once(',').ok_or_else(disagrees)?;
                if listed.parse() != Ok(row) {
                    return Err(disagrees());
                }
                requests.push(request.to_owned());
            }
            let file = with(".parquet");
            same("rows", "the index", parquet_rows(&file)?, requests.len() as u64, &file)?;
        }
        Some("request_id,offset,bytes") => {
            let file = with(".ndjson");
            let mut bundles = BufReader::new(File::open(&file).map_err(|error| unreadable(&file)(error.to_string()))?);
            let (mut bundle, mut offset) = (Vec::new(), 0);
            for line in lines {
                let mut cells = line.rsplitn(3, ',');
                let mut number = || cells.next().and_then(|number| number.parse::<usize>().ok());
                let place = number().zip(number());
                let request = cells.next().ok_or_else(disagrees)?;
                bundle.clear();
                let read =
                    bundles.read_until(b'\n', &mut bundle).map_err(|error| unreadable(&file)(error.to_string()))?;
                let id = serde_json::from_slice::<BundleId>(&bundle).map_err(|_| disagrees())?.request_id;
                if place != Some((read, offset)) || id != request {
                    return Err(disagrees());
                }
                offset += read;
                requests.push(id);
            }
            if bundles.fill_buf().map_err(|error| unreadable(&file)(error.to_string()))? != b"" {
                return Err(disagrees());
            }
        }
        _ => return Err(disagrees()),
    }
    Ok(requests)
}

#[derive(serde::Deserialize)]
struct BundleId {
    request_id: String,
}

/// Lines and records by holder add up to those of the answers.
fn statistics(path: &Path, answers: &Answers) -> Result<()> {
    let text = fs::read_to_string(path).map_err(|error| unreadable(path)(error.to_string()))?;
    let (mut lines, mut records) = (0, 0);
    for line in text.lines().skip(1) {
        let mut cells = line.rsplitn(3, ',').map(|cell| cell.parse::<u64>().unwrap_or(0));
        records += cells.next().unwrap_or(0);
        lines += cells.next().unwrap_or(0);
    }
    same("lines", "the answers", lines, answers.lines, path)?;
    same("records", "the answers", records, answers.records, path)
}

/// Every rejected row of every reading stands in the file of rejects.
fn rejects(manifest: &Manifest, path: &Path) -> Result<()> {
    #[derive(serde::Deserialize)]
    struct Row {
        read_by: Vec<String>,
    }
    let mut rows: BTreeMap<String, u64> = BTreeMap::new();
    if path.exists() {
        let file = File::open(path).map_err(|error| unreadable(path)(error.to_string()))?;
        for line in BufReader::new(file).lines() {
            let line = line.map_err(|error| unreadable(path)(error.to_string()))?;
            let row: Row = serde_json::from_str(&line).map_err(|_| broken("a line is no rejected row", path))?;
            row.read_by.into_iter().for_each(|reading| *rows.entry(reading).or_default() += 1);
        }
    }
    for (reading, counts) in &manifest.sources {
        let found = rows.remove(reading).unwrap_or(0);
        same(&format!("rejected rows of `{reading}`"), "the manifest", found, counts.rejected, path)?;
    }
    if rows.is_empty() { Ok(()) } else { Err(broken("rows of a source that the manifest does not list", path)) }
}
