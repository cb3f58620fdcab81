//! The course of every document line: answered already, or read by which plan in which wave.
//!
//! ```text
//!  wave 1   sources whose keys the requests name ──► rows, and keys of the next space where a bridge is wanted
//!  wave 2   sources whose keys wave 1 gave ────────► …
//! ```

use std::collections::{BTreeMap, BTreeSet};

use ieum_model::check::CheckedRequest;
use ieum_model::dataset::Dataset;
use ieum_model::outcome::{Outcome, Reason};
use ieum_privacy::normalize;

use crate::gather::WantedLine;
use crate::night::{ExportState, Night};
use crate::reach::{self, Bridge};

/// How a line is answered before anything is read, or by which plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Course {
    /// Answered already.
    Decided(Outcome, Option<Reason>),
    /// Read by the plan of this dataset and key column.
    Read(Source),
}

/// A plan's name: dataset and the key column it is joined on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// Dataset code.
    pub dataset: String,
    /// Key column.
    pub key_column: String,
    /// Key space of that column.
    pub space: String,
    /// Wave: 1, or 1 + the number of bridges that lead to it.
    pub wave: u32,
}

impl Source {
    /// Name in stage, manifest and plans.
    pub fn name(&self) -> String {
        format!("{}.{}", self.dataset, self.key_column)
    }
}

/// The course of every line, and the bridges to walk first.
pub struct Courses {
    /// By line ordinal.
    pub lines: Vec<Course>,
    /// First line ordinal of each request.
    pub first_line: Vec<u32>,
    /// Bridges with the wave that walks them and the requests that need them, in walking order.
    pub bridges: Vec<(u32, Bridge, BTreeSet<usize>)>,
    /// Canonical keys of each request by space.
    pub keys: Vec<BTreeMap<String, BTreeSet<String>>>,
}

/// Canonical keys that a request itself names, by key space.
fn own_keys(request: &ieum_model::request::Request) -> BTreeMap<String, BTreeSet<String>> {
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for id in &request.subject_ids {
        let space = reach::space_of(&id.kind);
        if let Some(key) = canonical(space, &id.value) {
            keys.entry(space.to_owned()).or_default().insert(key);
        }
    }
    keys
}

/// The canonical form of an identifier of `space`; `None` where nothing is left of it.
pub fn canonical(space: &str, raw: &str) -> Option<String> {
    let mut out = Vec::new();
    normalize::spell(reach::identifier_kind(space), raw.as_bytes(), &mut out);
    String::from_utf8(out).ok().filter(|key| !key.is_empty())
}

/// Finds the course of every line.
pub fn courses(night: &Night) -> Courses {
    let all = reach::bridges(&night.catalog);
    let requests = &night.checked.requests;
    let mut courses = Courses { lines: Vec::new(), first_line: Vec::new(), bridges: Vec::new(), keys: Vec::new() };
    let mut walked: BTreeMap<(u32, Bridge), BTreeSet<usize>> = BTreeMap::new();
    for (ordinal, request) in requests.iter().enumerate() {
        courses.first_line.push(u32::try_from(courses.lines.len()).unwrap_or(u32::MAX));
        let keys = own_keys(&request.request);
        let ways = reach::ways(&keys.keys().cloned().collect(), &all);
        for line in &request.lines {
            let course = match (line.decided, night.catalog.datasets.get(&line.document)) {
                (Some((outcome, reason)), _) => Course::Decided(outcome, reason),
                (None, None) => Course::Decided(Outcome::Refused, Some(Reason::R05)),
                (None, Some(dataset)) => course_of(night, dataset, &ways, ordinal, &mut walked),
            };
            courses.lines.push(course);
        }
        courses.keys.push(keys);
    }
    courses.bridges = walked.into_iter().map(|((depth, bridge), needs)| (depth, bridge, needs)).collect();
    courses
}

fn course_of(
    night: &Night,
    dataset: &Dataset,
    ways: &BTreeMap<String, Vec<Bridge>>,
    ordinal: usize,
    walked: &mut BTreeMap<(u32, Bridge), BTreeSet<usize>>,
) -> Course {
    let Some((key_column, space, way)) = reach::entrance(dataset, ways) else {
        return Course::Decided(Outcome::NotReachable, Some(Reason::NotReachable));
    };
    let needed = way.iter().map(|bridge| bridge.dataset.as_str()).chain([dataset.code.as_str()]);
    for code in needed {
        match night.exports.get(code) {
            Some(ExportState::Ready(_)) => {}
            Some(ExportState::Delayed(reason)) => {
                return Course::Decided(Outcome::Delayed, Some(*reason));
            }
            None => return Course::Decided(Outcome::Delayed, Some(Reason::HolderMissing)),
        }
    }
    let wave = 1 + u32::try_from(way.len()).unwrap_or(u32::MAX);
    for (depth, bridge) in (1u32..).zip(way) {
        walked.entry((depth, bridge)).or_default().insert(ordinal);
    }
    Course::Read(Source { dataset: dataset.code.clone(), key_column, space, wave })
}

/// One read of an export: the lines it answers, and the bridges it walks on the way.
pub struct Reading {
    /// Dataset, key column and wave.
    pub source: Source,
    /// The lines it answers.
    pub lines: Vec<WantedLine>,
    /// Bridges from the same key column, with the requests that need them.
    pub bridges: Vec<(Bridge, BTreeSet<usize>)>,
    /// Line ordinals from here on stand for requests that want a bridge: `bridge_base + request`.
    pub bridge_base: u32,
}

impl Reading {
    /// Name in stage, manifest and plans.
    pub fn name(&self) -> String {
        if self.lines.is_empty() {
            format!("{}.bridge{}", self.source.name(), self.source.wave)
        } else {
            self.source.name()
        }
    }

    /// The lines, and one for every request that wants a bridge.
    pub fn wanted(&self, courses: &Courses) -> Vec<WantedLine> {
        let mut columns: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
        for (bridge, needs) in &self.bridges {
            for ordinal in needs {
                columns.entry(*ordinal).or_default().insert(bridge.to.clone());
            }
        }
        let over_bridge = |(ordinal, items): (usize, BTreeSet<String>)| WantedLine {
            line: self.bridge_base + number(ordinal),
            keys: courses.known(ordinal, &self.source.space),
            items: items.into_iter().collect(),
        };
        self.lines.iter().cloned().chain(columns.into_iter().map(over_bridge)).collect()
    }
}

/// Ordinals are 32 bits wide on disk; a night of more lines is cut by the caller.
fn number(ordinal: usize) -> u32 {
    u32::try_from(ordinal).unwrap_or(u32::MAX)
}

impl Courses {
    /// The last wave of the night.
    pub fn waves(&self) -> u32 {
        let reads = self.lines.iter().filter_map(|course| match course {
            Course::Read(source) => Some(source.wave),
            Course::Decided(..) => None,
        });
        reads.max().unwrap_or(0)
    }

    /// Canonical keys of a request in a space, as far as they are known by now.
    pub fn known(&self, ordinal: usize, space: &str) -> Vec<String> {
        self.keys[ordinal].get(space).into_iter().flatten().cloned().collect()
    }

    /// The wave of each source: the latest of its lines. Lines with a key of their own and lines that a bridge led to are
    /// read together.
    fn source_waves(&self) -> BTreeMap<String, u32> {
        let mut waves: BTreeMap<String, u32> = BTreeMap::new();
        for course in &self.lines {
            if let Course::Read(source) = course {
                let wave = waves.entry(source.name()).or_default();
                *wave = source.wave.max(*wave);
            }
        }
        waves
    }

    /// The readings of one wave, with the keys known by now; a line without a key is not reachable. A bridge is walked by
    /// the plan that reads its dataset by the same key in the same wave anyway, if there is one.
    pub fn readings(&mut self, requests: &[CheckedRequest], wave: u32) -> Vec<Reading> {
        let waves = self.source_waves();
        let bridge_base = number(self.lines.len());
        let mut readings: BTreeMap<String, Reading> = BTreeMap::new();
        for (ordinal, request) in requests.iter().enumerate() {
            for (offset, line) in request.lines.iter().enumerate() {
                let at = self.first_line[ordinal] as usize + offset;
                let Course::Read(source) = &self.lines[at] else { continue };
                let name = source.name();
                if waves.get(&name) != Some(&wave) {
                    continue;
                }
                let keys = self.known(ordinal, &source.space);
                if keys.is_empty() {
                    self.lines[at] = Course::Decided(Outcome::NotReachable, Some(Reason::NotReachable));
                    continue;
                }
                let source = Source { wave, ..source.clone() };
                let reading = || Reading { source, lines: Vec::new(), bridges: Vec::new(), bridge_base };
                let mut items = line.items.clone();
                items.sort();
                readings.entry(name).or_insert_with(reading).lines.push(WantedLine { line: number(at), keys, items });
            }
        }
        for (_, bridge, needs) in self.bridges.iter().filter(|(depth, ..)| *depth == wave) {
            let source = Source {
                dataset: bridge.dataset.clone(),
                key_column: bridge.from.clone(),
                space: bridge.from_space.clone(),
                wave,
            };
            let name = source.name();
            let reading = || Reading { source, lines: Vec::new(), bridges: Vec::new(), bridge_base };
            readings.entry(name).or_insert_with(reading).bridges.push((bridge.clone(), needs.clone()));
        }
        readings.into_values().collect()
    }

    /// Every line that waits for `dataset`, itself or as a bridge, is delayed: its export turned out to break its contract.
    pub fn delay(&mut self, dataset: &str) {
        let mut waits: BTreeSet<usize> = BTreeSet::new();
        for (at, course) in self.lines.iter().enumerate() {
            let Course::Read(source) = course else { continue };
            let ordinal = self.first_line.partition_point(|first| *first as usize <= at) - 1;
            let over = |(_, bridge, needs): &(u32, Bridge, BTreeSet<usize>)| {
                bridge.dataset == dataset && bridge.to_space == source.space && needs.contains(&ordinal)
            };
            if source.dataset == dataset || (source.wave > 1 && self.bridges.iter().any(over)) {
                waits.insert(at);
            }
        }
        for at in waits {
            self.lines[at] = Course::Decided(Outcome::Delayed, Some(Reason::ContractBroken));
        }
    }
}
