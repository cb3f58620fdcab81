//! Copybooks: the layout of a record as a COBOL program declares it, to the fields of a `records` export.
//!
//! Groups have no bytes of their own; `REDEFINES` lays fields over others; `OCCURS n` makes n fields of one, numbered from 1, and
//! `OCCURS m TO n DEPENDING ON` as many as there are at most, where nothing follows them. What cannot be laid out is refused with
//! its line: floating point (`COMP-1`, `COMP-2`), alignment (`SYNCHRONIZED`), pictures with `P`, fields behind a part of varying
//! length.

use std::collections::{BTreeMap, BTreeSet};

use ieum_model::dataset::{FieldKind, ItemType, LayoutField};
use ieum_model::error::{Error, Result};

use super::picture::{self, Picture};

/// Fields above which a layout is none.
const MAX_FIELDS: usize = 10_000;
/// Bytes of a record of variable length at most (IBM record descriptor word).
const MAX_RECORD: usize = 1 << 24;

/// The layout of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copybook {
    /// Fields with their places, in the order of the copybook, fillers left out.
    pub fields: Vec<CopybookField>,
    /// Bytes of a record, at most.
    pub record_bytes: usize,
    /// Whether records may be shorter, because their last part occurs as often as a field says.
    pub varying: bool,
}

/// A field of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopybookField {
    /// What the export declares of it.
    pub layout: LayoutField,
    /// What its values are.
    pub item_type: ItemType,
    /// Its name in the copybook.
    pub cobol_name: String,
}

/// Reads a copybook.
///
/// # Errors
/// [`ieum_model::error::ErrorKind::Config`] with the line of what is malformed or cannot be laid out.
pub fn parse(text: &str) -> Result<Copybook> {
    let mut entries = Vec::new();
    for (line, words) in statements(text) {
        if let Some(entry) = entry(&words).map_err(|reason| refused(line, &reason))? {
            entries.push((line, entry));
        }
    }
    let mut laid = Laid::default();
    let mut at = 0;
    let mut offset = 0;
    while at < entries.len() {
        let end = subtree(&entries, at);
        if offset > 0 && entries[at].1.level == 1 {
            return Err(refused(entries[at].0, "a second record begins here: give each record a file of its own"));
        }
        offset = laid.lay(&entries[at..end], offset, &[])?;
        at = end;
    }
    if laid.fields.is_empty() {
        return Err(Error::config("the copybook has no field").hint("a field has a level, a name and a PICTURE"));
    }
    let varying = laid.varying.is_some();
    Ok(Copybook { fields: named(laid.fields), record_bytes: offset, varying })
}

fn refused(line: usize, reason: &str) -> Error {
    Error::config(format!("the copybook cannot be laid out: {reason}")).at("line", line)
}

/// Sentences with their lines: comments, sequence numbers and the period at the end taken off.
fn statements(text: &str) -> Vec<(usize, Vec<String>)> {
    let (mut statements, mut words, mut first) = (Vec::new(), Vec::new(), 0);
    // The mark that old editors put at the end of a file.
    let text = text.trim_end_matches(['\u{1a}', '\r', '\n']);
    for (line, content) in text.lines().enumerate().filter_map(|(line, text)| Some((line + 1, content(text)?))) {
        for word in split(content) {
            if words.is_empty() {
                first = line;
            }
            let ends = word.ends_with('.');
            let word = word.trim_end_matches('.');
            if !word.is_empty() {
                words.push(word.to_owned());
            }
            if ends && !words.is_empty() {
                statements.push((first, std::mem::take(&mut words)));
            }
        }
    }
    if !words.is_empty() {
        statements.push((first, words));
    }
    statements
}

/// Columns 8 to 72 of a line; `None` for a comment.
fn content(line: &str) -> Option<&str> {
    let is_sequence = |text: &str| text.chars().all(|c| c.is_ascii_digit() || c.is_whitespace());
    let free = line.trim_start();
    if free.starts_with("*>") || free.starts_with('*') {
        return None;
    }
    let Some((area, rest)) = line.split_at_checked(6).filter(|(area, _)| is_sequence(area) && line.len() > 6) else {
        return Some(line);
    };
    if rest.starts_with(['*', '/']) {
        return None;
    }
    // Free form, where a level stands in the sequence area.
    let rest = if area.trim().is_empty() || rest.starts_with([' ', '\t', '-']) && area.trim().len() == 6 {
        rest
    } else {
        line
    };
    Some(if rest.len() > 66 && rest.is_char_boundary(66) { &rest[..66] } else { rest })
}

/// Words, literals whole.
fn split(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for character in text.chars() {
        match quote {
            Some(open) => {
                word.push(character);
                if character == open {
                    quote = None;
                }
            }
            None if character.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            None => {
                if character == '\'' || character == '"' {
                    quote = Some(character);
                }
                word.push(character);
            }
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Usage {
    Display,
    Packed,
    Binary,
}

/// One entry of a copybook.
#[derive(Debug, Clone)]
struct Entry {
    level: u32,
    /// `None` for a filler.
    name: Option<String>,
    picture: Option<Picture>,
    usage: Usage,
    redefines: Option<String>,
    occurs: usize,
    varying: bool,
    separate_sign: bool,
}

/// Reads an entry; `None` for conditions (88).
fn entry(words: &[String]) -> std::result::Result<Option<Entry>, String> {
    let upper: Vec<String> = words.iter().map(|word| word.to_ascii_uppercase()).collect();
    let mut words = upper.iter().map(String::as_str).peekable();
    let first = words.next().unwrap_or_default();
    let level: u32 = first.parse().map_err(|_| format!("`{first}` is no level number"))?;
    match level {
        88 => return Ok(None),
        1..=49 => {}
        66 => return Err("RENAMES (level 66) is not supported".into()),
        other => return Err(format!("level {other} is not supported")),
    }
    let usage = Usage::Display;
    let mut entry = Entry {
        level,
        name: None,
        picture: None,
        usage,
        redefines: None,
        occurs: 1,
        varying: false,
        separate_sign: false,
    };
    let is_clause = |word: &str| {
        let usage = word.strip_prefix("COMPUTATIONAL").or_else(|| word.strip_prefix("COMP"));
        matches!(usage, Some("" | "-1" | "-2" | "-3" | "-4" | "-5"))
            || matches!(
                word,
                "PIC" | "PICTURE" | "REDEFINES" | "OCCURS" | "USAGE" | "BINARY" | "PACKED-DECIMAL" | "VALUE" | "SIGN"
            )
    };
    if let Some(name) = words.next_if(|word| !is_clause(word)) {
        entry.name = (name != "FILLER").then(|| name.to_owned());
    }
    while let Some(word) = words.next() {
        match word {
            "PIC" | "PICTURE" => {
                let _ = words.next_if_eq(&"IS");
                let text = words.next().ok_or("a picture is missing")?;
                let picture = picture::parse(text).map_err(|reason| format!("picture `{text}`: {reason}"))?;
                entry.picture = Some(picture);
            }
            "REDEFINES" => entry.redefines = Some(words.next().ok_or("REDEFINES names no field")?.to_owned()),
            "OCCURS" => {
                entry.occurs = number(words.next())?;
                if words.next_if_eq(&"TO").is_some() {
                    entry.occurs = number(words.next())?;
                    entry.varying = true;
                }
                let _ = words.next_if_eq(&"TIMES");
            }
            "DEPENDING" => {
                let _ = words.next_if_eq(&"ON");
                words.next().ok_or("DEPENDING ON names no field")?;
                entry.varying = true;
            }
            "INDEXED" | "ASCENDING" | "DESCENDING" => {
                // The names that follow are no clauses.
                while words.next_if(|word| !is_clause(word) && *word != "DEPENDING").is_some() {}
            }
            "SIGN" | "LEADING" | "TRAILING" | "IS" | "USAGE" | "CHARACTER" | "JUST" | "JUSTIFIED" | "RIGHT"
            | "BLANK" | "WHEN" | "ZERO" | "ZEROS" | "ZEROES" | "DISPLAY" | "GLOBAL" | "EXTERNAL" => {}
            "SEPARATE" => entry.separate_sign = true,
            "COMP" | "COMP-4" | "COMP-5" | "BINARY" | "COMPUTATIONAL" | "COMPUTATIONAL-4" | "COMPUTATIONAL-5" => {
                entry.usage = Usage::Binary;
            }
            "COMP-3" | "PACKED-DECIMAL" | "COMPUTATIONAL-3" => entry.usage = Usage::Packed,
            "VALUE" | "VALUES" => {
                let _ = words.next_if_eq(&"IS");
                words.next();
            }
            "SYNC" | "SYNCHRONIZED" => {
                return Err("SYNCHRONIZED moves fields by the machine and is not supported".into());
            }
            "COMP-1" | "COMP-2" | "COMPUTATIONAL-1" | "COMPUTATIONAL-2" => {
                return Err(format!("{word} is floating point, which is not supported"));
            }
            other => return Err(format!("`{other}` is not supported")),
        }
    }
    Ok(Some(entry))
}

fn number(word: Option<&str>) -> std::result::Result<usize, String> {
    let number = word.and_then(|word| word.parse::<usize>().ok()).filter(|times| (1..=MAX_FIELDS).contains(times));
    number.ok_or_else(|| format!("OCCURS is not followed by a number from 1 to {MAX_FIELDS}"))
}

type Lines = [(usize, Entry)];

/// Where the entries that belong to the one at `at` end.
fn subtree(entries: &Lines, at: usize) -> usize {
    let level = entries[at].1.level;
    let inner = entries[at + 1..].iter().take_while(|(_, entry)| entry.level > level).count();
    at + 1 + inner
}

/// A field with the names of its groups and the numbers of its occurrences.
#[derive(Debug, Clone)]
struct LaidField {
    path: Vec<String>,
    picture: Picture,
    usage: Usage,
    start: usize,
    bytes: usize,
}

#[derive(Default)]
struct Laid {
    fields: Vec<LaidField>,
    /// Line of the part whose length varies.
    varying: Option<usize>,
}

impl Laid {
    /// Lays an entry and what belongs to it from `start` on; gives where it ends.
    fn lay(&mut self, entries: &Lines, start: usize, path: &[String]) -> Result<usize> {
        let (line, entry) = &entries[0];
        if let Some(varying) = self.varying.filter(|_| entry.redefines.is_none()) {
            let reason =
                format!("it follows a part of varying length (line {varying}), so that its place is not known");
            return Err(refused(*line, &reason));
        }
        let mut end = start;
        for occurrence in 1..=entry.occurs {
            let mut path = path.to_vec();
            path.extend(entry.name.clone());
            if entry.occurs > 1 {
                path.push(occurrence.to_string());
            }
            end = match entry.picture {
                Some(picture) if entries.len() == 1 => self.field(*line, entry, picture, end, &path)?,
                Some(_) => return Err(refused(*line, "a field with a picture has fields below it")),
                None if entries.len() > 1 => self.group(&entries[1..], end, &path)?,
                None => return Err(refused(*line, "a field has no picture and nothing below it")),
            };
            if end > MAX_RECORD || self.fields.len() > MAX_FIELDS {
                return Err(refused(*line, "the record has more bytes or fields than any record has"));
            }
        }
        if entry.varying {
            self.varying = Some(*line);
        }
        Ok(end)
    }

    fn group(&mut self, entries: &Lines, start: usize, path: &[String]) -> Result<usize> {
        let mut placed: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        let (mut at, mut next) = (0, start);
        while at < entries.len() {
            let end = subtree(entries, at);
            let (line, entry) = &entries[at];
            let place = match &entry.redefines {
                Some(other) => {
                    let known = placed.get(other.as_str()).copied();
                    known.ok_or_else(|| refused(*line, &format!("`{other}` that it redefines is not beside it")))?
                }
                None => (next, usize::MAX),
            };
            let ends = self.lay(&entries[at..end], place.0, path)?;
            if ends > place.1 {
                return Err(refused(*line, "it is longer than what it redefines"));
            }
            if let Some(name) = &entry.name {
                placed.insert(name, (place.0, ends.max(if entry.redefines.is_some() { place.1 } else { ends })));
            }
            if entry.redefines.is_none() {
                next = ends;
            }
            at = end;
        }
        Ok(next)
    }

    fn field(&mut self, line: usize, entry: &Entry, picture: Picture, start: usize, path: &[String]) -> Result<usize> {
        let digits = picture.length;
        if entry.usage != Usage::Display && !picture.numeric {
            return Err(refused(line, "only a number can be packed or binary"));
        }
        let bytes = match entry.usage {
            Usage::Packed if digits <= 31 => digits / 2 + 1,
            // As z/OS and most others store them.
            Usage::Binary if digits <= 4 => 2,
            Usage::Binary if digits <= 9 => 4,
            Usage::Binary if digits <= 18 => 8,
            Usage::Display if picture.numeric && digits > 31 => {
                return Err(refused(line, "a number has more than 31 digits"));
            }
            Usage::Display if picture.wide => digits * 2,
            Usage::Display => digits + usize::from(entry.separate_sign && picture.signed),
            _ => return Err(refused(line, "a number has more digits than its usage holds")),
        };
        if entry.name.is_some() {
            self.fields.push(LaidField { path: path.to_vec(), picture, usage: entry.usage.clone(), start, bytes });
        }
        Ok(start + bytes)
    }
}

/// Gives every field a name of its own: its own with the numbers of its occurrences, with those of its groups before it where
/// another has the same, and with a number of its own where even these are the same.
fn named(laid: Vec<LaidField>) -> Vec<CopybookField> {
    let short = |field: &LaidField| {
        let name = field.path.iter().rposition(|part| !is_occurrence(part)).unwrap_or(0);
        let occurrences = field.path[..name].iter().filter(|part| is_occurrence(part));
        let parts = std::iter::once(&field.path[name]).chain(occurrences).chain(&field.path[name + 1..]);
        item_code(parts)
    };
    let mut uses: BTreeMap<String, usize> = BTreeMap::new();
    for field in &laid {
        *uses.entry(short(field)).or_default() += 1;
    }
    let code = |field: &LaidField| if uses[&short(field)] > 1 { item_code(field.path.iter()) } else { short(field) };
    let (mut taken, mut numbers) = (BTreeSet::new(), BTreeMap::<String, usize>::new());
    let mut own = |code: String| {
        let number = numbers.entry(code.clone()).or_insert(1);
        let mut own = code.clone();
        while !taken.insert(own.clone()) {
            *number += 1;
            own = format!("{code}_{number}");
        }
        own
    };
    let field = |field: &LaidField| CopybookField {
        layout: LayoutField {
            item: own(code(field)),
            bytes: field.bytes,
            at: Some(field.start + 1),
            kind: match field.usage {
                Usage::Packed => FieldKind::Packed,
                Usage::Binary => FieldKind::Binary,
                Usage::Display if field.picture.numeric => FieldKind::Zoned,
                Usage::Display => FieldKind::Text,
            },
            scale: if field.picture.numeric { field.picture.scale } else { 0 },
            signed: field.usage == Usage::Binary && field.picture.signed,
        },
        item_type: item_type(&field.picture),
        cobol_name: field.path.iter().rfind(|part| !is_occurrence(part)).cloned().unwrap_or_default(),
    };
    laid.iter().map(field).collect()
}

fn is_occurrence(part: &str) -> bool {
    part.bytes().all(|byte| byte.is_ascii_digit())
}

fn item_type(picture: &Picture) -> ItemType {
    match picture {
        Picture { numeric: true, scale: 0, length: ..=18, .. } => ItemType::Int,
        Picture { numeric: true, .. } | Picture { edited: true, .. } => ItemType::Dec,
        _ => ItemType::Str,
    }
}

fn item_code<'p>(parts: impl Iterator<Item = &'p String>) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    parts.map(|part| part.chars().map(letter).collect::<String>()).collect::<Vec<_>>().join("_")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let book = parse(text).unwrap();
        let told = |field: &CopybookField| {
            let LayoutField { item, bytes, at, kind, scale, signed } = &field.layout;
            let sign = if *signed { " signed" } else { "" };
            format!("{item} {} {bytes} {kind:?} {scale}{sign}", at.unwrap())
        };
        assert_eq!(book.fields.iter().map(told).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn fields_of_one_name_in_one_group_are_numbered() {
        let text =
            "01 R.\n 05 WS-A PIC X(2).\n 05 FILLER PIC X.\n 05 WS-A PIC X(2).\n 05 R-WS-A PIC X.\n 05 R-WS-A PIC X.";
        let book = parse(text).unwrap();
        let names: Vec<&str> = book.fields.iter().map(|field| field.layout.item.as_str()).collect();
        assert_eq!(names, ["r_ws_a", "r_ws_a_2", "r_r_ws_a", "r_r_ws_a_2"]);
    }

    #[test]
    fn fields_have_places_groups_do_not() {
        check(
            "000100 01  REC.\n000200*comment.\n000300     05 ID PIC S9(4) COMP.\n     05 G.\n       10 NAME PIC X(3) VALUE 'A. B'.\n\
             \x20      10 N PIC 9(5)V99 COMP-3.\n       10 T REDEFINES N PIC X(4).\n       88 YES VALUE 'Y'.\n     05 FILLER PIC X.\n\
             \x20    05 AMT PIC S9(3)V9 SIGN IS TRAILING SEPARATE CHARACTER.\n     05 ED PIC ZZ9.99.",
            &[
                "id 1 2 Binary 0 signed",
                "name 3 3 Text 0",
                "n 6 4 Packed 2",
                "t 6 4 Text 0",
                "amt 11 5 Zoned 1",
                "ed 16 6 Text 0",
            ],
        );
    }

    #[test]
    fn what_occurs_is_numbered() {
        check(
            "01 R. 05 N PIC 99. 05 A OCCURS 2. 10 B PIC X. 10 C PIC 9 OCCURS 2 TIMES. 05 D OCCURS 1 TO 2 DEPENDING ON N PIC X.",
            &[
                "n 1 2 Zoned 0",
                "b_1 3 1 Text 0",
                "c_1_1 4 1 Zoned 0",
                "c_1_2 5 1 Zoned 0",
                "b_2 6 1 Text 0",
                "c_2_1 7 1 Zoned 0",
                "c_2_2 8 1 Zoned 0",
                "d_1 9 1 Text 0",
                "d_2 10 1 Text 0",
            ],
        );
        check("01 R. 05 COMPANY PIC X. 05 COMP-3-X PIC X.", &["company 1 1 Text 0", "comp_3_x 2 1 Text 0"]);
        check("01 R. 05 A. 10 X PIC X. 05 B. 10 X PIC X.", &["r_a_x 1 1 Text 0", "r_b_x 2 1 Text 0"]);
    }

    #[test]
    fn what_cannot_be_laid_out_is_refused_with_its_line() {
        let check = |text: &str, line: &str, reason: &str| {
            let error = parse(text).unwrap_err();
            assert!(error.message.contains(reason), "{error}");
            assert_eq!(error.context, [("line", line.to_owned())]);
        };
        check("01 R.\n 05 A COMP-1.", "2", "floating point");
        check("01 R.\n 05 A PIC 9(4) COMP SYNC.", "2", "SYNCHRONIZED");
        check("01 R.\n 05 A PIC X OCCURS 1 TO 3 DEPENDING ON N.\n 05 B PIC X.", "3", "varying length (line 2)");
        check("01 R.\n 05 A PIC X.\n 05 B REDEFINES C PIC X.", "3", "not beside it");
        check("01 R.\n 05 A PIC X.\n 05 B REDEFINES A PIC XX.", "3", "longer than what it redefines");
        check("01 R.\n 05 A.", "2", "no picture");
        check("01 R.\n 05 A PIC X OCCURS 99999999.", "2", "OCCURS is not followed by a number");
        check("01 R.\n 05 A OCCURS 9999.\n 10 B OCCURS 9999.\n 15 C PIC X.", "4", "more bytes or fields");
        check("01 R. 05 A PIC X.\n01 S. 05 B PIC X.", "2", "a second record");
        check("hello world.", "1", "no level number");
        assert!(parse("").is_err());
    }
}
