//! A first look at the exports that a night would read: whether their files open, have the columns, and begin as the
//! catalog says. What only a whole read can tell is left to the run.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use ieum_model::connector::{Reject, RejectSink, ScanSpec};
use ieum_model::error::Result;

use crate::course::{self, Courses, Reading};
use crate::explain::asked_columns;
use crate::input::{ExportState, Night};
use crate::night::{Step, Warning};
use crate::waves::leave_out;

/// Rows that are looked at.
const FIRST_ROWS: usize = 1024;

/// What a run would tell of exports that break their contract at their beginning. Nothing is kept of a row.
///
/// # Errors
/// When an export cannot be read for another reason: a run would stop there.
pub fn first_look(night: &Night) -> Result<Vec<Warning>> {
    let mut courses = course::courses(night);
    let mut warnings = Vec::new();
    for wave in 0..=courses.waves() {
        for reading in courses.readings(wave) {
            if let Err(error) = look(night, &courses, &reading) {
                let dataset = reading.source.dataset.clone();
                let message = leave_out(night, &mut courses, &dataset, error)?;
                warnings.push(Warning { stage: Step::Gather, dataset, message });
            }
            courses.walk_blindly(&reading);
        }
    }
    Ok(warnings)
}

fn look(night: &Night, courses: &Courses, reading: &Reading) -> Result<()> {
    let source = &reading.source;
    let found = (night.exports.get(&source.dataset), night.catalog.datasets.get(&source.dataset));
    let (Some(ExportState::Ready(connector)), Some(dataset)) = found else { return Ok(()) };
    let columns = asked_columns(night, courses, reading);
    let field = |name: &str, only_to_link: bool| match only_to_link {
        true => Field::new(name, DataType::Utf8, true),
        false => dataset.column_field(name),
    };
    let fields: Vec<Field> = columns.iter().map(|asked| field(&asked.column, asked.lines == 0)).collect();
    let spec = ScanSpec {
        schema: Arc::new(Schema::new(fields)),
        key_column: source.key_column.clone(),
        probe: None,
        rejects: Arc::new(NotKept),
        batch_rows: FIRST_ROWS,
    };
    for partition in 0..connector.partitions().len() {
        let begun = connector.open(partition, &spec).and_then(|mut reader| reader.next_batch());
        begun.map_err(|error| error.at("dataset", &source.dataset))?;
    }
    Ok(())
}

/// Whether too many rows cannot be read, a whole read will tell.
struct NotKept;

impl RejectSink for NotKept {
    fn reject(&self, _: Reject) -> Result<()> {
        Ok(())
    }
}
