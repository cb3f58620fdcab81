//! A row of JSON as the nested decoder sees it.

use ieum_model::dataset::{Encoding, Export};
use memchr::memmem;

use super::tape::Tape;
use crate::convert::Flaw;
use crate::nested::decoder::{Glimpse, Markup, Name};

/// JSON in an encoding, nested no deeper than so.
#[derive(Debug, Clone, Copy)]
pub struct Json {
    encoding: Encoding,
    depth: usize,
}

impl Json {
    /// Of an export.
    pub fn of(export: &Export) -> Self {
        Self { encoding: export.encoding.of_cells(), depth: export.limits.depth as usize }
    }
}

impl Markup for Json {
    type Tree = Tape;

    fn parse(&self, row: &[u8], tree: &mut Tape) -> Result<Option<&'static str>, Flaw> {
        tree.read(row, self.encoding, self.depth).map(|()| None)
    }

    fn value_after<'r>(&self, row: &'r [u8], name: &Name, at: usize) -> Glimpse<'r> {
        let end = at + name.bytes.len();
        let is_name = at > 0 && row[at - 1] == b'"' && row.get(end) == Some(&b'"');
        let value = is_name.then(|| row[end + 1..].trim_ascii_start()).and_then(|rest| rest.strip_prefix(b":"));
        let Some(value) = value.map(<[u8]>::trim_ascii_start) else { return Glimpse::Nothing };
        match value {
            [b'"', text @ ..] => match memchr::memchr2(b'"', b'\\', text) {
                Some(end) if text[end] == b'"' => Glimpse::Value(&text[..end]),
                _ => Glimpse::Unclear,
            },
            [b'0'..=b'9' | b'-', ..] => {
                let length = value.iter().position(|byte| b",}] \t\r\n".contains(byte)).unwrap_or(value.len());
                Glimpse::Value(&value[..length])
            }
            [b'n', ..] => Glimpse::Nothing,
            _ => Glimpse::Unclear,
        }
    }

    /// A name may be spelled with an escape instead; and a row with another number of brackets opened than closed is one that was
    /// cut off, or two: its key may be lost, or another's.
    fn is_plainly_spelled(&self, row: &[u8], name: &Name) -> bool {
        let count = |byte: u8| memchr::memchr_iter(byte, row).count();
        let row = row.trim_ascii();
        let is_whole = row.first() == Some(&b'{') && row.last() == Some(&b'}') && count(b'{') == count(b'}');
        let must_escape = |byte: &u8| *byte < 0x20 || matches!(byte, b'"' | b'\\' | b'/');
        let escape: &[u8] = match name.bytes.iter().any(must_escape) {
            true => b"\\",
            false if name.bytes.is_ascii() => b"\\u00",
            false => b"\\u",
        };
        is_whole && (memchr::memchr(b'\\', row).is_none() || memmem::find(row, escape).is_none())
    }

    fn is_between(&self, byte: u8) -> bool {
        byte.is_ascii_whitespace() || b"\"{}[]:,\\/".contains(&byte)
    }
}
