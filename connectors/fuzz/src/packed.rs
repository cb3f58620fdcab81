//! Archives and compressed files, and how much they may become.

use std::io::Write;

use super::place;
use super::reading::{COLUMNS, Outcome, dataset, opened, read, table};

const ORDER: &str = "format='csv'\nquote=false\nheader=false\norder=['rrno','name','amount','day','rate','tags']\n\
                     limits={row_mib=1,expansion=20,entries=50}";

/// Zip files, with and without a pattern of entries.
pub fn zip(bytes: &[u8]) {
    archive("a.zip", bytes);
}

/// Tar files, plain and compressed.
pub fn tar(bytes: &[u8]) {
    let [choice, rest @ ..] = bytes else { return };
    archive(["a.tar", "a.tgz", "a.tar.zst"][usize::from(*choice) % 3], rest);
}

fn archive(name: &str, bytes: &[u8]) {
    let [choice, file @ ..] = bytes else { return };
    let entries = ["", "\nentries='*'", "\nentries='*.csv'"][usize::from(*choice) % 3];
    table(&format!("{ORDER}\npath='{name}'{entries}"), name, file, &COLUMNS);
}

/// Files of gzip and Zstandard: any bytes; and such a file with one byte changed, which must be found out or do no harm.
pub fn compressed(bytes: &[u8]) {
    let [choice, chunk, at, change, content @ ..] = bytes else { return };
    match choice % 4 {
        0 => drop(table(&format!("{ORDER}\npath='a.csv.gz'"), "a.csv.gz", content, &COLUMNS)),
        1 => drop(table(&format!("{ORDER}\npath='a.csv.zst'"), "a.csv.zst", content, &COLUMNS)),
        _ => changed(content, usize::from(*chunk) + 1, (usize::from(*at), *change)),
    }
}

fn changed(content: &[u8], chunk: usize, (at, change): (usize, u8)) {
    let plain = rows_of("a.csv", content, chunk);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).expect("memory can be written to");
    let mut packed = encoder.finish().expect("memory can be written to");
    assert_eq!(rows_of("a.csv.gz", &packed, chunk), plain, "a compressed file is what it was");
    let at = at * packed.len() / 256;
    packed[at] ^= change;
    let read = rows_of("a.csv.gz", &packed, chunk);
    assert!(read == plain || read.is_none(), "a damaged file is found out");
    packed.truncate(at);
    let read = rows_of("a.csv.gz", &packed, chunk);
    assert!(read.is_none() || read == plain && content.is_empty(), "a file that is cut off is found out");
}

type Rows = Vec<Vec<Option<String>>>;

/// The rows of a file, and how many were rejected; `None` where it cannot be read to its end.
fn rows_of(name: &str, bytes: &[u8], chunk: usize) -> Option<(Rows, u64)> {
    let dataset = dataset(&format!("{ORDER}\npath='{name}'"));
    place::with_file(name, bytes, |root| {
        let connector = opened(root, &dataset, chunk.max(bytes.len() / 64))?;
        let Outcome { rows, counts, error, .. } = read(connector.as_ref(), &dataset, &COLUMNS, None);
        error.is_none().then_some((rows, counts.rejected))
    })
}
