//! bundle: one request = one nested row; JSON and Parquet are two encodings of it. Documents stand in the order of the
//! request's lines, items in code order.

pub mod folder;
pub mod json;
pub mod parquet;
pub mod row;
pub mod tar;

use std::borrow::Cow;
use std::ops::Range;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::UInt32Type;
use arrow::record_batch::RecordBatch;
use ieum_model::check::CheckedRequest;
use ieum_model::outcome::{Outcome, Reason};
use rustc_hash::FxHashMap;

/// A document line's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// What became of the line.
    pub outcome: Outcome,
    /// Why, where the outcome has a reason.
    pub reason: Option<Reason>,
    /// Records in the bundle.
    pub records: u32,
}

/// The sorted rows of one dataset in one shard, found by line.
pub struct DocumentRows {
    batch: RecordBatch,
    ranges: FxHashMap<u32, Range<usize>>,
}

impl DocumentRows {
    /// Indexes a batch that is sorted by its first column, the line ordinal.
    pub fn new(batch: RecordBatch) -> Self {
        let lines = batch.column(0).as_primitive::<UInt32Type>().values().clone();
        let mut ranges: FxHashMap<u32, Range<usize>> = FxHashMap::default();
        for (row, line) in lines.iter().enumerate() {
            ranges.entry(*line).or_insert(row..row).end = row + 1;
        }
        Self { batch, ranges }
    }

    /// The column of an item, if the plan of these rows read it.
    pub fn column(&self, item: &str) -> Option<&ArrayRef> {
        self.batch.column_by_name(item)
    }

    /// Rows of a line.
    pub fn range(&self, line: u32) -> Range<usize> {
        self.ranges.get(&line).cloned().unwrap_or(0..0)
    }
}

/// What is the same in every bundle of a run.
#[derive(Debug, Clone)]
pub struct RunHead {
    /// The declared date of the run, ISO.
    pub as_of: String,
    /// Key that made the pseudonyms.
    pub key_id: String,
    /// Its epoch.
    pub key_epoch: u32,
}

/// One request's nested row.
pub struct Bundle<'a> {
    /// The request.
    pub request: &'a CheckedRequest,
    /// Pseudonym in the recipient's domain; absent when the request names no subject that can be named.
    pub subject: Option<String>,
    /// The lines, in the order of the request.
    pub documents: Vec<Document<'a>>,
}

/// A line of the bundle: its name, items, answer, and rows if there are any.
pub struct Document<'a> {
    /// Dataset code; a second line of the same dataset is `code#2`.
    pub name: Cow<'a, str>,
    /// Items asked for and permitted, in code order.
    pub items: &'a [String],
    /// The answer.
    pub answer: Answer,
    /// Where the records are.
    pub rows: Option<(&'a DocumentRows, Range<usize>)>,
}

/// The name of a request's line in its bundle.
pub fn document_name(request: &CheckedRequest, line: usize) -> Cow<'_, str> {
    let dataset = &request.lines[line].document;
    match request.lines[..line].iter().filter(|earlier| earlier.document == *dataset).count() {
        0 => Cow::Borrowed(dataset),
        earlier => Cow::Owned(format!("{dataset}#{}", earlier + 1)),
    }
}
