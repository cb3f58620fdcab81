//! Whether the ledger is whole, and which entries may go.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use chrono::{Months, NaiveDate};
use ieum_model::error::{Error, Result};
use ieum_privacy::MasterKey;
use serde::Serialize;

use super::chain::{Chain, Link};
use super::{FOLDER, Ledger, broken, committed, digest_of, domain, manifest_of};
use crate::from_io;

/// Months for which transfer records are kept: three years (개인정보 보호법 시행령 42조의6⑫).
const KEPT_MONTHS: u32 = 36;

/// Files of the ledger beside the entries; the last stands while the head is replaced.
const OWN: [&str; 3] = ["chain.ndjson", "head.json", "head.new"];

/// What was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Runs in the chain.
    pub runs: u64,
    /// Requests entered.
    pub requests: u64,
    /// Links whose MAC was compared; the others were made with another key, or none was given.
    pub authenticated: u64,
    /// Runs whose entries are gone after their retention.
    pub expired: u64,
    /// Where the chain ends: to be kept elsewhere, so that a chain put back to an earlier state is found out.
    pub head: String,
}

/// Verifies the ledger of the outputs in `out`, the MACs of links that one of `keys` made; `kept_head` is a head that was written down earlier: the chain must have
/// come by it.
///
/// # Errors
/// [`ieum_model::error::ErrorKind::Integrity`] at the first link that was edited, taken away or moved, entries that
/// differ or are missing before their time, entries or committed runs that the chain does not have.
pub fn verify(out: &Path, keys: &[&MasterKey], kept_head: Option<&str>) -> Result<VerifyReport> {
    let folder = out.join(FOLDER);
    if !folder.is_dir() {
        return Err(broken("there is no ledger", &folder));
    }
    let chain = Chain::read(&folder)?;
    chain.is_whole(&folder)?;
    let head = chain.head(&folder)?;
    let mut authenticated = 0;
    for master in keys {
        authenticated += chain.authenticate(&folder, (master.key_id(), master.epoch()), &domain(master))?;
    }
    if let Some(kept) = kept_head {
        let passed = chain.links.iter().any(|link| link.previous == kept) || head.last == kept;
        if !passed || kept.is_empty() {
            return Err(broken("the chain never came by the head that was kept", &folder));
        }
    }
    let last = chain.links.last().and_then(date_of);
    let mut expired = 0;
    for link in &chain.links {
        let path = folder.join(&link.entries);
        match digest_of(&path)? {
            Some(digest) if digest == link.entries_sha256 => {}
            Some(_) => return Err(entries_differ(link, &path)),
            None if has_expired(link, last) => expired += 1,
            None => return Err(entries_are_missing(link, &path)),
        }
    }
    nothing_else(&folder, &chain)?;
    for (date, run) in committed(out)? {
        let digest = manifest_of(&run)?.map(|manifest| manifest.run_digest);
        match chain.links.iter().find(|link| Some(&link.run_digest) == digest.as_ref()) {
            Some(link) if link.as_of == date => {}
            Some(link) => {
                let what = format!("the folder of {date} holds the run of {}", link.as_of);
                return Err(broken(what, &run));
            }
            None => return Err(broken("a committed run is not in the ledger", &run)),
        }
    }
    let requests = chain.links.iter().map(|link| link.requests).sum();
    Ok(VerifyReport { runs: chain.links.len() as u64, requests, authenticated, expired, head: head.last })
}

fn nothing_else(folder: &Path, chain: &Chain) -> Result<()> {
    let known: BTreeSet<&str> = chain.links.iter().map(|link| link.entries.as_str()).collect();
    for entry in fs::read_dir(folder).map_err(|error| from_io(&error, folder))? {
        let path = entry.map_err(|error| from_io(&error, folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Hidden files are locks, and what file systems leave.
        if !known.contains(&*name) && !OWN.contains(&&*name) && !name.starts_with('.') {
            return Err(broken("this is not in the chain", &path));
        }
    }
    Ok(())
}

/// Entries whose bytes are not those that the chain knows.
pub(super) fn entries_differ(link: &Link, path: &Path) -> Error {
    broken(format!("entries of run `{}` differ from the chain", link.run_id), path)
}

/// Entries that are gone before their time.
pub(super) fn entries_are_missing(link: &Link, path: &Path) -> Error {
    broken(format!("entries of run `{}` are missing", link.run_id), path)
}

/// Whether entries need not be kept any more, counted from the last run.
pub(super) fn has_expired(link: &Link, last: Option<NaiveDate>) -> bool {
    last.zip(date_of(link)).is_some_and(|(last, date)| may_go(date, last))
}

pub(super) fn date_of(link: &Link) -> Option<NaiveDate> {
    link.as_of.parse().ok()
}

/// Whether records of `date` need not be kept any more on `today`.
fn may_go(date: NaiveDate, today: NaiveDate) -> bool {
    date.checked_add_months(Months::new(KEPT_MONTHS)).is_some_and(|until| until <= today)
}

/// Removes the entries of runs before `before`; their links stay. How many were removed.
///
/// # Errors
/// [`ieum_model::error::ErrorKind::Config`] when `before` reaches into the three years before `today`, or into those before
/// the last run; when the ledger is broken or a file cannot be removed.
pub fn prune(out: &Path, before: NaiveDate, today: NaiveDate) -> Result<u64> {
    let ledger = Ledger::open(out)?;
    let chain = Chain::read(&ledger.folder)?;
    chain.head(&ledger.folder)?;
    let last = chain.links.last().and_then(date_of).unwrap_or(today).min(today);
    let latest = before.pred_opt().unwrap_or(before);
    if !may_go(latest, last) {
        return Err(Error::config("transfer records are kept for three years")
            .at("before", before)
            .at("last run", last)
            .hint("give a date at least three years before the last run"));
    }
    let mut removed = 0;
    for link in chain.links.iter().filter(|link| date_of(link).is_some_and(|date| date < before)) {
        let path = ledger.folder.join(&link.entries);
        match fs::remove_file(&path) {
            Ok(()) => removed += 1,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(from_io(&error, &path)),
        }
    }
    Ok(removed)
}
