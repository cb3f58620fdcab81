//! `bench.json`: what was measured, written after every run, so that an interrupted benchmark goes on where it was.

use std::fs;
use std::path::{Path, PathBuf};

use ieum_model::error::{Error, ErrorKind, Result};

use super::plan::Planned;
use super::record::{Comparison, Night, Point, Record};
use crate::screen::Screen;

/// Name of the file.
pub const FILE: &str = "bench.json";

/// The record and its file.
#[derive(Debug)]
pub struct Ledger {
    /// The file.
    pub path: PathBuf,
    /// What it holds.
    pub record: Record,
}

impl Ledger {
    /// Opens the record in `folder`; if there is none, or one of another program, machine or settings, `begun` takes
    /// its place.
    ///
    /// # Errors
    /// When the folder cannot be made or the file is no record.
    pub fn open(folder: &Path, begun: Record, fresh: bool, screen: &Screen) -> Result<Self> {
        let path = folder.join(FILE);
        fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
        if fresh || !path.exists() {
            return Ok(Self { path, record: begun });
        }
        let record = read(&path)?;
        if record.is_of(&begun) {
            return Ok(Self { path, record });
        }
        screen.warning(&format!("{} is of another program, machine or settings: measured anew", path.display()));
        Ok(Self { path, record: begun })
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self) -> Result<()> {
        let beside = self.path.with_extension("json.new");
        let text = serde_json::to_string_pretty(&self.record)
            .map_err(|error| Error::internal(format!("the record is no JSON: {error}")))?;
        fs::write(&beside, text + "\n").map_err(|error| unwritable(&beside, &error))?;
        fs::rename(&beside, &self.path).map_err(|error| unwritable(&self.path, &error))
    }

    /// The point as far as it was measured.
    pub fn point(&mut self, planned: &Planned) -> &mut Point {
        let points = &mut self.record.points;
        let is_it = |point: &Point| {
            (&point.axis, &point.label, &point.night) == (&planned.axis, &planned.label, &planned.night)
        };
        let at = points.iter().position(is_it).unwrap_or(points.len());
        if at == points.len() {
            points.push(Point {
                axis: planned.axis.clone(),
                label: planned.label.clone(),
                value: planned.value,
                night: planned.night.clone(),
                rounds: Vec::new(),
                rows_read: 0,
                rows_kept: 0,
                bytes_read: 0,
                lines: 0,
                lines_different: 0,
            });
        }
        &mut points[at]
    }

    /// The comparison as far as it was measured.
    pub fn comparison(&mut self, title: &str, night: &Night) -> &mut Comparison {
        let comparisons = &mut self.record.comparisons;
        let is_it = |of: &Comparison| of.title == title && of.night == *night;
        let at = comparisons.iter().position(is_it).unwrap_or(comparisons.len());
        if at == comparisons.len() {
            let (title, night) = (title.to_owned(), night.clone());
            comparisons.push(Comparison { title, night, verdicts: Default::default(), rounds: Default::default() });
        }
        &mut comparisons[at]
    }
}

impl Record {
    /// Whether both are of the same program, machine and settings, so that their points can stand side by side.
    fn is_of(&self, other: &Self) -> bool {
        let of = |record: &Self| (record.format.clone(), record.program.clone(), record.machine.clone());
        of(self) == of(other) && self.settings == other.settings
    }
}

fn read(path: &Path) -> Result<Record> {
    let broken = |why: String| {
        Error::config(format!("no record of a benchmark: {why}"))
            .at("file", path.display())
            .hint("`--fresh` begins anew")
    };
    let text = fs::read_to_string(path).map_err(|error| broken(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| broken(error.to_string()))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Temporary, format!("cannot write: {error}")).at("file", path.display())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::plan::{Axis, groups};
    use super::super::record::Settings;
    use super::*;
    use crate::cli::{LogFormat, Output, Verbosity};

    fn screen() -> Screen {
        Screen::new(Output::Text, LogFormat::Text, &Verbosity { quiet: true, verbose: 0 })
    }

    #[test]
    fn a_record_goes_on_only_with_the_same_program_and_settings() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings { people: 10, requests: 5, datasets: 2, threads: 1, rounds: 1, ..Default::default() };
        let begun = Record { program: "one".to_owned(), settings: settings.clone(), ..Default::default() };
        let open = |begun: &Record, fresh| Ledger::open(folder.path(), begun.clone(), fresh, &screen()).unwrap();
        let planned = groups(&settings, 1, &[Axis::Requests])[0].points[0].clone();
        let mut ledger = open(&begun, false);
        ledger.point(&planned).lines = 7;
        ledger.save().unwrap();
        assert_eq!(open(&begun, false).point(&planned).lines, 7);
        assert_eq!(open(&begun, false).record.points.len(), 1);
        assert!(open(&begun, true).record.points.is_empty());
        assert!(open(&Record { program: "other".to_owned(), ..begun.clone() }, false).record.points.is_empty());
        let more = Record { settings: Settings { rounds: 2, ..settings }, ..begun.clone() };
        assert!(open(&more, false).record.points.is_empty());
        fs::write(folder.path().join(FILE), "{").unwrap();
        assert!(Ledger::open(folder.path(), begun, false, &screen()).unwrap_err().hint.unwrap().contains("--fresh"));
    }
}
