//! Records and fields of byte-counted text; bytes only, no files.

use std::ops::Range;
use std::sync::Arc;

use ieum_model::connector::{KeyProbe, Strays};
use ieum_model::dataset::{Encoding, LayoutField};
use ieum_model::digits;
use ieum_model::error::{Error, Result};

use crate::control;
use crate::convert::{Columns, whole_number};
use crate::encoding;
use crate::text::{Cut, Cutter, Decode, Passed, Verdict, line_end};

/// Bytes of a data record before the fields of the layout.
pub const DATA_HEAD: usize = 13;
/// What stands in the head of a data record and tells what a change does.
pub(super) const CHANGE_BYTES: Range<usize> = 12..13;
/// Bytes of a trailer record before its sums.
pub const TRAILER_HEAD: usize = 12;
/// Bytes of a sum: a sign and 18 digits.
pub const SUM: usize = 19;

const LENGTH: &str = "expected a record of the length that the header record declares";
const KIND: &str = "expected a data record (kind 22)";

/// Byte range in a data record of every field of the layout.
pub fn ranges(layout: &[LayoutField]) -> Vec<Range<usize>> {
    let mut start = DATA_HEAD;
    let mut range = |field: &LayoutField| {
        let range = start..start + field.bytes;
        start = range.end;
        range
    };
    layout.iter().map(&mut range).collect()
}

/// The number of data records and the sums that a trailer record carries.
pub fn trailer(record: &[u8], sums: usize) -> Option<(u64, Vec<i128>)> {
    let count = control::count(record.strip_prefix(b"33")?.get(..10)?)?;
    let sum = |at: usize| {
        let field = record.get(TRAILER_HEAD + at * SUM..TRAILER_HEAD + (at + 1) * SUM)?;
        let digits = i128::from(control::count(&field[1..])?);
        match field[0] {
            b'-' => Some(-digits),
            b'+' | b' ' => Some(digits),
            _ => None,
        }
    };
    Some((count, (0..sums).map(sum).collect::<Option<_>>()?))
}

/// Cuts records.
#[derive(Debug, Clone, Copy)]
pub struct RecordCutter {
    record_len: usize,
    lines: bool,
}

impl RecordCutter {
    /// A cutter for records of this length; `lines` says whether they end with a line end.
    pub fn new(record_len: usize, lines: bool) -> Self {
        Self { record_len, lines }
    }
}

impl Cutter for RecordCutter {
    fn cut(&mut self, bytes: &[u8], at_end: bool) -> Cut {
        let (end, next) = if self.lines {
            match line_end(bytes, at_end) {
                None => return Cut::More,
                Some((0, next)) => return Cut::Blank { next },
                Some(found) => found,
            }
        } else if bytes.len() < self.record_len {
            if !at_end {
                return Cut::More;
            }
            if bytes.trim_ascii().is_empty() {
                return Cut::Blank { next: bytes.len() };
            }
            (bytes.len(), bytes.len())
        } else {
            (self.record_len, self.record_len)
        };
        if end != self.record_len {
            Cut::Broken { end, next, lines: 1, rule: "length", reason: LENGTH }
        } else if bytes.starts_with(b"33") {
            Cut::Trailer { end, next }
        } else {
            Cut::Row { end, next, lines: 1, quoted: false }
        }
    }
}

/// A money field that the trailer sums.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summed {
    /// Item code.
    pub item: String,
    /// Its byte range in a data record.
    pub range: Range<usize>,
}

/// What the rows of a file add up to, to be compared with its header and trailer records.
#[derive(Debug, Clone)]
pub struct Totals {
    /// Number of data records that the header declares.
    declared: u64,
    summed: Vec<Summed>,
    sums: Vec<i128>,
}

impl Totals {
    /// Nothing yet, of a file whose header declares this many data records.
    pub fn new(declared: u64, summed: Vec<Summed>) -> Self {
        Self { declared, sums: vec![0; summed.len()], summed }
    }

    /// Adds a row, readable or not.
    pub fn add(&mut self, row: &[u8]) {
        for (sum, summed) in self.sums.iter_mut().zip(&self.summed) {
            *sum += i128::from(row.get(summed.range.clone()).map_or(0, amount));
        }
    }

    /// Compares the totals of `counted` rows with what the file declares.
    ///
    /// # Errors
    /// [`ieum_model::error::ErrorKind::ControlTotals`] when a count or sum does not agree, or there is no trailer.
    pub fn check(&self, name: &str, trailer: Option<&[u8]>, counted: u64) -> Result<()> {
        let trailer = trailer.ok_or_else(|| {
            Error::control_totals("trailer record is missing")
                .at("export", name)
                .at("declared", self.declared)
                .at("counted", counted)
                .hint(control::AGAIN)
        })?;
        let (declared, declared_sums) = self::trailer(trailer, self.summed.len()).ok_or_else(|| {
            Error::control_totals(format!("trailer record does not hold a count and {} sums", self.summed.len()))
                .at("export", name)
                .hint("compare the money items of `layout` with the holder's file, and `control.trailer` too")
        })?;
        control::same_count(name, "header", self.declared, counted)?;
        control::same_count(name, "trailer", declared, counted)?;
        let sums = declared_sums.iter().zip(&self.sums).zip(&self.summed);
        let wrong: Vec<&str> =
            sums.filter(|((declared, sum), _)| declared != sum).map(|(_, summed)| summed.item.as_str()).collect();
        let Some(first) = wrong.first() else { return Ok(()) };
        // The sums themselves are left out: that of a single row is a value of it.
        let message = format!("sum of `{first}` in the trailer does not agree with the data records");
        Err(Error::control_totals(message).at("export", name).at("items", wrong.join(", ")).hint(control::AGAIN))
    }
}

/// The amount in a field; 0 where there is none.
fn amount(field: &[u8]) -> i64 {
    // Amounts are padded to some 8 to 16 digits, which never reach the sign.
    let plain = match field {
        [b'-', digits @ ..] => digits::number(digits).map(|number| -number.cast_signed()),
        digits => digits::number(digits).map(u64::cast_signed),
    };
    plain.or_else(|| whole_number(std::str::from_utf8(field).ok()?)).unwrap_or(0)
}

/// Decodes data records: the key's bytes first, the wanted fields of hits after it.
pub struct RecordDecoder {
    encoding: Encoding,
    /// Byte range of each column of the schema.
    wanted: Vec<Range<usize>>,
    probe: Option<(Arc<dyn KeyProbe>, Range<usize>)>,
    cutter: RecordCutter,
    totals: Totals,
}

impl RecordDecoder {
    /// A decoder of these byte ranges, all within the record length, of records that `cutter` cuts.
    pub fn new(
        encoding: Encoding,
        wanted: Vec<Range<usize>>,
        probe: Option<(Arc<dyn KeyProbe>, Range<usize>)>,
        cutter: RecordCutter,
        totals: Totals,
    ) -> Self {
        Self { encoding, wanted, probe, cutter, totals }
    }

    /// A field without padding and without half a character at its end; a key is probed as it will be read.
    fn field<'a>(&self, row: &'a [u8], range: &Range<usize>) -> &'a [u8] {
        encoding::without_dangling(self.encoding, &row[range.clone()]).trim_ascii()
    }
}

impl Decode for RecordDecoder {
    fn decode(&mut self, row: &[u8], _quoted: bool, columns: &mut Columns) -> Verdict {
        if !row.starts_with(b"22") {
            return Verdict::Rejected { rule: "type", column: None, reason: KIND };
        }
        if let Some((probe, range)) = &self.probe
            && !probe.may_match(self.field(row, range))
        {
            return Verdict::Filtered;
        }
        for (column, range) in self.wanted.iter().enumerate() {
            if let Err(flaw) = columns.push(column, self.field(row, range)) {
                columns.drop_row();
                return Verdict::Rejected { rule: flaw.rule, column: Some(column), reason: flaw.reason };
            }
        }
        columns.keep_row();
        Verdict::Kept
    }

    fn pass_over(&mut self, bytes: &[u8]) -> Passed {
        let mut passed = Passed::default();
        let Some((probe, key)) = &self.probe else { return passed };
        let RecordCutter { record_len, lines } = self.cutter;
        loop {
            let rest = &bytes[passed.bytes..];
            let Some(row) = rest.get(..record_len) else { return passed };
            let ending = match rest[record_len..] {
                _ if !lines => 0,
                [b'\n', ..] => 1,
                [b'\r', b'\n', ..] => 2,
                _ => return passed,
            };
            let is_plain = row.starts_with(b"22") && (!lines || memchr::memchr2(b'\n', b'\r', row).is_none());
            if !is_plain || probe.may_match(self.field(row, key)) {
                return passed;
            }
            self.totals.add(row);
            passed.bytes += record_len + ending;
            passed.rows += 1;
        }
    }

    fn note(&mut self, row: &[u8]) {
        self.totals.add(row);
    }

    fn close(&self, name: &str, trailer: Option<&[u8]>, rows: u64) -> Result<()> {
        self.totals.check(name, trailer, rows)
    }

    fn cell(&self, row: &[u8], _quoted: bool, column: usize) -> Option<Vec<u8>> {
        let field = row.get(self.wanted.get(column)?.clone())?;
        Some(encoding::without_dangling(self.encoding, field).trim_ascii().to_vec())
    }

    fn strays(&self, row: &[u8]) -> Strays {
        let Some((probe, key)) = &self.probe else { return Strays::default() };
        // Bytes that were lost or are too many move the key; where it should be it is one piece, padding and all.
        let in_place = row.get(key.clone()).map(<[u8]>::trim_ascii);
        let pieces: Vec<&[u8]> = in_place.into_iter().chain(row.split(u8::is_ascii_whitespace)).collect();
        probe.strays(&pieces, row)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_amount_is_the_whole_number_that_stands_there(field in "[+-]?[0-9]{0,20}[-,a ]?[0-9]{0,3}") {
            prop_assert_eq!(amount(field.as_bytes()), whole_number(&field).unwrap_or(0));
        }
    }

    #[test]
    fn no_other_byte_is_a_digit() {
        for byte in 0..=u8::MAX {
            for at in 0..12 {
                let mut field = *b"123456789012";
                field[at] = byte;
                let expected = std::str::from_utf8(&field).ok().and_then(whole_number).unwrap_or(0);
                assert_eq!(amount(&field), expected, "{field:?}");
            }
        }
    }

    #[test]
    fn a_wrong_sum_names_its_items_and_no_amount() {
        let field = |item: &str, range| Summed { item: item.to_owned(), range };
        let mut totals = Totals::new(1, vec![field("pay", 0..4), field("tax", 4..8), field("fee", 8..12)]);
        totals.add(b"100120023003");
        let check = |trailer: Option<&str>, message: &str, items: Option<&str>| {
            let error = totals.check("a.dat", trailer.map(str::as_bytes), 1).unwrap_err();
            let told = error.context.iter().find(|(field, _)| *field == "items");
            assert_eq!((error.message.as_str(), told.map(|(_, items)| items.as_str())), (message, items));
            assert!(error.hint.is_some() && !error.to_string().contains("2002"), "{error}");
        };
        let trailer = |sums: [i64; 3]| format!("330000000001{:+019}{:+019}{:+019}", sums[0], sums[1], sums[2]);
        let message = "sum of `tax` in the trailer does not agree with the data records";
        check(Some(&trailer([1001, 2003, 3003])), message, Some("tax"));
        check(Some(&trailer([1001, 2003, 3004])), message, Some("tax, fee"));
        check(Some("330000000001"), "trailer record does not hold a count and 3 sums", None);
        check(None, "trailer record is missing", None);
        totals.check("a.dat", Some(trailer([1001, 2002, 3003]).as_bytes()), 1).unwrap();
    }
}
