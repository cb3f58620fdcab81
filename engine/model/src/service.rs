//! A bundle service (묶음정보): the documents that one administrative service needs.

use serde::Deserialize;

/// Who applies; decides conditional document lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Applicant {
    /// A natural person.
    Person,
    /// A corporation.
    Corporation,
}

/// Whether consent covers the bundle or each document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsentScope {
    /// One consent for the bundle.
    #[default]
    Bundle,
    /// The document's code must be among the consented documents; otherwise it goes on the paper list.
    PerDocument,
}

/// One document line of a service.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentLine {
    /// Dataset code.
    pub dataset: String,
    /// Items asked for; absent means the view, or the dataset's default minimum.
    #[serde(default)]
    pub items: Option<Vec<String>>,
    /// Named item list of the dataset.
    #[serde(default)]
    pub view: Option<String>,
    /// Level of the catalog whose items of the dataset are asked for.
    #[serde(default)]
    pub level: Option<String>,
    /// Items taken out of whatever the line would ask for.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// The line applies to this kind of applicant only.
    #[serde(default)]
    pub when: Option<Applicant>,
    /// The line is wanted only if that document was not found.
    #[serde(default)]
    pub fallback_of: Option<String>,
    /// Whether consent covers the bundle or this document.
    #[serde(default)]
    pub consent: ConsentScope,
    /// Why third-person items (class `T`) may be delivered; without it they are refused with R03.
    #[serde(default)]
    pub third_person_reason: Option<String>,
}

/// A service and its document lines.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Code, unique in the catalog.
    pub code: String,
    /// Korean name.
    pub name_ko: String,
    /// Code of the recipient.
    pub recipient: String,
    /// `L`: the statute's clause names the documents; `P`: the service was named in the press; `K`: its list of documents is
    /// general knowledge.
    pub basis: String,
    /// The source behind `basis`.
    #[serde(default)]
    pub basis_note: Option<String>,
    /// Purpose of use.
    pub purpose: String,
    /// Legal basis.
    pub legal_basis: String,
    /// Days the recipient may keep the data.
    pub retention_days: u32,
    /// Levels of the catalog whose documents the service asks for, after its own lines.
    #[serde(default)]
    pub levels: Vec<String>,
    /// The document lines, in the order of the bundle.
    #[serde(default)]
    pub documents: Vec<DocumentLine>,
}
