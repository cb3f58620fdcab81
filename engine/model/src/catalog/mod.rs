//! The catalog: every dataset, service and code of an installation, parsed and cross-checked as a whole.
//!
//! ```text
//!  text ─► TOML tree (spans) ─► typed entries ─► references ─► Catalog
//!              └────────────────────┴───────────────┴──────► every Problem, by path and line
//! ```
//!
//! A part that cannot be read is reported once and still counts as known, so that it causes no further problems.

mod export;
#[cfg(test)]
mod fixture;
mod parse;
mod references;
mod source;

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use crate::dataset::Dataset;
use crate::service::{DocumentLine, Service};

use references::Names;
use source::{File, read_files};

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

    fn finish(mut self) -> Result<Catalog, Vec<Problem>> {
        if self.problems.is_empty() {
            return Ok(self.catalog);
        }
        self.problems.sort();
        self.problems.dedup();
        Err(self.problems)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::fixture::*;
    use super::*;

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
        assert_eq!(catalog.datasets.len() + catalog.services.len() + 5, sources.len());
        // The 124 documents and 45 services of the field, and the register of changed numbers.
        assert_eq!((catalog.datasets.len(), catalog.services.len()), (125, 45));
        let documents = catalog.datasets.values().filter(|dataset| dataset.code != "resident_number_change");
        assert_eq!(documents.map(|dataset| dataset.items.len()).sum::<usize>(), 1170);
    }
}
