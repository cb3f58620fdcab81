//! Zip files after PKWARE's APPNOTE.TXT 6.3.10: stored and deflated entries, with 64-bit sizes where they are needed.
//!
//! The directory at the end is believed, what stands between entries is not looked at. An entry's name is in UTF-8 where
//! its flag says so or the field 0x7075 has it, else as [`super::name_of`] reads it.

use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use flate2::bufread::DeflateDecoder;
use ieum_model::dataset::Limits;
use ieum_model::error::{Error, Result};

use super::{Checked, broken, gone, name_of, too_many};
use crate::files::Counted;
use crate::folder::Folder;
use crate::limits::Limited;

const END: &[u8] = b"PK\x05\x06";
const END_BYTES: usize = 22;
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR_64: &[u8] = b"PK\x06\x07";
const LOCATOR_BYTES: usize = 20;
const ENTRY: &[u8] = b"PK\x01\x02";
const ENTRY_BYTES: usize = 46;
const LOCAL: &[u8] = b"PK\x03\x04";
const LOCAL_BYTES: usize = 30;
/// The longest comment behind the end.
const COMMENT: u64 = 0xFFFF;
const ENCRYPTED: u16 = 1;
const IS_UTF_8: u16 = 1 << 11;
const SIZES_64: u16 = 0x0001;
const UNICODE_PATH: u16 = 0x7075;

struct Entry {
    name: String,
    flags: u16,
    method: u16,
    sum: u32,
    compressed: u64,
    size: u64,
    at: u64,
}

fn u16_at(bytes: &[u8], at: usize) -> io::Result<u16> {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk::<2>());
    found.map(|found| u16::from_le_bytes(*found)).ok_or_else(cut_off)
}

fn u32_at(bytes: &[u8], at: usize) -> io::Result<u32> {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
    found.map(|found| u32::from_le_bytes(*found)).ok_or_else(cut_off)
}

fn u64_at(bytes: &[u8], at: usize) -> io::Result<u64> {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>());
    found.map(|found| u64::from_le_bytes(*found)).ok_or_else(cut_off)
}

fn cut_off() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

fn damaged() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

fn read_at(file: &mut (impl Read + Seek), at: u64, bytes: usize) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(at))?;
    let mut read = vec![0; bytes];
    file.read_exact(&mut read)?;
    Ok(read)
}

/// Where the directory stands, how long it is, and the bytes that were put before the archive.
struct Place {
    at: u64,
    bytes: u64,
    before: u64,
}

fn place(file: &mut (impl Read + Seek)) -> io::Result<Place> {
    let length = file.seek(SeekFrom::End(0))?;
    let tail = length.min(COMMENT + END_BYTES as u64);
    let start = length - tail;
    let bytes = read_at(file, start, usize::try_from(tail).map_err(io::Error::other)?)?;
    let is_end =
        |at: &usize| u16_at(&bytes, at + 20).is_ok_and(|comment| at + END_BYTES + usize::from(comment) == bytes.len());
    let end = memchr::memmem::rfind_iter(&bytes, END).find(is_end).ok_or_else(cut_off)?;
    let end_at = start + end as u64;
    let (size, offset) = (u32_at(&bytes, end + 12)?, u32_at(&bytes, end + 16)?);
    let locator = end_at.checked_sub(LOCATOR_BYTES as u64).map(|at| read_at(file, at, LOCATOR_BYTES)).transpose()?;
    if let Some(locator) = locator.filter(|locator| locator.starts_with(LOCATOR_64)) {
        let end_64 = read_at(file, u64_at(&locator, 8)?, 56)?;
        if !end_64.starts_with(END_64) {
            return Err(damaged());
        }
        return Ok(Place { at: u64_at(&end_64, 48)?, bytes: u64_at(&end_64, 40)?, before: 0 });
    }
    let before = end_at.checked_sub(u64::from(size) + u64::from(offset)).ok_or_else(damaged)?;
    Ok(Place { at: before + u64::from(offset), bytes: u64::from(size), before })
}

/// The entries that are no folders; `None` where there are too many.
fn directory(file: &mut (impl Read + Seek), limits: Limits) -> io::Result<Option<Vec<Entry>>> {
    let place = place(file)?;
    let length = file.seek(SeekFrom::End(0))?;
    if place.at.checked_add(place.bytes).is_none_or(|end| end > length) {
        return Err(damaged());
    }
    let bytes = read_at(file, place.at, usize::try_from(place.bytes).map_err(io::Error::other)?)?;
    let (mut entries, mut at) = (Vec::new(), 0);
    while bytes.get(at..).is_some_and(|rest| rest.starts_with(ENTRY)) {
        let [name, extra, comment] = [28, 30, 32].map(|field| u16_at(&bytes, at + field).map(usize::from));
        let (name, extra, comment) = (name?, extra?, comment?);
        let body = bytes.get(at + ENTRY_BYTES..at + ENTRY_BYTES + name + extra).ok_or_else(cut_off)?;
        let (raw, extra) = body.split_at(name);
        let mut entry = Entry {
            name: String::new(),
            flags: u16_at(&bytes, at + 8)?,
            method: u16_at(&bytes, at + 10)?,
            sum: u32_at(&bytes, at + 16)?,
            compressed: u32_at(&bytes, at + 20)?.into(),
            size: u32_at(&bytes, at + 24)?.into(),
            at: u32_at(&bytes, at + 42)?.into(),
        };
        entry.take_extra(extra, raw)?;
        entry.at = entry.at.checked_add(place.before).ok_or_else(damaged)?;
        at += ENTRY_BYTES + body.len() + comment;
        if !entry.name.ends_with('/') {
            entries.push(entry);
        }
        if entries.len() > limits.entries as usize {
            return Ok(None);
        }
    }
    Ok(Some(entries))
}

impl Entry {
    fn take_extra(&mut self, mut extra: &[u8], raw: &[u8]) -> io::Result<()> {
        let utf_8 = (self.flags & IS_UTF_8 != 0).then(|| std::str::from_utf8(raw).ok()).flatten();
        self.name = utf_8.map_or_else(|| name_of(raw), str::to_owned);
        while extra.len() >= 4 {
            let (kind, length) = (u16_at(extra, 0)?, usize::from(u16_at(extra, 2)?));
            let Some(field) = extra.get(4..4 + length) else { return Ok(()) };
            if kind == SIZES_64 {
                let mut at = 0;
                for value in [&mut self.size, &mut self.compressed, &mut self.at] {
                    if *value == u64::from(u32::MAX) {
                        *value = u64_at(field, at)?;
                        at += 8;
                    }
                }
            }
            if kind == UNICODE_PATH && field.len() > 5 {
                let mut sum = flate2::Crc::new();
                sum.update(raw);
                if let (true, Ok(name)) = (sum.sum() == u32_at(field, 1)?, std::str::from_utf8(&field[5..])) {
                    self.name = name.to_owned();
                }
            }
            extra = &extra[4 + length..];
        }
        Ok(())
    }
}

fn listed(root: &Folder, file: &str, limits: Limits) -> Result<Vec<Entry>> {
    let mut opened = root.seekable(file)?;
    let entries = directory(&mut opened, limits).map_err(|error| broken(file, &error))?;
    entries.ok_or_else(|| too_many(file, limits))
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
    let unread = |message: &str| Error::contract(message.to_owned()).at("export", file).at("entry", entry);
    if found.flags & ENCRYPTED != 0 {
        return Err(unread("entry of the archive is encrypted").hint("ask the holder to deliver it without a password"));
    }
    let mut opened = root.seekable(file)?;
    let start = (|| {
        let local = read_at(&mut opened, found.at, LOCAL_BYTES)?;
        if !local.starts_with(LOCAL) {
            return Err(damaged());
        }
        let start = found.at + LOCAL_BYTES as u64 + u64::from(u16_at(&local, 26)?) + u64::from(u16_at(&local, 28)?);
        opened.seek(SeekFrom::Start(start))
    })();
    start.map_err(|error| broken(file, &error))?;
    let raw = Counted::new(opened, storage).take(found.compressed);
    let sum = Some((flate2::Crc::new(), found.sum));
    match found.method {
        0 => Ok(Box::new(Checked { inner: raw, left: found.size, sum })),
        8 => {
            let inner = Limited::new(DeflateDecoder::new(BufReader::new(raw)), limits, storage);
            Ok(Box::new(Checked { inner, left: found.size, sum }))
        }
        method => Err(unread("entry of the archive is compressed in a way that is not known")
            .at("method", method)
            .hint("ask the holder to deliver it deflated, as every zip program does by itself")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use std::io::Write;
    use std::path::Path;

    use ieum_model::error::ErrorKind;

    use super::*;

    /// A zip file of entries: flags, name, content; those with an even number are deflated.
    pub(crate) fn zip(entries: &[(u16, &[u8], &[u8])]) -> Vec<u8> {
        let (mut out, mut directory) = (Vec::new(), Vec::new());
        for (number, (flags, name, content)) in entries.iter().enumerate() {
            let mut sum = flate2::Crc::new();
            sum.update(content);
            let (method, packed) = if number % 2 == 0 {
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(content).unwrap();
                (8_u16, encoder.finish().unwrap())
            } else {
                (0, content.to_vec())
            };
            let at = u32::try_from(out.len()).unwrap();
            let mut shared = Vec::new();
            for field in [20, *flags, method, 0, 0] {
                shared.extend_from_slice(&field.to_le_bytes());
            }
            for field in [sum.sum(), packed.len() as u32, content.len() as u32] {
                shared.extend_from_slice(&field.to_le_bytes());
            }
            shared.extend_from_slice(&(name.len() as u16).to_le_bytes());
            shared.extend_from_slice(&[0, 0]);
            out.extend_from_slice(&[LOCAL, &shared, name, &packed].concat());
            let rest = [&[0; 10][..], &at.to_le_bytes()].concat();
            directory.extend_from_slice(&[ENTRY, &[20, 0], &shared, &rest, name].concat());
        }
        let count = (entries.len() as u16).to_le_bytes();
        let (size, at) = ((directory.len() as u32).to_le_bytes(), (out.len() as u32).to_le_bytes());
        [&out[..], &directory, END, &[0; 4], &count, &count, &size, &at, &[0; 2]].concat()
    }

    fn folder(bytes: &[u8]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.zip"), bytes).unwrap();
        folder
    }

    fn read(root: &Path, entry: &str) -> Result<Vec<u8>> {
        let mut source = crate::files::Source::open(root, &format!("a.zip!/{entry}"))?;
        let mut bytes = vec![0; 1 << 20];
        let filled = source.fill(&mut bytes)?;
        Ok(bytes[..filled].to_vec())
    }

    #[test]
    fn entries_are_found_by_their_names_in_any_encoding() {
        let korean = encoding_rs::EUC_KR.encode("국세/납세_뷁.csv").0.into_owned();
        let bytes = zip(&[
            (0, &korean, b"a,b\n1,2\n"),
            (IS_UTF_8, "주소.csv".as_bytes(), b"stored"),
            (0, "지방세.csv".as_bytes(), b"utf-8 without its flag"),
            (0, b"folder/", b""),
            (0, b"plain.csv", b""),
        ]);
        let folder = folder(&[b"before the archive", &bytes[..]].concat());
        let names = names(&folder.path().into(), "a.zip", Limits::default()).unwrap();
        assert_eq!(names, ["국세/납세_뷁.csv", "주소.csv", "지방세.csv", "plain.csv"]);
        assert_eq!(read(folder.path(), "국세/납세_뷁.csv").unwrap(), b"a,b\n1,2\n");
        assert_eq!(read(folder.path(), "주소.csv").unwrap(), b"stored");
        assert_eq!(read(folder.path(), "plain.csv").unwrap(), b"");
        let some = super::super::entries(&folder.path().into(), "a.zip", Some("*세*.csv"), Limits::default()).unwrap();
        assert_eq!(some, ["a.zip!/국세/납세_뷁.csv", "a.zip!/지방세.csv"]);
    }

    #[test]
    fn what_cannot_be_read_says_so() {
        let check = |bytes: &[u8], entry: &str, message: &str| {
            let error = read(folder(bytes).path(), entry).unwrap_err();
            assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Contract, message));
            assert!(error.hint.is_some());
        };
        let good = zip(&[(0, b"x", &b"0123456789".repeat(9)), (0, b"y", b"0123456789")]);
        check(&good, "z", "archive has no such entry");
        check(&good[..good.len() - 1], "x", "archive is cut off");
        let mut wrong = good.clone();
        wrong[good.iter().rposition(|byte| *byte == b'9').unwrap()] = b'8';
        check(&wrong, "y", "compressed file is damaged");
        // The directory's end says that its 64-bit one stands where no file has a place.
        let (files, end) = good.split_at(good.len() - END_BYTES);
        let locator = [LOCATOR_64, &[0; 4], &[0xFF; 8], &[0; 4]].concat();
        check(&[files, &locator, end].concat(), "x", "archive is damaged");
        check(&zip(&[(ENCRYPTED, b"x", b"0")]), "x", "entry of the archive is encrypted");
        let folder = folder(&zip(&[(0, b"x", b""), (0, b"y", b""), (0, b"x", b"")]));
        let entries = |pattern: Option<&str>, limit: u32| {
            let limits = Limits { entries: limit, ..Limits::default() };
            super::super::entries(&folder.path().into(), "a.zip", pattern, limits).unwrap_err().message
        };
        assert_eq!(entries(Some("*"), 9), "archive has two entries of one name");
        assert_eq!(entries(Some("z*"), 9), "no entry of the archive matches, of 3");
        assert_eq!(entries(Some("*"), 2), "archive has more than 2 entries");
        let two = super::tests::folder(&good);
        let error = super::super::entries(&two.path().into(), "a.zip", None, Limits::default()).unwrap_err();
        assert_eq!(error.message, "archive has 2 entries");
    }

    #[test]
    fn a_bomb_is_an_error_of_its_export() {
        let zeros = vec![0; 65 << 20];
        let folder = folder(&zip(&[(0, b"x", &zeros)]));
        let drain = |limits: Limits| -> Result<usize> {
            let storage = Arc::new(AtomicU64::new(0));
            let mut stream = super::open(&folder.path().into(), "a.zip", "x", limits, &storage).unwrap();
            std::io::copy(&mut stream, &mut std::io::sink())
                .map(|bytes| bytes as usize)
                .map_err(|error| broken("a.zip", &error))
        };
        let error = drain(Limits::default()).unwrap_err();
        assert_eq!(error.message, "compressed file becomes more than 250 bytes from each compressed one");
        assert!(error.hint.unwrap().contains("limits = { expansion"));
        assert_eq!(drain(Limits { expansion: 2000, ..Limits::default() }).unwrap(), zeros.len());
    }
}
