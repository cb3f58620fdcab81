//! Dates as holders write them (domain.md 2.4, 3.1): `YYYYMMDD`, or with `-`, `.` or `/` between.

use chrono::NaiveDate;

use super::{text, value};

/// What a date cell says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DateValue {
    /// A day of the calendar.
    Date(NaiveDate),
    /// No date: blank, `00000000` or `99991231`, with or without separators.
    Null,
    /// Not a date.
    Invalid,
}

impl DateValue {
    /// The day, if there is one.
    pub const fn date(self) -> Option<NaiveDate> {
        match self {
            Self::Date(date) => Some(date),
            Self::Null | Self::Invalid => None,
        }
    }
}

/// Reads one cell, trimmed of blanks; full-width digits and separators count as ASCII. Does not allocate.
///
/// # Privacy
/// Sees one value; [`DateValue::Invalid`] says nothing about it.
pub fn normalize(raw: &[u8]) -> DateValue {
    let Ok(cell) = std::str::from_utf8(raw) else {
        return DateValue::Invalid;
    };
    let cell = cell.trim_matches(text::is_blank);
    if cell.is_empty() {
        return DateValue::Null;
    }
    let mut ascii = [0u8; 10];
    let mut len = 0;
    for c in cell.chars().map(text::half_width) {
        match (ascii.get_mut(len), u8::try_from(c)) {
            (Some(slot), Ok(byte)) => *slot = byte,
            _ => return DateValue::Invalid,
        }
        len += 1;
    }
    match digits(&ascii[..len]) {
        Some(digits) => of_digits(&digits),
        None => DateValue::Invalid,
    }
}

/// The eight digits of `YYYYMMDD`, or of ten characters with twice the same separator.
fn digits(ascii: &[u8]) -> Option<[u8; 8]> {
    let digits = match *ascii {
        [a, b, c, d, e, f, g, h] => [a, b, c, d, e, f, g, h],
        [a, b, c, d, s, e, f, t, g, h] if s == t && matches!(s, b'-' | b'.' | b'/') => [a, b, c, d, e, f, g, h],
        _ => return None,
    };
    digits.iter().all(u8::is_ascii_digit).then_some(digits)
}

fn of_digits(digits: &[u8; 8]) -> DateValue {
    if matches!(digits, b"00000000" | b"99991231") {
        return DateValue::Null;
    }
    let year = number(&digits[..4]) as i32;
    match NaiveDate::from_ymd_opt(year, number(&digits[4..6]), number(&digits[6..])) {
        Some(date) if year > 0 => DateValue::Date(date),
        _ => DateValue::Invalid,
    }
}

/// The day of `YYMMDD` at the start of a resident's or foreigner's number, in the century that starts with `century`.
pub(super) fn of_century(century: i32, number_of_13: &[u8; 13]) -> Option<NaiveDate> {
    let [year, month, day] = [0, 2, 4].map(|at| number(&number_of_13[at..at + 2]));
    NaiveDate::from_ymd_opt(century + year as i32, month, day)
}

fn number(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |number, &digit| number * 10 + value(digit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spelling() {
        let day = NaiveDate::from_ymd_opt(2024, 2, 29).map_or(DateValue::Null, DateValue::Date);
        let check = |text: &str, expected| assert_eq!(normalize(text.as_bytes()), expected, "{text}");
        for text in ["20240229", "2024-02-29", "2024.02.29", "2024/02/29", " 20240229　", "２０２４－０２－２９"]
        {
            check(text, day);
        }
        for text in ["", "        ", "00000000", "99991231", "0000-00-00", "9999.12.31", "\u{3000}"] {
            check(text, DateValue::Null);
        }
        for text in [
            "20230229",
            "2024-02.29",
            "2024-2-29",
            "240229",
            "20241301",
            "00000101",
            "2024022９9",
            "이천이십사",
            "2024 0229",
        ] {
            check(text, DateValue::Invalid);
        }
        assert_eq!(normalize(b"2024\xff\xff0229"), DateValue::Invalid);
    }

    proptest! {
        #[test]
        fn every_day_is_read_in_every_spelling(year in 1i32..9999, month in 1u32..13, day in 1u32..32) {
            let expected = NaiveDate::from_ymd_opt(year, month, day).map_or(DateValue::Invalid, DateValue::Date);
            for separator in ["", "-", ".", "/"] {
                let text = format!("{year:04}{separator}{month:02}{separator}{day:02}");
                prop_assert_eq!(normalize(text.as_bytes()), expected);
            }
        }

        #[test]
        fn any_bytes_are_answered(raw: Vec<u8>) {
            normalize(&raw);
        }
    }
}
