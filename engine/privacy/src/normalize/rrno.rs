//! 주민등록번호: birth date (6), sex and century (1), serial (5), check digit (1).
//!
//! Since 2020-10-05 the tail of new numbers has no check digit (주민등록법 시행규칙 제2조), so a failed checksum is a
//! warning.

use chrono::NaiveDate;

use super::{Grade, date, digits, value, weighted};

/// Weights of the old rule, for the twelve digits before the check digit. frno has them too.
pub(super) const WEIGHTS: [u32; 12] = [2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5];

/// 13 digits with a birth date that exists; [`Grade::Warn`] if the old check digit does not fit.
pub fn grade(canonical: &[u8]) -> Grade {
    let Some(number) = digits::<13>(canonical) else {
        return Grade::Error;
    };
    let [before @ .., check] = number;
    if birth_date(number).is_none() {
        Grade::Error
    } else if u32::from(check_digit(before)) == value(*check) {
        Grade::Ok
    } else {
        Grade::Warn
    }
}

/// The check digit of the old rule, 0 to 9: (11 − Σ mod 11) mod 10. Takes digits in ASCII or as values.
pub fn check_digit(before: &[u8; 12]) -> u8 {
    ((11 - weighted(before, WEIGHTS) % 11) % 10) as u8
}

/// The birth date of 13 digits in ASCII, by the century of digit 7: 9, 0 are 18xx; 1, 2 are 19xx; 3, 4 are 20xx.
pub fn birth_date(number: &[u8; 13]) -> Option<NaiveDate> {
    let century = match number[6] {
        b'9' | b'0' => 1800,
        b'1' | b'2' => 1900,
        b'3' | b'4' => 2000,
        _ => return None,
    };
    date::of_century(century, number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn centuries() {
        let check = |number: &[u8; 13], expected| assert_eq!(birth_date(number), expected);
        check(b"9912313000002", NaiveDate::from_ymd_opt(2099, 12, 31));
        check(b"0002291000000", None); // 1900 had no 29 February
        check(b"0002293000000", NaiveDate::from_ymd_opt(2000, 2, 29));
        check(b"9912319000000", NaiveDate::from_ymd_opt(1899, 12, 31));
        check(b"9912310000000", NaiveDate::from_ymd_opt(1899, 12, 31));
        check(b"9912315000000", None); // digit 7 of a foreigner
        assert_eq!(grade(b"000000000000"), Grade::Error);
        assert_eq!(grade(b"0000000000000"), Grade::Error);
    }

    proptest! {
        #[test]
        fn generated_numbers_are_ok(
            year in 90u32..100, month in 1u32..13, day in 1u32..29, sex in 3u32..5, serial in 0u32..100_000,
        ) {
            let before = format!("{year:02}{month:02}{day:02}{sex}{serial:05}");
            let mut number = before.into_bytes();
            let check = check_digit(&number[..].try_into().expect("12 digits"));
            number.push(b'0' + check);
            prop_assert_eq!(grade(&number), Grade::Ok);
            number[12] = b'0' + (check + 1) % 10;
            prop_assert_eq!(grade(&number), Grade::Warn);
        }
    }
}
