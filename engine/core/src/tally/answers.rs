//! The file of answers, grouped.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::UInt64Type;
use ieum_model::error::Result;
use ieum_model::outcome::Outcome;
use parquet::arrow::ProjectionMask;
use rustc_hash::FxHashMap;

use super::{Names, UNKNOWN, parquet};
use crate::verify::broken;

/// Answers that are alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Answer {
    /// Recipient code.
    pub recipient: String,
    /// Service code, where one was asked for.
    pub service: Option<String>,
    /// Dataset code; none of a request that has no line.
    pub dataset: Option<String>,
    /// What became of them.
    pub outcome: Outcome,
    /// Code of the reason.
    pub reason: Option<String>,
}

/// How many answers, and their records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Answered {
    /// Lines, and requests without one.
    pub lines: u64,
    /// Lines that got records.
    pub with_records: u64,
    /// Records.
    pub records: u64,
}

/// Columns that answers are grouped by.
const GROUPED: [&str; 5] = ["recipient", "service", "dataset", "outcome", "reason"];
const RECORDS: &str = "records";

/// Reads and groups the answers; codes that have no name stand together.
pub(super) fn read(path: &Path, names: &Names) -> Result<BTreeMap<Answer, Answered>> {
    const ROWS_AT_A_TIME: usize = 65_536;
    let file = parquet(path)?;
    let columns = GROUPED.into_iter().chain([RECORDS]);
    let mask = ProjectionMask::columns(file.metadata().file_metadata().schema_descr(), columns);
    let batches = file.with_projection(mask).with_batch_size(ROWS_AT_A_TIME).build();
    let mut answers = BTreeMap::new();
    for batch in batches.map_err(|error| broken(format!("file cannot be read: {error}"), path))? {
        let batch = batch.map_err(|error| broken(format!("file cannot be read: {error}"), path))?;
        take(&batch, names, &mut answers).ok_or_else(|| broken("not a file of answers", path))?;
    }
    Ok(answers)
}

fn take(batch: &RecordBatch, names: &Names, answers: &mut BTreeMap<Answer, Answered>) -> Option<()> {
    let text = |name: &str| -> Option<&StringArray> { batch.column_by_name(name)?.as_string_opt::<i32>() };
    let [recipients, services, datasets, outcomes, reasons] = GROUPED.map(text);
    let columns = [recipients?, services?, datasets?, outcomes?, reasons?];
    let records = batch.column_by_name(RECORDS)?.as_primitive_opt::<UInt64Type>()?.values();
    let mut groups: FxHashMap<[Option<&str>; 5], Answered> = FxHashMap::default();
    for (row, records) in records.iter().enumerate() {
        let group = columns.map(|column| column.is_valid(row).then(|| column.value(row)));
        let answered = groups.entry(group).or_default();
        answered.lines += 1;
        answered.with_records += u64::from(*records > 0);
        answered.records += records;
    }
    for ([recipient, service, dataset, outcome, reason], found) in groups {
        let answer = Answer {
            recipient: known(&names.recipients, recipient?).to_owned(),
            service: service.map(|code| known(&names.services, code).to_owned()),
            dataset: dataset.map(|code| known(&names.datasets, code).to_owned()),
            outcome: Outcome::of_code(outcome?)?,
            reason: reason.map(str::to_owned),
        };
        let answered = answers.entry(answer).or_default();
        answered.lines += found.lines;
        answered.with_records += found.with_records;
        answered.records += found.records;
    }
    Some(())
}

fn known<'a, T>(names: &BTreeMap<String, T>, code: &'a str) -> &'a str {
    if names.contains_key(code) { code } else { UNKNOWN }
}
