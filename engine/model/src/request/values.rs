//! What the text of one field says.

use std::borrow::Cow;
use std::sync::Arc;

use chrono::NaiveDate;

use crate::service::Applicant;

use super::{RequestedDocument, SubjectId, shared};

pub(super) const DATE: &str = "a date, YYYY-MM-DD or YYYYMMDD";

pub(super) const DOCUMENTS: &str = "`dataset`, `dataset@view` or `dataset(item,item)`, separated by `;`";

pub(super) const CONSENT_ID: &str = "1 to 200 printable characters of ASCII without blanks";

/// The name of a consent record, which may be an IRI.
pub(super) fn consent_id(text: &str) -> Option<Box<str>> {
    ((1..=200).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| text.into())
}

pub(super) fn present(text: Option<Cow<'_, str>>) -> Option<Cow<'_, str>> {
    let text = match text? {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    };
    (!text.is_empty()).then_some(text)
}

fn list(text: &str, separator: char) -> impl Iterator<Item = &str> {
    text.split(separator).map(str::trim).filter(|part| !part.is_empty())
}

pub(super) fn flag(text: &str) -> Option<bool> {
    let is = |word: &str| text.eq_ignore_ascii_case(word);
    if is("true") || is("y") {
        Some(true)
    } else if is("false") || is("n") {
        Some(false)
    } else {
        None
    }
}

pub(super) fn date(text: &str) -> Option<NaiveDate> {
    let bytes = text.as_bytes();
    let (year, month, day) = match bytes.len() {
        8 => (&bytes[..4], &bytes[4..6], &bytes[6..]),
        10 if bytes[4] == b'-' && bytes[7] == b'-' => (&bytes[..4], &bytes[5..7], &bytes[8..]),
        _ => return None,
    };
    let number = |digits: &[u8]| {
        digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0')))
    };
    NaiveDate::from_ymd_opt(number(year)? as i32, number(month)?, number(day)?)
}

pub(super) fn applicant(text: &str) -> Option<Applicant> {
    match text {
        "person" => Some(Applicant::Person),
        "corporation" => Some(Applicant::Corporation),
        _ => None,
    }
}

pub(super) fn subject_ids(text: &str) -> Option<Vec<SubjectId>> {
    let mut ids = Vec::with_capacity(1 + text.bytes().filter(|byte| *byte == b';').count());
    for pair in list(text, ';') {
        ids.push(subject_id(pair)?);
    }
    Some(ids)
}

/// Whether a word can name a kind of identifiers.
pub fn is_kind(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn subject_id(pair: &str) -> Option<SubjectId> {
    let (kind, value) = pair.split_once(':')?;
    let (kind, value) = (kind.trim(), value.trim());
    (is_kind(kind) && !value.is_empty()).then(|| SubjectId { kind: shared::word(kind), value: value.into() })
}

pub(super) fn documents(text: &str) -> Option<Arc<[RequestedDocument]>> {
    shared::documents(text, || list(text, ';').map(document).collect())
}

pub(super) fn codes(text: &str) -> Arc<[Box<str>]> {
    shared::codes(text, || list(text, ';').map(Box::from).collect())
}

fn document(part: &str) -> Option<RequestedDocument> {
    let (dataset, items, view) = if let Some((dataset, rest)) = part.split_once('(') {
        let items: Option<Vec<String>> = rest.strip_suffix(')')?.split(',').map(name).collect();
        (dataset, Some(items?), None)
    } else if let Some((dataset, view)) = part.split_once('@') {
        (dataset, None, Some(name(view)?))
    } else {
        (part, None, None)
    };
    Some(RequestedDocument { dataset: name(dataset)?, items, view })
}

fn name(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty() && !text.contains(['(', ')', '@', ',', ';'])).then(|| text.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::fixture::*;

    #[test]
    fn a_field_that_breaks_its_contract_is_named_without_its_value() {
        let table = [
            ("subject_ids", "9001011234567"),
            ("subject_ids", "rrno:"),
            ("subject_ids", ":9001011234567"),
            ("applicant", "dog"),
            ("documents", "tax(a"),
            ("documents", "tax()"),
            ("documents", "tax(a,)"),
            ("documents", "tax(a)@basic"),
            ("documents", "tax@"),
            ("documents", "@basic"),
            ("documents", "tax)"),
            ("periodic", "yes"),
            ("verified", "1"),
            ("cycle", "hourly"),
            ("until", "2026-02-30"),
            ("until", "2026-2-3"),
            ("until", "+2026010"),
            ("until", "2026-01-1일"),
            ("retention_days", "-1"),
            ("requested_at", "yesterday"),
            ("requested_at", ""),
            ("consent_id", "동의 1"),
            ("consent_id", "a b"),
            ("format", "xml"),
        ];
        for (field, text) in table {
            let malformed = read_with(field, text).unwrap_err();
            assert_eq!((malformed.field, malformed.line), (field, 7), "{text}");
            assert_eq!(malformed.request_id.as_deref(), Some("r1"));
            assert!(text.len() < 5 || !malformed.to_string().contains(text), "{text}");
        }
    }
}
