//! The file of answers, grouped.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{AsArray, DictionaryArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, UInt64Type};
use ieum_model::error::Result;
use ieum_model::outcome::Outcome;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use rustc_hash::FxHashMap;

use super::{Names, UNKNOWN};
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
    const ROWS_AT_A_TIME: usize = 262_144;
    let cannot = |error: String| broken(format!("file cannot be read: {error}"), path);
    let file = File::open(path).map_err(|error| cannot(error.to_string()))?;
    let options = as_dictionaries(&file).map_err(|error| cannot(error.to_string()))?;
    let file = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options);
    let file = file.map_err(|error| cannot(error.to_string()))?;
    let columns = GROUPED.into_iter().chain([RECORDS]);
    let mask = ProjectionMask::columns(file.metadata().file_metadata().schema_descr(), columns);
    let batches = file.with_projection(mask).with_batch_size(ROWS_AT_A_TIME).build();
    let mut answers = BTreeMap::new();
    for batch in batches.map_err(|error| cannot(error.to_string()))? {
        let batch = batch.map_err(|error| cannot(error.to_string()))?;
        take(&batch, names, &mut answers).ok_or_else(|| broken("not a file of answers", path))?;
    }
    Ok(answers)
}

/// Text is read as it is stored, as places in a dictionary: rows are grouped by numbers.
fn as_dictionaries(file: &File) -> parquet::errors::Result<ArrowReaderOptions> {
    let schema = Arc::clone(ArrowReaderMetadata::load(file, ArrowReaderOptions::new())?.schema());
    let numbered = |field: &Arc<Field>| match field.data_type() {
        DataType::Utf8 => {
            let data_type = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
            field.as_ref().clone().with_data_type(data_type)
        }
        _ => field.as_ref().clone(),
    };
    let fields: Vec<Field> = schema.fields().iter().map(numbered).collect();
    Ok(ArrowReaderOptions::new().with_schema(Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))))
}

type Dictionary = DictionaryArray<Int32Type>;

fn take(batch: &RecordBatch, names: &Names, answers: &mut BTreeMap<Answer, Answered>) -> Option<()> {
    let text = |name: &str| -> Option<&Dictionary> { batch.column_by_name(name)?.as_dictionary_opt() };
    let [recipients, services, datasets, outcomes, reasons] = GROUPED.map(text);
    let columns = [recipients?, services?, datasets?, outcomes?, reasons?];
    let records = batch.column_by_name(RECORDS)?.as_primitive_opt::<UInt64Type>()?.values();
    // A group is a number: the places in the five dictionaries as its digits, 0 for none.
    let sizes = columns.map(|column| column.values().len() as u128 + 1);
    let mut groups: FxHashMap<u128, Answered> = FxHashMap::default();
    for (row, records) in records.iter().enumerate() {
        let digit = |column: &Dictionary| column.key(row).map_or(0, |place| place as u128 + 1);
        let number = columns.iter().zip(sizes).fold(0, |number, (column, size)| number * size + digit(column));
        let answered = groups.entry(number).or_default();
        answered.lines += 1;
        answered.with_records += u64::from(*records > 0);
        answered.records += records;
    }
    let mut values = Vec::with_capacity(columns.len());
    for column in columns {
        values.push(column.values().as_string_opt::<i32>()?);
    }
    for (mut number, found) in groups {
        let mut places = [None; GROUPED.len()];
        for (place, size) in places.iter_mut().zip(sizes).rev() {
            *place = usize::try_from(number % size).ok()?.checked_sub(1);
            number /= size;
        }
        let text = |nr: usize| places[nr].map(|place| values[nr].value(place));
        let answer = Answer {
            recipient: known(&names.recipients, text(0)?).to_owned(),
            service: text(1).map(|code| known(&names.services, code).to_owned()),
            dataset: text(2).map(|code| known(&names.datasets, code).to_owned()),
            outcome: Outcome::of_code(text(3)?)?,
            reason: text(4).map(str::to_owned),
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
