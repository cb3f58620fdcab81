//! A dataset: the contract between a data holder (보유기관) and ieum, and how the holder writes its export.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use serde::Deserialize;

/// The type of an item, as the official standard terms name the domains (공공데이터 공통표준용어).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemType {
    /// Resident registration number, 13 digits.
    Rrno,
    /// Foreigner registration number, 13 digits.
    Frno,
    /// Business registration number, 10 digits.
    Brno,
    /// Corporation registration number, 13 digits.
    Crno,
    /// Passport number, 9 characters.
    Pno,
    /// Driver licence number, 12 digits.
    Dln,
    /// Parcel number, 19 digits.
    Pnu,
    /// Vehicle identification number.
    Vin,
    /// Vehicle registration number.
    Vhrno,
    /// Linkage information (연계정보), 88 characters.
    Ci,
    /// Calendar date.
    Date,
    /// Year and month, `YYYYMM`.
    Ym,
    /// Year, `YYYY`.
    Year,
    /// Date and time, `YYYYMMDDHHMMSS`.
    Dt,
    /// Money, whole won.
    Amt,
    /// Integer.
    Int,
    /// Decimal number, kept as text so that no digit is lost.
    Dec,
    /// `Y` or `N`.
    Flag,
    /// Code of a code list; leading zeros are kept.
    Code,
    /// Short text.
    Str,
    /// Long text.
    Text,
}

impl ItemType {
    /// Arrow type of one value: `Int64` for money and integers, `Date32` for dates, `Utf8` for everything else.
    pub fn value_type(self) -> DataType {
        match self {
            Self::Amt | Self::Int => DataType::Int64,
            Self::Date => DataType::Date32,
            _ => DataType::Utf8,
        }
    }
}

/// Sensitivity class of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
pub enum Sensitivity {
    /// 고유식별정보: resident, passport, licence and foreigner numbers (개인정보보호법 시행령 19조).
    U,
    /// Another direct identifier.
    D,
    /// A quasi-identifier.
    Q,
    /// 민감정보 (개인정보보호법 시행령 18조).
    S,
    /// Income, asset, tax or payment value.
    F,
    /// Personal data of a third person; delivered only with a reason (refusal ground R03).
    T,
    /// General.
    G,
}

/// One item of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// Korean name.
    pub name_ko: String,
    /// Official standard abbreviation, accepted as an alias of the item's code.
    #[serde(default)]
    pub std: Option<String>,
    /// Type of one value.
    #[serde(rename = "type")]
    pub item_type: ItemType,
    /// Sensitivity class.
    pub sensitivity: Sensitivity,
    /// Whether a record holds several values.
    #[serde(default)]
    pub list: bool,
    /// Whether the item is in the default minimum set.
    #[serde(default)]
    pub default: bool,
}

impl Item {
    /// The Arrow field of this item under `code`: nullable, a list for repeated items.
    pub fn field(&self, code: &str) -> Field {
        let value = self.item_type.value_type();
        let data_type = if self.list { DataType::List(Arc::new(Field::new("item", value, true))) } else { value };
        Field::new(code, data_type, true)
    }
}

/// A column that holds an identifier, and the key space the identifier lives in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Column of the export, by item code; need not be an item that can be requested.
    pub item: String,
    /// Key space: `person`, `business`, `corporation`, `parcel`, …
    pub space: String,
}

/// A way from one key space to another that this dataset knows.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// Column that holds the known key; the dataset's key or one of its other keys.
    pub from: String,
    /// Column that holds the key it leads to.
    pub to: String,
    /// Key space of `to`.
    pub space: String,
}

/// How far the evidence for a dataset's items goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Basis {
    /// A statute lists the items.
    L,
    /// A statute lists part of them.
    P,
    /// A public interface, file layout or profile names them.
    A,
    /// The document's existence is verified, its items are general knowledge.
    N,
    /// Document and items are general knowledge.
    K,
}

/// Format of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Delimited text; a table of a database is read as if it were such a file.
    #[serde(alias = "table")]
    Csv,
    /// Byte-counted records (전문).
    FixedWidth,
    /// Parquet.
    Parquet,
    /// A JSON object a line (NDJSON), FHIR bulk files among them.
    JsonLines,
    /// A JSON document with an array of objects.
    Json,
    /// XML with an element for every row.
    Xml,
    /// Workbooks of a spreadsheet program, `.xlsx` or `.xls`; which of the two a file is, is told by its bytes.
    #[serde(alias = "xls")]
    Xlsx,
    /// Arrow IPC, in the file format (Feather 2) or as a stream.
    Arrow,
    /// Avro object container files.
    Avro,
    /// Bare records of byte-counted fields, as COBOL programs write them: no header, no trailer, numbers packed or binary.
    Records,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Csv => "csv",
            Self::FixedWidth => "fixed_width",
            Self::Parquet => "parquet",
            Self::JsonLines => "json_lines",
            Self::Json => "json",
            Self::Xml => "xml",
            Self::Xlsx => "xlsx",
            Self::Arrow => "arrow",
            Self::Avro => "avro",
            Self::Records => "records",
        })
    }
}

/// Character encoding of a text export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// UTF-8, with or without a byte order mark.
    #[default]
    #[serde(alias = "utf-8")]
    Utf8,
    /// CP949 (windows-949), the superset of EUC-KR.
    #[serde(alias = "euc-kr")]
    Cp949,
    /// Windows-1252, the superset of ISO 8859-1; the five bytes that it leaves undefined are no text.
    #[serde(rename = "windows-1252", alias = "cp1252")]
    Windows1252,
    /// UTF-16 whose byte order its mark tells.
    #[serde(rename = "utf-16", alias = "utf16")]
    Utf16,
    /// UTF-16, low bytes first, with or without a byte order mark.
    #[serde(rename = "utf-16le", alias = "utf16le")]
    Utf16Le,
    /// UTF-16, high bytes first, with or without a byte order mark.
    #[serde(rename = "utf-16be", alias = "utf16be")]
    Utf16Be,
    /// EBCDIC of the United States (IBM code page 37); of bare records only.
    Cp037,
    /// International EBCDIC (IBM code page 500); of bare records only.
    Cp500,
    /// Korean EBCDIC with shifts between one and two bytes (IBM code page 933); of bare records only.
    Cp933,
}

impl Encoding {
    /// Whether every character takes two bytes or four: such a file is translated to UTF-8 as it is read.
    pub fn is_utf16(self) -> bool {
        matches!(self, Self::Utf16 | Self::Utf16Le | Self::Utf16Be)
    }

    /// Whether it is an EBCDIC, whose digits, blanks and line ends are not those of ASCII.
    pub fn is_ebcdic(self) -> bool {
        matches!(self, Self::Cp037 | Self::Cp500 | Self::Cp933)
    }

    /// The encoding of the cells of a file in this one.
    #[must_use]
    pub fn of_cells(self) -> Self {
        if self.is_utf16() { Self::Utf8 } else { self }
    }
}

/// Whether `separator` can be looked for bytewise in any supported encoding and is no part of a value's grammar.
pub fn is_separator(separator: char) -> bool {
    separator.is_ascii() && !separator.is_ascii_alphanumeric() && !matches!(separator, '"' | '\n' | '\r' | '\0')
}

/// How an export proves that it is complete.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// `count`: header and trailer records carry the number of data records.
    #[serde(default)]
    pub trailer: Option<TrailerRule>,
    /// `sha256`: a file named like the export plus `.sha256` holds its digest, as `sha256sum` writes it.
    #[serde(default)]
    pub manifest: Option<ManifestRule>,
    /// Ending of a file that the holder writes last, such as `.fin`: beside `a.csv.gz` it is `a.csv.gz.fin` or `a.fin`. An export
    /// of which a file has none is not delivered yet.
    #[serde(default)]
    pub marker: Option<String>,
}

/// What the trailer record of an export carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrailerRule {
    /// The number of data records.
    Count,
    /// The number of data records, then one sum per money item of the layout, in layout order.
    CountAndSums,
}

/// How the manifest of an export is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ManifestRule {
    /// SHA-256 of the file's bytes.
    Sha256,
}

/// How the bytes of a field stand for its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldKind {
    /// Text in the encoding of the export.
    #[default]
    Text,
    /// Digits, the sign in the upper half of the last byte or as a character of its own (`DISPLAY`).
    Zoned,
    /// Two digits a byte, the sign in the last half byte (`COMP-3`).
    Packed,
    /// An integer, the most significant byte first (`COMP`, `BINARY`).
    Binary,
}

/// One field of a fixed-width layout; positions follow from the order and the widths, unless `at` says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayoutField {
    /// Column name.
    pub item: String,
    /// Width in bytes of the encoded text.
    pub bytes: usize,
    /// First byte, from 1; without it the field follows the one before. Of `records` only.
    #[serde(default)]
    pub at: Option<usize>,
    /// What its bytes are; other than text in `records` only.
    #[serde(default)]
    pub kind: FieldKind,
    /// Digits after the decimal point, which is not written.
    #[serde(default)]
    pub scale: u32,
    /// Whether a binary number has a sign.
    #[serde(default)]
    pub signed: bool,
}

/// How one bare record is told from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// Every record has the same number of bytes, and nothing stands between two of them.
    Fixed,
    /// Each record is a line.
    Lines,
    /// Each record begins with four bytes, of which the first two are its length (IBM record descriptor word).
    Rdw,
}

/// Files of changes that come after a base export.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deltas {
    /// Glob of the files, as [`Export::path`]. In the order of their names later changes win; with `{date}` those count that
    /// are younger than the base and not after the run's date, in the order of their dates.
    pub path: String,
    /// Columns, by item code, that tell one record from another.
    pub key: Vec<String>,
    /// Column that says what a change does: `I`, `U` or `D`. `fixed_width` has it in the head of a record.
    #[serde(default)]
    pub change: Option<String>,
    /// Globs of the files of the dates that count, in their order, once these are known.
    #[serde(skip)]
    pub dated: Vec<String>,
}

/// Where the table of a workbook stands.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sheet {
    /// Glob of the names of the sheets that are read, such as `*월`; without one the first sheet.
    #[serde(default)]
    pub name: Option<String>,
    /// Column that gets the name of the sheet a row stands in.
    #[serde(default)]
    pub name_column: Option<String>,
    /// Row, from 1, in which the header begins; without a header that of the first record. What stands above is a title.
    #[serde(default = "one")]
    pub header_row: u32,
    /// Rows of the header. The names of several are joined by `/`, one that is repeated below itself once.
    #[serde(default = "one")]
    pub header_rows: u32,
    /// Columns of the file, outer ones first, whose blank cells mean the value above; a new value of one ends those after it.
    #[serde(default)]
    pub fill_down: Vec<String>,
}

impl Default for Sheet {
    fn default() -> Self {
        Self { name: None, name_column: None, header_row: 1, header_rows: 1, fill_down: Vec::new() }
    }
}

fn one() -> u32 {
    1
}

/// A fault of a holder's files that leaves no doubt of what was meant: rows that have it are read as meant, and told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Repair {
    /// A CSV cell in doubled quotes, `""a, b""`, is one in quotes: after a quote that is closed at once nothing may follow.
    DoubledQuotes,
    /// An XML element that begins and holds nothing but an empty one of its own name, `<a><a/>`, is empty.
    EmptyElements,
    /// A change that inserts a record that is there updates it, one that updates a record that is not there inserts it, and one
    /// that deletes such a record does nothing.
    Upserts,
}

impl Repair {
    /// As the catalog and the notes of repaired rows name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::DoubledQuotes => "doubled_quotes",
            Self::EmptyElements => "empty_elements",
            Self::Upserts => "upserts",
        }
    }
}

/// What a file may cost at most: one beyond a limit is an error of its export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// MiB of one row.
    pub row_mib: u32,
    /// How many bytes one compressed byte may stand for; files of up to [`Limits::SMALL_MIB`] MiB are not asked.
    pub expansion: u32,
    /// How deep a row of JSON or XML may be nested.
    pub depth: u32,
    /// Entries of an archive.
    pub entries: u32,
}

impl Limits {
    /// MiB up to which a file is small, however little of it was stored.
    pub const SMALL_MIB: u64 = 64;
}

impl Default for Limits {
    fn default() -> Self {
        Self { row_mib: 16, expansion: 250, depth: 64, entries: 10_000 }
    }
}

/// How a holder writes this dataset.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// Format.
    pub format: Format,
    /// Character encoding of text formats.
    #[serde(default)]
    pub encoding: Encoding,
    /// Whether the first row of a CSV names the columns.
    #[serde(default = "yes")]
    pub header: bool,
    /// Field delimiter of a CSV, one ASCII character.
    #[serde(default = "comma")]
    pub delimiter: char,
    /// Separator of the values of a repeated item inside one cell, one ASCII character.
    #[serde(default = "pipe")]
    pub list_separator: char,
    /// Glob below the run's exports folder; `.gz` and `.zst` are decompressed, `.zip`, `.tar`, `.tar.gz`, `.tgz` and
    /// `.tar.zst` opened. `{date}` stands for the export's date, `YYYYMMDD`: the newest one not after the run's is read.
    pub path: String,
    /// Where it is, if not in the run's exports folder.
    #[serde(default)]
    pub at: At,
    /// Glob of the entries of an archive that are the export; without one the archive has one entry.
    #[serde(default)]
    pub entries: Option<String>,
    /// Where the rows of a file stand: names down to the array of a JSON document, or the name of XML's row element.
    #[serde(default)]
    pub rows: Option<String>,
    /// Whether `"` quotes cells of a CSV; the unload files of databases have no quotes.
    #[serde(default = "yes")]
    pub quote: bool,
    /// Character of a CSV without quotes that takes away what the next one means, as `\` does; after it, `n`, `r` and `t`
    /// are line ends and a tab.
    #[serde(default)]
    pub escape: Option<char>,
    /// Text of a CSV's cell that stands for no value, as `\N` does.
    #[serde(default)]
    pub null: Option<String>,
    /// Faults of the holder's files that are repaired.
    #[serde(default)]
    pub repair: Vec<Repair>,
    /// What a file may cost at most.
    #[serde(default)]
    pub limits: Limits,
    /// Export column → item code, for columns not named by the item's code or standard abbreviation. A column of JSON, XML and Avro
    /// is a path ([`crate::path`]).
    #[serde(default)]
    pub columns: BTreeMap<String, String>,
    /// Column names in file order, empty for a column that is not wanted: needed for a CSV without header.
    #[serde(default)]
    pub order: Vec<String>,
    /// Fields of a data record: for `fixed_width` after its head, for `records` from its first byte.
    #[serde(default)]
    pub layout: Vec<LayoutField>,
    /// How `records` are told apart; without it EBCDIC and files with packed or binary fields are `fixed`, others `lines`.
    #[serde(default)]
    pub framing: Option<Framing>,
    /// Bytes of one of `records`, where they are more than the layout needs.
    #[serde(default)]
    pub record_bytes: Option<usize>,
    /// Where the table of a workbook stands.
    #[serde(default)]
    pub sheet: Sheet,
    /// Files of changes of a `csv` or `fixed_width` export.
    #[serde(default)]
    pub deltas: Option<Deltas>,
    /// Share of unreadable rows above which the export breaks its contract.
    #[serde(default)]
    pub max_reject_ratio: f64,
    /// Share of the rows of the last committed run that may be missing before the export breaks its contract; 1 allows an empty
    /// one.
    #[serde(default = "half")]
    pub max_shrink: f64,
    /// Names of the file's columns in their order, with the types of a typed file (`name: type`): a file that has others is not
    /// read. Without it only the columns that are asked for are looked for.
    #[serde(default)]
    pub contract: Vec<String>,
    /// How the export proves that it is complete.
    #[serde(default)]
    pub control: Control,
}

fn half() -> f64 {
    0.5
}

/// Where an export is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct At {
    /// A place of the run definition: a store, or a database, whose table `path` names then.
    pub place: Option<String>,
    /// What is selected of a database, in place of the table.
    pub query: Option<String>,
    /// The key columns of the table hold keys without hyphens, blanks or other spellings, as text: a small number of wanted
    /// keys is then asked for, instead of the whole table.
    #[serde(default)]
    pub canonical_keys: bool,
}

fn yes() -> bool {
    true
}

fn comma() -> char {
    ','
}

fn pipe() -> char {
    '|'
}

/// A dataset and the contract its holder keeps.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dataset {
    /// Code, unique in the catalog.
    pub code: String,
    /// Korean name.
    pub name_ko: String,
    /// Code of the data holder.
    pub holder: String,
    /// Institution code (기관코드) of the data holder, once the catalog is known.
    #[serde(skip)]
    pub institution_code: Option<String>,
    /// Legal category (민원처리법 시행령 7조의3⑦).
    pub category: String,
    /// How far the evidence for the items goes.
    pub basis: Basis,
    /// The source behind `basis`.
    #[serde(default)]
    pub basis_note: Option<String>,
    /// The key the export is joined on.
    pub key: Key,
    /// Further key columns it can be joined on, in order of preference.
    #[serde(default)]
    pub other_keys: Vec<Key>,
    /// Ways from one key space to another.
    #[serde(default)]
    pub maps: Vec<Mapping>,
    /// Items that order a person's records.
    #[serde(default)]
    pub record_order: Vec<String>,
    /// Days an export stays fresh after its date, which its path carries, or else the header of a fixed-width file; an
    /// older one delays its lines (`E_STALE`).
    #[serde(default)]
    pub validity_days: Option<u32>,
    /// Whether own data may be transferred at all (court-trial information may not: 전자정부법 43조의2).
    #[serde(default = "yes")]
    pub transferable: bool,
    /// Items by code.
    pub items: BTreeMap<String, Item>,
    /// Named item lists (일반/상세/특정).
    #[serde(default)]
    pub views: BTreeMap<String, Vec<String>>,
    /// How the holder writes it; a dataset without one cannot be read by a run.
    #[serde(default)]
    pub export: Option<Export>,
}

impl Dataset {
    /// Codes of the default minimum items, in code order; all items but third-person ones where none is marked.
    pub fn default_items(&self) -> Vec<&str> {
        let marked: Vec<&str> = self.codes(|item| item.default);
        if marked.is_empty() { self.codes(|item| item.sensitivity != Sensitivity::T) } else { marked }
    }

    fn codes(&self, wanted: impl Fn(&Item) -> bool) -> Vec<&str> {
        self.items.iter().filter(|(_, item)| wanted(item)).map(|(code, _)| code.as_str()).collect()
    }

    /// The item that `name` means: its code, or its official standard abbreviation. Whole names only: `a.1` is never `a.10`.
    pub fn item(&self, name: &str) -> Option<(&str, &Item)> {
        let by_code = self.items.get_key_value(name);
        let by_alias = || self.items.iter().find(|(_, item)| item.std.as_deref() == Some(name));
        by_code.or_else(by_alias).map(|(code, item)| (code.as_str(), item))
    }

    /// The dataset's key followed by its other keys.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.key).chain(&self.other_keys)
    }

    /// Every column that some night may look rows up by: [`Dataset::keys`], and where a mapping stays within one key space (a
    /// change of numbers, read both ways) the column it leads to.
    pub fn lookup_keys(&self) -> Vec<Key> {
        let mut keys: Vec<Key> = self.keys().cloned().collect();
        for map in &self.maps {
            let changes = keys.iter().any(|key| key.item == map.from && key.space == map.space);
            if changes && !keys.iter().any(|key| key.item == map.to) {
                keys.push(Key { item: map.to.clone(), space: map.space.clone() });
            }
        }
        keys
    }

    /// Arrow field of any column of the export: an item's own field, or nullable text for a key that is no item.
    pub fn column_field(&self, code: &str) -> Field {
        match self.items.get(code) {
            Some(item) => item.field(code),
            None => Field::new(code, DataType::Utf8, true),
        }
    }
}
