//! `ieum explain`: which columns are read from where.

use std::fmt::Write as _;

use ieum_core::explain::DatasetExplanation;
use ieum_model::error::{Error, Result, nearest};

use super::{DONE, definition, tell_warnings};
use crate::cli::ExplainArgs;
use crate::load::{ControlTotals, night};
use crate::screen::{Screen, grouped};

/// Shows every dataset that the night reads, or one of them with its plan.
///
/// # Errors
/// When the night cannot be loaded or planned, or does not read the dataset asked for.
pub fn explain(args: &ExplainArgs, screen: &Screen) -> Result<u8> {
    let (definition, as_of) = definition(&args.file, args.date)?;
    let loaded = night(&definition, as_of, ControlTotals::Trust)?;
    tell_warnings(&loaded, screen);
    let mut all = ieum_core::explain::explain(&loaded.night)?;
    if let Some(code) = &args.dataset {
        let known: Vec<String> = all.iter().map(|one| one.dataset.clone()).collect();
        all.retain(|one| one.dataset == *code);
        if all.is_empty() {
            return Err(unread(code, &known));
        }
    }
    let text: String = all.iter().map(|one| told(one, args.dataset.is_some())).collect();
    screen.result(if text.is_empty() { "no dataset is read" } else { &text }, &all);
    Ok(DONE)
}

fn unread(code: &str, known: &[String]) -> Error {
    let error = Error::config(format!("the night does not read dataset `{code}`"));
    match nearest(code, known.iter().map(String::as_str)) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error,
    }
}

fn told(one: &DatasetExplanation, with_plan: bool) -> String {
    // Writing to a String cannot fail.
    let mut text = String::new();
    if one.key_column.is_empty() {
        let _ = writeln!(text, "{}  {}", one.dataset, one.state);
    } else {
        let _ = writeln!(text, "{}  wave {}  {}", one.dataset, one.wave, one.state);
        let _ = writeln!(text, "  key      {} ({})", one.key_column, one.space);
    }
    let _ = writeln!(text, "  requests {}", grouped(one.requests));
    for file in &one.files {
        let _ = writeln!(text, "  file     {file}");
    }
    for asked in &one.columns {
        let by: Vec<String> =
            asked.by.iter().map(|(service, lines)| format!("{service} {}", grouped(*lines))).collect();
        let whose = if by.is_empty() { "only to link".to_owned() } else { by.join(", ") };
        let _ = writeln!(text, "  column   {}  {}  ({whose})", asked.column, grouped(asked.lines));
    }
    for (column, space, requests) in &one.bridges {
        let _ = writeln!(text, "  bridge   {column} -> {space}  {}", grouped(*requests));
    }
    if with_plan && !one.plan.is_empty() {
        let _ = writeln!(text, "  plan");
        for line in one.plan.lines() {
            let _ = writeln!(text, "    {line}");
        }
    }
    text.push('\n');
    text
}
