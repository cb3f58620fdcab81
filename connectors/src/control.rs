//! How a file proves that it is complete: the manifest beside it, and the count its trailer carries.

use std::fmt::Write;
use std::io::Read;
use std::path::Path;

use ieum_model::error::{Error, Result};
use sha2::{Digest, Sha256};

use crate::archive;
use crate::files::io_error;
use crate::folder::Folder;

/// Bytes hashed at a time.
const HASH_READ: usize = 1024 * 1024;

/// What to do about a file that is not the one its holder counted.
pub(crate) const AGAIN: &str = "the file is incomplete or was changed; ask the holder to deliver it again";

/// What to do about a manifest that cannot be that of its file.
pub(crate) const REWRITE: &str =
    "ask the holder to write it with `sha256sum <file> > <file>.sha256` and deliver both again";

/// Checks `<name>.sha256`, as `sha256sum` writes it, against the bytes of `name` as they stand on storage.
///
/// # Errors
/// [`ieum_model::error::ErrorKind::ControlTotals`] when the manifest is absent, malformed, of another file, or does not agree.
pub fn verify_manifest(root: impl Into<Folder>, name: &str) -> Result<()> {
    let root = root.into();
    // The holder's manifest is of the file that it delivers, archive or not.
    let name = archive::split(name).0;
    let manifest = format!("{name}.sha256");
    let text = match root.text(&manifest)? {
        Some(text) => text,
        None => {
            return Err(Error::control_totals("manifest is missing").at("export", name).at("manifest", manifest).hint(
                "ask the holder to deliver it, as `sha256sum` writes it; if it never does, take `manifest` out of \
                 `[export.control]`",
            ));
        }
    };
    let broken = |message: &str, hint: &str| {
        Err(Error::control_totals(message).at("export", name).at("manifest", &manifest).hint(hint))
    };
    let lines = || {
        text.lines().map(str::trim).map(|line| {
            let (digest, of) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            (digest, of.trim_start().trim_start_matches('*'))
        })
    };
    let is_ours = |(_, of): &(&str, &str)| of.is_empty() || Path::new(of).file_name() == Path::new(name).file_name();
    // One for several files has a line for each.
    let (expected, of) = lines().find(is_ours).or_else(|| lines().next()).unwrap_or_default();
    if expected.len() != 64 || !expected.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return broken("manifest does not hold a SHA-256 digest", REWRITE);
    }
    if !of.is_empty() && Path::new(of).file_name() != Path::new(name).file_name() {
        return broken("manifest is of another file", REWRITE);
    }
    if !expected.eq_ignore_ascii_case(&digest(&root, name)?) {
        return broken("file does not agree with its manifest", AGAIN);
    }
    Ok(())
}

/// Lower-case hexadecimal SHA-256 of a file's bytes.
pub(crate) fn digest(root: &Folder, name: &str) -> Result<String> {
    let mut file = root.stream(archive::split(name).0)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; HASH_READ];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(bytes) => hasher.update(&buffer[..bytes]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(io_error(name, &error)),
        }
    }
    Ok(hex(hasher))
}

/// Lower-case hexadecimal digest.
pub(crate) fn hex(hasher: Sha256) -> String {
    let mut hex = String::with_capacity(64);
    for byte in hasher.finalize() {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// The count that a digits-only cell carries.
pub(crate) fn count(bytes: &[u8]) -> Option<u64> {
    let digits = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit);
    if digits { std::str::from_utf8(bytes).ok()?.parse().ok() } else { None }
}

/// Agreement of a declared and a counted number of data rows.
pub(crate) fn same_count(name: &str, place: &'static str, declared: u64, counted: u64) -> Result<()> {
    if declared == counted {
        return Ok(());
    }
    Err(Error::control_totals(format!("{place} says {declared} data rows, the file has {counted}"))
        .at("export", name)
        .at("declared", declared)
        .at("counted", counted)
        .hint(AGAIN))
}
