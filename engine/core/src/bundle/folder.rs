//! A bundle as a folder: a bag (BagIt, RFC 8493) that is a Frictionless data package too.
//!
//! ```text
//!  R1/bagit.txt  bag-info.txt  manifest-sha256.txt  tagmanifest-sha256.txt      the bag
//!  R1/datapackage.json                                                          what stands in data/, column by column
//!  R1/data/bundle.json                        the bundle, as in any layout: its receipt is of these bytes
//!  R1/data/business_registration_cert.csv     the records of each document that has some
//! ```
//!
//! The tables repeat what the bundle holds, for people and tools that want tables (RFC 4180, UTF-8). In them a null and an
//! empty text are the same; the bundle tells them apart.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Date32Type, Int64Type};
use ieum_model::error::{Error, Result};
use serde_json::{Value, json};

use super::json::write_value;
use super::{Bundle, Document, RunHead};
use crate::manifest::sha256_hex;

/// A file of the folder by its path in it.
pub type FolderFile = (String, Vec<u8>);

/// Path of the bundle in its folder, by its encoding.
pub(crate) const BUNDLES: [&str; 2] = ["data/bundle.json", "data/bundle.parquet"];

/// The files of a bundle's folder, the bundle first.
///
/// # Errors
/// Never in practice; our bug otherwise.
///
/// # Privacy
/// Lets through what the bundle holds.
pub fn files(head: &RunHead, bundle: &Bundle<'_>, path: &str, bytes: Vec<u8>) -> Result<Vec<FolderFile>> {
    let mut files = vec![(path.to_owned(), bytes)];
    let mut resources = vec![resource("bundle", &files[0], json!({ "type": "file" }))];
    for document in &bundle.documents {
        let Some(columns) = columns(document) else { continue };
        // A data package names its resources in small letters, digits, `.`, `_` and `-`.
        let name = document.name.replace('#', "-");
        let file = (format!("data/{name}.csv"), csv(&columns, document));
        let fields: Vec<Value> = columns.iter().map(|(item, column)| field(item, column)).collect();
        let schema = json!({ "type": "table", "profile": "tabular-data-resource", "schema": { "fields": fields } });
        resources.push(resource(&name, &file, schema));
        files.push(file);
    }
    let payload = checksums(&files);
    let oxum = format!("{}.{}", files.iter().map(|(_, bytes)| bytes.len()).sum::<usize>(), files.len());
    let request = &bundle.request.request_id;
    let package = json!({ "profile": "data-package", "id": request, "resources": resources });
    let mut package = serde_json::to_vec_pretty(&package).map_err(|error| Error::internal(error.to_string()))?;
    package.push(b'\n');
    let info = format!(
        "Bag-Software-Agent: ieum {}\nBagging-Date: {}\nExternal-Identifier: {request}\nPayload-Oxum: {oxum}\n",
        env!("CARGO_PKG_VERSION"),
        head.as_of
    );
    let tags = vec![
        ("bag-info.txt".to_owned(), info.into_bytes()),
        ("bagit.txt".to_owned(), b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n".to_vec()),
        ("datapackage.json".to_owned(), package),
        ("manifest-sha256.txt".to_owned(), payload),
    ];
    let tag_sums = checksums(&tags);
    files.extend(tags);
    files.push(("tagmanifest-sha256.txt".to_owned(), tag_sums));
    Ok(files)
}

/// A manifest (section 2.1.3): digest, two spaces, path.
fn checksums(files: &[FolderFile]) -> Vec<u8> {
    files.iter().flat_map(|(path, bytes)| format!("{}  {path}\n", sha256_hex(bytes)).into_bytes()).collect()
}

fn resource(name: &str, (path, bytes): &FolderFile, more: Value) -> Value {
    let ending = path.rsplit('.').next().unwrap_or_default();
    let mediatype = match ending {
        "json" => "application/json",
        "csv" => "text/csv",
        _ => "application/vnd.apache.parquet",
    };
    let mut resource = json!({
        "name": name, "path": path, "format": ending, "mediatype": mediatype, "bytes": bytes.len(),
        "hash": format!("sha256:{}", sha256_hex(bytes)),
    });
    if ending != "parquet" {
        resource["encoding"] = "utf-8".into();
    }
    if let (Value::Object(resource), Value::Object(more)) = (&mut resource, more) {
        resource.extend(more);
    }
    resource
}

/// The columns of a document that has records, in the order of the bundle.
fn columns<'a>(document: &Document<'a>) -> Option<Vec<(&'a str, &'a ArrayRef)>> {
    let (rows, range) = document.rows.as_ref()?;
    let columns = document.items.iter().filter_map(|item| Some((item.as_str(), rows.column(item)?))).collect();
    (!range.is_empty()).then_some(columns)
}

/// A field of a table schema; lists are JSON in a cell.
fn field(item: &str, column: &ArrayRef) -> Value {
    let kind = match column.data_type() {
        DataType::Int64 => "integer",
        DataType::Date32 => "date",
        DataType::List(_) => "array",
        _ => "string",
    };
    json!({ "name": item, "type": kind })
}

fn csv(columns: &[(&str, &ArrayRef)], document: &Document<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut line = |cells: &mut dyn Iterator<Item = String>| {
        for (nr, cell) in cells.enumerate() {
            if nr > 0 {
                out.push(b',');
            }
            write_cell(&mut out, &cell);
        }
        out.extend_from_slice(b"\r\n");
    };
    line(&mut columns.iter().map(|(item, _)| (*item).to_owned()));
    for row in document.rows.iter().flat_map(|(_, range)| range.clone()) {
        line(&mut columns.iter().map(|(_, column)| cell(column.as_ref(), row)));
    }
    out
}

fn cell(column: &dyn Array, row: usize) -> String {
    if column.is_null(row) {
        return String::new();
    }
    match column.data_type() {
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Date32 => {
            let date = column.as_primitive::<Date32Type>().value_as_date(row);
            date.map(|date| date.to_string()).unwrap_or_default()
        }
        DataType::List(_) => {
            let mut text = Vec::new();
            write_value(&mut text, column, row);
            String::from_utf8_lossy(&text).into_owned()
        }
        _ => column.as_string::<i32>().value(row).to_owned(),
    }
}

/// A cell; quoted where it must be (RFC 4180, section 2), and where a reader may trim it.
fn write_cell(out: &mut Vec<u8>, text: &str) {
    let quoted = text.contains(['"', ',', '\r', '\n']) || text.trim() != text;
    if !quoted {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        let written = |text: &str| {
            let mut out = Vec::new();
            write_cell(&mut out, text);
            String::from_utf8(out).expect("text")
        };
        assert_eq!(
            ["이음", "이음, 상사", "a\"b", " a", "a\nb"].map(written),
            ["이음", "\"이음, 상사\"", "\"a\"\"b\"", "\" a\"", "\"a\nb\""]
        );
    }
}
