//! The catalog: every dataset, service and code of an installation, parsed and cross-checked as a whole.
//!
//! ```text
//!  text ─► TOML tree (spans) ─► typed entries ─► references ─► Catalog
//!              └────────────────────┴───────────────┴──────► every Problem, by path and line
//! ```
//!
//! A part that cannot be read is reported once and still counts as known, so that it causes no further problems.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, ValueDeserializer};

use crate::dataset::{Dataset, Export, Format, Item, Key, Mapping};
use crate::error::nearest;
use crate::service::{DocumentLine, Service};

/// One file of the catalog folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogSource {
    /// Path relative to the catalog folder, with `/` separators.
    pub path: String,
    /// Content.
    pub text: String,
}

/// A data holder (보유기관).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    /// Korean name.
    pub name_ko: String,
    /// Institution code (기관코드), 7 digits.
    pub institution_code: String,
    /// First day on which the holder exists.
    #[serde(default)]
    pub valid_from: Option<String>,
    /// Last day on which the holder exists.
    #[serde(default)]
    pub valid_to: Option<String>,
}

/// A body that receives bundles (이용기관).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipient {
    /// Korean name.
    pub name_ko: String,
    /// Code of its legal kind.
    pub recipient_type: String,
}

/// A legal kind of recipient.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipientType {
    /// Korean name.
    pub name_ko: String,
    /// English name.
    pub name_en: String,
}

/// A code list: what the values of a code item mean.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeList {
    /// Label by code.
    pub values: BTreeMap<String, String>,
}

/// The whole catalog. Every reference inside it resolves, and items are named by code wherever a standard abbreviation
/// was written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Catalog {
    /// Data holders by code.
    pub holders: BTreeMap<String, Holder>,
    /// Recipients by code.
    pub recipients: BTreeMap<String, Recipient>,
    /// Legal kinds of recipients by code.
    pub recipient_types: BTreeMap<String, RecipientType>,
    /// Legal categories by code.
    pub categories: BTreeMap<String, String>,
    /// Code lists by name.
    pub code_lists: BTreeMap<String, CodeList>,
    /// Datasets by code.
    pub datasets: BTreeMap<String, Dataset>,
    /// Services by code.
    pub services: BTreeMap<String, Service>,
}

/// Something wrong with the catalog, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Path of the file, relative to the catalog folder.
    pub path: String,
    /// Line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

impl Catalog {
    /// Parses the `.toml` files of a catalog folder and checks them against each other; other files are passed over.
    ///
    /// # Errors
    /// Every problem of the whole catalog, by path and line.
    pub fn parse(sources: &[CatalogSource]) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let files = read_files(sources, &mut problems);
        let mut load = Load { problems, ..Load::default() };
        load.named_sections(&files);
        for file in files.values() {
            match file.path.split('/').collect::<Vec<_>>().as_slice() {
                ["datasets", holder, _] => load.dataset(file, holder),
                ["services", _] => load.service(file),
                path => load.known_section_file(file, path),
            }
        }
        load.cross_check();
        load.finish()
    }
}

/// Section name and file of the tables that are not split over files.
const SECTIONS: [(&str, &str); 5] = [
    ("holders", "holders.toml"),
    ("recipients", "recipients.toml"),
    ("recipient_types", "recipient_types.toml"),
    ("categories", "categories.toml"),
    ("code_lists", "codelists.toml"),
];

type Node<'a> = Spanned<DeValue<'a>>;

/// A parsed file; `root` keeps the spans.
struct File<'a> {
    path: &'a str,
    text: &'a str,
    root: Node<'a>,
    /// False if the syntax is broken, so that names may be missing from `root`.
    whole: bool,
}

impl<'a> File<'a> {
    fn read(source: &'a CatalogSource, problems: &mut Vec<Problem>) -> Self {
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        let root = Spanned::new(table.span(), DeValue::Table(table.into_inner()));
        let file = Self { path: &source.path, text: &source.text, root, whole: errors.is_empty() };
        let mut lines = BTreeSet::new();
        for error in &errors {
            let line = file.line_at(error.span().map_or(0, |span| span.start));
            if lines.insert(line) {
                problems.push(file.problem(line, error.message()));
            }
        }
        file
    }

    /// Name without folder and `.toml`.
    fn stem(&self) -> &'a str {
        let name = self.path.rsplit('/').next().unwrap_or(self.path);
        name.strip_suffix(".toml").unwrap_or(name)
    }

    fn problem(&self, line: usize, message: impl Into<String>) -> Problem {
        Problem { path: self.path.to_owned(), line, message: message.into(), hint: None }
    }

    /// The line, from 1, of a byte offset.
    fn line_at(&self, offset: usize) -> usize {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    /// The line of the key or string `wanted` below `place`; else of the first `"wanted"`, else of `place`, else 1.
    fn line(&self, place: &[&str], wanted: &str) -> usize {
        let node = place.iter().try_fold(&self.root, |node, step| child(node, step));
        let offset = node
            .and_then(|node| offset_of(node, wanted))
            .or_else(|| self.text.find(&format!("\"{wanted}\"")))
            .or_else(|| place.split_last().and_then(|(last, _)| offset_of(&self.root, last)));
        self.line_at(offset.unwrap_or(0))
    }
}

/// The entry `step` of a table, or number `step` of an array.
fn child<'n, 'a>(node: &'n Node<'a>, step: &str) -> Option<&'n Node<'a>> {
    match node.get_ref() {
        DeValue::Table(table) => table.get(step),
        DeValue::Array(array) => array.get(step.parse::<usize>().ok()?),
        _ => None,
    }
}

/// Byte offset of the first key or string below `node` that equals `wanted`.
fn offset_of(node: &Node<'_>, wanted: &str) -> Option<usize> {
    match node.get_ref() {
        DeValue::String(text) => (text.as_ref() == wanted).then_some(node.span().start),
        DeValue::Array(array) => array.iter().filter_map(|entry| offset_of(entry, wanted)).min(),
        DeValue::Table(table) => table
            .iter()
            .flat_map(|(key, value)| {
                let at_key = (key.get_ref().as_ref() == wanted).then_some(key.span().start);
                [at_key, offset_of(value, wanted)]
            })
            .flatten()
            .min(),
        _ => None,
    }
}

fn read_files<'a>(sources: &'a [CatalogSource], problems: &mut Vec<Problem>) -> BTreeMap<&'a str, File<'a>> {
    let mut files = BTreeMap::new();
    for source in sources.iter().filter(|source| source.path.ends_with(".toml")) {
        if files.contains_key(source.path.as_str()) {
            let message = "the file is given twice".to_owned();
            problems.push(Problem { path: source.path.clone(), line: 1, message, hint: None });
        } else {
            files.insert(source.path.as_str(), File::read(source, problems));
        }
    }
    files
}

/// Reads `node` as a `T`. Unknown keys are reported and taken out of `node`; any other error is reported and ends it.
fn decode<T: DeserializeOwned>(file: &File<'_>, node: &mut Node<'_>, problems: &mut Vec<Problem>) -> Option<T> {
    loop {
        let error = match T::deserialize(ValueDeserializer::from(node.clone())) {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let offset = error.span().unwrap_or_else(|| node.span()).start;
        let mut problem = file.problem(file.line_at(offset), error.message());
        problem.hint = expected_name(error.message());
        problems.push(problem);
        if !(error.message().starts_with("unknown field") && remove_key_at(node, offset)) {
            return None;
        }
    }
}

/// The nearest of the names that a message such as "unknown field `a`, expected one of `b`, `c`" lists.
fn expected_name(message: &str) -> Option<String> {
    let (wrong, expected) = message.split_once(", expected ")?;
    let wrong = wrong.split('`').nth(1)?;
    suggestion(wrong, expected.split('`').skip(1).step_by(2))
}

fn suggestion<'n>(wrong: &str, known: impl IntoIterator<Item = &'n str>) -> Option<String> {
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

fn entry_mut<'n, 'a>(node: &'n mut Node<'a>, key: &str) -> Option<&'n mut Node<'a>> {
    match node.get_mut() {
        DeValue::Table(table) => table.get_mut(key),
        _ => None,
    }
}

/// The names that a reference may use; `partial` if some could not be read, so that nothing is called unknown.
#[derive(Default)]
struct Names {
    all: BTreeSet<String>,
    partial: bool,
}

impl Names {
    fn lacks(&self, name: &str) -> bool {
        !self.partial && !self.all.contains(name)
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(String::as_str)
    }
}

/// A dataset with its file.
struct LoadedDataset<'a> {
    file: &'a File<'a>,
    dataset: Dataset,
}

/// A service with its file; `lines` are the readable document lines with their numbers in the file.
struct LoadedService<'a> {
    file: &'a File<'a>,
    service: Service,
    lines: Vec<(usize, DocumentLine)>,
    lines_lost: bool,
}

#[derive(Default)]
struct Load<'a> {
    problems: Vec<Problem>,
    catalog: Catalog,
    names: BTreeMap<&'static str, Names>,
    datasets: Vec<LoadedDataset<'a>>,
    services: Vec<LoadedService<'a>>,
    /// Codes of datasets, with the file that has it; unreadable ones by file name.
    dataset_files: BTreeMap<String, &'a str>,
    service_files: BTreeMap<String, &'a str>,
}

impl<'a> Load<'a> {
    fn report(&mut self, file: &File<'_>, line: usize, message: impl Into<String>, hint: Option<String>) {
        self.problems.push(Problem { hint, ..file.problem(line, message) });
    }

    fn named_sections(&mut self, files: &BTreeMap<&'a str, File<'a>>) {
        self.catalog.holders = self.section(files, "holders");
        self.catalog.recipients = self.section(files, "recipients");
        self.catalog.recipient_types = self.section(files, "recipient_types");
        self.catalog.categories = self.section(files, "categories");
        self.catalog.code_lists = self.section(files, "code_lists");
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
            names.partial = !file.whole || table.is_none();
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

    fn known_section_file(&mut self, file: &File<'_>, path: &[&str]) {
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

    fn check_recipients(&mut self, files: &BTreeMap<&'a str, File<'a>>) {
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

    /// A code names files, columns and folders.
    fn check_code(&mut self, file: &File<'_>, place: &[&str], what: &str, code: &str) {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
        if code.is_empty() || code.starts_with('.') || !code.bytes().all(allowed) {
            let hint = "codes are a-z, 0-9, `_`, `.` and `-`, and do not start with `.`";
            let message = format!("{what} `{}` is not a code", code.escape_debug());
            self.report(file, file.line(place, code), message, Some(hint.into()));
        }
    }

    /// `name` must be in the section.
    fn check_name(&mut self, file: &File<'_>, place: &[&str], (section, what): (&str, &str), name: &str) {
        let Some(names) = self.names.get(section) else { return };
        if names.lacks(name) {
            let hint = suggestion(name, names.iter());
            self.report(file, file.line(place, name), format!("unknown {what} `{name}`"), hint);
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

    fn dataset(&mut self, file: &'a File<'a>, holder_folder: &str) {
        let mut root = file.root.clone();
        repair_items(file, &mut root, &mut self.problems);
        repair_export(file, &mut root, &mut self.problems);
        let read = if file.whole { decode::<Dataset>(file, &mut root, &mut self.problems) } else { None };
        let Some(dataset) = read else {
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

    fn service(&mut self, file: &'a File<'a>) {
        let mut root = file.root.clone();
        if !file.whole {
            return;
        }
        let (lines, lines_lost) = take_lines(file, &mut root, &mut self.problems);
        let Some(service) = decode::<Service>(file, &mut root, &mut self.problems) else { return };
        self.claim_code(file, &service.code, "service");
        self.services.push(LoadedService { file, service, lines, lines_lost });
    }

    fn cross_check(&mut self) {
        let datasets = std::mem::take(&mut self.datasets);
        for LoadedDataset { file, dataset } in &datasets {
            self.check_name(file, &["holder"], ("holders", "holder"), &dataset.holder);
            self.check_name(file, &["category"], ("categories", "category"), &dataset.category);
            self.check_dataset(file, dataset);
        }
        for LoadedDataset { mut dataset, .. } in datasets {
            canonical_dataset(&mut dataset);
            self.catalog.datasets.entry(dataset.code.clone()).or_insert(dataset);
        }
        for loaded in std::mem::take(&mut self.services) {
            self.check_name(loaded.file, &["recipient"], ("recipients", "recipient"), &loaded.service.recipient);
            self.check_lines(&loaded);
            let LoadedService { mut service, lines, .. } = loaded;
            service.documents = lines.into_iter().map(|(_, line)| canonical_line(line, &self.catalog)).collect();
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

    fn check_items(&mut self, file: &File<'_>, place: &[&str], dataset: &Dataset, names: &[String]) {
        for name in names.iter().filter(|name| dataset.item(name).is_none()) {
            let hint = suggestion(name, item_names(dataset));
            let message = format!("unknown item `{name}` of dataset `{}`", dataset.code);
            self.report(file, file.line(place, name), message, hint);
        }
    }

    fn check_export(&mut self, file: &File<'_>, dataset: &Dataset, export: &Export) {
        let mut wrong = |place: &str, value: &str, message: String| {
            let line = file.line(&["export", place], value);
            self.problems.push(file.problem(line, message));
        };
        if export.format == Format::FixedWidth && export.layout.is_empty() {
            wrong("format", "fixed_width", "fixed_width needs `layout`".into());
        }
        if export.format == Format::Csv && !export.header && export.order.is_empty() {
            wrong("format", "csv", "csv without header needs `order`".into());
        }
        for (place, character) in [("delimiter", export.delimiter), ("list_separator", export.list_separator)] {
            if !character.is_ascii() {
                wrong(place, &character.to_string(), format!("{place} `{character}` is not ASCII"));
            }
        }
        if !is_below(&export.path) {
            let message = format!("path `{}` is not below the exports folder", export.path);
            wrong("path", &export.path, message);
        }
        if !(0.0..=1.0).contains(&export.max_reject_ratio) {
            wrong("max_reject_ratio", "max_reject_ratio", "max_reject_ratio is not between 0 and 1".into());
        }
        self.check_export_columns(file, dataset, export);
    }

    fn check_export_columns(&mut self, file: &File<'_>, dataset: &Dataset, export: &Export) {
        let keys = || {
            let mapped = dataset.maps.iter().map(|mapping| mapping.to.as_str());
            dataset.keys().map(|key| key.item.as_str()).chain(mapped)
        };
        let targets: BTreeSet<&str> = item_names(dataset).chain(keys()).collect();
        let named: BTreeSet<&str> = targets.iter().copied().chain(export.columns.keys().map(String::as_str)).collect();
        let columns = export.columns.values().map(|name| ("columns", name));
        let order = export.order.iter().map(|name| ("order", name));
        let layout = export.layout.iter().map(|field| ("layout", &field.item));
        for (place, name) in columns.chain(order).chain(layout) {
            let known = if place == "columns" { &targets } else { &named };
            if !known.contains(name.as_str()) {
                let hint = suggestion(name, known.iter().copied());
                let line = file.line(&["export", place], name);
                self.report(file, line, format!("unknown column `{name}` in {place}"), hint);
            }
        }
        for field in export.layout.iter().filter(|field| field.bytes == 0) {
            let line = file.line(&["export", "layout"], &field.item);
            self.report(file, line, format!("layout field `{}` has no width", field.item), None);
        }
    }

    fn check_lines(&mut self, loaded: &LoadedService<'_>) {
        let file = loaded.file;
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
        if line.items.is_some() && line.view.is_some() {
            let at = file.line(&place, "view");
            self.report(file, at, "a document line has `items` or `view`, not both", None);
        }
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

    fn finish(mut self) -> Result<Catalog, Vec<Problem>> {
        if self.problems.is_empty() {
            return Ok(self.catalog);
        }
        self.problems.sort();
        self.problems.dedup();
        Err(self.problems)
    }
}

/// Item codes and standard abbreviations.
fn item_names(dataset: &Dataset) -> impl Iterator<Item = &str> {
    let aliases = dataset.items.values().filter_map(|item| item.std.as_deref());
    dataset.items.keys().map(String::as_str).chain(aliases)
}

/// Whether a glob stays below the folder it is applied to.
fn is_below(path: &str) -> bool {
    !path.is_empty()
        && !path.starts_with('/')
        && !path.contains(['\\', ':', '\0'])
        && path.split('/').all(|part| part != "..")
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
        return (Vec::new(), true);
    };
    let nodes = std::mem::replace(array, DeArray::new());
    let count = nodes.len();
    let read = |(number, mut node): (usize, Node<'_>)| Some((number, decode(file, &mut node, problems)?));
    let lines: Vec<_> = nodes.into_iter().enumerate().filter_map(read).collect();
    let lost = lines.len() != count;
    (lines, lost)
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
    if let Some(dataset) = catalog.datasets.get(&line.dataset) {
        canonical(line.items.as_deref_mut().unwrap_or_default(), dataset);
        canonical(&mut line.exclude, dataset);
    }
    line
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const HOLDERS: &str = "[holders.mofa]\nname_ko = \"외교부\"\ninstitution_code = \"9900004\"\n";
    const TYPES: &str = "[recipient_types.bank]\nname_ko = \"은행\"\nname_en = \"banks\"\n";
    const RECIPIENTS: &str = "[recipients.kb]\nname_ko = \"은행\"\nrecipient_type = \"bank\"\n";
    const CATEGORIES: &str = "[categories]\n\"1a\" = \"identity\"\n";
    const DATASET: &str = r#"code = "passport"
name_ko = "여권"
holder = "mofa"
category = "1a"
basis = "K"
key = { item = "rrno", space = "person" }
other_keys = [{ item = "pno", space = "passport" }]
maps = [{ from = "rrno", to = "pno", space = "passport" }]
record_order = ["issued"]

[items.name]
name_ko = "성명"
std = "FLNM"
type = "str"
sensitivity = "D"

[items.issued]
name_ko = "발급일자"
type = "date"
sensitivity = "G"

[items.stamps]
name_ko = "도장"
type = "str"
sensitivity = "G"
list = true

[views]
short = ["FLNM"]

[export]
format = "csv"
path = "mofa/passport_*.csv"
columns = { NAME = "name" }
order = ["rrno", "NAME", "issued"]
"#;
    const SERVICE: &str = r#"code = "loan"
name_ko = "대출"
recipient = "kb"
basis = "P"
purpose = "대출"
legal_basis = "법"
retention_days = 30

[[documents]]
dataset = "passport"
items = ["name"]
exclude = ["FLNM"]

[[documents]]
dataset = "passport"
view = "short"
fallback_of = "passport"
"#;
    const D: &str = "datasets/mofa/passport.toml";
    const S: &str = "services/loan.toml";

    /// The good catalog with `files` put over it.
    fn parse(files: &[(&str, &str)]) -> Result<Catalog, Vec<Problem>> {
        let good = [
            ("holders.toml", HOLDERS),
            ("recipient_types.toml", TYPES),
            ("recipients.toml", RECIPIENTS),
            ("categories.toml", CATEGORIES),
            (D, DATASET),
            (S, SERVICE),
        ];
        let all: BTreeMap<&str, &str> = good.into_iter().chain(files.iter().copied()).collect();
        let source = |(path, text): (&str, &str)| CatalogSource { path: path.to_owned(), text: text.to_owned() };
        Catalog::parse(&all.into_iter().map(source).collect::<Vec<_>>())
    }

    /// Each problem as `path:line: message`, with ` (hint)` where there is one.
    #[track_caller]
    fn check(files: &[(&str, &str)], expected: &[&str]) {
        let shown = |problem: &Problem| match &problem.hint {
            Some(hint) => format!("{problem} ({hint})"),
            None => problem.to_string(),
        };
        let found: Vec<String> = parse(files).err().unwrap_or_default().iter().map(shown).collect();
        assert_eq!(found, expected);
    }

    /// `text` with `old` replaced, which must be there.
    #[track_caller]
    fn with(text: &str, old: &str, new: &str) -> String {
        assert!(text.contains(old), "{old}");
        text.replacen(old, new, 1)
    }

    #[track_caller]
    fn dataset(old: &str, new: &str, expected: &[&str]) {
        check(&[(D, &with(DATASET, old, new))], expected);
    }

    #[track_caller]
    fn service(old: &str, new: &str, expected: &[&str]) {
        check(&[(S, &with(SERVICE, old, new))], expected);
    }

    #[test]
    fn a_good_catalog_names_items_by_code() {
        let lists = "[code_lists.sex]\nvalues = { 1 = \"남\", 2 = \"여\" }\n";
        let catalog = parse(&[("codelists.toml", lists), ("README.md", "no catalog file")]).unwrap();
        assert_eq!(catalog.datasets["passport"].views["short"], ["name"]);
        assert_eq!(catalog.services["loan"].documents[0].exclude, ["name"]);
        assert_eq!(catalog.services["loan"].documents.len(), 2);
        assert_eq!(catalog.code_lists["sex"].values["1"], "남");
    }

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
    fn institution_codes_are_seven_digits() {
        check(
            &[("holders.toml", &with(HOLDERS, "9900004", "990000x"))],
            &["holders.toml:3: institution_code `990000x` of holder `mofa` is not 7 digits"],
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
        dataset(item, "to = \"여권\"", &[&format!("{D}:8: key column `여권` is not a code ({hint})")]);
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
            &["services/loan.toml:16: a document line has `items` or `view`, not both"],
        );
        service(
            "items = [\"name\"]",
            "fallback_of = \"passport\"",
            &["services/loan.toml:11: fallback_of `passport`, which is no earlier document of the service"],
        );
    }

    #[test]
    fn an_export_can_be_read() {
        let one = |old: &str, new: &str, line: usize, message: &str| {
            dataset(old, new, &[&format!("{D}:{line}: {message}")]);
        };
        one("format = \"csv\"", "format = \"fixed_width\"", 32, "fixed_width needs `layout`");
        one("order = [\"rrno\", \"NAME\", \"issued\"]", "header = false", 32, "csv without header needs `order`");
        one("columns =", "delimiter = \"·\"\ncolumns =", 34, "delimiter `·` is not ASCII");
        one("columns =", "list_separator = \"·\"\ncolumns =", 34, "list_separator `·` is not ASCII");
        one("{ NAME = \"name\" }", "{ NAME = \"zz\" }", 34, "unknown column `zz` in columns");
        one("\"NAME\", ", "\"ZZ\", ", 35, "unknown column `ZZ` in order");
        let layout = "layout = [{ item = \"rrno\", bytes = 13 }, { item = \"zz\", bytes = 1 }]\norder =";
        one("order = [\"rrno\"", &format!("{layout} [\"rrno\""), 35, "unknown column `zz` in layout");
        for path in ["../x.csv", "/x.csv", "a/../x.csv", ""] {
            one("mofa/passport_*.csv", path, 33, &format!("path `{path}` is not below the exports folder"));
        }
        one("columns =", "max_reject_ratio = nan\ncolumns =", 34, "max_reject_ratio is not between 0 and 1");
    }

    #[test]
    fn every_problem_of_every_file_is_reported_in_order() {
        let text = with(&with(DATASET, "\"1a\"", "\"1b\""), "[\"FLNM\"]", "[\"x\", \"y\"]");
        let text = with(&text, "sensitivity = \"D\"", "sensitivity = \"Z\"");
        let files = [
            (S, with(&with(SERVICE, "\"kb\"", "\"zz\""), "view = \"short\"", "veiw = \"short\"")),
            (D, text),
            ("holders.toml", with(HOLDERS, "9900004", "1")),
        ];
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
        let problems = parse(&files).unwrap_err();
        let found: Vec<(&str, usize)> = problems.iter().map(|problem| (problem.path.as_str(), problem.line)).collect();
        assert_eq!(found, [(D, 4), (D, 15), (D, 29), (D, 29), ("holders.toml", 3), (S, 3), (S, 16)]);
    }

    #[test]
    fn the_sample_catalog_has_no_problem() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sample-data/catalog");
        let (mut folders, mut sources) = (vec![root.clone()], Vec::new());
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
                    sources.push(CatalogSource { path: name, text: std::fs::read_to_string(&path).unwrap() });
                }
            }
        }
        let catalog = Catalog::parse(&sources).unwrap();
        assert_eq!(catalog.datasets.len() + catalog.services.len() + 4, sources.len());
    }
}
