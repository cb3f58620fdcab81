//! Columns of texts, or of lists of texts.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use ieum_model::error::{Error, Result};
use ieum_model::request::MalformedRequest;
use rayon::prelude::*;

use super::{Parse, Take, check_known, in_turn, joined, places};

/// Rows that are parsed and taken at a time.
const BATCH: usize = 8192;

/// Reads every row, batch by batch.
///
/// # Errors
/// If it is no Parquet file, or has a column that is not in `known` or cannot be read as text.
pub fn read<T: Send>(path: &Path, known: &[&str], parse: Parse<T>, take: Take<'_, T>) -> Result<()> {
    // The reader trusts the offsets and lengths that stand in a file, and panics over some that a flipped bit makes.
    let read = AssertUnwindSafe(|| read_on(path, known, parse, take));
    catch_unwind(read).unwrap_or_else(|_| Err(Error::config("the Parquet file is damaged")))
}

fn read_on<T: Send>(path: &Path, known: &[&str], parse: Parse<T>, take: Take<'_, T>) -> Result<()> {
    let broken = |error: &dyn std::fmt::Display| Error::config(format!("the Parquet file cannot be read: {error}"));
    let file = File::open(path).map_err(|error| broken(&error))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| broken(&error))?;
    let names: Vec<String> = builder.schema().fields().iter().map(|field| field.name().clone()).collect();
    check_known(names.iter().map(String::as_str), known)?;
    let places = places(&names, known);
    let mut batches = builder.with_batch_size(BATCH).build().map_err(|error| broken(&error))?;
    let mut before = 0;
    let block = || {
        let Some(batch) = batches.next() else { return Ok(None) };
        let batch = batch.map_err(|error| broken(&error))?;
        let columns = names.iter().zip(batch.columns()).map(|(name, column)| {
            texts(column).map_err(|_| Error::config(format!("column `{name}` cannot be read as text")))
        });
        let columns: Vec<ArrayRef> = columns.collect::<Result<_>>()?;
        let row = |row| {
            let parsed = parse(&|place| cell(&columns[places[place]?], row), (before + row + 1) as u64);
            parsed.map_err(|malformed| MalformedRequest { raw: as_json(&names, &columns, row), ..malformed })
        };
        let rows = (0..batch.num_rows()).into_par_iter().map(row).collect();
        before += batch.num_rows();
        Ok(Some(rows))
    };
    in_turn(block, take)
}

/// The texts of a row as a JSON object.
fn as_json(names: &[String], columns: &[ArrayRef], row: usize) -> Vec<u8> {
    let texts: BTreeMap<&String, Option<Cow<'_, str>>> =
        names.iter().zip(columns).map(|(name, column)| (name, cell(column, row))).collect();
    serde_json::json!(texts).to_string().into_bytes()
}

/// A column as text, or a column of lists as lists of text.
fn texts(column: &ArrayRef) -> std::result::Result<ArrayRef, arrow::error::ArrowError> {
    match column.data_type() {
        DataType::List(field) | DataType::LargeList(field) => {
            let item = field.as_ref().clone().with_data_type(DataType::Utf8);
            cast(column, &DataType::List(item.into()))
        }
        _ => cast(column, &DataType::Utf8),
    }
}

fn cell(column: &ArrayRef, row: usize) -> Option<Cow<'_, str>> {
    if column.is_null(row) {
        return None;
    }
    Some(match column.as_list_opt::<i32>() {
        Some(lists) => joined(lists.value(row).as_string::<i32>().iter().flatten().map(str::to_owned)).into(),
        None => column.as_string::<i32>().value(row).into(),
    })
}
