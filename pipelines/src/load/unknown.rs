//! Words of requests that the catalog does not have. The lines are refused (R05); here an operator learns why.

use std::collections::{BTreeMap, BTreeSet};

use ieum_model::catalog::Catalog;
use ieum_model::check::CheckedNight;
use ieum_model::error::nearest;
use ieum_model::request::RequestedDocument;
use rustc_hash::FxHashMap;

/// What is unknown, and the catalog's word nearest to it. The word itself is a value of the row and not told.
type Unknown<'a> = (String, Option<&'a str>);

/// One warning for each thing that requests name and the catalog lacks, with the number of requests and the first.
pub fn warnings(catalog: &Catalog, checked: &CheckedNight) -> Vec<String> {
    let mut found: BTreeMap<Unknown<'_>, (u64, &str)> = BTreeMap::new();
    let mut seen: FxHashMap<&RequestedDocument, Vec<Unknown<'_>>> = FxHashMap::default();
    for named in &checked.named {
        let mut unknown = BTreeSet::new();
        for document in named.documents.iter() {
            unknown.extend(seen.entry(document).or_insert_with(|| of(catalog, document)).iter().cloned());
        }
        for unknown in unknown {
            let first = &checked.requests[named.first as usize].request_id;
            found.entry(unknown).or_insert((0, first)).0 += named.requests;
        }
    }
    found.into_iter().map(|((what, near), (count, first))| told(&what, near, count, first)).collect()
}

fn told(what: &str, near: Option<&str>, count: u64, first: &str) -> String {
    let hint = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`ieum catalog show` lists what a dataset has".to_owned(),
    };
    format!(
        "requests name {what}: such a line is refused (R05)\n  requests: {count}, the first is `{first}`\n  hint: {hint}"
    )
}

fn of<'a>(catalog: &'a Catalog, document: &RequestedDocument) -> Vec<Unknown<'a>> {
    let Some(dataset) = catalog.datasets.get(&document.dataset) else {
        let known = catalog.datasets.keys().map(String::as_str);
        return vec![("a dataset that the catalog lacks".to_owned(), nearest(&document.dataset, known))];
    };
    let items = document.items.iter().flatten().filter(|name| dataset.item(name).is_none()).map(|name| {
        let known = dataset.items.keys().map(String::as_str);
        (format!("an item that `{}` lacks", dataset.code), nearest(name, known))
    });
    let view = document.view.iter().filter(|name| !dataset.views.contains_key(*name)).map(|name| {
        let known = dataset.views.keys().map(String::as_str);
        (format!("a view that `{}` lacks", dataset.code), nearest(name, known))
    });
    items.chain(view).collect()
}
