//! A folder as one file: a tar archive (POSIX.1-2001, `ustar` headers), the same bytes for the same files and date.
//!
//! Files stand below one folder, in path order, with mode 0600, nobody's name, and the date of the run. A name that a header
//! has no room for stands in a record before it (`pax`, `path`).

use chrono::{NaiveDate, NaiveTime};

use super::folder::FolderFile;

/// Everything in an archive is a multiple of this.
const BLOCK: usize = 512;
/// Room for the last part of a path, and for the folders before it.
const NAME: usize = 100;
const PREFIX: usize = 155;

/// Type of an entry: a file, and a record on the next entry.
const FILE: u8 = b'0';
const RECORD: u8 = b'x';

/// The archive of `files` below the folder `root`, as of midnight UTC of a date.
pub fn archive(root: &str, mut files: Vec<FolderFile>, on: NaiveDate) -> Vec<u8> {
    files.sort_by(|a, b| a.0.cmp(&b.0));
    let time = on.and_time(NaiveTime::MIN).and_utc().timestamp().max(0);
    let room = |bytes: usize| BLOCK + bytes.next_multiple_of(BLOCK);
    let mut out = Vec::with_capacity(2 * BLOCK + files.iter().map(|(_, bytes)| room(bytes.len())).sum::<usize>());
    for (path, bytes) in &files {
        let path = format!("{root}/{path}");
        let (prefix, name) = split(&path).unwrap_or_else(|| {
            entry(&mut out, RECORD, ("", "path"), &record(&path), time);
            ("", "long")
        });
        entry(&mut out, FILE, (prefix, name), bytes, time);
    }
    // Two empty blocks end an archive.
    out.resize(out.len() + 2 * BLOCK, 0);
    out
}

/// Folders and last part of a path, where a header has room for them.
fn split(path: &str) -> Option<(&str, &str)> {
    let (prefix, name) = path.rsplit_once('/').unwrap_or(("", path));
    (prefix.len() <= PREFIX && name.len() <= NAME).then_some((prefix, name))
}

/// `<length> path=<path>\n`, where the length counts itself.
fn record(path: &str) -> Vec<u8> {
    let rest = path.len() + " path=\n".len();
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    format!("{length} path={path}\n").into_bytes()
}

fn entry(out: &mut Vec<u8>, kind: u8, (prefix, name): (&str, &str), bytes: &[u8], time: i64) {
    let start = out.len();
    out.resize(start + BLOCK, 0);
    let header = &mut out[start..];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000600\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{:011o}\0", bytes.len()).as_bytes());
    put(136, format!("{time:011o}\0").as_bytes());
    // The sum counts itself as blanks.
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    put(345, prefix.as_bytes());
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    /// What Debian's tar lists of an archive.
    fn listed(archive: &[u8]) -> String {
        let mut command = Command::new("tar");
        command.args(["--utc", "--full-time", "-tvf", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(archive).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn tar_lists_what_was_archived_in_order() {
        let long = format!("data/{}.csv", "d".repeat(120));
        let files =
            vec![("data/b".to_owned(), vec![7; 513]), (long.clone(), vec![]), ("bagit.txt".to_owned(), vec![1])];
        let on = NaiveDate::from_ymd_opt(2026, 11, 22).unwrap();
        let made = archive("R1", files.clone(), on);
        let line = |bytes: usize, path: &str| (bytes.to_string(), "2026-11-22".to_owned(), format!("R1/{path}"));
        let found: Vec<_> = listed(&made)
            .lines()
            .map(|line| {
                let cells: Vec<&str> = line.split_whitespace().collect();
                assert_eq!((cells[0], cells[1], cells[4]), ("-rw-------", "0/0", "00:00:00"));
                (cells[2].to_owned(), cells[3].to_owned(), cells[5].to_owned())
            })
            .collect();
        assert_eq!(found, [line(1, "bagit.txt"), line(513, "data/b"), line(0, &long)]);
        assert_eq!(made, archive("R1", files.into_iter().rev().collect(), on));
    }

    #[test]
    fn the_length_of_a_record_counts_itself() {
        for length in [1, 89, 90, 91, 92, 93, 200, 990, 991, 992] {
            let record = record(&"p".repeat(length));
            let told = String::from_utf8(record.clone()).unwrap();
            assert_eq!(told.split(' ').next().unwrap().parse(), Ok(record.len()));
        }
    }
}
