//! What an `.xls` file says of itself: its version, and how large it claims to be.
//!
//! In BIFF8 text is UTF-16, or the low bytes of it, whatever code page the file names (MS-XLS 2.4.52, 2.5.293): real files name
//! 1252 or 949 all the same, and a reader that believes them reads mojibake. In BIFF5 and earlier text is in that code page.

/// Rows and columns of a sheet (MS-XLS 2.2.1).
const MAX_ROWS: u32 = 65_536;
const MAX_COLUMNS: u16 = 256;
const END_OF_CHAIN: u32 = 0xFFFF_FFFA;

/// Why a file is not given to the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is not an `.xls` file, or not a whole one.
    NoWorkbook,
    /// It claims rows or columns that no sheet has.
    TooLarge,
}

/// Whether the text of a workbook is UTF-16 (BIFF8), for a file whose claims a reader can trust.
pub(super) fn is_biff8(file: &[u8]) -> Result<bool, Refused> {
    let compound = Compound::parse(file).ok_or(Refused::NoWorkbook)?;
    let stream = compound.stream("Workbook").or_else(|| compound.stream("Book")).ok_or(Refused::NoWorkbook)?;
    let mut biff8 = None;
    let mut sheets = Vec::new();
    for (kind, data) in records(&stream) {
        match kind {
            0x0809 if biff8.is_none() => biff8 = Some(data.starts_with(&[0x00, 0x06])),
            // A sheet's place in the stream.
            0x0085 => sheets.extend(u32_at(data, 0)),
            _ => {}
        }
    }
    for start in sheets {
        let sheet = usize::try_from(start).ok().and_then(|start| stream.get(start..)).ok_or(Refused::NoWorkbook)?;
        if records(sheet).any(|(kind, data)| is_beyond(kind, data)) {
            return Err(Refused::TooLarge);
        }
    }
    biff8.ok_or(Refused::NoWorkbook)
}

/// Whether a record stands for, or claims, a cell that no sheet has.
fn is_beyond(kind: u16, data: &[u8]) -> bool {
    match kind {
        // DIMENSIONS: the row and the column after the last.
        0x0200 if data.len() >= 14 => u32_at(data, 4).is_some_and(|rows| rows > MAX_ROWS),
        // MULRK: its last column stands at its end.
        0x00BD => data.last_chunk::<2>().is_some_and(|last| u16::from_le_bytes(*last) >= MAX_COLUMNS),
        0x0006 | 0x00D6 | 0x00FD | 0x0203..=0x0205 | 0x027E => {
            u16_at(data, 2).is_some_and(|column| column >= MAX_COLUMNS)
        }
        _ => false,
    }
}

/// Records to the end of a substream, the nested ones in it among them.
fn records(stream: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let (mut rest, mut depth) = (stream, 0_usize);
    std::iter::from_fn(move || {
        let (kind, length) = (u16_at(rest, 0)?, usize::from(u16_at(rest, 2)?));
        let data = rest.get(4..4 + length)?;
        rest = &rest[4 + length..];
        match kind {
            0x0809 => depth += 1,
            0x000A => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    rest = &[];
                }
            }
            _ => {}
        }
        Some((kind, data))
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// A compound file (MS-CFB): streams in chains of sectors.
struct Compound<'a> {
    file: &'a [u8],
    sector: usize,
    table: Vec<u32>,
    directory: Vec<u8>,
}

impl<'a> Compound<'a> {
    fn parse(file: &'a [u8]) -> Option<Self> {
        let sector = match u16_at(file, 30)? {
            9 => 512,
            12 => 4096,
            _ => return None,
        };
        let mut compound = Self { file, sector, table: Vec::new(), directory: Vec::new() };
        let mut sectors: Vec<u32> = words(file.get(76..512)?).collect();
        let mut next = u32_at(file, 68)?;
        // A chain of sectors, the last word of each names the next; no file has more of them than sectors.
        for _ in 0..file.len() / sector {
            if next >= END_OF_CHAIN {
                break;
            }
            let mut more: Vec<u32> = words(compound.sector(next)?).collect();
            next = more.pop()?;
            sectors.extend(more);
        }
        for id in sectors.into_iter().filter(|id| *id < END_OF_CHAIN) {
            let part = compound.sector(id)?;
            compound.table.extend(words(part));
        }
        compound.directory = compound.chain(u32_at(file, 48)?)?;
        Some(compound)
    }

    fn sector(&self, id: u32) -> Option<&'a [u8]> {
        let start = usize::try_from(id).ok()?.checked_add(1)?.checked_mul(self.sector)?;
        // The last sector may be cut short.
        Some(&self.file[start.min(self.file.len())..(start + self.sector).min(self.file.len())])
            .filter(|s| !s.is_empty())
    }

    /// The bytes of the chain that begins at a sector; one that runs in a circle is none.
    fn chain(&self, mut id: u32) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        while id < END_OF_CHAIN {
            bytes.extend_from_slice(self.sector(id)?);
            if bytes.len() > self.file.len() {
                return None;
            }
            id = *self.table.get(usize::try_from(id).ok()?)?;
        }
        Some(bytes)
    }

    fn stream(&self, name: &str) -> Option<Vec<u8>> {
        let named: Vec<u8> = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        let entry = self.directory.chunks_exact(128).find(|entry| entry.starts_with(&named))?;
        let (start, length) = (u32_at(entry, 116)?, usize::try_from(u32_at(entry, 120)?).ok()?);
        let mut bytes = if length < 4096 { self.small(start)? } else { self.chain(start)? };
        bytes.truncate(length);
        Some(bytes)
    }

    /// A stream of less than 4,096 bytes: pieces of 64 bytes of the stream that the root entry names.
    fn small(&self, mut id: u32) -> Option<Vec<u8>> {
        let root = self.chain(u32_at(self.directory.get(..128)?, 116)?)?;
        let table: Vec<u32> = words(&self.chain(u32_at(self.file, 60)?)?).collect();
        let mut bytes = Vec::new();
        while id < END_OF_CHAIN && bytes.len() <= 4096 {
            let at = usize::try_from(id).ok()?;
            bytes.extend_from_slice(root.get(at * 64..(at + 1) * 64)?);
            id = *table.get(at)?;
        }
        Some(bytes)
    }
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.chunks_exact(4).filter_map(|word| u32_at(word, 0))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn korean(name: &str) -> Vec<u8> {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/korean");
        std::fs::read(root.join(name)).unwrap()
    }

    #[test]
    fn real_files_tell_their_version() {
        assert_eq!(is_biff8(&korean("전국도서관표준데이터.xls")), Ok(true));
        assert_eq!(is_biff8(&korean("population_in_Seoul.xls")), Ok(true));
        assert_eq!(is_biff8(b"PK\x03\x04"), Err(Refused::NoWorkbook));
    }

    #[test]
    fn a_sheet_of_too_many_rows_or_columns_is_refused() {
        let mut record = vec![0_u8; 14];
        record[4..8].copy_from_slice(&65_536_u32.to_le_bytes());
        assert!(!is_beyond(0x0200, &record));
        record[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(is_beyond(0x0200, &record));
        assert!(is_beyond(0x0203, &[0, 0, 0, 1]) && !is_beyond(0x0203, &[0, 0, 255, 0]));
        let mut file = korean("population_in_Seoul.xls");
        let at = file.windows(4).position(|window| window == [0x00, 0x02, 0x0E, 0x00]).unwrap();
        file[at + 8..at + 12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(is_biff8(&file), Err(Refused::TooLarge));
    }

    #[test]
    fn no_cut_or_flipped_byte_does_harm() {
        let whole = korean("population_in_Seoul.xls");
        for cut in (0..whole.len()).step_by(97) {
            let _ = is_biff8(&whole[..cut]);
        }
        for at in (0..whole.len()).step_by(13) {
            let mut flipped = whole.clone();
            flipped[at] ^= 0xFF;
            let _ = is_biff8(&flipped);
        }
    }
}
