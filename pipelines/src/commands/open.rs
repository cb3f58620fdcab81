//! `ieum open`: what a recipient does with an encrypted bundle. Stock `age -d` does the same for profile `default`.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ieum_model::error::{Error, ErrorKind, Result};
use ieum_privacy::{EnvelopeError, Profile, envelope};
use serde_json::json;

use super::DONE;
use crate::cli::OpenArgs;
use crate::load::identity;
use crate::screen::{Screen, grouped};

/// Decrypts a file to another, which only its owner can read.
///
/// # Errors
/// [`ErrorKind::Key`] for a private key that is missing, malformed or not the one; [`ErrorKind::Integrity`] for a file
/// that is not as it was written; [`ErrorKind::Config`] where the other file exists.
pub fn open(args: &OpenArgs, screen: &Screen) -> Result<u8> {
    let identity = identity(&args.identity)?;
    let out = args.out.clone().map_or_else(|| without_ending(&args.file), Ok)?;
    let sealed = fs::read(&args.file).map_err(|error| {
        let kind = if error.kind() == io::ErrorKind::NotFound { ErrorKind::Config } else { ErrorKind::Temporary };
        Error::new(kind, format!("the file cannot be read: {error}")).at("file", args.file.display())
    })?;
    let plain = screen.busy("decrypting", || identity.open(&sealed)).map_err(|error| {
        let kind = match error {
            EnvelopeError::AnotherKey | EnvelopeError::Module => ErrorKind::Key,
            _ => ErrorKind::Integrity,
        };
        Error::new(kind, error.to_string()).at("file", args.file.display())
    })?;
    write(&out, &plain)?;
    let text = format!("opened {}: {} bytes in {}", args.file.display(), grouped(plain.len() as u64), out.display());
    screen.result(&text, &json!({ "file": args.file, "out": out, "bytes": plain.len() }));
    Ok(DONE)
}

fn without_ending(file: &Path) -> Result<PathBuf> {
    let name = file.to_string_lossy();
    let plain = [Profile::Default, Profile::Kr].into_iter().find_map(|of| name.strip_suffix(envelope::ending(of)));
    plain.map(PathBuf::from).ok_or_else(|| {
        let error = Error::config("the name does not end with .age or .aria").at("file", file.display());
        error.hint("name the file to write with --out")
    })
}

fn write(path: &Path, plain: &[u8]) -> Result<()> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Error::config("the file exists, and is not written over").at("file", path.display())
        }
        _ => {
            Error::new(ErrorKind::Temporary, format!("the file cannot be written: {error}")).at("file", path.display())
        }
    };
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    let written = file.write_all(plain).and_then(|()| file.sync_all());
    written.map_err(|error| {
        let _ = fs::remove_file(path);
        failed(error)
    })
}
