//! Measures the points of an axis: in every round each of them once, another one first each round.

use std::collections::{BTreeMap, BTreeSet};

use ieum_model::error::Result;

use super::Bench;
use super::nights::{Place, warm};
use super::plan::{Axis, Group, Planned};
use super::record::Point;
use super::runs::{Run, put_away};
use crate::screen::{grouped, size};

impl Bench<'_> {
    /// Measures what a group lacks.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn points(&mut self, group: &Group) -> Result<()> {
        let rounds = self.options.settings.rounds;
        let lacking: Vec<&Planned> =
            group.points.iter().filter(|planned| self.ledger.point(planned).rounds.len() < rounds).collect();
        if lacking.is_empty() {
            return Ok(());
        }
        if group.axis == Axis::Staged && !self.nights.can_stage() {
            self.screen.warning("the axis `staged` is left out: this program has no command `stage`");
            self.ledger.record.points.retain(|point| point.axis != group.axis.name());
            return Ok(());
        }
        let mut places = self.places(&lacking)?;
        for round in 0..rounds {
            for at in 0..lacking.len() {
                let planned = lacking[(at + round) % lacking.len()];
                if self.ledger.point(planned).rounds.len() > round {
                    continue;
                }
                let Some(place) = places.get(&planned.label).cloned() else { continue };
                if let Err(error) = self.measure(planned, &place) {
                    self.fail(&format!("{} {}", planned.axis, planned.label), &error);
                    places.remove(&planned.label);
                }
            }
        }
        self.ledger.record.points.retain(|point| !point.rounds.is_empty());
        Ok(())
    }

    /// The nights, whole and in the page cache.
    fn places(&mut self, points: &[&Planned]) -> Result<BTreeMap<String, Place>> {
        let mut places = BTreeMap::new();
        for planned in points {
            match self.nights.ready(&planned.night, self.screen) {
                Ok(place) => _ = places.insert(planned.label.clone(), place),
                Err(error) => self.fail(&format!("generating {} {}", planned.axis, planned.label), &error),
            }
        }
        let inputs: BTreeSet<_> = points
            .iter()
            .filter_map(|planned| Some(places.get(&planned.label)?.inputs(planned.night.staged)))
            .collect();
        inputs.iter().try_for_each(|folder| warm(folder))?;
        Ok(places)
    }

    fn measure(&mut self, planned: &Planned, place: &Place) -> Result<()> {
        let out = place.work.join("out");
        let rounds = self.options.settings.rounds;
        let nth = self.ledger.point(planned).rounds.len() + 1;
        let doing = format!("{} {}, round {nth} of {rounds}", planned.axis, planned.label);
        let run = self.screen.busy(doing, || self.program.night(place, &planned.night, &out));
        // What cannot be removed is removed before the next run.
        put_away(&out, &planned.night);
        let run = run?;
        self.measured += 1;
        if let Some(first) = &run.judged.first {
            self.screen.warning(&format!("{} {}: {first}", planned.axis, planned.label));
        }
        let point = self.ledger.point(planned);
        point.take(run);
        let told = (point.rounds.len() == rounds).then(|| told(point));
        self.ledger.save()?;
        if let Some(told) = told {
            self.screen.note(&told);
        }
        Ok(())
    }
}

impl Point {
    fn take(&mut self, run: Run) {
        self.rounds.push(run.round);
        self.rows_read = run.summary.rows_read;
        self.rows_kept = run.summary.rows_kept;
        self.bytes_read = run.summary.bytes_read;
        self.lines = run.judged.lines;
        self.lines_different = self.lines_different.max(run.judged.different);
    }
}

fn told(point: &Point) -> String {
    let (least, most) = point.spread();
    format!(
        "{} {}: {:.2} s [{least:.2}–{most:.2}], CPU {:.2} s, {}, {} rows, {} of {} lines differ",
        point.axis,
        point.label,
        point.wall_seconds(),
        point.cpu_seconds(),
        size(point.peak_bytes()),
        grouped(point.rows_read),
        grouped(point.lines_different),
        grouped(point.lines)
    )
}
