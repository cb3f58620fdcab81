//! A file of blocks, and the index over them: what is read of a copy follows what is looked for, however long the file is.
//!
//! ```text
//!  copy.json ─► place of the root
//!               root         …1990 │ …4520 │ …9870          the last key of every block below, its place, its checksum
//!                              ▼       ▼       ▼
//!               index     …1203 │ …1544 │ …1990   …
//!                           ▼
//!               rows      64 rows, in the order of their keys
//! ```
//!
//! A block is compared with the checksum that stands above it, the root with the one in the description, which has its own:
//! no byte of the file is believed that was not written. The sums are XXH64: they find what storage spoils, not what someone
//! forges.

use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash64;

use super::Unusable;
use super::about::CopyFile;

/// Length of a key that is none.
const NO_KEY: u32 = u32::MAX;

/// Where a block stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) bytes: u32,
    pub(super) sum: u64,
}

/// The top of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Root {
    pub(super) place: Place,
    /// Blocks of the index between the root and the rows, the root included; none where one block holds all rows.
    pub(super) height: u32,
}

/// The checksum of a block.
pub(super) fn sum(block: &[u8]) -> u64 {
    XxHash64::oneshot(0, block)
}

/// What a block of the index knows of one below.
struct Entry<'a> {
    /// Its last key; `None` where no row has one.
    last: Option<&'a [u8]>,
    place: Place,
}

/// Appends what a block of the index knows of one below.
pub(super) fn append_entry(index: &mut Vec<u8>, last: Option<&[u8]>, place: Place) {
    index.extend_from_slice(&place.offset.to_le_bytes());
    index.extend_from_slice(&place.bytes.to_le_bytes());
    index.extend_from_slice(&place.sum.to_le_bytes());
    // A key comes from a text column, whose values are shorter than that.
    let length = last.map_or(NO_KEY, |last| u32::try_from(last.len()).unwrap_or(NO_KEY));
    index.extend_from_slice(&length.to_le_bytes());
    index.extend_from_slice(last.unwrap_or_default());
}

fn split_entry(index: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let (offset, rest) = index.split_first_chunk()?;
    let (bytes, rest) = rest.split_first_chunk()?;
    let (sum, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let length = u32::from_le_bytes(*length);
    let (last, rest) = rest.split_at_checked(if length == NO_KEY { 0 } else { usize::try_from(length).ok()? })?;
    let place =
        Place { offset: u64::from_le_bytes(*offset), bytes: u32::from_le_bytes(*bytes), sum: u64::from_le_bytes(*sum) };
    Some((Entry { last: (length != NO_KEY).then_some(last), place }, rest))
}

/// The blocks below one of the index.
fn entries(mut index: &[u8]) -> impl Iterator<Item = Result<Entry<'_>, Unusable>> {
    std::iter::from_fn(move || {
        if index.is_empty() {
            return None;
        }
        let split = split_entry(index);
        index = split.as_ref().map_or(&[], |(_, rest)| rest);
        Some(split.map(|(entry, _)| entry).ok_or_else(damaged))
    })
}

fn damaged() -> Unusable {
    Unusable::new("a block is not as it was written".to_owned())
}

/// Takes a block of rows, where it stands, and those of the wanted keys that it could hold.
type Visit<'a> = dyn FnMut(Vec<u8>, Place, &[Box<[u8]>]) -> Result<(), Unusable> + 'a;

/// A file whose blocks are compared with their checksums when they are read.
pub(super) struct Blocks {
    file: File,
    root: Option<Root>,
    read: Cell<u64>,
}

impl Blocks {
    /// Opens a file of the copy in `folder`.
    pub(super) fn open(folder: &Path, file: &CopyFile) -> Result<Self, Unusable> {
        let CopyFile { name, bytes, root } = file;
        let file = File::open(folder.join(name))?;
        if file.metadata()?.len() != *bytes {
            return Err(Unusable::new(format!("`{name}` is not as long as it was written")));
        }
        Ok(Self { file, root: *root, read: Cell::new(0) })
    }

    /// Bytes read from storage so far.
    pub(super) fn bytes_read(&self) -> u64 {
        self.read.get()
    }

    /// Reads and checks a block.
    pub(super) fn read(&self, place: Place) -> Result<Vec<u8>, Unusable> {
        let mut block = vec![0; usize::try_from(place.bytes).map_err(|_| damaged())?];
        self.file.read_exact_at(&mut block, place.offset)?;
        self.read.set(self.read.get() + u64::from(place.bytes));
        if sum(&block) == place.sum { Ok(block) } else { Err(damaged()) }
    }

    /// Reads and checks the whole file, and gives the places of all rows in their order.
    pub(super) fn check_all(&self) -> Result<Vec<Place>, Unusable> {
        let mut places = Vec::new();
        if let Some(root) = self.root {
            self.check_below(root, &mut places)?;
        }
        Ok(places)
    }

    fn check_below(&self, Root { place, height }: Root, places: &mut Vec<Place>) -> Result<(), Unusable> {
        let block = self.read(place)?;
        let Some(height) = height.checked_sub(1) else {
            places.push(place);
            return Ok(());
        };
        entries(&block).try_for_each(|entry| self.check_below(Root { place: entry?.place, height }, places))
    }

    /// Reads and checks the blocks of rows that could hold one of the wanted keys, which ascend.
    pub(super) fn search(&self, wanted: &[Box<[u8]>], visit: &mut Visit<'_>) -> Result<(), Unusable> {
        match self.root {
            Some(root) if !wanted.is_empty() => self.search_below(root, wanted, visit),
            _ => Ok(()),
        }
    }

    fn search_below(
        &self,
        Root { place, height }: Root,
        mut wanted: &[Box<[u8]>],
        visit: &mut Visit<'_>,
    ) -> Result<(), Unusable> {
        let block = self.read(place)?;
        let Some(height) = height.checked_sub(1) else { return visit(block, place, wanted) };
        for entry in entries(&block) {
            // Absent keys stand last.
            let Entry { last: Some(last), place } = entry? else { break };
            let Some(least) = wanted.first() else { break };
            if &**least > last {
                continue;
            }
            let within = wanted.partition_point(|key| &**key <= last);
            self.search_below(Root { place, height }, &wanted[..within], visit)?;
            // The next block may begin with the key that this one ends with.
            let done = if *wanted[within - 1] == *last { within - 1 } else { within };
            wanted = &wanted[done..];
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use arrow::array::{Int64Array, RecordBatch, StringArray};
    use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

    use super::super::select::Rows;
    use super::super::write::{KEY, Writer};
    use super::*;

    fn schema() -> SchemaRef {
        let number = Field::new("number", DataType::Int64, false);
        Arc::new(Schema::new(vec![Field::new(KEY, DataType::Utf8, true), number]))
    }

    /// Rows of keys of two rows each, and as many without a key as there are keys.
    fn written(keys: usize) -> (tempfile::TempDir, CopyFile) {
        let folder = tempfile::tempdir().unwrap();
        let key = |row| (row < 2 * keys).then(|| format!("{:06}", row / 2 * 10));
        let mut writer = Writer::create(folder.path(), "a".to_owned(), &schema()).unwrap();
        let rows: Vec<usize> = (0..3 * keys).collect();
        for rows in rows.chunks(1000) {
            let number: Int64Array = rows.iter().map(|row| Some(i64::try_from(*row).unwrap())).collect();
            let key: StringArray = rows.iter().map(|row| key(*row)).collect();
            writer.write(&RecordBatch::try_new(schema(), vec![Arc::new(key), Arc::new(number)]).unwrap()).unwrap();
        }
        (folder, writer.finish().unwrap())
    }

    #[test]
    fn of_an_index_of_any_height_the_rows_of_the_wanted_keys_are_found() {
        for keys in [0, 1, 10, 63, 64, 65, 2731, 9000] {
            let (folder, file) = written(keys);
            let open = || Blocks::open(folder.path(), &file).unwrap();
            open().check_all().unwrap();
            let mut all = Rows::all(open(), schema(), vec![1]).unwrap();
            let mut count = 0;
            while let Some(batch) = all.next(100).unwrap() {
                count += batch.num_rows();
            }
            assert_eq!(count, 3 * keys);
            let wanted: Vec<Box<[u8]>> =
                (0..=keys * 2).map(|at| format!("{:06}", at * 5).into_bytes().into()).collect();
            for wanted in wanted.chunks(7) {
                let mut rows = Rows::of(open(), schema(), vec![1], wanted).unwrap();
                let found = rows.next(100).unwrap().map_or(0, |batch| batch.num_rows());
                let there = |key: &[u8]| key.ends_with(b"0") && key < format!("{:06}", keys * 10).as_bytes();
                assert_eq!(found, 2 * wanted.iter().filter(|key| there(key)).count());
            }
        }
    }

    #[test]
    fn one_flipped_bit_is_found_wherever_it_is_and_nowhere_else() {
        let (folder, file) = written(150);
        let bytes = fs::read(folder.path().join("a")).unwrap();
        assert_eq!(bytes.len() as u64, file.bytes);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            fs::write(folder.path().join("a"), &damaged).unwrap();
            assert!(Blocks::open(folder.path(), &file).unwrap().check_all().is_err(), "{at}");
        }
        let mut damaged = bytes;
        damaged[0] ^= 1;
        fs::write(folder.path().join("a"), &damaged).unwrap();
        let found =
            |key: &[u8]| Rows::of(Blocks::open(folder.path(), &file).unwrap(), schema(), vec![1], &[key.into()]);
        assert!(found(b"000000").is_err() && found(b"001400").is_ok());
        fs::write(folder.path().join("a"), &damaged[1..]).unwrap();
        assert!(Blocks::open(folder.path(), &file).is_err());
    }
}
