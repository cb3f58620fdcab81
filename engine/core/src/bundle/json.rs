//! A bundle as one line of JSON.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Date32Type, Int64Type};

use crate::bundle::{Bundle, Document, RunHead};

/// Appends the bundle as one line of JSON, without a line end.
///
/// # Privacy
/// Lets through the pseudonym and the permitted items; no identifier that was not itself requested.
pub fn write(out: &mut Vec<u8>, head: &RunHead, bundle: &Bundle<'_>) {
    out.extend_from_slice(b"{\"bundle\":\"ieum/1\",\"request_id\":");
    write_text(out, &bundle.request.request_id);
    field(out, "recipient", &bundle.request.recipient);
    if let Some(service) = &bundle.request.service {
        field(out, "service", service);
    }
    field(out, "purpose", &bundle.request.purpose);
    if let Some(subject) = &bundle.subject {
        field(out, "subject", subject);
    }
    field(out, "key_id", &head.key_id);
    out.extend_from_slice(format!(",\"key_epoch\":{}", head.key_epoch).as_bytes());
    field(out, "as_of", &head.as_of);
    out.extend_from_slice(b",\"documents\":{");
    for (index, document) in bundle.documents.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_document(out, document);
    }
    out.extend_from_slice(b"}}");
}

pub(crate) fn field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(b',');
    write_text(out, name);
    out.push(b':');
    write_text(out, value);
}

fn write_document(out: &mut Vec<u8>, document: &Document<'_>) {
    write_text(out, &document.name);
    out.extend_from_slice(b":{\"outcome\":");
    write_text(out, document.answer.outcome.code());
    if let Some(reason) = document.answer.reason {
        field(out, "reason", reason.code());
    }
    out.extend_from_slice(b",\"records\":[");
    if let Some((rows, range)) = &document.rows {
        let columns: Vec<(&str, &ArrayRef)> =
            document.items.iter().filter_map(|item| rows.column(item).map(|column| (item.as_str(), column))).collect();
        for row in range.clone() {
            if row > range.start {
                out.push(b',');
            }
            write_record(out, &columns, row);
        }
    }
    out.extend_from_slice(b"]}");
}

fn write_record(out: &mut Vec<u8>, columns: &[(&str, &ArrayRef)], row: usize) {
    out.push(b'{');
    for (index, (name, column)) in columns.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_text(out, name);
        out.push(b':');
        write_value(out, column.as_ref(), row);
    }
    out.push(b'}');
}

/// Dates are ISO, money is an integer, everything else is text; lists are arrays.
pub(crate) fn write_value(out: &mut Vec<u8>, array: &dyn Array, row: usize) {
    if array.is_null(row) {
        out.extend_from_slice(b"null");
        return;
    }
    match array.data_type() {
        DataType::Int64 => out.extend_from_slice(array.as_primitive::<Int64Type>().value(row).to_string().as_bytes()),
        DataType::Date32 => {
            let date = array.as_primitive::<Date32Type>().value_as_date(row);
            write_text(out, &date.map(|date| date.to_string()).unwrap_or_default());
        }
        DataType::List(_) => {
            let values = array.as_list::<i32>().value(row);
            out.push(b'[');
            for index in 0..values.len() {
                if index > 0 {
                    out.push(b',');
                }
                write_value(out, values.as_ref(), index);
            }
            out.push(b']');
        }
        _ => write_text(out, array.as_string::<i32>().value(row)),
    }
}

/// JSON string (RFC 8259 section 7): quotes, backslashes and control characters are escaped, all else is UTF-8 as is.
pub(crate) fn write_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\')) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            control => out.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) {
        let mut out = Vec::new();
        write_text(&mut out, text);
        let read: String = serde_json::from_slice(&out).expect("valid JSON");
        assert_eq!(read, text);
    }

    #[test]
    fn text_survives_json() {
        for text in ["", "홍길동", "a\"b\\c", "line\nend\u{1}", "뷁똠"] {
            check(text);
        }
    }
}
