//! EBCDIC to text. The tables are made by `tests/independent/ebcdic_tables.py` from published mappings.

use ieum_model::dataset::Encoding;

/// UTF-16, big endian, 0 where nothing is assigned: 256 units each of cp037, cp500 and the one-byte part of cp933, then the
/// two-byte part of cp933, 190 units for each first byte from 0x41 on.
static TABLES: &[u8] = include_bytes!("ebcdic.bin");

/// Bytes that begin two-byte characters, and end them.
const SHIFT_OUT: u8 = 0x0E;
const SHIFT_IN: u8 = 0x0F;
/// First and last byte of either half of a two-byte character.
const FIRST: u8 = 0x41;
const LAST: u8 = 0xFE;
const ROW: usize = (LAST - FIRST) as usize + 1;
/// A blank of two bytes.
const WIDE_BLANK: [u8; 2] = [0x40, 0x40];

/// Appends the text of `bytes`; `None` where they are not `encoding`. A shift that a field's end cuts off is ended by it.
pub(crate) fn decode(encoding: Encoding, bytes: &[u8], out: &mut String) -> Option<()> {
    let page = match encoding {
        Encoding::Cp037 => 0,
        Encoding::Cp500 => 1,
        Encoding::Cp933 => return korean(bytes, out),
        _ => return None,
    };
    for byte in bytes {
        out.push(unit(page * 256 + usize::from(*byte))?);
    }
    Some(())
}

fn korean(bytes: &[u8], out: &mut String) -> Option<()> {
    let (mut at, mut wide) = (0, false);
    while at < bytes.len() {
        match bytes[at] {
            SHIFT_OUT if !wide => wide = true,
            SHIFT_IN if wide => wide = false,
            _ if wide => {
                let pair = [bytes[at], *bytes.get(at + 1)?];
                out.push(if pair == WIDE_BLANK { ' ' } else { two_bytes(pair)? });
                at += 1;
            }
            byte => out.push(unit(2 * 256 + usize::from(byte))?),
        }
        at += 1;
    }
    Some(())
}

fn two_bytes(pair: [u8; 2]) -> Option<char> {
    let [first, second] = pair.map(|byte| (FIRST..=LAST).contains(&byte).then(|| usize::from(byte - FIRST)));
    unit(3 * 256 + first? * ROW + second?)
}

/// The character at a place of the tables. NUL stands for itself in the first place of a page.
fn unit(at: usize) -> Option<char> {
    let unit = TABLES.get(at * 2..)?.first_chunk().map(|unit| u16::from_be_bytes(*unit))?;
    if unit == 0 && at.is_multiple_of(256) && at < 3 * 256 {
        return Some('\0');
    }
    char::from_u32(u32::from(unit)).filter(|_| unit != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(encoding: Encoding, bytes: &[u8], expected: Option<&str>) {
        let mut out = String::new();
        let text = decode(encoding, bytes, &mut out).map(|()| out);
        assert_eq!(text.as_deref(), expected, "{bytes:02X?}");
    }

    #[test]
    fn pages_differ_in_their_brackets() {
        check(Encoding::Cp037, b"\xC8\x85\x93\x93\x96\x40\xF1\x5A\xBA\x00", Some("Hello 1![\0"));
        check(Encoding::Cp500, b"\xC8\x85\x93\x93\x96\x40\xF1\x4F\x4A", Some("Hello 1!["));
    }

    #[test]
    fn korean_stands_between_shifts() {
        // As `iconv -t IBM933` writes it.
        let bytes = b"\x0E\xD1\xB7\x8B\xA9\x95\xB7\x0F\x40\xC1\xC2\xC3\x40\xF1\xF2\xF3\x40";
        check(Encoding::Cp933, bytes, Some("홍길동 ABC 123 "));
        check(Encoding::Cp933, b"\x0E\xD1\xB7\x40\x40", Some("홍 "));
        check(Encoding::Cp933, b"\x0E\xD1\xB7\x8B", None);
        check(Encoding::Cp933, b"\x0E\xFE\xFE\x0F", None);
        check(Encoding::Cp933, b"\x0F", None);
    }
}
