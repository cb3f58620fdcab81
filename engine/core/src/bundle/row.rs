//! A row of a Parquet file of bundles, as the line of JSON that the same bundle has elsewhere.

use arrow::array::{Array, AsArray, StructArray};
use arrow::datatypes::UInt32Type;
use arrow::record_batch::RecordBatch;

use crate::bundle::json::{field, write_text, write_value};

/// The request of a row; `None` where the batch holds no bundles.
pub fn request_id(batch: &RecordBatch, row: usize) -> Option<&str> {
    let column = batch.column_by_name("request_id")?.as_string_opt::<i32>()?;
    column.is_valid(row).then(|| column.value(row))
}

/// The line of JSON with its line end; `documents` are the names of the bundle's documents and their items, in the order of
/// the bundle. `None` where the batch holds no bundles, or the row holds a document or a value of an item that they do not
/// name.
///
/// # Privacy
/// As [`crate::bundle::json::write`].
pub fn json_line(batch: &RecordBatch, row: usize, documents: &[(&str, &[String])]) -> Option<Vec<u8>> {
    let text = |name: &str| -> Option<Option<&str>> {
        let column = batch.column_by_name(name)?.as_string_opt::<i32>()?;
        Some(column.is_valid(row).then(|| column.value(row)))
    };
    let mut out = b"{\"bundle\":".to_vec();
    write_text(&mut out, text("bundle")??);
    for (name, is_optional) in [
        ("request_id", false),
        ("recipient", false),
        ("service", true),
        ("purpose", false),
        ("subject", true),
        ("key_id", false),
    ] {
        match text(name)? {
            Some(value) => field(&mut out, name, value),
            None if is_optional => {}
            None => return None,
        }
    }
    let epoch = batch.column_by_name("key_epoch")?.as_primitive_opt::<UInt32Type>()?;
    out.extend_from_slice(format!(",\"key_epoch\":{}", epoch.value(row)).as_bytes());
    field(&mut out, "as_of", text("as_of")??);
    out.extend_from_slice(b",\"documents\":{");
    let all = batch.column_by_name("documents").map(|column| column.as_struct_opt());
    match all {
        Some(all) => write_documents(&mut out, all?, row, documents)?,
        None if documents.is_empty() => {}
        None => return None,
    }
    out.extend_from_slice(b"}}\n");
    Some(out)
}

fn write_documents(out: &mut Vec<u8>, all: &StructArray, row: usize, documents: &[(&str, &[String])]) -> Option<()> {
    let named = |name: &str| documents.iter().any(|(document, _)| *document == name);
    if all.column_names().iter().zip(all.columns()).any(|(name, column)| column.is_valid(row) && !named(name)) {
        return None;
    }
    for (index, (name, items)) in documents.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let document = all.column_by_name(name)?.as_struct_opt()?;
        let text = |name: &str| document.column_by_name(name)?.as_string_opt::<i32>();
        let (outcome, reason) = (text("outcome")?, text("reason")?);
        write_text(out, name);
        out.extend_from_slice(b":{\"outcome\":");
        write_text(out, document.is_valid(row).then(|| outcome.value(row))?);
        if reason.is_valid(row) {
            field(out, "reason", reason.value(row));
        }
        out.extend_from_slice(b",\"records\":[");
        if let Some(records) = document.column_by_name("records") {
            write_records(out, &records.as_list_opt::<i32>()?.value(row), items)?;
        }
        out.extend_from_slice(b"]}");
    }
    Some(())
}

fn write_records(out: &mut Vec<u8>, records: &dyn Array, items: &[String]) -> Option<()> {
    let records = records.as_struct_opt()?;
    let named = |name: &str| items.iter().any(|item| item == name);
    if records
        .column_names()
        .iter()
        .zip(records.columns())
        .any(|(name, values)| values.null_count() < values.len() && !named(name))
    {
        return None;
    }
    for record in 0..records.len() {
        out.extend_from_slice(if record == 0 { b"{" } else { b",{" });
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_text(out, item);
            out.push(b':');
            write_value(out, records.column_by_name(item)?.as_ref(), record);
        }
        out.push(b'}');
    }
    Some(())
}
