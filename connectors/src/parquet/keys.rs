//! Looks at the keys of a row group where they stand in its pages: no array is built of them, and each page is opened once.
//!
//! The readers of the crate `parquet` decode the whole key column for a filter, and once more for the rows that passed.
//! Here a key is a slice of its page; of a dictionary every entry is asked about once, whatever the rows.

use arrow::array::{StringArray, StringBuilder};
use ieum_model::connector::KeyProbe;
use parquet::basic::{Encoding, Type};
use parquet::column::page::{Page, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::schema::types::SchemaDescriptor;

/// The rows whose key the probe let pass.
#[derive(Debug)]
pub(super) struct Hits {
    /// Rows of the row group.
    pub seen: u64,
    /// Record number in the row group, from 0, of every row that passed, ascending.
    pub ordinals: Vec<u64>,
    /// Its key as it stands in the file.
    pub keys: StringArray,
}

/// The column of the file that holds the text of root column `root`, if that is all there is of it: neither repeated nor
/// nested.
pub(super) fn text_leaf(descriptor: &SchemaDescriptor, root: usize) -> Option<usize> {
    let leaf = (0..descriptor.num_columns()).find(|leaf| descriptor.get_column_root_idx(*leaf) == root)?;
    let column = descriptor.column(leaf);
    let is_flat = column.max_rep_level() == 0 && column.max_def_level() <= 1;
    let is_text = descriptor.get_column_root(leaf).is_primitive() && column.physical_type() == Type::BYTE_ARRAY;
    (is_flat && is_text).then_some(leaf)
}

/// Whether a page of the column has, as its metadata says, an encoding of texts that [`probe`] does not read.
pub(super) fn has_deltas(column: &ColumnChunkMetaData) -> bool {
    let deltas = [Encoding::DELTA_LENGTH_BYTE_ARRAY, Encoding::DELTA_BYTE_ARRAY];
    column.encodings().any(|encoding| deltas.contains(&encoding))
}

/// Asks the probe about every key of a column of texts ([`text_leaf`]), whose rows may be `nullable`; a key that is absent is
/// never wanted. `None` where a page turns out to be of another kind.
///
/// # Errors
/// When a page does not hold what its header promises, or what should be text is not UTF-8.
pub(super) fn probe(pages: &mut dyn PageReader, nullable: bool, probe: &dyn KeyProbe) -> Result<Option<Hits>> {
    let mut look = Look { probe, dictionary: None, seen: 0, ordinals: Vec::new(), keys: StringBuilder::new() };
    while let Some(page) = pages.get_next_page()? {
        let known = match &page {
            Page::DictionaryPage { buf, num_values, encoding, .. } => {
                look.dictionary = Some(Dictionary::read(buf, *num_values as usize, probe)?);
                matches!(encoding, Encoding::PLAIN | Encoding::PLAIN_DICTIONARY)
            }
            Page::DataPage { buf, num_values, encoding, def_level_encoding, .. } => {
                let (levels, values) = if nullable { levels_in_front(buf)? } else { (&[][..], &buf[..]) };
                let levels = nullable.then_some(levels);
                let known = !nullable || *def_level_encoding == Encoding::RLE;
                known && look.page(levels, values, *num_values as usize, *encoding)?
            }
            Page::DataPageV2 { buf, num_values, encoding, def_levels_byte_len, rep_levels_byte_len, .. } => {
                let levels = *rep_levels_byte_len as usize;
                let values = levels + *def_levels_byte_len as usize;
                let (Some(levels), Some(values)) = (buf.get(levels..values), buf.get(values..)) else {
                    return Err(short());
                };
                look.page(nullable.then_some(levels), values, *num_values as usize, *encoding)?
            }
        };
        if !known {
            return Ok(None);
        }
    }
    Ok(Some(Hits { seen: look.seen, ordinals: look.ordinals, keys: look.keys.finish() }))
}

fn short() -> ParquetError {
    ParquetError::EOF("a page of the key column ends too early".into())
}

fn not_text() -> ParquetError {
    ParquetError::General("a key that should be text is not UTF-8".into())
}

/// The definition levels of a data page of the first version, which stand after their length, and what follows them.
fn levels_in_front(page: &[u8]) -> Result<(&[u8], &[u8])> {
    let (length, rest) = page.split_first_chunk::<4>().ok_or_else(short)?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(short)
}

/// Takes the next value of the encoding PLAIN: four bytes of length, and the bytes.
fn plain<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>().ok_or_else(short)?;
    let (value, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(short)?;
    *rest = after;
    Ok(value)
}

struct Look<'a> {
    probe: &'a dyn KeyProbe,
    dictionary: Option<Dictionary>,
    /// Rows of the pages before.
    seen: u64,
    ordinals: Vec<u64>,
    keys: StringBuilder,
}

impl Look<'_> {
    /// Looks at the rows of a page; `false` where its encoding is another.
    fn page(&mut self, levels: Option<&[u8]>, values: &[u8], count: usize, encoding: Encoding) -> Result<bool> {
        let mut rows = Rows::new(levels, count)?;
        match encoding {
            Encoding::PLAIN => self.texts(values, &mut rows)?,
            Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY => self.entries(values, &mut rows)?,
            _ => return Ok(false),
        }
        self.seen += count as u64;
        Ok(true)
    }

    fn texts(&mut self, mut values: &[u8], rows: &mut Rows<'_>) -> Result<()> {
        // Lengths below 128 are ASCII too: mostly the page is looked at once.
        let is_text = values.is_ascii();
        while let Some(row) = rows.next()? {
            let key = plain(&mut values)?;
            if !is_text && std::str::from_utf8(key).is_err() {
                return Err(not_text());
            }
            if self.probe.may_match(key.trim_ascii()) {
                self.ordinals.push(self.seen + row as u64);
                self.keys.append_value(std::str::from_utf8(key).map_err(|_| not_text())?);
            }
        }
        Ok(())
    }

    fn entries(&mut self, values: &[u8], rows: &mut Rows<'_>) -> Result<()> {
        let dictionary = self.dictionary.as_ref().ok_or_else(short)?;
        let Some(mut row) = rows.next()? else { return Ok(()) };
        let (width, runs) = values.split_first().ok_or_else(short)?;
        if *width > 32 {
            return Err(ParquetError::General("indexes of more than 32 bits".into()));
        }
        let mut indexes = Hybrid { rest: runs, width: *width };
        loop {
            for index in indexes.run()?.ok_or_else(short)? {
                if let Some(key) = dictionary.wanted.get(index as usize).ok_or_else(short)? {
                    self.ordinals.push(self.seen + row as u64);
                    self.keys.append_value(key);
                }
                match rows.next()? {
                    Some(next) => row = next,
                    None => return Ok(()),
                }
            }
        }
    }
}

/// The texts that rows name by their index.
struct Dictionary {
    /// Of every entry, its text if the probe lets it pass.
    wanted: Vec<Option<String>>,
}

impl Dictionary {
    fn read(mut page: &[u8], count: usize, probe: &dyn KeyProbe) -> Result<Self> {
        // Every entry has at least its length: a count that lies reserves no more than the page has.
        let mut wanted = Vec::with_capacity(count.min(page.len() / 4));
        for _ in 0..count {
            let text = std::str::from_utf8(plain(&mut page)?).map_err(|_| not_text())?;
            wanted.push(probe.may_match(text.as_bytes().trim_ascii()).then(|| text.to_owned()));
        }
        Ok(Self { wanted })
    }
}

/// The rows of a page that have a value.
struct Rows<'a> {
    next: usize,
    count: usize,
    /// One level a row; none where every row has a value.
    levels: Option<(Hybrid<'a>, Run<'a>)>,
}

impl<'a> Rows<'a> {
    fn new(levels: Option<&'a [u8]>, count: usize) -> Result<Self> {
        let all = Self { next: 0, count, levels: None };
        let Some(levels) = levels.filter(|_| count > 0) else { return Ok(all) };
        let mut runs = Hybrid { rest: levels, width: 1 };
        match runs.run()?.ok_or_else(short)? {
            Run::Repeated { value: 1, count: present } if present >= count => Ok(all),
            first => Ok(Self { levels: Some((runs, first)), ..all }),
        }
    }

    /// The number of the next row with a value, from 0.
    fn next(&mut self) -> Result<Option<usize>> {
        while self.next < self.count {
            let row = self.next;
            self.next += 1;
            let Some((runs, run)) = &mut self.levels else { return Ok(Some(row)) };
            let level = loop {
                match run.next() {
                    Some(level) => break level,
                    None => *run = runs.run()?.ok_or_else(short)?,
                }
            };
            if level == 1 {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }
}

/// Numbers of `width` bits, at most 32, as runs (Apache Parquet format, "Run Length Encoding / Bit-Packing Hybrid").
struct Hybrid<'a> {
    rest: &'a [u8],
    width: u8,
}

impl<'a> Hybrid<'a> {
    /// The next run; `None` at the end.
    fn run(&mut self) -> Result<Option<Run<'a>>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let header = self.header()?;
        let count = (header >> 1) as usize;
        if header & 1 == 0 {
            let (value, rest) = self.rest.split_at_checked(self.width.div_ceil(8).into()).ok_or_else(short)?;
            self.rest = rest;
            let value = value.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte));
            return Ok(Some(Run::Repeated { value, count }));
        }
        // Groups of eight; the last one may be cut where no more of its values are meant.
        let bytes = count.saturating_mul(self.width.into()).min(self.rest.len());
        let (bytes, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        let count = match self.width {
            0 => count.saturating_mul(8),
            width => bytes.len() * 8 / usize::from(width),
        };
        Ok(Some(Run::Packed { bytes, width: self.width, bits: 0, held: 0, count }))
    }

    /// A number of seven bits a byte, the lowest first.
    fn header(&mut self) -> Result<u32> {
        let mut number = 0;
        for shift in (0..32).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or_else(short)?;
            self.rest = rest;
            number |= u32::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(ParquetError::General("a run of the key column is longer than any page".into()))
    }
}

/// What remains of a run.
enum Run<'a> {
    Repeated {
        value: u32,
        count: usize,
    },
    /// Numbers side by side, the lowest bits first; `bits` of them are held back in `held`.
    Packed {
        bytes: &'a [u8],
        width: u8,
        bits: u8,
        held: u64,
        count: usize,
    },
}

impl Iterator for Run<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        match self {
            Self::Repeated { value, count } => {
                *count = count.checked_sub(1)?;
                Some(*value)
            }
            Self::Packed { bytes, width, bits, held, count } => {
                *count = count.checked_sub(1)?;
                while *bits < *width {
                    let (byte, rest) = bytes.split_first()?;
                    *bytes = rest;
                    *held |= u64::from(*byte) << *bits;
                    *bits += 8;
                }
                let value = *held & ((1 << *width) - 1);
                *held >>= *width;
                *bits -= *width;
                Some(value as u32)
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array, ArrayRef, AsArray};
    use arrow::record_batch::RecordBatch;
    use bytes::Bytes;
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use parquet::basic::Compression;
    use parquet::file::properties::{WriterProperties, WriterVersion};
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use proptest::prelude::*;

    use super::*;

    /// Wants keys that end in one of these bytes.
    struct Ending(Vec<u8>);

    impl KeyProbe for Ending {
        fn may_match(&self, raw_key: &[u8]) -> bool {
            raw_key.last().is_some_and(|last| self.0.contains(last))
        }
    }

    fn file(keys: &[Option<String>], nullable: bool, properties: WriterProperties) -> Bytes {
        let keys: ArrayRef = Arc::new(StringArray::from(keys.to_vec()));
        let batch = RecordBatch::try_from_iter_with_nullable([("key", keys, nullable)]).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap().into()
    }

    /// Records and keys of the hits of all row groups.
    fn probed(file: &Bytes, wanted: &dyn KeyProbe) -> Vec<(u64, String)> {
        let reader = SerializedFileReader::new(file.clone()).unwrap();
        let descriptor = reader.metadata().file_metadata().schema_descr();
        assert_eq!(text_leaf(descriptor, 0), Some(0));
        let nullable = descriptor.column(0).max_def_level() == 1;
        let (mut found, mut base) = (Vec::new(), 0);
        for group in 0..reader.num_row_groups() {
            let group = reader.get_row_group(group).unwrap();
            assert!(!has_deltas(group.metadata().column(0)));
            let hits = probe(&mut *group.get_column_page_reader(0).unwrap(), nullable, wanted).unwrap().unwrap();
            assert_eq!(hits.seen, group.metadata().num_rows() as u64);
            assert_eq!(hits.ordinals.len(), hits.keys.len());
            found.extend(hits.ordinals.iter().zip(&hits.keys).map(|(row, key)| (base + row, key.unwrap().to_owned())));
            base += hits.seen;
        }
        found
    }

    /// The same by the crate's reader of the whole column.
    fn filtered(file: &Bytes, wanted: &dyn KeyProbe) -> Vec<(u64, String)> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(file.clone()).unwrap().build().unwrap();
        let keys = reader.flat_map(|batch| {
            batch.unwrap().column(0).as_string::<i32>().iter().map(|key| key.map(str::to_owned)).collect::<Vec<_>>()
        });
        let hit = |key: &String| wanted.may_match(key.trim_ascii().as_bytes());
        (0..).zip(keys).filter_map(|(row, key)| Some((row, key.filter(hit)?))).collect()
    }

    fn properties(version: WriterVersion, dictionary: bool, page: usize, codec: Compression) -> WriterProperties {
        WriterProperties::builder()
            .set_writer_version(version)
            .set_encoding(Encoding::PLAIN)
            .set_dictionary_enabled(dictionary)
            .set_dictionary_page_size_limit(2000)
            .set_data_page_row_count_limit(page)
            .set_write_batch_size(7)
            .set_max_row_group_row_count(Some(700))
            .set_compression(codec)
            .build()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_hits_are_those_of_a_whole_read(
            keys in prop::collection::vec(prop::option::weighted(0.9, " ?[0-9가a-c]{0,9}"), 0..2000),
            few in any::<bool>(),
            second in any::<bool>(),
            dictionary in any::<bool>(),
            page in 1_usize..400,
            codec in prop::sample::select(vec![Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::LZ4_RAW]),
        ) {
            // Few different keys are long runs of a dictionary, many overflow it.
            let keys: Vec<_> = keys.iter().enumerate().map(|(row, key)| if few { keys[row / 300].clone() } else { key.clone() }).collect();
            let version = if second { WriterVersion::PARQUET_2_0 } else { WriterVersion::PARQUET_1_0 };
            let wanted = Ending(b"17b".to_vec());
            for nullable in [true, false] {
                let keys: Vec<_> = keys.iter().filter(|key| nullable || key.is_some()).cloned().collect();
                let file = file(&keys, nullable, properties(version, dictionary, page, codec));
                prop_assert_eq!(probed(&file, &wanted), filtered(&file, &wanted));
            }
        }
    }

    #[test]
    fn long_keys_and_an_entry_of_the_dictionary_for_every_row_are_found() {
        let key = |row: usize| Some(format!("{:0>130}{}", row * 7 % 997, row % 10));
        let keys: Vec<_> = (0..1500).map(key).collect();
        for dictionary in [true, false] {
            let file = file(&keys, true, properties(WriterVersion::PARQUET_1_0, dictionary, 90, Compression::SNAPPY));
            let found = probed(&file, &Ending(b"3".to_vec()));
            assert_eq!(found.len(), 150);
            assert_eq!(found, filtered(&file, &Ending(b"3".to_vec())));
        }
    }

    /// Pages that were put together by hand.
    struct Pages(Vec<Page>);

    impl Iterator for Pages {
        type Item = Result<Page>;

        fn next(&mut self) -> Option<Self::Item> {
            self.get_next_page().transpose()
        }
    }

    impl PageReader for Pages {
        fn get_next_page(&mut self) -> Result<Option<Page>> {
            Ok((!self.0.is_empty()).then(|| self.0.remove(0)))
        }

        fn peek_next_page(&mut self) -> Result<Option<parquet::column::page::PageMetadata>> {
            Err(short())
        }

        fn skip_next_page(&mut self) -> Result<()> {
            Err(short())
        }
    }

    fn page(values: &[u8], num_values: u32, encoding: Encoding) -> Page {
        let (def_level_encoding, rep_level_encoding) = (Encoding::RLE, Encoding::RLE);
        let buf = values.to_vec().into();
        Page::DataPage { buf, num_values, encoding, def_level_encoding, rep_level_encoding, statistics: None }
    }

    fn told(pages: Vec<Page>, nullable: bool) -> String {
        probe(&mut Pages(pages), nullable, &Ending(b"1".to_vec())).unwrap_err().to_string()
    }

    #[test]
    fn a_page_that_does_not_hold_what_it_promises_is_an_error() {
        let too_early = "EOF: a page of the key column ends too early";
        assert_eq!(told(vec![page(b"\x01\0\0\x001", 2, Encoding::PLAIN)], false), too_early);
        assert_eq!(told(vec![page(b"\x09\0\0\x001", 1, Encoding::PLAIN)], false), too_early);
        assert_eq!(told(vec![page(b"\x09\0\0\0", 1, Encoding::PLAIN)], true), too_early);
        assert_eq!(told(vec![page(b"\x02\0\0\0\x04\x01", 3, Encoding::PLAIN)], true), too_early);
        assert_eq!(told(vec![page(b"\x01\x02\0", 1, Encoding::RLE_DICTIONARY)], false), too_early);
        let entries = |count| Page::DictionaryPage {
            buf: b"\x01\0\0\x001".to_vec().into(),
            num_values: count,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        assert_eq!(told(vec![entries(2)], false), too_early);
        let beyond = page(b"\x01\x02\x01", 1, Encoding::RLE_DICTIONARY);
        assert_eq!(told(vec![entries(1), beyond], false), too_early);
        assert_eq!(told(vec![page(b"\x02\0\0\0\xFF1", 1, Encoding::PLAIN)], false), not_text().to_string());
        let wide = page(b"\x40\x02\0", 1, Encoding::RLE_DICTIONARY);
        assert!(told(vec![entries(1), wide], false).contains("32 bits"));
    }

    #[test]
    fn a_page_of_another_kind_is_left_to_the_other_reader() {
        let other = vec![page(b"", 1, Encoding::DELTA_BYTE_ARRAY)];
        assert!(probe(&mut Pages(other), false, &Ending(Vec::new())).unwrap().is_none());
    }
}
