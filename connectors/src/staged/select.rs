//! From wanted keys to rows: only the pages of the key column that may hold one are read.
//!
//! ```text
//!  wanted keys   …1203  …4411  …9870
//!  page index    [1100–1990] [1991–3870] [3871–4520] …      which pages could hold one
//!  bloom filter  where that is many pages: which keys are surely absent
//!  key pages     1203 ✓  4411 ✗                             which rows do
//! ```

use std::ops::Range;

use arrow::array::{Array, AsArray};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection,
    RowSelectionPolicy,
};
use parquet::bloom_filter::Sbbf;
use parquet::file::metadata::{PageIndexPolicy, ParquetStatisticsPolicy};
use parquet::file::page_index::column_index::{ByteArrayColumnIndex, ColumnIndexMetaData};
use parquet::file::page_index::offset_index::PageLocation;

use super::Unusable;
use super::sums::Blocks;

/// Leaf of the key column.
const KEY_LEAF: usize = 0;
/// Keys decoded at a time.
const KEY_BATCH: usize = 8192;

/// A file of a copy with its footer and page index.
pub(super) struct Opened {
    pub(super) blocks: Blocks,
    pub(super) metadata: ArrowReaderMetadata,
}

/// Rows of a row group.
pub(super) struct GroupRows {
    pub(super) group: usize,
    pub(super) rows: Vec<Range<usize>>,
}

fn damaged() -> Unusable {
    Unusable::new("it has no page index where it should".to_owned())
}

impl Opened {
    /// Reads footer and page index.
    pub(super) fn open(blocks: Blocks) -> Result<Self, Unusable> {
        let options = ArrowReaderOptions::new()
            .with_page_index_policy(PageIndexPolicy::Optional)
            .with_column_stats_policy(ParquetStatisticsPolicy::SkipAll)
            .with_size_stats_policy(ParquetStatisticsPolicy::SkipAll);
        let metadata = ArrowReaderMetadata::load(&blocks, options)?;
        Ok(Self { blocks, metadata })
    }

    /// A reader of some columns, to be narrowed.
    pub(super) fn read(&self, blocks: Blocks, columns: ProjectionMask) -> ParquetRecordBatchReaderBuilder<Blocks> {
        ParquetRecordBatchReaderBuilder::new_with_metadata(blocks, self.metadata.clone()).with_projection(columns)
    }

    fn group_rows(&self, group: usize) -> usize {
        usize::try_from(self.metadata.metadata().row_group(group).num_rows()).unwrap_or(0)
    }

    fn locations(&self, group: usize, leaf: usize) -> Result<&[PageLocation], Unusable> {
        let index = self.metadata.metadata().offset_index().and_then(|index| index.get(group)?.get(leaf));
        index.map(|index| index.page_locations().as_slice()).ok_or_else(damaged)
    }

    /// The rows of the wanted keys, which ascend.
    pub(super) fn rows_of(&self, wanted: &[Box<[u8]>]) -> Result<Vec<GroupRows>, Unusable> {
        let mut found = Vec::new();
        for group in 0..self.metadata.metadata().num_row_groups() {
            let rows = self.rows_in_group(group, wanted)?;
            if !rows.is_empty() {
                found.push(GroupRows { group, rows });
            }
        }
        Ok(found)
    }

    fn rows_in_group(&self, group: usize, wanted: &[Box<[u8]>]) -> Result<Vec<Range<usize>>, Unusable> {
        let index = self.metadata.metadata().column_index().and_then(|index| index.get(group)?.get(KEY_LEAF));
        let index = match index {
            Some(ColumnIndexMetaData::BYTE_ARRAY(index)) => index,
            // Of keys that are all absent there are no bounds to tell.
            _ => return Ok(Vec::new()),
        };
        let locations = self.locations(group, KEY_LEAF)?;
        // Absent keys stand last.
        let present = (0..locations.len()).take_while(|page| !index.is_null_page(*page)).count();
        let Some(last) = present.checked_sub(1) else { return Ok(Vec::new()) };
        let (Some(least), Some(most)) = (index.min_value(0), index.max_value(last)) else { return Err(damaged()) };
        let from = wanted.partition_point(|key| &**key < least);
        let to = wanted.partition_point(|key| &**key <= most);
        let wanted: Vec<&[u8]> = wanted[from..to.max(from)].iter().map(|key| &**key).collect();
        let (wanted, pages) = self.narrow(group, wanted, index, &locations[..present])?;
        if pages.is_empty() {
            return Ok(Vec::new());
        }
        self.hits(group, &wanted, &row_ranges(&pages, locations, self.group_rows(group)))
    }

    /// The pages that could hold one of the wanted keys; where they are many, the bloom filter is asked first.
    fn narrow<'a>(
        &self,
        group: usize,
        mut wanted: Vec<&'a [u8]>,
        index: &ByteArrayColumnIndex,
        locations: &[PageLocation],
    ) -> Result<(Vec<&'a [u8]>, Vec<usize>), Unusable> {
        let pages = pages(&wanted, index, locations.len());
        let column = self.metadata.metadata().row_group(group).column(KEY_LEAF);
        let bytes: i64 = pages.iter().map(|page| i64::from(locations[*page].compressed_page_size)).sum();
        if column.bloom_filter_length().is_none_or(|length| bytes <= i64::from(length)) {
            return Ok((wanted, pages));
        }
        let Some(filter) = Sbbf::read_from_column_chunk(column, &self.blocks)? else { return Ok((wanted, pages)) };
        wanted.retain(|key| filter.check(*key));
        let pages = self::pages(&wanted, index, locations.len());
        Ok((wanted, pages))
    }

    /// The rows among `ranges` whose key is wanted.
    fn hits(&self, group: usize, wanted: &[&[u8]], ranges: &[Range<usize>]) -> Result<Vec<Range<usize>>, Unusable> {
        let selection = RowSelection::from_consecutive_ranges(ranges.iter().cloned(), self.group_rows(group));
        let key = ProjectionMask::leaves(self.metadata.parquet_schema(), [KEY_LEAF]);
        let pages = self.blocks.hold(selection.scan_ranges(self.locations(group, KEY_LEAF)?))?;
        let reader: ParquetRecordBatchReader = self
            .read(pages, key)
            .with_row_groups(vec![group])
            .with_row_selection(selection)
            .with_row_selection_policy(RowSelectionPolicy::Selectors)
            .with_batch_size(KEY_BATCH)
            .build()?;
        let mut rows = ranges.iter().cloned().flatten();
        let mut hits: Vec<Range<usize>> = Vec::new();
        let mut next = 0;
        for batch in reader {
            let batch = batch?;
            let keys = batch.column(0).as_string_opt::<i32>().ok_or_else(damaged)?;
            for at in 0..keys.len() {
                let row = rows.next().ok_or_else(damaged)?;
                if keys.is_null(at) {
                    continue;
                }
                let key = keys.value(at).as_bytes();
                while wanted.get(next).is_some_and(|wanted| *wanted < key) {
                    next += 1;
                }
                if wanted.get(next).is_some_and(|wanted| *wanted == key) {
                    match hits.last_mut() {
                        Some(range) if range.end == row => range.end = row + 1,
                        _ => hits.push(row..row + 1),
                    }
                }
            }
        }
        if rows.next().is_some() { Err(damaged()) } else { Ok(hits) }
    }

    /// Reads and checks every page that a reader of these rows and columns will read, and gives the file to read them from.
    pub(super) fn checked(&self, found: &[GroupRows], columns: &ProjectionMask) -> Result<Blocks, Unusable> {
        let leaves = self.metadata.parquet_schema().num_columns();
        let mut pages = Vec::new();
        for GroupRows { group, rows } in found {
            let selection = RowSelection::from_consecutive_ranges(rows.iter().cloned(), self.group_rows(*group));
            for leaf in (0..leaves).filter(|leaf| columns.leaf_included(*leaf)) {
                pages.extend(selection.scan_ranges(self.locations(*group, leaf)?));
            }
        }
        self.blocks.hold(pages)
    }

    /// The row groups of `found`, and the selection of its rows in them.
    pub(super) fn selection(&self, found: &[GroupRows]) -> (Vec<usize>, RowSelection) {
        let mut total = 0;
        let mut ranges = Vec::new();
        for GroupRows { group, rows } in found {
            ranges.extend(rows.iter().map(|row| row.start + total..row.end + total));
            total += self.group_rows(*group);
        }
        let groups = found.iter().map(|found| found.group).collect();
        (groups, RowSelection::from_consecutive_ranges(ranges.into_iter(), total))
    }
}

/// The pages whose bounds hold one of the wanted keys; both ascend.
fn pages(wanted: &[&[u8]], index: &ByteArrayColumnIndex, count: usize) -> Vec<usize> {
    let mut pages = Vec::new();
    let mut next = 0;
    for key in wanted {
        // The bounds of one page may meet those of the next: equal keys can stand in both.
        let at = first_at_least(next..count, |page| index.max_value(page).is_none_or(|most| most >= *key));
        let within = (at..count).take_while(|page| index.min_value(*page).is_none_or(|least| least <= *key));
        for page in within {
            if pages.last().is_none_or(|last| *last < page) {
                pages.push(page);
            }
        }
        next = at;
    }
    pages
}

/// The first of `places` for which `holds`, which holds from some place on.
fn first_at_least(places: Range<usize>, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (places.start, places.end);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) { high = middle } else { low = middle + 1 }
    }
    low
}

/// The rows of pages, as ranges that do not meet.
fn row_ranges(pages: &[usize], locations: &[PageLocation], rows: usize) -> Vec<Range<usize>> {
    let start = |page: usize| {
        locations.get(page).map_or(rows, |location| usize::try_from(location.first_row_index).unwrap_or(rows))
    };
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for page in pages {
        let (from, to) = (start(*page), start(page + 1));
        match ranges.last_mut() {
            Some(range) if range.end == from => range.end = to,
            _ => ranges.push(from..to),
        }
    }
    ranges
}
