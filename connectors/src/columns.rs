//! Which column of a file is which item.

use std::collections::BTreeMap;

use arrow::datatypes::Schema;
use ieum_model::connector::ScanSpec;
use ieum_model::dataset::{Dataset, Export, ItemType};
use ieum_model::error::{Error, Result, nearest};

/// The item code that a holder's column name means: mapped by the export, an item's code or standard abbreviation,
/// else itself (a key that is no item).
pub fn code<'a>(dataset: &'a Dataset, export: &'a Export, name: &'a str) -> &'a str {
    match export.columns.get(name) {
        Some(code) => code,
        None => dataset.item(name).map_or(name, |(code, _)| code),
    }
}

/// The type of every item, and of every key whose space tells it: a key need not be an item.
pub(crate) fn types(dataset: &Dataset) -> BTreeMap<String, ItemType> {
    let key_types = dataset.keys().filter_map(|key| {
        let item_type = match key.space.as_str() {
            "person" => ItemType::Rrno,
            "business" => ItemType::Brno,
            "corporation" => ItemType::Crno,
            _ => return None,
        };
        Some((key.item.clone(), item_type))
    });
    key_types.chain(dataset.items.iter().map(|(code, item)| (code.clone(), item.item_type))).collect()
}

/// A column as its holder and the catalog name it.
pub(crate) fn named(columns: &BTreeMap<String, String>, code: &str) -> String {
    match columns.iter().find(|(_, mapped)| *mapped == code) {
        Some((name, _)) if name != code => format!("`{name}` (`{code}`)"),
        _ => format!("`{code}`"),
    }
}

/// Position in `names` of every column of `schema`.
///
/// # Errors
/// When a wanted column is missing or stands there twice.
pub fn locate(dataset: &Dataset, export: &Export, names: &[&str], schema: &Schema) -> Result<Vec<usize>> {
    let codes: Vec<&str> = names.iter().map(|name| code(dataset, export, name)).collect();
    let position = |wanted: &str| {
        let mut found = codes.iter().enumerate().filter(|(_, code)| **code == wanted).map(|(at, _)| at);
        match (found.next(), found.next()) {
            (Some(at), None) => Ok(at),
            (Some(_), Some(_)) => {
                Err(Error::contract(format!("column {} stands there twice", named(&export.columns, wanted)))
                    .hint("ask the holder to deliver it once, or map one of the two to another item in `columns`"))
            }
            (None, _) => {
                let error = Error::contract(format!("column {} is missing", named(&export.columns, wanted)));
                // Without a known name among them the names may be cells of a row: they are told by their places.
                let is_header = codes.iter().any(|code| dataset.items.contains_key(*code));
                let near = nearest(wanted, names.iter().chain(&codes).copied());
                let place = near
                    .and_then(|near| names.iter().zip(&codes).position(|(name, code)| *name == near || *code == near));
                Err(error.hint(match place {
                    Some(at) if is_header => {
                        format!("did the holder mean it by `{}`? Then map it in `columns`", names[at])
                    }
                    Some(at) => format!("did the holder mean it by column {}? Then map its name in `columns`", at + 1),
                    None => {
                        "if the holder renamed it, map its name in `columns`; else ask the holder to deliver it".into()
                    }
                }))
            }
        }
        .map_err(|error| error.at("dataset", &dataset.code).at("column", wanted))
    };
    schema.fields().iter().map(|field| position(field.name())).collect()
}

/// Position in the schema of the column that the probe of `spec` is asked about; `None` without a probe.
///
/// # Errors
/// When the schema lacks it, which is our bug.
pub fn key(spec: &ScanSpec) -> Result<Option<usize>> {
    let index = || {
        let at = spec.schema.index_of(&spec.key_column);
        at.map_err(|_| Error::internal("key column is not projected").at("column", &spec.key_column))
    };
    spec.probe.as_ref().map(|_| index()).transpose()
}
