//! A slow, plain engine to compare with: nested loops over text rows, no Arrow, no DataFusion, no shards.
//!
//! Shares with the engine what is decided before a row is read (the catalog and the checked requests) and the list of
//! bridges; ways, keys, types, order and outcomes are worked out here once more.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use ieum_core::reach::Bridge;
use ieum_model::catalog::Catalog;
use ieum_model::check::{CheckedLine, CheckedNight, CheckedRequest};
use ieum_model::dataset::{Dataset, ItemType};
use ieum_model::outcome::{Outcome, Reason};
use serde_json::{Value, json};

/// Cells of a row by column: text as the holder means it, quotes and delimiters taken off.
pub type Row = BTreeMap<String, String>;

/// Keys by key space.
type Keys = BTreeMap<String, BTreeSet<String>>;

/// The answer to a document line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Dataset code.
    pub dataset: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Why, where the outcome has a reason.
    pub reason: Option<Reason>,
    /// Records, as they stand in the bundle.
    pub records: Vec<Value>,
}

/// A value of a record. The order of the variants and values is the order of records: absent first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Cell {
    Null,
    Number(i64),
    Text(String),
    List(Vec<Cell>),
}

/// A night without machinery.
pub struct Reference<'a> {
    /// The catalog.
    pub catalog: &'a Catalog,
    /// The checked requests.
    pub checked: &'a CheckedNight,
    /// Rows by dataset code; a dataset that is not in here was not delivered.
    pub exports: &'a BTreeMap<String, Vec<Row>>,
    /// Bridges of the catalog.
    pub bridges: &'a [Bridge],
}

/// Where a line looks: key column, its keys, the datasets of the bridges that led to them.
struct Search {
    column: String,
    keys: BTreeSet<String>,
    through: Vec<String>,
    /// A row on the way here could not be read.
    spoilt: bool,
}

/// What a request reaches.
#[derive(Default)]
struct Reach {
    /// The datasets on the way to each key space.
    ways: BTreeMap<String, Vec<String>>,
    keys: Keys,
    /// Key spaces on whose way a row could not be read.
    spoilt: BTreeSet<String>,
}

/// What is read of a dataset by one key column for all lines together: a row that cannot be read is nobody's, but where
/// it stands is known.
#[derive(Default)]
struct Asked {
    keys: BTreeSet<String>,
    items: BTreeSet<String>,
}

/// By dataset and key column.
type AskedOf = BTreeMap<(String, String), Asked>;

impl Reference<'_> {
    /// Answers by request and line; a fallback line that was not needed is left out.
    pub fn answers(&self) -> Vec<Vec<Line>> {
        // What is read by keys that requests name decides which keys a bridge gives.
        let asked = self.asked(&self.asked(&AskedOf::new()));
        let broken = self.broken(&asked);
        self.checked.requests.iter().map(|request| self.request(request, &asked, &broken)).collect()
    }

    fn request(&self, request: &CheckedRequest, asked: &AskedOf, broken: &BTreeSet<String>) -> Vec<Line> {
        let mut answers: Vec<Line> = Vec::new();
        let mut not_needed: BTreeSet<&str> = BTreeSet::new();
        for line in request.lines.iter() {
            let of = line.fallback_of.as_deref();
            let primary: Vec<&Line> = answers.iter().filter(|answer| Some(answer.dataset.as_str()) == of).collect();
            let vain = [Outcome::NotFound, Outcome::NotReachable, Outcome::Ambiguous];
            let asked_in_vain = primary.iter().all(|answer| vain.contains(&answer.outcome));
            if asked_in_vain && !of.is_some_and(|of| not_needed.contains(of)) {
                answers.push(self.line(request, line, asked, broken));
            } else if let Some(late) = primary.iter().find(|answer| answer.outcome == Outcome::Delayed) {
                let (outcome, reason) = (late.outcome, late.reason);
                answers.push(Line { dataset: line.document.to_string(), outcome, reason, records: Vec::new() });
            } else {
                not_needed.insert(&line.document);
            }
        }
        answers
    }

    fn line(&self, request: &CheckedRequest, line: &CheckedLine, asked: &AskedOf, broken: &BTreeSet<String>) -> Line {
        let answer = |(outcome, reason), records| Line { dataset: line.document.to_string(), outcome, reason, records };
        let (dataset, search) = match self.search(request, line, asked) {
            Ok(found) => found,
            Err(decided) => return answer(decided, Vec::new()),
        };
        if std::iter::once(&dataset.code).chain(&search.through).any(|code| broken.contains(code)) {
            return answer((Outcome::Delayed, Some(Reason::ContractBroken)), Vec::new());
        }
        match (search.keys.is_empty(), search.spoilt) {
            (true, true) => return answer((Outcome::Delayed, Some(Reason::ContractBroken)), Vec::new()),
            (true, false) => return answer((Outcome::NotReachable, Some(Reason::NotReachable)), Vec::new()),
            (false, _) => {}
        }
        let declared = dataset.record_order.iter().filter(|item| line.items.contains(item));
        let rest: BTreeSet<&String> = line.items.iter().filter(|item| !dataset.record_order.contains(item)).collect();
        let order: Vec<&String> = declared.chain(rest).collect();
        let together = &asked[&(dataset.code.clone(), search.column.clone())];
        let found = || matching(self.rows(dataset), dataset, &search.column, &search.keys);
        let spoilt = search.spoilt || found().any(|row| !is_readable(dataset, &together.items, row));
        let mut records: Vec<Vec<Cell>> = found()
            .filter(|row| is_readable(dataset, &together.items, row))
            .filter_map(|row| order.iter().map(|item| cell(dataset, item, row)).collect())
            .collect();
        records.sort();
        let record = |cells: Vec<Cell>| -> Value {
            order.iter().zip(cells).map(|(item, cell)| ((*item).clone(), value(cell))).collect()
        };
        let decided = match (records.is_empty(), spoilt, line.withheld.is_empty()) {
            (true, true, _) => (Outcome::Delayed, Some(Reason::ContractBroken)),
            (false, true, _) => (Outcome::Partial, Some(Reason::ContractBroken)),
            (true, false, _) => (Outcome::NotFound, Some(Reason::NotFound)),
            (false, false, false) => (Outcome::Partial, Some(Reason::R03)),
            (false, false, true) => (Outcome::Provided, None),
        };
        answer(decided, records.into_iter().map(record).collect())
    }

    fn rows(&self, dataset: &Dataset) -> &[Row] {
        self.exports.get(&dataset.code).map(Vec::as_slice).unwrap_or_default()
    }

    /// Where to look for a line's records, or its answer where nothing is to be looked for.
    fn search(
        &self,
        request: &CheckedRequest,
        line: &CheckedLine,
        asked: &AskedOf,
    ) -> Result<(&Dataset, Search), (Outcome, Option<Reason>)> {
        if let Some(decided) = line.decided {
            return Err(decided);
        }
        let dataset = self.catalog.datasets.get(&*line.document).ok_or((Outcome::Refused, Some(Reason::R05)))?;
        let reach = self.reach(request, asked);
        let entrances = dataset.keys().filter_map(|key| Some((key, reach.ways.get(&key.space)?)));
        let (key, way) =
            entrances.min_by_key(|(_, way)| way.len()).ok_or((Outcome::NotReachable, Some(Reason::NotReachable)))?;
        if way.iter().chain([&dataset.code]).any(|code| !self.exports.contains_key(code)) {
            return Err((Outcome::Delayed, Some(Reason::HolderMissing)));
        }
        if people(request).len() > 1 {
            return Err((Outcome::Ambiguous, Some(Reason::Ambiguous)));
        }
        let keys = reach.keys.get(&key.space).cloned().unwrap_or_default();
        let spoilt = reach.spoilt.contains(&key.space);
        Ok((dataset, Search { column: key.item.clone(), keys, through: way.clone(), spoilt }))
    }

    /// Every key space that the request reaches, the datasets on the way there, and its keys in it.
    fn reach(&self, request: &CheckedRequest, asked: &AskedOf) -> Reach {
        let (mut keys, mut spoilt) = (Keys::new(), BTreeSet::new());
        for id in request.subject_ids.iter() {
            let space = space(&id.kind);
            keys.entry(space.to_owned()).or_default().extend(canonical(space, &id.value));
        }
        keys.retain(|_, keys| !keys.is_empty());
        let mut ways: BTreeMap<String, Vec<String>> = keys.keys().map(|space| (space.clone(), Vec::new())).collect();
        while let Some(bridge) =
            self.bridges.iter().find(|b| ways.contains_key(&b.from_space) && !ways.contains_key(&b.to_space))
        {
            let mut way = ways[&bridge.from_space].clone();
            way.push(bridge.dataset.clone());
            ways.insert(bridge.to_space.clone(), way);
            let from = keys.get(&bridge.from_space).cloned().unwrap_or_default();
            let dataset = &self.catalog.datasets[&bridge.dataset];
            let nothing = Asked::default();
            let together = asked.get(&(bridge.dataset.clone(), bridge.from.clone())).unwrap_or(&nothing);
            let found = || matching(self.rows(dataset), dataset, &bridge.from, &from);
            if spoilt.contains(&bridge.from_space) || found().any(|row| !is_readable(dataset, &together.items, row)) {
                spoilt.insert(bridge.to_space.clone());
            }
            let led_to = found()
                .filter(|row| is_readable(dataset, &together.items, row))
                .filter_map(|row| canonical(&bridge.to_space, row.get(&bridge.to)?))
                .collect();
            keys.insert(bridge.to_space.clone(), led_to);
        }
        Reach { ways, keys, spoilt }
    }

    /// What is read where bridges give what they give when `known` is read.
    fn asked(&self, known: &AskedOf) -> AskedOf {
        let mut together = AskedOf::new();
        for request in &self.checked.requests {
            for line in request.lines.iter() {
                let Ok((dataset, search)) = self.search(request, line, known) else { continue };
                if !search.keys.is_empty() {
                    let asked = together.entry((dataset.code.clone(), search.column)).or_default();
                    asked.keys.extend(search.keys);
                    asked.items.extend(line.items.iter().cloned());
                }
                // A bridge is walked by the plan that reads its dataset by the same key.
                for bridge in self.bridges.iter().filter(|bridge| search.through.contains(&bridge.dataset)) {
                    let keys = self.reach(request, known).keys.remove(&bridge.from_space).unwrap_or_default();
                    together.entry((bridge.dataset.clone(), bridge.from.clone())).or_default().keys.extend(keys);
                }
            }
        }
        together
    }

    /// Datasets with more unreadable rows than their contract allows.
    fn broken(&self, asked: &AskedOf) -> BTreeSet<String> {
        let is_broken = |((code, column), asked): &(&(String, String), &Asked)| {
            let dataset = &self.catalog.datasets[code];
            let allowed = dataset.export.as_ref().map_or(0.0, |export| export.max_reject_ratio);
            let rows = self.rows(dataset);
            let wanted = matching(rows, dataset, column, &asked.keys);
            let unreadable = wanted.filter(|row| !is_readable(dataset, &asked.items, row)).count();
            unreadable as f64 / rows.len().max(1) as f64 > allowed
        };
        asked.iter().filter(is_broken).map(|((code, _), _)| code.clone()).collect()
    }
}

/// The rows whose key column holds one of the keys.
fn matching<'a>(
    rows: &'a [Row],
    dataset: &'a Dataset,
    column: &'a str,
    keys: &'a BTreeSet<String>,
) -> impl Iterator<Item = &'a Row> {
    let space = dataset.keys().find(|key| key.item == column).map_or("", |key| key.space.as_str());
    rows.iter()
        .filter(move |row| row.get(column).and_then(|raw| canonical(space, raw)).is_some_and(|key| keys.contains(&key)))
}

/// The people a request names; the catalogs here have no register of changed numbers.
fn people(request: &CheckedRequest) -> BTreeSet<String> {
    let numbers = request.subject_ids.iter().filter(|id| space(&id.kind) == "person");
    numbers.filter_map(|id| canonical("person", &id.value)).collect()
}

fn is_readable(dataset: &Dataset, items: &BTreeSet<String>, row: &Row) -> bool {
    items.iter().all(|item| cell(dataset, item, row).is_some())
}

fn space(kind: &str) -> &str {
    match kind {
        "rrno" | "frno" => "person",
        "brno" => "business",
        "crno" => "corporation",
        other => other,
    }
}

/// The key in one spelling; nothing for a blank one.
fn canonical(space: &str, raw: &str) -> Option<String> {
    let key: String = match space {
        "person" | "business" | "corporation" => raw.chars().filter(|c| *c != '-' && !c.is_whitespace()).collect(),
        _ => raw.trim().to_owned(),
    };
    (!key.is_empty()).then_some(key)
}

/// The value of an item in a row; nothing if it cannot be read.
fn cell(dataset: &Dataset, item: &str, row: &Row) -> Option<Cell> {
    let text = row.get(item).map(String::as_str).unwrap_or_default();
    let declared = dataset.items.get(item)?;
    if text.trim().is_empty() {
        return Some(Cell::Null);
    }
    if !declared.list {
        return scalar(declared.item_type, text);
    }
    let separator = dataset.export.as_ref().map_or('|', |export| export.list_separator);
    let part = |part: &str| if part.is_empty() { Some(Cell::Null) } else { scalar(declared.item_type, part) };
    text.split(separator).map(str::trim).map(part).collect::<Option<Vec<Cell>>>().map(Cell::List)
}

fn scalar(item_type: ItemType, text: &str) -> Option<Cell> {
    match item_type {
        ItemType::Amt | ItemType::Int => text.trim().replace(',', "").parse().ok().map(Cell::Number),
        ItemType::Date => {
            let digits = text.trim().replace('-', "");
            if digits == "00000000" {
                return Some(Cell::Null);
            }
            NaiveDate::parse_from_str(&digits, "%Y%m%d").ok().map(|date| Cell::Text(date.to_string()))
        }
        _ => Some(Cell::Text(text.to_owned())),
    }
}

fn value(cell: Cell) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Number(number) => number.into(),
        Cell::Text(text) => text.into(),
        Cell::List(cells) => cells.into_iter().map(value).collect(),
    }
}

/// The `documents` of a bundle with these answers.
pub fn documents(lines: &[Line]) -> Value {
    let document = |line: &Line| {
        let mut document = json!({"outcome": line.outcome.code(), "records": line.records});
        if let Some(reason) = line.reason {
            document["reason"] = reason.code().into();
        }
        (line.dataset.clone(), document)
    };
    lines.iter().map(document).collect()
}
