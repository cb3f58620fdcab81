//! The course of every document line: answered already, or read by which plan in which wave.
//!
//! ```text
//!  wave 0   registers of changed numbers ─────────► the other numbers of the same subjects
//!  wave 1   sources whose keys the requests name ──► rows, and keys of the next space where a bridge is wanted
//!  wave 2   sources whose keys wave 1 gave ────────► …
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ieum_model::check::{CheckedLine, CheckedRequest};
use ieum_model::outcome::{Outcome, Reason};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::input::{ExportState, Night};
use crate::keys::{Keys, Space};
use crate::protected::Protected;
use crate::reach::{self, Bridge, BridgeKind};

/// Key spaces in which a person has one identifier at a time.
const ONE_AT_A_TIME: [&str; 2] = ["person", "ci"];

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

/// A bridge that somebody needs.
pub struct Walk {
    /// The wave that walks it; 0 for registers of changed numbers.
    pub wave: u32,
    /// The bridge.
    pub bridge: Bridge,
    /// Requests that need it, ascending.
    pub needs: Vec<u32>,
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
    /// Bridges in walking order.
    pub walks: Vec<Walk>,
    /// Canonical keys of each request, its own and those that bridges gave.
    pub keys: Keys,
    /// Present key of a request's subject where a register says that its number was changed.
    renamed: FxHashMap<u32, (Arc<str>, String)>,
    /// Own keys that a register of changed numbers gave for another key of the request.
    joined: FxHashSet<(u32, String)>,
    /// Requests that name two people.
    unclear: FxHashSet<u32>,
    /// Requests that a bridge led to a protected person.
    protected: BTreeSet<u32>,
    /// Datasets that were left out of the night while it read.
    left_out: FxHashMap<String, Reason>,
    /// Lines whose key stands in a row that could not be read, or behind one: they cannot be told "not found".
    unreadable: FxHashSet<u32>,
    /// Lines that no bridge led to a key for.
    led_nowhere: FxHashSet<u32>,
    /// Dataset, key column and wave of readings with a row that could not be read and may be anybody's.
    anybodys: FxHashSet<(String, String, u32)>,
}

/// Finds the course of every line.
pub fn courses(night: &Night) -> Courses {
    let mut finder = Finder {
        night,
        bridges: reach::bridges(&night.catalog),
        sources: FxHashMap::default(),
        walked: BTreeMap::new(),
        needs: Vec::new(),
        ways: FxHashMap::default(),
        ways_by_lines: FxHashMap::default(),
        courses: Courses::default(),
    };
    for (ordinal, request) in (0u32..).zip(&night.checked.requests) {
        finder.find(ordinal, request);
    }
    let mut needs = finder.needs;
    let walk =
        |((wave, bridge), number): (_, u32)| Walk { wave, bridge, needs: std::mem::take(&mut needs[number as usize]) };
    Courses { walks: finder.walked.into_iter().map(walk).collect(), ..finder.courses }
}

/// Where a dataset is entered: not at all or not yet, or as a source after walking bridges.
#[derive(Clone)]
enum Entrance {
    Closed(Course),
    Open(u32, Arc<[Bridge]>),
}

/// The way of requests that name the same key spaces and ask the same: courses of their lines, and the bridges to walk, by
/// their numbers.
struct Way {
    courses: Vec<Course>,
    walks: Vec<u32>,
}

struct Finder<'a> {
    night: &'a Night,
    bridges: Vec<Bridge>,
    sources: FxHashMap<(String, String), u32>,
    /// Bridges by the wave that walks them, numbered as they were met.
    walked: BTreeMap<(u32, Bridge), u32>,
    /// Requests that need a bridge, ascending, by the bridge's number.
    needs: Vec<Vec<u32>>,
    /// By the key spaces that a request names, and the dataset.
    ways: FxHashMap<Vec<Space>, FxHashMap<String, Entrance>>,
    /// By the key spaces that a request names, where its lines are kept, and whether it gets a bundle.
    ways_by_lines: FxHashMap<(Vec<Space>, *const CheckedLine, usize, bool), Arc<Way>>,
    courses: Courses,
}

impl Finder<'_> {
    fn find(&mut self, ordinal: u32, request: &CheckedRequest) {
        let first = number(self.courses.lines.len());
        self.courses.first_line.push(first);
        let spaces = self.courses.keys.add(&request.subject_ids);
        let delivered = request.refusal.is_none();
        let same = (spaces, request.lines.as_ptr(), request.lines.len(), delivered);
        let way = match self.ways_by_lines.get(&same) {
            Some(way) => Arc::clone(way),
            None => {
                let way = Arc::new(self.way(&same.0, &request.lines, delivered));
                self.ways_by_lines.insert(same, Arc::clone(&way));
                way
            }
        };
        self.courses.lines.extend_from_slice(&way.courses);
        for walk in &way.walks {
            self.needs[*walk as usize].push(ordinal);
        }
    }

    fn way(&mut self, spaces: &[Space], lines: &[CheckedLine], delivered: bool) -> Way {
        let mut courses = Vec::with_capacity(lines.len());
        let mut bridges: BTreeSet<(u32, Bridge)> = BTreeSet::new();
        for line in lines {
            courses.push(match line.decided {
                Some((outcome, reason)) => Course::Decided(outcome, reason),
                None => match self.enter(spaces, &line.document) {
                    Entrance::Closed(course) => course,
                    Entrance::Open(source, way) => {
                        bridges.extend((1u32..).zip(way.iter().cloned()));
                        Course::Read(source)
                    }
                },
            });
        }
        if delivered {
            bridges.extend(self.renames(spaces));
        }
        Way { courses, walks: bridges.into_iter().map(|bridge| self.walk(bridge)).collect() }
    }

    /// The number of a bridge that somebody needs.
    fn walk(&mut self, bridge: (u32, Bridge)) -> u32 {
        let needs = &mut self.needs;
        *self.walked.entry(bridge).or_insert_with(|| {
            needs.push(Vec::new());
            number(needs.len() - 1)
        })
    }

    /// The registers of changed numbers, in which the own keys of a request that gets a bundle are looked up: even a bundle
    /// without records names its subject.
    fn renames(&self, spaces: &[Space]) -> Vec<(u32, Bridge)> {
        let known = |bridge: &&Bridge| spaces.iter().any(|space| self.courses.keys.space(*space) == bridge.from_space);
        let ready = |bridge: &&Bridge| matches!(self.night.exports.get(&bridge.dataset), Some(ExportState::Ready(_)));
        let renames = self.bridges.iter().filter(|bridge| bridge.kind != BridgeKind::Leads);
        renames.filter(known).filter(ready).map(|bridge| (0, bridge.clone())).collect()
    }

    fn enter(&mut self, spaces: &[Space], code: &str) -> Entrance {
        if let Some(entrance) = self.ways.get(spaces).and_then(|entrances| entrances.get(code)) {
            return entrance.clone();
        }
        let entrance = self.entrance(spaces, code);
        self.ways.entry(spaces.to_vec()).or_default().insert(code.to_owned(), entrance.clone());
        entrance
    }

    fn entrance(&mut self, spaces: &[Space], code: &str) -> Entrance {
        let closed = |outcome, reason| Entrance::Closed(Course::Decided(outcome, Some(reason)));
        let Some(dataset) = self.night.catalog.datasets.get(code) else {
            return closed(Outcome::Refused, Reason::R05);
        };
        let named = spaces.iter().map(|space| self.courses.keys.space(*space).to_owned()).collect();
        let ways = reach::ways(&named, &self.bridges);
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
    /// The lines it answers, ascending.
    pub lines: Vec<AskedLine>,
    /// Bridges from the same key column.
    pub bridges: Vec<Bridge>,
    /// Requests that need a bridge, ascending, with the bridge's place in `bridges`.
    pub needs: Vec<(u32, u16)>,
    /// Line ordinals from here on stand for requests that want a bridge: `bridge_base + request`.
    pub bridge_base: u32,
}

/// A line and its request, by their ordinals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskedLine {
    /// Line ordinal of the night.
    pub line: u32,
    /// Ordinal of the request.
    pub request: u32,
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

    /// How many requests need the bridge at `place`.
    pub fn needs_of(&self, place: usize) -> usize {
        self.needs.iter().filter(|(_, bridge)| *bridge as usize == place).count()
    }
}

/// Ordinals are 32 bits wide on disk; a night of more lines is cut by the caller.
fn number(ordinal: usize) -> u32 {
    u32::try_from(ordinal).unwrap_or(u32::MAX)
}

impl Courses {
    /// The identifier that names a request's subject to a recipient: its own, a person's before any other; the present one
    /// where a register says that it was changed. Key space and canonical key.
    /// Nothing where it names two people.
    pub fn subject(&self, request: u32) -> Option<(&str, &str)> {
        if self.unclear.contains(&request) {
            return None;
        }
        match self.renamed.get(&request) {
            Some((space, key)) => Some((space, key)),
            None => self.keys.subject(request),
        }
    }

    /// Takes the keys that a reading's bridges gave, in any order.
    pub fn found(&mut self, reading: &Reading, mut found: Vec<FoundKey>) {
        found.sort_unstable();
        for FoundKey { request, bridge, key } in &found {
            let bridge = &reading.bridges[*bridge as usize];
            let space = self.keys.number(&bridge.to_space);
            if bridge.kind != BridgeKind::Leads && self.keys.own(*request, space).any(|own| own == key) {
                self.joined.insert((*request, key.clone()));
            }
            let own = (bridge.kind == BridgeKind::Renames).then(|| self.subject(*request)).flatten();
            if own.is_some_and(|(space, _)| space == bridge.to_space) {
                self.renamed.insert(*request, (bridge.to_space.as_str().into(), key.clone()));
            }
        }
        let space_of = |found: &FoundKey| reading.bridges[found.bridge as usize].to_space.as_str();
        self.keys.extend(found.iter().map(|found| (found.request, space_of(found), found.key.as_str())));
    }

    /// Takes it that every bridge of a reading leads somewhere, for a night whose rows are not read.
    pub fn walk_blindly(&mut self, reading: &Reading) {
        let to = |bridge: u16| reading.bridges[bridge as usize].to_space.as_str();
        self.keys.extend(reading.needs.iter().map(|(request, bridge)| (*request, to(*bridge), "")));
    }

    /// A request that names two people is about neither, unless a register of changed numbers joins the two: its lines are
    /// ambiguous, or wait for the register. To be called when the registers have been read.
    pub fn tell_people_apart(&mut self, night: &Night) {
        let registers = reach::bridges(&night.catalog).into_iter().filter(|bridge| bridge.kind == BridgeKind::Renames);
        let registers: Vec<Bridge> = registers.collect();
        for space in ONE_AT_A_TIME {
            let number_of_space = self.keys.number(space);
            let mut of_space = registers.iter().filter(|register| register.from_space == space);
            let waits = of_space.find_map(|register| self.missing(night, &register.dataset));
            let decision = match waits {
                Some(reason) => Course::Decided(Outcome::Delayed, Some(reason)),
                None => Course::Decided(Outcome::Ambiguous, Some(Reason::Ambiguous)),
            };
            for request in 0..number(self.first_line.len()) {
                let people = || self.keys.own(request, number_of_space);
                let joined = |key: &str| self.joined.contains(&(request, key.to_owned()));
                if people().nth(1).is_some() && !people().all(joined) {
                    self.unclear.insert(request);
                    self.decide(request, &decision);
                }
            }
        }
        for walk in self.walks.iter_mut().filter(|_| !self.unclear.is_empty()) {
            walk.needs.retain(|request| !self.unclear.contains(request));
        }
        self.walks.retain(|walk| !walk.needs.is_empty());
    }

    /// Reads nothing more for requests that a bridge led to a protected person. To be called after each wave.
    pub fn turn_away(&mut self, protected: &Protected) {
        let led = self.keys.found().filter(|(_, space, key)| protected.has_key(space, key));
        let led: BTreeSet<u32> = led.map(|(request, ..)| request).collect();
        for request in led.difference(&self.protected).copied().collect::<Vec<_>>() {
            self.decide(request, &Course::Decided(Outcome::Refused, Some(Reason::Suppressed)));
            self.walks.iter_mut().for_each(|walk| walk.needs.retain(|needs| *needs != request));
            self.protected.insert(request);
        }
        self.walks.retain(|walk| !walk.needs.is_empty());
    }

    /// Requests that a bridge led to a protected person, ascending.
    pub fn protected(&self) -> impl Iterator<Item = u32> {
        self.protected.iter().copied()
    }

    /// Answers every line of a request that would be read.
    fn decide(&mut self, request: u32, decision: &Course) {
        let end = self.first_line.get(request as usize + 1).map_or(self.lines.len(), |end| *end as usize);
        for line in self.first_line[request as usize]..number(end) {
            if matches!(self.lines[line as usize], Course::Read(_)) {
                // What could not be read of a register may have joined the two.
                let lost = self.unreadable.contains(&line) || self.may_have_lost(request, line);
                self.lines[line as usize] = match lost {
                    true => Course::Decided(Outcome::Delayed, Some(Reason::ContractBroken)),
                    false => decision.clone(),
                };
            }
        }
    }

    /// Why a dataset is not there to be read, or was read in vain.
    fn missing(&self, night: &Night, dataset: &str) -> Option<Reason> {
        match (self.left_out.get(dataset), night.exports.get(dataset)) {
            (Some(reason), _) | (None, Some(ExportState::Delayed(reason))) => Some(*reason),
            (None, None) => Some(Reason::HolderMissing),
            (None, Some(ExportState::Ready(_))) => None,
        }
    }

    /// The last wave of the night.
    pub fn waves(&self) -> u32 {
        self.sources.iter().map(|source| source.wave).max().unwrap_or(0)
    }

    /// The readings of one wave, in the order of their names, with the keys known by now; a line without a key is not
    /// reachable. A bridge is walked by the plan that reads its dataset by the same key in the same wave anyway, if there
    /// is one.
    pub fn readings(&mut self, wave: u32) -> Vec<Reading> {
        let bridge_base = number(self.lines.len());
        let mut asked: Vec<Vec<AskedLine>> = vec![Vec::new(); self.sources.len()];
        let spaces: Vec<_> = self.sources.iter().map(|source| self.keys.number(&source.space)).collect();
        let (first_line, all) = (&self.first_line, number(self.lines.len()));
        for (request, first) in (0u32..).zip(first_line) {
            let end = first_line.get(request as usize + 1).copied().unwrap_or(all);
            for line in *first..end {
                let Course::Read(source) = self.lines[line as usize] else { continue };
                if self.sources[source as usize].wave != wave {
                    continue;
                }
                if self.keys.of(request, spaces[source as usize]).next().is_some() {
                    asked[source as usize].push(AskedLine { line, request });
                } else {
                    let lost = self.unreadable.contains(&line) || self.may_have_lost(request, line);
                    let (outcome, reason) = match lost {
                        true => (Outcome::Delayed, Reason::ContractBroken),
                        false => {
                            self.led_nowhere.insert(line);
                            (Outcome::NotReachable, Reason::NotReachable)
                        }
                    };
                    self.lines[line as usize] = Course::Decided(outcome, Some(reason));
                }
            }
        }
        let reading = |(source, lines): (&Source, Vec<AskedLine>)| {
            let source = source.clone();
            (source.name(), Reading { source, lines, bridges: Vec::new(), needs: Vec::new(), bridge_base })
        };
        let asked = self.sources.iter().zip(asked).filter(|(_, lines)| !lines.is_empty());
        let mut readings: BTreeMap<String, Reading> = asked.map(reading).collect();
        for Walk { bridge, needs, .. } in self.walks.iter().filter(|walk| walk.wave == wave) {
            let source = Source {
                dataset: bridge.dataset.clone(),
                key_column: bridge.from.clone(),
                space: bridge.from_space.clone(),
                wave,
            };
            let entry = readings.entry(source.name()).or_insert_with(|| reading((&source, Vec::new())).1);
            let place = u16::try_from(entry.bridges.len()).unwrap_or(u16::MAX);
            entry.bridges.push(bridge.clone());
            entry.needs.extend(needs.iter().map(|request| (*request, place)));
        }
        let mut readings: Vec<Reading> = readings.into_values().collect();
        for reading in &mut readings {
            reading.needs.sort_unstable();
        }
        readings
    }

    /// Whether a row that `line` may have found, or that may have led to its key, could not be read.
    pub fn is_unreadable(&self, line: u32) -> bool {
        self.unreadable.contains(&line)
    }

    /// Registers of changed numbers that are out of the night: the key space of their numbers, and why. To be asked when
    /// everything is read.
    pub fn registers_missing(&self, night: &Night) -> Vec<(Space, Reason)> {
        let bridges = reach::bridges(&night.catalog);
        let registers = bridges.iter().filter(|bridge| bridge.kind == BridgeKind::Renames);
        // One that the night did not look for is not missed.
        let wanted = registers.filter(|register| night.exports.contains_key(&register.dataset));
        let missing = wanted.filter_map(|register| {
            Some((self.keys.number(&register.from_space)?, self.missing(night, &register.dataset)?))
        });
        missing.collect()
    }

    /// Why nothing may have been found for a line though there is something: its request names a person whose number may
    /// have changed, and no register said so. `None` for a line that was decided without looking.
    pub fn may_be_renamed(&self, request: u32, line: u32, missing: &[(Space, Reason)]) -> Option<Reason> {
        let may = |space: Space| {
            let by_this = match &self.lines[line as usize] {
                Course::Read(source) => {
                    let source = &self.sources[*source as usize];
                    source.wave > 1 || self.keys.number(&source.space) == Some(space)
                }
                Course::Decided(..) => self.led_nowhere.contains(&line),
            };
            by_this && self.keys.own(request, Some(space)).next().is_some()
        };
        missing.iter().find(|(space, _)| may(*space)).map(|(_, reason)| *reason)
    }

    /// Takes the ordinals of a reading that a row which could not be read has a key of: the lines it answers, and those
    /// behind its bridges.
    pub fn unreadable(&mut self, reading: &Reading, ordinals: &[u32]) {
        for ordinal in ordinals {
            let Some(request) = ordinal.checked_sub(reading.bridge_base) else {
                self.unreadable.insert(*ordinal);
                continue;
            };
            let over = |walk: &Walk| walk.wave == reading.source.wave && reading.bridges.contains(&walk.bridge);
            let first = self.first_line[request as usize];
            let end = self.first_line.get(request as usize + 1).map_or(self.lines.len(), |end| *end as usize);
            let behind = (first..number(end)).filter(|line| match &self.lines[*line as usize] {
                Course::Read(source) => {
                    let source = &self.sources[*source as usize];
                    self.leads_over(request, &source.space, source.wave, &over)
                }
                Course::Decided(..) => false,
            });
            let behind: Vec<u32> = behind.collect();
            self.unreadable.extend(behind);
        }
    }

    /// Notes a reading of which a row that could not be read may be anybody's.
    pub fn anybodys(&mut self, reading: &Reading) {
        let Source { dataset, key_column, wave, .. } = &reading.source;
        self.anybodys.insert((dataset.clone(), key_column.clone(), *wave));
    }

    /// Whether a row that could not be read and may be anybody's is among those that answer `line`, or on the way to its
    /// keys: then nobody can say that there is nothing.
    pub fn may_have_lost(&self, request: u32, line: u32) -> bool {
        let Course::Read(source) = &self.lines[line as usize] else { return false };
        if self.anybodys.is_empty() {
            return false;
        }
        let Source { dataset, key_column, space, wave } = &self.sources[*source as usize];
        let read = |dataset: &str, key_column: &str, wave| {
            self.anybodys.contains(&(dataset.to_owned(), key_column.to_owned(), wave))
        };
        let over = |walk: &Walk| read(&walk.bridge.dataset, &walk.bridge.from, walk.wave);
        read(dataset, key_column, *wave) || self.leads_over(request, space, *wave, &over)
    }

    /// Whether a request comes to its keys of `space`, known in `wave`, over one of these bridges.
    fn leads_over(&self, request: u32, space: &str, wave: u32, over: &dyn Fn(&Walk) -> bool) -> bool {
        let walked = self.walks.iter().filter(|walk| walk.wave < wave && walk.bridge.to_space == space);
        let mut walked = walked.filter(|walk| walk.needs.binary_search(&request).is_ok());
        walked.any(|walk| over(walk) || self.leads_over(request, &walk.bridge.from_space, walk.wave, over))
    }

    /// Datasets that were left out of the night while it read, and why; in no order.
    pub fn left_out(&self) -> impl Iterator<Item = (&str, Reason)> {
        self.left_out.iter().map(|(dataset, reason)| (dataset.as_str(), *reason))
    }

    /// Every line that waits for `dataset`, itself or as a bridge, is delayed for `reason`.
    pub fn delay(&mut self, dataset: &str, reason: Reason) {
        self.left_out.insert(dataset.to_owned(), reason);
        let all = number(self.lines.len());
        for (request, first) in (0u32..).zip(&self.first_line) {
            let end = self.first_line.get(request as usize + 1).copied().unwrap_or(all);
            for line in *first..end {
                let Course::Read(source) = self.lines[line as usize] else { continue };
                let source = &self.sources[source as usize];
                // A night does without a register of changed numbers; only what is not found without it waits.
                let over = |walk: &Walk| walk.wave > 0 && walk.bridge.dataset == dataset;
                let leads = source.wave > 1 && self.leads_over(request, &source.space, source.wave, &over);
                if source.dataset == dataset || leads {
                    self.lines[line as usize] = Course::Decided(Outcome::Delayed, Some(reason));
                }
            }
        }
    }
}

/// A key that a bridge gave.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FoundKey {
    /// Ordinal of the request.
    pub request: u32,
    /// The bridge's place in its reading.
    pub bridge: u16,
    /// Canonical key.
    pub key: String,
}
