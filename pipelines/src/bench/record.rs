//! What `bench.json` holds: every measurement as it was taken, and what follows from them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::measure::Cost;
use crate::page::quantity::median;

/// Version of the file's format.
pub const FORMAT: &str = "ieum-bench/1";

/// A whole benchmark.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Record {
    /// [`FORMAT`].
    pub format: String,
    /// Where it was measured.
    pub machine: Machine,
    /// Version of ieum.
    pub version: String,
    /// SHA-256 of the program that was measured; another one's points are not resumed.
    pub program: String,
    /// Sizes and settings that points share unless they say otherwise.
    pub settings: Settings,
    /// Whole runs, in the order they were measured.
    pub points: Vec<Point>,
    /// The scan beside the least work that any reader has to do.
    pub floors: Vec<Floor>,
    /// ieum beside what one would use instead.
    pub comparisons: Vec<Comparison>,
    /// What was promised, and whether it holds.
    pub bars: Vec<Bar>,
}

/// A machine, in words.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Machine {
    /// Model of the processor.
    pub processor: String,
    /// Processors that may be used.
    pub processors: usize,
    /// Memory.
    pub memory_bytes: u64,
    /// Operating system and kernel.
    pub system: String,
}

/// What points share.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Settings {
    /// People.
    pub people: u64,
    /// Requests.
    pub requests: u64,
    /// Datasets beside the register of changed numbers.
    pub datasets: usize,
    /// Threads.
    pub threads: usize,
    /// Memory limit.
    pub memory_bytes: u64,
    /// Measured rounds of a point.
    pub rounds: usize,
    /// Seed of the generated nights.
    pub seed: u64,
}

/// A night as it was run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Night {
    /// People.
    pub people: u64,
    /// Requests.
    pub requests: u64,
    /// Datasets beside the register.
    pub datasets: usize,
    /// Formats of the exports: `mixed`, `csv`, `fixed_width` or `parquet`.
    pub formats: String,
    /// Whether staged copies were read.
    pub staged: bool,
    /// Threads.
    pub threads: usize,
    /// Memory limit.
    pub memory_bytes: u64,
    /// `packed` or `per_request`.
    pub layout: String,
    /// `json` or `parquet`.
    pub output: String,
}

/// A run at one size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// What is varied: `requests`, `people`, `datasets`, `threads`, `formats`, `outputs`, `staged`.
    pub axis: String,
    /// Its value in words.
    pub label: String,
    /// Its value as a number; 0 where it is none.
    pub value: f64,
    /// The night.
    pub night: Night,
    /// What each round cost.
    pub rounds: Vec<Round>,
    /// Rows read.
    pub rows_read: u64,
    /// Rows that somebody asked for.
    pub rows_kept: u64,
    /// Bytes read from storage.
    pub bytes_read: u64,
    /// Document lines that were expected.
    pub lines: u64,
    /// Lines whose answer is not the expected one.
    pub lines_different: u64,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// Of the whole process.
    pub cost: Cost,
    /// Seconds of each step, in their order: `load`, `plan`, `gather`, `assemble`, `records`, `commit`.
    pub steps: BTreeMap<String, f64>,
}

impl Point {
    /// Median over the rounds.
    pub fn wall_seconds(&self) -> f64 {
        median(self.rounds.iter().map(|round| round.cost.wall_seconds))
    }

    /// Median over the rounds.
    pub fn cpu_seconds(&self) -> f64 {
        median(self.rounds.iter().map(|round| round.cost.cpu_seconds))
    }

    /// The most of any round.
    pub fn peak_bytes(&self) -> u64 {
        self.rounds.iter().map(|round| round.cost.peak_bytes).max().unwrap_or(0)
    }

    /// Median seconds of a step.
    pub fn step_seconds(&self, step: &str) -> f64 {
        median(self.rounds.iter().filter_map(|round| round.steps.get(step).copied()))
    }

    /// Least and most wall seconds.
    pub fn spread(&self) -> (f64, f64) {
        let walls = self.rounds.iter().map(|round| round.cost.wall_seconds);
        walls.fold((f64::INFINITY, 0.0), |(least, most), wall| (wall.min(least), wall.max(most)))
    }
}

/// The scan of one format beside its physical floor, both in every round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Floor {
    /// Format of the exports.
    pub format: String,
    /// Share of the people that is asked for.
    pub asked_share: f64,
    /// Bytes that have to be read.
    pub bytes: u64,
    /// Rows.
    pub rows: u64,
    /// Seconds of the floor, by round: the needed bytes read, the key column decoded.
    pub floor_seconds: Vec<f64>,
    /// Seconds of ieum's scan and link, by round.
    pub scan_seconds: Vec<f64>,
}

impl Floor {
    /// Median of the ratios of the rounds: how many times the floor a scan takes.
    pub fn ratio(&self) -> f64 {
        median(self.scan_seconds.iter().zip(&self.floor_seconds).map(|(scan, floor)| scan / floor))
    }
}

/// Engines that did the same work from the same files in turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// What was done, in words.
    pub title: String,
    /// The night.
    pub night: Night,
    /// What the comparison of the outputs said, by peer; a peer whose output differs has no times.
    pub verdicts: BTreeMap<String, String>,
    /// Cost of every round, by engine; `ieum` is one.
    pub rounds: BTreeMap<String, Vec<Cost>>,
}

impl Comparison {
    /// Median, least and most of a peer's cost over ieum's in the same round.
    pub fn ratio(&self, peer: &str, of: fn(&Cost) -> f64) -> Option<(f64, f64, f64)> {
        let (peer, own) = (self.rounds.get(peer)?, self.rounds.get("ieum")?);
        let ratios: Vec<f64> = peer.iter().zip(own).map(|(peer, own)| of(peer) / of(own)).collect();
        let (least, most) = ratios.iter().fold((f64::INFINITY, 0.0_f64), |(l, m), r| (l.min(*r), m.max(*r)));
        (!ratios.is_empty()).then(|| (median(ratios), least, most))
    }
}

/// A promise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bar {
    /// What is promised.
    pub name: String,
    /// `at most` or `at least`.
    pub relation: String,
    /// The promised number.
    pub bar: f64,
    /// The measured one.
    pub value: f64,
    /// Unit: `×` of a ratio, `MiB`, `lines`.
    pub unit: String,
    /// Whether it holds.
    pub holds: bool,
}

impl Bar {
    /// A number that must not be above `bar`.
    pub fn at_most(name: impl Into<String>, bar: f64, value: f64, unit: &str) -> Self {
        let (relation, holds) = ("at most".to_owned(), value <= bar);
        Self { name: name.into(), relation, bar, value, unit: unit.to_owned(), holds }
    }

    /// A number that must not be below `bar`.
    pub fn at_least(name: impl Into<String>, bar: f64, value: f64, unit: &str) -> Self {
        let (relation, holds) = ("at least".to_owned(), value >= bar);
        Self { name: name.into(), relation, bar, value, unit: unit.to_owned(), holds }
    }
}
