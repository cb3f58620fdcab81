//! Records and fields of byte-counted text; bytes only, no files.

use std::ops::Range;
use std::sync::Arc;

use ieum_model::connector::KeyProbe;
use ieum_model::dataset::{Encoding, LayoutField};

use crate::control;
use crate::convert::Columns;
use crate::encoding;
use crate::text::{Cut, Cutter, Decode, Verdict, line_end};

/// Bytes of a header record before its filler.
pub const HEAD: usize = 76;
/// Bytes of a data record before the fields of the layout.
pub const DATA_HEAD: usize = 13;
/// Bytes of a trailer record before its sums.
pub const TRAILER_HEAD: usize = 12;
/// Bytes of a sum: a sign and 18 digits.
pub const SUM: usize = 19;

const LENGTH: &str = "expected a record of the length that the header record declares";
const KIND: &str = "expected a data record (kind 22)";

/// What the header record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Bytes of every record, line end not included.
    pub record_len: usize,
    /// Number of data records.
    pub data_count: u64,
}

impl Head {
    /// Reads the first [`HEAD`] bytes of a file; `None` where they are no header record.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let record = bytes.get(..HEAD)?.strip_prefix(b"11")?;
        let record_len = usize::try_from(control::count(&record[59..64])?).ok()?;
        Some(Self { record_len, data_count: control::count(&record[64..74])? })
    }
}

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
            Cut::Broken { end, next, rule: "length", reason: LENGTH }
        } else if bytes.starts_with(b"33") {
            Cut::Trailer { end, next }
        } else {
            Cut::Row { end, next, lines: 1, quoted: false }
        }
    }
}

/// Decodes data records: the key's bytes first, the wanted fields of hits after it.
pub struct RecordDecoder {
    encoding: Encoding,
    /// Byte range of each column of the schema.
    wanted: Vec<Range<usize>>,
    probe: Option<(Arc<dyn KeyProbe>, Range<usize>)>,
}

impl RecordDecoder {
    /// A decoder of these byte ranges, all within the record length.
    pub fn new(
        encoding: Encoding,
        wanted: Vec<Range<usize>>,
        probe: Option<(Arc<dyn KeyProbe>, Range<usize>)>,
    ) -> Self {
        Self { encoding, wanted, probe }
    }
}

impl Decode for RecordDecoder {
    fn decode(&mut self, row: &[u8], _quoted: bool, columns: &mut Columns) -> Verdict {
        if !row.starts_with(b"22") {
            return Verdict::Rejected { rule: "type", column: None, reason: KIND };
        }
        if let Some((probe, range)) = &self.probe
            && !probe.may_match(row[range.clone()].trim_ascii())
        {
            return Verdict::Filtered;
        }
        for (column, range) in self.wanted.iter().enumerate() {
            let field = encoding::without_dangling(self.encoding, &row[range.clone()]).trim_ascii();
            if let Err(flaw) = columns.push(column, field) {
                columns.drop_row();
                return Verdict::Rejected { rule: flaw.rule, column: Some(column), reason: flaw.reason };
            }
        }
        columns.keep_row();
        Verdict::Kept
    }
}
