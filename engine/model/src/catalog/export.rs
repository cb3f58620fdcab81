//! The rules of `[export]`: an export that is described can be read.

use std::collections::BTreeSet;

use crate::dataset::{Dataset, Export, Format};

use super::Load;
use super::parse::suggestion;
use super::references::item_names;
use super::source::File;

impl Load<'_> {
    pub(super) fn check_export(&mut self, file: &File<'_>, dataset: &Dataset, export: &Export) {
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
}

/// Whether a glob stays below the folder it is applied to.
fn is_below(path: &str) -> bool {
    !path.is_empty()
        && !path.starts_with('/')
        && !path.contains(['\\', ':', '\0'])
        && path.split('/').all(|part| part != "..")
}

#[cfg(test)]
mod tests {
    use super::super::fixture::*;

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
}
