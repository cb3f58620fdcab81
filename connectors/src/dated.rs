//! Exports whose path carries their date: the newest one that is not after the run's is read, the others are left alone.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use ieum_model::dataset::{Deltas, Export};
use ieum_model::error::Result;

use crate::files;
use crate::folder::Folder;

/// Stands for the date, `YYYYMMDD`, in an export's path.
pub const DATE: &str = "{date}";
const ANY_DATE: &str = "[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]";
const DATE_BYTES: usize = 8;

/// The newest date not after `on` for which `pattern` finds files below `root`; `None` if there is none.
///
/// # Errors
/// When the folder cannot be looked through.
pub fn newest(root: impl Into<Folder>, pattern: &str, on: NaiveDate) -> Result<Option<NaiveDate>> {
    let names = files::find(root, &pattern.replace(DATE, ANY_DATE))?;
    let dates = names.iter().flat_map(|name| dates_in(name).map(move |date| (name, date)));
    let meant = dates.filter(|(name, date)| *date <= on && is_match(pattern, *date, name));
    Ok(meant.map(|(_, date)| date).max())
}

/// The deltas of `export`, with the files of the dates that count, and the last of these: those after `base`, the date of the base
/// export, and not after `on`.
///
/// # Errors
/// When the folder cannot be looked through.
pub fn deltas(
    root: &Folder,
    export: &Export,
    base: Option<NaiveDate>,
    on: NaiveDate,
) -> Result<(Option<Deltas>, Option<NaiveDate>)> {
    let Some(deltas) = export.deltas.as_ref().filter(|deltas| deltas.path.contains(DATE)) else {
        return Ok((export.deltas.clone(), None));
    };
    let names = files::find(root, &deltas.path.replace(DATE, ANY_DATE))?;
    let dates = names.iter().flat_map(|name| dates_in(name).map(move |date| (name, date)));
    let counts = |date: NaiveDate| date <= on && base.is_none_or(|base| date > base);
    let dates = dates.filter(|(name, date)| counts(*date) && is_match(&deltas.path, *date, name));
    let dates: BTreeSet<NaiveDate> = dates.map(|(_, date)| date).collect();
    let dated = dates.iter().map(|date| of_date(&deltas.path, *date)).collect();
    Ok((Some(Deltas { dated, ..deltas.clone() }), dates.last().copied()))
}

/// `pattern` for the files of one date.
pub fn of_date(pattern: &str, date: NaiveDate) -> String {
    pattern.replace(DATE, &date.format("%Y%m%d").to_string())
}

fn is_match(pattern: &str, date: NaiveDate, name: &str) -> bool {
    glob::Pattern::new(&of_date(pattern, date)).is_ok_and(|pattern| pattern.matches(name))
}

/// Every calendar date that stands as eight digits in a name.
fn dates_in(name: &str) -> impl Iterator<Item = NaiveDate> {
    let digits = |window: &[u8]| window.iter().all(u8::is_ascii_digit);
    let text = |window: &[u8]| std::str::from_utf8(window).ok().map(str::to_owned);
    let dates = name.as_bytes().windows(DATE_BYTES).filter(move |window| digits(window)).filter_map(text);
    dates.filter_map(|text| NaiveDate::parse_from_str(&text, "%Y%m%d").ok()).collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(names: &[&str], pattern: &str, expected: Option<&str>) {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        let on = NaiveDate::from_ymd_opt(2026, 11, 22).unwrap();
        let found = newest(folder.path(), pattern, on).unwrap().map(|date| date.to_string());
        assert_eq!(found.as_deref(), expected, "{names:?}");
    }

    #[test]
    fn the_newest_date_not_after_the_run_is_meant() {
        let names =
            ["a_20261120_1.csv", "a_20261121_1.csv", "a_20261121_2.csv", "a_20261123_1.csv", "b_20261122_1.csv"];
        check(&names, "a_{date}_*.csv", Some("2026-11-21"));
        check(&["a_20261123_1.csv"], "a_{date}_*.csv", None);
        check(&["a_20261399_1.csv"], "a_{date}_*.csv", None);
        check(&["20200101_20261121.csv"], "*_{date}.csv", Some("2026-11-21"));
    }
}
