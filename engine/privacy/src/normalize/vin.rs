//! 차대번호: 17 letters and digits without I, O and Q. Korean cars do not all follow the US check digit, so none is
//! asked; old or imported vehicles have shorter numbers.

use super::Grade;

/// Characters of a full number (ISO 3779).
const FULL_LEN: usize = 17;

/// [`Grade::Ok`] for a full number, [`Grade::Warn`] for a shorter one.
pub fn grade(canonical: &[u8]) -> Grade {
    let allowed = |b: &u8| b.is_ascii_digit() || b.is_ascii_uppercase();
    let ambiguous = |b: &u8| matches!(b, b'I' | b'O' | b'Q');
    match canonical.len() {
        FULL_LEN if canonical.iter().all(|b| allowed(b) && !ambiguous(b)) => Grade::Ok,
        1..FULL_LEN if canonical.iter().all(allowed) => Grade::Warn,
        _ => Grade::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        let check = |text: &str, expected| assert_eq!(grade(text.as_bytes()), expected, "{text}");
        check("KMHXX00XXXX000000", Grade::Ok);
        check("KMHXX00XXXX00000O", Grade::Error);
        check("KMHXX00XXXX0000000", Grade::Error);
        check("OLD-1", Grade::Error);
        check("OLD1", Grade::Warn);
        check("", Grade::Error);
    }
}
