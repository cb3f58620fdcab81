//! Which encoding bytes seem to be in; a suggestion, never a decision.

use encoding_rs::{DecoderResult, EUC_KR};
use ieum_model::dataset::Encoding;

/// An encoding of text, by the name the catalog gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextEncoding {
    /// UTF-8; ASCII is in it.
    Utf8,
    /// CP949, EUC-KR in it.
    Cp949,
    /// UTF-16, least significant byte first.
    Utf16Le,
    /// UTF-16, most significant byte first.
    Utf16Be,
    /// Windows-1252.
    Windows1252,
    /// EBCDIC, code page 37.
    Cp037,
    /// EBCDIC, code page 500.
    Cp500,
    /// Korean EBCDIC, code page 933.
    Cp933,
}

impl TextEncoding {
    /// Its name in the catalog.
    pub fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "utf-8",
            Self::Cp949 => "cp949",
            Self::Utf16Le => "utf-16le",
            Self::Utf16Be => "utf-16be",
            Self::Windows1252 => "windows-1252",
            Self::Cp037 => "cp037",
            Self::Cp500 => "cp500",
            Self::Cp933 => "cp933",
        }
    }

    /// The one that an export declares; UTF-8 for what is no EBCDIC and not CP949.
    pub(super) fn of(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Cp949 => Self::Cp949,
            Encoding::Cp037 => Self::Cp037,
            Encoding::Cp500 => Self::Cp500,
            Encoding::Cp933 => Self::Cp933,
            _ => Self::Utf8,
        }
    }

    /// The text of bytes, what is no text replaced.
    pub(super) fn decoded(self, bytes: &[u8]) -> String {
        let encoding = match self {
            Self::Cp949 => EUC_KR,
            Self::Utf16Le => encoding_rs::UTF_16LE,
            Self::Utf16Be => encoding_rs::UTF_16BE,
            Self::Windows1252 => encoding_rs::WINDOWS_1252,
            _ => encoding_rs::UTF_8,
        };
        encoding.decode_with_bom_removal(bytes).0.into_owned()
    }
}

/// Bytes of a row as text, in the encoding that they seem to be in; what is no text is replaced.
pub fn shown(row: &[u8]) -> String {
    suggest(row).decoded(row)
}

/// The encoding that the head of a text file seems to be in. The head may end within a character.
///
/// A byte order mark decides; else UTF-8 where the bytes are UTF-8; else CP949 where they are CP949 and most of their pairs are
/// of KS X 1001, whose bytes both have the upper bit set: an accented letter before a plain one is a pair of CP949 too, and such
/// pairs are what European text is full of.
pub fn suggest(head: &[u8]) -> TextEncoding {
    match head {
        [0xEF, 0xBB, 0xBF, ..] => return TextEncoding::Utf8,
        [0xFF, 0xFE, ..] => return TextEncoding::Utf16Le,
        [0xFE, 0xFF, ..] => return TextEncoding::Utf16Be,
        _ => {}
    }
    match std::str::from_utf8(head) {
        Ok(_) => TextEncoding::Utf8,
        Err(error) if error.error_len().is_none() => TextEncoding::Utf8,
        Err(_) if is_korean(head) => TextEncoding::Cp949,
        Err(_) => TextEncoding::Windows1252,
    }
}

fn is_korean(head: &[u8]) -> bool {
    let mut decoder = EUC_KR.new_decoder_without_bom_handling();
    let mut text = String::with_capacity(head.len() * 3 + 16);
    let (result, _) = decoder.decode_to_string_without_replacement(head, &mut text, false);
    // A few bytes that are damaged do not make another encoding of it.
    let (mut pairs, mut common, mut at) = (0_usize, 0_usize, 0_usize);
    while at < head.len() {
        if head[at].is_ascii() {
            at += 1;
            continue;
        }
        pairs += 1;
        common += usize::from(head.get(at + 1).is_none_or(|trail| *trail >= 0xA1));
        at += 2;
    }
    let is_mostly = |share: usize| common * 100 >= pairs * share;
    if matches!(result, DecoderResult::InputEmpty) { is_mostly(60) } else { is_mostly(98) }
}

/// The EBCDIC that bytes seem to be in; `None` where they seem to be none.
pub(super) fn ebcdic(head: &[u8]) -> Option<TextEncoding> {
    // Blanks, digits and letters of EBCDIC; in ASCII and CP949 most of them are no letters.
    let is_common = |byte: &u8| matches!(byte, 0x40 | 0x4B | 0x60 | 0x61 | 0x81..=0x89 | 0x91..=0x99 | 0xA2..=0xA9 | 0xC1..=0xC9 | 0xD1..=0xD9 | 0xE2..=0xE9 | 0xF0..=0xF9);
    let told: Vec<&u8> = head.iter().filter(|byte| **byte != 0).collect();
    let common = told.iter().filter(|byte| is_common(byte)).count();
    let plain = head.iter().filter(|byte| matches!(byte, b' ' | b'\n' | b'0'..=b'9')).count();
    if told.is_empty() || common * 10 < told.len() * 6 || plain * 10 > told.len() {
        return None;
    }
    Some(if has_shifts(head) { TextEncoding::Cp933 } else { TextEncoding::Cp037 })
}

/// Whether two-byte characters stand between most of the bytes that begin and end them.
fn has_shifts(head: &[u8]) -> bool {
    let (mut begun, mut ended, mut at) = (0_usize, 0_usize, 0_usize);
    while let Some(start) = head[at..].iter().position(|byte| *byte == 0x0E) {
        begun += 1;
        at += start + 1;
        let Some(length) = head[at..].iter().position(|byte| *byte == 0x0F) else { break };
        let is_wide = length > 0 && length % 2 == 0 && head[at..at + length].iter().all(|byte| *byte >= 0x40);
        ended += usize::from(is_wide);
    }
    begun > 0 && ended * 10 >= begun * 9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_told_apart() {
        let korean = EUC_KR.encode("주민등록번호,성명\n").0.into_owned();
        assert_eq!(suggest("이름".as_bytes()), TextEncoding::Utf8);
        assert_eq!(suggest(&"이름".as_bytes()[..4]), TextEncoding::Utf8);
        assert_eq!(suggest(&korean), TextEncoding::Cp949);
        assert_eq!(suggest(&korean[..korean.len() - 2]), TextEncoding::Cp949);
        assert_eq!(suggest(b"Jos\xE9 Garc\xEDa, Andr\xE9s"), TextEncoding::Windows1252);
        assert_eq!(suggest(b"\xFF\xFEa\0"), TextEncoding::Utf16Le);
        assert_eq!(ebcdic(b"\xC8\x85\x93\x93\x96\x40\xF1\xF2"), Some(TextEncoding::Cp037));
        assert_eq!(
            ebcdic(b"\x0E\xD1\xB7\x8B\xA9\x0F\xC1\xC2\xC3\xC4\xC5\xF1\xF2\xF3\x40\x40\x40"),
            Some(TextEncoding::Cp933)
        );
        assert_eq!(ebcdic(b"hello, world"), None);
        assert_eq!(ebcdic(&korean), None);
    }
}
