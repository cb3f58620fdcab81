//! `ieum rejects`: looks at the rows that a run could not read, and reads them again after the catalog was mended.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::NaiveDate;
use ieum_connectors::replay::KeptRow;
use ieum_connectors::{detect, replayed};
use ieum_core::night::REJECTED_ROWS;
use ieum_model::catalog::Catalog;
use ieum_model::dataset::{Dataset, Format};
use ieum_model::error::{Error, Result};
use serde::Deserialize;
use serde_json::json;

use super::{DONE, definition, exit_code};
use crate::cli::RejectsCommand;
use crate::load::{catalog_sources, parse_catalog};
use crate::places;
use crate::screen::{Screen, grouped, table};

/// A line of `rejects/rows.ndjson`.
#[derive(Debug, Deserialize)]
struct Line {
    source: String,
    line: u64,
    byte_offset: u64,
    rule: String,
    column: Option<String>,
    reason: String,
    raw_hex: String,
    read_by: Vec<String>,
}

/// Does what the verb says.
///
/// # Errors
/// What the verb could not do.
pub fn rejects(command: &RejectsCommand, screen: &Screen) -> Result<u8> {
    match command {
        RejectsCommand::Show { out, values, .. } => show(out, *values, screen),
        RejectsCommand::Replay { night, out, date, .. } => replay(night, out, *date, screen),
    }
}

/// The rejected rows of a committed output, in the order they stand there; none where it has no file of them.
fn read(out: &Path) -> Result<Vec<Line>> {
    let path = out.join(REJECTED_ROWS);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && out.is_dir() => return Ok(Vec::new()),
        Err(error) => {
            return Err(Error::config(format!("the rejects cannot be read: {error}"))
                .at("file", path.display())
                .hint("name the folder of a run, such as out/2026-11-22"));
        }
    };
    let parse = |(at, line): (usize, &str)| {
        serde_json::from_str(line)
            .map_err(|_| Error::config("the line is no rejected row").at("file", path.display()).at("line", at + 1))
    };
    text.lines().enumerate().map(parse).collect()
}

fn show(out: &Path, values: bool, screen: &Screen) -> Result<u8> {
    let lines = read(out)?;
    let mut kinds: BTreeMap<(&str, &str, &str), (u64, &Line)> = BTreeMap::new();
    for line in &lines {
        let column = line.column.as_deref().unwrap_or("");
        kinds.entry((&line.source, &line.rule, column)).or_insert((0, line)).0 += 1;
    }
    let mut rows = vec![("rejected rows".to_owned(), grouped(lines.len() as u64))];
    for ((source, rule, column), (count, first)) in &kinds {
        let told = format!("{}, first at line {}: {}", grouped(*count), first.line, first.reason);
        rows.push((format!("  {source}  {rule} {column}").trim_end().to_owned(), told));
    }
    let told: Vec<(&str, String)> = rows.iter().map(|(what, value)| (what.as_str(), value.clone())).collect();
    let mut text = table(&told);
    if values {
        screen.note("what follows on stdout are rows of exports: personal data");
        for line in &lines {
            let raw = detect::shown(&bytes(&line.raw_hex)?);
            text.push_str(&format!("\n{}:{}\t{}", line.source, line.line, raw.replace(['\n', '\r'], " ")));
        }
    }
    let kinds: Vec<_> = kinds
        .into_iter()
        .map(|((file, rule, column), (rows, first))| {
            json!({ "file": file, "rule": rule, "column": column, "rows": rows, "first_line": first.line })
        })
        .collect();
    screen.result(&text, &json!({ "rejected": lines.len(), "kinds": kinds }));
    Ok(DONE)
}

fn replay(night: &Path, out: &Path, date: Option<NaiveDate>, screen: &Screen) -> Result<u8> {
    let (definition, as_of) = definition(night, date)?;
    let catalog = parse_catalog(&catalog_sources(&definition.catalog)?)
        .map_err(|error| error.at("catalog", definition.catalog.display()))?;
    let exports = places::exports(&definition, &catalog)?;
    let mut files: BTreeMap<(&str, &str), Vec<&Line>> = BTreeMap::new();
    let lines = read(out)?;
    for line in &lines {
        for dataset in datasets(&catalog, line) {
            files.entry((&dataset.code, &line.source)).or_default().push(line);
        }
    }
    let (mut rows, mut values, mut still) = (Vec::new(), Vec::new(), 0);
    for ((code, source), lines) in files {
        let Some(dataset) = catalog.datasets.get(code) else { continue };
        if dataset.export.as_ref().is_some_and(|export| matches!(export.format, Format::Parquet | Format::Arrow)) {
            screen.warning(&format!(
                "`{source}`: what stands in the rejects of a {} file is text to look at, without the types that its rows have in \
                 the file, so they cannot be read from it; `ieum source check` reads the whole export anew",
                dataset.export.as_ref().map_or_else(String::new, |export| export.format.to_string())
            ));
            still += lines.len() as u64;
            continue;
        }
        let kept = lines.iter().map(|line| kept(line)).collect::<Result<Vec<_>>>()?;
        let counts = replayed(exports.clone(), dataset, as_of, source, &kept)?;
        let told = format!("{} of {} can be read now", grouped(counts.kept), grouped(counts.read));
        rows.push((format!("{code}  {source}"), told));
        values.push(json!({ "dataset": code, "file": source, "rows": counts.read, "readable": counts.kept }));
        still += counts.rejected;
    }
    rows.push(("still rejected".to_owned(), grouped(still)));
    let told: Vec<(&str, String)> = rows.iter().map(|(what, value)| (what.as_str(), value.clone())).collect();
    screen.result(&table(&told), &json!({ "files": values, "still_rejected": still }));
    if still == 0 && !lines.is_empty() {
        screen.note("run the night of the next date: lines that the rows held up are asked again");
    }
    Ok(exit_code(still > 0))
}

/// The datasets whose readings could not read a row: a reading is named after its dataset and its key.
fn datasets<'c>(catalog: &'c Catalog, line: &Line) -> Vec<&'c Dataset> {
    let mut found: Vec<&Dataset> = Vec::new();
    for reading in &line.read_by {
        let of_reading = |dataset: &&Dataset| {
            reading.strip_prefix(dataset.code.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let longest = catalog.datasets.values().filter(of_reading).max_by_key(|dataset| dataset.code.len());
        found.extend(longest.filter(|dataset| found.iter().all(|other| other.code != dataset.code)));
    }
    found
}

fn kept(line: &Line) -> Result<KeptRow> {
    // Where a row ends was in doubt: that does not change by the catalog.
    let shapeless = match line.rule.as_str() {
        _ if line.column.is_some() => None,
        "length" => Some(("length", line.reason.clone())),
        "quote" => Some(("quote", line.reason.clone())),
        _ => None,
    };
    Ok(KeptRow { line: line.line, byte_offset: line.byte_offset, bytes: bytes(&line.raw_hex)?, shapeless })
}

fn bytes(hex: &str) -> Result<Vec<u8>> {
    let digits = hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap_or(""), 16));
    digits
        .collect::<Result<_, _>>()
        .map_err(|_| Error::config("a rejected row is not hexadecimal").at("file", REJECTED_ROWS))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn raw_bytes_are_hexadecimal() {
        assert_eq!(bytes("00ffa1").unwrap(), [0, 255, 161]);
        assert!(bytes("0").unwrap() == [0] && bytes("zz").is_err());
    }
}
