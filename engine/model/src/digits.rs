//! Decimal digits, eight at a time.

/// Powers of ten by which eight digits, or a part of them, move the digits before them.
pub const POWERS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// Eight times the digit zero.
const ZEROS: u64 = u64::from_ne_bytes([b'0'; 8]);

/// The number that 8 to 16 digits make; `None` for anything else.
#[inline]
pub fn number(digits: &[u8]) -> Option<u64> {
    let (Some(first), Some(last), Some(rest @ 0..=8)) =
        (digits.first_chunk(), digits.last_chunk(), digits.len().checked_sub(8))
    else {
        return None;
    };
    let (first, last) = (u64::from_le_bytes(*first) ^ ZEROS, u64::from_le_bytes(*last) ^ ZEROS);
    // A byte above 9 has a bit of its upper half set, or gets one by adding 6.
    let above = |values: u64| (values | values.wrapping_add(0x0606_0606_0606_0606)) & 0xF0F0_F0F0_F0F0_F0F0 != 0;
    if above(first) || above(last) {
        return None;
    }
    // The last eight digits without those that the first eight have already.
    let rest_only = if rest == 0 { 0 } else { last >> (8 * (8 - rest)) << (8 * (8 - rest)) };
    Some(eight(first) * POWERS[rest] + eight(rest_only))
}

/// The number of eight values 0 to 9, the first in the lowest byte: neighbours are joined to pairs, fours, eight.
#[inline]
fn eight(values: u64) -> u64 {
    let pairs = values.wrapping_mul(10 << 8 | 1) >> 8 & 0x00FF_00FF_00FF_00FF;
    let fours = pairs.wrapping_mul(100 << 16 | 1) >> 16 & 0x0000_FFFF_0000_FFFF;
    fours.wrapping_mul(10_000 << 32 | 1) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_their_number_and_no_other_byte_is_one() {
        for length in 0..20 {
            let digits: Vec<u8> = b"90817263544536271809".iter().copied().take(length).collect();
            let expected = std::str::from_utf8(&digits).ok().and_then(|text| text.parse().ok());
            assert_eq!(number(&digits), expected.filter(|_| (8..=16).contains(&length)), "{length}");
            for (at, byte) in (0..length.min(16)).flat_map(|at| (0..=u8::MAX).map(move |byte| (at, byte))) {
                let mut other = digits.clone();
                other[at] = byte;
                let expected = (8..=16).contains(&length) && byte.is_ascii_digit();
                assert_eq!(number(&other).is_some(), expected, "{length} {at} {byte}");
            }
        }
    }
}
