//! A cell's bytes to text. Cells are cut first and decoded alone, so a broken cell never harms its neighbours. A file in
//! UTF-16 is the exception: it is translated as it is read ([`crate::utf16`]), and its cells are in UTF-8.
//!
//! CP949 trail bytes are `A-Z`, `a-z` and `0x81-0xFE` only: every other ASCII byte can be looked for bytewise.

use std::sync::Arc;

use encoding_rs::{DecoderResult, EUC_KR, WINDOWS_1252};
use ieum_model::connector::{KeyProbe, Strays};
use ieum_model::dataset::Encoding;
pub use ieum_model::dataset::is_separator;

use crate::records::ebcdic;

/// The text of `bytes`, or `None` where they are not `encoding`. `scratch` holds it if it had to be translated.
pub fn decode<'a>(encoding: Encoding, bytes: &'a [u8], scratch: &'a mut String) -> Option<&'a str> {
    match encoding {
        Encoding::Cp949 if !bytes.is_ascii() => cp949(bytes, scratch),
        Encoding::Windows1252 if !bytes.is_ascii() => windows_1252(bytes, scratch),
        encoding if encoding.is_ebcdic() => {
            scratch.clear();
            ebcdic::decode(encoding, bytes, scratch)?;
            Some(scratch)
        }
        _ => std::str::from_utf8(bytes).ok(),
    }
}

fn cp949<'a>(bytes: &[u8], scratch: &'a mut String) -> Option<&'a str> {
    let mut decoder = EUC_KR.new_decoder_without_bom_handling();
    scratch.clear();
    scratch.reserve(decoder.max_utf8_buffer_length_without_replacement(bytes.len())?);
    let (result, _) = decoder.decode_to_string_without_replacement(bytes, scratch, true);
    (matches!(result, DecoderResult::InputEmpty) && !is_utf8(bytes)).then_some(scratch.as_str())
}

/// The five bytes that Windows-1252 leaves undefined are no text, though the web takes them for control characters.
fn windows_1252<'a>(bytes: &[u8], scratch: &'a mut String) -> Option<&'a str> {
    scratch.clear();
    let (text, had_errors) = WINDOWS_1252.decode_without_bom_handling(bytes);
    scratch.push_str(&text);
    let defined = |byte: &u8| !matches!(byte, 0x81 | 0x8D | 0x8F | 0x90 | 0x9D);
    (!had_errors && bytes.iter().all(defined)).then_some(scratch.as_str())
}

/// `text` as it stands in a file; `None` where the encoding has not all of its characters.
pub fn encode(encoding: Encoding, text: &str) -> Option<Vec<u8>> {
    let encoder = match encoding {
        Encoding::Cp949 => EUC_KR,
        Encoding::Windows1252 => WINDOWS_1252,
        _ => return Some(text.as_bytes().to_vec()),
    };
    let (bytes, _, failed) = encoder.encode(text);
    (!failed).then(|| bytes.into_owned())
}

/// Whether bytes that CP949 can read are Korean text in UTF-8 all the same: pairs of its three bytes for a syllable read as
/// three characters that stand in no text.
fn is_utf8(bytes: &[u8]) -> bool {
    let is_syllable = |character: char| ('가'..='힣').contains(&character);
    std::str::from_utf8(bytes).is_ok_and(|text| text.chars().filter(|c| is_syllable(*c)).count() >= 2)
}

/// A probe of keys that stand in `encoding`, made of one of keys in UTF-8.
pub fn probe(encoding: Encoding, probe: Arc<dyn KeyProbe>) -> Arc<dyn KeyProbe> {
    match encoding {
        Encoding::Cp949 => Arc::new(Translating { encoding, reader: EUC_KR, probe }),
        Encoding::Windows1252 => Arc::new(Translating { encoding, reader: WINDOWS_1252, probe }),
        // Fields of EBCDIC are probed as text.
        _ => probe,
    }
}

/// Asks a probe of keys in UTF-8.
struct Translating {
    encoding: Encoding,
    reader: &'static encoding_rs::Encoding,
    probe: Arc<dyn KeyProbe>,
}

impl KeyProbe for Translating {
    fn may_match(&self, raw_key: &[u8]) -> bool {
        if raw_key.is_ascii() {
            return self.probe.may_match(raw_key);
        }
        // What is no text is for the decoder to reject.
        decode(self.encoding, raw_key, &mut String::new()).is_none_or(|key| self.probe.may_match(key.as_bytes()))
    }

    fn strays(&self, pieces: &[&[u8]], row: &[u8]) -> Strays {
        // What cannot be read of it is left out: a key that it belongs to is no whole key.
        let text = |bytes: &[u8]| self.reader.decode_without_bom_handling(bytes).0.into_owned();
        let pieces: Vec<String> = pieces.iter().map(|piece| text(piece)).collect();
        let pieces: Vec<&[u8]> = pieces.iter().map(String::as_bytes).collect();
        self.probe.strays(&pieces, text(row).as_bytes())
    }
}

/// `bytes` without the half character that cutting a field by bytes can leave at its end.
pub fn without_dangling(encoding: Encoding, bytes: &[u8]) -> &[u8] {
    match encoding {
        _ if bytes.last().is_none_or(u8::is_ascii) => bytes,
        Encoding::Cp949 => {
            let mut at = 0;
            while at < bytes.len() {
                at += if bytes[at].is_ascii() { 1 } else { 2 };
            }
            if at > bytes.len() { &bytes[..bytes.len() - 1] } else { bytes }
        }
        Encoding::Windows1252 | Encoding::Cp037 | Encoding::Cp500 | Encoding::Cp933 => bytes,
        _ => match std::str::from_utf8(bytes) {
            Err(error) if error.error_len().is_none() => &bytes[..error.valid_up_to()],
            _ => bytes,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syllables_outside_ks_x_1001_are_read() {
        let (bytes, _, failed) = EUC_KR.encode("뷁똠샾 홍길동");
        assert!(!failed);
        assert_eq!(decode(Encoding::Cp949, &bytes, &mut String::new()), Some("뷁똠샾 홍길동"));
        assert_eq!(decode(Encoding::Utf8, &bytes, &mut String::new()), None);
    }

    #[test]
    fn windows_1252_is_read_but_for_what_it_leaves_undefined() {
        let mut scratch = String::new();
        assert_eq!(decode(Encoding::Windows1252, b"caf\xE9 \x80 \x93a\x94", &mut scratch), Some("café € “a”"));
        for undefined in [0x81, 0x8D, 0x8F, 0x90, 0x9D] {
            assert_eq!(decode(Encoding::Windows1252, &[b'a', undefined], &mut scratch), None);
        }
        assert_eq!(encode(Encoding::Windows1252, "é"), Some(b"\xE9".to_vec()));
        assert_eq!(encode(Encoding::Windows1252, "가"), None);
        assert_eq!(encode(Encoding::Cp949, "가"), Some(b"\xB0\xA1".to_vec()));
    }

    #[test]
    fn korean_text_in_utf_8_is_not_read_as_cp949() {
        let mut scratch = String::new();
        for text in ["강남", "서울 강남 1", "홍길동전"] {
            assert_eq!(decode(Encoding::Cp949, text.as_bytes(), &mut scratch), None, "{text}");
        }
        // No pair of characters, one or both of them beyond KS X 1001, is taken for UTF-8.
        for (first, second) in ('가'..='힣').step_by(7).zip(('가'..='힣').rev().step_by(11)) {
            let text: String = [first, second].iter().collect();
            let (bytes, ..) = EUC_KR.encode(&text);
            assert_eq!(decode(Encoding::Cp949, &bytes, &mut scratch), Some(text.as_str()));
        }
    }

    #[test]
    fn a_key_is_found_in_the_encoding_it_stands_in() {
        struct Plate;
        impl KeyProbe for Plate {
            fn may_match(&self, raw_key: &[u8]) -> bool {
                raw_key == "12뷁3456".as_bytes() || raw_key == b"77"
            }
        }
        let (plate, ..) = EUC_KR.encode("12뷁3456");
        let (other, ..) = EUC_KR.encode("12가3456");
        let cp949 = probe(Encoding::Cp949, Arc::new(Plate));
        assert!(cp949.may_match(&plate) && cp949.may_match(b"77"));
        assert!(!cp949.may_match(&other) && !cp949.may_match(b"78"));
        assert!(cp949.may_match(&plate[..3]), "half a syllable is for the decoder to reject");
        assert!(probe(Encoding::Utf8, Arc::new(Plate)).may_match("12뷁3456".as_bytes()));
    }

    #[test]
    fn no_separator_is_ever_a_trail_byte() {
        for separator in (0..128_u8).filter(|byte| is_separator(char::from(*byte)) || b"\"\r\n".contains(byte)) {
            for lead in 0x80..=0xFF_u8 {
                assert_eq!(decode(Encoding::Cp949, &[lead, separator], &mut String::new()), None);
            }
        }
    }

    #[test]
    fn half_a_syllable_at_the_end_is_dropped() {
        let (bytes, ..) = EUC_KR.encode("홍길동");
        let cut = without_dangling(Encoding::Cp949, &bytes[..5]);
        assert_eq!(decode(Encoding::Cp949, cut, &mut String::new()), Some("홍길"));
        assert_eq!(without_dangling(Encoding::Cp949, &bytes), &bytes[..]);
        assert_eq!(without_dangling(Encoding::Utf8, &"홍길".as_bytes()[..5]), "홍".as_bytes());
    }
}
