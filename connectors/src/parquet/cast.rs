//! Casts file columns to the types of items, and says which rows could not be cast. Nothing is rounded or cut.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayBuilder, ArrayRef, AsArray, BooleanArray, Date32Array, GenericListArray, Int64Array, ListArray,
    StringArray, StringBuilder,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{
    DataType, Date32Type, Field, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow::error::ArrowError;
use ieum_model::dataset::ItemType;

use crate::convert;
use crate::spelling::{DAY, KOREA, civil_from_days, digits, write_date, write_time};

/// A cast column and the rows, in ascending order, whose value was there and could not be cast.
pub(crate) struct Cast {
    pub(crate) array: ArrayRef,
    pub(crate) bad: Vec<usize>,
}

/// Casts `array` to `wanted`. Empty text is an absent number, date or list. A timestamp without a zone is taken as it
/// stands; one with a zone is an instant and becomes Korean civil time.
///
/// # Errors
/// When no value of the array's type can become one of the wanted type.
pub(crate) fn cast(
    array: &ArrayRef,
    wanted: &DataType,
    item_type: Option<ItemType>,
    list_separator: char,
) -> Result<Cast, ArrowError> {
    if let DataType::List(element) = wanted {
        return cast_list(array, element, item_type, list_separator);
    }
    if array.data_type() == wanted {
        return Ok(Cast { array: Arc::clone(array), bad: Vec::new() });
    }
    let array = &plain(array)?;
    let done: ArrayRef = match (array.data_type(), wanted) {
        (from, to) if from == to => Arc::clone(array),
        (DataType::Utf8, DataType::Int64) => return Ok(from_text::<Int64Type>(array.as_string(), integer)),
        (DataType::Utf8, DataType::Date32) => return Ok(from_text::<Date32Type>(array.as_string(), date)),
        (DataType::Float64, DataType::Int64) => {
            Arc::new(Int64Array::from_iter(array.as_primitive::<Float64Type>().iter().map(|v| v.and_then(whole))))
        }
        (DataType::Decimal128(..) | DataType::Decimal256(..), DataType::Int64) => {
            let text = safe(array, &DataType::Utf8)?;
            return Ok(from_text::<Int64Type>(text.as_string(), integer_with_zero_fraction));
        }
        (DataType::Timestamp(..) | DataType::Date64, DataType::Date32) => {
            Arc::new(Date32Array::from_iter(seconds(array)?.iter().map(|v| v.and_then(day))))
        }
        // An integer as a date is `YYYYMMDD`, never a count of days.
        (from, DataType::Date32) if from.is_integer() => {
            return Ok(from_text::<Date32Type>(safe(array, &DataType::Utf8)?.as_string(), date));
        }
        (DataType::Timestamp(..) | DataType::Date64, DataType::Utf8) => {
            text_of(&seconds(array)?, |seconds, out| write_time(seconds, item_type, out))
        }
        (DataType::Date32, DataType::Utf8) => {
            let days = array.as_primitive::<Date32Type>();
            let seconds = Int64Array::from_iter(days.iter().map(|v| v.map(|days| i64::from(days) * DAY)));
            text_of(&seconds, |seconds, out| write_date(seconds, item_type, out))
        }
        (DataType::Boolean, DataType::Utf8) if item_type == Some(ItemType::Flag) => {
            let letter = |v: Option<bool>| v.map(|yes| if yes { "Y" } else { "N" });
            Arc::new(array.as_boolean().iter().map(letter).collect::<StringArray>())
        }
        (from, DataType::Utf8) if from.is_integer() && digits(item_type).is_some() => {
            padded(&safe(array, wanted)?, digits(item_type).unwrap_or(0))
        }
        (from, DataType::Utf8) if !from.is_nested() => safe(array, wanted)?,
        (from, DataType::Int64) if from.is_integer() => safe(array, wanted)?,
        (from, to) => return Err(ArrowError::CastError(format!("{from} is never {to}"))),
    };
    Ok(lost(array, done))
}

fn padded(texts: &ArrayRef, digits: usize) -> ArrayRef {
    let text = |text: Option<&str>| text.map(|text| format!("{text:0>digits$}"));
    Arc::new(texts.as_string::<i32>().iter().map(text).collect::<StringArray>())
}

/// The same values without dictionary, view, large offsets or half precision.
fn plain(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match array.data_type() {
        DataType::Dictionary(_, value) => plain(&safe(array, value)?),
        DataType::RunEndEncoded(_, value) => plain(&safe(array, value.data_type())?),
        DataType::LargeUtf8 | DataType::Utf8View => safe(array, &DataType::Utf8),
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => safe(array, &DataType::Binary),
        DataType::Float16 => safe(array, &DataType::Float64),
        _ => Ok(Arc::clone(array)),
    }
}

fn safe(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    if !can_cast_types(array.data_type(), to) {
        return Err(ArrowError::CastError(format!("{} is never {to}", array.data_type())));
    }
    cast_with_options(array, to, &CastOptions { safe: true, ..CastOptions::default() })
}

/// Rows whose value was there before the cast and is not after it.
fn lost(before: &ArrayRef, after: ArrayRef) -> Cast {
    let bad = if after.null_count() == before.null_count() {
        Vec::new()
    } else {
        (0..before.len()).filter(|row| before.is_valid(*row) && after.is_null(*row)).collect()
    };
    Cast { array: after, bad }
}

fn from_text<T: arrow::datatypes::ArrowPrimitiveType>(
    text: &StringArray,
    parse: impl Fn(&str) -> Option<Option<T::Native>>,
) -> Cast {
    let mut bad = Vec::new();
    let values = text.iter().enumerate().map(|(row, value)| {
        let value = value.map(str::trim).filter(|value| !value.is_empty())?;
        let parsed = parse(value);
        if parsed.is_none() {
            bad.push(row);
        }
        parsed.flatten()
    });
    let array: arrow::array::PrimitiveArray<T> = values.collect();
    Cast { array: Arc::new(array), bad }
}

/// As the text formats read it.
fn integer(text: &str) -> Option<Option<i64>> {
    convert::whole_number(text).map(Some)
}

fn integer_with_zero_fraction(text: &str) -> Option<Option<i64>> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.bytes().all(|digit| digit == b'0') { integer(whole) } else { None }
}

fn whole(value: f64) -> Option<i64> {
    /// 2^63: the first whole number above the `i64`s; a float of exactly this size is out.
    const END: f64 = 9_223_372_036_854_775_808.0;
    (value.fract() == 0.0 && (-END..END).contains(&value)).then_some(value as i64)
}

/// A date as the text formats read it, or with a time after it, which is left out; `Some(None)` for no date.
fn date(text: &str) -> Option<Option<i32>> {
    convert::date(text).or_else(|| date_and_time(text).map(Some))
}

/// A date in one of the usual forms: `YYYYMMDD`, or parted by `-`, `.` or `/`; a time after it is left out.
fn date_and_time(text: &str) -> Option<i32> {
    let bytes = text.as_bytes();
    if bytes.iter().all(u8::is_ascii_digit) {
        let time_fits = match bytes.len() {
            8 => true,
            14 => &text[8..10] < "24" && &text[10..12] < "60" && &text[12..] <= "60",
            _ => false,
        };
        return if time_fits { civil(&text[..4], &text[4..6], &text[6..8]) } else { None };
    }
    let (date, time) = text.split_once([' ', 'T']).unwrap_or((text, "0"));
    let starts_as_time = time.bytes().next().is_some_and(|b| b.is_ascii_digit());
    if !starts_as_time || !time.bytes().all(|b| b.is_ascii_digit() || b":.+-Z".contains(&b)) {
        return None;
    }
    let separator = date.chars().find(|c| !c.is_ascii_digit()).filter(|c| "-./".contains(*c))?;
    let mut parts = date.split(separator);
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() { None } else { civil(year, month, day) }
}

fn civil(year: &str, month: &str, day: &str) -> Option<i32> {
    let number = |text: &str, lengths: std::ops::RangeInclusive<usize>| {
        let digits = lengths.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        if digits { text.parse::<i32>().ok() } else { None }
    };
    let (year, month, day) = (number(year, 4..=4)?, number(month, 1..=2)?, number(day, 1..=2)?);
    let days = days_from_civil(year, month, day);
    let exists = year > 0 && civil_from_days(i64::from(days)) == (i64::from(year), i64::from(month), i64::from(day));
    exists.then_some(days)
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar (Howard Hinnant's algorithm).
fn days_from_civil(year: i32, month: i32, day: i32) -> i32 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Civil seconds since 1970 of a timestamp or `Date64` column.
fn seconds(array: &ArrayRef) -> Result<Int64Array, ArrowError> {
    let DataType::Timestamp(unit, zone) = array.data_type() else {
        return seconds(&safe(array, &DataType::Timestamp(TimeUnit::Millisecond, None))?);
    };
    let shift = if zone.is_some() { KOREA } else { 0 };
    let civil = |value: i64, per_second: i64| value.div_euclid(per_second).checked_add(shift);
    Ok(match unit {
        TimeUnit::Second => {
            array.as_primitive::<TimestampSecondType>().iter().map(|v| v.and_then(|v| civil(v, 1))).collect()
        }
        TimeUnit::Millisecond => {
            array.as_primitive::<TimestampMillisecondType>().iter().map(|v| v.and_then(|v| civil(v, 1000))).collect()
        }
        TimeUnit::Microsecond => {
            let micros = array.as_primitive::<TimestampMicrosecondType>();
            micros.iter().map(|v| v.and_then(|v| civil(v, 1_000_000))).collect()
        }
        TimeUnit::Nanosecond => {
            let nanos = array.as_primitive::<TimestampNanosecondType>();
            nanos.iter().map(|v| v.and_then(|v| civil(v, 1_000_000_000))).collect()
        }
    })
}

fn day(seconds: i64) -> Option<i32> {
    i32::try_from(seconds.div_euclid(DAY)).ok()
}

/// Text of every time; `None` from `write` (a year that does not have four digits) leaves the value out.
fn text_of(seconds: &Int64Array, write: impl Fn(i64, &mut String) -> Option<()>) -> ArrayRef {
    let mut text = String::new();
    let mut builder = StringBuilder::with_capacity(seconds.len(), seconds.len() * 14);
    for value in seconds {
        text.clear();
        match value.and_then(|value| write(value, &mut text)) {
            Some(()) => builder.append_value(&text),
            None => builder.append_null(),
        }
    }
    Arc::new(builder.finish())
}

fn cast_list(
    array: &ArrayRef,
    element: &Arc<Field>,
    item_type: Option<ItemType>,
    list_separator: char,
) -> Result<Cast, ArrowError> {
    match array.data_type() {
        DataType::List(_) => elements(array.as_list::<i32>(), element, item_type, list_separator),
        DataType::LargeList(inner) | DataType::FixedSizeList(inner, _) | DataType::ListView(inner) => {
            let list = safe(array, &DataType::List(Arc::clone(inner)))?;
            elements(list.as_list::<i32>(), element, item_type, list_separator)
        }
        from if from.is_nested() && !matches!(from, DataType::Dictionary(..) | DataType::RunEndEncoded(..)) => {
            Err(ArrowError::CastError(format!("{from} is never a list")))
        }
        _ => {
            let array = plain(array)?;
            let cells = if array.data_type() == &DataType::Utf8 {
                split(array.as_string(), list_separator)
            } else {
                one_each(&array)
            };
            elements(&cells, element, item_type, list_separator)
        }
    }
}

/// Casts the elements; a row with one bad element is bad.
fn elements(
    list: &GenericListArray<i32>,
    element: &Arc<Field>,
    item_type: Option<ItemType>,
    list_separator: char,
) -> Result<Cast, ArrowError> {
    let done = cast(list.values(), element.data_type(), item_type, list_separator)?;
    let mut bad = Vec::new();
    if !done.bad.is_empty() {
        let offsets = list.value_offsets();
        bad.extend((0..list.len()).filter(|row| {
            let (start, end) = (offsets[*row] as usize, offsets[*row + 1] as usize);
            let first = done.bad.partition_point(|value| *value < start);
            list.is_valid(*row) && done.bad.get(first).is_some_and(|value| *value < end)
        }));
    }
    let list = ListArray::try_new(Arc::clone(element), list.offsets().clone(), done.array, list.nulls().cloned())?;
    Ok(Cast { array: Arc::new(list), bad })
}

/// Splits every cell; an empty one is an absent list.
fn split(cells: &StringArray, separator: char) -> ListArray {
    let mut values = StringBuilder::new();
    let mut lengths = Vec::with_capacity(cells.len());
    for cell in cells {
        let before = values.len();
        if let Some(cell) = cell.filter(|cell| !cell.is_empty()) {
            cell.split(separator).for_each(|value| values.append_value(value));
        }
        lengths.push(values.len() - before);
    }
    let valid: BooleanArray = lengths.iter().map(|length| Some(*length > 0)).collect();
    let nulls = NullBuffer::new(valid.values().clone());
    let field = Arc::new(Field::new("item", DataType::Utf8, true));
    ListArray::new(field, OffsetBuffer::from_lengths(lengths), Arc::new(values.finish()), Some(nulls))
}

/// A list of one for every value.
fn one_each(array: &ArrayRef) -> ListArray {
    let field = Arc::new(Field::new("item", array.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(1, array.len()));
    ListArray::new(field, offsets, Arc::clone(array), array.nulls().cloned())
}
