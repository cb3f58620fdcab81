//! Key spaces: by which key a request reaches a dataset, in which wave, and why it may not reach it at all.

use std::collections::{BTreeMap, BTreeSet};

use ieum_model::catalog::Catalog;
pub use ieum_model::catalog::space_of;
use ieum_model::dataset::Dataset;
use ieum_privacy::normalize::IdentifierKind;

/// How identifiers of a key space are made canonical.
pub fn identifier_kind(space: &str) -> IdentifierKind {
    match space {
        "person" => IdentifierKind::Rrno,
        "business" => IdentifierKind::Brno,
        "corporation" => IdentifierKind::Crno,
        "parcel" => IdentifierKind::Pnu,
        "passport" => IdentifierKind::Pno,
        "ci" => IdentifierKind::Ci,
        _ => IdentifierKind::Other,
    }
}

/// What a bridge says of the two keys of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BridgeKind {
    /// The one leads to the other, in another key space.
    Leads,
    /// `to` is the current number of the subject that `from` named before (a resident number can be changed on request:
    /// 주민등록법 규칙 2조의2).
    Renames,
    /// The same rows read the other way: exports may still carry the number before.
    RenamedFrom,
}

/// One step from a key to another through a dataset that knows both.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bridge {
    /// The mapping dataset.
    pub dataset: String,
    /// Its column with the known key.
    pub from: String,
    /// Key space of `from`.
    pub from_space: String,
    /// Its column with the key it leads to.
    pub to: String,
    /// Key space of `to`.
    pub to_space: String,
    /// What it says of the two.
    pub kind: BridgeKind,
}

/// Every bridge of the catalog, in dataset order.
pub fn bridges(catalog: &Catalog) -> Vec<Bridge> {
    let of_dataset = |(code, dataset): (&String, &Dataset)| -> Vec<Bridge> {
        let space = |column: &str| dataset.keys().find(|key| key.item == column).map(|key| key.space.clone());
        let bridge = |map: &ieum_model::dataset::Mapping| {
            Some(Bridge {
                dataset: code.clone(),
                from: map.from.clone(),
                from_space: space(&map.from)?,
                to: map.to.clone(),
                to_space: map.space.clone(),
                kind: BridgeKind::Leads,
            })
        };
        dataset.maps.iter().filter_map(bridge).flat_map(both_ways).collect()
    };
    catalog.datasets.iter().flat_map(of_dataset).collect()
}

/// A bridge inside one key space is a change of numbers, which is read both ways.
fn both_ways(bridge: Bridge) -> Vec<Bridge> {
    if bridge.from_space != bridge.to_space {
        return vec![bridge];
    }
    let back =
        Bridge { from: bridge.to.clone(), to: bridge.from.clone(), kind: BridgeKind::RenamedFrom, ..bridge.clone() };
    vec![Bridge { kind: BridgeKind::Renames, ..bridge }, back]
}

/// For every key space reachable from `known`, the bridges to walk in order; empty for a known one.
pub fn ways(known: &BTreeSet<String>, bridges: &[Bridge]) -> BTreeMap<String, Vec<Bridge>> {
    let mut ways: BTreeMap<String, Vec<Bridge>> = known.iter().map(|space| (space.clone(), Vec::new())).collect();
    loop {
        let next = bridges.iter().find(|b| ways.contains_key(&b.from_space) && !ways.contains_key(&b.to_space));
        let Some(bridge) = next else { return ways };
        let mut way = ways[&bridge.from_space].clone();
        way.push(bridge.clone());
        ways.insert(bridge.to_space.clone(), way);
    }
}

/// The key column of `dataset` that the fewest bridges lead to, its space, and the bridges; `None` if none does.
pub fn entrance(dataset: &Dataset, ways: &BTreeMap<String, Vec<Bridge>>) -> Option<(String, String, Vec<Bridge>)> {
    dataset
        .keys()
        .filter_map(|key| ways.get(&key.space).map(|way| (key.item.clone(), key.space.clone(), way.clone())))
        .min_by_key(|(_, _, way)| way.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bridge(from: &str, to: &str) -> Bridge {
        Bridge {
            dataset: format!("{from}_{to}"),
            from: from.into(),
            from_space: from.into(),
            to: to.into(),
            to_space: to.into(),
            kind: BridgeKind::Leads,
        }
    }

    #[test]
    fn ways_walk_bridges_in_order_and_stop_where_none_leads() {
        let bridges = [bridge("business", "corporation"), bridge("person", "business"), bridge("parcel", "building")];
        let ways = ways(&BTreeSet::from(["person".to_owned()]), &bridges);
        assert_eq!(ways["person"], []);
        assert_eq!(ways["corporation"], [bridges[1].clone(), bridges[0].clone()]);
        assert!(!ways.contains_key("building"));
    }
}
