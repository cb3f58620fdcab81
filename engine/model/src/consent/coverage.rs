//! The part of a catalog that a consent covers.

use crate::catalog::Catalog;

/// Whole documents, and items of others. A name is matched segment by segment, never by how it begins.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Coverage(
    /// `dataset` for a whole document, `dataset/item` for an item; sorted, each once.
    Vec<String>,
);

/// What stands behind the last `/`, `#` or `:`.
pub(super) fn last_segment(name: &str) -> &str {
    name.rsplit(SEPARATORS).next().unwrap_or(name)
}

const SEPARATORS: [char; 3] = ['/', '#', ':'];

impl Coverage {
    /// The coverage of names such as `ieum:business_registration_cert`, `https://agency.example/data/tax/amount` (an item of
    /// a document) and `level:basic`; and how many of them name nothing in the catalog.
    pub fn of(catalog: &Catalog, names: &[String]) -> (Self, u64) {
        let (mut covered, mut unknown) = (Vec::new(), 0);
        for name in names {
            let mut segments = name.rsplit(SEPARATORS);
            let (last, before) = (segments.next().unwrap_or_default(), segments.next().unwrap_or_default());
            let item = catalog.datasets.get(before).and_then(|dataset| dataset.item(last)).map(|(code, _)| code);
            match (catalog.levels.get(last).filter(|_| before == "level"), item) {
                (Some(level), _) => {
                    covered.extend(
                        level.covers.iter().flat_map(|(of, items)| items.iter().map(move |item| part(of, item))),
                    );
                }
                (None, Some(item)) => covered.push(part(before, item)),
                (None, None) if catalog.datasets.contains_key(last) => covered.push(last.to_owned()),
                (None, None) => unknown += 1,
            }
        }
        (Self(covered).sorted(), unknown)
    }

    fn sorted(mut self) -> Self {
        self.0.sort_unstable();
        self.0.dedup();
        self
    }

    /// What one of the two covers.
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self.sorted()
    }

    fn has(&self, name: &str) -> bool {
        self.0.binary_search_by(|covered| covered.as_str().cmp(name)).is_ok()
    }

    /// Whether an item of a document is covered.
    pub fn covers(&self, dataset: &str, item: &str) -> bool {
        self.has(dataset) || self.has(&part(dataset, item))
    }

    /// Its names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

fn part(dataset: &str, item: &str) -> String {
    format!("{dataset}/{item}")
}
