//! The chain: one line a run, each with the digest of the line before and a MAC of its own.

use std::fs;
use std::io::{ErrorKind as IoErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ieum_model::error::{Error, Result};
use ieum_privacy::DomainKey;
use serde::{Deserialize, Serialize};

use super::{broken, replace};
use crate::from_io;
use crate::manifest::{hex, sha256_hex};
use crate::steps::reached;

const CHAIN: &str = "chain.ndjson";
const HEAD: &str = "head.json";
/// What a MAC is of: a link is never taken for a head or a person.
const LINK: &str = "ledger-link";
const END: &str = "ledger-head";

/// One run in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Place in the chain, from 1.
    pub number: u64,
    /// The run.
    pub run_id: String,
    /// Its declared date, ISO.
    pub as_of: String,
    /// Digest of its manifest.
    pub run_digest: String,
    /// Master key that named the persons in its entries.
    pub key_id: String,
    /// Epoch of that key.
    pub key_epoch: u32,
    /// Requests entered.
    pub requests: u64,
    /// File of the entries, beside the chain.
    pub entries: String,
    /// SHA-256 of that file.
    pub entries_sha256: String,
    /// SHA-256 of the line before; empty for the first.
    pub previous: String,
}

/// A link as it stands in the chain.
#[derive(Serialize, Deserialize)]
struct Line {
    link: Link,
    mac: String,
}

/// Where the chain ends.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    /// How many links there are.
    pub links: u64,
    /// SHA-256 of the last line; empty where there is none.
    pub last: String,
    /// Key that made `mac`.
    pub key_id: String,
    /// Its epoch.
    pub key_epoch: u32,
    /// MAC of the above.
    pub mac: String,
}

/// HMAC-SHA-256 (RFC 2104) of a value's JSON in the ledger's domain.
fn mac<T: Serialize>(domain: &DomainKey, what: &str, value: &T) -> Result<String> {
    let json = serde_json::to_vec(value).map_err(|error| Error::internal(error.to_string()))?;
    Ok(hex(&domain.pseudonym(what, &json)))
}

/// The links, read and compared with each other.
pub(super) struct Chain {
    pub links: Vec<Link>,
    macs: Vec<String>,
    /// SHA-256 of the last line.
    last: String,
    /// Bytes of whole lines; a line that a killed process did not finish comes after.
    whole: u64,
    bytes: u64,
}

impl Chain {
    /// Reads the chain below `folder`; empty where there is none yet.
    ///
    /// # Errors
    /// [`ieum_model::error::ErrorKind::Integrity`] where a link does not follow the one before.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let path = path_of(folder);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == IoErrorKind::NotFound => Vec::new(),
            bytes => bytes.map_err(|error| from_io(&error, &path))?,
        };
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let mut chain = Self {
            links: Vec::new(),
            macs: Vec::new(),
            last: String::new(),
            whole: whole as u64,
            bytes: bytes.len() as u64,
        };
        for (number, line) in (1..).zip(bytes[..whole].split_inclusive(|byte| *byte == b'\n')) {
            let wrong = |what: &str| broken(format!("link {number} of the ledger {what}"), &path);
            let read: Line = serde_json::from_slice(line).map_err(|_| wrong("cannot be read"))?;
            if !is_as_written(&read, &line[..line.len() - 1]) {
                return Err(wrong("is not spelled as it was written"));
            }
            let Line { link, mac } = read;
            if link.number != number || link.previous != chain.last {
                return Err(wrong("does not follow the one before"));
            }
            chain.last = sha256_hex(&line[..line.len() - 1]);
            chain.links.push(link);
            chain.macs.push(mac);
        }
        Ok(chain)
    }

    /// Whether nothing stands behind the last whole line.
    ///
    /// # Errors
    /// [`ieum_model::error::ErrorKind::Integrity`] where something does; the next run cuts it off.
    pub(super) fn is_whole(&self, folder: &Path) -> Result<()> {
        if self.bytes == self.whole {
            return Ok(());
        }
        let what = "the ledger does not end with a whole link: the next run mends that where one was killed";
        Err(broken(what, &path_of(folder)))
    }

    /// The head, which agrees with the chain.
    ///
    /// # Errors
    /// [`ieum_model::error::ErrorKind::Integrity`] where it does not: links were taken off or added. A process that was
    /// killed between the two writes leaves one link more than its head knows, which is taken for good.
    pub(super) fn head(&self, folder: &Path) -> Result<Head> {
        let path = folder.join(HEAD);
        let head = match fs::read(&path) {
            Err(error) if error.kind() == IoErrorKind::NotFound => Head::default(),
            Err(error) => return Err(from_io(&error, &path)),
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(head) if is_as_written(&head, &bytes) => head,
                _ => return Err(broken("head of the ledger cannot be read", &path)),
            },
        };
        let links = self.links.len() as u64;
        let before_last = self.links.last().map_or("", |link| link.previous.as_str());
        let ends = (head.links, head.last.as_str()) == (links, self.last.as_str());
        let unfinished = (head.links + 1, head.last.as_str()) == (links, before_last);
        let of_head = usize::try_from(head.links).ok().and_then(|links| self.links.get(links.checked_sub(1)?));
        let same_key = of_head.is_none_or(|link| (&link.key_id, link.key_epoch) == (&head.key_id, head.key_epoch));
        match (ends || unfinished) && same_key {
            true => Ok(Head { links, last: self.last.clone(), ..head }),
            false => {
                let message = format!("the ledger has {links} links, its head says {}, and where it ends", head.links);
                Err(broken(message, &path).at("chain", path_of(folder).display()))
            }
        }
    }

    /// Moves the head to the last link where a process was killed before it did, if the key is the one of that link.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub(super) fn complete(&self, folder: &Path, key: (&str, u32), domain: &DomainKey) -> Result<()> {
        let Some(last) = self.links.last().filter(|link| (link.key_id.as_str(), link.key_epoch) == key) else {
            return Ok(());
        };
        let stands = fs::read(folder.join(HEAD)).ok().and_then(|bytes| serde_json::from_slice::<Head>(&bytes).ok());
        if stands.map_or(0, |head| head.links) + 1 == last.number {
            put_head(folder, last, self.last.clone(), domain)?;
        }
        Ok(())
    }

    /// Compares the MAC of every link made with this key; how many were.
    ///
    /// # Errors
    /// [`ieum_model::error::ErrorKind::Integrity`] at the first that does not hold.
    pub(super) fn authenticate(&self, folder: &Path, key: (&str, u32), domain: &DomainKey) -> Result<u64> {
        let mut checked = 0;
        for (link, found) in self.links.iter().zip(&self.macs) {
            if (link.key_id.as_str(), link.key_epoch) != key {
                continue;
            }
            if mac(domain, LINK, link)? != *found {
                let message = format!("link {} of the ledger was not made with key `{}`", link.number, link.key_id);
                return Err(broken(message, &path_of(folder)));
            }
            checked += 1;
        }
        let path = folder.join(HEAD);
        let head: Head = match fs::read(&path).map(|bytes| serde_json::from_slice(&bytes)) {
            Ok(Ok(head)) => head,
            // Of the first run, killed between the two writes.
            Err(error) if error.kind() == IoErrorKind::NotFound && self.links.len() <= 1 => return Ok(checked),
            _ => return Err(broken("head of the ledger cannot be read", &path)),
        };
        if (head.key_id.as_str(), head.key_epoch) == key
            && head.mac != mac(domain, END, &Head { mac: String::new(), ..head.clone() })?
        {
            return Err(broken(format!("head of the ledger was not made with key `{}`", head.key_id), &path));
        }
        Ok(checked)
    }
}

/// A line and a head have one spelling: another one is an edit, even if it says the same.
fn is_as_written<T: Serialize>(read: &T, bytes: &[u8]) -> bool {
    serde_json::to_vec(read).is_ok_and(|written| written == bytes)
}

fn path_of(folder: &Path) -> PathBuf {
    folder.join(CHAIN)
}

/// Appends a link and moves the head, both made durable; the new head.
///
/// # Errors
/// When the disk does not take them.
pub(super) fn append(folder: &Path, link: &Link, domain: &DomainKey, chain: &Chain) -> Result<Head> {
    let path = path_of(folder);
    let line = Line { link: link.clone(), mac: mac(domain, LINK, link)? };
    let mut bytes = serde_json::to_vec(&line).map_err(|error| Error::internal(error.to_string()))?;
    let last = sha256_hex(&bytes);
    bytes.push(b'\n');
    let write = || {
        let mut options = fs::OpenOptions::new();
        let mut file = options.create(true).truncate(false).write(true).mode(0o600).open(&path)?;
        file.set_len(chain.whole)?;
        std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0))?;
        file.write_all(&bytes)?;
        file.sync_all()
    };
    write().map_err(|error| from_io(&error, &path))?;
    reached("ledger.linked");
    put_head(folder, link, last, domain)
}

fn put_head(folder: &Path, link: &Link, last: String, domain: &DomainKey) -> Result<Head> {
    let (key_id, key_epoch) = (link.key_id.clone(), link.key_epoch);
    let head = Head { links: link.number, last, key_id, key_epoch, mac: String::new() };
    let head = Head { mac: mac(domain, END, &head)?, ..head };
    let json = serde_json::to_vec(&head).map_err(|error| Error::internal(error.to_string()))?;
    replace(&folder.join(HEAD), &json)?;
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| from_io(&error, folder))?;
    Ok(head)
}
