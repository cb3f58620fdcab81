//! A row of XML as the nested decoder sees it.

use ieum_model::dataset::{Encoding, Export, Repair};

use super::tree::Elements;
use crate::convert::Flaw;
use crate::encoding;
use crate::nested::decoder::{Glimpse, Markup, Name};

/// XML in an encoding, nested no deeper than so.
#[derive(Debug, Clone, Copy)]
pub struct Xml {
    encoding: Encoding,
    depth: usize,
    repairs: bool,
}

impl Xml {
    /// Of an export.
    pub fn of(export: &Export) -> Self {
        Self {
            encoding: export.encoding.of_cells(),
            depth: export.limits.depth as usize,
            repairs: export.repair.contains(&Repair::EmptyElements),
        }
    }
}

impl Markup for Xml {
    type Tree = Elements;

    fn parse(&self, row: &[u8], tree: &mut Elements) -> Result<Option<&'static str>, Flaw> {
        let mut scratch = String::new();
        let text = encoding::decode(self.encoding, row, &mut scratch)
            .ok_or(Flaw { rule: "encoding", reason: "expected text in the encoding of the export" })?;
        tree.read(text, self.depth, self.repairs)
    }

    fn value_after<'r>(&self, row: &'r [u8], name: &Name, at: usize) -> Glimpse<'r> {
        let begins = at > 0 && matches!(row[at - 1], b'<' | b':');
        match row.get(at + name.bytes.len()) {
            Some(b'>') if begins => {
                let rest = &row[at + name.bytes.len() + 1..];
                let Some(end) = memchr::memchr(b'<', rest) else { return Glimpse::Unclear };
                let is_plain = !rest[end..].starts_with(b"<!") && !rest[end..].starts_with(b"<?");
                match rest[..end].trim_ascii() {
                    _ if !is_plain => Glimpse::Unclear,
                    [] => Glimpse::Nothing,
                    text if text.contains(&b'&') => Glimpse::Unclear,
                    text => Glimpse::Value(text),
                }
            }
            Some(byte) if begins && byte.is_ascii_whitespace() => Glimpse::Unclear,
            _ => Glimpse::Nothing,
        }
    }

    fn is_plainly_spelled(&self, _row: &[u8], _name: &Name) -> bool {
        true
    }

    fn is_between(&self, byte: u8) -> bool {
        byte.is_ascii_whitespace() || b"<>=\"'/&;[]".contains(&byte)
    }
}
