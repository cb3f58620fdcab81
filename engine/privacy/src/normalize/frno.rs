//! 외국인등록번호, and 국내거소신고번호 of the same shape: birth date (6), sex and century (1), serial (5), check digit (1).
//!
//! Birth date, sex and office by 출입국관리법 시행령 제40조의3. The check digit cannot be relied on since 2020-10, so a
//! failed checksum is a warning.

use chrono::NaiveDate;

use super::{Grade, date, digits, rrno, value, weighted};

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

/// The check digit of the old rule, 0 to 9: (11 − Σ mod 11), ten and more less ten, plus two, ten and more less ten.
/// Takes digits in ASCII or as values.
pub fn check_digit(before: &[u8; 12]) -> u8 {
    (((11 - weighted(before, rrno::WEIGHTS) % 11) % 10 + 2) % 10) as u8
}

/// The birth date of 13 digits in ASCII, by the century of digit 7: 5, 6 are 19xx; 7, 8 are 20xx.
pub fn birth_date(number: &[u8; 13]) -> Option<NaiveDate> {
    let century = match number[6] {
        b'5' | b'6' => 1900,
        b'7' | b'8' => 2000,
        _ => return None,
    };
    date::of_century(century, number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rules() {
        assert_eq!(grade(b"9912317000005"), Grade::Ok);
        assert_eq!(grade(b"9912317000006"), Grade::Warn);
        assert_eq!(grade(b"9912313000002"), Grade::Error); // digit 7 of a resident
        assert_eq!(grade(b"9913317000005"), Grade::Error); // no month 13
    }

    proptest! {
        #[test]
        fn generated_numbers_are_ok(
            year in 90u32..100, month in 1u32..13, day in 1u32..29, sex in 5u32..9, serial in 0u32..100_000,
        ) {
            let before = format!("{year:02}{month:02}{day:02}{sex}{serial:05}");
            let mut number = before.into_bytes();
            number.push(b'0' + check_digit(&number[..].try_into().expect("12 digits")));
            prop_assert_eq!(grade(&number), Grade::Ok);
        }
    }
}
