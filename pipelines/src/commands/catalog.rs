//! `ieum catalog`: looks into a catalog.

use std::fmt::Write as _;

use ieum_model::catalog::Catalog;
use ieum_model::dataset::Dataset;
use ieum_model::error::{Error, Result, nearest};
use ieum_model::service::Service;
use serde_json::json;

use super::DONE;
use crate::cli::CatalogCommand;
use crate::load::{catalog_sources, parse_catalog};
use crate::screen::{Screen, grouped, table};

/// Does what the verb says.
///
/// # Errors
/// With every problem of the catalog, or if a code is unknown.
pub fn catalog(command: &CatalogCommand, screen: &Screen) -> Result<u8> {
    let (CatalogCommand::Check { dir } | CatalogCommand::Show { dir, .. }) = command;
    let catalog = parse_catalog(&catalog_sources(dir)?).map_err(|error| error.at("catalog", dir.display()))?;
    let text = match command {
        CatalogCommand::Check { .. } => counts(&catalog),
        CatalogCommand::Show { code, .. } => show(&catalog, code)?,
    };
    screen.result(&text, &json!(text));
    Ok(DONE)
}

fn counts(catalog: &Catalog) -> String {
    let exported = catalog.datasets.values().filter(|dataset| dataset.export.is_some()).count();
    let count = |number: usize| grouped(number as u64);
    table(&[
        ("holders", count(catalog.holders.len())),
        ("recipients", count(catalog.recipients.len())),
        ("datasets", count(catalog.datasets.len())),
        ("  with an export", count(exported)),
        ("services", count(catalog.services.len())),
        ("problems", count(0)),
    ])
}

fn show(catalog: &Catalog, code: &str) -> Result<String> {
    match (catalog.datasets.get(code), catalog.services.get(code)) {
        (Some(dataset), _) => Ok(dataset_text(dataset)),
        (None, Some(service)) => Ok(service_text(service)),
        (None, None) => {
            let known = catalog.datasets.keys().chain(catalog.services.keys());
            let error = Error::config(format!("the catalog has no dataset or service `{code}`"));
            Err(match nearest(code, known.map(String::as_str)) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error,
            })
        }
    }
}

fn dataset_text(dataset: &Dataset) -> String {
    let export = dataset.export.as_ref();
    let mut text = table(&[
        ("dataset", dataset.code.clone()),
        ("name", dataset.name_ko.clone()),
        ("holder", dataset.holder.clone()),
        ("key", format!("{} ({})", dataset.key.item, dataset.key.space)),
        ("export", export.map_or_else(|| "none".to_owned(), |export| format!("{} {}", export.format, export.path))),
    ]);
    // Writing to a String cannot fail.
    for map in &dataset.maps {
        let _ = writeln!(text, "maps     {} to {} ({})", map.from, map.to, map.space);
    }
    let width = dataset.items.keys().map(String::len).max().unwrap_or(0);
    for (code, item) in &dataset.items {
        let mark = if item.default { '*' } else { ' ' };
        let list = if item.list { "[]" } else { "" };
        let kind = format!("{:?}{list}", item.item_type).to_lowercase();
        let _ = writeln!(text, "{mark} {code:<width$}  {kind:<6}  {:?}  {}", item.sensitivity, item.name_ko);
    }
    for (view, items) in &dataset.views {
        let _ = writeln!(text, "view {view}: {}", items.join(", "));
    }
    text.push_str("* in the default minimum\n");
    text
}

fn service_text(service: &Service) -> String {
    let mut text = table(&[
        ("service", service.code.clone()),
        ("name", service.name_ko.clone()),
        ("recipient", service.recipient.clone()),
        ("purpose", service.purpose.clone()),
        ("legal basis", service.legal_basis.clone()),
        ("retention", format!("{} days", service.retention_days)),
    ]);
    for line in &service.documents {
        let wanted = match (&line.items, &line.view) {
            (Some(items), _) => items.join(", "),
            (None, Some(view)) => format!("view {view}"),
            (None, None) => "default minimum".to_owned(),
        };
        let _ = writeln!(text, "- {}: {wanted}", line.dataset);
    }
    text
}
