//! What bytes look like: a suggestion for whoever writes a catalog file or looks at rows, never a decision. What a file is, the
//! catalog says.

use encoding_rs::EUC_KR;
use ieum_model::dataset::Encoding;

/// Bytes of a file that are worth looking at.
pub const LOOKED_AT: usize = 256 * 1024;
/// Delimiters in the order in which they are tried.
const DELIMITERS: [u8; 5] = [b',', b'\t', b'|', b';', b'^'];
/// Lines that delimiters are counted in.
const LINES: usize = 200;

/// The encoding that the beginning of a file looks like. A file in ASCII looks like UTF-8.
///
/// Windows-1252 and CP949 share their bytes: what is read as CP949 must make hangul of the KS X 1001 mostly, for accents before
/// letters make rare syllables and hanja.
pub fn encoding(head: &[u8]) -> Encoding {
    let head = &head[..head.len().min(LOOKED_AT)];
    match head {
        [0xEF, 0xBB, 0xBF, ..] => return Encoding::Utf8,
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => return Encoding::Utf16,
        _ => {}
    }
    if let Some(found) = utf_16(head) {
        return found;
    }
    let broken = match std::str::from_utf8(head) {
        Ok(_) => return Encoding::Utf8,
        // A character that the end cuts off.
        Err(error) if error.error_len().is_none() => return Encoding::Utf8,
        Err(_) => String::from_utf8_lossy(head).matches('\u{FFFD}').count(),
    };
    let high = head.iter().filter(|byte| !byte.is_ascii()).count();
    let korean = Korean::of(head);
    if korean.broken * 50 <= korean.pairs && korean.hangul * 2 >= korean.pairs {
        Encoding::Cp949
    } else if broken * 20 <= high {
        Encoding::Utf8
    } else {
        Encoding::Windows1252
    }
}

/// Without a mark: most bytes that are zero stand at even places, or at odd ones; some hangul have a zero too.
fn utf_16(head: &[u8]) -> Option<Encoding> {
    let zeros = |from: usize| head.iter().skip(from).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    if (even + odd) * 50 < head.len() || head.is_empty() {
        return None;
    }
    if odd > 4 * even {
        Some(Encoding::Utf16Le)
    } else if even > 4 * odd {
        Some(Encoding::Utf16Be)
    } else {
        None
    }
}

/// Pairs of bytes as CP949 reads them.
#[derive(Default)]
struct Korean {
    pairs: usize,
    /// Those that are hangul of the KS X 1001.
    hangul: usize,
    /// Bytes that begin no pair.
    broken: usize,
}

impl Korean {
    fn of(bytes: &[u8]) -> Self {
        let (mut found, mut at) = (Self::default(), 0);
        while let Some(first) = bytes.get(at) {
            if first.is_ascii() {
                at += 1;
                continue;
            }
            let Some(pair) = bytes.get(at..at + 2) else { break };
            if EUC_KR
                .decode_without_bom_handling_and_without_replacement(pair)
                .is_some_and(|text| text.chars().count() == 1)
            {
                found.pairs += 1;
                found.hangul += usize::from((0xB0..=0xC8).contains(&pair[0]) && pair[1] >= 0xA1);
                at += 2;
            } else {
                found.broken += 1;
                at += 1;
            }
        }
        found
    }
}

/// The EBCDIC that bytes seem to be in; `None` where they seem to be none.
pub(crate) fn ebcdic(head: &[u8]) -> Option<Encoding> {
    // Blanks, digits and letters of EBCDIC; in ASCII and CP949 most of them are no letters.
    let is_common = |byte: &u8| matches!(byte, 0x40 | 0x4B | 0x60 | 0x61 | 0x81..=0x89 | 0x91..=0x99 | 0xA2..=0xA9 | 0xC1..=0xC9 | 0xD1..=0xD9 | 0xE2..=0xE9 | 0xF0..=0xF9);
    let told: Vec<&u8> = head.iter().filter(|byte| **byte != 0).collect();
    let common = told.iter().filter(|byte| is_common(byte)).count();
    let plain = head.iter().filter(|byte| matches!(byte, b' ' | b'\n' | b'0'..=b'9')).count();
    if told.is_empty() || common * 10 < told.len() * 6 || plain * 10 > told.len() {
        return None;
    }
    Some(if has_shifts(head) { Encoding::Cp933 } else { Encoding::Cp037 })
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

/// Bytes as text in the encoding that they look like; what is no text is replaced.
pub fn shown(bytes: &[u8]) -> String {
    decoded(bytes, encoding(bytes))
}

/// Bytes as text in an encoding that is no EBCDIC; what is no text is replaced.
pub(crate) fn decoded(bytes: &[u8], encoding: Encoding) -> String {
    let encoding = match encoding {
        Encoding::Cp949 => EUC_KR,
        Encoding::Windows1252 => encoding_rs::WINDOWS_1252,
        Encoding::Utf16Be => encoding_rs::UTF_16BE,
        Encoding::Utf16 if bytes.starts_with(&[0xFE, 0xFF]) => encoding_rs::UTF_16BE,
        Encoding::Utf16 | Encoding::Utf16Le => encoding_rs::UTF_16LE,
        _ => encoding_rs::UTF_8,
    };
    encoding.decode_with_bom_removal(bytes).0.into_owned()
}

/// The delimiter that the lines of a file, in any encoding but UTF-16, look cut by; `None` where they look like one cell. It is
/// the one that stands equally often in most of the lines, quotes left aside; of several the one that cuts most.
pub fn delimiter(head: &[u8]) -> Option<u8> {
    let head = &head[..head.len().min(LOOKED_AT)];
    let lines: Vec<&[u8]> = head
        .split(|byte| matches!(byte, b'\n' | b'\r'))
        .filter(|line| !line.trim_ascii().is_empty())
        .take(LINES)
        .collect();
    let usual = |delimiter: u8| {
        let mut counts: Vec<usize> = lines.iter().map(|line| outside_quotes(line, delimiter)).collect();
        counts.sort_unstable();
        let runs = counts.chunk_by(|a, b| a == b).filter(|run| run[0] > 0);
        runs.map(|run| (run.len(), run[0])).max()
    };
    let found = DELIMITERS.into_iter().rev().filter_map(|delimiter| Some((usual(delimiter)?, delimiter)));
    let enough = |((lines_alike, _), _): &((usize, usize), u8)| lines_alike * 5 >= lines.len();
    // Lines alike in tenths, so that a few broken ones do not decide.
    let weight = |((lines_alike, cuts), _): &((usize, usize), u8)| (lines_alike * 10 / lines.len().max(1), *cuts);
    found.filter(enough).max_by_key(weight).map(|(_, delimiter)| delimiter)
}

fn outside_quotes(line: &[u8], delimiter: u8) -> usize {
    let mut quoted = false;
    let mut is_one = |byte: &&u8| {
        quoted ^= **byte == b'"';
        !quoted && **byte == delimiter
    };
    line.iter().filter(|byte| is_one(byte)).count()
}

/// How a catalog writes an encoding.
pub fn name(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Utf8 => "utf-8",
        Encoding::Cp949 => "cp949",
        Encoding::Windows1252 => "windows-1252",
        Encoding::Utf16 => "utf-16",
        Encoding::Utf16Le => "utf-16le",
        Encoding::Utf16Be => "utf-16be",
        Encoding::Cp037 => "cp037",
        Encoding::Cp500 => "cp500",
        Encoding::Cp933 => "cp933",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Read;
    use std::path::Path;

    use super::*;

    /// Path, encoding and bytes of every file of the shared data that is text.
    fn texts() -> Vec<(String, String, Vec<u8>)> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
        let manifest = std::fs::read(root.join("manifest.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        let files = manifest.as_array().or_else(|| manifest["files"].as_array()).unwrap();
        let mut found = Vec::new();
        for file in files {
            let (path, encoding) = (file["path"].as_str().unwrap(), file["encoding"].as_str().unwrap());
            if ["binary", "Parquet"].contains(&encoding) {
                continue;
            }
            let mut bytes = std::fs::read(root.join(path)).unwrap();
            if path.ends_with(".gz") {
                let packed = std::mem::take(&mut bytes);
                flate2::read::MultiGzDecoder::new(&packed[..]).read_to_end(&mut bytes).unwrap();
            }
            found.push((path.to_owned(), encoding.to_owned(), bytes));
        }
        found
    }

    #[test]
    fn the_encoding_of_every_real_file_is_suggested() {
        let texts = texts();
        assert!(texts.len() > 80, "{}", texts.len());
        for (path, told, bytes) in texts {
            let expected = match told.split(' ').next().unwrap() {
                "ascii" | "utf-8" => Encoding::Utf8,
                "cp949" => Encoding::Cp949,
                "windows-1252" => Encoding::Windows1252,
                other => panic!("{other}"),
            };
            assert_eq!(encoding(&bytes), expected, "{path}");
            let beginning = &bytes[..bytes.len().min(4001)];
            // Where the beginning is ASCII nothing else can be seen in it.
            let seen = if beginning.is_ascii() { Encoding::Utf8 } else { expected };
            assert_eq!(encoding(beginning), seen, "the beginning of {path}");
            let Ok(text) = std::str::from_utf8(&bytes) else { continue };
            let units = text.encode_utf16().take(2000);
            let little: Vec<u8> = units.clone().flat_map(u16::to_le_bytes).collect();
            let big: Vec<u8> = units.flat_map(u16::to_be_bytes).collect();
            assert_eq!((encoding(&little), encoding(&big)), (Encoding::Utf16Le, Encoding::Utf16Be), "{path}");
        }
    }

    #[test]
    fn the_delimiter_of_every_real_table_is_suggested() {
        let mut tables = 0;
        for (path, _, bytes) in texts() {
            let name = path.trim_end_matches(".gz");
            let expected = match name {
                _ if name.contains("_hierarchy_salary") || name.contains("_expected/") => continue,
                _ if name.ends_with("법정동코드_전체자료.txt") || name.ends_with("zipcode_구우편번호.txt") => {
                    b'\t'
                }
                _ if name.contains("/arx-") => b';',
                _ if name.ends_with(".csv") => b',',
                _ => continue,
            };
            tables += 1;
            assert_eq!(delimiter(&bytes).map(char::from), Some(char::from(expected)), "{path}");
        }
        assert!(tables > 40, "{tables}");
        assert_eq!(delimiter(b"a^b^c\n1^2,5^3\n"), Some(b'^'));
        assert_eq!(delimiter(b"one cell\nper line\n"), None);
        assert_eq!(delimiter(b""), None);
    }

    #[test]
    fn marks_and_dirt() {
        assert_eq!(encoding(b""), Encoding::Utf8);
        assert_eq!(encoding(b"\xFF\xFEa\0"), Encoding::Utf16);
        assert_eq!(encoding("\u{feff}가".as_bytes()), Encoding::Utf8);
        assert_eq!(encoding(&"가나다".as_bytes()[..8]), Encoding::Utf8);
        let mut dirty = "서울특별시,도서관\n".repeat(50).into_bytes();
        dirty.insert(100, 0xFF);
        assert_eq!(encoding(&dirty), Encoding::Utf8);
        let mut dirty = EUC_KR.encode(&"서울특별시,도서관\n".repeat(50)).0.into_owned();
        dirty.push(0xFF);
        assert_eq!(encoding(&dirty), Encoding::Cp949);
        assert_eq!(encoding(b"Jos\xE9 \xD1ando, S\xF8ren \xC5ngstr\xF6m"), Encoding::Windows1252);
    }

    #[test]
    fn ebcdic_is_told_from_text() {
        let korean = EUC_KR.encode("주민등록번호,성명\n").0.into_owned();
        assert_eq!(encoding(&korean[..korean.len() - 2]), Encoding::Cp949);
        assert_eq!(ebcdic(b"\xC8\x85\x93\x93\x96\x40\xF1\xF2"), Some(Encoding::Cp037));
        let shifted = b"\x0E\xD1\xB7\x8B\xA9\x0F\xC1\xC2\xC3\xC4\xC5\xF1\xF2\xF3\x40\x40\x40";
        assert_eq!(ebcdic(shifted), Some(Encoding::Cp933));
        assert_eq!(ebcdic(b"hello, world"), None);
        assert_eq!(ebcdic(&korean), None);
    }

    #[test]
    fn rows_are_shown_as_text() {
        let units: Vec<u8> = "\u{feff}뷁,a".encode_utf16().flat_map(u16::to_be_bytes).collect();
        let korean = EUC_KR.encode("서울,갑").0.into_owned();
        for bytes in [&units[..], &korean, "서울,갑".as_bytes()] {
            assert!(["뷁,a", "서울,갑"].contains(&shown(bytes).as_str()), "{}", shown(bytes));
        }
    }
}
