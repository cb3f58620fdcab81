//! Spelling: full width to half width, blanks and hyphens away, Hangul composed (domain.md 2.4).

/// Appends `raw` to `out` without blanks and hyphens of any width, full-width letters and digits as ASCII.
///
/// Bytes that are not UTF-8 are appended trimmed: dropping some of them could join the others into a character.
pub fn without_separators(raw: &[u8], out: &mut Vec<u8>) {
    if raw.is_ascii() {
        out.extend(raw.iter().copied().filter(|&b| b != b'-' && !is_blank(char::from(b))));
    } else {
        append(raw, out, |c| c != '-' && !is_blank(c));
    }
}

/// Appends `raw` to `out` without blanks of any width, full-width letters and digits as ASCII, Hangul composed (NFC).
///
/// Bytes that are not UTF-8 are appended trimmed.
pub fn without_blanks(raw: &[u8], out: &mut Vec<u8>) {
    append(raw, out, |c| !is_blank(c));
}

/// The ASCII character of a full-width one, of a wide blank or of a typographic hyphen; others as they are.
pub fn half_width(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xff01 + 0x21).unwrap_or(c),
        '\u{3000}' | '\u{a0}' => ' ',
        '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
        _ => c,
    }
}

/// Blank, or without any width: such characters come with copied cells and byte order marks.
pub fn is_blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{200b}' | '\u{feff}')
}

fn append(raw: &[u8], out: &mut Vec<u8>, keep: impl Fn(char) -> bool) {
    let Ok(text) = std::str::from_utf8(raw) else {
        return out.extend_from_slice(raw.trim_ascii());
    };
    let mut last: Option<char> = None;
    for c in text.chars().map(half_width).filter(|&c| keep(c)) {
        last = match last {
            Some(before) => Some(composed(before, c).unwrap_or_else(|| {
                push(before, out);
                c
            })),
            None => Some(c),
        };
    }
    if let Some(c) = last {
        push(c, out);
    }
}

fn push(c: char, out: &mut Vec<u8>) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Hangul composition (The Unicode Standard, 3.12): leading and vowel, or syllable without trailing and trailing.
fn composed(before: char, c: char) -> Option<char> {
    let (before, c) = (before as u32, c as u32);
    let syllable = match (before, c) {
        (0x1100..=0x1112, 0x1161..=0x1175) => 0xac00 + ((before - 0x1100) * 21 + (c - 0x1161)) * 28,
        (0xac00..=0xd7a3, 0x11a8..=0x11c2) if (before - 0xac00) % 28 == 0 => before + (c - 0x11a7),
        _ => return None,
    };
    char::from_u32(syllable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling() {
        let check = |raw: &str, separators: &str, blanks: &str| {
            let (mut a, mut b) = (Vec::new(), Vec::new());
            without_separators(raw.as_bytes(), &mut a);
            without_blanks(raw.as_bytes(), &mut b);
            assert_eq!((a, b), (separators.as_bytes().to_vec(), blanks.as_bytes().to_vec()), "{raw}");
        };
        check(" 12-34 ", "1234", "12-34");
        check("１２－３４", "1234", "12-34");
        check("\u{feff}12\u{3000}\u{2212}3", "123", "12-3");
        check("\u{1112}\u{1161}\u{11ab}", "한", "한");
        check("하\u{11ab}\u{11ab}", "한\u{11ab}", "한\u{11ab}");
    }

    #[test]
    fn bytes_that_are_not_text_stay() {
        let mut out = Vec::new();
        without_separators(b" \xe3-\x80 \x80 ", &mut out);
        assert_eq!(out, b"\xe3-\x80 \x80");
    }
}
