//! Other engines doing the same work from the same files: their outputs are compared with ours before they are timed.
//!
//! What the scripts of a folder are called with stands in its README.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ieum_model::error::{Error, ErrorKind, Result};

use super::Bench;
use super::measure::{Cost, measured};
use super::nights::{Place, warm};
use super::plan::{self, OUTPUTS};
use super::record::{Comparison, Night};
use super::runs::{accept, committed, put_away};
use crate::page::quantity::median;
use crate::screen::{Screen, grouped};

/// The name of this engine in a comparison.
pub const OWN: &str = "ieum";
/// The other engines, as their scripts are called.
pub const NAMES: [&str; 3] = ["duckdb", "polars", "datafusion"];
/// What the comparison says of a peer that was not compared.
const NOT_COMPARED: &str = "not compared";

/// Where the scripts of the peers stand.
#[derive(Debug, Clone)]
pub struct Peers {
    /// Folder of the scripts.
    pub scripts: PathBuf,
    /// Python environment, made where there is none.
    pub venv: PathBuf,
}

impl Peers {
    fn python(&self, script: &str) -> Command {
        let mut command = Command::new(self.venv.join("bin/python"));
        command.arg("-B").arg(self.scripts.join(script));
        command
    }

    /// Makes the environment of the scripts.
    fn set_up(&self, work: &Path, screen: &Screen) -> Result<()> {
        screen.note("setting up the other engines");
        let log = work.join("setup");
        let mut command = Command::new("sh");
        command.arg(self.scripts.join("setup.sh")).arg(&self.venv);
        ended_well(&mut command, &log)
    }
}

/// One comparison being measured.
struct Round<'a> {
    peers: &'a Peers,
    place: &'a Place,
    night: &'a Night,
    /// Folder of what is prepared for the peers.
    prepared: PathBuf,
}

impl Bench<'_> {
    /// Measures the comparisons that are lacking.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn comparisons(&mut self, peers: &Peers) -> Result<()> {
        let base = plan::base(&self.options.settings);
        let mut is_set_up = false;
        for (layout, output) in OUTPUTS {
            let title = format!("{layout} {output}");
            let night = Night { layout: layout.to_owned(), output: output.to_owned(), ..base.clone() };
            if self.rounds_of(&title, &night) >= self.options.settings.rounds {
                continue;
            }
            let compared = match is_set_up {
                true => Ok(()),
                false => peers.set_up(self.nights.work(), self.screen),
            };
            is_set_up = true;
            if let Err(error) = compared.and_then(|()| self.compare(peers, &title, &night)) {
                self.fail(&format!("comparison {title}"), &error);
            }
        }
        self.ledger.record.comparisons.retain(|comparison| !comparison.rounds.is_empty());
        self.ledger.save()
    }

    /// Whole rounds of a comparison; of one that was interrupted, the begun round is taken back.
    fn rounds_of(&mut self, title: &str, night: &Night) -> usize {
        let comparison = self.ledger.comparison(title, night);
        let whole = comparison.rounds.values().map(Vec::len).min().unwrap_or(0);
        comparison.rounds.values_mut().for_each(|costs| costs.truncate(whole));
        whole
    }

    fn compare(&mut self, peers: &Peers, title: &str, night: &Night) -> Result<()> {
        let place = self.nights.ready(night, self.screen)?;
        warm(&place.inputs(false))?;
        let prepared = place.work.join("peers");
        let round = Round { peers, place: &place, night, prepared };
        let names = self.same_output(title, &round)?;
        let rounds = self.options.settings.rounds;
        for nth in self.rounds_of(title, night)..rounds {
            let mut costs = BTreeMap::new();
            for at in 0..names.len() {
                let name = names[(at + nth) % names.len()].as_str();
                let doing = format!("{title}, {name}, round {} of {rounds}", nth + 1);
                let screen = self.screen;
                costs.insert(name.to_owned(), screen.busy(doing, || self.timed(name, &round))?);
            }
            let comparison = self.ledger.comparison(title, night);
            for (name, cost) in costs {
                comparison.rounds.entry(name).or_default().push(cost);
            }
            self.ledger.save()?;
        }
        let told = told(self.ledger.comparison(title, night));
        self.screen.note(&told);
        Ok(())
    }

    /// Runs every engine once, unmeasured, and gives the names of those whose output is ours, ours among them.
    fn same_output(&mut self, title: &str, round: &Round<'_>) -> Result<Vec<String>> {
        let (work, prepared) = (&round.place.work, &round.prepared);
        let reference = work.join("reference");
        self.program.night(round.place, round.night, &reference)?;
        let _ = fs::remove_dir_all(prepared);
        let mut prepare = round.peers.python("common.py");
        prepare.args([round.place.folder.as_os_str(), committed(&reference).as_os_str(), prepared.as_os_str()]);
        ended_well(&mut prepare, &work.join("prepare"))?;
        let mut names = vec![OWN.to_owned()];
        for name in NAMES {
            let verdict = match round.peer(name) {
                Ok(_) => round.verdict(name, &committed(&reference)),
                Err(error) => Err(error),
            };
            put_away(&round.out(name), round.night);
            let told = match verdict {
                Ok(told) => {
                    names.push(name.to_owned());
                    told
                }
                Err(error) => {
                    self.fail(&format!("{title}, {name}"), &error);
                    format!("{NOT_COMPARED}: {error}")
                }
            };
            self.ledger.comparison(title, round.night).verdicts.insert(name.to_owned(), told);
        }
        put_away(&reference, round.night);
        // Rounds of an engine that is out now are not kept beside those of the others.
        self.ledger.comparison(title, round.night).rounds.retain(|name, _| names.contains(name));
        Ok(names)
    }

    fn timed(&mut self, name: &str, round: &Round<'_>) -> Result<Cost> {
        self.measured += 1;
        let out = round.out(name);
        let cost = match name == OWN {
            false => round.peer(name),
            true => self.program.night(round.place, round.night, &out).and_then(|run| match run.judged.first {
                None => Ok(run.round.cost),
                Some(first) => {
                    Err(Error::new(ErrorKind::Integrity, "answers are not the expected ones").at("first", first))
                }
            }),
        };
        put_away(&out, round.night);
        cost
    }
}

impl Round<'_> {
    fn out(&self, name: &str) -> PathBuf {
        self.place.work.join(format!("out-{name}"))
    }

    /// One run of a peer.
    fn peer(&self, name: &str) -> Result<Cost> {
        let (log, out) = (self.place.work.join(name), self.out(name));
        put_away(&out, self.night);
        let mut command = self.peers.python(&format!("peer_{name}.py"));
        command.args([self.place.folder.as_os_str(), self.prepared.as_os_str(), out.as_os_str()]);
        command.args(["--layout", &self.night.layout, "--format", &self.night.output]);
        command.arg("--threads").arg(self.night.threads.to_string());
        let (cost, status) = measured(&mut command, &log)?;
        accept(status, &log, &[0])?;
        Ok(cost)
    }

    /// What the comparison of a peer's output with ours says.
    fn verdict(&self, name: &str, reference: &Path) -> Result<String> {
        let log = self.place.work.join("compare");
        let bundles = reference.join("bundles").join(&self.night.layout);
        let mut command = self.peers.python("compare.py");
        command.args::<_, &OsStr>([bundles.as_ref(), self.out(name).as_ref()]);
        ended_well(&mut command, &log)?;
        let words = fs::read_to_string(log.with_extension("out")).unwrap_or_default();
        Ok(words.lines().last().unwrap_or("equal").to_owned())
    }
}

fn ended_well(command: &mut Command, log: &Path) -> Result<()> {
    let (_, status) = measured(command, log)?;
    accept(status, log, &[0])
}

fn told(comparison: &Comparison) -> String {
    let walls = comparison.rounds.iter().map(|(name, costs)| {
        let wall = median(costs.iter().map(|cost| cost.wall_seconds));
        let times = comparison.ratio(name, |cost| cost.wall_seconds).map_or(1.0, |(ratio, ..)| ratio);
        if name == OWN { format!("{name} {wall:.2} s") } else { format!("{name} {wall:.2} s ({times:.2}×)") }
    });
    let (people, requests) = (grouped(comparison.night.people), grouped(comparison.night.requests));
    let walls = walls.collect::<Vec<_>>().join(", ");
    format!("{}, {people} people, {requests} requests: {walls}", comparison.title)
}
