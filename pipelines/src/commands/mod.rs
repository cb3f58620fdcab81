//! One file a command. This is the only place that reads the clock.

pub mod bench;
pub mod catalog;
pub mod check;
pub mod doctor;
pub mod explain;
pub mod gc;
pub mod generate;
pub mod keys;
pub mod ledger;
pub mod manual;
pub mod open;
pub mod receipt;
pub mod rejects;
mod rekey;
pub mod report;
pub mod run;
pub mod source;
pub mod stage;
pub mod status;
pub mod verify;

use std::path::Path;
use std::time::Instant;

use chrono::NaiveDate;
use ieum_model::error::Result;

use crate::cli::Command;
use crate::definition::Definition;
use crate::load::Loaded;
use crate::screen::Screen;

/// Exit code of a success that nobody needs to look at.
const DONE: u8 = 0;
/// Exit code of a success that someone should look at.
const LOOK: u8 = 3;

/// Malformed requests told one by one; the rest is only counted.
const TOLD_MALFORMED: usize = 20;

/// Does what the command says and gives the exit code.
///
/// # Errors
/// What the command could not do; [`Screen::failure`] tells it.
pub fn dispatch(command: Command, screen: &Screen) -> Result<u8> {
    match command {
        Command::Check(args) => check::check(&args, screen),
        Command::Explain(args) => explain::explain(&args, screen),
        Command::Stage(args) => stage::stage(&args, screen),
        Command::Run(args) => run::run(&args, screen),
        Command::Status(args) => status::status(&args, screen),
        Command::Doctor(args) => doctor::doctor(&args, screen),
        Command::Gc(args) => gc::gc(&args, screen),
        Command::Verify(args) => verify::verify(&args, screen),
        Command::Report(args) => report::report(&args, screen),
        Command::Receipt(args) => receipt::receipt(&args, screen),
        Command::Open(args) => open::open(&args, screen),
        Command::Catalog { command } => catalog::catalog(&command, screen),
        Command::Rejects { command } => rejects::rejects(&command, screen),
        Command::Source { command } => source::source(&command, screen),
        Command::Keys { command } => keys::keys(&command, screen),
        Command::Ledger { command } => ledger::ledger(&command, screen),
        Command::Generate(args) => generate::generate(&args, screen),
        Command::Completions { shell } => manual::completions(shell, screen),
        Command::Man { dir } => manual::man(&dir, screen),
        Command::Bench(args) => bench::bench(&args, screen),
        Command::BenchPart { part } => bench::part(&part, screen),
    }
}

fn exit_code(look: bool) -> u8 {
    if look { LOOK } else { DONE }
}

/// The definition and the date of the run: the flag's, else the file's, else today's.
fn definition(file: &Path, date: Option<NaiveDate>) -> Result<(Definition, NaiveDate)> {
    let definition = Definition::read(file)?;
    let date = date.or(definition.date).unwrap_or_else(today);
    Ok((definition, date))
}

#[allow(clippy::disallowed_methods, reason = "the declared place that reads the clock")]
fn today() -> NaiveDate {
    chrono::Local::now().date_naive()
}

#[allow(clippy::disallowed_methods, reason = "the declared place that reads the clock")]
fn started() -> Instant {
    Instant::now()
}

/// The time of day, UTC, RFC 3339.
#[allow(clippy::disallowed_methods, reason = "the declared place that reads the clock")]
fn wall_clock() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// The time of day, to be compared with a store's.
#[allow(clippy::disallowed_methods, reason = "the declared place that reads the clock")]
fn now() -> chrono::DateTime<chrono::Utc> {
    chrono::Utc::now()
}

#[allow(clippy::disallowed_methods, reason = "the declared place that reads the clock")]
fn seconds_since_1970() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn tell_warnings(loaded: &Loaded, screen: &Screen) {
    for warning in &loaded.warnings {
        screen.warning(warning);
    }
    let all = &loaded.night.checked.malformed;
    for malformed in all.iter().take(TOLD_MALFORMED) {
        screen.warning(&format!("{}: {malformed}", malformed.file));
    }
    if let Some(more) = all.len().checked_sub(TOLD_MALFORMED + 1) {
        screen.warning(&format!("{} more requests are malformed", more + 1));
    }
}
