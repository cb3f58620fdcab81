//! The records of a run beside its bundles: outcomes, lines carried over, statistics, rejects.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, StringBuilder, UInt64Array};
use arrow::datatypes::{Field, Schema};
use ieum_model::check::{CheckedLine, CheckedRequest};
use ieum_model::error::Result;
use ieum_model::outcome::{Outcome, Reason};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowLeafColumn, ArrowWriterOptions, compute_leaves,
};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use rayon::prelude::*;
use rustc_hash::FxHashMap;

use crate::assemble::Assembly;
use crate::bundle::Answer;
use crate::bundle::parquet::from_parquet;
use crate::input::Night;
use crate::manifest::hex;
use crate::rejects::{Noted, Rejects, Written};
use crate::sink::{Output, OutputWriter};

/// File of the answers, below the output folder.
pub const OUTCOMES: &str = "outcomes.parquet";

/// File of the lines that the next run asks again.
pub const CARRIED_OVER: &str = "carried_over.parquet";

/// File of the statistics.
pub const STATISTICS: &str = "statistics.csv";

/// File of the rows that could not be read, below the output folder.
pub const ROWS: &str = "rejects/rows.ndjson";

/// Rows of exports that were read by a rule of `repair`, complete, as they stand in the file.
pub const REPAIRED: &str = "repairs/rows.ndjson";

/// File of the requests that could not be read.
pub const MALFORMED: &str = "rejects/requests.ndjson";

/// Answers that are encoded at a time: one row group, whatever the threads and shards.
const LINES_AT_A_TIME: usize = 131_072;

/// Writes them all; the rejected rows by dataset.
///
/// # Errors
/// When the output cannot be written.
pub fn write(night: &Night, assembly: &Assembly, rejects: &Rejects, output: &Output) -> Result<Written> {
    let answers = || write_table(OUTCOMES, outcomes, in_blocks(lines(night, assembly)), output);
    let others = || {
        write_table(CARRIED_OVER, carried_over, in_blocks(open(night, assembly)), output)?;
        output.put(STATISTICS, &statistics(night, lines(night, assembly)))?;
        write_malformed(night, output)?;
        write_rejects(rejects, output)
    };
    let (answers, others) = rayon::join(answers, others);
    answers.and(others)
}

/// The answer to a line, or to a request that has none: of an unknown service, or without a document.
type Line<'a> = (&'a CheckedRequest, Option<&'a CheckedLine>, Answer);

fn lines<'a>(night: &'a Night, assembly: &'a Assembly) -> impl Iterator<Item = Line<'a>> {
    let mut rest = assembly.answers.as_slice();
    night.checked.requests.iter().flat_map(move |request| {
        let (answers, after) = rest.split_at(request.lines.len().min(rest.len()));
        rest = after;
        let of_lines = request.lines.iter().zip(answers).filter_map(|(line, answer)| Some((Some(line), (*answer)?)));
        let of_whole = request.lines.is_empty().then(|| (None, answer_without_lines(request)));
        of_lines.chain(of_whole).map(move |(line, answer)| (request, line, answer))
    })
}

fn answer_without_lines(request: &CheckedRequest) -> Answer {
    let (outcome, reason) = request.refusal.unwrap_or((Outcome::Refused, Some(Reason::R05)));
    Answer { outcome, reason, records: 0 }
}

/// Answers by outcome.
pub fn by_outcome(night: &Night, assembly: &Assembly) -> BTreeMap<String, u64> {
    let mut counts: BTreeMap<Outcome, u64> = BTreeMap::new();
    for (.., answer) in lines(night, assembly) {
        *counts.entry(answer.outcome).or_default() += 1;
    }
    counts.into_iter().map(|(outcome, count)| (outcome.code().to_owned(), count)).collect()
}

/// A line that the next run asks again: request, dataset, and why, if this run asked it.
type OpenLine<'a> = (&'a str, &'a str, Option<Reason>);

/// The lines that were delayed, and those of earlier runs whose request was not received.
fn open<'a>(night: &'a Night, assembly: &'a Assembly) -> impl Iterator<Item = OpenLine<'a>> {
    let delayed = lines(night, assembly).filter(|(.., answer)| answer.outcome == Outcome::Delayed);
    let delayed =
        delayed.filter_map(|(request, line, answer)| Some((&*request.request_id, &*line?.document, answer.reason)));
    let carried_on = night.checked.carried_on.iter();
    delayed.chain(carried_on.map(|line| (line.request_id.as_str(), line.dataset.as_str(), None)))
}

/// A column's name, whether it may be null, and its values.
pub(crate) type Column = (&'static str, bool, ArrayRef);

/// A column's name, whether it may be null, and its text of a row.
type TextColumn<'a, R> = (&'static str, bool, fn(&R) -> Option<&'a str>);

fn text<'a, R>(rows: &[R], (name, nullable, value): TextColumn<'a, R>) -> Column {
    (name, nullable, text_array(rows.iter().map(value)))
}

/// An array of text, each text of the night held once: a code, or a request's own word, stands in many rows.
pub(crate) fn text_array<'a>(values: impl ExactSizeIterator<Item = Option<&'a str>>) -> ArrayRef {
    let mut by_address: FxHashMap<(*const u8, usize), i32> = FxHashMap::default();
    let (mut texts, mut last) = (StringBuilder::new(), None);
    let mut place = |text: &'a str| {
        let address = (text.as_ptr(), text.len());
        match last {
            Some((before, place)) if before == address => place,
            _ => {
                let next = i32::try_from(by_address.len()).unwrap_or(i32::MAX);
                let place = *by_address.entry(address).or_insert_with(|| {
                    texts.append_value(text);
                    next
                });
                last = Some((address, place));
                place
            }
        }
    };
    let places: Int32Array = values.map(|value| value.map(&mut place)).collect();
    Arc::new(DictionaryArray::new(places, Arc::new(texts.finish())))
}

fn outcomes<'a>(lines: &[Line<'a>]) -> Vec<Column> {
    let texts: [TextColumn<'a, Line<'a>>; 6] = [
        ("request_id", false, |(request, ..)| Some(&request.request_id)),
        ("recipient", false, |(request, ..)| Some(&request.recipient)),
        ("service", true, |(request, ..)| request.service.as_deref()),
        ("dataset", true, |(_, line, _)| line.map(|line| &*line.document)),
        ("outcome", false, |(.., answer)| Some(answer.outcome.code())),
        ("reason", true, |(.., answer)| answer.reason.map(Reason::code)),
    ];
    let mut columns: Vec<Column> = texts.into_par_iter().map(|column| text(lines, column)).collect();
    let records: UInt64Array = lines.iter().map(|(_, _, answer)| u64::from(answer.records)).collect();
    columns.push(("records", false, Arc::new(records)));
    columns
}

fn carried_over<'a>(lines: &[OpenLine<'a>]) -> Vec<Column> {
    let texts: [TextColumn<'a, OpenLine<'a>>; 3] = [
        ("request_id", false, |(request, ..)| Some(request)),
        ("dataset", false, |(_, dataset, _)| Some(dataset)),
        ("reason", true, |(.., reason)| reason.map(Reason::code)),
    ];
    texts.map(|column| text(lines, column)).into()
}

fn in_blocks<R>(mut rows: impl Iterator<Item = R>) -> impl Iterator<Item = Vec<R>> {
    std::iter::from_fn(move || {
        Some(rows.by_ref().take(LINES_AT_A_TIME).collect()).filter(|block: &Vec<R>| !block.is_empty())
    })
}

/// A Parquet file with a row group for each block of rows, its columns encoded side by side.
pub(crate) fn write_table<R>(
    name: &str,
    columns: fn(&[R]) -> Vec<Column>,
    blocks: impl Iterator<Item = Vec<R>>,
    output: &Output,
) -> Result<()> {
    let fields =
        columns(&[]).into_iter().map(|(name, nullable, empty)| Field::new(name, empty.data_type().clone(), nullable));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    // The rows come as the requests did: least and greatest values would tell nothing that a block could be passed over by.
    let properties = WriterProperties::builder().set_statistics_enabled(EnabledStatistics::None).build();
    // What the file says of its columns is what Parquet says: text, not how it was held here.
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let writer = ArrowWriter::try_new_with_options(output.create(name)?, Arc::clone(&schema), options);
    let writer = writer.map_err(from_parquet)?;
    let (mut file, groups) = writer.into_serialized_writer().map_err(from_parquet)?;
    for (group, block) in blocks.enumerate() {
        let encoders = groups.create_column_writers(group).map_err(from_parquet)?;
        let columns = schema.fields().iter().zip(columns(&block));
        let leaves = columns.map(|(field, (.., values))| compute_leaves(field, &values));
        let leaves: Vec<ArrowLeafColumn> =
            leaves.collect::<parquet::errors::Result<Vec<_>>>().map_err(from_parquet)?.into_iter().flatten().collect();
        let encode = |(mut encoder, leaf): (ArrowColumnWriter, ArrowLeafColumn)| {
            encoder.write(&leaf)?;
            encoder.close()
        };
        let encoded = encoders.into_par_iter().zip(leaves).map(encode);
        let chunks = encoded.collect::<parquet::errors::Result<Vec<_>>>().map_err(from_parquet)?;
        append_group(&mut file, chunks).map_err(from_parquet)?;
    }
    output.keep(file.into_inner().map_err(from_parquet)?)
}

fn append_group(
    file: &mut SerializedFileWriter<OutputWriter>,
    chunks: Vec<ArrowColumnChunk>,
) -> parquet::errors::Result<()> {
    let mut group = file.next_row_group()?;
    for chunk in chunks {
        chunk.append_to_row_group(&mut group)?;
    }
    group.close().map(drop)
}

/// Per holder and kind of information: service, legal basis, lines provided, records (전자정부법 시행령 51조).
fn statistics<'a>(night: &'a Night, lines: impl Iterator<Item = Line<'a>>) -> Vec<u8> {
    let mut counts: FxHashMap<[&str; 3], (u64, u64)> = FxHashMap::default();
    for (request, line, answer) in lines.filter(|(.., answer)| answer.records > 0) {
        let Some(line) = line else { continue };
        let service = request.service.as_deref().unwrap_or("");
        let slot = counts.entry([&line.document, service, &request.legal_basis]).or_default();
        *slot = (slot.0 + 1, slot.1 + u64::from(answer.records));
    }
    let holder = |dataset: &str| night.catalog.datasets.get(dataset).map_or("", |dataset| dataset.holder.as_str());
    let counts = counts
        .into_iter()
        .map(|([dataset, service, basis], count)| ([holder(dataset), dataset, service, basis], count));
    let counts: BTreeMap<[&str; 4], (u64, u64)> = counts.collect();
    let mut out = b"holder,dataset,service,legal_basis,lines,records\n".to_vec();
    for ([holder, dataset, service, basis], (lines, records)) in counts {
        let basis = basis.replace('"', "\"\"");
        out.extend_from_slice(format!("{holder},{dataset},{service},\"{basis}\",{lines},{records}\n").as_bytes());
    }
    out
}

fn write_rejects(rejects: &Rejects, output: &Output) -> Result<Written> {
    let (mut rejected, mut repaired) = (None, None);
    let written = rejects.write(|noted, line| {
        let (writer, name) = match noted {
            Noted::Rejected => (&mut rejected, ROWS),
            Noted::Repaired => (&mut repaired, REPAIRED),
        };
        let writer = match writer {
            Some(writer) => writer,
            None => writer.insert(output.create(name)?),
        };
        writer.append(line).map(drop)
    })?;
    for writer in rejected.into_iter().chain(repaired) {
        output.keep(writer)?;
    }
    Ok(written)
}

fn write_malformed(night: &Night, output: &Output) -> Result<()> {
    if night.checked.malformed.is_empty() {
        return Ok(());
    }
    let mut out = Vec::new();
    for request in &night.checked.malformed {
        let row = serde_json::json!({
            "file": request.file, "line": request.line, "request_id": request.request_id, "field": request.field,
            "expected": request.expected, "raw_hex": hex(&request.raw),
        });
        out.extend_from_slice(row.to_string().as_bytes());
        out.push(b'\n');
    }
    output.put(MALFORMED, &out)
}
