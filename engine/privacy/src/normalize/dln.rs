//! 운전면허번호: region (2), year (2), serial (6), check (2). The check rule is not public. A card that spells its region
//! in Hangul is an error here: the holder's column map has to give it in digits.

use super::{Grade, digits};

/// 12 digits with a region of 11 to 28.
pub fn grade(canonical: &[u8]) -> Grade {
    match digits::<12>(canonical) {
        Some(number) if (*b"11"..=*b"28").contains(&[number[0], number[1]]) => Grade::Ok,
        _ => Grade::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        let check = |text: &str, expected| assert_eq!(grade(text.as_bytes()), expected, "{text}");
        check("112233333344", Grade::Ok);
        check("282233333344", Grade::Ok);
        check("102233333344", Grade::Error);
        check("292233333344", Grade::Error);
        check("11223333334", Grade::Error);
        check("서울2233333344", Grade::Error);
    }
}
