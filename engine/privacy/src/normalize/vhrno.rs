//! 자동차등록번호: `12가3456` or `123가4567`, before with its region: `서울12가3456`.
//!
//! The list of allowed Hangul is not at hand in full (domain.md 2.1), so a plate of the right shape with another
//! syllable is a warning.

use super::Grade;

/// Names of the regions (시도) as plates shorten them.
const REGIONS: [&str; 17] = [
    "서울", "부산", "대구", "인천", "광주", "대전", "울산", "세종", "경기", "강원", "충북", "충남", "전북", "전남",
    "경북", "경남", "제주",
];
/// The usual syllables: private, commercial, delivery, rented.
const SYLLABLES: &str = "가나다라마거너더러머버서어저고노도로모보소오조구누두루무부수우주바사아자배하허호";

/// [`Grade::Ok`] for a known region and syllable, [`Grade::Warn`] for the shape alone.
pub fn grade(canonical: &[u8]) -> Grade {
    let Some((region, class_len, syllable)) = std::str::from_utf8(canonical).ok().and_then(parts) else {
        return Grade::Error;
    };
    let form = match (region.is_empty(), class_len) {
        (true, 2 | 3) | (false, 2) => Grade::Ok,
        _ => Grade::Warn,
    };
    let region_known = region.is_empty() || REGIONS.contains(&region);
    if region_known && SYLLABLES.contains(syllable) { form } else { Grade::Warn }
}

/// The region, the number of class digits (1 to 3) and the syllable before four digits.
fn parts(plate: &str) -> Option<(&str, usize, char)> {
    let hangul = |c: char| ('가'..='힣').contains(&c);
    let class_at = plate.find(|c: char| c.is_ascii_digit())?;
    let (region, rest) = plate.split_at(class_at);
    let class_len = rest.find(|c: char| !c.is_ascii_digit())?;
    let mut tail = rest[class_len..].chars();
    let syllable = tail.next()?;
    let serial = tail.as_str().as_bytes();
    let shape = (1..=3).contains(&class_len)
        && region.chars().all(hangul)
        && hangul(syllable)
        && serial.len() == 4
        && serial.iter().all(u8::is_ascii_digit);
    shape.then_some((region, class_len, syllable))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normalize::{IdentifierKind, normalize};

    #[test]
    fn rules() {
        let check = |text: &str, expected| assert_eq!(grade(text.as_bytes()), expected, "{text}");
        check("12가3456", Grade::Ok);
        check("123가4567", Grade::Ok);
        check("서울12가3456", Grade::Ok);
        check("서울1가3456", Grade::Warn);
        check("한국12가3456", Grade::Warn);
        check("12힣3456", Grade::Warn);
        check("1234가5678", Grade::Error);
        check("12가345", Grade::Error);
        check("12A3456", Grade::Error);
        check("가3456", Grade::Error);
        check("", Grade::Error);
    }

    #[test]
    fn decomposed_hangul_is_composed() {
        let mut out = Vec::new();
        let raw = "\u{1109}\u{1165}\u{110b}\u{116e}\u{11af} 12\u{1100}\u{1161} 3456";
        assert_eq!(normalize(IdentifierKind::Vhrno, raw.as_bytes(), &mut out), Grade::Ok);
        assert_eq!(out, "서울12가3456".as_bytes());
    }
}
