//! What was found of a file, and how a catalog file says it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ieum_model::dataset::{Encoding, FieldKind, Framing, ItemType, LayoutField};

use super::format::FileFormat;
use super::types::{self, Found};
use crate::detect;
use crate::records::copybook::CopybookField;

/// What a file seems to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// Its name.
    pub path: String,
    /// Its format.
    pub format: FileFormat,
    /// Encoding of its text.
    pub encoding: Option<Encoding>,
    /// Delimiter of its cells.
    pub delimiter: Option<char>,
    /// Whether its first row names the columns.
    pub header: Option<bool>,
    /// Where the table of a workbook stands.
    pub sheet: Option<SheetPlace>,
    /// How records are told apart.
    pub framing: Option<Framing>,
    /// Bytes of a record.
    pub record_bytes: Option<usize>,
    /// Its columns.
    pub columns: Vec<Column>,
    /// What someone should know.
    pub notes: Vec<String>,
}

/// Where the table of a workbook stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SheetPlace {
    /// Name of the sheet, where it is not the first.
    pub name: Option<String>,
    /// Row, from 1, in which the header begins.
    pub header_row: u32,
    /// Rows of the header.
    pub header_rows: u32,
    /// Columns whose blank cells mean the value above.
    pub fill_down: Vec<String>,
}

/// A column of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name in the file.
    pub name: String,
    /// The item code that it gets.
    pub code: String,
    /// The type that its values seem to have.
    pub item_type: ItemType,
    /// Whether its values are sound identifiers of that type.
    pub identifies: bool,
    /// Its place in a record.
    pub layout: Option<LayoutField>,
}

impl Column {
    pub(super) fn of_field(field: CopybookField) -> Self {
        let code = field.layout.item.clone();
        Self { name: field.cobol_name, code, item_type: field.item_type, identifies: false, layout: Some(field.layout) }
    }
}

/// Gives every column a code of its own: its name where that is one, else its place.
pub(super) fn coded(found: Vec<Found>) -> Vec<Column> {
    let mut used = BTreeSet::new();
    let column = |(at, found): (usize, Found)| {
        let mut code = code(&found.name).unwrap_or_else(|| format!("column_{}", at + 1));
        while !used.insert(code.clone()) {
            let _ = write!(code, "_{}", at + 1);
        }
        let Found { name, item_type, identifies } = found;
        Column { name, code, item_type, identifies, layout: None }
    };
    found.into_iter().enumerate().map(column).collect()
}

/// A name as a code; `None` where it has other letters than those of ASCII.
fn code(name: &str) -> Option<String> {
    let mut code = String::new();
    for character in name.chars() {
        match character {
            'A'..='Z' | 'a'..='z' | '0'..='9' | '_' | '-' => code.push(character.to_ascii_lowercase()),
            ' ' | '.' | '/' | '(' | ')' | ':' => code.push('_'),
            _ => return None,
        }
    }
    let code = code.trim_matches(['_', '-']).to_owned();
    (!code.is_empty()).then_some(code)
}

impl Proposal {
    /// A file of a format of which nothing else is known.
    pub(super) fn of(format: FileFormat) -> Self {
        Self {
            path: String::new(),
            format,
            encoding: None,
            delimiter: None,
            header: None,
            sheet: None,
            framing: None,
            record_bytes: None,
            columns: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// The key: the first column that identifies, of persons before others; without one the first.
    fn key(&self) -> Option<&Column> {
        let persons =
            |column: &&Column| column.identifies && matches!(column.item_type, ItemType::Rrno | ItemType::Frno);
        let any = |column: &&Column| column.identifies;
        self.columns.iter().find(persons).or_else(|| self.columns.iter().find(any)).or_else(|| self.columns.first())
    }

    /// The proposal as the file of a dataset, ready to be edited. `code` is what the dataset is to be called.
    pub fn catalog_file(&self, code: &str) -> String {
        let mut text =
            String::from("# Suggested by `ieum source discover`: read it over. `?` marks what the file cannot tell.\n");
        for note in &self.notes {
            line(&mut text, format_args!("# {}", note.replace(char::is_control, " ")));
        }
        line(&mut text, format_args!("code = {}", quoted(code)));
        text.push_str("name_ko = \"?\"\nholder = \"?\"\ncategory = \"?\"\nbasis = \"K\"\n");
        if let Some(key) = self.key() {
            let space = match key.item_type {
                ItemType::Rrno | ItemType::Frno if key.identifies => "person",
                ItemType::Brno if key.identifies => "business",
                ItemType::Crno if key.identifies => "corporation",
                ItemType::Pnu if key.identifies => "parcel",
                ItemType::Vin if key.identifies => "vehicle",
                _ => "?",
            };
            line(&mut text, format_args!("key = {{ item = {}, space = {} }}", quoted(&key.code), quoted(space)));
        }
        for column in &self.columns {
            line(&mut text, format_args!("\n[items.{}]", quoted_key(&column.code)));
            line(&mut text, format_args!("name_ko = {}", quoted(&column.name)));
            line(&mut text, format_args!("type = {}", quoted(types::name(column.item_type))));
            let sensitivity = if column.identifies { "U" } else { "G" };
            line(&mut text, format_args!("sensitivity = {}  # ?", quoted(sensitivity)));
        }
        text.push_str(&self.export_section());
        text
    }

    /// The `[export]` section alone.
    pub fn export_section(&self) -> String {
        let mut text = String::new();
        line(&mut text, format_args!("\n[export]\nformat = {}", quoted(self.format.name())));
        if let Some(encoding) = self.encoding {
            line(&mut text, format_args!("encoding = {}", quoted(detect::name(encoding))));
        }
        line(&mut text, format_args!("path = {}", quoted(&self.path)));
        if let Some(delimiter) = self.delimiter.filter(|delimiter| *delimiter != ',') {
            line(&mut text, format_args!("delimiter = {}", quoted(&delimiter.to_string())));
        }
        if self.header == Some(false) {
            let order: Vec<String> = self.columns.iter().map(|column| quoted(&column.code)).collect();
            line(&mut text, format_args!("header = false\norder = [{}]", order.join(", ")));
        }
        if let Some(framing) = self.framing {
            let name = match framing {
                Framing::Fixed => "fixed",
                Framing::Lines => "lines",
                Framing::Rdw => "rdw",
            };
            line(&mut text, format_args!("framing = {}", quoted(name)));
        }
        if let Some(bytes) = self.record_bytes {
            line(&mut text, format_args!("record_bytes = {bytes}"));
        }
        let fields: Vec<String> = self.columns.iter().filter_map(|column| column.layout.as_ref().map(field)).collect();
        if !fields.is_empty() {
            line(&mut text, format_args!("layout = [\n{}]", fields.concat()));
        }
        if let Some(sheet) = &self.sheet {
            let name = sheet.name.as_ref().map_or(String::new(), |name| format!("name = {}, ", quoted(name)));
            let down: Vec<String> = sheet.fill_down.iter().map(|column| quoted(column)).collect();
            let down = if down.is_empty() { String::new() } else { format!(", fill_down = [{}]", down.join(", ")) };
            let (row, rows) = (sheet.header_row, sheet.header_rows);
            line(&mut text, format_args!("sheet = {{ {name}header_row = {row}, header_rows = {rows}{down} }}"));
        }
        let is_named = self.header != Some(false);
        let renamed =
            self.columns.iter().filter(|column| is_named && column.layout.is_none() && column.name != column.code);
        let renamed: Vec<&Column> = renamed.collect();
        if !renamed.is_empty() {
            text.push_str("\n[export.columns]\n");
            let mut told = BTreeSet::new();
            for column in renamed {
                if !told.insert(&column.name) {
                    line(
                        &mut text,
                        format_args!("# {} stands there twice: neither of the two can be read", quoted(&column.name)),
                    );
                    continue;
                }
                line(&mut text, format_args!("{} = {}", quoted(&column.name), quoted(&column.code)));
            }
        }
        text
    }
}

fn field(field: &LayoutField) -> String {
    let at = field.at.map_or(String::new(), |at| format!(", at = {at}"));
    let kind = match field.kind {
        FieldKind::Text => "",
        FieldKind::Zoned => ", kind = \"zoned\"",
        FieldKind::Packed => ", kind = \"packed\"",
        FieldKind::Binary => ", kind = \"binary\"",
    };
    let scale = if field.scale > 0 { format!(", scale = {}", field.scale) } else { String::new() };
    let signed = if field.signed { ", signed = true" } else { "" };
    format!("  {{ item = {}{at}, bytes = {}{kind}{scale}{signed} }},\n", quoted(&field.item), field.bytes)
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{arguments}");
}

/// A basic string of TOML on one line, as keys and comments need it too.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            character if character.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(quoted, "\\u{:04X}", u32::from(character));
            }
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

fn quoted_key(code: &str) -> String {
    let is_bare = code.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if is_bare { code.to_owned() } else { quoted(code) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ieum_model::dataset::Dataset;

    use super::*;

    #[test]
    fn a_catalog_file_can_be_read() {
        let found = |name: &str, item_type, identifies| Found { name: name.into(), item_type, identifies };
        let columns = vec![
            found("사업자 \"번호\"", ItemType::Brno, true),
            found("Open Date", ItemType::Date, false),
            found("open_date", ItemType::Str, false),
            found("두 \n줄\t\\", ItemType::Str, false),
            found("두 \n줄\t\\", ItemType::Str, false),
        ];
        let mut proposal = Proposal::of(FileFormat::Csv);
        proposal.path = "a.csv".into();
        proposal.encoding = Some(Encoding::Cp949);
        proposal.delimiter = Some('\t');
        proposal.columns = coded(columns);
        proposal.notes.push("sheets: a\nb".into());
        let dataset: Dataset = toml::from_str(&proposal.catalog_file("open")).unwrap();
        let export = dataset.export.unwrap();
        assert_eq!((dataset.key.item.as_str(), dataset.key.space.as_str()), ("column_1", "business"));
        assert_eq!((export.delimiter, export.columns["사업자 \"번호\""].as_str()), ('\t', "column_1"));
        assert_eq!(export.columns["두 \n줄\t\\"], "column_4");
        let codes: Vec<&str> = dataset.items.keys().map(String::as_str).collect();
        assert_eq!(codes, ["column_1", "column_4", "column_5", "open_date", "open_date_3"]);
        proposal.header = Some(false);
        let dataset: Dataset = toml::from_str(&proposal.catalog_file("open")).unwrap();
        assert_eq!(dataset.export.unwrap().order, ["column_1", "open_date", "open_date_3", "column_4", "column_5"]);
    }
}
