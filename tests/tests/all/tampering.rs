//! Any single edit of an output or of the ledger is found, and the file is named.

use std::fs;
use std::path::{Path, PathBuf};

use ieum_core::ledger;
use ieum_core::night::{self, BundleFormat, Layout};
use ieum_core::verify::verify_signed;
use ieum_model::error::{Error, ErrorKind, Result};
use ieum_privacy::MasterKey;
use ieum_tests::small_night::{self, FIRST, Making, SECOND};
use tempfile::TempDir;

fn committed(layout: Layout, format: BundleFormat) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut exports = small_night::exports();
    // A row that cannot be read, so that there are rejects.
    exports.get_mut("income/2026.csv").unwrap().push_str("9912313000002,2025\n");
    small_night::write_exports(&folder.path().join("exports"), &exports).unwrap();
    let (first, second) = (format!("rrno:{FIRST}"), format!("rrno:{SECOND}"));
    let request = |fields: &[(&str, &str)]| small_night::request(fields).unwrap();
    let requests = vec![
        request(&[("request_id", "r1"), ("subject_ids", &first), ("service", "fund")]),
        request(&[("request_id", "r2"), ("subject_ids", &second), ("service", "fund")]),
        request(&[("request_id", "r3"), ("subject_ids", &second), ("documents", "income(amount)")]),
    ];
    let sources = small_night::catalog_sources();
    let making = Making { layout, format, ..Making::default() };
    let mut night = small_night::night(folder.path(), &sources, requests, &[], making).unwrap();
    night.out = folder.path().join("out/2026-11-22");
    night::run(&mut night, false).unwrap();
    folder
}

fn files_below(root: &Path) -> Vec<PathBuf> {
    let (mut files, mut open) = (Vec::new(), vec![root.to_path_buf()]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

/// The places of a file at which it is edited: its ends, and some in between.
fn places(length: usize) -> Vec<usize> {
    const BETWEEN: usize = 6;
    let mut places: Vec<usize> = (0..BETWEEN).map(|part| part * length / BETWEEN + part % 3).collect();
    places.extend([1, length.saturating_sub(2), length.saturating_sub(1)]);
    places.retain(|place| *place < length);
    places.sort_unstable();
    places.dedup();
    places
}

/// What is done to a file: its bytes afterwards, and in words.
fn edits(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut edits = vec![("emptied".to_owned(), Vec::new()), ("twice itself".to_owned(), [bytes, bytes].concat())];
    for place in places(bytes.len()) {
        for bit in [0x01, 0x20, 0x80] {
            let mut flipped = bytes.to_vec();
            flipped[place] ^= bit;
            edits.push((format!("bit {bit:#04x} of byte {place} flipped"), flipped));
        }
        let mut deleted = bytes.to_vec();
        deleted.remove(place);
        edits.push((format!("byte {place} deleted"), deleted));
        for byte in [b' ', b'0', b'\n'] {
            let mut inserted = bytes.to_vec();
            inserted.insert(place, byte);
            edits.push((format!("{byte:#04x} inserted at {place}"), inserted));
        }
    }
    edits.push(("a line end added".to_owned(), [bytes, b"\n"].concat()));
    edits.retain(|(_, edited)| edited != bytes);
    edits
}

/// Whether an error tells of this file by its name.
#[track_caller]
fn names(found: Result<()>, path: &Path, edit: &str) {
    let error: Error = match found {
        Err(error) => error,
        Ok(()) => panic!("{}: {edit} is not found", path.display()),
    };
    assert_eq!(error.kind, ErrorKind::Integrity, "{}: {edit}: {}", path.display(), error.told());
    let name = path.file_name().unwrap().to_string_lossy();
    assert!(error.told().contains(&*name), "{}: {edit} is not named: {}", path.display(), error.told());
}

#[test]
fn any_edit_of_any_file_of_an_output_is_found_and_named() {
    let public = small_night::signing_key(ieum_privacy::Profile::Default).unwrap();
    for (layout, format) in [(Layout::Packed, BundleFormat::Json), (Layout::PerRequest, BundleFormat::Parquet)] {
        let folder = committed(layout, format);
        let out = folder.path().join("out/2026-11-22");
        let verified = || verify_signed(&out, Some(public.public())).map(drop);
        verified().unwrap();
        let files = files_below(&out);
        assert!(files.len() > 8, "{files:?}");
        for path in files {
            let sound = fs::read(&path).unwrap();
            for (edit, edited) in edits(&sound) {
                fs::write(&path, edited).unwrap();
                names(verified(), &path, &edit);
            }
            fs::remove_file(&path).unwrap();
            names(verified(), &path, "its removal");
            fs::write(&path, sound).unwrap();
        }
        let stray = out.join("bundles/stray.json");
        fs::write(&stray, "{}").unwrap();
        names(verified(), &stray, "its coming");
        fs::remove_file(stray).unwrap();
        verified().unwrap();
    }
}

#[test]
fn any_edit_of_any_file_of_the_ledger_is_found_and_named() {
    let folder = committed(Layout::Packed, BundleFormat::Json);
    let out = folder.path().join("out");
    let key = MasterKey::from_hex_file_text(&format!("ieum-key/1 small-night 1 {}", "5a".repeat(32))).unwrap();
    let verified = || ledger::verify(&out, &[&key], None).map(drop);
    verified().unwrap();
    let files = files_below(&out.join("ledger")).into_iter().filter(|path| !path.ends_with(".lock"));
    let files: Vec<PathBuf> = files.collect();
    assert_eq!(files.len(), 3, "{files:?}");
    for path in files {
        let sound = fs::read(&path).unwrap();
        // What is linked to the entries in the output must not change with it.
        fs::remove_file(&path).unwrap();
        for (edit, edited) in edits(&sound) {
            fs::write(&path, edited).unwrap();
            names(verified(), &path, &edit);
        }
        fs::write(&path, sound).unwrap();
        verified().unwrap();
    }
}
