//! `ieum status`: the runs of an output folder, and how far they are.

use std::fmt::Write as _;

use ieum_core::deliver::{self, StoreRun, StoreState};
use ieum_core::sink::{self, RunState, RunStatus, Unfinished};
use ieum_model::error::{Error, Result};
use serde::Serialize;

use super::{DONE, now};
use crate::cli::StatusArgs;
use crate::definition::Definition;
use crate::screen::{Screen, grouped, size};

/// What `ieum status` found. Fields may be added.
#[derive(Serialize)]
struct Report {
    out: String,
    runs: Vec<RunStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<InStore>,
}

/// What stands in the store that outputs are delivered to.
#[derive(Serialize)]
struct InStore {
    url: String,
    runs: Vec<StoreRun>,
}

/// Tells every run in the output folder of a definition, or in a folder. The lock of each is looked at, which holds it for an
/// instant; nothing is changed.
///
/// # Errors
/// When there is no such file or folder, or it cannot be read.
pub fn status(args: &StatusArgs, screen: &Screen) -> Result<u8> {
    let mut delivery = None;
    let out = match (args.path.is_dir(), args.path.exists()) {
        (true, _) => args.path.clone(),
        (false, true) => {
            let definition = Definition::read(&args.path)?;
            delivery = definition.delivery()?;
            definition.out
        }
        (false, false) => {
            return Err(Error::config("there is no such run definition or folder").at("path", args.path.display()));
        }
    };
    let store = match &delivery {
        Some(delivery) => Some(InStore { url: delivery.told.clone(), runs: deliver::status(delivery, now())? }),
        None => None,
    };
    let report = Report { runs: sink::status(&out)?, out: out.display().to_string(), store };
    screen.result(&told(&report), &report);
    Ok(DONE)
}

fn told(report: &Report) -> String {
    let mut text = String::new();
    for RunStatus { name, held, state } in &report.runs {
        let state = match state {
            RunState::Committed { run_id, requests, .. } => {
                format!("committed   {run_id}  {} requests", grouped(*requests))
            }
            RunState::Unfinished(run) => {
                format!("{}  {}", if *held { "running   " } else { "unfinished" }, progress(run))
            }
            RunState::Left if *held => "running".to_owned(),
            RunState::Left => "leftovers   cannot go on; `ieum gc` removes them".to_owned(),
            RunState::Damaged => "damaged     its journal or manifest is not what was written".to_owned(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name}  {state}");
    }
    if text.is_empty() {
        text = format!("no run in {}\n", report.out);
    }
    if let Some(InStore { url, runs }) = &report.store {
        let _ = writeln!(text, "in {url}");
        runs.iter().for_each(|run| told_of_store(run, &mut text));
        if runs.is_empty() {
            text.push_str("no run\n");
        }
    }
    text
}

fn told_of_store(StoreRun { name, held, state }: &StoreRun, text: &mut String) {
    let lock = if *held { ", locked" } else { "" };
    let state = match state {
        StoreState::Committed { run_id, requests, .. } => {
            format!("committed   {run_id}  {} requests", grouped(*requests))
        }
        StoreState::Arriving { files, bytes } => format!("unfinished  {} files, {}", grouped(*files), size(*bytes)),
        StoreState::Damaged => "damaged     its manifest is not what was written".to_owned(),
    };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{name}  {state}{lock}");
}

fn progress(run: &Unfinished) -> String {
    let mut text = format!("{}  {}", run.run_id, run.step);
    let _ = write!(text, "  readings {} of {}", grouped(run.readings_done), grouped(run.readings));
    let _ = match (run.step, run.shards) {
        ("gather", _) => write!(text, ", wave {} of {}", run.wave, run.last_wave),
        (_, 0) => Ok(()),
        (_, shards) => write!(text, ", shards {} of {}", grouped(run.shards_done), grouped(shards)),
    };
    if run.resumed > 0 {
        let _ = write!(text, ", resumed {} times", grouped(run.resumed));
    }
    text
}
