//! The request files: read once, and digested on the way.

use std::path::{Path, PathBuf};

use ieum_model::check::Checker;
use ieum_model::error::{Error, ErrorKind, Result};
use ieum_model::request::{FIELDS, MalformedRequest, Request};
use sha2::{Digest, Sha256};

use super::rows::{self, Parse, Parsed, Source};
use super::{add_length, add_to_digest, cannot_read, hex, relative};

/// The request files as they are read, and the digest of their bytes.
pub struct Files<'a> {
    folder: &'a Path,
    sum: Sha256,
}

impl<'a> Files<'a> {
    /// None is read yet. Their names in the digest are relative to `folder`.
    pub fn below(folder: &'a Path) -> Self {
        Self { folder, sum: Sha256::new() }
    }

    /// Every row of small files, with their bytes. Every row without exception: a withdrawal that is passed over would
    /// deliver what its subject took back.
    ///
    /// # Errors
    /// If a file or one of its rows cannot be read.
    pub fn read_strictly<T: Send>(&self, paths: &[PathBuf], known: &[&str], parse: Parse<T>) -> Result<Strict<T>> {
        self.read_copies(paths, paths, known, parse)
    }

    /// As [`Files::read_strictly`], each of `files` read where its copy stands.
    ///
    /// # Errors
    /// As [`Files::read_strictly`].
    pub fn read_copies<T: Send>(
        &self,
        files: &[PathBuf],
        copies: &[PathBuf],
        known: &[&str],
        parse: Parse<T>,
    ) -> Result<Strict<T>> {
        let mut all = Strict { rows: Vec::new(), ends: Vec::new(), files: Vec::new() };
        for (file, path) in files.iter().zip(copies) {
            let (file, mut bytes, mut first) = (relative(file, self.folder), Vec::new(), None);
            let mut take = |rows: Vec<Parsed<T>>| {
                for row in rows {
                    match row {
                        Ok(value) => all.rows.push(value),
                        Err(reason) => first = first.take().or(Some(reason)),
                    }
                }
            };
            let mut source = Source::open(path).map_err(|error| cannot_read(path, &error))?;
            rows::read(path, &mut source, known, parse, &mut |more| bytes.extend_from_slice(more), &mut take)
                .map_err(|error| error.at("file", path.display()))?;
            if let Some(first) = first {
                return Err(Error::config(first.to_string())
                    .at("file", &file)
                    .hint("correct the row; one that is passed over would deliver what its subject took back"));
            }
            all.ends.push(all.rows.len());
            all.files.push((file, bytes));
        }
        Ok(all)
    }

    /// Gives every request to the checker, block by block; no file is held.
    ///
    /// # Errors
    /// If a file cannot be read, or is not what its name says.
    pub fn check_requests(&mut self, paths: &[PathBuf], checker: &mut Checker<'_>) -> Result<Vec<MalformedRequest>> {
        let mut malformed = Vec::new();
        for path in paths {
            let file = relative(path, self.folder);
            let mut take = |rows: Vec<Parsed<Request>>| {
                checker.add(rows.into_iter().filter_map(|row| {
                    row.map_err(|reason| malformed.push(MalformedRequest { file: file.clone(), ..reason })).ok()
                }));
            };
            let mut source = Source::open(path).map_err(|error| cannot_read(path, &error))?;
            let (sum, mut seen) = (&mut self.sum, 0);
            add_length(sum, file.len());
            sum.update(&file);
            add_length(sum, source.bytes as usize);
            let mut see = |bytes: &[u8]| {
                sum.update(bytes);
                seen += bytes.len() as u64;
            };
            rows::read(path, &mut source, FIELDS, Request::from_places, &mut see, &mut take)
                .map_err(|error| error.at("file", path.display()))?;
            if seen != source.bytes {
                let error = Error::new(ErrorKind::Temporary, "the file was written to while it was read");
                return Err(error.at("file", path.display()));
            }
        }
        Ok(malformed)
    }

    /// Adds files that were read strictly to the digest.
    pub fn add(&mut self, files: &[(String, Vec<u8>)]) {
        for (file, bytes) in files {
            add_to_digest(&mut self.sum, file, bytes);
        }
    }

    /// The digest of the files in the order they were added, as [`super::digest`] has it.
    pub fn digest(self) -> String {
        hex(self.sum)
    }
}

/// Rows of files that are read strictly.
pub struct Strict<T> {
    /// The rows, in the order of the files.
    pub rows: Vec<T>,
    /// How many rows there are up to the end of each file.
    ends: Vec<usize>,
    /// Path and bytes of each file.
    pub files: Vec<(String, Vec<u8>)>,
}

impl<T> Strict<T> {
    /// The file that the row at `place` stands in.
    pub fn file_of(&self, place: usize) -> &str {
        let file = self.ends.partition_point(|end| *end <= place);
        self.files.get(file).map_or("", |(file, _)| file)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use ieum_model::catalog::Catalog;
    use ieum_model::check::IdGrade;
    use ieum_model::request::{WITHDRAWAL_FIELDS, Withdrawal};

    use super::super::digest;
    use super::*;

    #[test]
    fn files_read_in_blocks_have_the_digest_of_their_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (requests, withdrawals) = ("in/requests.csv", "in/withdrawals.csv");
        fs::create_dir(folder.path().join("in")).unwrap();
        // More than a block, and a row that cannot be read.
        let rows = (0..400_000).map(|number| format!("r{number},2026-01-01\n"));
        let text = format!("\u{feff}request_id,requested_at\n{}r,never\n", rows.collect::<String>());
        let taken_back = "request_id,withdrawn_at\nr1,2026-01-01\n";
        fs::write(folder.path().join(requests), &text).unwrap();
        fs::write(folder.path().join(withdrawals), taken_back).unwrap();

        let mut files = Files::below(folder.path());
        let paths = [folder.path().join(withdrawals)];
        let strict = files.read_strictly(&paths, WITHDRAWAL_FIELDS, Withdrawal::from_places).unwrap();
        let on = "2026-05-01".parse().unwrap();
        let catalog = Catalog::default();
        let mut checker = Checker::new(&catalog, &strict.rows, &[], on, &|_, _| IdGrade::Ok);
        let malformed = files.check_requests(&[folder.path().join(requests)], &mut checker).unwrap();
        files.add(&strict.files);

        let lines: Vec<u64> = malformed.iter().map(|malformed| malformed.line).collect();
        assert_eq!((checker.finish().requests.len(), lines), (400_000, vec![400_002]));
        let whole = digest([(requests, text.as_bytes()), (withdrawals, taken_back.as_bytes())]);
        assert_eq!(files.digest(), whole);
    }
}
