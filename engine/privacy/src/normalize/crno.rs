//! 법인등록번호: registry office (4), kind (2), serial (6), check digit (1); since 2025-01-31 serial (7), no check digit
//! (Supreme Court rule no. 3173).
//!
//! A new number passes the old check by chance one time in ten, so the date of registration decides, not the digits.

use chrono::NaiveDate;

use super::{Grade, digits, value, weighted};

/// First day on which numbers are given without a check digit.
const WITHOUT_CHECK_SINCE: NaiveDate = NaiveDate::from_ymd_opt(2025, 1, 31).expect("a day of the calendar");

/// 13 digits. A check digit that does not fit is no fault from 2025-01-31, an error before, a warning without a date.
/// All zeros fit the sum, but are how holders write "none": an error.
pub fn grade(canonical: &[u8], registered: Option<NaiveDate>) -> Grade {
    let Some([before @ .., check]) = digits::<13>(canonical) else {
        return Grade::Error;
    };
    if canonical == b"0000000000000" {
        return Grade::Error;
    }
    if u32::from(check_digit(before)) == value(*check) {
        return Grade::Ok;
    }
    match registered {
        Some(day) if day >= WITHOUT_CHECK_SINCE => Grade::Ok,
        Some(_) => Grade::Error,
        None => Grade::Warn,
    }
}

/// The check digit of the old rule, 0 to 9: weights 1, 2 in turn, (10 − Σ mod 10) mod 10. Takes digits in ASCII or as
/// values.
pub fn check_digit(before: &[u8; 12]) -> u8 {
    ((10 - weighted(before, [1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2]) % 10) % 10) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_date_decides() {
        let check = |number: &[u8], day: Option<(i32, u32, u32)>, expected| {
            let day = day.and_then(|(y, m, d)| NaiveDate::from_ymd_opt(y, m, d));
            assert_eq!(grade(number, day), expected);
        };
        check(b"9999110000011", Some((2024, 1, 1)), Grade::Ok);
        check(b"9999110000011", Some((2025, 2, 1)), Grade::Ok);
        check(b"9999110000012", Some((2025, 1, 31)), Grade::Ok);
        check(b"9999110000012", Some((2025, 1, 30)), Grade::Error);
        check(b"9999110000012", None, Grade::Warn);
        check(b"999911000001", Some((2025, 2, 1)), Grade::Error);
        check(b"0000000000000", Some((2025, 2, 1)), Grade::Error);
    }

    proptest! {
        #[test]
        fn generated_numbers_are_ok(before in 1u64..1_000_000_000_000) {
            let mut number = format!("{before:012}").into_bytes();
            number.push(b'0' + check_digit(&number[..].try_into().expect("12 digits")));
            prop_assert_eq!(grade(&number, None), Grade::Ok);
            prop_assert_eq!(grade(&number, NaiveDate::from_ymd_opt(2000, 1, 1)), Grade::Ok);
        }
    }
}
