//! Archives: which entries are an export's, and how to read one of them.
//!
//! An entry is a partition and is called by the file's name, `!/` and its own, as in `tax/2026.zip!/tax_01.csv`. One that is
//! compressed itself, `tax_01.csv.gz`, is decompressed; an archive in an archive is not opened.

mod tar;
mod zip;

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use ieum_model::dataset::{Encoding, Limits};
use ieum_model::error::{Error, Result};

use crate::encoding;
use crate::files::io_error;
use crate::folder::{self, Folder};
use crate::limits::Beyond;

/// Stands between the names of an archive and of its entry.
const INSIDE: &str = "!/";
const ZIP: &str = ".zip";
const TARS: [&str; 4] = [".tar", ".tar.gz", ".tgz", ".tar.zst"];
const HINT: &str = "ask the holder to deliver the archive again";

/// Whether a file is an archive, by its name.
pub fn is_archive(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.ends_with(ZIP) || TARS.iter().any(|tar| name.ends_with(tar))
}

fn is_zip(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with(ZIP)
}

/// The file that a partition stands in, and its entry where that is an archive.
pub fn split(name: &str) -> (&str, Option<&str>) {
    match name.match_indices(INSIDE).find(|(at, _)| is_archive(&name[..*at])) {
        Some((at, _)) => (&name[..at], Some(&name[at + INSIDE.len()..])),
        None => (name, None),
    }
}

/// The partitions in the archive `file` below `root`, in name order: entries that `pattern` matches.
///
/// # Errors
/// When the archive cannot be read, holds too many entries, two of one name or none that is meant.
pub fn entries(root: &Folder, file: &str, pattern: Option<&str>, limits: Limits) -> Result<Vec<String>> {
    let found = if is_zip(file) { zip::names(root, file, limits)? } else { tar::names(root, file, limits)? };
    let wrong = |message: String| Error::contract(message).at("export", file);
    let mut names: Vec<String> = match pattern {
        None => found.iter().filter(|name| !name.starts_with("__MACOSX/")).cloned().collect(),
        Some(pattern) => {
            let glob = glob::Pattern::new(pattern).map_err(|error| {
                Error::config(format!("entries is not a pattern: {}", error.msg)).at("entries", pattern)
            })?;
            found.iter().filter(|name| glob.matches(name)).cloned().collect()
        }
    };
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(wrong("archive has two entries of one name".into()).at("entry", &pair[0]).hint(HINT));
    }
    match (names.len(), pattern) {
        (0, Some(pattern)) => Err(wrong(format!("no entry of the archive matches, of {}", found.len()))
            .at("entries", pattern)
            .hint("compare `entries` in the dataset's [export] with the archive")),
        (0, None) => Err(wrong("archive is empty".into()).hint(HINT)),
        (2.., None) => Err(wrong(format!("archive has {} entries", names.len()))
            .hint("say which are the export: `entries = \"*.csv\"` in the dataset's [export]")),
        _ => Ok(names.into_iter().map(|name| format!("{file}{INSIDE}{name}")).collect()),
    }
}

/// The bytes of an entry; `storage` counts those that are read of the file.
///
/// # Errors
/// When the archive cannot be read, or has no such entry.
pub fn open(
    root: &Folder,
    file: &str,
    entry: &str,
    limits: Limits,
    storage: &Arc<AtomicU64>,
) -> Result<Box<dyn Read + Send>> {
    if is_zip(file) {
        zip::open(root, file, entry, limits, storage)
    } else {
        tar::open(root, file, entry, limits, storage)
    }
}

/// What is wrong with an archive that could not be read.
fn broken(file: &str, error: &io::Error) -> Error {
    if let Some(beyond) = Beyond::of(error) {
        return beyond.told(file);
    }
    if folder::is_failure(error) {
        return io_error(file, error);
    }
    let what = if error.kind() == io::ErrorKind::UnexpectedEof { "cut off" } else { "damaged" };
    Error::contract(format!("archive is {what}")).at("export", file).hint(HINT)
}

fn too_many(file: &str, limits: Limits) -> Error {
    Error::contract(format!("archive has more than {} entries", limits.entries))
        .at("export", file)
        .at("limit", "entries")
        .hint("if the holder's file is meant to be so, raise `limits = { entries = … }` in the dataset's [export]")
}

fn gone(file: &str, entry: &str) -> Error {
    Error::contract("archive has no such entry").at("export", file).at("entry", entry).hint(HINT)
}

/// The name that bytes are in CP949, the encoding of names in Korea where an archive does not tell it, else in UTF-8; what is
/// neither is shown in hexadecimal.
fn name_of(bytes: &[u8]) -> String {
    let mut scratch = String::new();
    let name = encoding::decode(Encoding::Cp949, bytes, &mut scratch).map(str::to_owned);
    let name = name.or_else(|| std::str::from_utf8(bytes).ok().map(str::to_owned));
    name.unwrap_or_else(|| {
        bytes
            .iter()
            .map(|byte| match byte {
                0x20..0x7F => char::from(*byte).to_string(),
                _ => format!("\\x{byte:02x}"),
            })
            .collect()
    })
}

/// A stream that must have so many bytes, and this checksum where one is known.
struct Checked<R> {
    inner: R,
    left: u64,
    sum: Option<(flate2::Crc, u32)>,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.inner.read(buffer)?;
        let is_end = bytes == 0 && !buffer.is_empty();
        if is_end && self.left > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left = self.left.checked_sub(bytes as u64).ok_or(io::ErrorKind::InvalidData)?;
        if let Some((sum, expected)) = &mut self.sum {
            sum.update(&buffer[..bytes]);
            if is_end && sum.sum() != *expected {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Ok(bytes)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) use super::tar::tests::tar;
    pub(crate) use super::zip::tests::zip;

    #[test]
    fn an_entry_is_named_after_its_archive() {
        assert_eq!(split("a/x.zip!/b/c.csv"), ("a/x.zip", Some("b/c.csv")));
        assert_eq!(split("a/x.TAR.GZ!/c!/d.csv"), ("a/x.TAR.GZ", Some("c!/d.csv")));
        assert_eq!(split("a!/x.csv"), ("a!/x.csv", None));
        assert_eq!(split("x.tgz"), ("x.tgz", None));
        assert!(is_archive("x.tar.zst") && !is_archive("x.csv.gz"));
    }
}
