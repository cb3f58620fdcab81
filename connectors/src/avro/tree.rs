//! A row as the nested decoder sees it: its values, each with its place and its type, and what text they become.

use std::sync::Arc;

use ieum_model::dataset::{Encoding, ItemType};
use ieum_model::path::{Ending, Path, Paths, Step};

use super::schema::{Kind, Logical, Schema};
use super::walk::{Stop, Visit, Walk};
use crate::convert::Flaw;
use crate::encoding;
use crate::nested::decoder::{Glimpse, Markup, Name};
use crate::nested::find::Tree;
use crate::nested::values::Values;
use crate::spelling::{DAY, KOREA, digits, write_date, write_time};

const WRONG: Flaw = Flaw { rule: "avro", reason: "expected one row of the file's schema" };
const NESTED: Flaw = Flaw { rule: "type", reason: "expected a value, found a record or a map" };
const NOT_ENCODED: Flaw =
    Flaw { rule: "encoding", reason: "expected text in UTF-8, or bytes in the encoding of the export" };
const NO_YEAR: Flaw = Flaw { rule: "type", reason: "expected a day whose year has four digits" };
const TOO_LONG: Flaw = Flaw { rule: "type", reason: "expected a decimal number of at most 38 digits" };
const NO_TEXT: Flaw = Flaw { rule: "type", reason: "expected a value that can be text, found a duration" };

/// Rows of a schema.
pub(crate) struct Rows {
    schema: Arc<Schema>,
    /// Encoding of `bytes` that are text.
    encoding: Encoding,
    depth: usize,
    /// Place among the members of a row of a key that is text; `None` where the row must be parsed to find it.
    key: Option<usize>,
}

impl Rows {
    /// Rows nested no deeper than `depth`, whose key `key` finds.
    pub(super) fn new(schema: Arc<Schema>, encoding: Encoding, depth: usize, key: Option<&Paths>) -> Self {
        let key = key.and_then(plain_name).and_then(|name| {
            let at = schema.members().iter().position(|(member, _)| member == name)?;
            let mut leaves = Vec::new();
            schema.leaves(schema.members()[at].1, &mut leaves);
            let is_text = |id: &usize| schema.of(*id).kind == Kind::Text;
            let may_be_array = matches!(schema.of(schema.members()[at].1).kind, Kind::Array(_));
            (!may_be_array && !leaves.is_empty() && leaves.iter().all(is_text)).then_some(at)
        });
        Self { schema, encoding, depth, key }
    }

    /// The key of a row that is text; `None` where it is absent.
    fn text_key(&self, row: &[u8], key: usize) -> Result<Option<(usize, usize)>, Stop> {
        let mut walk = Walk::new(&self.schema, row);
        for (_, member) in &self.schema.members()[..key] {
            walk.value(*member, self.depth, &mut ())?;
        }
        let mut id = self.schema.members()[key].1;
        loop {
            match &self.schema.of(id).kind {
                Kind::Union(branches) => id = walk.branch(branches)?,
                Kind::Text => return walk.string().map(Some),
                Kind::Null => return Ok(None),
                _ => return Err(Stop::Wrong),
            }
        }
    }
}

/// The name of a path that is nothing but one.
fn plain_name(paths: &Paths) -> Option<&str> {
    match paths.0.as_slice() {
        [Path { steps, ending: Ending::Value }] => match steps.as_slice() {
            [Step::Name(name)] => Some(name),
            _ => None,
        },
        _ => None,
    }
}

impl Markup for Rows {
    type Tree = Row;

    fn parse(&self, row: &[u8], tree: &mut Row) -> Result<Option<&'static str>, Flaw> {
        tree.nodes.clear();
        tree.names.clear();
        tree.bytes.clear();
        tree.bytes.extend_from_slice(row);
        tree.encoding = self.encoding;
        let mut walk = Walk::new(&self.schema, row);
        let walked = walk.value(self.schema.root(), self.depth, tree);
        tree.schema = Some(Arc::clone(&self.schema));
        if walked.is_err() || walk.at() != row.len() { Err(WRONG) } else { Ok(None) }
    }

    fn value_after<'r>(&self, _row: &'r [u8], _name: &Name, _at: usize) -> Glimpse<'r> {
        Glimpse::Unclear
    }

    /// No name stands in a row.
    fn is_plainly_spelled(&self, _row: &[u8], _name: &Name) -> bool {
        false
    }

    fn is_between(&self, byte: u8) -> bool {
        !(byte.is_ascii_alphanumeric() || byte == b'-' || byte >= 0x80)
    }

    fn key<'r>(&self, row: &'r [u8]) -> Glimpse<'r> {
        let Some(key) = self.key else { return Glimpse::Unclear };
        match self.text_key(row, key) {
            Ok(Some((start, end))) if std::str::from_utf8(&row[start..end]).is_ok() => Glimpse::Value(&row[start..end]),
            Ok(None) => Glimpse::Nothing,
            _ => Glimpse::Unclear,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Node {
    id: usize,
    start: usize,
    end: usize,
    /// The node after this one and all it holds.
    next: usize,
}

/// The values of a row, in their order.
#[derive(Debug, Default)]
pub(crate) struct Row {
    schema: Option<Arc<Schema>>,
    bytes: Vec<u8>,
    nodes: Vec<Node>,
    /// Of values of maps, in the order of their nodes: the node, and where its name stands.
    names: Vec<(usize, usize, usize)>,
    encoding: Encoding,
    item_type: Option<ItemType>,
}

impl Visit for Row {
    fn begins(&mut self, id: usize, at: usize) -> usize {
        self.nodes.push(Node { id, start: at, end: at, next: 0 });
        self.nodes.len() - 1
    }

    fn ends(&mut self, token: usize, at: usize) {
        (self.nodes[token].end, self.nodes[token].next) = (at, self.nodes.len());
    }

    fn name(&mut self, start: usize, end: usize) {
        self.names.push((self.nodes.len(), start, end));
    }
}

impl Row {
    fn kind(&self, node: usize) -> Option<(&Kind, Logical)> {
        let of = self.schema.as_ref()?.of(self.nodes.get(node)?.id);
        Some((&of.kind, of.logical))
    }

    /// Appends the node, or what it holds if it is an array.
    fn push_elements(&self, at: usize, out: &mut Vec<usize>) {
        if !matches!(self.kind(at), Some((Kind::Array(_), _))) {
            out.push(at);
            return;
        }
        let mut element = at + 1;
        while element < self.nodes[at].next {
            self.push_elements(element, out);
            element = self.nodes[element].next;
        }
    }

    /// The nodes right below one.
    fn children(&self, at: usize) -> impl Iterator<Item = usize> {
        let end = self.nodes.get(at).map_or(0, |node| node.next);
        let first = Some(at + 1).filter(|child| *child < end);
        std::iter::successors(first, move |child| Some(self.nodes[*child].next).filter(|next| *next < end))
    }

    fn is_called(&self, node: usize, name: &str) -> bool {
        let found = self.names.binary_search_by_key(&node, |(node, ..)| *node);
        found.is_ok_and(|at| self.bytes[self.names[at].1..self.names[at].2] == *name.as_bytes())
    }
}

impl Tree for Row {
    fn becomes(&mut self, item_type: Option<ItemType>) {
        self.item_type = item_type;
    }

    fn named(&self, at: usize, name: &str, out: &mut Vec<usize>) {
        match self.kind(at) {
            Some((Kind::Record(members), _)) => {
                let place = members.iter().position(|(member, _)| member == name);
                if let Some(node) = place.and_then(|place| self.children(at).nth(place)) {
                    self.push_elements(node, out);
                }
            }
            Some((Kind::Map(_), _)) => {
                let called = self.children(at).filter(|node| self.is_called(*node, name));
                called.for_each(|node| self.push_elements(node, out));
            }
            _ => {}
        }
    }

    fn value(&self, at: usize, out: &mut Values) -> Result<(), Flaw> {
        let Some((kind, logical)) = self.kind(at) else { return Err(WRONG) };
        let Node { start, end, .. } = self.nodes[at];
        let bytes = &self.bytes[start..end];
        match kind {
            Kind::Null => out.push_null(),
            Kind::Boolean => out.push(match (bytes[0] != 0, self.item_type) {
                (true, Some(ItemType::Flag)) => "Y",
                (false, Some(ItemType::Flag)) => "N",
                (true, _) => "true",
                (false, _) => "false",
            }),
            Kind::Int | Kind::Long => return self.number(long(bytes)?, logical, out),
            Kind::Float => out.push(&format!("{:?}", f32::from_le_bytes(sized(bytes)))),
            Kind::Double => out.push(&format!("{:?}", f64::from_le_bytes(sized(bytes)))),
            Kind::Text => out.push(std::str::from_utf8(content(bytes)?).map_err(|_| NOT_ENCODED)?),
            Kind::Bytes => return self.bytes(content(bytes)?, logical, out),
            Kind::Fixed(_) => return self.bytes(bytes, logical, out),
            Kind::Enum(symbols) => {
                let symbol = usize::try_from(long(bytes)?).ok().and_then(|at| symbols.get(at));
                out.push(symbol.ok_or(WRONG)?);
            }
            Kind::Array(_) | Kind::Union(_) => return Err(WRONG),
            Kind::Map(_) | Kind::Record(_) => return Err(NESTED),
        }
        Ok(())
    }
}

impl Row {
    fn number(&self, value: i64, logical: Logical, out: &mut Values) -> Result<(), Flaw> {
        // A day has no time of day.
        let wanted = self.item_type.filter(|wanted| *wanted != ItemType::Date);
        let mut written = Some(());
        out.push_with(|out| match logical {
            Logical::Date => written = value.checked_mul(DAY).and_then(|seconds| write_date(seconds, wanted, out)),
            Logical::Timestamp { per_second, is_instant } => {
                let seconds = value.div_euclid(per_second).checked_add(if is_instant { KOREA } else { 0 });
                written = seconds.and_then(|seconds| match self.item_type {
                    Some(ItemType::Date) => write_date(seconds, None, out),
                    wanted => write_time(seconds, wanted, out),
                });
            }
            Logical::Time { per_second } => {
                let seconds = value.div_euclid(per_second);
                let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
                out.push_str(&format!("{hour:02}:{minute:02}:{second:02}"));
            }
            _ => {
                let width = digits(self.item_type).filter(|_| value >= 0).unwrap_or(0);
                out.push_str(&format!("{value:0>width$}"));
            }
        });
        written.ok_or(NO_YEAR)
    }

    fn bytes(&self, bytes: &[u8], logical: Logical, out: &mut Values) -> Result<(), Flaw> {
        match logical {
            Logical::Decimal { scale } => {
                let value = whole(bytes).ok_or(TOO_LONG)?;
                out.push_with(|out| write_decimal(value, scale as usize, out));
            }
            Logical::Uuid => out.push_with(|out| {
                for (at, byte) in bytes.iter().enumerate() {
                    let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
                    out.push_str(&format!("{dash}{byte:02x}"));
                }
            }),
            Logical::Duration => return Err(NO_TEXT),
            _ => {
                let mut scratch = String::new();
                out.push(encoding::decode(self.encoding, bytes, &mut scratch).ok_or(NOT_ENCODED)?);
            }
        }
        Ok(())
    }
}

/// The bytes of a float, which a walk has counted.
fn sized<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.first_chunk().copied().unwrap_or([0; N])
}

/// A number that a walk has gone over.
fn long(bytes: &[u8]) -> Result<i64, Flaw> {
    let groups =
        bytes.iter().enumerate().map(|(at, byte)| u64::from(byte & 0x7F).checked_shl(7 * at as u32).unwrap_or(0));
    let value = groups.fold(0, |value, bits| value | bits);
    Ok((value >> 1) as i64 ^ -((value & 1) as i64))
}

/// What stands behind the length of text or bytes.
fn content(bytes: &[u8]) -> Result<&[u8], Flaw> {
    let length = bytes.iter().position(|byte| byte & 0x80 == 0).ok_or(WRONG)?;
    Ok(&bytes[length + 1..])
}

/// The whole number that stands in two's complement, the highest byte first.
fn whole(bytes: &[u8]) -> Option<i128> {
    let sign = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { 0xFF } else { 0 };
    // What repeats the sign says nothing.
    let zeros = bytes.iter().take_while(|byte| **byte == sign).count().min(bytes.len().saturating_sub(16));
    let bytes = &bytes[zeros..];
    if bytes.len() > 16 || bytes.first().is_some_and(|byte| zeros > 0 && (byte ^ sign) & 0x80 != 0) {
        return None;
    }
    let mut full = [sign; 16];
    full[16 - bytes.len()..].copy_from_slice(bytes);
    Some(i128::from_be_bytes(full))
}

fn write_decimal(value: i128, scale: usize, out: &mut String) {
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if value < 0 { "-" } else { "" };
    let point = if scale > 0 { "." } else { "" };
    out.push_str(&format!("{sign}{whole}{point}{fraction}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_numbers_keep_their_digits() {
        let check = |bytes: &[u8], scale: usize, expected: Option<&str>| {
            let mut out = String::new();
            let value = whole(bytes).map(|value| write_decimal(value, scale, &mut out));
            assert_eq!(value.map(|()| out.as_str()), expected, "{bytes:?}");
        };
        check(&[], 0, Some("0"));
        check(&[0x04, 0xD2], 2, Some("12.34"));
        check(&[0xFF], 2, Some("-0.01"));
        check(&[0x80], 0, Some("-128"));
        check(&[0; 20], 1, Some("0.0"));
        check(&[&[0xFF; 10][..], &[0x85; 1]].concat(), 0, Some("-123"));
        check(&[&[0; 4][..], &[0x7F; 16]].concat(), 0, Some("169473963133173273960190490760135540607"));
        check(&[&[0; 4][..], &[0xFF; 16]].concat(), 0, None);
        check(&[1; 17], 0, None);
    }
}
