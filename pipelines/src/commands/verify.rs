//! `ieum verify`: whether the output of a run is complete and unchanged.

use std::path::Path;

use ieum_core::night::OUTCOMES;
use ieum_model::error::{Error, ErrorKind, Result};

use super::DONE;
use crate::cli::VerifyArgs;
use crate::judge::judge;
use crate::screen::{Screen, grouped, size, table};

/// Checks every digest of an output folder.
///
/// # Errors
/// [`ieum_model::error::ErrorKind::Integrity`] if one does not hold.
pub fn verify(args: &VerifyArgs, screen: &Screen) -> Result<u8> {
    let report = screen.busy("verifying", || ieum_core::verify::verify(&args.dir))?;
    let mut rows = vec![
        ("verified", args.dir.display().to_string()),
        ("files", grouped(report.files)),
        ("requests", grouped(report.requests)),
        ("bytes", size(report.bytes)),
        ("digest", report.run_digest.clone()),
    ];
    if let Some(expected) = &args.expected {
        let lines = screen.busy("comparing the answers", || as_expected(expected, &args.dir))?;
        rows.push(("as expected", format!("{} lines", grouped(lines))));
    }
    screen.result(&table(&rows), &report);
    Ok(DONE)
}

/// The number of document lines, all of them answered as expected.
fn as_expected(expected: &Path, dir: &Path) -> Result<u64> {
    let verdict = judge(expected, &dir.join(OUTCOMES))?;
    match verdict.first {
        None => Ok(verdict.lines),
        Some(first) => Err(Error::new(ErrorKind::Integrity, "the answers are not the expected ones")
            .at("lines", verdict.lines)
            .at("different", verdict.different)
            .at("first", first)),
    }
}
