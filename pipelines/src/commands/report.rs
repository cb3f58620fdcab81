//! `ieum report`: a committed output as one page.

use std::path::{Path, PathBuf};

use ieum_core::tally::Tally;
use ieum_model::error::{Error, Result};
use serde_json::json;

use super::DONE;
use crate::cli::ReportArgs;
use crate::place;
use crate::report::{self, Run};
use crate::screen::{Screen, size, table};
use crate::telemetry::Telemetry;

/// Writes the page of an output beside it: the output itself holds nothing but what its manifest lists.
///
/// # Errors
/// [`ieum_model::error::ErrorKind::Integrity`] for an output that does not agree with its manifest, and when the page
/// cannot be written.
pub fn report(args: &ReportArgs, screen: &Screen) -> Result<u8> {
    let output = args.dir.canonicalize().unwrap_or_else(|_| args.dir.clone());
    let target = args.out.clone().unwrap_or_else(|| beside(&args.dir, &output));
    is_outside(&target, &output)?;
    let tally = screen.busy("counting", || Tally::of(&args.dir))?;
    let telemetry = Telemetry::of(&output, &tally.manifest.run_id);
    let page = report::html(Run { tally: &tally, telemetry: telemetry.as_ref() }, args.lang);
    place::whole(&target, page.as_bytes())?;
    let told = target.display().to_string();
    let rows = [
        ("run", tally.manifest.run_id.clone()),
        ("report", told.clone()),
        ("size", size(page.len() as u64)),
        ("time and memory", if telemetry.is_some() { "told" } else { "not known" }.to_owned()),
    ];
    let value = json!({ "run_id": tally.manifest.run_id, "report": told, "bytes": page.len(), "telemetry": telemetry.is_some() });
    screen.result(&table(&rows), &value);
    Ok(DONE)
}

/// Beside the folder as it was named, where that has a name.
fn beside(dir: &Path, output: &Path) -> PathBuf {
    let dir = if dir.file_name().is_some() { dir } else { output };
    let mut name = dir.file_name().unwrap_or_default().to_os_string();
    name.push(".report.html");
    dir.with_file_name(name)
}

/// A page inside the output would be a file that its manifest does not list.
fn is_outside(target: &Path, output: &Path) -> Result<()> {
    let folder = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match folder.canonicalize() {
        Ok(folder) if folder.starts_with(output) => Err(Error::config("the report cannot stand in the output")
            .at("path", target.display())
            .hint("`ieum verify` takes a file that the manifest does not list for a forgery; give another --out")),
        _ => Ok(()),
    }
}
