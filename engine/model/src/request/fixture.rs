//! A request read from a few fields.

#![allow(clippy::unwrap_used)]

use std::borrow::Cow;

use chrono::NaiveDate;

use super::values::date;
use super::{FIELDS, MalformedRequest, Request};

pub(super) fn day(text: &str) -> NaiveDate {
    date(text).unwrap()
}

pub(super) fn read(pairs: &[(&str, &str)]) -> Result<Request, MalformedRequest> {
    let get = |name: &str| {
        assert!(FIELDS.contains(&name), "{name} is asked for but not listed");
        pairs.iter().rev().find(|(field, _)| *field == name).map(|(_, text)| Cow::Borrowed(*text))
    };
    Request::from_fields(&get, 7)
}

pub(super) fn read_with(field: &str, text: &str) -> Result<Request, MalformedRequest> {
    read(&[("request_id", "r1"), ("requested_at", "20260101"), (field, text)])
}
