//! Bundles as Parquet: one row a bundle, `documents` a struct, each document a struct with `records: list<struct>`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ListArray, StringArray, StructArray, UInt32Array, new_null_array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use ieum_model::catalog::Catalog;
use ieum_model::check::CheckedRequest;
use ieum_model::error::{Error, Result};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::bundle::{Bundle, Document, RunHead, document_name};
use crate::from_arrow;

/// Rows handed to the writer at a time. A fixed number, so that page boundaries do not depend on the shards.
pub const ROWS_AT_A_TIME: usize = 1024;

/// Schema of a file: its documents, and the items that any of its requests may have of each.
#[derive(Debug, Clone)]
pub struct FileSchema {
    schema: SchemaRef,
    documents: Vec<(String, Fields)>,
}

impl FileSchema {
    /// The schema that holds the bundles of `requests`. It follows from the requests alone, never from what was found.
    pub fn of<'a>(catalog: &Catalog, requests: impl IntoIterator<Item = &'a CheckedRequest>) -> Self {
        let mut documents: BTreeMap<String, (&str, BTreeSet<&str>)> = BTreeMap::new();
        for request in requests {
            for (number, line) in request.lines.iter().enumerate() {
                let slot = documents.entry(document_name(request, number).into_owned());
                let (_, items) = slot.or_insert_with(|| (&line.document, BTreeSet::new()));
                items.extend(line.items.iter().map(String::as_str));
            }
        }
        let fields = |dataset: &str, items: BTreeSet<&str>| -> Fields {
            let dataset = catalog.datasets.get(dataset);
            items.iter().filter_map(|item| dataset.map(|dataset| dataset.column_field(item))).collect()
        };
        let documents: Vec<(String, Fields)> =
            documents.into_iter().map(|(name, (dataset, items))| (name, fields(dataset, items))).collect();
        let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
        let document_fields: Fields =
            documents.iter().map(|(name, items)| Field::new(name, DataType::Struct(document(items)), true)).collect();
        let mut all = vec![
            text("bundle", false),
            text("request_id", false),
            text("recipient", false),
            text("service", true),
            text("purpose", false),
            text("subject", true),
            text("key_id", false),
            Field::new("key_epoch", DataType::UInt32, false),
            text("as_of", false),
        ];
        if !documents.is_empty() {
            all.push(Field::new("documents", DataType::Struct(document_fields), false));
        }
        Self { schema: Arc::new(Schema::new(all)), documents }
    }

    /// The bundles as one batch, a row each, in their order.
    ///
    /// # Errors
    /// When a staged column does not have the type of the catalog: our bug.
    pub fn batch(&self, head: &RunHead, bundles: &[&Bundle<'_>]) -> Result<RecordBatch> {
        let text = |value: &dyn Fn(&Bundle<'_>) -> Option<String>| -> ArrayRef {
            Arc::new(bundles.iter().map(|bundle| value(bundle)).collect::<StringArray>())
        };
        let mut columns: Vec<ArrayRef> = vec![
            text(&|_| Some("ieum/1".to_owned())),
            text(&|bundle| Some(bundle.request.request_id.to_string())),
            text(&|bundle| Some(bundle.request.recipient.to_string())),
            text(&|bundle| bundle.request.service.as_ref().map(ToString::to_string)),
            text(&|bundle| Some(bundle.request.purpose.to_string())),
            text(&|bundle| bundle.subject.clone()),
            text(&|_| Some(head.key_id.clone())),
            Arc::new(UInt32Array::from(vec![head.key_epoch; bundles.len()])),
            text(&|_| Some(head.as_of.clone())),
        ];
        if let Some(field) = self.schema.fields().get(columns.len()) {
            let DataType::Struct(fields) = field.data_type() else {
                return Err(Error::internal("documents are a struct"));
            };
            let arrays: Result<Vec<ArrayRef>> =
                self.documents.iter().map(|(name, items)| document_column(name, items, bundles)).collect();
            columns.push(Arc::new(StructArray::try_new(fields.clone(), arrays?, None).map_err(from_arrow)?));
        }
        RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(from_arrow)
    }

    /// A writer of this schema into `out`.
    ///
    /// # Errors
    /// When `out` does not take the file's head.
    pub fn writer<W: std::io::Write + Send>(&self, out: W) -> Result<ArrowWriter<W>> {
        let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
        ArrowWriter::try_new(out, Arc::clone(&self.schema), Some(properties)).map_err(from_parquet)
    }
}

/// A Parquet failure on the output side.
pub fn from_parquet(error: parquet::errors::ParquetError) -> Error {
    Error::new(ieum_model::error::ErrorKind::Temporary, format!("a Parquet bundle cannot be written: {error}"))
        .hint("check the space on the output's file system")
}

fn records_field(items: &Fields) -> Field {
    Field::new("item", DataType::Struct(items.clone()), false)
}

/// A document without any item that may be delivered has an outcome and a reason only: Parquet has no empty struct.
fn document(items: &Fields) -> Fields {
    let mut fields = vec![Field::new("outcome", DataType::Utf8, false), Field::new("reason", DataType::Utf8, true)];
    if !items.is_empty() {
        fields.push(Field::new("records", DataType::List(Arc::new(records_field(items))), false));
    }
    fields.into()
}

fn document_column(name: &str, items: &Fields, bundles: &[&Bundle<'_>]) -> Result<ArrayRef> {
    let found: Vec<Option<&Document<'_>>> =
        bundles.iter().map(|bundle| bundle.documents.iter().find(|document| document.name == name)).collect();
    let outcome: StringArray =
        found.iter().map(|document| Some(document.map_or("", |document| document.answer.outcome.code()))).collect();
    let reason: StringArray =
        found.iter().map(|document| document.and_then(|d| d.answer.reason).map(|reason| reason.code())).collect();
    let mut arrays: Vec<ArrayRef> = vec![Arc::new(outcome), Arc::new(reason)];
    if !items.is_empty() {
        arrays.push(records(items, &found)?);
    }
    let present = NullBuffer::from_iter(found.iter().map(Option::is_some));
    Ok(Arc::new(StructArray::try_new(document(items), arrays, Some(present)).map_err(from_arrow)?))
}

/// The records of every document as one list column; each item is gathered from the staged columns in one pass.
fn records(items: &Fields, found: &[Option<&Document<'_>>]) -> Result<ArrayRef> {
    let rows = || found.iter().map(|document| document.and_then(|document| document.rows.as_ref()));
    let lengths = rows().map(|rows| rows.map_or(0, |(_, range)| range.len()));
    let offsets = OffsetBuffer::from_lengths(lengths);
    let total = offsets.last().copied().unwrap_or_default() as usize;
    let gather = |field: &Arc<Field>| -> Result<ArrayRef> {
        let nothing = new_null_array(field.data_type(), 1);
        let mut sources: Vec<&dyn Array> = vec![nothing.as_ref()];
        let mut places: Vec<(usize, usize)> = Vec::with_capacity(total);
        let mut known: Option<(*const u8, usize)> = None;
        for (document_rows, range) in rows().flatten() {
            let Some(column) = document_rows.column(field.name()) else {
                places.extend(range.clone().map(|_| (0, 0)));
                continue;
            };
            let address = Arc::as_ptr(column).cast::<u8>();
            let source = match known {
                Some((last, source)) if last == address => source,
                _ => {
                    sources.push(column.as_ref());
                    sources.len() - 1
                }
            };
            known = Some((address, source));
            places.extend(range.clone().map(|row| (source, row)));
        }
        if places.is_empty() { Ok(nothing.slice(0, 0)) } else { interleave(&sources, &places).map_err(from_arrow) }
    };
    let columns: Result<Vec<ArrayRef>> = items.iter().map(gather).collect();
    let records = StructArray::try_new(items.clone(), columns?, None).map_err(from_arrow)?;
    let list = ListArray::try_new(Arc::new(records_field(items)), offsets, Arc::new(records), None);
    Ok(Arc::new(list.map_err(from_arrow)?))
}
