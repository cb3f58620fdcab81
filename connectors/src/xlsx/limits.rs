//! How large a workbook may be: in memory, unpacked, and in what its parts claim.

use std::io::{Cursor, Read};

use zip::ZipArchive;

/// Bytes of a file above which it is no workbook: it is held in memory.
pub(super) const MAX_BOOK: u64 = 512 * 1024 * 1024;
/// Bytes that the parts of a workbook may unpack to: a sheet of a million rows and thirty columns has about 1.5 GiB.
const MAX_UNPACKED: u64 = 4 * 1024 * 1024 * 1024;
/// Deflate makes at most 1,032 bytes of one.
const MAX_RATIO: u64 = 1032;
/// The shortest entry of a table of strings, `<si><t/></si>`.
const SHORTEST_STRING: u64 = 13;
/// Bytes looked at for the number of strings that a table claims.
const HEAD: u64 = 4096;

/// Whether the parts of an `.xlsx` file stay within the limits, whatever they claim; `None` where it is no archive.
pub(super) fn within(file: &[u8]) -> Option<bool> {
    let mut archive = ZipArchive::new(Cursor::new(file)).ok()?;
    let (mut packed, mut unpacked) = (0_u64, 0_u64);
    for at in 0..archive.len() {
        let part = archive.by_index_raw(at).ok()?;
        packed = packed.saturating_add(part.compressed_size());
        unpacked = unpacked.saturating_add(part.size());
    }
    if unpacked > MAX_UNPACKED || !strings_fit(&mut archive)? {
        return Some(false);
    }
    // What a part claims may be false; only unpacking it tells. A small file cannot reach the limit.
    Some(packed.saturating_mul(MAX_RATIO) <= MAX_UNPACKED || counted(&mut archive)? <= MAX_UNPACKED)
}

fn counted(archive: &mut ZipArchive<Cursor<&[u8]>>) -> Option<u64> {
    let mut unpacked = 0;
    for at in 0..archive.len() {
        let mut part = archive.by_index(at).ok()?.take(MAX_UNPACKED + 1 - unpacked);
        unpacked += std::io::copy(&mut part, &mut std::io::sink()).ok()?;
        if unpacked > MAX_UNPACKED {
            break;
        }
    }
    Some(unpacked)
}

/// Whether the table of strings can hold as many as it claims: memory is set aside for them before they are read.
fn strings_fit(archive: &mut ZipArchive<Cursor<&[u8]>>) -> Option<bool> {
    let is_table = |name: &str| name.to_ascii_lowercase().ends_with("sharedstrings.xml");
    let table = (0..archive.len())
        .find(|at| archive.by_index_raw(*at).is_ok_and(|part| part.name().is_ok_and(|name| is_table(&name))));
    let Some(table) = table else { return Some(true) };
    let part = archive.by_index(table).ok()?;
    let size = part.size();
    let mut head = Vec::new();
    part.take(HEAD).read_to_end(&mut head).ok()?;
    let head = String::from_utf8_lossy(&head);
    let claimed = head.split("uniqueCount=").nth(1).and_then(|rest| {
        let digits = rest.trim_start_matches(['"', '\'', ' ']);
        digits.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
    });
    Some(claimed.is_none_or(|claimed| claimed.saturating_mul(SHORTEST_STRING) <= size.max(HEAD)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn archive(name: &str, bytes: &[u8]) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        writer.start_file(name, SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn a_table_that_claims_more_strings_than_it_can_hold_is_refused() {
        let table = |count: &str| archive("xl/sharedStrings.xml", format!("<sst uniqueCount=\"{count}\"/>").as_bytes());
        assert_eq!(within(&table("2")), Some(true));
        assert_eq!(within(&table("4000000000")), Some(false));
        assert_eq!(within(b"no archive"), None);
    }

    #[test]
    fn a_size_that_a_part_hides_is_found_by_counting() {
        let mut file = archive("xl/worksheets/sheet1.xml", &vec![b' '; 1 << 20]);
        let unpacked = |file: &[u8]| counted(&mut ZipArchive::new(Cursor::new(file)).unwrap());
        assert_eq!(unpacked(&file), Some(1 << 20));
        // The sizes in the central directory.
        let at = file.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
        file[at + 24..at + 28].copy_from_slice(&5_000_000_000_u64.to_le_bytes()[..4]);
        assert!(unpacked(&file).is_none_or(|bytes| bytes >= 1 << 20), "what is claimed does not count");
    }
}
