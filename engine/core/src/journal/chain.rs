//! The journal as a file: one JSON object a line, each chained to the one before.
//!
//! ```text
//!  {"sequence":1,"previous":"<digest of entry 0>","entry":{…},"digest":"<SHA-256 of this line up to here>"}
//! ```

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::Mutex;

use ieum_model::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::entry::Entry;
use crate::manifest::sha256_hex;
use crate::steps::reached;
use crate::unwritten;

/// What the first entry has for the digest of the one before.
const NONE_BEFORE: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Between the digested bytes of a line and its digest, and behind it.
const DIGEST: &str = ",\"digest\":\"";
const END: &str = "\"}";

/// A line, apart from its digest.
#[derive(Serialize)]
struct Line<'a> {
    sequence: u64,
    previous: &'a str,
    entry: &'a Entry,
}

/// A line as it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadLine {
    sequence: u64,
    previous: String,
    entry: Entry,
    digest: String,
}

/// The journal of a run, open for more. Several threads may append.
pub struct Journal(Mutex<Tail>);

struct Tail {
    file: File,
    sequence: u64,
    previous: String,
}

/// The whole entries of a journal, and where they end: a last line that was torn is left out.
///
/// # Errors
/// [`ErrorKind::Integrity`] when a line is not what was written, or not the next one.
pub fn read(bytes: &[u8]) -> Result<(Vec<Entry>, u64)> {
    let (mut entries, mut previous, mut end) = (Vec::new(), NONE_BEFORE.to_owned(), 0);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some(line) = line.strip_suffix(b"\n") else { break };
        let sequence = entries.len() as u64;
        let read = line_of(line).filter(|read| read.sequence == sequence && read.previous == previous);
        let Some(read) = read else {
            return Err(Error::new(ErrorKind::Integrity, "the journal of an unfinished run was changed")
                .at("line", sequence + 1));
        };
        (previous, end) = (read.digest, end + line.len() as u64 + 1);
        entries.push(read.entry);
    }
    Ok((entries, end))
}

fn line_of(line: &[u8]) -> Option<ReadLine> {
    let read: ReadLine = serde_json::from_slice(line).ok()?;
    let tail = format!("{DIGEST}{}{END}", read.digest);
    let digested = line.strip_suffix(tail.as_bytes())?;
    (sha256_hex(digested) == read.digest).then_some(read)
}

impl Journal {
    /// Takes over a journal, empty or of a run that goes on; its whole entries. A torn last line is cut off.
    ///
    /// # Errors
    /// As [`read`], and when the file cannot be read or cut.
    pub fn open(mut file: File) -> Result<(Self, Vec<Entry>)> {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| unwritten(&error))?;
        let (entries, end) = read(&bytes)?;
        if end < bytes.len() as u64 {
            file.set_len(end).map_err(|error| unwritten(&error))?;
        }
        file.seek(SeekFrom::Start(end)).map_err(|error| unwritten(&error))?;
        let whole = &bytes[..usize::try_from(end).unwrap_or(bytes.len())];
        let last = whole.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty()).and_then(line_of);
        let previous = last.map_or_else(|| NONE_BEFORE.to_owned(), |line| line.digest);
        let tail = Tail { file, sequence: entries.len() as u64, previous };
        Ok((Self(Mutex::new(tail)), entries))
    }

    /// Appends an entry. A process that is killed afterwards has written it; it is not made durable against a loss of power.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn append(&self, entry: &Entry) -> Result<()> {
        let mut tail = self.0.lock().map_err(|_| Error::internal("a writer of the journal stopped halfway"))?;
        let line = Line { sequence: tail.sequence, previous: &tail.previous, entry };
        let mut bytes = serde_json::to_vec(&line).map_err(|error| Error::internal(error.to_string()))?;
        bytes.pop();
        let digest = sha256_hex(&bytes);
        bytes.extend_from_slice(format!("{DIGEST}{digest}{END}\n").as_bytes());
        let torn = crate::steps::is_next("journal.torn");
        if torn {
            bytes.truncate(bytes.len() / 2);
        }
        tail.file.write_all(&bytes).map_err(|error| unwritten(&error))?;
        reached("journal.torn");
        (tail.sequence, tail.previous) = (tail.sequence + 1, digest);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(entries: &[Entry]) -> Vec<u8> {
        let mut file = tempfile::tempfile().unwrap();
        let (journal, before) = Journal::open(file.try_clone().unwrap()).unwrap();
        assert!(before.is_empty());
        entries.iter().for_each(|entry| journal.append(entry).unwrap());
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn entries() -> Vec<Entry> {
        let wave = |number| Entry::Wave { number, last: 2, readings: 7 };
        vec![wave(0), Entry::Resumed, wave(1), Entry::Shard { number: 3, requests: 4 }]
    }

    #[test]
    fn a_torn_last_line_is_dropped_and_the_chain_goes_on() {
        let whole = written(&entries());
        let end_of_third = whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(2).unwrap().0 + 1;
        for torn in end_of_third..whole.len() {
            let (read, end) = read(&whole[..torn]).unwrap();
            assert_eq!((read.as_slice(), end), (&entries()[..3], end_of_third as u64), "cut at {torn}");
        }
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&whole[..whole.len() - 5]).unwrap();
        file.rewind().unwrap();
        let (journal, before) = Journal::open(file.try_clone().unwrap()).unwrap();
        assert_eq!(before, &entries()[..3]);
        journal.append(&entries()[3]).unwrap();
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, whole);
    }

    #[test]
    fn any_other_break_is_an_integrity_failure() {
        let whole = written(&entries());
        let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
        let broken = |bytes: &[u8]| read(bytes).is_err_and(|error| error.kind == ErrorKind::Integrity);
        for place in 0..whole.len() {
            let mut changed = whole.clone();
            changed[place] ^= 1;
            assert!(broken(&changed) || place == whole.len() - 1, "byte {place}");
        }
        assert!(broken(&[lines[0], lines[2], lines[3]].concat()), "a line is gone");
        assert!(broken(&[lines[0], lines[2], lines[1], lines[3]].concat()), "two lines changed places");
        assert!(broken(&[lines[1], lines[2]].concat()), "the first line is gone");
    }
}
