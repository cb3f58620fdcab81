//! The rules of `[export]` that hold for some formats only: what is declared fits the format that is declared.

use crate::dataset::{Export, Format, Repair, is_separator};
use crate::path::Paths;

use super::Load;
use super::source::File;

impl Load<'_> {
    pub(super) fn check_of_format(&mut self, file: &File<'_>, export: &Export) {
        self.check_cells(file, export);
        self.check_rows(file, export);
        self.check_repair(file, export);
        if let Some(pattern) = &export.entries
            && let Err(error) = glob::Pattern::new(pattern)
        {
            let message = format!("entries `{pattern}` is no pattern: {}", error.msg);
            self.wrong(file, "entries", pattern, message, None);
        }
        if export.encoding.is_utf16() && export.format == Format::FixedWidth {
            let message = "the fields of fixed_width are counted in bytes, which utf-16 has not";
            self.wrong(file, "encoding", "utf", message, None);
        }
        let limits = [export.limits.row_mib, export.limits.expansion, export.limits.depth, export.limits.entries];
        if limits.contains(&0) || export.limits.row_mib > 1024 {
            let hint = "each is at least 1, and row_mib at most 1024";
            self.wrong(file, "limits", "limits", "a limit is out of range", Some(hint));
        }
        if let Some(separator) = separator(export.format) {
            for column in export.columns.keys() {
                if let Err(error) = Paths::parse(column, separator) {
                    self.wrong(file, "columns", column, format!("column `{column}` is no path: {error}"), None);
                }
            }
        }
    }

    fn check_cells(&mut self, file: &File<'_>, export: &Export) {
        let only_csv = [("escape", export.escape.is_some()), ("null", export.null.is_some()), ("quote", !export.quote)];
        for (place, _) in only_csv.iter().filter(|(_, declared)| *declared && export.format != Format::Csv) {
            self.wrong(file, place, place, format!("`{place}` is for csv only"), None);
        }
        if let Some(escape) = export.escape {
            if !is_separator(escape) || escape == export.delimiter {
                let hint = "one ASCII character, no letter, digit, quote or line end, and not the delimiter";
                let message = format!("escape `{}` cannot be one", escape.escape_debug());
                self.wrong(file, "escape", &escape.to_string(), message, Some(hint));
            }
            if export.quote {
                let hint = "write `quote = false`, or take `escape` out";
                self.wrong(file, "escape", "escape", "a csv has quotes or an escape, not both", Some(hint));
            }
        }
    }

    fn check_rows(&mut self, file: &File<'_>, export: &Export) {
        match (export.format, &export.rows) {
            (Format::Xml, None) => {
                let hint = "write the name of the element that is a row";
                self.wrong(file, "format", "xml", "xml needs `rows`", Some(hint));
            }
            (Format::Xml, Some(rows)) if rows.is_empty() || rows.contains(['<', '>', '/', ' ']) => {
                self.wrong(file, "rows", rows, format!("rows `{rows}` is no name of an element"), None);
            }
            (Format::Xml | Format::Json, _) | (_, None) => {}
            (_, Some(rows)) => self.wrong(file, "rows", rows, "`rows` is for json and xml only", None),
        }
        if separator(export.format).is_some() && export.control.trailer.is_some() {
            let hint = "take it out: such a file that is cut off is found out without one";
            self.wrong(file, "control", "trailer", format!("{} has no trailer", export.format), Some(hint));
        }
    }

    fn check_repair(&mut self, file: &File<'_>, export: &Export) {
        for rule in &export.repair {
            if *rule == Repair::Upserts {
                if export.deltas.is_none() {
                    let message = "repair `upserts` is for exports with deltas only";
                    self.wrong(file, "repair", rule.name(), message, None);
                }
                continue;
            }
            let format = if *rule == Repair::DoubledQuotes { Format::Csv } else { Format::Xml };
            if export.format != format || (format == Format::Csv && !export.quote) {
                let message = format!("repair `{}` is for {format} only", rule.name());
                self.wrong(file, "repair", rule.name(), message, None);
            }
        }
    }
}

/// What stands between the names of a path; `None` where columns are no paths.
pub(super) fn separator(format: Format) -> Option<char> {
    match format {
        Format::Json | Format::JsonLines | Format::Avro => Some('.'),
        Format::Xml => Some('/'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::*;

    #[test]
    fn what_is_declared_fits_the_format() {
        let one = |old: &str, new: &str, line: usize, message: &str| {
            dataset(old, new, &[&format!("{D}:{line}: {message}")]);
        };
        let add = |line: &str| format!("{line}\ncolumns =");
        let not_both = "a csv has quotes or an escape, not both (write `quote = false`, or take `escape` out)";
        one("columns =", &add("escape = \"\\\\\""), 34, not_both);
        let no_escape = "escape `,` cannot be one (one ASCII character, no letter, digit, quote or line end, and not \
                         the delimiter)";
        one("columns =", &add("escape = \",\"\nquote = false"), 34, no_escape);
        one("columns =", &add("rows = \"a\""), 34, "`rows` is for json and xml only");
        one("columns =", &add("repair = [\"empty_elements\"]"), 34, "repair `empty_elements` is for xml only");
        let upserts = "repair `upserts` is for exports with deltas only";
        one("columns =", &add("repair = [\"upserts\"]"), 34, upserts);
        one(
            "columns =",
            &add("entries = \"***\""),
            34,
            "entries `***` is no pattern: wildcards are either regular `*` \
             or recursive `**`",
        );
        let range = "a limit is out of range (each is at least 1, and row_mib at most 1024)";
        one("columns =", &add("limits = { depth = 0 }"), 34, range);
        let as_format = |format: &str| format!("format = \"{format}\"");
        let xml = "xml needs `rows` (write the name of the element that is a row)";
        one("format = \"csv\"", &as_format("xml"), 32, xml);
        one(
            "format = \"csv\"",
            &(as_format("json_lines") + "\ncontrol = { trailer = \"count\" }"),
            33,
            "json_lines has no trailer (take it out: such a file that is cut off is found out without one)",
        );
        one("format = \"csv\"", &(as_format("json") + "\nnull = \"-\""), 33, "`null` is for csv only");
        let json =
            with(&with(DATASET, "format = \"csv\"", &as_format("json")), "{ NAME =", "{ \"a[\" = \"name\", NAME =");
        check(&[(D, &json)], &[&format!("{D}:34: column `a[` is no path: a bracket is not closed by `]`")]);
    }
}
