//! Passes over rows that nobody asked for, 64 bytes at a time.
//!
//! ```text
//!  bytes    8001,"a, b",x⏎9002,c,d⏎        one bit a byte, in four masks:
//!  quotes   00001000010000000000000        ─► inside quotes: XOR of all quotes before
//!  delims   00001000000100000100100        & outside quotes ─► which cell is the key's, how many cells
//!  feeds    00000000000000100000001        & outside quotes ─► where the row ends
//! ```
//!
//! Only what is plain is passed over: rows of the right width, one line each, ended by LF or CRLF, quoted by the book. At
//! anything else, and at a hit, it stops: [`super::decoder`] decides alone what such a row means.

use super::decoder::Dialect;
use crate::text::Passed;

/// Bytes looked at together: one bit each of a mask.
const BLOCK: usize = 64;

/// What the rows of a file look like.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// How cells are marked.
    pub dialect: Dialect,
    /// Cells of a row.
    pub width: usize,
    /// Position of the key's cell.
    pub key: usize,
    /// Whether a row that starts with `#` may be the trailer.
    pub trailer: bool,
}

/// Where the bytes that matter stand in a block; the lowest bit is the first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Masks {
    delimiters: u64,
    feeds: u64,
    returns: u64,
    /// Quotes, or escapes in a file without quotes.
    quotes: u64,
}

/// The rows at the start of `bytes` that are plain and whose key `misses`; the key comes without quotes and padding.
pub fn pass_over(bytes: &[u8], shape: Shape, misses: impl FnMut(&[u8]) -> bool) -> Passed {
    if shape.dialect.quote {
        pass_over_in::<true>(bytes, shape, misses)
    } else {
        pass_over_in::<false>(bytes, shape, misses)
    }
}

fn pass_over_in<const QUOTES: bool>(bytes: &[u8], shape: Shape, misses: impl FnMut(&[u8]) -> bool) -> Passed {
    #[cfg(target_arch = "x86_64")]
    if wide::is_supported() {
        return wide::pass_over::<QUOTES>(bytes, shape, misses);
    }
    pass_over_with::<QUOTES>(bytes, shape, misses, masks)
}

/// [`Masks`] of a block, in portable code.
fn masks(block: &[u8; BLOCK], delimiter: u8, quote: u8) -> Masks {
    let mask = |wanted: u8| block.iter().rev().fold(0, |mask, byte| (mask << 1) | u64::from(*byte == wanted));
    Masks { delimiters: mask(delimiter), feeds: mask(b'\n'), returns: mask(b'\r'), quotes: mask(quote) }
}

/// Every bit is the XOR of itself and all lower ones: from an opening quote to before the closing one.
fn inside(mut quotes: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        quotes ^= quotes << shift;
    }
    quotes
}

/// The row being looked at.
struct Row {
    start: usize,
    /// Delimiters met.
    delimiters: usize,
    key_start: usize,
    key_end: Option<usize>,
}

impl Row {
    fn at(start: usize) -> Self {
        Self { start, delimiters: 0, key_start: start, key_end: None }
    }

    /// Takes the delimiters of the row in the block at `base`.
    #[inline(always)]
    fn take(&mut self, mut delimiters: u64, base: usize, key: usize) {
        let met = self.delimiters;
        self.delimiters += delimiters.count_ones() as usize;
        if met > key || self.delimiters < key {
            return;
        }
        if met < key {
            for _ in met + 1..key {
                delimiters &= delimiters - 1;
            }
            self.key_start = base + delimiters.trailing_zeros() as usize + 1;
            delimiters &= delimiters - 1;
        }
        if delimiters != 0 {
            self.key_end = Some(base + delimiters.trailing_zeros() as usize);
        }
    }

    /// Whether the row, which ends at `end`, is plain and not wanted.
    #[inline(always)]
    fn is_passed<const QUOTES: bool>(
        &self,
        bytes: &[u8],
        end: usize,
        shape: Shape,
        misses: &mut impl FnMut(&[u8]) -> bool,
    ) -> bool {
        let row = &bytes[self.start..end];
        let row = row.strip_suffix(b"\r").unwrap_or(row);
        if self.delimiters + 1 != shape.width || row.is_empty() || (shape.trailer && row[0] == b'#') {
            return false;
        }
        let key = &bytes[self.key_start..self.key_end.unwrap_or(self.start + row.len())];
        if !QUOTES {
            return misses(key.trim_ascii());
        }
        let key = match key {
            [b'"', inner @ .., b'"'] if !inner.contains(&b'"') => inner,
            [b'"', ..] => return false,
            key => key,
        };
        misses(key.trim_ascii())
    }
}

#[inline(always)]
fn pass_over_with<const QUOTES: bool>(
    bytes: &[u8],
    shape: Shape,
    mut misses: impl FnMut(&[u8]) -> bool,
    masks: impl Fn(&[u8; BLOCK], u8, u8) -> Masks,
) -> Passed {
    let Dialect { delimiter, escape, .. } = shape.dialect;
    let quote = if QUOTES { b'"' } else { escape.unwrap_or(b'"') };
    let (mut row, mut rows) = (Row::at(0), 0);
    // Of the byte before the block: all ones inside quotes; one bit where a quote may open; one where one closed.
    let (mut quoted, mut opens, mut closed) = (0_u64, 1_u64, 0_u64);
    let (blocks, tail) = bytes.as_chunks::<BLOCK>();
    for (at, block) in blocks.iter().enumerate() {
        let base = at * BLOCK;
        let Masks { mut delimiters, mut feeds, returns, quotes } = masks(block, delimiter, quote);
        // A CR that no LF follows ends a row too, and a line end in quotes none: not for here.
        let mut stops = 0;
        if returns != 0 {
            let next = blocks.get(at + 1).map(|block| block[0]).or_else(|| tail.first().copied());
            stops = returns & !(feeds >> 1 | u64::from(next == Some(b'\n')) << 63);
        }
        if !QUOTES {
            // Of an escape only that is passed over which changes no cell and no row: no other escape, delimiter or line end
            // follows it.
            if escape.is_some() {
                stops |= (quotes << 1 | closed) & (quotes | delimiters | feeds | returns);
                closed = quotes >> 63;
            }
        } else if (quotes | quoted | closed) != 0 {
            let inside = inside(quotes) ^ quoted;
            stops |= (feeds | returns) & inside;
            (delimiters, feeds) = (delimiters & !inside, feeds & !inside);
            // A quote opens at the start of a cell, or right after one that closed: a doubled one.
            let may_open = delimiters | feeds | (quotes & !inside);
            stops |= quotes & inside & !(may_open << 1 | opens);
            // After one that closes its cell ends, or a doubled quote goes on.
            let closes = quotes & !inside;
            stops |= (closes << 1 | closed) & !(delimiters | feeds | returns | quotes);
            closed = closes >> 63;
            quoted = if inside >> 63 == 1 { u64::MAX } else { 0 };
            opens = may_open >> 63;
        } else {
            opens = (delimiters | feeds) >> 63;
        }
        if stops != 0 {
            feeds &= (stops & stops.wrapping_neg()) - 1;
        }
        while feeds != 0 {
            let before = (feeds & feeds.wrapping_neg()) - 1;
            let end = base + feeds.trailing_zeros() as usize;
            row.take(delimiters & before, base, shape.key);
            if !row.is_passed::<QUOTES>(bytes, end, shape, &mut misses) {
                return Passed { bytes: row.start, rows };
            }
            rows += 1;
            row = Row::at(end + 1);
            delimiters &= !before;
            feeds &= feeds - 1;
        }
        if stops != 0 {
            break;
        }
        row.take(delimiters, base, shape.key);
    }
    Passed { bytes: row.start, rows }
}

/// The same on the instructions that servers have had since 2013. The one unsafe place of the crate.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod wide {
    use std::arch::x86_64::{__m256i, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_movemask_epi8, _mm256_set1_epi8};

    use super::{BLOCK, Masks, Passed, Shape, pass_over_with};

    /// Whether this machine has what [`pass_over`] is compiled for; looked up once a process.
    pub fn is_supported() -> bool {
        is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("popcnt")
    }

    /// Only where [`is_supported`].
    pub fn pass_over<const QUOTES: bool>(bytes: &[u8], shape: Shape, misses: impl FnMut(&[u8]) -> bool) -> Passed {
        assert!(is_supported());
        // SAFETY: the machine has the instructions, as just checked.
        unsafe { compiled::<QUOTES>(bytes, shape, misses) }
    }

    #[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
    fn compiled<const QUOTES: bool>(bytes: &[u8], shape: Shape, misses: impl FnMut(&[u8]) -> bool) -> Passed {
        pass_over_with::<QUOTES>(bytes, shape, misses, |block, delimiter, quote| masks(block, delimiter, quote))
    }

    #[target_feature(enable = "avx2")]
    fn masks(block: &[u8; BLOCK], delimiter: u8, quote: u8) -> Masks {
        let start = block.as_ptr().cast::<__m256i>();
        // SAFETY: the block has 64 bytes, twice 32; the load needs no alignment.
        let (low, high) = unsafe { (_mm256_loadu_si256(start), _mm256_loadu_si256(start.add(1))) };
        let half = |bytes, wanted| u64::from(_mm256_movemask_epi8(_mm256_cmpeq_epi8(bytes, wanted)).cast_unsigned());
        let mask = |wanted: u8| {
            let wanted = _mm256_set1_epi8(wanted.cast_signed());
            half(high, wanted) << 32 | half(low, wanted)
        };
        Masks { delimiters: mask(delimiter), feeds: mask(b'\n'), returns: mask(b'\r'), quotes: mask(quote) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Schema;
    use ieum_model::connector::KeyProbe;
    use ieum_model::dataset::Encoding;
    use proptest::prelude::*;

    use super::*;
    use crate::convert::Columns;
    use crate::csv::decoder::{CsvCutter, CsvDecoder, is_missed};
    use crate::text::{Cut, Cutter, Decode, Verdict};

    struct Digits;

    impl KeyProbe for Digits {
        fn may_match(&self, raw_key: &[u8]) -> bool {
            raw_key.first().is_some_and(|byte| b"78".contains(byte))
        }
    }

    /// What cutter and decoder say of the rows at the start of `bytes`: the end of each that is turned away.
    fn turned_away(bytes: &[u8], shape: Shape) -> Vec<usize> {
        let mut cutter = CsvCutter::new(shape.dialect, shape.trailer);
        let probe = Some((Arc::new(Digits) as Arc<dyn KeyProbe>, shape.key));
        let mut decoder = CsvDecoder::new(shape.dialect, shape.width, Vec::new(), probe, shape.trailer);
        let mut columns = Columns::try_new(Arc::new(Schema::empty()), Encoding::Utf8, ';').unwrap();
        let (mut at, mut ends) = (0, Vec::new());
        // What follows decides whether the last row may be a trailer that is cut off.
        let followed = [bytes, b"followed by a row"].concat();
        while at < bytes.len() {
            let Cut::Row { end, next, lines: 1, quoted } = cutter.cut(&followed[at..], false) else { break };
            if decoder.decode(&followed[at..at + end], quoted, &mut columns) != Verdict::Filtered {
                break;
            }
            at += next;
            ends.push(at);
        }
        ends
    }

    fn check(bytes: &[u8], shape: Shape) -> Passed {
        let misses = |key: &[u8]| is_missed(key, shape.dialect, None, &Digits);
        let passed = if shape.dialect.quote {
            pass_over_with::<true>(bytes, shape, misses, masks)
        } else {
            pass_over_with::<false>(bytes, shape, misses, masks)
        };
        assert_eq!(pass_over(bytes, shape, misses), passed, "every way to skim skims the same");
        let ends = turned_away(bytes, shape);
        let rows = usize::try_from(passed.rows).unwrap();
        assert!(rows == 0 || ends.get(rows - 1) == Some(&passed.bytes), "{passed:?} {ends:?}");
        passed
    }

    #[test]
    fn plain_and_quoted_rows_are_passed_over_up_to_a_hit() {
        for (ending, key) in [("\n", "1"), ("\r\n", "1"), ("\n", "\"1\""), ("\r\n", " 1 ")] {
            let row = format!("\"a, \"\"b\"\"\",{key},,5{ending}");
            let text = format!("{}x,7,y,z{ending}{}", row.repeat(50), row.repeat(20));
            let shape = Shape { dialect: Dialect::quoted(b','), width: 4, key: 1, trailer: true };
            assert_eq!(check(text.as_bytes(), shape), Passed { bytes: 50 * row.len(), rows: 50 });
        }
    }

    fn cell() -> impl Strategy<Value = &'static str> {
        prop_oneof![
            20 => prop::sample::select(vec!["", "1", "22", "홍길동", " 3 ", "a long cell of some more bytes"]),
            6 => prop::sample::select(vec!["\"\"", "\"4\"", "\"a,b\"", "\"a \"\"b\"\"\"", "\" 5 \""]),
            1 => prop::sample::select(vec!["7", "\"8\"", "5\" x", "\"a\"b", "\"\"\"", "\"a\nb\"", "\"a\"\"7", "#TRAILER"]),
        ]
    }

    fn line_end() -> impl Strategy<Value = &'static str> {
        prop_oneof![60 => Just("\n"), 30 => Just("\r\n"), 1 => Just("\r"), 1 => Just("\n\n"), 1 => Just(",\n"), 1 => Just("\r\r\n")]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn what_is_passed_over_is_what_the_decoder_turns_away(
            rows in prop::collection::vec((prop::collection::vec(cell(), 3..=3), line_end(), 0..40_u8), 0..60),
            key in 0..3_usize,
            trailer: bool,
        ) {
            let mut text = String::new();
            for (cells, end, ragged) in &rows {
                text.push_str(&cells[usize::from(*ragged == 0)..].join(","));
                text.push_str(end);
            }
            check(text.as_bytes(), Shape { dialect: Dialect::quoted(b','), width: 3, key, trailer });
        }

        #[test]
        fn dirt_is_never_passed_over_wrongly(
            bytes in prop::collection::vec(prop::sample::select(b",,,\n\n\r\"\"#17 a".to_vec()), 0..400),
            width in 1..4_usize,
            trailer: bool,
        ) {
            for key in 0..width {
                check(&bytes, Shape { dialect: Dialect::quoted(b','), width, key, trailer });
            }
        }

        #[test]
        fn unload_files_are_passed_over_as_they_are_decoded(
            bytes in prop::collection::vec(prop::sample::select(b"||||\n\n\r\"\\\\#17 aN".to_vec()), 0..400),
            width in 1..4_usize,
            trailer: bool,
            escape in prop::option::of(Just(b'\\')),
        ) {
            let dialect = Dialect { delimiter: b'|', quote: false, escape };
            for key in 0..width {
                check(&bytes, Shape { dialect, width, key, trailer });
            }
        }
    }
}
