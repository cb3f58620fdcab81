//! Which format the first bytes of a file tell.

use std::fmt;

use super::table;
use crate::detect;
use crate::fixed_width::head::Head;
use crate::xlsx::{BookKind, is_book};

/// A format of files, by the name the catalog gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// Delimited text.
    Csv,
    /// Byte-counted records between a header and a trailer record.
    FixedWidth,
    /// Bare records.
    Records,
    /// Parquet.
    Parquet,
    /// A workbook.
    Xlsx,
    /// Arrow IPC, as a file or a stream.
    Arrow,
    /// Avro.
    Avro,
    /// A JSON value a line.
    JsonLines,
    /// One JSON value.
    Json,
    /// XML.
    Xml,
    /// A web page, whatever it is named.
    Html,
    /// A zip archive that is no workbook.
    Zip,
}

impl FileFormat {
    /// Its name in the catalog.
    pub fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::FixedWidth => "fixed_width",
            Self::Records => "records",
            Self::Parquet => "parquet",
            Self::Xlsx => "xlsx",
            Self::Arrow => "arrow",
            Self::Avro => "avro",
            Self::JsonLines => "json_lines",
            Self::Json => "json",
            Self::Xml => "xml",
            Self::Html => "html",
            Self::Zip => "zip",
        }
    }
}

impl fmt::Display for FileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The format that the head of a file tells; `is_whole` where it is all of the file.
pub(super) fn guess(head: &[u8], is_whole: bool) -> FileFormat {
    if head.starts_with(b"PAR1") {
        return FileFormat::Parquet;
    }
    if head.starts_with(b"ARROW1") || head.starts_with(&[0xFF, 0xFF, 0xFF, 0xFF]) {
        return FileFormat::Arrow;
    }
    if head.starts_with(b"Obj\x01") {
        return FileFormat::Avro;
    }
    match is_book(head) {
        Some(BookKind::Xls) => return FileFormat::Xlsx,
        Some(BookKind::Xlsx) if has(head, b"xl/") || has(head, b"[Content_Types].xml") => return FileFormat::Xlsx,
        Some(BookKind::Xlsx) => return FileFormat::Zip,
        None => {}
    }
    if detect::ebcdic(head).is_some() {
        return FileFormat::Records;
    }
    if Head::parse(head).is_some() {
        return FileFormat::FixedWidth;
    }
    let text = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head).trim_ascii_start();
    let lower = text[..text.len().min(512)].to_ascii_lowercase();
    match text.first() {
        Some(b'<') if has(&lower, b"<html") || has(&lower, b"<table") || has(&lower, b"<!doctype html") => {
            FileFormat::Html
        }
        Some(b'<') => FileFormat::Xml,
        Some(b'{') if is_lines_of_json(text) => FileFormat::JsonLines,
        Some(b'{' | b'[') => FileFormat::Json,
        _ if table::is_undelimited(head, is_whole) => FileFormat::Records,
        _ => FileFormat::Csv,
    }
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(bytes, part).is_some()
}

/// Whether the first line is a JSON value and another follows it.
fn is_lines_of_json(text: &[u8]) -> bool {
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or(text);
    serde_json::from_slice::<serde_json::Value>(line).is_ok()
}
