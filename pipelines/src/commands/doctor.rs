//! `ieum doctor`: what a night relies on, tried out before the night.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use ieum_connectors::Folder;
use ieum_core::deliver;
use ieum_model::error::{Error, ErrorKind, Result};
use serde::Serialize;

use super::{DONE, now};
use crate::cli::DoctorArgs;
use crate::definition::Definition;
use crate::load;
use crate::places;
use crate::screen::Screen;

/// A clock that differs by more from that of a store makes signed requests fail and locks lapse early or late.
const CLOCKS_DIFFER_SECONDS: i64 = 60;

/// What `ieum doctor` found. Fields may be added.
#[derive(Serialize)]
struct Report {
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Finding {
    /// What was tried.
    of: String,
    what: String,
    /// `None` where it is as it should be.
    wrong: Option<String>,
    #[serde(skip)]
    kind: ErrorKind,
}

/// Tries out keys, disk, clock, the store that outputs are delivered to, and every place of the definition. Exit code 0 where
/// all is as it should be, else that of the first that is not.
///
/// # Errors
/// When the definition cannot be read.
pub fn doctor(args: &DoctorArgs, screen: &Screen) -> Result<u8> {
    let definition = Definition::read(&args.file)?;
    let mut report = Report { findings: Vec::new() };
    report.tried("keys", &definition.keys.display().to_string(), load::master_key(&definition.keys).map(drop));
    if let Some(key) = &definition.signing_key {
        report.tried("keys", &key.display().to_string(), load::signing_key(key).map(drop));
    }
    report.tried("disk", &definition.out.display().to_string(), screen.busy("writing", || disk(&definition.out)));
    match definition.delivery() {
        Ok(Some(delivery)) => report.store(&delivery, screen),
        Ok(None) => {}
        Err(error) => report.tried("store", definition.delivered_to.as_deref().unwrap_or_default(), Err(error)),
    }
    for (name, place) in &definition.places {
        let folder = place.access(&definition.folder).and_then(|access| places::reached(&access));
        let tried = match folder {
            Ok(Folder::Database(database)) => database.version().map(|version| format!("`{name}` answers: {version}")),
            Ok(other) => ieum_connectors::folder::reach(&other).map(|()| format!("`{name}` answers")),
            Err(error) => Err(error),
        };
        match tried {
            Ok(what) => report.tried("place", &what, Ok(())),
            Err(error) => report.tried("place", &format!("`{name}`"), Err(error)),
        }
    }
    screen.result(&told(&report), &report);
    Ok(report.findings.iter().find(|finding| finding.wrong.is_some()).map_or(DONE, |first| first.kind.exit_code()))
}

impl Report {
    fn tried(&mut self, of: &str, what: &str, outcome: Result<()>) {
        let kind = outcome.as_ref().err().map_or(ErrorKind::Internal, |error| error.kind);
        let wrong = outcome.err().map(|error| error.told());
        self.findings.push(Finding { of: of.to_owned(), what: what.to_owned(), wrong, kind });
    }

    fn store(&mut self, delivery: &ieum_core::night::Delivery, screen: &Screen) {
        let (findings, store) = match screen.busy("trying the store", || deliver::doctor(delivery)) {
            Ok(found) => found,
            Err(error) => return self.tried("store", &delivery.told, Err(error)),
        };
        for deliver::Finding { what, wrong } in findings {
            let outcome = wrong.map_or(Ok(()), |wrong| Err(Error::config(wrong).at("store", &delivery.told)));
            self.tried("store", what, outcome);
        }
        let differ = (now() - store).num_seconds().abs();
        let clock = match differ <= CLOCKS_DIFFER_SECONDS {
            true => Ok(()),
            false => {
                Err(Error::config(format!("the clocks of this machine and of the store differ by {differ} seconds")))
            }
        };
        self.tried("clock", "this machine's and the store's agree", clock);
    }
}

/// Writes, renames and locks a file as a run does.
fn disk(out: &Path) -> Result<()> {
    let made = out.exists();
    fs::create_dir_all(out).map_err(|error| unwritten(out, &error))?;
    let (aside, path) = (out.join("ieum-doctor.partial"), out.join("ieum-doctor"));
    let tried = || {
        let mut file = File::create(&aside)?;
        file.write_all(&[0; 1 << 16])?;
        file.sync_all()?;
        let locked = file.try_lock().map_err(std::io::Error::from);
        fs::rename(&aside, &path)?;
        locked
    };
    let tried = tried().map_err(|error| unwritten(out, &error));
    for left in [&aside, &path] {
        let _ = fs::remove_file(left);
    }
    if !made {
        let _ = fs::remove_dir(out);
    }
    tried
}

fn unwritten(out: &Path, error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Temporary, format!("the folder of outputs cannot be written: {error}"))
        .at("path", out.display())
}

fn told(report: &Report) -> String {
    let mut text = String::new();
    for Finding { of, what, wrong, .. } in &report.findings {
        // Writing to a String cannot fail.
        let _ = match wrong {
            None => writeln!(text, "ok      {of}  {what}"),
            Some(wrong) => writeln!(text, "WRONG   {of}  {what}: {}", wrong.replace('\n', "\n        ")),
        };
    }
    text
}
