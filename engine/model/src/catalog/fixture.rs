//! A small good catalog, and what its tests find after a change.

use std::collections::BTreeMap;

use super::{Catalog, CatalogSource, Problem};

pub(super) const HOLDERS: &str = "[holders.mofa]\nname_ko = \"외교부\"\ninstitution_code = \"9900004\"\n";
const TYPES: &str = "[recipient_types.bank]\nname_ko = \"은행\"\nname_en = \"banks\"\n";
pub(super) const RECIPIENTS: &str = "[recipients.kb]\nname_ko = \"은행\"\nrecipient_type = \"bank\"\n";
const CATEGORIES: &str = "[categories]\n\"1a\" = \"identity\"\n";
pub(super) const DATASET: &str = r#"code = "passport"
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
order = ["rrno", "NAME", "issued", "pno"]
"#;
pub(super) const SERVICE: &str = r#"code = "loan"
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
pub(super) const D: &str = "datasets/mofa/passport.toml";
pub(super) const S: &str = "services/loan.toml";

/// The good catalog with `files` put over it.
pub(super) fn parse(files: &[(&str, &str)]) -> Result<Catalog, Vec<Problem>> {
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
pub(super) fn check(files: &[(&str, &str)], expected: &[&str]) {
    let shown = |problem: &Problem| match &problem.hint {
        Some(hint) => format!("{problem} ({hint})"),
        None => problem.to_string(),
    };
    let found: Vec<String> = parse(files).err().unwrap_or_default().iter().map(shown).collect();
    assert_eq!(found, expected);
}

/// `text` with `old` replaced, which must be there.
#[track_caller]
pub(super) fn with(text: &str, old: &str, new: &str) -> String {
    assert!(text.contains(old), "{old}");
    text.replacen(old, new, 1)
}

#[track_caller]
pub(super) fn dataset(old: &str, new: &str, expected: &[&str]) {
    check(&[(D, &with(DATASET, old, new))], expected);
}

#[track_caller]
pub(super) fn service(old: &str, new: &str, expected: &[&str]) {
    check(&[(S, &with(SERVICE, old, new))], expected);
}
