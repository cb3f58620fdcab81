//! Whose row is one that has lost its shape: what is looked for in its bytes, whatever the format.
//!
//! ```text
//!  9902284123452n2,addr,100     a delimiter was lost: the wanted key stands in a longer run      ─► that person's
//!  1,8001011234567,x,y          no wanted key, but a whole one of somebody                       ─► somebody else's
//!  990228412345,n2,addr         neither: a byte of the key itself was lost                       ─► anybody's
//! ```

use ieum_model::connector::Strays;
use ieum_privacy::normalize::{self, IdentifierKind};
use rustc_hash::FxHashSet;

/// Lengths of wanted keys beyond which no windows are looked at: keys of so many lengths are names, not numbers.
const LENGTHS: usize = 8;

/// The forms that wanted keys have: what looks like one of them is taken for a whole key.
#[derive(Default)]
pub struct Forms {
    forms: FxHashSet<Box<[u8]>>,
    lengths: Vec<usize>,
}

/// The class of every byte: digit, letter, or the byte itself.
fn form(key: &[u8]) -> Box<[u8]> {
    let class = |byte: &u8| match byte {
        b'0'..=b'9' => b'0',
        b'a'..=b'z' | b'A'..=b'Z' => b'a',
        other => *other,
    };
    key.iter().map(class).collect()
}

impl Forms {
    /// Of canonical keys.
    pub fn of<'k>(keys: impl Iterator<Item = &'k [u8]>) -> Self {
        let forms: FxHashSet<Box<[u8]>> = keys.map(form).collect();
        let mut lengths: Vec<usize> = forms.iter().map(|form| form.len()).collect();
        lengths.sort_unstable();
        lengths.dedup();
        Self { forms, lengths: if lengths.len() > LENGTHS { Vec::new() } else { lengths } }
    }
}

/// The wanted keys in a row: `pieces` are what its format takes for cells, `row` all its bytes. `is_wanted` is asked about
/// canonical keys.
pub fn search(
    kind: IdentifierKind,
    forms: &Forms,
    is_wanted: impl Fn(&[u8]) -> bool,
    pieces: &[&[u8]],
    row: &[u8],
) -> Strays {
    let (mut keys, mut is_somebodys) = (FxHashSet::default(), false);
    let mut canonical = Vec::new();
    let numbers = row.split(|byte| !byte.is_ascii_digit() && *byte != b'-');
    for piece in pieces.iter().copied().chain(numbers).filter(|piece| !piece.is_empty()) {
        normalize::spell(kind, piece, &mut canonical);
        if is_wanted(&canonical) {
            keys.insert(canonical.clone());
        }
        is_somebodys |= forms.forms.contains(&form(&canonical));
    }
    for run in row.split(|byte| !byte.is_ascii_alphanumeric() && *byte != b'-') {
        normalize::spell(kind, run, &mut canonical);
        for length in &forms.lengths {
            keys.extend(canonical.windows(*length).filter(|window| is_wanted(window)).map(<[u8]>::to_vec));
        }
    }
    let mut keys: Vec<Vec<u8>> = keys.into_iter().collect();
    keys.sort_unstable();
    Strays { is_anybodys: keys.is_empty() && !is_somebodys, keys }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(row: &str, expected: &[&str], is_anybodys: bool) {
        let wanted: [&[u8]; 2] = [b"9902284123452", b"A9912313000002"];
        let forms = Forms::of(wanted.into_iter());
        let pieces: Vec<&[u8]> = row.as_bytes().split(|byte| *byte == b',').collect();
        let is_wanted = |key: &[u8]| wanted.contains(&key);
        let found = search(IdentifierKind::Rrno, &forms, is_wanted, &pieces, row.as_bytes());
        let keys: Vec<&[u8]> = found.keys.iter().map(Vec::as_slice).collect();
        assert_eq!(
            (keys, found.is_anybodys),
            (expected.iter().map(|key| key.as_bytes()).collect(), is_anybodys),
            "{row}"
        );
    }

    #[test]
    fn a_wanted_key_is_found_wherever_it_stands() {
        check("1,990228-4123452,x", &["9902284123452"], false);
        check("9902284123452n2,x", &["9902284123452"], false);
        check("n2990228-41234527,x", &["9902284123452"], false);
        check("20260101990228412345220260101", &["9902284123452"], false);
        check("xA9912313000002", &["A9912313000002"], false);
    }

    #[test]
    fn a_row_with_a_whole_key_of_another_is_not_anybodys() {
        check("1,800101-1234567,x", &[], false);
        check("8001011234567n2,x", &[], false);
        check("B8001011234567,x", &[], false);
        check("990228412345,n2,x", &[], true);
        check("99022841234527,n2,x", &["9902284123452"], false);
        check("99022841723452,n2,x", &[], true);
        check("", &[], true);
    }
}
