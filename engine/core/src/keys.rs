//! Canonical keys of every request: its own, and those that bridges gave. Held in one text, because a night has millions.

use std::ops::Range;

use ieum_model::request::SubjectId;
use ieum_privacy::normalize;

use crate::reach;

/// Number of a key space among the night's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Space(u16);

#[derive(Debug, Clone, Copy)]
struct Key {
    space: Space,
    length: u32,
    start: u64,
}

/// Keys by request. No request has a key twice.
#[derive(Default)]
pub struct Keys {
    spaces: Vec<String>,
    text: String,
    own: Vec<Key>,
    /// Where each request's own keys end.
    ends: Vec<u32>,
    /// Keys that bridges gave, by request.
    found: Vec<(u32, Key)>,
}

/// The canonical form of an identifier of `space`; `None` where nothing is left of it.
pub fn canonical(space: &str, raw: &str) -> Option<String> {
    let mut out = Vec::new();
    normalize::spell(reach::identifier_kind(space), raw.as_bytes(), &mut out);
    String::from_utf8(out).ok().filter(|key| !key.is_empty())
}

impl Keys {
    /// Adds the next request, with the identifiers it names; the key spaces they are of, sorted.
    pub fn add(&mut self, ids: &[SubjectId]) -> Vec<Space> {
        let first = self.own.len();
        for id in ids {
            let space = reach::space_of(&id.kind);
            let Some(key) = canonical(space, &id.value) else { continue };
            let space = self.numbered(space);
            let known = self.own[first..].iter().any(|own| own.space == space && self.text_of(own) == key);
            if !known {
                let key = self.keep(space, &key);
                self.own.push(key);
            }
        }
        let mut spaces: Vec<Space> = self.own[first..].iter().map(|key| key.space).collect();
        self.ends.push(u32::try_from(self.own.len()).unwrap_or(u32::MAX));
        spaces.sort_unstable();
        spaces.dedup();
        spaces
    }

    /// The name of a key space.
    pub fn space(&self, space: Space) -> &str {
        &self.spaces[space.0 as usize]
    }

    /// The number of a key space; `None` while no request has a key of it.
    pub fn number(&self, space: &str) -> Option<Space> {
        self.spaces.iter().position(|known| known == space).map(number)
    }

    /// The keys of a request in one space.
    pub fn of(&self, request: u32, space: Option<Space>) -> impl Iterator<Item = &str> {
        let own = self.own[self.own_of(request)].iter();
        let found = self.found[self.found_of(request)].iter().map(|(_, key)| key);
        own.chain(found).filter(move |key| Some(key.space) == space).map(|key| self.text_of(key))
    }

    /// The keys of its own that a request has in one space.
    pub fn own(&self, request: u32, space: Option<Space>) -> impl Iterator<Item = &str> {
        let own = self.own[self.own_of(request)].iter();
        own.filter(move |key| Some(key.space) == space).map(|key| self.text_of(key))
    }

    /// The identifier of its own that names a request's subject to a recipient: a person's before any other. Of several, the
    /// first in order; key space and key.
    pub fn subject(&self, request: u32) -> Option<(&str, &str)> {
        let preferred = ["person", "ci", "patient", "business", "corporation"];
        let own = self.own[self.own_of(request)].iter().map(|key| (self.space(key.space), self.text_of(key)));
        let rank = |space: &str| preferred.iter().position(|known| *known == space).unwrap_or(preferred.len());
        own.min_by_key(|(space, key)| (rank(space), *space, *key))
    }

    /// Adds keys that bridges gave: request, key space, key.
    pub fn extend<'a>(&mut self, found: impl Iterator<Item = (u32, &'a str, &'a str)>) {
        let mut more: Vec<(u32, Key)> = Vec::new();
        for (request, space, key) in found {
            let space = self.numbered(space);
            let is_it = |known: &Key| known.space == space && self.text_of(known) == key;
            let new = |(of, known): &(u32, Key)| *of == request && is_it(known);
            let known = self.own[self.own_of(request)].iter().any(is_it)
                || self.found[self.found_of(request)].iter().any(|(_, known)| is_it(known))
                || more.iter().rev().take_while(|(of, _)| *of == request).any(new);
            if !known {
                let key = self.keep(space, key);
                more.push((request, key));
            }
        }
        self.found.append(&mut more);
        self.found.sort_by_key(|(request, _)| *request);
    }

    /// Every key that a bridge gave: request, key space, key.
    pub fn found(&self) -> impl Iterator<Item = (u32, &str, &str)> {
        self.found.iter().map(|(request, key)| (*request, self.space(key.space), self.text_of(key)))
    }

    fn own_of(&self, request: u32) -> Range<usize> {
        let request = request as usize;
        let start = request.checked_sub(1).map_or(0, |before| self.ends[before]);
        start as usize..self.ends[request] as usize
    }

    fn found_of(&self, request: u32) -> Range<usize> {
        let start = self.found.partition_point(|(of, _)| *of < request);
        start..start + self.found[start..].partition_point(|(of, _)| *of == request)
    }

    fn text_of(&self, key: &Key) -> &str {
        let start = usize::try_from(key.start).unwrap_or(usize::MAX);
        &self.text[start..start + key.length as usize]
    }

    fn keep(&mut self, space: Space, key: &str) -> Key {
        let kept = Key { space, length: u32::try_from(key.len()).unwrap_or(u32::MAX), start: self.text.len() as u64 };
        self.text.push_str(key);
        kept
    }

    fn numbered(&mut self, space: &str) -> Space {
        let known = self.spaces.iter().position(|known| known == space);
        number(known.unwrap_or_else(|| {
            self.spaces.push(space.to_owned());
            self.spaces.len() - 1
        }))
    }
}

/// A catalog has a handful of key spaces.
fn number(space: usize) -> Space {
    Space(u16::try_from(space).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(kind: &str, value: &str) -> SubjectId {
        SubjectId { kind: kind.into(), value: value.into() }
    }

    fn of<'a>(keys: &'a Keys, request: u32, space: &str) -> Vec<&'a str> {
        keys.of(request, keys.number(space)).collect()
    }

    #[test]
    fn a_request_has_its_own_keys_and_the_found_ones_each_once() {
        let mut keys = Keys::default();
        keys.add(&[id("rrno", "990101-1000001"), id("rrno", "9901011000001"), id("brno", "110-00-00001")]);
        assert!(keys.add(&[]).is_empty());
        let spaces = keys.add(&[id("vhrno", "12가3456")]);
        assert_eq!(spaces.iter().map(|space| keys.space(*space)).collect::<Vec<_>>(), ["vehicle"]);
        keys.extend(
            [(1, "business", "1100000002"), (1, "business", "1100000002"), (0, "business", "1100000001")].into_iter(),
        );
        keys.extend([(0, "business", "1100000003"), (1, "business", "1100000002")].into_iter());
        assert_eq!(of(&keys, 0, "person"), ["9901011000001"]);
        assert_eq!(of(&keys, 0, "business"), ["1100000001", "1100000003"]);
        assert_eq!(of(&keys, 1, "business"), ["1100000002"]);
        assert!(of(&keys, 2, "business").is_empty() && of(&keys, 2, "parcel").is_empty());
    }

    #[test]
    fn a_person_s_number_names_the_subject_before_any_other_of_its_own() {
        let mut keys = Keys::default();
        keys.add(&[id("brno", "1100000001"), id("rrno", "9901011000002"), id("rrno", "9901011000001")]);
        keys.add(&[id("vhrno", "12가3456"), id("pnu", "1111010100100010000")]);
        keys.add(&[]);
        keys.extend([(2, "person", "9901011000009")].into_iter());
        assert_eq!(keys.subject(0), Some(("person", "9901011000001")));
        assert_eq!(keys.subject(1), Some(("parcel", "1111010100100010000")));
        assert_eq!(keys.subject(2), None);
    }
}
