//! 사업자등록번호: tax office (3), class (2), serial (4), check digit (1). One a place of business, not one a company.

use super::{Grade, digits, value, weighted};

/// 10 digits whose check digit fits. All zeros fit the sum, but are how holders write "none": an error.
pub fn grade(canonical: &[u8]) -> Grade {
    match digits::<10>(canonical) {
        Some([before @ .., check]) if u32::from(check_digit(before)) == value(*check) && canonical != b"0000000000" => {
            Grade::Ok
        }
        _ => Grade::Error,
    }
}

/// The check digit, 0 to 9: (10 − Σ mod 10) mod 10, where Σ also takes the tens of the ninth digit times five.
/// Takes digits in ASCII or as values.
pub fn check_digit(before: &[u8; 9]) -> u8 {
    let sum = weighted(before, [1, 3, 7, 1, 3, 7, 1, 3, 5]) + value(before[8]) * 5 / 10;
    ((10 - sum % 10) % 10) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rules() {
        assert_eq!(grade(b"1248100998"), Grade::Ok);
        assert_eq!(grade(b"9999900006"), Grade::Error);
        assert_eq!(grade(b"999990000"), Grade::Error);
        assert_eq!(grade(b"0000000000"), Grade::Error);
        assert_eq!(check_digit(&[9, 9, 9, 9, 9, 0, 0, 0, 0]), 5); // values do as well as ASCII
    }

    proptest! {
        #[test]
        fn generated_numbers_are_ok(before in 1u32..1_000_000_000) {
            let mut number = format!("{before:09}").into_bytes();
            let check = check_digit(&number[..].try_into().expect("9 digits"));
            number.push(b'0' + check);
            prop_assert_eq!(grade(&number), Grade::Ok);
            number[9] = b'0' + (check + 1) % 10;
            prop_assert_eq!(grade(&number), Grade::Error);
        }
    }
}
