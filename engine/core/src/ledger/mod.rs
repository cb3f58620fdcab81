//! ledger: who got which items of whom, when, and on which basis, over all runs of an output.
//!
//! ```text
//!  a run   ─► <out>/<date>/ledger/entries.parquet      one row a request, covered by the run's manifest
//!              │ committed
//!              ▼
//!  the chain  <out>/ledger/chain.ndjson                 one link a run: digest of its entries, of the link before, a MAC
//!             <out>/ledger/<date>_<digest>.parquet      the entries again: they outlive the bundles
//!             <out>/ledger/head.json                    how long the chain is, and where it ends
//! ```
//!
//! Transfer records are kept for three years with the reasons of withdrawal and refusal (개인정보 보호법 시행령 42조의6⑪⑫).
//! A person stands in the ledger under a name of its own: HMAC-SHA-256 in the domain of the ledger, which is linked to no
//! recipient's. Whoever has the master key can look for a person, nobody else.

mod chain;
pub mod entries;
mod search;
mod verify;

use std::fs::{self, File};
use std::io::{ErrorKind as IoErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use ieum_model::error::{Error, ErrorKind, Result};
use ieum_privacy::{DomainKey, KeyDomain, MasterKey};

pub use chain::Link;
pub use search::{Found, Query, Subject, who};
pub use verify::{VerifyReport, prune, verify};

use crate::from_io;
use crate::manifest::{MANIFEST, Manifest, sha256_hex};
use chain::{Chain, Head};

/// File of a run's entries, below its output folder.
pub const ENTRIES: &str = "ledger/entries.parquet";

/// Folder of the chain, beside the outputs.
const FOLDER: &str = "ledger";
const LOCK: &str = ".lock";

/// The ledger's key: one domain for all persons and for the chain itself.
fn domain(master: &MasterKey) -> DomainKey {
    master.derive(&KeyDomain::ledger())
}

/// The name of a person, business… in the ledger: base64url of the HMAC of its canonical identifier in its key space.
///
/// # Privacy
/// Sees the identifier; gives out what only the holder of the master key can make again.
fn name_of(domain: &DomainKey, space: &str, canonical: &str) -> String {
    let text = ieum_privacy::encode(&domain.pseudonym(space, canonical.as_bytes()));
    String::from_utf8_lossy(&text).into_owned()
}

/// The ledger of the outputs in one folder, held by one process at a time.
struct Ledger {
    folder: PathBuf,
    _lock: File,
}

impl Ledger {
    /// Waits for whoever enters a run at this moment: that takes milliseconds.
    fn open(out: &Path) -> Result<Self> {
        let folder = out.join(FOLDER);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(|error| from_io(&error, &folder))?;
        let path = folder.join(LOCK);
        let mut options = fs::OpenOptions::new();
        let lock = options.create(true).truncate(false).write(true).mode(0o600).open(&path);
        let lock = lock.map_err(|error| from_io(&error, &path))?;
        lock.lock().map_err(|error| from_io(&error, &path))?;
        Ok(Self { folder, _lock: lock })
    }

    /// Appends the run committed in `run`, unless it is entered already.
    fn enter(&self, run: &Path, manifest: &Manifest, master: &MasterKey) -> Result<Head> {
        let chain = Chain::read(&self.folder)?;
        let head = chain.head(&self.folder)?;
        if chain.links.iter().any(|link| link.run_digest == manifest.run_digest) {
            return Ok(head);
        }
        let listed = manifest.files.iter().find(|file| file.path == ENTRIES);
        let listed = listed.ok_or_else(|| Error::internal("a run has no ledger entries").at("run", run.display()))?;
        let link = Link {
            number: head.links + 1,
            run_id: manifest.run_id.clone(),
            as_of: manifest.as_of.clone(),
            run_digest: manifest.run_digest.clone(),
            key_id: manifest.key_id.clone(),
            key_epoch: manifest.key_epoch,
            requests: manifest.requests.requests,
            entries: format!("{}_{}.parquet", manifest.as_of, &manifest.run_digest[..12]),
            entries_sha256: listed.sha256.clone(),
            previous: head.last.clone(),
        };
        self.keep(&run.join(ENTRIES), &link.entries)?;
        chain::append(&self.folder, &link, &domain(master), &chain)
    }

    /// The entries under the name that the chain has for them: the same bytes on disk where the file system allows it.
    fn keep(&self, entries: &Path, name: &str) -> Result<()> {
        let kept = self.folder.join(name);
        match fs::hard_link(entries, &kept) {
            Err(error) if error.kind() == IoErrorKind::AlreadyExists => {
                fs::remove_file(&kept)
                    .and_then(|()| fs::copy(entries, &kept))
                    .map_err(|error| from_io(&error, &kept))?;
            }
            Err(_) => drop(fs::copy(entries, &kept).map_err(|error| from_io(&error, &kept))?),
            Ok(()) => {}
        }
        File::open(&kept).and_then(|file| file.sync_all()).map_err(|error| from_io(&error, &kept))
    }
}

/// Enters what a run that was killed after its commit left to enter, and checks that the chain ends where it should: no
/// run goes on over a ledger that was cut off or taken away. A run begins after all but those that go on beside it are
/// entered: of several committed runs one at least is in the ledger.
///
/// # Errors
/// [`ErrorKind::Integrity`] when the chain is broken or cut off, or the ledger cannot be written.
pub fn begin(out: &Path, master: &MasterKey) -> Result<()> {
    let runs = committed(out)?;
    if !out.join(FOLDER).exists() && runs.is_empty() {
        return Ok(());
    }
    let ledger = Ledger::open(out)?;
    let chain = Chain::read(&ledger.folder)?;
    if chain.links.is_empty() && runs.len() > 1 {
        return Err(broken(
            format!("{} committed runs stand here, and none is in the ledger", runs.len()),
            &ledger.folder,
        ));
    }
    chain.head(&ledger.folder)?;
    chain.complete(&ledger.folder, (master.key_id(), master.epoch()), &domain(master))?;
    for (date, run) in runs {
        if chain.links.iter().all(|link| link.as_of != date)
            && let Some(manifest) = manifest_of(&run)?
        {
            ledger.enter(&run, &manifest, master)?;
        }
    }
    Ok(())
}

/// Enters a run that was committed in `run`, a folder of `out`; where the chain ends now.
///
/// # Errors
/// As [`begin`]. The run stays committed: the next one enters it.
pub fn enter(run: &Path, manifest: &Manifest, master: &MasterKey) -> Result<String> {
    let out = run.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(Ledger::open(out)?.enter(run, manifest, master)?.last)
}

/// The committed runs of an output: their dates and folders, in order of date.
fn committed(out: &Path) -> Result<Vec<(String, PathBuf)>> {
    let entries = match fs::read_dir(out) {
        Err(error) if error.kind() == IoErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| from_io(&error, out))?,
    };
    let mut runs = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| from_io(&error, out))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_date = name.parse::<NaiveDate>().is_ok_and(|date| date.to_string() == name);
        if is_date && path.join(ENTRIES).is_file() && path.join(MANIFEST).is_file() {
            runs.push((name, path));
        }
    }
    runs.sort();
    Ok(runs)
}

/// The manifest of a committed run; `None` where it is not one that agrees with its digest.
fn manifest_of(run: &Path) -> Result<Option<Manifest>> {
    let path = run.join(MANIFEST);
    let bytes = fs::read(&path).map_err(|error| from_io(&error, &path))?;
    let Ok(manifest) = serde_json::from_slice::<Manifest>(&bytes) else { return Ok(None) };
    Ok((manifest.digest()? == manifest.run_digest).then_some(manifest))
}

fn broken(message: impl Into<String>, path: &Path) -> Error {
    Error::new(ErrorKind::Integrity, message)
        .at("path", path.display())
        .hint("the ledger was edited or cut off: restore it from a copy, and find out who could write to it")
}

/// Writes a small file so that it is either the old one or the new one.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let aside = path.with_extension("new");
    let write = || {
        let mut file = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, path)
    };
    write().map_err(|error| from_io(&error, path))
}

/// SHA-256 of a kept file; `None` where it is not there.
fn digest_of(path: &Path) -> Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(sha256_hex(&bytes))),
        Err(error) if error.kind() == IoErrorKind::NotFound => Ok(None),
        Err(error) => Err(from_io(&error, path)),
    }
}
