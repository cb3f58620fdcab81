//! PNU 필지고유번호: legal dong (10), land kind (1), main lot (4), sub lot (4).
//!
//! Whether the legal dong exists depends on the day and on a code table (domain.md 2.3): not asked here. The building
//! register writes the land kind as 0 or 1; its column map has to add one first.

use super::{Grade, digits};

/// 19 digits with land kind 1 (ordinary) or 2 (mountain).
pub fn grade(canonical: &[u8]) -> Grade {
    match digits::<19>(canonical) {
        Some(number) if matches!(number[10], b'1' | b'2') => Grade::Ok,
        _ => Grade::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        let check = |text: &str, expected| assert_eq!(grade(text.as_bytes()), expected, "{text}");
        check("1111010100100010000", Grade::Ok);
        check("1111010100200010000", Grade::Ok);
        check("1111010100000010000", Grade::Error);
        check("111101010010001000", Grade::Error);
    }
}
