//! The header record: of which dataset, holder and day a file is, and how long and how many its records are.

use std::ops::Range;

use chrono::NaiveDate;
use ieum_model::dataset::Dataset;
use ieum_model::error::{Error, Result};

use crate::control;

/// Bytes of a header record before its filler.
pub const HEAD: usize = 76;

const DATASET: Range<usize> = 2..32;
const HOLDER: Range<usize> = 32..39;
const BASE_DATE: Range<usize> = 39..47;

const DELIVERED_WRONG: &str =
    "ask the holder whether the file lies in the wrong folder, then to deliver the file of this dataset";

/// What the header record says. A field that is left blank says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    fields: [u8; HEAD],
    /// Bytes of every record, line end not included.
    pub record_len: usize,
    /// Number of data records.
    pub data_count: u64,
}

impl Head {
    /// Reads the first [`HEAD`] bytes of a file; `None` where they are no header record.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let fields: &[u8; HEAD] = bytes.first_chunk()?;
        let record_len = usize::try_from(control::count(fields.strip_prefix(b"11")?.get(59..64)?)?).ok()?;
        Some(Self { fields: *fields, record_len, data_count: control::count(&fields[66..76])? })
    }

    fn field(&self, range: Range<usize>) -> Option<&[u8]> {
        Some(self.fields[range].trim_ascii()).filter(|field| !field.is_empty())
    }

    /// The day that the file is of; `None` where the header leaves it blank or tells no day of the calendar.
    pub fn base_date(&self) -> Option<NaiveDate> {
        let digits = self.field(BASE_DATE).filter(|field| field.len() == BASE_DATE.len())?;
        control::count(digits)?;
        NaiveDate::parse_from_str(std::str::from_utf8(digits).ok()?, "%Y%m%d").ok()
    }

    /// Compares the header of the file called `name` with the dataset it is read for.
    ///
    /// # Errors
    /// [`ieum_model::error::ErrorKind::ControlTotals`] when it is of another dataset or holder, or its base date is no
    /// day, or is needed and blank.
    pub fn check(&self, name: &str, dataset: &Dataset) -> Result<()> {
        let wrong = |message: String, field: Range<usize>| {
            let bytes = format!("{} to {}", field.start + 1, field.end);
            Error::control_totals(message).at("dataset", &dataset.code).at("export", name).at("header_bytes", bytes)
        };
        let is_other = |field: Range<usize>, code: &str| {
            let code = &code.as_bytes()[..code.len().min(field.len())];
            self.field(field).is_some_and(|found| found != code.trim_ascii())
        };
        if is_other(DATASET, &dataset.code) {
            let message = format!("header record is of another dataset than `{}`", dataset.code);
            return Err(wrong(message, DATASET).hint(DELIVERED_WRONG));
        }
        if let Some(code) = dataset.institution_code.as_ref().filter(|code| is_other(HOLDER, code)) {
            let message = format!("header record is of another holder than `{}`, {code}", dataset.holder);
            return Err(wrong(message, HOLDER).hint(DELIVERED_WRONG));
        }
        if self.base_date().is_none() && (dataset.validity_days.is_some() || self.field(BASE_DATE).is_some()) {
            let hint = "ask the holder to deliver the file with the day it is of, as YYYYMMDD";
            return Err(wrong("base date of the header record is no day".into(), BASE_DATE).hint(hint));
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ieum_model::error::ErrorKind;

    use super::*;

    fn check(code: &str, (dataset, holder, date): (&str, &str, &str), expected: Option<&str>) {
        let head = format!("11{dataset:30}{holder:7}{date:8}{:014}{:05}{:010}", 0, 80, 3);
        let text = "name_ko=''\nholder='h'\ncategory='1'\nbasis='K'\nkey={item='k',space='person'}\n[items]";
        let mut of: Dataset = toml::from_str(&format!("code='{code}'\n{text}")).unwrap();
        of.institution_code = Some("9900001".into());
        let error = Head::parse(head.as_bytes()).unwrap().check("a.dat", &of).err();
        let place = error.as_ref().map(|error| error.context[2].1.as_str());
        assert_eq!(place, expected, "{head}");
        if let Some(error) = error {
            assert!(error.kind == ErrorKind::ControlTotals && error.hint.is_some());
            assert!(!error.to_string().contains("9900002"), "{error}");
        }
    }

    #[test]
    fn a_header_of_another_dataset_holder_or_no_day_fails() {
        let long = "pension_premium_deduction_confirm";
        check("vat", ("vat", "9900001", "20261031"), None);
        check("vat", ("", "", ""), None);
        check(long, (&long[..30], "9900001", "20261031"), None);
        check("vat", ("other", "9900001", "20261031"), Some("3 to 32"));
        check("vat", ("va", "9900001", "20261031"), Some("3 to 32"));
        check("vat", ("vat", "9900002", "20261031"), Some("33 to 39"));
        check("vat", ("vat", "9900001", "20261131"), Some("40 to 47"));
        check("vat", ("vat", "9900001", "2026103"), Some("40 to 47"));
    }
}
