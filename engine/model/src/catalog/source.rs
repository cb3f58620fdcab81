//! Where in the text of a catalog file something stands.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{CatalogSource, Problem};

pub(super) type Node<'a> = Spanned<DeValue<'a>>;

/// A parsed file; `root` keeps the spans.
pub(super) struct File<'a> {
    pub(super) path: &'a str,
    pub(super) text: &'a str,
    pub(super) root: Node<'a>,
    /// False if the syntax is broken, so that names may be missing from `root`.
    pub(super) whole: bool,
}

impl<'a> File<'a> {
    fn read(source: &'a CatalogSource) -> (Self, Vec<Problem>) {
        let mut problems = Vec::new();
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        let root = Spanned::new(table.span(), DeValue::Table(table.into_inner()));
        let file = Self { path: &source.path, text: &source.text, root, whole: errors.is_empty() };
        // Whoever read the file put this for bytes that are no text.
        if let Some(at) = source.text.find('\u{fffd}') {
            problems.push(file.problem(file.line_at(at), "the file is not UTF-8"));
        }
        let mut lines = BTreeSet::new();
        for error in &errors {
            let line = file.line_at(error.span().map_or(0, |span| span.start));
            if lines.insert(line) {
                problems.push(file.problem(line, error.message()));
            }
        }
        (file, problems)
    }

    /// Name without folder and `.toml`.
    pub(super) fn stem(&self) -> &'a str {
        let name = self.path.rsplit('/').next().unwrap_or(self.path);
        name.strip_suffix(".toml").unwrap_or(name)
    }

    pub(super) fn problem(&self, line: usize, message: impl Into<String>) -> Problem {
        Problem { path: self.path.to_owned(), line, message: message.into(), hint: None }
    }

    /// The line, from 1, of a byte offset.
    pub(super) fn line_at(&self, offset: usize) -> usize {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    /// The line of the key or string `wanted` below `place`; else of the first `"wanted"`, else of `place`, else 1.
    pub(super) fn line(&self, place: &[&str], wanted: &str) -> usize {
        let node = place.iter().try_fold(&self.root, |node, step| child(node, step));
        let offset = node
            .and_then(|node| offset_of(node, wanted))
            .or_else(|| self.text.find(&format!("\"{wanted}\"")))
            .or_else(|| place.split_last().and_then(|(last, _)| offset_of(&self.root, last)));
        self.line_at(offset.unwrap_or(0))
    }
}

/// The entry `step` of a table, or number `step` of an array.
pub(super) fn child<'n, 'a>(node: &'n Node<'a>, step: &str) -> Option<&'n Node<'a>> {
    match node.get_ref() {
        DeValue::Table(table) => table.get(step),
        DeValue::Array(array) => array.get(step.parse::<usize>().ok()?),
        _ => None,
    }
}

pub(super) fn entry_mut<'n, 'a>(node: &'n mut Node<'a>, key: &str) -> Option<&'n mut Node<'a>> {
    match node.get_mut() {
        DeValue::Table(table) => table.get_mut(key),
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

pub(super) fn read_files<'a>(sources: &'a [CatalogSource], problems: &mut Vec<Problem>) -> BTreeMap<&'a str, File<'a>> {
    let mut paths = BTreeSet::new();
    let mut once = Vec::with_capacity(sources.len());
    for source in sources.iter().filter(|source| source.path.ends_with(".toml")) {
        if paths.insert(source.path.as_str()) {
            once.push(source);
        } else {
            let message = "the file is given twice".to_owned();
            problems.push(Problem { path: source.path.clone(), line: 1, message, hint: None });
        }
    }
    let read: Vec<(File<'_>, Vec<Problem>)> = once.into_par_iter().map(File::read).collect();
    let mut take = |(file, found): (File<'a>, Vec<Problem>)| {
        problems.extend(found);
        (file.path, file)
    };
    read.into_iter().map(&mut take).collect()
}
