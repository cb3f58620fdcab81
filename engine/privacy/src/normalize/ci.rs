//! CI 연계정보: 64 bytes in base64, 88 characters that end in `==` (정보통신망법 제23조의5). Capitals matter.

use super::Grade;

/// 86 characters of base64 and `==`.
pub fn grade(canonical: &[u8]) -> Grade {
    let base64 = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    match canonical.strip_suffix(b"==") {
        Some(text) if text.len() == 86 && text.iter().all(base64) => Grade::Ok,
        _ => Grade::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        let check = |text: String, expected| assert_eq!(grade(text.as_bytes()), expected, "{text}");
        check("aB+/".repeat(21) + "AA==", Grade::Ok);
        check("aB+/".repeat(22), Grade::Error);
        check("aB-_".repeat(21) + "AA==", Grade::Error);
        check("aB+/".repeat(20) + "AA==", Grade::Error);
        check("aB+/".repeat(21) + "A===", Grade::Error);
    }
}
