//! `ieum verify`: whether the output of a run is complete and unchanged.

use ieum_model::error::Result;

use super::DONE;
use crate::cli::VerifyArgs;
use crate::screen::{Screen, grouped, size, table};

/// Checks every digest of an output folder.
///
/// # Errors
/// [`ieum_model::error::ErrorKind::Integrity`] if one does not hold.
pub fn verify(args: &VerifyArgs, screen: &Screen) -> Result<u8> {
    let report = screen.busy("verifying", || ieum_core::verify::verify(&args.dir))?;
    let text = table(&[
        ("verified", args.dir.display().to_string()),
        ("files", grouped(report.files)),
        ("requests", grouped(report.requests)),
        ("bytes", size(report.bytes)),
        ("digest", report.run_digest.clone()),
    ]);
    screen.result(&text, &report);
    Ok(DONE)
}
