//! How identifiers, days and times that a file holds as numbers are spelled as text.

use std::fmt::Write as _;

use ieum_model::dataset::ItemType;

/// Seconds of a day.
pub(crate) const DAY: i64 = 24 * 3600;

/// Seconds by which Korean time is ahead of UTC.
pub(crate) const KOREA: i64 = 9 * 3600;

/// Digits of an identifier that is a number of a fixed length: as an integer it has lost the zeros that it begins with.
pub(crate) fn digits(item_type: Option<ItemType>) -> Option<usize> {
    match item_type? {
        ItemType::Rrno | ItemType::Frno | ItemType::Crno => Some(13),
        ItemType::Brno => Some(10),
        ItemType::Dln => Some(12),
        ItemType::Pnu => Some(19),
        _ => None,
    }
}

/// Year, month and day of a number of days since 1970-01-01 in the proleptic Gregorian calendar (Howard Hinnant's algorithm).
pub(crate) fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

/// Writes the day of civil seconds since 1970 as an item of `item_type` has it; `None` where its year does not have four digits.
pub(crate) fn write_date(seconds: i64, item_type: Option<ItemType>, out: &mut String) -> Option<()> {
    let (year, month, day) = civil_from_days(seconds.div_euclid(DAY));
    if !(0..=9999).contains(&year) {
        return None;
    }
    match item_type {
        Some(ItemType::Year) => write!(out, "{year:04}"),
        Some(ItemType::Ym) => write!(out, "{year:04}{month:02}"),
        Some(ItemType::Dt) => write!(out, "{year:04}{month:02}{day:02}"),
        _ => write!(out, "{year:04}-{month:02}-{day:02}"),
    }
    .ok()
}

/// As [`write_date`], with the time of day.
pub(crate) fn write_time(seconds: i64, item_type: Option<ItemType>, out: &mut String) -> Option<()> {
    write_date(seconds, item_type, out)?;
    let time = seconds.rem_euclid(DAY);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    match item_type {
        Some(ItemType::Year | ItemType::Ym) => Ok(()),
        Some(ItemType::Dt) => write!(out, "{hour:02}{minute:02}{second:02}"),
        _ => write!(out, " {hour:02}:{minute:02}:{second:02}"),
    }
    .ok()
}
