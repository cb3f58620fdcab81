//! What names what: every reference inside the catalog resolves, and names items by code.

use std::collections::{BTreeMap, BTreeSet};

use crate::dataset::{Dataset, Key, Mapping};
use crate::service::DocumentLine;

use super::parse::suggestion;
use super::source::File;
use super::{Catalog, Load, LoadedDataset, LoadedService, Problem, WrongKey, levels};

/// The names that a reference may use. Where some could not be read, `partial` is the file's text: what stands nowhere
/// in it is unknown all the same.
#[derive(Default)]
pub(super) struct Names {
    pub(super) all: BTreeSet<String>,
    pub(super) partial: Option<String>,
}

impl Names {
    fn lacks(&self, name: &str) -> bool {
        !self.all.contains(name) && !self.partial.as_ref().is_some_and(|text| text.contains(name))
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(String::as_str)
    }
}

impl<'a> Load<'a> {
    pub(super) fn check_recipients(&mut self, files: &BTreeMap<&'a str, File<'a>>) {
        let Some(file) = files.get("recipients.toml") else { return };
        let types: Vec<(String, String)> = self
            .catalog
            .recipients
            .iter()
            .map(|(code, recipient)| (code.clone(), recipient.recipient_type.clone()))
            .collect();
        for (code, recipient_type) in types {
            let place = ["recipients", &code, "recipient_type"];
            self.check_name(file, &place, ("recipient_types", "recipient type"), &recipient_type);
        }
    }

    /// Bundles cannot be encrypted to what is no public key.
    pub(super) fn check_encryption_keys(&mut self, files: &BTreeMap<&'a str, File<'a>>, wrong_key: WrongKey<'_>) {
        let Some(file) = files.get("recipients.toml") else { return };
        for (code, recipient) in &self.catalog.recipients {
            let Some(key) = &recipient.encryption_key else { continue };
            let Some((what, hint)) = wrong_key(key) else { continue };
            let line = file.line(&["recipients", code], "encryption_key");
            let message = format!("encryption_key of recipient `{code}` {what}");
            self.problems.push(Problem { hint: Some(hint.into()), ..file.problem(line, message) });
        }
    }

    /// `name` must be in the section.
    pub(super) fn check_name(&mut self, file: &File<'_>, place: &[&str], (section, what): (&str, &str), name: &str) {
        let Some(names) = self.names.get(section) else { return };
        if names.lacks(name) {
            let hint = suggestion(name, names.iter());
            self.report(file, file.line(place, name), format!("unknown {what} `{name}`"), hint);
        }
    }

    pub(super) fn cross_check(&mut self, files: &BTreeMap<&'a str, File<'a>>) {
        let datasets = std::mem::take(&mut self.datasets);
        for LoadedDataset { file, dataset } in &datasets {
            self.check_name(file, &["holder"], ("holders", "holder"), &dataset.holder);
            self.check_name(file, &["category"], ("categories", "category"), &dataset.category);
            self.check_dataset(file, dataset);
        }
        self.check_spaces(&datasets);
        for LoadedDataset { mut dataset, .. } in datasets {
            canonical_dataset(&mut dataset);
            dataset.institution_code =
                self.catalog.holders.get(&dataset.holder).map(|holder| holder.institution_code.clone());
            self.catalog.datasets.entry(dataset.code.clone()).or_insert(dataset);
        }
        if let Some(file) = files.get("levels.toml") {
            self.resolve_levels(file);
        }
        for loaded in std::mem::take(&mut self.services) {
            self.check_name(loaded.file, &["recipient"], ("recipients", "recipient"), &loaded.service.recipient);
            self.check_lines(&loaded);
            let LoadedService { mut service, lines, .. } = loaded;
            service.documents = lines.into_iter().map(|(_, line)| canonical_line(line, &self.catalog)).collect();
            let of_levels = service.levels.iter().filter_map(|level| self.catalog.levels.get(level));
            service.documents.extend(of_levels.flat_map(levels::lines));
            self.catalog.services.entry(service.code.clone()).or_insert(service);
        }
    }

    fn check_dataset(&mut self, file: &File<'_>, dataset: &Dataset) {
        if dataset.items.is_empty() {
            self.report(file, file.line(&[], "items"), "the dataset has no item", None);
        }
        for code in dataset.items.keys() {
            self.check_code(file, &["items"], "item", code);
        }
        self.check_aliases(file, dataset);
        for (view, items) in &dataset.views {
            self.check_code(file, &["views"], "view", view);
            self.check_items(file, &["views", view], dataset, items);
        }
        self.check_keys(file, dataset);
        self.check_record_order(file, dataset);
        if let Some(export) = &dataset.export {
            self.check_export(file, dataset, export);
        }
    }

    /// A standard abbreviation names one item.
    fn check_aliases(&mut self, file: &File<'_>, dataset: &Dataset) {
        let mut named: BTreeMap<&str, &str> = dataset.items.keys().map(|code| (code.as_str(), code.as_str())).collect();
        for (code, item) in &dataset.items {
            let Some(std) = item.std.as_deref() else { continue };
            let other = *named.entry(std).or_insert(code);
            if other != code {
                let line = file.line(&["items", code, "std"], std);
                self.report(file, line, format!("std `{std}` of item `{code}` names item `{other}` too"), None);
            }
        }
    }

    fn check_keys(&mut self, file: &File<'_>, dataset: &Dataset) {
        self.check_key(file, &["key"], &dataset.key);
        for (number, key) in dataset.other_keys.iter().enumerate() {
            self.check_key(file, &["other_keys", &number.to_string()], key);
        }
        for (number, mapping) in dataset.maps.iter().enumerate() {
            self.check_mapping(file, &number.to_string(), dataset, mapping);
        }
    }

    fn check_key(&mut self, file: &File<'_>, place: &[&str], key: &Key) {
        self.check_code(file, &[place, &["item"]].concat(), "key column", &key.item);
        self.check_space(file, place, &key.space);
    }

    fn check_space(&mut self, file: &File<'_>, place: &[&str], space: &str) {
        let place = [place, &["space"]].concat();
        if space.is_empty() {
            self.report(file, file.line(&place, space), "the key space is empty", None);
        } else {
            self.check_code(file, &place, "key space", space);
        }
    }

    fn check_mapping(&mut self, file: &File<'_>, number: &str, dataset: &Dataset, mapping: &Mapping) {
        if !dataset.keys().any(|key| key.item == mapping.from) {
            let hint = suggestion(&mapping.from, dataset.keys().map(|key| key.item.as_str()));
            let line = file.line(&["maps", number, "from"], &mapping.from);
            self.report(file, line, format!("map from `{}`, which is no key of the dataset", mapping.from), hint);
        }
        self.check_code(file, &["maps", number, "to"], "key column", &mapping.to);
        self.check_space(file, &["maps", number], &mapping.space);
    }

    fn check_record_order(&mut self, file: &File<'_>, dataset: &Dataset) {
        let place = ["record_order"];
        self.check_items(file, &place, dataset, &dataset.record_order);
        for name in &dataset.record_order {
            if dataset.item(name).is_some_and(|(_, item)| item.list) {
                let message = format!("record_order item `{name}` is a list");
                self.report(file, file.line(&place, name), message, None);
            }
        }
    }

    pub(super) fn check_items(&mut self, file: &File<'_>, place: &[&str], dataset: &Dataset, names: &[String]) {
        for name in names.iter().filter(|name| dataset.item(name).is_none()) {
            let hint = suggestion(name, item_names(dataset));
            let message = format!("unknown item `{name}` of dataset `{}`", dataset.code);
            self.report(file, file.line(place, name), message, hint);
        }
    }

    fn check_lines(&mut self, loaded: &LoadedService<'_>) {
        let file = loaded.file;
        for level in &loaded.service.levels {
            self.check_name(file, &["levels"], ("levels", "level"), level);
        }
        if loaded.lines.is_empty() && !loaded.lines_lost && loaded.service.levels.is_empty() {
            self.report(file, file.line(&[], "documents"), "the service asks for no document", None);
        }
        for (place, (number, line)) in loaded.lines.iter().enumerate() {
            let number = number.to_string();
            self.check_line(file, &number, line);
            let Some(other) = &line.fallback_of else { continue };
            let earlier = || loaded.lines[..place].iter().map(|(_, line)| line.dataset.as_str());
            if !loaded.lines_lost && !earlier().any(|dataset| dataset == other) {
                let at = file.line(&["documents", &number, "fallback_of"], other);
                let message = format!("fallback_of `{other}`, which is no earlier document of the service");
                self.report(file, at, message, suggestion(other, earlier()));
            }
        }
    }

    fn check_line(&mut self, file: &File<'_>, number: &str, line: &DocumentLine) {
        let place = ["documents", number];
        let ways = [line.items.is_some(), line.view.is_some(), line.level.is_some()];
        if ways.into_iter().filter(|way| *way).count() > 1 {
            let at = file.line(&place, if line.view.is_some() { "view" } else { "level" });
            self.report(file, at, "a document line has `items`, `view` or `level`, and one of them", None);
        }
        self.check_level_of_line(file, number, line);
        if !self.dataset_files.contains_key(&line.dataset) {
            let hint = suggestion(&line.dataset, self.dataset_files.keys().map(String::as_str));
            let at = file.line(&["documents", number, "dataset"], &line.dataset);
            self.report(file, at, format!("unknown dataset `{}`", line.dataset), hint);
        }
        let Some(dataset) = self.catalog.datasets.get(&line.dataset).cloned() else { return };
        self.check_view(file, number, line, &dataset);
        let items = line.items.as_deref().unwrap_or_default();
        self.check_items(file, &["documents", number, "items"], &dataset, items);
        self.check_items(file, &["documents", number, "exclude"], &dataset, &line.exclude);
    }

    fn check_view(&mut self, file: &File<'_>, number: &str, line: &DocumentLine, dataset: &Dataset) {
        let Some(view) = line.view.as_ref().filter(|view| !dataset.views.contains_key(*view)) else { return };
        let hint = suggestion(view, dataset.views.keys().map(String::as_str));
        let at = file.line(&["documents", number, "view"], view);
        self.report(file, at, format!("unknown view `{view}` of dataset `{}`", dataset.code), hint);
    }
}

/// Item codes and standard abbreviations.
pub(super) fn item_names(dataset: &Dataset) -> impl Iterator<Item = &str> {
    let aliases = dataset.items.values().filter_map(|item| item.std.as_deref());
    dataset.items.keys().map(String::as_str).chain(aliases)
}

/// Replaces standard abbreviations by item codes.
fn canonical(names: &mut [String], dataset: &Dataset) {
    for name in names {
        if let Some((code, _)) = dataset.item(name) {
            *name = code.to_owned();
        }
    }
}

fn canonical_dataset(dataset: &mut Dataset) {
    let mut views = std::mem::take(&mut dataset.views);
    let mut order = std::mem::take(&mut dataset.record_order);
    let mut export = dataset.export.take();
    views.values_mut().for_each(|names| canonical(names, dataset));
    canonical(&mut order, dataset);
    let targets = export.iter_mut().flat_map(|export| export.columns.values_mut());
    targets.for_each(|name| canonical(std::slice::from_mut(name), dataset));
    (dataset.views, dataset.record_order, dataset.export) = (views, order, export);
}

fn canonical_line(mut line: DocumentLine, catalog: &Catalog) -> DocumentLine {
    if let Some(level) = line.level.as_ref().and_then(|level| catalog.levels.get(level)) {
        line.items = level.covers.get(&line.dataset).cloned();
    }
    if let Some(dataset) = catalog.datasets.get(&line.dataset) {
        canonical(line.items.as_deref_mut().unwrap_or_default(), dataset);
        canonical(&mut line.exclude, dataset);
    }
    line
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::fixture::*;

    #[test]
    fn references_resolve() {
        dataset("category = \"1a\"", "category = \"9\"", &["datasets/mofa/passport.toml:4: unknown category `9`"]);
        check(
            &[("holders.toml", &with(HOLDERS, "holders.mofa", "holders.mofaa"))],
            &["datasets/mofa/passport.toml:3: unknown holder `mofa` (did you mean `mofaa`?)"],
        );
        check(
            &[("recipients.toml", &with(RECIPIENTS, "\"bank\"", "\"bnak\""))],
            &["recipients.toml:3: unknown recipient type `bnak` (did you mean `bank`?)"],
        );
        service(
            "recipient = \"kb\"",
            "recipient = \"shinhan\"",
            &["services/loan.toml:3: unknown recipient `shinhan`"],
        );
        service(
            "dataset = \"passport\"\nview = \"short\"",
            "dataset = \"pasport\"",
            &["services/loan.toml:15: unknown dataset `pasport` (did you mean `passport`?)"],
        );
        service(
            "view = \"short\"",
            "view = \"shrot\"",
            &["services/loan.toml:16: unknown view `shrot` of dataset `passport` (did you mean `short`?)"],
        );
        service(
            "exclude = [\"FLNM\"]",
            "exclude = [\"nam\"]",
            &["services/loan.toml:12: unknown item `nam` of dataset `passport` (did you mean `name`?)"],
        );
        service(
            "items = [\"name\"]",
            "items = [\n  \"name\",\n  \"isued\",\n]",
            &["services/loan.toml:13: unknown item `isued` of dataset `passport` (did you mean `issued`?)"],
        );
    }

    #[test]
    fn views_and_record_order_name_items() {
        let unknown = "unknown item `nmae` of dataset `passport` (did you mean `name`?)";
        dataset("[\"FLNM\"]", "[\"nmae\"]", &[&format!("{D}:29: {unknown}")]);
        dataset("record_order = [\"issued\"]", "record_order = [\"nmae\"]", &[&format!("{D}:9: {unknown}")]);
        dataset(
            "record_order = [\"issued\"]",
            "record_order = [\"stamps\"]",
            &["datasets/mofa/passport.toml:9: record_order item `stamps` is a list"],
        );
    }

    #[test]
    fn keys_have_a_space_and_maps_start_at_a_key() {
        dataset("space = \"person\"", "space = \"\"", &["datasets/mofa/passport.toml:6: the key space is empty"]);
        dataset(
            "from = \"rrno\"",
            "from = \"rno\"",
            &["datasets/mofa/passport.toml:8: map from `rno`, which is no key of the dataset (did you mean `rrno`?)"],
        );
    }

    #[test]
    fn a_standard_abbreviation_names_one_item() {
        let one = |std: &str, message: &str| {
            let text = format!("name_ko = \"발급일자\"\nstd = \"{std}\"");
            dataset("name_ko = \"발급일자\"", &text, &[&format!("{D}:{message} too")]);
        };
        one("FLNM", "13: std `FLNM` of item `name` names item `issued`");
        one("stamps", "19: std `stamps` of item `issued` names item `stamps`");
        dataset("name_ko = \"발급일자\"", "name_ko = \"발급일자\"\nstd = \"issued\"", &[]);
    }

    #[test]
    fn a_dataset_has_an_item() {
        let head = &DATASET[..DATASET.find("[items.name]").unwrap()];
        let text = format!("{}\n[items]\n", with(head, "record_order = [\"issued\"]", ""));
        let problems = parse(&[(D, &text), (S, &SERVICE[..SERVICE.find("\n[[").unwrap()])]).unwrap_err();
        assert_eq!(problems[0].to_string(), format!("{D}:12: the dataset has no item"));
    }

    #[test]
    fn a_document_line_is_not_ambiguous() {
        service(
            "view = \"short\"",
            "view = \"short\"\nitems = [\"name\"]",
            &["services/loan.toml:16: a document line has `items`, `view` or `level`, and one of them"],
        );
        service(
            "items = [\"name\"]",
            "fallback_of = \"passport\"",
            &["services/loan.toml:11: fallback_of `passport`, which is no earlier document of the service"],
        );
    }
}
