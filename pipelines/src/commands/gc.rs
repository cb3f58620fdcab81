//! `ieum gc`: what stopped runs left is removed.

use std::fmt::Write as _;

use ieum_core::deliver;
use ieum_core::manifest::Manifest;
use ieum_core::sink::{self, Collected};
use ieum_model::error::{Error, Result};
use serde::Serialize;

use super::DONE;
use crate::cli::GcArgs;
use crate::definition::Definition;
use crate::screen::{Screen, size};

/// What `ieum gc` did. Fields may be added.
#[derive(Serialize)]
struct Report {
    removed: Vec<Collected>,
    bytes: u64,
}

/// Removes unfinished runs that nobody holds, what else stands beside outputs, and the bundles in the local copies of outputs
/// that the store of the run definition holds; other committed outputs stay.
///
/// # Errors
/// When there is no such folder or run definition, or something cannot be removed.
pub fn gc(args: &GcArgs, screen: &Screen) -> Result<u8> {
    let mut delivery = None;
    let out = match (args.dir.is_dir(), args.dir.exists()) {
        (true, _) => args.dir.clone(),
        (false, true) => {
            let definition = Definition::read(&args.dir)?;
            delivery = definition.delivery()?;
            definition.out
        }
        (false, false) => {
            return Err(Error::config("there is no such folder or run definition").at("path", args.dir.display()));
        }
    };
    let mut removed = sink::collect(&out)?;
    for (name, bytes) in delivery.as_ref().map_or(Ok(Vec::new()), deliver::collect)? {
        removed.push(Collected { name: format!("{name} in the store"), unfinished: true, delivered: false, bytes });
    }
    if let Some(delivery) = &delivery {
        let mut is_delivered = |name: &str, manifest: &Manifest| deliver::holds(delivery, name, manifest);
        removed.extend(sink::collect_delivered(&out, &mut is_delivered)?);
    }
    let report = Report { bytes: removed.iter().map(|removed| removed.bytes).sum(), removed };
    screen.result(&told(&report), &report);
    Ok(DONE)
}

fn told(report: &Report) -> String {
    let mut text = String::new();
    for Collected { name, unfinished, delivered, bytes } in &report.removed {
        let what = match (unfinished, delivered) {
            (true, _) => "unfinished run",
            (false, true) => "bundles that the store holds",
            (false, false) => "leftovers",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "removed  {name}  {what}  {}", size(*bytes));
    }
    if text.is_empty() { "nothing to remove".to_owned() } else { text }
}
