//! `PICTURE` strings of COBOL: how long a field is and what stands in it.

/// What a picture says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Picture {
    /// Characters, or digits of a number.
    pub(super) length: usize,
    /// Whether it is a number.
    pub(super) numeric: bool,
    /// Whether it has a sign.
    pub(super) signed: bool,
    /// Digits after the point that is not written.
    pub(super) scale: u32,
    /// Whether it is edited: its sign, point and blanks are written as characters.
    pub(super) edited: bool,
    /// Whether its characters take two bytes each.
    pub(super) wide: bool,
}

/// Longest picture that is taken for one.
const MAX_LENGTH: usize = 1 << 20;

/// Reads a picture.
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub(super) fn parse(text: &str) -> Result<Picture, String> {
    let (mut picture, mut after_point, mut letters) = (Picture::default(), false, false);
    let symbols: Vec<char> = text.to_ascii_uppercase().chars().collect();
    let mut at = 0;
    while at < symbols.len() {
        let symbol = symbols[at];
        at += 1;
        let mut times = 1;
        if symbols.get(at) == Some(&'(') {
            let end = symbols[at..].iter().position(|c| *c == ')').ok_or("a bracket is not closed")? + at;
            let digits: String = symbols[at + 1..end].iter().collect();
            times = digits.trim().parse::<usize>().map_err(|_| format!("`({digits})` is no number of times"))?;
            at = end + 1;
        }
        match symbol {
            'S' => picture.signed = true,
            'V' => after_point = true,
            '9' => {
                picture.length = picture.length.saturating_add(times);
                if after_point {
                    picture.scale = picture.scale.saturating_add(u32::try_from(times).unwrap_or(u32::MAX));
                }
            }
            'X' | 'A' => {
                letters = true;
                picture.length = picture.length.saturating_add(times);
            }
            'N' | 'G' => {
                (letters, picture.wide) = (true, true);
                picture.length = picture.length.saturating_add(times);
            }
            'Z' | '*' | '+' | '-' | '.' | ',' | 'B' | '0' | '/' | '$' => {
                picture.edited = true;
                picture.length = picture.length.saturating_add(times);
            }
            // Two characters each.
            'C' | 'D' if matches!((symbol, symbols.get(at)), ('C', Some('R')) | ('D', Some('B'))) => {
                (picture.edited, at) = (true, at + 1);
                picture.length = picture.length.saturating_add(2);
            }
            'P' => return Err("digits that are not stored (`P`) are not supported".into()),
            other => return Err(format!("`{other}` is not supported")),
        }
    }
    if picture.length == 0 || picture.length > MAX_LENGTH {
        return Err("it has no length, or one that no field has".into());
    }
    picture.numeric = !letters && !picture.edited;
    Ok(picture)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_tell_length_sign_and_scale() {
        let check = |text: &str, length, scale, signed, numeric, edited| {
            let expected = Picture { length, numeric, signed, scale, edited, wide: false };
            assert_eq!(parse(text), Ok(expected), "{text}");
        };
        check("S9(09)V99", 11, 2, true, true, false);
        check("9(8)V9(2)", 10, 2, false, true, false);
        check("999", 3, 0, false, true, false);
        check("x(10)", 10, 0, false, false, false);
        check("9(8).9(2)", 11, 0, false, false, true);
        check("ZZ,ZZ9-", 7, 0, false, false, true);
        check("9(3)CR", 5, 0, false, false, true);
        for wrong in ["", "S", "9(", "9(x)", "9P(3)", "9(99999999)", "Q"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
