//! A cell's bytes to text. Cells are cut first and decoded alone, so a broken cell never harms its neighbours.
//!
//! CP949 trail bytes are `A-Z`, `a-z` and `0x81-0xFE` only: every other ASCII byte can be looked for bytewise.

use std::sync::Arc;

use encoding_rs::{DecoderResult, EUC_KR};
use ieum_model::connector::{KeyProbe, Strays};
use ieum_model::dataset::Encoding;
pub use ieum_model::dataset::is_separator;

use crate::records::ebcdic;

/// The text of `bytes`, or `None` where they are not `encoding`. `scratch` holds it if it had to be translated.
pub fn decode<'a>(encoding: Encoding, bytes: &'a [u8], scratch: &'a mut String) -> Option<&'a str> {
    match encoding {
        Encoding::Cp949 if !bytes.is_ascii() => cp949(bytes, scratch),
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

/// Whether bytes that CP949 can read are Korean text in UTF-8 all the same: pairs of its three bytes for a syllable read as
/// three characters that stand in no text.
fn is_utf8(bytes: &[u8]) -> bool {
    let is_syllable = |character: char| ('가'..='힣').contains(&character);
    std::str::from_utf8(bytes).is_ok_and(|text| text.chars().filter(|c| is_syllable(*c)).count() >= 2)
}

/// A probe of keys that stand in `encoding`, made of one of keys in UTF-8.
pub fn probe(encoding: Encoding, probe: Arc<dyn KeyProbe>) -> Arc<dyn KeyProbe> {
    match encoding {
        Encoding::Cp949 => Arc::new(Cp949Probe(probe)),
        // Fields of EBCDIC are probed as text.
        Encoding::Utf8 | Encoding::Cp037 | Encoding::Cp500 | Encoding::Cp933 => probe,
    }
}

struct Cp949Probe(Arc<dyn KeyProbe>);

impl KeyProbe for Cp949Probe {
    fn may_match(&self, raw_key: &[u8]) -> bool {
        if raw_key.is_ascii() {
            return self.0.may_match(raw_key);
        }
        // What is no text is for the decoder to reject.
        cp949(raw_key, &mut String::new()).is_none_or(|key| self.0.may_match(key.as_bytes()))
    }

    fn strays(&self, pieces: &[&[u8]], row: &[u8]) -> Strays {
        // What cannot be read of it is left out: a key that it belongs to is no whole key.
        let text = |bytes: &[u8]| EUC_KR.decode_without_bom_handling(bytes).0.into_owned();
        let pieces: Vec<String> = pieces.iter().map(|piece| text(piece)).collect();
        let pieces: Vec<&[u8]> = pieces.iter().map(String::as_bytes).collect();
        self.0.strays(&pieces, text(row).as_bytes())
    }
}

/// `bytes` without the half character that cutting a field by bytes can leave at its end.
pub fn without_dangling(encoding: Encoding, bytes: &[u8]) -> &[u8] {
    match encoding {
        _ if bytes.last().is_none_or(u8::is_ascii) => bytes,
        Encoding::Utf8 => match std::str::from_utf8(bytes) {
            Err(error) if error.error_len().is_none() => &bytes[..error.valid_up_to()],
            _ => bytes,
        },
        Encoding::Cp949 => {
            let mut at = 0;
            while at < bytes.len() {
                at += if bytes[at].is_ascii() { 1 } else { 2 };
            }
            if at > bytes.len() { &bytes[..bytes.len() - 1] } else { bytes }
        }
        Encoding::Cp037 | Encoding::Cp500 | Encoding::Cp933 => bytes,
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
