//! Tape archives (POSIX.1-2001 `ustar` and `pax`, GNU long names), plain or compressed as a whole.
//!
//! A compressed one has no directory: to find an entry, all before it is decompressed again.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use ieum_model::dataset::Limits;
use ieum_model::error::{Error, Result};
use tar::{Archive, EntryType};

use super::{Checked, broken, gone, name_of, too_many};
use crate::files::{Counted, decompressed};
use crate::folder::Folder;

const BLOCK: usize = 512;

struct Entry {
    name: String,
    /// Of its first byte in the decompressed archive.
    at: u64,
    size: u64,
    is_sparse: bool,
}

/// The decompressed archive.
fn stream(root: &Folder, file: &str, limits: Limits, storage: &Arc<AtomicU64>) -> Result<Box<dyn Read + Send>> {
    let base = Box::new(Counted::new(root.stream(file)?, storage));
    // Upper-case extensions of archives are known too.
    Ok(decompressed(base, &file.to_ascii_lowercase(), limits, storage)?.0)
}

fn is_plain(file: &str) -> bool {
    file.to_ascii_lowercase().ends_with(".tar")
}

/// The entries that are files; `None` where there are too many.
fn listed(root: &Folder, file: &str, limits: Limits) -> Result<Vec<Entry>> {
    let many = limits.entries as usize;
    let listed = if is_plain(file) {
        let mut archive = Archive::new(root.seekable(file)?);
        let listed = archive.entries_with_seek().and_then(|entries| collect(entries, many));
        listed.and_then(|(found, end)| match found {
            None => Ok(None),
            Some(found) => ends_well(&mut archive.into_inner(), end).map(|()| Some(found)),
        })
    } else {
        // One that is cut off does not decompress.
        let mut archive = Archive::new(stream(root, file, limits, &Arc::default())?);
        archive.entries().and_then(|entries| collect(entries, many)).map(|(found, _)| found)
    };
    listed.map_err(|error| broken(file, &error))?.ok_or_else(|| too_many(file, limits))
}

/// Whether a block of zeros stands at `end`, as it must after the last entry.
fn ends_well(archive: &mut (impl Read + Seek), end: u64) -> io::Result<()> {
    let mut block = [1; BLOCK];
    archive.seek(SeekFrom::Start(end))?;
    archive.read_exact(&mut block)?;
    if block == [0; BLOCK] { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// The entries that are files (`None` where there are too many), and the end of the last one.
fn collect<R: Read>(entries: tar::Entries<'_, R>, many: usize) -> io::Result<(Option<Vec<Entry>>, u64)> {
    let (mut found, mut end) = (Vec::new(), 0);
    for entry in entries {
        let entry = entry?;
        end = entry.raw_file_position() + entry.size().next_multiple_of(BLOCK as u64);
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse) {
            found.push(Entry {
                name: name_of(&entry.path_bytes()),
                at: entry.raw_file_position(),
                size: entry.size(),
                is_sparse: kind == EntryType::GNUSparse,
            });
        }
        if found.len() > many {
            return Ok((None, end));
        }
    }
    Ok((Some(found), end))
}

/// Names of the entries.
pub(super) fn names(root: &Folder, file: &str, limits: Limits) -> Result<Vec<String>> {
    Ok(listed(root, file, limits)?.into_iter().map(|entry| entry.name).collect())
}

/// As [`super::open`].
pub(super) fn open(
    root: &Folder,
    file: &str,
    entry: &str,
    limits: Limits,
    storage: &Arc<AtomicU64>,
) -> Result<Box<dyn Read + Send>> {
    let found = listed(root, file, limits)?.into_iter().find(|found| found.name == entry);
    let found = found.ok_or_else(|| gone(file, entry))?;
    if found.is_sparse {
        return Err(Error::contract("entry of the archive is a sparse file")
            .at("export", file)
            .at("entry", entry)
            .hint("ask the holder to make the archive without `--sparse`"));
    }
    let inner: Box<dyn Read + Send> = if is_plain(file) {
        let mut opened = root.seekable(file)?;
        opened.seek(SeekFrom::Start(found.at)).map_err(|error| broken(file, &error))?;
        Box::new(Counted::new(opened, storage))
    } else {
        let mut stream = stream(root, file, limits, storage)?;
        let skipped = io::copy(&mut (&mut stream).take(found.at), &mut io::sink());
        skipped.map_err(|error| broken(file, &error))?;
        stream
    };
    Ok(Box::new(Checked { inner: inner.take(found.size), left: found.size, sum: None }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use std::io::Write;
    use std::path::Path;

    use super::*;

    /// A tape archive of entries: name, content.
    pub(crate) fn tar(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = ::tar::Builder::new(Vec::new());
        for (name, content) in entries {
            let mut header = ::tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o600);
            builder.append_data(&mut header, name, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read(root: &Path, name: &str) -> Result<Vec<u8>> {
        let mut source = crate::files::Source::open(root, name)?;
        let mut bytes = vec![0; 1 << 20];
        let filled = source.fill(&mut bytes)?;
        Ok(bytes[..filled].to_vec())
    }

    #[test]
    fn entries_are_found_in_plain_and_compressed_archives() {
        let long = format!("{}/지방세.csv", "깊은".repeat(40));
        let plain = tar(&[("a.csv", b"1\n2\n"), (&long, &b"x".repeat(700)), ("b.csv.gz", &gz(b"packed twice"))]);
        let folder = tempfile::tempdir().unwrap();
        let zst = zstd::encode_all(&plain[..], 1).unwrap();
        for (file, bytes) in [("a.tar", &plain), ("a.tar.gz", &gz(&plain)), ("a.TGZ", &gz(&plain)), ("a.tar.zst", &zst)]
        {
            std::fs::write(folder.path().join(file), bytes).unwrap();
            assert_eq!(names(&folder.path().into(), file, Limits::default()).unwrap(), ["a.csv", &long, "b.csv.gz"]);
            assert_eq!(read(folder.path(), &format!("{file}!/a.csv")).unwrap(), b"1\n2\n");
            assert_eq!(read(folder.path(), &format!("{file}!/{long}")).unwrap(), b"x".repeat(700));
            assert_eq!(read(folder.path(), &format!("{file}!/b.csv.gz")).unwrap(), b"packed twice");
        }
        for cut in [0, 100, 512, 514, 1024, 2000, plain.len() - 1024] {
            std::fs::write(folder.path().join("cut.tar"), &plain[..cut]).unwrap();
            let error = read(folder.path(), "cut.tar!/a.csv").unwrap_err();
            assert!(error.message.starts_with("archive is ") && error.hint.is_some(), "{cut} {error}");
        }
    }

    #[test]
    fn a_bomb_is_an_error_of_its_export() {
        let bomb = gz(&tar(&[("x", &vec![0; 65 << 20]), ("y", b"1")]));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.tar.gz"), &bomb).unwrap();
        let error = names(&folder.path().into(), "a.tar.gz", Limits::default()).unwrap_err();
        assert_eq!(error.message, "compressed file becomes more than 250 bytes from each compressed one");
        let allowed = Limits { expansion: 2000, ..Limits::default() };
        assert_eq!(names(&folder.path().into(), "a.tar.gz", allowed).unwrap(), ["x", "y"]);
    }
}
