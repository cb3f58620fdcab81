//! The nights of a benchmark: generated once, in processes of their own, and shared between points.
//!
//! ```text
//!  nights/<catalog>-<seed>/<people>-<datasets>-<formats>/   catalog, exports, key: what nights of any size share
//!                                                  └─ requests-<n>/   requests, expected answers, nightly.toml
//! ```

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use chrono::NaiveDate;
use ieum_model::error::{Error, ErrorKind, Result};

use super::Options;
use super::measure::measured;
use super::record::Night;
use super::runs::{AWAY, Program, accept};
use crate::generate;
use crate::load::{catalog_sources, digest};
use crate::screen::{Screen, grouped};

/// Digits of the catalog's digest in the name of a folder.
const CATALOG_DIGITS: usize = 8;
/// Bytes read at a time.
const CHUNK: usize = 1 << 20;

/// The day of all nights: the same seed gives the same bytes only on the same day.
pub fn date() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, 22).unwrap_or_default()
}

/// Where the nights are, and what they are generated from.
#[derive(Debug)]
pub struct Nights {
    root: PathBuf,
    work: PathBuf,
    catalog: PathBuf,
    program: Program,
    seed: u64,
}

/// Where one night stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Folder of the requests, the expected answers and the run definition.
    pub folder: PathBuf,
    /// Folder of what nights of any number of requests share.
    pub shared: PathBuf,
    /// Folder for outputs and logs of runs.
    pub work: PathBuf,
}

impl Place {
    /// The run definition.
    pub fn definition(&self, staged: bool) -> PathBuf {
        self.folder.join(if staged { "staged.toml" } else { "nightly.toml" })
    }

    /// Folder of what a run reads: the exports, or their staged copies.
    pub fn inputs(&self, staged: bool) -> PathBuf {
        self.shared.join(if staged { "staged" } else { "exports" })
    }

    /// The expected answers.
    pub fn expected(&self) -> PathBuf {
        self.folder.join(generate::EXPECTED)
    }
}

impl Nights {
    /// The nights of these options.
    ///
    /// # Errors
    /// When the catalog or a folder cannot be read or made.
    pub fn new(options: &Options, program: &Program) -> Result<Self> {
        let sources = catalog_sources(&options.catalog)?;
        let catalog = digest(sources.iter().map(|source| (source.path.as_str(), source.text.as_bytes())));
        let nights = options.out.join("nights");
        if options.fresh {
            removed(&nights)?;
        }
        let work = options.out.join("work");
        removed(&work)?;
        fs::create_dir_all(&work).map_err(|error| failed(&work, &error))?;
        Ok(Self {
            root: nights.join(format!("{}-{}", &catalog[..CATALOG_DIGITS], options.settings.seed)),
            work,
            catalog: options.catalog.clone(),
            program: program.clone(),
            seed: options.settings.seed,
        })
    }

    /// Folder for outputs and logs of runs.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// Removes the outputs that were put away.
    ///
    /// # Errors
    /// When they cannot be removed.
    pub fn tidy(&self) -> Result<()> {
        removed(&self.work.join(AWAY))
    }

    /// The night, generated where it is not there yet.
    ///
    /// # Errors
    /// When it cannot be generated.
    pub fn ready(&self, night: &Night, screen: &Screen) -> Result<Place> {
        let shared = self.root.join(format!("{}-{}-{}", night.people, night.datasets, night.formats));
        let folder = shared.join(format!("requests-{}", night.requests));
        let told = |what: &str| {
            let (people, datasets) = (grouped(night.people), night.datasets);
            screen.note(&format!(
                "generating {what}; people: {people}, datasets: {datasets}, formats: {}",
                night.formats
            ));
        };
        if !shared.exists() {
            told("exports");
            self.generate("exports", night, &shared)?;
        }
        if !folder.exists() {
            told(&format!("requests: {}", grouped(night.requests)));
            self.generate("requests", night, &folder)?;
        }
        let place = Place { folder, shared, work: self.work.clone() };
        if night.staged && !place.definition(true).exists() {
            self.stage(&place, night, screen)?;
        }
        Ok(place)
    }

    /// Generates into a folder beside, which then takes its name: a folder that is there is whole.
    fn generate(&self, part: &str, night: &Night, folder: &Path) -> Result<()> {
        let beside = folder.with_extension("part");
        removed(&beside)?;
        let mut arguments: Vec<OsString> = vec!["bench-part".into(), part.into(), "--catalog".into()];
        arguments.push(self.catalog.clone().into());
        for (name, number) in [
            ("--people", night.people),
            ("--requests", night.requests),
            ("--datasets", night.datasets as u64),
            ("--seed", self.seed),
        ] {
            arguments.extend([name.into(), number.to_string().into()]);
        }
        if night.formats != "mixed" {
            arguments.extend(["--formats".into(), night.formats.replace('_', "-").into()]);
        }
        arguments.extend(["--date".into(), date().to_string().into(), "--no-faults".into(), "--all-asked".into()]);
        arguments.push(beside.clone().into());
        let log = self.work.join("generate");
        let (_, status) = measured(Command::new(&self.program.path).args(arguments), &log)?;
        accept(status, &log, &[0])?;
        fs::rename(&beside, folder).map_err(|error| failed(folder, &error))
    }

    /// Stages the exports, and writes the run definition that reads the staged copies.
    fn stage(&self, place: &Place, night: &Night, screen: &Screen) -> Result<()> {
        screen.note("staging the exports");
        let (plain, beside) = (place.definition(false), place.folder.join("staged.new"));
        let text = fs::read_to_string(&plain).map_err(|error| failed(&plain, &error))?;
        fs::write(&beside, text + "staged = \"../staged\"\n").map_err(|error| failed(&beside, &error))?;
        let log = self.work.join("stage");
        let mut command = Command::new(&self.program.path);
        command.arg("stage").arg(&beside).arg("--threads").arg(night.threads.to_string());
        let (_, status) = measured(command.arg("--memory").arg(night.memory_bytes.to_string()), &log)?;
        accept(status, &log, &[0])?;
        let definition = place.definition(true);
        fs::rename(&beside, &definition).map_err(|error| failed(&definition, &error))
    }

    /// Whether the program can stage exports.
    pub fn can_stage(&self) -> bool {
        let log = self.work.join("stage");
        measured(Command::new(&self.program.path).args(["stage", "--help"]), &log)
            .is_ok_and(|(_, status)| status.success())
    }
}

/// Reads every file below a folder once, so that no measured run is the one that fetches it from the disk.
///
/// # Errors
/// When one cannot be read.
pub fn warm(folder: &Path) -> Result<()> {
    let mut buffer = vec![0; CHUNK];
    read_all(folder, &mut buffer).map_err(|error| failed(folder, &error))
}

fn read_all(folder: &Path, buffer: &mut [u8]) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read_all(&path, buffer)?;
            continue;
        }
        let mut file = File::open(&path)?;
        while file.read(buffer)? > 0 {}
    }
    Ok(())
}

fn removed(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(folder, &error)),
        _ => Ok(()),
    }
}

fn failed(path: &Path, error: &io::Error) -> Error {
    Error::new(ErrorKind::Temporary, format!("a folder of the benchmark: {error}")).at("path", path.display())
}
