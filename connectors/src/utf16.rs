//! Files in UTF-16, translated to UTF-8 as they are read, and back where a row must be told as it stands in the file.
//!
//! No byte is lost on the way: half of a surrogate pair becomes the three bytes that it would have in UTF-8 were it a
//! character, and an odd byte at the end [`ODD`] and the character 256 above its number, which is no delimiter, quote or bracket.
//! Neither is UTF-8, so the cell that holds it is rejected, and both are turned back ([`back`]).

use std::io::{self, Read};

use ieum_model::dataset::Encoding;

/// Stands before an odd byte; in no text of UTF-8.
const ODD: u8 = 0xFF;
/// What its character is above an odd byte.
const ABOVE: u32 = 0x100;
/// Bytes read at a time.
const READ: usize = 64 * 1024;

/// The byte order of a file in UTF-16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Low bytes first.
    Little,
    /// High bytes first.
    Big,
}

/// The byte order of a file that starts with `head`; `None` where neither mark nor `encoding` tells one.
pub fn order(encoding: Encoding, head: &[u8]) -> Option<Order> {
    match (encoding, head) {
        (Encoding::Utf16Le, _) | (Encoding::Utf16, [0xFF, 0xFE, ..]) => Some(Order::Little),
        (Encoding::Utf16Be, _) | (Encoding::Utf16, [0xFE, 0xFF, ..]) => Some(Order::Big),
        _ => None,
    }
}

/// A stream of UTF-16 as one of UTF-8; a byte order mark becomes that of UTF-8.
pub struct ToUtf8<R> {
    inner: R,
    order: Order,
    raw: Vec<u8>,
    text: Vec<u8>,
    told: usize,
    at_end: bool,
}

impl<R: Read> ToUtf8<R> {
    /// Of a stream in this byte order.
    pub fn new(inner: R, order: Order) -> Self {
        Self { inner, order, raw: Vec::new(), text: Vec::new(), told: 0, at_end: false }
    }

    /// Translates what has come, but for a unit or pair that is cut off.
    fn translate(&mut self) {
        let unit = |pair: &[u8; 2]| match self.order {
            Order::Little => u16::from_le_bytes(*pair),
            Order::Big => u16::from_be_bytes(*pair),
        };
        let (pairs, odd) = self.raw.as_chunks::<2>();
        let mut units: Vec<u16> = pairs.iter().map(unit).collect();
        let waits = !self.at_end && units.last().is_some_and(|unit| (0xD800..0xDC00).contains(unit));
        let mut left = odd.to_vec();
        if waits && let Some(last) = pairs.last() {
            units.pop();
            left = [&last[..], odd].concat();
        }
        for read in char::decode_utf16(units) {
            match read {
                Ok(character) => self.text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
                Err(half) => {
                    let [high, low] = half.unpaired_surrogate().to_be_bytes();
                    let bits = u16::from_be_bytes([high, low]);
                    let six = |shift: u16| 0x80 | ((bits >> shift) & 0x3F) as u8;
                    self.text.extend_from_slice(&[0xE0 | (bits >> 12) as u8, six(6), six(0)]);
                }
            }
        }
        if self.at_end
            && let [odd] = left[..]
        {
            self.text.push(ODD);
            let character = char::from_u32(ABOVE + u32::from(odd));
            self.text.extend(character.map(|character| character.to_string()).unwrap_or_default().bytes());
            left.clear();
        }
        self.raw = left;
    }
}

impl<R: Read> Read for ToUtf8<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.told == self.text.len() {
            if self.at_end {
                return Ok(0);
            }
            self.told = 0;
            self.text.clear();
            let held = self.raw.len();
            self.raw.resize(held + READ, 0);
            let read = self.inner.read(&mut self.raw[held..]);
            self.raw.truncate(held + read.as_ref().map_or(0, |bytes| *bytes));
            self.at_end = read? == 0;
            self.translate();
        }
        let bytes = buffer.len().min(self.text.len() - self.told);
        buffer[..bytes].copy_from_slice(&self.text[self.told..self.told + bytes]);
        self.told += bytes;
        Ok(bytes)
    }
}

/// Bytes of a file, whole units of it but for its end, translated.
pub fn forth(bytes: &[u8], order: Order) -> Vec<u8> {
    let mut reading = ToUtf8::new(io::empty(), order);
    (reading.raw, reading.at_end) = (bytes.to_vec(), true);
    reading.translate();
    reading.text
}

/// Bytes that translated text takes in its file.
pub fn bytes_in_file(text: &[u8]) -> u64 {
    let odd = memchr::memchr(ODD, text).is_some();
    if odd {
        return back(text, Order::Little).len() as u64;
    }
    // A character is its lead byte; those of four bytes are two units.
    let units = |byte: &u8| match byte {
        0x80..0xC0 => 0,
        0xF0..=0xFF => 2,
        _ => 1_u64,
    };
    2 * text.iter().map(units).sum::<u64>()
}

/// Translated text as it stands in its file.
pub fn back(text: &[u8], order: Order) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() * 2);
    let mut put = |unit: u16| {
        out.extend_from_slice(&match order {
            Order::Little => unit.to_le_bytes(),
            Order::Big => unit.to_be_bytes(),
        });
    };
    let (mut at, mut odd) = (0, None);
    while at < text.len() {
        let length = match text[at] {
            ODD => {
                odd = std::str::from_utf8(&text[at + 1..]).ok().and_then(|rest| rest.chars().next());
                break;
            }
            0xF0.. => 4,
            0xE0.. => 3,
            0xC0.. => 2,
            _ => 1,
        };
        let bytes = &text[at..(at + length).min(text.len())];
        match std::str::from_utf8(bytes) {
            Ok(text) => text.encode_utf16().for_each(&mut put),
            Err(_) => {
                let bits = bytes
                    .iter()
                    .skip(1)
                    .fold(u16::from(bytes[0] & 0x0F), |bits, byte| bits << 6 | u16::from(byte & 0x3F));
                put(bits);
            }
        }
        at += length;
    }
    out.extend(odd.and_then(|odd| u8::try_from(u32::from(odd).checked_sub(ABOVE)?).ok()));
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives so many bytes at a time.
    struct Drops<'a>(&'a [u8], usize);

    impl Read for Drops<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let bytes = self.0.len().min(self.1).min(buffer.len());
            buffer[..bytes].copy_from_slice(&self.0[..bytes]);
            self.0 = &self.0[bytes..];
            Ok(bytes)
        }
    }

    fn read(bytes: &[u8], order: Order, at_a_time: usize) -> Vec<u8> {
        let mut text = Vec::new();
        ToUtf8::new(Drops(bytes, at_a_time), order).read_to_end(&mut text).unwrap();
        text
    }

    #[test]
    fn text_is_translated() {
        let text = "주민,뷁 𝄞 é\r\n";
        let units = || text.encode_utf16();
        let little: Vec<u8> = units().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = units().flat_map(u16::to_be_bytes).collect();
        for at_a_time in [1, 3, 100] {
            assert_eq!(read(&little, Order::Little, at_a_time), text.as_bytes());
            assert_eq!(read(&big, Order::Big, at_a_time), text.as_bytes());
        }
        assert_eq!(order(Encoding::Utf16, b"\xFF\xFEa\0"), Some(Order::Little));
        assert_eq!(order(Encoding::Utf16, b"a\0"), None);
        assert_eq!(order(Encoding::Utf16Be, b"\xFF\xFE"), Some(Order::Big));
    }

    #[test]
    fn an_odd_byte_stands_between_no_cells() {
        for odd in 0..=u8::MAX {
            let text = forth(&[b'a', 0, odd], Order::Little);
            assert!(text[1..].iter().all(|byte| !byte.is_ascii()), "{text:?}");
            assert_eq!(back(&text, Order::Little), [b'a', 0, odd]);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(bytes: Vec<u8>, at_a_time in 1..9_usize, big: bool) {
            let order = if big { Order::Big } else { Order::Little };
            let text = read(&bytes, order, at_a_time);
            prop_assert_eq!(back(&text, order), &bytes[..]);
            prop_assert_eq!(bytes_in_file(&text), bytes.len() as u64);
            prop_assert_eq!(forth(&bytes, order), &text[..]);
            let whole = bytes.len() % 2 == 0 && char::decode_utf16(bytes.chunks(2).map(|pair| match order {
                Order::Big => u16::from_be_bytes([pair[0], pair[1]]),
                Order::Little => u16::from_le_bytes([pair[0], pair[1]]),
            })).all(|read| read.is_ok());
            prop_assert_eq!(std::str::from_utf8(&text).is_ok(), whole);
        }
    }
}
