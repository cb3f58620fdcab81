//! 여권번호: `M12345678`, since 2021-12-21 `M123A4567`. The first letter says the type. Changes at every renewal.

use super::Grade;

/// A letter and eight digits, or a letter, three digits, a letter and four digits.
pub fn grade(canonical: &[u8]) -> Grade {
    match canonical {
        [b'A'..=b'Z', rest @ ..] if rest.len() == 8 => {
            let (fourth, others) = (rest[3], [&rest[..3], &rest[4..]]);
            let digits = others.iter().all(|part| part.iter().all(u8::is_ascii_digit));
            if digits && (fourth.is_ascii_digit() || fourth.is_ascii_uppercase()) { Grade::Ok } else { Grade::Error }
        }
        _ => Grade::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        let check = |text: &str, expected| assert_eq!(grade(text.as_bytes()), expected, "{text}");
        check("M12345678", Grade::Ok);
        check("M123A4567", Grade::Ok);
        check("S12345678", Grade::Ok);
        check("m12345678", Grade::Error);
        check("M12A34567", Grade::Error);
        check("M1234567", Grade::Error);
        check("M123456789", Grade::Error);
        check("123456789", Grade::Error);
    }
}
