//! The records of a run beside its bundles: outcomes, lines carried over, statistics, rejects.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, UInt64Array};
use arrow::datatypes::Field;
use arrow::record_batch::RecordBatch;
use ieum_model::check::{CheckedLine, CheckedRequest};
use ieum_model::connector::Reject;
use ieum_model::error::{Error, Result};
use ieum_model::outcome::{Outcome, Reason};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, compute_leaves};
use rayon::prelude::*;

use crate::assemble::Assembly;
use crate::bundle::Answer;
use crate::from_arrow;
use crate::input::Night;
use crate::manifest::hex;
use crate::sink::Output;

/// File of the answers, below the output folder.
pub const OUTCOMES: &str = "outcomes.parquet";

/// Writes them all.
///
/// # Errors
/// When the output cannot be written.
pub fn write(night: &Night, assembly: &Assembly, rejects: &[Reject], output: &mut Output) -> Result<()> {
    let answered: Vec<Line<'_>> = lines(night, assembly).collect();
    let (outcomes, (carried_over, statistics)) =
        rayon::join(|| outcomes(&answered), || (carried_over(&answered), statistics(night, &answered)));
    output.put(OUTCOMES, &outcomes?)?;
    output.put("carried_over.parquet", &carried_over?)?;
    output.put("statistics.csv", &statistics)?;
    write_rejects(rejects, output)?;
    write_malformed(night, output)
}

type Line<'a> = (&'a CheckedRequest, &'a CheckedLine, &'a Answer);

fn lines<'a>(night: &'a Night, assembly: &'a Assembly) -> impl Iterator<Item = Line<'a>> {
    night.checked.requests.iter().zip(&assembly.answers).flat_map(|(request, answers)| {
        let answered = request.lines.iter().zip(answers);
        answered.filter_map(move |(line, answer)| answer.as_ref().map(|answer| (request, line, answer)))
    })
}

fn text<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

/// A column's name, whether it may be null, and its text of a line.
type TextColumn<'a> = (&'static str, bool, fn(&Line<'a>) -> Option<&'a str>);

fn outcomes<'a>(lines: &[Line<'a>]) -> Result<Vec<u8>> {
    let texts: [TextColumn<'a>; 6] = [
        ("request_id", false, |(request, ..)| Some(&request.request.request_id)),
        ("recipient", false, |(request, ..)| Some(&request.recipient)),
        ("service", true, |(request, ..)| request.service.as_deref()),
        ("dataset", false, |(_, line, _)| Some(&line.document)),
        ("outcome", false, |(.., answer)| Some(answer.outcome.code())),
        ("reason", true, |(.., answer)| answer.reason.map(Reason::code)),
    ];
    let column = |(name, nullable, value): TextColumn<'a>| (name, text(lines.iter().map(value)), nullable);
    let mut columns: Vec<(&str, ArrayRef, bool)> = texts.into_par_iter().map(column).collect();
    let records: UInt64Array = lines.iter().map(|(_, _, answer)| answer.records).collect();
    columns.push(("records", Arc::new(records), false));
    parquet_bytes(&RecordBatch::try_from_iter_with_nullable(columns).map_err(from_arrow)?)
}

fn carried_over(lines: &[Line<'_>]) -> Result<Vec<u8>> {
    let delayed = || lines.iter().filter(|(.., answer)| answer.outcome == Outcome::Delayed);
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("request_id", text(delayed().map(|(r, ..)| Some(r.request.request_id.as_str()))), false),
        ("dataset", text(delayed().map(|(_, line, _)| Some(&*line.document))), false),
        ("reason", text(delayed().map(|(.., answer)| answer.reason.map(|reason| reason.code()))), true),
    ];
    parquet_bytes(&RecordBatch::try_from_iter_with_nullable(columns).map_err(from_arrow)?)
}

/// One row group, its columns encoded side by side.
fn parquet_bytes(batch: &RecordBatch) -> Result<Vec<u8>> {
    encode(batch).map_err(|error| Error::internal(error.to_string()))
}

fn encode(batch: &RecordBatch) -> parquet::errors::Result<Vec<u8>> {
    let writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None)?;
    let (mut file, groups) = writer.into_serialized_writer()?;
    let schema = batch.schema();
    let columns = groups.create_column_writers(0)?.into_par_iter().zip(schema.fields().as_ref()).zip(batch.columns());
    let column = |((mut writer, field), column): ((ArrowColumnWriter, &Arc<Field>), &ArrayRef)| {
        for leaf in compute_leaves(field, column)? {
            writer.write(&leaf)?;
        }
        writer.close()
    };
    let chunks = columns.map(column).collect::<parquet::errors::Result<Vec<_>>>()?;
    let mut group = file.next_row_group()?;
    for chunk in chunks {
        chunk.append_to_row_group(&mut group)?;
    }
    group.close()?;
    file.into_inner()
}

/// Per holder and kind of information: service, legal basis, lines provided, records (전자정부법 시행령 51조).
fn statistics(night: &Night, lines: &[Line<'_>]) -> Vec<u8> {
    let mut counts: BTreeMap<[&str; 4], (u64, u64)> = BTreeMap::new();
    for (request, line, answer) in lines.iter().filter(|(.., answer)| answer.records > 0) {
        let holder = night.catalog.datasets.get(&*line.document).map_or("", |dataset| dataset.holder.as_str());
        let service = request.service.as_deref().unwrap_or("");
        let slot = counts.entry([holder, &line.document, service, &request.legal_basis]).or_default();
        *slot = (slot.0 + 1, slot.1 + answer.records);
    }
    let mut out = b"holder,dataset,service,legal_basis,lines,records\n".to_vec();
    for ([holder, dataset, service, basis], (lines, records)) in counts {
        let basis = basis.replace('"', "\"\"");
        out.extend_from_slice(format!("{holder},{dataset},{service},\"{basis}\",{lines},{records}\n").as_bytes());
    }
    out
}

fn write_rejects(rejects: &[Reject], output: &mut Output) -> Result<()> {
    if rejects.is_empty() {
        return Ok(());
    }
    let mut out = Vec::new();
    for reject in rejects {
        let row = serde_json::json!({
            "source": reject.source, "line": reject.line, "byte_offset": reject.byte_offset, "rule": reject.rule,
            "column": reject.column, "reason": reject.reason, "raw_hex": hex(&reject.raw),
        });
        out.extend_from_slice(row.to_string().as_bytes());
        out.push(b'\n');
    }
    output.put("rejects/rows.ndjson", &out)
}

fn write_malformed(night: &Night, output: &mut Output) -> Result<()> {
    if night.checked.malformed.is_empty() {
        return Ok(());
    }
    let mut out = Vec::new();
    for request in &night.checked.malformed {
        let row = serde_json::json!({
            "request_id": request.request_id, "line": request.line, "field": request.field, "expected": request.expected,
        });
        out.extend_from_slice(row.to_string().as_bytes());
        out.push(b'\n');
    }
    output.put("rejects/requests.ndjson", &out)
}
