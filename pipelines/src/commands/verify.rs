//! `ieum verify`: whether the output of a run is complete and unchanged, or a bundle the one that its receipt is for.

use std::path::{Path, PathBuf};

use ieum_connectors::store::is_url;
use ieum_core::night::{Delivery, OUTCOMES};
use ieum_core::{deliver, seal, verify};
use ieum_model::error::{Error, ErrorKind, Result};
use ieum_privacy::PublicKey;

use super::DONE;
use crate::cli::VerifyArgs;
use crate::definition::Definition;
use crate::judge::judge;
use crate::load::public_key;
use crate::places::{self, Places};
use crate::screen::{Screen, grouped, size, table};

/// Checks every digest of an output folder, or a bundle against its receipt.
///
/// # Errors
/// [`ieum_model::error::ErrorKind::Integrity`] if one does not hold, [`ieum_model::error::ErrorKind::Key`] without a
/// readable public key where one is named.
pub fn verify(args: &VerifyArgs, screen: &Screen) -> Result<u8> {
    let public = args.public_key.as_deref().map(public_key).transpose()?;
    match (&args.path, &args.receipt, &public) {
        (Some(bundle), Some(receipt), Some(public)) => verify_bundle(bundle, receipt, public, screen),
        (None, Some(receipt), Some(public)) => verify_refusal(receipt, public, screen),
        (Some(path), ..) => verify_output(path, args, public.as_ref(), screen),
        // The arguments require one of the two.
        (None, ..) => Err(Error::internal("nothing to verify")),
    }
}

fn verify_refusal(receipt: &Path, public: &PublicKey, screen: &Screen) -> Result<u8> {
    let verified = screen.busy("verifying", || seal::verify_refusal(receipt, public))?;
    let refusal = match &verified.refusal {
        Some((outcome, Some(reason))) => format!("{outcome} ({reason})"),
        Some((outcome, None)) => outcome.clone(),
        None => String::new(),
    };
    let rows = [
        ("verified", receipt.display().to_string()),
        ("refusals", grouped(verified.refused)),
        ("request", verified.request_id.clone()),
        ("answer", refusal),
        ("recipient", verified.recipient.clone()),
        ("run", verified.run_id.clone()),
        ("as of", verified.as_of.clone()),
        ("signed by", format!("{} ({})", verified.signing_key, verified.public_key)),
    ];
    screen.result(&table(&rows), &verified);
    Ok(DONE)
}

fn verify_bundle(bundle: &Path, receipt: &Path, public: &PublicKey, screen: &Screen) -> Result<u8> {
    let verified = screen.busy("verifying", || seal::verify_bundle(bundle, receipt, public))?;
    let rows = [
        ("verified", bundle.display().to_string()),
        ("bundles", grouped(verified.bundles)),
        ("request", verified.request_id.clone()),
        ("recipient", verified.recipient.clone()),
        ("run", verified.run_id.clone()),
        ("as of", verified.as_of.clone()),
        ("signed by", format!("{} ({})", verified.signing_key, verified.public_key)),
    ];
    screen.result(&table(&rows), &verified);
    Ok(DONE)
}

/// The delivery of an output that stands in a store; `None` where its path is one of this machine.
fn in_store(path: &Path, args: &VerifyArgs) -> Result<Option<Delivery>> {
    let Some(url) = path.to_str().filter(|path| is_url(path)) else { return Ok(None) };
    let definition = args.places.as_deref().map(Definition::read).transpose()?;
    let none = Places::new();
    let (places, folder) = definition.as_ref().map_or((&none, Path::new("")), |file| (&file.places, &*file.folder));
    places::delivery(places, folder, url).map(Some)
}

fn verify_output(path: &Path, args: &VerifyArgs, public: Option<&PublicKey>, screen: &Screen) -> Result<u8> {
    let Some(delivery) = in_store(path, args)? else { return verify_folder(path, path, args, public, screen) };
    let copy = Copied(std::env::temp_dir().join(format!("ieum-verify-{}", delivery.owner)));
    screen.busy("fetching", || deliver::fetch(&delivery, &copy.0))?;
    verify_folder(path, &copy.0, args, public, screen)
}

/// A copy of an output, removed after it was verified.
struct Copied(PathBuf);

impl Drop for Copied {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Verifies a folder, told as `path`.
fn verify_folder(
    path: &Path,
    folder: &Path,
    args: &VerifyArgs,
    public: Option<&PublicKey>,
    screen: &Screen,
) -> Result<u8> {
    let report = screen.busy("verifying", || verify::verify_signed(folder, public))?;
    let mut rows = vec![
        ("verified", path.display().to_string()),
        ("run", report.run_id.clone()),
        ("as of", report.as_of.clone()),
        ("files", grouped(report.files)),
        ("requests", grouped(report.requests)),
        ("bytes", size(report.bytes)),
        ("digest", report.run_digest.clone()),
    ];
    if let Some(receipts) = report.receipts {
        rows.push(("receipts", grouped(receipts)));
        let signature = match public {
            Some(public) => format!("of {} ({})", public.key_id(), public.number()),
            None => "not checked: give --public-key".to_owned(),
        };
        rows.push(("signature", signature));
    }
    if let Some(expected) = &args.expected {
        let lines = screen.busy("comparing the answers", || as_expected(expected, folder))?;
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
