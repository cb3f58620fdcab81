//! The scan of every format beside its physical floor, in turn within a round.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use ieum_connectors::floor::{self, Asked, Touched};
use ieum_core::explain::explain;
use ieum_core::input::Night;
use ieum_core::manifest::{MANIFEST, Manifest};
use ieum_model::catalog::Catalog;
use ieum_model::dataset::Dataset;
use ieum_model::error::{Error, Result};
use serde::{Deserialize, Serialize};

use super::measure::micro;
use super::nights::{Place, warm};
use super::plan::{self, FORMATS};
use super::record::{self, Floor};
use super::{Bench, runs};
use crate::screen::grouped;

/// The step of a night that is held against the floor: scan and link.
pub const SCAN: &str = "gather";

/// What the process that measures the floor tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// Rows whose key was looked at.
    pub rows: u64,
    /// Bytes that had to be read.
    pub bytes: u64,
    /// Seconds from the first byte to the last.
    pub seconds: f64,
}

impl Bench<'_> {
    /// Measures the floors that are lacking.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn floors(&mut self) -> Result<()> {
        for format in &FORMATS[1..] {
            let night = plan::floor(&self.options.settings, format);
            if let Err(error) = self.floor(format, &night) {
                self.fail(&format!("floor of {format}"), &error);
            }
        }
        Ok(())
    }

    fn floor(&mut self, format: &str, night: &record::Night) -> Result<()> {
        let is_it = |floor: &Floor| floor.format == format;
        let begun = self.ledger.record.floors.iter().find(|floor| is_it(floor)).cloned();
        let mut floor = begun.unwrap_or_else(|| Floor {
            format: format.to_owned(),
            asked_share: micro(night.requests as f64 / night.people as f64),
            bytes: 0,
            rows: 0,
            floor_seconds: Vec::new(),
            scan_seconds: Vec::new(),
        });
        if floor.scan_seconds.len() >= self.options.settings.rounds {
            return Ok(());
        }
        let place = self.nights.ready(night, self.screen)?;
        warm(&place.inputs(false))?;
        while floor.scan_seconds.len() < self.options.settings.rounds {
            let doing =
                format!("floor {format}, round {} of {}", floor.scan_seconds.len() + 1, self.options.settings.rounds);
            let screen = self.screen;
            let (told, scanned, rows) = screen.busy(doing, || self.round(&place, night))?;
            (floor.rows, floor.bytes) = (told.rows, told.bytes);
            floor.floor_seconds.push(told.seconds);
            floor.scan_seconds.push(scanned);
            if rows < told.rows {
                let (rows, all) = (grouped(rows), grouped(told.rows));
                return Err(Error::internal(format!("the night read {rows} rows, the floor {all}")));
            }
            let floors = &mut self.ledger.record.floors;
            floors.retain(|floor| !is_it(floor));
            floors.push(floor.clone());
            self.ledger.save()?;
        }
        let (rows, ratio) = (grouped(floor.rows), floor.ratio());
        self.screen.note(&format!("floor {format}: a scan of {rows} rows takes {ratio:.2} times its floor"));
        Ok(())
    }

    /// The floor, the seconds of the scan, and the rows that it read.
    fn round(&mut self, place: &Place, night: &record::Night) -> Result<(Told, f64, u64)> {
        let threads = night.threads.to_string();
        let definition = place.definition(false);
        let out = place.work.join("out");
        let committed = runs::committed(&out);
        let run: runs::Run = self.program.night(place, night, &out)?;
        let arguments = [
            "bench-part".as_ref(),
            "floor".as_ref(),
            definition.as_os_str(),
            committed.as_os_str(),
            "--threads".as_ref(),
            threads.as_ref(),
        ];
        let (_, told): (_, Told) = self.program.told(arguments, &place.work.join("floor"), &[0])?;
        let _ = std::fs::remove_dir_all(&out);
        self.measured += 2;
        let seconds = run.round.steps.get(SCAN).copied();
        let seconds = seconds.ok_or_else(|| Error::internal("a run does not tell the seconds of its steps"))?;
        Ok((told, seconds, run.summary.rows_read))
    }
}

/// What a run that was committed to the folder `committed` asked of each dataset: its columns, and the rows it found.
///
/// # Errors
/// When the night cannot be explained, or its manifest not be read.
pub fn asked(night: &Night, committed: &Path) -> Result<BTreeMap<String, Asked>> {
    let mut asked = BTreeMap::<String, Asked>::new();
    for one in explain(night)? {
        let columns = one.columns.into_iter().map(|column| column.column);
        let bridges = one.bridges.into_iter().map(|(column, ..)| column);
        let of = asked.entry(one.dataset).or_default();
        of.columns.extend(columns.chain(bridges));
        of.columns.sort_unstable();
        of.columns.dedup();
    }
    let unreadable = |error: &dyn std::fmt::Display| {
        Error::internal(format!("the manifest of a measured run cannot be read: {error}"))
    };
    let manifest = std::fs::read(committed.join(MANIFEST)).map_err(|error| unreadable(&error))?;
    let manifest: Manifest = serde_json::from_slice(&manifest).map_err(|error| unreadable(&error))?;
    for (reading, counts) in &manifest.sources {
        let dataset = reading.split('.').next().unwrap_or(reading);
        if let Some(asked) = asked.get_mut(dataset) {
            asked.rows += counts.kept;
        }
    }
    Ok(asked)
}

/// Reads the needed bytes of every export of the catalog that is asked for, on so many threads; the longest files first.
///
/// # Errors
/// When an export cannot be read.
pub fn touch(catalog: &Catalog, exports: &Path, asked: &BTreeMap<String, Asked>, threads: usize) -> Result<Told> {
    let mut files: Vec<(&Dataset, String, Asked, u64)> = Vec::new();
    for dataset in catalog.datasets.values().filter(|dataset| dataset.transferable && dataset.export.is_some()) {
        let names = floor::files(exports, dataset)?;
        let mut of_file = asked.get(&dataset.code).cloned().unwrap_or_default();
        of_file.rows = of_file.rows.div_ceil(names.len().max(1) as u64);
        for name in names {
            let bytes = exports.join(&name).metadata().map_or(0, |about| about.len());
            files.push((dataset, name, of_file.clone(), bytes));
        }
    }
    files.sort_by_key(|(.., bytes)| std::cmp::Reverse(*bytes));
    let (next, sum) = (AtomicUsize::new(0), Mutex::new(Touched::default()));
    let worker = || -> Result<()> {
        while let Some((dataset, name, asked, _)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let touched = floor::touch(exports, name, dataset, asked)?;
            *sum.lock().unwrap_or_else(PoisonError::into_inner) += touched;
        }
        Ok(())
    };
    #[allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]
    let started = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|_| Err(Error::internal("a thread of the floor stopped")))
        })
    })?;
    let seconds = micro(started.elapsed().as_secs_f64());
    let touched = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Told { rows: touched.rows, bytes: touched.bytes, seconds })
}

/// Ratios of the floors by format, of those with enough rounds.
pub fn ratios(floors: &[Floor], rounds: usize) -> BTreeMap<&str, f64> {
    let enough = floors.iter().filter(|floor| floor.scan_seconds.len() >= rounds);
    enough.map(|floor| (floor.format.as_str(), floor.ratio())).collect()
}
