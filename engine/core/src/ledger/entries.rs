//! What one run enters: one row a request, in the order of the answers.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, StringArray, StructArray, UInt64Array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields};
use ieum_model::catalog::Catalog;
use ieum_model::check::{CheckedLine, CheckedRequest};
use ieum_model::error::Result;
use ieum_model::outcome::Reason;
use ieum_privacy::DomainKey;
use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::{ENTRIES, domain, name_of};
use crate::assemble::{Assembly, Standing, standing};
use crate::bundle::Answer;
use crate::input::Night;
use crate::keys::canonical;
use crate::reach::space_of;
use crate::records::{Column, text_array, write_table};
use crate::sink::Output;

/// Requests that are encoded at a time: one row group, whatever the threads and shards.
const REQUESTS_AT_A_TIME: usize = 32_768;

/// The entry of one request.
struct Entry<'a> {
    request: &'a CheckedRequest,
    /// Recipient and service; empty and absent where the catalog lacks what the request names: it may be anything.
    recipient: &'a str,
    service: Option<&'a str>,
    /// Names of the persons, businesses… that the request is about.
    subjects: Vec<String>,
    standing: Standing,
    reason: Option<Reason>,
    documents: Vec<(&'a CheckedLine, &'a str, Answer)>,
}

/// Writes the entries of a run: `request_id`, `subjects` (names in the ledger), `recipient`, `service`, `purpose`,
/// `legal_basis`, `standing`, `reason` (of a request refused as a whole), and `documents`: `dataset`, `items` (those that
/// may be delivered), `withheld`, `outcome`, `reason`, `records`.
///
/// # Errors
/// When the output cannot be written.
///
/// # Privacy
/// Sees the identifiers of requests; writes their names in the ledger. A word in place of a code that the catalog lacks is
/// left out: somebody's number may stand there.
pub fn write(night: &Night, assembly: &Assembly, output: &Output) -> Result<()> {
    let domain = domain(&night.master);
    let requests = with_answers(night, assembly);
    // Entries of one block at a time are held: their names are their own.
    let blocks = requests.chunks(REQUESTS_AT_A_TIME).map(|block| entries(block, &domain, &night.catalog));
    write_table(ENTRIES, columns, blocks, output)
}

fn entries<'a>(requests: &[OfRequest<'a>], domain: &DomainKey, catalog: &Catalog) -> Vec<Entry<'a>> {
    requests.par_iter().map(|(request, answers)| entry(request, answers, domain, catalog)).collect()
}

/// A request and the answers to its lines.
type OfRequest<'a> = (&'a CheckedRequest, &'a [Option<Answer>]);

fn with_answers<'a>(night: &'a Night, assembly: &'a Assembly) -> Vec<OfRequest<'a>> {
    let mut rest = assembly.answers.as_slice();
    let mut next = |request: &'a CheckedRequest| {
        let (answers, after) = rest.split_at(request.lines.len().min(rest.len()));
        rest = after;
        (request, answers)
    };
    night.checked.requests.iter().map(&mut next).collect()
}

fn entry<'a>(
    request: &'a CheckedRequest,
    answers: &[Option<Answer>],
    domain: &DomainKey,
    catalog: &Catalog,
) -> Entry<'a> {
    let name = |id: &ieum_model::request::SubjectId| {
        let space = space_of(&id.kind);
        canonical(space, &id.value).map(|key| name_of(domain, space, &key))
    };
    // What is not in the catalog is refused; nothing else has to be looked up.
    let is_refused = request.refusal.is_some();
    let dataset = |line: &'a CheckedLine, answer: Answer| {
        let unclear = is_refused || answer.reason == Some(Reason::R05);
        let unknown = unclear && !catalog.datasets.contains_key(&*line.document);
        if unknown { "" } else { &*line.document }
    };
    let answered = request.lines.iter().zip(answers).filter_map(|(line, answer)| Some((line, (*answer)?)));
    let documents: Vec<(&CheckedLine, &str, Answer)> =
        answered.map(|(line, answer)| (line, dataset(line, answer), answer)).collect();
    let outcomes: Vec<_> = documents.iter().map(|(.., answer)| answer.outcome).collect();
    let recipient = Some(&*request.recipient).filter(|code| !is_refused || catalog.recipients.contains_key(*code));
    let service = request.service.as_deref().filter(|code| !is_refused || catalog.services.contains_key(*code));
    let without_lines = request.lines.is_empty().then_some(Reason::R05);
    Entry {
        request,
        recipient: recipient.unwrap_or_default(),
        service,
        subjects: request.subject_ids.iter().filter_map(name).collect(),
        standing: standing(request.refusal.is_some(), &outcomes),
        reason: request.refusal.map_or(without_lines, |(_, reason)| reason),
        documents,
    }
}

/// A column's name, whether it may be null, and its text of a row.
type TextColumn<R> = (&'static str, bool, for<'r> fn(&'r R) -> Option<&'r str>);

fn columns(entries: &[Entry<'_>]) -> Vec<Column> {
    let texts: [TextColumn<Entry<'_>>; 7] = [
        ("request_id", false, |entry| Some(&entry.request.request_id)),
        ("recipient", false, |entry| Some(entry.recipient)),
        ("service", true, |entry| entry.service),
        ("purpose", false, |entry| Some(&entry.request.purpose)),
        ("legal_basis", false, |entry| Some(&entry.request.legal_basis)),
        ("standing", false, |entry| Some(entry.standing.code())),
        ("reason", true, |entry| entry.reason.map(Reason::code)),
    ];
    let of_requests = || {
        texts
            .into_par_iter()
            .map(|(name, nullable, value)| (name, nullable, text_array(entries.iter().map(value))))
            .collect()
    };
    let (mut columns, documents): (Vec<Column>, ArrayRef) = rayon::join(of_requests, || documents(entries));
    columns.insert(1, ("subjects", false, subjects(entries)));
    columns.push(("documents", false, documents));
    columns
}

fn list(field: Field, lengths: impl Iterator<Item = usize>, values: ArrayRef) -> ArrayRef {
    Arc::new(ListArray::new(Arc::new(field), OffsetBuffer::from_lengths(lengths), values, None))
}

fn subjects(entries: &[Entry<'_>]) -> ArrayRef {
    let names: StringArray = entries.iter().flat_map(|entry| &entry.subjects).map(Some).collect();
    let lengths = entries.iter().map(|entry| entry.subjects.len());
    list(Field::new("item", DataType::Utf8, false), lengths, Arc::new(names))
}

/// A document line: its dataset, its answer, its items and those withheld, as text.
type Line<'a> = (&'a str, Answer, &'a str, Option<&'a str>);

fn documents(entries: &[Entry<'_>]) -> ArrayRef {
    let answered = || entries.iter().flat_map(|entry| &entry.documents);
    // Requests that ask the same share their lists.
    let mut said: FxHashMap<*const CheckedLine, (String, Option<String>)> = FxHashMap::default();
    for (line, ..) in answered() {
        said.entry(std::ptr::from_ref(*line)).or_insert_with(|| (line.items.join(","), withheld(line)));
    }
    let mut lines: Vec<Line<'_>> = Vec::new();
    for (line, dataset, answer) in answered() {
        let (items, withheld) = &said[&std::ptr::from_ref(*line)];
        lines.push((dataset, *answer, items, withheld.as_deref()));
    }
    let texts: [TextColumn<Line<'_>>; 5] = [
        ("dataset", false, |(dataset, ..)| Some(dataset)),
        ("items", false, |(.., items, _)| Some(items)),
        ("withheld", true, |(.., withheld)| *withheld),
        ("outcome", false, |(_, answer, ..)| Some(answer.outcome.code())),
        ("reason", true, |(_, answer, ..)| answer.reason.map(Reason::code)),
    ];
    let mut columns: Vec<Column> = texts
        .into_par_iter()
        .map(|(name, nullable, value)| (name, nullable, text_array(lines.iter().map(value))))
        .collect();
    let records: UInt64Array = lines.iter().map(|(_, answer, ..)| u64::from(answer.records)).collect();
    columns.push(("records", false, Arc::new(records)));
    let fields: Fields =
        columns.iter().map(|(name, nullable, array)| Field::new(*name, array.data_type().clone(), *nullable)).collect();
    let arrays = columns.into_iter().map(|(.., array)| array).collect();
    let structs = StructArray::new(fields.clone(), arrays, None);
    let lengths = entries.iter().map(|entry| entry.documents.len());
    list(Field::new("item", DataType::Struct(fields), false), lengths, Arc::new(structs))
}

/// Items that were asked for and may not be delivered, each with its reason.
fn withheld(line: &CheckedLine) -> Option<String> {
    let each = line.withheld.iter().map(|(item, reason)| format!("{item}:{}", reason.code()));
    (!line.withheld.is_empty()).then(|| each.collect::<Vec<_>>().join(","))
}
