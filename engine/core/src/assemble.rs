//! assemble: shards of requests, one after the other; inside a shard, requests in parallel on rayon.

use std::collections::BTreeMap;

use ieum_model::check::CheckedRequest;
use ieum_model::error::Result;
use ieum_model::outcome::{Outcome, Reason};
use ieum_privacy::{DomainKey, KeyDomain};
use rayon::prelude::*;

use crate::bundle::{self, Answer, Bundle, Document, DocumentRows, RunHead};
use crate::bundle_files::BundleFiles;
use crate::course::{Course, Courses, Source};
use crate::input::Night;
use crate::journal::{Entry, Progress};
use crate::keys::Space;
use crate::manifest::RequestCounts;
use crate::seal::{SealRecord, Sealing};
use crate::sink::Output;
use crate::stage::Stage;
use crate::steps::reached;

/// The answers of a night.
pub struct Assembly {
    /// Answers by line ordinal; `None` for a fallback line that was not needed.
    pub answers: Vec<Option<Answer>>,
    /// Counts of requests.
    pub requests: RequestCounts,
    /// What the manifest says of the seal.
    pub seal: Option<SealRecord>,
}

/// Assembles and writes every bundle, in parallel on the rayon pool it is called in. Shards that an earlier attempt wrote are
/// made again from the stage, not read again from their exports; `output` leaves their bytes as they stand.
///
/// # Errors
/// When the stage cannot be read or the output not written.
pub fn assemble(
    night: &Night,
    courses: &Courses,
    stage: &Stage,
    plans: &BTreeMap<String, String>,
    progress: &Progress,
    output: &mut Output,
) -> Result<Assembly> {
    let domains = recipient_keys(night);
    let head = RunHead {
        as_of: night.as_of.to_string(),
        key_id: night.master.key_id().to_owned(),
        key_epoch: night.master.epoch(),
    };
    let mut files = BundleFiles::begin(night, head, output)?;
    let mut sealing = Sealing::begin(night, courses, plans);
    let mut answers = Vec::with_capacity(courses.lines.len());
    let mut counts = RequestCounts::default();
    let size = night.settings.shard_requests.max(1) as usize;
    let missing = courses.registers_missing(night);
    let shards = u32::try_from(night.checked.requests.len().div_ceil(size)).unwrap_or(u32::MAX);
    progress.note(&Entry::Assembling { shards })?;
    for (shard, requests) in (0u32..).zip(night.checked.requests.chunks(size)) {
        let rows = read_shard(night, stage, courses, shard)?;
        let first = shard as usize * size;
        let make = |(offset, request)| one(courses, &rows, &missing, &domains, first + offset, request);
        let made: Vec<Made<'_>> = requests.par_iter().enumerate().map(make).collect();
        let mut bundles = Vec::with_capacity(made.len());
        for (request, (lines, bundle)) in requests.iter().zip(made) {
            count(&mut counts, request, &lines);
            answers.extend(lines);
            bundles.extend(bundle);
        }
        let digests = files.write(&bundles, output)?;
        if let Some(sealing) = &mut sealing {
            sealing.add(&answers, requests, &bundles, digests, output)?;
        }
        reached("shard.written");
        progress.note(&Entry::Shard { number: shard, requests: requests.len() as u64 })?;
        reached("shard.kept");
    }
    files.finish(output)?;
    let seal = sealing.map(|sealing| sealing.finish(output)).transpose()?;
    reached("bundles.closed");
    Ok(Assembly { answers, requests: counts, seal })
}

fn recipient_keys(night: &Night) -> BTreeMap<&str, DomainKey> {
    let recipients = night.checked.requests.iter().map(|request| &*request.recipient);
    let mut keys = BTreeMap::new();
    for recipient in recipients {
        keys.entry(recipient).or_insert_with(|| night.master.derive(&KeyDomain::recipient(recipient)));
    }
    keys
}

/// The rows of every source in one shard, by source.
fn read_shard(night: &Night, stage: &Stage, courses: &Courses, shard: u32) -> Result<Vec<Option<DocumentRows>>> {
    let read = |source: &Source| {
        let dataset = night.catalog.datasets.get(&source.dataset);
        let order = dataset.map(|dataset| dataset.record_order.as_slice()).unwrap_or_default();
        let batch = stage.take_shard(&source.name(), shard, order)?;
        Ok(batch.map(DocumentRows::new))
    };
    courses.sources.par_iter().map(read).collect()
}

/// Answers of a request's lines, and its bundle unless the request is refused as a whole.
type Made<'a> = (Vec<Option<Answer>>, Option<Bundle<'a>>);

fn one<'a>(
    courses: &Courses,
    rows: &'a [Option<DocumentRows>],
    missing: &[(Space, Reason)],
    domains: &BTreeMap<&str, DomainKey>,
    ordinal: usize,
    request: &'a CheckedRequest,
) -> Made<'a> {
    let mut answers: Vec<Option<Answer>> = Vec::with_capacity(request.lines.len());
    let mut documents = Vec::with_capacity(request.lines.len());
    for (offset, line) in request.lines.iter().enumerate() {
        let number = courses.first_line[ordinal] + u32::try_from(offset).unwrap_or(u32::MAX);
        match line.fallback_of.as_deref().map_or(Fallback::Asked, |of| fallback(request, &answers, of)) {
            Fallback::Asked => {}
            Fallback::NotNeeded => {
                answers.push(None);
                continue;
            }
            Fallback::Waits(reason) => {
                let answer = Answer { outcome: Outcome::Delayed, reason, records: 0 };
                answers.push(Some(answer));
                let name = bundle::document_name(request, offset);
                documents.push(Document { name, items: &line.items, answer, rows: None });
                continue;
            }
        }
        let (answer, rows) = match (&courses.lines[number as usize], line.decided) {
            // Before any export is read, or taken back after that.
            (_, Some((outcome, reason))) => (Answer { outcome, reason, records: 0 }, None),
            (Course::Decided(outcome, reason), None) => {
                (Answer { outcome: *outcome, reason: *reason, records: 0 }, None)
            }
            (Course::Read(source), None) => {
                let found = rows[*source as usize].as_ref().map(|rows| (rows, rows.range(number)));
                let records = found.as_ref().map_or(0, |(_, range)| range.len());
                let answer =
                    answer(records, line.withheld.first().map(|(_, reason)| *reason), courses.is_unreadable(number));
                (answer, found)
            }
        };
        let answer = match answer.outcome {
            Outcome::NotFound | Outcome::NotReachable => {
                let request = u32::try_from(ordinal).unwrap_or(u32::MAX);
                let lost = courses.may_have_lost(request, number).then_some(Reason::ContractBroken);
                waits(answer, lost.or_else(|| courses.may_be_renamed(request, number, missing)))
            }
            _ => answer,
        };
        answers.push(Some(answer));
        documents.push(Document { name: bundle::document_name(request, offset), items: &line.items, answer, rows });
    }
    if request.refusal.is_some() {
        return (answers, None);
    }
    let subject = subject(domains, &request.recipient, courses, ordinal);
    (answers, Some(Bundle { request, subject, documents }))
}

/// Whether a line that stands in for another document is asked.
enum Fallback {
    /// The other document was asked for in vain.
    Asked,
    /// It was found, or the answer to it is final.
    NotNeeded,
    /// It may still come: the fallback waits with it.
    Waits(Option<Reason>),
}

/// The fallback of `dataset` is asked where that could not confirm anything ("only if it cannot be confirmed from another
/// document"), or where the request has no such line.
fn fallback(request: &CheckedRequest, answers: &[Option<Answer>], dataset: &str) -> Fallback {
    let earlier = || request.lines.iter().zip(answers).filter(|(line, _)| *line.document == *dataset);
    let in_vain = |o: Outcome| matches!(o, Outcome::NotFound | Outcome::NotReachable | Outcome::Ambiguous);
    if earlier().all(|(_, answer)| answer.is_some_and(|answer| in_vain(answer.outcome))) {
        return Fallback::Asked;
    }
    let delayed = |answer: &Answer| answer.outcome == Outcome::Delayed;
    match earlier().filter_map(|(_, answer)| *answer).find(delayed) {
        Some(answer) => Fallback::Waits(answer.reason),
        None => Fallback::NotNeeded,
    }
}

/// What a row that could not be read might have said is not known: without it a line is not answered in full.
fn answer(records: usize, withheld: Option<Reason>, unreadable: bool) -> Answer {
    let (outcome, reason) = match (records, unreadable, withheld) {
        (0, true, _) => (Outcome::Delayed, Some(Reason::ContractBroken)),
        (_, true, _) => (Outcome::Partial, Some(Reason::ContractBroken)),
        (0, false, _) => (Outcome::NotFound, Some(Reason::NotFound)),
        (_, false, Some(reason)) => (Outcome::Partial, Some(reason)),
        (_, false, None) => (Outcome::Provided, None),
    };
    Answer { outcome, reason, records: u32::try_from(records).unwrap_or(u32::MAX) }
}

/// What was not found may still come, where there is a reason why it may not have been seen.
fn waits(answer: Answer, unseen: Option<Reason>) -> Answer {
    match unseen {
        Some(reason) => Answer { outcome: Outcome::Delayed, reason: Some(reason), records: 0 },
        None => answer,
    }
}

/// The recipient's name for the subject, made once per request.
fn subject(domains: &BTreeMap<&str, DomainKey>, recipient: &str, courses: &Courses, ordinal: usize) -> Option<String> {
    let (space, key) = courses.subject(u32::try_from(ordinal).ok()?)?;
    let pseudonym = domains.get(recipient)?.pseudonym(space, key.as_bytes());
    String::from_utf8(ieum_privacy::encode(&pseudonym).to_vec()).ok()
}

fn count(counts: &mut RequestCounts, request: &CheckedRequest, answers: &[Option<Answer>]) {
    let outcomes: Vec<Outcome> = answers.iter().flatten().map(|answer| answer.outcome).collect();
    counts.add(standing(request.refusal.is_some(), &outcomes));
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Delivered,
    Partial,
    Refused,
    Delayed,
}

impl Standing {
    /// Its word in records.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Partial => "partial",
            Self::Refused => "refused",
            Self::Delayed => "delayed",
        }
    }
}

/// Refused: nothing may be delivered. Delayed: nothing is, and something is still to come. Delivered: every line has its
/// final answer in full. Partial: the rest.
pub(crate) fn standing(refused: bool, outcomes: &[Outcome]) -> Standing {
    let closed = |o: &Outcome| matches!(o, Outcome::Refused | Outcome::Withdrawn | Outcome::NoConsent);
    let full =
        |o: &Outcome| matches!(o, Outcome::Provided | Outcome::NotFound | Outcome::Ambiguous | Outcome::NotReachable);
    let carries = outcomes.iter().any(|o| matches!(o, Outcome::Provided | Outcome::Partial));
    if refused || outcomes.iter().all(closed) {
        Standing::Refused
    } else if outcomes.iter().all(full) {
        Standing::Delivered
    } else if !carries && outcomes.contains(&Outcome::Delayed) {
        Standing::Delayed
    } else {
        Standing::Partial
    }
}
