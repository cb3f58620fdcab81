//! Numbers as COBOL programs store them, to decimal text: a sign where it is negative, no leading zeros, the declared digits
//! after the point.
//!
//! The half bytes that stand for a sign are those of the z/Architecture Principles of Operation (decimal codes): A, C, E and F are
//! plus, B and D minus. In ASCII files an overpunched digit is a letter or a brace, as translation from EBCDIC leaves it.

use std::fmt::Write as _;

/// What is read of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    /// Nothing stands there: blanks, or bytes that were never set.
    Absent,
    /// A number without its point.
    Unscaled(i128),
}

/// Two digits a byte, the sign in the last half byte; `None` where the bytes are no packed number. Blanks and NULs are no number,
/// and never one.
pub(super) fn packed(bytes: &[u8], blank: u8) -> Option<Number> {
    if is_unset(bytes, blank) {
        return Some(Number::Absent);
    }
    let halves = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0x0F]);
    let mut value = 0_i128;
    for digit in halves.take(bytes.len() * 2 - 1) {
        value = append(value, digit)?;
    }
    signed(value, bytes.last()? & 0x0F)
}

/// Most significant byte first, in two's complement where it has a sign; `None` above eight bytes.
pub(super) fn binary(bytes: &[u8], has_sign: bool) -> Option<Number> {
    if bytes.is_empty() || bytes.len() > 8 {
        return None;
    }
    let value = bytes.iter().fold(0_i128, |value, byte| value << 8 | i128::from(*byte));
    let is_negative = has_sign && bytes[0] & 0x80 != 0;
    Some(Number::Unscaled(if is_negative { value - (1 << (8 * bytes.len())) } else { value }))
}

/// Digits, the sign in the zone of the last or the first byte or as a character before or after; `None` where the bytes are no
/// such number.
pub(super) fn zoned(bytes: &[u8], ebcdic: bool) -> Option<Number> {
    let (blank, minus, plus) = if ebcdic { (0x40, 0x60, 0x4E) } else { (b' ', b'-', b'+') };
    if is_unset(bytes, blank) {
        return Some(Number::Absent);
    }
    let start = bytes.iter().position(|byte| *byte != blank)?;
    let end = bytes.iter().rposition(|byte| *byte != blank)? + 1;
    let bytes = &bytes[start..end];
    let (negative, digits) = match bytes {
        [first, rest @ ..] | [rest @ .., first] if *first == minus => (true, rest),
        [first, rest @ ..] | [rest @ .., first] if *first == plus => (false, rest),
        _ => (false, bytes),
    };
    let digit = if ebcdic { ebcdic_digit } else { ascii_digit };
    let (mut value, mut sign) = (0_i128, None);
    for (at, byte) in digits.iter().enumerate() {
        let (digit, zone) = digit(*byte)?;
        let at_end = at == 0 || at + 1 == digits.len();
        if zone != 0x0F {
            if !at_end || sign.is_some() {
                return None;
            }
            sign = Some(zone);
        }
        value = append(value, digit)?;
    }
    if digits.is_empty() {
        return None;
    }
    signed(if negative { -value } else { value }, sign.unwrap_or(0x0F))
}

/// Digit and zone of a byte.
fn ebcdic_digit(byte: u8) -> Option<(u8, u8)> {
    (byte & 0x0F <= 9 && byte >> 4 >= 0x0A).then_some((byte & 0x0F, byte >> 4))
}

fn ascii_digit(byte: u8) -> Option<(u8, u8)> {
    Some(match byte {
        b'0'..=b'9' => (byte - b'0', 0x0F),
        b'{' => (0, 0x0C),
        b'A'..=b'I' => (byte - b'A' + 1, 0x0C),
        b'}' => (0, 0x0D),
        b'J'..=b'R' => (byte - b'J' + 1, 0x0D),
        // Micro Focus and GnuCOBOL: a negative digit is 0x40 above its own.
        b'p'..=b'y' => (byte - b'p', 0x0D),
        _ => return None,
    })
}

fn is_unset(bytes: &[u8], blank: u8) -> bool {
    bytes.iter().all(|byte| *byte == blank) || bytes.iter().all(|byte| *byte == 0)
}

fn append(value: i128, digit: u8) -> Option<i128> {
    if digit > 9 {
        return None;
    }
    value.checked_mul(10)?.checked_add(i128::from(digit))
}

fn signed(value: i128, sign: u8) -> Option<Number> {
    match sign {
        0x0A | 0x0C | 0x0E | 0x0F => Some(Number::Unscaled(value)),
        0x0B | 0x0D => Some(Number::Unscaled(-value)),
        _ => None,
    }
}

/// Writes a number whose last `scale` digits stand after the point.
pub(super) fn write(value: i128, scale: u32, out: &mut String) {
    let power = 10_u128.checked_pow(scale).unwrap_or(u128::MAX);
    let size = value.unsigned_abs();
    if value < 0 {
        out.push('-');
    }
    // Writing to a String cannot fail.
    let _ = match scale {
        0 => write!(out, "{size}"),
        _ => write!(out, "{}.{:0>width$}", size / power, size % power, width = scale as usize),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(number: Option<Number>, scale: u32) -> Option<String> {
        match number? {
            Number::Absent => Some(String::new()),
            Number::Unscaled(value) => {
                let mut out = String::new();
                write(value, scale, &mut out);
                Some(out)
            }
        }
    }

    #[test]
    fn packed_numbers() {
        let check = |bytes: &[u8], scale, expected: Option<&str>| {
            assert_eq!(text(packed(bytes, 0x40), scale).as_deref(), expected, "{bytes:02X?}");
        };
        check(b"\x12\x34\x5C", 0, Some("12345"));
        check(b"\x12\x34\x5D", 2, Some("-123.45"));
        check(b"\x00\x00\x7D", 2, Some("-0.07"));
        check(b"\x00\x1F", 0, Some("1"));
        check(b"\x00\x00\x0F", 0, Some("0"));
        check(b"\x00\x00\x00", 0, Some(""));
        check(b"\x40\x40\x40", 0, Some(""));
        check(b"\x1A\x2C", 0, None);
        check(b"\x12\x34", 0, None);
        check(&[0x99; 40], 0, None);
    }

    #[test]
    fn binary_numbers() {
        let check = |bytes: &[u8], signed, expected: Option<&str>| {
            assert_eq!(text(binary(bytes, signed), 0).as_deref(), expected, "{bytes:02X?}");
        };
        check(b"\x00\x0A", true, Some("10"));
        check(b"\xFF\xFF", true, Some("-1"));
        check(b"\xFF\xFF", false, Some("65535"));
        check(b"\x80\0\0\0\0\0\0\0", true, Some("-9223372036854775808"));
        check(&[0xFF; 8], false, Some("18446744073709551615"));
        check(&[0; 9], false, None);
        assert_eq!(text(binary(b"\0\0\0\0\0\0\x5F\x18", true), 2).as_deref(), Some("243.44"));
    }

    #[test]
    fn zoned_numbers() {
        let check = |bytes: &[u8], ebcdic, expected: Option<&str>| {
            assert_eq!(text(zoned(bytes, ebcdic), 1).as_deref(), expected, "{bytes:02X?}");
        };
        check(b"\xF1\xF2\xF3", true, Some("12.3"));
        check(b"\xF1\xF2\xC3", true, Some("12.3"));
        check(b"\xF1\xF2\xD3", true, Some("-12.3"));
        check(b"\xD1\xF2\xF3", true, Some("-12.3"));
        check(b"\x60\xF1\xF2", true, Some("-1.2"));
        check(b"\xF1\xF2\x4E", true, Some("1.2"));
        check(b"\x40\x40\xF7", true, Some("0.7"));
        check(b"\x40\x40", true, Some(""));
        check(b"\xF1\xD2\xF3", true, None);
        check(b"\xF1\x81", true, None);
        check(b"12C", false, Some("12.3"));
        check(b"12L", false, Some("-12.3"));
        check(b"12s", false, Some("-12.3"));
        check(b"1}", false, Some("-1.0"));
        check(b"-12", false, Some("-1.2"));
        check(b"12.5", false, None);
        check(b"-", false, None);
    }
}
