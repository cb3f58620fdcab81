//! The first rows of an export as text, for a person to look at.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use ieum_model::connector::{Connector, ReadCounts, Reject, RejectSink, ScanSpec};
use ieum_model::dataset::Dataset;
use ieum_model::error::{Error, Result};

/// Rows of a batch.
const BATCH_ROWS: usize = 8192;

/// What was read of an export.
#[derive(Debug, Default)]
pub struct Sample {
    /// Codes of the columns.
    pub columns: Vec<String>,
    /// The first rows; `None` where a cell is absent.
    pub rows: Vec<Vec<Option<String>>>,
    /// Counts of all that was read.
    pub counts: ReadCounts,
    /// Rows that could not be read, in the order they were met.
    pub rejects: Vec<Reject>,
}

/// How far an export is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Until so many rows are there.
    Rows(usize),
    /// To the end, no row of it kept.
    Whole,
}

/// Every column that the catalog knows of a dataset: its keys, then its items in the order of their codes.
pub fn columns(dataset: &Dataset) -> Vec<String> {
    let mut columns: Vec<String> = Vec::new();
    let mapped = dataset.maps.iter().map(|map| &map.to);
    for code in dataset.keys().map(|key| &key.item).chain(mapped).chain(dataset.items.keys()) {
        if !columns.contains(code) {
            columns.push(code.clone());
        }
    }
    columns
}

/// Every row of these columns.
pub(crate) fn spec(dataset: &Dataset, columns: &[String], rejects: Arc<dyn RejectSink>) -> ScanSpec {
    let fields: Vec<_> = columns.iter().map(|code| dataset.column_field(code)).collect();
    let (schema, key_column) = (Arc::new(Schema::new(fields)), columns.first().cloned().unwrap_or_default());
    ScanSpec { schema, key_column, probe: None, rejects, batch_rows: BATCH_ROWS }
}

/// Reads `columns` of every partition, one after the other.
///
/// # Errors
/// As [`Connector::open`] and [`ieum_model::connector::BatchReader::next_batch`].
///
/// # Privacy
/// Gives the values of rows.
pub fn read(connector: &dyn Connector, dataset: &Dataset, columns: &[String], extent: Extent) -> Result<Sample> {
    let bin = Arc::new(Bin::default());
    let spec = spec(dataset, columns, Arc::<Bin>::clone(&bin));
    let mut sample = Sample { columns: columns.to_vec(), ..Sample::default() };
    for partition in 0..connector.partitions().len() {
        let mut reader = connector.open(partition, &spec)?;
        while !sample.is_full(extent) {
            let Some(batch) = reader.next_batch()? else { break };
            if let Extent::Rows(limit) = extent {
                sample.take(&batch, limit)?;
            }
        }
        sample.counts += reader.counts();
    }
    sample.rejects = std::mem::take(&mut *bin.0.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(sample)
}

impl Sample {
    fn is_full(&self, extent: Extent) -> bool {
        matches!(extent, Extent::Rows(limit) if self.rows.len() >= limit)
    }

    fn take(&mut self, batch: &RecordBatch, limit: usize) -> Result<()> {
        let options = FormatOptions::default();
        let formats = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options));
        let formats = formats.collect::<Result<Vec<_>, _>>();
        let formats = formats.map_err(|error| Error::internal(format!("a column cannot be shown: {error}")))?;
        for row in 0..batch.num_rows().min(limit - self.rows.len()) {
            let cell = |(column, format): (&arrow::array::ArrayRef, &ArrayFormatter<'_>)| {
                column.is_valid(row).then(|| format.value(row).to_string())
            };
            self.rows.push(batch.columns().iter().zip(&formats).map(cell).collect());
        }
        Ok(())
    }
}

#[derive(Default)]
pub(crate) struct Bin(Mutex<Vec<Reject>>);

impl RejectSink for Bin {
    fn reject(&self, reject: Reject) -> Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(reject);
        Ok(())
    }
}
