//! How often a periodic request is due.

use chrono::{Datelike, NaiveDate};

use super::Request;

/// The words for how often a periodic request is due.
pub const CYCLES: &[&str] = &["daily", "weekly", "monthly", "quarterly", "yearly"];

impl Request {
    /// Whether the request is to be answered on that date. One that is not periodic always is.
    ///
    /// Cycles are counted on the calendar from `requested_at`: monthly on the 31st falls on the last day of a shorter month.
    pub fn is_due(&self, on: NaiveDate) -> bool {
        if !self.periodic {
            return true;
        }
        let from = self.requested_at;
        if on < from || self.until.is_some_and(|until| on > until) {
            return false;
        }
        match self.cycle.as_deref() {
            Some("daily") => true,
            Some("weekly") => (on - from).num_days() % 7 == 0,
            Some("monthly") => falls_on(from, on, 1),
            Some("quarterly") => falls_on(from, on, 3),
            Some("yearly") => falls_on(from, on, 12),
            _ => false,
        }
    }
}

/// Whether `on` lies a multiple of `months` after `from`, on the same day or on the last one of a shorter month.
fn falls_on(from: NaiveDate, on: NaiveDate, months: i32) -> bool {
    let apart = (on.year() - from.year()) * 12 + on.month0() as i32 - from.month0() as i32;
    let ends_its_month = on.succ_opt().is_none_or(|next| next.month() != on.month());
    apart % months == 0 && (on.day() == from.day() || (on.day() < from.day() && ends_its_month))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::fixture::*;

    #[test]
    fn a_periodic_request_is_due_on_the_calendar() {
        let table = [
            ("daily", "2026-01-31", None, "2026-01-30", false),
            ("daily", "2026-01-31", None, "2026-01-31", true),
            ("daily", "2026-01-31", None, "2026-02-01", true),
            ("daily", "2026-01-31", Some("2026-02-01"), "2026-02-01", true),
            ("daily", "2026-01-31", Some("2026-02-01"), "2026-02-02", false),
            ("weekly", "2026-01-01", None, "2026-01-08", true),
            ("weekly", "2026-01-01", None, "2026-01-09", false),
            ("monthly", "2026-01-31", None, "2026-02-27", false),
            ("monthly", "2026-01-31", None, "2026-02-28", true),
            ("monthly", "2026-01-31", None, "2026-03-30", false),
            ("monthly", "2026-01-31", None, "2026-03-31", true),
            ("monthly", "2026-01-31", None, "2026-04-30", true),
            ("monthly", "2026-02-28", None, "2026-03-31", false),
            ("monthly", "2026-01-31", None, "2028-02-28", false),
            ("monthly", "2026-01-31", None, "2028-02-29", true),
            ("quarterly", "2025-11-30", None, "2026-02-28", true),
            ("quarterly", "2025-11-30", None, "2026-03-30", false),
            ("quarterly", "2025-11-30", None, "2026-05-30", true),
            ("yearly", "2024-02-29", None, "2025-02-28", true),
            ("yearly", "2024-02-29", None, "2028-02-28", false),
            ("yearly", "2024-02-29", None, "2028-02-29", true),
            ("yearly", "2026-01-01", None, "2026-02-01", false),
            ("hourly", "2026-01-01", None, "2026-01-01", false),
        ];
        for (cycle, from, until, on, due) in table {
            let mut request = read_with("periodic", "Y").unwrap();
            request.cycle = Some(cycle.into());
            request.requested_at = day(from);
            request.until = until.map(day);
            assert_eq!(request.is_due(day(on)), due, "{cycle} from {from} until {until:?} on {on}");
        }
        assert!(read_with("periodic", "N").unwrap().is_due(day("2030-05-05")));
    }
}
