//! Who a request is about: how well-formed an identifier is, how it is written, and how old its subject is.

use std::borrow::Cow;

use chrono::{Datelike, NaiveDate};

use crate::request::SubjectId;

/// Below this age a legal representative has to consent (refusal ground R01).
const AGE_OF_CONSENT: i32 = 14;

/// How well-formed an identifier is. A failed checksum alone is a warning: it never drops a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IdGrade {
    /// Well-formed.
    Ok,
    /// Doubtful; counted, never refused.
    Warn,
    /// Cannot be such an identifier.
    Error,
    /// Of a protected person: nothing about it is delivered, whoever asks.
    Protected,
}

/// Whether the identifier's birth date says that the subject is a child on that date. A birth date still to come says
/// nothing: only synthetic numbers have one (they can be nobody's).
pub(super) fn is_child(id: &SubjectId, on: NaiveDate) -> bool {
    matches!(&*id.kind, "rrno" | "frno")
        && birth_date(&id.value).filter(|born| *born <= on).is_some_and(|born| {
            let before_birthday = (on.month(), on.day()) < (born.month(), born.day());
            on.year() - born.year() - i32::from(before_birthday) < AGE_OF_CONSENT
        })
}

/// The birth date in a resident or foreigner registration number: `YYMMDD`, then a digit for sex and century.
fn birth_date(number: &str) -> Option<NaiveDate> {
    let mut digits = number.chars().filter(|c| !is_filler(*c)).map(|c| c.to_digit(10));
    let mut two = || Some(digits.next()?? * 10 + digits.next()??);
    let (year, month, day) = (two()?, two()?, two()?);
    let century = match digits.next()?? {
        1 | 2 | 5 | 6 => 1900,
        3 | 4 | 7 | 8 => 2000,
        _ => 1800,
    };
    NaiveDate::from_ymd_opt(century + year as i32, month, day)
}

fn is_filler(c: char) -> bool {
    c == '-' || c.is_whitespace()
}

/// The identifier without the hyphens and blanks that numbers are shown with.
pub(super) fn same_written(id: &SubjectId) -> (&str, Cow<'_, str>) {
    let value = match &*id.kind {
        "rrno" | "frno" | "brno" | "crno" if id.value.contains(is_filler) => {
            id.value.chars().filter(|c| !is_filler(*c)).collect()
        }
        _ => Cow::Borrowed(&*id.value),
    };
    (&id.kind, value)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::*;

    #[test]
    fn a_doubtful_identifier_is_counted_and_never_refused() {
        let night = night(vec![request("r1", |r| r.subject_ids[0].value = "odd".into())], &[], &[]);
        assert_eq!((night.warnings, refusals(&night)), (1, vec![None]));
    }
}
