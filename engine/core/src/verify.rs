//! verify: every digest, count and identity of a finished output, offline.

pub(crate) mod counts;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use ieum_model::error::{Error, ErrorKind, Result};
use ieum_privacy::PublicKey;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::encrypt;
use crate::manifest::{MANIFEST, Manifest, hex};
use crate::seal;
use crate::sink::BUNDLES;

/// What was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// The run.
    pub run_id: String,
    /// Its declared date.
    pub as_of: String,
    /// Files whose digest agrees.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Requests answered.
    pub requests: u64,
    /// The run's digest.
    pub run_digest: String,
    /// Receipts that agree with their bundles, or state a refusal, and lead to the sealed root; none where the output is not
    /// sealed.
    pub receipts: Option<u64>,
    /// Whether a signature was checked.
    pub signed: bool,
}

pub(crate) fn broken(message: impl Into<String>, path: &Path) -> Error {
    Error::new(ErrorKind::Integrity, message)
        .at("path", path.display())
        .hint("do not use this output; run the night again")
}

/// Verifies the output in `folder`, but for the signature of its seal.
///
/// # Errors
/// As [`verify_signed`].
pub fn verify(folder: &Path) -> Result<VerifyReport> {
    verify_signed(folder, None)
}

/// Verifies the output in `folder`; with the public key, the signature of its seal too.
///
/// # Errors
/// [`ErrorKind::Integrity`] at the first digest, count or identity that does not hold, or file or folder that is missing
/// or extra.
pub fn verify_signed(folder: &Path, public: Option<&PublicKey>) -> Result<VerifyReport> {
    let manifest = read_manifest(folder)?;
    let mut listed = BTreeSet::from([folder.join(MANIFEST)]);
    let mut bytes = 0;
    let bundles = format!("{BUNDLES}/");
    if manifest.files.iter().any(|file| file.path.starts_with(&bundles)) && !folder.join(BUNDLES).exists() {
        return Err(Error::new(ErrorKind::Integrity, "the bundles are not there").at("path", folder.display()).hint(
            "`ieum gc` removes them from the copy of an output that a store holds: verify the one in the store; \
             otherwise run the night again",
        ));
    }
    for file in &manifest.files {
        let path = folder.join(&file.path);
        let digested = digest(&path).map_err(|error| broken(format!("file cannot be read: {error}"), &path))?;
        if digested != (file.bytes, file.sha256.clone()) {
            return Err(broken("file differs from the manifest", &path));
        }
        bytes += file.bytes;
        listed.insert(path);
    }
    for path in files_below(folder)? {
        if !listed.contains(&path) {
            return Err(broken("file is not in the manifest", &path));
        }
    }
    identities(&manifest, folder)?;
    counts::agree(&manifest, folder)?;
    let receipts = seal::check(&manifest, folder, public)?;
    Ok(VerifyReport {
        run_id: manifest.run_id,
        as_of: manifest.as_of,
        files: manifest.files.len() as u64,
        bytes,
        requests: manifest.requests.requests,
        run_digest: manifest.run_digest,
        receipts,
        signed: public.is_some(),
    })
}

/// Bytes of a file, and their SHA-256.
pub(crate) fn digest(path: &Path) -> std::io::Result<(u64, String)> {
    const READ_BYTES: usize = 1 << 20;
    let (mut file, mut digest, mut bytes) = (File::open(path)?, Sha256::new(), 0);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((bytes, hex(&digest.finalize())));
        }
        digest.update(&buffer[..read]);
        bytes += read as u64;
    }
}

pub(crate) fn read_manifest(folder: &Path) -> Result<Manifest> {
    let path = folder.join(MANIFEST);
    let bytes = fs::read(&path).map_err(|error| broken(format!("no committed run: {error}"), &path))?;
    let manifest: Manifest =
        serde_json::from_slice(&bytes).map_err(|error| broken(format!("manifest cannot be read: {error}"), &path))?;
    if manifest.encode()? != bytes || manifest.digest()? != manifest.run_digest {
        return Err(broken("manifest differs from its digest", &path));
    }
    Ok(manifest)
}

fn identities(manifest: &Manifest, folder: &Path) -> Result<()> {
    if !manifest.requests.balances() {
        return Err(broken("requests are not accounted for", folder));
    }
    if let Some((path, what)) = encrypt::disagreement(manifest) {
        return Err(broken(what, &folder.join(path)));
    }
    match manifest.sources.iter().find(|(_, c)| c.read != c.kept + c.filtered + c.rejected) {
        Some((source, _)) => Err(broken(format!("rows of `{source}` are not accounted for"), folder)),
        None => Ok(()),
    }
}

pub(crate) fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error: std::io::Error| broken(format!("folder cannot be read: {error}"), folder);
    let mut files = Vec::new();
    let mut is_empty = true;
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        is_empty = false;
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    if is_empty { Err(broken("folder is not in the manifest", folder)) } else { Ok(files) }
}
