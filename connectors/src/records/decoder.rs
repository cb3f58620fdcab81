//! Records and fields; bytes only, no files.

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::DataType;
use ieum_model::connector::{KeyProbe, Strays};
use ieum_model::dataset::{Encoding, FieldKind, Framing, ItemType, LayoutField};
use ieum_model::error::Result;

use super::number::{self, Number};
use crate::convert::{Columns, Flaw};
use crate::encoding;
use crate::spelling::digits;
use crate::text::{Cut, Cutter, Decode, Passed, Verdict, line_end};

/// Bytes of a record descriptor word.
pub(super) const DESCRIPTOR: usize = 4;

const LENGTH: Flaw = Flaw { rule: "length", reason: "expected a record of the length that the layout declares" };
const DESCRIBED: Flaw = Flaw { rule: "length", reason: "expected a record descriptor word with the record's length" };
const SHORT: Flaw = Flaw { rule: "length", reason: "expected the field within the record" };
const ENCODED: Flaw = Flaw { rule: "encoding", reason: "expected text in the encoding of the export" };
const A_NUMBER: Flaw = Flaw { rule: "type", reason: "expected a number as `kind` in the layout declares it" };

/// Byte range in a record of every field of the layout, `head` bytes before the first.
pub(super) fn ranges(layout: &[LayoutField], head: usize) -> Vec<Range<usize>> {
    let mut next = head;
    let mut range = |field: &LayoutField| {
        let start = field.at.map_or(next, |at| head + at.saturating_sub(1));
        next = start + field.bytes;
        start..next
    };
    layout.iter().map(&mut range).collect()
}

/// Cuts records.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordsCutter {
    framing: Framing,
    /// Bytes of a record; of one whose length may vary the least.
    bytes: usize,
    /// Whether a line may be longer.
    exact: bool,
}

impl RecordsCutter {
    pub(super) fn new(framing: Framing, bytes: usize, exact: bool) -> Self {
        Self { framing, bytes, exact }
    }

    fn fixed(&self, bytes: &[u8], at_end: bool) -> Cut {
        if bytes.len() >= self.bytes {
            return Cut::Row { end: self.bytes, next: self.bytes, lines: 1, quoted: false };
        }
        if !at_end {
            return Cut::More;
        }
        // A line end or an end-of-file mark that a transfer has put behind the last record.
        if bytes.iter().all(|byte| b"\r\n\x1A\x25\x15".contains(byte)) {
            return Cut::Blank { next: bytes.len() };
        }
        Cut::Broken { end: bytes.len(), next: bytes.len(), lines: 1, rule: LENGTH.rule, reason: LENGTH.reason }
    }

    fn line(&self, bytes: &[u8], at_end: bool) -> Cut {
        let Some((end, next)) = line_end(bytes, at_end) else { return Cut::More };
        if end == 0 || (end == 1 && bytes[0] == 0x1A && at_end) {
            return Cut::Blank { next };
        }
        if if self.exact { end == self.bytes } else { end >= self.bytes } {
            return Cut::Row { end, next, lines: 1, quoted: false };
        }
        Cut::Broken { end, next, lines: 1, rule: LENGTH.rule, reason: LENGTH.reason }
    }

    fn described(bytes: &[u8], at_end: bool) -> Cut {
        let length =
            bytes.first_chunk::<DESCRIPTOR>().map(|[high, low, ..]| usize::from(u16::from_be_bytes([*high, *low])));
        match length {
            Some(length) if length >= DESCRIPTOR && length <= bytes.len() => {
                Cut::Row { end: length, next: length, lines: 1, quoted: false }
            }
            Some(length) if length >= DESCRIPTOR && !at_end => Cut::More,
            None if !at_end => Cut::More,
            // Nothing tells where the next record begins.
            _ if !at_end => Cut::More,
            _ => Cut::Broken {
                end: bytes.len(),
                next: bytes.len(),
                lines: 1,
                rule: DESCRIBED.rule,
                reason: DESCRIBED.reason,
            },
        }
    }
}

impl Cutter for RecordsCutter {
    fn cut(&mut self, bytes: &[u8], at_end: bool) -> Cut {
        match self.framing {
            Framing::Fixed => self.fixed(bytes, at_end),
            Framing::Lines => self.line(bytes, at_end),
            Framing::Rdw => Self::described(bytes, at_end),
        }
    }
}

/// A field that is wanted.
#[derive(Debug, Clone)]
pub(super) struct WantedField {
    pub(super) range: Range<usize>,
    pub(super) kind: FieldKind,
    pub(super) scale: u32,
    pub(super) signed: bool,
    pub(super) item_type: Option<ItemType>,
    /// Whether a whole number is wanted.
    pub(super) whole: bool,
}

impl WantedField {
    pub(super) fn new(field: &LayoutField, range: Range<usize>, item_type: Option<ItemType>, list: &DataType) -> Self {
        let (kind, scale, signed) = (field.kind, field.scale, field.signed);
        Self { range, kind, scale, signed, item_type, whole: *list == DataType::Int64 }
    }

    /// As [`WantedField::text`], of the key: a record that ends before it has lost its shape.
    fn key(&self, row: &[u8], encoding: Encoding, out: &mut String) -> Result<(), Flaw> {
        if row.len() < self.range.end {
            return Err(SHORT);
        }
        self.text(row, encoding, out)
    }

    /// Writes the field's text in UTF-8, without padding.
    fn text(&self, row: &[u8], encoding: Encoding, out: &mut String) -> Result<(), Flaw> {
        out.clear();
        let bytes = match row.get(self.range.clone()) {
            Some(bytes) => bytes,
            // The part that occurs as often as another field says ends where the record ends.
            None if row.len() <= self.range.start => return Ok(()),
            None => return Err(SHORT),
        };
        let ebcdic = encoding.is_ebcdic();
        let number = match self.kind {
            FieldKind::Text => return text(encoding, bytes, out),
            FieldKind::Zoned => number::zoned(bytes, ebcdic),
            FieldKind::Packed => number::packed(bytes, if ebcdic { 0x40 } else { b' ' }),
            FieldKind::Binary => number::binary(bytes, self.signed),
        };
        match number.ok_or(A_NUMBER)? {
            Number::Absent => {}
            Number::Unscaled(value) => self.write(value, out),
        }
        Ok(())
    }

    fn write(&self, value: i128, out: &mut String) {
        let power = 10_i128.checked_pow(self.scale).unwrap_or(i128::MAX);
        if self.whole && value % power == 0 {
            return number::write(value / power, 0, out);
        }
        number::write(value, self.scale, out);
        // A code keeps the zeros that its digits begin with, an identifier those of its length.
        let width = match self.item_type {
            Some(ItemType::Code) if self.kind == FieldKind::Zoned && self.scale == 0 => self.range.len(),
            other => digits(other).unwrap_or(0),
        };
        if value >= 0 && out.len() < width {
            out.insert_str(0, &"0".repeat(width - out.len()));
        }
    }
}

fn text(encoding: Encoding, bytes: &[u8], out: &mut String) -> Result<(), Flaw> {
    let mut scratch = String::new();
    let bytes = encoding::without_dangling(encoding, bytes);
    let text = encoding::decode(encoding, bytes, &mut scratch).ok_or(ENCODED)?;
    out.push_str(text.trim_matches(|c: char| c.is_whitespace() || c.is_control()));
    Ok(())
}

/// Decodes records: the key's field first, the wanted fields of hits after it.
pub(crate) struct RecordsDecoder {
    encoding: Encoding,
    wanted: Vec<WantedField>,
    /// The probe, and the position in the schema of the column that it is asked about.
    probe: Option<(Arc<dyn KeyProbe>, usize)>,
    cutter: RecordsCutter,
    scratch: String,
}

impl RecordsDecoder {
    pub(super) fn new(
        encoding: Encoding,
        wanted: Vec<WantedField>,
        probe: Option<(Arc<dyn KeyProbe>, usize)>,
        cutter: RecordsCutter,
    ) -> Self {
        Self { encoding, wanted, probe, cutter, scratch: String::new() }
    }

    /// Whether the probe turns a record away. A key that cannot be read is for the record to be rejected.
    fn is_filtered(&mut self, row: &[u8]) -> bool {
        let Some((probe, key)) = &self.probe else { return false };
        self.wanted[*key].key(row, self.encoding, &mut self.scratch).is_ok()
            && !probe.may_match(self.scratch.as_bytes())
    }
}

impl Decode for RecordsDecoder {
    fn decode(&mut self, row: &[u8], _quoted: bool, columns: &mut Columns) -> Verdict {
        if self.is_filtered(row) {
            return Verdict::Filtered;
        }
        let key = self.probe.as_ref().map(|(_, key)| *key);
        for (column, field) in self.wanted.iter().enumerate() {
            let text = match Some(column) == key {
                true => field.key(row, self.encoding, &mut self.scratch),
                false => field.text(row, self.encoding, &mut self.scratch),
            };
            if let Err(flaw) = text.and_then(|()| columns.push(column, self.scratch.as_bytes())) {
                columns.drop_row();
                return Verdict::Rejected { rule: flaw.rule, column: Some(column), reason: flaw.reason };
            }
        }
        columns.keep_row();
        Verdict::Kept
    }

    fn pass_over(&mut self, bytes: &[u8]) -> Passed {
        let mut passed = Passed::default();
        let length = self.cutter.bytes;
        if self.probe.is_none() || self.cutter.framing != Framing::Fixed || length == 0 {
            return passed;
        }
        while let Some(row) = bytes.get(passed.bytes..passed.bytes + length) {
            if !self.is_filtered(row) {
                break;
            }
            passed.bytes += length;
            passed.rows += 1;
        }
        passed
    }

    fn note(&mut self, _row: &[u8]) {}

    fn close(&self, _name: &str, _trailer: Option<&[u8]>, _rows: u64) -> Result<()> {
        Ok(())
    }

    fn cell(&self, row: &[u8], _quoted: bool, column: usize) -> Option<Vec<u8>> {
        let mut out = String::new();
        self.wanted.get(column)?.text(row, self.encoding, &mut out).ok()?;
        Some(out.into_bytes())
    }

    fn strays(&self, row: &[u8]) -> Strays {
        let Some((probe, key)) = &self.probe else { return Strays::default() };
        let mut in_place = String::new();
        let _ = self.wanted[*key].text(row, self.encoding, &mut in_place);
        let mut whole = String::new();
        if self.encoding.is_ebcdic() {
            // What cannot be read of it is left out: a key that it belongs to is no whole key.
            for byte in row {
                let mut one = String::new();
                let read = super::ebcdic::decode(self.encoding, &[*byte], &mut one);
                whole.push_str(read.map_or("\u{FFFD}", |()| one.as_str()));
            }
        } else {
            whole = encoding_rs::EUC_KR.decode_without_bom_handling(row).0.into_owned();
        }
        let pieces = std::iter::once(in_place.as_bytes()).chain(whole.split_whitespace().map(str::as_bytes));
        let pieces: Vec<&[u8]> = pieces.filter(|piece| !piece.is_empty()).collect();
        probe.strays(&pieces, whole.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use ieum_model::dataset::LayoutField;

    use super::*;

    #[test]
    fn a_record_that_ends_before_its_key_has_lost_its_shape() {
        let layout = LayoutField { item: "key".into(), bytes: 4, ..LayoutField::default() };
        let field = WantedField::new(&layout, 6..10, None, &DataType::Utf8);
        let mut out = String::new();
        for row in [&b"......"[..], b"......12", b""] {
            assert_eq!(field.key(row, Encoding::Utf8, &mut out).err().map(|flaw| flaw.rule), Some(SHORT.rule));
        }
        assert_eq!(field.key(b"......1234", Encoding::Utf8, &mut out).ok().map(|()| out.as_str()), Some("1234"));
        // Another field may stand in the part that the record leaves out.
        assert!(field.text(b"......", Encoding::Utf8, &mut out).is_ok() && out.is_empty());
    }
}
