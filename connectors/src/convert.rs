//! Cell text to typed Arrow columns. Blank is null everywhere.

use arrow::array::{
    Array, ArrayBuilder, ArrayRef, BooleanArray, Date32Builder, Int64Builder, ListBuilder, RecordBatch,
    RecordBatchOptions, StringBuilder,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use std::sync::Arc;

use ieum_model::dataset::Encoding;
use ieum_model::error::{Error, Result};

use crate::encoding;
use crate::nested::values::Values;

/// Text of a batch above which it is handed on early; far below the 2 GiB that 32-bit offsets address.
const BATCH_TEXT: usize = 64 * 1024 * 1024;

/// Why a cell could not be read; carries no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flaw {
    /// Rule that is broken: `encoding` or `type`.
    pub rule: &'static str,
    /// What was expected.
    pub reason: &'static str,
}

const NOT_ENCODED: Flaw = Flaw { rule: "encoding", reason: "expected text in the encoding of the export" };
const NOT_A_NUMBER: Flaw = Flaw { rule: "type", reason: "expected a whole number" };
const NOT_A_DATE: Flaw = Flaw { rule: "type", reason: "expected a date" };

/// A whole number: digits with any leading zeros, thousands commas in the right places, one sign before or after.
pub fn whole_number(text: &str) -> Option<i64> {
    let bytes = text.trim().as_bytes();
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] | [rest @ .., b'-'] => (true, rest),
        [b'+', rest @ ..] | [rest @ .., b'+'] => (false, rest),
        _ => (false, bytes),
    };
    if !digits.first()?.is_ascii_digit() {
        return None;
    }
    let grouped = digits.contains(&b',');
    let (mut value, mut run) = (0_i64, 0_usize);
    let mut first_group = true;
    for &byte in digits {
        if byte == b',' {
            if if first_group { run > 3 } else { run != 3 } {
                return None;
            }
            (first_group, run) = (false, 0);
        } else if byte.is_ascii_digit() {
            let digit = i64::from(byte - b'0');
            value = value.checked_mul(10)?;
            value = if negative { value.checked_sub(digit)? } else { value.checked_add(digit)? };
            run += 1;
        } else {
            return None;
        }
    }
    (!grouped || run == 3).then_some(value)
}

/// Days since 1970-01-01 of `20261031`, `2026-10-31`, `2026.10.31`, `2026/10/31` or `2026. 1. 5.`;
/// `Some(None)` for the holders' ways to say "no date", `None` for anything else.
pub fn date(text: &str) -> Option<Option<i32>> {
    let text = text.trim();
    let (year, month, day) = if text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        (number(&text[..4])?, number(&text[4..6])?, number(&text[6..])?)
    } else {
        let separator = *text.as_bytes().get(4).filter(|byte| b"-./".contains(byte))?;
        let text = if separator == b'.' { text.strip_suffix('.').unwrap_or(text) } else { text };
        let mut parts = text.split(char::from(separator)).map(str::trim_start);
        let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || year.len() != 4 || month.len() > 2 || day.len() > 2 {
            return None;
        }
        (number(year)?, number(month)?, number(day)?)
    };
    match (year, month, day) {
        (0, 0, 0) | (9999, 12, 31) => Some(None),
        _ => days(year, month, day).map(Some),
    }
}

fn number(text: &str) -> Option<i32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// Days since 1970-01-01 in the Gregorian calendar (Hinnant, `days_from_civil`).
fn days(year: i32, month: i32, day: i32) -> Option<i32> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if year == 0 || !(1..=last).contains(&day) {
        return None;
    }
    let shifted = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (shifted / 400, shifted % 400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    Some(era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468)
}

enum Column {
    Text(StringBuilder),
    Number(Int64Builder),
    Date(Date32Builder),
    Texts(ListBuilder<StringBuilder>),
    Numbers(ListBuilder<Int64Builder>),
    Dates(ListBuilder<Date32Builder>),
}

fn push_number(builder: &mut Int64Builder, text: &str) -> Result<(), Flaw> {
    builder.append_value(whole_number(text).ok_or(NOT_A_NUMBER)?);
    Ok(())
}

/// A number without a fraction of nothing but zeros.
fn without_zeros(text: &str) -> &str {
    match text.trim().split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|digit| digit == b'0') => whole,
        _ => text,
    }
}

fn push_date(builder: &mut Date32Builder, text: &str) -> Result<(), Flaw> {
    builder.append_option(date(text).ok_or(NOT_A_DATE)?);
    Ok(())
}

fn push_list<B: ArrayBuilder>(
    list: &mut ListBuilder<B>,
    text: &str,
    separator: char,
    null: impl Fn(&mut B),
    push: impl Fn(&mut B, &str) -> Result<(), Flaw>,
) -> Result<(), Flaw> {
    for part in text.split(separator).map(str::trim) {
        if part.is_empty() {
            null(list.values());
        } else {
            push(list.values(), part)?;
        }
    }
    list.append(true);
    Ok(())
}

impl Column {
    fn try_new(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Utf8 => Self::Text(StringBuilder::new()),
            DataType::Int64 => Self::Number(Int64Builder::new()),
            DataType::Date32 => Self::Date(Date32Builder::new()),
            DataType::List(field) => Self::list(field)?,
            _ => return None,
        })
    }

    fn list(field: &FieldRef) -> Option<Self> {
        let field = Arc::clone(field);
        Some(match field.data_type() {
            DataType::Utf8 => Self::Texts(ListBuilder::new(StringBuilder::new()).with_field(field)),
            DataType::Int64 => Self::Numbers(ListBuilder::new(Int64Builder::new()).with_field(field)),
            DataType::Date32 => Self::Dates(ListBuilder::new(Date32Builder::new()).with_field(field)),
            _ => return None,
        })
    }

    fn push(&mut self, text: &str, separator: char) -> Result<(), Flaw> {
        match self {
            Self::Text(builder) => {
                builder.append_value(text);
                Ok(())
            }
            Self::Number(builder) => push_number(builder, text),
            Self::Date(builder) => push_date(builder, text),
            Self::Texts(list) => push_list(list, text, separator, StringBuilder::append_null, |values, part| {
                values.append_value(part);
                Ok(())
            }),
            Self::Numbers(list) => push_list(list, text, separator, Int64Builder::append_null, push_number),
            Self::Dates(list) => push_list(list, text, separator, Date32Builder::append_null, push_date),
        }
    }

    fn push_values(&mut self, values: &Values) -> Result<(), Flaw> {
        fn all<B: ArrayBuilder>(
            list: &mut ListBuilder<B>,
            values: &Values,
            null: impl Fn(&mut B),
            push: impl Fn(&mut B, &str) -> Result<(), Flaw>,
        ) -> Result<(), Flaw> {
            for value in values.iter() {
                match value {
                    None => null(list.values()),
                    Some(value) => push(list.values(), value)?,
                }
            }
            list.append(values.iter().next().is_some());
            Ok(())
        }
        match self {
            Self::Texts(list) => all(list, values, StringBuilder::append_null, |texts, text| {
                texts.append_value(text);
                Ok(())
            }),
            Self::Numbers(list) => {
                all(list, values, Int64Builder::append_null, |numbers, text| push_number(numbers, without_zeros(text)))
            }
            Self::Number(builder) => match values.only()? {
                None => {
                    builder.append_null();
                    Ok(())
                }
                Some(text) => push_number(builder, without_zeros(text)),
            },
            Self::Dates(list) => all(list, values, Date32Builder::append_null, push_date),
            _ => match values.only()? {
                None => {
                    self.push_null();
                    Ok(())
                }
                // A column of single values has no use for a separator.
                Some(value) => self.push(value, '\0'),
            },
        }
    }

    fn push_null(&mut self) {
        match self {
            Self::Text(builder) => builder.append_null(),
            Self::Number(builder) => builder.append_null(),
            Self::Date(builder) => builder.append_null(),
            Self::Texts(list) => list.append_null(),
            Self::Numbers(list) => list.append_null(),
            Self::Dates(list) => list.append_null(),
        }
    }

    fn builder(&mut self) -> &mut dyn ArrayBuilder {
        match self {
            Self::Text(builder) => builder,
            Self::Number(builder) => builder,
            Self::Date(builder) => builder,
            Self::Texts(list) => list,
            Self::Numbers(list) => list,
            Self::Dates(list) => list,
        }
    }
}

/// The batch being built. Cells of a row are pushed in column order, then the row is kept or dropped as a whole.
pub struct Columns {
    schema: SchemaRef,
    columns: Vec<Column>,
    encoding: Encoding,
    separator: char,
    scratch: String,
    /// One entry a row: whether it is kept. Dropped rows are filtered out of the finished batch.
    keep: Vec<bool>,
    kept: usize,
    text_bytes: usize,
}

impl Columns {
    /// Builders for `schema`, fed with cells in `encoding` whose lists are split at `separator`.
    ///
    /// # Errors
    /// When the schema has a type that no item has.
    pub fn try_new(schema: SchemaRef, encoding: Encoding, separator: char) -> Result<Self> {
        let column = |field: &FieldRef| {
            Column::try_new(field.data_type())
                .ok_or_else(|| Error::internal("no item has this type").at("column", field.name()))
        };
        let columns = schema.fields().iter().map(column).collect::<Result<_>>()?;
        let scratch = String::new();
        Ok(Self { schema, columns, encoding, separator, scratch, keep: Vec::new(), kept: 0, text_bytes: 0 })
    }

    /// Appends a cell to a column of the current row.
    ///
    /// # Errors
    /// The flaw, when the bytes are no text of the encoding or the text is no value of the column's type.
    pub fn push(&mut self, column: usize, bytes: &[u8]) -> Result<(), Flaw> {
        let text = encoding::decode(self.encoding, bytes, &mut self.scratch).ok_or(NOT_ENCODED)?;
        self.text_bytes += text.len();
        if text.trim_start().is_empty() {
            self.columns[column].push_null();
            return Ok(());
        }
        self.columns[column].push(text, self.separator)
    }

    /// A cell as text in UTF-8; `None` where the bytes are no text of the encoding.
    pub fn text(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        encoding::decode(self.encoding, bytes, &mut String::new()).map(|text| text.as_bytes().to_vec())
    }

    /// Ends a row whose cells were all pushed.
    pub fn keep_row(&mut self) {
        self.keep.push(true);
        self.kept += 1;
    }

    /// Drops the row that was kept last.
    pub fn take_back_row(&mut self) {
        if let Some(kept) = self.keep.last_mut().filter(|kept| **kept) {
            *kept = false;
            self.kept -= 1;
        }
    }

    /// Appends what was found of an item to a column of the current row: all values to a list, else the one there is.
    ///
    /// # Errors
    /// The flaw, when a value is none of the column's type, or there are several different ones for one place.
    pub fn push_values(&mut self, column: usize, values: &Values) -> Result<(), Flaw> {
        self.text_bytes += values.bytes();
        self.columns[column].push_values(values)
    }

    /// Ends a row that is rejected, wherever its cells got to.
    pub fn drop_row(&mut self) {
        let rows = self.keep.len();
        for column in self.columns.iter_mut() {
            if column.builder().len() == rows {
                column.push_null();
            }
        }
        self.keep.push(false);
    }

    /// Whether the batch should be handed on before another row is added.
    pub fn is_full(&self, batch_rows: usize) -> bool {
        self.keep.len() >= batch_rows.max(1) || self.text_bytes >= BATCH_TEXT
    }

    /// The rows kept since the last batch; `None` where there are none.
    ///
    /// # Errors
    /// When the columns do not make a batch, which is our bug.
    pub fn finish(&mut self) -> Result<Option<RecordBatch>> {
        let arrays: Vec<ArrayRef> = self.columns.iter_mut().map(|column| column.builder().finish()).collect();
        let keep = std::mem::take(&mut self.keep);
        let kept = std::mem::take(&mut self.kept);
        self.text_bytes = 0;
        if kept == 0 {
            return Ok(None);
        }
        let rows = arrays.first().map_or(kept, |array| array.len());
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let mut batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options).map_err(bug)?;
        if kept < rows {
            batch = filter_record_batch(&batch, &BooleanArray::from(keep)).map_err(bug)?;
        }
        Ok(Some(batch))
    }
}

fn bug(error: arrow::error::ArrowError) -> Error {
    Error::internal(format!("cannot build a batch: {error}"))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{Field, Schema};
    use arrow::util::display::array_value_to_string;

    use super::*;

    #[test]
    fn whole_numbers_as_holders_write_them() {
        let check = |text, expected| assert_eq!(whole_number(text), expected, "{text}");
        check("0000123", Some(123));
        check("1,234,567", Some(1_234_567));
        check("-12", Some(-12));
        check("1,200-", Some(-1200));
        check("+7", Some(7));
        check("-9223372036854775808", Some(i64::MIN));
        for wrong in
            ["", "-", "1,23", ",123", "1234,567", "1,,234", "1.5", "--1", "-1-", "9223372036854775808", "１", "1,"]
        {
            check(wrong, None);
        }
    }

    #[test]
    fn dates_as_holders_write_them() {
        let check = |text, expected| assert_eq!(date(text), expected, "{text}");
        check("19700101", Some(Some(0)));
        check("2024-02-29", Some(Some(19_782)));
        check("2024.02.29", Some(Some(19_782)));
        check("2024/2/29", Some(Some(19_782)));
        check("2024. 2. 29.", Some(Some(19_782)));
        check("19691231", Some(Some(-1)));
        check("00000000", Some(None));
        check("99991231", Some(None));
        check("9999-12-31", Some(None));
        for wrong in
            ["20230229", "2024-13-01", "2024-00-10", "2024-1", "202401011", "2024-1-1-1", "+2024-1-1", "가나다라"]
        {
            check(wrong, None);
        }
    }

    #[test]
    fn what_was_found_of_an_item_fills_its_column() {
        let list = |value| DataType::List(Arc::new(Field::new("item", value, true)));
        let columns = |data_type: DataType| {
            let schema = Arc::new(Schema::new(vec![Field::new("x", data_type, true)]));
            Columns::try_new(schema, Encoding::Utf8, '|').unwrap()
        };
        let check = |data_type: DataType, found: &[Option<&str>], expected: Result<&str, &str>| {
            let mut columns = columns(data_type);
            let mut values = Values::default();
            for value in found {
                match value {
                    Some(value) => values.push(value),
                    None => values.push_null(),
                }
            }
            match (columns.push_values(0, &values), expected) {
                (Err(flaw), expected) => assert_eq!(Err(flaw.rule), expected, "{found:?}"),
                (Ok(()), expected) => {
                    columns.keep_row();
                    let batch = columns.finish().unwrap().unwrap();
                    let shown = array_value_to_string(batch.column(0), 0).unwrap();
                    assert_eq!(Ok(shown.as_str()), expected, "{found:?}");
                }
            }
        };
        check(DataType::Utf8, &[Some("a"), None, Some("a")], Ok("a"));
        check(DataType::Utf8, &[Some("a|b")], Ok("a|b"));
        check(DataType::Utf8, &[Some("a"), Some("b")], Err("repeated"));
        check(DataType::Int64, &[Some("7.00")], Ok("7"));
        check(DataType::Int64, &[Some("7.5")], Err("type"));
        check(DataType::Date32, &[Some("2024-02-29")], Ok("2024-02-29"));
        check(list(DataType::Utf8), &[Some("a|b"), None, Some("c")], Ok("[a|b, , c]"));
        check(list(DataType::Int64), &[Some("1"), Some("2.0"), Some("1")], Ok("[1, 2, 1]"));
        check(list(DataType::Date32), &[Some("2024-02-29"), Some("00000000")], Ok("[2024-02-29, ]"));
        check(list(DataType::Date32), &[Some("x")], Err("type"));
        check(list(DataType::Utf8), &[], Ok(""));
    }
}
