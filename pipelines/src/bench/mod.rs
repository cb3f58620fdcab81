//! `ieum bench`: nights at rising sizes, beside their physical floor and beside other engines doing the same work.
//!
//! ```text
//!  plan ─► nights: generated once, shared ─► runs: one child process each, its answers judged ─┐
//!                                         ├► floors: the scan beside the least work            ├─► ledger: bench.json
//!                                         └► peers: other engines, outputs compared first     ─┘      └─► bars
//! ```
//!
//! What is compared is measured in turn within a round, and a ratio is one of the same round. The parent stays small,
//! because the system's peak of a process counts the one that started it until its own program begins.

pub mod bars;
pub mod floors;
pub mod ledger;
pub mod machine;
pub mod measure;
pub mod nights;
pub mod peers;
pub mod plan;
pub mod points;
pub mod record;
pub mod report;
pub mod runs;

use std::path::PathBuf;

use ieum_model::error::Result;

use crate::screen::Screen;
use ledger::Ledger;
use nights::Nights;
use peers::Peers;
use plan::Axis;
use record::{Record, Settings};
use runs::Program;

/// What to measure, and where it goes.
#[derive(Debug)]
pub struct Options {
    /// Folder of `bench.json` and of the nights.
    pub out: PathBuf,
    /// Catalog that nights are generated from.
    pub catalog: PathBuf,
    /// Sizes that points share.
    pub settings: Settings,
    /// Largest night of the `requests` axis.
    pub most_requests: u64,
    /// What is varied.
    pub axes: Vec<Axis>,
    /// Other engines to measure beside ieum.
    pub peers: Option<Peers>,
    /// Whether what was measured before is thrown away.
    pub fresh: bool,
}

/// What a benchmark came to.
#[derive(Debug)]
pub struct Done {
    /// The file of the record.
    pub path: PathBuf,
    /// Everything measured, now or before.
    pub record: Record,
    /// Processes measured now.
    pub measured: u64,
    /// Runs that failed, in words.
    pub failed: Vec<String>,
}

/// What every part of a benchmark works with.
pub struct Bench<'a> {
    options: &'a Options,
    program: Program,
    nights: Nights,
    ledger: Ledger,
    screen: &'a Screen,
    measured: u64,
    failed: Vec<String>,
}

/// Measures what has not been measured before by the same program with the same settings.
///
/// # Errors
/// When the nights cannot be generated or the record not be written. A run that fails is told, and stops nothing.
pub fn bench(options: &Options, screen: &Screen) -> Result<Done> {
    let program = Program::here()?;
    let begun = Record {
        format: record::FORMAT.to_owned(),
        machine: machine::here(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        program: program.digest.clone(),
        settings: options.settings.clone(),
        ..Record::default()
    };
    let ledger = Ledger::open(&options.out, begun, options.fresh, screen)?;
    let nights = Nights::new(options, &program)?;
    let mut bench = Bench { options, program, nights, ledger, screen, measured: 0, failed: Vec::new() };
    for group in plan::groups(&options.settings, options.most_requests, &options.axes) {
        bench.points(&group)?;
    }
    if options.axes.contains(&Axis::Floor) {
        bench.floors()?;
    }
    if let Some(peers) = &options.peers {
        bench.comparisons(peers)?;
    }
    bench.nights.tidy()?;
    bench.ledger.record.bars = bars::bars(&bench.ledger.record);
    bench.ledger.save()?;
    let Bench { ledger, measured, failed, .. } = bench;
    Ok(Done { path: ledger.path, record: ledger.record, measured, failed })
}

impl Bench<'_> {
    /// Tells a failed run and goes on: an hour of measurements is not thrown away for one.
    fn fail(&mut self, what: &str, error: &ieum_model::error::Error) {
        self.screen.warning(&format!("{what} failed: {}", error.told()));
        self.failed.push(what.to_owned());
    }
}
