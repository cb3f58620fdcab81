//! Words of requests that the catalog does not have. The lines or requests are refused (R05); here an operator learns why.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ieum_model::catalog::{Catalog, LEVEL};
use ieum_model::check::{CheckedNight, CheckedRequest};
use ieum_model::error::nearest;
use ieum_model::outcome::{Outcome, Reason};
use ieum_model::request::RequestedDocument;
use rustc_hash::FxHashMap;

/// What is unknown, and what to do about it: the word itself is a value of the row and not told.
type Unknown = (String, String);

/// One warning for each thing that requests name and the catalog in `folder` lacks, with the number of requests and the
/// first.
pub fn warnings(catalog: &Catalog, folder: &Path, checked: &CheckedNight) -> Vec<String> {
    let known = Known { catalog, folder };
    let mut found: BTreeMap<Unknown, (u64, &str)> = BTreeMap::new();
    let mut seen: FxHashMap<&RequestedDocument, Vec<Unknown>> = FxHashMap::default();
    for named in &checked.named {
        let mut unknown = BTreeSet::new();
        for document in named.documents.iter() {
            unknown.extend(seen.entry(document).or_insert_with(|| known.without_document(document)).iter().cloned());
        }
        for unknown in unknown {
            let first = &checked.requests[named.first as usize].request_id;
            found.entry(unknown).or_insert((0, first)).0 += named.requests;
        }
    }
    let unclear = |request: &&CheckedRequest| request.refusal == Some((Outcome::Refused, Some(Reason::R05)));
    for request in checked.requests.iter().filter(unclear) {
        for unknown in known.without_words_of(request) {
            found.entry(unknown).or_insert((0, &request.request_id)).0 += 1;
        }
    }
    let told = |((what, hint), (count, first)): (Unknown, (u64, &str))| {
        format!("requests name {what} is refused (R05)\n  requests: {count}, the first is `{first}`\n  hint: {hint}")
    };
    found.into_iter().map(told).collect()
}

/// What the catalog has, and where it stands.
struct Known<'a> {
    catalog: &'a Catalog,
    folder: &'a Path,
}

impl Known<'_> {
    /// The nearest name, or where to look.
    fn hint<'n>(&self, wrong: &str, names: impl IntoIterator<Item = &'n String>, code: &str, shows: &str) -> String {
        match nearest(wrong, names.into_iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("`ieum catalog show {} {code}` shows {shows}", self.folder.display()),
        }
    }

    fn without_document(&self, document: &RequestedDocument) -> Vec<Unknown> {
        if let Some(level) = document.dataset.strip_prefix(LEVEL) {
            return self.without_level(level, document);
        }
        let Some(dataset) = self.catalog.datasets.get(&document.dataset) else {
            let hint = self.hint(&document.dataset, self.catalog.datasets.keys(), "DATASET", "one that it has");
            return vec![("a dataset that the catalog lacks: such a line".to_owned(), hint)];
        };
        let lacks = |what: &str| format!("{what} that `{}` lacks: such a line", dataset.code);
        let items = document.items.iter().flatten().filter(|name| dataset.item(name).is_none());
        let items =
            items.map(|name| (lacks("an item"), self.hint(name, dataset.items.keys(), &dataset.code, "what it has")));
        let view = document.view.iter().filter(|name| !dataset.views.contains_key(*name));
        let view =
            view.map(|name| (lacks("a view"), self.hint(name, dataset.views.keys(), &dataset.code, "what it has")));
        items.chain(view).collect()
    }

    fn without_level(&self, level: &str, document: &RequestedDocument) -> Vec<Unknown> {
        if document.items.is_some() || document.view.is_some() {
            let hint = "a level says itself what it holds: take the items or the view away".to_owned();
            return vec![("items or a view of a level: such a line".to_owned(), hint)];
        }
        if self.catalog.levels.contains_key(level) {
            return Vec::new();
        }
        let hint = match nearest(level, self.catalog.levels.keys().map(String::as_str)) {
            Some(near) => format!("did you mean `{LEVEL}{near}`?"),
            None => format!("levels are declared in {}", self.folder.join("levels.toml").display()),
        };
        vec![("a level that the catalog lacks: such a line".to_owned(), hint)]
    }

    fn without_words_of(&self, request: &CheckedRequest) -> Vec<Unknown> {
        let Catalog { services, recipients, .. } = self.catalog;
        let service = request.service.as_deref().filter(|code| !services.contains_key(*code)).map(|code| {
            let hint = self.hint(code, services.keys(), "SERVICE", "one that it has");
            ("a service that the catalog lacks: such a request".to_owned(), hint)
        });
        let recipient = Some(&*request.recipient).filter(|code| !code.is_empty() && !recipients.contains_key(*code));
        let recipient = recipient.map(|code| {
            let hint = match nearest(code, recipients.keys().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("recipients are declared in {}", self.folder.join("recipients.toml").display()),
            };
            ("a recipient that the catalog lacks: such a request".to_owned(), hint)
        });
        service.into_iter().chain(recipient).collect()
    }
}
