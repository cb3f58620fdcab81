//! The rules of `[export]`: an export that is described can be read.

use std::collections::BTreeSet;

use crate::dataset::{Dataset, Export, FieldKind, Format, LayoutField, Sheet, TrailerRule, is_separator};

use super::Load;
use super::parse::suggestion;
use super::references::item_names;
use super::source::File;

/// Stands for the date of an export in its path.
const DATE: &str = "{date}";
const SOME_DATE: &str = "20260101";

impl Load<'_> {
    pub(super) fn check_export(&mut self, file: &File<'_>, dataset: &Dataset, export: &Export) {
        if export.format == Format::FixedWidth && export.layout.is_empty() {
            self.wrong(file, "format", "fixed_width", "fixed_width needs `layout`", None);
        }
        if matches!(export.format, Format::Csv | Format::Xlsx) && !export.header && export.order.is_empty() {
            let message = format!("{} without header needs `order`", export.format);
            self.wrong(file, "format", &export.format.to_string(), message, None);
        }
        self.check_records(file, export);
        self.check_sheet(file, export);
        self.check_deltas(file, dataset, export);
        for (place, character) in [("delimiter", export.delimiter), ("list_separator", export.list_separator)] {
            if !is_separator(character) {
                let message = format!("{place} `{}` is no separator", character.escape_debug());
                let hint = "one ASCII character, no letter, digit, quote or line end";
                self.wrong(file, place, &character.to_string(), message, Some(hint));
            }
        }
        self.check_trailer(file, export);
        self.check_of_format(file, export);
        self.check_path(file, dataset, export);
        if !(0.0..=1.0).contains(&export.max_reject_ratio) {
            let message = "max_reject_ratio is not between 0 and 1";
            self.wrong(file, "max_reject_ratio", "max_reject_ratio", message, None);
        }
        if !(0.0..=1.0).contains(&export.max_shrink) {
            self.wrong(file, "max_shrink", "max_shrink", "max_shrink is not between 0 and 1", None);
        }
        if let Some(marker) = export.control.marker.as_ref().filter(|marker| !is_ending(marker)) {
            let hint = "an ending such as `.fin`";
            self.wrong(file, "control", marker, format!("marker `{marker}` is no ending of a file"), Some(hint));
        }
        self.check_export_columns(file, dataset, export);
    }

    /// What only bare records can be, and what they must have.
    fn check_records(&mut self, file: &File<'_>, export: &Export) {
        let is_records = export.format == Format::Records;
        if is_records && export.layout.is_empty() {
            let hint = "`ieum source copybook FILE` makes it of a COBOL copybook";
            self.wrong(file, "format", "records", "records need `layout`", Some(hint));
        }
        if export.encoding.is_ebcdic() && !is_records {
            let message = "only `records` can be EBCDIC";
            self.wrong(
                file,
                "encoding",
                "encoding",
                message,
                Some("write `format = \"records\"`, or another encoding"),
            );
        }
        for field in &export.layout {
            let is_plain = field.at.is_none() && field.kind == FieldKind::Text && field.scale == 0 && !field.signed;
            let message = match field.kind {
                _ if !is_records && !is_plain => "has `at`, `kind`, `scale` or `signed`, which only `records` have",
                _ if field.at == Some(0) => "begins at byte 0: the first byte is 1",
                FieldKind::Binary if field.bytes > 8 => "is binary and longer than 8 bytes",
                FieldKind::Packed if field.bytes > 16 => "is packed and longer than 16 bytes",
                FieldKind::Text if field.scale > 0 => "is text, which has no `scale`",
                _ if field.scale > 31 => "has more than 31 digits after the point",
                _ => continue,
            };
            let line = file.line(&["export", "layout"], &field.item);
            self.report(file, line, format!("layout field `{}` {message}", field.item), None);
        }
        let needed = |next: usize, field: &LayoutField| field.at.map_or(next, |at| at.max(1) - 1) + field.bytes;
        let (mut next, mut end) = (0, 0);
        for field in &export.layout {
            next = needed(next, field);
            end = end.max(next);
        }
        if let Some(bytes) = export.record_bytes.filter(|bytes| *bytes < end) {
            let message = format!("record_bytes is {bytes}, the layout needs {end}");
            self.wrong(file, "record_bytes", "record_bytes", message, None);
        }
        if !is_records && (export.framing.is_some() || export.record_bytes.is_some()) {
            let place = if export.framing.is_some() { "framing" } else { "record_bytes" };
            self.wrong(file, place, place, format!("only `records` have {place}"), None);
        }
    }

    /// Changes are merged by columns that the export has.
    fn check_deltas(&mut self, file: &File<'_>, dataset: &Dataset, export: &Export) {
        let Some(deltas) = &export.deltas else { return };
        match (export.format, &deltas.change) {
            (Format::Csv, None) => {
                let hint = "write `change = \"…\"`, the column that holds I, U or D";
                self.wrong(
                    file,
                    "deltas",
                    "deltas",
                    "deltas of csv do not say which column tells what a change does",
                    Some(hint),
                );
            }
            (Format::Csv | Format::FixedWidth, _) => {}
            _ => self.wrong(file, "deltas", "deltas", "only csv and fixed_width have deltas", None),
        }
        if !is_below(&deltas.path) {
            let message = format!("path `{}` is not below the exports folder", deltas.path);
            self.wrong(file, "deltas", &deltas.path, message, None);
        } else if let Err(error) = glob::Pattern::new(&deltas.path.replace(DATE, SOME_DATE)) {
            self.wrong(
                file,
                "deltas",
                &deltas.path,
                format!("path `{}` is no pattern: {}", deltas.path, error.msg),
                None,
            );
        }
        if deltas.key.is_empty() {
            self.wrong(file, "deltas", "key", "deltas need a key: the columns that tell one record from another", None);
        }
        let mapped = dataset.maps.iter().map(|mapping| mapping.to.as_str());
        let keys = dataset.keys().map(|key| key.item.as_str()).chain(mapped);
        let known: BTreeSet<&str> = item_names(dataset).chain(keys).collect();
        for column in deltas.key.iter().filter(|column| !known.contains(column.as_str())) {
            let hint = suggestion(column, known.iter().copied());
            let line = file.line(&["export", "deltas"], column);
            self.report(file, line, format!("unknown column `{column}` in deltas.key"), hint);
        }
    }

    /// Where the table of a workbook stands.
    fn check_sheet(&mut self, file: &File<'_>, export: &Export) {
        let sheet = &export.sheet;
        if export.format != Format::Xlsx {
            if *sheet != Sheet::default() {
                self.wrong(file, "sheet", "sheet", "only xlsx has `sheet`", None);
            }
            return;
        }
        if sheet.header_row == 0 || sheet.header_rows == 0 {
            self.wrong(file, "sheet", "header_row", "rows of a header are counted from 1", None);
        }
        if let Some(error) = sheet.name.as_deref().and_then(|name| glob::Pattern::new(name).err()) {
            self.wrong(file, "sheet", "name", format!("sheet name is no pattern: {}", error.msg), None);
        }
    }

    pub(super) fn wrong(
        &mut self,
        file: &File<'_>,
        place: &str,
        value: &str,
        message: impl Into<String>,
        hint: Option<&str>,
    ) {
        self.report(file, file.line(&["export", place], value), message, hint.map(str::to_owned));
    }

    fn check_trailer(&mut self, file: &File<'_>, export: &Export) {
        match (export.format, export.control.trailer) {
            (Format::Csv, Some(TrailerRule::CountAndSums)) => {
                let message = "a csv trailer carries a count, no sums";
                self.wrong(file, "control", "count_and_sums", message, Some("write `trailer = \"count\"`"));
            }
            (Format::Xlsx | Format::Records, Some(_)) => {
                let message = format!(
                    "{} have no trailer",
                    if export.format == Format::Xlsx { "workbooks" } else { "bare records" }
                );
                let hint = "take it out, or let the holder write a `.sha256` (`manifest = \"sha256\"`)";
                self.wrong(file, "control", "trailer", message, Some(hint));
            }
            (Format::Arrow, Some(_)) => {
                self.wrong(file, "control", "trailer", "an arrow file has no trailer", Some("take it out"));
            }
            (Format::Parquet, Some(_)) => {
                let hint = "take it out: the file itself tells how many rows it has";
                self.wrong(file, "control", "trailer", "a parquet file has no trailer", Some(hint));
            }
            _ => {}
        }
    }

    fn check_path(&mut self, file: &File<'_>, dataset: &Dataset, export: &Export) {
        let path = &export.path;
        if !is_below(path) {
            self.wrong(file, "path", path, format!("path `{path}` is not below the exports folder"), None);
        } else if let Err(error) = glob::Pattern::new(&path.replace(DATE, SOME_DATE)) {
            self.wrong(file, "path", path, format!("path `{path}` is no pattern: {}", error.msg), None);
        }
        if dataset.validity_days.is_some() && export.format != Format::FixedWidth && !path.contains(DATE) {
            let hint = "write `{date}` where the file's name has it as YYYYMMDD, or take validity_days out";
            let message = "validity_days needs the date of the export, which path does not carry";
            self.report(file, file.line(&[], "validity_days"), message, Some(hint.into()));
        }
    }

    /// Every key is among the columns that the export lists, if it lists any.
    fn check_listed(&mut self, file: &File<'_>, place: &str, listed: &BTreeSet<&str>, keys: &BTreeSet<&str>) {
        for key in keys.iter().filter(|key| !listed.is_empty() && !listed.contains(*key)) {
            self.wrong(file, place, place, format!("{place} lacks the key column `{key}`"), None);
        }
    }

    fn check_export_columns(&mut self, file: &File<'_>, dataset: &Dataset, export: &Export) {
        let keys = || {
            let mapped = dataset.maps.iter().map(|mapping| mapping.to.as_str());
            dataset.keys().map(|key| key.item.as_str()).chain(mapped)
        };
        let targets: BTreeSet<&str> = item_names(dataset).chain(keys()).collect();
        let named: BTreeSet<&str> = targets.iter().copied().chain(export.columns.keys().map(String::as_str)).collect();
        let columns = export.columns.values().map(|name| ("columns", name));
        // A column without a name is nobody's.
        let order = export.order.iter().filter(|name| !name.is_empty()).map(|name| ("order", name));
        let layout = export.layout.iter().map(|field| ("layout", &field.item));
        for (place, name) in columns.chain(order).chain(layout) {
            let known = if place == "columns" { &targets } else { &named };
            if !known.contains(name.as_str()) {
                let hint = suggestion(name, known.iter().copied());
                let line = file.line(&["export", place], name);
                self.report(file, line, format!("unknown column `{name}` in {place}"), hint);
            }
        }
        let keys: BTreeSet<&str> = keys().collect();
        let order = export.order.iter().map(|name| meaning(dataset, export, name)).collect();
        let layout = export.layout.iter().map(|field| meaning(dataset, export, &field.item)).collect();
        self.check_listed(file, "order", &order, &keys);
        self.check_listed(file, "layout", &layout, &keys);
        if let Some(column) = &export.sheet.name_column
            && !named.contains(column.as_str())
        {
            let hint = suggestion(column, named.iter().copied());
            let line = file.line(&["export", "sheet"], column);
            self.report(file, line, format!("unknown column `{column}` in sheet.name_column"), hint);
        }
        for field in export.layout.iter().filter(|field| field.bytes == 0) {
            let line = file.line(&["export", "layout"], &field.item);
            self.report(file, line, format!("layout field `{}` has no width", field.item), None);
        }
    }
}

/// The item code that a column's name means.
fn meaning<'a>(dataset: &'a Dataset, export: &'a Export, name: &'a str) -> &'a str {
    let name = export.columns.get(name).map_or(name, String::as_str);
    dataset.item(name).map_or(name, |(code, _)| code)
}

/// Whether a text is the ending of a file's name, its point before it.
fn is_ending(text: &str) -> bool {
    let rest = text.strip_prefix('.');
    rest.is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_alphanumeric() || "._-".contains(c)))
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
        one(
            "order = [\"rrno\", \"NAME\", \"issued\", \"pno\"]",
            "header = false",
            32,
            "csv without header needs `order`",
        );
        let separator = "(one ASCII character, no letter, digit, quote or line end)";
        for (wrong, shown) in [("·", "·"), ("a", "a"), ("\\\"", "\\\""), ("1", "1"), ("\\n", "\\n")] {
            for place in ["delimiter", "list_separator"] {
                let message = format!("{place} `{shown}` is no separator {separator}");
                one("columns =", &format!("{place} = \"{wrong}\"\ncolumns ="), 34, &message);
            }
        }
        one("{ NAME = \"name\" }", "{ NAME = \"zz\" }", 34, "unknown column `zz` in columns");
        one("\"NAME\", ", "\"ZZ\", ", 35, "unknown column `ZZ` in order");
        let layout = "layout = [{ item = \"rrno\", bytes = 13 }, { item = \"pno\", bytes = 9 }]\norder =";
        let unknown = layout.replace("\norder", "\nX").replace(" }]\nX", " }, { item = \"zz\", bytes = 1 }]\norder");
        one("order = [\"rrno\"", &format!("{unknown} [\"rrno\""), 35, "unknown column `zz` in layout");
        one("order = [\"rrno\"", &format!("{layout} [\"NAME\""), 36, "order lacks the key column `rrno`");
        let layout = layout.replace("\"pno\"", "\"name\"");
        one("order = [\"rrno\"", &format!("{layout} [\"rrno\""), 35, "layout lacks the key column `pno`");
        for path in ["../x.csv", "/x.csv", "a/../x.csv", ""] {
            one("mofa/passport_*.csv", path, 33, &format!("path `{path}` is not below the exports folder"));
        }
        one("passport_*.csv", "[.csv", 33, "path `mofa/[.csv` is no pattern: invalid range pattern");
        let stars = "path `mofa/***` is no pattern: wildcards are either regular `*` or recursive `**`";
        one("passport_*.csv", "***", 33, stars);
        let sums = "a csv trailer carries a count, no sums (write `trailer = \"count\"`)";
        one("columns =", "control = { trailer = \"count_and_sums\" }\ncolumns =", 34, sums);
        let trailer = "a parquet file has no trailer (take it out: the file itself tells how many rows it has)";
        let deltas = |deltas: &str, message: &str| {
            one("columns =", &format!("deltas = {{ path = \"d/*\", {deltas} }}\ncolumns ="), 34, message);
        };
        let change = "(write `change = \"…\"`, the column that holds I, U or D)";
        deltas("key = [\"pno\"]", &format!("deltas of csv do not say which column tells what a change does {change}"));
        deltas("change = \"k\", key = []", "deltas need a key: the columns that tell one record from another");
        deltas("change = \"k\", key = [\"pn\"]", "unknown column `pn` in deltas.key (did you mean `pno`?)");
        let ending = "marker `fin` is no ending of a file (an ending such as `.fin`)";
        one("columns =", "control = { marker = \"fin\" }\ncolumns =", 34, ending);
        one("columns =", "max_shrink = 2.0\ncolumns =", 34, "max_shrink is not between 0 and 1");
        one("format = \"csv\"", "format = \"parquet\"\ncontrol = { trailer = \"count\" }", 33, trailer);
        let records = |export: &str, line: usize, message: &str| {
            one("format = \"csv\"", &format!("format = \"records\"\n{export}"), line, message);
        };
        let hint = "(`ieum source copybook FILE` makes it of a COBOL copybook)";
        records("framing = \"fixed\"", 32, &format!("records need `layout` {hint}"));
        let field =
            |more: &str| format!("layout = [{{ item = \"rrno\", bytes = 13 }}, {{ item = \"pno\", bytes = 9{more} }}]");
        records(&field(", at = 0"), 33, "layout field `pno` begins at byte 0: the first byte is 1");
        records(&field(", kind = \"binary\""), 33, "layout field `pno` is binary and longer than 8 bytes");
        records(&field(", scale = 2"), 33, "layout field `pno` is text, which has no `scale`");
        let short = format!("record_bytes = 20\n{}", field(""));
        records(&short, 33, "record_bytes is 20, the layout needs 22");
        let only = "(write `format = \"records\"`, or another encoding)";
        one("columns =", "encoding = \"cp933\"\ncolumns =", 34, &format!("only `records` can be EBCDIC {only}"));
        one("columns =", "framing = \"rdw\"\ncolumns =", 34, "only `records` have framing");
        one("columns =", "sheet = { header_row = 2 }\ncolumns =", 34, "only xlsx has `sheet`");
        let sheet = |sheet: &str, message: &str| {
            one("format = \"csv\"", &format!("format = \"xlsx\"\nsheet = {{ {sheet} }}"), 33, message);
        };
        sheet("header_row = 0", "rows of a header are counted from 1");
        sheet("name = \"[\"", "sheet name is no pattern: invalid range pattern");
        let days = "validity_days = 30\nrecord_order =";
        let undated = "validity_days needs the date of the export, which path does not carry (write `{date}` where the \
                       file's name has it as YYYYMMDD, or take validity_days out)";
        one("record_order =", days, 9, undated);
        let dated = with(&with(DATASET, "record_order =", days), "passport_*", "passport_{date}_*");
        check(&[(D, &dated)], &[]);
        let headed = with(&with(DATASET, "record_order =", days), "format = \"csv\"", "format = \"fixed_width\"");
        check(&[(D, &headed)], &[&format!("{D}:33: fixed_width needs `layout`")]);
        one("columns =", "max_reject_ratio = nan\ncolumns =", 34, "max_reject_ratio is not between 0 and 1");
    }
}
