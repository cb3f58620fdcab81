//! Rows that could not be read, between gather and records: complete, in file order, in memory while they are few and
//! beyond that in a spill file.
//!
//! ```text
//!  connector ─► RejectWriter (one a reading) ─┬─► held ───────────────┐
//!                │                            └─► segments of a file ─┴─► Rejects::write ─► rejects/rows.ndjson
//!                └─► the keys of these rows: their lines must not be told "not found"
//! ```
//!
//! The notes of rows that were read by a rule of `repair` go the same way, to a file of their own.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use ieum_model::connector::{Reject, RejectSink, Repaired};
use ieum_model::error::{Error, Result};
use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::keys::canonical;
use crate::manifest::hex;
use crate::spill::{Segment, Spill};

/// What a writer may gather beyond the common limit before it spills: small segments would be slow to read.
const WAITING_BYTES: usize = 256 << 10;
/// Read at a time of a spilled segment.
const READ_BYTES: usize = 64 << 10;

/// Rejects of one reading in one file, in file order: entries one after the other.
enum Part {
    Held(Vec<u8>),
    Spilled(Segment),
}

/// Export file, then the name of the reading.
type Place = (String, String);

/// The rejects of a night.
pub struct Rejects {
    limit: usize,
    held: AtomicUsize,
    spill: Spill,
    /// Whether rejects that are held are written to the spill file too.
    keeps: bool,
    kept: Mutex<Kept>,
}

/// Where the rejects of a reading stand in the spill file, by export file.
pub type KeptRejects = Vec<(String, Vec<Segment>)>;

#[derive(Default)]
struct Kept {
    parts: BTreeMap<Place, Vec<Part>>,
    /// Dataset of each reading.
    datasets: BTreeMap<String, String>,
    /// The first reject of each dataset.
    first: BTreeMap<String, First>,
}

impl Kept {
    /// Takes of which dataset a reading is, and its first reject.
    fn met(&mut self, reading: &str, dataset: &str, first: Option<&First>) {
        self.datasets.insert(reading.to_owned(), dataset.to_owned());
        let Some(first) = first else { return };
        let known = self.first.entry(dataset.to_owned()).or_insert_with(|| first.clone());
        if first < known {
            *known = first.clone();
        }
    }
}

/// Where the first reject stands: file, offset, line, and the rule that it breaks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct First {
    file: String,
    byte_offset: u64,
    line: u64,
    rule: Cow<'static, str>,
}

impl std::fmt::Display for First {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, line {}: {}", self.file, self.line, self.rule)
    }
}

/// The rejected rows of one dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRows {
    /// Dataset code.
    pub dataset: String,
    /// How many; a row that two readings could not read for the same reason counts once.
    pub rows: u64,
    /// The first of them.
    pub first: First,
}

/// The rows of one dataset that were read by a rule of `repair`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepairedRows {
    /// Dataset code.
    pub dataset: String,
    /// The rule.
    pub rule: String,
    /// How many; a row that two readings read counts once.
    pub rows: u64,
}

/// What was written of rejects and repairs, by dataset.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Rows that could not be read.
    pub rejected: Vec<RejectedRows>,
    /// Rows that were repaired, by rule.
    pub repaired: Vec<RepairedRows>,
}

/// Which of the two a line is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Noted {
    /// A row that could not be read.
    Rejected,
    /// A row that was repaired.
    Repaired,
}

impl Rejects {
    /// Rejects of which `limit` bytes are held in memory; the rest goes to `spill`.
    pub fn new(spill: Spill, limit: usize) -> Self {
        Self { limit, held: AtomicUsize::new(0), spill, keeps: false, kept: Mutex::default() }
    }

    /// As [`Rejects::new`], but what is held is written to `spill` too, for a run that can go on.
    pub fn kept_aside(spill: Spill, limit: usize) -> Self {
        Self { keeps: true, ..Self::new(spill, limit) }
    }

    /// Takes the rejects of a reading that an earlier attempt left in the spill file; `false` where they do not stand there
    /// as they were written.
    ///
    /// # Errors
    /// Only for a bug.
    pub fn restore(&self, reading: &str, dataset: &str, files: &KeptRejects, first: Option<&First>) -> Result<bool> {
        let mut segments = files.iter().flat_map(|(_, segments)| segments);
        if !segments.all(|segment| self.spill.read_again(*segment).is_some()) {
            return Ok(false);
        }
        let mut kept = self.kept()?;
        for (file, segments) in files {
            let parts = segments.iter().copied().map(Part::Spilled).collect();
            kept.parts.insert((file.clone(), reading.to_owned()), parts);
        }
        kept.met(reading, dataset, first);
        Ok(true)
    }

    /// Bytes of the spill file so far.
    pub fn spilled_bytes(&self) -> u64 {
        self.spill.bytes()
    }

    /// A sink for one reading of `dataset` by keys of `space`.
    pub fn writer(self: &Arc<Self>, reading: String, dataset: &str, space: &str) -> RejectWriter {
        let (rejects, dataset, space) = (Arc::clone(self), dataset.to_owned(), space.to_owned());
        RejectWriter { rejects, reading, dataset, space, taken: Mutex::default() }
    }

    fn kept(&self) -> Result<MutexGuard<'_, Kept>> {
        self.kept.lock().map_err(|_| Error::internal("a writer of rejects stopped halfway"))
    }

    /// Reserves memory; `false` where the limit is reached.
    fn reserve(&self, bytes: usize) -> bool {
        let more = |held: usize| Some(held + bytes).filter(|all| *all <= self.limit);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn release(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Hands over every reject and repair as one line of JSON, in the order of files and rows, and says what was rejected and
    /// repaired of which dataset. `read_by` of a line names the readings that met the row with this outcome.
    ///
    /// # Errors
    /// When the spill file cannot be read, or `line` fails.
    pub fn write(&self, mut line: impl FnMut(Noted, &[u8]) -> Result<()>) -> Result<Written> {
        let kept = self.kept()?;
        let mut rows: BTreeMap<&str, u64> = BTreeMap::new();
        let mut repaired: BTreeMap<(&str, String), u64> = BTreeMap::new();
        let places: Vec<(&Place, &Vec<Part>)> = kept.parts.iter().collect();
        for of_file in places.chunk_by(|a, b| a.0.0 == b.0.0) {
            let mut readings = Vec::with_capacity(of_file.len());
            for ((_, reading), parts) in of_file {
                readings.push((reading.as_str(), Entries::try_new(&self.spill, parts)?));
            }
            while let Some(next) = readings.iter().filter_map(|(_, entries)| entries.next.clone()).min() {
                let mut read_by = Vec::new();
                for (reading, entries) in &mut readings {
                    if entries.next.as_ref() == Some(&next) {
                        entries.advance()?;
                        read_by.push(*reading);
                    }
                }
                let datasets: std::collections::BTreeSet<&str> =
                    read_by.iter().filter_map(|reading| kept.datasets.get(*reading)).map(String::as_str).collect();
                for dataset in datasets {
                    match next.noted {
                        Noted::Rejected => *rows.entry(dataset).or_default() += 1,
                        Noted::Repaired => *repaired.entry((dataset, next.rule()?)).or_default() += 1,
                    }
                }
                line(next.noted, &next.with(&read_by))?;
            }
        }
        let told = |(dataset, first): (&String, &First)| RejectedRows {
            dataset: dataset.clone(),
            rows: rows.get(dataset.as_str()).copied().unwrap_or(0),
            first: first.clone(),
        };
        let of_rule =
            |((dataset, rule), rows): ((&str, String), u64)| RepairedRows { dataset: dataset.to_owned(), rule, rows };
        Ok(Written {
            rejected: kept.first.iter().map(told).collect(),
            repaired: repaired.into_iter().map(of_rule).collect(),
        })
    }
}

/// A reject as it waits: its place in the file, and its line of JSON without the closing brace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    byte_offset: u64,
    line: u64,
    noted: Noted,
    json: Vec<u8>,
}

impl Entry {
    fn of(reject: &Reject, noted: Noted) -> Self {
        let row = json!({
            "source": reject.source, "line": reject.line, "byte_offset": reject.byte_offset, "rule": reject.rule,
            "column": reject.column, "reason": reject.reason, "raw_hex": hex(&reject.raw),
        });
        let mut json = row.to_string().into_bytes();
        json.pop();
        Self { byte_offset: reject.byte_offset, line: reject.line, noted, json }
    }

    fn write(&self, out: &mut Vec<u8>) {
        for number in [self.byte_offset, self.line, u64::from(self.noted == Noted::Repaired), self.json.len() as u64] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.json);
    }

    fn read(from: &mut dyn BufRead) -> std::io::Result<Option<Self>> {
        if from.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let mut number = || {
            let mut bytes = [0; 8];
            from.read_exact(&mut bytes).map(|()| u64::from_le_bytes(bytes))
        };
        let (byte_offset, line, repaired, length) = (number()?, number()?, number()?, number()?);
        let mut json = vec![0; usize::try_from(length).map_err(std::io::Error::other)?];
        from.read_exact(&mut json)?;
        let noted = if repaired == 1 { Noted::Repaired } else { Noted::Rejected };
        Ok(Some(Self { byte_offset, line, noted, json }))
    }

    /// The rule that its JSON tells.
    fn rule(&self) -> Result<String> {
        #[derive(Deserialize)]
        struct Row {
            rule: String,
        }
        let whole = [&self.json[..], b"}"].concat();
        let row: Row =
            serde_json::from_slice(&whole).map_err(|_| Error::internal("a note of a row does not tell its rule"))?;
        Ok(row.rule)
    }

    /// The whole line of JSON.
    fn with(&self, read_by: &[&str]) -> Vec<u8> {
        let mut line = self.json.clone();
        line.extend_from_slice(format!(",\"read_by\":{}}}\n", json!(read_by)).as_bytes());
        line
    }
}

/// The entries of one reading in one file, in their order.
struct Entries<'a> {
    spill: &'a Spill,
    parts: std::slice::Iter<'a, Part>,
    part: Box<dyn BufRead + 'a>,
    next: Option<Entry>,
}

impl<'a> Entries<'a> {
    fn try_new(spill: &'a Spill, parts: &'a [Part]) -> Result<Self> {
        let mut entries = Self { spill, parts: parts.iter(), part: Box::new(std::io::empty()), next: None };
        entries.advance()?;
        Ok(entries)
    }

    fn advance(&mut self) -> Result<()> {
        loop {
            let read = Entry::read(&mut *self.part);
            self.next = read.map_err(|error| Error::internal(format!("rejects cannot be read again: {error}")))?;
            if self.next.is_some() {
                return Ok(());
            }
            self.part = match self.parts.next() {
                None => return Ok(()),
                Some(Part::Held(bytes)) => Box::new(bytes.as_slice()),
                Some(Part::Spilled(segment)) => {
                    Box::new(BufReader::with_capacity(READ_BYTES, self.spill.reader(*segment)))
                }
            };
        }
    }
}

/// Takes the rejects of one reading. Dropped before [`RejectWriter::finish`], it leaves nothing.
pub struct RejectWriter {
    rejects: Arc<Rejects>,
    reading: String,
    dataset: String,
    space: String,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    parts: BTreeMap<String, Vec<Part>>,
    /// Bytes held that are reserved, and those that are not.
    held: usize,
    beyond: usize,
    first: Option<First>,
    keys: FxHashSet<String>,
    is_anybodys: bool,
}

/// What a reading rejected.
#[derive(Debug, Default)]
pub struct Finished {
    /// The first reject.
    pub first: Option<First>,
    /// The canonical keys that the rows have or may have.
    pub keys: FxHashSet<String>,
    /// One of the rows may be anybody's.
    pub is_anybodys: bool,
    /// Where they stand in the spill file, if they are kept there.
    pub aside: KeptRejects,
}

impl RejectSink for RejectWriter {
    fn reject(&self, reject: Reject) -> Result<()> {
        let mut taken = self.taken()?;
        taken.is_anybodys |= reject.strays.is_anybodys;
        let texts = reject.strays.keys.iter().filter_map(|key| std::str::from_utf8(key).ok());
        taken.keys.extend(texts.filter_map(|key| canonical(&self.space, key)));
        let entry = Entry::of(&reject, Noted::Rejected);
        let Reject { source, line, byte_offset, rule, .. } = reject;
        let place = First { file: source.clone(), byte_offset, line, rule: rule.into() };
        if taken.first.as_ref().is_none_or(|first| place < *first) {
            taken.first = Some(place);
        }
        self.take(&mut taken, source, &entry)
    }

    fn repaired(&self, note: Reject) -> Result<Repaired> {
        let entry = Entry::of(&note, Noted::Repaired);
        self.take(&mut *self.taken()?, note.source, &entry)?;
        Ok(Repaired::Told)
    }
}

impl RejectWriter {
    fn taken(&self) -> Result<MutexGuard<'_, Taken>> {
        self.taken.lock().map_err(|_| Error::internal("a reader stopped while rejecting"))
    }

    /// Appends what is told of a row of the file called `source`.
    fn take(&self, taken: &mut Taken, source: String, entry: &Entry) -> Result<()> {
        let parts = taken.parts.entry(source).or_default();
        if !matches!(parts.last(), Some(Part::Held(_))) {
            parts.push(Part::Held(Vec::new()));
        }
        let Some(Part::Held(bytes)) = parts.last_mut() else { return Err(Error::internal("no place for a reject")) };
        let before = bytes.capacity();
        entry.write(bytes);
        let grown = bytes.capacity() - before;
        let reserved = self.rejects.reserve(grown);
        *if reserved { &mut taken.held } else { &mut taken.beyond } += grown;
        if taken.beyond > WAITING_BYTES { self.spill(taken) } else { Ok(()) }
    }

    /// Writes out everything that is held here.
    fn spill(&self, taken: &mut Taken) -> Result<()> {
        for part in taken.parts.values_mut().flatten() {
            if let Part::Held(bytes) = part {
                *part = Part::Spilled(self.rejects.spill.append(bytes)?);
            }
        }
        self.rejects.release(std::mem::take(&mut taken.held));
        taken.beyond = 0;
        Ok(())
    }

    /// Hands the rejects over.
    ///
    /// # Errors
    /// When they cannot be spilled.
    pub fn finish(&self) -> Result<Finished> {
        let mut taken = self.taken()?;
        if taken.beyond > 0 && !self.rejects.reserve(taken.beyond) {
            self.spill(&mut taken)?;
        }
        // What is handed over stays reserved.
        (taken.held, taken.beyond) = (0, 0);
        let aside = if self.rejects.keeps { self.keep(&taken)? } else { KeptRejects::new() };
        let mut kept = self.rejects.kept()?;
        for (file, parts) in std::mem::take(&mut taken.parts) {
            kept.parts.insert((file, self.reading.clone()), parts);
        }
        kept.met(&self.reading, &self.dataset, taken.first.as_ref());
        let (first, keys) = (taken.first.take(), std::mem::take(&mut taken.keys));
        Ok(Finished { first, keys, is_anybodys: taken.is_anybodys, aside })
    }

    /// Writes what is held to the spill file, and holds it on.
    fn keep(&self, taken: &Taken) -> Result<KeptRejects> {
        let segment = |part: &Part| match part {
            Part::Held(bytes) => self.rejects.spill.append(bytes),
            Part::Spilled(segment) => Ok(*segment),
        };
        let files = taken.parts.iter();
        files.map(|(file, parts)| Ok((file.clone(), parts.iter().map(segment).collect::<Result<_>>()?))).collect()
    }
}

impl Drop for RejectWriter {
    fn drop(&mut self) {
        if let Ok(taken) = self.taken.get_mut() {
            self.rejects.release(taken.held);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use ieum_model::connector::Strays;

    use super::*;

    fn reject(source: &str, line: u64, raw: &str) -> Reject {
        Reject {
            source: source.into(),
            line,
            byte_offset: line * 10,
            rule: "type",
            column: Some("amount".into()),
            reason: "expected a whole number".into(),
            raw: raw.into(),
            strays: Strays { keys: vec![format!("{line}-0").into_bytes()], is_anybodys: line == 1000 },
        }
    }

    /// Two readings of two files, each row rejected by both but the last.
    fn written(limit: usize, path: PathBuf) -> (Vec<String>, Vec<RejectedRows>, u64) {
        let rejects = Arc::new(Rejects::new(Spill::new(path), limit));
        for (reading, last) in [("d.b", 1000), ("d.a", 999)] {
            let writer = rejects.writer(reading.into(), "d", "business");
            for line in 1..=last {
                writer.reject(reject("2.csv", line, &"x".repeat(500))).unwrap();
                writer.reject(reject("1.csv", line, "y")).unwrap();
            }
            let finished = writer.finish().unwrap();
            assert_eq!(finished.first.unwrap().to_string(), "1.csv, line 1: type");
            assert_eq!(finished.is_anybodys, last == 1000);
            assert!(finished.keys.len() == usize::try_from(last).unwrap() && finished.keys.contains("70"));
        }
        let dropped = rejects.writer("e.a".into(), "e", "business");
        dropped.reject(reject("3.csv", 1, "z")).unwrap();
        drop(dropped);
        let mut lines = Vec::new();
        let told = rejects.write(|noted, line| {
            assert_eq!(noted, Noted::Rejected);
            lines.push(String::from_utf8(line.to_vec()).unwrap());
            Ok(())
        });
        (lines, told.unwrap().rejected, rejects.spilled_bytes())
    }

    #[test]
    fn rejects_come_in_file_order_once_each_whether_they_were_spilled_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let (held, told, spilled) = written(usize::MAX, folder.path().join("held"));
        assert_eq!((held.len(), spilled), (2000, 0));
        assert_eq!((told.len(), told[0].rows, told[0].first.line), (1, 2000, 1));
        assert!(held[0].contains("\"1.csv\"") && held[0].ends_with(",\"read_by\":[\"d.a\",\"d.b\"]}\n"), "{}", held[0]);
        assert!(held[999].contains("\"line\":1000,") && held[999].ends_with(",\"read_by\":[\"d.b\"]}\n"));
        assert!(held[1000].contains("\"2.csv\"") && held[1000].contains("\"line\":1,"));
        let (some, told_some, spilled) = written(64 << 10, folder.path().join("spilled"));
        assert!(spilled > 1 << 20, "a row of 500 bytes is more in hexadecimal: {spilled}");
        assert!(some == held && told_some == told);
    }

    #[test]
    fn repaired_rows_are_told_apart_from_rejected_ones() {
        let folder = tempfile::tempdir().unwrap();
        for limit in [0, usize::MAX] {
            let rejects = Arc::new(Rejects::new(Spill::new(folder.path().join(limit.to_string())), limit));
            let writer = rejects.writer("d.a".into(), "d", "business");
            for line in 1..=1000 {
                let rule = if line % 2 == 0 { "even" } else { "odd" };
                assert_eq!(writer.repaired(Reject { rule, ..reject("1.xml", line, "y") }).unwrap(), Repaired::Told);
            }
            writer.reject(reject("1.xml", 3, "z")).unwrap();
            let finished = writer.finish().unwrap();
            assert_eq!(finished.first.unwrap().to_string(), "1.xml, line 3: type");
            assert_eq!(finished.keys.len(), 1, "a repaired row stands for nothing that is missing");
            let mut noted = Vec::new();
            let written = rejects.write(|of, line| {
                assert!(line.ends_with(b",\"read_by\":[\"d.a\"]}\n"));
                noted.push(of);
                Ok(())
            });
            let written = written.unwrap();
            assert_eq!(written.rejected.iter().map(|rows| rows.rows).collect::<Vec<_>>(), [1]);
            let rules: Vec<_> = written.repaired.iter().map(|rows| (rows.rule.as_str(), rows.rows)).collect();
            assert_eq!(rules, [("even", 500), ("odd", 500)]);
            assert_eq!(noted.iter().filter(|of| **of == Noted::Repaired).count(), 1000);
        }
    }
}
