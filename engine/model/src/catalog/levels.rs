//! Levels of consent: what each comes to, item by item.

use std::collections::{BTreeMap, BTreeSet};

use crate::service::{ConsentScope, DocumentLine};

use super::parse::suggestion;
use super::source::File;
use super::{Level, Load};

impl Load<'_> {
    /// Checks the levels against the datasets and each other, and works out what each of them covers.
    pub(super) fn resolve_levels(&mut self, file: &File<'_>) {
        let levels = self.catalog.levels.clone();
        let mut own = BTreeMap::new();
        for (code, level) in &levels {
            own.insert(code.as_str(), self.own_documents(file, code, level));
            for other in level.includes.iter().filter(|other| !levels.contains_key(*other)) {
                let hint = suggestion(other, levels.keys().map(String::as_str));
                let at = file.line(&["levels", code, "includes"], other);
                self.report(file, at, format!("unknown level `{other}` in level `{code}`"), hint);
            }
        }
        for (code, level) in &levels {
            let (mut open, mut seen) = (vec![code.as_str()], BTreeSet::new());
            let mut covers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            while let Some(next) = open.pop() {
                if !seen.insert(next) {
                    continue;
                }
                for (dataset, items) in own.get(next).into_iter().flatten() {
                    covers.entry(dataset.clone()).or_default().extend(items.iter().cloned());
                }
                open.extend(levels.get(next).into_iter().flat_map(|level| &level.includes).map(String::as_str));
            }
            let includes_itself = level.includes.iter().any(|other| reaches(&levels, other, code));
            if includes_itself {
                let at = file.line(&["levels", code], "includes");
                self.report(file, at, format!("level `{code}` includes itself"), None);
            } else if covers.is_empty() && level.documents.is_empty() {
                let at = file.line(&["levels"], code);
                self.report(file, at, format!("level `{code}` has no document"), None);
            }
            if let Some(level) = self.catalog.levels.get_mut(code) {
                level.covers = covers.into_iter().map(|(of, items)| (of, items.into_iter().collect())).collect();
            }
        }
    }

    /// The items of each dataset that a level names itself.
    fn own_documents(&mut self, file: &File<'_>, code: &str, level: &Level) -> BTreeMap<String, BTreeSet<String>> {
        let mut own: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (number, document) in level.documents.iter().enumerate() {
            let number = number.to_string();
            let place = ["levels", code, "documents", &number];
            if document.items.is_some() && document.view.is_some() {
                let at = file.line(&place, "view");
                self.report(file, at, "a document of a level has `items` or `view`, not both", None);
            }
            let Some(dataset) = self.catalog.datasets.get(&document.dataset).cloned() else {
                if !self.dataset_files.contains_key(&document.dataset) {
                    let hint = suggestion(&document.dataset, self.dataset_files.keys().map(String::as_str));
                    let at = file.line(&[&place[..], &["dataset"]].concat(), &document.dataset);
                    self.report(file, at, format!("unknown dataset `{}`", document.dataset), hint);
                }
                continue;
            };
            let names = match (&document.items, &document.view) {
                (Some(items), _) => items.clone(),
                (None, Some(view)) => dataset.views.get(view).cloned().unwrap_or_else(|| {
                    let hint = suggestion(view, dataset.views.keys().map(String::as_str));
                    let at = file.line(&[&place[..], &["view"]].concat(), view);
                    self.report(file, at, format!("unknown view `{view}` of dataset `{}`", dataset.code), hint);
                    Vec::new()
                }),
                (None, None) => dataset.default_items().into_iter().map(str::to_owned).collect(),
            };
            self.check_items(file, &[&place[..], &["items"]].concat(), &dataset, &names);
            let codes = names.iter().filter_map(|name| dataset.item(name)).map(|(code, _)| code.to_owned());
            own.entry(dataset.code.clone()).or_default().extend(codes);
        }
        own
    }

    /// A line that names a level asks for what the level has of its dataset.
    pub(super) fn check_level_of_line(&mut self, file: &File<'_>, number: &str, line: &DocumentLine) {
        let Some(level) = &line.level else { return };
        let place = ["documents", number, "level"];
        self.check_name(file, &place, ("levels", "level"), level);
        if self.catalog.levels.get(level).is_some_and(|level| !level.covers.contains_key(&line.dataset)) {
            let message = format!("level `{level}` has no item of dataset `{}`", line.dataset);
            self.report(file, file.line(&place, level), message, None);
        }
    }
}

/// Whether `from` includes `to`, over others too, or is it.
fn reaches(levels: &BTreeMap<String, Level>, from: &str, to: &str) -> bool {
    let (mut open, mut seen) = (vec![from], BTreeSet::new());
    while let Some(next) = open.pop() {
        if next == to {
            return true;
        }
        if seen.insert(next) {
            open.extend(levels.get(next).into_iter().flat_map(|level| &level.includes).map(String::as_str));
        }
    }
    false
}

/// The document lines of a level, in the order of their datasets.
pub(super) fn lines(level: &Level) -> Vec<DocumentLine> {
    let line = |(dataset, items): (&String, &Vec<String>)| DocumentLine {
        dataset: dataset.clone(),
        items: Some(items.clone()),
        view: None,
        level: None,
        exclude: Vec::new(),
        when: None,
        fallback_of: None,
        consent: ConsentScope::Bundle,
        third_person_reason: None,
    };
    level.covers.iter().map(line).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::fixture::*;

    const LEVELS: &str = "[levels.basic]\nname_ko = \"기본\"\ndocuments = [{ dataset = \"passport\", items = [\"issued\"] }]\n\
                          [levels.detailed]\nname_ko = \"상세\"\nincludes = [\"basic\"]\n\
                          documents = [{ dataset = \"passport\", view = \"short\" }]\n";

    #[test]
    fn a_level_comes_to_its_items_and_those_of_the_levels_it_includes() {
        let of_level = with(SERVICE, "view = \"short\"", "level = \"detailed\"");
        let whole = with(SERVICE, "retention_days = 30", "retention_days = 30\nlevels = [\"basic\"]");
        let catalog = parse(&[("levels.toml", LEVELS), (S, &of_level)]).unwrap();
        assert_eq!(catalog.levels["basic"].covers["passport"], ["issued"]);
        assert_eq!(catalog.levels["detailed"].covers["passport"], ["issued", "name"]);
        assert_eq!(catalog.services["loan"].documents[1].items.as_deref().unwrap(), ["issued", "name"]);
        let catalog = parse(&[("levels.toml", LEVELS), (S, &whole)]).unwrap();
        assert_eq!(catalog.services["loan"].documents[2].items.as_deref().unwrap(), ["issued"]);
        let (head, _) = whole.split_once("[[documents]]").unwrap();
        let catalog = parse(&[("levels.toml", LEVELS), (S, head)]).unwrap();
        assert_eq!(catalog.services["loan"].documents.len(), 1);
    }

    #[test]
    fn a_level_names_what_there_is() {
        let level = |from: &str, to: &str, told: &[&str]| check(&[("levels.toml", &with(LEVELS, from, to))], told);
        level(
            "\"passport\", items",
            "\"pasport\", items",
            &["levels.toml:3: unknown dataset `pasport` (did you mean `passport`?)"],
        );
        level(
            "[\"issued\"]",
            "[\"isued\"]",
            &["levels.toml:3: unknown item `isued` of dataset `passport` (did you mean `issued`?)"],
        );
        level(
            "\"short\"",
            "\"shrt\"",
            &["levels.toml:7: unknown view `shrt` of dataset `passport` (did you mean `short`?)"],
        );
        level(
            "[\"basic\"]",
            "[\"basc\"]",
            &["levels.toml:6: unknown level `basc` in level `detailed` (did you mean `basic`?)"],
        );
        level("[\"basic\"]", "[\"detailed\"]", &["levels.toml:6: level `detailed` includes itself"]);
        let of_level = |level: &str| with(SERVICE, "view = \"short\"", &format!("level = \"{level}\""));
        check(
            &[("levels.toml", LEVELS), (S, &of_level("detail"))],
            &["services/loan.toml:16: unknown level `detail` (did you mean `detailed`?)"],
        );
        check(
            &[("levels.toml", LEVELS), (S, &with(SERVICE, "view = \"short\"", "view = \"short\"\nlevel = \"basic\""))],
            &["services/loan.toml:16: a document line has `items`, `view` or `level`, and one of them"],
        );
        let (head, _) = SERVICE.split_once("[[documents]]").unwrap();
        check(&[(S, head)], &["services/loan.toml:1: the service asks for no document"]);
    }
}
