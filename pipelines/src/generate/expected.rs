//! The exact answers to a generated night, written beside its data so that the output of any engine can be judged.
//!
//! They follow from what was generated: who has rows where, which faults were planted, what each request asks. Nothing of
//! the engine is asked.
//!
//! ```text
//!  requests ─► first pass:  who asks twice, which columns are read, whose totals fail
//!          └─► second pass: every document line: outcome, reason, number of records ─► expected/outcomes.parquet
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, UInt64Array};
use arrow::record_batch::RecordBatch;
use chrono::NaiveDate;
use ieum_model::dataset::{Dataset, ItemType, Sensitivity};
use ieum_model::error::{Error, Result};
use ieum_model::outcome::{Outcome, Reason};
use ieum_model::service::ConsentScope;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::people::Person;
use super::plan::{Plan, register};
use super::requests::{Asked, Fault, Night, blocks};
use super::strays::Strays;
use super::values::{Cell, Row};
use super::write::{Dirt, unwritable};

/// File of the answers below a generated night.
pub const FILE: &str = "expected/outcomes.parquet";

/// The answer to one document line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    request_id: String,
    dataset: String,
    outcome: Outcome,
    reason: Option<Reason>,
    records: u64,
}

/// One document line as asked: its items, whether some are withheld, and what it is a fallback of.
#[derive(Clone)]
struct Line<'a> {
    dataset: &'a Dataset,
    items: Vec<&'a str>,
    withheld: bool,
    fallback_of: Option<&'a str>,
    decided: Option<(Outcome, Option<Reason>)>,
}

/// How a request comes to a dataset's rows: by a key it names, over a mapping dataset, or not at all.
#[derive(Clone, Copy)]
enum Way<'a> {
    Named { key: &'a str, space: &'a str },
    Over { key: &'a str, bridge: &'a Bridge<'a> },
    Closed,
}

/// A mapping dataset that leads from a person's number to another key.
struct Bridge<'a> {
    dataset: &'a Dataset,
    from: &'a str,
    to: &'a str,
    space: &'a str,
}

/// Columns that are read, by dataset and key column.
type ColumnsRead = BTreeMap<(String, String), BTreeSet<String>>;

/// The identifiers of a subject in a key space, and whether a row that may hold one more could not be read.
#[derive(Default)]
struct Keys {
    keys: Vec<String>,
    unreadable: bool,
    /// A row that may hold one more may be anybody's.
    is_lost: bool,
}

/// Whether a row can be read. A ragged one is nobody's, but whoever's key is among its cells may have lost it.
enum Legible {
    Yes,
    KeyOnly,
    No,
}

/// What the whole night decides: found in a first pass over the requests.
#[derive(Default)]
struct Whole {
    /// The question's first request by its hash: date and number.
    first: FxHashMap<u64, (NaiveDate, u64)>,
    read: ColumnsRead,
    /// Holders whose totals fail, with the wave in which this is found out.
    failed: BTreeMap<String, u32>,
}

/// Judges every request of a night.
struct Judge<'a> {
    night: &'a Night<'a>,
    plans: FxHashMap<&'a str, &'a Plan>,
    bridges: Vec<Bridge<'a>>,
    strays: Strays<'a>,
}

/// Writes the answers to `night` below `out`.
///
/// # Errors
/// When the file cannot be written.
pub fn write(night: &Night<'_>, out: &Path) -> Result<()> {
    let judge = Judge::new(night);
    let whole = judge.whole();
    let path = out.join(FILE);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|error| unwritable(parent, error))?;
    }
    let file = File::create(&path).map_err(|error| unwritable(&path, error))?;
    let mut writer: Option<ArrowWriter<File>> = None;
    let mut file = Some(file);
    for block in blocks(night.requests).chain(std::iter::once(0..0)) {
        let answers: Vec<Vec<Answer>> = block.into_par_iter().map(|nth| judge.answers(nth, &whole)).collect();
        let batch = batch(answers.into_iter().flatten().collect())?;
        if let Some(file) = file.take() {
            let properties =
                WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
            let open = ArrowWriter::try_new(file, batch.schema(), Some(properties));
            writer = Some(open.map_err(|error| unwritable(&path, error))?);
        }
        if let Some(writer) = &mut writer {
            writer.write(&batch).map_err(|error| unwritable(&path, error))?;
        }
    }
    match writer.map(ArrowWriter::close) {
        Some(Err(error)) => Err(unwritable(&path, error)),
        _ => Ok(()),
    }
}

fn batch(answers: Vec<Answer>) -> Result<RecordBatch> {
    let text =
        |of: fn(&Answer) -> Option<&str>| -> ArrayRef { Arc::new(answers.iter().map(of).collect::<StringArray>()) };
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("request_id", text(|answer| Some(&answer.request_id)), false),
        ("dataset", text(|answer| Some(&answer.dataset)), false),
        ("outcome", text(|answer| Some(answer.outcome.code())), false),
        ("reason", text(|answer| answer.reason.map(Reason::code)), true),
        ("records", Arc::new(answers.iter().map(|answer| answer.records).collect::<UInt64Array>()), false),
    ];
    RecordBatch::try_from_iter_with_nullable(columns)
        .map_err(|error| Error::internal(format!("expected answers do not fit their schema: {error}")))
}

/// The mapping datasets by which a resident number leads to other key spaces.
fn bridges<'a>(night: &'a Night<'a>) -> Vec<Bridge<'a>> {
    let mut found: Vec<Bridge<'a>> = Vec::new();
    for dataset in night.catalog.datasets.values() {
        let is_person = |item: &str| dataset.keys().any(|key| key.item == item && key.space == "person");
        for map in dataset.maps.iter().filter(|map| map.space != "person" && is_person(&map.from)) {
            if found.iter().all(|bridge| bridge.space != map.space) {
                found.push(Bridge { dataset, from: &map.from, to: &map.to, space: &map.space });
            }
        }
    }
    found
}

impl<'a> Judge<'a> {
    fn new(night: &'a Night<'a>) -> Self {
        let plans = night.plans.iter().map(|plan| (plan.code.as_str(), plan)).collect();
        Self { night, plans, bridges: bridges(night), strays: Strays::of(night.plans, &night.population) }
    }

    fn plan(&self, dataset: &str) -> Option<&'a Plan> {
        self.plans.get(dataset).copied()
    }

    /// Why nothing at all is delivered, apart from being a repetition.
    fn refusal(asked: &Asked<'_>) -> Option<(Outcome, Option<Reason>)> {
        match asked.fault? {
            Fault::Withdrawn => Some((Outcome::Withdrawn, None)),
            Fault::Expired => Some((Outcome::Refused, Some(Reason::ConsentExpired))),
            Fault::Unverified => Some((Outcome::Refused, Some(Reason::R06))),
            Fault::RecipientType => Some((Outcome::Refused, Some(Reason::R08))),
            Fault::Duplicate | Fault::Unreachable | Fault::UnknownItem => None,
        }
    }

    /// The document lines of a request, as its service or it itself names them.
    fn lines(&self, asked: &Asked<'a>) -> Vec<Line<'a>> {
        let datasets = &self.night.catalog.datasets;
        let mut lines = Vec::new();
        if let Some(service) = asked.service {
            for line in service.documents.iter().filter(|line| line.when.is_none_or(|when| when == asked.applicant)) {
                let Some(dataset) = datasets.get(&line.dataset) else { continue };
                let names: Vec<&str> = match (&line.items, &line.view) {
                    (Some(items), _) => items.iter().map(String::as_str).collect(),
                    (None, Some(view)) => dataset.views.get(view).into_iter().flatten().map(String::as_str).collect(),
                    (None, None) => dataset.default_items(),
                };
                let left_out = |code: &str| {
                    line.exclude.iter().any(|name| dataset.item(name).is_some_and(|(excluded, _)| excluded == code))
                };
                let consented = match &asked.consented {
                    Some(documents) => documents.contains(&line.dataset.as_str()),
                    None => line.consent == ConsentScope::Bundle,
                };
                let mut made = self.line(dataset, &names, line.third_person_reason.is_some(), left_out);
                made.fallback_of = line.fallback_of.as_deref();
                // Without consent nobody looks at what may not be delivered.
                if !consented && matches!(made.decided, None | Some((_, Some(Reason::R03)))) {
                    made.decided = Some((Outcome::NoConsent, None));
                }
                lines.push(made);
            }
        }
        for (code, items) in &asked.documents {
            let Some(dataset) = datasets.get(*code) else { continue };
            let names = if items.is_empty() { dataset.default_items() } else { items.to_vec() };
            lines.push(self.line(dataset, &names, false, |_| false));
        }
        lines
    }

    fn line(&self, dataset: &'a Dataset, names: &[&str], reasoned: bool, left_out: impl Fn(&str) -> bool) -> Line<'a> {
        let refused = |reason| Some((Outcome::Refused, Some(reason)));
        let mut line = Line { dataset, items: Vec::new(), withheld: false, fallback_of: None, decided: None };
        for name in names {
            match dataset.item(name) {
                None => line.decided = refused(Reason::R05),
                Some((code, _)) if left_out(code) => {}
                Some((_, item)) if item.sensitivity == Sensitivity::T && !reasoned => line.withheld = true,
                Some((code, _)) => line.items.push(code),
            }
        }
        if !dataset.transferable {
            line.decided = refused(Reason::R02);
        } else if line.items.is_empty() && line.decided.is_none() {
            line.decided = refused(if line.withheld { Reason::R03 } else { Reason::R05 });
        }
        line
    }

    /// The key of the dataset that is nearest to what the request names.
    fn way(&'a self, asked: &Asked<'a>, dataset: &'a Dataset) -> Way<'a> {
        let named = |space: &str| space == "person" || asked.named.iter().any(|(of, _)| *of == space);
        if let Some(key) = dataset.keys().find(|key| named(&key.space)) {
            return Way::Named { key: &key.item, space: &key.space };
        }
        let over = dataset.keys().find_map(|key| {
            let bridge = self.bridges.iter().find(|bridge| bridge.space == key.space)?;
            Some(Way::Over { key: &key.item, bridge })
        });
        over.unwrap_or(Way::Closed)
    }

    /// The identifiers of a subject in a key space.
    fn keys(&self, asked: &Asked<'_>, person: &Person, way: Way<'_>, read: &ColumnsRead) -> Keys {
        match way {
            Way::Closed => Keys::default(),
            Way::Named { space: "person", .. } => Keys { keys: self.keys_of_person(person), ..Keys::default() },
            Way::Named { space, .. } => {
                let named = asked.named.iter().filter(|(of, _)| *of == space);
                Keys { keys: named.map(|(_, key)| key.clone()).collect(), ..Keys::default() }
            }
            Way::Over { bridge, .. } => {
                let mut found = Keys::default();
                let Some(plan) = self.plan(&bridge.dataset.code) else { return found };
                let read = read.get(&(bridge.dataset.code.clone(), bridge.from.to_owned()));
                let own = self.keys_of_person(person);
                let bridged = &bridge.dataset.code;
                found.unreadable = self.strays.hold(bridged, &own);
                found.is_lost = self.strays.anybodys(bridged, "person");
                for nth in 0..plan.rows(self.night.population.seed, person) {
                    match self.legible(plan, person, nth, read) {
                        Legible::Yes => {
                            if let Cell::Text(key) = self.cell(plan, bridge.to, person, nth) {
                                found.keys.push(key.into_owned());
                            }
                        }
                        Legible::KeyOnly => found.unreadable = true,
                        Legible::No => {}
                    }
                }
                found
            }
        }
    }

    /// The numbers of a person: one who changed it has two, where a register says so.
    fn keys_of_person(&self, person: &Person) -> Vec<String> {
        let former = person.former.iter().filter(|_| register(self.night.catalog).is_some());
        former.chain([&person.rrno]).cloned().collect()
    }

    fn cell(&self, plan: &Plan, code: &str, person: &Person, nth: u64) -> Cell {
        let row = Row { person, nth, stream: plan.stream(), former: plan.former };
        let column = plan.columns.iter().find(|column| column.code == code);
        column.map_or(Cell::Null, |column| self.night.population.cell(column, &row))
    }

    /// Why an export gives nothing, known before anything is read.
    fn missing(&self, dataset: &str) -> Option<Reason> {
        match self.plan(dataset) {
            Some(plan) if !plan.late => None,
            _ => Some(Reason::HolderMissing),
        }
    }

    /// What is known of a line before the exports are read.
    fn before(&'a self, asked: &Asked<'a>, line: &Line<'a>) -> Option<(Outcome, Option<Reason>)> {
        if line.decided.is_some() {
            return line.decided;
        }
        let way = self.way(asked, line.dataset);
        let over = match way {
            Way::Closed => return Some((Outcome::NotReachable, Some(Reason::NotReachable))),
            Way::Over { bridge, .. } => self.missing(&bridge.dataset.code),
            Way::Named { .. } => None,
        };
        over.or_else(|| self.missing(&line.dataset.code)).map(|reason| (Outcome::Delayed, Some(reason)))
    }

    /// One pass over all requests.
    fn whole(&'a self) -> Whole {
        let mut whole = Whole::default();
        for block in blocks(self.night.requests) {
            let questions: Vec<Option<(u64, NaiveDate, u64)>> = block
                .clone()
                .into_par_iter()
                .map(|nth| {
                    let asked = self.night.request(nth);
                    let counts = !asked.periodic && Self::refusal(&asked).is_none();
                    counts.then(|| (asked.question(), asked.requested_at, nth))
                })
                .collect();
            for (question, date, nth) in questions.into_iter().flatten() {
                let first = whole.first.entry(question).or_insert((date, nth));
                *first = (*first).min((date, nth));
            }
        }
        // What is read by keys that requests name decides which keys a bridge gives.
        for over in [false, true] {
            let mut more = ColumnsRead::new();
            for block in blocks(self.night.requests) {
                let known = &whole;
                let read: Vec<_> = block.into_par_iter().flat_map_iter(|nth| self.read(nth, known, over)).collect();
                for (source, items) in read {
                    more.entry(source).or_default().extend(items);
                }
            }
            for (source, items) in more {
                whole.read.entry(source).or_default().extend(items);
            }
        }
        for plan in self.night.plans.iter().filter(|plan| plan.wrong_trailer) {
            let sources = whole.read.keys().filter(|(dataset, _)| *dataset == plan.code);
            let holder = self.night.catalog.datasets.get(&plan.code).map(|dataset| dataset.holder.clone());
            for (wave, holder) in sources.map(|(_, key)| self.wave(&plan.code, key)).min().into_iter().zip(holder) {
                whole.failed.insert(holder, wave);
            }
        }
        whole
    }

    /// The wave in which a source is read: after its bridge, if a number has to be led to it.
    fn wave(&self, dataset: &str, key: &str) -> u32 {
        let dataset = self.night.catalog.datasets.get(dataset);
        let space = dataset.and_then(|d| d.keys().find(|of| of.item == key)).map_or("", |key| key.space.as_str());
        1 + u32::from(self.bridges.iter().any(|bridge| bridge.space == space))
    }

    /// What a request has read by keys that it names, or by keys that bridges gave: dataset and key column, and the
    /// columns.
    fn read(&'a self, nth: u64, whole: &Whole, over: bool) -> Vec<((String, String), Vec<String>)> {
        let asked = self.night.request(nth);
        if Self::refusal(&asked).is_some() || is_repeated(&asked, nth, &whole.first) {
            return Vec::new();
        }
        let person = self.night.population.person(asked.subject);
        let mut read = Vec::new();
        for line in self.lines(&asked).iter().filter(|line| self.before(&asked, line).is_none()) {
            let way = self.way(&asked, line.dataset);
            let (Way::Named { key, .. } | Way::Over { key, .. }) = way else { continue };
            if matches!(way, Way::Over { .. }) != over || self.keys(&asked, &person, way, &whole.read).keys.is_empty() {
                continue;
            }
            let items = line.items.iter().map(|item| (*item).to_owned()).chain([key.to_owned()]);
            read.push(((line.dataset.code.clone(), key.to_owned()), items.collect()));
        }
        read
    }

    fn answers(&'a self, nth: u64, whole: &Whole) -> Vec<Answer> {
        let asked = self.night.request(nth);
        let refusal = Self::refusal(&asked)
            .or_else(|| is_repeated(&asked, nth, &whole.first).then_some((Outcome::Refused, Some(Reason::Duplicate))));
        let person = self.night.population.person(asked.subject);
        let (mut answers, mut not_needed): (Vec<Answer>, BTreeSet<&str>) = (Vec::new(), BTreeSet::new());
        for line in self.lines(&asked) {
            // What stands in for a document that was not needed is not needed either.
            let stands_in = match line.fallback_of.is_some_and(|of| not_needed.contains(of)) {
                true => StandsIn::NotNeeded,
                false => stands_in(&line, &answers),
            };
            let (outcome, reason, records) = match (stands_in, refusal) {
                (StandsIn::NotNeeded, _) => {
                    not_needed.insert(&line.dataset.code);
                    continue;
                }
                (_, Some((outcome, reason))) => (outcome, reason, 0),
                (StandsIn::Waits(reason), None) => (Outcome::Delayed, reason, 0),
                (StandsIn::Asked, None) => self.answer(&asked, &person, &line, whole),
            };
            let request_id = self.night.request_id(nth);
            answers.push(Answer { request_id, dataset: line.dataset.code.clone(), outcome, reason, records });
        }
        answers
    }

    fn answer(
        &'a self,
        asked: &Asked<'a>,
        person: &Person,
        line: &Line<'a>,
        whole: &Whole,
    ) -> (Outcome, Option<Reason>, u64) {
        if let Some((outcome, reason)) = self.before(asked, line) {
            return (outcome, reason, 0);
        }
        let way = self.way(asked, line.dataset);
        let (Way::Named { key, .. } | Way::Over { key, .. }) = way else {
            return (Outcome::NotReachable, Some(Reason::NotReachable), 0);
        };
        let (wave, failed) = (self.wave(&line.dataset.code, key), |holder: &str| whole.failed.get(holder).copied());
        let delayed = (Outcome::Delayed, Some(Reason::ControlTotals), 0);
        // What fails in an earlier wave, the holder's own or its bridge, is known before keys are looked up.
        let over = if let Way::Over { bridge, .. } = way { failed(&bridge.dataset.holder) } else { None };
        if over.is_some() || failed(&line.dataset.holder).is_some_and(|at| at < wave) {
            return delayed;
        }
        let Keys { keys, unreadable, is_lost } = self.keys(asked, person, way, &whole.read);
        let space = line.dataset.keys().find(|of| of.item == key).map_or("", |of| of.space.as_str());
        match (keys.is_empty(), unreadable || is_lost) {
            (true, true) => return (Outcome::Delayed, Some(Reason::ContractBroken), 0),
            (true, false) => return (Outcome::NotReachable, Some(Reason::NotReachable), 0),
            (false, _) => {}
        }
        if failed(&line.dataset.holder).is_some() {
            return delayed;
        }
        let source = (line.dataset.code.clone(), key.to_owned());
        let (records, spoilt) = match (self.plan(&line.dataset.code), whole.read.get(&source)) {
            (Some(plan), Some(read)) => self.records(plan, person, key, &keys, read),
            _ => (0, false),
        };
        match (records, unreadable || spoilt, line.withheld) {
            (0, true, _) => (Outcome::Delayed, Some(Reason::ContractBroken), 0),
            (_, true, _) => (Outcome::Partial, Some(Reason::ContractBroken), records),
            (0, false, _) if is_lost || self.strays.anybodys(&line.dataset.code, space) => {
                (Outcome::Delayed, Some(Reason::ContractBroken), 0)
            }
            (0, false, _) => (Outcome::NotFound, Some(Reason::NotFound), 0),
            (_, false, true) => (Outcome::Partial, Some(Reason::R03), records),
            (_, false, false) => (Outcome::Provided, None, records),
        }
    }

    /// The readable rows of a person that one of the keys finds, and whether there is or may be one that cannot be read.
    fn records(
        &self,
        plan: &Plan,
        person: &Person,
        key: &str,
        keys: &[String],
        read: &BTreeSet<String>,
    ) -> (u64, bool) {
        let (mut records, mut spoilt) = (0, self.strays.hold(&plan.code, keys));
        for nth in 0..plan.rows(self.night.population.seed, person) {
            let Cell::Text(value) = self.cell(plan, key, person, nth) else { continue };
            if keys.iter().any(|key| **key == *value) {
                match self.legible(plan, person, nth, Some(read)) {
                    Legible::Yes => records += 1,
                    Legible::KeyOnly => spoilt = true,
                    Legible::No => {}
                }
            }
        }
        (records, spoilt)
    }

    /// A row with a broken date is only unreadable where its first date is read.
    fn legible(&self, plan: &Plan, person: &Person, nth: u64, read: Option<&BTreeSet<String>>) -> Legible {
        match super::dirt(plan, self.night.population.seed, person.serial, nth) {
            Dirt::Clean => Legible::Yes,
            Dirt::Ragged => Legible::No,
            Dirt::BadDate => {
                let columns = plan.order.iter().map(|(at, _)| &plan.columns[*at]);
                let dates = columns.filter(|column| column.item_type == ItemType::Date && !column.list);
                let is_given = |code: &str| matches!(self.cell(plan, code, person, nth), Cell::Date(_));
                let first = dates.map(|column| column.code.as_str()).find(|code| is_given(code));
                let spoils = |code| read.is_some_and(|read| read.contains(code));
                if first.is_some_and(spoils) { Legible::KeyOnly } else { Legible::Yes }
            }
        }
    }
}

fn stands_in(line: &Line<'_>, answers: &[Answer]) -> StandsIn {
    let Some(of) = line.fallback_of else { return StandsIn::Asked };
    let mut reason = None;
    let mut needed = true;
    for answer in answers.iter().filter(|answer| answer.dataset == of) {
        needed &= matches!(answer.outcome, Outcome::NotFound | Outcome::NotReachable);
        if answer.outcome == Outcome::Delayed {
            reason = answer.reason;
        }
    }
    match (needed, reason) {
        (true, _) => StandsIn::Asked,
        (false, Some(_)) => StandsIn::Waits(reason),
        (false, None) => StandsIn::NotNeeded,
    }
}

/// Whether a line that stands in for another document is asked.
enum StandsIn {
    Asked,
    NotNeeded,
    Waits(Option<Reason>),
}

/// Whether the same question was asked before; of the same day, the first in the file counts.
fn is_repeated(asked: &Asked<'_>, nth: u64, first: &FxHashMap<u64, (NaiveDate, u64)>) -> bool {
    !asked.periodic && first.get(&asked.question()).is_some_and(|of| *of != (asked.requested_at, nth))
}
