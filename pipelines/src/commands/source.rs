//! `ieum source`: looks at what a holder sends, before and after the catalog knows of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use chrono::NaiveDate;
use ieum_connectors::discover::{self, Proposal};
use ieum_connectors::drift;
use ieum_connectors::sample::{self, Extent, Sample};
use ieum_connectors::{Found, connect};
use ieum_model::connector::Connector;
use ieum_model::dataset::{Dataset, Encoding, ItemType};
use ieum_model::error::{Error, Result, nearest};
use ieum_privacy::normalize::{Grade, IdentifierKind, normalize};
use serde_json::json;

use super::{DONE, definition, exit_code};
use crate::cli::{CopybookEncoding, SourceCommand};
use crate::load::{catalog_sources, parse_catalog};
use crate::places;
use crate::screen::{Screen, grouped, table};

/// Code of a dataset whose file's name makes none.
const UNNAMED: &str = "dataset";

/// Does what the verb says.
///
/// # Errors
/// What the verb could not do.
pub fn source(command: &SourceCommand, screen: &Screen) -> Result<u8> {
    match command {
        SourceCommand::Discover { path, code } => {
            let proposal = discover::discover(path, &is_sound)?;
            let code = code.clone().unwrap_or_else(|| code_of(path));
            tell(&proposal, &proposal.catalog_file(&code), screen);
            Ok(DONE)
        }
        SourceCommand::Copybook { path, encoding } => {
            let text = std::fs::read(path).map_err(|error| {
                Error::config(format!("the copybook cannot be read: {error}")).at("file", path.display())
            })?;
            let proposal = discover::of_copybook(&String::from_utf8_lossy(&text), (*encoding).into());
            let proposal = proposal.map_err(|error| error.at("file", path.display()))?;
            tell(&proposal, &proposal.catalog_file(&code_of(path)), screen);
            Ok(DONE)
        }
        SourceCommand::Check { night, dataset, date, .. } => check(night, dataset, *date, screen),
        SourceCommand::Read { night, dataset, limit, date, .. } => read(night, dataset, *limit, *date, screen),
    }
}

fn tell(proposal: &Proposal, text: &str, screen: &Screen) {
    for note in &proposal.notes {
        screen.note(note);
    }
    screen.result(text, &json!(text));
}

fn code_of(path: &Path) -> String {
    let stem = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.split('.').next()).unwrap_or("");
    let code: String = stem.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    if code.is_empty() { UNNAMED.to_owned() } else { code.to_ascii_lowercase() }
}

/// Whether a value keeps the rules of an identifier. A resident number that was given out since October 2020 has no check digit.
fn is_sound(kind: ItemType, value: &str) -> bool {
    let (kind, worst) = match kind {
        ItemType::Rrno => (IdentifierKind::Rrno, Grade::Warn),
        ItemType::Frno => (IdentifierKind::Frno, Grade::Warn),
        ItemType::Brno => (IdentifierKind::Brno, Grade::Ok),
        ItemType::Crno => (IdentifierKind::Crno, Grade::Ok),
        ItemType::Pnu => (IdentifierKind::Pnu, Grade::Ok),
        ItemType::Vin => (IdentifierKind::Vin, Grade::Ok),
        ItemType::Ci => (IdentifierKind::Ci, Grade::Ok),
        _ => return false,
    };
    normalize(kind, value.as_bytes(), &mut Vec::new()) <= worst
}

impl From<CopybookEncoding> for Encoding {
    fn from(encoding: CopybookEncoding) -> Self {
        match encoding {
            CopybookEncoding::Cp037 => Self::Cp037,
            CopybookEncoding::Cp500 => Self::Cp500,
            CopybookEncoding::Cp933 => Self::Cp933,
            CopybookEncoding::Cp949 => Self::Cp949,
            CopybookEncoding::Utf8 => Self::Utf8,
        }
    }
}

/// The dataset of a night's catalog, and its export as it stands.
fn export(night: &Path, code: &str, date: Option<NaiveDate>) -> Result<(Dataset, Box<dyn Connector>)> {
    let (definition, as_of) = definition(night, date)?;
    let catalog = parse_catalog(&catalog_sources(&definition.catalog)?)
        .map_err(|error| error.at("catalog", definition.catalog.display()))?;
    let Some(dataset) = catalog.datasets.get(code).cloned() else {
        let error = Error::config(format!("the catalog has no dataset `{code}`"));
        return Err(match nearest(code, catalog.datasets.keys().map(String::as_str)) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error,
        });
    };
    let late = |message: String| Error::contract(message).at("dataset", code);
    // What is looked at may be the very drift: it is told, and not in the way.
    let mut unwritten = dataset.clone();
    if let Some(export) = &mut unwritten.export {
        export.contract.clear();
    }
    match connect(places::exports(&definition, &catalog)?, &unwritten, as_of)? {
        Found::Missing => Err(late("the holder delivered no file".into())),
        Found::Stale { date, validity_days } => {
            Err(late(format!("the newest export is of {date} and is valid for {validity_days} days")))
        }
        Found::Unfinished(error) | Found::Drifted(error) => Err(error.at("dataset", code)),
        Found::Export(export) => Ok((dataset, export)),
    }
}

/// Reads an export once, all of its columns, and tells what would become of its rows.
fn check(night: &Path, code: &str, date: Option<NaiveDate>, screen: &Screen) -> Result<u8> {
    let (dataset, connector) = export(night, code, date)?;
    let sample = screen.busy("reading the export", || {
        connector.verify_control()?;
        sample::read(connector.as_ref(), &dataset, &sample::columns(&dataset), Extent::Whole)
    })?;
    let mut rules: BTreeMap<(&str, String), (u64, u64)> = BTreeMap::new();
    for reject in &sample.rejects {
        let of = rules.entry((reject.rule, reject.column.clone().unwrap_or_default())).or_insert((0, reject.line));
        of.0 += 1;
    }
    let mut rows = vec![
        ("dataset", code.to_owned()),
        ("files", grouped(connector.partitions().len() as u64)),
        ("columns", grouped(sample.columns.len() as u64)),
        ("rows read", grouped(sample.counts.read)),
        ("  kept", grouped(sample.counts.kept)),
        ("  rejected", grouped(sample.counts.rejected)),
    ];
    let told: Vec<(String, String)> = rules
        .iter()
        .map(|((rule, column), (count, line))| {
            (format!("    {rule} {column}").trim_end().to_owned(), format!("{}, first at line {line}", grouped(*count)))
        })
        .collect();
    rows.extend(told.iter().map(|(rule, count)| (rule.as_str(), count.clone())));
    let columns = if connector.partitions().is_empty() { None } else { connector.columns(0)? };
    let contract: Vec<String> = columns.iter().flatten().map(drift::written).collect();
    let known = dataset.export.as_ref().map_or(&[][..], |export| &export.contract);
    let drifts = if known.is_empty() { Vec::new() } else { drift::drift(known, columns.as_deref().unwrap_or(&[])) };
    let drifts: Vec<String> = drifts.iter().map(ToString::to_string).collect();
    rows.extend(drifts.iter().map(|drift| ("drift", drift.clone())));
    let value = json!({ "dataset": code, "rows_read": sample.counts.read, "rows_kept": sample.counts.kept,
        "rows_rejected": sample.counts.rejected, "drift": drifts, "contract": contract });
    let mut text = table(&rows);
    if !contract.is_empty() {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n# for [export], to hold the holder to these columns\ncontract = {}", json!(contract));
    }
    screen.result(&text, &value);
    Ok(exit_code(sample.counts.rejected > 0 || !drifts.is_empty()))
}

/// Prints the first rows of an export: personal data, on purpose.
fn read(night: &Path, code: &str, limit: usize, date: Option<NaiveDate>, screen: &Screen) -> Result<u8> {
    let (dataset, connector) = export(night, code, date)?;
    let sample = sample::read(connector.as_ref(), &dataset, &sample::columns(&dataset), Extent::Rows(limit))?;
    screen.note("what follows on stdout are rows of the export: personal data");
    screen.result(&lines(&sample), &json!({ "columns": sample.columns, "rows": sample.rows }));
    Ok(DONE)
}

/// Rows as cells separated by tabs, under the codes of their columns.
fn lines(sample: &Sample) -> String {
    let mut text = sample.columns.join("\t");
    for row in &sample.rows {
        let cells: Vec<String> =
            row.iter().map(|cell| cell.as_deref().unwrap_or("").replace(['\t', '\n', '\r'], " ")).collect();
        // Writing to a String cannot fail.
        let _ = write!(text, "\n{}", cells.join("\t"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_makes_a_code() {
        assert_eq!(code_of(Path::new("a/Tax_2026.csv.gz")), "tax_2026");
        assert_eq!(code_of(Path::new("주민.csv")), UNNAMED);
    }

    #[test]
    fn identifiers_are_known_by_their_rules() {
        assert!(is_sound(ItemType::Brno, "124-81-00998") && !is_sound(ItemType::Brno, "124-81-00997"));
        assert!(!is_sound(ItemType::Str, "124-81-00998"));
    }
}
