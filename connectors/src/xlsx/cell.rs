//! A cell, and its text as the type of an item wants it.

use std::fmt::Write as _;

use ieum_model::dataset::ItemType;

use crate::spelling::{self, digits};

/// Seconds of a day.
const DAY: f64 = 86_400.0;
/// Days from 1899-12-30, where the serial numbers of spreadsheets count from, to 1970-01-01.
const EPOCH_1900: i64 = 25_569;
/// The same from 1904-01-01, of workbooks that count from there.
const EPOCH_1904: i64 = 24_107;
/// Serial numbers of days that a spreadsheet can show: to 9999-12-31.
const SERIALS: std::ops::Range<f64> = 1.0..2_958_466.0;
/// Serial numbers that are taken for days where no format says that they are: 1910-01-01 to 2100-12-31. A year, a month
/// (`202402`) or a day of six digits (`990231`) is none of them.
const UNSTYLED: std::ops::Range<f64> = 3_654.0..73_416.0;
/// Whole numbers up to this are exact as floats.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// What a cell holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// Text.
    Text(&'a str),
    /// A number, or a day as its serial number where nothing says that it is one.
    Number(f64),
    /// A number that is shown as a day or a time of day.
    Time {
        /// Days since the epoch of the workbook, the time of day after the point.
        serial: f64,
        /// Whether the epoch is 1904-01-01.
        from_1904: bool,
    },
    /// Yes or no.
    Bool(bool),
    /// What a formula could not be computed to, such as `#N/A`.
    Error,
}

impl Cell<'_> {
    /// Whether nothing stands in it.
    pub fn is_blank(&self) -> bool {
        matches!(self, Cell::Text(text) if text.trim().is_empty())
    }

    /// Writes the text of the cell after what stands in `out`, as an item of `item_type` has it: whole numbers without a point,
    /// identifiers with the zeros that a number has lost, days in ISO form; `None` where it has none, because it is an error.
    ///
    /// A number in the column of a date is `YYYYMMDD`, else a serial number of the 1900 epoch where it is one of this age.
    pub fn text(&self, item_type: Option<ItemType>, out: &mut String) -> Option<()> {
        // Writing to a String cannot fail.
        match *self {
            Cell::Text(text) => out.push_str(text.trim()),
            Cell::Number(number) if item_type == Some(ItemType::Date) && !is_written_date(number) => {
                if !UNSTYLED.contains(&number) {
                    return None;
                }
                return write_serial(number, false, item_type, out);
            }
            Cell::Number(number) if number.fract() == 0.0 && number.abs() < EXACT => {
                let width = digits(item_type).unwrap_or(0);
                let _ = write!(out, "{:0>width$}", number as i64);
            }
            Cell::Number(number) => {
                let _ = write!(out, "{number}");
            }
            Cell::Time { serial, from_1904 } => return write_serial(serial, from_1904, item_type, out),
            Cell::Bool(yes) if item_type == Some(ItemType::Flag) => out.push(if yes { 'Y' } else { 'N' }),
            Cell::Bool(yes) => out.push_str(if yes { "TRUE" } else { "FALSE" }),
            Cell::Error => return None,
        }
        Some(())
    }
}

/// Whether a number is a date as it is written, `YYYYMMDD`; as a serial number it would be a day beyond every calendar.
fn is_written_date(number: f64) -> bool {
    number.fract() == 0.0 && (10_000_101.0..=99_991_231.0).contains(&number)
}

fn write_serial(serial: f64, from_1904: bool, item_type: Option<ItemType>, out: &mut String) -> Option<()> {
    if !serial.is_finite() || !(0.0..SERIALS.end).contains(&serial) {
        return None;
    }
    let seconds = (serial * DAY).round() as i64;
    if serial < 1.0 && !from_1904 {
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let _ = write!(out, "{hour:02}:{minute:02}:{second:02}");
        return Some(());
    }
    let mut days = seconds.div_euclid(86_400);
    // There was no 29 February 1900: spreadsheets count it as day 60, and the days before it are one too low.
    if !from_1904 && days < 60 {
        days += 1;
    }
    let seconds = (days - if from_1904 { EPOCH_1904 } else { EPOCH_1900 }) * 86_400 + seconds.rem_euclid(86_400);
    if seconds.rem_euclid(86_400) == 0 && item_type != Some(ItemType::Dt) {
        spelling::write_date(seconds, item_type, out)
    } else {
        spelling::write_time(seconds, item_type, out)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn check(cell: Cell<'_>, item_type: ItemType, expected: Option<&str>) {
        let mut out = String::new();
        let text = cell.text(Some(item_type), &mut out).map(|()| out);
        assert_eq!(text.as_deref(), expected, "{cell:?} as {item_type:?}");
    }

    #[test]
    fn a_cell_has_the_text_that_its_column_wants() {
        check(Cell::Text(" 9,321,863 "), ItemType::Amt, Some("9,321,863"));
        check(Cell::Number(9_321_863.0), ItemType::Amt, Some("9321863"));
        check(Cell::Number(-0.5), ItemType::Dec, Some("-0.5"));
        check(Cell::Number(1e21), ItemType::Dec, Some("1000000000000000000000"));
        check(Cell::Number(123_456_789.0), ItemType::Brno, Some("0123456789"));
        check(Cell::Number(1.0), ItemType::Code, Some("1"));
        check(Cell::Bool(true), ItemType::Flag, Some("Y"));
        check(Cell::Bool(false), ItemType::Str, Some("FALSE"));
        check(Cell::Error, ItemType::Str, None);
    }

    #[test]
    fn days_are_serial_numbers() {
        let time = |serial, from_1904| Cell::Time { serial, from_1904 };
        check(Cell::Number(45_351.0), ItemType::Date, Some("2024-02-29"));
        check(Cell::Number(20_240_229.0), ItemType::Date, Some("20240229"));
        check(Cell::Number(-1.0), ItemType::Date, None);
        // A year, a month, a day of six digits: nobody's day.
        for number in [2024.0, 202_402.0, 990_231.0] {
            check(Cell::Number(number), ItemType::Date, None);
        }
        check(time(45_351.0, false), ItemType::Str, Some("2024-02-29"));
        check(time(43_889.0, true), ItemType::Date, Some("2024-02-29"));
        check(time(45_351.5, false), ItemType::Str, Some("2024-02-29 12:00:00"));
        check(time(45_351.5, false), ItemType::Dt, Some("20240229120000"));
        check(time(45_351.0, false), ItemType::Dt, Some("20240229000000"));
        check(time(45_351.0, false), ItemType::Ym, Some("202402"));
        check(time(0.375, false), ItemType::Str, Some("09:00:00"));
        // The day that never was, and those around it.
        check(time(59.0, false), ItemType::Date, Some("1900-02-28"));
        check(time(61.0, false), ItemType::Date, Some("1900-03-01"));
        check(time(1.0, false), ItemType::Date, Some("1900-01-01"));
        check(time(f64::NAN, false), ItemType::Date, None);
    }
}
