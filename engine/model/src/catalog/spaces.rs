//! Key spaces: which identifier of a request leads into which, and which name is a slip of the pen.

use std::collections::BTreeMap;

use crate::dataset::Dataset;
use crate::error::nearest;

use super::source::File;
use super::{Load, LoadedDataset};

/// The kinds of identifiers whose key space has another name; every other kind has a key space of its own name.
const KINDS: [(&str, &str); 9] = [
    ("rrno", "person"),
    ("frno", "person"),
    ("report_no", "person"),
    ("brno", "business"),
    ("crno", "corporation"),
    ("pnu", "parcel"),
    ("vhrno", "vehicle"),
    ("vin", "vehicle"),
    ("pno", "passport"),
];

/// The key space in which an identifier of `kind` names its subject.
pub fn space_of(kind: &str) -> &str {
    KINDS.iter().find(|(name, _)| *name == kind).map_or(kind, |(_, space)| space)
}

impl Load<'_> {
    /// A key space may have any name, but not that of an identifier that leads into another one, nor, where no other dataset
    /// knows it, nearly that of one an identifier leads into.
    pub(super) fn check_spaces(&mut self, datasets: &[LoadedDataset<'_>]) {
        let mut known: BTreeMap<&str, usize> = BTreeMap::new();
        for LoadedDataset { dataset, .. } in datasets {
            let mut own: Vec<&str> = spaces(dataset).map(|(_, space)| space).collect();
            own.sort_unstable();
            own.dedup();
            own.into_iter().for_each(|space| *known.entry(space).or_default() += 1);
        }
        for LoadedDataset { file, dataset } in datasets {
            for (place, space) in spaces(dataset) {
                let is_shared = known.get(space).is_some_and(|datasets| *datasets > 1);
                if let Some(meant) = meant(space, is_shared) {
                    self.unknown_space(file, &place, space, meant);
                }
            }
        }
    }

    fn unknown_space(&mut self, file: &File<'_>, place: &[String], space: &str, meant: &str) {
        let place: Vec<&str> = place.iter().map(String::as_str).collect();
        let hint = format!("did you mean `{meant}`?");
        self.report(file, file.line(&place, space), format!("unknown key space `{space}`"), Some(hint));
    }
}

/// The key space that `space` should be; `None` if it is one.
fn meant(space: &str, is_shared: bool) -> Option<&str> {
    let leads = space_of(space);
    let entered = || KINDS.iter().map(|(_, space)| *space);
    if leads != space {
        return Some(leads);
    }
    if is_shared || entered().any(|entered| entered == space) { None } else { nearest(space, entered()) }
}

/// Every key space of a dataset, with its place in the file.
fn spaces(dataset: &Dataset) -> impl Iterator<Item = (Vec<String>, &str)> {
    let at = |table: &str, number: usize| vec![table.to_owned(), number.to_string(), "space".to_owned()];
    let own = (vec!["key".to_owned(), "space".to_owned()], dataset.key.space.as_str());
    let others = dataset.other_keys.iter().enumerate().map(move |(n, key)| (at("other_keys", n), key.space.as_str()));
    let maps = dataset.maps.iter().enumerate().map(move |(n, map)| (at("maps", n), map.space.as_str()));
    std::iter::once(own).chain(others).chain(maps).filter(|(_, space)| !space.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::*;
    use super::*;

    #[test]
    fn a_key_space_is_no_slip_of_the_pen() {
        let one = |old: &str, new: &str, line: usize, message: &str| {
            dataset(old, new, &[&format!("{D}:{line}: unknown key space {message}")]);
        };
        one("space = \"person\"", "space = \"perosn\"", 6, "`perosn` (did you mean `person`?)");
        one("space = \"person\"", "space = \"rrno\"", 6, "`rrno` (did you mean `person`?)");
        one(
            "[{ item = \"pno\", space = \"passport\" }]",
            "[{ item = \"pno\", space = \"pasport\" }]",
            7,
            "`pasport` (did you mean `passport`?)",
        );
        one(
            "to = \"pno\", space = \"passport\"",
            "to = \"pno\", space = \"pno\"",
            8,
            "`pno` (did you mean `passport`?)",
        );
        dataset("space = \"person\"", "space = \"volunteer\"", &[]);
    }

    #[test]
    fn an_identifier_leads_into_one_space() {
        assert_eq!(["rrno", "pno", "vin", "ship"].map(space_of), ["person", "passport", "vehicle", "ship"]);
    }
}
