//! The course of every document line: answered already, or read by which plan in which wave.
//!
//! ```text
//!  wave 0   registers of changed numbers ─────────► the other numbers of the same subjects
//!  wave 1   sources whose keys the requests name ──► rows, and keys of the next space where a bridge is wanted
//!  wave 2   sources whose keys wave 1 gave ────────► …
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ieum_model::check::CheckedRequest;
use ieum_model::outcome::{Outcome, Reason};
use ieum_model::request::Request;
use ieum_privacy::normalize;
use rustc_hash::FxHashMap;

use crate::gather::WantedLine;
use crate::input::{ExportState, Night};
use crate::reach::{self, Bridge, BridgeKind};

/// How a line is answered before anything is read, or by which plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Course {
    /// Answered already.
    Decided(Outcome, Option<Reason>),
    /// Read by the plan of this source, an index into [`Courses::sources`].
    Read(u32),
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
    /// Wave: 1, or 1 + the number of bridges that lead to it; the latest of its lines. Lines with a key of their own and
    /// lines that a bridge led to are read together.
    pub wave: u32,
}

impl Source {
    /// Name in stage, manifest and plans.
    pub fn name(&self) -> String {
        format!("{}.{}", self.dataset, self.key_column)
    }
}

/// Canonical keys of a request: key space and key, sorted.
#[derive(Debug, Clone, Default)]
pub struct Keys(Vec<(Arc<str>, String)>);

impl Keys {
    /// Adds a key.
    pub fn insert(&mut self, space: Arc<str>, key: String) {
        let entry = (space, key);
        if let Err(at) = self.0.binary_search(&entry) {
            self.0.insert(at, entry);
        }
    }

    /// The keys of a space.
    pub fn of(&self, space: &str) -> Vec<String> {
        self.0.iter().filter(|(of, _)| **of == *space).map(|(_, key)| key.clone()).collect()
    }

    /// The identifier that names the subject to a recipient: a person's before any other.
    fn subject(&self) -> Option<(Arc<str>, String)> {
        let preferred = ["person", "ci", "patient", "business", "corporation"];
        let named = preferred.iter().find_map(|space| self.0.iter().find(|(of, _)| **of == **space));
        named.or_else(|| self.0.first()).cloned()
    }
}

/// The course of every line, and the bridges to walk first.
#[derive(Default)]
pub struct Courses {
    /// Every source that a line is read from.
    pub sources: Vec<Source>,
    /// By line ordinal.
    pub lines: Vec<Course>,
    /// First line ordinal of each request.
    pub first_line: Vec<u32>,
    /// Bridges with the wave that walks them and the requests that need them, in walking order.
    pub bridges: Vec<(u32, Bridge, BTreeSet<usize>)>,
    /// Canonical keys of each request, its own and those that bridges gave.
    pub keys: Vec<Keys>,
    /// The identifier of its own that names each request's subject: key space and canonical key.
    pub subjects: Vec<Option<(Arc<str>, String)>>,
}

/// Canonical keys that a request itself names.
fn own_keys(request: &Request) -> Keys {
    let mut keys = Keys::default();
    for id in &request.subject_ids {
        let space = reach::space_of(&id.kind);
        if let Some(key) = canonical(space, &id.value) {
            keys.insert(space.into(), key);
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
    let mut finder = Finder {
        night,
        bridges: reach::bridges(&night.catalog),
        ways: FxHashMap::default(),
        sources: FxHashMap::default(),
        walked: BTreeMap::new(),
        courses: Courses::default(),
    };
    for (ordinal, request) in night.checked.requests.iter().enumerate() {
        finder.find(ordinal, request);
    }
    let walked = finder.walked.into_iter().map(|((depth, bridge), needs)| (depth, bridge, needs)).collect();
    Courses { bridges: walked, ..finder.courses }
}

/// Where the requests that name the same key spaces enter each dataset.
type Entrances = FxHashMap<String, Entrance>;

/// Where a dataset is entered: not at all or not yet, or as a source after walking bridges.
#[derive(Clone)]
enum Entrance {
    Closed(Course),
    Open(u32, Arc<[Bridge]>),
}

struct Finder<'a> {
    night: &'a Night,
    bridges: Vec<Bridge>,
    /// By the key spaces that a request names.
    ways: FxHashMap<Vec<Arc<str>>, Entrances>,
    sources: FxHashMap<(String, String), u32>,
    walked: BTreeMap<(u32, Bridge), BTreeSet<usize>>,
    courses: Courses,
}

impl Finder<'_> {
    fn find(&mut self, ordinal: usize, request: &CheckedRequest) {
        self.courses.first_line.push(number(self.courses.lines.len()));
        let keys = own_keys(&request.request);
        let mut spaces: Vec<Arc<str>> = keys.0.iter().map(|(space, _)| Arc::clone(space)).collect();
        spaces.dedup();
        for line in &request.lines {
            let course = match line.decided {
                Some((outcome, reason)) => Course::Decided(outcome, reason),
                None => self.enter(&spaces, &line.document, ordinal),
            };
            self.courses.lines.push(course);
        }
        self.rename(ordinal, request, &spaces);
        self.courses.subjects.push(keys.subject());
        self.courses.keys.push(keys);
    }

    /// Looks the request's own keys up in the registers of changed numbers, if it gets a bundle: even one without records
    /// names its subject.
    fn rename(&mut self, ordinal: usize, request: &CheckedRequest, spaces: &[Arc<str>]) {
        if request.refusal.is_some() {
            return;
        }
        for bridge in &self.bridges {
            let known = spaces.iter().any(|space| **space == *bridge.from_space);
            let ready = matches!(self.night.exports.get(&bridge.dataset), Some(ExportState::Ready(_)));
            if bridge.kind != BridgeKind::Leads && known && ready {
                self.walked.entry((0, bridge.clone())).or_default().insert(ordinal);
            }
        }
    }

    fn enter(&mut self, spaces: &[Arc<str>], code: &str, ordinal: usize) -> Course {
        let known = self.ways.get(spaces).and_then(|entrances| entrances.get(code)).cloned();
        let entrance = known.unwrap_or_else(|| {
            let entrance = self.entrance(spaces, code);
            self.ways.entry(spaces.to_vec()).or_default().insert(code.to_owned(), entrance.clone());
            entrance
        });
        match entrance {
            Entrance::Closed(course) => course,
            Entrance::Open(source, way) => {
                for (depth, bridge) in (1u32..).zip(way.iter()) {
                    self.walked.entry((depth, bridge.clone())).or_default().insert(ordinal);
                }
                Course::Read(source)
            }
        }
    }

    fn entrance(&mut self, spaces: &[Arc<str>], code: &str) -> Entrance {
        let closed = |outcome, reason| Entrance::Closed(Course::Decided(outcome, Some(reason)));
        let Some(dataset) = self.night.catalog.datasets.get(code) else {
            return closed(Outcome::Refused, Reason::R05);
        };
        let ways = reach::ways(&spaces.iter().map(|space| space.to_string()).collect(), &self.bridges);
        let Some((key_column, space, way)) = reach::entrance(dataset, &ways) else {
            return closed(Outcome::NotReachable, Reason::NotReachable);
        };
        for code in way.iter().map(|bridge| bridge.dataset.as_str()).chain([code]) {
            match self.night.exports.get(code) {
                Some(ExportState::Ready(_)) => {}
                Some(ExportState::Delayed(reason)) => return closed(Outcome::Delayed, *reason),
                None => return closed(Outcome::Delayed, Reason::HolderMissing),
            }
        }
        let wave = 1 + number(way.len());
        let sources = &mut self.courses.sources;
        let source = *self.sources.entry((code.to_owned(), key_column.clone())).or_insert_with(|| {
            sources.push(Source { dataset: code.to_owned(), key_column, space, wave });
            number(sources.len() - 1)
        });
        let latest = &mut self.courses.sources[source as usize].wave;
        *latest = wave.max(*latest);
        Entrance::Open(source, way.into())
    }
}

/// One read of an export: the lines it answers, and the bridges it walks on the way.
pub struct Reading {
    /// Dataset, key column and wave.
    pub source: Source,
    /// The lines it answers, until they are taken.
    pub lines: Vec<WantedLine>,
    /// Whether it answers lines, not only bridges.
    pub answers_lines: bool,
    /// Bridges from the same key column, with the requests that need them.
    pub bridges: Vec<(Bridge, BTreeSet<usize>)>,
    /// Line ordinals from here on stand for requests that want a bridge: `bridge_base + request`.
    pub bridge_base: u32,
}

impl Reading {
    /// Name in stage, manifest and plans.
    pub fn name(&self) -> String {
        if self.answers_lines {
            self.source.name()
        } else {
            format!("{}.bridge{}", self.source.name(), self.source.wave)
        }
    }

    /// Takes the lines, and one for every request that wants a bridge.
    pub fn take_wanted(&mut self, courses: &Courses) -> Vec<WantedLine> {
        let mut columns: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
        for (bridge, needs) in &self.bridges {
            for ordinal in needs {
                columns.entry(*ordinal).or_default().insert(bridge.to.clone());
            }
        }
        let over_bridge = |(ordinal, items): (usize, BTreeSet<String>)| WantedLine {
            line: self.bridge_base + number(ordinal),
            keys: courses.keys[ordinal].of(&self.source.space),
            items: items.into_iter().collect(),
        };
        let mut wanted = std::mem::take(&mut self.lines);
        wanted.extend(columns.into_iter().map(over_bridge));
        wanted
    }
}

/// Ordinals are 32 bits wide on disk; a night of more lines is cut by the caller.
fn number(ordinal: usize) -> u32 {
    u32::try_from(ordinal).unwrap_or(u32::MAX)
}

impl Courses {
    /// Takes a key that a bridge gave; a subject whose number was changed is named by its current one.
    pub fn found(&mut self, ordinal: usize, bridge: &Bridge, space: Arc<str>, key: String) {
        if bridge.kind == BridgeKind::Renames {
            let subject = &mut self.subjects[ordinal];
            if subject.as_ref().is_some_and(|(named, _)| *named == space) {
                *subject = Some((Arc::clone(&space), key.clone()));
            }
        }
        self.keys[ordinal].insert(space, key);
    }

    /// The last wave of the night.
    pub fn waves(&self) -> u32 {
        self.sources.iter().map(|source| source.wave).max().unwrap_or(0)
    }

    /// The readings of one wave, with the keys known by now; a line without a key is not reachable. A bridge is walked by
    /// the plan that reads its dataset by the same key in the same wave anyway, if there is one.
    pub fn readings(&mut self, requests: &[CheckedRequest], wave: u32) -> Vec<Reading> {
        let bridge_base = number(self.lines.len());
        let mut lines: BTreeMap<u32, Vec<WantedLine>> = BTreeMap::new();
        for (ordinal, request) in requests.iter().enumerate() {
            for (offset, line) in request.lines.iter().enumerate() {
                let at = self.first_line[ordinal] as usize + offset;
                let Course::Read(source) = self.lines[at] else { continue };
                let of = &self.sources[source as usize];
                if of.wave != wave {
                    continue;
                }
                let keys = self.keys[ordinal].of(&of.space);
                if keys.is_empty() {
                    self.lines[at] = Course::Decided(Outcome::NotReachable, Some(Reason::NotReachable));
                    continue;
                }
                let wanted = WantedLine { line: number(at), keys, items: Arc::clone(&line.items) };
                lines.entry(source).or_default().push(wanted);
            }
        }
        let reading = |(source, lines): (u32, Vec<WantedLine>)| {
            let source = self.sources[source as usize].clone();
            (source.name(), Reading { source, lines, answers_lines: true, bridges: Vec::new(), bridge_base })
        };
        let mut readings: BTreeMap<String, Reading> = lines.into_iter().map(reading).collect();
        for (_, bridge, needs) in self.bridges.iter().filter(|(depth, ..)| *depth == wave) {
            let source = Source {
                dataset: bridge.dataset.clone(),
                key_column: bridge.from.clone(),
                space: bridge.from_space.clone(),
                wave,
            };
            let name = source.name();
            let reading =
                || Reading { source, lines: Vec::new(), answers_lines: false, bridges: Vec::new(), bridge_base };
            readings.entry(name).or_insert_with(reading).bridges.push((bridge.clone(), needs.clone()));
        }
        readings.into_values().collect()
    }

    /// Every line that waits for `dataset`, itself or as a bridge, is delayed for `reason`.
    pub fn delay(&mut self, dataset: &str, reason: Reason) {
        let mut waits: BTreeSet<usize> = BTreeSet::new();
        for (at, course) in self.lines.iter().enumerate() {
            let Course::Read(source) = course else { continue };
            let source = &self.sources[*source as usize];
            let ordinal = self.first_line.partition_point(|first| *first as usize <= at) - 1;
            let over = |(_, bridge, needs): &(u32, Bridge, BTreeSet<usize>)| {
                bridge.dataset == dataset && bridge.to_space == source.space && needs.contains(&ordinal)
            };
            if source.dataset == dataset || (source.wave > 1 && self.bridges.iter().any(over)) {
                waits.insert(at);
            }
        }
        for at in waits {
            self.lines[at] = Course::Decided(Outcome::Delayed, Some(reason));
        }
    }
}
