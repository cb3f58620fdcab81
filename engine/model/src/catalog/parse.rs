//! From files to entries: what is unreadable or unknown, and which file may hold what.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, ValueDeserializer};

use crate::dataset::{Dataset, Export, Item};
use crate::error::nearest;
use crate::service::{DocumentLine, Service};

use super::references::Names;
use super::source::{File, Node, child, entry_mut};
use super::{Load, LoadedDataset, LoadedService, Problem};

/// Section name and file of the tables that are not split over files.
const SECTIONS: [(&str, &str); 6] = [
    ("holders", "holders.toml"),
    ("recipients", "recipients.toml"),
    ("recipient_types", "recipient_types.toml"),
    ("categories", "categories.toml"),
    ("code_lists", "codelists.toml"),
    ("levels", "levels.toml"),
];

impl<'a> Load<'a> {
    pub(super) fn named_sections(&mut self, files: &BTreeMap<&'a str, File<'a>>) {
        self.catalog.holders = self.section(files, "holders");
        self.catalog.recipients = self.section(files, "recipients");
        self.catalog.recipient_types = self.section(files, "recipient_types");
        self.catalog.categories = self.section(files, "categories");
        self.catalog.code_lists = self.section(files, "code_lists");
        self.catalog.levels = self.section(files, "levels");
        self.check_holders(files);
        self.check_recipients(files);
    }

    /// Reads one section entry by entry, so that each wrong entry is reported.
    fn section<T: DeserializeOwned>(
        &mut self,
        files: &BTreeMap<&'a str, File<'a>>,
        section: &'static str,
    ) -> BTreeMap<String, T> {
        let mut read = BTreeMap::new();
        let mut names = Names::default();
        let path = SECTIONS.iter().find(|(name, _)| *name == section).map_or("", |(_, path)| path);
        if let Some(file) = files.get(path) {
            let table = self.section_table(file, section);
            names.partial = (!file.whole || table.is_none()).then(|| file.text.to_owned());
            for (key, value) in table.into_iter().flatten() {
                let code = key.get_ref().as_ref();
                names.all.insert(code.to_owned());
                self.check_code(file, &[section], "code", code);
                if let Some(entry) = decode(file, &mut value.clone(), &mut self.problems) {
                    read.insert(code.to_owned(), entry);
                }
            }
        }
        self.names.insert(section, names);
        read
    }

    /// The table `section` of a file that must hold nothing else.
    fn section_table<'f>(&mut self, file: &'f File<'a>, section: &str) -> Option<&'f DeTable<'a>> {
        for key in file.root.get_ref().as_table().into_iter().flat_map(|table| table.keys()) {
            let name = key.get_ref().as_ref();
            if name != section {
                let line = file.line_at(key.span().start);
                let message = format!("unknown field `{name}`, expected `{section}`");
                self.report(file, line, message, suggestion(name, [section]));
            }
        }
        let table = child(&file.root, section).and_then(|node| node.get_ref().as_table());
        if table.is_none() && file.whole {
            self.report(file, 1, format!("table `{section}` is missing"), None);
        }
        table
    }

    pub(super) fn known_section_file(&mut self, file: &File<'_>, path: &[&str]) {
        let known = SECTIONS.map(|(_, path)| path);
        if path.len() != 1 || !known.contains(&file.path) {
            let hint = suggestion(file.path, known)
                .or_else(|| Some("datasets are datasets/<holder>/<code>.toml, services services/<code>.toml".into()));
            self.report(file, 1, "not a file of a catalog", hint);
        }
    }

    fn check_holders(&mut self, files: &BTreeMap<&'a str, File<'a>>) {
        let Some(file) = files.get("holders.toml") else { return };
        for (code, holder) in &self.catalog.holders {
            let institution = &holder.institution_code;
            if institution.len() != 7 || !institution.bytes().all(|byte| byte.is_ascii_digit()) {
                let line = file.line(&["holders", code], institution);
                let message = format!("institution_code `{institution}` of holder `{code}` is not 7 digits");
                self.problems.push(file.problem(line, message));
            }
        }
    }

    /// A code names files, columns and folders.
    pub(super) fn check_code(&mut self, file: &File<'_>, place: &[&str], what: &str, code: &str) {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
        if code.is_empty() || code.starts_with('.') || !code.bytes().all(allowed) {
            let hint = "codes are a-z, 0-9, `_`, `.` and `-`, and do not start with `.`";
            let message = format!("{what} `{}` is not a code", code.escape_debug());
            self.report(file, file.line(place, code), message, Some(hint.into()));
        }
    }

    /// The code that a file is about: its name must say so, and no other file may be about it.
    fn claim_code(&mut self, file: &'a File<'a>, code: &str, what: &str) {
        self.check_code(file, &["code"], &format!("{what} code"), code);
        let line = file.line(&["code"], code);
        if code != file.stem() {
            let hint = format!("name the file `{code}.toml` or change the code");
            self.report(file, line, format!("code `{code}` is not the file name `{}`", file.stem()), Some(hint));
        }
        let files = if what == "dataset" { &mut self.dataset_files } else { &mut self.service_files };
        let first = *files.entry(code.to_owned()).or_insert(file.path);
        if first != file.path {
            self.report(file, line, format!("duplicate {what} code `{code}`, first in {first}"), None);
        }
    }

    pub(super) fn dataset(&mut self, file: &'a File<'a>, holder_folder: &str) {
        let Some(dataset) = read_dataset(file, &mut self.problems) else {
            self.dataset_files.entry(stated_code(file)).or_insert(file.path);
            return;
        };
        self.claim_code(file, &dataset.code, "dataset");
        if dataset.holder != holder_folder {
            let message = format!("holder `{}` is not the folder name `{holder_folder}`", dataset.holder);
            self.report(file, file.line(&["holder"], &dataset.holder), message, None);
        }
        self.datasets.push(LoadedDataset { file, dataset });
    }

    pub(super) fn service(&mut self, file: &'a File<'a>) {
        let mut root = file.root.clone();
        if !file.whole {
            return;
        }
        let (lines, lines_lost) = take_lines(file, &mut root, &mut self.problems);
        let Some(service) = decode::<Service>(file, &mut root, &mut self.problems) else { return };
        self.claim_code(file, &service.code, "service");
        self.services.push(LoadedService { file, service, lines, lines_lost });
    }
}

/// The dataset of a whole file. Where something cannot be read, that alone is told, part by part.
fn read_dataset(file: &File<'_>, problems: &mut Vec<Problem>) -> Option<Dataset> {
    if file.whole
        && let Ok(dataset) = Dataset::deserialize(ValueDeserializer::from(file.root.clone()))
    {
        return Some(dataset);
    }
    let mut root = file.root.clone();
    repair_items(file, &mut root, problems);
    repair_export(file, &mut root, problems);
    if file.whole { decode(file, &mut root, problems) } else { None }
}

/// Reads `node` as a `T`. Unknown keys and unreadable values are reported and taken out of `node`; `None` if one was
/// unreadable.
fn decode<T: DeserializeOwned>(file: &File<'_>, node: &mut Node<'_>, problems: &mut Vec<Problem>) -> Option<T> {
    let (read, whole) = decode_rest(file, node, problems);
    read.filter(|_| whole)
}

/// As [`decode`], but gives what is left without the unreadable values, and whether there were none.
fn decode_rest<T: DeserializeOwned>(
    file: &File<'_>,
    node: &mut Node<'_>,
    problems: &mut Vec<Problem>,
) -> (Option<T>, bool) {
    let mut taken: Vec<String> = Vec::new();
    loop {
        let error = match T::deserialize(ValueDeserializer::from(node.clone())) {
            Ok(value) => return (Some(value), taken.is_empty()),
            Err(error) => error,
        };
        let missing = error.message().strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
        if missing.is_some_and(|name| taken.iter().any(|taken| taken == name)) {
            return (None, false);
        }
        let offset = error.span().unwrap_or_else(|| node.span()).start;
        let mut problem = file.problem(file.line_at(offset), error.message());
        problem.hint = expected_name(error.message());
        problems.push(problem);
        if error.message().starts_with("unknown field") {
            if !remove_key_at(node, offset) {
                return (None, false);
            }
        } else if missing.is_some() && offset == node.span().start {
            return (None, false);
        } else if let Some(name) = remove_value_at(node, offset) {
            taken.push(name);
        } else {
            return (None, false);
        }
    }
}

/// The nearest of the names that a message such as "unknown field `a`, expected one of `b`, `c`" lists.
fn expected_name(message: &str) -> Option<String> {
    let (wrong, expected) = message.split_once(", expected ")?;
    let wrong = wrong.split('`').nth(1)?;
    suggestion(wrong, expected.split('`').skip(1).step_by(2))
}

pub(super) fn suggestion<'n>(wrong: &str, known: impl IntoIterator<Item = &'n str>) -> Option<String> {
    nearest(wrong, known).map(|name| format!("did you mean `{name}`?"))
}

/// Takes the entry whose key starts at `offset` out of whichever table it is in.
fn remove_key_at(node: &mut Node<'_>, offset: usize) -> bool {
    match node.get_mut() {
        DeValue::Array(array) => array.iter_mut().any(|entry| remove_key_at(entry, offset)),
        DeValue::Table(table) => {
            let key = table.keys().find(|key| key.span().start == offset).cloned();
            match key {
                Some(key) => table.remove(&key).is_some(),
                None => table.iter_mut().any(|(_, value)| remove_key_at(value, offset)),
            }
        }
        _ => false,
    }
}

/// Takes the innermost entry whose value is at `offset` out of whichever table it is in, and gives its key.
fn remove_value_at(node: &mut Node<'_>, offset: usize) -> Option<String> {
    match node.get_mut() {
        DeValue::Array(array) => array.iter_mut().find_map(|entry| remove_value_at(entry, offset)),
        DeValue::Table(table) => {
            if let Some(name) = table.iter_mut().find_map(|(_, value)| remove_value_at(value, offset)) {
                return Some(name);
            }
            let key = table.iter().find(|(_, value)| value.span().contains(&offset)).map(|(key, _)| key.clone())?;
            table.remove(&key).map(|_| key.into_inner().into_owned())
        }
        _ => None,
    }
}

/// The code a file that cannot be read as a whole states; its name where even that is unreadable.
fn stated_code(file: &File<'_>) -> String {
    let code = child(&file.root, "code").and_then(|node| node.get_ref().as_str());
    code.unwrap_or(file.stem()).to_owned()
}

/// An item that can be read, with the standard abbreviation of one that cannot.
fn stand_in<'a>(item: &Node<'a>) -> Option<Node<'a>> {
    let mut node = DeValue::parse(r#"{ name_ko = "", type = "str", sensitivity = "G" }"#).ok()?;
    if let (Some(std), DeValue::Table(table)) =
        (child(item, "std").filter(|std| std.get_ref().is_str()), node.get_mut())
    {
        table.insert(Spanned::new(std.span(), "std".into()), std.clone());
    }
    Some(node)
}

/// Reports every unreadable item and puts a stand-in in its place, so that references to it still resolve.
fn repair_items(file: &File<'_>, root: &mut Node<'_>, problems: &mut Vec<Problem>) {
    if !file.whole {
        return;
    }
    let Some(DeValue::Table(items)) = entry_mut(root, "items").map(Spanned::get_mut) else { return };
    for (_, node) in items.iter_mut() {
        if decode::<Item>(file, node, problems).is_none()
            && let Some(stand_in) = stand_in(node)
        {
            *node = stand_in;
        }
    }
}

/// Reports an unreadable export and takes it out.
fn repair_export(file: &File<'_>, root: &mut Node<'_>, problems: &mut Vec<Problem>) {
    if !file.whole {
        return;
    }
    let Some(node) = entry_mut(root, "export") else { return };
    if decode::<Export>(file, node, problems).is_none()
        && let DeValue::Table(table) = root.get_mut()
    {
        table.remove("export");
    }
}

/// The readable document lines with their numbers, and whether others were lost; `root` keeps an empty list.
fn take_lines(file: &File<'_>, root: &mut Node<'_>, problems: &mut Vec<Problem>) -> (Vec<(usize, DocumentLine)>, bool) {
    let Some(DeValue::Array(array)) = entry_mut(root, "documents").map(Spanned::get_mut) else {
        // A service that names levels need not have lines of its own.
        return (Vec::new(), entry_mut(root, "documents").is_some());
    };
    let nodes = std::mem::replace(array, DeArray::new());
    let count = nodes.len();
    // What is left of a line still names a dataset, items and a view.
    let read = |(number, mut node): (usize, Node<'_>)| Some((number, decode_rest(file, &mut node, problems).0?));
    let lines: Vec<_> = nodes.into_iter().enumerate().filter_map(read).collect();
    let lost = lines.len() != count;
    (lines, lost)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::fixture::*;

    #[test]
    fn broken_syntax_is_reported_once_and_causes_nothing_else() {
        let holders = with(HOLDERS, "\"외교부\"", "외교부");
        let problems = parse(&[("holders.toml", &holders)]).unwrap_err();
        assert!(problems.iter().all(|problem| problem.path == "holders.toml" && problem.line == 2), "{problems:?}");
        let broken = with(DATASET, "basis = \"K\"", "basis = ");
        let problems = parse(&[(D, &broken)]).unwrap_err();
        assert!(problems.iter().all(|problem| problem.path == D && problem.line == 5), "{problems:?}");
    }

    #[test]
    fn unknown_keys_and_values_name_the_nearest() {
        let text = with(DATASET, "name_ko = \"여권\"", "nameko = \"x\"\nname_ko = \"여권\"");
        let text = with(&text, "type = \"date\"", "type = \"dat\"");
        let problems = parse(&[(D, &text)]).unwrap_err();
        let found: Vec<_> = problems.iter().map(|problem| (problem.line, problem.hint.as_deref())).collect();
        assert_eq!(found, [(2, Some("did you mean `name_ko`?")), (20, Some("did you mean `date`?"))]);
        check(
            &[("holders.toml", &with(HOLDERS, "[holders.mofa]", "[holder.x]\n[holders.mofa]"))],
            &["holders.toml:1: unknown field `holder`, expected `holders` (did you mean `holders`?)"],
        );
        check(
            &[("recipient.toml", RECIPIENTS)],
            &["recipient.toml:1: not a file of a catalog (did you mean `recipients.toml`?)"],
        );
    }

    #[test]
    fn every_problem_of_a_part_is_told_at_once() {
        let found = |files: &[(&str, &str)]| -> Vec<(String, usize, String)> {
            let brief = |message: &str| message.split('`').take(2).collect::<String>();
            let problems = parse(files).unwrap_err().into_iter();
            problems.map(|problem| (problem.path, problem.line, brief(&problem.message))).collect()
        };
        let at = |path: &str, line, message: &str| (path.to_owned(), line, message.to_owned());
        let text = with(DATASET, "type = \"date\"\nsensitivity = \"G\"", "type = \"dat\"\nsensitivity = \"g\"");
        assert_eq!(found(&[(D, &text)]), [at(D, 19, "unknown variant dat"), at(D, 20, "unknown variant g")]);
        let text = with(&text, "type = \"dat\"\n", "");
        assert_eq!(found(&[(D, &text)]), [at(D, 17, "missing field type"), at(D, 19, "unknown variant g")]);
        let text = with(SERVICE, "view = \"short\"", "when = \"nobody\"\nview = \"shrot\"");
        assert_eq!(found(&[(S, &text)]), [at(S, 16, "unknown variant nobody"), at(S, 17, "unknown view shrot")]);
        let holders = with(HOLDERS, "\"외교부\"", "외교부");
        let text = with(DATASET, "holder = \"mofa\"", "holder = \"moef\"");
        let problems = found(&[("holders.toml", &holders), ("datasets/moef/passport.toml", &text)]);
        assert!(problems.contains(&at("datasets/moef/passport.toml", 3, "unknown holder moef")), "{problems:?}");
    }

    #[test]
    fn a_file_is_named_like_its_code_and_folder() {
        check(
            &[("datasets/mof/passport.toml", DATASET)],
            &[
                "datasets/mof/passport.toml:3: holder `mofa` is not the folder name `mof`",
                "datasets/mofa/passport.toml:1: duplicate dataset code `passport`, first in datasets/mof/passport.toml",
            ],
        );
        check(
            &[("services/lone.toml", SERVICE)],
            &[
                "services/lone.toml:1: code `loan` is not the file name `lone` (name the file `loan.toml` or change the code)",
                "services/lone.toml:1: duplicate service code `loan`, first in services/loan.toml",
            ],
        );
    }

    #[test]
    fn institution_codes_are_seven_digits() {
        check(
            &[("holders.toml", &with(HOLDERS, "9900004", "990000x"))],
            &["holders.toml:3: institution_code `990000x` of holder `mofa` is not 7 digits"],
        );
    }

    #[test]
    fn codes_are_safe_file_names() {
        let hint = "codes are a-z, 0-9, `_`, `.` and `-`, and do not start with `.`";
        check(
            &[(
                "recipients.toml",
                &format!("{RECIPIENTS}[recipients.\"../x\"]\nname_ko = \"\"\nrecipient_type = \"bank\"\n"),
            )],
            &[&format!("recipients.toml:4: code `../x` is not a code ({hint})")],
        );
        dataset("[items.stamps]", "[items.\"..\"]", &[&format!("{D}:22: item `..` is not a code ({hint})")]);
        let item = "to = \"pno\"";
        dataset(
            item,
            "to = \"여권\"",
            &[
                &format!("{D}:8: key column `여권` is not a code ({hint})"),
                &format!("{D}:35: order lacks the key column `여권`"),
            ],
        );
    }
}
