//! Identifiers in one spelling, and how far each can be trusted.
//!
//! ```text
//! raw bytes ── normalize ──► canonical bytes in a reused buffer ── grade ──► Ok | Warn | Error
//! ```
//!
//! One identifier kind a file; each file has the rules of its kind. [`normalize`] only changes spelling (domain.md 2.4):
//! what it cannot read it keeps, and [`grade`] then says [`Grade::Error`]. Nothing is dropped that could make two
//! different identifiers equal.

pub mod brno;
pub mod ci;
pub mod crno;
pub mod date;
pub mod dln;
pub mod frno;
pub mod pno;
pub mod pnu;
pub mod rrno;
pub mod text;
pub mod vhrno;
pub mod vin;

use chrono::NaiveDate;

/// How far an identifier keeps the rules of its kind. Ordered: the worst is the largest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grade {
    /// Keeps every rule that can be checked.
    Ok,
    /// Has the form, but a rule that no longer holds for every number does not fit.
    Warn,
    /// Cannot be an identifier of this kind.
    Error,
}

/// The kinds of identifiers that have rules of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IdentifierKind {
    /// 주민등록번호.
    Rrno,
    /// 외국인등록번호, and 국내거소신고번호 of the same shape.
    Frno,
    /// 사업자등록번호.
    Brno,
    /// 법인등록번호.
    Crno,
    /// CI 연계정보.
    Ci,
    /// 여권번호.
    Pno,
    /// 운전면허번호.
    Dln,
    /// PNU 필지고유번호.
    Pnu,
    /// 차대번호.
    Vin,
    /// 자동차등록번호.
    Vhrno,
    /// Any other key: trimmed, otherwise as it is.
    Other,
}

impl IdentifierKind {
    /// Every kind, in the order of the table in domain.md 2.1.
    pub const ALL: [Self; 11] = [
        Self::Rrno,
        Self::Frno,
        Self::Brno,
        Self::Crno,
        Self::Ci,
        Self::Pno,
        Self::Dln,
        Self::Pnu,
        Self::Vin,
        Self::Vhrno,
        Self::Other,
    ];

    /// The kind with this code, as it stands in a catalog; `None` if there is none.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// Whether blanks and hyphens are no part of its canonical form.
    pub const fn is_without_separators(self) -> bool {
        match self {
            Self::Rrno | Self::Frno | Self::Brno | Self::Crno | Self::Dln | Self::Pnu | Self::Pno | Self::Vin => true,
            Self::Vhrno | Self::Ci | Self::Other => false,
        }
    }

    /// The code in a catalog, in lower case.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Rrno => "rrno",
            Self::Frno => "frno",
            Self::Brno => "brno",
            Self::Crno => "crno",
            Self::Ci => "ci",
            Self::Pno => "pno",
            Self::Dln => "dln",
            Self::Pnu => "pnu",
            Self::Vin => "vin",
            Self::Vhrno => "vhrno",
            Self::Other => "other",
        }
    }
}

/// Clears `out`, writes the canonical form of `raw` into it, and grades it without a registration date.
///
/// `raw` is UTF-8; bytes that are not are copied as they are, and get [`Grade::Error`] from every kind with a rule.
/// A blank value gives an empty `out` and [`Grade::Error`]: treat it as null before. Allocates only to grow `out`.
/// The canonical form of a canonical form is itself.
///
/// # Privacy
/// Sees the identifier and writes it to `out`; the grade says nothing about it.
pub fn normalize(kind: IdentifierKind, raw: &[u8], out: &mut Vec<u8>) -> Grade {
    spell(kind, raw, out);
    grade(kind, out, None)
}

/// Clears `out` and writes the canonical form of `raw` into it, as [`normalize`] does, without grading it.
///
/// # Privacy
/// Sees the identifier and writes it to `out`.
pub fn spell(kind: IdentifierKind, raw: &[u8], out: &mut Vec<u8>) {
    out.clear();
    match kind {
        IdentifierKind::Rrno
        | IdentifierKind::Frno
        | IdentifierKind::Brno
        | IdentifierKind::Crno
        | IdentifierKind::Dln
        | IdentifierKind::Pnu => text::without_separators(raw, out),
        IdentifierKind::Pno | IdentifierKind::Vin => {
            text::without_separators(raw, out);
            out.make_ascii_uppercase();
        }
        IdentifierKind::Vhrno => text::without_blanks(raw, out),
        IdentifierKind::Ci | IdentifierKind::Other => out.extend_from_slice(raw.trim_ascii()),
    }
}

/// Grades a canonical form by the rules of domain.md 2.1 and 2.2.
///
/// `registered` is the day the subject of the identifier was registered, if the row has it; only
/// [`IdentifierKind::Crno`] looks at it.
pub fn grade(kind: IdentifierKind, canonical: &[u8], registered: Option<NaiveDate>) -> Grade {
    match kind {
        IdentifierKind::Rrno => rrno::grade(canonical),
        IdentifierKind::Frno => frno::grade(canonical),
        IdentifierKind::Brno => brno::grade(canonical),
        IdentifierKind::Crno => crno::grade(canonical, registered),
        IdentifierKind::Ci => ci::grade(canonical),
        IdentifierKind::Pno => pno::grade(canonical),
        IdentifierKind::Dln => dln::grade(canonical),
        IdentifierKind::Pnu => pnu::grade(canonical),
        IdentifierKind::Vin => vin::grade(canonical),
        IdentifierKind::Vhrno => vhrno::grade(canonical),
        IdentifierKind::Other if canonical.is_empty() => Grade::Error,
        IdentifierKind::Other => Grade::Ok,
    }
}

/// The canonical bytes as `N` digits, or nothing.
fn digits<const N: usize>(canonical: &[u8]) -> Option<&[u8; N]> {
    let digits: &[u8; N] = canonical.try_into().ok()?;
    digits.iter().all(u8::is_ascii_digit).then_some(digits)
}

/// The value of a digit, written in ASCII or given as 0 to 9.
const fn value(digit: u8) -> u32 {
    (digit & 0x0f) as u32
}

/// Sum of digits times weights.
fn weighted<const N: usize>(digits: &[u8; N], weights: [u32; N]) -> u32 {
    digits.iter().zip(weights).map(|(&digit, weight)| value(digit) * weight).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(kind: IdentifierKind, raw: &str, canonical: &str, expected: Grade) {
        let mut out = b"left over".to_vec();
        assert_eq!(normalize(kind, raw.as_bytes(), &mut out), expected, "{raw}");
        assert_eq!(String::from_utf8_lossy(&out), canonical, "{raw}");
    }

    /// domain.md 2.2, all rows; the dates of crno stand in `crno.rs`.
    #[test]
    fn published_vectors() {
        use IdentifierKind::*;
        check(Rrno, "991231-3000002", "9912313000002", Grade::Ok);
        check(Rrno, "990228-4123452", "9902284123452", Grade::Ok);
        check(Rrno, "980101-3000015", "9801013000015", Grade::Ok);
        check(Rrno, "991231-3000003", "9912313000003", Grade::Warn);
        check(Rrno, "990230-3000001", "9902303000001", Grade::Error);
        check(Frno, "991231-7000005", "9912317000005", Grade::Ok);
        check(Brno, "999-99-00005", "9999900005", Grade::Ok);
        check(Brno, "999-81-00015", "9998100015", Grade::Ok);
        check(Brno, "124-81-00998", "1248100998", Grade::Ok);
        check(Brno, "999-99-00006", "9999900006", Grade::Error);
        check(Crno, "999911-0000011", "9999110000011", Grade::Ok);
        check(Crno, "130111-0006246", "1301110006246", Grade::Ok);
        check(Crno, "999911-0000012", "9999110000012", Grade::Warn);
        check(Pnu, "1111010100100010000", "1111010100100010000", Grade::Ok);
    }

    #[test]
    fn spelling() {
        use IdentifierKind::*;
        check(Rrno, " 991231 3000002\t", "9912313000002", Grade::Ok);
        check(Rrno, "９９１２３１－３０００００２", "9912313000002", Grade::Ok);
        check(Rrno, "991231\u{2013}3000002\u{3000}", "9912313000002", Grade::Ok);
        check(Rrno, "991231-3******", "9912313******", Grade::Error);
        check(Rrno, "", "", Grade::Error);
        check(Brno, "999.99.00005", "999.99.00005", Grade::Error);
        check(Pno, " m123a4567 ", "M123A4567", Grade::Ok);
        check(Vhrno, "서울 12 가 ３４５６", "서울12가3456", Grade::Ok);
        check(Other, "  a b-c ", "a b-c", Grade::Ok);
        check(Other, "   ", "", Grade::Error);
    }

    #[test]
    fn codes_are_read_back() {
        for kind in IdentifierKind::ALL {
            assert_eq!(IdentifierKind::from_code(kind.code()), Some(kind));
        }
        assert_eq!(IdentifierKind::from_code("RRNO"), None);
    }

    fn any_kind() -> impl Strategy<Value = IdentifierKind> {
        (0..IdentifierKind::ALL.len()).prop_map(|at| IdentifierKind::ALL[at])
    }

    /// Characters that some rule looks at, more often than chance would have them.
    fn any_raw() -> impl Strategy<Value = Vec<u8>> {
        let pieces = ["1", "9", "0", "-", " ", "a", "Q", "가", "서울", "１", "Ａ", "－", "\u{3000}", "\u{feff}"];
        let jamo = ["\u{1100}", "\u{1161}", "\u{11a8}", "\u{2013}"];
        let bytes = [&b"\xe3"[..], b"\x80", b"\x0b"];
        let all: Vec<Vec<u8>> = pieces.iter().chain(&jamo).map(|piece| piece.as_bytes().to_vec()).collect();
        let all: Vec<Vec<u8>> = all.into_iter().chain(bytes.map(<[u8]>::to_vec)).collect();
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..24),
            any::<String>().prop_map(String::into_bytes),
            proptest::collection::vec(0..all.len(), 0..24)
                .prop_map(move |picks| picks.into_iter().flat_map(|at| all[at].clone()).collect()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn normalize_is_idempotent(kind in any_kind(), raw in any_raw()) {
            let (mut once, mut twice) = (Vec::new(), Vec::new());
            let first = normalize(kind, &raw, &mut once);
            prop_assert_eq!(first, normalize(kind, &once, &mut twice));
            prop_assert_eq!(once, twice);
        }

        #[test]
        fn separators_do_not_matter(number in "[0-9]{10,19}", at in 0usize..10) {
            let (mut plain, mut dashed) = (Vec::new(), Vec::new());
            normalize(IdentifierKind::Rrno, number.as_bytes(), &mut plain);
            let (head, tail) = number.split_at(at);
            normalize(IdentifierKind::Rrno, format!(" {head} - {tail}").as_bytes(), &mut dashed);
            prop_assert_eq!(plain, dashed);
        }
    }
}
